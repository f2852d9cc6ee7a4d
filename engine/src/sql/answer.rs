//! What a statement answers: nothing but counts, or rows as a stream of Arrow record batches.

use std::pin::Pin;

use arrow::record_batch::RecordBatch;
use futures::Stream;
use ingest::pipeline::SqlType;

use super::error::SqlError;

/// A statement's answer.
pub enum Answer {
    /// MySQL's OK packet.
    Done(Done),
    /// A result set.
    Rows(Rows),
}

impl Answer {
    /// With these columns named so.
    #[must_use]
    pub(super) fn renamed(mut self, names: &[(usize, String)]) -> Answer {
        if let Answer::Rows(rows) = &mut self {
            for (at, name) in names {
                if let Some(column) = rows.columns.get_mut(*at) {
                    column.name.clone_from(name);
                }
            }
        }
        self
    }
}

/// The columns whose names have a `?`, which stands for whatever value.
pub(super) fn named_with_a_parameter(columns: &[ResultColumn]) -> Vec<(usize, String)> {
    let named = columns.iter().map(|column| &column.name).enumerate();
    named
        .filter(|(_, name)| name.contains('?'))
        .map(|(at, name)| (at, name.clone()))
        .collect()
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

/// `Done` without anything to say.
impl From<Done> for Answer {
    fn from(done: Done) -> Answer {
        Answer::Done(done)
    }
}

/// utf8mb4_bin, by MySQL's number.
pub const COLLATION_TEXT: u16 = 46;
/// binary, by MySQL's number.
pub const COLLATION_BINARY: u16 = 63;

const NOT_NULL: u16 = 1;
const BLOB: u16 = 16;
const UNSIGNED: u16 = 32;
const BINARY: u16 = 128;
const NUMBER: u16 = 1 << 15;

impl ResultColumn {
    /// The column that a value of this SQL type comes in, without database and table.
    #[must_use]
    pub fn of_type(name: &str, sql_type: SqlType, nullable: bool) -> ResultColumn {
        let int = |code: u8, signed: u32, unsigned_length: u32, unsigned: bool| {
            let flags = if unsigned { UNSIGNED } else { 0 };
            (
                code,
                flags | NUMBER | BINARY,
                if unsigned { unsigned_length } else { signed },
                0,
            )
        };
        let time = |code: u8, fsp: u8| {
            let length = 19 + if fsp > 0 { u32::from(fsp) + 1 } else { 0 };
            (code, BINARY, length, fsp)
        };
        let text = |code: u8, flags: u16, bytes: u32| (code, flags, bytes, 0);
        let (type_code, flags, length, decimals) = match sql_type {
            SqlType::TinyInt { unsigned } => int(1, 4, 3, unsigned),
            SqlType::Bool => int(1, 1, 1, false),
            SqlType::SmallInt { unsigned } => int(2, 6, 5, unsigned),
            SqlType::MediumInt { unsigned } => int(9, 9, 8, unsigned),
            SqlType::Int { unsigned } => int(3, 11, 10, unsigned),
            SqlType::BigInt { unsigned } => int(8, 20, 20, unsigned),
            SqlType::Float => (4, NUMBER | BINARY, 12, 31),
            SqlType::Double => (5, NUMBER | BINARY, 22, 31),
            SqlType::Decimal { precision, scale } => (
                246,
                NUMBER | BINARY,
                u32::from(precision) + 1 + u32::from(scale > 0),
                scale,
            ),
            SqlType::Char { chars } => text(254, 0, u32::from(chars) * 4),
            SqlType::VarChar { chars } => text(253, 0, chars.saturating_mul(4)),
            SqlType::TinyText => text(252, BLOB, 255),
            SqlType::Text => text(252, BLOB, 65_535),
            SqlType::MediumText => text(252, BLOB, (1 << 24) - 1),
            SqlType::LongText => text(252, BLOB, u32::MAX),
            SqlType::Json => text(245, BLOB | BINARY, u32::MAX),
            SqlType::Date => (10, BINARY, 10, 0),
            SqlType::DateTime { fsp } => time(12, fsp),
            SqlType::Timestamp { fsp } => time(7, fsp),
        };
        let is_text = matches!(type_code, 252..=254 | 245);
        ResultColumn {
            database: String::new(),
            table: String::new(),
            org_table: String::new(),
            name: name.to_owned(),
            org_name: name.to_owned(),
            type_code,
            flags: flags | if nullable { 0 } else { NOT_NULL },
            decimals,
            collation: if is_text {
                COLLATION_TEXT
            } else {
                COLLATION_BINARY
            },
            length,
        }
    }
}
