//! A leaf without a port: the test is its broker, its aggregator and its clock; the disk is a directory
//! of the test's own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ingest::kafka::fetch::{FetchResponse, ResponsePartition, encode_response};
use ingest::kafka::{BatchBuilder, ErrorCode};
use ingest::leaf::order::{Failure, Goal, Leader, Order, Pairing, Report, Settings, TableColumn};
use ingest::leaf::{Attached, Connection, Effect, Event, Leaf, LeafConfig, Now, Slot, Views};
use ingest::pipeline::{JsonMapping, Literal, MappedColumn, SkipErrors, SqlType};
use kafka_protocol::messages::{FetchRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;
use storage::counts::Counts;
use storage::disk::{DiskDone, DiskOp, RealDisk, perform};
use storage::ids::{LeafPartitionId, TopicId};

/// The Fetch version that the test's broker speaks.
const FETCH_VERSION: i16 = 11;
/// The first leaf partition.
pub const PARTITION: u64 = 1;
/// A leaf's memory, enough for what most tests do.
pub const MEMORY_BYTES: u64 = 64 << 20;

/// One fetch that waits for its answer: correlation, and of each partition the index and the offset.
#[derive(Debug)]
pub struct Fetch {
    correlation: i32,
    pub asked: Vec<(i32, i64)>,
}

/// What the broker says of one partition.
pub struct Said {
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub records: Vec<u8>,
}

/// One partition of an answer.
pub type Part<'a> = (i32, ErrorCode, &'a Said);

impl Said {
    /// No record, in a log that ends at `end`.
    pub fn nothing(end: i64) -> Said {
        Said::records(end, &[])
    }

    /// These records, in a log that ends at `end`.
    pub fn records(end: i64, batches: &[Vec<u8>]) -> Said {
        Said {
            high_watermark: end,
            last_stable_offset: end,
            records: batches.concat(),
        }
    }
}

/// A record batch of these messages from `base` on.
pub fn batch(base: i64, messages: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base);
    for message in messages {
        builder.push(1_700_000_000_000, None, Some(message.as_bytes()));
    }
    builder.build()
}

/// `count` messages that are rows.
pub fn rows(base: i64, count: i64) -> Vec<u8> {
    let messages: Vec<String> = (base..base + count)
        .map(|n| format!("{{\"v\":{n}}}"))
        .collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    batch(base, &messages)
}

/// The table's columns: a BIGINT, and texts.
fn columns(texts: usize) -> Vec<(String, SqlType)> {
    let texts = (0..texts).map(|n| (format!("s{n}"), SqlType::LongText));
    let number = ("v".to_owned(), SqlType::BigInt { unsigned: false });
    std::iter::once(number).chain(texts).collect()
}

/// Settings that stop at the first error.
pub fn settings(texts: usize) -> Settings {
    let column = |(name, sql_type): (String, SqlType)| MappedColumn {
        path: Some(ingest::pipeline::Path(vec![name.clone()])),
        name,
        sql_type,
        nullable: true,
        default: Some(Literal::Null),
    };
    Settings {
        max_offsets_per_batch_partition: 1_000_000,
        max_retries_per_batch_partition: 4,
        retry_interval_ms: 100,
        max_retry_interval_ms: 1_000,
        retry_exponential: true,
        stop_on_error: true,
        skip_errors: SkipErrors::None,
        parse_errors_threshold: 0,
        batches_kept: 1_000,
        errors_kept_minutes: 1_440,
        mapping: JsonMapping {
            columns: columns(texts).into_iter().map(column).collect(),
        },
        read_committed: true,
        client_id: "test".to_owned(),
    }
}

/// What a rig is made of.
pub struct Setup {
    /// Names its directory.
    pub name: &'static str,
    pub texts: usize,
    pub settings: Settings,
    pub memory_bytes: u64,
    /// Leaf partitions, each of the Kafka partition before it.
    pub partitions: u64,
    pub end_offset: Option<i64>,
}

