//! Functions of strings. Lengths and places count characters; what makes a string longer is bounded.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::convert::double_prefix;
use super::texts::Texts;
use super::{Call, Function};
use crate::sql::select::types::{Class, class, digits};

/// Functions of strings.
pub static FUNCTIONS: &[Function] = &[
    text("concat", 1, usize::MAX, |call| {
        build(call, |row, texts, out| {
            for text in texts {
                if text.is_null(row) {
                    return Ok(false);
                }
                out.push(text.value(row))?;
            }
            Ok(true)
        })
    }),
    text("concat_ws", 2, usize::MAX, |call| {
        build(call, |row, texts, out| {
            if texts[0].is_null(row) {
                return Ok(false);
            }
            let mut first = true;
            for text in texts[1..].iter().filter(|text| text.is_valid(row)) {
                if !first {
                    out.push(texts[0].value(row))?;
                }
                first = false;
                out.push(text.value(row))?;
            }
            Ok(true)
        })
    }),
    text("upper", 1, 1, |call| {
        each(call, |text, out| out.push(&text.to_uppercase()))
    }),
    text("lower", 1, 1, |call| {
        each(call, |text, out| out.push(&text.to_lowercase()))
    }),
    text("reverse", 1, 1, |call| {
        each(call, |text, out| {
            out.push(&text.chars().rev().collect::<String>())
        })
    }),
    text("hex", 1, 1, hex),
    text("left", 2, 2, |call| {
        with_int(call, |text, count, out| {
            out.push(take(text, 0, usize::try_from(count).unwrap_or(0)))
        })
    }),
    text("right", 2, 2, |call| {
        with_int(call, |text, count, out| {
            let count = usize::try_from(count).unwrap_or(0);
            let length = text.chars().count();
            out.push(take(text, length.saturating_sub(count), count))
        })
    }),
    text("substring", 2, 3, substring),
    text("substring_index", 3, 3, substring_index),
    text("replace", 3, 3, |call| {
        build(call, |row, texts, out| {
            if texts.iter().any(|text| text.is_null(row)) {
                return Ok(false);
            }
            let (text, from, into) = (
                texts[0].value(row),
                texts[1].value(row),
                texts[2].value(row),
            );
            if from.is_empty() {
                return out.push(text).map(|()| true);
            }
            for (at, piece) in text.split(from).enumerate() {
                if at > 0 {
                    out.push(into)?;
                }
                out.push(piece)?;
            }
            Ok(true)
        })
    }),
    text("repeat", 2, 2, |call| {
        with_int(call, |text, count, out| {
            out.repeat(text, usize::try_from(count).unwrap_or(0))
        })
    }),
    text("space", 1, 1, |call| {
        let counts = call.ints(0)?;
        call.texts_of(|row, out| {
            let count = usize::try_from(counts.value(row)).unwrap_or(0);
            Ok(counts.is_valid(row) && out.repeat(" ", count).map(|()| true)?)
        })
    }),
    text("lpad", 3, 3, |call| pad(call, true)),
    text("rpad", 3, 3, |call| pad(call, false)),
    text("trim", 1, 3, trim),
    text("elt", 2, usize::MAX, |call| {
        let places = call.ints(0)?;
        build(call, |row, texts, out| {
            if places.is_null(row) {
                return Ok(false);
            }
            let picked = usize::try_from(places.value(row))
                .ok()
                .filter(|place| *place >= 1)
                .and_then(|place| texts.get(place))
                .filter(|text| text.is_valid(row));
            match picked {
                Some(text) => out.push(text.value(row)).map(|()| true),
                None => Ok(false),
            }
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

fn count(values: impl Iterator<Item = Option<usize>>) -> Result<ArrayRef> {
    let array: Int64Array = values
        .map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)))
        .collect();
    Ok(Arc::new(array))
}

fn build(
    call: &Call,
    of: impl Fn(usize, &[StringArray], &mut Texts) -> Result<bool>,
) -> Result<ArrayRef> {
    let texts = (0..call.args.len())
        .map(|at| call.texts(at))
        .collect::<Result<Vec<_>>>()?;
    call.texts_of(|row, out| of(row, &texts, out))
}

fn each(call: &Call, of: impl Fn(&str, &mut Texts) -> Result<()>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    call.texts_of(|row, out| Ok(texts.is_valid(row) && of(texts.value(row), out).map(|()| true)?))
}

fn with_int(call: &Call, of: impl Fn(&str, i64, &mut Texts) -> Result<()>) -> Result<ArrayRef> {
    let (texts, numbers) = (call.texts(0)?, call.ints(1)?);
    call.texts_of(|row, out| {
        let is_value = texts.is_valid(row) && numbers.is_valid(row);
        Ok(is_value && of(texts.value(row), numbers.value(row), out).map(|()| true)?)
    })
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
    call.texts_of(|row, out| {
        if texts.is_null(row)
            || places.is_null(row)
            || lengths.as_ref().is_some_and(|lengths| lengths.is_null(row))
        {
            return Ok(false);
        }
        let (text, place) = (texts.value(row), places.value(row));
        let length = lengths
            .as_ref()
            .map_or(i64::MAX, |lengths| lengths.value(row));
        let chars = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let start = match place {
            0 => return Ok(true),
            place if place > 0 => place - 1,
            place => match chars.checked_add(place) {
                Some(start) if start >= 0 => start,
                _ => return Ok(true),
            },
        };
        let taken = take(
            text,
            usize::try_from(start).unwrap_or(usize::MAX),
            usize::try_from(length).unwrap_or(0),
        );
        out.push(taken).map(|()| true)
    })
}

fn substring_index(call: &Call) -> Result<ArrayRef> {
    let (texts, marks, counts) = (call.texts(0)?, call.texts(1)?, call.ints(2)?);
    call.texts_of(|row, out| {
        if texts.is_null(row) || marks.is_null(row) || counts.is_null(row) {
            return Ok(false);
        }
        let (text, mark, count) = (texts.value(row), marks.value(row), counts.value(row));
        if mark.is_empty() || count == 0 {
            return Ok(true);
        }
        let nth = usize::try_from(count.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let part = if count > 0 {
            match text.match_indices(mark).nth(nth) {
                Some((at, _)) => &text[..at],
                None => text,
            }
        } else {
            match text.rmatch_indices(mark).nth(nth) {
                Some((at, _)) => &text[at + mark.len()..],
                None => text,
            }
        };
        out.push(part).map(|()| true)
    })
}

fn pad(call: &Call, left: bool) -> Result<ArrayRef> {
    let (texts, lengths, fills) = (call.texts(0)?, call.ints(1)?, call.texts(2)?);
    call.texts_of(|row, out| {
        if texts.is_null(row) || lengths.is_null(row) || fills.is_null(row) {
            return Ok(false);
        }
        let (text, fill) = (texts.value(row), fills.value(row));
        let Ok(length) = usize::try_from(lengths.value(row)) else {
            return Ok(false);
        };
        let own = text.chars().count();
        if own >= length {
            return out.push(take(text, 0, length)).map(|()| true);
        }
        if fill.is_empty() {
            return Ok(true);
        }
        if !left {
            out.push(text)?;
        }
        let (wanted, chars) = (length - own, fill.chars().count());
        out.repeat(fill, wanted / chars)?;
        out.push(take(fill, 0, wanted % chars))?;
        if left {
            out.push(text)?;
        }
        Ok(true)
    })
}

/// TRIM(text, what, side).
fn trim(call: &Call) -> Result<ArrayRef> {
    let (texts, what) = (call.texts(0)?, call.texts(1)?);
    let side = call.word(2)?;
    call.texts_of(|row, out| {
        if texts.is_null(row) || what.is_null(row) {
            return Ok(false);
        }
        let (mut text, what) = (texts.value(row), what.value(row));
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
        out.push(text).map(|()| true)
    })
}

fn hex(call: &Call) -> Result<ArrayRef> {
    use std::fmt::Write as _;
    match class(call.args[0].data_type()) {
        Class::Text | Class::Null | Class::Date | Class::DateTime => each(call, |text, out| {
            for byte in text.bytes() {
                let written = write!(out, "{byte:02X}");
                out.written(written)?;
            }
            Ok(())
        }),
        _ => {
            let numbers = super::convert::uint64(&call.args[0])?;
            call.texts_of(|row, out| {
                let written = write!(out, "{:X}", numbers.value(row));
                out.written(written).map(|()| numbers.is_valid(row))
            })
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
