//! What no crash does to a segment's file and disks do all the same: flipped bits, lost files, bytes that
//! were meant for another place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::format::{
    CommitRecord, ParsedHeader, Seal, check_body, check_commit, parse_commit, parse_header,
};

use super::SimDisk;
use crate::sim::Random;

/// Something happened to a file.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// In words.
    pub what: String,
    /// The file.
    pub path: PathBuf,
    /// What it was may not pass unnoticed: a record says that it was durable.
    pub must_be_named: bool,
    /// No power loss takes back the record that says so.
    pub stays_named: bool,
    /// What is left may not tell what it held: the partition may be refused.
    pub may_be_refused: bool,
    /// Where it is not named, the lineage whose end may be missing, and from which offset on.
    pub takes: (u64, i64),
    /// The byte, where it is one of a segment.
    at: Option<u64>,
}

/// What takes nothing away.
const NOTHING: (u64, i64) = (0, i64::MAX);

/// Where a bit is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// Anywhere in any segment.
    Anywhere,
    /// In a header.
    Header,
    /// In a record of the newest segment, below what a later one says is durable.
    Newest,
    /// In a record of an earlier segment.
    Earlier,
    /// In a record of a merged segment.
    Merged,
    /// In the body of a commit, where recovery does not look: a reader meets it.
    Body,
}

/// A segment's file as it lies in the cache, and what can be read of it.
#[derive(Clone, Debug)]
pub struct Lying {
    /// Where.
    pub path: PathBuf,
    /// Its number.
    pub sequence: u64,
    /// Its rewrite.
    pub rewrite: u32,
    bytes: Vec<u8>,
    header: Option<ParsedHeader>,
    commits: Vec<(u64, CommitRecord)>,
}

impl Lying {
    fn new(path: &Path, bytes: &[u8]) -> Option<Lying> {
        let name = path.file_name()?.to_str()?.strip_suffix(".arrow")?;
        let (sequence, rewrite) = name.split_once('.')?;
        let header = parse_header(bytes).ok();
        let mut commits: Vec<(u64, CommitRecord)> = Vec::new();
        if let Some(header) = &header {
            let mut at = u64::from(header.bytes);
            let mut number = 0;
            while let Some(Ok(record)) = bytes.get(at as usize..).map(parse_commit) {
                // One that went astray is not of this place.
                if check_commit(&record, header).is_err() || record.facts.commit_number <= number {
                    break;
                }
                number = record.facts.commit_number;
                let next = at + record.message_bytes();
                commits.push((at, record));
                at = next;
            }
        }
        Some(Lying {
            path: path.to_path_buf(),
            sequence: sequence.parse().ok()?,
            rewrite: rewrite.parse().ok()?,
            bytes: bytes.to_vec(),
            header,
            commits,
        })
    }

    /// The highest durable end that its records say.
    fn durable_end(&self) -> u64 {
        let ends = self.commits.iter().map(|(_, record)| record.durable_end);
        ends.max().unwrap_or(0)
    }

    /// Whether damage at this byte of its content must be met: a record of its own says that it was
    /// durable, or the newest of `all` does.
    fn is_named(&self, at: u64, all: &[Lying]) -> bool {
        let ends = self.commits.last();
        let content_end = ends.map_or(0, |(at, record)| at + record.message_bytes());
        let newest = all.last();
        let vouched = newest.is_some_and(|one| one.is_vouching() && one.sequence > self.sequence);
        // What a void gave up stands there, and says nothing.
        let prev = |one: &Lying| one.header.as_ref().and_then(|header| header.header.prev);
        let mut prevs = all.iter().filter_map(prev);
        let next = prevs.rfind(|prev| prev.sequence.0 == self.sequence);
        let counts = |record: &&CommitRecord| {
            next.is_none_or(|next| record.facts.commit_number < next.next_commit_number)
        };
        let records = self.commits.iter().map(|(_, record)| record);
        let durable_end = records.filter(counts).map(|record| record.durable_end);
        durable_end.max().unwrap_or(0) > at || (self.rewrite > 0 || vouched) && at < content_end
    }

    /// Whether it says, as the newest, that all before it was durable.
    fn is_vouching(&self) -> bool {
        let header = self.header.as_ref();
        let says = header.is_some_and(|header| header.header.behind_durable);
        self.durable_end() > 0 || self.rewrite > 0 || says
    }

