//! The Fetch request, appended to a buffer that the caller reuses.

use storage::ids::{Offset, TopicId};

use super::super::wire::{put_count, put_string, put_uvarint};
use super::session::{SESSION_FROM, SessionPlace};
use super::{FLEXIBLE_FROM, TOPIC_ID_FROM, VERSION_MAX, VERSION_MIN};

const API_KEY: i16 = 1;

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition<'a> {
    /// The topic's name: sent below version 13.
    pub topic: &'a str,
    /// The topic's id: sent from version 13 on.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch we believe in; -1 unknown. Sent from version 9 on.
    pub current_leader_epoch: i32,
    /// The cursor.
    pub offset: Offset,
    /// The leader epoch of the last record loaded; -1 unknown. The broker answers with
    /// [`super::Diverging`] where its log differs there. Sent from version 12 on.
    pub last_fetched_epoch: i32,
    /// At most so many bytes of this partition, one record batch excepted.
    pub bytes_max: i32,
}

/// A partition that is to leave the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten<'a> {
    /// The topic's name: sent below version 13.
    pub topic: &'a str,
    /// The topic's id: sent from version 13 on.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: i32,
}

/// One request. Partitions of one topic must stand beside each other.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// 4 to 17, as negotiated.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// Names us in the broker's logs and quotas.
    pub client_id: &'a str,
    /// The broker holds the request so long when there is less than `min_bytes`.
    pub max_wait_ms: i32,
    /// See `max_wait_ms`.
    pub min_bytes: i32,
    /// At most so many bytes in all, one record batch excepted.
    pub bytes_max: i32,
    /// Records of open transactions are held back, and aborted ones named.
    pub read_committed: bool,
    /// Sent from version 7 on; none below.
    pub session: SessionPlace,
}

/// Appends the request with its length in front, ready to be sent.
///
/// Partitions are taken in the order given, which the broker keeps: rotate it.
///
/// # Panics
/// On a version that is not spoken: negotiation never yields one.
pub fn encode<'a>(
    out: &mut Vec<u8>,
    request: &FetchRequest<'_>,
    partitions: impl Iterator<Item = FetchPartition<'a>> + Clone,
) {
    encode_changes(out, request, partitions, std::iter::empty());
}

/// The same of a session: `partitions` are what is new or asked otherwise, `forgotten` what leaves it,
/// those of one topic beside each other. A broker forgets last: none may be in both.
///
/// # Panics
/// As [`encode`], and where something is forgotten below version 7.
pub fn encode_changes<'a>(
    out: &mut Vec<u8>,
    request: &FetchRequest<'_>,
    partitions: impl Iterator<Item = FetchPartition<'a>> + Clone,
    forgotten: impl Iterator<Item = Forgotten<'a>> + Clone,
) {
    let version = request.version;
    assert!((VERSION_MIN..=VERSION_MAX).contains(&version));
    let flexible = version >= FLEXIBLE_FROM;
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&API_KEY.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&request.correlation_id.to_be_bytes());
    // The header's client id keeps the old encoding in every version.
    put_string(out, request.client_id, false);
    put_tags(out, flexible);

    if version <= 14 {
        out.extend_from_slice(&(-1_i32).to_be_bytes()); // replica id: a consumer
    }
    out.extend_from_slice(&request.max_wait_ms.to_be_bytes());
    out.extend_from_slice(&request.min_bytes.to_be_bytes());
    out.extend_from_slice(&request.bytes_max.to_be_bytes());
    out.push(u8::from(request.read_committed));
    if version >= SESSION_FROM {
        out.extend_from_slice(&request.session.id.to_be_bytes());
        out.extend_from_slice(&request.session.epoch.to_be_bytes());
    }
    let topic = |one: &FetchPartition<'a>| (one.topic, one.topic_id);
    put_topics(out, version, partitions, topic, |out, partition| {
        put_partition(out, version, partition);
    });
    let mut left = forgotten.clone();
    if version >= SESSION_FROM {
        let topic = |one: &Forgotten<'a>| (one.topic, one.topic_id);
        put_topics(out, version, forgotten, topic, |out, partition| {
            out.extend_from_slice(&partition.partition.to_be_bytes());
        });
    } else {
        assert!(left.next().is_none(), "no session to forget it");
    }
    if version >= 11 {
        put_string(out, "", flexible); // rack
    }
    put_tags(out, flexible);
    let size = u32::try_from(out.len() - start - 4).expect("a request is some kilobytes");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Topics with their partitions: each topic once where its partitions stand beside each other.
