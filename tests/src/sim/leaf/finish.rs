//! The end of a seed: nothing fails any more, so it must come to rest, and the law must hold.

use std::path::Path as StdPath;

use ingest::leaf::order::{Goal, Order};
use ingest::leaf::{Connection, Event};
use storage::disk::Disk;
use storage::ids::LeafPartitionId;

use super::broker::key;
use super::drive::{Drive, Law, Lost, Paired};
use super::law::{Truth, look};
use super::log::Log;

/// Steps in which a healed world must come to rest.
const FINISH_STEPS_MAX: u64 = 40_000;

impl<'a> Drive<'a> {
    /// Nothing fails any more: it must come to rest at the log's end, and the law must hold.
    pub(super) fn finish(&mut self) -> Law {
        self.healed = true;
        self.say(|| "healed".to_owned());
        self.cluster.faults = 0;
        self.cluster.rotten.clear();
        self.disk.disarm();
        for log in &mut self.cluster.logs {
            log.settle();
        }
        // A mute connection is cut: its time-out is longer than the steps that are left.
        let dumb = self.cluster.wires.values().filter(|wire| wire.dumb);
        let dumb: Vec<Connection> = dumb.map(|wire| wire.connection).collect();
        for connection in dumb {
            self.cluster.wires.remove(&key(connection));
            self.on(Event::Lost(connection, "mended".to_owned()))?;
        }
        // The aggregator looks at the metadata now and then.
        for at in 0..self.partitions.len() {
            let leader = self.leader(self.log_of(at));
            let leaf_partition = self.partitions[at].pairing.leaf_partition;
            self.order(Order::Leader {
                leaf_partition,
                leader,
            })?;
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
            self.partitions[at].valid_until = i64::MAX;
        }
        self.look_all(true)?;
        self.drop_one()
    }

    /// DROP: the directory is gone, and so is the view.
    pub(super) fn drop_one(&mut self) -> Law {
        let id = self.partitions[0].pairing.leaf_partition;
        self.goal(0, Goal::Drop)?;
        self.run_until(|drive| drive.leaf.partition(id).is_none(), "a drop")?;
        if self.views.get(LeafPartitionId(id)).is_some() {
            return Err("a dropped leaf partition is shown".to_owned());
        }
        let directory = format!("/data/tables/1/{id}");
        let left = self.disk.list(StdPath::new(&directory));
        match left.map(|entries| entries.into_iter().next()) {
            Ok(Some(entry)) => Err(format!("{} is left of a dropped partition", entry.name)),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    pub(super) fn is_caught_up(&self) -> bool {
        (0..self.partitions.len()).all(|at| {
            let paired = &self.partitions[at];
            let log = &self.cluster.logs[self.log_of(at)];
            let end = if self.read_committed {
                log.stable()
            } else {
                log.end()
            };
            let visible = self
                .leaf
                .partition(paired.pairing.leaf_partition)
                .map_or(-1, |one| one.visible().0);
            let epoch = self.cluster.leaders[self.log_of(at)].1;
            let seen = self
                .leaf
                .partition(paired.pairing.leaf_partition)
                .and_then(|one| one.leader.as_ref())
                .map_or(-1, |leader| leader.epoch);
            visible == end
                && seen == epoch
                && paired.shown.is_some()
                && paired.failed.is_none()
                && paired.rewind_to.is_none()
        })
    }

    pub(super) fn run_until(&mut self, done: impl Fn(&Drive<'a>) -> bool, what: &str) -> Law {
        let mut quiet = 0;
        for step in 0..FINISH_STEPS_MAX {
            if done(self) && self.reports.is_empty() {
                return Ok(());
            }
            let before = self.work();
            self.progress()?;
            // A directory whose sync failed needs a new process.
            let lost = |paired: &Paired| {
                let failed = paired.failed.as_deref();
                failed.is_some_and(|text| text.contains("restart") || text.contains("remount"))
            };
            if self.partitions.iter().any(lost) {
                self.crash()?;
            }
            for at in 0..self.partitions.len() {
                if self.partitions[at].failed.is_some() || self.partitions[at].rewind_to.is_some() {
                    self.push_on(at)?;
                } else if !self.partitions[at].wants_run && what == "the log's end" {
                    self.partitions[at].wants_run = true;
                    self.goal(at, Goal::Run)?;
                }
            }
            quiet = if before == 0 { quiet + 1 } else { 0 };
            if quiet > 20 || step % 500 == 499 {
                quiet = 0;
                self.time()?;
            }
        }
        let states: Vec<String> = self
            .partitions
            .iter()
            .map(|paired| {
                let id = LeafPartitionId(paired.pairing.leaf_partition);
                let words = self.views.attached(id).map(|one| one.standing.words());
                let one = self.leaf.partition(paired.pairing.leaf_partition);
                let fetch = one.map(|one| (one.phase.clone(), one.fetch.clone(), one.load));
                let visible = one.map(|one| one.visible());
                format!("{words:?} {fetch:?} {visible:?} {:?}", paired.failed)
            })
            .collect();
        let ends: Vec<i64> = self.cluster.logs.iter().map(Log::stable).collect();
        Err(format!(
            "{what} is not reached: {states:?}, stable at {ends:?}"
        ))
    }

    /// How much is on its way.
    pub(super) fn work(&self) -> usize {
        let due = |wire: &super::broker::Wire| {
            !wire.outbox.is_empty() || self.cluster.is_due(wire, self.now.us)
        };
        self.disk_work.len()
            + self.connecting.len()
            + self.reports.len()
            + self.cluster.wires.values().filter(|wire| due(wire)).count()
    }

    pub(super) fn look_all(&mut self, strict: bool) -> Law {
        for at in 0..self.partitions.len() {
            self.look(at, strict)?;
        }
        Ok(())
    }

    pub(super) fn look(&mut self, at: usize, strict: bool) -> Law {
        let paired = &self.partitions[at];
        let id = LeafPartitionId(paired.pairing.leaf_partition);
        let Some(lineage) = paired.shown else {
            return Ok(());
        };
        let Some(view) = self.views.get(id) else {
            return if strict {
                Err("nothing is shown".to_owned())
            } else {
                Ok(())
            };
        };
        let snapshot = view.snapshot();
        let mut broken = String::new();
        let mut kept = paired.lost.clone();
        kept.retain(|lost| {
            let looked = look(&snapshot, &self.truth(at, lineage, lost));
            looked.map_err(|what| broken = what).is_ok()
        });
        if kept.is_empty() {
            return Err(format!("leaf partition {id}: {broken}"));
        }
        self.partitions[at].lost = kept;
        Ok(())
    }

    fn truth<'t>(&'t self, at: usize, lineage: u64, lost: &'t Lost) -> Truth<'t> {
        let paired = &self.partitions[at];
        Truth {
            log: &self.cluster.logs[self.log_of(at)],
            read_committed: self.read_committed,
            skips: self.skips,
            lineage,
            start: paired.pairing.start_offset,
            lost,
            valid_until: paired.valid_until,
            offsets_max: self.offsets_max as i64,
        }
    }
}
