//! `segments`: a leaf partition's directory of any files through recovery, and what it keeps through readers.
//!
//! Input: bits of [`How`] | lineage | live lineage | per file: sequence | rewrite | length of four bytes,
//! little-endian | the file. Recovery must answer with what is there or with a named failure, and keep
//! the laws below, whatever the bytes; it may lose nothing that a record says was durable.
//!
//! 1. What is kept is a chain: numbers and offsets go on from segment to segment.
//! 2. No record that stands behind what is kept of the newest segment says that more was durable.
//! 3. The newest segment does not go while a record of it says that it was durable.
//! 4. Recovered once more it is the same.
//! 5. A part has the rows that its record says in every column, or an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use storage::disk::{Disk, DiskError, Failure};
use storage::format::{CommitRecord, Hole, ParsedHeader, check_commit, parse_commit, parse_header};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::limits::{FOOTER_BYTES_MAX, HEADER_BYTES_MAX, METADATA_BYTES_MAX, SEGMENT_MAP_BYTES};
use storage::published::{Durable, PartitionView, Published};
use storage::recovery::{
    RecoverPartition, RecoveredPartition, RecoveredSegment, recover, segment_path, temporary_path,
};
use storage::segment::{Alarm, Commit, Open, Segment, SegmentFile};
use storage::store::LineageStart;

use crate::bounds::within;
use crate::input::Input;
use crate::memory_disk::MemoryDisk;
use crate::repair;

/// The table and leaf partition of the files that golden tests keep.
const TABLE: u64 = 5;
const LEAF_PARTITION: u64 = 7;
/// Files of one input that are looked at.
const FILES_MAX: usize = 8;
/// What one recovery may take beside the files: a header, a message's metadata twice, a footer.
const RECOVERY_BYTES_MAX: usize =
    HEADER_BYTES_MAX + 2 * METADATA_BYTES_MAX + FOOTER_BYTES_MAX as usize + (8 << 20);

/// Bits of the first byte: 0 asks for checksums to be made right, 1 says that readers have mapped the
/// files.
struct How(u8);

/// The body.
pub fn segments(data: &[u8]) {
    let directory = Directory::of(data);
    let disk = MemoryDisk::default();
    for (path, bytes) in directory.paths(Path::new("/d")) {
        disk.put(path, bytes.to_vec());
    }
    directory.meet(&disk, Path::new("/d"), || disk.unmap());
}

/// The files of an input.
pub struct Directory {
    files: Vec<(u64, u32, Vec<u8>)>,
    lineage: u64,
    live_lineage: u64,
    mapped: bool,
}

/// A rewrite that stands for a merge's temporary.
const TEMPORARY: u32 = 255;

impl Directory {
    /// As an input says.
    #[must_use]
    pub fn of(data: &[u8]) -> Directory {
        let mut input = Input::new(data);
        let how = How(input.byte());
        let lineage = u64::from(input.byte());
        let live_lineage = u64::from(input.byte()).min(lineage);
        let mut files: Vec<(u64, u32, Vec<u8>)> = Vec::new();
        while !input.is_empty() && files.len() < FILES_MAX {
            let sequence = u64::from(input.byte()).max(1);
            let rewrite = u32::from(input.byte());
            let bytes = input.length();
            let mut bytes = input.take(bytes).to_vec();
            if how.0 & 1 != 0 {
                repair::segment(&mut bytes, (LEAF_PARTITION, sequence, rewrite));
            }
            let name = |file: &(u64, u32, _)| (file.0, file.1) == (sequence, rewrite);
            if !files.iter().any(name) {
                files.push((sequence, rewrite, bytes));
            }
        }
        Directory {
            files,
            lineage,
            live_lineage,
            mapped: how.0 & 2 != 0,
        }
    }

