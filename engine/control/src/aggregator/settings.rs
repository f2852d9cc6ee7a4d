//! A pipeline's CONFIG and settings: which keys there are, and what a leaf gets of them.
//!
//! Every key is taken, refused with the reason, or unknown; none is ignored. [`CONFIG_KEYS`] is the
//! list that the documentation shows.

use std::collections::BTreeMap;

use ingest::leaf::order::Settings;

use super::error::AggregatorError;
use crate::catalog::{EngineVariables, PipelineSpec};
use crate::limits::{
    BOOTSTRAP_SERVERS_MAX, CONFIG_KEYS_MAX, METADATA_INTERVAL_MS, OPERATION_TIMEOUT_MS,
};

/// What becomes of a CONFIG key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFate {
    /// Taken; what it does.
    Taken(&'static str),
    /// Refused; why.
    Refused(&'static str),
}

/// CONFIG's keys by librdkafka's names. A name that ends in `.` stands for all keys that begin so.
pub const CONFIG_KEYS: &[(&str, KeyFate)] = &[
    (
        "client.id",
        KeyFate::Taken("the name the brokers log; default pinleaf"),
    ),
    (
        "isolation.level",
        KeyFate::Taken("read_committed (default) or read_uncommitted"),
    ),
    (
        "operation.timeout.ms",
        KeyFate::Taken("ms that one question to a broker may take; default 10000"),
    ),
    (
        "security.protocol",
        KeyFate::Taken("plaintext, the default; ssl and sasl_* are refused: not supported yet"),
    ),
    (
        "spoof.dns",
        KeyFate::Taken(
            "JSON, {\"host:port\": \"host:port\", ...}: where to connect instead of an advertised address",
        ),
    ),
    (
        "topic.metadata.refresh.interval.ms",
        KeyFate::Taken("ms between looks for new partitions; default 10000"),
    ),
    ("sasl.", KeyFate::Refused("SASL is not supported yet")),
    ("ssl.", KeyFate::Refused("TLS is not supported yet")),
    (
        "enable.ssl.certificate.verification",
        KeyFate::Refused("TLS is not supported yet"),
    ),
    (
        "schema.registry.",
        KeyFate::Refused("only FORMAT JSON is supported yet, it has no registry"),
    ),
    (
        "fetch.",
        KeyFate::Refused("a leaf sizes its fetches by its own memory"),
    ),
    (
        "max.partition.fetch.bytes",
        KeyFate::Refused("a leaf sizes its fetches by its own memory"),
    ),
    (
        "client.rack",
        KeyFate::Refused("every partition is fetched from its leader"),
    ),
    (
        "group.id",
        KeyFate::Refused("the group is pinleaf-<database>-<pipeline>"),
    ),
    (
        "auto.offset.reset",
        KeyFate::Refused("a new pipeline starts at EARLIEST; use ALTER PIPELINE ... SET OFFSETS"),
    ),
    (
        "enable.auto.commit",
        KeyFate::Refused("offsets are committed with the rows"),
    ),
];

/// What the aggregator's own connections need of CONFIG.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientSettings {
    /// `host:port` of each bootstrap server.
    pub bootstrap: Vec<(String, u16)>,
    /// `client.id`.
    pub client_id: String,
    /// `operation.timeout.ms`.
    pub operation_timeout_ms: u64,
    /// `isolation.level` is read_committed.
    pub read_committed: bool,
    /// `topic.metadata.refresh.interval.ms`.
    pub metadata_interval_ms: u64,
    /// `spoof.dns`.
    pub spoof: BTreeMap<(String, u16), (String, u16)>,
}

/// Reads the servers and CONFIG.
///
/// # Errors
/// `Setting`: the first server or key that cannot be taken, with why.
pub fn client_settings(spec: &PipelineSpec) -> Result<ClientSettings, AggregatorError> {
    if spec.brokers.is_empty() {
        return Err(refused("KAFKA", "", "names no server: 'host[:port]/topic'"));
    }
    if spec.brokers.len() > BOOTSTRAP_SERVERS_MAX {
        return Err(AggregatorError::Full {
            what: "servers in one pipeline",
            max: BOOTSTRAP_SERVERS_MAX as u64,
        });
    }
    if spec.config.len() > CONFIG_KEYS_MAX {
        return Err(AggregatorError::Full {
            what: "keys in one CONFIG",
            max: CONFIG_KEYS_MAX as u64,
        });
    }
    let topic = &spec.topic;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(legal) {
        return Err(refused(
            "KAFKA",
            topic,
            "a topic has 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-'",
        ));
    }
    let mut settings = ClientSettings {
        bootstrap: Vec::new(),
        client_id: "pinleaf".to_owned(),
        operation_timeout_ms: OPERATION_TIMEOUT_MS,
        read_committed: true,
        metadata_interval_ms: METADATA_INTERVAL_MS,
        spoof: BTreeMap::new(),
    };
    for broker in &spec.brokers {
        settings.bootstrap.push(address(broker).ok_or_else(|| {
            refused(
                "KAFKA",
                broker,
                "is not host[:port], the port from 1 to 65535",
            )
        })?);
    }
    for (key, value) in &spec.config {
        take(&mut settings, key, value)?;
    }
    Ok(settings)
}

