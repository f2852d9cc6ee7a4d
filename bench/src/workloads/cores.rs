//! Cores: how rows a second grow with Pinleaf's leaves, one partition and more for each.

use super::{Peers, Variant};
use crate::plan::Plan;
use crate::shape::Shape;
use crate::topic::{Content, Spread};

/// One for each number of leaves.
///
/// # Errors
/// Why it is left out.
pub fn variants(plan: &Plan) -> Result<Vec<Variant>, String> {
    if plan.cpus <= 2 {
        return Err(format!(
            "{} CPUs: one for the broker and one for a leaf leave none to add",
            plan.cpus
        ));
    }
    let content = Content {
        shape: Shape::Orders,
        rows: plan.ingest_rows,
        partitions: u32::try_from(plan.leaves).unwrap_or(1) * 2,
        spread: Spread::Even,
        codec: "none",
    };
    let variant = |leaves: usize| Variant {
        workload: "cores",
        name: format!("{leaves} of {} leaves, {}", plan.leaves, content.name()),
        files: false,
        rate: 0,
        rows: 0,
        partitions: 0,
        leaves: Some(leaves),
        contents: vec![content.clone()],
        peers: Peers::None,
    };
    Ok((1..=plan.leaves).map(variant).collect())
}
