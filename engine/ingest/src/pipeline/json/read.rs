//! Numbers, dates and times in the spelling that nearly all have, read eight bytes at a time.
//!
//! Each function returns `None` for what it does not read, right or wrong: the casts of
//! [`crate::pipeline::cast`] then decide. What it does read must come out as they would have it.

use super::scan::{digits_value, eight, leading_digits, sixteen};
use crate::pipeline::cast::time::month_days;

/// A number without an exponent, bare or as all of a string: `digits_value / 10^fraction`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub negative: bool,
    /// Its digits as one number.
    pub digits_value: u64,
    /// Digits behind the point.
    pub fraction: u32,
    /// One past the number, and past the quote.
    pub end: usize,
}

/// Digits that always fit a u64.
const DIGITS_MAX: u32 = 19;

const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < 20 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Powers of ten that a double holds exactly.
const POWERS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Powers of ten that a single holds exactly.
const POWERS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

impl Point {
    /// The nearest double, where one division of two exact ones gives it.
    #[inline]
    pub(super) fn double(self) -> Option<f64> {
        if self.digits_value > 1 << 53 {
            return None;
        }
        let value = self.digits_value as f64 / POWERS_F64.get(self.fraction as usize)?;
        Some(if self.negative { -value } else { value })
    }

    /// The nearest single, as [`Point::double`].
    #[inline]
    pub(super) fn float(self) -> Option<f32> {
        if self.digits_value > 1 << 24 {
            return None;
        }
        let value = self.digits_value as f32 / POWERS_F32.get(self.fraction as usize)?;
        Some(if self.negative { -value } else { value })
    }

    /// A DECIMAL's unscaled value, where no digit is rounded away.
    #[inline]
    pub(super) fn unscaled(self, scale: u8) -> Option<i128> {
        let zeros = u32::from(scale).checked_sub(self.fraction)?;
        // 19 digits and 19 zeros stay below 10^38.
        let power = *POWERS.get(zeros as usize)?;
        let value = (u128::from(self.digits_value) * u128::from(power)) as i128;
        Some(if self.negative { -value } else { value })
    }
}

/// Goes on with the digits from `at` on; `None` if there are more than fit.
#[inline(always)]
fn run(bytes: &[u8], mut at: usize, mut value: u64, digits: u32) -> Option<(u64, u32, usize)> {
    let mut total = digits;
    loop {
        let (count, found) = leading_digits(eight(bytes, at));
        if count == 0 {
            return Some((value, total, at));
        }
        total += count;
        if total > DIGITS_MAX {
            return None;
        }
        value = value * POWERS[count as usize] + digits_value(found, count);
        at += count as usize;
        if count < 8 {
            return Some((value, total, at));
        }
    }
}

/// The number at `at`.
#[inline(always)]
pub(super) fn point(bytes: &[u8], mut at: usize) -> Option<Point> {
    let mut first = *bytes.get(at)?;
    let quoted = first == b'"';
    if quoted {
        at += 1;
        first = *bytes.get(at)?;
    }
    let negative = first == b'-';
    if negative {
        at += 1;
        first = *bytes.get(at)?;
    }
    let (mut value, mut digits, mut end) = run(bytes, at, 0, 0)?;
    if digits == 0 || (first == b'0' && digits > 1 && !quoted) {
        return None;
    }
    let mut fraction = 0;
    let mut next = bytes.get(end).copied().unwrap_or(b' ');
    if next == b'.' {
        let before = digits;
        (value, digits, end) = run(bytes, end + 1, value, digits)?;
        fraction = digits - before;
        if fraction == 0 {
            return None;
        }
        next = bytes.get(end).copied().unwrap_or(b' ');
    }
    if quoted {
        if next != b'"' {
            return None;
        }
        end += 1;
    } else if next.is_ascii_alphabetic() || next == b'.' {
        return None;
    }
    Some(Point {
        negative,
        digits_value: value,
        fraction,
        end,
    })
}

