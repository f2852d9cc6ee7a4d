//! The figures that Pinleaf is to reach, a line for each, and whether this run says so.
//!
//! A figure is Pinleaf's own, or a ratio within a round. It is **reached** or **not reached** where it differs from its
//! bound by more than the noise, **equal within noise** to it where it does not, **unclear** where there are too few
//! rounds, and **not measured** where this run has no sample of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Run, variants};
use crate::metric::{self, by_key};
use crate::sample::Sample;
use crate::shape::Shape;
use crate::stats::{ROUNDS_MIN, Spread, compare_rounds, geometric_mean, series, short};
use crate::topic::Content;
use crate::workloads::{footprint, freshness, ingest, queries, recovery};

/// Rows of the variants that the goals are about.
const QUERY_ROWS: u64 = 8_000_000;
const RECOVERY_ROWS: u64 = 50_000_000;
/// CPUs from which on queries have some that no leaf and no broker has.
const OWN_CPUS_MIN: usize = 4;
/// Whose better one, query by query, Pinleaf's queries are measured by.
const HOUSES: [&str; 2] = ["clickhouse", "duckdb"];

/// A figure by round.
type Rounds = BTreeMap<u32, f64>;

/// One line.
struct Line {
    what: String,
    figure: Option<Measured>,
    bound: f64,
    at_most: bool,
}

/// A figure of so many rounds, and its noise.
struct Measured {
    value: Spread,
    rounds: usize,
    noise: f64,
}

impl Measured {
    fn of(rounds: &Rounds) -> Option<Measured> {
        let values: Vec<f64> = rounds.values().copied().collect();
        let value = Spread::of(&values)?;
        Some(Measured {
            value,
            rounds: values.len(),
            noise: value.noise,
        })
    }

    /// `first / second`, round by round.
    fn ratio(first: Option<&Rounds>, second: Option<&Rounds>) -> Option<Measured> {
        let compared = compare_rounds(second?, first?, true)?;
        Some(Measured {
            value: compared.ratio,
            rounds: compared.rounds,
            noise: compared.noise,
        })
    }
}

/// Takes figures out of a run.
struct Look<'a>(&'a Run);

impl Look<'_> {
    fn samples(&self, workload: &str, variant: &str) -> Vec<&Sample> {
        variants(self.0, workload)
            .remove(variant)
            .unwrap_or_default()
    }

    fn rounds(&self, workload: &str, variant: &str, engine: &str, key: &str) -> Option<Rounds> {
        series(self.samples(workload, variant), key).remove(engine)
    }

    fn own(&self, workload: &str, variant: &str, key: &str) -> Option<Measured> {
        Measured::of(&self.rounds(workload, variant, "pinleaf", key)?)
    }

    /// Of each round Pinleaf's time over that of the better of both houses, query by query; of these whatever `pick`
    /// makes.
    fn houses(&self, pick: fn(&[f64]) -> f64) -> Option<Measured> {
        let samples = self.samples("queries", &queries::name(QUERY_ROWS, false));
        let mut ratios = BTreeMap::<u32, Vec<f64>>::new();
        let mut queries = 0;
        for metric in metric::queries() {
            queries += 1;
            let all = series(samples.iter().copied(), metric.key);
            let of_house = |house: &&str| {
                let found = all.iter().find(|(name, _)| name.starts_with(*house));
                found.map(|(_, rounds)| rounds)
            };
            let houses: Vec<&Rounds> = HOUSES.iter().filter_map(of_house).collect();
            if houses.len() < HOUSES.len() {
                return None;
            }
            for (round, ms) in all.get("pinleaf")? {
                let theirs: Option<Vec<f64>> =
                    houses.iter().map(|one| one.get(round).copied()).collect();
                let better = theirs?.into_iter().fold(f64::MAX, f64::min);
                ratios.entry(*round).or_default().push(ms / better);
            }
        }
        ratios.retain(|_, each| each.len() == queries);
        let rounds = ratios.iter().map(|(round, each)| (*round, pick(each)));
        Measured::of(&rounds.collect())
    }
}

impl Line {
    fn at_most(what: impl Into<String>, figure: Option<Measured>, bound: f64) -> Line {
        Line {
            what: what.into(),
            figure,
            bound,
            at_most: true,
        }
    }

    fn at_least(what: impl Into<String>, figure: Option<Measured>, bound: f64) -> Line {
        Line {
            at_most: false,
            ..Line::at_most(what, figure, bound)
        }
    }
}

