//! A bad way to a broker: silent, cut, slow, narrow, cut anywhere in a frame. SQL says what is waited for,
//! and loading goes on by itself.

use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::faults::lasting;
use crate::law::{Loaded, goes_on, stands};
use crate::load::SteadyLoad;
use crate::node::Node;
use crate::proxy::{Proxy, Way};

const TIMEOUT: Duration = Duration::from_secs(60);
/// A lost connection is tried again at least every five seconds.
const GOES_ON: Duration = Duration::from_secs(20);
const DELAY: Duration = Duration::from_millis(50);
const LIMIT_BYTES_A_SECOND: usize = 256 << 10;
/// More than a connection's first answers take.
const CUT_AFTER_BYTES: u64 = 24 << 10;

/// Until some state of the pipeline begins so.
fn wait_for_state(node: &Node, starts: &[&str]) {
    let mut found = String::new();
    node.wait_for(&format!("{starts:?}"), TIMEOUT, |node| {
        let state = stands(node, "orders")
            .into_values()
            .map(|one| one.state)
            .find(|state| starts.iter().any(|start| state.starts_with(start)));
        found = state.clone().unwrap_or_default();
        state.is_some()
    });
    println!("{found}");
}

#[test]
fn kafka_behind_a_bad_way() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start();
    // Every client is told to come this way.
    let advertised = format!("PLAINTEXT://{}", proxy.addr());
    let properties = [("advertised.listeners", advertised.as_str())];
    let kafka = KafkaServer::start(home.path(), 1, &properties).unwrap();
    proxy.lead_to(kafka.addr(1));
    kafka.create_topic("orders", 4, &[]).unwrap();
    let bootstrap = proxy.addr().to_string();
    let mut node = Node::new(&home.path().join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{bootstrap}/orders' INTO TABLE shop.orders FORMAT JSON"
    ));
    node.sql("START PIPELINE shop.orders");
    let load = SteadyLoad::start(&bootstrap, "orders", 4);
    goes_on(&node, "orders", "the start", GOES_ON);

    proxy.set(Way::Silent);
    wait_for_state(
        &node,
        &[
            "Running: waits for an answer of broker 1",
            "Held: no connection to broker 1",
        ],
    );
    // In full beyond the time in which an answer must come.
    std::thread::sleep(lasting(Duration::from_secs(40), Duration::from_secs(2)));
    assert_eq!(node.sql("SHOW PIPELINES FROM shop")[0][1], "Running");
    proxy.set(Way::Open);
    goes_on(&node, "orders", "after silence", GOES_ON);

    proxy.set(Way::Cut);
    wait_for_state(&node, &["Held: no connection to broker 1"]);
    std::thread::sleep(lasting(Duration::from_secs(30), Duration::from_secs(2)));
    assert_eq!(node.sql("SHOW PIPELINES FROM shop")[0][1], "Running");
    proxy.set(Way::Open);
    goes_on(&node, "orders", "after a cut", GOES_ON);

    proxy.set(Way::Delay(DELAY));
    goes_on(&node, "orders", "a slow way", GOES_ON);
    proxy.set(Way::Limit(LIMIT_BYTES_A_SECOND));
    goes_on(&node, "orders", "a narrow way", GOES_ON);
    let before = proxy.connections();
    proxy.set(Way::CutAfter(CUT_AFTER_BYTES));
    for _ in 0..4 {
        goes_on(&node, "orders", "cut again and again", GOES_ON);
    }
    println!("{} connections", proxy.connections() - before);
    assert!(proxy.connections() >= before + 4);
    proxy.set(Way::Open);

    load.end();
    let orders = Loaded {
        bootstrap: &bootstrap,
        name: "orders",
        partitions: 4,
    };
    println!("{} rows", orders.holds(&mut node));
    node.stop();
}
