//! What the aggregator orders of a leaf and what a leaf reports: plain, serialisable, idempotent data.
//!
//! Each order carries a generation; a leaf drops one that is below the last it took, and the
//! aggregator drops a report below the last it gave. An order says what should be, never how to get
//! there, so that it may be repeated.

use serde::{Deserialize, Serialize};

use crate::pipeline::{JsonMapping, SkipErrors, SqlType};

/// A broker's address and what is known of its leadership of one Kafka partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leader {
    /// The broker's id in its cluster.
    pub broker: i32,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port.
    pub port: u16,
    /// The leader epoch; -1 where the broker does not say.
    pub epoch: i32,
}

/// One column of the table, as the leaf's store needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its SQL type: decides how it is stored, and is carried as the annotation.
    pub sql_type: SqlType,
    /// Whether NULL may stand in it.
    pub nullable: bool,
}

/// What binds a leaf partition to a Kafka partition: the catalog's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// [`storage::ids::LeafPartitionId`].
    pub leaf_partition: u64,
    /// [`storage::ids::TableId`].
    pub table: u64,
    /// The pipeline's id, from the catalog.
    pub pipeline: u64,
    /// The Kafka partition's index.
    pub kafka_partition: i32,
    /// The topic's name.
    pub topic: String,
    /// The topic's id; all zero where the broker has none.
    pub topic_id: [u8; 16],
    /// The lineage that should be.
    pub lineage: u64,
    /// Segments of lower lineages are unlinked at every start.
    pub live_lineage: u64,
    /// The lineage's first offset.
    pub start_offset: i64,
    /// The lineage's end, exclusive, when the partition is handed over; `None` while open.
    pub end_offset: Option<i64>,
}

/// A pipeline's settings, as a leaf needs them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// A commit never covers more offsets than this.
    pub max_offsets_per_batch_partition: u64,
    /// Retries of an extract or transform failure before the partition fails.
    pub max_retries_per_batch_partition: u32,
    /// First pause between retries, ms.
    pub retry_interval_ms: u64,
    /// Longest pause between retries, ms.
    pub max_retry_interval_ms: u64,
    /// Whether the pause doubles.
    pub retry_exponential: bool,
    /// STOP_ON_ERROR.
    pub stop_on_error: bool,
    /// SKIP ... ERRORS.
    pub skip_errors: SkipErrors,
    /// A commit with more parse errors than this fails the batch; 0 = no threshold.
    pub parse_errors_threshold: u64,
    /// The newest so many commits of a leaf partition are kept in the history one by one.
    pub batches_kept: u64,
    /// FORMAT and its mapping.
    pub mapping: JsonMapping,
    /// `isolation.level`: read_committed unless the CONFIG says read_uncommitted.
    pub read_committed: bool,
    /// `fetch.min.bytes` and the like are not settings: see `limits`. `client.id` is.
    pub client_id: String,
}

/// Where a leaf partition should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// Load on from the cursor.
    Run,
    /// START ... FOREGROUND: load up to the log's end as the first response shows it, or so many
    /// commits; then drain, sync, stop, and report [`Report::CaughtUp`].
    Foreground {
        /// LIMIT n BATCHES.
        batches_max: Option<u64>,
    },
    /// Drain, sync, and say so.
    Stop,
    /// Drain, then a new segment of this lineage from this offset; stays stopped.
    Rewind {
        /// The new lineage.
        lineage: u64,
        /// Segments below it are unlinked.
        live_lineage: u64,
        /// Its first offset.
        start_offset: i64,
        /// The topic's id from here on: another one where a replaced topic was accepted.
        topic_id: [u8; 16],
    },
    /// Drain, then unlink the directory.
    Drop,
}

/// From the aggregator to a leaf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Take this leaf partition: recover it, publish what it holds, then stay stopped until a goal.
    Attach {
        /// The generation of this order.
        generation: u64,
        /// What is paired with what.
        pairing: Pairing,
        /// The version of the table's columns.
        schema_version: u32,
        /// The table's columns in order, without the hidden ones.
        columns: Vec<TableColumn>,
        /// The pipeline's settings; `None` for a leaf partition whose pipeline was dropped: read only.
        settings: Option<Settings>,
    },
    /// New settings; the partition must be stopped and drained.
    Configure {
        /// Which one.
        leaf_partition: u64,
        /// The generation of this order.
        generation: u64,
        /// The settings.
        settings: Settings,
    },
    /// A goal.
    Goal {
        /// Which one.
        leaf_partition: u64,
        /// The generation of this order.
        generation: u64,
        /// The goal.
        goal: Goal,
    },
    /// Who leads the Kafka partition now; accepted only if the epoch did not fall.
    Leader {
        /// Which one.
        leaf_partition: u64,
        /// Who.
        leader: Leader,
    },
    /// Answers [`Report::RangeUnknown`]: what the log holds now.
    LogRange {
        /// Which one.
        leaf_partition: u64,
        /// The generation that asked.
        generation: u64,
        /// The cursor when it asked: the answer says nothing of another one.
        offset: i64,
        /// The first offset it still holds.
        log_start_offset: i64,
        /// The offset after its last.
        log_end_offset: i64,
    },
    /// Answers [`Report::EpochUnchecked`] with OffsetForLeaderEpoch: where that epoch ends in a
    /// leader's log.
    EpochEnd {
        /// Which one.
        leaf_partition: u64,
        /// The epoch of the leader that answered: it says nothing of another's log.
        leader_epoch: i32,
        /// The epoch that was asked for.
        epoch: i32,
        /// Exclusive; -1 where the broker does not know the epoch.
        end_offset: i64,
    },
    /// Answers [`Report::LeaderUnknown`] when the topic is another one now, or is gone for good.
    TopicLost {
        /// Which one.
        leaf_partition: u64,
        /// One line: replaced or deleted, and what to do.
        text: String,
    },
    /// Drain everything, sync, and end.
    Shutdown,
}

