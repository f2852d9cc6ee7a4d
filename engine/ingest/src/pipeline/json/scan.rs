//! JSON text, byte by byte or eight at a time: where a value ends, and that it is one.
//!
//! Everything here takes bytes that are known to be UTF-8 and checks the rest of RFC 8259: no byte of
//! a message goes unchecked, mapped or not. A string with a control character, an unknown escape or
//! half a surrogate pair is refused wherever it stands.

use crate::limits::NESTING_LEVELS_MAX;

/// What is wrong with a message's text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    /// The byte, from 0.
    pub at: usize,
    /// What.
    pub what: Wrong,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The message ends within a value.
    CutOff,
    /// No value starts with this byte.
    NoValue,
    /// Not `true`, `false` or `null`.
    Literal,
    /// Not a number as JSON writes it.
    Number,
    /// A control character in a string.
    Control,
    /// Not an escape.
    Escape,
    /// Half a surrogate pair.
    Surrogate,
    /// A key was expected.
    Key,
    /// A colon was expected.
    Colon,
    /// A comma or the object's or array's end was expected.
    Comma,
    /// Values that are neither delimited nor separated.
    Separator,
    /// Nested deeper than the bound.
    Depth,
}

impl Wrong {
    pub(super) fn text(self) -> &'static str {
        match self {
            Wrong::CutOff => "the message ends within a value",
            Wrong::NoValue => "a value was expected",
            Wrong::Literal => "neither true, false nor null",
            Wrong::Number => "not a number",
            Wrong::Control => "a control character in a string",
            Wrong::Escape => "an unknown escape in a string",
            Wrong::Surrogate => "half a surrogate pair in a string",
            Wrong::Key => "a key was expected",
            Wrong::Colon => "a colon was expected",
            Wrong::Comma => "a comma or an end was expected",
            Wrong::Separator => "white space was expected between two values",
            Wrong::Depth => "nested too deep",
        }
    }
}

fn wrong<T>(at: usize, what: Wrong) -> Result<T, Syntax> {
    Err(Syntax { at, what })
}

/// What `at` should not be: the message's end, or another byte.
fn unexpected<T>(bytes: &[u8], at: usize, what: Wrong) -> Result<T, Syntax> {
    wrong(
        at,
        if at < bytes.len() {
            what
        } else {
            Wrong::CutOff
        },
    )
}

/// The first byte from `at` on that is not white space, or the end.
#[inline]
pub(super) fn white(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Eight bytes from `at` on, the first lowest; zeros beyond the end.
#[inline(always)]
pub(super) fn eight(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => eight_at_the_end(bytes, at),
    }
}

/// Out of the way: the common case is one compare and one load.
#[inline(never)]
fn eight_at_the_end(bytes: &[u8], at: usize) -> u64 {
    let missing = (at + 8).saturating_sub(bytes.len());
    match bytes.last_chunk::<8>() {
        Some(last) if missing < 8 => u64::from_le_bytes(*last) >> (8 * missing),
        Some(_) => 0,
        None => {
            let mut chunk = [0; 8];
            for (to, from) in chunk.iter_mut().zip(bytes.iter().skip(at)) {
                *to = *from;
            }
            u64::from_le_bytes(chunk)
        }
    }
}

/// Sixteen bytes from `at` on, as [`eight`].
#[inline(always)]
pub(super) fn sixteen(bytes: &[u8], at: usize) -> u128 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => sixteen_at_the_end(bytes, at),
    }
}

#[inline(never)]
fn sixteen_at_the_end(bytes: &[u8], at: usize) -> u128 {
    u128::from(eight(bytes, at)) | (u128::from(eight(bytes, at + 8)) << 64)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Where among eight bytes, the first lowest, the first one stands that ends a plain run of a string:
/// a quote, a backslash, a control character. 8 if there is none.
#[inline(always)]
fn first_special(word: u64) -> usize {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20);
    // The high bit of each such byte: exact up to and with the lowest that is set, which is asked for.
    let special = ((quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (control & !word))
        & HIGHS;
    (special.trailing_zeros() / 8) as usize
}

/// The first quote, backslash or control character from `at` on.
#[inline(always)]
pub(super) fn special(bytes: &[u8], mut at: usize) -> Result<usize, Syntax> {
    // Zeros beyond the end count as control characters, so something is found.
    loop {
        let found = first_special(eight(bytes, at));
        at += found;
        if found < 8 {
            break;
        }
    }
    if at < bytes.len() {
        Ok(at)
    } else {
        wrong(bytes.len(), Wrong::CutOff)
    }
}

/// A string's place: its content lies in `start..end`, the quotes around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StringSpan {
    pub start: usize,
    pub end: usize,
    /// Whether it holds an escape.
    pub escaped: bool,
}

/// The string whose opening quote stands at `at`.
#[inline]
pub(super) fn string(bytes: &[u8], at: usize) -> Result<StringSpan, Syntax> {
    debug_assert_eq!(bytes.get(at), Some(&b'"'));
    let start = at + 1;
    let end = special(bytes, start)?;
    if bytes[end] == b'"' {
        return Ok(StringSpan {
            start,
            end,
            escaped: false,
        });
    }
    escaped_string(bytes, start, end)
}

