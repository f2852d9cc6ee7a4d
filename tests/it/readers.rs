//! A sealed segment, read by readers that know nothing of Pinleaf while no Pinleaf runs.

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

#[test]
fn python_sealed_segment_opens_in_pyarrow_and_polars() {
    let home = tempfile::tempdir().unwrap();
    let feed = Feed::start(&home.path().join("log"), &["orders"]);
    let mut node = Node::new(&home.path().join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql(&CREATE_TABLE.replace("TABLE orders", "TABLE shop.orders"));
    let mut orders = Orders::new(7, 1);
    feed.produce(
        "orders",
        (0..ROWS).map(|row| {
            let mut event = Vec::new();
            orders.append(&mut event, CREATED_MS + row as u64);
            String::from_utf8(event).unwrap()
        }),
    );
    feed.load(&node, "orders", "MAX_OFFSETS_PER_BATCH_PARTITION 1");
    wait_for_rows(&node, "orders", ROWS);
    let data = node.data_dir();
    node.wait_for("a segment is sealed", SEAL_TIMEOUT, |_| {
        !sealed(&data).is_empty()
    });
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
    let inspected = Command::new(binary())
        .arg("inspect")
        .arg(&sealed[0])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inspected.stdout);
    assert!(inspected.status.success(), "{said}");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/open_segment.py");
    let read = Command::new(env::var_os("PINLEAF_PYTHON").expect("PINLEAF_PYTHON"))
        .arg(script)
        .arg(&sealed[0])
        .output()
        .unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let text = String::from_utf8(read.stdout).unwrap();
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
