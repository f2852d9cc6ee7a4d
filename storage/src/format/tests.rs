//! The bounds meet: the widest table, the longest statistics, the largest merge. What bytes say is in
//! the golden tests.

use super::*;
use crate::block::tests::{column, schema};
use crate::block::{BlockLayout, BlockWriter};
use crate::counts::Counts;
use crate::error::Corruption;
use crate::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use crate::limits::{
    ANNOTATION_BYTES_MAX, COLUMN_NAME_BYTES_MAX, COLUMNS_MAX, HEADER_BYTES_MAX, METADATA_BYTES_MAX,
    REPLACED_MAX,
};
use crate::schema::{Physical, Schema};
use std::sync::Arc;

mod bounds;
mod fields;

/// A segment's header that says as little as can be.
pub(crate) fn header(schema: &Arc<Schema>) -> (ParsedHeader, Vec<u8>) {
    encode_header(&SegmentHeader {
        id: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(1),
            rewrite: Rewrite(0),
        },
        table: TableId(1),
        kafka_partition: 0,
        topic_id: TopicId::default(),
        lineage: Lineage(1),
        first_offset: Offset(0),
        first_commit_number: 1,
        created_unix_ms: 0,
        prev: None,
        behind_durable: false,
        schema: Arc::clone(schema),
    })
}

#[test]
fn the_widest_table_and_the_largest_merge_fit_their_bounds() {
    let wide = |n: usize| {
        let mut column = column(
            &format!("{n:0>COLUMN_NAME_BYTES_MAX$}"),
            Physical::Utf8,
            true,
        );
        column.annotation = "x".repeat(ANNOTATION_BYTES_MAX);
        column
    };
    let schema = schema((0..COLUMNS_MAX).map(wide).collect());
    let (header, bytes) = header(&schema);
    assert!(bytes.len() <= HEADER_BYTES_MAX);
    assert_eq!(parse_header(&bytes).as_ref(), Ok(&header));
    let mut writer = BlockWriter::new(
        &BlockLayout {
            schema: Arc::clone(&schema),
            rows: 4,
            string_bytes: vec![256; COLUMNS_MAX],
            rejects_bytes: 0,
        },
        Offset(0),
    );
    for row in 0..3 {
        for index in 0..COLUMNS_MAX {
            match row {
                0 => writer.tail().put_null(index),
                _ => writer.tail().put_str(index, &"y".repeat(64)).expect("room"),
            }
        }
        writer.tail().end_row(Offset(row), 0);
    }
    let mark = writer.publish(Offset(REPLACED_MAX as i64));
    let one = |n: usize| CommitFacts {
        commit_number: n as u64 + 1,
        lineage: Lineage(1),
        first_offset: Offset(n as i64),
        next_offset: Offset(n as i64 + 1),
        counts: Counts {
            empty: 1,
            ..Counts::default()
        },
        ..CommitFacts::default()
    };
    let input = CommitInput {
        facts: CommitFacts {
            commit_number: REPLACED_MAX as u64,
            lineage: Lineage(1),
            next_offset: Offset(REPLACED_MAX as i64),
            counts: Counts {
                empty: REPLACED_MAX as u64,
                ..Counts::default()
            },
            ..CommitFacts::default()
        },
        durable_end: 0,
        replaced: (0..REPLACED_MAX).map(one).collect(),
    };
    let encoded = encode_commit(&header, input, &writer.shared(), mark);
    assert!(encoded.record.head_bytes as usize <= METADATA_BYTES_MAX);
    let bytes = encoded.to_vec();
    assert_eq!(bytes.len() as u64, encoded.bytes());
    let record = parse_commit(&bytes).expect("a record");
    assert_eq!(record, encoded.record);
    let batches: Vec<CommitFacts> = (0..REPLACED_MAX).map(one).collect();
    assert_eq!(parse_batches(&bytes), Ok((record.clone(), batches)));
    assert_eq!(record.batches() as usize, REPLACED_MAX);
    // A seal says the same without them, and its index is as long as is counted.
    let at = u64::from(header.bytes);
    let seal = encode_seal(
        &header.header,
        &[(at, &record)],
        at + record.message_bytes(),
    );
    let mut file = vec![0; (at + record.message_bytes()) as usize];
    file.extend(seal);
    let read = |at: u64, len: usize| Ok::<_, ()>(file[at as usize..at as usize + len].to_vec());
    let seal = parse_seal(file.len() as u64, read)
        .expect("read")
        .expect("a seal");
    assert!(record.is_indexed_as(&seal.commits[0].1));
    assert_eq!(seal.commits[0].1.replaced, Replaced::default());
    assert_eq!(check_commit(&record, &header), Ok(()));
    assert_eq!(
        check_body(&record, &bytes[record.head_bytes as usize..]),
        Ok(())
    );
}

