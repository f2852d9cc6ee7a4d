//! A simulated disk: a page cache, what really reached the disk, and the names in between.
//!
//! The crash model:
//! - a kill keeps the cache: the next process sees what was written, synced or not;
//! - a power loss keeps what was synced, and of the rest any subset of its 512-byte sectors; a length
//!   may survive without its data, and the data without its length;
//! - names: operations that were not synced are lost from some point on, or (second mode) any of them;
//! - a failed sync leaves its pages clean: some of them reached the disk, the next sync succeeds
//!   without them, and only what is written again reaches the disk; the others may be dropped from the
//!   cache at any later moment, and what was on the disk before is read in their place;
//! - a failed directory sync likewise; the next operation on the directory brings back what it lost,
//!   because a directory's block is written whole;
//! - directories, where a simulation asks for them: a name like any other, with which all below it is lost;
//! - a fuse ends the process at any call, in the middle of a write too;
//! - a full disk: a write stops anywhere, `free_bytes` says none; single calls may be refused for want of
//!   space too, a sync among them (space is given out late), which loses pages like any other failure.

mod damage;
mod inode;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::IoSlice;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::disk::{Disk, DiskAction, DiskError, DiskFile, Entry};
use storage::error::{Corruption, Damage, StorageError};
use storage::map::Pages;

use super::{Coverage, Random};
pub use damage::{Damaged, Lying, Rot};
use inode::Inode;
pub(crate) use inode::NameOp;

/// A sector: what a power loss keeps or loses as one.
pub const SECTOR_BYTES: usize = 512;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOTEMPTY: i32 = 39;
/// What is there before anything is made.
const DATA: &str = "/data";
/// Where damaged files go.
pub const QUARANTINE: &str = "/data/quarantine";

const FREE_BYTES: u64 = 1 << 40;

/// What is to fail next, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFaultKind {
    /// The next write fails in the device.
    Write,
    /// The next write finds no space.
    WriteFull,
    /// The next file sync fails in the device.
    Sync,
    /// The next file sync finds no space for what was written.
    SyncFull,
    /// The next directory sync fails.
    SyncDirectory,
    /// The next create fails.
    Create,
    /// The next create finds no space.
    CreateFull,
    /// The next rename fails.
    Rename,
    /// The next rename finds no space.
    RenameFull,
    /// The next unlink fails.
    Unlink,
    /// The next open fails.
    Open,
    /// The next open finds no space.
    OpenFull,
    /// The next read fails.
    Read,
}

impl DiskFaultKind {
    /// All of them.
    pub const ALL: [DiskFaultKind; 13] = [
        DiskFaultKind::Write,
        DiskFaultKind::WriteFull,
        DiskFaultKind::Sync,
        DiskFaultKind::SyncFull,
        DiskFaultKind::SyncDirectory,
        DiskFaultKind::Create,
        DiskFaultKind::CreateFull,
        DiskFaultKind::Rename,
        DiskFaultKind::RenameFull,
        DiskFaultKind::Unlink,
        DiskFaultKind::Open,
        DiskFaultKind::OpenFull,
        DiskFaultKind::Read,
    ];
}

impl fmt::Display for DiskFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault: {self:?}")
    }
}

/// What else the crash model does, each with its name in the coverage.
pub const CRASHES: [&str; 10] = [
    KILL,
    POWER_LOSS,
    "disk: torn, some unsynced sectors of a file are lost",
    "disk: a length survives without its data",
    "disk: operations on names are lost from some point on",
    "disk: any of the operations on names are lost",
    "disk: a sync says so after one that failed, of what is lost",
    "disk: the process ends in the middle of a call",
    FULL,
    EVICTED,
];
/// The process ends, the cache stays.
pub const KILL: &str = "disk: kill";
/// The machine ends.
pub const POWER_LOSS: &str = "disk: power loss";
/// There is no more room.
pub const FULL: &str = "disk: full";
/// Pages that a failed sync left clean are dropped.
pub const EVICTED: &str = "disk: pages of a failed sync are dropped";
/// The process ends in the middle of a call.
pub const FUSE: &str = CRASHES[7];

