//! The one writer of a block.
//!
//! All `unsafe` here rests on the invariants of [`crate::block`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::marks::Marks;
use super::tail::Tail;
use super::{Block, Mark, Memory, NO_ROW, reclaim};
use crate::block_layout::BlockLayout;
use crate::ids::Offset;
use crate::planted::{Rule, out};
use crate::schema::Physical;

/// The one writer of a block.
#[derive(Debug)]
pub struct BlockWriter {
    pub(super) block: Arc<Block>,
    pub(super) columns: Box<[ColumnWriter]>,
    /// The string columns' indexes.
    pub(super) strings: Box<[u32]>,
    pub(super) rows: u32,
    pub(super) rejects: u32,
    marks: u32,
    published: Mark,
}

/// Where a column's next value goes.
#[derive(Debug)]
pub(super) struct ColumnWriter {
    pub(super) values: *mut u8,
    pub(super) validity: *mut u8,
    pub(super) data: *mut u8,
    pub(super) data_bytes: u32,
    /// Where this row's string starts and ends.
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) first_null: u32,
    pub(super) width: u32,
    pub(super) physical: Physical,
    pub(super) nullable: bool,
    /// The row that was last put, to find a decoder that leaves a column out.
    #[cfg(debug_assertions)]
    pub(super) last_put: u32,
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
            marks: Marks::new(),
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
            #[cfg(debug_assertions)]
            last_put: NO_ROW,
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
        Tail::new(self)
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
            // One row more than was written, where a test lets it.
            rows_end: self.rows + u32::from(out(Rule::MarkBehindValues)),
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
        self.block.marks.publish(self.marks);
    }

    /// Forgets what lies beyond the last mark.
    pub fn reset(&mut self) {
        self.rewind(self.published.rows_end, self.published.rejects_end);
    }

    pub(super) fn rewind(&mut self, rows: u32, rejects: u32) {
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