impl Setup {
    /// One leaf partition of a table of one number and one text, which stops at the first error.
    pub fn new(name: &'static str) -> Setup {
        Setup {
            name,
            texts: 1,
            settings: settings(1),
            memory_bytes: MEMORY_BYTES,
            partitions: 1,
            end_offset: None,
        }
    }
}

/// See the module.
pub struct Rig {
    pub leaf: Leaf,
    views: Arc<Views>,
    pub now: Now,
    pub data_dir: PathBuf,
    partitions: u64,
    effects: Vec<Effect>,
    /// Disk operations on their way, oldest first.
    pub disk: VecDeque<(Slot, Box<DiskOp>)>,
    /// Only [`Rig::finish_disk`] performs them.
    pub hold_disk: bool,
    connection: Option<Connection>,
    /// The connection is not up yet.
    connecting: bool,
    /// ApiVersions' answer.
    hello: Vec<u8>,
    pub fetches: VecDeque<Fetch>,
    pub reports: Vec<Report>,
    generation: u64,
}

impl Rig {
    /// What the first partition is attached with, for another leaf.
    pub fn attach_order(setup: &Setup) -> Order {
        attach(setup, PARTITION)
    }

    /// The settings of a leaf on a test's directory.
    pub fn config(setup: &Setup) -> LeafConfig {
        LeafConfig {
            index: 0,
            cpu: None,
            memory_bytes: setup.memory_bytes,
            data_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join(setup.name),
            flush_age_ms: 100,
            sync_age_ms: 100,
            disk_reserve_bytes: 1,
            spin: false,
        }
    }

    /// A leaf whose partitions recovered empty directories and stand still.
    pub fn new(setup: Setup) -> Rig {
        let _ = std::fs::remove_dir_all(Rig::config(&setup).data_dir);
        Rig::again(setup)
    }

    /// Another process over what the last one left.
    pub fn again(setup: Setup) -> Rig {
        let config = Rig::config(&setup);
        let views = Views::new();
        let mut rig = Rig {
            data_dir: config.data_dir.clone(),
            leaf: Leaf::new(config, Arc::clone(&views)),
            views,
            now: Now {
                us: 1_000_000,
                unix_us: 1_700_000_100_000_000,
            },
            partitions: setup.partitions,
            effects: Vec::new(),
            disk: VecDeque::new(),
            hold_disk: false,
            connection: None,
            connecting: false,
            hello: Vec::new(),
            fetches: VecDeque::new(),
            reports: Vec::new(),
            generation: 1,
        };
        for leaf_partition in PARTITION..PARTITION + setup.partitions {
            rig.attach(&setup, leaf_partition);
        }
        rig
    }

    fn attach(&mut self, setup: &Setup, leaf_partition: u64) {
        let directory = self.directory(leaf_partition);
        std::fs::create_dir_all(directory).expect("the target directory can be written");
        self.on(Event::Order(attach(setup, leaf_partition)));
        self.settle();
    }

    /// Where a leaf partition's segments lie.
    pub fn directory(&self, leaf_partition: u64) -> PathBuf {
        self.data_dir
            .join("tables/1")
            .join(leaf_partition.to_string())
    }

