//! Where a block's regions end: what a full one is given, what is appended whole, and what it all takes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array};
use arrow_buffer::NullBuffer;

use super::*;
use crate::block_layout::BlockLayout;

/// One of each width, in an order that puts what is NOT NULL before what is not.
fn all_widths() -> Arc<Schema> {
    let decimal = Physical::Decimal128 {
        precision: 38,
        scale: 0,
    };
    schema(vec![
        column("a", Physical::Int8, true),
        column("b", Physical::Int16, true),
        column("c", Physical::Int32, false),
        column("d", Physical::Utf8, true),
        column("e", Physical::Int64, true),
        column("f", decimal, false),
        column("g", Physical::Utf8, false),
    ])
}

fn put(tail: &mut Tail<'_>, n: i64, with_null: bool) {
    tail.put(0, n as i8);
    tail.put(1, n as i16);
    tail.put(2, n as i32);
    tail.put_str(3, "text").expect("room");
    tail.put(4, n);
    tail.put(5, i128::from(n));
    tail.put_str(6, "größe").expect("room");
    if with_null {
        [0, 1, 3, 4]
            .into_iter()
            .for_each(|column| tail.put_null(column));
    }
}

fn arrays(block: &Arc<Block>, mark: Mark) -> Vec<ArrayRef> {
    (0..block.columns())
        .map(|index| block.array(index, mark))
        .collect()
}

/// A row too many is put before `end_row` refuses it: it lands in its own column's region, of every width,
/// as values and as NULL.
#[test]
fn a_row_beyond_a_full_block_overwrites_nothing() {
    for rows in [1, 2, 16, 64, 128] {
        let mut writer = BlockWriter::new(&layout(&all_widths(), rows, 2_048), Offset(0));
        let mut other = BlockWriter::new(&layout(&all_widths(), 2 * rows, 4_096), Offset(0));
        for n in 0..i64::from(rows) {
            for writer in [&mut writer, &mut other] {
                put(&mut writer.tail(), n, n % 3 == 0);
                writer.tail().end_row(Offset(n), 1);
            }
        }
        assert_eq!(writer.tail().rows_free(), 0);
        let mark = writer.publish(Offset(i64::from(rows)));
        other.publish(Offset(i64::from(rows)));
        for with_null in [true, false] {
            put(&mut writer.tail(), -1, with_null);
            let expected = arrays(&other.shared(), mark);
            assert_eq!(arrays(&writer.shared(), mark), expected, "{rows} rows");
        }
        writer.reset();
        assert_eq!(
            arrays(&writer.shared(), mark),
            arrays(&other.shared(), mark)
        );
    }
}

#[test]
fn a_block_is_empty_without_rows_and_rejects() {
    let mut writer = BlockWriter::new(&layout(&pair(), 4, 64), Offset(0));
    assert!(writer.tail().is_block_empty());
    put_pair(&mut writer.tail(), 0).expect("room");
    assert!(!writer.tail().is_block_empty());
    writer.reset();
    assert!(writer.tail().is_block_empty());
    writer.tail().extend_rejects(b"a reject").expect("room");
    assert!(!writer.tail().is_block_empty());
}

#[test]
fn a_slice_takes_the_room_of_its_own_strings() {
    let mut source = BlockWriter::new(&layout(&pair(), 16, 256), Offset(0));
    for n in 0..8 {
        source.tail().put(0, n);
        source.tail().put_str(1, "four").expect("room");
        source.tail().end_row(Offset(i64::from(n)), 0);
    }
    let mark = source.publish(Offset(8));
    let whole = arrays(&source.shared(), mark);
    let slice: Vec<ArrayRef> = whole.iter().map(|array| array.slice(4, 3)).collect();
    let mut writer = BlockWriter::new(&layout(&pair(), 16, 12), Offset(0));
    writer.tail().extend(&slice).expect("room for 12 bytes");
    let full = BlockFull {
        region: BlockRegion::Strings(1),
        needed: 4,
    };
    let one: Vec<ArrayRef> = whole.iter().map(|array| array.slice(7, 1)).collect();
    assert_eq!(writer.tail().extend(&one), Err(full));
    let mark = writer.publish(Offset(3));
    let kept = arrays(&writer.shared(), mark);
    assert_eq!(kept[0].as_primitive::<Int32Type>().values(), &[4, 5, 6]);
    assert!(
        kept[1]
            .as_string::<i32>()
            .iter()
            .all(|text| text == Some("four"))
    );
}

