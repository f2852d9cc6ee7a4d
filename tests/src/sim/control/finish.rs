//! The beginning of a seed, and its end: nothing fails any more, so all that is wanted must come to the log's
//! end, stop, be audited, survive once more, and go.

use ingest::audit::{Model, Subject, records, verify};
use ingest::leaf::partition::Phase;
use storage::ids::LeafPartitionId;

use super::drive::Drive;
use super::statement::Kind;
use crate::sim::audit::Audited;
use crate::sim::disk::{DiskFaultKind, FULL};
use crate::sim::world::Law;

/// An audit that reads every byte, and the log.
pub(super) const VERIFIED: &str = "audit: VERIFY compares a leaf partition with the log";
/// Steps in which a world without faults must come to rest.
const STEPS_MAX: u64 = 120_000;
/// Steps between two looks whether it does.
const LOOK_STEPS: u64 = 16;
/// Time passes after so many, whatever is on its way.
const TIME_STEPS: u64 = 2_000;

impl<'a> Drive<'a> {
    /// The pipelines run.
    pub(super) fn set_up(&mut self) -> Law {
        let healed = std::mem::replace(&mut self.world.healed, true);
        self.until("the pipelines run", |drive| {
            let needed = (0..drive.tables).find_map(|at| Some((drive.needed(at)?, at)));
            match needed {
                Some((kind, at)) => drive.give_if_free(kind, at),
                None => return drive.statements.is_empty(),
            }
            false
        })?;
        self.world.healed = healed;
        Ok(())
    }

    /// See the module.
    pub(super) fn finish(&mut self) -> Law {
        if self.world.cluster.topic_id.is_none() {
            self.world.make_topic();
        }
        self.crash_in = None;
        self.world.heal()?;
        self.until("the log's end", Drive::is_caught_up)?;
        if self.world.random.chance(300) && self.world.has(FULL) {
            self.on_a_full_disk()?;
            self.until("the log's end", Drive::is_caught_up)?;
        }
        if self.world.random.chance(200) {
            self.on_a_disk_that_fails()?;
        }
        self.until("a stop", |drive| {
            drive.all(Kind::Stop, |drive, at| {
                let view = drive.view();
                let pipeline = view.pipeline("d", &format!("p{at}"));
                pipeline.is_none_or(|one| one.state != control::catalog::PipelineState::Stopped)
            })
        })?;
        if self.world.random.chance(400) {
            self.each(Kind::Test)?;
        }
        for log in 0..self.world.cluster.logs.len() {
            self.world.append(log);
        }
        if self.world.random.chance(200) {
            self.each(Kind::SetLatest)?;
            for log in 0..self.world.cluster.logs.len() {
                self.world.append(log);
            }
        }
        if self.world.random.chance(300) {
            self.each(Kind::Foreground)?;
        }
        for _ in 0..200 {
            self.progress()?;
        }
        self.look_all()?;
        self.audit()?;
        if self.world.random.chance(500) {
            let stops = self.stops;
            self.stop();
            self.until("a stop in good order", |drive| drive.stops > stops)?;
        } else {
            self.crash()?;
        }
        self.until("a start", |drive| {
            drive.process().aggregator.is_some() && drive.all_shown()
        })?;
        self.look_all()?;
        self.audit()?;
        self.until("the pipelines' drop", |drive| {
            drive.all(Kind::DropPipeline, |drive, at| {
                drive.view().pipeline("d", &format!("p{at}")).is_some()
            })
        })?;
        self.look_all()?;
        self.until("the tables' drop", |drive| {
            drive.all(Kind::DropTable, |drive, at| {
                drive.view().table("d", &format!("t{at}")).is_some()
            })
        })?;
        match self.world.disk.files_below("/data/tables").first() {
            Some(left) => Err(format!("{left} is left of tables that are dropped")),
            None if !self.world.tracked.is_empty() => Err("a leaf partition is left".to_owned()),
            None => Ok(()),
        }
    }

