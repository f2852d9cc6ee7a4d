//! Recovery: Pinleaf is killed with so many rows visible, the last of them not durable, and started again. How long
//! until it answers a query, and until all rows are there again.

use std::time::Instant;

use super::{Bench, Measured, POLL, Peers, STALL, Variant, check, load_until};
use crate::engine::{About, Running};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::shape::Shape;
use crate::topic::{Content, Spread, Topic};

/// One for each number of rows.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let variant = |rows: &u64| Variant {
        workload: "recovery",
        name: format!("{} rows", crate::stats::short(*rows as f64)),
        contents: vec![Content {
            shape: Shape::Orders,
            rows: *rows,
            partitions: 1,
            spread: Spread::Even,
            codec: "none",
        }],
        files: false,
        rate: 0,
        rows: 0,
        partitions: 0,
        leaves: None,
        peers: Peers::None,
    };
    plan.recovery_rows.iter().map(variant).collect()
}

/// Loads, kills, starts.
///
/// # Errors
/// As [`super::measure`].
pub fn measure(
    bench: &Bench<'_>,
    variant: &Variant,
    topics: &[Topic],
) -> Result<(Measured, About), Fault> {
    let (mut running, about) = bench.pinleaf.run(&bench.job(topics, variant))?;
    // Killed as soon as the last row is visible: what is not durable yet has to come again.
    load_until(STALL, false, "pinleaf", &mut running, topics, || {
        bench.broker.cpu()
    })?;
    let began = Instant::now();
    let mut running = running.crash()?;
    // Answered: rows, and not that a leaf partition is not recovered yet.
    while running.rows().is_err() {
        if began.elapsed() > STALL {
            return Err(Fault::failed(
                "pinleaf",
                format!("no answer {STALL:?} after its start"),
            ));
        }
        std::thread::sleep(POLL.0);
    }
    let answered = began.elapsed();
    let wanted: u64 = topics.iter().map(|topic| topic.expected.rows()).sum();
    while running.rows()? < wanted {
        if began.elapsed() > STALL {
            return Err(Fault::Wrong(format!(
                "pinleaf has not caught up after {STALL:?}"
            )));
        }
        std::thread::sleep(POLL.0);
    }
    let caught_up = began.elapsed();
    let checked = check("pinleaf", &mut running, topics)?;
    Box::new(running).stop()?;
    let mut measured = Measured {
        checked,
        rows: wanted,
        ..Measured::default()
    };
    measured.put("first_answer_ms", answered.as_secs_f64() * 1e3);
    measured.put("caught_up_ms", caught_up.as_secs_f64() * 1e3);
    Ok((measured, about))
}
