//! What stands before and behind a damaged segment says what it held, and is believed no further than that.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use storage::disk::{DiskOp, Failure};
use storage::format::{Before, Hole, parse_commit, parse_header};
use storage::ids::Sequence;
use storage::store::StoreSettings;

use crate::rig::Rig;

/// Segments of four commits, each merged.
fn merging() -> StoreSettings {
    StoreSettings {
        segment_commits_max: 4,
        ..StoreSettings::default()
    }
}

/// Segments of two commits, left as they are.
fn plain() -> StoreSettings {
    StoreSettings {
        segment_commits_max: 2,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    }
}

/// Turns a bit in its place: a map sees it.
fn flip(path: &Path, at: usize) {
    let byte = fs::read(path).expect("readable")[at];
    let file = fs::OpenOptions::new().write(true).open(path);
    let wrote = file.expect("writable").write_all_at(&[byte ^ 1], at as u64);
    wrote.expect("written");
}

/// Where each commit begins.
fn commits(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).expect("readable");
    let mut at = parse_header(&bytes).expect("a header").bytes as usize;
    let mut commits = Vec::new();
    while let Ok(record) = parse_commit(&bytes[at..]) {
        commits.push(at);
        at += record.message_bytes() as usize;
    }
    commits
}

fn corrupt(rig: &Rig) -> Hole {
    match rig.failed() {
        Some(Failure::Corrupt {
            hole: Some(hole), ..
        }) => Hole::clone(hole),
        other => panic!("{other:?}"),
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
    assert_eq!(corrupt(&rig).next_offset.0, 24);
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
    let commits = commits(&merged);
    assert_eq!(commits.len(), 4);
    flip(&merged, commits[1] + 20);
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
    let hole = corrupt(&rig);
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
    let first = commits(&segments[1])[0];
    flip(&segments[1], first + 20);
    rig.again();
    assert_eq!(corrupt(&rig).offsets(), "offsets 3 to 5");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    let last = commits(&segments[0])[1];
    flip(&segments[0], last + 20);
    rig.again();
    assert_eq!(corrupt(&rig).offsets(), "offsets 0 to 2");
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
    assert_eq!(corrupt(&rig).offsets(), "offsets 0 to 2");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 0 to 2"]);
}
