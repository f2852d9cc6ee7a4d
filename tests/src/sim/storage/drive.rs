//! One seed: chooses what happens next, and compares what the store says with the truth.

mod holes;
mod law;
mod probe;
mod synced;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use storage::disk::{DiskAction, DiskDone, DiskOp, Failure};
use storage::format::rejects::{FaultKind, RejectKind};
use storage::ids::{LeafPartitionId, Lineage, Offset, Sequence, TableId, TopicId};
use storage::pool::BlockPool;
use storage::published::Snapshot;
use storage::store::{
    FaultRecord, LineageStart, Step, Store, StoreEffect, StoreEffects, StoreEvent, StoreIdentity,
    StoreSettings, SyncGate,
};

use super::truth::{LineageTruth, Topic, schema};
use crate::sim::case::Case;
use crate::sim::disk::{
    Damaged, DiskFaultKind, EVICTED, FULL, FUSE, KILL, POWER_LOSS, QUARANTINE, SimDisk,
};
use crate::sim::{Coverage, Random, Trace, mix};
use words::{outcome, words};

/// What a run over many seeds must have met, beside the recovery table and the disk's faults.
pub(super) const EVENTS: [&str; 30] = [
    "event: step",
    "event: crash inside a disk operation",
    "event: crash inside recovery",
    "event: an outcome is reported later",
    "event: a crash before an outcome is reported",
    "event: drain",
    "event: set offsets",
    "event: truncate",
    "event: fault record",
    "event: seal",
    "event: merge",
    "event: merge of several",
    "event: void",
    "event: failed disk",
    "event: failed directory",
    "event: bit rot",
    "event: a file is gone",
    "event: a write went astray",
    "event: a footer rots",
    "event: a reader meets damage",
    "event: a segment goes to quarantine",
    "event: a hole is told",
    "event: a hole that nobody was told of",
    "event: a hole is closed by what is loaded",
    "event: a hole is given up",
    "event: a bridge",
    "event: a hole rots",
    "event: an older catalog is refused",
    "event: what a power loss now would leave",
    "event: rot that looks torn makes a lineage shorter",
];

/// Of these the faults that a case may do without, beside the disk's.
pub(super) const FAULTS: [&str; 10] = [
    "event: set offsets",
    "event: truncate",
    "event: fault record",
    "event: bit rot",
    "event: a file is gone",
    "event: a write went astray",
    "event: a hole rots",
    "event: a footer rots",
    "event: an older catalog is refused",
    "event: what a power loss now would leave",
];

const POOL_BYTES: usize = 64 << 20;
const DIRECTORY: &str = "/data/tables/1/1";
/// Turns within which a healthy disk must have drained a store.
const DRAIN_TURNS_MAX: u32 = 300;

pub(super) struct Drive<'a> {
    case: &'a Case,
    seed: u64,
    random: Random,
    topic: Topic,
    disk: SimDisk,
    coverage: &'a mut Coverage,
    trace: &'a mut Trace,
    now_ms: u64,
    settings: StoreSettings,
    /// The catalog's row; a transaction changes it at once.
    catalog: LineageStart,
    lineages: BTreeMap<u64, LineageTruth>,
    process: Process,
    out: StoreEffects,
    /// What is to be done when the store is drained.
    on_drained: Option<Change>,
    drained: bool,
    damage: Option<Damaged>,
    holes: Vec<TrueHole>,
    /// The last number that was given to a commit.
    number_last: u64,
    /// A footer rotted since the last recovery: with a record beside it nothing tells what a merge held.
    footer_rots: bool,
    /// The catalog before the last change, and whether the change was ever said to be done.
    older: Option<LineageStart>,
    begun: bool,
    /// The process was started with the older one.
    restored: bool,
    /// Operations are done and reported newest first, most often.
    newest_first: bool,
    /// The device takes its time with a file's later syncs, others overtake them.
    slow_syncs: bool,
    /// Nothing fails any more.
    finishing: bool,
    /// What recovery left that it must not leave.
    broken: Option<String>,
    ended: bool,
}

