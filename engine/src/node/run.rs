//! From a configuration to running threads, and back: start, wait, drain.
//!
//! ```text
//! thread control   pinned to [cores] control: aggregator, connections, signals (current-thread runtime)
//! threads leaf-k   one per [cores] leaves, pinned
//! threads query    as many as [cores] query, pinned to these: plans (multi-thread runtime)
//! ```
//!
//! Whatever the configuration or the machine gets wrong is said before the first byte is written: the
//! address is bound, memory and io_uring are looked at, and only then the data directory is touched.
//! A stop, at any moment, drains what runs: no new statements, every leaf flushes and syncs, and then
//! the threads end. `Ok` says that every row that was visible is durable; a drain that takes longer
//! than `DRAIN_MS_MAX` is an error that counts what is left: that is fetched again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ingest::leaf::{LeafConfig, LeafError, Views};
use tokio::sync::{oneshot, watch};

use super::config::{Config, ConfigError};
use super::cores::Cores;
use super::lock::{self, Lock};
use super::logs::QUERY_THREAD;
use super::look::{look, mend_listen};
use super::machine;
use super::signals::Signals;
use super::startup_sql;
use super::stop::{Stopping, drain, ended};
use crate::aggregator::{self, Aggregator, AggregatorConfig, AggregatorError, LeafLink};
use crate::catalog::{Catalog, CatalogError, EngineVariables, NodeId};
use crate::limits::{DRAIN_MS_MAX, QUERY_STACK_BYTES};
use crate::server::{self, ServerSettings, Users};
use crate::sql::select::QueryMemory;
use crate::sql::variables::ServerFacts;
use crate::sql::{Engine, EngineParts, Processes, SqlError};

/// Why a node did not start or did not end well. Each is one line that says what to mend.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The machine does not give what is needed.
    #[error("{0}")]
    Machine(String),
    /// The address cannot be listened on.
    #[error(
        "[listen] mysql = \"{address}\": {source}; {}",
        mend_listen(address, source)
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The data directory cannot be had.
    #[error("{0}")]
    DataDir(String),
    /// A thread or a runtime could not be had.
    #[error("{doing} failed: {source}")]
    Thread {
        /// What was started.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A leaf.
    #[error("{0}")]
    Leaf(#[from] LeafError),
    /// The catalog.
    #[error("{0}")]
    Catalog(#[from] CatalogError),
    /// The aggregator.
    #[error("{0}")]
    Aggregator(#[from] AggregatorError),
    /// A statement of startup_sql.
    #[error("{path}:{line}: {error}", path = path.display())]
    StartupSql {
        /// The file.
        path: PathBuf,
        /// The statement's first line.
        line: u32,
        /// What is wrong with it.
        error: SqlError,
    },
    /// The aggregator ended by itself.
    #[error("{0}")]
    Ended(String),
    /// A stop that did not drain in time.
    #[error(
        "stopped before everything was durable: {offsets} offsets of {leaf_partitions} leaf partitions were not after {} s (is the disk slow or full?); they are fetched again at the next start",
        DRAIN_MS_MAX / 1_000
    )]
    NotDrained {
        /// How many leaf partitions had any.
        leaf_partitions: usize,
        /// Visible and not durable, of all of them.
        offsets: i64,
    },
}

/// A running node.
pub struct Node {
    /// What sessions run on.
    pub engine: Arc<Engine>,
    /// What the leaves publish.
    pub views: Arc<Views>,
    /// Where MySQL clients connect.
    pub mysql: SocketAddr,
    stop: watch::Sender<bool>,
    /// Closed when the control thread ends.
    runs: watch::Receiver<()>,
    control: JoinHandle<Result<(), NodeError>>,
}

/// Whose a signal is once a node has started. Before that it always ends the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalsFor {
    /// The node's: it stops.
    Node,
    /// Its holder's, who stops it.
    Holder,
}

impl Node {
    /// Starts a node; returns when queries may run and startup_sql has run. `None`: a signal asked for
    /// a stop before that; what ran by then is drained.
    ///
    /// # Errors
    /// One line that says what to mend; nothing runs then.
    pub fn start(
        config: Config,
        signals: &Signals,
        signals_for: SignalsFor,
    ) -> Result<Option<Node>, NodeError> {
        let (cores, listener) = look(&config)?.into_parts()?;
        let mysql = listener.local_addr().map_err(|source| NodeError::Listen {
            address: config.mysql,
            source,
        })?;
        let lock = lock::take(&config.data_dir).map_err(NodeError::DataDir)?;
        tracing::info!("{cores}");
        let views = Views::new();
        let (stop, stopping) = watch::channel(false);
        let (ready, started) = oneshot::channel();
        let (running, runs) = watch::channel(());
        let start = Start {
            signals_for,
            config,
            cores,
            listener,
            mysql,
            lock,
            views: Arc::clone(&views),
        };
        let stopping = Stopping {
            signal: Some(signals.asked()),
            stop: stopping,
        };
        let control = std::thread::Builder::new()
            .name("control".into())
            .stack_size(QUERY_STACK_BYTES)
            .spawn(move || {
                let ended = start.run(ready, stopping);
                drop(running);
                ended
            })
            .map_err(|source| NodeError::Thread {
                doing: "starting the control thread",
                source,
            })?;
        match started.blocking_recv() {
            Ok(engine) => Ok(Some(Node {
                engine,
                views,
                mysql,
                stop,
                runs,
                control,
            })),
            Err(_) => match control.join() {
                Ok(ended) => ended.map(|()| None),
                Err(_) => Err(NodeError::Ended(
                    "the control thread ended in a panic".into(),
                )),
            },
        }
    }

