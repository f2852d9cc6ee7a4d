//! Queries: eight of them, warm, over stored rows, asked by every engine that stores and answers.
//!
//! The rows are orders (table `t`) and, for the join, an eighth as many of two columns with the same ids (`u`).
//! Each engine says the queries in its own words and must give the right answers, which are counted while the rows are
//! made (`queries/truth.rs`), each time that it is asked. A look-up is of another id each time. Timed is from the
//! question to the last row read: over a socket for Pinleaf, over a pipe for what runs inside a peer's program.
//!
//! Nothing is asked before the engine is at rest: what it merges and syncs behind a load is no part of a query.
//!
//! A second variant asks while one more topic of as many orders is loaded into another table as fast as it goes, by
//! the engines that can. Before that the same topic is loaded into a third table with nobody asking, and the queries
//! are asked in quiet: so both ratios are of one sample. Both loads are timed from their first visible row. Whoever asks
//! looks at the load before each query: it was whole halfway between the last two looks.

mod truth;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{
    Bench, Measured, Moves, Peers, STALL, STALL_ASKED, Variant, load, rest, until_visible,
};
use crate::engine::{About, BESIDE, Engine, Running, TABLES};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::shape::{Shape, time_of_row};
use crate::stats::{Spread as Values, geometric_mean};
use crate::topic::{Content, Spread, Topic};
pub use truth::Truth;

/// Rows between the newest and the oldest of the last five minutes.
const RECENT_ROWS: u64 = 100_000;
/// From one id that is looked up to the next: a prime, so that all are reached.
const LOOKUP_STEP: u64 = 1_000_003;

/// By name, in Pinleaf's words, which are MySQL's, but for what an [`Asked`] says.
const QUERIES: [(&str, &str); 8] = [
    ("count", "SELECT COUNT(*) FROM bench.t"),
    (
        "group",
        "SELECT symbol, COUNT(*), SUM(quantity) FROM bench.t GROUP BY symbol ORDER BY symbol",
    ),
    (
        "lookup",
        "SELECT id, user_id, symbol FROM bench.t WHERE id = $ID",
    ),
    (
        "top",
        "SELECT user_id, SUM(quantity) AS q FROM bench.t GROUP BY user_id ORDER BY q DESC, user_id LIMIT 10",
    ),
    (
        "like",
        "SELECT COUNT(*) FROM bench.t WHERE note LIKE '%iceberg%dark%'",
    ),
    (
        "hours",
        "SELECT DATE_FORMAT(created_at, '%Y-%m-%d %H') AS h, COUNT(*) FROM bench.t GROUP BY h ORDER BY h",
    ),
    (
        "recent",
        "SELECT COUNT(*), SUM(quantity) FROM bench.t WHERE created_at >= '$SINCE'",
    ),
    (
        "join",
        "SELECT t.symbol, COUNT(*), SUM(u.v) FROM bench.t AS t JOIN bench.u AS u ON t.id = u.id \
         GROUP BY t.symbol ORDER BY t.symbol",
    ),
];

/// One of them, over a topic.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Asked {
    /// Which.
    pub name: &'static str,
    /// That is looked up.
    pub id: u64,
    /// Five minutes before the newest row.
    pub since: String,
}

impl Asked {
    /// For the so manieth time, of so many rows.
    fn of(name: &'static str, rows: u64, time: u64) -> Asked {
        let row = (rows * 5 / 8 + time * LOOKUP_STEP) % rows.max(1);
        Asked {
            name,
            id: Shape::Orders.first_id() + row,
            since: time_of_row(rows.saturating_sub(RECENT_ROWS)),
        }
    }

    /// All eight.
    fn all(rows: u64, time: u64) -> [Asked; 8] {
        QUERIES.map(|(name, _)| Asked::of(name, rows, time))
    }

    /// In Pinleaf's words.
    #[must_use]
    pub fn sql(&self) -> String {
        let found = QUERIES.iter().find(|(query, _)| *query == self.name);
        let sql = found.map_or("", |(_, sql)| sql);
        sql.replace("$ID", &self.id.to_string())
            .replace("$SINCE", &self.since)
    }
}

