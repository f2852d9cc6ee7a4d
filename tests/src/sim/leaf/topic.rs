//! What happens to the topic and its brokers while it is loaded, and what the played aggregator makes of it.

use ingest::leaf::order::Order;

use super::drive::Drive;
use crate::sim::world::Law;

/// The catalog gives a partition an end, where another owner goes on.
pub(super) const HANDED_OVER: &str = "catalog: a partition is handed over";

impl Drive<'_> {
    pub(super) fn move_leader(&mut self) -> Law {
        match self.world.move_leader() {
            Some(log) if self.world.random.chance(500) => self.tell_leader(log),
            _ => Ok(()),
        }
    }

    /// The aggregator has looked at the metadata.
    pub(super) fn tell_leader(&mut self, log: usize) -> Law {
        let leader = self.leader(log);
        for at in 0..self.partitions.len() {
            let paired = &self.partitions[at];
            let same = Some(paired.topic_id) == self.world.cluster.topic_id;
            if self.tracked(at).log == log && same {
                self.answer(Order::Leader {
                    leaf_partition: self.partitions[at].id,
                    leader: leader.clone(),
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn add_partition(&mut self) -> Law {
        let Some(log) = self.world.add_partition() else {
            return Ok(());
        };
        self.pair(log, 0);
        let at = self.partitions.len() - 1;
        self.attach(at)
    }
}