    /// On a disk that is full to its last byte each statement is answered all the same, also where a process began on
    /// it: what makes room is never held up.
    fn on_a_full_disk(&mut self) -> Law {
        const KINDS: [Kind; 8] = [
            Kind::Stop,
            Kind::Truncate,
            Kind::SetListed,
            Kind::SetEarliest,
            Kind::Start,
            Kind::Truncate,
            Kind::DropPipeline,
            Kind::DropTable,
        ];
        self.world.faulted = true;
        for _ in 0..=self.world.random.below(6) {
            self.world.disk.set_full(true);
            if self.world.random.chance(250) {
                self.crash()?;
                self.world.disk.set_full(true);
                self.until("a start on a full disk", |drive| {
                    drive.process().aggregator.is_some()
                })?;
            }
            let kind = KINDS[self.world.random.below(KINDS.len() as u64) as usize];
            let at = self.world.random.below(self.tables as u64) as usize;
            self.give_if_free(kind, at);
            self.until(kind.words(), |drive| drive.statements.is_empty())?;
        }
        self.world.disk.set_full(false);
        Ok(())
    }

    /// What crashes leave seldom time for: a merge's rename fails, or the sync of a file that is synced once more.
    fn on_a_disk_that_fails(&mut self) -> Law {
        use DiskFaultKind::{Rename, RenameFull, Sync};
        for _ in 0..3 {
            let kind = [Sync, Rename, RenameFull][self.world.random.below(3) as usize];
            if self.world.case.has(&kind.to_string()) {
                self.world.disk.arm(kind);
                self.world.faulted = true;
                self.world.say(|| format!("armed: {kind:?}"));
            }
            for log in 0..self.world.cluster.logs.len() {
                self.world.append(log);
            }
            self.until("the log's end", Drive::is_caught_up)?;
        }
        self.world.disk.disarm();
        self.until("the log's end", Drive::is_caught_up)
    }

    /// Gives a statement, unless one is under way.
    pub(super) fn give_if_free(&mut self, kind: Kind, at: usize) {
        if self.statements.is_empty() {
            self.give(kind, at);
        }
    }

    /// Gives a statement for each table that wants it; whether none does any more.
    fn all(&mut self, kind: Kind, wants: impl Fn(&Drive<'a>, usize) -> bool) -> bool {
        match (0..self.tables).find(|at| wants(self, *at)) {
            Some(at) => self.give_if_free(kind, at),
            None => return self.statements.is_empty(),
        }
        false
    }

    /// Gives a statement once for each table, and sees it answered, one way or the other.
    fn each(&mut self, kind: Kind) -> Law {
        for at in 0..self.tables {
            self.give(kind, at);
            self.until(kind.words(), |drive| drive.statements.is_empty())?;
        }
        Ok(())
    }

    /// Whether every pipeline runs at the log's end; does what is needed for it.
    fn is_caught_up(&mut self) -> bool {
        if self.view().global_variables().next().is_some() {
            self.give_if_free(Kind::SetGlobal, 0);
            return false;
        }
        let needed = (0..self.tables).find_map(|at| Some((self.needed(at)?, at)));
        if let Some((kind, at)) = needed {
            self.give_if_free(kind, at);
            return false;
        }
        let view = self.view();
        let alone = self.process().aggregator.as_ref();
        let alone = alone.map(|aggregator| aggregator.live().failed.clone());
        for id in alone.iter().flat_map(|failed| failed.keys()) {
            let pairing = view.pairing(*id);
            let Some(pipeline) = pairing.and_then(|one| view.pipeline_by_id(one.pipeline)) else {
                continue;
            };
            let at = pipeline.name.trim_start_matches('p').parse().unwrap_or(0);
            self.give_if_free(Kind::Start, at);
            return false;
        }
        let cluster = &self.world.cluster;
        let committed = self.world.rules.read_committed;
        let caught_up = view.pairings().all(|pairing| {
            if view.pipeline_by_id(pairing.pipeline).is_none() {
                return true;
            }
            let log = &cluster.logs[pairing.kafka_partition as usize];
            let end = if committed { log.stable() } else { log.end() };
            let visible = self.partition(pairing.leaf_partition.0, |one| one.visible().0);
            visible == Some(end)
        });
        let paired = (0..self.tables).all(|at| {
            let pipeline = view.pipeline("d", &format!("p{at}"));
            pipeline.is_some_and(|one| view.pairings_of(one.id).count() >= cluster.logs.len())
        });
        caught_up && paired && self.statements.is_empty() && self.all_shown()
    }

    fn partition<T>(
        &self,
        id: u64,
        look: impl Fn(&ingest::leaf::partition::Partition) -> T,
    ) -> Option<T> {
        let mut leaves = self.world.nodes.iter().map(|node| &node.leaf);
        leaves.find_map(|leaf| leaf.partition(id)).map(look)
    }

    /// Whether every leaf partition is shown, also those that nobody loads.
    pub(super) fn all_shown(&self) -> bool {
        let mut tracked = self.world.tracked.values();
        tracked.all(|one| one.shown.is_some())
    }

    /// Steps until it is so.
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Drive<'a>) -> bool) -> Law {
        for step in 0..STEPS_MAX {
            // Not at each step: it is dear.
            if step % LOOK_STEPS == 0 {
                if so(self) {
                    return Ok(());
                }
                if self.needs_restart() {
                    self.crash()?;
                }
                let idle = self.process().is_idle() && self.world.work() + self.late.len() == 0;
                if idle || step % TIME_STEPS == 0 {
                    self.world.time()?;
                }
            }
            self.progress()?;
        }
        let view = self.view();
        let pipelines = view.pipelines();
        let pipelines: Vec<String> = pipelines
            .map(|one| format!("{} {} {:?}", one.name, one.state, one.failure))
            .collect();
        let partitions = view.pairings().map(|pairing| {
            let id = pairing.leaf_partition.0;
            let phase = self.partition(id, |one| {
                (
                    one.phase.clone(),
                    one.fetch.clone(),
                    one.goal,
                    one.visible(),
                )
            });
            format!("{id}: {phase:?}")
        });
        let partitions: Vec<String> = partitions.collect();
        let waiting: Vec<_> = self.statements.iter().map(|one| one.kind).collect();
        Err(format!(
            "{what} is not reached: {pipelines:?}, {partitions:?}, statements {waiting:?}"
        ))
    }

