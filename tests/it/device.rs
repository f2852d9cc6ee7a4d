//! A device that fails writes, opens or renames of one leaf partition's segments: that one is void, then
//! failed by name; its neighbours and other pipelines load on; when the fault is gone every row is there once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tests::kafka_server::KafkaServer;

use crate::audit::{Counted, is_all_of, verified};
use crate::disk::{PARTITIONS, begin, count, folder_of, loaded, produce, states, wait_durable};
use crate::faults::{Fault, Faults};
use crate::feed::{Feed, wait_for_rows};
use crate::node::Node;

const TIMEOUT: Duration = Duration::from_secs(120);
const EVENTS: u64 = 4_000;
/// Sent again and again until a fault has been met.
const SOME: u64 = 400;
const EIO: &str = "Input/output error";

/// A node with pipelines orders and others, the first of which has loaded.
struct Shop {
    node: Node,
    faults: Faults,
    kafka: KafkaServer,
    sent: u64,
    others: u64,
}

impl Shop {
    fn open(home: &Path) -> Shop {
        let mut node = Node::new(&home.join("node"), "");
        let faults = Faults::of_node(home, &mut node);
        let kafka = begin(home, &mut node, &["orders", "others"]);
        let mut shop = Shop {
            node,
            faults,
            kafka,
            sent: 0,
            others: 0,
        };
        shop.send(EVENTS);
        shop.node.wait_for("the first rows", TIMEOUT, |node| {
            count(node, "orders") == EVENTS
        });
        // What is not durable would be void too.
        wait_durable(&shop.node);
        shop
    }

    fn send(&mut self, events: u64) {
        produce(&self.kafka, "orders", self.sent, events);
        self.sent += events;
    }

    /// Sends until the partition has failed, and gives what it says then: the path is its own.
    fn fails(&mut self, partition: usize) -> String {
        let mut tries = 0;
        while !states(&self.node, "orders")[partition].starts_with("Failed: ") {
            tries += 1;
            let states = states(&self.node, "orders");
            assert!(tries < 100, "{states:?}\n{}", self.node.log());
            self.send(SOME);
        }
        let state = states(&self.node, "orders").remove(partition);
        let folder = folder_of(&self.node, partition);
        assert!(state.contains(&*folder.to_string_lossy()), "{state}");
        let shown = self.node.sql("SHOW PIPELINES FROM shop");
        assert_eq!(shown[0][1], "Running", "{shown:?}");
        state
    }

    /// What the fault does not touch goes on: the neighbours behind those that failed, and other pipelines of
    /// the same leaves.
    fn others_load_on(&mut self, failed: usize) {
        let of = |node: &Node| -> Vec<String> {
            let sql = "SELECT COUNT(*) FROM shop.orders WHERE _partition = ";
            (i32::try_from(failed).unwrap() + 1..PARTITIONS)
                .map(|partition| node.cell(&format!("{sql}{partition}")))
                .collect()
        };
        let before = of(&self.node);
        self.send(EVENTS);
        self.node
            .wait_for("its neighbours load on", TIMEOUT, |node| {
                let now = of(node);
                now.iter().zip(&before).all(|(now, before)| now != before)
            });
        produce(&self.kafka, "others", self.others, EVENTS);
        self.others += EVENTS;
        let others = self.others;
        self.node
            .wait_for("another pipeline loads", TIMEOUT, |node| {
                count(node, "others") == others
            });
        assert!(states(&self.node, "orders")[failed].starts_with("Failed: "));
    }

    /// Every row is there once, by librdkafka and by what the commits say of themselves.
    fn holds(mut self) {
        let bootstrap = self.kafka.bootstrap();
        let rows = loaded(&bootstrap, "orders").holds(&mut self.node);
        assert_eq!(rows as u64, self.sent);
        if self.others > 0 {
            let rows = loaded(&bootstrap, "others").holds(&mut self.node);
            assert_eq!(rows as u64, self.others);
        }
        self.node.sql("STOP PIPELINE shop.orders");
        let counted = Counted::of_kafka(&bootstrap, "orders", PARTITIONS);
        is_all_of(&self.node, "shop.orders", counted);
        self.node.stop();
    }
}

