//! The server: MySQL's protocol, and nothing else that speaks to clients.
//!
//! One current-thread runtime accepts, logs in and writes results; queries run elsewhere, so that a
//! query in a page fault does not hold up PING or KILL. From the socket inwards: [`door`] bounds those
//! that come in, [`packet`] cuts the stream, [`handshake`] and [`login`] admit a user, [`entry`] makes a
//! session of it, [`command`] reads what is asked, [`connection`] has the session carry it out, [`answer`]
//! and [`rows`] write what it says.
//!
//! 1. A command that is not known gets MySQL's error, never OK.
//! 2. Every wait has an end: login, a packet that has begun, a client that does not read, idleness.
//! 3. A connection holds one batch of rows, one row of at most `max_allowed_packet` and one write buffer,
//!    however large its result.
//! 4. A connection is taken in at once and never waited for; one that is not logged in takes no session's
//!    place.

pub mod answer;
pub mod bursts;
pub mod calendar;
pub mod command;
pub mod connection;
pub mod door;
pub mod entry;
pub mod execute;
pub mod failures;
pub mod half_open;
pub mod handshake;
pub mod login;
pub mod packet;
pub mod rows;
pub mod source;
pub mod type_code;

#[cfg(test)]
mod captures;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use bursts::Refusal;
use door::Door;
pub use login::Users;
use source::Source;

use crate::limits::{ACCEPT_PAUSE_MS, LAST_ANSWERS_MS, LOG_BURST_MS};
use crate::sql::Engine;

/// What the server is told by the configuration.
pub struct ServerSettings {
    /// Who may connect.
    pub users: Users,
    /// What it says its version is.
    pub version: String,
    /// Sessions at once.
    pub connections_max: usize,
    /// For a whole login.
    pub connect_timeout: Duration,
    /// For a piece of a packet that has begun.
    pub net_read_timeout: Duration,
    /// For a client to take a piece of what was written.
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
    let door = Door::new(settings.connections_max, Arc::clone(engine.processes()));
    let mut connections = JoinSet::new();
    let mut bursts = tokio::time::interval(Duration::from_millis(LOG_BURST_MS));
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(panic) = ended {
                    tracing::error!("a connection's task ended by itself: {panic}");
                }
                continue;
            }
            _ = bursts.tick() => {
                door.say_bursts();
                continue;
            }
            accepted = listener.accept(), if connections.len() < door.sockets_max() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if door.refused(Refusal::NotAccepted) {
                    tracing::warn!("a connection could not be accepted: {error}");
                }
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    // Out of file descriptors, most likely: give those that are open a moment to end.
                    let pause = tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS));
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => break,
                        () = pause => {}
                    }
                }
                continue;
            }
        };
        // Small answers leave at once; a failure here costs latency alone.
        let _ = stream.set_nodelay(true);
        let address = peer.ip().to_canonical();
        let (entered, must_go) = door.enter(Source::of(address));
        let (engine, settings) = (Arc::clone(&engine), Arc::clone(&settings));
        connections.spawn(entry::serve(
            stream,
            host(address),
            engine,
            settings,
            (entered, must_go),
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

/// Where a client is, as errors and the log say it.
fn host(address: IpAddr) -> String {
    if address.is_loopback() {
        "localhost".into()
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_the_one_that_it_is_counted_for() {
        for (written, shown) in [
            ("127.0.0.1", "localhost"),
            ("127.0.0.9", "localhost"),
            ("::1", "localhost"),
            ("::ffff:127.0.0.1", "localhost"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let address: IpAddr = written.parse().expect("an address");
            assert_eq!(host(address.to_canonical()), shown);
        }
    }
}
