//! Drives one seed: chooses what happens next, plays aggregator, brokers, disk threads and clock.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use ingest::leaf::order::{Order, Pairing, Report};
use ingest::leaf::rows::{Row, RowCounts};
use ingest::leaf::{Connection, Effect, Effects, Event, Leaf, LeafConfig, Now, Slot, Views};
use storage::disk::{DiskDone, DiskOp, perform};

use super::broker::{BROKERS, Cluster, FAULTS, TOPIC, TOPIC_ID, key};
use super::log::Log;
use super::sessions::Sessions;
use crate::sim::case::Case;
use crate::sim::disk::{DiskFaultKind, FULL, FUSE, KILL, POWER_LOSS, SimDisk};
use crate::sim::{Coverage, Random, Trace};

/// What a run over many seeds must have met, beside the table, the brokers' faults and the disk's.
pub(super) const EVENTS: [&str; 3] = [
    "event: an outcome is reported later",
    "event: a crash before an outcome is reported",
    "event: a crash inside a disk operation",
];

/// See the module.
pub struct Drive<'a> {
    pub(super) case: &'a Case,
    pub(super) random: Random,
    pub(super) coverage: &'a mut Coverage,
    pub(super) trace: &'a mut Trace,
    pub(super) disk: SimDisk,
    pub(super) cluster: Cluster,
    pub(super) now: Now,
    pub(super) views: Arc<Views>,
    pub(super) leaf: Leaf,
    pub(super) effects: Effects,
    pub(super) disk_work: Vec<DiskWork>,
    pub(super) connecting: Vec<(Connection, u16, bool)>,
    /// Connections that break once their outbox is empty.
    pub(super) breaking: BTreeMap<(u32, u64), &'static str>,
    pub(super) reports: VecDeque<Report>,
    pub(super) partitions: Vec<Paired>,
    pub(super) generation: u64,
    pub(super) offsets_max: u64,
    pub(super) stop_on_error: bool,
    pub(super) skips: bool,
    pub(super) read_committed: bool,
    pub(super) memory_bytes: u64,
    pub(super) session_partitions_min: usize,
    pub(super) rows: RowCounts,
    pub(super) healed: bool,
}

/// A disk operation on its way: to be done, or done and to be reported.
pub(super) enum DiskWork {
    Submitted(Slot, Box<DiskOp>),
    Done(Slot, Box<DiskDone>),
}

/// What the catalog and the aggregator know of one leaf partition.
pub(super) struct Paired {
    pub(super) pairing: Pairing,
    /// The lineage that a snapshot shows, once it was said.
    pub(super) shown: Option<u64>,
    pub(super) wants_run: bool,
    pub(super) failed: Option<String>,
    /// To be done once it is stopped.
    pub(super) rewind_to: Option<i64>,
    pub(super) rewinding: bool,
    /// The rows that were there when FOREGROUND began, where that is known.
    pub(super) foreground_rows: Option<u64>,
    pub(super) stopping: bool,
    pub(super) durable: i64,
    /// What the leaf gave up below the cursor, the last range perhaps still under way. More than one
    /// where it is not known yet which of the histories a recovery has kept.
    pub(super) lost: Vec<Lost>,
    /// The same as it stood before the cursor went back.
    pub(super) lost_before: Vec<Lost>,
    /// The cursor, as last seen.
    pub(super) visible: i64,
    pub(super) valid_until: i64,
    pub(super) attached: bool,
    /// Of the last goal.
    pub(super) generation: u64,
}

/// Ranges that were given up.
pub(super) type Lost = Vec<(i64, i64)>;

impl Paired {
    /// The cursor went back: what was given up above it is loaded or given up anew. What stood there may
    /// still be what a crash leaves, until a recovery has chosen.
    fn went_back(&mut self, visible: i64) {
        let cut = self.lost.iter().map(|lost| below(lost, visible)).collect();
        self.lost_before
            .extend(std::mem::replace(&mut self.lost, cut));
        self.lost_before.sort_unstable();
        self.lost_before.dedup();
    }

    /// Recovery chose one of the histories: which, the law will find.
    pub(super) fn recovered_at(&mut self, durable: i64) {
        let all = self.lost.iter().chain(&self.lost_before);
        self.lost = all.map(|lost| below(lost, durable)).collect();
        self.lost.sort_unstable();
        self.lost.dedup();
        self.lost_before.clear();
        self.visible = durable;
    }

    /// A lineage begins.
    pub(super) fn begins_at(&mut self, start: i64) {
        self.lost = vec![Lost::new()];
        self.lost_before.clear();
        self.visible = start;
    }
}

