//! The states that a power loss may leave.
//!
//! [`Power`] takes the notes of a run one by one and knows at each of them what the disk must hold and what
//! it may hold:
//! - a change of a file that ended before a sync of it began is there once that sync has ended;
//! - every other change of a sector is there or not, each sector by itself, and of several changes of one
//!   sector any number of the first;
//! - the length is that of the last sync or any that it had since, with the data or without it: what is
//!   missing of it reads as zeros;
//! - operations on names that no sync of their directory has covered are lost from some point on, or any
//!   of them; a file is there if all directories on the way to it are.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::trace::{FileNumber, Note, Op};
use crate::sim::Random;
use crate::sim::disk::{NameOp, SECTOR_BYTES};

/// A tree of files and directories below a root, by their paths in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Directories, parents before what is in them.
    pub directories: Vec<PathBuf>,
    /// Files and what they hold.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    /// Makes it below `root`, which must be there and be empty.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        for directory in &self.directories {
            fs::create_dir(root.join(directory))?;
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes)?;
        }
        Ok(())
    }

    /// What is below `root` now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(root: &Path) -> io::Result<Image> {
        let mut image = Image::default();
        image.add(root, root)?;
        Ok(image)
    }

    fn add(&mut self, root: &Path, directory: &Path) -> io::Result<()> {
        let mut entries: Vec<PathBuf> = fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        entries.sort();
        for path in entries {
            let short = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            if path.is_dir() {
                self.directories.push(short);
                self.add(root, &path)?;
            } else {
                self.files.push((short, fs::read(&path)?));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(FileNumber),
    Directory,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, std::sync::Arc<[u8]>),
    Length(u64),
}

/// A change that no sync has covered. `at` is its note.
#[derive(Clone, Debug)]
struct Pending<C> {
    at: usize,
    ended: bool,
    change: C,
}

#[derive(Clone, Debug, Default)]
struct File {
    disk: Vec<u8>,
    pending: Vec<Pending<Change>>,
}

type NameChange = NameOp<Node>;

/// What was lost of one image, for a count of what was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Sectors that are as they were before some write.
    pub sectors: u64,
    /// Files that are shorter than the process saw them, or longer than their data.
    pub lengths: u64,
    /// Operations on names.
    pub names: u64,
}

/// The disk at one moment of a run.
#[derive(Clone, Debug)]
pub struct Power {
    root: PathBuf,
    files: Vec<File>,
    /// As a process sees them.
    seen: BTreeMap<PathBuf, Node>,
    disk: BTreeMap<PathBuf, Node>,
    pending: Vec<Pending<NameChange>>,
    /// What each sync that has begun will cover, by its note.
    syncs: HashMap<usize, Vec<usize>>,
    /// The operation of each note that has begun and not ended.
    open: HashMap<usize, Op>,
    at: usize,
}

impl Power {
    /// A disk that holds this below `root`, all of it synced. Files have the numbers of their order.
    #[must_use]
    pub fn new(root: &Path, image: &Image) -> Power {
        let mut names = BTreeMap::new();
        for directory in &image.directories {
            names.insert(root.join(directory), Node::Directory);
        }
        let mut files = Vec::new();
        for (path, bytes) in &image.files {
            names.insert(root.join(path), Node::File(files.len()));
            files.push(File {
                disk: bytes.clone(),
                pending: Vec::new(),
            });
        }
        Power {
            root: root.to_path_buf(),
            files,
            seen: names.clone(),
            disk: names,
            pending: Vec::new(),
            syncs: HashMap::new(),
            open: HashMap::new(),
            at: 0,
        }
    }

    /// The next note.
    pub fn next<T>(&mut self, note: &Note<T>) {
        match note {
            Note::Began(op) => self.began(op),
            Note::Ended(began, ok) => self.ended(*began, *ok),
            Note::Told(_) => {}
        }
        self.at += 1;
    }

    fn file(&mut self, number: FileNumber) -> &mut File {
        if self.files.len() <= number {
            self.files.resize_with(number + 1, File::default);
        }
        &mut self.files[number]
    }

    fn change(&mut self, number: FileNumber, change: Change) {
        let at = self.at;
        self.file(number).pending.push(Pending {
            at,
            ended: false,
            change,
        });
    }

    fn name(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        self.pending.push(Pending {
            at: self.at,
            ended: false,
            change,
        });
    }

