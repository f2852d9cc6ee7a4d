//! A small segment of fixed content: every type, NULLs, empty and long strings, gaps, rejects, a commit
//! that carries only a fault, and one that a merge would write.

use std::sync::Arc;

use storage::block::{BlockLayout, BlockWriter, FaultKind, Reject, RejectKind, Tail};
use storage::counts::Counts;
use storage::format::{
    CommitFacts, CommitInput, EncodedCommit, ParsedHeader, Predecessor, SegmentHeader, SegmentId,
    encode_commit, encode_header, encode_seal,
};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::schema::{Column, Physical, Schema, TimeUnit};

/// The message of the first reject.
pub const BAD_MESSAGE: &[u8] = b"{\"id\": ,}";

/// A segment in memory.
pub struct Sample {
    pub header: ParsedHeader,
    header_bytes: Vec<u8>,
    /// Position and commit.
    pub commits: Vec<(u64, EncodedCommit)>,
    /// The offset of each row.
    pub offsets: Vec<i64>,
}

impl Sample {
    pub fn open(&self) -> Vec<u8> {
        let commits = self.commits.iter().flat_map(|(_, commit)| commit.to_vec());
        self.header_bytes.iter().copied().chain(commits).collect()
    }

    pub fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.open();
        let records: Vec<_> = self
            .commits
            .iter()
            .map(|(at, c)| (*at, &c.record))
            .collect();
        let seal = encode_seal(&self.header.header, &records, bytes.len() as u64);
        bytes.extend(seal);
        bytes
    }

    pub fn rows(&self) -> u64 {
        self.offsets.len() as u64
    }

    pub fn next_offset(&self) -> Offset {
        let last = self.commits.last().expect("commits");
        last.1.record.facts.next_offset
    }
}

fn column(name: &str, physical: Physical, nullable: bool, annotation: &str) -> Column {
    Column {
        name: name.to_owned(),
        physical,
        nullable,
        annotation: annotation.to_owned(),
    }
}

fn schema() -> Arc<Schema> {
    let decimal = Physical::Decimal128 {
        precision: 38,
        scale: 4,
    };
    Arc::new(Schema {
        version: 3,
        columns: Arc::new([
            column("id", Physical::Int64, false, "bigint"),
            column("flag", Physical::Int8, true, "tinyint(1)"),
            column("small", Physical::Int16, true, "smallint"),
            column("unsigned_int", Physical::UInt32, true, "int unsigned"),
            column("unsigned_big", Physical::UInt64, true, "bigint unsigned"),
            column("ratio", Physical::Float32, true, "float"),
            column("price", Physical::Float64, true, "double"),
            column("amount", decimal, true, "decimal(38,4)"),
            column("day", Physical::Date32, true, "date"),
            column(
                "at_s",
                Physical::Timestamp(TimeUnit::Second),
                true,
                "datetime",
            ),
            column(
                "at_ms",
                Physical::Timestamp(TimeUnit::Millisecond),
                true,
                "datetime(3)",
            ),
            column(
                "at_us",
                Physical::Timestamp(TimeUnit::Microsecond),
                true,
                "datetime(6)",
            ),
            column("symbol", Physical::Utf8, false, "varchar(12)"),
            column("größe", Physical::Utf8, true, "text"),
        ]),
    })
}

/// The decimal of row `n`: beyond 64 bits.
pub fn decimal(n: i64) -> i128 {
    i128::from(n - 2) * 1_234_567_890_123_456_789_012_345
}

fn put_row(tail: &mut Tail<'_>, n: i64, offset: i64) {
    let null = |column: i64| (n + column) % 5 == 4;
    tail.put(0, n * 1_000_003);
    macro_rules! put {
        ($($column:literal: $value:expr;)*) => {$(
            if null($column) { tail.put_null($column as usize) } else { tail.put($column as usize, $value) }
        )*};
    }
    put! {
        1: (n % 2) as i8;
        2: (n as i16 - 20) * 300;
        3: u32::MAX - n as u32;
        4: u64::MAX - n as u64;
        5: n as f32 / 4.0;
        6: if n == 5 { f64::NAN } else { n as f64 / 8.0 };
        7: decimal(n);
        8: 19_000 + n as i32;
        9: 1_700_000_000 + n;
        10: 1_700_000_000_123 + n;
        11: 1_700_000_000_123_456 + n;
    }
    tail.put_str(12, ["EURUSD", "", "Ünïcödé"][n as usize % 3])
        .expect("room");
    if null(13) {
        tail.put_null(13);
    } else {
        tail.put_str(
            13,
            &"long text, longer than the statistics keep. ".repeat(n as usize % 3),
        )
        .expect("room");
    }
    tail.end_row(Offset(offset), 1_700_000_000_000 + offset);
}

