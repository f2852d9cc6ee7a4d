//! Disk operations: what a commit's write asks of the disk, before it and with it.

#[allow(dead_code, reason = "golden.rs and hostile.rs use the rest")]
mod sample;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sample::sample;
use storage::block::{BlockLayout, BlockWriter};
use storage::counts::Counts;
use storage::disk::{
    CommitWrite, Disk, DiskAction, DiskDone, DiskError, DiskFault, DiskFile, DiskOp, Entry,
    RealDisk, WrittenCommit, perform,
};
use storage::format::{CommitFacts, CommitInput, encode_commit};
use storage::ids::{Offset, Sequence};
use storage::limits::{ALLOCATE_BYTES_MAX, ALLOCATE_BYTES_MIN};
use storage::map::Pages;
use storage::merge::{HistoryFloor, MergeSegments};

/// What a file was asked for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Allocate { at_byte: u64, bytes: u64 },
    Write { at_byte: u64, bytes: u64 },
}

#[derive(Debug, Default)]
struct Asking {
    asked: Mutex<Vec<Asked>>,
}

impl Asking {
    fn note(&self, asked: Asked) {
        self.asked.lock().expect("no panic").push(asked);
    }
}

impl DiskFile for Asking {
    fn path(&self) -> &Path {
        Path::new("1.0.arrow")
    }
    fn bytes(&self) -> Result<u64, DiskError> {
        unreachable!("a write knows where it writes")
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> Result<usize, DiskError> {
        unreachable!("a write reads nothing")
    }
    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
        self.note(Asked::Write { at_byte, bytes });
        Ok(())
    }
    fn allocate(&self, at_byte: u64, bytes: u64) -> Result<(), DiskError> {
        self.note(Asked::Allocate { at_byte, bytes });
        Ok(())
    }
    fn truncate(&self, _: u64) -> Result<(), DiskError> {
        unreachable!("a write cuts nothing")
    }
    fn sync(&self) -> Result<(), DiskError> {
        unreachable!("a write is synced later")
    }
}

/// A disk with so much room.
#[derive(Debug)]
struct Free(AtomicU64);

