//! What the leaf's stores say: recovered, durable, void, reached, failed.

use std::sync::Arc;

use storage::format::rejects::{FaultKind, RejectKind};
use storage::ids::{LeafPartitionId, Lineage, Offset};
use storage::store::{
    Blocked, FaultRecord, RecoveredReport, StoreEffect, StoreEffects, StoreEvent,
};

use super::event::{Effect, Effects, Now, Slot};
use super::holes;
use super::machine::Leaf;
use super::order::{Failure, FailureKind, Goal, Report};
use super::ordering::{failure, lineage_start};
use super::partition::{Fetch, Foreground, Load, Phase};
use super::rows::Row;
use super::views::Attached;
use crate::limits;
use crate::pipeline::Poison;
use crate::planted::{Rule, out as out_of_use};

impl Leaf {
    /// Hands an event to a slot's store and does what it says.
    pub(super) fn store(&mut self, now: Now, slot: Slot, event: StoreEvent, out: &mut Effects) {
        if let StoreEvent::Done(done) = &event
            && done.is_sync()
        {
            self.syncs.end();
        }
        let mut said = std::mem::take(&mut self.store_out);
        let pool = &mut self.pool;
        let partition = self.partitions.get_mut(slot.index as usize);
        if let Some(partition) = partition.and_then(|partition| partition.as_mut())
            && partition.slot == slot
        {
            partition.store.on(now.ms(), event, pool, &mut said);
        }
        self.hear(now, slot, said, out);
    }

    /// Does what a store says. That may lead to another event for it: each is taken whole before the
    /// next.
    pub(super) fn hear(&mut self, now: Now, slot: Slot, mut said: StoreEffects, out: &mut Effects) {
        let effects: Vec<StoreEffect> = said.drain().collect();
        self.store_out = said;
        for effect in effects {
            self.said(now, slot, effect, out);
        }
    }

    /// Starts the syncs that are due, oldest first, as many as the leaf may have on their way.
    pub(super) fn start_syncs(&mut self, now: Now, out: &mut Effects) {
        while self.syncs.is_open() {
            let wanted = self.partitions.iter().flatten().filter_map(|partition| {
                let wanted = partition.store.sync_wanted(now.ms())?;
                Some((wanted.since_ms, partition.slot))
            });
            let Some((_, slot)) = wanted.min_by_key(|&(since_ms, slot)| (since_ms, slot.index))
            else {
                return;
            };
            self.syncs.begin();
            let mut said = std::mem::take(&mut self.store_out);
            if let Some(partition) = self.get_mut(slot) {
                partition.store.sync(now.ms(), &mut said);
            }
            self.hear(now, slot, said, out);
        }
    }

