//! CREATE, START, STOP, DROP and ALTER of pipelines, and SET GLOBAL.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingest::leaf::order::{Failure, Goal};
use storage::ids::LeafPartitionId;

use super::client::TopicState;
use super::definitions::{check_name, check_pipeline};
use super::error::{AggregatorError, Exists, Unknown, WrongState};
use super::settings::client_settings;
use super::shared::{Shared, Undrained, ordered, pairings_of, resting};
use super::statement::{Changed, CreatePipeline, Foreground, Name, StartPipeline, Started};
use super::supervisor::Held;
use super::tables::{known_database, known_table};
use crate::catalog::{
    CatalogView, Change, PipelineDef, PipelineFailure, PipelineId, PipelineState, Variable,
};
use crate::planted::{Rule, out};

impl Shared {
    /// CREATE [OR REPLACE] PIPELINE.
    pub async fn create_pipeline(
        self: &Arc<Shared>,
        create: CreatePipeline,
    ) -> Result<Changed, AggregatorError> {
        let CreatePipeline {
            name,
            or_replace,
            if_not_exists,
            table,
            spec,
        } = create;
        check_name("pipeline", &name.name)?;
        let _turn = self.definitions.lock().await;
        let view = self.view();
        known_database(&view, &name.database)?;
        if let Some(pipeline) = view.pipeline(&name.database, &name.name) {
            return match (or_replace, if_not_exists) {
                (true, _) => self.replace(pipeline, &name, &table, spec).await,
                (false, true) => Ok(Changed::Nothing),
                (false, false) => Err(AggregatorError::Exists(Exists::Pipeline {
                    pipeline: name.name,
                })),
            };
        }
        let unix_ms = self.port.unix_ms();
        self.transact(|view| {
            let database = known_database(view, &name.database)?;
            let table = known_table(view, &table)?;
            check_pipeline(&spec, table)?;
            let created = Change::PipelineCreated {
                pipeline: PipelineId(view.next_id()),
                database,
                name: name.name,
                table: table.id.0,
                spec: Box::new(spec),
                unix_ms,
            };
            Ok((vec![created], Changed::Yes))
        })
        .await
    }

    /// OR REPLACE: drained first, so that no commit mixes two definitions.
    async fn replace(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        name: &Name,
        table: &Name,
        spec: crate::catalog::PipelineSpec,
    ) -> Result<Changed, AggregatorError> {
        let id = pipeline.id;
        let _turn = self.pipeline_turn(id).await;
        self.not_in_foreground(id, &name.name, "CREATE OR REPLACE PIPELINE")?;
        let changes = |what| {
            Err(AggregatorError::State(WrongState::ReplaceChanges {
                pipeline: name.name.clone(),
                what,
            }))
        };
        let view = self.view();
        let table = known_table(&view, table)?;
        if table.id != pipeline.table {
            return changes("table");
        }
        if spec.topic != pipeline.spec.topic {
            return changes("topic");
        }
        check_pipeline(&spec, table)?;
        if spec == pipeline.spec {
            // What was loaded under it stays comparable, and nothing has to pause.
            return Ok(Changed::Yes);
        }
        let unix_ms = self.port.unix_ms();
        loop {
            let ids = pairings_of(&self.view(), id);
            let drained = match out(Rule::DrainedBeforeReplace) {
                true => &[],
                false => ids.as_slice(),
            };
            let replace = async || {
                self.transact(|view| {
                    // One that was paired while the others drained would load on as the pipeline was: it is
                    // drained with them.
                    if pairings_of(view, id) != ids {
                        return Ok((vec![ordered(view, ids.clone())], None));
                    }
                    let replaced = Change::PipelineReplaced {
                        pipeline: id,
                        spec: Box::new(spec.clone()),
                        unix_ms,
                    };
                    let changes = vec![replaced, ordered(view, ids.clone())];
                    Ok((changes, Some(Changed::Yes)))
                })
                .await
            };
            if let Some(changed) = self.drained(drained, &name.name, replace).await? {
                return Ok(changed);
            }
        }
    }

