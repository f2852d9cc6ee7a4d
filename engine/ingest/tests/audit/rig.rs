//! A leaf partition and its Kafka partition as plain data, of which a test changes what it likes before
//! bytes are made of it.
//!
//! Lineage 1 has offsets 90 to 94, of which the log has lost 90 and 91 since. Lineage 2 begins at 100:
//!
//! | offsets | in the log | became |
//! |---|---|---|
//! | 100, 101 | a message; one of two values | rows |
//! | 102, 103 | a tombstone; a bad message | empty; a reject |
//! | 104, 105 | an aborted message and its marker | aborted, control |
//! | 106, 107 | a committed message and its marker | a row, control |
//! | 108, 109 | nothing: compacted | gap |
//! | 110 | a message | a row |
//! | 111 to 114 | a record batch that begins with poison | skipped |
//! | 115 to 120 | messages | rows; from 117 on in the tail |

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_buffer::Buffer;
use ingest::audit::{LogSays, Model, Range, Response, Rows, Stopped, Subject, World};
use ingest::kafka::fetch::{FetchResponse, ResponsePartition, encode_response};
use ingest::kafka::{Aborted, BatchBuilder, ErrorCode};
use ingest::limits::AUDIT_BASE_BYTES;
use ingest::pipeline::{JsonMapping, MappedColumn, Path as JsonPath, SqlType};
use storage::block::{Block, BlockLayout, BlockWriter, FaultKind, Mark, Reject, RejectKind};
use storage::counts::Counts;
use storage::error::StorageError;
use storage::format::{
    ColumnRecord, CommitFacts, CommitInput, CommitRecord, ParsedHeader, Predecessor, SegmentHeader,
    SegmentId, encode_commit, encode_copy, encode_header, encode_seal,
};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::inspect::SegmentBytes;
use storage::map::Pages;
use storage::published::{Durable, PartitionView, Published, Snapshot};
use storage::schema::Schema;
use storage::segment::{Alarm, Commit, Open, SealState, Segment, SegmentFile};

/// Answers of the fetch version that the responses are encoded in.
const VERSION: i16 = 12;
/// Every message's timestamp is its offset and this.
pub const TIMESTAMP_MS: i64 = 1_700_000_000_000;
/// When the batches of lineage 2 began.
pub const STARTED_MS: i64 = 1_700_000_500_000;
/// The producer whose transaction is aborted.
const PRODUCER: i64 = 7;

/// One row: offset, timestamp, id, word.
#[derive(Clone, Debug)]
pub struct Row {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub id: i64,
    pub word: Option<String>,
}

/// One reject or fault.
#[derive(Clone, Debug)]
pub struct Bad {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub kind: RejectKind,
    pub code: u16,
    pub column: Option<u16>,
    pub line: u32,
    pub key: Option<&'static [u8]>,
    pub message: Vec<u8>,
}

