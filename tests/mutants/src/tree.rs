//! The copy of the tree with all mutants in it, and what is built of it.
//!
//! It lies below the target directory and is written only where it changed, so that it is built again no
//! further than that. What the compiler refuses is left out, and it is asked again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::list::{Mutant, Source};
use crate::rewrite::{self, Written};

/// How often the compiler is asked before it must be content.
const ROUNDS_MAX: usize = 24;
/// The crates that are rewritten, each before those that stand on it.
pub const PACKAGES: [&str; 2] = ["storage", "ingest"];
/// What is built of each package to run.
const BUILT: [(&str, &[&str]); 4] = [
    ("storage", &["--lib", "--tests"]),
    ("ingest", &["--lib", "--tests"]),
    ("fuzz-hot", &["--lib", "--tests"]),
    ("tests", &["--bin", "simulate"]),
];

/// A program of the copy.
#[derive(Debug)]
pub struct Program {
    /// Its package and target.
    pub name: String,
    /// Its package.
    pub package: String,
    /// The file.
    pub path: PathBuf,
    /// Where it runs.
    pub folder: PathBuf,
}

/// The copy, built.
pub struct Tree {
    /// Of each program, in the order in which they are built.
    pub programs: Vec<Program>,
    /// Mutants that stand behind a switch.
    pub switched: HashSet<u32>,
    /// Mutants that the compiler refuses behind one.
    pub refused: HashSet<u32>,
}

/// Copies, rewrites and builds.
///
/// # Errors
/// What cannot be read or written, and what the compiler refuses of no mutant.
pub fn build(
    root: &Path,
    work: &Path,
    mutants: &[Mutant],
    sources: &[Source],
    packages: &HashSet<&str>,
) -> Result<Tree, String> {
    let copy = work.join("tree");
    let rewritten: HashSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    for path in &files {
        let bytes = fs::read(root.join(path)).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.to_string_lossy();
        if rewritten.contains(name.as_ref()) {
            continue;
        }
        let bytes = match name.as_ref() {
            "Cargo.toml" => allowing(&String::from_utf8_lossy(&bytes)).into_bytes(),
            "storage/src/lib.rs" | "engine/ingest/src/lib.rs" => {
                [&bytes[..], library(&name).as_bytes()].concat()
            }
            _ => bytes,
        };
        write(&copy.join(path), &bytes)?;
    }
    for library in ["storage/src", "engine/ingest/src"] {
        write(
            &copy.join(library).join("mutants.rs"),
            include_bytes!("switch.rs"),
        )?;
    }
    let mut rounds = Rounds {
        copy: &copy,
        work,
        mutants,
        sources,
        without: read_refused(work, mutants, sources),
        copied: HashMap::new(),
        written: HashMap::new(),
    };
    rounds.write()?;
    for package in PACKAGES {
        rounds.until_it_compiles(package)?;
    }
    let mut programs = Vec::new();
    for (package, what) in BUILT {
        // The own tests of a crate that nothing is asked of.
        if PACKAGES.contains(&package) && !packages.contains(package) {
            continue;
        }
        let messages = rounds.cargo(&[&["test", "--no-run", "-p", package], what].concat())?;
        if let Some(error) = messages.errors.first() {
            return Err(error.text.clone());
        }
        // A binary's own tests are not what is run of it.
        let messages = if package == "tests" {
            rounds.cargo(&["build", "-p", package, "--bin", "simulate"])?
        } else {
            messages
        };
        programs.extend(messages.programs);
    }
    let switched = rounds
        .written
        .values()
        .flat_map(|written| &written.switched);
    Ok(Tree {
        programs,
        switched: switched.copied().collect(),
        refused: rounds.without,
    })
}

/// All files of the tree that are not built, by their path.
fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let at = root.join(folder);
    let entries = fs::read_dir(&at).map_err(|e| format!("{}: {e}", at.display()))?;
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let path = folder.join(&name);
        let kind = entry
            .file_type()
            .map_err(|e| format!("{}: {e}", path.display()))?;
        if kind.is_dir() && name != "target" && name != ".git" {
            walk(root, &path, found)?;
        } else if kind.is_file() && name != ".git" {
            found.push(path);
        }
    }
    Ok(())
}

/// The workspace without lints: a switch makes code that no person would write.
fn allowing(manifest: &str) -> String {
    let allow = "[workspace.lints.rust]\nwarnings = \"allow\"\narithmetic_overflow = \"allow\"\n\
                 unconditional_panic = \"allow\"\noverflowing_literals = \"allow\"";
    manifest
        .replace("\"deny\"", "\"allow\"")
        .replace("[workspace.lints.rust]", allow)
}

/// What a crate's root has more: the switch, by a name that is the same in its tests.
fn library(path: &str) -> String {
    let name = path.rsplit('/').nth(2).unwrap_or_default();
    format!("\nextern crate self as {name};\npub mod mutants;\n")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(told)?;
    fs::write(path, bytes).map_err(told)
}

/// What the compiler refused before, of files that have not changed since.
fn read_refused(work: &Path, mutants: &[Mutant], sources: &[Source]) -> HashSet<u32> {
    let text = fs::read_to_string(work.join("refused")).unwrap_or_default();
    let known: HashSet<&str> = text.lines().collect();
    let hashes: HashMap<&str, u64> = sources
        .iter()
        .map(|one| (one.path.as_str(), one.hash))
        .collect();
    let line = |mutant: &Mutant| format!("{:016x}\t{}", hashes[mutant.file.as_str()], mutant.key);
    let refused = mutants
        .iter()
        .filter(|mutant| known.contains(line(mutant).as_str()));
    refused.map(|mutant| mutant.id).collect()
}

