//! The engine's variables: names, defaults, ranges and units, as the reference has them.
//!
//! One table, [`VARIABLES`], is what SET GLOBAL, SHOW VARIABLES, the configuration's `[variables]` and
//! the documentation go by. SET GLOBAL beats the configuration, which beats the default.

use std::collections::BTreeMap;

/// What values a variable takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableKind {
    /// A whole number within bounds, both included.
    Number {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// ON or OFF; 1, 0, TRUE and FALSE are taken too.
    Switch,
}

/// One engine variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Its default, as SHOW VARIABLES prints it.
    pub default: &'static str,
    /// What it takes.
    pub kind: VariableKind,
    /// What it does and in which unit: one line.
    pub about: &'static str,
}

const fn number(
    name: &'static str,
    default: &'static str,
    min: u64,
    max: u64,
    about: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        kind: VariableKind::Number { min, max },
        about,
    }
}

/// Every engine variable, by name.
pub const VARIABLES: &[Variable] = &[
    number(
        "ingest_errors_max_disk_space_mb",
        "102400",
        1,
        1 << 40,
        "MB of rejects that PIPELINES_ERRORS shows, newest first; 32 MiB at most, whatever it says",
    ),
    number(
        "pipelines_batch_interval",
        "2500",
        0,
        86_400_000,
        "ms, BATCH_INTERVAL of a pipeline without its own: shown, and the first pause of a retry; delays no row",
    ),
    number(
        "pipelines_batches_metadata_to_keep",
        "1000",
        1,
        1_000_000_000,
        "batches a pipeline that PIPELINES_BATCHES shows, newest first",
    ),
    number(
        "pipelines_errors_retention_minutes",
        "1440",
        1,
        1 << 32,
        "minutes that PIPELINES_ERRORS looks back",
    ),
    number(
        "pipelines_extractor_get_offsets_timeout_ms",
        "35000",
        1,
        86_400_000,
        "ms in which a topic's partitions and offsets must be known",
    ),
    number(
        "pipelines_max_concurrent",
        "50",
        1,
        1_000_000,
        "pipelines that run at once; START beyond it is an error",
    ),
    number(
        "pipelines_max_concurrent_batch_partitions",
        "0",
        0,
        1_000_000,
        "kept and shown, 0 = no limit: every partition is served at once",
    ),
    number(
        "pipelines_max_offsets_per_batch_partition",
        "1000000",
        1,
        1 << 40,
        "offsets that one batch of one partition covers at most",
    ),
    number(
        "pipelines_max_retries_per_batch_partition",
        "4",
        0,
        1_000_000,
        "retries of an extract failure before the partition fails",
    ),
    number(
        "pipelines_parse_errors_threshold",
        "0",
        0,
        1 << 40,
        "parse errors that one batch of one partition may have, 0 = no threshold",
    ),
    Variable {
        name: "pipelines_stop_on_error",
        default: "ON",
        kind: VariableKind::Switch,
        about: "whether a pipeline stops at its first error; OFF skips the batch",
    },
];

/// Why a variable was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// No such variable.
    #[error("Unknown system variable '{name}'")]
    Unknown {
        /// The name as written.
        name: String,
    },
    /// Not a value it takes.
    #[error("Variable '{name}' can't be set to the value of '{value}': {wants}")]
    Value {
        /// The variable.
        name: &'static str,
        /// The value as written.
        value: String,
        /// What it takes.
        wants: String,
    },
}

impl Variable {
    /// The variable of that name, without regard to case.
    ///
    /// # Errors
    /// `Unknown`: there is none.
    pub fn named(name: &str) -> Result<&'static Variable, VariableError> {
        VARIABLES
            .iter()
            .find(|variable| variable.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| VariableError::Unknown {
                name: name.to_owned(),
            })
    }

    /// The value's own text: `on` becomes `ON`, `007` becomes `7`.
    ///
    /// # Errors
    /// `Value`: not a value it takes, with what it does take.
    pub fn normalise(&self, value: &str) -> Result<String, VariableError> {
        let refused = |wants: String| VariableError::Value {
            name: self.name,
            value: value.to_owned(),
            wants,
        };
        let written = value.trim();
        match self.kind {
            VariableKind::Switch => match written.to_ascii_uppercase().as_str() {
                "ON" | "1" | "TRUE" => Ok("ON".to_owned()),
                "OFF" | "0" | "FALSE" => Ok("OFF".to_owned()),
                _ => Err(refused("ON or OFF".to_owned())),
            },
            VariableKind::Number { min, max } => match written.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
                _ => Err(refused(format!("a whole number from {min} to {max}"))),
            },
        }
    }
}

