//! Void: what a failed write or sync left past the durable end is given up.
//!
//! The page cache may show bytes that never reached the disk, and a second sync would say that they
//! did. So nothing past the durable end is trusted again: it leaves the snapshot, a new segment begins
//! behind the unbroken durable chain, and the leaf fetches again. In the directory the files of what
//! was given up stay until the new segment is durable: until then recovery may still choose them.

use super::machine::{Again, Phase, Store};
use super::{StoreEffect, StoreEffects};
use crate::disk::{DiskError, Failure};
use crate::limits::VOID_WINDOW_MS;
use crate::planted::{Rule, out as taken_out};
use crate::recovery::segment_path;

impl Store {
    /// A write or sync failed.
    ///
    /// Also where damage was met and its file has not gone yet: what a failed sync left may be what was met, as the
    /// kernel drops its pages when it likes, and what stands before it is sound. Behind the void it is looked at again.
    pub(super) fn void(&mut self, now_ms: u64, error: DiskError, out: &mut StoreEffects) {
        let is_due = Phase::Quarantining { started: false };
        if !matches!(self.phase, Phase::Running | Phase::Voiding) && self.phase != is_due {
            return;
        }
        self.alarm_seen = false;
        let recent = |last: u64| now_ms.saturating_sub(last) < VOID_WINDOW_MS;
        if self.last_void_ms.is_some_and(recent) {
            return self.fail(Failure::Again(error), Again::Continue, out);
        }
        self.last_void_ms = Some(now_ms);
        self.phase = Phase::Voiding;
        self.cut_to_durable();
        out.push(StoreEffect::Voided {
            cursor: self.visible,
            why: Failure::File(error),
        });
    }

    /// Gives up all that is not durable, in memory.
    pub(super) fn cut_to_durable(&mut self) {
        self.give_up_blocks();
        let durable = if taken_out(Rule::VoidNamesDurableChain) {
            let last = self.chain.links.iter().rposition(|l| l.durable.is_some());
            last.and_then(|at| Some((at, self.chain.links[at].durable?)))
        } else {
            self.chain.durable()
        };
        let keep = durable.map_or(0, |(at, _)| at + 1);
        let (directory, garbage) = (&self.identity.directory, &mut self.garbage);
        let links = self.chain.links.len();
        for link in self.chain.replace(keep..links, None) {
            let id = link.header().id;
            garbage.push(segment_path(directory, id.sequence, id.rewrite));
            let next = link.end.next_commit_number;
            self.next_commit_number = self.next_commit_number.max(next);
        }
        if let Some((at, end)) = durable {
            let link = &self.chain.links[at];
            let next = link.end.next_commit_number;
            self.next_commit_number = self.next_commit_number.max(next);
            // A whole link may still wait for its footer's sync; it keeps what it has.
            self.chain.cut(at, end);
        }
        self.chain.unsettle(keep);
        self.visible = match durable {
            Some((at, end))
                if self.chain.links[at].lineage() == self.start.lineage
                    || taken_out(Rule::VoidCursorInLineage) =>
            {
                end.next_offset
            }
            _ => self.start.start_offset,
        };
        self.show();
    }

    /// The tail is given up.
    pub(super) fn give_up_blocks(&mut self) {
        if let Some(filling) = self.filling.take() {
            self.spent.push(filling.writer);
        }
        if let Some(flushing) = self.flushing.take() {
            self.spent.push(flushing.writer);
        }
        self.needed.clear();
    }

    /// Unlinks what is below the live lineage, now that the new one is durable.
    pub(super) fn forget_dead_lineages(&mut self) {
        let live = self.start.live_lineage;
        let dead = self
            .chain
            .links
            .iter()
            .take_while(|link| link.lineage() < live);
        let dead = dead.count();
        let (directory, garbage) = (&self.identity.directory, &mut self.garbage);
        for link in self.chain.replace(0..dead, None) {
            let id = link.header().id;
            garbage.push(segment_path(directory, id.sequence, id.rewrite));
        }
        self.chain.forget_first(dead);
        self.forget_dead_holes();
        if dead > 0 {
            self.show();
        }
    }
}
