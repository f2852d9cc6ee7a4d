//! FORMAT JSON: messages of JSON values to rows, by a mapping of paths to columns.
//!
//! Each value of a message is a row. A row is decoded in one pass, casting as it reads, on the guess
//! that the message looks like the one before ([`fast`], [`shape`]). Whatever that pass does not
//! expect (a cast that fails, a key twice, a text that is not JSON) it leaves to the exact one
//! ([`exact`]), which finds first where every value stands and then casts column by column: it alone
//! says why a message fails. Both must agree with the slow twin ([`twin`]), row for row: in the tests,
//! and on a user's own rows by AUDIT PIPELINE.
//!
//! What counts as JSON: RFC 8259 in UTF-8, without a byte order mark, every string well-formed,
//! nested at most [`crate::limits::NESTING_LEVELS_MAX`] deep, mapped or not. `docs/casts.md` has the
//! rest.

mod exact;
mod fast;
mod plan;
mod read;
mod scan;
mod shape;
pub mod twin;

use std::fmt::Write as _;

use storage::block::Tail;

use self::fast::Bail;
use self::plan::{ColumnPlan, Constant, Plan};
use self::scan::{Syntax, Wrong, white};
use self::shape::Shape;
use super::cast::CastError;
use super::decode::{BlockNeed, Decode, LoadLimits, Loaded, Message, Messages, Stop, walk};
use super::failure::{Failure, FailureClass, code};
use super::mapping::JsonMapping;
use super::types::SqlType;
use crate::kafka::Records;
use crate::limits::{
    MAPPED_COLUMNS_MAX, MESSAGE_ROWS_MAX, NESTING_LEVELS_MAX, PATH_KEYS_MAX, SCRATCH_KEPT_BYTES_MAX,
};

/// Why a mapping cannot be used: the user's fault, at CREATE PIPELINE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A type that is no type.
    #[error("column '{column}': {sql_type} is not a type that a column can have")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        sql_type: SqlType,
    },
    /// A DEFAULT that its column cannot hold.
    #[error("column '{column}': invalid default value: {error}")]
    Default {
        /// The column.
        column: String,
        /// Why.
        error: CastError,
    },
    /// A NOT NULL column without a DEFAULT that the mapping does not name.
    #[error("column '{column}' is NOT NULL, has no DEFAULT and is not in the mapping")]
    NoValue {
        /// The column.
        column: String,
    },
    /// A path of too many keys.
    #[error("column '{column}': a path of {keys} keys, at most {PATH_KEYS_MAX}")]
    PathTooLong {
        /// The column.
        column: String,
        /// Its keys.
        keys: usize,
    },
    /// Too many columns.
    #[error("{columns} columns, at most {MAPPED_COLUMNS_MAX}")]
    TooManyColumns {
        /// How many.
        columns: usize,
    },
}

/// FORMAT JSON's [`Decode`]. One a leaf partition: it learns what its messages look like.
pub struct JsonDecoder {
    plan: Plan,
    /// Per node: what its objects look like.
    shapes: Box<[Shape]>,
    /// Per node: the row in which it was last seen.
    seen: Box<[u64]>,
    /// Counts rows; the first is 1.
    row: u64,
    months: read::Months,
    /// Unescaped keys and strings.
    scratch: Vec<u8>,
    /// Per column: where its value stands, for the exact pass.
    spans: Box<[Option<exact::Span>]>,
    failure: Failure,
}

impl JsonDecoder {
    /// Makes a mapping ready.
    ///
    /// # Errors
    /// See [`MappingError`]: among them a DEFAULT that does not cast, so that no row can fail by it.
    pub fn new(mapping: &JsonMapping) -> Result<JsonDecoder, MappingError> {
        let plan = Plan::new(mapping)?;
        Ok(JsonDecoder {
            shapes: vec![Shape::default(); plan.nodes.len()].into(),
            seen: vec![0; plan.nodes.len()].into(),
            row: 0,
            months: read::Months::default(),
            scratch: Vec::new(),
            spans: vec![None; plan.columns.len()].into(),
            failure: Failure::default(),
            plan,
        })
    }