    /// What is lost where recovery ends the segment at this byte: its lineage, from which offset on.
    fn takes(&self, at: u64) -> (u64, i64) {
        let Some(header) = &self.header else {
            return NOTHING;
        };
        let (bytes, header) = (u64::from(header.bytes), &header.header);
        let whole = self.commits.iter().rev();
        let mut whole = whole.filter(|(begins, record)| begins + record.message_bytes() <= at);
        let end = whole.next().map(|(_, record)| record.facts.next_offset);
        match end {
            Some(end) if at >= bytes => (header.lineage.0, end.0),
            _ => (header.lineage.0, header.first_offset.0),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many commits its whole footer says; `None` without one.
    #[must_use]
    pub fn sealed_commits(&self) -> Option<usize> {
        self.seal().map(|seal| seal.commits.len())
    }

    fn seal(&self) -> Option<Seal> {
        let read = |at: u64, len: usize| -> Result<Vec<u8>, ()> {
            let bytes = self.bytes.get(at as usize..).unwrap_or_default();
            Ok(bytes[..len.min(bytes.len())].to_vec())
        };
        storage::format::parse_seal(self.bytes(), read).ok()?.ok()
    }

    /// Whether all of it is as it was written, footer and all.
    #[must_use]
    pub fn is_sealed_and_good(&self) -> bool {
        let good = |(at, record): &(u64, CommitRecord)| {
            let from = (*at + u64::from(record.head_bytes)) as usize;
            let body = self.bytes.get(from..from + record.body_bytes as usize);
            body.is_some_and(|body| check_body(record, body).is_ok())
        };
        // A footer that a power loss brought back may be of an earlier process's commits.
        let same = |(mine, theirs): (&(u64, CommitRecord), &(u64, CommitRecord))| {
            mine.0 == theirs.0 && mine.1.is_indexed_as(&theirs.1)
        };
        self.seal().is_some_and(|seal| {
            seal.commits.len() == self.commits.len()
                && self.commits.iter().zip(&seal.commits).all(same)
                && self.commits.iter().all(good)
        })
    }

    /// A byte of its header that a flipped bit spoils.
    fn header_byte(&self, random: &mut Random) -> Option<usize> {
        let header = self.header.as_ref()?;
        Some(8 + random.below(u64::from(header.bytes) - 8) as usize)
    }

    /// A byte of one of its records that begin before `end`.
    fn record_byte(&self, random: &mut Random, end: u64) -> Option<usize> {
        let records = self.commits.iter().take_while(|(at, _)| *at < end).count();
        if records == 0 {
            return None;
        }
        let (at, record) = &self.commits[random.below(records as u64) as usize];
        Some((at + random.below(u64::from(record.head_bytes))) as usize)
    }

    /// A byte of a column or the rejects of one of its commits that end before `end`.
    fn body_byte(&self, random: &mut Random, end: u64) -> Option<usize> {
        let buffers: Vec<(u64, u64)> = self
            .commits
            .iter()
            .filter(|(at, record)| at + record.message_bytes() <= end)
            .flat_map(|(at, record)| {
                let body = at + u64::from(record.head_bytes);
                let columns = record.columns.iter().flat_map(|column| column.buffers);
                let all = columns.chain([record.rejects]);
                all.map(move |buffer| (body + buffer.at, u64::from(buffer.bytes)))
            })
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        if buffers.is_empty() {
            return None;
        }
        let (at, bytes) = buffers[random.below(buffers.len() as u64) as usize];
        Some((at + random.below(bytes)) as usize)
    }

    /// A byte of its index or footer, behind the end of stream.
    fn footer_byte(&self, random: &mut Random) -> Option<usize> {
        let end = self.seal()?.content_end + 8;
        Some((end + random.below(self.bytes() - end)) as usize)
    }

    /// One of its messages as it lies.
    fn message(&self, random: &mut Random) -> Option<&[u8]> {
        if self.commits.is_empty() {
            return None;
        }
        let (at, record) = &self.commits[random.below(self.commits.len() as u64) as usize];
        let at = *at as usize;
        self.bytes.get(at..at + record.message_bytes() as usize)
    }
}

fn lying<'a>(
    names: &BTreeMap<PathBuf, usize>,
    directory: &Path,
    bytes: impl Fn(usize) -> &'a Vec<u8>,
) -> Vec<Lying> {
    let here = names.iter();
    let here = here.filter(|(path, _)| path.parent() == Some(directory));
    let mut lying: Vec<Lying> = here
        .filter_map(|(path, &inode)| Lying::new(path, bytes(inode)))
        .collect();
    lying.sort_by_key(|one| (one.sequence, one.rewrite));
    lying
}

impl SimDisk {
    /// The segments in a directory, oldest first.
    #[must_use]
    pub fn lying(&self, directory: &Path) -> Vec<Lying> {
        let world = self.world();
        lying(&world.names, directory, |at| &world.inodes[at].cache)
    }

