//! Snapshots: each is a prefix, whatever the leaf does beside it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_buffer::Buffer;

use super::*;
use crate::block::tests::{layout, pair};
use crate::block::{BlockWriter, Reject, RejectKind};
use crate::counts::Counts;
use crate::error::{Corruption, Damage};
use crate::format::{
    CommitInput, ParsedHeader, SegmentHeader, SegmentId, encode_commit, encode_header,
};
use crate::ids::{Lineage, Rewrite, TopicId};
use crate::map::Pages;
use crate::segment::SealState;
use crate::segment_concat::{bytes_held, bytes_held_empty, concatenate, fits};

mod readers;
mod shown;

/// A file in memory that only grows.
#[derive(Debug, Default)]
struct Held {
    bytes: Mutex<Vec<u8>>,
}

impl Pages for Held {
    fn buffer(&self, at_byte: u64, len: usize) -> Result<Buffer, StorageError> {
        let bytes = self.bytes.lock().expect("no panic while it is held");
        let range = at_byte as usize..at_byte as usize + len;
        match bytes.get(range.clone()) {
            Some(found) => Ok(Buffer::from_slice_ref(found)),
            None => {
                Err(Damage::at(range.end as u64, Corruption::Truncated).in_file("held".as_ref()))
            }
        }
    }

    fn prefetch(&self, at_byte: u64, len: usize) -> Result<(), StorageError> {
        self.buffer(at_byte, len).map(|_| ())
    }
}

/// A leaf partition's writing side, as small as it can be: one row an offset.
struct Writing {
    header: ParsedHeader,
    held: Arc<Held>,
    open: Arc<Open>,
    view: Arc<PartitionView>,
    published: Published,
    next: i64,
    number: u64,
    writer: BlockWriter,
}

impl Writing {
    fn new() -> Writing {
        let view = PartitionView::new(TableId(1), LeafPartitionId(2), 3, pair(), Offset(0));
        let view = Arc::new(view);
        let (header, held, open) = Writing::segment(&view, 1, 0, 1);
        let writer = Writing::block(0);
        let published = Published {
            open: Some(Arc::clone(&open)),
            blocks: [None, Some(writer.shared())],
            ..Published::empty(Offset(0))
        };
        view.publish(published.clone());
        Writing {
            header,
            held,
            open,
            view,
            published,
            next: 0,
            number: 1,
            writer,
        }
    }

    fn block(next: i64) -> BlockWriter {
        BlockWriter::new(&layout(&pair(), 256, 8_192), Offset(next))
    }

    fn segment(
        view: &PartitionView,
        sequence: u64,
        next: i64,
        number: u64,
    ) -> (ParsedHeader, Arc<Held>, Arc<Open>) {
        let header = SegmentHeader {
            id: SegmentId {
                leaf_partition: LeafPartitionId(2),
                sequence: Sequence(sequence),
                rewrite: Rewrite(0),
            },
            table: TableId(1),
            kafka_partition: 3,
            topic_id: TopicId::default(),
            lineage: Lineage(1),
            first_offset: Offset(next),
            first_commit_number: number,
            created_unix_ms: 0,
            prev: None,
            behind_durable: false,
            schema: pair(),
        };
        let (header, bytes) = encode_header(&header);
        let held = Arc::new(Held {
            bytes: Mutex::new(bytes),
        });
        let pages = Arc::clone(&held) as Arc<dyn Pages>;
        let alarm = view.alarm();
        let file = SegmentFile::new(header.clone(), PathBuf::from("held"), pages, alarm);
        (header, held, Arc::new(Open::new(Arc::new(file))))
    }

    fn step(&mut self, rows: i64) {
        let mut tail = self.writer.tail();
        for n in self.next..self.next + rows {
            tail.put(0, n as i32);
            tail.put_str(1, &format!("value {n}")).expect("room");
            tail.end_row(Offset(n), n);
        }
        let reject = Reject {
            offset: Offset(self.next + rows),
            timestamp_ms: 0,
            unix_ms: 0,
            code: 1,
            kind: RejectKind::Parser,
            line: 0,
            column: None,
            text: "",
            key: None,
            message: b"",
        };
        if self.next % 7 == 0 {
            self.writer.tail().reject(&reject).expect("room");
        }
        self.next += rows;
        self.writer.publish(Offset(self.next));
    }

