//! The two files that `pinleaf quickstart` writes: a configuration and the SQL that runs at its start.
//!
//! A file is ours as long as it reads as we wrote it, for whatever port; then it follows the port that is
//! free now. A file that somebody changed is theirs: it is kept as it is, and said to be. Then the port
//! follows the file: where the SQL names a port of this machine, the broker listens there and nowhere else.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use devbroker::orders::CREATE_TABLE;

use super::{QuickstartError, TOPIC};

const MYSQL_PORT: u16 = 13_306;
const BROKER_PORT: u16 = 19_092;
/// How many ports above the first are tried.
const PORTS_TRIED: u16 = 50;

/// One of the two, as it was found.
pub(super) struct Written {
    path: PathBuf,
    found: Found,
    /// Where the engine or the broker is to listen.
    pub(super) port: u16,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// As we wrote it, for this port.
    Same,
    /// As we wrote it, for another port.
    OtherPort,
    Changed,
}

impl Written {
    /// The configuration.
    ///
    /// # Errors
    /// `File`, `NoPort`.
    pub(super) fn configuration(dir: &Path) -> Result<Written, QuickstartError> {
        let path = dir.join("pinleaf.toml");
        // A changed one says itself where it listens, and the engine says if it cannot.
        Written::look(path, MYSQL_PORT, configuration, |_, _| {
            free_port(MYSQL_PORT)
        })
    }

    /// The SQL.
    ///
    /// # Errors
    /// `File`, `NoPort`; `Taken`: a changed one names a port that is not free.
    pub(super) fn startup_sql(dir: &Path) -> Result<Written, QuickstartError> {
        let path = dir.join("startup.sql");
        Written::look(path, BROKER_PORT, startup_sql, |path, named| match named {
            Some(port) if is_free(port) => Ok(port),
            Some(port) => Err(QuickstartError::Taken {
                path: path.to_owned(),
                port,
            }),
            None => free_port(BROKER_PORT),
        })
    }

