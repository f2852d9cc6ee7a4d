//! The law, looked at from outside: what a query reads against what is true of the topic.
//!
//! Within a lineage, from its start, each offset below the cursor is exactly one of loaded, rejected,
//! empty, skipped, control, aborted, gap or lost, and rows and rejects equal those of one history of the
//! log: never a part of one and a part of another. Lineages that were left stand as they were left, as
//! long as they are alive.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use storage::counts::Counts;
use storage::error::StorageError;
use storage::format::CommitFacts;
use storage::format::rejects::RejectKind;
use storage::published::{Part, Snapshot};

use super::kafka::log::{bad_message, is_text, rows_of};
use super::kafka::{Fact, History, Log, timestamp};
use super::mix;
use super::tracked::{Lost, Tracked};

/// What the pipeline says.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What an aborted record is.
    pub read_committed: bool,
    /// SKIP PARSER ERRORS.
    pub skips: bool,
    /// STOP_ON_ERROR.
    pub stop_on_error: bool,
    /// A commit covers at most so many offsets.
    pub offsets_max: u64,
}

/// A lineage as it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    commits: Vec<CommitFacts>,
    /// The rows of each, in one number.
    rows: Vec<u64>,
    rejects: Vec<Reject>,
}

/// Why a snapshot is not what it must be.
#[derive(Debug)]
pub enum Wrong {
    /// The law is broken.
    Law(String),
    /// Reading it met damage, and said so.
    Damage(String),
}

impl From<String> for Wrong {
    fn from(what: String) -> Wrong {
        Wrong::Law(what)
    }
}

