//! Blocks: what is written beyond a mark is not read, and what is published never changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};

use super::*;
use crate::format::rejects::Rejects;
use crate::schema::{Column, OFFSET_COLUMN, Schema, TimeUnit};

mod edges;

pub(crate) fn column(name: &str, physical: Physical, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        physical,
        nullable,
        annotation: String::new(),
    }
}

pub(crate) fn schema(columns: Vec<Column>) -> Arc<Schema> {
    Arc::new(Schema {
        version: 1,
        columns: columns.into(),
    })
}

/// A number and a string that may be NULL.
pub(crate) fn pair() -> Arc<Schema> {
    schema(vec![
        column("n", Physical::Int32, false),
        column("s", Physical::Utf8, true),
    ])
}

pub(crate) fn layout(schema: &Arc<Schema>, rows: u32, string_bytes: u32) -> BlockLayout {
    let strings = schema
        .columns
        .iter()
        .filter(|c| c.physical == Physical::Utf8);
    BlockLayout {
        schema: Arc::clone(schema),
        rows,
        string_bytes: strings.map(|_| string_bytes).collect(),
        rejects_bytes: 1 << 10,
    }
}

/// Row `n` of `pair`: every third string is NULL.
fn put_pair(tail: &mut Tail<'_>, n: i32) -> Result<(), BlockFull> {
    tail.put(0, n);
    if n % 3 == 2 {
        tail.put_null(1);
    } else {
        tail.put_str(1, &format!("row {n}"))?;
    }
    tail.end_row(Offset(i64::from(n)), i64::from(n) * 10);
    Ok(())
}

fn check_pair(block: &Arc<Block>, mark: Mark) {
    let numbers = block.array(0, mark);
    let strings = block.array(1, mark);
    let offsets = block.array(2, mark);
    assert!(strings.to_data().validate_full().is_ok());
    for row in 0..mark.rows_end as usize {
        assert_eq!(numbers.as_primitive::<Int32Type>().value(row), row as i32);
        assert_eq!(offsets.as_primitive::<Int64Type>().value(row), row as i64);
        assert_eq!(strings.is_null(row), row % 3 == 2);
        if row % 3 != 2 {
            assert_eq!(strings.as_string::<i32>().value(row), format!("row {row}"));
        }
    }
}

#[test]
fn a_reader_sees_what_was_published_and_nothing_else() {
    let mut writer = BlockWriter::new(&layout(&pair(), 256, 4_096), Offset(7));
    let block = writer.shared();
    assert_eq!(block.first_offset(), Offset(7));
    assert_eq!(
        (block.mark().rows_end, block.mark().next_offset),
        (0, Offset(7))
    );
    for n in 0..5 {
        put_pair(&mut writer.tail(), n).expect("room");
    }
    assert_eq!(block.mark().rows_end, 0);
    assert_eq!(writer.rows_pending(), 5);
    let first = writer.publish(Offset(12));
    assert_eq!(block.mark(), first);
    let held = block.array(1, first);
    for n in 5..200 {
        put_pair(&mut writer.tail(), n).expect("room");
    }
    let second = writer.publish(Offset(300));
    assert_eq!(held.len(), 5);
    check_pair(&block, first);
    check_pair(&block, second);
    assert_eq!(block.mark().next_offset, Offset(300));
    assert_eq!(OFFSET_COLUMN, "_offset");
}

#[test]
fn the_last_mark_of_a_block_does_not_lie_in_its_rows() {
    for rows in [256, 1_024, 2_048] {
        let mut writer = BlockWriter::new(&layout(&pair(), rows, 65_536), Offset(0));
        let block = writer.shared();
        let mut marks = Vec::new();
        for n in 0.. {
            if writer.marks_free() == 0 {
                break;
            }
            put_pair(&mut writer.tail(), n).expect("room");
            marks.push(writer.publish(Offset(i64::from(n) + 1)));
        }
        assert_eq!(marks.len() as u32, (rows / 16).max(64));
        for mark in marks {
            check_pair(&block, mark);
        }
    }
}

