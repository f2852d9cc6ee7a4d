//! Runs the simulation over a range of seeds: `simulate --seeds A..B [--only storage|leaf]`.
//!
//! Prints what was covered, and of each seed that fails the seed, what is wrong and its last events.
//! Exit code 1 where a seed failed, 2 where the arguments are wrong.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use tests::sim::storage::Violation;
use tests::sim::{Coverage, leaf, storage};

const USAGE: &str = "usage: simulate [--seeds A..B] [--only storage|leaf] [--planted]";
/// Seeds that the test command runs.
const SEEDS: Range<u64> = 0..10_000;
/// Failing seeds that are told in full.
const TOLD_MAX: usize = 3;

/// One of the simulations.
struct Suite {
    name: &'static str,
    run_seed: fn(u64, &mut Coverage) -> Result<(), Box<Violation>>,
    must_be_covered: fn() -> Vec<String>,
}

const SUITES: [Suite; 2] = [
    Suite {
        name: "storage",
        run_seed: storage::run_seed,
        must_be_covered: storage::must_be_covered,
    },
    Suite {
        name: "leaf",
        run_seed: leaf::run_seed,
        must_be_covered: leaf::must_be_covered,
    },
];

fn main() -> ExitCode {
    let planted = |argument: &String| argument == "--planted";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.iter().filter(|a| !planted(a)).cloned();
    match seeds(rest) {
        Ok((seeds, _)) if arguments.iter().any(planted) => take_rules_out(seeds),
        Ok((seeds, only)) => {
            // A panic is a violation like any other and is told with its seed.
            std::panic::set_hook(Box::new(|_| {}));
            let wanted = |suite: &&Suite| only.as_deref().is_none_or(|only| only == suite.name);
            let suites = SUITES.iter().filter(wanted);
            let failed = suites
                .filter(|suite| !simulate(suite, seeds.clone()))
                .count();
            ExitCode::from(u8::from(failed > 0))
        }
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

type Arguments = (Range<u64>, Option<String>);

fn seeds(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut seeds = SEEDS;
    let mut only = None;
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or(format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--seeds" => {
                let range = value.split_once("..").ok_or("--seeds needs A..B")?;
                let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
                seeds = number(range.0)?..number(range.1)?;
            }
            "--only" if SUITES.iter().any(|suite| suite.name == value) => only = Some(value),
            "--only" => return Err(format!("there is no simulation of {value}")),
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok((seeds, only))
}

/// Takes each rule out in turn: some seed must find it.
#[cfg(feature = "planted")]
fn take_rules_out(seeds: Range<u64>) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut code = ExitCode::SUCCESS;
    for (rule, found) in tests::sim::storage::planted(seeds) {
        match found {
            Some(violation) => println!("{rule:?}: seed {}: {}", violation.seed, violation.what),
            None => {
                println!("{rule:?}: NOT FOUND");
                code = ExitCode::from(1);
            }
        }
    }
    code
}

#[cfg(not(feature = "planted"))]
fn take_rules_out(_seeds: Range<u64>) -> ExitCode {
    eprintln!("--planted needs `--features planted`");
    ExitCode::from(2)
}

/// Runs one suite; whether all of its seeds held and all was covered.
fn simulate(suite: &Suite, seeds: Range<u64>) -> bool {
    let started = Instant::now();
    let count = seeds.end.saturating_sub(seeds.start);
    let mut coverage = Coverage::default();
    let mut violations: Vec<Box<Violation>> = Vec::new();
    for seed in seeds {
        if let Err(violation) = (suite.run_seed)(seed, &mut coverage) {
            violations.push(violation);
        }
    }
    println!(
        "{}: {count} seeds in {:.1} s",
        suite.name,
        started.elapsed().as_secs_f64()
    );
    for (what, count) in coverage.iter() {
        println!("{count:>10}  {what}");
    }
    for what in (suite.must_be_covered)() {
        if coverage.count(&what) == 0 {
            println!("{:>10}  {what}", "NEVER");
        }
    }
    for violation in violations.iter().take(TOLD_MAX) {
        println!("\nseed {}: {}", violation.seed, violation.what);
        for event in &violation.events {
            println!("    {event}");
        }
    }
    if violations.is_empty() {
        return true;
    }
    println!("\n{} of {count} seeds failed:", violations.len());
    for violation in &violations {
        println!("{:>10}  {}", violation.seed, violation.what);
    }
    false
}
