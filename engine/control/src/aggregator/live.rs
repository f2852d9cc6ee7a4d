//! What the aggregator knows that neither the catalog nor a leaf does: published for SHOW PIPELINES
//! and information_schema, never kept.

use std::collections::{BTreeMap, BTreeSet};

use ingest::leaf::order::Failure;
use storage::ids::{LeafPartitionId, Lineage, Offset};

use super::supervisor::Known;
use crate::catalog::{PipelineDef, PipelineId, PipelineState};

/// One instant of the aggregator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveView {
    /// Pipelines that TEST PIPELINE reads right now.
    pub testing: BTreeSet<PipelineId>,
    /// Pipelines that START ... FOREGROUND runs right now; the catalog has them as stopped.
    pub foreground: BTreeSet<PipelineId>,
    /// What the brokers last said of each leaf partition's Kafka partition.
    pub places: BTreeMap<LeafPartitionId, Place>,
    /// Leaf partitions that have failed by themselves: when, ms since 1970, and why.
    pub failed: BTreeMap<LeafPartitionId, (i64, Failure)>,
    /// Why a running pipeline's brokers cannot be asked at the moment.
    pub unreachable: BTreeMap<PipelineId, String>,
}

impl LiveView {
    /// The state as SHOW PIPELINES prints it.
    #[must_use]
    pub fn state(&self, pipeline: &PipelineDef) -> &'static str {
        if self.testing.contains(&pipeline.id) {
            return "Testing";
        }
        if self.foreground.contains(&pipeline.id) {
            return "Running";
        }
        match pipeline.state {
            PipelineState::Running => "Running",
            PipelineState::Stopped => "Stopped",
            PipelineState::Error => "Error",
        }
    }
}

/// What recovery lost of a leaf partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The lineage that lost it.
    pub lineage: Lineage,
    /// Where its offsets end: durable up to there, they are loaded again, or given up by a new lineage.
    pub until: Offset,
    /// What is missing and why, one line.
    pub text: String,
}

impl Damage {
    /// Whether all of it is loaded again and durable, or given up by a lineage that has begun since.
    pub(super) fn is_over(&self, known: &Known) -> bool {
        known.stands > self.lineage || known.durable.is_some_and(|durable| durable >= self.until)
    }
}

/// One leaf partition's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The index of the leaf that serves it since this start.
    pub leaf: usize,
    /// EARLIEST_OFFSET; -1 unknown.
    pub earliest_offset: i64,
    /// LATEST_OFFSET, exclusive: the end a reader of the pipeline's isolation level sees; -1 unknown.
    pub latest_offset: i64,
    /// When the broker said so, ms since 1970; 0 never.
    pub asked_unix_ms: i64,
    /// The offset last published to Kafka for the group; -1 none.
    pub group_offset: i64,
    /// What recovery lost: the cursor came back below the published group offset. None once that is loaded
    /// again or given up.
    pub damage: Option<Damage>,
    /// How many partitions the topic has, where it no longer has this one: it was made anew with fewer.
    pub surplus_of: Option<usize>,
}

impl Place {
    /// Nothing asked yet.
    #[must_use]
    pub fn on(leaf: usize) -> Place {
        Place {
            leaf,
            earliest_offset: -1,
            latest_offset: -1,
            asked_unix_ms: 0,
            group_offset: -1,
            damage: None,
            surplus_of: None,
        }
    }

    /// In words, where the topic no longer has this Kafka partition.
    #[must_use]
    pub fn surplus(&self, topic: &str, kafka_partition: i32) -> Option<String> {
        self.surplus_of.map(|partitions| {
            format!(
                "Surplus: topic '{topic}' has {partitions} partitions now, and no partition {kafka_partition}; its rows stay"
            )
        })
    }
}
