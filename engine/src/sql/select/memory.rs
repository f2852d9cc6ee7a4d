//! The memory that all queries share: one pool, no spilling, and an error that names the key.
//!
//! Whoever holds memory for a query reserves it here first:
//! - DataFusion's operators, what they keep: groups, builds of joins, what is sorted;
//! - a statement, before it is parsed and while it is bound, what its tree and its plan may take, and
//!   before it runs, what its batches in flight may ([`super::width`]);
//! - a function that makes strings, each string before it is made, until nobody holds the array
//!   ([`Purse`], which every call of a function finds in the plan's options), and those that stay in the plan
//!   ([`super::constants`]);
//! - a window over whole partitions, its input ([`super::kept`]).

use std::any::Any;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::cancel::Cancel;
use super::constants::Constants;
use super::pool::SharedPool;
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
    pub fn new(bytes_max: usize) -> std::result::Result<Arc<QueryMemory>, SqlError> {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(bytes_max));
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

    /// Reserves so many bytes until they are dropped.
    ///
    /// # Errors
    /// 1038: there are not as many left.
    pub(in crate::sql) fn hold(&self, bytes: usize) -> std::result::Result<Held, SqlError> {
        let held = MemoryConsumer::new("statement").register(&self.environment.memory_pool);
        let held = Held(held);
        self.hold_more(&held, bytes)?;
        Ok(held)
    }

    /// Reserves so many bytes more.
    ///
    /// # Errors
    /// 1038: there are not as many left.
    pub(super) fn hold_more(&self, held: &Held, bytes: usize) -> std::result::Result<(), SqlError> {
        held.0.try_grow(bytes).map_err(|_| self.exhausted())
    }

    /// What a plan's functions are given to reserve from.
    pub(super) fn purse(&self, cancel: &Cancel) -> Purse {
        Purse {
            pool: Arc::clone(&self.environment.memory_pool),
            cancel: cancel.clone(),
            constants: None,
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
                 [memory]), seven eighths of it for what reserves much; read fewer rows or columns, group by fewer \
                 values, or raise it",
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

/// Reserved bytes; dropped, it gives them back.
#[derive(Debug)]
pub struct Held(MemoryReservation);

/// The pool and the statement's KILL, as functions reach them: in the options that DataFusion hands to every call.
#[derive(Clone, Debug)]
pub(super) struct Purse {
    pool: Arc<dyn MemoryPool>,
    cancel: Cancel,
    /// While the statement is planned.
    constants: Option<Arc<Constants>>,
}

impl Purse {
    /// While a statement is planned, with what is counted of its constants.
    pub(super) fn while_planned(self, constants: &Arc<Constants>) -> Purse {
        Purse {
            constants: Some(Arc::clone(constants)),
            ..self
        }
    }

    /// The statement's constants, while it is planned.
    pub(super) fn constants(&self) -> Option<&Constants> {
        self.constants.as_deref()
    }

    /// The one in these options; a plan that was not made for a query has none, and no bound.
    pub(super) fn of(options: &ConfigOptions) -> Purse {
        let found = options.extensions.get::<Purse>().cloned();
        found.unwrap_or_else(|| Purse {
            pool: Arc::new(UnboundedMemoryPool::default()),
            cancel: Cancel::never(),
            constants: None,
        })
    }

    /// Nothing reserved yet.
    pub(super) fn open(&self, name: &'static str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// For a function whose row may take long.
    ///
    /// # Errors
    /// 1317 once the statement was killed.
    pub(super) fn check(&self) -> Result<()> {
        self.cancel.check()
    }
}

impl ConfigExtension for Purse {
    const PREFIX: &'static str = "pinleaf";
}

impl ExtensionOptions for Purse {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        datafusion::common::internal_err!("there is no option {key}")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
