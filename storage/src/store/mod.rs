//! The store: one leaf partition's disk side as a machine. No clock, no I/O, no await.
//!
//! Events come in (`on`), steps are published into its tail (`tail`, `publish`), effects go out. The
//! port performs each [`StoreEffect::Disk`] with [`crate::disk::perform`] on a thread that may block and
//! hands the outcome back as [`StoreEvent::Done`].
//!
//! Promises:
//! 1. Visible, committed and durable only grow within a lineage, but for a void, which is said
//!    ([`StoreEffect::Voided`]) and never moves durable.
//! 2. `durable` is said only when the commits up to it, the names of their files and every earlier
//!    segment of the lineage are synced.
//! 3. One create, commit or footer is being written at a time; a file has at most one sync on its way,
//!    and so has the directory.
//! 4. It starts a sync only when it is told to ([`Store::sync`]): the leaf's [`SyncGate`] counts those.
//! 5. At most two blocks, at most [`crate::limits::SEGMENTS_UNDURABLE_MAX`] segments that are not durable.
//!
//! Invariants across a void, a drain and a new lineage stand where they are kept: `chain.rs`.

mod chain;
mod holes;
mod machine;
mod outcome;
mod room;
mod show;
mod sync;
mod tail;
mod turn;
mod void;

use std::path::PathBuf;
use std::sync::Arc;

pub use machine::Store;
pub use sync::{SyncGate, SyncWanted};

use crate::counts::Counts;
use crate::disk::{DiskDone, DiskOp, Failure};
use crate::format::rejects::RejectKind;
use crate::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use crate::limits::{
    BATCHES_KEPT, DISK_RESERVE_BYTES, FLUSH_AGE_MS, FLUSH_BYTES, MERGE_ROWS_MEAN_MIN,
    SEGMENT_BYTES_MAX, SEGMENT_COMMITS_MAX, STORE_EFFECTS_MAX, SYNC_AGE_MS, SYNC_DIRTY_BYTES,
};
use crate::recovery::Note;
use crate::schema::Schema;

/// Whose store it is: what stands in its segments' headers, and where they lie.
#[derive(Clone, Debug)]
pub struct StoreIdentity {
    /// The table.
    pub table: TableId,
    /// The leaf partition.
    pub leaf_partition: LeafPartitionId,
    /// The Kafka partition it is paired with.
    pub kafka_partition: i32,
    /// The table's columns.
    pub schema: Arc<Schema>,
    /// The wall clock, ms since 1970, when `now_ms` was 0: for history alone, corrected by each step.
    pub unix_base_ms: i64,
    /// `data_dir/tables/<table>/<leaf partition>`; it must be there.
    pub directory: PathBuf,
    /// `data_dir/quarantine`; made when it is needed.
    pub quarantine: PathBuf,
    /// `data_dir/orphans`; made when it is needed.
    pub orphans: PathBuf,
}

/// When a store flushes, syncs, seals and merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// A commit covers at most so many offsets; at least 1.
    pub offsets_max: u64,
    /// A tail is flushed when its oldest row is this old.
    pub flush_age_ms: u64,
    /// A tail is flushed when it takes this many bytes.
    pub flush_bytes: u64,
    /// A file is synced when its oldest commit has waited this long.
    pub sync_age_ms: u64,
    /// A file is synced when this many bytes wait.
    pub sync_bytes: u64,
    /// A segment is sealed at this size,
    pub segment_bytes_max: u64,
    /// or at this many commits.
    pub segment_commits_max: u32,
    /// A sealed segment with fewer rows a commit than this is merged.
    pub merge_rows_mean_min: u32,
    /// Rows of a merged commit.
    pub merge_rows_max: u32,
    /// With fewer bytes free than this nothing is committed.
    pub disk_reserve_bytes: u64,
    /// The newest so many commits stay in the history one by one; a merge makes one of those before.
    pub batches_kept: u64,
}

impl Default for StoreSettings {
    fn default() -> StoreSettings {
        StoreSettings {
            offsets_max: 1_000_000,
            flush_age_ms: FLUSH_AGE_MS,
            flush_bytes: FLUSH_BYTES,
            sync_age_ms: SYNC_AGE_MS,
            sync_bytes: SYNC_DIRTY_BYTES,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            segment_commits_max: SEGMENT_COMMITS_MAX,
            merge_rows_mean_min: MERGE_ROWS_MEAN_MIN,
            merge_rows_max: crate::limits::BLOCK_ROWS_MAX,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
            batches_kept: BATCHES_KEPT,
        }
    }
}

/// What the catalog says should be: where a lineage begins and which are still alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineageStart {
    /// The lineage that should be.
    pub lineage: Lineage,
    /// Segments of lower lineages are unlinked.
    pub live_lineage: Lineage,
    /// Its first offset.
    pub start_offset: Offset,
    /// The id of the topic that it counts; all zero where the broker has none.
    pub topic_id: TopicId,
}

/// One step: what became of the offsets from the visible cursor to `next_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The visible cursor once it is published.
    pub next_offset: Offset,
    /// What became of each offset; they add up to `next_offset - visible`.
    pub counts: Counts,
    /// Leader epoch of its last record batch; -1 unknown.
    pub leader_epoch: i32,
    /// Bytes of the record batches as they came from the broker.
    pub extracted_bytes: u64,
    /// When it was loaded, ms since 1970.
    pub unix_ms: i64,
}

