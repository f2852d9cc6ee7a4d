//! `startup_sql`: a file of SQL that runs at every start, statement by statement, before a client may.
//!
//! `check` reads its statements and runs none: what one refers to may be made by another before it.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;

use super::config::ConfigError;
use super::run::NodeError;
use super::text_file;
use crate::limits::STARTUP_SQL_BYTES_MAX;
use crate::sql::parse::parse;
use crate::sql::{Answer, Engine, Identity, Piece, Session, SqlError, split_statements};

/// The file's text.
///
/// # Errors
/// One line that names the key.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    text_file::read(path, STARTUP_SQL_BYTES_MAX).map_err(|error| ConfigError {
        place: path.display().to_string(),
        what: format!("startup_sql cannot be read: {error}; give the path of a file of SQL"),
    })
}

/// Reads every statement; the number of them.
///
/// # Errors
/// `StartupSql`, with file and line, or one line that names the key.
pub(super) fn check(path: &Path) -> Result<usize, NodeError> {
    let text = read(path)?;
    let failed = failed_in(path);
    let pieces = pieces(&text, &failed)?;
    for piece in &pieces {
        parse(piece.text).map_err(|error| failed(piece.line, error))?;
    }
    Ok(pieces.len())
}

/// Runs it, up to the first statement that fails.
///
/// # Errors
/// As [`check`].
pub(super) async fn run(engine: &Arc<Engine>, path: &Path) -> Result<(), NodeError> {
    let text = read(path)?;
    let failed = failed_in(path);
    let pieces = pieces(&text, &failed)?;
    let identity = Identity {
        user: "startup_sql".into(),
        host: "localhost".into(),
        connection_id: engine.processes().next_id(),
    };
    let mut session = Session::new(Arc::clone(engine), identity);
    for piece in pieces {
        let answer = session
            .execute(piece.text)
            .await
            .map_err(|error| failed(piece.line, error))?;
        if let Answer::Rows(mut rows) = answer {
            while let Some(batch) = rows.batches.next().await {
                batch.map_err(|error| failed(piece.line, error))?;
            }
        }
    }
    Ok(())
}

/// What to make of an error on a line.
fn failed_in(path: &Path) -> impl Fn(u32, SqlError) -> NodeError {
    let path = path.to_path_buf();
    move |line, error| NodeError::StartupSql {
        path: path.clone(),
        line,
        error,
    }
}

fn pieces<'a>(
    text: &'a str,
    failed: &impl Fn(u32, SqlError) -> NodeError,
) -> Result<Vec<Piece<'a>>, NodeError> {
    split_statements(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|unfinished| failed(unfinished.line, unfinished.into()))
}
