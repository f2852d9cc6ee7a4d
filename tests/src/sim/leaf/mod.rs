//! The leaf's simulation: the whole leaf, its stores and recovery in one thread, over a simulated disk
//! and clock and brokers driven at the level of bytes.
//!
//! The law, looked at after each recovery, now and then, and at the end when all is drained: within a
//! lineage, from its start, each offset below the cursor is exactly one of loaded, rejected, empty,
//! skipped, control, aborted, gap or lost, and what was loaded equals the topic's rows. What was said to
//! be durable is there after any crash. And it lives: once nothing fails any more, it reaches the log's
//! end.

mod aggregator;
mod broker;
mod drive;
mod finish;
mod law;
mod log;
#[cfg(test)]
mod regressions;
mod sessions;

use ingest::leaf::rows::Row;

use super::case::Case;
use super::disk::{CRASHES, DiskFaultKind};
use super::shrink::Suite;
use super::{Coverage, Trace};

/// Events of a seed, on average.
pub const EVENTS_MEAN: u64 = 300;

/// This simulation.
pub const SUITE: Suite = Suite {
    name: "leaf",
    run,
    must_be_covered,
    faults,
};

fn run(case: &Case, coverage: &mut Coverage, trace: &mut Trace) -> Result<(), String> {
    drive::Drive::new(case, coverage, trace).run()
}

fn must_be_covered() -> Vec<String> {
    let rows = Row::ALL.iter().map(|row| format!("leaf: {}", row.words()));
    // No segment of a seed is long enough to be merged: what renames is driven by the storage part.
    let disk = DiskFaultKind::ALL
        .iter()
        .filter(|fault| **fault != DiskFaultKind::Rename);
    let disk = disk.map(ToString::to_string);
    let named = broker::FAULTS.iter().chain(&CRASHES).chain(&drive::EVENTS);
    let named = named.map(|name| (*name).to_owned());
    rows.chain(disk).chain(named).collect()
}

fn faults() -> Vec<String> {
    let disk = DiskFaultKind::ALL.iter().map(ToString::to_string);
    let named = broker::FAULTS.iter().chain(&CRASHES);
    disk.chain(named.map(|name| (*name).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds_and_every_row_of_the_state_table_is_taken() {
        let mut coverage = Coverage::default();
        for seed in 0..SEEDS {
            if let Err(violation) = SUITE.check(&Case::of(seed), &mut coverage) {
                let events = violation.events.join("\n");
                panic!("seed {seed}: {}\n{events}", violation.what);
            }
        }
        for what in must_be_covered() {
            let rare = RARE.iter().any(|rare| what.contains(rare));
            assert!(rare || coverage.count(&what) > 0, "{what} never happened");
        }
    }

    /// Few enough for a unit test; the test command runs thousands.
    const SEEDS: u64 = 300;
    /// What so few seeds may miss.
    const RARE: [&str; 6] = [
        "a sync says so after one that failed",
        "the topic is not known there",
        "diverged",
        "the second time",
        "the block is full",
        "retriable",
    ];
}
