//! Merged segments: their footers, and what is merged at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use storage::disk::{DiskOp, Failure};
use storage::ids::Lineage;
use storage::limits::{INDEX_BYTES_MAX, MERGE_COPY_BYTES, MERGE_RETRY_MS};
use storage::merge::{Candidate, choose};
use storage::store::{StoreEvent, StoreSettings};

use crate::rig::Rig;
use crate::watched::Watched;

/// Segments of four commits, each merged.
fn trickle() -> StoreSettings {
    StoreSettings {
        segment_commits_max: 4,
        ..StoreSettings::default()
    }
}

#[test]
fn a_merged_segment_whose_footer_is_torn_is_never_opened_again() {
    let mut rig = Rig::new("torn-footer", 1, trickle());
    for _ in 0..4 {
        rig.commit(3, "a");
    }
    let merged = rig.segments().pop().expect("a segment");
    assert!(merged.ends_with("1.1.arrow"), "{merged:?}");
    let bytes = std::fs::read(&merged).expect("it is there");
    let mut torn = bytes.clone();
    *torn.last_mut().expect("a magic") ^= 1;
    std::fs::write(&merged, torn).expect("it can be written");
    // The footer is mended in its place; what is loaded then goes into the next segment.
    for restart in 1..=2 {
        rig.again();
        assert_eq!(std::fs::read(&merged).expect("it is there"), bytes);
        rig.commit(3, "b");
        assert_eq!(rig.rows(), 12 + 3 * restart);
    }
    assert_eq!(rig.names()[0], "1.1.arrow", "{:?}", rig.names());
}

#[test]
fn a_merge_keeps_the_newest_batches_one_by_one_and_the_others_as_one() {
    let settings = StoreSettings {
        batches_kept: 3,
        ..trickle()
    };
    let mut rig = Rig::new("history", 1, settings);
    for _ in 0..4 {
        rig.commit(3, "a");
    }
    rig.commit(2, "b");
    let check = |rig: &Rig| {
        let numbers: Vec<u64> = rig.history().iter().map(|one| one.commit_number).collect();
        let offsets: Vec<(i64, i64)> = (rig.history().iter())
            .map(|one| (one.first_offset.0, one.next_offset.0))
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        assert_eq!(offsets, [(0, 3), (3, 6), (6, 9), (9, 12), (12, 14)]);
        assert_eq!(rig.rows(), 14);
    };
    // Commit 1 alone is below the newest three of the four that were there.
    check(&rig);
    for _ in 0..3 {
        rig.commit(2, "b");
    }
    for restart in [false, true] {
        if restart {
            rig.again();
        }
        let history = rig.history();
        let numbers: Vec<u64> = history.iter().map(|one| one.commit_number).collect();
        assert_eq!(numbers, [5, 6, 7, 8]);
        let sum = history[0];
        assert_eq!(
            (sum.first_offset.0, sum.next_offset.0, sum.rows),
            (0, 14, 14)
        );
        assert_eq!((sum.counts.loaded, sum.extracted_bytes), (14, 500));
        assert_eq!(rig.rows(), 20);
        assert_eq!(rig.names(), ["2.1.arrow"]);
    }
}

#[test]
fn a_merge_that_cannot_map_its_result_is_given_up_and_made_again() {
    let mut rig = Rig::new("no-maps", 1, trickle());
    for _ in 0..3 {
        rig.commit(3, "a");
    }
    rig.load(3, "a");
    let disk = Watched::without_maps();
    let merges = |op: &DiskOp| matches!(op, DiskOp::Merge(_));
    for ms in [rig.settings.flush_age_ms, rig.settings.sync_age_ms] {
        rig.now_ms += ms;
        rig.on(StoreEvent::Tick);
        while !rig.disk.iter().any(merges) && rig.step() {}
    }
    assert!(rig.finish_on(&disk, merges));
    assert_eq!(disk.said(), ["rename to 1.1.arrow", "sync 1"]);
    rig.settle();
    assert_eq!((rig.failed(), rig.rows()), (None, 12));
    assert_eq!(rig.names(), ["1.0.arrow"]);
    let again_ms = rig.now_ms + MERGE_RETRY_MS;
    assert_eq!(rig.store.next_deadline_ms(), Some(again_ms));
    rig.pass(MERGE_RETRY_MS);
    assert_eq!(rig.store.next_deadline_ms(), None);
    assert_eq!((rig.failed(), rig.rows()), (None, 12));
    assert_eq!(rig.names(), ["1.1.arrow"]);
}

