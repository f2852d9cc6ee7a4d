//! The record batch and the Fetch response, built here and bent in every way that has a name.
//!
//! That real brokers' bytes are read right is shown by the captures (`tests/captures.rs` of this crate);
//! here stands what no broker sends, and every version of the response against another codec.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Encodable, StrBytes};
use storage::ids::{Offset, TopicId};

use super::batch::HEADER_BYTES;
use super::build::{BatchBuilder, seal};
use super::fetch::{
    CurrentLeader, Diverging, FrameEvent, FrameFault, FrameReader, PartitionEnd, TopicKey,
};
use super::*;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

fn batch(base: i64, codec: Codec, count: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base);
    builder.codec = codec;
    for place in 0..count {
        let value = format!("value {place} {}", "abc".repeat(place % 50));
        builder.push(1_000 + place as i64, Some(b"key"), Some(value.as_bytes()));
    }
    builder.build()
}

type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

fn walk(batch: &[u8], decompressor: &mut Decompressor) -> Result<Vec<Owned>, BatchFault> {
    let header = BatchHeader::parse(batch)?;
    header.check_crc(batch)?;
    let mut records = decompressor.open(&header, header.body(batch)?)?;
    let mut all = Vec::new();
    while let Some(record) = records.next() {
        let record = record?;
        all.push((
            record.offset.0,
            record.timestamp_ms,
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
        ));
    }
    assert_eq!(records.remaining(), 0);
    Ok(all)
}

#[test]
fn every_codec_gives_the_records_back() {
    let mut decompressor = Decompressor::default();
    let plain = walk(&batch(500, Codec::None, 2_000), &mut decompressor).unwrap();
    assert_eq!(plain.len(), 2_000);
    assert_eq!(plain[1_999].0, 2_499);
    for codec in CODECS {
        let got = walk(&batch(500, codec, 2_000), &mut decompressor).unwrap();
        assert_eq!(got, plain, "{codec:?}");
    }
}

#[test]
fn snappy_in_the_java_framing() {
    let plain = batch(0, Codec::None, 400);
    let body = &plain[HEADER_BYTES..];
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in body.chunks(1_000) {
        let packed = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
        framed.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        framed.extend_from_slice(&packed);
    }
    let rebuilt = with_body(&plain, 2, &framed);
    let mut decompressor = Decompressor::default();
    assert_eq!(
        walk(&rebuilt, &mut decompressor).unwrap(),
        walk(&plain, &mut decompressor).unwrap()
    );
    for cut in [8, 12, 16, 18, 100, framed.len() - 1] {
        let cut = with_body(&plain, 2, &framed[..cut]);
        assert!(walk(&cut, &mut decompressor).is_err());
    }
}

#[test]
fn lz4_frames_with_linked_blocks_checksums_and_stored_blocks() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let mut builder = BatchBuilder::new(0);
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    builder.push(0, None, Some(&noise));
    for _ in 0..3 {
        builder.push(0, None, Some(&b"again and ".repeat(30_000)));
    }
    let plain = builder.build();
    let mut decompressor = Decompressor::default();
    let expected = walk(&plain, &mut decompressor).unwrap();
    for mode in [BlockMode::Linked, BlockMode::Independent] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            let info = FrameInfo::new()
                .block_mode(mode)
                .block_size(size)
                .block_checksums(size == BlockSize::Max64KB)
                .content_checksum(size != BlockSize::Max4MB)
                .content_size((size == BlockSize::Max256KB).then_some(plain.len() as u64 - 61));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&plain[HEADER_BYTES..]).unwrap();
            let packed = encoder.finish().unwrap();
            let framed = with_body(&plain, 3, &packed);
            assert_eq!(walk(&framed, &mut decompressor).unwrap(), expected);
            for cut in (0..packed.len()).step_by(997) {
                assert!(walk(&with_body(&plain, 3, &packed[..cut]), &mut decompressor).is_err());
            }
        }
    }
}

