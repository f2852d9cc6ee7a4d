//! What a leaf partition shows to queries: one pointer that the leaf swaps, snapshots that never change.
//!
//! A query loads [`Published`] once and each block's mark once. A step becomes visible by its block's
//! mark alone; the pointer is swapped at flush, sync, seal, merge and void. A snapshot is a prefix of
//! the Kafka partition: the second block begins where the first one ended, and gets no step before the
//! first has had its last.

mod gauges;
mod part;
mod segments;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::block::{Block, Mark};
use crate::error::StorageError;
use crate::format::CommitFacts;
use crate::ids::{LeafPartitionId, Lineage, Offset, Sequence, TableId};
use crate::recovery::KnownHole;
use crate::schema::Schema;
use crate::segment::{Alarm, Bell, Commit, Open, Segment, SegmentFile};

pub use gauges::{Gauges, PartitionState};
pub use part::{Part, RejectFacts};
pub use segments::{SegmentPart, TailPart};

/// One leaf partition, as the rest of the process sees it.
#[derive(Debug)]
pub struct PartitionView {
    /// The table.
    pub table: TableId,
    /// The leaf partition.
    pub leaf_partition: LeafPartitionId,
    /// The Kafka partition: the constant of `_partition`.
    pub kafka_partition: i32,
    /// The columns.
    pub schema: Arc<Schema>,
    /// Numbers to show.
    pub gauges: Gauges,
    published: ArcSwap<Published>,
    alarm: ArcSwap<Alarm>,
    bell: OnceLock<Bell>,
}

/// What is published at one moment.
#[derive(Clone, Debug)]
pub struct Published {
    /// Sealed segments, oldest first.
    pub sealed: Arc<[Arc<Segment>]>,
    /// The open segment; none before recovery.
    pub open: Option<Arc<Open>>,
    /// How many of its commits exist.
    pub open_commits: u32,
    /// The block that is being flushed, if any, and the one that is being filled, if any; in order.
    pub blocks: [Option<Arc<Block>>; 2],
    /// How far it is durable.
    pub durable: Durable,
    /// The lineage that it stands in.
    pub lineage: Lineage,
    /// The cursor where neither a segment of that lineage nor a block is there.
    pub start_offset: Offset,
    /// What is missing: segments in quarantine held it, and it is neither loaded again nor given up.
    pub holes: Arc<[KnownHole]>,
}

/// How far a leaf partition is durable: every segment of a lower sequence, the first `commits` of the
/// segment `sequence`, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The segment.
    pub sequence: Sequence,
    /// How many of its commits.
    pub commits: u32,
}

impl Published {
    /// Nothing yet.
    #[must_use]
    pub fn empty(start_offset: Offset) -> Published {
        Published {
            sealed: Arc::new([]),
            open: None,
            open_commits: 0,
            blocks: [None, None],
            durable: Durable::default(),
            lineage: Lineage(0),
            start_offset,
            holes: Arc::new([]),
        }
    }
}

impl PartitionView {
    /// A leaf partition that shows nothing yet.
    #[must_use]
    pub fn new(
        table: TableId,
        leaf_partition: LeafPartitionId,
        kafka_partition: i32,
        schema: Arc<Schema>,
        start_offset: Offset,
    ) -> PartitionView {
        PartitionView {
            table,
            leaf_partition,
            kafka_partition,
            schema,
            gauges: Gauges::default(),
            published: ArcSwap::from_pointee(Published::empty(start_offset)),
            alarm: ArcSwap::default(),
            bell: OnceLock::new(),
        }
    }

    /// Shows this from now on. The leaf calls it, nobody else.
    pub fn publish(&self, published: Published) {
        self.published.store(Arc::new(published));
    }

    /// What is shown now.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// What readers of the segments since the last recovery ring when they meet damage.
    #[must_use]
    pub fn alarm(&self) -> Arc<Alarm> {
        self.alarm.load_full()
    }

    /// What wakes the leaf when an alarm rings; the first one given stays.
    pub fn set_bell(&self, bell: Bell) {
        self.bell.get_or_init(|| bell);
    }

    /// Another alarm for what a recovery finds: the last one has rung, or is of files that are gone.
    pub(crate) fn renew_alarm(&self) {
        let alarm = Alarm::with_bell(self.bell.get().cloned());
        self.alarm.store(Arc::new(alarm));
    }

    /// An immutable view of all that is visible now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.published.load_full())
    }
}

/// An immutable view of a leaf partition: a prefix of its Kafka partition. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    published: Arc<Published>,
    /// Of each sealed segment all commits, but of the last named one.
    sealed: usize,
    /// How many commits of the first sealed segment that is not whole.
    sealed_partial: u32,
    open_commits: u32,
    marks: [Option<Mark>; 2],
    parts: OnceLock<Box<[Part]>>,
}

impl Snapshot {
    fn new(published: Arc<Published>) -> Snapshot {
        // Each mark is loaded once, here. The first block first: the second has no step that the first
        // is still to get.
        let marks = [0, 1].map(|block: usize| {
            let block = published.blocks[block].as_ref();
            block.map(|block| block.mark())
        });
        Snapshot::of(Inner {
            sealed: published.sealed.len(),
            sealed_partial: 0,
            open_commits: published.open_commits,
            published,
            marks,
            parts: OnceLock::new(),
        })
    }

    fn of(inner: Inner) -> Snapshot {
        Snapshot {
            inner: Arc::new(inner),
        }
    }

