//! System and user variables: `@@name`, SET and SHOW VARIABLES.
//!
//! Three kinds of system variables: the engine's (the catalog's list, set globally alone), the
//! session's, and what only tells something about the server. A value is taken only if this server
//! then does what MySQL would; a value that would change what a query means, and does not here, is
//! refused by name.

mod known;
mod taken;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Code, SqlError};
use super::value::Value;
use crate::catalog::{EngineVariables, VARIABLES, VariableKind};
use known::Initial::{Is, Made};
use known::{SELECT_LIMIT_NONE, SYSTEM, Shape, SystemVariable, Takes};
use taken::taken_text;
pub use taken::{charset, collation};

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
    /// A client that does not send on what it began is closed after so many seconds.
    pub net_read_timeout_s: u64,
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
        use crate::limits::{
            USER_VARIABLE_BYTES_MAX, USER_VARIABLES_BYTES_MAX, USER_VARIABLES_MAX,
        };
        let size = |value: &Value| match value {
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let bytes = size(&value);
        let others = self.user.iter().filter(|(other, _)| *other != name);
        let all = bytes + others.map(|(_, value)| size(value)).sum::<usize>();
        if bytes > USER_VARIABLE_BYTES_MAX
            || all > USER_VARIABLES_BYTES_MAX
            || (self.user.len() >= USER_VARIABLES_MAX && !self.user.contains_key(name))
        {
            return Err(SqlError::new(
                Code::LimitReached,
                format!(
                    "limit reached: a session may have {USER_VARIABLES_MAX} user variables, each of at most \
                     {USER_VARIABLE_BYTES_MAX} bytes, all together of at most {USER_VARIABLES_BYTES_MAX}"
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
        self.seconds("wait_timeout", self.facts.wait_timeout_s)
    }

    /// `net_read_timeout`, seconds: the session's where it was set, else the server's.
    #[must_use]
    pub fn net_read_timeout_s(&self) -> u64 {
        self.seconds("net_read_timeout", self.facts.net_read_timeout_s)
    }

    /// `net_write_timeout`, seconds: the session's where it was set, else the server's.
    #[must_use]
    pub fn net_write_timeout_s(&self) -> u64 {
        self.seconds("net_write_timeout", self.facts.net_write_timeout_s)
    }

    fn seconds(&self, name: &str, of_server: u64) -> u64 {
        let set = self.set.get(name).and_then(|seconds| seconds.parse().ok());
        set.unwrap_or(of_server)
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
            net_read_timeout_s: 45,
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
            ("net_read_timeout", Value::Int(45)),
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
            ("net_write_timeout", Value::Int(600)),
            ("character_set_results", Value::Null),
            ("enable_extended_types_metadata", text("on")),
            ("vector_type_project_format", text("json")),
        ] {
            assert_eq!(variables.set(name, Some(&value)), Ok(None), "{name}");
        }
        assert!(!variables.is_on("autocommit") && variables.reads_durable());
        assert_eq!(variables.select_limit(), Some(5));
        assert_eq!(variables.net_write_timeout_s(), 600);
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
