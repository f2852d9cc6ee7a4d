//! What a leaf partition shows to queries: one pointer that the leaf swaps, snapshots that never change.
//!
//! A query loads [`Published`] once and each block's mark once. A step becomes visible by its block's
//! mark alone; the pointer is swapped at flush, sync, seal, merge and void. A snapshot is a prefix of
//! the Kafka partition: the second block begins where the first one ended, and gets no step before the
//! first has had its last.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use arrow_array::ArrayRef;

use crate::block::{Block, Mark, RejectKind};
use crate::error::StorageError;
use crate::format::rejects::{Reject, Rejects};
use crate::format::{ColumnStatistics, CommitFacts};
use crate::ids::{LeafPartitionId, Offset, Sequence, TableId};
use crate::schema::Schema;
use crate::segment::{Alarm, Commit, Open, Segment, SegmentFile};
use crate::statistics;

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
    alarm: Arc<Alarm>,
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
    /// The cursor where there is neither segment nor block.
    pub start_offset: Offset,
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
            start_offset,
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
            alarm: Arc::default(),
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

    /// What readers ring when they meet damage.
    #[must_use]
    pub fn alarm(&self) -> &Arc<Alarm> {
        &self.alarm
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
        let published = &self.inner.published;
        let last = self.history().next_back();
        // An open segment without a commit still says where its lineage begins.
        let open = published
            .open
            .as_ref()
            .filter(|_| self.inner.open_commits == 0);
        let open = open.filter(|_| self.inner.sealed == published.sealed.len());
        match (open, last) {
            (Some(open), _) => open.file().header().header.first_offset,
            (None, Some((_, commit))) => commit.record().facts.next_offset,
            (None, None) => published.start_offset,
        }
    }

    /// The commits as the user's batches, oldest first; a merged one as those that it replaced.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = CommitFacts> {
        self.history()
            .flat_map(|(_, commit)| commit.record().batches().iter().copied())
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
    fn commit(file: &Arc<SegmentFile>, commit: &Arc<Commit>) -> Part {
        Part {
            source: Source::Commit(Arc::clone(file), Arc::clone(commit)),
        }
    }

    fn block(block: &Arc<Block>, mark: Mark) -> Part {
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
                let batches = commit.record().batches().iter();
                let batches = batches.flat_map(|b| std::iter::repeat_n(*b, b.rejects as usize));
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

/// A state in words, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PartitionState {
    /// Not attached yet.
    #[default]
    Detached,
    /// Reading what the disk holds.
    Recovering,
    /// Waits for a goal.
    Stopped,
    /// Asks the broker where to begin.
    Locating,
    /// Loads.
    Running,
    /// Backs off: memory, space, the broker.
    Held,
    /// Flushes and syncs before it stops.
    Draining,
    /// Stopped by an error; waits for START or a person.
    Failed,
}

/// Numbers of a leaf partition, for views and metrics. The leaf stores, anyone loads; each alone is
/// right, together they are of about one moment. Offsets are -1 where they are not known.
#[derive(Debug)]
#[allow(
    missing_docs,
    reason = "the names are the words of the design and of PIPELINES_PARTITIONS"
)]
pub struct Gauges {
    state: AtomicU8,
    /// Why it is held or failed.
    pub why: ArcSwapOption<String>,
    pub fetched: AtomicI64,
    pub visible: AtomicI64,
    pub committed: AtomicI64,
    pub durable: AtomicI64,
    pub last_stable_offset: AtomicI64,
    pub log_end: AtomicI64,
    pub log_start: AtomicI64,
    pub leader_broker: AtomicI64,
    pub leader_epoch: AtomicI64,
    /// The timestamp of the last visible message, ms since 1970; what the lag in ms is taken from.
    pub last_timestamp_ms: AtomicI64,
    pub rows: AtomicU64,
    pub rejects: AtomicU64,
    /// Bytes on disk.
    pub bytes: AtomicU64,
    /// Bytes taken from the broker.
    pub extracted_bytes: AtomicU64,
    pub skipped_batches: AtomicU64,
    pub commits: AtomicU64,
    pub syncs: AtomicU64,
    /// The interval between syncs as it is now, ms: it stretches under load.
    pub sync_interval_ms: AtomicU64,
}

impl Default for Gauges {
    fn default() -> Gauges {
        let unknown = || AtomicI64::new(-1);
        Gauges {
            state: AtomicU8::new(PartitionState::Detached as u8),
            why: ArcSwapOption::empty(),
            fetched: unknown(),
            visible: unknown(),
            committed: unknown(),
            durable: unknown(),
            last_stable_offset: unknown(),
            log_end: unknown(),
            log_start: unknown(),
            leader_broker: unknown(),
            leader_epoch: unknown(),
            last_timestamp_ms: unknown(),
            rows: AtomicU64::new(0),
            rejects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            extracted_bytes: AtomicU64::new(0),
            skipped_batches: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_interval_ms: AtomicU64::new(0),
        }
    }
}

impl Gauges {
    /// The state.
    #[must_use]
    pub fn state(&self) -> PartitionState {
        let all = [
            PartitionState::Detached,
            PartitionState::Recovering,
            PartitionState::Stopped,
            PartitionState::Locating,
            PartitionState::Running,
            PartitionState::Held,
            PartitionState::Draining,
            PartitionState::Failed,
        ];
        let state = self.state.load(Ordering::Relaxed);
        all.into_iter()
            .find(|s| *s as u8 == state)
            .unwrap_or_default()
    }

    /// Says the state, and why where it is held or failed.
    pub fn set_state(&self, state: PartitionState, why: Option<String>) {
        self.why.store(why.map(Arc::new));
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
