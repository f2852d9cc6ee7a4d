//! The user: statements at any moment, several at once.

use std::collections::BTreeMap;

use control::aggregator::{
    Aggregator, AggregatorError, CreatePipeline, CreateTable, Foreground, Name, OffsetsTo,
    StartPipeline,
};
use control::catalog::{
    ColumnDef, PairingDef, PipelineDef, PipelineSpec, PipelineState, RetryOptions, TableSpec,
};
use futures::FutureExt;
use ingest::pipeline::{JsonMapping, MappedColumn, Path, SkipErrors, SqlType};

use super::drive::{CRASH_STEPS_MAX, Drive, EVENTS};
use super::process::{Slot, put};
use super::statement::{Kind, LogThen, Statement};
use crate::sim::kafka::cluster::TOPIC;
use crate::sim::law::Rules;
use crate::sim::world::Law;

/// The variable that SET GLOBAL sets here.
pub(super) const LIMIT: &str = "pipelines_max_concurrent";
/// Statements under way at once.
pub(super) const STATEMENTS_MAX: usize = 3;

impl Drive<'_> {
    /// A statement, perhaps, and perhaps the process ends while it is under way.
    pub(super) fn user(&mut self) -> Law {
        if self.statements.len() == STATEMENTS_MAX {
            return Ok(());
        }
        let at = self.world.random.below(self.tables as u64) as usize;
        let needed = self.needed(at);
        let view = self.view();
        let rests = view
            .pipelines()
            .all(|one| one.state != PipelineState::Running);
        let is_limited = view.global_variables().next().is_some();
        let random = &mut self.world.random;
        let any = Kind::ALL[random.below(Kind::ALL.len() as u64) as usize];
        let kind = match needed {
            _ if view.database("d").is_some() && rests && random.chance(80) => Kind::DropDatabase,
            _ if is_limited && random.chance(150) => Kind::SetGlobal,
            // A table without a pipeline is the one that may be dropped.
            Some(Kind::CreatePipeline) if random.chance(600) => Kind::DropTable,
            Some(Kind::Start) if random.chance(300) => Kind::Foreground,
            Some(kind) if random.chance(700) => kind,
            _ if random.chance(300) => any,
            _ => [
                Kind::Start,
                Kind::Start,
                Kind::Stop,
                Kind::Stop,
                Kind::Foreground,
                Kind::SetListed,
                Kind::SetListed,
                Kind::SetEarliest,
                Kind::SetLatest,
                Kind::SetLatest,
                Kind::SetLatest,
                Kind::SetLatest,
                Kind::SetLatest,
                Kind::Truncate,
                Kind::Truncate,
                Kind::DropPipeline,
                Kind::DropPipeline,
                Kind::Replace,
                Kind::Replace,
                Kind::SetGlobal,
                Kind::Test,
            ][random.below(21) as usize],
        };
        // What is rare is cut short more often.
        let often = match kind {
            Kind::DropTable | Kind::DropDatabase | Kind::Foreground => 600,
            Kind::SetLatest => 350,
            // It is to end between its orders and its answer, which a commit or an order brings about.
            Kind::Start => 100,
            _ => 250,
        };
        let crash = random.chance(often).then(|| random.below(CRASH_STEPS_MAX));
        if !self.world.has(kind.words()) || self.is_held_up(kind, at) {
            return Ok(());
        }
        self.give(kind, at);
        if crash.is_some() && self.crash_in.is_none() {
            self.crash_in = crash;
        }
        Ok(())
    }

    /// Of those that raise lineages one at a time, so that it is known who raised which.
    pub(super) fn is_held_up(&self, kind: Kind, at: usize) -> bool {
        let drops = |kind| matches!(kind, Kind::DropTable | Kind::DropDatabase);
        let raises = |kind: Kind| kind.rewinds() || drops(kind);
        let mut others = self.statements.iter();
        raises(kind) && others.any(|one| one.touches(kind, at) && raises(one.kind))
    }

    /// What has to be done before a pipeline runs; `None`: it does.
    pub(super) fn needed(&self, at: usize) -> Option<Kind> {
        let view = self.view();
        if view.database("d").is_none() {
            return Some(Kind::CreateDatabase);
        }
        if view.table("d", &format!("t{at}")).is_none() {
            return Some(Kind::CreateTable);
        }
        let Some(pipeline) = view.pipeline("d", &format!("p{at}")) else {
            return Some(Kind::CreatePipeline);
        };
        match (pipeline.state, &pipeline.failure) {
            (PipelineState::Running, _) => None,
            _ if self.advice.contains_key(&at) => self.advice.get(&at).copied(),
            (PipelineState::Error, Some(failure))
                if self.mended.get(&at) != Some(&failure.unix_ms) =>
            {
                let failure = &failure.failure;
                let words = failure.text.as_str();
                Some(if words.contains("EARLIEST") {
                    Kind::SetEarliest
                } else if failure.deterministic && failure.offset >= 0
                    || words.contains("SET OFFSETS")
                {
                    Kind::SetListed
                } else {
                    Kind::Start
                })
            }
            _ => Some(Kind::Start),
        }
    }

    /// The user gives a statement.
    pub(super) fn give(&mut self, kind: Kind, at: usize) {
        let Some(aggregator) = self.process().aggregator.clone() else {
            return;
        };
        let view = self.view();
        let (table, name) = (format!("t{at}"), Name::new("d", format!("p{at}")));
        let pipeline = view.pipeline("d", &name.name).cloned();
        let listed = match (kind, &pipeline) {
            (Kind::SetListed, Some(pipeline)) => self.listed(pipeline),
            _ => BTreeMap::new(),
        };
        let about = |pairing: &&std::sync::Arc<PairingDef>| match kind {
            Kind::Truncate | Kind::DropTable => view
                .table("d", &table)
                .is_some_and(|table| table.id == pairing.table),
            Kind::DropDatabase => true,
            Kind::SetGlobal => false,
            Kind::SetListed => {
                let own = pipeline
                    .as_ref()
                    .is_some_and(|one| one.id == pairing.pipeline);
                own && listed.contains_key(&pairing.kafka_partition)
            }
            _ => pipeline
                .as_ref()
                .is_some_and(|one| one.id == pairing.pipeline),
        };
        let own: Vec<_> = view.pairings().filter(about).collect();
        let lineages = (own.iter()).map(|pairing| (pairing.leaf_partition.0, pairing.lineage.0));
        let generation = own.iter().map(|pairing| pairing.generation.0).max();
        let spec = (kind == Kind::Replace).then(|| self.replacement(pipeline.as_deref()));
        let value = self.limit(kind);
        let cluster = &self.world.cluster;
        let read_committed = self.world.rules.read_committed;
        let logs = (cluster.logs.iter()).map(|log| LogThen::of(log, read_committed));
        let statement = Statement {
            kind,
            at,
            slot: Slot::default(),
            alone: !self.statements.iter().any(|one| one.touches(kind, at)),
            change: view.change,
            spec,
            pipeline,
            value,
            told: BTreeMap::new(),
            lineages: lineages.collect(),
            generation: generation.unwrap_or_default(),
            listed: listed.clone(),
            logs: (logs.collect(), cluster.topics_made),
        };
        let rules = self.world.rules;
        let slot = statement.slot.clone();
        let given = Given {
            listed,
            spec: statement.spec.clone().unwrap_or_else(|| created(&rules)),
            value: statement.value.clone(),
        };
        let work = carry(aggregator, kind, Name::new("d", table), name, given);
        let task = async move { put(&slot, work.await) };
        self.process_mut().executor.spawn(task.boxed());
        self.world
            .say(|| format!("{} of {at}: {:?}", kind.words(), statement.listed));
        self.world.coverage.hit(kind.words());
        if !self.statements.is_empty() {
            self.world.coverage.hit(EVENTS[3]);
        }
        self.statements
            .iter_mut()
            .filter(|other| other.touches(kind, at))
            .for_each(|other| other.alone = false);
        match kind {
            Kind::SetGlobal | Kind::Test => {}
            Kind::DropDatabase => self.advice.clear(),
            _ => drop(self.advice.remove(&at)),
        }
        for id in statement.lineages.keys().filter(|_| kind != Kind::Test) {
            self.at_rest.remove(id);
            self.resting.remove(id);
        }
        self.statements.push(statement);
    }

    /// What OR REPLACE has a pipeline be: nearly always something else.
    fn replacement(&mut self, pipeline: Option<&PipelineDef>) -> PipelineSpec {
        let before = pipeline.and_then(|one| one.spec.batch_interval_ms);
        PipelineSpec {
            batch_interval_ms: match self.world.random.chance(100) {
                true => before,
                false => Some(before.unwrap_or(1_000) + 1),
            },
            ..created(&self.world.rules)
        }
    }

    /// SET GLOBAL's value: one pipeline at once, or DEFAULT.
    fn limit(&mut self, kind: Kind) -> Option<String> {
        let limits = kind == Kind::SetGlobal && !self.world.healed;
        (limits && self.world.random.chance(600)).then(|| "1".to_owned())
    }

    /// Numbers for some of the partitions: past what has failed, where something has.
    fn listed(&mut self, pipeline: &PipelineDef) -> BTreeMap<i32, i64> {
        let view = self.view();
        let failed = pipeline.failure.as_ref().and_then(|failure| {
            let deterministic = failure.failure.deterministic && failure.failure.offset >= 0;
            let past = failure.failure.offset + i64::from(deterministic);
            Some((failure.kafka_partition?, past))
        });
        let mut listed = BTreeMap::new();
        for pairing in view.pairings_of(pipeline.id) {
            let Some(log) = self
                .world
                .cluster
                .logs
                .get(pairing.kafka_partition as usize)
            else {
                continue;
            };
            let (start, end) = (log.start, log.end());
            match failed {
                Some((partition, past)) if partition == pairing.kafka_partition => {
                    listed.insert(partition, past.max(start).min(end));
                }
                _ if self.world.random.chance(700) && !self.world.healed => {
                    let offset = self.world.random.below((end - start) as u64 + 1) as i64;
                    listed.insert(pairing.kafka_partition, start + offset);
                }
                _ => {}
            }
        }
        listed
    }
}

