//! SIGKILL while a topic of two brokers is loaded and while a start recovers: every row is there once,
//! nothing that was said to be durable is gone. One producer is idempotent, the other writes
//! transactions and aborts every third.
//!
//! `tests/kill` runs it 200 times; `PINLEAF_KILLS` and `PINLEAF_KILL_SEED` choose.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use devbroker::orders::CREATE_TABLE;
use rdkafka::producer::Producer;
use tests::kafka_server::KafkaServer;

use crate::audit::{Counted, is_all_of};
use crate::law::Loaded;
use crate::load::{Load, WAIT};
use crate::node::Node;

const PARTITIONS: i32 = 4;
/// The seed of the instants, where none is given.
const SEED: u64 = 3;
/// A kill comes at most so long after loading went on.
const LOAD_MS_MAX: u64 = 2_500;
/// A kill in a recovery comes at most so long after the first of them began.
const RECOVERY_US_MAX: u64 = 8_000;
/// One start in so many is killed while it recovers.
const RECOVERY_KILL_EVERY: u64 = 4;
/// How often such a kill may come too late before the test says so.
const RECOVERY_TRIES: u32 = 20;
/// Events that a producer sends at once, and its pause after them: some 6,000 a second.
const BURST: (u64, Duration) = (30, Duration::from_millis(10));
/// Bursts of one transaction; every third one is aborted.
const TRANSACTION_BURSTS: u64 = 20;
/// The ids of what transactions write begin here.
const TRANSACTION_ID_FIRST: u64 = 1 << 40;
const TIMEOUT: Duration = Duration::from_secs(120);

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

fn kills() -> u64 {
    number("PINLEAF_KILLS", 10)
}

/// What the kills came upon.
#[derive(Default)]
struct Figures {
    /// Kills in mid-load.
    load_kills: u64,
    /// Those of them that met rows that were visible and not durable.
    beyond_durable: u64,
    /// Starts killed in the middle of a recovery, and those that had ended before the kill.
    recovery_kills: u64,
    recovery_missed: u32,
    /// Microseconds of each whole recovery.
    recovery_us: Vec<u64>,
}

#[test]
fn kafka_sigkill_in_mid_load() {
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 2, &[]).unwrap();
    kafka.create_topic("orders", 4, &[]).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&format!("USE shop; {CREATE_TABLE}"));
    node.sql(&format!(
        "CREATE PIPELINE shop.orders AS LOAD DATA KAFKA '{}/orders' INTO TABLE shop.orders FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql("START PIPELINE shop.orders");

    let stop = AtomicBool::new(false);
    let bootstrap = kafka.bootstrap();
    let (figures, sent) = thread::scope(|scope| {
        let idempotent = scope.spawn(|| produce(&bootstrap, &stop));
        let transactional = scope.spawn(|| produce_transactions(&bootstrap, &stop));
        // The producers end when this does, also by a panic.
        let _stop = StopOnDrop(&stop);
        let figures = kill_and_start(&mut node);
        stop.store(true, Ordering::Relaxed);
        let idempotent = idempotent.join().unwrap();
        (figures, idempotent + transactional.join().unwrap())
    });
    let orders = Loaded {
        bootstrap: &bootstrap,
        name: "orders",
        partitions: PARTITIONS,
    };
    let rows = orders.holds(&mut node) as u64;
    assert_eq!(rows, sent, "what was committed is in the topic");
    node.sql("STOP PIPELINE shop.orders");
    let counted = Counted::of_kafka(&bootstrap, "orders", PARTITIONS);
    let sums = is_all_of(&node, "shop.orders", counted);
    println!("verified: {sums:?}");
    node.stop();

    let mut times = figures.recovery_us;
    times.sort_unstable();
    println!(
        "seed {}: {sent} events; {} kills in mid-load, {} of them with visible beyond durable; {} kills in \
         mid-recovery ({} came too late); {} recoveries of a leaf partition: {} us at the least, {} in \
         the middle, {} at the most",
        number("PINLEAF_KILL_SEED", SEED),
        figures.load_kills,
        figures.beyond_durable,
        figures.recovery_kills,
        figures.recovery_missed,
        times.len(),
        times[0],
        times[times.len() / 2],
        times[times.len() - 1],
    );
    assert!(figures.beyond_durable * 4 >= figures.load_kills * 3);
    assert_eq!(
        figures.recovery_kills,
        kills().div_ceil(RECOVERY_KILL_EVERY)
    );
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends until it is told to stop; answers how many events.
fn produce(bootstrap: &str, stop: &AtomicBool) -> u64 {
    let mut load = Load::new(bootstrap, "orders", PARTITIONS, 0, &[]);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += burst(&mut load);
    }
    load.flush();
    sent
}

/// Sends transactions until it is told to stop; answers how many events it committed.
fn produce_transactions(bootstrap: &str, stop: &AtomicBool) -> u64 {
    let config = [("transactional.id", "orders")];
    let first_id = TRANSACTION_ID_FIRST;
    let mut load = Load::new(bootstrap, "orders", PARTITIONS, first_id, &config);
    load.producer().init_transactions(WAIT).unwrap();
    let mut committed = 0;
    let mut transactions = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        load.producer().begin_transaction().unwrap();
        let sent: u64 = (0..TRANSACTION_BURSTS).map(|_| burst(&mut load)).sum();
        load.flush();
        transactions += 1;
        if transactions.is_multiple_of(3) {
            load.producer().abort_transaction(WAIT).unwrap();
        } else {
            load.producer().commit_transaction(WAIT).unwrap();
            committed += sent;
        }
    }
    committed
}

