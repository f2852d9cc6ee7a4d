//! A whole run: the broker, then variant by variant its topics, its rounds, its engines, then the report.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::broker::Broker;
use crate::engine::{About, Engine, TABLES};
use crate::engines::{self, Pinleaf};
use crate::fault::Fault;
use crate::machine::{self, Machine};
use crate::plan::{Plan, WORKLOADS};
use crate::report;
use crate::sample::{Folder, Sample, Skipped};
use crate::topic::Topic;
use crate::workloads::{self, Answers, Bench, Measured, Peers, Variant};

/// The command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Less of everything: ends within five minutes on two cores
    #[arg(long)]
    quick: bool,
    /// As little as runs at all: what the tests run; not to be read
    #[arg(long, hide = true)]
    tiny: bool,
    /// Workloads (ingest, freshness, queries, recovery, footprint, cores) and engines; repeatable
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Pinleaf's leaves at most, for the workload `cores`
    #[arg(long, value_name = "N")]
    leaves: Option<usize>,
    /// A broker that runs already, in place of one of the run's own
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Rounds behind the warm-up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Where runs are written
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// The binary to measure, in place of building this tree's
    #[arg(long, value_name = "FILE")]
    pinleaf: Option<PathBuf>,
}

/// Runs; whether every engine ended with the right rows and none failed.
///
/// # Errors
/// What ended the run before its report.
pub fn run(arguments: &Arguments) -> Result<bool, Fault> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = arguments
        .results
        .clone()
        .unwrap_or_else(|| root.join("results"));
    std::fs::create_dir_all(&results)
        .map_err(Fault::io(format!("making {}", results.display())))?;
    let mut plan = match (arguments.tiny, arguments.quick) {
        (true, _) => Plan::tiny(&results),
        (false, true) => Plan::quick(&results),
        (false, false) => Plan::full(&results),
    };
    plan.rounds = arguments.runs.unwrap_or(plan.rounds);
    plan.leaves = arguments
        .leaves
        .unwrap_or(plan.leaves)
        .clamp(1, plan.cpus.max(1));
    plan.only.clone_from(&arguments.only);
    let binary = match &arguments.pinleaf {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let mut all = engines::all(&binary, &cache())?;
    known(&plan, &all)?;
    let machine = Machine::look(&results);
    let written = plan.written(&checksums(&binary)?, arguments.bootstrap.as_deref());
    let (folder, new) = Folder::open(&results, &today(), &machine.slug(), &written)?;
    if !new {
        eprintln!("bench: going on with {}", folder.dir().display());
    }
    folder.write("machine.json", &machine)?;

    let mut skipped = prepare(&plan, &mut all);
    let (variants, left_out) = workloads::variants(&plan);
    skipped.extend(
        left_out
            .into_iter()
            .map(|(what, why)| Skipped { what, why }),
    );
    let variants: Vec<Variant> = variants
        .into_iter()
        .filter(|variant| plan.wants_workload(variant.workload))
        .collect();
    let mut run = Run {
        plan: &plan,
        folder: &folder,
        pinleaf: Pinleaf::new(&binary),
        engines: all,
        broker: None,
        bootstrap: arguments.bootstrap.as_deref(),
        abouts: folder.read("engines.json").unwrap_or_default(),
        skipped,
        sound: true,
        number: 0,
        began: Instant::now(),
        bar: ProgressBar::new(0),
    };
    run.all(&variants)?;
    let Run {
        skipped,
        sound,
        bar,
        broker,
        ..
    } = run;
    bar.finish_and_clear();
    drop(broker);
    folder.write("skipped.json", &skipped)?;
    folder.clear_work()?;
    report::write(&folder)?;
    println!("{}", folder.dir().join("report.md").display());
    Ok(sound)
}

struct Run<'a> {
    plan: &'a Plan,
    folder: &'a Folder,
    pinleaf: Pinleaf,
    engines: Vec<Box<dyn Engine>>,
    /// Started when the first sample is due.
    broker: Option<Broker>,
    bootstrap: Option<&'a str>,
    abouts: BTreeMap<String, About>,
    skipped: Vec<Skipped>,
    sound: bool,
    number: u64,
    began: Instant,
    bar: ProgressBar,
}

