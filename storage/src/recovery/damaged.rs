//! What becomes of a damaged segment that recovery meets: it goes to quarantine, and its hole says what
//! it held, as far as its header, its records and its successor still tell.

use super::chain::{reaches, winner};
use super::quarantine;
use super::scan::{Beyond, Opened, Reach, Scan};
use super::walk::Walk;
use crate::disk::Failure;
use crate::format::{Before, Hole, Predecessor, SegmentId};
use crate::ids::{Lineage, Offset};

impl Walk<'_> {
    /// A damaged segment whose header is whole; `end`: where its successor says that it ends.
    pub fn quarantine_scan(&self, scan: &Scan, end: Option<Predecessor>, what: String) -> Failure {
        let mut hole = Hole::of(&scan.header.header, what);
        let read = scan.commits.last().map(|(_, record)| {
            (
                record.facts.next_offset,
                record.facts.commit_number.saturating_add(1),
            )
        });
        let found = read.max(scan.beyond.last);
        let known = end.map(|end| (end.next_offset, end.next_commit_number));
        if let Some((offset, number)) = known.or(found) {
            // A record that went astray may say less.
            hole.next_offset = offset.max(hole.first_offset);
            hole.next_commit_number = number;
        }
        self.quarantine(&scan.opened, hole)
    }

    /// One whose header is torn: its records and its successor say what it held.
    pub fn quarantine_torn(
        &self,
        opened: &Opened,
        beyond: &Beyond,
        end: Option<Predecessor>,
    ) -> Failure {
        let known = end.map(|end| (end.next_offset, end.next_commit_number));
        let lineage = (end.map(|end| end.lineage)).or(beyond.first.map(|first| first.0));
        let (Some((next_offset, next_commit_number)), Some(lineage)) =
            (known.or(beyond.last), lineage)
        else {
            // What is missing could not be told: it stays, and every start meets it again.
            return Failure::Mismatch {
                path: opened.path.clone(),
                what: "is damaged from its header to its last record: put it back from a copy"
                    .to_owned(),
            };
        };
        let first = beyond.first.filter(|first| first.0 == lineage);
        let hole = Hole {
            table: self.partition.table,
            id: opened.id,
            lineage,
            first_offset: first.map_or(next_offset, |first| first.1.min(next_offset)),
            next_offset,
            next_commit_number,
            before: self.before_torn(opened, first),
            vouches: true,
            standing: lineage,
            found_unix_ms: 0,
            moved_to: String::new(),
            reason: "its header is torn".to_owned(),
        };
        self.quarantine(opened, hole)
    }

    /// What stood before a segment whose header is torn: the next older one, if it ends just where the
    /// first record that was found begins.
    fn before_torn(&self, opened: &Opened, first: Option<(Lineage, Offset, u64)>) -> Before {
        let older = self.files.range(..opened.id.sequence).next_back();
        let (Some((lineage, next_offset, next_commit_number)), Some((&sequence, rewrites))) =
            (first, older)
        else {
            return Before::Unknown;
        };
        let prev = Predecessor {
            sequence,
            lineage,
            next_offset,
            next_commit_number,
        };
        let id = SegmentId {
            sequence,
            rewrite: winner(rewrites),
            ..opened.id
        };
        let reach = Reach {
            end: Some(prev),
            vouched: true,
        };
        let scanned = self
            .disk
            .open(&self.path(sequence, id.rewrite))
            .and_then(|file| Opened::new(id, file))
            .and_then(|older| match older.header.clone() {
                Some(header) => older.scan(header, reach).map(Some),
                None => Ok(None),
            });
        match scanned {
            Ok(Some(scan)) if reaches(&scan, prev) => Before::Segment(prev),
            _ => Before::Unknown,
        }
    }

    fn quarantine(&self, opened: &Opened, hole: Hole) -> Failure {
        let hole = Hole {
            // It was durable once, and so was all before it: else it would have been cut.
            vouches: true,
            standing: self.partition.start.lineage,
            found_unix_ms: self.partition.unix_ms,
            ..hole
        };
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
