//! What lies beyond a block's last mark: rows and rejects being written.
//!
//! All `unsafe` here rests on the invariants of [`crate::block`]. What keeps the bounds without a check
//! per value: every row region has room for one row more than the block holds, and `end_row` refuses
//! the row that would be one too many.

use std::sync::atomic::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

use super::NO_ROW;
use super::writer::{BlockWriter, ColumnWriter};
use crate::format::arrow::data_type;
use crate::format::rejects::Reject;
use crate::ids::Offset;
use crate::limits::{REJECT_KEY_BYTES_MAX, REJECT_TEXT_BYTES_MAX};
use crate::schema::Physical;

/// A block is full: publish, flush and go on in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block is full: {needed} for {region:?}")]
pub struct BlockFull {
    /// Which region.
    pub region: BlockRegion,
    /// What was to be put there, bytes (rows for `Rows`): the next block must at least have room for it.
    pub needed: u32,
}

/// A region that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRegion {
    /// The rows: said by the decoder, of a message with more rows than are free.
    Rows,
    /// A string column's bytes; its index in the schema.
    Strings(u32),
    /// The rejects.
    Rejects,
}

/// A place beyond the last mark to go back to: a message is several rows or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    rows: u32,
    rejects: u32,
}

/// A value that a column holds as it is.
pub trait Value: sealed::Sealed + Copy {}

mod sealed {
    /// Plain bytes without padding; only types of this file's list.
    pub trait Sealed {
        fn fits(physical: super::Physical) -> bool;
    }
}

macro_rules! value {
    ($($type:ty: $($physical:pat_param)|+,)*) => {$(
        impl sealed::Sealed for $type {
            #[inline]
            fn fits(physical: Physical) -> bool {
                matches!(physical, $($physical)|+)
            }
        }
        impl Value for $type {}
    )*};
}

value! {
    i8: Physical::Int8,
    i16: Physical::Int16,
    i32: Physical::Int32 | Physical::Date32,
    i64: Physical::Int64 | Physical::Timestamp(_),
    u8: Physical::UInt8,
    u16: Physical::UInt16,
    u32: Physical::UInt32,
    u64: Physical::UInt64,
    f32: Physical::Float32,
    f64: Physical::Float64,
    i128: Physical::Decimal128 { .. },
}

/// What lies beyond the last mark, to be written. In a row the last `put` of a column wins.
#[derive(Debug)]
pub struct Tail<'a> {
    writer: &'a mut BlockWriter,
}

