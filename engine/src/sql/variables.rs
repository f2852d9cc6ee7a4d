//! System and user variables: `@@name`, SET and SHOW VARIABLES.
//!
//! Three kinds of system variables: the engine's (the catalog's list, set globally alone), the
//! session's, and what only tells something about the server. A value is taken only if this server
//! then does what MySQL would; a value that would change what a query means, and does not here, is
//! refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Code, SqlError};
use super::value::Value;
use crate::catalog::{EngineVariables, VARIABLES, VariableKind};

/// What the node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Pinleaf's own version, e.g. `0.1.0`.
    pub pinleaf_version: String,
    /// The machine's name.
    pub hostname: String,
    /// The port of MySQL's protocol.
    pub port: u16,
    /// The data directory.
    pub data_dir: String,
    /// The longest packet a client may send, bytes.
    pub max_allowed_packet_bytes: u64,
    /// Clients at once.
    pub max_connections: u64,
    /// An idle connection is closed after so many seconds.
    pub wait_timeout_s: u64,
    /// A client that does not take its rows is closed after so many seconds.
    pub net_write_timeout_s: u64,
    /// A login may take so many seconds.
    pub connect_timeout_s: u64,
}

impl ServerFacts {
    /// What VERSION() and the handshake say: MySQL's shape, so that clients find a major number.
    #[must_use]
    pub fn version(&self) -> String {
        format!("8.0.36-pinleaf-{}", self.pinleaf_version)
    }
}

/// How a variable comes out of `@@name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A text.
    Text,
    /// A number.
    Number,
    /// 1 or 0; ON or OFF in SHOW VARIABLES.
    Switch,
    /// A text or, if empty, NULL.
    TextOrNull,
}

/// What SET may make of it.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// Nothing: it tells something.
    Nothing,
    /// These values alone: the others would be a lie.
    Only(&'static [&'static str]),
    /// A number within bounds.
    Number(u64, u64),
    /// ON and OFF.
    Switch,
    /// sql_mode.
    SqlMode,
    /// time_zone.
    TimeZone,
    /// A character set.
    Charset,
    /// A collation.
    Collation,
    /// An isolation level.
    Isolation,
}

struct SystemVariable {
    name: &'static str,
    shape: Shape,
    default: Initial,
    takes: Takes,
}

