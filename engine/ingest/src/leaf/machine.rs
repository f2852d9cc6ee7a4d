//! The leaf as one pure machine: events in, effects out; no clock, no I/O, no await.
//!
//! It owns its leaf partitions ([`super::partition`]), its lanes ([`super::lane`]) and what they share:
//! blocks, regions for responses, the decompressor. Orders and the store's words are in `ordering`,
//! connections and responses in `fetching`, record batches in `loading`; here stand events, time, and
//! the end.
//!
//! Whoever drives it: `on` for each event; then `turn` until it says there is nothing to load; `space`
//! wherever a connection may be read; `deadline_us` to know when to send `Tick`; `reports` at any time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::pool::BlockPool;
use storage::segment::Bell;
use storage::store::{Blocked, StoreEffects, StoreEvent, StoreSettings, SyncGate};

use super::config::LeafConfig;
use super::event::{Effect, Effects, Event, Now, Slot};
use super::fetching::LaneRun;
use super::frame::Regions;
use super::order::{Order, Report};
use super::partition::{Fetch, Partition, Phase, Question};
use super::reports::Reports;
use super::rows::{Row, RowCounts};
use super::views::{Freshness, LeafGauges, Views};
use crate::kafka::Decompressor;
use crate::limits;

/// See the module.
pub struct Leaf {
    pub(super) config: LeafConfig,
    /// Of its stores, but for what a pipeline and the configuration say.
    pub(super) stores: StoreSettings,
    pub(super) views: Arc<Views>,
    pub(super) gauges: Arc<LeafGauges>,
    pub(super) partitions: Vec<Option<Partition>>,
    pub(super) slot_turns: Vec<u32>,
    pub(super) by_id: HashMap<u64, Slot>,
    pub(super) lanes: Vec<LaneRun>,
    pub(super) attempts: u64,
    /// The lane that is looked at first.
    pub(super) lane_first: usize,
    /// A lane lacked a region when they were last looked at: the others hold theirs for a short while.
    pub(super) lanes_lack: bool,
    /// A partition found no lane, and waits for one that closes.
    pub(super) lanes_full: bool,
    pub(super) pool: BlockPool,
    pub(super) regions: Regions,
    pub(super) inflate: Decompressor,
    /// What record batches may take that are unpacked and not loaded yet, beside a large one.
    pub(super) unpacked_bytes_max: usize,
    pub(super) syncs: SyncGate,
    pub(super) store_out: StoreEffects,
    pub(super) reports: Reports,
    pub(super) asked_topics: HashMap<String, u64>,
    pub(super) freshness: Freshness,
    /// What the last turn made visible: timestamps and rows, recorded by the next clock that is read.
    pub(super) fresh: Vec<(i64, u64)>,
    pub(super) rows: RowCounts,
    pub(super) turn_lane: usize,
    /// Blocks came back to the pool: whoever waits for one may try again.
    pub(super) room: bool,
    /// When blocks were last looked for.
    looked_us: u64,
    /// Wakes it when a query meets damage.
    pub(super) bell: Option<Bell>,
    /// Since when nothing can be committed because the disk is full.
    pub(super) disk_full_us: Option<u64>,
    ending: bool,
    ended: bool,
    pub(super) dirty: bool,
    pub(super) shown_us: u64,
    /// When time was last looked at: all that was due by then is done, or waits for an event.
    settled_us: u64,
}

impl Leaf {
    /// A leaf without partitions. Its gauges stand in `views` from now on.
    #[must_use]
    pub fn new(config: LeafConfig, views: Arc<Views>) -> Leaf {
        let gauges = Arc::new(LeafGauges::new(config.index, config.cpu));
        views.insert_leaf(Arc::clone(&gauges));
        let unpacked_bytes = config.memory_bytes / limits::UNPACKED_SHARE_DIVISOR;
        let frames_bytes = config.memory_bytes / limits::FRAMES_SHARE_DIVISOR;
        let blocks_bytes = config.memory_bytes - frames_bytes;
        Leaf {
            pool: BlockPool::new(usize::try_from(blocks_bytes).unwrap_or(usize::MAX)),
            regions: Regions::new(frames_bytes - unpacked_bytes),
            unpacked_bytes_max: usize::try_from(unpacked_bytes).unwrap_or(usize::MAX),
            inflate: Decompressor::new(limits::DECOMPRESSED_BYTES_MAX),
            config,
            stores: StoreSettings::default(),
            views,
            gauges,
            partitions: Vec::new(),
            slot_turns: Vec::new(),
            by_id: HashMap::new(),
            lanes: Vec::new(),
            attempts: 0,
            lane_first: 0,
            lanes_lack: false,
            lanes_full: false,
            syncs: SyncGate::default(),
            store_out: StoreEffects::new(),
            reports: Reports::default(),
            asked_topics: HashMap::new(),
            freshness: Freshness::default(),
            fresh: Vec::new(),
            rows: RowCounts::default(),
            turn_lane: 0,
            room: false,
            looked_us: 0,
            bell: None,
            disk_full_us: None,
            ending: false,
            ended: false,
            dirty: true,
            shown_us: 0,
            settled_us: 0,
        }
    }

