//! What stood before a segment that lost its header: what still tells that is believed, and nothing is guessed.

use std::fs;
use std::path::Path;

use storage::disk::DiskOp;
use storage::format::{Before, Predecessor, parse_header};
use storage::ids::{Lineage, Offset, Sequence};
use storage::store::{StoreEvent, StoreSettings};

use crate::damage::{commits_of, flip, plain};
use crate::holes::{taken_back, taken_back_with_one_behind};
use crate::rig::Rig;

/// A byte of its header.
const HEADER: usize = 40;

/// A kill came before a segment went that was begun behind what was taken back, and it is nobody's: what stood before
/// the one that was begun in its place is what was kept.
#[test]
fn what_begins_behind_a_torn_one_of_its_lineage_was_taken_back() {
    let (mut rig, behind, bytes) = taken_back_with_one_behind("before-behind");
    rig.commit(2, "again");
    rig.commit(1, "and more");
    let torn = rig.segments().pop().expect("begun in its place");
    fs::write(&behind, bytes).expect("not unlinked");
    assert_eq!(rig.segments().len(), 3, "{:?}", rig.names());
    flip(&torn, HEADER);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(hole.offsets(), "offsets 3 to 5");
    let kept = Predecessor {
        sequence: Sequence(1),
        lineage: Lineage(1),
        next_offset: Offset(3),
        next_commit_number: 2,
    };
    assert_eq!(hole.before, Before::Segment(kept));
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 3));
        assert_eq!(rig.told(), ["offsets 3 to 5"]);
    }
}

/// The one before it reached where it began until it was damaged itself, and what was taken back before both has a
/// boundary there by chance.
#[test]
fn what_was_taken_back_is_not_what_stood_before_where_the_one_between_is_damaged() {
    let (mut rig, _, _) = taken_back_with_one_behind("before-between");
    for (rows, text) in [(1, "again"), (1, "again"), (2, "more"), (1, "more")] {
        rig.commit(rows, text);
    }
    let segments = rig.segments();
    let [_, between, torn] = &segments[..] else {
        panic!("three segments: {segments:?}");
    };
    flip(between, commits_of(between)[1].0 + 20);
    flip(torn, HEADER);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(hole.offsets(), "offsets 5 to 7");
    assert_eq!(hole.before, Before::Unknown);
}

/// Turns bits all over what stands behind the header, and one in that.
fn lose_all(path: &Path) {
    let bytes = fs::read(path).expect("it is there");
    let header = parse_header(&bytes).expect("a header").bytes as usize;
    let at = (header..bytes.len()).step_by(64);
    at.for_each(|at| flip(path, at + 20.min(bytes.len() - at - 1)));
    flip(path, HEADER);
}

/// It ended where what was taken back has a boundary too, which says nothing of where it began.
#[test]
fn a_segment_whose_records_are_all_lost_is_no_empty_one() {
    let mut rig = taken_back("before-lost");
    rig.commit(2, "again");
    rig.on(StoreEvent::Drain);
    rig.settle();
    rig.rewind(20, false);
    let segments = rig.segments();
    assert_eq!(segments.len(), 3, "{segments:?}");
    lose_all(&segments[1]);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(hole.next_offset, Offset(5));
    assert_eq!(hole.before, Before::Unknown);
}

/// The last segment of the lineage before it is in quarantine and ended where it began. Whether that is what it hung
/// on only its header said: a lineage begins where a person wants it to.
#[test]
fn a_hole_of_an_earlier_lineage_is_not_what_stood_before() {
    let mut rig = Rig::new("before-lineage", 1, plain());
    for _ in 0..2 {
        rig.commit(2, "a");
        rig.commit(1, "a");
    }
    rig.rewind(6, false);
    rig.commit(2, "b");
    rig.commit(1, "b");
    let segments = rig.segments();
    let [_, last, torn] = &segments[..] else {
        panic!("three segments: {segments:?}");
    };
    flip(last, commits_of(last)[0].0 + 20);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(
        (hole.offsets().as_str(), hole.lineage),
        ("offsets 3 to 5", Lineage(1))
    );
    flip(torn, HEADER);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(
        (hole.offsets().as_str(), hole.lineage),
        ("offsets 6 to 8", Lineage(2))
    );
    assert_eq!(hole.before, Before::Unknown);
}

/// A merged segment lost its header and its first record, and the input is there again that ends just where the
/// second begins: what stood before that is all there.
#[test]
fn what_ends_where_the_first_record_that_is_left_begins_stood_before_it() {
    let settings = StoreSettings {
        segment_commits_max: 4,
        merge_rows_max: 12,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("before-second", 1, settings);
    let (input, mut bytes) = (rig.directory().join("1.1.arrow"), Vec::new());
    for _ in 0..8 {
        rig.load(3, "a");
        for ms in [rig.settings.flush_age_ms, rig.settings.sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Unlink { .. }));
        }
        bytes = fs::read(&input).unwrap_or(bytes);
        rig.settle();
    }
    assert_eq!(rig.names(), ["2.1.arrow"]);
    let merged = rig.segments().remove(0);
    let [(first, _), _] = commits_of(&merged)[..] else {
        panic!("two commits of twelve rows");
    };
    fs::write(&input, bytes).expect("writable");
    flip(&merged, first + 20);
    flip(&merged, HEADER);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(hole.offsets(), "offsets 12 to 23");
    let prev = Predecessor {
        sequence: Sequence(1),
        lineage: Lineage(1),
        next_offset: Offset(12),
        next_commit_number: 5,
    };
    assert_eq!(hole.before, Before::Segment(prev));
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 12));
        assert_eq!(rig.told(), ["offsets 12 to 23"]);
    }
}
