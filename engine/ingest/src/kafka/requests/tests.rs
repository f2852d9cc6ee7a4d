//! Each question against an independent codec in every version, and each answer cut and bent.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use storage::ids::{Offset, TopicId};

use super::super::wire::{put_count, put_string};
use super::*;

/// A broker that speaks exactly this version of this question.
fn only(api: Api, version: i16) -> Versions {
    Versions::of_broker([(api.key(), version, version)])
}

fn asker(versions: &Versions) -> Asker<'_> {
    Asker {
        versions,
        correlation_id: 41,
        client_id: "pinleaf",
    }
}

/// Reads a request back by kafka-protocol, to the last byte.
fn read_back<T: Decodable>(sent: &Sent, out: Vec<u8>) -> T {
    let mut bytes = Bytes::from(out);
    assert_eq!(bytes.get_u32() as usize, bytes.remaining());
    let header_version = if sent.api.is_flexible(sent.version) {
        2
    } else {
        1
    };
    let header = theirs::RequestHeader::decode(&mut bytes, header_version).unwrap();
    assert_eq!(header.correlation_id, 41);
    assert_eq!(header.request_api_key, sent.api.key());
    let body = T::decode(&mut bytes, sent.version).unwrap();
    assert_eq!(bytes.remaining(), 0, "{} {}", sent.api.name(), sent.version);
    body
}

/// A response by kafka-protocol, as a frame without its length.
fn frame(sent: &Sent, body: &impl Encodable) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header_version =
        i16::from(sent.api.is_flexible(sent.version) && sent.api != Api::ApiVersions);
    theirs::ResponseHeader::default()
        .with_correlation_id(sent.correlation_id)
        .encode(&mut bytes, header_version)
        .unwrap();
    body.encode(&mut bytes, sent.version).unwrap();
    bytes.to_vec()
}

/// Cut anywhere it is an error; with any byte bent it is an answer or an error.
fn hostile<T>(frame: &[u8], decode: impl Fn(&[u8]) -> Result<T, ResponseFault>) {
    let mut whole = 0;
    for cut in 0..frame.len() {
        whole += usize::from(decode(&frame[..cut]).is_ok());
    }
    // Trailing fields that nobody reads may be missing.
    assert!(whole <= 8, "{whole} cuts of {} pass", frame.len());
    for at in 0..frame.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bent = frame.to_vec();
            bent[at] = byte;
            let _ = decode(&bent);
        }
    }
}

fn versions_of(api: Api) -> std::ops::RangeInclusive<i16> {
    let (min, max) = api.spoken();
    min..=max
}

fn topic(name: &str) -> theirs::TopicName {
    theirs::TopicName::from(text(name))
}

#[test]
fn api_versions_negotiates_and_falls_back() {
    for version in [0, 3] {
        let mut out = Vec::new();
        let sent = encode_api_versions(&mut out, version, 41, "pinleaf").unwrap();
        let _: theirs::ApiVersionsRequest = read_back(&sent, out);
        let one = |key, min, max| {
            theirs::api_versions_response::ApiVersion::default()
                .with_api_key(key)
                .with_min_version(min)
                .with_max_version(max)
        };
        let body = theirs::ApiVersionsResponse::default().with_api_keys(vec![
            one(1, 4, 18),
            one(3, 0, 3),
            one(999, 0, 1),
        ]);
        let frame = frame(&sent, &body);
        let versions = decode_api_versions(&sent, &frame).unwrap().unwrap();
        assert_eq!(versions.get(Api::Fetch), Ok(17));
        assert_eq!(
            versions.get(Api::Metadata).unwrap_err().to_string(),
            "the broker speaks Metadata 0 to 3, this version 4 to 12"
        );
        assert!(versions.get(Api::OffsetCommit).is_err());
        hostile(&frame, |bytes| decode_api_versions(&sent, bytes));
    }
    // A broker that knows version 2 at most answers in version 0's encoding.
    let sent = Sent {
        api: Api::ApiVersions,
        version: 3,
        correlation_id: 41,
    };
    let refusal = [0, 0, 0, 41, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2];
    assert_eq!(decode_api_versions(&sent, &refusal), Ok(None));
    let sent = Sent { version: 0, ..sent };
    assert!(matches!(
        decode_api_versions(&sent, &refusal),
        Err(ResponseFault::Refused { .. })
    ));
    assert!(matches!(
        decode_api_versions(&sent, &[0, 0, 0, 42, 0, 0]),
        Err(ResponseFault::Correlation {
            got: 42,
            expected: 41
        })
    ));
}

