//! Requests as they arrive, bounded: a client may send anything.
//!
//! Read by hand and not by kafka-protocol, which reserves memory by counts from the wire.

use ingest::kafka::wire::{Reader, WireFault};
use storage::ids::TopicId;

use crate::error::ConnectionError;
use crate::limits::REQUEST_ELEMENTS_MAX;

/// key, oldest and newest version answered, first flexible version.
pub(crate) const SPOKEN: [(i16, i16, i16, i16); 9] = [
    (PRODUCE, 3, 9, 9),
    (FETCH, 4, 17, 12),
    (LIST_OFFSETS, 1, 7, 6),
    (METADATA, 0, 12, 9),
    (OFFSET_COMMIT, 2, 8, 8),
    (OFFSET_FETCH, 1, 7, 6),
    (FIND_COORDINATOR, 0, 4, 3),
    (API_VERSIONS, 0, 3, 3),
    (OFFSET_FOR_LEADER_EPOCH, 2, 4, 4),
];
pub(crate) const PRODUCE: i16 = 0;
pub(crate) const FETCH: i16 = 1;
pub(crate) const LIST_OFFSETS: i16 = 2;
pub(crate) const METADATA: i16 = 3;
pub(crate) const OFFSET_COMMIT: i16 = 8;
pub(crate) const OFFSET_FETCH: i16 = 9;
pub(crate) const FIND_COORDINATOR: i16 = 10;
pub(crate) const API_VERSIONS: i16 = 18;
pub(crate) const OFFSET_FOR_LEADER_EPOCH: i16 = 23;

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub flexible: bool,
}

impl Head {
    /// Reads it. A version that is not spoken is left to the caller, who may not read on.
    pub fn read(reader: &mut Reader<'_>) -> Result<Head, ConnectionError> {
        let (key, version, correlation_id) = (reader.i16()?, reader.i16()?, reader.i32()?);
        let spoken = SPOKEN.iter().find(|spoken| spoken.0 == key);
        let flexible = spoken.is_some_and(|spoken| version >= spoken.3);
        let head = Head {
            key,
            version,
            correlation_id,
            flexible,
        };
        if head.is_spoken() {
            reader.string(false)?; // client id
            reader.skip_tags(flexible)?;
        }
        Ok(head)
    }

    pub fn is_spoken(&self) -> bool {
        SPOKEN
            .iter()
            .any(|&(key, min, max, _)| key == self.key && (min..=max).contains(&self.version))
    }
}

/// Reads an ARRAY; null is empty.
fn array<'a, T>(
    reader: &mut Reader<'a>,
    flexible: bool,
    bytes_min: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, ConnectionError>,
) -> Result<Vec<T>, ConnectionError> {
    let count = reader.count(flexible, bytes_min)?.unwrap_or(0);
    if count > REQUEST_ELEMENTS_MAX {
        return Err(ConnectionError::TooMany(REQUEST_ELEMENTS_MAX));
    }
    (0..count).map(|_| element(reader)).collect()
}

fn text<'a>(reader: &mut Reader<'a>, flexible: bool) -> Result<&'a str, WireFault> {
    Ok(reader.string(flexible)?.unwrap_or_default())
}

/// One topic of a request, and its partitions.
pub(crate) type ByTopic<'a, T> = Vec<(&'a str, Vec<T>)>;

fn by_topic<'a, T>(
    reader: &mut Reader<'a>,
    flexible: bool,
    mut partition: impl FnMut(&mut Reader<'a>) -> Result<T, ConnectionError>,
) -> Result<ByTopic<'a, T>, ConnectionError> {
    array(reader, flexible, 3, |reader| {
        let topic = text(reader, flexible)?;
        let partitions = array(reader, flexible, 4, &mut partition)?;
        reader.skip_tags(flexible)?;
        Ok((topic, partitions))
    })
}

/// Produce: acks, and each partition's bytes.
pub(crate) struct Produce<'a> {
    pub acks: i16,
    pub topics: ByTopic<'a, (i32, &'a [u8])>,
}

