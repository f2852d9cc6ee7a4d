//! Comparisons: lowered to Arrow's own over the type in which MySQL compares.
//!
//! A constant is brought to the column's type where it is exact there, so that filters can be pushed
//! and commits pruned; strings compare by bytes, without padding.

use std::sync::Arc;

use arrow::array::builder::BooleanBuilder;
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{and, concat, is_not_null, like, not, nullif};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use regex::Regex;

use super::convert::convert;
use super::time::{DAY_US, SECOND_US, parse_micros};
use super::{Call, Function, Types, to};
use crate::limits::{PATTERN_BYTES_MAX, PATTERNS_AT_ONCE};
use crate::sql::error::{Code, SqlError};
use crate::sql::select::beside::beside_the_workers;
use crate::sql::select::fault::{regexp, wrap};
use crate::sql::select::types::{self, Class, class, datetime, is_temporal};

/// Comparisons.
pub static FUNCTIONS: &[Function] = &[
    comparison("="),
    comparison("<>"),
    comparison("<"),
    comparison("<="),
    comparison(">"),
    comparison(">="),
    comparison("<=>"),
    lowered("between", 3, 3, lower_between),
    lowered("in", 2, usize::MAX, lower_in),
    Function {
        name: "like",
        least: 3,
        most: 3,
        of: |_| Ok(DataType::Boolean),
        eval: Some(|call| beside_the_workers(|| like_own(call))),
        lower: Some(lower_like),
    },
    Function {
        name: "regexp_like",
        least: 2,
        most: 2,
        of: |_| Ok(DataType::Boolean),
        // Not Arrow's, which hears no KILL in a batch: a row may take milliseconds.
        eval: Some(|call| beside_the_workers(|| regexp_like(call))),
        lower: None,
    },
    Function {
        name: "greatest",
        least: 2,
        most: usize::MAX,
        of: widest,
        eval: Some(|call| extreme(call, true)),
        lower: None,
    },
    Function {
        name: "least",
        least: 2,
        most: usize::MAX,
        of: widest,
        eval: Some(|call| extreme(call, false)),
        lower: None,
    },
    Function {
        name: "strcmp",
        least: 2,
        most: 2,
        of: |_| Ok(DataType::Int64),
        eval: Some(|call| {
            let (left, right) = (call.texts(0)?, call.texts(1)?);
            let order: Int64Array = left
                .iter()
                .zip(right.iter())
                .map(|(left, right)| Some(left?.cmp(right?) as i64))
                .collect();
            Ok(Arc::new(order))
        }),
        lower: None,
    },
];

const fn comparison(name: &'static str) -> Function {
    lowered(name, 2, 2, lower_comparison)
}

const fn lowered(name: &'static str, least: usize, most: usize, lower: super::Lower) -> Function {
    Function {
        name,
        least,
        most,
        of: |_| Ok(DataType::Boolean),
        eval: None,
        lower: Some(lower),
    }
}

fn operator(name: &str) -> Operator {
    match name {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        _ => Operator::IsNotDistinctFrom,
    }
}

fn lower_comparison(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    pair(types, args, 0, 1, operator(types.name)).map(Some)
}

/// `args[left] op args[right]` in the type in which MySQL compares them.
fn pair(types: &Types<'_>, args: &[Expr], left: usize, right: usize, op: Operator) -> Result<Expr> {
    let common = common(types, left, right)?;
    Ok(Expr::BinaryExpr(BinaryExpr::new(
        Box::new(to(args[left].clone(), &types.types[left], &common)),
        op,
        Box::new(to(args[right].clone(), &types.types[right], &common)),
    )))
}

/// The type in which two arguments are compared.
fn common(types: &Types<'_>, left: usize, right: usize) -> Result<DataType> {
    let (left_type, right_type) = (&types.types[left], &types.types[right]);
    let general = types::comparison(left_type, right_type);
    let (column, constant) = match (types.constants[left], types.constants[right]) {
        (None, Some(constant)) => (left_type, constant),
        (Some(constant), None) => (right_type, constant),
        (Some(constant), Some(_)) if is_temporal(right_type) => (right_type, constant),
        (Some(_), Some(constant)) if is_temporal(left_type) => (left_type, constant),
        _ => return Ok(general),
    };
    Ok(by_constant(column, constant)?.unwrap_or(general))
}