#[derive(Clone, Debug)]
struct World {
    random: Random,
    inodes: Vec<Inode>,
    /// What a process sees.
    names: BTreeMap<PathBuf, usize>,
    /// What a power loss leaves, at least.
    disk_names: BTreeMap<PathBuf, usize>,
    /// Operations that a directory sync would make durable, in order.
    pending: Vec<NameOp<usize>>,
    /// What a failed directory sync lost; the next operation makes it pending again.
    lost: Vec<NameOp<usize>>,
    any_subset: bool,
    faults: BTreeSet<DiskFaultKind>,
    hit: Coverage,
    /// Where calls failed in this process, each until a failure was excused by it.
    met: Vec<PathBuf>,
    /// Files that were made shorter.
    cuts: Vec<PathBuf>,
    full: bool,
    /// Pages may be dropped at any call.
    evicts: bool,
    evictions: u32,
    fuse: Option<u32>,
    dead: bool,
    /// Counts processes: a file handle of an earlier one is of no use.
    process: u32,
    violation: Option<String>,
    /// The inodes that are directories; `None`: a directory is wherever a file is.
    directories: Option<BTreeSet<usize>>,
}

/// The disk of one seed.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    /// An empty disk. `any_subset`: a power loss may lose any of the unsynced operations on names.
    #[must_use]
    pub fn new(seed: u64, any_subset: bool) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(World {
            random: Random::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            disk_names: BTreeMap::new(),
            pending: Vec::new(),
            lost: Vec::new(),
            any_subset,
            faults: BTreeSet::new(),
            hit: Coverage::default(),
            met: Vec::new(),
            cuts: Vec::new(),
            full: false,
            evicts: false,
            evictions: 0,
            fuse: None,
            dead: false,
            process: 0,
            violation: None,
            directories: None,
        })))
    }

    /// From now on a directory is there once it was made, and a power loss may take it.
    pub fn keep_directories(&self) {
        self.world().directories = Some(BTreeSet::new());
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it chooses from now on comes of these random numbers.
    pub fn choose_by(&self, random: Random) {
        self.world().random = random;
    }

    /// The next operation of this kind fails.
    pub fn arm(&self, fault: DiskFaultKind) {
        self.world().faults.insert(fault);
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        let mut world = self.world();
        world.faults.clear();
        world.full = false;
        world.evicts = false;
        world.fuse = None;
    }

    /// Pages that a failed sync left clean are dropped.
    pub fn evict(&self) {
        self.world().evict();
    }

    /// From now on that may happen at any call, until it is set back: no reader may hold what it takes.
    pub fn set_evicts(&self, evicts: bool) {
        self.world().evicts = evicts;
    }

    /// The process ends at the `calls`-th call from now.
    pub fn light_fuse(&self, calls: u32) {
        self.world().fuse = Some(calls);
    }

    /// Whether the fuse has burnt down.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// There is no more room, or there is again.
    pub fn set_full(&self, full: bool) {
        self.world().full = full;
    }

    /// Whether there is no more room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.world().full
    }

    /// Whether a failure of a call was met in this process that these words are of; if `excuses`, it is met no more.
    #[must_use]
    pub fn met(&self, text: &str, excuses: bool) -> bool {
        let mut world = self.world();
        let of = |path: &PathBuf| {
            let rest = text.strip_prefix(&*path.to_string_lossy());
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        let Some(at) = world.met.iter().position(of) else {
            return false;
        };
        if excuses {
            world.met.swap_remove(at);
        }
        true
    }

    /// What happened since this was last asked.
    #[must_use]
    pub fn take_hits(&self) -> Coverage {
        std::mem::take(&mut self.world().hit)
    }

    /// The same disk beside this one: what happens there does not happen here.
    #[must_use]
    pub fn fork(&self, seed: u64) -> SimDisk {
        let mut world = self.world().clone();
        world.end_process();
        world.full = false;
        world.random = Random::new(seed);
        world.inodes.iter_mut().for_each(|inode| inode.maps = 0);
        SimDisk(Arc::new(Mutex::new(world)))
    }

    /// Something that the disk saw and that must never be: a cut under a map.
    #[must_use]
    pub fn violation(&self) -> Option<String> {
        self.world().violation.clone()
    }

    /// The process ends; the cache stays.
    pub fn kill(&self) {
        let mut world = self.world();
        world.end_process();
        world.hit.hit(KILL);
        world.inodes.iter_mut().for_each(|inode| inode.maps = 0);
    }

    /// How often pages were dropped, and what is read is another since.
    #[must_use]
    pub fn evictions(&self) -> u32 {
        self.world().evictions
    }

    /// Whether there are pages that may be dropped.
    #[must_use]
    pub fn may_evict(&self) -> bool {
        self.world()
            .inodes
            .iter()
            .any(|inode| !inode.lost.is_empty())
    }

    /// The machine ends; the cache goes.
    pub fn lose_power(&self) {
        let mut world = self.world();
        world.end_process();
        world.hit.hit(POWER_LOSS);
        let World {
            random,
            inodes,
            names,
            disk_names,
            pending,
            lost,
            any_subset,
            hit,
            directories,
            ..
        } = &mut *world;
        if *any_subset {
            let before = pending.len();
            pending.retain(|_| random.chance(500));
            if pending.len() < before {
                hit.hit(CRASHES[5]);
            }
        } else {
            let kept = random.below(pending.len() as u64 + 1) as usize;
            if kept < pending.len() {
                hit.hit(CRASHES[4]);
            }
            pending.truncate(kept);
        }
        pending.iter().for_each(|op| op.apply(disk_names));
        pending.clear();
        lost.clear();
        if directories.is_some() {
            without_directory(disk_names);
        }
        *names = disk_names.clone();
        // Only what has a name can be seen again.
        let named: BTreeSet<usize> = names.values().copied().collect();
        for (index, inode) in inodes.iter_mut().enumerate() {
            if named.contains(&index) {
                inode.lose_power(random, hit);
            } else {
                *inode = Inode::default();
            }
        }
    }

    /// All that is in a directory is gone, for good.
    pub fn unlink_all(&self, directory: &Path) {
        let mut world = self.world();
        let here = |path: &PathBuf| path.parent() == Some(directory);
        world.names.retain(|path, _| !here(path));
        world.disk_names.retain(|path, _| !here(path));
        world.pending.retain(|op| !op.is_in(directory));
        world.lost.retain(|op| !op.is_in(directory));
    }

    /// Whether a file was moved to quarantine.
    #[must_use]
    pub fn quarantined(&self) -> bool {
        let world = self.world();
        below(&world.names, Path::new(QUARANTINE)).any(|(_, inode)| !world.is_directory(*inode))
    }

    /// What lies below a directory, also directories.
    #[must_use]
    pub fn files_below(&self, directory: &str) -> Vec<String> {
        let world = self.world();
        below(&world.names, Path::new(directory))
            .map(|(path, _)| path.display().to_string())
            .collect()
    }

    /// The files and their lengths, for a trace.
    #[must_use]
    pub fn files(&self) -> Vec<(String, usize)> {
        let world = self.world();
        let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let files = world.names.iter().map(|(path, &inode)| {
            (
                name(path).unwrap_or_default(),
                world.inodes[inode].cache.len(),
            )
        });
        files.collect()
    }
}

