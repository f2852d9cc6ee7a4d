//! The development broker against our own producer and the product's own requests.

use std::net::SocketAddr;

use devbroker::orders::{ORDER_BYTES, Orders};
use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig, DevBrokerError, ProduceError};
use ingest::kafka::fetch::{
    FetchPartition, FetchRequest, FrameEvent, FrameReader, SessionPlace, encode,
};
use ingest::kafka::requests::*;
use ingest::kafka::{Decompressor, ErrorCode};
use storage::ids::{Offset, TopicId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(dir: &std::path::Path) -> DevBroker {
    DevBroker::start(config(dir)).await.unwrap()
}

fn config(dir: &std::path::Path) -> DevBrokerConfig {
    DevBrokerConfig {
        dir: dir.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        topics: vec![("orders".to_owned(), 4)],
    }
}

/// A client of the product's own requests.
struct Client {
    stream: TcpStream,
    versions: Versions,
}

impl Client {
    async fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut client = Client {
            stream,
            versions: Versions::of_broker([]),
        };
        let mut out = Vec::new();
        let sent = encode_api_versions(&mut out, 3, 1, "test").unwrap();
        let frame = client.exchange(&out).await;
        client.versions = decode_api_versions(&sent, &frame).unwrap().unwrap();
        client
    }

    async fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).await.unwrap();
        let size = self.stream.read_u32().await.unwrap();
        let mut frame = vec![0; size as usize];
        self.stream.read_exact(&mut frame).await.unwrap();
        frame
    }

    async fn ask<T>(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
        decode: impl FnOnce(&Sent, &[u8]) -> Result<T, ResponseFault>,
    ) -> T {
        let mut out = Vec::new();
        let asker = Asker {
            versions: &self.versions,
            correlation_id: 7,
            client_id: "test",
        };
        let sent = encode(&mut out, &asker).unwrap();
        let frame = self.exchange(&out).await;
        decode(&sent, &frame).unwrap()
    }

    async fn fetch(
        &mut self,
        version: i16,
        wait_ms: i32,
        partitions: &[FetchPartition<'_>],
    ) -> (Vec<ErrorCode>, Vec<(i64, Vec<u8>)>) {
        let mut out = Vec::new();
        let request = FetchRequest {
            version,
            correlation_id: 9,
            client_id: "test",
            max_wait_ms: wait_ms,
            min_bytes: 1,
            bytes_max: 1 << 20,
            read_committed: true,
            session: SessionPlace::NONE,
        };
        encode(&mut out, &request, partitions.iter().copied());
        let frame = self.exchange(&out).await;
        let mut reader = FrameReader::new(version, 9, frame.len());
        let mut decompressor = Decompressor::default();
        let (mut errors, mut records) = (Vec::new(), Vec::new());
        loop {
            match reader.next(&frame).unwrap().unwrap() {
                FrameEvent::Partition(head) => errors.push(head.error),
                FrameEvent::Batch(batch) => {
                    let bytes = &frame[batch.range()];
                    batch.header.check_crc(bytes).unwrap();
                    let body = batch.header.body(bytes).unwrap();
                    for record in decompressor.open(&batch.header, body).unwrap() {
                        let record = record.unwrap();
                        records.push((record.offset.0, record.value.unwrap().to_vec()));
                    }
                }
                FrameEvent::End => return (errors, records),
                _ => {}
            }
        }
    }
}

fn ask(topic_id: TopicId, partition: i32, offset: i64) -> FetchPartition<'static> {
    FetchPartition {
        topic: "orders",
        topic_id,
        partition,
        current_leader_epoch: 0,
        offset: Offset(offset),
        last_fetched_epoch: 0,
        bytes_max: 1 << 20,
    }
}

async fn topic_id(client: &mut Client) -> TopicId {
    let metadata = client
        .ask(
            |out, asker| encode_metadata(out, asker, MetadataTopics::Names(&["orders"])),
            decode_metadata,
        )
        .await;
    assert_eq!(metadata.topics[0].partitions.len(), 4);
    metadata.topics[0].id
}

