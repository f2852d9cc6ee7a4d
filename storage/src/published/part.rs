//! A part of a snapshot: what a scan reads at a time, a commit over its map or a block up to a mark.

use std::sync::{Arc, OnceLock};

use arrow_array::ArrayRef;

use crate::block::{Block, Mark, RejectKind};
use crate::error::StorageError;
use crate::format::rejects::{Reject, Rejects};
use crate::format::{ColumnStatistics, CommitFacts};
use crate::ids::Offset;
use crate::segment::{Commit, SegmentFile};
use crate::statistics;

/// A commit, or a block up to a mark: at most 65,536 rows that are read together.
#[derive(Clone, Debug)]
pub struct Part {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Commit(Arc<SegmentFile>, Arc<Commit>),
    Block(Arc<Block>, Mark, Arc<[OnceLock<ColumnStatistics>]>),
}

impl Part {
    pub(super) fn commit(file: &Arc<SegmentFile>, commit: &Arc<Commit>) -> Part {
        Part {
            source: Source::Commit(Arc::clone(file), Arc::clone(commit)),
        }
    }

    pub(super) fn block(block: &Arc<Block>, mark: Mark) -> Part {
        let statistics = (0..block.columns()).map(|_| OnceLock::new()).collect();
        Part {
            source: Source::Block(Arc::clone(block), mark, statistics),
        }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> u32 {
        match &self.source {
            Source::Commit(_, commit) => commit.record().facts.rows,
            Source::Block(_, mark, _) => mark.rows_end,
        }
    }

    /// Whether it lies in memory alone.
    #[must_use]
    pub fn is_tail(&self) -> bool {
        matches!(self.source, Source::Block(..))
    }

    /// What may be known of column `index` without reading it. Of a block it is computed when it is
    /// first asked for.
    #[must_use]
    pub fn statistics(&self, index: usize) -> Option<ColumnStatistics> {
        match &self.source {
            Source::Commit(_, commit) => {
                Some(commit.record().columns.get(index)?.statistics.clone())
            }
            Source::Block(block, mark, known) => {
                let compute = || statistics::of_column(&block.column(index, *mark));
                Some(known.get(index)?.get_or_init(compute).clone())
            }
        }
    }

    /// The columns of `projection` as arrays of [`Part::rows`] each, over the map or the block.
    ///
    /// # Errors
    /// `Corrupt`: a checksum does not fit. `Disk`: the map cannot be read.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn read(&self, projection: &[usize]) -> Result<Vec<ArrayRef>, StorageError> {
        let columns = projection.iter().copied();
        match &self.source {
            Source::Commit(file, commit) => columns.map(|c| commit.read(file, c)).collect(),
            Source::Block(block, mark, _) => Ok(columns.map(|c| block.array(c, *mark)).collect()),
        }
    }

    /// Brings the columns' bytes into memory. Blocks: call it on a thread that may.
    ///
    /// # Errors
    /// `Disk`: they cannot be read.
    pub fn prefetch(&self, projection: &[usize]) -> Result<(), StorageError> {
        match &self.source {
            Source::Commit(file, commit) => commit.prefetch(file, projection),
            Source::Block(..) => Ok(()),
        }
    }

    /// The first offset that it covers.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        match &self.source {
            Source::Commit(_, commit) => commit.record().facts.first_offset,
            Source::Block(block, ..) => block.first_offset(),
        }
    }

    /// The offset after the last that it covers.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        match &self.source {
            Source::Commit(_, commit) => commit.record().facts.next_offset,
            Source::Block(_, mark, _) => mark.next_offset,
        }
    }

    /// Bytes that reading these columns touches.
    #[must_use]
    pub fn bytes(&self, projection: &[usize]) -> u64 {
        let columns = projection.iter().copied();
        match &self.source {
            Source::Commit(_, commit) => columns
                .flat_map(|index| commit.record().columns[index].buffers)
                .map(|buffer| u64::from(buffer.bytes))
                .sum(),
            Source::Block(block, mark, _) => columns
                .map(|index| block.column(index, *mark))
                .map(|column| (column.values.len() + column.data.len()) as u64)
                .sum(),
        }
    }

    /// Its rejects and faults.
    ///
    /// # Errors
    /// `Corrupt`: a checksum does not fit.
    pub fn rejects(&self) -> Result<Vec<RejectFacts>, StorageError> {
        match &self.source {
            Source::Block(block, mark, _) => {
                let rejects = Rejects::new(block.rejects(*mark)).filter_map(Result::ok);
                Ok(rejects
                    .map(|reject| RejectFacts::new(None, &reject))
                    .collect())
            }
            Source::Commit(file, commit) => {
                let bytes = commit.rejects(file)?;
                // Rejects lie in the order of the batches that brought them, each of which says how many.
                let batches = commit.batches(file)?.into_iter();
                let batches = batches.flat_map(|b| std::iter::repeat_n(b, b.rejects as usize));
                let rejects = Rejects::new(&bytes).filter_map(Result::ok);
                let of = |(batch, reject): (CommitFacts, Reject<'_>)| {
                    RejectFacts::new(Some(batch), &reject)
                };
                Ok(batches.zip(rejects).map(of).collect())
            }
        }
    }
}

/// A reject or fault, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectFacts {
    /// The batch that it came with; none while it is in the tail.
    pub batch: Option<CommitFacts>,
    /// The message's offset; a fault's cursor.
    pub offset: Offset,
    /// The message's timestamp, ms since 1970.
    pub timestamp_ms: i64,
    /// When, ms since 1970.
    pub unix_ms: i64,
    /// MySQL's error code.
    pub code: u16,
    /// What kind.
    pub kind: RejectKind,
    /// The line in the message, from 1; 0 for none.
    pub line: u32,
    /// The column to blame, by the schema's order.
    pub column: Option<u16>,
    /// What is wrong.
    pub text: String,
    /// The message's key.
    pub key: Option<Vec<u8>>,
    /// The message, whole.
    pub message: Vec<u8>,
}

impl RejectFacts {
    fn new(batch: Option<CommitFacts>, reject: &Reject<'_>) -> RejectFacts {
        RejectFacts {
            batch,
            offset: reject.offset,
            timestamp_ms: reject.timestamp_ms,
            unix_ms: reject.unix_ms,
            code: reject.code,
            kind: reject.kind,
            line: reject.line,
            column: reject.column,
            text: reject.text.to_owned(),
            key: reject.key.map(<[u8]>::to_vec),
            message: reject.message.to_vec(),
        }
    }
}
