//! What every simulation with leaves stands on: leaves without a port, the disk, the brokers and the
//! clock, all moved a step at a time by whoever drives them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use ingest::leaf::order::{Order, Report};
use ingest::leaf::rows::{Row, RowCounts};
use ingest::leaf::{Connection, Effect, Effects, Event, Leaf, LeafConfig, Now, Slot, Views};
use storage::disk::{DiskAction, DiskDone, DiskError, DiskOp, perform};
use storage::ids::LeafPartitionId;
use storage::store::StoreSettings;

use super::case::Case;
use super::disk::{DiskFaultKind, EVICTED, FULL, FUSE, POWER_LOSS, SimDisk};
use super::kafka::cluster::WireKey;
use super::kafka::{CONTENTS, Cluster, FAULTS, Log};
use super::law::{Rules, Wrong, look};
use super::tracked::Tracked;
use super::{Coverage, Random, Trace};

/// What befalls the leaves' port, each with its name in the coverage.
pub const EVENTS: [&str; 6] = [
    "event: an outcome is reported later",
    "event: a crash before an outcome is reported",
    "event: a crash inside a disk operation",
    "event: a segment is sealed",
    "event: segments are merged",
    "event: bit rot",
];

/// What is broken, in a line.
pub type Law = Result<(), String>;

/// See the module.
pub struct World<'a> {
    pub case: &'a Case,
    pub random: Random,
    pub coverage: &'a mut Coverage,
    pub trace: &'a mut Trace,
    pub disk: SimDisk,
    pub cluster: Cluster,
    pub now: Now,
    pub views: Arc<Views>,
    pub nodes: Vec<Node>,
    /// What is true of each leaf partition.
    pub tracked: BTreeMap<u64, Tracked>,
    pub rules: Rules,
    pub rows: RowCounts,
    /// Nothing fails any more.
    pub healed: bool,
    /// The process ended in the middle of a disk operation.
    pub died: bool,
    /// A disk's fault was met, or its files were damaged.
    pub faulted: bool,
    memory_bytes: u64,
    session_partitions_min: usize,
    stores: StoreSettings,
}

/// One leaf and what it waits for.
pub struct Node {
    pub leaf: Leaf,
    /// Each with the cursor of its leaf partition when it was said.
    pub reports: VecDeque<(Report, i64)>,
    effects: Effects,
    disk_work: Vec<DiskWork>,
    connecting: Vec<(Connection, u16, bool)>,
    /// Connections that break once their outbox is empty.
    breaking: BTreeMap<WireKey, &'static str>,
}

/// A disk operation on its way: to be done, or done and to be reported.
enum DiskWork {
    Submitted(Slot, Box<DiskOp>),
    Done(Slot, Box<DiskDone>),
}

