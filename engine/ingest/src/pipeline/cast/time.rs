//! Dates and times: ISO 8601 text to days and to units since 1970, in UTC.
//!
//! `YYYY-MM-DD`, then nothing or `T`, `t` or a space and `hh:mm[:ss[.digits]]`, then nothing, `Z`, `z`
//! or an offset `+hh`, `+hhmm`, `+hh:mm` (or `-`). The calendar is the Gregorian one, carried back to
//! year 0; there is no second 60 and no hour 24.

use super::CastError;

/// Seconds a day.
const DAY_S: i64 = 86_400;
/// 0000-01-01, in days since 1970.
pub(crate) const DAY_MIN: i64 = -719_528;
/// 9999-12-31.
pub(crate) const DAY_MAX: i64 = 2_932_896;
/// MySQL's bound for a zone's offset, 14 hours.
const ZONE_MINUTES_MAX: i64 = 14 * 60;

/// A text taken apart: seconds since 1970 in UTC, and the digits behind the point.
struct Instant<'a> {
    seconds: i64,
    fraction: &'a [u8],
}

/// DATE's value: days since 1970. A time is allowed; the day is the one it falls on in UTC.
///
/// # Errors
/// [`CastError::IncorrectTime`] if it is no date; [`CastError::OutOfRange`] outside of years 0 to 9999.
pub fn date(text: &str) -> Result<i32, CastError> {
    let day = parse(text.as_bytes())?.seconds.div_euclid(DAY_S);
    if !(DAY_MIN..=DAY_MAX).contains(&day) {
        return Err(CastError::OutOfRange);
    }
    Ok(day as i32)
}

/// DATETIME's or TIMESTAMP's value: units of `10^-digits` seconds since 1970, in UTC, further digits
/// rounded half up.
///
/// # Errors
/// As [`date`].
pub fn datetime(text: &str, digits: u8) -> Result<i64, CastError> {
    let instant = parse(text.as_bytes())?;
    let digits = usize::from(digits);
    let unit = 10_i64.pow(digits as u32);
    let mut fraction = 0;
    for at in 0..digits {
        let digit = instant.fraction.get(at).map_or(0, |digit| digit - b'0');
        fraction = fraction * 10 + i64::from(digit);
    }
    let up = instant
        .fraction
        .get(digits)
        .is_some_and(|&digit| digit >= b'5');
    in_range(instant.seconds, fraction + i64::from(up), unit)
}

/// Puts seconds and fraction together, if the years 0 to 9999 hold them.
#[inline]
pub(crate) fn in_range(seconds: i64, fraction: i64, unit: i64) -> Result<i64, CastError> {
    let value = seconds * unit + fraction;
    if value < DAY_MIN * DAY_S * unit || value >= (DAY_MAX + 1) * DAY_S * unit {
        return Err(CastError::OutOfRange);
    }
    Ok(value)
}

fn parse(bytes: &[u8]) -> Result<Instant<'_>, CastError> {
    read(bytes).ok_or(CastError::IncorrectTime)
}

fn read(bytes: &[u8]) -> Option<Instant<'_>> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = bytes else {
        return None;
    };
    let year = two(*y1, *y2)? * 100 + two(*y3, *y4)?;
    let month = two(*m1, *m2)?;
    let day = two(*d1, *d2)?;
    let (first, length) = month_days(year, month)?;
    if day < 1 || day > length {
        return None;
    }
    let midnight = (first + day - 1) * DAY_S;
    let mut instant = Instant {
        seconds: midnight,
        fraction: &[],
    };
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, rest @ ..] = rest else {
        return rest.is_empty().then_some(instant);
    };
    let (hour, minute) = (two(*h1, *h2)?, two(*m1, *m2)?);
    let (second, rest) = match rest {
        [b':', s1, s2, b'.', rest @ ..] => {
            let end = rest
                .iter()
                .position(|byte| !byte.is_ascii_digit())
                .unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            let (fraction, rest) = rest.split_at(end);
            instant.fraction = fraction;
            (two(*s1, *s2)?, rest)
        }
        [b':', s1, s2, rest @ ..] => (two(*s1, *s2)?, rest),
        rest => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = zone_minutes(rest)? * 60;
    instant.seconds = midnight + hour * 3_600 + minute * 60 + second - offset;
    Some(instant)
}

/// Minutes east of UTC.
pub(crate) fn zone_minutes(bytes: &[u8]) -> Option<i64> {
    let (west, hours, minutes) = match *bytes {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign @ (b'+' | b'-'), h1, h2] => (sign == b'-', two(h1, h2)?, 0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            (sign == b'-', two(h1, h2)?, two(m1, m2)?)
        }
        _ => return None,
    };
    let offset = hours * 60 + minutes;
    if minutes > 59 || offset > ZONE_MINUTES_MAX {
        return None;
    }
    Some(if west { -offset } else { offset })
}

