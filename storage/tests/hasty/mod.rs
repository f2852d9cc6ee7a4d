//! The kernel's disk without its syncs, for tests that recover a thousand times.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use storage::disk::{Disk, DiskError, DiskFile, Entry, RealDisk};
use storage::map::Pages;

/// The kernel's disk without waiting for it: a thousand recoveries sync some thousand times.
#[derive(Debug)]
pub struct Hasty;

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
