//! Sequences and commit numbers at their end: nothing is written that the next start would not read.

use std::path::PathBuf;
use std::sync::Arc;

use storage::block::{BlockLayout, BlockWriter};
use storage::counts::Counts;
use storage::disk::Failure;
use storage::format::{
    CommitFacts, CommitInput, SegmentHeader, SegmentId, encode_commit, encode_header,
};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::limits::{COMMIT_NUMBER_MAX, NUMBERS_LEFT_MIN, SEQUENCE_MAX};
use storage::store::StoreSettings;

use crate::rig::Rig;

fn rig(name: &str) -> Rig {
    let mut rig = Rig::new(name, 1, StoreSettings::default());
    rig.commit(3, "a");
    rig
}

#[test]
fn how_long_a_commit_took_is_not_for_the_wall_clock_to_say() {
    const DAY_MS: i64 = 86_400_000;
    let mut rig = rig("clock");
    let flush_age_ms = rig.settings.flush_age_ms;
    // Set between a commit's first step and its last.
    for ahead_ms in [DAY_MS, -DAY_MS] {
        rig.load(1, "b");
        rig.now_ms += 1;
        rig.clock_ahead_ms += ahead_ms;
        rig.load(1, "c");
        rig.pass(flush_age_ms);
    }
    let took = rig
        .history()
        .into_iter()
        .map(|facts| facts.ended_unix_ms - facts.started_unix_ms);
    let took: Vec<i64> = took.collect();
    assert_eq!(took.len(), 3);
    for ms in took {
        assert!((0..=2 * flush_age_ms as i64).contains(&ms), "{ms} ms");
    }
}

fn mismatch(rig: &Rig) -> (PathBuf, String) {
    match rig.failed() {
        Some(Failure::Mismatch { path, what }) => (path.clone(), what.clone()),
        other => panic!("{other:?}"),
    }
}

fn named(rig: &Rig, what: &str) {
    let what = format!("{what}: no leaf counts so far, nothing is written behind it");
    assert_eq!(mismatch(rig), (rig.directory().to_path_buf(), what));
}

/// The last numbers behind which something is written: a long life is not refused, and no number more.
#[test]
fn numbers_are_given_as_long_as_enough_are_left() {
    let last = SEQUENCE_MAX - NUMBERS_LEFT_MIN;
    for sequence in [1 << 20, last, last + 1] {
        let mut rig = rig("sequences-left");
        let path = rig.directory().join(format!("{sequence}.0.arrow"));
        std::fs::write(path, b"").expect("it can be written");
        rig.again();
        match sequence > last {
            true => named(&rig, &format!("holds a segment {sequence}")),
            false => assert_eq!((rig.failed(), rig.rows()), (None, 3), "{sequence}"),
        }
    }
    // The number that would follow counts.
    let last = COMMIT_NUMBER_MAX - NUMBERS_LEFT_MIN - 1;
    for number in [1 << 20, last, last + 1] {
        let mut rig = rig("commits-left");
        std::fs::write(&rig.segments()[0], forged(&rig, number)).expect("written");
        rig.again();
        match number > last {
            true => named(&rig, &format!("holds a commit {number}")),
            false => assert_eq!((rig.failed(), rig.rows()), (None, 1), "{number}"),
        }
    }
}

/// A directory is nobody's segment, hole or temporary, whatever its name: neither read nor touched.
#[test]
fn a_directory_that_is_named_as_a_file_of_ours_is_left_alone() {
    let mut rig = rig("named-directories");
    let names = ["7.0.arrow", "8.0.hole", "8.0.bridge", "9.0.arrow.tmp"];
    for name in names {
        std::fs::create_dir(rig.directory().join(name)).expect("made");
    }
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    rig.commit(2, "b");
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 5));
    for name in names {
        assert!(rig.directory().join(name).is_dir(), "{name}");
    }
}

#[test]
fn a_directory_with_the_last_sequence_is_named_and_nothing_follows_it() {
    for sequence in [SEQUENCE_MAX, SEQUENCE_MAX - 1] {
        let mut rig = rig("last-sequence");
        let path = rig.directory().join(format!("{sequence}.0.arrow"));
        std::fs::write(&path, b"").expect("it can be written");
        rig.again();
        named(&rig, &format!("holds a segment {sequence}"));
        std::fs::remove_file(path).expect("neither unlinked nor moved");
        rig.again();
        assert_eq!((rig.failed(), rig.rows()), (None, 3));
        rig.commit(2, "b");
        rig.again();
        assert_eq!(rig.rows(), 5);
    }
}

