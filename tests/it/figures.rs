//! Figures of a node at its default settings: how fresh rows are, what a trickle costs on disk, what an
//! idle node costs.
//!
//! Each runs small by default, so that it cannot rot, and in full by its variable. Times are printed and
//! not asserted: the machine is shared. What is asserted is what no machine excuses.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devbroker::orders::CREATE_TABLE;
use tests::kafka_server::KafkaServer;

use crate::kills::recovered;
use crate::load::Load;
use crate::node::{Node, binary};

const TIMEOUT: Duration = Duration::from_secs(120);
/// One event of the freshness load every so long.
const FRESH_EVERY: Duration = Duration::from_millis(1);
/// The part of the freshness load that comes before it, uncounted.
const WARM_UP: u64 = 6;
/// One row of the trickle every so long.
const TRICKLE_EVERY: Duration = Duration::from_millis(20);
/// What librdkafka needs to send each event at once.
const AT_ONCE: [(&str, &str); 3] = [
    ("enable.idempotence", "false"),
    ("acks", "1"),
    ("linger.ms", "0"),
];
/// What recovery may take.
const RECOVERY_MAX: Duration = Duration::from_secs(1);
/// CPU that an idle node may take of a second.
const IDLE_CPU_MAX: f64 = 0.01;
/// The kernel's clock ticks a second, as /proc counts CPU.
const TICKS_PER_S: f64 = 100.0;

fn full(variable: &str, small: u64) -> u64 {
    env::var(variable).map_or(small, |value| value.parse().unwrap())
}

fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}

fn create(node: &Node, kafka: &KafkaServer, table: &str) {
    node.sql("CREATE DATABASE IF NOT EXISTS shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", &format!("TABLE shop.{table}")));
    node.sql(&format!(
        "CREATE PIPELINE shop.{table} AS LOAD DATA KAFKA '{}/orders' INTO TABLE shop.{table} FORMAT JSON",
        kafka.bootstrap()
    ));
    node.sql(&format!("START PIPELINE shop.{table}"));
}

/// Sends that many events, one at each beat; answers when each was handed to the producer, in µs.
fn send_paced(kafka: &KafkaServer, first_id: u64, events: u64, every: Duration) -> Vec<u64> {
    let mut load = Load::new(&kafka.bootstrap(), "orders", 1, first_id, &AT_ONCE);
    let began = Instant::now();
    let mut sent_us = Vec::new();
    for event in 0..events {
        let due = began + every * u32::try_from(event).unwrap();
        // The pace of the load.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sent_us.push(unix_us());
        load.send(1);
        load.poll(Duration::ZERO);
    }
    load.flush();
    sent_us
}

fn quantile(sorted: &[u64], of_1000: usize) -> u64 {
    sorted[(sorted.len() - 1) * of_1000 / 1000]
}

/// PINLEAF_FRESHNESS_EVENTS=60000 is a minute of it.
#[test]
fn kafka_python_freshness_at_a_thousand_rows_a_second() {
    let events = full("PINLEAF_FRESHNESS_EVENTS", 3_000);
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    kafka.create_topic("orders", 1, &[]).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    node.start();
    create(&node, &kafka, "orders");
    // A broker that has just started takes seconds to run at its speed. What a start counts begins anew.
    let warm = events / WARM_UP;
    send_paced(&kafka, 0, warm, FRESH_EVERY);
    all_there(&node, "orders", warm);
    node.stop();
    node.start();
    node.wait_for("it loads again", TIMEOUT, |node| {
        node.cell("SELECT LAG_RECORDS FROM information_schema.PIPELINES_PARTITIONS") == "0"
    });
    let mut poller = Command::new(env::var_os("PINLEAF_PYTHON").expect("PINLEAF_PYTHON"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/poll_max.py"))
        .args([node.port().to_string(), "shop.orders".into()])
        .arg((warm + events - 1).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(poller.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");

    let (sent_us, seen) = thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut text = String::new();
            said.read_to_string(&mut text).unwrap();
            text
        });
        let sent_us = send_paced(&kafka, warm, events, FRESH_EVERY);
        (sent_us, seen.join().unwrap())
    });
    let ended = poller.wait_with_output().unwrap();
    let polls = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{polls}");

    // Every event became visible with the first answer that has it or a later one.
    let mut select_us = Vec::new();
    for line in seen.lines() {
        let (at, newest) = line.split_once(' ').unwrap();
        let (at, newest): (u64, u64) = (at.parse().unwrap(), newest.parse().unwrap());
        while warm + select_us.len() as u64 <= newest {
            select_us.push(at.saturating_sub(sent_us[select_us.len()]));
        }
    }
    assert_eq!(select_us.len() as u64, events);
    select_us.sort_unstable();

    let status = |name: &str| -> u64 {
        let rows = node.sql(&format!("SHOW STATUS LIKE 'Pinleaf_freshness_{name}'"));
        rows[0][1].parse().unwrap()
    };
    node.wait_for("every row is counted", TIMEOUT, |_| {
        status("rows") == events
    });
    println!(
        "{events} events at {}/s: to the published mark p50 {} us, p99 {} us, p99.9 {} us; through SELECT \
         p50 {} us, p99 {} us, p99.9 {} us, {}",
        1_000_000 / FRESH_EVERY.as_micros(),
        status("p50_us"),
        status("p99_us"),
        status("p999_us"),
        quantile(&select_us, 500),
        quantile(&select_us, 990),
        quantile(&select_us, 999),
        polls.trim(),
    );
    node.stop();
}

