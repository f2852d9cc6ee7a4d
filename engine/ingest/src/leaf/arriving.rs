//! A response as it arrives: its events, and the broker's answers for each partition.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use storage::ids::Offset;

use super::event::{Connection, Effect, Effects, Now, Slot};
use super::fetching::LaneRun;
use super::frame::{Entry, Frame};
use super::lane::Asked;
use super::machine::Leaf;
use super::order::{FailureKind, Leader, Report};
use super::ordering::failure;
use super::partition::{Fetch, Load, Partition, Phase};
use super::rows::Row;
use super::told::LogSaid;
use crate::kafka::AbortedFilter;
use crate::kafka::fetch::{
    BatchRange, FrameEvent, FrameReader, PartitionEnd, PartitionHead, SessionAnswer, TopicKey,
};
use crate::limits;
use crate::planted::{Rule, out};

impl Leaf {
    /// Bytes arrived in what `space` gave.
    pub(super) fn received(
        &mut self,
        now: Now,
        connection: Connection,
        bytes: usize,
        out: &mut Effects,
    ) {
        let Some(index) = self.lane_of(connection) else {
            return;
        };
        self.count_received(bytes);
        self.lanes[index].lane.received(now.us);
        let read = if self.has_hello(index) {
            self.hello_received(now, index, bytes, out)
        } else {
            self.frame_received(now, index, bytes, out)
        };
        if let Err(why) = read {
            out.push(Effect::Close(connection));
            self.lost(now, connection, why, out);
        }
    }

    fn frame_received(
        &mut self,
        now: Now,
        index: usize,
        bytes: usize,
        out: &mut Effects,
    ) -> Result<(), String> {
        let mut bytes = bytes;
        loop {
            let run = &mut self.lanes[index];
            let Some(sent) = run.lane.open().front().copied() else {
                return Err("the broker sends what nobody asked for".to_owned());
            };
            let Some(frame) = run.arriving() else {
                return Ok(());
            };
            if let Some(size) = frame.received(bytes).map_err(|fault| fault.to_string())? {
                let size = size - super::frame::LENGTH_BYTES;
                frame.reader = Some(FrameReader::new(sent.version, sent.correlation, size));
            }
            self.read_frame(now, index, sent.correlation, out)?;
            let run = &mut self.lanes[index];
            let Some(frame) = run.frames.back() else {
                return Ok(());
            };
            if !frame.ended {
                let full = frame.is_region_full() && !frame.is_whole();
                let bound = limits::BATCH_BYTES_MAX + limits::FRAME_OVERHEAD_BYTES;
                return match frame.size() {
                    Some(size) if full && size > bound => {
                        Err(format!("a response of {size} bytes, more than {bound}"))
                    }
                    _ => Ok(()),
                };
            }
            // The next response's first bytes came with this one's last.
            let excess = frame.excess();
            if excess.is_empty() {
                return Ok(());
            }
            let Some(mut region) = run.reserved.pop_front() else {
                return Err("the broker sends what nobody asked for".to_owned());
            };
            bytes = excess.len();
            if bytes > region.len() {
                return Err("two responses in one read of more than a region".to_owned());
            }
            region[..bytes].copy_from_slice(excess);
            run.frames.push_back(Frame::new(region));
            run.lane.received(now.us);
        }
    }

