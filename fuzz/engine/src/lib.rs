//! Hostile bytes for what stands on DataFusion: MySQL's packets, SQL text, configurations.
//!
//! As `fuzz-hot`, whose bounds and corpora it shares; a crate of its own because of what it links.

use fuzz_hot::corpus::Target;

pub mod configuration;
pub mod mysql;
pub mod query;
pub mod text;

mod world;

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    Target {
        name: "mysql_packets",
        body: mysql::mysql_packets,
    },
    Target {
        name: "sql_text",
        body: text::sql_text,
    },
    Target {
        name: "query",
        body: query::query,
    },
    Target {
        name: "configuration",
        body: configuration::configuration,
    },
];

/// One input of a target: what its libFuzzer binary calls.
///
/// # Panics
/// Where a promise is broken: a find.
pub fn run(name: &str, data: &[u8]) {
    Target::named(TARGETS, name).check(data);
}
