//! Reading pinned snapshots.

pub mod part;
