//! `pinleaf quickstart`: the main job, on an embedded development broker, from nothing.
//!
//! Writes a configuration and the SQL that it uses into a directory that it keeps, starts the engine
//! with them exactly as `pinleaf run` would, produces order events, and shows a line a second. Files
//! that somebody changed are kept ([`files`]). What it says at the end is asked over SQL: rows produced,
//! rows there. It ends after so many seconds, at Ctrl-C, when nobody reads its lines any more, and when the
//! engine or the producer ends by itself; a second Ctrl-C ends it at once.

mod files;

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devbroker::orders::Orders;
use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig, DevBrokerError, ProduceError};
use futures::StreamExt;
use ingest::leaf::Views;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::files::Written;
use super::config::Config;
use super::run::{Node, NodeError, SignalsFor};
use super::said::say;
use super::signals::{Heard, Signals};
use crate::sql::{Answer, Engine, Identity, Session, SqlError};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
/// The producer sends this often.
const TICK: Duration = Duration::from_millis(5);
/// Rows of one partition in one request at most.
const BATCH_ROWS_MAX: u64 = 10_000;
/// How long the last rows may take to become visible before the summary says what is missing.
const SETTLE: Duration = Duration::from_secs(10);

/// Why the quickstart ended early.
#[derive(Debug, thiserror::Error)]
pub enum QuickstartError {
    /// A file or directory.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No free port.
    #[error("no free port from {first} on; stop what listens there")]
    NoPort {
        /// The first that was tried.
        first: u16,
    },
    /// A file that is not ours to change names a port that is taken.
    #[error(
        "{path} has your changes and names port {port}, on which something else listens: stop that, or \
         name another port in the file",
        path = path.display()
    )]
    Taken {
        /// Which file.
        path: PathBuf,
        /// Which port.
        port: u16,
    },
    /// The broker.
    #[error("{0}")]
    Broker(#[from] DevBrokerError),
    /// The producer.
    #[error("{0}")]
    Produce(#[from] ProduceError),
    /// The engine.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The configuration, which somebody may have changed.
    #[error("{0}")]
    Config(#[from] super::config::ConfigError),
    /// The summary's query.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// Fewer rows than were produced, or more.
    #[error(
        "{produced} rows were produced and {loaded} are there: SHOW PIPELINES and the log say more"
    )]
    Rows {
        /// In the broker's log.
        produced: u64,
        /// By SQL.
        loaded: u64,
    },
}

