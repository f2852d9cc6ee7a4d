//! One client from its accepted socket to a session, or to the error that it is told instead.
//!
//! What is told to a client, and why, is decided in [`super::handshake`] and [`super::door`]; here it is
//! said, once to the client and at most once a burst in the log.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::ServerSettings;
use super::answer;
use super::bursts::Refusal;
use super::connection::{self, Begun};
use super::door::{Entered, MustGo};
use super::handshake::{Entrance, LoginOutcome, log_in};
use super::packet::{ConnectionError, Packets};
use crate::limits::LOGIN_PACKET_BYTES_MAX;
use crate::sql::{Code, Engine, SqlError};

/// Serves one client to its end, or until `stop` is true and no statement runs.
pub async fn serve(
    stream: TcpStream,
    host: String,
    engine: Arc<Engine>,
    settings: Arc<ServerSettings>,
    (entered, must_go): (Entered, MustGo),
    mut stop: watch::Receiver<bool>,
) {
    let id = engine.processes().next_id();
    let door = Arc::clone(entered.door());
    let mut packets = Packets::new(
        stream,
        LOGIN_PACKET_BYTES_MAX,
        settings.net_read_timeout,
        settings.net_write_timeout,
    );
    let entrance = Entrance {
        users: &settings.users,
        entered: &entered,
        host: &host,
        server_version: &settings.version,
        connection_id: id,
        within: settings.connect_timeout,
    };
    let ended = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return,
        () = must_go.told() => None,
        outcome = log_in(&mut packets, &entrance) => Some(outcome),
    };
    drop(entered);
    let login = match ended {
        Some(Ok(LoginOutcome::Admitted(login))) => login,
        Some(Ok(LoginOutcome::Refused(refused))) => {
            if door.refused(refused.refusal) {
                tracing::info!(host, connection = id, "login refused: {}", refused.logged);
            }
            return packets.end_with(&answer::error(&refused.error)).await;
        }
        Some(Err(ConnectionError::Closed)) => return door.closed(),
        Some(Err(error)) => {
            let (refusal, what) = match error {
                ConnectionError::TimedOut { .. } => (Refusal::TimedOut, "login timed out"),
                _ => (Refusal::Broken, "login ended"),
            };
            if door.refused(refusal) {
                tracing::info!(host, connection = id, "{what}: {error}");
            }
            return;
        }
        None => {
            if door.refused(Refusal::Dropped) {
                tracing::warn!(
                    host,
                    connection = id,
                    "a connection that had not logged in made room for another"
                );
            }
            let payload = unasked(&mut packets, &made_room());
            // Behind a greeting that has not left it would not be understood.
            return packets.break_with(&payload).await;
        }
    };
    let session = match door.admit() {
        Ok(session) => session,
        Err(error) => {
            if door.refused(Refusal::TooMany) {
                tracing::warn!(host, connection = id, "login refused: {error}");
            }
            return packets.end_with(&answer::error(&error)).await;
        }
    };
    let begun = Begun {
        packets,
        login,
        host,
        id,
    };
    // Of its own: a connection that is not logged in does not take a session's memory.
    Box::pin(connection::serve(begun, engine, &settings, stop, &door)).await;
    drop(session);
}

/// What is told to a client in the midst of its login.
fn unasked(packets: &mut Packets<TcpStream>, error: &SqlError) -> Vec<u8> {
    if packets.has_begun() {
        packets.answer_unasked();
        answer::error(error)
    } else {
        answer::error_before_login(error)
    }
}

fn made_room() -> SqlError {
    SqlError::new(
        Code::TooManyConnections,
        "Too many connections: too many are logging in, and this one made room for another; try again",
    )
}