    /// Takes all the events there are in the arriving frame.
    fn read_frame(
        &mut self,
        now: Now,
        index: usize,
        request: i32,
        out: &mut Effects,
    ) -> Result<(), String> {
        loop {
            let Some(frame) = self.lanes[index].arriving() else {
                return Ok(());
            };
            let Some(event) = frame.next_event().map_err(|fault| fault.to_string())? else {
                return Ok(());
            };
            match event {
                FrameEvent::Response(head) => {
                    self.gauges.responses.fetch_add(1, Ordering::Relaxed);
                    self.throttle(now, index, head.throttle_ms);
                    let answer = self.lanes[index].lane.session_answered(&head);
                    let answer = answer.map_err(|fault| fault.to_string())?;
                    if let Some(frame) = self.lanes[index].arriving() {
                        frame.throttled = head.throttle_ms > 0;
                        frame.changes = answer == SessionAnswer::Changes;
                    }
                    self.session_said(index, answer);
                }
                FrameEvent::Partition(head) => self.partition_begins(now, index, request, &head)?,
                FrameEvent::BatchBegun(batch) => {
                    self.batch_begins(index, &batch);
                    if batch.last_of_frame {
                        self.all_named(now, index, request, out);
                    }
                }
                FrameEvent::Batch(batch) => {
                    self.lanes[index].lane.came_whole();
                    self.batch_arrived(index, &batch);
                }
                FrameEvent::CutOff { .. } => {}
                FrameEvent::Oversize {
                    base_offset,
                    size_bytes,
                } => {
                    self.oversize(now, index, base_offset, size_bytes, out);
                    return Err("a record batch is too large to be read".to_owned());
                }
                FrameEvent::Spoiled(fault) => {
                    if let Some(entry) = self.last_entry(index) {
                        entry.spoiled = Some(fault);
                    }
                }
                FrameEvent::PartitionEnd(end) => self.partition_ends(now, index, &end, out),
                FrameEvent::Endpoint(endpoint) => {
                    if let Some(frame) = self.lanes[index].arriving() {
                        let host = frame.bytes().get(endpoint.host.clone());
                        if frame.wants_endpoint(endpoint.node_id)
                            && let Some(Ok(host)) = host.map(std::str::from_utf8)
                        {
                            let host = host.to_owned();
                            frame
                                .endpoints
                                .push((endpoint.node_id, host, endpoint.port));
                        }
                    }
                }
                FrameEvent::End => {
                    self.all_named(now, index, request, out);
                    self.frame_ends(now, index, request, out);
                    return Ok(());
                }
            }
        }
    }

    fn last_entry(&mut self, index: usize) -> Option<&mut Entry> {
        self.lanes[index].arriving()?.entries.last_mut()
    }

    /// The arriving entry's slot, if its fetch has not passed.
    fn live_slot(&mut self, index: usize) -> Option<Slot> {
        let entry = self.last_entry(index)?;
        (!entry.void).then_some(entry.asked.slot)
    }

    fn partition_begins(
        &mut self,
        now: Now,
        index: usize,
        request: i32,
        head: &PartitionHead,
    ) -> Result<(), String> {
        let LaneRun {
            key, lane, frames, ..
        } = &mut self.lanes[index];
        let Some(frame) = frames.back_mut().filter(|frame| !frame.ended) else {
            return Ok(());
        };
        let told = match &head.topic {
            TopicKey::Id(id) => lane.told.named_by_id(*id, head.partition),
            TopicKey::Name(name) => {
                let name = frame.bytes().get(name.clone()).unwrap_or_default();
                lane.told.named(name, head.partition)
            }
        };
        // Each partition is answered once: more would be memory without a bound, and the records of a
        // second answer could be loaded first, those before them being a gap then.
        let refused = |what: &str| {
            Err(format!(
                "the broker answers for partition {} {what}",
                head.partition
            ))
        };
        let Some(told) = told else {
            return refused("which was not asked");
        };
        if told.answered.replace(request) == Some(request) {
            return refused("twice");
        }
        let said = LogSaid::of(head);
        told.said = (!head.error.is_error()).then_some(said);
        let read_committed = key.read_committed;
        let (asked, log_end) = (told.asked, said.end(read_committed));
        let mut filter = AbortedFilter::default();
        if out(Rule::AbortedListIsTheResponses) {
            filter = last_filter(frames, asked.slot);
        }
        let Some(frame) = frames.back_mut() else {
            return Ok(());
        };
        filter.begin(head.aborted.read(frame.bytes()));
        let live = is_live(self.partitions.get(asked.slot.index as usize), &asked);
        frame.entries.push(Entry {
            asked,
            filter,
            next: 0,
            whole: 0,
            arrived: false,
            void: !live,
            error: head.error,
            spoiled: None,
            begun: false,
            empty: head.records_bytes == 0,
            log_end,
            expected: asked.offset,
        });
        if !live {
            self.count(Row::Stale);
        } else if !head.error.is_error()
            && let Some(partition) = self.get_mut(asked.slot)
        {
            partition.log_said(now, &said, read_committed);
        }
        Ok(())
    }

    /// What the response's head says of the session.
    fn session_said(&mut self, index: usize, answer: SessionAnswer) {
        let run = &mut self.lanes[index];
        match answer {
            SessionAnswer::Full if run.lane.is_in_session() => {
                tracing::info!(
                    host = run.key.host,
                    port = run.key.port,
                    partitions = run.lane.told.partitions(),
                    "a fetch session is made"
                );
                self.count(Row::SessionMade);
            }
            SessionAnswer::Full | SessionAnswer::Changes => {}
            SessionAnswer::Lost(why) => {
                tracing::info!(
                    host = run.key.host,
                    port = run.key.port,
                    "the broker has the fetch session no more, all is asked anew: {why}"
                );
                let asked: Vec<Asked> = run.lane.told.iter().map(|told| told.asked).collect();
                run.lane.told.clear();
                for asked in asked {
                    self.queue_again(&asked);
                }
                self.count(Row::SessionLost);
            }
        }
    }

