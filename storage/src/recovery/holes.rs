//! Holes: what segments in quarantine left in their directory, found again at every start.
//!
//! A hole says which offsets are missing until they are loaded again or given up; the chain leads over it,
//! so what follows a segment in quarantine is kept. A hole that says nothing any more and that the chain
//! still needs becomes a bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::decide::{self, HoleAction, HoleFacts, Row};
use super::name::{bridge_path, hole_path};
use super::scan::read;
use super::{Note, RecoverPartition};
use crate::disk::{Disk, Failure};
use crate::error::Corruption;
use crate::format::{Before, Hole, Predecessor, parse_hole};
use crate::ids::{Lineage, Offset, Rewrite, Sequence};
use crate::limits::{HOLE_BYTES_MAX, HOLES_MAX};
use crate::planted::{Rule, out};

/// A hole as a partition stands with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHole {
    /// What its file says.
    pub hole: Hole,
    /// A later segment is there: what follows the hole is not loaded again.
    pub bridged: bool,
    /// What it held is missing: neither loaded again nor given up.
    pub told: bool,
}

impl KnownHole {
    /// Whether what it held is loaded again or given up, where the partition stands durable at `durable` in
    /// `lineage`.
    ///
    /// A lineage that was begun by hand since gives up what lies before its start and loads what does not.
    /// Without one only a partition that fell back to before the hole loads it: it is not bridged then.
    #[must_use]
    pub fn is_settled(&self, lineage: Lineage, durable: Offset) -> bool {
        let KnownHole { hole, bridged, .. } = self;
        let standing = match out(Rule::HoleStanding) {
            true => hole.lineage,
            false => hole.standing,
        };
        let by_hand = lineage > standing;
        let again = lineage == hole.lineage && !bridged;
        durable >= hole.next_offset && (by_hand || again)
    }
}

/// Which segment: its place and its rewrite.
pub(super) type Key = (Sequence, Rewrite);

/// One that was found in the directory, and is whole.
#[derive(Debug)]
struct Found {
    hole: Hole,
    path: PathBuf,
    bridge: bool,
    /// Its place in the chain is nobody's: what it hangs on is not there.
    off: bool,
}

/// All holes of a directory, by their segments.
#[derive(Debug, Default)]
pub(super) struct Holes {
    found: BTreeMap<Key, Found>,
    /// Those that are torn: where they lie.
    torn: BTreeMap<Key, PathBuf>,
    /// What the chain leads over: a newer segment or hole names it.
    over: BTreeSet<Key>,
    /// Those that a newer segment follows.
    bridged: BTreeSet<Key>,
    /// Where each segment of the chain ends.
    ends: BTreeMap<Sequence, (Offset, u64)>,
}

impl Holes {
    /// Takes one in. A hole and a bridge of one segment: the hole counts, the bridge is unlinked.
    pub fn take(
        &mut self,
        disk: &dyn Disk,
        partition: &RecoverPartition,
        key: Key,
        bridge: bool,
    ) -> Result<(), Failure> {
        let (sequence, rewrite) = key;
        let directory = &partition.directory;
        let path = match bridge {
            true => bridge_path(directory, sequence, rewrite),
            false => hole_path(directory, sequence, rewrite),
        };
        if let Some(other) = self.path(key).or_else(|| self.torn.get(&key).cloned()) {
            let stale = if bridge { &path } else { &other };
            disk.unlink(stale).map_err(Failure::File)?;
            if bridge {
                return Ok(());
            }
            self.found.remove(&key);
        }
        let file = disk.open(&path).map_err(Failure::File)?;
        let bytes = read(&*file, 0, HOLE_BYTES_MAX + 1).map_err(Failure::File)?;
        let hole = match parse_hole(&bytes) {
            Ok(hole) => hole,
            Err(damage) => {
                if let Corruption::Version(version) = damage.what {
                    let what = format!("has format version {version}");
                    return Err(Failure::Mismatch { path, what });
                }
                self.torn.insert(key, path);
                return self.are_few(directory);
            }
        };
        let id = hole.id;
        let own = (id.leaf_partition, id.sequence, id.rewrite)
            == (partition.leaf_partition, sequence, rewrite)
            && hole.table == partition.table;
        let lineage = hole.standing.max(hole.lineage);
        let what = if !own {
            let of = (hole.table, id.leaf_partition, id.sequence, id.rewrite);
            Some(format!("is of {}/{}/{}.{}", of.0, of.1, of.2, of.3))
        } else if lineage > partition.start.lineage {
            let says = partition.start.lineage;
            Some(format!(
                "knows lineage {lineage}, the catalog says {says}: was an older catalog restored?"
            ))
        } else {
            None
        };
        if let Some(what) = what {
            return Err(Failure::Mismatch { path, what });
        }
        let found = Found {
            hole,
            path,
            bridge,
            off: false,
        };
        self.found.insert(key, found);
        self.are_few(directory)
    }

