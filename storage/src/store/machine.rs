//! The store's state, its events and what can be asked of it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{Chain, Link};
use super::holes::Holes;
use super::tail::{Filling, Flushing};
use super::{
    Blocked, Cursors, FaultRecord, LineageStart, StoreEffect, StoreEffects, StoreEvent,
    StoreIdentity, StoreSettings, SyncWanted,
};
use crate::block::{BlockFull, BlockWriter};
use crate::disk::{DiskDone, DiskOp, Failure};
use crate::ids::{Lineage, Offset, Sequence, TopicId};
use crate::limits::FAULTS_WAITING_MAX;
use crate::merge;
use crate::pool::{BlockPool, Fills};
use crate::published::{PartitionState, PartitionView};
use crate::recovery::RecoverPartition;
use crate::schema::Schema;
use crate::segment::Segment;

/// One leaf partition's disk side. See the module.
#[derive(Debug)]
pub struct Store {
    pub(super) identity: StoreIdentity,
    pub(super) settings: StoreSettings,
    pub(super) view: Arc<PartitionView>,
    pub(super) phase: Phase,
    pub(super) start: LineageStart,
    pub(super) chain: Chain,
    /// The sealed segments as they are published.
    pub(super) sealed: Arc<[Arc<Segment>]>,
    pub(super) visible: Offset,
    pub(super) fills: Fills,
    /// What the last block had no room for.
    pub(super) needed: Vec<BlockFull>,
    pub(super) filling: Option<Filling>,
    pub(super) flushing: Option<Flushing>,
    /// Blocks to be given back to the pool.
    pub(super) spent: Vec<BlockWriter>,
    /// The create, commit or footer on its way.
    pub(super) writing: Option<Writing>,
    /// Disk operations whose outcome was not reported yet, those of a time before a failure among them.
    pub(super) on_their_way: u32,
    /// The disk is full, or the next segment's name is taken: nothing is written before this time.
    pub(super) full_until_ms: Option<u64>,
    /// The disk was full when something was last written: from the first refusal to the next success,
    /// over every attempt between.
    pub(super) disk_is_full: bool,
    /// What was last begun to be written since somebody asked for room was refused.
    pub(super) refused: bool,
    /// Somebody asked for room behind the beginning of what is being written: its refusal says nothing of now.
    pub(super) asked_since: bool,
    /// A segment had no room: where another's footer is due, that gives back what was allocated behind it.
    pub(super) seals_first: bool,
    /// Names of segments that were taken, one after another.
    pub(super) names_taken: u32,
    /// The pool had no block when one was last asked for.
    pub(super) no_memory: bool,
    /// Said as [`StoreEffect::Held`] and not yet released.
    pub(super) held: bool,
    /// The sync that holds the directory.
    pub(super) directory_syncing: Vec<u64>,
    pub(super) next_ticket: u64,
    pub(super) sequence_last: Sequence,
    pub(super) next_commit_number: u64,
    /// Somebody waits for all to be durable.
    pub(super) draining: bool,
    /// Nobody wants it to load.
    resting: bool,
    pub(super) rewinding: Option<Rewinding>,
    /// Recovery is done but for the new lineage's segment.
    pub(super) recovered: Option<Box<super::RecoveredReport>>,
    pub(super) merge: Merge,
    /// Nothing was to be merged, and no segment came or became durable since.
    pub(super) merge_looked: bool,
    /// What segments in quarantine held.
    pub(super) holes: Holes,
    /// To be unlinked once the newest segment is durable.
    pub(super) garbage: Vec<PathBuf>,
    pub(super) unlinking: bool,
    pub(super) last_void_ms: Option<u64>,
    pub(super) faults: VecDeque<FaultRecord>,
    pub(super) durable_said: Option<(Lineage, Offset)>,
    pub(super) unix_base_ms: i64,
    pub(super) alarm_seen: bool,
    /// Whether readers of this process may have mapped the files.
    pub(super) mapped: bool,
}

/// Where the store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Never opened.
    Closed,
    /// `started`: before it, what an earlier life of this store began is still on its way.
    Recovering {
        started: bool,
    },
    Running,
    /// What a failure left is given up; a new segment is to be created.
    Voiding,
    /// `again`: a new attempt in this process makes sense.
    Failed {
        again: Again,
    },
    /// A reader met damage. `started`: before it, what was begun is still on its way.
    Quarantining {
        started: bool,
    },
    Dropping {
        started: bool,
    },
    Dropped,
}

