//! What is known durable, and who says so: read no more than it must be, and never taken for what was not.

use std::fs;

use storage::disk::DiskOp;
use storage::format::Before;
use storage::store::{StoreEvent, StoreSettings};

use crate::damage::{commits_of, flip, places, segments, single, text_of};
use crate::rig::Rig;
use crate::watched::Watched;

/// The last commit of a segment is past what that says itself; what follows it says that it was durable, and will
/// at the next start too. A start reads no bodies of what is known durable: a query does, and finds it.
#[test]
fn bodies_of_what_is_known_durable_wait_for_a_reader() {
    for number in 1..=3 {
        let mut rig = segments("bodies", 4);
        let path = &rig.segments()[number - 1];
        flip(path, text_of(commits_of(path).last().expect("a commit")));
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 12));
        let error = rig.read().expect_err("never fewer rows").to_string();
        assert!(error.contains("checksum mismatch in column 0"), "{error}");
        assert_eq!(rig.corrupt().next_offset.0, 3 * number as i64);
    }
}

/// No record of a merged segment says what was durable; that it is there does. What stood before it is never taken
/// for what was not durable yet, and the merged one not for what hangs on nothing.
#[test]
fn a_merged_segment_says_that_what_stood_before_it_was_durable() {
    let settings = StoreSettings {
        segment_commits_max: 4,
        merge_rows_mean_min: 10,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("merged-vouches", 1, settings);
    for rows in [60, 60, 60, 60, 3, 3, 3, 3] {
        rig.commit(rows, "a");
    }
    assert_eq!(rig.names(), ["1.0.arrow", "2.1.arrow"]);
    let merged = commits_of(&rig.directory().join("2.1.arrow"));
    assert!(merged.iter().all(|(_, record)| record.durable_end == 0));
    let first = rig.directory().join("1.0.arrow");
    let (at, _) = commits_of(&first)[3];
    flip(&first, at + 20);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 239");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 12));
    assert_eq!(rig.told(), ["offsets 0 to 239"]);
}

/// What is told of damage is what stands there, and where.
#[test]
fn damage_that_a_newer_segment_alone_vouches_for_is_named_for_what_it_is() {
    for (number, name) in [(1, "named-1"), (2, "named-2")] {
        let mut rig = segments(name, 3);
        let path = &rig.segments()[number - 1];
        let (at, _) = commits_of(path)[1];
        flip(path, at + 20);
        rig.again();
        let says = format!("BadMetadata at byte {at}, which was durable");
        assert_eq!(rig.corrupt().reason, says);
    }
}

/// The body of the last commit is cut off, and its metadata is not: what is left of it is no content.
#[test]
fn a_commit_whose_body_is_cut_off_is_damaged_where_it_begins() {
    let mut rig = segments("body-cut", 3);
    let path = &rig.segments()[1];
    let (at, last) = commits_of(path).pop().expect("a commit");
    let mut bytes = fs::read(path).expect("readable");
    bytes.truncate(at + last.message_bytes() as usize - 64);
    fs::remove_file(path).expect("it goes");
    fs::write(path, bytes).expect("writable");
    rig.again();
    let hole = rig.corrupt();
    assert_eq!(
        hole.reason,
        format!("BadBody at byte {at}, which was durable")
    );
    assert_eq!(hole.offsets(), "offsets 3 to 5");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 6));
    assert_eq!(rig.told(), ["offsets 3 to 5"]);
}

/// The catalog has a lineage from behind it, and a power loss comes before that one's segment is there: the hole alone
/// keeps its sequence and its commits' numbers from coming twice.
#[test]
fn the_newest_hole_stays_until_a_segment_follows_it() {
    let mut rig = segments("newest-hole", 4);
    let path = &rig.segments()[3];
    flip(path, places(path).1);
    rig.again();
    rig.read().expect_err("damaged");
    rig.corrupt();
    rig.again();
    assert_eq!(rig.told(), ["offsets 9 to 11"]);
    given_up(&mut rig, 12);
    assert_eq!((rig.failed(), rig.rows(), rig.told()), (None, 9, vec![]));
    assert_eq!(numbers_behind(&mut rig), [1, 2, 3, 4, 5, 6, 9]);
    assert!(
        rig.names().contains(&"5.0.arrow".to_owned()),
        "{:?}",
        rig.names()
    );
}

/// The catalog has the next lineage, from here on; two processes recover, and no more, before one goes on.
fn given_up(rig: &mut Rig, start_offset: i64) {
    rig.start.lineage.0 += 1;
    rig.start.start_offset.0 = start_offset;
    for _ in 0..2 {
        rig.kill();
        rig.on(StoreEvent::Open(rig.start));
        assert!(rig.finish(|op| matches!(op, DiskOp::Recover(_))));
    }
    rig.kill();
    rig.open();
}

