//! The SQL types a column can have, what they are stored as, and the text that names them.

use serde::{Deserialize, Serialize};
use storage::schema::{Physical, TimeUnit};

/// A column's type as CREATE TABLE says it. MySQL's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SqlType {
    /// TINYINT, 8 bits.
    TinyInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// SMALLINT, 16 bits.
    SmallInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// MEDIUMINT, 24 bits, stored in 32.
    MediumInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// INT, 32 bits.
    Int {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// BIGINT, 64 bits.
    BigInt {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// BOOL: TINYINT(1), holding 0 and 1 from a JSON boolean and any TINYINT from a number.
    Bool,
    /// FLOAT, IEEE single.
    Float,
    /// DOUBLE, IEEE double.
    Double,
    /// DECIMAL(precision, scale), exact; `1 <= precision <= 38`, `scale <= min(precision, 30)`.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// CHAR(n): at most n characters, trailing spaces removed when read as MySQL does.
    Char {
        /// Characters at most, 0 to 255.
        chars: u16,
    },
    /// VARCHAR(n): at most n characters.
    VarChar {
        /// Characters at most, 0 to 16,383.
        chars: u32,
    },
    /// TINYTEXT: at most 255 bytes.
    TinyText,
    /// TEXT: at most 65,535 bytes.
    Text,
    /// MEDIUMTEXT: at most 16 MiB - 1.
    MediumText,
    /// LONGTEXT: at most what a message may hold.
    LongText,
    /// DATE.
    Date,
    /// DATETIME(fsp), fsp 0, 3 or 6; UTC.
    DateTime {
        /// Digits of the fraction of a second.
        fsp: u8,
    },
    /// TIMESTAMP(fsp), fsp 0, 3 or 6; UTC.
    Timestamp {
        /// Digits of the fraction of a second.
        fsp: u8,
    },
    /// JSON: valid JSON text, kept verbatim.
    Json,
}

impl SqlType {
    /// How storage holds it.
    #[must_use]
    pub fn physical(self) -> Physical {
        match self {
            SqlType::TinyInt { unsigned: false } | SqlType::Bool => Physical::Int8,
            SqlType::TinyInt { unsigned: true } => Physical::UInt8,
            SqlType::SmallInt { unsigned: false } => Physical::Int16,
            SqlType::SmallInt { unsigned: true } => Physical::UInt16,
            SqlType::MediumInt { unsigned: false } | SqlType::Int { unsigned: false } => {
                Physical::Int32
            }
            SqlType::MediumInt { unsigned: true } | SqlType::Int { unsigned: true } => {
                Physical::UInt32
            }
            SqlType::BigInt { unsigned: false } => Physical::Int64,
            SqlType::BigInt { unsigned: true } => Physical::UInt64,
            SqlType::Float => Physical::Float32,
            SqlType::Double => Physical::Float64,
            SqlType::Decimal { precision, scale } => Physical::Decimal128 { precision, scale },
            SqlType::Date => Physical::Date32,
            SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => {
                Physical::Timestamp(match fsp {
                    0 => TimeUnit::Second,
                    1..=3 => TimeUnit::Millisecond,
                    _ => TimeUnit::Microsecond,
                })
            }
            SqlType::Char { .. }
            | SqlType::VarChar { .. }
            | SqlType::TinyText
            | SqlType::Text
            | SqlType::MediumText
            | SqlType::LongText
            | SqlType::Json => Physical::Utf8,
        }
    }
}

impl std::fmt::Display for SqlType {
    /// The text SHOW COLUMNS prints, in MySQL 8's lower case: `bigint unsigned`, `decimal(20,4)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let int = |f: &mut std::fmt::Formatter<'_>, name: &str, unsigned: bool| {
            write!(f, "{name}{}", if unsigned { " unsigned" } else { "" })
        };
        let time = |f: &mut std::fmt::Formatter<'_>, name: &str, fsp: u8| match fsp {
            0 => write!(f, "{name}"),
            fsp => write!(f, "{name}({fsp})"),
        };
        match *self {
            SqlType::TinyInt { unsigned } => int(f, "tinyint", unsigned),
            SqlType::SmallInt { unsigned } => int(f, "smallint", unsigned),
            SqlType::MediumInt { unsigned } => int(f, "mediumint", unsigned),
            SqlType::Int { unsigned } => int(f, "int", unsigned),
            SqlType::BigInt { unsigned } => int(f, "bigint", unsigned),
            SqlType::Bool => write!(f, "tinyint(1)"),
            SqlType::Float => write!(f, "float"),
            SqlType::Double => write!(f, "double"),
            SqlType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            SqlType::Char { chars } => write!(f, "char({chars})"),
            SqlType::VarChar { chars } => write!(f, "varchar({chars})"),
            SqlType::TinyText => write!(f, "tinytext"),
            SqlType::Text => write!(f, "text"),
            SqlType::MediumText => write!(f, "mediumtext"),
            SqlType::LongText => write!(f, "longtext"),
            SqlType::Date => write!(f, "date"),
            SqlType::DateTime { fsp } => time(f, "datetime", fsp),
            SqlType::Timestamp { fsp } => time(f, "timestamp", fsp),
            SqlType::Json => write!(f, "json"),
        }
    }
}
