//! What a segment in quarantine held is told at every start, until it is loaded again or given up.

use std::path::PathBuf;

use storage::disk::{DiskOp, Failure};
use storage::format::{Before, Hole, parse_hole};
use storage::ids::Sequence;
use storage::store::{StoreEvent, StoreSettings};

use crate::damage::{commits_of, flip, places, plain, segments};
use crate::rig::Rig;
use crate::watched::Watched;

fn quarantine(rig: &Rig) -> PathBuf {
    let data_dir = rig.directory().ancestors().nth(3).expect("data_dir");
    data_dir.join("quarantine")
}

/// Turns a bit of a text of segment `number` and starts again: a reader meets it.
fn damaged(rig: &mut Rig, number: usize) -> Hole {
    let segments = rig.segments();
    let path = &segments[number - 1];
    flip(path, places(path).1);
    rig.again();
    assert_eq!(rig.failed(), None);
    let error = rig.read().expect_err("never fewer rows").to_string();
    assert!(error.contains("checksum mismatch in column 0"), "{error}");
    rig.corrupt()
}

#[test]
fn the_newest_segments_damage_is_told_at_every_start_until_it_is_loaded_again() {
    let mut rig = segments("hole-newest", 4);
    let hole = damaged(&mut rig, 4);
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (9, 12));
    let moved = rig.failed().expect("it failed").to_string();
    let said = "4.0.arrow: checksum mismatch in column 0, buffer 2 at byte ";
    assert!(moved.contains(said), "{moved}");
    let said = "; the whole segment moved to quarantine/1-1-4.0.arrow, and with it offsets 9 to 11";
    assert!(moved.ends_with(said), "{moved}");
    assert!(quarantine(&rig).join("1-1-4.0.arrow").is_file());
    // As long as the process lives, and at each start.
    assert_eq!(rig.told(), ["offsets 9 to 11"]);
    for _ in 0..3 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 9));
        assert_eq!(rig.told(), ["offsets 9 to 11"]);
        let names = ["1.0.arrow", "2.0.arrow", "3.0.arrow", "4.0.hole"];
        assert_eq!(rig.names(), names);
        let bytes = std::fs::read(rig.directory().join("4.0.hole")).expect("there");
        assert_eq!(parse_hole(&bytes).as_ref(), Ok(&hole));
    }
    // It fell back to before it, and loads on: told until the last of it is durable.
    assert_eq!(rig.store.cursors().visible.0, 9);
    rig.commit(2, "again");
    rig.load(1, "again");
    rig.pass(rig.settings.flush_age_ms);
    assert_eq!((rig.rows(), rig.store.cursors().durable.0), (12, 11));
    assert_eq!(rig.told(), ["offsets 9 to 11"]);
    rig.pass(rig.settings.sync_age_ms);
    rig.pass(rig.settings.flush_age_ms);
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(rig.told(), Vec::<String>::new());
    assert!(!rig.names().contains(&"4.0.hole".to_owned()));
    // Neither its sequence nor its commit's number came twice, and the history says what was.
    let numbers: Vec<u64> = rig.history().iter().map(|c| c.commit_number).collect();
    assert_eq!(numbers[..8], [1, 2, 3, 4, 5, 6, 9, 10]);
    assert!(rig.names().contains(&"5.0.arrow".to_owned()));
    let snapshot = rig.store.view().snapshot();
    let faults: Vec<String> = snapshot
        .rejects()
        .map(|one| one.expect("sound").text)
        .collect();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("offsets 9 to 11 are in quarantine/1-1-4.0.arrow ("));
    assert!(
        faults[0].ends_with("): they are loaded again"),
        "{}",
        faults[0]
    );
    rig.again();
    assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 12));
}

#[test]
fn a_segment_in_the_middle_is_told_and_what_follows_it_stays() {
    let mut rig = segments("hole-middle", 4);
    let hole = damaged(&mut rig, 2);
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (3, 6));
    for restart in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 9 + restart));
        assert_eq!(rig.told(), ["offsets 3 to 5"]);
        // Loading goes on behind it, and does not close it.
        rig.commit(1, "more");
        assert_eq!(rig.told(), ["offsets 3 to 5"]);
    }
    assert_eq!(rig.store.cursors().durable.0, 14);
    // From before it: it is loaded once more, and everything behind it.
    rig.rewind(3, false);
    rig.commit(2, "again");
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
    rig.again();
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
    rig.commit(1, "again");
    assert_eq!(rig.told(), Vec::<String>::new());
    assert!(rig.names().contains(&"2.0.bridge".to_owned()));
    // The chain leads over it as long as what follows is there.
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 14));
        assert!(rig.names().contains(&"2.0.bridge".to_owned()));
    }
    // A later lineage from before it does not bring it back.
    rig.rewind(0, false);
    rig.again();
    assert_eq!((rig.failed(), rig.told()), (None, vec![]));
    rig.rewind(20, true);
    assert_eq!(rig.rows(), 0);
    rig.pass(rig.settings.sync_age_ms);
    assert_eq!(rig.names().len(), 1, "{:?}", rig.names());
    rig.again();
    assert_eq!((rig.failed(), rig.told()), (None, vec![]));
}