    /// The block is written while a new one fills; then it is swapped for the commit.
    fn flush(&mut self, steps_between: i64) {
        let full = std::mem::replace(&mut self.writer, Writing::block(self.next));
        self.published.blocks = [Some(full.shared()), Some(self.writer.shared())];
        self.view.publish(self.published.clone());
        for _ in 0..steps_between {
            self.step(3);
        }
        let mark = full.published();
        let first = full.shared().first_offset();
        let facts = CommitFacts {
            commit_number: self.number,
            lineage: Lineage(1),
            first_offset: first,
            next_offset: mark.next_offset,
            counts: Counts {
                loaded: first.until(mark.next_offset),
                ..Counts::default()
            },
            ..CommitFacts::default()
        };
        let input = CommitInput {
            facts,
            durable_end: 0,
            replaced: Vec::new(),
        };
        let encoded = encode_commit(&self.header, input, &full.shared(), mark);
        let mut bytes = self.held.bytes.lock().expect("no panic while it is held");
        let at = bytes.len() as u64;
        bytes.extend(encoded.to_vec());
        drop(bytes);
        let commit = Arc::new(Commit::new(encoded.record, at));
        self.open
            .push(self.published.open_commits, commit)
            .expect("room");
        // Here a reader that took the list's length would see these rows twice.
        check_prefix(&self.view.snapshot());
        self.published.open_commits += 1;
        self.published.blocks = [None, Some(self.writer.shared())];
        self.view.publish(self.published.clone());
        self.number += 1;
    }

    fn seal(&mut self, sequence: u64) {
        let sealed = Segment::from_open(&self.open, self.published.open_commits);
        let first = self.published.blocks[1]
            .as_ref()
            .expect("a block")
            .first_offset();
        let all = self.published.sealed.iter().cloned();
        self.published.sealed = all.chain([Arc::new(sealed)]).collect();
        let (header, held, open) = Writing::segment(&self.view, sequence, first.0, self.number);
        (self.header, self.held, self.open) = (header, held, open);
        self.published.open = Some(Arc::clone(&self.open));
        self.published.open_commits = 0;
        self.view.publish(self.published.clone());
    }
}

fn numbers(snapshot: &Snapshot) -> Vec<i32> {
    let of = |part: &Part| {
        let arrays = part.read(&[0, 1]).expect("sound columns");
        assert_eq!(
            arrays[1].as_string::<i32>().value(0),
            format!("value {}", part.first_offset())
        );
        arrays[0].as_primitive::<Int32Type>().values().to_vec()
    };
    snapshot.parts().iter().flat_map(of).collect()
}

fn check_prefix(snapshot: &Snapshot) {
    let expected: Vec<i32> = (0..snapshot.next_offset().0 as i32).collect();
    assert_eq!(snapshot.rows(), expected.len() as u64);
    assert_eq!(numbers(snapshot), expected);
}

#[test]
fn every_snapshot_is_a_prefix_while_the_leaf_flushes_and_seals() {
    let (flushes, rounds) = if cfg!(miri) { (3, 2) } else { (40, 5) };
    for round in 0..rounds {
        let mut writing = Writing::new();
        let view = Arc::clone(&writing.view);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = Offset(0);
                    loop {
                        let ended = done.load(Ordering::Acquire);
                        let snapshot = view.snapshot();
                        check_prefix(&snapshot);
                        assert!(
                            snapshot.next_offset() >= last,
                            "what was visible stays visible"
                        );
                        last = snapshot.next_offset();
                        if ended {
                            break;
                        }
                    }
                });
            }
            for flush in 0..flushes {
                writing.step(1 + flush % 5);
                writing.step(2);
                writing.flush(flush % 3);
                if flush % 8 == 7 {
                    writing.seal(2 + flush as u64 + round);
                }
            }
            done.store(true, Ordering::Release);
        });
        let snapshot = view.snapshot();
        check_prefix(&snapshot);
        assert_eq!(snapshot.next_offset(), Offset(writing.next));
    }
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let mut writing = Writing::new();
    writing.step(5);
    let tail = writing.view.snapshot();
    writing.step(5);
    writing.flush(1);
    let committed = writing.view.snapshot();
    writing.seal(2);
    writing.step(5);
    writing.flush(0);
    assert_eq!((tail.rows(), tail.parts().len()), (5, 1));
    assert!(tail.parts()[0].is_tail() && !committed.parts()[0].is_tail());
    check_prefix(&tail);
    check_prefix(&committed);
    assert_eq!(committed.rows(), 13);
    // A tail knows its bounds as a commit does.
    let statistics = tail.parts()[0].statistics(0).expect("statistics");
    assert_eq!(Some(statistics), {
        let first = writing.view.snapshot().parts()[0].clone();
        let mut of_commit = first.statistics(0).expect("statistics");
        let max = of_commit.max.as_mut().expect("a bound");
        max.value = crate::format::StatisticValue::Int(4);
        Some(of_commit)
    });
    // An open segment without a commit, after a rewind, says where it begins.
    let mut empty = writing.published.clone();
    empty.blocks = [None, None];
    empty.open_commits = 0;
    writing.view.publish(empty);
    assert_eq!(
        writing.view.snapshot().next_offset(),
        writing.header.header.first_offset
    );
    // A lineage that has no segment yet begins where it was told to, whatever the one before held.
    let mut begun = writing.published.clone();
    begun.blocks = [None, None];
    assert_eq!((begun.lineage, begun.open_commits), (Lineage(0), 1));
    begun.lineage = Lineage(2);
    begun.start_offset = Offset(1_000);
    writing.view.publish(begun);
    assert_eq!(writing.view.snapshot().next_offset(), Offset(1_000));
}

