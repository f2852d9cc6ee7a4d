//! A partition that fails has a reason: what its words say is so.

use ingest::leaf::order::Failure;

use super::drive::Drive;
use crate::sim::kafka::{FAULTS, Fact};
use crate::sim::world::Law;

impl Drive<'_> {
    /// Whether what a failure says is so, where the cursor stood when it was said.
    pub(super) fn justify(&mut self, at: usize, failure: &Failure, cursor: i64) -> Law {
        let text = failure.text.as_str();
        let tracked = self.tracked(at);
        let paired = &self.partitions[at];
        let cluster = &self.world.cluster;
        let log = &cluster.logs[tracked.log];
        let anew = cluster.topics_made != paired.topics_made || cluster.topic_id.is_none();
        let is_cut = anew || tracked.cuts.iter().any(|keep| *keep < cursor);
        let words = ["moved to", "is missing", "are in quarantine/"];
        let damaged = words.iter().any(|words| text.contains(words));
        if damaged && tracked.damage.is_some() {
            return self.damage_named(at, text);
        }
        let so = if text.starts_with("/data") {
            self.world.faulted && !damaged
        } else if text.starts_with("diverged") {
            is_cut
        } else if text.contains("beyond the log's end") {
            is_cut || tracked.beyond
        } else if text.contains("were deleted by retention") {
            anew || log.start > cursor
        } else if text.contains("was replaced") {
            anew
        } else if text.contains("answers") {
            cluster.faults > 0 && self.world.case.has(FAULTS[7])
        } else if failure.deterministic {
            // A message: it cannot be loaded.
            let bad = |place: &crate::sim::kafka::log::Place| place.fact == Fact::Bad;
            let histories = log.histories.iter();
            let mut places = histories.filter_map(|one| one.place(failure.offset));
            self.world.rules.stop_on_error && cursor == failure.offset && places.any(bad)
        } else {
            // A record batch that is corrupt each time.
            cluster.faults > 0 || cluster.spoiled > 1
        };
        if so {
            return Ok(());
        }
        Err(format!(
            "a failure that nothing explains, cursor {cursor}: {text}"
        ))
    }
}
