//! Maps of segment files: the only place that maps memory.
//!
//! A map may reach beyond the end of its file, so that an open segment shows each new commit without a
//! new map. Touching a page beyond the end is a SIGBUS, so every range is checked against the file's
//! length before a buffer over it is made, and nothing may cut a file that is mapped: recovery cuts
//! before anything is mapped, a seal gives back only what lies behind the last commit.
//!
//! A page that was evicted since can still fail to come back from a bad disk: that is a SIGBUS too, and
//! the reason why a scan reads ahead ([`Pages::prefetch`]) and asks the disk first.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::error::{Corruption, Damage, DiskAction, StorageError};

/// A file's bytes, for readers. Mapped, or held by a simulation.
pub trait Pages: Debug + Send + Sync + 'static {
    /// `len` bytes from `at_byte` on, without a copy where that can be.
    ///
    /// # Errors
    /// `Corrupt(Truncated)`: the file ends before that.
    fn buffer(&self, at_byte: u64, len: usize) -> Result<Buffer, StorageError>;

    /// The file grows no more: `file_bytes` of it are there, and what only a growing one needs is let go.
    fn sealed(&self, file_bytes: u64) {
        let _ = file_bytes;
    }

    /// Brings the bytes into memory, or at least asks for them. Blocks: not on a query's worker.
    ///
    /// # Errors
    /// `Disk`: they cannot be read.
    fn prefetch(&self, at_byte: u64, len: usize) -> Result<(), StorageError>;
}

/// A mapped file.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    map: Arc<MmapRaw>,
    /// The file's length as last seen; it only grows while it is mapped.
    file_bytes: AtomicU64,
    /// Kept only while the file may still grow: a descriptor for each segment ever written would be
    /// too many.
    file: ArcSwapOption<File>,
}

impl Map {
    /// Maps a file for reading: `bytes_max` bytes, or all of it where it is longer.
    ///
    /// # Errors
    /// `Disk`: it cannot be opened or mapped.
    pub fn open(path: &Path, bytes_max: u64) -> Result<Map, StorageError> {
        let error = |doing| {
            move |source| StorageError::Disk {
                path: path.to_owned(),
                doing,
                source,
            }
        };
        let file = File::open(path).map_err(error(DiskAction::Open))?;
        let file_bytes = file.metadata().map_err(error(DiskAction::Open))?.len();
        let len = usize::try_from(file_bytes.max(bytes_max).max(1))
            .map_err(|_| error(DiskAction::Map)(io::ErrorKind::FileTooLarge.into()))?;
        let map = MmapOptions::new().len(len).map_raw_read_only(&file);
        let map = map.map_err(error(DiskAction::Map))?;
        Ok(Map {
            path: path.to_owned(),
            map: Arc::new(map),
            file_bytes: AtomicU64::new(file_bytes),
            file: ArcSwapOption::new((bytes_max > file_bytes).then(|| Arc::new(file))),
        })
    }

    /// `at_byte..at_byte + len` as a place in the map, once it is known to lie inside the file.
    fn range(&self, at_byte: u64, len: usize) -> Result<usize, StorageError> {
        let end = at_byte.saturating_add(len as u64);
        if end > self.file_bytes.load(Ordering::Relaxed) {
            self.look_again()?;
        }
        let inside = self
            .file_bytes
            .load(Ordering::Relaxed)
            .min(self.map.len() as u64);
        if end > inside {
            let damage = Damage {
                bytes: at_byte..end,
                what: Corruption::Truncated,
            };
            return Err(damage.in_file(&self.path));
        }
        Ok(at_byte as usize)
    }

    fn look_again(&self) -> Result<(), StorageError> {
        let Some(file) = self.file.load_full() else {
            return Ok(());
        };
        let metadata = file
            .metadata()
            .map_err(|source| self.error(DiskAction::Read, source))?;
        self.file_bytes.fetch_max(metadata.len(), Ordering::Relaxed);
        Ok(())
    }

    fn error(&self, doing: DiskAction, source: io::Error) -> StorageError {
        StorageError::Disk {
            path: self.path.clone(),
            doing,
            source,
        }
    }
}

impl Pages for Map {
    fn buffer(&self, at_byte: u64, len: usize) -> Result<Buffer, StorageError> {
        let at = self.range(at_byte, len)?;
        if len == 0 {
            return Ok(Buffer::default());
        }
        let Some(start) = NonNull::new(self.map.as_mut_ptr().wrapping_add(at)) else {
            unreachable!("a map does not begin at address 0")
        };
        // SAFETY: the range lies inside the map and, as `range` has seen, inside the file; the buffer
        // keeps the map. The bytes do not change below it: a leaf appends to a segment behind its last
        // commit, never inside one, and no other process may write into the data directory (its LOCK).
        Ok(unsafe { Buffer::from_custom_allocation(start, len, Arc::<MmapRaw>::clone(&self.map)) })
    }