impl From<StorageError> for Wrong {
    fn from(error: StorageError) -> Wrong {
        Wrong::Damage(error.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    offset: i64,
    value: i64,
    text_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reject {
    /// Of its commit; none in the tail.
    lineage: Option<u64>,
    offset: i64,
    message: Vec<u8>,
}

/// A block of the tail, as far as it is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    first: i64,
    next: i64,
    rows: usize,
}

/// All that a snapshot holds: rows and rejects in the order of the commits, then those of the tail.
struct Read {
    commits: Vec<CommitFacts>,
    rows: Vec<Row>,
    rejects: Vec<Reject>,
    /// Those with a row or a reject.
    tail: Vec<Block>,
    visible: i64,
}

/// Looks at a snapshot that shows the lineage `tracked.shown`. Returns what of [`Tracked::lost`] may have
/// been given up.
///
/// # Errors
/// [`Wrong`].
pub fn look(
    snapshot: &Snapshot,
    tracked: &Tracked,
    log: &Log,
    rules: &Rules,
) -> Result<Vec<Lost>, Wrong> {
    let read = read(snapshot)?;
    let shown = tracked.shown.unwrap_or(tracked.lineage);
    let numbers = read
        .commits
        .windows(2)
        .map(|two| (two[0].commit_number, two[1].commit_number));
    if let Some((before, number)) = numbers
        .into_iter()
        .find(|(before, number)| before >= number)
    {
        return Err(Wrong::Law(format!("commit {number} after {before}")));
    }
    let mut at = (0, 0);
    while let Some(commit) = read.commits.get(at.0) {
        let lineage = commit.lineage.0;
        if lineage >= shown {
            break;
        }
        if lineage < tracked.live {
            return Err(Wrong::Law(format!("lineage {lineage} is dead and is read")));
        }
        at = left(&read, at, lineage, tracked)?;
    }
    let read_there = |lineage: &u64| read.commits.iter().any(|one| one.lineage.0 == *lineage);
    let missing = tracked.left.iter().find(|(lineage, seen)| {
        let shortened = tracked.shortened(**lineage);
        let may_be = shortened.is_some_and(|from| Seen::default().begins(seen, from));
        let live = (tracked.live..shown).contains(lineage);
        live && !seen.commits.is_empty() && !read_there(lineage) && !may_be
    });
    if let Some((lineage, _)) = missing {
        return Err(Wrong::Law(format!(
            "lineage {lineage} is not there any more"
        )));
    }
    let own = read.rejects_of(Some(shown));
    let judge = Judge {
        read: &read,
        rejects: own.chain(read.rejects_of(None)).collect(),
        tracked,
        rules,
        lineage: shown,
        first: at,
    };
    let mut broken = None;
    let mut kept = Vec::new();
    for lost in &tracked.lost {
        let judged = log.histories.iter().rev().map(|one| judge.judge(one, lost));
        let mut failed = None;
        let mut held = false;
        for result in judged {
            match result {
                Ok(()) => {
                    held = true;
                    break;
                }
                Err(what) => drop(failed.get_or_insert(what)),
            }
        }
        if held {
            kept.push(lost.clone());
        } else {
            broken = broken.or(failed);
        }
    }
    match broken {
        Some(what) if kept.is_empty() => Err(Wrong::Law(what)),
        _ => Ok(kept),
    }
}

/// The newest lineage of a snapshot, to be compared with what is read of it later.
///
/// # Errors
/// [`Wrong::Damage`].
pub fn seen(snapshot: &Snapshot, lineage: u64) -> Result<Seen, Wrong> {
    let read = read(snapshot)?;
    let before = |one: &&CommitFacts| one.lineage.0 < lineage;
    let rows = read.commits.iter().take_while(before).map(|one| one.rows);
    let rows: usize = rows.map(|rows| rows as usize).sum();
    let commits: Vec<CommitFacts> = read.commits.iter().skip_while(before).copied().collect();
    Ok(Seen {
        rows: fingerprints(&commits, &read.rows[rows..]),
        rejects: read.rejects_of(Some(lineage)).cloned().collect(),
        commits,
    })
}

fn fingerprints(commits: &[CommitFacts], mut rows: &[Row]) -> Vec<u64> {
    let each = commits.iter().map(|commit| {
        let (own, behind) = rows.split_at(rows.len().min(commit.rows as usize));
        rows = behind;
        fingerprint(own)
    });
    each.collect()
}

impl Seen {
    /// Whether it is the beginning of what was seen before, and nothing below `from` is missing.
    fn begins(&self, before: &Seen, from: i64) -> bool {
        let missing = before.commits.get(self.commits.len());
        before.commits.starts_with(&self.commits)
            && before.rows.starts_with(&self.rows)
            && before.rejects.starts_with(&self.rejects)
            && missing.is_none_or(|commit| commit.first_offset.0 >= from)
    }
}

fn fingerprint(rows: &[Row]) -> u64 {
    rows.iter().fold(rows.len() as u64, |all, row| {
        mix(all ^ mix(row.offset as u64 ^ (u64::from(row.text_bytes) << 40)) ^ row.value as u64)
    })
}

/// A lineage that was left, from commit and row `at` on; where the next one begins.
fn left(
    read: &Read,
    at: (usize, usize),
    lineage: u64,
    tracked: &Tracked,
) -> Result<(usize, usize), Wrong> {
    let commits: Vec<CommitFacts> = read.commits[at.0..]
        .iter()
        .take_while(|one| one.lineage.0 == lineage)
        .copied()
        .collect();
    let rows: usize = commits.iter().map(|one| one.rows as usize).sum();
    let rows = read.rows.get(at.1..at.1 + rows).ok_or(format!(
        "lineage {lineage} has fewer rows than its commits say"
    ))?;
    let seen = Seen {
        rows: fingerprints(&commits, rows),
        rejects: read.rejects_of(Some(lineage)).cloned().collect(),
        commits,
    };
    let next = (at.0 + seen.commits.len(), at.1 + rows.len());
    match tracked.left.get(&lineage) {
        Some(before) if *before == seen => Ok(next),
        Some(before)
            if tracked
                .shortened(lineage)
                .is_some_and(|from| seen.begins(before, from)) =>
        {
            Ok(next)
        }
        Some(before) => Err(Wrong::Law(format!(
            "lineage {lineage} was left with {} commits to {:?}, and is read with {} to {:?}",
            before.commits.len(),
            before.commits.last().map(|one| one.next_offset.0),
            seen.commits.len(),
            seen.commits.last().map(|one| one.next_offset.0),
        ))),
        None => Err(Wrong::Law(format!("lineage {lineage} never was"))),
    }
}

impl Read {
    /// Of the commits of a lineage; of the tail.
    fn rejects_of(&self, lineage: Option<u64>) -> impl Iterator<Item = &Reject> {
        let rejects = self.rejects.iter();
        rejects.filter(move |reject| reject.lineage == lineage)
    }
}

struct Judge<'a> {
    read: &'a Read,
    /// The lineage's, then the tail's.
    rejects: Vec<&'a Reject>,
    tracked: &'a Tracked,
    rules: &'a Rules,
    lineage: u64,
    /// The lineage's first commit and row.
    first: (usize, usize),
}

/// As far as a lineage was walked: its rows and rejects so far.
struct Walk {
    rows: usize,
    rejects: usize,
}

/// What a range of offsets must hold.
#[derive(Default)]
struct Holds {
    counts: Counts,
    /// How many tombstones and how many aborted records may be gaps: compaction came before whoever read them or
    /// behind.
    empty_or_gap: u64,
    aborted_or_gap: u64,
    /// The newest epoch of what is loaded or skipped.
    epoch: i32,
}

impl Holds {
    fn is_counted(&self, counts: &Counts) -> bool {
        let most = &self.counts;
        let empty = most.empty.checked_sub(counts.empty);
        let aborted = most.aborted.checked_sub(counts.aborted);
        let (Some(empty), Some(aborted)) = (empty, aborted) else {
            return false;
        };
        let said = Counts {
            empty: counts.empty,
            aborted: counts.aborted,
            gap: most.gap + empty + aborted,
            ..*most
        };
        said == *counts && empty <= self.empty_or_gap && aborted <= self.aborted_or_gap
    }
}

impl Judge<'_> {
    /// Whether the lineage is of this history, with these ranges given up.
    fn judge(&self, history: &History, lost: &Lost) -> Result<(), String> {
        let mut cursor = self.tracked.start;
        let mut walk = Walk {
            rows: self.first.1,
            rejects: 0,
        };
        for commit in &self.read.commits[self.first.0..] {
            if commit.lineage.0 != self.lineage {
                return Err(format!(
                    "a commit of lineage {} is read in lineage {}",
                    commit.lineage, self.lineage
                ));
            }
            let (first, next) = (commit.first_offset.0, commit.next_offset.0);
            if first != cursor {
                return Err(format!(
                    "a commit begins at {first}, the last ended at {cursor}"
                ));
            }
            if next.saturating_sub(first) as u64 > self.rules.offsets_max {
                return Err(format!(
                    "a commit covers {first}..{next}, more than the maximum"
                ));
            }
            cursor = next;
            self.commit(history, lost, commit, &mut walk)?;
        }
        self.tail(history, lost, cursor, &mut walk)?;
        if let Some(reject) = self.rejects.get(walk.rejects) {
            return Err(format!("{reject:?} is one too many"));
        }
        match self.read.rows.get(walk.rows) {
            Some(row) => Err(format!("{row:?} is one too many")),
            None => Ok(()),
        }
    }

