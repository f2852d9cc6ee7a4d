//! The slow twin: the decode said again, as plainly as it can be, and sharing no line with the fast one.
//!
//! serde_json says what is JSON and what a string means; everything else is spelled out on strings and
//! vectors. Where the two differ, one of them is wrong: mostly not this one. The tests compare the two,
//! and AUDIT PIPELINE stored rows with what this makes of their messages.
//!
//! Slow, not careless: whatever the bytes, it does not panic, and of a message it keeps what the mapping
//! names, so that its memory is some times the message's size.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{MESSAGE_ROWS_MAX, NESTING_LEVELS_MAX};
use crate::pipeline::failure::FailureClass::{self, Constraint, Parser};
use crate::pipeline::{JsonMapping, Literal, MappedColumn, SqlType};

/// A value as it should lie in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// Integers; dates as days and times in their unit, since 1970; decimals unscaled.
    Int(i128),
    /// A DOUBLE's bits.
    Double(u64),
    /// A FLOAT's bits.
    Float(u32),
    /// Strings, and JSON's text.
    Text(String),
}

/// Why there are no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// PARSER or CONSTRAINT.
    pub class: FailureClass,
    /// `None` where the text is at fault and the codes may differ.
    pub code: Option<u16>,
    /// The column's place in the table, where one is to blame.
    pub column: Option<u16>,
    /// Which of the message's values it is; the first is 1.
    pub line: u32,
}

enum Tree<'m> {
    Null,
    Bool(bool),
    Number(&'m str),
    Text(String),
    Array,
    /// The members that a path goes through, the last of each name.
    Object(Vec<(String, Node<'m>)>),
}

struct Node<'m> {
    tree: Tree<'m>,
    raw: &'m str,
}

/// The rows of a message.
///
/// # Errors
/// Why there are none.
pub fn rows(mapping: &JsonMapping, message: &[u8]) -> Result<Vec<Vec<Cell>>, Refused> {
    let refused = |line| Refused {
        class: Parser,
        code: None,
        column: None,
        line,
    };
    let text = std::str::from_utf8(message).map_err(|_| refused(1))?;
    let paths = mapping.columns.iter().filter_map(|column| {
        let path = column.path.as_ref()?;
        Some(path.0.as_slice())
    });
    let paths: Vec<&[String]> = paths.collect();
    let mut rows = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    while let Some(value) = values.next() {
        let line = rows.len() as u32 + 1;
        if line > MESSAGE_ROWS_MAX {
            return Err(refused(line));
        }
        let raw = value.map_err(|_| refused(line))?.get();
        let node = node(raw, 0, &paths).ok_or(refused(line))?;
        let after = &text[values.byte_offset()..];
        if !raw.ends_with(['}', ']', '"'])
            && !after.is_empty()
            && !after.starts_with([' ', '\n', '\r', '\t'])
        {
            return Err(refused(line));
        }
        let mut row = Vec::new();
        for (at, column) in mapping.columns.iter().enumerate() {
            row.push(cell(column, &node).map_err(|(class, code)| Refused {
                class,
                code: Some(code),
                column: Some(at as u16),
                line,
            })?);
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(refused(1));
    }
    Ok(rows)
}

/// Walks an object: `each` gets name and value, and says whether to go on.
struct Members<F>(F);

impl<'de, F: FnMut(String, &'de RawValue) -> bool> Visitor<'de> for Members<F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let mut good = true;
        while let Some((name, value)) = map.next_entry()? {
            good = good && (self.0)(name, value);
        }
        Ok(good)
    }
}

/// Walks an array likewise.
struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for Elements<F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        let mut good = true;
        while let Some(value) = seq.next_element()? {
            good = good && (self.0)(value);
        }
        Ok(good)
    }
}

