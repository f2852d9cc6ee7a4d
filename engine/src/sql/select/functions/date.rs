//! Functions of dates.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use datafusion::common::Result;

use super::convert::timestamp;
use super::time::{
    Civil, DAY_US, SECOND_US, add_months, date_of, days_of, month_days, week, weekday,
};
use super::{Call, Function, Types};
use crate::sql::error::SqlError;
use crate::sql::select::fault::wrap;
use crate::sql::select::types::{Class, class, datetime, digits};

/// Functions of dates.
pub static FUNCTIONS: &[Function] = &[
    part("year"),
    part("month"),
    part("dayofmonth"),
    part("quarter"),
    part("hour"),
    part("minute"),
    part("second"),
    part("microsecond"),
    part("dayofweek"),
    part("weekday"),
    part("dayofyear"),
    part("to_days"),
    Function {
        name: "week",
        least: 1,
        most: 2,
        of: int,
        eval: Some(|call| {
            let modes = (call.args.len() > 1).then(|| call.ints(1)).transpose()?;
            let micros = call.micros(0)?;
            let weeks: Int64Array = (0..call.rows)
                .map(|row| {
                    let mode = match &modes {
                        None => 0,
                        Some(modes) if modes.is_null(row) => return None,
                        Some(modes) => u32::try_from(modes.value(row)).unwrap_or(0),
                    };
                    micros
                        .is_valid(row)
                        .then(|| week(micros.value(row).div_euclid(DAY_US), mode, false).0)
                })
                .collect();
            Ok(Arc::new(weeks))
        }),
        lower: None,
    },
    part("weekofyear"),
    part("yearweek"),
    Function {
        name: "date",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Date32),
        eval: Some(|call| Ok(days_array(&call.micros(0)?))),
        lower: None,
    },
    Function {
        name: "last_day",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Date32),
        eval: Some(|call| {
            let micros = call.micros(0)?.unary::<_, Int64Type>(|micros| {
                let (year, month, _) = date_of(micros.div_euclid(DAY_US));
                days_of(year, month, month_days(year, month)) * DAY_US
            });
            Ok(days_array(&micros))
        }),
        lower: None,
    },
    Function {
        name: "from_days",
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Date32),
        eval: Some(|call| {
            let micros: Int64Array = call
                .ints(0)?
                .iter()
                .map(|days| {
                    let micros = days?.checked_sub(719_528)?.checked_mul(DAY_US)?;
                    Civil::of_micros(micros).map(|_| micros)
                })
                .collect();
            Ok(days_array(&micros))
        }),
        lower: None,
    },
    Function {
        name: "datediff",
        least: 2,
        most: 2,
        of: int,
        eval: Some(|call| {
            let (left, right) = (call.micros(0)?, call.micros(1)?);
            let days: Int64Array = left
                .iter()
                .zip(right.iter())
                .map(|(left, right)| Some(left?.div_euclid(DAY_US) - right?.div_euclid(DAY_US)))
                .collect();
            Ok(Arc::new(days))
        }),
        lower: None,
    },
    names("dayname"),
    names("monthname"),
    Function {
        name: "date_format",
        least: 2,
        most: 2,
        of: |_| Ok(DataType::Utf8),
        eval: Some(|call| {
            let (micros, formats) = (call.micros(0)?, call.texts(1)?);
            Ok(formatted(&micros, &formats))
        }),
        lower: None,
    },
    Function {
        name: "from_unixtime",
        least: 1,
        most: 2,
        of: |types| {
            Ok(if types.types.len() > 1 {
                DataType::Utf8
            } else {
                datetime(match class(&types.types[0]) {
                    Class::Text | Class::Double => 6,
                    _ => digits(&types.types[0]).1.min(6),
                })
            })
        },
        eval: Some(from_unixtime),
        lower: None,
    },
    Function {
        name: "unix_timestamp",
        least: 0,
        most: 1,
        of: |types| {
            Ok(match class(&types.types[0]) {
                Class::Text => match types.text(0) {
                    Some(text) if !text.contains('.') => DataType::Int64,
                    _ => DataType::Decimal128(18, 6),
                },
                Class::DateTime => match digits(&types.types[0]).1 {
                    0 => DataType::Int64,
                    scale => DataType::Decimal128(18, i8::try_from(scale).unwrap_or(0)),
                },
                _ => DataType::Int64,
            })
        },
        eval: Some(|call| {
            let micros: Int64Array = call
                .micros(0)?
                .iter()
                .map(|micros| micros.map(|micros| micros.max(0)))
                .collect();
            Ok(match call.out {
                DataType::Decimal128(precision, scale) => {
                    let unit = 10i64.pow(6 - u32::from(u8::try_from(scale).unwrap_or(0)));
                    Arc::new(
                        micros
                            .unary::<_, arrow::datatypes::Decimal128Type>(|micros| {
                                i128::from(micros / unit)
                            })
                            .with_precision_and_scale(precision, scale)?,
                    )
                }
                _ => Arc::new(micros.unary::<_, Int64Type>(|micros| micros / SECOND_US)),
            })
        }),
        lower: None,
    },
    Function {
        name: "date_add",
        least: 3,
        most: 3,
        of: added_type,
        eval: Some(|call| add(call, 1)),
        lower: None,
    },
    Function {
        name: "date_sub",
        least: 3,
        most: 3,
        of: added_type,
        eval: Some(|call| add(call, -1)),
        lower: None,
    },
    Function {
        name: "timestampdiff",
        least: 3,
        most: 3,
        of: int,
        eval: Some(difference),
        lower: None,
    },
    Function {
        name: "extract",
        least: 2,
        most: 2,
        of: |types| match types.text(1) {
            Some(
                "year" | "quarter" | "month" | "week" | "day" | "hour" | "minute" | "second"
                | "microsecond",
            ) => Ok(DataType::Int64),
            unit => Err(unit_unknown(unit.unwrap_or(""))),
        },
        eval: Some(|call| {
            let unit = call.word(1)?;
            let values: Int64Array = call
                .micros(0)?
                .iter()
                .map(|micros| {
                    let civil = Civil::of_micros(micros?)?;
                    Some(match unit.as_str() {
                        "year" => civil.year,
                        "quarter" => i64::from(civil.month.div_ceil(3)),
                        "month" => civil.month.into(),
                        "week" => week(micros?.div_euclid(DAY_US), 0, false).0,
                        "day" => civil.day.into(),
                        "hour" => civil.hour.into(),
                        "minute" => civil.minute.into(),
                        "second" => civil.second.into(),
                        _ => civil.micros.into(),
                    })
                })
                .collect();
            Ok(Arc::new(values))
        }),
        lower: None,
    },
];

