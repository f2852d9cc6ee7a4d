//! A real Kafka's bytes, read as a leaf reads them, against what an independent client saw there.
//!
//! How the files were made: `captures/PROVENANCE.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ingest::kafka::fetch::{
    FetchSession, FrameEvent, FrameReader, PartitionHead, SessionAnswer, SessionFault, SessionPlace,
};
use ingest::kafka::{
    AbortedFilter, BatchFate, BatchHeader, Codec, Decompressor, ErrorCode, Marker, TimestampType,
};

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// Everything that one capture holds.
#[derive(Default)]
struct Walked {
    head: Option<PartitionHead>,
    headers: Vec<BatchHeader>,
    markers: Vec<Marker>,
    aborted_records: usize,
    gaps: i64,
    cut_off: bool,
    /// In the form of the `.expected` files.
    text: String,
}

/// Walks a response that arrives in pieces of `step` bytes.
fn walk(version: i16, frame: &[u8], step: usize) -> Walked {
    let correlation_id = i32::from_be_bytes(frame[..4].try_into().unwrap());
    let mut reader = FrameReader::new(version, correlation_id, frame.len());
    let mut decompressor = Decompressor::default();
    let mut filter = AbortedFilter::default();
    let mut walked = Walked::default();
    let mut there = 0;
    loop {
        match reader.next(&frame[..there]).unwrap() {
            None => there = (there + step).min(frame.len()),
            Some(FrameEvent::Response(head)) => assert_eq!(head.error, ErrorCode::None),
            Some(FrameEvent::Partition(head)) => {
                assert_eq!(head.error, ErrorCode::None);
                filter.begin(head.aborted.read(frame));
                walked.head = Some(head);
            }
            Some(FrameEvent::Batch(batch)) => {
                let bytes = &frame[batch.range()];
                load(bytes, &mut filter, &mut decompressor, &mut walked);
            }
            Some(FrameEvent::CutOff { .. }) => walked.cut_off = true,
            Some(FrameEvent::BatchBegun(_) | FrameEvent::PartitionEnd(_)) => {}
            Some(FrameEvent::End) => return walked,
            Some(event) => panic!("{event:?}"),
        }
    }
}

