//! Sealed segments, read by readers that know nothing of Pinleaf while no Pinleaf runs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use devbroker::orders::{CREATE_TABLE, Orders};
use serde_json::Value;

use crate::feed::{Feed, wait_for_rows};
use crate::node::{Node, binary};

/// A segment is sealed at 4,096 commits; with one offset a commit that is soon.
const ROWS: usize = 4_500;
/// And at 256 MiB: an order takes some 114 bytes.
const LARGE_ROWS: usize = 2_600_000;
const SEALED_BYTES_MIN: u64 = 240 << 20;
/// When the events say that they were created.
const CREATED_MS: u64 = 1_772_366_645_678;
/// Sealing and merging go on in the background.
const SEAL_TIMEOUT: Duration = Duration::from_secs(120);
const MAGIC: &[u8] = b"ARROW1";

/// The segments below a folder that end as an Arrow file does.
fn sealed(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sealed(&path));
        } else if path.extension().is_some_and(|arrow| arrow == "arrow") {
            // A merged segment may take the place of the one just listed; then there is a next look.
            if fs::read(&path).is_ok_and(|bytes| bytes.ends_with(MAGIC)) {
                found.push(path);
            }
        }
    }
    found
}

/// What SQL prints, of a value as the reader prints it.
fn printed(name: &str, value: &Value) -> String {
    match (name, value) {
        ("created_at", Value::String(time)) => {
            let time = time.replace('T', " ");
            // Python leaves out a fraction that is zero, and writes µs otherwise.
            match time.split_once('.') {
                Some((second, fraction)) => format!("{second}.{}", &fraction[..3]),
                None => format!("{time}.000"),
            }
        }
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

/// A node with orders loaded from a topic of one partition.
fn load_orders(home: &Path, rows: usize, settings: &str) -> (Feed, Node) {
    let feed = Feed::start(&home.join("log"), &["orders"]);
    let mut node = Node::new(&home.join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    let mut orders = Orders::new(7, 1);
    feed.produce(
        "orders",
        (0..rows).map(|row| {
            let mut event = Vec::new();
            orders.append(&mut event, CREATED_MS + row as u64);
            String::from_utf8(event).unwrap()
        }),
    );
    feed.load(&node, "orders", settings);
    wait_for_rows(&node, "orders", rows);
    let data = node.data_dir();
    node.wait_for("a segment is sealed", SEAL_TIMEOUT, |_| {
        !sealed(&data).is_empty()
    });
    (feed, node)
}

/// A script of ours over a segment; what it printed.
fn read_by(script: &str, segment: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(script);
    let read = Command::new(env::var_os("PINLEAF_PYTHON").expect("PINLEAF_PYTHON"))
        .arg(script)
        .arg(segment)
        .output()
        .unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    String::from_utf8(read.stdout).unwrap()
}

fn inspect(segment: &Path) {
    let inspected = Command::new(binary())
        .arg("inspect")
        .arg(segment)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inspected.stdout);
    assert!(inspected.status.success(), "{said}");
}

#[test]
fn python_segment_sealed_by_its_size_sums_up_as_sql_says() {
    let home = tempfile::tempdir().unwrap();
    let (_feed, mut node) = load_orders(home.path(), LARGE_ROWS, "");
    let found = sealed(&node.data_dir());
    assert_eq!(found.len(), 1, "{found:?}");
    let bytes = fs::metadata(&found[0]).unwrap().len();
    assert!(bytes > SEALED_BYTES_MIN, "{bytes}");
    let read = read_by("sum_segment.py", &found[0]);
    let rows: u64 = read
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    println!("{rows} rows in {bytes} bytes");
    let sums = node.sql(&format!(
        "SELECT symbol, COUNT(*), SUM(id), SUM(user_id), SUM(quantity), SUM(price), SUM(LENGTH(note)), \
         ROUND(UNIX_TIMESTAMP(MIN(created_at)) * 1000), ROUND(UNIX_TIMESTAMP(MAX(created_at)) * 1000), \
         SUM(_offset) FROM shop.orders WHERE _offset < {rows} GROUP BY symbol ORDER BY symbol"
    ));
    let sums: Vec<String> = sums.iter().map(|row| row.join("\t")).collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), sums);
    node.stop();
    inspect(&found[0]);
}

#[test]
fn python_sealed_segment_opens_in_pyarrow_and_polars() {
    let home = tempfile::tempdir().unwrap();
    let (_feed, mut node) = load_orders(home.path(), ROWS, "MAX_OFFSETS_PER_BATCH_PARTITION 1");
    let data = node.data_dir();
    let names = [
        "id",
        "user_id",
        "symbol",
        "side",
        "price",
        "quantity",
        "note",
        "created_at",
        "_offset",
    ];
    let rows = node.sql(&format!(
        "SELECT {} FROM shop.orders ORDER BY _offset",
        names.join(", ")
    ));
    node.stop();

    // A stop may come between a merge's rename and the unlink of its input: the higher rewrite counts.
    let mut sealed = sealed(&data);
    sealed.sort_unstable_by(|a, b| b.cmp(a));
    assert!(sealed.len() <= 2, "{sealed:?}");
    inspect(&sealed[0]);
    let text = read_by("open_segment.py", &sealed[0]);
    let found: Vec<Vec<String>> = text
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            names.iter().map(|name| printed(name, &row[name])).collect()
        })
        .collect();
    assert!(found.len() >= 4_096, "{} rows", found.len());
    for (at, row) in found.iter().enumerate() {
        assert_eq!(*row, rows[at], "row {at}");
    }
}