impl<'a> Tail<'a> {
    pub(super) fn new(writer: &'a mut BlockWriter) -> Tail<'a> {
        Tail { writer }
    }
}

impl Tail<'_> {
    /// Rows in the block so far, published or not.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.writer.rows
    }

    /// Rows that still fit.
    #[must_use]
    pub fn rows_free(&self) -> u32 {
        self.writer.block.regions.rows - self.writer.rows
    }

    /// Whether the block holds nothing, published or not: what does not fit now never will.
    #[must_use]
    pub fn is_block_empty(&self) -> bool {
        self.writer.rows == 0 && self.writer.rejects == 0
    }

    /// Puts a value into the current row.
    ///
    /// # Panics
    /// If the column does not hold values of `T`'s width.
    #[inline]
    pub fn put<T: Value>(&mut self, column: usize, value: T) {
        let row = self.writer.rows as usize;
        let column = &mut self.writer.columns[column];
        assert!(
            column.width as usize == size_of::<T>(),
            "the column's width"
        );
        debug_assert!(T::fits(column.physical), "the column's type");
        // SAFETY: row <= the block's rows and the region has rows + 1 values of this width, aligned to
        // 64; beyond the last mark, where no reader looks.
        unsafe { column.values.cast::<T>().add(row).write(value) };
        column.valid(row);
    }

    /// Puts NULL into the current row.
    ///
    /// # Panics
    /// If the column is NOT NULL: the decoder has checked that.
    #[inline]
    pub fn put_null(&mut self, index: usize) {
        let row = self.writer.rows;
        let column = &mut self.writer.columns[index];
        assert!(column.nullable, "NULL into NOT NULL");
        let width = column.width as usize;
        // SAFETY: as in `put`; a nullable column has rows + 1 validity bytes. Zeros are a value of
        // every width, written so that what goes to disk below a NULL is always the same.
        unsafe {
            column.validity.add(row as usize).write(0);
            column
                .values
                .add(row as usize * width)
                .write_bytes(0, width);
        }
        column.end = column.start;
        column.was_put(row);
        if column.first_null == NO_ROW {
            column.first_null = row;
            self.writer.block.first_nulls[index].store(row, Ordering::Relaxed);
        }
    }

    /// Puts a string into the current row.
    ///
    /// # Errors
    /// [`BlockFull`]: the region has no room; nothing was put.
    #[inline]
    pub fn put_str(&mut self, column: usize, value: &str) -> Result<(), BlockFull> {
        let to = self.string(column, value.len())?;
        // SAFETY: `string` gave a place for `value.len()` bytes beyond the last mark; `value` cannot
        // overlap it, since nothing hands out references there.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, value.len()) };
        let row = self.writer.rows as usize;
        let column = &mut self.writer.columns[column];
        column.end = column.start + value.len() as u32;
        column.valid(row);
        Ok(())
    }

    /// Lets `write` put a string of at most `bytes_max` bytes straight into the region: it gets that
    /// many bytes and returns how many of them it filled, in UTF-8. On its `Err` nothing was put.
    ///
    /// # Errors
    /// [`BlockFull`]: the region has no room for `bytes_max`; `write` was not called.
    ///
    /// # Panics
    /// If what was written is not UTF-8 or more than was asked for: a bug of the caller.
    #[inline]
    pub fn put_str_with<E>(
        &mut self,
        column: usize,
        bytes_max: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<(), E>, BlockFull> {
        let to = self.string(column, bytes_max)?;
        // SAFETY: `bytes_max` initialised bytes beyond the last mark and behind every string of this
        // region; no other reference to them exists, and this one ends before the function does.
        let bytes = unsafe { std::slice::from_raw_parts_mut(to, bytes_max) };
        let len = match write(bytes) {
            Ok(len) => len,
            Err(error) => return Ok(Err(error)),
        };
        assert!(
            std::str::from_utf8(&bytes[..len]).is_ok(),
            "strings are UTF-8"
        );
        let row = self.writer.rows as usize;
        let column = &mut self.writer.columns[column];
        column.end = column.start + len as u32;
        column.valid(row);
        Ok(Ok(()))
    }

    #[inline]
    fn string(&mut self, index: usize, bytes: usize) -> Result<*mut u8, BlockFull> {
        let column = &mut self.writer.columns[index];
        assert!(column.width == 0, "a string column");
        if bytes > (column.data_bytes - column.start) as usize {
            return Err(BlockFull {
                region: BlockRegion::Strings(index as u32),
                needed: u32::try_from(bytes).unwrap_or(u32::MAX),
            });
        }
        Ok(column.data.wrapping_add(column.start as usize))
    }

    /// Ends the row: every user column was put for it.
    ///
    /// # Panics
    /// If the block has no room for the row: check [`Tail::rows_free`] once a message.
    #[inline]
    pub fn end_row(&mut self, offset: Offset, timestamp_ms: i64) {
        let hidden = self.writer.columns.len() - 2;
        self.put(hidden, offset.0);
        self.put(hidden + 1, timestamp_ms);
        let writer = &mut *self.writer;
        assert!(writer.rows < writer.block.regions.rows, "room for a row");
        #[cfg(debug_assertions)]
        for (index, column) in writer.columns.iter().enumerate() {
            assert_eq!(column.last_put, writer.rows, "column {index} was not put");
        }
        for &column in &writer.strings {
            let column = &mut writer.columns[column as usize];
            let next = writer.rows as usize + 1;
            // SAFETY: next <= the block's rows, and the region has rows + 2 offsets; beyond the last
            // mark: a reader of it looks at offsets up to its rows_end, which is below `next`.
            unsafe { column.values.cast::<u32>().add(next).write(column.end) };
            column.start = column.end;
        }
        writer.rows += 1;
    }

    /// Where to go back to if the message that starts here fails.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            rows: self.writer.rows,
            rejects: self.writer.rejects,
        }
    }

    /// Forgets what came after `to`.
    ///
    /// # Panics
    /// If `to` is not of this tail.
    pub fn rewind(&mut self, to: Savepoint) {
        self.writer.rewind(to.rows, to.rejects);
    }

    /// Keeps a reject.
    ///
    /// # Errors
    /// [`BlockFull`]: the region has no room; nothing was kept.
    pub fn reject(&mut self, reject: &Reject<'_>) -> Result<(), BlockFull> {
        let reject = reject.cut(REJECT_TEXT_BYTES_MAX, REJECT_KEY_BYTES_MAX);
        let bytes = reject.encoded_bytes();
        let to = self.rejects_room(bytes)?;
        // SAFETY: `rejects_room` gave a place for `bytes` initialised bytes beyond the last mark, to
        // which no other reference exists; this one ends here.
        reject.encode(unsafe { std::slice::from_raw_parts_mut(to, bytes) });
        self.writer.rejects += bytes as u32;
        Ok(())
    }

    /// Keeps rejects that are encoded already: a merge's.
    ///
    /// # Errors
    /// [`BlockFull`]: the region has no room; nothing was kept.
    pub fn extend_rejects(&mut self, encoded: &[u8]) -> Result<(), BlockFull> {
        let to = self.rejects_room(encoded.len())?;
        // SAFETY: `rejects_room` gave a place for that many bytes beyond the last mark, which `encoded`
        // cannot overlap: nothing hands out references there.
        unsafe { std::ptr::copy_nonoverlapping(encoded.as_ptr(), to, encoded.len()) };
        self.writer.rejects += encoded.len() as u32;
        Ok(())
    }

    /// Appends whole columns, the hidden ones with them: a merge's.
    ///
    /// # Errors
    /// [`BlockFull`]: a region has no room; nothing was appended.
    ///
    /// # Panics
    /// If the arrays are not the block's columns, of one length, or hold NULL where none may be.
    pub fn extend(&mut self, columns: &[ArrayRef]) -> Result<(), BlockFull> {
        assert_eq!(columns.len(), self.writer.columns.len(), "all columns");
        let rows = columns[0].len();
        if rows > self.rows_free() as usize {
            return Err(BlockFull {
                region: BlockRegion::Rows,
                needed: u32::try_from(rows).unwrap_or(u32::MAX),
            });
        }
        for (index, array) in columns.iter().enumerate() {
            let column = &self.writer.columns[index];
            assert_eq!(array.len(), rows, "columns of one length");
            assert_eq!(
                array.data_type(),
                &data_type(column.physical),
                "the column's type"
            );
            assert!(
                column.nullable || array.null_count() == 0,
                "NULL into NOT NULL"
            );
            if column.width == 0 {
                let strings = array.as_string::<i32>();
                let bytes = strings.value_offsets()[rows] - strings.value_offsets()[0];
                self.string(index, bytes as usize)?;
            }
        }
        let start = self.writer.rows as usize;
        for (index, array) in columns.iter().enumerate() {
            let column = &mut self.writer.columns[index];
            if column.width == 0 {
                column.extend_strings(start, array);
            } else {
                column.extend_values(start, array);
            }
            let first_null = column.extend_validity(start, array);
            self.writer.block.first_nulls[index].store(first_null, Ordering::Relaxed);
        }
        self.writer.rows += rows as u32;
        Ok(())
    }

    fn rejects_room(&mut self, bytes: usize) -> Result<*mut u8, BlockFull> {
        let regions = &self.writer.block.regions;
        if bytes > (regions.rejects_bytes - self.writer.rejects) as usize {
            return Err(BlockFull {
                region: BlockRegion::Rejects,
                needed: u32::try_from(bytes).unwrap_or(u32::MAX),
            });
        }
        let at = regions.rejects_at + self.writer.rejects as usize;
        Ok(self.writer.block.at(at))
    }
}

