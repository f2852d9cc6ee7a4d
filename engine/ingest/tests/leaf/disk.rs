//! What a disk does to a leaf partition: damage, operations that are late, names and syncs.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ingest::leaf::order::{FailureKind, Goal, Order, Report};
use ingest::leaf::{LeafHandle, Views, holes, spawn};
use storage::disk::DiskOp;
use storage::error::StorageError;
use storage::ids::LeafPartitionId;
use tokio::time::timeout;

use crate::rig::{PARTITION, Rig, Said, Setup, batch, rows};

/// Three rows from `base` on; `mark` stands in the middle one alone, so that no statistics hold it.
fn marked(base: i64, mark: u64) -> Vec<u8> {
    let middle = format!("{{\"v\":{mark}}}");
    batch(base, &["{\"v\":0}", &middle, "{\"v\":9000000000000000000}"])
}

/// Turns one bit of the newest segment that holds `mark` in its body.
fn turn_a_bit(rig: &Rig, mark: u64) -> String {
    let path = rig.segments().pop().expect("a segment");
    let bytes = std::fs::read(&path).expect("readable");
    let at = bytes
        .windows(8)
        .position(|window| window == mark.to_le_bytes());
    let at = at.expect("the value stands in the file");
    let file = OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("writable");
    file.write_all_at(&[bytes[at] ^ 1], at as u64)
        .expect("written");
    path.display().to_string()
}

fn read(rig: &Rig) -> Result<usize, StorageError> {
    let snapshot = rig.attached().view.snapshot();
    let rows = snapshot
        .parts()
        .iter()
        .map(|part| part.read(&[0]).map(|columns| columns[0].len()));
    rows.sum()
}

/// Meets the damage as a query would, and lets the leaf look.
fn damaged(rig: &mut Rig, mark: u64) {
    let path = turn_a_bit(rig, mark);
    let error = read(rig).expect_err("never fewer rows").to_string();
    assert!(
        error.starts_with(&format!("{path}: checksum mismatch in column 0")),
        "{error}"
    );
    assert!(error.contains("(bytes "), "{error}");
    rig.pass(30);
    rig.pass(30);
}

#[test]
fn every_damaged_segment_goes_to_quarantine_and_fails_its_partition_by_name() {
    let mut rig = Rig::new(Setup::new("damage"));
    rig.run(Goal::Run);
    for (round, mark) in [(1, 0x1122_3344_5566_7711), (2, 0x1122_3344_5566_7722)] {
        rig.answer(&Said::records(3, &[marked(0, mark)]));
        rig.pass(200);
        rig.pass(200);
        assert_eq!(
            rig.attached().view.gauges.durable.load(Ordering::Relaxed),
            3
        );
        damaged(&mut rig, mark);
        let failure = rig.failed().expect("it fails").clone();
        assert_eq!(failure.kind, FailureKind::Load);
        let name = format!("tables/1/1/{round}.0.arrow: checksum mismatch in column 0");
        assert!(failure.text.contains(&name), "{}", failure.text);
        let kept = rig.data_dir.join(format!("quarantine/1-1-{round}.0.arrow"));
        assert!(kept.is_file() && rig.segments().is_empty());
        let next_step = format!(
            "; the whole segment moved to quarantine/1-1-{round}.0.arrow, and with it offsets 0 to 2; START PIPELINE loads them again as far as Kafka has them, ALTER PIPELINE ... SET OFFSETS '{{\"0\": 3}}' gives them up"
        );
        assert!(failure.text.ends_with(&next_step), "{}", failure.text);
        assert!(rig.words().starts_with("Failed: "), "{}", rig.words());
        read(&rig).expect_err("never fewer rows, also after it");
        rig.reports.clear();
        // What is gone is fetched again.
        rig.goal(Goal::Run);
        assert_eq!((rig.visible(), rig.failed()), (0, None));
        assert_eq!(rig.fetches[0].asked, [(0, 0)]);
    }
}

fn told(rig: &Rig) -> Vec<String> {
    let snapshot = rig.attached().view.snapshot();
    let holes = snapshot.holes().iter();
    holes.map(|known| holes::missing(known, 0)).collect()
}

