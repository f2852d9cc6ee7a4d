//! Pages that a failed write-back left clean: read once they are good, and once the kernel has dropped
//! them they read as the disk has them. Recovery says of nothing that it is durable which it did not
//! check as it wrote it.

use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use storage::disk::{Disk, DiskError, DiskFile, Entry, Failure, RealDisk};
use storage::format::{CommitRecord, check_body, parse_commit};
use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use storage::limits::{RECOVERY_ROUNDS_MAX, SEGMENT_MAP_BYTES};
use storage::map::Pages;
use storage::recovery::{RecoverPartition, RecoveredPartition, recover};
use storage::store::{LineageStart, StoreSettings};

use crate::rig::Rig;

/// What becomes of a byte that is read.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// After so many reads of it, its page is dropped: it was never on the disk. A write in between
    /// makes the page dirty, and keeps it.
    Dropped(u64, u32),
    /// A read of exactly these bytes gives others, each time.
    Unsteady(u64, usize),
}

#[derive(Debug)]
struct State {
    fate: Fate,
    reads: AtomicU32,
    written: Mutex<bool>,
}

/// The kernel's disk, where one byte has a fate.
#[derive(Clone, Debug)]
struct Dropping(Arc<State>);

impl Dropping {
    fn new(fate: Fate) -> Dropping {
        Dropping(Arc::new(State {
            fate,
            reads: AtomicU32::new(0),
            written: Mutex::new(false),
        }))
    }