impl<'a> Produce<'a> {
    pub fn read(reader: &mut Reader<'a>, head: Head) -> Result<Produce<'a>, ConnectionError> {
        let flexible = head.flexible;
        reader.string(flexible)?; // transactional id: its batches are refused one by one
        let acks = reader.i16()?;
        reader.i32()?; // timeout: nothing is waited for
        let topics = by_topic(reader, flexible, |reader| {
            let index = reader.i32()?;
            let size = reader.count(flexible, 1)?.unwrap_or(0);
            let records = reader.take(size)?;
            reader.skip_tags(flexible)?;
            Ok((index, records))
        })?;
        Ok(Produce { acks, topics })
    }
}

/// How a request names a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicKey<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// Fetch of one partition.
pub(crate) struct FetchPartition<'a> {
    pub topic: TopicKey<'a>,
    pub partition: i32,
    pub current_leader_epoch: i32,
    pub offset: i64,
    pub bytes_max: usize,
}

/// Fetch.
pub(crate) struct Fetch<'a> {
    pub wait_ms: u64,
    pub bytes_min: usize,
    pub bytes_max: usize,
    pub partitions: Vec<FetchPartition<'a>>,
}

impl<'a> Fetch<'a> {
    pub fn read(reader: &mut Reader<'a>, head: Head) -> Result<Fetch<'a>, ConnectionError> {
        let Head {
            version, flexible, ..
        } = head;
        let size = |value: i32| usize::try_from(value).unwrap_or(0);
        if version <= 14 {
            reader.i32()?; // replica id
        }
        let wait_ms = size(reader.i32()?) as u64;
        let bytes_min = size(reader.i32()?);
        let bytes_max = size(reader.i32()?);
        reader.i8()?; // isolation: there are no transactions
        if version >= 7 {
            reader.take(8)?; // session: every fetch is answered without one
        }
        let mut partitions = Vec::new();
        let topics = reader.count(flexible, 5)?.unwrap_or(0);
        for _ in 0..topics {
            let topic = if version >= 13 {
                TopicKey::Id(reader.uuid()?)
            } else {
                TopicKey::Name(text(reader, flexible)?)
            };
            let count = reader.count(flexible, 16)?.unwrap_or(0);
            if partitions.len() + count > REQUEST_ELEMENTS_MAX {
                return Err(ConnectionError::TooMany(REQUEST_ELEMENTS_MAX));
            }
            for _ in 0..count {
                let partition = reader.i32()?;
                let current_leader_epoch = if version >= 9 { reader.i32()? } else { -1 };
                let offset = reader.i64()?;
                if version >= 12 {
                    reader.i32()?; // last fetched epoch: there is one epoch alone
                }
                if version >= 5 {
                    reader.i64()?; // a follower's log start
                }
                let bytes_max = size(reader.i32()?);
                reader.skip_tags(flexible)?;
                partitions.push(FetchPartition {
                    topic,
                    partition,
                    current_leader_epoch,
                    offset,
                    bytes_max,
                });
            }
            reader.skip_tags(flexible)?;
        }
        Ok(Fetch {
            wait_ms,
            bytes_min,
            bytes_max,
            partitions,
        })
    }
}

/// Metadata: `None` is all topics.
pub(crate) fn read_metadata<'a>(
    reader: &mut Reader<'a>,
    head: Head,
) -> Result<Option<Vec<TopicKey<'a>>>, ConnectionError> {
    let Head {
        version, flexible, ..
    } = head;
    let all = match reader.clone().count_unchecked(flexible)? {
        None => true,
        Some(0) => version == 0,
        Some(_) => false,
    };
    let topics = array(reader, flexible, 2, |reader| {
        let id = if version >= 10 {
            Some(reader.uuid()?)
        } else {
            None
        };
        let name = reader.string(flexible)?;
        reader.skip_tags(flexible)?;
        Ok(match (name, id) {
            (Some(name), _) => TopicKey::Name(name),
            (None, id) => TopicKey::Id(id.unwrap_or_default()),
        })
    })?;
    Ok((!all).then_some(topics))
}

