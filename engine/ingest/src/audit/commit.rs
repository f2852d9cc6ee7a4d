//! Rows and rejects of one commit, offset by offset: in order, inside, each once, as many as counted.

use std::ops::Range;

use storage::content::Content;
use storage::counts::Counts;
use storage::format::rejects::Reject;
use storage::format::{CommitFacts, CommitRecord, StatisticValue};
use storage::ids::Offset;
use storage::schema::Schema;

use super::cells::Column;
use super::fault::{Fault, Faults};

/// One batch of a content: a commit as written, one of those that a merged commit stands for, or a
/// block of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first offset it covers.
    pub first: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// What it counts; nothing is counted of a tail yet.
    pub counts: Option<Counts>,
    /// Its rows in the content.
    pub rows: Range<usize>,
    /// Its rejects and faults in the content.
    pub rejects: Range<usize>,
    /// When its first step was loaded, ms since 1970; a tail is of now.
    pub started_unix_ms: i64,
}

/// A content with its batches and its rejects at hand.
#[derive(Debug)]
pub struct Commit {
    /// Rows and rejects.
    pub content: Content,
    /// Its batches, oldest first.
    pub spans: Vec<Span>,
    /// The user's columns, then `_offset`, then `_timestamp`.
    pub columns: Vec<Column>,
    /// Each message that was rejected, in order.
    rejected: Vec<Rejected>,
}

/// A message that was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its offset.
    pub offset: Offset,
    /// Its place among the content's rejects and faults.
    place: usize,
    /// Where it is encoded.
    at_byte: usize,
}

impl Commit {
    /// A commit's content, by the batches that its record names.
    #[must_use]
    pub fn new(content: Content, batches: &[CommitFacts]) -> Commit {
        let (mut row, mut reject) = (0, 0);
        let spans = batches.iter().map(|batch| {
            let rows = row..row + batch.rows as usize;
            let rejects = reject..reject + batch.rejects as usize;
            (row, reject) = (rows.end, rejects.end);
            Span {
                first: batch.first_offset,
                next: batch.next_offset,
                counts: Some(batch.counts),
                rows,
                rejects,
                started_unix_ms: batch.started_unix_ms,
            }
        });
        let spans = spans.collect();
        Commit::of(content, spans)
    }

    /// A block of the tail.
    #[must_use]
    pub fn tail(content: Content, first: Offset, next: Offset) -> Commit {
        let span = Span {
            first,
            next,
            counts: None,
            rows: 0..content.rows(),
            rejects: 0..content.rejects().count(),
            started_unix_ms: i64::MAX,
        };
        Commit::of(content, vec![span])
    }

    fn of(content: Content, spans: Vec<Span>) -> Commit {
        let mut rejected = Vec::new();
        let mut at_byte = 0;
        for (place, reject) in content.rejects().map_while(Result::ok).enumerate() {
            if !reject.kind.is_fault() {
                rejected.push(Rejected {
                    offset: reject.offset,
                    place,
                    at_byte,
                });
            }
            at_byte += reject.encoded_bytes();
        }
        Commit {
            columns: content.all_columns().iter().map(Column::new).collect(),
            content,
            spans,
            rejected,
        }
    }

    /// The messages that the batch rejected.
    #[must_use]
    pub fn rejected(&self, span: &Span) -> &[Rejected] {
        let before = |end: usize| self.rejected.partition_point(|one| one.place < end);
        &self.rejected[before(span.rejects.start)..before(span.rejects.end)]
    }

