//! Blocks: the memory a tail is written into, and read from while it is being written.
//!
//! One writer ([`BlockWriter`], not `Clone`), any number of readers (`Arc<Block>`). The writer writes
//! beyond the last mark; [`BlockWriter::publish`] writes one mark and stores the count of marks with
//! Release. A reader loads the count once with Acquire ([`Block::mark`]) and looks at what lies below
//! that mark alone.
//!
//! Invariants, which all `unsafe` here rests on:
//! 1. Every byte of the allocation is initialised when it is made, and stays so.
//! 2. Bytes below the last published mark are never written again while the block is shared. The
//!    writer reaches memory through raw pointers alone and never makes a reference to it.
//! 3. A reader makes references and Arrow buffers below a mark it has loaded, nowhere else.
//! 4. String offsets rise from 0 and stay within their region; the bytes below the last are UTF-8.
//! 5. A column's first NULL row, once it is below a published mark, does not change.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};

use crate::array::primitive_array;
pub use crate::block_layout::BlockLayout;
use crate::block_layout::{MARK_BYTES, Regions};
pub use crate::format::rejects::{Reject, RejectKind};
use crate::ids::Offset;
use crate::limits::{ALIGN_BYTES, REJECT_KEY_BYTES_MAX, REJECT_TEXT_BYTES_MAX};
use crate::map::string_array;
use crate::schema::Physical;

#[cfg(target_endian = "big")]
compile_error!("segments and blocks are little-endian");

/// No row: a column without NULL.
const NO_ROW: u32 = u32::MAX;

/// A place in a block up to which all is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Mark {
    /// Rows below it.
    pub rows_end: u32,
    /// Bytes of rejects below it.
    pub rejects_end: u32,
    /// The offset after the last one that it covers.
    pub next_offset: Offset,
}

const _: () = assert!(size_of::<Mark>() == MARK_BYTES);

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

/// One allocation, zeroed when it is made, aligned to 64 bytes; goes back to the pool with its bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    start: NonNull<u8>,
    bytes: usize,
}

impl Memory {
    /// At least `bytes` of zeros. Aligned by hand: `calloc` hands out untouched pages, an aligned
    /// allocation would be filled, and a fresh block's pages are to be touched only when rows come.
    pub(crate) fn new(bytes: usize) -> Memory {
        let layout = Memory::layout(bytes);
        // SAFETY: the layout's size is at least ALIGN_BYTES, not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else {
            handle_alloc_error(layout)
        };
        let skip = base.as_ptr().align_offset(ALIGN_BYTES);
        assert!(skip < ALIGN_BYTES);
        // SAFETY: skip < ALIGN_BYTES, by which the allocation is larger than `bytes`.
        let start = unsafe { base.add(skip) };
        Memory { base, start, bytes }
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes + ALIGN_BYTES, 16).expect("bytes of a block are bounded")
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this very layout and is freed here alone.
        unsafe { dealloc(self.base.as_ptr(), Memory::layout(self.bytes)) }
    }
}

// SAFETY: Memory owns its bytes; who may look at which is the business of Block and BlockWriter.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` alone gives out no bytes.
unsafe impl Sync for Memory {}

/// A block as readers hold it.
#[derive(Debug)]
pub struct Block {
    memory: Memory,
    layout: BlockLayout,
    regions: Regions,
    /// Marks published. The first, written before the block is shared, says where it begins.
    marks: AtomicU32,
    first_nulls: Box<[AtomicU32]>,
}

/// One column of a block below a mark, as it lies.
#[derive(Clone, Copy, Debug)]
pub struct ColumnRegion<'a> {
    /// How values lie.
    pub physical: Physical,
    /// Rows.
    pub rows: usize,
    /// Values, or `rows + 1` `i32` offsets for strings.
    pub values: &'a [u8],
    /// String bytes, exactly up to the last offset; empty otherwise.
    pub data: &'a [u8],
    /// Where NULLs stand; `None` without one.
    pub nulls: Option<NullRegion<'a>>,
}

/// Where NULLs stand in a column.
#[derive(Clone, Copy, Debug)]
pub struct NullRegion<'a> {
    /// All rows before this one hold a value, whatever `validity` says of them.
    pub first_null: usize,
    /// A byte a row: 0 is NULL, 1 is not.
    pub validity: &'a [u8],
}