/// The engine's variables with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineVariables {
    values: BTreeMap<&'static str, String>,
}

impl Default for EngineVariables {
    fn default() -> EngineVariables {
        EngineVariables {
            values: VARIABLES
                .iter()
                .map(|variable| (variable.name, variable.default.to_owned()))
                .collect(),
        }
    }
}

impl EngineVariables {
    /// Sets one.
    ///
    /// # Errors
    /// The name is unknown or the value is not one it takes; nothing is changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), VariableError> {
        let variable = Variable::named(name)?;
        let value = variable.normalise(value)?;
        self.values.insert(variable.name, value);
        Ok(())
    }

    /// Every name and value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// One value's text.
    ///
    /// # Errors
    /// `Unknown`: there is none of that name.
    pub fn get(&self, name: &str) -> Result<&str, VariableError> {
        let variable = Variable::named(name)?;
        Ok(self
            .values
            .get(variable.name)
            .map_or(variable.default, String::as_str))
    }

    /// `pipelines_batch_interval`, ms.
    #[must_use]
    pub fn batch_interval_ms(&self) -> u64 {
        self.number("pipelines_batch_interval")
    }

    /// `pipelines_batches_metadata_to_keep`.
    #[must_use]
    pub fn batches_metadata_to_keep(&self) -> u64 {
        self.number("pipelines_batches_metadata_to_keep")
    }

    /// `pipelines_errors_retention_minutes`.
    #[must_use]
    pub fn errors_retention_minutes(&self) -> u64 {
        self.number("pipelines_errors_retention_minutes")
    }

    /// `pipelines_extractor_get_offsets_timeout_ms`.
    #[must_use]
    pub fn get_offsets_timeout_ms(&self) -> u64 {
        self.number("pipelines_extractor_get_offsets_timeout_ms")
    }

    /// `pipelines_max_concurrent`.
    #[must_use]
    pub fn max_concurrent(&self) -> u64 {
        self.number("pipelines_max_concurrent")
    }

    /// `pipelines_max_offsets_per_batch_partition`.
    #[must_use]
    pub fn max_offsets_per_batch_partition(&self) -> u64 {
        self.number("pipelines_max_offsets_per_batch_partition")
    }

    /// `pipelines_max_retries_per_batch_partition`.
    #[must_use]
    pub fn max_retries_per_batch_partition(&self) -> u32 {
        u32::try_from(self.number("pipelines_max_retries_per_batch_partition")).unwrap_or(u32::MAX)
    }

    /// `pipelines_parse_errors_threshold`; 0 = none.
    #[must_use]
    pub fn parse_errors_threshold(&self) -> u64 {
        self.number("pipelines_parse_errors_threshold")
    }

    /// `pipelines_stop_on_error`.
    #[must_use]
    pub fn stop_on_error(&self) -> bool {
        self.get("pipelines_stop_on_error") == Ok("ON")
    }

    /// A number of the table. Every value went through [`Variable::normalise`], so it parses.
    fn number(&self, name: &'static str) -> u64 {
        self.get(name)
            .ok()
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_values_they_take() {
        for variable in VARIABLES {
            assert_eq!(
                variable.normalise(variable.default).as_deref(),
                Ok(variable.default),
                "{}",
                variable.name
            );
        }
        assert!(VARIABLES.is_sorted_by_key(|variable| variable.name));
    }

    #[test]
    fn values_are_checked_and_normalised() {
        let mut variables = EngineVariables::default();
        assert!(variables.stop_on_error());
        variables.set("PIPELINES_STOP_ON_ERROR", "off").unwrap();
        assert!(!variables.stop_on_error());
        variables.set("pipelines_batch_interval", " 020 ").unwrap();
        assert_eq!(variables.batch_interval_ms(), 20);
        for (name, value, text) in [
            ("nope", "1", "Unknown system variable 'nope'"),
            (
                "pipelines_max_offsets_per_batch_partition",
                "0",
                "Variable 'pipelines_max_offsets_per_batch_partition' can't be set to the value of '0': a whole number from 1 to 1099511627776",
            ),
            (
                "pipelines_stop_on_error",
                "maybe",
                "Variable 'pipelines_stop_on_error' can't be set to the value of 'maybe': ON or OFF",
            ),
        ] {
            assert_eq!(variables.set(name, value).unwrap_err().to_string(), text);
        }
        assert_eq!(variables.get("Pipelines_Batch_Interval"), Ok("20"));
    }
}
