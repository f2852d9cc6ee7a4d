//! What stands before and behind a damaged segment says what it held, and is believed no further than that.

use std::fs;

use storage::disk::DiskOp;
use storage::format::{Before, Hole, SegmentId, encode_hole, parse_hole};
use storage::ids::{LeafPartitionId, Lineage, Offset, Sequence, TableId};
use storage::limits::HOLES_MAX;
use storage::recovery::Note;
use storage::recovery::decide::Row;
use storage::store::{StoreEffect, StoreSettings};

use crate::damage::{commits_of, flip, plain};
use crate::rig::Rig;

/// Segments of four commits, each merged.
fn merging() -> StoreSettings {
    StoreSettings {
        segment_commits_max: 4,
        ..StoreSettings::default()
    }
}

/// A merge's inputs go one by one. Where a crash comes between two of them, the merged segment is in quarantine,
/// and what is left of its inputs hangs on nothing: the chain leads over the hole of the merge.
#[test]
fn a_damaged_merge_stands_for_inputs_that_are_half_gone() {
    let mut rig = Rig::new("half-gone", 1, merging());
    let newest = rig.directory().join("2.0.arrow");
    let mut input = Vec::new();
    for _ in 0..8 {
        rig.load(3, "a");
        for ms in [merging().flush_age_ms, merging().sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Unlink { .. }));
        }
        input = fs::read(&newest).unwrap_or(input);
        rig.settle();
    }
    assert_eq!(rig.names(), ["2.1.arrow"]);
    let merged = rig.directory().join("2.1.arrow");
    let bytes = fs::read(&merged).expect("readable");
    let text = bytes.windows(24).position(|found| found == [b'a'; 24]);
    flip(&merged, text.expect("24 texts"));
    rig.again();
    rig.read().expect_err("damaged");
    assert_eq!(rig.corrupt().next_offset.0, 24);
    fs::write(&newest, &input).expect("writable");
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 0));
        assert_eq!(rig.told(), ["offsets 0 to 23"]);
        assert_eq!(rig.names(), ["2.1.hole"]);
    }
}

/// Behind the last record of a merged segment stands none that says that it was there: without the index
/// nothing tells where it ended.
#[test]
fn a_merged_segment_without_its_index_does_not_tell_what_it_held() {
    let settings = StoreSettings {
        // Copied one by one.
        merge_rows_max: 3,
        ..merging()
    };
    let mut rig = Rig::new("no-index", 1, settings);
    for _ in 0..4 {
        rig.commit(3, "a");
    }
    let merged = rig.directory().join("1.1.arrow");
    let commits = commits_of(&merged);
    assert_eq!(commits.len(), 4);
    flip(&merged, commits[1].0 + 20);
    let last = fs::read(&merged).expect("readable").len() - 1;
    flip(&merged, last);
    for _ in 0..2 {
        rig.again();
        rig.is_refused_as_damaged(&merged);
    }
}

#[test]
fn what_stood_before_a_torn_header_may_be_a_merged_segment() {
    let mut rig = Rig::new("before-merged", 1, merging());
    for _ in 0..6 {
        rig.commit(3, "a");
    }
    assert_eq!(rig.names(), ["1.1.arrow", "2.0.arrow"]);
    flip(&rig.directory().join("2.0.arrow"), 40);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (12, 18));
    assert!(
        matches!(hole.before, Before::Segment(prev) if prev.sequence == Sequence(1)),
        "{hole:?}"
    );
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 12));
    assert_eq!(rig.told(), ["offsets 12 to 17"]);
}

/// The newest segment is in quarantine, and says all the same that what was before it was durable.
#[test]
fn a_hole_vouches_for_the_last_commit_before_it() {
    let mut rig = Rig::new("hole-vouches", 1, plain());
    for _ in 0..2 {
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    let segments = rig.segments();
    let first = commits_of(&segments[1])[0].0;
    flip(&segments[1], first + 20);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 3 to 5");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    let last = commits_of(&segments[0])[1].0;
    flip(&segments[0], last + 20);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 0));
    assert_eq!(rig.told(), ["offsets 0 to 2", "offsets 3 to 5"]);
}