    fn said(&mut self, now: Now, slot: Slot, effect: StoreEffect, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        match effect {
            StoreEffect::Disk(op) => out.push(Effect::Disk(slot, op)),
            StoreEffect::Recovered(report) => self.recovered(now, slot, *report, out),
            StoreEffect::Committed { offset, .. } => {
                partition.foreground_committed(offset);
                self.room = true;
                if out_of_use(Rule::DurableIsSynced) {
                    self.said_durable_at_once(slot, offset);
                }
                self.count(Row::Committed);
                self.foreground_due(now, slot, out);
            }
            StoreEffect::Durable {
                lineage,
                offset,
                leader_epoch,
            } => {
                partition.foreground_durable(offset);
                let report = Report::Durable {
                    leaf_partition: partition.pairing.leaf_partition,
                    lineage: lineage.0,
                    offset: offset.0,
                    leader_epoch,
                };
                self.reports.push(report);
                self.count(Row::Durable);
            }
            StoreEffect::Voided { cursor, why } => {
                tracing::warn!(
                    leaf_partition = partition.pairing.leaf_partition,
                    cursor = cursor.0,
                    "what was not durable is void and is fetched again: {why}"
                );
                partition.epoch = partition.store.leader_epoch();
                partition.epoch_reaches = partition.store.leader_epoch_reaches();
                partition.foreground_voided();
                self.drop_frames_of(slot);
                self.count(Row::Voided);
                if let Some(partition) = self.get_mut(slot) {
                    partition.forget_parse_errors();
                    partition.void_fetch();
                    if partition.lost_until.take().is_some() {
                        // What retention took is asked anew, from the cursor as it is now.
                        partition.fetch = Fetch::Queued;
                    }
                    if partition.phase == Phase::Running {
                        self.locate(now, slot);
                    }
                }
            }
            StoreEffect::Drained { .. } => self.drained(now, slot, out),
            StoreEffect::Rewound { lineage, cursor } => {
                self.rewound(now, slot, lineage, cursor, out);
            }
            StoreEffect::Dropped => {
                partition.phase = Phase::Dropped;
                self.reached(slot);
                self.forget(slot);
            }
            StoreEffect::Failed(why) => {
                partition.store_failed = true;
                let bridged = partition.store.holes().last();
                let bridged = bridged.is_some_and(|known| known.bridged);
                let text = holes::failure(&why, bridged, partition.pairing.kafka_partition);
                self.count(Row::StoreFailed);
                let failure = Failure {
                    alone: true,
                    ..failure(FailureKind::Load, -1, text, false)
                };
                self.enter_failed(slot, failure);
            }
            StoreEffect::Held(why) => {
                if why == Blocked::Space {
                    self.count(Row::HeldSpace);
                }
            }
            StoreEffect::Released => {
                if let Some(partition) = self.get_mut(slot)
                    && matches!(partition.load, Load::Blocked(_))
                {
                    partition.load = Load::Loading;
                }
            }
        }
    }

    /// What a test lets it say of a commit that is not synced.
    fn said_durable_at_once(&mut self, slot: Slot, offset: Offset) {
        if let Some(partition) = self.get_mut(slot) {
            let report = Report::Durable {
                leaf_partition: partition.pairing.leaf_partition,
                lineage: partition.store.lineage().0,
                offset: offset.0,
                leader_epoch: partition.epoch,
            };
            self.reports.push(report);
        }
    }

    fn recovered(&mut self, now: Now, slot: Slot, found: RecoveredReport, out: &mut Effects) {
        let views = Arc::clone(&self.views);
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let recovery_us = now.us.saturating_sub(partition.opened_us);
        let leaf_partition = partition.pairing.leaf_partition;
        for note in &found.notes {
            if note.row.is_routine() {
                tracing::debug!(leaf_partition, "recovery: {note}");
            } else {
                tracing::warn!(leaf_partition, "recovery: {note}");
            }
        }
        for known in partition.store.holes().iter().filter(|known| known.told) {
            let words = holes::missing(known, partition.pairing.kafka_partition);
            tracing::error!(leaf_partition, "{words}");
        }
        tracing::info!(
            leaf_partition,
            recovery_us,
            cursor = found.cursor.0,
            commits = found.commits,
            rows = found.rows,
            "recovered"
        );
        partition.phase = Phase::Stopped;
        if found.commits > 0 && out_of_use(Rule::EndOffsetKept) {
            partition.pairing.end_offset = None;
        }
        // What was begun before is counted from what there is now.
        partition.foreground = None;
        partition.store_failed = false;
        partition.recovered = true;
        partition.fetched = found.cursor;
        partition.epoch = found.leader_epoch;
        partition.epoch_reaches = found.leader_epoch_reaches;
        let attached = Attached {
            view: partition.store.view(),
            standing: Arc::clone(&partition.standing),
        };
        views.insert(LeafPartitionId(leaf_partition), Arc::new(attached));
        let report = Report::Attached {
            leaf_partition,
            generation: partition.attach_generation,
            lineage: found.lineage.0,
            durable: found.cursor.0,
            recovery_us,
            commits: found.commits,
            rows: found.rows,
        };
        let (goal, ending) = (partition.goal, partition.ending);
        let given = partition.goal_given;
        self.reports.push(report);
        if ending || !given {
            return;
        }
        self.goal_again(now, slot, goal, out);
    }

