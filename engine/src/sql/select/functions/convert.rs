//! Conversions between types, as MySQL makes them where an operator or CAST asks for one.
//!
//! Strings give the number they begin with, decimals round half away from zero, doubles to the even
//! neighbour, what lies beyond a type's range is clamped (only arithmetic makes an error of it).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    PrimitiveArray, StringArray, UInt64Array, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float64Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
    UInt64Type,
};
use datafusion::common::{DataFusionError, Result};

use super::time::{
    DAY_US, SECOND_US, days_number, days_text, micros_number, micros_text, of_number, parse_micros,
};
use crate::sql::select::types::{Class, class, fraction_digits};

/// Converts an array.
///
/// # Errors
/// Arrow's, which a type of [`crate::sql::select::types`] does not give.
pub fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    if *from == DataType::Null {
        return Ok(new_null_array(to, array.len()));
    }
    match from {
        DataType::Utf8View | DataType::LargeUtf8 => {
            let plain = cast(array, &DataType::Utf8)?;
            return convert(&plain, to);
        }
        DataType::Decimal256(_, scale) => return convert(&narrow(array, *scale)?, to),
        _ => {}
    }
    Ok(match to {
        DataType::Boolean => Arc::new(truth(array)?),
        DataType::Int64 => Arc::new(int64(array)?),
        DataType::UInt64 => Arc::new(uint64(array)?),
        DataType::Float64 => Arc::new(float64(array)?),
        DataType::Decimal128(precision, scale) => Arc::new(decimal(array, *precision, *scale)?),
        DataType::Utf8 => Arc::new(utf8(array)?),
        DataType::Date32 => {
            let micros = micros(array)?;
            Arc::new(micros.unary::<_, Date32Type>(|micros| {
                i32::try_from(micros.div_euclid(DAY_US)).unwrap_or(0)
            }))
        }
        DataType::Timestamp(unit, None) => timestamp(&micros(array)?, *unit),
        _ => cast(array, to)?,
    })
}

/// A decimal's digits, unscaled, and its scale: DECIMALs and integers alone.
pub fn unscaled(array: &ArrayRef) -> Result<(Decimal128Array, u8)> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => Ok((
            array.as_primitive::<Decimal128Type>().clone(),
            u8::try_from(*scale).unwrap_or(0),
        )),
        DataType::UInt64 => Ok((
            array
                .as_primitive::<UInt64Type>()
                .unary::<_, Decimal128Type>(i128::from),
            0,
        )),
        _ => Ok((int64(array)?.unary::<_, Decimal128Type>(i128::from), 0)),
    }
}

/// As BIGINT; a BIGINT UNSIGNED keeps its bits.
pub fn int64(array: &ArrayRef) -> Result<Int64Array> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::UInt64 => array
            .as_primitive::<UInt64Type>()
            .unary::<_, Int64Type>(u64::cast_signed),
        DataType::Float32 | DataType::Float64 => {
            // `as` clamps, as MySQL does.
            float64(array)?.unary::<_, Int64Type>(|value| value.round_ties_even() as i64)
        }
        DataType::Decimal128(_, scale) => {
            let scale = u8::try_from(*scale).unwrap_or(0);
            array
                .as_primitive::<Decimal128Type>()
                .unary::<_, Int64Type>(|value| clamp_i64(rescale(value, scale, 0).unwrap_or(0)))
        }
        DataType::Utf8 => collect(array.as_string::<i32>().iter(), |text| {
            Some(clamp_i64(integer_prefix(text)))
        }),
        DataType::Date32 => array
            .as_primitive::<Date32Type>()
            .unary::<_, Int64Type>(|days| days_number(days.into())),
        DataType::Timestamp(..) => {
            // A fraction rounds to the second.
            micros(array)?
                .unary::<_, Int64Type>(|micros| micros_number(micros.saturating_add(SECOND_US / 2)))
        }
        _ => cast(array, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone(),
    })
}