/// ListOffsets: partition, leader epoch, time.
pub(crate) fn read_list_offsets<'a>(
    reader: &mut Reader<'a>,
    head: Head,
) -> Result<ByTopic<'a, (i32, i32, i64)>, ConnectionError> {
    reader.i32()?; // replica id
    if head.version >= 2 {
        reader.i8()?; // isolation
    }
    by_topic(reader, head.flexible, |reader| {
        let partition = reader.i32()?;
        let epoch = if head.version >= 4 { reader.i32()? } else { -1 };
        let time = reader.i64()?;
        reader.skip_tags(head.flexible)?;
        Ok((partition, epoch, time))
    })
}

/// OffsetForLeaderEpoch: partition, current epoch, epoch in question.
pub(crate) fn read_epoch_ends<'a>(
    reader: &mut Reader<'a>,
    head: Head,
) -> Result<ByTopic<'a, (i32, i32, i32)>, ConnectionError> {
    if head.version >= 3 {
        reader.i32()?; // replica id
    }
    by_topic(reader, head.flexible, |reader| {
        let asked = (reader.i32()?, reader.i32()?, reader.i32()?);
        reader.skip_tags(head.flexible)?;
        Ok(asked)
    })
}

/// FindCoordinator: the keys.
pub(crate) fn read_find_coordinator<'a>(
    reader: &mut Reader<'a>,
    head: Head,
) -> Result<Vec<&'a str>, ConnectionError> {
    if head.version < 4 {
        return Ok(vec![text(reader, head.flexible)?]);
    }
    reader.i8()?; // groups and transactions alike
    array(reader, head.flexible, 1, |reader| Ok(text(reader, true)?))
}

/// What OffsetCommit says of one partition.
pub(crate) struct CommitPartition<'a> {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: &'a str,
}

/// OffsetCommit: the group, whether the client says it is a member, and the offsets.
pub(crate) struct OffsetCommit<'a> {
    pub group: &'a str,
    pub is_member: bool,
    pub topics: ByTopic<'a, CommitPartition<'a>>,
}

impl<'a> OffsetCommit<'a> {
    pub fn read(reader: &mut Reader<'a>, head: Head) -> Result<OffsetCommit<'a>, ConnectionError> {
        let Head {
            version, flexible, ..
        } = head;
        let group = text(reader, flexible)?;
        let generation = reader.i32()?;
        let member = text(reader, flexible)?;
        if version >= 7 {
            reader.string(flexible)?; // group instance id
        }
        if version <= 4 {
            reader.i64()?; // retention: kept for ever
        }
        let topics = by_topic(reader, flexible, |reader| {
            let partition = CommitPartition {
                partition: reader.i32()?,
                offset: reader.i64()?,
                leader_epoch: if version >= 6 { reader.i32()? } else { -1 },
                metadata: text(reader, flexible)?,
            };
            reader.skip_tags(flexible)?;
            Ok(partition)
        })?;
        Ok(OffsetCommit {
            group,
            is_member: generation >= 0 || !member.is_empty(),
            topics,
        })
    }
}

/// OffsetFetch: the group and its partitions; `None` is all of them.
pub(crate) type OffsetFetch<'a> = (&'a str, Option<ByTopic<'a, i32>>);

/// Reads [`OffsetFetch`].
pub(crate) fn read_offset_fetch<'a>(
    reader: &mut Reader<'a>,
    head: Head,
) -> Result<OffsetFetch<'a>, ConnectionError> {
    let group = text(reader, head.flexible)?;
    let all = reader.clone().count_unchecked(head.flexible)?.is_none();
    let topics = by_topic(reader, head.flexible, |reader| Ok(reader.i32()?))?;
    Ok((group, (!all).then_some(topics)))
}
