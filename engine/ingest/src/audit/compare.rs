//! A commit beside the broker's log: class by class and offset by offset.
//!
//! Offsets come in order: a record's, or a range that the log has nothing of. What the log still has
//! must be of the class that the commit counts. What it no longer has (retention, compaction since)
//! contradicts nothing and is counted as not compared. So nothing hides: the counts add up to the range,
//! and where the log has every offset, a class of which too much was counted leaves too little for
//! another, of which the log then has more.

use storage::ids::Offset;

use super::commit::{Commit, Span};
use super::fault::{Fault, Faults, Kind};
use super::log::Entry;
use super::values::Model;

/// What a range of offsets without a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Within the log, which has no record of them.
    Absent,
    /// Below the log's start.
    Gone,
    /// The broker was not asked.
    Unasked,
}

/// What comparing found in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Offsets that were compared with the broker's log.
    pub checked: u64,
    /// Offsets that the broker no longer holds.
    pub gone: u64,
    /// Offsets for which the broker was not asked.
    pub unasked: u64,
    /// Offsets compared by class alone: they were loaded before the pipeline was replaced.
    pub unread: u64,
}

/// What was found so far of one batch: offsets with neither row nor reject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Messages, and whatever else lies in a record batch behind one that was skipped.
    skipped: u64,
    tombstones: u64,
    control: u64,
    aborted: u64,
    absent: u64,
    /// Offsets with a row or reject that the log does not have.
    missing: u64,
    gone: u64,
    unasked: u64,
    unread: u64,
}

/// Compares one commit.
#[derive(Debug)]
pub struct Comparison {
    commit: Commit,
    /// Which batch.
    span: usize,
    at: Offset,
    /// The first row and the first reject of the batch that are not behind `at`.
    row: usize,
    reject: usize,
    tally: Tally,
    /// Where the record batch ends of which a message was skipped.
    skip_end: Offset,
}

impl Comparison {
    /// At the commit's start.
    #[must_use]
    pub fn new(commit: Commit) -> Comparison {
        let mut comparison = Comparison {
            commit,
            span: 0,
            at: Offset(0),
            row: 0,
            reject: 0,
            tally: Tally::default(),
            skip_end: Offset(i64::MIN),
        };
        comparison.begin();
        comparison
    }

