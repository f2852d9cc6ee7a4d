//! The walk over a record batch's records, in place: no allocation, no copy.
//!
//! A record: `length varint | attributes i8 | timestamp delta varlong | offset delta varint |
//! key length varint, key | value length varint, value | header count varint, headers`, all varints
//! zigzag. Offset deltas grow strictly and stay within the header's last one; gaps are compaction's.
//!
//! The walk ends at its first fault: the bytes after it have no meaning.

use storage::ids::Offset;

use super::batch::{BatchFault, BatchHeader, TimestampType};

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The batch ends within it.
    #[error("cut off")]
    Truncated,
    /// Its length is negative, or its fields do not fill it.
    #[error("a length that its fields contradict")]
    BadLength,
    /// A varint of too many bytes.
    #[error("a varint that does not end")]
    BadVarint,
    /// Not above the last record's, or above the batch's last.
    #[error("offset delta {delta} is out of order")]
    BadOffset {
        /// As read.
        delta: i32,
    },
    /// Base timestamp plus delta is out of range.
    #[error("a timestamp out of range")]
    BadTimestamp,
}

/// One record, borrowed from its batch (or from what its batch decompressed to).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the Kafka partition.
    pub offset: Offset,
    /// ms since 1970; the producer's clock, or the broker's for LogAppendTime.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The header count and headers as on the wire, not checked.
    pub headers: &'a [u8],
}

/// Where a walk stands, to go on from there later: [`Records::resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The next record's byte.
    at_byte: usize,
    index: u32,
    delta: i32,
    ended: bool,
}

impl Place {
    /// Before the first record.
    pub const START: Place = Place {
        at_byte: 0,
        index: 0,
        delta: -1,
        ended: false,
    };
}

/// Walks one batch's records.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    index: u32,
    count: u32,
    base_offset: i64,
    last_offset_delta: i32,
    delta: i32,
    base_timestamp: i64,
    append_timestamp: Option<i64>,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Walks `bytes`, the batch's records as they are after decompression.
    ///
    /// [`super::Decompressor::open`] is the usual way here.
    #[must_use]
    pub fn new(header: &BatchHeader, bytes: &'a [u8]) -> Records<'a> {
        Records::resume(header, bytes, Place::START)
    }

    /// Walks on from a place of an earlier walk over the same bytes.
    #[must_use]
    pub fn resume(header: &BatchHeader, bytes: &'a [u8], place: Place) -> Records<'a> {
        Records {
            bytes: bytes.get(place.at_byte..).unwrap_or_default(),
            index: place.index,
            count: header.record_count as u32,
            base_offset: header.base_offset.0,
            last_offset_delta: header.last_offset_delta,
            delta: place.delta,
            base_timestamp: header.base_timestamp,
            append_timestamp: match header.timestamp_type {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(header.max_timestamp),
            },
            ended: place.ended,
        }
    }

    /// Where it stands in `bytes`, all that it walks.
    #[must_use]
    pub fn place(&self, bytes: &[u8]) -> Place {
        Place {
            at_byte: bytes.len().saturating_sub(self.bytes.len()),
            index: self.index,
            delta: self.delta,
            ended: self.ended,
        }
    }

    /// The next record; `None` after the last one or a fault.
    #[inline]
    #[allow(clippy::should_implement_trait)] // named in the interface; the type is also an Iterator
    pub fn next(&mut self) -> Option<Result<Record<'a>, BatchFault>> {
        if self.ended {
            return None;
        }
        if self.index == self.count {
            self.ended = true;
            return match self.bytes.len() {
                0 => None,
                bytes => Some(Err(BatchFault::TrailingBytes { bytes })),
            };
        }
        let record = self.read();
        if record.is_ok() {
            self.index += 1;
        } else {
            self.ended = true;
        }
        Some(record.map_err(|fault| BatchFault::Record {
            index: self.index,
            fault,
        }))
    }

    /// Records not walked yet, by the header's count.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        if self.ended {
            0
        } else {
            self.count - self.index
        }
    }

    /// Bytes not walked yet, decompressed.
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The offset after the last one that the batch covers.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset + i64::from(self.last_offset_delta) + 1)
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordFault> {
        let mut rest = self.bytes;
        let length = varint(&mut rest)?;
        let length = usize::try_from(length).map_err(|_| RecordFault::BadLength)?;
        let (mut record, after) = rest
            .split_at_checked(length)
            .ok_or(RecordFault::Truncated)?;
        // From here on the record's own length bounds everything: what it cuts off is its fault.
        let (_attributes, fields) = record.split_first().ok_or(RecordFault::BadLength)?;
        record = fields;
        let timestamp_delta = varlong(&mut record)?;
        let delta = varint(&mut record)?;
        let key = field(&mut record)?;
        let value = field(&mut record)?;
        if record.is_empty() {
            return Err(RecordFault::BadLength);
        }
        if delta <= self.delta || delta > self.last_offset_delta {
            return Err(RecordFault::BadOffset { delta });
        }
        let timestamp_ms = match self.append_timestamp {
            Some(timestamp_ms) => timestamp_ms,
            None => self
                .base_timestamp
                .checked_add(timestamp_delta)
                .ok_or(RecordFault::BadTimestamp)?,
        };
        self.delta = delta;
        self.bytes = after;
        Ok(Record {
            offset: Offset(self.base_offset + i64::from(delta)),
            timestamp_ms,
            key,
            value,
            headers: record,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchFault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Records::next(self)
    }
}

/// A length of -1 (null) or more, and its bytes.
#[inline]
fn field<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordFault> {
    let length = varint(bytes)?;
    if length < 0 {
        return if length == -1 {
            Ok(None)
        } else {
            Err(RecordFault::BadLength)
        };
    }
    let (field, rest) = bytes
        .split_at_checked(length as usize)
        .ok_or(RecordFault::BadLength)?;
    *bytes = rest;
    Ok(Some(field))
}

#[inline]
fn varint(bytes: &mut &[u8]) -> Result<i32, RecordFault> {
    // One and two bytes are nearly all there is: lengths below 64 and below 8,192.
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Ok(zigzag_32(u32::from(first)))
        }
        [first, second, ref rest @ ..] if second < 0x80 => {
            *bytes = rest;
            Ok(zigzag_32(
                u32::from(first & 0x7f) | (u32::from(second) << 7),
            ))
        }
        _ => {
            let raw = long_varint(bytes, 5)?;
            u32::try_from(raw)
                .map(zigzag_32)
                .map_err(|_| RecordFault::BadVarint)
        }
    }
}

#[inline]
fn varlong(bytes: &mut &[u8]) -> Result<i64, RecordFault> {
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Ok(zigzag_64(u64::from(first)))
        }
        _ => long_varint(bytes, 10).map(zigzag_64),
    }
}

#[cold]
fn long_varint(bytes: &mut &[u8], bytes_max: u32) -> Result<u64, RecordFault> {
    let mut value = 0_u64;
    for place in 0..bytes_max {
        let (&byte, rest) = bytes.split_first().ok_or(RecordFault::Truncated)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if place == 9 && part > 1 {
            return Err(RecordFault::BadVarint);
        }
        value |= part << (7 * place);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordFault::BadVarint)
}

#[inline]
fn zigzag_32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

#[inline]
fn zigzag_64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
