//! Numbers, exactly: decimal text to integers, DECIMAL and IEEE floats.
//!
//! The text is a JSON number or what a string may hold of one: `[+-] digits [. digits] [e [+-] digits]`
//! with digits on at least one side of the point. Nothing goes through a float but FLOAT and DOUBLE.

use super::CastError;

/// A number's text taken apart: `(int ++ frac) * 10^(exponent - frac.len())`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    int: &'a [u8],
    frac: &'a [u8],
    /// Saturated: a text of a hundred digits in the exponent is as good as infinite.
    exponent: i64,
}

/// Far beyond what any text's digits could bring back, far from overflow.
const EXPONENT_MAX: i64 = 1 << 40;

impl<'a> Decimal<'a> {
    /// Takes a number's text apart.
    ///
    /// # Errors
    /// [`CastError::Incorrect`]: it is none.
    pub fn parse(text: &'a str) -> Result<Decimal<'a>, CastError> {
        let bytes = text.as_bytes();
        let (negative, rest) = sign(bytes);
        let (int, rest) = digits(rest);
        let (frac, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            _ => (&rest[..0], rest),
        };
        if int.is_empty() && frac.is_empty() {
            return Err(CastError::Incorrect);
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => {
                let (down, rest) = sign(rest);
                let (written, rest) = digits(rest);
                if written.is_empty() || !rest.is_empty() {
                    return Err(CastError::Incorrect);
                }
                let size = written.iter().fold(0_i64, |size, digit| {
                    (size * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX)
                });
                if down { -size } else { size }
            }
            _ => return Err(CastError::Incorrect),
        };
        Ok(Decimal {
            negative,
            int,
            frac,
            exponent,
        })
    }

    /// The magnitude times `10^scale`, cut to an integer, and what was cut off.
    fn scaled(&self, scale: u8) -> Result<(u128, Rest), CastError> {
        let digits = || self.int.iter().chain(self.frac).map(|digit| digit - b'0');
        // How many of the digits stand before the cut.
        let kept = self.int.len() as i64 + self.exponent + i64::from(scale);
        let mut value = 0_u128;
        let mut seen = 0_i64;
        for digit in digits().take(usize::try_from(kept).unwrap_or(0)) {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u128::from(digit)))
                .ok_or(CastError::OutOfRange)?;
            seen += 1;
        }
        if value != 0 {
            // At most 39 turns before it overflows.
            for _ in seen..kept {
                value = value.checked_mul(10).ok_or(CastError::OutOfRange)?;
            }
        }
        let mut cut = digits().skip(usize::try_from(kept).unwrap_or(0));
        // A negative `kept` puts zeros between the cut and the first digit.
        let first = if kept < 0 { 0 } else { cut.next().unwrap_or(0) };
        Ok((
            value,
            Rest {
                half: first >= 5,
                any: first != 0 || cut.any(|digit| digit != 0),
            },
        ))
    }
}

/// What a cut took away.
struct Rest {
    /// Half of the last place or more.
    half: bool,
    /// More than nothing.
    any: bool,
}

/// An integer column's value.
///
/// # Errors
/// [`CastError::OutOfRange`] if the integer part is; then [`CastError::Fraction`] if there is one
/// that is not zero: `1.0` and `1e3` are integers, `1.5` is not.
pub fn integer(text: &str, min: i128, max: i128) -> Result<i128, CastError> {
    let number = Decimal::parse(text)?;
    let (size, rest) = number.scaled(0)?;
    let size = i128::try_from(size).map_err(|_| CastError::OutOfRange)?;
    let value = if number.negative { -size } else { size };
    if value < min || value > max {
        return Err(CastError::OutOfRange);
    }
    if rest.any {
        return Err(CastError::Fraction);
    }
    Ok(value)
}

/// 10 to the powers 0 to 38.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < 39 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The largest unscaled value of a DECIMAL of so many digits.
///
/// # Panics
/// Beyond 38 digits: [`super::Cast::to`] has refused them.
#[inline]
#[must_use]
pub fn decimal_max(precision: u8) -> i128 {
    POWERS[usize::from(precision)] - 1
}

/// A DECIMAL's unscaled value: rounded half away from zero to `scale` digits, at most `max` in size.
///
/// # Errors
/// [`CastError::OutOfRange`], after rounding.
pub fn decimal(text: &str, scale: u8, max: i128) -> Result<i128, CastError> {
    let number = Decimal::parse(text)?;
    let (size, rest) = number.scaled(scale)?;
    // Compared before it is rounded up: the sum of a size beyond `max` may be none.
    let size = i128::try_from(size)
        .ok()
        .filter(|&size| size <= max - i128::from(rest.half));
    let size = size.ok_or(CastError::OutOfRange)? + i128::from(rest.half);
    Ok(if number.negative { -size } else { size })
}

/// The nearest double.
///
/// # Errors
/// [`CastError::OutOfRange`] where that is infinite. Too small a number is zero or denormal.
pub fn double(text: &str) -> Result<f64, CastError> {
    Decimal::parse(text)?;
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(CastError::OutOfRange),
        Err(_) => Err(CastError::Incorrect),
    }
}