#[test]
fn set_offsets_past_it_gives_it_up() {
    for (number, kept) in [(4, 9), (2, 9), (1, 9)] {
        for restart in [false, true] {
            let mut rig = segments("hole-given-up", 4);
            let hole = damaged(&mut rig, number);
            if restart {
                rig.again();
            } else {
                rig.open();
            }
            assert_eq!(rig.told().len(), 1);
            rig.rewind(hole.next_offset.0 - 1, false);
            rig.again();
            assert_eq!(rig.told().len(), 1, "one offset of it is to come");
            rig.rewind(hole.next_offset.0, false);
            assert_eq!((rig.told(), rig.rows()), (vec![], kept));
            rig.pass(rig.settings.flush_age_ms);
            rig.pass(rig.settings.sync_age_ms);
            rig.again();
            assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], kept));
            let left = rig
                .names()
                .into_iter()
                .filter(|name| !name.ends_with("arrow"));
            let expected = if number == 4 { 0 } else { 1 };
            assert_eq!(left.count(), expected, "{:?}", rig.names());
        }
    }
}

#[test]
fn truncate_gives_it_up() {
    for number in [4, 1] {
        let mut rig = segments("hole-truncated", 4);
        damaged(&mut rig, number);
        rig.again();
        rig.rewind(12, true);
        rig.pass(rig.settings.sync_age_ms);
        assert_eq!((rig.told(), rig.rows()), (vec![], 0));
        assert_eq!(rig.names().len(), 1, "{:?}", rig.names());
    }
}

#[test]
fn a_segment_that_is_put_back_whole_closes_its_hole() {
    for number in [2, 4] {
        let mut rig = segments("hole-put-back", 4);
        let path = rig.segments()[number - 1].clone();
        let (_, text) = places(&path);
        let hole = damaged(&mut rig, number);
        rig.again();
        let kept = quarantine(&rig).join(&hole.moved_to);
        flip(&kept, text);
        std::fs::rename(kept, path).expect("back where it was");
        rig.again();
        assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 12));
        assert_eq!(rig.names().len(), 4, "{:?}", rig.names());
        assert_eq!(rig.read().expect("sound"), 12);
    }
}

/// What a crash between the hole and the move leaves, and what damage still there makes of it.
#[test]
fn a_hole_beside_its_segment_says_nothing() {
    let mut rig = segments("hole-beside", 4);
    let path = rig.segments()[3].clone();
    let hole = damaged(&mut rig, 4);
    rig.again();
    std::fs::rename(quarantine(&rig).join(&hole.moved_to), path).expect("back where it was");
    rig.again();
    assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 12));
    rig.read().expect_err("still damaged");
    assert_eq!(rig.corrupt().next_offset.0, 12);
    rig.again();
    assert_eq!(
        (rig.told(), rig.rows()),
        (vec!["offsets 9 to 11".to_owned()], 9)
    );
}

#[test]
fn damage_that_recovery_meets_leaves_the_same_hole() {
    for number in 1..=3 {
        let mut rig = segments("hole-recovered", 4);
        let path = rig.segments()[number - 1].clone();
        flip(&path, places(&path).0);
        rig.again();
        let hole = rig.corrupt();
        let first = 3 * (number as i64 - 1);
        assert_eq!(
            (hole.first_offset.0, hole.next_offset.0),
            (first, first + 3)
        );
        for _ in 0..2 {
            rig.again();
            assert_eq!((rig.failed(), rig.rows()), (None, 9));
            assert_eq!(rig.told(), [format!("offsets {first} to {}", first + 2)]);
        }
    }
}

