//! A group's offsets: where it is kept, what is published, what was.
//!
//! We are no member of the group: commits carry no generation, so that a coordinator refuses them
//! (UNKNOWN_MEMBER_ID) once somebody else consumes under the same name.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use storage::ids::Offset;

use super::super::error::ErrorCode;
use super::{
    Api, Asker, RequestFault, ResponseFault, Sent, by_topic, put_request, read_address, read_array,
    read_by_topic, read_response, text,
};

/// The broker that keeps a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// COORDINATOR_NOT_AVAILABLE while there is none.
    pub error: ErrorCode,
    /// Its broker id; -1 none.
    pub broker: i32,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Asks any broker.
///
/// # Errors
/// [`RequestFault`].
pub fn encode_find_coordinator(
    out: &mut Vec<u8>,
    asker: &Asker<'_>,
    group: &str,
) -> Result<Sent, RequestFault> {
    let version = asker.versions.get(Api::FindCoordinator)?;
    let mut body = FindCoordinatorRequest::default();
    if version >= 4 {
        body.coordinator_keys = vec![text(group)];
    } else {
        body.key = text(group);
    }
    let sent = Sent {
        api: Api::FindCoordinator,
        version,
        correlation_id: asker.correlation_id,
    };
    put_request(out, sent, asker.client_id, &body)
}

/// Reads it.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_find_coordinator(sent: &Sent, frame: &[u8]) -> Result<Coordinator, ResponseFault> {
    read_response(sent, frame, |reader, flexible| {
        reader.i32()?; // throttle time
        if sent.version < 4 {
            let error = reader.i16()?.into();
            reader.string(flexible)?; // message
            let broker = reader.i32()?;
            let (host, port) = read_address(reader, flexible)?;
            return Ok(Coordinator {
                error,
                broker,
                host,
                port,
            });
        }
        let all = read_array(reader, flexible, 14, |reader| {
            reader.string(flexible)?; // key: the one we asked for
            let broker = reader.i32()?;
            let (host, port) = read_address(reader, flexible)?;
            let error = reader.i16()?.into();
            reader.string(flexible)?; // message
            reader.skip_tags(flexible)?;
            Ok(Coordinator {
                error,
                broker,
                host,
                port,
            })
        })?;
        Ok(all.into_iter().next().unwrap_or(Coordinator {
            error: ErrorCode::CoordinatorNotAvailable,
            broker: -1,
            host: String::new(),
            port: 0,
        }))
    })
}

/// One partition's offset to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitOffset<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
    /// The next offset to load, durable.
    pub offset: Offset,
    /// The epoch of the last record before it; -1 unknown.
    pub leader_epoch: i32,
    /// Free text kept with it: the lineage.
    pub metadata: &'a str,
}

/// One partition's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionError {
    /// The topic; all of its partitions share it.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
    /// NONE where it was kept.
    pub error: ErrorCode,
}

/// Publishes offsets; those of one topic must stand beside each other. Asks the coordinator.
///
/// # Errors
/// [`RequestFault`].
pub fn encode_offset_commit(
    out: &mut Vec<u8>,
    asker: &Asker<'_>,
    group: &str,
    offsets: &[CommitOffset<'_>],
) -> Result<Sent, RequestFault> {
    let version = asker.versions.get(Api::OffsetCommit)?;
    let topics = by_topic(offsets, |one| one.topic)
        .into_iter()
        .map(|offsets| {
            let partitions = offsets
                .iter()
                .map(|one| {
                    let mut partition = OffsetCommitRequestPartition::default()
                        .with_partition_index(one.partition)
                        .with_committed_offset(one.offset.0)
                        .with_committed_metadata(Some(text(one.metadata)));
                    if version >= 6 {
                        partition.committed_leader_epoch = one.leader_epoch;
                    }
                    partition
                })
                .collect();
            OffsetCommitRequestTopic::default()
                .with_name(TopicName::from(text(offsets[0].topic)))
                .with_partitions(partitions)
        })
        .collect();
    let body = OffsetCommitRequest::default()
        .with_group_id(GroupId::from(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics);
    let sent = Sent {
        api: Api::OffsetCommit,
        version,
        correlation_id: asker.correlation_id,
    };
    put_request(out, sent, asker.client_id, &body)
}

/// Reads it.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_offset_commit(
    sent: &Sent,
    frame: &[u8],
) -> Result<Vec<PartitionError>, ResponseFault> {
    read_response(sent, frame, |reader, flexible| {
        if sent.version >= 3 {
            reader.i32()?; // throttle time
        }
        read_by_topic(reader, flexible, |reader, topic| {
            Ok(PartitionError {
                topic: Arc::clone(topic),
                partition: reader.i32()?,
                error: reader.i16()?.into(),
            })
        })
    })
}

/// One partition's published offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The topic; all of its partitions share it.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
    /// Of this partition.
    pub error: ErrorCode,
    /// `None` where nothing was published.
    pub offset: Option<Offset>,
    /// -1 unknown.
    pub leader_epoch: i32,
    /// The text kept with it.
    pub metadata: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffsets {
    /// Of the group as a whole.
    pub error: ErrorCode,
    /// Each partition asked for.
    pub partitions: Vec<CommittedOffset>,
}

/// Reads published offsets of `(topic, partition)`; those of one topic must stand beside each other.
/// Asks the coordinator. Never a cursor: only names damage.
///
/// # Errors
/// [`RequestFault`].
pub fn encode_offset_fetch(
    out: &mut Vec<u8>,
    asker: &Asker<'_>,
    group: &str,
    partitions: &[(&str, i32)],
) -> Result<Sent, RequestFault> {
    let version = asker.versions.get(Api::OffsetFetch)?;
    let topics = by_topic(partitions, |(topic, _)| topic)
        .into_iter()
        .map(|partitions| {
            OffsetFetchRequestTopic::default()
                .with_name(TopicName::from(text(partitions[0].0)))
                .with_partition_indexes(partitions.iter().map(|(_, index)| *index).collect())
        })
        .collect();
    let body = OffsetFetchRequest::default()
        .with_group_id(GroupId::from(text(group)))
        .with_topics(Some(topics));
    let sent = Sent {
        api: Api::OffsetFetch,
        version,
        correlation_id: asker.correlation_id,
    };
    put_request(out, sent, asker.client_id, &body)
}

/// Reads it.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_offset_fetch(sent: &Sent, frame: &[u8]) -> Result<CommittedOffsets, ResponseFault> {
    read_response(sent, frame, |reader, flexible| {
        if sent.version >= 3 {
            reader.i32()?; // throttle time
        }
        let partitions = read_by_topic(reader, flexible, |reader, topic| {
            let partition = reader.i32()?;
            let offset = reader.i64()?;
            let leader_epoch = if sent.version >= 5 { reader.i32()? } else { -1 };
            let metadata = reader.string(flexible)?.unwrap_or_default().to_owned();
            Ok(CommittedOffset {
                topic: Arc::clone(topic),
                partition,
                error: reader.i16()?.into(),
                offset: (offset >= 0).then_some(Offset(offset)),
                leader_epoch,
                metadata,
            })
        })?;
        let error = if sent.version >= 2 { reader.i16()? } else { 0 };
        Ok(CommittedOffsets {
            error: error.into(),
            partitions,
        })
    })
}
