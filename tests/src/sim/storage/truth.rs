//! What is true: what each offset of the simulated topic is, and what a table must therefore hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use storage::block::Tail;
use storage::counts::Counts;
use storage::error::StorageError;
use storage::format::CommitFacts;
use storage::format::rejects::{Reject, RejectKind};
use storage::ids::Offset;
use storage::published::Snapshot;
use storage::schema::{Column, Physical, Schema};

use crate::sim::mix;

/// Two columns: an integer, and a string that may be NULL.
#[must_use]
pub fn schema() -> Arc<Schema> {
    let column = |name: &str, physical, nullable| Column {
        name: name.to_owned(),
        physical,
        nullable,
        annotation: String::new(),
    };
    Arc::new(Schema {
        version: 1,
        columns: Arc::new([
            column("id", Physical::Int64, false),
            column("name", Physical::Utf8, true),
        ]),
    })
}

/// What became of an offset, in the topic of a seed: the same whenever it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One row or several.
    Loaded(u32),
    /// A reject.
    Rejected,
    /// One of the classes without anything to keep.
    Nothing(u8),
}

/// The topic of a seed.
#[derive(Clone, Copy, Debug)]
pub struct Topic(pub u64);

/// One row as it must be read.
pub type Row = (i64, Option<String>, i64, i64);

impl Topic {
    fn hash(self, offset: i64, what: u64) -> u64 {
        mix(self.0 ^ mix(offset as u64 ^ (what << 56)))
    }

    /// What an offset is.
    #[must_use]
    pub fn class(self, offset: i64) -> Class {
        match self.hash(offset, 1) % 16 {
            0..=9 => Class::Loaded(1),
            10 => Class::Loaded(3),
            11 => Class::Rejected,
            _ => Class::Nothing((self.hash(offset, 2) % 6) as u8),
        }
    }

    /// The rows of an offset.
    #[must_use]
    pub fn rows(self, offset: i64) -> Vec<Row> {
        let Class::Loaded(rows) = self.class(offset) else {
            return Vec::new();
        };
        (0..u64::from(rows))
            .map(|row| {
                let value = self.hash(offset, 8 + row);
                let name = (!value.is_multiple_of(5))
                    .then(|| format!("{value:x}").repeat((value % 4) as usize));
                (value as i64, name, offset, offset * 10)
            })
            .collect()
    }

    /// Writes an offset into a tail; `false`: the block is full, nothing of it was written.
    pub fn put(self, offset: i64, tail: &mut Tail<'_>) -> bool {
        match self.class(offset) {
            Class::Loaded(rows) => {
                let before = tail.savepoint();
                if tail.rows_free() < rows {
                    return false;
                }
                for (value, name, _, timestamp) in self.rows(offset) {
                    tail.put(0, value);
                    let fits = match &name {
                        Some(name) => tail.put_str(1, name).is_ok(),
                        None => {
                            tail.put_null(1);
                            true
                        }
                    };
                    if !fits {
                        tail.rewind(before);
                        return false;
                    }
                    tail.end_row(Offset(offset), timestamp);
                }
                true
            }
            Class::Rejected => {
                let (key, message) = self.rejected(offset);
                let reject = self.reject(offset, key.as_deref(), &message);
                tail.reject(&reject).is_ok()
            }
            Class::Nothing(_) => true,
        }
    }

    /// The key and the message of a reject.
    fn rejected(self, offset: i64) -> (Option<Vec<u8>>, Vec<u8>) {
        let hash = self.hash(offset, 3);
        let bytes = hash.to_le_bytes();
        let key = (!hash.is_multiple_of(3)).then(|| bytes[..(hash % 8) as usize].to_vec());
        (key, bytes.repeat((hash >> 8) as usize % 5))
    }

    /// A reject, whole: what is wrong and why is of its offset too.
    fn reject<'a>(self, offset: i64, key: Option<&'a [u8]>, message: &'a [u8]) -> Reject<'a> {
        let hash = self.hash(offset, 4);
        let parser = hash.is_multiple_of(2);
        Reject {
            offset: Offset(offset),
            timestamp_ms: offset * 10,
            unix_ms: offset * 11,
            code: 1_000 + (hash >> 8) as u16 % 500,
            kind: match parser {
                true => RejectKind::Parser,
                false => RejectKind::Constraint,
            },
            line: (hash >> 16) as u32 % 9,
            column: (!parser).then_some((hash >> 24) as u16 % 2),
            text: ["not JSON", "too long", ""][(hash >> 32) as usize % 3],
            key,
            message,
        }
    }

    /// What became of a range of offsets.
    #[must_use]
    pub fn counts(self, from: i64, to: i64) -> Counts {
        let mut counts = Counts::default();
        for offset in from..to {
            let of = match self.class(offset) {
                Class::Loaded(_) => &mut counts.loaded,
                Class::Rejected => &mut counts.rejected,
                Class::Nothing(0) => &mut counts.empty,
                Class::Nothing(1) => &mut counts.skipped,
                Class::Nothing(2) => &mut counts.control,
                Class::Nothing(3) => &mut counts.aborted,
                Class::Nothing(4) => &mut counts.gap,
                Class::Nothing(_) => &mut counts.lost,
            };
            *of += 1;
        }
        counts
    }
}