/// Loads until a merge is due and has not begun.
fn up_to_a_merge(rig: &mut Rig, text: &str) {
    let merges = |op: &DiskOp| matches!(op, DiskOp::Merge(_));
    for _ in 0..3 {
        rig.commit(3, text);
    }
    rig.load(3, text);
    for ms in [rig.settings.flush_age_ms, rig.settings.sync_age_ms] {
        rig.now_ms += ms;
        rig.on(StoreEvent::Tick);
        while !rig.disk.iter().any(merges) && rig.step() {}
    }
}

/// It may take as much as its inputs have, beside what is kept for others; to the byte.
#[test]
fn a_merge_that_finds_too_little_room_is_given_up() {
    for less in [0, 1, 2, 1_000] {
        let mut rig = Rig::new("merge-room", 1, trickle());
        up_to_a_merge(&mut rig, "a");
        let Some(DiskOp::Merge(merge)) = rig.disk.front() else {
            panic!("a merge is due: {:?}", rig.disk);
        };
        let commits = merge.inputs.iter().flat_map(|input| &input.commits);
        let bytes: u64 = commits.map(|commit| commit.record().message_bytes()).sum();
        let disk = Watched::with_room(bytes + merge.reserve_bytes - less);
        assert!(rig.finish_on(&disk, |_| true));
        rig.settle();
        let name = if less == 0 { "1.1.arrow" } else { "1.0.arrow" };
        assert_eq!((rig.names(), rig.rows()), (vec![name.to_owned()], 12));
        assert_eq!(rig.failed(), None);
    }
}

#[test]
fn a_commit_that_is_copied_a_part_at_a_time_is_copied_whole() {
    let settings = StoreSettings {
        segment_commits_max: 2,
        merge_rows_max: 10,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("copied-in-parts", 1, settings);
    let text = "0123456789abcde ".repeat(MERGE_COPY_BYTES / 16 / 8);
    for _ in 0..2 {
        rig.make_room(10 * text.len() as u32);
        rig.commit(10, &text);
    }
    assert_eq!(rig.names(), ["1.1.arrow"]);
    let bytes = fs::metadata(&rig.segments()[0]).expect("there").len();
    assert!(bytes / 2 > MERGE_COPY_BYTES as u64, "{bytes}");
    assert_eq!(rig.read().expect("sound"), 20);
    rig.again();
    assert_eq!(rig.read().expect("sound"), 20);
}

/// Turns a bit of a row that `load` made of "damage-me", in its place: a map sees it.
fn flip(path: &Path, at: u64) {
    let byte = fs::read(path).expect("readable")[at as usize];
    let file = fs::OpenOptions::new().write(true).open(path);
    let wrote = file.expect("writable").write_all_at(&[byte ^ 1], at);
    wrote.expect("written");
}

fn turn_a_bit(rig: &Rig) {
    let path = rig.directory().join("1.0.arrow");
    let mut bytes = fs::read(&path).expect("readable");
    // Statistics have it as well, but only rows twice in a row.
    let text = b"damage-medamage-me";
    let at = bytes.windows(text.len()).position(|found| found == text);
    bytes[at.expect("a text")] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&path);
    let wrote = file.expect("writable").write_all_at(&bytes, 0);
    wrote.expect("written");
}