fn int(_: &Types<'_>) -> Result<DataType> {
    Ok(DataType::Int64)
}

const fn part(name: &'static str) -> Function {
    Function {
        name,
        least: 1,
        most: 1,
        of: int,
        eval: Some(part_eval),
        lower: None,
    }
}

fn part_eval(call: &Call) -> Result<ArrayRef> {
    let name = call.name;
    let values: Int64Array = call
        .micros(0)?
        .iter()
        .map(|micros| {
            let micros = micros?;
            let civil = Civil::of_micros(micros)?;
            let days = micros.div_euclid(DAY_US);
            Some(part_of(name, &civil, days))
        })
        .collect();
    Ok(Arc::new(values))
}

fn part_of(name: &str, civil: &Civil, days: i64) -> i64 {
    match name {
        "year" => civil.year,
        "month" => civil.month.into(),
        "dayofmonth" => civil.day.into(),
        "quarter" => i64::from(civil.month.div_ceil(3)),
        "hour" => civil.hour.into(),
        "minute" => civil.minute.into(),
        "second" => civil.second.into(),
        "microsecond" => civil.micros.into(),
        "dayofweek" => weekday(days) + 1,
        "weekday" => (weekday(days) + 6) % 7,
        "dayofyear" => days - days_of(civil.year, 1, 1) + 1,
        "to_days" => days + 719_528,
        "weekofyear" => week(days, 3, false).0,
        _ => {
            let (week, year) = week(days, 0, true);
            year * 100 + week
        }
    }
}

const fn names(name: &'static str) -> Function {
    Function {
        name,
        least: 1,
        most: 1,
        of: |_| Ok(DataType::Utf8),
        eval: Some(|call| {
            let format = if call.name == "dayname" { "%W" } else { "%M" };
            let formats = StringArray::from(vec![format; call.rows]);
            Ok(formatted(&call.micros(0)?, &formats))
        }),
        lower: None,
    }
}

fn days_array(micros: &Int64Array) -> ArrayRef {
    Arc::new(
        micros
            .unary::<_, Date32Type>(|micros| i32::try_from(micros.div_euclid(DAY_US)).unwrap_or(0)),
    )
}