/// The numbers of all commits, once another one is there; then every hole has gone.
fn numbers_behind(rig: &mut Rig) -> Vec<u64> {
    rig.commit(2, "behind");
    let numbers = rig.history().iter().map(|one| one.commit_number).collect();
    rig.again();
    let names = rig.names();
    assert!(
        names.iter().all(|name| name.ends_with(".arrow")),
        "{names:?}"
    );
    numbers
}

/// The same of one that does not tell what stood before it, and has no place in a chain.
#[test]
fn the_newest_hole_stays_also_where_it_knows_nothing_of_what_stood_before_it() {
    let mut rig = Rig::new("newest-unknown", 1, StoreSettings::default());
    rig.commit(3, "a");
    rig.rewind(3, false);
    rig.commit(1, "b");
    rig.commit(1, "b");
    flip(&rig.segments()[1].clone(), 40);
    rig.again();
    assert_eq!(rig.corrupt().before, Before::Unknown);
    given_up(&mut rig, 5);
    assert_eq!((rig.failed(), rig.rows(), rig.told()), (None, 3, vec![]));
    assert_eq!(numbers_behind(&mut rig), [1, 4]);
}

/// A merged segment got its name, and a kill came before that was synced. Its inputs go only once it is: a power
/// loss would take the name back.
#[test]
fn the_names_that_a_start_finds_are_durable_before_anything_goes_by_them() {
    let settings = StoreSettings {
        segment_commits_max: 4,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("names-synced", 1, settings.clone());
    let mut inputs = Vec::new();
    for _ in 0..8 {
        rig.load(3, "a");
        for ms in [settings.flush_age_ms, settings.sync_age_ms] {
            rig.pass_but(ms, |op| !matches!(op, DiskOp::Unlink { .. }));
        }
        let files = rig.segments().into_iter();
        inputs.extend(files.map(|path| (fs::read(&path).expect("readable"), path)));
        rig.settle();
    }
    let merged = rig.names();
    let gone = inputs.into_iter().filter(|(_, path)| !path.exists());
    let gone: Vec<_> = gone.collect();
    assert!(!gone.is_empty(), "{merged:?}");
    gone.into_iter()
        .for_each(|(bytes, path)| fs::write(path, bytes).expect("writable"));
    let disk = Watched::with_unlinks();
    rig.again_on(&disk);
    assert_eq!((rig.failed(), rig.names()), (None, merged));
    let said = disk.said();
    let first = |call: &str| said.iter().position(|said| said == call);
    let (synced, gone) = (first("sync 1"), first("unlink 1.0.arrow"));
    assert!(gone.is_some() && synced < gone, "{said:?}");
    assert!(synced.is_some(), "{said:?}");
}

/// A void, and what follows it holds no commit yet: that it is there says all the same that what stands before it was
/// durable, and a header that rots there is not taken for torn.
#[test]
fn what_follows_a_void_says_that_what_stands_before_it_was_durable() {
    let mut rig = Rig::new("void-vouches", 1, single());
    rig.commit(3, "a");
    let first = rig.directory().join("1.0.arrow");
    let records = commits_of(&first);
    assert!(records.iter().all(|(_, record)| record.durable_end == 0));
    rig.load(2, "b");
    fn creates(op: &DiskOp) -> bool {
        matches!(op, DiskOp::Create(_))
    }
    rig.pass_but(rig.settings.flush_age_ms, |op| !creates(op));
    rig.fail(creates, libc::EIO);
    rig.settle();
    assert_eq!((rig.rows(), rig.names().len()), (3, 2), "{:?}", rig.names());
    flip(&first, 40);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
}

/// The same where the sync of a footer fails while the next segment is being made: that was begun before its
/// predecessor was durable, and does not say so. It is made anew.
#[test]
fn what_was_begun_before_a_void_is_made_anew_behind_it() {
    let settings = single();
    let (flush_age_ms, sync_age_ms) = (settings.flush_age_ms, settings.sync_age_ms);
    let mut rig = Rig::new("void-begun", 1, settings);
    rig.load(3, "a");
    rig.pass_but(flush_age_ms, |op| {
        matches!(op, DiskOp::Create(_) | DiskOp::Write(_))
    });
    rig.now_ms += sync_age_ms;
    rig.sync();
    let is_footer = |op: &DiskOp| matches!(op, DiskOp::Seal { .. });
    assert!(rig.finish(is_footer), "written behind what the sync covers");
    rig.load(2, "b");
    rig.pass_but(flush_age_ms, |_| false);
    assert!(rig.finish(DiskOp::is_sync), "of the content");
    rig.pass_but(sync_age_ms, |_| false);
    rig.fail(DiskOp::is_sync, libc::EIO);
    assert_eq!(rig.names(), ["1.0.arrow"]);
    rig.settle();
    rig.pass(sync_age_ms);
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.names(), ["1.0.arrow", "3.0.arrow"]);
    flip(&rig.segments()[0].clone(), 40);
    rig.again();
    assert_eq!(rig.corrupt().offsets(), "offsets 0 to 2");
}
