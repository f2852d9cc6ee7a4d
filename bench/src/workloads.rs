//! The workloads, and how one is measured round by round.
//!
//! A workload has variants; a variant says what is in its topics and which engines do it. The engines of a
//! round run one after another, each alone, in an order that turns with the round. Variants that are compared with one
//! another are measured round by round together.

mod cores;
pub mod footprint;
pub mod freshness;
pub mod ingest;
pub mod queries;
pub mod recovery;

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
use queries::Truth;

/// An engine that shows no more rows and does not work for so long stands still.
const STALL: Stall = Stall {
    still: Duration::from_secs(60),
    working: Duration::from_secs(1_200),
    of_a_core: 0.25,
};
/// The same of one that is asked all the time, and so works whatever it loads.
const STALL_ASKED: Stall = Stall {
    working: STALL.still,
    ..STALL
};
/// What stays free on the disk beside what a variant takes.
const SPARE_BYTES: u64 = 2_000_000_000;
/// What may pass from visible to durable.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two looks, at least.
const POLL: Duration = Duration::from_millis(1);
/// Between two looks, as a part of the time so far: what the last look finds too late. And looking costs the engine
/// something: so many times as long as the last look took.
const LOOK: (u32, u32) = (100, 50);
/// Between two looks at whether all is durable: they are dearer.
const SETTLE_POLL: Duration = Duration::from_millis(100);
/// An engine is at rest when it uses less than a part of a core over a while; it is waited for so long.
const REST: Rest = Rest {
    of_a_core: 0.1,
    over: Duration::from_millis(500),
    at_most: Duration::from_secs(60),
};

/// When an engine stands still.
#[derive(Clone, Copy, Debug)]
struct Stall {
    /// Neither rows nor work.
    still: Duration,
    /// Work, and no rows: Spark shows nothing of a batch before it is whole.
    working: Duration,
    /// Whoever uses more of a core works.
    of_a_core: f64,
}

/// When an engine is at rest.
#[derive(Clone, Copy, Debug)]
struct Rest {
    of_a_core: f64,
    over: Duration,
    at_most: Duration,
}

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
    /// Variants that follow one another with the same word here are measured round by round together, so that one may
    /// be compared with another.
    pub together: Option<&'static str>,
}

impl Variant {
    /// Of Pinleaf alone, over what stands in topics.
    fn new(workload: &'static str, name: String, contents: Vec<Content>) -> Variant {
        Variant {
            workload,
            name,
            contents,
            files: false,
            rate: 0,
            rows: 0,
            partitions: 0,
            leaves: None,
            peers: Peers::None,
            together: None,
        }
    }

    /// On disk, while it is measured: at the broker, at the engine, and as a file.
    fn bytes(&self) -> u64 {
        let copies = 2 + u64::from(self.files);
        let bytes = |content: &Content| content.rows * content.shape.bytes();
        self.contents.iter().map(bytes).sum::<u64>() * copies
    }
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
}

/// Where a sample is measured.
pub struct Bench<'a> {
    /// Of the run.
    pub broker: &'a Broker,
    /// Sizes.
    pub plan: &'a Plan,
    /// Pinleaf itself, for what no peer does.
    pub pinleaf: &'a Pinleaf,
    /// What queries of the variant must answer.
    pub truth: Option<&'a Truth>,
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
    all.extend(queries::variants(plan));
    all.extend(freshness::variants(plan));
    all.extend(recovery::variants(plan));
    all.extend(footprint::variants(plan));
    match cores::variants(plan) {
        Ok(variants) => all.extend(variants),
        Err(why) => skipped.push(("cores".to_owned(), why)),
    }
    if plan.deadline.is_some() {
        // When the time is over, each has its rounds so far, and none is left out.
        all.iter_mut()
            .for_each(|variant| variant.together = Some("quick"));
    }
    // Topics of the same content are one.
    let mut together = BTreeMap::<&str, BTreeMap<String, u64>>::new();
    for variant in &all {
        if let Some(word) = variant.together {
            let of_word = together.entry(word).or_default();
            of_word.insert(format!("{:?}", variant.contents), variant.bytes());
        }
    }
    all.retain(|variant| {
        let of_word = variant.together.and_then(|word| together.get(word));
        let bytes = of_word.map_or(variant.bytes(), |each| each.values().sum());
        let needed = bytes + SPARE_BYTES;
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
    fn new(rows: u64, checked: &'static str) -> Measured {
        Measured {
            rows,
            checked,
            ..Measured::default()
        }
    }

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
    /// Of the broker so far; 0 where it is not counted.
    fn broker_cpu(&self) -> Duration {
        self.broker.cpu().unwrap_or_default()
    }

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
/// [`Fault::Wrong`]; [`Fault::Stalled`].
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
    stall: Stall,
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
    let visible = until_visible(began, stall, name, running, wanted, |running| {
        running.rows()
    })?;
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

/// Looks until an engine shows so many rows; how long that took.
fn until_visible(
    began: Instant,
    stall: Stall,
    name: &str,
    running: &mut dyn Running,
    wanted: u64,
    mut rows: impl FnMut(&mut dyn Running) -> Result<u64, Fault>,
) -> Result<Duration, Fault> {
    let mut moves = Moves::new(stall, running);
    loop {
        let asked = Instant::now();
        let there = rows(running)?;
        if there >= wanted {
            return Ok(began.elapsed());
        }
        moves.seen(name, running, there, wanted)?;
        let pause = (began.elapsed() / LOOK.0).max(asked.elapsed() * LOOK.1);
        std::thread::sleep(pause.min(began.elapsed() / 20).max(POLL));
    }
}

/// Whether an engine moves: it shows more rows, or it works.
#[derive(Debug)]
struct Moves {
    stall: Stall,
    rows: u64,
    at: Instant,
    /// When it last was seen to work, and its CPU then.
    worked: (Instant, Duration),
}

impl Moves {
    fn new(stall: Stall, running: &dyn Running) -> Moves {
        let now = Instant::now();
        Moves {
            stall,
            rows: 0,
            at: now,
            worked: (now, running.group().cpu()),
        }
    }

    /// It shows so many of those that are wanted.
    ///
    /// # Errors
    /// [`Fault::Stalled`], with what it says of itself.
    fn seen(
        &mut self,
        name: &str,
        running: &mut dyn Running,
        rows: u64,
        wanted: u64,
    ) -> Result<(), Fault> {
        let now = Instant::now();
        if rows != self.rows {
            (self.rows, self.at) = (rows, now);
            self.worked = (now, running.group().cpu());
        }
        let still = now.duration_since(self.worked.0);
        if still <= self.stall.still {
            return Ok(());
        }
        let cpu = running.group().cpu();
        let worked = cpu.saturating_sub(self.worked.1) > still.mul_f64(self.stall.of_a_core);
        if worked && now.duration_since(self.at) <= self.stall.working {
            self.worked = (now, cpu);
            return Ok(());
        }
        let said = running.complaints().into_iter();
        Err(Fault::Stalled {
            who: name.to_owned(),
            rows,
            wanted,
            since: Duration::from_secs(now.duration_since(self.at).as_secs()),
            said: said.map(|line| format!("\n    {line}")).collect(),
        })
    }
}

/// Waits until an engine has done what it does behind a load: merges, syncs.
fn rest(running: &dyn Running) {
    let began = Instant::now();
    let mut cpu = running.group().cpu();
    while began.elapsed() < REST.at_most {
        std::thread::sleep(REST.over);
        let now = running.group().cpu();
        if now.saturating_sub(cpu) < REST.over.mul_f64(REST.of_a_core) {
            break;
        }
        cpu = now;
    }
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
