//! A scripted Kafka cluster over loopback: as many listeners as brokers, one state behind them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use ingest::kafka::fetch::{FetchResponse, ResponsePartition, encode_response};
use ingest::kafka::{BatchBuilder, ErrorCode};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, FetchRequest, FindCoordinatorRequest, FindCoordinatorResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, RequestHeader, ResponseHeader,
    TopicName, api_versions_response::ApiVersion,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// (key, newest version that it speaks, first flexible version)
const APIS: [(i16, i16, i16); 8] = [
    (1, 16, 12),
    (2, 8, 6),
    (3, 12, 9),
    (8, 9, 8),
    (9, 7, 6),
    (10, 4, 3),
    (18, 3, 3),
    (23, 4, 4),
];

/// One partition of the topic.
#[derive(Clone, Debug)]
pub struct Log {
    pub leader: i32,
    pub epoch: i32,
    pub start: i64,
    /// One record an offset.
    pub messages: Vec<String>,
    /// Offsets behind them that compaction emptied.
    pub compacted_end: i64,
}

impl Log {
    fn end(&self) -> i64 {
        self.start + self.messages.len() as i64 + self.compacted_end
    }
}

/// What the cluster answers.
#[derive(Debug, Default)]
pub struct State {
    /// Port of each broker; broker ids count from 1.
    pub ports: Vec<u16>,
    pub topic: String,
    pub topic_id: [u8; 16],
    /// By index; none: there is no such topic.
    pub logs: Option<Vec<Log>>,
    /// (group, partition) to (offset, metadata).
    pub group: BTreeMap<(String, i32), (i64, String)>,
    /// So many more questions for offsets are answered by NOT_LEADER_OR_FOLLOWER.
    pub lists_refused: u32,
    /// Answers nothing any more, but reads on.
    pub silent: bool,
    /// Ends every connection after this answer.
    pub close_after: bool,
    /// Sends this instead of the next answer.
    pub garbage: Option<Vec<u8>>,
    /// Error codes of the next fetches, 0 for none.
    pub refusals: VecDeque<i16>,
    /// What the next questions for the earliest offset are answered, whatever the logs hold.
    pub earliest: VecDeque<i64>,
    /// The next answer to Metadata, as it is then, is sent when this says so.
    pub held: Option<oneshot::Receiver<()>>,
    /// Whether the connection that waited so has ended.
    pub held_ended: bool,
    /// How often each api was asked.
    pub asked: BTreeMap<i16, u32>,
}

/// The cluster; dropping it closes the listeners.
pub struct Cluster {
    state: Arc<Mutex<State>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// Brokers that share a topic of `partitions`, dealt so that 0 and 1 are the first's.
    pub async fn start(brokers: usize, partitions: usize) -> Cluster {
        let state = Arc::new(Mutex::new(State {
            topic: "orders".into(),
            topic_id: [1; 16],
            logs: Some(
                (0..partitions)
                    .map(|index| Log {
                        leader: (index * brokers / partitions) as i32 + 1,
                        epoch: 0,
                        start: 0,
                        messages: Vec::new(),
                        compacted_end: 0,
                    })
                    .collect(),
            ),
            ..State::default()
        }));
        let mut listeners = Vec::new();
        for _ in 0..brokers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            state.lock().unwrap().ports.push(port);
            let state = state.clone();
            listeners.push(tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, state.clone()));
                }
            }));
        }
        Cluster { state, listeners }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `host:port` of each.
    pub fn servers(&self) -> Vec<String> {
        let state = self.state();
        state
            .ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect()
    }

    pub fn log(&self, index: usize, change: impl FnOnce(&mut Log)) {
        change(&mut self.state().logs.as_mut().unwrap()[index]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let was_held = serve_until_it_ends(stream, &state).await;
    state.lock().unwrap().held_ended |= was_held;
}

/// Whether an answer of it was held.
async fn serve_until_it_ends(mut stream: TcpStream, state: &Mutex<State>) -> bool {
    let mut was_held = false;
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).await.is_err() {
            return was_held;
        }
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut request).await.is_err() {
            return was_held;
        }
        let (answer, held) = {
            let mut state = state.lock().unwrap();
            let key = i16::from_be_bytes([request[0], request[1]]);
            *state.asked.entry(key).or_default() += 1;
            if state.silent {
                continue;
            }
            let held = state.held.take_if(|_| key == 3);
            let answer = match state.garbage.take() {
                Some(garbage) => (garbage, true),
                None => (state.answer(request), state.close_after),
            };
            (answer, held)
        };
        if let Some(held) = held {
            was_held = true;
            held.await.unwrap();
        }
        if stream.write_all(&answer.0).await.is_err() || answer.1 {
            return was_held;
        }
    }
}