    /// Whether a commit holds and counts what the topic has and what retention took.
    fn commit(
        &self,
        history: &History,
        lost: &Lost,
        commit: &CommitFacts,
        walk: &mut Walk,
    ) -> Result<(), String> {
        let range = (commit.first_offset.0, commit.next_offset.0);
        let holds = self.range(history, lost, range, commit.rows as usize, walk)?;
        let (first, next) = range;
        if !holds.is_counted(&commit.counts) {
            return Err(format!(
                "commit {first}..{next} counts {:?}, the topic {:?}, lost are {lost:?}",
                commit.counts, holds.counts
            ));
        }
        if commit.leader_epoch < holds.epoch {
            return Err(format!(
                "commit {first}..{next} says leader epoch {}, a row of it is of epoch {}",
                commit.leader_epoch, holds.epoch
            ));
        }
        Ok(())
    }

    /// Walks a range of offsets that has so many rows: each row and reject that the topic has there is there, and no
    /// other.
    fn range(
        &self,
        history: &History,
        lost: &Lost,
        (first, next): (i64, i64),
        rows: usize,
        walk: &mut Walk,
    ) -> Result<Holds, String> {
        let mut holds = Holds {
            epoch: -1,
            ..Holds::default()
        };
        let counts = &mut holds.counts;
        let mut offset = first;
        let end = walk.rows + rows;
        while offset < next {
            let of = |range: &&(i64, i64)| (range.0..range.1).contains(&offset);
            if let Some(&(_, to)) = lost.iter().find(of) {
                counts.lost += (to.min(next) - offset) as u64;
                offset = to.min(next);
                continue;
            }
            let Some(place) = history.place(offset) else {
                return Err(format!("offset {offset} is not in the log"));
            };
            let there = self.read.rows.get(walk.rows);
            let there = there.filter(|row| row.offset == offset && walk.rows < end);
            let reject = self.rejects.get(walk.rejects);
            let reject = reject.filter(|reject| reject.offset == offset);
            match &place.fact {
                _ if self.rules.read_committed && place.aborted => {
                    counts.aborted += 1;
                    holds.aborted_or_gap += u64::from(place.compacted);
                }
                Fact::Rows { .. } if place.compacted && there.is_none() => counts.gap += 1,
                &Fact::Rows {
                    value,
                    text_bytes,
                    rows,
                } => {
                    for (value, text_bytes) in rows_of(value, text_bytes, rows) {
                        let wanted = Row {
                            offset,
                            value,
                            text_bytes,
                        };
                        let read = self.read.rows.get(walk.rows);
                        if read != Some(&wanted) || walk.rows == end {
                            return Err(format!("read {read:?}, the topic has {wanted:?}"));
                        }
                        walk.rows += 1;
                    }
                    holds.epoch = place.epoch;
                    counts.loaded += 1;
                }
                Fact::Empty => {
                    counts.empty += 1;
                    holds.empty_or_gap += u64::from(place.compacted);
                }
                Fact::Control => counts.control += 1,
                Fact::Gap => counts.gap += 1,
                Fact::Bad if place.compacted && reject.is_none() => counts.gap += 1,
                Fact::Bad if self.rules.skips => {
                    let wanted = bad_message(offset, place.epoch);
                    if reject.is_none_or(|reject| reject.message != wanted.as_bytes()) {
                        let read = self.rejects.get(walk.rejects);
                        return Err(format!("read {read:?}, offset {offset} has {wanted}"));
                    }
                    walk.rejects += 1;
                    counts.rejected += 1;
                }
                Fact::Bad if self.rules.stop_on_error => {
                    return Err(format!(
                        "offset {offset} cannot be loaded, and is passed over"
                    ));
                }
                Fact::Bad => {
                    holds.epoch = place.epoch;
                    // STOP_ON_ERROR OFF: the rest of the record batch, as far as the commit may reach.
                    let end = place.batch_end.min(next);
                    counts.skipped += (end - offset) as u64;
                    offset = end;
                    continue;
                }
            }
            offset += 1;
        }
        if walk.rows != end {
            let topic = (walk.rows + rows) - end;
            return Err(format!(
                "{first}..{next} holds {rows} rows, the topic {topic}"
            ));
        }
        Ok(holds)
    }

