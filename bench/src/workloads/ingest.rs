//! Ingest: how much CPU, time and memory it takes to load what stands in a topic.
//!
//! What partitions cost, and rows that are not plain, is compared with the plain row of one partition: these
//! variants are measured round by round together, Pinleaf on one leaf in each.

use super::{Bench, Measured, Peers, SETTLE_POLL, Variant, load};
use crate::engine::{About, Engine};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::shape::Shape;
use crate::topic::{Content, Spread, Topic};

/// The ending of the names of those that are compared with one another.
pub const ONE_LEAF: &str = ", one leaf";

/// The workload's.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let content = |shape, rows, partitions, spread, codec| Content {
        shape,
        rows,
        partitions,
        spread,
        codec,
    };
    let rows = plan.ingest_rows;
    let orders = |partitions, codec| content(Shape::Orders, rows, partitions, Spread::Even, codec);
    let all = |content| variant(content, Peers::All);
    let plain = |shape, rows, partitions, spread| {
        let content = content(shape, rows, partitions, spread, "none");
        variant(content, Peers::Yardsticks)
    };
    let one_leaf = |shape, partitions, peers| {
        let mut one = plain(shape, rows, partitions, Spread::Even);
        one.name += ONE_LEAF;
        (one.leaves, one.together, one.peers) = (Some(1), Some("one leaf"), peers);
        one
    };
    if plan.tiny {
        return vec![
            all(orders(4, "lz4")),
            one_leaf(Shape::Orders, 1, Peers::None),
            one_leaf(Shape::Strange, 1, Peers::None),
        ];
    }
    let mut variants = vec![all(orders(1, "none"))];
    if plan.quick {
        return variants;
    }
    // What stores takes minutes for each, and its order does not hang on the codec.
    let discarded = |partitions, codec| variant(orders(partitions, codec), Peers::Yardsticks);
    variants.extend([
        discarded(1, "lz4"),
        discarded(1, "zstd"),
        discarded(4, "none"),
        all(orders(4, "lz4")),
        discarded(4, "zstd"),
        one_leaf(Shape::Orders, 1, Peers::None),
        one_leaf(Shape::Orders, 4, Peers::None),
        one_leaf(Shape::Orders, 256, Peers::Yardsticks),
        one_leaf(Shape::Strange, 1, Peers::Yardsticks),
        plain(Shape::Small, rows, 1, Spread::Even),
        plain(Shape::Large, rows / 16, 1, Spread::Even),
        plain(Shape::Wide, rows / 16, 1, Spread::Even),
        plain(Shape::Nested, rows, 1, Spread::Even),
        plain(Shape::Orders, rows, 16, Spread::Hot),
    ]);
    variants
}

fn variant(content: Content, peers: Peers) -> Variant {
    Variant {
        peers,
        ..Variant::new("ingest", content.name(), vec![content])
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
    let broker_cpu = || bench.broker_cpu();
    let (loaded, checked) = load(engine.name(), running.as_mut(), topics, broker_cpu)?;
    running.stop()?;
    let rows: u64 = topics.iter().map(|topic| topic.expected.rows()).sum();
    let millions = rows as f64 / 1e6;
    let mut measured = Measured::new(rows, checked);
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
