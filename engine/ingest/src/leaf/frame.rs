//! One fetch response in memory: received into one region, read and loaded while it arrives.
//!
//! The region is handed out again and again. For each partition in it stands how far its record
//! batches have arrived whole and how far they are loaded; nothing is kept for a single batch.
//!
//! Invariant: for each entry `next <= whole <= the region's filled length`.

use storage::ids::Offset;

use super::event::Slot;
use super::lane::Asked;
use crate::kafka::fetch::{CurrentLeader, FrameEvent, FrameFault, FrameReader, frame_size_bytes};
use crate::kafka::{AbortedFilter, BatchFault, BatchHeader, ErrorCode};
use crate::limits;

/// The four bytes of length before a frame.
pub const LENGTH_BYTES: usize = 4;
/// What a region of the usual size holds.
pub const REGION_BYTES: usize =
    limits::FETCH_RESPONSE_BYTES_MAX + limits::FRAME_OVERHEAD_BYTES + LENGTH_BYTES;

/// One partition of the response.
#[derive(Debug)]
pub struct Entry {
    /// What was asked.
    pub asked: Asked,
    /// Which of its batches are aborted.
    pub filter: AbortedFilter,
    /// The next record batch to load begins here.
    pub next: usize,
    /// As far as its record batches have arrived whole.
    pub whole: usize,
    /// Its records have arrived.
    pub arrived: bool,
    /// Its records are not for us: the fetch has passed.
    pub void: bool,
    /// The broker's word on it.
    pub error: ErrorCode,
    /// Where its records break off, with the reason; met when all before is loaded.
    pub spoiled: Option<BatchFault>,
    /// A record batch of it has begun.
    pub begun: bool,
    /// The answer has no byte of records for it.
    pub empty: bool,
    /// By the answer itself no record batch reaches beyond it.
    pub log_end: Offset,
    /// The next record batch begins here or later; the first may begin before it and ends behind it.
    pub expected: Offset,
}

impl Entry {
    /// A record batch begins at byte `start` of the frame; one whose offsets cannot be spoils the rest.
    ///
    /// Its base offset is not under its checksum: what it leaves out would be counted as a gap. Within
    /// the log a gap is compaction's; beyond its end there is none, and nothing ever comes twice.
    pub fn batch_begins(&mut self, start: usize, header: &BatchHeader) {
        let first = !std::mem::replace(&mut self.begun, true);
        if first {
            self.next = start;
            self.whole = start;
        }
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        let follows = match first {
            true => header.next_offset() > self.expected,
            false => base_offset >= self.expected,
        };
        if !follows {
            self.spoiled.get_or_insert(BatchFault::OutOfOrder {
                base_offset,
                last_offset,
                expected: self.expected,
            });
        } else if header.next_offset() > self.log_end {
            self.spoiled.get_or_insert(BatchFault::BeyondLog {
                base_offset,
                last_offset,
                log_end: self.log_end,
            });
        }
        self.expected = header.next_offset();
    }

    /// Whether a record batch waits.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.void && self.next < self.whole
    }

    /// Whether nothing will come of it any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.void || (self.arrived && self.next == self.whole && self.spoiled.is_none())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Frame {
    region: Vec<u8>,
    filled: usize,
    /// With its length bytes; none before these are there.
    size: Option<usize>,
    /// Reads it; none before its length is there.
    pub reader: Option<FrameReader>,
    /// Its partitions, in the response's order.
    pub entries: Vec<Entry>,
    /// It is a session's: a partition that it does not name is unchanged.
    pub changes: bool,
    /// No further partition will be named in it.
    pub all_named: bool,
    /// No further record batch will begin in it.
    pub headers_in: bool,
    /// Read to its end.
    pub ended: bool,
    /// Records in it, by the batches' headers.
    pub records: u64,
    /// Where a turn begins to look for work.
    pub turn: usize,
    /// The broker held back: what is not in it says nothing.
    pub throttled: bool,
    /// Who leads now, of partitions that said "not I".
    pub moved: Vec<(Slot, CurrentLeader)>,
    /// The brokers' addresses that it named.
    pub endpoints: Vec<(i32, String, u16)>,
}

