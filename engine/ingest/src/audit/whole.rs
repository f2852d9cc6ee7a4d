//! A leaf partition's commit records and its tail: what AUDIT PIPELINE looks at without VERIFY. What a merged
//! commit stands for is read from its file, a commit at a time.

use storage::counts::Counts;
use storage::format::CommitFacts;
use storage::ids::{Lineage, Offset};
use storage::published::{SegmentPart, Snapshot, TailPart};

use super::chain::Chain;
use super::commit::Commit;
use super::fault::{Fault, Faults};
use super::range::Range;
use super::{Rows, Stopped, Subject};

/// Checks one snapshot: a range a segment, then the tail.
///
/// # Errors
/// [`Stopped`].
pub fn records(subject: &Subject, snapshot: Snapshot, rows: &mut impl Rows) -> Result<(), Stopped> {
    let mut chain = Chain::new(subject);
    let segments = snapshot.segments();
    for segment in &segments {
        let mut range = begin(segment);
        chain.segment(&segment.file.header().header, &mut range.faults);
        for commit in &segment.commits {
            rows.go_on()?;
            let facts = commit.record().facts;
            let batches = match commit.batches_quietly(&segment.file) {
                Ok(Ok(batches)) => batches,
                unread => {
                    let what = match unread {
                        Ok(Err(damage)) => damage.to_string(),
                        Err(error) => error.to_string(),
                        Ok(Ok(_)) => String::new(),
                    };
                    range.faults.push(Fault::Bytes {
                        at: facts.first_offset,
                        path: segment.file.path().display().to_string(),
                        what,
                    });
                    // What queries are shown is left to go on by.
                    vec![facts]
                }
            };
            take(&mut range, &batches);
            chain.commit(&facts, &batches, &mut range.faults);
        }
        if is_worth_a_row(&range) {
            rows.row(range)?;
        }
    }
    let tail = snapshot.tail();
    let mut range = tail_range(subject, &snapshot, &chain, &segments, &tail);
    for part in &tail {
        let commit = Commit::tail(part.content(), part.first_offset(), part.next_offset());
        take_tail(&mut range, &commit);
    }
    // The blocks are the leaf's: they are let go before anything is waited for.
    drop(tail);
    let committed = snapshot.committed();
    drop(snapshot);
    cursors(&committed, &segments, &mut range, rows);
    rows.row(range)
}

/// A segment's range, empty.
pub(super) fn begin(segment: &SegmentPart) -> Range {
    let header = &segment.file.header().header;
    let file = Some(segment.file.path().to_path_buf());
    Range::new(header.lineage, header.first_offset, file)
}

/// A segment without a commit is nothing to tell of, unless something is wrong with it.
pub(super) fn is_worth_a_row(range: &Range) -> bool {
    range.commits > 0 || !range.faults.is_empty() || range.footer.is_some()
}

/// Adds batches to a range.
pub(super) fn take(range: &mut Range, batches: &[CommitFacts]) {
    for batch in batches {
        range.commits += 1;
        range.rows += u64::from(batch.rows);
        saturating_add(&mut range.counts, &batch.counts);
        range.next = range.next.max(batch.next_offset);
    }
}

/// The records of a damaged file may say anything.
fn saturating_add(counts: &mut Counts, more: &Counts) {
    for (count, more) in [
        (&mut counts.loaded, more.loaded),
        (&mut counts.rejected, more.rejected),
        (&mut counts.empty, more.empty),
        (&mut counts.skipped, more.skipped),
        (&mut counts.control, more.control),
        (&mut counts.aborted, more.aborted),
        (&mut counts.gap, more.gap),
        (&mut counts.lost, more.lost),
    ] {
        *count = count.saturating_add(more);
    }
}

