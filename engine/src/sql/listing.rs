//! Rows made on the spot: what SHOW answers and what information_schema's tables hold.
//!
//! A listing is bounded by whoever fills it and by its bytes here: what would go beyond is an error
//! that says so, never a shorter list that looks whole.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use ingest::pipeline::SqlType;

use super::answer::{ResultColumn, Rows};
use super::error::{Code, SqlError};
use super::select::types::arrow_of;
use super::select::{TableColumn, VirtualTable};
use crate::limits::LISTING_BYTES_MAX;

/// BIGINT.
pub const INT: SqlType = SqlType::BigInt { unsigned: false };
/// BIGINT UNSIGNED.
pub const UINT: SqlType = SqlType::BigInt { unsigned: true };
/// DOUBLE.
pub const DOUBLE: SqlType = SqlType::Double;
/// A name.
pub const NAME: SqlType = SqlType::VarChar { chars: 64 };
/// A short text.
pub const WORDS: SqlType = SqlType::VarChar { chars: 512 };
/// A long text.
pub const TEXT: SqlType = SqlType::LongText;
/// A time to the second.
pub const SECONDS: SqlType = SqlType::DateTime { fsp: 0 };
/// A time to the microsecond.
pub const MICROS: SqlType = SqlType::DateTime { fsp: 6 };
/// Seconds since 1970 to the microsecond.
pub const UNIX_TIME: SqlType = SqlType::Decimal {
    precision: 18,
    scale: 6,
};

/// A value of a listing; which of them a column takes follows from its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// For [`INT`].
    Int(i64),
    /// For [`UINT`].
    UInt(u64),
    /// For [`DOUBLE`].
    Double(f64),
    /// For every text.
    Text(String),
    /// µs since 1970, for [`SECONDS`], [`MICROS`] and [`UNIX_TIME`].
    UnixMicros(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell::UInt(number)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Int(number)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// Rows with their columns' names and types.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    columns: Vec<(String, SqlType)>,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

impl Listing {
    /// No rows yet.
    #[must_use]
    pub fn new(columns: &[(&str, SqlType)]) -> Listing {
        let columns = columns
            .iter()
            .map(|(name, sql_type)| ((*name).to_owned(), *sql_type))
            .collect();
        Listing {
            columns,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a row, a cell for each column.
    ///
    /// # Errors
    /// 1104 beyond `LISTING_BYTES_MAX`.
    ///
    /// # Panics
    /// With another number of cells: the caller's bug.
    pub fn push(&mut self, row: Vec<Cell>) -> Result<(), SqlError> {
        assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.bytes += row
            .iter()
            .map(|cell| match cell {
                Cell::Text(text) => size_of::<Cell>() + text.len(),
                _ => size_of::<Cell>(),
            })
            .sum::<usize>();
        if self.bytes > LISTING_BYTES_MAX {
            return Err(SqlError::new(
                Code::LimitReached,
                format!("The list is longer than {LISTING_BYTES_MAX} bytes: ask for less of it"),
            ));
        }
        self.rows.push(row);
        Ok(())
    }

    /// What was pushed so far, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Sorts by the texts of the first columns.
    pub fn sort_by_text(&mut self, columns: usize) {
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            _ => String::new(),
        };
        self.rows
            .sort_by_cached_key(|row| row[..columns].iter().map(text).collect::<Vec<_>>());
    }

    /// Keeps the rows whose first column's text is wanted.
    pub fn retain_first(&mut self, wanted: impl Fn(&str) -> bool) {
        self.rows
            .retain(|row| matches!(row.first(), Some(Cell::Text(text)) if wanted(text)));
    }

    /// The result set's columns.
    #[must_use]
    pub fn result_columns(&self) -> Vec<ResultColumn> {
        self.columns
            .iter()
            .map(|(name, sql_type)| ResultColumn::of_type(name, *sql_type, true))
            .collect()
    }

    /// The rows as one record batch.
    ///
    /// # Errors
    /// 1105 where Arrow refuses them: a bug.
    pub fn batch(&self) -> Result<RecordBatch, SqlError> {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|(name, sql_type)| Field::new(name, arrow_of(*sql_type), true))
            .collect();
        let arrays = (0..self.columns.len()).map(|at| self.array(at)).collect();
        RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(self.rows.len())),
        )
        .map_err(|fault| SqlError::new(Code::Unknown, format!("internal error: {fault}")))
    }

    /// As an answer.
    ///
    /// # Errors
    /// As [`Listing::batch`].
    pub fn into_rows(self) -> Result<Rows, SqlError> {
        let columns = self.result_columns();
        let batch = self.batch()?;
        Ok(Rows {
            columns,
            batches: Box::pin(futures::stream::iter([Ok(batch)])),
        })
    }

    /// As a table that SELECT reads.
    ///
    /// # Errors
    /// As [`Listing::batch`].
    pub fn into_table(self, database: &str, name: &str) -> Result<VirtualTable, SqlError> {
        let columns = self.columns.iter().map(|(name, sql_type)| TableColumn {
            name: name.clone(),
            sql_type: *sql_type,
            nullable: true,
        });
        Ok(VirtualTable {
            database: database.to_owned(),
            name: name.to_owned(),
            columns: columns.collect(),
            batch: self.batch()?,
        })
    }

    fn array(&self, at: usize) -> ArrayRef {
        let cells = self.rows.iter().map(|row| &row[at]);
        match arrow_of(self.columns[at].1) {
            DataType::Int64 => Arc::new(cells.map(as_int).collect::<Int64Array>()),
            DataType::UInt64 => Arc::new(cells.map(as_uint).collect::<UInt64Array>()),
            DataType::Float64 => Arc::new(cells.map(as_double).collect::<Float64Array>()),
            DataType::Decimal128(precision, scale) => Arc::new(
                cells
                    .map(|cell| as_micros(cell).map(i128::from))
                    .collect::<Decimal128Array>()
                    .with_data_type(DataType::Decimal128(precision, scale)),
            ),
            DataType::Timestamp(TimeUnit::Second, _) => Arc::new(
                cells
                    .map(|cell| as_micros(cell).map(|micros| micros.div_euclid(1_000_000)))
                    .collect::<TimestampSecondArray>(),
            ),
            DataType::Timestamp(_, _) => {
                Arc::new(cells.map(as_micros).collect::<TimestampMicrosecondArray>())
            }
            _ => Arc::new(cells.map(as_text).collect::<StringArray>()),
        }
    }
}