/// The same header around another body.
fn with_body(batch: &[u8], codec: u8, body: &[u8]) -> Vec<u8> {
    let mut out = batch[..HEADER_BYTES].to_vec();
    out.extend_from_slice(body);
    let length = (out.len() - 12) as u32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[22] = (out[22] & !7) | codec;
    seal(&mut out);
    out
}

#[test]
fn a_bomb_is_an_error_and_not_memory() {
    const BYTES_MAX: usize = 1 << 20;
    let mut builder = BatchBuilder::new(0);
    builder.push(0, None, Some(&vec![b'x'; 8 << 20]));
    for codec in &CODECS[1..] {
        builder.codec = *codec;
        let bomb = builder.build();
        assert!(bomb.len() < 1 << 20, "{codec:?}");
        let mut decompressor = Decompressor::new(BYTES_MAX);
        assert_eq!(
            walk(&bomb, &mut decompressor),
            Err(BatchFault::Codec(CodecFault::TooLarge {
                codec: *codec,
                bytes_max: BYTES_MAX
            }))
        );
        // Just enough is enough.
        let mut decompressor = Decompressor::new(builder.records_bytes());
        assert_eq!(walk(&bomb, &mut decompressor).unwrap().len(), 1);
        let mut decompressor = Decompressor::new(builder.records_bytes() - 1);
        assert!(walk(&bomb, &mut decompressor).is_err(), "{codec:?}");
    }
}

#[test]
fn a_header_has_a_name_for_each_fault() {
    let good = batch(7, Codec::None, 3);
    let bent = |at: usize, bytes: &[u8]| {
        let mut batch = good.clone();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        BatchHeader::parse(&batch)
    };
    assert!(BatchHeader::parse(&good).is_ok());
    assert_eq!(
        bent(16, &[1]),
        Err(BatchFault::OldMagic {
            magic: 1,
            offset: Offset(7)
        })
    );
    assert_eq!(bent(16, &[3]), Err(BatchFault::UnknownMagic { magic: 3 }));
    assert_eq!(bent(22, &[5]), Err(BatchFault::UnknownCodec { codec: 5 }));
    for length in [-1_i32, 0, 48, i32::MIN] {
        assert_eq!(
            bent(8, &length.to_be_bytes()),
            Err(BatchFault::BadLength { length })
        );
    }
    assert!(matches!(
        bent(57, &4_i32.to_be_bytes()),
        Err(BatchFault::BadCount { .. })
    ));
    assert!(matches!(
        bent(57, &(-1_i32).to_be_bytes()),
        Err(BatchFault::BadCount { .. })
    ));
    assert!(matches!(
        bent(23, &(-1_i32).to_be_bytes()),
        Err(BatchFault::BadCount { .. })
    ));
    for base in [-1, i64::MIN, i64::MAX, i64::MAX - 3] {
        assert!(matches!(
            bent(0, &base.to_be_bytes()),
            Err(BatchFault::OffsetOverflow { .. })
        ));
    }
    let header = bent(0, &(i64::MAX - 4).to_be_bytes()).unwrap();
    assert_eq!(header.next_offset(), Offset(i64::MAX - 1));
    for cut in 0..good.len() {
        let outcome = BatchHeader::parse(&good[..cut])
            .and_then(|header| header.body(&good[..cut]).map(|_| header))
            .and_then(|header| header.check_crc(&good[..cut]));
        assert!(matches!(outcome, Err(BatchFault::Truncated { .. })));
    }
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let header = BatchHeader::parse(&flipped).unwrap();
    assert!(matches!(
        header.check_crc(&flipped),
        Err(BatchFault::BadCrc { .. })
    ));
}

#[test]
fn log_append_time_is_every_records_time() {
    let mut builder = BatchBuilder::new(0);
    builder.log_append_time = true;
    builder.push(5, None, Some(b"a"));
    builder.push(6, None, Some(b"b"));
    builder.set_max_timestamp(99);
    let records = walk(&builder.build(), &mut Decompressor::default()).unwrap();
    assert_eq!((records[0].1, records[1].1), (99, 99));
}