    /// Where its files lie below `root`.
    pub fn paths(&self, root: &Path) -> impl Iterator<Item = (PathBuf, &[u8])> {
        let directory = root.join("5/7");
        self.files.iter().map(move |(sequence, rewrite, bytes)| {
            let sequence = Sequence(*sequence);
            let path = match *rewrite {
                TEMPORARY => temporary_path(&directory, sequence, Rewrite(0)),
                rewrite => segment_path(&directory, sequence, Rewrite(rewrite)),
            };
            (path, bytes.as_slice())
        })
    }

    /// Recovers what lies below `root` twice, and reads it. `unmap`: the process that read it has ended.
    pub fn meet(&self, disk: &dyn Disk, root: &Path, unmap: impl Fn()) {
        let partition = RecoverPartition {
            table: TableId(TABLE),
            leaf_partition: LeafPartitionId(LEAF_PARTITION),
            directory: root.join("5/7"),
            quarantine: root.join("quarantine"),
            start: LineageStart {
                lineage: Lineage(self.lineage),
                live_lineage: Lineage(self.live_lineage),
                start_offset: Offset(1_000),
                topic_id: TopicId::default(),
            },
            mapped: self.mapped,
            pages_bytes_max: SEGMENT_MAP_BYTES,
            unix_ms: 1_700_000_000_000,
        };
        let all: usize = self.files.iter().map(|(_, _, bytes)| bytes.len()).sum();
        let recovered = within(RECOVERY_BYTES_MAX + 8 * all, "recovery", || {
            recover(disk, &partition)
        });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(failed) => return refused(disk, &partition.quarantine, &failed.failure),
        };
        self.kept(disk, root, &recovered);
        within((32 << 20) + 16 * all, "reading", || {
            read(&recovered.segments)
        });
        let first = self.summary(&recovered);
        drop(recovered);
        unmap();
        match recover(disk, &partition) {
            Ok(again) => {
                let (again, short) = (self.summary(&again), short(&first));
                assert!(
                    again == first,
                    "{short}, and once more {}",
                    self::short(&again)
                );
            }
            Err(failed) => panic!("recovered, then not: {}", failed.failure),
        }
    }

    /// The first three laws.
    fn kept(&self, disk: &dyn Disk, root: &Path, recovered: &RecoveredPartition) {
        let segments = &recovered.segments;
        let bridged = recovered.holes.iter().any(|known| known.bridged);
        for pair in segments.windows(2) {
            let prev = pair[1].header.header.prev.expect("a predecessor");
            if bridged && prev.sequence != pair[0].id.sequence {
                // What lay between is in quarantine.
                assert!(prev.sequence > pair[0].id.sequence);
                continue;
            }
            assert_eq!(prev.sequence, pair[0].id.sequence);
            assert_eq!(prev.lineage, pair[0].header.header.lineage);
            assert_eq!(prev.next_offset, end(&pair[0]).1);
            assert_eq!(prev.next_commit_number, end(&pair[0]).0);
        }
        for segment in segments {
            follows(segment);
        }
        if let Some(newest) = segments.last()
            && newest.id.rewrite == Rewrite(0)
            && !newest.sealed
        {
            let header = &newest.header;
            let bytes = self.bytes(newest.id.sequence.0, 0);
            let durable_end = durable_end_behind(bytes, header, newest.end_byte + 64);
            assert!(
                durable_end <= newest.end_byte,
                "kept up to byte {}, and a record behind it says {durable_end} were durable",
                newest.end_byte
            );
        }
        let last = self.files.iter().filter(|file| file.1 != TEMPORARY);
        if let Some((sequence, rewrite, bytes)) = last.max_by_key(|file| (file.0, file.1)) {
            let path = segment_path(&root.join("5/7"), Sequence(*sequence), Rewrite(*rewrite));
            let is_there = disk.open(&path).is_ok();
            assert!(
                is_there || !recovered.holes.is_empty() || durable_end_of(bytes) == 0,
                "{} is gone, and was durable",
                path.display()
            );
        }
    }

    fn summary(&self, recovered: &RecoveredPartition) -> Summary {
        let segments = recovered.segments.iter();
        // A footer that is shorter than the one it replaces does not end a file that is mapped, because
        // nothing is cut there: it is written once more at the next start.
        segments
            .map(|s| {
                (
                    s.id.sequence.0,
                    s.id.rewrite.0,
                    s.commits.clone(),
                    s.end_byte,
                    s.sealed && !self.mapped,
                )
            })
            .collect()
    }

    fn bytes(&self, sequence: u64, rewrite: u32) -> &[u8] {
        let found = self
            .files
            .iter()
            .find(|file| (file.0, file.1) == (sequence, rewrite));
        found.map_or(&[], |(_, _, bytes)| bytes)
    }
}