/// One commit, or block of the tail.
#[derive(Clone, Debug)]
pub struct CommitPlan {
    pub facts: CommitFacts,
    pub replaced: Vec<CommitFacts>,
    pub rows: Vec<Row>,
    pub rejects: Vec<Bad>,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct SegmentPlan {
    pub header: SegmentHeader,
    pub commits: Vec<CommitPlan>,
    pub sealed: bool,
}

/// One record of the log: delta, key, value.
pub type Rec = (i32, Option<&'static [u8]>, Option<Vec<u8>>);

/// One record batch of the log.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    pub base: i64,
    pub records: Vec<Rec>,
    pub producer: Option<i64>,
    pub control: bool,
}

/// What happens to what is made of the plan.
type Touch<T> = Option<Box<dyn Fn(&mut T)>>;

/// All of it. See the module.
pub struct Plan {
    pub subject: Subject,
    pub segments: Vec<SegmentPlan>,
    pub tail: Vec<CommitPlan>,
    pub durable: Durable,
    pub log: Vec<BatchPlan>,
    pub log_start: i64,
    /// Aborted transactions, each with its marker's offset.
    pub aborted: Vec<(Aborted, i64)>,
    /// The log ends here, whatever is asked.
    pub log_end: Option<i64>,
    /// Why the broker cannot be asked.
    pub broker: Option<String>,
    /// It fails after so many responses of a range.
    pub responses_max: Option<usize>,
    /// A bit of every record batch is turned on the way.
    pub spoiled: bool,
    pub replaced_unix_ms: Option<i64>,
    pub fetched: Option<i64>,
    /// Changes the records that queries are shown, by segment and commit.
    pub shown: Touch<(usize, usize, CommitRecord)>,
    /// Changes a file's bytes, by segment.
    pub bytes: Touch<(usize, Vec<u8>)>,
    /// Changes a column of the last commit's record, in the file and as it is shown.
    pub forged: Option<fn(&mut ColumnRecord)>,
    pub forged_column: usize,
    /// Changes what that record says it did.
    pub forged_facts: Option<fn(&mut CommitFacts)>,
    /// Reads of this segment's file that touch these bytes fail.
    pub bad_sector: Option<(usize, std::ops::Range<u64>)>,
    /// This segment's index says other commits than it has.
    pub index_of: Option<usize>,
    /// What is known of the seals that are there.
    pub seal: SealState,
    /// This segment's seal is missing, though it was written.
    pub unsealed: Option<usize>,
    /// This segment's file is missing.
    pub missing: Option<usize>,
    /// The missing file is not shown any more.
    pub merged_meanwhile: bool,
    /// So much may be reserved.
    pub memory_bytes_max: u64,
}

pub fn message(id: i64) -> Vec<u8> {
    format!("{{\"id\":{id},\"word\":\"w{id}\"}}").into_bytes()
}

fn row(offset: i64, id: i64) -> Row {
    Row {
        offset,
        timestamp_ms: TIMESTAMP_MS + offset,
        id,
        word: Some(format!("w{id}")),
    }
}

pub const BAD: &[u8] = b"{\"id\":\"no number\",\"word\":\"bad\"}";

fn bad(offset: i64) -> Bad {
    Bad {
        offset,
        timestamp_ms: TIMESTAMP_MS + offset,
        kind: RejectKind::Parser,
        code: 1366,
        column: Some(0),
        line: 1,
        key: Some(b"key"),
        message: BAD.to_vec(),
    }
}

fn fault(offset: i64) -> Bad {
    Bad {
        offset,
        timestamp_ms: TIMESTAMP_MS + offset,
        kind: RejectKind::Fault(FaultKind::Load),
        code: 1366,
        column: None,
        line: 0,
        key: None,
        message: BAD.to_vec(),
    }
}

fn one(base: i64, value: Option<Vec<u8>>) -> BatchPlan {
    BatchPlan {
        base,
        records: vec![(0, Some(b"key"), value)],
        producer: None,
        control: false,
    }
}

fn transactional(base: i64, value: Vec<u8>) -> BatchPlan {
    BatchPlan {
        producer: Some(PRODUCER),
        ..one(base, Some(value))
    }
}

fn marker(base: i64, is_commit: bool) -> BatchPlan {
    let key: &'static [u8] = if is_commit {
        &[0, 0, 0, 1]
    } else {
        &[0, 0, 0, 0]
    };
    BatchPlan {
        base,
        records: vec![(0, Some(key), Some(vec![0; 6]))],
        producer: Some(PRODUCER),
        control: true,
    }
}

/// A commit of these offsets; counts as its rows and rejects say, and `more`.
fn commit(
    number: u64,
    lineage: u64,
    offsets: [i64; 2],
    rows: Vec<Row>,
    more: Counts,
) -> CommitPlan {
    let mut loaded: Vec<i64> = rows.iter().map(|row| row.offset).collect();
    loaded.dedup();
    CommitPlan {
        facts: CommitFacts {
            commit_number: number,
            lineage: Lineage(lineage),
            first_offset: Offset(offsets[0]),
            next_offset: Offset(offsets[1]),
            rows: rows.len() as u32,
            rejects: 0,
            counts: Counts {
                loaded: loaded.len() as u64,
                ..more
            },
            leader_epoch: 1,
            started_unix_ms: STARTED_MS + number as i64,
            ended_unix_ms: STARTED_MS + number as i64,
            more_skips: 0,
            extracted_bytes: 100,
        },
        replaced: Vec::new(),
        rows,
        rejects: Vec::new(),
    }
}