/// A lineage as it must be.
#[derive(Clone, Copy, Debug)]
pub struct LineageTruth {
    /// Its first offset.
    pub start: i64,
    /// Where it ended, once there is a newer one.
    pub end: Option<i64>,
    /// What was said to be durable.
    pub durable: i64,
    /// The most that ever was: below it a query is told, or it was given up.
    pub owed: i64,
}

/// What a segment in quarantine held.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    /// Its lineage.
    pub lineage: u64,
    /// Its first offset.
    pub from: i64,
    /// The offset after its last.
    pub to: i64,
    /// What follows it is there; else it may be loaded again from its first offset.
    pub bridged: bool,
}

/// What a snapshot must hold.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The topic.
    pub topic: Topic,
    /// The lineages, dead ones too.
    pub lineages: &'a BTreeMap<u64, LineageTruth>,
    /// Those below must not be seen; `None` while they may still be.
    pub live: Option<u64>,
    /// The newest lineage that is seen.
    pub current: u64,
    /// Where it ends.
    pub next_offset: i64,
    /// The most offsets that a commit may cover.
    pub offsets_max: u64,
    /// The last number that was ever given to a commit.
    pub number_last: u64,
    /// Commits of so many numbers up to it are kept one by one.
    pub batches_kept: u64,
    /// What may be missing: it is told, or was given up.
    pub missing: &'a [Missing],
}

/// The ranges of a lineage's offsets that are seen, in order.
#[derive(Clone, Debug)]
struct Seen {
    pieces: Vec<(i64, i64)>,
    end: i64,
}

impl Seen {
    fn from(truth: &LineageTruth) -> Seen {
        Seen {
            pieces: Vec::new(),
            end: truth.start,
        }
    }

    /// Goes on to `to` over what may be missing; whether that leads there.
    fn skip(&mut self, lineage: u64, to: i64, missing: &[Missing]) -> bool {
        self.end = self.reach(lineage, to, missing, |_| true);
        self.end == to
    }

    /// The same to where the lineage was left. A hole takes along what was written behind that and given up:
    /// nothing tells any more that it was never durable.
    fn skip_to_end(&mut self, lineage: u64, end: i64, missing: &[Missing]) -> bool {
        let to_end = |one: &Missing| Missing {
            to: one.to.min(end),
            ..*one
        };
        let missing: Vec<Missing> = missing.iter().map(to_end).collect();
        self.skip(lineage, end, &missing)
    }

    /// How far it leads at most, and not beyond `to`: what was loaded again may have been lost again.
    fn reach(&self, lineage: u64, to: i64, missing: &[Missing], of: fn(&Missing) -> bool) -> i64 {
        let mut reached = BTreeSet::from([self.end]);
        let mut next = Some(self.end);
        while let Some(from) = next {
            let here = |one: &&Missing| {
                let ends = from < one.to && one.to <= to;
                one.lineage == lineage && one.from == from && ends && of(one)
            };
            reached.extend(missing.iter().filter(here).map(|one| one.to));
            next = reached.range(from + 1..).next().copied();
        }
        reached.last().copied().unwrap_or(self.end)
    }

    fn take(&mut self, to: i64) {
        self.pieces.push((self.end, to));
        self.end = to;
    }
}

/// Why a snapshot is not what it must be.
#[derive(Debug)]
pub enum Wrong {
    /// The law is broken.
    Law(String),
    /// Reading it met damage, and said so.
    Damage(StorageError),
}