#[test]
fn metadata_in_every_version() {
    use theirs::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    for version in versions_of(Api::Metadata) {
        let versions = only(Api::Metadata, version);
        let mut out = Vec::new();
        let sent = encode_metadata(
            &mut out,
            &asker(&versions),
            MetadataTopics::Names(&["orders"]),
        )
        .unwrap();
        let request: theirs::MetadataRequest = read_back(&sent, out);
        let topics = request.topics.unwrap();
        assert_eq!(topics[0].name.as_ref().unwrap().as_str(), "orders");
        assert!(!request.allow_auto_topic_creation);

        let mut partition = MetadataResponsePartition::default()
            .with_partition_index(3)
            .with_leader_id(theirs::BrokerId(2))
            .with_replica_nodes(vec![theirs::BrokerId(2), theirs::BrokerId(1)])
            .with_isr_nodes(vec![theirs::BrokerId(2)]);
        let mut answer_topic = MetadataResponseTopic::default().with_name(Some(topic("orders")));
        if version >= 7 {
            partition.leader_epoch = 9;
        }
        if version >= 10 {
            answer_topic.topic_id = uuid::Uuid::from_bytes([5; 16]);
        }
        answer_topic.partitions = vec![partition];
        let body = theirs::MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(theirs::BrokerId(2))
                    .with_host(text("b2.example"))
                    .with_port(9093),
            ])
            .with_cluster_id(Some(text("cluster")))
            .with_controller_id(theirs::BrokerId(1))
            .with_topics(vec![answer_topic]);
        let frame = frame(&sent, &body);
        let metadata = decode_metadata(&sent, &frame).unwrap();
        let broker = metadata.broker(2).unwrap();
        assert_eq!((broker.host.as_str(), broker.port), ("b2.example", 9093));
        assert_eq!(metadata.cluster_id.as_deref(), Some("cluster"));
        let got = &metadata.topics[0];
        assert_eq!(got.name.as_deref(), Some("orders"));
        assert_eq!(
            got.partitions,
            [Partition {
                error: ErrorCode::None,
                index: 3,
                leader: 2,
                leader_epoch: if version >= 7 { 9 } else { -1 },
            }]
        );
        let id = if version >= 10 { [5; 16] } else { [0; 16] };
        assert_eq!(got.id, TopicId(id));
        hostile(&frame, |bytes| decode_metadata(&sent, bytes));

        let mut out = Vec::new();
        let by_id = encode_metadata(
            &mut out,
            &asker(&versions),
            MetadataTopics::Ids(&[TopicId([5; 16])]),
        );
        if version >= 12 {
            let request: theirs::MetadataRequest = read_back(&by_id.unwrap(), out);
            let topics = request.topics.unwrap();
            assert_eq!(topics[0].topic_id.as_bytes(), &[5; 16]);
        } else {
            assert!(matches!(by_id, Err(RequestFault::Unsupported { .. })));
        }
    }
}

#[test]
fn list_offsets_in_every_version() {
    use theirs::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
    for version in versions_of(Api::ListOffsets) {
        let versions = only(Api::ListOffsets, version);
        let ask = |topic, partition, spec| AskOffset {
            topic,
            partition,
            current_leader_epoch: 4,
            spec,
        };
        let asks = [
            ask("a", 0, OffsetSpec::Earliest),
            ask("a", 1, OffsetSpec::Latest),
            ask("b", 0, OffsetSpec::AtTime(77)),
        ];
        let mut out = Vec::new();
        let sent = encode_list_offsets(&mut out, &asker(&versions), true, &asks).unwrap();
        let request: theirs::ListOffsetsRequest = read_back(&sent, out);
        assert_eq!(request.isolation_level, 1);
        assert_eq!(request.topics.len(), 2);
        assert_eq!(request.topics[0].partitions[1].timestamp, -1);
        assert_eq!(request.topics[1].partitions[0].timestamp, 77);

        let mut partition = ListOffsetsPartitionResponse::default()
            .with_partition_index(1)
            .with_error_code(6)
            .with_offset(1234)
            .with_timestamp(-1);
        if version >= 4 {
            partition.leader_epoch = 8;
        }
        let body = theirs::ListOffsetsResponse::default().with_topics(vec![
            ListOffsetsTopicResponse::default()
                .with_name(topic("a"))
                .with_partitions(vec![partition]),
        ]);
        let frame = frame(&sent, &body);
        assert_eq!(
            decode_list_offsets(&sent, &frame).unwrap(),
            [ListedOffset {
                topic: "a".into(),
                partition: 1,
                error: ErrorCode::NotLeaderOrFollower,
                offset: 1234,
                timestamp_ms: -1,
                leader_epoch: if version >= 4 { 8 } else { -1 },
            }]
        );
        hostile(&frame, |bytes| decode_list_offsets(&sent, bytes));
    }
}