impl CommitPlan {
    fn rejecting(mut self, bad: Bad) -> CommitPlan {
        self.facts.rejects += 1;
        self.rejects.push(bad);
        self
    }
}

/// These, one behind the other, as a merge writes them.
fn merged(commits: Vec<CommitPlan>) -> CommitPlan {
    let replaced: Vec<CommitFacts> = commits.iter().map(|commit| commit.facts).collect();
    let mut facts = *replaced.last().expect("some");
    facts.first_offset = replaced[0].first_offset;
    facts.rows = replaced.iter().map(|one| one.rows).sum();
    facts.rejects = replaced.iter().map(|one| one.rejects).sum();
    facts.counts = Counts::default();
    for one in &replaced {
        facts.counts.add(&one.counts);
    }
    CommitPlan {
        facts,
        replaced,
        rows: commits.iter().flat_map(|one| one.rows.clone()).collect(),
        rejects: commits.iter().flat_map(|one| one.rejects.clone()).collect(),
    }
}

fn counts() -> Counts {
    Counts::default()
}

impl Plan {
    /// A sound one.
    pub fn new() -> Plan {
        let header = |sequence, rewrite, lineage, first, number, prev| SegmentHeader {
            id: SegmentId {
                leaf_partition: LeafPartitionId(4),
                sequence: Sequence(sequence),
                rewrite: Rewrite(rewrite),
            },
            table: TableId(2),
            kafka_partition: 7,
            topic_id: TopicId([9; 16]),
            lineage: Lineage(lineage),
            first_offset: Offset(first),
            first_commit_number: number,
            created_unix_ms: STARTED_MS,
            prev,
            behind_durable: false,
            schema: schema(),
        };
        let prev = |sequence, lineage, next, number| {
            Some(Predecessor {
                sequence: Sequence(sequence),
                lineage: Lineage(lineage),
                next_offset: Offset(next),
                next_commit_number: number,
            })
        };
        let old: Vec<Row> = (90..95).map(|offset| row(offset, offset)).collect();
        let two = [row(100, 100), row(101, 1), row(101, 2)];
        let first = [
            commit(
                3,
                2,
                [100, 104],
                two.into(),
                Counts {
                    rejected: 1,
                    empty: 1,
                    ..counts()
                },
            )
            .rejecting(bad(103)),
            commit(
                4,
                2,
                [104, 108],
                vec![row(106, 106)],
                Counts {
                    aborted: 1,
                    control: 2,
                    ..counts()
                },
            ),
            commit(
                5,
                2,
                [108, 111],
                vec![row(110, 110)],
                Counts { gap: 2, ..counts() },
            ),
        ];
        let skipping = commit(
            8,
            2,
            [111, 115],
            vec![],
            Counts {
                skipped: 4,
                ..counts()
            },
        );
        let empty = commit(9, 2, [115, 115], vec![], counts()).rejecting(fault(111));
        let last = commit(
            10,
            2,
            [115, 117],
            vec![row(115, 115), row(116, 116)],
            counts(),
        );
        let tail = |first: i64| {
            let rows = vec![row(first, first), row(first + 1, first + 1)];
            commit(0, 2, [first, first + 2], rows, counts())
        };
        Plan {
            subject: Subject {
                table: TableId(2),
                leaf_partition: LeafPartitionId(4),
                kafka_partition: 7,
                lineage: Lineage(2),
                start_offset: Offset(100),
                topic_id: TopicId([9; 16]),
                stands: None,
            },
            segments: vec![
                SegmentPlan {
                    header: header(1, 0, 1, 90, 1, None),
                    commits: vec![
                        commit(1, 1, [90, 93], old[..3].into(), counts()),
                        commit(2, 1, [93, 95], old[3..].into(), counts()),
                    ],
                    sealed: true,
                },
                SegmentPlan {
                    header: header(3, 1, 2, 100, 3, prev(1, 1, 95, 3)),
                    commits: vec![merged(first.into())],
                    sealed: true,
                },
                SegmentPlan {
                    // Two numbers were given up with a failed write.
                    header: header(5, 0, 2, 111, 8, prev(3, 2, 111, 6)),
                    commits: vec![skipping, empty, last],
                    sealed: false,
                },
            ],
            tail: vec![tail(117), tail(119)],
            durable: Durable {
                sequence: Sequence(5),
                commits: 2,
            },
            log: log(),
            log_start: 92,
            aborted: vec![(
                Aborted {
                    producer_id: PRODUCER,
                    first_offset: Offset(104),
                },
                105,
            )],
            log_end: None,
            broker: None,
            responses_max: None,
            spoiled: false,
            replaced_unix_ms: None,
            fetched: None,
            shown: None,
            bytes: None,
            forged: None,
            forged_column: 0,
            forged_facts: None,
            bad_sector: None,
            index_of: None,
            seal: SealState::Durable,
            unsealed: None,
            missing: None,
            merged_meanwhile: false,
            memory_bytes_max: u64::MAX,
        }
    }