struct Process {
    store: Store,
    pool: BlockPool,
    pending: Vec<Pending>,
    gate: SyncGate,
    /// Recovered, and not failed since.
    ready: bool,
    recovering: bool,
    /// A recovery is done, and what it left is not told yet.
    recovered: bool,
    failed: bool,
    /// It failed, and no recovery has changed since what it shows.
    stands_still: bool,
    /// A lineage of the catalog is being begun.
    rewinding: bool,
    /// The last drain was asked for.
    asked: bool,
    /// What a slow query reads: it holds the files of its snapshot.
    held: Option<Snapshot>,
    /// What it has heard of the files that it writes, oldest first.
    heard: Vec<synced::Heard>,
}

/// A disk operation on its way: to be done, or done and to be reported.
enum Pending {
    Submitted(DiskOp),
    Done(Box<DiskDone>),
}

#[derive(Clone, Copy)]
enum Change {
    SetOffsets,
    Truncate,
}

/// A segment in quarantine, as it is true.
#[derive(Clone, Debug)]
struct TrueHole {
    /// Its name in quarantine: no two have one.
    moved_to: String,
    sequence: Sequence,
    lineage: u64,
    from: i64,
    to: i64,
    /// The catalog's lineage when it was first told.
    standing: u64,
    /// Nothing tells what was before it: the partition may be refused.
    unknown: bool,
    /// It is neither told nor missing in its lineage any more.
    closed: bool,
}

impl Process {
    fn new(settings: &StoreSettings) -> Process {
        let identity = StoreIdentity {
            table: TableId(1),
            leaf_partition: LeafPartitionId(1),
            kafka_partition: 0,
            schema: schema(),
            unix_base_ms: 0,
            directory: PathBuf::from(DIRECTORY),
            quarantine: PathBuf::from(QUARANTINE),
            orphans: PathBuf::from("/data/orphans"),
        };
        Process {
            store: Store::new(identity, settings.clone()),
            pool: BlockPool::new(POOL_BYTES),
            pending: Vec::new(),
            gate: SyncGate::new(),
            ready: false,
            recovering: true,
            recovered: false,
            failed: false,
            stands_still: false,
            rewinding: false,
            asked: false,
            held: None,
            heard: Vec::new(),
        }
    }
}

type Law = Result<(), String>;

