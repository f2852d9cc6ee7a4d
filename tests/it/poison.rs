//! A bad message in the middle of a topic: what stops at it and goes on, and what takes it as a reject.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use tests::kafka_server::KafkaServer;

use crate::audit::verified;
use crate::load::{WAIT, send};
use crate::node::Node;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Messages of each of the two partitions.
const MESSAGES: i64 = 100;
/// Where in partition 1 the bad one is.
const POISON_OFFSET: i64 = 40;
/// Unreadable for its column, and long, with what a client or a log might spoil.
const POISON: &str = r#"{"id":"forty","note":"tab \t, quote \", backslash \\, end \n, Zürich 🦀"}"#;

/// A Kafka with the topic, and a node with the table and a pipeline that runs.
fn begin(home: &std::path::Path, settings: &str) -> (KafkaServer, Node) {
    let kafka = KafkaServer::start(home, 1, &[]).unwrap();
    kafka.create_topic("events", 2, &[]).unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for partition in 0..2 {
        for offset in 0..MESSAGES {
            let good = format!(
                "{{\"id\":{},\"note\":\"good\"}}",
                i64::from(partition) * 1_000 + offset
            );
            let poison = partition == 1 && offset == POISON_OFFSET;
            let value = if poison { POISON } else { &good };
            send(&producer, "events", partition, value.as_bytes());
        }
    }
    producer.flush(WAIT).unwrap();
    let mut node = Node::new(&home.join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql("CREATE TABLE shop.events (id BIGINT NOT NULL, note VARCHAR(100))");
    node.sql(&format!(
        "CREATE PIPELINE shop.events AS LOAD DATA KAFKA '{}/events' {settings} \
         INTO TABLE shop.events FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql("START PIPELINE shop.events");
    (kafka, node)
}

fn ids(node: &Node) -> Vec<i64> {
    node.sql("SELECT id FROM shop.events ORDER BY id")
        .iter()
        .map(|row| row[0].parse().unwrap())
        .collect()
}

/// Every good message's id: of partition 0, and of partition 1 up to `end`.
fn good(end: i64) -> Vec<i64> {
    (0..MESSAGES)
        .chain(
            (0..end)
                .filter(|offset| *offset != POISON_OFFSET)
                .map(|offset| 1_000 + offset),
        )
        .collect()
}

fn wait_for(node: &Node, what: &str, rows: &[i64]) {
    node.wait_for(what, TIMEOUT, |node| ids(node) == rows);
}

#[test]
fn kafka_poison_stops_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (_kafka, mut node) = begin(home.path(), "STOP_ON_ERROR ON");
    in_error(&node);
    // The other partition stopped with it, wherever it was; what is there is whole.
    let partition_1 = node.sql("SELECT id FROM shop.events WHERE _partition = 1 ORDER BY id");
    assert_eq!(
        partition_1.len() as i64,
        POISON_OFFSET,
        "the rows before it are there"
    );
    node.kill();
    node.start();
    in_error(&node);
    let audited = node.sql("AUDIT PIPELINE shop.events VERIFY");
    let failed: Vec<_> = audited.iter().filter(|row| row[17] != "ok").collect();
    assert!(
        failed.len() == 1 && failed[0][0] == "1" && failed[0][17].starts_with("Failed: "),
        "{audited:#?}"
    );
    node.sql(&format!(
        "ALTER PIPELINE shop.events SET OFFSETS '{{\"1\": {}}}'",
        POISON_OFFSET + 1
    ));
    node.sql("START PIPELINE shop.events");
    wait_for(&node, "the rows after it", &good(MESSAGES));
    assert_eq!(node.sql("SHOW PIPELINES FROM shop")[0][1], "Running");
    node.stop();
    node.start();
    wait_for(&node, "the same rows after a restart", &good(MESSAGES));
    assert_eq!(node.sql("SHOW PIPELINES FROM shop")[0][1], "Running");
    // The bad one lies between two lineages: nobody's.
    let sums = verified(&node, "shop.events");
    let all = 2 * MESSAGES as u64 - 1;
    assert_eq!((sums.rows, sums.loaded, sums.checked), (all, all, all));
    node.stop();
}

/// The pipeline is in Error, and every place that says so says where.
fn in_error(node: &Node) {
    node.wait_for("the pipeline is in Error", TIMEOUT, |node| {
        node.cell("SELECT STATE FROM information_schema.PIPELINES") == "Error"
    });
    let shown = node.sql("SHOW PIPELINES FROM shop").remove(0);
    assert_eq!(shown[1], "Error", "{shown:?}");
    let message =
        "SELECT ERROR_MESSAGE FROM information_schema.PIPELINES_ERRORS WHERE ERROR_TYPE = 'Error'";
    let state =
        "SELECT STATE FROM information_schema.PIPELINES_PARTITIONS WHERE SOURCE_PARTITION_ID = '1'";
    for said in [
        shown.last().unwrap(),
        &node.cell(message),
        &node.cell(state),
    ] {
        for word in ["partition 1", "offset 40", "column 'id'"] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
    }
    let line =
        "SELECT LOAD_DATA_LINE FROM information_schema.PIPELINES_ERRORS WHERE ERROR_TYPE = 'Error'";
    assert_eq!(node.cell(line), POISON);
}

#[test]
fn kafka_poison_is_a_reject() {
    let home = tempfile::tempdir().unwrap();
    let (_kafka, mut node) = begin(home.path(), "SKIP PARSER ERRORS");
    wait_for(&node, "the rows around it", &good(MESSAGES));
    is_a_reject(&node);
    node.sql("STOP PIPELINE shop.events");
    node.kill();
    node.start();
    assert_eq!(ids(&node), good(MESSAGES));
    is_a_reject(&node);
    let sums = verified(&node, "shop.events");
    let loaded = 2 * MESSAGES as u64 - 1;
    assert_eq!((sums.loaded, sums.rejected), (loaded, 1));
    assert_eq!(sums.checked, loaded + 1);
    node.stop();
}

fn is_a_reject(node: &Node) {
    let found = node.sql(
        "SELECT ERROR_TYPE, ERROR_CODE, ERROR_KIND, BATCH_SOURCE_PARTITION_ID, LOAD_DATA_LINE, ERROR_MESSAGE \
         FROM information_schema.PIPELINES_ERRORS",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][..5], ["Warning", "1366", "Load", "1", POISON]);
    for word in ["partition 1", "offset 40", "column 'id'"] {
        assert!(
            found[0][5].contains(word),
            "{word} is not in {}",
            found[0][5]
        );
    }
}
