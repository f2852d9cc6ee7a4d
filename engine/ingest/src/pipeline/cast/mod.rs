//! One value of a message to its column's type, straight into the tail.
//!
//! `docs/casts.md` is the table of what casts to what and how each failure is classed; this is its
//! only code beside the twin in the tests. Every cast is exact or fails: nothing is cut, nothing
//! wraps, nothing passes through a float that is not for a float.

pub mod number;
pub mod time;

use storage::block::Tail;

use super::failure::{FailureClass, code};
use super::types::SqlType;

/// A value as the message has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number's text, verbatim.
    Number(&'a str),
    /// A string, unescaped, and its text with the quotes.
    Text {
        /// What it says.
        text: &'a str,
        /// As it stands in the message.
        verbatim: &'a str,
    },
    /// An object's or array's text, verbatim.
    Document(&'a str),
}

/// Why a value does not become one of its column's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// NULL into NOT NULL.
    #[error("NULL in a NOT NULL column")]
    Null,
    /// Not a number.
    #[error("not a number")]
    Incorrect,
    /// Not a date or time.
    #[error("not a date or time")]
    IncorrectTime,
    /// Not JSON: a DEFAULT of a JSON column.
    #[error("not JSON")]
    IncorrectJson,
    /// Beyond the type's range.
    #[error("out of the type's range")]
    OutOfRange,
    /// A fraction into an integer.
    #[error("a fraction in an integer")]
    Fraction,
    /// Too many characters or bytes.
    #[error("too long")]
    TooLong,
}

impl CastError {
    /// PARSER: not to be read as the type. CONSTRAINT: read, and does not fit.
    #[must_use]
    pub fn class(self) -> FailureClass {
        match self {
            CastError::Incorrect | CastError::IncorrectTime | CastError::IncorrectJson => {
                FailureClass::Parser
            }
            CastError::Null | CastError::OutOfRange | CastError::Fraction | CastError::TooLong => {
                FailureClass::Constraint
            }
        }
    }

    /// MySQL's error code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            CastError::Null => code::NULL,
            CastError::Incorrect => code::INCORRECT,
            CastError::IncorrectTime => code::INCORRECT_TIME,
            CastError::IncorrectJson => code::NOT_JSON,
            CastError::OutOfRange => code::OUT_OF_RANGE,
            CastError::Fraction => code::TRUNCATED,
            CastError::TooLong => code::TOO_LONG,
        }
    }
}

/// Why a value did not get into the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// The value's fault.
    Cast(CastError),
    /// The block's string region is full.
    Full,
}

impl From<CastError> for PutError {
    fn from(error: CastError) -> PutError {
        PutError::Cast(error)
    }
}

/// A column's type, made ready to cast to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// Up to 64 bits, signed.
    Int {
        /// How it lies.
        width: Width,
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Up to 64 bits, unsigned.
    UInt {
        /// How it lies.
        width: Width,
        /// Largest.
        max: u64,
    },
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// DATE.
    Date,
    /// DATETIME and TIMESTAMP.
    DateTime {
        /// Digits of the fraction that are kept: 0, 3, 6.
        digits: u8,
    },
    /// CHAR and VARCHAR.
    Chars {
        /// Characters at most.
        max: u32,
        /// CHAR: trailing spaces are no part of the value.
        trim: bool,
    },
    /// The TEXTs.
    Bytes {
        /// Bytes at most.
        max: u32,
    },
    /// JSON, verbatim.
    Json,
}

/// An integer's bits in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    W8,
    /// 16 bits.
    W16,
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

const INT24_MAX: i64 = (1 << 23) - 1;
const UINT24_MAX: u64 = (1 << 24) - 1;

impl Cast {
    /// The cast to a type; `None` for a type that cannot be: a DECIMAL of no or 39 digits, a fraction
    /// of 2 digits.
    #[must_use]
    pub fn to(sql_type: SqlType) -> Option<Cast> {
        use Width::{W8, W16, W32, W64};
        let int = |unsigned, width, max: i64, unsigned_max| {
            if unsigned {
                Cast::UInt {
                    width,
                    max: unsigned_max,
                }
            } else {
                Cast::Int {
                    width,
                    min: -max - 1,
                    max,
                }
            }
        };
        Some(match sql_type {
            SqlType::TinyInt { unsigned } => int(unsigned, W8, i8::MAX.into(), u8::MAX.into()),
            SqlType::Bool => int(false, W8, i8::MAX.into(), 0),
            SqlType::SmallInt { unsigned } => int(unsigned, W16, i16::MAX.into(), u16::MAX.into()),
            SqlType::MediumInt { unsigned } => int(unsigned, W32, INT24_MAX, UINT24_MAX),
            SqlType::Int { unsigned } => int(unsigned, W32, i32::MAX.into(), u32::MAX.into()),
            SqlType::BigInt { unsigned } => int(unsigned, W64, i64::MAX, u64::MAX),
            SqlType::Float => Cast::Float,
            SqlType::Double => Cast::Double,
            SqlType::Decimal { precision, scale } => {
                if !(1..=38).contains(&precision) || scale > precision {
                    return None;
                }
                Cast::Decimal { precision, scale }
            }
            SqlType::Date => Cast::Date,
            SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => match fsp {
                0 | 3 | 6 => Cast::DateTime { digits: fsp },
                _ => return None,
            },
            SqlType::Char { chars } => Cast::Chars {
                max: chars.into(),
                trim: true,
            },
            SqlType::VarChar { chars } => Cast::Chars {
                max: chars,
                trim: false,
            },
            SqlType::TinyText => Cast::Bytes { max: 255 },
            SqlType::Text => Cast::Bytes { max: 65_535 },
            SqlType::MediumText => Cast::Bytes { max: (1 << 24) - 1 },
            SqlType::LongText => Cast::Bytes { max: u32::MAX },
            SqlType::Json => Cast::Json,
        })
    }

