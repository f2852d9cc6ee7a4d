//! What comes to light while a statement's rows are already on their way: rows that were left out
//! because they cannot be read (`pinleaf_read_damaged = ON`), and the error that ended them.
//!
//! Shared by the session, whose SHOW WARNINGS and end-of-rows packets show it, and by the scans, which
//! run on other threads. A part that several scans of one statement met counts once. Bounded: beyond
//! [`LEFT_OUT_PARTS_MAX`] parts only their number and rows are kept.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::{Code, SqlError};
use super::warnings::{Level, Warning};
use crate::limits::LEFT_OUT_PARTS_MAX;

/// A run of rows that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The table's name.
    pub table: String,
    /// The file that holds them.
    pub file: PathBuf,
    /// The Kafka partition they came from.
    pub kafka_partition: i32,
    /// The offsets they lie in.
    pub offsets: Range<i64>,
    /// How many they are.
    pub rows: u64,
    /// Why, in one line that names the file.
    pub why: String,
}

/// Of one statement.
#[derive(Debug, Default)]
pub struct Late {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    said: Vec<Warning>,
    more_said: u64,
    /// What ended the rows: a scan each at most.
    faults: Vec<Warning>,
    unread: BTreeMap<(String, PathBuf, i64), Unread>,
    more_parts: u64,
    more_rows: u64,
}

impl Late {
    /// Rows are left out.
    pub fn unread(&self, unread: Unread) {
        let mut kept = self.kept();
        let place = (
            unread.table.clone(),
            unread.file.clone(),
            unread.offsets.start,
        );
        if kept.unread.len() < LEFT_OUT_PARTS_MAX || kept.unread.contains_key(&place) {
            kept.unread.insert(place, unread);
        } else {
            kept.more_parts += 1;
            kept.more_rows += unread.rows;
        }
    }

    /// Something is left out of which there is no more to say than this line.
    pub fn warn(&self, code: Code, message: &str) {
        self.say(Level::Warning, code.number(), message);
    }

    /// The rows ended with this error.
    pub fn fault(&self, fault: &SqlError) {
        self.say(Level::Error, fault.code, &fault.shown());
    }

    /// All of it, a line for each file and for each other thing, at most `most` lines: what ended the rows is
    /// always among them, and the last of the others counts those that have none.
    #[must_use]
    pub fn warnings(&self, most: usize) -> Vec<Warning> {
        let kept = self.kept();
        let mut files: Vec<Damaged<'_>> = Vec::new();
        for unread in kept.unread.values() {
            match files.last_mut() {
                Some(last) if last.is_of(unread) => last.add(unread),
                _ => files.push(Damaged::new(unread)),
            }
        }
        let faults = &kept.faults[..kept.faults.len().min(most)];
        let room = most - faults.len();
        let lines = files.len() + kept.said.len();
        let whole = lines <= room && kept.more_parts == 0 && kept.more_said == 0;
        let shown = match whole {
            true => lines,
            false => lines.min(room.saturating_sub(1)),
        };
        let (files, more_files) = files.split_at(shown.min(files.len()));
        let (said, more_said) = kept.said.split_at(shown - files.len());
        let unread = files.iter().map(Damaged::line).map(unreadable);
        let rest = (!whole && room > 0).then(|| {
            let files = more_files.iter();
            let (parts, rows) = files
                .fold((kept.more_parts, kept.more_rows), |(parts, rows), file| {
                    (parts + file.parts, rows + file.rows)
                });
            let things = kept.more_said + more_said.len() as u64;
            let mut rest = Vec::new();
            if parts > 0 {
                rest.push(format!("{rows} rows of {parts} more commits are left out"));
            }
            if things > 0 {
                rest.push(format!(
                    "warnings of this kind that are not shown: {things}"
                ));
            }
            unreadable(rest.join("; "))
        });
        let all = unread.chain(said.iter().cloned()).chain(rest);
        all.chain(faults.iter().cloned()).collect()
    }

