//! New Kafka partitions become leaf partitions; what brokers say of them becomes visible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::ids::{LeafPartitionId, Offset};

use super::client::{Brokers, TopicState};
use super::error::AggregatorError;
use super::live::Damage;
use super::orphans::make_leaf_partitions;
use super::shared::Shared;
use crate::catalog::{Change, PairingRow, PipelineId};
use crate::limits::{PAIRINGS_MAX, PIPELINE_PARTITIONS_MAX};

impl Shared {
    /// Pairs these Kafka partitions, each from the first offset that its log holds: directories first,
    /// synced, then all rows in one transaction. What is paired already is left as it is.
    ///
    /// # Errors
    /// `Broker`, `Full`, `Disk`, `Catalog`.
    pub async fn pair(
        self: &Arc<Shared>,
        id: PipelineId,
        client: &dyn Brokers,
        state: &TopicState,
        indices: &[i32],
    ) -> Result<(), AggregatorError> {
        let Some(topic) = self
            .view()
            .pipeline_by_id(id)
            .map(|pipeline| pipeline.spec.topic.clone())
        else {
            return Ok(());
        };
        let earliest = self.earliest(&topic, client, state, indices).await?;
        let _turn = self.commit_turn().await;
        let view = self.view();
        let Some(pipeline) = view.pipeline_by_id(id) else {
            return Ok(());
        };
        let paired: BTreeSet<i32> = view
            .pairings_of(id)
            .map(|pairing| pairing.kafka_partition)
            .collect();
        let new: Vec<i32> = indices
            .iter()
            .copied()
            .filter(|index| !paired.contains(index))
            .collect();
        if new.is_empty() && pipeline.topic_id.is_some() {
            // Somebody else has paired them while the broker was asked.
            return Ok(());
        }
        if paired.len() + new.len() > PIPELINE_PARTITIONS_MAX {
            return Err(AggregatorError::Full {
                what: "partitions in one pipeline",
                max: PIPELINE_PARTITIONS_MAX as u64,
            });
        }
        let most = (self.leaves() * ingest::limits::LEAF_PARTITIONS_MAX).min(PAIRINGS_MAX);
        if view.pairings().count() + new.len() > most {
            return Err(AggregatorError::Full {
                what: "leaf partitions on this node's leaves",
                max: most as u64,
            });
        }
        let first_id = view.next_id();
        let rows: Vec<PairingRow> = (first_id..)
            .zip(&new)
            .map(|(leaf_partition, index)| PairingRow {
                leaf_partition,
                table: pipeline.table.0,
                pipeline: id,
                kafka_partition: *index,
                topic: topic.clone(),
                topic_id: state.id.0,
                owner: self.config.node,
                lineage: 1,
                live_lineage: 1,
                start_offset: earliest.get(index).map_or(0, |offset| offset.0),
                end_offset: None,
            })
            .collect();
        let (data_dir, table) = (self.config.data_dir.clone(), pipeline.table);
        let ids = rows.iter().map(|row| LeafPartitionId(row.leaf_partition));
        let ids: Vec<LeafPartitionId> = ids.collect();
        self.on_disk(move |disk| make_leaf_partitions(disk, &data_dir, table, &ids))
            .await?;
        let generation = view.next_generation();
        let mut changes: Vec<Change> = rows
            .into_iter()
            .map(|pairing| Change::Paired {
                pairing,
                generation,
            })
            .collect();
        if pipeline.topic_id.is_none() {
            changes.push(Change::PipelineTopic {
                pipeline: id,
                topic_id: state.id.0,
            });
        }
        self.catalog.commit(changes, self.port.unix_ms()).await?;
        Ok(())
    }

    /// The log's ends as just asked.
    pub fn show_ends(
        &self,
        id: PipelineId,
        earliest: &BTreeMap<i32, Offset>,
        latest: &BTreeMap<i32, Offset>,
    ) {
        let unix_ms = self.port.unix_ms();
        let view = self.view();
        {
            let mut state = self.state();
            for pairing in view.pairings_of(id) {
                let index = pairing.kafka_partition;
                if let (Some(place), Some(earliest), Some(latest)) = (
                    state.places.get_mut(&pairing.leaf_partition),
                    earliest.get(&index),
                    latest.get(&index),
                ) {
                    place.earliest_offset = earliest.0;
                    place.latest_offset = latest.0;
                    place.asked_unix_ms = unix_ms;
                }
            }
        }
        self.publish_live();
    }

    /// Names the leaf partitions whose Kafka partition the topic no longer has: their rows stay, and there
    /// is nothing that could be loaded into them.
    pub fn show_surplus(&self, id: PipelineId, topic: &TopicState) {
        let view = self.view();
        let mut changed = false;
        {
            let mut state = self.state();
            for pairing in view.pairings_of(id) {
                let index = pairing.kafka_partition;
                let gone = !topic.partitions.contains_key(&index);
                let surplus_of = gone.then_some(topic.partitions.len());
                let Some(place) = state.places.get_mut(&pairing.leaf_partition) else {
                    continue;
                };
                if place.surplus_of.is_none() && gone {
                    tracing::warn!(pipeline = %id, partition = index, partitions = topic.partitions.len(),
                        "the topic no longer has this partition; its rows stay");
                }
                changed |= place.surplus_of != surplus_of;
                place.surplus_of = surplus_of;
            }
        }
        if changed {
            self.publish_live();
        }
    }

    /// The group offset that was just published.
    pub fn show_group_offset(&self, id: LeafPartitionId, offset: Offset) {
        if let Some(place) = self.state().places.get_mut(&id) {
            place.group_offset = offset.0;
        }
    }

    /// Damage that recovery left, named; unless all of it was loaded again while the broker was asked.
    pub fn show_damage(&self, id: LeafPartitionId, damage: Damage) {
        {
            let mut state = self.state();
            let known = state.supervisor.known(id);
            if known.is_none_or(|known| damage.is_over(known)) {
                return;
            }
            if let Some(place) = state.places.get_mut(&id) {
                place.damage = Some(damage);
            }
        }
        self.publish_live();
    }
}
