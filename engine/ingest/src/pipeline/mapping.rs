//! A pipeline's mapping as plain data: which path of a message becomes which column.
//!
//! Serialisable, because the catalog keeps it and the aggregator sends it to leaves.

use serde::{Deserialize, Serialize};

use super::types::SqlType;

/// A constant, as DEFAULT gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// NULL.
    Null,
    /// TRUE or FALSE.
    Bool(bool),
    /// A number, verbatim as written: cast like a JSON number.
    Number(String),
    /// A string, unquoted and unescaped: cast like a JSON string.
    Text(String),
}

/// Where a value stands in a JSON message: object keys from the outside in; none is `%`, the whole value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Path(pub Vec<String>);

/// One column of the table, in the table's order, and where its value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MappedColumn {
    /// The column's name.
    pub name: String,
    /// Its SQL type: decides the cast.
    pub sql_type: SqlType,
    /// Whether NULL may stand in it; NULL into NOT NULL is a CONSTRAINT failure.
    pub nullable: bool,
    /// The path; `None` for a column the mapping does not name, which takes `default`.
    pub path: Option<Path>,
    /// What a missing path takes. `None`: a missing path is a PARSER failure.
    /// For a column without a path: the column's own DEFAULT or NULL, checked at CREATE PIPELINE.
    pub default: Option<Literal>,
}

/// FORMAT JSON: a column for each of the table's, in its order. When the statement gives no mapping,
/// every column's path is its own name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JsonMapping {
    /// The table's columns, in order, without the hidden ones.
    pub columns: Vec<MappedColumn>,
}

/// What SKIP ... ERRORS says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SkipErrors {
    /// No SKIP: a bad message is an error of the pipeline.
    #[default]
    None,
    /// SKIP CONSTRAINT ERRORS: a value that parses and does not fit its column is a reject.
    Constraint,
    /// SKIP PARSER ERRORS: a message that does not parse is a reject.
    Parser,
    /// SKIP ALL ERRORS: both.
    All,
}

impl std::fmt::Display for Path {
    /// As the user writes it: `a::b`, keys with odd characters in backticks, `%` for the whole value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("%");
        }
        for (at, key) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("::")?;
            }
            let plain = key
                .chars()
                .enumerate()
                .all(|(at, c)| c == '_' || c.is_alphabetic() || (at > 0 && c.is_ascii_digit()));
            if plain && !key.is_empty() {
                f.write_str(key)?;
            } else {
                write!(f, "`{}`", key.replace('`', "``"))?;
            }
        }
        Ok(())
    }
}
