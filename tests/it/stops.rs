//! Stops: a signal at any moment ends a node with 0 once it has drained, and a second one ends it at
//! once. A catalog whose COMMIT failed ends it by itself, with its message.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::node::{Node, binary};

const SOON: Duration = Duration::from_secs(60);

/// A node whose startup_sql is this.
fn node(home: &Path, startup_sql: &str) -> Node {
    let node = Node::new(home, "");
    let config = home.join("pinleaf.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("startup_sql = \"s.sql\"\n{text}")).unwrap();
    fs::write(home.join("s.sql"), startup_sql).unwrap();
    node
}

/// Whether the process hears SIGTERM by now: before that no program can.
fn hears_signals(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGTERM is 15, SIGINT 2, bit 0 is signal 1.
    caught.is_some_and(|mask| mask & (1 << 14) != 0 && mask & (1 << 1) != 0)
}

#[test]
fn a_signal_at_any_moment_of_a_start_ends_it_with_0() {
    // Later each time: it hears, it has looked at the machine, the catalog is open, leaves may be told
    // and the startup_sql runs, which does not end by itself.
    type Moment = fn(&Node) -> bool;
    let moments: [Moment; 4] = [
        |_| true,
        |node| node.log().contains("leaves on CPU"),
        |node| node.data_dir().join("catalog.db").exists(),
        |node| node.data_dir().join("tables").exists(),
    ];
    for (at, moment) in moments.into_iter().enumerate() {
        for signal in ["-TERM", "-INT", "-TERM"] {
            let home = tempfile::tempdir().unwrap();
            let mut node = node(
                home.path(),
                "CREATE DATABASE IF NOT EXISTS d;\nSELECT SLEEP(600);\n",
            );
            node.spawn();
            let reached = |node: &Node| hears_signals(node.pid()) && moment(node);
            let began = Instant::now();
            while !reached(&node) {
                assert!(began.elapsed() < SOON, "{at}: not reached\n{}", node.log());
                thread::yield_now();
            }
            node.signal(&[signal]);
            let status = node.ended();
            assert!(status.success(), "{at} {signal}: {status}\n{}", node.log());
        }
    }
}

#[test]
fn mysql_cli_a_second_signal_ends_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "");
    node.start();
    thread::scope(|scope| {
        // A statement that runs is given a moment to answer: that long the node is stopping.
        let sleeping = scope.spawn(|| node.try_sql("SELECT SLEEP(600)"));
        node.wait_for("the statement to run", SOON, |node| {
            let runs = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'";
            node.try_sql(runs).is_ok_and(|rows| rows == [["1"]])
        });
        // Somebody goes on asking: at first that is the same wish, then it is another.
        node.signal(&["-TERM"]);
        let began = Instant::now();
        while !node.log().contains("a second time: ended at once") {
            assert!(began.elapsed() < SOON, "{}", node.log());
            node.signal(&["-INT"]);
        }
        assert!(sleeping.join().unwrap().is_err());
    });
    let status = node.ended();
    assert!(
        matches!(status.code(), Some(130 | 143)),
        "{status}\n{}",
        node.log()
    );
    assert!(node.log().contains("taken for the same"), "{}", node.log());
    node.start();
    node.stop();
}

#[test]
fn mysql_cli_signals_that_come_together_are_one() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "");
    node.start();
    // As a terminal and a supervisor send them: to the group, and again what they heard themselves.
    node.signal(&["-INT", "-TERM", "-INT"]);
    let status = node.ended();
    assert!(status.success(), "{status}\n{}", node.log());
    let log = node.log();
    assert!(log.lines().last().unwrap().ends_with("stopped"), "{log}");
}

/// What waits for the log to be read waits in vain: the second signal does not.
#[test]
fn a_second_signal_ends_a_node_whose_log_nobody_reads() {
    let home = tempfile::tempdir().unwrap();
    let _node = Node::new(home.path(), "");
    // As much as the pipe holds: the first line that the node writes is one too many.
    let (_unread, mut log) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&log, true).unwrap();
    let full = loop {
        if let Err(error) = log.write_all(b".") {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{full}");
    rustix::io::ioctl_fionbio(&log, false).unwrap();
    let mut child = Command::new(binary())
        .arg("run")
        .arg(home.path().join("pinleaf.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !hears_signals(child.id()) {
        assert!(began.elapsed() < SOON, "it does not hear");
        thread::yield_now();
    }
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > SOON {
            child.kill().unwrap();
            panic!(
                "signals are held up by a log that nobody reads: {:?}",
                child.wait()
            );
        }
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    };
    assert_eq!(status.code(), Some(143), "{status}");
}

/// Changes the catalog of a node that is stopped.
pub fn in_catalog(data_dir: &Path, sql: &str) {
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    let ended = Command::new(env::var_os("PINLEAF_PYTHON").expect("PINLEAF_PYTHON"))
        .args(["-c", script])
        .arg(data_dir.join("catalog.db"))
        .arg(sql)
        .status();
    assert!(ended.unwrap().success());
}

#[test]
fn python_mysql_cli_a_commit_that_fails_ends_the_process_by_name() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "");
    node.start();
    node.sql("CREATE DATABASE kept");
    node.stop();
    // A row that points nowhere, found at COMMIT alone: the one step whose failure leaves it open what is.
    in_catalog(
        &node.data_dir(),
        "CREATE TABLE planted (x INTEGER REFERENCES database (id) DEFERRABLE INITIALLY DEFERRED); \
         CREATE TRIGGER plant AFTER INSERT ON change BEGIN INSERT INTO planted VALUES (-1); END;",
    );
    node.start();
    let refused = node.try_sql("CREATE DATABASE open").unwrap_err();
    let unknown = "whether the statement was kept is not known: the server ends";
    assert!(
        refused.contains("ERROR 1030") && refused.contains(unknown),
        "{refused}"
    );
    let status = node.ended();
    assert_eq!(status.code(), Some(1), "{}", node.log());
    let log = node.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("pinleaf: ") && last.contains(unknown),
        "{log}"
    );

    in_catalog(&node.data_dir(), "DROP TRIGGER plant; DROP TABLE planted;");
    node.start();
    let databases = node.sql("SHOW DATABASES LIKE '%e%'");
    assert!(
        databases.contains(&vec!["kept".to_owned()]),
        "{databases:?}"
    );
    assert!(
        !databases.contains(&vec!["open".to_owned()]),
        "{databases:?}"
    );
    node.sql("CREATE DATABASE open");
    node.stop();
}