    /// What is kept of it.
    #[must_use]
    pub fn reject(&self, rejected: &Rejected) -> Option<Reject<'_>> {
        self.content.rejects_from(rejected.at_byte).next()?.ok()
    }

    /// Checks every batch; says how many offsets have rows, and how many a reject.
    pub fn check(&self, faults: &mut Faults) -> (u64, u64) {
        let (mut loaded, mut rejected) = (0, 0);
        let rejects: usize = self.spans.iter().map(|span| span.rejects.len()).sum();
        let kept = self.content.rejects().count();
        if rejects != kept {
            faults.push(Fault::Rejects {
                first: self.spans.first().map_or(Offset(0), |span| span.first),
                rejected: rejects as u64,
                kept: kept as u64,
            });
        }
        for span in &self.spans {
            let found = self.check_span(span, faults);
            loaded += found.0;
            rejected += found.1;
        }
        (loaded, rejected)
    }

    fn check_span(&self, span: &Span, faults: &mut Faults) -> (u64, u64) {
        let (first, next) = (span.first, span.next);
        let offsets = self.content.offsets_of(span.rows.clone());
        let mut loaded = 0;
        let mut before: Option<i64> = None;
        for &offset in offsets {
            if !(first.0..next.0).contains(&offset) {
                let offset = Offset(offset);
                faults.push(Fault::RowOutside {
                    offset,
                    first,
                    next,
                });
            }
            if let Some(before) = before.filter(|before| offset < *before) {
                faults.push(Fault::RowOrder {
                    offset: Offset(offset),
                    before: Offset(before),
                });
            }
            loaded += u64::from(before != Some(offset));
            before = Some(offset);
        }
        let rejected = self.rejected(span);
        let mut before: Option<Offset> = None;
        for &Rejected { offset, .. } in rejected {
            if !(first..next).contains(&offset) {
                faults.push(Fault::RejectOutside {
                    offset,
                    first,
                    next,
                });
            }
            if let Some(before) = before.filter(|before| offset <= *before) {
                faults.push(Fault::RejectOrder { offset, before });
            }
            // Both are in order, or it was said above.
            if offsets.binary_search(&offset.0).is_ok() {
                faults.push(Fault::RowAndReject { offset });
            }
            before = Some(offset);
        }
        let kept = rejected.len() as u64;
        if let Some(counts) = &span.counts {
            if loaded != counts.loaded {
                faults.push(Fault::Loaded {
                    first,
                    counted: counts.loaded,
                    found: loaded,
                });
            }
            if kept != counts.rejected {
                faults.push(Fault::Rejected {
                    first,
                    counted: counts.rejected,
                    found: kept,
                });
            }
        }
        (loaded, kept)
    }

    /// Checks what queries leave commits out by: no value beyond the bounds, as many NULLs as it says,
    /// and a bound that is called exact is a row's.
    pub fn check_statistics(&self, schema: &Schema, record: &CommitRecord, faults: &mut Faults) {
        let hidden = [
            storage::schema::OFFSET_COLUMN,
            storage::schema::TIMESTAMP_COLUMN,
        ];
        let names = schema.columns.iter().map(|column| column.name.as_str());
        let columns = self.columns.iter().zip(&record.columns);
        for ((column, of), name) in columns.zip(names.chain(hidden)) {
            let statistics = &of.statistics;
            let nulls = column.null_count() as u64 == u64::from(statistics.null_count);
            let bound = |bound: &Option<storage::format::StatisticBound>, is_min: bool| {
                bound.as_ref().is_none_or(|bound| {
                    let (mut holds, mut met) = (true, false);
                    for row in 0..column.len() {
                        match order(column, row, &bound.value) {
                            Some(order) if order.is_eq() => met = true,
                            Some(order) => holds &= order.is_gt() == is_min,
                            None => {}
                        }
                    }
                    holds && (met || !bound.exact)
                })
            };
            if !nulls || !bound(&statistics.min, true) || !bound(&statistics.max, false) {
                faults.push(Fault::Statistics {
                    at: record.facts.first_offset,
                    column: name.to_owned(),
                });
            }
        }
    }
}

/// A row's value against a bound; nothing for NULL and for what has no order.
fn order(column: &Column, row: usize, bound: &StatisticValue) -> Option<std::cmp::Ordering> {
    if column.is_null(row) {
        return None;
    }
    match bound {
        StatisticValue::Int(bound) => Some(column.int(row)?.cmp(&i128::from(*bound))),
        StatisticValue::UInt(bound) => Some(column.int(row)?.cmp(&i128::from(*bound))),
        StatisticValue::Decimal(bound) => Some(column.int(row)?.cmp(bound)),
        StatisticValue::Float(bound) => column.float(row)?.partial_cmp(bound),
        StatisticValue::Text(bound) => Some(column.text(row)?.as_bytes().cmp(bound.as_bytes())),
    }
}
