//! What the broker answers: one function a question, from a request's bytes to a response's.
//!
//! What concerns groups stands in [`crate::coordinator`].

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use ingest::kafka::ErrorCode;
use ingest::kafka::fetch::{FetchResponse, ResponsePartition, encode_response};
use ingest::kafka::wire::Reader;
use kafka_protocol::messages as k;
use kafka_protocol::protocol::{Encodable, StrBytes};
use storage::ids::TopicId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::ConnectionError;
use crate::groups::Groups;
use crate::limits::{FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX};
use crate::log::{LEADER_EPOCH, Log};
use crate::request::{
    API_VERSIONS, FETCH, FIND_COORDINATOR, Fetch, Head, LIST_OFFSETS, METADATA, OFFSET_COMMIT,
    OFFSET_FETCH, OFFSET_FOR_LEADER_EPOCH, PRODUCE, Produce, SPOKEN, TopicKey, read_epoch_ends,
    read_list_offsets, read_metadata,
};
use crate::topics::{Topic, Topics};

/// The one broker's id.
pub(crate) const NODE: k::BrokerId = k::BrokerId(1);
const CLUSTER: &str = "pinleaf-devbroker";

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Broker {
    pub addr: SocketAddr,
    pub topics: Topics,
    pub groups: Mutex<Groups>,
    /// Counts appends: what a held fetch waits for.
    pub appended: watch::Sender<u64>,
}

impl Broker {
    /// The answer to one request, with its length in front; `None` where none is wanted.
    pub async fn answer(&self, request: &[u8]) -> Result<Option<Vec<u8>>, ConnectionError> {
        let mut reader = Reader::new(request);
        let head = Head::read(&mut reader)?;
        let reader = &mut reader;
        if !head.is_spoken() {
            // Only this question has an answer in a version that is not spoken: in version 0's form.
            if head.key == API_VERSIONS {
                let head = Head {
                    version: 0,
                    flexible: false,
                    ..head
                };
                return self.api_versions(head, ErrorCode::UnsupportedVersion);
            }
            return Err(ConnectionError::NotSpoken {
                key: head.key,
                version: head.version,
            });
        }
        match head.key {
            PRODUCE => self.produce(reader, head),
            FETCH => self.fetch(reader, head).await,
            LIST_OFFSETS => self.list_offsets(reader, head),
            METADATA => self.metadata(reader, head),
            OFFSET_COMMIT => self.offset_commit(reader, head),
            OFFSET_FETCH => self.offset_fetch(reader, head),
            FIND_COORDINATOR => self.find_coordinator(reader, head),
            OFFSET_FOR_LEADER_EPOCH => self.epoch_ends(reader, head),
            _ => self.api_versions(head, ErrorCode::None),
        }
    }

    fn api_versions(
        &self,
        head: Head,
        error: ErrorCode,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        let keys = SPOKEN.iter().map(|&(key, min, max, _)| {
            // librdkafka takes a codec for unusable where Produce 0 is not announced, as Kafka knows.
            let min = if key == PRODUCE { 0 } else { min };
            k::api_versions_response::ApiVersion::default()
                .with_api_key(key)
                .with_min_version(min)
                .with_max_version(max)
        });
        let body = k::ApiVersionsResponse::default()
            .with_error_code(error.code())
            .with_api_keys(keys.collect());
        respond(head, &body)
    }

    fn produce(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::produce_response::{PartitionProduceResponse, TopicProduceResponse};
        let request = Produce::read(reader, head)?;
        let mut topics = Vec::new();
        let mut batch = Vec::new();
        for (name, partitions) in request.topics {
            let mut answers = Vec::new();
            for (index, records) in partitions {
                let appended = match self
                    .topics
                    .get(name)
                    .and_then(|topic| topic.partition(index))
                {
                    None => Err(ErrorCode::UnknownTopicOrPartition),
                    Some(_) if !matches!(request.acks, -1..=1) => {
                        Err(ErrorCode::InvalidRequiredAcks)
                    }
                    Some(log) => {
                        batch.clear();
                        batch.extend_from_slice(records);
                        locked(log).append(&mut batch)
                    }
                };
                let mut answer = PartitionProduceResponse::default()
                    .with_index(index)
                    .with_error_code(appended.err().unwrap_or(ErrorCode::None).code())
                    .with_base_offset(appended.unwrap_or(-1))
                    .with_log_append_time_ms(-1);
                if head.version >= 5 {
                    answer.log_start_offset = 0;
                }
                answers.push(answer);
            }
            topics.push(
                TopicProduceResponse::default()
                    .with_name(topic_name(name))
                    .with_partition_responses(answers),
            );
        }
        self.appended.send_modify(|count| *count += 1);
        if request.acks == 0 {
            return Ok(None);
        }
        respond(head, &k::ProduceResponse::default().with_responses(topics))
    }

