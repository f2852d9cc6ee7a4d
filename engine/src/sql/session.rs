//! A session: one client's database, variables, warnings and prepared statements.

use std::sync::Arc;

use super::answer::{Answer, ResultColumn};
use super::engine::Engine;
use super::error::SqlError;
use super::processes::{Identity, KillWatch, Registered};
use super::value::{Prepared, Value};

/// One client's session. Statements run one after another, in the order they were sent.
pub struct Session {
    engine: Arc<Engine>,
    registered: Registered,
    database: Option<String>,
    autocommit: bool,
    warnings: u16,
}

impl Session {
    /// Begins a session and registers it with the engine's processes until it is dropped.
    #[must_use]
    pub fn new(engine: Arc<Engine>, who: Identity) -> Session {
        let registered = engine.processes().register(&who, engine.now_unix_us());
        Session {
            engine,
            registered,
            database: None,
            autocommit: true,
            warnings: 0,
        }
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// MySQL's number and text for whatever is wrong with it; 1317 when it was killed.
    pub async fn execute(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let _running = self
            .registered
            .begin("Query", sql, self.engine.now_unix_us());
        Err(SqlError::not_supported(sql))
    }

    /// Prepares one statement with `?` for values.
    ///
    /// # Errors
    /// As [`Session::execute`], as far as it shows without values.
    pub async fn prepare(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        Err(SqlError::not_supported(sql))
    }

    /// Runs a prepared statement with a value for each `?`.
    ///
    /// # Errors
    /// 1243 for an id that is not prepared, 1210 for a wrong number of values, and as [`Session::execute`].
    pub async fn execute_prepared(
        &mut self,
        id: u32,
        params: Vec<Value>,
    ) -> Result<Answer, SqlError> {
        let _ = params;
        Err(SqlError::not_supported(id))
    }

    /// Forgets a prepared statement; an unknown id is nobody's fault, COM_STMT_CLOSE has no answer.
    pub fn close_prepared(&mut self, id: u32) {
        let _ = id;
    }

    /// USE and COM_INIT_DB.
    ///
    /// # Errors
    /// 1049 where there is no such database.
    pub async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        self.database = Some(name.to_owned());
        self.registered.set_database(Some(name));
        Ok(())
    }

    /// COM_FIELD_LIST: the columns of `table` in the database in use whose names match `wildcard`
    /// (LIKE's `%` and `_`; empty: all).
    ///
    /// # Errors
    /// 1046 without a database, 1146 without such a table.
    pub async fn field_list(
        &mut self,
        table: &str,
        wildcard: &str,
    ) -> Result<Vec<ResultColumn>, SqlError> {
        let _ = wildcard;
        Err(SqlError::not_supported(table))
    }

    /// COM_RESET_CONNECTION: variables, warnings and prepared statements as at the start; the
    /// database stays, as in MySQL.
    pub fn reset(&mut self) {
        self.autocommit = true;
        self.warnings = 0;
    }

    /// The autocommit flag that every OK packet carries.
    #[must_use]
    pub fn autocommit(&self) -> bool {
        self.autocommit
    }

    /// How many warnings the last statement left, for OK and EOF packets.
    #[must_use]
    pub fn warnings(&self) -> u16 {
        self.warnings
    }

    /// The database in use.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// What the server watches to close the connection after KILL.
    #[must_use]
    pub fn kill_watch(&self) -> KillWatch {
        self.registered.watch()
    }
}