fn below(lost: &Lost, end: i64) -> Lost {
    let lost = lost.iter().filter(|range| range.0 < end);
    lost.map(|&(from, to)| (from, to.min(end))).collect()
}

pub(super) type Law = Result<(), String>;

impl<'a> Drive<'a> {
    pub fn new(case: &'a Case, coverage: &'a mut Coverage, trace: &'a mut Trace) -> Drive<'a> {
        let seed = case.seed;
        let mut random = Random::new(seed ^ 0x1eaf);
        let logs = 1 + random.below(3) as usize;
        let mut cluster = Cluster {
            logs: (0..logs)
                .map(|log| Log::new(seed ^ (log as u64) << 32))
                .collect(),
            leaders: Vec::new(),
            wires: BTreeMap::new(),
            fetch_version: [4, 11, 12, 13, 16, 17][random.below(6) as usize],
            faults: [0, 20, 80][random.below(3) as usize],
            room_divisor: [512, 512, 16][random.below(3) as usize],
            sessions: Sessions::default(),
            rotten: Vec::new(),
        };
        cluster.leaders = (0..logs)
            .map(|_| (1 + random.below(BROKERS as u64) as i32, 0))
            .collect();
        // Now and then two leaf partitions of one Kafka partition: two pipelines on a topic.
        let pairs = logs + usize::from(random.chance(200));
        let start = |random: &mut Random| [0, 0, 5][random.below(3) as usize];
        let partitions = (0..pairs)
            .map(|pair| {
                let start_offset = start(&mut random);
                Paired {
                    pairing: Pairing {
                        leaf_partition: 1 + pair as u64,
                        table: 1,
                        pipeline: 1,
                        kafka_partition: (pair % logs) as i32,
                        topic: TOPIC.to_owned(),
                        topic_id: TOPIC_ID,
                        lineage: 1,
                        live_lineage: 1,
                        start_offset,
                        end_offset: None,
                    },
                    shown: None,
                    wants_run: true,
                    failed: None,
                    rewind_to: None,
                    foreground_rows: None,
                    rewinding: false,
                    stopping: false,
                    durable: start_offset,
                    lost: vec![Lost::new()],
                    lost_before: Vec::new(),
                    visible: start_offset,
                    valid_until: i64::MAX,
                    attached: false,
                    generation: 0,
                }
            })
            .collect();
        let memory_bytes = [4 << 20, 64 << 20][random.below(2) as usize];
        let session_partitions_min = [1, 2, usize::MAX][random.below(3) as usize];
        let views = Views::new();
        let config = config(memory_bytes, session_partitions_min);
        Drive {
            case,
            leaf: Leaf::new(config, Arc::clone(&views)),
            offsets_max: [5, 40, 1_000][random.below(3) as usize],
            stop_on_error: random.chance(600),
            skips: random.chance(400),
            read_committed: random.chance(800),
            disk: SimDisk::new(seed ^ 0xd15c, random.chance(400)),
            random,
            coverage,
            trace,
            cluster,
            now: Now {
                us: 1_000_000,
                unix_us: 1_700_000_100_000_000,
            },
            views,
            effects: Vec::new(),
            disk_work: Vec::new(),
            connecting: Vec::new(),
            breaking: BTreeMap::new(),
            reports: VecDeque::new(),
            partitions,
            generation: 0,
            memory_bytes,
            session_partitions_min,
            rows: RowCounts::default(),
            healed: false,
        }
    }

    pub fn run(mut self) -> Law {
        // Enough to be there from the start, so that every start offset is within the log.
        for log in 0..self.cluster.logs.len() {
            for _ in 0..4 {
                self.append(log);
            }
        }
        self.attach_all()?;
        let events = self.random.below(2 * super::EVENTS_MEAN) + 1;
        for event in self.case.events(events) {
            self.trace.at(event);
            self.choose_by(event);
            self.event()?;
            for _ in 0..self.random.below(12) {
                self.progress()?;
            }
        }
        self.choose_by(u32::MAX);
        self.finish()?;
        self.keep_rows();
        self.coverage.merge(&self.disk.take_hits());
        for &row in Row::ALL {
            let times = self.rows.of(row);
            self.coverage.add(&format!("leaf: {}", row.words()), times);
        }
        Ok(())
    }

    /// Each event has random numbers of its own.
    fn choose_by(&mut self, event: u32) {
        self.random = self.case.random(event);
        let disk = Random::new(self.random.number());
        self.disk.choose_by(disk);
    }

    pub(super) fn say(&mut self, say: impl FnOnce() -> String) {
        let us = self.now.us;
        self.trace.say(|| format!("{us}: {}", say()));
    }

    // ---- what happens

    pub(super) fn event(&mut self) -> Law {
        match self.random.below(1_000) {
            0..=399 => {
                let log = self.any_log();
                self.append(log);
                Ok(())
            }
            400..=599 => self.time(),
            600..=639 => self.stop_or_start(),
            640..=659 => self.wish_rewind(),
            660..=679 => self.move_leader(),
            680..=699 => self.cut(),
            700..=719 => {
                let log = self.any_log();
                let random = &mut self.random;
                self.cluster.logs[log].retain(random);
                let start = self.cluster.logs[log].start;
                self.say(|| format!("retention: partition {log} begins at {start}"));
                Ok(())
            }
            720..=739 if self.case.has(KILL) || self.case.has(POWER_LOSS) => self.crash(),
            740..=789 => {
                self.arm();
                Ok(())
            }
            790..=799 if self.case.has(FULL) => {
                let full = self.random.chance(500);
                self.disk.set_full(full);
                self.say(|| format!("disk full: {full}"));
                Ok(())
            }
            800..=809 => {
                let log = self.any_log();
                if let Some(batch) = self.cluster.logs[log].batches.last() {
                    let rotten = (log, batch.base);
                    self.cluster.rotten.push(rotten);
                    self.say(|| format!("rot: {rotten:?}"));
                }
                Ok(())
            }
            810..=819 => {
                let wires: Vec<_> = self.cluster.wires.keys().copied().collect();
                if !wires.is_empty() {
                    let at = wires[self.random.below(wires.len() as u64) as usize];
                    if let Some(wire) = self.cluster.wires.get_mut(&at) {
                        wire.dumb = true;
                        self.coverage.hit(FAULTS[4]);
                    }
                }
                Ok(())
            }
            820..=829 => self.foreground(),
            830..=849 => {
                self.cluster.rotten.clear();
                self.disk.disarm();
                Ok(())
            }
            850..=899 => self.look_all(false),
            _ => Ok(()),
        }
    }

    pub(super) fn any_log(&mut self) -> usize {
        self.random.below(self.cluster.logs.len() as u64) as usize
    }

    pub(super) fn append(&mut self, log: usize) {
        let bad = true;
        let random = &mut self.random;
        self.cluster.logs[log].append(random, bad);
        let end = self.cluster.logs[log].end();
        self.say(|| format!("appended: partition {log} ends at {end}"));
    }

    /// Something that is on its way gets on.
    pub(super) fn progress(&mut self) -> Law {
        match self.random.below(8) {
            0 | 1 => self.disk_progress(),
            2 => self.connect_progress(),
            3 | 4 => self.wire_progress(),
            5 => self.report_progress(),
            6 => self.turn(),
            _ => self.tick_if_due(),
        }
    }

    pub(super) fn tick_if_due(&mut self) -> Law {
        if self.leaf.deadline_us().is_some_and(|at| at <= self.now.us) {
            return self.on(Event::Tick);
        }
        Ok(())
    }

    pub(super) fn time(&mut self) -> Law {
        let us = match self.random.below(4) {
            0 => self.random.below(1_000),
            1 => self.random.below(100_000),
            2 => 1_000_000 + self.random.below(3_000_000),
            _ => match self.leaf.deadline_us() {
                Some(at) => at.saturating_sub(self.now.us),
                None => 0,
            },
        };
        self.pass(us);
        self.on(Event::Tick)
    }

    pub(super) fn pass(&mut self, us: u64) {
        self.now.us += us;
        self.now.unix_us += us as i64;
    }

    pub(super) fn turn(&mut self) -> Law {
        let mut effects = std::mem::take(&mut self.effects);
        self.pass(50);
        self.leaf.turn(self.now, &mut effects);
        self.effects = effects;
        self.see_cursors();
        self.perform()
    }

    pub(super) fn on(&mut self, event: Event) -> Law {
        if !matches!(event, Event::Tick) {
            self.pass(10);
        }
        let now = self.now;
        if self.trace.is_on() && !matches!(event, Event::Disk(..)) {
            let words = format!("{event:?}");
            self.say(|| words);
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.leaf.on(now, event, &mut effects);
        self.effects = effects;
        self.see_cursors();
        self.perform()
    }

    /// A void takes the cursor back.
    fn see_cursors(&mut self) {
        for paired in &mut self.partitions {
            let one = self.leaf.partition(paired.pairing.leaf_partition);
            let recovered = one.filter(|one| one.recovered);
            let Some(visible) = recovered.map(|one| one.visible().0) else {
                continue;
            };
            if visible < paired.visible && paired.attached {
                paired.went_back(visible);
            }
            paired.visible = visible;
        }
    }

    pub(super) fn perform(&mut self) -> Law {
        let effects: Vec<Effect> = self.effects.drain(..).collect();
        for effect in effects {
            match effect {
                Effect::Connect(connection, host, port) => {
                    if host != "sim" {
                        return Err(format!("a connection to {host}"));
                    }
                    self.connecting.push((connection, port, false));
                }
                Effect::Send(connection, bytes) => {
                    self.cluster.sent(connection, &bytes, self.now.us)?;
                }
                Effect::Read(_) => {}
                Effect::Close(connection) => {
                    self.cluster.wires.remove(&key(connection));
                    self.breaking.remove(&key(connection));
                    self.connecting.retain(|(other, ..)| *other != connection);
                }
                Effect::Disk(slot, op) => self.disk_work.push(DiskWork::Submitted(slot, op)),
                Effect::End => {}
            }
        }
        let reports = &mut self.reports;
        self.leaf.reports(|report| {
            reports.push_back(report);
            Ok(())
        });
        Ok(())
    }

    pub(super) fn disk_progress(&mut self) -> Law {
        if self.disk_work.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.disk_work.len() as u64) as usize;
        match self.disk_work.remove(at) {
            DiskWork::Submitted(slot, op) => {
                let said = self.trace.is_on().then(|| head(&op, 60));
                let done = perform(&self.disk, *op);
                if let Some(said) = said {
                    let came = head(&done, 90);
                    self.say(|| format!("disk {slot:?}: {said} -> {came}"));
                }
                if self.disk.is_dead() {
                    self.coverage.hit(EVENTS[2]);
                    return self.crash();
                }
                self.disk_work.push(DiskWork::Done(slot, Box::new(done)));
                Ok(())
            }
            DiskWork::Done(slot, done) => {
                self.coverage.hit(EVENTS[0]);
                self.on(Event::Disk(slot, *done))
            }
        }
    }

    pub(super) fn connect_progress(&mut self) -> Law {
        if self.connecting.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.connecting.len() as u64) as usize;
        let (connection, port, never) = self.connecting[at];
        if never && !self.healed {
            return Ok(());
        }
        if !self.healed && self.random.below(1_000) < self.cluster.faults {
            if self.random.chance(500) {
                self.connecting[at].2 = true;
                self.coverage.hit(FAULTS[3]);
                return Ok(());
            }
            self.connecting.remove(at);
            self.coverage.hit(FAULTS[2]);
            return self.on(Event::Lost(connection, "refused".to_owned()));
        }
        self.connecting.remove(at);
        self.cluster.open(connection, port);
        self.on(Event::Connected(connection))
    }

