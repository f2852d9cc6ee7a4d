//! `pinleaf inspect` says what a file holds, word for word, and where it is damaged, byte for byte.

#[allow(dead_code, reason = "golden.rs and hostile.rs use the rest")]
mod sample;

use std::path::Path;
use std::sync::Arc;

use sample::{following, of_commits, sample};
use storage::format::{CommitRecord, encode_copy, encode_header, encode_seal, parse_commit};
use storage::ids::Rewrite;
use storage::inspect::{FileBytes, MapBytes, Message, SegmentBytes, SegmentReader, inspect};
use storage::limits::SEGMENT_COMMITS_MAX;
use storage::map::Map;
use storage::segment::{Alarm, SegmentFile};

/// What is said of a file with these bytes, without its name, which stands first.
fn said(name: &str, bytes: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("inspect-{name}"));
    std::fs::write(&path, bytes).expect("the target directory can be written");
    let report = inspect(&path).expect("readable");
    let text = report.to_string();
    assert_eq!(report.is_sound(), text.ends_with("\nsound"), "{text}");
    let text = text.strip_prefix(&format!("{}: ", path.display()));
    text.expect("its name first").to_owned()
}

/// The last lines: from the one on that counts the commits.
fn end(text: &str) -> &str {
    let at = text.rfind(" commits, ").expect("a count");
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    &text[line..]
}

#[test]
fn a_sealed_segment_is_described() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sealed.txt");
    let kept = std::fs::read_to_string(kept).expect("it is there");
    assert_eq!(said("sealed.arrow", &sample().sealed()), kept.trim_end());
}

#[test]
fn a_header_is_said_to_vouch_for_what_stands_before_it() {
    let mut header = sample().header.header;
    header.behind_durable = true;
    let text = said("vouches.arrow", &encode_header(&header).1);
    let vouches = "up to offset 1000, before commit 11, durable when this was made\n";
    assert!(text.contains(vouches), "{text}");
}

#[test]
fn an_open_segment_may_end_in_zeros_and_in_nothing_else() {
    let open = sample().open();
    let sound = "4 commits, 91 rows, open\nsound";
    assert_eq!(end(&said("open.arrow", &open)), sound);
    let at = open.len();
    let damage = format!("damage: zeros where a message should start at byte {at}\nNOT SOUND");
    // Less than a piece that is read at a time, one, and more.
    for zeros in [64, 1 << 20, (1 << 20) + 64] {
        let mut bytes = open.clone();
        bytes.resize(at + zeros, 0);
        assert_eq!(end(&said("zeros.arrow", &bytes)), sound, "{zeros} zeros");
        *bytes.last_mut().expect("zeros") = 1;
        let text = said("zeros.arrow", &bytes);
        assert!(text.ends_with(&damage), "{zeros} zeros: {text}");
    }
    let mut bytes = open;
    bytes.extend([7; 64]);
    let damage = format!("damage: no message starts here at byte {at}\nNOT SOUND");
    let text = said("garbage.arrow", &bytes);
    assert!(text.ends_with(&damage), "{text}");
}

#[test]
fn damage_of_a_body_is_said_with_its_byte() {
    let segment = sample();
    let (at, encoded) = &segment.commits[0];
    let body_at = at + u64::from(encoded.record.head_bytes);
    let flipped = |byte: u64| {
        let mut bytes = segment.open();
        bytes[byte as usize] ^= 1;
        said("flipped.arrow", &bytes)
    };
    let line =
        |what: &str, byte: u64| format!("  metadata checksum good, body: {what} at byte {byte}\n");
    let values = &encoded.record.columns[1].buffers[1];
    assert!(values.at > 0 && values.bytes % 64 == 20);
    let text = flipped(body_at + values.at + 3);
    let mismatch = "checksum mismatch in column 1, buffer 1";
    assert!(
        text.contains(&line(mismatch, body_at + values.at)),
        "{text}"
    );
    // Between two buffers, and behind the last.
    let padding = "a byte that is not zero between two buffers";
    for byte in [
        body_at + values.at + 25,
        body_at + encoded.record.body_bytes - 1,
    ] {
        let text = flipped(byte);
        assert!(text.contains(&line(padding, byte)), "{text}");
    }
}

