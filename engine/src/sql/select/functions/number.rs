//! Arithmetic: `+ - * / DIV %`, negation and bits. Beyond its type a result is error 1690; a division
//! by zero is NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, PrimitiveArray,
    UInt64Array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type, i256,
};
use datafusion::common::Result;

use super::convert::{convert, rescale, unscaled};
use super::{Call, Function, Types};
use crate::sql::select::fault::out_of_range;
use crate::sql::select::types::{Class, arithmetic, as_number, class, decimal, digits};

/// Arithmetic.
pub static FUNCTIONS: &[Function] = &[
    binary("+", |call| eval(call, '+')),
    binary("-", |call| eval(call, '-')),
    binary("*", |call| eval(call, '*')),
    binary("/", |call| eval(call, '/')),
    binary("div", |call| eval(call, 'd')),
    binary("%", |call| eval(call, '%')),
    bits("|", |call| bit(call, |left, right| left | right)),
    bits("&", |call| bit(call, |left, right| left & right)),
    bits("^", |call| bit(call, |left, right| left ^ right)),
    bits("<<", |call| {
        bit(call, |left, right| {
            u32::try_from(right).map_or(0, |by| left.checked_shl(by).unwrap_or(0))
        })
    }),
    bits(">>", |call| {
        bit(call, |left, right| {
            u32::try_from(right).map_or(0, |by| left.checked_shr(by).unwrap_or(0))
        })
    }),
    Function {
        name: "~",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::UInt64),
        eval: Some(|call| {
            let values = convert(&call.args[0], &DataType::UInt64)?;
            Ok(Arc::new(
                values
                    .as_primitive::<UInt64Type>()
                    .unary::<_, UInt64Type>(|value| !value),
            ))
        }),
        lower: None,
    },
    Function {
        name: "bit_count",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Int64),
        eval: Some(|call| {
            let values = convert(&call.args[0], &DataType::UInt64)?;
            Ok(Arc::new(
                values
                    .as_primitive::<UInt64Type>()
                    .unary::<_, Int64Type>(|value| i64::from(value.count_ones())),
            ))
        }),
        lower: None,
    },
    Function {
        name: "neg",
        least: 1,
        most: 1,
        of: |types| {
            Ok(match as_number(&types.types[0]) {
                DataType::UInt64 => DataType::Int64,
                other => other,
            })
        },
        eval: Some(negate),
        lower: None,
    },
];

const fn binary(name: &'static str, eval: fn(&Call) -> Result<ArrayRef>) -> Function {
    Function {
        name,
        least: 2,
        most: 2,
        of: result,
        eval: Some(eval),
        lower: None,
    }
}

const fn bits(name: &'static str, eval: fn(&Call) -> Result<ArrayRef>) -> Function {
    Function {
        name,
        least: 2,
        most: 2,
        of: |_| Ok(DataType::UInt64),
        eval: Some(eval),
        lower: None,
    }
}

fn result(types: &Types<'_>) -> Result<DataType> {
    let op = if types.name == "div" {
        'd'
    } else {
        types.name.chars().next().unwrap_or('+')
    };
    Ok(arithmetic(op, &types.types[0], &types.types[1]))
}

fn bit(call: &Call, of: impl Fn(u64, u64) -> u64) -> Result<ArrayRef> {
    let left = convert(&call.args[0], &DataType::UInt64)?;
    let right = convert(&call.args[1], &DataType::UInt64)?;
    Ok(Arc::new(zip::<UInt64Type, UInt64Type, UInt64Type>(
        left.as_primitive(),
        right.as_primitive(),
        |left, right| Ok(Some(of(left, right))),
    )?))
}

fn zip<A: ArrowPrimitiveType, B: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    left: &PrimitiveArray<A>,
    right: &PrimitiveArray<B>,
    of: impl Fn(A::Native, B::Native) -> Result<Option<T::Native>>,
) -> Result<PrimitiveArray<T>> {
    left.iter()
        .zip(right.iter())
        .map(|pair| match pair {
            (Some(left), Some(right)) => of(left, right),
            _ => Ok(None),
        })
        .collect()
}

fn eval(call: &Call, op: char) -> Result<ArrayRef> {
    let (left, right) = (&call.args[0], &call.args[1]);
    let (left_type, right_type) = (as_number(left.data_type()), as_number(right.data_type()));
    let any = |wanted: Class| class(&left_type) == wanted || class(&right_type) == wanted;
    if any(Class::Double) {
        return doubles(call, op);
    }
    if op == '/' || any(Class::Decimal) {
        return decimals(call, op, &left_type, &right_type);
    }
    match call.out {
        DataType::UInt64 => unsigned(call, op),
        _ if !any(Class::Unsigned) => signed(call, op),
        _ => mixed(call, op),
    }
}