#[test]
fn compaction_leaves_gaps_and_empty_batches() {
    let mut builder = BatchBuilder::new(100);
    builder.push_at(2, 0, None, Some(b"a"));
    builder.push_at(5, 0, Some(b"k"), None);
    builder.cover(9);
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(header.next_offset(), Offset(110));
    let records = walk(&batch, &mut Decompressor::default()).unwrap();
    assert_eq!((records[0].0, records[1].0), (102, 105));
    assert_eq!(records[1].3, None);
    for codec in 0..5 {
        let mut empty = BatchBuilder::new(100);
        empty.cover(3);
        let empty = with_body(&empty.build(), codec, &[]);
        assert_eq!(walk(&empty, &mut Decompressor::default()), Ok(Vec::new()));
    }
}

#[test]
fn a_record_has_a_name_for_each_fault() {
    // length, attributes, timestamp delta, offset delta, key length, value length, header count
    let cases: [(&[u8], RecordFault); 9] = [
        (&[0x0c, 0, 0, 0, 1, 1], RecordFault::Truncated),
        (&[0x01, 0, 0, 0, 1, 1, 0], RecordFault::BadLength),
        (&[0x00], RecordFault::BadLength),
        (&[0x0c, 0, 0, 0, 3, 1, 0], RecordFault::BadLength),
        (&[0x0c, 0, 0, 0, 1, 0x7e, 0], RecordFault::BadLength),
        (&[0x0a, 0, 0, 0, 1, 1], RecordFault::BadLength),
        (
            &[0x0c, 0, 0, 2, 1, 1, 0],
            RecordFault::BadOffset { delta: 1 },
        ),
        (
            &[0x0c, 0, 0, 1, 1, 1, 0],
            RecordFault::BadOffset { delta: -1 },
        ),
        (
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            RecordFault::BadVarint,
        ),
    ];
    let one = batch(0, Codec::None, 1);
    for (body, fault) in cases {
        assert_eq!(
            walk(&with_body(&one, 0, body), &mut Decompressor::default()),
            Err(BatchFault::Record { index: 0, fault }),
            "{body:x?}"
        );
    }
    let good: &[u8] = &[0x0c, 0, 0, 0, 1, 1, 0];
    assert!(walk(&with_body(&one, 0, good), &mut Decompressor::default()).is_ok());
    assert_eq!(
        walk(
            &with_body(&one, 0, &[good, &[9]].concat()),
            &mut Decompressor::default()
        ),
        Err(BatchFault::TrailingBytes { bytes: 1 })
    );
    let mut late = BatchBuilder::new(0);
    late.push(i64::MAX, None, None);
    late.push(i64::MIN, None, None);
    assert_eq!(
        walk(&late.build(), &mut Decompressor::default()).unwrap_err(),
        BatchFault::Record {
            index: 1,
            fault: RecordFault::BadTimestamp
        }
    );
}

#[test]
fn markers_are_read() {
    for commit in [true, false] {
        let mut builder = BatchBuilder::new(3);
        builder.push_marker(commit, 1);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(header.control);
        let mut decompressor = Decompressor::default();
        let mut records = decompressor
            .open(&header, header.body(&batch).unwrap())
            .unwrap();
        let expected = if commit {
            Marker::Commit
        } else {
            Marker::Abort
        };
        assert_eq!(Marker::of(&mut records), Ok(Some(expected)));
        assert_eq!(Marker::of(&mut records), Ok(None));
    }
}

/// Every byte of a batch bent: an error or records, never a panic; a checksum that still fits.
#[test]
fn bent_bodies_never_panic() {
    let mut decompressor = Decompressor::new(1 << 20);
    for codec in CODECS {
        let good = batch(0, codec, 40);
        for at in 21..good.len() {
            for bit in 0..8 {
                let mut bent = good.clone();
                bent[at] ^= 1 << bit;
                seal(&mut bent);
                let _ = walk(&bent, &mut decompressor);
            }
        }
    }
}

// --- the response ---

