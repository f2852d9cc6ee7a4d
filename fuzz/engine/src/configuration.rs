//! `configuration`: a configuration's text, to settings or to one line that says what to mend.
//!
//! Input: the text. A text that would have a host's name looked up or a file of this machine read is left
//! alone: that is what it asks for, and not the parser's doing.

use std::net::IpAddr;
use std::path::{Component, Path};

use engine::node::config::Config;
use fuzz_hot::bounds::within;

/// TOML's table and ours, each with its places.
const HELD_PER_BYTE: usize = 512;
const FILE: &str = "/nowhere/p.toml";

/// The body.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if reaches_out(text) {
        return;
    }
    let bytes_max = (1 << 20) + HELD_PER_BYTE * text.len();
    let env = |name: &str| (name == "SECRET").then(|| "kept from sight".to_owned());
    let read = within(bytes_max, "a configuration", || {
        Config::parse(Path::new(FILE), text, &env)
    });
    match read {
        Ok(config) => {
            let shown = format!("{config:?}");
            assert!(!shown.contains("kept from sight"));
            assert!(config.number("memory", "query_bytes") > 0);
            let beyond = !config.mysql.ip().is_loopback();
            let open = config.users.values().any(|password| password.0.is_empty());
            assert!(!(beyond && open), "open to the world without a password");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(line.starts_with(FILE), "{line}");
            assert_eq!(line.lines().count(), 1, "{line:?}");
            assert!(!line.contains("kept from sight"), "{line}");
        }
    }
}

fn reaches_out(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else {
        return false;
    };
    let address = table
        .get("listen")
        .and_then(|listen| listen.get("mysql"))
        .and_then(toml::Value::as_str);
    let looked_up = address
        .and_then(|address| address.rsplit_once(':'))
        .is_some_and(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            port.parse::<u16>().is_ok() && host.parse::<IpAddr>().is_err()
        });
    let users = table.get("users").and_then(toml::Value::as_table);
    let mut files = users
        .into_iter()
        .flat_map(|users| users.values())
        .filter_map(|user| user.get("file")?.as_str());
    looked_up
        || files.any(|file| {
            let mut parts = Path::new(file).components();
            parts.any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
        })
}
