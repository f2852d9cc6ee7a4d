//! `report.md`: made of a run's files and of nothing else, so it can be made again.
//!
//! It begins with what speaks against Pinleaf: rows that were wrong, peers that win, figures that are not
//! reached. Then what it was measured on, a table for each variant, the ratios, and every setting.

mod plots;
mod reach;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::engine::About;
use crate::fault::Fault;
use crate::machine::Machine;
use crate::metric::{self, Metric};
use crate::plan::WORKLOADS;
use crate::sample::{Folder, Sample, Skipped};
use crate::stats::{Series, Verdict, compare, series, short};
use plots::plots;
use table::{table, times};

/// The part of the machine's CPUs above which others than the run had too much of them. The kernel's own writing of
/// files is among those others.
const QUIET: f64 = 0.15;

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
    /// What failed or stood still, and was measured once more.
    pub incidents: Vec<Skipped>,
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
        incidents: folder.read("incidents.json").unwrap_or_default(),
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

/// The whole report.
#[must_use]
pub fn text(run: &Run) -> String {
    let mut out = String::from("# A run of the benchmarks\n\n");
    head(&mut out, run);
    on_what(&mut out, run);
    reach::table(&mut out, run);
    let plots = plots(run);
    for workload in WORKLOADS {
        let variants = variants(run, workload);
        if variants.is_empty() {
            continue;
        }
        let _ = write!(out, "\n## {workload}\n");
        for (name, _) in plots.iter().filter(|(name, _)| name.starts_with(workload)) {
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
    let wrong = run.samples.iter().filter_map(|sample| {
        let why = one_line(sample.checked.as_ref().err()?);
        let (workload, variant) = (&sample.workload, &sample.variant);
        Some(format!(
            "{workload}, {variant}, round {}: {why}",
            sample.round
        ))
    });
    let wrong: BTreeSet<String> = wrong.collect();
    let wrong: Vec<String> = wrong.into_iter().collect();
    let title = "**Wrong or missing rows.** The figures of these samples are left out:";
    list(out, &wrong, title, "");
    let incidents = run.incidents.iter();
    let incidents: Vec<String> = incidents
        .map(|incident| format!("{}: {}", incident.what, one_line(&incident.why)))
        .collect();
    list(
        out,
        &incidents,
        "**Failed or stood still**, and what was done then:",
        "",
    );
    let (peers, yardsticks) = ahead(run);
    list(
        out,
        &peers,
        "**A peer is better** in:",
        "In no figure of this run is a peer better by more than the noise.",
    );
    list(
        out,
        &yardsticks,
        "A consumer that only discards is cheaper or faster in:",
        "In no figure of this run is a consumer that only discards better by more than the noise.",
    );
}

/// Lines below a title, or what is said where there are none.
fn list(out: &mut String, lines: &[String], title: &str, none: &str) {
    if lines.is_empty() {
        if !none.is_empty() {
            let _ = writeln!(out, "{none}\n");
        }
        return;
    }
    let _ = writeln!(out, "{title}\n");
    for line in lines {
        let _ = writeln!(out, "- {line}");
    }
    out.push('\n');
}

/// The figures in which another engine is better: peers, and what discards. What is unclear is said where it speaks
/// against Pinleaf.
fn ahead(run: &Run) -> (Vec<String>, Vec<String>) {
    let (mut peers, mut yardsticks) = (Vec::new(), Vec::new());
    for workload in WORKLOADS {
        for (variant, samples) in variants(run, workload) {
            for (metric, series) in figures(&samples).filter(|(metric, _)| metric.counts) {
                for other in series.keys().filter(|engine| *engine != "pinleaf") {
                    let Some(compared) = compare(&series, metric, "pinleaf", other) else {
                        continue;
                    };
                    let unclear = match compared.verdict {
                        Verdict::Worse => "",
                        Verdict::Unclear
                            if (compared.ratio.median < 1.0) == metric.less_is_better =>
                        {
                            "; unclear, of too few rounds"
                        }
                        Verdict::Unclear | Verdict::Equal | Verdict::Better => continue,
                    };
                    let line = format!(
                        "{other}: {workload}, {variant}: {}, {} of Pinleaf's{unclear}",
                        metric.name(),
                        times(&compared.ratio)
                    );
                    match run.engines.get(other) {
                        Some(about) if about.discards => yardsticks.push(line),
                        _ => peers.push(line),
                    }
                }
            }
        }
    }
    (peers, yardsticks)
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
    quiet(out, run);
    if !run.skipped.is_empty() {
        out.push_str("\nLeft out:\n\n");
        for skipped in &run.skipped {
            let _ = writeln!(out, "- {}: {}", skipped.what, one_line(&skipped.why));
        }
    }
}

/// What others used of the CPUs while samples were measured.
fn quiet(out: &mut String, run: &Run) {
    let cpus = run.machine.cpus as f64;
    let parts = run.samples.iter().map(|sample| sample.others_cpus);
    let parts: Vec<Option<f64>> = parts.map(|part| part.map(|one| one / cpus)).collect();
    let busy: Vec<f64> = parts
        .iter()
        .flatten()
        .copied()
        .filter(|part| *part > QUIET)
        .collect();
    if parts.iter().any(Option::is_none) {
        out.push_str(
            "\nWhether the machine was quiet is not known: the broker's share of its CPUs is not counted.\n",
        );
    }
    if !busy.is_empty() {
        let most = busy.iter().copied().fold(0.0, f64::max);
        let _ = write!(
            out,
            "\n**The machine was not quiet**: in {} of {} others than the run, or the hypervisor, took more than \
             {:.0} % of its CPUs, {:.0} % at the most. Nothing is to be claimed by this report.\n",
            busy.len(),
            counted(parts.len() as u64, "sample"),
            QUIET * 1e2,
            most * 1e2,
        );
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

#[cfg(test)]
mod tests;
