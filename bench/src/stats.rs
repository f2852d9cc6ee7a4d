//! What may be said of a handful of samples.
//!
//! A figure is the median of its rounds, with the least and the most. Two engines are compared **within a
//! round**: the ratio of their samples of the same round, and of these the median, least and most. They are
//! called equal where the rounds disagree about who is better, or where the median ratio differs from 1 by no
//! more than the noise: the larger of the two engines' own median deviations from their medians. Of fewer than three
//! rounds nothing is called anything.

use std::collections::BTreeMap;

use crate::metric::Metric;
use crate::sample::Sample;

/// Median, least, most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle, or the mean of the two in the middle.
    pub median: f64,
    /// Of all.
    pub least: f64,
    /// Of all.
    pub most: f64,
    /// How far samples are from the median, on the median, as a part of it.
    pub noise: f64,
}

impl Spread {
    /// `None` of nothing.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let median = middle(&sorted);
        let mut off: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        off.sort_by(f64::total_cmp);
        let noise = if median == 0.0 {
            0.0
        } else {
            middle(&off) / median.abs()
        };
        Some(Spread {
            median,
            least,
            most,
            noise,
        })
    }
}

/// Of ratios. 1 of none.
#[must_use]
pub fn geometric_mean(ratios: &[f64]) -> f64 {
    let sum: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (sum / ratios.len().max(1) as f64).exp()
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    }
}

/// How one engine stands to another in one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Too few rounds to say so.
    Unclear,
    /// They differ by less than the noise.
    Equal,
    /// The first is better.
    Better,
    /// The first is worse.
    Worse,
}

/// Rounds that a verdict needs: two agree by chance half the time.
pub const ROUNDS_MIN: usize = 3;

/// The first engine's samples against the second's, round by round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The second's over the first's.
    pub ratio: Spread,
    /// That both have.
    pub rounds: usize,
    /// The larger of the two engines' own.
    pub noise: f64,
    /// Of the first.
    pub verdict: Verdict,
}

/// One figure of one variant: engine → round → value. Without the warm-up, and without what was wrong.
pub type Series = BTreeMap<String, BTreeMap<u32, f64>>;

/// Takes a figure out of samples.
#[must_use]
pub fn series<'a>(samples: impl IntoIterator<Item = &'a Sample>, key: &str) -> Series {
    let mut series = Series::new();
    for sample in samples {
        if sample.round > 0
            && sample.checked.is_ok()
            && let Some(value) = sample.metrics.get(key)
        {
            let of_engine = series.entry(sample.engine.clone()).or_default();
            of_engine.insert(sample.round, *value);
        }
    }
    series
}

/// `None` where they share no round, or a value is not above zero.
#[must_use]
pub fn compare(series: &Series, metric: &Metric, first: &str, second: &str) -> Option<Comparison> {
    compare_rounds(
        series.get(first)?,
        series.get(second)?,
        metric.less_is_better,
    )
}

/// The same of two figures by round.
#[must_use]
pub fn compare_rounds(
    first: &BTreeMap<u32, f64>,
    second: &BTreeMap<u32, f64>,
    less_is_better: bool,
) -> Option<Comparison> {
    let mut ratios = Vec::new();
    for (round, value) in first {
        let Some(other) = second.get(round) else {
            continue;
        };
        if *value <= 0.0 || *other <= 0.0 {
            return None;
        }
        ratios.push(other / value);
    }
    let values = |of: &BTreeMap<u32, f64>| of.values().copied().collect::<Vec<_>>();
    let noise = Spread::of(&values(first))?
        .noise
        .max(Spread::of(&values(second))?.noise);
    let ratio = Spread::of(&ratios)?;
    let agree = ratio.least > 1.0 || ratio.most < 1.0;
    let verdict = if ratios.len() < ROUNDS_MIN {
        Verdict::Unclear
    } else if !agree || (ratio.median - 1.0).abs() <= noise {
        Verdict::Equal
    } else if (ratio.median > 1.0) == less_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    Some(Comparison {
        ratio,
        rounds: ratios.len(),
        noise,
        verdict,
    })
}

