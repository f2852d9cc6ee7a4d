//! Dates and INTERVALs: adding them and counting them between two dates.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::convert::timestamp;
use super::date::days_array;
use super::time::{Civil, DAY_US, SECOND_US, add_months};
use super::{Call, Types};
use crate::sql::error::SqlError;
use crate::sql::select::fault::wrap;
use crate::sql::select::types::{Class, class, datetime};

/// A unit of INTERVAL: months, µs, or both parts of a composite one.
enum Unit {
    Months(i64),
    Micros(i64),
    /// The factors of `a:b...`, the last one's digits.
    Parts(&'static [i64]),
}

const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;

fn unit_of(name: &str) -> Option<Unit> {
    Some(match name {
        "microsecond" => Unit::Micros(1),
        "second" => Unit::Micros(SECOND_US),
        "minute" => Unit::Micros(MINUTE_US),
        "hour" => Unit::Micros(HOUR_US),
        "day" => Unit::Micros(DAY_US),
        "week" => Unit::Micros(7 * DAY_US),
        "month" => Unit::Months(1),
        "quarter" => Unit::Months(3),
        "year" => Unit::Months(12),
        "minute_second" => Unit::Parts(&[MINUTE_US, SECOND_US]),
        "hour_minute" => Unit::Parts(&[HOUR_US, MINUTE_US]),
        "hour_second" => Unit::Parts(&[HOUR_US, MINUTE_US, SECOND_US]),
        "day_hour" => Unit::Parts(&[DAY_US, HOUR_US]),
        "day_minute" => Unit::Parts(&[DAY_US, HOUR_US, MINUTE_US]),
        "day_second" => Unit::Parts(&[DAY_US, HOUR_US, MINUTE_US, SECOND_US]),
        _ => return None,
    })
}

pub(super) fn unit_unknown(unit: &str) -> datafusion::common::DataFusionError {
    wrap(SqlError::not_supported(format!("INTERVAL unit {unit}")))
}

pub(super) fn added_type(types: &Types<'_>) -> Result<DataType> {
    let name = types.text(2).unwrap_or("");
    let unit = unit_of(name).ok_or_else(|| unit_unknown(name))?;
    let whole_days = match unit {
        Unit::Months(_) => true,
        Unit::Micros(micros) => micros % DAY_US == 0,
        Unit::Parts(_) => false,
    };
    let fraction = name == "microsecond"
        || (name == "second" && !matches!(class(&types.types[1]), Class::Int | Class::Unsigned));
    Ok(match class(&types.types[0]) {
        Class::Date if whole_days => DataType::Date32,
        Class::Date => datetime(if fraction { 6 } else { 0 }),
        Class::DateTime if fraction => datetime(6),
        Class::DateTime => types.types[0].clone(),
        _ => DataType::Utf8,
    })
}

pub(super) fn add(call: &Call, sign: i64) -> Result<ArrayRef> {
    let name = call.word(2)?;
    let unit = unit_of(&name).ok_or_else(|| unit_unknown(&name))?;
    let dates = call.micros(0)?;
    let amounts: Vec<Option<i64>> = match &unit {
        Unit::Parts(factors) => call
            .texts(1)?
            .iter()
            .map(|text| text.and_then(|text| composite(text, factors)))
            .collect(),
        Unit::Micros(SECOND_US) => call
            .decimals(1, 6)?
            .iter()
            .map(|value| value.and_then(|value| i64::try_from(value).ok()))
            .collect(),
        Unit::Micros(_) | Unit::Months(_) => call.ints(1)?.iter().collect(),
    };
    let micros: Int64Array = dates
        .iter()
        .zip(amounts)
        .map(|(date, amount)| {
            let (date, amount) = (date?, amount?.checked_mul(sign)?);
            match unit {
                Unit::Months(months) => add_months(date, amount.checked_mul(months)?),
                Unit::Micros(SECOND_US) | Unit::Parts(_) => date.checked_add(amount),
                Unit::Micros(micros) => date.checked_add(amount.checked_mul(micros)?),
            }
            .filter(|micros| Civil::of_micros(*micros).is_some())
        })
        .collect();
    Ok(match &call.out {
        DataType::Date32 => days_array(&micros),
        DataType::Timestamp(unit, _) => timestamp(&micros, *unit),
        _ => {
            // A string stays one: a date as long as there is no time in it.
            let given = call.texts(0)?;
            let whole = !matches!(unit, Unit::Parts(_))
                && !matches!(unit, Unit::Micros(micros) if micros % DAY_US != 0);
            let texts: StringArray = micros
                .iter()
                .enumerate()
                .map(|(row, micros)| {
                    let micros = micros?;
                    let dated = whole && given.is_valid(row) && !given.value(row).contains(':');
                    Some(if dated {
                        super::time::days_text(micros.div_euclid(DAY_US))
                    } else if micros.rem_euclid(SECOND_US) == 0 {
                        super::time::micros_text(micros, 0)
                    } else {
                        super::time::micros_text(micros, 6)
                    })
                })
                .collect();
            Arc::new(texts)
        }
    })
}

/// `1:30` or `2 4` by its factors; fewer numbers than factors are the last ones.
fn composite(text: &str, factors: &[i64]) -> Option<i64> {
    let negative = text.trim_start().starts_with('-');
    let numbers: Vec<i64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let numbers = numbers.get(numbers.len().saturating_sub(factors.len())..)?;
    let factors = &factors[factors.len() - numbers.len()..];
    let mut total = 0i64;
    for (number, factor) in numbers.iter().zip(factors) {
        total = total.checked_add(number.checked_mul(*factor)?)?;
    }
    Some(if negative { -total } else { total })
}

pub(super) fn difference(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.micros(0)?, call.micros(1)?);
    let name = call.word(2)?;
    let unit = unit_of(&name).ok_or_else(|| unit_unknown(&name))?;
    let values: Int64Array = left
        .iter()
        .zip(right.iter())
        .map(|(left, right)| {
            let (left, right) = (left?, right?);
            match unit {
                Unit::Micros(micros) => Some((right - left) / micros),
                Unit::Months(months) => Some(whole_months(left, right)? / months),
                Unit::Parts(_) => None,
            }
        })
        .collect();
    Ok(Arc::new(values))
}

fn whole_months(left: i64, right: i64) -> Option<i64> {
    let (from, until, sign) = if left <= right {
        (left, right, 1)
    } else {
        (right, left, -1)
    };
    let (a, b) = (Civil::of_micros(from)?, Civil::of_micros(until)?);
    let months = (b.year - a.year) * 12 + i64::from(b.month) - i64::from(a.month);
    let time = |micros: i64| micros.rem_euclid(DAY_US);
    let short = b.day < a.day || (b.day == a.day && time(until) < time(from));
    Some(sign * (months - i64::from(short)))
}
