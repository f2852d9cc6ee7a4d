//! A WAL that a killed process left.

use std::fs;
use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use storage::disk::{Disk as _, DiskAction, DiskError, DiskFile, RealDisk};

use crate::catalog::store::tests::history;
use crate::catalog::store::{Store, wal_path};
use crate::catalog::view::CatalogView;

/// A WAL that says what is done with it.
#[derive(Debug)]
struct Noted {
    wal: Arc<dyn DiskFile>,
    written: Mutex<Vec<Range<u64>>>,
    syncs: AtomicU32,
    /// Why no write succeeds.
    refuses: Option<i32>,
}

impl Noted {
    fn new(path: &Path, refuses: Option<i32>) -> Noted {
        Noted {
            wal: RealDisk.open(&wal_path(path)).unwrap(),
            written: Mutex::default(),
            syncs: AtomicU32::new(0),
            refuses,
        }
    }
}

impl DiskFile for Noted {
    fn path(&self) -> &Path {
        self.wal.path()
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        self.wal.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        self.wal.read_at(buffer, at_byte)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        if let Some(errno) = self.refuses {
            return Err(DiskError::new(self.path(), DiskAction::Write, errno));
        }
        assert_eq!(self.syncs.load(Ordering::Relaxed), 0, "synced too early");
        let bytes = slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        self.written.lock().unwrap().push(at_byte..at_byte + bytes);
        self.wal.write_at(slices, at_byte)
    }

    fn allocate(&self, at_byte: u64, bytes: u64) -> Result<(), DiskError> {
        self.wal.allocate(at_byte, bytes)
    }

    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        self.wal.truncate(bytes)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.wal.sync()
    }
}

/// A catalog whose process was killed: its WAL holds all of it, and more than is written again at a time.
fn killed(directory: &Path) -> (PathBuf, CatalogView) {
    let (from, path) = (directory.join("from.db"), directory.join("catalog.db"));
    let mut store = Store::open(&from).unwrap();
    for changes in history() {
        store.commit(&changes, 5).unwrap();
    }
    for _ in 0..40 {
        store.commit(&history()[7], 5).unwrap();
    }
    fs::copy(&from, &path).unwrap();
    fs::copy(wal_path(&from), wal_path(&path)).unwrap();
    (path, store.view().clone())
}

#[test]
fn what_a_killed_process_left_in_the_wal_is_written_again_and_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (path, view) = killed(directory.path());
    let wal = fs::read(wal_path(&path)).unwrap();
    let noted = Noted::new(&path, None);
    let store = Store::on(Connection::open(&path).unwrap(), path.clone(), Some(&noted)).unwrap();
    assert_eq!(store.view(), &view);
    assert!(noted.syncs.load(Ordering::Relaxed) == 1);
    let written = noted.written.lock().unwrap();
    assert!(written.len() > 1, "all at once");
    let end = written.iter().fold(0, |at, range| {
        assert_eq!(range.start, at);
        range.end
    });
    assert_eq!(end, wal.len() as u64);
    assert!(fs::read(wal_path(&path)).unwrap() == wal, "other bytes");
}

#[test]
fn a_wal_that_cannot_be_written_again_is_an_error_and_one_without_room_is_synced() {
    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;
    let directory = tempfile::tempdir().unwrap();
    let (path, view) = killed(directory.path());
    let open = |noted: &Noted| {
        let connection = Connection::open(&path).unwrap();
        Store::on(connection, path.clone(), Some(noted))
    };
    let error = open(&Noted::new(&path, Some(EIO))).err().expect("refused");
    assert!(
        error.to_string().contains("writing its WAL again failed"),
        "{error}"
    );
    let full = Noted::new(&path, Some(ENOSPC));
    assert_eq!(open(&full).unwrap().view(), &view);
    assert_eq!(full.syncs.load(Ordering::Relaxed), 1);
}
