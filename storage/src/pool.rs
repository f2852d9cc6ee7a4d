//! The leaf's blocks: a byte budget, sizes by what the last fills asked for, memory used again.
//!
//! Memory goes around: a block that was flushed is given back, and once no query holds it its memory
//! becomes another block's, of any table. Until then it counts against the budget: ingest waits for the
//! query rather than grow. Fresh memory for each commit cost a third of the speed.
//!
//! Invariant: what is taken, reserved, free or still held by queries is at most the budget.

use std::sync::Arc;

use crate::block::{Block, BlockFull, BlockLayout, BlockRegion, BlockWriter, Memory, reclaim};
use crate::error::{Limit, StorageError};
use crate::ids::Offset;
use crate::limits::{
    BLOCK_BUDGET_DIVISOR, BLOCK_BYTES_MAX, BLOCK_POOLED_BYTES_MAX, BLOCK_REGION_BYTES_MAX,
    BLOCK_REJECTS_BYTES, BLOCK_ROWS_MAX, BLOCK_ROWS_MIN, BLOCK_STRING_MEAN_BYTES_FIRST,
    BLOCK_STRING_REGION_BYTES_MIN, BLOCK_STRINGS_BYTES_MAX, POOL_CLASS_BYTES, POOL_FREE_MAX,
    POOL_LINGERING_MAX,
};
use crate::schema::{Physical, Schema};

/// Blocks of one leaf.
#[derive(Debug)]
pub struct BlockPool {
    budget_bytes: usize,
    /// Blocks that were taken and not given back, and what is reserved for something else.
    taken_bytes: usize,
    free_bytes: usize,
    lingering_bytes: usize,
    free: Vec<Memory>,
    lingering: Vec<Arc<Block>>,
}

impl BlockPool {
    /// A pool that hands out at most `budget_bytes` at a time.
    #[must_use]
    pub fn new(budget_bytes: usize) -> BlockPool {
        BlockPool {
            budget_bytes,
            taken_bytes: 0,
            free_bytes: 0,
            lingering_bytes: 0,
            free: Vec::with_capacity(POOL_FREE_MAX),
            lingering: Vec::new(),
        }
    }

    /// A block that begins at `first_offset`.
    ///
    /// # Errors
    /// `Full`: the budget is in use, or the layout is beyond what a block may be.
    pub fn take(
        &mut self,
        layout: &BlockLayout,
        first_offset: Offset,
    ) -> Result<BlockWriter, StorageError> {
        let bytes = layout.bytes().next_multiple_of(POOL_CLASS_BYTES);
        self.sweep();
        if !self.has_room(bytes) {
            return Err(StorageError::Full(Limit::BlockMemory {
                budget_bytes: self.budget_bytes,
            }));
        }
        // The smallest that fits, and not one that would waste more than half of itself.
        let best = (0..self.free.len())
            .filter(|&at| (bytes..=2 * bytes).contains(&self.free[at].bytes()))
            .filter(|&at| self.has_room(self.free[at].bytes()))
            .min_by_key(|&at| self.free[at].bytes());
        let memory = match best {
            Some(at) => {
                let memory = self.free.swap_remove(at);
                self.free_bytes -= memory.bytes();
                memory
            }
            None => Memory::new(bytes),
        };
        self.taken_bytes += memory.bytes();
        self.trim();
        Ok(BlockWriter::with_memory(layout, memory, first_offset))
    }

    /// Gives a block back: it is flushed, or its rows are void.
    pub fn give(&mut self, writer: BlockWriter) {
        let bytes = writer.shared().bytes();
        self.taken_bytes = self
            .taken_bytes
            .checked_sub(bytes)
            .expect("a block of this pool");
        match writer.into_memory() {
            Ok(memory) => self.keep(memory),
            Err(block) => {
                self.lingering_bytes += block.bytes();
                self.lingering.push(block);
            }
        }
        self.sweep();
        self.trim();
    }

    /// Takes `bytes` of the budget for something that is no block; whether there is room.
    #[must_use]
    pub fn reserve(&mut self, bytes: usize) -> bool {
        self.sweep();
        let room = self.has_room(bytes);
        if room {
            self.taken_bytes += bytes;
            self.trim();
        }
        room
    }

