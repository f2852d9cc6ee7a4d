//! Functions of numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use datafusion::common::Result;

use super::convert::{convert, rescale};
use super::{Call, Function, Types};
use crate::sql::select::fault::out_of_range;
use crate::sql::select::types::{Class, as_number, class, decimal, digits};

/// Digits on either side of the point beyond which ROUND and TRUNCATE keep all, or nothing: more than a DOUBLE has.
const DIGITS_MAX: i64 = 400;

/// Functions of numbers.
pub static FUNCTIONS: &[Function] = &[
    Function {
        name: "abs",
        least: 1,
        most: 1,
        of: |types| Ok(as_number(&types.types[0])),
        eval: Some(abs),
        lower: None,
    },
    Function {
        name: "sign",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Int64),
        eval: Some(|call| {
            Ok(Arc::new(call.doubles(0)?.unary::<_, Int64Type>(|value| {
                i64::from(value > 0.0) - i64::from(value < 0.0)
            })))
        }),
        lower: None,
    },
    Function {
        name: "round",
        least: 1,
        most: 2,
        of: rounded_type,
        eval: Some(|call| round(call, true)),
        lower: None,
    },
    Function {
        name: "truncate",
        least: 2,
        most: 2,
        of: rounded_type,
        eval: Some(|call| round(call, false)),
        lower: None,
    },
    Function {
        name: "floor",
        least: 1,
        most: 1,
        of: whole_type,
        eval: Some(|call| whole(call, f64::floor, |value, unit| value.div_euclid(unit))),
        lower: None,
    },
    Function {
        name: "ceil",
        least: 1,
        most: 1,
        of: whole_type,
        eval: Some(|call| whole(call, f64::ceil, |value, unit| -(-value).div_euclid(unit))),
        lower: None,
    },
    double("sqrt"),
    double("exp"),
    double("ln"),
    double("log2"),
    double("log10"),
    double("sin"),
    double("cos"),
    double("tan"),
    double("radians"),
    double("degrees"),
    Function {
        name: "pow",
        least: 2,
        most: 2,
        of: |_| Ok(DataType::Float64),
        eval: Some(|call| {
            let (base, power) = (call.doubles(0)?, call.doubles(1)?);
            let values: Float64Array = base
                .iter()
                .zip(power.iter())
                .map(|pair| match pair {
                    (Some(base), Some(power)) => finite(base.powf(power), call).map(Some),
                    _ => Ok(None),
                })
                .collect::<Result<_>>()?;
            Ok(Arc::new(values))
        }),
        lower: None,
    },
    Function {
        name: "log",
        least: 1,
        most: 2,
        of: |_| Ok(DataType::Float64),
        eval: Some(|call| {
            let ln = |value: f64| (value > 0.0).then(|| value.ln());
            let first = call.doubles(0)?;
            let values: Float64Array = if call.args.len() == 1 {
                first.iter().map(|value| value.and_then(ln)).collect()
            } else {
                // LOG(base, value).
                first
                    .iter()
                    .zip(call.doubles(1)?.iter())
                    .map(|(base, value)| {
                        let base = ln(base?).filter(|base| *base != 0.0)?;
                        Some(ln(value?)? / base)
                    })
                    .collect()
            };
            Ok(Arc::new(values))
        }),
        lower: None,
    },
    Function {
        name: "pi",
        least: 0,
        most: 0,
        of: |_| Ok(DataType::Float64),
        eval: Some(|call| {
            Ok(Arc::new(Float64Array::from(vec![
                std::f64::consts::PI;
                call.rows
            ])))
        }),
        lower: None,
    },
    Function {
        name: "crc32",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::UInt64),
        eval: Some(|call| {
            let texts = call.texts(0)?;
            let values: arrow::array::UInt64Array = texts
                .iter()
                .map(|text| text.map(|text| u64::from(crc32(text.as_bytes()))))
                .collect();
            Ok(Arc::new(values))
        }),
        lower: None,
    },
];

const fn double(name: &'static str) -> Function {
    Function {
        name,
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Float64),
        eval: Some(double_eval),
        lower: None,
    }
}