    /// Waits until SIGTERM, SIGINT or [`Node::stop`] has ended it.
    ///
    /// # Errors
    /// Where it ended by itself, or did not drain.
    pub fn wait(self) -> Result<(), NodeError> {
        let Node { control, stop, .. } = self;
        let ended = control.join().unwrap_or_else(|_| {
            Err(NodeError::Ended(
                "the control thread ended in a panic".into(),
            ))
        });
        drop(stop);
        ended
    }

    /// Returns once it has ended, by itself or not: [`Node::wait`] then says how, at once.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut runs = self.runs.clone();
        async move { while runs.changed().await.is_ok() {} }
    }

    /// Drains and ends it.
    ///
    /// # Errors
    /// As [`Node::wait`].
    pub fn stop(self) -> Result<(), NodeError> {
        self.stop.send_replace(true);
        self.wait()
    }
}

struct Start {
    signals_for: SignalsFor,
    config: Config,
    cores: Cores,
    listener: TcpListener,
    mysql: SocketAddr,
    lock: Lock,
    views: Arc<Views>,
}

impl Start {
    /// The control thread, from its first line to its last.
    fn run(self, ready: oneshot::Sender<Arc<Engine>>, stopping: Stopping) -> Result<(), NodeError> {
        let thread = |doing| move |source| NodeError::Thread { doing, source };
        machine::pin(&[self.cores.control]).map_err(thread("pinning the control core"))?;
        let query_cpus = self.cores.query.clone();
        let query = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.cores.query.len())
            .thread_name(QUERY_THREAD)
            .thread_stack_size(QUERY_STACK_BYTES)
            .on_thread_start(move || {
                if let Err(error) = machine::pin(&query_cpus) {
                    tracing::warn!("a query thread could not be pinned to its CPUs: {error}");
                }
            })
            .enable_all()
            .build()
            .map_err(thread("starting the query cores"))?;
        let control = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(thread("starting the control core"))?;
        let ended = control.block_on(self.control(query.handle().clone(), ready, stopping));
        // A query that is still running is not waited for: nothing of it is kept.
        query.shutdown_background();
        ended
    }

    async fn control(
        self,
        query: tokio::runtime::Handle,
        ready: oneshot::Sender<Arc<Engine>>,
        mut stopping: Stopping,
    ) -> Result<(), NodeError> {
        let thread = |doing| move |source| NodeError::Thread { doing, source };
        let Start {
            signals_for,
            config,
            cores,
            listener,
            mysql,
            lock,
            views,
        } = self;
        let leaves = Leaves::spawn(&config, &cores, &views)?;
        let catalog = Catalog::open(&config.data_dir.join("catalog.db"))?;
        let mut variables = EngineVariables::default();
        for (name, value) in &config.variables {
            // Checked when the file was read.
            variables
                .set(name, value)
                .map_err(|error| NodeError::Machine(error.to_string()))?;
        }
        let aggregator_config = AggregatorConfig {
            data_dir: config.data_dir.clone(),
            node: NodeId(1),
            variables: variables.clone(),
        };
        let clock = Arc::new(SystemClock(Instant::now()));
        let begun = tokio::select! {
            biased;
            why = stopping.asked() => {
                // No leaf was told anything yet.
                tracing::info!("stopped while starting: {why}");
                return Ok(());
            }
            begun = Aggregator::start(aggregator_config, catalog, leaves.links, clock) => begun,
        };
        let (aggregator, mut end) = begun?;
        let starting = async {
            aggregator.attached().await?;
            let engine = engine(
                &config,
                mysql,
                aggregator.clone(),
                variables,
                &views,
                query,
                cores.query.len(),
            )?;
            if let Some(path) = &config.startup_sql {
                startup_sql::run(&engine, path).await?;
            }
            Ok(engine)
        };
        let started: Result<Arc<Engine>, Option<NodeError>> = tokio::select! {
            biased;
            why = stopping.asked() => {
                tracing::info!("stopping while starting: {why}; every leaf flushes and syncs");
                Err(None)
            }
            why = ended(&mut end) => return Err(why),
            started = starting => started.map_err(Some),
        };
        let engine = match started {
            Ok(engine) => engine,
            Err(why) => {
                let drained = drain(&aggregator, &views).await;
                return why.map_or(drained, Err);
            }
        };
        listener
            .set_nonblocking(true)
            .map_err(thread("listening"))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(thread("listening"))?;
        let (stop_server, server_stopping) = watch::channel(false);
        let serving = tokio::spawn(server::run(
            listener,
            Arc::clone(&engine),
            server_settings(&config, &engine),
            server_stopping,
        ));
        tracing::info!(%mysql, data_dir = %config.data_dir.display(), "ready");
        // Whoever started it may have given up meanwhile; then stopping is seen next.
        let _ = ready.send(engine);
        if signals_for == SignalsFor::Holder {
            stopping.signal = None;
        }
        let stopped = tokio::select! {
            why = stopping.asked() => Ok(why),
            why = ended(&mut end) => Err(why),
        };
        stop_server.send_replace(true);
        let drained = match stopped {
            Ok(why) => {
                tracing::info!("stopping: {why}; every leaf flushes and syncs");
                drain(&aggregator, &views).await
            }
            Err(why) => Err(why),
        };
        if serving.await.is_err() {
            tracing::error!("the server ended in a panic");
        }
        // A leaf that did not drain is not waited for.
        drained?;
        for thread in leaves.threads {
            if thread.join().is_err() {
                return Err(NodeError::Ended("a leaf ended in a panic".into()));
            }
        }
        tracing::info!("stopped");
        drop(lock);
        Ok(())
    }
}

