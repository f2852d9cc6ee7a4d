//! CREATE TABLE: columns, types and keys.
//!
//! What MySQL's grammar has beyond it is refused by name. A DEFAULT is cast here with the same cast
//! that loads it, so that no row can fail by it later.

use ingest::pipeline::{JsonDecoder, JsonMapping, Literal, MappedColumn};
use sqlparser::tokenizer::Token;
use storage::schema::{OFFSET_COLUMN, PARTITION_COLUMN, TIMESTAMP_COLUMN};

use super::cursor::{Cursor, ObjectName};
use super::types::sql_type;
use crate::catalog::{ColumnDef, SortKeyPart, TableSpec};
use crate::limits::{COMMENT_CHARS_MAX, NAME_CHARS_MAX, TABLE_COLUMNS_MAX};
use crate::sql::error::{Code, SqlError};

/// CREATE TABLE as written.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTableText {
    /// Its name.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Columns and keys, checked against each other.
    pub spec: TableSpec,
}

/// Reads what follows CREATE TABLE.
///
/// # Errors
/// 1064, 1235 for what is not done, and MySQL's number for each wrong column.
pub fn create_table(cursor: &mut Cursor<'_>) -> Result<CreateTableText, SqlError> {
    let if_not_exists = cursor.take_if("IF NOT EXISTS");
    let name = cursor.object_name()?;
    check_name(&name.name, Code::WrongTableName, "table")?;
    if cursor.is("LIKE") || cursor.is("AS") || cursor.is("SELECT") {
        return Err(cursor.refuse("CREATE TABLE ... LIKE or AS SELECT"));
    }
    cursor.expect_token(&Token::LParen)?;
    let mut spec = TableSpec {
        columns: Vec::new(),
        shard_key: None,
        sort_key: None,
        comment: String::new(),
    };
    if cursor.take_token(&Token::RParen) {
        return Err(SqlError::new(
            Code::TableWithoutColumns,
            "A table must have at least 1 column",
        ));
    }
    loop {
        item(cursor, &mut spec)?;
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    options(cursor, &mut spec)?;
    cursor.end()?;
    check(&spec)?;
    Ok(CreateTableText {
        name,
        if_not_exists,
        spec,
    })
}

/// Whether a name may be given to a table, column, database or pipeline.
///
/// # Errors
/// 1059 for one that is too long, `wrong` for one with blanks at its end or that is empty.
pub fn check_name(name: &str, wrong: Code, what: &str) -> Result<(), SqlError> {
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(SqlError::new(
            Code::IdentifierTooLong,
            format!("Identifier name '{name}' is too long"),
        ));
    }
    if name.is_empty() || name.ends_with(' ') || name.contains('\0') {
        return Err(SqlError::new(
            wrong,
            format!("Incorrect {what} name '{name}'"),
        ));
    }
    Ok(())
}

const REFUSED_KEYS: &[&str] = &[
    "PRIMARY KEY",
    "UNIQUE",
    "FOREIGN KEY",
    "FULLTEXT",
    "SPATIAL",
    "VECTOR",
    "CONSTRAINT",
    "CHECK",
    "INDEX",
    "KEY",
];

fn item(cursor: &mut Cursor<'_>, spec: &mut TableSpec) -> Result<(), SqlError> {
    if cursor.take("SHARD KEY") {
        if spec.shard_key.is_some() {
            return Err(cursor.refuse("a second SHARD KEY"));
        }
        key_name(cursor)?;
        spec.shard_key = Some(
            key_columns(cursor, false)?
                .into_iter()
                .map(|part| part.column)
                .collect(),
        );
        return Ok(());
    }
    if cursor.take("SORT KEY") {
        if spec.sort_key.is_some() {
            return Err(cursor.refuse("a second SORT KEY"));
        }
        key_name(cursor)?;
        spec.sort_key = Some(key_columns(cursor, true)?);
        return Ok(());
    }
    if let Some(refused) = REFUSED_KEYS.iter().find(|keywords| cursor.are(keywords)) {
        // `key INT` is a column named key only in backticks: KEY is reserved.
        return Err(cursor.refuse_because(
            refused,
            "rows are only ever added, SHARD KEY and SORT KEY are kept",
        ));
    }
    column(cursor, spec)
}

fn key_name(cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
    if *cursor.peek() != Token::LParen {
        cursor.ident()?;
    }
    Ok(())
}

