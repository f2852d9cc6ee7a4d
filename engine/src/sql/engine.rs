//! What all sessions share: who is connected, the clock, and what the node is called.

use std::sync::Arc;

use super::processes::Processes;

/// The time, µs since 1970: given by `node`, so that nothing below reads a clock of its own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What all sessions of a node share.
pub struct Engine {
    processes: Arc<Processes>,
    clock: Clock,
}

/// What an [`Engine`] is made of.
pub struct EngineParts {
    /// The registry of connections.
    pub processes: Arc<Processes>,
    /// The clock.
    pub clock: Clock,
}

impl Engine {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: EngineParts) -> Arc<Engine> {
        let EngineParts { processes, clock } = parts;
        Arc::new(Engine { processes, clock })
    }

    /// The registry of connections.
    #[must_use]
    pub fn processes(&self) -> &Arc<Processes> {
        &self.processes
    }

    /// µs since 1970.
    #[must_use]
    pub fn now_unix_us(&self) -> i64 {
        (self.clock)()
    }
}
