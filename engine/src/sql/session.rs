//! A session: one client's database, variables, warnings and prepared statements.
//!
//! Statements run one after another. Each sees the catalog as it stood when it began, answers to
//! KILL at its every await and between any two batches of its rows, and leaves its warnings for SHOW
//! WARNINGS. There are no transactions to speak of: no statement changes rows, and each reads a
//! snapshot of its own, so BEGIN, COMMIT and ROLLBACK have nothing to do and say so in a warning.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::{self, Answer, Done, ResultColumn};
use super::engine::Engine;
use super::error::{Code, SqlError};
use super::parse::{self, PipelineStatement, Show, Statement};
use super::processes::{Identity, KillWatch, Registered, Running};
use super::select::memory::Held;
use super::select::{Cancel, CancelGuard};
use super::value::{Prepared, Value};
use super::variables::SessionVariables;
use super::warnings::{Level, Warnings};
use super::{names, schema_views, secret};
use crate::aggregator::Name;
use crate::limits::{
    PARSE_BESIDE_BYTES, PREPARED_PARSED_BYTES_MAX, PREPARED_STATEMENTS_MAX, PREPARED_TEXT_BYTES_MAX,
};

/// One client's session. Statements run one after another, in the order they were sent.
pub struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) who: Identity,
    registered: Registered,
    pub(super) database: Option<String>,
    pub(super) variables: Arc<SessionVariables>,
    pub(super) warnings: Warnings,
    /// What the text of the statement under way reserved.
    pub(super) text: Option<Arc<Held>>,
    prepared: HashMap<u32, Arc<PreparedStatement>>,
    last_prepared: u32,
}

struct PreparedStatement {
    sql: String,
    /// What parsing it may take.
    parsed_bytes: usize,
    /// `None`: parsed again at each execution, because the session keeps enough parsed ones.
    statement: Option<Statement>,
    params: u16,
    /// The columns that are named with a `?`: they are so whatever value stands for it.
    named: Vec<(usize, String)>,
}

/// A statement under way.
struct Begun {
    running: Running,
    /// A client that hangs up drops this, and with it what it asked for.
    guard: CancelGuard,
    cancel: Cancel,
}

impl Begun {
    /// The outcome of a part of it, or 1317 once it was killed.
    async fn unless_killed<T>(
        &mut self,
        work: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, SqlError> {
        tokio::select! {
            biased;
            () = self.running.killed() => {
                self.guard.cancel();
                Err(SqlError::interrupted())
            }
            done = work => done,
        }
    }
}

impl Session {
    /// Begins a session and registers it with the engine's processes until it is dropped.
    #[must_use]
    pub fn new(engine: Arc<Engine>, who: Identity) -> Session {
        let registered = engine.processes().register(&who, engine.now_unix_us());
        let variables = engine.engine_variables(&engine.catalog());
        let variables = SessionVariables::new(Arc::clone(engine.facts()), variables);
        Session {
            engine,
            who,
            registered,
            database: None,
            variables: Arc::new(variables),
            warnings: Warnings::default(),
            text: None,
            prepared: HashMap::new(),
            last_prepared: 0,
        }
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// MySQL's number and text for whatever is wrong with it; 1317 when it was killed.
    pub async fn execute(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let mut begun = self.begin("Query", sql);
        match begun.unless_killed(self.read(sql, parse::parse)).await {
            Ok((statement, held)) => self.run(begun, &statement, &[], held).await,
            Err(fault) => Err(self.not_begun(fault)),
        }
    }

    /// From here on the statement is listed, and KILL and a hang-up reach it.
    fn begin(&self, command: &'static str, sql: &str) -> Begun {
        let (handle, cancel) = Cancel::new();
        Begun {
            running: self
                .registered
                .begin(command, secret::shown(sql), self.engine.now_unix_us()),
            guard: CancelGuard::new(handle),
            cancel,
        }
    }

    /// Reads a text with `parse`: a long one beside the control thread, which serves all sessions. What that may take is
    /// reserved before, and for as long as it goes on, also where nobody waits for it any more.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        sql: &str,
        parse: fn(&str) -> Result<T, SqlError>,
    ) -> Result<(T, Held), SqlError> {
        let most = self.engine.parts().memory.bytes_max();
        let held = self.hold(parse::parsed_bytes_of(sql, most))?;
        if sql.len() < PARSE_BESIDE_BYTES {
            return parse(sql).map(|parsed| (parsed, held));
        }
        let sql = sql.to_owned();
        let runtime = &self.engine.parts().query_runtime;
        let work = runtime.spawn_blocking(move || parse(&sql).map(|parsed| (parsed, held)));
        work.await.unwrap_or_else(|panic| {
            Err(SqlError::new(
                Code::Unknown,
                format!("The statement could not be parsed: {panic}"),
            ))
        })
    }