    /// What is visible and not committed: all of it is there as well. A block without a row or a reject is not read.
    fn tail(
        &self,
        history: &History,
        lost: &Lost,
        committed: i64,
        walk: &mut Walk,
    ) -> Result<(), String> {
        let visible = self.read.visible;
        if visible < committed {
            return Err(format!("visible {visible} is below committed {committed}"));
        }
        if let Some(end) = self.tracked.end_offset
            && visible > end.max(self.tracked.start)
        {
            return Err(format!(
                "visible {visible} is beyond the end {end}, where another goes on"
            ));
        }
        let mut cursor = committed;
        for block in &self.read.tail {
            if block.first < cursor || block.next > visible {
                return Err(format!(
                    "{block:?} stands behind {cursor}, visible is {visible}"
                ));
            }
            self.range(history, lost, (cursor, block.first), 0, walk)?;
            let range = (block.first, block.next);
            self.range(history, lost, range, block.rows, walk)?;
            cursor = block.next;
        }
        self.range(history, lost, (cursor, visible), 0, walk)?;
        Ok(())
    }
}

fn read(snapshot: &Snapshot) -> Result<Read, Wrong> {
    let mut rows = Vec::new();
    for part in snapshot.parts() {
        let columns = part.read(&[0, 1, 2, 3])?;
        let values = columns[0].as_primitive::<Int64Type>();
        let texts = columns[1].as_string::<i32>();
        let offsets = columns[2].as_primitive::<Int64Type>();
        let timestamps = columns[3].as_primitive::<Int64Type>();
        for row in 0..offsets.len() {
            let offset = offsets.value(row);
            if timestamps.value(row) != timestamp(offset) {
                return Err(Wrong::Law(format!("offset {offset} has another timestamp")));
            }
            let text = texts.value(row);
            let value = values.value(row);
            if !is_text(value, text) {
                return Err(Wrong::Law(format!("offset {offset} has another text")));
            }
            rows.push(Row {
                offset,
                value,
                text_bytes: text.len() as u32,
            });
        }
    }
    let mut rejects = Vec::new();
    for reject in snapshot.rejects() {
        let reject = reject?;
        let offset = reject.offset.0;
        if reject.kind.is_fault() {
            continue;
        }
        // What is wrong with each of them is one thing.
        if reject.kind != RejectKind::Parser || reject.timestamp_ms != timestamp(offset) {
            return Err(Wrong::Law(format!(
                "another reject at offset {offset}: {reject:?}"
            )));
        }
        rejects.push(Reject {
            lineage: reject.batch.map(|commit| commit.lineage.0),
            offset,
            message: reject.message,
        });
    }
    let block = |part: &Part| Block {
        first: part.first_offset().0,
        next: part.next_offset().0,
        rows: part.rows() as usize,
    };
    let of_rows = snapshot.parts().iter().rev();
    let of_rows = of_rows.take_while(|part| part.is_tail()).map(block);
    let of_rejects = snapshot.reject_parts().rev();
    let of_rejects = of_rejects
        .take_while(Part::is_tail)
        .map(|part| block(&part));
    let mut tail: Vec<Block> = of_rows.chain(of_rejects).collect();
    tail.sort_unstable();
    tail.dedup();
    Ok(Read {
        commits: snapshot.commits().collect::<Result<_, _>>()?,
        rows,
        rejects,
        tail,
        visible: snapshot.next_offset().0,
    })
}
