//! Requests: what leaves on a lane when, and what it asks.
//!
//! A lane of many partitions makes a fetch session with its broker ([`crate::kafka::fetch::session`]):
//! its requests name only what changed. Once made it goes on until the connection ends or the broker
//! has it no more; without one each request names every partition.

use super::event::{Effect, Effects, Now, Slot};
use super::lane::{Asked, Sent};
use super::machine::Leaf;
use super::partition::Partition;
use super::rows::Row;
use crate::kafka::fetch::{self, FetchPartition, FetchRequest};
use crate::limits;

impl Leaf {
    /// Sends the next fetch, if it is its turn and any partition waits for it.
    pub(super) fn send(&mut self, now: Now, index: usize, running: &[Slot], out: &mut Effects) {
        let queued = |slot: &&Slot| self.get(**slot).is_some_and(Partition::wants_fetch);
        let queued: Vec<Slot> = running.iter().filter(queued).copied().collect();
        if queued.is_empty() {
            return;
        }
        if self.lanes[index].lane.is_closed() {
            let attempt = self.attempts + 1;
            if self.lanes[index].lane.connect(now.us, attempt) {
                self.attempts = attempt;
                let key = &self.lanes[index].key;
                let (host, port) = (key.host.clone(), key.port);
                out.push(Effect::Connect(self.connection(index), host, port));
            }
            return;
        }
        let run = &mut self.lanes[index];
        if !run.lane.may_send(now.us, run.headers_in()) || !run.has_frame_free() {
            return;
        }
        let Some(region) = self.regions.take() else {
            self.lanes[index].no_region = true;
            self.count(Row::HeldMemory);
            return;
        };
        let run = &mut self.lanes[index];
        run.reserved.push_back(region);
        let wait_ms = if queued.len() == running.len() && !self.lanes_lack {
            limits::FETCH_WAIT_MS
        } else {
            limits::FETCH_WAIT_PARTIAL_MS
        };
        let version = self.version_for(running, self.lanes[index].lane.version());
        let lane = &mut self.lanes[index].lane;
        lane.begin_request(version);
        for slot in queued {
            self.ask(index, slot);
        }
        let wants_session =
            version >= fetch::SESSION_FROM && running.len() >= self.config.session_partitions_min;
        let bytes = self.encode(now, index, version, wait_ms, wants_session);
        let connection = self.connection(index);
        out.push(Effect::Send(connection, bytes));
    }

    /// The request asks for a partition.
    fn ask(&mut self, index: usize, slot: Slot) {
        let Some(partition) = self.get(slot) else {
            return;
        };
        let asked = Asked {
            slot,
            fetch: partition.fetch_number,
            offset: partition.fetched,
        };
        let leader_epoch = partition.leader.as_ref().map_or(-1, |leader| leader.epoch);
        let Leaf {
            lanes, partitions, ..
        } = self;
        let Some(partition) = partitions[slot.index as usize].as_mut() else {
            return;
        };
        let told = &mut lanes[index].lane.told;
        if told.want(&partition.pairing, leader_epoch, asked) {
            partition.fetch_sent();
            self.count(Row::Sent);
        }
    }

    /// From version 13 on topics go by id: not where a broker has none of one.
    fn version_for(&self, slots: &[Slot], version: Option<i16>) -> i16 {
        let version = version.unwrap_or(fetch::VERSION_MIN);
        let nameless = |slot: &Slot| {
            self.get(*slot)
                .is_some_and(|partition| partition.pairing.topic_id == [0; 16])
        };
        if slots.iter().any(nameless) {
            version.min(fetch::TOPIC_ID_FROM - 1)
        } else {
            version
        }
    }

    /// Writes the request for what is asked, and takes it as sent.
    fn encode(
        &mut self,
        now: Now,
        index: usize,
        version: i16,
        wait_ms: u32,
        wants_session: bool,
    ) -> Vec<u8> {
        let run = &mut self.lanes[index];
        let lane = &mut run.lane;
        let session = lane.session_place(wants_session);
        let correlation = lane.next_correlation();
        let request = FetchRequest {
            version,
            correlation_id: correlation,
            client_id: &run.key.client_id,
            max_wait_ms: i32::try_from(wait_ms).unwrap_or(i32::MAX),
            min_bytes: 1,
            bytes_max: i32::try_from(limits::FETCH_RESPONSE_BYTES_MAX).unwrap_or(i32::MAX),
            read_committed: run.key.read_committed,
            session,
        };
        let mut bytes = Vec::new();
        if session.is_incremental() {
            let changed = lane.told.changed();
            let changed = changed.iter().map(|told| told.fetch_partition());
            let forgotten = lane.told.forgotten();
            fetch::encode_changes(&mut bytes, &request, changed, forgotten.iter().copied());
        } else {
            let turn = lane.rotation();
            let all = lane.told.all_in_turn(turn);
            let all = all
                .iter()
                .map(|told| -> FetchPartition<'_> { told.fetch_partition() });
            fetch::encode(&mut bytes, &request, all);
        }
        lane.sent(Sent {
            correlation,
            session,
            sent_us: now.us,
            wait_ms,
            version,
        });
        bytes
    }
}
