//! The simulated brokers, driven at the level of bytes: requests are decoded and responses encoded by
//! an independent codec, over the record batches of [`super::log`]; then a fault may spoil them.

use std::cell::RefCell;
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

use super::log::{AbortedSpan, CONTENTS, Log};
use super::sessions::{Place, Sessions};
use super::spoil;
use crate::sim::case::Case;
use crate::sim::{Coverage, Random};

/// The topic.
pub const TOPIC: &str = "orders";

/// What a broker and a connection to it may do, each with its name in the coverage.
pub const FAULTS: [&str; 30] = [
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
    "broker: an answer comes late",
    "broker: an answer comes twice",
    "broker: a partition is answered twice",
    "broker: partitions are answered in another order",
    "broker: a partition is not answered",
    "broker: a record batch that stays corrupt",
    "broker: an unclean election cuts the log",
    "broker: the topic is deleted and made anew",
    "broker: a partition is added",
    "broker: retention overtakes the cursor",
    "broker: makes no fetch session",
    "broker: a fetch session is gone",
    "broker: throttles with an empty answer",
];

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    correlation: i32,
    version: i16,
    /// `None`: ApiVersions. Of a session all that it fetches.
    fetch: Option<FetchRequest>,
    place: Place,
    /// When it may be answered though there is nothing.
    due_us: u64,
    /// It is not answered before.
    not_before_us: u64,
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
    asked: VecDeque<Asked>,
    /// Bytes on their way to the leaf.
    pub outbox: VecDeque<u8>,
    /// It will say nothing any more.
    pub dumb: bool,
}

/// A connection as a key that sorts: the leaf, its lane, the attempt.
pub type WireKey = (usize, u32, u64);

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What may happen.
    pub case: Case,
    /// The topic's id; none where it is deleted.
    pub topic_id: Option<[u8; 16]>,
    /// How often it was made.
    pub topics_made: u8,
    /// One log for each Kafka partition.
    pub logs: Vec<Log>,
    /// Who leads each, in which epoch.
    pub leaders: Vec<(i32, i32)>,
    /// Connections that are up.
    pub wires: BTreeMap<WireKey, Wire>,
    /// The newest Fetch version it speaks.
    pub fetch_version: i16,
    /// Faults happen, in a thousand responses.
    pub faults: u64,
    /// Responses are so much smaller than what is asked for, so that a seed sees many.
    pub room_divisor: usize,
    /// What they keep of requests.
    pub sessions: Sessions,
    /// Record batches that stay corrupt until they are mended: partition and base.
    pub rotten: Vec<(usize, i64)>,
    /// How often a corrupt one of each partition was sent, be it corrupt for good or on its way: the last of them may
    /// arrive when nothing goes wrong any more.
    corrupted: RefCell<BTreeMap<i32, u64>>,
}

/// Brokers in the cluster: 1 and 2.
pub const BROKERS: i32 = 2;
/// The longest that an answer comes late.
const LATE_US_MAX: u64 = 3_000_000;

/// A topic's id, by how often it was made.
fn topic_id(made: u8) -> [u8; 16] {
    [6 + made; 16]
}

impl Cluster {
    /// A cluster of these logs, as a seed has it.
    #[must_use]
    pub fn new(case: &Case, logs: Vec<Log>, random: &mut Random) -> Cluster {
        let leaders = logs.iter();
        let leaders = leaders
            .map(|_| (1 + random.below(BROKERS as u64) as i32, 0))
            .collect();
        Cluster {
            case: case.clone(),
            topic_id: Some(topic_id(1)),
            topics_made: 1,
            logs,
            leaders,
            wires: BTreeMap::new(),
            fetch_version: [4, 11, 12, 13, 16, 17][random.below(6) as usize],
            faults: [0, 20, 80][random.below(3) as usize],
            room_divisor: [512, 512, 16][random.below(3) as usize],
            sessions: Sessions::default(),
            rotten: Vec::new(),
            corrupted: RefCell::default(),
        }
    }