fn put_topics<'a, T: Copy>(
    out: &mut Vec<u8>,
    version: i16,
    partitions: impl Iterator<Item = T> + Clone,
    topic: impl Fn(&T) -> (&'a str, TopicId),
    put: impl Fn(&mut Vec<u8>, &T),
) {
    let flexible = version >= FLEXIBLE_FROM;
    let by_id = version >= TOPIC_ID_FROM;
    let same_topic = |one: &T, other: &T| {
        let (one, other) = (topic(one), topic(other));
        if by_id {
            one.1 == other.1
        } else {
            one.0 == other.0
        }
    };
    let mut topics = 0_u32;
    let mut last: Option<T> = None;
    for partition in partitions.clone() {
        if !last.is_some_and(|last| same_topic(&last, &partition)) {
            topics += 1;
        }
        last = Some(partition);
    }
    put_count(out, topics, flexible);
    let mut rest = partitions.peekable();
    while let Some(&first) = rest.peek() {
        if by_id {
            out.extend_from_slice(&topic(&first).1.0);
        } else {
            put_string(out, topic(&first).0, flexible);
        }
        let run = rest.clone().take_while(|next| same_topic(&first, next));
        put_count(out, run.count() as u32, flexible);
        while let Some(partition) = rest.next_if(|next| same_topic(&first, next)) {
            put(out, &partition);
        }
        put_tags(out, flexible);
    }
}

fn put_partition(out: &mut Vec<u8>, version: i16, partition: &FetchPartition<'_>) {
    out.extend_from_slice(&partition.partition.to_be_bytes());
    if version >= 9 {
        out.extend_from_slice(&partition.current_leader_epoch.to_be_bytes());
    }
    out.extend_from_slice(&partition.offset.0.to_be_bytes());
    if version >= 12 {
        out.extend_from_slice(&partition.last_fetched_epoch.to_be_bytes());
    }
    if version >= 5 {
        out.extend_from_slice(&(-1_i64).to_be_bytes()); // log start offset: a follower's
    }
    out.extend_from_slice(&partition.bytes_max.to_be_bytes());
    put_tags(out, version >= FLEXIBLE_FROM);
}

fn put_tags(out: &mut Vec<u8>, flexible: bool) {
    if flexible {
        put_uvarint(out, 0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages::{FetchRequest as Theirs, RequestHeader};
    use kafka_protocol::protocol::Decodable;

    use super::*;

    #[test]
    fn every_version_reads_back_in_an_independent_codec() {
        let one = |topic, id, partition, offset| FetchPartition {
            topic,
            topic_id: TopicId([id; 16]),
            partition,
            current_leader_epoch: 7,
            offset: Offset(offset),
            last_fetched_epoch: 6,
            bytes_max: 1 << 20,
        };
        let partitions = [
            one("a", 1, 0, 10),
            one("a", 1, 2, 1 << 40),
            one("bb", 2, 0, 0),
        ];
        let forgotten = |topic, id, partition| Forgotten {
            topic,
            topic_id: TopicId([id; 16]),
            partition,
        };
        let gone = [
            forgotten("a", 1, 3),
            forgotten("ccc", 3, 0),
            forgotten("ccc", 3, 8),
        ];
        for version in VERSION_MIN..=VERSION_MAX {
            let request = FetchRequest {
                version,
                correlation_id: 99,
                client_id: "pinleaf",
                max_wait_ms: 500,
                min_bytes: 1,
                bytes_max: 2 << 20,
                read_committed: true,
                session: SessionPlace { id: 9, epoch: 4 },
            };
            let mut out = vec![0xee];
            let forgotten = if version >= SESSION_FROM {
                &gone[..]
            } else {
                &[]
            };
            let forgotten = forgotten.iter().copied();
            encode_changes(&mut out, &request, partitions.iter().copied(), forgotten);
            let mut bytes = bytes::Bytes::from(out.split_off(1));
            assert_eq!(bytes.get_u32() as usize, bytes.remaining());
            let header_version = if version >= FLEXIBLE_FROM { 2 } else { 1 };
            let header = RequestHeader::decode(&mut bytes, header_version).unwrap();
            assert_eq!(header.correlation_id, 99);
            assert_eq!(header.client_id.as_deref(), Some("pinleaf"));
            let theirs = Theirs::decode(&mut bytes, version).unwrap();
            assert_eq!(bytes.remaining(), 0, "version {version}");
            assert_eq!(theirs.isolation_level, 1);
            assert_eq!((theirs.max_wait_ms, theirs.max_bytes), (500, 2 << 20));
            assert_eq!(theirs.topics.len(), 2);
            let first = &theirs.topics[0];
            if version >= TOPIC_ID_FROM {
                assert_eq!(first.topic_id.as_bytes(), &[1; 16]);
            } else {
                assert_eq!(first.topic.as_str(), "a");
            }
            assert_eq!(first.partitions.len(), 2);
            assert_eq!(first.partitions[1].partition, 2);
            assert_eq!(first.partitions[1].fetch_offset, 1 << 40);
            assert_eq!(first.partitions[1].partition_max_bytes, 1 << 20);
            if version >= SESSION_FROM {
                assert_eq!((theirs.session_id, theirs.session_epoch), (9, 4));
                let forgotten = &theirs.forgotten_topics_data;
                let gone: Vec<&[i32]> = forgotten.iter().map(|one| &one.partitions[..]).collect();
                assert_eq!(gone, [&[3][..], &[0, 8]]);
                if version >= TOPIC_ID_FROM {
                    assert_eq!(forgotten[1].topic_id.as_bytes(), &[3; 16]);
                } else {
                    assert_eq!(forgotten[1].topic.as_str(), "ccc");
                }
            }
            if version >= 12 {
                assert_eq!(first.partitions[0].last_fetched_epoch, 6);
                assert_eq!(first.partitions[0].current_leader_epoch, 7);
            }
        }
    }
}
