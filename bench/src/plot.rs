//! Plots as SVG, written by hand: bars with the least and the most, and percentiles of latencies.
//!
//! A logarithmic axis wherever values are further apart than a factor of thirty, and it says so.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::stats::{Spread, short};

/// Its name, and each engine's bar.
pub type Group = (String, Vec<(String, Spread)>);

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 150.0;
const BAR: f64 = 18.0;
const LINEAR_MAX: f64 = 30.0;
/// One for each engine, Pinleaf's first, then by the order of their names; readable to those who see no red or green.
const COLOURS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#b8a800",
];

/// A group of bars for each variant.
#[must_use]
pub fn bars(title: &str, groups: &[Group]) -> String {
    let all = || {
        groups
            .iter()
            .flat_map(|(_, bars)| bars.iter().map(|(_, spread)| *spread))
    };
    let least = all()
        .map(|one| one.least)
        .filter(|one| *one > 0.0)
        .fold(f64::MAX, f64::min);
    let most = all().map(|one| one.most).fold(0.0, f64::max);
    let logarithmic = most > least * LINEAR_MAX;
    let room = WIDTH - LEFT - RIGHT;
    let x = |value: f64| -> f64 {
        if most <= 0.0 {
            0.0
        } else if logarithmic {
            let from = least / 2.0;
            (value.max(from) / from).ln() / (most / from).ln() * room
        } else {
            value / most * room
        }
    };
    let names = names(
        groups
            .iter()
            .flat_map(|(_, bars)| bars.iter().map(|(name, _)| name)),
    );
    let mut body = String::new();
    let mut y = 46.0;
    for (group, bars) in groups {
        let mut bars: Vec<_> = bars.iter().collect();
        bars.sort_by_key(|(engine, _)| !engine.starts_with("pinleaf"));
        text(&mut body, 8.0, y + 12.0, "start", "bold", group);
        y += BAR + 2.0;
        for (engine, spread) in bars {
            let colour = colour(&names, engine);
            let middle = y + BAR / 2.0;
            text(&mut body, LEFT - 8.0, middle + 4.0, "end", "normal", engine);
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                 <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#222\"/>",
                y + 2.0,
                x(spread.median),
                BAR - 4.0,
                LEFT + x(spread.least),
                LEFT + x(spread.most),
            );
            text(
                &mut body,
                LEFT + x(spread.most) + 6.0,
                middle + 4.0,
                "start",
                "normal",
                &short(spread.median),
            );
            y += BAR;
        }
        y += 12.0;
    }
    let scale = if logarithmic { ", logarithmic" } else { "" };
    whole(&format!("{title}{scale}"), y + 6.0, &body)
}

/// A line for each name: µs → how many. Across: the percentile, by the part that is beyond it; up: ms, both
/// logarithmic.
#[must_use]
pub fn percentiles(title: &str, lines: &BTreeMap<String, BTreeMap<u64, u64>>) -> String {
    const HEIGHT: f64 = 420.0;
    const TOP: f64 = 46.0;
    const BOTTOM: f64 = 40.0;
    // Four nines.
    const BEYOND_MIN: f64 = 1e-4;
    let (left, right) = (64.0, 230.0);
    let values = || {
        lines
            .values()
            .flat_map(|line| line.keys().map(|us| *us as f64 / 1e3))
    };
    let least = values().fold(f64::MAX, f64::min).max(1e-3);
    let most = values().fold(least * 2.0, f64::max);
    let (low, high) = (least.log10().floor(), most.log10().ceil());
    let x = |beyond: f64| left + -beyond.max(BEYOND_MIN).log10() / 4.0 * (WIDTH - left - right);
    let y = |ms: f64| {
        let up = (ms.max(1e-3).log10() - low) / (high - low).max(1.0);
        HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)
    };
    let mut body = String::new();
    for (beyond, label) in [
        (1.0, "0"),
        (0.5, "50"),
        (0.1, "90"),
        (0.01, "99"),
        (0.001, "99.9"),
        (1e-4, "99.99"),
    ] {
        let at = x(beyond);
        let _ = writeln!(
            body,
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/>",
            HEIGHT - BOTTOM
        );
        text(
            &mut body,
            at,
            HEIGHT - BOTTOM + 16.0,
            "middle",
            "normal",
            &format!("{label} %"),
        );
    }
    let mut ms = 10_f64.powf(low);
    while ms <= 10_f64.powf(high) * 1.001 {
        let at = y(ms);
        let _ = writeln!(
            body,
            "<path d=\"M{left} {at:.1}H{:.1}\" stroke=\"#ddd\"/>",
            WIDTH - right
        );
        text(&mut body, left - 8.0, at + 4.0, "end", "normal", &short(ms));
        ms *= 10.0;
    }
    let names = names(lines.keys());
    for (place, (name, line)) in lines.iter().enumerate() {
        let total: u64 = line.values().sum();
        let colour = colour(&names, name);
        let mut path = String::new();
        let mut below = 0;
        for (us, count) in line {
            // The part that is at or above this value.
            let beyond = (total - below) as f64 / total.max(1) as f64;
            below += count;
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(beyond), y(*us as f64 / 1e3));
        }
        let _ = writeln!(
            body,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        );
        let at = TOP + 10.0 + place as f64 * 18.0;
        let _ = writeln!(
            body,
            "<path d=\"M{:.1} {at:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>",
            WIDTH - right + 14.0
        );
        text(
            &mut body,
            WIDTH - right + 38.0,
            at + 4.0,
            "start",
            "normal",
            name,
        );
    }
    whole(title, HEIGHT, &body)
}

fn names<'a>(all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let names: std::collections::BTreeSet<String> = all.cloned().collect();
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by_key(|name| !name.starts_with("pinleaf"));
    names
}

fn colour(names: &[String], name: &str) -> &'static str {
    let at = names.iter().position(|one| one == name).unwrap_or(0);
    COLOURS[at % COLOURS.len()]
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, weight: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\">{words}</text>"
    );
}

fn whole(title: &str, height: f64, body: &str) -> String {
    let mut head = String::new();
    text(&mut head, 8.0, 22.0, "start", "bold", title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{head}{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_a_scale_that_fits_them() {
        let spread = |value: f64| Spread::of(&[value, value * 1.1]).unwrap();
        let group = |most: f64| -> Vec<Group> {
            let bars = vec![
                ("a".to_owned(), spread(1.0)),
                ("b<c".to_owned(), spread(most)),
            ];
            vec![("1 & 2".to_owned(), bars)]
        };
        let near = bars("s", &group(2.0));
        assert!(
            !near.contains("logarithmic") && near.contains("b&lt;c") && near.contains("1 &amp; 2")
        );
        assert!(bars("s", &group(100.0)).contains("logarithmic"));
        assert!(bars("s", &[]).ends_with("</svg>\n"));
    }

    #[test]
    fn percentiles_reach_their_greatest_value() {
        let line = BTreeMap::from([(1_000, 990), (2_000, 9), (50_000, 1)]);
        let svg = percentiles("t", &BTreeMap::from([("a".to_owned(), line)]));
        assert!(
            svg.contains("99.9 %") && svg.contains("<path d=\"M"),
            "{svg}"
        );
    }
}