#[test]
fn the_durable_prefix_ends_at_a_commit() {
    let mut writing = Writing::new();
    for _ in 0..3 {
        writing.step(4);
        writing.flush(0);
    }
    writing.seal(5);
    for _ in 0..2 {
        writing.step(4);
        writing.flush(0);
    }
    writing.step(1);
    let durable = |sequence, commits| {
        let published = Published {
            durable: Durable {
                sequence: Sequence(sequence),
                commits,
            },
            ..writing.published.clone()
        };
        writing.view.publish(published);
        let prefix = writing.view.snapshot().durable_prefix();
        check_prefix(&prefix);
        assert_eq!(prefix.durable_prefix().rows(), prefix.rows());
        prefix.rows()
    };
    assert_eq!(durable(0, 0), 0);
    assert_eq!(durable(1, 0), 0);
    assert_eq!(durable(1, 2), 8);
    assert_eq!(durable(1, 9), 12);
    assert_eq!(durable(5, 0), 12);
    assert_eq!(durable(5, 1), 16);
    assert_eq!(durable(5, 2), 20);
}

#[test]
fn commits_become_one_and_keep_rows_rejects_and_history() {
    let mut writing = Writing::new();
    for _ in 0..4 {
        writing.step(7);
        writing.flush(0);
    }
    let file = Arc::clone(writing.open.file());
    let commits: Vec<_> = writing
        .open
        .first(4)
        .map(|c| (Arc::clone(&file), Arc::clone(c)))
        .collect();
    assert!(fits(&pair(), commits.iter().map(|(_, commit)| &**commit)));
    let (block, mark) = concatenate(&pair(), &commits).expect("sound inputs");
    let held: u64 = commits.iter().map(|(_, c)| bytes_held(&pair(), c)).sum();
    let bound = bytes_held_empty(&pair()) + held;
    assert!(
        block.bytes() as u64 <= bound,
        "what a merge reserves is enough"
    );
    let replaced: Vec<CommitFacts> = commits.iter().map(|(_, c)| c.record().facts).collect();
    let facts = CommitFacts {
        counts: Counts {
            loaded: 28,
            ..Counts::default()
        },
        first_offset: Offset(0),
        next_offset: Offset(28),
        ..replaced[3]
    };
    let input = CommitInput {
        facts,
        durable_end: 0,
        replaced: replaced.clone(),
    };
    let (header, held, open) = Writing::segment(&writing.view, 9, 0, 1);
    let encoded = encode_commit(&header, input, &block, mark);
    let bytes = encoded.to_vec();
    let parsed = crate::format::parse_commit(&bytes).expect("a record");
    assert_eq!(parsed, encoded.record);
    assert_eq!(crate::format::check_commit(&parsed, &header), Ok(()));
    let mut file = held.bytes.lock().expect("no panic while it is held");
    let at = file.len() as u64;
    file.extend(bytes);
    drop(file);
    open.push(0, Arc::new(Commit::new(parsed, at)))
        .expect("room");
    writing.view.publish(Published {
        open: Some(open),
        open_commits: 1,
        ..Published::empty(Offset(0))
    });
    let snapshot = writing.view.snapshot();
    check_prefix(&snapshot);
    // What it stands for is read from its file alone.
    assert_eq!(
        snapshot.last_commit().map(|last| last.next_offset),
        Some(Offset(28))
    );
    let commits: Result<Vec<_>, _> = snapshot.commits().collect();
    assert_eq!(commits.expect("sound"), replaced);
    let newest = snapshot.commits().next_back().expect("one");
    assert_eq!(newest.expect("sound"), replaced[3]);
    let rejects: Result<Vec<_>, _> = snapshot.rejects().collect();
    let batches: Vec<_> = rejects
        .expect("sound")
        .iter()
        .map(|r| r.batch.map(|b| b.commit_number))
        .collect();
    assert_eq!(batches, [Some(1), Some(2), Some(3), Some(4)]);
    // A flipped bit of them is damage, said by file and place, and rings.
    let mut bytes = held.bytes.lock().expect("no panic while it is held");
    bytes[at as usize + encoded.record.head_bytes as usize - 20] ^= 1;
    drop(bytes);
    let error = snapshot
        .commits()
        .next()
        .expect("one")
        .expect_err("damaged");
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    assert!(writing.view.alarm().damage().is_some());
}

#[test]
fn a_state_is_said_and_read() {
    let gauges = Gauges::default();
    assert_eq!(gauges.state(), PartitionState::Detached);
    gauges.set_state(PartitionState::Failed, Some("disk".to_owned()));
    assert_eq!(gauges.state(), PartitionState::Failed);
    assert_eq!(
        gauges.why.load_full().as_deref().map(String::as_str),
        Some("disk")
    );
}
