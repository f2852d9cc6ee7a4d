//! A disk that notes what passes through it.
//!
//! Each operation is noted twice: before it is handed on, and when it has ended. What lies between the two
//! may have reached the disk or not; what ended before a sync began is what the sync promises. Reads are
//! not noted: they change nothing.

use std::collections::HashMap;
use std::fmt;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::disk::{Disk, DiskAction, DiskError, DiskFile, Entry};
use storage::map::Pages;

const EIO: i32 = 5;

/// A file, by the order in which they were made; it keeps its number under another name.
pub type FileNumber = usize;

/// What changes a disk.
#[derive(Clone, Debug)]
pub enum Op {
    /// A file is made.
    Create(PathBuf, FileNumber),
    /// Bytes are written.
    Write(FileNumber, u64, Arc<[u8]>),
    /// The length is set.
    Truncate(FileNumber, u64),
    /// A file is synced.
    Sync(FileNumber),
    /// A name becomes another.
    Rename(PathBuf, PathBuf),
    /// A name goes.
    Unlink(PathBuf),
    /// A directory and its missing parents are made.
    MakeDirectory(PathBuf),
    /// A directory goes.
    RemoveDirectory(PathBuf),
    /// A directory is synced.
    SyncDirectory(PathBuf),
}

/// One note. `T` is what the caller tells between them.
#[derive(Clone, Debug)]
pub enum Note<T> {
    /// An operation is about to be handed on.
    Began(Op),
    /// The operation of that note has ended, well or not.
    Ended(usize, bool),
    /// Something was told to somebody who may rely on it.
    Told(T),
}

/// The notes of a run.
pub struct Notes<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    notes: Vec<Note<T>>,
    files: usize,
    names: HashMap<PathBuf, FileNumber>,
}

impl<T> Default for Notes<T> {
    fn default() -> Notes<T> {
        Notes {
            inner: Mutex::new(Inner {
                notes: Vec::new(),
                files: 0,
                names: HashMap::new(),
            }),
        }
    }
}

impl<T> Notes<T> {
    /// Tells something, behind all that has ended until now.
    pub fn tell(&self, told: T) {
        self.inner().notes.push(Note::Told(told));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner().notes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them; none are left.
    #[must_use]
    pub fn take(&self) -> Vec<Note<T>> {
        std::mem::take(&mut self.inner().notes)
    }

    /// Files that are there to begin with, all of them synced; numbered in this order.
    pub fn begin_with(&self, files: impl IntoIterator<Item = PathBuf>) {
        let mut inner = self.inner();
        for path in files {
            let number = inner.number();
            inner.names.insert(path, number);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<R>(&self, op: Op, act: impl FnOnce() -> Result<R, DiskError>) -> Result<R, DiskError> {
        let began = {
            let mut inner = self.inner();
            inner.notes.push(Note::Began(op.clone()));
            inner.notes.len() - 1
        };
        let done = act();
        let mut inner = self.inner();
        if done.is_ok() {
            inner.rename(op);
        }
        inner.notes.push(Note::Ended(began, done.is_ok()));
        done
    }
}

impl<T> Inner<T> {
    fn number(&mut self) -> FileNumber {
        self.files += 1;
        self.files - 1
    }

    fn rename(&mut self, op: Op) {
        match op {
            Op::Create(path, number) => {
                self.names.insert(path, number);
            }
            Op::Rename(from, to) => {
                if let Some(number) = self.names.remove(&from) {
                    self.names.insert(to, number);
                }
            }
            Op::Unlink(path) => {
                self.names.remove(&path);
            }
            _ => {}
        }
    }
}

/// What is called before an operation is noted.
pub type Before<T> = dyn Fn(&Notes<T>) + Send + Sync;

/// The disk. It asks `before` before each operation, so that what others can see by then is told first.
pub struct Traced<T> {
    disk: Arc<dyn Disk>,
    pen: Pen<T>,
}

impl<T> Traced<T> {
    /// Everything goes to `disk`, and is noted in `notes`.
    pub fn new(disk: Arc<dyn Disk>, notes: Arc<Notes<T>>, before: Arc<Before<T>>) -> Traced<T> {
        Traced {
            disk,
            pen: Pen { notes, before },
        }
    }
}

/// What notes.
struct Pen<T> {
    notes: Arc<Notes<T>>,
    before: Arc<Before<T>>,
}

impl<T> Pen<T> {
    fn note<R>(&self, op: Op, act: impl FnOnce() -> Result<R, DiskError>) -> Result<R, DiskError> {
        (self.before)(&self.notes);
        self.notes.note(op, act)
    }

    fn file(&self, file: Arc<dyn DiskFile>, number: FileNumber) -> Arc<dyn DiskFile>
    where
        T: Send + 'static,
    {
        let pen = Pen {
            notes: Arc::clone(&self.notes),
            before: Arc::clone(&self.before),
        };
        Arc::new(TracedFile { file, number, pen })
    }
}

struct TracedFile<T> {
    file: Arc<dyn DiskFile>,
    number: FileNumber,
    pen: Pen<T>,
}

impl<T> fmt::Debug for TracedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl<T: Send> DiskFile for TracedFile<T> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        self.file.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        self.file.read_at(buffer, at_byte)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let all: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.pen
            .note(Op::Write(self.number, at_byte, all.into()), || {
                self.file.write_at(slices, at_byte)
            })
    }

    fn allocate(&self, at_byte: u64, bytes: u64) -> Result<(), DiskError> {
        self.file.allocate(at_byte, bytes)
    }

    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        self.pen.note(Op::Truncate(self.number, bytes), || {
            self.file.truncate(bytes)
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.pen.note(Op::Sync(self.number), || self.file.sync())
    }
}

impl<T: Send + 'static> Disk for Traced<T> {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        self.disk.list(directory)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let number = self.pen.notes.inner().number();
        let file = self.pen.note(Op::Create(path.to_path_buf(), number), || {
            self.disk.create(path)
        })?;
        Ok(self.pen.file(file, number))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = self.disk.open(path)?;
        // What is written to a file that is not known would not be noted: the notes would lie.
        let number = self.pen.notes.inner().names.get(path).copied();
        let number = number.ok_or(DiskError::new(path, DiskAction::Open, EIO))?;
        Ok(self.pen.file(file, number))
    }

    fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
        self.disk.pages(path, bytes_max)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.pen
            .note(Op::Rename(from.to_path_buf(), to.to_path_buf()), || {
                self.disk.rename(from, to)
            })
    }

    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        self.pen
            .note(Op::Unlink(path.to_path_buf()), || self.disk.unlink(path))
    }

    fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.pen.note(Op::MakeDirectory(path.to_path_buf()), || {
            self.disk.make_directory(path)
        })
    }

    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.pen.note(Op::RemoveDirectory(path.to_path_buf()), || {
            self.disk.remove_directory(path)
        })
    }

    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.pen.note(Op::SyncDirectory(path.to_path_buf()), || {
            self.disk.sync_directory(path)
        })
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.disk.free_bytes(path)
    }
}
