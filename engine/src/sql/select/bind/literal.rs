//! Literals: parameters, variables and constants as the expressions that stand for them.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Query, UnaryOperator, Value as Literal, ValueWithSpan, visit_expressions_mut,
};

use super::build::call;
use crate::sql::error::{Code, SqlError};
use crate::sql::select::functions::time::{civil_text, micros_text};
use crate::sql::value::Value;

/// A `?` that is being described: shown as `?`, of no type.
const PLACEHOLDER: &str = "\u{0}?";

/// Puts the parameters into the tree, in the order of the text.
pub(super) fn fill_parameters(query: &mut Query, params: Option<&[Value]>) -> Result<(), SqlError> {
    let mut used = 0;
    let result = visit_expressions_mut(query, |expr| {
        if let Expr::Value(ValueWithSpan {
            value: Literal::Placeholder(_),
            ..
        }) = expr
        {
            let replaced = match params {
                None => Ok(Expr::Value(
                    Literal::Placeholder(PLACEHOLDER.to_owned()).into(),
                )),
                Some(params) => match params.get(used) {
                    Some(value) => of_value(value),
                    None => Err(wrong_count()),
                },
            };
            used += 1;
            match replaced {
                Ok(replaced) => *expr = replaced,
                Err(fault) => return ControlFlow::Break(fault),
            }
        }
        ControlFlow::Continue(())
    });
    if let ControlFlow::Break(fault) = result {
        return Err(fault);
    }
    match params {
        Some(params) if params.len() != used => Err(wrong_count()),
        _ => Ok(()),
    }
}

/// The text of an expression, in which a `?` that is being described is a `?`.
pub(super) fn as_written(text: String) -> String {
    match text.contains(PLACEHOLDER) {
        true => text.replace(PLACEHOLDER, "?"),
        false => text,
    }
}

/// Whether it is a `?` that is being described.
pub(super) fn is_placeholder_null(value: &ValueWithSpan) -> bool {
    matches!(&value.value, Literal::Placeholder(name) if name == PLACEHOLDER)
}

/// A value as an expression.
pub(super) fn of_value(value: &Value) -> Result<Expr, SqlError> {
    Ok(match value {
        Value::Null => null(),
        Value::Int(value) => signed(*value),
        Value::UInt(value) => unsigned(*value),
        Value::Float(value) => double(f64::from(*value)),
        Value::Double(value) => double(*value),
        Value::Bytes(bytes) => text(std::str::from_utf8(bytes).map_err(|_| {
            SqlError::new(
                Code::WrongValue,
                "Incorrect string value: a parameter's bytes are not UTF-8",
            )
        })?),
        Value::Date {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micros,
            has_time,
        } => {
            let date = civil_text(*year, *month, *day);
            if *has_time {
                let fsp = if *micros == 0 { 0 } else { 6 };
                cast(
                    text(&format!(
                        "{date} {hour:02}:{minute:02}:{second:02}.{micros:06}"
                    )),
                    &format!("datetime({fsp})"),
                )
            } else {
                cast(text(&date), "date")
            }
        }
        Value::Time {
            negative,
            days,
            hours,
            minutes,
            seconds,
            micros,
        } => {
            let sign = if *negative { "-" } else { "" };
            let hours = u64::from(*days) * 24 + u64::from(*hours);
            let fraction = match micros {
                0 => String::new(),
                micros => format!(".{micros:06}"),
            };
            text(&format!(
                "{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"
            ))
        }
    })
}

/// NULL.
pub(super) fn null() -> Expr {
    Expr::Value(Literal::Null.into())
}

/// A string.
pub(super) fn text(value: &str) -> Expr {
    Expr::Value(Literal::SingleQuotedString(value.to_owned()).into())
}

/// A BIGINT.
pub(super) fn signed(value: i64) -> Expr {
    let number = unsigned(value.unsigned_abs());
    if value < 0 {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(number),
        }
    } else {
        number
    }
}

/// A BIGINT UNSIGNED; it is signed where it fits.
pub(super) fn unsigned(value: u64) -> Expr {
    Expr::Value(Literal::Number(value.to_string(), false).into())
}

/// A DOUBLE.
pub(super) fn double(value: f64) -> Expr {
    cast(text(&format!("{value:e}")), "double")
}

/// A DATETIME of µs since 1970.
pub(super) fn datetime(unix_us: i64, fsp: u8) -> Expr {
    cast(
        text(&micros_text(unix_us, fsp)),
        &format!("datetime({fsp})"),
    )
}

/// CAST to a type by its text.
pub(super) fn cast(expr: Expr, sql_type: &str) -> Expr {
    call("cast", vec![expr, text(sql_type)])
}

/// The whole number that an expression is, if it is one that is not negative.
pub(super) fn number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Literal::Number(digits, _),
            ..
        }) => digits.parse().ok(),
        _ => None,
    }
}

fn wrong_count() -> SqlError {
    SqlError::new(
        Code::WrongArguments,
        "Incorrect arguments to EXECUTE: not as many values as the statement has '?'",
    )
}
