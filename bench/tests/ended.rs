//! However the harness is ended, nothing that it started lives on. A script in the place of Redpanda stands for all
//! of it: it never answers, and has a process beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
const SCRIPT: &str = "#!/bin/sh\nsleep 1000 &\necho $$ $! >> \"$STARTED\"\nwait\n";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        let script = home.path("redpanda");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bench(&self) -> Child {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.0.path().display());
        Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["run", "--tiny", "--only", "librdkafka", "--pinleaf"])
            .arg(self.path("redpanda"))
            .arg("--results")
            .arg(self.path("results"))
            .env("PATH", path)
            .env("STARTED", self.path("started"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The processes of the so manieth start, once they are there.
    fn started(&self, nth: usize) -> Vec<i32> {
        until(|| {
            let text = fs::read_to_string(self.path("started")).unwrap_or_default();
            let line = text.lines().nth(nth)?;
            Some(line.split(' ').map(|pid| pid.parse().unwrap()).collect())
        })
    }

    fn record(&self) -> PathBuf {
        let mut runs = fs::read_dir(self.path("results")).unwrap();
        runs.next().unwrap().unwrap().path().join("running.json")
    }
}

fn until<T>(what: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(began.elapsed() < TIMEOUT);
        thread::sleep(POLL);
    }
}

fn lives(pid: &i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.starts_with('Z'));
    state == Some(false)
}

fn until_gone(pids: &[i32]) {
    until(|| (!pids.iter().any(lives)).then_some(()));
}

fn signal(which: &str, pid: impl ToString) {
    let status = Command::new("kill")
        .args([which, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// A number of the record, by its key.
fn number(record: &Path, key: &str) -> i32 {
    let text = fs::read_to_string(record).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    i32::try_from(record[key].as_i64().unwrap()).unwrap()
}

#[test]
fn an_interrupted_harness_ends_what_it_started() {
    let home = Home::new();
    let mut bench = home.bench();
    let started = home.started(0);
    signal("-INT", bench.id());
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(!started.iter().any(lives));
}

#[test]
fn a_killed_harness_takes_what_it_started_with_it() {
    let home = Home::new();
    let mut bench = home.bench();
    let started = home.started(0);
    signal("-KILL", bench.id());
    bench.wait().unwrap();
    until_gone(&started);
}

#[test]
fn a_run_that_goes_on_ends_what_the_earlier_one_left_and_is_made_once() {
    let home = Home::new();
    let mut bench = home.bench();
    let left = home.started(0);
    let record = home.record();
    let second = home.bench().wait().unwrap();
    assert_eq!(second.code(), Some(1), "the same run is made already");
    assert!(left.iter().all(lives));
    // Whoever kills the harness and its keeper kills no child of theirs.
    signal("-KILL", number(&record, "keeper"));
    signal("-KILL", bench.id());
    bench.wait().unwrap();
    assert!(left.iter().all(lives));
    let mut bench = home.bench();
    let started = home.started(1);
    assert!(!left.iter().any(lives));
    signal("-TERM", bench.id());
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    until_gone(&started);
}
