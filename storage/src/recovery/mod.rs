//! Recovery: six steps that make a directory whole again, before anything is mapped.
//!
//! 1. Touch the directory (a name comes and goes) and sync it. Refuse a torn hole whose segment is not there,
//!    before anything around it goes; unlink temporaries and what is below the live lineage.
//! 2. From the newest segment walk back by `prev`; unlink what is off that chain. In a predecessor
//!    content ends before the commit that its successor's `prev` names; a footer may follow.
//! 3. Read metadata; check bodies past the last durable end. What is found is decided by the table in
//!    [`decide`], a pure function of a few facts a message.
//! 4. In every segment that nothing newer vouches for, what is kept past its own durable end is
//!    written again, same bytes, same place, and synced: the page cache proves nothing. The bytes are
//!    checked as they are written; where they are no longer what step 3 saw, all steps begin anew.
//! 5. What segments in quarantine held is loaded again, given up, or told from now on ([`KnownHole`]).
//! 6. Sync the directory. Only now is it durable, and only now may anything be appended.
//!
//! A crash anywhere inside leaves what the same steps repair from the start. Nothing a file holds can
//! make it panic: what is not ours is refused with its name.

mod chain;
mod damaged;
pub mod decide;
mod holes;
mod name;
mod quarantine;
mod repair;
mod scan;
mod walk;

pub use holes::KnownHole;
pub use name::{FileName, bridge_path, hole_path, parse_name, segment_path, temporary_path};
pub use quarantine::{move_away, quarantine};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Failure};
use crate::format::ParsedHeader;
use crate::format::{CommitRecord, SegmentId};
use crate::ids::{LeafPartitionId, Sequence, TableId};
use crate::limits::RECOVERY_ROUNDS_MAX;
use crate::map::Pages;
use crate::store::LineageStart;
use repair::Stopped;

/// A leaf partition to be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverPartition {
    /// The table; a segment of another is refused.
    pub table: TableId,
    /// The leaf partition; likewise.
    pub leaf_partition: LeafPartitionId,
    /// Its directory.
    pub directory: PathBuf,
    /// `data_dir/quarantine`.
    pub quarantine: PathBuf,
    /// What the catalog says.
    pub start: LineageStart,
    /// Readers of this process may have mapped these files: nothing is cut, the newest is closed.
    pub mapped: bool,
    /// What a reader may map of the segment that is appended to.
    pub pages_bytes_max: u64,
    /// The wall clock, ms since 1970: when damage that is met was found.
    pub unix_ms: i64,
}

/// A leaf partition as it was left: all of it durable.
#[derive(Debug)]
pub struct RecoveredPartition {
    /// The chain, oldest first.
    pub segments: Vec<RecoveredSegment>,
    /// The highest sequence ever seen in the directory.
    pub sequence_last: Sequence,
    /// The number of the next commit.
    pub next_commit_number: u64,
    /// The newest segment below the live lineage: it keeps sequence and commit number from coming
    /// twice, and goes when the new lineage's segment is durable.
    pub leftover: Option<PathBuf>,
    /// What segments in quarantine held and is missing, and what the chain leads over.
    pub holes: Vec<KnownHole>,
    /// What was done, in order.
    pub notes: Vec<Note>,
}

/// One segment of the chain.
#[derive(Debug)]
pub struct RecoveredSegment {
    /// Its identity.
    pub id: SegmentId,
    /// Its header.
    pub header: ParsedHeader,
    /// Its file, where more will be written to it.
    pub file: Option<Arc<dyn DiskFile>>,
    /// What readers read.
    pub pages: Arc<dyn Pages>,
    /// Its content, each commit with the byte at which it begins.
    pub commits: Vec<(u64, CommitRecord)>,
    /// Where the content ends.
    pub end_byte: u64,
    /// Whether it has a whole footer.
    pub sealed: bool,
    /// Whether nothing may be appended to it.
    pub closed: bool,
}

/// One thing that recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The row of the table.
    pub row: decide::Row,
    /// The file, or the directory.
    pub path: PathBuf,
    /// Where in it.
    pub at_byte: u64,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note { row, path, at_byte } = self;
        write!(f, "{row:?} at byte {at_byte} of {}", path.display())
    }
}

/// Recovery stopped. Nothing was appended; the next attempt begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverFailure {
    /// Why.
    pub failure: Failure,
    /// What was done before.
    pub notes: Vec<Note>,
}

/// Recovers a leaf partition. May block for as long as it takes to read what is not known durable.
///
/// # Errors
/// [`RecoverFailure`]: the disk refused, the bytes are damaged (and now in quarantine), or the
/// directory and the catalog do not fit together.
pub fn recover(
    disk: &dyn Disk,
    partition: &RecoverPartition,
) -> Result<RecoveredPartition, RecoverFailure> {
    let mut notes = Vec::new();
    let mut changed = None;
    for _ in 0..RECOVERY_ROUNDS_MAX {
        let recovered = walk::Walk::new(disk, partition, &mut notes)
            .run()
            .map_err(Stopped::Failure)
            .and_then(|walked| repair::repair(disk, partition, walked, &mut notes));
        match recovered {
            Ok(recovered) => return Ok(RecoveredPartition { notes, ..recovered }),
            Err(Stopped::Failure(failure)) => return Err(RecoverFailure { failure, notes }),
            Err(Stopped::Changed { path, at_byte }) => {
                tracing::warn!(path = %path.display(), at_byte, "reads otherwise than a moment before");
                changed = Some((path, at_byte));
            }
        }
    }
    let (path, at_byte) = changed.unwrap_or_else(|| (partition.directory.clone(), 0));
    let what = format!(
        "reads otherwise each time, last at byte {at_byte}: nothing that it holds past what was synced can be trusted, look at the disk"
    );
    Err(RecoverFailure {
        failure: Failure::Mismatch { path, what },
        notes,
    })
}