/// As BIGINT UNSIGNED; what is negative keeps its bits.
pub fn uint64(array: &ArrayRef) -> Result<UInt64Array> {
    Ok(match array.data_type() {
        DataType::UInt64 => array.as_primitive::<UInt64Type>().clone(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => cast(array, &DataType::UInt64)?
            .as_primitive::<UInt64Type>()
            .clone(),
        DataType::Float32 | DataType::Float64 => float64(array)?.unary::<_, UInt64Type>(|value| {
            let value = value.round_ties_even();
            if value < 0.0 {
                (value as i64).cast_unsigned()
            } else {
                value as u64
            }
        }),
        DataType::Decimal128(_, scale) => {
            let scale = u8::try_from(*scale).unwrap_or(0);
            array
                .as_primitive::<Decimal128Type>()
                .unary::<_, UInt64Type>(|value| clamp_u64(rescale(value, scale, 0).unwrap_or(0)))
        }
        DataType::Utf8 => collect(array.as_string::<i32>().iter(), |text| {
            Some(clamp_u64(integer_prefix(text)))
        }),
        _ => int64(array)?.unary::<_, UInt64Type>(i64::cast_unsigned),
    })
}

/// As DOUBLE.
pub fn float64(array: &ArrayRef) -> Result<Float64Array> {
    Ok(match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().clone(),
        DataType::Utf8 => collect(array.as_string::<i32>().iter(), |text| {
            Some(double_prefix(text))
        }),
        DataType::Decimal128(_, scale) => {
            let scale = i32::from(*scale);
            array
                .as_primitive::<Decimal128Type>()
                .unary::<_, Float64Type>(|value| value as f64 / 10f64.powi(scale))
        }
        DataType::Date32 => int64(array)?.unary::<_, Float64Type>(|value| value as f64),
        DataType::Timestamp(..) => micros(array)?.unary::<_, Float64Type>(|micros| {
            micros_number(micros) as f64 + micros.rem_euclid(SECOND_US) as f64 / 1e6
        }),
        DataType::Boolean => int64(array)?.unary::<_, Float64Type>(|value| value as f64),
        _ => cast(array, &DataType::Float64)?
            .as_primitive::<Float64Type>()
            .clone(),
    })
}

/// As DECIMAL(precision, scale), rounded and clamped.
pub fn decimal(array: &ArrayRef, precision: u8, scale: i8) -> Result<Decimal128Array> {
    let digits = u8::try_from(scale).unwrap_or(0);
    let most = 10i128.pow(u32::from(precision)) - 1;
    let fit = |value: Option<i128>, negative: bool| {
        value
            .unwrap_or(if negative { -most } else { most })
            .clamp(-most, most)
    };
    let values: Decimal128Array = match array.data_type() {
        DataType::Float32 | DataType::Float64 => {
            float64(array)?.unary::<_, Decimal128Type>(|value| {
                let shown = format!("{value:.*}", usize::from(digits));
                fit(decimal_prefix(&shown, digits), value < 0.0)
            })
        }
        DataType::Utf8 => collect::<Decimal128Type, _>(array.as_string::<i32>().iter(), |text| {
            let text = text.trim_start();
            Some(fit(decimal_prefix(text, digits), text.starts_with('-')))
        }),
        DataType::Timestamp(..) => micros(array)?.unary::<_, Decimal128Type>(|micros| {
            let value = i128::from(micros_number(micros)) * i128::from(SECOND_US)
                + i128::from(micros.rem_euclid(SECOND_US));
            fit(rescale(value, 6, digits), false)
        }),
        _ => {
            let (values, from) = unscaled(array)?;
            values.unary::<_, Decimal128Type>(|value| fit(rescale(value, from, digits), value < 0))
        }
    };
    Ok(values.with_precision_and_scale(precision, scale)?)
}

/// As a string.
pub fn utf8(array: &ArrayRef) -> Result<StringArray> {
    let shown =
        |values: &mut dyn Iterator<Item = Option<String>>| -> StringArray { values.collect() };
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().clone(),
        DataType::Boolean => shown(
            &mut array
                .as_boolean()
                .iter()
                .map(|value| value.map(|value| u8::from(value).to_string())),
        ),
        DataType::Float32 => shown(
            &mut array
                .as_primitive::<arrow::datatypes::Float32Type>()
                .iter()
                .map(|value| value.map(float_text)),
        ),
        DataType::Float64 => shown(
            &mut array
                .as_primitive::<Float64Type>()
                .iter()
                .map(|value| value.map(double_text)),
        ),
        DataType::Date32 => shown(
            &mut array
                .as_primitive::<Date32Type>()
                .iter()
                .map(|days| days.map(|days| days_text(days.into()))),
        ),
        DataType::Timestamp(unit, _) => {
            let fsp = fraction_digits(*unit);
            shown(
                &mut micros(array)?
                    .iter()
                    .map(|micros| micros.map(|micros| micros_text(micros, fsp))),
            )
        }
        _ => cast(array, &DataType::Utf8)?.as_string::<i32>().clone(),
    })
}