    /// Other bounds of segments and merges than the limits': small ones, so that a test seals and merges.
    /// For the leaf partitions that are attached from now on.
    pub fn set_stores(&mut self, stores: StoreSettings) {
        self.stores = stores;
    }

    /// What a query rings when it meets damage, from its own thread: then `Tick` is due, though nothing
    /// else may be. For the leaf partitions that are attached from now on.
    pub fn set_bell(&mut self, bell: Bell) {
        self.bell = Some(bell);
    }

    /// Something happened. Effects are appended to `out`, in the order in which to perform them.
    pub fn on(&mut self, now: Now, event: Event, out: &mut Effects) {
        self.gauges.turns.fetch_add(1, Ordering::Relaxed);
        self.record_freshness(now);
        self.dirty = true;
        match event {
            Event::Order(Order::Shutdown) => self.end(now, out),
            Event::Order(order) => self.order(now, order, out),
            Event::Connected(connection) => self.connected(now, connection, out),
            Event::Lost(connection, why) => self.lost(now, connection, why, out),
            Event::Received(connection, bytes) => self.received(now, connection, bytes, out),
            Event::Disk(slot, done) => {
                self.store(now, slot, StoreEvent::Done(Box::new(done)), out);
            }
            Event::Tick => {}
        }
        self.settle(now, out);
    }

    /// Loads one turn's worth of records, if any waits; whether there may be more.
    pub fn turn(&mut self, now: Now, out: &mut Effects) -> bool {
        self.record_freshness(now);
        let loaded = self.load_turn(now, out);
        if loaded {
            self.dirty = true;
            self.settle(now, out);
        }
        loaded
    }

    /// Reports that wait, in order; `take` gives back what it cannot take now.
    pub fn reports(&mut self, take: impl FnMut(Report) -> Result<(), Report>) {
        self.reports.drain(take);
    }

    /// Whether a report waits.
    #[must_use]
    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// How often each row of the state table was taken.
    #[must_use]
    pub fn rows(&self) -> &RowCounts {
        &self.rows
    }

    /// Record batches that were unpacked so far.
    #[must_use]
    pub fn unpackings(&self) -> u64 {
        self.inflate.unpackings()
    }

    /// A leaf partition, for tests and gauges.
    #[must_use]
    pub fn partition(&self, leaf_partition: u64) -> Option<&Partition> {
        self.get(*self.by_id.get(&leaf_partition)?)
    }

    /// When `Tick` is due, by the monotonic clock; `None`: nothing happens without an event. Counted from
    /// the last event and not from now: what became due since then would be taken for what was due then
    /// and waits for an event, and would wait for one too.
    #[must_use]
    pub fn deadline_us(&self) -> Option<u64> {
        if self.ended {
            return None;
        }
        let mut deadline: Option<u64> = None;
        let mut at = |us: Option<u64>| {
            if let Some(us) = us {
                deadline = Some(deadline.map_or(us, |first| first.min(us)));
            }
        };
        for partition in self.partitions.iter().flatten() {
            // What is overdue waits for an event, not for time: a sync for the gate, say.
            let due_us = partition.store.next_deadline_ms().map(|ms| ms * 1_000);
            at(due_us.filter(|&due_us| due_us > self.settled_us));
            at(self.partition_deadline_us(partition));
            // Nothing more was heard since: what is shown has to be thought over.
            at(partition
                .shown_until_us
                .map(|until_us| until_us.max(self.show_due_us())));
        }
        for lane in 0..self.lanes.len() {
            at(self.lane_deadline_us(self.settled_us, lane));
        }
        at(self.freshness.due_ms().map(|ms| ms * 1_000));
        at(self.waits_for_memory().then(|| self.look_due_us()));
        at(self.dirty.then(|| self.show_due_us()));
        deadline
    }

