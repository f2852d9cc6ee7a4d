//! Hostile files through recovery and `inspect`: cut, flipped, and forged behind a right checksum. No
//! panic, no memory beyond the bounds, and what recovery keeps is what was written.

#[allow(dead_code, reason = "golden.rs uses the rest")]
mod sample;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sample::{Sample, following};
use storage::disk::{Disk, DiskError, DiskFile, Entry, Failure, RealDisk};
use storage::format::{CommitRecord, encode_header};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::inspect::inspect;
use storage::limits::{
    COMMIT_NUMBER_MAX, FOOTER_BYTES_MAX, HEADER_BYTES_MAX, METADATA_BYTES_MAX, REWRITE_MAX,
    SEGMENT_COMMITS_MAX, SEGMENT_MAP_BYTES, SEQUENCE_MAX,
};
use storage::map::Pages;
use storage::recovery::{RecoverPartition, RecoveredPartition, hole_path, recover, segment_path};
use storage::store::LineageStart;

/// Counts what is allocated at a time.
struct Counting;

static NOW_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);
/// What recovery has asked to read, and may.
static READ_BYTES: AtomicUsize = AtomicUsize::new(0);
static READ_BYTES_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let now = NOW_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What one recovery or one look may take: a header, a message's metadata twice, a footer.
const BYTES_MAX: usize =
    HEADER_BYTES_MAX + 2 * METADATA_BYTES_MAX + FOOTER_BYTES_MAX as usize + (8 << 20);

/// The kernel's disk without waiting for it: a thousand recoveries sync some thousand times.
#[derive(Debug)]
struct Hasty;

#[derive(Debug)]
struct HastyFile(Arc<dyn DiskFile>);

impl DiskFile for HastyFile {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn bytes(&self) -> Result<u64, DiskError> {
        self.0.bytes()
    }
    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        let read = READ_BYTES.fetch_add(buffer.len(), Ordering::Relaxed);
        let most = READ_BYTES_MAX.load(Ordering::Relaxed);
        assert!(read < most, "more than {most} bytes are read");
        self.0.read_at(buffer, at_byte)
    }
    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        self.0.write_at(slices, at_byte)
    }
    fn allocate(&self, at_byte: u64, bytes: u64) -> Result<(), DiskError> {
        self.0.allocate(at_byte, bytes)
    }
    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        self.0.truncate(bytes)
    }
    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl Disk for Hasty {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        RealDisk.list(directory)
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(Arc::new(HastyFile(RealDisk.create(path)?)))
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(Arc::new(HastyFile(RealDisk.open(path)?)))
    }
    fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
        RealDisk.pages(path, bytes_max)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        RealDisk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.unlink(path)
    }
    fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.make_directory(path)
    }
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.remove_directory(path)
    }
    fn sync_directory(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        RealDisk.free_bytes(path)
    }
}

/// A leaf partition's directory that holds one hostile file.
struct Place {
    directory: PathBuf,
    quarantine: PathBuf,
}

/// What recovery made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// So many commits, and as long as this.
    Kept(usize, u64),
    /// Unlinked.
    Gone,
    /// Quarantined.
    Damaged,
    /// Not ours.
    Refused,
}

impl Place {
    fn new() -> Place {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
        let _ = std::fs::remove_dir_all(&root);
        let directory = root.join("tables/5/7");
        std::fs::create_dir_all(&directory).expect("the target directory can be written");
        Place {
            directory,
            quarantine: root.join("quarantine"),
        }
    }

    fn file(&self) -> PathBuf {
        segment_path(&self.directory, Sequence(3), Rewrite(0))
    }

    fn hole(&self) -> PathBuf {
        hole_path(&self.directory, Sequence(3), Rewrite(0))
    }

    fn recover(&self) -> Result<RecoveredPartition, Failure> {
        let partition = RecoverPartition {
            table: TableId(5),
            leaf_partition: LeafPartitionId(7),
            directory: self.directory.clone(),
            quarantine: self.quarantine.clone(),
            start: LineageStart {
                lineage: Lineage(2),
                live_lineage: Lineage(1),
                start_offset: Offset(1_000),
                topic_id: TopicId::default(),
            },
            mapped: false,
            pages_bytes_max: SEGMENT_MAP_BYTES,
            unix_ms: 1_700_000_000_000,
        };
        recover(&Hasty, &partition).map_err(|failed| failed.failure)
    }

