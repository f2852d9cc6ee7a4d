//! `report.md`: made of a run's files and of nothing else, so it can be made again.
//!
//! It begins with what speaks against Pinleaf: rows that were wrong, peers that win, figures that are not
//! reached. Then what it was measured on, a table for each variant, the ratios, and every setting.

mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::engine::About;
use crate::fault::Fault;
use crate::machine::Machine;
use crate::metric::{self, Metric};
use crate::plan::WORKLOADS;
use crate::plot;
use crate::sample::{Folder, Sample, Skipped};
use crate::stats::{Series, Spread, Verdict, compare, series, short};

/// Tasks that wanted a CPU before a sample began, above which the machine was not quiet: each CPU's share.
const QUIET_LOAD: f64 = 0.75;
/// What discards is compared, and named apart.
const YARDSTICKS: [&str; 2] = ["librdkafka", "franz-go"];

/// Everything that a report is made of.
#[derive(Clone, Debug)]
pub struct Run {
    /// Sizes and choices.
    pub plan: serde_json::Value,
    /// On what.
    pub machine: Machine,
    /// Which broker, and how it was started.
    pub broker: (String, Vec<String>),
    /// Versions and settings.
    pub engines: BTreeMap<String, About>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Everything measured.
    pub samples: Vec<Sample>,
}

/// Writes the report of a run, and its plots.
///
/// # Errors
/// [`Fault::Io`]; [`Fault::Usage`] where the folder is of no run.
pub fn write(folder: &Folder) -> Result<(), Fault> {
    let none = || Fault::Usage(format!("{} holds no run", folder.dir().display()));
    let broker: serde_json::Value = folder.read("broker.json").unwrap_or_default();
    let run = Run {
        plan: folder.read("plan.json").ok_or_else(none)?,
        machine: folder.read("machine.json").ok_or_else(none)?,
        broker: (
            broker["broker"].as_str().unwrap_or("none").to_owned(),
            serde_json::from_value(broker["settings"].clone()).unwrap_or_default(),
        ),
        engines: folder.read("engines.json").unwrap_or_default(),
        skipped: folder.read("skipped.json").unwrap_or_default(),
        samples: folder.samples(),
    };
    for (name, svg) in plots(&run) {
        folder.write_text(&name, &svg)?;
    }
    folder.write_text("report.md", &text(&run))
}

/// The variants of a workload, in the order of their names.
fn variants<'a>(run: &'a Run, workload: &str) -> BTreeMap<&'a str, Vec<&'a Sample>> {
    let mut variants = BTreeMap::<&str, Vec<&Sample>>::new();
    for sample in run
        .samples
        .iter()
        .filter(|sample| sample.workload == workload)
    {
        variants.entry(&sample.variant).or_default().push(sample);
    }
    variants
}

fn is_yardstick(engine: &str) -> bool {
    YARDSTICKS
        .iter()
        .any(|yardstick| engine.starts_with(yardstick))
}

/// The whole report.
#[must_use]
pub fn text(run: &Run) -> String {
    let mut out = String::from("# A run of the benchmarks\n\n");
    head(&mut out, run);
    on_what(&mut out, run);
    reach::table(&mut out, run);
    for workload in WORKLOADS {
        let variants = variants(run, workload);
        if variants.is_empty() {
            continue;
        }
        let _ = write!(out, "\n## {workload}\n");
        for (name, _) in plots(run)
            .iter()
            .filter(|(name, _)| name.starts_with(workload))
        {
            let _ = write!(out, "\n![{workload}]({name})\n");
        }
        for (variant, samples) in variants {
            table(&mut out, variant, &samples);
        }
    }
    settings(&mut out, run);
    out
}

/// What speaks against Pinleaf comes first.
fn head(out: &mut String, run: &Run) {
    let wrong: BTreeSet<String> = run
        .samples
        .iter()
        .filter_map(|sample| {
            let why = sample.checked.as_ref().err()?;
            Some(format!(
                "{}, {}, round {}: {why}",
                sample.workload, sample.variant, sample.round
            ))
        })
        .collect();
    if !wrong.is_empty() {
        out.push_str("**Wrong or missing rows.** The figures of these samples are left out:\n\n");
        for line in wrong {
            let _ = writeln!(out, "- {line}");
        }
        out.push('\n');
    }
    let (mut peers, mut yardsticks) = (Vec::new(), Vec::new());
    for workload in WORKLOADS {
        for (variant, samples) in variants(run, workload) {
            for (metric, series) in figures(&samples).filter(|(metric, _)| metric.counts) {
                for other in series.keys().filter(|engine| *engine != "pinleaf") {
                    let compared = compare(&series, metric, "pinleaf", other);
                    let Some(compared) = compared.filter(|one| one.verdict == Verdict::Worse)
                    else {
                        continue;
                    };
                    let line = format!(
                        "{other}: {workload}, {variant}: {}, {} of Pinleaf's",
                        metric.label,
                        times(&compared.ratio)
                    );
                    if is_yardstick(other) {
                        yardsticks.push(line);
                    } else {
                        peers.push(line);
                    }
                }
            }
        }
    }
    let mut list = |lines: Vec<String>, some: &str, none: &str| {
        if lines.is_empty() {
            let _ = writeln!(out, "{none}\n");
        } else {
            let _ = writeln!(out, "{some}\n");
            for line in lines {
                let _ = writeln!(out, "- {line}");
            }
            out.push('\n');
        }
    };
    list(
        peers,
        "**A peer is better** in:",
        "In no figure of this run is a peer better by more than the noise.",
    );
    list(
        yardsticks,
        "A consumer that only discards is cheaper or faster in:",
        "In no figure of this run is a consumer that only discards better by more than the noise.",
    );
}

