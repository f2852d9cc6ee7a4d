//! Functions of strings. Lengths and places count characters; what makes a string longer is bounded.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::convert::double_prefix;
use super::{Call, Function};
use crate::limits::{STRING_BATCH_BYTES_MAX, STRING_RESULT_BYTES_MAX};
use crate::sql::error::{Code, SqlError};
use crate::sql::select::fault::wrap;
use crate::sql::select::types::{Class, class, digits};

/// Functions of strings.
pub static FUNCTIONS: &[Function] = &[
    text("concat", 1, usize::MAX, |call| {
        build(call, |row, texts| {
            let mut joined = String::new();
            for text in texts {
                if text.is_null(row) {
                    return Ok(None);
                }
                push(&mut joined, text.value(row), "concat")?;
            }
            Ok(Some(joined))
        })
    }),
    text("concat_ws", 2, usize::MAX, |call| {
        build(call, |row, texts| {
            if texts[0].is_null(row) {
                return Ok(None);
            }
            let mut joined = String::new();
            let mut first = true;
            for text in texts[1..].iter().filter(|text| text.is_valid(row)) {
                if !first {
                    push(&mut joined, texts[0].value(row), "concat_ws")?;
                }
                first = false;
                push(&mut joined, text.value(row), "concat_ws")?;
            }
            Ok(Some(joined))
        })
    }),
    text("upper", 1, 1, |call| {
        each(call, |text| Some(text.to_uppercase()))
    }),
    text("lower", 1, 1, |call| {
        each(call, |text| Some(text.to_lowercase()))
    }),
    text("reverse", 1, 1, |call| {
        each(call, |text| Some(text.chars().rev().collect()))
    }),
    text("hex", 1, 1, hex),
    text("left", 2, 2, |call| {
        with_int(call, |text, count| {
            Some(take(text, 0, usize::try_from(count).unwrap_or(0)).to_owned())
        })
    }),
    text("right", 2, 2, |call| {
        with_int(call, |text, count| {
            let count = usize::try_from(count).unwrap_or(0);
            let length = text.chars().count();
            Some(take(text, length.saturating_sub(count), count).to_owned())
        })
    }),
    text("substring", 2, 3, substring),
    text("substring_index", 3, 3, substring_index),
    text("replace", 3, 3, |call| {
        build(call, |row, texts| {
            if texts.iter().any(|text| text.is_null(row)) {
                return Ok(None);
            }
            let (text, from, into) = (
                texts[0].value(row),
                texts[1].value(row),
                texts[2].value(row),
            );
            if from.is_empty() {
                return Ok(Some(text.to_owned()));
            }
            let count = text.matches(from).count();
            bounded(text.len() + count.saturating_mul(into.len()), "replace")?;
            Ok(Some(text.replace(from, into)))
        })
    }),
    text("repeat", 2, 2, |call| {
        grown(call, |text, count| {
            let count = usize::try_from(count).unwrap_or(0);
            bounded(text.len().saturating_mul(count), "repeat")?;
            Ok(Some(text.repeat(count)))
        })
    }),
    text("space", 1, 1, |call| {
        let counts = call.ints(0)?;
        finish(counts.iter().map(|count| match count {
            None => Ok(None),
            Some(count) => {
                let count = usize::try_from(count).unwrap_or(0);
                bounded(count, "space")?;
                Ok(Some(" ".repeat(count)))
            }
        }))
    }),
    text("lpad", 3, 3, |call| pad(call, true)),
    text("rpad", 3, 3, |call| pad(call, false)),
    text("trim", 1, 3, trim),
    text("elt", 2, usize::MAX, |call| {
        let places = call.ints(0)?;
        build(call, |row, texts| {
            if places.is_null(row) {
                return Ok(None);
            }
            let picked = usize::try_from(places.value(row))
                .ok()
                .filter(|place| *place >= 1)
                .and_then(|place| texts.get(place));
            Ok(picked
                .filter(|text| text.is_valid(row))
                .map(|text| text.value(row).to_owned()))
        })
    }),
    number("length", 1, 1, |call| {
        let texts = call.texts(0)?;
        count(texts.iter().map(|text| text.map(str::len)))
    }),
    number("char_length", 1, 1, |call| {
        let texts = call.texts(0)?;
        count(
            texts
                .iter()
                .map(|text| text.map(|text| text.chars().count())),
        )
    }),
    number("bit_length", 1, 1, |call| {
        let texts = call.texts(0)?;
        count(texts.iter().map(|text| text.map(|text| text.len() * 8)))
    }),
    number("ascii", 1, 1, |call| {
        let texts = call.texts(0)?;
        count(
            texts
                .iter()
                .map(|text| text.map(|text| text.bytes().next().map_or(0, usize::from))),
        )
    }),
    // LOCATE(needle, text [, from]).
    number("locate", 2, 3, locate),
    // INSTR(text, needle).
    number("instr", 2, 2, |call| {
        let (texts, needles) = (call.texts(0)?, call.texts(1)?);
        count(
            texts
                .iter()
                .zip(needles.iter())
                .map(|(text, needle)| Some(place(text?, needle?, 1))),
        )
    }),
    number("field", 2, usize::MAX, field),
    number("find_in_set", 2, 2, |call| {
        let (needles, sets) = (call.texts(0)?, call.texts(1)?);
        count(needles.iter().zip(sets.iter()).map(|(needle, set)| {
            let (needle, set) = (needle?, set?);
            if set.is_empty() {
                return Some(0);
            }
            Some(
                set.split(',')
                    .position(|item| item == needle)
                    .map_or(0, |at| at + 1),
            )
        }))
    }),
];