/// Validity that says nothing is NULL is none: a column that is NOT NULL has no room for it.
#[test]
fn validity_without_a_null_is_not_written() {
    let mut source = BlockWriter::new(&layout(&pair(), 256, 256), Offset(0));
    for n in 0..100 {
        source.tail().put(0, n);
        source.tail().put_str(1, "x").expect("room");
        source.tail().end_row(Offset(i64::from(n)), 0);
    }
    let mark = source.publish(Offset(100));
    let mut columns = arrays(&source.shared(), mark);
    // What builds an array of any type leaves such validity out.
    let valid = Some(NullBuffer::new_valid(100));
    let numbers = columns[0].as_primitive::<Int32Type>().values().clone();
    columns[0] = Arc::new(Int32Array::new(numbers, valid.clone()));
    for column in &mut columns[2..] {
        let numbers = column.as_primitive::<Int64Type>().values().clone();
        *column = Arc::new(Int64Array::new(numbers, valid.clone()));
    }
    assert!(
        [0, 2, 3]
            .iter()
            .all(|&column| columns[column].nulls().is_some())
    );
    let mut writer = BlockWriter::new(&layout(&pair(), 256, 256), Offset(0));
    // The last column's validity would lie where the rejects do.
    let reject = [7; 200];
    writer.tail().extend_rejects(&reject).expect("room");
    writer.tail().extend(&columns).expect("room");
    let mark = writer.publish(Offset(100));
    let block = writer.shared();
    assert_eq!(block.rejects(mark), reject);
    assert!((0..4).all(|index| block.column(index, mark).nulls.is_none()));
    let offsets: Vec<i64> = (0..100).collect();
    assert_eq!(block.array(2, mark).as_ref(), &Int64Array::from(offsets));
}

/// The regions by hand, each rounded up to 64: marks of 16 bytes and one more, then a row more than there
/// are, for strings two offsets more.
#[test]
fn a_block_takes_so_many_bytes_and_asks_for_no_fewer() {
    let of = |schema: &Arc<Schema>, rows, string_bytes: u32, rejects_bytes| {
        let layout = BlockLayout {
            rejects_bytes,
            ..layout(schema, rows, string_bytes)
        };
        (layout.bytes(), layout.bytes_wanted())
    };
    let marks = 65 * 16 + 48;
    let hidden = 2 * (257 * 8 + 56);
    // n: 257 of 4 bytes; s: 258 offsets, 257 validity bytes, its strings.
    let one = marks + hidden + (257 * 4 + 60) + (258 * 4 + 56) + (257 + 63) + 4_096;
    let rejects = 1_024;
    let asked = 256 * 28 + 4_096 + 1_024 + 4_097 * 16 + 14 * 64 + 32 * 4;
    assert_eq!(of(&pair(), 256, 4_096, rejects), (one + 1_024, asked));
    assert_eq!(of(&pair(), 256, 4_096, 0), (one, asked - 1_024));
    // 65,536 rows and one or two more: what they would be doubled is not hidden by the rounding.
    let large = (4_097 * 16 + 48)
        + 2 * (65_537 * 8 + 56)
        + (65_537 * 4 + 60)
        + (65_538 * 4 + 56)
        + (65_537 + 63)
        + 64;
    assert_eq!(of(&pair(), 65_536, 1, 0).0, large);
    let none = schema(Vec::new());
    assert_eq!(of(&none, 1, 0, 0).1, 18 + 4_097 * 16 + 8 * 64 + 32 * 2);
    for rows in [1, 15, 16, 255, 256, 1_024, 65_536] {
        for schema in [&none, &pair(), &all_widths()] {
            for bytes in [0, 1, 63, 64, 65, 100_000] {
                let (takes, asks) = of(schema, rows, bytes, bytes);
                assert!(takes as u64 <= asks, "{rows} rows, {bytes} bytes");
            }
        }
    }
}
