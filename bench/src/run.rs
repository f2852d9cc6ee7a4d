//! A whole run: the plan, the binary and the engines (`run/prepare.rs`), the folder, the rounds (`run/rounds.rs`),
//! then the report.

mod prepare;
mod rounds;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;

use crate::engines::{self, Pinleaf};
use crate::fault::Fault;
use crate::machine::{self, Machine};
use crate::plan::Plan;
use crate::process;
use crate::report;
use crate::sample::{Folder, Skipped};
use crate::workloads::{self, Variant};
use rounds::Rounds;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Less of everything: ends within five minutes on two cores
    #[arg(long)]
    quick: bool,
    /// As little as runs at all: what the tests run; not to be read
    #[arg(long, hide = true)]
    tiny: bool,
    /// Workloads (ingest, freshness, queries, recovery, footprint, cores) and engines; repeatable
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Pinleaf's leaves at most, for the workload `cores`
    #[arg(long, value_name = "N")]
    leaves: Option<usize>,
    /// A broker that runs already, in place of one of the run's own
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Rounds behind the warm-up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Where runs are written
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// The binary to measure, in place of building this tree's
    #[arg(long, value_name = "FILE")]
    pinleaf: Option<PathBuf>,
}

/// Runs; whether every engine ended with the right rows and none failed.
///
/// # Errors
/// What ended the run before its report.
pub fn run(arguments: &Arguments) -> Result<bool, Fault> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = arguments
        .results
        .clone()
        .unwrap_or_else(|| root.join("results"));
    std::fs::create_dir_all(&results)
        .map_err(Fault::io(format!("making {}", results.display())))?;
    let mut plan = match (arguments.tiny, arguments.quick) {
        (true, _) => Plan::tiny(&results),
        (false, true) => Plan::quick(&results),
        (false, false) => Plan::full(&results),
    };
    plan.rounds = arguments.runs.unwrap_or(plan.rounds);
    plan.leaves = arguments
        .leaves
        .unwrap_or(plan.leaves)
        .clamp(1, plan.cpus.max(1));
    plan.only.clone_from(&arguments.only);
    let binary = match &arguments.pinleaf {
        Some(binary) => binary.clone(),
        None => prepare::build()?,
    };
    let mut engines = engines::all(&binary, &prepare::cache())?;
    prepare::known(&plan, &engines)?;
    let machine = Machine::look(&results);
    let bootstrap = arguments.bootstrap.as_deref();
    let written = plan.written(&prepare::checksums(&binary)?, bootstrap);
    let (folder, new) = Folder::open(&results, &today(), &machine.slug(), &written)?;
    process::take_over(&folder.dir().join("running.json"))?;
    if !new {
        eprintln!("bench: going on with {}", folder.dir().display());
        folder.clear_work()?;
        plan.free_bytes = machine::free_bytes(&results);
    }
    folder.write("machine.json", &machine)?;

    let mut skipped = prepare::to_be_had(&plan, &mut engines);
    let (variants, left_out) = workloads::variants(&plan);
    let left_out = left_out.into_iter();
    skipped.extend(left_out.map(|(what, why)| Skipped { what, why }));
    let variants: Vec<Variant> = variants
        .into_iter()
        .filter(|variant| plan.wants_workload(variant.workload))
        .collect();
    folder.write("skipped.json", &skipped)?;
    let mut rounds = Rounds {
        plan: &plan,
        folder: &folder,
        pinleaf: Pinleaf::new(&binary),
        engines,
        broker: None,
        bootstrap,
        abouts: folder.read("engines.json").unwrap_or_default(),
        skipped,
        // What happened in an earlier part of a run is not forgotten with it.
        incidents: folder.read("incidents.json").unwrap_or_default(),
        number: 0,
        began: Instant::now(),
        bar: ProgressBar::new(0),
    };
    rounds.all(&variants)?;
    rounds.bar.finish_and_clear();
    let sound =
        rounds.incidents.is_empty() && folder.samples().iter().all(|one| one.checked.is_ok());
    drop(rounds);
    folder.clear_work()?;
    process::release();
    report::write(&folder)?;
    println!("{}", folder.dir().join("report.md").display());
    Ok(sound)
}

fn today() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    crate::shape::time_text(now.as_secs() * 1_000)[..10].to_owned()
}