/// What it is before it was set.
enum Initial {
    /// Always this.
    Is(&'static str),
    /// What the node says.
    Made(fn(&ServerFacts) -> String),
}

use Initial::{Is, Made};
use Shape::{Number, Switch, Text, TextOrNull};

const fn tells(name: &'static str, shape: Shape, default: Initial) -> SystemVariable {
    SystemVariable {
        name,
        shape,
        default,
        takes: Takes::Nothing,
    }
}

const fn taken(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    takes: Takes,
) -> SystemVariable {
    SystemVariable {
        name,
        shape,
        default: Is(default),
        takes,
    }
}

const OFF: Takes = Takes::Only(&["OFF"]);
const ON: Takes = Takes::Only(&["ON"]);
const SELECT_LIMIT_NONE: &str = "18446744073709551615";

/// By name. What a client reads at its start is here: see docs/sql.md.
const SYSTEM: &[SystemVariable] = &[
    tells("aggregator_id", Number, Is("1")),
    taken("auto_increment_increment", Number, "1", Takes::Only(&["1"])),
    taken("auto_increment_offset", Number, "1", Takes::Only(&["1"])),
    taken("autocommit", Switch, "ON", Takes::Switch),
    taken("big_tables", Switch, "OFF", OFF),
    taken("character_set_client", Text, "utf8mb4", Takes::Charset),
    taken("character_set_connection", Text, "utf8mb4", Takes::Charset),
    tells("character_set_database", Text, Is("utf8mb4")),
    taken("character_set_filesystem", Text, "binary", Takes::Nothing),
    taken("character_set_results", Text, "utf8mb4", Takes::Charset),
    tells("character_set_server", Text, Is("utf8mb4")),
    tells("character_set_system", Text, Is("utf8mb4")),
    taken(
        "collation_connection",
        Text,
        "utf8mb4_bin",
        Takes::Collation,
    ),
    tells("collation_database", Text, Is("utf8mb4_bin")),
    tells("collation_server", Text, Is("utf8mb4_bin")),
    tells(
        "connect_timeout",
        Number,
        Made(|facts| facts.connect_timeout_s.to_string()),
    ),
    tells("datadir", Text, Made(|facts| facts.data_dir.clone())),
    tells("default_storage_engine", Text, Is("Pinleaf")),
    taken("default_week_format", Number, "0", Takes::Only(&["0"])),
    taken("div_precision_increment", Number, "4", Takes::Only(&["4"])),
    taken(
        "enable_extended_types_metadata",
        Switch,
        "OFF",
        Takes::Switch,
    ),
    tells("explicit_defaults_for_timestamp", Switch, Is("ON")),
    taken("foreign_key_checks", Switch, "ON", Takes::Switch),
    taken(
        "group_concat_max_len",
        Number,
        "1024",
        Takes::Only(&["1024"]),
    ),
    tells("have_openssl", Text, Is("DISABLED")),
    tells("have_ssl", Text, Is("DISABLED")),
    tells("hostname", Text, Made(|facts| facts.hostname.clone())),
    tells("information_schema_stats_expiry", Number, Is("0")),
    tells("init_connect", Text, Is("")),
    taken(
        "interactive_timeout",
        Number,
        "28800",
        Takes::Number(1, 31_536_000),
    ),
    taken("lc_messages", Text, "en_US", Takes::Only(&["en_US"])),
    taken("lc_time_names", Text, "en_US", Takes::Only(&["en_US"])),
    tells("license", Text, Is("Apache-2.0")),
    taken(
        "lock_wait_timeout",
        Number,
        "31536000",
        Takes::Number(1, 31_536_000),
    ),
    tells("lower_case_table_names", Number, Is("0")),
    tells(
        "max_allowed_packet",
        Number,
        Made(|facts| facts.max_allowed_packet_bytes.to_string()),
    ),
    tells(
        "max_connections",
        Number,
        Made(|facts| facts.max_connections.to_string()),
    ),
    taken("max_execution_time", Number, "0", Takes::Only(&["0"])),
    tells("memsql_version", Text, Made(|facts| facts.version())),
    taken("net_buffer_length", Number, "16384", Takes::Nothing),
    taken(
        "net_read_timeout",
        Number,
        "30",
        Takes::Number(1, 31_536_000),
    ),
    tells(
        "net_write_timeout",
        Number,
        Made(|facts| facts.net_write_timeout_s.to_string()),
    ),
    tells("performance_schema", Switch, Is("OFF")),
    taken(
        "pinleaf_read",
        Text,
        "latest",
        Takes::Only(&["latest", "durable"]),
    ),
    taken("pinleaf_read_damaged", Switch, "OFF", Takes::Switch),
    tells(
        "pinleaf_version",
        Text,
        Made(|facts| facts.pinleaf_version.clone()),
    ),
    tells("port", Number, Made(|facts| facts.port.to_string())),
    taken("profiling", Switch, "OFF", OFF),
    tells("protocol_version", Number, Is("10")),
    tells("query_cache_size", Number, Is("0")),
    tells("query_cache_type", Text, Is("OFF")),
    tells("server_id", Number, Is("1")),
    tells("socket", Text, Is("")),
    taken("sql_auto_is_null", Switch, "OFF", OFF),
    taken("sql_big_selects", Switch, "ON", ON),
    taken(
        "sql_mode",
        Text,
        "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        Takes::SqlMode,
    ),
    taken("sql_notes", Switch, "ON", ON),
    taken("sql_quote_show_create", Switch, "ON", ON),
    taken("sql_safe_updates", Switch, "OFF", Takes::Switch),
    taken(
        "sql_select_limit",
        Number,
        SELECT_LIMIT_NONE,
        Takes::Number(0, u64::MAX),
    ),
    taken("sql_warnings", Switch, "OFF", Takes::Switch),
    tells("storage_engine", Text, Is("Pinleaf")),
    tells("system_time_zone", Text, Is("UTC")),
    taken("time_zone", Text, "UTC", Takes::TimeZone),
    tells("tls_version", TextOrNull, Is("")),
    taken(
        "transaction_isolation",
        Text,
        "READ-COMMITTED",
        Takes::Isolation,
    ),
    taken("transaction_read_only", Switch, "OFF", Takes::Switch),
    taken("tx_isolation", Text, "READ-COMMITTED", Takes::Isolation),
    taken("tx_read_only", Switch, "OFF", Takes::Switch),
    taken("unique_checks", Switch, "ON", Takes::Switch),
    taken(
        "vector_type_project_format",
        Text,
        "JSON",
        Takes::Only(&["JSON", "BINARY"]),
    ),
    tells("version", Text, Made(|facts| facts.version())),
    tells(
        "version_comment",
        Text,
        Made(|facts| format!("Pinleaf {}", facts.pinleaf_version)),
    ),
    tells("version_compile_machine", Text, Is(std::env::consts::ARCH)),
    tells("version_compile_os", Text, Is("Linux")),
    taken(
        "wait_timeout",
        Number,
        "28800",
        Takes::Number(1, 31_536_000),
    ),
];

/// sql_mode's words that this server can be in: they concern writes, or are what it does anyway.
const SQL_MODES: &[&str] = &[
    "ALLOW_INVALID_DATES",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_AUTO_CREATE_USER",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_DIR_IN_CREATE",
    "NO_ENGINE_SUBSTITUTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "TRADITIONAL",
];
/// And those that would change what a statement means.
const SQL_MODES_REFUSED: &[&str] = &[
    "ANSI",
    "ANSI_QUOTES",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "NO_BACKSLASH_ESCAPES",
    "NO_UNSIGNED_SUBTRACTION",
    "PAD_CHAR_TO_FULL_LENGTH",
    "PIPES_AS_CONCAT",
    "REAL_AS_FLOAT",
    "TIME_TRUNCATE_FRACTIONAL",
];

/// A session's variables.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionVariables {
    facts: Arc<ServerFacts>,
    engine: EngineVariables,
    set: BTreeMap<&'static str, String>,
    user: BTreeMap<String, Value>,
}