    /// The part of this snapshot that a power loss cannot take back.
    #[must_use]
    pub fn durable_prefix(&self) -> Snapshot {
        let published = &self.inner.published;
        let Durable { sequence, commits } = published.durable;
        let place = |file: &SegmentFile| file.header().header.id.sequence;
        let below = |segment: &&Arc<Segment>| place(segment.file()) < sequence;
        let whole = published.sealed.iter().take_while(below).count();
        let sealed_partial = match published.sealed.get(whole) {
            Some(segment) if place(segment.file()) == sequence => {
                commits.min(segment.commits().len() as u32)
            }
            _ => 0,
        };
        let open_commits = match &published.open {
            Some(open) if place(open.file()) == sequence => commits.min(self.inner.open_commits),
            _ => 0,
        };
        Snapshot::of(Inner {
            published: Arc::clone(published),
            sealed: whole,
            sealed_partial,
            open_commits,
            marks: [None, None],
            parts: OnceLock::new(),
        })
    }

    /// Each commit with its file, oldest first, rows or not.
    fn history(&self) -> impl DoubleEndedIterator<Item = (&Arc<SegmentFile>, &Arc<Commit>)> {
        let inner = &*self.inner;
        let sealed = &inner.published.sealed;
        let whole = sealed[..inner.sealed].iter().map(|s| (s, s.commits()));
        let partial = sealed.get(inner.sealed).into_iter();
        let partial = partial.map(|s| (s, &s.commits()[..inner.sealed_partial as usize]));
        let sealed = whole
            .chain(partial)
            .flat_map(|(segment, commits)| commits.iter().map(move |c| (segment.file(), c)));
        let open = inner.published.open.as_ref().into_iter();
        let open = open.flat_map(|open| open.first(inner.open_commits).map(|c| (open.file(), c)));
        sealed.chain(open)
    }

    fn blocks(&self) -> impl DoubleEndedIterator<Item = (&Arc<Block>, Mark)> {
        let blocks = self.inner.published.blocks.iter().zip(self.inner.marks);
        blocks.filter_map(|(block, mark)| Some((block.as_ref()?, mark?)))
    }

    /// What is missing among its rows: segments in quarantine held it. A query that says nothing of it would
    /// give fewer rows without a word.
    #[must_use]
    pub fn holes(&self) -> &[KnownHole] {
        &self.inner.published.holes
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts().iter().map(|part| u64::from(part.rows())).sum()
    }

    /// What holds rows, oldest first.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        self.inner.parts.get_or_init(|| {
            let commits = self
                .history()
                .map(|(file, commit)| Part::commit(file, commit));
            let blocks = self.blocks().map(|(block, mark)| Part::block(block, mark));
            commits
                .chain(blocks)
                .filter(|part| part.rows() > 0)
                .collect()
        })
    }

    /// The offset after the last one that it covers.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        if let Some((_, mark)) = self.blocks().next_back() {
            return mark.next_offset;
        }
        let inner = &*self.inner;
        let published = &inner.published;
        // A segment without a commit still says where its lineage begins.
        let end = |file: &SegmentFile, last: Option<&Arc<Commit>>| {
            let header = &file.header().header;
            let next = last.map(|commit| commit.record().facts.next_offset);
            (header.lineage, next.unwrap_or(header.first_offset))
        };
        let whole = inner.sealed.checked_sub(1);
        let whole = whole.map(|last| &published.sealed[last]);
        let whole = whole.map(|segment| end(segment.file(), segment.commits().last()));
        let rest = published.sealed.get(inner.sealed).map(|segment| {
            let last = segment.commits()[..inner.sealed_partial as usize].last();
            last.map(|last| end(segment.file(), Some(last)))
        });
        let open = published.open.as_ref().map(|open| {
            let last = open.first(inner.open_commits).next_back();
            end(open.file(), last)
        });
        let last = match rest {
            Some(partial) => partial.or(whole),
            None => open.or(whole),
        };
        match last {
            Some((lineage, next)) if lineage >= published.lineage => next,
            _ => published.start_offset,
        }
    }

    /// The commits as the user's batches, oldest first; a merged one as those that it replaced, which are
    /// read from its file when the iterator gets there: on the caller's thread, a commit at a time.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = Result<CommitFacts, StorageError>> {
        self.history()
            .flat_map(|(file, commit)| match commit.batches(file) {
                Ok(batches) => batches.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
    }

    /// The commits as they lie, oldest first: of a merged one the sum alone, and nothing is read.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = CommitFacts> {
        self.history().map(|(_, commit)| commit.record().facts)
    }

    /// The last commit, a merged one as the sum of what it replaced.
    #[must_use]
    pub fn last_commit(&self) -> Option<CommitFacts> {
        self.records().next_back()
    }

    /// How many batches gave up a range.
    #[must_use]
    pub fn skips(&self) -> u64 {
        self.records().map(|facts| facts.skips()).sum()
    }

    /// Everything that holds rejects or faults, oldest first: read each with [`Part::rejects`].
    pub fn reject_parts(&self) -> impl DoubleEndedIterator<Item = Part> {
        let commits = self
            .history()
            .filter(|(_, commit)| commit.record().rejects.bytes > 0);
        let commits = commits.map(|(file, commit)| Part::commit(file, commit));
        let blocks = self.blocks().filter(|(_, mark)| mark.rejects_end > 0);
        commits.chain(blocks.map(|(block, mark)| Part::block(block, mark)))
    }

    /// All rejects and faults, oldest first.
    pub fn rejects(&self) -> impl Iterator<Item = Result<RejectFacts, StorageError>> {
        self.reject_parts().flat_map(|part| match part.rejects() {
            Ok(rejects) => rejects.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }
}

#[cfg(test)]
mod tests;
