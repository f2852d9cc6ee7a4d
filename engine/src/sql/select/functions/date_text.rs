//! DATE_FORMAT's specifiers.

use std::fmt;

use super::time::{Civil, days_of, week, weekday};

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

/// A date by a format.
///
/// # Source
/// MySQL 8 manual, DATE_FORMAT(): the table of specifiers.
pub(super) fn format_one(
    text: &mut impl fmt::Write,
    civil: &Civil,
    days: i64,
    format: &str,
) -> fmt::Result {
    let hour12 = (civil.hour + 11) % 12 + 1;
    let half = if civil.hour < 12 { "AM" } else { "PM" };
    let weekday = weekday(days);
    let weekday_name = DAYS[usize::try_from(weekday).unwrap_or(0)];
    let month_name = MONTHS[month_index(civil.month)];
    let (h, m, s) = (civil.hour, civil.minute, civil.second);
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.write_char(c)?;
            continue;
        }
        match rest.next() {
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
        }?;
    }
    Ok(())
}
