//! What sql asks of the aggregator and what it gets back: plain data, names as the user wrote them.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;

use crate::catalog::{PipelineSpec, TableSpec};

/// A thing in a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The database; sql has filled in the session's.
    pub database: String,
    /// The table or pipeline.
    pub name: String,
}

impl Name {
    /// `database.name`.
    #[must_use]
    pub fn new(database: impl Into<String>, name: impl Into<String>) -> Name {
        Name {
            database: database.into(),
            name: name.into(),
        }
    }
}

/// Whether the statement changed anything: `Nothing` is IF [NOT] EXISTS or IF [NOT] RUNNING at work,
/// which is a note in SHOW WARNINGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Yes.
    Yes,
    /// It was so before.
    Nothing,
}

/// CREATE TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// Its name.
    pub name: Name,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Columns and keys, already checked against each other by [`TableSpec`]'s rules here too.
    pub spec: TableSpec,
}

/// CREATE PIPELINE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatePipeline {
    /// Its name.
    pub name: Name,
    /// OR REPLACE: keeps id and cursors.
    pub or_replace: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The table.
    pub table: Name,
    /// All the rest.
    pub spec: PipelineSpec,
}

/// START PIPELINE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPipeline {
    /// Which one.
    pub name: Name,
    /// IF NOT RUNNING.
    pub if_not_running: bool,
    /// FOREGROUND.
    pub foreground: Option<Foreground>,
}

/// FOREGROUND: load what the topic holds now, or so many batches, then stop and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreground {
    /// LIMIT n BATCHES; `None`: to the log's end as it stands at START.
    pub batches: Option<u64>,
}

/// What START PIPELINE ... FOREGROUND loaded, all of it durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Started {
    /// Whether it was started by this statement.
    pub already_running: bool,
    /// Rows loaded in the foreground; 0 without FOREGROUND.
    pub rows: u64,
    /// Messages rejected in the foreground: see PIPELINES_ERRORS.
    pub rejects: u64,
}

/// SET OFFSETS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetsTo {
    /// EARLIEST, for every partition.
    Earliest,
    /// LATEST, for every partition.
    Latest,
    /// `{"0": 100, ...}`: only these partitions.
    Listed(BTreeMap<i32, i64>),
}

/// TEST PIPELINE: the rows a pipeline would load next, and what it would reject. Nothing is written.
#[derive(Clone, Debug)]
pub struct Tested {
    /// The table's columns, without the hidden ones; at most LIMIT rows.
    pub rows: RecordBatch,
    /// What could not become a row, in the order met: the reason with partition, offset and column.
    pub rejects: Vec<String>,
}