    fn are_few(&self, directory: &Path) -> Result<(), Failure> {
        match self.found.len() + self.torn.len() <= HOLES_MAX {
            true => Ok(()),
            false => Err(Failure::Mismatch {
                path: directory.to_owned(),
                what: format!(
                    "holds more than {HOLES_MAX} holes of damaged segments: the disk does not keep what it is given"
                ),
            }),
        }
    }

    /// The highest sequence and the highest next commit number: neither comes twice.
    pub fn numbers(&self) -> (Sequence, u64) {
        let sequence = self.found.keys().next_back();
        let numbers = self.found.values();
        let number = numbers.map(|found| found.hole.next_commit_number).max();
        (
            sequence.map_or(Sequence(0), |key| key.0),
            number.unwrap_or(1),
        )
    }

    pub fn get(&self, key: Key) -> Option<&Hole> {
        Some(&self.found.get(&key)?.hole)
    }

    /// Those between two sequences, the newest first.
    pub fn between(&self, older: Sequence, newer: Sequence) -> impl Iterator<Item = &Hole> {
        let ends = (older, Rewrite(u32::MAX))..(newer, Rewrite(0));
        self.found.range(ends).rev().map(|(_, found)| &found.hole)
    }

    pub fn path(&self, key: Key) -> Option<PathBuf> {
        Some(self.found.get(&key)?.path.clone())
    }

    /// The newest that can stand at a chain's end.
    pub fn newest(&self) -> Option<Key> {
        let known = |found: &Found| !found.off && found.hole.before != Before::Unknown;
        let found = self.found.iter().rev().find(|(_, found)| known(found));
        found.map(|(key, _)| *key)
    }

    /// Whether a newer one that does not tell what stood before it says that all of that was durable.
    pub fn vouch_for(&self, older: Key) -> bool {
        let newer = (Bound::Excluded(older), Bound::Unbounded);
        let mut found = self.found.range(newer).map(|(_, found)| found);
        found.any(|Found { hole, off, .. }| !off && hole.vouches && hole.before == Before::Unknown)
    }

    /// What hangs on nothing is nobody's predecessor.
    pub fn put_off(&mut self, key: Key) {
        if let Some(found) = self.found.get_mut(&key) {
            found.off = true;
        }
    }

    /// The hole that stands where `prev` should.
    ///
    /// # Errors
    /// What is wrong with the one that is there.
    pub fn before(&self, prev: &Predecessor) -> Result<Option<Key>, Failure> {
        let from = (prev.sequence, Rewrite(0));
        let to = (prev.sequence, Rewrite(u32::MAX));
        let mut wrong = None;
        for (key, Found { hole, path, .. }) in self.found.range(from..=to) {
            if hole.ends_at(prev) && hole.before != Before::Unknown {
                return Ok(Some(*key));
            }
            wrong = Some(unknown(path, hole));
        }
        match wrong {
            Some(failure) => Err(failure),
            None => Ok(None),
        }
    }

    /// Whether one of them ends where `prev` says.
    pub fn end_at(&self, prev: &Predecessor) -> bool {
        let mut found = self.found.values();
        found.any(|found| found.hole.ends_at(prev))
    }

    /// The hole of a merge whose newest input this segment is.
    ///
    /// # Errors
    /// It is there, and does not tell where it began.
    pub fn of_merge(&self, sequence: Sequence, rewrite: Rewrite) -> Result<Option<Key>, Failure> {
        let from = (sequence, Rewrite(rewrite.0 + 1));
        let to = (sequence, Rewrite(u32::MAX));
        match self.found.range(from..=to).next() {
            Some((_, Found { hole, path, .. })) if hole.before == Before::Unknown => {
                Err(unknown(path, hole))
            }
            found => Ok(found.map(|(key, _)| *key)),
        }
    }

    /// The chain leads over this one, from a newer segment or from a newer hole alone.
    pub fn lead_over(&mut self, key: Key, segment: bool) {
        self.over.insert(key);
        if segment {
            self.bridged.insert(key);
        }
    }

    /// The newest stays until a segment follows, also where it has no place in the chain: it alone keeps its numbers
    /// from coming twice. `segment`: the newest one.
    pub fn keep_newest(&mut self, segment: Option<Sequence>) {
        let newest = self.found.keys().next_back();
        let newest = newest.filter(|key| segment.is_none_or(|segment| key.0 > segment));
        self.over.extend(newest);
    }

