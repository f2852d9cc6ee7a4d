//! Which values a variable takes: those whose meaning this server then has.

use super::known::{SQL_MODES, SQL_MODES_REFUSED, Shape, SystemVariable, Takes};
use super::read_only;
use crate::sql::error::{Code, SqlError};

/// The text to keep, and what to warn of.
pub(super) fn taken_text(
    variable: &SystemVariable,
    written: &str,
) -> Result<(String, Option<String>), SqlError> {
    let refused = |because: &str| {
        let because = if because.is_empty() {
            String::new()
        } else {
            format!(": {because}")
        };
        SqlError::new(
            Code::WrongValueForVariable,
            format!(
                "Variable '{}' can't be set to the value of '{written}'{because}",
                variable.name
            ),
        )
    };
    let on_off = |text: &str| match text.to_ascii_uppercase().as_str() {
        "ON" | "1" | "TRUE" => Some("ON"),
        "OFF" | "0" | "FALSE" => Some("OFF"),
        _ => None,
    };
    let kept = |text: &str| Ok((text.to_owned(), None));
    match variable.takes {
        Takes::Nothing => Err(read_only(variable.name)),
        Takes::Switch => kept(on_off(written).ok_or_else(|| refused(""))?),
        Takes::Only(values) => {
            let normal = if variable.shape == Shape::Switch {
                on_off(written).unwrap_or(written)
            } else {
                written
            };
            match values
                .iter()
                .find(|value| value.eq_ignore_ascii_case(normal))
            {
                Some(value) => kept(value),
                None => Err(refused(&format!(
                    "this server knows {}",
                    values.join(" and ")
                ))),
            }
        }
        Takes::Number(min, max) => match written.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => kept(&number.to_string()),
            _ => Err(refused(&format!("a whole number from {min} to {max}"))),
        },
        Takes::SqlMode => sql_mode(written, refused),
        Takes::TimeZone => match written.to_ascii_uppercase().as_str() {
            "UTC" | "SYSTEM" | "+00:00" | "-00:00" | "+0:00" | "-0:00" | "GMT" | "ETC/UTC"
            | "Z" => kept(written),
            _ => Err(SqlError::new(
                Code::UnknownTimeZone,
                format!(
                    "Unknown or incorrect time zone: '{written}': this server computes in UTC alone"
                ),
            )),
        },
        Takes::Charset => charset(written).map(|text| (text.to_owned(), None)),
        Takes::Collation => collation(written),
        Takes::Isolation => match written.to_ascii_uppercase().as_str() {
            level @ ("READ-COMMITTED" | "READ-UNCOMMITTED") => kept(level),
            _ => Err(refused(
                "each statement reads a snapshot of its own, which is READ-COMMITTED",
            )),
        },
    }
}

fn sql_mode(
    written: &str,
    refused: impl Fn(&str) -> SqlError,
) -> Result<(String, Option<String>), SqlError> {
    let mut modes = Vec::new();
    for word in written
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let upper = word.to_ascii_uppercase();
        if SQL_MODES_REFUSED.contains(&upper.as_str()) {
            return Err(refused(&format!(
                "{upper} would change what statements mean, and is not supported yet"
            )));
        }
        if !SQL_MODES.contains(&upper.as_str()) {
            return Err(refused(&format!("{word} is not a mode")));
        }
        modes.push(upper);
    }
    Ok((modes.join(","), None))
}

/// The character set's own name. Text goes both ways as UTF-8, whatever MySQL's name for it.
///
/// # Errors
/// 1115 for a name that MySQL does not know either, 1231 for one that is not UTF-8.
pub fn charset(written: &str) -> Result<&'static str, SqlError> {
    match written.to_ascii_lowercase().as_str() {
        "utf8mb4" | "default" | "null" => Ok("utf8mb4"),
        "utf8" | "utf8mb3" => Ok("utf8mb3"),
        // Bytes as they are: UTF-8.
        "binary" => Ok("binary"),
        known @ ("latin1" | "ascii" | "cp1252" | "latin2" | "ucs2" | "utf16" | "utf16le"
        | "utf32" | "gbk" | "gb2312" | "gb18030" | "big5" | "sjis" | "cp932" | "ujis"
        | "euckr" | "koi8r" | "cp1251" | "cp1250" | "latin5" | "latin7" | "hebrew"
        | "greek" | "tis620") => Err(SqlError::new(
            Code::WrongValueForVariable,
            format!(
                "Variable 'character_set_client' can't be set to the value of '{known}': this server speaks utf8mb4"
            ),
        )),
        _ => Err(SqlError::new(
            Code::UnknownCharacterSet,
            format!("Unknown character set: '{written}'"),
        )),
    }
}

/// What a collation becomes, and the warning where it is not the one that compares.
///
/// # Errors
/// 1273 for one that is not of UTF-8.
pub fn collation(written: &str) -> Result<(String, Option<String>), SqlError> {
    let lower = written.to_ascii_lowercase();
    if ["utf8mb4_bin", "binary", "default"].contains(&lower.as_str()) {
        return Ok(("utf8mb4_bin".to_owned(), None));
    }
    if lower.starts_with("utf8mb4_") || lower.starts_with("utf8mb3_") || lower.starts_with("utf8_")
    {
        return Ok((
            "utf8mb4_bin".to_owned(),
            Some(format!(
                "Text is compared as utf8mb4_bin; '{lower}' is not supported"
            )),
        ));
    }
    Err(SqlError::new(
        Code::UnknownCollation,
        format!("Unknown collation: '{written}'"),
    ))
}
