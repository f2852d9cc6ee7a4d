//! SQLite's own code over [`Files`]: a file system (VFS) that it is given beside the real one.
//!
//! The files are the thread's: one thread runs a seed. SQLite's locks are granted, as one process has the catalog
//! to itself; its WAL index lies in memory for the same reason. As on the real one, a write changes no byte beside
//! those that it writes.
//!
//! What is not about files (random numbers, the time) is SQLite's own, of its VFS in memory. Nothing of it moves what a
//! seed does: the salts of a WAL only differ.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Once;

use control::catalog::{CatalogError, Store};
use rusqlite::{Connection, OpenFlags, ffi};

use storage::disk::{DiskAction, DiskError, DiskFile};

use super::files::{Files, HasEnded};

/// Its name in the thread's files.
const CATALOG: &str = "catalog.db";
const EIO: i32 = 5;
const NAME: &CStr = c"simulated";

thread_local! {
    static FILES: RefCell<Files> = RefCell::default();
}

/// An empty disk.
pub(super) fn begin() {
    FILES.set(Files::with(CATALOG));
}

/// The thread's files.
pub(super) fn files<T>(look: impl FnOnce(&mut Files) -> T) -> T {
    FILES.with_borrow_mut(look)
}

/// Opens the catalog that lies in the thread's files. `pages`: the WAL is copied into the catalog's file from so many
/// on.
///
/// # Errors
/// See [`Store::open`].
pub(super) fn open(pages: u32) -> Result<Store, CatalogError> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    // Each process has a path of its own, so that one that has ended changes nothing when it is dropped.
    let processes = files(|files| files.processes);
    let path = PathBuf::from(format!("/{processes}/{CATALOG}"));
    let opened = Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), NAME);
    let opened = opened.and_then(|connection| {
        connection.pragma_update(None, "wal_autocheckpoint", pages)?;
        Ok(connection)
    });
    let connection = opened.map_err(|error| CatalogError::Disk {
        path: path.clone(),
        doing: "open",
        what: error.to_string(),
    })?;
    let wal = files(|files| files.inode(&wal_of(CATALOG)));
    let wal = wal.map(|inode| Wal {
        path: wal_of(&path.to_string_lossy()).into(),
        inode,
    });
    Store::on(
        connection,
        path,
        wal.as_ref().map(|wal| wal as &dyn DiskFile),
    )
}

fn wal_of(catalog: &str) -> String {
    format!("{catalog}-wal")
}

/// The WAL as Pinleaf itself has it open.
#[derive(Debug)]
struct Wal {
    path: PathBuf,
    inode: usize,
}

impl Wal {
    fn answer<T>(&self, done: Result<T, HasEnded>, doing: DiskAction) -> Result<T, DiskError> {
        done.map_err(|HasEnded| DiskError::new(&self.path, doing, EIO))
    }
}

impl DiskFile for Wal {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        Ok(files(|files| files.bytes(self.inode).len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        files(|files| {
            let bytes = files.bytes(self.inode).get(at_byte as usize..);
            let bytes = bytes.unwrap_or_default();
            let read = bytes.len().min(buffer.len());
            buffer[..read].copy_from_slice(&bytes[..read]);
            Ok(read)
        })
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let done = files(|files| files.write(self.inode, at_byte as usize, &bytes));
        self.answer(done, DiskAction::Write)
    }

    fn allocate(&self, _: u64, _: u64) -> Result<(), DiskError> {
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        let done = files(|files| files.truncate(self.inode, bytes as usize));
        self.answer(done, DiskAction::Truncate)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.answer(files(|files| files.sync(self.inode)), DiskAction::Sync)
    }
}

fn register() {
    // SAFETY: SQLite's own, which it keeps for good, is copied; the copy is never given back, and its functions are
    // called as SQLite declares them. Who names another VFS of another layout breaks it.
    unsafe {
        let own = ffi::sqlite3_vfs_find(c"memdb".as_ptr());
        if let Some(own) = own.as_ref() {
            let vfs = ffi::sqlite3_vfs {
                szOsFile: size_of::<Handle>() as c_int,
                pNext: null_mut(),
                zName: NAME.as_ptr(),
                xOpen: Some(open_file),
                xDelete: Some(delete),
                xAccess: Some(access),
                ..*own
            };
            ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0);
        }
    }
}

/// An open file, in the memory that SQLite has for it.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    inode: usize,
    process: u64,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Of before the shared WAL index and maps, which an exclusive catalog does without.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_bytes),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

