//! What the catalog knows, as plain data: databases, tables, pipelines, pairings.
//!
//! All of it is what *should* be. What is (cursors, rows, history, rejects) stands in commit records.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ingest::leaf::order::Failure;
use ingest::pipeline::{JsonMapping, Literal, SkipErrors, SqlType};
use serde::{Deserialize, Serialize};
use storage::schema::{Column, Schema};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A database.
    DatabaseId
);
id!(
    /// A pipeline.
    PipelineId
);
id!(
    /// A node; the first is 1.
    NodeId
);

/// The node of a catalog that knows of no other.
pub const FIRST_NODE: NodeId = NodeId(1);

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseDef {
    /// Its id.
    pub id: DatabaseId,
    /// Its name; case counts.
    pub name: String,
    /// When it was created, ms since 1970.
    pub create_unix_ms: i64,
}

/// A column as CREATE TABLE says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDef {
    /// Its name as written; unique in its table without regard to case.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL may stand in it.
    pub nullable: bool,
    /// DEFAULT, where one is written.
    pub default: Option<Literal>,
    /// COMMENT, or empty.
    pub comment: String,
}

/// What CREATE TABLE says of a table but its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Its columns, in order, without the hidden ones.
    pub columns: Vec<ColumnDef>,
    /// SHARD KEY's columns; `Some` and empty for `SHARD KEY ()`. Kept and shown.
    pub shard_key: Option<Vec<String>>,
    /// SORT KEY's columns and whether each descends. Kept and shown.
    pub sort_key: Option<Vec<SortKeyPart>>,
    /// COMMENT, or empty.
    pub comment: String,
}

/// A column of a SORT KEY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortKeyPart {
    /// The column's name.
    pub column: String,
    /// DESC.
    pub descending: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDef {
    /// Its id; also its directory's name.
    pub id: storage::ids::TableId,
    /// Its database.
    pub database: DatabaseId,
    /// Its name; case counts.
    pub name: String,
    /// Its columns and keys.
    pub spec: TableSpec,
    /// Counts its ALTERs; the first is 1.
    pub schema_version: u32,
    /// When it was created, ms since 1970.
    pub create_unix_ms: i64,
    /// DROP TABLE is under way: no statement sees it any more.
    pub dropping: bool,
    /// The columns as storage knows them.
    pub schema: Arc<Schema>,
}

impl TableDef {
    /// The columns as storage knows them, at one version.
    #[must_use]
    pub fn storage_schema(spec: &TableSpec, schema_version: u32) -> Arc<Schema> {
        Arc::new(Schema {
            version: schema_version,
            columns: spec
                .columns
                .iter()
                .map(|column| Column {
                    name: column.name.clone(),
                    physical: column.sql_type.physical(),
                    nullable: column.nullable,
                    annotation: column.sql_type.to_string(),
                })
                .collect(),
        })
    }

    /// The column of that name, without regard to case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnDef> {
        self.spec
            .columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// RETRY_OPTIONS, resolved from its JSON; what it leaves out is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOptions {
    /// `exponential`: the pause doubles. Default true.
    pub exponential: Option<bool>,
    /// `retry_interval`, ms. Default the batch interval.
    pub retry_interval_ms: Option<u64>,
    /// `max_retry_interval`, ms. Default ten times the retry interval.
    pub max_retry_interval_ms: Option<u64>,
    /// `max_retries`. Default MAX_RETRIES_PER_BATCH_PARTITION, else the engine's variable.
    pub max_retries: Option<u32>,
}