/// Three digits that matter, thousands apart.
#[must_use]
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if rest.is_empty() {
        out
    } else {
        format!("{out}.{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::by_key;

    #[test]
    fn a_spread_is_median_least_most_and_noise() {
        assert_eq!(Spread::of(&[]), None);
        let spread = Spread::of(&[4.0, 1.0, 2.0, 100.0, 3.0]).unwrap();
        assert_eq!(
            (spread.median, spread.least, spread.most),
            (3.0, 1.0, 100.0)
        );
        assert_eq!(spread.noise, 1.0 / 3.0);
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
    }

    fn of(first: &[f64], second: &[f64]) -> Series {
        let rounds = |values: &[f64]| (1..).zip(values.iter().copied()).collect();
        let series = [("a", first), ("b", second)];
        series
            .into_iter()
            .map(|(name, values)| (name.to_owned(), rounds(values)))
            .collect()
    }

    fn verdict(key: &str, first: &[f64], second: &[f64]) -> Option<Verdict> {
        let metric = by_key(key).unwrap();
        compare(&of(first, second), metric, "a", "b").map(|compared| compared.verdict)
    }

    #[test]
    fn less_than_the_noise_is_equal_and_rounds_must_agree() {
        let steady = [1.0, 1.01, 0.99, 1.0, 1.0];
        let half = [0.5, 0.5, 0.51, 0.5, 0.5];
        assert_eq!(
            verdict("cpu_s_per_m", &half, &steady),
            Some(Verdict::Better)
        );
        assert_eq!(verdict("cpu_s_per_m", &steady, &half), Some(Verdict::Worse));
        assert_eq!(verdict("rows_per_s", &steady, &half), Some(Verdict::Better));
        assert_eq!(
            verdict("cpu_s_per_m", &steady, &steady),
            Some(Verdict::Equal)
        );
        // Each round the same way, but by less than the samples themselves swing.
        let swings = [1.0, 1.4, 0.7, 1.3, 0.8];
        let above = [1.1, 1.5, 0.75, 1.4, 0.9];
        assert_eq!(
            verdict("cpu_s_per_m", &swings, &above),
            Some(Verdict::Equal)
        );
        // Far apart on the median, but one round says otherwise.
        let once = [3.0, 3.0, 3.0, 3.0, 0.9];
        assert_eq!(verdict("cpu_s_per_m", &steady, &once), Some(Verdict::Equal));
        let unclear = Some(Verdict::Unclear);
        assert_eq!(verdict("cpu_s_per_m", &[1.0], &[9.0]), unclear);
        assert_eq!(verdict("cpu_s_per_m", &[1.0, 1.0], &[9.0, 9.0]), unclear);
        assert_eq!(
            verdict("cpu_s_per_m", &[1.0], &[]),
            None,
            "no round in common"
        );
        assert_eq!(verdict("cpu_s_per_m", &[0.0], &[9.0]), None);
    }

    #[test]
    fn a_geometric_mean_does_not_care_which_of_two_is_turned_over() {
        assert!((geometric_mean(&[4.0, 1.0]) - 2.0).abs() < 1e-12);
        assert!((geometric_mean(&[2.0, 0.5]) - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), 1.0);
    }

    #[test]
    fn figures_are_short() {
        let said = [
            0.0,
            0.001_234,
            0.1234,
            9.876,
            12.34,
            123.4,
            4_821_223.0,
            -1_234.0,
        ]
        .map(short);
        let expected = [
            "0",
            "0.00123",
            "0.123",
            "9.88",
            "12.3",
            "123",
            "4,821,223",
            "-1,234",
        ];
        assert_eq!(said, expected);
    }
}
