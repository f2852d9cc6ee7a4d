//! The pool of bytes that queries share: no large reservation may take all of it.
//!
//! An eighth is kept for reservations that stay small, so that a large one which took whatever it could get does not
//! have each small query refused: what `SELECT 1` reserves is small. A reservation is small up to a sixteenth, and
//! [`STATEMENT_BATCHES_BYTES`] at most. Who comes first is served first, in both parts; one query may have many.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_err};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

use crate::limits::{QUERY_BYTES_KEPT_SHARE, STATEMENT_BATCHES_BYTES, STATEMENT_BATCHES_SHARE};

/// The pool.
#[derive(Debug)]
pub(super) struct SharedPool {
    bytes_max: usize,
    used: AtomicUsize,
}

impl SharedPool {
    /// Of so many bytes.
    pub(super) fn new(bytes_max: usize) -> SharedPool {
        SharedPool {
            bytes_max,
            used: AtomicUsize::new(0),
        }
    }

    /// How much may be used once a reservation has so many bytes.
    fn limit(&self, reserved: usize) -> usize {
        let small = STATEMENT_BATCHES_BYTES.min(self.bytes_max / STATEMENT_BATCHES_SHARE);
        match reserved <= small {
            true => self.bytes_max,
            false => self.bytes_max - self.bytes_max / QUERY_BYTES_KEPT_SHARE,
        }
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "query_bytes"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let limit = self.limit(reservation.size().saturating_add(additional));
        let grown = |used: usize| used.checked_add(additional).filter(|used| *used <= limit);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        match taken {
            Ok(_) => Ok(()),
            // Who is told says it in words of its own.
            Err(used) => resources_err!("{additional} bytes beside {used} of {limit}"),
        }
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::*;

    #[test]
    fn what_is_large_leaves_an_eighth_for_what_is_small() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(1 << 20));
        let open = |name: &str| MemoryConsumer::new(name).register(&pool);
        let large = open("large");
        assert!(large.try_grow((1 << 20) / 8 * 7 + 1).is_err());
        assert!(large.try_grow((1 << 20) / 8 * 7).is_ok());
        assert!(large.try_grow(1).is_err());
        // Both at once would be more than a small one.
        let small = open("small");
        assert!(small.try_grow(1 << 16).is_ok());
        assert!(small.try_grow(1).is_err());
        let other = open("other");
        assert!(other.try_grow(1 << 16).is_ok());
        // Now there is none.
        assert!(open("third").try_grow(1).is_err());
        assert!(other.try_grow(usize::MAX).is_err());
        drop(large);
        assert!(small.try_grow(1 << 19).is_ok());
        drop((small, other));
        assert_eq!(pool.reserved(), 0);
    }
}