    /// What was asked is not answered: it is asked again. Whether it is still wanted.
    fn queue_again(&mut self, asked: &Asked) -> bool {
        if let Some(partition) = self.get_mut(asked.slot)
            && partition.fetch_number == asked.fetch
            && partition.phase == Phase::Running
            && partition.fetch == Fetch::InFlight
        {
            partition.fetch = Fetch::Queued;
            return true;
        }
        false
    }

    /// No further partition will be named: those that are not are asked for again. In a session they
    /// stand as the broker said last.
    fn all_named(&mut self, now: Now, index: usize, request: i32, out: &mut Effects) {
        let Some(frame) = self.lanes[index].arriving() else {
            return;
        };
        if std::mem::replace(&mut frame.all_named, true) {
            return;
        }
        let unchanged = frame.changes && !frame.throttled;
        let read_committed = self.lanes[index].key.read_committed;
        for (asked, said) in self.unnamed(index, request) {
            if !self.queue_again(&asked) || !unchanged {
                continue;
            }
            if let (Some(said), Some(partition)) = (said, self.get_mut(asked.slot)) {
                partition.answered();
                partition.log_said(now, &said, read_committed);
                self.count(Row::Unchanged);
                self.log_end_known(now, asked.slot, out);
            }
        }
    }

    /// What a response does not name of what its request asked.
    fn unnamed(&self, index: usize, request: i32) -> Vec<(Asked, Option<LogSaid>)> {
        let told = self.lanes[index].lane.told.iter();
        let unnamed = told.filter(|told| told.answered != Some(request));
        unnamed.map(|told| (told.asked, told.said)).collect()
    }

    fn batch_begins(&mut self, index: usize, batch: &BatchRange) {
        let Some(frame) = self.lanes[index].arriving() else {
            return;
        };
        frame.records += u64::try_from(batch.header.record_count).unwrap_or(0);
        frame.headers_in |= batch.last_of_frame;
        let Some(entry) = frame.entries.last_mut() else {
            return;
        };
        let first = !entry.begun;
        entry.batch_begins(batch.start, &batch.header);
        let sound = entry.spoiled.is_none();
        let Some(slot) = self.live_slot(index) else {
            return;
        };
        if first {
            self.count(Row::Fetched);
        }
        if let Some(partition) = self.get_mut(slot) {
            if sound {
                partition.fetched = partition.fetched.max(batch.header.next_offset());
            }
            partition.load = match partition.load {
                Load::Empty => Load::Loading,
                load => load,
            };
            if batch.last_of_partition && partition.fetch == Fetch::InFlight {
                // What follows may be asked for while this is still arriving.
                partition.fetch = Fetch::Queued;
                partition.answered();
            }
        }
    }

    fn batch_arrived(&mut self, index: usize, batch: &BatchRange) {
        if let Some(entry) = self.last_entry(index)
            && entry.spoiled.is_none()
        {
            entry.whole = batch.end;
        }
    }

    fn oversize(
        &mut self,
        now: Now,
        index: usize,
        base_offset: Offset,
        size_bytes: usize,
        out: &mut Effects,
    ) {
        if let Some(slot) = self.live_slot(index) {
            let text = format!(
                "the record batch at offset {} has {size_bytes} bytes, more than {}: make the \
                 producer's batches smaller, or ALTER PIPELINE ... SET OFFSETS past it",
                base_offset.0,
                limits::BATCH_BYTES_MAX
            );
            let failure = failure(FailureKind::Extract, base_offset.0, text, true);
            self.fail(now, slot, failure, out);
        }
    }

