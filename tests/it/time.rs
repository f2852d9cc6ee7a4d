//! A process that stands still for a while, and a wall clock that jumps a day: nothing is lost, nothing
//! stalls, and what SQL says of ages stays sane.

use std::thread;
use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::faults::{Faults, lasting};
use crate::law::{Loaded, goes_on};
use crate::load::SteadyLoad;
use crate::node::Node;

const TIMEOUT: Duration = Duration::from_secs(60);
const GOES_ON: Duration = Duration::from_secs(20);
const DAY_S: i64 = 86_400;
/// No wait of this test is so long.
const AGE_MS_MAX: f64 = 300_000.0;

/// Commits and syncs go on: what is visible now becomes durable.
fn becomes_durable(node: &Node) {
    let cursors = |node: &Node, which: &str| -> Vec<i64> {
        node.sql(&format!(
            "SELECT IFNULL({which}, 0) FROM information_schema.PIPELINES_PARTITIONS \
             ORDER BY SOURCE_PARTITION_ID"
        ))
        .into_iter()
        .map(|row| row[0].parse().unwrap())
        .collect()
    };
    let visible = cursors(node, "VISIBLE_OFFSET");
    node.wait_for("it becomes durable", TIMEOUT, |node| {
        let durable = cursors(node, "DURABLE_OFFSET");
        durable.iter().zip(&visible).all(|(end, then)| end >= then)
    });
}

/// How long something has taken or waited is not for the wall clock to say; how long ago a broker was
/// heard is right again with its next answer.
fn ages_are_sane(node: &Node) {
    let sane = |age: &String| {
        let ms: f64 = age.parse().unwrap();
        (0.0..AGE_MS_MAX).contains(&ms)
    };
    let heard = "SELECT HEARD_MS FROM information_schema.PIPELINES_PARTITIONS";
    node.wait_for("HEARD_MS is sane", TIMEOUT, |node| {
        node.sql(heard).iter().flatten().all(sane)
    });
    for sql in [
        "SELECT SYNC_MS, IFNULL(UNSYNCED_MS, 0) FROM information_schema.PIPELINES_PARTITIONS",
        "SELECT BATCH_TIME * 1000 FROM information_schema.PIPELINES_BATCHES",
    ] {
        let ages = node.sql(sql);
        assert!(ages.iter().flatten().all(sane), "{sql}: {ages:?}");
    }
}

#[test]
fn kafka_preload_the_process_stands_still_and_the_clock_jumps() {
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    kafka.create_topic("orders", 4, &[]).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    let faults = Faults::of_node(home.path(), &mut node);
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    let bootstrap = kafka.bootstrap();
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{bootstrap}/orders' INTO TABLE shop.orders FORMAT JSON"
    ));
    node.sql("START PIPELINE shop.orders");
    let load = SteadyLoad::start(&bootstrap, "orders", 4);
    goes_on(&node, "orders", "the start", GOES_ON);

    node.signal(&["-STOP"]);
    thread::sleep(lasting(Duration::from_secs(60), Duration::from_secs(4)));
    node.signal(&["-CONT"]);
    goes_on(&node, "orders", "after standing still", GOES_ON);
    becomes_durable(&node);
    ages_are_sane(&node);

    let real_s: i64 = node.cell("SELECT UNIX_TIMESTAMP()").parse().unwrap();
    for ahead_s in [DAY_S, 0, -DAY_S, 0, DAY_S, -DAY_S] {
        faults.set_clock_ahead(ahead_s);
        let now_s: i64 = node.cell("SELECT UNIX_TIMESTAMP()").parse().unwrap();
        assert!((now_s - real_s - ahead_s).abs() < 3_600, "the clock jumps");
        goes_on(
            &node,
            "orders",
            &format!("the clock at {ahead_s} s"),
            GOES_ON,
        );
        becomes_durable(&node);
        ages_are_sane(&node);
    }
    // It is a day behind: what was committed lies in the future of the next start.
    node.kill();
    node.start();
    goes_on(&node, "orders", "a start a day before", GOES_ON);
    ages_are_sane(&node);

    load.end();
    let orders = Loaded {
        bootstrap: &bootstrap,
        name: "orders",
        partitions: 4,
    };
    println!("{} rows", orders.holds(&mut node));
    node.stop();
}