impl SessionVariables {
    /// As they are at a session's start.
    #[must_use]
    pub fn new(facts: Arc<ServerFacts>, engine: EngineVariables) -> SessionVariables {
        SessionVariables {
            facts,
            engine,
            set: BTreeMap::new(),
            user: BTreeMap::new(),
        }
    }

    /// Takes the engine's variables as they are now: before every statement.
    pub fn refresh(&mut self, engine: EngineVariables) {
        self.engine = engine;
    }

    /// A system variable's value, as a query sees it; `global` asks for what a new session gets.
    ///
    /// # Errors
    /// 1193 where there is none of that name.
    pub fn system(&self, name: &str, global: bool) -> Result<Value, SqlError> {
        let name = name.to_lowercase();
        if let Some(variable) = VARIABLES.iter().find(|variable| variable.name == name) {
            let text = self.engine.get(variable.name).unwrap_or(variable.default);
            return Ok(match variable.kind {
                VariableKind::Number { .. } => number(text),
                VariableKind::Switch => switch(text),
            });
        }
        let variable = named(&name)?;
        let text = self.text(variable, global);
        Ok(match variable.shape {
            Shape::Text => Value::Bytes(text.into_bytes()),
            Shape::TextOrNull if text.is_empty() => Value::Null,
            Shape::TextOrNull => Value::Bytes(text.into_bytes()),
            Shape::Number => number(&text),
            Shape::Switch => switch(&text),
        })
    }