/// What readers have checked once they trust; a merge would put a fresh checksum on what it is by now.
#[test]
fn a_merge_checks_anew_what_readers_have_checked_before() {
    let mut settings = trickle();
    // Merged with their neighbours, and copied one by one.
    for (name, rows_max) in [("anew-merged", settings.merge_rows_max), ("anew-copied", 3)] {
        settings.merge_rows_max = rows_max;
        let mut rig = Rig::new(name, 1, settings.clone());
        for _ in 0..3 {
            rig.commit(3, "damage-me");
        }
        rig.load(3, "damage-me");
        let merges = |op: &DiskOp| matches!(op, DiskOp::Merge(_));
        for ms in [rig.settings.flush_age_ms, rig.settings.sync_age_ms] {
            rig.now_ms += ms;
            rig.on(StoreEvent::Tick);
            while !rig.disk.iter().any(merges) && rig.step() {}
        }
        let snapshot = rig.store.view().snapshot();
        for part in snapshot.parts() {
            part.read(&[0, 1, 2]).expect("sound");
        }
        assert_eq!(snapshot.rows(), 12, "{name}");
        drop(snapshot);
        turn_a_bit(&rig);
        assert!(rig.finish(merges), "{name}");
        rig.settle();
        for _ in 0..4 {
            rig.pass(100);
        }
        let failed = rig.failed().map(|failed| format!("{failed:?}"));
        assert!(
            failed
                .as_ref()
                .is_some_and(|said| said.contains("checksum mismatch in column")),
            "{name}: {failed:?}"
        );
        assert!(!rig.names().contains(&"1.1.arrow".to_owned()), "{name}");
    }
}

/// A stopped partition leaves damage where it is: not to be read again by a merge once a minute.
#[test]
fn beside_damage_that_waits_nothing_is_merged() {
    let mut rig = Rig::new("damage-waits", 1, trickle());
    for _ in 0..3 {
        rig.commit(3, "damage-me");
    }
    rig.store.set_resting(true);
    turn_a_bit(&rig);
    rig.read().expect_err("damaged");
    let merges = |op: &DiskOp| matches!(op, DiskOp::Merge(_));
    rig.load(3, "damage-me");
    for ms in [
        rig.settings.flush_age_ms,
        rig.settings.sync_age_ms,
        MERGE_RETRY_MS,
        MERGE_RETRY_MS,
    ] {
        rig.now_ms += ms;
        rig.on(StoreEvent::Tick);
        while rig.step() {
            assert!(!rig.disk.iter().any(merges));
        }
    }
    assert_eq!(rig.names(), ["1.0.arrow"]);
    assert_eq!((rig.failed(), rig.store.next_deadline_ms()), (None, None));
    rig.store.set_resting(false);
    rig.on(StoreEvent::Tick);
    rig.settle();
    assert!(rig.failed().is_some(), "it goes now");
}

#[test]
fn a_merge_takes_no_more_records_than_its_index_may_hold() {
    let candidate = |index_bytes| Candidate {
        ready: true,
        merged: false,
        follows: true,
        lineage: Lineage(1),
        schema_version: 1,
        commits: 4_096,
        rows: 4_096,
        bytes: 1 << 20,
        index_bytes,
    };
    let choose = |of: &[u64]| {
        let candidates: Vec<Candidate> = of.iter().map(|bytes| candidate(*bytes)).collect();
        choose(&candidates, &StoreSettings::default())
    };
    let third = INDEX_BYTES_MAX / 3;
    assert_eq!(choose(&[third, third, third]), Some(0..3));
    assert_eq!(choose(&[third, third, third + 1, third]), Some(1..4));
    assert_eq!(choose(&[third, INDEX_BYTES_MAX]), Some(1..2));
    // Beyond what a reader follows.
    assert_eq!(choose(&[2 * INDEX_BYTES_MAX + 1]), None);
}

/// Loads until all is merged into 2.1, and gives each segment that was there as it was last.
fn merged(rig: &mut Rig) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut inputs = BTreeMap::new();
    for _ in 0..8 {
        rig.load(3, "a");
        for ms in [trickle().flush_age_ms, trickle().sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Unlink { .. }));
        }
        for path in rig.segments() {
            let bytes = fs::read(&path).expect("it is there");
            inputs.insert(path, bytes);
        }
        rig.settle();
    }
    assert_eq!(rig.names(), ["2.1.arrow"]);
    inputs
}

