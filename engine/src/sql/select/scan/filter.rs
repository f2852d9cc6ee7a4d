//! The filters a scan takes: a small closed set, plain data. What they cannot say stays above.

use std::cmp::Ordering;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use serde::{Deserialize, Serialize};
use storage::format::{ColumnStatistics, StatisticValue};

use crate::limits::PUSHED_LIST_VALUES_MAX;

/// A constant of a column's own type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Constant {
    /// Signed integers, days of a DATE, a DATETIME in its column's unit.
    Int(i64),
    /// Unsigned integers.
    UInt(u64),
    /// FLOAT and DOUBLE.
    Float(f64),
    /// DECIMAL, unscaled, at its column's scale.
    Decimal(i128),
    /// Strings.
    Text(String),
}

/// How a column is compared with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A condition on rows. Columns are places in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// `column op constant`.
    Compare(usize, Comparison, Constant),
    /// `column IN (constants)`.
    OneOf(usize, Vec<Constant>),
    /// `column IS NULL`.
    Null(usize),
    /// `column IS NOT NULL`.
    NotNull(usize),
    /// All of them.
    All(Vec<Filter>),
    /// One of them at least.
    Any(Vec<Filter>),
}

impl Filter {
    /// The filter that an expression is, or `None` where it says more than there is here.
    /// `place` gives a column's place and its Arrow type.
    pub fn of(
        expr: &Expr,
        place: &impl Fn(&str) -> Option<(usize, arrow::datatypes::DataType)>,
    ) -> Option<Filter> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => Some(Filter::All(vec![
                    Filter::of(left, place)?,
                    Filter::of(right, place)?,
                ])),
                Operator::Or => Some(Filter::Any(vec![
                    Filter::of(left, place)?,
                    Filter::of(right, place)?,
                ])),
                _ => match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _)) => {
                        compare(&column.name, *op, value, place)
                    }
                    (Expr::Literal(value, _), Expr::Column(column)) => {
                        compare(&column.name, op.swap()?, value, place)
                    }
                    _ => None,
                },
            },
            Expr::InList(InList {
                expr,
                list,
                negated: false,
            }) if list.len() <= PUSHED_LIST_VALUES_MAX => {
                let Expr::Column(column) = expr.as_ref() else {
                    return None;
                };
                let (at, data_type) = place(&column.name)?;
                let values = list
                    .iter()
                    .map(|value| match value {
                        Expr::Literal(value, _) if value.data_type() == data_type => {
                            constant(value)
                        }
                        _ => None,
                    })
                    .collect::<Option<Vec<_>>>()?;
                Some(Filter::OneOf(at, values))
            }
            Expr::IsNull(inner) => match inner.as_ref() {
                Expr::Column(column) => Some(Filter::Null(place(&column.name)?.0)),
                _ => None,
            },
            Expr::IsNotNull(inner) => match inner.as_ref() {
                Expr::Column(column) => Some(Filter::NotNull(place(&column.name)?.0)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a row of a part may fulfil it, by what is known of its columns. `None` is not known.
    pub fn may_match(
        &self,
        rows: u32,
        statistics: &impl Fn(usize) -> Option<ColumnStatistics>,
    ) -> bool {
        match self {
            Filter::Compare(column, op, value) => {
                statistics(*column).is_none_or(|known| may_compare(&known, rows, *op, value))
            }
            Filter::OneOf(column, values) => statistics(*column).is_none_or(|known| {
                values
                    .iter()
                    .any(|value| may_compare(&known, rows, Comparison::Equal, value))
            }),
            Filter::Null(column) => statistics(*column).is_none_or(|known| known.null_count > 0),
            Filter::NotNull(column) => {
                statistics(*column).is_none_or(|known| known.null_count < rows)
            }
            Filter::All(filters) => filters
                .iter()
                .all(|filter| filter.may_match(rows, statistics)),
            Filter::Any(filters) => filters
                .iter()
                .any(|filter| filter.may_match(rows, statistics)),
        }
    }
}

fn compare(
    name: &str,
    op: Operator,
    value: &ScalarValue,
    place: &impl Fn(&str) -> Option<(usize, arrow::datatypes::DataType)>,
) -> Option<Filter> {
    let (at, data_type) = place(name)?;
    if value.data_type() != data_type {
        return None;
    }
    let op = match op {
        Operator::Eq => Comparison::Equal,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    };
    Some(Filter::Compare(at, op, constant(value)?))
}

fn constant(value: &ScalarValue) -> Option<Constant> {
    Some(match value {
        ScalarValue::Int8(value) => Constant::Int((*value)?.into()),
        ScalarValue::Int16(value) => Constant::Int((*value)?.into()),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => Constant::Int((*value)?.into()),
        ScalarValue::Int64(value)
        | ScalarValue::TimestampSecond(value, None)
        | ScalarValue::TimestampMillisecond(value, None)
        | ScalarValue::TimestampMicrosecond(value, None) => Constant::Int((*value)?),
        ScalarValue::UInt8(value) => Constant::UInt((*value)?.into()),
        ScalarValue::UInt16(value) => Constant::UInt((*value)?.into()),
        ScalarValue::UInt32(value) => Constant::UInt((*value)?.into()),
        ScalarValue::UInt64(value) => Constant::UInt((*value)?),
        ScalarValue::Float32(value) => Constant::Float((*value)?.into()),
        ScalarValue::Float64(value) => Constant::Float((*value)?),
        ScalarValue::Decimal128(value, _, _) => Constant::Decimal((*value)?),
        ScalarValue::Utf8(value) => Constant::Text(value.clone()?),
        _ => return None,
    })
}

fn may_compare(known: &ColumnStatistics, rows: u32, op: Comparison, value: &Constant) -> bool {
    if known.null_count >= rows {
        // NULL compares with nothing.
        return false;
    }
    let min = known
        .min
        .as_ref()
        .and_then(|bound| order(&bound.value, value));
    let max = known
        .max
        .as_ref()
        .and_then(|bound| order(&bound.value, value));
    let min_below = |allowed: fn(Ordering) -> bool| min.is_none_or(allowed);
    let max_above = |allowed: fn(Ordering) -> bool| max.is_none_or(allowed);
    match op {
        Comparison::Equal => min_below(Ordering::is_le) && max_above(Ordering::is_ge),
        Comparison::Less => min_below(Ordering::is_lt),
        Comparison::LessOrEqual => min_below(Ordering::is_le),
        Comparison::Greater => max_above(Ordering::is_gt),
        Comparison::GreaterOrEqual => max_above(Ordering::is_ge),
    }
}

fn order(known: &StatisticValue, value: &Constant) -> Option<Ordering> {
    match (known, value) {
        (StatisticValue::Int(known), Constant::Int(value)) => Some(known.cmp(value)),
        (StatisticValue::UInt(known), Constant::UInt(value)) => Some(known.cmp(value)),
        (StatisticValue::Float(known), Constant::Float(value)) => known.partial_cmp(value),
        (StatisticValue::Decimal(known), Constant::Decimal(value)) => Some(known.cmp(value)),
        (StatisticValue::Text(known), Constant::Text(value)) => Some((**known).cmp(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use storage::format::StatisticBound;

    use super::*;

    fn known(min: i64, max: i64, nulls: u32) -> ColumnStatistics {
        let bound = |value| {
            Some(StatisticBound {
                value: StatisticValue::Int(value),
                exact: true,
            })
        };
        ColumnStatistics {
            min: bound(min),
            max: bound(max),
            null_count: nulls,
        }
    }

    #[test]
    fn a_part_is_left_out_only_where_no_row_can_match() {
        let equal = |value| Filter::Compare(0, Comparison::Equal, Constant::Int(value));
        let compare = |op, value| Filter::Compare(0, op, Constant::Int(value));
        let of = |filter: &Filter, known: ColumnStatistics| {
            filter.may_match(10, &|_| Some(known.clone()))
        };
        for (filter, expected) in [
            (equal(4), false),
            (equal(5), true),
            (equal(9), true),
            (equal(10), false),
            (compare(Comparison::Less, 5), false),
            (compare(Comparison::LessOrEqual, 5), true),
            (compare(Comparison::Greater, 9), false),
            (compare(Comparison::GreaterOrEqual, 9), true),
            (
                Filter::OneOf(0, vec![Constant::Int(1), Constant::Int(6)]),
                true,
            ),
            (
                Filter::OneOf(0, vec![Constant::Int(1), Constant::Int(11)]),
                false,
            ),
            (Filter::Null(0), false),
            (Filter::NotNull(0), true),
            (Filter::All(vec![equal(5), equal(20)]), false),
            (Filter::Any(vec![equal(5), equal(20)]), true),
        ] {
            assert_eq!(of(&filter, known(5, 9, 0)), expected, "{filter:?}");
        }
        assert!(!of(&equal(5), known(5, 9, 10)), "all NULL");
        assert!(equal(5).may_match(10, &|_| None), "nothing known");
    }

    #[test]
    fn filters_are_plain_data() {
        let filter = Filter::All(vec![
            Filter::Compare(1, Comparison::GreaterOrEqual, Constant::Decimal(-12_345)),
            Filter::Any(vec![
                Filter::OneOf(2, vec![Constant::Text("a'b".to_owned()), Constant::UInt(7)]),
                Filter::Compare(0, Comparison::Less, Constant::Float(1.5)),
                Filter::Null(3),
                Filter::NotNull(4),
            ]),
        ]);
        let plan = super::super::ScanPlan {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: vec![3, 0],
            filters: vec![filter],
            rows_max: Some(10),
        };
        let text = serde_json::to_string(&plan).expect("it encodes");
        let read: super::super::ScanPlan = serde_json::from_str(&text).expect("it decodes");
        assert_eq!(read, plan);
    }
}
