//! The user: statements at any moment, and what follows where one of them failed.

use ingest::leaf::order::Goal;
use storage::ids::LeafPartitionId;

use super::drive::Drive;
use crate::sim::world::Law;

/// Statements, each with its name in the coverage.
pub(super) const STATEMENTS: [&str; 7] = [
    "user: START",
    "user: STOP",
    "user: SET OFFSETS",
    "user: TRUNCATE",
    "user: DROP",
    "user: START FOREGROUND",
    super::topic::HANDED_OVER,
];

/// What is done to a partition once it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// To this offset.
    SetOffsets(i64),
    /// To the first offset that there is, of the topic as it is now.
    Earliest,
    Truncate,
}

impl Drive<'_> {
    /// A partition that nothing is being done to.
    fn any_at_rest(&mut self) -> Option<usize> {
        let at = self.world.random.below(self.partitions.len() as u64) as usize;
        let paired = &self.partitions[at];
        let busy = paired.rewinding || paired.change.is_some() || paired.stopping;
        (!busy && !paired.dropping && !paired.named).then_some(at)
    }

    fn has(&mut self, statement: usize) -> bool {
        let has = self.world.has(STATEMENTS[statement]);
        if has {
            self.world.coverage.hit(STATEMENTS[statement]);
        }
        has
    }

    pub(super) fn stop_or_start(&mut self) -> Law {
        let Some(at) = self.any_at_rest() else {
            let at = self.world.random.below(self.partitions.len() as u64) as usize;
            return self.attend(at);
        };
        let runs = self.partitions[at].wants_run && self.partitions[at].failed.is_none();
        if !self.has(usize::from(runs)) {
            return Ok(());
        }
        self.partitions[at].wants_run = !runs;
        self.partitions[at].stopping = runs;
        self.partitions[at].failed = None;
        self.goal(at, if runs { Goal::Stop } else { Goal::Run })
    }

    pub(super) fn set_offsets(&mut self) -> Law {
        let Some(at) = self.any_at_rest() else {
            return Ok(());
        };
        let log = &self.world.cluster.logs[self.tracked(at).log];
        let (start, end) = (log.start, log.end());
        // Now and then a person's mistake: an offset that is not there yet.
        let mistaken = self.world.random.chance(100);
        let to = if mistaken {
            end + 20 + self.world.random.below(200) as i64
        } else {
            start + self.world.random.below((end - start) as u64 + 1) as i64
        };
        if self.has(2) {
            self.partitions[at].change = Some(Change::SetOffsets(to));
            return self.attend(at);
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self) -> Law {
        match self.any_at_rest() {
            Some(at) if self.has(3) => {
                self.partitions[at].change = Some(Change::Truncate);
                self.attend(at)
            }
            _ => Ok(()),
        }
    }

    /// DROP, whatever the partition is at.
    pub(super) fn drop_any(&mut self) -> Law {
        let at = self.world.random.below(self.partitions.len() as u64) as usize;
        if self.partitions[at].dropping || !self.has(4) {
            return Ok(());
        }
        self.drop_it(at)
    }

    pub(super) fn drop_it(&mut self, at: usize) -> Law {
        let paired = &mut self.partitions[at];
        paired.dropping = true;
        paired.failed = None;
        self.tracked_mut(at).shown = None;
        self.goal(at, Goal::Drop)
    }

    /// It is dropped: nothing of it is left, and the Kafka partition is paired anew.
    pub(super) fn dropped(&mut self, at: usize) -> Law {
        let (id, directory) = (self.partitions[at].id, self.tracked(at).directory());
        if self.world.views.get(LeafPartitionId(id)).is_some() {
            return Err("a dropped leaf partition is shown".to_owned());
        }
        if let Some(name) = self.world.disk.names(directory.as_ref()).first() {
            return Err(format!("{} is left of a dropped partition", name.display()));
        }
        self.gone(at);
        let at = self.partitions.len() - 1;
        self.attach(at)
    }

    /// A dropped partition is forgotten, and its Kafka partition paired anew.
    pub(super) fn gone(&mut self, at: usize) {
        let paired = self.partitions.remove(at);
        let tracked = self.world.tracked.remove(&paired.id).expect("it is paired");
        let start = self.world.cluster.logs[tracked.log].start;
        self.pair(tracked.log, start);
    }

    pub(super) fn foreground(&mut self) -> Law {
        let Some(at) = self.any_at_rest() else {
            return Ok(());
        };
        let runs = self.partitions[at].wants_run;
        // The end of one that was handed over is another's: nobody starts it so.
        if runs || self.tracked(at).end_offset.is_some() || !self.has(5) {
            return Ok(());
        }
        let rows = self.rows_at_rest(at);
        let paired = &mut self.partitions[at];
        paired.wants_run = true;
        paired.failed = None;
        paired.foreground_rows = rows;
        let batches_max = self.world.random.chance(500).then_some(2);
        self.goal(at, Goal::Foreground { batches_max })
    }

    /// How many rows are there before FOREGROUND begins; `None` where the leaf is not at rest.
    fn rows_at_rest(&self, at: usize) -> Option<u64> {
        let id = LeafPartitionId(self.partitions[at].id);
        let attached = self.world.views.attached(id)?;
        (attached.standing.words() == "Stopped").then(|| attached.view.snapshot().rows())
    }

    /// What a person does next with a partition that waits for one.
    pub(super) fn attend(&mut self, at: usize) -> Law {
        let healed = self.world.healed;
        let again = self.world.random.chance(500);
        let paired = &mut self.partitions[at];
        if paired.dropping {
            return Ok(());
        }
        if paired.named {
            return self.drop_it(at);
        }
        if paired.rewinding {
            if paired.failed.take().is_none() {
                return Ok(());
            }
            // Carried out again, or taken up by the next START.
            paired.wants_run |= !again;
            return if again {
                let goal = self.rewind_goal(at);
                self.goal(at, goal)
            } else {
                self.partitions[at].rewinding = false;
                self.goal(at, Goal::Run)
            };
        }
        // A disk that failed is opened again first: only then is it known what is durable.
        let disk = paired
            .failed
            .as_deref()
            .is_some_and(|text| text.starts_with("/data"));
        if paired.change.is_some() && !disk {
            if paired.stopping && paired.failed.is_none() {
                return Ok(());
            }
            paired.stopping = true;
            paired.failed = None;
            paired.wants_run = true;
            return self.goal(at, Goal::Stop);
        }
        if paired.failed.take().is_some() || (paired.stopping && healed) {
            paired.stopping = false;
            paired.wants_run = true;
            return self.goal(at, Goal::Run);
        }
        Ok(())
    }

    pub(super) fn rewind_goal(&self, at: usize) -> Goal {
        let tracked = self.tracked(at);
        Goal::Rewind {
            lineage: tracked.lineage,
            live_lineage: tracked.live,
            start_offset: tracked.start,
            topic_id: self.partitions[at].topic_id,
        }
    }

    /// Whether only a new process helps.
    pub(super) fn needs_restart(&self, at: usize) -> bool {
        let paired = &self.partitions[at];
        let failed = paired.failed.as_deref();
        failed.is_some_and(|text| {
            paired.dropping || text.contains("restart") || text.contains("remount")
        })
    }
}
