//! A column's type in CREATE TABLE: MySQL's names and their bounds, the rest refused by name.

use ingest::pipeline::SqlType;
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::sql::error::{Code, SqlError};

fn width(cursor: &mut Cursor<'_>) -> Result<Option<u64>, SqlError> {
    if !cursor.take_token(&Token::LParen) {
        return Ok(None);
    }
    let number = cursor.number()?;
    cursor.expect_token(&Token::RParen)?;
    Ok(Some(number))
}

fn unsigned(cursor: &mut Cursor<'_>) -> Result<bool, SqlError> {
    let mut found = false;
    loop {
        if cursor.take("UNSIGNED") {
            found = true;
        } else if cursor.is("ZEROFILL") {
            return Err(cursor.refuse("ZEROFILL"));
        } else if !cursor.take("SIGNED") {
            return Ok(found);
        }
    }
}

const REFUSED_TYPES: &[&str] = &[
    "BINARY",
    "VARBINARY",
    "TINYBLOB",
    "BLOB",
    "MEDIUMBLOB",
    "LONGBLOB",
    "TIME",
    "YEAR",
    "ENUM",
    "SET",
    "BIT",
    "GEOMETRY",
    "GEOGRAPHY",
    "GEOGRAPHYPOINT",
    "POINT",
    "LINESTRING",
    "POLYGON",
    "VECTOR",
    "BSON",
    "SERIAL",
    "NCHAR",
    "NVARCHAR",
    "NATIONAL",
    "LONG",
    "UUID",
];

/// An integer type, UNSIGNED or not.
type Made = fn(bool) -> SqlType;

/// A column's type.
pub(super) fn sql_type(cursor: &mut Cursor<'_>, column: &str) -> Result<SqlType, SqlError> {
    if let Some(refused) = REFUSED_TYPES.iter().find(|name| cursor.is(name)) {
        return Err(cursor.refuse_because(
            &format!("column type {refused}"),
            &format!("column '{column}'"),
        ));
    }
    if cursor.take("TINYINT") || cursor.take("INT1") {
        let width = width(cursor)?;
        let unsigned = unsigned(cursor)?;
        // BOOL's other name, in MySQL too.
        return Ok(if width == Some(1) && !unsigned {
            SqlType::Bool
        } else {
            SqlType::TinyInt { unsigned }
        });
    }
    if cursor.take("BOOL") || cursor.take("BOOLEAN") {
        return Ok(SqlType::Bool);
    }
    let integers: [(&str, Made); 8] = [
        ("SMALLINT", |unsigned| SqlType::SmallInt { unsigned }),
        ("INT2", |unsigned| SqlType::SmallInt { unsigned }),
        ("MEDIUMINT", |unsigned| SqlType::MediumInt { unsigned }),
        ("INTEGER", |unsigned| SqlType::Int { unsigned }),
        ("INT", |unsigned| SqlType::Int { unsigned }),
        ("INT4", |unsigned| SqlType::Int { unsigned }),
        ("BIGINT", |unsigned| SqlType::BigInt { unsigned }),
        ("INT8", |unsigned| SqlType::BigInt { unsigned }),
    ];
    for (name, made) in integers {
        if cursor.take(name) {
            width(cursor)?;
            return Ok(made(unsigned(cursor)?));
        }
    }
    let found = if cursor.take("FLOAT") {
        match width_of_float(cursor)? {
            Some(25..=53) => SqlType::Double,
            _ => SqlType::Float,
        }
    } else if cursor.take("DOUBLE PRECISION") || cursor.take("DOUBLE") || cursor.take("REAL") {
        width_of_float(cursor)?;
        SqlType::Double
    } else if ["DECIMAL", "NUMERIC", "DEC", "FIXED"]
        .iter()
        .any(|name| cursor.take(name))
    {
        decimal(cursor, column)?
    } else if cursor.take("JSON") {
        SqlType::Json
    } else if cursor.take("DATE") {
        SqlType::Date
    } else if cursor.take("DATETIME") {
        SqlType::DateTime {
            fsp: fraction(cursor)?,
        }
    } else if cursor.take("TIMESTAMP") {
        SqlType::Timestamp {
            fsp: fraction(cursor)?,
        }
    } else {
        return text_type(cursor, column);
    };
    if cursor.is("UNSIGNED") || cursor.is("ZEROFILL") {
        return Err(cursor.refuse_because("UNSIGNED and ZEROFILL", "only integers have it"));
    }
    Ok(found)
}

