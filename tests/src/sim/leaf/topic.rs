//! What happens to the topic and its brokers while it is loaded.

use ingest::leaf::order::Order;

use super::drive::Drive;
use crate::sim::kafka::cluster::BROKERS;
use crate::sim::kafka::{FAULTS, Log};
use crate::sim::world::Law;

/// The catalog gives a partition an end, where another owner goes on.
pub(super) const HANDED_OVER: &str = "catalog: a partition is handed over";
/// Kafka partitions, at most.
const LOGS_MAX: usize = 4;

impl Drive<'_> {
    pub(super) fn move_leader(&mut self) -> Law {
        if !self.world.has(FAULTS[11]) {
            return Ok(());
        }
        let log = self.world.any_log();
        let (broker, epoch) = self.world.cluster.leaders[log];
        let other = if self.world.random.chance(700) {
            1 + broker % BROKERS
        } else {
            broker
        };
        self.world.cluster.leaders[log] = (other, epoch + 1);
        self.world.cluster.logs[log].new_epoch(epoch + 1);
        self.world.say(|| {
            format!(
                "partition {log}: broker {other} leads in epoch {}",
                epoch + 1
            )
        });
        if self.world.random.chance(500) {
            return self.tell_leader(log);
        }
        Ok(())
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

    /// An unclean election.
    pub(super) fn cut(&mut self, log: usize) -> Law {
        let back = self.world.random.below(2) as usize;
        // Most often below what some leaf partition has loaded.
        let below = self.world.random.chance(800);
        let tracked = self.world.tracked.values().filter(|one| one.log == log);
        let visible = tracked.map(|one| one.visible).max().filter(|_| below);
        let end = visible
            .unwrap_or(i64::MAX)
            .min(self.world.cluster.logs[log].end());
        // A fetch without an epoch cannot tell one leader of a broker from the next.
        let epochs = self.world.cluster.fetch_version >= 9;
        let keep = self.world.cluster.logs[log].place_to_cut(end, back);
        let (Some(keep), true) = (keep, epochs && self.world.has(FAULTS[23])) else {
            return Ok(());
        };
        self.world.coverage.hit(FAULTS[23]);
        let (broker, epoch) = self.world.cluster.leaders[log];
        let other = 1 + broker % BROKERS;
        self.world.cluster.leaders[log] = (other, epoch + 1);
        self.world.cluster.logs[log].cut(keep, epoch + 1);
        self.world
            .say(|| format!("unclean election: partition {log} is cut to {keep}"));
        for tracked in self.world.tracked.values_mut() {
            if tracked.log == log {
                tracked.cuts.push(keep);
            }
        }
        // What is on its way is the old log's: responses that were formed stay as they are.
        Ok(())
    }

    pub(super) fn retain(&mut self) -> Law {
        let log = self.world.any_log();
        let random = &mut self.world.random;
        self.world.cluster.logs[log].retain(random);
        let start = self.world.cluster.logs[log].start;
        let overtakes = |one: &crate::sim::tracked::Tracked| one.log == log && one.visible < start;
        if self.world.tracked.values().any(overtakes) {
            self.world.coverage.hit(FAULTS[26]);
        }
        self.world
            .say(|| format!("retention: partition {log} begins at {start}"));
        Ok(())
    }

    pub(super) fn compact(&mut self) -> Law {
        let log = self.world.any_log();
        let random = &mut self.world.random;
        if self.world.cluster.logs[log].compact(random) {
            self.world.say(|| format!("compaction: partition {log}"));
        }
        Ok(())
    }

    /// The topic is deleted; one of the same name is made later.
    pub(super) fn delete_topic(&mut self) -> Law {
        let there = self.world.cluster.topic_id.is_some();
        if there && self.world.cluster.has_topic_ids() && self.world.has(FAULTS[24]) {
            self.world.cluster.delete_topic();
            self.world.say(|| "the topic is deleted".to_owned());
        }
        Ok(())
    }

    pub(super) fn make_topic(&mut self) {
        self.world.coverage.hit(FAULTS[24]);
        self.world.cluster.make_topic();
        self.world.say(|| "the topic is made anew".to_owned());
        for log in 0..self.world.cluster.logs.len() {
            self.world.append(log);
        }
    }

    pub(super) fn add_partition(&mut self) -> Law {
        let log = self.world.cluster.logs.len();
        if log == LOGS_MAX || !self.world.has(FAULTS[25]) || self.world.cluster.topic_id.is_none() {
            return Ok(());
        }
        self.world.coverage.hit(FAULTS[25]);
        let seed = self.world.case.seed ^ (log as u64) << 32;
        self.world.cluster.logs.push(Log::new(seed));
        let leader = 1 + self.world.random.below(BROKERS as u64) as i32;
        self.world.cluster.leaders.push((leader, 0));
        self.world.append(log);
        self.pair(log, 0);
        let at = self.partitions.len() - 1;
        self.attach(at)
    }

    /// A record batch that is corrupt on the broker's disk, until it is mended.
    pub(super) fn rot_batch(&mut self) -> Law {
        let log = self.world.any_log();
        let batch = self.world.cluster.logs[log].batches.last();
        if let Some(base) = batch.map(|batch| batch.base)
            && self.world.has(FAULTS[22])
        {
            self.world.cluster.rotten.push((log, base));
            self.world
                .say(|| format!("partition {log}: the batch at {base} is corrupt"));
        }
        Ok(())
    }
}