#[test]
fn a_message_that_fails_leaves_nothing_behind() {
    let mut writer = BlockWriter::new(&layout(&pair(), 256, 4_096), Offset(0));
    put_pair(&mut writer.tail(), 0).expect("room");
    let mut tail = writer.tail();
    let before = tail.savepoint();
    tail.put(0, 77);
    tail.put_null(1);
    tail.end_row(Offset(1), 0);
    tail.put(0, 78);
    tail.put_str(1, "half a row").expect("room");
    tail.rewind(before);
    assert_eq!(tail.rows(), 1);
    for n in 1..9 {
        put_pair(&mut tail, n).expect("room");
    }
    let mark = writer.publish(Offset(9));
    check_pair(&writer.shared(), mark);
    // The same for a whole step.
    writer.tail().put_null(1);
    writer.tail().put(0, 1);
    writer.tail().end_row(Offset(9), 0);
    writer.reset();
    assert_eq!(writer.rows_pending(), 0);
    for n in 9..30 {
        put_pair(&mut writer.tail(), n).expect("room");
    }
    let mark = writer.publish(Offset(30));
    check_pair(&writer.shared(), mark);
}

#[test]
fn a_null_that_was_rewound_is_no_null() {
    let mut writer = BlockWriter::new(&layout(&pair(), 256, 4_096), Offset(0));
    let mut tail = writer.tail();
    let before = tail.savepoint();
    tail.put(0, 1);
    tail.put_null(1);
    tail.end_row(Offset(0), 0);
    tail.rewind(before);
    put_pair(&mut tail, 0).expect("room");
    let mark = writer.publish(Offset(1));
    assert!(writer.shared().column(1, mark).nulls.is_none());
    assert!(writer.shared().array(1, mark).nulls().is_none());
}

#[test]
fn the_last_put_of_a_row_wins() {
    let mut writer = BlockWriter::new(&layout(&pair(), 256, 4_096), Offset(0));
    let mut tail = writer.tail();
    tail.put_str(1, "a longer first value").expect("room");
    tail.put_null(1);
    tail.put_str(1, "last").expect("room");
    tail.put(0, 1);
    tail.put(0, 2);
    tail.end_row(Offset(0), 0);
    tail.put(0, 3);
    tail.put_str(1, "value").expect("room");
    tail.put_null(1);
    tail.end_row(Offset(1), 0);
    let mark = writer.publish(Offset(2));
    let block = writer.shared();
    assert_eq!(
        block.array(0, mark).as_primitive::<Int32Type>().values(),
        &[2, 3]
    );
    let strings = block.array(1, mark);
    assert_eq!(strings.as_string::<i32>().value(0), "last");
    assert!(strings.is_valid(0) && strings.is_null(1));
    assert_eq!(block.column(1, mark).data, b"last");
}

#[test]
fn a_full_region_refuses_and_keeps_what_it_has() {
    let mut writer = BlockWriter::new(&layout(&pair(), 256, 10), Offset(0));
    let mut tail = writer.tail();
    tail.put_str(1, "12345678").expect("room");
    tail.put(0, 0);
    tail.end_row(Offset(0), 0);
    let full = BlockFull {
        region: BlockRegion::Strings(1),
        needed: 3,
    };
    assert_eq!(tail.put_str(1, "abc"), Err(full));
    let mut called = false;
    let put = tail.put_str_with::<()>(1, 3, |_| {
        called = true;
        Ok(0)
    });
    assert!(put.is_err() && !called);
    assert_eq!(tail.put_str_with::<u8>(1, 2, |_| Err(9)), Ok(Err(9)));
    assert_eq!(
        tail.put_str_with::<()>(1, 2, |to| {
            to.copy_from_slice("ö".as_bytes());
            Ok(2)
        }),
        Ok(Ok(()))
    );
    tail.put(0, 1);
    tail.end_row(Offset(1), 0);
    let mark = writer.publish(Offset(2));
    let strings = writer.shared().array(1, mark);
    assert_eq!(strings.as_string::<i32>().value(1), "ö");
}

