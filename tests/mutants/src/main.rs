//! Mutation testing of `storage` and `ingest`: does anything notice when one place of the code is wrong?
//!
//! `cargo run --release -p mutants -- storage` (or `leaf`, `kafka`, `pipeline`, `audit`, or part of a path) asks
//! `cargo mutants` (27 or newer, `cargo install cargo-mutants`) what may be mutated, and does not build once for
//! each: all of them stand in one copy of the tree, below the target directory, each behind a switch that
//! is read when a program starts ([`rewrite`]). One run without a mutant notes which programs reach which;
//! then each mutant meets the simulations and tests that reach it, until one notices.
//!
//! It is gone on with where it was ended: a result is a line below the target directory ([`results`]).
//! Survivors that change nothing stand in `tests/mutants/equivalent.txt`, each with its reason; one that is
//! not explained is told, and makes it end with 1. `--seeds N` (100) is how much of the simulations a mutant
//! meets before the tests, `--seeds-max N` (2,000) how much it meets in all; `--at-once N` (2) how many run at
//! a time, `--list` only tells what is known.

mod list;
mod results;
mod rewrite;
mod run;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use list::Mutant;
use results::{Fate, Results};
use run::{Ended, Step};

const USAGE: &str = "usage: mutants [storage|leaf|kafka|pipeline|audit|PATH ...] [--seeds N] [--seeds-max N] [--at-once N] [--list]";

/// They are numbered from 1.
const NO_MUTANT: u32 = 0;

struct Wanted {
    /// Paths begin with one of these, or hold it; none: all.
    paths: Vec<String>,
    seeds: u64,
    seeds_max: u64,
    at_once: usize,
    list: bool,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)).map(|wanted| run(&wanted)) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::from(1),
        Ok(Err(what)) => {
            eprintln!("{what}");
            ExitCode::from(1)
        }
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn arguments(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        paths: Vec::new(),
        seeds: 100,
        seeds_max: run::SEEDS_MAX,
        at_once: 2,
        list: false,
    };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments
                .next()
                .ok_or(format!("{argument} needs a value"))?;
            value
                .parse::<u64>()
                .map_err(|e| format!("{argument} {value}: {e}"))
        };
        match argument.as_str() {
            "--seeds" => wanted.seeds = number()?,
            "--seeds-max" => wanted.seeds_max = number()?,
            "--at-once" => wanted.at_once = usize::try_from(number()?.clamp(1, 256)).unwrap_or(1),
            "--list" => wanted.list = true,
            other if other.starts_with('-') => return Err(format!("unknown argument {other}")),
            "storage" => wanted.paths.push("storage/src/".to_owned()),
            module @ ("leaf" | "kafka" | "pipeline" | "audit") => {
                wanted.paths.push(format!("engine/ingest/src/{module}/"));
            }
            _ => wanted.paths.push(argument),
        }
    }
    Ok(wanted)
}

/// The tree that this was built of.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether nothing survived that is not explained.
fn run(wanted: &Wanted) -> Result<bool, String> {
    let root = root()
        .canonicalize()
        .map_err(|e| format!("the tree: {e}"))?;
    let target = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
    let target = target
        .parent()
        .and_then(Path::parent)
        .ok_or("no target directory")?;
    let work = target.join("mutants");
    std::fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let path = root.join("tests/mutants/equivalent.txt");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let explained = results::explained(&text).map_err(|e| format!("{}: {e}", path.display()))?;

    let (mutants, sources) = list::list(&root, &tree::PACKAGES)?;
    let of = |mutant: &&Mutant| {
        wanted.paths.is_empty()
            || wanted
                .paths
                .iter()
                .any(|path| mutant.file.contains(path.as_str()))
    };
    let mut chosen: Vec<&Mutant> = mutants.iter().filter(of).collect();
    let place = |mutant: &&Mutant| {
        let mut paths = wanted.paths.iter();
        paths.position(|path| mutant.file.contains(path.as_str()))
    };
    chosen.sort_by_key(place);
    run::tidy(&work);
    let packages: HashSet<&str> = chosen.iter().map(|one| one.package.as_str()).collect();
    let built = tree::build(&root, &work, &mutants, &sources, &packages)?;
    let mut steps = run::steps(built.programs, wanted.seeds, wanted.seeds_max)?;
    // In no order that cargo happens to tell them in. What survived fewer seeds is tried again.
    let programs: BTreeSet<[u8; 8]> = (steps.iter())
        .map(|step| step.program.to_le_bytes())
        .chain([wanted.seeds_max.to_le_bytes()])
        .collect();
    let programs = list::hash(programs.into_iter().collect::<Vec<_>>().as_flattened());
    let results = Mutex::new(Results::open(
        &work.join("results"),
        &sources,
        programs,
        &explained,
    )?);
    if !wanted.list {
        steps.retain(|step| step.packages.iter().any(|one| packages.contains(one)));
        for step in &mut steps {
            step.learn(&work, mutants.len())?;
        }
        run::sort(&mut steps);
        eprintln!(
            "{} simulations and tests pass, in {:.0} s of processor time",
            steps.len(),
            run::children().as_secs_f64()
        );
        // What caught it may be gone since.
        let names: HashSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let due = |mutant: &&Mutant| {
            let results = results.lock().expect("no panic");
            let stands = |fate: &Fate| fate.by().is_none_or(|by| names.contains(by));
            built.switched.contains(&mutant.id) && !results.of(mutant).is_some_and(stands)
        };
        let due: Vec<&Mutant> = chosen.iter().copied().filter(due).collect();
        try_all(wanted, &work, &steps, &due, &results)?;
    }
    let results = results.into_inner().expect("no panic");
    Ok(tell(
        &chosen,
        &built.switched,
        &built.refused,
        &results,
        &explained,
    ))
}

