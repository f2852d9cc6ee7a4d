//! A record batch as bytes: magic 2, CRC-32C, and the four codecs as the clients of this world frame
//! them.

use std::cell::RefCell;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// How a batch's records are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Plain,
    /// gzip.
    Gzip,
    /// Snappy in the framing of Java's library.
    SnappyJava,
    /// One block of Snappy, as librdkafka writes it.
    SnappyRaw,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 6] = [
        Codec::Plain,
        Codec::Gzip,
        Codec::SnappyJava,
        Codec::SnappyRaw,
        Codec::Lz4,
        Codec::Zstd,
    ];

    fn attribute(self) -> i16 {
        match self {
            Codec::Plain => 0,
            Codec::Gzip => 1,
            Codec::SnappyJava | Codec::SnappyRaw => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

/// What stands before a batch's records.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its first offset.
    pub base: i64,
    /// Its last offset, from the first on: kept when compaction takes records.
    pub last_delta: i64,
    /// The leader's epoch when it was appended.
    pub epoch: i32,
    /// The producer; -1 without a transaction.
    pub producer: i64,
    /// Transactional and control bits.
    pub attributes: i16,
    /// How its records are packed.
    pub codec: Codec,
}

/// A record: offset from the base, key and value.
pub type Record<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

/// The timestamp of an offset, ms.
#[must_use]
pub fn timestamp(offset: i64) -> i64 {
    1_700_000_000_000 + offset
}

/// A batch of these records.
pub fn encode(head: &Head, records: &[Record<'_>]) -> Vec<u8> {
    let mut plain = Vec::new();
    for &(delta, key, value) in records {
        let mut record = vec![0];
        varint(&mut record, delta);
        varint(&mut record, delta);
        for field in [key, value] {
            match field {
                Some(bytes) => {
                    varint(&mut record, bytes.len() as i64);
                    record.extend_from_slice(bytes);
                }
                None => varint(&mut record, -1),
            }
        }
        varint(&mut record, 0);
        varint(&mut plain, record.len() as i64);
        plain.extend_from_slice(&record);
    }
    let attributes = head.attributes | head.codec.attribute();
    let mut body = Vec::new();
    body.extend_from_slice(&attributes.to_be_bytes());
    body.extend_from_slice(&(head.last_delta as i32).to_be_bytes());
    body.extend_from_slice(&timestamp(head.base).to_be_bytes());
    body.extend_from_slice(&timestamp(head.base + head.last_delta).to_be_bytes());
    body.extend_from_slice(&head.producer.to_be_bytes());
    body.extend_from_slice(&0_i16.to_be_bytes());
    body.extend_from_slice(&(-1_i32).to_be_bytes());
    body.extend_from_slice(&(records.len() as i32).to_be_bytes());
    body.extend_from_slice(&pack(head.codec, plain));
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&head.base.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as i32 + 9).to_be_bytes());
    bytes.extend_from_slice(&head.epoch.to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&crc(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

thread_local! {
    /// Their tables are large: made once.
    static SNAPPY: RefCell<snap::raw::Encoder> = RefCell::new(snap::raw::Encoder::new());
    static ZSTD: RefCell<zstd::bulk::Compressor<'static>> =
        RefCell::new(zstd::bulk::Compressor::new(1).expect("a Zstandard encoder"));
}

fn pack(codec: Codec, plain: Vec<u8>) -> Vec<u8> {
    let snappy = |bytes: &[u8]| {
        SNAPPY.with_borrow_mut(|encoder| encoder.compress_vec(bytes).expect("Snappy"))
    };
    match codec {
        Codec::Plain => plain,
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&plain).expect("gzip into memory");
            encoder.finish().expect("gzip into memory")
        }
        Codec::SnappyRaw => snappy(&plain),
        Codec::SnappyJava => {
            let mut bytes = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in plain.chunks(32 * 1_024) {
                let packed = snappy(block);
                bytes.extend_from_slice(&(packed.len() as i32).to_be_bytes());
                bytes.extend_from_slice(&packed);
            }
            bytes
        }
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(&plain).expect("LZ4 into memory");
            encoder.finish().expect("LZ4 into memory")
        }
        Codec::Zstd => ZSTD.with_borrow_mut(|encoder| encoder.compress(&plain).expect("Zstandard")),
    }
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// CRC-32C, a byte at a time, and not the engine's.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| crc >> 8 ^ CRC_TABLE[(crc as u8 ^ byte) as usize];
    !bytes.iter().fold(u32::MAX, step)
}

/// What each byte does to the remainder.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }
}
