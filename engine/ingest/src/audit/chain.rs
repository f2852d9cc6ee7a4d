//! The law over commit records: a chain in which each offset is covered once and counted as one class.
//!
//! Only what the records say is looked at, one after another, and nothing that wrote them is asked.

use storage::counts::Counts;
use storage::format::{CommitFacts, SegmentHeader};
use storage::ids::{Lineage, Offset, Rewrite};

use super::Subject;
use super::fault::{Fault, Faults};

/// Walks a leaf partition's segments and commits, oldest first.
#[derive(Debug)]
pub struct Chain<'a> {
    subject: &'a Subject,
    /// The segment before, with where its commits ended.
    before: Option<SegmentHeader>,
    /// The segment's own.
    segment: Option<SegmentHeader>,
    /// Where the next commit of this lineage begins; none at the start of a lineage that nothing says.
    next: Option<Offset>,
    /// The number that the next commit has; in a merged segment, at the least.
    number: u64,
}

impl<'a> Chain<'a> {
    /// At the start of a leaf partition.
    #[must_use]
    pub fn new(subject: &'a Subject) -> Chain<'a> {
        Chain {
            subject,
            before: None,
            segment: None,
            next: None,
            number: 1,
        }
    }

    /// Where the next commit should begin, and in which lineage; nothing where nothing came.
    #[must_use]
    pub fn end(&self) -> Option<(Lineage, Offset)> {
        let segment = self.segment.as_ref()?;
        Some((segment.lineage, self.next.unwrap_or(segment.first_offset)))
    }

    /// The next segment.
    pub fn segment(&mut self, header: &SegmentHeader, faults: &mut Faults) {
        let at = header.first_offset;
        let sequence = header.id.sequence;
        let subject = self.subject;
        if header.id.leaf_partition != subject.leaf_partition
            || header.table != subject.table
            || header.kafka_partition != subject.kafka_partition
        {
            faults.push(Fault::Foreign { at, sequence });
        }
        if header.lineage > subject.lineage {
            faults.push(Fault::LineageAbove {
                at,
                found: header.lineage,
                known: subject.lineage,
            });
        }
        self.before = self.segment.take();
        match &self.before {
            Some(before) => {
                if header.lineage < before.lineage {
                    faults.push(Fault::LineageFell {
                        at,
                        found: header.lineage,
                        before: before.lineage,
                    });
                }
                let ended = self.next.unwrap_or(before.first_offset);
                let follows = header.prev.is_some_and(|prev| {
                    prev.sequence == before.id.sequence
                        && prev.lineage == before.lineage
                        && prev.next_offset == ended
                        && prev.next_commit_number == self.number
                });
                if !follows || header.id.sequence <= before.id.sequence {
                    faults.push(Fault::Predecessor { at, sequence });
                }
                if header.lineage != before.lineage {
                    self.next = None;
                }
            }
            // The first may name one that a void or a TRUNCATE took away.
            None => self.next = None,
        }
        if self.next.is_none() {
            if header.lineage == subject.lineage && at != subject.start_offset {
                faults.push(Fault::Start {
                    lineage: header.lineage,
                    found: at,
                    expected: subject.start_offset,
                });
            }
            self.next = Some(at);
        }
        self.covers(at, faults);
        self.next = Some(at);
        // What a failed write gave up keeps its numbers: they may be missing between two segments.
        if header.first_commit_number < self.number {
            faults.push(Fault::Number {
                at,
                found: header.first_commit_number,
                expected: self.number,
            });
        }
        self.number = header.first_commit_number;
        self.segment = Some(header.clone());
    }

    /// The next commit begins at `at`.
    fn covers(&mut self, at: Offset, faults: &mut Faults) {
        let Some(expected) = self.next else { return };
        match at.cmp(&expected) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => faults.push(Fault::Hole {
                expected,
                found: at,
            }),
            std::cmp::Ordering::Less => faults.push(Fault::Twice {
                expected,
                found: at,
            }),
        }
    }

    /// A commit of the segment: what it did, and the batches that it stands for (itself, unless merged).
    pub fn commit(&mut self, facts: &CommitFacts, batches: &[CommitFacts], faults: &mut Faults) {
        for batch in batches {
            self.batch(batch, faults);
        }
        let [first, .., last] = batches else {
            // One, or none: nothing that it could be the sum of.
            if batches.first().is_none_or(|only| only != facts) {
                self.not_the_sum(facts, batches, "facts", faults);
            }
            return;
        };
        let mut counts = Counts::default();
        let (mut rows, mut rejects) = (0_u64, 0_u64);
        for batch in batches {
            counts.add(&batch.counts);
            rows += u64::from(batch.rows);
            rejects += u64::from(batch.rejects);
        }
        for (same, what) in [
            (counts == facts.counts, "counts"),
            (rows == u64::from(facts.rows), "rows"),
            (rejects == u64::from(facts.rejects), "rejects"),
            (
                first.first_offset == facts.first_offset && last.next_offset == facts.next_offset,
                "offsets",
            ),
            (last.commit_number == facts.commit_number, "number"),
        ] {
            if !same {
                self.not_the_sum(facts, batches, what, faults);
            }
        }
    }

    fn not_the_sum(
        &self,
        facts: &CommitFacts,
        batches: &[CommitFacts],
        what: &'static str,
        faults: &mut Faults,
    ) {
        faults.push(Fault::Merged {
            first: facts.first_offset,
            what,
            batches: batches.len(),
        });
    }

    fn batch(&mut self, batch: &CommitFacts, faults: &mut Faults) {
        let first = batch.first_offset;
        let lineage = self.segment.as_ref().map(|segment| segment.lineage);
        if lineage.is_some_and(|lineage| lineage != batch.lineage) {
            faults.push(Fault::LineageMixed {
                at: first,
                found: batch.lineage,
                segment: lineage.unwrap_or_default(),
            });
        }
        self.covers(first, faults);
        self.next = Some(batch.next_offset);
        if batch.next_offset < first {
            faults.push(Fault::Backwards {
                first,
                next: batch.next_offset,
            });
        }
        let merged = self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.id.rewrite > Rewrite(0));
        let numbered = if merged {
            batch.commit_number >= self.number
        } else {
            batch.commit_number == self.number
        };
        if !numbered {
            faults.push(Fault::Number {
                at: first,
                found: batch.commit_number,
                expected: self.number,
            });
        }
        self.number = batch.commit_number.saturating_add(1);
        check_facts(batch, faults);
    }
}

/// What one record says of itself.
fn check_facts(batch: &CommitFacts, faults: &mut Faults) {
    let (first, counts) = (batch.first_offset, &batch.counts);
    let classes = [
        counts.loaded,
        counts.rejected,
        counts.empty,
        counts.skipped,
        counts.control,
        counts.aborted,
        counts.gap,
        counts.lost,
    ];
    let counted = classes.into_iter().fold(0, u64::saturating_add);
    let covered = first.until(batch.next_offset);
    if counted != covered {
        faults.push(Fault::Counts {
            first,
            counted,
            covered,
        });
    }
    let (rows, loaded) = (u64::from(batch.rows), counts.loaded);
    if rows < loaded || (loaded == 0 && rows > 0) {
        faults.push(Fault::Rows {
            first,
            rows,
            loaded,
        });
    }
    if u64::from(batch.rejects) < counts.rejected {
        faults.push(Fault::Rejects {
            first,
            rejected: counts.rejected,
            kept: batch.rejects.into(),
        });
    }
}
