//! Record batches that are unpacked and not loaded yet: what the leaf may keep of them.
//!
//! A compressed record batch of more than a turn keeps what it unpacked to while its neighbours have
//! their turns, so that it is unpacked once and not for each turn. That is the leaf's memory: a share of
//! it for small ones, and one of any size beside them, as with responses. Whoever finds neither gives
//! back what it unpacked and waits until there is; those that have it go on meanwhile, and it goes back
//! with the last record, or with the fetch that it came in.
//!
//! Invariant: what is kept is at most the share, and one of at most `DECOMPRESSED_BYTES_MAX`.

use super::event::Slot;
use super::load::OpenBatch;
use super::machine::Leaf;
use super::partition::Partition;

/// Where what was unpacked is kept.
enum Room {
    /// In the share.
    Share,
    /// As the one of any size.
    Large,
    /// Nowhere.
    None,
}

impl Leaf {
    /// A step ended within a record batch: what it unpacked to is kept, or given back.
    pub(super) fn keep_unpacked(&mut self, slot: Slot) {
        let Some(partition) = self.get(slot) else {
            return;
        };
        let bytes = partition.open.as_ref().map_or(0, OpenBatch::unpacked_bytes);
        if bytes == 0 {
            return;
        }
        let room = self.room_to_unpack(slot, bytes);
        let Leaf {
            partitions,
            inflate,
            ..
        } = self;
        let Some(partition) = partitions[slot.index as usize].as_mut() else {
            return;
        };
        partition.open_is_large = matches!(room, Room::Large);
        if let Room::None = room {
            partition.waits_to_unpack = Some(bytes);
            let unpacked = partition.open.take().and_then(OpenBatch::into_unpacked);
            if let Some(unpacked) = unpacked {
                inflate.give(unpacked);
            }
        } else if let Some(open) = &mut partition.open {
            open.fit(inflate);
        }
    }

    /// Whether a partition may unpack its record batch now.
    pub(super) fn may_unpack(&mut self, slot: Slot) -> bool {
        let waits = self.get(slot).and_then(|one| one.waits_to_unpack);
        let Some(bytes) = waits else {
            return true;
        };
        if matches!(self.room_to_unpack(slot, bytes), Room::None) {
            return false;
        }
        if let Some(partition) = self.get_mut(slot) {
            partition.waits_to_unpack = None;
        }
        true
    }

    fn room_to_unpack(&self, slot: Slot, bytes: usize) -> Room {
        let others = || {
            let partitions = self.partitions.iter().flatten();
            partitions.filter(|other| other.slot != slot)
        };
        let in_share: usize = others()
            .filter(|other| !other.open_is_large)
            .filter_map(|other| other.open.as_ref())
            .map(OpenBatch::unpacked_bytes)
            .sum();
        if in_share + bytes <= self.unpacked_bytes_max {
            Room::Share
        } else if others().any(Partition::has_large_batch) {
            Room::None
        } else {
            Room::Large
        }
    }

    /// Whoever has the memory for one of any size.
    pub(super) fn large_batch(&self) -> Option<&Partition> {
        let mut partitions = self.partitions.iter().flatten();
        partitions.find(|partition| partition.has_large_batch())
    }
}

impl Partition {
    fn has_large_batch(&self) -> bool {
        self.open_is_large
            && self
                .open
                .as_ref()
                .is_some_and(|open| open.memory_bytes() > 0)
    }
}
