//! Conditions and choices: truth, XOR, CASE and its kin, sums' types, CAST.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

use super::convert::{convert, is_plain};
use super::number::summand;
use super::texts::held;
use super::{Call, Function, Types, to};
use crate::sql::error::{Code, SqlError};
use crate::sql::select::fault::{out_of_range, wrap};
use crate::sql::select::types::{self, Class, class, datetime, decimal, union};

/// Conditions and choices.
pub static FUNCTIONS: &[Function] = &[
    Function {
        name: "truth",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Boolean),
        eval: Some(|call| convert(&call.args[0], &DataType::Boolean)),
        lower: Some(lower_truth),
    },
    Function {
        name: "xor",
        least: 2,
        most: 2,
        of: |_| Ok(DataType::Boolean),
        eval: None,
        lower: Some(|_, args| {
            Ok(Some(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(args[0].clone()),
                Operator::NotEq,
                Box::new(args[1].clone()),
            ))))
        }),
    },
    // case(when, then, [when, then, ...] [, else]); `when` is Boolean.
    Function {
        name: "case",
        least: 2,
        most: usize::MAX,
        of: case_type,
        eval: None,
        lower: Some(lower_case),
    },
    Function {
        name: "ifnull",
        least: 2,
        most: 2,
        of: all_type,
        eval: None,
        lower: Some(lower_coalesce),
    },
    Function {
        name: "coalesce",
        least: 1,
        most: usize::MAX,
        of: all_type,
        eval: None,
        lower: Some(lower_coalesce),
    },
    Function {
        name: "nullif",
        least: 2,
        most: 2,
        of: |types| Ok(no_boolean(types.types[0].clone())),
        eval: None,
        lower: Some(|types, args| {
            let own = no_boolean(types.types[0].clone());
            let equal = super::call("=", args.to_vec())?;
            let null = Expr::Literal(ScalarValue::try_from(&own)?, None);
            let otherwise = to(args[0].clone(), &types.types[0], &own);
            lowered(
                vec![(Box::new(equal), Box::new(null))],
                Some(Box::new(otherwise)),
                &own,
            )
            .map(Some)
        }),
    },
    // What DataFusion makes of the branches of a CASE: reserved like what a function makes.
    Function {
        name: "held",
        least: 1,
        most: 1,
        of: |types| Ok(types.types[0].clone()),
        eval: Some(|call| held(&call.purse, &call.args[0])),
        lower: None,
    },
    // What it is given: see `capped`.
    Function {
        name: "same",
        least: 1,
        most: 1,
        of: |types| Ok(types.types[0].clone()),
        eval: Some(|call| Ok(Arc::clone(&call.args[0]))),
        lower: None,
    },
    // What a set operation's branch gives: a Boolean becomes the integer it is.
    Function {
        name: "plain",
        least: 1,
        most: 1,
        of: |types| Ok(no_boolean(types.types[0].clone())),
        eval: Some(|call| convert(&call.args[0], &call.out)),
        lower: None,
    },
    // What SUM adds up: integers as DECIMAL, as MySQL's result is.
    Function {
        name: "summand",
        least: 1,
        most: 1,
        of: |types| Ok(summand(&types.types[0])),
        eval: Some(|call| convert(&call.args[0], &call.out)),
        lower: Some(|types, args| {
            let wide = summand(&types.types[0]);
            Ok((is_plain(&types.types[0], &wide) || types.types[0] == wide)
                .then(|| to(args[0].clone(), &types.types[0], &wide)))
        }),
    },
    // What SUM gave: within 38 digits, or error 1690.
    Function {
        name: "total",
        least: 1,
        most: 1,
        of: |types| {
            Ok(match &types.types[0] {
                DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
                other => other.clone(),
            })
        },
        eval: Some(|call| {
            if *call.args[0].data_type() == call.out {
                if let Some(sums) = call.args[0].as_primitive_opt::<Float64Type>()
                    && sums.iter().flatten().any(f64::is_infinite)
                {
                    return Err(out_of_range("DOUBLE", &call.shown));
                }
                Ok(Arc::clone(&call.args[0]))
            } else {
                convert(&call.args[0], &call.out)
            }
        }),
        lower: Some(|types, args| {
            let bounded = matches!(types.types[0], DataType::Decimal256(..) | DataType::Float64);
            Ok((!bounded).then(|| args[0].clone()))
        }),
    },
    Function {
        name: "cast",
        least: 2,
        most: 2,
        of: cast_type,
        eval: Some(cast),
        lower: Some(|types, args| {
            let wanted = cast_type(types)?;
            let whole = !types.text(1).unwrap_or("").starts_with("char(");
            Ok(
                (whole && (types.types[0] == wanted || is_plain(&types.types[0], &wanted)))
                    .then(|| to(args[0].clone(), &types.types[0], &wanted)),
            )
        }),
    },
    // DATE '...' and TIMESTAMP '...'.
    Function {
        name: "literal_date",
        least: 2,
        most: 2,
        of: |types| {
            let text = types.text(0).unwrap_or("");
            Ok(if types.text(1) == Some("date") {
                DataType::Date32
            } else if text.contains('.') {
                datetime(6)
            } else {
                datetime(0)
            })
        },
        eval: None,
        lower: Some(|types, args| {
            let text = types.text(0).unwrap_or("");
            let wanted = match types.text(1) {
                Some("date") => DataType::Date32,
                _ if text.contains('.') => datetime(6),
                _ => datetime(0),
            };
            if super::time::parse_micros(text).is_none() {
                let kind = types.text(1).unwrap_or("").to_uppercase();
                return Err(wrap(SqlError::new(
                    Code::IncorrectValue,
                    format!("Incorrect {kind} value: '{text}'"),
                )));
            }
            Ok(Some(to(args[0].clone(), &DataType::Utf8, &wanted)))
        }),
    },
];

