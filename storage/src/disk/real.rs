//! The kernel's disk.
//!
//! Vectored positional writes, space reserved ahead without changing the length, `fdatasync` (which
//! covers a changed length). Interrupted calls are repeated; a short write goes on where it stopped.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Disk, DiskAction, DiskError, DiskFile, Entry};
use crate::error::StorageError;
use crate::limits::WRITE_SLICES_MAX;
use crate::map::{Map, Pages};

/// The disk below a running node.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    file: File,
}

fn refused(path: &Path, doing: DiskAction) -> impl FnOnce(io::Error) -> DiskError + '_ {
    move |error| DiskError::new(path, doing, error.raw_os_error().unwrap_or(libc::EIO))
}

impl RealFile {
    fn refused(&self, doing: DiskAction) -> impl FnOnce(io::Error) -> DiskError + '_ {
        refused(&self.path, doing)
    }
}

impl DiskFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(self.refused(DiskAction::Read))?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[filled..], at_byte + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.refused(DiskAction::Read)(error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let written = write_all(slices, at_byte, |rest, at_byte| {
            rustix::io::pwritev(&self.file, rest, at_byte)
        });
        written.map_err(|errno| self.refused(DiskAction::Write)(errno.into()))
    }

    fn allocate(&self, at_byte: u64, bytes: u64) -> Result<(), DiskError> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, at_byte, bytes) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.refused(DiskAction::Allocate)(errno.into())),
            }
        }
    }

    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        let done = self.file.set_len(bytes);
        done.map_err(self.refused(DiskAction::Truncate))
    }

    fn sync(&self) -> Result<(), DiskError> {
        let done = self.file.sync_data();
        done.map_err(self.refused(DiskAction::Sync))
    }
}

/// All of `slices`, however little one call takes; `write` is `pwritev`.
fn write_all(
    slices: &[IoSlice<'_>],
    mut at_byte: u64,
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    for chunk in slices.chunks(WRITE_SLICES_MAX) {
        let mut owned: Vec<IoSlice<'_>> = chunk.to_vec();
        let mut rest = owned.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match write(rest, at_byte) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => {
                    at_byte += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

fn open(path: &Path, options: &OpenOptions, doing: DiskAction) -> Result<RealFile, DiskError> {
    let file = options.open(path).map_err(refused(path, doing))?;
    Ok(RealFile {
        path: path.to_path_buf(),
        file,
    })
}

/// `Ok` where the name was not there to begin with.
fn gone(result: io::Result<()>, path: &Path, doing: DiskAction) -> Result<(), DiskError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(refused(path, doing)),
    }
}

impl Disk for RealDisk {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        let names = std::fs::read_dir(directory).map_err(refused(directory, DiskAction::List))?;
        names
            .map(|entry| {
                let entry = entry.map_err(refused(directory, DiskAction::List))?;
                let kind = entry.file_type();
                Ok(Entry {
                    name: entry.file_name(),
                    is_directory: kind.map_err(refused(directory, DiskAction::List))?.is_dir(),
                })
            })
            .collect()
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Arc::new(open(path, &options, DiskAction::Create)?))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // A link out of the data directory is not ours to follow.
        options.custom_flags(libc::O_NOFOLLOW);
        Ok(Arc::new(open(path, &options, DiskAction::Open)?))
    }

    fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
        match Map::open(path, bytes_max) {
            Ok(map) => Ok(Arc::new(map)),
            Err(StorageError::Disk { source, doing, .. }) => Err(refused(path, doing)(source)),
            Err(_) => Err(DiskError::new(path, DiskAction::Map, libc::EIO)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        std::fs::rename(from, to).map_err(refused(from, DiskAction::Rename))
    }

    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        gone(std::fs::remove_file(path), path, DiskAction::Unlink)
    }

    fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(refused(path, DiskAction::Create))
    }

    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        gone(std::fs::remove_dir(path), path, DiskAction::Unlink)
    }

    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        let directory = File::open(path).map_err(refused(path, DiskAction::SyncDirectory))?;
        let done = directory.sync_all();
        done.map_err(refused(path, DiskAction::SyncDirectory))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        match rustix::fs::statvfs(path) {
            Ok(found) => Ok(found.f_bavail.saturating_mul(found.f_frsize)),
            Err(errno) => Err(refused(path, DiskAction::FreeSpace)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_write_goes_on_where_it_stopped_and_an_interrupted_one_again() {
        let parts: Vec<Vec<u8>> = (0..WRITE_SLICES_MAX as u32 + 700)
            .map(|n| vec![n as u8; (n % 5) as usize])
            .collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        for most in [1, 3, 7, 1_000, usize::MAX] {
            let (mut file, mut calls) = (Vec::new(), 0);
            let written = write_all(&slices, 100, |rest, at_byte| {
                calls += 1;
                assert!(rest.len() <= WRITE_SLICES_MAX);
                assert_eq!(at_byte, 100 + file.len() as u64);
                if calls % 3 == 0 {
                    return Err(Errno::INTR);
                }
                let bytes = rest.iter().flat_map(|slice| slice.iter().copied());
                let before = file.len();
                file.extend(bytes.take(most));
                Ok(file.len() - before)
            });
            assert_eq!(written, Ok(()));
            assert!(file == parts.concat(), "at most {most} bytes a call");
        }
        assert_eq!(write_all(&slices, 0, |_, _| Ok(0)), Err(Errno::IO));
        let full = write_all(&slices, 0, |_, _| Err(Errno::NOSPC));
        assert_eq!(full, Err(Errno::NOSPC));
    }
}
