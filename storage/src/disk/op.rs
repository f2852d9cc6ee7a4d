//! What a store asks of the disk, as plain owned data, and the one function that does it.
//!
//! [`perform`] may block for as long as a disk does; it holds no lock and keeps nothing. Each operation
//! can be repeated after a crash at any point inside it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskAction, DiskError, DiskFault, DiskFile};
use crate::block::{Block, Mark};
use crate::format::{
    CommitFacts, CommitInput, CommitRecord, Hole, encode_commit, encode_header, encode_seal,
};
use crate::format::{ParsedHeader, SegmentHeader};
use crate::ids::Sequence;
use crate::limits::{ALLOCATE_BYTES_MAX, ALLOCATE_BYTES_MIN};
use crate::map::Pages;
use crate::merge::{self, MergeFailure, MergedSegment};
use crate::recovery::{self, RecoverFailure, RecoveredPartition};
use crate::segment::{Commit, SegmentFile};

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
        segment: Arc<SegmentFile>,
        /// Its commits.
        commits: Vec<Arc<Commit>>,
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
    /// Move a damaged segment away, and leave its hole.
    Quarantine {
        /// Its path.
        path: PathBuf,
        /// `data_dir/quarantine`.
        quarantine: PathBuf,
        /// What it held, and why it goes.
        hole: Box<Hole>,
    },
    /// What holes held is loaded again or given up: their files go or become bridges, and the directory
    /// is synced.
    CloseHoles(CloseHoles),
    /// Unlink a leaf partition's directory and the files in it. A directory in it is not ours: it is
    /// moved away, never deleted.
    Drop {
        /// The directory.
        directory: PathBuf,
        /// `data_dir/orphans`.
        orphans: PathBuf,
    },
}

/// Holes that say nothing any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseHoles {
    /// Where they lie.
    pub directory: PathBuf,
    /// To be renamed first: the chain still leads over them.
    pub rename: Vec<(PathBuf, PathBuf)>,
    /// To be unlinked then.
    pub unlink: Vec<PathBuf>,
    /// Tells this directory sync from any other of the store.
    pub ticket: u64,
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
}