impl<'a> Drive<'a> {
    pub fn new(case: &'a Case, coverage: &'a mut Coverage, trace: &'a mut Trace) -> Drive<'a> {
        let seed = case.seed;
        let mut random = Random::new(seed);
        let settings = StoreSettings {
            offsets_max: [3, 8, 40][random.below(3) as usize],
            flush_age_ms: 100,
            sync_age_ms: [0, 200, 1_500][random.below(3) as usize],
            segment_commits_max: [1, 2, 4, 9][random.below(4) as usize],
            merge_rows_max: [6, 60, 65_536][random.below(3) as usize],
            batches_kept: [1, 3, 1_000][(mix(seed) % 3) as usize],
            ..StoreSettings::default()
        };
        let start = [0, 17][random.below(2) as usize];
        let truth = LineageTruth {
            start,
            end: None,
            durable: start,
            owed: start,
        };
        Drive {
            case,
            seed,
            topic: Topic(seed),
            disk: SimDisk::new(seed ^ 0xd15c, random.chance(400)),
            process: Process::new(&settings),
            settings,
            random,
            coverage,
            trace,
            now_ms: 1_000,
            catalog: LineageStart {
                lineage: Lineage(1),
                live_lineage: Lineage(1),
                start_offset: Offset(start),
                topic_id: TopicId::default(),
            },
            lineages: BTreeMap::from([(1, truth)]),
            out: StoreEffects::new(),
            on_drained: None,
            drained: false,
            damage: None,
            holes: Vec::new(),
            number_last: 0,
            footer_rots: false,
            older: None,
            begun: false,
            restored: false,
            newest_first: seed % 4 == 2,
            slow_syncs: seed % 8 == 3,
            finishing: false,
            broken: None,
            ended: false,
        }
    }

    pub fn run(mut self) -> Law {
        self.start()?;
        let events = self.random.below(2 * super::EVENTS_MEAN) + 1;
        for event in self.case.events(events) {
            self.trace.at(event);
            self.choose_by(event);
            self.event()?;
            self.settle()?;
            if self.ended {
                return Ok(());
            }
        }
        self.choose_by(u32::MAX);
        self.finish()
    }

    /// Each event has random numbers of its own.
    fn choose_by(&mut self, event: u32) {
        self.random = self.case.random(event);
        let disk = Random::new(self.random.number());
        self.disk.choose_by(disk);
    }

    fn has(&self, fault: &str) -> bool {
        self.case.has(fault)
    }

    fn hit(&mut self, what: &str) {
        self.coverage.hit(what);
    }

    // ---- what happens

    fn event(&mut self) -> Law {
        match self.random.below(1_000) {
            0..=399 => self.step(),
            400..=559 => self.time(),
            560..=759 => self.progress(),
            760..=839 => self.execute(),
            840..=859 => self.drain(None),
            860..=874 if self.has("event: set offsets") => self.drain(Some(Change::SetOffsets)),
            875..=883 if self.has("event: truncate") => self.drain(Some(Change::Truncate)),
            884..=893 if self.has("event: fault record") => self.fault_record(),
            894..=914 if self.has(KILL) => self.crash(false),
            915..=939 if self.has(POWER_LOSS) => self.crash(true),
            940..=969 => {
                self.arm();
                Ok(())
            }
            970..=972 => self.probe(),
            973..=976 => {
                self.evict();
                Ok(())
            }
            977..=981 if self.has(FULL) => {
                let full = self.random.chance(500);
                self.trace.say(|| format!("disk full: {full}"));
                self.disk.set_full(full);
                self.send(StoreEvent::Room)
            }
            982..=991 if self.has(FUSE) => {
                let calls = self.random.below(30) as u32;
                self.trace.say(|| format!("fuse of {calls} calls"));
                self.disk.light_fuse(calls);
                Ok(())
            }
            992.. => self.look(),
            _ => Ok(()),
        }
    }

    fn arm(&mut self) {
        // Syncs fail most often: most rules are about them.
        const KINDS: [DiskFaultKind; 16] = [
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::Sync,
            DiskFaultKind::SyncFull,
            DiskFaultKind::Write,
            DiskFaultKind::Write,
            DiskFaultKind::WriteFull,
            DiskFaultKind::SyncDirectory,
            DiskFaultKind::SyncDirectory,
            DiskFaultKind::Create,
            DiskFaultKind::CreateFull,
            DiskFaultKind::Rename,
            DiskFaultKind::RenameFull,
            DiskFaultKind::Unlink,
            DiskFaultKind::Unlink,
        ];
        let kind = KINDS[self.random.below(KINDS.len() as u64) as usize];
        self.arm_with(kind);
    }

    /// Beside damage that must be named nothing else takes away what names it.
    fn evicts(&self) -> bool {
        self.has(EVICTED) && self.damage.is_none()
    }

    /// The kernel drops pages that a failed sync left clean. What reads them in between is a reader of
    /// what was visible and never durable: not before the store has heard of it.
    fn evict(&mut self) {
        let unheard = |one: &Pending| {
            let failed = |done: &DiskDone| matches!(done, DiskDone::Synced { result: Err(_), .. });
            matches!(one, Pending::Done(done) if failed(done))
        };
        if self.evicts() && self.disk.may_evict() && !self.process.pending.iter().any(unheard) {
            self.trace
                .say(|| "pages of a failed sync are dropped".to_owned());
            self.disk.evict();
        }
    }

    fn arm_with(&mut self, kind: DiskFaultKind) {
        if self.has(&kind.to_string()) {
            self.trace.say(|| format!("arm {kind:?}"));
            self.disk.arm(kind);
        }
    }

    fn time(&mut self) -> Law {
        let passed = [10, 120, 400, 2_000, 70_000][self.random.below(5) as usize];
        self.now_ms += passed;
        self.trace.say(|| format!("{passed} ms pass"));
        self.send(StoreEvent::Tick)
    }

    fn step(&mut self) -> Law {
        let Process { store, pool, .. } = &mut self.process;
        let visible = store.cursors().visible.0;
        let end = store.offsets_end().0;
        let Some(mut tail) = store.tail(pool) else {
            return Ok(());
        };
        let wanted = (visible + 1 + self.random.below(7) as i64).min(end);
        let mut next = visible;
        while next < wanted && self.topic.put(next, &mut tail) {
            next += 1;
        }
        if self.random.chance(50) {
            store.discard_step();
            return Ok(());
        }
        if next == visible {
            return Ok(());
        }
        let step = Step {
            next_offset: Offset(next),
            counts: self.topic.counts(visible, next),
            leader_epoch: 3,
            extracted_bytes: 100,
            unix_ms: self.now_ms as i64,
        };
        store.publish(self.now_ms, &step, &mut self.out);
        self.hit("event: step");
        self.trace.say(|| format!("step {visible}..{next}"));
        self.about_to_close(next)
    }

    fn fault_record(&mut self) -> Law {
        if !self.process.ready {
            return Ok(());
        }
        self.hit("event: fault record");
        let fault = FaultRecord {
            offset: self.process.store.cursors().visible,
            timestamp_ms: 0,
            unix_ms: self.now_ms as i64,
            code: 1_877,
            kind: RejectKind::Fault(FaultKind::Extract),
            line: 0,
            column: None,
            text: "the broker said no".to_owned(),
            message: Vec::new(),
        };
        self.send(StoreEvent::Fault(Box::new(fault)))
    }

    fn drain(&mut self, then: Option<Change>) -> Law {
        if !self.process.ready || self.on_drained.is_some() || self.process.rewinding {
            return Ok(());
        }
        self.trace.say(|| "drain".to_owned());
        self.on_drained = then;
        self.send(StoreEvent::Drain)
    }

    /// SET OFFSETS or TRUNCATE: one transaction, then the leaf is told; a crash may come between.
    fn change(&mut self, change: Change, cursor: Offset) -> Law {
        let lineage = self.catalog.lineage.0 + 1;
        let old = self
            .lineages
            .get_mut(&(lineage - 1))
            .expect("the current one");
        old.end = Some(cursor.0);
        let start = match change {
            Change::Truncate => cursor.0,
            Change::SetOffsets => match self.random.below(3) {
                0 => cursor.0,
                1 => (cursor.0 - self.random.below(20) as i64).max(0),
                _ => cursor.0 + self.random.below(20) as i64,
            },
        };
        self.older = Some(self.catalog);
        self.begun = false;
        self.catalog.lineage = Lineage(lineage);
        self.catalog.start_offset = Offset(start);
        if matches!(change, Change::Truncate) {
            self.catalog.live_lineage = Lineage(lineage);
            self.hit("event: truncate");
        } else {
            self.hit("event: set offsets");
        }
        let truth = LineageTruth {
            start,
            end: None,
            durable: start,
            owed: start,
        };
        self.lineages.insert(lineage, truth);
        self.trace.say(|| {
            format!(
                "lineage {lineage} from {start}, {:?} live",
                self.catalog.live_lineage
            )
        });
        self.process.rewinding = true;
        self.process.store.set_resting(false);
        self.send(StoreEvent::Rewind(self.catalog))
    }

    // ---- the port

    fn send(&mut self, event: StoreEvent) -> Law {
        let Process { store, pool, .. } = &mut self.process;
        store.on(self.now_ms, event, pool, &mut self.out);
        Ok(())
    }

    /// Takes the effects out, starts the syncs that are wanted, until nothing is left to do.
    fn settle(&mut self) -> Law {
        loop {
            let effects: Vec<StoreEffect> = self.out.drain().collect();
            if effects.is_empty() {
                let process = &mut self.process;
                let wanted = process.store.sync_wanted(self.now_ms).is_some();
                if !wanted || !process.gate.is_open() {
                    break;
                }
                process.gate.begin();
                process.store.sync(self.now_ms, &mut self.out);
                continue;
            }
            for effect in effects {
                self.effect(effect)?;
                if self.ended {
                    return Ok(());
                }
            }
        }
        if self.disk.is_dead() {
            return self.died();
        }
        match self.disk.violation().or(self.broken.take()) {
            Some(what) => Err(what),
            None => Ok(()),
        }
    }

    fn effect(&mut self, effect: StoreEffect) -> Law {
        match effect {
            StoreEffect::Disk(op) => {
                self.trace.say(|| format!("submit {}", words(&op)));
                let slow = self.is_slow(&op);
                self.about_holes(&op);
                self.process.submits(&op)?;
                self.process.pending.push(Pending::Submitted(*op));
                if !slow && self.random.chance(500) {
                    let last = self.process.pending.len() - 1;
                    self.perform(last);
                }
                Ok(())
            }
            StoreEffect::Recovered(report) => self.recovered(&report),
            StoreEffect::Committed { offset, .. } => {
                let visible = self.process.store.cursors().visible;
                check(offset <= visible, || {
                    format!("committed {offset}, visible {visible}")
                })?;
                if self.random.chance(if self.slow_syncs { 200 } else { 20 }) {
                    return self.probe();
                }
                Ok(())
            }
            StoreEffect::Durable {
                lineage, offset, ..
            } => {
                self.trace
                    .say(|| format!("durable {offset} in lineage {lineage}"));
                self.promise(lineage, offset)?;
                if self.random.chance(100) {
                    return self.probe();
                }
                Ok(())
            }
            StoreEffect::Voided { cursor, why } => {
                self.hit("event: void");
                self.process.voids();
                check(!is_full(&why), || {
                    format!("a full disk is taken for a failed write: {why}")
                })?;
                self.trace.say(|| format!("void, cursor {cursor}: {why}"));
                self.promise(self.process.store.lineage(), cursor)
            }
            StoreEffect::Drained { cursor } => {
                self.trace.say(|| format!("drained {cursor}"));
                self.hit("event: drain");
                self.drained = true;
                self.promise(self.process.store.lineage(), cursor)?;
                // Somebody chooses: as the leaf does, so that no damage that is met now passes for given up.
                self.process.store.set_resting(self.on_drained.is_some());
                if !self.holes.is_empty() {
                    self.look()?;
                }
                match self.on_drained.take() {
                    Some(change) => self.change(change, cursor),
                    None => Ok(()),
                }
            }
            StoreEffect::Rewound { lineage, cursor } => {
                self.process.rewinding = false;
                self.begun = true;
                self.trace
                    .say(|| format!("lineage {lineage} begins at {cursor}"));
                check(lineage == self.catalog.lineage, || {
                    format!("rewound to {lineage}")
                })?;
                self.promise(self.process.store.lineage(), cursor)?;
                self.look()
            }
            StoreEffect::Failed(failure) => self.failed(&failure),
            StoreEffect::Dropped => Err("dropped without being told".to_owned()),
            StoreEffect::Held(_) | StoreEffect::Released => Ok(()),
        }
    }

    /// The store said that this is durable.
    fn promise(&mut self, lineage: Lineage, offset: Offset) -> Law {
        if !self.process.ready {
            // A recovery that begins the lineage anew says so before it is done.
            self.shorter(lineage.0, offset.0)?;
        }
        let Some(truth) = self.lineages.get_mut(&lineage.0) else {
            return Err(format!(
                "durable {offset} of lineage {lineage}, which never was"
            ));
        };
        let (mut before, end) = (truth.durable, truth.end.unwrap_or(i64::MAX));
        let told = self.process.store.holes().iter().any(|known| {
            let hole = &known.hole;
            known.told && hole.lineage == lineage && hole.next_offset.0 >= truth.owed
        });
        if told {
            // It fell back to before a hole, and every query is told.
            before = before.min(offset.0);
        }
        truth.durable = offset.0;
        truth.owed = truth.owed.max(offset.0);
        check(offset.0 >= before && offset.0 <= end, || {
            format!("durable went from {before} to {offset}")
        })?;
        self.closed_by_hand(lineage.0, offset.0);
        Ok(())
    }

    /// An operation is performed: from here on its outcome stands.
    fn perform(&mut self, index: usize) {
        let taken = self.process.pending.remove(index);
        let done = match taken {
            Pending::Submitted(op) => {
                if let DiskOp::Merge(merge) = &op
                    && merge.inputs.len() > 1
                {
                    self.coverage.hit("event: merge of several");
                }
                if let DiskOp::Write(write) = &op {
                    self.number_last = self.number_last.max(write.facts.commit_number);
                }
                self.perform_now(op)
            }
            Pending::Done(done) => *done,
        };
        self.trace.say(|| format!("  performed {}", outcome(&done)));
        match &done {
            DiskDone::Sealed { result: Ok(()), .. } => self.coverage.hit("event: seal"),
            DiskDone::Merged(Ok(_)) => self.coverage.hit("event: merge"),
            _ => {}
        }
        self.process.pending.push(Pending::Done(Box::new(done)));
        self.coverage.merge(&self.disk.take_hits());
    }

    /// One that is on its way, of those that are asked for.
    fn choose(&mut self, of: impl Fn(&Pending) -> bool) -> Option<usize> {
        let pending = self.process.pending.iter().enumerate();
        let found: Vec<usize> = pending
            .filter(|(_, one)| of(one))
            .map(|(at, _)| at)
            .collect();
        let slow = |at: &usize| match &self.process.pending[*at] {
            Pending::Submitted(op) => self.is_slow(op),
            Pending::Done(_) => false,
        };
        let (slow, mut found): (Vec<usize>, Vec<usize>) = found.into_iter().partition(slow);
        if found.is_empty() && (self.finishing || self.random.chance(100)) {
            found = slow;
        }
        let last = found.last().copied()?;
        if self.newest_first && self.random.chance(800) {
            return Some(last);
        }
        Some(found[self.random.below(found.len() as u64) as usize])
    }

    /// Whether others overtake it: a sync that is not a file's first, which takes the directory along, or
    /// what is done about holes.
    fn is_slow(&self, op: &DiskOp) -> bool {
        match op {
            DiskOp::Sync {
                directory: None, ..
            } => self.slow_syncs,
            DiskOp::CloseHoles(_) => self.seed.is_multiple_of(2),
            _ => false,
        }
    }

    /// Some operation that is on its way is performed.
    fn execute(&mut self) -> Law {
        if let Some(index) = self.choose(|one| matches!(one, Pending::Submitted(_))) {
            self.perform(index);
        }
        Ok(())
    }

    /// Some operation is reported.
    fn progress(&mut self) -> Law {
        let Some(mut index) = self.choose(|_| true) else {
            return Ok(());
        };
        if matches!(self.process.pending[index], Pending::Submitted(_)) {
            self.perform(index);
            if self.disk.is_dead() {
                return Ok(());
            }
            // `perform` puts what it did at the end.
            index = self.process.pending.len() - 1;
        } else {
            self.hit("event: an outcome is reported later");
        }
        let Pending::Done(done) = self.process.pending.remove(index) else {
            return Ok(());
        };
        self.trace.say(|| format!("report {}", outcome(&done)));
        self.process.hears(&done);
        if done.is_sync() {
            self.process.gate.end();
        }
        if let DiskDone::Recovered(result) = &*done {
            self.process.recovering = false;
            self.process.recovered = result.is_ok();
            self.process.stands_still = false;
            let notes = match result {
                Ok(recovered) => &recovered.notes,
                Err(failure) => &failure.notes,
            };
            for note in notes {
                self.coverage.hit(&format!("recovery: {:?}", note.row));
            }
        }
        self.send(StoreEvent::Done(done))
    }
}

/// A write that found no room. A sync that does has lost pages, and is a failure like any other.
fn is_full(why: &Failure) -> bool {
    match why {
        Failure::File(error) | Failure::Again(error) => {
            error.is_full() && error.doing != DiskAction::Sync
        }
        _ => false,
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Law {
    if holds { Ok(()) } else { Err(what()) }
}
