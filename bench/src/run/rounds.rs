//! The rounds of variants: topics are filled, engines take turns, samples are kept.
//!
//! What failed or stood still is measured once more in the same round, and stands in the report's first lines; what
//! ended with wrong rows or answers is wrong, and is not.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::prepare::is_tuned_too;
use crate::broker::Broker;
use crate::engine::{About, Engine, TABLES};
use crate::engines::Pinleaf;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::process;
use crate::sample::{Folder, Sample, Skipped};
use crate::topic::{Content, Topic};
use crate::workloads::queries::Truth;
use crate::workloads::{self, Bench, Measured, Peers, Variant};

/// A run that is being made.
pub struct Rounds<'a> {
    /// Sizes.
    pub plan: &'a Plan,
    /// Where it is kept.
    pub folder: &'a Folder,
    /// For what no peer does.
    pub pinleaf: Pinleaf,
    /// That take part.
    pub engines: Vec<Box<dyn Engine>>,
    /// Started when the first sample is due.
    pub broker: Option<Broker>,
    /// One that runs already.
    pub bootstrap: Option<&'a str>,
    /// As engines say it themselves.
    pub abouts: BTreeMap<String, About>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// What failed or stood still.
    pub incidents: Vec<Skipped>,
    /// Counts samples and topics.
    pub number: u64,
    /// For the deadline.
    pub began: Instant,
    /// Of all samples.
    pub bar: ProgressBar,
}

/// What a variant needs for its rounds.
struct Place<'v> {
    variant: &'v Variant,
    /// By their place.
    engines: Vec<usize>,
    topics: Vec<Topic>,
    truth: Option<Truth>,
}

