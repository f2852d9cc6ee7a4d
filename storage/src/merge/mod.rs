//! Merging: sealed, durable segments of many small commits become one of few large ones.
//!
//! A temporary is written and synced, renamed to the last input's sequence and a rewrite above it with
//! the first input's `prev`, and the directory is synced; then the store swaps and unlinks the inputs.
//! Each merged commit carries the records that it replaces, so history and batch ids survive.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{DiskError, Pages};
use crate::format::CommitRecord;
use crate::format::{ParsedHeader, SegmentHeader};
use crate::ids::Sequence;

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
    /// With fewer bytes free than this nothing is written.
    pub reserve_bytes: u64,
}

/// One input.
#[derive(Clone, Debug)]
pub struct MergeInput {
    /// Its sequence.
    pub sequence: Sequence,
    /// Its header.
    pub header: Arc<ParsedHeader>,
    /// Its bytes.
    pub pages: Arc<dyn Pages>,
    /// Its content, each commit with the byte at which it begins.
    pub commits: Vec<(u64, Arc<CommitRecord>)>,
}

/// A merged segment, durable under its name.
#[derive(Debug)]
pub struct MergedSegment {
    /// The inputs that it replaces, oldest first.
    pub inputs: Vec<Sequence>,
    /// Its header.
    pub header: Arc<ParsedHeader>,
    /// What readers read.
    pub pages: Arc<dyn Pages>,
    /// Its commits, each with the byte at which it begins.
    pub commits: Vec<(u64, Arc<CommitRecord>)>,
    /// Where they end.
    pub end_byte: u64,
}

/// A merge that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeFailure {
    /// The temporary could not be written; it is unlinked and the inputs stand as they did.
    GivenUp(DiskError),
    /// An input's bytes are not what was written.
    Damaged {
        /// Which input.
        sequence: Sequence,
        /// What is wrong.
        what: String,
    },
    /// The rename's directory sync failed: which of the names survive is unknown.
    Directory(DiskError),
}
