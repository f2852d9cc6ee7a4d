//! ALTER PIPELINE ... SET OFFSETS: to numbers first, then drained, then one transaction, then rewound.
//!
//! A crash before the transaction: nothing happened. After it: the next start attaches every leaf
//! partition under its new lineage, and recovery opens it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::kafka::requests::OffsetSpec;
use storage::ids::{LeafPartitionId, Offset, TopicId};

use super::client::{ClientFault, TopicState};
use super::error::{AggregatorError, Unknown};
use super::pipelines::known_pipeline;
use super::settings::client_settings;
use super::shared::Shared;
use super::statement::{Name, OffsetsTo};
use super::topic::is_replaced;
use crate::catalog::{CatalogView, Change, PipelineDef};

impl Shared {
    /// ALTER PIPELINE ... SET OFFSETS.
    pub async fn alter_offsets(
        self: &Arc<Shared>,
        name: Name,
        to: OffsetsTo,
    ) -> Result<(), AggregatorError> {
        let id = known_pipeline(&self.view(), &name)?.id;
        let _turn = self.pipeline_turn(id).await;
        self.not_in_foreground(id, &name.name, "ALTER PIPELINE")?;
        let view = self.view();
        let pipeline = known_pipeline(&view, &name)?;
        let (offsets, replaced) = self.resolve_offsets(&view, pipeline, to).await?;
        let topic_id = replaced.as_ref().map(|topic| topic.id);
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
            .await?;
            if let Some(topic) = &replaced {
                self.lead(id, topic);
            }
            Ok(())
        })
        .await?;
        self.rewound(&listed, &name.name).await
    }

    /// The numbers, and the topic when it is another one now.
    async fn resolve_offsets(
        self: &Arc<Shared>,
        view: &CatalogView,
        pipeline: &PipelineDef,
        to: OffsetsTo,
    ) -> Result<(BTreeMap<i32, Offset>, Option<TopicState>), AggregatorError> {
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
        let client = self.port.brokers(client_settings(&pipeline.spec)?);
        let mut is_another = false;
        let mut state = None;
        if !known {
            let now = self.topic_state(pipeline, &*client).await?;
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
                is_another = true;
            }
            self.pair_missing(pipeline, &*client, &now).await?;
            self.show_surplus(pipeline.id, &now);
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
        Ok((offsets, is_another.then_some(state)))
    }
}
