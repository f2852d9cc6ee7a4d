//! The figures that Pinleaf is to reach, and whether a run says so.

use std::fmt::Write;

use super::{Run, variants};
use crate::metric::by_key;
use crate::sample::Sample;
use crate::stats::{Spread, compare, series, short};

/// What is looked at.
enum Figure {
    /// Pinleaf's own.
    Own,
    /// Another engine's over Pinleaf's.
    Against(&'static str),
    /// Another figure of Pinleaf's own over this one.
    Beside(&'static str),
}

/// One figure of the variants whose names begin so.
struct Reach {
    workload: &'static str,
    variant: &'static str,
    key: &'static str,
    figure: Figure,
    /// Else at least.
    at_most: bool,
    bound: f64,
}

const fn own(
    workload: &'static str,
    variant: &'static str,
    key: &'static str,
    bound: f64,
) -> Reach {
    Reach {
        workload,
        variant,
        key,
        figure: Figure::Own,
        at_most: true,
        bound,
    }
}

const fn against(
    variant: &'static str,
    key: &'static str,
    other: &'static str,
    bound: f64,
) -> Reach {
    Reach {
        figure: Figure::Against(other),
        at_most: false,
        ..own("ingest", variant, key, bound)
    }
}

const ONE: &str = "172-byte orders, 1 partition, none";

const ALL: &[Reach] = &[
    own("ingest", ONE, "cpu_s_per_m", 0.2),
    Reach {
        at_most: false,
        ..own("ingest", ONE, "rows_per_s", 5e6)
    },
    against(ONE, "cpu_s_per_m", "librdkafka-batched", 1.0),
    against(
        "172-byte orders, 1 partition, lz4",
        "cpu_s_per_m",
        "librdkafka-batched",
        1.0,
    ),
    against(
        "172-byte orders, 1 partition, zstd",
        "cpu_s_per_m",
        "librdkafka-batched",
        1.0,
    ),
    against(ONE, "cpu_s_per_m", "clickhouse-tuned", 20.0),
    against(ONE, "cpu_s_per_m", "clickhouse-defaults", 50.0),
    own(
        "ingest",
        "172-byte orders, 4 partitions, none",
        "rss_anon_mb",
        200.0,
    ),
    Reach {
        figure: Figure::Beside("bare_p50_ms"),
        at_most: false,
        ..own("freshness", "1,000 rows/s", "visible_p50_ms", 1.0 / 1.25)
    },
    own("freshness", "1,000 rows/s", "select_p50_ms", 1.0),
    own("freshness", "1,000 rows/s", "select_p99_ms", 5.0),
    own("recovery", "50,000,000 rows", "first_answer_ms", 1_000.0),
    own("footprint", "256 partitions", "idle_cpu_percent", 0.5),
];

/// A line for each of which this run measured something.
pub fn table(out: &mut String, run: &Run) {
    let mut lines = String::new();
    for reach in ALL {
        for (variant, samples) in variants(run, reach.workload) {
            if variant.starts_with(reach.variant)
                && let Some((what, value)) = value(reach, &samples)
            {
                let reached = if reach.at_most {
                    value <= reach.bound
                } else {
                    value >= reach.bound
                };
                let _ = writeln!(
                    lines,
                    "| {}, {variant}: {what} | {} | {} {} | {} |",
                    reach.workload,
                    short(value),
                    if reach.at_most { "≤" } else { "≥" },
                    short(reach.bound),
                    if reached { "yes" } else { "**no**" },
                );
            }
        }
    }
    if !lines.is_empty() {
        let _ = write!(
            out,
            "\n## Figures to reach\n\n| figure | median | to reach | reached |\n|---|---|---|---|\n{lines}"
        );
    }
}

fn value(reach: &Reach, samples: &[&Sample]) -> Option<(String, f64)> {
    let metric = by_key(reach.key)?;
    let values = series(samples.iter().copied(), reach.key);
    match reach.figure {
        Figure::Own => {
            let own: Vec<f64> = values.get("pinleaf")?.values().copied().collect();
            Some((label(reach.key), Spread::of(&own)?.median))
        }
        Figure::Against(other) => {
            let compared = compare(&values, metric, "pinleaf", other)?;
            Some((
                format!("{}, {other} / pinleaf", metric.label),
                compared.ratio.median,
            ))
        }
        Figure::Beside(key) => {
            let mut both = values;
            let beside = series(samples.iter().copied(), key).remove("pinleaf")?;
            both.insert(key.to_owned(), beside);
            let compared = compare(&both, metric, "pinleaf", key)?;
            Some((
                format!("{} / {}", label(key), label(reach.key)),
                compared.ratio.median,
            ))
        }
    }
}

/// Of a percentile the label alone says too little.
fn label(key: &str) -> String {
    let label = by_key(key).map_or("", |metric| metric.label);
    if label.starts_with('p') {
        format!("{label}, {}", key.split('_').next().unwrap_or_default())
    } else {
        label.to_owned()
    }
}
