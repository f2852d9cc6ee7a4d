//! The format, byte by byte: segments made from fixed input are compared with files kept here, read
//! back through maps, and survive being cut and flipped. A change of a byte is a change of the format:
//! raise `FORMAT_VERSION`, then take the new files from where the failing test says it left them.

#[allow(dead_code, reason = "hostile.rs uses the rest")]
mod sample;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use sample::{BAD_MESSAGE, sample};
use storage::counts::Counts;
use storage::error::StorageError;
use storage::format::{check_body, check_commit, parse_commit, parse_header, parse_seal};
use storage::ids::Offset;
use storage::inspect::inspect;
use storage::limits::SEGMENT_MAP_BYTES;
use storage::map::{Map, Pages};
use storage::published::{Durable, PartitionView, Published};
use storage::segment::{Alarm, Commit, Open, Segment, SegmentFile};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A file under the target directory, its own for each test.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).expect("the target directory can be written");
    path
}

#[test]
fn segments_are_what_they_were() {
    let segment = sample();
    let now = [
        ("open.arrow", segment.open()),
        ("sealed.arrow", segment.sealed()),
    ];
    let differs: Vec<String> = now
        .iter()
        .filter_map(|(name, bytes)| {
            let kept = std::fs::read(golden(name)).unwrap_or_default();
            let at = bytes.iter().zip(&kept).position(|(a, b)| a != b);
            let left = || scratch(name, bytes).display().to_string();
            (*bytes != kept).then(|| format!("{name} at byte {at:?}, now in {}", left()))
        })
        .collect();
    assert!(differs.is_empty(), "the format has changed: {differs:?}");
}

#[test]
fn metadata_says_what_was_written() {
    let segment = sample();
    let bytes = segment.sealed();
    let header = parse_header(&bytes).expect("a header");
    assert_eq!(header, segment.header);
    let mut at = header.bytes as usize;
    for (expected_at, encoded) in &segment.commits {
        assert_eq!(at as u64, *expected_at);
        assert_eq!(at % 64, 0);
        let record = parse_commit(&bytes[at..]).expect("a record");
        assert_eq!(record, encoded.record);
        assert_eq!(check_commit(&record, &header), Ok(()));
        let end = at + record.message_bytes() as usize;
        assert_eq!(
            check_body(&record, &bytes[at + record.head_bytes as usize..end]),
            Ok(())
        );
        at = end;
    }
    let read = |at: u64, len: usize| Ok::<_, ()>(bytes[at as usize..at as usize + len].to_vec());
    let seal = parse_seal(bytes.len() as u64, read)
        .expect("read")
        .expect("a seal");
    assert_eq!(seal.content_end, at as u64);
    let records: Vec<_> = segment
        .commits
        .iter()
        .map(|(at, c)| (*at, c.record.clone()))
        .collect();
    assert_eq!(seal.commits, records);
    // The index without its head, its tail and the padding is what the records say.
    let index_at = seal.content_end as usize + 8;
    let footer_at = |from: usize| (from..bytes.len()).find(|at| index_own(&bytes, index_at, *at));
    let index_bytes = footer_at(index_at).expect("an index") - index_at;
    let said: u64 = seal.commits.iter().map(|(_, r)| r.index_bytes_max()).sum();
    let said = said as usize + 24 + 8;
    assert!(
        (said..said + 64).contains(&index_bytes),
        "{said} {index_bytes}"
    );
    let kinds: Vec<(u32, u32, Counts)> = records
        .iter()
        .map(|(_, r)| (r.facts.rows, r.facts.rejects, r.facts.counts))
        .collect();
    assert_eq!(kinds[2].0, 0, "a commit that carries only a fault");
    assert_eq!((kinds[2].1, kinds[2].2), (1, Counts::default()));
}

/// Whether an index that begins at `from` ends at `at`, by the length that it says.
fn index_own(bytes: &[u8], from: usize, at: usize) -> bool {
    let length = at
        .checked_sub(8)
        .and_then(|tail| bytes[tail..].first_chunk());
    at > from + 32 && length.is_some_and(|b| u32::from_le_bytes(*b) as usize == at - from)
}

