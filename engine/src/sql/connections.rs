//! What the server counts of connections, for SHOW STATUS. MySQL's names and meanings.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that many threads count up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Now so many.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// At least so many.
    pub fn raise_to(&self, least: u64) {
        self.0.fetch_max(least, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters, since the start.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// `Connections`: all that were accepted, logged in or not.
    pub accepted: Counter,
    /// `Aborted_connects`: of those, that did not become a session.
    pub aborted_connects: Counter,
    /// `Aborted_clients`: sessions that ended without COM_QUIT: the client died, or was cut off or killed.
    pub aborted_clients: Counter,
    /// `Connection_errors_max_connections`: refused because `max_connections` were logged in.
    pub over_max_connections: Counter,
    /// `Connection_errors_accept`: that the kernel did not give.
    pub accept_errors: Counter,
    /// `Connection_control_delay_generated`: logins that had to wait for earlier failures.
    pub delays: Counter,
    /// `Max_used_connections`: sessions at once, at most.
    pub max_used: Counter,
    /// `Pinleaf_logins_open`: connections that are not logged in, now.
    pub logins_open: Counter,
    /// `Pinleaf_logins_dropped`: of those, that had to make room for others.
    pub logins_dropped: Counter,
}
