//! What becomes of a damaged segment that recovery meets: it goes to quarantine, and its hole says what
//! it held, as far as its header, its records and its successor still tell.

use std::cmp::Ordering;

use super::chain::{reaches, winner};
use super::quarantine;
use super::scan::{Beyond, Opened, Reach, Scan};
use super::walk::Walk;
use crate::disk::{DiskError, Failure};
use crate::format::{Before, CommitRecord, Hole, Predecessor, SegmentId};
use crate::ids::{Lineage, Offset, Rewrite};

fn end_of(record: &CommitRecord) -> (Offset, u64) {
    let facts = &record.facts;
    (facts.next_offset, facts.commit_number.saturating_add(1))
}

/// Whether a segment whose header takes so many bytes has nothing behind it but a footer that says so.
fn holds_nothing(opened: &Opened, header_bytes: u64) -> Result<bool, DiskError> {
    if opened.file_bytes <= header_bytes {
        return Ok(true);
    }
    Ok(opened.seal()?.is_some_and(|seal| seal.commits.is_empty()))
}

/// What is missing could not be told: it stays where it is, and every start meets it again.
fn unknown(opened: &Opened) -> Failure {
    Failure::Mismatch {
        path: opened.path.clone(),
        what: "is damaged, and nothing tells any more what it held: put it back from a copy"
            .to_owned(),
    }
}

