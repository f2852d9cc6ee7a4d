//! Queries: eight of them, warm, over stored rows, asked by every engine that stores and answers.
//!
//! The rows are orders (table `t`) and, for the join, an eighth as many of two columns with the same ids (`u`).
//! Each engine says the queries in its own words and must give the same answers. Timed is from the question to
//! the last row read: over a socket for Pinleaf, over a pipe for what runs inside a peer's program.
//!
//! A second variant asks the same queries of the same rows while one more topic of as many orders is loaded
//! into another table as fast as it goes, by the engines that can.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Bench, Measured, Peers, STALL, Variant, load};
use crate::engine::{About, BESIDE, Engine, Running, TABLES};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::shape::{Shape, time_of_row};
use crate::stats::Spread as Values;
use crate::topic::{Content, Spread, Topic};

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
    fn of(name: &'static str, rows: u64) -> Asked {
        Asked {
            name,
            id: Shape::Orders.first_id() + rows * 5 / 8,
            since: time_of_row(rows.saturating_sub(100_000)),
        }
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
        let mut contents = vec![
            content(Shape::Orders, rows),
            content(Shape::Small, rows / 8),
        ];
        let mut name = format!("{} rows", crate::stats::short(rows as f64));
        if beside {
            contents.push(content(Shape::Orders, rows));
            name += ", while as many are loaded";
        }
        Variant {
            workload: "queries",
            name,
            contents,
            files: !beside,
            rate: 0,
            rows: 0,
            partitions: 0,
            leaves: None,
            peers: Peers::All,
        }
    };
    let rows = plan.query_rows.iter();
    let mut all: Vec<Variant> = rows.map(|rows| variant(*rows, false)).collect();
    // At the least of the sizes; a quick run has no time for it.
    let some = !plan.quick || plan.tiny;
    all.extend(
        plan.query_rows
            .first()
            .filter(|_| some)
            .map(|rows| variant(*rows, true)),
    );
    all
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
    let (stored, beside) = topics.split_at(TABLES.len());
    let (mut running, about) = engine.start(&bench.job(stored, variant))?;
    let cpu = || bench.broker.cpu();
    let (_, checked) = load(engine.name(), running.as_mut(), stored, cpu)?;
    let mut measured = Measured {
        checked,
        rows: topics.iter().map(|topic| topic.expected.rows()).sum(),
        ..Measured::default()
    };
    let all = QUERIES.map(|(name, _)| Asked::of(name, stored[0].expected.rows()));
    let mut times_ms = BTreeMap::<&str, Vec<f64>>::new();
    for asked in &all {
        let answer = running.query(asked)?;
        measured.answers.insert(asked.name.to_owned(), answer);
    }
    if let [beside] = beside {
        let (began, wanted) = (Instant::now(), beside.expected.rows());
        running.begin_beside(beside)?;
        let (mut last, mut moved) = (0, began);
        // What is asked when the last row is there, was asked of an engine that loads.
        for asked in all.iter().cycle() {
            let rows = running.rows_beside()?;
            if rows >= wanted {
                break;
            }
            if rows != last {
                (last, moved) = (rows, Instant::now());
            }
            if moved.elapsed() > STALL {
                let name = engine.name();
                return Err(Fault::Wrong(format!(
                    "{name} stands still at {rows} of {wanted} rows"
                )));
            }
            times_ms
                .entry(asked.name)
                .or_default()
                .push(timed(running.as_mut(), asked)?);
        }
        measured.put("rows_per_s", wanted as f64 / began.elapsed().as_secs_f64());
        beside
            .expected
            .check(engine.name(), &running.tally(BESIDE, beside)?)?;
    } else {
        for asked in &all {
            for _ in 0..bench.plan.query_repeats {
                times_ms
                    .entry(asked.name)
                    .or_default()
                    .push(timed(running.as_mut(), asked)?);
            }
        }
    }
    for (name, times_ms) in times_ms {
        if let Some(spread) = Values::of(&times_ms) {
            measured.put(&format!("query_{name}_ms"), spread.median);
        }
    }
    running.stop()?;
    Ok((measured, about))
}

fn timed(running: &mut dyn Running, asked: &Asked) -> Result<f64, Fault> {
    let began = Instant::now();
    running.query(asked)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_its_figure() {
        for (name, _) in QUERIES {
            let asked = Asked::of(name, 8_000_000);
            assert!(!asked.sql().contains('$'), "{}", asked.sql());
            assert!(
                crate::metric::by_key(&format!("query_{name}_ms")).is_some(),
                "{name}"
            );
        }
        assert_eq!(
            Asked::of("recent", 8_000_000).since,
            "2026-01-01 06:35:00.000"
        );
    }
}