/// What is in a statement beside its names.
struct Given {
    listed: BTreeMap<i32, i64>,
    spec: PipelineSpec,
    value: Option<String>,
}

/// The statement, as a session has it carried out.
async fn carry(
    aggregator: Aggregator,
    kind: Kind,
    table: Name,
    name: Name,
    given: Given,
) -> Result<(), AggregatorError> {
    let start = |foreground| StartPipeline {
        name: name.clone(),
        if_not_running: false,
        foreground,
    };
    match kind {
        Kind::CreateDatabase => aggregator.create_database("d", false).await.map(drop),
        Kind::CreateTable => {
            let spec = TableSpec {
                columns: columns(),
                ..TableSpec::default()
            };
            let create = CreateTable {
                name: table,
                if_not_exists: false,
                spec,
            };
            aggregator.create_table(create).await.map(drop)
        }
        Kind::CreatePipeline | Kind::Replace => {
            let create = CreatePipeline {
                name: name.clone(),
                or_replace: kind == Kind::Replace,
                if_not_exists: false,
                table,
                spec: given.spec,
            };
            aggregator.create_pipeline(create).await.map(drop)
        }
        Kind::Start => aggregator.start_pipeline(start(None)).await.map(drop),
        Kind::Foreground => {
            let foreground = Foreground { batches: None };
            aggregator
                .start_pipeline(start(Some(foreground)))
                .await
                .map(drop)
        }
        Kind::Stop => aggregator.stop_pipeline(name, false).await.map(drop),
        Kind::SetEarliest => aggregator.alter_offsets(name, OffsetsTo::Earliest).await,
        Kind::SetLatest => aggregator.alter_offsets(name, OffsetsTo::Latest).await,
        Kind::SetListed => {
            aggregator
                .alter_offsets(name, OffsetsTo::Listed(given.listed))
                .await
        }
        Kind::Truncate => aggregator.truncate_table(table).await,
        Kind::DropPipeline => aggregator.drop_pipeline(name, false).await.map(drop),
        Kind::DropTable => aggregator.drop_tables(vec![table], false).await.map(drop),
        Kind::DropDatabase => aggregator.drop_database("d", false).await.map(drop),
        Kind::SetGlobal => aggregator.set_global(LIMIT, given.value.as_deref()).await,
        Kind::Test => aggregator.test_pipeline(name, Some(5)).await.map(drop),
    }
}

