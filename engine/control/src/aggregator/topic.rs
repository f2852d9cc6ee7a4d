//! A pipeline's topic as a statement needs it: there, the same one, led, and every partition paired.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::kafka::requests::OffsetSpec;
use storage::ids::{LeafPartitionId, Offset, TopicId};

use super::client::{Brokers, ClientFault, TopicAnswer, TopicState};
use super::error::AggregatorError;
use super::shared::{Shared, pairings_of};
use crate::catalog::{PipelineDef, PipelineId};
use crate::limits::TOPIC_QUESTION_INTERVAL_MS;

impl Shared {
    /// The topic there and the same, every partition paired.
    pub(super) async fn ready(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        client: &dyn Brokers,
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
        self.show_surplus(pipeline.id, &state);
        Ok(state)
    }

    /// Asks until every partition has a leader, for pipelines_extractor_get_offsets_timeout_ms.
    pub(super) async fn topic_state(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        client: &dyn Brokers,
    ) -> Result<TopicState, AggregatorError> {
        let topic = &pipeline.spec.topic;
        let doing = "asking for the topic";
        let limit_ms = self.variables(&self.view()).get_offsets_timeout_ms();
        let deadline_ms = self.port.now_ms() + limit_ms;
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
            if self.port.now_ms() >= deadline_ms {
                return Err(client.error(doing, &fault));
            }
            self.port.sleep(TOPIC_QUESTION_INTERVAL_MS).await;
        }
    }

    /// The first offset of each of these partitions, asked until every leader says it, for
    /// pipelines_extractor_get_offsets_timeout_ms: a topic that was just made is in the metadata before
    /// its leaders know that they lead it.
    pub(super) async fn earliest(
        &self,
        topic: &str,
        client: &dyn Brokers,
        state: &TopicState,
        indices: &[i32],
    ) -> Result<BTreeMap<i32, Offset>, AggregatorError> {
        let limit_ms = self.variables(&self.view()).get_offsets_timeout_ms();
        let deadline_ms = self.port.now_ms() + limit_ms;
        let mut state = state.clone();
        loop {
            let asked = client.offsets(topic, &state, indices, OffsetSpec::Earliest);
            let fault = match asked.await {
                Ok(offsets) => return Ok(offsets),
                Err(fault) => fault,
            };
            let passes = match &fault {
                ClientFault::Answer { error, .. } => error.is_retriable(),
                ClientFault::NoLeader { .. } => true,
                _ => false,
            };
            if !passes || self.port.now_ms() >= deadline_ms {
                return Err(client.error("asking for the earliest offsets", &fault));
            }
            self.port.sleep(TOPIC_QUESTION_INTERVAL_MS).await;
            // Others may lead by now. A topic that was replaced meanwhile is for who asks for it next.
            if let Ok(TopicAnswer::There(newer)) = client.topic(topic).await
                && newer.id == state.id
            {
                state = newer;
            }
        }
    }

    pub(super) async fn pair_missing(
        self: &Arc<Shared>,
        pipeline: &PipelineDef,
        client: &dyn Brokers,
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

    /// Takes who leads, unless it is said of another topic than the pipeline's: the answer was under way while
    /// that one was accepted, or it is not accepted yet.
    pub(super) fn lead(&self, id: PipelineId, state: &TopicState) {
        let view = self.view();
        let of_another = |pipeline: &Arc<PipelineDef>| is_replaced(pipeline, state);
        if view.pipeline_by_id(id).is_none_or(of_another) {
            return;
        }
        let mut shared = self.state();
        for (index, leader) in &state.partitions {
            if let Some(leader) = leader {
                shared.supervisor.led(id, *index, state.id, leader.clone());
            }
        }
    }

    pub(super) async fn attached(&self, ids: &[LeafPartitionId]) -> Result<(), AggregatorError> {
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
}

/// Whether Kafka gives the topic's name another id than the one that was paired.
pub(super) fn is_replaced(pipeline: &PipelineDef, state: &TopicState) -> bool {
    differ(pipeline.topic_id.unwrap_or_default(), state.id)
}

/// Whether these are two topics: an old broker tells no id.
pub(super) fn differ(one: TopicId, other: TopicId) -> bool {
    let none = TopicId::default();
    one != none && other != none && one != other
}