extern "C" fn open_file(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let creates = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let inode = of_process(name, |files, name| files.open(name, creates)).flatten();
    let methods = match inode {
        Some(_) => &raw const METHODS,
        None => std::ptr::null(),
    };
    let handle = Handle {
        base: ffi::sqlite3_file { pMethods: methods },
        inode: inode.unwrap_or(usize::MAX),
        process: files(|files| files.processes),
    };
    put_at(file.cast(), handle);
    put_at(flags_out, flags);
    match inode {
        Some(_) => ffi::SQLITE_OK,
        None => ffi::SQLITE_CANTOPEN,
    }
}

extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, syncs: c_int) -> c_int {
    let done = of_process(name, |files, name| files.delete(name, syncs != 0));
    answer(done.unwrap_or(Err(HasEnded)), ffi::SQLITE_IOERR_DELETE)
}

extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    let is_there = of_process(name, |files, name| files.inode(name).is_some());
    put_at(found, c_int::from(is_there.unwrap_or(false)));
    ffi::SQLITE_OK
}

extern "C" fn close(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_OK
}

extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: SQLite gives so many bytes of its own to be filled, for as long as the call. Who keeps the slice breaks
    // it.
    let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), length as usize) };
    let inode = inode(file);
    files(|files| {
        let bytes = files.bytes(inode);
        let there = bytes.get(at as usize..).unwrap_or_default();
        let there = &there[..there.len().min(to.len())];
        to[..there.len()].copy_from_slice(there);
        to[there.len()..].fill(0);
        match there.len() == to.len() {
            true => ffi::SQLITE_OK,
            false => ffi::SQLITE_IOERR_SHORT_READ,
        }
    })
}

extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite gives so many bytes to be read, for as long as the call. Who keeps the slice breaks it.
    let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length as usize) };
    let inode = inode(file);
    let done = files(|files| files.write(inode, at as usize, from));
    answer(done, ffi::SQLITE_IOERR_WRITE)
}

extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let inode = inode(file);
    let done = files(|files| files.truncate(inode, length as usize));
    answer(done, ffi::SQLITE_IOERR_TRUNCATE)
}

extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    let inode = inode(file);
    let done = files(|files| files.sync(inode));
    answer(done, ffi::SQLITE_IOERR_FSYNC)
}

extern "C" fn file_size(file: *mut ffi::sqlite3_file, length: *mut i64) -> c_int {
    let inode = inode(file);
    put_at(length, files(|files| files.bytes(inode).len() as i64));
    ffi::SQLITE_OK
}

extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

extern "C" fn reserved(_: *mut ffi::sqlite3_file, is: *mut c_int) -> c_int {
    put_at(is, 0);
    ffi::SQLITE_OK
}

extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

extern "C" fn sector_bytes(_: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

fn answer(done: Result<(), HasEnded>, error: c_int) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(HasEnded) => error,
    }
}

/// Looks for a name that SQLite gives in the thread's files. `None`: it has none, which the catalog has no need of, or
/// it is of a process that has ended.
fn of_process<T>(name: *const c_char, look: impl FnOnce(&mut Files, &str) -> T) -> Option<T> {
    // SAFETY: null, or text that ends with a NUL and stays for as long as the call.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?;
    let (process, name) = name.to_str().ok()?.strip_prefix('/')?.split_once('/')?;
    files(|files| (process.parse() == Ok(files.processes)).then(|| look(files, name)))
}

/// An open file's inode; that of no file where its process has ended.
fn inode(file: *mut ffi::sqlite3_file) -> usize {
    // SAFETY: a file that `open_file` filled, in memory of `szOsFile` bytes, which are a `Handle`'s.
    let handle = unsafe { &*file.cast::<Handle>() };
    match files(|files| files.processes) == handle.process {
        true => handle.inode,
        false => usize::MAX,
    }
}

/// Leaves a value where SQLite wants it, if it does.
fn put_at<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: SQLite's own place for a value of this type, which nobody else has during the call.
        unsafe { to.write(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    /// Calls within which a catalog is made.
    const CALLS_MAX: u32 = 100;

    #[test]
    fn a_catalog_whose_making_is_cut_short_is_made_by_the_next_start() {
        let mut cut = 0;
        for seed in 0..20 {
            for calls in 0..CALLS_MAX {
                begin();
                files(|files| files.end_behind(calls));
                drop(open(1_000));
                if !files(Files::has_ended) {
                    break;
                }
                cut += 1;
                let mut random = Random::new(seed);
                files(|files| files.begin_anew((seed > 0).then_some(&mut random)));
                let store = open(1_000).unwrap_or_else(|error| panic!("{calls}, {seed}: {error}"));
                assert_eq!(store.view().change, 0);
            }
        }
        assert!(cut > 100, "{cut} were cut short");
    }
}