fn text_type(cursor: &mut Cursor<'_>, column: &str) -> Result<SqlType, SqlError> {
    let too_long = |max: u32| {
        SqlError::new(
            Code::ColumnTooLong,
            format!("Column length too big for column '{column}' (max = {max}); use TEXT instead"),
        )
    };
    if [
        "VARCHAR",
        "VARCHARACTER",
        "CHARACTER VARYING",
        "CHAR VARYING",
    ]
    .iter()
    .any(|name| cursor.take(name))
    {
        let Some(chars) = width(cursor)? else {
            return Err(cursor.syntax());
        };
        let chars = u32::try_from(chars)
            .ok()
            .filter(|chars| *chars <= 16_383)
            .ok_or_else(|| too_long(16_383))?;
        return Ok(SqlType::VarChar { chars });
    }
    if cursor.take("CHARACTER") || cursor.take("CHAR") {
        let chars = width(cursor)?.unwrap_or(1);
        let chars = u16::try_from(chars)
            .ok()
            .filter(|chars| *chars <= 255)
            .ok_or_else(|| too_long(255))?;
        return Ok(SqlType::Char { chars });
    }
    for (name, found) in [
        ("TINYTEXT", SqlType::TinyText),
        ("TEXT", SqlType::Text),
        ("MEDIUMTEXT", SqlType::MediumText),
        ("LONGTEXT", SqlType::LongText),
    ] {
        if cursor.take(name) {
            if *cursor.peek() == Token::LParen {
                return Err(cursor.refuse_because("TEXT with a length", "write VARCHAR(n) or TEXT"));
            }
            return Ok(found);
        }
    }
    Err(cursor.syntax())
}

fn width_of_float(cursor: &mut Cursor<'_>) -> Result<Option<u64>, SqlError> {
    if matches!(cursor.peek_at(2), Token::Comma) && *cursor.peek() == Token::LParen {
        return Err(cursor.refuse_because("FLOAT(M,D)", "write FLOAT, DOUBLE or DECIMAL(M,D)"));
    }
    width(cursor)
}

fn decimal(cursor: &mut Cursor<'_>, column: &str) -> Result<SqlType, SqlError> {
    let (mut precision, mut scale) = (10, 0);
    if cursor.take_token(&Token::LParen) {
        precision = cursor.number()?;
        if cursor.take_token(&Token::Comma) {
            scale = cursor.number()?;
        }
        cursor.expect_token(&Token::RParen)?;
    }
    if precision == 0 {
        precision = 10;
    }
    if precision > 38 {
        return Err(SqlError::new(
            Code::TooBigPrecision,
            format!("Too-big precision {precision} specified for '{column}'. Maximum is 38."),
        ));
    }
    if scale > 30 {
        return Err(SqlError::new(
            Code::TooBigScale,
            format!("Too big scale {scale} specified for column '{column}'. Maximum is 30."),
        ));
    }
    if scale > precision {
        return Err(SqlError::new(
            Code::ScaleAbovePrecision,
            format!(
                "For float(M,D), double(M,D) or decimal(M,D), M must be >= D (column '{column}')."
            ),
        ));
    }
    let byte = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    Ok(SqlType::Decimal {
        precision: byte(precision),
        scale: byte(scale),
    })
}

fn fraction(cursor: &mut Cursor<'_>) -> Result<u8, SqlError> {
    let refused = cursor.refuse_because(
        "a fraction of a second in another number of digits",
        "write 0, 3 or 6",
    );
    match width(cursor)? {
        None | Some(0) => Ok(0),
        Some(3) => Ok(3),
        Some(6) => Ok(6),
        Some(_) => Err(refused),
    }
}