fn as_int(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Int(number) => Some(*number),
        Cell::UInt(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

fn as_uint(cell: &Cell) -> Option<u64> {
    match cell {
        Cell::UInt(number) => Some(*number),
        Cell::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn as_double(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Double(number) => Some(*number),
        _ => None,
    }
}

fn as_micros(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::UnixMicros(micros) => Some(*micros),
        _ => None,
    }
}

fn as_text(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

/// MySQL's LIKE over names, as SHOW has it: without regard to case, `\` escapes.
#[must_use]
pub fn like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    // Where to go back to: behind the last %, and the text it has swallowed up to.
    let (mut at_pattern, mut at_text, mut back) = (0, 0, None);
    while at_text < text.len() {
        let (wanted, steps) = match pattern.get(at_pattern) {
            Some('%') => {
                back = Some((at_pattern + 1, at_text));
                at_pattern += 1;
                continue;
            }
            Some('_') => (Some(text[at_text]), 1),
            Some('\\') if at_pattern + 1 < pattern.len() => (Some(pattern[at_pattern + 1]), 2),
            Some(other) => (Some(*other), 1),
            None => (None, 0),
        };
        if wanted == Some(text[at_text]) {
            at_pattern += steps;
            at_text += 1;
        } else if let Some((pattern_again, text_again)) = back {
            at_pattern = pattern_again;
            at_text = text_again + 1;
            back = Some((pattern_again, text_again + 1));
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|left| *left == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_mysqls() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("%", "", true),
            ("a%", "Abc", true),
            ("%c", "abc", true),
            ("%b%", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("a\\_c", "abc", false),
            ("a\\_c", "a_c", true),
            ("100\\%", "100%", true),
            ("a%b%c", "a-b-b-c", true),
            ("a%b%c", "a-b-b-d", false),
            ("pipelines\\_%", "pipelines_batch_interval", true),
            ("é_", "ÉX", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_listing_becomes_a_batch_with_its_nulls() {
        let mut listing = Listing::new(&[
            ("a", NAME),
            ("b", UINT),
            ("c", UNIX_TIME),
            ("d", SECONDS),
            ("e", DOUBLE),
        ]);
        listing
            .push(vec![
                "x".into(),
                Cell::UInt(7),
                Cell::UnixMicros(1_500_000),
                Cell::UnixMicros(1_500_000),
                Cell::Double(0.5),
            ])
            .expect("small");
        listing.push(vec![Cell::Null; 5]).expect("small");
        let batch = listing.batch().expect("a batch");
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 5));
        assert!((0..5).all(|column| batch.column(column).null_count() == 1));
    }

    #[test]
    fn a_listing_that_is_too_long_is_an_error_and_not_shorter() {
        let mut listing = Listing::new(&[("a", TEXT)]);
        let text = "x".repeat(LISTING_BYTES_MAX / 2);
        listing.push(vec![text.clone().into()]).expect("half of it");
        assert_eq!(
            listing.push(vec![text.into()]).expect_err("too much").code,
            1104
        );
    }
}
