//! The catalog's files, on a disk whose power may go.
//!
//! What was synced stays. Of the rest any 512-byte sectors may be lost, each with what was written there last or
//! with it alone, and lengths and names may be those of before. A process that ends by itself loses nothing: the
//! page cache has it all, synced or not, and the next process reads it there.
//!
//! A name is durable once its directory is synced: behind the first sync of a journal, and with a deletion that asks
//! for it, as SQLite's own code for Unix has it.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::Random;

const SECTOR_BYTES: usize = 512;

/// See the module.
#[derive(Default)]
pub(super) struct Files {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// As they were when the directory was synced last.
    synced_names: BTreeMap<String, usize>,
    /// So many calls that change something are still carried out.
    calls_left: Option<u32>,
    /// How many processes have had them before: who had is told by it, and changes nothing any more.
    pub processes: u64,
}

/// What a call is answered that comes behind the process's end.
#[derive(Debug)]
pub(super) struct HasEnded;

/// A file's bytes, and what they were where that is not synced.
#[derive(Default)]
struct Inode {
    bytes: Vec<u8>,
    /// What sectors that are not synced held before, the oldest first.
    before: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
    /// Those of them whose sync failed: the kernel holds them for written, and no other sync does it.
    void: BTreeSet<usize>,
    /// Lengths that the file has had.
    lengths: Vec<usize>,
}

impl Files {
    /// One empty file, whose name is durable.
    pub fn with(name: &str) -> Files {
        let names = BTreeMap::from([(name.to_owned(), 0)]);
        Files {
            inodes: vec![Inode::default()],
            synced_names: names.clone(),
            names,
            ..Files::default()
        }
    }

    /// The process ends behind so many calls that change something.
    pub fn end_behind(&mut self, calls: u32) {
        self.calls_left = Some(calls);
    }

    /// It goes on after all, unless it has ended by now; whether it has.
    pub fn has_ended(&mut self) -> bool {
        self.calls_left = self.calls_left.filter(|left| *left == 0);
        self.calls_left.is_some()
    }

    /// The sync of all that is not synced fails; `false`: all of it is.
    pub fn fail_sync(&mut self) -> bool {
        for one in &mut self.inodes {
            one.void = one.before.keys().copied().collect();
        }
        self.inodes.iter().any(|one| !one.void.is_empty())
    }

    /// Whether anything is not synced.
    pub fn is_dirty(&self) -> bool {
        let mut named = self.names.values().map(|inode| &self.inodes[*inode]);
        self.names != self.synced_names
            || named.any(|one| !one.before.is_empty() || !one.lengths.is_empty())
    }

    /// What the next process finds; behind a loss of power where `power_lost` says how it goes.
    pub fn begin_anew(&mut self, power_lost: Option<&mut Random>) {
        self.calls_left = None;
        self.processes += 1;
        let Some(random) = power_lost else {
            return;
        };
        let kept = Kept::any(random);
        self.inodes
            .iter_mut()
            .for_each(|one| one.lose(kept, random));
        let (now, synced) = (&mut self.names, &self.synced_names);
        let all: Vec<String> = now.keys().chain(synced.keys()).cloned().collect();
        for name in all {
            if kept.keeps(random) {
                continue;
            }
            match synced.get(&name) {
                Some(inode) => drop(now.insert(name, *inode)),
                None => drop(now.remove(&name)),
            }
        }
        self.synced_names = self.names.clone();
    }

    /// The file of this name, made where it is not there and `creates`.
    pub fn open(&mut self, name: &str, creates: bool) -> Option<usize> {
        if let Some(inode) = self.inode(name) {
            return Some(inode);
        }
        (creates && self.calls_left != Some(0)).then(|| {
            self.inodes.push(Inode::default());
            let inode = self.inodes.len() - 1;
            self.names.insert(name.to_owned(), inode);
            inode
        })
    }

