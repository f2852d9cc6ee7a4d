//! What the aggregator knows that neither the catalog nor a leaf does: published for SHOW PIPELINES
//! and information_schema, never kept.

use std::collections::{BTreeMap, BTreeSet};

use ingest::leaf::order::Leader;
use storage::ids::LeafPartitionId;

use crate::catalog::PipelineId;

/// One instant of the aggregator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveView {
    /// Pipelines that TEST PIPELINE reads right now: SHOW PIPELINES says Testing.
    pub testing: BTreeSet<PipelineId>,
    /// Where each leaf partition is served and what its broker last said.
    pub places: BTreeMap<LeafPartitionId, Place>,
}

/// One leaf partition's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The index of the leaf that serves it since this start.
    pub leaf: usize,
    /// The leaf's CPU.
    pub cpu: usize,
    /// The broker that leads its Kafka partition, as far as is known.
    pub leader: Option<Leader>,
    /// EARLIEST_OFFSET; -1 unknown.
    pub earliest_offset: i64,
    /// LATEST_OFFSET, exclusive: the end a reader of the pipeline's isolation level sees; -1 unknown.
    pub latest_offset: i64,
    /// When the broker said so, ms since 1970; 0 never.
    pub asked_unix_ms: i64,
    /// The offset last published to Kafka for the group; -1 none.
    pub group_offset: i64,
}
