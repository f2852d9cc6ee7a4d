//! What a store asks of the disk, as plain owned data, and the one function that does it.
//!
//! [`perform`] may block for as long as a disk does; it holds no lock and keeps nothing. Each operation
//! can be repeated after a crash at any point inside it.

use std::path::PathBuf;
use std::sync::Arc;

use super::{DiskError, DiskFile, Pages};
use crate::block::{Block, Mark};
use crate::format::{CommitFacts, CommitRecord, SegmentId};
use crate::format::{ParsedHeader, SegmentHeader};
use crate::ids::Sequence;
use crate::merge::{MergeFailure, MergedSegment};
use crate::recovery::{RecoverFailure, RecoveredPartition};

pub use crate::merge::MergeSegments;
pub use crate::recovery::RecoverPartition;

/// One thing to do. A `sequence` comes back in its [`DiskDone`].
#[derive(Debug)]
pub enum DiskOp {
    /// List, decide, repair, sync: the five steps.
    Recover(Box<RecoverPartition>),
    /// A new segment: exclusive create, header.
    Create(Box<CreateSegment>),
    /// One commit.
    Write(Box<CommitWrite>),
    /// Sync a segment's file; with `directory`, its name too.
    Sync {
        /// Which.
        sequence: Sequence,
        /// Tells this sync from any other of the store.
        ticket: u64,
        /// Its file.
        file: Arc<dyn DiskFile>,
        /// Its directory, for the file's first sync in this process.
        directory: Option<PathBuf>,
    },
    /// Write the footer behind the last commit and give back what was reserved.
    Seal {
        /// Which.
        sequence: Sequence,
        /// Its file.
        file: Arc<dyn DiskFile>,
        /// Its header.
        header: Arc<ParsedHeader>,
        /// Its commits, each with the byte at which it begins.
        commits: Vec<(u64, Arc<CommitRecord>)>,
        /// Where the last one ends.
        at_byte: u64,
    },
    /// Rewrite sealed, durable segments into one.
    Merge(Box<MergeSegments>),
    /// Unlink segments that no chain leads to any more.
    Unlink {
        /// Their paths.
        paths: Vec<PathBuf>,
    },
    /// Move a damaged segment away.
    Quarantine {
        /// Its path.
        path: PathBuf,
        /// `data_dir/quarantine`.
        quarantine: PathBuf,
        /// Why, in a line.
        reason: String,
    },
    /// Unlink a leaf partition's directory and what is in it.
    Drop {
        /// The directory.
        directory: PathBuf,
    },
}

/// A segment to be created.
#[derive(Clone, Debug)]
pub struct CreateSegment {
    /// Its path.
    pub path: PathBuf,
    /// Its header.
    pub header: SegmentHeader,
    /// What a reader may map of it.
    pub pages_bytes_max: u64,
    /// With fewer bytes free than this it is not created.
    pub reserve_bytes: u64,
}

/// A commit to be written: all of a block, up to a mark.
#[derive(Clone, Debug)]
pub struct CommitWrite {
    /// The segment.
    pub file: Arc<dyn DiskFile>,
    /// Where: the end of what is committed.
    pub at_byte: u64,
    /// The segment's identity.
    pub segment: SegmentId,
    /// CRC-32 of its header.
    pub header_crc: u32,
    /// The rows and rejects.
    pub block: Arc<Block>,
    /// As far as they go.
    pub mark: Mark,
    /// What it did.
    pub facts: CommitFacts,
    /// What is known to be synced of the segment.
    pub durable_end: u64,
    /// Space is reserved up to here.
    pub allocated_end: u64,
    /// With fewer bytes free than this nothing is written.
    pub reserve_bytes: u64,
}

/// A disk operation that failed, by what it means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A file: what lies past its durable end is unknown.
    #[error(transparent)]
    File(DiskError),
    /// The directory: which names survive is unknown, and nothing that is written can mend it.
    #[error("{0}; which names it holds is unknown: remount the file system, then start again")]
    Directory(DiskError),
    /// The second void within a minute.
    #[error("{0}; the second failure of this disk within {within_ms} ms", within_ms = crate::limits::VOID_WINDOW_MS)]
    Again(DiskError),
    /// The bytes are not what was written; the file went to quarantine.
    #[error("{}: {what}; moved to {}", path.display(), moved_to.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where it is now.
        moved_to: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The directory and the catalog do not fit together.
    #[error("{}: {what}", path.display())]
    Mismatch {
        /// The file or directory.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
}

/// A segment that was created.
#[derive(Debug)]
pub struct CreatedSegment {
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// What readers read.
    pub pages: Arc<dyn Pages>,
    /// Its header as written.
    pub header: Arc<ParsedHeader>,
    /// Space is reserved up to here.
    pub allocated_end: u64,
}

/// A commit that was written.
#[derive(Debug)]
pub struct WrittenCommit {
    /// Its record.
    pub record: Arc<CommitRecord>,
    /// Where it ends.
    pub end_byte: u64,
    /// Space is reserved up to here.
    pub allocated_end: u64,
}

/// How an operation ended.
#[derive(Debug)]
pub enum DiskDone {
    /// Of [`DiskOp::Recover`].
    Recovered(Result<Box<RecoveredPartition>, RecoverFailure>),
    /// Of [`DiskOp::Create`].
    Created {
        /// Which.
        sequence: Sequence,
        /// What was made of it.
        result: Result<CreatedSegment, DiskError>,
    },
    /// Of [`DiskOp::Write`].
    Written {
        /// Into which segment.
        sequence: Sequence,
        /// What was written.
        result: Result<WrittenCommit, DiskError>,
    },
    /// Of [`DiskOp::Sync`]: the file's outcome, and the directory's where it was asked and reached.
    Synced {
        /// Which.
        sequence: Sequence,
        /// The sync's own.
        ticket: u64,
        /// The outcome.
        result: Result<(), Failure>,
    },
    /// Of [`DiskOp::Seal`].
    Sealed {
        /// Which.
        sequence: Sequence,
        /// The outcome.
        result: Result<(), DiskError>,
    },
    /// Of [`DiskOp::Merge`].
    Merged(Result<Box<MergedSegment>, MergeFailure>),
    /// Of [`DiskOp::Unlink`].
    Unlinked(Result<(), DiskError>),
    /// Of [`DiskOp::Quarantine`]: where the file is now.
    Quarantined {
        /// From where.
        path: PathBuf,
        /// To where.
        result: Result<PathBuf, DiskError>,
    },
    /// Of [`DiskOp::Drop`].
    Dropped(Result<(), DiskError>),
}

impl DiskOp {
    /// Whether the leaf's [`crate::store::SyncGate`] counts it.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        matches!(self, DiskOp::Sync { .. })
    }

    /// Whether it may take seconds: to be run behind the others and at a low priority.
    #[must_use]
    pub fn is_background(&self) -> bool {
        matches!(self, DiskOp::Merge(_))
    }
}

impl DiskDone {
    /// Whether the leaf's [`crate::store::SyncGate`] counts it.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        matches!(self, DiskDone::Synced { .. })
    }
}
