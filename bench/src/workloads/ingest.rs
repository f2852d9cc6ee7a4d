//! Ingest: how much CPU, time and memory it takes to load what stands in a topic.

use super::{Bench, Measured, Peers, SETTLE_POLL, Variant, load};
use crate::engine::{About, Engine};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::shape::Shape;
use crate::topic::{Content, Spread, Topic};

/// The workload's.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let orders = |partitions, codec| Content {
        shape: Shape::Orders,
        rows: plan.ingest_rows,
        partitions,
        spread: Spread::Even,
        codec,
    };
    if plan.tiny {
        return vec![variant(orders(4, "lz4"), Peers::All)];
    }
    let mut all = vec![variant(orders(1, "none"), Peers::All)];
    if plan.quick {
        return all;
    }
    for (partitions, codec) in [
        (1, "lz4"),
        (1, "zstd"),
        (4, "none"),
        (4, "lz4"),
        (4, "zstd"),
    ] {
        all.push(variant(orders(partitions, codec), Peers::All));
    }
    let more = |shape, rows, partitions, spread| {
        let content = Content {
            shape,
            rows,
            partitions,
            spread,
            codec: "none",
        };
        variant(content, Peers::Yardsticks)
    };
    let rows = plan.ingest_rows;
    all.extend([
        more(Shape::Small, rows, 1, Spread::Even),
        more(Shape::Large, rows / 16, 1, Spread::Even),
        more(Shape::Wide, rows / 16, 1, Spread::Even),
        more(Shape::Nested, rows, 1, Spread::Even),
        more(Shape::Orders, rows, 16, Spread::Hot),
    ]);
    let mut many = more(Shape::Orders, rows, 256, Spread::Even);
    many.name += ", one leaf";
    many.leaves = Some(1);
    all.push(many);
    all
}

fn variant(content: Content, peers: Peers) -> Variant {
    Variant {
        workload: "ingest",
        name: content.name(),
        files: false,
        rate: 0,
        rows: 0,
        partitions: 0,
        leaves: None,
        contents: vec![content],
        peers,
    }
}

/// Loads the topic.
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
    let (loaded, checked) = load(engine.name(), running.as_mut(), topics, cpu)?;
    running.stop()?;
    let rows: u64 = topics.iter().map(|topic| topic.expected.rows()).sum();
    let millions = rows as f64 / 1e6;
    let mut measured = Measured {
        checked,
        rows,
        ..Measured::default()
    };
    measured.put("cpu_s_per_m", loaded.cpu.as_secs_f64() / millions);
    measured.put("rows_per_s", rows as f64 / loaded.visible.as_secs_f64());
    // Most engines do not tell visible from durable.
    if loaded.settled > SETTLE_POLL {
        measured.put("settled_s", loaded.settled.as_secs_f64());
    }
    if !loaded.broker_cpu.is_zero() {
        measured.put(
            "broker_cpu_s_per_m",
            loaded.broker_cpu.as_secs_f64() / millions,
        );
    }
    measured.put_memory(loaded.memory);
    Ok((measured, about))
}
