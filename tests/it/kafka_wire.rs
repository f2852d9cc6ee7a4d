//! Our requests against a real Kafka: what it answers is what its own tools and librdkafka say.

use ingest::kafka::ErrorCode;
use ingest::kafka::fetch::{FetchPartition, FrameEvent, FrameReader};
use ingest::kafka::requests::{
    Api, AskEpochEnd, AskOffset, CommitOffset, MetadataTopics, OffsetSpec, decode_epoch_ends,
    decode_find_coordinator, decode_list_offsets, decode_metadata, decode_offset_commit,
    decode_offset_fetch, encode_epoch_ends, encode_find_coordinator, encode_list_offsets,
    encode_metadata, encode_offset_commit, encode_offset_fetch,
};
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};
use storage::ids::{Offset, TopicId};
use tests::kafka_server::KafkaServer;
use tests::peer::Peer;

const WAIT: Duration = Duration::from_secs(60);

#[test]
fn kafka_answers_every_question_that_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let mut kafka = KafkaServer::start(home.path(), 2, &[]).unwrap();
    kafka.create_topic("orders", 4, &[]).unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    for partition in 0..4 {
        for number in 0..10 + partition {
            let value = number.to_string();
            let record = BaseRecord::<str, str>::to("orders")
                .partition(partition)
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(WAIT).unwrap();

    let mut peer = Peer::connect(kafka.addr(1)).unwrap();
    for api in Api::ALL {
        assert!(peer.versions().get(api).is_ok(), "{}", api.name());
    }
    let metadata = peer.metadata(&["orders", "nowhere"]).unwrap();
    assert_eq!(metadata.brokers.len(), 2);
    assert_eq!(metadata.topics[1].error, ErrorCode::UnknownTopicOrPartition);
    let topic = metadata.topics[0].clone();
    assert_ne!(topic.id, TopicId::default());
    let mut leaders: Vec<_> = topic.partitions.iter().map(|one| one.leader).collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 1, 2, 2], "spread over both brokers");
    let (sent, frame) = peer
        .ask(|out, asker| encode_metadata(out, asker, MetadataTopics::Ids(&[topic.id])))
        .unwrap();
    let by_id = decode_metadata(&sent, &frame).unwrap();
    assert_eq!(by_id.topics[0].name.as_deref(), Some("orders"));

    for partition in &topic.partitions {
        ask_leader(&kafka, partition.leader as usize, partition.index, topic.id);
        // The other broker leads it not, and says who does.
        let other = 3 - partition.leader as usize;
        let (errors, leader) = fetch(&kafka, other, partition.index, topic.id, 0);
        assert_eq!(errors, [ErrorCode::NotLeaderOrFollower]);
        assert_eq!(leader, Some(partition.leader));
    }
    let (errors, _) = fetch(&kafka, 1, 0, TopicId([7; 16]), 0);
    assert_eq!(errors, [ErrorCode::UnknownTopicId]);
    group(&kafka, &mut peer);

    kafka.kill_broker(2);
    assert!(Peer::connect(kafka.addr(2)).is_err());
    kafka.restart_broker(2).unwrap();
    assert!(Peer::connect(kafka.addr(2)).is_ok());
}

fn ask_leader(kafka: &KafkaServer, broker: usize, partition: i32, topic_id: TopicId) {
    let mut peer = Peer::connect(kafka.addr(broker)).unwrap();
    let ask = |spec| AskOffset {
        topic: "orders",
        partition,
        current_leader_epoch: 0,
        spec,
    };
    let asks = [ask(OffsetSpec::Earliest)];
    let (sent, frame) = peer
        .ask(|out, asker| encode_list_offsets(out, asker, true, &asks))
        .unwrap();
    let earliest = decode_list_offsets(&sent, &frame).unwrap();
    assert_eq!(
        (earliest[0].error, earliest[0].offset),
        (ErrorCode::None, 0)
    );
    let asks = [ask(OffsetSpec::Latest)];
    let (sent, frame) = peer
        .ask(|out, asker| encode_list_offsets(out, asker, true, &asks))
        .unwrap();
    let latest = decode_list_offsets(&sent, &frame).unwrap();
    assert_eq!(latest[0].offset, i64::from(10 + partition));
    let asks = [AskEpochEnd {
        topic: "orders",
        partition,
        current_leader_epoch: 0,
        leader_epoch: 0,
    }];
    let (sent, frame) = peer
        .ask(|out, asker| encode_epoch_ends(out, asker, &asks))
        .unwrap();
    let ends = decode_epoch_ends(&sent, &frame).unwrap();
    assert_eq!(ends[0].error, ErrorCode::None);
    assert_eq!(ends[0].end_offset, Offset(i64::from(10 + partition)));
    let (errors, _) = fetch(kafka, broker, partition, topic_id, 1_000);
    assert_eq!(errors, [ErrorCode::OffsetOutOfRange]);
    let (errors, _) = fetch(kafka, broker, partition, topic_id, 0);
    assert_eq!(errors, [ErrorCode::None]);
}

