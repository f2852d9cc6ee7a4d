//! Holes: what segments in quarantine left in their directory, found again at every start.
//!
//! A hole says which offsets are missing until they are loaded again or given up; the chain leads over it,
//! so what follows a segment in quarantine is kept. A hole that says nothing any more and that the chain
//! still needs becomes a bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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

/// One that was found in the directory.
#[derive(Debug)]
struct Found {
    /// `None`: torn.
    hole: Option<Hole>,
    path: PathBuf,
    bridge: bool,
    /// Its place in the chain is nobody's: what it hangs on is not there.
    off: bool,
}

/// All holes of a directory, by their segments.
#[derive(Debug, Default)]
pub(super) struct Holes {
    found: BTreeMap<Key, Found>,
    /// What the chain leads over: a newer segment or hole names it.
    over: BTreeSet<Key>,
    /// Those that a newer segment follows.
    bridged: BTreeSet<Key>,
    /// Where each segment of the chain ends.
    ends: BTreeMap<Sequence, (Offset, u64)>,
    /// Segments that were there, whatever became of them.
    listed: BTreeSet<Key>,
}

impl Holes {
    /// Takes one in. A hole and a bridge of one segment: the hole counts, the bridge is unlinked.
    pub fn take(
        &mut self,
        disk: &dyn Disk,
        partition: &RecoverPartition,
        (sequence, rewrite): Key,
        bridge: bool,
    ) -> Result<(), Failure> {
        let directory = &partition.directory;
        let path = match bridge {
            true => bridge_path(directory, sequence, rewrite),
            false => hole_path(directory, sequence, rewrite),
        };
        if let Some(other) = self.found.get(&(sequence, rewrite)) {
            let stale = if bridge { &path } else { &other.path };
            disk.unlink(stale).map_err(Failure::File)?;
            if bridge {
                return Ok(());
            }
        }
        let file = disk.open(&path).map_err(Failure::File)?;
        let bytes = read(&*file, 0, HOLE_BYTES_MAX + 1).map_err(Failure::File)?;
        let hole = match parse_hole(&bytes) {
            Ok(hole) => Some(hole),
            Err(damage) => {
                if let Corruption::Version(version) = damage.what {
                    let what = format!("has format version {version}");
                    return Err(Failure::Mismatch { path, what });
                }
                None
            }
        };
        if let Some(what) = hole.as_ref().and_then(|hole| {
            let id = hole.id;
            let own = (id.leaf_partition, id.sequence, id.rewrite)
                == (partition.leaf_partition, sequence, rewrite)
                && hole.table == partition.table;
            let lineage = hole.standing.max(hole.lineage);
            if !own {
                let of = (hole.table, id.leaf_partition, id.sequence, id.rewrite);
                Some(format!("is of {}/{}/{}.{}", of.0, of.1, of.2, of.3))
            } else if lineage > partition.start.lineage {
                let says = partition.start.lineage;
                Some(format!(
                    "knows lineage {lineage}, the catalog says {says}: was an older catalog restored?"
                ))
            } else {
                None
            }
        }) {
            return Err(Failure::Mismatch { path, what });
        }
        let found = Found {
            hole,
            path,
            bridge,
            off: false,
        };
        self.found.insert((sequence, rewrite), found);
        if self.found.len() > HOLES_MAX {
            let what = format!(
                "holds more than {HOLES_MAX} holes of damaged segments: the disk does not keep what it is given"
            );
            let path = directory.clone();
            return Err(Failure::Mismatch { path, what });
        }
        Ok(())
    }

    /// The highest sequence and the highest next commit number: neither comes twice.
    pub fn numbers(&self) -> (Sequence, u64) {
        let sequence = self.found.keys().next_back();
        let numbers = self.found.values().filter_map(|found| found.hole.as_ref());
        let number = numbers.map(|hole| hole.next_commit_number).max();
        (
            sequence.map_or(Sequence(0), |key| key.0),
            number.unwrap_or(1),
        )
    }

    pub fn get(&self, key: Key) -> Option<&Hole> {
        self.found.get(&key)?.hole.as_ref()
    }

    pub fn path(&self, key: Key) -> Option<PathBuf> {
        Some(self.found.get(&key)?.path.clone())
    }

    /// The newest that can stand at a chain's end.
    pub fn newest(&self) -> Option<Key> {
        let known = |found: &Found| {
            let hole = found.hole.as_ref();
            !found.off && hole.is_some_and(|hole| hole.before != Before::Unknown)
        };
        let found = self.found.iter().rev().find(|(_, found)| known(found));
        found.map(|(key, _)| *key)
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
        for (key, found) in self.found.range(from..=to) {
            match &found.hole {
                Some(hole) if hole.ends_at(prev) && hole.before != Before::Unknown => {
                    return Ok(Some(*key));
                }
                Some(hole) => wrong = Some(unknown(found, hole)),
                None => {
                    let (path, what) = (found.path.clone(), torn());
                    wrong = Some(Failure::Mismatch { path, what });
                }
            }
        }
        match wrong {
            Some(failure) => Err(failure),
            None => Ok(None),
        }
    }