    /// The same as a power loss would leave them, at least.
    fn lying_on_disk(&self, directory: &Path) -> Vec<Lying> {
        let world = self.world();
        lying(&world.disk_names, directory, |at| &world.inodes[at].disk)
    }

    /// The names in a directory.
    #[must_use]
    pub fn names(&self, directory: &Path) -> Vec<PathBuf> {
        let world = self.world();
        let here = world
            .names
            .keys()
            .filter(|path| path.parent() == Some(directory));
        here.cloned().collect()
    }

    /// Files that were made shorter since this was last asked.
    #[must_use]
    pub fn take_cuts(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.world().cuts)
    }

    /// Flips a bit where it is on the disk; `None` where there is no such place.
    pub fn rot(&self, random: &mut Random, directory: &Path, place: Rot) -> Option<Damaged> {
        let lying = self.lying(directory);
        let (newest, earlier) = lying.split_last()?;
        let any = |random: &mut Random, of: &[Lying]| {
            of.get(random.below(of.len().max(1) as u64) as usize)
                .cloned()
        };
        let (of, at) = match place {
            Rot::Anywhere => {
                let of = any(random, &lying)?;
                let at = random.below(of.bytes().max(1)) as usize;
                (of, at)
            }
            Rot::Header => {
                let of = any(random, &lying)?;
                let at = of.header_byte(random)?;
                (of, at)
            }
            Rot::Newest => {
                let at = newest.record_byte(random, newest.durable_end())?;
                (newest.clone(), at)
            }
            Rot::Earlier => {
                let of = any(random, earlier)?;
                if of.sequence == newest.sequence || !newest.is_vouching() {
                    return None;
                }
                let at = of.record_byte(random, u64::MAX)?;
                (of, at)
            }
            Rot::Body => {
                let of = any(random, &lying)?;
                let vouched = newest.is_vouching() && of.sequence != newest.sequence;
                let end = match vouched || of.rewrite > 0 {
                    true => u64::MAX,
                    false => of.durable_end(),
                };
                let at = of.body_byte(random, end)?;
                (of, at)
            }
            Rot::Merged => {
                let mut merged = lying.clone();
                merged.retain(|one| one.rewrite > 0);
                let of = any(random, &merged)?;
                let at = of.record_byte(random, u64::MAX)?;
                (of, at)
            }
        };
        let named = |lying: &[Lying]| {
            let of = lying.iter().find(|one| one.path == of.path);
            of.is_some_and(|of| of.is_named(at as u64, lying))
        };
        let (must_be_named, stays_named) = (named(&lying), named(&self.lying_on_disk(directory)));
        if !self.flip(&of.path, at, 1 << random.below(8)) {
            return None;
        }
        Some(Damaged {
            what: format!("a bit of {} rots at {at}", of.path.display()),
            path: of.path.clone(),
            must_be_named: must_be_named || matches!(place, Rot::Earlier | Rot::Body),
            stays_named,
            may_be_refused: of
                .header
                .as_ref()
                .is_none_or(|header| (at as u64) < u64::from(header.bytes)),
            takes: of.takes(at as u64),
            at: Some(at as u64),
        })
    }

