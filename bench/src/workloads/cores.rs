//! Cores: how rows a second grow with Pinleaf's leaves, one partition and more for each. All numbers of leaves are
//! measured round by round together.

use super::Variant;
use crate::plan::Plan;
use crate::topic::Content;

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
    let partitions = u32::try_from(plan.leaves).unwrap_or(1) * 2;
    let content = Content::orders(plan.ingest_rows, partitions);
    let variant = |leaves: usize| {
        let name = format!("{leaves:02} of {} leaves, {}", plan.leaves, content.name());
        Variant {
            leaves: Some(leaves),
            together: Some("cores"),
            ..Variant::new("cores", name, vec![content.clone()])
        }
    };
    Ok((1..=plan.leaves).map(variant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn each_number_of_leaves_is_a_variant_of_the_same_rows() {
        let mut plan = Plan::full(Path::new("/"));
        (plan.cpus, plan.leaves) = (8, 7);
        let variants = variants(&plan).unwrap();
        let leaves: Vec<_> = variants.iter().filter_map(|one| one.leaves).collect();
        assert_eq!(leaves, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            variants[2].name,
            "03 of 7 leaves, 172-byte orders, 14 partitions, none"
        );
        assert!(variants.iter().all(|one| one.together == Some("cores")));
        plan.cpus = 2;
        let said = super::variants(&plan).unwrap_err();
        assert!(said.starts_with("2 CPUs: "), "{said}");
    }
}
