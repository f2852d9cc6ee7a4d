//! The benchmark harness, as little as runs at all, so that it cannot rot: every workload, Pinleaf and a consumer
//! that discards, over a few thousand rows of a real Kafka. Its figures are not looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::kafka_server::KafkaServer;

use crate::node::binary;

const TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

fn bench(kafka: &KafkaServer, results: &Path) -> Child {
    let bootstrap = kafka.bootstrap();
    Command::new(binary().with_file_name("bench"))
        .args([
            "run",
            "--tiny",
            "--only",
            "librdkafka",
            "--bootstrap",
            &bootstrap,
        ])
        .arg("--pinleaf")
        .arg(binary())
        .arg("--results")
        .arg(results)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the built bench; build it with cargo build --release --workspace")
}

/// Samples that are there.
fn samples(results: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![results.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("/samples/")
                && path.extension().is_some_and(|ending| ending == "json")
            {
                found.push(path);
            }
        }
    }
    found
}

/// Processes that were started with a path below this one or in a folder there.
fn running_below(results: &Path) -> Vec<String> {
    let below = results.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.map(|entry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        format!("{line} in {}", folder.display())
    });
    lines.filter(|line| line.contains(&below)).collect()
}

#[test]
fn kafka_bench_ends_with_all_it_started_and_goes_on_from_there() {
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    let results = home.path().join("results");
    let mut ended = bench(&kafka, &results);
    let began = Instant::now();
    // The first engine's sample is kept, and the next has been started or is about to be.
    while samples(&results).len() < 2 {
        assert!(began.elapsed() < TIMEOUT && ended.try_wait().unwrap().is_none());
        std::thread::sleep(POLL);
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &ended.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    assert_eq!(ended.wait().unwrap().code(), Some(130));
    assert_eq!(running_below(&results), Vec::<String>::new());
    let kept = samples(&results);
    let stands = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let before: Vec<_> = kept.iter().map(stands).collect();

    let ran = bench(&kafka, &results).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        ran.status.success() && said.contains("bench: going on with "),
        "{said}"
    );
    assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
    // Rounds that were whole stand as they were; the one that was cut short was measured again.
    let whole = kept.len() == 3;
    let after: Vec<_> = kept.iter().map(stands).collect();
    assert_eq!(before == after, whole, "{kept:?}");
    let run = fs::read_dir(&results).unwrap().next().unwrap().unwrap();
    assert!(
        !run.path().join("work").exists(),
        "its work is cleared away"
    );
    let report = fs::read_to_string(run.path().join("report.md")).unwrap();
    for line in [
        "## ingest",
        "## freshness",
        "## queries",
        "## recovery",
        "## footprint",
    ] {
        assert!(report.contains(line), "{line}:\n{report}");
    }
    assert!(
        report.contains("| librdkafka-batched / pinleaf |"),
        "{report}"
    );
    assert!(report.contains("rows, ids, hash |"), "{report}");
    assert!(!report.contains("missing rows"), "{report}");
}
