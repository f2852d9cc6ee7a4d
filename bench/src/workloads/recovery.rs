//! Recovery: Pinleaf is killed with so many rows visible, the last of them not durable, and started again. How long
//! until it answers a query, and until all rows are there again.
//!
//! What is answered first must hold at least the rows that were durable before the kill. A kill is no power cut: the
//! kernel keeps what was written, and its page cache is warm.

use std::time::Instant;

use super::{Bench, Measured, Moves, POLL, STALL, STALL_ASKED, Variant, check, load_until};
use crate::engine::{About, Running};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::topic::{Content, Topic};

/// One for each number of rows.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let variant =
        |rows: &u64| Variant::new("recovery", name(*rows), vec![Content::orders(*rows, 1)]);
    plan.recovery_rows.iter().map(variant).collect()
}

/// Of the variant of so many rows.
#[must_use]
pub fn name(rows: u64) -> String {
    format!("{} rows", crate::stats::short(rows as f64))
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
    let broker_cpu = || bench.broker_cpu();
    load_until(STALL, false, "pinleaf", &mut running, topics, broker_cpu)?;
    let durable = running.durable_rows()?;
    let began = Instant::now();
    let mut running = running.crash()?;
    // Answered: rows, and not that a leaf partition is not recovered yet.
    let first = loop {
        match running.rows() {
            Ok(rows) => break rows,
            Err(fault) if began.elapsed() > STALL.still => return Err(fault),
            Err(_) => std::thread::sleep(POLL),
        }
    };
    let answered = began.elapsed();
    if first < durable {
        return Err(Fault::Wrong(format!(
            "pinleaf answers {first} rows, of which {durable} were durable when it was killed"
        )));
    }
    let wanted: u64 = topics.iter().map(|topic| topic.expected.rows()).sum();
    let mut moves = Moves::new(STALL_ASKED, &running);
    loop {
        let rows = running.rows()?;
        if rows >= wanted {
            break;
        }
        moves.seen("pinleaf", &mut running, rows, wanted)?;
        std::thread::sleep(POLL);
    }
    let caught_up = began.elapsed();
    let checked = check("pinleaf", &mut running, topics)?;
    Box::new(running).stop()?;
    let mut measured = Measured::new(wanted, checked);
    measured.put("first_answer_ms", answered.as_secs_f64() * 1e3);
    measured.put("caught_up_ms", caught_up.as_secs_f64() * 1e3);
    measured.put("lost_rows", wanted.saturating_sub(durable) as f64);
    Ok((measured, about))
}
