//! How much is measured: the full sizes, the quick ones that end within five minutes on two cores, and the tiny
//! ones that run under the tests.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine;

/// Sizes and choices.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Less of everything.
    pub quick: bool,
    /// Rounds behind the warm-up.
    pub rounds: u32,
    /// Whether there is one.
    pub warm_up: bool,
    /// Only the least of each workload's variants.
    pub tiny: bool,
    /// Names of workloads, of engines, or both; empty: all.
    pub only: Vec<String>,
    /// Where a new round is no longer begun.
    pub deadline: Option<Duration>,
    /// Of a topic.
    pub ingest_rows: u64,
    /// Rows a second, and seconds.
    pub freshness: Vec<(u64, u64)>,
    /// Stored rows.
    pub query_rows: Vec<u64>,
    /// How often a query is asked, behind one to warm up.
    pub query_repeats: u32,
    /// Loaded rows.
    pub recovery_rows: Vec<u64>,
    /// On disk.
    pub footprint_rows: u64,
    /// Of the footprint's topics.
    pub footprint_partitions: Vec<u32>,
    /// How long an idle node is watched.
    pub idle: Duration,
    /// At most, for `cores`.
    pub leaves: usize,
    /// That may be used.
    pub cpus: usize,
    /// Where engines write.
    pub free_bytes: u64,
}

impl Plan {
    /// The full sizes.
    #[must_use]
    pub fn full(dir: &Path) -> Plan {
        let cpus = machine::cpus().len();
        Plan {
            quick: false,
            rounds: 5,
            warm_up: true,
            tiny: false,
            only: Vec::new(),
            deadline: None,
            // Sixteen of ClickHouse's blocks at its settings for a load: none stands half full until an interval is
            // over.
            ingest_rows: 16 * 524_288,
            freshness: vec![(1_000, 60), (50_000, 20)],
            query_rows: vec![8_000_000, 50_000_000],
            query_repeats: 5,
            recovery_rows: vec![10_000_000, 50_000_000, 200_000_000],
            footprint_rows: 4_000_000,
            footprint_partitions: vec![1, 256],
            idle: Duration::from_secs(60),
            // One CPU stays with control, broker and queries.
            leaves: cpus.saturating_sub(1).clamp(1, 16),
            cpus,
            free_bytes: machine::free_bytes(dir),
        }
    }

    /// Within five minutes on two cores.
    #[must_use]
    pub fn quick(dir: &Path) -> Plan {
        Plan {
            quick: true,
            deadline: Some(Duration::from_secs(215)),
            // Two of the same.
            ingest_rows: 2 * 524_288,
            freshness: vec![(1_000, 3)],
            query_rows: vec![500_000],
            recovery_rows: vec![500_000],
            footprint_rows: 500_000,
            footprint_partitions: vec![1],
            idle: Duration::from_secs(1),
            ..Plan::full(dir)
        }
    }

    /// Within seconds: not to be read, but to be run.
    #[must_use]
    pub fn tiny(dir: &Path) -> Plan {
        Plan {
            rounds: 1,
            warm_up: false,
            tiny: true,
            deadline: None,
            ingest_rows: 5_000,
            freshness: vec![(1_000, 1)],
            query_rows: vec![5_000],
            query_repeats: 1,
            recovery_rows: vec![5_000],
            footprint_rows: 5_000,
            idle: Duration::from_millis(200),
            ..Plan::quick(dir)
        }
    }

    /// Whether a workload is wanted.
    #[must_use]
    pub fn wants_workload(&self, name: &str) -> bool {
        let named = WORKLOADS
            .iter()
            .any(|one| self.only.iter().any(|only| only == one));
        !named || self.only.iter().any(|only| only == name)
    }

    /// Whether an engine is wanted. Pinleaf always is.
    #[must_use]
    pub fn wants_engine(&self, name: &str) -> bool {
        let mut engines = self.only.iter();
        let every = engines.all(|only| WORKLOADS.contains(&only.as_str()));
        name == "pinleaf" || every || self.names_engine(name)
    }

    /// Whether it is asked for by its name. A peer's name stands for it at each of its settings.
    #[must_use]
    pub fn names_engine(&self, name: &str) -> bool {
        self.only
            .iter()
            .any(|only| name == only || peer_of(name) == only)
    }

    /// What a run must have in common with one that it continues. `binaries`: what tells them apart.
    #[must_use]
    pub fn written(&self, binaries: &Value, bootstrap: Option<&str>) -> Value {
        json!({
            "format": 2,
            "quick": self.quick,
            "rounds": self.rounds,
            "warm_up": self.warm_up,
            "only": self.only,
            "ingest_rows": self.ingest_rows,
            "freshness_rows_per_s_and_s": self.freshness,
            "query_rows": self.query_rows,
            "query_repeats": self.query_repeats,
            "recovery_rows": self.recovery_rows,
            "footprint_rows": self.footprint_rows,
            "footprint_partitions": self.footprint_partitions,
            "idle_s": self.idle.as_secs_f64(),
            "leaves": self.leaves,
            "broker": bootstrap.map_or("of the run's own", |_| "one that ran already"),
            "binaries": binaries,
        })
    }
}

/// An engine's name without that of its settings.
#[must_use]
pub fn peer_of(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(peer, _)| peer)
}

/// Their names.
pub const WORKLOADS: [&str; 6] = [
    "ingest",
    "freshness",
    "queries",
    "recovery",
    "footprint",
    "cores",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_takes_workloads_and_engines() {
        let mut plan = Plan::tiny(Path::new("/"));
        assert!(plan.wants_workload("ingest") && plan.wants_engine("spark-tuned"));
        plan.only = vec!["ingest".to_owned(), "clickhouse".to_owned()];
        assert!(plan.wants_workload("ingest") && !plan.wants_workload("queries"));
        assert!(plan.wants_engine("clickhouse-tuned") && plan.wants_engine("pinleaf"));
        assert!(!plan.wants_engine("spark-tuned") && !plan.names_engine("pinleaf"));
        assert!(!plan.wants_engine("clickhouse-too-tuned"));
        plan.only = vec!["clickhouse-tuned".to_owned()];
        assert!(plan.wants_workload("queries") && !plan.wants_engine("clickhouse-defaults"));
    }
}
