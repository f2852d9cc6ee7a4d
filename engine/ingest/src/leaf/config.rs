//! What a leaf is started with, and what can go wrong with the leaf itself.

use std::path::PathBuf;

/// A leaf's settings, validated: `node` has checked the CPU, the directory and the sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafConfig {
    /// Its number among the node's leaves, from 0.
    pub index: u32,
    /// The CPU it is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// What its blocks and responses may take together.
    pub memory_bytes: u64,
    /// The directory that holds `tables/`, `orphans/` and `quarantine/`.
    pub data_dir: PathBuf,
    /// A tail older than this is committed.
    pub flush_age_ms: u64,
    /// A commit older than this is synced.
    pub sync_age_ms: u64,
    /// Loading stops when fewer bytes than this are free on the disk.
    pub disk_reserve_bytes: u64,
    /// A lane of so many partitions makes a fetch session with its broker; at least 1.
    pub session_partitions_min: usize,
    /// Spin before parking: 40 µs of median freshness for a whole core.
    pub spin: bool,
}

/// What can go wrong with a leaf as a whole; what goes wrong with a leaf partition is a
/// [`super::order::Failure`].
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The machine's fault: no io_uring, too little locked memory, no thread.
    #[error("leaf {index} cannot start: {source}{mend}")]
    Start {
        /// Which leaf.
        index: u32,
        /// What the kernel said.
        source: std::io::Error,
        /// What to do about it, beginning with "; ", or empty.
        mend: &'static str,
    },
    /// The orders' queue is full: back off, the leaf is busy.
    #[error("leaf {index} has {} orders waiting", crate::limits::ORDERS_QUEUED_MAX)]
    Busy {
        /// Which leaf.
        index: u32,
    },
    /// The leaf has ended.
    #[error("leaf {index} has ended")]
    Ended {
        /// Which leaf.
        index: u32,
    },
}
