//! What a statement can meet in the aggregator, sorted by who must act. No MySQL numbers here.

use crate::catalog::{CatalogError, PipelineFailure, VariableError};

/// Why the aggregator did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AggregatorError {
    /// The user named what is not there.
    #[error("{0}")]
    Unknown(Unknown),
    /// The user makes what is there.
    #[error("{0}")]
    Exists(Exists),
    /// The statement does not fit the state things are in; the text says what to do first.
    #[error("{0}")]
    State(WrongState),
    /// A key of CONFIG, RETRY_OPTIONS or another clause cannot be taken.
    #[error("{clause}: '{key}': {what}")]
    Setting {
        /// The clause: `CONFIG`, `RETRY_OPTIONS`, `KAFKA`, `SET OFFSETS`, `MAX_OFFSETS_PER_BATCH_PARTITION`, ...
        clause: &'static str,
        /// The key as written.
        key: String,
        /// Why, and what would do.
        what: String,
    },
    /// A name or definition that no statement may have.
    #[error("{0}")]
    Definition(String),
    /// SET GLOBAL was refused.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// The brokers' side: nothing answered, an error code, a topic that is not there.
    #[error("{brokers}: {what}")]
    Broker {
        /// Who was asked.
        brokers: String,
        /// What was asked and what came of it, with the broker's error name and number.
        what: String,
    },
    /// A partition failed while the statement waited for it.
    #[error("pipeline '{pipeline}' failed: {failure}")]
    Failed {
        /// The pipeline.
        pipeline: String,
        /// Where and why.
        failure: PipelineFailure,
    },
    /// What a partition shows could not be made durable for the statement; it is when there is room.
    #[error("pipeline '{pipeline}' is not durable yet: {failure}")]
    NotDurable {
        /// The pipeline.
        pipeline: String,
        /// Where and why.
        failure: PipelineFailure,
    },
    /// The catalog: its disk, or a bound of it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The data directory: a leaf partition's directory could not be made or read.
    #[error("{path}: {doing} failed: {what}")]
    Disk {
        /// The path.
        path: std::path::PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The kernel's words.
        what: String,
    },
    /// A segment is ahead of the catalog: an older catalog.db was put back. A person must choose.
    #[error(
        "{path}: holds lineage {found}, the catalog says {known}: an older catalog.db was restored; put back the one that belongs to this data_dir (with its -wal file). Nothing was touched"
    )]
    OlderCatalog {
        /// The segment.
        path: std::path::PathBuf,
        /// Its lineage.
        found: storage::ids::Lineage,
        /// The catalog's.
        known: storage::ids::Lineage,
    },
    /// A bound was reached; nothing is broken.
    #[error("limit reached: at most {max} {what}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// A leaf ended by itself: the process must be started again.
    #[error("leaf {leaf} ended by itself: the process must be started again")]
    LeafLost {
        /// Which one.
        leaf: usize,
    },
    /// The process is ending.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// A database.
    #[error("Unknown database '{database}'")]
    Database {
        /// Its name.
        database: String,
    },
    /// A table.
    #[error("Table '{database}.{table}' doesn't exist")]
    Table {
        /// Its database.
        database: String,
        /// Its name.
        table: String,
    },
    /// A pipeline.
    #[error("Pipeline '{database}.{pipeline}' doesn't exist")]
    Pipeline {
        /// Its database.
        database: String,
        /// Its name.
        pipeline: String,
    },
    /// A partition of a pipeline's topic.
    #[error("Pipeline '{pipeline}' has no source partition {partition}")]
    Partition {
        /// The pipeline.
        pipeline: String,
        /// Kafka's index, as written.
        partition: String,
    },
}

/// What is there already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exists {
    /// A database.
    #[error("Can't create database '{database}'; database exists")]
    Database {
        /// Its name.
        database: String,
    },
    /// A table.
    #[error("Table '{table}' already exists")]
    Table {
        /// Its name.
        table: String,
    },
    /// A pipeline.
    #[error("Pipeline '{pipeline}' already exists")]
    Pipeline {
        /// Its name.
        pipeline: String,
    },
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongState {
    /// START of a running pipeline.
    #[error(
        "Pipeline '{pipeline}' is already running: use START PIPELINE IF NOT RUNNING, or STOP it first"
    )]
    AlreadyRunning {
        /// The pipeline.
        pipeline: String,
    },
    /// STOP of a pipeline that does not run.
    #[error("Pipeline '{pipeline}' is not running")]
    NotRunning {
        /// The pipeline.
        pipeline: String,
    },
    /// The statement wants it stopped.
    #[error("Pipeline '{pipeline}' is running: STOP PIPELINE it first, then {statement}")]
    MustBeStopped {
        /// The pipeline.
        pipeline: String,
        /// The statement.
        statement: &'static str,
    },
    /// The statement cannot be while START ... FOREGROUND loads: where that ends is fixed.
    #[error(
        "Pipeline '{pipeline}' is being loaded by START PIPELINE ... FOREGROUND: wait for that to end, or STOP PIPELINE it, then {statement}"
    )]
    InForeground {
        /// The pipeline.
        pipeline: String,
        /// The statement.
        statement: &'static str,
    },
    /// DROP TABLE while a pipeline names it.
    #[error("Table '{table}' is loaded by pipeline '{pipeline}': DROP PIPELINE it first")]
    TableLoaded {
        /// The table.
        table: String,
        /// The pipeline.
        pipeline: String,
    },
    /// TRUNCATE or DROP DATABASE while a pipeline runs.
    #[error(
        "'{name}' is being loaded by the running pipeline '{pipeline}': STOP PIPELINE it first"
    )]
    LoadedNow {
        /// The table or database.
        name: String,
        /// The pipeline.
        pipeline: String,
    },
    /// Another statement is at work on the same thing.
    #[error("another statement is at work on '{name}': wait for it to end")]
    Busy {
        /// The table, pipeline or database.
        name: String,
    },
    /// OR REPLACE changes what ties a pipeline to its cursors.
    #[error(
        "CREATE OR REPLACE PIPELINE '{pipeline}' keeps its cursors, so it cannot change its {what}: DROP it, then CREATE it"
    )]
    ReplaceChanges {
        /// The pipeline.
        pipeline: String,
        /// `topic`, `table`.
        what: &'static str,
    },
    /// START in the foreground of a pipeline that was stopped by another statement meanwhile.
    #[error("Pipeline '{pipeline}' was stopped before it had loaded what it was started for")]
    StoppedMeanwhile {
        /// The pipeline.
        pipeline: String,
    },
}
