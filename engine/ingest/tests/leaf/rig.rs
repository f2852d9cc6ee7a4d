//! A leaf without a port: the test is its broker, its aggregator and its clock; the disk is a directory
//! of the test's own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ingest::kafka::fetch::{CurrentLeader, FetchResponse, ResponsePartition, encode_response};
use ingest::kafka::{BatchBuilder, ErrorCode};
use ingest::leaf::order::{Failure, Goal, Leader, Order, Pairing, Report, Settings, TableColumn};
use ingest::leaf::{Attached, Connection, Effect, Event, Leaf, LeafConfig, Now, Slot, Views};
use ingest::limits;
use ingest::pipeline::{JsonMapping, Literal, MappedColumn, SkipErrors, SqlType};
use kafka_protocol::messages::{FetchRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;
use storage::counts::Counts;
use storage::disk::{
    Disk, DiskAction, DiskDone, DiskError, DiskFile, DiskOp, Entry, RealDisk, perform,
};
use storage::ids::{LeafPartitionId, TopicId};
use storage::map::Pages;
use storage::store::StoreSettings;

use crate::log::may_be_heard;

/// The Fetch version that most tests' broker speaks.
const FETCH_VERSION: i16 = 11;
/// The first leaf partition.
pub const PARTITION: u64 = 1;
/// A leaf's memory, enough for what most tests do.
pub const MEMORY_BYTES: u64 = 64 << 20;

/// One fetch that waits for its answer: correlation, and of each partition the index and the offset.
#[derive(Debug)]
pub struct Fetch {
    connection: Connection,
    correlation: i32,
    /// The Fetch version that it is written in.
    pub version: i16,
    /// How long the broker may hold it, ms.
    pub wait_ms: i32,
    /// Its session and its number in it.
    pub session: (i32, i32),
    /// What leaves the session.
    pub forgotten: Vec<i32>,
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
    /// Brokers that lead them in turn.
    pub brokers: u64,
    /// So many on a lane make a fetch session.
    pub session_partitions_min: usize,
    pub end_offset: Option<i64>,
    /// Of each leaf partition.
    pub lineage: u64,
    pub start_offset: i64,
    /// All zero where the topic has none.
    pub topic_id: [u8; 16],
    /// When segments are sealed and merged.
    pub stores: StoreSettings,
    /// The Fetch version that the broker speaks.
    pub fetch_version: i16,
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
            brokers: 1,
            session_partitions_min: limits::FETCH_SESSION_PARTITIONS_MIN,
            end_offset: None,
            lineage: 1,
            start_offset: 0,
            topic_id: [7; 16],
            stores: StoreSettings::default(),
            fetch_version: FETCH_VERSION,
        }
    }

    /// The same, but so many messages of a commit that are not JSON become rejects.
    pub fn skipping(name: &'static str, threshold: u64) -> Setup {
        let mut setup = Setup::new(name);
        setup.settings.skip_errors = SkipErrors::Parser;
        setup.settings.parse_errors_threshold = threshold;
        setup
    }
}