impl State {
    fn answer(&mut self, request: Vec<u8>) -> Vec<u8> {
        let key = i16::from_be_bytes([request[0], request[1]]);
        let version = i16::from_be_bytes([request[2], request[3]]);
        let flexible = APIS.iter().any(|api| api.0 == key && version >= api.2);
        let mut body = Bytes::from(request);
        let header = RequestHeader::decode(&mut body, if flexible { 2 } else { 1 }).unwrap();
        if key == 1 {
            let fetch = FetchRequest::decode(&mut body, version).unwrap();
            return self.fetch(&fetch, version, header.correlation_id);
        }
        let mut out = BytesMut::new();
        let response = ResponseHeader::default().with_correlation_id(header.correlation_id);
        response
            .encode(&mut out, i16::from(flexible && key != 18))
            .unwrap();
        match key {
            18 => self.versions().encode(&mut out, version),
            3 => {
                MetadataRequest::decode(&mut body, version).unwrap();
                self.metadata().encode(&mut out, version)
            }
            2 => self
                .list(&ListOffsetsRequest::decode(&mut body, version).unwrap())
                .encode(&mut out, version),
            23 => self
                .epochs(&OffsetForLeaderEpochRequest::decode(&mut body, version).unwrap())
                .encode(&mut out, version),
            10 => self
                .coordinator(&FindCoordinatorRequest::decode(&mut body, version).unwrap())
                .encode(&mut out, version),
            8 => self
                .commit(OffsetCommitRequest::decode(&mut body, version).unwrap())
                .encode(&mut out, version),
            9 => self
                .published(OffsetFetchRequest::decode(&mut body, version).unwrap())
                .encode(&mut out, version),
            key => panic!("asked for {key}"),
        }
        .unwrap();
        let mut frame = (out.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&out);
        frame
    }

    fn versions(&self) -> ApiVersionsResponse {
        ApiVersionsResponse::default().with_api_keys(
            APIS.iter()
                .map(|(key, newest, _)| {
                    ApiVersion::default()
                        .with_api_key(*key)
                        .with_max_version(*newest)
                })
                .collect(),
        )
    }

    fn metadata(&self) -> MetadataResponse {
        let brokers = (1..).zip(&self.ports).map(|(id, port)| {
            MetadataResponseBroker::default()
                .with_node_id(id.into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(*port))
        });
        let mut topic = MetadataResponseTopic::default().with_name(Some(self.name()));
        match &self.logs {
            None => topic.error_code = 3,
            Some(logs) => {
                topic.topic_id = self.topic_id.to_vec().try_into().unwrap();
                topic.partitions = (0..)
                    .zip(logs)
                    .map(|(index, log)| {
                        MetadataResponsePartition::default()
                            .with_partition_index(index)
                            .with_leader_id(log.leader.into())
                            .with_leader_epoch(log.epoch)
                    })
                    .collect();
            }
        }
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_topics(vec![topic])
    }

    fn name(&self) -> TopicName {
        TopicName::from(StrBytes::from_string(self.topic.clone()))
    }

    fn of(&self, index: i32) -> Option<&Log> {
        self.logs.as_ref()?.get(index as usize)
    }

