//! Lanes: which one each partition uses, and what is in memory of each.
//!
//! A lane is a broker's address and what a request fixes for all of its partitions (isolation and
//! client id). Two leaf partitions of the same Kafka partition go on lanes of their own: a request names
//! a Kafka partition once; one of the same name in another topic's place is the same to a broker of old.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::event::{Connection, Effect, Effects, Now, Slot};
use super::frame::{Frame, Regions};
use super::lane::{Lane, State};
use super::machine::Leaf;
use super::order::{FailureKind, Pairing};
use super::ordering::failure;
use super::partition::Partition;
use super::rows::Row;
use crate::kafka::requests;
use crate::limits;

/// What tells lanes apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneKey {
    /// The broker's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `isolation.level`.
    pub read_committed: bool,
    /// `client.id`.
    pub client_id: String,
    /// The generation of a FOREGROUND run; 0 for all that run on. That the broker has nothing for it is told by
    /// whole answers without a record, and others' records would hide it.
    pub foreground: u64,
    /// Which of the lanes that differ in nothing else.
    pub copy: u32,
}

/// A lane with its responses.
pub struct LaneRun {
    /// What it is.
    pub key: LaneKey,
    /// The connection's machine.
    pub lane: Lane,
    /// Responses, oldest first; the last may still be arriving.
    pub frames: VecDeque<Frame>,
    /// Regions reserved for what is open.
    pub reserved: VecDeque<Vec<u8>>,
    /// ApiVersions' question and its answer as far as it is here.
    pub(super) hello: Option<(requests::Sent, Frame)>,
    /// A fetch would leave, and the leaf's memory for responses is in use.
    pub(super) no_region: bool,
    /// A partition is assigned to it.
    used: bool,
}

impl LaneRun {
    fn new(broker: i32, key: LaneKey) -> LaneRun {
        LaneRun {
            lane: Lane::new(broker, key.host.clone(), key.port),
            key,
            frames: VecDeque::new(),
            reserved: VecDeque::new(),
            hello: None,
            no_region: false,
            used: true,
        }
    }

    /// The response that is arriving.
    pub fn arriving(&mut self) -> Option<&mut Frame> {
        self.frames.back_mut().filter(|frame| !frame.ended)
    }

    pub(super) fn headers_in(&self) -> bool {
        let arriving = self.frames.back().filter(|frame| !frame.ended);
        arriving.is_some_and(|frame| frame.headers_in)
    }

    pub(super) fn has_frame_free(&self) -> bool {
        self.frames.len() + self.reserved.len() < limits::FRAMES_PER_LANE_MAX
    }

    /// Gives back what no partition waits for any more.
    fn release(&mut self, regions: &mut Regions) {
        while let Some(at) = self.frames.iter().position(Frame::is_done) {
            if let Some(frame) = self.frames.remove(at) {
                regions.give(frame.into_region());
            }
        }
    }

    /// Gives back everything.
    pub(super) fn clear(&mut self, regions: &mut Regions) {
        for frame in self.frames.drain(..) {
            regions.give(frame.into_region());
        }
        for region in self.reserved.drain(..) {
            regions.give(region);
        }
        self.hello = None;
    }
}

impl Leaf {
    /// Where to receive what the connection brings; empty when nothing is wanted of it now.
    pub fn space(&mut self, connection: Connection) -> &mut [u8] {
        let Some(run) = self.lanes.get_mut(connection.lane as usize) else {
            return &mut [];
        };
        if run.lane.attempt() != connection.attempt || run.lane.is_closed() {
            return &mut [];
        }
        if run.hello.is_none()
            && run.arriving().is_none()
            && let Some(region) = run.reserved.pop_front()
        {
            run.frames.push_back(Frame::new(region));
        }
        let LaneRun { hello, frames, .. } = run;
        let arriving = match hello {
            Some((_, hello)) => Some(hello),
            None => frames.back_mut().filter(|frame| !frame.ended),
        };
        arriving.map_or(&mut [], Frame::space)
    }

