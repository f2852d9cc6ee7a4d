//! A leader that is elected without having all that consumers have read: what was loaded of it cannot be unmade, so the
//! partition stops by name, and goes on from where the user says.

use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::cluster::SESSION;
use crate::feed::wait_for_rows;
use crate::load::Load;
use crate::node::Node;
use crate::rows::{Rows, order};

const TIMEOUT: Duration = Duration::from_secs(120);
const EVENTS: u64 = 2_000;
const ROWS: usize = EVENTS as usize;
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

fn produce(kafka: &KafkaServer, first: u64) {
    let mut load = Load::new(&kafka.bootstrap(), "orders", 1, first, &[]);
    load.send(EVENTS);
    load.flush();
}

/// The partition's replicas are on brokers 2 and 3; broker 1 has the controller alone.
fn begin(kafka: &KafkaServer, node: &mut Node) {
    let bootstrap = kafka.bootstrap();
    let topic = [
        "--create",
        "--topic",
        "orders",
        "--replica-assignment",
        "2:3",
    ];
    let unclean = ["--config", "unclean.leader.election.enable=true"];
    let server = ["--bootstrap-server", &bootstrap];
    kafka
        .tool(TOPICS, &[&server[..], &topic, &unclean].concat())
        .unwrap();
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{bootstrap}/orders' \
         CONFIG '{{\"topic.metadata.refresh.interval.ms\": 1000}}' INTO TABLE shop.orders FORMAT JSON"
    ));
    node.sql("START PIPELINE shop.orders");
}

#[test]
fn kafka_an_unclean_election_stops_the_partition_by_name_and_no_row_is_taken_for_another() {
    let home = tempfile::tempdir().unwrap();
    let mut kafka = KafkaServer::start(home.path(), 3, &SESSION).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    begin(&kafka, &mut node);
    produce(&kafka, 0);
    wait_for_rows(&node, "orders", ROWS);

    // What broker 3 never had is acknowledged, loaded, and gone with broker 2.
    kafka.kill_broker(3);
    produce(&kafka, 1 << 40);
    wait_for_rows(&node, "orders", 2 * ROWS);
    let before = Rows::of_kafka(&kafka.bootstrap(), "orders", 1, order);
    kafka.kill_broker(2);
    kafka.restart_broker(3).unwrap();
    let bootstrap = kafka.bootstrap();
    node.wait_for("the pipeline is in Error", TIMEOUT, |node| {
        // Until the controller has noticed that broker 2 is dead it refuses.
        let _ = kafka.elect("unclean", &["--topic", "orders", "--partition", "0"]);
        node.sql("SHOW PIPELINES FROM shop")[0][1] == "Error"
    });
    let said = node.cell(
        "SELECT ERROR_MESSAGE FROM information_schema.PIPELINES_ERRORS WHERE ERROR_TYPE = 'Error'",
    );
    let range = format!(
        "ends at offset {EVENTS}, but offsets {EVENTS} to {} were loaded and are another log's now",
        2 * EVENTS - 1
    );
    assert!(said.contains("diverged") && said.contains(&range), "{said}");
    Rows::of_sql(&node, "shop.orders").assert_is(&before);

    // Beside the log as it is now, the audit names what it has no more.
    produce(&kafka, 1 << 41);
    node.sql(&format!(
        "ALTER PIPELINE shop.orders SET OFFSETS '{{\"0\": {EVENTS}}}'"
    ));
    node.sql("START PIPELINE shop.orders");
    wait_for_rows(&node, "orders", 3 * ROWS);
    let kept = 0..i64::try_from(EVENTS).unwrap();
    let after = Rows::of_kafka(&bootstrap, "orders", 1, order).without(0, kept);
    let model = before.and(after);
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    node.stop();
    node.start();
    Rows::of_sql(&node, "shop.orders").assert_is(&model);
    let audited = node.sql("AUDIT PIPELINE shop.orders VERIFY");
    for row in &audited {
        let is_of_the_log = row[2] == "2";
        let named = row[17].starts_with(&format!("offset {EVENTS}: "));
        assert_eq!(
            (row[17] == "ok", named),
            (is_of_the_log, !is_of_the_log),
            "{row:?}"
        );
    }
    node.stop();
}
