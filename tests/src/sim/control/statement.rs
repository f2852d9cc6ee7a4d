//! A statement: what was true when it was given, what must be true when it is answered, and what may be when
//! the process ends before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::aggregator::AggregatorError;
use control::catalog::{CatalogError, CatalogView, PipelineDef, PipelineSpec, PipelineState};
use ingest::leaf::partition::Phase;
use storage::ids::LeafPartitionId;

use super::drive::{CRASH_STEPS_MAX, Drive, EVENTS};
use super::ending::EVENTS as ENDS;
use super::process::{Slot, take};
use super::user::LIMIT;
use crate::sim::kafka::Log;
use crate::sim::world::Law;

/// The statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CreateDatabase,
    CreateTable,
    CreatePipeline,
    Start,
    Foreground,
    Stop,
    SetEarliest,
    SetLatest,
    SetListed,
    Truncate,
    DropPipeline,
    DropTable,
    DropDatabase,
    Replace,
    SetGlobal,
    Test,
}

impl Kind {
    pub const ALL: [Kind; 16] = [
        Kind::CreateDatabase,
        Kind::CreateTable,
        Kind::CreatePipeline,
        Kind::Start,
        Kind::Foreground,
        Kind::Stop,
        Kind::SetEarliest,
        Kind::SetLatest,
        Kind::SetListed,
        Kind::Truncate,
        Kind::DropPipeline,
        Kind::DropTable,
        Kind::DropDatabase,
        Kind::Replace,
        Kind::SetGlobal,
        Kind::Test,
    ];

    /// Its name in the coverage.
    pub fn words(self) -> &'static str {
        match self {
            Kind::CreateDatabase => "user: CREATE DATABASE",
            Kind::CreateTable => "user: CREATE TABLE",
            Kind::CreatePipeline => "user: CREATE PIPELINE",
            Kind::Start => "user: START PIPELINE",
            Kind::Foreground => "user: START PIPELINE FOREGROUND",
            Kind::Stop => "user: STOP PIPELINE",
            Kind::SetEarliest => "user: SET OFFSETS EARLIEST",
            Kind::SetLatest => "user: SET OFFSETS LATEST",
            Kind::SetListed => "user: SET OFFSETS of some partitions",
            Kind::Truncate => "user: TRUNCATE",
            Kind::DropPipeline => "user: DROP PIPELINE",
            Kind::DropTable => "user: DROP TABLE",
            Kind::DropDatabase => "user: DROP DATABASE",
            Kind::Replace => "user: CREATE OR REPLACE PIPELINE",
            Kind::SetGlobal => "user: SET GLOBAL",
            Kind::Test => "user: TEST PIPELINE",
        }
    }

    /// Whether it raises lineages.
    pub fn rewinds(self) -> bool {
        matches!(
            self,
            Kind::SetEarliest | Kind::SetLatest | Kind::SetListed | Kind::Truncate
        )
    }

    /// Whether leaves have to carry it out.
    fn is_ordered(self) -> bool {
        !matches!(
            self,
            Kind::CreateDatabase
                | Kind::CreateTable
                | Kind::CreatePipeline
                | Kind::SetGlobal
                | Kind::Test
        )
    }

    /// Whether it is about every table.
    pub fn is_of_all(self) -> bool {
        matches!(self, Kind::CreateDatabase | Kind::DropDatabase)
    }
}

/// Where the process ends within a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    BeforeCommit,
    BehindCommit,
    BehindOrders,
}

impl Moment {
    fn words(self) -> &'static str {
        match self {
            Moment::BeforeCommit => "the process ends before its commit",
            Moment::BehindCommit => "the process ends behind a commit, before its orders",
            Moment::BehindOrders => "the process ends behind a commit and its orders",
        }
    }
}

/// Every statement at each moment of it, and each as it is answered.
pub(super) fn moments() -> impl Iterator<Item = String> {
    Kind::ALL.into_iter().flat_map(|kind| {
        let ordered = [Moment::BehindCommit, Moment::BehindOrders];
        let ordered = ordered.into_iter().filter(move |_| kind.is_ordered());
        let moments = [Moment::BeforeCommit].into_iter().chain(ordered);
        let moments = moments.map(move |moment| format!("{}: {}", kind.words(), moment.words()));
        moments.chain([answered_words(kind)])
    })
}

fn answered_words(kind: Kind) -> String {
    format!("{}: answered as done", kind.words())
}