/// A response of two topics by kafka-protocol: the first with two partitions.
fn response(version: i16, records: [&[u8]; 3]) -> Vec<u8> {
    use theirs::fetch_response::{
        AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
        PartitionData,
    };
    let partition = |index: i32, records: &[u8]| {
        let mut data = PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(1_000)
            .with_last_stable_offset(900)
            .with_records(Some(Bytes::copy_from_slice(records)));
        if version >= 5 {
            data.log_start_offset = 10;
        }
        data
    };
    let mut first = partition(0, records[0]);
    first.aborted_transactions = Some(
        [(7, 12), (8, 5)]
            .map(|(producer, offset)| {
                AbortedTransaction::default()
                    .with_producer_id(theirs::ProducerId(producer))
                    .with_first_offset(offset)
            })
            .to_vec(),
    );
    let mut second = partition(5, records[1]).with_error_code(6);
    let third = partition(0, records[2]);
    if version >= 12 {
        second = second
            .with_current_leader(
                LeaderIdAndEpoch::default()
                    .with_leader_id(theirs::BrokerId(3))
                    .with_leader_epoch(17),
            )
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(4).with_end_offset(44));
    }
    let topic = |name: &str, id: u8, partitions| {
        let topic = FetchableTopicResponse::default().with_partitions(partitions);
        if version >= 13 {
            topic.with_topic_id(uuid::Uuid::from_bytes([id; 16]))
        } else {
            topic.with_topic(theirs::TopicName::from(StrBytes::from_string(
                name.to_owned(),
            )))
        }
    };
    let mut body = theirs::FetchResponse::default()
        .with_throttle_time_ms(3)
        .with_responses(vec![
            topic("orders", 1, vec![first, second]),
            topic("b", 2, vec![third]),
        ]);
    if version >= 16 {
        body.node_endpoints = vec![
            NodeEndpoint::default()
                .with_node_id(theirs::BrokerId(3))
                .with_host(StrBytes::from_static_str("b3.example"))
                .with_port(9094),
            NodeEndpoint::default()
                .with_node_id(theirs::BrokerId(4))
                .with_host(StrBytes::from_static_str("b4.example"))
                .with_port(9095)
                .with_rack(Some(StrBytes::from_static_str("r"))),
        ];
    }
    let mut bytes = BytesMut::new();
    theirs::ResponseHeader::default()
        .with_correlation_id(55)
        .encode(&mut bytes, i16::from(version >= 12))
        .unwrap();
    body.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

/// All events with what is there growing by `step` bytes, each event at the first byte it can come.
fn events(version: i16, frame: &[u8], step: usize) -> Result<Vec<FrameEvent>, FrameFault> {
    let mut reader = FrameReader::with_batch_bytes_max(version, 55, frame.len(), 10_000);
    let mut all = Vec::new();
    let mut there = 0;
    loop {
        match reader.next(&frame[..there])? {
            Some(FrameEvent::End) => {
                all.push(FrameEvent::End);
                return Ok(all);
            }
            Some(event) => {
                if let FrameEvent::Batch(batch) = &event {
                    assert!(batch.end <= there, "a batch is reported when it is whole");
                }
                all.push(event);
            }
            None => {
                assert!(
                    there < frame.len(),
                    "the frame is whole and the reader waits"
                );
                there = (there + step).min(frame.len());
            }
        }
    }
}