impl Frame {
    /// A frame over a region.
    #[must_use]
    pub fn new(region: Vec<u8>) -> Frame {
        Frame {
            region,
            filled: 0,
            size: None,
            reader: None,
            entries: Vec::new(),
            changes: false,
            all_named: false,
            headers_in: false,
            ended: false,
            records: 0,
            turn: 0,
            throttled: false,
            moved: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    /// The region, for the next frame.
    #[must_use]
    pub fn into_region(self) -> Vec<u8> {
        self.region
    }

    /// What has arrived of it, without the length bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let end = self.size.map_or(self.filled, |size| size.min(self.filled));
        self.region.get(LENGTH_BYTES..end).unwrap_or_default()
    }

    /// One whole record batch and the filter to judge it by.
    ///
    /// # Panics
    /// Where none waits.
    #[must_use]
    pub fn batch(&mut self, entry: usize) -> (&[u8], &mut AbortedFilter) {
        let entry = &mut self.entries[entry];
        assert!(entry.waits());
        let from = LENGTH_BYTES + entry.next;
        let to = LENGTH_BYTES + entry.whole;
        (&self.region[from..to], &mut entry.filter)
    }

    /// Where to receive into; empty when the frame has all it may hold.
    #[must_use]
    pub fn space(&mut self) -> &mut [u8] {
        if self.ended || self.is_whole() {
            return &mut [];
        }
        let end = self
            .region
            .len()
            .min(self.filled.saturating_add(limits::RECEIVE_BYTES));
        &mut self.region[self.filled..end]
    }

    /// Whether all of it has been received.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.size.is_some_and(|size| self.filled >= size)
    }

    /// So many bytes were received. `Ok(Some(size))` when its length is new.
    ///
    /// # Errors
    /// A length that no frame has.
    pub fn received(&mut self, bytes: usize) -> Result<Option<usize>, FrameFault> {
        self.filled += bytes;
        assert!(self.filled <= self.region.len());
        if self.size.is_some() {
            return Ok(None);
        }
        let Some(&[a, b, c, d]) = self.region[..self.filled].first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let size = frame_size_bytes([a, b, c, d])? + LENGTH_BYTES;
        self.size = Some(size);
        Ok(Some(size))
    }

    /// Its size with the length bytes, once known.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        self.size
    }

    /// What was received beyond its end: the next response's first bytes.
    #[must_use]
    pub fn excess(&self) -> &[u8] {
        match self.size {
            Some(size) if self.filled > size => &self.region[size..self.filled],
            _ => &[],
        }
    }

    /// Whether the region can hold all of it.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.size.is_none_or(|size| size <= self.region.len())
    }

    /// Moves to a larger region; the old one comes back.
    #[must_use]
    pub fn grow(&mut self, mut region: Vec<u8>) -> Vec<u8> {
        assert!(region.len() >= self.filled);
        region[..self.filled].copy_from_slice(&self.region[..self.filled]);
        std::mem::replace(&mut self.region, region)
    }

    /// Whether no byte more fits the region.
    #[must_use]
    pub fn is_region_full(&self) -> bool {
        self.filled == self.region.len()
    }

    /// Whether there is no record in it though there was room: the broker was not held back by anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.throttled && self.entries.iter().all(|entry| entry.empty)
    }

    /// The partitions that it names without an error, each with the log's end.
    pub fn named(&self) -> impl Iterator<Item = (Asked, Offset)> {
        let said = |entry: &&Entry| !entry.void && !entry.error.is_error();
        let said = self.entries.iter().filter(said);
        said.map(|entry| (entry.asked, entry.log_end))
    }

    /// Whether the address of a broker is asked for and not here yet: a partition moved to it.
    #[must_use]
    pub fn wants_endpoint(&self, node_id: i32) -> bool {
        (self.moved.iter()).any(|(_, leader)| leader.leader_id == node_id)
            && self.endpoints.iter().all(|(node, ..)| *node != node_id)
    }

    /// Whether nothing of it will be loaded any more and all of it was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && self.entries.iter().all(Entry::is_done)
    }

    /// The next event in what has arrived; none before the length is there.
    ///
    /// # Errors
    /// The response cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<FrameEvent>, FrameFault> {
        let end = self.size.map_or(self.filled, |size| size.min(self.filled));
        let bytes = self.region.get(LENGTH_BYTES..end).unwrap_or_default();
        match &mut self.reader {
            Some(reader) => reader.next(bytes),
            None => Ok(None),
        }
    }
}

