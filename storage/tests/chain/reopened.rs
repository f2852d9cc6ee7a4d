//! What a store makes of what recovery found.

use storage::block::{FaultKind, RejectKind};
use storage::disk::{DiskOp, Failure};
use storage::format::parse_seal;
use storage::ids::Offset;
use storage::limits::{FAULTS_WAITING_MAX, MERGE_RETRY_MS};
use storage::store::{FaultRecord, StoreEvent, StoreSettings};

use crate::damage::plain;
use crate::rig::Rig;
use crate::watched::Watched;

/// Which names a directory keeps is in doubt: nothing in this process mends that.
#[test]
fn a_directory_that_recovery_cannot_sync_is_not_tried_again_in_this_process() {
    let mut rig = Rig::new("reopened-directory", 1, StoreSettings::default());
    rig.commit(3, "a");
    rig.again_on(&Watched::without_directory_syncs());
    assert!(matches!(rig.failed(), Some(Failure::Directory(_))));
    rig.on(StoreEvent::Open(rig.start));
    assert!(rig.disk.is_empty());
    let failed = rig.failed().map(ToString::to_string).unwrap_or_default();
    assert!(
        failed.ends_with("a failed directory sync: remount the file system, then restart"),
        "{failed}"
    );
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
}

fn is_sealed(rig: &Rig, number: usize) -> bool {
    let bytes = std::fs::read(&rig.segments()[number]).expect("it is there");
    let read = |at: u64, len: usize| Ok::<_, ()>(bytes[at as usize..at as usize + len].to_vec());
    parse_seal(bytes.len() as u64, read).is_ok_and(|seal| seal.is_ok())
}

/// A kill came between the last commit that a segment takes and its footer.
#[test]
fn a_segment_that_is_full_is_sealed_after_a_restart() {
    let mut rig = Rig::new("reopened-full", 1, plain());
    for full in [2, 4] {
        rig.commit(1, "a");
        rig.load(1, "a");
        rig.pass_but(rig.settings.flush_age_ms, |op| {
            !matches!(op, DiskOp::Seal { .. })
        });
        let newest = rig.segments().len() - 1;
        assert!(!is_sealed(&rig, newest));
        rig.kill();
        rig.open();
        rig.pass(rig.settings.sync_age_ms);
        assert!(is_sealed(&rig, newest), "{full} rows");
        assert_eq!((rig.rows(), rig.segments().len()), (full, newest + 1));
    }
    // One that is not goes on.
    rig.commit(1, "a");
    rig.again();
    rig.commit(1, "a");
    assert_eq!((rig.rows(), rig.segments().len()), (6, 3));
    rig.again();
    assert_eq!((rig.rows(), rig.history().len()), (6, 6));
}

#[test]
fn segments_that_were_sealed_before_a_restart_are_merged_after_it() {
    let mut rig = Rig::new("reopened-merged", 1, plain());
    for _ in 0..5 {
        rig.commit(1, "a");
    }
    assert_eq!(rig.segments().len(), 3);
    rig.settings.merge_rows_mean_min = 1_000;
    rig.again();
    rig.pass(MERGE_RETRY_MS);
    assert_eq!((rig.failed(), rig.rows()), (None, 5));
    assert_eq!(rig.names(), ["2.1.arrow", "3.0.arrow"]);
}

/// One more than may wait replaces the last.
#[test]
fn faults_that_come_before_it_is_open_wait_up_to_a_bound() {
    let mut rig = Rig::new("reopened-faults", 1, StoreSettings::default());
    rig.commit(3, "a");
    rig.kill();
    let most = FAULTS_WAITING_MAX;
    for number in 0..most + 2 {
        rig.on(StoreEvent::Fault(Box::new(FaultRecord {
            offset: Offset(3),
            timestamp_ms: 0,
            unix_ms: 1_700_000_000_000,
            code: 1,
            kind: RejectKind::Fault(FaultKind::Extract),
            line: 0,
            column: None,
            text: format!("fault {number}"),
            message: Vec::new(),
        })));
    }
    rig.open();
    rig.pass(rig.settings.flush_age_ms);
    rig.pass(rig.settings.sync_age_ms);
    let expected = (0..most - 1).chain([most + 1]);
    let expected: Vec<String> = expected.map(|number| format!("fault {number}")).collect();
    for _ in 0..2 {
        let texts = rig.rejects().into_iter().map(|one| one.text);
        assert_eq!(texts.collect::<Vec<_>>(), expected);
        rig.again();
    }
}
