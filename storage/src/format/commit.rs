//! A commit as it is written: metadata encoded from a block's regions, the body as it lies in them.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use crate::block::{Block, Mark};
use crate::format::arrow;
use crate::format::bytes::{PutFields, seal_message};
use crate::format::header::ParsedHeader;
use crate::format::record::{
    BufferRecord, ColumnRecord, CommitFacts, CommitRecord, Replaced, StatisticBound, StatisticValue,
};
use crate::limits::{ALIGN_BYTES, BODY_BYTES_MAX, METADATA_BYTES_MAX, REPLACED_MAX};
use crate::schema::Physical;
use crate::statistics;

pub(super) const RECORD_MAGIC: [u8; 8] = *b"PLCOMMIT";

/// What a commit is to say beside what its block holds.
#[derive(Clone, Debug)]
pub struct CommitInput {
    /// What it did. `rows` and `rejects` are taken from the block.
    pub facts: CommitFacts,
    /// See [`CommitRecord::durable_end`].
    pub durable_end: u64,
    /// Of a merge: what it stands for, oldest first.
    pub replaced: Vec<CommitFacts>,
}

/// A commit ready to be written: its metadata, and where its body lies in the block.
#[derive(Clone, Debug)]
pub struct EncodedCommit {
    /// What a reader will make of it.
    pub record: CommitRecord,
    head: Vec<u8>,
    /// The validity bits of all columns, one behind the other.
    validity: Vec<u8>,
    pieces: Vec<Piece>,
    block: Arc<Block>,
    mark: Mark,
}

#[derive(Clone, Debug)]
enum Piece {
    Validity(Range<usize>),
    Values(usize),
    Data(usize),
    Rejects,
    Zeros(usize),
}

static ZEROS: [u8; ALIGN_BYTES] = [0; ALIGN_BYTES];

impl EncodedCommit {
    /// Bytes in all: a multiple of 64.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record.message_bytes()
    }

    /// The bytes as they are to be written, in order.
    #[must_use]
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len() + 1);
        slices.push(IoSlice::new(&self.head));
        slices.extend(self.pieces.iter().map(|piece| {
            IoSlice::new(match piece {
                Piece::Validity(range) => &self.validity[range.clone()],
                Piece::Values(column) => self.block.column(*column, self.mark).values,
                Piece::Data(column) => self.block.column(*column, self.mark).data,
                Piece::Rejects => self.block.rejects(self.mark),
                Piece::Zeros(bytes) => &ZEROS[..*bytes],
            })
        }));
        slices
    }

    /// The bytes in one piece, for tests and for what is written again.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices()
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }
}

/// Encodes `block` up to `mark` as one commit of the segment. Packs validity, computes statistics and
/// checksums: about half a millisecond a MiB, so not on a leaf's turn if that can be helped.
///
/// # Panics
/// Where the counts do not add up to the offsets covered, or a bound is broken: the writer's bugs.
#[must_use]
pub fn encode_commit(
    header: &ParsedHeader,
    input: CommitInput,
    block: &Arc<Block>,
    mark: Mark,
) -> EncodedCommit {
    let mut facts = input.facts;
    facts.rows = mark.rows_end;
    let rejects = block.rejects(mark);
    facts.rejects = crate::format::rejects::Rejects::new(rejects).count() as u32;
    assert_eq!(
        facts.counts.offsets(),
        facts.first_offset.until(facts.next_offset),
        "the counts add up to the offsets covered"
    );
    assert!(
        input.replaced.len() <= REPLACED_MAX,
        "commits that one stands for"
    );
    let mut body = Body::default();
    let columns: Box<[ColumnRecord]> = (0..block.columns())
        .map(|index| body.column(block, index, mark))
        .collect();
    let rejects = body.buffer(rejects, Piece::Rejects);
    let row_deletes = BufferRecord {
        at: body.bytes,
        ..BufferRecord::default()
    };
    let mut record = CommitRecord {
        segment: header.header.id,
        header_crc: header.crc,
        facts,
        head_bytes: 0,
        body_bytes: body.bytes,
        durable_end: input.durable_end,
        columns,
        rejects,
        row_deletes,
        leader: None,
        replaced: Replaced::of(&input.replaced),
    };
    let head = encode_head(header, &record, &input.replaced);
    record.head_bytes = head.len() as u32;
    EncodedCommit {
        record,
        head,
        validity: body.validity,
        pieces: body.pieces,
        block: Arc::clone(block),
        mark,
    }
}

/// A commit's record and metadata for another segment, its body to be copied as it lies. `replaced`: what
/// it stands for; nothing: itself.
///
/// # Panics
/// As [`encode_commit`].
#[must_use]
pub fn encode_copy(
    header: &ParsedHeader,
    record: &CommitRecord,
    replaced: &[CommitFacts],
) -> (CommitRecord, Vec<u8>) {
    assert!(
        replaced.len() <= REPLACED_MAX,
        "commits that one stands for"
    );
    let mut record = CommitRecord {
        segment: header.header.id,
        header_crc: header.crc,
        durable_end: 0,
        head_bytes: 0,
        replaced: Replaced::of(replaced),
        ..record.clone()
    };
    let head = encode_head(header, &record, replaced);
    record.head_bytes = head.len() as u32;
    (record, head)
}