#[test]
#[should_panic(expected = "room for a row")]
fn a_row_too_many_is_refused() {
    let mut writer = BlockWriter::new(&layout(&pair(), 1, 64), Offset(0));
    for n in 0..2 {
        put_pair(&mut writer.tail(), n).expect("room");
    }
}

#[test]
#[should_panic(expected = "the column's width")]
fn a_value_of_another_width_is_refused() {
    let mut writer = BlockWriter::new(&layout(&pair(), 1, 64), Offset(0));
    writer.tail().put(0, 1i64);
}

#[test]
#[should_panic(expected = "strings are UTF-8")]
fn bytes_that_are_not_a_string_are_refused() {
    let mut writer = BlockWriter::new(&layout(&pair(), 1, 64), Offset(0));
    let _ = writer.tail().put_str_with::<()>(1, 1, |to| {
        to[0] = 0xff;
        Ok(1)
    });
}

#[test]
#[should_panic(expected = "a mark of another block")]
fn a_mark_of_another_block_is_refused() {
    let mut writer = BlockWriter::new(&layout(&pair(), 4, 64), Offset(0));
    put_pair(&mut writer.tail(), 0).expect("room");
    let mark = writer.publish(Offset(1));
    let other = BlockWriter::new(&layout(&pair(), 4, 64), Offset(0));
    let _ = other.shared().column(0, mark);
}

#[test]
fn marks_run_out_and_say_so() {
    let mut writer = BlockWriter::new(&layout(&pair(), 16, 64), Offset(0));
    assert_eq!(writer.marks_free(), 64);
    for n in 0..64 {
        writer.publish(Offset(n));
    }
    assert_eq!(writer.marks_free(), 0);
}

#[test]
fn rejects_are_kept_with_their_step() {
    let mut writer = BlockWriter::new(&layout(&pair(), 16, 64), Offset(0));
    let reject = Reject {
        offset: Offset(3),
        timestamp_ms: 4,
        unix_ms: 5,
        code: 1366,
        kind: RejectKind::Parser,
        line: 1,
        column: None,
        text: "not JSON",
        key: None,
        message: b"{",
    };
    writer.tail().reject(&reject).expect("room");
    let before = writer.tail().savepoint();
    writer.tail().reject(&reject).expect("room");
    writer.tail().rewind(before);
    let mark = writer.publish(Offset(4));
    let block = writer.shared();
    let kept: Vec<_> = Rejects::new(block.rejects(mark)).collect();
    assert_eq!(kept, [Ok(reject)]);
    let large = Reject {
        message: &[0; 2_000],
        ..reject
    };
    assert!(writer.tail().reject(&large).is_err());
}

#[test]
fn columns_are_appended_whole() {
    let source = |from: i32, rows: i32| {
        let mut writer = BlockWriter::new(&layout(&pair(), 256, 4_096), Offset(0));
        for n in from..from + rows {
            put_pair(&mut writer.tail(), n).expect("room");
        }
        let mark = writer.publish(Offset(i64::from(from + rows)));
        let block = writer.shared();
        let arrays: Vec<ArrayRef> = (0..block.columns()).map(|c| block.array(c, mark)).collect();
        arrays
    };
    let mut writer = BlockWriter::new(&layout(&pair(), 100, 4_096), Offset(0));
    // The first two have no NULL, the others have; one is a slice.
    writer.tail().extend(&source(0, 2)).expect("room");
    let slice: Vec<ArrayRef> = source(0, 50).iter().map(|a| a.slice(2, 48)).collect();
    writer.tail().extend(&slice).expect("room");
    put_pair(&mut writer.tail(), 50).expect("room");
    writer.tail().extend(&source(51, 49)).expect("room");
    let rows = BlockFull {
        region: BlockRegion::Rows,
        needed: 1,
    };
    assert_eq!(writer.tail().extend(&source(0, 1)), Err(rows));
    let mark = writer.publish(Offset(100));
    check_pair(&writer.shared(), mark);
}

