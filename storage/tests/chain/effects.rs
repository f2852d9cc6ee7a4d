//! What a store says, when, and how often; what it says nothing of.

use storage::disk::{DiskOp, Failure};
use storage::ids::{Lineage, Offset, Sequence};
use storage::limits::SEGMENTS_UNDURABLE_MAX;
use storage::pool::BlockPool;
use storage::store::{Blocked, StoreEffect, StoreEvent, StoreSettings};

use crate::damage::plain;
use crate::rig::Rig;

fn held(rig: &Rig) -> Vec<Option<Blocked>> {
    let said = rig.said.iter();
    let held = said.filter_map(|said| match said {
        StoreEffect::Held(why) => Some(Some(*why)),
        StoreEffect::Released => Some(None),
        _ => None,
    });
    held.collect()
}

fn durable(rig: &Rig) -> Vec<(u64, i64)> {
    let said = rig.said.iter();
    let durable = said.filter_map(|said| match said {
        StoreEffect::Durable {
            lineage, offset, ..
        } => Some((lineage.0, offset.0)),
        _ => None,
    });
    durable.collect()
}

fn rewound(rig: &Rig) -> Vec<(u64, i64)> {
    let said = rig.said.iter();
    let rewound = said.filter_map(|said| match said {
        StoreEffect::Rewound { lineage, cursor } => Some((lineage.0, cursor.0)),
        _ => None,
    });
    rewound.collect()
}

/// Blocks of four offsets.
fn small(name: &str) -> Rig {
    let settings = StoreSettings {
        offsets_max: 4,
        ..StoreSettings::default()
    };
    Rig::new(name, 1, settings)
}

#[test]
fn a_store_says_once_that_loading_waits_and_once_that_it_goes_on() {
    let mut rig = small("held");
    rig.commit(1, "a");
    rig.load(4, "a");
    rig.on(StoreEvent::Tick);
    assert_eq!((rig.store.blocked(), held(&rig)), (None, vec![]));
    rig.load(4, "a");
    let why = Blocked::BothBlocksFull;
    for _ in 0..3 {
        rig.on(StoreEvent::Tick);
        assert_eq!(rig.store.blocked(), Some(why));
        assert_eq!(held(&rig), [Some(why)]);
    }
    assert!(rig.finish(|op| matches!(op, DiskOp::Write(_))));
    for _ in 0..3 {
        rig.on(StoreEvent::Tick);
        assert_eq!(held(&rig), [Some(why), None]);
    }
    // Who asks for a drain knows that nothing is loaded meanwhile.
    rig.on(StoreEvent::Drain);
    assert_eq!(rig.store.blocked(), Some(Blocked::Draining));
    rig.settle();
    assert_eq!((rig.store.blocked(), held(&rig).len()), (None, 2));
}

#[test]
fn a_store_waits_for_memory_only_while_the_pool_has_none_for_it() {
    let mut rig = small("memory");
    rig.commit(1, "a");
    assert!(!rig.store.waits_for_memory());
    let pool = std::mem::replace(&mut rig.pool, BlockPool::new(1));
    assert!(rig.store.tail(&mut rig.pool).is_none());
    rig.on(StoreEvent::Tick);
    assert!(rig.store.waits_for_memory());
    assert_eq!(held(&rig), [Some(Blocked::Memory)]);
    rig.pool = pool;
    rig.on(StoreEvent::Room);
    assert!(!rig.store.waits_for_memory());
    assert_eq!(held(&rig), [Some(Blocked::Memory), None]);
    rig.commit(1, "a");
    assert_eq!(rig.rows(), 2);
}

#[test]
fn the_durable_cursor_is_said_whenever_it_moves_and_no_other_time() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("durable-said", 1, settings);
    // Each segment's footer is written behind its sync, and synced too.
    for rows in [3, 2, 1] {
        rig.load(rows, "a");
        for ms in [rig.settings.flush_age_ms, rig.settings.sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Seal { .. }));
        }
        rig.settle();
        rig.pass(rig.settings.sync_age_ms);
    }
    assert_eq!(durable(&rig), [(1, 3), (1, 5), (1, 6)]);
    // A lineage is said from its first segment on, not while the one before it is made durable.
    rig.load(1, "a");
    rig.pass_but(rig.settings.flush_age_ms, |op| !op.is_sync());
    rig.rewind(50, false);
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(durable(&rig)[3..], [(1, 7), (2, 50)]);
    rig.commit(2, "b");
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(durable(&rig)[5..], [(2, 52)]);
}

/// A lineage that is there is answered again, with what is durable; one that is gone, or is only being begun, is not.
#[test]
fn a_lineage_is_answered_when_it_is_there_and_begun_once() {
    let mut rig = Rig::new("rewound", 1, StoreSettings::default());
    rig.commit(3, "a");
    rig.rewind(50, false);
    assert_eq!(rewound(&rig), [(2, 50)]);
    rig.commit(2, "b");
    let segments = rig.segments().len();
    for _ in 0..2 {
        rig.on(StoreEvent::Rewind(rig.start));
        rig.settle();
    }
    assert_eq!(rewound(&rig)[1..], [(2, 52), (2, 52)]);
    assert_eq!((rig.segments().len(), rig.rows()), (segments, 5));
    let mut gone = rig.start;
    gone.lineage = Lineage(1);
    rig.on(StoreEvent::Rewind(gone));
    rig.settle();
    assert_eq!(rewound(&rig).len(), 3);
    // Asked again while its segment is not there yet.
    rig.start.lineage = Lineage(3);
    rig.start.start_offset = Offset(70);
    rig.on(StoreEvent::Rewind(rig.start));
    assert!(rig.disk.iter().any(|op| matches!(op, DiskOp::Create(_))));
    rig.on(StoreEvent::Rewind(rig.start));
    assert_eq!(rewound(&rig).len(), 3);
    rig.settle();
    assert_eq!(rewound(&rig)[3..], [(3, 70)]);
    assert_eq!(rig.segments().len(), segments + 1);
}

