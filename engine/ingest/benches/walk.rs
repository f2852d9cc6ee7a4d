//! From a frame's bytes to records, on one core: rows a second for messages of 172 bytes.
//!
//! The figure to stand near is 40 M rows/s for the walk with its checksum, over record batches that are
//! not in the nearest cache (2 MiB in all, what a fetch returns).

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use ingest::kafka::fetch::{
    FetchResponse, FrameEvent, FrameReader, ResponsePartition, encode_response,
};
use ingest::kafka::{BatchBuilder, BatchHeader, Codec, Decompressor, ErrorCode};
use storage::ids::TopicId;

const MESSAGE_BYTES: usize = 172;
/// 86 KB of records: what a producer's batch of 1 MB split over some partitions comes to.
const BATCH_ROWS: usize = 500;
const FRAME_BYTES: usize = 2 * 1024 * 1024;

fn main() {
    divan::main();
}

#[derive(Clone, Copy, Debug)]
enum Packed {
    Plain,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

const ALL: [Packed; 5] = [
    Packed::Plain,
    Packed::Gzip,
    Packed::Snappy,
    Packed::Lz4,
    Packed::Zstd,
];

/// As many batches as one response holds before they are compressed.
fn batches(packed: Packed) -> (Vec<Vec<u8>>, usize) {
    let mut builder = BatchBuilder::new(0);
    builder.codec = match packed {
        Packed::Plain => Codec::None,
        Packed::Gzip => Codec::Gzip,
        Packed::Snappy => Codec::Snappy,
        Packed::Lz4 => Codec::Lz4,
        Packed::Zstd => Codec::Zstd,
    };
    let (mut all, mut rows) = (Vec::new(), 0);
    while rows * MESSAGE_BYTES < FRAME_BYTES {
        builder.restart(rows as i64);
        for place in 0..BATCH_ROWS {
            let number = rows + place;
            let mut value = format!(
                "{{\"id\":{number},\"user_id\":{},\"symbol\":\"ACME\",\"side\":\"buy\",\"price\":{}.25,",
                number * 7_919 % 1_000_003,
                number * 31 % 997
            );
            value.push_str("\"note\":\"");
            while value.len() < MESSAGE_BYTES - 2 {
                value.push((b'a' + (value.len() * (number % 13 + 1) % 26) as u8) as char);
            }
            value.push_str("\"}");
            builder.push(
                1_767_323_045_678 + place as i64 / 10,
                None,
                Some(value.as_bytes()),
            );
        }
        all.push(builder.build());
        rows += BATCH_ROWS;
    }
    (all, rows)
}

fn walk(batch: &[u8], decompressor: &mut Decompressor, crc: bool) -> usize {
    let header = BatchHeader::parse(batch).expect("our own batch");
    if crc {
        header.check_crc(batch).expect("our own batch");
    }
    let body = header.body(batch).expect("our own batch");
    let mut records = decompressor.open(&header, body).expect("our own batch");
    let mut bytes = 0;
    while let Some(record) = records.next() {
        let record = black_box(record.expect("our own batch"));
        bytes += record.value.map_or(0, <[u8]>::len);
    }
    bytes
}

#[divan::bench(args = ALL)]
fn walk_with_crc(bencher: Bencher<'_, '_>, packed: Packed) {
    let (batches, rows) = batches(packed);
    let mut decompressor = Decompressor::default();
    bencher
        .counter(ItemsCount::new(rows))
        .counter(BytesCount::new(rows * MESSAGE_BYTES))
        .bench_local(|| {
            let bytes: usize = batches
                .iter()
                .map(|batch| walk(batch, &mut decompressor, true))
                .sum();
            assert_eq!(bytes, rows * MESSAGE_BYTES);
        });
}

/// What the checksum costs is the difference.
#[divan::bench]
fn walk_without_crc(bencher: Bencher<'_, '_>) {
    let (batches, rows) = batches(Packed::Plain);
    let mut decompressor = Decompressor::default();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| {
        for batch in &batches {
            black_box(walk(batch, &mut decompressor, false));
        }
    });
}

/// The same through the response that they come in.
#[divan::bench]
fn frame_with_crc(bencher: Bencher<'_, '_>) {
    let (batches, rows) = batches(Packed::Plain);
    let records = batches.concat();
    let mut frame = Vec::new();
    let partition = ResponsePartition {
        topic: "orders",
        topic_id: TopicId([1; 16]),
        partition: 0,
        error: ErrorCode::None,
        high_watermark: 0,
        last_stable_offset: 0,
        log_start_offset: 0,
        aborted: &[],
        diverging: None,
        current_leader: None,
        records: &records,
    };
    encode_response(
        &mut frame,
        &FetchResponse {
            version: 17,
            correlation_id: 1,
            throttle_ms: 0,
            error: ErrorCode::None,
            session_id: 0,
            partitions: &[partition],
            endpoints: &[],
        },
    );
    let frame = &frame[4..];
    let mut decompressor = Decompressor::default();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| {
        let mut reader = FrameReader::new(17, 1, frame.len());
        loop {
            match reader.next(frame).expect("our own response") {
                Some(FrameEvent::Batch(batch)) => {
                    black_box(walk(&frame[batch.range()], &mut decompressor, true));
                }
                Some(FrameEvent::End) | None => break,
                Some(_) => {}
            }
        }
    });
}