impl NullRegion<'_> {
    /// Appends the rows as validity bits, Arrow's way: 1 is a value, the lowest bit first.
    pub fn pack(&self, bits: &mut Vec<u8>) {
        let (whole, rest) = self.validity.as_chunks::<8>();
        bits.reserve(whole.len() + 1);
        let start = bits.len();
        bits.extend(whole.iter().map(|bytes| {
            // Eight bytes of 0 or 1 become eight bits: byte i moves to bit 56 + i.
            let bytes = u64::from_le_bytes(*bytes) & 0x0101_0101_0101_0101;
            (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
        }));
        if !rest.is_empty() {
            let bit = |(at, valid): (usize, &u8)| (valid & 1) << at;
            bits.push(rest.iter().enumerate().map(bit).sum());
        }
        // What stands before the first NULL was never written.
        bits[start..start + self.first_null / 8].fill(0xff);
        if let Some(byte) = bits.get_mut(start + self.first_null / 8) {
            *byte |= (1u8 << (self.first_null % 8)) - 1;
        }
    }
}

impl Block {
    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &BlockLayout {
        &self.layout
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }

    /// The last mark. Load it once and keep to it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let marks = self.marks.load(Ordering::Acquire);
        self.mark_at(marks - 1)
    }

    /// The offset that the block begins at.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.mark_at(0).next_offset
    }

    fn mark_at(&self, index: u32) -> Mark {
        debug_assert!(index < self.marks.load(Ordering::Relaxed));
        // SAFETY: `index` is below a count that was loaded with Acquire (or is 0, written before the
        // block was shared), so this mark was written before and, by invariant 2, never again.
        unsafe {
            self.at(self.regions.marks_at)
                .cast::<Mark>()
                .add(index as usize)
                .read()
        }
    }

    fn at(&self, at: usize) -> *mut u8 {
        debug_assert!(at <= self.memory.bytes);
        self.memory.start.as_ptr().wrapping_add(at)
    }

    /// `mark`, once it is known to be published here: a mark is plain data and could be another's.
    fn published(&self, mark: Mark) -> Mark {
        let last = self.mark();
        assert!(
            mark.rows_end <= last.rows_end && mark.rejects_end <= last.rejects_end,
            "a mark of another block"
        );
        mark
    }

    /// Bytes `at..at + len`, which the caller knows to lie below a published mark.
    fn bytes_at(&self, at: usize, len: usize) -> &[u8] {
        assert!(at + len <= self.memory.bytes);
        // SAFETY: inside the allocation, initialised (invariant 1), and every caller in this file
        // passes only what lies below a mark that `published` has checked (invariants 2 and 3).
        unsafe { std::slice::from_raw_parts(self.at(at), len) }
    }

    /// Columns: the user's, then `_offset`, then `_timestamp`.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.regions.columns.len()
    }

    /// Column `index` below `mark`, as it lies.
    ///
    /// # Panics
    /// If the mark is not this block's or there is no such column.
    #[must_use]
    pub fn column(&self, index: usize, mark: Mark) -> ColumnRegion<'_> {
        let mark = self.published(mark);
        let rows = mark.rows_end as usize;
        let at = &self.regions.columns[index];
        let (values, data) = match at.physical.width() {
            Some(width) => (self.bytes_at(at.values_at, rows * width), &[][..]),
            None => {
                let offsets = self.bytes_at(at.values_at, (rows + 1) * size_of::<i32>());
                let last = offsets.last_chunk::<4>().expect("rows + 1 offsets");
                let end = u32::from_le_bytes(*last);
                assert!(end <= at.data_bytes);
                (offsets, self.bytes_at(at.data_at, end as usize))
            }
        };
        let first_null = self.first_nulls[index].load(Ordering::Relaxed);
        let nulls = (first_null < mark.rows_end).then(|| NullRegion {
            first_null: first_null as usize,
            validity: self.bytes_at(at.validity_at, rows),
        });
        ColumnRegion {
            physical: at.physical,
            rows,
            values,
            data,
            nulls,
        }
    }

    /// Column `index` below `mark` as an Arrow array that shares this block's memory. Validity bits are
    /// packed where there is a NULL; nothing else is copied.
    ///
    /// # Panics
    /// If the mark is not this block's or there is no such column.
    #[must_use]
    pub fn array(self: &Arc<Self>, index: usize, mark: Mark) -> ArrayRef {
        let column = self.column(index, mark);
        let nulls = column.nulls.map(|nulls| {
            let mut bits = Vec::new();
            nulls.pack(&mut bits);
            NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, column.rows))
        });
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let values = self.buffer(column.values);
        match column.physical {
            // SAFETY: invariant 4, which the writer keeps for all that lies below a mark.
            Physical::Utf8 => unsafe {
                string_array(column.rows, values, self.buffer(column.data), nulls)
            },
            physical => primitive_array(physical, column.rows, values, nulls),
        }
    }

    /// The rejects below `mark`, encoded; see [`crate::format::rejects`].
    ///
    /// # Panics
    /// If the mark is not this block's.
    #[must_use]
    pub fn rejects(&self, mark: Mark) -> &[u8] {
        let mark = self.published(mark);
        self.bytes_at(self.regions.rejects_at, mark.rejects_end as usize)
    }

    /// An Arrow buffer that shares this block's memory and keeps the block.
    ///
    /// # Panics
    /// If `bytes` is not of this block.
    #[must_use]
    pub fn buffer(self: &Arc<Self>, bytes: &[u8]) -> Buffer {
        if bytes.is_empty() {
            return Buffer::default();
        }
        let start = self.memory.start.as_ptr() as usize;
        let at = bytes.as_ptr() as usize;
        assert!(
            at >= start && at + bytes.len() <= start + self.memory.bytes,
            "bytes of another block"
        );
        let Some(pointer) = NonNull::new(bytes.as_ptr().cast_mut()) else {
            unreachable!("a slice's pointer is never null")
        };
        // SAFETY: `bytes` came from `bytes_at` (nothing else gives out bytes of the allocation), so it
        // is never written again while this block lives, and the buffer keeps the block.
        unsafe { Buffer::from_custom_allocation(pointer, bytes.len(), Arc::<Block>::clone(self)) }
    }
}

