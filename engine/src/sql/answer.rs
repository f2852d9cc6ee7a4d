//! What a statement answers: nothing but counts, or rows as a stream of Arrow record batches.

use std::pin::Pin;

use arrow::record_batch::RecordBatch;
use futures::Stream;

use super::error::SqlError;

/// A statement's answer.
pub enum Answer {
    /// MySQL's OK packet.
    Done(Done),
    /// A result set.
    Rows(Rows),
}

/// What the OK packet carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows the statement changed.
    pub affected_rows: u64,
    /// How many warnings SHOW WARNINGS would show.
    pub warnings: u16,
    /// The human line, e.g. `Rows matched: 0`.
    pub info: String,
}

/// A result set: columns first, then batches whose columns match them one to one.
pub struct Rows {
    /// The columns, in order.
    pub columns: Vec<ResultColumn>,
    /// The rows. Dropping it ends the query.
    pub batches: Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>>,
}

/// A column of a result set, as MySQL's column definition packet says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// The database, or empty.
    pub database: String,
    /// The table's alias, or empty.
    pub table: String,
    /// The table's own name, or empty.
    pub org_table: String,
    /// The column's alias.
    pub name: String,
    /// The column's own name, or empty.
    pub org_name: String,
    /// MySQL's type code, e.g. 0x08 LONGLONG.
    pub type_code: u8,
    /// MySQL's column flags: NOT_NULL 1, UNSIGNED 32, BINARY 128, ...
    pub flags: u16,
    /// Digits behind the point; 31 for FLOAT and DOUBLE.
    pub decimals: u8,
    /// The collation's id: 46 utf8mb4_bin for text, 63 binary for all else.
    pub collation: u16,
    /// The display length in bytes.
    pub length: u32,
}