#[test]
fn every_type_is_read_as_it_was_put() {
    let all = schema(vec![
        column("a", Physical::Int8, true),
        column("b", Physical::UInt16, false),
        column("c", Physical::Float64, true),
        column(
            "d",
            Physical::Decimal128 {
                precision: 38,
                scale: 4,
            },
            true,
        ),
        column("e", Physical::Timestamp(TimeUnit::Microsecond), true),
        column("f", Physical::Date32, true),
    ]);
    let mut writer = BlockWriter::new(&layout(&all, 64, 0), Offset(0));
    for n in 0..40i64 {
        let mut tail = writer.tail();
        tail.put(0, n as i8);
        tail.put(1, n as u16);
        tail.put(2, n as f64);
        tail.put(3, i128::from(n) << 70);
        tail.put(4, n);
        if n == 17 {
            tail.put_null(5);
        } else {
            tail.put(5, n as i32);
        }
        tail.end_row(Offset(n), n);
    }
    let mark = writer.publish(Offset(40));
    let block = writer.shared();
    for index in 0..block.columns() {
        let array = block.array(index, mark);
        assert!(array.to_data().validate_full().is_ok(), "column {index}");
        assert_eq!(array.null_count(), usize::from(index == 5));
        let region = block.column(index, mark);
        assert_eq!(region.values.as_ptr().align_offset(64), 0);
    }
}

#[test]
fn validity_is_packed_like_the_slow_way() {
    let mut seed = 7u64;
    for rows in [1usize, 7, 8, 9, 63, 64, 65, 200] {
        let mut validity = vec![0u8; rows];
        for byte in &mut validity {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 63) as u8;
        }
        for first_null in 0..rows {
            let nulls = NullRegion {
                first_null,
                validity: &validity,
            };
            let mut bits = vec![0xaa];
            nulls.pack(&mut bits);
            assert_eq!(bits.len(), 1 + rows.div_ceil(8));
            for row in 0..rows {
                let bit = bits[1 + row / 8] >> (row % 8) & 1 == 1;
                assert_eq!(
                    bit,
                    row < first_null || validity[row] == 1,
                    "{rows} {first_null} {row}"
                );
            }
        }
    }
}

/// Readers on other threads while one writes. The writer goes on only when a reader has looked at what
/// it published, and is told so without any ordering: under Miri, a mark that was not released is a race.
#[test]
fn readers_run_beside_the_writer() {
    let steps = if cfg!(miri) { 8 } else { 200 };
    let mut writer = BlockWriter::new(&layout(&pair(), 4_096, 64 << 10), Offset(0));
    let seen = AtomicU32::new(0);
    let rows = steps as u32 * 5;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let block = writer.shared();
            let seen = &seen;
            scope.spawn(move || {
                let mut last = 0;
                while last < rows {
                    let mark = block.mark();
                    assert!(mark.rows_end >= last);
                    assert_eq!(mark.next_offset, Offset(i64::from(mark.rows_end)));
                    last = mark.rows_end;
                    if last > 0 {
                        check_pair(&block, mark);
                    }
                    seen.fetch_max(last, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
        }
        for step in 0..steps {
            // Every other step fails first.
            for attempt in step % 2..2 {
                for n in step * 5..step * 5 + 5 {
                    put_pair(&mut writer.tail(), n).expect("room");
                }
                if attempt == 0 {
                    writer.reset();
                }
            }
            let mark = writer.publish(Offset(i64::from(step * 5 + 5)));
            while seen.load(Ordering::Relaxed) < mark.rows_end {
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(writer.published().rows_end, rows);
}
