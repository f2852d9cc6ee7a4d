//! The control core's simulation: the real aggregator and catalog with real leaves, in one thread, over a
//! simulated disk, clock, brokers, and a process that ends between any two steps of it.
//!
//! Statements come at any moment, also several at once. The aggregator's tasks get on one at a time
//! (`executor`), what they wait for is done when the seed says so (`port`), and the catalog is SQLite's own code
//! (`sqlite`) over files that lose what is not synced (`files`). Beside the leaf's law ([`super::law`]) it looks at:
//!
//! 1. A statement that was answered as done is carried out on every partition, and starts where it said.
//! 2. One that was cut short or failed is done on all of its partitions or on none.
//! 3. A lineage ends drained: the catalog raises it only where all that is visible is durable.
//! 4. A leaf attaches what the catalog says; a recovery never comes back below what was published.
//! 5. A stopped pipeline does not load, nor behind a restart; of a dropped table nothing is left; a failure is told,
//!    and none that an earlier order's was.
//! 6. SET OFFSETS begins where the brokers said while it was under way; OR REPLACE drains first and keeps cursors; no
//!    START runs more pipelines than SET GLOBAL lets run; TEST leaves no trace.
//! 7. A process that ends in good order has drained all of it, and nothing follows a COMMIT that failed (`ending`).
//! 8. The catalog comes back as the last process knew it; of a COMMIT that was cut short, whole or not at all.
//!
//! Once nothing fails any more it lives: everything that is wanted runs to the log's end, and is audited, in half of
//! the seeds beside the log ([`super::audit`]).

mod brokers;
mod drive;
mod ending;
mod executor;
mod files;
mod finish;
mod port;
mod process;
mod reports;
mod sqlite;
mod statement;
mod user;
mod watch;

use super::case::Case;
use super::disk::{CRASHES, DiskFaultKind};
use super::kafka::{CONTENTS, FAULTS};
use super::shrink::Suite;
use super::world::EVENTS;
use super::{Coverage, Trace};

/// The only fault below that is never met here.
const BIT_ROT: &str = EVENTS[5];
/// Events of a seed, on average.
pub const EVENTS_MEAN: u64 = 60;

/// This simulation.
pub const SUITE: Suite = Suite {
    name: "control",
    run,
    must_be_covered,
    faults,
};

fn run(case: &Case, coverage: &mut Coverage, trace: &mut Trace) -> Result<(), String> {
    drive::Drive::new(case, coverage, trace).run()
}

fn must_be_covered() -> Vec<String> {
    let disk = DiskFaultKind::ALL.iter().map(ToString::to_string);
    // Nothing rots here: a statement answers for what it names, and of damage `storage` and `leaf` have the model.
    let events = EVENTS.iter().filter(|event| **event != BIT_ROT);
    let below = FAULTS.iter().chain(&CONTENTS).chain(&CRASHES).chain(events);
    let own = brokers::FAULTS.iter().chain(&drive::EVENTS);
    let own = own.chain(&ending::EVENTS).chain([&finish::VERIFIED]);
    let named = below.chain(own).map(|name| (*name).to_owned());
    statement::moments().chain(disk).chain(named).collect()
}

fn faults() -> Vec<String> {
    let disk = DiskFaultKind::ALL.iter().map(ToString::to_string);
    let named = FAULTS.iter().chain(&CONTENTS).chain(&CRASHES);
    let named = named.chain(&EVENTS).chain(&brokers::FAULTS);
    let named = named.chain(&drive::EVENTS).chain(&ending::EVENTS);
    let named = named.map(|name| (*name).to_owned());
    let statements = statement::Kind::ALL.iter();
    let statements = statements.map(|kind| kind.words().to_owned());
    disk.chain(named).chain(statements).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds_over_a_few_seeds() {
        let mut coverage = Coverage::default();
        for seed in 0..60 {
            if let Err(violation) = SUITE.check(&Case::of(seed), &mut coverage) {
                let events = violation.events.join("\n");
                panic!("seed {seed}: {}\n{events}", violation.what);
            }
        }
    }
}