impl Rounds<'_> {
    /// Every variant's.
    ///
    /// # Errors
    /// What ends the run.
    pub fn all(&mut self, variants: &[Variant]) -> Result<(), Fault> {
        let engines = variants.iter().map(|variant| self.takes_part(variant));
        let samples: usize = engines.map(|engines| engines.len()).sum();
        self.bar = ProgressBar::new((samples * self.rounds().count()) as u64);
        // A template that is none is a bug of this line.
        if let Ok(style) =
            ProgressStyle::with_template("[{elapsed_precise}] {bar:32} {pos}/{len} {msg}")
        {
            self.bar.set_style(style);
        }
        for group in variants.chunk_by(|a, b| a.together.is_some() && a.together == b.together) {
            self.together(group)?;
        }
        Ok(())
    }

    /// 0 is the warm-up.
    fn rounds(&self) -> std::ops::RangeInclusive<u32> {
        u32::from(!self.plan.warm_up)..=self.plan.rounds
    }

    /// The engines that do a variant, by their place.
    fn takes_part(&self, variant: &Variant) -> Vec<usize> {
        let names: Vec<String> = self
            .engines
            .iter()
            .map(|engine| engine.name().to_owned())
            .collect();
        let beside = variant.contents.len() > TABLES.len();
        let takes = |engine: &dyn Engine| match variant.peers {
            _ if engine.name() == "pinleaf" => true,
            _ if beside && !engine.does("beside") => false,
            // What differs is how it loads, which queries do not see.
            _ if variant.workload == "queries" => {
                engine.does(variant.workload) && !is_tuned_too(engine.name(), &names)
            }
            Peers::None => false,
            Peers::Yardsticks => engine.does(variant.workload) && !engine.stores(),
            Peers::All => engine.does(variant.workload),
        };
        let engines = self.engines.iter().enumerate();
        let taking = engines.filter(|(_, engine)| takes(engine.as_ref()));
        taking.map(|(at, _)| at).collect()
    }

    fn is_over(&self) -> bool {
        self.plan
            .deadline
            .is_some_and(|deadline| self.began.elapsed() > deadline)
    }

    /// Variants whose rounds are measured together: a round of each, one after another, in an order that turns.
    fn together(&mut self, variants: &[Variant]) -> Result<(), Fault> {
        let mut places: Vec<Place<'_>> = Vec::new();
        for variant in variants {
            places.push(Place {
                variant,
                engines: self.takes_part(variant),
                topics: Vec::new(),
                truth: None,
            });
        }
        let mut filled = false;
        for round in self.rounds() {
            let has = |place: &Place<'_>| {
                let names = place.engines.iter().map(|at| self.engines[*at].name());
                let names: Vec<&str> = names.collect();
                let variant = place.variant;
                let folder = &self.folder;
                folder.has_round(variant.workload, &variant.name, round, &names)
            };
            if places.iter().all(has) {
                let samples: usize = places.iter().map(|place| place.engines.len()).sum();
                self.bar.inc(samples as u64);
                continue;
            }
            if self.is_over() {
                for variant in variants {
                    let what = format!("{}: {}", variant.workload, variant.name);
                    let rounds = format!(", rounds {round} to {}", self.plan.rounds);
                    let which = if filled { rounds } else { String::new() };
                    self.skip(what + &which, "the time of a quick run was over".to_owned())?;
                }
                break;
            }
            if !filled {
                self.fill(&mut places)?;
                filled = true;
            }
            let turn = round as usize % places.len().max(1);
            places.rotate_left(turn);
            for place in &mut places {
                self.round(place, round)?;
            }
            places.rotate_right(turn);
        }
        self.clear(&places)
    }

    /// One round of one variant.
    fn round(&mut self, place: &mut Place<'_>, round: u32) -> Result<(), Fault> {
        let mut turned = place.engines.clone();
        let turn = round as usize % turned.len().max(1);
        turned.rotate_left(turn);
        for at in turned {
            if !self.sample(place, at, round)? {
                // It is left out of what is left of this variant.
                place.engines.retain(|one| *one != at);
            }
            self.bar.inc(1);
        }
        Ok(())
    }

    /// The broker, and the variants' topics at it, one for each content.
    fn fill(&mut self, places: &mut [Place<'_>]) -> Result<(), Fault> {
        let broker = match self.broker.take() {
            Some(broker) => broker,
            None => self.start_broker()?,
        };
        let mut filled = Vec::<(&Content, u32, Topic)>::new();
        for place in places {
            let variant = place.variant;
            for (at, content) in variant.contents.iter().enumerate() {
                // The same content twice in a variant is two topics.
                let same = variant.contents[..at].iter().filter(|one| *one == content);
                let same = u32::try_from(same.count()).unwrap_or(u32::MAX);
                let there = filled
                    .iter()
                    .find(|(one, number, _)| (*one, *number) == (content, same));
                let topic = match there {
                    Some((_, _, topic)) => topic.clone(),
                    None => self.fill_one(&broker, variant, content)?,
                };
                if there.is_none() {
                    filled.push((content, same, topic.clone()));
                }
                place.topics.push(topic);
            }
            if variant.workload == "queries" {
                self.bar
                    .set_message(format!("{}: counting the right answers", variant.name));
                place.truth = Truth::of(&variant.contents);
            }
        }
        self.broker = Some(broker);
        Ok(())
    }

    fn start_broker(&self) -> Result<Broker, Fault> {
        self.bar.set_message("starting the broker");
        let dir = self.folder.work("run")?;
        let run = self.folder.dir().file_name().unwrap_or_default();
        let broker = Broker::start(&dir, &run.to_string_lossy(), self.bootstrap)?;
        let about = json!({"broker": broker.what, "settings": broker.settings});
        self.folder.write("broker.json", &about)?;
        Ok(broker)
    }

    fn fill_one(
        &mut self,
        broker: &Broker,
        variant: &Variant,
        content: &Content,
    ) -> Result<Topic, Fault> {
        self.number += 1;
        let name = format!("rows-{}", self.number);
        let bar = &self.bar;
        let progress = |rows: u64| {
            let (name, all) = (&variant.name, content.rows);
            bar.set_message(format!("{name}: producing, {rows} of {all}"));
        };
        let mut topic = broker.cluster.produce(&name, content, progress)?;
        if variant.files && self.takes_part(variant).len() > 1 {
            let path = self.folder.work(&name)?.join("rows.json");
            self.bar
                .set_message(format!("{}: writing a file", variant.name));
            write_file(&path, content)?;
            topic.file = Some(path);
        }
        Ok(topic)
    }

    /// Room on the disk for the next.
    fn clear(&self, places: &[Place<'_>]) -> Result<(), Fault> {
        let topics = places.iter().flat_map(|place| &place.topics);
        let topics: BTreeMap<&str, &Topic> =
            topics.map(|topic| (topic.name.as_str(), topic)).collect();
        for topic in topics.values() {
            if let Some(broker) = &self.broker {
                broker.cluster.delete(topic)?;
            }
            if let Some(file) = &topic.file {
                std::fs::remove_file(file).map_err(Fault::io("removing a file of rows"))?;
            }
        }
        Ok(())
    }

    /// One sample, kept; whether the engine goes on with this variant.
    fn sample(&mut self, place: &Place<'_>, at: usize, round: u32) -> Result<bool, Fault> {
        let variant = place.variant;
        let name = self.engines[at].name().to_owned();
        let what = match round {
            0 => "warm-up".to_owned(),
            _ => format!("round {round}"),
        };
        let what = format!("{}: {}, {what}, {name}", variant.workload, variant.name);
        let mut measured = self.attempt(&what, place, at)?;
        let again = |measured: &Result<_, Fault>| {
            let fault = measured.as_ref().err();
            fault.is_some_and(|fault| !matches!(fault, Fault::Wrong(_)))
        };
        if again(&measured.0) {
            self.happened(&what, &measured.0, "measured once more")?;
            if !self.is_over() {
                measured = self.attempt(&format!("{what}, once more"), place, at)?;
                if again(&measured.0) {
                    self.happened(&what, &measured.0, "left out of the rest of the variant")?;
                }
            }
        }
        let (measured, others_cpus) = measured;
        let sample = |measured: Measured, checked| Sample {
            workload: variant.workload.to_owned(),
            variant: variant.name.clone(),
            engine: name.clone(),
            round,
            rows: measured.rows,
            checked,
            others_cpus,
            metrics: measured.metrics,
            histograms: measured.histograms,
        };
        match measured {
            Ok((measured, mut about)) => {
                about.discards = !self.engines[at].stores();
                self.abouts.insert(name.clone(), about);
                self.folder.write("engines.json", &self.abouts)?;
                let checked = Ok(measured.checked.to_owned());
                self.folder.keep(&sample(measured, checked))?;
                Ok(true)
            }
            Err(Fault::Wrong(why)) => {
                self.bar.println(format!("bench: {why}"));
                self.folder.keep(&sample(Measured::default(), Err(why)))?;
                Ok(true)
            }
            // Rows are missing that were not missing to others.
            Err(fault @ Fault::Stalled { .. }) => {
                let why = fault.to_string();
                self.folder.keep(&sample(Measured::default(), Err(why)))?;
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    /// Measures once, and what others used of the CPUs meanwhile.
    #[expect(clippy::type_complexity, reason = "a sample with what surrounds it")]
    fn attempt(
        &mut self,
        what: &str,
        place: &Place<'_>,
        at: usize,
    ) -> Result<(Result<(Measured, About), Fault>, Option<f64>), Fault> {
        self.bar.set_message(what.to_owned());
        self.number += 1;
        let dir = self.folder.work("engine")?;
        let Some(broker) = &self.broker else {
            return Err(Fault::failed("the broker", "it is gone"));
        };
        let bench = Bench {
            broker,
            plan: self.plan,
            pinleaf: &self.pinleaf,
            truth: place.truth.as_ref(),
            dir: &dir,
            number: self.number,
        };
        let own = || Some(process::own_cpu() + broker.cpu()?);
        let (began, all, ours) = (Instant::now(), process::machine_cpu(), own());
        let engine = self.engines[at].as_ref();
        let measured = workloads::measure(&bench, place.variant, &place.topics, engine);
        let all = process::machine_cpu().saturating_sub(all);
        let others = own().zip(ours).map(|(now, before)| {
            let others = all.saturating_sub(now.saturating_sub(before));
            others.as_secs_f64() / began.elapsed().as_secs_f64()
        });
        Ok((measured, others))
    }

    fn happened<T>(
        &mut self,
        what: &str,
        measured: &Result<T, Fault>,
        then: &str,
    ) -> Result<(), Fault> {
        let fault = measured.as_ref().err();
        let why = fault.map_or(String::new(), ToString::to_string);
        self.bar.println(format!("bench: {what}: {why}; {then}"));
        self.incidents.push(Skipped {
            what: format!("{what}, {then}"),
            why,
        });
        self.folder.write("incidents.json", &self.incidents)
    }

    fn skip(&mut self, what: String, why: String) -> Result<(), Fault> {
        self.bar.println(format!("bench: left out: {what}: {why}"));
        self.skipped.push(Skipped { what, why });
        self.folder.write("skipped.json", &self.skipped)
    }
}

/// The rows of a content, a message a line.
fn write_file(path: &Path, content: &Content) -> Result<(), Fault> {
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
