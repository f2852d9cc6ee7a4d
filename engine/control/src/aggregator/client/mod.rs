//! The aggregator's side of Kafka: what is asked beside Fetch, on connections of its own.
//!
//! A client knows one pipeline's cluster: several bootstrap servers, then the brokers that Metadata
//! names. Every question is bounded in time and size; what failed is said with the address.

mod connection;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ingest::kafka::ErrorCode;
use ingest::kafka::error::ErrorClass;
use ingest::kafka::requests::{
    AskEpochEnd, AskOffset, Asker, CommitOffset, CommittedOffset, Metadata, MetadataTopics,
    OffsetSpec, RequestFault, ResponseFault, Sent, decode_epoch_ends, decode_find_coordinator,
    decode_list_offsets, decode_metadata, decode_offset_commit, decode_offset_fetch,
    encode_epoch_ends, encode_find_coordinator, encode_list_offsets, encode_metadata,
    encode_offset_commit, encode_offset_fetch,
};
use ingest::leaf::order::Leader;
use storage::ids::{Offset, TopicId};
use tokio::sync::Mutex as AsyncMutex;

pub use connection::{Address, Connection, ConnectionFault};

use super::error::AggregatorError;
use super::settings::ClientSettings;
use crate::limits::{CLUSTER_BROKERS_MAX, PIPELINE_PARTITIONS_MAX};

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

type Slot = Arc<AsyncMutex<Option<Connection>>>;

/// The way to one cluster.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    connections: Mutex<BTreeMap<Address, Slot>>,
    /// Every broker's address as last heard, spoofed already.
    brokers: Mutex<BTreeMap<i32, Address>>,
    coordinator: Mutex<Option<Address>>,
}