/// See the module.
pub struct Rig {
    pub leaf: Leaf,
    pub views: Arc<Views>,
    pub now: Now,
    pub data_dir: PathBuf,
    partitions: u64,
    brokers: u64,
    fetch_version: i16,
    /// Where the connections go, oldest first.
    pub addresses: Vec<(String, u16)>,
    effects: Vec<Effect>,
    /// Disk operations on their way, oldest first.
    pub disk: VecDeque<(Slot, Box<DiskOp>)>,
    /// Only [`Rig::finish_disk`] performs them.
    pub hold_disk: bool,
    /// No commit more can be written.
    pub disk_full: bool,
    /// Nor can a segment be made.
    pub last_byte: bool,
    /// Only [`Rig::turn`] loads.
    pub hold_turns: bool,
    /// Those that are up or on their way.
    connections: Vec<Connection>,
    /// Those that are not up yet.
    connecting: Vec<Connection>,
    /// ApiVersions' answers.
    hellos: Vec<(Connection, Vec<u8>)>,
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
            session_partitions_min: setup.session_partitions_min,
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
        Rig::begin(setup, false)
    }

    /// The same on a disk that is full to the last byte.
    pub fn on_a_full_disk(setup: Setup) -> Rig {
        Rig::begin(setup, true)
    }

    fn begin(setup: Setup, disk_full: bool) -> Rig {
        may_be_heard();
        let config = Rig::config(&setup);
        let views = Views::new();
        let data_dir = config.data_dir.clone();
        let mut leaf = Leaf::new(config, Arc::clone(&views));
        leaf.set_stores(setup.stores.clone());
        let mut rig = Rig {
            data_dir,
            leaf,
            views,
            now: Now {
                us: 1_000_000,
                unix_us: 1_700_000_100_000_000,
            },
            partitions: setup.partitions,
            brokers: setup.brokers,
            fetch_version: setup.fetch_version,
            addresses: Vec::new(),
            effects: Vec::new(),
            disk: VecDeque::new(),
            hold_disk: false,
            disk_full,
            last_byte: disk_full,
            hold_turns: false,
            connections: Vec::new(),
            connecting: Vec::new(),
            hellos: Vec::new(),
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
            self.lead(leaf_partition);
        }
        self.settle();
    }

    /// Says who leads one leaf partition's Kafka partition.
    pub fn run_one(&mut self, leaf_partition: u64) {
        self.lead(leaf_partition);
        self.settle();
    }

    fn lead(&mut self, leaf_partition: u64) {
        let broker = (leaf_partition - PARTITION) % self.brokers;
        self.on(Event::Order(Order::Leader {
            leaf_partition,
            leader: Leader {
                broker: 1 + broker as i32,
                host: "broker".to_owned(),
                port: 9_092 + broker as u16,
                epoch: 0,
            },
        }));
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

    /// A goal of one leaf partition alone.
    pub fn goal_of(&mut self, leaf_partition: u64, goal: Goal) {
        self.generation += 1;
        let generation = self.generation;
        self.on(Event::Order(Order::Goal {
            leaf_partition,
            generation,
            goal,
        }));
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
                Effect::Connect(connection, host, port) => {
                    self.addresses.push((host, port));
                    self.connections.push(connection);
                    self.connecting.push(connection);
                }
                Effect::Send(connection, bytes) => self.sent(connection, &bytes),
                Effect::Read(_) | Effect::End => {}
                Effect::Close(connection) => self.forget(connection),
                Effect::Disk(slot, op) => self.disk.push_back((slot, op)),
            }
        }
        let reports = &mut self.reports;
        self.leaf.reports(|report| {
            reports.push(report);
            Ok(())
        });
    }

    fn forget(&mut self, connection: Connection) {
        self.connections.retain(|other| *other != connection);
        self.connecting.retain(|other| *other != connection);
        self.fetches.retain(|fetch| fetch.connection != connection);
    }

    fn sent(&mut self, connection: Connection, bytes: &[u8]) {
        if !self.connections.contains(&connection) {
            return;
        }
        let api = i16::from_be_bytes([bytes[4], bytes[5]]);
        let version = i16::from_be_bytes([bytes[6], bytes[7]]);
        let mut frame = bytes::Bytes::copy_from_slice(&bytes[4..]);
        let header = if api == 18 || version >= 12 { 2 } else { 1 };
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
                    self.fetch_version as u8,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]);
                self.hellos.push((connection, framed(&body)));
            }
            _ => {
                let fetch = FetchRequest::decode(&mut frame, version).expect("a fetch");
                let partitions = fetch.topics.iter().flat_map(|topic| &topic.partitions);
                let asked = partitions.map(|one| (one.partition, one.fetch_offset));
                let forgotten = fetch.forgotten_topics_data.iter();
                self.fetches.push_back(Fetch {
                    connection,
                    correlation: header.correlation_id,
                    version,
                    wait_ms: fetch.max_wait_ms,
                    session: (fetch.session_id, fetch.session_epoch),
                    forgotten: forgotten.flat_map(|one| one.partitions.clone()).collect(),
                    asked: asked.collect(),
                });
            }
        }
    }

    /// Lets all that can happen without the broker and without time passing happen.
    pub fn settle(&mut self) {
        loop {
            if let Some(connection) = self.connecting.pop() {
                self.on(Event::Connected(connection));
                continue;
            }
            if let Some((connection, hello)) = self.hellos.pop() {
                let taken = self.receive(connection, &hello);
                assert_eq!(taken, hello.len(), "the leaf wants what it asked for");
                continue;
            }
            if !self.hold_disk && self.finish_disk() {
                continue;
            }
            if self.hold_turns || !self.turn() {
                return;
            }
        }
    }

    /// One turn of loading; whether there was anything to load.
    pub fn turn(&mut self) -> bool {
        let mut effects = std::mem::take(&mut self.effects);
        let loaded = self.leaf.turn(self.now, &mut effects);
        self.perform(&mut effects);
        self.effects = effects;
        loaded
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
        let done: DiskDone = match self.disk_full {
            true => perform(&FullDisk(self.last_byte), *op),
            false => perform(&RealDisk, *op),
        };
        self.on(Event::Disk(slot, done));
        true
    }

    /// The oldest sync fails in the device.
    pub fn fail_sync(&mut self) {
        let at = self.disk.iter().position(|(_, op)| op.is_sync());
        let (slot, op) = at.and_then(|at| self.disk.remove(at)).expect("a sync");
        let DiskOp::Sync {
            sequence,
            ticket,
            file,
            ..
        } = *op
        else {
            unreachable!("it was looked for");
        };
        let error = DiskError::new(file.path(), DiskAction::Sync, libc::EIO);
        let done = DiskDone::Synced {
            sequence,
            ticket,
            result: Err(storage::disk::Failure::File(error)),
        };
        self.on(Event::Disk(slot, done));
    }

    /// The disk was held: what is visible is written, and its sync fails in the device. From then on it is not held.
    pub fn void(&mut self) {
        self.pass(200);
        while self.finish_disk_if(|op| !op.is_sync()) {}
        self.pass(200);
        self.fail_sync();
        self.hold_disk = false;
        self.settle();
        self.pass(200);
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now.us += ms * 1_000;
        self.now.unix_us += ms as i64 * 1_000;
        self.on(Event::Tick);
        self.settle();
    }

    /// Time passes until the leaf wants to be woken, and no longer: how long, in microseconds.
    pub fn wake(&mut self) -> u64 {
        let due_us = self.leaf.deadline_us().expect("it waits for a time");
        let passed_us = due_us.saturating_sub(self.now.us);
        self.now.us += passed_us;
        self.now.unix_us += passed_us as i64;
        self.on(Event::Tick);
        self.settle();
        passed_us
    }

    /// The same until something is so, which is soon: how long, in microseconds.
    pub fn wake_until(&mut self, is_so: impl Fn(&Rig) -> bool) -> u64 {
        let (from_us, mut times) = (self.now.us, 0);
        while !is_so(self) {
            self.wake();
            times += 1;
            assert!(times < 100, "it is woken for nothing");
        }
        self.now.us - from_us
    }

    fn receive(&mut self, connection: Connection, bytes: &[u8]) -> usize {
        let mut from = 0;
        while from < bytes.len() && self.connections.contains(&connection) {
            let space = self.leaf.space(connection);
            let taken = space.len().min(bytes.len() - from);
            if taken == 0 {
                break;
            }
            space[..taken].copy_from_slice(&bytes[from..from + taken]);
            from += taken;
            self.on(Event::Received(connection, taken));
        }
        from
    }

    /// The first connection breaks.
    pub fn break_connection(&mut self, why: &str) {
        let connection = self.connections[0];
        self.forget(connection);
        self.on(Event::Lost(connection, why.to_owned()));
        self.settle();
    }

    /// The connection that was asked for first of those that are up or on their way.
    pub fn connection(&self) -> Connection {
        self.connections[0]
    }

    /// How many connections are up or on their way.
    pub fn connected(&self) -> usize {
        self.connections.len()
    }

    /// Every leaf partition that others may see.
    pub fn seen(&self) -> Vec<u64> {
        let mut seen: Vec<u64> = self.views.all().keys().map(|id| id.0).collect();
        seen.sort_unstable();
        seen
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
        self.answer_in(0, ErrorCode::None, throttle_ms, parts);
    }

    /// The same, and no time passes.
    pub fn answer_at_once(&mut self, throttle_ms: i32, parts: &[Part<'_>]) {
        self.answer_in_at_once(0, ErrorCode::None, throttle_ms, parts);
    }

    /// The same in a session, or with an error of the request as a whole.
    pub fn answer_in(
        &mut self,
        session_id: i32,
        error: ErrorCode,
        throttle_ms: i32,
        parts: &[Part<'_>],
    ) {
        self.answer_in_at_once(session_id, error, throttle_ms, parts);
        // A response of few rows is followed by a pause.
        self.pass(1);
    }

    fn answer_in_at_once(
        &mut self,
        session_id: i32,
        error: ErrorCode,
        throttle_ms: i32,
        parts: &[Part<'_>],
    ) {
        let (connection, bytes) = self.response(session_id, error, throttle_ms, parts, None);
        let taken = self.arrive(connection, &bytes);
        let closed = !self.connections.contains(&connection);
        assert!(
            taken == bytes.len() || closed,
            "the leaf wants what it asked for"
        );
    }

    /// Bytes arrive, in one piece where the leaf has room for it: how many it took.
    pub fn arrive(&mut self, connection: Connection, bytes: &[u8]) -> usize {
        let taken = self.receive(connection, bytes);
        self.settle();
        taken
    }

    /// The answer to the oldest fetch, which has not arrived yet. `moved`: who leads instead, and where.
    pub fn response(
        &mut self,
        session_id: i32,
        error: ErrorCode,
        throttle_ms: i32,
        parts: &[Part<'_>],
        moved: Option<(CurrentLeader, (&str, u16))>,
    ) -> (Connection, Vec<u8>) {
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
                current_leader: moved.map(|(leader, _)| leader),
                records: &said.records,
            })
            .collect();
        let endpoint = moved.map(|(leader, (host, port))| (leader.leader_id, host, port));
        let mut bytes = Vec::new();
        encode_response(
            &mut bytes,
            &FetchResponse {
                version: fetch.version,
                correlation_id: fetch.correlation,
                throttle_ms,
                error,
                session_id,
                partitions: &partitions,
                endpoints: endpoint.as_slice(),
            },
        );
        (fetch.connection, bytes)
    }

    pub fn attached(&self) -> Arc<Attached> {
        self.attached_at(PARTITION)
    }

    /// The same of any leaf partition.
    pub fn attached_at(&self, leaf_partition: u64) -> Arc<Attached> {
        let attached = self.views.attached(LeafPartitionId(leaf_partition));
        attached.expect("it was attached")
    }

    /// What became of the offsets, visible or committed.
    pub fn visible(&self) -> i64 {
        self.visible_of(PARTITION)
    }

    /// The same of any leaf partition.
    pub fn visible_of(&self, leaf_partition: u64) -> i64 {
        let partition = self.leaf.partition(leaf_partition);
        partition.expect("attached").visible().0
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

    /// How the first one stands, as it is shown a moment later.
    pub fn words(&mut self) -> String {
        self.words_of(PARTITION)
    }

    /// The same of any leaf partition.
    pub fn words_of(&mut self, leaf_partition: u64) -> String {
        self.pass(30);
        self.attached_at(leaf_partition).standing.words()
    }

    /// Its lag, as SQL shows it now.
    pub fn lag_of(&self, leaf_partition: u64) -> Option<i64> {
        let attached = self.attached_at(leaf_partition);
        let visible = attached.view.snapshot().next_offset().0;
        let end = attached.standing.log_end()?;
        end.lag(visible, self.now.unix_ms())
    }
}

/// The directory, with no room for a commit, and perhaps none for a file.
struct FullDisk(bool);

impl Disk for FullDisk {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        RealDisk.list(directory)
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        // For a name alone there is room yet: recovery makes one that it takes away again.
        match self.0 && path.extension().is_some_and(|of| of == "arrow") {
            true => Err(DiskError::new(path, DiskAction::Create, libc::ENOSPC)),
            false => RealDisk.create(path),
        }
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        RealDisk.open(path)
    }
    fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
        RealDisk.pages(path, bytes_max)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        RealDisk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.unlink(path)
    }
    fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.make_directory(path)
    }
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.remove_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.sync_directory(path)
    }
    fn free_bytes(&self, _path: &Path) -> Result<u64, DiskError> {
        Ok(0)
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
            topic_id: setup.topic_id,
            lineage: setup.lineage,
            live_lineage: 1,
            start_offset: setup.start_offset,
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