    fn reads(&self) -> u32 {
        self.0.reads.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct DroppingFile(Arc<dyn DiskFile>, Dropping);

impl DiskFile for DroppingFile {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn bytes(&self) -> Result<u64, DiskError> {
        self.0.bytes()
    }
    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        let read = self.0.read_at(buffer, at_byte)?;
        let state = &self.1.0;
        match state.fate {
            Fate::Dropped(at, after) if (at_byte..at_byte + read as u64).contains(&at) => {
                let reads = state.reads.fetch_add(1, Ordering::Relaxed) + 1;
                if reads == after && !*state.written.lock().expect("nobody panicked") {
                    let other = [!buffer[(at - at_byte) as usize]];
                    self.0.write_at(&[IoSlice::new(&other)], at)?;
                }
            }
            Fate::Unsteady(at, bytes) if at == at_byte && bytes == read => {
                state.reads.fetch_add(1, Ordering::Relaxed);
                buffer[read - 1] ^= 1;
                buffer[0] ^= 1;
            }
            _ => {}
        }
        Ok(read)
    }
    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if let Fate::Dropped(at, _) = self.1.0.fate
            && (at_byte..at_byte + bytes as u64).contains(&at)
        {
            *self.1.0.written.lock().expect("nobody panicked") = true;
        }
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

impl Disk for Dropping {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        RealDisk.list(directory)
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        RealDisk.create(path)
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(Arc::new(DroppingFile(RealDisk.open(path)?, self.clone())))
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

/// A segment of three commits of which no sync ever said anything.
struct Place {
    directory: PathBuf,
    file: PathBuf,
    bytes: Vec<u8>,
    commits: Vec<(u64, CommitRecord)>,
}

impl Place {
    /// `sealed`: its footer is there too.
    fn new(name: &str, sealed: bool) -> Place {
        let settings = StoreSettings {
            sync_age_ms: 1 << 40,
            segment_commits_max: if sealed { 3 } else { 4 },
            ..StoreSettings::default()
        };
        let mut rig = Rig::new(name, 1, settings);
        for _ in 0..3 {
            rig.load(10, &"text ".repeat(20));
            rig.pass(rig.settings.flush_age_ms);
        }
        let mut place = Place {
            directory: rig.directory().to_path_buf(),
            file: rig.segments()[0].clone(),
            bytes: Vec::new(),
            commits: Vec::new(),
        };
        drop(rig);
        place.bytes = fs::read(&place.file).expect("it is there");
        let recovered = place.recover(&RealDisk).expect("all of it is good");
        let segment = &recovered.segments[0];
        assert_eq!((segment.commits.len(), segment.sealed), (3, sealed));
        for (_, record) in &segment.commits {
            assert_eq!(record.durable_end, 0, "nothing vouches for it");
        }
        place
            .bytes
            .truncate(fs::metadata(&place.file).expect("there").len() as usize);
        place.commits = segment.commits.clone();
        place
    }

    fn recover(&self, disk: &dyn Disk) -> Result<RecoveredPartition, Failure> {
        let partition = RecoverPartition {
            table: TableId(1),
            leaf_partition: LeafPartitionId(1),
            directory: self.directory.clone(),
            quarantine: self.directory.join("../../../quarantine"),
            start: LineageStart {
                lineage: Lineage(1),
                live_lineage: Lineage(1),
                start_offset: Offset(0),
                topic_id: TopicId::default(),
            },
            mapped: false,
            pages_bytes_max: SEGMENT_MAP_BYTES,
            unix_ms: 1_700_000_000_000,
        };
        recover(disk, &partition).map_err(|failed| failed.failure)
    }

    /// Recovers with the byte dropped after so many reads; how many commits are kept, all of them good
    /// on the disk, and how often it was read.
    fn dropped(&self, at: u64, after: u32) -> (usize, u32) {
        let what = format!("byte {at} dropped after {after} reads");
        fs::write(&self.file, &self.bytes).expect("it can be written");
        let disk = Dropping::new(Fate::Dropped(at, after));
        let recovered = self.recover(&disk).expect(&what);
        let Some(segment) = recovered.segments.first() else {
            assert!(!self.file.exists(), "{what}");
            return (0, disk.reads());
        };
        let bytes = fs::read(&self.file).expect("it is there");
        let kept = segment.commits.len();
        assert_eq!(segment.commits, self.commits[..kept], "{what}");
        let whole = segment.end_byte as usize;
        assert_eq!(bytes[..whole], self.bytes[..whole], "{what}");
        for (at, record) in &segment.commits {
            let (head, body) = bytes[*at as usize..].split_at(record.head_bytes as usize);
            assert_eq!(parse_commit(head).as_ref(), Ok(record), "{what}");
            let body = check_body(record, &body[..record.body_bytes as usize]);
            body.expect(&what);
        }
        let end = if segment.sealed {
            self.bytes.len()
        } else {
            whole
        };
        assert_eq!(bytes, self.bytes[..end], "{what}");
        (kept, disk.reads())
    }

    /// The byte is dropped after one read, after two and so on, as often as it is read at all; what was
    /// kept, in that order, and at last with nothing dropped.
    fn each(&self, at: u64) -> Vec<usize> {
        let mut kept = Vec::new();
        for after in 1.. {
            let (commits, reads) = self.dropped(at, after);
            kept.push(commits);
            if reads < after {
                break;
            }
        }
        kept
    }
}

#[test]
fn what_is_kept_was_checked_as_it_was_written_again() {
    for sealed in [false, true] {
        let place = Place::new(if sealed { "dropped-sealed" } else { "dropped" }, sealed);
        let header = place.each(40);
        assert_eq!(header.last(), Some(&3));
        assert!(header.contains(&0), "{header:?}");
        for (number, (at, record)) in place.commits.iter().enumerate() {
            let head = u64::from(record.head_bytes);
            let last = at + head + 20;
            for byte in [at + 3, at + 8, at + head - 1, last] {
                let kept = place.each(byte);
                // Nothing of it was ever synced: it is cut there, and is fetched again.
                assert!(kept.iter().all(|&kept| kept == 3 || kept == number));
                assert_eq!(kept.last(), Some(&3), "as it is where nothing is dropped");
                assert!(kept.contains(&number), "commit {number}: {kept:?}");
            }
        }
        if sealed {
            let end = place.bytes.len() as u64;
            let content = place.commits[2].0 + place.commits[2].1.message_bytes();
            for byte in [content, content + 4, content + 20, end - 1] {
                let kept = place.each(byte);
                assert!(kept.iter().all(|&kept| kept == 3), "{byte}: {kept:?}");
            }
        }
    }
}

#[test]
fn a_file_that_never_reads_the_same_twice_is_named() {
    let place = Place::new("unsteady", false);
    let (at, record) = &place.commits[1];
    let disk = Dropping::new(Fate::Unsteady(*at, record.message_bytes() as usize));
    match place.recover(&disk) {
        Err(Failure::Mismatch { path, what }) => {
            assert_eq!(path, place.file);
            let says = format!("reads otherwise each time, last at byte {at}: ");
            assert!(what.starts_with(&says), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.reads() as usize, RECOVERY_ROUNDS_MAX);
    let bytes = fs::read(&place.file).expect("neither moved nor unlinked");
    assert_eq!(
        bytes, place.bytes,
        "nothing that was not checked is written"
    );
}