    /// START PIPELINE.
    pub async fn start_pipeline(
        self: &Arc<Shared>,
        start: StartPipeline,
    ) -> Result<Started, AggregatorError> {
        let name = &start.name;
        let id = known_pipeline(&self.view(), name)?.id;
        let turn = self.pipeline_turn(id).await;
        let view = self.view();
        let pipeline = known_pipeline(&view, name)?;
        let runs = pipeline.state == PipelineState::Running || self.is_foreground(id);
        if runs && start.foreground.is_none() && !self.is_foreground(id) {
            let failed = self.state().supervisor.failed(&view, id);
            if !failed.is_empty() {
                return self.try_again(id, pipeline, failed).await;
            }
        }
        if runs {
            return match start.if_not_running {
                true => Ok(Started {
                    already_running: true,
                    ..Started::default()
                }),
                false => Err(AggregatorError::State(WrongState::AlreadyRunning {
                    pipeline: name.name.clone(),
                })),
            };
        }
        let starting = Starting::new(self, id)?;
        let client = self.port.brokers(client_settings(&pipeline.spec)?);
        let state = self.ready(pipeline, &*client).await?;
        self.lead(id, &state);
        match start.foreground {
            None => {
                let all = |view: &CatalogView| pairings_of(view, id);
                let ids = self.stand(id, PipelineState::Running, all).await?;
                self.carry_out();
                self.attached(&ids).await?;
                Ok(Started::default())
            }
            Some(foreground) => {
                self.foreground(id, name, foreground, &state, (turn, starting))
                    .await
            }
        }
    }

    /// START of a pipeline that runs but for these of its leaf partitions.
    async fn try_again(
        self: &Arc<Shared>,
        id: PipelineId,
        pipeline: &PipelineDef,
        failed: Vec<LeafPartitionId>,
    ) -> Result<Started, AggregatorError> {
        let client = self.port.brokers(client_settings(&pipeline.spec)?);
        let state = self.ready(pipeline, &*client).await?;
        self.lead(id, &state);
        let ids = self.stand(id, PipelineState::Running, |_| failed).await?;
        self.carry_out();
        self.attached(&ids).await?;
        Ok(Started::default())
    }

