//! What is asked of a broker beside Fetch: requests out, responses in, no I/O.
//!
//! Each question is a pair: `encode_*` appends a request with its length in front and returns what was
//! [`Sent`]; `decode_*` reads the frame that came back (without its length) as the answer to it.
//! Requests are encoded by kafka-protocol; responses are read by [`super::wire::Reader`], because
//! that library reserves memory by counts from the wire, which a wrong one could make any size.
//!
//! | question | versions | since |
//! |---|---|---|
//! | [`encode_api_versions`] | 0, 3 | 0 for a broker that answers UNSUPPORTED_VERSION to 3 |
//! | [`encode_metadata`] | 4–12 | ids from 10 on, by id from 12 on |
//! | [`encode_list_offsets`] | 2–8 | isolation from 2 on |
//! | [`encode_epoch_ends`] | 2–4 | |
//! | [`encode_find_coordinator`] | 1–4 | several keys from 4 on |
//! | [`encode_offset_commit`] | 2–9 | leader epochs from 6 on |
//! | [`encode_offset_fetch`] | 1–7 | leader epochs from 5 on |

mod group;
mod metadata;
mod offsets;
mod versions;

pub use group::{
    CommitOffset, CommittedOffset, CommittedOffsets, Coordinator, PartitionError,
    decode_find_coordinator, decode_offset_commit, decode_offset_fetch, encode_find_coordinator,
    encode_offset_commit, encode_offset_fetch,
};
pub use metadata::{
    Broker, Metadata, MetadataTopics, Partition, Topic, decode_metadata, encode_metadata,
};
pub use offsets::{
    AskEpochEnd, AskOffset, EpochEnd, ListedOffset, OffsetSpec, decode_epoch_ends,
    decode_list_offsets, encode_epoch_ends, encode_list_offsets,
};
pub use versions::{Api, Versions, decode_api_versions, encode_api_versions};

use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::error::ErrorCode;
use super::wire::{Reader, WireFault};
use crate::limits::RESPONSE_BYTES_MAX;

/// What every request carries.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// As negotiated on this connection.
    pub versions: &'a Versions,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// Names us in the broker's logs and quotas.
    pub client_id: &'a str,
}

/// A request that left: what its response is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The question.
    pub api: Api,
    /// Its version.
    pub version: i16,
    /// Its correlation id.
    pub correlation_id: i32,
}

/// Why a request cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// The broker speaks no version of it that we speak.
    #[error("the broker speaks {name} {broker_min} to {broker_max}, this version {ours_min} to {ours_max}",
        name = api.name())]
    Unsupported {
        /// The question.
        api: Api,
        /// The broker's oldest; -1 none.
        broker_min: i16,
        /// The broker's newest; -1 none.
        broker_max: i16,
        /// Our oldest.
        ours_min: i16,
        /// Our newest.
        ours_max: i16,
    },
    /// A name longer than the protocol can carry.
    #[error("{name}: a name of more than 32767 bytes", name = api.name())]
    TooLong {
        /// The question.
        api: Api,
    },
}

/// Why a frame is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    /// A frame's length that no response has, or more than [`RESPONSE_BYTES_MAX`].
    #[error("a response of {length} bytes")]
    BadLength {
        /// As read.
        length: i32,
    },
    /// The answer to another question.
    #[error("a response to request {got}, expected {expected}")]
    Correlation {
        /// As read.
        got: i32,
        /// As sent.
        expected: i32,
    },
    /// A field contradicts its type or the frame's end.
    #[error("the {name} response is malformed at byte {at_byte}: {fault}", name = api.name())]
    Malformed {
        /// The question.
        api: Api,
        /// Of the frame.
        at_byte: usize,
        /// How.
        fault: WireFault,
    },
    /// The broker refused the whole request.
    #[error("the broker answers {error} to {name}", name = api.name())]
    Refused {
        /// The question.
        api: Api,
        /// Why.
        error: ErrorCode,
    },
}

/// The whole frame by its four length bytes, which are not part of it.
///
/// # Errors
/// A length that no response has, or more than [`RESPONSE_BYTES_MAX`].
pub fn response_size_bytes(length: [u8; 4]) -> Result<usize, ResponseFault> {
    response_size_bytes_within(length, RESPONSE_BYTES_MAX)
}