const fn text(
    name: &'static str,
    least: usize,
    most: usize,
    eval: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        least,
        most,
        of: |_| Ok(DataType::Utf8),
        eval: Some(eval),
        lower: None,
    }
}

const fn number(
    name: &'static str,
    least: usize,
    most: usize,
    eval: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        least,
        most,
        of: |_| Ok(DataType::Int64),
        eval: Some(eval),
        lower: None,
    }
}

/// Refuses a string that would be too long to make.
fn bounded(bytes: usize, name: &str) -> Result<()> {
    if bytes > STRING_RESULT_BYTES_MAX {
        return Err(wrap(SqlError::new(
            Code::FunctionResultTooLong,
            format!(
                "Result of {name}() was larger than max_allowed_packet ({STRING_RESULT_BYTES_MAX})"
            ),
        )));
    }
    Ok(())
}

fn push(joined: &mut String, text: &str, name: &str) -> Result<()> {
    bounded(joined.len() + text.len(), name)?;
    joined.push_str(text);
    Ok(())
}

/// Collects strings, and refuses a batch of them that would not fit.
fn finish(values: impl Iterator<Item = Result<Option<String>>>) -> Result<ArrayRef> {
    let mut bytes = 0usize;
    let array: StringArray = values
        .map(|value| {
            let value = value?;
            bytes += value.as_ref().map_or(0, String::len);
            if bytes > STRING_BATCH_BYTES_MAX {
                return Err(wrap(SqlError::new(
                    Code::OutOfMemory,
                    format!(
                        "Out of memory for queries: the strings of one batch may have \
                         {STRING_BATCH_BYTES_MAX} bytes"
                    ),
                )));
            }
            Ok(value)
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(array))
}

fn count(values: impl Iterator<Item = Option<usize>>) -> Result<ArrayRef> {
    let array: Int64Array = values
        .map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)))
        .collect();
    Ok(Arc::new(array))
}

fn build(
    call: &Call,
    of: impl Fn(usize, &[StringArray]) -> Result<Option<String>>,
) -> Result<ArrayRef> {
    let texts = (0..call.args.len())
        .map(|at| call.texts(at))
        .collect::<Result<Vec<_>>>()?;
    finish((0..call.rows).map(|row| of(row, &texts)))
}

