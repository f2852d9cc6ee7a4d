//! CREATE, START, STOP, DROP and ALTER of pipelines, and SET GLOBAL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ingest::kafka::requests::OffsetSpec;
use ingest::leaf::order::{Failure, Goal};
use storage::ids::{LeafPartitionId, Offset, TopicId};

use super::client::{Client, ClientFault, TopicAnswer, TopicState};
use super::definitions::{check_name, check_pipeline};
use super::error::{AggregatorError, Exists, Unknown, WrongState};
use super::settings::client_settings;
use super::shared::{Shared, ordered, pairings_of, resting};
use super::statement::{
    Changed, CreatePipeline, Foreground, Name, OffsetsTo, StartPipeline, Started,
};
use super::supervisor::Held;
use super::tables::{known_database, known_table};
use crate::catalog::{
    CatalogView, Change, PipelineDef, PipelineFailure, PipelineId, PipelineState, Variable,
};
use crate::limits::TOPIC_QUESTION_INTERVAL_MS;

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
        let unix_ms = self.clock.unix_ms();
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
        self.not_in_foreground(id, &name.name, "CREATE OR REPLACE it")?;
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
        let ids = pairings_of(&view, id);
        let unix_ms = self.clock.unix_ms();
        self.drained(&ids, &name.name, async || {
            self.transact(|view| {
                let replaced = Change::PipelineReplaced {
                    pipeline: id,
                    spec: Box::new(spec),
                    unix_ms,
                };
                Ok((vec![replaced, ordered(view, ids.clone())], Changed::Yes))
            })
            .await
        })
        .await
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
        if pipeline.state == PipelineState::Running || self.is_foreground(id) {
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
        let running = view
            .pipelines()
            .filter(|pipeline| pipeline.state == PipelineState::Running)
            .count()
            + self.state().foreground.len();
        let most = self.variables(&view).max_concurrent();
        if running as u64 >= most {
            return Err(AggregatorError::Full {
                what: "pipelines running at once (pipelines_max_concurrent)",
                max: most,
            });
        }
        let client = Client::new(client_settings(&pipeline.spec)?);
        let state = self.ready(pipeline, &client).await?;
        self.lead(id, &state);
        match start.foreground {
            None => {
                let ids = self
                    .transact(|view| {
                        let ids = pairings_of(view, id);
                        let changes = vec![
                            Change::PipelineState {
                                pipeline: id,
                                state: PipelineState::Running,
                                failure: None,
                            },
                            ordered(view, ids.clone()),
                        ];
                        Ok((changes, ids))
                    })
                    .await?;
                self.carry_out();
                self.attached(&ids).await?;
                Ok(Started::default())
            }
            Some(foreground) => self.foreground(id, name, foreground, turn).await,
        }
    }

    /// Runs to the end of the log as it stands, or so many batches; then all of it is durable.
    async fn foreground(
        self: &Arc<Shared>,
        id: PipelineId,
        name: &Name,
        foreground: Foreground,
        turn: tokio::sync::OwnedMutexGuard<()>,
    ) -> Result<Started, AggregatorError> {
        // Kept as stopped: after a crash nobody waits for it in the foreground.
        let ids = self
            .transact(|view| {
                let ids = pairings_of(view, id);
                let changes = vec![
                    Change::PipelineState {
                        pipeline: id,
                        state: PipelineState::Stopped,
                        failure: None,
                    },
                    ordered(view, ids.clone()),
                ];
                Ok((changes, ids))
            })
            .await?;
        {
            let mut state = self.state();
            state.foreground.insert(id);
            for leaf_partition in &ids {
                state.supervisor.hold(
                    *leaf_partition,
                    Held::Foreground {
                        batches_max: foreground.batches,
                    },
                );
            }
        }
        self.carry_out();
        // STOP may come in between, so the turn is not held while it loads.
        drop(turn);
        let outcome = self
            .until(|state, _| {
                if !state.foreground.contains(&id) {
                    return Some(Err(AggregatorError::State(WrongState::StoppedMeanwhile {
                        pipeline: name.name.clone(),
                    })));
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
        {
            let mut state = self.state();
            state.foreground.remove(&id);
            for leaf_partition in &ids {
                state.supervisor.release(*leaf_partition);
            }
        }
        self.carry_out();
        self.until(|state, view| resting(state, view, &ids)).await?;
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
        if state == PipelineState::Stopped && !self.is_foreground(id) {
            return match if_running {
                true => Ok(Changed::Nothing),
                false => Err(AggregatorError::State(WrongState::NotRunning {
                    pipeline: name.name,
                })),
            };
        }
        match self.stopped(id).await? {
            Some((leaf_partition, failure)) => {
                Err(self.failed_at(leaf_partition, &name.name, failure))
            }
            None => Ok(Changed::Yes),
        }
    }

    /// Stops it in the catalog and on the leaves; the first leaf partition that could not be drained.
    async fn stopped(
        self: &Arc<Shared>,
        id: PipelineId,
    ) -> Result<Option<(LeafPartitionId, Failure)>, AggregatorError> {
        let ids = self
            .transact(|view| {
                let ids = pairings_of(view, id);
                let changes = vec![
                    Change::PipelineState {
                        pipeline: id,
                        state: PipelineState::Stopped,
                        failure: None,
                    },
                    ordered(view, ids.clone()),
                ];
                Ok((changes, ids))
            })
            .await?;
        {
            let mut state = self.state();
            state.foreground.remove(&id);
            for leaf_partition in &ids {
                state.supervisor.release(*leaf_partition);
            }
        }
        self.carry_out();
        self.until(|state, view| resting(state, view, &ids)).await
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

    /// ALTER PIPELINE ... SET OFFSETS.
    pub async fn alter_offsets(
        self: &Arc<Shared>,
        name: Name,
        to: OffsetsTo,
    ) -> Result<(), AggregatorError> {
        let id = known_pipeline(&self.view(), &name)?.id;
        let _turn = self.pipeline_turn(id).await;
        self.not_in_foreground(id, &name.name, "ALTER it")?;
        let view = self.view();
        let pipeline = known_pipeline(&view, &name)?;
        let (offsets, topic_id) = self.resolve_offsets(&view, pipeline, to).await?;
        let ids: BTreeMap<LeafPartitionId, Offset> = self
            .view()
            .pairings_of(id)
            .filter_map(|pairing| {
                let offset = offsets.get(&pairing.kafka_partition)?;
                Some((pairing.leaf_partition, *offset))
            })
            .collect();
        let listed: Vec<LeafPartitionId> = ids.keys().copied().collect();
        self.drained(&listed, &name.name, async || {
            self.transact(|view| {
                let generation = view.next_generation();
                let mut changes: Vec<Change> = ids
                    .iter()
                    .filter_map(|(leaf_partition, offset)| {
                        let pairing = view.pairing(*leaf_partition)?;
                        Some(Change::Lineage {
                            leaf_partition: leaf_partition.0,
                            generation,
                            lineage: pairing.lineage.0 + 1,
                            live_lineage: pairing.live_lineage.0,
                            start_offset: offset.0,
                            topic_id: topic_id.map(|topic| topic.0),
                        })
                    })
                    .collect();
                if let Some(topic_id) = topic_id {
                    changes.push(Change::PipelineTopic {
                        pipeline: id,
                        topic_id: topic_id.0,
                    });
                }
                Ok((changes, ()))
            })
            .await
        })
        .await?;
        self.rewound(&listed, &name.name).await
    }

    /// The numbers, and the topic's id when it is another one now.
    async fn resolve_offsets(
        self: &Arc<Shared>,
        view: &CatalogView,
        pipeline: &PipelineDef,
        to: OffsetsTo,
    ) -> Result<(BTreeMap<i32, Offset>, Option<TopicId>), AggregatorError> {
        let paired = |view: &CatalogView, index: i32| {
            view.pairings_of(pipeline.id)
                .any(|pairing| pairing.kafka_partition == index)
        };
        if let OffsetsTo::Listed(listed) = &to {
            for (index, offset) in listed {
                if *offset < 0 || *offset == i64::MAX {
                    return Err(AggregatorError::Setting {
                        clause: "SET OFFSETS",
                        key: index.to_string(),
                        what: format!("{offset} is not an offset"),
                    });
                }
            }
        }
        let known = match &to {
            OffsetsTo::Listed(listed) => listed.keys().all(|index| paired(view, *index)),
            OffsetsTo::Earliest | OffsetsTo::Latest => false,
        };
        let client = Client::new(client_settings(&pipeline.spec)?);
        let mut topic_id = None;
        let mut state = None;
        if !known {
            let now = self.topic_state(pipeline, &client).await?;
            if is_replaced(pipeline, &now) {
                if matches!(to, OffsetsTo::Listed(_)) {
                    return Err(client.error(
                        "SET OFFSETS",
                        &ClientFault::Replaced {
                            topic: pipeline.spec.topic.clone(),
                            id: now.id,
                        },
                    ));
                }
                topic_id = Some(now.id);
            }
            self.pair_missing(pipeline, &client, &now).await?;
            state = Some(now);
        }
        let spec = match to {
            OffsetsTo::Listed(listed) => {
                let view = self.view();
                if let Some(index) = listed.keys().find(|index| !paired(&view, **index)) {
                    return Err(AggregatorError::Unknown(Unknown::Partition {
                        pipeline: pipeline.name.clone(),
                        partition: index.to_string(),
                    }));
                }
                let offsets = listed
                    .into_iter()
                    .map(|(index, offset)| (index, Offset(offset)));
                return Ok((offsets.collect(), None));
            }
            OffsetsTo::Earliest => OffsetSpec::Earliest,
            OffsetsTo::Latest => OffsetSpec::Latest,
        };
        let state = state.unwrap_or_else(|| TopicState {
            id: TopicId::default(),
            partitions: BTreeMap::new(),
        });
        let indices: Vec<i32> = state.partitions.keys().copied().collect();
        let offsets = client
            .offsets(&pipeline.spec.topic, &state, &indices, spec)
            .await
            .map_err(|fault| client.error("asking for offsets", &fault))?;
        if topic_id.is_some() {
            self.state().supervisor.forget_leaders(pipeline.id);
            self.lead(pipeline.id, &state);
        }
        Ok((offsets, topic_id))
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

    /// The topic there and the same, every partition paired.
    async fn ready(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        client: &Client,
    ) -> Result<TopicState, AggregatorError> {
        let state = self.topic_state(pipeline, client).await?;
        if is_replaced(pipeline, &state) {
            let fault = ClientFault::Replaced {
                topic: pipeline.spec.topic.clone(),
                id: state.id,
            };
            return Err(client.error("START", &fault));
        }
        self.pair_missing(pipeline, client, &state).await?;
        Ok(state)
    }

    /// Asks until every partition has a leader, for pipelines_extractor_get_offsets_timeout_ms.
    pub(super) async fn topic_state(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        client: &Client,
    ) -> Result<TopicState, AggregatorError> {
        let topic = &pipeline.spec.topic;
        let doing = "asking for the topic";
        let limit_ms = self.variables(&self.view()).get_offsets_timeout_ms();
        let deadline_ms = self.clock.now_ms() + limit_ms;
        loop {
            let fault = match client.topic(topic).await {
                Ok(TopicAnswer::There(state)) => {
                    match state.partitions.iter().find(|(_, leader)| leader.is_none()) {
                        None => return Ok(state),
                        Some((partition, _)) => ClientFault::NoLeader {
                            partition: *partition,
                        },
                    }
                }
                // No wait: somebody mistyped, or has to make it first.
                Ok(TopicAnswer::Missing) => {
                    let fault = ClientFault::NoTopic {
                        topic: topic.clone(),
                    };
                    return Err(client.error(doing, &fault));
                }
                Err(ClientFault::Answer { question, error }) if error.is_retriable() => {
                    ClientFault::Answer { question, error }
                }
                Err(fault) => return Err(client.error(doing, &fault)),
            };
            if self.clock.now_ms() >= deadline_ms {
                return Err(client.error(doing, &fault));
            }
            tokio::time::sleep(Duration::from_millis(TOPIC_QUESTION_INTERVAL_MS)).await;
        }
    }

    pub(super) async fn pair_missing(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        client: &Client,
        state: &TopicState,
    ) -> Result<(), AggregatorError> {
        let view = self.view();
        let new: Vec<i32> = state
            .partitions
            .keys()
            .copied()
            .filter(|index| {
                !view
                    .pairings_of(pipeline.id)
                    .any(|pairing| pairing.kafka_partition == *index)
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        // Dealt by leader, so who leads must be known before a leaf is told.
        self.lead(pipeline.id, state);
        self.pair(pipeline.id, client, state, &new).await?;
        self.carry_out();
        let ids = pairings_of(&self.view(), pipeline.id);
        self.attached(&ids).await
    }

    fn lead(&self, id: PipelineId, state: &TopicState) {
        let mut shared = self.state();
        for (index, leader) in &state.partitions {
            if let Some(leader) = leader {
                shared.supervisor.led(id, *index, leader.clone());
            }
        }
    }

    async fn attached(&self, ids: &[LeafPartitionId]) -> Result<(), AggregatorError> {
        self.until(|state, _| {
            ids.iter()
                .all(|id| {
                    state
                        .supervisor
                        .known(*id)
                        .is_some_and(|known| known.attached)
                })
                .then_some(())
        })
        .await
    }

    pub(super) fn is_foreground(&self, id: PipelineId) -> bool {
        self.state().foreground.contains(&id)
    }

    pub(super) fn not_in_foreground(
        &self,
        id: PipelineId,
        name: &str,
        statement: &'static str,
    ) -> Result<(), AggregatorError> {
        match self.is_foreground(id) {
            true => Err(AggregatorError::State(WrongState::MustBeStopped {
                pipeline: name.to_owned(),
                statement,
            })),
            false => Ok(()),
        }
    }

    pub(super) fn failed_at(
        &self,
        id: LeafPartitionId,
        name: &str,
        failure: Failure,
    ) -> AggregatorError {
        AggregatorError::Failed {
            pipeline: name.to_owned(),
            failure: PipelineFailure {
                kafka_partition: self
                    .view()
                    .pairing(id)
                    .map(|pairing| pairing.kafka_partition),
                failure,
                unix_ms: self.clock.unix_ms(),
            },
        }
    }
}

/// Whether Kafka gives the topic's name another id than the one that was paired.
pub(super) fn is_replaced(pipeline: &PipelineDef, state: &TopicState) -> bool {
    let none = TopicId::default();
    let known = pipeline.topic_id.unwrap_or(none);
    known != none && state.id != none && known != state.id
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
