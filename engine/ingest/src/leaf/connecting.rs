//! A connection's beginning and end: ApiVersions, and what becomes of what was on its way.

use super::event::{Connection, Effect, Effects, Now};
use super::frame::Frame;
use super::machine::Leaf;
use super::partition::{Fetch, Phase};
use super::rows::Row;
use crate::kafka::requests::{self, Api};
use crate::limits;

/// ApiVersions is asked in this version first, and in 0 by those that do not know it.
const HELLO_VERSION: i16 = 3;

impl Leaf {
    pub(super) fn connected(&mut self, now: Now, connection: Connection, out: &mut Effects) {
        let Some(index) = self.lane_of(connection) else {
            return out.push(Effect::Close(connection));
        };
        let run = &mut self.lanes[index];
        let correlation = run.lane.connected(now.us);
        self.ask_versions(now, index, correlation, HELLO_VERSION, out);
    }

    fn ask_versions(
        &mut self,
        now: Now,
        index: usize,
        correlation: i32,
        version: i16,
        out: &mut Effects,
    ) {
        let connection = self.connection(index);
        let run = &mut self.lanes[index];
        let mut bytes = Vec::new();
        let client_id = &run.key.client_id;
        match requests::encode_api_versions(&mut bytes, version, correlation, client_id) {
            Ok(sent) => {
                let frame = Frame::new(vec![0; limits::HELLO_BYTES_MAX]);
                run.hello = Some((sent, frame));
                out.push(Effect::Send(connection, bytes));
            }
            Err(fault) => {
                out.push(Effect::Close(connection));
                self.lost(now, connection, fault.to_string(), out);
            }
        }
    }

    /// ApiVersions' answer grew.
    pub(super) fn hello_received(
        &mut self,
        now: Now,
        index: usize,
        bytes: usize,
        out: &mut Effects,
    ) -> Result<(), String> {
        let run = &mut self.lanes[index];
        let Some((sent, frame)) = &mut run.hello else {
            return Ok(());
        };
        frame.received(bytes).map_err(|fault| fault.to_string())?;
        if !frame.fits() {
            return Err("an answer to ApiVersions that is too long".to_owned());
        }
        if !frame.is_whole() {
            return Ok(());
        }
        let said = requests::decode_api_versions(sent, frame.bytes());
        match said.map_err(|fault| fault.to_string())? {
            Some(versions) => {
                let version = versions
                    .get(Api::Fetch)
                    .map_err(|fault| fault.to_string())?;
                run.hello = None;
                run.lane.negotiated(version);
                Ok(())
            }
            None => {
                let correlation = run.lane.next_correlation();
                self.ask_versions(now, index, correlation, 0, out);
                Ok(())
            }
        }
    }

    pub(super) fn has_hello(&self, index: usize) -> bool {
        self.lanes[index].hello.is_some()
    }

    /// A connection ended: what it brought in part is dropped and fetched again.
    pub(super) fn lost(
        &mut self,
        now: Now,
        connection: Connection,
        why: String,
        out: &mut Effects,
    ) {
        let Some(index) = self.lane_of(connection) else {
            return;
        };
        let run = &mut self.lanes[index];
        if let Some(times) = run.lane.say_lost(now.us, &why) {
            tracing::info!(
                host = run.key.host,
                port = run.key.port,
                times,
                "connection lost: {why}"
            );
        }
        run.lane.lost(now.us, why);
        run.clear(&mut self.regions);
        let lane = Some(connection.lane);
        for slot in self.slots() {
            let Some(partition) = self.get_mut(slot) else {
                continue;
            };
            if partition.lane == lane && partition.phase == Phase::Running {
                let in_flight = partition.fetch == Fetch::InFlight;
                partition.void_fetch();
                if in_flight {
                    self.count(Row::ConnectionLost);
                }
                self.ask_leader(now, slot);
            }
        }
        let _ = out;
    }
}