fn escaped_string(bytes: &[u8], start: usize, mut at: usize) -> Result<StringSpan, Syntax> {
    loop {
        at = match bytes[at] {
            b'"' => {
                return Ok(StringSpan {
                    start,
                    end: at,
                    escaped: true,
                });
            }
            b'\\' => escape(bytes, at)?.1,
            _ => return wrong(at, Wrong::Control),
        };
        at = special(bytes, at)?;
    }
}

/// The character that the escape at `at` stands for, and the byte after it.
#[inline]
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Syntax> {
    let Some(&kind) = bytes.get(at + 1) else {
        return wrong(at, Wrong::CutOff);
    };
    let plain = match kind {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(bytes, at),
        _ => return wrong(at, Wrong::Escape),
    };
    Ok((plain, at + 2))
}

fn unicode_escape(bytes: &[u8], at: usize) -> Result<(char, usize), Syntax> {
    let unit = four_hex(bytes, at + 2).ok_or(Syntax {
        at,
        what: Wrong::Escape,
    })?;
    if let Some(one) = char::from_u32(unit) {
        return Ok((one, at + 6));
    }
    // A surrogate: only the first half, followed by the second, is a character.
    let second = match bytes.get(at + 6..at + 8) {
        Some(b"\\u") if unit < 0xdc00 => four_hex(bytes, at + 8),
        _ => None,
    };
    match second {
        Some(second @ 0xdc00..=0xdfff) => {
            let code = 0x1_0000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
            char::from_u32(code)
                .map(|one| (one, at + 12))
                .ok_or(Syntax {
                    at,
                    what: Wrong::Surrogate,
                })
        }
        _ => wrong(at, Wrong::Surrogate),
    }
}

fn four_hex(bytes: &[u8], at: usize) -> Option<u32> {
    let mut unit = 0;
    for byte in bytes.get(at..at + 4)? {
        unit = unit * 16 + char::from(*byte).to_digit(16)?;
    }
    Some(unit)
}

/// Writes what a string's content stands for. An escape is never shorter than what it stands for, so
/// `to` of the content's length is enough.
///
/// - `content`: between the quotes, of a string that [`string`] has accepted.
/// - Returns the bytes written, which are UTF-8.
pub(super) fn unescape(content: &[u8], to: &mut [u8]) -> usize {
    let mut from = 0;
    let mut len = 0;
    loop {
        // What ends a run can only be a backslash here, or the content's end.
        let run = special(content, from).unwrap_or(content.len()) - from;
        to[len..len + run].copy_from_slice(&content[from..from + run]);
        from += run;
        len += run;
        if from == content.len() {
            return len;
        }
        let (one, next) = escape(content, from).expect("a string that was accepted");
        len += one.encode_utf8(&mut to[len..]).len();
        from = next;
    }
}

/// Where the number that starts at `at` ends.
#[inline]
pub(super) fn number(bytes: &[u8], at: usize) -> Result<usize, Syntax> {
    let mut end = at + usize::from(bytes.get(at) == Some(&b'-'));
    match bytes.get(end) {
        Some(b'0') => end += 1,
        Some(b'1'..=b'9') => end = digits(bytes, end),
        _ => return unexpected(bytes, end, Wrong::Number),
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(bytes, end + 1);
        if fraction == end + 1 {
            return unexpected(bytes, fraction, Wrong::Number);
        }
        end = fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        end += 1;
        end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
        let exponent = digits(bytes, end);
        if exponent == end {
            return unexpected(bytes, exponent, Wrong::Number);
        }
        end = exponent;
    }
    // `01`, `1x`, `1.2.3`: to be refused here, where it is known to be a number's fault.
    match bytes.get(end) {
        Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'a'..=b'z' | b'A'..=b'Z') => {
            wrong(end, Wrong::Number)
        }
        _ => Ok(end),
    }
}