/// The type for a comparison with a constant that is exact in the column's own class.
fn by_constant(column: &DataType, constant: &ScalarValue) -> Result<Option<DataType>> {
    let text = match constant {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Some(text.as_str()),
        _ => None,
    };
    match (class(column), text) {
        (Class::Date | Class::DateTime, Some(text)) => {
            let Some(micros) = parse_micros(text) else {
                let name = if class(column) == Class::Date {
                    "DATE"
                } else {
                    "DATETIME"
                };
                return Err(wrap(SqlError::new(
                    Code::IncorrectValue,
                    format!("Incorrect {name} value: '{text}'"),
                )));
            };
            Ok(Some(if class(column) == Class::Date {
                if micros.rem_euclid(DAY_US) == 0 {
                    DataType::Date32
                } else {
                    datetime(6)
                }
            } else if micros.rem_euclid(SECOND_US) == 0 {
                column.clone()
            } else if micros.rem_euclid(1_000) == 0 {
                types::comparison(column, &datetime(3))
            } else {
                datetime(6)
            }))
        }
        (Class::Int | Class::Unsigned, Some(text)) => {
            let text = text.trim();
            Ok(
                if text.parse::<i64>().is_ok() && class(column) == Class::Int {
                    Some(DataType::Int64)
                } else if text.parse::<u64>().is_ok() && class(column) == Class::Unsigned {
                    Some(DataType::UInt64)
                } else {
                    None
                },
            )
        }
        (Class::Unsigned, None) => match constant {
            ScalarValue::Int64(Some(value)) if *value >= 0 => Ok(Some(DataType::UInt64)),
            _ => Ok(None),
        },
        (Class::Date | Class::DateTime, None) => match constant {
            ScalarValue::Int64(Some(value)) => Ok(super::time::of_number(*value).map(|micros| {
                if class(column) == Class::Date && micros.rem_euclid(DAY_US) == 0 {
                    DataType::Date32
                } else if class(column) == Class::Date {
                    datetime(6)
                } else {
                    column.clone()
                }
            })),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn lower_between(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    Ok(Some(pair(types, args, 0, 1, Operator::GtEq)?.and(pair(
        types,
        args,
        0,
        2,
        Operator::LtEq,
    )?)))
}

fn lower_in(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    // Values are grouped by the type they are compared in: usually there is one.
    let mut groups: Vec<(DataType, Vec<Expr>)> = Vec::new();
    for (at, arg) in args.iter().enumerate().skip(1) {
        let common = common(types, 0, at)?;
        let value = to(arg.clone(), &types.types[at], &common);
        match groups.iter_mut().find(|(own, _)| *own == common) {
            Some((_, values)) => values.push(value),
            None => groups.push((common, vec![value])),
        }
    }
    Ok(groups
        .into_iter()
        .map(|(common, values)| {
            Expr::InList(InList::new(
                Box::new(to(args[0].clone(), &types.types[0], &common)),
                values,
                false,
            ))
        })
        .reduce(Expr::or))
}

fn lower_like(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    let expr = to(args[0].clone(), &types.types[0], &DataType::Utf8);
    let escape = types.text(2).unwrap_or("\\").chars().next();
    types.text(1).map_or(Ok(()), bounded)?;
    let pattern = match (&types.constants[1], types.text(1)) {
        (_, Some(pattern)) => lit(with_backslash(pattern, escape)),
        (Some(_), None) => to(args[1].clone(), &types.types[1], &DataType::Utf8),
        (None, None) => return Ok(None),
    };
    Ok(Some(Expr::Like(Like::new(
        false,
        Box::new(expr),
        Box::new(pattern),
        None,
        false,
    ))))
}

/// A pattern with another escape as one with a backslash, which is Arrow's.
fn with_backslash(pattern: &str, escape: Option<char>) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if Some(c) == escape {
            match rest.next() {
                Some(next @ ('%' | '_' | '\\')) => text.extend(['\\', next]),
                // MySQL's escape makes any character stand for itself.
                Some(next) => text.push(next),
                None if c == '\\' => text.push_str("\\\\"),
                None => text.push(c),
            }
        } else if c == '\\' {
            text.push_str("\\\\");
        } else {
            text.push(c);
        }
    }
    text
}

/// A pattern that is the one of the row before is not compiled again.
fn regexp_like(call: &Call) -> Result<ArrayRef> {
    let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
    let mut compiled: Option<(&str, Regex)> = None;
    let mut matched = BooleanBuilder::with_capacity(call.rows);
    for (row, (text, pattern)) in texts.iter().zip(&patterns).enumerate() {
        if row % PATTERNS_AT_ONCE == 0 {
            call.purse.check()?;
        }
        let (Some(text), Some(pattern)) = (text, pattern) else {
            matched.append_null();
            continue;
        };
        let regex = match &compiled {
            Some((known, regex)) if *known == pattern => regex,
            _ => {
                bounded(pattern)?;
                let regex =
                    Regex::new(pattern).map_err(|fault| wrap(regexp(&fault.to_string())))?;
                &compiled.insert((pattern, regex)).1
            }
        };
        matched.append_value(regex.is_match(text));
    }
    Ok(Arc::new(matched.finish()))
}

fn like_own(call: &Call) -> Result<ArrayRef> {
    let escape = match call.texts(2)?.iter().next() {
        Some(Some(escape)) => escape.chars().next(),
        _ => Some('\\'),
    };
    of_own_patterns(call, |texts, patterns| {
        if escape == Some('\\') {
            return like(texts, patterns);
        }
        let own = patterns.iter();
        let own: StringArray = own
            .map(|one| one.map(|one| with_backslash(one, escape)))
            .collect();
        like(texts, &own)
    })
}

fn bounded(pattern: &str) -> Result<()> {
    if pattern.len() <= PATTERN_BYTES_MAX {
        return Ok(());
    }
    let bytes = pattern.len();
    let message =
        format!("A pattern of LIKE or REGEXP has {bytes} bytes, {PATTERN_BYTES_MAX} at most");
    Err(wrap(SqlError::new(Code::LimitReached, message)))
}

/// Patterns of their own in each row: to compile one may take long.
fn of_own_patterns(
    call: &Call,
    matches: impl Fn(&StringArray, &StringArray) -> std::result::Result<BooleanArray, ArrowError>,
) -> Result<ArrayRef> {
    let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
    let mut parts = Vec::with_capacity(call.rows.div_ceil(PATTERNS_AT_ONCE));
    for at in (0..call.rows).step_by(PATTERNS_AT_ONCE) {
        call.purse.check()?;
        let rows = PATTERNS_AT_ONCE.min(call.rows - at);
        let (texts, patterns) = (texts.slice(at, rows), patterns.slice(at, rows));
        patterns.iter().flatten().try_for_each(bounded)?;
        parts.push(matches(&texts, &patterns)?);
    }
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part as &dyn Array).collect();
    match parts.as_slice() {
        [] => Ok(arrow::array::new_empty_array(&DataType::Boolean)),
        parts => Ok(concat(parts)?),
    }
}