    /// Whether only a new process helps: that was said, or nobody can START what has failed.
    fn needs_restart(&self) -> bool {
        let view = self.view();
        let mut failed = view.pairings().filter_map(|pairing| {
            let failed = self.partition(pairing.leaf_partition.0, |one| match &one.phase {
                Phase::Failed(failure) => Some(failure.text.clone()),
                _ => None,
            });
            Some((view.pipeline_by_id(pairing.pipeline).is_some(), failed??))
        });
        let says = |text: &str| text.contains("restart") || text.contains("remount");
        // The next start ends a DROP that the disk cut short.
        let dropping = self.statements.is_empty() && view.tables_dropping().next().is_some();
        self.world.healed && (dropping || failed.any(|(loaded, text)| !loaded || says(&text)))
    }

    /// Somebody who had no part in it looks at every leaf partition.
    fn audit(&mut self) -> Law {
        let view = self.view();
        for pairing in view.pairings() {
            let id = pairing.leaf_partition;
            let Some(shown) = self.world.views.get(LeafPartitionId(id.0)) else {
                return Err(format!("nothing is shown of leaf partition {id}"));
            };
            let subject = Subject {
                table: pairing.table,
                leaf_partition: id,
                kafka_partition: pairing.kafka_partition,
                lineage: pairing.lineage,
                start_offset: pairing.start_offset,
                topic_id: pairing.topic_id,
                stands: None,
            };
            let partition = pairing.kafka_partition;
            let log = &self.world.cluster.logs[partition as usize];
            let read_committed = self.world.rules.read_committed;
            let disk = &self.world.disk;
            let mut audited = Audited::new(disk, log, partition, read_committed);
            // Rows of a log that lost its end, or was made anew, are not what the log says now.
            let compares = log.histories.len() == 1 && self.verifies;
            // Err: it has found something.
            let _ = match view.pipeline_by_id(pairing.pipeline) {
                Some(pipeline) if compares => {
                    self.world.coverage.hit(VERIFIED);
                    let model = Model::new(pipeline.spec.mapping.clone(), None);
                    verify(&subject, shown.snapshot(), &model, &mut audited)
                }
                _ => records(&subject, shown.snapshot(), &mut audited),
            };
            audited.found(id)?;
        }
        Ok(())
    }
}
