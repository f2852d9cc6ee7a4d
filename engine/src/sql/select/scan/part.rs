//! What a scan reads: one commit, or the rows a tail's block showed when the statement began.

use std::ops::Range;

use arrow::array::ArrayRef;
use storage::error::StorageError;
use storage::format::ColumnStatistics;
use storage::published::Part;

/// An immutable run of rows of one leaf partition.
pub trait ScanPart: Send + Sync {
    /// How many rows.
    fn rows(&self) -> u32;

    /// The Kafka offsets that they lie in.
    fn offsets(&self) -> Range<i64>;

    /// What is known of a column without reading it. Columns count as in [`ScanPart::read`].
    fn statistics(&self, column: usize) -> Option<ColumnStatistics>;

    /// How many bytes a column has. Columns count as in [`ScanPart::read`].
    fn bytes(&self, column: usize) -> u64;

    /// The columns asked for, each of `rows` values. The table's columns are 0 to n - 1, `_offset` is
    /// n and `_timestamp` n + 1.
    ///
    /// # Errors
    /// `Corrupt` where a checksum fails, `Disk` where the file cannot be read.
    fn read(&self, columns: &[usize]) -> Result<Vec<ArrayRef>, StorageError>;

    /// Brings what [`ScanPart::read`] would touch into memory. May block.
    ///
    /// # Errors
    /// `Disk` where the file cannot be read.
    fn prefetch(&self, columns: &[usize]) -> Result<(), StorageError>;
}

impl ScanPart for Part {
    fn rows(&self) -> u32 {
        Part::rows(self)
    }

    fn offsets(&self) -> Range<i64> {
        Part::first_offset(self).0..Part::next_offset(self).0
    }

    fn statistics(&self, column: usize) -> Option<ColumnStatistics> {
        Part::statistics(self, column)
    }

    fn bytes(&self, column: usize) -> u64 {
        Part::bytes(self, &[column])
    }

    fn read(&self, columns: &[usize]) -> Result<Vec<ArrayRef>, StorageError> {
        Part::read(self, columns)
    }

    fn prefetch(&self, columns: &[usize]) -> Result<(), StorageError> {
        Part::prefetch(self, columns)
    }
}