struct Rounds<'a> {
    copy: &'a Path,
    work: &'a Path,
    mutants: &'a [Mutant],
    sources: &'a [Source],
    without: HashSet<u32>,
    /// Places whose operands stand in each branch, by file and where they begin.
    copied: HashMap<String, HashSet<usize>>,
    written: HashMap<String, Written>,
}

struct Error {
    /// Of each place that it names, the first ones first: file and bytes.
    spans: Vec<(String, Range<usize>)>,
    text: String,
}

#[derive(Default)]
struct Messages {
    errors: Vec<Error>,
    programs: Vec<Program>,
}

impl Rounds<'_> {
    fn write(&mut self) -> Result<(), String> {
        for source in self.sources {
            let of: Vec<&Mutant> = self
                .mutants
                .iter()
                .filter(|one| one.file == source.path)
                .collect();
            let copied = self.copied.entry(source.path.clone()).or_default();
            let written = rewrite::rewrite(source, &of, &self.without, copied)?;
            let path = self.copy.join(&source.path);
            let mut text = written.text.clone();
            if source.path.ends_with("src/lib.rs") {
                text.push_str(&library(&source.path));
            }
            write(&path, text.as_bytes())?;
            self.written.insert(source.path.clone(), written);
        }
        let hashes: HashMap<&str, u64> =
            (self.sources.iter().map(|one| (one.path.as_str(), one.hash))).collect();
        let refused = self
            .mutants
            .iter()
            .filter(|mutant| self.without.contains(&mutant.id));
        let lines = refused.map(|one| format!("{:016x}\t{}\n", hashes[one.file.as_str()], one.key));
        write(
            &self.work.join("refused"),
            lines.collect::<String>().as_bytes(),
        )
    }

    fn until_it_compiles(&mut self, package: &str) -> Result<(), String> {
        for round in 0..ROUNDS_MAX {
            let messages = self.cargo(&["build", "-p", package, "--lib"])?;
            if messages.errors.is_empty() {
                return Ok(());
            }
            let before = (
                self.without.len(),
                self.copied.values().map(HashSet::len).sum::<usize>(),
            );
            for error in &messages.errors {
                self.leave_out(error);
            }
            let now = (
                self.without.len(),
                self.copied.values().map(HashSet::len).sum::<usize>(),
            );
            eprintln!(
                "{package}: round {round}: {} errors, {} mutants refused",
                messages.errors.len(),
                now.0
            );
            if before == now {
                let text: Vec<&str> = messages
                    .errors
                    .iter()
                    .map(|one| one.text.as_str())
                    .collect();
                return Err(text.join("\n"));
            }
            self.write()?;
        }
        Err(format!(
            "{package} does not compile after {ROUNDS_MAX} rounds"
        ))
    }

    fn leave_out(&mut self, error: &Error) {
        for (file, at) in &error.spans {
            let Some(blame) = self.written.get(file).and_then(|written| written.blame(at)) else {
                continue;
            };
            let copied = self.copied.entry(file.clone()).or_default();
            // Once more with the operands in each branch, before the place is given up.
            if blame.own || !copied.insert(blame.place) {
                self.without.extend(blame.mutants);
            }
            return;
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Messages, String> {
        let target = self.work.join("build");
        let output = Command::new("cargo")
            .args(arguments)
            .args(["--release", "--message-format", "json"])
            .args([
                "--config",
                "profile.release.package.storage.codegen-units=16",
            ])
            .args([
                "--config",
                "profile.release.package.ingest.codegen-units=16",
            ])
            .args(["--config", "profile.release.debug=false"])
            .current_dir(self.copy)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_INCREMENTAL", "1")
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| format!("cargo: {e}"))?;
        let mut messages = Messages::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            messages.take(&message);
        }
        if !output.status.success() && messages.errors.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(messages)
    }
}

impl Messages {
    fn take(&mut self, message: &Value) {
        let text = |at: &str| {
            message
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match text("/reason") {
            "compiler-message" if text("/message/level").starts_with("error") => {
                let of = |value: &Value| {
                    let number = |name| value[name].as_u64().and_then(|n| usize::try_from(n).ok());
                    let file = value["file_name"].as_str()?.to_owned();
                    Some((file, number("byte_start")?..number("byte_end")?))
                };
                let spans = message.pointer("/message/spans").and_then(Value::as_array);
                let spans = spans.map(Vec::as_slice).unwrap_or_default();
                let (first, other): (Vec<_>, Vec<_>) =
                    spans.iter().partition(|span| span["is_primary"] == true);
                let spans: Vec<_> = first.into_iter().chain(other).filter_map(of).collect();
                if !spans.is_empty() {
                    let text = text("/message/rendered").to_owned();
                    self.errors.push(Error { spans, text });
                }
            }
            "compiler-artifact" => {
                let Some(path) = message["executable"].as_str() else {
                    return;
                };
                let manifest = Path::new(text("/manifest_path"));
                let folder = manifest.parent().unwrap_or(manifest);
                let package = text("/package_id").rsplit('/').next().unwrap_or_default();
                let package = package.split('#').next_back().unwrap_or_default();
                let package = package.split('@').next().unwrap_or_default();
                let target = text("/target/name");
                let package = match package.starts_with(|c: char| c.is_ascii_digit()) {
                    true => folder
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    false => package.to_owned(),
                };
                self.programs.push(Program {
                    name: format!("{package}::{target}"),
                    package,
                    path: PathBuf::from(path),
                    folder: folder.to_owned(),
                });
            }
            _ => {}
        }
    }
}