/// The tail's range, and whether it goes on where the commits end.
pub(super) fn tail_range(
    subject: &Subject,
    snapshot: &Snapshot,
    chain: &Chain<'_>,
    segments: &[SegmentPart],
    tail: &[TailPart],
) -> Range {
    let (lineage, committed) = chain
        .end()
        .unwrap_or((subject.lineage, subject.start_offset));
    // Between two lineages there is neither an open segment nor a block: nothing follows then.
    let follows = !tail.is_empty() || segments.last().is_some_and(|last| last.is_open);
    let visible = match follows {
        true => snapshot.next_offset(),
        false => committed,
    };
    let first = tail.first().map_or(visible, TailPart::first_offset);
    let mut range = Range::new(lineage, first, None);
    range.next = visible;
    range.stands.clone_from(&subject.stands);
    if first != committed {
        range.faults.push(Fault::Tail {
            expected: committed,
            found: first,
        });
    }
    let mut end = first;
    for part in tail {
        if part.first_offset() != end {
            range.faults.push(Fault::Tail {
                expected: end,
                found: part.first_offset(),
            });
        }
        end = part.next_offset();
    }
    range
}

/// Adds a block of the tail to its range.
pub(super) fn take_tail(range: &mut Range, commit: &Commit) {
    let (loaded, rejected) = commit.check(&mut range.faults);
    range.rows += commit.content.rows() as u64;
    range.counts.loaded += loaded;
    range.counts.rejected += rejected;
}

/// The four cursors, each at least the one behind it, and a durable prefix that is one. `snapshot`: without
/// its tail, since this may wait for a moment.
pub(super) fn cursors(
    snapshot: &Snapshot,
    segments: &[SegmentPart],
    range: &mut Range,
    rows: &mut impl Rows,
) {
    let visible = range.next;
    if visible < range.first {
        range.faults.push(Fault::Cursors {
            what: "visible is behind committed",
            ahead: range.first,
            behind: visible,
        });
    }
    if let Some(fetched) = rows.fetched_behind(visible) {
        range.faults.push(Fault::Cursors {
            what: "fetched is behind visible",
            ahead: visible,
            behind: fetched,
        });
    }
    durable(snapshot, segments, &mut range.faults);
}

fn durable(snapshot: &Snapshot, segments: &[SegmentPart], faults: &mut Faults) {
    let durable = snapshot.durable();
    let sequence = |segment: &SegmentPart| segment.file.header().header.id.sequence;
    let at = segments
        .iter()
        .position(|one| sequence(one) == durable.sequence);
    let (whole, partial) = match at {
        Some(at) => (at, durable.commits as usize),
        // Nothing yet; or of a segment that is not shown, which nothing says is all that is.
        None => (0, 0),
    };
    let last = segments
        .last()
        .map(|last| (sequence(last), last.next_offset()));
    let beyond = last.is_none_or(|(last, _)| durable.sequence > last);
    if at.is_none() && durable.sequence > Default::default() && beyond {
        let at = last.map_or(Offset(0), |(_, end)| end);
        faults.push(Fault::Durable { at });
    }
    if let Some(segment) = at.and_then(|at| segments.get(at))
        && partial > segment.commits.len()
    {
        faults.push(Fault::Durable {
            at: segment.next_offset(),
        });
    }
    // What is durable is read by sessions that ask for it: commit by commit the same as all that is shown.
    let prefix = snapshot.durable_prefix();
    let shown = segments.iter().enumerate().flat_map(|(place, segment)| {
        let take = match place.cmp(&whole) {
            std::cmp::Ordering::Less => usize::MAX,
            std::cmp::Ordering::Equal => partial,
            std::cmp::Ordering::Greater => 0,
        };
        segment.commits.iter().take(take)
    });
    let place = |facts: &CommitFacts| (facts.commit_number, facts.first_offset);
    let mut durable = prefix.records();
    for shown in shown.map(|commit| &commit.record().facts) {
        if durable.next().as_ref().map(place) != Some(place(shown)) {
            return faults.push(Fault::Durable {
                at: shown.first_offset,
            });
        }
    }
    if let Some(more) = durable.next() {
        faults.push(Fault::Durable {
            at: more.first_offset,
        });
    }
}

/// A leaf partition that nothing can be read of: what is said in its stead.
#[must_use]
pub fn unreadable(lineage: Lineage, start_offset: Offset, words: String) -> Range {
    let mut range = Range::new(lineage, start_offset, None);
    range.stands = Some(words);
    range
}
