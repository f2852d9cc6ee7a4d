//! Builds record batches: what a producer sends and a broker stores.
//!
//! The development broker's producer, the simulated broker and the tests write batches; a leaf never
//! does. Any field can be set, also to what no broker would send.

use std::io::Write;

use super::batch::{Codec, HEADER_BYTES, LENGTH_END_BYTES};

/// A record batch under construction. One allocation for the records, one for the result.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// The first offset.
    pub base_offset: i64,
    /// The leader epoch.
    pub leader_epoch: i32,
    /// Compression.
    pub codec: Codec,
    /// The broker's clock instead of the producer's: `max_timestamp` is every record's.
    pub log_append_time: bool,
    /// Part of a transaction.
    pub transactional: bool,
    /// A transaction's marker.
    pub control: bool,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    last_offset_delta: i32,
    count: i32,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch that begins at this offset.
    #[must_use]
    pub fn new(base_offset: i64) -> BatchBuilder {
        BatchBuilder {
            base_offset,
            leader_epoch: 0,
            codec: Codec::None,
            log_append_time: false,
            transactional: false,
            control: false,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            last_offset_delta: 0,
            count: 0,
            records: Vec::new(),
        }
    }

    /// Forgets the records, keeps the settings and the memory, and begins at this offset.
    pub fn restart(&mut self, base_offset: i64) {
        self.base_offset = base_offset;
        self.base_timestamp = -1;
        self.max_timestamp = -1;
        self.last_offset_delta = 0;
        self.count = 0;
        self.records.clear();
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of its records, not compressed.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        self.records.len()
    }

    /// Appends a record at the next offset.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let delta = if self.count == 0 {
            0
        } else {
            self.last_offset_delta + 1
        };
        self.push_at(delta, timestamp_ms, key, value);
    }

    /// Appends a record at `base_offset + delta`, as after compaction.
    pub fn push_at(
        &mut self,
        delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.last_offset_delta = delta;
        self.count += 1;
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let field_bytes = |field: Option<&[u8]>| match field {
            Some(bytes) => varint_bytes(bytes.len() as i64) + bytes.len(),
            None => 1,
        };
        let length = 1
            + varint_bytes(timestamp_delta)
            + varint_bytes(delta.into())
            + field_bytes(key)
            + field_bytes(value)
            + 1;
        let out = &mut self.records;
        put_varint(out, length as i64);
        out.push(0);
        put_varint(out, timestamp_delta);
        put_varint(out, delta.into());
        for field in [key, value] {
            match field {
                Some(bytes) => {
                    put_varint(out, bytes.len() as i64);
                    out.extend_from_slice(bytes);
                }
                None => put_varint(out, -1),
            }
        }
        out.push(0); // no headers
    }

    /// Makes it a transaction's marker: one control record of `producer_id`.
    pub fn push_marker(&mut self, commit: bool, timestamp_ms: i64) {
        self.control = true;
        self.transactional = true;
        let key = [0, 0, 0, u8::from(commit)];
        // version i16, coordinator epoch i32
        self.push(timestamp_ms, Some(&key), Some(&[0; 6]));
    }

    /// The offset after its last.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Says that the batch covers offsets up to `base_offset + delta`, as after compaction.
    pub fn cover(&mut self, delta: i32) {
        self.last_offset_delta = self.last_offset_delta.max(delta);
    }

    /// Sets the timestamp that LogAppendTime gives to all records.
    pub fn set_max_timestamp(&mut self, timestamp_ms: i64) {
        self.max_timestamp = timestamp_ms;
    }

    /// The whole batch, with its checksum.
    ///
    /// # Panics
    /// Where a codec refuses to compress into memory, which none does.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.records.len());
        out.resize(HEADER_BYTES, 0);
        let codec = match self.codec {
            Codec::None => {
                out.extend_from_slice(&self.records);
                0
            }
            Codec::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(&self.records).expect("memory takes all");
                out = encoder.finish().expect("memory takes all");
                1
            }
            Codec::Snappy => {
                let packed = snap::raw::Encoder::new()
                    .compress_vec(&self.records)
                    .expect("records are shorter than 4 GiB");
                out.extend_from_slice(&packed);
                2
            }
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(&self.records).expect("memory takes all");
                out = encoder.finish().expect("memory takes all");
                3
            }
            Codec::Zstd => {
                let packed = zstd::bulk::compress(&self.records, 3).expect("memory takes all");
                out.extend_from_slice(&packed);
                4
            }
        };
        let attributes = codec
            | (i16::from(self.log_append_time) << 3)
            | (i16::from(self.transactional) << 4)
            | (i16::from(self.control) << 5);
        let length = (out.len() - LENGTH_END_BYTES) as i32;
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = 2;
        out[21..23].copy_from_slice(&attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.count.to_be_bytes());
        seal(&mut out);
        out
    }
}

/// Writes the checksum of a whole batch into its header, after a field was changed.
///
/// # Panics
/// On fewer bytes than a header.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}
