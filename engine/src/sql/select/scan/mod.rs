//! Reading pinned snapshots: a table's columns, what of a query is pushed into its scan, and the scan.
//!
//! A scan is plain data ([`ScanPlan`]): which columns, which filters, how many rows. Only when it is
//! executed does it meet the snapshots that the statement pinned. One partition of the plan is one
//! leaf partition; parts are read in order, each as one batch.
//!
//! Filters here only leave parts out, by their statistics; the rows are filtered above. What the
//! statistics say exactly, MIN, MAX and COUNT take from them without reading.

mod cut;
pub mod exec;
pub mod filter;
pub mod part;
pub mod table;

pub use exec::ScanExec;
pub use filter::{Constant, Filter};
pub use table::{Table, type_of_field};

use serde::{Deserialize, Serialize};

/// The columns every stored table has beside its own, left out of `*`, in this order behind them.
pub const HIDDEN_COLUMNS: [&str; 3] = [
    storage::schema::PARTITION_COLUMN,
    storage::schema::OFFSET_COLUMN,
    storage::schema::TIMESTAMP_COLUMN,
];

/// What a scan does, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScanPlan {
    /// The table's database.
    pub database: String,
    /// The table.
    pub table: String,
    /// The columns, by their place: the table's, then [`HIDDEN_COLUMNS`].
    pub columns: Vec<usize>,
    /// What every wanted row fulfils.
    pub filters: Vec<Filter>,
    /// How many rows of each partition are enough.
    pub rows_max: Option<usize>,
}