/// What lies below a directory, in order; not itself. Paths are sorted component by component: it stands together.
fn below<'a>(
    names: &'a BTreeMap<PathBuf, usize>,
    directory: &'a Path,
) -> impl Iterator<Item = (&'a PathBuf, &'a usize)> {
    names
        .range::<Path, _>((Bound::Excluded(directory), Bound::Unbounded))
        .take_while(move |(path, _)| path.starts_with(directory))
}

/// What lies in a directory that is not there is not there.
fn without_directory(names: &mut BTreeMap<PathBuf, usize>) {
    let mut there: BTreeSet<PathBuf> = BTreeSet::from([PathBuf::from(DATA)]);
    // Sorted: a directory stands before what is in it.
    names.retain(|path, _| {
        let parent = path.parent().is_some_and(|parent| there.contains(parent));
        if parent {
            there.insert(path.clone());
        }
        parent
    });
}

impl World {
    fn is_directory(&self, inode: usize) -> bool {
        let directories = self.directories.as_ref();
        directories.is_some_and(|directories| directories.contains(&inode))
    }

    /// Whether a directory may be looked into, as far as directories are kept.
    fn has_directory(&self, path: &Path) -> bool {
        self.directories.is_none()
            || path == Path::new(DATA)
            || self
                .names
                .get(path)
                .is_some_and(|&inode| self.is_directory(inode))
    }

