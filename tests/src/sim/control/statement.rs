//! A statement: what was true when it was given, what must be true when it is answered, and what may be when
//! the process ends before.

use std::collections::BTreeMap;

use control::aggregator::AggregatorError;
use control::catalog::{CatalogView, PipelineState};
use ingest::leaf::partition::Phase;
use storage::ids::LeafPartitionId;

use super::drive::{CRASH_STEPS_MAX, Drive};
use super::process::{Slot, take};
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
}

impl Kind {
    pub const ALL: [Kind; 12] = [
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
            Kind::CreateDatabase | Kind::CreateTable | Kind::CreatePipeline
        )
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
    /// No other was under way meanwhile.
    pub alone: bool,
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
        let explained = match error {
            AggregatorError::Catalog(_)
            | AggregatorError::ShuttingDown
            | AggregatorError::LeafLost { .. }
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
            Kind::DropTable => match self
                .world
                .tracked
                .keys()
                .find(|id| statement.lineages.contains_key(*id))
            {
                Some(id) => not(&format!("leaf partition {id} is there")),
                None if table.is_some() => not("the table is there"),
                None => Ok(()),
            },
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
            let so = match (statement.kind, grown) {
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
        let view = self.view();
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