#[inline]
fn digits(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// Where the literal that starts at `at` ends, and its first letter.
#[inline]
pub(super) fn literal(bytes: &[u8], at: usize) -> Result<usize, Syntax> {
    let word: &[u8] = match bytes.get(at) {
        Some(b't') => b"true",
        Some(b'f') => b"false",
        Some(b'n') => b"null",
        _ => return unexpected(bytes, at, Wrong::NoValue),
    };
    if bytes[at..].starts_with(word) {
        Ok(at + word.len())
    } else {
        wrong(at, Wrong::Literal)
    }
}

/// Where the value that starts at `at` ends.
///
/// - `depth`: objects and arrays around it.
#[inline]
pub(super) fn value(bytes: &[u8], at: usize, depth: u32) -> Result<usize, Syntax> {
    match bytes.get(at) {
        Some(b'"') => Ok(string(bytes, at)?.end + 1),
        Some(b'-' | b'0'..=b'9') => number(bytes, at),
        Some(b'{' | b'[') => nested(bytes, at, depth),
        _ => literal(bytes, at),
    }
}

/// What follows a value that ends at `end` may be another one: directly behind `}`, `]` and `"`,
/// behind white space otherwise.
#[inline]
pub(super) fn separator(bytes: &[u8], end: usize) -> Result<(), Syntax> {
    match (bytes[end - 1], bytes.get(end)) {
        (b'}' | b']' | b'"', _) | (_, None | Some(b' ' | b'\n' | b'\r' | b'\t')) => Ok(()),
        _ => wrong(end, Wrong::Separator),
    }
}

/// Where the object or array that starts at `at` ends. No recursion: a bit a level.
fn nested(bytes: &[u8], mut at: usize, outside: u32) -> Result<usize, Syntax> {
    let mut objects = 0_u128;
    let mut levels = 0;
    loop {
        match bytes.get(at) {
            Some(&open @ (b'{' | b'[')) => {
                if outside + levels >= NESTING_LEVELS_MAX {
                    return wrong(at, Wrong::Depth);
                }
                let object = open == b'{';
                objects = objects << 1 | u128::from(object);
                levels += 1;
                let first = white(bytes, at + 1);
                // `]` and `}` stand two behind `[` and `{`.
                if bytes.get(first) != Some(&(open + 2)) {
                    at = if object { key(bytes, first)?.1 } else { first };
                    continue;
                }
                at = first + 1;
                objects >>= 1;
                levels -= 1;
            }
            Some(b'"') => at = string(bytes, at)?.end + 1,
            Some(b'-' | b'0'..=b'9') => at = number(bytes, at)?,
            _ => at = literal(bytes, at)?,
        }
        loop {
            if levels == 0 {
                return Ok(at);
            }
            at = white(bytes, at);
            let object = objects & 1 == 1;
            match bytes.get(at) {
                Some(b',') => {
                    at = white(bytes, at + 1);
                    if object {
                        at = key(bytes, at)?.1;
                    }
                    break;
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                _ => return unexpected(bytes, at, Wrong::Comma),
            }
            at += 1;
            objects >>= 1;
            levels -= 1;
        }
    }
}

/// The key that starts at `at`, and where its value starts.
#[inline]
pub(super) fn key(bytes: &[u8], at: usize) -> Result<(StringSpan, usize), Syntax> {
    if bytes.get(at) != Some(&b'"') {
        return unexpected(bytes, at, Wrong::Key);
    }
    let key = string(bytes, at)?;
    let colon = white(bytes, key.end + 1);
    if bytes.get(colon) != Some(&b':') {
        return unexpected(bytes, colon, Wrong::Colon);
    }
    Ok((key, white(bytes, colon + 1)))
}

/// How many of eight bytes, from the lowest on, are digits, and their digits with zeros for the rest.
#[inline]
pub(super) fn leading_digits(word: u64) -> (u32, u64) {
    let digits = word ^ (ONES * b'0' as u64);
    // A byte that is no digit: above 9, so that adding 0x76 or its own high bit shows.
    let others = (digits.wrapping_add(ONES * 0x76) | digits) & HIGHS;
    (others.trailing_zeros() / 8, digits)
}

/// The number that the first `count` of eight digits write, first lowest; `1 <= count <= 8`.
#[inline]
pub(super) fn digits_value(digits: u64, count: u32) -> u64 {
    debug_assert!((1..=8).contains(&count));
    // Leading zeros in place of what follows.
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    const MASK: u64 = 0x0000_00ff_0000_00ff;
    let high = (pairs & MASK).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((pairs >> 16) & MASK).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_of_eight() {
        for place in 0..=8 {
            for special in 0..=255_u8 {
                for filler in [
                    b' ', b'a', 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff,
                ] {
                    let mut bytes = [filler; 8];
                    if place < 8 {
                        bytes[place] = special;
                    }
                    let expected = bytes
                        .iter()
                        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
                        .unwrap_or(8);
                    let word = u64::from_le_bytes(bytes);
                    assert_eq!(first_special(word), expected, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn loads_beyond_the_end_are_zeros() {
        let text: Vec<u8> = (1..=40).collect();
        for len in 0..=40 {
            for at in 0..=len + 20 {
                let mut expected = [0; 16];
                for (to, from) in expected.iter_mut().zip(text[..len].iter().skip(at)) {
                    *to = *from;
                }
                assert_eq!(
                    sixteen(&text[..len], at).to_le_bytes(),
                    expected,
                    "{at} of {len}"
                );
            }
        }
    }

    #[test]
    fn digits_eight_at_a_time() {
        for text in [
            "0", "7", "12", "123", "1234", "12345", "123456", "1234567", "12345678", "00000009",
            "99999999",
        ] {
            for after in ["", "x", ":", "/", "\u{80}", "\u{ff}99999999", ".5", "\0\0"] {
                let bytes = format!("{text}{after}");
                let (count, digits) = leading_digits(eight(bytes.as_bytes(), 0));
                assert_eq!(count as usize, text.len(), "{bytes:?}");
                assert_eq!(
                    digits_value(digits, count).to_string(),
                    text.trim_start_matches('0').to_owned() + if text == "0" { "0" } else { "" }
                );
            }
        }
    }
}