/// As µs since 1970; what is no date is NULL.
pub fn micros(array: &ArrayRef) -> Result<Int64Array> {
    Ok(match array.data_type() {
        DataType::Date32 => array
            .as_primitive::<Date32Type>()
            .unary::<_, Int64Type>(|days| i64::from(days) * DAY_US),
        DataType::Timestamp(TimeUnit::Second, _) => {
            array
                .as_primitive::<TimestampSecondType>()
                .unary::<_, Int64Type>(|value| value.saturating_mul(SECOND_US))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .unary::<_, Int64Type>(|value| value.saturating_mul(1_000)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .unary::<_, Int64Type>(|value| value),
        DataType::Utf8 => collect(array.as_string::<i32>().iter(), parse_micros),
        _ => collect(int64(array)?.iter(), of_number),
    })
}

/// Whether it is not 0.
pub fn truth(array: &ArrayRef) -> Result<BooleanArray> {
    Ok(match array.data_type() {
        DataType::Boolean => array.as_boolean().clone(),
        DataType::Decimal128(..) => {
            BooleanArray::from_unary(array.as_primitive::<Decimal128Type>(), |value| value != 0)
        }
        DataType::Float32 | DataType::Float64 | DataType::Utf8 => {
            BooleanArray::from_unary(&float64(array)?, |value| value != 0.0)
        }
        DataType::UInt64 => {
            BooleanArray::from_unary(array.as_primitive::<UInt64Type>(), |value| value != 0)
        }
        _ => BooleanArray::from_unary(&int64(array)?, |value| value != 0),
    })
}

/// µs to DATETIME's unit, rounded.
pub fn timestamp(micros: &Int64Array, unit: TimeUnit) -> ArrayRef {
    let round = |micros: i64, of: i64| micros.saturating_add(of / 2).div_euclid(of);
    match unit {
        TimeUnit::Second => {
            Arc::new(micros.unary::<_, TimestampSecondType>(|micros| round(micros, SECOND_US)))
        }
        TimeUnit::Millisecond => {
            Arc::new(micros.unary::<_, TimestampMillisecondType>(|micros| round(micros, 1_000)))
        }
        TimeUnit::Microsecond | TimeUnit::Nanosecond => {
            Arc::new(micros.unary::<_, TimestampMicrosecondType>(|micros| micros))
        }
    }
}

fn narrow(array: &ArrayRef, scale: i8) -> Result<ArrayRef> {
    let most = 10i128.pow(38) - 1;
    let values = array.as_primitive::<Decimal256Type>();
    let narrowed: Decimal128Array = values
        .iter()
        .map(|value| match value {
            None => Ok(None),
            Some(value) => match value.to_i128() {
                Some(value) if (-most..=most).contains(&value) => Ok(Some(value)),
                _ => Err(crate::sql::select::fault::out_of_range("DECIMAL", "sum")),
            },
        })
        .collect::<Result<_, DataFusionError>>()?;
    Ok(Arc::new(narrowed.with_precision_and_scale(38, scale)?))
}

fn collect<T: ArrowPrimitiveType, V>(
    values: impl Iterator<Item = Option<V>>,
    of: impl Fn(V) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    values.map(|value| value.and_then(&of)).collect()
}

/// Moves the point, rounding half away from zero; `None` beyond i128.
#[must_use]
pub fn rescale(value: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        value.checked_mul(10i128.checked_pow(u32::from(to - from))?)
    } else {
        let unit = 10i128.checked_pow(u32::from(from - to))?;
        let half = unit / 2;
        let (quotient, rest) = (value / unit, value % unit);
        Some(if rest.abs() >= half {
            quotient + value.signum()
        } else {
            quotient
        })
    }
}

fn clamp_i64(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn clamp_u64(value: i128) -> u64 {
    if value < 0 {
        clamp_i64(value).cast_unsigned()
    } else {
        u64::try_from(value).unwrap_or(u64::MAX)
    }
}

/// The whole number a text begins with; 0 where it begins with none.
#[must_use]
pub fn integer_prefix(text: &str) -> i128 {
    let text = text.trim_start();
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return 0;
    }
    let mut value: i128 = 0;
    for byte in unsigned.bytes().take_while(u8::is_ascii_digit) {
        value = value
            .saturating_mul(10)
            .saturating_add(i128::from(byte - b'0'));
    }
    if text.starts_with('-') { -value } else { value }
}

/// The length of the number a text begins with: sign, digits, point, digits, exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes[from.min(bytes.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    at
}