fn signed(call: &Call, op: char) -> Result<ArrayRef> {
    let left = convert(&call.args[0], &DataType::Int64)?;
    let right = convert(&call.args[1], &DataType::Int64)?;
    let overflow = || out_of_range("BIGINT", &call.shown);
    let of = |left: i64, right: i64| -> Result<Option<i64>> {
        Ok(match op {
            '+' => Some(left.checked_add(right).ok_or_else(overflow)?),
            '-' => Some(left.checked_sub(right).ok_or_else(overflow)?),
            '*' => Some(left.checked_mul(right).ok_or_else(overflow)?),
            _ if right == 0 => None,
            'd' => Some(left.checked_div(right).ok_or_else(overflow)?),
            _ => Some(left.wrapping_rem(right)),
        })
    };
    Ok(Arc::new(zip::<Int64Type, Int64Type, Int64Type>(
        left.as_primitive(),
        right.as_primitive(),
        of,
    )?))
}

/// Integers of which one is unsigned: in i128, where none overflows but a product's square.
fn unsigned(call: &Call, op: char) -> Result<ArrayRef> {
    let values = integers(call, op)?;
    let values: UInt64Array = values
        .iter()
        .map(|value| {
            value
                .map(|value| {
                    u64::try_from(value).map_err(|_| out_of_range("BIGINT UNSIGNED", &call.shown))
                })
                .transpose()
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

fn mixed(call: &Call, op: char) -> Result<ArrayRef> {
    let values = integers(call, op)?;
    let values: Int64Array = values
        .iter()
        .map(|value| {
            value
                .map(|value| i64::try_from(value).map_err(|_| out_of_range("BIGINT", &call.shown)))
                .transpose()
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

fn integers(call: &Call, op: char) -> Result<Decimal128Array> {
    let (left, _) = unscaled(&call.args[0])?;
    let (right, _) = unscaled(&call.args[1])?;
    zip::<Decimal128Type, Decimal128Type, Decimal128Type>(&left, &right, |left, right| {
        Ok(match op {
            '+' => Some(left + right),
            '-' => Some(left - right),
            // Two of 65 bits at most: beyond i128 it is beyond u64 too.
            '*' => Some(left.checked_mul(right).unwrap_or(i128::MAX)),
            _ if right == 0 => None,
            'd' => Some(left / right),
            _ => Some(left % right),
        })
    })
}

fn doubles(call: &Call, op: char) -> Result<ArrayRef> {
    let (left, right) = (call.doubles(0)?, call.doubles(1)?);
    let overflow = || out_of_range("DOUBLE", &call.shown);
    let of = |left: f64, right: f64| -> Result<Option<f64>> {
        let value = match op {
            '+' => left + right,
            '-' => left - right,
            '*' => left * right,
            _ if right == 0.0 => return Ok(None),
            '/' => left / right,
            'd' => (left / right).trunc(),
            _ => left % right,
        };
        if value.is_finite() {
            Ok(Some(value))
        } else {
            Err(overflow())
        }
    };
    let values: Float64Array = zip::<Float64Type, Float64Type, Float64Type>(&left, &right, of)?;
    if call.out == DataType::Int64 {
        let most = i64::MAX as f64;
        let whole: Int64Array = values
            .iter()
            .map(|value| match value {
                Some(value) if value.abs() < most => Ok(Some(value as i64)),
                Some(_) => Err(out_of_range("BIGINT", &call.shown)),
                None => Ok(None),
            })
            .collect::<Result<_>>()?;
        return Ok(Arc::new(whole));
    }
    Ok(Arc::new(values))
}

fn decimals(
    call: &Call,
    op: char,
    left_type: &DataType,
    right_type: &DataType,
) -> Result<ArrayRef> {
    let side = |at: usize, number: &DataType| -> Result<(Decimal128Array, u8)> {
        let array = &call.args[at];
        match class(array.data_type()) {
            Class::Null | Class::Date | Class::DateTime | Class::Text => {
                unscaled(&convert(array, number)?)
            }
            _ if *array.data_type() == DataType::Boolean => {
                unscaled(&convert(array, &DataType::Int64)?)
            }
            _ => unscaled(array),
        }
    };
    let (left, left_scale) = side(0, left_type)?;
    let (right, right_scale) = side(1, right_type)?;
    let (out_precision, out_scale) = match &call.out {
        DataType::Decimal128(precision, scale) => (*precision, u8::try_from(*scale).unwrap_or(0)),
        _ => (38, 0),
    };
    let shown = if matches!(call.out, DataType::Decimal128(..)) {
        "DECIMAL"
    } else {
        "BIGINT"
    };
    let overflow = || out_of_range(shown, &call.shown);
    let most = 10i128.pow(38) - 1;
    let common = left_scale.max(right_scale);
    let of = |left: i128, right: i128| -> Result<Option<i128>> {
        let aligned = || -> Option<(i128, i128)> {
            Some((
                rescale(left, left_scale, common)?,
                rescale(right, right_scale, common)?,
            ))
        };
        let value = match op {
            '+' | '-' => aligned().and_then(|(left, right)| {
                let sum = if op == '+' {
                    left.checked_add(right)?
                } else {
                    left.checked_sub(right)?
                };
                rescale(sum, common, out_scale)
            }),
            '*' => multiply(left, right, left_scale + right_scale, out_scale),
            _ if right == 0 => return Ok(None),
            '/' => divide(left, left_scale, right, right_scale, out_scale),
            'd' => aligned().map(|(left, right)| left / right),
            _ => aligned().and_then(|(left, right)| rescale(left % right, common, out_scale)),
        };
        match value {
            Some(value) if (-most..=most).contains(&value) => Ok(Some(value)),
            _ => Err(overflow()),
        }
    };
    let values = zip::<Decimal128Type, Decimal128Type, Decimal128Type>(&left, &right, of)?;
    match call.out {
        DataType::Int64 => mixed_of(&values, &overflow, i64::try_from)
            .map(|v: Int64Array| -> ArrayRef { Arc::new(v) }),
        DataType::UInt64 => mixed_of(&values, &overflow, u64::try_from)
            .map(|v: UInt64Array| -> ArrayRef { Arc::new(v) }),
        _ => Ok(Arc::new(values.with_precision_and_scale(
            out_precision,
            i8::try_from(out_scale).unwrap_or(0),
        )?)),
    }
}

fn mixed_of<T: ArrowPrimitiveType, E>(
    values: &Decimal128Array,
    overflow: &impl Fn() -> datafusion::common::DataFusionError,
    of: impl Fn(i128) -> std::result::Result<T::Native, E>,
) -> Result<PrimitiveArray<T>> {
    values
        .iter()
        .map(|value| {
            value
                .map(|value| of(value).map_err(|_| overflow()))
                .transpose()
        })
        .collect()
}

fn multiply(left: i128, right: i128, scale: u8, out_scale: u8) -> Option<i128> {
    match left.checked_mul(right) {
        Some(product) => rescale(product, scale, out_scale),
        None => {
            let product = i256::from_i128(left).checked_mul(i256::from_i128(right))?;
            let unit =
                i256::from_i128(10i128.checked_pow(u32::from(scale.checked_sub(out_scale)?))?);
            rounded(product, unit)
        }
    }
}

/// `left / right` to `out_scale` digits, rounding half away from zero.
fn divide(left: i128, left_scale: u8, right: i128, right_scale: u8, out_scale: u8) -> Option<i128> {
    let by = i32::from(out_scale) + i32::from(right_scale) - i32::from(left_scale);
    let ten = |power: i32| -> Option<i256> {
        let mut value = i256::ONE;
        for _ in 0..power {
            value = value.checked_mul(i256::from_i128(10))?;
        }
        Some(value)
    };
    let (left, right) = (i256::from_i128(left), i256::from_i128(right));
    if by >= 0 {
        rounded(left.checked_mul(ten(by)?)?, right)
    } else {
        rounded(left, right.checked_mul(ten(-by)?)?)
    }
}

fn rounded(left: i256, right: i256) -> Option<i128> {
    let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
    let twice = rest.checked_abs()?.checked_mul(i256::from_i128(2))?;
    let quotient = if twice >= right.checked_abs()? {
        let negative = left.is_negative() != right.is_negative();
        let one = if negative { i256::MINUS_ONE } else { i256::ONE };
        quotient.checked_add(one)?
    } else {
        quotient
    };
    quotient.to_i128()
}

fn negate(call: &Call) -> Result<ArrayRef> {
    let number = as_number(call.args[0].data_type());
    Ok(match &number {
        DataType::Float64 => Arc::new(call.doubles(0)?.unary::<_, Float64Type>(|value| -value)),
        DataType::Decimal128(..) => {
            let (precision, scale) = digits(&number);
            let values = convert(&call.args[0], &number)?;
            Arc::new(
                values
                    .as_primitive::<Decimal128Type>()
                    .unary::<_, Decimal128Type>(|value| -value)
                    .with_precision_and_scale(precision, i8::try_from(scale).unwrap_or(0))?,
            )
        }
        _ => {
            let values = match number {
                DataType::UInt64 => unscaled(&call.args[0])?.0,
                _ => unscaled(&convert(&call.args[0], &DataType::Int64)?)?.0,
            };
            let values: Int64Array = values
                .iter()
                .map(|value| {
                    value
                        .map(|value| {
                            i64::try_from(-value).map_err(|_| out_of_range("BIGINT", &call.shown))
                        })
                        .transpose()
                })
                .collect::<Result<_>>()?;
            Arc::new(values)
        }
    })
}

/// DECIMAL's type for a sum of it: as many digits as there are.
#[must_use]
pub fn summand(of: &DataType) -> DataType {
    match as_number(of) {
        DataType::Float64 => DataType::Float64,
        DataType::Decimal128(precision, scale) if precision > 28 => DataType::Decimal256(60, scale),
        DataType::Decimal128(precision, scale) => DataType::Decimal128(precision, scale),
        _ => decimal(22, 0),
    }
}