    fn end_process(&mut self) {
        self.process += 1;
        self.dead = false;
        self.fuse = None;
        self.faults.clear();
        self.met.clear();
    }

    /// Counts a call; `Err`: the process ended before it, or in the middle of it.
    fn call(&mut self, path: &Path, doing: DiskAction) -> Result<(), DiskError> {
        match self.fuse {
            Some(0) => {
                if !self.dead {
                    self.hit.hit(FUSE);
                }
                self.dead = true;
            }
            Some(calls) => self.fuse = Some(calls - 1),
            None => {}
        }
        if self.dead {
            return Err(DiskError::new(path, doing, EIO));
        }
        if self.evicts && self.random.chance(50) {
            self.evict();
        }
        Ok(())
    }

    fn evict(&mut self) {
        for inode in &mut self.inodes {
            if inode.evict(&mut self.random) {
                self.evictions += 1;
                self.hit.hit(EVICTED);
            }
        }
    }

    /// Whether a call that one of these may meet fails, and with which error.
    fn fails(
        &mut self,
        path: &Path,
        device: DiskFaultKind,
        full: Option<DiskFaultKind>,
    ) -> Option<i32> {
        let mut meets = |fault: DiskFaultKind| {
            let met = self.faults.remove(&fault);
            if met {
                self.hit.hit(&fault.to_string());
                self.met.push(path.to_path_buf());
            }
            met
        };
        if meets(device) {
            return Some(EIO);
        }
        full.is_some_and(meets).then_some(ENOSPC)
    }

    /// There is no room for this.
    fn meets_full(&mut self, path: &Path) {
        self.hit.hit(FULL);
        self.met.push(path.to_path_buf());
    }

    fn name_op(&mut self, op: NameOp<usize>) {
        op.apply(&mut self.names);
        let (NameOp::Link(path, _) | NameOp::Unlink(path) | NameOp::Rename(path, _, _)) = &op;
        let directory = path.parent();
        let is_here = |op: &mut NameOp<usize>| directory.is_some_and(|here| op.is_in(here));
        let back: Vec<NameOp<usize>> = self.lost.extract_if(.., is_here).collect();
        self.pending.splice(0..0, back);
        self.pending.push(op);
    }
}

#[derive(Clone)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: usize,
    process: u32,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}

impl SimFile {
    fn call(&self, doing: DiskAction) -> Result<MutexGuard<'_, World>, DiskError> {
        let mut world = self.disk.world();
        world.call(&self.path, doing)?;
        if world.process != self.process {
            return Err(DiskError::new(&self.path, doing, EIO));
        }
        Ok(world)
    }

    fn error<T>(&self, doing: DiskAction, errno: i32) -> Result<T, DiskError> {
        Err(DiskError::new(&self.path, doing, errno))
    }
}

