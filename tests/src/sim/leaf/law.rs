//! The law, looked at from outside: what a query reads against what is true of the topic.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use storage::counts::Counts;
use storage::format::CommitFacts;
use storage::published::Snapshot;

use super::log::{Fact, Log, timestamp};

/// One leaf partition's truth.
pub struct Truth<'a> {
    /// The Kafka partition's log.
    pub log: &'a Log,
    /// What an aborted record is.
    pub read_committed: bool,
    /// SKIP PARSER ERRORS.
    pub skips: bool,
    /// The lineage and its first offset.
    pub lineage: u64,
    /// Its first offset.
    pub start: i64,
    /// The ranges that the leaf gave up because retention had taken them.
    pub lost: &'a [(i64, i64)],
    /// The log was cut here and says other things above: not looked at.
    pub valid_until: i64,
    /// A commit covers at most so many offsets.
    pub offsets_max: i64,
}

type Rows = BTreeMap<i64, (i64, String)>;

/// Looks at a snapshot.
///
/// # Errors
/// What breaks the law.
pub fn look(snapshot: &Snapshot, truth: &Truth<'_>) -> Result<(), String> {
    let rows = read(snapshot)?;
    let mut cursor = truth.start;
    let mut expected = Rows::new();
    let mut rejected = Vec::new();
    for commit in snapshot.commits() {
        let commit = commit.map_err(|error| error.to_string())?;
        if commit.lineage.0 != truth.lineage {
            return Err(format!(
                "a commit of lineage {} is read in lineage {}",
                commit.lineage, truth.lineage
            ));
        }
        let (first, next) = (commit.first_offset.0, commit.next_offset.0);
        if first != cursor {
            return Err(format!(
                "a commit begins at {first}, the last ended at {cursor}"
            ));
        }
        if next - first > truth.offsets_max {
            return Err(format!(
                "a commit covers {first}..{next}, more than the maximum"
            ));
        }
        cursor = next;
        if next > truth.valid_until {
            return Ok(());
        }
        judge(truth, &commit, &mut expected, &mut rejected)?;
    }
    let committed: Rows = rows
        .range(..cursor)
        .map(|(offset, row)| (*offset, row.clone()))
        .collect();
    if committed != expected {
        let wrong = (truth.start..cursor)
            .find(|offset| committed.get(offset) != expected.get(offset))
            .unwrap_or(-1);
        return Err(format!(
            "offset {wrong}: read {:?}, the topic has {:?}",
            committed.get(&wrong),
            expected.get(&wrong)
        ));
    }
    look_at_tail(snapshot, truth, &rows, cursor)?;
    look_at_rejects(snapshot, &rejected, cursor)
}

/// What is visible and not committed: each row is the topic's.
fn look_at_tail(
    snapshot: &Snapshot,
    truth: &Truth<'_>,
    rows: &Rows,
    committed: i64,
) -> Result<(), String> {
    let visible = snapshot.next_offset().0;
    if visible < committed {
        return Err(format!("visible {visible} is below committed {committed}"));
    }
    for (&offset, row) in rows.range(committed..) {
        if offset >= truth.valid_until {
            return Ok(());
        }
        if offset >= visible || offset >= truth.log.end() {
            let end = truth.log.end();
            return Err(format!(
                "a row at {offset}, visible is {visible}, the log ends at {end}"
            ));
        }
        match truth.log.fact(offset, truth.read_committed) {
            Some(Fact::Row(value, text)) if *value == row.0 && *text == row.1 => {}
            fact => {
                return Err(format!(
                    "offset {offset}: read {row:?}, the topic has {fact:?}"
                ));
            }
        }
    }
    Ok(())
}

fn look_at_rejects(snapshot: &Snapshot, expected: &[i64], committed: i64) -> Result<(), String> {
    let mut read = Vec::new();
    for reject in snapshot.rejects() {
        let reject = reject.map_err(|error| error.to_string())?;
        if !reject.kind.is_fault() && reject.offset.0 < committed {
            read.push(reject.offset.0);
        }
    }
    if read != expected {
        return Err(format!("rejects at {read:?}, expected at {expected:?}"));
    }
    Ok(())
}

/// Whether a commit counts what the topic has and what retention took.
fn judge(
    truth: &Truth<'_>,
    commit: &CommitFacts,
    rows: &mut Rows,
    rejected: &mut Vec<i64>,
) -> Result<(), String> {
    let (first, next) = (commit.first_offset.0, commit.next_offset.0);
    let counts = walk(truth, commit, rows, rejected)?;
    if counts != commit.counts {
        return Err(format!(
            "commit {first}..{next} counts {:?}, the topic {counts:?}, lost are {:?}",
            commit.counts, truth.lost
        ));
    }
    Ok(())
}

/// What a commit must count, and what it must hold.
fn walk(
    truth: &Truth<'_>,
    commit: &CommitFacts,
    rows: &mut Rows,
    rejected: &mut Vec<i64>,
) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let (mut offset, next) = (commit.first_offset.0, commit.next_offset.0);
    while offset < next {
        let lost = |range: &&(i64, i64)| (range.0..range.1).contains(&offset);
        if let Some(&(_, to)) = truth.lost.iter().find(lost) {
            counts.lost += (to.min(next) - offset) as u64;
            offset = to.min(next);
            continue;
        }
        if offset >= truth.log.end() {
            return Err(format!("offset {offset} is not in the log"));
        }
        match truth.log.fact(offset, truth.read_committed) {
            None => counts.aborted += 1,
            Some(Fact::Row(value, text)) => {
                counts.loaded += 1;
                rows.insert(offset, (*value, text.clone()));
            }
            Some(Fact::Empty) => counts.empty += 1,
            Some(Fact::Control) => counts.control += 1,
            Some(Fact::Gap) => counts.gap += 1,
            Some(Fact::Bad) if truth.skips => {
                counts.rejected += 1;
                rejected.push(offset);
            }
            Some(Fact::Bad) => {
                // STOP_ON_ERROR OFF: the rest of the record batch, as far as the commit may reach.
                let end = truth.log.batch_end(offset).min(next);
                counts.skipped += (end - offset) as u64;
                offset = end;
                continue;
            }
        }
        offset += 1;
    }
    Ok(counts)
}

fn read(snapshot: &Snapshot) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for part in snapshot.parts() {
        let columns = part
            .read(&[0, 1, 2, 3])
            .map_err(|error| error.to_string())?;
        let values = columns[0].as_primitive::<Int64Type>();
        let texts = columns[1].as_string::<i32>();
        let offsets = columns[2].as_primitive::<Int64Type>();
        let timestamps = columns[3].as_primitive::<Int64Type>();
        for row in 0..offsets.len() {
            let offset = offsets.value(row);
            if timestamps.value(row) != timestamp(offset) {
                return Err(format!("offset {offset} has another timestamp"));
            }
            let value = (values.value(row), texts.value(row).to_owned());
            if rows.insert(offset, value).is_some() {
                return Err(format!("offset {offset} is there twice"));
            }
        }
    }
    Ok(rows)
}
