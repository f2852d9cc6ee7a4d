//! When a segment is sealed, and what becomes of its file then.

use storage::disk::DiskOp;
use storage::format::parse_seal;
use storage::limits::{COLUMNS_MAX, FOOTER_BYTES_MAX, INDEX_BYTES_MAX};
use storage::store::StoreSettings;

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