impl<'a> World<'a> {
    /// A world with so many leaves, as a seed has it.
    #[must_use]
    pub fn new(
        case: &'a Case,
        leaves: usize,
        coverage: &'a mut Coverage,
        trace: &'a mut Trace,
    ) -> World<'a> {
        let mut random = Random::new(case.seed ^ 0x1eaf);
        let logs = 1 + random.below(3);
        let logs = (0..logs)
            .map(|log| Log::new(case.seed ^ log << 32))
            .collect();
        let cluster = Cluster::new(case, logs, &mut random);
        let mut world = World {
            case,
            coverage,
            trace,
            disk: SimDisk::new(case.seed ^ 0xd15c, random.chance(400)),
            cluster,
            now: Now {
                us: 1_000_000,
                unix_us: 1_700_000_100_000_000,
            },
            views: Views::new(),
            nodes: Vec::new(),
            tracked: BTreeMap::new(),
            rules: Rules {
                offsets_max: [5, 40, 1_000][random.below(3) as usize],
                stop_on_error: random.chance(600),
                skips: random.chance(400),
                read_committed: random.chance(800),
            },
            rows: RowCounts::default(),
            healed: false,
            died: false,
            faulted: false,
            memory_bytes: [4 << 20, 64 << 20][random.below(2) as usize],
            session_partitions_min: [1, 2, usize::MAX][random.below(3) as usize],
            stores: StoreSettings {
                segment_commits_max: [2, 4, 9, 4_096][random.below(4) as usize],
                merge_rows_max: [20, 200, 65_536][random.below(3) as usize],
                ..StoreSettings::default()
            },
            random,
        };
        world.nodes = (0..leaves).map(|index| world.node(index)).collect();
        world
    }

    fn node(&self, index: usize) -> Node {
        let config = LeafConfig {
            index: index as u32,
            cpu: None,
            memory_bytes: self.memory_bytes,
            data_dir: PathBuf::from("/data"),
            flush_age_ms: 100,
            sync_age_ms: 200,
            disk_reserve_bytes: 1,
            session_partitions_min: self.session_partitions_min,
            spin: false,
        };
        let mut leaf = Leaf::new(config, Arc::clone(&self.views));
        leaf.set_stores(self.stores.clone());
        Node {
            leaf,
            reports: VecDeque::new(),
            effects: Vec::new(),
            disk_work: Vec::new(),
            connecting: Vec::new(),
            breaking: BTreeMap::new(),
        }
    }

    /// Each event has random numbers of its own.
    pub fn choose_by(&mut self, event: u32) {
        self.random = self.case.random(event);
        let disk = Random::new(self.random.number());
        self.disk.choose_by(disk);
    }

    /// Keeps an event, in words.
    pub fn say(&mut self, say: impl FnOnce() -> String) {
        let us = self.now.us;
        self.trace.say(|| format!("{us}: {}", say()));
    }

    /// Whether a fault of this kind may happen now.
    #[must_use]
    pub fn has(&self, fault: &str) -> bool {
        !self.healed && self.case.has(fault)
    }

    /// What happened is counted, as a seed ends.
    pub fn count(&mut self) {
        self.keep_rows();
        self.coverage.merge(&self.disk.take_hits());
        for &row in Row::ALL {
            let times = self.rows.of(row);
            self.coverage.add(&format!("leaf: {}", row.words()), times);
        }
    }

    fn keep_rows(&mut self) {
        for node in &self.nodes {
            self.rows.add(node.leaf.rows());
        }
    }

    // ---- time

    /// Some time passes.
    pub fn time(&mut self) -> Law {
        let us = match self.random.below(4) {
            0 => self.random.below(1_000),
            1 => self.random.below(100_000),
            2 => 1_000_000 + self.random.below(3_000_000),
            _ => {
                let deadlines = self.nodes.iter();
                let deadlines = deadlines.filter_map(|node| node.leaf.deadline_us());
                let first = deadlines.min();
                first.map_or(0, |at| at.saturating_sub(self.now.us))
            }
        };
        self.pass(us);
        (0..self.nodes.len()).try_for_each(|node| self.on(node, Event::Tick))
    }

    fn pass(&mut self, us: u64) {
        self.now.us += us;
        self.now.unix_us += us as i64;
    }

    // ---- a leaf's steps

    /// Something that is on its way gets on.
    pub fn progress(&mut self, node: usize) -> Law {
        match self.random.below(7) {
            0 | 1 => self.disk_progress(node),
            2 => self.connect_progress(node),
            3 | 4 => self.wire_progress(node),
            5 => self.turn(node),
            _ => self.tick_if_due(node),
        }
    }

    /// Time's own event, where it is due.
    pub fn tick_if_due(&mut self, node: usize) -> Law {
        let deadline = self.nodes[node].leaf.deadline_us();
        match deadline {
            Some(at) if at <= self.now.us => self.on(node, Event::Tick),
            _ => Ok(()),
        }
    }

    /// One turn of loading.
    pub fn turn(&mut self, node: usize) -> Law {
        self.pass(50);
        let Node { leaf, effects, .. } = &mut self.nodes[node];
        leaf.turn(self.now, effects);
        self.see_cursors(node);
        self.perform(node)
    }

    /// An order arrives. What the leaf gives up because of it is noted.
    pub fn order(&mut self, node: usize, order: Order) -> Law {
        let Order::LogRange {
            leaf_partition,
            log_start_offset,
            ..
        } = order
        else {
            return self.on(node, Event::Order(order));
        };
        let given_up = |world: &World<'_>| world.nodes[node].leaf.rows().of(Row::OutOfRangeLost);
        let partition = self.nodes[node].leaf.partition(leaf_partition);
        let visible = partition.map_or(0, |one| one.visible().0);
        let fetched = partition.map_or(0, |one| one.fetched.0);
        let before = given_up(self);
        self.on(node, Event::Order(order))?;
        let gives_up = given_up(self) > before;
        if gives_up && fetched > visible {
            return Err(format!(
                "given up from {visible} on, and records up to {fetched} wait to be loaded"
            ));
        }
        if gives_up && let Some(tracked) = self.tracked.get_mut(&leaf_partition) {
            tracked.loses(visible, log_start_offset);
        }
        Ok(())
    }

    /// Something happens to a leaf.
    pub fn on(&mut self, node: usize, event: Event) -> Law {
        if !matches!(event, Event::Tick) {
            self.pass(10);
        }
        if self.trace.is_on() && !matches!(event, Event::Disk(..) | Event::Tick) {
            let words = format!("{event:?}");
            self.say(|| words);
        }
        let Node { leaf, effects, .. } = &mut self.nodes[node];
        leaf.on(self.now, event, effects);
        self.see_cursors(node);
        self.perform(node)
    }

    fn see_cursors(&mut self, node: usize) {
        let leaf = &self.nodes[node].leaf;
        for tracked in self.tracked.values_mut() {
            let one = leaf.partition(tracked.leaf_partition);
            if let Some(one) = one.filter(|one| one.recovered) {
                tracked.see(one.visible().0);
            }
        }
    }

    fn perform(&mut self, node: usize) -> Law {
        // Nothing here gives a leaf anything: its effects are empty until it is done.
        let mut effects = std::mem::take(&mut self.nodes[node].effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Connect(connection, host, port) => {
                    if host != "sim" {
                        return Err(format!("a connection to {host}"));
                    }
                    self.nodes[node].connecting.push((connection, port, false));
                }
                Effect::Send(connection, bytes) => {
                    let key = key(node, connection);
                    let (now_us, random) = (self.now.us, &mut self.random);
                    self.cluster
                        .sent(key, &bytes, now_us, random, self.coverage)?;
                }
                Effect::Read(_) | Effect::End => {}
                Effect::Close(connection) => {
                    let key = key(node, connection);
                    self.cluster.wires.remove(&key);
                    let node = &mut self.nodes[node];
                    node.breaking.remove(&key);
                    node.connecting.retain(|(other, ..)| *other != connection);
                }
                Effect::Disk(slot, op) => {
                    let work = DiskWork::Submitted(slot, op);
                    self.nodes[node].disk_work.push(work);
                }
            }
        }
        self.nodes[node].effects = effects;
        let Node { leaf, reports, .. } = &mut self.nodes[node];
        let mut said = Vec::new();
        leaf.reports(|report| {
            said.push(report);
            Ok(())
        });
        for report in said {
            let one = report.leaf_partition().and_then(|id| leaf.partition(id));
            let visible = one.map_or(-1, |one| one.visible().0);
            reports.push_back((report, visible));
        }
        Ok(())
    }

    // ---- the disk

    /// A disk operation is done, or what came of one is reported.
    pub fn disk_progress(&mut self, node: usize) -> Law {
        let count = self.nodes[node].disk_work.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let at = self.random.below(count) as usize;
        match self.nodes[node].disk_work.remove(at) {
            DiskWork::Submitted(slot, op) => {
                let said = self.trace.is_on().then(|| head(&op, 60));
                self.disk.set_evicts(may_evict(&op) && self.may_evict());
                let done = perform(&self.disk, *op);
                self.disk.set_evicts(false);
                if let Some(said) = said {
                    let came = head(&done, 200);
                    self.say(|| format!("disk {slot:?}: {said} -> {came}"));
                }
                match &done {
                    DiskDone::Sealed { result: Ok(()), .. } => self.coverage.hit(EVENTS[3]),
                    DiskDone::Merged(Ok(_)) => self.coverage.hit(EVENTS[4]),
                    _ => {}
                }
                if self.disk.is_dead() {
                    self.coverage.hit(EVENTS[2]);
                    self.died = true;
                    return Ok(());
                }
                let done = DiskWork::Done(slot, Box::new(done));
                self.nodes[node].disk_work.push(done);
                Ok(())
            }
            DiskWork::Done(slot, done) => {
                self.coverage.hit(EVENTS[0]);
                let full = full(&done);
                let voids = |world: &World<'_>| {
                    let rows = world.nodes[node].leaf.rows();
                    rows.of(Row::Voided) + rows.of(Row::StoreFailed)
                };
                let before = voids(self);
                self.on(node, Event::Disk(slot, *done))?;
                match full {
                    Some(error) if voids(self) > before => {
                        Err(format!("a full disk is taken for a failed write: {error}"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn is_undamaged(&self) -> bool {
        self.tracked.values().all(|one| one.damage.is_none())
    }

    /// What was read of pages that a failed sync left clean is not durable, and nobody's once the leaf has heard
    /// of it: the kernel drops none before.
    fn may_evict(&self) -> bool {
        let failed = |work: &DiskWork| match work {
            DiskWork::Done(_, done) => matches!(**done, DiskDone::Synced { result: Err(_), .. }),
            DiskWork::Submitted(..) => false,
        };
        let mut work = self.nodes.iter().flat_map(|node| &node.disk_work);
        self.has(EVICTED) && self.is_undamaged() && !work.any(failed)
    }

    /// The kernel drops pages that a failed sync left clean.
    pub fn evict(&mut self) {
        if self.may_evict() && self.disk.may_evict() {
            self.disk.evict();
            self.say(|| "pages of a failed sync are dropped".to_owned());
        }
    }

    /// Some call of the disk will fail.
    pub fn arm(&mut self) {
        use DiskFaultKind::{
            Create, CreateFull, Open, OpenFull, Read, Rename, RenameFull, Sync, SyncDirectory,
            SyncFull, Unlink, Write, WriteFull,
        };
        // Syncs fail most often: most rules are about them.
        const KINDS: [DiskFaultKind; 20] = [
            Sync,
            Sync,
            Sync,
            Sync,
            Sync,
            SyncFull,
            SyncFull,
            Write,
            Write,
            WriteFull,
            Create,
            CreateFull,
            SyncDirectory,
            Unlink,
            Open,
            OpenFull,
            Read,
            Rename,
            Rename,
            RenameFull,
        ];
        let kind = KINDS[self.random.below(KINDS.len() as u64) as usize];
        if self.has(&kind.to_string()) {
            self.disk.arm(kind);
            self.faulted = true;
            self.say(|| format!("armed: {kind:?}"));
        }
    }

    /// There is no more room, or there is again.
    pub fn full(&mut self) {
        let full = self.random.chance(500);
        if self.has(FULL) {
            self.disk.set_full(full);
            // A recovery that finds no room fails: START tries again.
            self.faulted = true;
            self.say(|| format!("disk full: {full}"));
        }
    }

    /// The process ends, or the machine; a new one starts and knows nothing.
    pub fn crash(&mut self) -> Law {
        self.died = false;
        self.keep_rows();
        let power = self.random.chance(500) && self.case.has(POWER_LOSS);
        let done = |work: &DiskWork| matches!(work, DiskWork::Done(..));
        if self.nodes.iter().flat_map(|node| &node.disk_work).any(done) {
            self.coverage.hit(EVENTS[1]);
        }
        if power {
            self.disk.lose_power();
            // The record that says what was durable may be lost.
            let damaged = self
                .tracked
                .values_mut()
                .filter_map(|one| one.damage.as_mut());
            damaged.for_each(|damage| damage.must_be_named &= damage.stays_named);
        } else {
            self.disk.kill();
            if self.random.chance(300) && self.has(EVICTED) && self.is_undamaged() {
                self.disk.evict();
            }
        }
        self.say(|| format!("CRASH, power lost: {power}"));
        if let Some(what) = self.disk.violation() {
            return Err(what);
        }
        self.coverage.merge(&self.disk.take_hits());
        let full = self.disk.is_full() && !self.healed && self.random.chance(500);
        self.disk.disarm();
        self.disk.set_full(full);
        if !self.healed && self.random.chance(300) {
            // What fails next fails in recovery.
            self.arm();
        }
        let calls = self.random.below(60) as u32;
        if self.random.chance(300) && self.has(FUSE) {
            self.disk.light_fuse(calls);
        }
        self.cluster.wires.clear();
        self.views = Views::new();
        // The clock of a process begins anew.
        self.now.us = 1_000_000;
        self.nodes = (0..self.nodes.len())
            .map(|index| self.node(index))
            .collect();
        Ok(())
    }

    // ---- connections

    /// A connection comes up, or does not.
    pub fn connect_progress(&mut self, node: usize) -> Law {
        let count = self.nodes[node].connecting.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let at = self.random.below(count) as usize;
        let (connection, port, never) = self.nodes[node].connecting[at];
        if never && !self.healed {
            return Ok(());
        }
        let fault = if self.random.chance(500) { 3 } else { 2 };
        if !self.healed && self.cluster.happens(fault, &mut self.random) {
            self.coverage.hit(FAULTS[fault]);
            if fault == 3 {
                self.nodes[node].connecting[at].2 = true;
                return Ok(());
            }
            self.nodes[node].connecting.remove(at);
            return self.on(node, Event::Lost(connection, "refused".to_owned()));
        }
        self.nodes[node].connecting.remove(at);
        self.cluster.open(key(node, connection), connection, port);
        self.on(node, Event::Connected(connection))
    }

    /// Bytes arrive, a request is answered, a connection breaks.
    pub fn wire_progress(&mut self, node: usize) -> Law {
        let mut wires = self.cluster.wires.range((node, 0, 0)..(node + 1, 0, 0));
        let count = wires.clone().count();
        if count == 0 {
            return Ok(());
        }
        let chosen = self.random.below(count as u64) as usize;
        let Some((&at, wire)) = wires.nth(chosen) else {
            return Ok(());
        };
        let connection = wire.connection;
        if wire.outbox.is_empty() {
            if let Some(why) = self.nodes[node].breaking.remove(&at) {
                self.cluster.wires.remove(&at);
                return self.on(node, Event::Lost(connection, why.to_owned()));
            }
            if self.cluster.is_due(wire, self.now.us) {
                let random = &mut self.random;
                let broken = self.cluster.answer(at, random, self.coverage);
                if let Some(why) = broken {
                    self.nodes[node].breaking.insert(at, why);
                }
            }
            return Ok(());
        }
        let wanted = match self.random.below(4) {
            0 => 1 + self.random.below(16) as usize,
            1 => 1 + self.random.below(400) as usize,
            _ => usize::MAX,
        };
        let space = self.nodes[node].leaf.space(connection);
        let Some(wire) = self.cluster.wires.get_mut(&at) else {
            return Ok(());
        };
        let bytes = wire.outbox.len().min(space.len()).min(wanted);
        if bytes == 0 {
            return Ok(());
        }
        let (front, back) = wire.outbox.as_slices();
        let of_front = front.len().min(bytes);
        space[..of_front].copy_from_slice(&front[..of_front]);
        space[of_front..bytes].copy_from_slice(&back[..bytes - of_front]);
        wire.outbox.drain(..bytes);
        self.on(node, Event::Received(connection, bytes))
    }

    /// Some connection says nothing any more.
    pub fn mute(&mut self) {
        let wires: Vec<WireKey> = self.cluster.wires.keys().copied().collect();
        if wires.is_empty() || !self.has(FAULTS[4]) {
            return;
        }
        let at = wires[self.random.below(wires.len() as u64) as usize];
        if let Some(wire) = self.cluster.wires.get_mut(&at) {
            wire.dumb = true;
            self.coverage.hit(FAULTS[4]);
        }
    }

    /// Nothing fails any more. A mute connection is cut: its time-out is longer than what is left.
    pub fn heal(&mut self) -> Law {
        self.healed = true;
        self.say(|| "healed".to_owned());
        self.cluster.faults = 0;
        self.cluster.rotten.clear();
        self.disk.disarm();
        for log in &mut self.cluster.logs {
            log.settle();
        }
        let wires = self.cluster.wires.iter();
        let dumb = wires.filter(|(_, wire)| wire.dumb);
        let dumb: Vec<WireKey> = dumb.map(|(key, _)| *key).collect();
        for key in dumb {
            if let Some(wire) = self.cluster.wires.remove(&key) {
                let lost = Event::Lost(wire.connection, "mended".to_owned());
                self.on(key.0, lost)?;
            }
        }
        Ok(())
    }

    /// How much is on its way.
    #[must_use]
    pub fn work(&self) -> usize {
        let wires = self.cluster.wires.values();
        let due =
            wires.filter(|wire| !wire.outbox.is_empty() || self.cluster.is_due(wire, self.now.us));
        let nodes = self.nodes.iter();
        let own = |node: &Node| node.disk_work.len() + node.connecting.len() + node.reports.len();
        due.count() + nodes.map(own).sum::<usize>()
    }

    // ---- the log

    /// A Kafka partition.
    pub fn any_log(&mut self) -> usize {
        self.random.below(self.cluster.logs.len() as u64) as usize
    }

    /// Somebody produces.
    pub fn append(&mut self, log: usize) {
        let poison = self.case.has(CONTENTS[13]);
        let random = &mut self.random;
        self.cluster.logs[log].append(random, poison);
        let end = self.cluster.logs[log].end();
        self.say(|| format!("appended: partition {log} ends at {end}"));
    }

    // ---- the law

    /// Looks at a leaf partition. `Ok(Some(what))`: its files are damaged, and that was said.
    pub fn look(&mut self, leaf_partition: u64) -> Result<Option<String>, String> {
        let Some(tracked) = self.tracked.get_mut(&leaf_partition) else {
            return Ok(None);
        };
        let view = self.views.get(LeafPartitionId(leaf_partition));
        let (Some(view), Some(_)) = (view, tracked.shown) else {
            return Ok(None);
        };
        let log = &self.cluster.logs[tracked.log];
        match look(&view.snapshot(), tracked, log, &self.rules) {
            Ok(kept) => {
                tracked.lost = kept;
                Ok(None)
            }
            Err(Wrong::Damage(what)) if tracked.damage.is_some() => Ok(Some(what)),
            Err(Wrong::Damage(what)) => Err(format!(
                "leaf partition {leaf_partition}: nothing is damaged: {what}"
            )),
            Err(Wrong::Law(what)) => Err(format!("leaf partition {leaf_partition}: {what}")),
        }
    }
}

/// The operations during which pages may be dropped: a process that has just begun reads what an earlier
/// one left.
fn may_evict(op: &DiskOp) -> bool {
    matches!(op, DiskOp::Recover(partition) if !partition.mapped)
}

/// An operation that found no room, and has lost nothing by it.
fn full(done: &DiskDone) -> Option<DiskError> {
    let error = match done {
        DiskDone::Created { result, .. } => result.as_ref().err(),
        DiskDone::Written { result, .. } => result.as_ref().err(),
        DiskDone::Sealed { result, .. } => result.as_ref().err(),
        _ => None,
    };
    let error = error.filter(|error| error.is_full() && error.doing != DiskAction::Sync);
    error.cloned()
}

fn key(node: usize, connection: Connection) -> WireKey {
    (node, connection.lane, connection.attempt)
}

/// The beginning of what it says of itself.
fn head(what: &impl std::fmt::Debug, chars: usize) -> String {
    format!("{what:?}").chars().take(chars).collect()
}
