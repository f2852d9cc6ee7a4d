//! Memory stays within what the configuration adds up to: a topic many times larger than the leaves'
//! budget, records up to the broker's maximum, a decompression bomb, clients that stop reading, a
//! thousand partitions on one leaf.
//!
//! Measured is the peak of RssAnon: mapped segments are the page cache's.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use devbroker::orders::CREATE_TABLE;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use tests::kafka_server::KafkaServer;

use crate::bomb;
use crate::faults::is_full_run;
use crate::law::{Loaded, stands};
use crate::load::{Load, WAIT, send};
use crate::node::Node;

const MIB: u64 = 1 << 20;
const LEAF_BYTES: u64 = 64 * MIB;
const QUERY_BYTES: u64 = 64 * MIB;
const TIMEOUT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(5);
/// The largest message of the topic of large ones.
const RECORD_BYTES: u64 = 8 * MIB;
/// What the bomb unpacks to.
const BOMB_BYTES: u64 = 1 << 30;
const READERS: usize = 4;

fn large_records() -> u64 {
    if is_full_run() { 400 } else { 64 }
}

fn orders() -> u64 {
    if is_full_run() { 4_000_000 } else { 400_000 }
}

fn partitions() -> i32 {
    if is_full_run() { 1_000 } else { 200 }
}

