//! A statement's text to what it says. SELECT's grammar is [`super::select`]'s; all else is read here.
//!
//! One hand-written reader, because pipelines' statements are nobody else's grammar, and because a
//! clause that is not done has to be named with its place. A statement that MySQL knows and this
//! server does not is refused by name (1235); a text that is no statement is 1064.

pub mod cursor;
pub mod json_clause;
pub mod pipeline;
pub mod set;
pub mod show;
pub mod table;
mod types;
mod weight;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use sqlparser::ast;
use sqlparser::tokenizer::Token;

pub use cursor::{Cursor, ObjectName};
pub use pipeline::{CreatePipelineText, MappingElement, PipelineStatement};
pub use set::{Assigned, Assignment};
pub use show::{Filter, Show};
pub use table::CreateTableText;
pub use weight::{parsed_bytes, parsed_bytes_of};

use super::error::{Code, SqlError};
use super::select;
use table::{charset_or_collation, check_name};

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// SELECT, WITH, VALUES, TABLE.
    Query(Arc<ast::Query>),
    /// EXPLAIN and DESCRIBE of a query.
    Explain(select::Explain, Arc<ast::Query>),
    /// SHOW and DESCRIBE of a table.
    Show(Show),
    /// SET.
    Set(Vec<Assignment>),
    /// USE.
    Use(String),
    /// CREATE DATABASE.
    CreateDatabase {
        /// Its name.
        name: String,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// CREATE TABLE.
    CreateTable(Box<CreateTableText>),
    /// DROP TABLE.
    DropTable {
        /// The tables.
        names: Vec<ObjectName>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// TRUNCATE TABLE.
    Truncate(ObjectName),
    /// CREATE PIPELINE.
    CreatePipeline(Box<CreatePipelineText>),
    /// START, STOP, DROP, TEST, AUDIT and ALTER PIPELINE.
    Pipeline(PipelineStatement),
    /// KILL.
    Kill {
        /// The connection.
        id: u64,
        /// KILL QUERY.
        query_only: bool,
    },
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
}

/// Reads one statement.
///
/// # Errors
/// 1064, 1065 for a text without one, 1235 for what is not done, and what a clause's value is worth.
pub fn parse(sql: &str) -> Result<Statement, SqlError> {
    let mut all = Cursor::new(sql)?;
    if all.at_end() {
        return Err(SqlError::new(Code::EmptyQuery, "Query was empty"));
    }
    let cursor = &mut all;
    if begins_query(cursor) {
        // A query is read from its text: its tokens are not kept twice.
        std::mem::drop(all);
        return query(sql).map(Statement::Query);
    }
    if cursor.take("SHOW") {
        return show::show(cursor).map(Statement::Show);
    }
    if cursor.is("EXPLAIN") || cursor.is("DESCRIBE") || cursor.is("DESC") {
        cursor.skip();
        return explain(all);
    }
    if cursor.take("SET") {
        return set::set(cursor).map(Statement::Set);
    }
    if cursor.take("USE") {
        let name = cursor.ident()?;
        cursor.end()?;
        return Ok(Statement::Use(name));
    }
    if cursor.take("CREATE") {
        return create(cursor);
    }
    if cursor.take("DROP") {
        return drop(cursor);
    }
    if cursor.take("TRUNCATE") {
        cursor.take("TABLE");
        let name = cursor.object_name()?;
        cursor.end()?;
        return Ok(Statement::Truncate(name));
    }
    if cursor.are("START TRANSACTION") || cursor.is("BEGIN") {
        return begin(cursor);
    }
    if cursor.take("START") {
        return pipeline::start(cursor).map(Statement::Pipeline);
    }
    if cursor.take("STOP") {
        return pipeline::stop(cursor).map(Statement::Pipeline);
    }
    if cursor.take("TEST PIPELINE") {
        return pipeline::test(cursor).map(Statement::Pipeline);
    }
    if cursor.take("AUDIT PIPELINE") {
        return pipeline::audit(cursor).map(Statement::Pipeline);
    }
    if cursor.take("ALTER PIPELINE") {
        return pipeline::alter(cursor).map(Statement::Pipeline);
    }
    if cursor.take("KILL") {
        return kill(cursor);
    }
    if cursor.is("COMMIT") || cursor.is("ROLLBACK") {
        return end_transaction(cursor);
    }
    Err(refused(cursor))
}

/// How many `?` a statement has.
///
/// # Errors
/// 1064 where the text does not fall into tokens, 1390 for more than 65,535.
pub fn parameters(sql: &str) -> Result<u16, SqlError> {
    let mut cursor = Cursor::new(sql)?;
    let mut found = 0_u32;
    while *cursor.peek() != Token::EOF {
        found += u32::from(matches!(cursor.peek(), Token::Placeholder(mark) if mark == "?"));
        cursor.skip();
    }
    u16::try_from(found).map_err(|_| {
        SqlError::new(
            Code::TooManyParameters,
            "Prepared statement contains too many placeholders",
        )
    })
}

/// The one query of a text.
fn query(sql: &str) -> Result<Arc<ast::Query>, SqlError> {
    match select::parse(sql)? {
        ast::Statement::Query(query) => Ok(Arc::new(*query)),
        other => Err(SqlError::not_supported(other)),
    }
}

fn begins_query(cursor: &Cursor<'_>) -> bool {
    let is_query = ["SELECT", "WITH", "VALUES", "TABLE"]
        .iter()
        .any(|keyword| cursor.is(keyword));
    is_query || *cursor.peek() == Token::LParen
}

fn explain(mut all: Cursor<'_>) -> Result<Statement, SqlError> {
    let cursor = &mut all;
    let mut how = select::Explain::Plan;
    if cursor.take("ANALYZE") {
        how = select::Explain::Analyze;
    }
    if cursor.is("FORMAT") {
        if !["TREE", "TRADITIONAL"]
            .iter()
            .any(|known| cursor.is_at(2, known))
        {
            return Err(cursor.refuse("EXPLAIN FORMAT"));
        }
        cursor.skip();
        cursor.expect_token(&Token::Eq)?;
        cursor.skip();
    }
    if cursor.is("EXTENDED") || cursor.is("PARTITIONS") {
        cursor.skip();
    }
    if begins_query(cursor) {
        // A comment in the place of EXPLAIN, so that places in errors stay right: one token, however long it is.
        let (before, rest) = cursor.sql().split_at(cursor.byte());
        let lines = before.matches('\n').count();
        let text = format!("/*{}*/{rest}", "\n".repeat(lines));
        std::mem::drop(all);
        return Ok(Statement::Explain(how, query(&text)?));
    }
    for refused in ["INSERT", "UPDATE", "DELETE", "REPLACE", "FOR"] {
        if cursor.is(refused) {
            return Err(cursor.refuse(&format!("EXPLAIN {refused}")));
        }
    }
    if how == select::Explain::Analyze {
        return Err(cursor.syntax());
    }
    show::describe(cursor).map(Statement::Show)
}

fn create(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    if cursor.take("DATABASE") || cursor.take("SCHEMA") {
        let if_not_exists = cursor.take_if("IF NOT EXISTS");
        let name = cursor.ident()?;
        check_name(&name, Code::WrongDatabaseName, "database")?;
        loop {
            cursor.take("DEFAULT");
            if !charset_or_collation(cursor)? {
                break;
            }
        }
        cursor.end()?;
        return Ok(Statement::CreateDatabase {
            name,
            if_not_exists,
        });
    }
    if cursor.take("TABLE") {
        return table::create_table(cursor).map(|table| Statement::CreateTable(Box::new(table)));
    }
    let or_replace = cursor.take("OR REPLACE");
    if cursor.is("AGGREGATOR") {
        return Err(cursor.refuse("CREATE AGGREGATOR PIPELINE"));
    }
    if cursor.take("PIPELINE") {
        let pipeline = pipeline::create_pipeline(cursor, or_replace)?;
        return Ok(Statement::CreatePipeline(Box::new(pipeline)));
    }
    Err(named(cursor, "CREATE"))
}

fn drop(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    if cursor.take("DATABASE") || cursor.take("SCHEMA") {
        let if_exists = cursor.take_if("IF EXISTS");
        let name = cursor.ident()?;
        cursor.end()?;
        return Ok(Statement::DropDatabase { name, if_exists });
    }
    if cursor.take("TABLE") || cursor.take("TABLES") {
        let if_exists = cursor.take_if("IF EXISTS");
        let mut names = vec![cursor.object_name()?];
        while cursor.take_token(&Token::Comma) {
            names.push(cursor.object_name()?);
        }
        if !cursor.take("RESTRICT") {
            cursor.take("CASCADE");
        }
        cursor.end()?;
        return Ok(Statement::DropTable { names, if_exists });
    }
    if cursor.take("PIPELINE") {
        return pipeline::drop(cursor).map(Statement::Pipeline);
    }
    Err(named(cursor, "DROP"))
}

fn begin(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    if cursor.take("BEGIN") {
        cursor.take("WORK");
    } else {
        cursor.expect("START TRANSACTION")?;
        if cursor.is("WITH") {
            return Err(cursor.refuse_because(
                "WITH CONSISTENT SNAPSHOT",
                "each statement reads a snapshot of its own",
            ));
        }
        if !cursor.take("READ ONLY") {
            cursor.take("READ WRITE");
        }
    }
    cursor.end()?;
    Ok(Statement::Begin)
}

fn end_transaction(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    let statement = if cursor.take("COMMIT") {
        Statement::Commit
    } else {
        Statement::Rollback
    };
    cursor.take("ROLLBACK");
    cursor.take("WORK");
    if cursor.is("TO") {
        return Err(cursor.refuse("ROLLBACK TO SAVEPOINT"));
    }
    if cursor.are("AND CHAIN") || cursor.is("RELEASE") {
        return Err(cursor.refuse("AND CHAIN and RELEASE"));
    }
    cursor.take("AND NO CHAIN");
    cursor.take("NO RELEASE");
    cursor.end()?;
    Ok(statement)
}

fn kill(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    let query_only = cursor.take("QUERY");
    if !query_only {
        cursor.take("CONNECTION");
    }
    let id = cursor.number()?;
    // The vendor's clients send the aggregator's id behind it: there is one.
    if matches!(cursor.peek(), Token::Number(..)) {
        cursor.number()?;
    }
    cursor.end()?;
    Ok(Statement::Kill { id, query_only })
}

/// What MySQL's and the vendor's statements begin with, and this server does not do.
const REFUSED: &[&str] = &[
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "LOAD",
    "GRANT",
    "REVOKE",
    "CALL",
    "DO",
    "HANDLER",
    "LOCK",
    "UNLOCK",
    "FLUSH",
    "RESET",
    "PURGE",
    "CHANGE",
    "ANALYZE",
    "CHECK",
    "CHECKSUM",
    "OPTIMIZE",
    "REPAIR",
    "RENAME",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "SAVEPOINT",
    "RELEASE",
    "XA",
    "HELP",
    "INSTALL",
    "UNINSTALL",
    "SIGNAL",
    "RESIGNAL",
    "CACHE",
    "IMPORT",
    "RESTART",
    "SHUTDOWN",
    "CLONE",
    "BINLOG",
    "ALTER PIPELINE",
    "ALTER",
    "PROFILE",
    "EXTRACT",
    "DETACH",
    "CLEAR",
    "INFER",
    "BACKUP",
    "RESTORE",
    "ATTACH",
    "REBALANCE",
    "SNAPSHOT",
    "COPY",
    "ECHO",
    "TRIGGER",
];

fn refused(cursor: &Cursor<'_>) -> SqlError {
    let Some(keyword) = REFUSED.iter().find(|keyword| cursor.is(keyword)) else {
        return cursor.syntax();
    };
    match *keyword {
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" => {
            cursor.refuse_because(keyword, "rows come from pipelines alone")
        }
        "GRANT" | "REVOKE" => cursor.refuse_because(keyword, "users stand in the configuration"),
        "ALTER" | "TEST" | "PROFILE" | "EXTRACT" | "DETACH" | "CLEAR" | "INFER" => {
            match cursor.peek_at(1) {
                Token::Word(word) if word.quote_style.is_none() => {
                    cursor.refuse(&format!("{keyword} {}", word.value.to_uppercase()))
                }
                _ => cursor.syntax(),
            }
        }
        keyword => cursor.refuse(keyword),
    }
}

/// What may stand behind CREATE and DROP in MySQL, and is refused here by name.
const REFUSED_OBJECTS: &[&str] = &[
    "VIEW",
    "INDEX",
    "UNIQUE",
    "FULLTEXT",
    "SPATIAL",
    "USER",
    "ROLE",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "EVENT",
    "SERVER",
    "TABLESPACE",
    "TEMPORARY",
    "ROWSTORE",
    "REFERENCE",
    "COLUMNSTORE",
    "GLOBAL",
    "EXTERNAL",
    "INFERRED",
    "AGGREGATE",
    "LINK",
    "RESOURCE",
    "MILESTONE",
    "PROJECTION",
    "GROUP",
    "DEFINER",
    "ALGORITHM",
    "SQL",
    "LIVE",
];

fn named(cursor: &Cursor<'_>, verb: &str) -> SqlError {
    match cursor.peek() {
        Token::Word(word) if word.quote_style.is_none() => {
            let what = word.value.to_uppercase();
            if REFUSED_OBJECTS.contains(&what.as_str()) {
                cursor.refuse(&format!("{verb} {what}"))
            } else {
                cursor.syntax()
            }
        }
        _ => cursor.syntax(),
    }
}