    async fn fetch(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        let request = Fetch::read(reader, head)?;
        let mut appended = self.appended.subscribe();
        let until = Instant::now() + Duration::from_millis(request.wait_ms.min(FETCH_WAIT_MS_MAX));
        let mut records = Vec::new();
        loop {
            appended.borrow_and_update();
            records.clear();
            let partitions = self.read(&request, &mut records);
            let failed = partitions.iter().any(|one| one.error.is_error());
            if !failed && records.len() < request.bytes_min {
                // An error of the sender is its end: then there is nothing left to wait for.
                let more = tokio::time::timeout_at(until, appended.changed()).await;
                if matches!(more, Ok(Ok(()))) {
                    continue;
                }
            }
            let mut at = 0;
            let answers: Vec<_> = partitions
                .iter()
                .map(|one| {
                    let from = at;
                    at += one.bytes;
                    one.response(&records[from..at])
                })
                .collect();
            let mut out = Vec::with_capacity(records.len() + 128 * (1 + answers.len()));
            let response = FetchResponse {
                version: head.version,
                correlation_id: head.correlation_id,
                throttle_ms: 0,
                error: ErrorCode::None,
                session_id: 0,
                partitions: &answers,
                endpoints: &[],
            };
            encode_response(&mut out, &response);
            return Ok(Some(out));
        }
    }

    /// Reads what there is for every partition of a fetch, one behind the other.
    fn read<'a>(&'a self, request: &Fetch<'a>, records: &mut Vec<u8>) -> Vec<Read<'a>> {
        let bytes_max = request.bytes_max.min(FETCH_BYTES_MAX);
        let mut all = Vec::new();
        for wanted in &request.partitions {
            let found = match wanted.topic {
                TopicKey::Name(name) => self.topics.get(name).map(|topic| (name, topic)),
                TopicKey::Id(id) => self.topics.by_id(id),
            };
            let mut read = Read {
                topic: match wanted.topic {
                    TopicKey::Name(name) => name,
                    TopicKey::Id(_) => "",
                },
                topic_id: match wanted.topic {
                    TopicKey::Name(_) => TopicId::default(),
                    TopicKey::Id(id) => id,
                },
                partition: wanted.partition,
                error: match wanted.topic {
                    TopicKey::Name(_) => ErrorCode::UnknownTopicOrPartition,
                    TopicKey::Id(_) => ErrorCode::UnknownTopicId,
                },
                end: -1,
                bytes: 0,
            };
            if let Some((_, topic)) = found {
                read.error = ErrorCode::UnknownTopicOrPartition;
                if let Some(log) = topic.partition(wanted.partition) {
                    let log = locked(log);
                    let start = records.len();
                    let room = bytes_max.saturating_sub(start).min(wanted.bytes_max);
                    read.end = log.next_offset();
                    read.error = match check_epoch(wanted.current_leader_epoch) {
                        Some(error) => error,
                        None => log
                            .read(wanted.offset, room, start == 0, records)
                            .err()
                            .unwrap_or(ErrorCode::None),
                    };
                    read.bytes = records.len() - start;
                }
            }
            all.push(read);
        }
        all
    }

    fn list_offsets(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
        const LATEST: i64 = -1;
        const EARLIEST: i64 = -2;
        let topics = read_list_offsets(reader, head)?
            .into_iter()
            .map(|(name, partitions)| {
                let answers = partitions
                    .into_iter()
                    .map(|(index, epoch, time)| {
                        let found = self.log(name, index, epoch).and_then(|log| match time {
                            LATEST => Ok(log.next_offset()),
                            EARLIEST => Ok(0),
                            // There is no index by time.
                            _ => Err(ErrorCode::UnsupportedForMessageFormat),
                        });
                        let mut answer = ListOffsetsPartitionResponse::default()
                            .with_partition_index(index)
                            .with_error_code(found.err().unwrap_or(ErrorCode::None).code())
                            .with_timestamp(-1)
                            .with_offset(found.unwrap_or(-1));
                        if head.version >= 4 {
                            answer.leader_epoch = LEADER_EPOCH;
                        }
                        answer
                    })
                    .collect();
                ListOffsetsTopicResponse::default()
                    .with_name(topic_name(name))
                    .with_partitions(answers)
            })
            .collect();
        respond(head, &k::ListOffsetsResponse::default().with_topics(topics))
    }

