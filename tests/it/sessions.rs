//! A leaf of many partitions: fetch sessions against a real Kafka, which closes them, forgets them and
//! comes back.

use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::load::Load;
use crate::node::Node;
use crate::rows::{Rows, order};

const PARTITIONS: i32 = 300;
const EVENTS: u64 = 30_000;
const TIMEOUT: Duration = Duration::from_secs(180);
const MADE: &str = "a fetch session is made";

fn produce(kafka: &KafkaServer, first: u64, events: u64) {
    let mut load = Load::new(&kafka.bootstrap(), "orders", PARTITIONS, first, &[]);
    load.send(events);
    load.flush();
}

fn wait_for_rows(node: &Node, rows: u64) {
    node.wait_for("every row is visible", TIMEOUT, |node| {
        node.cell("SELECT COUNT(*) FROM shop.orders") == rows.to_string()
    });
}

/// How often a session was made since the node started.
fn made(node: &Node) -> usize {
    node.log().matches(MADE).count()
}

/// Every partition is caught up, and its lag known: also of those that no answer names.
fn wait_until_all_are_heard(node: &Node) {
    node.wait_for("all are caught up", TIMEOUT, |node| {
        let count = "SELECT COUNT(*) FROM information_schema.PIPELINES_PARTITIONS \
                     WHERE STATE = 'Running: caught up' AND LAG_RECORDS = 0";
        node.cell(count) == PARTITIONS.to_string()
    });
}

#[test]
fn kafka_three_hundred_partitions_on_one_leaf_load_exactly_once_in_a_session() {
    let home = tempfile::tempdir().unwrap();
    let properties = [("num.network.threads", "2"), ("num.io.threads", "2")];
    let mut kafka = KafkaServer::start(home.path(), 1, &properties).unwrap();
    let partitions = usize::try_from(PARTITIONS).unwrap();
    kafka.create_topic("orders", partitions, &[]).unwrap();
    let mut node = Node::of_one_leaf(&home.path().join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{}/orders' INTO TABLE shop.orders FORMAT JSON",
        kafka.bootstrap()
    ));
    produce(&kafka, 0, EVENTS);
    node.sql("START PIPELINE shop.orders");
    wait_for_rows(&node, EVENTS);
    wait_until_all_are_heard(&node);
    assert_eq!(made(&node), 1, "one lane, one session:\n{}", node.log());

    // A few partitions at a time, the others idle: their answers are in no response.
    for round in 0..20 {
        produce(&kafka, EVENTS + round * 7, 7);
        wait_for_rows(&node, EVENTS + (round + 1) * 7);
    }
    wait_until_all_are_heard(&node);
    let loaded = EVENTS + 140;

    // The broker comes back and knows no session.
    kafka.kill_broker(1);
    kafka.restart_broker(1).unwrap();
    produce(&kafka, loaded, EVENTS);
    wait_for_rows(&node, loaded + EVENTS);
    wait_until_all_are_heard(&node);
    assert!(made(&node) >= 2, "{}", node.log());

    // STOP and START: the partitions leave and come in again.
    node.sql("STOP PIPELINE shop.orders");
    produce(&kafka, loaded + EVENTS, EVENTS);
    node.sql("START PIPELINE shop.orders");
    wait_for_rows(&node, loaded + 2 * EVENTS);
    let model = Rows::of_kafka(&kafka.bootstrap(), "orders", PARTITIONS, order);
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    node.stop();
    node.start();
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    node.stop();
}
