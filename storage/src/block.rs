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
//!    writer reaches memory through raw pointers alone; a reference it makes, if any, lies beyond that
//!    mark and ends before the call does.
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
use crate::block_layout::{MARK_BYTES, Regions};
use crate::ids::Offset;
use crate::limits::ALIGN_BYTES;
use crate::map::string_array;
use crate::schema::Physical;

mod marks;
mod tail;
mod writer;

pub use crate::block_layout::BlockLayout;
pub use crate::format::rejects::{FaultKind, Reject, RejectKind};
pub use tail::{BlockFull, BlockRegion, Savepoint, Tail, Value};
pub use writer::BlockWriter;

use marks::Marks;

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
    marks: Marks,
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
        let marks = self.marks.published();
        self.mark_at(marks - 1)
    }

    /// The offset that the block begins at.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.mark_at(0).next_offset
    }

    fn mark_at(&self, index: u32) -> Mark {
        debug_assert!(index < self.marks.published());
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

/// The block's memory, if nobody else holds it.
pub(crate) fn reclaim(block: Arc<Block>) -> Result<Memory, Arc<Block>> {
    Arc::try_unwrap(block).map(|block| block.memory)
}

#[cfg(test)]
pub(crate) mod tests;