    /// The offset after the commit's last.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.commit.spans.last().map_or(self.at, |span| span.next)
    }

    /// How far it was compared.
    #[must_use]
    pub fn at(&self) -> Offset {
        self.at
    }

    fn begin(&mut self) {
        self.tally = Tally::default();
        self.skip_end = Offset(i64::MIN);
        self.reject = 0;
        if let Some(span) = self.commit.spans.get(self.span) {
            self.at = span.first;
            self.row = span.rows.start;
        }
    }

    /// The log has no record of the offsets up to `to`, for this reason.
    pub fn pass(&mut self, to: Offset, how: Pass, found: &mut Compared) {
        while let Some(span) = self.commit.spans.get(self.span) {
            let end = to.min(span.next);
            if self.at < end {
                let held = self.leave_behind(end);
                let offsets = self.at.until(end);
                match how {
                    Pass::Gone => self.tally.gone += offsets,
                    Pass::Unasked => self.tally.unasked += offsets,
                    Pass::Absent => {
                        let others = offsets.saturating_sub(held);
                        let skipped = self.at.until(end.min(self.skip_end)).min(others);
                        self.tally.missing += held;
                        self.tally.skipped += skipped;
                        self.tally.absent += others - skipped;
                    }
                }
                self.at = end;
            }
            let span = &self.commit.spans[self.span];
            if self.at < span.next {
                return;
            }
            self.end(found);
            self.span += 1;
            self.begin();
        }
    }

    /// Steps over rows and rejects below `end`; of how many offsets they are.
    fn leave_behind(&mut self, end: Offset) -> u64 {
        let Some(span) = self.commit.spans.get(self.span) else {
            return 0;
        };
        let offsets = self.commit.content.offsets();
        let mut held = 0;
        let mut before = None;
        while let Some(&offset) = offsets.get(self.row)
            && self.row < span.rows.end
            && offset < end.0
        {
            held += u64::from(before != Some(offset));
            before = Some(offset);
            self.row += 1;
        }
        let rejected = self.commit.rejected(span);
        while let Some(one) = rejected.get(self.reject)
            && one.offset < end
        {
            held += 1;
            self.reject += 1;
        }
        held
    }

    /// The log's next record.
    pub fn entry(
        &mut self,
        entry: &Entry<'_>,
        model: &Model,
        found: &mut Compared,
        faults: &mut Faults,
    ) {
        let offset = entry.record.offset;
        self.pass(offset, Pass::Absent, found);
        let Some(span) = self.commit.spans.get(self.span) else {
            return;
        };
        if offset != self.at {
            // No commit covers it: the chain has said so.
            return;
        }
        let span = span.clone();
        let is_ours = model.is_of(&span);
        let first_row = self.row;
        let offsets = self.commit.content.offsets();
        while self.row < span.rows.end && offsets.get(self.row) == Some(&offset.0) {
            self.row += 1;
        }
        let rejected = self.commit.rejected(&span).get(self.reject).copied();
        let rejected = rejected.filter(|one| one.offset == offset);
        self.reject += usize::from(rejected.is_some());
        let kind = entry.kind;
        // Before the pipeline was replaced it may have read uncommitted records too.
        let is_message = kind == Kind::Data || kind == Kind::Aborted && !is_ours;
        let is_held = self.row > first_row || rejected.is_some();
        if self.row > first_row {
            if !is_message {
                faults.push(Fault::LoadedIs { offset, kind });
            } else if is_ours {
                model.check_rows(&self.commit, first_row..self.row, &entry.record, faults);
            }
        }
        if let Some(rejected) = rejected {
            if !is_message {
                faults.push(Fault::RejectedIs { offset, kind });
            } else if is_ours {
                model.check_reject(&self.commit, &rejected, &entry.record, faults);
            }
        }
        if !is_held {
            self.other(entry, &span, model, faults);
        } else if !is_ours {
            self.tally.unread += 1;
        }
        self.at = offset.next();
        self.pass(self.at, Pass::Absent, found);
    }

    /// A record of an offset that has neither row nor reject.
    fn other(&mut self, entry: &Entry<'_>, span: &Span, model: &Model, faults: &mut Faults) {
        let (offset, kind) = (entry.record.offset, entry.kind);
        let tally = &mut self.tally;
        let in_skip = offset < self.skip_end && matches!(kind, Kind::Data | Kind::Tombstone);
        if in_skip {
            tally.skipped += 1;
        } else {
            match kind {
                Kind::Data => tally.skipped += 1,
                Kind::Tombstone => tally.tombstones += 1,
                Kind::Control => tally.control += 1,
                Kind::Aborted => tally.aborted += 1,
            }
        }
        let is_ours = model.is_of(span);
        if kind == Kind::Data && !in_skip {
            self.skip_end = entry.batch_next;
            // A skip begins at a message that cannot be loaded, unless compaction took that one.
            if is_ours && entry.batch_is_whole && model.takes(&entry.record) {
                return faults.push(match span.counts {
                    Some(counts) if counts.skipped > 0 => Fault::Skipped { offset },
                    _ => Fault::NotLoaded { offset },
                });
            }
        }
        let Some(counts) = &span.counts else { return };
        let tally = &self.tally;
        let too_many = |counted: u64| Fault::Class {
            offset,
            kind,
            first: span.first,
            next: span.next,
            counted,
        };
        if !is_ours {
            // What was an aborted record then may be a message by today's isolation level.
            let counted = counts.skipped + counts.empty + counts.aborted;
            if tally.skipped + tally.tombstones + tally.aborted > counted {
                faults.push(too_many(counted));
            }
        } else if kind == Kind::Data || in_skip {
            if tally.skipped > counts.skipped {
                faults.push(Fault::NotLoaded { offset });
            }
        } else if kind == Kind::Tombstone && tally.tombstones > counts.empty {
            faults.push(too_many(counts.empty));
        } else if kind == Kind::Aborted && tally.aborted > counts.aborted {
            faults.push(too_many(counts.aborted));
        }
        if kind == Kind::Control && tally.control > counts.control {
            faults.push(too_many(counts.control));
        }
    }

    /// The batch is over.
    fn end(&mut self, found: &mut Compared) {
        let Some(span) = self.commit.spans.get(self.span) else {
            return;
        };
        let tally = &self.tally;
        // Compaction since: fewer records than were counted as something.
        let compacted = match &span.counts {
            Some(counts) => tally.absent.saturating_sub(counts.gap + counts.lost),
            None => 0,
        };
        let gone = tally.gone + tally.missing + compacted;
        let unchecked = gone + tally.unasked;
        found.checked += span.first.until(span.next).saturating_sub(unchecked);
        found.gone += gone;
        found.unasked += tally.unasked;
        found.unread += tally.unread;
    }
}
