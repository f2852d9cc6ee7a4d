//! The server: MySQL's protocol, and nothing else that speaks to clients.
//!
//! One current-thread runtime accepts, logs in and writes results; queries run elsewhere, so that a
//! query in a page fault does not hold up PING or KILL. From the socket inwards: [`packet`] cuts
//! the stream, [`handshake`] and [`login`] admit a user, [`command`] reads what is asked,
//! [`connection`] has the session carry it out, [`answer`] and [`rows`] write what it says.
//!
//! 1. A command that is not known gets MySQL's error, never OK.
//! 2. Every wait has an end: login, a packet that has begun, a client that does not read, idleness.
//! 3. A connection holds one batch of rows and one write buffer, however large its result.

pub mod answer;
pub mod calendar;
pub mod command;
pub mod connection;
pub mod execute;
pub mod handshake;
pub mod login;
pub mod packet;
pub mod rows;
pub mod type_code;

#[cfg(test)]
mod captures;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use login::Users;

use crate::limits::{LAST_ANSWERS_MS, LOGINS_MAX};
use crate::sql::{Engine, SqlError};

/// What the server is told by the configuration.
pub struct ServerSettings {
    /// Who may connect.
    pub users: Users,
    /// What it says its version is.
    pub version: String,
    /// Connections at once, those that log in among them.
    pub connections_max: usize,
    /// For a whole login.
    pub connect_timeout: Duration,
    /// For a packet that has begun.
    pub net_read_timeout: Duration,
    /// For a client to take what was written.
    pub net_write_timeout: Duration,
    /// The largest statement or parameter, bytes.
    pub max_allowed_packet_bytes: usize,
}

/// Accepts clients until `stop` becomes true; then connections end, those that carry a statement out
/// once it is answered or after `LAST_ANSWERS_MS`.
pub async fn run(
    listener: TcpListener,
    engine: Arc<Engine>,
    settings: ServerSettings,
    mut stop: watch::Receiver<bool>,
) {
    let settings = Arc::new(settings);
    let logging_in = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(panic) = ended {
                    tracing::error!("a connection's task ended by itself: {panic}");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give those that are open a moment to end.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if connections.len() >= settings.connections_max
            || logging_in.load(Ordering::Relaxed) >= LOGINS_MAX
        {
            refuse(stream).await;
            continue;
        }
        // Small answers leave at once; a failure here costs latency alone.
        let _ = stream.set_nodelay(true);
        logging_in.fetch_add(1, Ordering::Relaxed);
        let host = if peer.ip().is_loopback() {
            "localhost".into()
        } else {
            peer.ip().to_string()
        };
        let (engine, settings, logging_in) = (
            Arc::clone(&engine),
            Arc::clone(&settings),
            Arc::clone(&logging_in),
        );
        connections.spawn(connection::serve(
            stream,
            host,
            engine,
            settings,
            logging_in,
            stop.clone(),
        ));
    }
    let answered = async { while connections.join_next().await.is_some() {} };
    let limit = Duration::from_millis(LAST_ANSWERS_MS);
    if tokio::time::timeout(limit, answered).await.is_err() {
        tracing::info!("statements are cut off by the shutdown");
    }
    connections.shutdown().await;
}

async fn refuse(mut stream: TcpStream) {
    let error = SqlError {
        code: 1040,
        state: "08004",
        message: "Too many connections".into(),
    };
    let payload = answer::error_before_login(&error);
    let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    let packet = [&length[..3], &[0], &payload].concat();
    // A client that does not take this one packet is not waited for.
    let _ = tokio::time::timeout(Duration::from_millis(100), stream.write_all(&packet)).await;
}