/// The segment as a file, attached as recovery would.
fn attached(name: &str, bytes: &[u8]) -> (Arc<SegmentFile>, Vec<Arc<Commit>>, Arc<Alarm>) {
    let path = scratch(name, bytes);
    let header = parse_header(bytes).expect("a header");
    let alarm = Arc::new(Alarm::default());
    // The map reaches beyond the file's end, as an open segment's does.
    let pages = Map::open(&path, 1 << 20).expect("a map");
    let file = SegmentFile::new(header, path, Arc::new(pages), Arc::clone(&alarm));
    let commits = sample().commits.into_iter();
    let commits = commits.map(|(at, encoded)| Arc::new(Commit::new(encoded.record, at)));
    (Arc::new(file), commits.collect(), alarm)
}

fn view() -> PartitionView {
    let header = sample().header.header;
    let partition = header.kafka_partition;
    PartitionView::new(
        header.table,
        header.id.leaf_partition,
        partition,
        header.schema,
        Offset(0),
    )
}

#[test]
fn a_snapshot_reads_rows_rejects_and_history_over_the_map() {
    let (file, commits, _) = attached("snapshot.arrow", &sample().open());
    let open = Arc::new(Open::new(file));
    for (index, commit) in commits.iter().enumerate() {
        open.push(index as u32, Arc::clone(commit)).expect("room");
    }
    let view = view();
    assert_eq!(
        (view.snapshot().rows(), view.snapshot().next_offset()),
        (0, Offset(0))
    );
    view.publish(Published {
        open: Some(Arc::clone(&open)),
        open_commits: 4,
        durable: Durable {
            sequence: sample().header.header.id.sequence,
            commits: 1,
        },
        ..Published::empty(Offset(0))
    });
    let snapshot = view.snapshot();
    assert_eq!(snapshot.rows(), sample().rows());
    assert_eq!(snapshot.parts().len(), 3, "the fault's commit holds no row");
    assert_eq!(snapshot.next_offset(), sample().next_offset());
    let durable = snapshot.durable_prefix();
    assert_eq!(durable.rows(), u64::from(snapshot.parts()[0].rows()));
    assert_eq!(durable.next_offset(), snapshot.parts()[0].next_offset());
    let columns: Vec<usize> = (0..sample().header.header.schema.columns.len() + 2).collect();
    let offset_column = columns.len() - 2;
    let mut offsets = Vec::new();
    for part in snapshot.parts() {
        part.prefetch(&columns).expect("read ahead");
        let arrays = part.read(&columns).expect("sound columns");
        for array in &arrays {
            assert!(array.to_data().validate_full().is_ok());
            assert_eq!(array.len(), part.rows() as usize);
        }
        offsets.extend_from_slice(arrays[offset_column].as_primitive::<Int64Type>().values());
        let statistics = part.statistics(offset_column).expect("statistics");
        assert_eq!(statistics.null_count, 0);
    }
    assert_eq!(offsets, sample().offsets);
    let arrays = snapshot.parts()[0].read(&columns).expect("sound columns");
    assert_eq!(
        arrays[7].as_primitive::<Decimal128Type>().value(0),
        sample::decimal(0)
    );
    let rejects: Result<Vec<_>, _> = snapshot.rejects().collect();
    let rejects = rejects.expect("sound rejects");
    assert_eq!(rejects.len(), 3);
    assert_eq!(rejects[0].message, BAD_MESSAGE);
    assert_eq!(rejects[0].batch.map(|batch| batch.commit_number), Some(11));
    assert!(rejects[2].kind.is_fault());
    let numbers: Vec<u64> = snapshot
        .commits()
        .map(|facts| facts.expect("sound").commit_number)
        .collect();
    assert_eq!(numbers, [11, 12, 13, 14]);
    let newest = snapshot.last_commit().expect("a commit");
    assert_eq!(newest.commit_number, 14);
    // Sealed, it is the same.
    view.publish(Published {
        sealed: Arc::new([Arc::new(Segment::from_open(&open, 4))]),
        ..Published::empty(Offset(0))
    });
    assert_eq!(view.snapshot().rows(), snapshot.rows());
    assert_eq!(view.snapshot().next_offset(), snapshot.next_offset());
    assert_eq!(view.snapshot().durable_prefix().rows(), 0);
}