fn formatted(micros: &Int64Array, formats: &StringArray) -> ArrayRef {
    let texts: StringArray = micros
        .iter()
        .zip(formats.iter())
        .map(|(micros, format)| {
            let micros = micros?;
            Some(format_one(
                &Civil::of_micros(micros)?,
                micros.div_euclid(DAY_US),
                format?,
            ))
        })
        .collect();
    Arc::new(texts)
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn month_index(month: u32) -> usize {
    usize::try_from(month.clamp(1, 12) - 1).unwrap_or(0)
}

/// # Source
/// MySQL 8 manual, DATE_FORMAT(): the table of specifiers.
fn format_one(civil: &Civil, days: i64, format: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(format.len() + 8);
    let hour12 = (civil.hour + 11) % 12 + 1;
    let half = if civil.hour < 12 { "AM" } else { "PM" };
    let weekday = weekday(days);
    let weekday_name = DAYS[usize::try_from(weekday).unwrap_or(0)];
    let month_name = MONTHS[month_index(civil.month)];
    let (h, m, s) = (civil.hour, civil.minute, civil.second);
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match rest.next() {
            Some('a') => write!(text, "{}", &weekday_name[..3]),
            Some('b') => write!(text, "{}", &month_name[..3]),
            Some('c') => write!(text, "{}", civil.month),
            Some('D') => {
                let suffix = match (civil.day % 10, civil.day / 10) {
                    (_, 1) => "th",
                    (1, _) => "st",
                    (2, _) => "nd",
                    (3, _) => "rd",
                    _ => "th",
                };
                write!(text, "{}{suffix}", civil.day)
            }
            Some('d') => write!(text, "{:02}", civil.day),
            Some('e') => write!(text, "{}", civil.day),
            Some('f') => write!(text, "{:06}", civil.micros),
            Some('H') => write!(text, "{h:02}"),
            Some('h' | 'I') => write!(text, "{hour12:02}"),
            Some('i') => write!(text, "{m:02}"),
            Some('j') => write!(text, "{:03}", days - days_of(civil.year, 1, 1) + 1),
            Some('k') => write!(text, "{h}"),
            Some('l') => write!(text, "{hour12}"),
            Some('M') => write!(text, "{month_name}"),
            Some('m') => write!(text, "{:02}", civil.month),
            Some('p') => write!(text, "{half}"),
            Some('r') => write!(text, "{hour12:02}:{m:02}:{s:02} {half}"),
            Some('S' | 's') => write!(text, "{s:02}"),
            Some('T') => write!(text, "{h:02}:{m:02}:{s:02}"),
            Some('U') => write!(text, "{:02}", week(days, 0, false).0),
            Some('u') => write!(text, "{:02}", week(days, 1, false).0),
            Some('V') => write!(text, "{:02}", week(days, 2, true).0),
            Some('v') => write!(text, "{:02}", week(days, 3, true).0),
            Some('W') => write!(text, "{weekday_name}"),
            Some('w') => write!(text, "{weekday}"),
            Some('X') => write!(text, "{:04}", week(days, 2, true).1),
            Some('x') => write!(text, "{:04}", week(days, 3, true).1),
            Some('Y') => write!(text, "{:04}", civil.year),
            Some('y') => write!(text, "{:02}", civil.year % 100),
            Some(other) => write!(text, "{other}"),
            None => write!(text, "%"),
        };
    }
    text
}

fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    let seconds = call.decimals(0, 6)?;
    // As far as MySQL 8.0.28 and later go: the year 3001.
    let most = 32_536_771_199_i128 * i128::from(SECOND_US);
    let micros: Int64Array = seconds
        .iter()
        .map(|value| {
            value
                .filter(|value| (0..=most).contains(value))
                .and_then(|value| i64::try_from(value).ok())
        })
        .collect();
    Ok(match &call.out {
        DataType::Timestamp(unit, _) => timestamp(&micros, *unit),
        _ => formatted(&micros, &call.texts(1)?),
    })
}

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

fn unit_unknown(unit: &str) -> datafusion::common::DataFusionError {
    wrap(SqlError::not_supported(format!("INTERVAL unit {unit}")))
}

fn added_type(types: &Types<'_>) -> Result<DataType> {
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

fn add(call: &Call, sign: i64) -> Result<ArrayRef> {
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

fn difference(call: &Call) -> Result<ArrayRef> {
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
