//! Drives one seed: chooses what happens next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::aggregator::AggregatorError;
use control::catalog::{CatalogView, PipelineState, Store};
use ingest::leaf::order::Goal;

use super::brokers::Late;
use super::ending::{EVENTS as ENDS, Stopping};
use super::files::Files;
use super::process::{Process, goal};
use super::sqlite;
use super::statement::{Kind, Statement};
use crate::sim::case::Case;
use crate::sim::disk::{KILL, POWER_LOSS};
use crate::sim::world::{EVENTS as PORT_EVENTS, Law, World};
use crate::sim::{Coverage, Trace, mix};

/// What else happens, each with its name in the coverage.
pub(super) const EVENTS: [&str; 7] = [
    "control: the process ends while it starts",
    "control: a start that the disk refused is tried again",
    "control: a leaf's queue takes no order",
    "control: several statements at once",
    "control: a failure that an earlier order's was is told",
    "control: START is refused, as many run as SET GLOBAL lets run",
    "control: a pipeline that was stopped rests behind a restart",
];

/// The longest that a process lives which begins in order to end.
pub(super) const CRASH_STEPS_MAX: u64 = 300;

/// The longest that it lives after a commit or an order that it ends with.
const COMMIT_STEPS_MAX: u64 = 24;
const ORDER_STEPS_MAX: u64 = 8;

/// Calls of a COMMIT within which the process ends: its pages, the sync, and perhaps the WAL's way into the file.
const COMMIT_CALLS_MAX: u64 = 24;

/// See the module.
pub struct Drive<'a> {
    pub(super) world: World<'a>,
    /// None only while one ends and the next begins.
    pub(super) process: Option<Process>,
    /// Tables, each with its pipeline.
    pub(super) tables: usize,
    pub(super) statements: Vec<Statement>,
    /// The topic is made anew again and again.
    pub(super) restless: bool,
    /// Answers of brokers that come late.
    pub(super) late: Vec<Late>,
    /// What was published: offset and text, by group and partition.
    pub(super) groups: BTreeMap<(String, i32), (i64, String)>,
    /// The last goal that its leaf took, with its generation, by leaf partition; attached, it rests.
    pub(super) ordered: BTreeMap<u64, (u64, Goal)>,
    /// Leaf partitions that were paired of a topic that their pipeline had not accepted yet.
    pub(super) ahead: BTreeSet<u64>,
    /// Where leaf partitions of stopped pipelines stand.
    pub(super) at_rest: BTreeMap<u64, i64>,
    /// When the failure was that the last SET OFFSETS mended, by table.
    pub(super) mended: BTreeMap<usize, i64>,
    /// What the last error of a table's pipeline says that has to be done.
    pub(super) advice: BTreeMap<usize, Kind>,
    /// The process ends after so many steps.
    pub(super) crash_in: Option<u64>,
    /// It is asked to end in good order after so many, and is.
    stop_in: Option<u64>,
    pub(super) stopping: Option<Stopping>,
    /// How often it has ended so.
    pub(super) stops: u32,
    /// A COMMIT has failed.
    pub(super) lost_commit: bool,
    /// The catalog as the next process finds it, where that is found out before it begins.
    pub(super) next_store: Option<Store>,
    /// The process has drained all and closes the catalog.
    pub(super) closes: bool,
    /// The WAL is copied into the catalog's file from so many pages on.
    pub(super) wal_pages_max: u32,
    /// The last COMMIT found no room, and one has since the process began.
    pub(super) no_room: bool,
    pub(super) was_refused: bool,
    /// Leaf partitions of pipelines that were stopped when the process began.
    pub(super) resting: BTreeSet<u64>,
    /// What has failed since, as it was told of the last order: the words, and the newest generation of them.
    pub(super) failures: BTreeMap<u64, BTreeMap<String, u64>>,
    /// The change that set the engine's variables last.
    pub(super) set_at: u64,
    /// The audits read every byte, and the log.
    pub(super) verifies: bool,
}

impl<'a> Drive<'a> {
    pub fn new(case: &'a Case, coverage: &'a mut Coverage, trace: &'a mut Trace) -> Drive<'a> {
        let leaves = 1 + (mix(case.seed ^ 0x1eaf) % 2) as usize;
        let mut world = World::new(case, leaves, coverage, trace);
        world.disk.keep_directories();
        let tables = 1 + world.random.below(2) as usize;
        let restless = world.random.chance(250);
        let wal_pages_max = [24, 100, 1_000][(mix(case.seed ^ 0x0a1) % 3) as usize];
        sqlite::begin();
        let store = sqlite::open(wal_pages_max).expect("a catalog on an empty disk");
        let process = Process::start(store, leaves, world.now, &mut world.random);
        Drive {
            world,
            process: Some(process),
            tables,
            statements: Vec::new(),
            restless,
            late: Vec::new(),
            groups: BTreeMap::new(),
            ordered: BTreeMap::new(),
            ahead: BTreeSet::new(),
            at_rest: BTreeMap::new(),
            mended: BTreeMap::new(),
            advice: BTreeMap::new(),
            crash_in: None,
            stop_in: None,
            stopping: None,
            stops: 0,
            lost_commit: false,
            next_store: None,
            closes: false,
            wal_pages_max,
            no_room: false,
            was_refused: false,
            resting: BTreeSet::new(),
            failures: BTreeMap::new(),
            set_at: 0,
            verifies: mix(case.seed ^ 0xa0d1).is_multiple_of(2),
        }
    }

    pub(super) fn process(&self) -> &Process {
        self.process.as_ref().expect("a process runs")
    }

    pub(super) fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process runs")
    }