/// What may lead out of Failed in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Recovery.
    Recover,
    /// A new segment behind the durable chain.
    Continue,
    /// Nothing: names are in doubt.
    Never,
}

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    Create(Sequence),
    Commit(Sequence),
    Footer(Sequence),
}

/// A lineage that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewinding {
    /// The one before is being drained.
    Draining(LineageStart),
    /// Its segment is to be created and synced.
    Beginning,
}

/// The merge on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    Idle {
        not_before_ms: u64,
    },
    Merging,
    /// The inputs are being unlinked.
    Unlinking(Vec<PathBuf>),
}

impl Store {
    /// A store that has not looked at its directory yet.
    #[must_use]
    pub fn new(identity: StoreIdentity, settings: StoreSettings) -> Store {
        let view = Arc::new(PartitionView::new(
            identity.table,
            identity.leaf_partition,
            identity.kafka_partition,
            Arc::clone(&identity.schema),
            Offset(0),
        ));
        Store {
            fills: Fills::new(Arc::clone(&identity.schema)),
            unix_base_ms: identity.unix_base_ms,
            identity,
            settings,
            view,
            phase: Phase::Closed,
            start: LineageStart {
                lineage: Lineage(0),
                live_lineage: Lineage(0),
                start_offset: Offset(0),
                topic_id: TopicId::default(),
            },
            chain: Chain::default(),
            sealed: Arc::new([]),
            visible: Offset(0),
            needed: Vec::new(),
            filling: None,
            flushing: None,
            spent: Vec::new(),
            writing: None,
            on_their_way: 0,
            full_until_ms: None,
            disk_is_full: false,
            refused: false,
            asked_since: false,
            seals_first: false,
            names_taken: 0,
            no_memory: false,
            held: false,
            directory_syncing: Vec::new(),
            next_ticket: 0,
            sequence_last: Sequence(0),
            next_commit_number: 1,
            draining: false,
            resting: false,
            rewinding: None,
            recovered: None,
            merge: Merge::Idle { not_before_ms: 0 },
            merge_looked: false,
            holes: Holes::default(),
            garbage: Vec::new(),
            unlinking: false,
            last_void_ms: None,
            faults: VecDeque::new(),
            durable_said: None,
            alarm_seen: false,
            mapped: false,
        }
    }

    /// What queries read.
    #[must_use]
    pub fn view(&self) -> Arc<PartitionView> {
        Arc::clone(&self.view)
    }

