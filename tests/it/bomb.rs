//! A record batch that is small on the wire and huge when it is unpacked, put into a real Kafka by bytes
//! of our own: a client library would hold the whole of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const ZSTD: i16 = 4;
static ZEROS: [u8; 1 << 16] = [b'0'; 1 << 16];
/// Where a batch's checksum begins, and what it covers.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// Zig-zag and seven bits a byte.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// A batch of one record without a key whose value is so many zeros, as digits.
pub fn batch(value_bytes: u64) -> Vec<u8> {
    let mut head = vec![0];
    // Timestamp delta, offset delta, no key.
    varint(&mut head, 0);
    varint(&mut head, 0);
    varint(&mut head, -1);
    varint(&mut head, value_bytes as i64);
    let mut records = Vec::new();
    // And no headers, one byte.
    varint(&mut records, head.len() as i64 + value_bytes as i64 + 1);
    records.extend(head);

    let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    packed.write_all(&records).unwrap();
    let mut left = value_bytes;
    while left > 0 {
        let bytes = left.min(ZEROS.len() as u64);
        packed.write_all(&ZEROS[..bytes as usize]).unwrap();
        left -= bytes;
    }
    packed.write_all(&[0]).unwrap();
    let packed = packed.finish().unwrap();

    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes());
    batch.extend((49 + packed.len() as i32).to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend([0; 4]);
    batch.extend(ZSTD.to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.extend([1_772_366_645_678_i64.to_be_bytes(); 2].as_flattened());
    // No producer: id, epoch, sequence.
    batch.extend((-1_i64).to_be_bytes());
    batch.extend((-1_i16).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.extend(1_i32.to_be_bytes());
    batch.extend(packed);
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Produces a batch to partition 0 of a topic, by Produce 7; the broker must take it.
pub fn produce(broker: SocketAddr, topic: &str, batch: &[u8]) {
    let mut request = Vec::new();
    request.extend([0_i16.to_be_bytes(), 7_i16.to_be_bytes()].as_flattened());
    request.extend(1_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    // No transaction, acknowledged by all, within 30 s; one topic, one partition.
    request.extend([(-1_i16).to_be_bytes(), (-1_i16).to_be_bytes()].as_flattened());
    request.extend(30_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend((topic.len() as i16).to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend([1_i32.to_be_bytes(), 0_i32.to_be_bytes()].as_flattened());
    request.extend((batch.len() as i32).to_be_bytes());
    request.extend(batch);

    let mut stream = TcpStream::connect(broker).unwrap();
    stream
        .write_all(&(request.len() as i32).to_be_bytes())
        .unwrap();
    stream.write_all(&request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    // Correlation id, one topic by name, one partition by index, its error.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(
        answer[at..at + 2],
        [0, 0],
        "the broker's answer: {answer:?}"
    );
}