    fn drained(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if partition.phase != Phase::Draining {
            return;
        }
        partition.phase = Phase::Stopped;
        if partition.ending {
            return;
        }
        match partition.goal {
            Goal::Stop => self.reached(slot),
            Goal::Foreground { .. } if partition.foreground.is_some_and(|one| one.reached) => {
                let before = |of: fn(Foreground) -> u64| partition.foreground.map_or(0, of);
                let (rows, rejects) = partition.there();
                let report = Report::CaughtUp {
                    leaf_partition: partition.pairing.leaf_partition,
                    generation: partition.generation,
                    cursor: partition.store.cursors().durable.0,
                    rows: rows.saturating_sub(before(|one| one.rows_before)),
                    rejects: rejects.saturating_sub(before(|one| one.rejects_before)),
                };
                partition.foreground = None;
                self.reports.push(report);
            }
            // Started again, or turned back to, while it drained.
            goal => self.goal_again(now, slot, goal, out),
        }
    }

    fn rewound(
        &mut self,
        now: Now,
        slot: Slot,
        lineage: Lineage,
        cursor: Offset,
        out: &mut Effects,
    ) {
        self.count(Row::GoalRewind);
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if lineage != Lineage(partition.pairing.lineage) {
            return;
        }
        partition.phase = Phase::Stopped;
        partition.fetched = cursor;
        partition.epoch = -1;
        partition.epoch_checked = -1;
        partition.corrupt_at = None;
        let pairing = &partition.pairing;
        let report = Report::Reached {
            leaf_partition: pairing.leaf_partition,
            generation: partition.generation,
            goal: Goal::Rewind {
                lineage: pairing.lineage,
                live_lineage: pairing.live_lineage,
                start_offset: pairing.start_offset,
                topic_id: pairing.topic_id,
            },
            cursor: cursor.0,
        };
        let goal = partition.goal;
        self.reports.push(report);
        if !matches!(goal, Goal::Rewind { .. }) {
            // Another goal was given on the way.
            self.goal(now, slot, goal, out);
        }
    }