    fn began(&mut self, op: &Op) {
        self.open.insert(self.at, op.clone());
        match op {
            Op::Create(path, number) => {
                self.file(*number);
                self.name(NameChange::Link(path.clone(), Node::File(*number)));
            }
            Op::Write(number, at_byte, bytes) => {
                self.change(*number, Change::Write(*at_byte, bytes.clone()));
            }
            Op::Truncate(number, bytes) => self.change(*number, Change::Length(*bytes)),
            Op::Sync(number) => {
                let ended = ended(&self.file(*number).pending, |_| true);
                self.syncs.insert(self.at, ended);
            }
            Op::Rename(from, to) => {
                if let Some(&node) = self.seen.get(from) {
                    self.name(NameChange::Rename(from.clone(), to.clone(), node));
                }
            }
            Op::Unlink(path) | Op::RemoveDirectory(path) => {
                if self.seen.contains_key(path) {
                    self.name(NameChange::Unlink(path.clone()));
                }
            }
            Op::MakeDirectory(path) => {
                let mut missing: Vec<PathBuf> = path
                    .ancestors()
                    .take_while(|path| *path != self.root && !self.seen.contains_key(*path))
                    .map(Path::to_path_buf)
                    .collect();
                while let Some(path) = missing.pop() {
                    self.name(NameChange::Link(path, Node::Directory));
                }
            }
            Op::SyncDirectory(path) => {
                let ended = ended(&self.pending, |change| change.is_in(path));
                self.syncs.insert(self.at, ended);
            }
        }
    }

    fn ended(&mut self, began: usize, ok: bool) {
        let covered = self.syncs.remove(&began).filter(|_| ok);
        match (self.open.remove(&began), covered) {
            (Some(Op::Sync(number)), Some(covered)) => {
                let File { disk, pending } = self.file(number);
                settle(pending, &covered, |change| change.apply(disk));
            }
            (Some(Op::SyncDirectory(_)), Some(covered)) => {
                let disk = &mut self.disk;
                settle(&mut self.pending, &covered, |change| change.apply(disk));
            }
            (Some(Op::Write(number, ..) | Op::Truncate(number, _)), _) => {
                mark(&mut self.file(number).pending, began);
            }
            (Some(_), _) => mark(&mut self.pending, began),
            (None, _) => {}
        }
    }

    /// One of the states that the disk may be in now, and what it has lost.
    #[must_use]
    pub fn image(&self, random: &mut Random) -> (Image, Lost) {
        let mut lost = Lost::default();
        let mut names = self.disk.clone();
        let prefix = random.below(self.pending.len() as u64 + 1) as usize;
        let (any, often) = (random.chance(500), random.below(5) * 250);
        for (at, pending) in self.pending.iter().enumerate() {
            let kept = if any {
                random.chance(often)
            } else {
                at < prefix
            };
            if kept {
                pending.change.apply(&mut names);
            } else {
                lost.names += 1;
            }
        }
        let mut image = Image::default();
        for (path, node) in &names {
            let on_the_way = path
                .ancestors()
                .skip(1)
                .take_while(|path| *path != self.root);
            let reached = on_the_way
                .into_iter()
                .all(|path| names.get(path) == Some(&Node::Directory));
            let short = path.strip_prefix(&self.root).unwrap_or(path).to_path_buf();
            match node {
                _ if !reached => {}
                Node::Directory => image.directories.push(short),
                Node::File(number) => {
                    let bytes = self.files[*number].lose(random, &mut lost);
                    image.files.push((short, bytes));
                }
            }
        }
        (image, lost)
    }
}

fn ended<C>(pending: &[Pending<C>], is_covered: impl Fn(&C) -> bool) -> Vec<usize> {
    let covered = pending
        .iter()
        .filter(|one| one.ended && is_covered(&one.change));
    covered.map(|one| one.at).collect()
}

fn settle<C>(pending: &mut Vec<Pending<C>>, covered: &[usize], mut apply: impl FnMut(&C)) {
    pending.retain(|one| {
        let covered = covered.contains(&one.at);
        if covered {
            apply(&one.change);
        }
        !covered
    });
}