/// A tree, if all of it is well-formed, strings that serde_json would skip too. `paths`: what is to be
/// found in it.
fn node<'m>(raw: &'m str, depth: u32, paths: &[&[String]]) -> Option<Node<'m>> {
    let tree = match raw.as_bytes()[0] {
        b'n' => Tree::Null,
        b't' => Tree::Bool(true),
        b'f' => Tree::Bool(false),
        b'"' => Tree::Text(serde_json::from_str(raw).ok()?),
        b'[' | b'{' if depth == NESTING_LEVELS_MAX => return None,
        b'[' => {
            let element = |value: &'m RawValue| node(value.get(), depth + 1, &[]).is_some();
            let mut array = serde_json::Deserializer::from_str(raw);
            let good = array.deserialize_seq(Elements(element)).ok()?;
            good.then_some(Tree::Array)?
        }
        b'{' => {
            let mut kept: Vec<(String, Node<'m>)> = Vec::new();
            let member = |name: String, value: &'m RawValue| {
                let within = paths.iter().filter_map(|path| {
                    let (first, rest) = path.split_first()?;
                    (*first == name).then_some(rest)
                });
                let within: Vec<&[String]> = within.collect();
                let Some(node) = node(value.get(), depth + 1, &within) else {
                    return false;
                };
                if !within.is_empty() {
                    kept.retain(|(known, _)| *known != name);
                    kept.push((name, node));
                }
                true
            };
            let mut object = serde_json::Deserializer::from_str(raw);
            let good = object.deserialize_map(Members(member)).ok()?;
            good.then_some(Tree::Object(kept))?
        }
        _ => Tree::Number(raw),
    };
    Some(Node { tree, raw })
}

fn find<'a, 'm>(node: &'a Node<'m>, path: &[String]) -> Option<&'a Node<'m>> {
    let Some((key, rest)) = path.split_first() else {
        return Some(node);
    };
    let Tree::Object(members) = &node.tree else {
        return None;
    };
    let (_, last) = members.iter().rfind(|(known, _)| known == key)?;
    find(last, rest)
}

type Why = (FailureClass, u16);
const INCORRECT: Why = (Parser, 1366);
const INCORRECT_TIME: Why = (Parser, 1292);
/// 0000-01-01 and 10000-01-01, from `date -u -d`, in days since 1970.
const DAY_0000: i64 = -719_528;
const DAY_10000: i64 = 2_932_897;
const RANGE: Why = (Constraint, 1264);

