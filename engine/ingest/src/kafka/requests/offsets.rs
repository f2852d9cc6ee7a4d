//! ListOffsets and OffsetForLeaderEpoch: where a log begins and ends, and where an epoch did.

use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName,
};
use storage::ids::Offset;

use super::super::error::ErrorCode;
use super::{
    Api, Asker, RequestFault, ResponseFault, Sent, by_topic, put_request, read_by_topic,
    read_response, text,
};

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// The log's first.
    Earliest,
    /// The log's end: the last stable offset for read_committed, else the high watermark.
    Latest,
    /// The first at or after this time, ms since 1970.
    AtTime(i64),
}

/// One partition's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskOffset<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch we believe in; -1 unknown.
    pub current_leader_epoch: i32,
    /// Which.
    pub spec: OffsetSpec,
}

/// One partition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The topic; all of its partitions share it.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
    /// Of this partition.
    pub error: ErrorCode,
    /// -1: none (there is no record at or after that time).
    pub offset: i64,
    /// Of the record's time, or -1.
    pub timestamp_ms: i64,
    /// The epoch of the record there; -1 unknown.
    pub leader_epoch: i32,
}

/// Asks the leader of all these partitions; those of one topic must stand beside each other.
///
/// # Errors
/// [`RequestFault`].
pub fn encode_list_offsets(
    out: &mut Vec<u8>,
    asker: &Asker<'_>,
    read_committed: bool,
    asks: &[AskOffset<'_>],
) -> Result<Sent, RequestFault> {
    let version = asker.versions.get(Api::ListOffsets)?;
    let topics = by_topic(asks, |ask| ask.topic)
        .into_iter()
        .map(|asks| {
            let partitions = asks
                .iter()
                .map(|ask| {
                    let mut partition = ListOffsetsPartition::default()
                        .with_partition_index(ask.partition)
                        .with_timestamp(match ask.spec {
                            OffsetSpec::Earliest => -2,
                            OffsetSpec::Latest => -1,
                            OffsetSpec::AtTime(ms) => ms.max(0),
                        });
                    if version >= 4 {
                        partition.current_leader_epoch = ask.current_leader_epoch;
                    }
                    partition
                })
                .collect();
            ListOffsetsTopic::default()
                .with_name(TopicName::from(text(asks[0].topic)))
                .with_partitions(partitions)
        })
        .collect();
    let body = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(read_committed))
        .with_topics(topics);
    let sent = Sent {
        api: Api::ListOffsets,
        version,
        correlation_id: asker.correlation_id,
    };
    put_request(out, sent, asker.client_id, &body)
}

/// Reads it.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_list_offsets(sent: &Sent, frame: &[u8]) -> Result<Vec<ListedOffset>, ResponseFault> {
    read_response(sent, frame, |reader, flexible| {
        reader.i32()?; // throttle time
        read_by_topic(reader, flexible, |reader, topic| {
            Ok(ListedOffset {
                topic: Arc::clone(topic),
                partition: reader.i32()?,
                error: reader.i16()?.into(),
                timestamp_ms: reader.i64()?,
                offset: reader.i64()?,
                leader_epoch: if sent.version >= 4 { reader.i32()? } else { -1 },
            })
        })
    })
}

/// One partition's question: where did this epoch end?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskEpochEnd<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch we believe in; -1 unknown.
    pub current_leader_epoch: i32,
    /// The epoch in question.
    pub leader_epoch: i32,
}

/// One partition's answer: the largest epoch not above the one asked for, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The topic; all of its partitions share it.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
    /// Of this partition.
    pub error: ErrorCode,
    /// -1 unknown.
    pub leader_epoch: i32,
    /// -1 unknown. Exclusive.
    pub end_offset: Offset,
}

/// Asks the leader of all these partitions; those of one topic must stand beside each other.
///
/// # Errors
/// [`RequestFault`].
pub fn encode_epoch_ends(
    out: &mut Vec<u8>,
    asker: &Asker<'_>,
    asks: &[AskEpochEnd<'_>],
) -> Result<Sent, RequestFault> {
    let version = asker.versions.get(Api::OffsetForLeaderEpoch)?;
    let topics = by_topic(asks, |ask| ask.topic)
        .into_iter()
        .map(|asks| {
            let partitions = asks
                .iter()
                .map(|ask| {
                    OffsetForLeaderPartition::default()
                        .with_partition(ask.partition)
                        .with_current_leader_epoch(ask.current_leader_epoch)
                        .with_leader_epoch(ask.leader_epoch)
                })
                .collect();
            OffsetForLeaderTopic::default()
                .with_topic(TopicName::from(text(asks[0].topic)))
                .with_partitions(partitions)
        })
        .collect();
    let mut body = OffsetForLeaderEpochRequest::default().with_topics(topics);
    if version >= 3 {
        body.replica_id = BrokerId(-1);
    }
    let sent = Sent {
        api: Api::OffsetForLeaderEpoch,
        version,
        correlation_id: asker.correlation_id,
    };
    put_request(out, sent, asker.client_id, &body)
}

/// Reads it.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_epoch_ends(sent: &Sent, frame: &[u8]) -> Result<Vec<EpochEnd>, ResponseFault> {
    read_response(sent, frame, |reader, flexible| {
        reader.i32()?; // throttle time
        read_by_topic(reader, flexible, |reader, topic| {
            Ok(EpochEnd {
                topic: Arc::clone(topic),
                error: reader.i16()?.into(),
                partition: reader.i32()?,
                leader_epoch: reader.i32()?,
                end_offset: Offset(reader.i64()?),
            })
        })
    })
}
