//! SHOW STATUS: how the node stands, by MySQL's names where it has one.

use crate::sql::error::SqlError;
use crate::sql::listing::{Listing, NAME, TEXT};
use crate::sql::session::Session;

impl Session {
    pub(super) fn show_status(&self) -> Result<Listing, SqlError> {
        let mut listing = Listing::new(&[("Variable_name", NAME), ("Value", TEXT)]);
        let parts = self.engine.parts();
        let processes = parts.processes.list();
        let running = processes
            .iter()
            .filter(|process| process.command != "Sleep")
            .count();
        let counts = parts.processes.counts();
        let count = |counter: &crate::sql::connections::Counter| counter.get().to_string();
        let freshness = parts.views.freshness();
        let freshness_us = |quantile: f64| freshness.value_at_quantile(quantile).to_string();
        for (name, value) in [
            ("Aborted_clients", count(&counts.aborted_clients)),
            ("Aborted_connects", count(&counts.aborted_connects)),
            ("Connection_control_delay_generated", count(&counts.delays)),
            ("Connection_errors_accept", count(&counts.accept_errors)),
            (
                "Connection_errors_max_connections",
                count(&counts.over_max_connections),
            ),
            ("Connections", count(&counts.accepted)),
            ("Max_used_connections", count(&counts.max_used)),
            ("Pinleaf_freshness_p50_us", freshness_us(0.5)),
            ("Pinleaf_freshness_p99_us", freshness_us(0.99)),
            ("Pinleaf_freshness_p999_us", freshness_us(0.999)),
            ("Pinleaf_freshness_rows", freshness.len().to_string()),
            ("Pinleaf_logins_dropped", count(&counts.logins_dropped)),
            ("Pinleaf_logins_open", count(&counts.logins_open)),
            (
                "Pinleaf_query_memory_bytes",
                parts.memory.bytes_held().to_string(),
            ),
            (
                "Pinleaf_query_memory_limit_bytes",
                parts.memory.bytes_max().to_string(),
            ),
            ("Ssl_cipher", String::new()),
            ("Threads_connected", processes.len().to_string()),
            ("Threads_running", running.to_string()),
        ] {
            listing.push(vec![name.into(), value.into()])?;
        }
        Ok(listing)
    }
}
