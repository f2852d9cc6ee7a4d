//! What happens to the topic and its brokers while it is loaded.

use super::kafka::cluster::BROKERS;
use super::kafka::{CONTENTS, FAULTS, Log};
use super::tracked::Tracked;
use super::world::World;

/// Kafka partitions, at most.
pub const LOGS_MAX: usize = 4;

impl World<'_> {
    /// A partition gets another leader, or the same one in another epoch. `Some(log)`: which.
    pub fn move_leader(&mut self) -> Option<usize> {
        if !self.has(FAULTS[11]) {
            return None;
        }
        let log = self.any_log();
        let (broker, epoch) = self.cluster.leaders[log];
        let other = if self.random.chance(700) {
            1 + broker % BROKERS
        } else {
            broker
        };
        self.cluster.leaders[log] = (other, epoch + 1);
        self.cluster.logs[log].new_epoch(epoch + 1);
        self.say(|| {
            format!(
                "partition {log}: broker {other} leads in epoch {}",
                epoch + 1
            )
        });
        Some(log)
    }

    /// An unclean election.
    pub fn cut(&mut self, log: usize) {
        let back = self.random.below(2) as usize;
        // Most often below what some leaf partition has loaded.
        let below = self.random.chance(800);
        let tracked = self.tracked.values().filter(|one| one.log == log);
        let visible = tracked.map(|one| one.visible).max().filter(|_| below);
        let end = visible
            .unwrap_or(i64::MAX)
            .min(self.cluster.logs[log].end());
        // A fetch without an epoch cannot tell one leader of a broker from the next.
        let epochs = self.cluster.fetch_version >= 9;
        let keep = self.cluster.logs[log].place_to_cut(end, back);
        let (Some(keep), true) = (keep, epochs && self.has(FAULTS[23])) else {
            return;
        };
        self.coverage.hit(FAULTS[23]);
        let (broker, epoch) = self.cluster.leaders[log];
        let other = 1 + broker % BROKERS;
        self.cluster.leaders[log] = (other, epoch + 1);
        if self.cluster.logs[log].cut(keep, epoch + 1) {
            self.coverage.hit(CONTENTS[18]);
        }
        self.say(|| format!("unclean election: partition {log} is cut to {keep}"));
        for tracked in self.tracked.values_mut() {
            if tracked.log == log {
                tracked.cuts.push(keep);
            }
        }
        // What is on its way is the old log's: responses that were formed stay as they are.
    }

    /// Retention takes what is old.
    pub fn retain(&mut self) {
        let log = self.any_log();
        let random = &mut self.random;
        if self.cluster.logs[log].retain(random) {
            self.coverage.hit(CONTENTS[14]);
        }
        let start = self.cluster.logs[log].start;
        let overtakes = |one: &Tracked| one.log == log && one.visible < start;
        if self.tracked.values().any(overtakes) {
            self.coverage.hit(FAULTS[26]);
        }
        self.say(|| format!("retention: partition {log} begins at {start}"));
    }

    /// Compaction takes records.
    pub fn compact(&mut self) {
        let log = self.any_log();
        // Where it is skipped with the rest of its batch, nobody could say what was read.
        let bad = self.rules.skips || self.rules.stop_on_error;
        let random = &mut self.random;
        if self.cluster.logs[log].compact(random, bad) {
            self.say(|| format!("compaction: partition {log}"));
        }
    }

    /// The topic is deleted; one of the same name is made later.
    pub fn delete_topic(&mut self) {
        let there = self.cluster.topic_id.is_some();
        if there && self.cluster.has_topic_ids() && self.has(FAULTS[24]) {
            self.cluster.delete_topic();
            self.say(|| "the topic is deleted".to_owned());
        }
    }

    /// It is made, empty but for its first messages.
    pub fn make_topic(&mut self) {
        self.coverage.hit(FAULTS[24]);
        self.cluster.make_topic();
        self.say(|| "the topic is made anew".to_owned());
        for log in 0..self.cluster.logs.len() {
            self.append(log);
        }
    }

    /// The topic gets one more partition. `Some(log)`: it.
    pub fn add_partition(&mut self) -> Option<usize> {
        let log = self.cluster.logs.len();
        if log == LOGS_MAX || !self.has(FAULTS[25]) || self.cluster.topic_id.is_none() {
            return None;
        }
        self.coverage.hit(FAULTS[25]);
        let seed = self.case.seed ^ (log as u64) << 32;
        self.cluster.logs.push(Log::new(seed));
        let leader = 1 + self.random.below(BROKERS as u64) as i32;
        self.cluster.leaders.push((leader, 0));
        self.append(log);
        Some(log)
    }

    /// A record batch that is corrupt on the broker's disk, until it is mended.
    pub fn rot_batch(&mut self) {
        let log = self.any_log();
        let batch = self.cluster.logs[log].batches.last();
        if let Some(base) = batch.map(|batch| batch.base)
            && self.has(FAULTS[22])
        {
            self.cluster.rotten.push((log, base));
            self.say(|| format!("partition {log}: the batch at {base} is corrupt"));
        }
    }
}
