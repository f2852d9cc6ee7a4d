//! The workloads, and how one is measured round by round.
//!
//! A workload has variants; a variant says what is in its topics and which engines do it. The engines of a
//! round run one after another, each alone, in an order that turns with the round.

mod cores;
mod footprint;
mod freshness;
mod ingest;
pub mod queries;
mod recovery;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::engine::{About, Engine, Job, Running, TABLES};
use crate::engines::Pinleaf;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::process::{Memory, MemoryWatch};
use crate::topic::{Content, Topic};

/// No engine stands still for so long and is not broken.
const STALL: Duration = Duration::from_secs(60);
/// What a message takes on disk, in its own bytes: at the broker, at the engine, as a file; and deleted topics
/// that are not gone yet.
const COPIES: u64 = 4;
/// What may pass from visible to durable.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two looks, at least and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));
/// Between two looks at whether all is durable: they are dearer.
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// One thing to be measured.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The workload's.
    pub workload: &'static str,
    /// As the report calls it.
    pub name: String,
    /// Topics that are filled before it, each read by all engines and rounds.
    pub contents: Vec<Content>,
    /// The same as files, for engines that read files.
    pub files: bool,
    /// Rows a second, where rows are produced while it is measured.
    pub rate: u64,
    /// Rows that are produced while it is measured.
    pub rows: u64,
    /// Partitions of the topic that is made for each sample.
    pub partitions: u32,
    /// Of Pinleaf; `None`: as it decides itself.
    pub leaves: Option<usize>,
    /// Only engines that discard beside Pinleaf, or all that do the workload.
    pub peers: Peers,
}

/// Who takes part beside Pinleaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Every engine that does the workload.
    All,
    /// Those that discard.
    Yardsticks,
    /// Nobody.
    None,
}

/// Figures, latencies, and by what the rows were checked.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By the names of `metric.rs`.
    pub metrics: BTreeMap<String, f64>,
    /// In µs.
    pub histograms: BTreeMap<String, Vec<(u64, u64)>>,
    /// In words.
    pub checked: &'static str,
    /// That were loaded.
    pub rows: u64,
    /// To queries: every engine's must be the same.
    pub answers: Answers,
}

/// By a query's name: rows of values as text.
pub type Answers = BTreeMap<String, Vec<Vec<String>>>;

/// Where a sample is measured.
pub struct Bench<'a> {
    /// Of the run.
    pub broker: &'a Broker,
    /// Sizes.
    pub plan: &'a Plan,
    /// Pinleaf itself, for what no peer does.
    pub pinleaf: &'a Pinleaf,
    /// Of this sample's own.
    pub dir: &'a Path,
    /// Unique among the samples of a broker.
    pub number: u64,
}

/// Every variant of a plan, and the workloads that are left out, with the reason.
#[must_use]
pub fn variants(plan: &Plan) -> (Vec<Variant>, Vec<(String, String)>) {
    let mut skipped = Vec::new();
    let mut all = ingest::variants(plan);
    all.extend(recovery::variants(plan));
    all.extend(footprint::variants(plan));
    all.extend(freshness::variants(plan));
    all.extend(queries::variants(plan));
    match cores::variants(plan) {
        Ok(variants) => all.extend(variants),
        Err(why) => skipped.push(("cores".to_owned(), why)),
    }
    all.retain(|variant| {
        let bytes = |content: &Content| content.rows * content.shape.bytes() * COPIES;
        let needed: u64 = variant.contents.iter().map(bytes).sum();
        let fits = needed < plan.free_bytes;
        if !fits {
            let what = format!("{}: {}", variant.workload, variant.name);
            let (needed, free) = (needed as f64 / 1e9, plan.free_bytes as f64 / 1e9);
            skipped.push((
                what,
                format!("needs {needed:.0} GB of disk, {free:.0} are free"),
            ));
        }
        fits
    });
    (all, skipped)
}