#[test]
fn a_stopped_partition_tells_what_is_missing_at_every_start_until_it_is_loaded_again() {
    let mark = 0x1122_3344_5566_7755;
    let setup = || Setup::new("damage-remembered");
    let mut rig = Rig::new(setup());
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[marked(0, mark)]));
    rig.pass(200);
    rig.pass(200);
    rig.pass(200);
    damaged(&mut rig, mark);
    assert!(rig.failed().is_some());
    for _ in 0..2 {
        drop(rig);
        rig = Rig::again(setup());
        rig.goal(Goal::Stop);
        assert_eq!((rig.visible(), rig.failed()), (0, None));
        let told = told(&rig);
        assert_eq!(told.len(), 1);
        let said = "offsets 0 to 2 of partition 0 are missing: the segment that held them is in quarantine/1-1-1.0.arrow (checksum mismatch in column 0, buffer 1 at byte ";
        assert!(told[0].starts_with(said), "{}", told[0]);
    }
    rig.run(Goal::Run);
    assert_eq!(rig.fetches[0].asked, [(0, 0)]);
    rig.answer(&Said::records(3, &[marked(0, mark)]));
    assert_eq!((rig.visible(), told(&rig).len()), (3, 1));
    for _ in 0..4 {
        rig.pass(200);
    }
    assert_eq!(told(&rig), Vec::<String>::new());
    assert_eq!(read(&rig).expect("sound"), 3);
    drop(rig);
    rig = Rig::again(setup());
    assert_eq!((rig.visible(), told(&rig).len()), (3, 0));
}

/// A lineage that somebody chooses while nothing loads was chosen before the damage was told, whenever it was
/// met: what is missing then is no range that was given up by hand.
#[test]
fn damage_that_is_met_while_nothing_loads_is_told_in_the_lineage_that_is_begun_meanwhile() {
    let mark = 0x1122_3344_5566_7733;
    let mut rig = Rig::new(Setup::new("damage-rests"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[marked(0, mark)]));
    rig.pass(200);
    rig.pass(200);
    rig.goal(Goal::Stop);
    rig.pass(200);
    damaged(&mut rig, mark);
    rig.pass(200);
    assert_eq!((rig.failed(), told(&rig).len()), (None, 0), "it stays");
    rig.goal(Goal::Rewind {
        lineage: 2,
        live_lineage: 1,
        start_offset: 100,
        topic_id: [7; 16],
    });
    for _ in 0..4 {
        rig.pass(200);
    }
    rig.goal(Goal::Run);
    rig.pass(200);
    assert!(rig.failed().is_some(), "it goes now");
    rig.goal(Goal::Stop);
    for _ in 0..4 {
        rig.pass(200);
    }
    assert_eq!(told(&rig).len(), 1);
}

/// On the real port: nothing else would wake a leaf whose partition stands still.
#[test]
fn damage_wakes_a_leaf_that_has_nothing_to_do() {
    let mark = 0x1122_3344_5566_7744;
    let setup = Setup::new("damage-wakes");
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    // The second commit says that the first was durable: recovery believes it.
    for (base, mark) in [(0, mark), (3, 1)] {
        rig.answer(&Said::records(6, &[marked(base, mark)]));
        rig.pass(200);
        rig.pass(200);
    }
    rig.goal(Goal::Stop);
    rig.pass(200);
    let path = turn_a_bit(&rig, mark);
    drop(rig);

    let setup = Setup::new("damage-wakes");
    let views = Views::new();
    let mut leaf = spawn(Rig::config(&setup), Arc::clone(&views)).expect("a leaf");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime");
    let next = |leaf: &mut LeafHandle| {
        let report = async { timeout(Duration::from_secs(60), leaf.reports.recv()).await };
        let report = runtime.block_on(report).expect("in time");
        report.expect("the leaf lives")
    };
    leaf.try_send(Rig::attach_order(&setup))
        .expect("there is room");
    assert!(matches!(
        next(&mut leaf),
        Report::Attached { durable: 6, .. }
    ));
    // Nobody says who leads, so there is nothing that it could do.
    let run = Order::Goal {
        leaf_partition: PARTITION,
        generation: 2,
        goal: Goal::Run,
    };
    leaf.try_send(run).expect("there is room");
    assert!(matches!(next(&mut leaf), Report::LeaderUnknown { .. }));
    let view = views.get(LeafPartitionId(PARTITION)).expect("attached");
    let error = view.snapshot().parts()[0].read(&[0]).expect_err("damaged");
    assert!(error.to_string().starts_with(&path), "{error}");
    match next(&mut leaf) {
        Report::Failed { failure, .. } => assert!(failure.text.contains("moved to")),
        other => panic!("{other:?}"),
    }
    leaf.try_send(Order::Shutdown).expect("there is room");
    while !matches!(next(&mut leaf), Report::Ended) {}
    leaf.join().expect("it ended");
}