/// PINLEAF_TRICKLE_S=600 is ten minutes of it.
///
/// Two nodes load the same trickle: one at the default settings, one that commits every tenth of a second,
/// so that a segment of 4,096 commits is sealed and merged within the ten minutes.
#[test]
fn kafka_trickle_costs_at_most_twice_a_large_load() {
    let seconds = full("PINLEAF_TRICKLE_S", 5);
    let events = seconds * 1_000 / u64::try_from(TRICKLE_EVERY.as_millis()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    kafka.create_topic("orders", 1, &[]).unwrap();
    let mut defaults = Node::new(&home.path().join("defaults"), "");
    let mut often = Node::new(
        &home.path().join("often"),
        "[storage]\nflush_age_ms = 100\n",
    );
    for node in [&mut defaults, &mut often] {
        node.start();
        create(node, &kafka, "orders");
    }
    send_paced(&kafka, 0, events, TRICKLE_EVERY);
    for node in [&defaults, &often] {
        all_there(node, "orders", events);
    }
    // The same events in one load.
    create(&defaults, &kafka, "whole");
    all_there(&defaults, "whole", events);
    for node in [&defaults, &often] {
        node.wait_for("what is sealed is merged", TIMEOUT, |node| {
            sealed(&segments(node)).all(Segment::merged)
        });
    }
    for table in ["orders", "whole"] {
        defaults.sql(&format!("STOP PIPELINE shop.{table}"));
    }

    let of_table = |table: &str| -> Segment {
        let id = defaults.cell(&format!(
            "SELECT LEAF_PARTITION FROM information_schema.PIPELINES_PARTITIONS WHERE TABLE_NAME = '{table}'"
        ));
        let mut own: Vec<Segment> = segments(&defaults)
            .into_iter()
            .filter(|segment| segment.leaf_partition == id)
            .collect();
        assert_eq!(own.len(), 1, "{own:?}");
        own.remove(0)
    };
    let (trickled, whole) = (of_table("orders"), of_table("whole"));
    println!(
        "{events} rows at default settings: {trickled}; in one load: {whole}; {:.2} times its bytes a row",
        trickled.bytes_per_row() / whole.bytes_per_row()
    );
    assert_eq!((trickled.rows, whole.rows), (events, events));
    if seconds >= 600 {
        assert!(trickled.bytes_per_row() <= 2.0 * whole.bytes_per_row());
    }
    let own = segments(&often);
    for segment in sealed(&own) {
        println!(
            "ten commits a second, merged: {segment}; {:.2} times the bytes a row of one load",
            segment.bytes_per_row() / whole.bytes_per_row()
        );
        assert!(segment.bytes_per_row() <= 2.0 * whole.bytes_per_row());
    }
    assert!(seconds < 600 || own.len() > 1, "{own:?}");

    for node in [&mut defaults, &mut often] {
        node.kill();
        node.start();
        all_there(node, "orders", events);
        for (leaf_partition, found) in recovered(&node.log()) {
            println!(
                "leaf partition {leaf_partition} recovered in {} us",
                found.us
            );
            assert!(Duration::from_micros(found.us) <= RECOVERY_MAX);
        }
        node.stop();
    }
}

fn all_there(node: &Node, table: &str, events: u64) {
    node.wait_for("every event is visible", TIMEOUT, |node| {
        node.cell(&format!(
            "SELECT CONCAT(COUNT(*), ' ', COUNT(DISTINCT id), ' ', MAX(id)) FROM shop.{table}"
        )) == format!("{events} {events} {}", events - 1)
    });
}

/// A segment's file, as `pinleaf inspect` tells of it.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    leaf_partition: String,
    bytes: u64,
    commits: u64,
    rows: u64,
}

