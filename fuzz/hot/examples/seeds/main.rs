//! Writes the seeds of the hot path's targets, from bytes that real brokers and our own leaf wrote.
//!
//! `cargo run -p fuzz-hot --example seeds -- FOLDER`: a folder for each target below it. Sources: the
//! captures of `engine/ingest/tests/captures` and the golden files of `storage/tests`. What a fuzzer
//! made of them and `fuzz/run --minimise` kept is `fuzz/corpus`.

use std::fs;
use std::path::Path;

use fuzz_hot::corpus::{put, tree};
use ingest::kafka::fetch::{FrameEvent, FrameReader};
use ingest::kafka::requests::Api;

#[allow(dead_code, reason = "golden.rs uses the rest")]
#[path = "../../../../storage/tests/sample/mod.rs"]
mod sample;

mod small;

fn main() {
    let out = std::env::args().nth(1).expect("where to write?");
    let out = Path::new(&out);
    fetch_responses(out);
    kafka_responses(out);
    json(out);
    segments(out);
}

/// Name, version and bytes of each capture in a folder.
fn captures(folder: &str) -> Vec<(String, i16, Vec<u8>)> {
    let folder = tree().join("engine/ingest/tests/captures").join(folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("captures") {
        let path = entry.expect("a capture").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let Some((name, version)) = name
            .strip_suffix(".bin")
            .and_then(|name| name.rsplit_once(".v"))
        else {
            continue;
        };
        let version = version.parse().expect("a version");
        found.push((name.to_owned(), version, fs::read(&path).expect("read")));
    }
    found.sort();
    found
}

fn fetch_responses(out: &Path) {
    for (name, version, frame) in captures("") {
        // In pieces of up to 128 bytes.
        let input = [&[(version - 4) as u8, 0b10_000, 7], frame.as_slice()].concat();
        put(out, "fetch_response", &format!("{name}.v{version}"), &input);
        let batches = batches(version, &frame);
        if version == 17 {
            let mut input = vec![0b1_0001];
            for batch in &batches {
                input.extend_from_slice(&(batch.len() as u32).to_le_bytes());
                input.extend_from_slice(batch);
            }
            put(out, "record_batch", &name, &input);
        }
    }
}

fn batches(version: i16, frame: &[u8]) -> Vec<Vec<u8>> {
    let correlation_id = i32::from_be_bytes(*frame.first_chunk().expect("a frame"));
    let mut reader = FrameReader::new(version, correlation_id, frame.len());
    let mut batches = Vec::new();
    loop {
        match reader.next(frame).expect("sound").expect("whole") {
            FrameEvent::Batch(batch) => batches.push(frame[batch.range()].to_vec()),
            FrameEvent::End => return batches,
            _ => {}
        }
    }
}

fn kafka_responses(out: &Path) {
    for (name, version, frame) in captures("answers") {
        let question = name.split('-').next().unwrap_or_default();
        let api = match question {
            "api_versions" => Api::ApiVersions,
            "epoch_ends" => Api::OffsetForLeaderEpoch,
            "find_coordinator" => Api::FindCoordinator,
            "list_offsets" => Api::ListOffsets,
            "metadata" => Api::Metadata,
            "offset_commit" => Api::OffsetCommit,
            "offset_fetch" => Api::OffsetFetch,
            other => panic!("no question {other}"),
        };
        let at = Api::ALL.iter().position(|one| *one == api).expect("known") as u8;
        let version_at = (version - api.spoken().0) as u8;
        let input = [&[at, version_at], frame.as_slice()].concat();
        put(
            out,
            "kafka_responses",
            &format!("{name}.v{version}"),
            &input,
        );
    }
    // OffsetCommit 2: a topic with a long name and many partitions of six bytes.
    let mut input = vec![3, 0, 0, 0, 0, 7, 0, 0, 0, 1];
    input.extend_from_slice(&2_000_u16.to_be_bytes());
    input.extend_from_slice(&[b'n'; 2_000]);
    input.extend_from_slice(&500_u32.to_be_bytes());
    input.extend_from_slice(&[0; 6 * 500]);
    put(out, "kafka_responses", "long-topic", &input);
}

/// The values that the captured topics hold, and what is hard about JSON.
fn json(out: &Path) {
    // id BIGINT, note VARCHAR(20), price DECIMAL(18,4), % JSON.
    let mapping = [3, 0, 0b100, 2, 1, 0b100, 8, 4, 0b100, 9, 2, 0];
    let expected = tree().join("engine/ingest/tests/captures/rdkafka-none.expected");
    let expected = fs::read_to_string(expected).expect("read");
    let values: Vec<Vec<u8>> = expected
        .lines()
        .filter_map(|line| line.rsplit('\t').next().and_then(unhex))
        .collect();
    for (at, values) in values.chunks(8).enumerate() {
        let input = [&mapping[..], &values.join(&0xff)].concat();
        put(out, "json", &format!("captured-{at}"), &input);
    }
    // a BIGINT, b DATETIME(6) with a DEFAULT, a.b DOUBLE, b DATE.
    let mapping = [
        3,
        0,
        0b100,
        0,
        5,
        0b1100_0100,
        1,
        3,
        0b1000,
        0,
        1,
        20,
        0b1100_0100,
        1,
    ];
    let messages: &[&[u8]] = &[
        br#"{"a":1,"b":"2024-02-29T23:59:59.999999Z"}"#,
        br#"{"a":{"b":-1.5e300},"b":"0000-01-01 00:00:00+14:00"}"#,
        br#" { "b" : "9999-12-31" , "a" : { "b" : 1 } } "#,
        br#"{"a":1,"a":{"b":2},"b":null}{"a":[]}"#,
        br#"{"\u0061":9223372036854775808,"b":"\ud83d\ude00"}"#,
        b"[[[[]]]] \"\xff",
        b"\xef\xbb\xbf{}",
        br#"{"a":tru"#,
    ];
    put(
        out,
        "json",
        "times",
        &[&mapping[..], &messages.join(&0xff)].concat(),
    );
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn segments(out: &Path) {
    let golden =
        |name: &str| fs::read(tree().join("storage/tests/golden").join(name)).expect("read");
    // Lineage 2, live from 1; sequence 3, rewrite 0.
    let directory = |how: u8, files: &[(u8, u8, &[u8])]| {
        let mut input = vec![how, 2, 1];
        for (sequence, rewrite, bytes) in files {
            input.extend_from_slice(&[*sequence, *rewrite]);
            input.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            input.extend_from_slice(bytes);
        }
        input
    };
    let (open, sealed) = (golden("open.arrow"), golden("sealed.arrow"));
    put(
        out,
        "segments",
        "golden-open",
        &directory(0, &[(3, 0, &open)]),
    );
    put(
        out,
        "segments",
        "golden-sealed",
        &directory(1, &[(3, 0, &sealed)]),
    );
    for (name, files) in small::chains() {
        let files: Vec<_> = files
            .iter()
            .map(|(s, r, bytes)| (*s, *r, bytes.as_slice()))
            .collect();
        for how in [0, 1, 3] {
            put(
                out,
                "segments",
                &format!("{name}-{how}"),
                &directory(how, &files),
            );
        }
    }
}
