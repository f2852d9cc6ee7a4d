//! SHOW, DESCRIBE and their filters.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, ObjectName};
use crate::sql::error::SqlError;

/// LIKE or WHERE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// No filter.
    All,
    /// LIKE 'pattern' on the first column.
    Like(String),
    /// WHERE: the expression's text.
    Where(String),
}

/// A SHOW statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// DATABASES.
    Databases(Filter),
    /// TABLES.
    Tables {
        /// FULL.
        full: bool,
        /// FROM.
        database: Option<String>,
        /// LIKE, WHERE.
        filter: Filter,
    },
    /// TABLE STATUS.
    TableStatus {
        /// FROM.
        database: Option<String>,
        /// LIKE, WHERE.
        filter: Filter,
    },
    /// COLUMNS, and DESCRIBE.
    Columns {
        /// FULL.
        full: bool,
        /// The table.
        table: ObjectName,
        /// LIKE, WHERE.
        filter: Filter,
    },
    /// INDEX: there are none.
    Index {
        /// The table.
        table: ObjectName,
        /// WHERE.
        filter: Filter,
    },
    /// CREATE TABLE.
    CreateTable(ObjectName),
    /// CREATE DATABASE.
    CreateDatabase(String),
    /// CREATE PIPELINE.
    CreatePipeline {
        /// The pipeline.
        name: ObjectName,
        /// EXTENDED.
        extended: bool,
    },
    /// PIPELINES.
    Pipelines {
        /// FROM.
        database: Option<String>,
        /// LIKE, WHERE.
        filter: Filter,
    },
    /// VARIABLES.
    Variables {
        /// GLOBAL.
        global: bool,
        /// LIKE, WHERE.
        filter: Filter,
    },
    /// STATUS.
    Status(Filter),
    /// WARNINGS, ERRORS.
    Warnings {
        /// ERRORS.
        errors_only: bool,
        /// COUNT(*).
        count: bool,
        /// LIMIT's offset.
        skip: u64,
        /// LIMIT's count.
        limit: u64,
    },
    /// PROCESSLIST.
    Processlist {
        /// FULL.
        full: bool,
    },
    /// ENGINES.
    Engines,
    /// COLLATION.
    Collation(Filter),
    /// CHARACTER SET.
    CharacterSet(Filter),
    /// PLUGINS, TRIGGERS, EVENTS, PROCEDURE STATUS, FUNCTION STATUS: there are none of these.
    Nothing(Kind, Filter),
    /// GRANTS.
    Grants,
}

/// What there is none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PLUGINS.
    Plugins,
    /// TRIGGERS.
    Triggers,
    /// EVENTS.
    Events,
    /// PROCEDURE STATUS and FUNCTION STATUS.
    Routines,
}

/// Reads what follows SHOW.
///
/// # Errors
/// 1064, and 1235 for what MySQL can show and this server cannot.
pub fn show(cursor: &mut Cursor<'_>) -> Result<Show, SqlError> {
    if cursor.take("CREATE") {
        return show_create(cursor);
    }
    let global = cursor.take("GLOBAL");
    if !global && !cursor.take("SESSION") {
        cursor.take("LOCAL");
    }
    if cursor.take("VARIABLES") {
        return Ok(Show::Variables {
            global,
            filter: filter(cursor)?,
        });
    }
    if cursor.take("STATUS") {
        return Ok(Show::Status(filter(cursor)?));
    }
    if cursor.is("COUNT") || cursor.is("WARNINGS") || cursor.is("ERRORS") {
        return warnings(cursor);
    }
    cursor.take("EXTENDED");
    let full = cursor.take("FULL");
    if cursor.take("PROCESSLIST") {
        cursor.end()?;
        return Ok(Show::Processlist { full });
    }
    if cursor.take("TABLES") {
        let database = from(cursor)?;
        return Ok(Show::Tables {
            full,
            database,
            filter: filter(cursor)?,
        });
    }
    if cursor.take("COLUMNS") || cursor.take("FIELDS") {
        let table = of_table(cursor)?;
        return Ok(Show::Columns {
            full,
            table,
            filter: filter(cursor)?,
        });
    }
    if full {
        return Err(cursor.syntax());
    }
    if cursor.take("DATABASES") || cursor.take("SCHEMAS") {
        return Ok(Show::Databases(filter(cursor)?));
    }
    if cursor.take("TABLE STATUS") {
        let database = from(cursor)?;
        return Ok(Show::TableStatus {
            database,
            filter: filter(cursor)?,
        });
    }
    if cursor.take("INDEX") || cursor.take("INDEXES") || cursor.take("KEYS") {
        let table = of_table(cursor)?;
        return Ok(Show::Index {
            table,
            filter: filter(cursor)?,
        });
    }
    if cursor.take("PIPELINES") {
        let database = from(cursor)?;
        return Ok(Show::Pipelines {
            database,
            filter: filter(cursor)?,
        });
    }
    if cursor.take("STORAGE ENGINES") || cursor.take("ENGINES") {
        cursor.end()?;
        return Ok(Show::Engines);
    }
    if cursor.take("COLLATION") {
        return Ok(Show::Collation(filter(cursor)?));
    }
    if cursor.take("CHARACTER SET") || cursor.take("CHARSET") {
        return Ok(Show::CharacterSet(filter(cursor)?));
    }
    if cursor.take("GRANTS") {
        if cursor.is("FOR") {
            return Err(cursor.refuse_because(
                "SHOW GRANTS FOR",
                "every user of the configuration may do everything",
            ));
        }
        cursor.end()?;
        return Ok(Show::Grants);
    }
    nothing(cursor)
}