    /// Writes the file, looks at it, recovers it twice; what it keeps is what `truth` says.
    fn meet(&self, bytes: &[u8], truth: &[(u64, CommitRecord)], what: &str) -> Outcome {
        let _ = std::fs::remove_dir_all(&self.quarantine);
        let _ = std::fs::remove_file(self.hole());
        std::fs::write(self.file(), bytes).expect("written");
        let before = NOW_BYTES.load(Ordering::Relaxed);
        PEAK_BYTES.store(before, Ordering::Relaxed);
        let report = inspect(&self.file()).expect("readable").to_string();
        assert!(!report.is_empty(), "{what}");
        let first = self.outcome(truth, what);
        let peak = PEAK_BYTES.load(Ordering::Relaxed) - before;
        assert!(
            peak <= BYTES_MAX + bytes.len() * 2,
            "{what}: {peak} bytes at a time"
        );
        if matches!(first, Outcome::Kept(..)) {
            assert_eq!(
                self.outcome(truth, what),
                first,
                "{what}: the same when it is repeated"
            );
        }
        first
    }

    fn outcome(&self, truth: &[(u64, CommitRecord)], what: &str) -> Outcome {
        match self.recover() {
            Ok(recovered) => match recovered.segments.as_slice() {
                [] => {
                    assert!(!self.file().exists(), "{what}");
                    Outcome::Gone
                }
                [segment] => {
                    let kept = &segment.commits;
                    assert!(
                        kept.len() <= truth.len() && kept == &truth[..kept.len()],
                        "{what}"
                    );
                    Outcome::Kept(kept.len(), segment.end_byte)
                }
                segments => panic!("{what}: {} segments", segments.len()),
            },
            Err(Failure::Corrupt { hole, .. }) => {
                let hole = hole.expect(what);
                let moved_to = self.quarantine.join(&hole.moved_to);
                assert!(moved_to.is_file() && !self.file().exists(), "{what}");
                // From then on every start says so.
                for _ in 0..2 {
                    let again = self.recover().expect(what);
                    assert!(again.segments.is_empty(), "{what}");
                    let known: Vec<_> = again.holes.iter().map(|known| &known.hole).collect();
                    assert_eq!(known, [&*hole], "{what}");
                }
                Outcome::Damaged
            }
            Err(Failure::Mismatch { path, .. }) => {
                assert!(path == self.file() && path.is_file(), "{what}");
                assert!(!self.hole().exists(), "{what}");
                Outcome::Refused
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

/// xorshift64, from a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn truth(sample: &Sample) -> Vec<(u64, CommitRecord)> {
    let commits = sample.commits.iter();
    commits
        .map(|(at, encoded)| (*at, encoded.record.clone()))
        .collect()
}

/// Metadata with its checksum made right again.
fn forged(head: &mut [u8]) {
    let crc_at = head.len() - 4;
    let crc = crc32fast::hash(&head[..crc_at]);
    head[crc_at..].copy_from_slice(&crc.to_le_bytes());
}

/// One test: another beside it would allocate beside it.
#[test]
fn no_file_makes_recovery_or_inspect_panic_or_take_memory_without_bound() {
    let place = Place::new();
    let sample = following(None);
    let truth = truth(&sample);
    for bytes in [sample.open(), sample.sealed()] {
        let whole = place.meet(&bytes, &truth, "whole");
        assert!(matches!(whole, Outcome::Kept(4, _)), "{whole:?}");
        cut(&place, &bytes, &truth, sample.header.bytes as usize);
        flipped(&place, &bytes, &truth);
    }
    witness(&place, &sample, &truth);
    ended(&place, &sample, &truth);
    lengths(&place, &sample, &truth);
    numbers(&place, &sample);
    many(&place);
    imitations(&place, &sample, &truth);
}

/// Damage with a message behind it that is full of what begins like a record: looking for one reads the
/// file a few times over, and not megabytes for each.
fn imitations(place: &Place, sample: &Sample, truth: &[(u64, CommitRecord)]) {
    let mut bytes = sample.open();
    let mut imitation = [0; 64];
    imitation[..4].fill(0xff);
    let length = u32::try_from(METADATA_BYTES_MAX / 2 - 8).expect("a length");
    imitation[4..8].copy_from_slice(&length.to_le_bytes());
    let content = bytes.len();
    bytes.extend(std::iter::repeat_n(imitation, 128 * 1024).flatten());
    READ_BYTES.store(0, Ordering::Relaxed);
    READ_BYTES_MAX.store(32 * bytes.len(), Ordering::Relaxed);
    let kept = place.meet(&bytes, truth, "imitations");
    READ_BYTES_MAX.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(kept, Outcome::Kept(4, content as u64));
}

/// More commits than a leaf writes into one segment, and than a reader has room for.
fn many(place: &Place) {
    let commits = SEGMENT_COMMITS_MAX as usize;
    let sample = sample::of_commits(commits + 1);
    let truth = truth(&sample);
    let kept = place.meet(&sample.open(), &truth, "many commits");
    assert_eq!(kept, Outcome::Kept(commits, truth[commits].0));
}

/// Cut off at every 64 bytes, or one byte behind: a clean cut at the last whole commit.
fn cut(place: &Place, bytes: &[u8], truth: &[(u64, CommitRecord)], header_bytes: usize) {
    for end in (0..bytes.len()).step_by(64).map(|at| at + (at / 64) % 2) {
        let end = end.min(bytes.len() - 1);
        let outcome = place.meet(&bytes[..end], truth, &format!("cut at {end}"));
        let whole = |(at, record): &&(u64, CommitRecord)| at + record.message_bytes() <= end as u64;
        let whole = truth.iter().take_while(whole).count();
        match outcome {
            Outcome::Kept(kept, end_byte) => {
                assert_eq!(kept, whole, "cut at {end}");
                assert!(end >= header_bytes && end_byte <= end as u64);
            }
            Outcome::Gone => assert!(end < header_bytes, "cut at {end}"),
            other => panic!("cut at {end}: {other:?}"),
        }
    }
}

/// A damaged commit that the last record alone says was durable, and that record's body is cut off: with
/// the record goes its word, so what it spoke for is looked at before.
fn witness(place: &Place, sample: &Sample, truth: &[(u64, CommitRecord)]) {
    let mut bytes = sample.open();
    let (at, before) = &truth[2];
    let body_at = (at + u64::from(before.head_bytes)) as usize;
    let (_, last) = &truth[3];
    assert_eq!(last.durable_end, at + before.message_bytes());
    bytes.truncate(bytes.len() - 64);
    let whole = place.meet(&bytes, truth, "cut in the last body");
    assert!(matches!(whole, Outcome::Kept(3, _)), "{whole:?}");
    bytes[body_at + before.rejects.at as usize] ^= 1;
    let damaged = place.meet(&bytes, truth, "cut, and damaged before");
    assert_eq!(damaged, Outcome::Damaged);
}

/// A commit's length became 0, which is how an end of stream reads: what stands behind it says that it was
/// durable. A seal that was cut off ends a segment all the same.
fn ended(place: &Place, sample: &Sample, truth: &[(u64, CommitRecord)]) {
    for (at, _) in &truth[..3] {
        let at = *at as usize;
        let mut bytes = sample.open();
        bytes[at + 4..at + 8].fill(0);
        let outcome = place.meet(&bytes, truth, "a length of 0");
        assert_eq!(outcome, Outcome::Damaged, "at byte {at}");
    }
    let content = sample.open().len();
    let torn = &sample.sealed()[..content + 128];
    let kept = place.meet(torn, truth, "a torn seal");
    assert_eq!(kept, Outcome::Kept(4, content as u64));
}

fn flipped(place: &Place, bytes: &[u8], truth: &[(u64, CommitRecord)]) {
    let mut random = Random(0x5eed_f11b);
    let mut seen = [0; 4];
    for round in 0..300 {
        let mut broken = bytes.to_vec();
        let what = format!("flips of round {round}");
        for _ in 0..1 + random.below(3) {
            let at = random.below(broken.len());
            broken[at] ^= 1 << random.below(8);
        }
        let at = match place.meet(&broken, truth, &what) {
            Outcome::Kept(..) => 0,
            Outcome::Gone => 1,
            Outcome::Damaged => 2,
            Outcome::Refused => 3,
        };
        seen[at] += 1;
        let _ = std::fs::remove_file(place.file());
    }
    assert!(
        seen[0] > 50 && seen[2] > 5,
        "kept, gone, damaged, refused: {seen:?}"
    );
}

/// Lengths of 2^31 and 2^63 wherever a length can stand, behind a right checksum too.
fn lengths(place: &Place, sample: &Sample, truth: &[(u64, CommitRecord)]) {
    let bytes = sample.open();
    for (number, (at, encoded)) in sample.commits.iter().enumerate() {
        let head = *at as usize..*at as usize + encoded.record.head_bytes as usize;
        // The prefix's own length.
        for length in [1 << 31, i32::MAX as u32, u32::MAX, 0, 1, 1 << 24] {
            let mut broken = bytes.clone();
            broken[head.start + 4..head.start + 8].copy_from_slice(&u32::to_le_bytes(length));
            place.meet(
                &broken,
                truth,
                &format!("commit {number}: a length of {length}"),
            );
        }
        for byte in (head.start + 8..head.end - 12).step_by(if number == 1 { 4 } else { 16 }) {
            for value in [1u64 << 31, 1 << 63, u64::MAX] {
                let mut broken = bytes.clone();
                broken[byte..byte + 8].copy_from_slice(&value.to_le_bytes());
                forged(&mut broken[head.clone()]);
                std::fs::write(place.file(), &broken).expect("written");
                let before = NOW_BYTES.load(Ordering::Relaxed);
                PEAK_BYTES.store(before, Ordering::Relaxed);
                let what = format!("commit {number}, byte {byte}: {value:#x}");
                // What a right checksum says is believed where it hangs together; it is never more
                // than there is.
                if let Ok(recovered) = place.recover() {
                    let kept = recovered
                        .segments
                        .iter()
                        .map(|segment| segment.commits.len());
                    assert!(kept.sum::<usize>() <= truth.len(), "{what}");
                }
                inspect_if_there(place);
                let peak = PEAK_BYTES.load(Ordering::Relaxed) - before;
                assert!(
                    peak <= BYTES_MAX + bytes.len() * 2,
                    "{what}: {peak} bytes at a time"
                );
                let _ = std::fs::remove_dir_all(&place.quarantine);
                let _ = std::fs::remove_file(place.hole());
            }
        }
    }
}

fn inspect_if_there(place: &Place) {
    if place.file().exists() {
        let _ = inspect(&place.file()).expect("readable").to_string();
    }
}

/// Whole files with numbers that no leaf gives: what would overflow is refused, by name or by header.
fn numbers(place: &Place, sample: &Sample) {
    let _ = std::fs::remove_file(place.file());
    let extremes: [fn(&mut storage::format::SegmentHeader); 3] = [
        |header| header.first_commit_number = u64::MAX,
        |header| header.first_commit_number = COMMIT_NUMBER_MAX + 2,
        |header| header.first_offset = Offset(i64::MAX),
    ];
    for (index, extreme) in extremes.into_iter().enumerate() {
        let mut header = sample.header.header.clone();
        extreme(&mut header);
        let (_, bytes) = encode_header(&header);
        let outcome = place.meet(&bytes, &[], &format!("extreme header {index}"));
        let expected = match index {
            2 => Outcome::Kept(0, bytes.len() as u64),
            _ => Outcome::Gone,
        };
        assert_eq!(outcome, expected, "extreme header {index}");
        let _ = std::fs::remove_file(place.file());
    }
    for (sequence, rewrite) in [
        (u64::MAX, 0),
        (SEQUENCE_MAX + 1, 0),
        (1, u32::MAX),
        (1, REWRITE_MAX + 1),
    ] {
        let path = segment_path(&place.directory, Sequence(sequence), Rewrite(rewrite));
        std::fs::write(&path, b"not ours").expect("written");
        let recovered = place.recover().expect("neither read nor touched");
        assert!(recovered.segments.is_empty() && path.is_file());
        std::fs::remove_file(&path).expect("there");
    }
}