    /// Puts a partition on the lane to its leader. Where there are as many as may be it waits for one that closes; what
    /// somebody waits for in the foreground does so until the turn ends.
    pub(super) fn assign_lane(&mut self, slot: Slot) {
        let Some(partition) = self.get(slot) else {
            return;
        };
        let (Some(leader), Some(settings)) = (&partition.leader, &partition.settings) else {
            return;
        };
        let mut key = LaneKey {
            host: leader.host.clone(),
            port: leader.port,
            read_committed: settings.read_committed,
            client_id: settings.client_id.clone(),
            foreground: partition.foreground.map_or(0, |run| run.generation),
            copy: 0,
        };
        let same = |other: &Partition| {
            let (one, two): (&Pairing, &Pairing) = (&other.pairing, &partition.pairing);
            other.slot != slot
                && other.lane.is_some()
                && (&one.topic, one.kafka_partition) == (&two.topic, two.kafka_partition)
        };
        let taken: Vec<u32> = self
            .partitions
            .iter()
            .flatten()
            .filter(|other| same(other))
            .filter_map(|other| other.lane)
            .filter_map(|lane| self.lanes.get(lane as usize))
            .filter(|run| {
                LaneKey {
                    copy: 0,
                    ..run.key.clone()
                } == key
            })
            .map(|run| run.key.copy)
            .collect();
        key.copy = (0..).find(|copy| !taken.contains(copy)).unwrap_or(0);
        let broker = leader.broker;
        let found = self.lanes.iter().position(|run| run.used && run.key == key);
        let lane = match found.or_else(|| self.lanes.iter().position(|run| !run.used)) {
            Some(lane) => lane,
            None if self.lanes.len() < limits::LANES_MAX => {
                self.lanes.push(LaneRun::new(broker, key.clone()));
                self.lanes.len() - 1
            }
            None => return self.lack_lane(slot),
        };
        if self.lanes[lane].key != key || !self.lanes[lane].used {
            self.lanes[lane].clear(&mut self.regions);
            self.lanes[lane] = LaneRun::new(broker, key);
        }
        self.lanes[lane].lane.broker = broker;
        let lane = u32::try_from(lane).ok();
        let moved = |partition: &Partition| partition.lane.is_some() && partition.lane != lane;
        let moved = self.get(slot).is_some_and(moved);
        if moved {
            // The other lane may close with records of it, whose offsets would then pass for a gap.
            self.drop_frames_of(slot);
        }
        if let Some(partition) = self.get_mut(slot) {
            if moved {
                partition.void_fetch();
            }
            partition.lane = lane;
        }
    }

    fn lack_lane(&mut self, slot: Slot) {
        // Off the lane to another broker, as where it goes to one.
        self.drop_frames_of(slot);
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.void_fetch();
        partition.lane = None;
        self.lanes_full = true;
    }

    /// Who should be fetching and found no lane; first who does not wait for one for long.
    fn without_lane(&self) -> Vec<Slot> {
        let waits = |one: &&Partition| one.lane.is_none() && one.wants_fetch() && one.is_fetching();
        let mut waiting: Vec<&Partition> = self.partitions.iter().flatten().filter(waits).collect();
        waiting.sort_by_key(|one| one.foreground.is_none());
        waiting.iter().map(|one| one.slot).collect()
    }

    /// Lanes for those that found none, where some have closed. Who waits in the foreground and finds none now is
    /// refused.
    fn assign_waiting(&mut self, now: Now, out: &mut Effects) {
        if !self.lanes_full {
            return;
        }
        if self.lanes.iter().any(|run| !run.used) {
            self.lanes_full = false;
            for slot in self.without_lane() {
                self.assign_lane(slot);
            }
        }
        let in_foreground = self
            .partitions
            .iter()
            .flatten()
            .any(|one| one.foreground.is_some());
        let refused = if in_foreground {
            self.without_lane()
        } else {
            Vec::new()
        };
        for slot in refused {
            let foreground = |one: &Partition| one.foreground.is_some();
            if !self.get(slot).is_some_and(foreground) {
                return;
            }
            let text = format!(
                "START PIPELINE ... FOREGROUND takes a connection of its own, and this leaf has its {} to brokers \
                 already: start it in the background, or STOP a pipeline of other brokers first",
                limits::LANES_MAX
            );
            let why = failure(FailureKind::Extract, -1, text, false);
            self.fail(now, slot, why, out);
        }
    }