    /// The sound one, with this changed.
    pub fn with(change: impl FnOnce(&mut Plan)) -> Plan {
        let mut plan = Plan::new();
        change(&mut plan);
        plan
    }

    /// The commit of that segment.
    pub fn commit(&mut self, segment: usize, commit: usize) -> &mut CommitPlan {
        &mut self.segments[segment].commits[commit]
    }

    /// The record batch that begins at `base`.
    pub fn batch(&mut self, base: i64) -> &mut BatchPlan {
        let found = self.log.iter_mut().find(|batch| batch.base == base);
        found.expect("a record batch there")
    }

    /// That segment's file.
    pub fn file(&self, segment: usize) -> Vec<u8> {
        make(self, segment).bytes
    }

    /// Where that commit begins, and its body, in the segment's file.
    pub fn place(&self, segment: usize, commit: usize) -> (u64, u64) {
        let (at, record) = &make(self, segment).commits[commit];
        (*at, at + u64::from(record.head_bytes))
    }

    /// Looks at the records alone.
    pub fn records(&self) -> Outcome {
        let mut world = TestWorld::new(self);
        let snapshot = world.snapshot();
        let ended = ingest::audit::records(&self.subject, snapshot, &mut world);
        Outcome::new(world, ended)
    }

    /// Verifies.
    pub fn verify(&self) -> Outcome {
        let mut world = TestWorld::new(self);
        let snapshot = world.snapshot();
        let model = Model::new(mapping(), self.replaced_unix_ms);
        let ended = ingest::audit::verify(&self.subject, snapshot, &model, &mut world);
        Outcome::new(world, ended)
    }
}

fn log() -> Vec<BatchPlan> {
    let mut log: Vec<BatchPlan> = (92..100)
        .map(|offset| one(offset, Some(message(offset))))
        .collect();
    let two = [message(1), b" ".to_vec(), message(2)].concat();
    log.extend([
        one(100, Some(message(100))),
        one(101, Some(two)),
        one(102, None),
        one(103, Some(BAD.to_vec())),
        transactional(104, message(104)),
        marker(105, false),
        transactional(106, message(106)),
        marker(107, true),
        one(110, Some(message(110))),
        BatchPlan {
            records: vec![
                (0, None, Some(BAD.to_vec())),
                (1, None, Some(message(112))),
                (2, None, None),
                (3, None, Some(message(114))),
            ],
            ..one(111, None)
        },
    ]);
    log.extend((115..121).map(|offset| one(offset, Some(message(offset)))));
    log
}

pub fn mapping() -> JsonMapping {
    let column = |name: &str, sql_type| MappedColumn {
        name: name.to_owned(),
        sql_type,
        nullable: name == "word",
        path: Some(JsonPath(vec![name.to_owned()])),
        default: None,
    };
    JsonMapping {
        columns: vec![
            column("id", SqlType::BigInt { unsigned: false }),
            column("word", SqlType::VarChar { chars: 20 }),
        ],
    }
}

fn schema() -> Arc<Schema> {
    let columns = mapping().columns;
    let columns = columns.iter().map(|column| storage::schema::Column {
        name: column.name.clone(),
        physical: column.sql_type.physical(),
        nullable: column.nullable,
        annotation: column.sql_type.to_string(),
    });
    Arc::new(Schema {
        version: 1,
        columns: columns.collect(),
    })
}

