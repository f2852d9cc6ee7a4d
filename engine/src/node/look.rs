//! Everything that can be wrong with a configuration on this machine, looked at before anything is
//! written: what `pinleaf check` does, and the first step of `pinleaf run`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::config::{Config, ConfigError};
use super::cores::Cores;
use super::machine::{self, Machine};
use super::run::NodeError;
use super::startup_sql;
use crate::limits::{LEAF_BESIDE_BYTES, PROCESS_BYTES, QUERY_CPU_BESIDE_BYTES};

/// What [`look`] found out, with the address already bound, so that nobody else takes it before it is used.
pub struct Looked {
    /// Who runs where.
    pub cores: Cores,
    /// What listens there already may be this very server: a configuration is checked beside it too.
    listener: Result<TcpListener, NodeError>,
}

impl Looked {
    /// What is to run.
    ///
    /// # Errors
    /// Something listens there already.
    pub fn into_parts(self) -> Result<(Cores, TcpListener), NodeError> {
        Ok((self.cores, self.listener?))
    }

    /// What `run` would do, a line each: `pinleaf check` prints it.
    ///
    /// # Errors
    /// A statement of startup_sql that cannot be read.
    pub fn plan(&self, config: &Config) -> Result<String, NodeError> {
        let startup_sql = match &config.startup_sql {
            None => "none".into(),
            Some(path) => match startup_sql::check(path)? {
                1 => format!("{}, 1 statement", path.display()),
                count => format!("{}, {count} statements", path.display()),
            },
        };
        let mib = |section, name| config.number(section, name) / (1024 * 1024);
        let taken = match &self.listener {
            Ok(_) => "",
            Err(_) => ", where something listens now: `run` needs it free",
        };
        let mut users: Vec<&str> = config.users.keys().map(String::as_str).collect();
        users.sort_unstable();
        Ok(format!(
            "{} is valid\ncores           {}\nMySQL           {}{taken}\nusers           {}\ndata_dir        {}\n\
             startup_sql     {startup_sql}\nmemory          {} MiB per leaf, {} MiB for queries; {} MiB in all, beside \
             what is stored and what clients send",
            config.path.display(),
            self.cores,
            config.mysql,
            users.join(", "),
            config.data_dir.display(),
            mib("memory", "leaf_bytes"),
            mib("memory", "query_bytes"),
            memory_bytes(config, &self.cores) / (1024 * 1024),
        ))
    }
}

/// What the process takes at most, beside what is stored and what clients send: docs/configuration.md, "Memory".
fn memory_bytes(config: &Config, cores: &Cores) -> u64 {
    let leaf = config.number("memory", "leaf_bytes") + LEAF_BESIDE_BYTES;
    PROCESS_BYTES
        + cores.leaves.len() as u64 * leaf
        + config.number("memory", "query_bytes")
        + cores.query.len() as u64 * QUERY_CPU_BESIDE_BYTES
}

/// A bound on memory that the machine does not have bounds nothing: the kernel would end the process.
fn memory_is_there(config: &Config, cores: &Cores, there: u64) -> Result<(), ConfigError> {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let needed = memory_bytes(config, cores);
    if needed <= there {
        return Ok(());
    }
    let what = format!(
        "[memory] adds up to {} MiB ({} x leaf_bytes {} MiB, query_bytes {} MiB, and what stands beside \
         them) and this process may use {} MiB: lower leaf_bytes or query_bytes, or give it more",
        mib(needed),
        cores.leaves.len(),
        mib(config.number("memory", "leaf_bytes")),
        mib(config.number("memory", "query_bytes")),
        mib(there),
    );
    Err(ConfigError {
        place: config.path.display().to_string(),
        what,
    })
}

/// Looks. Touches no file.
///
/// # Errors
/// The first thing that is wrong.
pub fn look(config: &Config) -> Result<Looked, NodeError> {
    let machine = Machine::look()
        .map_err(|error| NodeError::Machine(format!("the CPU mask cannot be read: {error}")))?;
    let cores = Cores::decide(config, &machine)?;
    if let Some(there) = machine::memory_bytes() {
        memory_is_there(config, &cores, there)?;
    }
    machine::check_io_uring().map_err(NodeError::Machine)?;
    machine::raise_locked_memory(cores.leaves.len()).map_err(NodeError::Machine)?;
    machine::raise_open_files(config.number("server", "max_connections"))
        .map_err(NodeError::Machine)?;
    data_dir(config)?;
    if let Some(path) = &config.startup_sql {
        startup_sql::read(path)?;
    }
    let listener = TcpListener::bind(config.mysql).map_err(|source| NodeError::Listen {
        address: config.mysql,
        source,
    });
    match listener {
        Err(NodeError::Listen { address, source }) if source.kind() != io::ErrorKind::AddrInUse => {
            Err(NodeError::Listen { address, source })
        }
        listener => Ok(Looked { cores, listener }),
    }
}

/// Whether the data directory is one or can become one.
fn data_dir(config: &Config) -> Result<(), ConfigError> {
    let wrong = |what: String| {
        let what = format!("data_dir = \"{}\": {what}", config.data_dir.display());
        config.wrong("", "data_dir", what)
    };
    for path in config.data_dir.ancestors() {
        // Relative paths end in the empty one: the folder the process was started in.
        let path = if path == Path::new("") {
            Path::new(".")
        } else {
            path
        };
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => {
                return Err(wrong(format!(
                    "{} is not a directory; name a directory, which is made where it is missing",
                    path.display()
                )));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => {
                return Err(wrong(format!(
                    "{} cannot be looked at: {error}; name a directory that this user may use",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// What to do about an address that cannot be listened on.
pub(super) fn mend_listen(address: &SocketAddr, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => "name an address of this machine, such as 127.0.0.1",
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "name a port from 1024 on, or give the process CAP_NET_BIND_SERVICE"
        }
        _ => "stop what listens there or name another port",
    }
}
