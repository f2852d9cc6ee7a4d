//! The engines there are: Pinleaf, and a peer for each file of `bench/peers/` at each of its settings.

mod batch;
pub mod discard;
mod install;
mod mysql;
mod pinleaf;
mod program;

use std::path::{Path, PathBuf};

pub use mysql::Mysql;
pub use pinleaf::Pinleaf;

use crate::engine::Engine;
use crate::fault::Fault;
use program::Program;

/// The peers that come with the harness.
#[must_use]
pub fn peers_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Every engine, Pinleaf first. `cache`: what is fetched and built for peers is kept there.
///
/// # Errors
/// A peer's file that does not say what it is.
pub fn all(pinleaf: &Path, cache: &Path) -> Result<Vec<Box<dyn Engine>>, Fault> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Pinleaf::new(pinleaf))];
    engines.extend(boxed(discard::engines()?));
    let dir = peers_dir();
    let entries =
        std::fs::read_dir(&dir).map_err(Fault::io(format!("reading {}", dir.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        engines.extend(boxed(Program::of_file(&file, cache)?));
    }
    Ok(engines)
}

fn boxed(programs: Vec<Program>) -> impl Iterator<Item = Box<dyn Engine>> {
    let boxed = |program| Box::new(program) as Box<dyn Engine>;
    programs.into_iter().map(boxed)
}
