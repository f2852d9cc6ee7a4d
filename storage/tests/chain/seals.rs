//! When a segment is sealed, and what becomes of its file then.

use storage::disk::DiskOp;
use storage::format::parse_seal;
use storage::ids::{Lineage, Offset};
use storage::limits::{COLUMNS_MAX, FOOTER_BYTES_MAX, FULL_RETRY_MS, INDEX_BYTES_MAX};
use storage::segment::SealState;
use storage::store::{StoreEvent, StoreSettings};

use crate::rig::Rig;

#[test]
fn a_segment_of_many_columns_is_sealed_before_its_index_is_too_large_to_read() {
    let settings = StoreSettings {
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("wide", COLUMNS_MAX, settings);
    while rig.segments().len() < 2 {
        rig.commit(1, "a text as long as statistics keep it");
        let records = rig.history().len() as u64 * COLUMNS_MAX as u64 * 100;
        assert!(records < FOOTER_BYTES_MAX, "sealed by now");
    }
    let bytes = std::fs::read(&rig.segments()[0]).expect("it is there");
    let read = |at: u64, len: usize| Ok::<_, ()>(bytes[at as usize..at as usize + len].to_vec());
    let seal = parse_seal(bytes.len() as u64, read).expect("no error but damage");
    let seal = seal.expect("a seal that its reader takes");
    let index_bytes = seal.commits.iter().map(|(_, r)| r.index_bytes_max());
    assert!(index_bytes.sum::<u64>() >= INDEX_BYTES_MAX);
    rig.again();
    assert_eq!(rig.rows(), rig.history().len() as u64);
}

/// Descriptors of this process that are open on files below a rig's directory.
fn descriptors(rig: &Rig) -> usize {
    let directory = rig.segments()[0].parent().expect("a directory").to_owned();
    let entries = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.starts_with(&directory))
        .count()
}

#[test]
fn a_sealed_segment_holds_no_descriptor() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("descriptors", 1, settings);
    for _ in 0..20 {
        rig.commit(2, "a");
    }
    assert_eq!((rig.segments().len(), rig.rows()), (20, 40));
    // The newest has its reader's until there is a next one.
    assert_eq!(descriptors(&rig), 1);
    // Its rows are read all the same.
    let snapshot = rig.store.view().snapshot();
    let read = snapshot.parts().iter().map(|part| part.read(&[0]));
    let rows: usize = read.map(|arrays| arrays.expect("readable")[0].len()).sum();
    assert_eq!(rows, 40);
}

/// An auditor takes a torn one for damage only where it was.
#[test]
fn a_seal_is_known_to_be_synced_where_this_process_did_that() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("known", 1, settings);
    let first = |rig: &Rig| {
        let segments = rig.store.view().snapshot().segments();
        segments[0].file.seal()
    };
    rig.load(2, "a");
    rig.pass_but(rig.settings.flush_age_ms, |op| !op.is_sync());
    assert_eq!(first(&rig), SealState::Written);
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(first(&rig), SealState::Durable);
    // It may have been read from the page cache.
    rig.again();
    assert_eq!(first(&rig), SealState::Written);
}

#[test]
fn footers_have_their_turn_where_the_disk_is_the_bottleneck() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        offsets_max: 4,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("bottleneck", 1, settings);
    // A full block waits whenever a commit is written; syncs keep up, and nothing else has time.
    let mut footers = 0;
    for _ in 0..40 {
        if rig.store.blocked().is_none() {
            rig.load(4, "a");
        }
        footers += usize::from(matches!(rig.disk.front(), Some(DiskOp::Seal { .. })));
        rig.finish(|op| !op.is_sync());
        rig.sync();
        while rig.finish(DiskOp::is_sync) {}
        rig.now_ms += rig.settings.sync_age_ms;
    }
    let segments = rig.segments().len();
    assert!(
        segments > 8 && footers + 1 >= segments,
        "{footers} of {segments}"
    );
    rig.settle();
    rig.pass(rig.settings.sync_age_ms);
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(descriptors(&rig), 1, "all of them durable");
}

fn begin(rig: &mut Rig, lineage: u64) {
    rig.start.lineage = Lineage(lineage);
    rig.start.start_offset = Offset(3);
    rig.on(StoreEvent::Rewind(rig.start));
}

/// A footer finds no room, and what the lineage behind it begins with is voided: what follows the void was tried
/// without a pause for as long as that footer was due, which nothing writes then.
#[test]
fn what_finds_no_room_behind_a_void_waits_though_a_footer_is_due() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    let mut rig = Rig::new("void-full", 1, StoreSettings::default());
    rig.commit(3, "a");
    begin(&mut rig, 2);
    assert!(rig.finish(|op| matches!(op, DiskOp::Create(_))));
    rig.fail(|_| true, ENOSPC);
    rig.settle();
    begin(&mut rig, 3);
    rig.now_ms += FULL_RETRY_MS;
    rig.on(StoreEvent::Tick);
    rig.fail(|_| true, EIO);
    for _ in 0..3 {
        rig.fail(|_| true, ENOSPC);
        assert_eq!(rig.disk.len(), 0, "it waits");
        rig.now_ms += FULL_RETRY_MS - 1;
        rig.on(StoreEvent::Tick);
        assert_eq!(rig.disk.len(), 0, "it waits");
        rig.now_ms += 1;
        rig.on(StoreEvent::Tick);
    }
    rig.settle();
    assert_eq!((rig.failed(), rig.store.cursors().durable.0), (None, 3));
    rig.commit(2, "b");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 5));
}
