//! Which plots a run has.

use std::collections::BTreeMap;

use super::{Run, variants};
use crate::metric;
use crate::plot;
use crate::sample::{Sample, slug};
use crate::stats::{Spread, series};

/// By file name.
pub fn plots(run: &Run) -> Vec<(String, String)> {
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
        let groups: Vec<plot::Group> = metric::queries()
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
        let name = format!("queries-{}.svg", slug(variant));
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
            let name = format!("freshness-{}.svg", slug(variant));
            plots.push((
                name,
                plot::percentiles(&format!("{variant}: ms until a row is seen"), &lines),
            ));
        }
    }
    plots
}
