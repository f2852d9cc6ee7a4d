//! What a node takes while queries ask for more than it has, below what its configuration adds up to, and that it gives
//! back what they freed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::feed::{Feed, wait_for_rows};
use crate::node::Node;

const ROWS: usize = 150_000;
const LEAF_BYTES: u64 = 16 << 20;
const QUERY_BYTES: u64 = 64 << 20;
/// Of each query at once.
const CLIENTS: usize = 3;
/// Of these, each makes strings of 3 MB of constants.
const CONSTANTS: usize = 15;
/// What a node that is idle again may take beside what it took before.
const KEPT_BYTES: u64 = 24 << 20;
/// What was freed has gone back to the kernel by then.
const GOES_BACK: Duration = Duration::from_secs(20);
/// Between two looks at what the process takes.
const SAMPLE: Duration = Duration::from_millis(2);

fn times(count: usize, expr: &str) -> String {
    let all: Vec<String> = (0..count)
        .map(|n| expr.replace('#', &n.to_string()))
        .collect();
    all.join(", ")
}

/// An idle node takes what it took before the queries: the allocator does not keep it.
#[test]
fn mysql_cli_what_queries_freed_goes_back_to_the_kernel() {
    let home = tempfile::tempdir().unwrap();
    let memory = format!("[memory]\nleaf_bytes = {LEAF_BYTES}\nquery_bytes = 268435456\n");
    let mut node = Node::new(&home.path().join("node"), &memory);
    node.start();
    node.sql("SELECT 1");
    let before = node.anonymous_bytes();
    let sql = "SELECT LENGTH(REPEAT('a', 3000000)), LENGTH(UPPER(REPEAT('c', 3000000)))";
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..CONSTANTS).for_each(|_| drop(node.sql(sql))));
        }
    });
    node.wait_for("what was freed has gone back", GOES_BACK, |node| {
        node.anonymous_bytes() <= before + KEPT_BYTES
    });
    node.stop();
}

#[test]
fn mysql_cli_queries_stay_within_what_the_configuration_adds_up_to() {
    let home = tempfile::tempdir().unwrap();
    let feed = Feed::start(&home.path().join("log"), &["notes"]);
    let memory = format!("[memory]\nleaf_bytes = {LEAF_BYTES}\nquery_bytes = {QUERY_BYTES}\n");
    let mut node = Node::new(&home.path().join("node"), &memory);
    let bound = node.memory_bytes();
    assert!(bound < 512 << 20, "{bound}");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql("CREATE TABLE shop.notes (id BIGINT NOT NULL, note VARCHAR(60) NOT NULL)");
    let message =
        |id| format!("{{\"id\":{id},\"note\":\"a note of some forty characters, {id:08}\"}}");
    feed.produce("notes", (0..ROWS).map(message));
    feed.load(&node, "notes", "");
    wait_for_rows(&node, "notes", ROWS);
    let from = "FROM shop.notes";
    let case = "CASE WHEN id % 2 = 0 THEN REPEAT(note, 5000 + #) ELSE note END";
    let full = [
        format!("SELECT {} {from}", times(20, "REPEAT(note, 5000 + #)")),
        format!("SELECT {} {from}", times(20, case)),
        format!(
            "SELECT {} {from}",
            times(20, "SUM(LENGTH(REPEAT(note, 5000 + #)))")
        ),
        format!("SELECT COUNT(*) {from} WHERE LENGTH(RPAD(note, 200000 + id, note)) < 0"),
        format!("SELECT 1 {from} WHERE id IN ({})", times(20_000, "#")),
    ];
    let fit = [
        format!(
            "SELECT {} {from}",
            times(20, "SUM(LENGTH(REPEAT(note, 5 + #)))")
        ),
        format!("SELECT {} {from}", times(60, "SUM(id * # + 1)")),
        format!("SELECT MAX(s) FROM (SELECT SUM(id) OVER () s, note {from}) x"),
        format!("SELECT COUNT(*) FROM (SELECT CONCAT(note, 'x') n {from} GROUP BY 1) x"),
    ];
    let out_of_memory = format!(
        "ERROR 1038 (HY001) at line 1: Out of memory for queries: all of them together may use {QUERY_BYTES} \
         bytes (query_bytes in [memory])"
    );
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(node.anonymous_bytes(), Ordering::Relaxed);
                thread::sleep(SAMPLE);
            }
        });
        // A failed assertion must end the watcher too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for sql in full.iter().chain(&fit) {
                let alone = node.try_sql(sql).err();
                let shown = &sql[..sql.len().min(80)];
                match &alone {
                    None => assert!(fit.contains(sql), "{shown}: it ran"),
                    Some(said) => assert!(
                        full.contains(sql) && said.contains(&out_of_memory),
                        "{shown}: {}",
                        said.lines().last().unwrap_or_default()
                    ),
                }
                thread::scope(|scope| {
                    for _ in 0..CLIENTS {
                        scope.spawn(|| {
                            if let Err(said) = node.try_sql(sql) {
                                assert!(said.contains(&out_of_memory), "{shown}");
                            }
                        });
                    }
                });
                let taken = most.load(Ordering::Relaxed);
                assert!(taken < bound, "{shown}: {taken} bytes, {bound} in all");
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    println!("{} of {} MiB", most.into_inner() >> 20, bound >> 20);
    node.stop();
}
