//! A partition that fails has a reason, or its files are damaged and that is said.

use ingest::leaf::order::Failure;

use super::drive::Drive;
use crate::sim::reasons::is_of_damage;
use crate::sim::world::Law;

impl Drive<'_> {
    /// Whether what a failure says is so, where the cursor stood when it was said.
    pub(super) fn justify(&mut self, at: usize, failure: &Failure, cursor: i64) -> Law {
        let text = failure.text.as_str();
        if is_of_damage(text) && self.tracked(at).damage.is_some() {
            return self.damage_named(at, text);
        }
        let paired = &self.partitions[at];
        let world = &self.world;
        let told = world.explains(paired.id, paired.topics_made, failure, cursor);
        // One fault of a disk is one failure; but a directory's stays until the end of the process.
        let is_new = text.starts_with("/data") && text.contains(".arrow");
        if told && (!is_new || world.disk.met(text, true)) {
            return Ok(());
        }
        Err(format!(
            "a failure that nothing explains, cursor {cursor}: {text}"
        ))
    }
}