/// A block that holds what the plan says, and where it ends.
fn block(plan: &CommitPlan) -> (Arc<Block>, Mark) {
    let layout = BlockLayout {
        schema: schema(),
        rows: 256,
        string_bytes: vec![4_096],
        rejects_bytes: 1 << 20,
    };
    let mut writer = BlockWriter::new(&layout, plan.facts.first_offset);
    let mut tail = writer.tail();
    for row in &plan.rows {
        tail.put(0, row.id);
        match &row.word {
            Some(word) => tail.put_str(1, word).expect("room"),
            None => tail.put_null(1),
        }
        tail.end_row(Offset(row.offset), row.timestamp_ms);
    }
    for bad in &plan.rejects {
        let reject = Reject {
            offset: Offset(bad.offset),
            timestamp_ms: bad.timestamp_ms,
            unix_ms: STARTED_MS,
            code: bad.code,
            kind: bad.kind,
            line: bad.line,
            column: bad.column,
            text: "what is wrong",
            key: bad.key,
            message: &bad.message,
        };
        tail.reject(&reject).expect("room");
    }
    let mark = writer.publish(plan.facts.next_offset);
    (writer.shared(), mark)
}

/// A segment's bytes and what a leaf would show of it.
struct Made {
    header: ParsedHeader,
    bytes: Vec<u8>,
    commits: Vec<(u64, CommitRecord)>,
}

fn make(plan: &Plan, segment: usize) -> Made {
    let of = &plan.segments[segment];
    let (header, mut bytes) = encode_header(&of.header);
    let mut commits = Vec::new();
    for (number, commit) in of.commits.iter().enumerate() {
        let (block, mark) = block(commit);
        let input = CommitInput {
            facts: commit.facts,
            durable_end: 0,
            replaced: commit.replaced.clone(),
        };
        let encoded = encode_commit(&header, input, &block, mark);
        let mut record = encoded.record.clone();
        let mut message = encoded.to_vec();
        if (plan.forged.is_some() || plan.forged_facts.is_some()) && (segment, number) == (2, 2) {
            let body = message.split_off(record.head_bytes as usize);
            if let Some(forge) = plan.forged {
                forge(&mut record.columns[plan.forged_column]);
            }
            if let Some(forge) = plan.forged_facts {
                forge(&mut record.facts);
            }
            (record, message) = encode_copy(&header, &record, &commit.replaced);
            message.extend(body);
        }
        commits.push((bytes.len() as u64, record));
        bytes.extend(message);
    }
    if of.sealed && plan.unsealed != Some(segment) {
        let mut said = commits.clone();
        if plan.index_of == Some(segment) {
            said[1].1.facts.extracted_bytes += 1;
        }
        let records: Vec<_> = said.iter().map(|(at, record)| (*at, record)).collect();
        let end = bytes.len() as u64;
        bytes.extend(encode_seal(&of.header, &records, end));
    }
    Made {
        header,
        bytes,
        commits,
    }
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

/// A file of which no large part is read before there is memory for it.
#[derive(Debug)]
struct Watched(Bytes, Arc<AtomicU64>);

impl SegmentBytes for Watched {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<Buffer> {
        let reserved = self.1.load(Ordering::Relaxed);
        let large = len > 32 << 10;
        assert!(
            !large || reserved >= AUDIT_BASE_BYTES + len as u64,
            "{len} bytes"
        );
        self.0.read(at_byte, len)
    }
}

/// A file with bytes that cannot be read.
#[derive(Debug)]
struct BadSector(Bytes, std::ops::Range<u64>);

impl SegmentBytes for BadSector {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<Buffer> {
        if at_byte < self.1.end && at_byte + len as u64 > self.1.start {
            return Err(io::Error::other("a bad sector"));
        }
        self.0.read(at_byte, len)
    }
}

impl Bytes {
    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.0.get(at as usize..at as usize + len)
    }
}

