//! The record batch's header and its checksum.
//!
//! Big-endian; byte 0 is `base_offset`:
//!
//! | bytes | field | bytes | field |
//! |---|---|---|---|
//! | 0..8 | base offset | 27..35 | base timestamp, ms |
//! | 8..12 | length of what follows | 35..43 | max timestamp, ms |
//! | 12..16 | leader epoch | 43..51 | producer id |
//! | 16 | magic: 2 | 51..53 | producer epoch |
//! | 17..21 | CRC-32C of byte 21 to the end | 53..57 | base sequence |
//! | 21..23 | attributes | 57..61 | record count |
//! | 23..27 | last offset delta | 61.. | records |
//!
//! Attributes: bits 0–2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon.
//!
//! The base offset and the leader epoch are not under the checksum: the broker sets them. They are
//! checked for sense here, and the offset against the response's own words where it arrives.

use storage::ids::Offset;

use super::decompress::CodecFault;
use super::records::RecordFault;

/// Bytes of a header: a record batch is never shorter.
pub const HEADER_BYTES: usize = 61;
/// Bytes up to and with the length field, which counts what follows it.
pub const LENGTH_END_BYTES: usize = 12;
/// Where the checksummed bytes begin.
const CRC_FROM_BYTE: usize = 21;
const MAGIC_AT_BYTE: usize = 16;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

const _: () = assert!(LENGTH_END_BYTES < MAGIC_AT_BYTE && MAGIC_AT_BYTE < CRC_FROM_BYTE);
const _: () = assert!(CRC_FROM_BYTE < HEADER_BYTES);

/// What is wrong with a record batch. All are the broker's (or the network's) fault, but
/// [`BatchFault::OldMagic`] and [`BatchFault::UnknownCodec`], which are ours to not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// Fewer bytes than the batch says, or than a header has.
    #[error("the record batch is cut off: {have} bytes of {needed}")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are due.
        needed: usize,
    },
    /// Message format 0 or 1.
    #[error(
        "message format {magic} at offset {offset} is not supported, only 2 (Kafka 0.11 and later): \
         rewrite the topic's old segments or start past them"
    )]
    OldMagic {
        /// 0 or 1.
        magic: i8,
        /// The first offset of it.
        offset: Offset,
    },
    /// A message format that does not exist yet.
    #[error("unknown message format {magic}")]
    UnknownMagic {
        /// What stands there.
        magic: i8,
    },
    /// The length field is shorter than a header or longer than any batch.
    #[error("a record batch length of {length}")]
    BadLength {
        /// What stands there.
        length: i32,
    },
    /// The checksum does not match.
    #[error("record batch checksum is {computed:08x}, should be {expected:08x}")]
    BadCrc {
        /// In the header.
        expected: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A codec that does not exist yet.
    #[error("unknown compression codec {codec}")]
    UnknownCodec {
        /// Bits 0–2 of the attributes.
        codec: u8,
    },
    /// Negative, or more records than offsets.
    #[error("{record_count} records in {last_offset_delta} + 1 offsets")]
    BadCount {
        /// As in the header.
        record_count: i32,
        /// As in the header.
        last_offset_delta: i32,
    },
    /// The base offset is negative or the last offset beyond any offset.
    #[error("offsets {base_offset} + {last_offset_delta} are out of range")]
    OffsetOverflow {
        /// As in the header.
        base_offset: i64,
        /// As in the header.
        last_offset_delta: i32,
    },
    /// It lies beyond the log's end, as the answer that brought it has it.
    #[error(
        "the record batch of offsets {base_offset} to {last_offset} lies beyond offset {log_end}, where \
         the log ends by the broker's own answer"
    )]
    BeyondLog {
        /// As in the header.
        base_offset: Offset,
        /// By the header.
        last_offset: Offset,
        /// The high watermark, or the last stable offset.
        log_end: Offset,
    },
    /// It lies below what was asked for, or overlaps the one before it.
    #[error(
        "the record batch of offsets {base_offset} to {last_offset} stands where offset {expected} or a \
         later one should"
    )]
    OutOfOrder {
        /// As in the header.
        base_offset: Offset,
        /// By the header.
        last_offset: Offset,
        /// What was asked for, or follows the batch before.
        expected: Offset,
    },
    /// The records did not decompress.
    #[error("{0}")]
    Codec(#[from] CodecFault),
    /// A record is wrong.
    #[error("record {index} of the batch: {fault}")]
    Record {
        /// Counted from 0.
        index: u32,
        /// What is wrong.
        fault: RecordFault,
    },
    /// Bytes are left after the last record.
    #[error("{bytes} bytes after the last record")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy, raw or in the Java framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Whose clock a record's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's, one for each record.
    CreateTime,
    /// The broker's: the batch's max timestamp is that of all its records.
    LogAppendTime,
}

/// A record batch's header, checked for sense.
///
/// Invariants: `base_offset >= 0`, `last_offset_delta >= 0`, `0 <= record_count <=
/// last_offset_delta + 1`, and the next offset is representable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The first offset, also where compaction took its record.
    pub base_offset: Offset,
    /// Bytes after the length field.
    pub batch_length: u32,
    /// The leader epoch in which it was appended; -1 unknown.
    pub leader_epoch: i32,
    /// CRC-32C of byte 21 to the end.
    pub crc: u32,
    /// Compression of the records.
    pub codec: Codec,
    /// Whose clock.
    pub timestamp_type: TimestampType,
    /// Holds a transaction's marker, no data.
    pub control: bool,
    /// Part of a transaction.
    pub transactional: bool,
    /// The last offset is `base_offset` plus this, also where compaction took its record.
    pub last_offset_delta: i32,
    /// The records' timestamps count from it, ms. [`None`] of a compacted batch whose field holds the
    /// delete horizon is not told apart: see [`BatchHeader::delete_horizon`].
    pub base_timestamp: i64,
    /// The largest timestamp, ms.
    pub max_timestamp: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
    /// How many records are left in it: 0 after compaction took all.
    pub record_count: i32,
    /// The base timestamp is the delete horizon of a compacted topic and no record's time; the
    /// records' deltas still count from it.
    pub delete_horizon: bool,
}