/// A refusal is named, and what it names is where it says.
fn refused(disk: &dyn Disk, quarantine: &Path, failure: &Failure) {
    match failure {
        Failure::Corrupt {
            path, what, hole, ..
        } => {
            assert!(!what.is_empty());
            let gone = disk.open(path).err().map(|error: DiskError| error.errno);
            let moved = |hole: &Hole| disk.open(&quarantine.join(&hole.moved_to)).is_ok();
            let moved = hole.as_deref().is_some_and(moved);
            assert_eq!(gone.is_some(), moved, "{failure}");
        }
        Failure::Mismatch { what, .. } => assert!(!what.is_empty()),
        Failure::File(_) | Failure::Directory(_) | Failure::Again(_) => {
            panic!("the disk did not fail: {failure}")
        }
    }
}

/// Number and offset that follow a segment's content.
fn end(segment: &RecoveredSegment) -> (u64, Offset) {
    let header = &segment.header.header;
    let last = segment.commits.last().map(|(_, record)| &record.facts);
    last.map_or((header.first_commit_number, header.first_offset), |last| {
        (last.commit_number + 1, last.next_offset)
    })
}

/// Commits stand one behind the other, in the file, in numbers and in offsets.
fn follows(segment: &RecoveredSegment) {
    let header = &segment.header;
    let exact = segment.id.rewrite == Rewrite(0);
    let mut at = u64::from(header.bytes);
    let mut number = header.header.first_commit_number;
    let mut offset = header.header.first_offset;
    for (place, record) in &segment.commits {
        assert_eq!(*place, at);
        assert_eq!(check_commit(record, header), Ok(()));
        let first = record.first_commit_number();
        assert!(first == number || (!exact && first > number));
        assert_eq!(record.facts.first_offset, offset);
        let facts = &record.facts;
        let offsets = facts.first_offset.until(facts.next_offset);
        assert_eq!(facts.counts.offsets(), offsets, "the eight counts");
        at += record.message_bytes();
        (number, offset) = (facts.commit_number + 1, facts.next_offset);
    }
    assert_eq!(segment.end_byte, at);
}

/// The highest durable end that a record of this segment says from `from` on.
fn durable_end_behind(bytes: &[u8], header: &ParsedHeader, from: u64) -> u64 {
    let from = (from as usize).next_multiple_of(64);
    let records = (from..bytes.len()).step_by(64).filter_map(|at| {
        let record = parse_commit(&bytes[at..]).ok()?;
        (record.segment == header.header.id && record.header_crc == header.crc).then_some(record)
    });
    records.map(|record| record.durable_end).max().unwrap_or(0)
}

/// The highest durable end that a whole file's own unbroken commits say.
fn durable_end_of(bytes: &[u8]) -> u64 {
    let Ok(header) = parse_header(bytes) else {
        return 0;
    };
    let mut at = header.bytes as usize;
    let mut number = header.header.first_commit_number;
    let mut offset = header.header.first_offset;
    let mut highest = 0;
    while let Some(Ok(record)) = bytes.get(at..).map(parse_commit) {
        let end = at as u64 + record.message_bytes();
        let ours = check_commit(&record, &header).is_ok()
            && record.facts.first_offset == offset
            && record.first_commit_number() == number
            && end <= bytes.len() as u64;
        if !ours {
            break;
        }
        highest = highest.max(record.durable_end);
        at = end as usize;
        (number, offset) = (record.facts.commit_number + 1, record.facts.next_offset);
    }
    highest
}