    /// A port for each broker.
    #[must_use]
    pub fn port(broker: i32) -> u16 {
        9_090 + broker as u16
    }

    /// Whether topics go by id: only then can a fetch tell a topic that was made anew.
    #[must_use]
    pub fn has_topic_ids(&self) -> bool {
        self.fetch_version >= 13
    }

    /// Whether a fault of this kind happens now.
    pub fn happens(&self, fault: usize, random: &mut Random) -> bool {
        random.below(1_000) < self.faults && self.case.has(FAULTS[fault])
    }

    /// A corrupt record batch of this partition is sent.
    pub(super) fn corrupts(&self, partition: i32) {
        *self.corrupted.borrow_mut().entry(partition).or_default() += 1;
    }

    /// How often that was.
    #[must_use]
    pub fn corrupted(&self, partition: i32) -> u64 {
        let corrupted = self.corrupted.borrow();
        corrupted.get(&partition).copied().unwrap_or(0)
    }

    /// The topic is deleted.
    pub fn delete_topic(&mut self) {
        self.topic_id = None;
    }

    /// A topic of the same name is made: empty, under another id.
    pub fn make_topic(&mut self) {
        self.topics_made += 1;
        self.topic_id = Some(topic_id(self.topics_made));
        self.logs.iter_mut().for_each(Log::make_anew);
        self.leaders.iter_mut().for_each(|leader| leader.1 = 0);
        self.rotten.clear();
    }

