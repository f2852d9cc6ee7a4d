//! Queries: eight of them, warm, over stored rows, asked by every engine that stores and answers.
//!
//! The rows are orders (table `t`) and, for the join, an eighth as many of two columns with the same ids (`u`).
//! Each engine says the queries in its own words and must give the same answers. Timed is from the question to
//! the last row read: over a socket for Pinleaf, over a pipe for what runs inside a peer's program.

use std::time::Instant;

use super::{Bench, Measured, Peers, Variant, load};
use crate::engine::{About, Engine};
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
    let variant = |rows: &u64| Variant {
        workload: "queries",
        name: format!("{} rows", crate::stats::short(*rows as f64)),
        contents: vec![
            content(Shape::Orders, *rows),
            content(Shape::Small, rows / 8),
        ],
        files: true,
        rate: 0,
        rows: 0,
        partitions: 0,
        leaves: None,
        peers: Peers::All,
    };
    plan.query_rows.iter().map(variant).collect()
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
    let (mut running, about) = engine.start(&bench.job(topics, variant))?;
    let cpu = || bench.broker.cpu();
    let (_, checked) = load(engine.name(), running.as_mut(), topics, cpu)?;
    let mut measured = Measured {
        checked,
        rows: topics.iter().map(|topic| topic.expected.rows()).sum(),
        ..Measured::default()
    };
    for (name, _) in QUERIES {
        let asked = Asked::of(name, topics[0].expected.rows());
        let answer = running.query(&asked)?;
        let mut times_ms = Vec::new();
        for _ in 0..bench.plan.query_repeats {
            let began = Instant::now();
            running.query(&asked)?;
            times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        if let Some(spread) = Values::of(&times_ms) {
            measured.put(&format!("query_{name}_ms"), spread.median);
        }
        measured.answers.insert(name.to_owned(), answer);
    }
    running.stop()?;
    Ok((measured, about))
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