impl Expected<'_> {
    /// Compares all of a snapshot.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn check(&self, snapshot: &Snapshot) -> Result<(), Wrong> {
        let commits: Result<Vec<CommitFacts>, _> = snapshot.commits().collect();
        let commits = commits.map_err(Wrong::Damage)?;
        let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
        let mut number = 0;
        for commit in &commits {
            if commit.commit_number <= number {
                return law(format!("commit {} after {number}", commit.commit_number));
            }
            number = commit.commit_number;
            // A merge keeps the newest one by one, and the others as one.
            let single = self.number_last.saturating_sub(number) < self.batches_kept;
            self.check_commit(commit, single, &mut seen)?;
        }
        let spans = self.spans(seen)?;
        self.check_rows(snapshot, &spans)?;
        self.check_rejects(snapshot, &spans)
    }

    fn check_commit(
        &self,
        commit: &CommitFacts,
        single: bool,
        seen: &mut BTreeMap<u64, Seen>,
    ) -> Result<(), Wrong> {
        let (lineage, first, next) = (
            commit.lineage.0,
            commit.first_offset.0,
            commit.next_offset.0,
        );
        let Some(truth) = self.lineages.get(&lineage) else {
            return law(format!("a commit of lineage {lineage}, which never was"));
        };
        if seen
            .last_key_value()
            .is_some_and(|(&last, _)| last > lineage)
        {
            return law(format!("lineage {lineage} after a newer one"));
        }
        let range = seen.entry(lineage).or_insert_with(|| Seen::from(truth));
        if !range.skip(lineage, first, self.missing) {
            return law(format!(
                "commit {} of lineage {lineage} begins at {first}, not at {}",
                commit.commit_number, range.end
            ));
        }
        range.take(next);
        if commit.counts != self.topic.counts(first, next) {
            return law(format!(
                "commit {} counts {:?}",
                commit.commit_number, commit.counts
            ));
        }
        if single && commit.first_offset.until(commit.next_offset) > self.offsets_max {
            return law(format!(
                "commit {} covers {first}..{next}",
                commit.commit_number
            ));
        }
        Ok(())
    }

    /// The ranges of offsets that must be seen, by lineage.
    fn spans(&self, mut all: BTreeMap<u64, Seen>) -> Result<Vec<(i64, i64)>, Wrong> {
        let mut spans = Vec::new();
        for (&lineage, truth) in self.lineages {
            if lineage > self.current {
                continue;
            }
            let seen = all.remove(&lineage);
            if self.live.is_some_and(|live| lineage < live) {
                if let Some(seen) = seen {
                    return law(format!("lineage {lineage} is dead and shows {seen:?}"));
                }
                continue;
            }
            if lineage == self.current {
                // What is not committed follows.
                let mut seen = seen.unwrap_or_else(|| Seen::from(truth));
                let end = self.next_offset;
                seen.end = seen.reach(lineage, end, self.missing, |one| one.bridged);
                if seen.end > self.next_offset {
                    return law(format!("a commit ends at {}, behind the cursor", seen.end));
                }
                if seen.end < self.next_offset {
                    seen.take(self.next_offset);
                }
                spans.extend(seen.pieces);
                continue;
            }
            let end = truth.end.unwrap_or(truth.start);
            if self.live.is_none() && seen.is_none() {
                continue;
            }
            let mut seen = seen.unwrap_or_else(|| Seen::from(truth));
            if !seen.skip_to_end(lineage, end, self.missing) {
                return law(format!(
                    "lineage {lineage} ends at {}, not at {end}",
                    seen.end
                ));
            }
            spans.extend(seen.pieces);
        }
        Ok(spans)
    }

    fn check_rows(&self, snapshot: &Snapshot, spans: &[(i64, i64)]) -> Result<(), Wrong> {
        let expected = spans.iter().flat_map(|&(from, to)| from..to);
        let mut expected = expected.flat_map(|offset| self.topic.rows(offset));
        for part in snapshot.parts() {
            let columns = part.read(&[0, 1, 2, 3]).map_err(Wrong::Damage)?;
            let ids = columns[0].as_primitive::<Int64Type>();
            let names = columns[1].as_string::<i32>();
            let offsets = columns[2].as_primitive::<Int64Type>();
            let timestamps = columns[3].as_primitive::<Int64Type>();
            for row in 0..part.rows() as usize {
                let name = names.is_valid(row).then(|| names.value(row));
                let (id, offset) = (ids.value(row), offsets.value(row));
                let Some(wanted) = expected.next() else {
                    return law(format!("a row of offset {offset} too many"));
                };
                let same = wanted.0 == id
                    && wanted.1.as_deref() == name
                    && wanted.2 == offset
                    && wanted.3 == timestamps.value(row);
                if !same {
                    return law(format!(
                        "a row of offset {offset} ({id}, {name:?}) where {wanted:?} must be"
                    ));
                }
            }
        }
        match expected.next() {
            Some(wanted) => law(format!("the row of offset {} is missing", wanted.2)),
            None => Ok(()),
        }
    }

    fn check_rejects(&self, snapshot: &Snapshot, spans: &[(i64, i64)]) -> Result<(), Wrong> {
        let rejected = |offset: &i64| self.topic.class(*offset) == Class::Rejected;
        let mut expected = spans
            .iter()
            .flat_map(|&(from, to)| from..to)
            .filter(rejected);
        for reject in snapshot.rejects() {
            let reject = reject.map_err(Wrong::Damage)?;
            if reject.kind.is_fault() {
                continue;
            }
            let wanted = expected.next();
            if wanted != Some(reject.offset.0) {
                return law(format!(
                    "a reject of {} where {wanted:?} must be",
                    reject.offset
                ));
            }
            let read = Reject {
                offset: reject.offset,
                timestamp_ms: reject.timestamp_ms,
                unix_ms: reject.unix_ms,
                code: reject.code,
                kind: reject.kind,
                line: reject.line,
                column: reject.column,
                text: &reject.text,
                key: reject.key.as_deref(),
                message: &reject.message,
            };
            let (key, message) = self.topic.rejected(reject.offset.0);
            let whole = self.topic.reject(reject.offset.0, key.as_deref(), &message);
            if read != whole {
                return law(format!("{read:?} where {whole:?} must be"));
            }
        }
        match expected.next() {
            Some(offset) => law(format!("the reject of offset {offset} is missing")),
            None => Ok(()),
        }
    }
}

fn law<T>(what: String) -> Result<T, Wrong> {
    Err(Wrong::Law(what))
}