    /// A segment of the chain ends here.
    pub fn ends(&mut self, sequence: Sequence, end: (Offset, u64)) {
        self.ends.insert(sequence, end);
    }

    /// Decides about those that are torn, while nothing is done yet about what stands around them. It was never
    /// synced where its segment is there, and so that never went.
    ///
    /// # Errors
    /// `Mismatch`: the segment is not there. The disk's.
    pub fn decide_torn(
        &mut self,
        disk: &dyn Disk,
        listed: impl Fn(Key) -> bool,
        notes: &mut Vec<Note>,
    ) -> Result<(), Failure> {
        while let Some((key, path)) = self.torn.pop_first() {
            let (row, action) = decide::hole(HoleFacts {
                whole: false,
                filled: listed(key),
                over: false,
                settled: false,
            });
            notes.extend(row.map(|row| note(row, path.clone())));
            if action != HoleAction::Unlink {
                let what = "is damaged, and the segment whose offsets it tells is not there: put that back";
                let what = what.to_owned();
                return Err(Failure::Mismatch { path, what });
            }
            disk.unlink(&path).map_err(Failure::File)?;
        }
        Ok(())
    }

    /// What the kept hole `one` hangs on stays: without it nobody could tell what stood before that.
    fn hang_on(&mut self, one: &Hole) {
        let older = self
            .found
            .iter()
            .filter(|(_, found)| one.hangs_on(&found.hole));
        self.over.extend(older.map(|(key, _)| *key));
    }

    /// Whether what a hole tells is there: then a crash came before its segment went, or it was put back. What a
    /// cut took back of it is missing all the same.
    fn is_filled(&self, hole: &Hole) -> bool {
        let end = (hole.next_offset, hole.next_commit_number);
        let at = self.ends.get(&hole.id.sequence);
        at.is_some_and(|at| *at >= end)
    }

    /// Decides about each, once the chain is known and mended; returns those that stay. `keep`: one that
    /// keeps a number from coming twice. `durable`: where the partition stands in its lineage.
    pub fn decide(
        mut self,
        disk: &dyn Disk,
        partition: &RecoverPartition,
        live: Lineage,
        keep: Option<Key>,
        durable: Offset,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<KnownHole>, Failure> {
        let mut known = Vec::new();
        let filled = self
            .found
            .iter()
            .filter(|(_, found)| self.is_filled(&found.hole));
        let filled: BTreeSet<Key> = filled.map(|(key, _)| *key).collect();
        // Newest first: one that stays needs what it hangs on.
        while let Some((
            key,
            Found {
                hole, path, bridge, ..
            },
        )) = self.found.pop_last()
        {
            if keep == Some(key) {
                continue;
            }
            if hole.lineage < live {
                disk.unlink(&path).map_err(Failure::File)?;
                notes.push(note(Row::BelowLiveLineage, path));
                continue;
            }
            let one = KnownHole {
                hole,
                bridged: self.bridged.contains(&key),
                told: true,
            };
            let (row, action) = decide::hole(HoleFacts {
                whole: true,
                filled: filled.contains(&key),
                over: self.over.contains(&key),
                settled: bridge || one.is_settled(partition.start.lineage, durable),
            });
            // A bridge says what it always said.
            let row = row.filter(|_| !(bridge && action == HoleAction::Bridge));
            notes.extend(row.map(|row| note(row, path.clone())));
            match action {
                HoleAction::Unlink => {
                    disk.unlink(&path).map_err(Failure::File)?;
                    continue;
                }
                // Of one that is whole a test alone makes that.
                HoleAction::Refuse => return Err(unknown(&path, &one.hole)),
                HoleAction::Bridge => {
                    let to = bridge_path(&partition.directory, key.0, key.1);
                    if path != to {
                        disk.rename(&path, &to).map_err(Failure::File)?;
                    }
                }
                HoleAction::Tell => {}
            }
            self.hang_on(&one.hole);
            known.push(KnownHole {
                told: action == HoleAction::Tell,
                ..one
            });
        }
        known.reverse();
        Ok(known)
    }
}

fn unknown(path: &Path, hole: &Hole) -> Failure {
    Failure::Mismatch {
        path: path.to_owned(),
        what: format!(
            "{hole}, and nothing tells what stood before them: put the segment back from a copy and start \
             again, or drop the table"
        ),
    }
}

fn note(row: Row, path: PathBuf) -> Note {
    Note {
        row,
        path,
        at_byte: 0,
    }
}