/// The one writer of a block.
#[derive(Debug)]
pub struct BlockWriter {
    block: Arc<Block>,
    columns: Box<[ColumnWriter]>,
    /// The string columns' indexes.
    strings: Box<[u32]>,
    rows: u32,
    rejects: u32,
    marks: u32,
    published: Mark,
}

/// Where a column's next value goes.
#[derive(Debug)]
struct ColumnWriter {
    values: *mut u8,
    validity: *mut u8,
    data: *mut u8,
    data_bytes: u32,
    /// Where this row's string starts and ends.
    start: u32,
    end: u32,
    first_null: u32,
    width: u32,
    physical: Physical,
    nullable: bool,
}

// SAFETY: the pointers point into `block`, which the writer keeps, and only the writer writes there.
unsafe impl Send for BlockWriter {}

impl BlockWriter {
    /// A fresh block that begins at `first_offset`. [`crate::pool::BlockPool::take`] is the usual way.
    ///
    /// # Panics
    /// Where the layout breaks a bound of [`crate::limits`].
    #[must_use]
    pub fn new(layout: &BlockLayout, first_offset: Offset) -> BlockWriter {
        let memory = Memory::new(layout.bytes());
        BlockWriter::with_memory(layout, memory, first_offset)
    }

    /// The same in memory that was a block's before.
    pub(crate) fn with_memory(layout: &BlockLayout, memory: Memory, first_offset: Offset) -> Self {
        let regions = layout.regions();
        assert!(regions.bytes <= memory.bytes);
        let first_nulls = regions.columns.iter().map(|_| AtomicU32::new(NO_ROW));
        let block = Block {
            memory,
            layout: layout.clone(),
            first_nulls: first_nulls.collect(),
            marks: AtomicU32::new(0),
            regions,
        };
        let columns = block.regions.columns.iter().map(|at| ColumnWriter {
            values: block.at(at.values_at),
            validity: block.at(at.validity_at),
            data: block.at(at.data_at),
            data_bytes: at.data_bytes,
            start: 0,
            end: 0,
            first_null: NO_ROW,
            width: at.physical.width().map_or(0, |width| width as u32),
            physical: at.physical,
            nullable: at.nullable,
        });
        let columns: Box<[ColumnWriter]> = columns.collect();
        let strings = (0u32..).zip(&columns).filter(|(_, c)| c.width == 0);
        let strings: Box<[u32]> = strings.map(|(index, _)| index).collect();
        let published = Mark {
            rows_end: 0,
            rejects_end: 0,
            next_offset: first_offset,
        };
        for &column in &strings {
            // SAFETY: the offsets' region has room for rows + 2 of them, and nobody else has the block.
            unsafe { columns[column as usize].values.cast::<i32>().write(0) };
        }
        let mut writer = BlockWriter {
            block: Arc::new(block),
            columns,
            strings,
            rows: 0,
            rejects: 0,
            marks: 0,
            published,
        };
        writer.push_mark(published);
        writer
    }

