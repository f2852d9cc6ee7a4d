//! The Fetch response as a broker writes it: for the development broker and the simulated one.

use storage::ids::TopicId;

use super::super::error::ErrorCode;
use super::super::transactions::Aborted;
use super::super::wire::{put_count, put_string, put_uvarint};
use super::event::{CurrentLeader, Diverging};
use super::{FLEXIBLE_FROM, TOPIC_ID_FROM, VERSION_MAX, VERSION_MIN};

/// One partition's part. Those of one topic must stand beside each other.
#[derive(Clone, Copy, Debug)]
pub struct ResponsePartition<'a> {
    /// The topic's name: sent below version 13.
    pub topic: &'a str,
    /// The topic's id: sent from version 13 on.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: i32,
    /// Of this partition.
    pub error: ErrorCode,
    /// The log's end as far as it is replicated.
    pub high_watermark: i64,
    /// The log's end as far as no transaction is open.
    pub last_stable_offset: i64,
    /// The log's start. Sent from version 5 on.
    pub log_start_offset: i64,
    /// The aborted transactions in the records.
    pub aborted: &'a [Aborted],
    /// Sent from version 12 on.
    pub diverging: Option<Diverging>,
    /// Sent from version 12 on.
    pub current_leader: Option<CurrentLeader>,
    /// Record batches as they lie in the log; the last may be cut off.
    pub records: &'a [u8],
}

/// One response.
#[derive(Clone, Copy, Debug)]
pub struct FetchResponse<'a> {
    /// 4 to 17, as asked.
    pub version: i16,
    /// As asked.
    pub correlation_id: i32,
    /// The client is to be silent for so long.
    pub throttle_ms: i32,
    /// Of the request as a whole. Sent from version 7 on.
    pub error: ErrorCode,
    /// The session that it is in, or that it made; 0 none. Sent from version 7 on.
    pub session_id: i32,
    /// The partitions.
    pub partitions: &'a [ResponsePartition<'a>],
    /// Id, host and port of the leaders named. Sent from version 16 on.
    pub endpoints: &'a [(i32, &'a str, u16)],
}

/// Appends the response with its length in front.
///
/// # Panics
/// On a version that is not spoken, and on more than 2 GiB.
pub fn encode_response(out: &mut Vec<u8>, response: &FetchResponse<'_>) {
    let version = response.version;
    assert!((VERSION_MIN..=VERSION_MAX).contains(&version));
    let flexible = version >= FLEXIBLE_FROM;
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&response.correlation_id.to_be_bytes());
    put_no_tags(out, flexible);
    out.extend_from_slice(&response.throttle_ms.to_be_bytes());
    if version >= 7 {
        out.extend_from_slice(&response.error.code().to_be_bytes());
        out.extend_from_slice(&response.session_id.to_be_bytes());
    }
    let same_topic = |one: &ResponsePartition<'_>, other: &ResponsePartition<'_>| {
        one.topic == other.topic && one.topic_id == other.topic_id
    };
    let topics = response.partitions.chunk_by(same_topic);
    put_count(out, topics.clone().count() as u32, flexible);
    for partitions in topics {
        if version >= TOPIC_ID_FROM {
            out.extend_from_slice(&partitions[0].topic_id.0);
        } else {
            put_string(out, partitions[0].topic, flexible);
        }
        put_count(out, partitions.len() as u32, flexible);
        for partition in partitions {
            put_partition(out, version, partition);
        }
        put_no_tags(out, flexible);
    }
    if flexible {
        put_endpoints(out, version, response.endpoints);
    }
    let size = i32::try_from(out.len() - start - 4).expect("a response below 2 GiB");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

fn put_partition(out: &mut Vec<u8>, version: i16, partition: &ResponsePartition<'_>) {
    let flexible = version >= FLEXIBLE_FROM;
    out.extend_from_slice(&partition.partition.to_be_bytes());
    out.extend_from_slice(&partition.error.code().to_be_bytes());
    out.extend_from_slice(&partition.high_watermark.to_be_bytes());
    out.extend_from_slice(&partition.last_stable_offset.to_be_bytes());
    if version >= 5 {
        out.extend_from_slice(&partition.log_start_offset.to_be_bytes());
    }
    put_count(out, partition.aborted.len() as u32, flexible);
    for aborted in partition.aborted {
        out.extend_from_slice(&aborted.producer_id.to_be_bytes());
        out.extend_from_slice(&aborted.first_offset.0.to_be_bytes());
        put_no_tags(out, flexible);
    }
    if version >= 11 {
        out.extend_from_slice(&(-1_i32).to_be_bytes()); // preferred read replica
    }
    put_count(out, partition.records.len() as u32, flexible);
    out.extend_from_slice(partition.records);
    if !flexible {
        return;
    }
    let tags =
        u32::from(partition.diverging.is_some()) + u32::from(partition.current_leader.is_some());
    put_uvarint(out, tags);
    if let Some(diverging) = partition.diverging {
        out.extend_from_slice(&[0, 13]);
        out.extend_from_slice(&diverging.epoch.to_be_bytes());
        out.extend_from_slice(&diverging.end_offset.0.to_be_bytes());
        out.push(0);
    }
    if let Some(leader) = partition.current_leader {
        out.extend_from_slice(&[1, 9]);
        out.extend_from_slice(&leader.leader_id.to_be_bytes());
        out.extend_from_slice(&leader.leader_epoch.to_be_bytes());
        out.push(0);
    }
}

fn put_endpoints(out: &mut Vec<u8>, version: i16, endpoints: &[(i32, &str, u16)]) {
    if version < 16 || endpoints.is_empty() {
        put_uvarint(out, 0);
        return;
    }
    let mut field = Vec::new();
    put_count(&mut field, endpoints.len() as u32, true);
    for (id, host, port) in endpoints {
        field.extend_from_slice(&id.to_be_bytes());
        put_string(&mut field, host, true);
        field.extend_from_slice(&i32::from(*port).to_be_bytes());
        field.extend_from_slice(&[0, 0]); // no rack, no tags
    }
    put_uvarint(out, 1);
    put_uvarint(out, 0);
    put_uvarint(out, field.len() as u32);
    out.extend_from_slice(&field);
}

fn put_no_tags(out: &mut Vec<u8>, flexible: bool) {
    if flexible {
        put_uvarint(out, 0);
    }
}