/// Looks at a process's own memory until it is ended.
struct Peak {
    bound: u64,
    ended: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Peak {
    fn of(node: &Node) -> Peak {
        let status = format!("/proc/{}/status", node.pid());
        let ended = Arc::new(AtomicBool::new(false));
        let bytes = Arc::new(AtomicU64::new(node.anonymous_bytes()));
        let (stop, peak) = (ended.clone(), bytes.clone());
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&status).unwrap_or_default();
                peak.fetch_max(crate::node::anonymous_bytes(&text), Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        Peak {
            bound: node.memory_bytes(),
            ended,
            bytes,
            thread: Some(thread),
        }
    }

    /// The peak so far, which must be within what the configuration adds up to.
    fn is_within(&self, what: &str) {
        let (peak, bound) = (self.bytes.load(Ordering::Relaxed), self.bound);
        println!("{what}: peak {} of {} MiB", peak / MIB, bound / MIB);
        assert!(peak <= bound, "{what}: {peak} bytes, {bound} at most");
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn config() -> String {
    format!(
        "[memory]\nleaf_bytes = {LEAF_BYTES}\nquery_bytes = {QUERY_BYTES}\n\n\
         [server]\nnet_write_timeout_s = 2\n"
    )
}

fn pipeline(node: &Node, kafka: &KafkaServer, name: &str) {
    node.sql(&format!(
        "CREATE PIPELINE shop.{name} AS LOAD DATA KAFKA '{}/{name}' INTO TABLE shop.{name} FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql(&format!("START PIPELINE shop.{name}"));
}

#[test]
fn kafka_memory_is_what_the_configuration_adds_up_to() {
    let home = tempfile::tempdir().unwrap();
    let largest = (RECORD_BYTES + MIB).to_string();
    let properties = [
        ("message.max.bytes", largest.as_str()),
        ("replica.fetch.max.bytes", largest.as_str()),
    ];
    let kafka = KafkaServer::start(home.path(), 1, &properties).unwrap();
    for (topic, partitions) in [("orders", 4), ("large", 4), ("bombs", 1)] {
        kafka.create_topic(topic, partitions, &[]).unwrap();
    }
    produce_large(&kafka, &largest);
    let mut load = Load::new(&kafka.bootstrap(), "orders", 4, 0, &[]);
    load.send(orders());
    load.flush();

    let mut node = Node::new(&home.path().join("node"), &config());
    node.start();
    let peak = Peak::of(&node);
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    for table in ["large", "bombs"] {
        node.sql(&format!(
            "CREATE TABLE shop.{table} (id BIGINT NOT NULL, body LONGTEXT)"
        ));
    }
    peak.is_within("idle");
    pipeline(&node, &kafka, "orders");
    pipeline(&node, &kafka, "large");
    let bootstrap = kafka.bootstrap();
    let loaded = Loaded {
        bootstrap: &bootstrap,
        name: "orders",
        partitions: 4,
    };
    let model = loaded.model();
    loaded.wait_for(&node, &model);
    peak.is_within("orders");
    large_is_there(&node);
    peak.is_within("large records");

    bomb::produce(kafka.addr(1), "bombs", &bomb::batch(BOMB_BYTES));
    pipeline(&node, &kafka, "bombs");
    node.wait_for("the bomb is named", TIMEOUT, |node| {
        stands(node, "bombs")["0"].state.starts_with("Failed: ")
    });
    println!("{}", stands(&node, "bombs")["0"].state);
    peak.is_within("a bomb");

    stop_reading(&node);
    peak.is_within("clients that stop reading");
    drop(peak);
    loaded.holds_for(&mut node, &model);
    large_is_there(&node);
    node.stop();
}

/// Messages of every size up to the largest, half of them compressed.
fn produce_large(kafka: &KafkaServer, largest: &str) {
    for (half, codec) in [(0, "none"), (1, "lz4")] {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("enable.idempotence", "true")
            .set("message.max.bytes", largest)
            .set("compression.codec", codec)
            .create()
            .unwrap();
        for id in (half..large_records()).step_by(2) {
            let body = "x".repeat(usize::try_from(body_bytes(id)).unwrap());
            let value = format!("{{\"id\":{id},\"body\":\"{body}\"}}");
            send(
                &producer,
                "large",
                i32::try_from(id % 4).unwrap(),
                value.as_bytes(),
            );
        }
        producer.flush(WAIT).unwrap();
    }
}

/// Of one large message's body.
fn body_bytes(id: u64) -> u64 {
    match id % 4 {
        0 => RECORD_BYTES,
        1 => RECORD_BYTES / 2,
        2 => MIB,
        _ => RECORD_BYTES - id,
    }
}

fn large_is_there(node: &Node) {
    let ids = 0..large_records();
    let expected = [
        large_records(),
        ids.clone().sum(),
        ids.map(body_bytes).sum(),
    ]
    .map(|number| number.to_string());
    node.wait_for("every large record", TIMEOUT, |node| {
        node.cell("SELECT COUNT(*) FROM shop.large") == expected[0]
    });
    let sums = node.sql("SELECT COUNT(*), SUM(id), SUM(LENGTH(body)) FROM shop.large");
    assert_eq!(sums, [expected]);
}

/// Clients that ask for all there is and take nothing: they are closed, and nobody else waits.
fn stop_reading(node: &Node) {
    let all = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT body%'";
    let mut clients: Vec<_> = (0..READERS)
        .map(|_| node.mysql("SELECT body FROM shop.large"))
        .collect();
    node.wait_for("the statements run", TIMEOUT, |node| {
        node.cell(all) == READERS.to_string()
    });
    node.wait_for("they are closed", TIMEOUT, |node| node.cell(all) == "0");
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn kafka_a_thousand_partitions_on_one_leaf() {
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    kafka
        .create_topic("orders", usize::try_from(partitions()).unwrap(), &[])
        .unwrap();
    let mut node = Node::new(&home.path().join("node"), &config());
    one_leaf(&home.path().join("node/pinleaf.toml"));
    node.start();
    let peak = Peak::of(&node);
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    pipeline(&node, &kafka, "orders");
    let bootstrap = kafka.bootstrap();
    let mut load = Load::new(&bootstrap, "orders", partitions(), 0, &[]);
    load.send(orders() / 4);
    load.flush();
    let loaded = Loaded {
        bootstrap: &bootstrap,
        name: "orders",
        partitions: partitions(),
    };
    let model = loaded.model();
    loaded.wait_for(&node, &model);
    peak.is_within("partitions");
    drop(peak);
    loaded.holds_for(&mut node, &model);
    node.stop();
}

fn one_leaf(config: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let lines = text.lines().map(|line| match line.split_once(',') {
        Some((first, _)) if line.starts_with("leaves = [") => format!("{first}]\n"),
        _ => format!("{line}\n"),
    });
    fs::write(config, lines.collect::<String>()).unwrap();
}
