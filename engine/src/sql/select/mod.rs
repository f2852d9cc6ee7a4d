//! SELECT: a parse tree and the names it may use, to a stream of rows that MySQL 8 would have given.
//!
//! The way of a query, each step in a file of its own:
//!
//! 1. [`dialect`] is what the text is parsed with: MySQL's precedences.
//! 2. [`bind`] resolves every name against [`Names`], pins each table's snapshots once, expands `*`
//!    and turns each operator and function into a call of one of ours; what is not known errs here,
//!    with MySQL's number.
//! 3. [`plan`] lets DataFusion plan what is left, [`functions`] give each call MySQL's type and
//!    lower it to a plain Arrow expression where the two agree, [`scan`] reads the snapshots.
//! 4. [`run`] executes on the query runtime and hands the batches over through a bounded channel.
//!
//! Invariants:
//! 1. A statement reads each table through one set of snapshots, however often it is named.
//! 2. What leaves here is Int8 to UInt64, Float32, Float64, Decimal128, Date32, Timestamp without a
//!    zone or Utf8, and fits its [`ResultColumn`].
//! 3. A query that errs, panics or is killed ends its stream with an error, never early as if whole.
//! 4. Memory beyond the pool is an error of that query, with the limit's name in it.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use ingest::pipeline::SqlType;
use sqlparser::ast::Query;
use storage::ids::LeafPartitionId;
use storage::published::Snapshot;

use super::answer::{ResultColumn, Rows};
use super::error::SqlError;
use super::left_out::Late;
use super::value::Value;

mod beside;
pub mod bind;
pub mod cancel;
pub mod columns;
mod constants;
pub mod dialect;
pub mod fault;
pub mod functions;
mod height;
mod kept;
mod long_text;
mod meet;
pub mod memory;
mod pass;
pub mod plan;
mod pool;
pub mod run;
pub mod scan;
pub mod types;
mod watch;
pub mod width;

pub use cancel::{Cancel, CancelGuard, CancelHandle};
pub use dialect::{MySql, parse};
pub use memory::{Held, QueryMemory, Share};
pub use scan::part::ScanPart;

/// Where a statement's tables come from. One call per table and statement.
pub trait Names: Send + Sync {
    /// The table of that name, with its snapshots pinned; `None` where there is no such table.
    /// `database` is the name before the dot, or else the session's database, or else `None`.
    ///
    /// # Errors
    /// 1046 without a database, 1049 for one that does not exist, and whatever stands in the way.
    fn resolve(&self, database: Option<&str>, table: &str) -> Result<Option<Source>, SqlError>;
}

/// A table that a statement reads.
#[derive(Clone)]
pub enum Source {
    /// Rows in segments and blocks.
    Stored(StoredTable),
    /// Rows that were made for this statement, as information_schema's are.
    Virtual(VirtualTable),
}

/// A column as CREATE TABLE said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name as the user wrote it.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL may stand in it.
    pub nullable: bool,
}

/// A table of leaf partitions.
#[derive(Clone)]
pub struct StoredTable {
    /// The database's name.
    pub database: String,
    /// The table's name.
    pub name: String,
    /// Its columns, in the order of the storage schema, without the hidden ones.
    pub columns: Arc<[TableColumn]>,
    /// Its leaf partitions, each pinned.
    pub partitions: Vec<StoredPartition>,
}

/// One leaf partition, pinned for a statement.
#[derive(Clone)]
pub struct StoredPartition {
    /// The leaf partition.
    pub leaf_partition: LeafPartitionId,
    /// The Kafka partition it is paired with: `_partition`.
    pub kafka_partition: i32,
    /// What the statement reads of it: a snapshot's parts, in order of their offsets.
    pub parts: Arc<[Arc<dyn ScanPart>]>,
}

impl StoredPartition {
    /// A leaf partition as a snapshot shows it.
    #[must_use]
    pub fn new(
        leaf_partition: LeafPartitionId,
        kafka_partition: i32,
        snapshot: &Snapshot,
    ) -> StoredPartition {
        StoredPartition {
            leaf_partition,
            kafka_partition,
            parts: snapshot
                .parts()
                .iter()
                .map(|part| Arc::new(part.clone()) as Arc<dyn ScanPart>)
                .collect(),
        }
    }
}

/// A table whose rows are at hand.
#[derive(Clone)]
pub struct VirtualTable {
    /// The database's name, e.g. information_schema.
    pub database: String,
    /// The table's name.
    pub name: String,
    /// Its columns. Arrow's types in `batch` are [`types::arrow_of`] of these.
    pub columns: Arc<[TableColumn]>,
    /// Its rows.
    pub batch: RecordBatch,
}

/// The scope of a system variable, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableScope {
    /// `@@name`: the session's where it has one, else the global.
    Any,
    /// `@@session.name`.
    Session,
    /// `@@global.name`.
    Global,
}

/// What `@@name` and `@name` stand for.
pub trait Variables: Send + Sync {
    /// A system variable's value.
    ///
    /// # Errors
    /// 1193 where there is none of that name, 1238 where it has no such scope.
    fn system(&self, scope: VariableScope, name: &str) -> Result<Value, SqlError>;

    /// A user variable's value; NULL where it was never set.
    fn user(&self, name: &str) -> Value;
}

/// All that a query needs to know beside its text.
#[derive(Clone)]
pub struct SelectContext {
    /// The tables.
    pub names: Arc<dyn Names>,
    /// The session's database.
    pub database: Option<String>,
    /// CONNECTION_ID().
    pub connection_id: u32,
    /// USER() and CURRENT_USER(): `name@host`.
    pub user: String,
    /// VERSION().
    pub version: String,
    /// The statement's NOW(), µs since 1970.
    pub now_unix_us: i64,
    /// System and user variables.
    pub variables: Arc<dyn Variables>,
    /// The memory that all queries share.
    pub memory: Arc<QueryMemory>,
    /// The runtime of the query cores.
    pub runtime: tokio::runtime::Handle,
    /// How many partitions of a plan may run side by side: the query cores.
    pub threads: usize,
    /// Ends the query when it is cancelled.
    pub cancel: Cancel,
    /// What the statement's text reserved: given back when nothing works on it any more.
    pub text: Option<Arc<Held>>,
    /// `pinleaf_read_damaged`: rows that cannot be read are left out and said there, instead of failing
    /// the query.
    pub read_damaged: Option<Arc<Late>>,
}

/// How much EXPLAIN does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// Shows the plan.
    Plan,
    /// Runs the query, throws its rows away and shows the plan with what each node did.
    Analyze,
}

/// Plans a query and begins to run it. `params` has a value for each `?`, in order of the text.
///
/// # Errors
/// MySQL's number for whatever planning finds; what happens later comes through the stream.
pub async fn select(
    ctx: &SelectContext,
    query: &Arc<Query>,
    params: &[Value],
) -> Result<Rows, SqlError> {
    run::select(ctx, query, params).await
}

/// EXPLAIN and EXPLAIN ANALYZE: one column, a row per line of the plan.
///
/// # Errors
/// As [`select`], and what running the query finds.
pub async fn explain(
    ctx: &SelectContext,
    query: &Arc<Query>,
    params: &[Value],
    how: Explain,
) -> Result<Rows, SqlError> {
    run::explain(ctx, query, params, how).await
}

/// The columns a prepared query will have; each `?` is taken for NULL.
///
/// # Errors
/// As [`select`].
pub async fn describe(
    ctx: &SelectContext,
    query: &Arc<Query>,
) -> Result<Vec<ResultColumn>, SqlError> {
    run::describe(ctx, query).await
}

#[cfg(test)]
mod tests;