fn voided(rig: &Rig) -> usize {
    let said = rig.said.iter();
    let voided = said.filter(|said| matches!(said, StoreEffect::Voided { .. }));
    voided.count()
}

#[test]
fn a_footer_that_the_disk_refuses_voids_as_any_write_does() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("footer-refused", 1, settings);
    rig.load(3, "a");
    let seals = |op: &DiskOp| matches!(op, DiskOp::Seal { .. });
    rig.pass_but(rig.settings.flush_age_ms, |op| {
        !op.is_sync() && !matches!(op, DiskOp::Seal { .. })
    });
    rig.fail(seals, 5);
    assert_eq!((voided(&rig), rig.store.is_disk_full()), (1, false));
    assert_eq!(rig.store.blocked(), Some(Blocked::Voiding));
    rig.settle();
    assert_eq!((rig.store.blocked(), rig.rows()), (None, 0));
    rig.commit(3, "a");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
}

/// The second failure within a minute; meanwhile the catalog has the next lineage.
#[test]
fn a_lineage_that_came_while_the_disk_failed_is_begun_when_it_is_opened_again() {
    let mut rig = Rig::new("failed-rewound", 1, StoreSettings::default());
    rig.commit(3, "a");
    for _ in 0..2 {
        rig.load(1, "a");
        rig.now_ms += rig.settings.flush_age_ms;
        rig.on(StoreEvent::Tick);
        while !rig.disk.iter().any(|op| matches!(op, DiskOp::Write(_))) {
            assert!(rig.step());
        }
        rig.fail(|op| matches!(op, DiskOp::Write(_)), 5);
        rig.settle();
    }
    assert!(matches!(rig.failed(), Some(Failure::Again(_))));
    rig.start.lineage = Lineage(2);
    rig.start.start_offset = Offset(50);
    rig.said.clear();
    rig.open();
    let cursors = rig.said.iter().filter_map(|said| match said {
        StoreEffect::Recovered(report) => Some((report.lineage.0, report.cursor.0)),
        _ => None,
    });
    assert_eq!(cursors.collect::<Vec<_>>(), [(2, 50)]);
    rig.commit(2, "b");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 5));
    assert_eq!(rig.store.cursors().durable, Offset(52));
}

/// Segments of one commit, none of them synced.
#[test]
fn segments_that_are_not_durable_are_few_and_synced_at_once_at_the_bound() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        sync_age_ms: 1 << 40,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("undurable", 1, settings);
    for number in 1..=SEGMENTS_UNDURABLE_MAX + 3 {
        rig.load(1, "a");
        rig.now_ms += rig.settings.flush_age_ms;
        rig.on(StoreEvent::Tick);
        while rig.finish(|_| true) {}
        let segments = number.min(SEGMENTS_UNDURABLE_MAX);
        assert_eq!(rig.segments().len(), segments);
        let wanted = rig.store.sync_wanted(rig.now_ms);
        let at_bound = segments == SEGMENTS_UNDURABLE_MAX;
        assert_eq!(wanted.map(|wanted| wanted.since_ms), at_bound.then_some(0));
    }
    rig.settle();
    assert_eq!(rig.segments().len(), SEGMENTS_UNDURABLE_MAX + 1);
}

/// What a record says of its own file would be taken for all that is before it.
#[test]
fn a_record_says_what_is_durable_only_where_all_before_it_is() {
    let mut rig = Rig::new("durable-end", 1, plain());
    let ends = |rig: &mut Rig| {
        rig.load(1, "a");
        rig.now_ms += rig.settings.flush_age_ms;
        rig.on(StoreEvent::Tick);
        loop {
            if let Some(DiskOp::Write(write)) = rig.disk.back() {
                let durable_end = write.durable_end;
                while rig.finish(|op| !op.is_sync()) {}
                return durable_end;
            }
            assert!(rig.finish(|op| !op.is_sync()));
        }
    };
    rig.commit(1, "a");
    assert!(ends(&mut rig) > 0);
    assert_eq!(ends(&mut rig), 0, "the second segment's first");
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    // The second segment is synced, and the first's last commit is not yet.
    let second = |op: &DiskOp| {
        matches!(
            op,
            DiskOp::Sync {
                sequence: Sequence(2),
                ..
            }
        )
    };
    assert!(rig.finish(second));
    assert_eq!(rig.store.cursors().durable, Offset(1));
    assert_eq!(ends(&mut rig), 0);
    rig.settle();
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(rig.store.cursors().durable, Offset(4));
    assert_eq!(ends(&mut rig), 0, "the third segment's first");
    rig.pass(rig.settings.sync_age_ms);
    assert!(ends(&mut rig) > 0);
}
