//! Crashes, starts, and the law: what a store says afterwards, beside what is true.

use std::path::Path;

use storage::disk::Failure;
use storage::ids::Offset;
use storage::published::Snapshot;
use storage::store::{RecoveredReport, StoreEffects, StoreEvent};

use super::super::truth::{Expected, Wrong};
use super::{DIRECTORY, DRAIN_TURNS_MAX, Damage, Drive, Law, Pending, Process, check};
use crate::sim::disk::{DiskFaultKind, FUSE, Rot};

impl Drive<'_> {
    // ---- crashes and starts

    pub(super) fn died(&mut self) -> Law {
        let what = if self.process.recovering {
            "event: crash inside recovery"
        } else {
            "event: crash inside a disk operation"
        };
        self.hit(what);
        let power = self.random.chance(500);
        self.crash(power)
    }

    pub(super) fn crash(&mut self, power: bool) -> Law {
        // What was on its way may have been done, or not.
        if !self.disk.is_dead() {
            for index in (0..self.process.pending.len()).rev() {
                if self.random.chance(500) && !self.disk.is_dead() {
                    self.perform(index);
                }
            }
        }
        if self
            .process
            .pending
            .iter()
            .any(|one| matches!(one, Pending::Done(_)))
        {
            self.hit("event: a crash before an outcome is reported");
        }
        if power {
            self.disk.lose_power();
            if let Some(damage) = &mut self.damage {
                // The record that says so may be lost.
                damage.must_be_named = false;
            }
        } else {
            self.disk.kill();
            if self.random.chance(300) && self.evicts() {
                self.disk.evict();
            }
        }
        self.coverage.merge(&self.disk.take_hits());
        let what = if power { "POWER LOSS" } else { "KILL" };
        self.trace.say(|| what.to_owned());
        if self.seed % 5 < 2 && self.damage.is_none() && self.random.chance(500) {
            self.spoil();
        }
        let directory = Path::new(DIRECTORY);
        if self.random.chance(80)
            && self.has("event: a write went astray")
            && let Some(path) = self.disk.write_astray(&mut self.random, directory)
        {
            self.hit("event: a write went astray");
            self.trace
                .say(|| format!("a write went astray to {}", path.display()));
        }
        self.start()
    }

    /// What no crash does.
    fn spoil(&mut self) {
        let directory = Path::new(DIRECTORY);
        let what = match self.seed / 5 % 8 {
            0 => "event: a file is gone",
            _ => "event: bit rot",
        };
        if !self.has(what) {
            return;
        }
        let random = &mut self.random;
        let damaged = match self.seed / 5 % 8 {
            0 => self.disk.lose_file(random, directory),
            kind => {
                let place = match kind {
                    1 => Rot::Anywhere,
                    2 => Rot::Header,
                    3 => Rot::Newest,
                    4..=6 => Rot::Earlier,
                    _ => Rot::Merged,
                };
                self.disk.rot(random, directory, place)
            }
        };
        if let Some(damaged) = damaged {
            self.hit(what);
            self.trace.say(|| damaged.what.clone());
            self.damage = Some(Damage {
                must_be_named: damaged.must_be_named,
            });
        }
    }

    pub(super) fn start(&mut self) -> Law {
        self.process = Process::new(&self.settings);
        self.out = StoreEffects::new();
        self.on_drained = None;
        let older = self.older.filter(|_| self.begun && self.damage.is_none());
        self.restored = older.is_some()
            && !self.finishing
            && self.random.chance(40)
            && self.has("event: an older catalog is refused");
        let catalog = older.filter(|_| self.restored).unwrap_or(self.catalog);
        self.trace
            .say(|| format!("start; {catalog:?}; files {:?}", self.disk.files()));
        if self.random.chance(60) && !self.finishing {
            const KINDS: [DiskFaultKind; 7] = [
                DiskFaultKind::Open,
                DiskFaultKind::OpenFull,
                DiskFaultKind::WriteFull,
                DiskFaultKind::Read,
                DiskFaultKind::Read,
                DiskFaultKind::Unlink,
                DiskFaultKind::Write,
            ];
            let kind = KINDS[self.random.below(KINDS.len() as u64) as usize];
            self.arm_with(kind);
        }
        if self.random.chance(150) && !self.finishing && self.has(FUSE) {
            let calls = self.random.below(60) as u32;
            self.trace.say(|| format!("fuse of {calls} calls"));
            self.disk.light_fuse(calls);
        }
        self.disk
            .set_evicts(self.random.chance(500) && self.evicts());
        self.send(StoreEvent::Open(catalog))
    }

    pub(super) fn recovered(&mut self, report: &RecoveredReport) -> Law {
        self.process.ready = true;
        self.process.rewinding = false;
        self.disk.set_evicts(false);
        self.trace
            .say(|| format!("recovered: cursor {}, {:?}", report.cursor, report.notes));
        check(!self.restored, || {
            "an older catalog than the segments' was taken".to_owned()
        })?;
        check(report.lineage == self.catalog.lineage, || {
            format!("recovered lineage {}", report.lineage)
        })?;
        // Without a commit it may stand in no file yet.
        self.begun |= report.cursor > self.catalog.start_offset;
        let truth = self
            .lineages
            .get_mut(&report.lineage.0)
            .expect("the current lineage");
        if let Some(damage) = self.damage
            && report.cursor.0 < truth.durable
        {
            check(!damage.must_be_named, || {
                format!(
                    "damage below a durable end went unnamed: cursor {}, durable was {}",
                    report.cursor, truth.durable
                )
            })?;
            // The group offset names it.
            self.ended = true;
            return Ok(());
        }
        self.promise(report.lineage, report.cursor)?;
        self.look()?;
        if self.random.chance(100) {
            return self.probe();
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, failure: &Failure) -> Law {
        self.trace.say(|| format!("FAILED: {failure}"));
        self.process.ready = false;
        self.on_drained = None;
        if self.restored {
            // The right one is put back, and nothing is lost.
            if matches!(failure, Failure::Mismatch { .. }) {
                self.hit("event: an older catalog is refused");
            }
            return self.crash(false);
        }
        match failure {
            Failure::Corrupt { .. } | Failure::Mismatch { .. } if self.damage.is_some() => {
                self.ended = true;
                return Ok(());
            }
            Failure::Corrupt { .. } => return Err(format!("nothing is corrupt: {failure}")),
            Failure::Mismatch { .. } if self.process.failed => {}
            Failure::Mismatch { .. } => return Err(format!("nothing is missing: {failure}")),
            Failure::Directory(_) => self.hit("event: failed directory"),
            Failure::Again(_) | Failure::File(_) => self.hit("event: failed disk"),
        }
        self.process.failed = true;
        self.process.asked = false;
        self.look()?;
        if self.random.chance(500) && !matches!(failure, Failure::Mismatch { .. }) {
            self.trace.say(|| "START again".to_owned());
            return self.send(StoreEvent::Open(self.catalog));
        }
        self.crash(false)
    }

    // ---- the law

    /// Compares what is visible and what is durable with the truth.
    pub(super) fn look(&mut self) -> Law {
        if !self.process.ready && !self.process.failed {
            return Ok(());
        }
        let store = &self.process.store;
        let view = store.view();
        let snapshot = view.snapshot();
        let cursors = store.cursors();
        let current = store.lineage().0;
        check(
            cursors.durable <= cursors.committed && cursors.committed <= cursors.visible,
            || format!("{cursors:?}"),
        )?;
        let settled = self.process.ready && !self.process.rewinding;
        self.compare(&snapshot, current, cursors.visible, settled)?;
        let durable = snapshot.durable_prefix();
        self.compare(&durable, current, cursors.durable, settled)
    }

    pub(super) fn compare(
        &mut self,
        snapshot: &Snapshot,
        current: u64,
        next: Offset,
        settled: bool,
    ) -> Law {
        let expected = Expected {
            topic: self.topic,
            lineages: &self.lineages,
            live: settled.then_some(self.catalog.live_lineage.0),
            current,
            next_offset: next.0,
            offsets_max: self.settings.offsets_max,
        };
        match expected.check(snapshot) {
            Ok(()) => Ok(()),
            Err(Wrong::Law(what)) => Err(what),
            Err(Wrong::Damage(error)) if self.damage.is_some() => {
                self.trace.say(|| format!("a query says: {error}"));
                self.ended = true;
                Ok(())
            }
            Err(Wrong::Damage(error)) => Err(format!("nothing is damaged: {error}")),
        }
    }

    /// A healthy disk from now on: the store must drain, and all of it must survive.
    pub(super) fn finish(&mut self) -> Law {
        self.finishing = true;
        self.disk.disarm();
        self.settle()?;
        self.drained = false;
        for _ in 0..DRAIN_TURNS_MAX {
            if self.ended {
                return Ok(());
            }
            if self.drained {
                break;
            }
            if !self.process.ready {
                self.process.asked = false;
            } else if !self.process.asked && !self.process.rewinding {
                self.process.asked = true;
                self.on_drained = None;
                self.send(StoreEvent::Drain)?;
            }
            self.now_ms += 1_500;
            self.send(StoreEvent::Tick)?;
            self.settle()?;
            while !self.process.pending.is_empty() && !self.ended {
                self.progress()?;
                self.settle()?;
            }
        }
        if self.ended {
            return Ok(());
        }
        check(self.drained, || {
            "stuck: a healthy disk did not drain it".to_owned()
        })?;
        self.look()?;
        let power = self.random.chance(700);
        self.crash(power)?;
        self.disk.disarm();
        for _ in 0..DRAIN_TURNS_MAX {
            self.settle()?;
            if self.process.ready || self.ended {
                break;
            }
            self.now_ms += 1_500;
            self.send(StoreEvent::Tick)?;
            self.progress()?;
        }
        check(self.process.ready || self.ended, || {
            "stuck: it did not recover".to_owned()
        })
    }
}