#[tokio::test]
async fn what_is_produced_is_fetched_in_every_version_and_after_a_second_start() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut producer = Producer::connect(broker.addr(), "test", "orders")
        .await
        .unwrap();
    let mut orders = Orders::new(1, 1);
    let mut batches: Vec<_> = (0..4).map(Batch::new).collect();
    for round in 0..3_i64 {
        for batch in &mut batches {
            batch.records.restart(0);
            for _ in 0..50 {
                let mut event = Vec::new();
                orders.append(&mut event, 1_767_323_045_678);
                batch.records.push(1_767_323_045_678, None, Some(&event));
            }
        }
        let offsets = producer.send(&batches).await.unwrap();
        let expected: Vec<_> = (0..4).map(|index| (index, round * 50)).collect();
        assert_eq!(offsets, expected);
    }
    let mut client = Client::connect(broker.addr()).await;
    let id = topic_id(&mut client).await;
    for version in 4..=17 {
        let partitions: Vec<_> = (0..4).map(|index| ask(id, index, 0)).collect();
        let (errors, records) = client.fetch(version, 500, &partitions).await;
        assert_eq!(errors, [ErrorCode::None; 4]);
        assert_eq!(records.len(), 600, "version {version}");
        assert!(records.iter().all(|(_, value)| value.len() == ORDER_BYTES));
    }
    broker.shutdown().await;

    let broker = start(dir.path()).await;
    let mut client = Client::connect(broker.addr()).await;
    assert_eq!(topic_id(&mut client).await, id, "the same topic");
    let (_, records) = client.fetch(17, 500, &[ask(id, 2, 120)]).await;
    assert_eq!(records[0].0, 100, "a fetch returns whole batches");
    assert_eq!(records.last().unwrap().0, 149);
    let (errors, _) = client
        .fetch(
            17,
            500,
            &[ask(id, 0, 151), ask(id, 9, 0), ask(TopicId([9; 16]), 0, 0)],
        )
        .await;
    assert_eq!(
        errors,
        [
            ErrorCode::OffsetOutOfRange,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId
        ]
    );
    broker.shutdown().await;
}