    /// Flips a bit of a segment's footer: nothing is lost by it.
    pub fn rot_footer(&self, random: &mut Random, directory: &Path) -> Option<PathBuf> {
        let mut sealed = self.lying(directory);
        sealed.retain(|one| one.seal().is_some());
        // Most often a merged one's: there it may not be cut off.
        if random.chance(700) {
            sealed.retain(|one| one.rewrite > 0);
        }
        let of = sealed.get(random.below(sealed.len().max(1) as u64) as usize)?;
        let at = of.footer_byte(random)?;
        self.flip(&of.path, at, 1 << random.below(8))
            .then(|| of.path.clone())
    }

    /// Flips a bit of a hole or bridge; `None` where there is none.
    pub fn rot_hole(&self, random: &mut Random, directory: &Path) -> Option<Damaged> {
        let mut names = self.names(directory);
        names.retain(|path| {
            let suffix = path.extension();
            suffix.is_some_and(|suffix| suffix == "hole" || suffix == "bridge")
        });
        let path = names.get(random.below(names.len().max(1) as u64) as usize)?;
        let bytes = {
            let world = self.world();
            world.inodes[*world.names.get(path)?].cache.len() as u64
        };
        let at = random.below(bytes.max(1)) as usize;
        self.flip(path, at, 1 << random.below(8)).then(|| Damaged {
            what: format!("a bit of {} rots at {at}", path.display()),
            path: path.clone(),
            must_be_named: true,
            stays_named: false,
            may_be_refused: true,
            takes: NOTHING,
            at: None,
        })
    }

    /// Whether the damaged byte still has its place in its file.
    #[must_use]
    pub fn has(&self, damaged: &Damaged) -> bool {
        let world = self.world();
        let inode = world.names.get(&damaged.path);
        let bytes = inode.map_or(0, |&inode| world.inodes[inode].cache.len() as u64);
        damaged.at.is_none_or(|at| at < bytes)
    }

    fn flip(&self, path: &Path, at: usize, bit: u8) -> bool {
        let mut world = self.world();
        let Some(&inode) = world.names.get(path) else {
            return false;
        };
        let inode = &mut world.inodes[inode];
        if at >= inode.disk.len().min(inode.cache.len()) {
            return false;
        }
        inode.disk[at] ^= bit;
        inode.cache[at] ^= bit;
        true
    }

    /// A segment is gone.
    pub fn lose_file(&self, random: &mut Random, directory: &Path) -> Option<Damaged> {
        let lying = self.lying(directory);
        // One that is missed: the newest says that all before it was durable.
        let (newest, earlier) = lying.split_last()?;
        let earlier = earlier.iter().filter(|one| one.sequence < newest.sequence);
        let count = earlier.count() as u64;
        if count == 0 || !newest.is_vouching() {
            return None;
        }
        let at = random.below(count) as usize;
        let path = &lying[at].path;
        let mut world = self.world();
        world.names.remove(path);
        world.disk_names.remove(path);
        let of_path = |op: &super::inode::NameOp<usize>| op.is_of(path);
        world.pending.retain(|op| !of_path(op));
        world.lost.retain(|op| !of_path(op));
        Some(Damaged {
            what: format!("{} is gone", path.display()),
            path: path.clone(),
            must_be_named: true,
            stays_named: false,
            may_be_refused: true,
            takes: lying[at].takes(0),
            at: None,
        })
    }

    /// Behind a segment's end a commit stands that is of another place or another segment: a write that
    /// went astray. Nothing is lost by it.
    pub fn write_astray(&self, random: &mut Random, directory: &Path) -> Option<PathBuf> {
        let mut lying = self.lying(directory);
        lying.retain(|one| one.rewrite == 0 && one.header.is_some());
        if lying.is_empty() {
            return None;
        }
        let from = &lying[random.below(lying.len() as u64) as usize];
        let message = from.message(random)?.to_vec();
        // Most often behind the newest: there nothing says where the content ends.
        let at = match random.below(3) {
            0 => random.below(lying.len() as u64) as usize,
            _ => lying.len() - 1,
        };
        let path = lying[at].path.clone();
        let mut world = self.world();
        let inode = *world.names.get(&path)?;
        let inode = &mut world.inodes[inode];
        let end = inode.cache.len().max(inode.disk.len());
        for bytes in [&mut inode.cache, &mut inode.disk] {
            bytes.resize(end, 0);
            bytes.extend_from_slice(&message);
        }
        Some(path)
    }
}