impl Segment {
    fn bytes_per_row(&self) -> f64 {
        self.bytes as f64 / self.rows as f64
    }

    /// A merge counts the rewrite up.
    fn merged(&self) -> bool {
        number(&self.path, 1) > 0
    }
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rows in {} commits, {} bytes, {:.1} bytes a row",
            self.rows,
            self.commits,
            self.bytes,
            self.bytes_per_row()
        )
    }
}

/// Of `<sequence>.<rewrite>.arrow`, the first or the second.
fn number(path: &Path, at: usize) -> u64 {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split('.').nth(at).unwrap().parse().unwrap()
}

/// Those that have a successor.
fn sealed(segments: &[Segment]) -> impl Iterator<Item = &Segment> {
    let followed = |pair: &&[Segment]| pair[0].leaf_partition == pair[1].leaf_partition;
    segments.windows(2).filter(followed).map(|pair| &pair[0])
}

/// Every segment of a node, in the order of its leaf partition and sequence.
fn segments(node: &Node) -> Vec<Segment> {
    let mut files = Vec::new();
    let mut folders = vec![node.data_dir().join("tables")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|arrow| arrow == "arrow") {
                files.push(path);
            }
        }
    }
    files.sort_unstable_by_key(|path| (path.parent().map(Path::to_owned), number(path, 0)));
    files.iter().filter_map(|path| segment(path)).collect()
}

/// `None` where a merge has just taken the file away.
fn segment(path: &Path) -> Option<Segment> {
    let bytes = fs::metadata(path).ok()?.size();
    let inspected = Command::new(binary())
        .arg("inspect")
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inspected.stdout);
    let summary = said.lines().find(|line| line.contains(" commits, "))?;
    let (commits, rest) = summary.split_once(" commits, ").unwrap();
    let (rows, _) = rest.split_once(" rows, ").unwrap();
    let leaf_partition = path.parent()?.file_name()?.to_str()?.to_owned();
    Some(Segment {
        path: path.to_owned(),
        leaf_partition,
        bytes,
        commits: commits.parse().unwrap(),
        rows: rows.parse().unwrap(),
    })
}

/// PINLEAF_IDLE_S=60 is a minute of it.
#[test]
fn kafka_idle_node_costs_next_to_nothing() {
    let seconds = full("PINLEAF_IDLE_S", 5);
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    kafka.create_topic("orders", 4, &[]).unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    node.start();
    create(&node, &kafka, "orders");
    let mut load = Load::new(&kafka.bootstrap(), "orders", 4, 0, &[]);
    load.send(1_000);
    load.flush();
    all_there(&node, "orders", 1_000);
    node.wait_for("every row is durable", TIMEOUT, |node| {
        node.cell(
            "SELECT COUNT(*) FROM information_schema.PIPELINES_PARTITIONS \
             WHERE DURABLE_OFFSET = VISIBLE_OFFSET",
        ) == "4"
    });
    let before = cpu_s(node.pid());
    // What is measured is a span of time in which nothing happens.
    thread::sleep(Duration::from_secs(seconds));
    let used = cpu_s(node.pid()) - before;
    println!(
        "{used:.2} s of CPU in {seconds} s, {}",
        anonymous(node.pid())
    );
    assert!(used <= IDLE_CPU_MAX * seconds as f64 + 0.05, "{used} s");
    node.stop();
}

/// CPU of a process so far, of user and system, in seconds.
fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / TICKS_PER_S
}

fn anonymous(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.unwrap().replace('\t', " ")
}