/// What CREATE PIPELINE says of a pipeline but its name. `None`: the engine's variable decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// `host[:port]` as written, in order.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// CONFIG: librdkafka's keys as written, numbers and booleans as their text.
    pub config: BTreeMap<String, String>,
    /// BATCH_INTERVAL, ms: kept and shown, delays nothing.
    pub batch_interval_ms: Option<u64>,
    /// MAX_PARTITIONS_PER_BATCH: kept and shown; every partition is served at once.
    pub max_partitions_per_batch: Option<u32>,
    /// MAX_RETRIES_PER_BATCH_PARTITION.
    pub max_retries_per_batch_partition: Option<u32>,
    /// MAX_OFFSETS_PER_BATCH_PARTITION, at least 1.
    pub max_offsets_per_batch_partition: Option<u64>,
    /// RETRY_OPTIONS.
    pub retry_options: Option<RetryOptions>,
    /// SKIP ... ERRORS.
    pub skip_errors: SkipErrors,
    /// STOP_ON_ERROR.
    pub stop_on_error: Option<bool>,
    /// FORMAT JSON: a column for each of the table's, in its order.
    pub mapping: JsonMapping,
    /// Whether the statement wrote the mapping (SHOW CREATE shows it then) or names matched.
    pub mapping_written: bool,
}

/// What a pipeline should be doing. TESTING is not kept: see the aggregator's live view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PipelineState {
    /// Loading.
    Running,
    /// Not loading.
    Stopped,
    /// A partition failed; waits for START.
    Error,
}

impl fmt::Display for PipelineState {
    /// As SHOW PIPELINES prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PipelineState::Running => "Running",
            PipelineState::Stopped => "Stopped",
            PipelineState::Error => "Error",
        })
    }
}

/// Why a pipeline is in Error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineFailure {
    /// The Kafka partition that failed; `None` when the topic as a whole did.
    pub kafka_partition: Option<i32>,
    /// Kind, offset, column, text.
    pub failure: Failure,
    /// When, ms since 1970.
    pub unix_ms: i64,
}

impl fmt::Display for PipelineFailure {
    /// One line: partition, offset, column, what happened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            offset,
            column,
            text,
            ..
        } = &self.failure;
        // A leaf's text names what it knows; what it has not named stands in front of it.
        let mut place = Vec::new();
        if let Some(partition) = self.kafka_partition
            && !text.contains(&format!("partition {partition}"))
        {
            place.push(format!("partition {partition}"));
        }
        if *offset >= 0 && !text.contains(&format!("offset {offset}")) {
            place.push(format!("offset {offset}"));
        }
        if let Some(column) = column
            && !text.contains(&format!("'{column}'"))
        {
            place.push(format!("column '{column}'"));
        }
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        f.write_str(text)
    }
}

/// A pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineDef {
    /// Its id; OR REPLACE keeps it.
    pub id: PipelineId,
    /// Its database.
    pub database: DatabaseId,
    /// Its name; case counts.
    pub name: String,
    /// The table it loads.
    pub table: storage::ids::TableId,
    /// Everything the statement said.
    pub spec: PipelineSpec,
    /// The topic's id when its first partition was paired; `None` before, or on an old broker.
    pub topic_id: Option<storage::ids::TopicId>,
    /// What it should be doing.
    pub state: PipelineState,
    /// Why it is in Error.
    pub failure: Option<PipelineFailure>,
    /// When it was created, ms since 1970.
    pub create_unix_ms: i64,
    /// When it was last altered, ms since 1970.
    pub alter_unix_ms: i64,
}

/// The row that binds a leaf partition to a Kafka partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingDef {
    /// The leaf partition; also its directory's name.
    pub leaf_partition: storage::ids::LeafPartitionId,
    /// Its table.
    pub table: storage::ids::TableId,
    /// The pipeline that loads it, or that did: a dropped pipeline's rows stay.
    pub pipeline: PipelineId,
    /// The Kafka partition.
    pub kafka_partition: i32,
    /// The topic's name.
    pub topic: String,
    /// The topic's id; zero where the broker has none.
    pub topic_id: storage::ids::TopicId,
    /// The node that owns it.
    pub owner: NodeId,
    /// The aggregator's last order to it.
    pub generation: storage::ids::Generation,
    /// The lineage that should be.
    pub lineage: storage::ids::Lineage,
    /// Segments of lower lineages are unlinked at every start.
    pub live_lineage: storage::ids::Lineage,
    /// The lineage's first offset.
    pub start_offset: storage::ids::Offset,
    /// The lineage's end, exclusive, once handed over.
    pub end_offset: Option<storage::ids::Offset>,
}