fn sql_types() -> [(&'static str, SqlType); 2] {
    [
        ("v", SqlType::BigInt { unsigned: false }),
        ("s", SqlType::Text),
    ]
}

fn columns() -> Vec<ColumnDef> {
    let columns = sql_types().into_iter().map(|(name, sql_type)| ColumnDef {
        name: name.to_owned(),
        sql_type,
        nullable: true,
        default: None,
        comment: String::new(),
    });
    columns.collect()
}

/// What CREATE PIPELINE makes.
fn created(rules: &Rules) -> PipelineSpec {
    let isolation = match rules.read_committed {
        true => "read_committed",
        false => "read_uncommitted",
    };
    let columns = sql_types()
        .into_iter()
        .map(|(name, sql_type)| MappedColumn {
            name: name.to_owned(),
            sql_type,
            nullable: true,
            path: Some(Path(vec![name.to_owned()])),
            default: None,
        });
    PipelineSpec {
        brokers: vec!["sim:9091".to_owned()],
        topic: TOPIC.to_owned(),
        config: BTreeMap::from([("isolation.level".to_owned(), isolation.to_owned())]),
        batch_interval_ms: None,
        max_partitions_per_batch: None,
        max_retries_per_batch_partition: Some(2),
        max_offsets_per_batch_partition: Some(rules.offsets_max),
        retry_options: Some(RetryOptions {
            exponential: Some(true),
            retry_interval_ms: Some(100),
            max_retry_interval_ms: Some(1_000),
            max_retries: None,
        }),
        skip_errors: if rules.skips {
            SkipErrors::Parser
        } else {
            SkipErrors::None
        },
        stop_on_error: Some(rules.stop_on_error),
        mapping: JsonMapping {
            columns: columns.collect(),
        },
        mapping_written: true,
    }
}