    pub(super) fn wire_progress(&mut self) -> Law {
        let wires: Vec<_> = self.cluster.wires.keys().copied().collect();
        if wires.is_empty() {
            return Ok(());
        }
        let at = wires[self.random.below(wires.len() as u64) as usize];
        let Some(wire) = self.cluster.wires.get_mut(&at) else {
            return Ok(());
        };
        let connection = wire.connection;
        if wire.outbox.is_empty() {
            if let Some(why) = self.breaking.remove(&at) {
                self.cluster.wires.remove(&at);
                return self.on(Event::Lost(connection, why.to_owned()));
            }
            let wire = &self.cluster.wires[&at];
            if self.cluster.is_due(wire, self.now.us) {
                let random = &mut self.random;
                let broken = self.cluster.answer(connection, random, self.coverage);
                if let Some(why) = broken {
                    self.breaking.insert(at, why);
                }
            }
            return Ok(());
        }
        let space = self.leaf.space(connection);
        let wanted = match self.random.below(4) {
            0 => 1 + self.random.below(16) as usize,
            1 => 1 + self.random.below(400) as usize,
            _ => usize::MAX,
        };
        let bytes = wire.outbox.len().min(space.len()).min(wanted);
        if bytes == 0 {
            return Ok(());
        }
        for (to, from) in space.iter_mut().zip(wire.outbox.drain(..bytes)) {
            *to = from;
        }
        self.on(Event::Received(connection, bytes))
    }