fn each(call: &Call, of: impl Fn(&str) -> Option<String>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    finish(texts.iter().map(|text| Ok(text.and_then(&of))))
}

fn with_int(call: &Call, of: impl Fn(&str, i64) -> Option<String>) -> Result<ArrayRef> {
    grown(call, |text, number| Ok(of(text, number)))
}

fn grown(call: &Call, of: impl Fn(&str, i64) -> Result<Option<String>>) -> Result<ArrayRef> {
    let (texts, numbers) = (call.texts(0)?, call.ints(1)?);
    finish(texts.iter().zip(numbers.iter()).map(|pair| match pair {
        (Some(text), Some(number)) => of(text, number),
        _ => Ok(None),
    }))
}

/// The `count` characters from `from` on, counted from 0.
fn take(text: &str, from: usize, count: usize) -> &str {
    let start = text
        .char_indices()
        .nth(from)
        .map_or(text.len(), |(at, _)| at);
    let rest = &text[start..];
    let end = rest
        .char_indices()
        .nth(count)
        .map_or(rest.len(), |(at, _)| at);
    &rest[..end]
}

fn substring(call: &Call) -> Result<ArrayRef> {
    let (texts, places) = (call.texts(0)?, call.ints(1)?);
    let lengths = (call.args.len() > 2).then(|| call.ints(2)).transpose()?;
    finish((0..call.rows).map(|row| {
        if texts.is_null(row)
            || places.is_null(row)
            || lengths.as_ref().is_some_and(|lengths| lengths.is_null(row))
        {
            return Ok(None);
        }
        let (text, place) = (texts.value(row), places.value(row));
        let length = lengths
            .as_ref()
            .map_or(i64::MAX, |lengths| lengths.value(row));
        let chars = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let start = match place {
            0 => return Ok(Some(String::new())),
            place if place > 0 => place - 1,
            place => match chars.checked_add(place) {
                Some(start) if start >= 0 => start,
                _ => return Ok(Some(String::new())),
            },
        };
        let taken = take(
            text,
            usize::try_from(start).unwrap_or(usize::MAX),
            usize::try_from(length).unwrap_or(0),
        );
        Ok(Some(taken.to_owned()))
    }))
}

fn substring_index(call: &Call) -> Result<ArrayRef> {
    let (texts, marks, counts) = (call.texts(0)?, call.texts(1)?, call.ints(2)?);
    finish((0..call.rows).map(|row| {
        if texts.is_null(row) || marks.is_null(row) || counts.is_null(row) {
            return Ok(None);
        }
        let (text, mark, count) = (texts.value(row), marks.value(row), counts.value(row));
        if mark.is_empty() || count == 0 {
            return Ok(Some(String::new()));
        }
        let nth = usize::try_from(count.unsigned_abs() - 1).unwrap_or(usize::MAX);
        Ok(Some(if count > 0 {
            match text.match_indices(mark).nth(nth) {
                Some((at, _)) => text[..at].to_owned(),
                None => text.to_owned(),
            }
        } else {
            match text.rmatch_indices(mark).nth(nth) {
                Some((at, _)) => text[at + mark.len()..].to_owned(),
                None => text.to_owned(),
            }
        }))
    }))
}

fn pad(call: &Call, left: bool) -> Result<ArrayRef> {
    let (texts, lengths, fills) = (call.texts(0)?, call.ints(1)?, call.texts(2)?);
    let name = if left { "lpad" } else { "rpad" };
    finish((0..call.rows).map(|row| {
        if texts.is_null(row) || lengths.is_null(row) || fills.is_null(row) {
            return Ok(None);
        }
        let (text, fill) = (texts.value(row), fills.value(row));
        let Ok(length) = usize::try_from(lengths.value(row)) else {
            return Ok(None);
        };
        let own = text.chars().count();
        if own >= length {
            return Ok(Some(take(text, 0, length).to_owned()));
        }
        if fill.is_empty() {
            return Ok(Some(String::new()));
        }
        let most = fill.chars().map(char::len_utf8).max().unwrap_or(1);
        bounded(
            text.len()
                .saturating_add((length - own).saturating_mul(most)),
            name,
        )?;
        let filling: String = fill.chars().cycle().take(length - own).collect();
        Ok(Some(if left {
            filling + text
        } else {
            text.to_owned() + &filling
        }))
    }))
}