impl Client {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Client {
        Client {
            settings,
            connections: Mutex::default(),
            brokers: Mutex::default(),
            coordinator: Mutex::default(),
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// The error that a statement shows.
    #[must_use]
    pub fn error(&self, doing: &str, fault: &ClientFault) -> AggregatorError {
        let servers: Vec<String> = self
            .settings
            .bootstrap
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        AggregatorError::Broker {
            brokers: servers.join(","),
            what: format!("{doing}: {fault}"),
        }
    }

    /// Asks who leads the partitions of `topic`: brokers known, then bootstrap servers, until one answers.
    ///
    /// # Errors
    /// See [`ClientFault`].
    pub async fn topic(&self, topic: &str) -> Result<TopicAnswer, ClientFault> {
        let question = "Metadata";
        let mut faults = Vec::new();
        for address in self.askable() {
            let asked = self
                .ask(
                    &address,
                    |out, asker| encode_metadata(out, asker, MetadataTopics::Names(&[topic])),
                    decode_metadata,
                )
                .await;
            match asked {
                Ok(metadata) => return self.learn(topic, &metadata),
                Err(fault) => faults.push((address, fault)),
            }
        }
        if let Some((_, ConnectionFault::Response(ResponseFault::Refused { error, .. }))) =
            faults.last()
        {
            let error = *error;
            return Err(ClientFault::Answer { question, error });
        }
        Err(ClientFault::Unreachable(faults))
    }

    /// Offsets of these partitions, of the leaders in `state`.
    ///
    /// # Errors
    /// See [`ClientFault`]; one partition's error is all of them's.
    pub async fn offsets(
        &self,
        topic: &str,
        state: &TopicState,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<i32, Offset>, ClientFault> {
        let question = "ListOffsets";
        let mut by_leader: BTreeMap<Address, Vec<AskOffset<'_>>> = BTreeMap::new();
        for &partition in partitions {
            let leader = state
                .partitions
                .get(&partition)
                .and_then(Option::as_ref)
                .ok_or(ClientFault::NoLeader { partition })?;
            by_leader
                .entry((leader.host.clone(), leader.port))
                .or_default()
                .push(AskOffset {
                    topic,
                    partition,
                    current_leader_epoch: leader.epoch,
                    spec,
                });
        }
        let mut found = BTreeMap::new();
        for (address, asks) in by_leader {
            let answers = self
                .ask(
                    &address,
                    |out, asker| {
                        encode_list_offsets(out, asker, self.settings.read_committed, &asks)
                    },
                    decode_list_offsets,
                )
                .await
                .map_err(|fault| ClientFault::Unreachable(vec![(address, fault)]))?;
            for answer in answers.into_iter().filter(|answer| *answer.topic == *topic) {
                if answer.error.is_error() {
                    let error = answer.error;
                    return Err(ClientFault::Answer { question, error });
                }
                if answer.offset < 0 {
                    return Err(ClientFault::NoOffset {
                        question,
                        partition: answer.partition,
                        offset: answer.offset,
                    });
                }
                found.insert(answer.partition, Offset(answer.offset));
            }
        }
        match partitions.iter().find(|index| !found.contains_key(index)) {
            Some(&partition) => Err(ClientFault::Lacks {
                question,
                partition,
            }),
            None => Ok(found),
        }
    }

    /// Where `epoch` ends in the log of the partition's leader, exclusive; -1 where it does not know.
    ///
    /// # Errors
    /// See [`ClientFault`].
    pub async fn epoch_end(
        &self,
        topic: &str,
        partition: i32,
        leader: &Leader,
        epoch: i32,
    ) -> Result<i64, ClientFault> {
        let question = "OffsetForLeaderEpoch";
        let address = (leader.host.clone(), leader.port);
        let ask = AskEpochEnd {
            topic,
            partition,
            current_leader_epoch: leader.epoch,
            leader_epoch: epoch,
        };
        let answers = self
            .ask(
                &address,
                |out, asker| encode_epoch_ends(out, asker, &[ask]),
                decode_epoch_ends,
            )
            .await
            .map_err(|fault| ClientFault::Unreachable(vec![(address, fault)]))?;
        let answer = answers
            .into_iter()
            .find(|answer| answer.partition == partition)
            .ok_or(ClientFault::Lacks {
                question,
                partition,
            })?;
        match answer.error {
            ErrorCode::None => Ok(answer.end_offset.0),
            error => Err(ClientFault::Answer { question, error }),
        }
    }

    /// Publishes a group's offsets: (partition, offset, leader epoch, metadata).
    ///
    /// # Errors
    /// See [`ClientFault`]; the coordinator is looked for again after any.
    pub async fn publish(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(i32, Offset, i32, String)],
    ) -> Result<(), ClientFault> {
        let question = "OffsetCommit";
        let commits: Vec<CommitOffset<'_>> = offsets
            .iter()
            .map(|(partition, offset, leader_epoch, metadata)| CommitOffset {
                topic,
                partition: *partition,
                offset: *offset,
                leader_epoch: *leader_epoch,
                metadata,
            })
            .collect();
        let answers = self
            .ask_coordinator(
                group,
                |out, asker| encode_offset_commit(out, asker, group, &commits),
                decode_offset_commit,
            )
            .await?;
        match answers.into_iter().find(|answer| answer.error.is_error()) {
            Some(answer) => {
                self.coordinator_moved(answer.error);
                Err(ClientFault::Answer {
                    question,
                    error: answer.error,
                })
            }
            None => Ok(()),
        }
    }

    /// Reads a group's offsets, only to compare them.
    ///
    /// # Errors
    /// See [`ClientFault`].
    pub async fn published(
        &self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<CommittedOffset>, ClientFault> {
        let question = "OffsetFetch";
        let asks: Vec<(&str, i32)> = partitions.iter().map(|index| (topic, *index)).collect();
        let answer = self
            .ask_coordinator(
                group,
                |out, asker| encode_offset_fetch(out, asker, group, &asks),
                decode_offset_fetch,
            )
            .await?;
        let error = std::iter::once(answer.error)
            .chain(answer.partitions.iter().map(|partition| partition.error))
            .find(|error| error.is_error());
        match error {
            Some(error) => {
                self.coordinator_moved(error);
                Err(ClientFault::Answer { question, error })
            }
            None => Ok(answer.partitions),
        }
    }

    /// A connection to a partition's leader that is the caller's alone: TEST PIPELINE fetches on it.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn connection(&self, leader: &Leader) -> Result<Connection, ClientFault> {
        let address = (leader.host.clone(), leader.port);
        Connection::open(
            &address,
            &self.settings.client_id,
            self.settings.operation_timeout_ms,
        )
        .await
        .map_err(|fault| ClientFault::Unreachable(vec![(address, fault)]))
    }

    /// Closes what is open: the pipeline rests.
    pub fn close(&self) {
        lock(&self.connections).clear();
        *lock(&self.coordinator) = None;
    }

    fn askable(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = lock(&self.brokers).values().cloned().collect();
        for address in &self.settings.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    fn learn(&self, topic: &str, metadata: &Metadata) -> Result<TopicAnswer, ClientFault> {
        let question = "Metadata";
        if metadata.brokers.len() > CLUSTER_BROKERS_MAX {
            return Err(ClientFault::Full {
                what: "brokers in one cluster",
                max: CLUSTER_BROKERS_MAX,
            });
        }
        let brokers: BTreeMap<i32, Address> = metadata
            .brokers
            .iter()
            .map(|broker| (broker.id, self.spoofed(&broker.host, broker.port)))
            .collect();
        let found = metadata
            .topics
            .iter()
            .find(|found| found.name.as_deref() == Some(topic));
        let answer = match found {
            None => Ok(TopicAnswer::Missing),
            Some(found) => match (found.error, found.error.class()) {
                (ErrorCode::None, _) => {
                    if found.partitions.len() > PIPELINE_PARTITIONS_MAX {
                        return Err(ClientFault::Full {
                            what: "partitions in one topic",
                            max: PIPELINE_PARTITIONS_MAX,
                        });
                    }
                    let leader = |partition: &ingest::kafka::requests::Partition| {
                        let (host, port) = brokers.get(&partition.leader)?;
                        Some(Leader {
                            broker: partition.leader,
                            host: host.clone(),
                            port: *port,
                            epoch: partition.leader_epoch,
                        })
                    };
                    Ok(TopicAnswer::There(TopicState {
                        id: found.id,
                        partitions: found
                            .partitions
                            .iter()
                            .map(|partition| (partition.index, leader(partition)))
                            .collect(),
                    }))
                }
                (_, ErrorClass::TopicUnknown) => Ok(TopicAnswer::Missing),
                (error, _) => Err(ClientFault::Answer { question, error }),
            },
        };
        if !brokers.is_empty() {
            let keep: Vec<Address> = brokers
                .values()
                .chain(&self.settings.bootstrap)
                .cloned()
                .collect();
            lock(&self.connections).retain(|address, _| keep.contains(address));
            *lock(&self.brokers) = brokers;
        }
        answer
    }

    fn spoofed(&self, host: &str, port: u16) -> Address {
        let address = (host.to_owned(), port);
        self.settings
            .spoof
            .get(&address)
            .cloned()
            .unwrap_or(address)
    }

    fn coordinator_moved(&self, error: ErrorCode) {
        if matches!(
            error.class(),
            ErrorClass::CoordinatorMoved | ErrorClass::Retriable
        ) {
            *lock(&self.coordinator) = None;
        }
    }

    async fn ask_coordinator<T>(
        &self,
        group: &str,
        encode: impl Fn(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
        decode: impl Fn(&Sent, &[u8]) -> Result<T, ResponseFault>,
    ) -> Result<T, ClientFault> {
        let known = lock(&self.coordinator).clone();
        let address = match known {
            Some(address) => address,
            None => self.find_coordinator(group).await?,
        };
        let asked = self.ask(&address, encode, decode).await;
        asked.map_err(|fault| {
            *lock(&self.coordinator) = None;
            ClientFault::Unreachable(vec![(address, fault)])
        })
    }

    async fn find_coordinator(&self, group: &str) -> Result<Address, ClientFault> {
        let question = "FindCoordinator";
        let mut faults = Vec::new();
        for address in self.askable() {
            let asked = self
                .ask(
                    &address,
                    |out, asker| encode_find_coordinator(out, asker, group),
                    decode_find_coordinator,
                )
                .await;
            match asked {
                Ok(answer) if answer.error.is_error() => {
                    let error = answer.error;
                    return Err(ClientFault::Answer { question, error });
                }
                Ok(answer) => {
                    let found = self.spoofed(&answer.host, answer.port);
                    *lock(&self.coordinator) = Some(found.clone());
                    return Ok(found);
                }
                Err(fault) => faults.push((address, fault)),
            }
        }
        Err(ClientFault::Unreachable(faults))
    }

    /// One question to one broker. A connection that was idle may have been closed by the broker
    /// meanwhile: then once more on a new one.
    async fn ask<T>(
        &self,
        address: &Address,
        encode: impl Fn(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
        decode: impl Fn(&Sent, &[u8]) -> Result<T, ResponseFault>,
    ) -> Result<T, ConnectionFault> {
        let slot = lock(&self.connections)
            .entry(address.clone())
            .or_default()
            .clone();
        let mut slot = slot.lock().await;
        loop {
            let was_open = slot.is_some();
            // Taken out while in use: a caller that is dropped in mid-question leaves no half answer.
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => {
                    Connection::open(
                        address,
                        &self.settings.client_id,
                        self.settings.operation_timeout_ms,
                    )
                    .await?
                }
            };
            let asked = match connection.ask(&encode).await {
                Ok((sent, frame)) => decode(&sent, frame).map_err(ConnectionFault::Response),
                Err(fault) => Err(fault),
            };
            match asked {
                Err(ConnectionFault::Io { .. }) if was_open => {}
                Ok(answer) => {
                    *slot = Some(connection);
                    return Ok(answer);
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing under these locks can panic halfway; what is there is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