    /// Every system variable by name, as SHOW VARIABLES prints it.
    #[must_use]
    pub fn all(&self, global: bool) -> Vec<(&'static str, String)> {
        let engine = self
            .engine
            .iter()
            .map(|(name, value)| (name, value.to_owned()));
        let own = SYSTEM
            .iter()
            .map(|variable| (variable.name, self.text(variable, global)));
        let mut all: Vec<_> = engine.chain(own).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// Sets one of the session's; `None`: DEFAULT. Returns what a client should be warned of.
    ///
    /// # Errors
    /// 1193, 1229 for the engine's, 1238 for what only tells, 1231 for a value it does not take.
    pub fn set(&mut self, name: &str, value: Option<&Value>) -> Result<Option<String>, SqlError> {
        let name = name.to_lowercase();
        if VARIABLES.iter().any(|variable| variable.name == name) {
            return Err(SqlError::new(
                Code::GlobalVariable,
                format!("Variable '{name}' is a GLOBAL variable and should be set with SET GLOBAL"),
            ));
        }
        let variable = named(&name)?;
        let Some(value) = value else {
            if matches!(variable.takes, Takes::Nothing) {
                return Err(read_only(variable.name));
            }
            self.set.remove(variable.name);
            return Ok(None);
        };
        let (text, warning) = taken_text(variable, &text_of(value))?;
        self.set.insert(variable.name, text.clone());
        // One thing under MySQL's two names for it.
        for (one, other) in [
            ("tx_isolation", "transaction_isolation"),
            ("tx_read_only", "transaction_read_only"),
        ] {
            if variable.name == one {
                self.set.insert(other, text.clone());
            } else if variable.name == other {
                self.set.insert(one, text.clone());
            }
        }
        Ok(warning)
    }

    /// A user variable; NULL where it was never set.
    #[must_use]
    pub fn user(&self, name: &str) -> Value {
        self.user
            .get(&name.to_lowercase())
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// Sets a user variable.
    ///
    /// # Errors
    /// 1104 beyond their number or size.
    pub fn set_user(&mut self, name: &str, value: Value) -> Result<(), SqlError> {
        use crate::limits::{USER_VARIABLE_BYTES_MAX, USER_VARIABLES_MAX};
        let bytes = if let Value::Bytes(bytes) = &value {
            bytes.len()
        } else {
            0
        };
        if bytes > USER_VARIABLE_BYTES_MAX
            || (self.user.len() >= USER_VARIABLES_MAX && !self.user.contains_key(name))
        {
            return Err(SqlError::new(
                Code::LimitReached,
                format!(
                    "A session may have {USER_VARIABLES_MAX} variables of {USER_VARIABLE_BYTES_MAX} bytes"
                ),
            ));
        }
        self.user.insert(name.to_lowercase(), value);
        Ok(())
    }

    /// Everything as at the start.
    pub fn reset(&mut self) {
        self.set.clear();
        self.user.clear();
    }

    /// Whether a switch is ON.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        named(name).is_ok_and(|variable| self.text(variable, false) == "ON")
    }

    /// `pinleaf_read = durable`.
    #[must_use]
    pub fn reads_durable(&self) -> bool {
        self.set
            .get("pinleaf_read")
            .is_some_and(|read| read == "durable")
    }

    /// `sql_select_limit`, where one is set.
    #[must_use]
    pub fn select_limit(&self) -> Option<u64> {
        self.set
            .get("sql_select_limit")
            .filter(|limit| *limit != SELECT_LIMIT_NONE)?
            .parse()
            .ok()
    }

    /// `wait_timeout`, seconds: the session's where it was set, else the server's.
    #[must_use]
    pub fn wait_timeout_s(&self) -> u64 {
        self.set
            .get("wait_timeout")
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(self.facts.wait_timeout_s)
    }

    fn text(&self, variable: &SystemVariable, global: bool) -> String {
        let set = if global {
            None
        } else {
            self.set.get(variable.name)
        };
        match (set, &variable.default) {
            (Some(text), _) => text.clone(),
            (None, _) if matches!(variable.name, "wait_timeout" | "interactive_timeout") => {
                self.facts.wait_timeout_s.to_string()
            }
            (None, Is(text)) => (*text).to_owned(),
            (None, Made(made)) => made(&self.facts),
        }
    }
}

fn named(name: &str) -> Result<&'static SystemVariable, SqlError> {
    SYSTEM
        .iter()
        .find(|variable| variable.name == name)
        .ok_or_else(|| {
            SqlError::new(
                Code::UnknownSystemVariable,
                format!("Unknown system variable '{name}'"),
            )
        })
}

