//! A cluster of two brokers with two replicas of each partition, under a steady load: leaders die, come
//! back, are moved and rolled, partitions are added, records deleted. Loading goes on by itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::law::{Loaded, goes_on, stands};
use crate::load::{Load, SteadyLoad};
use crate::node::Node;

const TIMEOUT: Duration = Duration::from_secs(120);
/// What a cluster with the timeouts below may take to give each partition a leader, and a node to follow.
const GOES_ON: Duration = Duration::from_secs(45);
/// A broker that says nothing for so long is taken for dead.
pub const SESSION: [(&str, &str); 2] = [
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
];
const EVENTS: u64 = 3_000;
/// Offsets that are deleted before they are loaded.
const DELETED: i64 = 200;
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";

fn begin(kafka: &KafkaServer, node: &mut Node) {
    kafka.create_replicated_topic("orders", 4, 2, &[]).unwrap();
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{}/orders' \
         CONFIG '{{\"topic.metadata.refresh.interval.ms\": 1000}}' STOP_ON_ERROR OFF \
         INTO TABLE shop.orders FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql("START PIPELINE shop.orders");
}

fn leaders(node: &Node) -> Vec<String> {
    stands(node, "orders")
        .into_values()
        .map(|one| one.leader)
        .collect()
}

/// Has the first replica of each partition lead it, as soon as that one is in sync; until the node knows.
fn elect(kafka: &KafkaServer, node: &Node, expected: &[String]) {
    node.wait_for("the leaders are as expected", TIMEOUT, |node| {
        // Refused while a replica is not in sync.
        let _ = kafka.elect("preferred", &["--all-topic-partitions"]);
        leaders(node) == expected
    });
}

/// The other broker of two.
fn other(leader: &str) -> &str {
    if leader == "1" { "2" } else { "1" }
}

#[test]
fn kafka_leaders_die_come_back_and_are_moved() {
    let home = tempfile::tempdir().unwrap();
    let mut kafka = KafkaServer::start(home.path(), 2, &SESSION).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    begin(&kafka, &mut node);
    let load = SteadyLoad::start(&kafka.bootstrap(), "orders", 4);
    goes_on(&node, "orders", "the start", GOES_ON);
    let preferred = leaders(&node);
    assert_eq!(preferred.iter().filter(|leader| *leader == "2").count(), 2);

    kafka.kill_broker(2);
    node.wait_for("what is waited for is said", GOES_ON, |node| {
        let waits = |state: &str| {
            ["Held: no connection to broker 2", "Locating: "]
                .iter()
                .any(|wait| state.starts_with(wait))
        };
        stands(node, "orders").values().any(|one| waits(&one.state))
    });
    goes_on(&node, "orders", "a killed leader", GOES_ON);
    assert_eq!(leaders(&node), ["1", "1", "1", "1"]);

    kafka.restart_broker(2).unwrap();
    elect(&kafka, &node, &preferred);
    goes_on(&node, "orders", "the leader is back", GOES_ON);

    reassign(&kafka, home.path(), &preferred);
    let moved: Vec<String> = preferred.iter().map(|one| other(one).to_owned()).collect();
    elect(&kafka, &node, &moved);
    goes_on(&node, "orders", "leaders were moved", GOES_ON);

    for broker in [2, 1] {
        kafka.stop_broker(broker).unwrap();
        if broker == 2 {
            goes_on(&node, "orders", "a broker is stopped", GOES_ON);
        }
        kafka.restart_broker(broker).unwrap();
        goes_on(&node, "orders", "a broker was rolled", GOES_ON);
    }

    load.end();
    add_partitions(&kafka, &node);
    let bootstrap = kafka.bootstrap();
    let orders = Loaded {
        bootstrap: &bootstrap,
        name: "orders",
        partitions: 6,
    };
    println!("{} rows", orders.holds(&mut node));
    delete_records(&kafka, home.path(), &mut node, &orders);
    node.stop();
}

/// Swaps the replicas of each partition.
fn reassign(kafka: &KafkaServer, home: &Path, preferred: &[String]) {
    let partitions: Vec<String> = preferred
        .iter()
        .enumerate()
        .map(|(partition, leader)| {
            format!(
                "{{\"topic\":\"orders\",\"partition\":{partition},\"replicas\":[{},{leader}]}}",
                other(leader)
            )
        })
        .collect();
    let plan = home.join("reassign.json");
    let partitions = partitions.join(",");
    fs::write(
        &plan,
        format!("{{\"version\":1,\"partitions\":[{partitions}]}}"),
    )
    .unwrap();
    kafka
        .tool(
            REASSIGN,
            &[
                "--bootstrap-server",
                &kafka.bootstrap(),
                "--reassignment-json-file",
                &plan.display().to_string(),
                "--execute",
            ],
        )
        .unwrap();
}

fn add_partitions(kafka: &KafkaServer, node: &Node) {
    let bootstrap = kafka.bootstrap();
    let arguments = ["--alter", "--topic", "orders", "--partitions", "6"];
    let server = ["--bootstrap-server", &bootstrap];
    kafka
        .tool(TOPICS, &[&server[..], &arguments].concat())
        .unwrap();
    produce(kafka, 1 << 40, EVENTS);
    node.wait_for("the new partitions load", TIMEOUT, |node| {
        stands(node, "orders")
            .values()
            .filter(|one| one.visible > 0)
            .count()
            == 6
    });
}

fn produce(kafka: &KafkaServer, first: u64, events: u64) {
    let mut load = Load::new(&kafka.bootstrap(), "orders", 6, first, &[]);
    load.send(events);
    load.flush();
}

/// What is deleted before it is loaded is recorded as lost, and nothing else is missing.
fn delete_records(kafka: &KafkaServer, home: &Path, node: &mut Node, orders: &Loaded<'_>) {
    node.sql("STOP PIPELINE shop.orders");
    produce(kafka, 1 << 41, EVENTS);
    let cursor = stands(node, "orders")["0"].visible;
    let lost = cursor..cursor + DELETED;
    let model = orders.model().without(0, lost.clone());
    let offsets = home.join("delete.json");
    let text = format!(
        "{{\"version\":1,\"partitions\":[{{\"topic\":\"orders\",\"partition\":0,\"offset\":{}}}]}}",
        lost.end
    );
    fs::write(&offsets, text).unwrap();
    kafka
        .tool(
            DELETE_RECORDS,
            &[
                "--bootstrap-server",
                &kafka.bootstrap(),
                "--offset-json-file",
                &offsets.display().to_string(),
            ],
        )
        .unwrap();
    node.sql("START PIPELINE shop.orders");
    orders.wait_for(node, &model);
    let errors: Vec<String> = node
        .sql("SELECT ERROR_MESSAGE FROM information_schema.PIPELINES_ERRORS")
        .into_iter()
        .flatten()
        .collect();
    let said = format!(
        "offsets {} to {} ({DELETED} of them) were deleted by retention",
        lost.start,
        lost.end - 1
    );
    assert!(errors.iter().any(|one| one.contains(&said)), "{errors:?}");
    orders.holds_for(node, &model);
}
