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

use std::panic::{AssertUnwindSafe, catch_unwind};

use ingest::leaf::rows::Row;

use super::disk::{CRASHES, DiskFaultKind};
use super::storage::Violation;
use super::{Coverage, Trace};

/// Events of a seed, on average.
pub const EVENTS_MEAN: u64 = 300;

/// Runs one seed; one that breaks the law is run again to tell how.
///
/// # Errors
/// The [`Violation`].
pub fn run_seed(seed: u64, coverage: &mut Coverage) -> Result<(), Box<Violation>> {
    if attempt(seed, coverage, &mut Trace::new(false)).is_ok() {
        return Ok(());
    }
    let mut trace = Trace::new(true);
    let what = match attempt(seed, &mut Coverage::default(), &mut trace) {
        Err(what) => what,
        Ok(()) => "it failed once and not again: the simulation is not deterministic".to_owned(),
    };
    Err(Box::new(Violation {
        seed,
        what,
        events: trace.events().map(str::to_owned).collect(),
    }))
}

fn attempt(seed: u64, coverage: &mut Coverage, trace: &mut Trace) -> Result<(), String> {
    let run = AssertUnwindSafe(|| drive::Drive::new(seed, coverage, trace).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("of another kind")))
    })
}

/// What every run over many seeds must have met.
#[must_use]
pub fn must_be_covered() -> Vec<String> {
    let rows = Row::ALL.iter().map(|row| format!("leaf: {}", row.words()));
    // No segment of a seed is long enough to be merged: what renames is driven by the storage part.
    let faults = DiskFaultKind::ALL
        .iter()
        .filter(|fault| **fault != DiskFaultKind::Rename);
    let faults = faults.map(|fault| format!("fault: {fault:?}"));
    let named = broker::FAULTS.iter().chain(&CRASHES).chain(&drive::EVENTS);
    let named = named.map(|name| (*name).to_owned());
    rows.chain(faults).chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds_and_every_row_of_the_state_table_is_taken() {
        let mut coverage = Coverage::default();
        for seed in 0..SEEDS {
            if let Err(violation) = run_seed(seed, &mut coverage) {
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