#[test]
fn a_record_is_refused_where_it_does_not_belong() {
    let number = schema(vec![column("n", Physical::Int8, false)]);
    let (ours, _) = header(&number);
    let layout = crate::block::tests::layout(&number, 16, 0);
    let mut writer = BlockWriter::new(&layout, Offset(0));
    writer.tail().put(0, -5i8);
    writer.tail().end_row(Offset(0), 0);
    let mark = writer.publish(Offset(1));
    let input = CommitInput {
        facts: CommitFacts {
            commit_number: 1,
            lineage: Lineage(1),
            next_offset: Offset(1),
            counts: Counts {
                loaded: 1,
                ..Counts::default()
            },
            ..CommitFacts::default()
        },
        durable_end: 0,
        replaced: Vec::new(),
    };
    let record = encode_commit(&ours, input, &writer.shared(), mark).record;
    assert_eq!(check_commit(&record, &ours), Ok(()));
    let (other, _) = header(&schema(vec![column("m", Physical::Int8, false)]));
    assert_eq!(check_commit(&record, &other), Err(Corruption::OtherSegment));
    let changed = |change: fn(&mut CommitRecord)| {
        let mut record = record.clone();
        change(&mut record);
        check_commit(&record, &ours)
    };
    let columns = Err(Corruption::Columns);
    assert_eq!(
        changed(|r| r.facts.lineage = Lineage(2)),
        Err(Corruption::OtherSegment)
    );
    assert_eq!(changed(|r| r.facts.rows = 2), columns);
    assert_eq!(changed(|r| r.columns[0].buffers[0].bytes = 1), columns);
    assert_eq!(changed(|r| r.columns[0].buffers[2].bytes = 1), columns);
    assert_eq!(changed(|r| r.columns[0].statistics.null_count = 1), columns);
    let bound = |value| Some(StatisticBound { value, exact: true });
    let mut far = record.clone();
    far.columns[0].statistics.min = bound(StatisticValue::Int(200));
    assert_eq!(check_commit(&far, &ours), columns);
    far.columns[0].statistics.min = bound(StatisticValue::Float(1.0));
    assert_eq!(check_commit(&far, &ours), columns);
}

#[test]
fn a_message_prefix_says_what_stands_there() {
    let what = |bytes: &[u8]| parse_prefix(bytes).map_err(|damage| damage.what);
    assert_eq!(
        what(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        Ok(Prefix::EndOfStream)
    );
    assert_eq!(
        what(&[0xff, 0xff, 0xff, 0xff, 0xf8, 1, 0, 0]),
        Ok(Prefix::Head(512))
    );
    assert_eq!(
        what(&[0xff, 0xff, 0xff, 0xff, 0xf7, 1, 0, 0]),
        Err(Corruption::Length)
    );
    assert_eq!(what(&[0xff; 8]), Err(Corruption::Length));
    assert_eq!(what(&[0; 8]), Err(Corruption::Zeros));
    assert_eq!(what(b"ARROW1\0\0"), Err(Corruption::NoMessage));
    assert_eq!(what(&[0xff; 7]), Err(Corruption::Truncated));
}