/// Every figure of the goals.
fn lines(run: &Run) -> Vec<Line> {
    let look = Look(run);
    let mut lines = against_others(&look);
    lines.extend(by_shape(&look));
    lines.extend(fresh(&look));
    lines.extend(asked(&look));
    lines.extend(by_itself(&look));
    lines
}

fn orders(partitions: u32, codec: &'static str) -> String {
    let content = Content {
        codec,
        ..Content::orders(0, partitions)
    };
    content.name()
}

fn against_others(look: &Look<'_>) -> Vec<Line> {
    let one = orders(1, "none");
    let own = |key| look.own("ingest", &one, key);
    let mut lines = vec![
        Line::at_most(
            format!("ingest, {one}: CPU-s per million rows"),
            own("cpu_s_per_m"),
            0.2,
        ),
        Line::at_least(format!("ingest, {one}: rows/s"), own("rows_per_s"), 5e6),
    ];
    let cpu = |variant: &str, engine: &str| look.rounds("ingest", variant, engine, "cpu_s_per_m");
    for codec in ["none", "lz4", "zstd"] {
        let variant = orders(1, codec);
        let (own, discard) = (
            cpu(&variant, "pinleaf"),
            cpu(&variant, "librdkafka-batched"),
        );
        lines.push(Line::at_most(
            format!("ingest, {variant}: CPU a row, pinleaf / librdkafka-batched"),
            Measured::ratio(own.as_ref(), discard.as_ref()),
            1.0,
        ));
    }
    for (other, bound) in [("clickhouse-tuned", 20.0), ("clickhouse-defaults", 50.0)] {
        let (own, theirs) = (cpu(&one, "pinleaf"), cpu(&one, other));
        lines.push(Line::at_least(
            format!("ingest, {one}: CPU a row, {other} / pinleaf"),
            Measured::ratio(theirs.as_ref(), own.as_ref()),
            bound,
        ));
    }
    lines
}

/// Variants against the plain one, all on one leaf and measured round by round together.
fn by_shape(look: &Look<'_>) -> Vec<Line> {
    let figure = |shape, partitions, key| {
        let content = Content {
            shape,
            ..Content::orders(0, partitions)
        };
        let variant = content.name() + ingest::ONE_LEAF;
        look.rounds("ingest", &variant, "pinleaf", key)
    };
    let strange = figure(Shape::Strange, 1, "cpu_s_per_m");
    let plain = figure(Shape::Orders, 1, "cpu_s_per_m");
    let mut lines = vec![Line::at_most(
        "ingest, one leaf: CPU a row with unknown keys, escapes and another order of keys / a plain row's",
        Measured::ratio(strange.as_ref(), plain.as_ref()),
        1.5,
    )];
    let one = figure(Shape::Orders, 1, "rows_per_s");
    for (partitions, bound) in [(4, 0.95), (256, 0.8)] {
        let some = figure(Shape::Orders, partitions, "rows_per_s");
        lines.push(Line::at_least(
            format!("ingest, one leaf: rows/s of {partitions} partitions / of 1"),
            Measured::ratio(some.as_ref(), one.as_ref()),
            bound,
        ));
    }
    lines
}

fn asked(look: &Look<'_>) -> Vec<Line> {
    let quiet = queries::name(QUERY_ROWS, false);
    let mut lines = vec![
        Line::at_most(
            format!(
                "queries, {quiet}: geometric mean over the better of ClickHouse and DuckDB, query by query"
            ),
            look.houses(geometric_mean),
            1.0,
        ),
        Line::at_most(
            "the same: the worst query",
            look.houses(|ratios| ratios.iter().copied().fold(0.0, f64::max)),
            2.0,
        ),
    ];
    let variant = queries::name(QUERY_ROWS, true);
    let cpus = look.0.machine.cpus;
    let what = if cpus < OWN_CPUS_MIN {
        format!("queries, {variant}, on {cpus} CPUs, which leave queries none of their own")
    } else {
        format!("queries, {variant}")
    };
    for (key, which) in [
        ("slower", "geometric mean"),
        ("slower_most", "the worst query"),
    ] {
        lines.push(Line::at_most(
            format!("{what}: while loading / quiet, {which}"),
            look.own("queries", &variant, key),
            1.5,
        ));
    }
    let rate = |key| look.rounds("queries", &variant, "pinleaf", key);
    let (beside, alone) = (rate("rows_per_s"), rate("alone_rows_per_s"));
    lines.push(Line::at_least(
        format!("{what}: rows/s beside queries / alone"),
        Measured::ratio(beside.as_ref(), alone.as_ref()),
        0.9,
    ));
    lines
}

