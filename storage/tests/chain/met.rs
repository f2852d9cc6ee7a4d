//! Damage that a reader meets while the store runs: who looks at it and when, and what its hole says.

use std::fs;
use std::path::Path;

use storage::disk::DiskOp;
use storage::format::{Before, Hole, Predecessor, SegmentId, encode_hole};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId};
use storage::limits::FAULTS_WAITING_MAX;
use storage::recovery::hole_path;
use storage::store::{StoreEffect, StoreEvent, StoreSettings};

use crate::damage::{commits_of, flip, places, plain, segments, text_of};
use crate::rig::Rig;

/// A query meets it, and the store is not told yet.
fn meet(rig: &Rig) {
    let snapshot = rig.store.view().snapshot();
    let mut parts = snapshot.parts().iter().map(|part| part.read(&[0, 1, 2]));
    assert!(parts.any(|read| read.is_err()), "damaged");
}

/// Turns a bit of the first commit's text in its place: a map sees it.
fn damage(path: &Path) {
    flip(path, places(path).1);
}

fn pass(rig: &mut Rig) {
    rig.pass(rig.settings.flush_age_ms);
    rig.pass(rig.settings.sync_age_ms);
}

#[test]
fn damage_is_looked_at_once_and_not_while_the_partition_rests() {
    let mut rig = segments("met-once", 2);
    assert!(!rig.store.is_alarmed());
    damage(&rig.segments()[0]);
    // Whatever is checked first is trusted from then on: another process looks.
    rig.again();
    assert!(!rig.store.is_alarmed());
    // Something is on its way, and is waited for.
    rig.load(1, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    assert_eq!(rig.disk.len(), 1);
    rig.store.set_resting(true);
    meet(&rig);
    assert!(!rig.store.is_alarmed());
    rig.store.set_resting(false);
    assert!(rig.store.is_alarmed());
    rig.on(StoreEvent::Tick);
    assert!(!rig.store.is_alarmed());
    assert_eq!((rig.disk.len(), rig.failed()), (1, None));
    rig.settle();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
}

/// What is written once damage was met is not counted: loading goes back to before the hole.
#[test]
fn a_commit_that_ends_behind_an_alarm_is_not_said() {
    let mut rig = Rig::new("met-writing", 1, StoreSettings::default());
    rig.commit(2, "some text");
    rig.said.clear();
    damage(&rig.segments()[0]);
    rig.load(1, "more");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    assert!(rig.disk.iter().any(|op| matches!(op, DiskOp::Write(_))));
    meet(&rig);
    rig.on(StoreEvent::Tick);
    rig.settle();
    let committed = |said: &StoreEffect| matches!(said, StoreEffect::Committed { .. });
    assert!(!rig.said.iter().any(committed));
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 1");
}

#[test]
fn a_hole_says_when_it_was_found_and_whether_another_segment_follows() {
    for (number, bridged) in [(1, true), (2, false)] {
        let mut rig = segments("met-found", 2);
        damage(&rig.segments()[number - 1]);
        rig.again();
        rig.now_ms += 4_321;
        meet(&rig);
        rig.on(StoreEvent::Tick);
        rig.settle();
        let hole = rig.corrupt();
        assert_eq!(
            hole.found_unix_ms,
            1_700_000_000_000 + rig.now_ms as i64,
            "{number}"
        );
        let known: Vec<bool> = rig.store.holes().iter().map(|one| one.bridged).collect();
        assert_eq!(known, [bridged], "{number}");
    }
}

/// A commit is being synced behind one that is durable, and the sync fails. The kernel drops the pages when it likes,
/// and a query meets what the disk has there: before the store hears of the failure, or, by what it was shown before,
/// behind that. What is durable stays.
#[test]
fn what_a_failed_sync_lost_takes_nothing_durable_with_it() {
    for met_first in [true, false] {
        let mut rig = Rig::new("met-dropped", 1, StoreSettings::default());
        rig.commit(2, "some text");
        rig.load(1, "more");
        rig.pass_but(rig.settings.flush_age_ms, |op| !op.is_sync());
        rig.pass_but(rig.settings.sync_age_ms, |op| !op.is_sync());
        assert_eq!(rig.store.cursors().durable, Offset(2));
        let shown = rig.store.view().snapshot();
        let path = rig.segments()[0].clone();
        if !met_first {
            rig.fail(DiskOp::is_sync, libc::EIO);
        }
        flip(&path, text_of(&commits_of(&path)[1]));
        let mut parts = shown.parts().iter().map(|part| part.read(&[0, 1, 2]));
        assert!(parts.any(|read| read.is_err()), "damaged");
        rig.on(StoreEvent::Tick);
        if met_first {
            rig.fail(DiskOp::is_sync, libc::EIO);
        }
        rig.settle();
        assert_eq!((rig.failed(), rig.store.holes().len()), (None, 0));
        assert_eq!(rig.store.cursors().visible, Offset(2));
        rig.commit(1, "more");
        assert_eq!((rig.read().unwrap(), rig.rows()), (3, 3), "{met_first}");
    }
}

/// It vouches for what stood before it where all of that is durable, and for nothing else.
#[test]
fn a_hole_vouches_for_what_was_durable_before_it() {
    for number in 1..=2 {
        let mut rig = segments("met-vouches", 2);
        damage(&rig.segments()[number - 1]);
        rig.again();
        meet(&rig);
        rig.on(StoreEvent::Tick);
        rig.settle();
        assert!(rig.corrupt().vouches, "{number}");
    }
    for (number, vouches) in [(1, true), (2, false)] {
        let settings = StoreSettings {
            sync_age_ms: 1 << 40,
            ..plain()
        };
        let mut rig = Rig::new("met-undurable", 1, settings);
        for _ in 0..3 {
            rig.load(2, "some text");
            rig.pass(rig.settings.flush_age_ms);
        }
        assert_eq!(rig.store.cursors().durable, Offset(0));
        damage(&rig.segments()[number - 1]);
        meet(&rig);
        rig.on(StoreEvent::Tick);
        rig.settle();
        assert_eq!(rig.corrupt().vouches, vouches, "{number}");
    }
}

/// The catalog has the next lineage, from behind the damage, and the one before is being drained: who chose it did not
/// know of the hole, which is not given up by that.
#[test]
fn damage_that_is_met_in_the_midst_of_set_offsets_is_not_given_up_by_it() {
    let mut rig = segments("met-rewinding", 2);
    damage(&rig.segments()[0]);
    rig.again();
    rig.load(1, "a");
    rig.start.lineage = Lineage(2);
    rig.start.start_offset = Offset(50);
    rig.on(StoreEvent::Rewind(rig.start));
    assert_eq!(rig.disk.len(), 1, "the one before is not drained");
    meet(&rig);
    rig.on(StoreEvent::Tick);
    rig.settle();
    assert_eq!(rig.corrupt().standing, Lineage(2));
    rig.open();
    for _ in 0..2 {
        assert_eq!(rig.told(), ["offsets 0 to 2"]);
        rig.again();
        assert_eq!(rig.failed(), None);
    }
}

#[test]
fn the_history_says_what_became_of_a_hole() {
    for (rewind_to, became) in [
        (None, "they are loaded again"),
        (Some(9), "they are loaded again"),
        (Some(10), "1 of them are given up, the others loaded again"),
        (Some(12), "they are given up"),
        (Some(40), "they are given up"),
    ] {
        let mut rig = segments("met-became", 4);
        damage(&rig.segments()[3]);
        rig.again();
        meet(&rig);
        rig.on(StoreEvent::Tick);
        rig.settle();
        rig.open();
        assert_eq!(rig.told(), ["offsets 9 to 11"]);
        if let Some(offset) = rewind_to {
            rig.rewind(offset, false);
        }
        rig.commit(5, "again");
        pass(&mut rig);
        assert_eq!(rig.told(), Vec::<String>::new());
        let faults = rig.rejects();
        assert_eq!(faults.len(), 1, "{faults:?}");
        let text = &faults[0].text;
        assert!(text.ends_with(&format!("): {became}")), "{text}");
    }
}

/// They wait for a block; one more than may wait is dropped, and nothing waits for ever.
#[test]
fn of_many_holes_that_are_given_up_at_once_the_history_has_as_many_as_may_wait() {
    let mut rig = segments("met-many", 1);
    let mut before = None;
    for number in 1..=FAULTS_WAITING_MAX as i64 + 2 {
        let hole = Hole {
            id: SegmentId {
                leaf_partition: LeafPartitionId(1),
                sequence: Sequence(number as u64 + 1),
                rewrite: Rewrite(0),
            },
            table: TableId(1),
            lineage: Lineage(1),
            first_offset: Offset(3 * number),
            next_offset: Offset(3 * number + 3),
            next_commit_number: 2 * number as u64 + 3,
            before: Before::Segment(before.unwrap_or(Predecessor {
                sequence: Sequence(1),
                lineage: Lineage(1),
                next_offset: Offset(3),
                next_commit_number: 3,
            })),
            vouches: true,
            standing: Lineage(1),
            found_unix_ms: 0,
            moved_to: "a name".to_owned(),
            reason: "a test".to_owned(),
        };
        before = Some(hole.end());
        let path = hole_path(rig.directory(), hole.id.sequence, hole.id.rewrite);
        fs::write(path, encode_hole(&hole)).expect("writable");
    }
    rig.again();
    assert_eq!(
        (rig.failed(), rig.told().len()),
        (None, FAULTS_WAITING_MAX + 2)
    );
    rig.rewind(100, false);
    pass(&mut rig);
    assert_eq!(rig.told(), Vec::<String>::new());
    assert_eq!(rig.rejects().len(), FAULTS_WAITING_MAX);
}

/// What holds the directory is told by its ticket: another sync's end would let it go.
#[test]
fn what_becomes_of_holes_has_its_own_ticket_and_ends_before_a_drain_does() {
    let mut rig = segments("met-tickets", 4);
    damage(&rig.segments()[3]);
    rig.again();
    meet(&rig);
    rig.on(StoreEvent::Tick);
    rig.settle();
    rig.open();
    let mut tickets = Vec::new();
    let mut closed = 0;
    let drained = |rig: &Rig| {
        let drained = |said: &StoreEffect| matches!(said, StoreEffect::Drained { .. });
        rig.said.iter().any(drained)
    };
    for _ in 0..8 {
        rig.load(1, "again");
        for ms in [rig.settings.flush_age_ms, rig.settings.sync_age_ms] {
            rig.now_ms += ms;
            rig.on(StoreEvent::Tick);
            rig.sync();
            while let Some(op) = rig.disk.front() {
                match op {
                    DiskOp::Sync { ticket, .. } => tickets.push(*ticket),
                    DiskOp::CloseHoles(holes) => {
                        tickets.push(holes.ticket);
                        closed += 1;
                        // Nothing is drained while what becomes of them is on its way.
                        rig.on(StoreEvent::Drain);
                        while rig.finish(|op| !matches!(op, DiskOp::CloseHoles(_))) {
                            rig.sync();
                        }
                        assert!(!drained(&rig));
                    }
                    _ => {}
                }
                rig.finish(|_| true);
                rig.sync();
            }
        }
    }
    assert_eq!((rig.told(), closed), (vec![], 1));
    assert!(drained(&rig));
    let mut once = tickets.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), tickets.len(), "{tickets:?}");
}