fn take(settings: &mut ClientSettings, key: &str, value: &str) -> Result<(), AggregatorError> {
    let wants = |what: &str| refused("CONFIG", key, &format!("'{value}' is not {what}"));
    let number = |min: u64, max: u64| {
        value
            .parse::<u64>()
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| wants(&format!("a whole number from {min} to {max}")))
    };
    match key {
        "client.id" => {
            if value.is_empty() || value.len() > 255 {
                return Err(wants("1 to 255 bytes"));
            }
            value.clone_into(&mut settings.client_id);
        }
        "isolation.level" => {
            settings.read_committed = match value {
                "read_committed" => true,
                "read_uncommitted" => false,
                _ => return Err(wants("read_committed or read_uncommitted")),
            };
        }
        "operation.timeout.ms" => settings.operation_timeout_ms = number(1, 3_600_000)?,
        "topic.metadata.refresh.interval.ms" => {
            settings.metadata_interval_ms = number(100, 3_600_000)?;
        }
        "security.protocol" => match value.to_ascii_lowercase().as_str() {
            "plaintext" => {}
            "ssl" => return Err(refused("CONFIG", key, "'ssl': TLS is not supported yet")),
            "sasl_plaintext" | "sasl_ssl" => {
                return Err(refused(
                    "CONFIG",
                    key,
                    &format!("'{value}': SASL is not supported yet"),
                ));
            }
            _ => return Err(wants("plaintext, ssl, sasl_plaintext or sasl_ssl")),
        },
        "spoof.dns" => {
            let pairs: BTreeMap<String, String> = serde_json::from_str(value)
                .map_err(|_| wants("a JSON object of \"host:port\": \"host:port\""))?;
            for (from, to) in pairs {
                let (Some(from), Some(to)) = (address(&from), address(&to)) else {
                    return Err(wants("a JSON object of \"host:port\": \"host:port\""));
                };
                settings.spoof.insert(from, to);
            }
        }
        _ => {
            let known = CONFIG_KEYS
                .iter()
                .find(|(name, _)| *name == key || (name.ends_with('.') && key.starts_with(name)));
            return Err(match known {
                Some((_, KeyFate::Refused(why) | KeyFate::Taken(why))) => {
                    refused("CONFIG", key, why)
                }
                None => refused("CONFIG", key, "is not a key that Pinleaf knows"),
            });
        }
    }
    Ok(())
}

/// `host[:port]`, the port 9092 unless written; `[::1]:9092` for IPv6.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            match after.strip_prefix(':') {
                Some(port) => (host, port.parse().ok()?),
                None if after.is_empty() => (host, 9092),
                None => return None,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, 9092),
        },
    };
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"/,[]".contains(&byte);
    (port != 0 && !host.is_empty() && host.len() <= 255 && host.bytes().all(legal))
        .then(|| (host.to_owned(), port))
}

fn refused(clause: &'static str, key: &str, what: &str) -> AggregatorError {
    AggregatorError::Setting {
        clause,
        key: key.to_owned(),
        what: what.to_owned(),
    }
}

