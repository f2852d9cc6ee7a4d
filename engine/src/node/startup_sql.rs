//! `startup_sql`: a file of SQL that runs at every start, statement by statement, before a client may.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;

use super::config::ConfigError;
use super::run::NodeError;
use super::text_file;
use crate::limits::STARTUP_SQL_BYTES_MAX;
use crate::sql::{Answer, Engine, Identity, Session, split_statements};

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

/// Runs it, up to the first statement that fails.
///
/// # Errors
/// `StartupSql`, with file and line.
pub(super) async fn run(engine: &Arc<Engine>, path: &Path) -> Result<(), NodeError> {
    let text = read(path)?;
    let failed = |line, error| NodeError::StartupSql {
        path: path.to_path_buf(),
        line,
        error,
    };
    let pieces = split_statements(&text).map_err(|error| failed(1, error))?;
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