    /// A connection came up.
    pub fn open(&mut self, key: WireKey, connection: Connection, port: u16) {
        self.wires.insert(
            key,
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
        key: WireKey,
        bytes: &[u8],
        now_us: u64,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let late = self.happens(17, random);
        let Some(wire) = self.wires.get_mut(&key) else {
            return Ok(());
        };
        wire.inbox.extend_from_slice(bytes);
        while let Some(length) = wire.inbox.first_chunk::<4>() {
            let length = i32::from_be_bytes(*length) as usize;
            if wire.inbox.len() < 4 + length {
                break;
            }
            let frame: Vec<u8> = wire.inbox.drain(..4 + length).skip(4).collect();
            let mut asked = decode(&frame, now_us)?;
            if let Some(fetch) = &mut asked.fetch {
                asked.place = self.sessions.take(wire.broker, asked.version, fetch)?;
            }
            if let Place::Refused(_) = asked.place {
                asked.due_us = now_us;
            }
            if late {
                coverage.hit(FAULTS[17]);
                asked.not_before_us = now_us + random.below(LATE_US_MAX);
            }
            wire.asked.push_back(asked);
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
        if wire.dumb || !wire.outbox.is_empty() || asked.not_before_us > now_us {
            return false;
        }
        asked.due_us <= now_us
            || asked.fetch.as_ref().is_none_or(|fetch| {
                let topics = fetch.topics.iter();
                let mut partitions = topics.flat_map(|topic| {
                    let id = topic.topic_id.into_bytes();
                    topic.partitions.iter().map(move |one| (id, one))
                });
                let broker = wire.broker;
                partitions.any(|(id, one)| {
                    !matches!(
                        self.state(broker, asked.version, fetch, id, one),
                        Said::Nothing
                    )
                })
            })
    }

    fn state(
        &self,
        broker: i32,
        version: i16,
        fetch: &FetchRequest,
        id: [u8; 16],
        one: &FetchPartition,
    ) -> Said {
        if version >= 13 && self.topic_id != Some(id) {
            return Said::Error(100);
        }
        if self.topic_id.is_none() {
            return Said::Error(3);
        }
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
        key: WireKey,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Option<&'static str> {
        let wire = self.wires.get_mut(&key)?;
        let broker = wire.broker;
        let asked = wire.asked.pop_front()?;
        let mut bytes = match &asked.fetch {
            None => versions(&asked, self.fetch_version),
            Some(fetch) => {
                let response = self.respond(broker, &asked, fetch, random, coverage);
                encode(
                    asked.correlation,
                    asked.version,
                    &response,
                    u8::from(asked.version >= 12) as i16,
                )
            }
        };
        let breaks = match &asked.fetch {
            Some(_) => spoil::response(self, &mut bytes, random, coverage),
            None => None,
        };
        let wire = self.wires.get_mut(&key)?;
        wire.outbox.extend(bytes);
        breaks
    }

    /// What is sent: in a session what is new.
    fn respond(
        &mut self,
        broker: i32,
        asked: &Asked,
        fetch: &FetchRequest,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> FetchResponse {
        let refused = match asked.place {
            Place::Refused(code) => Some(code),
            Place::In(id) if self.happens(28, random) => {
                Some(self.sessions.lose(broker, id, random, coverage))
            }
            _ => None,
        };
        if let Some(code) = refused {
            return FetchResponse::default().with_error_code(code);
        }
        let mut response = self.fetch(broker, asked, fetch, random, coverage);
        let request = (asked.version, fetch);
        let (sessions, place) = (&mut self.sessions, asked.place);
        sessions.answer(broker, place, request, &mut response, random, coverage);
        response
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
        if asked.version >= 8 && self.happens(8, random) {
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
            let id = topic.topic_id.into_bytes();
            for one in &topic.partitions {
                let version = asked.version;
                let state = self.state(broker, version, fetch, id, one);
                let mut data = self.partition(state, fetch, one, &mut left, random, coverage);
                if data.error_code == 0 {
                    data = spoil::partition(self, data, random, coverage);
                }
                let moved = matches!(data.error_code, 6 | 74);
                if moved && version >= 12 && random.chance(500) {
                    let (leader, epoch) = self.leaders[one.partition as usize];
                    data.current_leader = LeaderIdAndEpoch::default()
                        .with_leader_id(BrokerId(leader))
                        .with_leader_epoch(epoch);
                    if version >= 16 {
                        response.node_endpoints = (1..=BROKERS).map(endpoint).collect();
                    }
                }
                said.partitions.push(data);
            }
            spoil::order(self, &mut said.partitions, random, coverage);
            response.responses.push(said);
        }
        response
    }

    fn partition(
        &self,
        state: Said,
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
        if let Said::Error(code) = state {
            let log = self.logs.get(one.partition as usize);
            coverage.hit(match code {
                6 => FAULTS[11],
                1 if log.is_some_and(|log| one.fetch_offset < log.start) => FAULTS[13],
                1 => FAULTS[15],
                74 | 75 => FAULTS[12],
                _ => FAULTS[6],
            });
            return data.with_error_code(code);
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
        let mut wanted = log
            .batches
            .iter()
            .filter(|batch| batch.next > one.fetch_offset);
        for batch in wanted.by_ref() {
            if batch.next > end {
                coverage.hit(CONTENTS[8]);
                break;
            }
            if batch.bytes.len() > room && !records.is_empty() {
                if random.chance(300) && self.case.has(FAULTS[10]) {
                    let cut = random.below(batch.bytes.len() as u64) as usize;
                    records.extend_from_slice(&batch.bytes[..cut]);
                    coverage.hit(FAULTS[10]);
                }
                break;
            }
            if batch.base < one.fetch_offset {
                coverage.hit(CONTENTS[9]);
            }
            batch.contents().for_each(|what| coverage.hit(what));
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
                coverage.hit(FAULTS[22]);
                self.corrupts(one.partition);
                break;
            }
            if random.chance(100) {
                break;
            }
        }
        if committed {
            let overlaps = |span: &&AbortedSpan| span.last >= one.fetch_offset && span.first < upto;
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
        place: Place::Outside,
        due_us: now_us + wait_ms as u64 * 1_000,
        not_before_us: 0,
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
    encode(asked.correlation, asked.version, &response, 0)
}

/// A response as a frame, its length first.
pub(super) fn encode(
    correlation_id: i32,
    version: i16,
    response: &impl Encodable,
    header_version: i16,
) -> Vec<u8> {
    let mut body = bytes::BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut body, header_version)
        .expect("a header that encodes");
    response
        .encode(&mut body, version)
        .expect("a response that encodes");
    let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}