#[test]
fn every_version_of_the_response_in_any_pieces() {
    let (one, two) = (batch(10, Codec::None, 3), batch(13, Codec::Lz4, 4));
    let records = [&one[..], &two].concat();
    let cut = [&one[..], &two[..70]].concat();
    for version in fetch::VERSION_MIN..=fetch::VERSION_MAX {
        let frame = response(version, [&records, &[], &cut]);
        let whole = events(version, &frame, frame.len()).unwrap();
        for step in [1, 7, 64] {
            assert_eq!(events(version, &frame, step).unwrap(), whole, "{version}");
        }
        let FrameEvent::Response(head) = &whole[0] else {
            panic!("{whole:?}")
        };
        assert_eq!((head.throttle_ms, head.error), (3, ErrorCode::None));
        let partitions: Vec<_> = whole
            .iter()
            .filter_map(|event| match event {
                FrameEvent::Partition(head) => Some(head),
                _ => None,
            })
            .collect();
        let aborted: Vec<_> = partitions[0].aborted.read(&frame).collect();
        assert_eq!(
            aborted,
            [
                Aborted {
                    producer_id: 7,
                    first_offset: Offset(12)
                },
                Aborted {
                    producer_id: 8,
                    first_offset: Offset(5)
                }
            ]
        );
        let key = |head: &fetch::PartitionHead| match &head.topic {
            TopicKey::Id(id) => (Some(*id), String::new()),
            TopicKey::Name(range) => (
                None,
                String::from_utf8(frame[range.clone()].to_vec()).unwrap(),
            ),
        };
        let expected = if version >= 13 {
            [(Some(TopicId([1; 16])), ""), (Some(TopicId([2; 16])), "")]
        } else {
            [(None, "orders"), (None, "b")]
        };
        for (head, (id, name)) in [(partitions[1], expected[0]), (partitions[2], expected[1])] {
            assert_eq!(key(head), (id, name.to_owned()));
        }
        assert_eq!(partitions[1].partition, 5);
        assert_eq!(partitions[1].error, ErrorCode::NotLeaderOrFollower);
        assert_eq!(partitions[1].last_stable_offset, 900);
        assert_eq!(
            partitions[1].log_start_offset,
            if version >= 5 { 10 } else { -1 }
        );
        let batches: Vec<_> = whole
            .iter()
            .filter_map(|event| match event {
                FrameEvent::Batch(batch) => Some(*batch),
                _ => None,
            })
            .collect();
        let sizes: Vec<_> = batches
            .iter()
            .map(|batch| (batch.header.base_offset.0, batch.last_of_partition))
            .collect();
        assert_eq!(sizes, [(10, false), (13, true), (10, false)]);
        assert!(batches.iter().all(|batch| !batch.last_of_frame));
        assert_eq!(&frame[batches[1].range()], &two[..]);
        assert!(whole.contains(&FrameEvent::CutOff {
            size_bytes: Some(two.len())
        }));
        let ends: Vec<_> = whole
            .iter()
            .filter_map(|event| match event {
                FrameEvent::PartitionEnd(end) => Some(*end),
                _ => None,
            })
            .collect();
        let moved = PartitionEnd {
            diverging: Some(Diverging {
                epoch: 4,
                end_offset: Offset(44),
            }),
            current_leader: Some(CurrentLeader {
                leader_id: 3,
                leader_epoch: 17,
            }),
        };
        let expected = if version >= 12 {
            moved
        } else {
            PartitionEnd::default()
        };
        assert_eq!(ends[1], expected);
        let endpoints: Vec<_> = whole
            .iter()
            .filter_map(|event| match event {
                FrameEvent::Endpoint(endpoint) => Some((
                    endpoint.node_id,
                    &frame[endpoint.host.clone()],
                    endpoint.port,
                )),
                _ => None,
            })
            .collect();
        if version >= 16 {
            assert_eq!(
                endpoints,
                [
                    (3, b"b3.example".as_slice(), 9094),
                    (4, b"b4.example".as_slice(), 9095)
                ]
            );
        } else {
            assert!(endpoints.is_empty());
        }
    }
}

#[test]
fn the_last_batch_of_the_frame_is_known_by_its_header() {
    let one = batch(0, Codec::None, 3);
    let frame = response(17, [&[], &[], &one]);
    let mut reader = FrameReader::new(17, 55, frame.len());
    let start = frame.len() - one.len() - 100;
    for there in start..frame.len() {
        while let Some(event) = reader.next(&frame[..there]).unwrap() {
            if let FrameEvent::BatchBegun(batch) = event {
                assert!(batch.last_of_frame);
                assert_eq!(there, batch.start + HEADER_BYTES, "as soon as it can be");
                return;
            }
        }
    }
    panic!("no batch");
}

