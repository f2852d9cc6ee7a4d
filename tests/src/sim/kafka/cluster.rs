//! The simulated brokers, driven at the level of bytes: requests are decoded and responses encoded by
//! an independent codec, over the record batches of [`super::log`]; then a fault may spoil them.

use std::collections::{BTreeMap, VecDeque};

use ingest::leaf::Connection;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, ProducerId, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::log::Log;
use crate::sim::{Coverage, Random};

/// The topic.
pub const TOPIC: &str = "orders";
/// Its id.
pub const TOPIC_ID: [u8; 16] = [7; 16];

/// What a response may suffer, each with its name in the coverage.
pub const FAULTS: [&str; 17] = [
    "broker: disconnect in a response",
    "broker: disconnect between responses",
    "broker: refuses a connection",
    "broker: a connection that never comes up",
    "broker: never answers",
    "broker: an error that is retriable",
    "broker: the topic is not known",
    "broker: an error that no waiting mends",
    "broker: throttles",
    "broker: a corrupt record batch",
    "broker: a cut-off last batch",
    "broker: the leader moved",
    "broker: fenced or unknown epoch",
    "broker: out of range, below the log's start",
    "broker: bytes that are no response",
    "broker: out of range, beyond the log's end",
    "broker: aborted transactions in an answer",
];

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    correlation: i32,
    version: i16,
    /// `None`: ApiVersions.
    fetch: Option<FetchRequest>,
    /// When it may be answered though there is nothing.
    pub due_us: u64,
}

/// One connection, as the broker holds it.
#[derive(Debug)]
pub struct Wire {
    /// Whose.
    pub connection: Connection,
    /// Which broker.
    pub broker: i32,
    inbox: Vec<u8>,
    /// Requests, oldest first.
    pub asked: VecDeque<Asked>,
    /// Bytes on their way to the leaf.
    pub outbox: VecDeque<u8>,
    /// It will say nothing any more.
    pub dumb: bool,
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    /// One log for each Kafka partition.
    pub logs: Vec<Log>,
    /// Who leads each, in which epoch.
    pub leaders: Vec<(i32, i32)>,
    /// Connections that are up.
    pub wires: BTreeMap<Connection2, Wire>,
    /// The newest Fetch version it speaks.
    pub fetch_version: i16,
    /// Faults happen, in a thousand responses.
    pub faults: u64,
    /// Responses are so much smaller than what is asked for, so that a seed sees many.
    pub room_divisor: usize,
    /// Record batches that stay corrupt until they are mended: partition and base.
    pub rotten: Vec<(usize, i64)>,
}

/// A connection as a key that sorts.
pub type Connection2 = (u32, u64);

/// A connection's key.
#[must_use]
pub fn key(connection: Connection) -> Connection2 {
    (connection.lane, connection.attempt)
}

/// Brokers in the cluster: 1 and 2.
pub const BROKERS: i32 = 2;

impl Cluster {
    /// A port for each broker.
    #[must_use]
    pub fn port(broker: i32) -> u16 {
        9_090 + broker as u16
    }

    /// A connection came up.
    pub fn open(&mut self, connection: Connection, port: u16) {
        self.wires.insert(
            key(connection),
            Wire {
                connection,
                broker: i32::from(port) - 9_090,
                inbox: Vec::new(),
                asked: VecDeque::new(),
                outbox: VecDeque::new(),
                dumb: false,
            },
        );
    }

    /// The leaf sent bytes.
    ///
    /// # Errors
    /// What a broker would not understand: the leaf's fault.
    pub fn sent(
        &mut self,
        connection: Connection,
        bytes: &[u8],
        now_us: u64,
    ) -> Result<(), String> {
        let Some(wire) = self.wires.get_mut(&key(connection)) else {
            return Ok(());
        };
        wire.inbox.extend_from_slice(bytes);
        while let Some(length) = wire.inbox.first_chunk::<4>() {
            let length = i32::from_be_bytes(*length) as usize;
            if wire.inbox.len() < 4 + length {
                break;
            }
            let frame: Vec<u8> = wire.inbox.drain(..4 + length).skip(4).collect();
            wire.asked.push_back(decode(&frame, now_us)?);
        }
        if wire.asked.len() > 2 {
            return Err("more than two requests open on one connection".to_owned());
        }
        Ok(())
    }

    /// Whether a request of this connection has an answer now.
    #[must_use]
    pub fn is_due(&self, wire: &Wire, now_us: u64) -> bool {
        let Some(asked) = wire.asked.front() else {
            return false;
        };
        if wire.dumb || !wire.outbox.is_empty() {
            return false;
        }
        asked.due_us <= now_us
            || asked.fetch.as_ref().is_none_or(|fetch| {
                let mut partitions = fetch.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.any(|one| !matches!(self.state(wire.broker, fetch, one), Said::Nothing))
            })
    }