impl Run<'_> {
    fn all(&mut self, variants: &[Variant]) -> Result<(), Fault> {
        let each: Vec<(&Variant, Vec<usize>)> = variants
            .iter()
            .map(|variant| (variant, self.takes_part(variant)))
            .collect();
        let samples: usize = each.iter().map(|(_, engines)| engines.len()).sum();
        self.bar = ProgressBar::new((samples * self.rounds().count()) as u64);
        // A template that is none is a bug of this line.
        if let Ok(style) =
            ProgressStyle::with_template("[{elapsed_precise}] {bar:32} {pos}/{len} {msg}")
        {
            self.bar.set_style(style);
        }
        for (variant, engines) in each {
            if self.is_over() {
                self.skip(
                    format!("{}: {}", variant.workload, variant.name),
                    "the time of a quick run was over".to_owned(),
                );
                continue;
            }
            self.variant(variant, engines)?;
        }
        Ok(())
    }

    /// 0 is the warm-up.
    fn rounds(&self) -> std::ops::RangeInclusive<u32> {
        u32::from(!self.plan.warm_up)..=self.plan.rounds
    }

    /// The engines that do a variant, by their place.
    fn takes_part(&self, variant: &Variant) -> Vec<usize> {
        let beside = variant.contents.len() > TABLES.len();
        let takes = |engine: &dyn Engine| match variant.peers {
            _ if engine.name() == "pinleaf" => true,
            _ if beside && !engine.does("beside") => false,
            // What differs is how it loads, which queries do not see.
            _ if variant.workload == "queries" => {
                engine.does(variant.workload) && !self.is_tuned_too(engine.name())
            }
            Peers::None => false,
            Peers::Yardsticks => engine.does(variant.workload) && !engine.stores(),
            Peers::All => engine.does(variant.workload),
        };
        let engines = self.engines.iter().enumerate();
        let taking = engines.filter(|(_, engine)| takes(engine.as_ref()));
        taking.map(|(at, _)| at).collect()
    }

    /// Whether an engine is the defaults of a peer that is there tuned as well.
    fn is_tuned_too(&self, name: &str) -> bool {
        let mut names = self.engines.iter().map(|engine| engine.name());
        name.strip_suffix("-defaults")
            .is_some_and(|peer| names.any(|one| one != name && one.starts_with(peer)))
    }

    fn is_over(&self) -> bool {
        self.plan
            .deadline
            .is_some_and(|deadline| self.began.elapsed() > deadline)
    }

    fn variant(&mut self, variant: &Variant, mut engines: Vec<usize>) -> Result<(), Fault> {
        let mut topics: Option<Vec<Topic>> = None;
        let mut answers: Option<(String, Answers)> = None;
        for round in self.rounds() {
            let names: Vec<&str> = engines.iter().map(|at| self.engines[*at].name()).collect();
            if self
                .folder
                .has_round(variant.workload, &variant.name, round, &names)
            {
                self.bar.inc(engines.len() as u64);
                continue;
            }
            if self.is_over() {
                self.skip(
                    format!(
                        "{}: {}, rounds {round} to {}",
                        variant.workload, variant.name, self.plan.rounds
                    ),
                    "the time of a quick run was over".to_owned(),
                );
                break;
            }
            if topics.is_none() {
                topics = Some(self.fill(variant)?);
            }
            let topics = topics.as_deref().unwrap_or_default();
            let mut turned = engines.clone();
            turned.rotate_left(round as usize % engines.len().max(1));
            for at in turned {
                match self.sample(variant, topics, at, round)? {
                    Some(said) if said.is_empty() => {}
                    Some(said) => {
                        let name = self.engines[at].name().to_owned();
                        let (first, expected) = answers.get_or_insert((name.clone(), said.clone()));
                        if let Some(wrong) = differs(expected, &said) {
                            let why = format!("{name} answers {wrong} unlike {first}");
                            self.wrong(variant, at, round, why)?;
                        }
                    }
                    // It has failed and is left out of what is left of this variant.
                    None => engines.retain(|one| *one != at),
                }
                self.bar.inc(1);
            }
        }
        if let (Some(broker), Some(topics)) = (&self.broker, &topics) {
            // Room on the disk for the next.
            for topic in topics {
                broker.cluster.delete(topic)?;
                if let Some(file) = &topic.file {
                    std::fs::remove_file(file).map_err(Fault::io("removing a file of rows"))?;
                }
            }
        }
        Ok(())
    }

    /// The broker, and a variant's topics at it.
    fn fill(&mut self, variant: &Variant) -> Result<Vec<Topic>, Fault> {
        if self.broker.is_none() {
            self.bar.set_message("starting the broker");
            let dir = self.folder.work("run")?;
            let broker = Broker::start(&dir, self.bootstrap)?;
            self.folder.write(
                "broker.json",
                &json!({"broker": broker.what, "settings": broker.settings}),
            )?;
            self.broker = Some(broker);
        }
        let Some(broker) = &self.broker else {
            return Ok(Vec::new());
        };
        let mut topics = Vec::new();
        for content in &variant.contents {
            self.number += 1;
            let name = format!("rows-{}", self.number);
            let bar = &self.bar;
            let progress = |rows: u64| {
                bar.set_message(format!(
                    "{}: producing, {rows} of {}",
                    variant.name, content.rows
                ));
            };
            let mut topic = broker.cluster.produce(&name, content, progress)?;
            if variant.files && self.takes_part(variant).len() > 1 {
                let path = self.folder.work(&name)?.join("rows.json");
                self.bar
                    .set_message(format!("{}: writing a file", variant.name));
                write_file(&path, content)?;
                topic.file = Some(path);
            }
            topics.push(topic);
        }
        Ok(topics)
    }

    /// One sample; the answers of its queries. `None`: it failed, which is noted.
    fn sample(
        &mut self,
        variant: &Variant,
        topics: &[Topic],
        at: usize,
        round: u32,
    ) -> Result<Option<Answers>, Fault> {
        let Some(broker) = &self.broker else {
            return Ok(None);
        };
        let engine = self.engines[at].as_ref();
        let name = engine.name().to_owned();
        let what = if round == 0 {
            "warm-up".to_owned()
        } else {
            format!("round {round}")
        };
        self.bar.set_message(format!(
            "{}: {}, {what}, {name}",
            variant.workload, variant.name
        ));
        self.number += 1;
        let dir = self.folder.work("engine")?;
        let bench = Bench {
            broker,
            plan: self.plan,
            pinleaf: &self.pinleaf,
            dir: &dir,
            number: self.number,
        };
        let load_average = machine::load();
        let measured = workloads::measure(&bench, variant, topics, engine);
        let sample = |measured: Measured, checked| Sample {
            workload: variant.workload.to_owned(),
            variant: variant.name.clone(),
            engine: name.clone(),
            round,
            rows: measured.rows,
            checked,
            load_average,
            metrics: measured.metrics,
            histograms: measured.histograms,
        };
        match measured {
            Ok((mut measured, about)) => {
                self.abouts.insert(name.clone(), about);
                self.folder.write("engines.json", &self.abouts)?;
                let answers = std::mem::take(&mut measured.answers);
                let checked = Ok(measured.checked.to_owned());
                self.folder.keep(&sample(measured, checked))?;
                Ok(Some(answers))
            }
            Err(Fault::Wrong(why)) => {
                self.sound = false;
                self.bar.println(format!("bench: {why}"));
                self.folder.keep(&sample(Measured::default(), Err(why)))?;
                Ok(Some(Answers::new()))
            }
            Err(fault) => {
                self.sound = false;
                self.skip(
                    format!("{name} in {}: {}", variant.workload, variant.name),
                    format!("failed: {fault}"),
                );
                Ok(None)
            }
        }
    }

    /// A sample that turned out wrong beside others.
    fn wrong(
        &mut self,
        variant: &Variant,
        at: usize,
        round: u32,
        why: String,
    ) -> Result<(), Fault> {
        self.sound = false;
        self.bar.println(format!("bench: {why}"));
        let name = self.engines[at].name();
        let is = |sample: &Sample| {
            sample.workload == variant.workload
                && sample.variant == variant.name
                && sample.round == round
                && sample.engine == name
        };
        for mut sample in self.folder.samples().into_iter().filter(is) {
            sample.checked = Err(why.clone());
            self.folder.keep(&sample)?;
        }
        Ok(())
    }

    fn skip(&mut self, what: String, why: String) {
        self.bar.println(format!("bench: left out: {what}: {why}"));
        self.skipped.push(Skipped { what, why });
    }
}