#[tokio::test]
async fn a_held_fetch_answers_when_something_is_produced() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut client = Client::connect(broker.addr()).await;
    let id = topic_id(&mut client).await;
    let (_, records) = client.fetch(17, 20, &[ask(id, 1, 0)]).await;
    assert!(records.is_empty(), "nothing, after the wait");
    let mut producer = Producer::connect(broker.addr(), "test", "orders")
        .await
        .unwrap();
    let partitions = [ask(id, 1, 0)];
    let held = client.fetch(17, 25_000, &partitions);
    let produced = async {
        let mut batch = Batch::new(1);
        batch.records.push(1, Some(b"k"), Some(b"v"));
        producer.send(&[batch]).await.unwrap()
    };
    let ((_, records), offsets) = tokio::join!(held, produced);
    assert_eq!(offsets, [(1, 0)]);
    assert_eq!(records, [(0, b"v".to_vec())]);
    // One that is held does not hold up the end.
    let mut client = Client::connect(broker.addr()).await;
    let mut out = Vec::new();
    let request = FetchRequest {
        version: 17,
        correlation_id: 9,
        client_id: "test",
        max_wait_ms: 29_000,
        min_bytes: 1,
        bytes_max: 1,
        read_committed: true,
        session: SessionPlace::NONE,
    };
    encode(&mut out, &request, [ask(id, 3, 0)].into_iter());
    client.stream.write_all(&out).await.unwrap();
    broker.shutdown().await;
    assert_eq!(client.stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn offsets_epochs_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut producer = Producer::connect(broker.addr(), "test", "orders")
        .await
        .unwrap();
    let mut batch = Batch::new(1);
    for _ in 0..7 {
        batch.records.push(1, None, Some(b"v"));
    }
    producer.send(&[batch]).await.unwrap();
    let mut client = Client::connect(broker.addr()).await;
    let ask = |partition, spec| AskOffset {
        topic: "orders",
        partition,
        current_leader_epoch: 0,
        spec,
    };
    let asks = [
        ask(1, OffsetSpec::Earliest),
        ask(1, OffsetSpec::Latest),
        ask(9, OffsetSpec::Latest),
    ];
    let listed = client
        .ask(
            |out, asker| encode_list_offsets(out, asker, true, &asks),
            decode_list_offsets,
        )
        .await;
    let offsets: Vec<_> = listed.iter().map(|one| (one.error, one.offset)).collect();
    assert_eq!(
        offsets,
        [
            (ErrorCode::None, 0),
            (ErrorCode::None, 7),
            (ErrorCode::UnknownTopicOrPartition, -1)
        ]
    );
    let asks = [AskEpochEnd {
        topic: "orders",
        partition: 1,
        current_leader_epoch: 0,
        leader_epoch: 0,
    }];
    let ends = client
        .ask(
            |out, asker| encode_epoch_ends(out, asker, &asks),
            decode_epoch_ends,
        )
        .await;
    assert_eq!((ends[0].leader_epoch, ends[0].end_offset), (0, Offset(7)));

    let coordinator = client
        .ask(
            |out, asker| encode_find_coordinator(out, asker, "g"),
            decode_find_coordinator,
        )
        .await;
    assert_eq!(coordinator.port, broker.addr().port());
    let commits = [CommitOffset {
        topic: "orders",
        partition: 1,
        offset: Offset(5),
        leader_epoch: 0,
        metadata: "lineage 1",
    }];
    let outcome = client
        .ask(
            |out, asker| encode_offset_commit(out, asker, "g", &commits),
            decode_offset_commit,
        )
        .await;
    assert_eq!(outcome[0].error, ErrorCode::None);
    broker.shutdown().await;
    let broker = start(dir.path()).await;
    let mut client = Client::connect(broker.addr()).await;
    let fetched = client
        .ask(
            |out, asker| encode_offset_fetch(out, asker, "g", &[("orders", 1), ("orders", 2)]),
            decode_offset_fetch,
        )
        .await;
    let offsets: Vec<_> = fetched.partitions.iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [Some(Offset(5)), None]);
    assert_eq!(fetched.partitions[0].metadata, "lineage 1");
    broker.shutdown().await;
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_not_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let frames: [&[u8]; 6] = [
        &[0xff; 64],
        &[0, 0, 0, 1, 0],
        &[0x7f, 0xff, 0xff, 0xff],
        // An unknown question; Produce in a version that is not spoken; an array of 2^31 - 1.
        &[0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff],
        &[
            0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff,
        ],
    ];
    for frame in frames {
        let mut stream = TcpStream::connect(broker.addr()).await.unwrap();
        stream.write_all(frame).await.unwrap();
        // Closed, perhaps with a reset where bytes were left unread.
        assert_eq!(
            stream.read(&mut [0; 16]).await.unwrap_or(0),
            0,
            "{frame:x?}"
        );
    }
    let mut client = Client::connect(broker.addr()).await;
    // A version of ApiVersions from the future is answered in the oldest form.
    let future = [0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff];
    let frame = client.exchange(&future).await;
    assert_eq!(frame[4..6], [0, 35]);
    topic_id(&mut client).await;
    broker.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let again = DevBroker::start(config(dir.path())).await.unwrap_err();
    assert!(matches!(again, DevBrokerError::InUse { .. }), "{again}");
    let other = tempfile::tempdir().unwrap();
    let taken = DevBroker::start(DevBrokerConfig {
        listen: broker.addr(),
        ..config(other.path())
    })
    .await
    .unwrap_err();
    assert!(matches!(taken, DevBrokerError::Listen { .. }), "{taken}");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    let open = DevBroker::start(DevBrokerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..config(other.path())
    })
    .await
    .unwrap_err();
    assert!(matches!(open, DevBrokerError::NotLoopback { .. }));
    for (name, partitions) in [("", 1), ("a/b", 1), ("..", 1), ("a", 0), ("a", 1_001)] {
        let wrong = DevBroker::start(DevBrokerConfig {
            topics: vec![(name.to_owned(), partitions)],
            ..config(other.path())
        })
        .await
        .unwrap_err();
        assert!(matches!(wrong, DevBrokerError::Topic { .. }), "{wrong}");
    }
    let mut producer = Producer::connect(broker.addr(), "test", "nowhere")
        .await
        .unwrap();
    let mut batch = Batch::new(0);
    batch.records.push(1, None, Some(b"v"));
    let refused = producer.send(&[batch]).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ProduceError::Refused {
                error: ErrorCode::UnknownTopicOrPartition,
                ..
            }
        ),
        "{refused}"
    );
    broker.shutdown().await;
}