/// One burst and the pause behind it.
fn burst(load: &mut Load) -> u64 {
    load.send(BURST.0);
    load.poll(Duration::ZERO);
    thread::sleep(BURST.1);
    BURST.0
}

fn kill_and_start(node: &mut Node) -> Figures {
    let seed = number("PINLEAF_KILL_SEED", SEED);
    let mut random = Random(seed);
    let mut figures = Figures::default();
    let mut offsets = offsets(node);
    for kill in 0..kills() {
        let before: i64 = offsets.values().map(|found| found.visible).sum();
        node.wait_for("loading goes on", TIMEOUT, |node| {
            let now = self::offsets(node);
            now.values().map(|found| found.visible).sum::<i64>() > before
        });
        // The instant is what is tested; nothing is waited for.
        thread::sleep(Duration::from_millis(random.below(LOAD_MS_MAX)));
        let held = self::offsets(node);
        node.kill();
        figures.load_kills += 1;
        let beyond = held.values().any(|found| found.visible > found.durable);
        figures.beyond_durable += u64::from(beyond);
        println!("kill {kill}: visible beyond durable: {beyond}, {held:?}");
        if kill % RECOVERY_KILL_EVERY == 0 {
            kill_in_recovery(node, &mut random, &mut figures);
        }
        node.start();
        let recovered = recovered(&node.log());
        for (leaf_partition, held) in &held {
            let found = recovered[leaf_partition];
            figures.recovery_us.push(found.us);
            // A kill of the process keeps what was written; only what was durable is promised.
            assert!(
                found.cursor >= held.durable,
                "leaf partition {leaf_partition} came back at {}, durable was {}",
                found.cursor,
                held.durable
            );
        }
        offsets = self::offsets(node);
    }
    figures
}

/// Starts it and kills it at a random instant after its first recovery began and before the last ended.
fn kill_in_recovery(node: &mut Node, random: &mut Random, figures: &mut Figures) {
    for _ in 0..RECOVERY_TRIES {
        node.spawn();
        let began = Instant::now();
        while !node.log().contains(" recovering ") {
            assert!(began.elapsed() < TIMEOUT, "no recovery:\n{}", node.log());
            thread::yield_now();
        }
        thread::sleep(Duration::from_micros(random.below(RECOVERY_US_MAX)));
        node.kill();
        let log = node.log();
        let (started, ended) = (log.matches(" recovering ").count(), recovered(&log).len());
        if ended < PARTITIONS as usize {
            println!("kill in recovery: {ended} of {started} that began had ended");
            figures.recovery_kills += 1;
            return;
        }
        figures.recovery_missed += 1;
    }
}

#[derive(Debug)]
struct Offsets {
    visible: i64,
    durable: i64,
}

/// By leaf partition.
fn offsets(node: &Node) -> BTreeMap<u64, Offsets> {
    let rows = node.sql(
        "SELECT LEAF_PARTITION, VISIBLE_OFFSET, IFNULL(DURABLE_OFFSET, 0) \
         FROM information_schema.PIPELINES_PARTITIONS",
    );
    rows.iter()
        .map(|row| {
            let found = Offsets {
                visible: row[1].parse().unwrap(),
                durable: row[2].parse().unwrap(),
            };
            (row[0].parse().unwrap(), found)
        })
        .collect()
}

/// What the log says of a recovery.
#[derive(Clone, Copy)]
pub struct Recovered {
    /// Where loading goes on.
    pub cursor: i64,
    /// How long it took, in microseconds.
    pub us: u64,
}

/// What a log says of each leaf partition's recovery.
pub fn recovered(log: &str) -> BTreeMap<u64, Recovered> {
    let field = |line: &str, name: &str| -> Option<i64> {
        let value = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name));
        value?.parse().ok()
    };
    log.lines()
        .filter(|line| line.contains(" recovered "))
        .filter_map(|line| {
            let found = Recovered {
                cursor: field(line, "cursor=")?,
                us: u64::try_from(field(line, "recovery_us=")?).ok()?,
            };
            Some((u64::try_from(field(line, "leaf_partition=")?).ok()?, found))
        })
        .collect()
}

/// SplitMix64: the same instants every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