/// TRIM(text, what, side).
fn trim(call: &Call) -> Result<ArrayRef> {
    let (texts, what) = (call.texts(0)?, call.texts(1)?);
    let side = call.word(2)?;
    finish(texts.iter().zip(what.iter()).map(|pair| {
        let (Some(mut text), Some(what)) = pair else {
            return Ok(None);
        };
        if !what.is_empty() {
            if side != "trailing" {
                while let Some(rest) = text.strip_prefix(what) {
                    text = rest;
                }
            }
            if side != "leading" {
                while let Some(rest) = text.strip_suffix(what) {
                    text = rest;
                }
            }
        }
        Ok(Some(text.to_owned()))
    }))
}

fn hex(call: &Call) -> Result<ArrayRef> {
    match class(call.args[0].data_type()) {
        Class::Text | Class::Null | Class::Date | Class::DateTime => each(call, |text| {
            Some(text.bytes().map(|byte| format!("{byte:02X}")).collect())
        }),
        _ => {
            let numbers = super::convert::uint64(&call.args[0])?;
            finish(
                numbers
                    .iter()
                    .map(|number| Ok(number.map(|number| format!("{number:X}")))),
            )
        }
    }
}

/// The character, from 1, at which `needle` stands in `text` from the `from`-th on; 0 for nowhere.
fn place(text: &str, needle: &str, from: usize) -> usize {
    let Some(skip) = from.checked_sub(1) else {
        return 0;
    };
    let Some((start, _)) = text
        .char_indices()
        .map(|(at, c)| (at, Some(c)))
        .chain([(text.len(), None)])
        .nth(skip)
    else {
        return 0;
    };
    text[start..]
        .find(needle)
        .map_or(0, |at| text[..start + at].chars().count() + 1)
}

fn locate(call: &Call) -> Result<ArrayRef> {
    let (needles, texts) = (call.texts(0)?, call.texts(1)?);
    let from = (call.args.len() > 2).then(|| call.ints(2)).transpose()?;
    count((0..call.rows).map(|row| {
        if needles.is_null(row) || texts.is_null(row) {
            return None;
        }
        let from = match &from {
            None => 1,
            Some(from) if from.is_null(row) => return None,
            Some(from) => usize::try_from(from.value(row)).unwrap_or(0),
        };
        Some(place(texts.value(row), needles.value(row), from))
    }))
}

fn field(call: &Call) -> Result<ArrayRef> {
    let as_text = call
        .args
        .iter()
        .all(|arg| class(arg.data_type()) == Class::Text);
    let texts = (0..call.args.len())
        .map(|at| call.texts(at))
        .collect::<Result<Vec<_>>>()?;
    // All numbers and no fraction: their texts are equal when they are.
    let exact = call
        .args
        .iter()
        .all(|arg| matches!(class(arg.data_type()), Class::Int | Class::Unsigned))
        && call.args.iter().all(|arg| digits(arg.data_type()).1 == 0);
    count((0..call.rows).map(|row| {
        if texts[0].is_null(row) {
            return Some(0);
        }
        let wanted = texts[0].value(row);
        let found = texts[1..].iter().position(|text| {
            text.is_valid(row)
                && if as_text || exact {
                    text.value(row) == wanted
                } else {
                    double_prefix(text.value(row)) == double_prefix(wanted)
                }
        });
        Some(found.map_or(0, |at| at + 1))
    }))
}
