//! The order in which a store does things: what waits for what, and until when.

use storage::disk::DiskOp;
use storage::ids::{Lineage, Offset, Sequence};
use storage::limits::{FULL_RETRY_MS, MERGE_MEMORY_RETRY_MS, VOID_WINDOW_MS};
use storage::store::{StoreEffect, StoreEvent, StoreSettings};

use crate::rig::Rig;

/// Segments of so many commits, left as they are, or each merged.
fn rig(name: &str, commits: u32, merged: bool) -> Rig {
    let settings = StoreSettings {
        segment_commits_max: commits,
        merge_rows_mean_min: if merged { 1_000 } else { 0 },
        ..StoreSettings::default()
    };
    Rig::new(name, 1, settings)
}

fn is_merge(op: &DiskOp) -> bool {
    matches!(op, DiskOp::Merge(_))
}

/// Writes what is loaded, and syncs nothing.
fn write(rig: &mut Rig) {
    rig.load(1, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    while rig.finish(|op| !op.is_sync() && !is_merge(op)) {}
}

/// The syncs on their way: of which segment, and whether of the directory too.
fn syncs(rig: &Rig) -> Vec<(u64, bool)> {
    let syncs = rig.disk.iter().filter_map(|op| match op {
        DiskOp::Sync {
            sequence,
            directory,
            ..
        } => Some((sequence.0, directory.is_some())),
        _ => None,
    });
    syncs.collect()
}

/// Of two syncs of a directory at a time either would take the other's error: new names wait for each other.
#[test]
fn one_new_name_is_synced_at_a_time() {
    let mut rig = rig("one-name", 1, false);
    write(&mut rig);
    write(&mut rig);
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    assert_eq!(syncs(&rig), [(1, true)]);
    assert!(rig.finish(DiskOp::is_sync));
    rig.sync();
    assert_eq!(syncs(&rig), [(2, true)]);
    rig.settle();
    assert_eq!(rig.store.cursors().durable, Offset(2));
}

/// A merge syncs the directory too: neither begins beside the other.
#[test]
fn a_merge_and_a_new_name_wait_for_each_other() {
    let mut rig = rig("merge-and-name", 2, true);
    rig.commit(1, "a");
    write(&mut rig);
    // The first is full, and its last sync is on its way; a second has begun.
    write(&mut rig);
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    assert_eq!(syncs(&rig), [(1, false), (2, true)]);
    let first =
        |op: &DiskOp| matches!(op, DiskOp::Sync { sequence, .. } if *sequence == Sequence(1));
    assert!(rig.finish(first));
    assert!(!rig.disk.iter().any(is_merge));
    assert!(rig.finish(DiskOp::is_sync));
    assert!(rig.disk.iter().any(is_merge));
    // The other way round: the third's name waits for the merge.
    write(&mut rig);
    write(&mut rig);
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    assert_eq!(syncs(&rig), [(2, false)]);
    assert!(rig.finish(is_merge));
    rig.sync();
    assert_eq!(syncs(&rig), [(2, false), (3, true)]);
    rig.settle();
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!((rig.failed(), rig.rows()), (None, 5));
}

/// A merged segment says that all before it is durable: it is made once that is so.
#[test]
fn nothing_is_merged_behind_what_is_not_durable() {
    let mut rig = rig("merge-behind", 2, true);
    rig.commit(1, "a");
    for _ in 0..3 {
        write(&mut rig);
    }
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    assert_eq!(syncs(&rig), [(1, false), (2, true)]);
    let second =
        |op: &DiskOp| matches!(op, DiskOp::Sync { sequence, .. } if *sequence == Sequence(2));
    assert!(rig.finish(second));
    assert_eq!(rig.store.cursors().durable, Offset(1));
    assert_eq!(syncs(&rig), [(1, false)]);
    assert_eq!(rig.disk.len(), 1, "no merge");
    rig.settle();
    assert_eq!(rig.names(), ["2.1.arrow"]);
    assert_eq!((rig.failed(), rig.rows()), (None, 4));
}

#[test]
fn nothing_is_merged_while_a_lineage_is_begun() {
    let mut rig = rig("merge-rewinding", 2, true);
    rig.commit(1, "a");
    rig.load(1, "a");
    rig.start.lineage = Lineage(2);
    rig.start.start_offset = Offset(50);
    rig.on(StoreEvent::Rewind(rig.start));
    let rewound = |rig: &Rig| {
        let rewound = |said: &StoreEffect| matches!(said, StoreEffect::Rewound { .. });
        rig.said.iter().any(rewound)
    };
    while !rewound(&rig) {
        assert!(!rig.disk.iter().any(is_merge));
        // The footer is durable before the next segment is made.
        rig.sync();
        assert!(rig.finish(DiskOp::is_sync) || rig.finish(|_| true));
    }
    rig.settle();
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(rig.names(), ["1.1.arrow", "2.0.arrow"]);
}

#[test]
fn a_merge_without_memory_is_tried_again_soon() {
    let mut rig = rig("merge-memory", 2, true);
    rig.commit(1, "a");
    write(&mut rig);
    let all = rig.pool.budget_bytes() - rig.pool.taken_bytes();
    assert!(rig.pool.reserve(all));
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(rig.names(), ["1.0.arrow"]);
    let again_ms = rig.now_ms + MERGE_MEMORY_RETRY_MS;
    assert_eq!(rig.store.next_deadline_ms(), Some(again_ms));
    rig.pool.release(all);
    rig.pass(MERGE_MEMORY_RETRY_MS - 1);
    assert_eq!(rig.names(), ["1.0.arrow"]);
    rig.pass(1);
    assert_eq!(rig.names(), ["1.1.arrow"]);
    assert_eq!(rig.store.next_deadline_ms(), None);
}

/// Until the segment behind a void is durable, recovery may still choose what was given up.
#[test]
fn what_a_void_gave_up_goes_once_what_follows_is_durable() {
    let mut rig = rig("void-unlinks", 1, false);
    rig.commit(1, "a");
    write(&mut rig);
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    rig.fail(DiskOp::is_sync, 5);
    while rig.finish(|op| !op.is_sync()) {}
    assert_eq!(rig.names(), ["1.0.arrow", "2.0.arrow", "3.0.arrow"]);
    write(&mut rig);
    assert_eq!(rig.names(), ["1.0.arrow", "2.0.arrow", "3.0.arrow"]);
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(rig.names(), ["1.0.arrow", "3.0.arrow"]);
    assert_eq!((rig.failed(), rig.rows()), (None, 2));
}

/// In the lineage that is begun: what the one before came to says nothing of it.
#[test]
fn a_void_goes_back_to_where_the_lineage_begins() {
    let mut rig = rig("void-lineage", 4, false);
    rig.commit(3, "a");
    rig.start.lineage = Lineage(2);
    rig.start.start_offset = Offset(50);
    rig.on(StoreEvent::Rewind(rig.start));
    while rig.finish(|op| !op.is_sync()) {}
    rig.sync();
    rig.fail(DiskOp::is_sync, 5);
    let cursors = rig.said.iter().filter_map(|said| match said {
        StoreEffect::Voided { cursor, .. } => Some(cursor.0),
        _ => None,
    });
    assert_eq!(cursors.collect::<Vec<_>>(), [50]);
    assert_eq!(rig.store.cursors().visible, Offset(50));
    rig.settle();
    rig.commit(2, "b");
    assert_eq!((rig.failed(), rig.rows()), (None, 5));
    assert_eq!(rig.store.cursors().durable, Offset(52));
}

#[test]
fn a_second_void_is_a_failure_within_a_minute_and_no_later() {
    for (later_ms, fails) in [(VOID_WINDOW_MS - 1, true), (VOID_WINDOW_MS, false)] {
        let mut rig = rig("void-window", 4, false);
        rig.commit(1, "a");
        let mut first_ms = None;
        for _ in 0..2 {
            write(&mut rig);
            rig.now_ms += rig.settings.sync_age_ms;
            rig.now_ms = rig.now_ms.max(first_ms.unwrap_or(0) + later_ms);
            rig.sync();
            first_ms.get_or_insert(rig.now_ms);
            rig.fail(DiskOp::is_sync, 5);
            rig.settle();
        }
        assert_eq!(rig.failed().is_some(), fails, "{later_ms} ms");
    }
}

/// A footer gives back what was allocated behind it: where a segment finds no room, one that is due goes first; where
/// none is, it is tried again when it is time.
#[test]
fn a_segment_without_room_waits_unless_a_footer_is_due() {
    const ENOSPC: i32 = 28;
    for (commits, due) in [(4, true), (1, false)] {
        let mut rig = rig("footer-first", commits, false);
        rig.commit(3, "a");
        rig.pass(rig.settings.sync_age_ms);
        rig.start.lineage = Lineage(2);
        rig.start.start_offset = Offset(50);
        rig.on(StoreEvent::Rewind(rig.start));
        rig.fail(|op| matches!(op, DiskOp::Create(_)), ENOSPC);
        let seals = |op: &DiskOp| matches!(op, DiskOp::Seal { .. });
        assert_eq!(rig.disk.len(), usize::from(due));
        assert_eq!(rig.disk.iter().any(seals), due);
        assert_eq!(rig.store.is_refused(), !due);
        rig.settle();
        rig.pass(FULL_RETRY_MS);
        assert_eq!(rig.store.cursors().durable, Offset(50));
    }
}
