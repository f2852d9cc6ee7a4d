//! What all sessions share: the catalog, the aggregator, the leaves' views, the query cores, the clock.

use std::sync::Arc;

use ingest::leaf::Views;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::processes::Processes;
use super::select::QueryMemory;
use super::variables::ServerFacts;
use crate::aggregator::Aggregator;
use crate::catalog::{CatalogView, EngineVariables};
use crate::limits::AUDITS_MAX;

/// The time, µs since 1970: given by `node`, so that nothing below reads a clock of its own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What all sessions of a node share.
pub struct Engine {
    parts: EngineParts,
    facts: Arc<ServerFacts>,
    audits: Arc<Semaphore>,
}

/// What an [`Engine`] is made of.
pub struct EngineParts {
    /// The registry of connections.
    pub processes: Arc<Processes>,
    /// The clock.
    pub clock: Clock,
    /// The way to the aggregator, and to the catalog as it stands.
    pub aggregator: Aggregator,
    /// What the leaves publish.
    pub views: Arc<Views>,
    /// The memory that all queries share.
    pub memory: Arc<QueryMemory>,
    /// The runtime of the query cores.
    pub query_runtime: tokio::runtime::Handle,
    /// How many partitions of a plan run side by side.
    pub query_threads: usize,
    /// The configuration's `[variables]` over the defaults; SET GLOBAL beats them.
    pub variables: EngineVariables,
    /// What the node says of itself.
    pub facts: ServerFacts,
}

impl Engine {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: EngineParts) -> Arc<Engine> {
        let facts = Arc::new(parts.facts.clone());
        Arc::new(Engine {
            parts,
            facts,
            audits: Arc::new(Semaphore::new(AUDITS_MAX)),
        })
    }

    /// Room for one more AUDIT PIPELINE, for as long as the answer is held.
    #[must_use]
    pub fn room_for_audit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.audits).try_acquire_owned().ok()
    }

    /// The registry of connections.
    #[must_use]
    pub fn processes(&self) -> &Arc<Processes> {
        &self.parts.processes
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &EngineParts {
        &self.parts
    }

    /// What the node says of itself.
    #[must_use]
    pub fn facts(&self) -> &Arc<ServerFacts> {
        &self.facts
    }

    /// The catalog as it stands.
    #[must_use]
    pub fn catalog(&self) -> Arc<CatalogView> {
        self.parts.aggregator.catalog()
    }

    /// The engine's variables as they stand: default, configuration, SET GLOBAL.
    #[must_use]
    pub fn engine_variables(&self, catalog: &CatalogView) -> EngineVariables {
        let mut variables = self.parts.variables.clone();
        for (name, value) in catalog.global_variables() {
            // A catalog of another release may hold what this one does not take: the aggregator has
            // warned of it at the start, here it is as if it were not set.
            let _ = variables.set(name, value);
        }
        variables
    }

    /// µs since 1970.
    #[must_use]
    pub fn now_unix_us(&self) -> i64 {
        (self.parts.clock)()
    }
}