/// A power loss takes the unlinking of a merge's inputs back; then the merged segment and the newest input are
/// damaged. What the other input holds stays: it is not what stood before the merge.
#[test]
fn an_input_of_a_damaged_merge_is_not_what_stood_before_it() {
    let mut rig = Rig::new("damaged-merge", 1, trickle());
    let inputs = merged(&mut rig);
    let path = |name: &str| rig.directory().join(name);
    let (merged, newest) = (path("2.1.arrow"), path("2.0.arrow"));
    for (path, bytes) in &inputs {
        if path.ends_with("1.1.arrow") || *path == newest {
            fs::write(path, bytes).expect("it can be written");
        }
    }
    for path in [merged, newest] {
        flip(&path, 40);
        rig.again();
        assert!(
            matches!(rig.failed(), Some(Failure::Corrupt { .. })),
            "{:?}",
            rig.failed()
        );
    }
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 12));
    assert_eq!(rig.told(), ["offsets 12 to 23", "offsets 0 to 23"]);
}

/// Nothing is done about what stands around a hole that says nothing any more.
#[test]
fn a_torn_hole_of_a_merge_is_refused_before_its_input_goes() {
    let mut rig = Rig::new("torn-hole-of-merge", 1, trickle());
    let inputs = merged(&mut rig);
    let input = rig.directory().join("2.0.arrow");
    fs::write(&input, &inputs[&input]).expect("it can be written");
    flip(&rig.directory().join("2.1.arrow"), 40);
    rig.again();
    assert!(matches!(rig.failed(), Some(Failure::Corrupt { .. })));
    let hole = rig.directory().join("2.1.hole");
    flip(&hole, 30);
    for _ in 0..2 {
        rig.again();
        rig.is_refused_as_damaged(&hole);
        assert!(input.exists() && hole.exists());
    }
}

/// It waits as long as behind any other that was given up, and not for ever.
#[test]
fn a_merge_that_met_damage_is_not_the_last_one() {
    let mut rig = Rig::new("damage-not-last", 1, trickle());
    up_to_a_merge(&mut rig, "damage-me");
    turn_a_bit(&rig);
    let until_ms = rig.now_ms + MERGE_RETRY_MS;
    rig.settle();
    assert!(matches!(rig.failed(), Some(Failure::Corrupt { .. })));
    rig.said.clear();
    rig.open();
    for _ in 0..5 {
        rig.commit(3, "again");
    }
    assert_eq!((rig.failed(), rig.rows()), (None, 15));
    assert!(rig.now_ms < until_ms);
    assert_eq!(rig.names(), ["2.0.arrow", "3.0.arrow"]);
    rig.pass(until_ms - rig.now_ms - 1);
    assert_eq!(rig.names(), ["2.0.arrow", "3.0.arrow"]);
    assert_eq!(rig.store.next_deadline_ms(), Some(until_ms));
    rig.pass(1);
    assert_eq!(rig.names(), ["2.1.arrow", "3.0.arrow"]);
}

/// One that rests leaves the damage where it is, and nothing wakes it for a merge that is not made.
#[test]
fn a_merge_that_met_damage_is_forgotten_while_the_partition_rests() {
    let mut rig = Rig::new("damage-rests", 1, trickle());
    up_to_a_merge(&mut rig, "damage-me");
    rig.store.set_resting(true);
    turn_a_bit(&rig);
    rig.settle();
    assert_eq!(rig.failed(), None);
    assert_eq!(
        rig.store.next_deadline_ms(),
        Some(rig.now_ms + MERGE_RETRY_MS)
    );
    rig.pass(MERGE_RETRY_MS);
    assert_eq!((rig.failed(), rig.store.next_deadline_ms()), (None, None));
}
