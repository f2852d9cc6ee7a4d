//! The storage simulation: a store over a simulated disk, through everything that can happen to it.
//!
//! The law, looked at after each recovery, at the end and now and then: within a lineage each offset
//! from its start below the cursor is exactly one class; rows and rejects equal the topic's; what was
//! said to be durable is there after any crash; a lineage that was left ends where it was drained; a
//! dead one is gone; the durable cursor never goes back within a lineage.

mod drive;
pub mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};

use drive::Drive;

use super::{Coverage, Trace};

/// A seed that broke the law.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// Its last events, in words.
    pub events: Vec<String>,
}

/// Events of a seed, on average.
pub const EVENTS_MEAN: u64 = 300;

/// Runs one seed; one that breaks the law is run again to tell how.
///
/// # Errors
/// The [`Violation`].
pub fn run_seed(seed: u64, coverage: &mut Coverage) -> Result<(), Box<Violation>> {
    let Err(_) = attempt(seed, coverage, &mut Trace::new(false)) else {
        return Ok(());
    };
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
    let run = AssertUnwindSafe(|| Drive::new(seed, coverage, trace).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("of another kind")))
    })
}

/// Takes a rule of storage out and runs seeds until one breaks the law.
#[cfg(feature = "planted")]
#[must_use]
pub fn without(
    rule: storage::planted::Rule,
    mut seeds: std::ops::Range<u64>,
) -> Option<Box<Violation>> {
    storage::planted::take_out(Some(rule));
    let mut unused = Coverage::default();
    let found = seeds.find_map(|seed| run_seed(seed, &mut unused).err());
    storage::planted::take_out(None);
    found
}

/// What every run over many seeds must have met: each at least so often as is asked of it.
#[must_use]
pub fn must_be_covered() -> Vec<String> {
    let rows = storage::recovery::decide::Row::ALL;
    let rows = rows.iter().map(|row| format!("recovery: {row:?}"));
    let faults = super::disk::DiskFaultKind::ALL;
    let faults = faults.iter().map(|fault| format!("fault: {fault:?}"));
    let named = super::disk::CRASHES.iter().chain(&drive::EVENTS);
    rows.chain(faults)
        .chain(named.map(|event| (*event).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds_over_a_few_seeds() {
        for seed in 0..60 {
            if let Err(violation) = run_seed(seed, &mut Coverage::default()) {
                panic!("{violation:#?}");
            }
        }
    }
}
