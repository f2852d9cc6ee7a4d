//! Dates: days and µs since 1970 to fields and text and back, as MySQL reads and writes them.
//!
//! Years 1 to 9999 of the proleptic Gregorian calendar, no zone (UTC). What is not a date is `None`,
//! which is NULL in SQL; the zero date '0000-00-00' is none (`NO_ZERO_DATE`).

use std::fmt::Write as _;

/// µs of a second.
pub const SECOND_US: i64 = 1_000_000;
/// µs of a day.
pub const DAY_US: i64 = 86_400 * SECOND_US;
const YEAR_MAX: i64 = 9999;

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1 to 9999.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999,999.
    pub micros: u32,
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
#[must_use]
pub fn days_of(year: i64, month: u32, day: u32) -> i64 {
    // Years begin in March, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01.
#[must_use]
pub fn date_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (
        year,
        u32::try_from(month).unwrap_or(1),
        u32::try_from(day).unwrap_or(1),
    )
}

/// Days of a month.
#[must_use]
pub fn month_days(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl Civil {
    /// The fields of µs since 1970; `None` outside the years 1 to 9999.
    #[must_use]
    pub fn of_micros(unix_us: i64) -> Option<Civil> {
        let (year, month, day) = date_of(unix_us.div_euclid(DAY_US));
        let rest = unix_us.rem_euclid(DAY_US);
        if !(1..=YEAR_MAX).contains(&year) {
            return None;
        }
        let field = |value: i64| u32::try_from(value).unwrap_or(0);
        Some(Civil {
            year,
            month,
            day,
            hour: field(rest / (3_600 * SECOND_US)),
            minute: field(rest / (60 * SECOND_US) % 60),
            second: field(rest / SECOND_US % 60),
            micros: field(rest % SECOND_US),
        })
    }

    /// µs since 1970; `None` where the fields are no date.
    #[must_use]
    pub fn micros(self) -> Option<i64> {
        let whole = (1..=YEAR_MAX).contains(&self.year)
            && (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= month_days(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.micros < 1_000_000;
        whole.then(|| {
            days_of(self.year, self.month, self.day) * DAY_US
                + (i64::from(self.hour) * 3_600
                    + i64::from(self.minute) * 60
                    + i64::from(self.second))
                    * SECOND_US
                + i64::from(self.micros)
        })
    }
}

/// `2024-01-31` of fields that a client sent; they need not be a date.
#[must_use]
pub fn civil_text(year: u16, month: u8, day: u8) -> String {
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2024-01-31` of days since 1970.
#[must_use]
pub fn days_text(days: i64) -> String {
    let (year, month, day) = date_of(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2024-01-31 12:00:00.123` of µs since 1970.
#[must_use]
pub fn micros_text(unix_us: i64, fsp: u8) -> String {
    let mut text = days_text(unix_us.div_euclid(DAY_US));
    let rest = unix_us.rem_euclid(DAY_US);
    let (seconds, micros) = (rest / SECOND_US, rest % SECOND_US);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        " {:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    match fsp {
        0 => {}
        3 => {
            let _ = write!(text, ".{:03}", micros / 1_000);
        }
        _ => {
            let _ = write!(text, ".{micros:06}");
        }
    }
    text
}

/// µs since 1970 of a text as MySQL reads a DATETIME: `Y-M-D`, `Y-M-D h:m:s[.f]` with any
/// punctuation between the fields and T or blanks before the time, `YYYYMMDD`, `YYYYMMDDhhmmss`, the
/// year also with two digits, and a zone `Z` or `+hh:mm` behind a time. What follows a date ends it.
#[must_use]
pub fn parse_micros(text: &str) -> Option<i64> {
    let bytes = text.trim().as_bytes();
    let run = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if run == 0 {
        return None;
    }
    let mut at = 0;
    let mut fields = [0i64; 6];
    let mut count = 0;
    let mut micros = 0i64;
    let mut two_digit_year = false;
    if run >= 6 {
        // No punctuation: the digits say where the fields are.
        let year_digits = if run == 8 || run >= 14 { 4 } else { 2 };
        two_digit_year = year_digits == 2;
        for (index, field) in fields.iter_mut().enumerate() {
            let width = if index == 0 { year_digits } else { 2 };
            if at + width > run {
                break;
            }
            *field = digits(&bytes[at..at + width])?;
            at += width;
            count = index + 1;
        }
        at = run;
    } else {
        while count < 6 {
            let length = bytes[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if length == 0 || length > 4 {
                break;
            }
            fields[count] = digits(&bytes[at..at + length])?;
            if count == 0 {
                two_digit_year = length <= 2;
            }
            at += length;
            count += 1;
            if count == 6 {
                break;
            }
            let separator = bytes[at..]
                .iter()
                .take_while(|byte| {
                    byte.is_ascii_punctuation() && **byte != b'+'
                        || (count == 3 && (**byte == b' ' || **byte == b'T'))
                })
                .count();
            if separator == 0
                || bytes
                    .get(at + separator)
                    .is_none_or(|b| !b.is_ascii_digit())
            {
                break;
            }
            at += separator;
        }
    }
    if count < 3 {
        return None;
    }
    if count == 6 && bytes.get(at) == Some(&b'.') {
        at += 1;
        let length = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let mut scale = 100_000;
        for byte in bytes[at..at + length].iter().take(6) {
            micros += i64::from(byte - b'0') * scale;
            scale /= 10;
        }
        // The seventh digit rounds.
        if bytes[at..at + length]
            .get(6)
            .is_some_and(|byte| *byte >= b'5')
        {
            micros += 1;
        }
        at += length;
    }
    let shift = if count == 6 { zone(&bytes[at..])? } else { 0 };
    if two_digit_year {
        fields[0] += if fields[0] < 70 { 2_000 } else { 1_900 };
    }
    let field = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    let civil = Civil {
        year: fields[0],
        month: field(fields[1]),
        day: field(fields[2]),
        hour: field(fields[3]),
        minute: field(fields[4]),
        second: field(fields[5]),
        micros: 0,
    };
    civil.micros().map(|whole| whole + micros - shift)
}

/// µs of a zone's shift; 0 where none stands, `None` where it is not one.
fn zone(rest: &[u8]) -> Option<i64> {
    match rest {
        [b'+' | b'-', hours @ .., b':', m1, m2] if hours.len() == 2 => {
            let minutes = digits(hours)? * 60 + digits(&[*m1, *m2])?;
            let sign = if rest[0] == b'-' { -1 } else { 1 };
            (minutes <= 14 * 60).then_some(sign * minutes * 60 * SECOND_US)
        }
        _ => Some(0),
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The DATETIME that a number means: YYYYMMDD or YYYYMMDDhhmmss.
#[must_use]
pub fn of_number(number: i64) -> Option<i64> {
    let (date, time) = match number {
        101..=99_991_231 => (number, 0),
        _ => (number / 1_000_000, number % 1_000_000),
    };
    let year = match date / 10_000 {
        year @ 0..70 => year + 2_000,
        year @ 70..100 => year + 1_900,
        year => year,
    };
    let field = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Civil {
        year,
        month: field(date / 100 % 100),
        day: field(date % 100),
        hour: field(time / 10_000),
        minute: field(time / 100 % 100),
        second: field(time % 100),
        micros: 0,
    }
    .micros()
}

/// YYYYMMDD of days since 1970.
#[must_use]
pub fn days_number(days: i64) -> i64 {
    let (year, month, day) = date_of(days);
    year * 10_000 + i64::from(month) * 100 + i64::from(day)
}

/// YYYYMMDDhhmmss of µs since 1970.
#[must_use]
pub fn micros_number(unix_us: i64) -> i64 {
    let seconds = unix_us.rem_euclid(DAY_US) / SECOND_US;
    days_number(unix_us.div_euclid(DAY_US)) * 1_000_000
        + seconds / 3_600 * 10_000
        + seconds / 60 % 60 * 100
        + seconds % 60
}

/// Adds months, keeping the day where the month has it.
#[must_use]
pub fn add_months(unix_us: i64, months: i64) -> Option<i64> {
    let civil = Civil::of_micros(unix_us)?;
    let count = (civil.year * 12 + i64::from(civil.month) - 1).checked_add(months)?;
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    if !(1..=YEAR_MAX).contains(&year) {
        return None;
    }
    let month = u32::try_from(month).unwrap_or(1);
    Civil {
        year,
        month,
        day: civil.day.min(month_days(year, month)),
        ..civil
    }
    .micros()
}

/// Sunday is 0.
#[must_use]
pub fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// WEEK(date, mode): the week and the year it belongs to (`WEEK` itself asks for mode bit 2 = 0 to
/// count days before the first week as week 0).
///
/// # Source
/// MySQL 8 manual, WEEK(): the table of modes 0 to 7.
#[must_use]
pub fn week(days: i64, mode: u32, with_year: bool) -> (i64, i64) {
    let mut mode = mode & 7;
    if mode & 1 == 0 {
        mode ^= 4;
    }
    let monday_first = mode & 1 != 0;
    let mut week_year = mode & 2 != 0 || with_year;
    let first_weekday = mode & 4 != 0;
    let (mut year, month, day) = date_of(days);
    let mut first = days_of(year, 1, 1);
    let weekday_of = |day: i64| {
        if monday_first {
            (day + 3).rem_euclid(7)
        } else {
            (day + 4).rem_euclid(7)
        }
    };
    let mut start = weekday_of(first);
    let begins_late = |start: i64| (first_weekday && start != 0) || (!first_weekday && start >= 4);
    if month == 1 && i64::from(day) <= 7 - start {
        if !week_year && begins_late(start) {
            return (0, year);
        }
        week_year = true;
        year -= 1;
        let year_days = first - days_of(year, 1, 1);
        first -= year_days;
        start = (start + 53 * 7 - year_days).rem_euclid(7);
    }
    let since = if begins_late(start) {
        days - (first + (7 - start))
    } else {
        days - (first - start)
    };
    if week_year && since >= 52 * 7 {
        let year_days = days_of(year + 1, 1, 1) - days_of(year, 1, 1);
        let next = (start + year_days).rem_euclid(7);
        if (!first_weekday && next < 4) || (first_weekday && next == 0) {
            return (1, year + 1);
        }
    }
    (since / 7 + 1, year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse() {
        for days in (-719_162..2_932_897).step_by(97) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days, "{year}-{month}-{day}");
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(19_782), (2024, 2, 29));
    }

    #[test]
    fn texts_are_read_as_mysql_reads_them() {
        for (text, expected) in [
            ("2024-02-29", Some("2024-02-29 00:00:00.000000")),
            ("2024-2-9 1:2:3", Some("2024-02-09 01:02:03.000000")),
            ("2024-02-09T01:02:03.5", Some("2024-02-09 01:02:03.500000")),
            ("20240209", Some("2024-02-09 00:00:00.000000")),
            ("20240209010203", Some("2024-02-09 01:02:03.000000")),
            ("240209", Some("2024-02-09 00:00:00.000000")),
            ("2024/02/09", Some("2024-02-09 00:00:00.000000")),
            (
                "2024-02-09 01:02:03+02:00",
                Some("2024-02-08 23:02:03.000000"),
            ),
            ("2023-02-29", None),
            ("0000-00-00", None),
            ("abc", None),
            ("", None),
            ("2024", None),
        ] {
            let read = parse_micros(text).map(|micros| micros_text(micros, 6));
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
