//! What the leaf asks of Kafka through the aggregator, and the answers on their way back: as true as they
//! were when the broker gave them.

use ingest::leaf::order::{Order, Report};

use super::drive::{Drive, NODE};
use crate::sim::kafka::cluster::Cluster;
use crate::sim::world::Law;

/// What becomes of answers, each with its name in the coverage.
pub(super) const FAULTS: [&str; 4] = [
    "aggregator: an answer comes late",
    "aggregator: an answer comes twice",
    "aggregator: an answer comes before an earlier one",
    "aggregator: an answer never comes",
];

/// The longest that an answer comes late.
const LATE_US_MAX: u64 = 12_000_000;
const TOPIC_LOST: &str = "topic 'orders' was replaced: ALTER PIPELINE ... SET OFFSETS EARLIEST accepts \
                          the new one";

/// An order that answers a question.
pub(super) struct Answer {
    order: Order,
    due_us: u64,
}

impl Answer {
    /// The leaf partition that it is for.
    pub(super) fn about(&self) -> Option<u64> {
        match self.order {
            Order::Leader { leaf_partition, .. }
            | Order::LogRange { leaf_partition, .. }
            | Order::EpochEnd { leaf_partition, .. }
            | Order::TopicLost { leaf_partition, .. } => Some(leaf_partition),
            _ => None,
        }
    }
}

impl Drive<'_> {
    /// What Kafka says now, to a question; `None` where nobody answers.
    pub(super) fn answer_to(&self, report: &Report) -> Option<Order> {
        let leaf_partition = report.leaf_partition()?;
        let at = self.at(leaf_partition)?;
        let log = self.tracked(at).log;
        let cluster = &self.world.cluster;
        let there = cluster.topic_id? == self.partitions[at].topic_id;
        match *report {
            // Metadata is asked first, and gives the name another id.
            _ if !there => Some(Order::TopicLost {
                leaf_partition,
                text: TOPIC_LOST.to_owned(),
            }),
            Report::LeaderUnknown { .. } => Some(Order::Leader {
                leaf_partition,
                leader: self.leader(log),
            }),
            Report::RangeUnknown {
                generation, offset, ..
            } => Some(Order::LogRange {
                leaf_partition,
                generation,
                offset,
                log_start_offset: cluster.logs[log].start,
                log_end_offset: cluster.logs[log].end(),
            }),
            Report::EpochUnchecked { epoch, .. } => Some(Order::EpochEnd {
                leaf_partition,
                leader_epoch: cluster.leaders[log].1,
                epoch,
                end_offset: cluster.logs[log].epoch_end(epoch),
            }),
            _ => None,
        }
    }

    /// An answer sets out.
    pub(super) fn answer(&mut self, order: Order) -> Law {
        let now_us = self.world.now.us;
        let (fate, late_us) = {
            let random = &mut self.world.random;
            (random.below(20), random.below(LATE_US_MAX))
        };
        let mut due_us = now_us;
        match fate {
            0 if self.world.has(FAULTS[3]) => {
                self.world.coverage.hit(FAULTS[3]);
                return Ok(());
            }
            1..=6 if self.world.has(FAULTS[0]) => {
                self.world.coverage.hit(FAULTS[0]);
                due_us += late_us;
            }
            7..=9 if self.world.has(FAULTS[1]) => {
                self.world.coverage.hit(FAULTS[1]);
                let (order, due_us) = (order.clone(), now_us + late_us);
                self.answers.push(Answer { order, due_us });
            }
            _ => {}
        }
        let of_epoch = match order {
            Order::EpochEnd { leaf_partition, .. } if due_us > now_us => self.at(leaf_partition),
            _ => None,
        };
        self.answers.push(Answer { order, due_us });
        // While a leader's word is on its way, another may be elected whose log ends elsewhere.
        if let Some(at) = of_epoch
            && self.world.random.chance(400)
        {
            let log = self.tracked(at).log;
            self.world.cut(log);
            return self.tell_leader(log);
        }
        Ok(())
    }

    /// One that is due arrives.
    pub(super) fn answer_progress(&mut self) -> Law {
        let healed = self.world.healed;
        let now_us = self.world.now.us;
        let due = |answer: &Answer| healed || answer.due_us <= now_us;
        let due = self.answers.iter().enumerate().filter(|(_, one)| due(one));
        let due: Vec<usize> = due.map(|(at, _)| at).collect();
        let Some(&first) = due.first() else {
            return Ok(());
        };
        let at = due[self.world.random.below(due.len() as u64) as usize];
        let at = if self.world.has(FAULTS[2]) { at } else { first };
        let answer = self.answers.remove(at);
        let earlier = &self.answers[..at];
        if earlier.iter().any(|one| one.about() == answer.about()) {
            self.world.coverage.hit(FAULTS[2]);
        }
        self.world.order(NODE, answer.order)
    }

    pub(super) fn leader(&self, log: usize) -> ingest::leaf::order::Leader {
        let (broker, epoch) = self.world.cluster.leaders[log];
        ingest::leaf::order::Leader {
            broker,
            host: "sim".to_owned(),
            port: Cluster::port(broker),
            epoch,
        }
    }
}
