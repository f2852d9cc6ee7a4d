//! How a process ends otherwise than in the middle of what it does: in good order, as SIGTERM has it, and behind a
//! COMMIT of the catalog that failed.
//!
//! Whoever stops in good order and says that all is drained has all that is visible on the disk, also when the
//! power goes next. Of a COMMIT that failed nobody knows whether it is kept: the process ends, nothing follows it
//! in the catalog, and the next process goes by what it finds there, one statement whole or not at all.
//!
//! A COMMIT that finds no room is none of these: nothing was changed, its statement hears of it, and all goes on.

use std::sync::Arc;

use control::aggregator::{AggregatorError, Drained, Ended};
use control::catalog::{CatalogView, Store};
use futures::FutureExt;
use ingest::leaf::partition::Phase;

use super::drive::{CRASH_STEPS_MAX, Drive};
use super::files::Files;
use super::process::{Slot, put, take};
use super::sqlite;
use crate::sim::Random;
use crate::sim::disk::POWER_LOSS;
use crate::sim::world::Law;

/// What becomes of it, each with its name in the coverage.
pub(super) const EVENTS: [&str; 14] = [
    "end: in good order, and all is drained",
    "end: in good order, and the process ends before",
    "end: in good order, before all is attached",
    "end: in good order, and a statement is refused for it",
    "end: a COMMIT fails and is not kept",
    "end: a COMMIT fails and is kept",
    "end: the aggregator ends behind a COMMIT that failed",
    "a COMMIT finds no room",
    "a COMMIT finds no room, and a statement is refused for it",
    "end: in the middle of a COMMIT, which is not kept",
    "end: in the middle of a COMMIT, which is kept",
    "end: the catalog's power goes with what is not synced",
    "end: in the middle of a COMMIT, whose sync fails",
    "end: while the catalog is opened",
];

/// Calls of an open that writes the WAL again.
const OPEN_CALLS_MAX: u64 = 4;
/// More changes than a statement has.
const CHANGES_MAX: usize = 10_000;

/// What a stop in good order says once it is over.
pub(super) type Stopping = Slot<Result<Drained, AggregatorError>>;

