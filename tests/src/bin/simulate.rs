//! Runs the simulation over a range of seeds: `simulate --seeds A..B [--only storage|leaf|control]`.
//!
//! Seeds run on all cores; what is printed is the same however many there are: what was covered, and of
//! each seed that fails the seed, what is wrong and its last events; of the first ones also the least that
//! is left of them when they are shrunk, and the command that runs that again. A run of [`SEEDS_COVERING`]
//! seeds or more also fails where something that must be met was met less than [`HITS_MIN`] times.
//! One seed of [`SEEDS_PER_REPEAT`] is run twice more, and must be the same history each time.
//! `--told N` is how many of the first are told so; with 0 it ends at a seed that fails, and says only that.
//! Built with the feature `planted`, `--planted NAME` takes a rule out, as the table of planted faults names it.
//! Exit code 1 where it failed, 2 where the arguments are wrong.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use tests::sim::case::Case;
#[cfg(feature = "planted")]
use tests::sim::planted::Planted;
use tests::sim::shrink::{Suite, Violation};
use tests::sim::{Coverage, Trace, control, leaf, storage};

const USAGE: &str = "usage: simulate [--seeds A..B] [--only storage|leaf|control] \
                     [--told N] [--events N] [--skip N,N-N] [--without 'NAME;NAME']";
/// Seeds that the test command runs.
const SEEDS: Range<u64> = 0..20_000;
/// So many seeds meet everything that must be met.
const SEEDS_COVERING: u64 = 10_000;
/// How often each must then be met.
const HITS_MIN: u64 = 50;
/// Failing seeds that are told in full, and shrunk.
const TOLD_MAX: usize = 3;
/// Of so many seeds one that passes is run twice more, and must be the same history.
const SEEDS_PER_REPEAT: u64 = 500;
/// Seeds that a thread takes at a time.
const SEEDS_AT_ONCE: u64 = 8;

const SUITES: [Suite; 3] = [storage::SUITE, leaf::SUITE, control::SUITE];

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(wanted) => {
            // A panic is a violation like any other and is told with its seed.
            std::panic::set_hook(Box::new(|_| {}));
            #[cfg(feature = "planted")]
            Planted::take_out(wanted.planted);
            let of =
                |suite: &&Suite| (wanted.only.as_deref()).is_none_or(|only| only == suite.name);
            let suites = SUITES.iter().filter(of);
            let failed = suites.filter(|suite| !simulate(suite, &wanted)).count();
            ExitCode::from(u8::from(failed > 0))
        }
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What is asked for.
struct Wanted {
    seeds: Range<u64>,
    only: Option<String>,
    /// Failing seeds that are told in full.
    told_max: usize,
    /// What of each seed is run.
    case: Case,
    /// The rule that is taken out.
    #[cfg(feature = "planted")]
    planted: Option<Planted>,
}

fn arguments(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        seeds: SEEDS,
        only: None,
        told_max: TOLD_MAX,
        case: Case::default(),
        #[cfg(feature = "planted")]
        planted: None,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or(format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--seeds" => {
                let range = value.split_once("..").ok_or("--seeds needs A..B")?;
                let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
                wanted.seeds = number(range.0)?..number(range.1)?;
            }
            "--only" if SUITES.iter().any(|suite| suite.name == value) => {
                wanted.only = Some(value);
            }
            "--told" => {
                wanted.told_max = value.parse().map_err(|e| format!("--told {value}: {e}"))?;
            }
            "--only" => return Err(format!("there is no simulation of {value}")),
            #[cfg(feature = "planted")]
            "--planted" => {
                let rule = Planted::named(&value).ok_or(format!("there is no rule {value}"))?;
                wanted.planted = Some(rule);
            }
            other if wanted.case.argument(other, &value)? => {}
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(wanted)
}

/// Runs one suite; whether all of its seeds held and all was covered.
fn simulate(suite: &Suite, wanted: &Wanted) -> bool {
    let started = Instant::now();
    let count = wanted.seeds.end.saturating_sub(wanted.seeds.start);
    let (coverage, violations) = run(suite, wanted);
    println!(
        "{}: {count} seeds in {:.1} s",
        suite.name,
        started.elapsed().as_secs_f64()
    );
    for (what, count) in coverage.iter() {
        println!("{count:>10}  {what}");
    }
    let missed = missed(suite, &coverage, count);
    for violation in violations.iter().take(wanted.told_max) {
        tell(suite, violation);
    }
    if !violations.is_empty() {
        println!("\n{} of {count} seeds failed:", violations.len());
    }
    for violation in &violations {
        println!("{:>10}  {}", violation.case.seed, violation.what);
    }
    violations.is_empty() && !missed
}

