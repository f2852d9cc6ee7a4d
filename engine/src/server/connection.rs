//! One client's connection once it is logged in: commands one after another until it ends.
//!
//! A client may send the next command before it has read the last answer; commands are answered in
//! order. While a statement runs the socket is watched: a client that went away ends its query. KILL ends
//! whatever the connection waits for, also a client that does not read.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use mysql_common::constants::CapabilityFlags;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::ServerSettings;
use super::answer::{self, STATUS_AUTOCOMMIT, STATUS_MORE_RESULTS};
use super::bursts::Refusal;
use super::command::Command;
use super::door::Door;
use super::execute::Statements;
use super::handshake::Login;
use super::packet::{ConnectionError, Packets};
use super::rows::{Protocol, RowEncoder};
use crate::sql::{
    Answer, Code, Done, Engine, Identity, ResultColumn, Rows, Session, SqlError, split_statements,
};

/// What a connection is once it is logged in.
pub struct Begun {
    /// Its packets; the client waits for OK.
    pub packets: Packets<TcpStream>,
    /// Who it is.
    pub login: Login,
    /// From where.
    pub host: String,
    /// Its id.
    pub id: u32,
}

/// Carries a client's commands out to its end, or until `stop` is true and no statement runs.
pub async fn serve(
    begun: Begun,
    engine: Arc<Engine>,
    settings: &ServerSettings,
    stop: watch::Receiver<bool>,
    door: &Door,
) {
    let Begun {
        mut packets,
        login,
        host,
        id,
    } = begun;
    packets.set_payload_bytes_max(settings.max_allowed_packet_bytes);
    let identity = Identity {
        user: login.user,
        host: host.clone(),
        connection_id: id,
    };
    let session = Session::new(engine, identity);
    let mut kill = session.kill_watch();
    let mut connection = Connection {
        packets,
        capabilities: login.capabilities,
        session,
        // What one parameter may hold, all of them may together.
        statements: Statements::new(settings.max_allowed_packet_bytes),
        row_bytes_max: settings.max_allowed_packet_bytes,
        stop,
    };
    let ended = tokio::select! {
        biased;
        ended = connection.run(login.database) => ended,
        () = kill.connection_killed() => Err(ConnectionError::Killed),
    };
    if ended.is_err() {
        let counts = connection.session.engine().processes().counts();
        counts.aborted_clients.add_one();
    }
    match ended {
        Ok(()) | Err(ConnectionError::Closed) => tracing::debug!(host, connection = id, "closed"),
        Err(error) => {
            if door.is_news(Refusal::Ended) {
                tracing::info!(host, connection = id, "connection ended: {error}");
            }
            if let Some(error) = last_words(&error) {
                connection.packets.break_with(&answer::error(&error)).await;
            }
        }
    }
}

/// What a client is told before its connection is closed, where it can still be told.
fn last_words(error: &ConnectionError) -> Option<SqlError> {
    Some(match error {
        ConnectionError::TooLarge { .. } => {
            SqlError { code: 1153, state: "08S01", message: "Got a packet bigger than 'max_allowed_packet' bytes".into() }
        }
        ConnectionError::Malformed(what) => {
            SqlError { code: 1835, state: "HY000", message: format!("Malformed communication packet: {what}.") }
        }
        ConnectionError::TimedOut { doing: "waiting for a command" } => SqlError {
            code: 4031,
            state: "HY000",
            message: "The client was disconnected by the server because of inactivity. See wait_timeout for \
                      configuring this behavior."
                .into(),
        },
        ConnectionError::TimedOut { doing: "reading a packet" } => {
            SqlError::new(Code::ReadTimedOut, "Got timeout reading communication packets: see net_read_timeout")
        }
        ConnectionError::Killed => {
            SqlError { code: 1317, state: "70100", message: "Query execution was interrupted".into() }
        }
        ConnectionError::Closed | ConnectionError::TimedOut { .. } | ConnectionError::Io(_) => return None,
    })
}

