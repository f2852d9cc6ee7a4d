//! The benchmark harness, as little as runs at all, so that it cannot rot: every workload, Pinleaf and a consumer
//! that discards, over a few thousand rows of a real Kafka. Its figures are not looked at.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tests::kafka_server::KafkaServer;

use crate::node::binary;

fn bench(kafka: &KafkaServer, results: &Path) -> Output {
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
        .output()
        .expect("the built bench; build it with cargo build --release --workspace")
}

#[test]
fn kafka_bench_runs_tiny_and_goes_on_where_it_was_ended() {
    let home = tempfile::tempdir().unwrap();
    let kafka = KafkaServer::start(home.path(), 1, &[]).unwrap();
    let results = home.path().join("results");
    let ran = bench(&kafka, &results);
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    let run = fs::read_dir(&results).unwrap().next().unwrap().unwrap();
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
    assert!(!report.contains("Wrong rows"), "{report}");
    assert!(
        !run.path().join("work").exists(),
        "its work is cleared away"
    );

    // As if it had been ended before its last sample and its report.
    fs::remove_file(run.path().join("report.md")).unwrap();
    let sample = run
        .path()
        .join("samples/recovery/5-000-rows/1-pinleaf.json");
    let kept = run
        .path()
        .join("samples/ingest/172-byte-orders-4-partitions-lz4/1-pinleaf.json");
    let before = fs::metadata(&kept).unwrap().modified().unwrap();
    fs::remove_file(&sample).unwrap();
    let ran = bench(&kafka, &results);
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        ran.status.success() && said.contains("bench: going on with "),
        "{said}"
    );
    assert!(sample.exists() && run.path().join("report.md").exists());
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
}