#[test]
fn a_torn_header_leaves_a_hole_by_its_records() {
    for number in 2..=3 {
        let mut rig = segments("hole-header", 4);
        let path = rig.segments()[number - 1].clone();
        flip(&path, 40);
        rig.again();
        let hole = rig.corrupt();
        let first = 3 * (number as i64 - 1);
        assert_eq!(
            (hole.first_offset.0, hole.next_offset.0),
            (first, first + 3)
        );
        assert!(matches!(hole.before, Before::Segment(_)), "{hole:?}");
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 9));
        assert_eq!(rig.told(), [format!("offsets {first} to {}", first + 2)]);
    }
    // Of the first nothing says what was before it: named each time, and nothing is guessed.
    let mut rig = segments("hole-header-first", 4);
    flip(&rig.segments()[0].clone(), 40);
    rig.again();
    assert_eq!(rig.corrupt().before, Before::Unknown);
    for _ in 0..2 {
        rig.again();
        match rig.failed() {
            Some(Failure::Mismatch { path, what }) => {
                assert!(path.ends_with("1.0.hole"), "{path:?}");
                assert!(
                    what.contains("and nothing tells what stood before them: put the segment back"),
                    "{what}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A disk that will not read the one before it for now once made that one unknown, which nothing mends.
#[test]
fn what_stood_before_a_torn_header_is_asked_again_where_the_disk_refuses_a_read() {
    let mut rig = segments("hole-header-unread", 4);
    flip(&rig.segments()[3].clone(), 40);
    rig.again_on(&Watched::unreadable("3.0.arrow"));
    match rig.failed() {
        Some(Failure::File(error)) => {
            let text = error.to_string();
            assert!(
                text.ends_with("3.0.arrow: open failed: Input/output error (os error 5)"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.segments().len(), 4, "nothing is moved");
    rig.again();
    let hole = rig.corrupt();
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (9, 12));
    assert!(matches!(hole.before, Before::Segment(_)), "{hole:?}");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 9));
    assert_eq!(rig.told(), ["offsets 9 to 11"]);
}

/// A segment was made, and its first commit is on its way.
fn made(name: &str) -> Rig {
    let mut rig = Rig::new(name, 1, StoreSettings::default());
    rig.load(3, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    assert!(rig.finish(|op| matches!(op, DiskOp::Create(_))));
    rig
}

/// A segment that was synced before its first commit failed holds nothing: what stood before it, here nothing,
/// stood before the next one too.
#[test]
fn what_stood_before_a_torn_header_is_no_empty_segment() {
    let mut rig = made("hole-empty");
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    assert!(rig.finish(|op| matches!(op, DiskOp::Sync { .. })));
    let writes = |op: &DiskOp| matches!(op, DiskOp::Write(_));
    rig.fail(writes, 5);
    rig.settle();
    rig.commit(2, "b");
    rig.commit(1, "b");
    let segments = rig.segments();
    assert_eq!(segments.len(), 2, "{segments:?}");
    flip(&segments[1], 40);
    rig.again();
    assert_eq!(rig.corrupt().before, Before::Nothing);
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 0));
    assert_eq!(rig.told(), ["offsets 0 to 2"]);
    rig.commit(3, "again");
    assert_eq!((rig.told(), rig.rows()), (vec![], 3));
}

/// The second one's hole does not tell what stood before it, but says that it was durable; of the first no record
/// says so. It was unlinked as one whose header never was.
#[test]
fn what_loses_its_header_below_a_hole_that_knows_nothing_of_it_is_not_taken_for_torn() {
    let mut rig = Rig::new("hole-below-unknown", 1, StoreSettings::default());
    rig.commit(3, "a");
    rig.rewind(3, false);
    rig.commit(1, "b");
    rig.commit(1, "b");
    let segments = rig.segments();
    assert_eq!(segments.len(), 2, "{segments:?}");
    flip(&segments[1], 40);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!((hole.before, hole.vouches), (Before::Unknown, true));
    flip(&segments[0], 40);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
    for _ in 0..2 {
        rig.again();
        assert_eq!(rig.failed(), None);
        assert_eq!(rig.told(), ["offsets 0 to 2", "offsets 3 to 4"]);
    }
}

/// A void gave up a segment that held nothing, and a power loss took its unlinking back: it is torn, and the one behind
/// it loses its header.
#[test]
fn what_holds_nothing_is_torn_also_below_a_hole_that_knows_nothing_of_it() {
    let mut rig = made("hole-above-torn");
    let leftover = rig.segments()[0].clone();
    let mut bytes = std::fs::read(&leftover).expect("made");
    rig.fail(|op| matches!(op, DiskOp::Write(_)), libc::EIO);
    rig.settle();
    rig.commit(3, "a");
    rig.commit(1, "b");
    assert!(!leftover.exists());
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&leftover, bytes).expect("put back");
    flip(&rig.segments()[1].clone(), 40);
    rig.again();
    assert_eq!(rig.corrupt().before, Before::Unknown);
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 0));
    assert_eq!(rig.told(), ["offsets 0 to 3"]);
    assert!(!leftover.exists());
}