fn key_columns(cursor: &mut Cursor<'_>, directed: bool) -> Result<Vec<SortKeyPart>, SqlError> {
    cursor.expect_token(&Token::LParen)?;
    let mut parts = Vec::new();
    if cursor.take_token(&Token::RParen) {
        return Ok(parts);
    }
    loop {
        let column = cursor.ident()?;
        let descending = directed && !cursor.take("ASC") && cursor.take("DESC");
        parts.push(SortKeyPart { column, descending });
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(parts)
}

fn column(cursor: &mut Cursor<'_>, spec: &mut TableSpec) -> Result<(), SqlError> {
    let name = cursor.ident()?;
    check_name(&name, Code::WrongColumnName, "column")?;
    let hidden = [OFFSET_COLUMN, TIMESTAMP_COLUMN, PARTITION_COLUMN, "_key"];
    if hidden
        .iter()
        .any(|hidden| hidden.eq_ignore_ascii_case(&name))
    {
        return Err(SqlError::new(
            Code::WrongColumnName,
            format!("Incorrect column name '{name}': every table has that column, hidden"),
        ));
    }
    let sql_type = sql_type(cursor, &name)?;
    let mut column = ColumnDef {
        name,
        sql_type,
        nullable: true,
        default: None,
        comment: String::new(),
    };
    loop {
        if cursor.take("NOT NULL") {
            column.nullable = false;
        } else if cursor.take("NULL") {
            column.nullable = true;
        } else if cursor.take("DEFAULT") {
            column.default = Some(literal(cursor)?);
        } else if cursor.take("COMMENT") {
            column.comment = comment(cursor, 1_024)?;
        } else if !charset_or_collation(cursor)? {
            break;
        }
    }
    for refused in [
        "AUTO_INCREMENT",
        "PRIMARY KEY",
        "UNIQUE",
        "KEY",
        "ON UPDATE",
        "GENERATED ALWAYS",
        "AS",
        "PERSISTED",
        "REFERENCES",
        "CHECK",
        "SERIES TIMESTAMP",
        "SPARSE",
        "VISIBLE",
        "INVISIBLE",
        "STORAGE",
        "COLUMN_FORMAT",
    ] {
        if cursor.are(refused) {
            return Err(cursor.refuse(refused));
        }
    }
    spec.columns.push(column);
    Ok(())
}

/// A constant: NULL, TRUE, FALSE, a number, a string.
///
/// # Errors
/// 1064, and 1235 for an expression.
pub fn literal(cursor: &mut Cursor<'_>) -> Result<Literal, SqlError> {
    if let Some(found) = literal_word(cursor) {
        return Ok(found);
    }
    if cursor.peek_string().is_some() {
        return Ok(Literal::Text(cursor.string()?));
    }
    let negative = match cursor.peek() {
        Token::Minus => true,
        Token::Plus => false,
        Token::Number(..) => return number(cursor, ""),
        Token::Word(_) | Token::LParen => {
            return Err(
                cursor.refuse_because("DEFAULT with an expression", "a DEFAULT is a constant")
            );
        }
        _ => return Err(cursor.syntax()),
    };
    cursor.skip();
    number(cursor, if negative { "-" } else { "" })
}

fn literal_word(cursor: &mut Cursor<'_>) -> Option<Literal> {
    for (word, found) in [
        ("NULL", Literal::Null),
        ("TRUE", Literal::Bool(true)),
        ("FALSE", Literal::Bool(false)),
    ] {
        if cursor.take(word) {
            return Some(found);
        }
    }
    None
}

fn number(cursor: &mut Cursor<'_>, sign: &str) -> Result<Literal, SqlError> {
    match cursor.peek() {
        Token::Number(text, _) => {
            // As JSON writes it: digits on both sides of the point.
            let (whole, rest) = text.split_at(text.find(['.', 'e', 'E']).unwrap_or(text.len()));
            let whole = whole.trim_start_matches('0');
            let whole = if whole.is_empty() { "0" } else { whole };
            let rest = rest
                .strip_suffix('.')
                .unwrap_or(rest)
                .replacen(".e", "e", 1)
                .replacen(".E", "E", 1);
            let found = Literal::Number(format!("{sign}{whole}{rest}"));
            cursor.skip();
            Ok(found)
        }
        _ => Err(cursor.syntax()),
    }
}

fn comment(cursor: &mut Cursor<'_>, chars_max: usize) -> Result<String, SqlError> {
    let text = cursor.string()?;
    if text.chars().count() > chars_max {
        return Err(SqlError::new(
            Code::TooLongComment,
            format!("Comment is too long (max = {chars_max})"),
        ));
    }
    Ok(text)
}

/// CHARACTER SET utf8mb4 and COLLATE utf8mb4_bin say what is so anyway; any other is refused.
pub(super) fn charset_or_collation(cursor: &mut Cursor<'_>) -> Result<bool, SqlError> {
    if cursor.take("CHARACTER SET") || cursor.take("CHARSET") {
        cursor.take_token(&Token::Eq);
        let at = cursor.refuse_because("another CHARACTER SET", "text is utf8mb4");
        let name = word_or_string(cursor)?;
        if !["utf8mb4", "default"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&name))
        {
            return Err(at);
        }
        return Ok(true);
    }
    if cursor.take("COLLATE") {
        cursor.take_token(&Token::Eq);
        let at = cursor.refuse_because("another COLLATE", "text is compared as utf8mb4_bin");
        let name = word_or_string(cursor)?;
        if !["utf8mb4_bin", "binary", "default"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&name))
        {
            return Err(at);
        }
        return Ok(true);
    }
    Ok(false)
}