fn on_what(out: &mut String, run: &Run) {
    let machine = &run.machine;
    let quick = run.plan["quick"] == true;
    let _ = write!(
        out,
        "{} with {}{}. Figures are medians, in brackets the least and the most. Ratios are of the \
         same round. What differs by less than the noise is called equal.\n\n\
         | | |\n|---|---|\n\
         | CPU | {}, {} of them{}{} |\n| memory | {} GB |\n| kernel | {} |\n| file system | {} |\n| commit | {} |\n\
         | broker | {} |\n",
        if quick {
            "A quick run, of small sizes,"
        } else {
            "A full run"
        },
        counted(run.plan["rounds"].as_u64().unwrap_or(0), "round"),
        if run.plan["warm_up"] == true {
            " behind a warm-up"
        } else {
            ", no warm-up"
        },
        machine.cpu,
        machine.cpus,
        if machine.hypervisor {
            ", a virtual machine"
        } else {
            ""
        },
        machine
            .governor
            .as_ref()
            .map_or(String::new(), |name| format!(", governor {name}")),
        short(machine.memory_bytes as f64 / 1e9),
        machine.kernel,
        machine.file_system,
        machine.commit,
        run.broker.0,
    );
    for (name, about) in &run.engines {
        let _ = writeln!(out, "| {name} | {} |", about.version);
    }
    let busy = run.samples.iter().filter(|sample| {
        // Behind the warm-up of the first variant every sample follows another.
        sample.load_average > machine.cpus as f64 * (1.0 + QUIET_LOAD)
    });
    let busy = busy.count();
    if busy > 0 {
        let _ = write!(
            out,
            "\n**The machine was not quiet**: before {} more tasks wanted a CPU than the run itself has. \
             Nothing is to be claimed by this report.\n",
            counted(busy as u64, "sample")
        );
    }
    if !run.skipped.is_empty() {
        out.push_str("\nLeft out:\n\n");
        for skipped in &run.skipped {
            let why = skipped.why.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(out, "- {}: {why}", skipped.what);
        }
    }
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The figures that some engine has, in the order of `metric.rs`.
fn figures(samples: &[&Sample]) -> impl Iterator<Item = (&'static Metric, Series)> {
    let all = metric::ALL.iter();
    let with: Vec<_> = all
        .map(|metric| (metric, series(samples.iter().copied(), metric.key)))
        .filter(|(_, series)| !series.is_empty())
        .collect();
    with.into_iter()
}

/// Engines are rows, Pinleaf first.
fn table(out: &mut String, variant: &str, samples: &[&Sample]) {
    let figures: Vec<_> = figures(samples).collect();
    let mut engines: Vec<&String> = figures
        .iter()
        .flat_map(|(_, series)| series.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    engines.sort_by_key(|engine| (*engine != "pinleaf", (*engine).clone()));
    let rows = samples.iter().map(|sample| sample.rows).max().unwrap_or(0);
    let _ = write!(out, "\n### {variant}\n\n{} rows.\n\n| |", short_count(rows));
    for (metric, _) in &figures {
        let _ = write!(out, " {} |", metric.label);
    }
    out.push_str(" rows checked by |\n|---|");
    out.push_str(&"---|".repeat(figures.len() + 1));
    out.push('\n');
    for engine in &engines {
        let _ = write!(out, "| {engine} |");
        for (_, series) in &figures {
            let values: Vec<f64> = series
                .get(*engine)
                .into_iter()
                .flatten()
                .map(|(_, value)| *value)
                .collect();
            match Spread::of(&values) {
                Some(spread) => {
                    let _ = write!(out, " {} |", bracketed(&spread));
                }
                None => out.push_str(" |"),
            }
        }
        let of_engine = samples.iter().filter(|sample| sample.engine == **engine);
        let checked: BTreeSet<&str> = of_engine
            .filter_map(|sample| Some(sample.checked.as_ref().ok()?.as_str()))
            .collect();
        let checked: Vec<_> = checked.into_iter().collect();
        let _ = writeln!(out, " {} |", checked.join("; "));
    }
    let mut lines = Vec::new();
    for engine in engines.iter().filter(|engine| **engine != "pinleaf") {
        let mut cells = String::new();
        let mut some = false;
        for (metric, series) in &figures {
            match compare(series, metric, "pinleaf", engine) {
                Some(compared) if compared.verdict == Verdict::Equal => {
                    some = true;
                    let _ = write!(cells, " equal, {} |", times(&compared.ratio));
                }
                Some(compared) => {
                    some = true;
                    let _ = write!(cells, " {} |", times(&compared.ratio));
                }
                None => cells.push_str(" |"),
            }
        }
        if some {
            lines.push(format!("| {engine} / pinleaf |{cells} |\n"));
        }
    }
    out.push_str(&lines.concat());
}

fn settings(out: &mut String, run: &Run) {
    let _ = write!(
        out,
        "\n## Settings\n\n- the broker: {}\n",
        run.broker.1.join("; ")
    );
    for (name, about) in &run.engines {
        let _ = writeln!(out, "- {name}: {}", about.settings.join("; "));
    }
    let plan = serde_json::to_string_pretty(&run.plan).unwrap_or_default();
    let _ = write!(out, "\n```json\n{plan}\n```\n");
}

/// `0.18 (0.17–0.2)`.
fn bracketed(spread: &Spread) -> String {
    if short(spread.least) == short(spread.most) {
        return short(spread.median);
    }
    format!(
        "{} ({}–{})",
        short(spread.median),
        short(spread.least),
        short(spread.most)
    )
}

/// `28.1 × (27.9–28.4)`.
fn times(ratio: &Spread) -> String {
    if short(ratio.least) == short(ratio.most) {
        return format!("{} ×", short(ratio.median));
    }
    format!(
        "{} × ({}–{})",
        short(ratio.median),
        short(ratio.least),
        short(ratio.most)
    )
}

fn short_count(rows: u64) -> String {
    let digits = rows.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// By file name.
fn plots(run: &Run) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    let groups = |workload: &str, key: &str| -> Vec<plot::Group> {
        let of_variant = |(variant, samples): (&str, Vec<&Sample>)| {
            let series = series(samples, key);
            let bars = series.into_iter().filter_map(|(engine, rounds)| {
                let values: Vec<f64> = rounds.into_values().collect();
                Some((engine, Spread::of(&values)?))
            });
            (variant.to_owned(), bars.collect::<Vec<_>>())
        };
        let groups = variants(run, workload).into_iter().map(of_variant);
        groups.filter(|(_, bars)| !bars.is_empty()).collect()
    };
    for (workload, key) in [
        ("ingest", "cpu_s_per_m"),
        ("ingest", "rows_per_s"),
        ("recovery", "first_answer_ms"),
        ("footprint", "sealed_bytes_per_row"),
        ("cores", "rows_per_s"),
    ] {
        let groups = groups(workload, key);
        if let (false, Some(metric)) = (groups.is_empty(), metric::by_key(key)) {
            let name = format!("{workload}-{}.svg", key.replace('_', "-"));
            plots.push((name, plot::bars(metric.label, &groups)));
        }
    }
    for (variant, samples) in variants(run, "queries") {
        let each = metric::ALL
            .iter()
            .filter(|metric| metric.key.starts_with("query_"));
        let groups: Vec<plot::Group> = each
            .map(|metric| {
                let of_engine = |(engine, rounds): (String, BTreeMap<u32, f64>)| {
                    Some((
                        engine,
                        Spread::of(&rounds.into_values().collect::<Vec<_>>())?,
                    ))
                };
                let bars = series(samples.iter().copied(), metric.key);
                (
                    metric.label.to_owned(),
                    bars.into_iter().filter_map(of_engine).collect(),
                )
            })
            .collect();
        let name = format!("queries-{}.svg", variant.replace([',', ' '], "-"));
        plots.push((name, plot::bars(&format!("{variant}: ms"), &groups)));
    }
    for (variant, samples) in variants(run, "freshness") {
        let mut lines = BTreeMap::<String, BTreeMap<u64, u64>>::new();
        for sample in samples
            .iter()
            .filter(|sample| sample.round > 0 && sample.checked.is_ok())
        {
            for (reader, counts) in &sample.histograms {
                let line = lines
                    .entry(format!("{}, {reader}", sample.engine))
                    .or_default();
                for (us, count) in counts {
                    *line.entry(*us).or_default() += count;
                }
            }
        }
        if !lines.is_empty() {
            let name = format!("freshness-{}.svg", variant.replace([',', ' ', '/'], "-"));
            plots.push((
                name,
                plot::percentiles(&format!("{variant}: ms until a row is seen"), &lines),
            ));
        }
    }
    plots
}

#[cfg(test)]
mod tests;
