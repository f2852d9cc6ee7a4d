//! Damage that a reader met, and the holes that it leaves: the segment goes to quarantine once nothing is
//! on its way any more, and what it held is told until it is loaded again or given up.

use std::cmp::Reverse;

use super::chain::{Footer, Link};
use super::machine::{Again, Phase, Rewinding, Store};
use super::{FaultRecord, StoreEffects};
use crate::disk::{CloseHoles, DiskError, DiskOp, Failure};
use crate::format::rejects::{FaultKind, RejectKind};
use crate::format::{Hole, SegmentId};
use crate::limits::FAULTS_WAITING_MAX;
use crate::planted::{Rule, out as taken_out};
use crate::recovery::{KnownHole, bridge_path, hole_path};

/// The holes of one leaf partition.
#[derive(Debug, Default)]
pub(super) struct Holes {
    pub known: Vec<KnownHole>,
    /// What is to be done about those that say nothing any more.
    due: CloseHoles,
    closing: bool,
}

impl Holes {
    pub fn new(known: Vec<KnownHole>) -> Holes {
        Holes {
            known,
            ..Holes::default()
        }
    }

    /// Those that stay: what is told, what the chain leads over, and what a later one that stays hangs on, since
    /// without it nobody could tell what stood before that.
    fn staying(&self) -> Vec<SegmentId> {
        let mut newest_first: Vec<&Hole> = Vec::with_capacity(self.known.len());
        let mut known: Vec<&KnownHole> = self.known.iter().collect();
        known.sort_unstable_by_key(|known| Reverse(known.hole.id));
        for KnownHole {
            hole,
            bridged,
            told,
        } in known
        {
            if *told || *bridged || newest_first.iter().any(|newer| newer.hangs_on(hole)) {
                newest_first.push(hole);
            }
        }
        newest_first.iter().map(|hole| hole.id).collect()
    }

    /// Whether their files say what is so.
    fn at_rest(&self) -> bool {
        !self.closing && self.due.unlink.is_empty() && self.due.rename.is_empty()
    }
}

impl Store {
    /// What segments in quarantine held.
    #[must_use]
    pub fn holes(&self) -> &[KnownHole] {
        &self.holes.known
    }

    /// A reader met damage: nothing more is begun, and once what was begun has ended the file goes.
    pub(super) fn look_at_alarm(&mut self) {
        if self.looks_at_alarm() && self.view.alarm().damage().is_some() {
            self.alarm_seen = true;
            self.phase = Phase::Quarantining { started: false };
        }
    }

    /// Moves the damaged segment away: nothing else is on its way.
    pub(super) fn quarantine(&mut self, now_ms: u64, out: &mut StoreEffects) {
        self.phase = Phase::Quarantining { started: true };
        let alarm = self.view.alarm();
        let links = &self.chain.links;
        let found = alarm.damage().and_then(|first| {
            // Behind the end of what was cut nothing is shown any more.
            let shown =
                |link: &Link| link.footer != Footer::None || first.1.bytes.start < link.end.bytes;
            let of = |link: &Link| link.segment.path() == first.0 && shown(link);
            Some((links.iter().position(of)?, first))
        });
        let Some((at, first)) = found else {
            // Its rows are not shown any more, or a merge that was on its way read all of them undamaged.
            tracing::warn!(leaf_partition = %self.identity.leaf_partition, "the damaged segment is needed no more");
            alarm.silence();
            self.alarm_seen = false;
            self.phase = Phase::Running;
            return;
        };
        let (path, damage) = &*first;
        let link = &links[at];
        // A lineage that the catalog has and that is not begun yet was begun by hand before this.
        let standing = match self.rewinding {
            Some(Rewinding::Draining(start)) => start.lineage.max(self.start.lineage),
            _ => self.start.lineage,
        };
        let hole = Hole {
            next_offset: link.end.next_offset,
            next_commit_number: link.end.next_commit_number,
            vouches: at <= self.chain.whole,
            standing,
            found_unix_ms: self.unix_ms(now_ms),
            ..Hole::of(link.header(), damage.to_string())
        };
        let op = DiskOp::Quarantine {
            path: path.to_path_buf(),
            quarantine: self.identity.quarantine.clone(),
            hole: Box::new(hole),
        };
        self.submit(op, out);
    }

    pub(super) fn on_quarantined(
        &mut self,
        path: std::path::PathBuf,
        result: Result<Box<Hole>, DiskError>,
        out: &mut StoreEffects,
    ) {
        if self.phase != (Phase::Quarantining { started: true }) {
            return;
        }
        let failure = match result {
            Ok(hole) => {
                let newest = self.chain.last();
                self.holes.known.push(KnownHole {
                    bridged: newest.is_some_and(|newest| newest.sequence() != hole.id.sequence),
                    told: true,
                    hole: Hole::clone(&hole),
                });
                let what = hole.reason.clone();
                let hole = Some(hole);
                Failure::Corrupt { path, what, hole }
            }
            Err(error) => {
                let alarm = self.view.alarm();
                let what = alarm.damage().map(|first| first.1.to_string());
                let what = what.unwrap_or_default();
                Failure::Corrupt {
                    path,
                    what: format!("{what}; it could not be moved to quarantine: {error}"),
                    hole: None,
                }
            }
        };
        self.fail(failure, Again::Recover, out);
    }

