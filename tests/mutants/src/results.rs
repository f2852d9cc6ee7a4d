//! What became of each mutant, kept from run to run, and the survivors that are explained.
//!
//! A result is a line: what became of it, who noticed, two hashes, the mutant. One that was noticed stays
//! so while its file is what it was, and so does one that is explained; any other is tried again once a program
//! that is run has changed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::list::{Mutant, Source};

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A simulation failed.
    Simulation(String),
    /// A test failed.
    Test(String),
    /// Something did not end.
    TimedOut(String),
    /// Something wrote on and on.
    Filled(String),
    /// It is reached, and all passed.
    Survived,
    /// Nothing reaches it.
    Unreached,
}

impl Fate {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Fate::Simulation(by) => ("simulation", by),
            Fate::Test(by) => ("test", by),
            Fate::TimedOut(by) => ("time-out", by),
            Fate::Filled(by) => ("filled", by),
            Fate::Survived => ("survived", ""),
            Fate::Unreached => ("unreached", ""),
        }
    }

    fn of(word: &str, by: &str) -> Option<Fate> {
        Some(match word {
            "simulation" => Fate::Simulation(by.to_owned()),
            "test" => Fate::Test(by.to_owned()),
            "time-out" => Fate::TimedOut(by.to_owned()),
            "filled" => Fate::Filled(by.to_owned()),
            "survived" => Fate::Survived,
            "unreached" => Fate::Unreached,
            _ => return None,
        })
    }

    /// What noticed.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Fate::Simulation(by) | Fate::Test(by) | Fate::TimedOut(by) | Fate::Filled(by) => {
                Some(by)
            }
            Fate::Survived | Fate::Unreached => None,
        }
    }

    /// Whether something noticed.
    #[must_use]
    pub fn is_caught(&self) -> bool {
        !matches!(self, Fate::Survived | Fate::Unreached)
    }
}

/// The file of results.
pub struct Results {
    file: File,
    known: HashMap<String, Fate>,
    hashes: HashMap<String, u64>,
    programs: u64,
}

impl Results {
    /// Opens the file and takes what still holds.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(
        path: &Path,
        sources: &[Source],
        programs: u64,
        explained: &HashMap<String, String>,
    ) -> Result<Results, String> {
        let told = |e: std::io::Error| format!("{}: {e}", path.display());
        let text = if path.exists() {
            fs::read_to_string(path).map_err(told)?
        } else {
            String::new()
        };
        let hashes: HashMap<String, u64> = sources
            .iter()
            .map(|source| (source.path.clone(), source.hash))
            .collect();
        let mut known = HashMap::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let &[word, by, file, of_programs, key] = fields.as_slice() else {
                continue;
            };
            let number = |text| u64::from_str_radix(text, 16).unwrap_or_default();
            let path = key.split(':').next().unwrap_or_default();
            let Some(fate) = Fate::of(word, by) else {
                continue;
            };
            let same = hashes.get(path) == Some(&number(file));
            let stays = fate.is_caught() || explained.contains_key(key);
            if same && (stays || number(of_programs) == programs) {
                known.insert(key.to_owned(), fate);
            }
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(told)?;
        Ok(Results {
            file,
            known,
            hashes,
            programs,
        })
    }

    /// What is known of a mutant.
    #[must_use]
    pub fn of(&self, mutant: &Mutant) -> Option<&Fate> {
        self.known.get(&mutant.key)
    }

    /// Notes what became of a mutant.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&mut self, mutant: &Mutant, fate: Fate) -> Result<(), String> {
        let (word, by) = fate.words();
        let hash = self.hashes.get(&mutant.file).copied().unwrap_or_default();
        let line = format!(
            "{word}\t{by}\t{hash:016x}\t{:016x}\t{}\n",
            self.programs, mutant.key
        );
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|e| format!("the results: {e}"))?;
        self.known.insert(mutant.key.clone(), fate);
        Ok(())
    }
}

/// Survivors that change nothing that anybody could see, each with its reason.
///
/// # Errors
/// A line without a reason, named.
pub fn explained(text: &str) -> Result<HashMap<String, String>, String> {
    let mut explained = HashMap::new();
    let mut reason: Option<String> = None;
    for (at, line) in text.lines().enumerate() {
        if let Some(more) = line.strip_prefix("# ") {
            let more = more.trim();
            reason = Some(reason.map_or(more.to_owned(), |reason| format!("{reason} {more}")));
        } else if line.trim().is_empty() {
            reason = None;
        } else {
            let reason = reason.clone();
            let reason = reason.ok_or(format!("line {}: a survivor without a reason", at + 1))?;
            explained.insert(line.trim().to_owned(), reason);
        }
    }
    Ok(explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_before_what_it_explains() {
        let text = "# one\n# reason\na\nb\n\n# another\nc\n";
        let explained = super::explained(text).expect("reasons");
        let of = |key: &str| explained.get(key).map(String::as_str);
        assert_eq!(of("a"), Some("one reason"));
        assert_eq!(of("b"), Some("one reason"));
        assert_eq!(of("c"), Some("another"));
        let without = super::explained("# one\na\n\nb\n");
        assert_eq!(
            without,
            Err("line 4: a survivor without a reason".to_owned())
        );
    }

    #[test]
    fn a_fate_is_read_as_it_is_written() {
        let by = || "x".to_owned();
        for fate in [
            Fate::Simulation(by()),
            Fate::Test(by()),
            Fate::TimedOut(by()),
            Fate::Filled(by()),
        ] {
            let (word, by) = fate.words();
            assert_eq!(Fate::of(word, by), Some(fate.clone()));
            assert!(fate.is_caught());
        }
        assert!(!Fate::Survived.is_caught() && !Fate::Unreached.is_caught());
    }
}