/// Three durable rows, and two behind them that are in the file and were taken back: their sync failed.
pub fn taken_back(name: &str) -> Rig {
    let settings = StoreSettings {
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new(name, 1, settings);
    rig.commit(3, "kept");
    rig.load(2, "taken back");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    assert!(rig.finish(|op| matches!(op, DiskOp::Write(_))));
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    rig.fail(DiskOp::is_sync, 5);
    rig.settle();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    rig
}

/// The segment that was begun behind them ended the one that holds them. Its header rots: what it says no more
/// is that they are not shown, and their offsets are its own.
#[test]
fn what_was_taken_back_stays_so_where_the_segment_behind_it_loses_its_header() {
    let mut rig = taken_back("taken-back");
    rig.commit(2, "again");
    rig.commit(1, "and more");
    let segments = rig.segments();
    assert_eq!(segments.len(), 2, "{segments:?}");
    flip(&segments[1], 40);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (3, 6));
    assert!(matches!(hole.before, Before::Segment(_)), "{hole:?}");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
    rig.commit(3, "again");
    assert_eq!((rig.told(), rig.rows()), (vec![], 6));
    rig.again();
    assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 6));
}

/// The same where that segment held nothing yet, and a lineage was begun behind it that loads those offsets:
/// they would be there twice.
#[test]
fn what_was_taken_back_stays_so_in_the_midst_of_set_offsets() {
    let mut rig = taken_back("taken-back-rewound");
    rig.on(StoreEvent::Drain);
    rig.settle();
    rig.rewind(3, false);
    rig.commit(2, "again");
    let segments = rig.segments();
    assert_eq!(segments.len(), 3, "{segments:?}");
    flip(&segments[1], 40);
    rig.again();
    let hole = rig.corrupt();
    assert_eq!((hole.first_offset.0, hole.next_offset.0), (3, 3));
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 5));
    }
}

/// A record that was taken back is no content, but what it says was durable was: damage there is damage, and what
/// follows, of which nothing else says that it was durable, stays.
#[test]
fn what_was_taken_back_says_what_before_it_was_durable() {
    let mut rig = taken_back("taken-back-vouches");
    rig.commit(3, "again");
    let segments = rig.segments();
    assert_eq!(segments.len(), 2, "{segments:?}");
    flip(&segments[0], commits_of(&segments[0])[0].0 + 20);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 0 to 2"]);
}

/// The same in segments of two commits, and the segment that was begun behind them before that, which goes once
/// that one is durable: its path and its bytes.
pub fn taken_back_with_one_behind(name: &str) -> (Rig, PathBuf, Vec<u8>) {
    let mut rig = Rig::new(name, 1, plain());
    rig.commit(3, "kept");
    for text in ["taken back", "behind it"] {
        rig.load(2, text);
        rig.now_ms += rig.settings.flush_age_ms;
        rig.on(StoreEvent::Tick);
        while rig.finish(|op| !op.is_sync()) {}
    }
    let behind = rig.segments().remove(1);
    rig.now_ms += rig.settings.sync_age_ms;
    rig.sync();
    let first =
        |op: &DiskOp| matches!(op, DiskOp::Sync { sequence, .. } if *sequence == Sequence(1));
    rig.fail(first, 5);
    let kept = std::fs::read(&behind).expect("it is there");
    rig.settle();
    (rig, behind, kept)
}

/// A segment was begun behind what was taken back, and a kill came before it was unlinked. It hangs on more than the
/// hole of the damaged one tells, and nothing vouches for it: it goes.
#[test]
fn what_hangs_on_what_was_taken_back_does_not_hang_on_its_hole() {
    let (mut rig, behind, kept) = taken_back_with_one_behind("taken-back-hung-on");
    let segments = rig.segments();
    let [first, _, void] = &segments[..] else {
        panic!("one was begun behind the void: {segments:?}");
    };
    std::fs::write(&behind, kept).expect("not unlinked");
    flip(first, places(first).1);
    rig.again();
    rig.read().expect_err("damaged");
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
    std::fs::remove_file(void).expect("never durable");
    for _ in 0..2 {
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 0));
        assert_eq!(rig.told(), ["offsets 0 to 2"]);
    }
}

