//! What can go wrong with the development broker, by who must act.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ingest::kafka::ErrorCode;
use ingest::kafka::wire::WireFault;

/// Why the broker does not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DevBrokerError {
    /// The disk's fault.
    #[error("{doing} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("{} is in use by another development broker; end that, or name another directory (--dir)", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is not as this broker writes it.
    #[error("{}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The address cannot be listened on.
    #[error("listening on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It knows no passwords, so only this machine may reach it.
    #[error("the development broker listens on loopback addresses only, not on {addr}")]
    NotLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// A topic that cannot be.
    #[error("topic {name:?}: {what}")]
    Topic {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl DevBrokerError {
    pub(crate) fn disk(doing: &'static str, path: &Path, source: io::Error) -> DevBrokerError {
        DevBrokerError::Disk {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a client's connection ends. All are the client's fault but the first.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a request of {length} bytes")]
    BadLength { length: i32 },
    #[error("the request is malformed: {0}")]
    Malformed(#[from] WireFault),
    #[error("more than {0} elements in a list")]
    TooMany(usize),
    #[error("request {key} version {version} is not spoken")]
    NotSpoken { key: i16, version: i16 },
    #[error("a response could not be written in version {version} of request {key}: {text}")]
    Unencodable {
        key: i16,
        version: i16,
        text: String,
    },
}

/// Why a batch was not produced.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The connection's fault: whether the broker has the batches is unknown.
    #[error("the connection to the broker {addr}: {source}")]
    Io {
        /// Whom.
        addr: SocketAddr,
        /// What.
        source: io::Error,
    },
    /// No answer in time: whether the broker has the batches is unknown.
    #[error("the broker {addr} does not answer")]
    Silent {
        /// Whom.
        addr: SocketAddr,
    },
    /// The broker's answer makes no sense.
    #[error("the broker {addr} sent a malformed response: {fault}")]
    Malformed {
        /// Whom.
        addr: SocketAddr,
        /// How.
        fault: WireFault,
    },
    /// The broker refused a partition's batch.
    #[error("the broker refused the batch for partition {partition}: {error}")]
    Refused {
        /// Which.
        partition: i32,
        /// Why.
        error: ErrorCode,
    },
}