#[test]
fn epoch_ends_in_every_version() {
    use theirs::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
    for version in versions_of(Api::OffsetForLeaderEpoch) {
        let versions = only(Api::OffsetForLeaderEpoch, version);
        let asks = [AskEpochEnd {
            topic: "a",
            partition: 2,
            current_leader_epoch: 5,
            leader_epoch: 4,
        }];
        let mut out = Vec::new();
        let sent = encode_epoch_ends(&mut out, &asker(&versions), &asks).unwrap();
        let request: theirs::OffsetForLeaderEpochRequest = read_back(&sent, out);
        assert_eq!(request.topics[0].partitions[0].leader_epoch, 4);

        let body = theirs::OffsetForLeaderEpochResponse::default().with_topics(vec![
            OffsetForLeaderTopicResult::default()
                .with_topic(topic("a"))
                .with_partitions(vec![
                    EpochEndOffset::default()
                        .with_partition(2)
                        .with_leader_epoch(3)
                        .with_end_offset(55),
                ]),
        ]);
        let frame = frame(&sent, &body);
        assert_eq!(
            decode_epoch_ends(&sent, &frame).unwrap(),
            [EpochEnd {
                topic: "a".into(),
                partition: 2,
                error: ErrorCode::None,
                leader_epoch: 3,
                end_offset: Offset(55),
            }]
        );
        hostile(&frame, |bytes| decode_epoch_ends(&sent, bytes));
    }
}

#[test]
fn find_coordinator_in_every_version() {
    for version in versions_of(Api::FindCoordinator) {
        let versions = only(Api::FindCoordinator, version);
        let mut out = Vec::new();
        let sent = encode_find_coordinator(&mut out, &asker(&versions), "pinleaf-d-p").unwrap();
        let request: theirs::FindCoordinatorRequest = read_back(&sent, out);
        let mut body = theirs::FindCoordinatorResponse::default();
        if version >= 4 {
            assert_eq!(request.coordinator_keys[0].as_str(), "pinleaf-d-p");
            body.coordinators = vec![
                theirs::find_coordinator_response::Coordinator::default()
                    .with_key(text("pinleaf-d-p"))
                    .with_node_id(theirs::BrokerId(1))
                    .with_host(text("h"))
                    .with_port(9092),
            ];
        } else {
            assert_eq!(request.key.as_str(), "pinleaf-d-p");
            body = body
                .with_node_id(theirs::BrokerId(1))
                .with_host(text("h"))
                .with_port(9092);
        }
        let frame = frame(&sent, &body);
        assert_eq!(
            decode_find_coordinator(&sent, &frame).unwrap(),
            Coordinator {
                error: ErrorCode::None,
                broker: 1,
                host: "h".to_owned(),
                port: 9092,
            }
        );
        hostile(&frame, |bytes| decode_find_coordinator(&sent, bytes));
    }
}

