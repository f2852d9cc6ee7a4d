//! The atomics that a test replaces by loom's.

pub use std::sync::atomic::{AtomicU32, Ordering};
