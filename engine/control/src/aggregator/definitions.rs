//! What a name or definition must be, whoever wrote it: checked before anything is committed.

use std::collections::BTreeSet;

use ingest::pipeline::{JsonDecoder, SqlType};

use super::error::AggregatorError;
use super::settings::client_settings;
use crate::catalog::{PipelineSpec, TableDef, TableSpec};
use crate::limits::{COMMENT_CHARS_MAX, NAME_CHARS_MAX, TABLE_COLUMNS_MAX};

/// The database that is ours.
const INFORMATION_SCHEMA: &str = "information_schema";

/// A name of a database, table, column or pipeline, as MySQL bounds it.
///
/// # Errors
/// `Definition`, with what is wrong.
pub fn check_name(what: &str, name: &str) -> Result<(), AggregatorError> {
    let wrong = |why: &str| {
        Err(AggregatorError::Definition(format!(
            "Incorrect {what} name '{name}': {why}"
        )))
    };
    if name.is_empty() {
        return wrong("it is empty");
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return wrong("it has more than 64 characters");
    }
    if name.chars().any(|c| c.is_control() || c > '\u{ffff}') {
        return wrong("it has a control character or one beyond U+FFFF");
    }
    if name.ends_with(' ') {
        return wrong("it ends with a blank");
    }
    if what == "database" && name.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
        return wrong("it is the system's own");
    }
    Ok(())
}

/// A table's columns, keys and comments.
///
/// # Errors
/// `Definition`, with the column.
pub fn check_table(spec: &TableSpec) -> Result<(), AggregatorError> {
    let wrong = |text: String| Err(AggregatorError::Definition(text));
    if spec.columns.is_empty() {
        return wrong("A table must have at least 1 column".to_owned());
    }
    if spec.columns.len() > TABLE_COLUMNS_MAX {
        return wrong(format!("Too many columns: at most {TABLE_COLUMNS_MAX}"));
    }
    let mut names = BTreeSet::new();
    for column in &spec.columns {
        let name = &column.name;
        check_name("column", name)?;
        let lower = name.to_ascii_lowercase();
        if [
            storage::schema::OFFSET_COLUMN,
            storage::schema::TIMESTAMP_COLUMN,
            storage::schema::PARTITION_COLUMN,
        ]
        .contains(&lower.as_str())
        {
            return wrong(format!(
                "Incorrect column name '{name}': every table has a hidden column of that name"
            ));
        }
        if !names.insert(lower) {
            return wrong(format!("Duplicate column name '{name}'"));
        }
        if let SqlType::Decimal { precision, scale } = column.sql_type
            && !((1..=38).contains(&precision) && scale <= precision.min(30))
        {
            return wrong(format!(
                "column '{name}': DECIMAL({precision},{scale}) is not DECIMAL(1 to 38, 0 to 30 and not above the first)"
            ));
        }
        check_comment(name, &column.comment)?;
    }
    let keys = spec
        .shard_key
        .iter()
        .flatten()
        .chain(spec.sort_key.iter().flatten().map(|part| &part.column));
    for key in keys {
        if !names.contains(&key.to_ascii_lowercase()) {
            return wrong(format!("Key column '{key}' doesn't exist in table"));
        }
    }
    check_comment("the table", &spec.comment)
}

fn check_comment(of: &str, comment: &str) -> Result<(), AggregatorError> {
    if comment.chars().count() > COMMENT_CHARS_MAX {
        return Err(AggregatorError::Definition(format!(
            "Comment for '{of}' is too long (max = {COMMENT_CHARS_MAX})"
        )));
    }
    Ok(())
}

/// A pipeline's settings and mapping against its table.
///
/// # Errors
/// `Setting`, `Definition`.
pub fn check_pipeline(spec: &PipelineSpec, table: &TableDef) -> Result<(), AggregatorError> {
    client_settings(spec)?;
    if spec.max_offsets_per_batch_partition == Some(0) {
        return Err(AggregatorError::Setting {
            clause: "MAX_OFFSETS_PER_BATCH_PARTITION",
            key: "0".to_owned(),
            what: "a batch covers at least 1 offset".to_owned(),
        });
    }
    let mapped = &spec.mapping.columns;
    let same = mapped.len() == table.spec.columns.len()
        && mapped
            .iter()
            .zip(&table.spec.columns)
            .all(|(mapped, column)| {
                mapped.name.eq_ignore_ascii_case(&column.name)
                    && mapped.sql_type == column.sql_type
                    && mapped.nullable == column.nullable
            });
    if !same {
        return Err(AggregatorError::Definition(format!(
            "the mapping does not fit the columns of '{}': the table was changed meanwhile",
            table.name
        )));
    }
    match JsonDecoder::new(&spec.mapping) {
        Ok(_) => Ok(()),
        Err(error) => Err(AggregatorError::Definition(error.to_string())),
    }
}