fn load(
    bytes: &[u8],
    filter: &mut AbortedFilter,
    decompressor: &mut Decompressor,
    walked: &mut Walked,
) {
    let header = BatchHeader::parse(bytes).unwrap();
    header.check_crc(bytes).unwrap();
    let fate = filter.fate(&header);
    let mut records = decompressor
        .open(&header, header.body(bytes).unwrap())
        .unwrap();
    walked.gaps += i64::from(header.last_offset_delta) + 1 - i64::from(header.record_count);
    walked.headers.push(header);
    match fate {
        BatchFate::Control => {
            let marker = Marker::of(&mut records).unwrap().unwrap();
            filter.marker(&header, marker);
            walked.markers.push(marker);
        }
        BatchFate::Aborted => walked.aborted_records += records.remaining() as usize,
        BatchFate::Data => {
            while let Some(record) = records.next() {
                let record = record.unwrap();
                let (key, value) = (hex(record.key), hex(record.value));
                let (offset, time) = (record.offset, record.timestamp_ms);
                writeln!(walked.text, "{offset}\t{time}\t{key}\t{value}").unwrap();
            }
        }
    }
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(
        || "-".to_owned(),
        |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

fn capture(name: &str, version: i16) -> Walked {
    let frame = fs::read(captures().join(format!("{name}.v{version}.bin"))).unwrap();
    let expected = fs::read_to_string(captures().join(format!("{name}.expected"))).unwrap();
    let whole = walk(version, &frame, frame.len());
    assert_eq!(whole.text, expected, "{name} v{version}");
    for step in [1, 61] {
        let pieces = walk(version, &frame, step);
        assert_eq!(pieces.text, expected, "{name} v{version} by {step}");
    }
    whole
}

#[test]
fn every_codec_of_two_producers() {
    let codecs = [
        ("none", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ];
    for (name, codec) in codecs {
        let walked = capture(&format!("rdkafka-{name}"), 17);
        assert_eq!(walked.headers.len(), 3);
        assert!(walked.headers.iter().all(|header| header.codec == codec));
        if codec != Codec::None {
            let walked = capture(&format!("java-{name}"), 17);
            assert!(walked.headers.iter().all(|header| header.codec == codec));
        }
    }
    // The two framings of snappy are both there.
    let framed = |name: &str| {
        let frame = fs::read(captures().join(name)).unwrap();
        frame.windows(8).any(|bytes| bytes == b"\x82SNAPPY\0")
    };
    assert!(framed("java-snappy.v17.bin"));
    assert!(!framed("rdkafka-snappy.v17.bin"));
}

#[test]
fn every_version_of_the_response_and_log_append_time() {
    for version in 4..=17 {
        let walked = capture("append-time", version);
        let appended = |header: &BatchHeader| header.timestamp_type == TimestampType::LogAppendTime;
        assert!(walked.headers.iter().all(appended));
        let head = walked.head.unwrap();
        assert_eq!((head.high_watermark, head.last_stable_offset), (24, 24));
        assert_eq!(head.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
}

#[test]
fn transactions_that_overlap() {
    for version in [4, 11, 17] {
        let walked = capture("transactions", version);
        let count = |marker| walked.markers.iter().filter(|one| **one == marker).count();
        assert_eq!((count(Marker::Commit), count(Marker::Abort)), (2, 3));
        assert_eq!(walked.aborted_records, 12);
        assert_eq!(walked.head.unwrap().aborted.len(), 3);
    }
}

#[test]
fn what_compaction_leaves() {
    let walked = capture("compacted", 17);
    assert!(walked.gaps > 0, "gaps within a batch");
    let empty = |header: &&BatchHeader| header.record_count == 0;
    assert_eq!(
        walked.headers.iter().filter(empty).count(),
        1,
        "the idempotent producer's batch is kept without its records"
    );
}

#[test]
fn a_last_batch_that_is_cut_off() {
    let walked = capture("cut-off", 17);
    assert!(walked.cut_off);
    assert_eq!(walked.headers.len(), 2);
}

/// What a captured answer does to a session, and the partitions that it names with their records.
fn answer(
    session: &mut FetchSession,
    asked: SessionPlace,
    name: &str,
    version: i16,
) -> (Result<SessionAnswer, SessionFault>, Vec<(i32, i64)>) {
    let name = format!("session-{name}.v{version}.bin");
    let frame = fs::read(captures().join(name)).unwrap();
    let correlation_id = i32::from_be_bytes(frame[..4].try_into().unwrap());
    let mut reader = FrameReader::new(version, correlation_id, frame.len());
    let (mut said, mut named) = (None, Vec::new());
    loop {
        match reader.next(&frame).unwrap().unwrap() {
            FrameEvent::Response(head) => said = Some(session.answered(asked, &head)),
            FrameEvent::Partition(head) => named.push((head.partition, 0)),
            FrameEvent::Batch(batch) => {
                named.last_mut().unwrap().1 += i64::from(batch.header.record_count);
            }
            FrameEvent::End => return (said.unwrap(), named),
            _ => {}
        }
    }
}

#[test]
fn a_session_from_its_beginning_to_each_of_its_ends() {
    for version in [7, 12, 17] {
        let mut session = FetchSession::new();
        let first = session.next(true);
        let (said, mut named) = answer(&mut session, first, "made", version);
        named.sort_unstable();
        assert_eq!(
            (said, named),
            (Ok(SessionAnswer::Full), vec![(0, 0), (1, 3), (2, 0)])
        );
        let id = session.next(true).id;
        assert!(id > 0);
        for (epoch, name, expected) in [
            (1, "nothing", vec![]),
            // Only what has records is named, and what was forgotten is not, records or not.
            (2, "changed", vec![(2, 2)]),
            (3, "forgotten", vec![]),
        ] {
            let next = session.next(true);
            assert_eq!(next, SessionPlace { id, epoch });
            let answer = answer(&mut session, next, name, version);
            assert_eq!(
                answer,
                (Ok(SessionAnswer::Changes), expected),
                "{name} v{version}"
            );
        }
        let ends = [
            ("epoch", version, ErrorCode::InvalidFetchSessionEpoch, id),
            ("unknown", version, ErrorCode::FetchSessionIdNotFound, 0),
            ("names", 12, ErrorCode::FetchSessionTopicIdError, id),
        ];
        for (name, version, error, given_up) in ends {
            let mut session = session;
            let next = session.next(true);
            let lost = answer(&mut session, next, name, version);
            assert_eq!(
                lost,
                (Ok(SessionAnswer::Lost(error)), vec![]),
                "{name} v{version}"
            );
            let anew = SessionPlace {
                id: given_up,
                epoch: 0,
            };
            assert_eq!(session.next(true), anew);
        }
    }
}

#[test]
fn no_capture_is_left_out() {
    let all: BTreeSet<_> = fs::read_dir(captures())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".bin"))
        .collect();
    let sessions = 3 * 6 + 1;
    assert_eq!(all.len(), 5 + 4 + 14 + 3 + 1 + 1 + sessions, "{all:?}");
}