    /// The catalog as it is on disk.
    pub(super) fn view(&self) -> Arc<CatalogView> {
        self.process().desk.view()
    }

    pub fn run(mut self) -> Law {
        for log in 0..self.world.cluster.logs.len() {
            for _ in 0..4 {
                self.world.append(log);
            }
        }
        if self.world.random.chance(850) {
            self.set_up()?;
        }
        let pace = [20, 60, 150][self.world.random.below(3) as usize];
        let events = self.world.random.below(2 * super::EVENTS_MEAN) + 1;
        for event in self.world.case.events(events) {
            self.world.trace.at(event);
            self.world.choose_by(event);
            self.event()?;
            for _ in 0..self.world.random.below(2 * pace) {
                self.progress()?;
            }
        }
        self.world.choose_by(u32::MAX);
        self.finish()?;
        self.world.count();
        Ok(())
    }

    fn event(&mut self) -> Law {
        let chance = if self.restless { 600 } else { 150 };
        if self.world.cluster.topic_id.is_none() && self.world.random.chance(chance) {
            self.world.make_topic();
            // Somebody who knows of it accepts it at once.
            if self.world.random.chance(500) {
                let at = self.world.random.below(self.tables as u64) as usize;
                self.give_if_free(Kind::SetEarliest, at);
            }
        }
        let restless = self.restless && self.world.random.chance(90);
        let world = &mut self.world;
        if restless {
            world.delete_topic();
        }
        match world.random.below(1_000) {
            0..=249 => {
                let log = world.any_log();
                world.append(log);
            }
            250..=449 => return world.time(),
            450..=749 => return self.user(),
            750..=774 => {
                world.move_leader();
            }
            775..=792 => {
                let log = world.any_log();
                world.cut(log);
            }
            793..=799 => world.retain(),
            800..=809 => world.compact(),
            810..=815 => world.delete_topic(),
            816..=827 => {
                world.add_partition();
            }
            828..=877 if world.case.has(KILL) || world.case.has(POWER_LOSS) => return self.crash(),
            878..=902 => world.arm(),
            903..=909 => world.full(),
            910..=916 => world.rot_batch(),
            917..=926 => world.mute(),
            927..=941 => {
                world.cluster.rotten.clear();
                world.disk.disarm();
            }
            942..=951 => world.evict(),
            952..=969 => self.stop(),
            _ => return self.look_all(),
        }
        Ok(())
    }

    /// Something that is on its way gets on.
    pub(super) fn progress(&mut self) -> Law {
        if let Some(steps) = self.crash_in {
            self.crash_in = steps.checked_sub(1);
            if steps == 0 && !self.world.healed {
                return self.crash();
            }
        }
        if let Some(steps) = self.stop_in {
            self.stop_in = steps.checked_sub(1);
            if steps == 0 && !self.world.healed {
                self.stop();
            }
        }
        let nodes = self.world.nodes.len() as u64;
        let node = self.world.random.below(nodes) as usize;
        match self.world.random.below(16) {
            0..=4 => return self.task_progress(),
            5 => self.order_progress(node)?,
            6 => self.report_progress(node)?,
            7 => self.commit_progress()?,
            8 | 9 => self.effect_progress()?,
            // One that has ended hears of nothing any more.
            _ if self.world.nodes[node].leaf.is_ended() => {}
            _ => self.world.progress(node)?,
        }
        if self.world.died {
            self.world.coverage.hit(PORT_EVENTS[2]);
            return self.crash();
        }
        Ok(())
    }

    /// The aggregator gets on, and perhaps a statement is answered.
    fn task_progress(&mut self) -> Law {
        let Drive { world, process, .. } = self;
        let Some(process) = process else {
            return Ok(());
        };
        let starts = process.aggregator.is_none();
        if let Err(error) = process.poll_one(world.now, &mut world.random) {
            let refused = matches!(error, AggregatorError::Disk { .. }) && world.faulted;
            let lost = matches!(error, AggregatorError::Catalog(_)) && self.lost_commit;
            if !(refused || lost) || error.to_string().contains("the catalog knows it") {
                return Err(format!("the start fails: {error}"));
            }
            world.coverage.hit(EVENTS[1]);
            world.say(|| format!("the start fails: {error}"));
            return self.crash();
        }
        if starts && process.aggregator.is_some() {
            let orphans = world.disk.files_below("/data/orphans");
            if let Some(orphan) = orphans.first() {
                return Err(format!("{orphan}: the catalog did not know it"));
            }
        }
        for link in &process.links {
            world.coverage.add(EVENTS[2], link.take_refused());
        }
        self.answered()?;
        self.look_at_end()
    }

