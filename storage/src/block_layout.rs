//! Where a block's regions lie in its one allocation. Pure arithmetic, checked against the bounds.
//!
//! In order, each at a multiple of 64: marks | per column: values (or string offsets), validity,
//! string bytes | rejects. Every row region has one row more than the block holds, so that a value put
//! into a full block lands inside it before `end_row` refuses the row: no bound is checked per value.

use std::sync::Arc;

use crate::limits::{
    ALIGN_BYTES, BLOCK_BYTES_MAX, BLOCK_MARKS_MAX, BLOCK_MARKS_MIN, BLOCK_REGION_BYTES_MAX,
    BLOCK_ROWS_MAX, BLOCK_ROWS_PER_MARK, COLUMNS_MAX,
};
use crate::schema::{Physical, Schema};

/// What a block is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// The table's columns; `_offset` and `_timestamp` are added.
    pub schema: Arc<Schema>,
    /// Rows, `1..=BLOCK_ROWS_MAX`.
    pub rows: u32,
    /// Bytes of each Utf8 column's region, in the schema's order.
    pub string_bytes: Vec<u32>,
    /// Bytes of the rejects' region.
    pub rejects_bytes: u32,
}

/// Where one column's regions begin, from the allocation's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnRegions {
    pub physical: Physical,
    pub nullable: bool,
    /// Values, or `i32` offsets for strings.
    pub values_at: usize,
    /// A byte a row; unused (and without room) where the column is NOT NULL.
    pub validity_at: usize,
    /// String bytes.
    pub data_at: usize,
    pub data_bytes: u32,
}

/// Where all regions begin.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    pub rows: u32,
    pub marks: u32,
    pub marks_at: usize,
    /// The user's columns, then `_offset`, then `_timestamp`.
    pub columns: Box<[ColumnRegions]>,
    pub rejects_at: usize,
    pub rejects_bytes: u32,
    /// The whole.
    pub bytes: usize,
}

/// Bytes of one mark.
pub(crate) const MARK_BYTES: usize = 16;

impl BlockLayout {
    /// The regions.
    ///
    /// # Panics
    /// Where the layout breaks a bound of [`crate::limits`]: who makes layouts keeps them.
    pub(crate) fn regions(&self) -> Regions {
        assert!(
            self.rows >= 1 && self.rows <= BLOCK_ROWS_MAX,
            "rows of a block"
        );
        assert!(
            self.schema.columns.len() <= COLUMNS_MAX,
            "columns of a table"
        );
        assert!(
            self.rejects_bytes <= BLOCK_REGION_BYTES_MAX,
            "rejects of a block"
        );
        let marks = (self.rows / BLOCK_ROWS_PER_MARK).clamp(BLOCK_MARKS_MIN, BLOCK_MARKS_MAX);
        let rows = self.rows as usize;
        let mut at = 0usize;
        let mut take = |bytes: usize| {
            let start = at;
            at = (at + bytes).next_multiple_of(ALIGN_BYTES);
            start
        };
        // One mark more: the first says where the block begins.
        let marks_at = take((marks as usize + 1) * MARK_BYTES);
        let mut strings = self.string_bytes.iter();
        let mut columns = Vec::with_capacity(self.schema.columns.len() + 2);
        let user = self.schema.columns.iter().map(|c| (c.physical, c.nullable));
        for (physical, nullable) in user.chain([(Physical::Int64, false); 2]) {
            let (values_at, data_bytes) = match physical.width() {
                Some(width) => (take((rows + 1) * width), 0),
                None => {
                    let data_bytes = *strings.next().expect("a size for each string column");
                    assert!(data_bytes <= BLOCK_REGION_BYTES_MAX, "strings of a block");
                    (take((rows + 2) * size_of::<i32>()), data_bytes)
                }
            };
            columns.push(ColumnRegions {
                physical,
                nullable,
                values_at,
                validity_at: take(if nullable { rows + 1 } else { 0 }),
                data_at: take(data_bytes as usize),
                data_bytes,
            });
        }
        assert!(strings.next().is_none(), "a size for no string column");
        let rejects_at = take(self.rejects_bytes as usize);
        assert!(at <= BLOCK_BYTES_MAX, "bytes of a block");
        Regions {
            rows: self.rows,
            marks,
            marks_at,
            columns: columns.into(),
            rejects_at,
            rejects_bytes: self.rejects_bytes,
            bytes: at,
        }
    }

    /// Bytes that a block of this layout would take, about, bounds or none: to refuse it in time.
    pub(crate) fn bytes_wanted(&self) -> u64 {
        let row = |physical: Physical| physical.width().unwrap_or(4) as u64 + 1;
        let columns = self.schema.columns.len() as u64 + 2;
        let per_row: u64 = self
            .schema
            .columns
            .iter()
            .map(|c| row(c.physical))
            .sum::<u64>()
            + 18;
        let strings: u64 = self.string_bytes.iter().copied().map(u64::from).sum();
        let marks = u64::from(BLOCK_MARKS_MAX + 1) * MARK_BYTES as u64;
        let padding = (3 * columns + 2) * ALIGN_BYTES as u64 + 32 * columns;
        u64::from(self.rows) * per_row + strings + u64::from(self.rejects_bytes) + marks + padding
    }

    /// Bytes that a block of this layout takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.regions().bytes
    }
}