    /// The memory, if no reader holds the block any more; else the block as it is.
    pub(crate) fn into_memory(self) -> Result<Memory, Arc<Block>> {
        reclaim(self.block)
    }

    /// What readers hold.
    #[must_use]
    pub fn shared(&self) -> Arc<Block> {
        Arc::clone(&self.block)
    }

    /// The exclusive view of what lies beyond the last mark.
    pub fn tail(&mut self) -> Tail<'_> {
        Tail { writer: self }
    }

    /// The last mark.
    #[must_use]
    pub fn published(&self) -> Mark {
        self.published
    }

    /// Rows beyond the last mark.
    #[must_use]
    pub fn rows_pending(&self) -> u32 {
        self.rows - self.published.rows_end
    }

    /// Marks that can still be published.
    #[must_use]
    pub fn marks_free(&self) -> u32 {
        self.block.regions.marks + 1 - self.marks
    }

    /// Makes everything written so far visible, as far as `next_offset`.
    ///
    /// # Panics
    /// Without a free mark, or if `next_offset` falls.
    pub fn publish(&mut self, next_offset: Offset) -> Mark {
        assert!(
            next_offset >= self.published.next_offset,
            "offsets never fall"
        );
        let mark = Mark {
            rows_end: self.rows,
            rejects_end: self.rejects,
            next_offset,
        };
        self.push_mark(mark);
        self.published = mark;
        mark
    }

    fn push_mark(&mut self, mark: Mark) {
        assert!(self.marks_free() > 0, "a free mark");
        let marks = self.block.at(self.block.regions.marks_at).cast::<Mark>();
        // SAFETY: the region has room for `regions.marks + 1` marks and this is below; no reader looks
        // at it before the store below, and no second writer exists.
        unsafe { marks.add(self.marks as usize).write(mark) };
        self.marks += 1;
        self.block.marks.store(self.marks, Ordering::Release);
    }

    /// Forgets what lies beyond the last mark.
    pub fn reset(&mut self) {
        self.rewind(self.published.rows_end, self.published.rejects_end);
    }

    fn rewind(&mut self, rows: u32, rejects: u32) {
        assert!(
            self.published.rows_end <= rows && rows <= self.rows,
            "a savepoint of this tail"
        );
        assert!(self.published.rejects_end <= rejects && rejects <= self.rejects);
        self.rows = rows;
        self.rejects = rejects;
        for (column, shared) in self.columns.iter_mut().zip(&self.block.first_nulls) {
            if column.width == 0 {
                // SAFETY: offsets 0..=rows were written; rows is at most the block's.
                let end = unsafe { column.values.cast::<u32>().add(rows as usize).read() };
                (column.start, column.end) = (end, end);
            }
            if column.first_null != NO_ROW && column.first_null >= rows {
                column.first_null = NO_ROW;
                shared.store(NO_ROW, Ordering::Relaxed);
            }
        }
    }
}

/// The block's memory, if nobody else holds it.
pub(crate) fn reclaim(block: Arc<Block>) -> Result<Memory, Arc<Block>> {
    Arc::try_unwrap(block).map(|block| block.memory)
}

/// What lies beyond the last mark, to be written. In a row the last `put` of a column wins.
#[derive(Debug)]
pub struct Tail<'a> {
    writer: &'a mut BlockWriter,
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

    /// Rows that the block can hold when empty.
    #[must_use]
    pub fn rows_max(&self) -> u32 {
        self.writer.block.regions.rows
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
    /// Says that `row` holds a value. Before a column's first NULL nothing is written: none is read.
    #[inline]
    fn valid(&mut self, row: usize) {
        if self.first_null != NO_ROW {
            // SAFETY: only a nullable column has a first NULL, and it has rows + 1 validity bytes;
            // row <= the block's rows, beyond the last mark.
            unsafe { self.validity.add(row).write(1) };
        }
    }
}

#[cfg(test)]
mod tests;
