//! The `pinleaf` command: `quickstart`, `run`, `check`, `inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use engine::node::{
    Config, Node, NodeError, Signals, SignalsFor, keys, logs, look, quickstart, said,
};
use nix::sys::stat::{Mode, umask};
use tikv_jemallocator::Jemalloc;

/// Gives back to the kernel what queries freed, soon: glibc keeps twice `query_bytes` and more for ten seconds of silence,
/// and for longer under a light load.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// jemalloc's settings, read before `main`: a thread of its own gives freed pages back in a second or two.
// SAFETY: the name is jemalloc's, for a pointer to text that ends with a NUL, which this is; nothing else has it.
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &u8 = &b"background_thread:true,dirty_decay_ms:1000\0"[0];

#[derive(Parser)]
#[command(
    name = "pinleaf",
    version,
    about = "Loads Kafka topics into SQL tables exactly once, and answers SQL on the rows a moment later"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the main job on an embedded development broker, with order events
    Quickstart {
        /// Ends after so many seconds; without it, at Ctrl-C
        #[arg(long)]
        seconds: Option<u64>,
        /// Rows to produce a second
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        rate: u32,
        /// The directory that holds configuration, SQL, data and the broker's log; kept
        #[arg(long, default_value = "pinleaf-quickstart")]
        dir: PathBuf,
    },
    /// Runs the server
    Run {
        /// The configuration file
        config: PathBuf,
    },
    /// Validates a configuration and prints what `run` would do, touching nothing
    Check {
        /// The configuration file
        #[arg(required_unless_present = "print_keys")]
        config: Option<PathBuf>,
        /// Prints docs/configuration.md instead: every key with its default
        #[arg(long)]
        print_keys: bool,
    },
    /// Prints a segment file's commits, offsets, rows, rejects and the state of each checksum
    Inspect {
        /// The segment file
        path: PathBuf,
    },
}

fn main() -> ExitCode {
    // What this process makes is its owner's alone, whatever umask it was started with: the files of SQLite
    // and of the development broker too.
    umask(Mode::from_bits_truncate(0o077));
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("pinleaf: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    let line = |error: NodeError| error.to_string();
    match command {
        Command::Quickstart { seconds, rate, dir } => {
            logs::start(false, "warn");
            logs::end_on_panic();
            let signals = hear()?;
            quickstart::run(&dir, seconds, rate, &signals).map_err(|error| error.to_string())?;
        }
        Command::Run { config } => {
            // Before anything else: from here on a signal ends it as one should.
            let signals = hear()?;
            let config = read(&config)?;
            logs::start(config.log_json, &config.log_level);
            logs::end_on_panic();
            if let Some(node) = Node::start(config, &signals, SignalsFor::Node).map_err(line)? {
                node.wait().map_err(line)?;
            }
        }
        Command::Check {
            print_keys: true, ..
        } => say(keys::documentation().trim_end())?,
        Command::Check { config, .. } => {
            let config = read(&config.unwrap_or_default())?;
            let looked = look(&config).map_err(line)?;
            say(&looked.plan(&config).map_err(line)?)?;
        }
        Command::Inspect { path } => {
            let report = storage::inspect::inspect(&path).map_err(|error| error.to_string())?;
            say(&report.to_string())?;
            if !report.is_sound() {
                return Ok(ExitCode::from(2));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> Result<(), String> {
    let said = said::say(text).map(|_read| ());
    said.map_err(|error| format!("standard output: {error}"))
}

fn hear() -> Result<Signals, String> {
    Signals::hear().map_err(|error| format!("signals cannot be heard: {error}"))
}

fn read(path: &std::path::Path) -> Result<Config, String> {
    Config::read(path, &|name| std::env::var(name).ok()).map_err(|error| error.to_string())
}