/// One for each number of rows.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let content = |shape, rows| Content {
        shape,
        rows,
        partitions: 1,
        spread: Spread::Even,
        codec: "none",
    };
    let variant = |rows: u64, beside: bool| {
        let mut contents = vec![Content::orders(rows, 1), content(Shape::Small, rows / 8)];
        if beside {
            contents.push(Content::orders(rows, 1));
        }
        Variant {
            files: !beside,
            peers: Peers::All,
            ..Variant::new("queries", name(rows, beside), contents)
        }
    };
    let rows = plan.query_rows.iter();
    let mut all: Vec<Variant> = rows.map(|rows| variant(*rows, false)).collect();
    // At the least of the sizes; a quick run has no time for it.
    let some = !plan.quick || plan.tiny;
    let least = plan.query_rows.first().filter(|_| some);
    all.extend(least.map(|rows| variant(*rows, true)));
    all
}

/// Of the variant of so many rows.
#[must_use]
pub fn name(rows: u64, beside: bool) -> String {
    let rows = crate::stats::short(rows as f64);
    let beside = if beside {
        ", while as many are loaded"
    } else {
        ""
    };
    format!("{rows} rows{beside}")
}

/// Loads, then asks each query once to warm up and then again and again.
///
/// # Errors
/// As [`super::measure`].
pub fn measure(
    bench: &Bench<'_>,
    variant: &Variant,
    topics: &[Topic],
    engine: &dyn Engine,
) -> Result<(Measured, About), Fault> {
    let truth = bench.truth.ok_or_else(|| {
        Fault::Usage("queries are asked of rows whose answers are not known".to_owned())
    })?;
    let (stored, beside) = topics.split_at(TABLES.len());
    let (mut running, about) = engine.start(&bench.job(stored, variant))?;
    let broker_cpu = || bench.broker_cpu();
    let (_, checked) = load(engine.name(), running.as_mut(), stored, broker_cpu)?;
    let rows = topics.iter().map(|topic| topic.expected.rows()).sum();
    let mut measured = Measured::new(rows, checked);
    let mut asking = Asking {
        name: engine.name(),
        truth,
        rows: stored[0].expected.rows(),
        times_ms: BTreeMap::new(),
    };
    if let [beside] = beside {
        let [alone, loading] = BESIDE;
        let wanted = beside.expected.rows();
        rest(running.as_ref());
        running.begin_beside(alone, beside)?;
        let mut pace = Pace::new();
        let began = pace.began;
        let rows = |running: &mut dyn Running| {
            let rows = running.rows_beside(alone)?;
            pace.seen(rows);
            Ok(rows)
        };
        let took = until_visible(began, STALL, engine.name(), running.as_mut(), wanted, rows)?;
        measured.put("alone_rows_per_s", pace.rows_per_s(wanted, took));
        let quiet = asking.quiet(running.as_mut(), bench.plan.query_repeats)?;

        running.begin_beside(loading, beside)?;
        let mut pace = Pace::new();
        let mut moves = Moves::new(STALL_ASKED, running.as_ref());
        let mut looked = Duration::ZERO;
        // What is asked when the last row is there, was asked of an engine that loads.
        'load: for time in 1.. {
            for asked in Asked::all(asking.rows, time) {
                let rows = running.rows_beside(loading)?;
                if rows >= wanted {
                    break 'load;
                }
                pace.seen(rows);
                looked = pace.began.elapsed();
                moves.seen(engine.name(), running.as_mut(), rows, wanted)?;
                asking.ask(running.as_mut(), &asked)?;
            }
        }
        let took = (looked + pace.began.elapsed()) / 2;
        measured.put("rows_per_s", pace.rows_per_s(wanted, took));
        for table in BESIDE {
            let tally = running.tally(table, beside)?;
            beside.expected.check(engine.name(), &tally)?;
        }
        let medians = asking.medians();
        let ratios: Vec<f64> = medians
            .iter()
            .filter_map(|(name, ms)| Some(ms / quiet.get(name)?))
            .collect();
        // A load that was over before each query was asked says nothing of those that were not.
        if ratios.len() == QUERIES.len() {
            measured.put("slower", geometric_mean(&ratios));
            measured.put("slower_most", ratios.iter().copied().fold(0.0, f64::max));
        }
        measured.put_queries(&medians);
    } else {
        let medians = asking.quiet(running.as_mut(), bench.plan.query_repeats)?;
        measured.put_queries(&medians);
    }
    running.stop()?;
    Ok((measured, about))
}