/// The first query whose answers differ.
fn differs(expected: &Answers, said: &Answers) -> Option<String> {
    let differing = said
        .iter()
        .find(|(query, rows)| expected.get(*query) != Some(rows));
    differing.map(|(query, rows)| {
        let first = rows.first().map(|row| row.join(" ")).unwrap_or_default();
        format!("`{query}` ({} rows, the first {first:?})", rows.len())
    })
}

/// Takes out the engines that are not wanted or not to be had; the latter are named.
fn prepare(plan: &Plan, engines: &mut Vec<Box<dyn Engine>>) -> Vec<Skipped> {
    let mut skipped = Vec::new();
    let names: Vec<String> = engines
        .iter()
        .map(|engine| engine.name().to_owned())
        .collect();
    engines.retain_mut(|engine| {
        if !plan.wants_engine(engine.name()) {
            return false;
        }
        let used = WORKLOADS
            .iter()
            .any(|one| plan.wants_workload(one) && engine.does(one));
        if !used {
            return false;
        }
        let named = plan
            .only
            .iter()
            .any(|only| engine.name().starts_with(only.as_str()));
        let defaults = engine.name().ends_with("-defaults");
        let peer = engine.name().rsplit_once('-').map_or("", |(peer, _)| peer);
        let tuned_too = names.iter().filter(|name| name.starts_with(peer)).count() > 1;
        let why = match (plan.quick && !plan.tiny && !named, engine.quick()) {
            (true, false) => "takes too long to start for a quick run; --only takes its name",
            (true, true) if defaults && tuned_too => {
                "a quick run has a peer at its best settings alone; --only takes its name"
            }
            _ => "",
        };
        if !why.is_empty() {
            skipped.push(Skipped {
                what: engine.name().to_owned(),
                why: why.to_owned(),
            });
            return false;
        }
        eprintln!("bench: preparing {}", engine.name());
        match engine.prepare() {
            Ok(()) => true,
            Err(fault) => {
                let what = engine.name().to_owned();
                let why = fault.to_string();
                eprintln!("bench: left out: {what}: {why}");
                skipped.push(Skipped { what, why });
                false
            }
        }
    });
    skipped
}