    /// A leaf takes an order.
    fn order_progress(&mut self, node: usize) -> Law {
        let Some(order) = self.process().links[node].next_order() else {
            return Ok(());
        };
        if self.world.nodes[node].leaf.is_ended() {
            return Ok(());
        }
        if let Some((id, generation, goal)) = goal(&order) {
            self.ordered.insert(id, (generation, goal));
            self.ends_soon(500, ORDER_STEPS_MAX);
        }
        self.world.order(node, order)
    }

    /// The catalog's thread serves a request.
    fn commit_progress(&mut self) -> Law {
        let fails = self.world.random.chance(10) && !self.lost_commit;
        if fails && self.world.has(ENDS[4]) && self.stopping.is_none() {
            return self.commit_fails();
        }
        // Where one was refused the next is likely to be.
        let often = if self.no_room { 400 } else { 10 };
        let asked = self.process().desk.waiting() > 0 && !self.lost_commit;
        if asked && self.world.random.chance(often) && self.world.has(ENDS[7]) {
            return self.commit_refused();
        }
        self.no_room &= !asked;
        let ends = asked && !self.lost_commit && self.world.random.chance(40);
        if ends && self.world.has(ENDS[9]) {
            let calls = self.world.random.below(COMMIT_CALLS_MAX);
            sqlite::files(|files| files.end_behind(calls as u32));
        }
        let process = self.process_mut();
        let before = process.desk.view();
        if !process.desk.serve_waiting() {
            return Ok(());
        }
        if ends && sqlite::files(Files::has_ended) {
            return self.commit_is_cut(&before);
        }
        let after = process.desk.view();
        if before.change == after.change {
            return Ok(());
        }
        if self.lost_commit {
            return Err("the catalog goes on behind a COMMIT that failed".to_owned());
        }
        let change = after.change;
        self.world
            .say(|| format!("the catalog is at change {change}"));
        self.committed(&before, &after)?;
        self.ends_soon(250, COMMIT_STEPS_MAX);
        Ok(())
    }

    /// Perhaps, of a thousand times so often, the process is to end within so many steps: what stands between a statement's commit, its
    /// orders and its answer is over in as few.
    fn ends_soon(&mut self, often: u64, steps_max: u64) {
        if !self.statements.is_empty() && self.crash_in.is_none() && !self.world.healed {
            let steps = self.world.random.below(steps_max);
            self.crash_in = self.world.random.chance(often).then_some(steps);
        }
    }

    /// The process ends, or the machine, wherever each of its tasks is.
    pub(super) fn crash(&mut self) -> Law {
        self.crash_in = None;
        self.stop_in = None;
        self.late.clear();
        let known = self.catalog_on_disk()?;
        self.cut_short()?;
        self.ordered.clear();
        self.failures.clear();
        self.lost_commit = false;
        self.was_refused = false;
        if self.stopping.take().is_some() {
            self.world.coverage.hit(ENDS[1]);
        }
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        if process.aggregator.is_none() {
            self.world.coverage.hit(EVENTS[0]);
        }
        let Process { executor, desk, .. } = process;
        drop(executor);
        let losses = self.world.coverage.count(POWER_LOSS);
        self.world.crash()?;
        let power_lost = self.world.coverage.count(POWER_LOSS) > losses;
        for tracked in self.world.tracked.values_mut() {
            tracked.shown = None;
        }
        let store = self.reopened(desk.into_store(), &known, power_lost)?;
        let rests = |pipeline| {
            let pipeline = store.view().pipeline_by_id(pipeline);
            pipeline.is_none_or(|one| one.state == PipelineState::Stopped)
        };
        let pairings = store.view().pairings();
        let resting = pairings.filter(|pairing| rests(pairing.pipeline));
        self.resting = resting.map(|pairing| pairing.leaf_partition.0).collect();
        let world = &mut self.world;
        let process = Process::start(store, world.nodes.len(), world.now, &mut world.random);
        self.process = Some(process);
        if self.world.random.chance(60) {
            self.stop_in = Some(self.world.random.below(CRASH_STEPS_MAX));
        }
        // Crashes come together: what a start has begun is begun again.
        if !self.world.healed && self.world.random.chance(300) {
            self.crash_in = Some(self.world.random.below(CRASH_STEPS_MAX));
        }
        Ok(())
    }

    /// What everybody may look at.
    pub(super) fn look_all(&mut self) -> Law {
        let ids: Vec<u64> = self.world.tracked.keys().copied().collect();
        for id in ids {
            self.look(id)?;
        }
        self.look_at_rest()?;
        self.look_at_failures()
    }

    pub(super) fn look(&mut self, id: u64) -> Law {
        match self.world.look(id)? {
            Some(what) => Err(format!("leaf partition {id}: {what}")),
            None => Ok(()),
        }
    }
}
