//! The pipelines' statements: CREATE PIPELINE with its clauses in any order in use, and the short ones.
//!
//! Every clause of the reference's grammar is either taken or refused by its name and place: none is
//! passed over. Keys of CONFIG are the aggregator's to judge.

use std::collections::BTreeMap;

use ingest::pipeline::{Literal, Path, SkipErrors};
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, ObjectName};
use super::json_clause::{self, Secrets};
use super::table::{check_name, literal};
use crate::aggregator::OffsetsTo;
use crate::catalog::RetryOptions;
use crate::sql::error::{Code, SqlError};
use crate::sql::secret;

/// CREATE PIPELINE as written; the mapping is not yet resolved against the table.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatePipelineText {
    /// Its name.
    pub name: ObjectName,
    /// OR REPLACE.
    pub or_replace: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// `host[:port]` as written, in order.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// CONFIG.
    pub config: BTreeMap<String, String>,
    /// BATCH_INTERVAL, ms.
    pub batch_interval_ms: Option<u64>,
    /// MAX_PARTITIONS_PER_BATCH.
    pub max_partitions_per_batch: Option<u32>,
    /// MAX_RETRIES_PER_BATCH_PARTITION.
    pub max_retries_per_batch_partition: Option<u32>,
    /// MAX_OFFSETS_PER_BATCH_PARTITION.
    pub max_offsets_per_batch_partition: Option<u64>,
    /// RETRY_OPTIONS.
    pub retry_options: Option<RetryOptions>,
    /// SKIP ... ERRORS.
    pub skip_errors: SkipErrors,
    /// STOP_ON_ERROR.
    pub stop_on_error: Option<bool>,
    /// INTO TABLE.
    pub table: ObjectName,
    /// `(column <- path [DEFAULT literal], ...)`.
    pub mapping: Option<Vec<MappingElement>>,
}

/// `column <- path [DEFAULT literal]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingElement {
    /// `` `table`.`column` `` names the table as well.
    pub column: ObjectName,
    /// The path.
    pub path: Path,
    /// DEFAULT.
    pub default: Option<Literal>,
}

