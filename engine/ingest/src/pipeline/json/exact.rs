//! The pass that is right whatever the message holds, and says why one fails.
//!
//! First where every mapped value stands, with the last of a key's values winning over all that lay
//! below the earlier ones; then the casts, in the table's order: the first that fails is the row's
//! failure.

use std::fmt::Write as _;

use storage::block::Tail;

use super::plan::{NodeId, Plan, ROOT, UNKNOWN};
use super::scan::{self, Syntax, white};
use super::{JsonDecoder, keep};
use crate::pipeline::cast::{CastError, PutError, Value};
use crate::pipeline::decode::Stop;
use crate::pipeline::failure::{FailureClass, Shown, code};

/// A value's bytes in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl JsonDecoder {
    /// Puts the value at `at` into the tail's row and returns where it ends.
    #[cold]
    pub(super) fn exact_row(
        &mut self,
        text: &str,
        at: usize,
        line: u32,
        tail: &mut Tail<'_>,
    ) -> Result<usize, Stop> {
        let bytes = text.as_bytes();
        let value =
            scan::value(bytes, at, 0).and_then(|end| scan::separator(bytes, end).map(|()| end));
        let end = match value {
            Ok(end) => end,
            Err(syntax) => return Err(self.syntax(line, syntax)),
        };
        self.spans.fill(None);
        let mut locate = Locate {
            plan: &self.plan,
            spans: &mut self.spans,
            bytes,
            scratch: &mut self.scratch,
        };
        if let Err(syntax) = locate.value(ROOT, Span { start: at, end }) {
            return Err(self.syntax(line, syntax));
        }
        for column in 0..self.plan.columns.len() {
            self.exact_column(text, column, line, tail)?;
        }
        Ok(end)
    }

    fn exact_column(
        &mut self,
        text: &str,
        column: usize,
        line: u32,
        tail: &mut Tail<'_>,
    ) -> Result<(), Stop> {
        let plan = &self.plan.columns[column];
        let value = match (self.spans[column], &plan.default) {
            (Some(span), _) => value_of(&text[span.start..span.end], &mut self.scratch),
            (None, Some(default)) => default.value(),
            (None, None) => return Err(self.missing(column, line)),
        };
        match plan.cast.put(tail, column, plan.nullable, value) {
            Ok(()) => Ok(()),
            Err(PutError::Full) => Err(Stop::Full),
            Err(PutError::Cast(error)) => {
                let span = self.spans[column];
                let shown = span.map_or("DEFAULT", |span| &text[span.start..span.end]);
                Err(self.cast_failed(column, line, error, shown))
            }
        }
    }

    fn missing(&mut self, column: usize, line: u32) -> Stop {
        let plan = &self.plan.columns[column];
        let (name, path) = (&plan.name, plan.path.as_deref().unwrap_or_default());
        let (class, at) = (FailureClass::Parser, Some(column as u16));
        keep(&mut self.failure, class, code::MISSING, at, line, |text| {
            write!(
                text,
                "Field '{name}' doesn't have a default value: '{path}' is missing at row {line}"
            )
        })
    }

    fn cast_failed(&mut self, column: usize, line: u32, error: CastError, shown: &str) -> Stop {
        let plan = &self.plan.columns[column];
        let (name, noun, shown) = (&plan.name, plan.cast.noun(), Shown(shown));
        let (class, code, at) = (error.class(), error.code(), Some(column as u16));
        keep(
            &mut self.failure,
            class,
            code,
            at,
            line,
            |text| match error {
                CastError::Null => write!(text, "Column '{name}' cannot be null"),
                CastError::Incorrect | CastError::IncorrectTime | CastError::IncorrectJson => {
                    write!(
                        text,
                        "Incorrect {noun} value: '{shown}' for column '{name}' at row {line}"
                    )
                }
                CastError::OutOfRange => write!(
                    text,
                    "Out of range value for column '{name}' at row {line}: '{shown}'"
                ),
                CastError::Fraction => write!(
                    text,
                    "Data truncated for column '{name}' at row {line}: '{shown}' has a fraction"
                ),
                CastError::TooLong => {
                    write!(text, "Data too long for column '{name}' at row {line}")
                }
            },
        )
    }
}

/// What a value's text stands for. The text was accepted by [`scan::value`].
fn value_of<'a>(verbatim: &'a str, scratch: &'a mut Vec<u8>) -> Value<'a> {
    match verbatim.as_bytes() {
        [b'n', ..] => Value::Null,
        [b't', ..] => Value::Bool(true),
        [b'f', ..] => Value::Bool(false),
        [b'{' | b'[', ..] => Value::Document(verbatim),
        [b'"', ..] => {
            let content = &verbatim[1..verbatim.len() - 1];
            let text = match content.contains('\\') {
                true => unescaped(content, scratch),
                false => content,
            };
            Value::Text { text, verbatim }
        }
        _ => Value::Number(verbatim),
    }
}

fn unescaped<'a>(content: &str, scratch: &'a mut Vec<u8>) -> &'a str {
    scratch.resize(content.len(), 0);
    let len = scan::unescape(content.as_bytes(), scratch);
    std::str::from_utf8(&scratch[..len]).expect("escapes stand for characters")
}

/// Finds where every mapped value of an accepted value stands.
struct Locate<'a> {
    plan: &'a Plan,
    spans: &'a mut [Option<Span>],
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
}

impl Locate<'_> {
    /// Takes a node's value, forgetting what an earlier one set there and below. Recurses no deeper
    /// than the mapping's paths.
    fn value(&mut self, id: NodeId, span: Span) -> Result<(), Syntax> {
        let plan = self.plan;
        let node = &plan.nodes[usize::from(id)];
        for below in &plan.nodes[usize::from(id)..usize::from(node.below_end)] {
            for &column in &below.columns {
                self.spans[usize::from(column)] = None;
            }
        }
        for &column in &node.columns {
            self.spans[usize::from(column)] = Some(span);
        }
        if !node.has_children() || self.bytes[span.start] != b'{' {
            return Ok(());
        }
        let mut at = white(self.bytes, span.start + 1);
        while self.bytes[at] != b'}' {
            let (key, start) = scan::key(self.bytes, at)?;
            let mut content = &self.bytes[key.start..key.end];
            if key.escaped {
                self.scratch.resize(content.len(), 0);
                let len = scan::unescape(content, self.scratch);
                content = &self.scratch[..len];
            }
            let child = node.child(content);
            let end = scan::value(self.bytes, start, node.depth + 1)?;
            if child != UNKNOWN {
                self.value(child, Span { start, end })?;
            }
            at = white(self.bytes, end);
            if self.bytes[at] == b',' {
                at = white(self.bytes, at + 1);
            }
        }
        Ok(())
    }
}