/// The same for an answer that may be larger: one with records.
///
/// # Errors
/// A length that no response has, or more than `bytes_max`.
pub fn response_size_bytes_within(
    length: [u8; 4],
    bytes_max: usize,
) -> Result<usize, ResponseFault> {
    let length = i32::from_be_bytes(length);
    match usize::try_from(length) {
        Ok(size) if (4..=bytes_max).contains(&size) => Ok(size),
        _ => Err(ResponseFault::BadLength { length }),
    }
}

/// Appends `length | header | body`.
fn put_request(
    out: &mut Vec<u8>,
    sent: Sent,
    client_id: &str,
    body: &impl Encodable,
) -> Result<Sent, RequestFault> {
    let header_version = if sent.api.is_flexible(sent.version) {
        2
    } else {
        1
    };
    let header = RequestHeader::default()
        .with_request_api_key(sent.api.key())
        .with_request_api_version(sent.version)
        .with_correlation_id(sent.correlation_id)
        .with_client_id(Some(text(client_id)));
    let mut bytes = BytesMut::new();
    header
        .encode(&mut bytes, header_version)
        .and_then(|()| body.encode(&mut bytes, sent.version))
        // Every field that a version lacks is left at its default, so only a length can be refused.
        .map_err(|_| RequestFault::TooLong { api: sent.api })?;
    let size = u32::try_from(bytes.len()).map_err(|_| RequestFault::TooLong { api: sent.api })?;
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(&bytes);
    Ok(sent)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Groups what stands beside each other with the same topic.
fn by_topic<T>(asks: &[T], topic: impl Fn(&T) -> &str + Copy) -> Vec<&[T]> {
    asks.chunk_by(|one, other| topic(one) == topic(other))
        .collect()
}

/// Reads one response: its header, then what `body` reads, with any fault placed.
fn read_response<'a, T>(
    sent: &Sent,
    frame: &'a [u8],
    body: impl FnOnce(&mut Reader<'a>, bool) -> Result<T, WireFault>,
) -> Result<T, ResponseFault> {
    let flexible = sent.api.is_flexible(sent.version);
    let mut reader = Reader::new(frame);
    let malformed = |reader: &Reader<'_>, fault| ResponseFault::Malformed {
        api: sent.api,
        at_byte: reader.position(),
        fault,
    };
    let got = reader.i32().map_err(|fault| malformed(&reader, fault))?;
    if got != sent.correlation_id {
        return Err(ResponseFault::Correlation {
            got,
            expected: sent.correlation_id,
        });
    }
    // ApiVersions keeps the old header for ever: it is read before versions are known.
    reader
        .skip_tags(flexible && sent.api != Api::ApiVersions)
        .and_then(|()| body(&mut reader, flexible))
        .map_err(|fault| malformed(&reader, fault))
}

/// Reads an ARRAY of what `element` reads; null is empty.
fn read_array<'a, T>(
    reader: &mut Reader<'a>,
    flexible: bool,
    element_bytes_min: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, WireFault>,
) -> Result<Vec<T>, WireFault> {
    let count = reader.count(flexible, element_bytes_min)?.unwrap_or(0);
    let mut elements = Vec::new();
    for _ in 0..count {
        elements.push(element(reader)?);
    }
    Ok(elements)
}

/// Reads `[topic, [partition]]`, the shape that most answers have, into one flat list. A topic's name is
/// kept once: it may be 32 KiB long or more, and each of its partitions takes no more than six bytes.
fn read_by_topic<'a, T>(
    reader: &mut Reader<'a>,
    flexible: bool,
    mut partition: impl FnMut(&mut Reader<'a>, &Arc<str>) -> Result<T, WireFault>,
) -> Result<Vec<T>, WireFault> {
    let topics = reader.count(flexible, 3)?.unwrap_or(0);
    let mut all = Vec::new();
    for _ in 0..topics {
        let topic = Arc::from(reader.string(flexible)?.unwrap_or_default());
        let partitions = reader.count(flexible, 4)?.unwrap_or(0);
        for _ in 0..partitions {
            all.push(partition(reader, &topic)?);
            reader.skip_tags(flexible)?;
        }
        reader.skip_tags(flexible)?;
    }
    Ok(all)
}

/// A host and a port: a port out of range is 0, which nothing connects to.
fn read_address(reader: &mut Reader<'_>, flexible: bool) -> Result<(String, u16), WireFault> {
    let host = reader.string(flexible)?.unwrap_or_default().to_owned();
    let port = u16::try_from(reader.i32()?).unwrap_or(0);
    Ok((host, port))
}

#[cfg(test)]
mod tests;
