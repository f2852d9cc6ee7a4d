//! `pinleaf quickstart`: killed and started again, interrupted, ended by its engine. What it says at the end
//! counts every event once.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::node::{binary, with_umask};
use crate::private::are_private;
use crate::stops::in_catalog;

/// Starts that are killed.
const KILLS: u32 = 3;
/// Fast enough that a kill meets rows on their way.
const RATE: &str = "50000";
const BUILT: &str = "the built pinleaf; build it with cargo build --release";

/// One at a time: each takes a free port of the same few, and is to get it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Started on a directory, for so many seconds.
fn quickstart(dir: &Path, seconds: &str) -> Child {
    command(dir)
        .args(["--seconds", seconds])
        .spawn()
        .expect(BUILT)
}

/// Until it is told to end.
fn command(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["quickstart", "--rate", RATE, "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Reads up to the line of that second, and what was said before it.
fn read_to(lines: &mut Lines<BufReader<ChildStdout>>, second: &str) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let Some(line) = lines.next() else {
            panic!("it ended by itself:\n{}", said.join("\n"));
        };
        let line = line.unwrap();
        if line.split_whitespace().next() == Some(second) {
            return said;
        }
        said.push(line);
    }
}

/// Rows produced and rows by SELECT, of the last lines.
fn summary(said: &str) -> (u64, u64) {
    let summary = said
        .lines()
        .find_map(|line| line.strip_suffix(" rows by SELECT COUNT(*): each once"));
    // "N rows produced, N"
    let (produced, loaded) = summary
        .and_then(|summary| summary.split_once(" rows produced, "))
        .unwrap_or_else(|| panic!("{said}"));
    (produced.parse().unwrap(), loaded.parse().unwrap())
}

#[test]
fn quickstart_makes_files_for_its_owner_alone() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("made/by it");
    let ended = with_umask("000")
        .args(["quickstart", "--rate", RATE, "--seconds", "2", "--dir"])
        .arg(&dir)
        .stdin(Stdio::null())
        .output()
        .expect(BUILT);
    assert!(ended.status.success(), "{ended:?}");
    // Configuration, SQL, data and the broker's log.
    assert!(are_private(&home.path().join("made")) > 10);
}

#[test]
fn quickstart_killed_and_started_again_has_each_event_once() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let mut child = quickstart(home.path(), "600");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A line a second; the kill comes while the next is made.
        read_to(&mut lines, &(1 + kill % 2).to_string());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = quickstart(home.path(), "2");
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}\n{said}");
    let (produced, loaded) = summary(&said);
    assert_eq!(produced, loaded);
    assert!(produced > u64::from(KILLS) * 50_000);
}

#[test]
fn quickstart_interrupted_settles_and_says_each_once() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let mut child = command(home.path()).spawn().expect(BUILT);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let began = read_to(&mut lines, "2").join("\n");
    assert!(began.contains("pinleaf.toml (written)"), "{began}");
    assert!(began.contains("startup.sql (written)"), "{began}");
    // Not waited for yet: its id is still its own. A terminal and a supervisor both send one.
    for _ in 0..2 {
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.unwrap().success());
    }
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    let said = said.join("\n");
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}\n{said}");
    let settles = "SIGINT: no more rows are produced, the last ones settle";
    assert!(said.contains(settles), "{said}");
    let (produced, loaded) = summary(&said);
    assert_eq!(produced, loaded);
    assert!(produced > 50_000);
}

#[test]
fn quickstart_keeps_what_was_changed_and_says_so() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let said = |mut child: Child| {
        let mut said = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{said}");
        said
    };
    said(quickstart(home.path(), "1"));
    let sql = home.path().join("startup.sql");
    let changed = fs::read_to_string(&sql).unwrap() + "CREATE DATABASE IF NOT EXISTS mine;\n";
    fs::write(&sql, &changed).unwrap();
    let again = said(quickstart(home.path(), "1"));
    assert!(
        again.contains("pinleaf.toml (as it was written)"),
        "{again}"
    );
    let kept = "startup.sql (kept: you changed it; remove it and it is written anew)";
    assert!(again.contains(kept), "{again}");
    let (produced, loaded) = summary(&again);
    assert_eq!(produced, loaded);
    assert_eq!(fs::read_to_string(&sql).unwrap(), changed);
}

#[test]
fn python_mysql_cli_quickstart_ends_with_its_engine() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let mut child = quickstart(home.path(), "1");
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    // A row that points nowhere, found at COMMIT alone, once somebody makes a database of that name.
    let planted = "CREATE TABLE planted (x INTEGER REFERENCES database (id) DEFERRABLE INITIALLY DEFERRED); \
                   CREATE TRIGGER plant AFTER INSERT ON database WHEN NEW.name = 'open' \
                   BEGIN INSERT INTO planted VALUES (-1); END;";
    in_catalog(&home.path().join("data"), planted);

    let mut child = command(home.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect(BUILT);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let began = read_to(&mut lines, "1");
    let port = began
        .iter()
        .find_map(|line| line.split_once(" -P ")?.1.split(' ').next())
        .unwrap();
    let client = env::var_os("PINLEAF_MYSQL").expect("PINLEAF_MYSQL");
    let refused = Command::new(client)
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "-h127.0.0.1",
            "-uroot",
            "-P",
            port,
        ])
        .args(["-e", "CREATE DATABASE open"])
        .output()
        .unwrap();
    let unknown = "whether the statement was kept is not known: the server ends";
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains(unknown), "{refused}");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}\n{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("pinleaf: ") && last.contains(unknown),
        "{log}"
    );
}