#[test]
fn an_oversize_batch_is_named_before_it_is_read() {
    let small = batch(0, Codec::None, 2);
    let mut builder = BatchBuilder::new(2);
    builder.push(0, None, Some(&[b'x'; 20_000]));
    let large = builder.build();
    let records = [&small[..], &large, &small].concat();
    let frame = response(13, [&records, &[], &small]);
    for step in [1, 1_000, frame.len()] {
        let all = events(13, &frame, step).unwrap();
        let kinds: Vec<_> = all
            .iter()
            .filter_map(|event| match event {
                FrameEvent::Batch(batch) => Some(batch.header.base_offset.0),
                FrameEvent::Oversize {
                    base_offset,
                    size_bytes,
                } => {
                    assert_eq!(*size_bytes, large.len());
                    Some(-base_offset.0)
                }
                _ => None,
            })
            .collect();
        assert_eq!(kinds, [0, -2, 0, 0]);
    }
}

#[test]
fn a_spoiled_header_costs_its_partition_alone() {
    let good = batch(5, Codec::None, 2);
    let mut old = good.clone();
    old[16] = 1;
    let mut short = good.clone();
    short[8..12].copy_from_slice(&20_i32.to_be_bytes());
    for (bad, expected) in [
        (
            old,
            BatchFault::OldMagic {
                magic: 1,
                offset: Offset(5),
            },
        ),
        (short, BatchFault::BadLength { length: 20 }),
    ] {
        let records = [&good[..], &bad, &good].concat();
        let frame = response(12, [&records, &good, &good]);
        for step in [1, frame.len()] {
            let all = events(12, &frame, step).unwrap();
            assert!(all.contains(&FrameEvent::Spoiled(expected)));
            let batches = all
                .iter()
                .filter(|event| matches!(event, FrameEvent::Batch(_)))
                .count();
            assert_eq!(batches, 3);
        }
    }
}

#[test]
fn a_hostile_response_is_an_error_or_an_answer() {
    let one = batch(0, Codec::None, 2);
    for version in [4, 11, 12, 17] {
        let frame = response(version, [&one, &[], &one]);
        for at in 0..frame.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut bent = frame.clone();
                bent[at] = byte;
                let _ = events(version, &bent, 100);
            }
        }
        // A frame that says it is shorter than its fields, at every length.
        for cut in 0..frame.len() {
            assert!(
                events(version, &frame[..cut], 100).is_err(),
                "{version} {cut}"
            );
        }
        let longer = [&frame[..], &[0]].concat();
        assert_eq!(
            events(version, &longer, 100),
            Err(FrameFault::TrailingBytes { bytes: 1 })
        );
    }
    assert!(matches!(
        events(4, &[0, 0, 0, 1, 0, 0], 1),
        Err(FrameFault::Correlation {
            got: 1,
            expected: 55
        })
    ));
    assert!(fetch::frame_size_bytes([0, 0, 0, 3]).is_err());
    assert!(fetch::frame_size_bytes([0xff, 0, 0, 3]).is_err());
    assert_eq!(fetch::frame_size_bytes([0, 1, 0, 0]), Ok(65_536));
}

/// Our own writer of responses says the same as the other codec, byte for byte.
#[test]
fn a_response_written_here_is_the_same_bytes() {
    use super::fetch::{FetchResponse, ResponsePartition, encode_response};
    let (one, two) = (batch(10, Codec::None, 3), batch(13, Codec::Lz4, 4));
    let aborted = [(7, 12), (8, 5)].map(|(producer_id, first_offset)| Aborted {
        producer_id,
        first_offset: Offset(first_offset),
    });
    for version in fetch::VERSION_MIN..=fetch::VERSION_MAX {
        let partition = |topic, id, partition, records| ResponsePartition {
            topic,
            topic_id: TopicId([id; 16]),
            partition,
            error: ErrorCode::None,
            high_watermark: 1_000,
            last_stable_offset: 900,
            log_start_offset: 10,
            aborted: &[],
            diverging: None,
            current_leader: None,
            records,
        };
        let partitions = [
            ResponsePartition {
                aborted: &aborted,
                ..partition("orders", 1, 0, &one)
            },
            ResponsePartition {
                error: ErrorCode::NotLeaderOrFollower,
                diverging: Some(Diverging {
                    epoch: 4,
                    end_offset: Offset(44),
                }),
                current_leader: Some(CurrentLeader {
                    leader_id: 3,
                    leader_epoch: 17,
                }),
                ..partition("orders", 1, 5, &[])
            },
            partition("b", 2, 0, &two),
        ];
        let response_here = FetchResponse {
            version,
            correlation_id: 55,
            throttle_ms: 3,
            error: ErrorCode::None,
            session_id: 0,
            partitions: &partitions,
            endpoints: &[(3, "b3.example", 9094)],
        };
        let mut out = Vec::new();
        encode_response(&mut out, &response_here);
        let size = fetch::frame_size_bytes(out[..4].try_into().unwrap()).unwrap();
        assert_eq!(size, out.len() - 4);
        let here = events(version, &out[4..], 50).unwrap();
        let frame = response(version, [&one, &[], &two]);
        if version < 16 {
            assert_eq!(out[4..], frame, "{version}");
        }
        // The other codec's response names one endpoint more.
        let there = events(version, &frame, 50).unwrap();
        let last = here.len() - 1;
        assert_eq!(here[..last], there[..last], "{version}");
    }
}