impl BatchHeader {
    /// Reads the header off the front of `bytes`. The checksum is not looked at:
    /// [`BatchHeader::check_crc`] needs the whole batch.
    ///
    /// # Errors
    /// Every fault of a header. Magic and length are judged before the other fields, and as soon as
    /// they are there.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
        let truncated = BatchFault::Truncated {
            have: bytes.len(),
            needed: HEADER_BYTES,
        };
        if let Some(&magic) = bytes.get(MAGIC_AT_BYTE) {
            let magic = magic as i8;
            let offset = Offset(i64_at(bytes, 0));
            match magic {
                2 => {}
                0 | 1 => return Err(BatchFault::OldMagic { magic, offset }),
                _ => return Err(BatchFault::UnknownMagic { magic }),
            }
        }
        let length = Self::peek_size_bytes(bytes)?;
        if bytes.len() < HEADER_BYTES {
            return Err(truncated);
        }
        let attributes = i16::from_be_bytes([bytes[21], bytes[22]]);
        let header = BatchHeader {
            base_offset: Offset(i64_at(bytes, 0)),
            batch_length: (length - LENGTH_END_BYTES) as u32,
            leader_epoch: i32_at(bytes, 12),
            crc: i32_at(bytes, 17) as u32,
            codec: match attributes & 0x07 {
                0 => Codec::None,
                1 => Codec::Gzip,
                2 => Codec::Snappy,
                3 => Codec::Lz4,
                4 => Codec::Zstd,
                codec => {
                    return Err(BatchFault::UnknownCodec { codec: codec as u8 });
                }
            },
            timestamp_type: if attributes & 0x08 == 0 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            transactional: attributes & 0x10 != 0,
            control: attributes & 0x20 != 0,
            delete_horizon: attributes & DELETE_HORIZON_BIT != 0,
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: i64_at(bytes, 27),
            max_timestamp: i64_at(bytes, 35),
            producer_id: i64_at(bytes, 43),
            producer_epoch: i16::from_be_bytes([bytes[51], bytes[52]]),
            base_sequence: i32_at(bytes, 53),
            record_count: i32_at(bytes, 57),
        };
        header.check_sense()?;
        Ok(header)
    }

    /// The whole batch's bytes by its length field, or `Truncated` below twelve bytes.
    ///
    /// # Errors
    /// `Truncated` and `BadLength`.
    pub fn peek_size_bytes(bytes: &[u8]) -> Result<usize, BatchFault> {
        if bytes.len() < LENGTH_END_BYTES {
            return Err(BatchFault::Truncated {
                have: bytes.len(),
                needed: HEADER_BYTES,
            });
        }
        let length = i32_at(bytes, 8);
        match usize::try_from(length) {
            Ok(size) if size >= HEADER_BYTES - LENGTH_END_BYTES => Ok(size + LENGTH_END_BYTES),
            _ => Err(BatchFault::BadLength { length }),
        }
    }

    fn check_sense(&self) -> Result<(), BatchFault> {
        let &BatchHeader {
            record_count,
            last_offset_delta,
            ..
        } = self;
        let base_offset = self.base_offset.0;
        if last_offset_delta < 0
            || record_count < 0
            || i64::from(record_count) > i64::from(last_offset_delta) + 1
        {
            return Err(BatchFault::BadCount {
                record_count,
                last_offset_delta,
            });
        }
        let next = base_offset.checked_add(i64::from(last_offset_delta) + 1);
        if base_offset < 0 || next.is_none_or(|next| next == i64::MAX) {
            return Err(BatchFault::OffsetOverflow {
                base_offset,
                last_offset_delta,
            });
        }
        Ok(())
    }

    /// Bytes of the whole batch, header and all.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.batch_length as usize + LENGTH_END_BYTES
    }

    /// The offset after the last one that this batch covers, compacted away or not.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.last_offset_delta) + 1)
    }

    /// The last offset that this batch covers.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.last_offset_delta))
    }

    /// The records' bytes, compressed as they are, in the whole batch's.
    ///
    /// # Errors
    /// `Truncated` where the batch is not whole.
    pub fn body<'a>(&self, batch: &'a [u8]) -> Result<&'a [u8], BatchFault> {
        batch
            .get(HEADER_BYTES..self.size_bytes())
            .ok_or(BatchFault::Truncated {
                have: batch.len(),
                needed: self.size_bytes(),
            })
    }

    /// Checks the checksum over the whole batch: [`crc32c`] takes the processor's instruction for it.
    ///
    /// # Errors
    /// `Truncated` where the batch is not whole, `BadCrc`.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), BatchFault> {
        let covered = batch
            .get(CRC_FROM_BYTE..self.size_bytes())
            .ok_or(BatchFault::Truncated {
                have: batch.len(),
                needed: self.size_bytes(),
            })?;
        let computed = crc32c::crc32c(covered);
        if computed == self.crc {
            Ok(())
        } else {
            Err(BatchFault::BadCrc {
                expected: self.crc,
                computed,
            })
        }
    }
}

/// CRC-32C, as a record batch has it, by the processor's own instruction where it has one.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(four)
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(eight)
}