/// What a leaf gets: the pipeline's own values, else the engine's variables.
#[must_use]
pub fn resolve(spec: &PipelineSpec, variables: &EngineVariables) -> Settings {
    let retry = spec.retry_options.unwrap_or_default();
    let retry_interval_ms = retry
        .retry_interval_ms
        .or(spec.batch_interval_ms)
        .unwrap_or_else(|| variables.batch_interval_ms());
    // CONFIG was read when the pipeline was made; a catalog of a release that took more keys than
    // this one is the only way not to be readable here, and START says so.
    let client = client_settings(spec).ok();
    Settings {
        max_offsets_per_batch_partition: spec
            .max_offsets_per_batch_partition
            .unwrap_or_else(|| variables.max_offsets_per_batch_partition()),
        max_retries_per_batch_partition: retry
            .max_retries
            .or(spec.max_retries_per_batch_partition)
            .unwrap_or_else(|| variables.max_retries_per_batch_partition()),
        retry_interval_ms,
        max_retry_interval_ms: retry
            .max_retry_interval_ms
            .unwrap_or_else(|| retry_interval_ms.saturating_mul(10)),
        retry_exponential: retry.exponential.unwrap_or(true),
        stop_on_error: spec
            .stop_on_error
            .unwrap_or_else(|| variables.stop_on_error()),
        skip_errors: spec.skip_errors,
        parse_errors_threshold: variables.parse_errors_threshold(),
        batches_kept: variables.batches_metadata_to_keep(),
        mapping: spec.mapping.clone(),
        read_committed: client.as_ref().is_none_or(|client| client.read_committed),
        client_id: client.map_or_else(|| "pinleaf".to_owned(), |client| client.client_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(brokers: &[&str], config: &[(&str, &str)]) -> PipelineSpec {
        PipelineSpec {
            brokers: brokers.iter().map(|broker| (*broker).to_owned()).collect(),
            topic: "orders".into(),
            config: config
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            batch_interval_ms: None,
            max_partitions_per_batch: None,
            max_retries_per_batch_partition: None,
            max_offsets_per_batch_partition: None,
            retry_options: None,
            skip_errors: ingest::pipeline::SkipErrors::None,
            stop_on_error: None,
            mapping: ingest::pipeline::JsonMapping { columns: vec![] },
            mapping_written: false,
        }
    }

    #[test]
    fn keys_are_taken_refused_or_unknown_by_name() {
        for (key, value, expected) in [
            ("client.id", "me", ""),
            ("isolation.level", "read_uncommitted", ""),
            (
                "isolation.level",
                "dirty",
                "CONFIG: 'isolation.level': 'dirty' is not read_committed or read_uncommitted",
            ),
            ("security.protocol", "PLAINTEXT", ""),
            (
                "security.protocol",
                "SASL_SSL",
                "CONFIG: 'security.protocol': 'SASL_SSL': SASL is not supported yet",
            ),
            (
                "security.protocol",
                "ssl",
                "CONFIG: 'security.protocol': 'ssl': TLS is not supported yet",
            ),
            (
                "sasl.mechanism",
                "PLAIN",
                "CONFIG: 'sasl.mechanism': SASL is not supported yet",
            ),
            (
                "ssl.ca.location",
                "/x",
                "CONFIG: 'ssl.ca.location': TLS is not supported yet",
            ),
            (
                "fetch.max.bytes",
                "1",
                "CONFIG: 'fetch.max.bytes': a leaf sizes its fetches by its own memory",
            ),
            (
                "operation.timeout.ms",
                "0",
                "CONFIG: 'operation.timeout.ms': '0' is not a whole number from 1 to 3600000",
            ),
            ("spoof.dns", "{\"a:1\":\"b:2\"}", ""),
            (
                "spoof.dns",
                "[]",
                "CONFIG: 'spoof.dns': '[]' is not a JSON object of \"host:port\": \"host:port\"",
            ),
            (
                "colour",
                "red",
                "CONFIG: 'colour': is not a key that Pinleaf knows",
            ),
        ] {
            let outcome = client_settings(&spec(&["a"], &[(key, value)]));
            assert_eq!(
                outcome
                    .err()
                    .map(|error| error.to_string())
                    .unwrap_or_default(),
                expected,
                "{key}"
            );
        }
    }

    #[test]
    fn the_page_lists_every_key_with_its_fate() {
        let page = include_str!("../../../../docs/pipelines.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let written: Vec<&str> = rows.collect();
        let known: Vec<String> = CONFIG_KEYS
            .iter()
            .map(|(key, fate)| {
                let any = if key.ends_with('.') { "*" } else { "" };
                let (fate, text) = match fate {
                    KeyFate::Taken(text) => ("", text),
                    KeyFate::Refused(text) => ("refused: ", text),
                };
                format!("| `{key}{any}` | {fate}{text} |")
            })
            .collect();
        assert_eq!(written, known);
    }

    #[test]
    fn servers_are_host_and_port() {
        let read =
            |text: &str| client_settings(&spec(&[text], &[])).map(|s| s.bootstrap[0].clone());
        assert_eq!(read("a").unwrap(), ("a".to_owned(), 9092));
        assert_eq!(read("a:1").unwrap(), ("a".to_owned(), 1));
        assert_eq!(read("[::1]:7").unwrap(), ("::1".to_owned(), 7));
        for bad in ["", ":1", "a:", "a:0", "a:70000", "a b", "[::1", "a/b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pipelines_own_values_beat_the_variables() {
        let mut variables = EngineVariables::default();
        variables.set("pipelines_stop_on_error", "OFF").unwrap();
        let mut spec = spec(&["a"], &[]);
        let settings = resolve(&spec, &variables);
        assert!(!settings.stop_on_error);
        assert_eq!(settings.max_offsets_per_batch_partition, 1_000_000);
        assert_eq!(
            (settings.retry_interval_ms, settings.max_retry_interval_ms),
            (2500, 25_000)
        );
        spec.stop_on_error = Some(true);
        spec.max_offsets_per_batch_partition = Some(7);
        spec.batch_interval_ms = Some(20);
        let settings = resolve(&spec, &variables);
        assert!(settings.stop_on_error);
        assert_eq!(settings.max_offsets_per_batch_partition, 7);
        assert_eq!(
            (settings.retry_interval_ms, settings.max_retry_interval_ms),
            (20, 200)
        );
    }
}