fn by_itself(look: &Look<'_>) -> [Line; 3] {
    let line = |workload, variant: String, key: &str, bound| {
        let name = by_key(key).map_or(String::new(), metric::Metric::name);
        let figure = look.own(workload, &variant, key);
        Line::at_most(format!("{workload}, {variant}: {name}"), figure, bound)
    };
    let recovered = recovery::name(RECOVERY_ROWS);
    [
        line("ingest", orders(4, "none"), "rss_anon_mb", 200.0),
        line("recovery", recovered, "first_answer_ms", 1_000.0),
        line("footprint", footprint::name(256), "idle_cpu_percent", 0.5),
    ]
}

fn fresh(look: &Look<'_>) -> [Line; 3] {
    let variant = freshness::name(1_000);
    let rounds = |key| look.rounds("freshness", &variant, "pinleaf", key);
    let (visible, bare) = (rounds("visible_p50_ms"), rounds("bare_p50_ms"));
    let own = |key: &str, bound| {
        let name = by_key(key).map_or(String::new(), metric::Metric::name);
        let figure = look.own("freshness", &variant, key);
        Line::at_most(format!("freshness, {variant}: {name}"), figure, bound)
    };
    [
        Line::at_most(
            format!("freshness, {variant}: to visible, p50 / the bare consumer's beside it"),
            Measured::ratio(visible.as_ref(), bare.as_ref()),
            1.25,
        ),
        own("select_p50_ms", 1.0),
        own("select_p99_ms", 5.0),
    ]
}

/// A line for each, measured or not.
pub fn table(out: &mut String, run: &Run) {
    out.push_str("\n## Figures to reach\n\n| figure | median | to reach | |\n|---|---|---|---|\n");
    for line in lines(run) {
        let said = line.figure.as_ref().map_or(String::new(), |figure| {
            let (least, most) = (short(figure.value.least), short(figure.value.most));
            match least == most {
                true => short(figure.value.median),
                false => format!("{} ({least}–{most})", short(figure.value.median)),
            }
        });
        let _ = writeln!(
            out,
            "| {} | {said} | {} {} | {} |",
            line.what,
            if line.at_most { "≤" } else { "≥" },
            short(line.bound),
            verdict(&line),
        );
    }
}