    fn sealed(&self, file_bytes: u64) {
        self.file_bytes.fetch_max(file_bytes, Ordering::Relaxed);
        self.file.store(None);
    }

    fn prefetch(&self, at_byte: u64, len: usize) -> Result<(), StorageError> {
        let at = self.range(at_byte, len)?;
        if len == 0 {
            return Ok(());
        }
        match self.map.advise_range(Advice::PopulateRead, at, len) {
            Ok(()) => Ok(()),
            // Linux before 5.14 does not know it: then only ask.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let asked = self.map.advise_range(Advice::WillNeed, at, len);
                asked.map_err(|source| self.error(DiskAction::Prefetch, source))
            }
            Err(source) => Err(self.error(DiskAction::Prefetch, source)),
        }
    }
}

/// A string array over buffers that are known to be sound, without another look at them.
///
/// # Safety
/// `offsets` are `rows + 1` aligned `i32` that rise from 0 or more to at most `data.len()`, and the
/// bytes between any two of them are UTF-8; `nulls`, if any, has `rows` bits.
pub(crate) unsafe fn string_array(
    rows: usize,
    offsets: Buffer,
    data: Buffer,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let offsets = ScalarBuffer::<i32>::new(offsets, 0, rows + 1);
    // SAFETY: the caller's promise.
    let strings =
        unsafe { StringArray::new_unchecked(OffsetBuffer::new_unchecked(offsets), data, nulls) };
    Arc::new(strings)
}

/// Whether string offsets and bytes are what [`string_array`] must be given.
pub(crate) fn check_strings(offsets: &[u8], data: &[u8]) -> Result<(), StringFault> {
    let (offsets, _) = offsets.as_chunks::<4>();
    let offset = |bytes: &[u8; 4]| i32::from_le_bytes(*bytes);
    let rising = offsets
        .windows(2)
        .all(|pair| offset(&pair[0]) <= offset(&pair[1]));
    let first = offsets.first().map_or(-1, offset);
    let last = offsets.last().map_or(-1, offset);
    if !rising || first != 0 || usize::try_from(last) != Ok(data.len()) {
        return Err(StringFault::Offsets);
    }
    let text = std::str::from_utf8(data).map_err(|_| StringFault::Utf8)?;
    // One check of the whole run and one of each boundary is much cheaper than one of each string.
    if !text.is_ascii()
        && !offsets
            .iter()
            .all(|at| text.is_char_boundary(offset(at) as usize))
    {
        return Err(StringFault::Utf8);
    }
    Ok(())
}

/// What is wrong with a string column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringFault {
    Offsets,
    Utf8,
}

/// Which columns of a commit have passed all their checks since the file was mapped: one bit each.
#[derive(Debug)]
pub(crate) struct Checked {
    bits: Box<[AtomicU64]>,
}

impl Checked {
    pub(crate) fn none_of(columns: usize) -> Checked {
        let words = columns.div_ceil(64);
        Checked {
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn has(&self, column: usize) -> bool {
        self.bits[column / 64].load(Ordering::Relaxed) >> (column % 64) & 1 == 1
    }

    /// Says that `column` has passed: its checksums, and for strings [`check_strings`].
    pub(crate) fn pass(&self, column: usize) {
        self.bits[column / 64].fetch_or(1 << (column % 64), Ordering::Relaxed);
    }

    /// A string array over buffers of `column` from a file.
    ///
    /// # Panics
    /// If the column has not passed, or the lengths do not fit `rows`: bugs of the caller.
    pub(crate) fn string_array(
        &self,
        column: usize,
        rows: usize,
        offsets: Buffer,
        data: Buffer,
        nulls: Option<NullBuffer>,
    ) -> ArrayRef {
        assert!(self.has(column), "a column that passed its checks");
        assert!(
            offsets.len() == (rows + 1) * size_of::<i32>(),
            "an offset for each row and one more"
        );
        assert!(
            nulls.as_ref().is_none_or(|nulls| nulls.len() == rows),
            "a bit for each row"
        );
        // SAFETY: the column passed `check_strings`, and what a map shows does not change; a caller
        // that passes another column's buffers, or calls `pass` without the check, would break this.
        unsafe { string_array(rows, offsets, data, nulls) }
    }
}

#[cfg(test)]
mod tests;