/// Measures one engine once; what it is comes with it.
///
/// # Errors
/// [`Fault::Wrong`] where it ends with other rows; else whatever failed.
pub fn measure(
    bench: &Bench<'_>,
    variant: &Variant,
    topics: &[Topic],
    engine: &dyn Engine,
) -> Result<(Measured, About), Fault> {
    match variant.workload {
        "freshness" => freshness::measure(bench, variant, engine),
        "queries" => queries::measure(bench, variant, topics, engine),
        "recovery" => recovery::measure(bench, variant, topics),
        "footprint" => footprint::measure(bench, variant, topics),
        _ => ingest::measure(bench, variant, topics, engine),
    }
}

impl Measured {
    fn put(&mut self, key: &str, value: f64) {
        debug_assert!(crate::metric::by_key(key).is_some(), "{key}");
        self.metrics.insert(key.to_owned(), value);
    }

    fn put_memory(&mut self, memory: Memory) {
        self.put("rss_anon_mb", memory.rss_anon_bytes as f64 / 1e6);
        self.put("resident_mb", memory.resident_bytes as f64 / 1e6);
    }
}

impl Bench<'_> {
    fn job<'a>(&'a self, topics: &'a [Topic], variant: &Variant) -> Job<'a> {
        Job {
            bootstrap: self.broker.cluster.bootstrap(),
            topics,
            dir: self.dir,
            leaves: variant.leaves,
        }
    }
}

/// What loading took.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// From `begin` to the last row visible.
    pub visible: Duration,
    /// From there to all of it durable.
    pub settled: Duration,
    /// Of the engine, until then.
    pub cpu: Duration,
    /// Of the broker, until then.
    pub broker_cpu: Duration,
    /// At its peak.
    pub memory: Memory,
}

/// Has an engine load all of its topics and checks what it then has. `broker_cpu` tells the broker's CPU.
///
/// # Errors
/// [`Fault::Wrong`]; [`Fault::Failed`] where it stands still.
pub fn load(
    name: &str,
    running: &mut dyn Running,
    topics: &[Topic],
    broker_cpu: impl Fn() -> Duration,
) -> Result<(Loaded, &'static str), Fault> {
    let loaded = load_until(STALL, true, name, running, topics, broker_cpu)?;
    Ok((loaded, check(name, running, topics)?))
}

/// The same without a check, and to the last row visible or durable.
fn load_until(
    stall: Duration,
    durable: bool,
    name: &str,
    running: &mut dyn Running,
    topics: &[Topic],
    broker_cpu: impl Fn() -> Duration,
) -> Result<Loaded, Fault> {
    let wanted: u64 = topics.iter().map(|topic| topic.expected.rows()).sum();
    let watch = MemoryWatch::of(running.group());
    let (cpu, broker) = (running.group().cpu(), broker_cpu());
    let began = Instant::now();
    running.begin()?;
    let (mut last, mut moved) = (0, began);
    loop {
        let rows = running.rows()?;
        if rows >= wanted {
            break;
        }
        if rows != last {
            (last, moved) = (rows, Instant::now());
        }
        if moved.elapsed() > stall {
            return Err(Fault::Wrong(format!(
                "{name} stands still at {rows} of {wanted} rows for {stall:?}"
            )));
        }
        // Looking costs the engine something: a fiftieth of the time at most.
        std::thread::sleep((began.elapsed() / 50).clamp(POLL.0, POLL.1));
    }
    let visible = began.elapsed();
    while durable && !running.settled()? {
        if began.elapsed() > visible + SETTLE {
            return Err(Fault::failed(
                name,
                format!("not durable {SETTLE:?} after it was visible"),
            ));
        }
        std::thread::sleep(SETTLE_POLL);
    }
    Ok(Loaded {
        visible,
        settled: began.elapsed() - visible,
        cpu: running.group().cpu().saturating_sub(cpu),
        broker_cpu: broker_cpu().saturating_sub(broker),
        memory: watch.peak(),
    })
}

/// Compares every table; the least that one was checked by.
fn check(name: &str, running: &mut dyn Running, topics: &[Topic]) -> Result<&'static str, Fault> {
    let mut least = "";
    for (topic, table) in topics.iter().zip(TABLES) {
        let checked = topic.expected.check(name, &running.tally(table, topic)?)?;
        if least.is_empty() || checked.len() < least.len() {
            least = checked;
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests;