/// Why a leaf partition is in Failed. The first word of the text says who must act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// ERROR_KIND of PIPELINES_ERRORS.
    pub kind: FailureKind,
    /// The offset at which it stands, or -1.
    pub offset: i64,
    /// The column, where one is to blame.
    pub column: Option<String>,
    /// One line: what happened, where, what to do.
    pub text: String,
    /// Whether trying again cannot help: the pipeline then stays failed over a restart.
    pub deterministic: bool,
    /// Whether it is this leaf partition's alone, of its disk or its files: its neighbours load on.
    #[serde(default)]
    pub alone: bool,
}

/// ERROR_KIND.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// Our own.
    Internal,
    /// The broker or its bytes.
    Extract,
    /// A transform program.
    Transform,
    /// A message or the disk.
    Load,
}

/// From a leaf to the aggregator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// Attach is done: what recovery found.
    Attached {
        /// Which one.
        leaf_partition: u64,
        /// The order's generation.
        generation: u64,
        /// The lineage it stands in.
        lineage: u64,
        /// Its durable cursor.
        durable: i64,
        /// How long recovery took, µs.
        recovery_us: u64,
        /// How many commits and rows it found.
        commits: u64,
        /// Rows found.
        rows: u64,
    },
    /// The durable cursor moved. At most one a sync.
    Durable {
        /// Which one.
        leaf_partition: u64,
        /// The lineage it stands in.
        lineage: u64,
        /// The durable cursor.
        offset: i64,
        /// The leader epoch of the last committed record batch; -1 unknown.
        leader_epoch: i32,
    },
    /// A goal is reached (Stop, Rewind: durable there; Drop: gone).
    Reached {
        /// Which one.
        leaf_partition: u64,
        /// The order's generation.
        generation: u64,
        /// The goal.
        goal: Goal,
        /// The durable cursor.
        cursor: i64,
    },
    /// The partition is in Failed and waits for START or a person.
    Failed {
        /// Which one.
        leaf_partition: u64,
        /// The order's generation.
        generation: u64,
        /// Why.
        failure: Failure,
    },
    /// The goal is Stop or Rewind (Attach is Stop), and what is to become durable for it, the first segment of a
    /// lineage too, found no room on the disk since the order; Reached follows when there is some. Once an order.
    NoRoom {
        /// Which one.
        leaf_partition: u64,
        /// The order's generation.
        generation: u64,
        /// What waits, and what to do.
        failure: Failure,
    },
    /// Who leads this one? At most one open question a topic.
    LeaderUnknown {
        /// Which one.
        leaf_partition: u64,
        /// What the leaf last knew; -1 nothing.
        epoch: i32,
    },
    /// What does the log hold? The cursor, or the end of FOREGROUND, is out of its range.
    RangeUnknown {
        /// Which one.
        leaf_partition: u64,
        /// The order's generation.
        generation: u64,
        /// The cursor.
        offset: i64,
    },
    /// Where does this epoch end? The leader's epoch is above that of the last committed record batch.
    EpochUnchecked {
        /// Which one.
        leaf_partition: u64,
        /// The leader's epoch, as the leaf knows it.
        leader_epoch: i32,
        /// The epoch of the last committed record batch.
        epoch: i32,
    },
    /// FOREGROUND: the partition reached the log's end as it stood when it was started, or its limit.
    CaughtUp {
        /// Which one.
        leaf_partition: u64,
        /// The order's generation.
        generation: u64,
        /// The durable cursor.
        cursor: i64,
        /// Rows loaded since the order.
        rows: u64,
        /// Messages rejected since the order.
        rejects: u64,
    },
    /// Shutdown is done.
    Ended,
}

impl Report {
    /// The leaf partition it is about; `None` for the leaf's own.
    #[must_use]
    pub fn leaf_partition(&self) -> Option<u64> {
        match *self {
            Report::Attached { leaf_partition, .. }
            | Report::Durable { leaf_partition, .. }
            | Report::Reached { leaf_partition, .. }
            | Report::Failed { leaf_partition, .. }
            | Report::NoRoom { leaf_partition, .. }
            | Report::LeaderUnknown { leaf_partition, .. }
            | Report::RangeUnknown { leaf_partition, .. }
            | Report::EpochUnchecked { leaf_partition, .. }
            | Report::CaughtUp { leaf_partition, .. } => Some(leaf_partition),
            Report::Ended => None,
        }
    }
}