impl SegmentBytes for Bytes {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<Buffer> {
        let bytes = self.slice(at_byte, len);
        bytes
            .map(Buffer::from_slice_ref)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Pages for Bytes {
    fn buffer(&self, at_byte: u64, len: usize) -> Result<Buffer, StorageError> {
        Ok(Buffer::from_slice_ref(
            self.slice(at_byte, len).expect("inside"),
        ))
    }

    fn prefetch(&self, _: u64, _: usize) -> Result<(), StorageError> {
        Ok(())
    }
}

struct TestWorld<'p> {
    plan: &'p Plan,
    /// What queries are shown.
    view: PartitionView,
    files: BTreeMap<PathBuf, Vec<u8>>,
    rows: Vec<Range>,
    reserved: u64,
    reserved_now: Arc<AtomicU64>,
    /// What is left of the log's range that was asked for.
    asked: Vec<LogSays>,
    /// Ranges asked for.
    asks: Vec<(i64, i64)>,
}

impl<'p> TestWorld<'p> {
    fn new(plan: &'p Plan) -> TestWorld<'p> {
        let mut files = BTreeMap::new();
        let mut sealed = Vec::new();
        let mut open = None;
        let mut open_commits = 0;
        for (at, segment) in plan.segments.iter().enumerate() {
            let mut made = make(plan, at);
            if let Some(touch) = &plan.bytes {
                let mut given = (at, made.bytes);
                touch(&mut given);
                made.bytes = given.1;
            }
            let id = segment.header.id;
            let path = PathBuf::from(format!("/{}.{}.arrow", id.sequence, id.rewrite));
            let pages = Arc::new(Bytes(made.bytes.clone()));
            let alarm = Arc::new(Alarm::default());
            let file = SegmentFile::new(made.header, path.clone(), pages, alarm);
            file.say_seal(if segment.sealed {
                plan.seal
            } else {
                SealState::Unknown
            });
            let file = Arc::new(file);
            if plan.missing != Some(at) {
                files.insert(path, made.bytes);
            }
            let commits = made.commits.into_iter().enumerate();
            let commits = commits.map(|(number, (at_byte, mut record))| {
                if let Some(touch) = &plan.shown {
                    let mut given = (at, number, record);
                    touch(&mut given);
                    record = given.2;
                }
                Arc::new(Commit::new(record, at_byte))
            });
            let commits: Vec<_> = commits.collect();
            if segment.sealed {
                sealed.push(Arc::new(Segment::arrow(file, commits)));
            } else {
                let list = Open::new(file);
                for (index, commit) in (0..).zip(&commits) {
                    list.push(index, Arc::clone(commit)).expect("room");
                }
                open_commits = commits.len() as u32;
                open = Some(Arc::new(list));
            }
        }
        let view = PartitionView::new(
            TableId(2),
            LeafPartitionId(4),
            7,
            schema(),
            plan.subject.start_offset,
        );
        let mut blocks = plan.tail.iter().map(|part| block(part).0);
        view.publish(Published {
            sealed: sealed.into(),
            open,
            open_commits,
            blocks: [blocks.next(), blocks.next()],
            durable: plan.durable,
            lineage: Lineage(2),
            start_offset: plan.subject.start_offset,
            holes: Arc::new([]),
        });
        TestWorld {
            plan,
            view,
            files,
            rows: Vec::new(),
            reserved: 0,
            reserved_now: Arc::default(),
            asked: Vec::new(),
            asks: Vec::new(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.view.snapshot()
    }

    /// A response from `from` on: a few record batches.
    fn response(&self, batches: &[BatchPlan]) -> Response {
        let mut records = Vec::new();
        for plan in batches {
            let mut batch = BatchBuilder::new(plan.base);
            batch.control = plan.control;
            batch.transactional = plan.producer.is_some();
            batch.producer_id = plan.producer.unwrap_or(-1);
            for (delta, key, value) in &plan.records {
                let timestamp = TIMESTAMP_MS + plan.base + i64::from(*delta);
                batch.push_at(*delta, timestamp, *key, value.as_deref());
            }
            let mut bytes = batch.build();
            if self.plan.spoiled {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            }
            records.extend(bytes);
        }
        // Those that reach into the response, as a broker names them.
        let from = batches.first().map_or(0, |batch| batch.base);
        let aborted = self.plan.aborted.iter().filter(|(_, ends)| *ends >= from);
        let aborted: Vec<Aborted> = aborted.map(|(one, _)| *one).collect();
        let partition = ResponsePartition {
            topic: "orders",
            topic_id: TopicId([9; 16]),
            partition: 7,
            error: ErrorCode::None,
            high_watermark: 1_000,
            last_stable_offset: 1_000,
            log_start_offset: self.plan.log_start,
            aborted: &aborted,
            diverging: None,
            current_leader: None,
            records: &records,
        };
        let mut frame = Vec::new();
        encode_response(
            &mut frame,
            &FetchResponse {
                version: VERSION,
                correlation_id: 3,
                throttle_ms: 0,
                error: ErrorCode::None,
                session_id: 0,
                partitions: &[partition],
                endpoints: &[],
            },
        );
        Response {
            version: VERSION,
            correlation_id: 3,
            frame: frame.split_off(4),
        }
    }
}

impl Rows for TestWorld<'_> {
    fn row(&mut self, range: Range) -> Result<(), Stopped> {
        self.rows.push(range);
        Ok(())
    }

    fn go_on(&mut self) -> Result<(), Stopped> {
        Ok(())
    }

    fn fetched_behind(&mut self, visible: Offset) -> Option<Offset> {
        let fetched = self.plan.fetched.map(Offset);
        fetched.filter(|fetched| *fetched < visible)
    }
}

impl World for TestWorld<'_> {
    fn reserve(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.reserved = self.reserved.max(bytes);
        self.reserved_now.store(bytes, Ordering::Relaxed);
        if bytes > self.plan.memory_bytes_max {
            return Err(Stopped::Memory);
        }
        Ok(())
    }

    fn open(&mut self, path: &Path) -> io::Result<Option<Box<dyn SegmentBytes>>> {
        let Some(bytes) = self.files.get(path).cloned() else {
            return Ok(None);
        };
        if let Some((segment, bad)) = &self.plan.bad_sector {
            let id = self.plan.segments[*segment].header.id;
            if path.ends_with(format!("{}.{}.arrow", id.sequence, id.rewrite)) {
                return Ok(Some(Box::new(BadSector(Bytes(bytes), bad.clone()))));
            }
        }
        let reserved = Arc::clone(&self.reserved_now);
        Ok(Some(Box::new(Watched(Bytes(bytes), reserved))))
    }

    fn is_shown(&mut self, _: &Path) -> bool {
        !self.plan.merged_meanwhile
    }

    fn ask_log(&mut self, from: Offset, to: Offset) {
        self.asks.push((from.0, to.0));
        if let Some(why) = &self.plan.broker {
            self.asked = vec![LogSays::Failed(why.clone())];
            return;
        }
        let mut said = vec![LogSays::Begins(Offset(self.plan.log_start))];
        let end = self.plan.log_end.unwrap_or(i64::MAX).min(to.0);
        let reaches = |batch: &&BatchPlan| {
            let last = batch.records.last().map_or(0, |record| record.0);
            batch.base + i64::from(last) >= from.0 && batch.base < end
        };
        let batches: Vec<BatchPlan> = self.plan.log.iter().filter(reaches).cloned().collect();
        // Few enough that a transaction does not fit one response.
        for few in batches.chunks(5) {
            said.push(LogSays::Response(self.response(few)));
        }
        said.push(match self.plan.log_end {
            Some(end) if end < to.0 => LogSays::EndsAt(Offset(end)),
            _ => LogSays::End,
        });
        if let Some(max) = self.plan.responses_max
            && said.len() > max + 2
        {
            said.truncate(max + 1);
            said.push(LogSays::Failed("the connection ended".to_owned()));
        }
        said.reverse();
        self.asked = said;
    }

    fn log(&mut self) -> Result<LogSays, Stopped> {
        Ok(self.asked.pop().expect("an end was said"))
    }

    fn leave_log(&mut self) {
        self.asked.clear();
    }
}

/// What an audit said.
pub struct Outcome {
    pub ranges: Vec<Range>,
    pub ended: Result<(), Stopped>,
    /// The most that was reserved.
    pub reserved: u64,
    /// Ranges of the log that were asked for.
    pub asks: Vec<(i64, i64)>,
}

impl Outcome {
    fn new(world: TestWorld<'_>, ended: Result<(), Stopped>) -> Outcome {
        Outcome {
            ended,
            reserved: world.reserved,
            asks: world.asks.clone(),
            ranges: world.rows,
        }
    }

    /// STATUS of each range.
    pub fn statuses(&self) -> Vec<String> {
        self.ranges.iter().map(Range::status).collect()
    }
}