    /// Runs to the end of the log as it stands, or so many batches; then all of it is durable.
    async fn foreground(
        self: &Arc<Shared>,
        id: PipelineId,
        name: &Name,
        foreground: Foreground,
        topic: &TopicState,
        starts: (tokio::sync::OwnedMutexGuard<()>, Starting<'_>),
    ) -> Result<Started, AggregatorError> {
        // What the topic no longer has would be waited for in vain.
        let there = |view: &CatalogView| {
            let has = |index| topic.partitions.contains_key(&index);
            view.pairings_of(id)
                .filter(|pairing| has(pairing.kafka_partition))
                .map(|pairing| pairing.leaf_partition)
                .collect()
        };
        // Kept as stopped: after a crash nobody waits for it in the foreground.
        let ids = self.stand(id, PipelineState::Stopped, there).await?;
        let run = {
            let mut state = self.state();
            state.foreground_runs += 1;
            let run = state.foreground_runs;
            state.foreground.insert(id, run);
            for leaf_partition in &ids {
                state.supervisor.hold(
                    *leaf_partition,
                    Held::Foreground {
                        batches_max: foreground.batches,
                    },
                );
            }
            run
        };
        self.carry_out();
        // STOP may come in between, so the turn is not held while it loads.
        drop(starts);
        let outcome = self
            .until(|state, view| {
                if state.foreground.get(&id) != Some(&run) {
                    return Some(Err(AggregatorError::State(WrongState::StoppedMeanwhile {
                        pipeline: name.name.clone(),
                    })));
                }
                // Of the topic as a whole, or of a leaf partition that was told something else since.
                let failure = view.pipeline_by_id(id).and_then(|one| one.failure.clone());
                if let Some(failure) = failure {
                    return Some(Err(AggregatorError::Failed {
                        pipeline: name.name.clone(),
                        failure,
                    }));
                }
                let (mut rows, mut rejects) = (0, 0);
                let mut waits = false;
                for leaf_partition in &ids {
                    let known = state.supervisor.known(*leaf_partition)?;
                    if let Some(failure) = &known.failed {
                        return Some(Err(self.failed_at(
                            *leaf_partition,
                            &name.name,
                            failure.clone(),
                        )));
                    }
                    match (known.goal, known.caught_up) {
                        (Goal::Foreground { .. }, Some(loaded)) => {
                            rows += loaded.0;
                            rejects += loaded.1;
                        }
                        _ => waits = true,
                    }
                }
                (!waits).then_some(Ok((rows, rejects)))
            })
            .await
            .and_then(|outcome| outcome);
        let _turn = self.pipeline_turn(id).await;
        let own = self.state().foreground.get(&id) == Some(&run);
        // Where STOP or DROP came before, they have seen to it, and what followed them is not ours to end.
        if own {
            self.let_go(id, &ids);
            self.until(|state, view| resting(state, view, &ids)).await?;
        }
        let (rows, rejects) = outcome?;
        Ok(Started {
            already_running: false,
            rows,
            rejects,
        })
    }

    /// STOP PIPELINE: returns once everything visible is durable.
    pub async fn stop_pipeline(
        self: &Arc<Shared>,
        name: Name,
        if_running: bool,
    ) -> Result<Changed, AggregatorError> {
        let id = known_pipeline(&self.view(), &name)?.id;
        let _turn = self.pipeline_turn(id).await;
        let state = known_pipeline(&self.view(), &name)?.state;
        let is_stopped = state == PipelineState::Stopped && !self.is_foreground(id);
        // What an earlier STOP left without room is not durable: it is asked for again.
        if is_stopped && !self.waits_for_room(id) {
            return match if_running {
                true => Ok(Changed::Nothing),
                false => Err(AggregatorError::State(WrongState::NotRunning {
                    pipeline: name.name,
                })),
            };
        }
        match self.stopped(id).await? {
            Some(undrained) => Err(self.undrained_at(undrained, &name.name)),
            None => Ok(Changed::Yes),
        }
    }

    /// Stops it in the catalog and on the leaves; the first leaf partition that could not be drained.
    async fn stopped(
        self: &Arc<Shared>,
        id: PipelineId,
    ) -> Result<Option<Undrained>, AggregatorError> {
        let all = |view: &CatalogView| pairings_of(view, id);
        let ids = self.stand(id, PipelineState::Stopped, all).await?;
        self.let_go(id, &ids);
        if out(Rule::StopBehindDrain) {
            return Ok(None);
        }
        self.until(|state, view| resting(state, view, &ids)).await
    }

    /// Whether a leaf partition of it is stopped and shows what had no room to become durable.
    fn waits_for_room(&self, id: PipelineId) -> bool {
        let ids = pairings_of(&self.view(), id);
        let state = self.state();
        let known = ids.iter().filter_map(|id| state.supervisor.known(*id));
        known.into_iter().any(|known| known.no_room.is_some())
    }

    /// DROP PIPELINE: stopped first; the rows stay.
    pub async fn drop_pipeline(
        self: &Arc<Shared>,
        name: Name,
        if_exists: bool,
    ) -> Result<Changed, AggregatorError> {
        let _definitions = self.definitions.lock().await;
        known_database(&self.view(), &name.database)?;
        let id = match known_pipeline(&self.view(), &name) {
            Ok(pipeline) => pipeline.id,
            Err(_) if if_exists => return Ok(Changed::Nothing),
            Err(unknown) => return Err(unknown),
        };
        let _turn = self.pipeline_turn(id).await;
        // One that cannot be drained is dropped all the same: its rows stay as far as they are durable.
        self.stopped(id).await?;
        self.transact(|_| Ok((vec![Change::PipelineDropped { pipeline: id }], ())))
            .await?;
        self.carry_out();
        Ok(Changed::Yes)
    }

    /// SET GLOBAL.
    pub async fn set_global(
        self: &Arc<Shared>,
        name: String,
        value: Option<String>,
    ) -> Result<(), AggregatorError> {
        let variable = Variable::named(&name)?;
        let value = match value {
            Some(value) => Some(variable.normalise(&value)?),
            None => None,
        };
        self.transact(|_| {
            let set = Change::VariableSet {
                name: variable.name.to_owned(),
                value,
            };
            Ok((vec![set], ()))
        })
        .await
    }

    /// One transaction: where the pipeline stands, and a new generation for these leaf partitions of it.
    async fn stand(
        &self,
        id: PipelineId,
        state: PipelineState,
        of: impl FnOnce(&CatalogView) -> Vec<LeafPartitionId>,
    ) -> Result<Vec<LeafPartitionId>, AggregatorError> {
        self.transact(|view| {
            let ids = of(view);
            let stands = Change::PipelineState {
                pipeline: id,
                state,
                failure: None,
            };
            Ok((vec![stands, ordered(view, ids.clone())], ids))
        })
        .await
    }

    /// No statement holds these leaf partitions any more: the catalog's goals are theirs again.
    fn let_go(self: &Arc<Shared>, id: PipelineId, ids: &[LeafPartitionId]) {
        {
            let mut state = self.state();
            state.foreground.remove(&id);
            for leaf_partition in ids {
                state.supervisor.release(*leaf_partition);
            }
        }
        self.carry_out();
    }

    pub(super) fn is_foreground(&self, id: PipelineId) -> bool {
        self.state().foreground.contains_key(&id)
    }

    pub(super) fn not_in_foreground(
        &self,
        id: PipelineId,
        name: &str,
        statement: &'static str,
    ) -> Result<(), AggregatorError> {
        match self.is_foreground(id) {
            true => Err(AggregatorError::State(WrongState::InForeground {
                pipeline: name.to_owned(),
                statement,
            })),
            false => Ok(()),
        }
    }

    /// What a statement is answered whose drain [`resting`] gave this for. `name`: where no pipeline has the leaf
    /// partition any more.
    pub(super) fn undrained_at(&self, undrained: Undrained, name: &str) -> AggregatorError {
        let Undrained {
            leaf_partition,
            failure,
            waits,
        } = undrained;
        let (pipeline, failure) = self.told_of(leaf_partition, name, failure);
        match waits {
            true => AggregatorError::NotDurable { pipeline, failure },
            false => AggregatorError::Failed { pipeline, failure },
        }
    }

    /// The same of a failed one.
    pub(super) fn failed_at(
        &self,
        id: LeafPartitionId,
        name: &str,
        failure: Failure,
    ) -> AggregatorError {
        let (pipeline, failure) = self.told_of(id, name, failure);
        AggregatorError::Failed { pipeline, failure }
    }

    fn told_of(
        &self,
        id: LeafPartitionId,
        name: &str,
        failure: Failure,
    ) -> (String, PipelineFailure) {
        let view = self.view();
        let pairing = view.pairing(id);
        let pipeline = pairing.and_then(|pairing| view.pipeline_by_id(pairing.pipeline));
        let failure = PipelineFailure {
            kafka_partition: pairing.map(|pairing| pairing.kafka_partition),
            failure,
            unix_ms: self.port.unix_ms(),
        };
        let name = pipeline.map_or(name, |pipeline| pipeline.name.as_str());
        (name.to_owned(), failure)
    }
}

pub(super) fn known_pipeline<'a>(
    view: &'a CatalogView,
    name: &Name,
) -> Result<&'a Arc<PipelineDef>, AggregatorError> {
    known_database(view, &name.database)?;
    view.pipeline(&name.database, &name.name).ok_or_else(|| {
        AggregatorError::Unknown(Unknown::Pipeline {
            database: name.database.clone(),
            pipeline: name.name.clone(),
        })
    })
}

/// A pipeline in the middle of START.
struct Starting<'s> {
    shared: &'s Shared,
    id: PipelineId,
}

impl<'s> Starting<'s> {
    /// Counts it, unless as many run or start as may.
    fn new(shared: &'s Shared, id: PipelineId) -> Result<Starting<'s>, AggregatorError> {
        let mut state = shared.state();
        // Read behind the lock: a START that has ended since is in the catalog by now.
        let view = shared.view();
        let running = view
            .pipelines()
            .filter(|pipeline| pipeline.state == PipelineState::Running)
            .map(|pipeline| pipeline.id);
        let at_once: BTreeSet<PipelineId> = running
            .chain(state.foreground.keys().copied())
            .chain(state.starting.iter().copied())
            .collect();
        let most = shared.variables(&view).max_concurrent();
        if at_once.len() as u64 >= most {
            return Err(AggregatorError::Full {
                what: "pipelines running at once (pipelines_max_concurrent)",
                max: most,
            });
        }
        state.starting.insert(id);
        Ok(Starting { shared, id })
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.shared.state().starting.remove(&self.id);
    }
}
