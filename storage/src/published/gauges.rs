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

/// Numbers of what a leaf partition holds; what it fetches is shown where it is fetched. Each alone is
/// right, together they are of about one moment. Offsets are -1 where they are not known.
#[derive(Debug)]
pub struct Gauges {
    state: AtomicU8,
    /// Why it is held or failed.
    pub why: ArcSwapOption<String>,
    /// The offset after the last visible one.
    pub visible: AtomicI64,
    /// The offset after the last committed one.
    pub committed: AtomicI64,
    /// The offset after the last durable one.
    pub durable: AtomicI64,
    /// Rows, visible.
    pub rows: AtomicU64,
    /// Messages that were committed as rejects. A fault is none: its message is met again.
    pub rejects: AtomicU64,
    /// Bytes on disk.
    pub bytes: AtomicU64,
    /// Commits since the process started.
    pub commits: AtomicU64,
    /// Syncs since the process started.
    pub syncs: AtomicU64,
    /// How long the last sync took from its start to its end, ms: a sync interval stretches to it.
    pub sync_ms: AtomicU64,
    /// Since when the oldest byte that is written and not known synced has waited, ms since 1970; -1
    /// where there is none.
    pub dirty_since_unix_ms: AtomicI64,
}

impl Default for Gauges {
    fn default() -> Gauges {
        let unknown = || AtomicI64::new(-1);
        Gauges {
            state: AtomicU8::new(PartitionState::Detached as u8),
            why: ArcSwapOption::empty(),
            visible: unknown(),
            committed: unknown(),
            durable: unknown(),
            rows: AtomicU64::new(0),
            rejects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_ms: AtomicU64::new(0),
            dirty_since_unix_ms: unknown(),
        }
    }
}

impl Gauges {
    /// The state. What was shown before it was said is seen by who has read it.
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
        let state = self.state.load(Ordering::Acquire);
        all.into_iter()
            .find(|s| *s as u8 == state)
            .unwrap_or_default()
    }

    /// Says the state, and why where it is held or failed.
    pub fn set_state(&self, state: PartitionState, why: Option<String>) {
        self.why.store(why.map(Arc::new));
        self.state.store(state as u8, Ordering::Release);
    }
}
