//! A message that the block in hand has no room for: the next one has, or none can have.
//!
//! A larger value gets a block of its own, so long as two such blocks fit the leaf's memory: one that is
//! filled and one that is flushed. Beyond that the partition fails and names the message; it never
//! waits for memory that cannot come.

use storage::block::{BlockFull, BlockRegion};
use storage::error::{Limit, StorageError};
use storage::schema::Physical;

use super::event::{Effects, Now, Slot};
use super::machine::Leaf;
use super::order::FailureKind;
use super::ordering::failure;
use crate::pipeline::BlockNeed;

impl Leaf {
    /// The block has no room for the next message: the next one has.
    pub(super) fn block_full(
        &mut self,
        now: Now,
        slot: Slot,
        full: &[BlockFull],
        out: &mut Effects,
    ) {
        let mut said = std::mem::take(&mut self.store_out);
        if let Some(partition) = self.get_mut(slot) {
            for &full in full {
                partition.store.block_full(now.ms(), full, &mut said);
            }
        }
        self.hear(now, slot, said, out);
    }

    /// A message needs a block of its own, or more than there can be.
    pub(super) fn block_too_small(
        &mut self,
        now: Now,
        slot: Slot,
        need: &BlockNeed,
        out: &mut Effects,
    ) {
        let budget = self.pool.budget_bytes() as u64 / 2;
        let Some(partition) = self.partitions[slot.index as usize].as_ref() else {
            return;
        };
        let full = lacking(
            partition.store.schema().columns.iter().map(|c| c.physical),
            need,
        );
        let (bytes, bytes_max) = match partition.store.block_bytes(&full, &self.pool) {
            Ok(bytes) if bytes <= budget => return self.block_full(now, slot, &full, out),
            Ok(bytes) => (bytes, budget),
            Err(StorageError::Full(Limit::Value { bytes, max_bytes })) => (bytes, max_bytes),
            Err(_) => (u64::MAX, budget),
        };
        let text = format!(
            "topic '{}' partition {} offset {}: the message needs {bytes} bytes of a block, more than the \
             {bytes_max} there are: raise [memory] leaf_bytes, or ALTER PIPELINE ... SET OFFSETS past it",
            partition.pairing.topic, partition.pairing.kafka_partition, need.offset.0,
        );
        let failure = failure(FailureKind::Load, need.offset.0, text, true);
        self.fail(now, slot, failure, out);
    }
}

/// What a block must have for one message, region by region.
fn lacking(columns: impl Iterator<Item = Physical>, need: &BlockNeed) -> Vec<BlockFull> {
    let bytes = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let strings = columns
        .enumerate()
        .filter(|(_, physical)| *physical == Physical::Utf8);
    let mut full: Vec<BlockFull> = strings
        .zip(&need.string_bytes)
        .filter(|(_, needed)| **needed > 0)
        .map(|((index, _), &needed)| BlockFull {
            region: BlockRegion::Strings(u32::try_from(index).unwrap_or(u32::MAX)),
            needed: bytes(needed),
        })
        .collect();
    full.push(BlockFull {
        region: BlockRegion::Rows,
        needed: need.rows.max(1),
    });
    full.push(BlockFull {
        region: BlockRegion::Rejects,
        needed: bytes(need.reject_bytes),
    });
    full
}