type Summary = Vec<(u64, u32, Vec<(u64, CommitRecord)>, u64, bool)>;

/// Sequence, rewrite, commits, end and whether it is sealed, of each.
fn short(summary: &Summary) -> String {
    let segments = summary.iter();
    let short = segments.map(|(s, r, commits, end, sealed)| {
        format!("{s}.{r}: {} commits to byte {end}, {sealed}", commits.len())
    });
    short.collect::<Vec<_>>().join("; ")
}

/// Everything that a query, a view and a merge may read of it.
fn read(segments: &[RecoveredSegment]) {
    let Some(newest) = segments.last() else {
        return;
    };
    let alarm = Arc::new(Alarm::default());
    let attach = |segment: &RecoveredSegment| {
        let file = SegmentFile::new(
            segment.header.clone(),
            PathBuf::from("a segment"),
            Arc::clone(&segment.pages),
            Arc::clone(&alarm),
        );
        let commits = segment.commits.iter();
        let commits = commits.map(|(at, record)| Arc::new(Commit::new(record.clone(), *at)));
        (Arc::new(file), commits.collect::<Vec<_>>())
    };
    let mut sealed = Vec::new();
    let mut open = None;
    let mut open_commits = 0;
    for segment in segments {
        let (file, commits) = attach(segment);
        if segment.closed {
            sealed.push(Arc::new(Segment::arrow(file, commits)));
        } else {
            let list = Open::new(file);
            for commit in commits {
                list.push(open_commits, commit)
                    .expect("as recovery bounds it");
                open_commits += 1;
            }
            open = Some(Arc::new(list));
        }
    }
    let header = &newest.header.header;
    let view = PartitionView::new(
        header.table,
        header.id.leaf_partition,
        header.kafka_partition,
        Arc::clone(&header.schema),
        Offset(1_000),
    );
    view.publish(Published {
        sealed: sealed.into(),
        open,
        open_commits,
        durable: Durable {
            sequence: newest.id.sequence,
            commits: newest.commits.len() as u32,
        },
        ..Published::empty(Offset(1_000))
    });
    snapshot(&view, segments);
}

fn snapshot(view: &PartitionView, segments: &[RecoveredSegment]) {
    let records = || {
        segments
            .iter()
            .flat_map(|s| s.commits.iter().map(|(_, r)| r))
    };
    let rows: u64 = records().map(|record| u64::from(record.facts.rows)).sum();
    let snapshot = view.snapshot();
    assert_eq!(snapshot.rows(), rows, "as many as the records say");
    assert_eq!(snapshot.durable_prefix().rows(), rows);
    let batches: usize = records().map(|record| record.batches() as usize).sum();
    // What a merged commit stands for may be damaged: then it is one error.
    match snapshot.commits().collect::<Result<Vec<_>, _>>() {
        Ok(commits) => assert_eq!(commits.len(), batches),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let with_rows = records().filter(|record| record.facts.rows > 0);
    for (part, record) in snapshot.parts().iter().zip(with_rows) {
        assert_eq!(part.rows(), record.facts.rows);
        for column in 0..record.columns.len() {
            let _ = part.statistics(column);
            // Damage below the durable end is met here first, and is an error each time.
            match (part.prefetch(&[column]), part.read(&[column])) {
                (Ok(()), Ok(arrays)) => {
                    assert_eq!(arrays.len(), 1);
                    assert_eq!(arrays[0].len(), part.rows() as usize);
                    values(&arrays[0]);
                }
                (_, Err(error)) | (Err(error), Ok(_)) => {
                    assert!(!error.to_string().is_empty());
                    assert!(part.read(&[column]).is_err(), "an error stays one");
                }
            }
        }
    }
    for reject in snapshot.rejects() {
        match reject {
            Ok(reject) => assert!(reject.text.len() <= storage::limits::REJECT_TEXT_BYTES_MAX),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Touches every byte that an array shows.
fn values(array: &arrow_array::ArrayRef) {
    let data = array.to_data();
    data.validate_full()
        .expect("sound, as its checks have passed");
}