#[test]
fn offset_commit_in_every_version() {
    use theirs::offset_commit_response::{
        OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    };
    for version in versions_of(Api::OffsetCommit) {
        let versions = only(Api::OffsetCommit, version);
        let mut out = Vec::new();
        let offsets = [CommitOffset {
            topic: "a",
            partition: 1,
            offset: Offset(1 << 33),
            leader_epoch: 7,
            metadata: "lineage 2",
        }];
        let sent = encode_offset_commit(&mut out, &asker(&versions), "g", &offsets).unwrap();
        let request: theirs::OffsetCommitRequest = read_back(&sent, out);
        assert_eq!(request.generation_id_or_member_epoch, -1);
        let partition = &request.topics[0].partitions[0];
        assert_eq!(partition.committed_offset, 1 << 33);
        assert_eq!(
            partition.committed_metadata.as_ref().unwrap().as_str(),
            "lineage 2"
        );
        let body = theirs::OffsetCommitResponse::default().with_topics(vec![
            OffsetCommitResponseTopic::default()
                .with_name(topic("a"))
                .with_partitions(vec![
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(1)
                        .with_error_code(25),
                ]),
        ]);
        let frame = frame(&sent, &body);
        assert_eq!(
            decode_offset_commit(&sent, &frame).unwrap(),
            [PartitionError {
                topic: "a".into(),
                partition: 1,
                error: ErrorCode::UnknownMemberId,
            }]
        );
        hostile(&frame, |bytes| decode_offset_commit(&sent, bytes));
    }
}

#[test]
fn offset_fetch_in_every_version() {
    use theirs::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
    for version in versions_of(Api::OffsetFetch) {
        let versions = only(Api::OffsetFetch, version);
        let mut out = Vec::new();
        let sent =
            encode_offset_fetch(&mut out, &asker(&versions), "g", &[("a", 0), ("a", 1)]).unwrap();
        let request: theirs::OffsetFetchRequest = read_back(&sent, out);
        let topics = request.topics.unwrap();
        assert_eq!(topics[0].partition_indexes, [0, 1]);

        let partition = |index, offset| {
            let mut partition = OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_metadata(Some(text("m")));
            if version >= 5 {
                partition.committed_leader_epoch = 3;
            }
            partition
        };
        let body = theirs::OffsetFetchResponse::default().with_topics(vec![
            OffsetFetchResponseTopic::default()
                .with_name(topic("a"))
                .with_partitions(vec![partition(0, 99), partition(1, -1)]),
        ]);
        let frame = frame(&sent, &body);
        let answer = decode_offset_fetch(&sent, &frame).unwrap();
        assert_eq!(answer.error, ErrorCode::None);
        assert_eq!(answer.partitions[0].offset, Some(Offset(99)));
        assert_eq!(answer.partitions[0].metadata, "m");
        assert_eq!(
            answer.partitions[0].leader_epoch,
            if version >= 5 { 3 } else { -1 }
        );
        assert_eq!(answer.partitions[1].offset, None);
        hostile(&frame, |bytes| decode_offset_fetch(&sent, bytes));
    }
}

#[test]
fn a_name_too_long_and_a_frame_too_long_are_errors() {
    let versions = only(Api::Metadata, 4);
    let name = "x".repeat(40_000);
    assert_eq!(
        encode_metadata(
            &mut Vec::new(),
            &asker(&versions),
            MetadataTopics::Names(&[&name])
        ),
        Err(RequestFault::TooLong { api: Api::Metadata })
    );
    assert!(response_size_bytes([0, 0, 0, 3]).is_err());
    assert!(response_size_bytes([0xff; 4]).is_err());
    assert!(response_size_bytes([0x7f, 0xff, 0xff, 0xff]).is_err());
    assert_eq!(response_size_bytes([0, 0, 0, 9]), Ok(9));
}

/// A hostile broker's answer of 90 KB would otherwise be 300 MB here, and one of 16 MiB all memory.
#[test]
fn a_topics_name_is_kept_once_however_many_partitions_it_has() {
    const PARTITIONS: u32 = 10_000;
    let name = "n".repeat(30_000);
    let mut frame = vec![0, 0, 0, 41];
    put_count(&mut frame, 1, false);
    put_string(&mut frame, &name, false);
    put_count(&mut frame, PARTITIONS, false);
    for partition in 0..PARTITIONS {
        frame.extend_from_slice(&partition.to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
    }
    let sent = Sent {
        api: Api::OffsetCommit,
        version: 2,
        correlation_id: 41,
    };
    let answers = decode_offset_commit(&sent, &frame).unwrap();
    assert_eq!(answers.len(), PARTITIONS as usize);
    assert_eq!(*answers[0].topic, *name);
    let shared = |one: &PartitionError| Arc::ptr_eq(&one.topic, &answers[0].topic);
    assert!(answers.iter().all(shared));
}
