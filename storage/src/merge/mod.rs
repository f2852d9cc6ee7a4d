//! Merging: sealed, durable segments of many small commits become one of few large ones.
//!
//! A temporary is written and synced, renamed to the last input's sequence and a rewrite above it with
//! the first input's `prev`, and the directory is synced; then the store swaps and unlinks the inputs.
//! Each merged commit carries the records that it replaces, so history and batch ids survive, as far as
//! retention wants them ([`HistoryFloor`]).
//!
//! Memory: one merged commit at a time, of at most `buffer_bytes_max`; a commit that has no neighbour
//! to be merged with is copied as it lies in its map, whatever its size.

mod history;
mod write;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub use history::HistoryFloor;
pub use write::merge;

use crate::disk::DiskError;
use crate::format::{ParsedHeader, SegmentHeader, SegmentId};
use crate::ids::Lineage;
use crate::limits::{FOOTER_BYTES_MAX, INDEX_BYTES_MAX, MERGE_BUFFER_BYTES, MERGE_INPUTS_MAX};
use crate::map::Pages;
use crate::pool::BlockPool;
use crate::segment::{Commit, SegmentFile};
use crate::store::StoreSettings;

/// Segments to be merged into one.
#[derive(Debug)]
pub struct MergeSegments {
    /// Where they lie.
    pub directory: PathBuf,
    /// The inputs, oldest first, neighbours in the chain.
    pub inputs: Vec<MergeInput>,
    /// The merged segment's header.
    pub header: SegmentHeader,
    /// Rows of a merged commit.
    pub rows_max: u32,
    /// Where the history that is kept begins.
    pub history: HistoryFloor,
    /// What may be in memory at a time: reserved by whoever asks for the merge.
    pub buffer_bytes_max: u64,
    /// With fewer bytes free than this nothing is written.
    pub reserve_bytes: u64,
}

/// What a merge has of a pool's budget, for as long as it is on its way.
#[must_use]
pub fn buffer_bytes(pool: &BlockPool) -> usize {
    let bytes = MERGE_BUFFER_BYTES.min(pool.block_bytes_max());
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// One input.
#[derive(Clone, Debug)]
pub struct MergeInput {
    /// Its file.
    pub segment: Arc<SegmentFile>,
    /// Its content.
    pub commits: Vec<Arc<Commit>>,
}

/// A merged segment, durable under its name.
#[derive(Debug)]
pub struct MergedSegment {
    /// The inputs that it replaces, oldest first.
    pub inputs: Vec<SegmentId>,
    /// Its header.
    pub header: ParsedHeader,
    /// What readers read.
    pub pages: Arc<dyn Pages>,
    /// Its commits.
    pub commits: Vec<Arc<Commit>>,
}

/// A merge that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeFailure {
    /// What was written, or mapped, could not be; it is unlinked and the inputs stand as they did.
    GivenUp(DiskError),
    /// An input's bytes are not what was written; the view's alarm rang.
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// The rename's directory sync failed: which of the names survive is unknown.
    Directory(DiskError),
}

/// A segment as [`choose`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Sealed and durable, footer and all.
    pub ready: bool,
    /// A merge made it: it is taken along, and never merged for its own sake, so merging ends.
    pub merged: bool,
    /// The one before it in the chain is the one that it names: no segment in quarantine lies between.
    pub follows: bool,
    /// Its lineage.
    pub lineage: Lineage,
    /// Its schema's version.
    pub schema_version: u32,
    /// Its commits.
    pub commits: u32,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// What a merged segment's index has for its commits, at most.
    pub index_bytes: u64,
}

/// Which neighbours to merge next, `segments` oldest first: the newest one with many small commits,
/// and those before it that are not much larger. So a row is rewritten a few times, not once a seal.
#[must_use]
pub fn choose(segments: &[Candidate], settings: &StoreSettings) -> Option<Range<usize>> {
    let small = |segment: &Candidate| {
        segment.ready
            && !segment.merged
            && segment.commits > 1
            && segment.index_bytes <= FOOTER_BYTES_MAX
            && segment.rows < u64::from(segment.commits) * u64::from(settings.merge_rows_mean_min)
    };
    let last = segments.iter().rposition(small)?;
    let newest = segments[last];
    let (mut first, mut rows, mut bytes) = (last, newest.rows, newest.bytes);
    let mut index_bytes = newest.index_bytes;
    while first > 0 && last - first + 1 < MERGE_INPUTS_MAX {
        let before = &segments[first - 1];
        let fits = before.ready
            && segments[first].follows
            && before.lineage == newest.lineage
            && before.schema_version == newest.schema_version
            && before.rows <= 2 * rows
            && bytes + before.bytes <= settings.segment_bytes_max
            && index_bytes + before.index_bytes <= INDEX_BYTES_MAX;
        if !fits {
            break;
        }
        first -= 1;
        rows += before.rows;
        bytes += before.bytes;
        index_bytes += before.index_bytes;
    }
    Some(first..last + 1)
}

#[cfg(test)]
mod tests;
