//! What can go wrong with a benchmark, by who must act.

use std::io;
use std::time::Duration;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not to be had on this machine. It is left out by name, and the rest goes on.
    #[error("{0}")]
    Missing(String),
    /// An engine ended with other rows than were produced. Its figures are void, and the report begins with it.
    #[error("{0}")]
    Wrong(String),
    /// An engine neither shows more rows nor works. It is measured once more, and the report says so.
    #[error("{who} stands still at {rows} of {wanted} rows for {since:?}{said}")]
    Stalled {
        /// Which.
        who: String,
        /// That it shows.
        rows: u64,
        /// That it is to show.
        wanted: u64,
        /// How long.
        since: Duration,
        /// What it said of itself when it was asked.
        said: String,
    },
    /// An engine, the broker or a tool failed. The sample is void.
    #[error("{who}: {what}")]
    Failed {
        /// Which.
        who: String,
        /// In its own words.
        what: String,
    },
    /// A file, folder, process or socket of the harness.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The command line.
    #[error("{0}")]
    Usage(String),
}

impl Fault {
    /// An engine, broker or tool that failed.
    pub fn failed(who: impl Into<String>, what: impl Into<String>) -> Fault {
        Fault::Failed {
            who: who.into(),
            what: what.into(),
        }
    }

    /// For `map_err`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Fault {
        let doing = doing.into();
        move |source| Fault::Io { doing, source }
    }
}

impl From<rdkafka::error::KafkaError> for Fault {
    fn from(error: rdkafka::error::KafkaError) -> Fault {
        Fault::failed("librdkafka", error.to_string())
    }
}
