//! Numbers of a leaf partition, for views and metrics: stored by the leaf, loaded by anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

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