/// The nearest single, from the text and not by way of a double.
///
/// # Errors
/// As [`double`].
pub fn float(text: &str) -> Result<f32, CastError> {
    Decimal::parse(text)?;
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(CastError::OutOfRange),
        Err(_) => Err(CastError::Incorrect),
    }
}

fn sign(bytes: &[u8]) -> (bool, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    }
}

fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CastError::{Fraction, Incorrect, OutOfRange};

    #[test]
    fn integers_are_exact_whatever_their_spelling() {
        let check = |text: &str, expected: Result<i128, CastError>| {
            assert_eq!(integer(text, -128, 127), expected, "{text}");
        };
        check("0", Ok(0));
        check("-0", Ok(0));
        check("127", Ok(127));
        check("128", Err(OutOfRange));
        check("-128", Ok(-128));
        check("-129", Err(OutOfRange));
        check("+5", Ok(5));
        check("007", Ok(7));
        check("1.0", Ok(1));
        check("1.", Ok(1));
        check(".0", Ok(0));
        check("1e2", Ok(100));
        check("1E+2", Ok(100));
        check("1e3", Err(OutOfRange));
        check("1200e-2", Ok(12));
        check("1250e-2", Err(Fraction));
        check("1.5", Err(Fraction));
        check("128.5", Err(OutOfRange));
        check("-0.5", Err(Fraction));
        check("1e-1", Err(Fraction));
        check("1e-999999999999999999999999", Err(Fraction));
        check("0e999999999999999999999999", Ok(0));
        check("1e999999999999999999999999", Err(OutOfRange));
        check(
            "99999999999999999999999999999999999999999999.5",
            Err(OutOfRange),
        );
        for text in [
            "", "-", "+", ".", "e5", "1e", "1e+", "1 ", " 1", "0x1", "1_0", "1.2.3", "--1",
        ] {
            check(text, Err(Incorrect));
        }
    }

    #[test]
    fn big_integers_keep_their_last_digit() {
        let check = |text: &str, expected| {
            assert_eq!(integer(text, 0, u64::MAX as i128), expected, "{text}");
        };
        check("18446744073709551615", Ok(u64::MAX as i128));
        check("18446744073709551616", Err(OutOfRange));
        check("9007199254740993", Ok(9_007_199_254_740_993));
        check("1844674407370955161.5e1", Ok(u64::MAX as i128));
        check("-1", Err(OutOfRange));
    }

    #[test]
    fn decimals_round_half_away_from_zero() {
        let check = |text: &str, expected| assert_eq!(decimal(text, 2, 99_999), expected, "{text}");
        check("1", Ok(100));
        check("1.005", Ok(101));
        check("1.0049999999999999999999999999999999999999999", Ok(100));
        check("-1.005", Ok(-101));
        check("0.005", Ok(1));
        check("0.0049", Ok(0));
        check("5e-3", Ok(1));
        check("5e-4", Ok(0));
        check("9e-4", Ok(0));
        check("999.99", Ok(99_999));
        check("999.994", Ok(99_999));
        check("999.995", Err(OutOfRange));
        check("1e3", Err(OutOfRange));
        check("99999e-2", Ok(99_999));
        let most = 10_i128.pow(38) - 1;
        assert_eq!(decimal(&"9".repeat(38), 0, most), Ok(most));
        assert_eq!(decimal(&"9".repeat(39), 0, most), Err(OutOfRange));
        assert_eq!(
            decimal(&format!("{}.5", "9".repeat(38)), 0, most),
            Err(OutOfRange)
        );
        assert_eq!(
            decimal(&format!("0.{}", "9".repeat(38)), 38, most),
            Ok(most)
        );
        // Rounded up past what an i128 and a u128 hold: once a wrong value in a release build.
        for text in [i128::MAX.to_string(), u128::MAX.to_string()] {
            for text in [format!("{text}.5"), format!("-{text}.5")] {
                assert_eq!(decimal(&text, 0, most), Err(OutOfRange), "{text}");
            }
        }
        let text = "1701411834604692317316873037158841057.275";
        assert_eq!(decimal(text, 2, 9_999_999_999), Err(OutOfRange));
    }

    #[test]
    fn floats_are_the_nearest_and_never_infinite() {
        assert_eq!(double("0.1"), Ok(0.1));
        assert_eq!(double("1.7976931348623157e308"), Ok(f64::MAX));
        assert_eq!(double("1.8e308"), Err(OutOfRange));
        assert_eq!(double("4.9e-324"), Ok(f64::from_bits(1)));
        assert_eq!(double("1e-400"), Ok(0.0));
        assert_eq!(
            double("2.2250738585072011e-308").map(f64::to_bits),
            Ok(0x000f_ffff_ffff_ffff)
        );
        // Rounded once: by way of a double this one would end a unit lower.
        assert_eq!(
            float("1.00000017881393432617187499").map(f32::to_bits),
            Ok(0x3f80_0001)
        );
        assert_eq!(float("3.5e38"), Err(OutOfRange));
        for text in ["nan", "NaN", "inf", "Infinity", "-inf", "", "1e", "0x1p3"] {
            assert_eq!(double(text), Err(Incorrect), "{text}");
            assert_eq!(float(text), Err(Incorrect), "{text}");
        }
    }
}
