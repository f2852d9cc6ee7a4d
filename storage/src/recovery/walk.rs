//! Steps 1 to 3: which files form the chain, and as far as they are to be trusted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::decide::{self, HeaderAction, HeaderFacts, PredecessorAction, PredecessorFacts, Row};
use super::name::{FileName, parse_name, segment_path, temporary_path};
use super::scan::{Opened, Reach, Scan};
use super::{Note, RecoverPartition, quarantine};
use crate::disk::{Disk, DiskError, Failure};
use crate::format::{Predecessor, SegmentId};
use crate::ids::{Lineage, Rewrite, Sequence};
use crate::limits::{COMMIT_NUMBER_MAX, NUMBERS_LEFT_MIN, SEQUENCE_MAX};
use crate::planted::{Rule, out};

/// What steps 1 to 3 found.
#[derive(Debug)]
pub(super) struct Walked {
    /// Oldest first.
    pub chain: Vec<Scan>,
    pub sequence_last: Sequence,
    pub next_commit_number: u64,
    pub leftover: Option<PathBuf>,
}

pub(super) struct Walk<'a> {
    disk: &'a dyn Disk,
    partition: &'a RecoverPartition,
    notes: &'a mut Vec<Note>,
    /// What is in the directory: by sequence, the rewrites there.
    files: BTreeMap<Sequence, Vec<Rewrite>>,
    sequence_last: Sequence,
    next_commit_number: u64,
    live_lineage: Lineage,
}

/// What is to be done with the chain so far.
enum Step {
    /// This one precedes it.
    Precedes(Box<Scan>),
    /// Nothing does, and nothing should.
    Done,
    /// Drop it: what it hangs on is not there.
    DropNewer,
}