fn mark<C>(pending: &mut [Pending<C>], began: usize) {
    for one in pending.iter_mut().filter(|one| one.at == began) {
        one.ended = true;
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(length) => bytes.resize(*length as usize, 0),
            Change::Write(at_byte, written) => {
                let (at, end) = (*at_byte as usize, *at_byte as usize + written.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[at..end].copy_from_slice(written);
            }
        }
    }

    /// Its part in one sector.
    fn apply_in(&self, sector: usize, bytes: &mut [u8]) {
        if let Change::Write(at_byte, written) = self {
            let at = *at_byte as usize;
            let from = at.max(sector * SECTOR_BYTES);
            let to = (at + written.len())
                .min((sector + 1) * SECTOR_BYTES)
                .min(bytes.len());
            if from < to {
                bytes[from..to].copy_from_slice(&written[from - at..to - at]);
            }
        }
    }

    fn touches(&self, sector: usize) -> bool {
        match self {
            Change::Length(_) => false,
            Change::Write(at_byte, written) => {
                let (at, end) = (*at_byte as usize, *at_byte as usize + written.len());
                at < (sector + 1) * SECTOR_BYTES && end > sector * SECTOR_BYTES
            }
        }
    }
}

impl File {
    /// What a power loss leaves of it.
    fn lose(&self, random: &mut Random, lost: &mut Lost) -> Vec<u8> {
        if self.pending.is_empty() {
            return self.disk.clone();
        }
        // Its lengths since the last sync, and the one of them that is kept.
        let mut seen = self.disk.clone();
        let mut lengths = vec![seen.len()];
        for pending in &self.pending {
            pending.change.apply(&mut seen);
            lengths.push(seen.len());
        }
        let last = self.pending.len();
        let length_at = match random.below(3) {
            0 => 0,
            1 => last,
            _ => random.below(last as u64 + 1) as usize,
        };
        let length = lengths[length_at];
        // What a kept cut has freed is not there, whatever was written to it before.
        let mut bytes = self.disk.clone();
        let mut cuts = Vec::new();
        for (at, pending) in self.pending.iter().enumerate().take(length_at) {
            if let Change::Length(cut) = pending.change {
                bytes.truncate(cut as usize);
                cuts.push((at, cut as usize));
            }
        }
        bytes.resize(length, 0);
        // From "nothing" to "all": each is the shortest way to some bug.
        let often = random.below(5) * 250;
        for sector in 0..length.div_ceil(SECTOR_BYTES) {
            let changes: Vec<&Change> = self
                .pending
                .iter()
                .enumerate()
                .filter(|(at, pending)| {
                    let freed = |&(cut_at, cut): &(usize, usize)| {
                        *at < cut_at && cut <= sector * SECTOR_BYTES
                    };
                    pending.change.touches(sector) && !cuts.iter().any(freed)
                })
                .map(|(_, pending)| &pending.change)
                .collect();
            if changes.is_empty() {
                continue;
            }
            let kept = if random.chance(often) {
                changes.len()
            } else {
                random.below(changes.len() as u64) as usize
            };
            lost.sectors += u64::from(kept < changes.len());
            for change in &changes[..kept] {
                change.apply_in(sector, &mut bytes);
            }
        }
        if length != seen.len() {
            lost.lengths += 1;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DRAWS: u64 = 2_000;

    fn root() -> PathBuf {
        PathBuf::from("/data")
    }

    fn file() -> PathBuf {
        root().join("t/1")
    }

    /// Each operation begins and ends before the next.
    fn run(ops: &[Op]) -> Power {
        let mut power = Power::new(&root(), &Image::default());
        for (at, op) in ops.iter().enumerate() {
            power.next::<()>(&Note::Began(op.clone()));
            power.next::<()>(&Note::Ended(2 * at, true));
        }
        power
    }

    fn write(at_byte: u64, byte: u8, bytes: usize) -> Op {
        Op::Write(0, at_byte, vec![byte; bytes].into())
    }

    /// All that the file may hold, or `None` where it is not there.
    fn files(power: &Power) -> BTreeSet<Option<Vec<u8>>> {
        let mut random = Random::new(1);
        let images = (0..DRAWS).map(|_| power.image(&mut random).0);
        images
            .map(|image| image.files.first().map(|(_, bytes)| bytes.clone()))
            .collect()
    }

    fn made() -> Vec<Op> {
        vec![
            Op::MakeDirectory(root().join("t")),
            Op::Create(file(), 0),
            Op::SyncDirectory(root()),
            Op::SyncDirectory(root().join("t")),
        ]
    }

    #[test]
    fn what_was_synced_is_there_and_nothing_else_must_be() {
        let mut ops = made();
        ops.extend([write(0, 1, 1_000), Op::Sync(0)]);
        assert_eq!(files(&run(&ops)), [Some(vec![1; 1_000])].into());
        ops.push(write(1_000, 2, 100));
        let whole = [vec![1; 1_000], vec![2; 100]].concat();
        // The write lies in sectors 1 and 2: 24 bytes in the one, 76 in the other; and in the length.
        let mut torn = whole.clone();
        torn[1_024..].fill(0);
        let mut other = whole.clone();
        other[1_000..1_024].fill(0);
        let mut none = whole.clone();
        none[1_000..].fill(0);
        let short = vec![1; 1_000];
        let may = [&whole, &torn, &other, &none, &short].map(|bytes| Some(bytes.clone()));
        assert_eq!(files(&run(&ops)), may.into());
    }

    #[test]
    fn of_two_writes_of_a_sector_the_second_is_not_there_without_the_first() {
        let mut ops = made();
        ops.extend([write(0, 1, 4), Op::Sync(0), write(1, 2, 1), write(2, 3, 1)]);
        let may = [[1, 1, 1, 1], [1, 2, 1, 1], [1, 2, 3, 1]].map(|bytes| Some(bytes.to_vec()));
        assert_eq!(files(&run(&ops)), may.into());
    }

    #[test]
    fn a_sync_covers_what_ended_before_it_began() {
        let mut power = run(&made());
        let at = power.at;
        power.next::<()>(&Note::Began(write(0, 1, 1)));
        power.next::<()>(&Note::Began(Op::Sync(0)));
        power.next::<()>(&Note::Ended(at, true));
        power.next::<()>(&Note::Ended(at + 1, true));
        let may = [vec![], vec![0], vec![1]].map(Some);
        assert_eq!(files(&power), may.into());
        // And one that fails covers nothing.
        let at = power.at;
        power.next::<()>(&Note::Began(Op::Sync(0)));
        power.next::<()>(&Note::Ended(at, false));
        assert_eq!(files(&power).len(), 3);
        power.next::<()>(&Note::Began(Op::Sync(0)));
        power.next::<()>(&Note::Ended(at + 2, true));
        assert_eq!(files(&power), [Some(vec![1])].into());
    }

    #[test]
    fn a_cut_frees_what_was_behind_it() {
        let mut ops = made();
        ops.extend([write(0, 1, 1_024), Op::Sync(0), Op::Truncate(0, 512)]);
        let may = [vec![1; 512], vec![1; 1_024]].map(Some);
        assert_eq!(files(&run(&ops)), may.into());
        ops.push(write(512, 2, 512));
        let cut = |second: u8| Some([vec![1; 512], vec![second; 512]].concat());
        let may = [Some(vec![1; 512]), cut(0), cut(1), cut(2)];
        assert_eq!(files(&run(&ops)), may.into());
    }

    #[test]
    fn a_name_needs_a_sync_of_each_directory_on_the_way() {
        let all = made();
        assert_eq!(files(&run(&all)), [Some(vec![])].into());
        for without in [2, 3] {
            let mut ops = all.clone();
            ops.remove(without);
            assert_eq!(files(&run(&ops)), [None, Some(vec![])].into());
        }
        let mut ops = all.clone();
        ops.push(Op::Rename(file(), root().join("t/2")));
        let names = |power: &Power| -> BTreeSet<Vec<PathBuf>> {
            let mut random = Random::new(1);
            let images = (0..DRAWS).map(|_| power.image(&mut random).0);
            images
                .map(|image| image.files.into_iter().map(|(path, _)| path).collect())
                .collect()
        };
        let (old, new) = (vec!["t/1".into()], vec!["t/2".into()]);
        assert_eq!(names(&run(&ops)), [old, new.clone()].into());
        ops.push(Op::SyncDirectory(root().join("t")));
        assert_eq!(names(&run(&ops)), [new.clone()].into());
        ops.push(Op::Unlink(root().join("t/2")));
        assert_eq!(names(&run(&ops)), [new, vec![]].into());
    }

    #[test]
    fn an_image_is_written_and_read_back() {
        let image = Image {
            directories: vec!["a".into(), "a/b".into()],
            files: vec![("a/b/c".into(), vec![1, 2]), ("d".into(), vec![])],
        };
        let root = std::env::temp_dir().join(format!("pinleaf-image-{}", std::process::id()));
        fs::create_dir(&root).expect("a directory");
        image.write(&root).expect("written");
        let read = Image::read(&root).expect("read");
        fs::remove_dir_all(&root).expect("removed");
        assert_eq!(read, image);
    }
}