#[test]
fn a_seal_says_what_stands_before_it() {
    let segment = sample();
    let records: Vec<(u64, CommitRecord)> = segment
        .commits
        .iter()
        .map(|(at, encoded)| (*at, encoded.record.clone()))
        .collect();
    let sealed = |records: &[(u64, CommitRecord)]| {
        let mut bytes = segment.open();
        let records: Vec<_> = records.iter().map(|(at, record)| (*at, record)).collect();
        let seal = encode_seal(&segment.header.header, &records, bytes.len() as u64);
        bytes.extend(seal);
        said("index.arrow", &bytes)
    };
    let good = "4 commits, 91 rows, sealed: end of stream, index and footer good\nsound";
    assert_eq!(end(&sealed(&records)), good);
    let torn = |text: &str| {
        let at = segment.open().len();
        let torn = "4 commits, 91 rows, seal torn: field index makes no sense";
        assert_eq!(end(text), format!("{torn} at byte {at}\nNOT SOUND"));
    };
    torn(&sealed(&[]));
    torn(&sealed(&records[1..]));
    let mut other = records;
    other[2].1.durable_end += 64;
    torn(&sealed(&other));
}

#[test]
fn a_merged_segment_may_leave_numbers_out_and_says_what_it_stands_for() {
    let segment = following(None);
    let mut header = segment.header.header.clone();
    let bytes = |header: &storage::format::SegmentHeader, from: usize| {
        let (parsed, mut bytes) = encode_header(header);
        let (_, first) = &segment.commits[0];
        let (_, third) = &segment.commits[from];
        let replaced = [first.record.facts, segment.commits[1].1.record.facts];
        let sum = storage::format::CommitFacts::sum(&replaced);
        let merged = CommitRecord {
            facts: storage::format::CommitFacts {
                rows: first.record.facts.rows,
                ..sum
            },
            ..first.record.clone()
        };
        for (record, encoded, replaced) in
            [(&merged, first, &replaced[..]), (&third.record, third, &[])]
        {
            let (_, head) = encode_copy(&parsed, record, replaced);
            bytes.extend(head);
            let body = encoded.to_vec();
            bytes.extend(&body[encoded.record.head_bytes as usize..]);
        }
        bytes
    };
    header.id.rewrite = Rewrite(1);
    let text = said("merged.arrow", &bytes(&header, 2));
    let lines = text.matches("  stands for 2 commits that were merged\n");
    assert_eq!(lines.count(), 1, "{text}");
    assert!(text.ends_with("2 commits, 20 rows, open\nsound"), "{text}");
    // The fault's commit covers no offset: without it a number is missing, which only a merge may do.
    let missing = said("missing.arrow", &bytes(&header, 3));
    assert!(
        missing.ends_with("2 commits, 90 rows, open\nsound"),
        "{missing}"
    );
    header.id.rewrite = Rewrite(0);
    let missing = said("missing.arrow", &bytes(&header, 3));
    let number = "damage: commit number 14, expected 13 at byte ";
    assert!(missing.contains(number), "{missing}");
}

#[test]
fn no_more_commits_are_walked_than_a_segment_has() {
    let commits = SEGMENT_COMMITS_MAX as usize;
    let text = said("many.arrow", &of_commits(commits + 1).open());
    assert!(
        end(&text).starts_with("4096 commits, 0 rows, open"),
        "{}",
        end(&text)
    );
}

#[test]
fn a_map_is_read_as_its_file_is() {
    let segment = sample();
    let bytes = segment.sealed();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inspect-map.arrow");
    std::fs::write(&path, &bytes).expect("the target directory can be written");
    let file = FileBytes::new(std::fs::File::open(&path).expect("there")).expect("its length");
    let pages = Map::open(&path, 0).expect("a map");
    let mapped = SegmentFile::new(
        segment.header.clone(),
        path,
        Arc::new(pages),
        Arc::new(Alarm::default()),
    );
    let content = segment.open().len();
    let map = MapBytes::new(Arc::new(mapped), content as u64);
    assert_eq!(
        (file.bytes(), map.bytes()),
        (bytes.len() as u64, content as u64)
    );
    for (at, len) in [(0, 64), (64, 0), (1_000, content - 1_000)] {
        let read = |source: &dyn SegmentBytes| source.read(at, len).expect("there").to_vec();
        assert_eq!(read(&map), bytes[at as usize..at as usize + len]);
        assert_eq!(read(&map), read(&file));
    }
    assert!(map.read(bytes.len() as u64, 1).is_err());
    let reader = SegmentReader::new(Box::new(map));
    let header = reader.header().expect("read").expect("a header");
    assert_eq!(header, segment.header);
    let (at, _) = &segment.commits[3];
    let Message::Commit(record, batches) = reader.message(*at).expect("read") else {
        panic!("a commit stands there")
    };
    assert_eq!(Ok(&*record), parse_commit(&bytes[*at as usize..]).as_ref());
    assert_eq!(batches, [record.facts]);
}
