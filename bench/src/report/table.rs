//! A table for each variant: figures with their spread, and each engine's ratio to Pinleaf's.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::figures;
use crate::sample::Sample;
use crate::stats::{Spread, Verdict, compare, short};

/// Engines are rows, Pinleaf first.
pub fn table(out: &mut String, variant: &str, samples: &[&Sample]) {
    let figures: Vec<_> = figures(samples).collect();
    let mut engines: Vec<&String> = figures
        .iter()
        .flat_map(|(_, series)| series.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    engines.sort_by_key(|engine| (*engine != "pinleaf", (*engine).clone()));
    let rounds: BTreeSet<u32> = samples.iter().map(|sample| sample.round).collect();
    let rounds = rounds.iter().filter(|round| **round > 0).count();
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
        let of_engine = samples
            .iter()
            .filter(|one| one.engine == **engine && one.round > 0);
        let checked: Vec<&str> = of_engine
            .filter_map(|sample| Some(sample.checked.as_ref().ok()?.as_str()))
            .collect();
        let by: BTreeSet<&str> = checked.iter().copied().collect();
        let by: Vec<_> = by.into_iter().collect();
        let _ = write!(out, " {}", by.join("; "));
        if checked.len() < rounds {
            let _ = write!(out, " ({} of {rounds} rounds)", checked.len());
        }
        out.push_str(" |\n");
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
                Some(compared) if compared.verdict == Verdict::Unclear => {
                    some = true;
                    let _ = write!(cells, " unclear, {} |", times(&compared.ratio));
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
pub fn times(ratio: &Spread) -> String {
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