    fn partition_ends(&mut self, now: Now, index: usize, end: &PartitionEnd, out: &mut Effects) {
        let Some(entry) = self.last_entry(index) else {
            return;
        };
        entry.arrived = true;
        let (asked, error, begun) = (entry.asked, entry.error, entry.begun);
        let loaded = begun && entry.is_done();
        if entry.void {
            return;
        }
        if loaded
            && !self.holds_records(asked.slot)
            && let Some(partition) = self.get_mut(asked.slot)
        {
            // All of it was loaded before this was known to be its end.
            partition.load = Load::Empty;
        }
        if error.is_error() {
            if let (Some(leader), Some(frame)) = (end.current_leader, self.lanes[index].arriving())
            {
                frame.moved.push((asked.slot, leader));
            }
            return self.answered_error(now, asked.slot, error, out);
        }
        if let Some(diverging) = end.diverging {
            let text = format!(
                "diverged: in the leader's log epoch {} ends at offset {}, below the cursor {}: \
                 ALTER PIPELINE ... SET OFFSETS to go on",
                diverging.epoch, diverging.end_offset.0, asked.offset.0
            );
            self.count(Row::Diverged);
            let failure = failure(FailureKind::Extract, diverging.end_offset.0, text, true);
            return self.fail(now, asked.slot, failure, out);
        }
        if !begun {
            self.count(Row::FetchedNothing);
        }
        if let Some(partition) = self.get_mut(asked.slot)
            && partition.fetch == Fetch::InFlight
        {
            partition.fetch = Fetch::Queued;
            partition.answered();
        }
        self.log_end_known(now, asked.slot, out);
    }

    /// The first answer says where a FOREGROUND load ends.
    fn log_end_known(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        if let Some(partition) = self.get_mut(slot) {
            let end = partition.log_end();
            if let Some(foreground) = &mut partition.foreground {
                foreground.end = foreground.end.or(end);
            }
        }
        self.foreground_due(now, slot, out);
    }

    fn frame_ends(&mut self, now: Now, index: usize, request: i32, out: &mut Effects) {
        let Some(frame) = self.lanes[index].arriving() else {
            return;
        };
        frame.ended = true;
        frame.headers_in = true;
        let moved = std::mem::take(&mut frame.moved);
        let endpoints = std::mem::take(&mut frame.endpoints);
        let (records, changes) = (frame.records, frame.changes);
        let mut nothing: Vec<(Asked, Offset)> = Vec::new();
        if frame.is_empty() {
            nothing.extend(frame.named());
            if changes {
                // Nothing was asked behind it yet: what was told is still what this response is to.
                let read_committed = self.lanes[index].key.read_committed;
                let unnamed = self.unnamed(index, request).into_iter();
                nothing.extend(
                    unnamed.filter_map(|(asked, said)| Some((asked, said?.end(read_committed)))),
                );
            }
        }
        self.lanes[index].lane.answered(now.us, records);
        for (slot, leader) in moved {
            let endpoint = endpoints
                .iter()
                .find(|(node, ..)| *node == leader.leader_id);
            if let (Some((broker, host, port)), Some(partition)) = (endpoint, self.get(slot)) {
                let leaf_partition = partition.pairing.leaf_partition;
                let leader = Leader {
                    broker: *broker,
                    host: host.clone(),
                    port: *port,
                    epoch: leader.leader_epoch,
                };
                self.learn_leader(now, leaf_partition, leader);
            }
        }
        for (asked, log_end) in nothing {
            self.answered_nothing(now, asked, log_end, out);
        }
    }

    /// Asks who leads without waiting for the answer, if it may be asked now.
    pub(super) fn ask_leader(&mut self, now: Now, slot: Slot) {
        let Some(partition) = self.get(slot) else {
            return;
        };
        if self.ask_due_us(partition) > now.us {
            return;
        }
        let report = Report::LeaderUnknown {
            leaf_partition: partition.pairing.leaf_partition,
            epoch: partition.leader.as_ref().map_or(-1, |leader| leader.epoch),
        };
        let topic = partition.pairing.topic.clone();
        self.asked_topics.insert(topic, now.us);
        self.reports.push(report);
    }

    /// What waits of a partition in any frame is not for it any more.
    pub(super) fn drop_frames_of(&mut self, slot: Slot) {
        for run in &mut self.lanes {
            for frame in &mut run.frames {
                for entry in &mut frame.entries {
                    entry.void |= entry.asked.slot == slot;
                }
            }
        }
    }
}

/// Whether a fetch is still wanted: of this partition, and not one that has passed.
fn is_live(partition: Option<&Option<Partition>>, asked: &Asked) -> bool {
    partition.and_then(Option::as_ref).is_some_and(|partition| {
        partition.slot == asked.slot
            && partition.fetch_number == asked.fetch
            && partition.phase == Phase::Running
    })
}

/// What a test carries over from the response before.
fn last_filter(frames: &VecDeque<Frame>, slot: Slot) -> AbortedFilter {
    let mut entries = frames.iter().rev().flat_map(|frame| &frame.entries);
    entries
        .find(|entry| entry.asked.slot == slot)
        .map_or_else(AbortedFilter::default, |entry| entry.filter.clone())
}
