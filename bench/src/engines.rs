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

/// Of a log, what an error shows.
const LOG_LINES_MAX: usize = 12;

/// Every engine, Pinleaf first. `cache`: what is fetched and built for peers is kept there.
///
/// # Errors
/// A peer's file that does not say what it is.
pub fn all(pinleaf: &Path, cache: &Path) -> Result<Vec<Box<dyn Engine>>, Fault> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Pinleaf::new(pinleaf))];
    engines.extend(boxed(discard::engines()?));
    for file in peer_files()? {
        engines.extend(boxed(Program::of_file(&file, cache)?));
    }
    Ok(engines)
}

/// What runs a Python peer.
#[must_use]
pub fn serve() -> PathBuf {
    peers().join("serve/serve.py")
}

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// The peers that come with the harness, each a file; what runs those of a language is in a folder beside them.
///
/// # Errors
/// [`Fault::Io`].
pub fn peer_files() -> Result<Vec<PathBuf>, Fault> {
    let dir = peers();
    let entries =
        std::fs::read_dir(&dir).map_err(Fault::io(format!("reading {}", dir.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// The end of a log, for an error.
fn last_lines(log: &Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    last.iter().map(|line| (*line).to_owned()).collect()
}

fn boxed(programs: Vec<Program>) -> impl Iterator<Item = Box<dyn Engine>> {
    let boxed = |program| Box::new(program) as Box<dyn Engine>;
    programs.into_iter().map(boxed)
}