/// A commit to be written: all of a block, up to a mark.
#[derive(Clone, Debug)]
pub struct CommitWrite {
    /// The segment.
    pub file: Arc<dyn DiskFile>,
    /// Where: the end of what is committed.
    pub at_byte: u64,
    /// The segment's header.
    pub header: ParsedHeader,
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
    /// The bytes are not what was written.
    #[error("{}: {what}{}", path.display(), moved(hole.as_deref()))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong; and why it stays where it is, if so.
        what: String,
        /// It went to quarantine, whole, and this is what is missing.
        hole: Option<Box<Hole>>,
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

fn moved(hole: Option<&Hole>) -> String {
    hole.map_or(String::new(), |hole| {
        let (name, offsets) = (&hole.moved_to, hole.offsets());
        format!("; the whole segment moved to quarantine/{name}, and with it {offsets}")
    })
}

/// A segment that was created.
#[derive(Debug)]
pub struct CreatedSegment {
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// What readers read.
    pub pages: Arc<dyn Pages>,
    /// Its header as written.
    pub header: ParsedHeader,
    /// Space is reserved up to here.
    pub allocated_end: u64,
}

/// A commit that was written.
#[derive(Debug)]
pub struct WrittenCommit {
    /// Its record.
    pub record: CommitRecord,
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
    /// Of [`DiskOp::Quarantine`]: the hole with the file's new name.
    Quarantined {
        /// From where.
        path: PathBuf,
        /// What it left.
        result: Result<Box<Hole>, DiskError>,
    },
    /// Of [`DiskOp::CloseHoles`].
    HolesClosed {
        /// Its own.
        ticket: u64,
        /// The outcome.
        result: Result<(), Failure>,
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
    /// Whether a segment may be merged after it that could not before.
    #[must_use]
    pub fn changes_segments(&self) -> bool {
        matches!(
            self,
            DiskDone::Recovered(_)
                | DiskDone::Synced { .. }
                | DiskDone::Sealed { .. }
                | DiskDone::Merged(_)
        )
    }

    /// Whether the leaf's [`crate::store::SyncGate`] counts it.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        matches!(self, DiskDone::Synced { .. })
    }
}
/// Does one operation. May block.
pub fn perform(disk: &dyn Disk, op: DiskOp) -> DiskDone {
    match op {
        DiskOp::Recover(partition) => {
            DiskDone::Recovered(recovery::recover(disk, &partition).map(Box::new))
        }
        DiskOp::Create(segment) => DiskDone::Created {
            sequence: segment.header.id.sequence,
            result: create(disk, &segment),
        },
        DiskOp::Write(commit) => DiskDone::Written {
            sequence: commit.header.header.id.sequence,
            result: write(disk, &commit),
        },
        DiskOp::Sync {
            sequence,
            ticket,
            file,
            directory,
        } => DiskDone::Synced {
            sequence,
            ticket,
            result: sync(&*file, disk, directory.as_deref()),
        },
        DiskOp::Seal {
            sequence,
            file,
            segment,
            commits,
            at_byte,
        } => DiskDone::Sealed {
            sequence,
            result: seal(&*file, &segment, &commits, at_byte),
        },
        DiskOp::Merge(segments) => DiskDone::Merged(merge::merge(disk, &segments).map(Box::new)),
        DiskOp::Unlink { paths } => {
            DiskDone::Unlinked(paths.iter().try_for_each(|path| disk.unlink(path)))
        }
        DiskOp::Quarantine {
            path,
            quarantine,
            hole,
        } => {
            let result = recovery::quarantine(disk, &path, &quarantine, *hole).map(Box::new);
            DiskDone::Quarantined { path, result }
        }
        DiskOp::CloseHoles(holes) => DiskDone::HolesClosed {
            ticket: holes.ticket,
            result: close_holes(disk, &holes),
        },
        DiskOp::Drop { directory, orphans } => {
            DiskDone::Dropped(drop_directory(disk, &directory, &orphans))
        }
    }
}

fn create(disk: &dyn Disk, segment: &CreateSegment) -> Result<CreatedSegment, DiskError> {
    let file = disk.create(&segment.path)?;
    let (header, bytes) = encode_header(&segment.header);
    let written = file
        .allocate(0, ALLOCATE_BYTES_MIN)
        .and_then(|()| file.write_at(&[IoSlice::new(&bytes)], 0))
        .and_then(|()| disk.pages(&segment.path, segment.pages_bytes_max));
    match written {
        Ok(pages) => Ok(CreatedSegment {
            file,
            pages,
            header,
            allocated_end: ALLOCATE_BYTES_MIN,
        }),
        Err(error) => {
            // Half a header is nobody's; where even that fails, recovery unlinks it.
            let unlinked = disk.unlink(&segment.path);
            tracing::debug!(?unlinked, "a segment that could not be created");
            Err(error)
        }
    }
}

fn write(disk: &dyn Disk, commit: &CommitWrite) -> Result<WrittenCommit, DiskError> {
    let input = CommitInput {
        facts: commit.facts,
        durable_end: commit.durable_end,
        replaced: Vec::new(),
    };
    let encoded = encode_commit(&commit.header, input, &commit.block, commit.mark);
    let bytes = encoded.bytes();
    let end_byte = commit.at_byte + bytes;
    let path = commit.file.path();
    if disk.free_bytes(path)? < commit.reserve_bytes.saturating_add(bytes) {
        return Err(DiskError::new(path, DiskAction::Allocate, libc::ENOSPC));
    }
    let mut allocated_end = commit.allocated_end;
    if end_byte > allocated_end {
        let ahead = end_byte.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
        commit.file.allocate(commit.at_byte, bytes + ahead)?;
        allocated_end = end_byte + ahead;
    }
    commit.file.write_at(&encoded.slices(), commit.at_byte)?;
    Ok(WrittenCommit {
        record: encoded.record,
        end_byte,
        allocated_end,
    })
}

fn sync(file: &dyn DiskFile, disk: &dyn Disk, directory: Option<&Path>) -> Result<(), Failure> {
    file.sync().map_err(Failure::File)?;
    match directory {
        Some(directory) => disk.sync_directory(directory).map_err(Failure::Directory),
        None => Ok(()),
    }
}

/// Writes the footer and gives back what was reserved behind it.
fn seal(
    file: &dyn DiskFile,
    segment: &SegmentFile,
    commits: &[Arc<Commit>],
    at_byte: u64,
) -> Result<(), DiskError> {
    let records: Vec<(u64, &CommitRecord)> = commits
        .iter()
        .map(|commit| (commit.at_byte(), commit.record()))
        .collect();
    let bytes = encode_seal(&segment.header().header, &records, at_byte);
    file.write_at(&[IoSlice::new(&bytes)], at_byte)?;
    file.truncate(at_byte + bytes.len() as u64)
}

fn close_holes(disk: &dyn Disk, holes: &CloseHoles) -> Result<(), Failure> {
    // What is renamed may be unlinked in the same breath: its lineage died meanwhile.
    let mut renames = holes.rename.iter();
    renames
        .try_for_each(|(from, to)| disk.rename(from, to))
        .and_then(|()| holes.unlink.iter().try_for_each(|path| disk.unlink(path)))
        .map_err(Failure::File)?;
    disk.sync_directory(&holes.directory)
        .map_err(Failure::Directory)
}

fn drop_directory(disk: &dyn Disk, directory: &Path, orphans: &Path) -> Result<(), DiskError> {
    let entries = match disk.list(directory) {
        Ok(entries) => entries,
        Err(error) if error.fault == DiskFault::Missing => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in &entries {
        let path = directory.join(&entry.name);
        if entry.is_directory {
            let moved_to = recovery::move_away(disk, &path, orphans)?;
            tracing::warn!(
                path = %path.display(),
                moved_to = %moved_to.display(),
                "a directory in a dropped leaf partition's was moved away"
            );
        } else {
            disk.unlink(&path)?;
        }
    }
    disk.remove_directory(directory)?;
    match directory.parent() {
        Some(parent) => disk.sync_directory(parent),
        None => Ok(()),
    }
}