#[test]
fn a_quarantine_waits_for_what_was_begun() {
    let mut rig = Rig::new(Setup::new("late-write"));
    rig.run(Goal::Run);
    let mark = 0x1122_3344_5566_7733;
    rig.answer(&Said::records(6, &[marked(0, mark)]));
    rig.pass(200);
    rig.pass(200);
    rig.hold_disk = true;
    rig.answer(&Said::records(6, &[marked(3, 5)]));
    rig.pass(200);
    let write: fn(&DiskOp) -> bool = |op| matches!(op, DiskOp::Write(_));
    let recover: fn(&DiskOp) -> bool = |op| matches!(op, DiskOp::Recover(_));
    assert_eq!(rig.disk_count(write), 1);
    let quarantine: fn(&DiskOp) -> bool = |op| matches!(op, DiskOp::Quarantine { .. });
    damaged(&mut rig, mark);
    assert_eq!((rig.disk_count(write), rig.disk_count(quarantine)), (1, 0));
    assert!(rig.failed().is_none());
    rig.finish_disk_if(write);
    assert_eq!((rig.disk_count(write), rig.disk_count(quarantine)), (0, 1));
    rig.finish_disk_if(quarantine);
    assert!(rig.failed().is_some());
    rig.goal(Goal::Run);
    assert_eq!(rig.disk_count(recover), 1);
    rig.pass(30);
    assert_eq!(rig.words(), "Recovering");
    rig.hold_disk = false;
    rig.settle();
    assert_eq!(rig.fetches[0].asked, [(0, 0)]);
}

#[test]
fn a_drop_waits_for_what_was_begun_and_moves_a_foreign_directory_away() {
    let mut rig = Rig::new(Setup::new("drop"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(6, &[marked(0, 1)]));
    rig.pass(200);
    rig.hold_disk = true;
    rig.answer(&Said::records(6, &[marked(3, 2)]));
    rig.pass(200);
    let foreign = rig.directory(PARTITION).join("lost+found");
    std::fs::create_dir_all(&foreign).expect("a directory");
    std::fs::write(foreign.join("what"), "somebody's").expect("a file");
    let busy = rig.disk.len();
    assert!(busy > 0);
    rig.goal(Goal::Drop);
    let drop: fn(&DiskOp) -> bool = |op| matches!(op, DiskOp::Drop { .. });
    assert_eq!((rig.disk.len(), rig.disk_count(drop)), (busy, 0));
    rig.hold_disk = false;
    rig.settle();
    let dropped = |report: &Report| {
        matches!(
            report,
            Report::Reached {
                goal: Goal::Drop,
                ..
            }
        )
    };
    assert!(rig.reports.iter().any(dropped), "{:?}", rig.reports);
    assert!(!rig.directory(PARTITION).exists());
    let kept = rig.data_dir.join("orphans/1-1-lost+found/what");
    assert_eq!(std::fs::read_to_string(kept).expect("moved"), "somebody's");
}

#[test]
fn a_lineage_of_another_topic_says_so_in_its_header() {
    let mut rig = Rig::new(Setup::new("another-topic"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[marked(0, 1)]));
    rig.pass(200);
    let rewind = |lineage, topic_id| Goal::Rewind {
        lineage,
        live_lineage: 1,
        start_offset: 0,
        topic_id,
    };
    rig.goal(rewind(2, [9; 16]));
    rig.pass(200);
    let topics = |rig: &Rig| -> Vec<[u8; 16]> {
        let header = |path| {
            let bytes = std::fs::read(path).expect("readable");
            let parsed = storage::format::parse_header(&bytes).expect("a header");
            parsed.header.topic_id.0
        };
        rig.segments().iter().map(header).collect()
    };
    assert_eq!(topics(&rig), [[7; 16], [9; 16]]);
}

#[test]
fn a_slow_sync_stretches_the_interval_is_shown_and_nothing_queues() {
    let mut setup = Setup::new("slow-sync");
    setup.partitions = 4;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&Said::records(30, &[marked(0, 1)]));
    rig.hold_disk = true;
    let written_ms = rig.now.unix_ms() + 100;
    rig.pass(100);
    let sync: fn(&DiskOp) -> bool = |op| op.is_sync();
    let other: fn(&DiskOp) -> bool = |op| !op.is_sync();
    let finish_writes = |rig: &mut Rig| while rig.finish_disk_if(other) {};
    finish_writes(&mut rig);
    for second in 0..5 {
        rig.pass(1_000);
        finish_writes(&mut rig);
        rig.answer(&Said::records(30, &[marked(3 + second * 3, 1)]));
        assert_eq!(rig.disk_count(sync), 2, "two a leaf, whatever waits");
    }
    let attached = rig.attached();
    let gauges = &attached.view.gauges;
    let dirty_since_ms = gauges.dirty_since_unix_ms.load(Ordering::Relaxed);
    assert_eq!(dirty_since_ms, written_ms);
    assert_eq!(gauges.sync_ms.load(Ordering::Relaxed), 0);
    // The first ends after its four seconds: at once the one that has waited longest begins.
    assert!(rig.finish_disk_if(sync));
    assert_eq!(rig.disk_count(sync), 2);
    let took_ms = gauges.sync_ms.load(Ordering::Relaxed);
    assert!((4_000..=4_100).contains(&took_ms), "{took_ms}");
    // What came while it was on its way has waited since it began.
    let dirty_since_ms = gauges.dirty_since_unix_ms.load(Ordering::Relaxed);
    assert_eq!(dirty_since_ms, written_ms + 1_000);
    rig.hold_disk = false;
    rig.settle();
    for _ in 0..4 {
        rig.pass(200);
    }
    assert_eq!(gauges.dirty_since_unix_ms.load(Ordering::Relaxed), -1);
    assert_eq!(gauges.durable.load(Ordering::Relaxed), 18);
}

