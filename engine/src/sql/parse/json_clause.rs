//! The JSON of CONFIG, CREDENTIALS, RETRY_OPTIONS and SET OFFSETS: an object, each key once.
//!
//! A secret's value never gets into a message: of CREDENTIALS, what is shown is the key alone.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use crate::catalog::RetryOptions;
use crate::sql::error::{Code, SqlError};

/// Whether a clause's text may stand in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// It may.
    Shown,
    /// It may not.
    Hidden,
}

/// An object whose keys come once each, in the order written.
struct Object(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut found: Vec<(String, Json)> = Vec::new();
                let mut keys = HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    if !keys.insert(key.clone()) {
                        return Err(serde::de::Error::custom(format!(
                            "the key '{key}' stands there twice"
                        )));
                    }
                    found.push((key, value));
                }
                Ok(Object(found))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

fn object(clause: &str, text: &str, secrets: Secrets) -> Result<Object, SqlError> {
    // serde_json quotes whatever else it meets, escaped, however long it is.
    if !text.trim_start().starts_with('{') {
        let what = format!("{clause}: not a JSON object, which begins with {{");
        return Err(SqlError::new(Code::PipelineFault, what));
    }
    serde_json::from_str(text).map_err(|fault| {
        let what = match (secrets, fault.classify()) {
            // serde_json quotes what it did not expect: not where that may be a password.
            (Secrets::Hidden, serde_json::error::Category::Data) => {
                format!(
                    "not a JSON object of distinct keys, at line {} column {}",
                    fault.line(),
                    fault.column()
                )
            }
            (Secrets::Hidden, _) => format!(
                "not JSON at line {} column {}",
                fault.line(),
                fault.column()
            ),
            (Secrets::Shown, _) => fault.to_string(),
        };
        SqlError::new(Code::PipelineFault, format!("{clause}: {what}"))
    })
}

fn wrong(clause: &str, key: &str, what: &str) -> SqlError {
    SqlError::new(Code::PipelineFault, format!("{clause}: '{key}': {what}"))
}

/// CONFIG and CREDENTIALS: numbers, booleans and objects as their text.
///
/// # Errors
/// The clause, the key and what is wrong with it.
pub fn config(
    clause: &str,
    text: &str,
    secrets: Secrets,
) -> Result<BTreeMap<String, String>, SqlError> {
    object(clause, text, secrets)?
        .0
        .into_iter()
        .map(|(key, value)| match value {
            Json::String(value) => Ok((key, value)),
            Json::Number(_) | Json::Bool(_) | Json::Object(_) => {
                let value = value.to_string();
                Ok((key, value))
            }
            Json::Null | Json::Array(_) => Err(wrong(
                clause,
                &key,
                "must be a string, a number or a boolean",
            )),
        })
        .collect()
}

/// RETRY_OPTIONS.
///
/// # Errors
/// The key and what it takes; an unknown key by its name.
pub fn retry_options(text: &str) -> Result<RetryOptions, SqlError> {
    const CLAUSE: &str = "RETRY_OPTIONS";
    let mut options = RetryOptions::default();
    for (key, value) in object(CLAUSE, text, Secrets::Shown)?.0 {
        let number = |min: u64, max: u64| {
            value
                .as_u64()
                .filter(|number| (min..=max).contains(number))
                .ok_or_else(|| {
                    wrong(
                        CLAUSE,
                        &key,
                        &format!("must be a whole number from {min} to {max}"),
                    )
                })
        };
        match key.as_str() {
            "exponential" => {
                options.exponential = Some(
                    value
                        .as_bool()
                        .ok_or_else(|| wrong(CLAUSE, &key, "must be true or false"))?,
                );
            }
            "retry_interval" => options.retry_interval_ms = Some(number(0, 86_400_000)?),
            "max_retry_interval" => options.max_retry_interval_ms = Some(number(0, 86_400_000)?),
            "max_retries" => options.max_retries = u32::try_from(number(0, 1_000_000)?).ok(),
            _ => {
                return Err(wrong(
                    CLAUSE,
                    &key,
                    "is not known: there are exponential, retry_interval, max_retry_interval and max_retries",
                ));
            }
        }
    }
    Ok(options)
}

/// SET OFFSETS' `{"partition": offset, ...}`.
///
/// # Errors
/// The key or value that is no partition or offset.
pub fn offsets(text: &str) -> Result<BTreeMap<i32, i64>, SqlError> {
    const CLAUSE: &str = "SET OFFSETS";
    let object = object(CLAUSE, text, Secrets::Shown)?;
    if object.0.is_empty() {
        return Err(SqlError::new(
            Code::PipelineFault,
            format!(
                "{CLAUSE}: names no partition: write '{{\"0\": 100, ...}}', EARLIEST or LATEST"
            ),
        ));
    }
    let mut found = BTreeMap::new();
    for (key, value) in object.0 {
        let partition = key
            .parse::<i32>()
            .ok()
            .filter(|partition| *partition >= 0)
            .ok_or_else(|| wrong(CLAUSE, &key, "is not the number of a partition"))?;
        let offset = value
            .as_i64()
            .filter(|offset| (0..i64::MAX).contains(offset))
            .ok_or_else(|| wrong(CLAUSE, &key, "must be an offset, a whole number from 0"))?;
        if found.insert(partition, offset).is_some() {
            return Err(wrong(
                CLAUSE,
                &key,
                "names a partition that stands there twice",
            ));
        }
    }
    Ok(found)
}
