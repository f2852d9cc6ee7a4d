//! A definition back to the statement that makes it: SHOW CREATE TABLE, DATABASE and PIPELINE.
//!
//! What is written here parses to what it was written from: a test holds that.

use std::fmt::Write;

use ingest::pipeline::{Literal, SkipErrors};

use crate::catalog::{ColumnDef, PipelineSpec, RetryOptions, TableDef};

/// A name in backticks.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in single quotes.
#[must_use]
pub fn literal_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A constant.
#[must_use]
pub fn literal(value: &Literal) -> String {
    match value {
        Literal::Null => "NULL".to_owned(),
        Literal::Bool(true) => "TRUE".to_owned(),
        Literal::Bool(false) => "FALSE".to_owned(),
        Literal::Number(number) => number.clone(),
        Literal::Text(text) => literal_text(text),
    }
}

/// CREATE TABLE.
#[must_use]
pub fn create_table(table: &TableDef) -> String {
    let mut items: Vec<String> = table.spec.columns.iter().map(column).collect();
    if let Some(key) = &table.spec.shard_key {
        let names: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        items.push(format!("SHARD KEY ({})", names.join(",")));
    }
    if let Some(key) = &table.spec.sort_key {
        let parts: Vec<String> = key
            .iter()
            .map(|part| {
                format!(
                    "{}{}",
                    quoted(&part.column),
                    if part.descending { " DESC" } else { "" }
                )
            })
            .collect();
        items.push(format!("SORT KEY ({})", parts.join(",")));
    }
    let comment = match table.spec.comment.as_str() {
        "" => String::new(),
        comment => format!(" COMMENT={}", literal_text(comment)),
    };
    format!(
        "CREATE TABLE {} (\n  {}\n) ENGINE=Pinleaf DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin{comment}",
        quoted(&table.name),
        items.join(",\n  ")
    )
}

fn column(column: &ColumnDef) -> String {
    let mut text = format!("{} {}", quoted(&column.name), column.sql_type);
    if !column.nullable {
        text.push_str(" NOT NULL");
    }
    match &column.default {
        Some(default) => text.push_str(&format!(" DEFAULT {}", literal(default))),
        None if column.nullable => text.push_str(" DEFAULT NULL"),
        None => {}
    }
    if !column.comment.is_empty() {
        text.push_str(&format!(" COMMENT {}", literal_text(&column.comment)));
    }
    text
}

/// CREATE PIPELINE; `table` is its name, with its database where that is another one.
#[must_use]
pub fn create_pipeline(name: &str, table: &str, spec: &PipelineSpec) -> String {
    let source = format!("{}/{}", spec.brokers.join(","), spec.topic);
    let mut text = format!(
        "CREATE PIPELINE {}\nAS LOAD DATA KAFKA {}",
        quoted(name),
        literal_text(&source)
    );
    if !spec.config.is_empty() {
        let config = serde_json::Value::from_iter(spec.config.clone());
        clause(&mut text, "CONFIG", &literal_text(&config.to_string()));
    }
    for (keyword, value) in [
        ("BATCH_INTERVAL", spec.batch_interval_ms),
        (
            "MAX_PARTITIONS_PER_BATCH",
            spec.max_partitions_per_batch.map(u64::from),
        ),
        (
            "MAX_RETRIES_PER_BATCH_PARTITION",
            spec.max_retries_per_batch_partition.map(u64::from),
        ),
        (
            "MAX_OFFSETS_PER_BATCH_PARTITION",
            spec.max_offsets_per_batch_partition,
        ),
    ] {
        if let Some(value) = value {
            clause(&mut text, keyword, &value.to_string());
        }
    }
    if let Some(options) = &spec.retry_options {
        clause(
            &mut text,
            "RETRY_OPTIONS",
            &literal_text(&retry_options(options)),
        );
    }
    match spec.skip_errors {
        SkipErrors::None => {}
        SkipErrors::Constraint => text.push_str("\nSKIP CONSTRAINT ERRORS"),
        SkipErrors::Parser => text.push_str("\nSKIP PARSER ERRORS"),
        SkipErrors::All => text.push_str("\nSKIP ALL ERRORS"),
    }
    if let Some(stop) = spec.stop_on_error {
        clause(&mut text, "STOP_ON_ERROR", if stop { "ON" } else { "OFF" });
    }
    clause(&mut text, "INTO TABLE", table);
    text.push_str("\nFORMAT JSON");
    if spec.mapping_written {
        let elements: Vec<String> = spec
            .mapping
            .columns
            .iter()
            .filter_map(|column| {
                let path = column.path.as_ref()?;
                let keys: Vec<String> = path.0.iter().map(|key| quoted(key)).collect();
                let path = if keys.is_empty() {
                    "%".to_owned()
                } else {
                    keys.join("::")
                };
                let default = column
                    .default
                    .as_ref()
                    .map(|default| format!(" DEFAULT {}", literal(default)));
                Some(format!(
                    "{} <- {path}{}",
                    quoted(&column.name),
                    default.unwrap_or_default()
                ))
            })
            .collect();
        text.push_str(&format!("\n(\n  {}\n)", elements.join(",\n  ")));
    }
    text
}

fn clause(text: &mut String, keyword: &str, value: &str) {
    text.push('\n');
    text.push_str(keyword);
    text.push(' ');
    text.push_str(value);
}

fn retry_options(options: &RetryOptions) -> String {
    let mut object = serde_json::Map::new();
    let mut put = |key: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    put("exponential", options.exponential.map(Into::into));
    put("retry_interval", options.retry_interval_ms.map(Into::into));
    put(
        "max_retry_interval",
        options.max_retry_interval_ms.map(Into::into),
    );
    put("max_retries", options.max_retries.map(Into::into));
    serde_json::Value::Object(object).to_string()
}

/// The ALTER that puts cursors where they are: SHOW CREATE PIPELINE ... EXTENDED.
#[must_use]
pub fn alter_offsets(name: &str, cursors: &[(i32, i64)]) -> String {
    let mut json = String::from("{");
    for (at, (partition, offset)) in cursors.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(json, "{comma}\"{partition}\":{offset}");
    }
    json.push('}');
    format!(
        "ALTER PIPELINE {} SET OFFSETS {}",
        quoted(name),
        literal_text(&json)
    )
}
