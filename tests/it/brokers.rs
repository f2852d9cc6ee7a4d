//! What happens to brokers and topics while a pipeline runs: it goes on by itself, and SQL says what it
//! waits for.

use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::audit::ok_rows;
use crate::load::Load;
use crate::node::Node;
use crate::rows::{Rows, order};

const TIMEOUT: Duration = Duration::from_secs(120);
const EVENTS: u64 = 4_000;
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

fn begin(kafka: &KafkaServer, node: &mut Node) {
    kafka.create_topic("orders", 4, &[]).unwrap();
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    // New partitions are looked for at this interval.
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{}/orders' \
         CONFIG '{{\"topic.metadata.refresh.interval.ms\": 1000}}' INTO TABLE shop.orders FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql("START PIPELINE shop.orders");
}

/// Sends to so many partitions, ids from `first` on.
fn produce(kafka: &KafkaServer, partitions: i32, first: u64, events: u64) {
    let mut load = Load::new(&kafka.bootstrap(), "orders", partitions, first, &[]);
    load.send(events);
    load.flush();
}

fn wait_for_rows(node: &Node, rows: u64) {
    node.wait_for("every row is visible", TIMEOUT, |node| {
        node.cell("SELECT COUNT(*) FROM shop.orders") == rows.to_string()
    });
}

fn states(node: &Node) -> Vec<(String, String)> {
    node.sql(
        "SELECT LEADER_BROKER, STATE FROM information_schema.PIPELINES_PARTITIONS \
         ORDER BY SOURCE_PARTITION_ID",
    )
    .into_iter()
    .map(|mut row| (row.remove(0), row.remove(0)))
    .collect()
}

#[test]
fn kafka_a_broker_goes_and_comes_back_and_partitions_are_added() {
    let home = tempfile::tempdir().unwrap();
    let mut kafka = KafkaServer::start(home.path(), 2, &[]).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    begin(&kafka, &mut node);
    produce(&kafka, 4, 0, EVENTS);
    wait_for_rows(&node, EVENTS);
    assert_eq!(states(&node).iter().filter(|one| one.0 == "2").count(), 2);

    // Its two partitions say that they wait; the others are as they were.
    kafka.kill_broker(2);
    node.wait_for("what is waited for is said", TIMEOUT, |node| {
        states(node)
            .iter()
            .all(|(_, state)| state.starts_with("Running: caught up") || is_wait(state))
            && states(node).iter().filter(|one| is_wait(&one.1)).count() == 2
    });
    println!("{:?}", states(&node));
    assert_eq!(node.sql("SHOW PIPELINES FROM shop")[0][1], "Running");
    kafka.restart_broker(2).unwrap();
    produce(&kafka, 4, EVENTS, EVENTS);
    wait_for_rows(&node, 2 * EVENTS);

    let bootstrap = kafka.bootstrap();
    kafka
        .tool(
            TOPICS,
            &[
                "--bootstrap-server",
                &bootstrap,
                "--alter",
                "--topic",
                "orders",
                "--partitions",
                "6",
            ],
        )
        .unwrap();
    produce(&kafka, 6, 2 * EVENTS, EVENTS);
    wait_for_rows(&node, 3 * EVENTS);
    assert_eq!(states(&node).len(), 6);
    let model = Rows::of_kafka(&kafka.bootstrap(), "orders", 6, order);
    Rows::of_sql(&node, "shop.orders").assert_is(&model);

    // The same name, another topic: nothing of it is taken for the old one's.
    kafka
        .tool(
            TOPICS,
            &[
                "--bootstrap-server",
                &bootstrap,
                "--delete",
                "--topic",
                "orders",
            ],
        )
        .unwrap();
    kafka.create_replicated_topic("orders", 6, 2, &[]).unwrap();
    produce(&kafka, 6, 0, EVENTS);
    node.wait_for("the pipeline says so", TIMEOUT, |node| {
        node.sql("SHOW PIPELINES FROM shop")[0][1] == "Error"
    });
    println!("{:?}", states(&node));
    println!(
        "{:?}",
        node.sql("SELECT ERROR_CODE, ERROR_MESSAGE FROM information_schema.PIPELINES_ERRORS")
    );
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    node.sql("ALTER PIPELINE shop.orders SET OFFSETS EARLIEST");
    node.sql("START PIPELINE shop.orders");
    wait_for_rows(&node, 4 * EVENTS);
    let model = model.and(Rows::of_kafka(&kafka.bootstrap(), "orders", 6, order));
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    node.stop();
    node.start();
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    assert_eq!(ok_rows(&node, "shop.orders"), model.len());
    node.stop();
}

fn is_wait(state: &str) -> bool {
    state.starts_with("Held: ") || state.starts_with("Locating: ")
}