impl<'a> Walk<'a> {
    pub fn new(
        disk: &'a dyn Disk,
        partition: &'a RecoverPartition,
        notes: &'a mut Vec<Note>,
    ) -> Walk<'a> {
        Walk {
            disk,
            partition,
            notes,
            files: BTreeMap::new(),
            sequence_last: Sequence(0),
            next_commit_number: 1,
            live_lineage: if out(Rule::LiveLineage) {
                Lineage(0)
            } else {
                partition.start.live_lineage
            },
        }
    }

    pub fn run(mut self) -> Result<Walked, Failure> {
        if !out(Rule::DirectoryTouched) {
            self.touch()?;
        }
        if !out(Rule::DirectorySyncAtRecoveryEnds) {
            let synced = self.disk.sync_directory(&self.partition.directory);
            synced.map_err(Failure::Directory)?;
        }
        self.list()?;
        // Before anything is unlinked: a torn file with the last sequence would be.
        self.numbers_left()?;
        let (mut chain, leftover) = self.chain()?;
        chain.reverse();
        self.numbers_left()?;
        self.unlink_others(&chain, leftover)?;
        let leftover = leftover.map(|id| self.path(id.sequence, id.rewrite));
        Ok(Walked {
            chain,
            sequence_last: self.sequence_last,
            next_commit_number: self.next_commit_number,
            leftover,
        })
    }

    /// Whether there are numbers for what will be written. No leaf comes near the last ones; what
    /// followed them would be nobody's at the next start, and passed over without a word.
    fn numbers_left(&self) -> Result<(), Failure> {
        let what = if self.sequence_last.0 > SEQUENCE_MAX - NUMBERS_LEFT_MIN {
            format!("holds a segment {}", self.sequence_last)
        } else if self.next_commit_number > COMMIT_NUMBER_MAX - NUMBERS_LEFT_MIN {
            format!("holds a commit {}", self.next_commit_number - 1)
        } else {
            return Ok(());
        };
        Err(Failure::Mismatch {
            path: self.partition.directory.clone(),
            what: format!("{what}: no leaf counts so far, nothing is written behind it"),
        })
    }

    /// A name comes and goes, so that the directory is written whole by the sync that follows: an
    /// earlier process may have used up the error of a failed one, and then a sync alone proves nothing.
    fn touch(&self) -> Result<(), Failure> {
        let path = temporary_path(&self.partition.directory, Sequence(1), Rewrite(0));
        self.disk
            .unlink(&path)
            .and_then(|()| self.disk.create(&path))
            .and_then(|_| self.disk.unlink(&path))
            .map_err(Failure::File)
    }

    fn path(&self, sequence: Sequence, rewrite: Rewrite) -> PathBuf {
        segment_path(&self.partition.directory, sequence, rewrite)
    }

    fn note(&mut self, row: Option<Row>, path: PathBuf, at_byte: u64) {
        if let Some(row) = row {
            self.notes.push(Note { row, path, at_byte });
        }
    }

    fn list(&mut self) -> Result<(), Failure> {
        let directory = &self.partition.directory;
        for entry in self.disk.list(directory).map_err(Failure::File)? {
            match parse_name(&entry.name) {
                _ if entry.is_directory => {}
                Some(FileName::Temporary) if out(Rule::Row(Row::Temporary)) => {}
                Some(FileName::Temporary) => {
                    let path = directory.join(&entry.name);
                    self.disk.unlink(&path).map_err(Failure::File)?;
                    self.notes.push(Note {
                        row: Row::Temporary,
                        path,
                        at_byte: 0,
                    });
                }
                Some(FileName::Segment(sequence, rewrite)) => {
                    self.files.entry(sequence).or_default().push(rewrite);
                    self.sequence_last = self.sequence_last.max(sequence);
                }
                // Not ours: neither read nor touched.
                None => {}
            }
        }
        for rewrites in self.files.values_mut() {
            rewrites.sort_unstable_by(|a, b| b.cmp(a));
        }
        Ok(())
    }

    /// The chain, newest first, or the newest segment below the live lineage where nothing is above.
    fn chain(&mut self) -> Result<(Vec<Scan>, Option<SegmentId>), Failure> {
        'newest: loop {
            let Some((&sequence, rewrites)) = self.files.last_key_value() else {
                return Ok((Vec::new(), None));
            };
            let reach = Reach {
                next_commit_number: None,
                vouched: false,
                vouched_by_kept: false,
            };
            let Some(newest) = self.read(sequence, winner(rewrites), reach)? else {
                self.remove(sequence)?;
                continue;
            };
            let lineage = newest.header.header.lineage;
            if lineage > self.partition.start.lineage && !out(Rule::Row(Row::LineageAbove)) {
                self.note(Some(Row::LineageAbove), newest.opened.path.clone(), 0);
                return Err(Failure::Mismatch {
                    path: newest.opened.path,
                    what: format!(
                        "holds lineage {lineage}, the catalog says {}: was an older catalog restored?",
                        self.partition.start.lineage
                    ),
                });
            }
            if lineage < self.partition.start.lineage {
                self.note(Some(Row::NewLineage), newest.opened.path.clone(), 0);
            }
            if lineage < self.live_lineage {
                return Ok((Vec::new(), Some(newest.opened.id)));
            }
            let mut chain = vec![newest];
            loop {
                match self.precedes(&chain)? {
                    Step::Precedes(scan) => chain.push(*scan),
                    Step::Done => return Ok((chain, None)),
                    Step::DropNewer => {
                        for scan in chain {
                            self.remove(scan.opened.id.sequence)?;
                        }
                        continue 'newest;
                    }
                }
            }
        }
    }

    fn precedes(&mut self, chain: &[Scan]) -> Result<Step, Failure> {
        let last = &chain[chain.len() - 1];
        let Some(prev) = last.header.header.prev else {
            return Ok(Step::Done);
        };
        if prev.lineage < self.live_lineage {
            return Ok(Step::Done);
        }
        if prev.sequence >= last.opened.id.sequence {
            // No leaf writes that; walking back would not end.
            return Err(Failure::Mismatch {
                path: last.opened.path.clone(),
                what: format!("names segment {} as the one before it", prev.sequence.0),
            });
        }
        let vouched = chain.iter().any(|scan| scan.durable_end > 0)
            // A merged file was made of durable ones: what is before it was durable too.
            || chain.iter().any(|scan| scan.opened.id.rewrite > Rewrite(0));
        let reach = Reach {
            next_commit_number: Some(prev.next_commit_number),
            vouched,
            vouched_by_kept: chain.iter().any(Scan::vouches),
        };
        let rewrites = self.files.get(&prev.sequence);
        let found = match rewrites.map(|rewrites| winner(rewrites)) {
            Some(rewrite) => self.read(prev.sequence, rewrite, reach)?,
            None => None,
        };
        // Where a test has it so, damage below the durable end is not seen at all.
        let unseen = |scan: &Scan| {
            scan.decided == Some(Row::DamageBelowDurable) && out(Rule::Row(Row::DamageBelowDurable))
        };
        let reached = |scan: &Scan| reaches(scan, prev) || unseen(scan);
        let reaches = found.as_ref().is_some_and(reached);
        let (row, action) = decide::predecessor(PredecessorFacts { reaches, vouched });
        let path = self.path(prev.sequence, Rewrite(0));
        let at_byte = found.as_ref().map_or(0, |scan| scan.end_byte);
        self.note(row, path.clone(), at_byte);
        match (action, found) {
            (PredecessorAction::Keep, Some(scan)) => Ok(Step::Precedes(Box::new(scan))),
            (PredecessorAction::DropNewer, _) => Ok(Step::DropNewer),
            (_, None) => Err(Failure::Mismatch {
                path,
                what: format!(
                    "is missing: {} follows it and was durable",
                    last.opened.path.display()
                ),
            }),
            (_, Some(scan)) => Err(self.quarantine(
                scan.opened.path,
                format!(
                    "ends at byte {} before commit {}, which was durable",
                    scan.end_byte, prev.next_commit_number
                ),
            )),
        }
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
        let durable_record = match header {
            Some(_) => false,
            None => opened.search(0).map_err(Failure::File)? > 0,
        };
        let (row, action) = decide::header(HeaderFacts {
            whole: header.is_some(),
            durable_record,
            vouched: reach.vouched || merged,
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
            _ => return Err(self.quarantine(path, "its header is torn".to_owned())),
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
            return Err(self.quarantine(path, what));
        }
        Ok(Some(scan))
    }

    /// Whether anything of this segment stands behind its torn header; asked by a test alone.
    fn has_records(&self, opened: &Opened) -> Result<bool, Failure> {
        let bytes = super::scan::read(&*opened.file, 0, 1 << 16).map_err(Failure::File)?;
        Ok(bytes.windows(8).any(|window| window == b"PLCOMMIT"))
    }

    fn quarantine(&mut self, path: PathBuf, what: String) -> Failure {
        match quarantine(self.disk, &path, &self.partition.quarantine, &what) {
            Ok(moved_to) => Failure::Corrupt {
                path,
                moved_to,
                what,
            },
            Err(error) => Failure::File(error),
        }
    }

    /// Unlinks all rewrites of a sequence.
    fn remove(&mut self, sequence: Sequence) -> Result<(), Failure> {
        for rewrite in self.files.remove(&sequence).unwrap_or_default() {
            let path = self.path(sequence, rewrite);
            self.disk.unlink(&path).map_err(Failure::File)?;
        }
        Ok(())
    }

    fn unlink_others(&mut self, chain: &[Scan], keep: Option<SegmentId>) -> Result<(), Failure> {
        let oldest = chain.first().and_then(|scan| scan.header.header.prev);
        let below_live = keep.is_some() || oldest.is_some_and(|p| p.lineage < self.live_lineage);
        for (&sequence, rewrites) in &self.files {
            let kept = chain
                .iter()
                .map(|scan| scan.opened.id)
                .chain(keep)
                .find(|id| id.sequence == sequence);
            for &rewrite in rewrites {
                if kept.is_some_and(|id| id.rewrite == rewrite) {
                    continue;
                }
                let path = segment_path(&self.partition.directory, sequence, rewrite);
                let row = match kept {
                    Some(_) => Row::HigherRewrite,
                    None if below_live => Row::BelowLiveLineage,
                    None => Row::OffChain,
                };
                if out(Rule::Row(row)) && row != Row::HigherRewrite {
                    continue;
                }
                let unlinked: Result<(), DiskError> = self.disk.unlink(&path);
                unlinked.map_err(Failure::File)?;
                self.notes.push(Note {
                    row,
                    path,
                    at_byte: 0,
                });
            }
        }
        Ok(())
    }
}

/// The highest, which stands first.
fn winner(rewrites: &[Rewrite]) -> Rewrite {
    if out(Rule::Row(Row::HigherRewrite)) {
        rewrites[rewrites.len() - 1]
    } else {
        rewrites[0]
    }
}

fn reaches(scan: &Scan, prev: Predecessor) -> bool {
    let (number, offset) = match scan.commits.last() {
        Some((_, record)) => (record.facts.commit_number + 1, record.facts.next_offset),
        None => {
            let header = &scan.header.header;
            (header.first_commit_number, header.first_offset)
        }
    };
    scan.header.header.lineage == prev.lineage
        && number == prev.next_commit_number
        && offset == prev.next_offset
}
