//! When a tail is committed and a file synced, to the millisecond and the byte; what wakes the store for it.

use std::fs;

use storage::counts::Counts;
use storage::limits::{BLOCK_MARKS_MIN, BLOCK_ROWS_MIN, FULL_RETRY_MS, SYNCS_PER_LEAF_MAX};
use storage::store::{StoreSettings, SyncGate};

use crate::rig::Rig;

fn durable(rig: &Rig) -> i64 {
    rig.store.cursors().durable.0
}

#[test]
fn a_tail_is_committed_and_a_file_synced_at_their_age_and_no_earlier() {
    let mut rig = Rig::new("due-age", 1, StoreSettings::default());
    let (flush_age_ms, sync_age_ms) = (rig.settings.flush_age_ms, rig.settings.sync_age_ms);
    assert_eq!(rig.store.next_deadline_ms(), None, "idle");
    rig.load(1, "a");
    let flush_ms = rig.now_ms + flush_age_ms;
    // What comes later does not put it off.
    rig.pass(flush_age_ms - 1);
    rig.load(1, "a");
    assert_eq!(rig.store.next_deadline_ms(), Some(flush_ms));
    assert_eq!(rig.history().len(), 0);
    rig.pass(1);
    assert_eq!((rig.history().len(), rig.rows()), (1, 2));
    assert_eq!(rig.store.next_deadline_ms(), Some(flush_ms + sync_age_ms));
    rig.pass(sync_age_ms - 1);
    assert_eq!(
        (rig.store.sync_wanted(rig.now_ms), durable(&rig)),
        (None, 0)
    );
    rig.pass(1);
    assert_eq!((rig.store.next_deadline_ms(), durable(&rig)), (None, 2));
}

/// The sooner of the two is what wakes it.
#[test]
fn the_next_deadline_is_the_first_of_those_that_wait() {
    let mut rig = Rig::new("due-first", 1, StoreSettings::default());
    let (flush_age_ms, sync_age_ms) = (rig.settings.flush_age_ms, rig.settings.sync_age_ms);
    rig.load(1, "a");
    rig.pass(flush_age_ms);
    let sync_ms = rig.now_ms + sync_age_ms;
    rig.pass(1);
    rig.load(1, "a");
    let flush_ms = rig.now_ms + flush_age_ms;
    assert_eq!(rig.store.next_deadline_ms(), Some(sync_ms.min(flush_ms)));
    rig.pass(sync_ms.min(flush_ms) - rig.now_ms);
    rig.pass(sync_ms.max(flush_ms) - rig.now_ms);
    assert_eq!((durable(&rig), rig.history().len()), (1, 2));
}

/// A sync that is on its way is not due again: nothing wakes the store for what time cannot start.
#[test]
fn a_file_that_is_being_synced_has_no_deadline() {
    let mut rig = Rig::new("due-syncing", 1, StoreSettings::default());
    rig.load(1, "a");
    rig.pass(rig.settings.flush_age_ms);
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    assert_eq!((rig.disk.len(), rig.store.next_deadline_ms()), (1, None));
    assert_eq!(rig.store.sync_wanted(rig.now_ms + 1_000_000), None);
    rig.settle();
    assert_eq!((durable(&rig), rig.store.next_deadline_ms()), (1, None));
}

#[test]
fn a_file_is_synced_at_once_when_so_many_bytes_wait() {
    let written = |name: &str, sync_bytes: u64| {
        let settings = StoreSettings {
            sync_bytes,
            ..StoreSettings::default()
        };
        let mut rig = Rig::new(name, 1, settings);
        rig.load(1, "a");
        rig.pass(rig.settings.flush_age_ms);
        rig
    };
    let rig = written("due-bytes-none", u64::MAX);
    assert_eq!((rig.history().len(), durable(&rig)), (1, 0));
    // A commit ends at a multiple of 64: the first of those at which one byte more is too many.
    let ends = (64..1 << 16).step_by(64);
    let end = ends
        .into_iter()
        .find(|end| durable(&written("due-bytes-more", end + 1)) == 0);
    let end = end.expect("a commit is smaller");
    assert_eq!(durable(&written("due-bytes", end)), 1);
    assert_eq!(durable(&written("due-bytes", end - 1)), 1);
}