fn widest(types: &Types<'_>) -> Result<DataType> {
    let mut wide = types.types[0].clone();
    for other in &types.types[1..] {
        wide = types::union(&wide, other);
    }
    Ok(if wide == DataType::Boolean {
        DataType::Int64
    } else {
        wide
    })
}

fn extreme(call: &Call, greatest: bool) -> Result<ArrayRef> {
    // Numbers among strings compare as numbers, and the winner is shown as it was.
    let mut compared = call.args[0].data_type().clone();
    for other in &call.args[1..] {
        compared = types::comparison(&compared, other.data_type());
    }
    if compared == DataType::Null {
        return Ok(arrow::array::new_null_array(&call.out, call.rows));
    }
    let converted = |at: usize| -> Result<(ArrayRef, ArrayRef)> {
        let arg = &call.args[at];
        Ok((convert(arg, &compared)?, convert(arg, &call.out)?))
    };
    let (mut best_key, mut best) = converted(0)?;
    let mut known = is_not_null(&best_key)?;
    for at in 1..call.args.len() {
        let (key, value) = converted(at)?;
        known = and(&known, &is_not_null(&key)?)?;
        let better = if greatest {
            gt(&key, &best_key)?
        } else {
            lt(&key, &best_key)?
        };
        best_key = zip(&better, &key, &best_key)?;
        best = zip(&better, &value, &best)?;
    }
    // One NULL makes it NULL.
    Ok(nullif(&best, &not(&known)?)?)
}
