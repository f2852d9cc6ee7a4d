//! A disk that tells what was done to names, and which files were cut, in order; maps, opens and syncs nothing of what
//! it is told not to, and has as much room as it is told.

use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Mutex};

use storage::disk::{Disk, DiskAction, DiskError, DiskFile, Entry, RealDisk};
use storage::map::Pages;

/// See the module.
#[derive(Debug, Default)]
pub struct Watched {
    no_maps: bool,
    unreadable: Option<&'static str>,
    free_bytes: Option<u64>,
    unlinks: bool,
    no_directory_syncs: bool,
    said: Said,
}

type Said = Arc<Mutex<Vec<String>>>;

fn say(said: &Said, call: &str, path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut said = said.lock().expect("nobody panicked");
    said.push(format!("{call} {name}"));
}

impl Watched {
    /// One that maps nothing.
    pub fn without_maps() -> Watched {
        Watched {
            no_maps: true,
            ..Watched::default()
        }
    }

    /// One that refuses to open the file of this name.
    pub fn unreadable(name: &'static str) -> Watched {
        Watched {
            unreadable: Some(name),
            ..Watched::default()
        }
    }

    /// One with so much room.
    pub fn with_room(free_bytes: u64) -> Watched {
        Watched {
            free_bytes: Some(free_bytes),
            ..Watched::default()
        }
    }

    /// One that tells what is unlinked too.
    pub fn with_unlinks() -> Watched {
        Watched {
            unlinks: true,
            ..Watched::default()
        }
    }

    /// One that syncs no directory.
    pub fn without_directory_syncs() -> Watched {
        Watched {
            no_directory_syncs: true,
            ..Watched::default()
        }
    }

    /// What was done: the call and the path's last part.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("nobody panicked").clone()
    }

    fn say(&self, call: &str, path: &Path) {
        say(&self.said, call, path);
    }
}

#[derive(Debug)]
struct WatchedFile(Arc<dyn DiskFile>, Said);

impl DiskFile for WatchedFile {
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
        say(&self.1, "cut", self.path());
        self.0.truncate(bytes)
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.0.sync()
    }
}

impl Disk for Watched {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        RealDisk.list(directory)
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        RealDisk.create(path)
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        if self.unreadable.is_some_and(|name| path.ends_with(name)) {
            return Err(DiskError::new(path, DiskAction::Open, 5));
        }
        let file = RealDisk.open(path)?;
        Ok(Arc::new(WatchedFile(file, Arc::clone(&self.said))))
    }
    fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
        if self.no_maps {
            // EMFILE, which is none of the disk's.
            return Err(DiskError::new(path, DiskAction::Map, 24));
        }
        RealDisk.pages(path, bytes_max)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.say("rename to", to);
        RealDisk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        if self.unlinks {
            self.say("unlink", path);
        }
        RealDisk.unlink(path)
    }
    fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.say("make", path);
        RealDisk.make_directory(path)
    }
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.remove_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.say("sync", path);
        if self.no_directory_syncs {
            return Err(DiskError::new(path, DiskAction::SyncDirectory, 5));
        }
        RealDisk.sync_directory(path)
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        match self.free_bytes {
            Some(free_bytes) => Ok(free_bytes),
            None => RealDisk.free_bytes(path),
        }
    }
}
