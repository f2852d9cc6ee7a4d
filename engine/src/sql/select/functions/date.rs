//! Functions of dates.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use datafusion::common::Result;

use super::convert::timestamp;
use super::date_text::format_one;
use super::interval::{add, added_type, difference, unit_unknown};
use super::time::{Civil, DAY_US, SECOND_US, date_of, days_of, month_days, week, weekday};
use super::{Call, Function, Types};
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
            formatted(call, &micros, &formats)
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
                    Some(text) => match text.split_once('.') {
                        None => DataType::Int64,
                        Some((_, fraction)) => {
                            let scale = i8::try_from(fraction.len().min(6)).unwrap_or(6);
                            DataType::Decimal128(18, scale)
                        }
                    },
                    None => DataType::Decimal128(18, 6),
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
            formatted(call, &call.micros(0)?, &formats)
        }),
        lower: None,
    }
}

pub(super) fn days_array(micros: &Int64Array) -> ArrayRef {
    Arc::new(
        micros
            .unary::<_, Date32Type>(|micros| i32::try_from(micros.div_euclid(DAY_US)).unwrap_or(0)),
    )
}

fn formatted(call: &Call, micros: &Int64Array, formats: &StringArray) -> Result<ArrayRef> {
    call.texts_of(|row, out| {
        if micros.is_null(row) || formats.is_null(row) {
            return Ok(false);
        }
        let micros = micros.value(row);
        let Some(civil) = Civil::of_micros(micros) else {
            return Ok(false);
        };
        let written = format_one(out, &civil, micros.div_euclid(DAY_US), formats.value(row));
        out.written(written).map(|()| true)
    })
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
    match &call.out {
        DataType::Timestamp(unit, _) => Ok(timestamp(&micros, *unit)),
        _ => formatted(call, &micros, &call.texts(1)?),
    }
}