struct Leaves {
    links: Vec<LeafLink>,
    threads: Vec<JoinHandle<()>>,
}

impl Leaves {
    fn spawn(config: &Config, cores: &Cores, views: &Arc<Views>) -> Result<Leaves, NodeError> {
        let mut leaves = Leaves {
            links: Vec::new(),
            threads: Vec::new(),
        };
        for (index, cpu) in cores.leaves.iter().enumerate() {
            let leaf = LeafConfig {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                cpu: Some(*cpu),
                memory_bytes: config.number("memory", "leaf_bytes"),
                data_dir: config.data_dir.clone(),
                flush_age_ms: config.number("storage", "flush_age_ms"),
                sync_age_ms: config.number("storage", "sync_age_ms"),
                disk_reserve_bytes: config.number("storage", "disk_reserve_bytes"),
                session_partitions_min: ingest::limits::FETCH_SESSION_PARTITIONS_MIN,
                spin: config.spin,
            };
            let (orders, reports, thread) =
                ingest::leaf::spawn(leaf, Arc::clone(views))?.into_parts();
            leaves.links.push(LeafLink::new(orders, reports));
            leaves.threads.push(thread);
        }
        Ok(leaves)
    }
}

fn engine(
    config: &Config,
    mysql: SocketAddr,
    aggregator: Aggregator,
    variables: EngineVariables,
    views: &Arc<Views>,
    query_runtime: tokio::runtime::Handle,
    query_threads: usize,
) -> Result<Arc<Engine>, NodeError> {
    let bytes = usize::try_from(config.number("memory", "query_bytes")).unwrap_or(usize::MAX);
    let memory = QueryMemory::new(bytes).map_err(|error| NodeError::Machine(error.to_string()))?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let facts = ServerFacts {
        pinleaf_version: env!("CARGO_PKG_VERSION").into(),
        hostname,
        port: mysql.port(),
        data_dir: config.data_dir.display().to_string(),
        max_allowed_packet_bytes: config.number("server", "max_allowed_packet_bytes"),
        max_connections: config.number("server", "max_connections"),
        wait_timeout_s: config.number("server", "wait_timeout_s"),
        net_read_timeout_s: config.number("server", "net_read_timeout_s"),
        net_write_timeout_s: config.number("server", "net_write_timeout_s"),
        connect_timeout_s: config.number("server", "connect_timeout_s"),
    };
    Ok(Engine::new(EngineParts {
        processes: Processes::new(),
        clock: Arc::new(unix_us),
        aggregator,
        views: Arc::clone(views),
        memory,
        query_runtime,
        query_threads,
        variables,
        facts,
    }))
}

fn server_settings(config: &Config, engine: &Engine) -> ServerSettings {
    let seconds = |name| Duration::from_secs(config.number("server", name));
    let size = |name| usize::try_from(config.number("server", name)).unwrap_or(usize::MAX);
    let users = config
        .users
        .iter()
        .map(|(name, password)| (name.clone(), password.0.clone()))
        .collect();
    ServerSettings {
        users: Users::new(users),
        version: engine.facts().version(),
        connections_max: size("max_connections"),
        connect_timeout: seconds("connect_timeout_s"),
        net_read_timeout: seconds("net_read_timeout_s"),
        net_write_timeout: seconds("net_write_timeout_s"),
        max_allowed_packet_bytes: size("max_allowed_packet_bytes"),
    }
}

/// µs since 1970. The one place below `main` that reads the clock for SQL.
fn unix_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

struct SystemClock(Instant);

impl aggregator::Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn unix_ms(&self) -> i64 {
        unix_us() / 1_000
    }
}