fn encode_head(header: &ParsedHeader, record: &CommitRecord, replaced: &[CommitFacts]) -> Vec<u8> {
    let mut head = Vec::new();
    let flatbuffer = arrow::batch_message(record, &header.header.schema);
    seal_message(&mut head, &flatbuffer, &encode_record(record, replaced));
    assert!(head.len() <= METADATA_BYTES_MAX && record.body_bytes <= BODY_BYTES_MAX);
    head
}

#[derive(Default)]
struct Body {
    bytes: u64,
    validity: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Body {
    fn column(&mut self, block: &Block, index: usize, mark: Mark) -> ColumnRecord {
        let column = block.column(index, mark);
        let statistics = statistics::of_column(&column);
        let validity = match &column.nulls {
            None => BufferRecord {
                at: self.bytes,
                ..BufferRecord::default()
            },
            Some(nulls) => {
                let start = self.validity.len();
                nulls.pack(&mut self.validity);
                let range = start..self.validity.len();
                let bits = std::mem::take(&mut self.validity);
                let buffer = self.buffer(&bits[range.clone()], Piece::Validity(range));
                self.validity = bits;
                buffer
            }
        };
        let values = self.buffer(column.values, Piece::Values(index));
        let data = match column.physical {
            Physical::Utf8 => self.buffer(column.data, Piece::Data(index)),
            _ => BufferRecord {
                at: self.bytes,
                ..BufferRecord::default()
            },
        };
        ColumnRecord {
            buffers: [validity, values, data],
            statistics,
        }
    }

    fn buffer(&mut self, bytes: &[u8], piece: Piece) -> BufferRecord {
        let record = BufferRecord {
            at: self.bytes,
            bytes: u32::try_from(bytes.len()).expect("regions are bounded"),
            crc: crc32fast::hash(bytes),
        };
        if bytes.is_empty() {
            return record;
        }
        self.pieces.push(piece);
        let padding = bytes.len().next_multiple_of(ALIGN_BYTES) - bytes.len();
        if padding > 0 {
            self.pieces.push(Piece::Zeros(padding));
        }
        self.bytes += (bytes.len() + padding) as u64;
        record
    }
}

pub(super) fn encode_record(record: &CommitRecord, replaced: &[CommitFacts]) -> Vec<u8> {
    let mut to = Vec::with_capacity(512 + record.columns.len() * 96 + replaced.len() * 160);
    to.put(RECORD_MAGIC);
    to.put(record.segment.leaf_partition.0.to_le_bytes());
    to.put(record.segment.sequence.0.to_le_bytes());
    to.put(record.segment.rewrite.0.to_le_bytes());
    to.put(record.header_crc.to_le_bytes());
    put_facts(&mut to, &record.facts);
    to.put(record.body_bytes.to_le_bytes());
    to.put(record.durable_end.to_le_bytes());
    for region in [record.rejects, record.row_deletes] {
        to.put(region.bytes.to_le_bytes());
        to.put(region.crc.to_le_bytes());
    }
    // Leaf partitions and commit numbers begin at 1.
    let leader = record
        .leader
        .map_or((0, 0), |l| (l.leaf_partition.0, l.commit_number));
    to.put(leader.0.to_le_bytes());
    to.put(leader.1.to_le_bytes());
    to.put((record.columns.len() as u32).to_le_bytes());
    to.put((replaced.len() as u32).to_le_bytes());
    for column in &record.columns {
        for buffer in &column.buffers {
            to.put(buffer.bytes.to_le_bytes());
            to.put(buffer.crc.to_le_bytes());
        }
        to.put(column.statistics.null_count.to_le_bytes());
        put_bound(&mut to, column.statistics.min.as_ref());
        put_bound(&mut to, column.statistics.max.as_ref());
    }
    for facts in replaced {
        put_facts(&mut to, facts);
    }
    to
}

fn put_facts(to: &mut Vec<u8>, facts: &CommitFacts) {
    to.put(facts.commit_number.to_le_bytes());
    to.put(facts.lineage.0.to_le_bytes());
    to.put(facts.first_offset.0.to_le_bytes());
    to.put(facts.next_offset.0.to_le_bytes());
    to.put(facts.rows.to_le_bytes());
    to.put(facts.rejects.to_le_bytes());
    let counts = &facts.counts;
    for count in [
        counts.loaded,
        counts.rejected,
        counts.empty,
        counts.skipped,
        counts.control,
        counts.aborted,
        counts.gap,
        counts.lost,
    ] {
        to.put(count.to_le_bytes());
    }
    to.put(facts.leader_epoch.to_le_bytes());
    to.put(facts.more_skips.to_le_bytes());
    to.put(facts.started_unix_ms.to_le_bytes());
    to.put(facts.ended_unix_ms.to_le_bytes());
    to.put(facts.extracted_bytes.to_le_bytes());
}

fn put_bound(to: &mut Vec<u8>, bound: Option<&StatisticBound>) {
    let Some(bound) = bound else {
        to.put([0, 0]);
        return;
    };
    let exact = u8::from(bound.exact);
    match &bound.value {
        StatisticValue::Int(value) => {
            to.put([1, exact]);
            to.put(value.to_le_bytes());
        }
        StatisticValue::UInt(value) => {
            to.put([2, exact]);
            to.put(value.to_le_bytes());
        }
        StatisticValue::Float(value) => {
            to.put([3, exact]);
            to.put(value.to_le_bytes());
        }
        StatisticValue::Decimal(value) => {
            to.put([4, exact]);
            to.put(value.to_le_bytes());
        }
        StatisticValue::Text(value) => {
            to.put([5, exact]);
            to.put_text(value);
        }
    }
}