#[test]
fn kafka_preload_writes_that_fail_stop_their_leaf_partition_alone_and_a_restart_has_every_row() {
    let home = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(home.path());
    for (partition, fault) in [(0, Fault::Write), (1, Fault::WriteHalfDone)] {
        let folder = folder_of(&shop.node, partition);
        let before = shop.faults.times(fault);
        shop.faults.begin(fault, &folder);
        let state = shop.fails(partition);
        assert!(state.contains(&format!("write failed: {EIO}")), "{state}");
        // The commit, and behind the void the header of the new segment.
        assert_eq!(shop.faults.times(fault) - before, 2);
        shop.others_load_on(partition);
        shop.faults.mend(fault);
    }
    // A pipeline that ran runs again, with all of its partitions.
    shop.node.kill();
    shop.node.start();
    shop.holds();
}

#[test]
fn kafka_preload_writes_that_are_short_are_gone_on_with() {
    let home = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(home.path());
    let folder = folder_of(&shop.node, 0);
    shop.faults.begin(Fault::WriteShort, &folder);
    let mut tries = 0;
    while shop.faults.times(Fault::WriteShort) < 100 {
        tries += 1;
        assert!(tries < 1_000, "{}", shop.node.log());
        shop.send(SOME);
        assert!(states(&shop.node, "orders")[0].starts_with("Running"));
    }
    shop.node.kill();
    shop.node.start();
    shop.faults.mend(Fault::WriteShort);
    assert!(
        !shop.node.log_of(1).contains(EIO),
        "{}",
        shop.node.log_of(1)
    );
    shop.holds();
}

#[test]
fn kafka_preload_a_segment_that_cannot_be_made_or_opened_stops_its_leaf_partition_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(home.path());
    let folder = folder_of(&shop.node, 0);
    // The write voids; the new segment behind it cannot be made.
    shop.faults.begin(Fault::Open, &folder);
    shop.faults.begin(Fault::Write, &folder);
    let state = shop.fails(0);
    assert!(state.contains(EIO), "{state}");
    assert_eq!(shop.faults.times(Fault::Write), 1);
    assert_eq!(shop.faults.times(Fault::Open), 1);
    shop.others_load_on(0);
    shop.faults.mend(Fault::Write);

    // Nor can those that are there be opened by the next start: that is said, and never fewer rows.
    shop.node.kill();
    shop.node.start();
    let state = shop.fails(0);
    assert!(state.contains(&format!("open failed: {EIO}")), "{state}");
    let refused = shop.node.try_sql("SELECT COUNT(*) FROM shop.orders");
    let refused = refused.expect_err("fewer rows in silence");
    let why = format!("open failed: {EIO}");
    assert!(
        refused.contains("ERROR 1712") && refused.contains(&why),
        "{refused}"
    );
    let around =
        "SET pinleaf_read_damaged = ON; SELECT COUNT(*) > 0 FROM shop.orders; SHOW WARNINGS";
    let said = shop.node.sql(around);
    let warned = said.iter().flatten().any(|cell| {
        cell.contains(&why) && cell.ends_with("; all of the leaf partition is left out")
    });
    assert!(said[0] == ["1"] && warned, "{said:?}");
    shop.faults.mend(Fault::Open);
    shop.node.sql("START PIPELINE shop.orders");
    shop.holds();
}