    /// Time, room and goals, for every lane: closes, connects, sends.
    ///
    /// What closes is taken in the same turn by who waits for a lane. A lane that found no region comes first the
    /// next time, before the one that gave one back: where lanes are more than regions they take turns.
    pub(super) fn run_lanes(&mut self, now: Now, out: &mut Effects) {
        self.lanes_lack = self.lanes.iter().any(|run| run.no_region);
        for index in 0..self.lanes.len() {
            let run = &mut self.lanes[index];
            run.no_region = false;
            run.release(&mut self.regions);
            if run.used && self.running_on(index).next().is_none() {
                self.close_lane(index, out);
            }
        }
        self.assign_waiting(now, out);
        let (first, lanes) = (self.lane_first, self.lanes.len());
        let mut lacking: Option<usize> = None;
        for index in (0..lanes).map(|ahead| (first + ahead) % lanes) {
            let running: Vec<Slot> = self.running_on(index).collect();
            if running.is_empty() {
                continue;
            }
            if let Some(what) = self.lanes[index].lane.overdue(now.us) {
                let connection = self.connection(index);
                out.push(Effect::Close(connection));
                self.lost(now, connection, what.to_owned(), out);
                continue;
            }
            self.grow(index, out);
            self.send(now, index, &running, out);
            if self.lanes[index].no_region {
                lacking.get_or_insert(index);
            }
        }
        self.lane_first = lacking.unwrap_or(first);
    }

    pub(super) fn close_lanes(&mut self, out: &mut Effects) {
        for index in 0..self.lanes.len() {
            self.close_lane(index, out);
        }
    }

    fn close_lane(&mut self, index: usize, out: &mut Effects) {
        let connection = self.connection(index);
        let run = &mut self.lanes[index];
        if !run.lane.is_closed() {
            out.push(Effect::Close(connection));
        }
        run.lane.close();
        run.clear(&mut self.regions);
        run.used = false;
        let lane = u32::try_from(index).ok();
        for partition in self.partitions.iter_mut().flatten() {
            if partition.lane == lane {
                partition.lane = None;
            }
        }
    }

    /// The lane's partitions that should be fetching.
    fn running_on(&self, index: usize) -> impl Iterator<Item = Slot> {
        let lane = u32::try_from(index).ok();
        let on = move |partition: &&Partition| {
            partition.lane == lane && partition.is_fetching() && !partition.is_at_end()
        };
        let on = self.partitions.iter().flatten().filter(on);
        on.map(|partition| partition.slot)
    }

    pub(super) fn connection(&self, index: usize) -> Connection {
        Connection {
            lane: u32::try_from(index).unwrap_or(u32::MAX),
            attempt: self.lanes[index].lane.attempt(),
        }
    }

    /// The oversize region for a response that is larger than the usual ones, when it is free.
    fn grow(&mut self, index: usize, out: &mut Effects) {
        let connection = self.connection(index);
        let Some(frame) = self.lanes[index].arriving() else {
            return;
        };
        let Some(size) = frame.size() else {
            return;
        };
        if frame.fits() || size > limits::BATCH_BYTES_MAX + limits::FRAME_OVERHEAD_BYTES {
            return;
        }
        if let Some(region) = self.regions.take_oversize(size)
            && let Some(frame) = self.lanes[index].arriving()
        {
            let old = frame.grow(region);
            self.regions.give(old);
            out.push(Effect::Read(connection));
        }
    }

    pub(super) fn lane_deadline_us(&self, settled_us: u64, index: usize) -> Option<u64> {
        let run = &self.lanes[index];
        if !run.used {
            return None;
        }
        let mut running = self.running_on(index).filter_map(|slot| self.get(slot));
        let queued = running.any(Partition::wants_fetch);
        let turn = match run.lane.state() {
            State::Reading { .. } => run.headers_in() && run.has_frame_free(),
            State::Idle => run.has_frame_free(),
            _ => true,
        };
        run.lane.deadline_us(settled_us, queued && turn)
    }

    /// The lane of a connection, if that is its last one.
    pub(super) fn lane_of(&self, connection: Connection) -> Option<usize> {
        let index = connection.lane as usize;
        let run = self.lanes.get(index)?;
        (run.lane.attempt() == connection.attempt && !run.lane.is_closed()).then_some(index)
    }

    /// A response's head: the broker may ask for silence.
    pub(super) fn throttle(&mut self, now: Now, index: usize, throttle_ms: i32) {
        if let Ok(throttle_ms @ 1..) = u64::try_from(throttle_ms) {
            let throttle_ms = throttle_ms.min(limits::THROTTLE_MS_MAX);
            self.lanes[index].lane.throttle(now.us, throttle_ms);
            self.count(Row::Throttled);
        }
    }

    /// Counts what arrived.
    pub(super) fn count_received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let gauge = &self.gauges.received_bytes;
        gauge.fetch_add(bytes, Ordering::Relaxed);
    }
}
