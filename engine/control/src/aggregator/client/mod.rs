//! The aggregator's side of Kafka: what is asked beside Fetch, on connections of its own.
//!
//! [`Brokers`] is what may be asked; [`Client`] asks it over TCP. It knows one pipeline's cluster: several
//! bootstrap servers, then the brokers that Metadata names. Every question is bounded in time and size;
//! what failed is said with the address.

mod connection;
mod wire;

use std::collections::BTreeMap;

use async_trait::async_trait;
use ingest::kafka::ErrorCode;
use ingest::kafka::requests::{CommittedOffset, OffsetSpec, RequestFault};
use ingest::leaf::order::Leader;
use storage::ids::{Offset, TopicId};

pub use connection::{Address, Connection, ConnectionFault};
pub use wire::Client;

use super::error::AggregatorError;
use super::settings::ClientSettings;

/// A topic as Metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Its id; zero on an old broker.
    pub id: TopicId,
    /// The leader of each partition by index; `None` in an election.
    pub partitions: BTreeMap<i32, Option<Leader>>,
}

/// What Metadata says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicAnswer {
    /// It is there.
    There(TopicState),
    /// There is none of that name (or this broker lags).
    Missing,
}

/// What no broker could answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// Nobody could be asked; each address with what went wrong.
    #[error("{}", list(.0))]
    Unreachable(Vec<(Address, ConnectionFault)>),
    /// A broker answered with an error.
    #[error("{question}: the broker answers {error}")]
    Answer {
        /// What was asked.
        question: &'static str,
        /// Its answer.
        error: ErrorCode,
    },
    /// The answer does not hold what was asked for.
    #[error("{question}: the answer lacks partition {partition}")]
    Lacks {
        /// What was asked.
        question: &'static str,
        /// Which one.
        partition: i32,
    },
    /// The answer's offset is none: a log has both a first and an end.
    #[error(
        "{question}: the broker answers {offset} for partition {partition}, which is no offset"
    )]
    NoOffset {
        /// What was asked.
        question: &'static str,
        /// Which one.
        partition: i32,
        /// What it says.
        offset: i64,
    },
    /// A partition has no leader now.
    #[error("partition {partition} has no leader now")]
    NoLeader {
        /// Which one.
        partition: i32,
    },
    /// There is no such topic.
    #[error("there is no topic '{topic}'")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The name belongs to another topic now.
    #[error(
        "topic '{topic}' was replaced: Kafka now gives that name the id {id}; ALTER PIPELINE ... SET OFFSETS EARLIEST (or LATEST) accepts the new one"
    )]
    Replaced {
        /// Its name.
        topic: String,
        /// The other's id.
        id: TopicId,
    },
    /// More than we take.
    #[error("limit reached: at most {max} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

impl ClientFault {
    /// Whether the brokers have no such question at all.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            ClientFault::Unreachable(faults) => faults.iter().any(|(_, fault)| {
                matches!(
                    fault,
                    ConnectionFault::Request(RequestFault::Unsupported { .. })
                )
            }),
            _ => false,
        }
    }
}

fn list(faults: &[(Address, ConnectionFault)]) -> String {
    let parts: Vec<String> = faults
        .iter()
        .map(|((host, port), fault)| format!("{host}:{port}: {fault}"))
        .collect();
    parts.join("; ")
}

/// One cluster's brokers, as the aggregator asks them.
#[async_trait]
pub trait Brokers: Send + Sync + std::fmt::Debug {
    /// What the way to them was made with.
    fn settings(&self) -> &ClientSettings;

    /// Asks who leads the partitions of `topic`.
    ///
    /// # Errors
    /// See [`ClientFault`].
    async fn topic(&self, topic: &str) -> Result<TopicAnswer, ClientFault>;

    /// Offsets of these partitions, of the leaders in `state`.
    ///
    /// # Errors
    /// See [`ClientFault`]; one partition's error is all of them's.
    async fn offsets(
        &self,
        topic: &str,
        state: &TopicState,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<i32, Offset>, ClientFault>;

    /// Where `epoch` ends in the log of the partition's leader, exclusive; -1 where it does not know.
    ///
    /// # Errors
    /// See [`ClientFault`].
    async fn epoch_end(
        &self,
        topic: &str,
        partition: i32,
        leader: &Leader,
        epoch: i32,
    ) -> Result<i64, ClientFault>;

    /// Publishes a group's offsets: (partition, offset, leader epoch, metadata).
    ///
    /// # Errors
    /// See [`ClientFault`].
    async fn publish(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(i32, Offset, i32, String)],
    ) -> Result<(), ClientFault>;

    /// Reads a group's offsets, only to compare them.
    ///
    /// # Errors
    /// See [`ClientFault`].
    async fn published(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<CommittedOffset>, ClientFault>;

    /// A connection to a partition's leader that is the caller's alone: TEST PIPELINE fetches on it.
    ///
    /// # Errors
    /// `Unreachable`.
    async fn connection(&self, leader: &Leader) -> Result<Connection, ClientFault>;

    /// Closes what is open: the pipeline rests.
    fn close(&self);

    /// The error that a statement shows.
    fn error(&self, doing: &str, fault: &ClientFault) -> AggregatorError {
        let servers: Vec<String> = self
            .settings()
            .bootstrap
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        AggregatorError::Broker {
            brokers: servers.join(","),
            what: format!("{doing}: {fault}"),
        }
    }
}

#[cfg(test)]
mod tests;