/// Why a variable of the session or server cannot be SET GLOBAL.
#[must_use]
pub fn not_global(name: &str) -> SqlError {
    match named(&name.to_lowercase()) {
        Err(unknown) => unknown,
        Ok(variable) if matches!(variable.takes, Takes::Nothing) => read_only(variable.name),
        Ok(variable) => SqlError::new(
            Code::LocalVariable,
            format!(
                "Variable '{}' is a SESSION variable and can't be used with SET GLOBAL",
                variable.name
            ),
        ),
    }
}

fn read_only(name: &str) -> SqlError {
    SqlError::new(
        Code::ReadOnlyVariable,
        format!("Variable '{name}' is a read only variable"),
    )
}

fn number(text: &str) -> Value {
    text.parse().map_or_else(
        |_| text.parse().map_or(Value::Null, Value::UInt),
        Value::Int,
    )
}

fn switch(text: &str) -> Value {
    Value::Int(i64::from(text == "ON"))
}

/// A value as the text SET understands.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Date { .. } | Value::Time { .. } => format!("{value:?}"),
    }
}

/// The text to keep, and what to warn of.
fn taken_text(
    variable: &SystemVariable,
    written: &str,
) -> Result<(String, Option<String>), SqlError> {
    let refused = |because: &str| {
        let because = if because.is_empty() {
            String::new()
        } else {
            format!(": {because}")
        };
        SqlError::new(
            Code::WrongValueForVariable,
            format!(
                "Variable '{}' can't be set to the value of '{written}'{because}",
                variable.name
            ),
        )
    };
    let on_off = |text: &str| match text.to_ascii_uppercase().as_str() {
        "ON" | "1" | "TRUE" => Some("ON"),
        "OFF" | "0" | "FALSE" => Some("OFF"),
        _ => None,
    };
    let kept = |text: &str| Ok((text.to_owned(), None));
    match variable.takes {
        Takes::Nothing => Err(read_only(variable.name)),
        Takes::Switch => kept(on_off(written).ok_or_else(|| refused(""))?),
        Takes::Only(values) => {
            let normal = if variable.shape == Switch {
                on_off(written).unwrap_or(written)
            } else {
                written
            };
            match values
                .iter()
                .find(|value| value.eq_ignore_ascii_case(normal))
            {
                Some(value) => kept(value),
                None => Err(refused(&format!(
                    "this server knows {}",
                    values.join(" and ")
                ))),
            }
        }
        Takes::Number(min, max) => match written.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => kept(&number.to_string()),
            _ => Err(refused(&format!("a whole number from {min} to {max}"))),
        },
        Takes::SqlMode => sql_mode(written, refused),
        Takes::TimeZone => match written.to_ascii_uppercase().as_str() {
            "UTC" | "SYSTEM" | "+00:00" | "-00:00" | "+0:00" | "-0:00" | "GMT" | "ETC/UTC"
            | "Z" => kept(written),
            _ => Err(SqlError::new(
                Code::UnknownTimeZone,
                format!(
                    "Unknown or incorrect time zone: '{written}': this server computes in UTC alone"
                ),
            )),
        },
        Takes::Charset => charset(written).map(|text| (text.to_owned(), None)),
        Takes::Collation => collation(written),
        Takes::Isolation => match written.to_ascii_uppercase().as_str() {
            level @ ("READ-COMMITTED" | "READ-UNCOMMITTED") => kept(level),
            _ => Err(refused(
                "each statement reads a snapshot of its own, which is READ-COMMITTED",
            )),
        },
    }
}

fn sql_mode(
    written: &str,
    refused: impl Fn(&str) -> SqlError,
) -> Result<(String, Option<String>), SqlError> {
    let mut modes = Vec::new();
    for word in written
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let upper = word.to_ascii_uppercase();
        if SQL_MODES_REFUSED.contains(&upper.as_str()) {
            return Err(refused(&format!(
                "{upper} would change what statements mean, and is not supported yet"
            )));
        }
        if !SQL_MODES.contains(&upper.as_str()) {
            return Err(refused(&format!("{word} is not a mode")));
        }
        modes.push(upper);
    }
    Ok((modes.join(","), None))
}