/// Every name of `--only` is one.
fn known(plan: &Plan, engines: &[Box<dyn Engine>]) -> Result<(), Fault> {
    let mut names: BTreeSet<String> = WORKLOADS.iter().map(|name| (*name).to_owned()).collect();
    for engine in engines {
        names.insert(engine.name().to_owned());
        if let Some((peer, _)) = engine.name().rsplit_once('-') {
            names.insert(peer.to_owned());
        }
    }
    match plan.only.iter().find(|name| !names.contains(*name)) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<_> = names.into_iter().collect();
            Err(Fault::Usage(format!(
                "--only {name}: there is {}",
                names.join(", ")
            )))
        }
    }
}

/// Builds the binary beside this one.
fn build() -> Result<PathBuf, Fault> {
    eprintln!("bench: building pinleaf");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--quiet", "--package", "engine"])
        .current_dir(root);
    let status = command.status().map_err(Fault::io("running cargo"))?;
    if !status.success() {
        return Err(Fault::failed(
            "cargo build --release --package engine",
            status.to_string(),
        ));
    }
    let own = std::env::current_exe().map_err(Fault::io("looking for the own program"))?;
    Ok(own.with_file_name("pinleaf"))
}

/// By which a run is not continued with another binary.
fn checksums(pinleaf: &Path) -> Result<serde_json::Value, Fault> {
    let own = std::env::current_exe().map_err(Fault::io("looking for the own program"))?;
    let of = |path: &Path| {
        let bytes =
            std::fs::read(path).map_err(Fault::io(format!("reading {}", path.display())))?;
        Ok::<_, Fault>(format!("{:08x}", crc32fast::hash(&bytes)))
    };
    Ok(json!({"pinleaf": of(pinleaf)?, "bench": of(&own)?}))
}

/// The rows of a content, a message a line.
fn write_file(path: &Path, content: &crate::topic::Content) -> Result<(), Fault> {
    let doing = || Fault::io(format!("writing {}", path.display()));
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(doing())?);
    let mut rows = content.generator();
    for _ in 0..content.rows {
        rows.advance();
        file.write_all(rows.json()).map_err(doing())?;
        file.write_all(b"\n").map_err(doing())?;
    }
    file.flush().map_err(doing())
}

/// The same as the tests' cache.
fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    from("PINLEAF_TEST_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("pinleaf-tests")))
        .or_else(|| Some(from("HOME")?.join(".cache/pinleaf-tests")))
        .unwrap_or_else(|| std::env::temp_dir().join("pinleaf-tests"))
}

fn today() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    crate::shape::time_text(now.as_secs() * 1_000)[..10].to_owned()
}
