//! `pinleaf quickstart` killed and started again: what it says at the end counts every event once.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::node::binary;

/// Starts that are killed.
const KILLS: u32 = 3;
/// Fast enough that a kill meets rows on their way.
const RATE: &str = "50000";

/// Started on a directory, for so many seconds.
fn quickstart(dir: &Path, seconds: &str) -> Child {
    Command::new(binary())
        .args(["quickstart", "--seconds", seconds, "--rate", RATE, "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the built pinleaf; build it with cargo build --release")
}

#[test]
fn quickstart_killed_and_started_again_has_each_event_once() {
    let home = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let mut child = quickstart(home.path(), "600");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A line a second; the kill comes while the next is made.
        let second = (1 + kill % 2).to_string();
        let shown = lines
            .map(Result::unwrap)
            .any(|line| line.split_whitespace().next() == Some(second.as_str()));
        assert!(shown, "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = quickstart(home.path(), "2");
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    let summary = said
        .lines()
        .find_map(|line| line.strip_suffix(" rows by SELECT COUNT(*): each once"));
    assert!(status.success() && summary.is_some(), "{status}\n{said}");
    // "N rows produced, N"
    let (produced, loaded) = summary.unwrap().split_once(" rows produced, ").unwrap();
    assert_eq!(produced, loaded);
    assert!(produced.parse::<u64>().unwrap() > u64::from(KILLS) * 50_000);
}