/// A pipeline's statement but CREATE.
#[derive(Clone, Debug, PartialEq)]
pub enum PipelineStatement {
    /// START PIPELINE.
    Start {
        /// Which one.
        name: ObjectName,
        /// IF NOT RUNNING.
        if_not_running: bool,
        /// FOREGROUND [LIMIT n BATCHES].
        foreground: Option<Option<u64>>,
    },
    /// STOP PIPELINE.
    Stop {
        /// Which one.
        name: ObjectName,
        /// IF RUNNING.
        if_running: bool,
    },
    /// DROP PIPELINE.
    Drop {
        /// Which one.
        name: ObjectName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// TEST PIPELINE [LIMIT n].
    Test {
        /// Which one.
        name: ObjectName,
        /// LIMIT.
        limit: Option<u64>,
    },
    /// AUDIT PIPELINE [VERIFY].
    Audit {
        /// Which one.
        name: ObjectName,
        /// VERIFY.
        verify: bool,
    },
    /// ALTER PIPELINE ... SET OFFSETS.
    Offsets {
        /// Which one.
        name: ObjectName,
        /// Where to.
        to: OffsetsTo,
    },
}

/// Reads what follows CREATE [OR REPLACE] PIPELINE.
///
/// # Errors
/// 1064; 1235 with name and place for a clause that is not done; the number that a wrong value has.
pub fn create_pipeline(
    cursor: &mut Cursor<'_>,
    or_replace: bool,
) -> Result<CreatePipelineText, SqlError> {
    let if_not_exists = cursor.take_if("IF NOT EXISTS");
    let name = cursor.object_name()?;
    check_name(&name.name, Code::PipelineFault, "pipeline")?;
    cursor.expect("AS LOAD DATA")?;
    if !cursor.take("KAFKA") {
        return Err(match cursor.peek() {
            Token::Word(word) if word.quote_style.is_none() => {
                let source = word.value.to_uppercase();
                cursor.refuse_because(
                    &format!("LOAD DATA {source}"),
                    "the source is KAFKA 'host[:port],.../topic'",
                )
            }
            _ => cursor.syntax(),
        });
    }
    let (brokers, topic) = connection(&cursor.string()?)?;
    let mut clauses = Clauses::default();
    while !cursor.at_end() {
        clauses.next(cursor)?;
    }
    let Some(table) = clauses.table else {
        return Err(missing(cursor, "INTO TABLE"));
    };
    if !clauses.format {
        return Err(cursor.refuse_because(
            "FORMAT CSV",
            "a pipeline without FORMAT loads CSV; write FORMAT JSON",
        ));
    }
    Ok(CreatePipelineText {
        name,
        or_replace,
        if_not_exists,
        brokers,
        topic,
        config: clauses.config.unwrap_or_default(),
        batch_interval_ms: clauses.batch_interval_ms,
        max_partitions_per_batch: clauses.max_partitions,
        max_retries_per_batch_partition: clauses.max_retries,
        max_offsets_per_batch_partition: clauses.max_offsets,
        retry_options: clauses.retry_options,
        skip_errors: clauses.skip_errors.unwrap_or_default(),
        stop_on_error: clauses.stop_on_error,
        table,
        mapping: clauses.mapping,
    })
}

fn missing(cursor: &Cursor<'_>, what: &str) -> SqlError {
    let mut fault = cursor.syntax();
    fault.message = format!("{}: {what} is missing", fault.message);
    fault
}

/// `host[:port][,host[:port]...]/topic`; the aggregator checks each host.
fn connection(text: &str) -> Result<(Vec<String>, String), SqlError> {
    let Some((brokers, topic)) = text.split_once('/') else {
        return Err(SqlError::new(
            Code::PipelineFault,
            format!("KAFKA: '{text}' names no topic: write 'host[:port][,host[:port]...]/topic'"),
        ));
    };
    let brokers = brokers
        .split(',')
        .map(|broker| broker.trim().to_owned())
        .collect();
    Ok((brokers, topic.to_owned()))
}

#[derive(Default)]
struct Clauses {
    config: Option<BTreeMap<String, String>>,
    credentials: bool,
    batch_interval_ms: Option<u64>,
    max_partitions: Option<u32>,
    max_retries: Option<u32>,
    max_offsets: Option<u64>,
    retry_options: Option<RetryOptions>,
    skip_errors: Option<SkipErrors>,
    stop_on_error: Option<bool>,
    table: Option<ObjectName>,
    format: bool,
    mapping: Option<Vec<MappingElement>>,
}

/// The clauses that other versions have: the keywords that begin one, and its name.
const REFUSED_CLAUSES: &[(&str, &str)] = &[
    ("RESOURCE POOL", "RESOURCE POOL"),
    (
        "ENABLE OUT_OF_ORDER OPTIMIZATION",
        "ENABLE OUT_OF_ORDER OPTIMIZATION",
    ),
    (
        "DISABLE OUT_OF_ORDER OPTIMIZATION",
        "DISABLE OUT_OF_ORDER OPTIMIZATION",
    ),
    ("ENABLE OFFSETS METADATA GC", "ENABLE OFFSETS METADATA GC"),
    ("DISABLE OFFSETS METADATA GC", "DISABLE OFFSETS METADATA GC"),
    ("WITH TRANSFORM", "WITH TRANSFORM"),
    ("SKIP DUPLICATE KEY ERRORS", "SKIP DUPLICATE KEY ERRORS"),
    ("REPLACE", "REPLACE"),
    ("IGNORE", "IGNORE"),
    ("INTO PROCEDURE", "INTO PROCEDURE"),
    ("FORMAT AVRO", "FORMAT AVRO"),
    ("FORMAT CSV", "FORMAT CSV"),
    ("FORMAT PARQUET", "FORMAT PARQUET"),
    ("FORMAT ICEBERG", "FORMAT ICEBERG"),
    ("SCHEMA REGISTRY", "SCHEMA REGISTRY"),
    ("SCHEMA", "SCHEMA"),
    ("KAFKA KEY", "KAFKA KEY"),
    ("FIELDS", "FIELDS"),
    ("COLUMNS", "COLUMNS"),
    ("LINES", "LINES"),
    ("TRAILING NULLCOLS", "TRAILING NULLCOLS"),
    ("NULL DEFINED BY", "NULL DEFINED BY"),
    ("OPTIONALLY ENCLOSED", "OPTIONALLY ENCLOSED"),
    ("CHARACTER SET", "CHARACTER SET"),
    ("SET", "SET"),
    ("WHERE", "WHERE"),
    ("ON DUPLICATE KEY UPDATE", "ON DUPLICATE KEY UPDATE"),
    ("ON MIXED", "ON MIXED"),
];

impl Clauses {
    fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        if cursor.is("CONFIG") {
            once(cursor, self.config.is_some(), "CONFIG")?;
            let text = cursor.string()?;
            let secrets = if secret::may_be_in(&text) {
                Secrets::Hidden
            } else {
                Secrets::Shown
            };
            self.config = Some(json_clause::config("CONFIG", &text, secrets)?);
        } else if cursor.is("CREDENTIALS") {
            once(cursor, self.credentials, "CREDENTIALS")?;
            self.credentials = true;
            let secrets = json_clause::config("CREDENTIALS", &cursor.string()?, Secrets::Hidden)?;
            if let Some(key) = secrets.keys().next() {
                return Err(SqlError::new(
                    Code::PipelineFault,
                    format!(
                        "CREDENTIALS: '{key}': TLS and SASL are not supported yet, brokers are reached in plaintext"
                    ),
                ));
            }
        } else if cursor.is("BATCH_INTERVAL") {
            once(cursor, self.batch_interval_ms.is_some(), "BATCH_INTERVAL")?;
            self.batch_interval_ms = Some(within(cursor, "BATCH_INTERVAL", 0, 86_400_000)?);
        } else if cursor.is("MAX_PARTITIONS_PER_BATCH") {
            once(
                cursor,
                self.max_partitions.is_some(),
                "MAX_PARTITIONS_PER_BATCH",
            )?;
            self.max_partitions = Some(small(within(
                cursor,
                "MAX_PARTITIONS_PER_BATCH",
                1,
                u32::MAX.into(),
            )?));
        } else if cursor.is("MAX_RETRIES_PER_BATCH_PARTITION") {
            once(
                cursor,
                self.max_retries.is_some(),
                "MAX_RETRIES_PER_BATCH_PARTITION",
            )?;
            self.max_retries = Some(small(within(
                cursor,
                "MAX_RETRIES_PER_BATCH_PARTITION",
                0,
                1_000_000,
            )?));
        } else if cursor.is("MAX_OFFSETS_PER_BATCH_PARTITION") {
            once(
                cursor,
                self.max_offsets.is_some(),
                "MAX_OFFSETS_PER_BATCH_PARTITION",
            )?;
            self.max_offsets = Some(within(
                cursor,
                "MAX_OFFSETS_PER_BATCH_PARTITION",
                1,
                1 << 40,
            )?);
        } else if cursor.is("RETRY_OPTIONS") {
            once(cursor, self.retry_options.is_some(), "RETRY_OPTIONS")?;
            self.retry_options = Some(json_clause::retry_options(&cursor.string()?)?);
        } else if cursor.is("STOP_ON_ERROR") {
            once(cursor, self.stop_on_error.is_some(), "STOP_ON_ERROR")?;
            cursor.take_token(&Token::Eq);
            self.stop_on_error = Some(on_or_off(cursor)?);
        } else if let Some(refused) = REFUSED_CLAUSES
            .iter()
            .find(|(keywords, _)| cursor.are(keywords))
        {
            return Err(cursor.refuse(refused.1));
        } else if cursor.is("SKIP") {
            once(cursor, self.skip_errors.is_some(), "SKIP ... ERRORS")?;
            self.skip_errors = Some(skip_errors(cursor)?);
        } else if cursor.is("INTO") {
            once(cursor, self.table.is_some(), "INTO TABLE")?;
            cursor.expect("TABLE")?;
            self.table = Some(cursor.object_name()?);
        } else if cursor.is("FORMAT") {
            once(cursor, self.format, "FORMAT")?;
            cursor.expect("JSON")?;
            self.format = true;
        } else if *cursor.peek() == Token::LParen {
            if self.mapping.is_some() {
                return Err(missing(
                    cursor,
                    "this is a second mapping: something before it",
                ));
            }
            self.mapping = Some(mapping(cursor)?);
        } else {
            return Err(cursor.syntax());
        }
        Ok(())
    }
}