/// A segment of one commit of that number.
fn forged(rig: &Rig, number: u64) -> Vec<u8> {
    let schema = Arc::clone(&rig.store.view().schema);
    let (header, mut bytes) = encode_header(&SegmentHeader {
        id: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(1),
            rewrite: Rewrite(0),
        },
        table: TableId(1),
        kafka_partition: 0,
        topic_id: TopicId::default(),
        lineage: Lineage(1),
        first_offset: Offset(0),
        first_commit_number: number,
        created_unix_ms: 1_700_000_000_000,
        prev: None,
        behind_durable: false,
        schema: Arc::clone(&schema),
    });
    let layout = BlockLayout {
        schema,
        rows: 256,
        string_bytes: vec![4_096],
        rejects_bytes: 4_096,
    };
    let mut writer = BlockWriter::new(&layout, Offset(0));
    let mut tail = writer.tail();
    tail.put_str(0, "a").expect("room");
    tail.end_row(Offset(0), 1_700_000_000_000);
    let mark = writer.publish(Offset(1));
    let facts = CommitFacts {
        commit_number: number,
        lineage: Lineage(1),
        next_offset: Offset(1),
        counts: Counts {
            loaded: 1,
            ..Counts::default()
        },
        ..CommitFacts::default()
    };
    let input = CommitInput {
        facts,
        durable_end: 0,
        replaced: Vec::new(),
    };
    bytes.extend(encode_commit(&header, input, &writer.shared(), mark).to_vec());
    bytes
}

#[test]
fn a_directory_with_the_last_commit_is_named_and_nothing_follows_it() {
    for number in [7, COMMIT_NUMBER_MAX - 1, COMMIT_NUMBER_MAX] {
        let mut rig = rig("last-commit");
        std::fs::write(&rig.segments()[0], forged(&rig, number)).expect("written");
        rig.again();
        if number == 7 {
            assert_eq!((rig.failed(), rig.rows()), (None, 1), "it is read");
        } else {
            named(&rig, &format!("holds a commit {number}"));
        }
    }
}

/// Commits of an offset each, with these numbers.
fn numbered(rig: &Rig, rewrite: u32, numbers: &[u64]) -> Vec<u8> {
    let schema = Arc::clone(&rig.store.view().schema);
    let (header, mut bytes) = encode_header(&SegmentHeader {
        id: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(1),
            rewrite: Rewrite(rewrite),
        },
        table: TableId(1),
        kafka_partition: 0,
        topic_id: TopicId::default(),
        lineage: Lineage(1),
        first_offset: Offset(0),
        first_commit_number: numbers[0],
        created_unix_ms: 1_700_000_000_000,
        prev: None,
        behind_durable: false,
        schema: Arc::clone(&schema),
    });
    for (first, number) in (0..).zip(numbers) {
        let layout = BlockLayout {
            schema: Arc::clone(&schema),
            rows: 256,
            string_bytes: vec![4_096],
            rejects_bytes: 4_096,
        };
        let mut writer = BlockWriter::new(&layout, Offset(first));
        let mark = writer.publish(Offset(first + 1));
        let facts = CommitFacts {
            commit_number: *number,
            lineage: Lineage(1),
            first_offset: Offset(first),
            next_offset: Offset(first + 1),
            counts: Counts {
                gap: 1,
                ..Counts::default()
            },
            ..CommitFacts::default()
        };
        let input = CommitInput {
            facts,
            durable_end: 0,
            replaced: Vec::new(),
        };
        bytes.extend(encode_commit(&header, input, &writer.shared(), mark).to_vec());
    }
    bytes
}

#[test]
fn numbers_that_a_failed_write_gave_up_are_missing_in_a_merge_and_nowhere_else() {
    let rig = rig("numbers-missing");
    let path = rig.directory().join("inspected");
    for (rewrite, numbers, is_sound) in [
        (0, [3, 4], true),
        (0, [3, 6], false),
        (1, [3, 6], true),
        (1, [3, 3], false),
    ] {
        std::fs::write(&path, numbered(&rig, rewrite, &numbers)).expect("written");
        let report = storage::inspect::inspect(&path).expect("readable");
        assert_eq!(
            report.is_sound(),
            is_sound,
            "{rewrite}, {numbers:?}\n{report}"
        );
    }
}
