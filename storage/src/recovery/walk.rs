//! Steps 1 to 3: which files form the chain, and as far as they are to be trusted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::chain::{Chain, Member};
use super::decide::Row;
use super::holes::{Holes, Key};
use super::name::{FileName, parse_name, segment_path, temporary_path};
use super::scan::Scan;
use super::{Note, RecoverPartition};
use crate::disk::{Disk, DiskError, Failure};
use crate::format::SegmentId;
use crate::ids::{Lineage, Rewrite, Sequence};
use crate::limits::{COMMIT_NUMBER_MAX, NUMBERS_LEFT_MIN, SEQUENCE_MAX};
use crate::planted::{Rule, out};

/// What steps 1 to 3 found.
#[derive(Debug)]
pub(super) struct Walked {
    /// Oldest first.
    pub chain: Vec<Link>,
    pub sequence_last: Sequence,
    pub next_commit_number: u64,
    pub leftover: Option<PathBuf>,
    /// The leftover, where it is a hole.
    pub leftover_hole: Option<(Sequence, Rewrite)>,
    pub holes: Holes,
    pub live_lineage: Lineage,
}

/// One segment of the chain, and what stands behind it.
#[derive(Debug)]
pub(super) struct Link {
    pub scan: Scan,
    /// Nothing does, not even a hole.
    pub newest: bool,
    /// Something that says that all before it was durable.
    pub vouched: bool,
}

pub(super) struct Walk<'a> {
    pub disk: &'a dyn Disk,
    pub partition: &'a RecoverPartition,
    pub notes: &'a mut Vec<Note>,
    /// What is in the directory: by sequence, the rewrites there.
    pub files: BTreeMap<Sequence, Vec<Rewrite>>,
    pub holes: Holes,
    pub sequence_last: Sequence,
    pub next_commit_number: u64,
    pub live_lineage: Lineage,
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
            holes: Holes::default(),
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
        // Before anything is unlinked: a torn file with the last sequence would be, and what a torn hole told.
        self.numbers_left()?;
        let files = &self.files;
        let listed = |(sequence, rewrite): Key| {
            files
                .get(&sequence)
                .is_some_and(|rewrites| rewrites.contains(&rewrite))
        };
        self.holes.decide_torn(self.disk, listed, self.notes)?;
        let (members, leftover, leftover_hole) = match self.chain()? {
            Chain::Members(members) => (members, None, None),
            Chain::Leftover(id) => (Vec::new(), Some(id), None),
            Chain::LeftoverHole(sequence, rewrite) => (Vec::new(), None, Some((sequence, rewrite))),
        };
        let chain = self.links(members);
        self.numbers_left()?;
        self.unlink_others(&chain, leftover)?;
        let leftover = leftover.map(|id| self.path(id.sequence, id.rewrite));
        let hole_left = leftover_hole.and_then(|key| self.holes.path(key));
        Ok(Walked {
            chain,
            sequence_last: self.sequence_last,
            next_commit_number: self.next_commit_number,
            leftover: leftover.or(hole_left),
            leftover_hole,
            holes: self.holes,
            live_lineage: self.live_lineage,
        })
    }

    /// The segments, oldest first, each with what stands behind it.
    fn links(&mut self, members: Vec<Member>) -> Vec<Link> {
        let mut links = Vec::with_capacity(members.len());
        let (mut newest, mut vouched, mut segment) = (true, false, false);
        for member in members {
            let vouches = self.vouches(&member);
            match member {
                Member::Segment(scan) => {
                    self.holes.ends(scan.opened.id.sequence, scan.end());
                    segment = true;
                    links.push(Link {
                        scan: *scan,
                        newest,
                        vouched,
                    });
                }
                Member::Hole(sequence, rewrite) => {
                    self.holes.lead_over((sequence, rewrite), segment);
                }
            }
            newest = false;
            vouched |= vouches;
        }
        let newest = links.first().map(|link| link.scan.opened.id.sequence);
        self.holes.keep_newest(newest);
        links.reverse();
        links
    }

    /// Whether it says that all before it was durable.
    pub fn vouches(&self, member: &Member) -> bool {
        match member {
            Member::Segment(scan) => scan.durable_end > 0 || scan.vouches_by_itself(),
            Member::Hole(sequence, rewrite) => {
                let hole = self.holes.get((*sequence, *rewrite));
                hole.is_some_and(|hole| hole.vouches)
            }
        }
    }

    /// Whether it will still say so at the next recovery.
    pub fn vouches_by_kept(&self, member: &Member) -> bool {
        match member {
            Member::Segment(scan) => scan.vouches_by_kept(),
            Member::Hole(..) => self.vouches(member),
        }
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

    pub fn path(&self, sequence: Sequence, rewrite: Rewrite) -> PathBuf {
        segment_path(&self.partition.directory, sequence, rewrite)
    }

    pub fn note(&mut self, row: Option<Row>, path: PathBuf, at_byte: u64) {
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
                Some(FileName::Hole(sequence, rewrite)) => {
                    let key = (sequence, rewrite);
                    self.holes.take(self.disk, self.partition, key, false)?;
                }
                Some(FileName::Bridge(sequence, rewrite)) => {
                    let key = (sequence, rewrite);
                    self.holes.take(self.disk, self.partition, key, true)?;
                }
                // Not ours: neither read nor touched.
                None => {}
            }
        }
        for rewrites in self.files.values_mut() {
            rewrites.sort_unstable_by(|a, b| b.cmp(a));
        }
        let (sequence, number) = self.holes.numbers();
        self.sequence_last = self.sequence_last.max(sequence);
        self.next_commit_number = self.next_commit_number.max(number);
        Ok(())
    }

    fn unlink_others(&mut self, chain: &[Link], keep: Option<SegmentId>) -> Result<(), Failure> {
        let oldest = chain.first().and_then(|link| link.scan.header.header.prev);
        let below_live = keep.is_some() || oldest.is_some_and(|p| p.lineage < self.live_lineage);
        for (&sequence, rewrites) in &self.files {
            let kept = chain
                .iter()
                .map(|link| link.scan.opened.id)
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
