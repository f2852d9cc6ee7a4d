//! A case: a seed, and what is left of it once it was shrunk.
//!
//! Each event of a seed has random numbers of its own, so that one may be left out and the others choose
//! as before; a kind of fault may be taken out, and what would have chosen it passes. What is left is
//! written as arguments of `simulate`, and runs the same every time.

use std::collections::BTreeSet;
use std::fmt;

use super::{Random, mix};

/// What separates the names of [`Case::without`] in an argument: names hold commas.
const BETWEEN_NAMES: char = ';';

/// One history to run. See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// It ends after so many events; `None`: after as many as the seed says.
    pub events_max: Option<u32>,
    /// Events that are left out.
    pub skipped: BTreeSet<u32>,
    /// Kinds of faults that do not happen, by their names in the coverage.
    pub without: BTreeSet<String>,
}

impl Case {
    /// All of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Case {
        Case {
            seed,
            ..Case::default()
        }
    }

    /// Whether this kind of fault may happen.
    #[must_use]
    pub fn has(&self, fault: &str) -> bool {
        self.without.is_empty() || !self.without.contains(fault)
    }

    /// The events that happen, of the `wanted` that the seed has.
    pub fn events(&self, wanted: u64) -> impl Iterator<Item = u32> + use<> {
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let end = self.events_max.unwrap_or(wanted).min(wanted);
        let skipped = self.skipped.clone();
        (0..end).filter(move |event| !skipped.contains(event))
    }

    /// The random numbers of one event.
    #[must_use]
    pub fn random(&self, event: u32) -> Random {
        Random::new(mix(self.seed ^ mix(u64::from(event) + 1)))
    }

    /// Takes one of the arguments that [`Case`] is written as; `Ok(false)`: it is another's.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn argument(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let number = |text: &str| text.parse::<u32>().map_err(|e| format!("{text}: {e}"));
        match name {
            "--events" => self.events_max = Some(number(value)?),
            "--skip" => {
                for part in value.split(',') {
                    let (from, to) = part.split_once('-').unwrap_or((part, part));
                    self.skipped.extend(number(from)?..=number(to)?);
                }
            }
            "--without" => {
                let names = value.split(BETWEEN_NAMES).map(str::to_owned);
                self.without.extend(names);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// As arguments of `simulate`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seeds {}..{}", self.seed, self.seed + 1)?;
        if let Some(events) = self.events_max {
            write!(f, " --events {events}")?;
        }
        let mut parts: Vec<String> = Vec::new();
        let mut skipped = self.skipped.iter().copied().peekable();
        while let Some(from) = skipped.next() {
            let mut to = from;
            while skipped.next_if_eq(&(to + 1)).is_some() {
                to += 1;
            }
            parts.push(if from == to {
                from.to_string()
            } else {
                format!("{from}-{to}")
            });
        }
        if !parts.is_empty() {
            write!(f, " --skip {}", parts.join(","))?;
        }
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().map(String::as_str).collect();
            // As a shell reads it.
            let names = names.join(";").replace('\'', r"'\''");
            write!(f, " --without '{names}'")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        let mut case = Case::of(7);
        assert_eq!(case.to_string(), "--seeds 7..8");
        case.events_max = Some(40);
        case.skipped = BTreeSet::from([0, 1, 2, 5, 9, 10]);
        case.without = BTreeSet::from(["disk: kill".to_owned(), "disk: a, b".to_owned()]);
        let written = case.to_string();
        assert_eq!(
            written,
            "--seeds 7..8 --events 40 --skip 0-2,5,9-10 --without 'disk: a, b;disk: kill'"
        );
        let mut read = Case::of(7);
        for (name, value) in [
            ("--events", "40"),
            ("--skip", "0-2,5,9-10"),
            ("--without", "disk: a, b;disk: kill"),
        ] {
            assert_eq!(read.argument(name, value), Ok(true));
        }
        assert_eq!(read, case);
        assert_eq!(read.argument("--only", "leaf"), Ok(false));
        assert!(read.argument("--skip", "1-x").is_err());
        let mut quoted = Case::of(7);
        quoted.without = BTreeSet::from(["an order's".to_owned()]);
        assert_eq!(
            quoted.to_string(),
            r"--seeds 7..8 --without 'an order'\''s'"
        );
    }

    #[test]
    fn events_that_are_left_out_do_not_move_the_others() {
        let mut case = Case::of(3);
        let before = case.random(8).number();
        case.skipped = BTreeSet::from([0, 7]);
        case.events_max = Some(9);
        let events: Vec<u32> = case.events(100).collect();
        assert_eq!(events, [1, 2, 3, 4, 5, 6, 8]);
        assert_eq!(case.random(8).number(), before);
        assert_ne!(case.random(6).number(), before);
    }
}