/// Tells a violation, then the least that is left of it.
fn tell(suite: &Suite, violation: &Violation) {
    let say = |violation: &Violation| {
        println!("{}", violation.what);
        for event in &violation.events {
            println!("    {event}");
        }
    };
    print!("\nseed {}: ", violation.case.seed);
    say(violation);
    let least = suite.shrink(&violation.case);
    print!("\nseed {}, shrunk: ", violation.case.seed);
    say(&least);
    println!(
        "run it again: cargo run --release -p tests --bin simulate -- --only {} {}",
        suite.name, least.case
    );
}

/// All the seeds, on all cores.
fn run(suite: &Suite, wanted: &Wanted) -> (Coverage, Vec<Violation>) {
    let seeds = &wanted.seeds;
    let next = AtomicU64::new(seeds.start);
    let work = || {
        #[cfg(feature = "planted")]
        Planted::take_out(wanted.planted);
        let (mut coverage, mut violations) = (Coverage::default(), Vec::new());
        loop {
            let from = next.fetch_add(SEEDS_AT_ONCE, Ordering::Relaxed);
            if from >= seeds.end {
                return (coverage, violations);
            }
            for seed in from..seeds.end.min(from + SEEDS_AT_ONCE) {
                let case = Case {
                    seed,
                    ..wanted.case.clone()
                };
                let mut ran = suite.check(&case, &mut coverage);
                if ran.is_ok() && seed.is_multiple_of(SEEDS_PER_REPEAT) {
                    ran = repeats(suite, &case);
                }
                violations.extend(ran.err().map(|violation| *violation));
                if wanted.told_max == 0 && !violations.is_empty() {
                    next.store(seeds.end, Ordering::Relaxed);
                    return (coverage, violations);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut all = (Coverage::default(), Vec::new());
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in started {
            let (coverage, violations) = thread.join().expect("a seed's panic is caught");
            all.0.merge(&coverage);
            all.1.extend(violations);
        }
    });
    all.1
        .sort_by_key(|violation: &Violation| violation.case.seed);
    all
}

/// Runs a seed that passes twice more: what is said and what is met must be the same, or no seed that fails can be
/// run again.
fn repeats(suite: &Suite, case: &Case) -> Result<(), Box<Violation>> {
    let run = || {
        let (mut coverage, mut trace) = (Coverage::default(), Trace::of_hashes());
        let ran = suite.attempt(case, &mut coverage, &mut trace);
        (ran, coverage, trace)
    };
    let (first, second) = (run(), run());
    let said = first.2.hashes().iter().zip(second.2.hashes());
    let same = said.take_while(|(first, second)| first == second).count();
    let ends = first.2.hashes().len().max(second.2.hashes().len());
    if same == ends && first.1 == second.1 && first.0.is_ok() && second.0.is_ok() {
        return Ok(());
    }
    Err(Box::new(Violation {
        case: case.clone(),
        what: format!(
            "the simulation is not deterministic: it passes once, then {:?} and {:?}; {same} of {ends} events are the same",
            first.0.err(),
            second.0.err()
        ),
        events: Vec::new(),
    }))
}

/// Prints what must be met and was not, or too seldom; whether a run of so many seeds fails for it.
fn missed(suite: &Suite, coverage: &Coverage, seeds: u64) -> bool {
    let wanted = if seeds < SEEDS_COVERING { 1 } else { HITS_MIN };
    let mut missed = false;
    for what in (suite.must_be_covered)() {
        let hits = coverage.count(&what);
        if hits < wanted {
            missed = true;
            let seldom = format!("SELDOM ({hits})");
            println!("{:>10}  {what}", if hits == 0 { "NEVER" } else { &seldom });
        }
    }
    missed && seeds >= SEEDS_COVERING
}

#[cfg(test)]
mod repeated {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn suite(run: fn(&Case, &mut Coverage, &mut Trace) -> Result<(), String>) -> Suite {
        Suite {
            name: "test",
            run,
            must_be_covered: Vec::new,
            faults: Vec::new,
        }
    }

    #[test]
    fn a_seed_that_passes_another_way_is_found() {
        static SAYS: AtomicBool = AtomicBool::new(false);
        static MEETS: AtomicBool = AtomicBool::new(false);
        let says = suite(|_, _, trace| {
            trace.say(|| "one".to_owned());
            let word = SAYS.fetch_not(Ordering::Relaxed).to_string();
            trace.say(|| word);
            Ok(())
        });
        let meets = suite(|_, coverage, _| {
            coverage.add("it", MEETS.fetch_not(Ordering::Relaxed).into());
            Ok(())
        });
        let same = suite(|case, coverage, trace| {
            coverage.hit("it");
            trace.say(|| case.to_string());
            Ok(())
        });
        assert!(repeats(&same, &Case::of(1)).is_ok());
        let found = repeats(&says, &Case::of(1)).expect_err("other words");
        assert!(found.what.contains("1 of 2 events"), "{}", found.what);
        assert!(repeats(&meets, &Case::of(1)).is_err());
    }
}

/// Built with `--features planted`: rules can be taken out one at a time.
#[cfg(all(test, feature = "planted"))]
mod planted {
    use std::sync::Mutex;

    use super::*;
    use ::control::planted::Rule as ControlRule;
    use ::ingest::planted::Rule as LeafRule;
    use ::storage::planted::Rule as StoreRule;
    use ::storage::recovery::decide::Row;
    use tests::sim::planted::without;

    /// Seeds within which each must be missed.
    const SEEDS: Range<u64> = 0..2_000;
    /// The faults that anybody would plant first, each with the rule that keeps it out.
    const NAMED: [(&str, Planted); 24] = [
        (
            "a mark published before its values are written",
            Planted::Store(StoreRule::MarkBehindValues),
        ),
        ("a gap not recorded", Planted::Leaf(LeafRule::GapCounted)),
        (
            "a failed sync retried on the same file",
            Planted::Store(StoreRule::VoidAfterFailedSync),
        ),
        (
            "durable_end written one commit early",
            Planted::Store(StoreRule::DurableEndIsSynced),
        ),
        (
            "recovery that syncs and does not write again",
            Planted::Store(StoreRule::Row(Row::WrittenAgain)),
        ),
        (
            "two syncs on one file",
            Planted::Store(StoreRule::NeverTwoSyncs),
        ),
        (
            "the record's CRC not covering its length",
            Planted::Store(StoreRule::ChecksumCoversRecord),
        ),
        (
            "a cut after a map",
            Planted::Store(StoreRule::NoCutUnderMap),
        ),
        (
            "a merge that unlinks before the directory is synced",
            Planted::Store(StoreRule::UnlinkBehindDirectorySync),
        ),
        (
            "the aborted list carried into the next response",
            Planted::Leaf(LeafRule::AbortedListIsTheResponses),
        ),
        (
            "an ABORT marker that clears all producers",
            Planted::Leaf(LeafRule::AbortEndsItsProducer),
        ),
        (
            "a resume that skips by batch and not by record",
            Planted::Leaf(LeafRule::ResumeByRecord),
        ),
        (
            "a commit told as durable before its sync",
            Planted::Leaf(LeafRule::DurableIsSynced),
        ),
        (
            "the group offset taken from what may be loaded and not from what is durable",
            Planted::Control(ControlRule::PublishedIsDurable),
        ),
        (
            "a catalog whose COMMIT is not synced",
            Planted::Control(ControlRule::CommitIsSynced),
        ),
        (
            "a catalog that counts what it read in the WAL",
            Planted::Control(ControlRule::WalWrittenAgain),
        ),
        (
            "a full disk treated as a failed write",
            Planted::Store(StoreRule::FullIsHeld),
        ),
        (
            "a stale fetch response accepted after a rewind",
            Planted::Leaf(LeafRule::StaleResponseDropped),
        ),
        (
            "end_offset ignored by a returning owner",
            Planted::Leaf(LeafRule::EndOffsetKept),
        ),
        (
            "SET OFFSETS that reaches one of two partitions before the crash",
            Planted::Control(ControlRule::StatementInOneTransaction),
        ),
        (
            "redo forgotten at start",
            Planted::Control(ControlRule::RedoAtStart),
        ),
        (
            "a TRUNCATE whose redo is forgotten",
            Planted::Control(ControlRule::AttachUnlinksDead),
        ),
        (
            "a DROP that forgets its redo",
            Planted::Control(ControlRule::DroppedUnlinkedAtStart),
        ),
        (
            "a report of an older generation accepted",
            Planted::Control(ControlRule::StaleReportDropped),
        ),
    ];

    #[test]
    fn every_rule_that_is_taken_out_makes_a_seed_fail() {
        std::panic::set_hook(Box::new(|_| {}));
        let rules = Mutex::new(Planted::all());
        let told = Mutex::new(Vec::new());
        let work = || {
            while let Some(rule) = rules.lock().ok().and_then(|mut rules| rules.next()) {
                let found = without(rule, SEEDS);
                let line = match &found {
                    Some((suite, violation)) => {
                        format!("{suite} seed {}: {}", violation.case.seed, violation.what)
                    }
                    None => "NOT FOUND".to_owned(),
                };
                let named = NAMED.iter().find(|one| one.1 == rule);
                let named = named.map_or(String::new(), |one| format!(" ({})", one.0));
                println!("{rule:?}{named}: {line}");
                told.lock().expect("no panic").push((rule, found.is_some()));
            }
        };
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        let told = told.into_inner().expect("no panic");
        for (what, rule) in NAMED {
            assert!(told.contains(&(rule, true)), "{what} is not found");
        }
        assert!(told.len() > 90, "{} rules", told.len());
        let missed: Vec<&Planted> = told.iter().filter(|one| !one.1).map(|one| &one.0).collect();
        assert!(missed.is_empty(), "nothing needs {missed:?}");
    }
}