/// See the module.
pub(super) struct Statement {
    pub kind: Kind,
    /// The table, and its pipeline.
    pub at: usize,
    pub slot: Slot<Result<(), AggregatorError>>,
    /// No other of its table was under way meanwhile.
    pub alone: bool,
    /// The catalog's change when it was given.
    pub change: u64,
    /// The pipeline as it was.
    pub pipeline: Option<Arc<PipelineDef>>,
    /// OR REPLACE: what it is to be.
    pub spec: Option<PipelineSpec>,
    /// SET GLOBAL: the value, or DEFAULT.
    pub value: Option<String>,
    /// What brokers said meanwhile of a partition's offsets, the latest or the earliest.
    pub told: BTreeMap<(i32, bool), BTreeSet<i64>>,
    /// The lineages of the leaf partitions that it is about.
    pub lineages: BTreeMap<u64, u64>,
    /// The last generation of any of them.
    pub generation: u64,
    /// SET OFFSETS of some partitions: the numbers.
    pub listed: BTreeMap<i32, i64>,
    /// The logs as they were, and how often the topic had been made.
    pub logs: (Vec<LogThen>, u8),
}

/// A log when a statement was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogThen {
    start: i64,
    /// The end that the pipelines see.
    latest: i64,
    /// How often it had lost its end.
    histories: usize,
}

impl LogThen {
    pub fn of(log: &Log, read_committed: bool) -> LogThen {
        LogThen {
            start: log.start,
            latest: latest(log, read_committed),
            histories: log.histories.len(),
        }
    }
}

fn latest(log: &Log, read_committed: bool) -> i64 {
    match read_committed {
        true => log.stable(),
        false => log.end(),
    }
}

impl Statement {
    /// Whether it and another may come between each other.
    pub fn touches(&self, kind: Kind, at: usize) -> bool {
        let global = self.kind == Kind::SetGlobal && kind == Kind::SetGlobal;
        self.at == at || self.kind.is_of_all() || kind.is_of_all() || global
    }

    /// How many of its leaf partitions have another lineage since, and of how many.
    fn raised(&self, view: &CatalogView) -> (usize, usize) {
        let there = self.lineages.iter().filter_map(|(id, lineage)| {
            let pairing = view.pairing(LeafPartitionId(*id))?;
            Some(pairing.lineage.0 > *lineage)
        });
        let there: Vec<bool> = there.collect();
        (there.iter().filter(|raised| **raised).count(), there.len())
    }

    /// All or nothing.
    fn is_whole(&self, view: &CatalogView) -> Law {
        if !self.kind.rewinds() {
            return Ok(());
        }
        match self.raised(view) {
            (raised, all) if raised > 0 && raised < all => Err(format!(
                "{} has reached {raised} of {all} partitions",
                self.kind.words()
            )),
            _ => Ok(()),
        }
    }
}

