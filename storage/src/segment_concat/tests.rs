//! What a merge asks for before it holds commits is never less than what they take.

use super::*;
use crate::block::tests::{column, layout, schema};
use crate::counts::Counts;
use crate::format::tests::header;
use crate::format::{CommitFacts, CommitInput, CommitRecord, encode_commit};
use crate::ids::{Lineage, Offset};

/// Fifteen columns, two of them strings: with the hidden ones, three bytes of packed validity a row.
fn wide() -> Arc<Schema> {
    let number = |n: usize| column(&n.to_string(), Physical::Int16, n.is_multiple_of(2));
    let text = |name: &str| column(name, Physical::Utf8, true);
    let mut columns: Vec<_> = (0..13).map(number).collect();
    columns.extend([text("a"), text("b")]);
    schema(columns)
}

/// A commit of `rows` rows with 9 bytes of strings each.
fn record(schema: &Arc<Schema>, rows: u32) -> CommitRecord {
    let (header, _) = header(schema);
    let mut writer = BlockWriter::new(&layout(schema, rows, 1 << 16), Offset(0));
    for row in 0..rows {
        let mut tail = writer.tail();
        (0..13).for_each(|column| tail.put(column, row as i16));
        tail.put_str(13, "four").expect("room");
        tail.put_str(14, "größ").expect("room");
        tail.end_row(Offset(i64::from(row)), 0);
    }
    let mark = writer.publish(Offset(i64::from(rows)));
    let input = CommitInput {
        facts: CommitFacts {
            commit_number: 1,
            lineage: Lineage(1),
            next_offset: Offset(i64::from(rows)),
            counts: Counts {
                loaded: u64::from(rows),
                ..Counts::default()
            },
            ..CommitFacts::default()
        },
        durable_end: 0,
        replaced: Vec::new(),
    };
    encode_commit(&header, input, &writer.shared(), mark).record
}

#[test]
fn a_merge_holds_its_rows_strings_and_rejects() {
    let schema = wide();
    let mut record = record(&schema, 1_000);
    record.rejects.bytes = 700;
    // A row: 13 numbers of 2 bytes, 2 offsets of 4, 2 hidden of 8, a byte of validity for each, and packed.
    let row = 13 * 2 + 2 * 4 + 2 * 8 + 17 + 3;
    let commit = Commit::new(record, 0);
    assert_eq!(bytes_held(&schema, &commit), 1_000 * (row + 10) + 700);
    let layout = super::layout(&schema, [&commit, &commit]).expect("they fit");
    let held = bytes_held_empty(&schema) + 2 * bytes_held(&schema, &commit);
    assert!(layout.bytes() as u64 <= held);
}

#[test]
fn commits_fit_one_block_up_to_each_bound() {
    let schema = wide();
    let of = |change: fn(&mut CommitRecord)| {
        let mut record = record(&schema, 10);
        change(&mut record);
        Commit::new(record, 0)
    };
    let both = |first: &Commit, second: &Commit| fits(&schema, [first, second]);
    let few = of(|_| {});
    assert!(both(&few, &few) && fits(&schema, []));
    let rows = of(|record| record.facts.rows = BLOCK_ROWS_MAX - 10);
    assert!(both(&rows, &few));
    assert!(!both(&rows, &of(|record| record.facts.rows = 11)));
    let rejects = of(|record| record.rejects.bytes = BLOCK_REGION_BYTES_MAX);
    assert!(both(&rejects, &few));
    assert!(!both(&rejects, &of(|record| record.rejects.bytes = 1)));
    let strings = of(|record| record.columns[14].buffers[2].bytes = BLOCK_REGION_BYTES_MAX - 60);
    assert!(both(&strings, &few));
    let more = of(|record| record.columns[14].buffers[2].bytes = 61);
    assert!(!both(&strings, &more));
    // Each region is within its bound, and four of them are a block already.
    let half = BLOCK_REGION_BYTES_MAX / 2;
    let large = of(|record| {
        for column in [13, 14] {
            record.columns[column].buffers[2].bytes = BLOCK_REGION_BYTES_MAX / 2;
        }
        record.rejects.bytes = BLOCK_REGION_BYTES_MAX / 2;
    });
    assert!(both(&large, &large), "three");
    let texts = |n: usize| column(&n.to_string(), Physical::Utf8, true);
    let texts = crate::block::tests::schema((0..4).map(texts).collect());
    let mut four = large.record().clone();
    four.columns = large.record().columns[11..].into();
    for column in &mut four.columns[..4] {
        column.buffers[2].bytes = half;
    }
    four.rejects.bytes = 0;
    let four = Commit::new(four, 0);
    assert!(fits(&texts, [&four]) && !fits(&texts, [&four, &four]));
}