#[test]
fn a_map_shows_what_is_appended_after_it_was_made() {
    let segment = sample();
    let bytes = segment.open();
    let path = scratch("grows.arrow", &bytes[..segment.header.bytes as usize]);
    let pages = Map::open(&path, SEGMENT_MAP_BYTES).expect("a map");
    let (at, encoded) = &segment.commits[0];
    let end = at + encoded.record.message_bytes();
    assert!(
        pages.buffer(*at, 64).is_err(),
        "nothing is there yet, and that is no SIGBUS"
    );
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("the file");
    file.write_all(&bytes[*at as usize..end as usize])
        .expect("space");
    let shown = pages
        .buffer(*at, (end - at) as usize)
        .expect("what was appended");
    assert_eq!(shown.as_slice(), &bytes[*at as usize..end as usize]);
    assert!(pages.buffer(end, 1).is_err());
    assert!(pages.buffer(u64::MAX, usize::MAX).is_err());
    assert!(pages.buffer(end, 0).expect("no byte").is_empty());
}

#[test]
fn a_flipped_byte_of_a_body_is_an_error_with_file_and_range() {
    let segment = sample();
    for (_, encoded) in &segment.commits {
        assert!(encoded.record.rejects.at <= encoded.record.body_bytes);
    }
    let (at, encoded) = &segment.commits[0];
    let mut seen = 0;
    for (column, record) in encoded.record.columns.iter().enumerate() {
        for buffer in record.buffers.iter().filter(|buffer| buffer.bytes > 0) {
            let byte = at + u64::from(encoded.record.head_bytes) + buffer.at;
            let mut bytes = segment.open();
            bytes[byte as usize] ^= 0x10;
            let (file, commits, alarm) = attached("flipped.arrow", &bytes);
            let path = file.path().to_owned();
            let view = view();
            view.publish(Published {
                sealed: Arc::new([Arc::new(Segment::arrow(file, commits))]),
                ..Published::empty(Offset(0))
            });
            let snapshot = view.snapshot();
            match snapshot.parts()[0].read(&[column]) {
                Err(error @ StorageError::Corrupt { .. }) => {
                    let at = path.display();
                    let index = record
                        .buffers
                        .iter()
                        .position(|b| b == buffer)
                        .expect("one of them");
                    let end = byte + u64::from(buffer.bytes);
                    let said = format!(
                        "{at}: checksum mismatch in column {column}, buffer {index} (bytes {byte} to {end})"
                    );
                    assert_eq!(error.to_string(), said);
                }
                other => panic!("column {column}: {other:?}"),
            }
            assert_eq!(alarm.damage().map(|first| first.0.clone()), Some(path));
            let others = (0..encoded.record.columns.len()).filter(|c| *c != column);
            let others: Vec<usize> = others.collect();
            assert!(snapshot.parts()[0].read(&others).is_ok());
            seen += 1;
        }
    }
    assert!(seen > 16);
}

#[test]
fn a_file_that_ends_early_is_an_error_and_no_fault_of_memory() {
    let segment = sample();
    let (at, encoded) = &segment.commits[3];
    let body_at = (at + u64::from(encoded.record.head_bytes)) as usize;
    let (file, commits, _) = attached("short.arrow", &segment.open()[..body_at + 64]);
    let view = view();
    view.publish(Published {
        sealed: Arc::new([Arc::new(Segment::arrow(file, commits))]),
        ..Published::empty(Offset(0))
    });
    let snapshot = view.snapshot();
    let last = snapshot.parts().last().expect("a part");
    let columns: Vec<usize> = (0..encoded.record.columns.len()).collect();
    assert!(matches!(
        last.read(&columns),
        Err(StorageError::Corrupt { .. })
    ));
    assert!(matches!(
        last.prefetch(&columns),
        Err(StorageError::Corrupt { .. })
    ));
}