impl Disk for Free {
    fn list(&self, _: &Path) -> Result<Vec<Entry>, DiskError> {
        unreachable!("only room is asked for")
    }
    fn create(&self, _: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        unreachable!("only room is asked for")
    }
    fn open(&self, _: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        unreachable!("only room is asked for")
    }
    fn pages(&self, _: &Path, _: u64) -> Result<Arc<dyn Pages>, DiskError> {
        unreachable!("only room is asked for")
    }
    fn rename(&self, _: &Path, _: &Path) -> Result<(), DiskError> {
        unreachable!("only room is asked for")
    }
    fn unlink(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn make_directory(&self, _: &Path) -> Result<(), DiskError> {
        unreachable!("only room is asked for")
    }
    fn remove_directory(&self, _: &Path) -> Result<(), DiskError> {
        unreachable!("only room is asked for")
    }
    fn sync_directory(&self, _: &Path) -> Result<(), DiskError> {
        unreachable!("only room is asked for")
    }
    fn free_bytes(&self, _: &Path) -> Result<u64, DiskError> {
        Ok(self.0.load(Ordering::Relaxed))
    }
}

/// A commit of ten tombstones, written at `at_byte` where `allocated_end` and `free` are there; `reserve` is kept.
struct Written {
    bytes: u64,
    result: Result<WrittenCommit, DiskError>,
    asked: Vec<Asked>,
}

fn write(at_byte: u64, allocated: fn(u64) -> u64, free: fn(u64) -> u64, reserve: u64) -> Written {
    let header = sample().header;
    let first = header.header.first_offset;
    let layout = BlockLayout {
        schema: Arc::clone(&header.header.schema),
        rows: 16,
        string_bytes: vec![64; 2],
        rejects_bytes: 0,
    };
    let mut writer = BlockWriter::new(&layout, first);
    let next = Offset(first.0 + 10);
    let mark = writer.publish(next);
    let facts = CommitFacts {
        commit_number: header.header.first_commit_number,
        lineage: header.header.lineage,
        first_offset: first,
        next_offset: next,
        counts: Counts {
            empty: 10,
            ..Counts::default()
        },
        ..CommitFacts::default()
    };
    let input = CommitInput {
        facts,
        durable_end: 0,
        replaced: Vec::new(),
    };
    let bytes = encode_commit(&header, input, &writer.shared(), mark).bytes();
    let file = Arc::new(Asking::default());
    let write = CommitWrite {
        file: Arc::<Asking>::clone(&file),
        at_byte,
        header,
        block: writer.shared(),
        mark,
        facts,
        durable_end: 0,
        allocated_end: allocated(at_byte + bytes),
        reserve_bytes: reserve,
    };
    let disk = Free(AtomicU64::new(free(bytes)));
    let DiskDone::Written { result, .. } = perform(&disk, DiskOp::Write(Box::new(write))) else {
        panic!("a write was asked for")
    };
    let asked = file.asked.lock().expect("no panic").clone();
    Written {
        bytes,
        result,
        asked,
    }
}

#[test]
fn as_much_again_as_there_is_is_allocated_ahead() {
    for (at_byte, ahead) in [
        (4_096, |_| ALLOCATE_BYTES_MIN),
        (1 << 20, |end| end),
        (100 << 20, |_| ALLOCATE_BYTES_MAX),
    ] as [(u64, fn(u64) -> u64); 3]
    {
        let written = write(at_byte, |end| end - 1, |_| u64::MAX, 0);
        let (bytes, end) = (written.bytes, at_byte + written.bytes);
        let allocate = Asked::Allocate {
            at_byte,
            bytes: bytes + ahead(end),
        };
        assert_eq!(written.asked, [allocate, Asked::Write { at_byte, bytes }]);
        let result = written.result.expect("written");
        let ends = (result.end_byte, result.allocated_end);
        assert_eq!(ends, (end, end + ahead(end)));
        // What is allocated already is enough, to the byte.
        let written = write(at_byte, |end| end, |_| u64::MAX, 0);
        assert_eq!(written.asked, [Asked::Write { at_byte, bytes }]);
        let result = written.result.expect("written");
        assert_eq!((result.end_byte, result.allocated_end), (end, end));
    }
}

#[test]
fn what_is_kept_for_others_is_not_written_into() {
    for reserve in [0, 1 << 20] {
        let enough: fn(u64) -> u64 = match reserve {
            0 => |bytes| bytes,
            _ => |bytes| bytes + (1 << 20),
        };
        assert!(write(0, |end| end, enough, reserve).result.is_ok());
    }
    for less in [1, 2, 1 << 20] {
        let free: fn(u64) -> u64 = match less {
            1 => |bytes| bytes + (1 << 20) - 1,
            2 => |bytes| bytes + (1 << 20) - 2,
            _ => |bytes| bytes,
        };
        let written = write(0, |end| end, free, 1 << 20);
        let error = written.result.map(drop).expect_err("too little room");
        assert_eq!((error.fault, written.asked.len()), (DiskFault::Full, 0));
    }
    let all = write(0, |end| end, |_| 1 << 40, u64::MAX);
    assert!(all.result.is_err(), "a reserve beyond all disks");
}

#[test]
fn an_operation_says_how_it_is_to_be_run_and_what_it_changes() {
    let unlink = DiskOp::Unlink { paths: Vec::new() };
    assert!(!unlink.is_background() && !unlink.is_sync());
    let done = perform(&Free(AtomicU64::new(0)), unlink);
    assert!(matches!(done, DiskDone::Unlinked(Ok(()))));
    assert!(!done.changes_segments() && !done.is_sync());
    let sealed = DiskDone::Sealed {
        sequence: Sequence(1),
        result: Ok(()),
    };
    assert!(sealed.changes_segments());
    let merge = DiskOp::Merge(Box::new(MergeSegments {
        directory: PathBuf::new(),
        inputs: Vec::new(),
        header: sample().header.header,
        rows_max: 1,
        history: HistoryFloor::default(),
        buffer_bytes_max: 1,
        reserve_bytes: 0,
    }));
    assert!(merge.is_background());
}

/// A crash came behind the last step of it: what is not there any more is dropped.
#[test]
fn a_drop_can_be_repeated_and_one_that_cannot_look_drops_nothing() {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ops-drop");
    let _ = std::fs::remove_dir_all(&here);
    let drop = |directory: &str| {
        let op = DiskOp::Drop {
            directory: here.join(directory),
            orphans: here.join("orphans"),
        };
        match perform(&RealDisk, op) {
            DiskDone::Dropped(result) => result,
            other => panic!("{other:?}"),
        }
    };
    std::fs::create_dir_all(here.join("1")).expect("the target directory can be written");
    std::fs::write(here.join("1/1.0.arrow"), b"rows").expect("written");
    for _ in 0..2 {
        assert_eq!(drop("1"), Ok(()));
        assert!(!here.join("1").exists());
    }
    // No directory, and there all the same.
    std::fs::write(here.join("2"), b"somebody's").expect("written");
    let error = drop("2").expect_err("it is not empty, for all that is known");
    assert_eq!(
        (error.fault, error.doing),
        (DiskFault::Refused, DiskAction::List)
    );
    assert!(here.join("2").exists());
}
