//! What a store counts of what it holds, whatever comes and goes.

use std::fs;
use std::sync::atomic::Ordering;

use storage::counts::Counts;
use storage::disk::DiskOp;
use storage::format::parse_header;
use storage::segment::SealState;
use storage::store::{StoreEvent, StoreSettings};

use crate::damage::{commits, plain};
use crate::rig::Rig;

/// Rows, rejects and bytes: those of the commits in its files, and its rows in memory.
fn check(rig: &Rig, rows: u64, rejects: u64) {
    let bytes = rig.segments().into_iter().map(|path| {
        let bytes = fs::read(path).expect("readable");
        let last = commits(&bytes).pop();
        last.map_or_else(
            || u64::from(parse_header(&bytes).expect("a header").bytes),
            |(at, record)| at as u64 + record.message_bytes(),
        )
    });
    let bytes: u64 = bytes.sum();
    let view = rig.store.view();
    let gauge = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    let gauges = &view.gauges;
    assert_eq!(
        (
            gauge(&gauges.rows),
            gauge(&gauges.rejects),
            gauge(&gauges.bytes)
        ),
        (rows, rejects, bytes)
    );
}

/// The newest file's sync fails.
fn fail_sync(rig: &mut Rig) {
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    rig.fail(DiskOp::is_sync, 5);
}

/// One step of so many offsets, each of them rejected.
fn reject(rig: &mut Rig, rejected: u64) {
    rig.count(Counts {
        rejected,
        ..Counts::default()
    });
}

/// A commit of so many rows and rejects, durable.
fn commit(rig: &mut Rig, rows: i64, rejects: u64) {
    rig.load(rows, "a");
    reject(rig, rejects);
    rig.pass(rig.settings.flush_age_ms);
    rig.pass(rig.settings.sync_age_ms);
}

#[test]
fn rows_rejects_and_bytes_are_those_of_the_segments_that_are_there() {
    let settings = StoreSettings {
        segment_commits_max: 3,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("gauges", 1, settings);
    check(&rig, 0, 0);
    commit(&mut rig, 3, 2);
    check(&rig, 3, 2);
    commit(&mut rig, 1, 5);
    check(&rig, 4, 7);
    // The first is full and merged, and a second begins.
    commit(&mut rig, 2, 1);
    commit(&mut rig, 2, 4);
    assert_eq!(rig.names(), ["1.1.arrow", "2.0.arrow"]);
    check(&rig, 8, 12);
    rig.again();
    check(&rig, 8, 12);
    // What a failed sync leaves is taken back, in a segment that stays and one that goes.
    commit(&mut rig, 1, 1);
    rig.load(2, "taken back");
    reject(&mut rig, 3);
    rig.pass_but(rig.settings.flush_age_ms, |op| !op.is_sync());
    fail_sync(&mut rig);
    while rig.finish(|_| true) {}
    let gauges = &rig.store.view().gauges;
    assert_eq!(gauges.rows.load(Ordering::Relaxed), 9);
    assert_eq!(gauges.rejects.load(Ordering::Relaxed), 13);
    commit(&mut rig, 1, 1);
    assert_eq!(rig.store.view().gauges.rejects.load(Ordering::Relaxed), 14);
    rig.again();
    assert_eq!(rig.store.view().gauges.rejects.load(Ordering::Relaxed), 14);
    // A lineage that leaves nothing alive.
    rig.rewind(100, true);
    rig.pass(rig.settings.sync_age_ms);
    check(&rig, 0, 0);
    commit(&mut rig, 2, 2);
    check(&rig, 2, 2);
}

/// The seal of a whole segment has nothing to do with what fails behind it; one that was to be written into a file
/// that is in doubt is recovery's.
#[test]
fn a_void_leaves_a_durable_seal_and_writes_none_into_a_file_in_doubt() {
    let seal = |rig: &Rig| {
        let segments = rig.store.view().snapshot().segments();
        segments[0].file.seal()
    };
    let mut rig = Rig::new("void-sealed", 1, plain());
    rig.commit(1, "a");
    rig.commit(1, "a");
    assert_eq!(seal(&rig), SealState::Durable);
    rig.load(1, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    rig.fail(|op| matches!(op, DiskOp::Create(_)), 5);
    rig.settle();
    assert_eq!((seal(&rig), rig.rows()), (SealState::Durable, 2));

    let mut rig = Rig::new("void-unsealed", 1, plain());
    rig.commit(1, "a");
    rig.load(1, "a");
    // Its last commit is written, and its footer is due or on its way.
    rig.pass_but(rig.settings.flush_age_ms, |op| {
        !op.is_sync() && !matches!(op, DiskOp::Seal { .. })
    });
    fail_sync(&mut rig);
    while let Some(op) = rig.disk.front() {
        let late = matches!(op, DiskOp::Seal { .. }) && seal(&rig) != SealState::Unknown;
        assert!(!late, "nothing is said of it");
        rig.finish(|_| true);
    }
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!((seal(&rig), rig.rows()), (SealState::Unknown, 1));
}

#[test]
fn what_waits_to_be_synced_says_since_when() {
    let mut rig = Rig::new("gauges-dirty", 1, StoreSettings::default());
    let since = |rig: &Rig| {
        let gauges = &rig.store.view().gauges;
        gauges.dirty_since_unix_ms.load(Ordering::Relaxed)
    };
    assert_eq!(since(&rig), -1);
    rig.load(1, "a");
    rig.pass(rig.settings.flush_age_ms);
    let written_ms = 1_700_000_000_000 + rig.now_ms as i64;
    assert_eq!(since(&rig), written_ms);
    rig.pass(rig.settings.sync_age_ms - 1);
    assert_eq!(since(&rig), written_ms);
    rig.pass(1);
    assert_eq!(since(&rig), -1);
}
