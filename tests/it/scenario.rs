//! What the product exists for: a topic over two brokers, loaded by two leaves exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use devbroker::orders::CREATE_TABLE;
use rdkafka::producer::Producer;
use tests::kafka_server::KafkaServer;

use crate::audit::{Counted, is_all_of, verified};
use crate::load::{Load, WAIT};
use crate::node::Node;
use crate::rows::{Rows, order};

const PARTITIONS: i32 = 4;
const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];
/// MAX_OFFSETS_PER_BATCH_PARTITION.
const OFFSETS_MAX: i64 = 10_000;
/// Messages in one transaction; every third one is aborted.
const TRANSACTION: u64 = 500;
/// From the last event's acknowledgement until all are visible.
const LOAD_TIMEOUT: Duration = Duration::from_secs(300);

fn events() -> u64 {
    env::var("PINLEAF_EVENTS").map_or(200_000, |events| events.parse().unwrap())
}

#[test]
fn kafka_two_brokers_four_partitions_two_leaves() {
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 2, &[]).unwrap();
    kafka.create_topic("orders", 4, &[]).unwrap();
    let mut node = Node::new(
        &home.path().join("node"),
        "[variables]\npipelines_batches_metadata_to_keep = 100000\n",
    );
    node.start();
    create(&node, &kafka);

    let began = Instant::now();
    let sent = thread::scope(|scope| {
        let codecs: Vec<_> = (0..CODECS.len())
            .map(|at| {
                let kafka = &kafka;
                scope.spawn(move || produce(kafka, at))
            })
            .collect();
        let transactions = scope.spawn(|| produce_transactions(&kafka));
        // What is written below is read while it is.
        batches_hold(&node);
        let mut audits = 0;
        while codecs.iter().any(|codec| !codec.is_finished()) {
            audits += u32::from(verified(&node, "shop.orders").rows > 0);
        }
        println!("verified {audits} times while it loads");
        assert!(audits > 0);
        let codecs: u64 = codecs.into_iter().map(|one| one.join().unwrap()).sum();
        codecs + transactions.join().unwrap()
    });
    let produced = began.elapsed();
    let model = Rows::of_kafka(&kafka.bootstrap(), "orders", PARTITIONS, order);
    assert_eq!(
        model.len() as u64,
        sent,
        "what was committed is in the topic"
    );
    let count = model.len().to_string();
    node.wait_for("all rows are visible", LOAD_TIMEOUT, |node| {
        node.cell("SELECT COUNT(*) FROM shop.orders") == count
            && node.cell("SELECT SUM(LAG_RECORDS) FROM information_schema.PIPELINES_PARTITIONS")
                == "0"
    });
    println!(
        "{sent} events, produced in {produced:?}, visible {:?} after the first",
        began.elapsed()
    );

    shared_out(&node);
    batches_hold(&node);
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    node.sql("STOP PIPELINE shop.orders");
    let ends = batches_hold(&node);
    for row in node.sql(
        "SELECT SOURCE_PARTITION_ID, DURABLE_OFFSET FROM information_schema.PIPELINES_PARTITIONS",
    ) {
        assert_eq!(
            ends[&row[0]].to_string(),
            row[1],
            "the batches reach the cursor"
        );
    }
    let counted = Counted::of_kafka(&kafka.bootstrap(), "orders", PARTITIONS);
    assert_eq!(counted.committed, sent);
    assert!(counted.aborted > 0 && counted.control > 0, "{counted:?}");
    let began = Instant::now();
    let sums = is_all_of(&node, "shop.orders", counted);
    println!("verified in {:?}: {sums:?}", began.elapsed());
    node.stop();
    node.start();
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    is_all_of(&node, "shop.orders", counted);
    node.stop();
}

fn create(node: &Node, kafka: &KafkaServer) {
    node.sql("CREATE DATABASE shop");
    node.sql(&format!("USE shop; {CREATE_TABLE}"));
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{}/orders' \
         MAX_OFFSETS_PER_BATCH_PARTITION {OFFSETS_MAX} INTO TABLE shop.orders FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql("START PIPELINE shop.orders");
}

/// A quarter of the events by one codec.
fn produce(kafka: &KafkaServer, at: usize) -> u64 {
    let events = events() / CODECS.len() as u64;
    let first = at as u64 * events;
    let codec = [("compression.codec", CODECS[at])];
    let mut load = Load::new(&kafka.bootstrap(), "orders", PARTITIONS, first, &codec);
    load.send(events);
    load.flush();
    events
}

/// A tenth more by transactions, of which every third is aborted with its events in the log.
fn produce_transactions(kafka: &KafkaServer) -> u64 {
    let config = [("transactional.id", "orders")];
    let mut load = Load::new(&kafka.bootstrap(), "orders", PARTITIONS, events(), &config);
    load.producer().init_transactions(WAIT).unwrap();
    let mut committed = 0;
    for transaction in 0..(events() / 10).div_ceil(TRANSACTION).max(3) {
        load.producer().begin_transaction().unwrap();
        load.send(TRANSACTION);
        load.flush();
        if transaction % 3 == 2 {
            load.producer().abort_transaction(WAIT).unwrap();
        } else {
            load.producer().commit_transaction(WAIT).unwrap();
            committed += TRANSACTION;
        }
    }
    committed
}

/// Four pairings, two to a leaf, and each leaf at both brokers.
fn shared_out(node: &Node) {
    let rows = node.sql(
        "SELECT LEAF, LEADER_BROKER, SOURCE_PARTITION_ID, LEAF_PARTITION \
         FROM information_schema.PIPELINES_PARTITIONS",
    );
    assert_eq!(rows.len(), 4, "{rows:?}");
    let distinct = |at: usize| {
        rows.iter()
            .map(|row| &row[at])
            .collect::<BTreeSet<_>>()
            .len()
    };
    assert_eq!((distinct(2), distinct(3)), (4, 4), "{rows:?}");
    let mut brokers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &rows {
        brokers.entry(&row[0]).or_default().push(&row[1]);
    }
    assert_eq!(brokers.len(), 2, "{rows:?}");
    for of_leaf in brokers.values_mut() {
        of_leaf.sort_unstable();
        assert_eq!(*of_leaf, ["1", "2"], "{rows:?}");
    }
}

/// No batch is of more offsets than it may be, and each goes on where the one before ended. Answers
/// where the last one of each partition ends.
fn batches_hold(node: &Node) -> BTreeMap<String, i64> {
    let rows = node.sql(
        "SELECT BATCH_SOURCE_PARTITION_ID, BATCH_EARLIEST_OFFSET, BATCH_LATEST_OFFSET, BATCH_STATE \
         FROM information_schema.PIPELINES_BATCHES \
         ORDER BY BATCH_SOURCE_PARTITION_ID, BATCH_EARLIEST_OFFSET",
    );
    let mut ends: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        let (first, next): (i64, i64) = (row[1].parse().unwrap(), row[2].parse().unwrap());
        assert!(next - first <= OFFSETS_MAX, "{row:?}");
        let end = ends.entry(row[0].clone()).or_insert(0);
        assert_eq!(*end, first, "{row:?}");
        *end = next;
    }
    ends
}
