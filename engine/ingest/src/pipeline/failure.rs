//! Why a message could not become rows: whose class it is, MySQL's error code, the column and a text.
//!
//! PARSER: the message, or a value for its column's type, cannot be read. CONSTRAINT: it was read and
//! does not fit its column. `docs/casts.md` says which is which, cast by cast.

use std::fmt;

use storage::block::RejectKind;

use super::mapping::SkipErrors;
use crate::limits::FAILURE_VALUE_BYTES_MAX;

/// What SKIP ... ERRORS goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The message, or a value for its column's type, cannot be read.
    Parser,
    /// It was read and does not fit: NULL, out of range, too long.
    Constraint,
}

impl FailureClass {
    /// Whether SKIP ... ERRORS makes a reject of it; otherwise it is the pipeline's error.
    #[must_use]
    pub fn skipped_by(self, skip: SkipErrors) -> bool {
        match (skip, self) {
            (SkipErrors::All, _)
            | (SkipErrors::Parser, FailureClass::Parser)
            | (SkipErrors::Constraint, FailureClass::Constraint) => true,
            (SkipErrors::None | SkipErrors::Parser | SkipErrors::Constraint, _) => false,
        }
    }

    /// How a reject keeps it.
    #[must_use]
    pub fn reject_kind(self) -> RejectKind {
        match self {
            FailureClass::Parser => RejectKind::Parser,
            FailureClass::Constraint => RejectKind::Constraint,
        }
    }
}

/// MySQL's error codes that a message can fail with.
pub mod code {
    /// ER_BAD_NULL_ERROR: NULL into NOT NULL.
    pub const NULL: u16 = 1048;
    /// ER_WARN_DATA_OUT_OF_RANGE: a number, date or time that its column's type cannot hold.
    pub const OUT_OF_RANGE: u16 = 1264;
    /// WARN_DATA_TRUNCATED: a fraction into an integer.
    pub const TRUNCATED: u16 = 1265;
    /// ER_TRUNCATED_WRONG_VALUE: not a date or time.
    pub const INCORRECT_TIME: u16 = 1292;
    /// ER_INVALID_CHARACTER_STRING: not UTF-8.
    pub const NOT_UTF8: u16 = 1300;
    /// ER_NO_DEFAULT_FOR_FIELD: the path is missing and has no DEFAULT.
    pub const MISSING: u16 = 1364;
    /// ER_TRUNCATED_WRONG_VALUE_FOR_FIELD: not a number.
    pub const INCORRECT: u16 = 1366;
    /// ER_DATA_TOO_LONG: more characters or bytes than the column takes.
    pub const TOO_LONG: u16 = 1406;
    /// ER_INVALID_JSON_TEXT: not JSON.
    pub const NOT_JSON: u16 = 3140;
    /// ER_JSON_DOCUMENT_TOO_DEEP: nested deeper than the bound.
    pub const TOO_DEEP: u16 = 3157;
}

/// One message's failure. Reused from message to message: a flood of rejects allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// PARSER or CONSTRAINT.
    pub class: FailureClass,
    /// MySQL's error code, see [`code`].
    pub code: u16,
    /// The column's place in the table, where one is to blame.
    pub column: Option<u16>,
    /// Which of the message's values it is; the first is 1.
    pub line: u32,
    /// One line for people.
    pub text: String,
}

impl Default for Failure {
    fn default() -> Failure {
        Failure {
            class: FailureClass::Parser,
            code: code::NOT_JSON,
            column: None,
            line: 1,
            text: String::new(),
        }
    }
}

/// A value as an error text shows it: one line, cut at a bound.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(text) = *self;
        let mut shown = 0;
        for c in text.chars() {
            shown += c.len_utf8();
            if shown > FAILURE_VALUE_BYTES_MAX {
                return f.write_str("...");
            }
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}