impl ColumnWriter {
    #[inline]
    fn was_put(&mut self, _row: u32) {
        #[cfg(debug_assertions)]
        {
            self.last_put = _row;
        }
    }

    /// `extend` has checked type, length and room.
    fn extend_values(&mut self, start: usize, array: &ArrayRef) {
        let data = array.to_data();
        let width = self.width as usize;
        let from = data.offset() * width..(data.offset() + array.len()) * width;
        let values = &data.buffers()[0].as_slice()[from];
        // SAFETY: start + the array's rows <= the block's rows, which `extend` has checked; the array's
        // memory cannot overlap what lies beyond the last mark.
        unsafe {
            let to = self.values.add(start * width);
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len());
        }
    }

    /// As `extend_values`; the strings' bytes fit, and are UTF-8 since they come from a string array.
    fn extend_strings(&mut self, start: usize, array: &ArrayRef) {
        let strings = array.as_string::<i32>();
        let offsets = strings.value_offsets();
        let base = offsets[0];
        let bytes = &strings.value_data()[base as usize..offsets[array.len()] as usize];
        for (row, end) in offsets[1..].iter().enumerate() {
            let end = self.start + (end - base) as u32;
            // SAFETY: start + row < the block's rows, and the region has rows + 2 offsets; beyond the
            // last mark.
            unsafe { self.values.cast::<u32>().add(start + row + 1).write(end) };
        }
        // SAFETY: `extend` has found room for these bytes at `self.start`; beyond the last mark.
        unsafe {
            let to = self.data.add(self.start as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.start += bytes.len() as u32;
        self.end = self.start;
    }

    /// Returns the first NULL row, as it is now.
    fn extend_validity(&mut self, start: usize, array: &ArrayRef) -> u32 {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none() && self.first_null == NO_ROW {
            return NO_ROW;
        }
        for row in 0..array.len() {
            let valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
            if !valid && self.first_null == NO_ROW {
                self.first_null = (start + row) as u32;
            }
            // SAFETY: only a nullable column comes here (`extend` has checked it), and it has rows + 1
            // validity bytes; start + row < the block's rows; beyond the last mark.
            unsafe { self.validity.add(start + row).write(u8::from(valid)) };
        }
        self.first_null
    }

    /// Says that `row` holds a value. Before a column's first NULL nothing is written: none is read.
    #[inline]
    fn valid(&mut self, row: usize) {
        self.was_put(row as u32);
        if self.first_null != NO_ROW {
            // SAFETY: only a nullable column has a first NULL, and it has rows + 1 validity bytes;
            // row <= the block's rows, beyond the last mark.
            unsafe { self.validity.add(row).write(1) };
        }
    }
}
