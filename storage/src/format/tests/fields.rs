//! What a record and a header say of columns, batches and an index, field by field.

use super::*;
use crate::error::Damage;
use crate::format::commit::encode_record;
use crate::schema::TimeUnit;

/// The tags of `format.rs`, written out once more by hand.
#[test]
fn a_column_type_is_these_bytes() {
    let decimal = |precision, scale| Physical::Decimal128 { precision, scale };
    let tagged = |physical, tag: [u8; 3]| {
        let schema = schema(vec![column("", physical, true)]);
        let (expected, bytes) = header(&schema);
        // Behind the tag: nullable, two lengths of 0, the record's own length and its checksum.
        let at = bytes.len() - 16;
        assert_eq!(bytes[at..at + 3], tag, "{physical:?}");
        (parse_header(&bytes).map_err(|damage| damage.what), expected)
    };
    for (physical, tag) in [
        (Physical::Int8, [1, 0, 0]),
        (Physical::Int16, [2, 0, 0]),
        (Physical::Int32, [3, 0, 0]),
        (Physical::Int64, [4, 0, 0]),
        (Physical::UInt8, [5, 0, 0]),
        (Physical::UInt16, [6, 0, 0]),
        (Physical::UInt32, [7, 0, 0]),
        (Physical::UInt64, [8, 0, 0]),
        (Physical::Float32, [9, 0, 0]),
        (Physical::Float64, [10, 0, 0]),
        (decimal(1, 0), [11, 1, 0]),
        (decimal(38, 38), [11, 38, 38]),
        (Physical::Date32, [12, 0, 0]),
        (Physical::Timestamp(TimeUnit::Second), [13, 0, 0]),
        (Physical::Timestamp(TimeUnit::Millisecond), [13, 3, 0]),
        (Physical::Timestamp(TimeUnit::Microsecond), [13, 6, 0]),
        (Physical::Utf8, [14, 0, 0]),
    ] {
        let (read, expected) = tagged(physical, tag);
        assert_eq!(read, Ok(expected));
    }
    for (precision, scale) in [(0, 0), (39, 0), (4, 5)] {
        let (read, _) = tagged(decimal(precision, scale), [11, precision, scale]);
        assert_eq!(read, Err(Corruption::Field("column type")));
    }
}

#[test]
fn validity_is_as_long_as_the_rows_say() {
    let (ours, _) = header(&schema(vec![column("n", Physical::Int8, true)]));
    let column = |validity: u32, null_count: u32| {
        let mut column = ColumnRecord {
            buffers: [BufferRecord::default(); 3],
            statistics: ColumnStatistics::default(),
        };
        column.buffers[0].bytes = validity;
        column.buffers[1].bytes = 20;
        column.statistics.null_count = null_count;
        column
    };
    let hidden = || {
        let mut hidden = column(0, 0);
        hidden.buffers[1].bytes = 160;
        hidden
    };
    let said = |validity, null_count| {
        let record = CommitRecord {
            segment: ours.header.id,
            header_crc: ours.crc,
            facts: CommitFacts {
                lineage: Lineage(1),
                rows: 20,
                ..CommitFacts::default()
            },
            head_bytes: 0,
            body_bytes: 0,
            durable_end: 0,
            columns: Box::new([column(validity, null_count), hidden(), hidden()]),
            rejects: BufferRecord::default(),
            row_deletes: BufferRecord::default(),
            leader: None,
            replaced: Replaced::default(),
        };
        check_commit(&record, &ours)
    };
    // Three bytes for twenty rows, or none where none is NULL.
    for (validity, null_count) in [(0, 0), (3, 0), (3, 1), (3, 20)] {
        assert_eq!(said(validity, null_count), Ok(()));
    }
    for (validity, null_count) in [(2, 0), (4, 0), (0, 1), (2, 1), (3, 21)] {
        let refused = said(validity, null_count);
        assert_eq!(refused, Err(Corruption::Columns), "{validity} {null_count}");
    }
}