/// The double a text begins with; 0 where it begins with none.
#[must_use]
pub fn double_prefix(text: &str) -> f64 {
    let text = text.trim_start();
    let value: f64 = text[..number_length(text)].parse().unwrap_or(0.0);
    value.clamp(f64::MIN, f64::MAX)
}

/// The decimal a text begins with, unscaled at `scale` and rounded; `None` beyond i128.
#[must_use]
pub fn decimal_prefix(text: &str, scale: u8) -> Option<i128> {
    let text = text.trim_start();
    let number = &text[..number_length(text)];
    if number.contains(['e', 'E']) {
        let value: f64 = number.parse().ok()?;
        let shown = format!("{value:.*}", usize::from(scale));
        return if shown.contains(['e', 'i', 'N']) {
            None
        } else {
            decimal_prefix(&shown, scale)
        };
    }
    let negative = number.starts_with('-');
    let unsigned = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut value: i128 = 0;
    let digit = |value: i128, byte: u8| value.checked_mul(10)?.checked_add(i128::from(byte - b'0'));
    for byte in whole.bytes() {
        value = digit(value, byte)?;
    }
    let mut fraction = fraction.bytes();
    for _ in 0..scale {
        value = digit(value, fraction.next().unwrap_or(b'0'))?;
    }
    if fraction.next().is_some_and(|byte| byte >= b'5') {
        value = value.checked_add(1)?;
    }
    Some(if negative { -value } else { value })
}

/// DOUBLE's text: the shortest that reads back, with an exponent outside of 1e-15 to 1e15.
#[must_use]
pub fn double_text(value: f64) -> String {
    scientific(&format!("{value:e}"))
}

/// FLOAT's text: six digits.
#[must_use]
pub fn float_text(value: f32) -> String {
    scientific(&format!("{:e}", round_digits(value, 5)))
}

fn round_digits(value: f32, behind: usize) -> f64 {
    format!("{value:.behind$e}")
        .parse()
        .unwrap_or(f64::from(value))
}

fn scientific(shown: &str) -> String {
    let Some((mantissa, exponent)) = shown.split_once('e') else {
        return shown.to_owned();
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let negative = mantissa.starts_with('-');
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if digits.chars().all(|digit| digit == '0') {
        return if negative {
            "-0".to_owned()
        } else {
            "0".to_owned()
        };
    }
    let point = exponent + 1;
    if !(-14..=15).contains(&point) {
        return format!("{mantissa}e{exponent}");
    }
    let sign = if negative { "-" } else { "" };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let shift = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    if point <= 0 {
        format!("{sign}0.{}{digits}", shift(-point))
    } else if count <= point {
        format!("{sign}{digits}{}", shift(point - count))
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    }
}

/// Whether Arrow's own cast agrees with MySQL's conversion.
#[must_use]
pub fn is_plain(from: &DataType, to: &DataType) -> bool {
    let integer = |data_type: &DataType| data_type.is_integer();
    match (from, to) {
        (DataType::Null, _) => true,
        (DataType::Boolean, DataType::Int64) => true,
        (_, DataType::Int64) => integer(from) && *from != DataType::UInt64,
        (_, DataType::UInt64) => from.is_unsigned_integer(),
        (_, DataType::Float64) => integer(from) || *from == DataType::Float32,
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (_, DataType::Decimal128(precision, scale)) => {
            integer(from)
                && i16::from(*precision) - i16::from(*scale)
                    >= i16::from(crate::sql::select::types::digits(from).0)
        }
        (_, DataType::Decimal256(..)) => matches!(from, DataType::Decimal128(..)),
        (DataType::Date32, DataType::Timestamp(..)) => true,
        (DataType::Timestamp(from, _), DataType::Timestamp(to, _)) => {
            fraction_digits(*to) >= fraction_digits(*from)
        }
        (_, DataType::Utf8) => integer(from) || matches!(class(from), Class::Decimal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_mysql_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (1.25e17, "1.25e17"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-5, "0.00001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
        ] {
            assert_eq!(double_text(value), expected);
        }
    }

    #[test]
    fn a_text_gives_the_number_it_begins_with() {
        assert_eq!(double_prefix(" 12.5abc"), 12.5);
        assert_eq!(double_prefix("1e3x"), 1000.0);
        assert_eq!(double_prefix("e3"), 0.0);
        assert_eq!(double_prefix("-.5"), -0.5);
        assert_eq!(decimal_prefix("1.005", 2), Some(101));
        assert_eq!(decimal_prefix("-1.004", 2), Some(-100));
        assert_eq!(integer_prefix("-12.9"), -12);
        assert_eq!(rescale(-25, 1, 0), Some(-3));
    }
}
