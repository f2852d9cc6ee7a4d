//! A result's columns as MySQL's column definition packet says them.

use arrow::datatypes::{DataType, Field};
use ingest::pipeline::SqlType;

use super::bind::Output;
use super::scan::type_of_field;
use super::types::fraction_digits;
use crate::sql::answer::ResultColumn;

const NOT_NULL: u16 = 1;
const BLOB: u16 = 16;
const UNSIGNED: u16 = 32;
const BINARY: u16 = 128;
const NUMERIC: u16 = 32_768;

/// utf8mb4_bin.
const TEXT_COLLATION: u16 = 46;
/// binary: all that is not text.
const BINARY_COLLATION: u16 = 63;
/// `decimals` of what has no fixed number of them.
const NOT_FIXED: u8 = 31;
/// The length of a string whose bound is not known.
const TEXT_LENGTH: u32 = 65_535;

/// MySQL's type codes.
mod code {
    pub const TINY: u8 = 0x01;
    pub const SHORT: u8 = 0x02;
    pub const LONG: u8 = 0x03;
    pub const FLOAT: u8 = 0x04;
    pub const DOUBLE: u8 = 0x05;
    pub const NULL: u8 = 0x06;
    pub const LONGLONG: u8 = 0x08;
    pub const INT24: u8 = 0x09;
    pub const DATE: u8 = 0x0a;
    pub const DATETIME: u8 = 0x0c;
    pub const TIMESTAMP: u8 = 0x07;
    pub const JSON: u8 = 0xf5;
    pub const NEWDECIMAL: u8 = 0xf6;
    pub const BLOB: u8 = 0xfc;
    pub const VAR_STRING: u8 = 0xfd;
    pub const STRING: u8 = 0xfe;
}

/// The column of a result: `field` is the plan's, before it is brought to a type that leaves.
#[must_use]
pub fn result_column(field: &Field, output: &Output) -> ResultColumn {
    let kind = match type_of_field(field) {
        Some(sql_type) => of_sql(sql_type),
        None => of_arrow(field.data_type()),
    };
    let mut flags = kind.flags;
    if !field.is_nullable() {
        flags |= NOT_NULL;
    }
    ResultColumn {
        database: output.database.clone(),
        table: output.table.clone(),
        org_table: output.org_table.clone(),
        name: output.name.clone(),
        org_name: output.org_name.clone(),
        type_code: kind.code,
        flags,
        decimals: kind.decimals,
        collation: if kind.text {
            TEXT_COLLATION
        } else {
            BINARY_COLLATION
        },
        length: kind.length,
    }
}

struct Kind {
    code: u8,
    flags: u16,
    decimals: u8,
    text: bool,
    length: u32,
}

fn number(code: u8, unsigned: bool, length: u32) -> Kind {
    Kind {
        code,
        flags: BINARY | NUMERIC | if unsigned { UNSIGNED } else { 0 },
        decimals: 0,
        text: false,
        length,
    }
}

fn text(code: u8, length: u32, flags: u16) -> Kind {
    Kind {
        code,
        flags,
        decimals: 0,
        text: true,
        length,
    }
}

fn time(code: u8, fsp: u8) -> Kind {
    Kind {
        code,
        flags: BINARY,
        decimals: fsp,
        text: false,
        length: 19 + if fsp == 0 { 0 } else { 1 + u32::from(fsp) },
    }
}

fn decimal(precision: u8, scale: u8) -> Kind {
    Kind {
        decimals: scale,
        // A sign, and a point where there is a fraction.
        length: u32::from(precision) + 1 + u32::from(scale > 0),
        ..number(code::NEWDECIMAL, false, 0)
    }
}

fn floating(code: u8, length: u32) -> Kind {
    Kind {
        decimals: NOT_FIXED,
        ..number(code, false, length)
    }
}

fn of_sql(sql_type: SqlType) -> Kind {
    match sql_type {
        SqlType::Bool => number(code::TINY, false, 1),
        SqlType::TinyInt { unsigned } => number(code::TINY, unsigned, if unsigned { 3 } else { 4 }),
        SqlType::SmallInt { unsigned } => {
            number(code::SHORT, unsigned, if unsigned { 5 } else { 6 })
        }
        SqlType::MediumInt { unsigned } => {
            number(code::INT24, unsigned, if unsigned { 8 } else { 9 })
        }
        SqlType::Int { unsigned } => number(code::LONG, unsigned, if unsigned { 10 } else { 11 }),
        SqlType::BigInt { unsigned } => number(code::LONGLONG, unsigned, 20),
        SqlType::Float => floating(code::FLOAT, 12),
        SqlType::Double => floating(code::DOUBLE, 22),
        SqlType::Decimal { precision, scale } => decimal(precision, scale),
        SqlType::Char { chars } => text(code::STRING, u32::from(chars) * 4, 0),
        SqlType::VarChar { chars } => text(code::VAR_STRING, chars.saturating_mul(4), 0),
        SqlType::TinyText => text(code::BLOB, 255, BLOB),
        SqlType::Text => text(code::BLOB, 65_535, BLOB),
        SqlType::MediumText => text(code::BLOB, 16_777_215, BLOB),
        SqlType::LongText => text(code::BLOB, u32::MAX, BLOB),
        SqlType::Date => Kind {
            length: 10,
            ..time(code::DATE, 0)
        },
        SqlType::DateTime { fsp } => time(code::DATETIME, fsp),
        SqlType::Timestamp { fsp } => time(code::TIMESTAMP, fsp),
        SqlType::Json => text(code::JSON, u32::MAX, BLOB),
    }
}

fn of_arrow(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Null => Kind {
            code: code::NULL,
            ..number(code::NULL, false, 0)
        },
        DataType::Boolean => number(code::LONGLONG, false, 1),
        DataType::Int8 => number(code::TINY, false, 4),
        DataType::Int16 => number(code::SHORT, false, 6),
        DataType::Int32 => number(code::LONG, false, 11),
        DataType::Int64 => number(code::LONGLONG, false, 20),
        DataType::UInt8 => number(code::TINY, true, 3),
        DataType::UInt16 => number(code::SHORT, true, 5),
        DataType::UInt32 => number(code::LONG, true, 10),
        DataType::UInt64 => number(code::LONGLONG, true, 20),
        DataType::Float32 => floating(code::FLOAT, 12),
        DataType::Float64 => floating(code::DOUBLE, 23),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            decimal((*precision).min(38), u8::try_from(*scale).unwrap_or(0))
        }
        DataType::Date32 => Kind {
            length: 10,
            ..time(code::DATE, 0)
        },
        DataType::Timestamp(unit, _) => time(code::DATETIME, fraction_digits(*unit)),
        _ => text(code::VAR_STRING, TEXT_LENGTH * 4, 0),
    }
}