    /// Reserves what parsing a text and its tree may take.
    fn hold(&self, parsed_bytes: usize) -> Result<Held, SqlError> {
        self.engine.parts().memory.hold(parsed_bytes)
    }

    /// Prepares one statement with `?` for values.
    ///
    /// # Errors
    /// As [`Session::execute`], as far as it shows without values; 1295 for `?` outside a query, 1461
    /// for too many statements.
    pub async fn prepare(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        self.warnings.clear();
        let prepared = self.prepare_inner(sql).await;
        prepared.map_err(|fault| self.remember(fault))
    }

    async fn prepare_inner(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        if self.prepared.len() >= PREPARED_STATEMENTS_MAX {
            return Err(SqlError::new(
                Code::TooManyStatements,
                format!(
                    "Can't create more than max_prepared_stmt_count statements (current value: {PREPARED_STATEMENTS_MAX})"
                ),
            ));
        }
        let texts = self.prepared.values().map(|one| one.sql.len());
        if texts.sum::<usize>() + sql.len() > PREPARED_TEXT_BYTES_MAX {
            return Err(SqlError::new(
                Code::TooManyStatements,
                format!(
                    "Can't create more statements: the texts of a session's prepared statements may hold {PREPARED_TEXT_BYTES_MAX} bytes together"
                ),
            ));
        }
        let mut begun = self.begin("Prepare", sql);
        let read = begun.unless_killed(self.read(sql, with_parameters));
        let ((statement, params), held) = read.await?;
        let is_query = matches!(statement, Statement::Query(_) | Statement::Explain(..));
        if params > 0 && !is_query {
            return Err(SqlError::new(
                Code::UnsupportedPrepared,
                "This command is not supported in the prepared statement protocol yet: '?' may stand in a query alone",
            ));
        }
        let cancel = begun.cancel.clone();
        self.text = Some(Arc::new(held));
        let columns = begun.unless_killed(self.columns_of(&statement, cancel));
        let columns = columns.await;
        self.text = None;
        let columns = columns?;
        drop(begun);
        self.last_prepared = self.last_prepared.wrapping_add(1);
        let id = self.last_prepared;
        let parsed = self.prepared.values().filter(|one| one.statement.is_some());
        let parsed = parsed.map(|one| one.parsed_bytes).sum::<usize>();
        let parsed_bytes = parse::parsed_bytes(sql);
        let entry = PreparedStatement {
            sql: sql.to_owned(),
            parsed_bytes,
            statement: (parsed + parsed_bytes <= PREPARED_PARSED_BYTES_MAX).then_some(statement),
            params,
            named: answer::named_with_a_parameter(&columns),
        };
        self.prepared.insert(id, Arc::new(entry));
        Ok(Prepared {
            id,
            params,
            columns,
        })
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
        let prepared = match self.prepared_for(id, &params) {
            Ok(prepared) => prepared,
            Err(fault) => return Err(self.not_begun(fault)),
        };
        let mut begun = self.begin("Execute", &prepared.sql);
        let again;
        let read = match &prepared.statement {
            Some(statement) => {
                let held = self.hold(prepared.parsed_bytes);
                held.map(|held| (statement, held))
            }
            None => {
                let read = begun.unless_killed(self.read(&prepared.sql, parse::parse));
                match read.await {
                    Ok((statement, held)) => {
                        again = statement;
                        Ok((&again, held))
                    }
                    Err(fault) => Err(fault),
                }
            }
        };
        match read {
            Ok((statement, held)) => {
                let answer = self.run(begun, statement, &params, held).await?;
                Ok(answer.renamed(&prepared.named))
            }
            Err(fault) => Err(self.not_begun(fault)),
        }
    }