/// The character set's own name. Text goes both ways as UTF-8, whatever MySQL's name for it.
///
/// # Errors
/// 1115 for a name that MySQL does not know either, 1231 for one that is not UTF-8.
pub fn charset(written: &str) -> Result<&'static str, SqlError> {
    match written.to_ascii_lowercase().as_str() {
        "utf8mb4" | "default" | "null" => Ok("utf8mb4"),
        "utf8" | "utf8mb3" => Ok("utf8mb3"),
        // Bytes as they are: UTF-8.
        "binary" => Ok("binary"),
        known @ ("latin1" | "ascii" | "cp1252" | "latin2" | "ucs2" | "utf16" | "utf16le"
        | "utf32" | "gbk" | "gb2312" | "gb18030" | "big5" | "sjis" | "cp932" | "ujis"
        | "euckr" | "koi8r" | "cp1251" | "cp1250" | "latin5" | "latin7" | "hebrew"
        | "greek" | "tis620") => Err(SqlError::new(
            Code::WrongValueForVariable,
            format!(
                "Variable 'character_set_client' can't be set to the value of '{known}': this server speaks utf8mb4"
            ),
        )),
        _ => Err(SqlError::new(
            Code::UnknownCharacterSet,
            format!("Unknown character set: '{written}'"),
        )),
    }
}