/// A record in which every field says something.
fn full() -> CommitRecord {
    let bound = |value| Some(StatisticBound { value, exact: true });
    let column = |min, max| ColumnRecord {
        buffers: [BufferRecord::default(); 3],
        statistics: ColumnStatistics {
            null_count: 3,
            min: bound(min),
            max: bound(max),
        },
    };
    let text = |text: &str| StatisticValue::Text(text.into());
    CommitRecord {
        segment: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(2),
            rewrite: Rewrite(3),
        },
        header_crc: 4,
        facts: CommitFacts {
            commit_number: 5,
            ..CommitFacts::default()
        },
        head_bytes: 64,
        body_bytes: 128,
        durable_end: 6,
        columns: Box::new([
            column(StatisticValue::Int(-1), StatisticValue::UInt(1)),
            column(StatisticValue::Decimal(-1), StatisticValue::Float(1.0)),
            column(text(""), text("größe")),
        ]),
        rejects: BufferRecord::default(),
        row_deletes: BufferRecord::default(),
        leader: Some(CommitLeader {
            leaf_partition: LeafPartitionId(7),
            commit_number: 8,
        }),
        replaced: Replaced::default(),
    }
}

#[test]
fn an_index_that_differs_in_a_field_is_another() {
    let same = full();
    assert!(same.is_indexed_as(&full()));
    let merged = CommitRecord {
        replaced: Replaced::of(&[CommitFacts::default()]),
        ..full()
    };
    assert!(merged.is_indexed_as(&full()), "it keeps nothing of those");
    let changes: [fn(&mut CommitRecord); 10] = [
        |record| record.segment.sequence = Sequence(9),
        |record| record.header_crc = 9,
        |record| record.facts.rows = 9,
        |record| record.head_bytes = 9,
        |record| record.body_bytes = 9,
        |record| record.durable_end = 9,
        |record| record.columns[0].statistics.null_count = 9,
        |record| record.rejects.crc = 9,
        |record| record.row_deletes.crc = 9,
        |record| record.leader = None,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut other = full();
        change(&mut other);
        assert!(!same.is_indexed_as(&other), "change {index}");
    }
}

#[test]
fn an_index_is_as_long_as_it_is_said_to_be() {
    let none = CommitRecord {
        columns: Box::new([ColumnRecord {
            buffers: [BufferRecord::default(); 3],
            statistics: ColumnStatistics::default(),
        }]),
        ..full()
    };
    for record in [full(), none] {
        let entry = 8 + 4 + 4 + encode_record(&record, &[]).len();
        assert_eq!(record.index_bytes_max(), entry as u64);
    }
}

#[test]
fn a_batch_says_how_far_record_batches_reach() {
    let of = |lost: u64, loaded: u64| {
        let facts = CommitFacts {
            first_offset: Offset(100),
            next_offset: Offset(100 + (lost + loaded) as i64),
            counts: Counts {
                lost,
                loaded,
                ..Counts::default()
            },
            ..CommitFacts::default()
        };
        facts.epoch_reaches()
    };
    assert_eq!(of(0, 7), Some(Offset(107)));
    assert_eq!(of(3, 4), Some(Offset(104)));
    assert_eq!(
        (of(7, 0), of(0, 0)),
        (None, None),
        "nothing but what was lost"
    );
}

#[test]
fn a_batch_has_an_id_of_its_partition_and_its_number() {
    let facts = CommitFacts {
        commit_number: 5,
        ..CommitFacts::default()
    };
    assert_eq!(facts.batch_id(0), 5);
    assert_eq!(facts.batch_id(3), 3_298_534_883_333);
}

#[test]
fn damage_to_one_place_is_one_byte() {
    for byte in [0, 1, 41] {
        let damage = Damage::at(byte, Corruption::Zeros);
        assert_eq!(damage.bytes, byte..byte + 1);
    }
}

/// One bit of a header says that all before it was durable. Another one is a later version's: its checksum is good, and
/// nothing is torn.
#[test]
fn a_header_says_that_all_before_it_was_durable_and_what_it_does_not_know_is_a_later_version() {
    let (mut says, bytes) = header(&schema(vec![column("n", Physical::Int8, true)]));
    let name = bytes.windows(8).position(|name| name == b"PLHEADER");
    let flags_at = name.expect("a record") + 10;
    let with = |flags: u8| {
        let mut bytes = bytes.clone();
        bytes[flags_at] = flags;
        let crc_at = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..crc_at]);
        bytes[crc_at..].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    assert_eq!(with(0), bytes);
    says.header.behind_durable = true;
    let (says, encoded) = encode_header(&says.header);
    assert_eq!((with(1), parse_header(&encoded)), (encoded, Ok(says)));
    for flags in [2, 3, 0x80] {
        let later = Corruption::Version(u32::from(flags) << 16 | 1);
        let read = parse_header(&with(flags)).map_err(|damage| damage.what);
        assert_eq!(read, Err(later));
    }
}
