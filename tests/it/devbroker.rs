//! The development broker against librdkafka, which knows nothing of us.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use devbroker::{DevBroker, DevBrokerConfig};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const WAIT: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 3;
const MESSAGES: usize = 500;

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

type Found = BTreeMap<(i32, i64), (Vec<u8>, i64)>;

/// All that a consumer finds, to the ends of the partitions.
fn read(bootstrap: &str, topic: &str) -> Found {
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", "g")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .create()
        .unwrap();
    let mut assigned = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assigned
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let mut found = Found::new();
    let mut ended = 0;
    while ended < PARTITIONS {
        match consumer.poll(WAIT).expect("a message or an end") {
            Ok(message) => {
                let value = message.payload().unwrap().to_vec();
                let time = message.timestamp().to_millis().unwrap();
                let place = (message.partition(), message.offset());
                assert!(found.insert(place, (value, time)).is_none(), "{place:?}");
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

#[test]
fn librdkafka_produces_to_and_reads_from_the_development_broker() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let config = DevBrokerConfig {
            dir: dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            topics: ["none", "gzip", "snappy", "lz4", "zstd"]
                .map(|codec| (format!("topic-{codec}"), PARTITIONS))
                .to_vec(),
        };
        runtime.block_on(DevBroker::start(config)).unwrap()
    };
    let broker = start();
    let bootstrap = broker.addr().to_string();
    let mut before = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("topic-{codec}");
        let producer: BaseProducer = config(&bootstrap)
            .set("compression.type", codec)
            .set("linger.ms", "20")
            .set("batch.num.messages", "50")
            .create()
            .unwrap();
        for number in 0..MESSAGES {
            let value = format!("{codec} {number} {}", "again ".repeat(number % 40));
            let record = BaseRecord::<str, str>::to(&topic)
                .partition(number as i32 % PARTITIONS)
                .key("k")
                .payload(&value)
                .timestamp(1_767_323_045_678 + number as i64);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WAIT).unwrap();
        let found = read(&bootstrap, &topic);
        assert_eq!(found.len(), MESSAGES, "{codec}");
        for (&(partition, offset), (value, time)) in &found {
            let number = offset as usize * PARTITIONS as usize + partition as usize;
            let expected = format!("{codec} {number} {}", "again ".repeat(number % 40));
            assert_eq!(value, expected.as_bytes());
            assert_eq!(*time, 1_767_323_045_678 + number as i64);
        }
        before.push((topic, found));
    }
    let consumer: BaseConsumer = config(&bootstrap).set("group.id", "g").create().unwrap();
    let (low, high) = consumer.fetch_watermarks("topic-none", 0, WAIT).unwrap();
    assert_eq!((low, high), (0, MESSAGES as i64 / 3 + 1));
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset("topic-none", 1, Offset::Offset(42))
        .unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    runtime.block_on(broker.shutdown());

    let broker = start();
    let bootstrap = broker.addr().to_string();
    for (topic, found) in before {
        assert_eq!(
            read(&bootstrap, &topic),
            found,
            "{topic} after a second start"
        );
    }
    let consumer: BaseConsumer = config(&bootstrap).set("group.id", "g").create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition("topic-none", 1);
    let committed = consumer.committed_offsets(asked, WAIT).unwrap();
    assert_eq!(
        committed.elements_for_topic("topic-none")[0].offset(),
        Offset::Offset(42)
    );
    let began = Instant::now();
    runtime.block_on(broker.shutdown());
    assert!(began.elapsed() < WAIT, "a shutdown waits for no client");
}
