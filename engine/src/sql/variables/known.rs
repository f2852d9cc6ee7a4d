//! The system variables that are not the engine's: name, shape, first value, what SET may make of it.

use super::ServerFacts;

/// How a variable comes out of `@@name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
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
pub(super) enum Takes {
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

pub(super) struct SystemVariable {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) default: Initial,
    pub(super) takes: Takes,
}

/// What it is before it was set.
pub(super) enum Initial {
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
pub(super) const SELECT_LIMIT_NONE: &str = "18446744073709551615";

/// By name. What a client reads at its start is here: see docs/sql.md.
pub(super) const SYSTEM: &[SystemVariable] = &[
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
    SystemVariable {
        name: "net_read_timeout",
        shape: Number,
        default: Made(|facts| facts.net_read_timeout_s.to_string()),
        takes: Takes::Number(1, 31_536_000),
    },
    // Connector/J raises it before it reads a result row by row.
    SystemVariable {
        name: "net_write_timeout",
        shape: Number,
        default: Made(|facts| facts.net_write_timeout_s.to_string()),
        takes: Takes::Number(1, 31_536_000),
    },
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
pub(super) const SQL_MODES: &[&str] = &[
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
pub(super) const SQL_MODES_REFUSED: &[&str] = &[
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