/// Steps over a clause's keyword, which may come once.
fn once(cursor: &mut Cursor<'_>, before: bool, name: &str) -> Result<(), SqlError> {
    if before {
        let mut fault = cursor.syntax();
        fault.message = format!("{}: {name} stands there twice", fault.message);
        return Err(fault);
    }
    cursor.skip();
    Ok(())
}

fn within(cursor: &mut Cursor<'_>, name: &str, min: u64, max: u64) -> Result<u64, SqlError> {
    let written = cursor.peek().to_string();
    match cursor.number() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        Err(fault)
            if !written.starts_with(|first: char| first.is_ascii_digit() || first == '-') =>
        {
            Err(fault)
        }
        _ => Err(SqlError::new(
            Code::PipelineFault,
            format!("{name}: '{written}' is not a whole number from {min} to {max}"),
        )),
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn on_or_off(cursor: &mut Cursor<'_>) -> Result<bool, SqlError> {
    if cursor.take("ON") {
        Ok(true)
    } else if cursor.take("OFF") {
        Ok(false)
    } else {
        Err(cursor.syntax())
    }
}

fn skip_errors(cursor: &mut Cursor<'_>) -> Result<SkipErrors, SqlError> {
    let found = if cursor.take("ALL") {
        SkipErrors::All
    } else if cursor.take("CONSTRAINT") {
        SkipErrors::Constraint
    } else if cursor.take("PARSER") {
        SkipErrors::Parser
    } else {
        return Err(cursor.syntax());
    };
    cursor.expect("ERRORS")?;
    Ok(found)
}

fn mapping(cursor: &mut Cursor<'_>) -> Result<Vec<MappingElement>, SqlError> {
    cursor.expect_token(&Token::LParen)?;
    let mut elements = Vec::new();
    loop {
        if matches!(cursor.peek(), Token::Word(word) if word.quote_style.is_none() && word.value.starts_with('@'))
        {
            return Err(cursor.refuse_because(
                "a user variable in a mapping",
                "SET is not supported, name a column",
            ));
        }
        let column = cursor.object_name()?;
        if matches!(cursor.peek(), Token::Comma | Token::RParen) {
            return Err(
                cursor.refuse_because("a CSV column list", "FORMAT JSON maps 'column <- path'")
            );
        }
        cursor.expect_token(&Token::Lt)?;
        cursor.expect_token(&Token::Minus)?;
        let path = path(cursor)?;
        let default = if cursor.take("DEFAULT") {
            Some(literal(cursor)?)
        } else {
            None
        };
        elements.push(MappingElement {
            column,
            path,
            default,
        });
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(elements)
}

/// `% | [%::]key[::key...]`.
fn path(cursor: &mut Cursor<'_>) -> Result<Path, SqlError> {
    let mut keys = Vec::new();
    if cursor.take_token(&Token::Mod) && !cursor.take_token(&Token::DoubleColon) {
        return Ok(Path(keys));
    }
    loop {
        keys.push(match cursor.peek() {
            // A key of digits needs no backticks: it can be nothing else here.
            Token::Number(text, false) => {
                let key = text.clone();
                cursor.skip();
                key
            }
            Token::Word(word) if word.quote_style.is_none() => {
                let key = word.value.clone();
                cursor.skip();
                key
            }
            _ => cursor.ident()?,
        });
        if !cursor.take_token(&Token::DoubleColon) {
            return Ok(Path(keys));
        }
    }
}

/// Reads what follows START.
///
/// # Errors
/// 1064, 1235 for START ALL.
pub fn start(cursor: &mut Cursor<'_>) -> Result<PipelineStatement, SqlError> {
    if cursor.are("ALL PIPELINES") || cursor.are("FAILED PIPELINES") {
        return Err(cursor.refuse_because(
            "START ALL or FAILED PIPELINES",
            "name one pipeline at a time",
        ));
    }
    cursor.expect("PIPELINE")?;
    let if_not_running = cursor.take_if("IF NOT RUNNING");
    let name = cursor.object_name()?;
    let mut foreground = None;
    if cursor.take("FOREGROUND") {
        foreground = Some(None);
        if cursor.take("LIMIT") {
            foreground = Some(Some(within(cursor, "LIMIT", 1, 1 << 40)?));
            cursor.expect("BATCHES")?;
        }
    }
    cursor.end()?;
    Ok(PipelineStatement::Start {
        name,
        if_not_running,
        foreground,
    })
}

/// Reads what follows STOP.
///
/// # Errors
/// 1064, 1235 for STOP ALL and DETACH.
pub fn stop(cursor: &mut Cursor<'_>) -> Result<PipelineStatement, SqlError> {
    if cursor.are("ALL PIPELINES") {
        return Err(cursor.refuse_because("STOP ALL PIPELINES", "name one pipeline at a time"));
    }
    cursor.expect("PIPELINE")?;
    let if_running = cursor.take_if("IF RUNNING");
    let name = cursor.object_name()?;
    if cursor.is("DETACH") {
        return Err(cursor.refuse("DETACH"));
    }
    cursor.end()?;
    Ok(PipelineStatement::Stop { name, if_running })
}

/// Reads what follows DROP PIPELINE.
///
/// # Errors
/// 1064.
pub fn drop(cursor: &mut Cursor<'_>) -> Result<PipelineStatement, SqlError> {
    let if_exists = cursor.take_if("IF EXISTS");
    let name = cursor.object_name()?;
    cursor.end()?;
    Ok(PipelineStatement::Drop { name, if_exists })
}

/// Reads what follows TEST PIPELINE.
///
/// # Errors
/// 1064.
pub fn test(cursor: &mut Cursor<'_>) -> Result<PipelineStatement, SqlError> {
    let name = cursor.object_name()?;
    let limit = if cursor.take("LIMIT") {
        Some(within(cursor, "LIMIT", 1, 1 << 40)?)
    } else {
        None
    };
    cursor.end()?;
    Ok(PipelineStatement::Test { name, limit })
}

/// Reads what follows AUDIT PIPELINE.
///
/// # Errors
/// 1064.
pub fn audit(cursor: &mut Cursor<'_>) -> Result<PipelineStatement, SqlError> {
    let name = cursor.object_name()?;
    let verify = cursor.take("VERIFY");
    cursor.end()?;
    Ok(PipelineStatement::Audit { name, verify })
}

/// Reads what follows ALTER PIPELINE.
///
/// # Errors
/// 1064; 1235 for anything but SET OFFSETS.
pub fn alter(cursor: &mut Cursor<'_>) -> Result<PipelineStatement, SqlError> {
    let name = cursor.object_name()?;
    let refused = [
        "STOP_ON_ERROR",
        "RELOAD TRANSFORM",
        "DROP PARTITION",
        "DROP ORPHAN PARTITIONS",
        "FIELDS",
        "COLUMNS",
        "LINES",
        "ENABLE",
        "DISABLE",
        "RESOURCE POOL",
    ];
    let because = "CREATE OR REPLACE PIPELINE keeps the cursors";
    if let Some(refused) = refused.iter().find(|keywords| cursor.are(keywords)) {
        return Err(cursor.refuse_because(&format!("ALTER PIPELINE ... {refused}"), because));
    }
    cursor.expect("SET")?;
    if !cursor.take("OFFSETS") {
        return Err(match cursor.peek() {
            Token::Word(word) if word.quote_style.is_none() => {
                let what = word.value.to_uppercase();
                cursor.refuse_because(&format!("ALTER PIPELINE ... SET {what}"), because)
            }
            _ => cursor.syntax(),
        });
    }
    let to = if cursor.take("EARLIEST") {
        OffsetsTo::Earliest
    } else if cursor.take("LATEST") {
        OffsetsTo::Latest
    } else {
        OffsetsTo::Listed(json_clause::offsets(&cursor.string()?)?)
    };
    if !cursor.at_end() && cursor.is("SET") {
        return Err(cursor.refuse_because("a second SET", "only SET OFFSETS is supported"));
    }
    cursor.end()?;
    Ok(PipelineStatement::Offsets { name, to })
}