impl Walk<'_> {
    /// A damaged segment whose header is whole; `end`: where its successor says that it ends.
    pub fn quarantine_scan(&self, scan: &Scan, end: Option<Predecessor>, what: String) -> Failure {
        let mut hole = Hole::of(&scan.header.header, what);
        let read = scan.commits.last().map(|(_, record)| end_of(record));
        let (offset, number) = match self.held(&scan.opened, &scan.beyond, end) {
            Ok(Some(held)) => read.map_or(held, |read| read.max(held)),
            Ok(None) => return unknown(&scan.opened),
            Err(error) => return Failure::File(error),
        };
        // A record that went astray may say less.
        hole.next_offset = offset.max(hole.first_offset);
        hole.next_commit_number = number;
        self.quarantine_met(&scan.opened, hole)
    }

    /// One whose header is torn: its records and its successor say what it held.
    pub fn quarantine_torn(
        &self,
        opened: &Opened,
        beyond: &Beyond,
        end: Option<Predecessor>,
    ) -> Failure {
        let lineage = (end.map(|end| end.lineage)).or(beyond.first.map(|first| first.0));
        let (held, lineage) = match (self.held(opened, beyond, end), lineage) {
            (Ok(Some(held)), Some(lineage)) => (held, lineage),
            (Ok(_), _) => return unknown(opened),
            (Err(error), _) => return Failure::File(error),
        };
        // Without a record it held nothing, or all of them are lost: it began where it ends, or before.
        let found = beyond.first.filter(|first| first.0 == lineage);
        let first = found.unwrap_or((lineage, held.0, held.1));
        let before = match self.before_torn(opened, first, beyond.first_at) {
            Ok(before) => before,
            Err(error) => return Failure::File(error),
        };
        let hole = Hole {
            table: self.partition.table,
            id: opened.id,
            lineage,
            first_offset: first.1.min(held.0),
            next_offset: held.0,
            next_commit_number: held.1,
            before,
            vouches: true,
            standing: lineage,
            found_unix_ms: 0,
            moved_to: String::new(),
            reason: "its header is torn".to_owned(),
        };
        self.quarantine_met(opened, hole)
    }

    /// Where what it held ends: what its successor says, or its index, or the last record behind the damage.
    /// A merge's last record has none behind it that says that it was there.
    fn held(
        &self,
        opened: &Opened,
        beyond: &Beyond,
        end: Option<Predecessor>,
    ) -> Result<Option<(Offset, u64)>, DiskError> {
        if let Some(end) = end {
            return Ok(Some((end.next_offset, end.next_commit_number)));
        }
        let seal = opened.seal()?;
        let sealed = seal.and_then(|seal| seal.commits.last().map(|(_, record)| end_of(record)));
        let merged = opened.id.rewrite > Rewrite(0);
        Ok(sealed.or(beyond.last.filter(|_| !merged)))
    }

    /// What stood before a segment whose header is torn and that began at `first`: the next older one that
    /// ends just there; failing that, the next older one of its lineage that comes past that offset. What that
    /// holds behind it was taken back, by a write or sync that failed: its numbers were used up, and it is not
    /// shown, as the segment that began there said until now. One that begins with the first record is what a
    /// merge was made of.
    ///
    /// `first_at`: the byte of the first record that was found. Where that is not right behind the header, some are
    /// lost, and where the segment began is not known.
    fn before_torn(
        &self,
        opened: &Opened,
        first: (Lineage, Offset, u64),
        first_at: Option<u64>,
    ) -> Result<Before, DiskError> {
        let (lineage, next_offset, next_commit_number) = first;
        let mut above = opened.id.sequence;
        for (&sequence, rewrites) in self.files.range(..above).rev() {
            let prev = Predecessor {
                sequence,
                lineage,
                next_offset,
                next_commit_number,
            };
            // What it hangs on may be in quarantine itself.
            for hole in self.holes.between(sequence, above) {
                match hole.next_offset.cmp(&next_offset) {
                    _ if hole.lineage != lineage => return Ok(Before::Unknown),
                    // Those offsets were loaded again behind it.
                    Ordering::Greater => {}
                    Ordering::Equal => return Ok(Before::Segment(hole.end())),
                    Ordering::Less => return Ok(Before::Unknown),
                }
            }
            above = sequence;
            let id = SegmentId {
                sequence,
                rewrite: winner(rewrites),
                ..opened.id
            };
            let file = self.disk.open(&self.path(sequence, id.rewrite))?;
            let older = Opened::new(id, file)?;
            let Some(header) = older.header.clone() else {
                return Ok(Before::Unknown);
            };
            // One table's headers are all of one length.
            let header_bytes = u64::from(header.bytes);
            let known = match first_at {
                Some(at) => at == header_bytes,
                None => holds_nothing(opened, header_bytes)?,
            };
            let of_lineage = header.header.lineage == lineage;
            // An input begins with it and holds something; an empty segment may well be what stood before.
            let input = header.header.first_commit_number >= next_commit_number;
            let reach = Reach {
                end: (!input).then_some(prev),
                vouched: true,
                vouched_by_kept: true,
            };
            let scan = older.scan(header, reach)?;
            if input && !scan.commits.is_empty() {
                continue;
            }
            let exact = reaches(&scan, prev) && (known || first_at.is_some());
            let exact = exact.then_some(next_commit_number);
            let taken_back = || scan.number_at(next_offset).filter(|_| known && of_lineage);
            let header = &scan.header.header;
            return Ok(match exact.or_else(taken_back) {
                // It holds nothing, and may never have been durable: what stood before it is what counts.
                Some(number) if number == header.first_commit_number => {
                    header.prev.map_or(Before::Nothing, Before::Segment)
                }
                Some(next_commit_number) => Before::Segment(Predecessor {
                    next_commit_number,
                    ..prev
                }),
                // All of it was taken back, and unlinking it failed.
                None if known && of_lineage && header.first_offset > next_offset => continue,
                None => Before::Unknown,
            });
        }
        Ok(Before::Unknown)
    }

    /// One that recovery met itself: it was durable once, and so was all before it, else it would be cut.
    fn quarantine_met(&self, opened: &Opened, hole: Hole) -> Failure {
        let hole = Hole {
            vouches: true,
            standing: self.partition.start.lineage,
            found_unix_ms: self.partition.unix_ms,
            ..hole
        };
        self.quarantine(opened, hole)
    }

    /// Moves it away.
    pub fn quarantine(&self, opened: &Opened, hole: Hole) -> Failure {
        let (path, what) = (opened.path.clone(), hole.reason.clone());
        match quarantine(self.disk, &path, &self.partition.quarantine, hole) {
            Ok(hole) => Failure::Corrupt {
                path,
                what,
                hole: Some(Box::new(hole)),
            },
            Err(error) => Failure::Corrupt {
                path,
                what: format!("{what}; it could not be moved to quarantine: {error}"),
                hole: None,
            },
        }
    }
}