impl Measured {
    fn put_queries(&mut self, medians_ms: &BTreeMap<&str, f64>) {
        for (name, ms) in medians_ms {
            self.put(&format!("query_{name}_ms"), *ms);
        }
    }
}

/// How fast a load goes once it goes: from the first look that shows a row. How long a client waits for its first
/// fetch is no part of it.
#[derive(Debug)]
struct Pace {
    began: Instant,
    /// When rows were first seen, and how many.
    first: Option<(Duration, u64)>,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            began: Instant::now(),
            first: None,
        }
    }

    fn seen(&mut self, rows: u64) {
        if rows > 0 && self.first.is_none() {
            self.first = Some((self.began.elapsed(), rows));
        }
    }

    /// Of a load of so many that was whole after so long. All from the beginning, where the first look showed them all.
    fn rows_per_s(&self, wanted: u64, took: Duration) -> f64 {
        let (at, rows) = self
            .first
            .filter(|(at, rows)| *at < took && *rows < wanted)
            .unwrap_or_default();
        (wanted - rows) as f64 / (took - at).as_secs_f64()
    }
}

/// Asks, times, and compares with the right answers.
struct Asking<'a> {
    name: &'a str,
    truth: &'a Truth,
    /// Of the table `t`.
    rows: u64,
    times_ms: BTreeMap<&'static str, Vec<f64>>,
}

impl Asking<'_> {
    /// Each query once to warm up, uncounted, and then so many times in a row, of an engine that is at rest; the
    /// medians.
    fn quiet(
        &mut self,
        running: &mut dyn Running,
        repeats: u32,
    ) -> Result<BTreeMap<&'static str, f64>, Fault> {
        rest(running);
        for asked in Asked::all(self.rows, 0) {
            self.ask(running, &asked)?;
        }
        self.times_ms.clear();
        for (name, _) in QUERIES {
            for time in 1..=u64::from(repeats) {
                self.ask(running, &Asked::of(name, self.rows, time))?;
            }
        }
        Ok(self.medians())
    }

    fn ask(&mut self, running: &mut dyn Running, asked: &Asked) -> Result<(), Fault> {
        let began = Instant::now();
        let answer = running.query(asked)?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        self.truth.check(self.name, asked, &answer)?;
        self.times_ms.entry(asked.name).or_default().push(ms);
        Ok(())
    }

    /// Of what was asked since the last time.
    fn medians(&mut self) -> BTreeMap<&'static str, f64> {
        let times_ms = std::mem::take(&mut self.times_ms).into_iter();
        times_ms
            .filter_map(|(name, times)| Some((name, Values::of(&times)?.median)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_from_the_first_row_on() {
        let mut pace = Pace::new();
        let ms = Duration::from_millis;
        assert_eq!(pace.rows_per_s(1_000, ms(500)), 2_000.0);
        pace.first = Some((ms(400), 100));
        assert_eq!(pace.rows_per_s(1_000, ms(500)), 9_000.0);
        // All at once.
        pace.first = Some((ms(500), 1_000));
        assert_eq!(pace.rows_per_s(1_000, ms(500)), 2_000.0);
    }

    #[test]
    fn every_query_has_its_figure() {
        for (name, _) in QUERIES {
            let asked = Asked::of(name, 8_000_000, 0);
            assert!(!asked.sql().contains('$'), "{}", asked.sql());
            assert!(
                crate::metric::by_key(&format!("query_{name}_ms")).is_some(),
                "{name}"
            );
        }
        let asked = Asked::of("recent", 8_000_000, 0);
        assert_eq!(asked.since, "2026-01-01 06:35:00.000");
        let ids = (0..5).map(|time| Asked::of("lookup", 8_000_000, time).id - 1_000_000_000);
        let expected = [5_000_000, 6_000_003, 7_000_006, 9, 1_000_012];
        assert_eq!(ids.collect::<Vec<_>>(), expected);
    }
}