/// The first record goes with the header: where the segment began is not known, and what was taken back may have a
/// boundary at the next one. Nothing is guessed.
#[test]
fn what_was_taken_back_is_no_predecessor_where_the_first_record_is_lost_too() {
    for all in [false, true] {
        let mut rig = taken_back(if all {
            "taken-back-all"
        } else {
            "taken-back-first"
        });
        // Up to the end of what was taken back, and on.
        rig.commit(2, "again");
        rig.commit(3, "and more");
        let path = rig.segments()[1].clone();
        let record = places(&path).0;
        if all {
            rig.on(StoreEvent::Drain);
            rig.settle();
            rig.rewind(20, false);
            let bytes = std::fs::read(&path).expect("it is there").len();
            (record..bytes).step_by(64).for_each(|at| flip(&path, at));
        }
        flip(&path, record);
        flip(&path, 40);
        rig.again();
        assert_eq!(rig.corrupt().before, Before::Unknown);
    }
}

/// A crash between a hole and the move of its segment, whose header is torn: it goes to quarantine, though
/// nothing that follows says any more that it was durable.
#[test]
fn a_torn_header_beside_its_hole_goes_to_quarantine() {
    let mut rig = taken_back("torn-beside-hole");
    rig.commit(2, "again");
    rig.commit(1, "and more");
    let path = rig.segments()[1].clone();
    flip(&path, 40);
    rig.again();
    let moved = quarantine(&rig).join(rig.corrupt().moved_to);
    // Back where it was, and its records are zeros now.
    let torn = std::fs::read(&moved).expect("it is there");
    std::fs::remove_file(&moved).expect("it goes");
    std::fs::write(&path, &torn[..960]).expect("written");
    rig.again();
    assert_eq!(rig.corrupt().next_offset.0, 6);
    assert!(!path.exists(), "{:?}", rig.names());
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
}

#[test]
fn holes_beside_each_other_are_each_told() {
    let mut rig = segments("holes", 4);
    for number in [3, 2, 2] {
        damaged(&mut rig, number);
        rig.again();
    }
    // 4 went last: nothing follows the three any more.
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    let told = ["offsets 3 to 5", "offsets 6 to 8", "offsets 9 to 11"];
    assert_eq!(rig.told(), told);
    rig.commit(6, "again");
    assert_eq!(rig.told(), told[2..]);
    rig.commit(3, "again");
    assert_eq!(rig.told(), Vec::<String>::new());
    rig.again();
    assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 12));
}

#[test]
fn a_torn_hole_is_refused_unless_its_segment_is_there() {
    let mut rig = segments("hole-torn", 4);
    let path = rig.segments()[3].clone();
    let whole = std::fs::read(&path).expect("there");
    damaged(&mut rig, 4);
    rig.again();
    let hole = rig.directory().join("4.0.hole");
    flip(&hole, 30);
    for _ in 0..2 {
        rig.again();
        rig.is_refused_as_damaged(&hole);
    }
    std::fs::write(&path, whole).expect("put back");
    rig.again();
    assert_eq!((rig.failed(), rig.told(), rig.rows()), (None, vec![], 12));
    assert!(!hole.exists());
}

#[test]
fn segments_before_and_behind_a_hole_are_not_merged() {
    let mut rig = segments("hole-merge", 4);
    damaged(&mut rig, 2);
    rig.settings.merge_rows_mean_min = 1_000;
    rig.again();
    for _ in 0..6 {
        rig.commit(3, "more");
    }
    assert_eq!((rig.failed(), rig.rows()), (None, 27));
    assert!(rig.names().contains(&"1.1.arrow".to_owned()));
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 27));
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
}

/// A later hole stands on it: unlinked, it would leave nobody who can tell what stood before that one.
#[test]
fn a_hole_that_is_loaded_again_stays_while_a_later_one_hangs_on_it() {
    let mut rig = segments("hole-under-hole", 4);
    for number in [3, 3] {
        damaged(&mut rig, number);
        rig.again();
    }
    // Both are the newest by now: it fell back to before the first of them.
    assert_eq!((rig.failed(), rig.rows()), (None, 6));
    assert_eq!(rig.told(), ["offsets 6 to 8", "offsets 9 to 11"]);
    rig.commit(3, "again");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 9));
    assert_eq!(rig.told(), ["offsets 9 to 11"]);
    let names = rig.names();
    assert!(names.contains(&"3.0.bridge".to_owned()), "{names:?}");
    // With the last of it both go, at once and not at the next start.
    rig.commit(3, "again");
    assert_eq!((rig.failed(), rig.rows()), (None, 12));
    assert_eq!(rig.told(), Vec::<String>::new());
    let names = rig.names();
    assert!(
        names.iter().all(|name| name.ends_with(".arrow")),
        "{names:?}"
    );
    rig.again();
    assert_eq!((rig.failed(), rig.rows(), rig.names()), (None, 12, names));
}