fn nothing(cursor: &mut Cursor<'_>) -> Result<Show, SqlError> {
    for (keywords, kind, in_database) in [
        ("PLUGINS", Kind::Plugins, false),
        ("TRIGGERS", Kind::Triggers, true),
        ("EVENTS", Kind::Events, true),
        ("PROCEDURE STATUS", Kind::Routines, false),
        ("FUNCTION STATUS", Kind::Routines, false),
    ] {
        if cursor.take(keywords) {
            if in_database {
                from(cursor)?;
            }
            return Ok(Show::Nothing(kind, filter(cursor)?));
        }
    }
    Err(match cursor.peek() {
        Token::Word(word) if word.quote_style.is_none() => {
            let what = word.value.to_uppercase();
            if MYSQL_SHOWS.contains(&what.as_str()) {
                cursor.refuse(&format!("SHOW {what}"))
            } else {
                cursor.syntax()
            }
        }
        _ => cursor.syntax(),
    })
}

const MYSQL_SHOWS: &[&str] = &[
    "BINARY",
    "BINLOG",
    "ENGINE",
    "FUNCTION",
    "MASTER",
    "OPEN",
    "PRIVILEGES",
    "PROCEDURE",
    "PROFILE",
    "PROFILES",
    "RELAYLOG",
    "REPLICA",
    "REPLICAS",
    "SLAVE",
    "AGGREGATORS",
    "LEAVES",
    "PARTITIONS",
    "LINKS",
    "PROJECTIONS",
    "FUNCTIONS",
    "PROCEDURES",
    "AGGREGATES",
    "USERS",
    "GROUPS",
    "ROLES",
    "WORKLOAD",
    "RESOURCE",
    "CLUSTER",
    "PLANCACHE",
    "REPRODUCTION",
    "STATUS",
    "TRANSFORM",
];

fn show_create(cursor: &mut Cursor<'_>) -> Result<Show, SqlError> {
    if cursor.take("TABLE") {
        let name = cursor.object_name()?;
        cursor.end()?;
        return Ok(Show::CreateTable(name));
    }
    if cursor.take("DATABASE") || cursor.take("SCHEMA") {
        cursor.take("IF NOT EXISTS");
        let name = cursor.ident()?;
        cursor.end()?;
        return Ok(Show::CreateDatabase(name));
    }
    if cursor.take("PIPELINE") {
        let name = cursor.object_name()?;
        let extended = cursor.take("EXTENDED");
        cursor.end()?;
        return Ok(Show::CreatePipeline { name, extended });
    }
    for refused in [
        "VIEW",
        "PROCEDURE",
        "FUNCTION",
        "TRIGGER",
        "EVENT",
        "USER",
        "AGGREGATE",
        "LINK",
    ] {
        if cursor.is(refused) {
            return Err(cursor.refuse(&format!("SHOW CREATE {refused}")));
        }
    }
    Err(cursor.syntax())
}

fn warnings(cursor: &mut Cursor<'_>) -> Result<Show, SqlError> {
    let count = cursor.take("COUNT");
    if count {
        cursor.expect_token(&Token::LParen)?;
        cursor.expect_token(&Token::Mul)?;
        cursor.expect_token(&Token::RParen)?;
    }
    let errors_only = cursor.take("ERRORS");
    if !errors_only {
        cursor.expect("WARNINGS")?;
    }
    let (mut skip, mut limit) = (0, u64::MAX);
    if !count && cursor.take("LIMIT") {
        limit = cursor.number()?;
        if cursor.take_token(&Token::Comma) {
            skip = limit;
            limit = cursor.number()?;
        }
    }
    cursor.end()?;
    Ok(Show::Warnings {
        errors_only,
        count,
        skip,
        limit,
    })
}

/// Reads what follows DESCRIBE, where it is a table.
///
/// # Errors
/// 1064.
pub fn describe(cursor: &mut Cursor<'_>) -> Result<Show, SqlError> {
    let table = cursor.object_name()?;
    let filter = if cursor.at_end() {
        Filter::All
    } else if cursor.peek_string().is_some() {
        Filter::Like(cursor.string()?)
    } else {
        Filter::Like(
            cursor
                .ident()?
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_"),
        )
    };
    cursor.end()?;
    Ok(Show::Columns {
        full: false,
        table,
        filter,
    })
}

fn from(cursor: &mut Cursor<'_>) -> Result<Option<String>, SqlError> {
    if cursor.take("FROM") || cursor.take("IN") {
        cursor.ident().map(Some)
    } else {
        Ok(None)
    }
}

fn of_table(cursor: &mut Cursor<'_>) -> Result<ObjectName, SqlError> {
    if !cursor.take("IN") {
        cursor.expect("FROM")?;
    }
    let mut table = cursor.object_name()?;
    if let Some(database) = from(cursor)? {
        table.database = Some(database);
    }
    Ok(table)
}

/// `[LIKE 'pattern' | WHERE expression]`, to the end.
fn filter(cursor: &mut Cursor<'_>) -> Result<Filter, SqlError> {
    if cursor.at_end() {
        return Ok(Filter::All);
    }
    if cursor.take("LIKE") {
        let pattern = cursor.string()?;
        cursor.end()?;
        return Ok(Filter::Like(pattern));
    }
    cursor.expect("WHERE")?;
    if cursor.at_end() {
        return Err(cursor.syntax());
    }
    let start = cursor.byte();
    while !cursor.at_end() {
        cursor.skip();
    }
    Ok(Filter::Where(
        cursor.text(start, cursor.byte_before()).to_owned(),
    ))
}