    pub fn inode(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub fn delete(&mut self, name: &str, syncs_directory: bool) -> Result<(), HasEnded> {
        self.call()?;
        self.names.remove(name);
        if syncs_directory {
            self.synced_names = self.names.clone();
        }
        Ok(())
    }

    pub fn bytes(&self, inode: usize) -> &[u8] {
        self.inodes.get(inode).map_or(&[], |one| &one.bytes)
    }

    pub fn write(&mut self, inode: usize, at: usize, bytes: &[u8]) -> Result<(), HasEnded> {
        self.call()?;
        let one = self.inodes.get_mut(inode).ok_or(HasEnded)?;
        let end = at + bytes.len();
        one.keep_before(at, end, Some(bytes));
        if end > one.bytes.len() {
            one.set_length(end);
        }
        one.bytes[at..end].copy_from_slice(bytes);
        Ok(())
    }

    pub fn truncate(&mut self, inode: usize, length: usize) -> Result<(), HasEnded> {
        self.call()?;
        let one = self.inodes.get_mut(inode).ok_or(HasEnded)?;
        one.keep_before(length, one.bytes.len(), None);
        one.set_length(length);
        Ok(())
    }

    /// Syncs a file, and its directory where the file is new there.
    pub fn sync(&mut self, inode: usize) -> Result<(), HasEnded> {
        self.call()?;
        let one = self.inodes.get_mut(inode).ok_or(HasEnded)?;
        one.before.retain(|sector, _| one.void.contains(sector));
        one.lengths.clear();
        if self.synced_names.values().all(|synced| *synced != inode) {
            self.synced_names = self.names.clone();
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), HasEnded> {
        match &mut self.calls_left {
            None => Ok(()),
            Some(0) => Err(HasEnded),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Inode {
    /// Keeps what the sectors of a range hold that is to be written; `bytes`: with these, or it is cut off.
    fn keep_before(&mut self, at: usize, end: usize, bytes: Option<&[u8]>) {
        for sector in at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let from = at.max(sector * SECTOR_BYTES);
            let to = end.min((sector + 1) * SECTOR_BYTES);
            let there = self.bytes.get(from..to);
            let is_same = there.is_some() && there == bytes.map(|bytes| &bytes[from - at..to - at]);
            if is_same && !self.before.contains_key(&sector) {
                continue;
            }
            let mut before = [0; SECTOR_BYTES];
            let from = self.bytes.len().min(sector * SECTOR_BYTES);
            let there = &self.bytes[from..self.bytes.len().min((sector + 1) * SECTOR_BYTES)];
            before[..there.len()].copy_from_slice(there);
            self.before.entry(sector).or_default().push(before);
            self.void.remove(&sector);
        }
    }

    fn set_length(&mut self, length: usize) {
        self.lengths.push(self.bytes.len());
        self.bytes.resize(length, 0);
    }

    /// The power goes.
    fn lose(&mut self, kept: Kept, random: &mut Random) {
        let length = match self.lengths.len() as u64 {
            0 => self.bytes.len(),
            _ if kept == Kept::Nothing => self.lengths[0],
            _ if kept.keeps(random) => self.bytes.len(),
            lengths => self.lengths[random.below(lengths) as usize],
        };
        self.void.clear();
        for (sector, before) in std::mem::take(&mut self.before) {
            if kept.keeps(random) {
                continue;
            }
            let which = match kept {
                Kept::Nothing => 0,
                _ => random.below(before.len() as u64) as usize,
            };
            let end = (sector + 1) * SECTOR_BYTES;
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            self.bytes[end - SECTOR_BYTES..end].copy_from_slice(&before[which]);
        }
        self.bytes.resize(length, 0);
        self.lengths.clear();
    }
}

/// What a power loss leaves of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Some,
    Most,
}

impl Kept {
    fn any(random: &mut Random) -> Kept {
        [Kept::Nothing, Kept::Some, Kept::Most][random.below(3) as usize]
    }

    fn keeps(self, random: &mut Random) -> bool {
        match self {
            Kept::Nothing => false,
            Kept::Some => random.chance(500),
            Kept::Most => random.chance(900),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a power loss may leave of two writes behind a sync.
    fn left(sync: bool, fails: bool) -> BTreeSet<Vec<u8>> {
        let left = |seed| {
            let mut files = Files::with("a");
            for byte in [1, 2, 3] {
                files
                    .write(0, 0, &[byte; 2 * SECTOR_BYTES])
                    .expect("it goes on");
                if byte == 1 {
                    files.sync(0).expect("it goes on");
                }
            }
            if fails {
                files.fail_sync();
            }
            if sync {
                files.sync(0).expect("it goes on");
            }
            files.begin_anew(Some(&mut Random::new(seed)));
            vec![files.bytes(0)[0], files.bytes(0)[SECTOR_BYTES]]
        };
        (0..500).map(left).collect()
    }

    #[test]
    fn a_power_loss_takes_any_sector_back_that_is_not_synced() {
        let any = [1, 2, 3]
            .into_iter()
            .flat_map(|a| [1, 2, 3].map(|b| vec![a, b]));
        let any: BTreeSet<Vec<u8>> = any.collect();
        assert_eq!(left(false, false), any);
        assert_eq!(left(true, false), BTreeSet::from([vec![3, 3]]));
        assert_eq!(left(true, true), any, "no sync mends one that failed");
    }

    #[test]
    fn what_is_written_again_behind_a_sync_that_failed_is_synced() {
        let mut files = Files::with("a");
        files.write(0, 0, &[1; SECTOR_BYTES]).expect("it goes on");
        files.fail_sync();
        files.write(0, 0, &[1; SECTOR_BYTES]).expect("it goes on");
        files.sync(0).expect("it goes on");
        assert!(!files.is_dirty());
    }

    #[test]
    fn a_name_is_there_once_its_directory_is_synced() {
        let is_left = |sync: bool, seed| {
            let mut files = Files::with("a");
            let wal = files.open("a-wal", true).expect("it goes on");
            if sync {
                files.sync(wal).expect("it goes on");
            }
            files.begin_anew(Some(&mut Random::new(seed)));
            files.inode("a-wal").is_some()
        };
        assert!((0..100).all(|seed| is_left(true, seed)));
        assert!((0..100).any(|seed| is_left(false, seed)));
        assert!((0..100).any(|seed| !is_left(false, seed)));
    }

    #[test]
    fn nothing_is_written_behind_the_end() {
        let mut files = Files::with("a");
        files.end_behind(1);
        assert!(files.write(0, 0, &[1]).is_ok());
        assert!(files.write(0, 0, &[2]).is_err());
        assert!(files.has_ended());
        files.begin_anew(None);
        assert_eq!(files.bytes(0), [1]);
        assert!(files.is_dirty(), "the cache has it, and not the disk");
    }
}
