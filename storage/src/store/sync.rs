//! Which sync is next, and how many a leaf has on their way.
//!
//! A leaf with a dozen partitions could have a dozen syncs queue in the device and each would slow the
//! others; two are enough to keep it busy. The port asks every store what it wants and starts the
//! oldest while the gate is open:
//!
//! ```text
//! while gate.is_open():
//!     the store whose sync_wanted(now) has the lowest since_ms, if any → store.sync(now, out); gate.begin()
//! on DiskDone where is_sync() → gate.end()
//! ```

use crate::limits::SYNCS_PER_LEAF_MAX;

/// A sync that a store would start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncWanted {
    /// Since when it has waited; 0 where somebody waits for a drain. The lowest goes first.
    pub since_ms: u64,
}

/// Counts one leaf's syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncGate {
    on_their_way: u32,
}

impl SyncGate {
    /// None on its way.
    #[must_use]
    pub fn new() -> SyncGate {
        SyncGate::default()
    }

    /// Whether one more may start.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.on_their_way < SYNCS_PER_LEAF_MAX
    }

    /// One started.
    ///
    /// # Panics
    /// If the gate is shut: the caller asked [`SyncGate::is_open`].
    pub fn begin(&mut self) {
        assert!(self.is_open(), "at most {SYNCS_PER_LEAF_MAX} syncs a leaf");
        self.on_their_way += 1;
    }

    /// One ended.
    ///
    /// # Panics
    /// If none was on its way.
    pub fn end(&mut self) {
        assert!(self.on_their_way > 0, "a sync that began");
        self.on_their_way -= 1;
    }
}
