//! Instants as MySQL writes them: `2000-02-29 23:59:59.999`, and the binary protocol's bytes. UTC.

use std::io::Write as _;

use crate::sql::select::functions::time::date_of;

/// A moment taken apart. Years 0 to 9999 print as MySQL's; others print with the digits they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    year: i64,
    month: u8,
    day: u8,
    second_of_day: u32,
    micros: u32,
    date_only: bool,
}

const SECONDS_A_DAY: i64 = 86_400;

impl DateTime {
    /// A date, from days since 1970-01-01.
    #[must_use]
    pub fn from_days(days: i64) -> DateTime {
        let (year, month, day) = civil(days);
        DateTime {
            year,
            month,
            day,
            second_of_day: 0,
            micros: 0,
            date_only: true,
        }
    }

    /// An instant, from `ticks` since 1970 at `ticks_a_second` (1, 1,000 or 1,000,000).
    #[must_use]
    pub fn from_parts(ticks: i64, ticks_a_second: i64) -> DateTime {
        let seconds = ticks.div_euclid(ticks_a_second);
        let fraction = ticks.rem_euclid(ticks_a_second) * (1_000_000 / ticks_a_second);
        let (year, month, day) = civil(seconds.div_euclid(SECONDS_A_DAY));
        DateTime {
            year,
            month,
            day,
            // Both are remainders, so they fit.
            second_of_day: u32::try_from(seconds.rem_euclid(SECONDS_A_DAY)).unwrap_or(0),
            micros: u32::try_from(fraction).unwrap_or(0),
            date_only: false,
        }
    }

    /// Appends the text, with `decimals` digits of the second's fraction (6 at most).
    pub fn write(&self, decimals: u8, out: &mut Vec<u8>) {
        let DateTime {
            year,
            month,
            day,
            second_of_day,
            micros,
            date_only,
        } = *self;
        write!(out, "{year:04}-{month:02}-{day:02}").expect("memory takes what is written");
        if date_only {
            return;
        }
        let (hour, minute, second) = (
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60,
        );
        write!(out, " {hour:02}:{minute:02}:{second:02}").expect("memory takes what is written");
        if (1..=6).contains(&decimals) {
            let digits = usize::from(decimals);
            let fraction = micros / 10u32.pow(6 - u32::from(decimals));
            write!(out, ".{fraction:0digits$}").expect("memory takes what is written");
        }
    }

    /// Appends the binary protocol's form: a length, and as many fields as are not zero.
    pub fn write_binary(&self, as_date: bool, out: &mut Vec<u8>) {
        let DateTime {
            year,
            month,
            day,
            second_of_day,
            micros,
            ..
        } = *self;
        let length = match (as_date || second_of_day == 0 && micros == 0, micros) {
            (true, _) => 4,
            (false, 0) => 7,
            (false, _) => 11,
        };
        out.push(length);
        out.extend_from_slice(&u16::try_from(year).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&[month, day]);
        if length >= 7 {
            for part in [
                second_of_day / 3600,
                second_of_day / 60 % 60,
                second_of_day % 60,
            ] {
                out.push(part.to_le_bytes()[0]);
            }
        }
        if length == 11 {
            out.extend_from_slice(&micros.to_le_bytes());
        }
    }
}

/// Year, month and day of a day since 1970-01-01.
fn civil(days: i64) -> (i64, u8, u8) {
    let (year, month, day) = date_of(days);
    let small = |part: u32| u8::try_from(part).unwrap_or(0);
    (year, small(month), small(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (-25_508, "1900-03-01"),
            (2_932_896, "9999-12-31"),
            (-719_528, "0000-01-01"),
        ];
        for (days, expected) in cases {
            let mut out = Vec::new();
            DateTime::from_days(days).write(0, &mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }
    }
}
