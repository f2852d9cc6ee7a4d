//! Smallest, largest and the NULLs of each column, computed at flush from a block's regions.
//!
//! A bound is a promise that no row passes it; `exact` says that a row has just this value. Not exact:
//! a string cut at `STATISTIC_BYTES_MAX`, and any column that also holds NaN (which no bound covers:
//! comparisons order it above every number, and pruning by a bound must not lose it).

use crate::block::{ColumnRegion, NullRegion};
use crate::format::{ColumnStatistics, StatisticBound, StatisticValue};
use crate::limits::STATISTIC_BYTES_MAX;
use crate::schema::Physical;

/// The statistics of one column.
#[must_use]
pub fn of_column(column: &ColumnRegion<'_>) -> ColumnStatistics {
    let null_count = column.nulls.as_ref().map_or(0, null_count);
    let (min, max) = match column.physical {
        Physical::Int8 => ints(column, i8::from_le_bytes),
        Physical::Int16 => ints(column, i16::from_le_bytes),
        Physical::Int32 | Physical::Date32 => ints(column, i32::from_le_bytes),
        Physical::Int64 | Physical::Timestamp(_) => ints(column, i64::from_le_bytes),
        Physical::UInt8 => uints(column, u8::from_le_bytes),
        Physical::UInt16 => uints(column, u16::from_le_bytes),
        Physical::UInt32 => uints(column, u32::from_le_bytes),
        Physical::UInt64 => uints(column, u64::from_le_bytes),
        Physical::Float32 => floats(column, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Physical::Float64 => floats(column, f64::from_le_bytes),
        Physical::Decimal128 { .. } => exact(
            extremes(column, i128::from_le_bytes),
            StatisticValue::Decimal,
        ),
        Physical::Utf8 => strings(column),
    };
    ColumnStatistics {
        min,
        max,
        null_count,
    }
}

/// How many of the rows are NULL.
#[must_use]
pub fn null_count(nulls: &NullRegion<'_>) -> u32 {
    let behind = &nulls.validity[nulls.first_null..];
    let valid: usize = behind.iter().map(|&valid| usize::from(valid)).sum();
    (behind.len() - valid) as u32
}

type Bounds = (Option<StatisticBound>, Option<StatisticBound>);

fn exact<T>(found: Option<(T, T)>, value: impl Fn(T) -> StatisticValue) -> Bounds {
    let bound = |of| StatisticBound {
        value: value(of),
        exact: true,
    };
    match found {
        Some((min, max)) => (Some(bound(min)), Some(bound(max))),
        None => (None, None),
    }
}

fn ints<T: Copy + Ord + Into<i64>, const N: usize>(
    column: &ColumnRegion<'_>,
    read: impl Fn([u8; N]) -> T,
) -> Bounds {
    exact(extremes(column, read), |value| {
        StatisticValue::Int(value.into())
    })
}

fn uints<T: Copy + Ord + Into<u64>, const N: usize>(
    column: &ColumnRegion<'_>,
    read: impl Fn([u8; N]) -> T,
) -> Bounds {
    exact(extremes(column, read), |value| {
        StatisticValue::UInt(value.into())
    })
}

fn extremes<T: Copy + Ord, const N: usize>(
    column: &ColumnRegion<'_>,
    read: impl Fn([u8; N]) -> T,
) -> Option<(T, T)> {
    let (values, _) = column.values.as_chunks::<N>();
    let wider = |found: Option<(T, T)>, value: T| match found {
        Some((min, max)) => Some((min.min(value), max.max(value))),
        None => Some((value, value)),
    };
    let Some(nulls) = &column.nulls else {
        // The usual case, without a branch in the loop.
        let first = read(*values.first()?);
        let step = |(min, max): (T, T), value: &[u8; N]| {
            let value = read(*value);
            (min.min(value), max.max(value))
        };
        return Some(values.iter().fold((first, first), step));
    };
    present(nulls, values.len()).fold(None, |found, row| wider(found, read(values[row])))
}

/// The rows that hold a value.
fn present(nulls: &NullRegion<'_>, rows: usize) -> impl Iterator<Item = usize> {
    let (first_null, validity) = (nulls.first_null, nulls.validity);
    (0..rows).filter(move |&row| row < first_null || validity[row] != 0)
}

fn floats<const N: usize>(column: &ColumnRegion<'_>, read: impl Fn([u8; N]) -> f64) -> Bounds {
    let (values, _) = column.values.as_chunks::<N>();
    let mut min = f64::INFINITY;
    let mut max = f64::NEG_INFINITY;
    let (mut nan, mut any) = (false, false);
    let mut take = |value: f64| {
        nan |= value.is_nan();
        any |= !value.is_nan();
        // Comparisons, not f64::min: NaN drops out by itself and the loop stays without a branch.
        min = if value < min { value } else { min };
        max = if value > max { value } else { max };
    };
    match &column.nulls {
        None => values.iter().for_each(|value| take(read(*value))),
        Some(nulls) => present(nulls, values.len()).for_each(|row| take(read(values[row]))),
    }
    // With NaN no number is an upper bound; the lower one holds, and is not exact either.
    let bound = |value: f64| StatisticBound {
        // -0.0 equals 0.0 and sorts apart from it elsewhere: the lower bound is -0.0, the upper 0.0.
        value: StatisticValue::Float(value),
        exact: !nan && value != 0.0,
    };
    let zero = |value: f64, signed: f64| if value == 0.0 { signed } else { value };
    match any {
        true => (
            Some(bound(zero(min, -0.0))),
            (!nan).then(|| bound(zero(max, 0.0))),
        ),
        false => (None, None),
    }
}

/// Strings in the order of their bytes. The first eight bytes as a number decide nearly always.
fn strings(column: &ColumnRegion<'_>) -> Bounds {
    let (offsets, _) = column.values.as_chunks::<4>();
    let string = |row: usize| {
        let start = u32::from_le_bytes(offsets[row]) as usize;
        let end = u32::from_le_bytes(offsets[row + 1]) as usize;
        &column.data[start..end]
    };
    let mut found: Option<Extremes<'_>> = None;
    let mut take = |row: usize| {
        let text = string(row);
        let prefix = prefix(text);
        match &mut found {
            None => {
                found = Some(Extremes {
                    min: (prefix, text),
                    max: (prefix, text),
                });
            }
            Some(Extremes { min, max }) => {
                if prefix <= min.0 && (prefix < min.0 || text < min.1) {
                    *min = (prefix, text);
                }
                if prefix >= max.0 && (prefix > max.0 || text > max.1) {
                    *max = (prefix, text);
                }
            }
        }
    };
    match &column.nulls {
        None => (0..column.rows).for_each(&mut take),
        Some(nulls) => present(nulls, column.rows).for_each(&mut take),
    }
    found.map_or((None, None), |found| {
        (lower(found.min.1), upper(found.max.1))
    })
}

struct Extremes<'a> {
    min: (u64, &'a [u8]),
    max: (u64, &'a [u8]),
}

fn prefix(text: &[u8]) -> u64 {
    match text.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..text.len()].copy_from_slice(text);
            u64::from_be_bytes(bytes)
        }
    }
}

/// A string that sorts at or below `text`: itself, or its beginning.
fn lower(text: &[u8]) -> Option<StatisticBound> {
    let text = std::str::from_utf8(text).ok()?;
    let cut = &text[..text.floor_char_boundary(STATISTIC_BYTES_MAX)];
    Some(StatisticBound {
        value: StatisticValue::Text(cut.into()),
        exact: cut.len() == text.len(),
    })
}

/// A string that sorts at or above `text`: itself, or its beginning with the last character that has
/// a successor raised; none where no character has one.
fn upper(text: &[u8]) -> Option<StatisticBound> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() <= STATISTIC_BYTES_MAX {
        return Some(StatisticBound {
            value: StatisticValue::Text(text.into()),
            exact: true,
        });
    }
    let mut cut = &text[..text.floor_char_boundary(STATISTIC_BYTES_MAX - 4)];
    while let Some(last) = cut.chars().next_back() {
        cut = &cut[..cut.len() - last.len_utf8()];
        // The next scalar value, over the gap of the surrogates: UTF-8 sorts as scalar values do.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            let mut value = cut.to_owned();
            value.push(next);
            return Some(StatisticBound {
                value: StatisticValue::Text(value.into()),
                exact: false,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests;
