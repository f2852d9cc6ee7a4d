//! What the broker answers about groups: where one is kept, what it published.
//!
//! Nobody can join a group here: a commit that claims membership is refused.

use ingest::kafka::ErrorCode;
use ingest::kafka::wire::Reader;
use kafka_protocol::messages as k;

use crate::broker::{Broker, NODE, locked, respond, text, topic_name};
use crate::error::ConnectionError;
use crate::groups::Published;
use crate::request::{Head, OffsetCommit, read_find_coordinator, read_offset_fetch};

impl Broker {
    pub(crate) fn find_coordinator(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::find_coordinator_response::Coordinator;
        let host = text(&self.addr.ip().to_string());
        let port = i32::from(self.addr.port());
        let keys = read_find_coordinator(reader, head)?;
        let mut body = k::FindCoordinatorResponse::default();
        if head.version >= 4 {
            body.coordinators = keys
                .into_iter()
                .map(|key| {
                    Coordinator::default()
                        .with_key(text(key))
                        .with_node_id(NODE)
                        .with_host(host.clone())
                        .with_port(port)
                })
                .collect();
        } else {
            body = body.with_node_id(NODE).with_host(host).with_port(port);
        }
        respond(head, &body)
    }

    pub(crate) fn offset_commit(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
        let request = OffsetCommit::read(reader, head)?;
        let mut groups = locked(&self.groups);
        let mut topics = Vec::new();
        for (name, partitions) in request.topics {
            let mut answers = Vec::new();
            for one in partitions {
                let known = self
                    .topics
                    .get(name)
                    .and_then(|topic| topic.partition(one.partition));
                let error = if request.group.is_empty() {
                    ErrorCode::InvalidGroupId
                } else if request.is_member {
                    // Nobody can join a group here.
                    ErrorCode::UnknownMemberId
                } else if known.is_none() {
                    ErrorCode::UnknownTopicOrPartition
                } else {
                    let published = Published {
                        offset: one.offset,
                        leader_epoch: one.leader_epoch,
                        metadata: one.metadata.to_owned(),
                    };
                    groups.put(request.group, name, one.partition, published)
                };
                answers.push((one.partition, error));
            }
            topics.push((name, answers));
        }
        let saved = groups.save();
        drop(groups);
        if let Err(error) = &saved {
            tracing::error!(%error, "publishing offsets failed");
        }
        let topics = topics
            .into_iter()
            .map(|(name, answers)| {
                let partitions = answers
                    .into_iter()
                    .map(|(index, error)| {
                        let error = if saved.is_err() {
                            ErrorCode::KafkaStorageError
                        } else {
                            error
                        };
                        OffsetCommitResponsePartition::default()
                            .with_partition_index(index)
                            .with_error_code(error.code())
                    })
                    .collect();
                OffsetCommitResponseTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(partitions)
            })
            .collect();
        respond(
            head,
            &k::OffsetCommitResponse::default().with_topics(topics),
        )
    }

    pub(crate) fn offset_fetch(
        &self,
        reader: &mut Reader<'_>,
        head: Head,
    ) -> Result<Option<Vec<u8>>, ConnectionError> {
        use k::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
        let (group, wanted) = read_offset_fetch(reader, head)?;
        let groups = locked(&self.groups);
        let mut flat: Vec<(&str, i32, Option<&Published>)> = Vec::new();
        match &wanted {
            Some(topics) => {
                for (topic, partitions) in topics {
                    for &index in partitions {
                        flat.push((*topic, index, groups.get(group, topic, index)));
                    }
                }
            }
            None => flat.extend(
                groups
                    .of_group(group)
                    .map(|(topic, index, published)| (topic, index, Some(published))),
            ),
        }
        let topics = flat
            .chunk_by(|one, other| one.0 == other.0)
            .map(|partitions| {
                let answers = partitions
                    .iter()
                    .map(|(_, index, published)| {
                        let mut answer = OffsetFetchResponsePartition::default()
                            .with_partition_index(*index)
                            .with_committed_offset(published.map_or(-1, |one| one.offset))
                            .with_metadata(Some(text(
                                published.map_or("", |one| one.metadata.as_str()),
                            )));
                        if head.version >= 5 {
                            answer.committed_leader_epoch =
                                published.map_or(-1, |one| one.leader_epoch);
                        }
                        answer
                    })
                    .collect();
                OffsetFetchResponseTopic::default()
                    .with_name(topic_name(partitions[0].0))
                    .with_partitions(answers)
            })
            .collect();
        respond(head, &k::OffsetFetchResponse::default().with_topics(topics))
    }
}
