//! `pinleaf quickstart`: the main job, on an embedded development broker, from nothing.
//!
//! Writes a configuration and the SQL that it uses into a directory that it keeps, starts the engine
//! with them exactly as `pinleaf run` would, produces order events, and shows a line a second. What
//! it says at the end is asked over SQL: rows produced, rows there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devbroker::orders::{CREATE_TABLE, Orders};
use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig, DevBrokerError, ProduceError};
use futures::StreamExt;
use ingest::leaf::Views;

use super::config::Config;
use super::run::{Node, NodeError};
use super::signals::Signals;
use crate::sql::{Answer, Engine, Identity, Session, SqlError};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
const MYSQL_PORT: u16 = 13_306;
const BROKER_PORT: u16 = 19_092;
/// How many ports above the first are tried.
const PORTS_TRIED: u16 = 50;
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
    /// The broker.
    #[error("{0}")]
    Broker(#[from] DevBrokerError),
    /// The producer.
    #[error("{0}")]
    Produce(#[from] ProduceError),
    /// The engine.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The configuration that was written here was found wrong: our own bug.
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
    let broker_config = DevBrokerConfig {
        dir: dir.join("broker"),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(BROKER_PORT)?)),
        topics: vec![(TOPIC.into(), PARTITIONS)],
    };
    let broker = runtime.block_on(DevBroker::start(broker_config))?;
    let sql_path = dir.join("startup.sql");
    std::fs::write(&sql_path, startup_sql(broker.addr())).map_err(file(&sql_path))?;
    let config_path = dir.join("pinleaf.toml");
    std::fs::write(&config_path, configuration(free_port(MYSQL_PORT)?))
        .map_err(file(&config_path))?;
    println!("configuration   {}", config_path.display());
    println!("its SQL         {}", sql_path.display());
    println!(
        "broker          {} (topic {TOPIC}, {PARTITIONS} partitions)",
        broker.addr()
    );

    let Some(node) = Node::start(Config::read(&config_path, &|_| None)?, signals)? else {
        runtime.block_on(broker.shutdown());
        println!("stopped while it was starting; {} is kept", dir.display());
        return Ok(());
    };
    let port = node.mysql.port();
    println!("connect         mysql -h 127.0.0.1 -P {port} -u root shop");
    println!(
        "try             SELECT symbol, COUNT(*), SUM(price * quantity) FROM orders GROUP BY symbol ORDER BY 2 DESC;"
    );
    println!("                SELECT * FROM information_schema.pipelines_partitions;");
    println!();

    let stop = Arc::new(AtomicBool::new(false));
    let producing = runtime.spawn(produce(
        broker.addr(),
        rate,
        broker.next_offsets(TOPIC),
        Arc::clone(&stop),
    ));
    let interrupted = runtime.block_on(show(&node, &broker, seconds));
    stop.store(true, Ordering::Relaxed);
    let outcome = runtime.block_on(producing).unwrap_or(Ok(()));
    let produced = produced(&broker);
    let summary = runtime.block_on(settle(&node.engine, produced, interrupted));
    // After a signal the node drains by itself; asked twice does no harm.
    node.stop()?;
    runtime.block_on(broker.shutdown());
    outcome?;
    let loaded = summary?;
    println!();
    match loaded {
        Some(loaded) if loaded != produced => {
            return Err(QuickstartError::Rows { produced, loaded });
        }
        Some(loaded) => {
            println!("{produced} rows produced, {loaded} rows by SELECT COUNT(*): each once")
        }
        None => println!(
            "{produced} rows produced; what was not loaded yet is loaded at the next start"
        ),
    }
    println!("{} is kept: start again and it goes on", dir.display());
    Ok(())
}

fn free_port(first: u16) -> Result<u16, QuickstartError> {
    (first..first + PORTS_TRIED)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(QuickstartError::NoPort { first })
}

fn configuration(port: u16) -> String {
    format!(
        "# Written by `pinleaf quickstart`, which starts the engine with it as `pinleaf run` would.\n\
         data_dir = \"data\"\n\
         startup_sql = \"startup.sql\"\n\n\
         [listen]\n\
         mysql = \"127.0.0.1:{port}\"\n"
    )
}

fn startup_sql(broker: SocketAddr) -> String {
    let create_table = CREATE_TABLE.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
    format!(
        "-- Runs at every start, so each statement may be repeated.\n\
         CREATE DATABASE IF NOT EXISTS shop;\n\
         USE shop;\n\
         {create_table};\n\
         CREATE OR REPLACE PIPELINE orders AS\n  \
           LOAD DATA KAFKA '{broker}/{TOPIC}'\n  \
           INTO TABLE orders\n  \
           FORMAT JSON;\n\
         START PIPELINE IF NOT RUNNING orders;\n"
    )
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

/// Prints a line a second. True: ended by Ctrl-C or SIGTERM.
async fn show(node: &Node, broker: &DevBroker, seconds: Option<u64>) -> bool {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    let mut asked = node.asked();
    let (mut rows_last, mut seen) = (visible(&node.views), 0);
    let mut freshness_last = node.views.freshness();
    println!(
        "{:>6}  {:>12}  {:>10}  {:>8}  {:>14}  {:>14}",
        "second", "rows", "rows/s", "lag", "fresh p50 ms", "fresh p99 ms"
    );
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = asked.wait_for(Option::is_some) => return true,
        }
        seen += 1;
        let rows = visible(&node.views);
        let lag = produced(broker).saturating_sub(rows);
        let now = node.views.freshness();
        let mut second = now.clone();
        // What was counted a second ago is part of what is counted now.
        let _ = second.subtract(&freshness_last);
        let ms = |quantile: f64| second.value_at_quantile(quantile) as f64 / 1_000.0;
        println!(
            "{seen:>6}  {rows:>12}  {:>10}  {lag:>8}  {:>14.2}  {:>14.2}",
            rows.saturating_sub(rows_last),
            ms(0.5),
            ms(0.99)
        );
        (rows_last, freshness_last) = (rows, now);
        if seconds.is_some_and(|seconds| seen >= seconds) {
            return false;
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

/// Waits until as many rows are visible as were produced, within bounds, and asks SQL how many there are.
async fn settle(
    engine: &Arc<Engine>,
    produced: u64,
    interrupted: bool,
) -> Result<Option<u64>, SqlError> {
    if interrupted {
        return Ok(None);
    }
    let began = Instant::now();
    loop {
        let loaded = count(engine).await?;
        if loaded >= produced || began.elapsed() > SETTLE {
            return Ok(Some(loaded));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
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
