//! The count of a block's published marks: the one word that the writer and the readers share.
//!
//! What the writer wrote before [`Marks::publish`], a reader that finds that count in
//! [`Marks::published`] sees. Nothing else orders a block's bytes. The atomic is [`crate::sync`]'s, so
//! that a test runs this very file under loom.

use crate::sync::{AtomicU32, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Marks(AtomicU32);

impl Marks {
    /// None.
    pub fn new() -> Marks {
        Marks(AtomicU32::new(0))
    }

    /// From now on `count` marks may be looked at, and all that lies below them. One writer calls it.
    pub fn publish(&self, count: u32) {
        self.0.store(count, Ordering::Release);
    }

    /// How many marks may be looked at.
    pub fn published(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
