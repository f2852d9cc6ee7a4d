//! One file, and one operation on names: what a process sees, and what a power loss leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{CRASHES, SECTOR_BYTES};
use crate::sim::{Coverage, Random};

/// What the kernel keeps or drops as one.
const PAGE_BYTES: usize = 4_096;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What a process sees.
    pub(super) cache: Vec<u8>,
    /// What a power loss leaves, at least.
    pub(super) disk: Vec<u8>,
    /// Sectors of the cache that a sync would write.
    pub(super) dirty: BTreeSet<usize>,
    pub(super) length_dirty: bool,
    /// A sync failed, and what it did not write was not written again since: the next one lies.
    pub(super) lost_in_sync: bool,
    /// Sectors that a failed sync left clean and unwritten: their pages may be dropped.
    pub(super) lost: BTreeSet<usize>,
    /// Readers of this process that have its pages.
    pub(super) maps: u32,
}

impl Inode {
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.cache.len() {
            // A gap reads as zeros; its sectors are nobody's writes.
            self.cache.resize(end, 0);
            self.length_dirty = true;
        }
        self.cache[at..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            for sector in at / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
                self.dirty.insert(sector);
                self.lost.remove(&sector);
            }
        }
    }

    pub(super) fn truncate(&mut self, bytes: usize) {
        self.cache.resize(bytes, 0);
        self.length_dirty = true;
        self.dirty.retain(|sector| sector * SECTOR_BYTES < bytes);
        self.lost.retain(|sector| sector * SECTOR_BYTES < bytes);
    }

    /// The kernel drops pages that a failed sync left clean: what was on the disk before is read again.
    /// Whether any byte is another now.
    pub(super) fn evict(&mut self, random: &mut Random) -> bool {
        let page = |sector: usize| sector * SECTOR_BYTES / PAGE_BYTES;
        let mut changed = false;
        let mut dropped = None;
        for sector in self.lost.clone() {
            // Each page goes or stays; one that is dirty again stays.
            let goes = match dropped {
                Some((of, goes)) if of == page(sector) => goes,
                _ => {
                    let dirty = self.dirty.iter().any(|one| page(*one) == page(sector));
                    random.chance(600) && !dirty
                }
            };
            dropped = Some((page(sector), goes));
            if !goes {
                continue;
            }
            self.lost.remove(&sector);
            let start = sector * SECTOR_BYTES;
            for at in start..(start + SECTOR_BYTES).min(self.cache.len()) {
                let byte = self.disk.get(at).copied().unwrap_or(0);
                changed |= self.cache[at] != byte;
                self.cache[at] = byte;
            }
        }
        changed
    }

    /// A sector reaches the disk.
    pub(super) fn flush(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.cache.len());
        if start >= end {
            return;
        }
        if self.disk.len() < end {
            self.disk.resize(end, 0);
        }
        self.disk[start..end].copy_from_slice(&self.cache[start..end]);
    }

    /// Whether it says so of what an earlier one has lost.
    pub(super) fn sync(&mut self) -> bool {
        for sector in std::mem::take(&mut self.dirty) {
            self.flush(sector);
        }
        if self.length_dirty {
            self.disk.resize(self.cache.len(), 0);
        }
        self.length_dirty = false;
        std::mem::take(&mut self.lost_in_sync) && self.disk != self.cache
    }

    pub(super) fn sync_fails(&mut self, random: &mut Random) {
        let most = random.below(4) * 333;
        for sector in std::mem::take(&mut self.dirty) {
            if random.chance(most) {
                self.flush(sector);
            } else {
                self.lost.insert(sector);
            }
        }
        if self.length_dirty && random.chance(500) {
            self.disk.resize(self.cache.len(), 0);
        }
        self.length_dirty = false;
        self.lost_in_sync = true;
    }

    pub(super) fn lose_power(&mut self, random: &mut Random, hit: &mut Coverage) {
        // From "nothing" to "all": each is the shortest way to some bug.
        let kept = random.below(5) * 250;
        let old_bytes = self.disk.len();
        let dirty = std::mem::take(&mut self.dirty);
        let mut lost = 0;
        for &sector in &dirty {
            if random.chance(kept) {
                self.flush(sector);
            } else {
                lost += 1;
            }
        }
        if (1..dirty.len()).contains(&lost) {
            hit.hit(CRASHES[2]);
        }
        if self.length_dirty {
            let bytes = match random.below(3) {
                0 => old_bytes,
                1 => self.cache.len(),
                _ => self.disk.len(),
            };
            if bytes > self.disk.len() {
                hit.hit(CRASHES[3]);
            }
            self.disk.resize(bytes, 0);
        }
        self.length_dirty = false;
        self.lost_in_sync = false;
        self.lost.clear();
        self.cache = self.disk.clone();
        self.maps = 0;
    }
}

/// An operation on names; `N` is what a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum NameOp<N> {
    Link(PathBuf, N),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, N),
}

impl<N: Copy> NameOp<N> {
    /// Whether a sync of this directory makes it last: of a rename, which is one transaction of the file
    /// system, either directory's.
    pub(crate) fn is_in(&self, directory: &Path) -> bool {
        match self {
            NameOp::Link(path, _) | NameOp::Unlink(path) => path.parent() == Some(directory),
            NameOp::Rename(from, to, _) => {
                from.parent() == Some(directory) || to.parent() == Some(directory)
            }
        }
    }

    /// Whether it makes or takes this name.
    pub(crate) fn is_of(&self, name: &Path) -> bool {
        match self {
            NameOp::Link(path, _) | NameOp::Unlink(path) => path == name,
            NameOp::Rename(from, to, _) => from == name || to == name,
        }
    }

    pub(crate) fn apply(&self, names: &mut BTreeMap<PathBuf, N>) {
        match self {
            NameOp::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameOp::Unlink(path) => {
                names.remove(path);
            }
            NameOp::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}
