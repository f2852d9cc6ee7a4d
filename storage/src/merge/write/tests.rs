//! Which commits become one, at each of the bounds.

use std::path::PathBuf;

use arrow_buffer::Buffer;

use super::*;
use crate::block::tests::schema;
use crate::format::tests::header;
use crate::format::{BufferRecord, Replaced};
use crate::map::Pages;
use crate::segment::Alarm;

/// Nothing is read of what is only counted.
#[derive(Debug)]
struct Unread;

impl Pages for Unread {
    fn buffer(&self, _: u64, _: usize) -> Result<Buffer, StorageError> {
        unreachable!("its record says enough")
    }
    fn prefetch(&self, _: u64, _: usize) -> Result<(), StorageError> {
        unreachable!("its record says enough")
    }
}

/// A commit as its record has it.
#[derive(Clone, Copy)]
struct Counted {
    rows: u32,
    batches: u32,
    reject_bytes: u32,
}

const EMPTY: Counted = Counted {
    rows: 0,
    batches: 0,
    reject_bytes: 0,
};

const ROWS_MAX: u32 = 1_000;

/// How many commits become one each, where `bytes_max` may be held of what they hold; each is an input.
fn grouped(commits: &[Counted], bytes_max: u64) -> Vec<usize> {
    let schema = schema(Vec::new());
    let (header, _) = header(&schema);
    let segment = SegmentFile::new(
        header.clone(),
        PathBuf::new(),
        Arc::new(Unread),
        Arc::new(Alarm::default()),
    );
    let segment = Arc::new(segment);
    let record = |counted: &Counted| CommitRecord {
        segment: header.header.id,
        header_crc: header.crc,
        facts: CommitFacts {
            rows: counted.rows,
            ..CommitFacts::default()
        },
        head_bytes: 0,
        body_bytes: 0,
        durable_end: 0,
        columns: Box::new([]),
        rejects: BufferRecord {
            bytes: counted.reject_bytes,
            ..BufferRecord::default()
        },
        row_deletes: BufferRecord::default(),
        leader: None,
        replaced: Replaced {
            count: counted.batches,
            ..Replaced::default()
        },
    };
    let input = |counted: &Counted| MergeInput {
        segment: Arc::clone(&segment),
        commits: vec![Arc::new(Commit::new(record(counted), 0))],
    };
    let groups = groups(&MergeSegments {
        directory: PathBuf::new(),
        inputs: commits.iter().map(input).collect(),
        header: header.header.clone(),
        rows_max: ROWS_MAX,
        history: HistoryFloor::default(),
        buffer_bytes_max: bytes_held_empty(&schema) + bytes_max,
        reserve_bytes: 0,
    });
    groups.iter().map(Vec::len).collect()
}

#[test]
fn commits_become_one_up_to_so_many_rows() {
    let rows = |rows: &[u32]| {
        let counted = |rows: &u32| Counted {
            rows: *rows,
            ..EMPTY
        };
        let commits: Vec<Counted> = rows.iter().map(counted).collect();
        grouped(&commits, 1 << 30)
    };
    assert!(rows(&[]).is_empty());
    assert_eq!(rows(&[400, 300, 300, 1]), [3, 1]);
    assert_eq!(rows(&[400, 601, 399, 1]), [1, 2, 1]);
    assert_eq!(rows(&[ROWS_MAX + 1, 1, 1]), [1, 2]);
}

#[test]
fn commits_become_one_up_to_so_many_batches() {
    let max = REPLACED_MAX as u32;
    let batches = |batches: &[u32]| {
        let counted = |batches: &u32| Counted {
            batches: *batches,
            ..EMPTY
        };
        let commits: Vec<Counted> = batches.iter().map(counted).collect();
        grouped(&commits, 1 << 30)
    };
    // One that replaces none stands for itself.
    assert_eq!(batches(&[max - 2, 0, 1, 0]), [3, 1]);
    assert_eq!(batches(&[max - 1, 2]), [1, 1]);
    assert_eq!(batches(&[max / 2, 3, max / 2 - 3, max, 1]), [3, 1, 1]);
}

#[test]
fn commits_become_one_up_to_what_may_be_held_of_them() {
    let bytes = |bytes: &[u32], max: u64| {
        let counted = |bytes: &u32| Counted {
            reject_bytes: *bytes,
            ..EMPTY
        };
        let commits: Vec<Counted> = bytes.iter().map(counted).collect();
        grouped(&commits, max)
    };
    let same = [100_000; 7];
    assert_eq!(bytes(&same, 300_000), [3, 3, 1]);
    assert_eq!(bytes(&same, 299_999), [2, 2, 2, 1]);
    // One that is larger than that is copied by itself.
    assert_eq!(
        bytes(&[100_000, 300_001, 100_000, 200_000], 300_000),
        [1, 1, 2]
    );
}