fn no_boolean(data_type: DataType) -> DataType {
    match data_type {
        DataType::Boolean => DataType::Int64,
        other => other,
    }
}

fn lower_truth(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    let own = &types.types[0];
    Ok(match class(own) {
        _ if *own == DataType::Boolean => Some(args[0].clone()),
        Class::Null => Some(lit(ScalarValue::Boolean(None))),
        Class::Int | Class::Unsigned | Class::Decimal | Class::Double => {
            let zero = to(lit(0i64), &DataType::Int64, own);
            let zero = match zero {
                Expr::Literal(..) => zero,
                _ => return Ok(None),
            };
            Some(args[0].clone().not_eq(zero))
        }
        _ => None,
    })
}

/// The type of CASE's results: those at odd places, and a last one without a WHEN.
fn case_type(types: &Types<'_>) -> Result<DataType> {
    let last = types.types.len() - 1;
    let results = types
        .types
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 2 == 1 || (*at == last && last.is_multiple_of(2)))
        .map(|(_, own)| own);
    Ok(unite(results))
}

fn all_type(types: &Types<'_>) -> Result<DataType> {
    Ok(unite(types.types.iter()))
}

fn unite<'a>(types: impl Iterator<Item = &'a DataType>) -> DataType {
    no_boolean(types.fold(DataType::Null, |wide, own| union(&wide, own)))
}

fn lower_case(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    let wanted = case_type(types)?;
    let result = |at: usize| Box::new(to(args[at].clone(), &types.types[at], &wanted));
    let pairs = args.len() / 2;
    let when_then = (0..pairs)
        .map(|pair| (Box::new(args[pair * 2].clone()), result(pair * 2 + 1)))
        .collect();
    let otherwise = (args.len() % 2 == 1).then(|| result(args.len() - 1));
    lowered(when_then, otherwise, &wanted).map(Some)
}

/// A CASE of DataFusion's; the strings that it gathers are charged for.
fn lowered(
    when_then: Vec<(Box<Expr>, Box<Expr>)>,
    otherwise: Option<Box<Expr>>,
    wanted: &DataType,
) -> Result<Expr> {
    let case = Expr::Case(Case::new(None, when_then, otherwise));
    if *wanted == DataType::Utf8 {
        super::call("held", vec![case])
    } else {
        Ok(case)
    }
}

fn lower_coalesce(types: &Types<'_>, args: &[Expr]) -> Result<Option<Expr>> {
    let wanted = all_type(types)?;
    let last = args.len() - 1;
    let value = |at: usize| Box::new(to(args[at].clone(), &types.types[at], &wanted));
    if last == 0 {
        return Ok(Some(*value(0)));
    }
    let when_then = (0..last)
        .map(|at| (Box::new(args[at].clone().is_not_null()), value(at)))
        .collect();
    lowered(when_then, Some(value(last)), &wanted).map(Some)
}

/// The type that CAST's text names.
fn cast_type(types: &Types<'_>) -> Result<DataType> {
    let text = types.text(1).unwrap_or("");
    let (base, args) = match text.split_once('(') {
        Some((base, args)) => (base, args.trim_end_matches(')')),
        None => (text, ""),
    };
    let numbers: Vec<u16> = args
        .split(',')
        .filter_map(|number| number.trim().parse().ok())
        .collect();
    Ok(match base {
        "signed" => DataType::Int64,
        "unsigned" => DataType::UInt64,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "datetime" => match numbers.first().copied().unwrap_or(0) {
            fsp @ (0 | 3 | 6) => datetime(u8::try_from(fsp).unwrap_or(0)),
            fsp => {
                return Err(wrap(SqlError::not_supported(format!(
                    "DATETIME({fsp}): 0, 3 and 6 digits are"
                ))));
            }
        },
        "decimal" => {
            let precision = numbers.first().copied().unwrap_or(10);
            let scale = numbers.get(1).copied().unwrap_or(0);
            if scale > precision {
                return Err(wrap(SqlError::new(
                    Code::ScaleAbovePrecision,
                    "For float(M,D), double(M,D) or decimal(M,D), M must be >= D (column '').",
                )));
            }
            if precision > u16::from(types::DECIMAL_DIGITS_MAX) {
                return Err(wrap(SqlError::not_supported(format!(
                    "DECIMAL({precision},{scale}): 38 digits are"
                ))));
            }
            decimal(precision, scale)
        }
        _ => DataType::Utf8,
    })
}

fn cast(call: &Call) -> Result<ArrayRef> {
    let array = convert(&call.args[0], &call.out)?;
    let wanted = call.word(1)?;
    let length = wanted
        .strip_prefix("char(")
        .and_then(|rest| rest.trim_end_matches(')').parse::<usize>().ok());
    let Some(length) = length else {
        return Ok(array);
    };
    let texts = array.as_string::<i32>();
    call.texts_of(|row, out| {
        let text = texts.value(row);
        let end = text
            .char_indices()
            .nth(length)
            .map_or(text.len(), |(end, _)| end);
        Ok(texts.is_valid(row) && out.push(&text[..end]).map(|()| true)?)
    })
}