/// A file of the right name and number of commits, of another history: it does not end where it should.
#[test]
fn a_file_of_another_history_is_not_what_stood_before() {
    let mut other = Rig::new("history-other", 1, plain());
    let mut rig = Rig::new("history-own", 1, plain());
    for _ in 0..2 {
        other.commit(1, "b");
        other.commit(1, "b");
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    fs::copy(&other.segments()[0], &rig.segments()[0]).expect("copied");
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 0 to 2"]);
}

/// One of a merge's inputs is there again, and begins with the first record that the merged segment still has:
/// it is not what stood before it.
#[test]
fn what_stood_before_a_torn_merge_is_not_one_of_its_inputs() {
    let settings = StoreSettings {
        merge_rows_mean_min: 10,
        ..merging()
    };
    let mut rig = Rig::new("before-merge", 1, settings);
    for _ in 0..4 {
        rig.commit(60, "a");
    }
    let (input, mut bytes) = (rig.directory().join("2.1.arrow"), Vec::new());
    for _ in 0..8 {
        rig.load(3, "a");
        for ms in [merging().flush_age_ms, merging().sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Unlink { .. }));
        }
        bytes = fs::read(&input).unwrap_or(bytes);
        rig.settle();
    }
    assert_eq!(rig.names(), ["1.0.arrow", "3.1.arrow"]);
    fs::write(&input, &bytes).expect("writable");
    flip(&rig.directory().join("3.1.arrow"), 40);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (240, 264));
    assert!(
        matches!(hole.before, Before::Segment(prev) if prev.sequence == Sequence(1)),
        "{hole:?}"
    );
}

/// The one before it is in quarantine: its hole is what ends where the torn one began.
#[test]
fn what_stood_before_a_torn_header_may_be_in_quarantine() {
    let mut rig = Rig::new("before-gone", 1, plain());
    for _ in 0..4 {
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    let segments = rig.segments();
    flip(&segments[1], commits_of(&segments[1])[0].0 + 20);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 3 to 5");
    flip(&segments[2], 40);
    rig.again();
    let hole = rig.corrupt();
    assert!(
        matches!(hole.before, Before::Segment(prev) if prev.sequence == Sequence(2)),
        "{hole:?}"
    );
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 6));
    assert_eq!(rig.told(), ["offsets 3 to 5", "offsets 6 to 8"]);
}

fn notes(rig: &Rig) -> Vec<Note> {
    let report = rig.said.iter().rev().find_map(|said| match said {
        StoreEffect::Recovered(report) => Some(report.notes.clone()),
        _ => None,
    });
    report.expect("it recovered")
}

#[test]
fn a_start_after_a_clean_end_tells_nobody_and_one_after_damage_does() {
    let mut rig = Rig::new("clean", 1, merging());
    for _ in 0..6 {
        rig.commit(3, "a");
    }
    rig.again();
    assert_eq!(rig.names(), ["1.1.arrow", "2.0.arrow"]);
    let routine = |rig: &Rig| notes(rig).iter().all(|note| note.row.is_routine());
    assert!(routine(&rig), "{:?}", notes(&rig));
    let lineages = |rig: &Rig| {
        let notes = notes(rig);
        let new = notes.iter().filter(|note| note.row == Row::NewLineage);
        new.count()
    };
    assert_eq!(lineages(&rig), 0);
    // The catalog has one more, and the process ended before its segment was there.
    rig.start.lineage.0 += 1;
    rig.start.start_offset = Offset(18);
    rig.again();
    assert_eq!((lineages(&rig), routine(&rig)), (1, true));
    rig.again();
    assert_eq!((lineages(&rig), routine(&rig)), (0, true));
    let newest = rig.segments().pop().expect("a segment");
    rig.load(2, "a");
    rig.pass(rig.settings.flush_age_ms);
    flip(&newest, commits_of(&newest)[0].0 + 20);
    rig.again();
    assert!(!routine(&rig), "{:?}", notes(&rig));
}

/// A hole of the sequence, cut out of one that is there.
fn planted(rig: &Rig, change: impl FnOnce(&mut Hole)) {
    let bytes = fs::read(rig.directory().join("2.0.hole")).expect("readable");
    let mut hole = parse_hole(&bytes).expect("a hole");
    change(&mut hole);
    let name = format!("{}.{}.hole", hole.id.sequence.0, hole.id.rewrite.0);
    fs::write(rig.directory().join(name), encode_hole(&hole)).expect("writable");
}

