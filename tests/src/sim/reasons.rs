//! A partition that fails has a reason: what its words say is so.

use ingest::leaf::order::Failure;

use super::kafka::log::Place;
use super::kafka::{FAULTS, Fact};
use super::world::World;

impl World<'_> {
    /// Whether what a failure of a leaf partition says is so, where the cursor stood when it was said.
    /// `topics_made`: how often the topic had been made when its lineage began.
    #[must_use]
    pub fn explains(
        &self,
        leaf_partition: u64,
        topics_made: u8,
        failure: &Failure,
        cursor: i64,
    ) -> bool {
        let text = failure.text.as_str();
        let tracked = &self.tracked[&leaf_partition];
        let cluster = &self.cluster;
        let log = &cluster.logs[tracked.log];
        let anew = cluster.topics_made != topics_made || cluster.topic_id.is_none();
        let is_cut = anew || tracked.cuts.iter().any(|keep| *keep < cursor);
        if text.starts_with("/data") {
            self.disk.met(text, false) && !is_of_damage(text)
        } else if text.starts_with("diverged") {
            is_cut
        } else if text.contains("beyond the log's end") {
            is_cut || tracked.beyond
        } else if text.contains("were deleted by retention") {
            anew || log.start > cursor
        } else if text.contains("was replaced") {
            anew
        } else if text.contains("answers") {
            cluster.faults > 0 && self.case.has(FAULTS[7])
        } else if failure.deterministic {
            // A message: it cannot be loaded.
            let bad = |place: &Place| place.fact == Fact::Bad;
            let histories = log.histories.iter();
            let mut places = histories.filter_map(|one| one.place(failure.offset));
            self.rules.stop_on_error && cursor == failure.offset && places.any(bad)
        } else {
            // A record batch that was corrupt twice, or bytes that are no answer.
            let log = tracked.log as i32;
            let torn = [FAULTS[14], FAULTS[18]].iter();
            let torn = torn.map(|fault| self.coverage.count(fault)).sum::<u64>();
            cluster.corrupted(log) > 1 || torn > 0 && !text.contains("checksum")
        }
    }
}

/// Whether the words are of files that are damaged.
#[must_use]
pub fn is_of_damage(text: &str) -> bool {
    let words = ["moved to", "is missing", "are in quarantine/"];
    words.iter().any(|words| text.contains(words))
}