/// A month's first day since 1970 and its length; `None` if there is no such month.
pub(crate) fn month_days(year: i64, month: i64) -> Option<(i64, i64)> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    // Counted from 0000-03-01, so that a leap day ends its year: the months then fall on a line.
    let (year, from_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some((days + (153 * from_march + 2) / 5 - 719_468, length))
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CastError::{IncorrectTime, OutOfRange};

    #[test]
    fn every_day_of_the_calendar_comes_in_turn() {
        let mut expected = DAY_MIN;
        for year in 0..=9999 {
            for month in 1..=12 {
                let (first, length) = month_days(year, month).expect("a month");
                assert_eq!(first, expected, "{year}-{month}");
                expected += length;
            }
        }
        assert_eq!(expected, DAY_MAX + 1);
        assert_eq!(month_days(1970, 1), Some((0, 31)));
        assert_eq!(date("2000-03-01"), Ok(11_017));
        assert_eq!(date("2024-02-29"), Ok(19_782));
    }

    #[test]
    fn dates() {
        let check = |text: &str, expected| assert_eq!(date(text), expected, "{text}");
        check("1970-01-01", Ok(0));
        check("1969-12-31", Ok(-1));
        check("0000-01-01", Ok(DAY_MIN as i32));
        check("9999-12-31", Ok(DAY_MAX as i32));
        check("2023-02-29", Err(IncorrectTime));
        check("1900-02-29", Err(IncorrectTime));
        check("0000-00-00", Err(IncorrectTime));
        check("2024-13-01", Err(IncorrectTime));
        check("2024-1-1", Err(IncorrectTime));
        check("20240101", Err(IncorrectTime));
        check("", Err(IncorrectTime));
        check("2024-01-01 ", Err(IncorrectTime));
        check("12024-01-01", Err(IncorrectTime));
        check("2024-01-01T23:59:59.999Z", Ok(19_723));
        check("2024-01-01T23:30:00-01:00", Ok(19_724));
        check("9999-12-31T23:30:00-01:00", Err(OutOfRange));
        check("0000-01-01T00:30:00+01:00", Err(OutOfRange));
    }

    #[test]
    fn datetimes() {
        let check = |text: &str, expected: Result<i64, CastError>| {
            assert_eq!(datetime(text, 3), expected, "{text}");
        };
        let noon = 19_723 * 86_400_000 + 43_200_000;
        for text in [
            "2024-01-01T12:00:00Z",
            "2024-01-01t12:00:00z",
            "2024-01-01 12:00:00",
            "2024-01-01 12:00",
            "2024-01-01T12:00Z",
            "2024-01-01T14:00:00+02:00",
            "2024-01-01T14:00:00+0200",
            "2024-01-01T14:00:00+02",
            "2024-01-01T06:30:00-05:30",
            "2024-01-01T12:00:00.0000000000000000",
            "2024-01-01T12:00:00.0004999",
            "2024-01-01T11:59:59.9995",
            "2024-01-02T02:00:00+14:00",
            "2024-01-01T12:00:00-00:00",
        ] {
            check(text, Ok(noon));
        }
        check("2024-01-01T12:00:00.1Z", Ok(noon + 100));
        check("2024-01-01T12:00:00.123456789", Ok(noon + 123));
        check("2024-01-01", Ok(noon - 43_200_000));
        check(
            "9999-12-31T23:59:59.999",
            Ok((DAY_MAX + 1) * 86_400_000 - 1),
        );
        check("9999-12-31T23:59:59.9995", Err(OutOfRange));
        check("0000-01-01T00:00:00+00:01", Err(OutOfRange));
        for text in [
            "2024-01-01T",
            "2024-01-01T12",
            "2024-01-01T12:",
            "2024-01-01T12:0",
            "2024-01-01T24:00:00",
            "2024-01-01T12:60:00",
            "2024-01-01T12:00:60",
            "2024-01-01T12:00:00.",
            "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00.5",
            "2024-01-01T12:00:00 Z",
            "2024-01-01T12:00:00+14:01",
            "2024-01-01T12:00:00+1",
            "2024-01-01T12:00:00+01:60",
            "2024-01-01T12:00:00ZZ",
            "2024-01-01X12:00:00",
            "2024-01-01T12:00:00,5",
            "1704110400",
            "12:00:00",
        ] {
            check(text, Err(IncorrectTime));
        }
        assert_eq!(datetime("1970-01-01T00:00:00.5", 0), Ok(1));
        assert_eq!(datetime("1969-12-31T23:59:59.4", 0), Ok(-1));
        assert_eq!(datetime("1970-01-01T00:00:00.1234565", 6), Ok(123_457));
    }
}
