//! The storage simulation: a store over a simulated disk, through everything that can happen to it.
//!
//! The law, looked at after each recovery, at the end and now and then: within a lineage each offset
//! from its start below the cursor is exactly one class; rows and rejects equal the topic's; what was
//! said to be durable is there after any crash; a lineage that was left ends where it was drained; a
//! dead one is gone; the durable cursor never goes back within a lineage.

mod drive;
pub mod truth;

use drive::Drive;

use super::case::Case;
use super::disk::{CRASHES, DiskFaultKind};
use super::shrink::Suite;
use super::{Coverage, Trace};

/// Events of a seed, on average.
pub const EVENTS_MEAN: u64 = 300;

/// This simulation.
pub const SUITE: Suite = Suite {
    name: "storage",
    run,
    must_be_covered,
    faults,
};

fn run(case: &Case, coverage: &mut Coverage, trace: &mut Trace) -> Result<(), String> {
    Drive::new(case, coverage, trace).run()
}

/// Each at least so often as is asked of it.
fn must_be_covered() -> Vec<String> {
    let rows = storage::recovery::decide::Row::ALL;
    let rows = rows.iter().map(|row| format!("recovery: {row:?}"));
    let faults = DiskFaultKind::ALL.iter().map(ToString::to_string);
    let named = CRASHES.iter().chain(&drive::EVENTS);
    rows.chain(faults)
        .chain(named.map(|event| (*event).to_owned()))
        .collect()
}

fn faults() -> Vec<String> {
    let kinds = DiskFaultKind::ALL.iter().map(ToString::to_string);
    let named = CRASHES.iter().chain(&drive::FAULTS);
    kinds
        .chain(named.map(|event| (*event).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds_over_a_few_seeds() {
        for seed in 0..60 {
            if let Err(violation) = SUITE.check(&Case::of(seed), &mut Coverage::default()) {
                panic!("{violation:#?}");
            }
        }
    }
}
