//! The leaf's simulation: the whole leaf, its stores and recovery in one thread, over a simulated disk
//! and clock and brokers driven at the level of bytes. Aggregator and user are played: answers come late,
//! twice, out of order or never, and statements at any moment.
//!
//! The law ([`super::law`]) is looked at after each recovery, now and then, and at the end when all is
//! drained. What was said to be durable is there after any crash; a failure has its reason; and it
//! lives: once nothing fails any more, it reaches the log's end.

mod aggregator;
mod answers;
mod drive;
mod finish;
mod reasons;
#[cfg(test)]
mod regressions;
mod topic;
mod user;

use ingest::leaf::rows::Row;

use super::case::Case;
use super::disk::{CRASHES, DiskFaultKind};
use super::kafka::{CONTENTS, FAULTS};
use super::shrink::Suite;
use super::world::EVENTS;
use super::{Coverage, Trace};

/// Steps of the leaf's port between the events of a seed, on average.
pub const STEPS_MEAN: u64 = 2_000;

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
    rows.chain(faults()).collect()
}

fn faults() -> Vec<String> {
    let disk = DiskFaultKind::ALL.iter().map(ToString::to_string);
    let named = FAULTS.iter().chain(&CONTENTS).chain(&CRASHES);
    let named = named
        .chain(&EVENTS)
        .chain(&answers::FAULTS)
        .chain(&user::STATEMENTS);
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
        for row in Row::ALL {
            let row = format!("leaf: {}", row.words());
            let rare = RARE.iter().any(|rare| row.contains(rare));
            assert!(rare || coverage.count(&row) > 0, "{row} never happened");
        }
    }

    /// Few enough for a unit test; the test command runs thousands.
    const SEEDS: u64 = 150;
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