    fn prepared_for(&self, id: u32, params: &[Value]) -> Result<Arc<PreparedStatement>, SqlError> {
        let Some(prepared) = self.prepared.get(&id) else {
            return Err(SqlError::new(
                Code::UnknownStatement,
                format!("Unknown prepared statement handler ({id}) given to EXECUTE"),
            ));
        };
        if params.len() != usize::from(prepared.params) {
            return Err(SqlError::new(
                Code::WrongArguments,
                "Incorrect arguments to EXECUTE",
            ));
        }
        Ok(Arc::clone(prepared))
    }

    /// Of a statement that could not be begun: the error is all that SHOW WARNINGS has.
    pub fn not_begun(&mut self, fault: SqlError) -> SqlError {
        self.warnings.clear();
        self.remember(fault)
    }

    /// Forgets a prepared statement; an unknown id is nobody's fault, COM_STMT_CLOSE has no answer.
    pub fn close_prepared(&mut self, id: u32) {
        self.prepared.remove(&id);
    }

    /// How many prepared statements are kept parsed.
    #[cfg(test)]
    pub(super) fn kept_parsed(&self) -> usize {
        let parsed = self.prepared.values();
        parsed.filter(|one| one.statement.is_some()).count()
    }

    /// USE and COM_INIT_DB.
    ///
    /// # Errors
    /// 1049 where there is no such database.
    pub async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        self.warnings.clear();
        self.choose_database(name)
            .map_err(|fault| self.remember(fault))
    }

    pub(super) fn choose_database(&mut self, name: &str) -> Result<(), SqlError> {
        let known = if name.eq_ignore_ascii_case(names::INFORMATION_SCHEMA) {
            Some(names::INFORMATION_SCHEMA.to_owned())
        } else {
            self.engine
                .catalog()
                .database(name)
                .map(|found| found.name.clone())
        };
        let Some(known) = known else {
            return Err(unknown_database(name));
        };
        self.registered.set_database(Some(&known));
        self.database = Some(known);
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
        let name = parse::ObjectName {
            database: None,
            name: table.to_owned(),
        };
        let (name, columns) = self.columns_of_table(&name)?;
        Ok(columns
            .iter()
            .filter(|column| wildcard.is_empty() || super::listing::like(wildcard, &column.name))
            .map(|column| ResultColumn {
                database: name.database.clone(),
                table: name.name.clone(),
                org_table: name.name.clone(),
                ..ResultColumn::of_type(&column.name, column.sql_type, column.nullable)
            })
            .collect())
    }

    /// COM_RESET_CONNECTION: variables, warnings and prepared statements as at the start; the
    /// database stays, as in MySQL.
    pub fn reset(&mut self) {
        Arc::make_mut(&mut self.variables).reset();
        self.warnings.clear();
        self.prepared.clear();
    }

    /// The autocommit flag that every OK packet carries.
    #[must_use]
    pub fn autocommit(&self) -> bool {
        self.variables.is_on("autocommit")
    }

    /// How many warnings the last statement left, for OK and EOF packets.
    #[must_use]
    pub fn warnings(&self) -> u16 {
        self.warnings.count()
    }

    /// The database in use.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// How long the connection may idle, seconds: `wait_timeout`.
    #[must_use]
    pub fn wait_timeout_s(&self) -> u64 {
        self.variables.wait_timeout_s()
    }

    /// How long a client may take to read what was written, seconds: `net_write_timeout`.
    #[must_use]
    pub fn net_write_timeout_s(&self) -> u64 {
        self.variables.net_write_timeout_s()
    }

    /// How long a client may take for a piece of a packet that has begun, seconds: `net_read_timeout`.
    #[must_use]
    pub fn net_read_timeout_s(&self) -> u64 {
        self.variables.net_read_timeout_s()
    }