    /// Gives back what [`BlockPool::reserve`] took.
    ///
    /// # Panics
    /// On more than was taken.
    pub fn release(&mut self, bytes: usize) {
        let left = self.taken_bytes.checked_sub(bytes);
        self.taken_bytes = left.expect("what was reserved");
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.lingering.len() < POOL_LINGERING_MAX
            && self.taken_bytes + self.lingering_bytes + bytes <= self.budget_bytes
    }

    /// Bytes of blocks that are taken, and of what is reserved.
    #[must_use]
    pub fn taken_bytes(&self) -> usize {
        self.taken_bytes
    }

    /// Bytes that wait to be used again.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// Bytes of blocks given back that queries still held when it last looked.
    #[must_use]
    pub fn lingering_bytes(&self) -> usize {
        self.lingering_bytes
    }

    /// The budget.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// What one block asks for by its recent fills; only what a single message needs may be more.
    #[must_use]
    pub fn block_bytes_max(&self) -> u64 {
        self.budget_bytes as u64 / BLOCK_BUDGET_DIVISOR
    }

    /// Takes back what queries have let go of since.
    fn sweep(&mut self) {
        for block in std::mem::take(&mut self.lingering) {
            match reclaim(block) {
                Ok(memory) => {
                    self.lingering_bytes -= memory.bytes();
                    self.keep(memory);
                }
                Err(block) => self.lingering.push(block),
            }
        }
    }

    fn keep(&mut self, memory: Memory) {
        if self.free.len() < POOL_FREE_MAX {
            self.free_bytes += memory.bytes();
            self.free.push(memory);
        }
    }

    /// Free memory is the budget's too: what no longer fits beside the taken goes, oldest first.
    fn trim(&mut self) {
        let used_bytes = self.taken_bytes + self.lingering_bytes;
        while used_bytes + self.free_bytes > self.budget_bytes && !self.free.is_empty() {
            self.free_bytes -= self.free.remove(0).bytes();
        }
    }
}

/// What the recent fills of one leaf partition say about the size of its next block.
#[derive(Clone, Debug)]
pub struct Fills {
    schema: Arc<Schema>,
    rows: u32,
    /// Mean bytes of each string column, times 256, so that it moves smoothly in integers.
    means_256: Vec<u32>,
}

impl Fills {
    /// Nothing is known yet: the smallest block.
    #[must_use]
    pub fn new(schema: Arc<Schema>) -> Fills {
        let strings = schema
            .columns
            .iter()
            .filter(|c| c.physical == Physical::Utf8);
        Fills {
            rows: BLOCK_ROWS_MIN,
            means_256: strings
                .map(|_| BLOCK_STRING_MEAN_BYTES_FIRST * 256)
                .collect(),
            schema,
        }
    }

    /// Learns from a block that is about to be flushed: full of rows (or of strings) asks for twice as
    /// many next time; less than a quarter asks for half.
    pub fn learn(&mut self, block: &Block) {
        let mark = block.mark();
        let rows_max = block.layout().rows;
        // A block closes when it cannot take a whole step more: three quarters is as good as full.
        if mark.rows_end >= rows_max / 4 * 3 {
            self.rows = (rows_max * 2).clamp(BLOCK_ROWS_MIN, BLOCK_ROWS_MAX);
        } else if mark.rows_end < rows_max / 4 && rows_max <= self.rows {
            self.rows = (self.rows / 2).max(BLOCK_ROWS_MIN);
        }
        if mark.rows_end == 0 {
            return;
        }
        let strings = (0..self.schema.columns.len())
            .filter(|&column| self.schema.columns[column].physical == Physical::Utf8);
        for (mean_256, column) in self.means_256.iter_mut().zip(strings) {
            let bytes = block.column(column, mark).data.len() as u64;
            let now_256 = (bytes * 256 / u64::from(mark.rows_end)).min(u64::from(u32::MAX));
            // Up at once, down by a quarter: a region that is too small ends a step early.
            *mean_256 = u32::try_from(now_256.max((u64::from(*mean_256) * 3 + now_256) / 4))
                .unwrap_or(u32::MAX);
        }
    }