/// Runs it in `dir`, for `seconds` or until Ctrl-C, at `rate` rows a second.
///
/// # Errors
/// Whatever kept it from starting, or from ending with every row.
pub fn run(
    dir: &Path,
    seconds: Option<u64>,
    rate: u32,
    signals: &Signals,
) -> Result<(), QuickstartError> {
    let file = |path: &Path| {
        let path = path.to_path_buf();
        move |source| QuickstartError::File { path, source }
    };
    std::fs::create_dir_all(dir).map_err(file(dir))?;
    let dir = dir.canonicalize().map_err(file(dir))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("quickstart")
        .enable_all()
        .build()
        .map_err(file(&dir))?;
    let sql = Written::startup_sql(&dir)?;
    let broker_config = DevBrokerConfig {
        dir: dir.join("broker"),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, sql.port)),
        topics: vec![(TOPIC.into(), PARTITIONS)],
    };
    let broker = runtime.block_on(DevBroker::start(broker_config))?;
    sql.write()?;
    let configuration = Written::configuration(&dir)?;
    configuration.write()?;
    tell(format_args!("configuration   {}", configuration.shown()));
    tell(format_args!("its SQL         {}", sql.shown()));
    tell(format_args!(
        "broker          {} (topic {TOPIC}, {PARTITIONS} partitions)",
        broker.addr()
    ));

    let config = Config::read(configuration.path(), &|name| std::env::var(name).ok())?;
    let Some(node) = Node::start(config, signals, SignalsFor::Holder)? else {
        runtime.block_on(broker.shutdown());
        tell(format_args!(
            "stopped while it was starting; {} is kept",
            dir.display()
        ));
        return Ok(());
    };
    let port = node.mysql.port();
    tell(format_args!(
        "connect         mysql -h 127.0.0.1 -P {port} -u root shop"
    ));
    tell(format_args!(
        "try             SELECT symbol, COUNT(*), SUM(price * quantity) FROM orders GROUP BY symbol ORDER BY 2 DESC;"
    ));
    tell(format_args!(
        "                SELECT * FROM information_schema.pipelines_partitions;"
    ));
    tell("");

    let stop = Arc::new(AtomicBool::new(false));
    let mut producing = runtime.spawn(produce(
        broker.addr(),
        rate,
        broker.next_offsets(TOPIC),
        Arc::clone(&stop),
    ));
    let over = runtime.block_on(show(
        &node,
        &broker,
        seconds,
        signals.asked(),
        &mut producing,
    ));
    stop.store(true, Ordering::Relaxed);
    let mut unsaid = None;
    let outcome = match over {
        Over::Producer(outcome) => outcome,
        Over::Engine => return Err(runtime.block_on(ended_by_itself(node, broker))),
        Over::Time => joined(runtime.block_on(producing)),
        Over::Output(error) => {
            unsaid = Some(error);
            joined(runtime.block_on(producing))
        }
        Over::Signal(heard) => {
            tell(format_args!(
                "{}: no more rows are produced, the last ones settle; a second one ends it at once",
                heard.name
            ));
            joined(runtime.block_on(producing))
        }
    };
    let produced = produced(&broker);
    let Some(summary) = runtime.block_on(settle(&node, produced)) else {
        return Err(runtime.block_on(ended_by_itself(node, broker)));
    };
    node.stop()?;
    runtime.block_on(broker.shutdown());
    outcome?;
    let loaded = summary?;
    tell("");
    if loaded != produced {
        return Err(QuickstartError::Rows { produced, loaded });
    }
    if let Some(source) = unsaid {
        return Err(file(Path::new("standard output"))(source));
    }
    tell(format_args!(
        "{produced} rows produced, {loaded} rows by SELECT COUNT(*): each once"
    ));
    tell(format_args!(
        "{} is kept: start again and it goes on",
        dir.display()
    ));
    Ok(())
}

/// Why the showing is over.
enum Over {
    /// As long as was asked for, or nobody reads its lines any more.
    Time,
    /// A line could not be written.
    Output(io::Error),
    Signal(Heard),
    Producer(Result<(), ProduceError>),
    /// The engine has ended, and nobody asked it to.
    Engine,
}

/// What a task of ours gives that cannot be cancelled.
fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome {
        Ok(outcome) => outcome,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

/// The error with which an engine ended that nobody had asked to end.
async fn ended_by_itself(node: Node, broker: DevBroker) -> QuickstartError {
    broker.shutdown().await;
    let what = node.wait().err();
    what.unwrap_or_else(|| NodeError::Ended("the engine ended, and nobody asked it to".into()))
        .into()
}

/// Events in the broker's log, those of earlier starts among them.
fn produced(broker: &DevBroker) -> u64 {
    broker
        .next_offsets(TOPIC)
        .iter()
        .map(|next| next.cast_unsigned())
        .sum()
}

/// Produces until it is told to stop: a little of everything every few milliseconds.
///
/// An event's id is made of its partition and offset: unique, whatever the process before was killed at.
async fn produce(
    broker: SocketAddr,
    rate: u32,
    mut next_offsets: Vec<i64>,
    stop: Arc<AtomicBool>,
) -> Result<(), ProduceError> {
    let mut producer = Producer::connect(broker, "pinleaf-quickstart", TOPIC).await?;
    let mut orders = Orders::new(next_offsets.iter().sum::<i64>().cast_unsigned(), 1);
    let mut batches: Vec<Batch> = (0..PARTITIONS).map(Batch::new).collect();
    let mut value = Vec::new();
    let mut ticks = tokio::time::interval(TICK);
    let began = Instant::now();
    let mut total = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due = began.elapsed().as_micros() * u128::from(rate) / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(total);
        let due = due.min(BATCH_ROWS_MAX * u64::try_from(PARTITIONS).unwrap_or(1));
        let unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let unix_ms = u64::try_from(unix_ms).unwrap_or(0);
        for row in total..total + due {
            let at = usize::try_from(row).unwrap_or(0) % batches.len();
            let id = next_offsets[at] * batches.len() as i64 + at as i64 + 1;
            next_offsets[at] += 1;
            value.clear();
            orders.set_next_id(id.cast_unsigned());
            orders.append(&mut value, unix_ms);
            batches[at]
                .records
                .push(unix_ms.cast_signed(), None, Some(&value));
        }
        producer.send(&batches).await?;
        batches
            .iter_mut()
            .for_each(|batch| batch.records.restart(0));
        total += due;
    }
    Ok(())
}