struct Connection {
    packets: Packets<TcpStream>,
    capabilities: CapabilityFlags,
    session: Session,
    statements: Statements,
    /// Of an answer.
    row_bytes_max: usize,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(&mut self, database: Option<String>) -> Result<(), ConnectionError> {
        if let Some(database) = database
            && let Err(error) = self.session.use_database(&database).await
        {
            self.error(&error).await?;
            return self.packets.flush().await;
        }
        self.done(&Done::default(), false).await?;
        self.packets.flush().await?;
        loop {
            self.packets.begin();
            let seconds = self.session.net_read_timeout_s();
            self.packets.set_read_timeout(Duration::from_secs(seconds));
            let payload = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Ok(()),
                payload = self.packets.read(Duration::from_secs(self.session.wait_timeout_s())) => payload?.to_vec(),
            };
            let seconds = self.session.net_write_timeout_s();
            self.packets.set_write_timeout(Duration::from_secs(seconds));
            let goes_on = match Command::read(&payload) {
                Ok(command) => self.answer(command).await?,
                Err(error) => {
                    self.error(&error).await?;
                    true
                }
            };
            self.packets.flush().await?;
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Carries a command out. `false`: the client quits.
    async fn answer(&mut self, command: Command<'_>) -> Result<bool, ConnectionError> {
        match command {
            Command::Quit => return Ok(false),
            Command::Ping => self.done(&Done::default(), false).await?,
            Command::Statistics => {
                let line = format!(
                    "Connections: {}",
                    self.session.engine().processes().list().len()
                );
                self.packets.write(line.as_bytes()).await?;
            }
            Command::InitDb(name) => {
                let used = self.session.use_database(name).await;
                self.finish(used).await?;
            }
            Command::ResetConnection => {
                self.session.reset();
                self.statements.clear();
                self.done(&Done::default(), false).await?;
            }
            Command::MultiStatements(on) => {
                self.capabilities
                    .set(CapabilityFlags::CLIENT_MULTI_STATEMENTS, on);
                self.packets
                    .write(&answer::end(self.capabilities, 0, self.status(false)))
                    .await?;
            }
            Command::ProcessKill(id) => {
                let killed = self.session.engine().processes().kill(id, false);
                self.finish(killed).await?;
            }
            Command::FieldList { table, wildcard } => {
                match self.session.field_list(table, wildcard).await {
                    Ok(columns) => {
                        for column in &columns {
                            self.packets.write(&answer::column(column, true)).await?;
                        }
                        self.packets
                            .write(&answer::end(self.capabilities, 0, self.status(false)))
                            .await?;
                    }
                    Err(error) => self.error(&error).await?,
                }
            }
            Command::Query(sql) => self.query(sql).await?,
            Command::Prepare(sql) => self.prepare(sql).await?,
            Command::Execute { id, params } => self.execute(id, params).await?,
            Command::SendLongData { id, param, bytes } => {
                self.statements.append_long_data(id, param, bytes)?;
            }
            Command::Close(id) => {
                self.statements.close(id);
                self.session.close_prepared(id);
            }
            Command::Reset(id) if self.statements.reset(id) => {
                self.done(&Done::default(), false).await?;
            }
            Command::Reset(id) => {
                let fault = unknown_statement(id, "mysqld_stmt_reset");
                self.not_begun(fault).await?;
            }
        }
        Ok(true)
    }

    async fn query(&mut self, sql: &str) -> Result<(), ConnectionError> {
        let are_many = CapabilityFlags::CLIENT_MULTI_STATEMENTS;
        let mut pieces = split_statements(sql).peekable();
        // An empty text is a statement too: it gets its error.
        if !self.capabilities.contains(are_many) || pieces.peek().is_none() {
            let answer = watched(self.packets.stream(), self.session.execute(sql)).await?;
            return self.send(answer, Protocol::Text, false).await.map(|_| ());
        }
        while let Some(piece) = pieces.next() {
            let text = match piece {
                Ok(piece) => piece.text,
                Err(unfinished) => return self.not_begun(unfinished.into()).await,
            };
            let answer = watched(self.packets.stream(), self.session.execute(text)).await?;
            let is_more = pieces.peek().is_some();
            if !self.send(answer, Protocol::Text, is_more).await? {
                break;
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, sql: &str) -> Result<(), ConnectionError> {
        let prepared = match watched(self.packets.stream(), self.session.prepare(sql)).await? {
            Ok(prepared) => prepared,
            Err(error) => return self.error(&error).await,
        };
        self.statements
            .insert(prepared.id, usize::from(prepared.params));
        let columns = u16::try_from(prepared.columns.len()).unwrap_or(u16::MAX);
        self.packets
            .write(&answer::prepared(prepared.id, columns, prepared.params))
            .await?;
        let with_end = !self
            .capabilities
            .contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);
        if prepared.params > 0 {
            for _ in 0..prepared.params {
                self.packets
                    .write(&answer::column(&parameter(), false))
                    .await?;
            }
            if with_end {
                self.packets
                    .write(&answer::end(self.capabilities, 0, self.status(false)))
                    .await?;
            }
        }
        if columns > 0 {
            for column in prepared.columns.iter().take(usize::from(columns)) {
                self.packets.write(&answer::column(column, false)).await?;
            }
            if with_end {
                self.packets
                    .write(&answer::end(self.capabilities, 0, self.status(false)))
                    .await?;
            }
        }
        Ok(())
    }

    async fn execute(&mut self, id: u32, params: &[u8]) -> Result<(), ConnectionError> {
        let Some(values) = self.statements.read(id, params) else {
            let fault = unknown_statement(id, "mysqld_stmt_execute");
            return self.not_begun(fault).await;
        };
        let values = values?;
        let answer = watched(
            self.packets.stream(),
            self.session.execute_prepared(id, values),
        )
        .await?;
        self.send(answer, Protocol::Binary, false).await.map(|_| ())
    }

    /// Sends a statement's answer. `false` after an error: the statements behind it do not run.
    async fn send(
        &mut self,
        answer: Result<Answer, SqlError>,
        protocol: Protocol,
        more: bool,
    ) -> Result<bool, ConnectionError> {
        match answer {
            Ok(Answer::Done(done)) => self.done(&done, more).await?,
            Ok(Answer::Rows(rows)) => return self.rows(rows, protocol, more).await,
            Err(error) => {
                self.error(&error).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn rows(
        &mut self,
        rows: Rows,
        protocol: Protocol,
        more: bool,
    ) -> Result<bool, ConnectionError> {
        let Rows {
            columns,
            mut batches,
        } = rows;
        // The first batch before the columns: an error at its start is then the only answer.
        let mut next = watched(self.packets.stream(), batches.next()).await?;
        if let Some(Err(error)) = next {
            self.error(&error).await?;
            return Ok(false);
        }
        self.packets.write(&count(columns.len())).await?;
        for column in &columns {
            self.packets.write(&answer::column(column, false)).await?;
        }
        if !self
            .capabilities
            .contains(CapabilityFlags::CLIENT_DEPRECATE_EOF)
        {
            self.packets
                .write(&answer::end(self.capabilities, 0, self.status(more)))
                .await?;
        }
        let (mut payload, mut scratch) = (Vec::new(), Vec::new());
        while let Some(batch) = next {
            let encoder = match &batch {
                Ok(batch) => RowEncoder::new(batch, &columns, protocol, self.row_bytes_max)
                    .map_err(|no_form| SqlError::new(Code::Unknown, no_form.to_string())),
                Err(error) => Err(error.clone()),
            };
            let encoder = match encoder {
                Ok(encoder) => encoder,
                Err(error) => {
                    self.error(&error).await?;
                    return Ok(false);
                }
            };
            let rows = batch.as_ref().map_or(0, |batch| batch.num_rows());
            for row in 0..rows {
                if let Err(too_long) = encoder.encode(row, &mut payload, &mut scratch) {
                    let error = SqlError::new(Code::PacketTooLarge, too_long.to_string());
                    self.error(&error).await?;
                    return Ok(false);
                }
                self.packets.write(&payload).await?;
            }
            next = match batches.next().now_or_never() {
                Some(next) => next,
                None => {
                    // What is known goes out before anything is waited for: an audit may take long.
                    self.packets.flush().await?;
                    watched(self.packets.stream(), batches.next()).await?
                }
            };
        }
        let end = answer::end(
            self.capabilities,
            self.session.warnings(),
            self.status(more),
        );
        self.packets.write(&end).await?;
        Ok(true)
    }

    async fn finish(&mut self, outcome: Result<(), SqlError>) -> Result<(), ConnectionError> {
        match outcome {
            Ok(()) => self.done(&Done::default(), false).await,
            Err(error) => self.error(&error).await,
        }
    }

    async fn done(&mut self, done: &Done, more: bool) -> Result<(), ConnectionError> {
        self.packets
            .write(&answer::ok(done, self.status(more)))
            .await
    }

    /// An error of what never became a statement of the session: SHOW WARNINGS has it too.
    async fn not_begun(&mut self, fault: SqlError) -> Result<(), ConnectionError> {
        let fault = self.session.not_begun(fault);
        self.error(&fault).await
    }

    async fn error(&mut self, error: &SqlError) -> Result<(), ConnectionError> {
        self.packets.write(&answer::error(error)).await
    }

    fn status(&self, more: bool) -> u16 {
        let autocommit = if self.session.autocommit() {
            STATUS_AUTOCOMMIT
        } else {
            0
        };
        let more = if more { STATUS_MORE_RESULTS } else { 0 };
        autocommit | more
    }
}

/// Awaits `work`, unless the client goes away first.
async fn watched<T>(
    stream: &TcpStream,
    work: impl Future<Output = T>,
) -> Result<T, ConnectionError> {
    tokio::pin!(work);
    let mut watching = true;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            peeked = peek(stream), if watching => match peeked? {
                0 => return Err(ConnectionError::Closed),
                // The next command waits already; it is read when this one is answered.
                _ => watching = false,
            },
        }
    }
}

/// Until the server is told to stop, by word or because whoever could tell it is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn peek(stream: &TcpStream) -> std::io::Result<usize> {
    let mut byte = [0; 1];
    stream.peek(&mut byte).await
}

/// A result set's first packet: how many columns it has.
fn count(columns: usize) -> Vec<u8> {
    use mysql_common::io::BufMutExt;
    let mut payload = Vec::new();
    payload.put_lenenc_int(columns as u64);
    payload
}

/// What a `?` is said to be: text, as MySQL says it.
fn parameter() -> ResultColumn {
    ResultColumn {
        database: String::new(),
        table: String::new(),
        org_table: String::new(),
        name: "?".into(),
        org_name: String::new(),
        type_code: super::type_code::VAR_STRING,
        flags: 128,
        decimals: 0,
        collation: 63,
        length: 0,
    }
}

fn unknown_statement(id: u32, who: &str) -> SqlError {
    SqlError {
        code: 1243,
        state: "HY000",
        message: format!("Unknown prepared statement handler ({id}) given to {who}"),
    }
}