fn double_eval(call: &Call) -> Result<ArrayRef> {
    let name = call.name;
    let of: fn(f64) -> Option<f64> = match name {
        "sqrt" => |value| (value >= 0.0).then(|| value.sqrt()),
        "exp" => |value| Some(value.exp()),
        "ln" => |value| (value > 0.0).then(|| value.ln()),
        "log2" => |value| (value > 0.0).then(|| value.log2()),
        "log10" => |value| (value > 0.0).then(|| value.log10()),
        "sin" => |value| Some(value.sin()),
        "cos" => |value| Some(value.cos()),
        "tan" => |value| Some(value.tan()),
        "radians" => |value| Some(value.to_radians()),
        _ => |value| Some(value.to_degrees()),
    };
    let values: Float64Array = call
        .doubles(0)?
        .iter()
        .map(|value| match value.and_then(of) {
            Some(value) => finite(value, call).map(Some),
            None => Ok(None),
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

fn finite(value: f64, call: &Call) -> Result<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(out_of_range("DOUBLE", &call.shown))
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

fn abs(call: &Call) -> Result<ArrayRef> {
    let values = convert(&call.args[0], &call.out)?;
    Ok(match &call.out {
        DataType::Float64 => Arc::new(
            values
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(f64::abs),
        ),
        DataType::Decimal128(precision, scale) => Arc::new(
            values
                .as_primitive::<Decimal128Type>()
                .unary::<_, Decimal128Type>(i128::abs)
                .with_precision_and_scale(*precision, *scale)?,
        ),
        DataType::Int64 => Arc::new(
            values
                .as_primitive::<Int64Type>()
                .try_unary::<_, Int64Type, _>(|value| {
                    value
                        .checked_abs()
                        .ok_or_else(|| out_of_range("BIGINT", &call.shown))
                })?,
        ),
        _ => values,
    })
}

/// The digits ROUND and TRUNCATE keep, where they are constant.
fn kept(types: &Types<'_>) -> Option<i64> {
    if types.types.len() < 2 {
        Some(0)
    } else {
        types.int(1)
    }
}

fn rounded_type(types: &Types<'_>) -> Result<DataType> {
    let number = as_number(&types.types[0]);
    Ok(match class(&number) {
        Class::Decimal => {
            let (precision, scale) = digits(&number);
            let scale = match kept(types) {
                Some(kept) => u8::try_from(kept.clamp(0, i64::from(scale))).unwrap_or(0),
                None => scale,
            };
            let whole = u16::from(precision) - u16::from(digits(&number).1);
            decimal(whole + u16::from(scale) + 1, scale.into())
        }
        _ => number,
    })
}

fn round(call: &Call, half: bool) -> Result<ArrayRef> {
    let kept = if call.args.len() < 2 {
        Int64Array::from(vec![0; call.rows])
    } else {
        // More digits than any number has, on either side.
        let kept: Int64Array = call.ints(1)?;
        kept.unary(|kept| kept.clamp(-DIGITS_MAX, DIGITS_MAX))
    };
    let number = as_number(call.args[0].data_type());
    let values = convert(&call.args[0], &number)?;
    Ok(match &number {
        DataType::Float64 => {
            let values: Float64Array = values
                .as_primitive::<Float64Type>()
                .iter()
                .zip(kept.iter())
                .map(|(value, kept)| {
                    let (value, kept) = (value?, kept?);
                    let power = 10f64.powi(i32::try_from(kept).unwrap_or(0));
                    let scaled = value * power;
                    if kept >= 0 && !scaled.is_finite() {
                        return Some(value);
                    }
                    if power == 0.0 {
                        return Some(0.0);
                    }
                    let scaled = if half {
                        scaled.round_ties_even()
                    } else {
                        scaled.trunc()
                    };
                    Some(scaled / power)
                })
                .collect();
            Arc::new(values)
        }
        DataType::Decimal128(..) => {
            let own = digits(&number).1;
            let (precision, scale) = digits(&call.out);
            let values: arrow::array::Decimal128Array = values
                .as_primitive::<Decimal128Type>()
                .iter()
                .zip(kept.iter())
                .map(|pair| match pair {
                    (Some(value), Some(kept)) => {
                        let cut = cut(value, i64::from(own) - kept.min(i64::from(own)), half);
                        rescale(cut, own, scale)
                            .map(Some)
                            .ok_or_else(|| out_of_range("DECIMAL", &call.shown))
                    }
                    _ => Ok(None),
                })
                .collect::<Result<_>>()?;
            Arc::new(values.with_precision_and_scale(precision, i8::try_from(scale).unwrap_or(0))?)
        }
        DataType::UInt64 => {
            let values: arrow::array::UInt64Array = values
                .as_primitive::<UInt64Type>()
                .iter()
                .zip(kept.iter())
                .map(|(value, kept)| {
                    let cut = cut(i128::from(value?), -kept?.min(0), half);
                    u64::try_from(cut).ok()
                })
                .collect();
            Arc::new(values)
        }
        _ => {
            let values: Int64Array = values
                .as_primitive::<Int64Type>()
                .iter()
                .zip(kept.iter())
                .map(|pair| match pair {
                    (Some(value), Some(kept)) => {
                        let cut = cut(i128::from(value), -kept.min(0), half);
                        i64::try_from(cut)
                            .map(Some)
                            .map_err(|_| out_of_range("BIGINT", &call.shown))
                    }
                    _ => Ok(None),
                })
                .collect::<Result<_>>()?;
            Arc::new(values)
        }
    })
}

/// Makes the last `digits` digits zeros.
fn cut(value: i128, digits: i64, half: bool) -> i128 {
    if digits <= 0 {
        return value;
    }
    let Some(unit) = u32::try_from(digits)
        .ok()
        .and_then(|digits| 10i128.checked_pow(digits))
    else {
        return 0;
    };
    let rest = value % unit;
    let down = value - rest;
    if half && rest.abs() >= unit / 2 {
        down + unit * value.signum()
    } else {
        down
    }
}

fn whole_type(types: &Types<'_>) -> Result<DataType> {
    let number = as_number(&types.types[0]);
    Ok(match class(&number) {
        Class::Decimal => {
            let (precision, scale) = digits(&number);
            if precision - scale < 18 {
                DataType::Int64
            } else {
                decimal(u16::from(precision - scale) + 1, 0)
            }
        }
        _ => number,
    })
}

fn whole(call: &Call, double: fn(f64) -> f64, of: fn(i128, i128) -> i128) -> Result<ArrayRef> {
    let number = as_number(call.args[0].data_type());
    let values = convert(&call.args[0], &number)?;
    Ok(match &number {
        DataType::Float64 => Arc::new(
            values
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(double),
        ),
        DataType::Decimal128(..) => {
            let unit = 10i128.pow(u32::from(digits(&number).1));
            let values = values
                .as_primitive::<Decimal128Type>()
                .unary::<_, Decimal128Type>(|value| of(value, unit))
                .with_precision_and_scale(38, 0)?;
            convert(&(Arc::new(values) as ArrayRef), &call.out)?
        }
        _ => values,
    })
}
