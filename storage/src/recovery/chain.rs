//! Step 2: from the newest segment back by `prev`, over what is in quarantine.

use std::path::PathBuf;

use super::decide::{self, HeaderAction, HeaderFacts, PredecessorAction, PredecessorFacts, Row};
use super::holes::Key;
use super::scan::{Beyond, Opened, Reach, Scan};
use super::walk::Walk;
use crate::disk::Failure;
use crate::format::{Before, Predecessor, SegmentId};
use crate::ids::{Rewrite, Sequence};
use crate::planted::{Rule, out};

/// A place in the chain.
pub(super) enum Member {
    Segment(Box<Scan>),
    /// A segment that is in quarantine.
    Hole(Sequence, Rewrite),
}

/// What is to be done with the chain so far.
enum Step {
    /// This one precedes it.
    Precedes(Member),
    /// So many of them stay, and this one precedes those.
    Instead(usize, Member),
    /// Nothing does, and nothing should.
    Done,
    /// Drop it: what it hangs on is not there.
    DropNewer,
}

/// The chain, newest first, or what stands below the live lineage where nothing is above.
pub(super) enum Chain {
    Members(Vec<Member>),
    Leftover(SegmentId),
    LeftoverHole(Sequence, Rewrite),
}

impl Walk<'_> {
    /// See [`Chain`].
    pub fn chain(&mut self) -> Result<Chain, Failure> {
        'newest: loop {
            let Some(newest) = self.newest()? else {
                return Ok(Chain::Members(Vec::new()));
            };
            let (lineage, path) = match &newest {
                Member::Segment(scan) => {
                    (Some(scan.header.header.lineage), scan.opened.path.clone())
                }
                Member::Hole(sequence, rewrite) => {
                    let hole = self.holes.get((*sequence, *rewrite));
                    let path = self.path(*sequence, *rewrite);
                    (hole.map(|hole| hole.lineage), path)
                }
            };
            let lineage = lineage.unwrap_or_default();
            if lineage > self.partition.start.lineage && !out(Rule::Row(Row::LineageAbove)) {
                self.note(Some(Row::LineageAbove), path.clone(), 0);
                return Err(Failure::Mismatch {
                    path,
                    what: format!(
                        "holds lineage {lineage}, the catalog says {}: was an older catalog restored?",
                        self.partition.start.lineage
                    ),
                });
            }
            if lineage < self.partition.start.lineage {
                self.note(Some(Row::NewLineage), path, 0);
            }
            if lineage < self.live_lineage {
                return Ok(match newest {
                    Member::Segment(scan) => Chain::Leftover(scan.opened.id),
                    Member::Hole(sequence, rewrite) => Chain::LeftoverHole(sequence, rewrite),
                });
            }
            let mut chain = vec![newest];
            loop {
                match self.precedes(&chain)? {
                    Step::Precedes(member) => chain.push(member),
                    Step::Instead(at, member) => {
                        chain.truncate(at);
                        chain.push(member);
                    }
                    Step::Done => return Ok(Chain::Members(chain)),
                    Step::DropNewer => {
                        for member in chain {
                            match member {
                                Member::Segment(scan) => self.remove(scan.opened.id.sequence)?,
                                Member::Hole(sequence, rewrite) => {
                                    self.holes.put_off((sequence, rewrite));
                                }
                            }
                        }
                        continue 'newest;
                    }
                }
            }
        }
    }

    /// The newest segment or hole.
    fn newest(&mut self) -> Result<Option<Member>, Failure> {
        loop {
            let file = self.files.last_key_value();
            let file = file.map(|(sequence, rewrites)| (*sequence, winner(rewrites)));
            let hole = self.holes.newest();
            match (file, hole) {
                (None, None) => return Ok(None),
                // Of one sequence the file counts: a crash left both, or it was put back.
                (Some((sequence, rewrite)), hole)
                    if hole.is_none_or(|(hole, _)| hole <= sequence) =>
                {
                    let reach = Reach {
                        end: None,
                        vouched: false,
                        vouched_by_kept: false,
                    };
                    match self.read(sequence, rewrite, reach)? {
                        Some(scan) => return Ok(Some(Member::Segment(Box::new(scan)))),
                        None => self.remove(sequence)?,
                    }
                }
                (_, Some((sequence, rewrite))) => {
                    return Ok(Some(Member::Hole(sequence, rewrite)));
                }
                (Some(_), None) => unreachable!("no hole is above the file"),
            }
        }
    }

    fn precedes(&mut self, chain: &[Member]) -> Result<Step, Failure> {
        let (sequence, path, prev) = self.named_by(&chain[chain.len() - 1]);
        let Some(prev) = prev else {
            return Ok(Step::Done);
        };
        if prev.lineage < self.live_lineage {
            return Ok(Step::Done);
        }
        if prev.sequence >= sequence {
            // No leaf writes that; walking back would not end.
            return Err(Failure::Mismatch {
                path,
                what: format!("names segment {} as the one before it", prev.sequence.0),
            });
        }
        let vouched = chain.iter().any(|member| self.vouches(member));
        let reach = Reach {
            end: Some(prev),
            vouched,
            vouched_by_kept: chain.iter().any(|member| self.vouches_by_kept(member)),
        };
        let rewrites = self.files.get(&prev.sequence);
        let found = match rewrites.map(|rewrites| winner(rewrites)) {
            Some(rewrite) => self.read(prev.sequence, rewrite, reach)?,
            None => None,
        };
        if found.is_none() {
            match self.holes.before(&prev) {
                Ok(Some((sequence, rewrite))) => {
                    return Ok(Step::Precedes(Member::Hole(sequence, rewrite)));
                }
                // It ends before: what hangs on more of it was taken back, unless something vouches for that.
                Err(_) if !vouched && !self.holes.end_at(&prev) => {}
                Ok(None) => {}
                Err(failure) => return Err(failure),
            }
            if let Some((at, (sequence, rewrite))) = self.merged_hole(chain)? {
                return Ok(Step::Instead(at, Member::Hole(sequence, rewrite)));
            }
        }
        // Where a test has it so, damage below the durable end is not seen at all.
        let unseen = |scan: &Scan| {
            scan.decided == Some(Row::DamageBelowDurable) && out(Rule::Row(Row::DamageBelowDurable))
        };
        let reached = |scan: &Scan| reaches(scan, prev) || unseen(scan);
        let reaches = found.as_ref().is_some_and(reached);
        let (row, action) = decide::predecessor(PredecessorFacts { reaches, vouched });
        let before = self.path(prev.sequence, Rewrite(0));
        let at_byte = found.as_ref().map_or(0, |scan| scan.end_byte);
        self.note(row, before.clone(), at_byte);
        match (action, found) {
            (PredecessorAction::Keep, Some(scan)) => {
                Ok(Step::Precedes(Member::Segment(Box::new(scan))))
            }
            (PredecessorAction::DropNewer, _) => Ok(Step::DropNewer),
            (_, None) => Err(Failure::Mismatch {
                path: before,
                what: format!(
                    "is missing: {} follows it and was durable; put it back",
                    path.display()
                ),
            }),
            (_, Some(scan)) => {
                let what = format!(
                    "ends at byte {} before commit {}, which was durable",
                    scan.end_byte, prev.next_commit_number
                );
                Err(self.quarantine_scan(&scan, Some(prev), what))
            }
        }
    }

    /// Its place, its path and what it names as the one before it.
    fn named_by(&self, member: &Member) -> (Sequence, PathBuf, Option<Predecessor>) {
        match member {
            Member::Segment(scan) => {
                let path = scan.opened.path.clone();
                (scan.opened.id.sequence, path, scan.header.header.prev)
            }
            Member::Hole(sequence, rewrite) => {
                let hole = self.holes.get((*sequence, *rewrite));
                let prev = match hole.map(|hole| hole.before) {
                    Some(Before::Segment(prev)) => Some(prev),
                    _ => None,
                };
                (*sequence, self.path(*sequence, *rewrite), prev)
            }
        }
    }

    /// Where the chain breaks among a merge's inputs, some of which are unlinked, and the merged segment is
    /// in quarantine: the place of the newest of them, and the hole. They all were durable.
    ///
    /// # Errors
    /// The hole does not tell where it began.
    fn merged_hole(&self, chain: &[Member]) -> Result<Option<(usize, Key)>, Failure> {
        for (at, member) in chain.iter().enumerate().rev() {
            let (sequence, rewrite) = match member {
                Member::Segment(scan) => (scan.opened.id.sequence, scan.opened.id.rewrite),
                Member::Hole(sequence, rewrite) => (*sequence, *rewrite),
            };
            if let Some(key) = self.holes.of_merge(sequence, rewrite)? {
                return Ok(Some((at, key)));
            }
        }
        Ok(None)
    }

    /// Reads one file. `None`: it was unlinked, because its header was never durable.
    fn read(
        &mut self,
        sequence: Sequence,
        rewrite: Rewrite,
        reach: Reach,
    ) -> Result<Option<Scan>, Failure> {
        let id = SegmentId {
            leaf_partition: self.partition.leaf_partition,
            sequence,
            rewrite,
        };
        let path = self.path(sequence, rewrite);
        let file = self.disk.open(&path).map_err(Failure::File)?;
        let opened = Opened::new(id, file).map_err(Failure::File)?;
        // Whole and not ours: neither unlinked nor moved.
        if let Some(what) = opened.foreign.clone() {
            return Err(Failure::Mismatch { path, what });
        }
        let merged = rewrite > Rewrite(0);
        let header = opened.header.clone();
        let beyond = match header {
            Some(_) => Beyond::default(),
            None => opened.search(0).map_err(Failure::File)?,
        };
        // A crash came before it went to quarantine.
        let hole = self.holes.get((sequence, rewrite)).cloned();
        let (row, action) = decide::header(HeaderFacts {
            whole: header.is_some(),
            durable_record: beyond.durable_end > 0,
            vouched: reach.vouched
                || merged
                || hole.is_some()
                || (beyond.last.is_some() && self.holes.vouch_for((sequence, rewrite))),
        });
        self.note(row, path.clone(), 0);
        let header = match (action, header) {
            (HeaderAction::Read, Some(header)) => header,
            (HeaderAction::Unlink, _)
                if !(out(Rule::TornHeaderIsLegal) && self.has_records(&opened)?) =>
            {
                self.disk.unlink(&path).map_err(Failure::File)?;
                self.files.remove(&sequence);
                return Ok(None);
            }
            _ => {
                return Err(match hole {
                    Some(hole) => self.quarantine(&opened, hole),
                    None => self.quarantine_torn(&opened, &beyond, reach.end),
                });
            }
        };
        if header.header.table != self.partition.table {
            return Err(Failure::Mismatch {
                path,
                what: format!("belongs to table {}", header.header.table),
            });
        }
        let scan = opened.scan(header, reach).map_err(Failure::File)?;
        let last = scan.commits.last();
        let next = last.map_or(scan.header.header.first_commit_number, |(_, record)| {
            record.facts.commit_number + 1
        });
        self.next_commit_number = self.next_commit_number.max(next);
        let row = if merged && scan.quarantine {
            Some(Row::DamagedRewrite)
        } else {
            scan.decided
        };
        self.note(row, path.clone(), scan.end_byte);
        let damaged = merged && out(Rule::Row(Row::DamagedRewrite));
        if scan.quarantine && !damaged {
            let at = scan.end_byte;
            let what = format!("{:?} at byte {at}, which was durable", scan.stop);
            return Err(self.quarantine_scan(&scan, reach.end, what));
        }
        // Some of what its hole tells was cut since.
        if let Some(hole) = hole
            && reach.end.is_none()
            && scan.end() < (hole.next_offset, hole.next_commit_number)
        {
            return Err(self.quarantine(&scan.opened, hole));
        }
        Ok(Some(scan))
    }

    /// Whether anything of this segment stands behind its torn header; asked by a test alone.
    fn has_records(&self, opened: &Opened) -> Result<bool, Failure> {
        let bytes = super::scan::read(&*opened.file, 0, 1 << 16).map_err(Failure::File)?;
        Ok(bytes.windows(8).any(|window| window == b"PLCOMMIT"))
    }

    /// Unlinks all rewrites of a sequence.
    fn remove(&mut self, sequence: Sequence) -> Result<(), Failure> {
        for rewrite in self.files.remove(&sequence).unwrap_or_default() {
            let path = self.path(sequence, rewrite);
            self.disk.unlink(&path).map_err(Failure::File)?;
        }
        Ok(())
    }
}

/// The highest, which stands first.
pub(super) fn winner(rewrites: &[Rewrite]) -> Rewrite {
    if out(Rule::Row(Row::HigherRewrite)) {
        rewrites[rewrites.len() - 1]
    } else {
        rewrites[0]
    }
}

pub(super) fn reaches(scan: &Scan, prev: Predecessor) -> bool {
    let end = (prev.next_offset, prev.next_commit_number);
    (scan.header.header.lineage, scan.end()) == (prev.lineage, end)
}