impl DiskFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> Result<u64, DiskError> {
        let world = self.call(DiskAction::Read)?;
        Ok(world.inodes[self.inode].cache.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at_byte: u64) -> Result<usize, DiskError> {
        let mut world = self.call(DiskAction::Read)?;
        if let Some(errno) = world.fails(&self.path, DiskFaultKind::Read, None) {
            return self.error(DiskAction::Read, errno);
        }
        let cache = &world.inodes[self.inode].cache;
        let start = (at_byte as usize).min(cache.len());
        let read = buffer.len().min(cache.len() - start);
        buffer[..read].copy_from_slice(&cache[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at_byte: u64) -> Result<(), DiskError> {
        let bytes: Vec<u8> = slices
            .iter()
            .map(|slice| &**slice)
            .collect::<Vec<&[u8]>>()
            .concat();
        let called = self.call(DiskAction::Write).map(drop);
        let mut world = self.disk.world();
        if world.process != self.process {
            return self.error(DiskAction::Write, EIO);
        }
        // Now and then before it began.
        let stopped = |world: &mut World| {
            let all = world.random.chance(750);
            let part = world.random.below(bytes.len() as u64 * u64::from(all) + 1) as usize;
            world.inodes[self.inode].write(at_byte as usize, &bytes[..part]);
        };
        if let Err(error) = called {
            // The process ended in the middle of this write, or long before.
            if world.fuse.take().is_some() {
                stopped(&mut world);
            }
            return Err(error);
        }
        if let Some(errno) = world.fails(
            &self.path,
            DiskFaultKind::Write,
            Some(DiskFaultKind::WriteFull),
        ) {
            stopped(&mut world);
            return self.error(DiskAction::Write, errno);
        }
        let end = at_byte as usize + bytes.len();
        if world.full && end > world.inodes[self.inode].cache.len() {
            world.meets_full(&self.path);
            stopped(&mut world);
            return self.error(DiskAction::Write, ENOSPC);
        }
        world.inodes[self.inode].write(at_byte as usize, &bytes);
        Ok(())
    }

    fn allocate(&self, _at_byte: u64, _bytes: u64) -> Result<(), DiskError> {
        let mut world = self.call(DiskAction::Allocate)?;
        if world.full && world.random.chance(500) {
            world.meets_full(&self.path);
            return self.error(DiskAction::Allocate, ENOSPC);
        }
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> Result<(), DiskError> {
        let mut world = self.call(DiskAction::Truncate)?;
        let inode = &mut world.inodes[self.inode];
        if inode.maps > 0 && (bytes as usize) < inode.cache.len() {
            let cut = format!("{} was cut under a map", self.path.display());
            world.violation = Some(cut);
            return Ok(());
        }
        if (bytes as usize) < inode.cache.len() {
            let cut = self.path.clone();
            inode.truncate(bytes as usize);
            world.cuts.push(cut);
        } else {
            inode.truncate(bytes as usize);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut world = self.call(DiskAction::Sync)?;
        let fails = world.fails(
            &self.path,
            DiskFaultKind::Sync,
            Some(DiskFaultKind::SyncFull),
        );
        let World {
            random,
            inodes,
            hit,
            ..
        } = &mut *world;
        if let Some(errno) = fails {
            inodes[self.inode].sync_fails(random);
            return self.error(DiskAction::Sync, errno);
        }
        if inodes[self.inode].sync() {
            hit.hit(CRASHES[6]);
        }
        Ok(())
    }
}

struct SimPages(SimFile);

impl fmt::Debug for SimPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimPages({})", self.0.path.display())
    }
}

impl Drop for SimPages {
    fn drop(&mut self) {
        let mut world = self.0.disk.world();
        if world.process == self.0.process {
            world.inodes[self.0.inode].maps -= 1;
        }
    }
}

impl Pages for SimPages {
    fn buffer(&self, at_byte: u64, len: usize) -> Result<arrow_buffer::Buffer, StorageError> {
        let world = self.0.disk.world();
        let cache = &world.inodes[self.0.inode].cache;
        let start = at_byte as usize;
        match cache.get(start..start.saturating_add(len)) {
            Some(bytes) => Ok(arrow_buffer::Buffer::from_slice_ref(bytes)),
            None => Err(Damage::at(at_byte, Corruption::Truncated).in_file(&self.0.path)),
        }
    }

    fn prefetch(&self, _at_byte: u64, _len: usize) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
        let mut world = self.world();
        world.call(directory, DiskAction::List)?;
        if !world.has_directory(directory) {
            return Err(DiskError::new(directory, DiskAction::List, ENOENT));
        }
        let below = below(&world.names, directory);
        let here = below.filter(|(path, _)| path.parent() == Some(directory));
        let entries = here.filter_map(|(path, &inode)| {
            Some(Entry {
                name: path.file_name()?.to_owned(),
                is_directory: world.is_directory(inode),
            })
        });
        Ok(entries.collect())
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::Create)?;
        if let Some(errno) =
            world.fails(path, DiskFaultKind::Create, Some(DiskFaultKind::CreateFull))
        {
            return Err(DiskError::new(path, DiskAction::Create, errno));
        }
        if world.names.contains_key(path) {
            return Err(DiskError::new(path, DiskAction::Create, EEXIST));
        }
        if !path
            .parent()
            .is_some_and(|parent| world.has_directory(parent))
        {
            return Err(DiskError::new(path, DiskAction::Create, ENOENT));
        }
        if world.full && world.random.chance(300) {
            world.meets_full(path);
            return Err(DiskError::new(path, DiskAction::Create, ENOSPC));
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.name_op(NameOp::Link(path.to_path_buf(), inode));
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            inode,
            process: world.process,
        }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::Open)?;
        if let Some(errno) = world.fails(path, DiskFaultKind::Open, Some(DiskFaultKind::OpenFull)) {
            return Err(DiskError::new(path, DiskAction::Open, errno));
        }
        match world.names.get(path) {
            Some(&inode) => Ok(Arc::new(SimFile {
                disk: self.clone(),
                path: path.to_path_buf(),
                inode,
                process: world.process,
            })),
            None => Err(DiskError::new(path, DiskAction::Open, ENOENT)),
        }
    }

    fn pages(&self, path: &Path, _bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::Map)?;
        let Some(&inode) = world.names.get(path) else {
            return Err(DiskError::new(path, DiskAction::Map, ENOENT));
        };
        world.inodes[inode].maps += 1;
        Ok(Arc::new(SimPages(SimFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            inode,
            process: world.process,
        })))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut world = self.world();
        world.call(from, DiskAction::Rename)?;
        if let Some(errno) =
            world.fails(from, DiskFaultKind::Rename, Some(DiskFaultKind::RenameFull))
        {
            return Err(DiskError::new(from, DiskAction::Rename, errno));
        }
        let Some(&inode) = world.names.get(from) else {
            return Err(DiskError::new(from, DiskAction::Rename, ENOENT));
        };
        world.name_op(NameOp::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        if world.is_directory(inode) {
            let below: Vec<(PathBuf, usize)> = below(&world.names, from)
                .map(|(path, &inode)| (path.clone(), inode))
                .collect();
            for (path, inode) in below {
                let rest = path.strip_prefix(from).unwrap_or(&path).to_path_buf();
                world.name_op(NameOp::Rename(path, to.join(rest), inode));
            }
        }
        Ok(())
    }

    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::Unlink)?;
        if let Some(errno) = world.fails(path, DiskFaultKind::Unlink, None) {
            return Err(DiskError::new(path, DiskAction::Unlink, errno));
        }
        if world.names.contains_key(path) {
            world.name_op(NameOp::Unlink(path.to_path_buf()));
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::Create)?;
        let mut missing: Vec<&Path> = path
            .ancestors()
            .take_while(|path| !world.has_directory(path))
            .collect();
        while let Some(path) = missing.pop() {
            if let Some(errno) =
                world.fails(path, DiskFaultKind::Create, Some(DiskFaultKind::CreateFull))
            {
                return Err(DiskError::new(path, DiskAction::Create, errno));
            }
            let inode = world.inodes.len();
            world.inodes.push(Inode::default());
            let directories = world.directories.as_mut();
            directories.map(|directories| directories.insert(inode));
            world.name_op(NameOp::Link(path.to_path_buf(), inode));
        }
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::Unlink)?;
        if world.directories.is_none() || !world.names.contains_key(path) {
            return Ok(());
        }
        if below(&world.names, path).next().is_some() {
            return Err(DiskError::new(path, DiskAction::Unlink, ENOTEMPTY));
        }
        if let Some(errno) = world.fails(path, DiskFaultKind::Unlink, None) {
            return Err(DiskError::new(path, DiskAction::Unlink, errno));
        }
        world.name_op(NameOp::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::SyncDirectory)?;
        let fails = world.fails(path, DiskFaultKind::SyncDirectory, None);
        let World {
            random,
            disk_names,
            pending,
            lost,
            ..
        } = &mut *world;
        let (mut here, elsewhere): (Vec<NameOp<usize>>, Vec<NameOp<usize>>) =
            pending.drain(..).partition(|op| op.is_in(path));
        *pending = elsewhere;
        if let Some(errno) = fails {
            let kept = random.below(here.len() as u64 + 1) as usize;
            here[..kept].iter().for_each(|op| op.apply(disk_names));
            lost.extend(here.drain(..).skip(kept));
            return Err(DiskError::new(path, DiskAction::SyncDirectory, errno));
        }
        here.drain(..).for_each(|op| op.apply(disk_names));
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let mut world = self.world();
        world.call(path, DiskAction::FreeSpace)?;
        // The room is gone between the question and the write, now and then.
        if world.full && world.random.chance(700) {
            world.meets_full(path);
            return Ok(0);
        }
        Ok(FREE_BYTES)
    }
}