/// The leaf's regions: as many of the usual size as its budget holds, and one of any size.
#[derive(Debug)]
pub struct Regions {
    free: Vec<Vec<u8>>,
    taken: usize,
    taken_max: usize,
    oversize_taken: bool,
}

impl Regions {
    /// As many as fit `bytes`, two at least: one to load and one on its way.
    #[must_use]
    pub fn new(bytes: u64) -> Regions {
        let taken_max = usize::try_from(bytes / REGION_BYTES as u64).unwrap_or(usize::MAX);
        Regions {
            free: Vec::new(),
            taken: 0,
            taken_max: taken_max.max(limits::FRAMES_PER_LANE_MAX),
            oversize_taken: false,
        }
    }

    /// Whether one is to be had.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.taken < self.taken_max
    }

    /// One of the usual size.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if !self.has_room() {
            return None;
        }
        self.taken += 1;
        Some(self.free.pop().unwrap_or_else(|| vec![0; REGION_BYTES]))
    }

    /// The one of any size, when it is free.
    pub fn take_oversize(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.oversize_taken {
            return None;
        }
        self.oversize_taken = true;
        Some(vec![0; bytes])
    }

    /// Gives one back.
    pub fn give(&mut self, region: Vec<u8>) {
        if region.len() == REGION_BYTES {
            self.taken -= 1;
            if self.free.len() < limits::REGIONS_FREE_MAX {
                self.free.push(region);
            }
        } else {
            self.oversize_taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of ten bytes behind its length, of which so many have arrived in a region of so many.
    fn arrived(bytes: usize, region_bytes: usize) -> Frame {
        let mut region = vec![7; region_bytes];
        region[..LENGTH_BYTES].copy_from_slice(&10_i32.to_be_bytes());
        let mut frame = Frame::new(region);
        frame.received(bytes).expect("a length that a frame has");
        frame
    }

    #[test]
    fn a_frame_takes_what_is_its_own_and_what_came_beyond_it_is_the_next_ones() {
        const WHOLE: usize = LENGTH_BYTES + 10;
        for (bytes, space_bytes, is_whole, excess) in [
            (3, 17, false, &[][..]),
            (WHOLE - 1, 7, false, &[]),
            (WHOLE, 0, true, &[]),
            (WHOLE + 2, 0, true, &[7, 7]),
        ] {
            let mut frame = arrived(bytes, 20);
            assert_eq!(frame.excess(), excess, "{bytes}");
            assert_eq!(frame.space().len(), space_bytes, "{bytes}");
            assert_eq!(frame.is_whole(), is_whole, "{bytes}");
            assert!(!frame.is_region_full() && frame.fits(), "{bytes}");
        }
        let mut full = arrived(8, 8);
        assert!(full.is_region_full() && !full.fits());
        assert_eq!(full.space().len(), 0);
    }

    #[test]
    fn the_address_of_a_broker_is_kept_once_and_only_where_a_partition_moved_to_it() {
        let mut frame = arrived(0, 20);
        assert!(!frame.wants_endpoint(2), "nobody moved");
        let slot = Slot { index: 0, turn: 1 };
        for leader_id in [2, 3] {
            let leader = CurrentLeader {
                leader_id,
                leader_epoch: 5,
            };
            frame.moved.push((slot, leader));
        }
        let wants = |frame: &Frame| [1, 2, 3].map(|id| frame.wants_endpoint(id));
        assert_eq!(wants(&frame), [false, true, true]);
        frame.endpoints.push((2, "two".to_owned(), 9_092));
        assert_eq!(wants(&frame), [false, false, true]);
        frame.endpoints.push((3, "three".to_owned(), 9_092));
        assert_eq!(wants(&frame), [false; 3]);
    }

    #[test]
    fn regions_that_are_given_back_are_kept_up_to_a_bound() {
        let mut regions = Regions::new(u64::MAX);
        let taken: Vec<Vec<u8>> = (0..limits::REGIONS_FREE_MAX + 2)
            .filter_map(|_| regions.take())
            .collect();
        for (given, region) in (1..).zip(taken) {
            regions.give(region);
            assert_eq!(regions.free.len(), limits::REGIONS_FREE_MAX.min(given));
        }
        assert_eq!(regions.taken, 0);
    }
}