#[test]
fn a_response_names_no_more_endpoints_than_a_cluster_has_brokers() {
    use super::fetch::{FetchResponse, encode_response};
    let named = |count: usize| {
        let endpoints = vec![(3, "b", 9094); count];
        let mut out = Vec::new();
        encode_response(
            &mut out,
            &FetchResponse {
                version: fetch::VERSION_MAX,
                correlation_id: 55,
                throttle_ms: 0,
                error: ErrorCode::None,
                session_id: 0,
                partitions: &[],
                endpoints: &endpoints,
            },
        );
        events(fetch::VERSION_MAX, &out[4..], out.len())
    };
    assert!(named(crate::limits::BROKERS_MAX).is_ok());
    assert!(matches!(
        named(crate::limits::BROKERS_MAX + 1),
        Err(FrameFault::Malformed { .. })
    ));
}

/// The texts that docs/errors.md quotes.
#[test]
fn what_a_broker_may_send_is_named_exactly() {
    let good = batch(7, Codec::None, 3);
    let bent = |at: usize, bytes: &[u8]| {
        let mut batch = good.clone();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        let outcome = walk(&batch, &mut Decompressor::new(1 << 20));
        outcome.unwrap_err().to_string()
    };
    assert_eq!(
        bent(16, &[1]),
        "message format 1 at offset 7 is not supported, only 2 (Kafka 0.11 and later): \
         rewrite the topic's old segments or start past them"
    );
    assert_eq!(bent(16, &[9]), "unknown message format 9");
    assert_eq!(bent(8, &[0xff; 4]), "a record batch length of -1");
    assert_eq!(bent(22, &[7]), "unknown compression codec 7");
    assert_eq!(bent(57, &[0, 0, 0, 9]), "9 records in 2 + 1 offsets");
    assert_eq!(
        bent(0, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        "offsets 9223372036854775807 + 2 are out of range"
    );
    let text = bent(70, &[0xff]);
    assert!(text.starts_with("record batch checksum is "), "{text}");
    assert_eq!(
        walk(&good[..100], &mut Decompressor::default())
            .unwrap_err()
            .to_string(),
        format!("the record batch is cut off: 100 bytes of {}", good.len())
    );
    let bent_body = |codec, body: &[u8]| {
        walk(
            &with_body(&good, codec, body),
            &mut Decompressor::new(1 << 20),
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(bent_body(4, b"no"), "the zstd body is not a valid stream");
    assert_eq!(bent_body(0, &[0x0c]), "record 0 of the batch: cut off");
    let mut builder = BatchBuilder::new(0);
    builder.codec = Codec::Gzip;
    builder.push(0, None, Some(&vec![b'x'; 2 << 20]));
    assert_eq!(
        walk(&builder.build(), &mut Decompressor::new(1 << 20))
            .unwrap_err()
            .to_string(),
        "the gzip body unpacks to more than 1048576 bytes"
    );
    assert_eq!(
        fetch::frame_size_bytes([0xff; 4]).unwrap_err().to_string(),
        "a response of -1 bytes"
    );
}