/// The second of three is in quarantine.
pub fn with_hole(name: &str) -> Rig {
    let mut rig = Rig::new(name, 1, plain());
    for _ in 0..3 {
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    let segment = &rig.segments()[1];
    flip(segment, commits_of(segment)[0].0 + 20);
    rig.again();
    rig.corrupt();
    rig.again();
    assert_eq!(
        (rig.failed(), rig.told()),
        (None, vec!["offsets 3 to 5".to_owned()])
    );
    rig
}

#[test]
fn a_hole_of_somewhere_else_is_refused() {
    type Change = fn(&mut Hole);
    let changes: [(Change, &str); 3] = [
        (|hole| hole.table = TableId(7), "is of 7/1/2.0"),
        (
            |hole| hole.id.leaf_partition = LeafPartitionId(7),
            "is of 1/7/2.0",
        ),
        (
            |hole| hole.lineage = Lineage(7),
            "knows lineage 7, the catalog says 1",
        ),
    ];
    for (change, says) in changes {
        let mut rig = with_hole("hole-foreign");
        planted(&rig, change);
        rig.again();
        let failed = rig.failed().map(ToString::to_string).unwrap_or_default();
        assert!(failed.contains(says), "{failed}");
    }
}

#[test]
fn of_a_hole_and_a_bridge_the_hole_counts() {
    let mut rig = with_hole("hole-and-bridge");
    let path = |name: &str| rig.directory().join(name);
    fs::copy(path("2.0.hole"), path("2.0.bridge")).expect("copied");
    rig.again();
    assert_eq!(
        (rig.failed(), rig.told()),
        (None, vec!["offsets 3 to 5".to_owned()])
    );
    assert_eq!(rig.names(), ["1.0.arrow", "2.0.hole", "3.0.arrow"]);
}

/// Whole or torn.
#[test]
fn more_holes_than_a_sound_disk_leaves_are_refused() {
    let mut rig = with_hole("hole-many");
    let count = i64::try_from(HOLES_MAX).expect("a few");
    for number in 1..count {
        planted(&rig, |hole| {
            let id = SegmentId {
                sequence: Sequence(hole.id.sequence.0 + 9 + number as u64),
                ..hole.id
            };
            *hole = Hole { id, ..hole.clone() };
        });
    }
    rig.again();
    assert_eq!(rig.failed(), None);
    fs::write(rig.directory().join("3000.0.hole"), b"torn").expect("writable");
    rig.again();
    let failed = rig.failed().map(ToString::to_string).unwrap_or_default();
    assert!(failed.contains("holds more than 1024 holes"), "{failed}");
}

/// What it held is there: it is not missing, wherever a later lineage stands by now.
#[test]
fn a_segment_that_is_put_back_closes_its_hole_in_a_later_lineage_too() {
    let mut rig = Rig::new("put-back-later", 1, plain());
    for _ in 0..3 {
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    let segment = rig.segments()[1].clone();
    let whole = fs::read(&segment).expect("readable");
    flip(&segment, commits_of(&segment)[0].0 + 20);
    rig.again();
    rig.corrupt();
    rig.again();
    rig.rewind(0, false);
    rig.again();
    assert_eq!(
        (rig.failed(), rig.told()),
        (None, vec!["offsets 3 to 5".to_owned()])
    );
    fs::write(&segment, whole).expect("writable");
    rig.again();
    assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 9));
    assert!(
        !rig.names().iter().any(|name| name.ends_with("hole")),
        "{:?}",
        rig.names()
    );
}

#[test]
fn a_hole_becomes_a_bridge_once() {
    let mut rig = with_hole("bridge-once");
    rig.start.lineage.0 += 1;
    rig.start.start_offset = Offset(6);
    for expected in [1, 0, 0] {
        rig.again();
        assert_eq!((rig.failed(), rig.told()), (None, vec![]));
        assert!(rig.names().contains(&"2.0.bridge".to_owned()));
        let notes = notes(&rig);
        let bridges = notes.iter().filter(|note| note.row == Row::HoleBridge);
        assert_eq!(bridges.count(), expected, "{notes:?}");
    }
}

