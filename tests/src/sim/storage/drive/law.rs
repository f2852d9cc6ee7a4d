//! Crashes, starts, and the law: what a store says afterwards, beside what is true.

use std::sync::atomic::Ordering;

use storage::disk::Failure;
use storage::ids::Offset;
use storage::published::Snapshot;
use storage::store::{RecoveredReport, StoreEffects, StoreEvent};

use super::super::truth::{Expected, Wrong};
use super::{DRAIN_TURNS_MAX, Drive, Law, Pending, Process, check};
use crate::sim::disk::{DiskFaultKind, FUSE};

/// How many of the queries are slow.
const HELD_PER_MILLE: u64 = 300;

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
                damage.must_be_named &= damage.stays_named;
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
        self.spoil();
        self.start()
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
        let (often, calls) = if self.footer_rots {
            (500, 40)
        } else {
            (150, 60)
        };
        if self.random.chance(often) && !self.finishing && self.has(FUSE) {
            let calls = self.random.below(calls) as u32;
            self.trace.say(|| format!("fuse of {calls} calls"));
            self.disk.light_fuse(calls);
        }
        self.disk
            .set_evicts(self.random.chance(500) && self.evicts());
        self.send(StoreEvent::Open(catalog))
    }

    pub(super) fn recovered(&mut self, report: &RecoveredReport) -> Law {
        self.process.ready = true;
        (self.process.recovered, self.process.stands_still) = (false, false);
        self.process.rewinding = false;
        self.footer_rots = false;
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
        self.shorter(report.lineage.0, report.cursor.0)?;
        self.learn_holes()?;
        self.forget_damage();
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
        self.process.voids();
        self.on_drained = None;
        if self.restored {
            // The right one is put back, and nothing is lost.
            if matches!(failure, Failure::Mismatch { .. }) {
                self.hit("event: an older catalog is refused");
            }
            return self.crash(false);
        }
        match failure {
            Failure::Corrupt { hole: None, .. } if self.damage.is_some() => {}
            Failure::Corrupt {
                hole: Some(hole), ..
            } if self.may_be_quarantined(hole) => self.quarantined(hole)?,
            Failure::Mismatch { .. } if self.may_be_refused() => {
                self.ended = true;
                return Ok(());
            }
            Failure::Corrupt { .. } => return Err(format!("nothing is corrupt: {failure}")),
            Failure::Mismatch { .. } if self.process.failed => {}
            Failure::Mismatch { .. } => return Err(format!("nothing is missing: {failure}")),
            Failure::Directory(_) => {
                if self.process.recovered {
                    // What recovery left is not told yet, and will not be.
                    let cursor = self.process.store.cursors().durable;
                    self.shorter(self.process.store.lineage().0, cursor.0)?;
                }
                self.hit("event: failed directory");
            }
            Failure::Again(_) | Failure::File(_) => self.hit("event: failed disk"),
        }
        (self.process.failed, self.process.stands_still) = (true, true);
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
        // What a recovery leaves is looked at once it is told.
        if !self.process.ready && !self.process.stands_still {
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
        let rows = view.gauges.rows.load(Ordering::Relaxed);
        check(rows == snapshot.rows(), || {
            format!("the gauge says {rows} rows, there are {}", snapshot.rows())
        })?;
        let settled = self.process.ready && !self.process.rewinding;
        self.holes_told(&snapshot, current, cursors.durable.0, settled)?;
        self.compare(&snapshot, current, cursors.visible, settled)?;
        let durable = snapshot.durable_prefix();
        self.compare(&durable, current, cursors.durable, settled)?;
        if self.random.chance(HELD_PER_MILLE) {
            self.process.held = Some(snapshot);
        }
        Ok(())
    }

    pub(super) fn compare(
        &mut self,
        snapshot: &Snapshot,
        current: u64,
        next: Offset,
        settled: bool,
    ) -> Law {
        let missing = self.may_be_missing(snapshot);
        let expected = Expected {
            missing: &missing,
            number_last: self.number_last,
            batches_kept: self.settings.batches_kept,
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
                self.hit("event: a reader meets damage");
                self.send(StoreEvent::Tick)
            }
            // It stands still, and shows the segment that went to quarantine.
            Err(Wrong::Damage(_)) if self.process.failed && !snapshot.holes().is_empty() => Ok(()),
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
            if self.drained && !self.owes() {
                break;
            }
            if !self.process.ready {
                self.process.asked = false;
            } else if self.owes() {
                (self.drained, self.process.asked) = (false, false);
                self.step()?;
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
        check(self.drained && !self.owes(), || {
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