impl Drive<'_> {
    /// SIGTERM.
    pub(super) fn stop(&mut self) {
        let Some(aggregator) = self.process().aggregator.clone() else {
            return;
        };
        if self.stopping.is_some() || self.lost_commit || !self.world.case.has(EVENTS[0]) {
            return;
        }
        if !self.all_shown() {
            self.world.coverage.hit(EVENTS[2]);
        }
        self.world.say(|| "SIGTERM".to_owned());
        let drained = Stopping::default();
        self.stopping = Some(drained.clone());
        let task = async move { put(&drained, aggregator.shutdown().await) };
        self.process_mut().executor.spawn(task.boxed());
    }

    /// Whether the aggregator has ended, and for a reason that there was.
    pub(super) fn look_at_end(&mut self) -> Law {
        let process = self.process_mut();
        if let Some(end) = &mut process.end
            && let Ok(why) = end.try_recv()
        {
            process.ended = Some(why);
        }
        match &self.process().ended {
            None => Ok(()),
            Some(Ended::CatalogLost(_)) if self.lost_commit => {
                self.world.coverage.hit(EVENTS[6]);
                self.crash()
            }
            Some(Ended::Shutdown) if self.stopping.is_some() => {
                match self.stopping.as_ref().and_then(take) {
                    Some(answer) => self.stopped(answer),
                    None => Ok(()),
                }
            }
            Some(why) => Err(format!("the aggregator ended by itself: {why}")),
        }
    }

    fn stopped(&mut self, answer: Result<Drained, AggregatorError>) -> Law {
        self.world.say(|| format!("stopped: {answer:?}"));
        match answer {
            Err(error) => return Err(format!("a stop in good order fails: {error}")),
            // The disk is full or slow: the node says so, and what is not durable is fetched again.
            Ok(Drained::Late { .. }) => {}
            Ok(Drained::All) => {
                self.world.coverage.hit(EVENTS[0]);
                if !self.world.nodes.iter().all(|node| node.leaf.is_ended()) {
                    return Err("all is drained, and a leaf goes on".to_owned());
                }
                let ids: Vec<u64> = self.world.tracked.keys().copied().collect();
                ids.into_iter().try_for_each(|id| self.stopped_at(id))?;
            }
        }
        self.stopping = None;
        self.stops += 1;
        self.closes = true;
        self.crash()
    }

    /// All that is visible of a leaf partition is durable: what comes next finds it there.
    fn stopped_at(&mut self, id: u64) -> Law {
        let mut leaves = self.world.nodes.iter().map(|node| &node.leaf);
        let Some(one) = leaves.find_map(|leaf| leaf.partition(id)) else {
            return Ok(());
        };
        if matches!(one.phase, Phase::Failed(_)) {
            return Ok(());
        }
        let (lineage, visible) = (one.pairing.lineage, one.visible().0);
        if !self.is_drained(id) {
            return Err(format!(
                "leaf partition {id} is drained, and not all of it up to {visible} is durable"
            ));
        }
        if let Some(tracked) = self.world.tracked.get_mut(&id)
            && tracked.shown == Some(lineage)
        {
            tracked.durable = tracked.durable.max(visible);
        }
        Ok(())
    }

    /// The catalog's thread serves a request, and the COMMIT in it fails.
    pub(super) fn commit_fails(&mut self) -> Law {
        let kept = self.world.random.chance(500);
        let process = self.process_mut();
        let before = process.desk.view();
        if !process.desk.serve_failing(kept) {
            return Ok(());
        }
        let after = process.desk.on_disk();
        let after = after.map_err(|error| format!("the catalog is read again: {error}"))?;
        self.lost_commit = true;
        self.world.coverage.hit(EVENTS[4 + usize::from(kept)]);
        self.world.say(|| format!("a COMMIT fails, kept: {kept}"));
        match (kept, before.change == after.change) {
            (true, false) => self.committed(&before, &after),
            // Where nothing was to be changed, nothing is.
            (_, true) => Ok(()),
            (false, false) => Err(format!(
                "a COMMIT failed and was not kept, and the catalog went from change {} to {}",
                before.change, after.change
            )),
        }
    }

    /// The catalog's thread serves a request, and there is no room for the COMMIT in it.
    pub(super) fn commit_refused(&mut self) -> Law {
        let process = self.process_mut();
        let before = process.desk.view();
        self.no_room = process.desk.serve_without_room();
        if !self.no_room {
            return Ok(());
        }
        self.was_refused = true;
        self.world.coverage.hit(EVENTS[7]);
        self.world.say(|| "a COMMIT finds no room".to_owned());
        let after = self.process().desk.on_disk();
        let after = after.map_err(|error| format!("the catalog is read again: {error}"))?;
        match *before == after && self.process().desk.view().change == before.change {
            true => Ok(()),
            false => Err("a COMMIT found no room, and the catalog is another".to_owned()),
        }
    }

    /// The process, or the machine, ended in the middle of the COMMIT that was to follow `before`; perhaps as its sync
    /// failed.
    pub(super) fn commit_is_cut(&mut self, before: &CatalogView) -> Law {
        if self.world.random.chance(300)
            && self.world.has(EVENTS[12])
            && sqlite::files(Files::fail_sync)
        {
            self.world.coverage.hit(EVENTS[12]);
        }
        let power_lost = self.world.random.chance(500) && self.world.case.has(POWER_LOSS);
        let store = self.next_store(power_lost)?;
        let after = store.view().clone();
        let kept = after.change != before.change;
        self.world.coverage.hit(EVENTS[9 + usize::from(kept)]);
        self.world
            .say(|| format!("the end in a COMMIT, power lost: {power_lost}, kept: {kept}"));
        let mut replayed = before.clone();
        let changes = store.changes_after(before.change, CHANGES_MAX);
        let changes = changes.map_err(|error| format!("the catalog is read again: {error}"))?;
        for (_, change) in changes {
            let fits = replayed.apply(&change);
            fits.map_err(|misfit| format!("what a COMMIT left: {misfit}"))?;
        }
        if replayed != after {
            return Err(format!(
                "a COMMIT was cut short, and the catalog at change {} is neither with it nor without",
                after.change
            ));
        }
        self.next_store = Some(store);
        if kept {
            self.committed(before, &after)?;
        }
        self.crash()?;
        // The next one goes by what nobody may have synced: perhaps not for long.
        if kept && self.crash_in.is_none() && self.world.random.chance(700) {
            self.crash_in = Some(self.world.random.below(CRASH_STEPS_MAX));
        }
        Ok(())
    }

    /// What the next process holds, which has read the catalog that `last` leaves: all that that one knew.
    pub(super) fn reopened(
        &mut self,
        last: Store,
        known: &CatalogView,
        power_lost: bool,
    ) -> Result<Store, String> {
        // Opening it again is dear. Where all is synced it finds what is there.
        let opens = sqlite::files(|files| files.is_dirty()) || self.world.random.chance(100);
        let store = match self.next_store.take() {
            Some(store) => store,
            // It goes first: SQLite copies the WAL into the file and deletes it, where it is let.
            None if std::mem::take(&mut self.closes) => {
                drop(last);
                self.next_store(power_lost)?
            }
            None if opens => self.next_store(power_lost)?,
            None => {
                let reread = last.reread();
                reread.map_err(|error| format!("the catalog is read again: {error}"))?
            }
        };
        match store.view() == known {
            true => Ok(store),
            false => Err(format!(
                "the catalog was at change {} and comes back at {}, power lost: {power_lost}",
                known.change,
                store.view().change
            )),
        }
    }

    /// What the next process finds, which may end while it opens the catalog; then it is the one after that.
    fn next_store(&mut self, power_lost: bool) -> Result<Store, String> {
        if sqlite::files(|files| files.is_dirty()) && power_lost {
            self.world.coverage.hit(EVENTS[11]);
        }
        let mut random = Random::new(self.world.random.number());
        sqlite::files(|files| files.begin_anew(power_lost.then_some(&mut random)));
        if self.world.random.chance(150) && self.world.has(EVENTS[13]) {
            let calls = self.world.random.below(OPEN_CALLS_MAX);
            sqlite::files(|files| files.end_behind(calls as u32));
            let store = sqlite::open(self.wal_pages_max);
            if sqlite::files(Files::has_ended) {
                self.world.coverage.hit(EVENTS[13]);
                let power_lost = random.chance(500) && self.world.case.has(POWER_LOSS);
                sqlite::files(|files| files.begin_anew(power_lost.then_some(&mut random)));
            } else {
                return store.map_err(|error| format!("the catalog is opened again: {error}"));
            }
        }
        let store = sqlite::open(self.wal_pages_max);
        store.map_err(|error| format!("the catalog is opened again: {error}"))
    }

    /// The catalog as the next process finds it.
    pub(super) fn catalog_on_disk(&self) -> Result<Arc<CatalogView>, String> {
        if let Some(store) = &self.next_store {
            return Ok(Arc::new(store.view().clone()));
        }
        if !self.lost_commit {
            return Ok(self.view());
        }
        let view = self.process().desk.on_disk().map(Arc::new);
        view.map_err(|error| format!("the catalog is read again: {error}"))
    }
}
