//! What a commit record says, as plain data. Its bytes: [`crate::format::commit`].

use crate::counts::Counts;
use crate::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence};

/// A [`CommitFacts`] as written.
const FACTS_BYTES: u64 = 136;
/// What an index has for a commit beside its columns and what it replaces.
const INDEX_FIXED_BYTES: u64 = 16 + 32 + FACTS_BYTES + 56;

/// One segment file's identity, written into each of its records: no two files ever share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The leaf partition.
    pub leaf_partition: LeafPartitionId,
    /// The segment's place.
    pub sequence: Sequence,
    /// The rewrite.
    pub rewrite: Rewrite,
}

/// What one commit did: the batch, to the user. A merged commit keeps these of all it replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitFacts {
    /// Counts on from segment to segment within a leaf partition; the first is 1.
    pub commit_number: u64,
    /// The lineage.
    pub lineage: Lineage,
    /// The first offset covered.
    pub first_offset: Offset,
    /// The offset after the last covered; equal to `first_offset` where it carries only errors.
    pub next_offset: Offset,
    /// Rows.
    pub rows: u32,
    /// Rejects and faults kept.
    pub rejects: u32,
    /// What became of each offset; they add up to `next_offset - first_offset`.
    pub counts: Counts,
    /// The leader epoch of the last record batch; -1 unknown.
    pub leader_epoch: i32,
    /// Of a sum: how many more than one of its batches gave up a range.
    pub more_skips: u32,
    /// When its first step was loaded, ms since 1970.
    pub started_unix_ms: i64,
    /// When it was written, ms since 1970.
    pub ended_unix_ms: i64,
    /// Bytes taken from the broker for it, as on the wire.
    pub extracted_bytes: u64,
}

impl CommitFacts {
    /// BATCH_ID: `leaf partition index << 40 | commit number`.
    #[must_use]
    pub fn batch_id(&self, leaf_partition_index: u32) -> u64 {
        u64::from(leaf_partition_index) << 40 | self.commit_number
    }

    /// Up to where its record batches reach: what was lost to retention behind them was nobody's. `None`:
    /// all of it was.
    #[must_use]
    pub fn epoch_reaches(&self) -> Option<Offset> {
        let lost = i64::try_from(self.counts.lost).unwrap_or(i64::MAX);
        let reaches = Offset(self.next_offset.0.saturating_sub(lost));
        (self.counts.offsets() > self.counts.lost).then_some(reaches)
    }

    /// How many batches gave up a range: it, or those that it is the sum of.
    #[must_use]
    pub fn skips(&self) -> u64 {
        u64::from(self.counts.skipped > 0) + u64::from(self.more_skips)
    }

    /// What batches that follow one another did together: of the number of the last.
    ///
    /// # Panics
    /// Of none.
    #[must_use]
    pub fn sum(batches: &[CommitFacts]) -> CommitFacts {
        let (first, last) = (batches[0], batches[batches.len() - 1]);
        let mut sum = CommitFacts {
            first_offset: first.first_offset,
            started_unix_ms: first.started_unix_ms,
            rows: 0,
            rejects: 0,
            counts: Counts::default(),
            extracted_bytes: 0,
            more_skips: 0,
            ..last
        };
        let mut skips = 0;
        for batch in batches {
            sum.rows += batch.rows;
            sum.rejects += batch.rejects;
            sum.counts.add(&batch.counts);
            sum.extracted_bytes += batch.extracted_bytes;
            skips += batch.skips();
        }
        sum.more_skips = u32::try_from(skips.saturating_sub(1)).unwrap_or(u32::MAX);
        sum
    }
}

/// A commit of another leaf partition without which this one does not exist. Reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitLeader {
    /// Whose.
    pub leaf_partition: LeafPartitionId,
    /// Which.
    pub commit_number: u64,
}

/// A value in the statistics. Which variant it is follows from the column's physical type.
#[derive(Clone, Debug, PartialEq)]
pub enum StatisticValue {
    /// Signed integers, dates and timestamps.
    Int(i64),
    /// Unsigned integers.
    UInt(u64),
    /// Float32 (widened) and Float64. Never NaN.
    Float(f64),
    /// Decimal128, unscaled.
    Decimal(i128),
    /// Strings, compared by their bytes.
    Text(Box<str>),
}

/// A column's smallest or largest value, or a bound of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticBound {
    /// A value that no row passes.
    pub value: StatisticValue,
    /// Whether a row has just this value. Not exact: a cut string, or a column that also holds NaN.
    pub exact: bool,
}

/// What a query may know of a column without reading it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnStatistics {
    /// The smallest value; `None` where there is none or none is known.
    pub min: Option<StatisticBound>,
    /// The largest value.
    pub max: Option<StatisticBound>,
    /// NULLs; always exact.
    pub null_count: u32,
}