    /// The engine this session runs on.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the server watches to close the connection after KILL.
    #[must_use]
    pub fn kill_watch(&self) -> KillWatch {
        self.registered.watch()
    }

    async fn run(
        &mut self,
        mut begun: Begun,
        statement: &Statement,
        params: &[Value],
        held: Held,
    ) -> Result<Answer, SqlError> {
        if !matches!(statement, Statement::Show(Show::Warnings { .. })) {
            self.warnings.begin();
        }
        let catalog = self.engine.catalog();
        let engine_variables = self.engine.engine_variables(&catalog);
        Arc::make_mut(&mut self.variables).refresh(engine_variables);
        let cancel = begun.cancel.clone();
        self.text = Some(Arc::new(held));
        let work = self.dispatch(statement, params, cancel);
        let answer = begun.unless_killed(work).await;
        let text = self.text.take();
        let Begun { running, guard, .. } = begun;
        match answer {
            Ok(Answer::Rows(rows)) => {
                running.set_state("sending");
                Ok(Answer::Rows(super::guard::killable(
                    rows,
                    running,
                    guard,
                    Arc::clone(self.warnings.late()),
                    text,
                )))
            }
            Ok(Answer::Done(done)) => Ok(Answer::Done(Done {
                warnings: self.warnings.count(),
                ..done
            })),
            Err(fault) => Err(self.remember(fault)),
        }
    }

    async fn columns_of(
        &mut self,
        statement: &Statement,
        cancel: Cancel,
    ) -> Result<Vec<ResultColumn>, SqlError> {
        match statement {
            Statement::Query(query) => self.describe(query, cancel).await,
            Statement::Show(show) => match self.show(show, cancel).await? {
                Answer::Rows(rows) => Ok(rows.columns),
                Answer::Done(_) => Ok(Vec::new()),
            },
            Statement::Pipeline(PipelineStatement::Audit { .. }) => Ok(super::audit::columns()),
            _ => Ok(Vec::new()),
        }
    }

    /// A name with its database filled in.
    pub(super) fn qualified(&self, name: &parse::ObjectName) -> Result<Name, SqlError> {
        match name.database.as_ref().or(self.database.as_ref()) {
            Some(database) => Ok(Name::new(database.clone(), name.name.clone())),
            None => Err(SqlError::new(Code::NoDatabase, "No database selected")),
        }
    }

    /// A table's name and columns, be it stored or a view.
    pub(super) fn columns_of_table(
        &self,
        name: &parse::ObjectName,
    ) -> Result<(Name, Vec<crate::catalog::ColumnDef>), SqlError> {
        let name = self.qualified(name)?;
        if name
            .database
            .eq_ignore_ascii_case(names::INFORMATION_SCHEMA)
        {
            return match schema_views::columns(&name.name) {
                Some(columns) => Ok((name, columns)),
                None => Err(no_such_table(&name)),
            };
        }
        let catalog = self.engine.catalog();
        if catalog.database(&name.database).is_none() {
            return Err(unknown_database(&name.database));
        }
        match catalog.table(&name.database, &name.name) {
            Some(table) => Ok((name, table.spec.columns.clone())),
            None => Err(no_such_table(&name)),
        }
    }

    /// The database in use is gone.
    pub(super) fn leave_database(&mut self) {
        self.registered.set_database(None);
        self.database = None;
    }

    /// Keeps an error for SHOW WARNINGS.
    fn remember(&mut self, fault: SqlError) -> SqlError {
        self.warnings.push(Level::Error, fault.code, &fault.shown());
        fault
    }
}

/// A statement and how many `?` it has.
fn with_parameters(sql: &str) -> Result<(Statement, u16), SqlError> {
    Ok((parse::parse(sql)?, parse::parameters(sql)?))
}

/// 1049.
pub(super) fn unknown_database(name: &str) -> SqlError {
    SqlError::new(Code::UnknownDatabase, format!("Unknown database '{name}'"))
}

/// 1146.
pub(super) fn no_such_table(name: &Name) -> SqlError {
    SqlError::new(
        Code::NoSuchTable,
        format!("Table '{}.{}' doesn't exist", name.database, name.name),
    )
}