fn cell(column: &MappedColumn, message: &Node<'_>) -> Result<Cell, Why> {
    let found = column.path.as_ref().and_then(|path| find(message, &path.0));
    let default;
    let node = match (found, &column.default, &column.path) {
        (Some(node), _, _) => node,
        (None, None, Some(_)) => return Err((Parser, 1364)),
        (None, literal, _) => {
            let (tree, raw) = match literal {
                None | Some(Literal::Null) => (Tree::Null, ""),
                Some(Literal::Bool(true)) => (Tree::Bool(true), "true"),
                Some(Literal::Bool(false)) => (Tree::Bool(false), "false"),
                Some(Literal::Number(text)) => (Tree::Number(text), text.as_str()),
                // For a JSON column the text is the JSON.
                Some(Literal::Text(text)) => (Tree::Text(text.clone()), text.as_str()),
            };
            default = Node { tree, raw };
            &default
        }
    };
    if matches!(node.tree, Tree::Null) {
        return if column.nullable {
            Ok(Cell::Null)
        } else {
            Err((Constraint, 1048))
        };
    }
    let int = |min: i128, max: i128| integer(scalar(node).ok_or(INCORRECT)?, min, max);
    let signed = |bits: u32| int(-(1 << (bits - 1)), (1 << (bits - 1)) - 1);
    let unsigned = |bits: u32| int(0, (1 << bits) - 1);
    let either = |is_unsigned: bool, bits| {
        if is_unsigned {
            unsigned(bits)
        } else {
            signed(bits)
        }
    };
    match column.sql_type {
        SqlType::TinyInt { unsigned } => either(unsigned, 8),
        SqlType::Bool => either(false, 8),
        SqlType::SmallInt { unsigned } => either(unsigned, 16),
        SqlType::MediumInt { unsigned } => either(unsigned, 24),
        SqlType::Int { unsigned } => either(unsigned, 32),
        SqlType::BigInt { unsigned } => either(unsigned, 64),
        SqlType::Float => {
            let text = scalar(node)
                .filter(|text| plain(text).is_some())
                .ok_or(INCORRECT)?;
            let value: f32 = text.parse().map_err(|_| INCORRECT)?;
            if value.is_infinite() {
                Err(RANGE)
            } else {
                Ok(Cell::Float(value.to_bits()))
            }
        }
        SqlType::Double => {
            let text = scalar(node)
                .filter(|text| plain(text).is_some())
                .ok_or(INCORRECT)?;
            let value: f64 = text.parse().map_err(|_| INCORRECT)?;
            if value.is_infinite() {
                Err(RANGE)
            } else {
                Ok(Cell::Double(value.to_bits()))
            }
        }
        SqlType::Decimal { precision, scale } => decimal(
            scalar(node).ok_or(INCORRECT)?,
            precision.into(),
            scale.into(),
        ),
        SqlType::Date => {
            let (day, ..) = moment(node).ok_or(INCORRECT_TIME)?;
            if !(DAY_0000..DAY_10000).contains(&day) {
                return Err(RANGE);
            }
            Ok(Cell::Int(day.into()))
        }
        SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => {
            let (day, second, fraction) = moment(node).ok_or(INCORRECT_TIME)?;
            let unit = 10_i128.pow(fsp.into());
            let mut digits = fraction + "0000000000";
            let rest = digits.split_off(fsp.into());
            let kept: i128 = format!("0{digits}").parse().expect("digits");
            let up = i128::from(rest.as_bytes()[0] >= b'5');
            let value = (i128::from(day) * 86_400 + i128::from(second)) * unit + kept + up;
            let low = i128::from(DAY_0000) * 86_400 * unit;
            let high = i128::from(DAY_10000) * 86_400 * unit;
            if value < low || value >= high {
                return Err(RANGE);
            }
            Ok(Cell::Int(value))
        }
        SqlType::Char { chars } => {
            let mut text = written(node);
            while text.ends_with(' ') {
                text.pop();
            }
            limited(text.chars().count(), chars.into(), text)
        }
        SqlType::VarChar { chars } => {
            let text = written(node);
            limited(text.chars().count(), chars as usize, text)
        }
        SqlType::TinyText => limited(written(node).len(), 255, written(node)),
        SqlType::Text => limited(written(node).len(), 65_535, written(node)),
        SqlType::MediumText => limited(written(node).len(), (1 << 24) - 1, written(node)),
        SqlType::LongText => Ok(Cell::Text(written(node))),
        SqlType::Json => Ok(Cell::Text(node.raw.to_owned())),
    }
}

fn limited(size: usize, most: usize, text: String) -> Result<Cell, Why> {
    if size > most {
        Err((Constraint, 1406))
    } else {
        Ok(Cell::Text(text))
    }
}

/// What a number may be read from.
fn scalar<'a>(node: &'a Node<'_>) -> Option<&'a str> {
    match &node.tree {
        Tree::Bool(true) => Some("1"),
        Tree::Bool(false) => Some("0"),
        Tree::Number(text) => Some(text),
        Tree::Text(text) => Some(text),
        Tree::Null | Tree::Array | Tree::Object(_) => None,
    }
}

/// What a string column takes.
fn written(node: &Node<'_>) -> String {
    match &node.tree {
        Tree::Array | Tree::Object(_) => node.raw.to_owned(),
        _ => scalar(node).expect("not null").to_owned(),
    }
}

/// A number with its point where the exponent puts it: negative, digits before, digits behind.
fn plain(text: &str) -> Option<(bool, String, String)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let size = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            // Beyond any column, whatever the digits.
            let beyond = unsigned.len() as i64 + 1_000;
            let size = size.parse::<i64>().unwrap_or(i64::MAX).min(beyond);
            (
                mantissa,
                if exponent.starts_with('-') {
                    -size
                } else {
                    size
                },
            )
        }
        None => (unsigned, 0),
    };
    let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if int.len() + frac.len() == 0
        || !int
            .bytes()
            .chain(frac.bytes())
            .all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let (mut int, mut frac) = (int.to_owned(), frac.to_owned());
    let zero = !int.bytes().chain(frac.bytes()).any(|byte| byte != b'0');
    let exponent = if zero { 0 } else { exponent };
    if exponent >= 0 {
        let steps = exponent as usize;
        frac.push_str(&"0".repeat(steps.saturating_sub(frac.len())));
        let behind = frac.split_off(steps);
        int.push_str(&frac);
        frac = behind;
    } else {
        let steps = (-exponent) as usize;
        int.insert_str(0, &"0".repeat(steps.saturating_sub(int.len())));
        let moved = int.split_off(int.len() - steps);
        frac.insert_str(0, &moved);
    }
    let int = int.trim_start_matches('0').to_owned();
    Some((text.starts_with('-'), int, frac))
}