fn reject(
    offset: i64,
    kind: RejectKind,
    text: &'static str,
    message: &'static [u8],
) -> Reject<'static> {
    Reject {
        offset: Offset(offset),
        timestamp_ms: 1_700_000_000_000 + offset,
        unix_ms: 1_700_000_001_000,
        code: 1_366,
        kind,
        line: 1,
        column: Some(2),
        text,
        key: Some(b"key"),
        message,
    }
}

/// The segment.
pub fn sample() -> Sample {
    following(Some(Predecessor {
        sequence: Sequence(2),
        lineage: Lineage(2),
        next_offset: Offset(1_000),
        next_commit_number: 11,
    }))
}

/// So many commits without a row.
pub fn of_commits(commits: usize) -> Sample {
    let mut sample = empty(None);
    for _ in 0..commits {
        sample.commit(0, 1, |_| {});
    }
    sample
}

/// The same behind this predecessor, or as the first of its leaf partition.
pub fn following(prev: Option<Predecessor>) -> Sample {
    let mut sample = empty(prev);
    sample.commit(20, 0, |_| {});
    sample.commit(1, 0, |tail| {
        let bad = reject(
            1_022,
            RejectKind::Constraint,
            "Out of range value for column 'small'",
            b"{}",
        );
        tail.reject(&bad).expect("room");
    });
    sample.commit(0, 0, |tail| {
        let text = "the broker no longer has offsets 900 to 999";
        let fault = reject(1_023, RejectKind::Fault(FaultKind::Extract), text, b"");
        tail.reject(&fault).expect("room");
    });
    sample.commit(70, 30, |_| {});
    sample
}

fn empty(prev: Option<Predecessor>) -> Sample {
    let header = SegmentHeader {
        id: SegmentId {
            leaf_partition: LeafPartitionId(7),
            sequence: Sequence(3),
            rewrite: Rewrite(0),
        },
        table: TableId(5),
        kafka_partition: 2,
        topic_id: TopicId(*b"topic-id-sixteen"),
        lineage: Lineage(2),
        first_offset: Offset(1_000),
        first_commit_number: 11,
        created_unix_ms: 1_700_000_000_000,
        prev,
        behind_durable: false,
        schema: schema(),
    };
    let (header, header_bytes) = encode_header(&header);
    Sample {
        commits: Vec::new(),
        offsets: Vec::new(),
        header,
        header_bytes,
    }
}

impl Sample {
    /// Appends a commit of `rows` rows, each of its own offset, then `gap` offsets without one.
    fn commit(&mut self, rows: i64, gap: u64, more: impl FnOnce(&mut Tail<'_>)) {
        let last = self
            .commits
            .last()
            .map(|(at, commit)| (*at, &commit.record));
        let at = last.map_or(self.header.bytes.into(), |(at, r)| at + r.message_bytes());
        let first = last.map_or(self.header.header.first_offset, |(_, r)| {
            r.facts.next_offset
        });
        let number = self.header.header.first_commit_number + self.commits.len() as u64;
        let layout = BlockLayout {
            schema: Arc::clone(&self.header.header.schema),
            rows: 256,
            string_bytes: vec![8_192; 2],
            rejects_bytes: 4_096,
        };
        let mut writer = BlockWriter::new(&layout, first);
        let mut tail = writer.tail();
        let mut counts = Counts {
            loaded: rows as u64,
            gap,
            ..Counts::default()
        };
        for n in 0..rows {
            put_row(&mut tail, n, first.0 + n);
            self.offsets.push(first.0 + n);
        }
        if self.commits.is_empty() {
            let bad = reject(
                first.0 + rows,
                RejectKind::Parser,
                "line 1: expected a value",
                BAD_MESSAGE,
            );
            tail.reject(&bad).expect("room");
            counts.rejected = 1;
            counts.empty = 2;
        }
        more(&mut tail);
        if self.commits.len() == 1 {
            counts.rejected = 1;
        }
        let next = Offset(first.0 + counts.offsets() as i64);
        let mark = writer.publish(next);
        let facts = CommitFacts {
            commit_number: number,
            lineage: self.header.header.lineage,
            first_offset: first,
            next_offset: next,
            counts,
            leader_epoch: 4,
            started_unix_ms: 1_700_000_000_000,
            ended_unix_ms: 1_700_000_000_500,
            extracted_bytes: 172 * rows as u64,
            ..CommitFacts::default()
        };
        let input = CommitInput {
            facts,
            durable_end: at,
            replaced: Vec::new(),
        };
        let encoded = encode_commit(&self.header, input, &writer.shared(), mark);
        self.commits.push((at, encoded));
    }
}