    fn list(&mut self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let earliest = match request.topics[0].partitions[0].timestamp {
            -2 => self.earliest.pop_front(),
            _ => None,
        };
        let refused = self.lists_refused > 0;
        self.lists_refused = self.lists_refused.saturating_sub(1);
        let partitions = request.topics[0].partitions.iter().map(|asked| {
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            match self.of(asked.partition_index) {
                None => answer.with_error_code(3),
                Some(_) if refused => answer.with_error_code(6),
                Some(log) => answer.with_offset(match asked.timestamp {
                    -2 => earliest.unwrap_or(log.start),
                    _ => log.end(),
                }),
            }
        });
        ListOffsetsResponse::default().with_topics(vec![
            ListOffsetsTopicResponse::default()
                .with_name(self.name())
                .with_partitions(partitions.collect()),
        ])
    }

    fn epochs(&self, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        let partitions = request.topics[0].partitions.iter().map(|asked| {
            EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_leader_epoch(asked.leader_epoch)
                .with_end_offset(77)
        });
        OffsetForLeaderEpochResponse::default().with_topics(vec![
            OffsetForLeaderTopicResult::default()
                .with_topic(self.name())
                .with_partitions(partitions.collect()),
        ])
    }

    fn coordinator(&self, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
        FindCoordinatorResponse::default().with_coordinators(vec![
            Coordinator::default()
                .with_key(request.coordinator_keys[0].clone())
                .with_node_id(1.into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(self.ports[0])),
        ])
    }

    fn commit(&mut self, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let group = request.group_id.0.to_string();
        let mut partitions = Vec::new();
        for partition in &request.topics[0].partitions {
            let metadata = partition.committed_metadata.as_ref();
            self.group.insert(
                (group.clone(), partition.partition_index),
                (
                    partition.committed_offset,
                    metadata.map(ToString::to_string).unwrap_or_default(),
                ),
            );
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index),
            );
        }
        OffsetCommitResponse::default().with_topics(vec![
            OffsetCommitResponseTopic::default()
                .with_name(self.name())
                .with_partitions(partitions),
        ])
    }

    fn published(&self, request: OffsetFetchRequest) -> OffsetFetchResponse {
        let group = request.group_id.0.to_string();
        let topics = request.topics.unwrap();
        let partitions = topics[0].partition_indexes.iter().map(|index| {
            let known = self.group.get(&(group.clone(), *index));
            let metadata = known.map_or("", |known| known.1.as_str());
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(known.map_or(-1, |known| known.0))
                .with_metadata(Some(StrBytes::from_string(metadata.to_owned())))
        });
        OffsetFetchResponse::default().with_topics(vec![
            OffsetFetchResponseTopic::default()
                .with_name(self.name())
                .with_partitions(partitions.collect()),
        ])
    }

    /// Two records a batch, so that a fetch may begin in the middle of one.
    fn fetch(&mut self, request: &FetchRequest, version: i16, correlation_id: i32) -> Vec<u8> {
        let asked = &request.topics[0].partitions[0];
        let refusal = self.refusals.pop_front().unwrap_or_default();
        let log = self.of(asked.partition).unwrap();
        let outside = !(log.start..=log.end()).contains(&asked.fetch_offset);
        let error = match refusal {
            0 if outside => ErrorCode::OffsetOutOfRange,
            code => ErrorCode::from(code),
        };
        let first = (asked.fetch_offset - log.start) as usize / 2 * 2;
        let mut records = Vec::new();
        let there = if error.is_error() { 0 } else { 2 };
        let batches = log.messages.chunks(2).enumerate().skip(first / 2);
        for (at, pair) in batches.take(there) {
            let mut batch = BatchBuilder::new(log.start + at as i64 * 2);
            for message in pair {
                batch.push(1_000, None, Some(message.as_bytes()));
            }
            records.extend(batch.build());
        }
        let partition = ResponsePartition {
            topic: &self.topic,
            topic_id: storage::ids::TopicId(self.topic_id),
            partition: asked.partition,
            error,
            high_watermark: log.end(),
            last_stable_offset: log.end(),
            log_start_offset: log.start,
            aborted: &[],
            records: &records,
            current_leader: None,
            diverging: None,
        };
        let mut out = Vec::new();
        encode_response(
            &mut out,
            &FetchResponse {
                version,
                correlation_id,
                throttle_ms: 0,
                error: ErrorCode::None,
                session_id: 0,
                partitions: &[partition],
                endpoints: &[],
            },
        );
        out
    }
}