/// Each name is tried once, the next one twice as late.
#[test]
fn a_name_that_is_taken_is_passed_later_each_time() {
    let mut rig = Rig::new("due-name", 1, StoreSettings::default());
    let taken = 1..=16;
    for sequence in taken.clone() {
        let path = rig.directory().join(format!("{sequence}.0.arrow"));
        fs::write(path, b"somebody's").expect("writable");
    }
    rig.load(1, "a");
    rig.pass(rig.settings.flush_age_ms);
    for sequence in taken {
        let wait_ms = (1 << (sequence - 1)).min(FULL_RETRY_MS);
        assert_eq!(
            rig.store.next_deadline_ms(),
            Some(rig.now_ms + wait_ms),
            "{sequence}"
        );
        rig.pass(wait_ms - 1);
        assert_eq!((rig.names().len(), rig.history().len()), (16, 0));
        rig.pass(1);
    }
    assert_eq!(rig.history().len(), 1);
    assert!(rig.names().contains(&"17.0.arrow".to_owned()));
}

#[test]
fn a_leafs_gate_lets_so_many_syncs_through_at_a_time() {
    let mut gate = SyncGate::new();
    for _ in 0..2 {
        for _ in 0..SYNCS_PER_LEAF_MAX {
            assert!(gate.is_open());
            gate.begin();
        }
        assert!(!gate.is_open());
        gate.end();
        assert!(gate.is_open());
        gate.begin();
        (0..SYNCS_PER_LEAF_MAX).for_each(|_| gate.end());
    }
}

/// Whatever it is that is used up.
#[test]
fn a_block_that_takes_no_further_step_is_written_at_once() {
    let settings = StoreSettings {
        flush_bytes: 1_000,
        offsets_max: 1_000,
        ..StoreSettings::default()
    };
    let rig = |name: &str| Rig::new(name, 1, settings.clone());
    let rows = i64::from(BLOCK_ROWS_MIN);
    for (name, steps, rows) in [("due-rows", 1, rows), ("due-flush-bytes", 10, 1)] {
        let mut rig = rig(name);
        for step in 1..=steps {
            assert!(rig.disk.is_empty(), "{name}");
            let rows = if step == steps { rows } else { 1 };
            rig.load(rows, "a");
        }
        assert_eq!(rig.disk.len(), 1, "{name}");
    }
    // A step has a mark, with or without a row.
    let mut marks = Rig::new("due-marks", 1, StoreSettings::default());
    for _ in 0..BLOCK_MARKS_MIN {
        assert!(marks.disk.is_empty());
        marks.count(Counts {
            gap: 1,
            ..Counts::default()
        });
    }
    assert_eq!(marks.disk.len(), 1);
    // Of nothing but offsets.
    let mut offsets = rig("due-offsets");
    for gap in [999, 1] {
        assert!(offsets.disk.is_empty());
        offsets.count(Counts {
            gap,
            ..Counts::default()
        });
    }
    assert_eq!(offsets.disk.len(), 1);
    // What was lost ends its commit: how far the leader epoch before it reaches is known then.
    let mut lost = rig("due-lost");
    lost.load(2, "a");
    assert!(lost.disk.is_empty());
    lost.count(Counts {
        lost: 5,
        ..Counts::default()
    });
    assert_eq!(lost.disk.len(), 1);
    lost.settle();
    lost.load(1, "a");
    lost.pass(lost.settings.flush_age_ms);
    let offsets: Vec<i64> = lost.history().iter().map(|one| one.next_offset.0).collect();
    assert_eq!(offsets, [7, 8]);
}