/// What a collation becomes, and the warning where it is not the one that compares.
///
/// # Errors
/// 1273 for one that is not of UTF-8.
pub fn collation(written: &str) -> Result<(String, Option<String>), SqlError> {
    let lower = written.to_ascii_lowercase();
    if ["utf8mb4_bin", "binary", "default"].contains(&lower.as_str()) {
        return Ok(("utf8mb4_bin".to_owned(), None));
    }
    if lower.starts_with("utf8mb4_") || lower.starts_with("utf8mb3_") || lower.starts_with("utf8_")
    {
        return Ok((
            "utf8mb4_bin".to_owned(),
            Some(format!(
                "Text is compared as utf8mb4_bin; '{lower}' is not supported"
            )),
        ));
    }
    Err(SqlError::new(
        Code::UnknownCollation,
        format!("Unknown collation: '{written}'"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Arc<ServerFacts> {
        Arc::new(ServerFacts {
            pinleaf_version: "0.1.0".into(),
            hostname: "here".into(),
            port: 3306,
            data_dir: "/data".into(),
            max_allowed_packet_bytes: 67_108_864,
            max_connections: 100,
            wait_timeout_s: 600,
            net_write_timeout_s: 60,
            connect_timeout_s: 10,
        })
    }

    fn session() -> SessionVariables {
        SessionVariables::new(facts(), EngineVariables::default())
    }

    fn text(value: &str) -> Value {
        Value::Bytes(value.as_bytes().to_vec())
    }

    #[test]
    fn names_come_once_and_in_order_and_defaults_are_taken() {
        assert!(SYSTEM.is_sorted_by_key(|variable| variable.name));
        for variable in SYSTEM {
            assert!(
                VARIABLES.iter().all(|engine| engine.name != variable.name),
                "{}",
                variable.name
            );
            if let (Is(default), false) =
                (&variable.default, matches!(variable.takes, Takes::Nothing))
            {
                assert_eq!(
                    taken_text(variable, default).expect(variable.name).0,
                    *default
                );
            }
        }
    }

    #[test]
    fn variables_come_out_in_their_shape() {
        let variables = session();
        for (name, expected) in [
            ("version", text("8.0.36-pinleaf-0.1.0")),
            ("AUTOCOMMIT", Value::Int(1)),
            ("max_allowed_packet", Value::Int(67_108_864)),
            ("sql_select_limit", Value::UInt(u64::MAX)),
            ("pipelines_stop_on_error", Value::Int(1)),
            ("pipelines_batch_interval", Value::Int(2500)),
            ("aggregator_id", Value::Int(1)),
            ("wait_timeout", Value::Int(600)),
            ("tls_version", Value::Null),
        ] {
            assert_eq!(variables.system(name, false), Ok(expected), "{name}");
        }
        assert_eq!(
            variables.system("nope", false).expect_err("unknown").code,
            1193
        );
    }

    #[test]
    fn a_value_that_would_be_a_lie_is_refused() {
        for (name, value, code, message) in [
            (
                "sql_mode",
                "ANSI_QUOTES",
                1231,
                "Variable 'sql_mode' can't be set to the value of 'ANSI_QUOTES': ANSI_QUOTES would change what statements mean, and is not supported yet",
            ),
            (
                "sql_mode",
                "STRICT_TRANS_TABLES,NOPE",
                1231,
                "Variable 'sql_mode' can't be set to the value of 'STRICT_TRANS_TABLES,NOPE': NOPE is not a mode",
            ),
            (
                "time_zone",
                "Europe/Berlin",
                1298,
                "Unknown or incorrect time zone: 'Europe/Berlin': this server computes in UTC alone",
            ),
            (
                "transaction_isolation",
                "SERIALIZABLE",
                1231,
                "Variable 'transaction_isolation' can't be set to the value of 'SERIALIZABLE': each statement reads a snapshot of its own, which is READ-COMMITTED",
            ),
            (
                "character_set_client",
                "latin1",
                1231,
                "Variable 'character_set_client' can't be set to the value of 'latin1': this server speaks utf8mb4",
            ),
            (
                "character_set_client",
                "klingon",
                1115,
                "Unknown character set: 'klingon'",
            ),
            (
                "collation_connection",
                "latin1_swedish_ci",
                1273,
                "Unknown collation: 'latin1_swedish_ci'",
            ),
            (
                "pinleaf_read",
                "sometimes",
                1231,
                "Variable 'pinleaf_read' can't be set to the value of 'sometimes': this server knows latest and durable",
            ),
            (
                "max_execution_time",
                "1000",
                1231,
                "Variable 'max_execution_time' can't be set to the value of '1000': this server knows 0",
            ),
            (
                "version",
                "9",
                1238,
                "Variable 'version' is a read only variable",
            ),
            (
                "pipelines_batch_interval",
                "20",
                1229,
                "Variable 'pipelines_batch_interval' is a GLOBAL variable and should be set with SET GLOBAL",
            ),
            (
                "autocommit",
                "maybe",
                1231,
                "Variable 'autocommit' can't be set to the value of 'maybe'",
            ),
            ("nope", "1", 1193, "Unknown system variable 'nope'"),
        ] {
            let error = session().set(name, Some(&text(value))).expect_err(name);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }

    #[test]
    fn what_clients_set_is_taken_and_reset_forgets_it() {
        let mut variables = session();
        for (name, value) in [
            ("autocommit", Value::Int(0)),
            ("sql_mode", text("strict_trans_tables")),
            ("sql_select_limit", Value::Int(5)),
            ("pinleaf_read", text("DURABLE")),
            ("time_zone", text("+00:00")),
            ("character_set_results", Value::Null),
            ("enable_extended_types_metadata", text("on")),
            ("vector_type_project_format", text("json")),
        ] {
            assert_eq!(variables.set(name, Some(&value)), Ok(None), "{name}");
        }
        assert!(!variables.is_on("autocommit") && variables.reads_durable());
        assert_eq!(variables.select_limit(), Some(5));
        assert_eq!(
            variables.system("sql_mode", false),
            Ok(text("STRICT_TRANS_TABLES"))
        );
        assert_eq!(variables.system("autocommit", true), Ok(Value::Int(1)));
        assert!(
            variables
                .set("collation_connection", Some(&text("utf8mb4_general_ci")))
                .expect("taken")
                .is_some()
        );
        variables.set_user("A", Value::Int(1)).expect("room");
        assert_eq!(variables.user("a"), Value::Int(1));
        variables.reset();
        assert_eq!(variables, session());
    }
}