fn integer(text: &str, min: i128, max: i128) -> Result<Cell, Why> {
    let (negative, int, frac) = plain(text).ok_or(INCORRECT)?;
    if int.len() > 30 {
        return Err(RANGE);
    }
    let size: i128 = format!("0{int}").parse().expect("digits");
    let value = if negative { -size } else { size };
    if value < min || value > max {
        return Err(RANGE);
    }
    if frac.bytes().any(|byte| byte != b'0') {
        return Err((Constraint, 1265));
    }
    Ok(Cell::Int(value))
}

fn decimal(text: &str, precision: u32, scale: usize) -> Result<Cell, Why> {
    let (negative, int, frac) = plain(text).ok_or(INCORRECT)?;
    let mut digits = frac + &"0".repeat(scale + 1);
    let rest = digits.split_off(scale);
    let all = format!("{int}{digits}");
    let all = all.trim_start_matches('0');
    if all.len() > 38 {
        return Err(RANGE);
    }
    let size: i128 = format!("0{all}").parse().expect("digits");
    let size = size + i128::from(rest.as_bytes()[0] >= b'5');
    if size >= 10_i128.pow(precision) {
        return Err(RANGE);
    }
    Ok(Cell::Int(if negative { -size } else { size }))
}

/// Days from 1970-01-01 to a year's first.
fn days_to(year: i64) -> i64 {
    // Leap years before it, from the year 0 on, which is one.
    let leaps = |year: i64| (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    year * 365 + leaps(year) - (1970 * 365 + leaps(1970))
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| range.contains(number))
}

/// Day, second of the day in UTC (normalised), digits of the fraction.
fn moment(node: &Node<'_>) -> Option<(i64, i64, String)> {
    let Tree::Text(text) = &node.tree else {
        return None;
    };
    let date = text.get(..10)?;
    let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else {
        return None;
    };
    let year = number(year, 4, 0..=9_999)?;
    let lengths = [
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let month = number(month, 2, 1..=12)? as usize;
    let day = number(day, 2, 1..=lengths[month - 1])?;
    let day = days_to(year) + lengths[..month - 1].iter().sum::<i64>() + day - 1;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return Some((day, 0, String::new()));
    };
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => {
            if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            (clock, fraction)
        }
        None => (time, ""),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let second = match parts[..] {
        [_, _, second] => number(second, 2, 0..=59)?,
        [_, _] if fraction.is_empty() && !time.contains('.') => 0,
        _ => return None,
    };
    let seconds = number(parts[0], 2, 0..=23)? * 3_600 + number(parts[1], 2, 0..=59)? * 60 + second;
    let offset = match zone {
        "" | "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = match zone.len() {
                3 => (&zone[1..], "00"),
                5 if zone.is_ascii() => (&zone[1..3], &zone[3..]),
                6 if zone.is_ascii() && &zone[3..4] == ":" => (&zone[1..3], &zone[4..]),
                _ => return None,
            };
            let size = number(hours, 2, 0..=14)? * 60 + number(minutes, 2, 0..=59)?;
            if size > 14 * 60 || !zone.starts_with(['+', '-']) {
                return None;
            }
            if zone.starts_with('-') { -size } else { size }
        }
    };
    let all = day * 86_400 + seconds - offset * 60;
    Some((
        all.div_euclid(86_400),
        all.rem_euclid(86_400),
        fraction.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_each_leap_year_once() {
        let mut day = DAY_0000;
        for year in 0..=10_000 {
            assert_eq!(days_to(year), day, "{year}");
            day += if is_leap(year) { 366 } else { 365 };
        }
        assert_eq!(days_to(10_000), DAY_10000);
    }
}