    /// Whether the leaf has ended: everything is durable and nothing is on its way.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Partition> {
        self.partitions
            .get(slot.index as usize)?
            .as_ref()
            .filter(|partition| partition.slot == slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Partition> {
        self.partitions
            .get_mut(slot.index as usize)?
            .as_mut()
            .filter(|partition| partition.slot == slot)
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        let slots = self.partitions.iter().flatten();
        slots.map(|partition| partition.slot).collect()
    }

    pub(super) fn count(&mut self, row: Row) {
        self.rows.count(row);
    }

    /// What time and the last event made due.
    fn settle(&mut self, now: Now, out: &mut Effects) {
        self.settled_us = now.us;
        for index in 0..self.partitions.len() {
            let Some(partition) = &mut self.partitions[index] else {
                continue;
            };
            let slot = partition.slot;
            partition
                .store
                .set_resting(partition.phase != Phase::Running);
            let due = partition.store.next_deadline_ms();
            if due.is_some_and(|due| due <= now.ms()) || partition.store.is_alarmed() {
                self.store(now, slot, StoreEvent::Tick, out);
            }
            self.partition_due(now, slot);
        }
        self.offer_room(now, out);
        self.start_syncs(now, out);
        self.run_lanes(now, out);
        self.freshness.show(now.ms(), &self.gauges);
        self.say_disk_full(now);
        self.say_no_room();
        self.show(now);
        self.end_if_done(now, out);
    }

    fn waits_for_memory(&self) -> bool {
        let mut partitions = self.partitions.iter().flatten();
        partitions.any(|partition| partition.store.waits_for_memory())
    }

    fn look_due_us(&self) -> u64 {
        self.looked_us + limits::MEMORY_AGAIN_MS * 1_000
    }

    /// Blocks came back, or a query may have let one go: stores that wait for one try again.
    fn offer_room(&mut self, now: Now, out: &mut Effects) {
        if !std::mem::take(&mut self.room) {
            if self.look_due_us() > now.us || !self.waits_for_memory() {
                return;
            }
            self.looked_us = now.us;
        }
        for slot in self.slots() {
            let blocked = self
                .get(slot)
                .and_then(|partition| partition.store.blocked());
            // One that drains may still have an error to write down, and no block for it.
            if matches!(blocked, Some(Blocked::Memory | Blocked::Draining)) {
                self.store(now, slot, StoreEvent::Room, out);
            }
        }
        self.room = false;
    }

    /// A hold is over, a question has to be asked again.
    fn partition_due(&mut self, now: Now, slot: Slot) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if partition.phase != Phase::Running {
            return;
        }
        match partition.fetch {
            Fetch::Held { until_us, .. } if until_us <= now.us => {
                partition.fetch = Fetch::Queued;
                self.locate(now, slot);
            }
            Fetch::Locating(_) => self.locate(now, slot),
            _ => {}
        }
    }

    fn partition_deadline_us(&self, partition: &Partition) -> Option<u64> {
        if partition.phase != Phase::Running {
            return None;
        }
        match partition.fetch {
            Fetch::Held { until_us, .. } => Some(until_us),
            // Asked once they are loaded: not a matter of time.
            Fetch::Locating(Question::Range) if self.holds_records(partition.slot) => None,
            Fetch::Locating(_) => Some(self.ask_due_us(partition)),
            _ => None,
        }
    }

    fn record_freshness(&mut self, now: Now) {
        for (timestamp_ms, rows) in self.fresh.drain(..) {
            self.freshness.record(now.unix_us, timestamp_ms, rows);
        }
    }

    /// Order Shutdown: drain everything.
    fn end(&mut self, now: Now, out: &mut Effects) {
        self.ending = true;
        for slot in self.slots() {
            self.begin_end(now, slot, out);
        }
    }

    fn end_if_done(&mut self, now: Now, out: &mut Effects) {
        if !self.ending || self.ended {
            return;
        }
        let done =
            |partition: &Partition| !matches!(partition.phase, Phase::Opening | Phase::Draining);
        if !self.partitions.iter().flatten().all(done) {
            return;
        }
        self.show_all(now);
        self.close_lanes(out);
        self.ended = true;
        self.reports.push(Report::Ended);
        out.push(Effect::End);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }
}