fn try_all(
    wanted: &Wanted,
    work: &Path,
    steps: &[Step],
    due: &[&Mutant],
    results: &Mutex<Results>,
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let one = || -> Result<(), String> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = due.get(at) else {
                return Ok(());
            };
            let fate = try_one(mutant, steps, work)?;
            eprintln!("{} of {}: {fate:?}: {}", at + 1, due.len(), mutant.key);
            results.lock().expect("no panic").note(mutant, fate)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..wanted.at_once).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let spent = run::children();
    eprintln!(
        "{} tried in {:.0} s of processor time",
        due.len(),
        spent.as_secs_f64()
    );
    Ok(())
}

/// What notices a mutant, if anything does.
///
/// # Errors
/// What did not pass does not pass without it either, now: a machine that is too busy or has no room left, or a
/// test that fails by itself. A simulation that fails is the mutant's, as it is the same each time.
fn try_one(mutant: &Mutant, steps: &[Step], work: &Path) -> Result<Fate, String> {
    let meets =
        |step: &&Step| step.packages.contains(&mutant.package.as_str()) && step.reaches(mutant.id);
    let mut fate = Fate::Unreached;
    for step in steps.iter().filter(meets) {
        let by = || step.name.clone();
        let ended = step.with(mutant.id, work)?;
        if ended == Ended::Passed {
            fate = Fate::Survived;
            continue;
        }
        if matches!(ended, Ended::TimedOut | Ended::Filled) || !step.simulates {
            let without = step.with(NO_MUTANT, work)?;
            if without != Ended::Passed {
                return Err(format!("{} without a mutant: {without:?}", step.name));
            }
        }
        return Ok(match ended {
            Ended::TimedOut => Fate::TimedOut(by()),
            Ended::Filled => Fate::Filled(by()),
            _ if step.simulates => Fate::Simulation(by()),
            _ => Fate::Test(by()),
        });
    }
    Ok(fate)
}

/// Tells the counts, the survivors and what was not tried; whether all were tried, and all that survived is explained.
fn tell(
    chosen: &[&Mutant],
    switched: &HashSet<u32>,
    refused: &HashSet<u32>,
    results: &Results,
    explained: &HashMap<String, String>,
) -> bool {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut open, mut stale, mut not_switched) = (Vec::new(), Vec::new(), Vec::new());
    let mut all_tried = true;
    for mutant in chosen {
        let is_explained = explained.contains_key(&mutant.key);
        let what = match results.of(mutant) {
            _ if refused.contains(&mutant.id) => "refused by the compiler behind a switch",
            _ if !switched.contains(&mutant.id) => {
                not_switched.push(mutant);
                "not switched"
            }
            None => {
                all_tried = false;
                "not tried"
            }
            Some(fate @ (Fate::Survived | Fate::Unreached)) if !is_explained => {
                open.push((mutant, fate));
                if *fate == Fate::Survived {
                    "survived"
                } else {
                    "reached by nothing"
                }
            }
            Some(Fate::Survived | Fate::Unreached) => "survived, explained",
            Some(fate) => {
                if is_explained {
                    stale.push(mutant);
                }
                match fate {
                    Fate::Simulation(_) => "caught by simulation",
                    Fate::TimedOut(_) => "caught by time-out",
                    Fate::Filled(_) => "caught by filling the disk",
                    _ => "caught by tests",
                }
            }
        };
        *counts.entry(what).or_default() += 1;
    }
    for (mutant, fate) in &open {
        println!("{fate:?}: line {}: {}", mutant.line, mutant.key);
    }
    for mutant in &stale {
        println!("explained, and caught: {}", mutant.key);
    }
    for mutant in &not_switched {
        println!("not switched: line {}: {}", mutant.line, mutant.key);
    }
    println!("{:>6}  listed", chosen.len());
    for (what, count) in counts {
        println!("{count:>6}  {what}");
    }
    open.is_empty() && all_tried
}