    /// The durable cursor moved, or a lineage began: holes that it closes are told no more.
    pub(super) fn close_holes(&mut self, now_ms: u64) {
        if self.phase != Phase::Running {
            return;
        }
        let lineage = self.start.lineage;
        let durable = match taken_out(Rule::HoleTillDurable) {
            true => self.visible,
            false => self.durable().0,
        };
        let mut closed = Vec::new();
        for known in &mut self.holes.known {
            if known.told && known.is_settled(lineage, durable) {
                known.told = false;
                closed.push(known.hole.clone());
            }
        }
        if closed.is_empty() {
            return;
        }
        let staying = self.holes.staying();
        let directory = &self.identity.directory;
        let due = &mut self.holes.due;
        self.holes.known.retain(|KnownHole { hole, .. }| {
            let (sequence, rewrite) = (hole.id.sequence, hole.id.rewrite);
            let path = hole_path(directory, sequence, rewrite);
            let bridge = bridge_path(directory, sequence, rewrite);
            let (is_closed, stays) = (closed.contains(hole), staying.contains(&hole.id));
            match (is_closed, stays) {
                (true, true) => due.rename.push((path, bridge)),
                (true, false) => due.unlink.push(path),
                (false, true) => {}
                // What hung on it is closed now.
                (false, false) => due.unlink.push(bridge),
            }
            stays
        });
        for hole in &closed {
            self.record_closed(now_ms, hole);
        }
        self.show();
    }

    /// What was missing stays in the history of errors.
    fn record_closed(&mut self, now_ms: u64, hole: &Hole) {
        let begun = self.start.start_offset.max(hole.first_offset);
        let given_up = match self.start.lineage > hole.standing {
            true => hole.first_offset.until(begun.min(hole.next_offset)),
            false => 0,
        };
        let became = match given_up {
            0 => "they are loaded again".to_owned(),
            all if all == hole.first_offset.until(hole.next_offset) => {
                "they are given up".to_owned()
            }
            some => format!("{some} of them are given up, the others loaded again"),
        };
        tracing::warn!(leaf_partition = %hole.id.leaf_partition, "{hole}: {became}");
        if self.faults.len() < FAULTS_WAITING_MAX {
            self.faults.push_back(FaultRecord {
                offset: hole.first_offset,
                timestamp_ms: 0,
                unix_ms: self.unix_ms(now_ms),
                code: 0,
                kind: RejectKind::Fault(FaultKind::Load),
                line: 0,
                column: None,
                text: format!("{hole}: {became}"),
                message: Vec::new(),
            });
        }
    }

    /// Does what is due about holes' files, where nothing else syncs the directory.
    pub(super) fn close_next(&mut self, out: &mut StoreEffects) {
        if self.holes.closing || self.holes.at_rest() || !self.directory_free() {
            return;
        }
        self.next_ticket += 1;
        let holes = CloseHoles {
            directory: self.identity.directory.clone(),
            ticket: self.next_ticket,
            ..std::mem::take(&mut self.holes.due)
        };
        self.holes.closing = true;
        self.directory_syncing.push(holes.ticket);
        self.submit(DiskOp::CloseHoles(holes), out);
    }

    pub(super) fn on_holes_closed(
        &mut self,
        ticket: u64,
        result: Result<(), Failure>,
        out: &mut StoreEffects,
    ) {
        self.directory_syncing.retain(|&of| of != ticket);
        self.holes.closing = false;
        match result {
            Ok(()) => {}
            Err(failure @ Failure::Directory(_)) => self.fail(failure, Again::Never, out),
            // In another lineage they would say that it is missing again.
            Err(failure) => self.fail(failure, Again::Recover, out),
        }
    }

    pub(super) fn holes_at_rest(&self) -> bool {
        self.holes.at_rest() || taken_out(Rule::HolesBeforeDrained)
    }

    /// Holes of lineages that are dead now.
    pub(super) fn forget_dead_holes(&mut self) {
        let live = self.start.live_lineage;
        let (directory, due) = (&self.identity.directory, &mut self.holes.due);
        self.holes.known.retain(|known| {
            let alive = known.hole.lineage >= live;
            if !alive {
                let (sequence, rewrite) = (known.hole.id.sequence, known.hole.id.rewrite);
                due.unlink.push(match known.told {
                    true => hole_path(directory, sequence, rewrite),
                    false => bridge_path(directory, sequence, rewrite),
                });
            }
            alive
        });
    }

    /// What is missing between the visible rows, as queries are told.
    pub(super) fn told(&self) -> impl Iterator<Item = &KnownHole> {
        self.holes.known.iter().filter(|known| known.told)
    }
}