    /// The table's columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.identity.schema
    }

    /// Takes an event; what is to be done about it is added to `out`.
    pub fn on(
        &mut self,
        now_ms: u64,
        event: StoreEvent,
        pool: &mut BlockPool,
        out: &mut StoreEffects,
    ) {
        match event {
            StoreEvent::Open(start) => self.open(start, out),
            StoreEvent::Tick => self.look_at_alarm(),
            StoreEvent::Configure(settings) => {
                self.settings = *settings;
                self.merge_looked = false;
            }
            StoreEvent::Drain => self.draining = true,
            StoreEvent::Rewind(start) => self.rewind(start, out),
            StoreEvent::Drop => {
                if !matches!(self.phase, Phase::Dropped | Phase::Dropping { .. }) {
                    self.room_found();
                    self.phase = Phase::Dropping { started: false };
                    self.give_up_blocks();
                }
            }
            StoreEvent::Fault(fault) => {
                if self.faults.len() == FAULTS_WAITING_MAX {
                    self.faults.pop_back();
                }
                self.faults.push_back(*fault);
            }
            StoreEvent::Room => {
                self.full_until_ms = None;
                self.no_memory = false;
            }
            StoreEvent::Done(done) => {
                self.merge_looked &= !done.changes_segments();
                let left = self.on_their_way.checked_sub(1);
                self.on_their_way = left.expect("the outcome of an operation of this store");
                if matches!(*done, DiskDone::Merged(_)) {
                    pool.release(merge::buffer_bytes(pool));
                }
                self.done(now_ms, *done, out);
            }
        }
        self.write_faults(now_ms, pool);
        self.turn(now_ms, out);
        self.merge_next(now_ms, pool, out);
        for writer in self.spent.drain(..) {
            pool.give(writer);
        }
        self.say_held(out);
    }

    fn done(&mut self, now_ms: u64, done: DiskDone, out: &mut StoreEffects) {
        match done {
            DiskDone::Recovered(result) => self.on_recovered(now_ms, result, out),
            DiskDone::Created { sequence, result } => {
                self.on_created(now_ms, sequence, result, out);
            }
            DiskDone::Written { sequence, result } => {
                self.on_written(now_ms, sequence, result, out);
            }
            DiskDone::Sealed { sequence, result } => self.on_sealed(now_ms, sequence, result, out),
            DiskDone::Synced {
                sequence,
                ticket,
                result,
            } => self.on_synced(now_ms, sequence, ticket, result, out),
            DiskDone::Merged(result) => self.on_merged(now_ms, result, out),
            DiskDone::Unlinked(result) => self.on_unlinked(now_ms, result),
            DiskDone::Quarantined { path, result } => self.on_quarantined(path, result, out),
            DiskDone::HolesClosed { ticket, result } => self.on_holes_closed(ticket, result, out),
            DiskDone::Dropped(result) => match result {
                Ok(()) => {
                    self.phase = Phase::Dropped;
                    out.push(StoreEffect::Dropped);
                }
                Err(error) => self.fail(Failure::File(error), Again::Never, out),
            },
        }
    }

    fn open(&mut self, start: LineageStart, out: &mut StoreEffects) {
        match self.phase {
            Phase::Closed
            | Phase::Failed {
                again: Again::Recover,
            } => {
                self.start = start;
                self.phase = Phase::Recovering { started: false };
                let gauges = &self.view.gauges;
                gauges.set_state(PartitionState::Recovering, None);
            }
            Phase::Failed {
                again: Again::Continue,
            } => {
                // Behind the durable chain, as after a void; the window begins anew.
                self.last_void_ms = None;
                self.phase = Phase::Voiding;
                let report = self.report(Vec::new());
                self.recovered = Some(Box::new(report));
                // A lineage that was being begun goes on to begin.
                self.rewinding = Some(if start.lineage > self.start.lineage {
                    Rewinding::Draining(start)
                } else {
                    Rewinding::Beginning
                });
            }
            Phase::Failed {
                again: Again::Never,
            } => {
                let path = self.identity.directory.clone();
                let what = "a failed directory sync: remount the file system, then restart";
                out.push(StoreEffect::Failed(Failure::Mismatch {
                    path,
                    what: what.to_owned(),
                }));
            }
            _ => {}
        }
    }

    /// Recovers, once nothing that was begun before can change the directory any more.
    pub(super) fn recover(&mut self, now_ms: u64, out: &mut StoreEffects) {
        self.phase = Phase::Recovering { started: true };
        let partition = RecoverPartition {
            table: self.identity.table,
            leaf_partition: self.identity.leaf_partition,
            directory: self.identity.directory.clone(),
            quarantine: self.identity.quarantine.clone(),
            start: self.start,
            mapped: self.mapped,
            pages_bytes_max: self.pages_bytes_max(),
            unix_ms: self.unix_ms(now_ms),
        };
        self.submit(DiskOp::Recover(Box::new(partition)), out);
    }

    /// Hands out an operation, whose outcome comes back as [`StoreEvent::Done`].
    pub(super) fn submit(&mut self, op: DiskOp, out: &mut StoreEffects) {
        self.on_their_way += 1;
        out.push(StoreEffect::Disk(Box::new(op)));
    }

    fn rewind(&mut self, start: LineageStart, out: &mut StoreEffects) {
        if start.lineage > self.start.lineage {
            self.rewinding = Some(Rewinding::Draining(start));
        } else if start.lineage == self.start.lineage
            && self.rewinding.is_none()
            && self.phase == Phase::Running
        {
            out.push(StoreEffect::Rewound {
                lineage: self.start.lineage,
                cursor: self.durable().0,
            });
        }
    }

    pub(super) fn pages_bytes_max(&self) -> u64 {
        crate::limits::SEGMENT_MAP_BYTES
    }

    /// The durable cursor, and the leader epoch of the commit before it.
    pub(super) fn durable(&self) -> (Offset, i32) {
        self.chain
            .durable_cursor(self.start.lineage, self.start.start_offset)
    }

    /// The cursors. Before recovery all are 0.
    #[must_use]
    pub fn cursors(&self) -> Cursors {
        Cursors {
            visible: self.visible,
            committed: self.committed(),
            durable: self.durable().0,
        }
    }

    pub(super) fn committed(&self) -> Offset {
        match self.chain.last() {
            Some(last) if last.lineage() == self.start.lineage => last.end.next_offset,
            _ => self.start.start_offset,
        }
    }

    /// The lineage it stands in.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        self.start.lineage
    }

    /// Leader epoch of the last commit of this lineage; -1 unknown.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        match self.chain.last() {
            Some(last) if last.lineage() == self.start.lineage => last.end.leader_epoch,
            _ => -1,
        }
    }

    /// Up to where the record batches reach of which [`Store::leader_epoch`] is the last epoch: what was lost
    /// to retention behind them, and ended the commit, was nobody's.
    #[must_use]
    pub fn leader_epoch_reaches(&self) -> Offset {
        let own = |link: &&Link| link.lineage() == self.start.lineage;
        let links = self.chain.links.iter().rev().take_while(own);
        let commits = links.flat_map(|link| link.commits.iter().rev());
        let mut reached = commits.filter_map(|commit| commit.record().epoch_reaches());
        reached.next().unwrap_or(self.start.start_offset)
    }

    /// Whether the pool had no block when one was last asked for: [`StoreEvent::Room`] asks again.
    #[must_use]
    pub fn waits_for_memory(&self) -> bool {
        self.no_memory && self.phase == Phase::Running
    }

    /// Why [`Store::tail`] would give nothing now; `None` where it would give a tail.
    #[must_use]
    pub fn blocked(&self) -> Option<Blocked> {
        match self.phase {
            Phase::Running => {}
            Phase::Voiding => return Some(Blocked::Voiding),
            _ => return Some(Blocked::Closed),
        }
        if self.draining || self.rewinding.is_some() || self.recovered.is_some() {
            return Some(Blocked::Draining);
        }
        let full = self.filling.as_ref().is_some_and(|filling| filling.full);
        if !full {
            return self.no_memory.then_some(Blocked::Memory);
        }
        Some(match self.disk_is_full {
            true => Blocked::Space,
            false => Blocked::BothBlocksFull,
        })
    }

    fn say_held(&mut self, out: &mut StoreEffects) {
        let waits = |why: &Blocked| {
            matches!(
                why,
                Blocked::BothBlocksFull | Blocked::Memory | Blocked::Space
            )
        };
        match self.blocked() {
            Some(why) if waits(&why) && !self.held => {
                self.held = true;
                out.push(StoreEffect::Held(why));
            }
            None if self.held => {
                self.held = false;
                out.push(StoreEffect::Released);
            }
            _ => {}
        }
    }

    /// When [`StoreEvent::Tick`] is due; `None` where nothing waits: an idle partition costs nothing.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        if !matches!(self.phase, Phase::Running | Phase::Voiding) {
            return None;
        }
        // Nothing is named that time alone cannot start: a flush that is overdue on a full disk would
        // hide when the disk is tried again.
        let full = self.full_until_ms.is_some();
        let flush = self
            .filling
            .as_ref()
            .filter(|_| self.writing.is_none() && !full)
            .and_then(|filling| filling.since_ms)
            .map(|since| since + self.settings.flush_age_ms);
        let syncs = self.phase == Phase::Running;
        let dirty = |link: &Link| {
            let waits = syncs && link.is_dirty() && link.syncing.is_empty();
            link.dirty_since_ms.filter(|_| waits)
        };
        let sync = self.chain.links[self.chain.settled..]
            .iter()
            .filter_map(dirty)
            .min()
            .map(|since| since + self.settings.sync_age_ms);
        let merge = match self.merge {
            Merge::Idle { not_before_ms }
                if not_before_ms > 0 && !full && self.rewinding.is_none() =>
            {
                Some(not_before_ms)
            }
            _ => None,
        };
        [flush, sync, self.full_until_ms, merge]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a reader met damage that was not looked at yet: [`StoreEvent::Tick`] is due at once.
    #[must_use]
    pub fn is_alarmed(&self) -> bool {
        self.looks_at_alarm() && self.view.alarm().damage().is_some()
    }

    /// While it rests, damage that a reader meets is that reader's error, and every next one's: the file
    /// stays where it is. Somebody may be choosing another lineage just then, who could not know of a hole
    /// that is made meanwhile, and it would pass for given up by hand.
    pub fn set_resting(&mut self, resting: bool) {
        self.resting = resting;
    }

    pub(super) fn looks_at_alarm(&self) -> bool {
        self.phase == Phase::Running && !self.alarm_seen && !self.resting
    }

    /// The sync that it would start now; see [`super::SyncGate`].
    #[must_use]
    pub fn sync_wanted(&self, now_ms: u64) -> Option<SyncWanted> {
        self.next_sync(now_ms).map(|(_, wanted)| wanted)
    }

    pub(super) fn unix_ms(&self, now_ms: u64) -> i64 {
        self.unix_base_ms
            .saturating_add(i64::try_from(now_ms).unwrap_or(i64::MAX))
    }
}
