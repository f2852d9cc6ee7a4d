//! Statistics: bounds are true, and say whether they are exact.

use super::*;
use crate::block::tests::{column, layout, schema};
use crate::block::{Block, BlockWriter, Mark};
use crate::ids::Offset;
use std::sync::Arc;

fn strings(values: &[Option<&str>]) -> (Arc<Block>, Mark) {
    let schema = schema(vec![column("s", Physical::Utf8, true)]);
    let mut writer = BlockWriter::new(&layout(&schema, 256, 4_096), Offset(0));
    for (row, value) in (0i64..).zip(values) {
        match value {
            Some(value) => writer.tail().put_str(0, value).expect("room"),
            None => writer.tail().put_null(0),
        }
        writer.tail().end_row(Offset(row), 0);
    }
    let mark = writer.publish(Offset(values.len() as i64));
    (writer.shared(), mark)
}

fn of(values: &[Option<&str>]) -> ColumnStatistics {
    let (block, mark) = strings(values);
    of_column(&block.column(0, mark))
}

fn text(bound: Option<StatisticBound>) -> Option<(String, bool)> {
    bound.map(|bound| match bound.value {
        StatisticValue::Text(text) => (text.into(), bound.exact),
        other => panic!("{other:?}"),
    })
}

#[test]
fn strings_sort_by_their_bytes_and_long_ones_are_cut() {
    let long = "z".repeat(100);
    let found = of(&[
        Some("b"),
        None,
        Some(""),
        Some("abcdefgh2"),
        Some("abcdefgh1"),
        Some("c\0"),
    ]);
    assert_eq!(found.null_count, 1);
    assert_eq!(text(found.min), Some((String::new(), true)));
    assert_eq!(text(found.max), Some(("c\0".to_owned(), true)));
    let found = of(&[Some(&long), Some("abcdefgh2"), Some("abcdefgh1")]);
    assert_eq!(text(found.min), Some(("abcdefgh1".to_owned(), true)));
    let (max, exact) = text(found.max).expect("a bound");
    assert!(!exact && max.as_bytes() > long.as_bytes() && max.len() <= STATISTIC_BYTES_MAX);
    let found = of(&[Some(&long)]);
    let (min, exact) = text(found.min).expect("a bound");
    assert!(!exact && min.as_bytes() < long.as_bytes() && min.len() == STATISTIC_BYTES_MAX);
    // No character above the last one: no bound.
    let top = "\u{10ffff}".repeat(20);
    assert_eq!(of(&[Some(&top)]).max, None);
    let edge = format!(
        "{}{}",
        "x".repeat(STATISTIC_BYTES_MAX - 7),
        "\u{d7ff}".repeat(9)
    );
    let (max, _) = text(of(&[Some(&edge)]).max).expect("a bound");
    assert!(max.as_bytes() > edge.as_bytes() && max.ends_with('\u{e000}'));
    assert_eq!(
        of(&[None, None]),
        ColumnStatistics {
            min: None,
            max: None,
            null_count: 2
        }
    );
    assert_eq!(of(&[]), ColumnStatistics::default());
}

fn floats(values: &[f64]) -> ColumnStatistics {
    let schema = schema(vec![column("f", Physical::Float64, true)]);
    let mut writer = BlockWriter::new(&layout(&schema, 256, 0), Offset(0));
    for (row, value) in (0i64..).zip(values) {
        writer.tail().put(0, *value);
        writer.tail().end_row(Offset(row), 0);
    }
    let mark = writer.publish(Offset(values.len() as i64));
    of_column(&writer.shared().column(0, mark))
}

#[test]
fn nan_takes_the_upper_bound_and_exactness() {
    let bound = |value, exact| {
        Some(StatisticBound {
            value: StatisticValue::Float(value),
            exact,
        })
    };
    let found = floats(&[2.0, -1.0, 5.5]);
    assert_eq!(
        (found.min, found.max),
        (bound(-1.0, true), bound(5.5, true))
    );
    let found = floats(&[2.0, f64::NAN, 5.5]);
    assert_eq!((found.min, found.max), (bound(2.0, false), None));
    let found = floats(&[f64::NAN]);
    assert_eq!((found.min, found.max), (None, None));
    let found = floats(&[f64::NEG_INFINITY, f64::INFINITY]);
    assert_eq!(
        (found.min, found.max),
        (bound(f64::NEG_INFINITY, true), bound(f64::INFINITY, true))
    );
}

#[test]
fn integers_with_and_without_null() {
    let schema = schema(vec![
        column("a", Physical::Int8, true),
        column("b", Physical::UInt64, false),
        column(
            "c",
            Physical::Decimal128 {
                precision: 38,
                scale: 2,
            },
            true,
        ),
    ]);
    let mut writer = BlockWriter::new(&layout(&schema, 64, 0), Offset(0));
    for n in 0..30i8 {
        let mut tail = writer.tail();
        match n % 2 {
            0 => tail.put(0, n - 20),
            _ => tail.put_null(0),
        }
        tail.put(1, u64::MAX - n as u64);
        tail.put(2, -(i128::from(n) << 100));
        tail.end_row(Offset(i64::from(n) + 100), 0);
    }
    let mark = writer.publish(Offset(130));
    let block = writer.shared();
    let found: Vec<_> = (0..5)
        .map(|index| of_column(&block.column(index, mark)))
        .collect();
    let exact = |value| Some(StatisticBound { value, exact: true });
    assert_eq!(found[0].null_count, 15);
    assert_eq!(found[0].min, exact(StatisticValue::Int(-20)));
    assert_eq!(found[0].max, exact(StatisticValue::Int(8)));
    assert_eq!(found[1].min, exact(StatisticValue::UInt(u64::MAX - 29)));
    assert_eq!(found[1].max, exact(StatisticValue::UInt(u64::MAX)));
    assert_eq!(
        found[2].min,
        exact(StatisticValue::Decimal(-(29i128 << 100)))
    );
    assert_eq!(found[3].min, exact(StatisticValue::Int(100)));
    assert_eq!(found[3].max, exact(StatisticValue::Int(129)));
}

/// Strings of one beginning, in every order: what the first eight bytes do not decide, the rest does.
#[test]
fn strings_of_one_beginning_are_told_apart() {
    let texts = ["abcdefgh1", "abcdefgh2", "abcdefgh", "abcdefgh12"];
    let short = ["a\0", "a", "a\0\0", "a\u{1}"];
    for texts in [texts, short] {
        let min = texts.iter().min_by_key(|text| text.as_bytes());
        let max = texts.iter().max_by_key(|text| text.as_bytes());
        let bound = |of: Option<&&str>| of.map(|of| ((*of).to_owned(), true));
        for order in 0..256 {
            // Four places of two bits: with doubles, all orders are among them.
            let order = [0, 2, 4, 6].map(|shift| texts[order >> shift & 3]);
            let all: Vec<Option<&str>> = order.iter().chain(&texts).copied().map(Some).collect();
            let found = of(&all);
            assert_eq!(text(found.min), bound(min), "{order:?}");
            assert_eq!(text(found.max), bound(max), "{order:?}");
        }
    }
}
