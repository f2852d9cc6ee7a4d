//! What may be mutated: `cargo mutants --list`, with `.cargo/mutants.toml` as its definition.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// One change of one place.
#[derive(Debug)]
pub struct Mutant {
    /// From 1 on; what the switch is set to.
    pub id: u32,
    /// Its crate.
    pub package: String,
    /// Its file, from the root of the tree.
    pub file: String,
    /// Line of the change.
    pub line: usize,
    /// What is changed.
    pub genre: Genre,
    /// Bytes of the file that `cargo mutants` names.
    pub at: std::ops::Range<usize>,
    /// What stands there instead.
    pub replacement: String,
    /// File, change and function, with a number where several are alike; it outlives changes elsewhere in the file.
    pub key: String,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Genre {
    /// A function returns at once.
    FnValue,
    /// Another operator between the same operands.
    Binary,
    /// An operator is left out.
    Unary,
    /// An arm of a match is left out.
    Arm,
    /// A guard is always so, or never.
    Guard,
    /// A field comes from the literal's base.
    Field,
}

/// A file that has mutants.
#[derive(Debug)]
pub struct Source {
    /// From the root of the tree.
    pub path: String,
    /// As it is in the tree.
    pub text: String,
    /// Of its text.
    pub hash: u64,
}

/// Hashes text, the same in every run.
#[must_use]
pub fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// All mutants of these packages, and their files.
///
/// # Errors
/// What `cargo mutants` says, and what of its answer is not understood.
pub fn list(root: &Path, packages: &[&str]) -> Result<(Vec<Mutant>, Vec<Source>), String> {
    let (mut mutants, mut sources) = (Vec::new(), Vec::<Source>::new());
    let mut alike: HashMap<String, u32> = HashMap::new();
    for package in packages {
        let output = Command::new("cargo")
            .args(["mutants", "--list", "--json", "-p", package])
            .current_dir(root)
            .output()
            .map_err(|e| format!("cargo mutants: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo mutants: {said}"));
        }
        let listed: Vec<Value> =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo mutants: {e}"))?;
        for one in &listed {
            let file = text(one, "/file")?;
            if sources.last().is_none_or(|source| source.path != file) {
                let text =
                    std::fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?;
                let hash = hash(text.as_bytes());
                let path = file.to_owned();
                sources.push(Source { path, text, hash });
            }
            let source = sources.last().ok_or("no file")?;
            let name = text(one, "/name")?;
            let what = name.splitn(4, ':').nth(3).ok_or("a name without a place")?;
            let what = format!("{file}:{what}");
            let count = alike.entry(what.clone()).or_default();
            *count += 1;
            let key = match *count {
                1 => what,
                count => format!("{what} ({count})"),
            };
            let line = number(one, "/span/start/line")?;
            mutants.push(Mutant {
                id: u32::try_from(mutants.len()).map_err(|e| e.to_string())? + 1,
                package: text(one, "/package")?.to_owned(),
                file: file.to_owned(),
                line,
                genre: genre(text(one, "/genre")?)?,
                at: offset(&source.text, line, number(one, "/span/start/column")?)
                    ..offset(
                        &source.text,
                        number(one, "/span/end/line")?,
                        number(one, "/span/end/column")?,
                    ),
                replacement: text(one, "/replacement")?.to_owned(),
                key,
            });
        }
    }
    Ok((mutants, sources))
}

fn genre(name: &str) -> Result<Genre, String> {
    Ok(match name {
        "FnValue" => Genre::FnValue,
        "BinaryOperator" => Genre::Binary,
        "UnaryOperator" => Genre::Unary,
        "MatchArm" => Genre::Arm,
        "MatchArmGuard" => Genre::Guard,
        "StructField" => Genre::Field,
        other => return Err(format!("cargo mutants has a genre {other}")),
    })
}

fn text<'a>(value: &'a Value, at: &str) -> Result<&'a str, String> {
    let text = value.pointer(at).and_then(Value::as_str);
    text.ok_or_else(|| format!("cargo mutants --list: no {at}"))
}

fn number(value: &Value, at: &str) -> Result<usize, String> {
    let number = value.pointer(at).and_then(Value::as_u64);
    number
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| format!("cargo mutants --list: no {at}"))
}

/// The byte of a line and a column, both from 1 on; a column is a character.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let rest = text[before..].char_indices();
    before
        + rest
            .map(|(at, _)| at)
            .nth(column - 1)
            .unwrap_or(text.len() - before)
}