#[test]
fn no_cut_and_no_flip_makes_a_parser_panic() {
    let sample = sample();
    let bytes = sample.sealed();
    let walk = |bytes: &[u8]| {
        if let Ok(header) = parse_header(bytes) {
            let mut at = header.bytes as usize;
            while let Ok(record) = parse_commit(&bytes[at.min(bytes.len())..]) {
                let _ = check_commit(&record, &header);
                at = at.saturating_add(record.message_bytes() as usize);
            }
        }
        let read = |at: u64, len: usize| {
            let end = (at as usize).saturating_add(len);
            Ok::<_, ()>(bytes.get(at as usize..end).unwrap_or_default().to_vec())
        };
        let _ = parse_seal(bytes.len() as u64, read);
    };
    for end in (0..bytes.len()).step_by(61) {
        walk(&bytes[..end]);
    }
    for at in (0..bytes.len()).step_by(17) {
        let mut broken = bytes.clone();
        broken[at] ^= 0xff;
        walk(&broken);
    }
    // Behind a right checksum too: forged lengths must not be believed either.
    for (at, encoded) in &sample.commits {
        let head = &bytes[*at as usize..*at as usize + encoded.record.head_bytes as usize];
        for byte in 0..head.len() - 4 {
            for flip in [0x01, 0x80, 0xff] {
                let mut forged = head.to_vec();
                forged[byte] ^= flip;
                let crc_at = forged.len() - 4;
                let crc = crc32fast::hash(&forged[..crc_at]);
                forged[crc_at..].copy_from_slice(&crc.to_le_bytes());
                if let Ok(record) = parse_commit(&forged) {
                    let _ = check_commit(&record, &sample.header);
                }
            }
        }
    }
}

#[test]
fn inspect_describes_open_sealed_and_torn_files_and_garbage() {
    let segment = sample();
    let sealed = inspect(&scratch("inspect-sealed.arrow", &segment.sealed())).expect("readable");
    let text = sealed.to_string();
    for part in [
        "sealed",
        "commit 11",
        "commit 14",
        "checksums good",
        BAD_TEXT,
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(sealed.is_sound());
    let open = inspect(&scratch("inspect-open.arrow", &segment.open())).expect("readable");
    assert!(open.is_sound() && open.to_string().contains("open"));
    let mut torn = segment.open();
    let end = torn.len();
    torn.truncate(end - 100);
    let torn = inspect(&scratch("inspect-torn.arrow", &torn)).expect("readable");
    assert!(!torn.is_sound() && torn.to_string().contains("cut off"));
    let mut flipped = segment.sealed();
    let (at, encoded) = &segment.commits[1];
    flipped[*at as usize + encoded.record.head_bytes as usize] ^= 1;
    let flipped = inspect(&scratch("inspect-flipped.arrow", &flipped)).expect("readable");
    assert!(!flipped.is_sound() && flipped.to_string().contains("mismatch"));
    for garbage in [&b""[..], b"ARROW1\0\0", &[0xff; 4_096], &[0; 4_096]] {
        let report = inspect(&scratch("inspect-garbage.arrow", garbage)).expect("readable");
        assert!(!report.is_sound() && !report.to_string().is_empty());
    }
    let report = inspect(&scratch("inspect-garbage.arrow", &[0xff; 64])).expect("readable");
    let said = "damage: not an Arrow file: the magic is wrong at byte 0\nNOT SOUND";
    assert!(report.to_string().ends_with(said), "{report}");
    assert!(inspect(Path::new("/nonexistent")).is_err());
}

const BAD_TEXT: &str = "line 1: expected a value";