/// A commit that carries only an error: the partition entered Failed, or skipped a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// The offset it is about; a fault of the partition as a whole has the cursor's.
    pub offset: Offset,
    /// The message's timestamp, ms since 1970; 0 unknown.
    pub timestamp_ms: i64,
    /// When it happened, ms since 1970.
    pub unix_ms: i64,
    /// ERROR_CODE.
    pub code: u16,
    /// ERROR_KIND: `RejectKind::Fault(..)`.
    pub kind: RejectKind,
    /// The line in the message, from 1; 0 none.
    pub line: u32,
    /// The column to blame, by the schema's order.
    pub column: Option<u16>,
    /// What happened, in a line.
    pub text: String,
    /// The message, whole; empty where none is to blame.
    pub message: Vec<u8>,
}

/// What a store is told.
#[derive(Debug)]
pub enum StoreEvent {
    /// Recover and publish what is there. Once at attach; again to leave Failed.
    Open(LineageStart),
    /// A deadline passed ([`Store::next_deadline_ms`]), or a query rang the view's alarm.
    Tick,
    /// New settings; nothing is interrupted.
    Configure(Box<StoreSettings>),
    /// Flush and sync all; answered by [`StoreEffect::Drained`].
    Drain,
    /// Drain, then begin a lineage; answered by [`StoreEffect::Rewound`]. Repeated: answered again.
    Rewind(LineageStart),
    /// Unlink all of it; answered by [`StoreEffect::Dropped`].
    Drop,
    /// Keep an error in the history.
    Fault(Box<FaultRecord>),
    /// Memory or disk space may have become free.
    Room,
    /// A disk operation ended.
    Done(Box<DiskDone>),
}

/// What a store wants done or says.
#[derive(Debug)]
pub enum StoreEffect {
    /// Perform this where blocking is allowed, and answer with [`StoreEvent::Done`].
    Disk(Box<DiskOp>),
    /// `Open` is done: loading may begin at `cursor`.
    Recovered(Box<RecoveredReport>),
    /// A commit is written.
    Committed {
        /// Its number: BATCH_ID's lower 40 bits.
        number: u64,
        /// The committed cursor.
        offset: Offset,
        /// Rows in it.
        rows: u32,
    },
    /// The durable cursor moved.
    Durable {
        /// Its lineage.
        lineage: Lineage,
        /// The cursor.
        offset: Offset,
        /// Leader epoch of the last durable commit; -1 unknown.
        leader_epoch: i32,
    },
    /// A write or sync failed: all past the durable cursor is gone from the snapshot; fetch again.
    Voided {
        /// The cursor, durable.
        cursor: Offset,
        /// What failed.
        why: Failure,
    },
    /// `Drain` is done.
    Drained {
        /// The cursor, durable.
        cursor: Offset,
    },
    /// `Rewind` is done: the new lineage's segment is durable.
    Rewound {
        /// The lineage.
        lineage: Lineage,
        /// Its first offset.
        cursor: Offset,
    },
    /// `Drop` is done.
    Dropped,
    /// The store stands still until `Open`.
    Failed(Failure),
    /// Loading has to wait.
    Held(Blocked),
    /// It may go on.
    Released,
}

/// Why [`Store::tail`] gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocked {
    /// Not open, or stopped for good: failed, dropped.
    Closed,
    /// Draining, or a new lineage begins.
    Draining,
    /// The partition is voiding what a failed write or sync left.
    Voiding,
    /// One block is full and the other is being written.
    BothBlocksFull,
    /// The leaf's pool has no block.
    Memory,
    /// The disk is full.
    Space,
}

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredReport {
    /// The lineage it stands in now.
    pub lineage: Lineage,
    /// The cursor, durable.
    pub cursor: Offset,
    /// Leader epoch of the last commit of this lineage; -1 unknown.
    pub leader_epoch: i32,
    /// See [`Store::leader_epoch_reaches`].
    pub leader_epoch_reaches: Offset,
    /// Commits kept, those that merged ones stand for among them.
    pub commits: u64,
    /// Rows kept.
    pub rows: u64,
    /// What was repaired, in order.
    pub notes: Vec<Note>,
}

/// The cursors of a store: `visible >= committed >= durable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// The next offset to load.
    pub visible: Offset,
    /// As far as the commits reach.
    pub committed: Offset,
    /// As far as a power loss would leave it.
    pub durable: Offset,
}

/// A reused, bounded list of effects.
#[derive(Debug, Default)]
pub struct StoreEffects(Vec<StoreEffect>);

impl StoreEffects {
    /// Room for all that one event can cause.
    #[must_use]
    pub fn new() -> StoreEffects {
        StoreEffects(Vec::with_capacity(STORE_EFFECTS_MAX))
    }

    /// Adds one.
    ///
    /// # Panics
    /// Past [`STORE_EFFECTS_MAX`]: whoever calls takes the effects out after each event.
    pub fn push(&mut self, effect: StoreEffect) {
        assert!(
            self.0.len() < STORE_EFFECTS_MAX,
            "a bounded list of effects"
        );
        self.0.push(effect);
    }

    /// Takes them out, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, StoreEffect> {
        self.0.drain(..)
    }
}
