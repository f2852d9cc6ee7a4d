//! Errors, by who must act: `Corrupt` (quarantine, never retry), `Disk` (durability unknown), `Full`
//! (back off). Bytes of a file never panic: they become [`Damage`], and with a path `Corrupt`.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What storage could not do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The bytes are not what we wrote. Quarantine; never retry.
    #[error("{path}: {what} (bytes {from} to {to})", path = path.display(), from = bytes.start, to = bytes.end)]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it; the end is exclusive.
        bytes: Range<u64>,
        /// What is wrong.
        what: Corruption,
    },
    /// The kernel refused; durability is unknown. What lies past the durable end is void.
    #[error("{path}: {doing} failed: {source}", path = path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What was asked of it.
        doing: DiskAction,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A bound was reached. Back off; nothing is broken.
    #[error("limit reached: {0}")]
    Full(Limit),
}

/// What was being done to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskAction {
    /// Listing a directory.
    List,
    /// Creating a file or directory.
    Create,
    /// Opening a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Allocating space ahead.
    Allocate,
    /// Cutting a file.
    Truncate,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDirectory,
    /// Renaming.
    Rename,
    /// Unlinking.
    Unlink,
    /// Mapping a file into memory.
    Map,
    /// Reading ahead into a map.
    Prefetch,
    /// Asking for free space.
    FreeSpace,
}

impl std::fmt::Display for DiskAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DiskAction::List => "list",
            DiskAction::Create => "create",
            DiskAction::Open => "open",
            DiskAction::Read => "read",
            DiskAction::Write => "write",
            DiskAction::Allocate => "allocate",
            DiskAction::Truncate => "truncate",
            DiskAction::Sync => "sync",
            DiskAction::SyncDirectory => "sync of the directory",
            DiskAction::Rename => "rename",
            DiskAction::Unlink => "unlink",
            DiskAction::Map => "mmap",
            DiskAction::Prefetch => "read-ahead",
            DiskAction::FreeSpace => "statfs",
        })
    }
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Limit {
    /// The pool's bytes are all in use.
    #[error("the leaf's block memory ({budget_bytes} bytes) is in use")]
    BlockMemory {
        /// The pool's budget.
        budget_bytes: usize,
    },
    /// A value or message that no block can hold.
    #[error("a value of {bytes} bytes is larger than a block's region ({max_bytes})")]
    Value {
        /// Its size.
        bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// Commits of one segment.
    #[error("a segment holds at most {max} commits")]
    SegmentCommits {
        /// The bound.
        max: u32,
    },
    /// The disk.
    #[error("no space on the disk")]
    DiskSpace,
}

/// What is wrong with bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Corruption {
    /// The file does not begin (or a sealed one not end) with Arrow's magic.
    #[error("not an Arrow file: the magic is wrong")]
    Magic,
    /// Fewer bytes than what stands there says.
    #[error("cut off")]
    Truncated,
    /// No message starts here: the continuation marker is wrong.
    #[error("no message starts here")]
    NoMessage,
    /// Zeros where a message should start.
    #[error("zeros where a message should start")]
    Zeros,
    /// The stream ends here.
    #[error("the stream ends here")]
    EndOfStream,
    /// A length beyond its bound, or not a multiple of what it must be.
    #[error("a length is out of bounds")]
    Length,
    /// The metadata's own checksum.
    #[error("metadata checksum mismatch")]
    MetadataChecksum,
    /// A body buffer's checksum.
    #[error("checksum mismatch in column {column}, buffer {buffer}")]
    BufferChecksum {
        /// The column's index.
        column: u16,
        /// Which of its buffers: 0 validity, 1 values or offsets, 2 string bytes.
        buffer: u8,
    },
    /// The rejects' checksum.
    #[error("checksum mismatch in the rejects")]
    RejectsChecksum,
    /// The record's magic.
    #[error("no commit record: its magic is wrong")]
    RecordMagic,
    /// A record of another segment.
    #[error("a record of another segment")]
    OtherSegment,
    /// A record of another number than the next.
    #[error("commit number {found}, expected {expected}")]
    CommitNumber {
        /// What stands there.
        found: u64,
        /// What should.
        expected: u64,
    },
    /// A record whose first offset is not the end of the one before.
    #[error("first offset {found}, expected {expected}")]
    FirstOffset {
        /// What stands there.
        found: i64,
        /// What should.
        expected: i64,
    },
    /// The eight counts do not add up to the offsets covered.
    #[error("the counts do not add up to the offsets covered")]
    Counts,
    /// A field that passed its checksum and makes no sense: our own bug, or a forged file.
    #[error("field {0} makes no sense")]
    Field(&'static str),
    /// A newer (or unknown) version of the format.
    #[error("format version {0} is not known here")]
    Version(u32),
    /// A string column's offsets fall, or point beyond its bytes.
    #[error("string offsets out of order in column {column}")]
    StringOffsets {
        /// The column's index.
        column: u16,
    },
    /// A string column's bytes are not UTF-8.
    #[error("not UTF-8 in column {column}")]
    Utf8 {
        /// The column's index.
        column: u16,
    },
    /// The columns are not those of the table.
    #[error("the columns are not the table's")]
    Columns,
    /// A byte between two buffers, where zeros are written.
    #[error("a byte that is not zero between two buffers")]
    Padding,
}

/// Something wrong at a place in bytes whose file the callee does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where, from the start of the bytes given; the end is exclusive.
    pub bytes: Range<u64>,
    /// What.
    pub what: Corruption,
}

impl Damage {
    /// Damage to one place.
    #[must_use]
    pub fn at(byte: u64, what: Corruption) -> Damage {
        Damage {
            bytes: byte..byte + 1,
            what,
        }
    }

    /// The same with `base` bytes before what was given.
    #[must_use]
    pub fn shifted(mut self, base: u64) -> Damage {
        self.bytes = self.bytes.start.saturating_add(base)..self.bytes.end.saturating_add(base);
        self
    }

    /// The same, of a file.
    #[must_use]
    pub fn in_file(self, path: &Path) -> StorageError {
        StorageError::Corrupt {
            path: path.to_owned(),
            bytes: self.bytes,
            what: self.what,
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.bytes.start)
    }
}