    /// Says that the goal is reached.
    pub(super) fn reached(&mut self, slot: Slot) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let report = Report::Reached {
            leaf_partition: partition.pairing.leaf_partition,
            generation: partition.generation,
            goal: partition.goal,
            cursor: partition.store.cursors().durable.0,
        };
        if partition.goal == Goal::Drop {
            self.rows.count(Row::GoalDrop);
        }
        self.reports.push(report);
    }

    /// Says of each that is to stop, or to begin a lineage, and finds no room on the disk that it waits: whoever
    /// asked for it is not to wait for as long.
    pub(super) fn say_no_room(&mut self) {
        for partition in self.partitions.iter_mut().flatten() {
            let waits = matches!(partition.phase, Phase::Opening | Phase::Draining)
                && matches!(partition.goal, Goal::Stop | Goal::Rewind { .. })
                && partition.store.is_refused();
            if !waits || partition.no_room_said {
                continue;
            }
            partition.no_room_said = true;
            let durable = partition.store.cursors().durable;
            let waits = match partition.store.begins_segment() {
                true => format!(
                    "lineage {} goes on at offset {durable} with a new segment, which waits for room and is made \
                     when there is some",
                    partition.store.lineage()
                ),
                false => format!(
                    "what is visible from offset {durable} on is not durable and waits for room, after which it is \
                     committed"
                ),
            };
            let text =
                format!("the disk is full: {waits}; free some, or DROP a TABLE that nothing loads");
            let failure = Failure {
                alone: true,
                ..failure(FailureKind::Load, durable.0, text, false)
            };
            self.reports.push(Report::NoRoom {
                leaf_partition: partition.pairing.leaf_partition,
                generation: partition.generation,
                failure,
            });
        }
    }

    /// A dropped partition's place is free again.
    fn forget(&mut self, slot: Slot) {
        if let Some(partition) = self.partitions[slot.index as usize].take() {
            self.by_id.remove(&partition.pairing.leaf_partition);
        }
    }

    /// FOREGROUND: whether it has what it was started for; then it drains.
    pub(super) fn foreground_due(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let visible = partition.visible();
        let Some(foreground) = &mut partition.foreground else {
            return;
        };
        if foreground.reached || partition.phase != Phase::Running {
            return;
        }
        let at = |end: Option<Offset>| end.is_some_and(|end| visible >= end);
        // Compaction may have taken all that stood before the end: no record batch says so.
        let nothing_left = foreground.empty_answers >= limits::EMPTY_ANSWERS_MAX;
        if foreground.batches_left == Some(0)
            || at(foreground.offsets_end)
            || at(foreground.end)
            || nothing_left
        {
            foreground.reached = true;
            self.drain(slot);
            self.store(now, slot, StoreEvent::Drain, out);
        }
    }

    /// Enters Failed with a word to the history.
    pub(super) fn fail(&mut self, now: Now, slot: Slot, failure: Failure, out: &mut Effects) {
        let Some(partition) = self.get(slot) else {
            return;
        };
        let offset = match failure.offset {
            ..0 => partition.visible(),
            offset => Offset(offset),
        };
        let kind = fault_kind(failure.kind);
        let text = failure.text.clone();
        self.enter_failed(slot, failure);
        self.record_fault(now, slot, kind, offset, &text, None, out);
    }

    /// Enters Failed at a message.
    pub(super) fn fail_at(
        &mut self,
        now: Now,
        slot: Slot,
        failure: Failure,
        poison: &Poison,
        out: &mut Effects,
    ) {
        let text = failure.text.clone();
        self.enter_failed(slot, failure);
        let kind = FaultKind::Load;
        self.record_fault(now, slot, kind, poison.offset, &text, Some(poison), out);
    }

    /// Enters Failed. The tail that is visible stays, and is committed as ever.
    fn enter_failed(&mut self, slot: Slot, failure: Failure) {
        self.drop_frames_of(slot);
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.stop_fetch();
        tracing::error!(
            leaf_partition = partition.pairing.leaf_partition,
            topic = partition.pairing.topic,
            kafka_partition = partition.pairing.kafka_partition,
            "failed: {}",
            failure.text
        );
        let report = Report::Failed {
            leaf_partition: partition.pairing.leaf_partition,
            generation: partition.generation,
            failure: failure.clone(),
        };
        partition.phase = Phase::Failed(failure);
        self.reports.push(report);
    }

    /// Keeps an error in the history: a commit that carries nothing else.
    pub(super) fn record_fault(
        &mut self,
        now: Now,
        slot: Slot,
        kind: FaultKind,
        offset: Offset,
        text: &str,
        poison: Option<&Poison>,
        out: &mut Effects,
    ) {
        let fault = FaultRecord {
            offset,
            timestamp_ms: poison.map_or(0, |poison| poison.timestamp_ms),
            unix_ms: now.unix_ms(),
            code: poison.map_or(0, |poison| poison.failure.code),
            kind: RejectKind::Fault(kind),
            line: poison.map_or(0, |poison| poison.failure.line),
            column: poison.and_then(|poison| poison.failure.column),
            text: text.to_owned(),
            message: poison.map_or_else(Vec::new, |poison| poison.message.to_vec()),
        };
        self.store(now, slot, StoreEvent::Fault(Box::new(fault)), out);
    }

    fn goal_again(&mut self, now: Now, slot: Slot, goal: Goal, out: &mut Effects) {
        if let Goal::Rewind { .. } = goal
            && let Some(partition) = self.get(slot)
        {
            // Recovery opened the lineage already, or a segment of it is open: answered again.
            let start = lineage_start(&partition.pairing);
            self.drain(slot);
            return self.store(now, slot, StoreEvent::Rewind(start), out);
        }
        self.goal(now, slot, goal, out);
    }
}

fn fault_kind(kind: FailureKind) -> FaultKind {
    match kind {
        FailureKind::Internal => FaultKind::Internal,
        FailureKind::Extract => FaultKind::Extract,
        FailureKind::Transform => FaultKind::Transform,
        FailureKind::Load => FaultKind::Load,
    }
}