    fn epoch_ends(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
        let topics = read_epoch_ends(reader, head)?
            .into_iter()
            .map(|(name, partitions)| {
                let answers = partitions
                    .into_iter()
                    .map(|(index, current, asked)| {
                        let end = self.log(name, index, current).map(|log| {
                            if asked >= LEADER_EPOCH {
                                (LEADER_EPOCH, log.next_offset())
                            } else {
                                (-1, -1)
                            }
                        });
                        let (epoch, end_offset) = end.unwrap_or((-1, -1));
                        EpochEndOffset::default()
                            .with_error_code(end.err().unwrap_or(ErrorCode::None).code())
                            .with_partition(index)
                            .with_leader_epoch(epoch)
                            .with_end_offset(end_offset)
                    })
                    .collect();
                OffsetForLeaderTopicResult::default()
                    .with_topic(topic_name(name))
                    .with_partitions(answers)
            })
            .collect();
        respond(
            head,
            &k::OffsetForLeaderEpochResponse::default().with_topics(topics),
        )
    }

    fn metadata(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
        let topics = match read_metadata(reader, head)? {
            None => self
                .topics
                .iter()
                .map(|(name, topic)| described(name, topic, head.version))
                .collect(),
            Some(asked) => asked
                .into_iter()
                .map(|key| {
                    let found = match key {
                        TopicKey::Name(name) => self.topics.get(name).map(|topic| (name, topic)),
                        TopicKey::Id(id) => self.topics.by_id(id),
                    };
                    match (found, key) {
                        (Some((name, topic)), _) => described(name, topic, head.version),
                        (None, TopicKey::Name(name)) => MetadataResponseTopic::default()
                            .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
                            .with_name(Some(topic_name(name))),
                        (None, TopicKey::Id(id)) => MetadataResponseTopic::default()
                            .with_error_code(ErrorCode::UnknownTopicId.code())
                            .with_name((head.version < 12).then(|| topic_name("")))
                            .with_topic_id(uuid::Uuid::from_bytes(id.0)),
                    }
                })
                .collect(),
        };
        let mut body = k::MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(NODE)
                    .with_host(text(&self.addr.ip().to_string()))
                    .with_port(self.addr.port().into()),
            ])
            .with_topics(topics);
        if head.version >= 1 {
            body.controller_id = NODE;
        }
        if head.version >= 2 {
            body.cluster_id = Some(text(CLUSTER));
        }
        respond(head, &body)
    }

    fn log(&self, topic: &str, index: i32, epoch: i32) -> Result<MutexGuard<'_, Log>, ErrorCode> {
        let log = self
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(index))
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        match check_epoch(epoch) {
            Some(error) => Err(error),
            None => Ok(locked(log)),
        }
    }
}

/// What a fetch found in one partition; its bytes stand behind those of the one before.
struct Read<'a> {
    topic: &'a str,
    topic_id: TopicId,
    partition: i32,
    error: ErrorCode,
    end: i64,
    bytes: usize,
}

impl<'a> Read<'a> {
    fn response<'r>(&self, records: &'r [u8]) -> ResponsePartition<'r>
    where
        'a: 'r,
    {
        ResponsePartition {
            topic: self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
            error: self.error,
            high_watermark: self.end,
            last_stable_offset: self.end,
            log_start_offset: if self.end < 0 { -1 } else { 0 },
            aborted: &[],
            diverging: None,
            current_leader: None,
            records,
        }
    }
}

fn described(
    name: &str,
    topic: &Topic,
    version: i16,
) -> k::metadata_response::MetadataResponseTopic {
    use k::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
    let partitions = (0..topic.partitions.len())
        .map(|index| {
            let mut partition = MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(NODE)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE]);
            if version >= 7 {
                partition.leader_epoch = LEADER_EPOCH;
            }
            partition
        })
        .collect();
    let mut described = MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_partitions(partitions);
    if version >= 10 {
        described.topic_id = uuid::Uuid::from_bytes(topic.id.0);
    }
    described
}

/// A client that believes in another epoch of the one leader there is.
fn check_epoch(epoch: i32) -> Option<ErrorCode> {
    (epoch > LEADER_EPOCH).then_some(ErrorCode::UnknownLeaderEpoch)
}

/// A panic while a lock was held leaves data that every method keeps whole: go on with it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> k::TopicName {
    k::TopicName::from(text(name))
}

/// `length | header | body`.
pub(crate) fn respond(
    head: Head,
    body: &impl Encodable,
) -> Result<Option<Vec<u8>>, ConnectionError> {
    let mut bytes = BytesMut::zeroed(4);
    let header_version = i16::from(head.flexible && head.key != API_VERSIONS);
    k::ResponseHeader::default()
        .with_correlation_id(head.correlation_id)
        .encode(&mut bytes, header_version)
        .and_then(|()| body.encode(&mut bytes, head.version))
        .map_err(|error| ConnectionError::Unencodable {
            key: head.key,
            version: head.version,
            text: error.to_string(),
        })?;
    let size = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    Ok(Some(bytes.into()))
}
