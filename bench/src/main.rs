//! `bench`: Pinleaf measured beside those a user would pick instead, over the same rows of the same broker.
//!
//! **What it promises.** `cargo run --release -p bench -- run` does everything: it builds Pinleaf, brings up a
//! broker, produces the rows, runs Pinleaf from a configuration file and each peer in turn, checks that each
//! ended with the right rows, and writes a report. It links nothing of Pinleaf: it speaks Kafka and MySQL to a
//! running binary, so it cannot cheat. What it starts ends with it, at Ctrl-C and SIGKILL too (`process/kept.rs`).
//!
//! 1. No figure without its rows: an engine that ends with a row too few, too many or another is reported as
//!    wrong, first thing, and its figures are left out (`tally.rs`).
//! 2. Engines are compared within a round, in which each runs alone, one after another, in an order that turns;
//!    behind a warm-up; five rounds and more; medians with spread; less than the noise is equal (`stats.rs`).
//! 3. CPU and memory are the operating system's own count of an engine's processes, the broker's apart
//!    (`process.rs`).
//! 4. A latency counts from when its row was due, not from when the producer came to it (`workloads/freshness.rs`).
//! 5. A report's first lines say where a peer is better (`report.rs`). It is made of the run's files alone:
//!    `bench report DIR` makes it again.
//!
//! **On disk** a run is a folder of small files, one a sample (`sample.rs`). The same command goes on where one
//! was ended, whoever ended it; rounds that were cut short are measured again.
//!
//! **A peer is one file** in `bench/peers/`: a program that speaks lines of JSON (`engines/program.rs`), with its
//! packages in its first lines. It is found there, installed into the user's cache, and left out by name where
//! that fails.
//!
//! How it reads, top to bottom: `run` asks `workloads` for variants, fills their topics (`topic`, `shape`) at the
//! `broker`, has `engines` do each, keeps `sample`s, and at the end makes the `report` and its `plot`s.

mod broker;
mod engine;
mod engines;
mod fault;
mod load;
mod machine;
mod metric;
mod plan;
mod plot;
mod process;
mod report;
mod run;
mod sample;
mod shape;
mod stats;
mod tally;
mod topic;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::engines::discard;
use crate::fault::Fault;
use crate::sample::Folder;

#[derive(Parser)]
#[command(version, about = "Pinleaf, measured from outside")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures Pinleaf and its peers and writes a report
    Run(run::Arguments),
    /// Makes the report of a run again, of its samples
    Report {
        /// The run's folder
        dir: PathBuf,
    },
    /// Produces order events to a topic of a broker on this machine
    Load(load::Load),
    /// Ends what the harness started when it is gone: a process of its own, told by its standard input
    #[command(hide = true)]
    Keep,
    /// The librdkafka consumer that discards: a process of its own, spoken to in lines of JSON
    #[command(hide = true)]
    Discard(discard::Discard),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Fault> {
    match command {
        Command::Run(arguments) => {
            process::end_at_signals()?;
            let own = std::env::current_exe();
            process::start_keeper(&own.map_err(Fault::io("looking for the own program"))?)?;
            if !run::run(&arguments)? {
                eprintln!(
                    "bench: an engine failed, stood still or ended with wrong rows: see the report's first lines"
                );
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Report { dir } => report::write(&Folder::at(&dir))?,
        Command::Keep => process::keep(std::io::stdin().lock()),
        Command::Discard(arguments) => discard::serve(&arguments)?,
        Command::Load(load) => {
            let took = load::run(&load).map_err(|error| {
                let at = format!(
                    "is a broker at {}, with topic {}?",
                    load.bootstrap, load.topic
                );
                Fault::failed("librdkafka", format!("{error}; {at}"))
            })?;
            let rate = load.count as f64 / took.as_secs_f64();
            println!(
                "{} events in {:.2} s, {rate:.0} a second",
                load.count,
                took.as_secs_f64()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