    /// The segments of the first one, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory(PARTITION)).expect("it is there");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let segment = |path: &PathBuf| path.extension().is_some_and(|of| of == "arrow");
        let mut paths: Vec<PathBuf> = paths.filter(segment).collect();
        paths.sort();
        paths
    }

    /// Starts it, towards a broker that answers as the test says.
    pub fn run(&mut self, goal: Goal) {
        self.goal(goal);
        for leaf_partition in PARTITION..PARTITION + self.partitions {
            self.on(Event::Order(Order::Leader {
                leaf_partition,
                leader: Leader {
                    broker: 1,
                    host: "broker".to_owned(),
                    port: 9_092,
                    epoch: 0,
                },
            }));
        }
        self.settle();
    }

    pub fn goal(&mut self, goal: Goal) {
        self.generation += 1;
        for leaf_partition in PARTITION..PARTITION + self.partitions {
            self.on(Event::Order(Order::Goal {
                leaf_partition,
                generation: self.generation,
                goal,
            }));
        }
        self.settle();
    }

    pub fn on(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.leaf.on(self.now, event, &mut effects);
        self.perform(&mut effects);
        self.effects = effects;
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Connect(connection, ..) => {
                    self.connection = Some(connection);
                    self.connecting = true;
                }
                Effect::Send(connection, bytes) => self.sent(connection, &bytes),
                Effect::Read(_) | Effect::End => {}
                Effect::Close(connection) => {
                    if self.connection == Some(connection) {
                        self.connection = None;
                        self.fetches.clear();
                    }
                }
                Effect::Disk(slot, op) => self.disk.push_back((slot, op)),
            }
        }
        let reports = &mut self.reports;
        self.leaf.reports(|report| {
            reports.push(report);
            Ok(())
        });
    }

    fn sent(&mut self, connection: Connection, bytes: &[u8]) {
        if Some(connection) != self.connection {
            return;
        }
        let api = i16::from_be_bytes([bytes[4], bytes[5]]);
        let version = i16::from_be_bytes([bytes[6], bytes[7]]);
        let mut frame = bytes::Bytes::copy_from_slice(&bytes[4..]);
        let header = if api == 18 { 2 } else { 1 };
        let header = RequestHeader::decode(&mut frame, header).expect("a header");
        match api {
            18 => {
                // Error 0, one key: Fetch; no throttle, no tags.
                let mut body = header.correlation_id.to_be_bytes().to_vec();
                body.extend([
                    0,
                    0,
                    2,
                    0,
                    1,
                    0,
                    4,
                    0,
                    FETCH_VERSION as u8,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]);
                self.hello = framed(&body);
            }
            _ => {
                let fetch = FetchRequest::decode(&mut frame, version).expect("a fetch");
                let partitions = fetch.topics.iter().flat_map(|topic| &topic.partitions);
                let asked = partitions.map(|one| (one.partition, one.fetch_offset));
                self.fetches.push_back(Fetch {
                    correlation: header.correlation_id,
                    asked: asked.collect(),
                });
            }
        }
    }

    /// Lets all that can happen without the broker and without time passing happen.
    pub fn settle(&mut self) {
        loop {
            if std::mem::take(&mut self.connecting) {
                let connection = self.connection.expect("it is being made");
                self.on(Event::Connected(connection));
                continue;
            }
            if !self.hello.is_empty() {
                let hello = std::mem::take(&mut self.hello);
                self.receive(&hello);
                continue;
            }
            if !self.hold_disk && self.finish_disk() {
                continue;
            }
            let mut effects = std::mem::take(&mut self.effects);
            let loaded = self.leaf.turn(self.now, &mut effects);
            self.perform(&mut effects);
            self.effects = effects;
            if !loaded {
                return;
            }
        }
    }

    /// Performs the oldest disk operation and reports its outcome; whether there was one.
    pub fn finish_disk(&mut self) -> bool {
        self.finish_disk_if(|_| true)
    }

    /// The same for the oldest of a kind.
    pub fn finish_disk_if(&mut self, wanted: fn(&DiskOp) -> bool) -> bool {
        let at = self.disk.iter().position(|(_, op)| wanted(op));
        let Some((slot, op)) = at.and_then(|at| self.disk.remove(at)) else {
            return false;
        };
        let done: DiskDone = perform(&RealDisk, *op);
        self.on(Event::Disk(slot, done));
        true
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now.us += ms * 1_000;
        self.now.unix_us += ms as i64 * 1_000;
        self.on(Event::Tick);
        self.settle();
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(connection) = self.connection else {
                return;
            };
            let space = self.leaf.space(connection);
            let taken = space.len().min(bytes.len());
            assert!(taken > 0, "the leaf wants what it asked for");
            space[..taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.on(Event::Received(connection, taken));
        }
    }

    /// How many disk operations of a kind are on their way.
    pub fn disk_count(&self, wanted: fn(&DiskOp) -> bool) -> usize {
        self.disk.iter().filter(|(_, op)| wanted(op)).count()
    }

    /// Answers the oldest fetch, the same for each of its partitions.
    pub fn answer(&mut self, said: &Said) {
        self.answer_each(0, |_| said);
    }

    /// Answers the oldest fetch, partition by partition.
    pub fn answer_each<'a>(&mut self, throttle_ms: i32, said: impl Fn(i32) -> &'a Said) {
        let asked = self.fetches[0].asked.iter();
        let parts: Vec<Part<'_>> = asked
            .map(|&(partition, _)| (partition, ErrorCode::None, said(partition)))
            .collect();
        self.answer_with(throttle_ms, &parts);
    }

    /// Answers the oldest fetch with exactly these partitions.
    pub fn answer_with(&mut self, throttle_ms: i32, parts: &[Part<'_>]) {
        let fetch = self.fetches.pop_front().expect("a fetch waits");
        let partitions: Vec<ResponsePartition<'_>> = parts
            .iter()
            .map(|&(partition, error, said)| ResponsePartition {
                topic: "orders",
                topic_id: TopicId([7; 16]),
                partition,
                error,
                high_watermark: said.high_watermark,
                last_stable_offset: said.last_stable_offset,
                log_start_offset: 0,
                aborted: &[],
                diverging: None,
                current_leader: None,
                records: &said.records,
            })
            .collect();
        let mut bytes = Vec::new();
        encode_response(
            &mut bytes,
            &FetchResponse {
                version: FETCH_VERSION,
                correlation_id: fetch.correlation,
                throttle_ms,
                error: ErrorCode::None,
                partitions: &partitions,
                endpoints: &[],
            },
        );
        self.receive(&bytes);
        self.settle();
        // A response of few rows is followed by a pause.
        self.pass(1);
    }

    pub fn partition(&self) -> &ingest::leaf::partition::Partition {
        self.leaf.partition(PARTITION).expect("it was attached")
    }

    pub fn attached(&self) -> Arc<Attached> {
        let all = self.views.all();
        let (_, attached) = all
            .iter()
            .find(|(id, _)| **id == LeafPartitionId(PARTITION))
            .expect("it was attached");
        Arc::clone(attached)
    }

    /// What became of the offsets, visible or committed.
    pub fn visible(&self) -> i64 {
        self.partition().store.cursors().visible.0
    }

    /// The counts of every commit.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for commit in self.attached().view.snapshot().commits() {
            counts.add(&commit.expect("sound").counts);
        }
        counts
    }

    /// The last report of a failure.
    pub fn failed(&self) -> Option<&Failure> {
        self.reports.iter().rev().find_map(|report| match report {
            Report::Failed { failure, .. } => Some(failure),
            _ => None,
        })
    }

    pub fn words(&self) -> String {
        self.attached().standing.words()
    }
}

fn attach(setup: &Setup, leaf_partition: u64) -> Order {
    let column = |(name, sql_type)| TableColumn {
        name,
        sql_type,
        nullable: true,
    };
    Order::Attach {
        generation: 1,
        pairing: Pairing {
            leaf_partition,
            table: 1,
            pipeline: 1,
            kafka_partition: (leaf_partition - PARTITION) as i32,
            topic: "orders".to_owned(),
            topic_id: [7; 16],
            lineage: 1,
            live_lineage: 1,
            start_offset: 0,
            end_offset: setup.end_offset,
        },
        schema_version: 1,
        columns: columns(setup.texts).into_iter().map(column).collect(),
        settings: Some(setup.settings.clone()),
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}
