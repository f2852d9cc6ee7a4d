//! What an auditor and SHOW are told of a snapshot: its segments, its tail, how far it is durable.

use super::*;

/// Two sealed segments and an open one, of 3, 2 and 1 commits; and 5 rows in the tail.
fn written() -> Writing {
    let mut writing = Writing::new();
    for (sequence, commits) in [(5, 3), (7, 2), (0, 1)] {
        for _ in 0..commits {
            writing.step(4);
            writing.flush(0);
        }
        if sequence > 0 {
            writing.seal(sequence);
        }
    }
    writing.step(5);
    writing
}

/// Of each segment: sequence, commits shown, from and to which offset, whether it is open.
fn shown(snapshot: &Snapshot) -> Vec<(u64, usize, i64, i64, bool)> {
    let of = |part: &SegmentPart| {
        let sequence = part.file.header().header.id.sequence.0;
        let (first, next) = (part.first_offset().0, part.next_offset().0);
        (sequence, part.commits.len(), first, next, part.is_open)
    };
    snapshot.segments().iter().map(of).collect()
}

#[test]
fn an_auditor_sees_every_segment_and_the_tail() {
    let writing = written();
    let snapshot = writing.view.snapshot();
    let all = [
        (1, 3, 0, 12, false),
        (5, 2, 12, 20, false),
        (7, 1, 20, 24, true),
    ];
    assert_eq!(shown(&snapshot), all);
    let rows = writing
        .published
        .sealed
        .iter()
        .map(|segment| segment.rows());
    assert!(rows.eq([12, 8]));
    let tail = snapshot.tail();
    let ends = |part: &TailPart| (part.first_offset().0, part.next_offset().0);
    assert_eq!(tail.iter().map(ends).collect::<Vec<_>>(), [(24, 29)]);
    assert_eq!(tail[0].content().rows(), 5);
    // Each ends where its file does, for nothing is behind its last commit.
    let last = &snapshot.segments()[2];
    let held = writing
        .held
        .bytes
        .lock()
        .expect("no panic while it is held")
        .len();
    assert_eq!(last.end_byte(), held as u64);
    let empty = SegmentPart {
        commits: Vec::new(),
        ..last.clone()
    };
    assert_eq!(empty.end_byte(), u64::from(writing.header.bytes));
    assert_eq!(empty.next_offset(), Offset(20));
    // Without the tail it is what was committed, and says the same of the segments.
    let committed = snapshot.committed();
    assert_eq!(
        (committed.rows(), committed.next_offset()),
        (24, Offset(24))
    );
    assert!(committed.tail().is_empty());
    assert_eq!(shown(&committed), all);
    let blocks = &committed.inner.published.blocks;
    assert!(blocks.iter().all(Option::is_none), "no block is held");
}

#[test]
fn a_durable_prefix_shows_no_segment_beyond_it() {
    let writing = written();
    let durable = |sequence, commits| {
        let durable = Durable {
            sequence: Sequence(sequence),
            commits,
        };
        writing.view.publish(Published {
            durable,
            ..writing.published.clone()
        });
        let snapshot = writing.view.snapshot();
        assert_eq!(snapshot.durable(), durable);
        let prefix = snapshot.durable_prefix();
        check_prefix(&prefix);
        let shown = shown(&prefix);
        shown
            .iter()
            .map(|part| (part.0, part.1))
            .collect::<Vec<_>>()
    };
    assert_eq!(durable(1, 0), []);
    assert_eq!(durable(1, 2), [(1, 2)]);
    assert_eq!(durable(1, 3), [(1, 3)]);
    // A place between two segments: the later one is not durable, and none of its commits.
    assert_eq!(durable(3, 2), [(1, 3)]);
    assert_eq!(durable(5, 1), [(1, 3), (5, 1)]);
    assert_eq!(durable(7, 0), [(1, 3), (5, 2), (7, 0)]);
    assert_eq!(durable(7, 1), [(1, 3), (5, 2), (7, 1)]);
}

#[test]
fn a_part_says_what_reading_it_touches() {
    let writing = written();
    let parts = writing.view.snapshot().parts().to_vec();
    let columns = [&[][..], &[0], &[1], &[0, 1, 2]];
    let of = |part: &Part| columns.map(|columns| part.bytes(columns));
    // Four rows of a number, and of "value 0" and its like; the tail has five of "value 24".
    assert_eq!(of(&parts[0]), [0, 16, 5 * 4 + 28, 16 + 48 + 32]);
    assert_eq!(of(&parts[6]), [0, 20, 6 * 4 + 40, 20 + 64 + 40]);
}

#[test]
fn only_what_holds_rejects_is_read_for_them() {
    let mut writing = Writing::new();
    for rows in [7, 3, 4, 2] {
        writing.step(rows);
        writing.flush(0);
    }
    // One lies in each that begins at a multiple of seven: not in the third, nor in the tail at first.
    let ends = |writing: &Writing| {
        let parts = writing.view.snapshot();
        let parts = parts.reject_parts().map(|part| part.next_offset().0);
        parts.collect::<Vec<_>>()
    };
    writing.step(5);
    assert_eq!(ends(&writing), [7, 10, 16]);
    writing.step(1);
    assert_eq!(ends(&writing), [7, 10, 16, 22]);
}

#[test]
fn skipped_ranges_are_counted_by_batch() {
    let mut writing = Writing::new();
    writing.step(4);
    writing.flush(0);
    assert_eq!(writing.view.snapshot().skips(), 0);
    let file = Arc::clone(writing.open.file());
    let record = writing.open.commit(0).record().clone();
    let skipping = |more_skips| {
        let mut record = record.clone();
        record.facts.counts.skipped = 1;
        record.facts.more_skips = more_skips;
        Arc::new(Commit::new(record, 0))
    };
    let commits = vec![skipping(0), skipping(2), writing.open.commit(0).clone()];
    writing.view.publish(Published {
        sealed: Arc::new([Arc::new(Segment::arrow(file, commits))]),
        ..Published::empty(Offset(0))
    });
    assert_eq!(writing.view.snapshot().skips(), 4);
}