pub(super) fn word_or_string(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    if cursor.peek_string().is_some() {
        cursor.string()
    } else {
        cursor.ident()
    }
}

fn options(cursor: &mut Cursor<'_>, spec: &mut TableSpec) -> Result<(), SqlError> {
    while !cursor.at_end() {
        cursor.take_token(&Token::Comma);
        if cursor.take("COMMENT") {
            cursor.take_token(&Token::Eq);
            spec.comment = comment(cursor, COMMENT_CHARS_MAX)?;
            continue;
        }
        if cursor.take("ENGINE") {
            cursor.take_token(&Token::Eq);
            let name = word_or_string(cursor)?;
            if !["pinleaf", "columnstore"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&name))
            {
                return Err(SqlError::new(
                    Code::UnknownEngine,
                    format!(
                        "Unknown storage engine '{name}': leave ENGINE out, or write ENGINE=Pinleaf"
                    ),
                ));
            }
            continue;
        }
        if cursor.are("DEFAULT CHARACTER")
            || cursor.are("DEFAULT CHARSET")
            || cursor.are("DEFAULT COLLATE")
        {
            cursor.skip();
        }
        if charset_or_collation(cursor)? {
            continue;
        }
        return Err(match cursor.peek() {
            Token::Word(word) if word.quote_style.is_none() => {
                cursor.refuse(&format!("table option {}", word.value.to_uppercase()))
            }
            _ => cursor.syntax(),
        });
    }
    Ok(())
}

fn check(spec: &TableSpec) -> Result<(), SqlError> {
    if spec.columns.is_empty() {
        return Err(SqlError::new(
            Code::TableWithoutColumns,
            "A table must have at least 1 column",
        ));
    }
    if spec.columns.len() > TABLE_COLUMNS_MAX {
        return Err(SqlError::new(
            Code::TooManyColumns,
            format!("Too many columns (max = {TABLE_COLUMNS_MAX})"),
        ));
    }
    for (at, column) in spec.columns.iter().enumerate() {
        if spec.columns[..at]
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&column.name))
        {
            return Err(SqlError::new(
                Code::DuplicateColumn,
                format!("Duplicate column name '{}'", column.name),
            ));
        }
        check_default(column)?;
    }
    let shard = spec.shard_key.iter().flatten();
    let sort = spec.sort_key.iter().flatten().map(|part| &part.column);
    for name in shard.chain(sort) {
        if !spec
            .columns
            .iter()
            .any(|column| column.name.eq_ignore_ascii_case(name))
        {
            return Err(SqlError::new(
                Code::KeyColumnMissing,
                format!("Key column '{name}' doesn't exist in table"),
            ));
        }
    }
    Ok(())
}

fn check_default(column: &ColumnDef) -> Result<(), SqlError> {
    let Some(default) = &column.default else {
        return Ok(());
    };
    let mapping = JsonMapping {
        columns: vec![MappedColumn {
            name: column.name.clone(),
            sql_type: column.sql_type,
            nullable: column.nullable,
            path: None,
            default: Some(default.clone()),
        }],
    };
    JsonDecoder::new(&mapping).map(|_| ()).map_err(|_| {
        SqlError::new(
            Code::InvalidDefault,
            format!("Invalid default value for '{}'", column.name),
        )
    })
}