    fn look(
        path: PathBuf,
        first: u16,
        text: fn(u16) -> String,
        of_changed: impl FnOnce(&Path, Option<u16>) -> Result<u16, QuickstartError>,
    ) -> Result<Written, QuickstartError> {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(QuickstartError::File { path, source }),
        };
        let (found, port) = match bytes {
            None => (Found::Nothing, free_port(first)?),
            Some(bytes) => {
                let old = String::from_utf8_lossy(&bytes);
                match named_port(&old) {
                    Some(port) if text(port).as_bytes() == bytes => match is_free(port) {
                        true => (Found::Same, port),
                        false => (Found::OtherPort, free_port(first)?),
                    },
                    named => (Found::Changed, of_changed(&path, named)?),
                }
            }
        };
        Ok(Written {
            path,
            found,
            port,
            text: text(port),
        })
    }

    /// Writes it where it is to be written, whole or not at all.
    ///
    /// # Errors
    /// `File`.
    pub(super) fn write(&self) -> Result<(), QuickstartError> {
        if matches!(self.found, Found::Same | Found::Changed) {
            return Ok(());
        }
        let beside = self.path.with_extension("new");
        let written =
            std::fs::write(&beside, &self.text).and_then(|()| std::fs::rename(&beside, &self.path));
        written.map_err(|source: io::Error| QuickstartError::File {
            path: self.path.clone(),
            source,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is, and what became of it.
    pub(super) fn shown(&self) -> String {
        let state = match self.found {
            Found::Nothing => "written",
            Found::Same => "as it was written",
            Found::OtherPort => "written anew for another port",
            Found::Changed => "kept: you changed it; remove it and it is written anew",
        };
        format!("{} ({state})", self.path.display())
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port(first: u16) -> Result<u16, QuickstartError> {
    (first..first + PORTS_TRIED)
        .find(|port| is_free(*port))
        .ok_or(QuickstartError::NoPort { first })
}

/// The first port of this machine that a text names.
fn named_port(text: &str) -> Option<u16> {
    ["127.0.0.1:", "localhost:"]
        .iter()
        .flat_map(|host| text.match_indices(host).map(|(at, _)| at + host.len()))
        .min()
        .and_then(|at| {
            let digits = text[at..].split(|c: char| !c.is_ascii_digit()).next();
            digits?.parse().ok()
        })
}

fn configuration(port: u16) -> String {
    format!(
        "# Written by `pinleaf quickstart`, which starts the engine with it as `pinleaf run` would.\n\
         # Change it as you like: it is written anew only where it is missing or unchanged.\n\
         data_dir = \"data\"\n\
         startup_sql = \"startup.sql\"\n\n\
         [listen]\n\
         mysql = \"127.0.0.1:{port}\"\n"
    )
}

fn startup_sql(port: u16) -> String {
    let create_table = CREATE_TABLE.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
    format!(
        "-- Runs at every start, so each statement may be repeated. Change it as you like: it is written\n\
         -- anew only where it is missing or unchanged.\n\
         CREATE DATABASE IF NOT EXISTS shop;\n\
         USE shop;\n\
         {create_table};\n\
         CREATE OR REPLACE PIPELINE orders AS\n  \
           LOAD DATA KAFKA '127.0.0.1:{port}/{TOPIC}'\n  \
           INTO TABLE orders\n  \
           FORMAT JSON;\n\
         START PIPELINE IF NOT RUNNING orders;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a text, writes, and gives what is there then with what was said.
    fn again(text: Option<&str>) -> (Result<Written, QuickstartError>, String) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("startup.sql");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("written");
        }
        let written = Written::startup_sql(dir.path());
        if let Ok(written) = &written {
            written.write().expect("written");
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        (written, text)
    }

    #[test]
    fn what_is_missing_or_unchanged_is_written_and_follows_the_port() {
        let (first, text) = again(None);
        let first = first.expect("written");
        assert_eq!(first.found, Found::Nothing);
        assert_eq!(text, startup_sql(first.port));
        let free = held(23_000);
        let port = free.local_addr().expect("bound").port();
        // As it was written, for a port that is taken now.
        let (second, moved) = again(Some(&startup_sql(port)));
        let second = second.expect("written");
        assert_eq!(second.found, Found::OtherPort);
        assert_ne!(second.port, port);
        assert_eq!(moved, startup_sql(second.port));
        drop(free);
        let (third, same) = again(Some(&startup_sql(port)));
        let third = third.expect("kept");
        assert_eq!((third.found, third.port), (Found::Same, port));
        assert_eq!(same, startup_sql(port));
    }

    /// A port from there on: none that the kernel gives to whoever asks for any, and another in each process, so
    /// nobody takes it once it is free.
    fn held(first: u16) -> TcpListener {
        let bound = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        let first = first + u16::try_from(std::process::id() % 800).expect("small");
        (first..first + 200).find_map(bound).expect("a port")
    }

    #[test]
    fn what_somebody_changed_is_kept_and_the_broker_follows_it() {
        let held = held(24_000);
        let port = held.local_addr().expect("bound").port();
        let theirs = startup_sql(port) + "SELECT 1;\n";
        let (taken, kept) = again(Some(&theirs));
        let error = taken.err().expect("refused").to_string();
        let expected = format!(
            "/startup.sql has your changes and names port {port}, on which something else listens: stop that, or \
             name another port in the file"
        );
        assert!(error.ends_with(&expected), "{error}");
        assert_eq!(kept, theirs);
        drop(held);
        let (free, kept) = again(Some(&theirs));
        let free = free.expect("kept");
        assert_eq!((free.found, free.port), (Found::Changed, port));
        assert_eq!(kept, theirs);
        assert!(
            free.shown()
                .ends_with("startup.sql (kept: you changed it; remove it and it is written anew)")
        );
        // It names no port: the broker is wherever it can be.
        let (other, kept) = again(Some("SELECT 1;\n"));
        assert_eq!(other.expect("kept").found, Found::Changed);
        assert_eq!(kept, "SELECT 1;\n");
    }

    #[test]
    fn a_port_is_found_where_one_is_named() {
        assert_eq!(named_port("KAFKA '127.0.0.1:19092/orders'"), Some(19_092));
        assert_eq!(named_port("KAFKA 'localhost:7/o' -- 127.0.0.1:8"), Some(7));
        assert_eq!(named_port("127.0.0.1:99999"), None);
        assert_eq!(named_port("KAFKA 'kafka:9092/orders'"), None);
        assert_eq!(named_port(""), None);
    }
}