    // ---- what breaks

    pub(super) fn move_leader(&mut self) -> Law {
        let log = self.any_log();
        let (broker, epoch) = self.cluster.leaders[log];
        let other = if self.random.chance(700) {
            1 + broker % BROKERS
        } else {
            broker
        };
        self.cluster.leaders[log] = (other, epoch + 1);
        self.cluster.logs[log].new_epoch(epoch + 1);
        self.say(|| {
            format!(
                "partition {log}: broker {other} leads in epoch {}",
                epoch + 1
            )
        });
        if self.random.chance(500) {
            let leader = self.leader(log);
            for at in 0..self.partitions.len() {
                if self.log_of(at) == log {
                    let leaf_partition = self.partitions[at].pairing.leaf_partition;
                    let leader = leader.clone();
                    self.order(Order::Leader {
                        leaf_partition,
                        leader,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// An unclean election.
    pub(super) fn cut(&mut self) -> Law {
        let log = self.any_log();
        let batches = &self.cluster.logs[log].batches;
        // A fetch without an epoch cannot tell one leader of a broker from the next.
        if batches.len() < 3 || self.cluster.fetch_version < 9 {
            return Ok(());
        }
        let back = 1 + self.random.below(2) as usize;
        let keep = batches[batches.len() - 1 - back].next;
        // A marker that is cut would make what was aborted stable data: another topic, not this law.
        if self.cluster.logs[log]
            .aborted
            .iter()
            .any(|span| span.last >= keep)
        {
            return Ok(());
        }
        let (broker, epoch) = self.cluster.leaders[log];
        let other = 1 + broker % BROKERS;
        self.cluster.leaders[log] = (other, epoch + 1);
        self.cluster.logs[log].cut(keep, epoch + 1);
        self.say(|| format!("unclean election: partition {log} is cut to {keep}"));
        for at in 0..self.partitions.len() {
            if self.log_of(at) == log {
                let paired = &mut self.partitions[at];
                paired.valid_until = paired.valid_until.min(keep);
                if let Some(to) = &mut paired.rewind_to {
                    *to = (*to).min(keep);
                }
            }
        }
        // What is on its way is the old log's: responses that were formed stay as they are.
        Ok(())
    }

    pub(super) fn arm(&mut self) {
        let kinds = [
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Write,
            DiskFaultKind::Write,
            DiskFaultKind::Create,
            DiskFaultKind::SyncDirectory,
            DiskFaultKind::Unlink,
            DiskFaultKind::Open,
            DiskFaultKind::Read,
        ];
        let kind = kinds[self.random.below(kinds.len() as u64) as usize];
        if self.case.has(&kind.to_string()) {
            self.disk.arm(kind);
            self.say(|| format!("armed: {kind:?}"));
        }
    }

    pub(super) fn keep_rows(&mut self) {
        self.rows.add(self.leaf.rows());
    }

    pub(super) fn crash(&mut self) -> Law {
        self.keep_rows();
        let power = self.random.chance(500) && self.case.has(POWER_LOSS);
        if power {
            self.disk.lose_power();
        } else {
            self.disk.kill();
        }
        self.say(|| format!("crash, power lost: {power}"));
        if let Some(what) = self.disk.violation() {
            return Err(what);
        }
        self.coverage.merge(&self.disk.take_hits());
        self.disk.disarm();
        if self
            .disk_work
            .iter()
            .any(|work| matches!(work, DiskWork::Done(..)))
        {
            self.coverage.hit(EVENTS[1]);
        }
        if !self.healed && self.random.chance(300) {
            // What fails next fails in recovery.
            self.arm();
        }
        if !self.healed && self.random.chance(300) && self.case.has(FUSE) {
            self.disk.light_fuse(self.random.below(60) as u32);
        }
        self.disk_work.clear();
        self.connecting.clear();
        self.breaking.clear();
        self.reports.clear();
        self.cluster.wires.clear();
        self.effects.clear();
        self.views = Views::new();
        let config = config(self.memory_bytes, self.session_partitions_min);
        self.leaf = Leaf::new(config, Arc::clone(&self.views));
        // The clock of a process begins anew.
        self.now.us = 1_000_000;
        self.attach_all()
    }
}

/// The beginning of what it says of itself.
fn head(what: &impl std::fmt::Debug, chars: usize) -> String {
    format!("{what:?}").chars().take(chars).collect()
}

fn config(memory_bytes: u64, session_partitions_min: usize) -> LeafConfig {
    LeafConfig {
        index: 0,
        cpu: None,
        memory_bytes,
        data_dir: PathBuf::from("/data"),
        flush_age_ms: 100,
        sync_age_ms: 200,
        disk_reserve_bytes: 1,
        session_partitions_min,
        spin: false,
    }
}