/// The header of the merged segment is torn, and nothing tells what stood before it; an input is there again.
#[test]
fn a_torn_merge_of_which_nothing_tells_where_it_began_is_refused() {
    let mut rig = Rig::new("torn-merge", 1, merging());
    let (input, mut bytes) = (rig.directory().join("2.0.arrow"), Vec::new());
    for _ in 0..8 {
        rig.load(3, "a");
        for ms in [merging().flush_age_ms, merging().sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Unlink { .. }));
        }
        bytes = fs::read(&input).unwrap_or(bytes);
        rig.settle();
    }
    flip(&rig.directory().join("2.1.arrow"), 40);
    rig.again();
    assert_eq!(rig.corrupt().before, Before::Unknown);
    fs::write(&input, &bytes).expect("writable");
    rig.again();
    let failed = rig.failed().map(ToString::to_string).unwrap_or_default();
    assert!(
        failed.contains("nothing tells what stood before them"),
        "{failed}"
    );
}

/// Commits of three rows each, up to the maximum together.
#[test]
fn merged_commits_hold_as_many_rows_as_they_may() {
    for (rows_max, expected) in [(12, 1), (11, 2), (6, 2), (5, 4), (3, 4)] {
        let settings = StoreSettings {
            merge_rows_max: rows_max,
            ..merging()
        };
        let mut rig = Rig::new("grouped", 1, settings);
        for _ in 0..4 {
            rig.commit(3, "a");
        }
        assert_eq!(rig.names(), ["1.1.arrow"]);
        let merged = rig.directory().join("1.1.arrow");
        assert_eq!(commits_of(&merged).len(), expected, "{rows_max}");
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 12));
    }
}

/// A crash left it where it was, beside its hole, and a power loss took its last commit: what the hole tells is
/// more than what is there.
#[test]
fn a_segment_that_was_cut_beside_its_hole_goes_all_the_same() {
    let mut rig = Rig::new("cut-beside", 1, plain());
    for _ in 0..2 {
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    let newest = rig.segments()[1].clone();
    let (whole, commits) = (fs::read(&newest).expect("readable"), commits_of(&newest));
    flip(&newest, commits[0].0 + 20);
    rig.again();
    rig.corrupt();
    fs::write(&newest, &whole[..commits[1].0]).expect("writable");
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 3 to 5");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
}

#[test]
fn what_a_hole_hangs_on_is_there_or_named() {
    let mut rig = with_hole("hangs-on-nothing");
    fs::remove_file(rig.directory().join("1.0.arrow")).expect("removed");
    for _ in 0..2 {
        rig.again();
        let failed = rig.failed().map(ToString::to_string).unwrap_or_default();
        assert!(failed.contains("1.0.arrow: is missing"), "{failed}");
    }
}

/// Its segment was never durable, and neither was what stood before it: both are loaded again.
#[test]
fn a_hole_that_vouches_for_nothing_hangs_on_nothing() {
    let mut rig = with_hole("vouches-for-nothing");
    planted(&rig, |hole| hole.vouches = false);
    for name in ["1.0.arrow", "3.0.arrow"] {
        fs::remove_file(rig.directory().join(name)).expect("removed");
    }
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 0));
        assert_eq!(rig.told(), ["offsets 3 to 5"]);
    }
    rig.commit(3, "again");
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
    rig.commit(3, "again");
    assert_eq!((rig.told(), rig.rows()), (vec![], 6));
}

/// The catalog has the next lineage, and the process ended before its segment was there: where the last one
/// stood says nothing of how far this one has come.
#[test]
fn a_lineage_that_has_not_begun_has_loaded_nothing_again() {
    let mut rig = with_hole("not-begun");
    rig.start.lineage.0 += 1;
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 6));
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
    assert_eq!(rig.store.cursors().visible, Offset(0));
}

#[test]
fn the_newest_segment_is_gone_on_with_after_a_restart() {
    let mut rig = Rig::new("gone-on-with", 1, StoreSettings::default());
    for _ in 0..3 {
        rig.commit(2, "a");
        rig.again();
    }
    assert_eq!((rig.names(), rig.rows()), (vec!["1.0.arrow".to_owned()], 6));
}
