//! The brokers over TCP: one pipeline's cluster, several bootstrap servers, then the brokers that Metadata
//! names; a connection to each, one question at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
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
use storage::ids::Offset;
use tokio::sync::Mutex as AsyncMutex;

use super::connection::{Address, Connection, ConnectionFault};
use super::{Brokers, ClientFault, TopicAnswer, TopicState};
use crate::aggregator::settings::ClientSettings;
use crate::limits::{CLUSTER_BROKERS_MAX, PIPELINE_PARTITIONS_MAX};

type Slot = Arc<AsyncMutex<Option<Connection>>>;

/// The way to one cluster over TCP.
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
}

#[async_trait]
impl Brokers for Client {
    fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Brokers known, then bootstrap servers, until one answers.
    async fn topic(&self, topic: &str) -> Result<TopicAnswer, ClientFault> {
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

    async fn offsets(
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

    async fn epoch_end(
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

    async fn publish(
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

    async fn published(
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

    async fn connection(&self, leader: &Leader) -> Result<Connection, ClientFault> {
        let address = (leader.host.clone(), leader.port);
        Connection::open(
            &address,
            &self.settings.client_id,
            self.settings.operation_timeout_ms,
        )
        .await
        .map_err(|fault| ClientFault::Unreachable(vec![(address, fault)]))
    }

    fn close(&self) {
        lock(&self.connections).clear();
        *lock(&self.coordinator) = None;
    }
}

impl Client {
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