    /// Appends a row for each of the message's values.
    fn rows(&mut self, message: &Message<'_>, tail: &mut Tail<'_>) -> Result<u32, Stop> {
        let Ok(text) = simdutf8::basic::from_utf8(message.bytes) else {
            return Err(self.not_utf8(message.bytes));
        };
        let bytes = message.bytes;
        let mut rows = 0;
        let mut at = white(bytes, 0);
        if at == bytes.len() {
            return Err(self.syntax(
                1,
                Syntax {
                    at,
                    what: Wrong::NoValue,
                },
            ));
        }
        loop {
            if rows == MESSAGE_ROWS_MAX {
                return Err(self.too_many_rows());
            }
            if tail.rows_free() == 0 {
                return Err(Stop::Full);
            }
            let end = match self.fast_row(text, at, tail) {
                Ok(end) => end,
                Err(Bail::Full) => return Err(Stop::Full),
                Err(Bail::Exact) => self.exact_row(text, at, rows + 1, tail)?,
            };
            tail.end_row(message.offset, message.timestamp_ms);
            rows += 1;
            at = white(bytes, end);
            if at == bytes.len() {
                return Ok(rows);
            }
            if let Err(syntax) = scan::separator(bytes, end) {
                return Err(self.syntax(rows, syntax));
            }
        }
    }

    #[cold]
    fn syntax(&mut self, line: u32, syntax: Syntax) -> Stop {
        let Syntax { at, what } = syntax;
        let code = match what {
            Wrong::Depth => code::TOO_DEEP,
            _ => code::NOT_JSON,
        };
        let what = what.text();
        keep(
            &mut self.failure,
            FailureClass::Parser,
            code,
            None,
            line,
            |text| {
                if code == code::TOO_DEEP {
                    write!(
                        text,
                        "The JSON document exceeds the maximum depth of {NESTING_LEVELS_MAX}."
                    )
                } else {
                    write!(text, "Invalid JSON text: {what}, at byte {at}.")
                }
            },
        )
    }

    #[cold]
    fn not_utf8(&mut self, bytes: &[u8]) -> Stop {
        let at = match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(error) => error.valid_up_to(),
        };
        keep(
            &mut self.failure,
            FailureClass::Parser,
            code::NOT_UTF8,
            None,
            1,
            |text| write!(text, "Invalid utf8mb4 character string, at byte {at}."),
        )
    }

    #[cold]
    fn too_many_rows(&mut self) -> Stop {
        let line = MESSAGE_ROWS_MAX + 1;
        keep(
            &mut self.failure,
            FailureClass::Parser,
            code::NOT_JSON,
            None,
            line,
            |text| {
                write!(
                    text,
                    "More than {MESSAGE_ROWS_MAX} JSON values in one message."
                )
            },
        )
    }
}

impl Messages for JsonDecoder {
    #[inline]
    fn message(&mut self, message: &Message<'_>, tail: &mut Tail<'_>) -> Result<u32, Stop> {
        self.rows(message, tail)
    }

    fn failure(&self) -> &Failure {
        &self.failure
    }

    fn need(&self, message: &Message<'_>) -> BlockNeed {
        let bytes = message.bytes;
        let mut rows = 0;
        let mut at = white(bytes, 0);
        while at < bytes.len() && rows < MESSAGE_ROWS_MAX {
            rows += 1;
            match scan::value(bytes, at, 0) {
                Ok(end) => at = white(bytes, end),
                Err(_) => break,
            }
        }
        let strings = self.plan.columns.iter().filter(|c| c.cast.is_string());
        // Unescaped a string is never longer, but `true` is 1 and a DEFAULT comes from elsewhere.
        let string_bytes = |column: &ColumnPlan| {
            let default = column.default.as_ref().map_or(0, Constant::bytes);
            bytes.len() as u64 + u64::from(rows) * default as u64
        };
        let text = storage::limits::REJECT_TEXT_BYTES_MAX + storage::limits::REJECT_KEY_BYTES_MAX;
        BlockNeed {
            offset: message.offset,
            rows,
            string_bytes: strings.map(string_bytes).collect(),
            reject_bytes: (bytes.len() + text) as u64 + REJECT_FIXED_BYTES,
        }
    }
}

/// Keeps why a message fails, in memory that the last failure used.
fn keep(
    failure: &mut Failure,
    class: FailureClass,
    code: u16,
    column: Option<u16>,
    line: u32,
    write: impl FnOnce(&mut String) -> std::fmt::Result,
) -> Stop {
    (failure.class, failure.code) = (class, code);
    (failure.column, failure.line) = (column, line);
    failure.text.clear();
    // Writing to a String does not fail.
    let _ = write(&mut failure.text);
    Stop::Failed
}

/// A reject's own fields, with room to spare.
const REJECT_FIXED_BYTES: u64 = 64;

impl Decode for JsonDecoder {
    fn load(
        &mut self,
        records: &mut Records<'_>,
        limits: &LoadLimits,
        tail: &mut Tail<'_>,
    ) -> Loaded {
        let loaded = walk(self, records, limits, tail);
        if self.scratch.capacity() > SCRATCH_KEPT_BYTES_MAX {
            self.scratch = Vec::new();
        }
        loaded
    }
}

#[cfg(test)]
mod tests;