    fn state(&self, broker: i32, fetch: &FetchRequest, one: &FetchPartition) -> Said {
        let Some(log) = self.logs.get(one.partition as usize) else {
            return Said::Error(3);
        };
        let (leader, epoch) = self.leaders[one.partition as usize];
        if leader != broker {
            return Said::Error(6);
        }
        if one.current_leader_epoch >= 0 && one.current_leader_epoch != epoch {
            return Said::Error(if one.current_leader_epoch < epoch {
                74
            } else {
                75
            });
        }
        if one.fetch_offset < log.start || one.fetch_offset > log.end() {
            return Said::Error(1);
        }
        let end = if fetch.isolation_level == 1 {
            log.stable()
        } else {
            log.end()
        };
        let any = log
            .batches
            .iter()
            .any(|batch| batch.next > one.fetch_offset && batch.next <= end);
        if any { Said::Records } else { Said::Nothing }
    }

    /// Answers the oldest request of a connection into its outbox. `Some(why)`: the connection breaks
    /// once the outbox is empty.
    pub fn answer(
        &mut self,
        connection: Connection,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Option<&'static str> {
        let wire = self.wires.get_mut(&key(connection))?;
        let broker = wire.broker;
        let asked = wire.asked.pop_front()?;
        let mut breaks = None;
        let mut bytes = match &asked.fetch {
            None => versions(&asked, self.fetch_version),
            Some(fetch) => {
                let response = self.fetch(broker, &asked, fetch, random, coverage);
                encode(&asked, &response, u8::from(asked.version >= 12) as i16)
            }
        };
        if random.below(1_000) < self.faults && asked.fetch.is_some() {
            match random.below(3) {
                0 => {
                    let keep = random.below(bytes.len() as u64) as usize;
                    bytes.truncate(keep);
                    breaks = Some(FAULTS[0]);
                }
                1 => breaks = Some(FAULTS[1]),
                _ => {
                    // Not a record's bytes, which the checksum guards, but the response's own.
                    for byte in bytes.iter_mut().skip(4).take(12) {
                        *byte = random.number() as u8;
                    }
                    coverage.hit(FAULTS[14]);
                }
            }
        }
        if let Some(why) = breaks {
            coverage.hit(why);
        }
        let wire = self.wires.get_mut(&key(connection))?;
        wire.outbox.extend(bytes);
        breaks
    }

    fn fetch(
        &self,
        broker: i32,
        asked: &Asked,
        fetch: &FetchRequest,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> FetchResponse {
        let mut response = FetchResponse::default();
        let fault = |random: &mut Random| random.below(1_000) < self.faults;
        if asked.version >= 8 && fault(random) {
            response.throttle_time_ms = 1 + random.below(200) as i32;
            coverage.hit(FAULTS[8]);
        }
        let mut left = fetch.max_bytes.max(0) as usize / (self.room_divisor / 8);
        for topic in &fetch.topics {
            let mut said = FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id);
            if asked.version < 13 {
                said.topic = TopicName::from(StrBytes::from_static_str(TOPIC));
            }
            for one in &topic.partitions {
                let mut data = self.partition(broker, fetch, one, &mut left, random, coverage);
                if data.error_code == 0 && fault(random) {
                    data = spoil(data, random, coverage);
                }
                let moved = matches!(data.error_code, 6 | 74);
                if moved && asked.version >= 12 && random.chance(500) {
                    let (leader, epoch) = self.leaders[one.partition as usize];
                    data.current_leader = LeaderIdAndEpoch::default()
                        .with_leader_id(BrokerId(leader))
                        .with_leader_epoch(epoch);
                    if asked.version >= 16 {
                        response.node_endpoints = (1..=BROKERS).map(endpoint).collect();
                    }
                }
                said.partitions.push(data);
            }
            response.responses.push(said);
        }
        response
    }