/// The month last seen: most rows of a batch are of one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Months {
    /// `YYYY-MM-`, as eight bytes.
    text: u64,
    /// Its first day, since 1970.
    first: i64,
    /// Its days.
    days: i64,
}

impl Months {
    #[inline]
    fn find(&mut self, text: u64) -> Option<(i64, i64)> {
        if self.text != text {
            let digit = |at: u32| {
                let digit = (text >> (8 * at)) as u8;
                digit.is_ascii_digit().then(|| i64::from(digit - b'0'))
            };
            if (text >> 32) as u8 != b'-' || (text >> 56) as u8 != b'-' {
                return None;
            }
            let year = digit(0)? * 1000 + digit(1)? * 100 + digit(2)? * 10 + digit(3)?;
            let (first, days) = month_days(year, digit(5)? * 10 + digit(6)?)?;
            *self = Months { text, first, days };
        }
        Some((self.first, self.days))
    }
}

/// Two digits, the first lowest.
#[inline]
fn two(digits: u64) -> i64 {
    ((digits & 0xff) * 10 + ((digits >> 8) & 0xff)) as i64
}

/// The string `"YYYY-MM-DD"` at `at`.
#[inline]
pub(super) fn date(bytes: &[u8], at: usize, months: &mut Months) -> Option<(i32, usize)> {
    if bytes.get(at) != Some(&b'"') || bytes.get(at + 11) != Some(&b'"') {
        return None;
    }
    let (first, days) = months.find(eight(bytes, at + 1))?;
    let (count, digits) = leading_digits(eight(bytes, at + 9));
    let day = two(digits);
    if count != 2 || day < 1 || day > days {
        return None;
    }
    Some(((first + day - 1) as i32, at + 12))
}

/// The string `"YYYY-MM-DDThh:mm:ss[.digits][Z]"` at `at`, in units of `10^-digits` s.
#[inline]
pub(super) fn datetime(
    bytes: &[u8],
    at: usize,
    digits: u8,
    months: &mut Months,
) -> Option<(i64, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let both = sixteen(bytes, at + 1);
    let (first, days) = months.find(both as u64)?;
    // `DDThh:mm` and `:ss`: digits become 0 to 9, the right separators 0.
    let clock = (both >> 64) as u64 ^ u64::from_le_bytes(*b"00T00:00");
    let seconds = eight(bytes, at + 17) ^ u64::from_le_bytes(*b":00\0\0\0\0\0");
    const DIGITS: u64 = 0xffff_00ff_ff00_ffff;
    let (numbers, small) = (clock & DIGITS, seconds & 0x00ff_ff00);
    let above_nine = |word: u64| (word.wrapping_add(0x7676_7676_7676_7676) | word) & HIGHS;
    if above_nine(numbers) & DIGITS | above_nine(small) & 0x00ff_ff00 != 0
        || (clock >> 40) as u8 != 0
        || seconds as u8 != 0
        || !matches!((clock >> 16) as u8 ^ b'T', b'T' | b't' | b' ')
    {
        return None;
    }
    let (day, hour, minute) = (two(clock), two(clock >> 24), two(clock >> 48));
    let second = two(small >> 8);
    if day < 1 || day > days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut end = at + 20;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        let (count, found) = leading_digits(eight(bytes, end + 1));
        // Eight may be nine, and digits beyond the column's are rounded elsewhere.
        if count == 0 || count > u32::from(digits) {
            return None;
        }
        let zeros = u32::from(digits) - count;
        fraction = (digits_value(found, count) * POWERS[zeros as usize]) as i64;
        end += 1 + count as usize;
    }
    if let Some(b'Z' | b'z') = bytes.get(end) {
        end += 1;
    }
    if bytes.get(end) != Some(&b'"') {
        return None;
    }
    let seconds = (first + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second;
    let unit = POWERS[usize::from(digits)] as i64;
    Some((seconds * unit + fraction, end + 1))
}

const HIGHS: u64 = 0x8080_8080_8080_8080;