/// Errors of the partitions, and the leader that the broker names.
fn fetch(
    kafka: &KafkaServer,
    broker: usize,
    partition: i32,
    topic_id: TopicId,
    offset: i64,
) -> (Vec<ErrorCode>, Option<i32>) {
    let mut peer = Peer::connect(kafka.addr(broker)).unwrap();
    let ask = FetchPartition {
        topic: "orders",
        topic_id,
        partition,
        current_leader_epoch: -1,
        offset: Offset(offset),
        last_fetched_epoch: -1,
        bytes_max: 1 << 20,
    };
    let (version, correlation, frame) = peer.fetch(None, true, 1 << 20, &[ask]).unwrap();
    assert_eq!(version, 17);
    let mut reader = FrameReader::new(version, correlation, frame.len());
    let (mut errors, mut leader, mut named) = (Vec::new(), None, Vec::new());
    loop {
        match reader.next(&frame).unwrap().unwrap() {
            FrameEvent::Partition(head) => errors.push(head.error),
            FrameEvent::PartitionEnd(end) => {
                leader = end.current_leader.map(|leader| leader.leader_id);
            }
            FrameEvent::Endpoint(endpoint) => named.push(endpoint.node_id),
            FrameEvent::Batch(batch) => {
                batch.header.check_crc(&frame[batch.range()]).unwrap();
            }
            FrameEvent::End => break,
            _ => {}
        }
    }
    if let Some(leader) = leader {
        assert!(named.contains(&leader), "its address is named too");
    }
    (errors, leader)
}

fn group(kafka: &KafkaServer, peer: &mut Peer) {
    // The first question makes Kafka create the topic of groups: ask until there is a coordinator.
    let began = Instant::now();
    let coordinator = loop {
        let (sent, frame) = peer
            .ask(|out, asker| encode_find_coordinator(out, asker, "pinleaf-d-p"))
            .unwrap();
        let coordinator = decode_find_coordinator(&sent, &frame).unwrap();
        if !coordinator.error.is_error() {
            break coordinator;
        }
        assert!(coordinator.error.is_retriable(), "{}", coordinator.error);
        assert!(began.elapsed() < WAIT);
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut peer = Peer::connect(kafka.addr(coordinator.broker as usize)).unwrap();
    let offsets = [CommitOffset {
        topic: "orders",
        partition: 2,
        offset: Offset(9),
        leader_epoch: 0,
        metadata: "lineage 1",
    }];
    let error = loop {
        let (sent, frame) = peer
            .ask(|out, asker| encode_offset_commit(out, asker, "pinleaf-d-p", &offsets))
            .unwrap();
        let error = decode_offset_commit(&sent, &frame).unwrap()[0].error;
        if !error.is_retriable() || began.elapsed() > WAIT {
            break error;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(error, ErrorCode::None);
    let (sent, frame) = peer
        .ask(|out, asker| {
            encode_offset_fetch(out, asker, "pinleaf-d-p", &[("orders", 1), ("orders", 2)])
        })
        .unwrap();
    let fetched = decode_offset_fetch(&sent, &frame).unwrap();
    let offsets: Vec<_> = fetched.partitions.iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [None, Some(Offset(9))]);
    assert_eq!(fetched.partitions[1].metadata, "lineage 1");
    // And an independent client reads the same.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", "pinleaf-d-p")
        .create()
        .unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition("orders", 2);
    let committed = consumer.committed_offsets(asked, WAIT).unwrap();
    assert_eq!(
        committed.elements_for_topic("orders")[0].offset(),
        rdkafka::Offset::Offset(9)
    );
}