    fn say(&self, level: Level, code: u16, message: &str) {
        let warning = Warning {
            level,
            code,
            message: message.to_owned(),
        };
        let mut kept = self.kept();
        let lines = match level {
            Level::Error => &mut kept.faults,
            _ => &mut kept.said,
        };
        // A table that is named twice, or a statement that is tried again, says it once.
        if lines.contains(&warning) {
            return;
        }
        if lines.len() < LEFT_OUT_PARTS_MAX {
            lines.push(warning);
        } else if level != Level::Error {
            kept.more_said += 1;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(message: String) -> Warning {
    Warning {
        level: Level::Warning,
        code: Code::Corrupt.number(),
        message,
    }
}

/// What of one file is left out.
struct Damaged<'a> {
    first: &'a Unread,
    next_offset: i64,
    rows: u64,
    parts: u64,
}

impl Damaged<'_> {
    fn new(first: &Unread) -> Damaged<'_> {
        Damaged {
            first,
            next_offset: first.offsets.end,
            rows: first.rows,
            parts: 1,
        }
    }

    fn is_of(&self, unread: &Unread) -> bool {
        self.first.table == unread.table && self.first.file == unread.file
    }

    fn add(&mut self, unread: &Unread) {
        self.next_offset = self.next_offset.max(unread.offsets.end);
        self.rows += unread.rows;
        self.parts += 1;
    }

    fn line(&self) -> String {
        let Unread {
            table,
            kafka_partition,
            offsets,
            why,
            ..
        } = self.first;
        let more = match self.parts - 1 {
            0 => String::new(),
            1 => ", and 1 more commit of this file".into(),
            more => format!(", and {more} more commits of this file"),
        };
        let rows = match self.rows {
            1 => "1 row is left out".into(),
            rows => format!("{rows} rows are left out"),
        };
        format!(
            "Table '{table}': {rows}, of partition {kafka_partition} in offsets {} to {}: {why}{more}",
            offsets.start,
            self.next_offset - 1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(file: &str, offsets: Range<i64>, rows: u64) -> Unread {
        Unread {
            table: "t".into(),
            file: file.into(),
            kafka_partition: 3,
            offsets,
            rows,
            why: format!("{file}: checksum mismatch"),
        }
    }

    fn lines(late: &Late, most: usize) -> Vec<String> {
        let warnings = late.warnings(most).into_iter();
        warnings
            .map(|w| format!("{} {} {}", w.level.name(), w.code, w.message))
            .collect()
    }

    #[test]
    fn what_is_left_out_is_a_line_for_each_file_and_counted_once() {
        let late = Late::default();
        assert!(lines(&late, 64).is_empty());
        late.unread(unread("1.arrow", 10..15, 4));
        late.unread(unread("1.arrow", 20..30, 10));
        // A self-join meets it again.
        late.unread(unread("1.arrow", 10..15, 4));
        late.unread(unread("2.arrow", 40..41, 1));
        late.warn(
            Code::NotReady,
            "Table 't': leaf partition 9 is not recovered yet: left out",
        );
        let first = "Warning 1712 Table 't': 14 rows are left out, of partition 3 in offsets 10 to 29: \
                     1.arrow: checksum mismatch, and 1 more commit of this file";
        let second = "Warning 1712 Table 't': 1 row is left out, of partition 3 in offsets 40 to 40: \
                      2.arrow: checksum mismatch";
        let third = "Warning 1205 Table 't': leaf partition 9 is not recovered yet: left out";
        assert_eq!(lines(&late, 64), [first, second, third]);
        late.unread(unread("3.arrow", 50..70, 10));
        let rest = "Warning 1712 11 rows of 2 more commits are left out; warnings of this kind that are \
                    not shown: 1";
        assert_eq!(lines(&late, 2), [first, rest]);
        // What ended the rows is said whatever else there is.
        late.fault(&SqlError::new(
            Code::Interrupted,
            "Query execution was interrupted",
        ));
        let fault = "Error 1317 Query execution was interrupted";
        assert_eq!(lines(&late, 3), [first, rest, fault]);
        assert_eq!(lines(&late, 1), [fault]);
    }

    #[test]
    fn what_is_left_out_is_bounded_and_still_counted() {
        let late = Late::default();
        let most = i64::try_from(LEFT_OUT_PARTS_MAX).expect("it fits");
        for at in 0..most + 5 {
            late.unread(unread("1.arrow", at..at + 1, 1));
        }
        let said = lines(&late, 64);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains(&format!("{most} rows")), "{said:?}");
        assert_eq!(
            said[1],
            "Warning 1712 5 rows of 5 more commits are left out"
        );
    }
}
