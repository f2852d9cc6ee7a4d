//! The memory that all queries share: one pool, no spilling, and an error that names the key.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::limits::MEMORY_CONSUMERS_NAMED;
use crate::sql::error::{Code, SqlError};

/// The pool. A query that would go beyond it fails with 1038; the others go on.
#[derive(Debug)]
pub struct QueryMemory {
    bytes_max: usize,
    environment: Arc<RuntimeEnv>,
}

impl QueryMemory {
    /// A pool of `bytes_max` bytes: the configuration's `[memory] query_bytes`.
    ///
    /// # Errors
    /// 1105 where DataFusion's environment cannot be made.
    pub fn new(bytes_max: usize) -> Result<Arc<QueryMemory>, SqlError> {
        let pool: Arc<dyn MemoryPool> = Arc::new(TrackConsumersPool::new(
            GreedyMemoryPool::new(bytes_max),
            NonZeroUsize::new(MEMORY_CONSUMERS_NAMED).unwrap_or(NonZeroUsize::MIN),
        ));
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
            )
            .build_arc()
            .map_err(|fault| SqlError::new(Code::Unknown, fault.to_string()))?;
        Ok(Arc::new(QueryMemory {
            bytes_max,
            environment,
        }))
    }

    /// The limit in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The bytes that queries hold now.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.environment.memory_pool.reserved()
    }

    /// A share of the pool for `who`, nothing yet.
    #[must_use]
    pub fn share(self: &Arc<QueryMemory>, who: &str) -> Share {
        let consumer = MemoryConsumer::new(who);
        Share {
            reservation: consumer.register(&self.environment.memory_pool),
            memory: Arc::clone(self),
        }
    }

    /// What DataFusion runs in.
    pub(super) fn environment(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.environment)
    }

    /// 1038, with the limit and where to raise it.
    pub(super) fn exhausted(&self) -> SqlError {
        SqlError::new(
            Code::OutOfMemory,
            format!(
                "Out of memory for queries: all of them together may use {} bytes (query_bytes in \
                 [memory]); read fewer rows or columns, group by fewer values, or raise it",
                self.bytes_max
            ),
        )
    }
}

/// What one statement that is no query holds of the pool; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    reservation: MemoryReservation,
    memory: Arc<QueryMemory>,
}

impl Share {
    /// Makes it so large, or leaves it as it is.
    ///
    /// # Errors
    /// 1038 where the pool has not so much left.
    pub fn resize(&mut self, bytes: usize) -> Result<(), SqlError> {
        let resized = self.reservation.try_resize(bytes);
        resized.map_err(|_| self.memory.exhausted())
    }
}