#[test]
fn kafka_preload_a_damaged_segment_that_cannot_be_moved_stops_its_leaf_partition_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(home.path());
    // A later commit vouches for the first ones: then recovery does not read them again.
    shop.send(SOME);
    let all = shop.sent;
    shop.node
        .wait_for("all rows", TIMEOUT, |node| count(node, "orders") == all);
    wait_durable(&shop.node);
    let folder = folder_of(&shop.node, 0);
    let spoilt = shop
        .node
        .cell("SELECT note FROM shop.orders WHERE _partition = 0 ORDER BY id LIMIT 1");
    shop.node.stop();
    spoil(&folder, &spoilt);

    shop.faults.begin(Fault::Rename, &folder);
    shop.node.start();
    let read = "SELECT COUNT(DISTINCT note) FROM shop.orders";
    let refused = shop.node.try_sql(read).expect_err("a damaged column");
    assert!(refused.contains("checksum mismatch"), "{refused}");
    let state = shop.fails(0);
    assert!(state.contains("checksum mismatch"), "{state}");
    shop.node.wait_for("it cannot be moved", TIMEOUT, |_| {
        shop.faults.times(Fault::Rename) > 0
    });
    shop.node.try_sql(read).expect_err("a damaged column");
    shop.node.kill();
    shop.faults.mend(Fault::Rename);
    shop.node.start();
    shop.node.try_sql(read).expect_err("a damaged column");
    shop.node.wait_for("it is in quarantine", TIMEOUT, |node| {
        states(node, "orders")[0].contains("quarantine/")
    });
    // Kafka has them still.
    shop.node.sql("START PIPELINE shop.orders");
    shop.node.wait_for("it is loaded again", TIMEOUT, |node| {
        node.try_sql(read).is_ok()
    });
    shop.holds();
}

/// A segment is sealed at 4,096 commits, and these are of one offset each: then it is merged.
const MERGED: usize = 4_500;

#[test]
fn mysql_cli_preload_a_merge_whose_rename_fails_leaves_everything_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    let faults = Faults::of_node(home.path(), &mut node);
    let feed = Feed::start(&home.path().join("log"), &["notes"]);
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql("CREATE TABLE shop.notes (id BIGINT NOT NULL)");
    faults.begin(Fault::Rename, &node.data_dir().join("tables"));
    let messages = |ids: std::ops::Range<usize>| ids.map(|id| format!("{{\"id\":{id}}}"));
    feed.produce("notes", messages(0..MERGED));
    feed.load(&node, "notes", "MAX_OFFSETS_PER_BATCH_PARTITION 1");
    node.wait_for("a merge's rename fails", TIMEOUT, |_| {
        faults.times(Fault::Rename) > 0
    });
    // It goes on loading, and merges later.
    feed.produce("notes", messages(MERGED..MERGED + 10));
    wait_for_rows(&node, "notes", MERGED + 10);
    let state = node.cell("SELECT STATE FROM information_schema.PIPELINES_PARTITIONS");
    assert!(state.starts_with("Running"), "{state}");
    node.wait_for("it is said", TIMEOUT, |node| {
        node.log().contains("a merge was given up")
    });
    node.kill();
    faults.mend(Fault::Rename);
    node.start();
    wait_for_rows(&node, "notes", MERGED + 10);
    let sums = node.sql("SELECT COUNT(*), COUNT(DISTINCT id), SUM(id) FROM shop.notes");
    let (rows, sum) = (MERGED + 10, (MERGED + 10) * (MERGED + 9) / 2);
    assert_eq!(
        sums,
        [[rows.to_string(), rows.to_string(), sum.to_string()]]
    );
    node.sql("STOP PIPELINE shop.notes");
    assert_eq!(verified(&node, "shop.notes").rows, rows as u64);
    node.stop();
}

/// Changes a byte of the first segment where this text stands.
fn spoil(folder: &Path, text: &str) {
    let names = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path());
    let mut segments: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|arrow| arrow == "arrow"))
        .collect();
    segments.sort();
    let mut bytes = fs::read(&segments[0]).unwrap();
    let mut windows = bytes.windows(text.len());
    let at = windows.position(|window| window == text.as_bytes());
    bytes[at.expect("its text")] ^= 1;
    fs::write(&segments[0], bytes).unwrap();
}