    /// The next block's layout: rows × recent mean × 1.25, the strings together at most
    /// `BLOCK_STRINGS_BYTES_MAX`. What the last blocks had no room for, `needed`, fits as well: while a
    /// block is full before it holds a row, the caller adds to the list.
    ///
    /// # Errors
    /// `Full(Value)`: no block can hold `needed`.
    pub fn layout(&self, needed: &[BlockFull]) -> Result<BlockLayout, StorageError> {
        self.layout_within(needed, BLOCK_POOLED_BYTES_MAX)
    }

    /// The same for a small pool: recent fills ask for at most `bytes_max`; only what is `needed` may
    /// take more.
    ///
    /// # Errors
    /// As there.
    pub fn layout_within(
        &self,
        needed: &[BlockFull],
        bytes_max: u64,
    ) -> Result<BlockLayout, StorageError> {
        let bytes_max = bytes_max.min(BLOCK_POOLED_BYTES_MAX);
        let rows_needed = needed
            .iter()
            .filter(|full| full.region == BlockRegion::Rows);
        let rows_needed = rows_needed.map(|full| full.needed).max().unwrap_or(0);
        if rows_needed > BLOCK_ROWS_MAX {
            return Err(too_large(rows_needed, BLOCK_ROWS_MAX));
        }
        let mut layout = self.of_rows(self.rows);
        while layout.bytes_wanted() > bytes_max && layout.rows > BLOCK_ROWS_MIN {
            layout = self.of_rows(layout.rows / 2);
        }
        if rows_needed > layout.rows {
            layout = self.of_rows(rows_needed.next_power_of_two());
        }
        while layout.bytes_wanted() > bytes_max
            && layout
                .string_bytes
                .iter()
                .any(|&bytes| bytes > BLOCK_STRING_REGION_BYTES_MIN)
        {
            // A few long values: their mean would ask for more than there is.
            for bytes in &mut layout.string_bytes {
                *bytes = (*bytes / 2).max(BLOCK_STRING_REGION_BYTES_MIN);
            }
        }
        for full in needed {
            if full.region != BlockRegion::Rows && full.needed > BLOCK_REGION_BYTES_MAX {
                return Err(too_large(full.needed, BLOCK_REGION_BYTES_MAX));
            }
            match full.region {
                BlockRegion::Rows => {}
                BlockRegion::Rejects => {
                    layout.rejects_bytes = layout.rejects_bytes.max(full.needed);
                }
                BlockRegion::Strings(column) => {
                    let before = &self.schema.columns[..column as usize];
                    let index = before
                        .iter()
                        .filter(|c| c.physical == Physical::Utf8)
                        .count();
                    layout.string_bytes[index] = layout.string_bytes[index].max(full.needed);
                }
            }
        }
        let bytes = layout.bytes_wanted();
        if bytes > BLOCK_BYTES_MAX as u64 {
            return Err(StorageError::Full(Limit::Value {
                bytes,
                max_bytes: BLOCK_BYTES_MAX as u64,
            }));
        }
        Ok(layout)
    }

    fn of_rows(&self, rows: u32) -> BlockLayout {
        let region = |mean_256: &u32| {
            let bytes = u64::from(rows) * u64::from(*mean_256) / 256 * 5 / 4;
            bytes.max(u64::from(BLOCK_STRING_REGION_BYTES_MIN))
        };
        let wanted: Vec<u64> = self.means_256.iter().map(region).collect();
        let sum: u64 = wanted.iter().sum();
        let max = u64::from(BLOCK_STRINGS_BYTES_MAX);
        let shrunk = |bytes: &u64| if sum > max { bytes * max / sum } else { *bytes };
        BlockLayout {
            schema: Arc::clone(&self.schema),
            rows,
            string_bytes: wanted.iter().map(|bytes| shrunk(bytes) as u32).collect(),
            rejects_bytes: BLOCK_REJECTS_BYTES,
        }
    }
}

fn too_large(needed: u32, max: u32) -> StorageError {
    StorageError::Full(Limit::Value {
        bytes: u64::from(needed),
        max_bytes: u64::from(max),
    })
}

#[cfg(test)]
mod tests;