/// Where a column buffer lies in the body, and its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferRecord {
    /// From the body's start, a multiple of 64; follows from the lengths.
    pub at: u64,
    /// Bytes without padding; 0 for the validity of a column without NULL.
    pub bytes: u32,
    /// CRC-32 of them.
    pub crc: u32,
}

/// One column of a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnRecord {
    /// Validity bits; then values, or offsets and string bytes.
    pub buffers: [BufferRecord; 3],
    /// Statistics.
    pub statistics: ColumnStatistics,
}

/// What a merged commit stands for, as far as memory keeps it: the facts of each stand in its metadata
/// alone, and are read from there ([`crate::format::parse_batches`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// How many; 0: it stands for itself.
    pub count: u32,
    /// The number of the first.
    pub first_commit_number: u64,
    /// How far record batches reach, of the last that one came to: [`CommitFacts::epoch_reaches`].
    pub epoch_reaches: Option<Offset>,
}

impl Replaced {
    /// Those.
    #[must_use]
    pub fn of(batches: &[CommitFacts]) -> Replaced {
        let mut replaced = Replaced::default();
        batches.iter().for_each(|batch| replaced.push(batch));
        replaced
    }

    /// The next.
    pub(super) fn push(&mut self, batch: &CommitFacts) {
        if self.count == 0 {
            self.first_commit_number = batch.commit_number;
        }
        self.count += 1;
        self.epoch_reaches = batch.epoch_reaches().or(self.epoch_reaches);
    }
}

/// What a commit's metadata says, but for the facts of each that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRecord {
    /// The file.
    pub segment: SegmentId,
    /// CRC-32 of that file's header.
    pub header_crc: u32,
    /// What it did. Of a merged commit: the number of the last it replaces and the sum of all.
    pub facts: CommitFacts,
    /// Bytes of metadata: the body begins there.
    pub head_bytes: u32,
    /// Bytes of body, padding with them.
    pub body_bytes: u64,
    /// Bytes of this segment known to be synced when it was written; 0 until every earlier segment is.
    pub durable_end: u64,
    /// The user's columns, then `_offset`, then `_timestamp`.
    pub columns: Box<[ColumnRecord]>,
    /// The rejects, behind the last column buffer.
    pub rejects: BufferRecord,
    /// Reserved: row deletes, behind the rejects. Written empty.
    pub row_deletes: BufferRecord,
    /// Reserved: the commit without which this one does not exist. Written as none.
    pub leader: Option<CommitLeader>,
    /// What a merged commit stands for.
    pub replaced: Replaced,
}

impl CommitRecord {
    /// Bytes of the whole message.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        u64::from(self.head_bytes) + self.body_bytes
    }

    /// Bytes that a seal's index has for it: the record again and where it stands.
    #[must_use]
    pub fn index_bytes_max(&self) -> u64 {
        let bound = |bound: &Option<StatisticBound>| match bound.as_ref().map(|b| &b.value) {
            None => 2,
            Some(StatisticValue::Decimal(_)) => 2 + 16,
            Some(StatisticValue::Text(text)) => 2 + 2 + text.len(),
            Some(_) => 2 + 8,
        };
        let column = |column: &ColumnRecord| {
            let ColumnStatistics { min, max, .. } = &column.statistics;
            3 * 8 + 4 + bound(min) + bound(max)
        };
        let columns: usize = self.columns.iter().map(column).sum();
        INDEX_FIXED_BYTES + columns as u64
    }

    /// How many of the user's batches it is: those that it replaces, or itself.
    #[must_use]
    pub fn batches(&self) -> u32 {
        self.replaced.count.max(1)
    }

    /// The number of the first of them.
    #[must_use]
    pub fn first_commit_number(&self) -> u64 {
        match self.replaced.count {
            0 => self.facts.commit_number,
            _ => self.replaced.first_commit_number,
        }
    }

    /// [`CommitFacts::epoch_reaches`] of the last of them that has one.
    #[must_use]
    pub fn epoch_reaches(&self) -> Option<Offset> {
        match self.replaced.count {
            0 => self.facts.epoch_reaches(),
            _ => self.replaced.epoch_reaches,
        }
    }

    /// Whether a seal's index says the same: it keeps nothing of what a commit stands for.
    #[must_use]
    pub fn is_indexed_as(&self, indexed: &CommitRecord) -> bool {
        let CommitRecord {
            segment,
            header_crc,
            facts,
            head_bytes,
            body_bytes,
            durable_end,
            columns,
            rejects,
            row_deletes,
            leader,
            replaced: _,
        } = indexed;
        (self.segment, self.header_crc, &self.facts) == (*segment, *header_crc, facts)
            && (self.head_bytes, self.body_bytes) == (*head_bytes, *body_bytes)
            && (self.durable_end, &self.columns) == (*durable_end, columns)
            && (self.rejects, self.row_deletes) == (*rejects, *row_deletes)
            && self.leader == *leader
    }
}