    fn partition(
        &self,
        broker: i32,
        fetch: &FetchRequest,
        one: &FetchPartition,
        left: &mut usize,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> PartitionData {
        let mut data = PartitionData::default()
            .with_partition_index(one.partition)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1)
            .with_records(Some(Vec::new().into()));
        match self.state(broker, fetch, one) {
            Said::Error(code) => {
                coverage.hit(match code {
                    6 => FAULTS[11],
                    1 if one.fetch_offset < self.logs[one.partition as usize].start => FAULTS[13],
                    1 => FAULTS[15],
                    _ => FAULTS[12],
                });
                return data.with_error_code(code);
            }
            Said::Nothing | Said::Records => {}
        }
        let log = &self.logs[one.partition as usize];
        data.high_watermark = log.end();
        data.last_stable_offset = log.stable();
        data.log_start_offset = log.start;
        let committed = fetch.isolation_level == 1;
        let end = if committed { log.stable() } else { log.end() };
        // Small responses, so that a seed sees many: a batch at least, as brokers promise.
        let mut room = (one.partition_max_bytes.max(0) as usize / self.room_divisor).min(*left);
        let mut records = Vec::new();
        let mut upto = one.fetch_offset;
        let wanted = log
            .batches
            .iter()
            .filter(|batch| batch.next > one.fetch_offset && batch.next <= end);
        for batch in wanted {
            if batch.bytes.len() > room && !records.is_empty() {
                if random.chance(300) {
                    let cut = random.below(batch.bytes.len() as u64) as usize;
                    records.extend_from_slice(&batch.bytes[..cut]);
                    coverage.hit(FAULTS[10]);
                }
                break;
            }
            room = room.saturating_sub(batch.bytes.len());
            *left = left.saturating_sub(batch.bytes.len());
            let from = records.len();
            records.extend_from_slice(&batch.bytes);
            upto = batch.next;
            let rotten = (one.partition as usize, batch.base);
            if self.rotten.contains(&rotten) {
                // What the checksum covers; a batch may hold no record at all.
                let at = from + 21 + batch.base as usize % (batch.bytes.len() - 21);
                records[at] ^= 0x40;
                coverage.hit(FAULTS[9]);
                break;
            }
            if random.chance(100) {
                break;
            }
        }
        if committed {
            let overlaps = |span: &&super::log::AbortedSpan| {
                span.last >= one.fetch_offset && span.first < upto
            };
            let aborted = log.aborted.iter().filter(overlaps);
            if aborted.clone().next().is_some() {
                coverage.hit(FAULTS[16]);
            }
            data.aborted_transactions = Some(
                aborted
                    .map(|span| {
                        AbortedTransaction::default()
                            .with_producer_id(ProducerId(span.producer))
                            .with_first_offset(span.first)
                    })
                    .collect(),
            );
        }
        data.with_records(Some(records.into()))
    }
}

enum Said {
    Records,
    Nothing,
    Error(i16),
}

/// Something goes wrong with one partition's answer.
fn spoil(mut data: PartitionData, random: &mut Random, coverage: &mut Coverage) -> PartitionData {
    let (code, name) = match random.below(4) {
        0 => (9, FAULTS[5]),
        1 => ([3, 100, 103][random.below(3) as usize], FAULTS[6]),
        2 => (29, FAULTS[7]),
        _ => {
            let mut records = data.records.take().unwrap_or_default().to_vec();
            if records.len() > 61 {
                // What the first batch's checksum covers, and the checksum.
                let length = [records[8], records[9], records[10], records[11]];
                let size = (12 + i32::from_be_bytes(length) as usize).min(records.len());
                let at = 17 + random.below(size as u64 - 17) as usize;
                records[at] ^= 1 << random.below(8);
                coverage.hit(FAULTS[9]);
            }
            data.records = Some(records.into());
            return data;
        }
    };
    coverage.hit(name);
    data.with_error_code(code)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_records(Some(Vec::new().into()))
}

fn endpoint(broker: i32) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(BrokerId(broker))
        .with_host(StrBytes::from_static_str("sim"))
        .with_port(i32::from(Cluster::port(broker)))
}

fn decode(frame: &[u8], now_us: u64) -> Result<Asked, String> {
    let api = i16::from_be_bytes([frame[0], frame[1]]);
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let flexible = match api {
        18 => version >= 3,
        1 => version >= 12,
        other => return Err(format!("a request of api {other} on a lane")),
    };
    let mut bytes = bytes::Bytes::copy_from_slice(frame);
    let header = RequestHeader::decode(&mut bytes, if flexible { 2 } else { 1 })
        .map_err(|error| format!("a request's header: {error}"))?;
    let fetch = match api {
        1 => Some(
            FetchRequest::decode(&mut bytes, version)
                .map_err(|error| format!("a fetch request: {error}"))?,
        ),
        _ => None,
    };
    let wait_ms = fetch.as_ref().map_or(0, |fetch| fetch.max_wait_ms.max(0));
    Ok(Asked {
        correlation: header.correlation_id,
        version,
        fetch,
        due_us: now_us + wait_ms as u64 * 1_000,
    })
}

fn versions(asked: &Asked, fetch_version: i16) -> Vec<u8> {
    let range = |key, max| {
        ApiVersion::default()
            .with_api_key(key)
            .with_min_version(0)
            .with_max_version(max)
    };
    let response =
        ApiVersionsResponse::default().with_api_keys(vec![range(1, fetch_version), range(18, 3)]);
    encode(asked, &response, 0)
}

fn encode(asked: &Asked, response: &impl Encodable, header_version: i16) -> Vec<u8> {
    let mut body = bytes::BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(asked.correlation);
    header
        .encode(&mut body, header_version)
        .expect("a header that encodes");
    response
        .encode(&mut body, asked.version)
        .expect("a response that encodes");
    let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}