    /// What an error text calls the type.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Cast::Int { .. } | Cast::UInt { .. } => "integer",
            Cast::Float => "float",
            Cast::Double => "double",
            Cast::Decimal { .. } => "decimal",
            Cast::Date => "date",
            Cast::DateTime { .. } => "datetime",
            Cast::Chars { .. } | Cast::Bytes { .. } => "string",
            Cast::Json => "json",
        }
    }

    /// Whether its column holds strings.
    #[must_use]
    pub fn is_string(self) -> bool {
        matches!(self, Cast::Chars { .. } | Cast::Bytes { .. } | Cast::Json)
    }

    /// Casts a value and puts it into the tail's row.
    ///
    /// # Errors
    /// See [`PutError`]; nothing of the row counts then.
    pub fn put(
        self,
        tail: &mut Tail<'_>,
        column: usize,
        nullable: bool,
        value: Value<'_>,
    ) -> Result<(), PutError> {
        let text = match value {
            Value::Null if nullable => {
                tail.put_null(column);
                return Ok(());
            }
            Value::Null => return Err(CastError::Null.into()),
            Value::Bool(value) => return self.put_bool(tail, column, value),
            Value::Number(text) => text,
            Value::Text { text, verbatim } => match self {
                Cast::Json => verbatim,
                _ => text,
            },
            Value::Document(text) if self.is_string() => text,
            Value::Document(_) => return Err(self.incorrect().into()),
        };
        if matches!(value, Value::Number(_)) && matches!(self, Cast::Date | Cast::DateTime { .. }) {
            // Seconds, milliseconds or a date written as a number: it does not say which.
            return Err(CastError::IncorrectTime.into());
        }
        self.put_text(tail, column, text)
    }

    fn put_bool(self, tail: &mut Tail<'_>, column: usize, value: bool) -> Result<(), PutError> {
        match self {
            Cast::Json => self.put_text(tail, column, if value { "true" } else { "false" }),
            Cast::Date | Cast::DateTime { .. } => Err(CastError::IncorrectTime.into()),
            _ => self.put_text(tail, column, if value { "1" } else { "0" }),
        }
    }

    fn incorrect(self) -> CastError {
        match self {
            Cast::Date | Cast::DateTime { .. } => CastError::IncorrectTime,
            _ => CastError::Incorrect,
        }
    }

    /// Casts a text that is a number's, a string's content or what a string column takes as it is.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_text(self, tail: &mut Tail<'_>, column: usize, text: &str) -> Result<(), PutError> {
        match self {
            Cast::Int { width, min, max } => {
                let value = number::integer(text, min.into(), max.into())?;
                put_int(tail, column, width, value as i64);
            }
            Cast::UInt { width, max } => {
                let value = number::integer(text, 0, max.into())?;
                put_uint(tail, column, width, value as u64);
            }
            Cast::Float => tail.put(column, number::float(text)?),
            Cast::Double => tail.put(column, number::double(text)?),
            Cast::Decimal { precision, scale } => {
                tail.put(
                    column,
                    number::decimal(text, scale, number::decimal_max(precision))?,
                );
            }
            Cast::Date => tail.put(column, time::date(text)?),
            Cast::DateTime { digits } => tail.put(column, time::datetime(text, digits)?),
            Cast::Chars { .. } | Cast::Bytes { .. } | Cast::Json => {
                let text = self.fitting(text)?;
                tail.put_str(column, text).map_err(|_| PutError::Full)?;
            }
        }
        Ok(())
    }

    /// A string as its column keeps it, if it is not too long.
    ///
    /// # Errors
    /// [`CastError::TooLong`].
    #[inline]
    pub fn fitting(self, text: &str) -> Result<&str, CastError> {
        Ok(&text[..self.fitting_bytes(text.as_bytes())?])
    }

    /// How many bytes of a string, which is UTF-8, its column keeps: all, or all but CHAR's spaces.
    ///
    /// # Errors
    /// [`CastError::TooLong`].
    #[inline]
    pub fn fitting_bytes(self, text: &[u8]) -> Result<usize, CastError> {
        match self {
            Cast::Chars { max, trim } => {
                let mut kept = text.len();
                while trim && kept > 0 && text[kept - 1] == b' ' {
                    kept -= 1;
                }
                // Bytes bound characters, and most strings are short: seldom counted.
                if kept > max as usize && characters(&text[..kept]) > max as usize {
                    return Err(CastError::TooLong);
                }
                Ok(kept)
            }
            Cast::Bytes { max } if text.len() > max as usize => Err(CastError::TooLong),
            _ => Ok(text.len()),
        }
    }
}

/// Characters of a text in UTF-8: the bytes that do not go on with one.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// Puts a signed integer that is known to fit.
#[inline]
pub fn put_int(tail: &mut Tail<'_>, column: usize, width: Width, value: i64) {
    match width {
        Width::W8 => tail.put(column, value as i8),
        Width::W16 => tail.put(column, value as i16),
        Width::W32 => tail.put(column, value as i32),
        Width::W64 => tail.put(column, value),
    }
}

/// Puts an unsigned integer that is known to fit.
#[inline]
pub fn put_uint(tail: &mut Tail<'_>, column: usize, width: Width, value: u64) {
    match width {
        Width::W8 => tail.put(column, value as u8),
        Width::W16 => tail.put(column, value as u16),
        Width::W32 => tail.put(column, value as u32),
        Width::W64 => tail.put(column, value),
    }
}