impl Drive<'_> {
    /// Statements that were answered meanwhile: whether what they say is so.
    pub(super) fn answered(&mut self) -> Law {
        let mut at = 0;
        while let Some(statement) = self.statements.get(at) {
            let Some(answer) = take(&statement.slot) else {
                at += 1;
                continue;
            };
            let statement = self.statements.remove(at);
            let words = statement.kind.words();
            self.world
                .say(|| format!("{words} of {}: {answer:?}", statement.at));
            statement.is_whole(&self.view())?;
            match answer {
                Ok(()) => {
                    self.world.coverage.hit(&answered_words(statement.kind));
                    let drops = statement.kind == Kind::DropTable && !self.world.healed;
                    if drops && self.world.random.chance(500) {
                        self.crash_in = Some(self.world.random.below(CRASH_STEPS_MAX) / 4);
                    }
                    self.done(&statement)?;
                }
                Err(error) => self.refused(&statement, &error)?,
            }
        }
        Ok(())
    }

    fn refused(&mut self, statement: &Statement, error: &AggregatorError) -> Law {
        if error.to_string().contains("EARLIEST") {
            self.advice.insert(statement.at, Kind::SetEarliest);
        }
        if let AggregatorError::Full { what, .. } = error
            && what.contains(LIMIT)
        {
            self.world.coverage.hit(EVENTS[5]);
        }
        let explained = match error {
            AggregatorError::Catalog(CatalogError::NoRoom { .. }) => {
                self.world.coverage.hit(ENDS[8]);
                self.was_refused
            }
            AggregatorError::Catalog(_) => self.lost_commit,
            AggregatorError::ShuttingDown if self.stopping.is_some() => {
                self.world.coverage.hit(ENDS[3]);
                true
            }
            // It ends, as whoever hears of the COMMIT first has it.
            AggregatorError::ShuttingDown => self.lost_commit,
            AggregatorError::LeafLost { .. }
            | AggregatorError::OlderCatalog { .. }
            | AggregatorError::Definition(_)
            | AggregatorError::Variable(_) => false,
            AggregatorError::Disk { .. } => self.world.faulted,
            _ => true,
        };
        match explained {
            true => Ok(()),
            false => Err(format!("{} fails: {error}", statement.kind.words())),
        }
    }

    /// Whether what was answered as done is done.
    fn done(&mut self, statement: &Statement) -> Law {
        let view = self.view();
        let (table, pipeline) = (format!("t{}", statement.at), format!("p{}", statement.at));
        let table = view.table("d", &table);
        let pipeline = view.pipeline("d", &pipeline).cloned();
        let words = statement.kind.words();
        let not = |what: &str| Err(format!("{words} is answered as done: {what}"));
        if statement.kind.rewinds() {
            let failure = pipeline.and_then(|pipeline| pipeline.failure.clone());
            let failed = failure.map(|failure| (statement.at, failure.unix_ms));
            self.mended.extend(failed);
            return self.is_rewound(statement, &view);
        }
        if !statement.alone {
            return Ok(());
        }
        match statement.kind {
            Kind::CreateTable if table.is_none() => not("there is no table"),
            Kind::CreatePipeline if pipeline.is_none() => not("there is no pipeline"),
            Kind::DropPipeline if pipeline.is_some() => not("the pipeline is there"),
            Kind::DropPipeline if self.world.random.chance(500) && !self.world.healed => {
                self.give_if_free(Kind::DropTable, statement.at);
                self.crash_in = Some(self.world.random.below(CRASH_STEPS_MAX) / 2);
                Ok(())
            }
            // That a table is forgotten is left to the next start where there was no room for it.
            Kind::DropTable | Kind::DropDatabase => match view
                .pairings()
                .filter(|pairing| {
                    let mut dropping = view.tables_dropping();
                    !(self.was_refused && dropping.any(|table| table.id == pairing.table))
                })
                .map(|pairing| pairing.leaf_partition.0)
                .find(|id| statement.lineages.contains_key(id))
            {
                Some(id) => not(&format!("leaf partition {id} is there")),
                None if table.is_some() => not("the table is there"),
                None if statement.kind == Kind::DropDatabase && view.database("d").is_some() => {
                    not("the database is there")
                }
                None => Ok(()),
            },
            Kind::Replace => self.is_replaced(statement, &view, pipeline.as_deref()),
            Kind::SetGlobal => {
                let mut variables = view.global_variables();
                let value = variables.find_map(|(name, value)| (name == LIMIT).then_some(value));
                match value == statement.value.as_deref() {
                    true => Ok(()),
                    false => not(&format!("{LIMIT} is {value:?}")),
                }
            }
            Kind::Test => {
                let same = |id: &u64| {
                    let pairing = view.pairing(LeafPartitionId(*id));
                    pairing.is_none_or(|one| one.generation.0 <= statement.generation)
                };
                let paired = pipeline
                    .as_ref()
                    .map(|one| view.pairings_of(one.id).count());
                // A pipeline that fails meanwhile stops its partitions, whatever else is under way.
                let failure = |one: &Arc<PipelineDef>| one.failure.clone();
                let now = pipeline.as_ref().and_then(failure);
                let failed = now.is_some() && now != statement.pipeline.as_ref().and_then(failure);
                match failed || statement.lineages.keys().all(same) {
                    true if paired.is_none_or(|all| all == statement.lineages.len()) => Ok(()),
                    _ => not("leaf partitions were told something"),
                }
            }
            Kind::Start
                if pipeline
                    .as_ref()
                    .is_none_or(|one| one.state == PipelineState::Stopped) =>
            {
                not("the pipeline is stopped")
            }
            Kind::Stop | Kind::Foreground => {
                let Some(pipeline) = pipeline else {
                    return not("there is no pipeline");
                };
                // One that was paired meanwhile is attached, and waits.
                let paired = view.pairings_of(pipeline.id);
                let paired = paired.map(|pairing| pairing.leaf_partition.0);
                for id in paired.filter(|id| statement.lineages.contains_key(id)) {
                    let mut leaves = self.world.nodes.iter().map(|node| &node.leaf);
                    let Some(one) = leaves.find_map(|leaf| leaf.partition(id)) else {
                        return not(&format!("nobody has leaf partition {id}"));
                    };
                    let rests = matches!(one.phase, Phase::Stopped | Phase::Failed(_));
                    if !rests || !self.is_drained(id) {
                        return not(&format!("leaf partition {id} is {:?}", one.phase));
                    }
                    let log = one.pairing.kafka_partition as usize;
                    let wanted = self.grown(statement, log).map(|(then, _)| then.latest);
                    let visible = one.visible().0;
                    if statement.kind == Kind::Foreground && wanted.is_some_and(|end| visible < end)
                    {
                        return not(&format!(
                            "leaf partition {id} is at {visible}, the log ended at {wanted:?}"
                        ));
                    }
                    self.at_rest.insert(id, one.visible().0);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// OR REPLACE: the same pipeline, with its leaf partitions where they stood.
    fn is_replaced(
        &self,
        statement: &Statement,
        view: &CatalogView,
        pipeline: Option<&PipelineDef>,
    ) -> Law {
        let words = statement.kind.words();
        let not = |what: &str| Err(format!("{words} is answered as done: {what}"));
        let Some(pipeline) = pipeline else {
            return not("there is no pipeline");
        };
        if Some(&pipeline.spec) != statement.spec.as_ref() {
            return not("it is as it was");
        }
        let before = statement.pipeline.as_ref();
        if before.is_some_and(|before| before.id != pipeline.id) {
            return not("it is another pipeline");
        }
        for (id, lineage) in &statement.lineages {
            let pairing = view.pairing(LeafPartitionId(*id));
            if pairing.is_none_or(|one| one.lineage.0 != *lineage) {
                return not(&format!("leaf partition {id} has lost its place"));
            }
        }
        Ok(())
    }

    /// SET OFFSETS and TRUNCATE: on every partition, where they said, and carried out.
    fn is_rewound(&self, statement: &Statement, view: &CatalogView) -> Law {
        let words = statement.kind.words();
        for (id, before) in &statement.lineages {
            let Some(pairing) = view.pairing(LeafPartitionId(*id)) else {
                continue;
            };
            let (lineage, start) = (pairing.lineage.0, pairing.start_offset.0);
            if lineage != before + 1 {
                return Err(format!(
                    "{words} is answered as done: leaf partition {id} was in lineage {before}, is in {lineage}"
                ));
            }
            let mut leaves = self.world.nodes.iter().map(|node| &node.leaf);
            let one = leaves.find_map(|leaf| leaf.partition(*id));
            let shown = self.world.tracked.get(id).and_then(|one| one.shown);
            if one.is_none_or(|one| one.pairing.lineage != lineage) || shown != Some(lineage) {
                return Err(format!(
                    "{words} is answered as done: the leaf shows leaf partition {id} in {shown:?}, not in {lineage}"
                ));
            }
            let log = pairing.kafka_partition;
            let read_committed = self.world.rules.read_committed;
            let grown = self.grown(statement, log as usize);
            let told = |latest: bool| {
                let told = statement.told.get(&(log, latest));
                told.is_some_and(|told| told.contains(&start))
            };
            let so = match (statement.kind, grown) {
                (Kind::SetEarliest, _) if !told(false) => false,
                (Kind::SetLatest, _) if !told(true) => false,
                (Kind::SetListed, _) => statement.listed.get(&log) == Some(&start),
                (Kind::SetEarliest, Some((then, now))) => (then.start..=now.start).contains(&start),
                (Kind::SetLatest, Some((then, now))) => {
                    (then.latest..=latest(now, read_committed)).contains(&start)
                }
                (Kind::SetEarliest | Kind::SetLatest, None) => true,
                _ => pairing.live_lineage == pairing.lineage,
            };
            if !so {
                return Err(format!(
                    "{words} is answered as done: leaf partition {id} begins at {start}"
                ));
            }
        }
        Ok(())
    }

    /// A log when a statement was given, and now: it has only grown meanwhile, at either end.
    fn grown(&self, statement: &Statement, log: usize) -> Option<(LogThen, &Log)> {
        let cluster = &self.world.cluster;
        let (then, now) = (statement.logs.0.get(log)?, cluster.logs.get(log)?);
        let same = cluster.topics_made == statement.logs.1 && cluster.topic_id.is_some();
        (same && then.histories == now.histories.len()).then_some((*then, now))
    }

    /// How far a statement has come: by what the catalog says of its leaf partitions, and what of that their
    /// leaves have taken.
    fn moment(&self, statement: &Statement, view: &CatalogView) -> Moment {
        let mut moment = Moment::BeforeCommit;
        if !statement.kind.is_ordered() {
            return moment;
        }
        for (id, lineage) in &statement.lineages {
            let Some(pairing) = view.pairing(LeafPartitionId(*id)) else {
                // It is dropped, and no order follows.
                return Moment::BehindOrders;
            };
            let committed = match statement.kind.rewinds() {
                true => pairing.lineage.0 > *lineage,
                false => pairing.generation.0 > statement.generation,
            };
            let taken = self.ordered.get(id).map_or(0, |order| order.0);
            if committed && taken < pairing.generation.0 {
                return Moment::BehindCommit;
            }
            if committed {
                moment = Moment::BehindOrders;
            }
        }
        moment
    }

    /// The process ends: each statement is done or not, whole.
    pub(super) fn cut_short(&mut self) -> Law {
        let view = self.catalog_on_disk()?;
        for statement in std::mem::take(&mut self.statements) {
            let moment = self.moment(&statement, &view);
            let words = statement.kind.words();
            if statement.alone {
                let hit = format!("{words}: {}", moment.words());
                self.world.coverage.hit(&hit);
            }
            self.world
                .say(|| format!("{words} of {} is cut short: {moment:?}", statement.at));
            statement.is_whole(&view)?;
        }
        Ok(())
    }
}