#[test]
fn names_that_are_taken_are_passed_by_later_each_time() {
    let mut rig = Rig::new(Setup::new("names"));
    rig.run(Goal::Run);
    let directory = rig.directory(PARTITION);
    let name = |sequence| directory.join(format!("{sequence}.0.arrow"));
    for sequence in 1..=12 {
        std::fs::write(name(sequence), "somebody else's").expect("writable");
    }
    rig.answer(&Said::records(3, &[batch(0, &["{\"v\":1}"; 3])]));
    // Twelve pauses of 1, 2, 4 ms and so on, a second at most: 3,023 ms in all.
    let mut passed_ms = 0;
    while !name(13).exists() {
        rig.pass(1);
        passed_ms += 1;
        assert!(passed_ms < 10_000, "never");
    }
    assert!((3_000..4_000).contains(&passed_ms), "after {passed_ms} ms");
    rig.pass(200);
    assert_eq!(
        rig.attached().view.gauges.durable.load(Ordering::Relaxed),
        3
    );
    let others = (1..=12)
        .all(|sequence| std::fs::read(name(sequence)).is_ok_and(|it| it == b"somebody else's"));
    assert!(others, "what is not ours is left alone");
}

/// What lies past the durable cursor in the files of a store that failed would be there after a crash: a
/// lineage that began now would find the one before it grown.
#[test]
fn a_stop_of_a_partition_whose_disk_failed_is_reached_behind_a_segment_that_gives_up_the_rest() {
    let mut rig = Rig::new(Setup::new("stop-of-a-failed-disk"));
    rig.run(Goal::Run);
    rig.hold_disk = true;
    for (from, round) in [(0, "void"), (0, "failed")] {
        rig.answer(&Said::records(3, &[rows(from, 3)]));
        rig.pass(200);
        while rig.finish_disk_if(|op| !op.is_sync()) {}
        rig.pass(200);
        assert!(rig.failed().is_none(), "{round}");
        rig.fail_sync();
        while rig.finish_disk_if(|op| !op.is_sync()) {}
        rig.settle();
    }
    let failure = rig.failed().expect("the second failure within a minute");
    assert!(failure.text.contains("second failure"), "{}", failure.text);
    rig.reports.clear();
    rig.goal(Goal::Stop);
    let reached = |rig: &Rig| {
        let mut reports = rig.reports.iter();
        reports.any(|report| matches!(report, Report::Reached { cursor: 0, .. }))
    };
    assert!(!reached(&rig), "nobody knows yet what a crash would leave");
    while rig.finish_disk() {}
    assert!(reached(&rig), "{:?}", rig.reports);
    assert_eq!(rig.segments().len(), 1, "one begun, the others gone");
    rig.pass(30);
    assert_eq!(rig.words(), "Stopped");
}

/// What a hole became is an error that is still to be written down when the new lineage stands.
#[test]
fn a_stop_of_a_partition_that_is_stopped_waits_for_what_it_has_to_write_down() {
    let mark = 0x1122_3344_5566_7766;
    let mut rig = Rig::new(Setup::new("stop-of-a-stopped"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[marked(0, mark)]));
    rig.pass(200);
    rig.pass(200);
    damaged(&mut rig, mark);
    assert!(rig.failed().is_some());
    rig.goal(Goal::Run);
    rig.goal(Goal::Stop);
    rig.goal(Goal::Rewind {
        lineage: 2,
        live_lineage: 1,
        start_offset: 3,
        topic_id: [9; 16],
    });
    let given_up = |rig: &Rig| {
        let snapshot = rig.attached().view.snapshot().durable_prefix();
        let rejects = snapshot.rejects().collect::<Result<Vec<_>, _>>();
        let rejects = rejects.expect("sound");
        let mut texts = rejects.iter().map(|one| one.text.clone());
        texts.any(|text| text.ends_with("they are given up"))
    };
    assert!(!given_up(&rig), "it is not written yet");
    rig.reports.clear();
    rig.goal(Goal::Stop);
    let mut reports = rig.reports.iter();
    let reached = reports.any(|report| matches!(report, Report::Reached { .. }));
    assert!(reached, "{:?}", rig.reports);
    assert!(given_up(&rig), "what is reached is durable");
}