/// Shows a line, to whoever reads: the one a second finds out that nobody does.
fn tell(line: impl Display) {
    let _ = say(line);
}

/// Prints a line a second until it is over.
async fn show(
    node: &Node,
    broker: &DevBroker,
    seconds: Option<u64>,
    mut asked: watch::Receiver<Option<Heard>>,
    producing: &mut JoinHandle<Result<(), ProduceError>>,
) -> Over {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    let ended = node.ended();
    tokio::pin!(ended);
    let (mut rows_last, mut seen) = (visible(&node.views), 0);
    let mut freshness_last = node.views.freshness();
    tell(format_args!(
        "{:>6}  {:>12}  {:>10}  {:>8}  {:>14}  {:>14}",
        "second", "rows", "rows/s", "lag", "fresh p50 ms", "fresh p99 ms"
    ));
    loop {
        tokio::select! {
            biased;
            Some(heard) = async { asked.wait_for(Option::is_some).await.ok().and_then(|h| *h) } => {
                return Over::Signal(heard);
            }
            () = &mut ended => return Over::Engine,
            outcome = &mut *producing => return Over::Producer(joined(outcome)),
            _ = ticks.tick() => {}
        }
        seen += 1;
        let rows = visible(&node.views);
        let lag = produced(broker).saturating_sub(rows);
        let now = node.views.freshness();
        let mut second = now.clone();
        // What was counted a second ago is part of what is counted now.
        let _ = second.subtract(&freshness_last);
        let ms = |quantile: f64| second.value_at_quantile(quantile) as f64 / 1_000.0;
        let read = say(format_args!(
            "{seen:>6}  {rows:>12}  {:>10}  {lag:>8}  {:>14.2}  {:>14.2}",
            rows.saturating_sub(rows_last),
            ms(0.5),
            ms(0.99)
        ));
        (rows_last, freshness_last) = (rows, now);
        match read {
            Ok(true) if seconds.is_none_or(|seconds| seen < seconds) => {}
            Ok(_) => return Over::Time,
            Err(error) => return Over::Output(error),
        }
    }
}

fn visible(views: &Views) -> u64 {
    views
        .all()
        .values()
        .map(|attached| attached.view.snapshot().rows())
        .sum()
}

/// Waits until as many rows are visible as were produced, within bounds, and asks SQL how many there
/// are. `None`: the engine ended by itself.
async fn settle(node: &Node, produced: u64) -> Option<Result<u64, SqlError>> {
    let counted = async {
        let began = Instant::now();
        loop {
            let loaded = count(&node.engine).await?;
            if loaded >= produced || began.elapsed() > SETTLE {
                return Ok(loaded);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        biased;
        () = node.ended() => None,
        counted = counted => Some(counted),
    }
}

async fn count(engine: &Arc<Engine>) -> Result<u64, SqlError> {
    let id = engine.processes().next_id();
    let identity = Identity {
        user: "quickstart".into(),
        host: "localhost".into(),
        connection_id: id,
    };
    let mut session = Session::new(Arc::clone(engine), identity);
    let mut counted = 0;
    if let Answer::Rows(mut rows) = session.execute("SELECT COUNT(*) FROM shop.orders").await? {
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                use arrow::array::AsArray;
                let value = batch
                    .column(0)
                    .as_primitive::<arrow::datatypes::Int64Type>()
                    .value(0);
                counted = u64::try_from(value).unwrap_or(0);
            }
        }
    }
    Ok(counted)
}