fn verdict(line: &Line) -> &'static str {
    let Some(figure) = &line.figure else {
        return "not measured";
    };
    let off = figure.value.median / line.bound - 1.0;
    if figure.rounds < ROUNDS_MIN {
        "unclear: too few rounds"
    } else if off.abs() <= figure.noise {
        "equal within noise"
    } else if (off < 0.0) == line.at_most {
        "reached"
    } else {
        "**not reached**"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{run, sample_of};

    fn said(samples: Vec<Sample>) -> Vec<String> {
        let mut run = run();
        run.samples = samples;
        let mut out = String::new();
        table(&mut out, &run);
        let lines = out.lines().skip(5).map(str::to_owned);
        lines.collect()
    }

    fn line(lines: &[String], has: &str) -> String {
        let mut found = lines.iter().filter(|line| line.contains(has));
        let line = found.next().unwrap_or_else(|| panic!("no line: {has}"));
        assert!(found.next().is_none(), "two lines: {has}");
        line.clone()
    }

    #[test]
    fn a_run_of_nothing_has_every_line() {
        let lines = said(Vec::new());
        assert_eq!(lines.len(), 21);
        assert!(
            lines.iter().all(|line| line.ends_with("| not measured |")),
            "{lines:?}"
        );
    }

    /// A figure of every engine in three rounds that differ by a hundredth.
    fn three(workload: &str, variant: &str, engines: &[(&str, &[(&str, f64)])]) -> Vec<Sample> {
        let mut samples = Vec::new();
        for round in 1..=3 {
            for (engine, metrics) in engines {
                let swing = 1.0 + f64::from(round - 2) * 0.01;
                let metrics: Vec<_> = metrics
                    .iter()
                    .map(|(key, value)| (*key, value * swing))
                    .collect();
                samples.push(sample_of(workload, variant, engine, round, &metrics));
            }
        }
        samples
    }

    #[test]
    fn a_ratio_is_reached_missed_or_within_the_noise() {
        let one = Content::orders(0, 1).name();
        let cpu = |value: f64| [("cpu_s_per_m", value)];
        for (own, said_of_it) in [
            (0.15, "reached"),
            (0.199, "equal within noise"),
            (0.3, "**not reached**"),
        ] {
            let lines = said(three(
                "ingest",
                &one,
                &[
                    ("pinleaf", &cpu(own)),
                    ("librdkafka-batched", &cpu(0.2)),
                    ("clickhouse-tuned", &cpu(4.0)),
                ],
            ));
            let against = line(&lines, "none: CPU a row, pinleaf / librdkafka-batched");
            assert!(
                against.ends_with(&format!("| ≤ 1.00 | {said_of_it} |")),
                "{against}"
            );
            assert!(line(&lines, "clickhouse-defaults").ends_with("not measured |"));
        }
        let lines = said(three(
            "ingest",
            &one,
            &[("pinleaf", &cpu(0.1)), ("clickhouse-tuned", &cpu(4.0))],
        ));
        assert!(line(&lines, "clickhouse-tuned / pinleaf").contains("| 40.0 | ≥ 20.0 | reached |"));
    }

    #[test]
    fn variants_are_compared_with_one_another() {
        let plain = Content::orders(0, 1).name() + ingest::ONE_LEAF;
        let four = Content::orders(0, 4).name() + ingest::ONE_LEAF;
        let strange = Content {
            shape: Shape::Strange,
            ..Content::orders(0, 1)
        };
        let strange = strange.name() + ingest::ONE_LEAF;
        let metrics = |cpu: f64, rows: f64| [("cpu_s_per_m", cpu), ("rows_per_s", rows)];
        let mut samples = three("ingest", &plain, &[("pinleaf", &metrics(0.2, 5e6))]);
        samples.extend(three("ingest", &four, &[("pinleaf", &metrics(0.2, 4e6))]));
        samples.extend(three(
            "ingest",
            &strange,
            &[("pinleaf", &metrics(0.25, 4e6))],
        ));
        let lines = said(samples);
        assert!(line(&lines, "of 4 partitions").contains("| 0.800 | ≥ 0.950 | **not reached** |"));
        assert!(line(&lines, "unknown keys").contains("| 1.25 | ≤ 1.50 | reached |"));
        assert!(line(&lines, "of 256 partitions").ends_with("not measured |"));
    }

    #[test]
    fn queries_are_measured_by_the_better_house_query_by_query() {
        let variant = queries::name(QUERY_ROWS, false);
        let metrics = |first: f64, rest: f64| -> Vec<(&str, f64)> {
            let keys = metric::queries().enumerate();
            keys.map(|(at, metric)| (metric.key, if at == 0 { first } else { rest }))
                .collect()
        };
        let engines = |houses: &[(&str, Vec<(&'static str, f64)>)]| {
            let own = metrics(3.0, 5.0);
            let mut all: Vec<(&str, &[(&str, f64)])> = vec![("pinleaf", &own)];
            all.extend(
                houses
                    .iter()
                    .map(|(name, metrics)| (*name, metrics.as_slice())),
            );
            said(three("queries", &variant, &all))
        };
        let click = metrics(1.0, 100.0);
        let duck = metrics(100.0, 10.0);
        let lines = engines(&[
            ("clickhouse-tuned", click.clone()),
            ("duckdb-defaults", duck),
        ]);
        // Once three times as long, seven times half as long.
        let mean = geometric_mean(&[3.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
        assert!(
            line(&lines, "geometric mean over the better")
                .contains(&format!("| {} | ≤ 1.00 | reached |", short(mean)))
        );
        assert!(
            line(&lines, "the same: the worst query")
                .contains("| 3.00 | ≤ 2.00 | **not reached** |")
        );
        let lines = engines(&[("clickhouse-tuned", click)]);
        assert!(line(&lines, "geometric mean over the better").ends_with("not measured |"));
    }

    #[test]
    fn loading_beside_queries_is_measured_within_a_sample() {
        let variant = queries::name(QUERY_ROWS, true);
        let metrics = [
            ("slower", 1.2),
            ("slower_most", 1.9),
            ("rows_per_s", 4e6),
            ("alone_rows_per_s", 5e6),
        ];
        let lines = said(three("queries", &variant, &[("pinleaf", &metrics)]));
        assert!(
            line(&lines, "quiet, geometric mean").contains("on 2 CPUs, which leave queries none")
        );
        assert!(line(&lines, "quiet, geometric mean").ends_with("| ≤ 1.50 | reached |"));
        assert!(line(&lines, "quiet, the worst query").ends_with("**not reached** |"));
        assert!(line(&lines, "beside queries / alone").contains("| 0.800 | ≥ 0.900 |"));
    }
}
