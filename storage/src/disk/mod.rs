//! The disk as storage needs it: a trait of few operations, so that a test can crash it anywhere.
//!
//! Promises of an implementation:
//! 1. `create` is exclusive; what it makes is readable by its owner alone (files 0600, directories 0700).
//! 2. `write_at` writes all or errs; after an error any part of it may have been written.
//! 3. After `sync` returned `Ok`, what was written before it was called survives a power loss, the
//!    file's length included. Its *name* does only after `sync_directory` of its directory.
//! 4. A failed `sync` promises nothing, and the next one's `Ok` does not make up for it.
//! 5. A full disk is told from every other failure: [`DiskFault::Full`].
//!
//! [`RealDisk`] is the kernel's; the simulation brings its own.

mod op;
mod real;

use std::ffi::OsString;
use std::fmt;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use op::{
    CloseHoles, CommitWrite, CreateSegment, CreatedSegment, DiskDone, DiskOp, Failure,
    WrittenCommit, perform,
};

pub use real::RealDisk;

pub use crate::error::DiskAction;
use crate::map::Pages;

/// Who must act on a disk's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskFault {
    /// No space (or quota) is left: the same again when there is room.
    Full,
    /// The name is not there.
    Missing,
    /// The name is there already.
    Exists,
    /// Anything else: the device, the file system or its permissions.
    Refused,
}

/// The disk refused. Plain data, so that it travels in events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {doing} failed: {}", path.display(), std::io::Error::from_raw_os_error(*errno))]
pub struct DiskError {
    /// The file or directory.
    pub path: PathBuf,
    /// What was being done.
    pub doing: DiskAction,
    /// Who must act.
    pub fault: DiskFault,
    /// The kernel's error number.
    pub errno: i32,
}

impl DiskError {
    /// An error from the kernel's number.
    #[must_use]
    pub fn new(path: &Path, doing: DiskAction, errno: i32) -> DiskError {
        let fault = match errno {
            libc::ENOSPC | libc::EDQUOT => DiskFault::Full,
            libc::ENOENT => DiskFault::Missing,
            libc::EEXIST => DiskFault::Exists,
            _ => DiskFault::Refused,
        };
        DiskError {
            path: path.to_path_buf(),
            doing,
            fault,
            errno,
        }
    }

    /// Whether room would mend it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fault == DiskFault::Full
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without its directory: any bytes. Ours are ASCII.
    pub name: OsString,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// A file that is open for reading and writing; closed when the last handle is dropped.
///
/// A store keeps one handle from a segment's creation until it is sealed and durable: the kernel
/// reports a failed write-back once to each handle that was open when it happened.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Its path as it was opened.
    fn path(&self) -> &Path;
    /// Its length in bytes.
    ///
    /// # Errors
    /// The kernel's.
    fn bytes(&self) -> Result<u64, DiskError>;
    /// Fills `buffer` from `at_byte` on; returns how much, less than asked only at the file's end.
    ///
    /// # Errors
    /// The kernel's: a bad sector.
    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError>;
    /// Writes all of `slices`, one behind the other, at `at_byte`; lengthens the file where needed.
    ///
    /// # Errors
    /// `Full`, or durability is unknown; either way any part may have been written.
    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError>;
    /// Reserves space for `bytes` from `at_byte` on; the length stays. A file system that cannot is `Ok`.
    ///
    /// # Errors
    /// `Full`.
    fn allocate(&self, at_byte: u64, bytes: u64) -> Result<(), DiskError>;
    /// Sets the length; also gives back what was reserved beyond it.
    ///
    /// # Errors
    /// The kernel's.
    fn truncate(&self, bytes: u64) -> Result<(), DiskError>;
    /// Makes what was written before this call survive a power loss.
    ///
    /// # Errors
    /// Durability of everything since the last good sync is unknown, and stays so.
    fn sync(&self) -> Result<(), DiskError>;
}

/// A disk. Every call may block: a leaf never makes one itself.
pub trait Disk: Send + Sync {
    /// The names in a directory, in no order, without `.` and `..`.
    ///
    /// # Errors
    /// `Missing`, or the kernel's.
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError>;
    /// Creates a file that must not be there.
    ///
    /// # Errors
    /// `Exists`, `Full`, or the kernel's.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Opens a file that must be there, for reading and writing.
    ///
    /// # Errors
    /// `Missing`, or the kernel's.
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// A read-only view of at most the first `bytes_max` bytes, growing with the file.
    ///
    /// # Errors
    /// The kernel's.
    fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError>;
    /// Renames within one file system; replaces what has the new name.
    ///
    /// # Errors
    /// The kernel's.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Unlinks a file; one that is not there is `Ok`, so that the step can be repeated.
    ///
    /// # Errors
    /// The kernel's.
    fn unlink(&self, path: &Path) -> Result<(), DiskError>;
    /// Makes a directory and the parents that are missing; one that is there is `Ok`.
    ///
    /// # Errors
    /// The kernel's.
    fn make_directory(&self, path: &Path) -> Result<(), DiskError>;
    /// Removes an empty directory; one that is not there is `Ok`.
    ///
    /// # Errors
    /// The kernel's: it is not empty.
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError>;
    /// Makes the names in a directory survive a power loss.
    ///
    /// # Errors
    /// Which names are there after a power loss is unknown, and stays so.
    fn sync_directory(&self, path: &Path) -> Result<(), DiskError>;
    /// Bytes that may still be written to the file system that holds `path`.
    ///
    /// # Errors
    /// The kernel's.
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError>;
}
