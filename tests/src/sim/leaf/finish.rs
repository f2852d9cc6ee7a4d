//! The end of a seed: nothing fails any more, so it must come to rest, and the law must hold.

use ingest::audit::{Subject, records};
use ingest::leaf::order::Goal;
use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};

use super::drive::{Drive, NODE, TABLE};
use crate::sim::audit::Audited;
use crate::sim::kafka::Log;
use crate::sim::world::Law;

/// Steps in which a healed world must come to rest.
const FINISH_STEPS_MAX: u64 = 40_000;

impl<'a> Drive<'a> {
    /// Nothing fails any more: it must come to rest at the log's end, and the law must hold.
    pub(super) fn finish(&mut self) -> Law {
        if self.world.cluster.topic_id.is_none() {
            self.world.make_topic();
        }
        self.world.heal()?;
        // The aggregator looks at the metadata now and then.
        for log in 0..self.world.cluster.logs.len() {
            self.tell_leader(log)?;
        }
        self.run_until(Drive::is_caught_up, "the log's end")?;
        for at in 0..self.partitions.len() {
            self.partitions[at].wants_run = false;
            self.partitions[at].stopping = true;
            self.goal(at, Goal::Stop)?;
        }
        self.run_until(
            |drive| drive.partitions.iter().all(|paired| !paired.stopping),
            "a stop",
        )?;
        for at in 0..self.partitions.len() {
            self.look(at)?;
            self.audit(at)?;
        }
        let first = self.partitions[0].id;
        self.drop_it(0)?;
        self.run_until(|drive| drive.at(first).is_none(), "a drop")
    }

    /// All that was recorded is read again. No log is asked: the law has compared all of it.
    fn audit(&self, at: usize) -> Law {
        let (paired, tracked) = (&self.partitions[at], self.tracked(at));
        let id = LeafPartitionId(paired.id);
        let shown = self.world.views.get(id).filter(|_| tracked.shown.is_some());
        let Some(shown) = shown else {
            return Err(format!("nothing is shown of leaf partition {id}"));
        };
        let partition = tracked.log as i32;
        let subject = Subject {
            table: TableId(TABLE),
            leaf_partition: id,
            kafka_partition: partition,
            lineage: Lineage(tracked.lineage),
            start_offset: Offset(tracked.start),
            topic_id: TopicId(paired.topic_id),
            stands: None,
        };
        let log = &self.world.cluster.logs[tracked.log];
        let read_committed = self.world.rules.read_committed;
        let mut audited = Audited::new(&self.world.disk, log, partition, read_committed);
        // Err: it has found something.
        let _ = records(&subject, shown.snapshot(), &mut audited);
        audited.found(id)
    }

    pub(super) fn is_caught_up(&self) -> bool {
        (0..self.partitions.len()).all(|at| {
            let (paired, tracked) = (&self.partitions[at], self.tracked(at));
            let log = &self.world.cluster.logs[tracked.log];
            let end = if self.world.rules.read_committed {
                log.stable()
            } else {
                log.end()
            };
            let one = self.world.nodes[NODE].leaf.partition(paired.id);
            let visible = one.map_or(-1, |one| one.visible().0);
            // One that was handed over asks nobody about what became of the log since.
            let handed_over = tracked.end_offset == Some(visible);
            let epoch = self.world.cluster.leaders[tracked.log].1;
            let leader = one.and_then(|one| one.leader.as_ref());
            let seen = leader.map_or(-1, |leader| leader.epoch);
            ((visible == end && seen == epoch) || handed_over)
                && tracked.shown.is_some()
                && paired.failed.is_none()
                && paired.change.is_none()
                && !paired.dropping
                && !paired.named
        })
    }

    pub(super) fn run_until(&mut self, done: impl Fn(&Drive<'a>) -> bool, what: &str) -> Law {
        let mut quiet = 0;
        for step in 0..FINISH_STEPS_MAX {
            if done(self) && self.world.nodes[NODE].reports.is_empty() {
                return Ok(());
            }
            let before = self.world.work() + self.answers.len();
            self.progress()?;
            if (0..self.partitions.len()).any(|at| self.needs_restart(at)) {
                self.crash()?;
            }
            for at in 0..self.partitions.len() {
                let paired = &self.partitions[at];
                if paired.failed.is_some() || paired.change.is_some() || paired.named {
                    self.attend(at)?;
                } else if !paired.wants_run && !paired.dropping && what == "the log's end" {
                    self.partitions[at].wants_run = true;
                    self.goal(at, Goal::Run)?;
                }
            }
            quiet = if before == 0 { quiet + 1 } else { 0 };
            if quiet > 20 || step % 500 == 499 {
                quiet = 0;
                self.world.time()?;
            }
        }
        let states: Vec<String> = (0..self.partitions.len())
            .map(|at| {
                let id = self.partitions[at].id;
                let words = self.world.views.attached(LeafPartitionId(id));
                let words = words.map(|one| one.standing.words());
                let one = self.world.nodes[NODE].leaf.partition(id);
                let fetch = one.map(|one| (one.phase.clone(), one.fetch.clone(), one.load));
                let visible = one.map(|one| one.visible());
                let failed = &self.partitions[at].failed;
                format!("{words:?} {fetch:?} {visible:?} {failed:?}")
            })
            .collect();
        let ends: Vec<i64> = self.world.cluster.logs.iter().map(Log::stable).collect();
        Err(format!(
            "{what} is not reached: {states:?}, stable at {ends:?}"
        ))
    }
}