    /// The hole of a merge whose newest input this segment is.
    ///
    /// # Errors
    /// It is there, and does not tell where it began.
    pub fn of_merge(&self, sequence: Sequence, rewrite: Rewrite) -> Result<Option<Key>, Failure> {
        let from = (sequence, Rewrite(rewrite.0 + 1));
        let to = (sequence, Rewrite(u32::MAX));
        let whole = |(key, found): (&Key, &Found)| {
            let hole = found.hole.as_ref()?;
            Some((*key, hole.before, unknown(found, hole)))
        };
        match self.found.range(from..=to).find_map(whole) {
            Some((_, Before::Unknown, failure)) => Err(failure),
            Some((key, _, _)) => Ok(Some(key)),
            None => Ok(None),
        }
    }

    /// The chain leads over this one, from a newer segment or from a newer hole alone.
    pub fn lead_over(&mut self, key: Key, segment: bool) {
        self.over.insert(key);
        if segment {
            self.bridged.insert(key);
        }
    }

    /// A segment of the chain ends here.
    pub fn ends(&mut self, sequence: Sequence, end: (Offset, u64)) {
        self.ends.insert(sequence, end);
    }

    /// A segment is there.
    pub fn list(&mut self, key: Key) {
        self.listed.insert(key);
    }

    /// Refuses a hole that is torn and whose segment is not there, while nothing is done yet about what stands
    /// around it.
    ///
    /// # Errors
    /// `Mismatch`.
    pub fn refuse_torn(&self, notes: &mut Vec<Note>) -> Result<(), Failure> {
        let torn_alone =
            |(key, found): &(&Key, &Found)| found.hole.is_none() && !self.is_filled(**key, None);
        let Some((_, found)) = self.found.iter().find(torn_alone) else {
            return Ok(());
        };
        let (row, action) = decide::hole(HoleFacts {
            whole: false,
            filled: false,
            over: false,
            settled: false,
        });
        notes.extend(row.map(|row| note(row, found.path.clone())));
        match action {
            HoleAction::Refuse => Err(Failure::Mismatch {
                path: found.path.clone(),
                what: torn(),
            }),
            _ => Ok(()),
        }
    }

    /// What older holes the kept hole `one` hangs on: without them nobody could tell what stood before it.
    fn hang_on(&mut self, one: &Hole) {
        let Before::Segment(prev) = one.before else {
            return;
        };
        let from = (prev.sequence, Rewrite(0));
        let to = (prev.sequence, Rewrite(u32::MAX));
        let ends = |found: &Found| found.hole.as_ref().is_some_and(|hole| hole.ends_at(&prev));
        let keys = self.found.range(from..=to).filter(|(_, found)| ends(found));
        let keys: Vec<Key> = keys.map(|(key, _)| *key).collect();
        self.over.extend(keys);
    }

    /// Whether what a hole tells is there: then a crash came before its segment went, or it was put back.
    fn is_filled(&self, key: Key, hole: Option<&Hole>) -> bool {
        match hole {
            // What a cut took back of it is missing all the same.
            Some(hole) => {
                let end = (hole.next_offset, hole.next_commit_number);
                self.ends.get(&key.0).is_some_and(|at| *at >= end)
            }
            // Torn: it was never synced, and so the segment never went.
            None => self.listed.contains(&key),
        }
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
        let filled: BTreeSet<Key> = self
            .found
            .iter()
            .filter(|(key, found)| self.is_filled(**key, found.hole.as_ref()))
            .map(|(key, _)| *key)
            .collect();
        // Newest first: one that stays needs what it hangs on.
        while let Some((key, found)) = self.found.pop_last() {
            if keep == Some(key) {
                continue;
            }
            if found.hole.as_ref().is_some_and(|hole| hole.lineage < live) {
                disk.unlink(&found.path).map_err(Failure::File)?;
                notes.push(note(Row::BelowLiveLineage, found.path));
                continue;
            }
            let bridged = self.bridged.contains(&key);
            let one = found.hole.map(|hole| KnownHole {
                hole,
                bridged,
                told: true,
            });
            let lineage = partition.start.lineage;
            let settled = |one: &KnownHole| found.bridge || one.is_settled(lineage, durable);
            let (row, action) = decide::hole(HoleFacts {
                whole: one.is_some(),
                filled: filled.contains(&key),
                over: self.over.contains(&key),
                settled: one.as_ref().is_some_and(settled),
            });
            // A bridge says what it always said.
            let row = row.filter(|_| !(found.bridge && action == HoleAction::Bridge));
            notes.extend(row.map(|row| note(row, found.path.clone())));
            match (action, one) {
                (HoleAction::Unlink, _) => disk.unlink(&found.path).map_err(Failure::File)?,
                (HoleAction::Refuse, _) | (_, None) => {
                    let (path, what) = (found.path, torn());
                    return Err(Failure::Mismatch { path, what });
                }
                (HoleAction::Bridge, Some(one)) => {
                    let to = bridge_path(&partition.directory, key.0, key.1);
                    if found.path != to {
                        disk.rename(&found.path, &to).map_err(Failure::File)?;
                    }
                    self.hang_on(&one.hole);
                    known.push(KnownHole { told: false, ..one });
                }
                (HoleAction::Tell, Some(one)) => {
                    self.hang_on(&one.hole);
                    known.push(one);
                }
            }
        }
        known.reverse();
        Ok(known)
    }
}

fn unknown(found: &Found, hole: &Hole) -> Failure {
    Failure::Mismatch {
        path: found.path.clone(),
        what: format!("{hole}, and where they begin is not known: put the segment back"),
    }
}

fn note(row: Row, path: PathBuf) -> Note {
    Note {
        row,
        path,
        at_byte: 0,
    }
}

fn torn() -> String {
    "is damaged, and the segment whose offsets it tells is not there: put that back".to_owned()
}
