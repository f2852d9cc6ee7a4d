//! A small development broker: enough of Kafka's protocol to load from, on loopback, in one process.
//!
//! For the quickstart and for tests; the product runs against a real Kafka. It speaks ApiVersions,
//! Metadata, Produce, Fetch, ListOffsets (first and last), OffsetForLeaderEpoch, FindCoordinator,
//! OffsetCommit and OffsetFetch, and no more: no groups to join, no transactions, no deletion. Its
//! log is on disk, and a second start on the same folder goes on where it stopped.
//!
//! - [`DevBroker`]: start, address, shutdown.
//! - [`produce`]: a small producer.
//! - [`orders`]: the events that the quickstart produces.

mod broker;
mod coordinator;
mod error;
mod groups;
pub mod limits;
mod log;
pub mod orders;
pub mod produce;
mod request;
mod topics;

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::broker::Broker;
use crate::error::ConnectionError;
pub use crate::error::{DevBrokerError, ProduceError};
use crate::groups::Groups;
use crate::limits::{CONNECTIONS_MAX, REQUEST_BYTES_MAX};
use crate::topics::Topics;

/// Where it keeps its log, where it listens, and what it has.
#[derive(Clone, Debug)]
pub struct DevBrokerConfig {
    /// Made where it is not there. One broker at a time has it.
    pub dir: PathBuf,
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Topics that there should be, and how many partitions each; those on disk stay.
    pub topics: Vec<(String, i32)>,
}

/// A running broker. Dropped without [`DevBroker::shutdown`] it ends with its runtime.
#[derive(Debug)]
pub struct DevBroker {
    broker: Arc<Broker>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    /// Held until the last connection has ended.
    _lock: File,
}

impl DevBroker {
    /// Opens the log, listens, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// [`DevBrokerError`].
    pub async fn start(config: DevBrokerConfig) -> Result<DevBroker, DevBrokerError> {
        let DevBrokerConfig {
            dir,
            listen,
            topics,
        } = config;
        if !listen.ip().is_loopback() {
            return Err(DevBrokerError::NotLoopback { addr: listen });
        }
        // Before anything is written: a port in use leaves no trace.
        let listener =
            TcpListener::bind(listen)
                .await
                .map_err(|source| DevBrokerError::Listen {
                    addr: listen,
                    source,
                })?;
        let addr = listener
            .local_addr()
            .map_err(|source| DevBrokerError::Listen {
                addr: listen,
                source,
            })?;
        fs::create_dir_all(&dir).map_err(|source| DevBrokerError::disk("making", &dir, source))?;
        let lock = lock(&dir.join("LOCK"))?;
        let broker = Arc::new(Broker {
            addr,
            topics: Topics::open(&dir, &topics)?,
            groups: Mutex::new(Groups::open(&dir)?),
            appended: watch::Sender::new(0),
        });
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, Arc::clone(&broker), stopped));
        Ok(DevBroker {
            broker,
            stop,
            serving,
            _lock: lock,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.broker.addr
    }

    /// The offset that the next record of each of a topic's partitions gets; empty for an unknown topic.
    #[must_use]
    pub fn next_offsets(&self, topic: &str) -> Vec<i64> {
        let Some(topic) = self.broker.topics.get(topic) else {
            return Vec::new();
        };
        (0..)
            .map_while(|partition| topic.partition(partition))
            .map(|log| {
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next_offset()
            })
            .collect()
    }

    /// Takes no more connections, ends those there are, and returns when all have ended. What was
    /// acknowledged is in the log; a request that was on its way is in it whole or not at all.
    pub async fn shutdown(self) {
        // Neither can fail in a way that matters: without a receiver it has ended already.
        let _ = self.stop.send(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the development broker ended badly");
        }
    }
}

fn lock(path: &std::path::Path) -> Result<File, DevBrokerError> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| DevBrokerError::disk("opening", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DevBrokerError::InUse {
            path: path.parent().unwrap_or(path).to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(DevBrokerError::disk("locking", path, source)),
    }
}

async fn serve(listener: TcpListener, broker: Arc<Broker>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // Those that ended are collected here, so that the set stays bounded.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = async {
                // The semaphore is never closed: no place means that one must come free first.
                let place = Arc::clone(&places).acquire_owned().await;
                listener.accept().await.map(|(stream, from)| (stream, from, place))
            } => accepted,
        };
        match accepted {
            Ok((stream, from, place)) => {
                let (broker, stopped) = (Arc::clone(&broker), stopped.clone());
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = connection(stream, &broker, stopped).await {
                        tracing::warn!(%from, %error, "a client's connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers one client in order, until it leaves, sends nonsense, or the broker stops.
async fn connection(
    mut stream: TcpStream,
    broker: &Broker,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    loop {
        let exchange = async {
            let mut length = [0; 4];
            match stream.read_exact(&mut length).await {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Ok::<bool, ConnectionError>(false);
                }
                Err(error) => return Err(error.into()),
            }
            let length = i32::from_be_bytes(length);
            let size = usize::try_from(length)
                .ok()
                .filter(|size| (8..=REQUEST_BYTES_MAX).contains(size))
                .ok_or(ConnectionError::BadLength { length })?;
            request.resize(size, 0);
            stream.read_exact(&mut request).await?;
            if let Some(response) = broker.answer(&request).await? {
                stream.write_all(&response).await?;
            }
            Ok(true)
        };
        let goes_on = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            exchanged = exchange => exchanged?,
        };
        if !goes_on {
            return Ok(());
        }
    }
}
