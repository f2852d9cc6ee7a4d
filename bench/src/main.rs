//! `bench`: loads a running Pinleaf from outside, over Kafka's protocol. It links nothing of it.

mod load;
mod orders;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Loads a running Pinleaf from outside")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produces order events to a topic of a broker on this machine
    Load(load::Load),
}

fn main() -> ExitCode {
    let Command::Load(load) = Arguments::parse().command;
    match load::run(&load) {
        Ok(took) => {
            let rate = load.count as f64 / took.as_secs_f64();
            println!(
                "{} events in {:.2} s, {rate:.0} a second",
                load.count,
                took.as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "bench: {error}; is a broker at {}, with topic {}?",
                load.bootstrap, load.topic
            );
            ExitCode::FAILURE
        }
    }
}
