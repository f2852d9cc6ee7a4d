//! A disk in memory, for recoveries by the hundred thousand: it never fails and forgets nothing.
//!
//! It holds recovery to two rules that a real disk shows as a SIGBUS at best: nothing is cut that is
//! mapped, and nothing is read beyond a file's end.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_buffer::Buffer;
use storage::disk::{Disk, DiskAction, DiskError, DiskFile, Entry};
use storage::error::{Corruption, Damage, StorageError};
use storage::map::Pages;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, File>>>);

/// A file, open.
#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    mapped: bool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// Puts a file there.
    pub fn put(&self, path: PathBuf, bytes: Vec<u8>) {
        let content = Content {
            bytes,
            mapped: false,
        };
        let file = File {
            path: path.clone(),
            content: Arc::new(Mutex::new(content)),
        };
        lock(&self.0).insert(path, file);
    }

    /// Nothing is mapped any more.
    pub fn unmap(&self) {
        for file in lock(&self.0).values() {
            lock(&file.content).mapped = false;
        }
    }

    fn find(&self, path: &Path, doing: DiskAction) -> Result<File, DiskError> {
        let files = lock(&self.0);
        let file = files.get(path).cloned();
        file.ok_or_else(|| DiskError::new(path, doing, ENOENT))
    }
}

impl DiskFile for File {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        Ok(lock(&self.content).bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        let content = lock(&self.content);
        let at = usize::try_from(at_byte).unwrap_or(usize::MAX);
        let there = content.bytes.get(at..).unwrap_or_default();
        let read = there.len().min(buffer.len());
        buffer[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let mut content = lock(&self.content);
        let mut at = usize::try_from(at_byte).expect("a place in a file");
        for slice in slices {
            let end = at + slice.len();
            if content.bytes.len() < end {
                content.bytes.resize(end, 0);
            }
            content.bytes[at..end].copy_from_slice(slice);
            at = end;
        }
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> Result<(), DiskError> {
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        let mut content = lock(&self.content);
        let bytes = usize::try_from(bytes).expect("a file's length");
        assert!(
            !content.mapped || bytes >= content.bytes.len(),
            "{} is cut while it is mapped",
            self.path.display()
        );
        content.bytes.resize(bytes, 0);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl Pages for File {
    fn buffer(&self, at_byte: u64, len: usize) -> Result<Buffer, StorageError> {
        let content = lock(&self.content);
        let end = at_byte.saturating_add(len as u64);
        if end > content.bytes.len() as u64 {
            let damage = Damage {
                bytes: at_byte..end,
                what: Corruption::Truncated,
            };
            return Err(damage.in_file(&self.path));
        }
        let bytes = &content.bytes[at_byte as usize..end as usize];
        Ok(Buffer::from_slice_ref(bytes))
    }

    fn prefetch(&self, at_byte: u64, len: usize) -> Result<(), StorageError> {
        self.buffer(at_byte, len).map(drop)
    }
}

impl Disk for MemoryDisk {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        let files = lock(&self.0);
        let here = files.keys().filter(|path| path.parent() == Some(directory));
        Ok(here
            .filter_map(|path| path.file_name())
            .map(|name| Entry {
                name: name.to_owned(),
                is_directory: false,
            })
            .collect())
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        if lock(&self.0).contains_key(path) {
            return Err(DiskError::new(path, DiskAction::Create, EEXIST));
        }
        self.put(path.to_owned(), Vec::new());
        self.open(path)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(Arc::new(self.find(path, DiskAction::Open)?))
    }

    fn pages(&self, path: &Path, _: u64) -> Result<Arc<dyn Pages>, DiskError> {
        let file = self.find(path, DiskAction::Map)?;
        lock(&file.content).mapped = true;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut file = self.find(from, DiskAction::Rename)?;
        file.path = to.to_owned();
        let mut files = lock(&self.0);
        files.remove(from);
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        lock(&self.0).remove(path);
        Ok(())
    }

    fn make_directory(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove_directory(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> Result<u64, DiskError> {
        Ok(1 << 40)
    }
}
