//! The leaf's orders and what its stores say: goals reached, voids, failures.

use std::sync::Arc;

use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use storage::schema::{Column, Schema};
use storage::store::{LineageStart, Store, StoreEvent, StoreIdentity, StoreSettings};

use super::event::{Effects, Now, Slot};
use super::machine::Leaf;
use super::order::{Failure, FailureKind, Goal, Order, Pairing, Report, Settings, TableColumn};
use super::partition::{Fetch, Foreground, Partition, Phase, Question};
use super::rows::Row;
use super::views::{Attached, Standing};
use crate::limits;
use crate::pipeline::JsonDecoder;
use crate::planted::{Rule, out as out_of_use};

impl Leaf {
    pub(super) fn order(&mut self, now: Now, order: Order, out: &mut Effects) {
        if self.is_ending() {
            return;
        }
        match order {
            Order::Attach {
                generation,
                pairing,
                schema_version,
                columns,
                settings,
            } => self.attach(
                now,
                generation,
                pairing,
                schema_version,
                &columns,
                settings,
                out,
            ),
            Order::Configure {
                leaf_partition,
                generation,
                settings,
            } => {
                if let Some(slot) = self.newer(leaf_partition, generation) {
                    self.configure(now, slot, settings, out);
                }
            }
            Order::Goal {
                leaf_partition,
                generation,
                goal,
            } => {
                if let Some(slot) = self.newer(leaf_partition, generation) {
                    if let Some(partition) = self.get_mut(slot) {
                        // Whoever asks is told how the disk is now.
                        partition.store.ask_for_room();
                        partition.no_room_said = false;
                    }
                    self.goal(now, slot, goal, out);
                    self.store(now, slot, StoreEvent::Room, out);
                }
            }
            Order::Leader {
                leaf_partition,
                leader,
            } => self.learn_leader(now, leaf_partition, leader),
            Order::LogRange {
                leaf_partition,
                generation,
                offset,
                log_start_offset,
                log_end_offset,
            } => {
                let asked = (generation, Offset(offset));
                let range = (log_start_offset, log_end_offset);
                self.learn_range(now, leaf_partition, asked, range, out);
            }
            Order::EpochEnd {
                leaf_partition,
                leader_epoch,
                epoch,
                end_offset,
            } => {
                let asked = (leader_epoch, epoch);
                self.learn_epoch_end(now, leaf_partition, asked, end_offset, out);
            }
            Order::TopicLost {
                leaf_partition,
                text,
            } => {
                if let Some(&slot) = self.by_id.get(&leaf_partition)
                    && self
                        .get(slot)
                        .is_some_and(|one| one.phase == Phase::Running)
                {
                    self.fail(
                        now,
                        slot,
                        failure(FailureKind::Extract, -1, text, true),
                        out,
                    );
                }
            }
            Order::Shutdown => {}
        }
    }

    /// The slot, if the order is not one that has passed; takes its generation.
    fn newer(&mut self, leaf_partition: u64, generation: u64) -> Option<Slot> {
        let slot = *self.by_id.get(&leaf_partition)?;
        let partition = self.get_mut(slot)?;
        if generation < partition.generation {
            return None;
        }
        partition.generation = generation;
        Some(slot)
    }

    fn attach(
        &mut self,
        now: Now,
        generation: u64,
        pairing: Pairing,
        schema_version: u32,
        columns: &[TableColumn],
        settings: Option<Settings>,
        out: &mut Effects,
    ) {
        if let Some(&slot) = self.by_id.get(&pairing.leaf_partition) {
            return self.attach_again(now, slot, generation, pairing, settings, out);
        }
        let Some(slot) = self.free_slot() else {
            let text = format!(
                "a leaf serves at most {} leaf partitions",
                limits::LEAF_PARTITIONS_MAX
            );
            self.reports.push(Report::Failed {
                leaf_partition: pairing.leaf_partition,
                generation,
                failure: failure(FailureKind::Internal, -1, text, true),
            });
            return;
        };
        let store_settings = self.store_settings(settings.as_ref());
        let store = Store::new(
            self.identity(now, &pairing, schema_version, columns),
            store_settings,
        );
        if let Some(bell) = &self.bell {
            store.view().set_bell(bell.clone());
        }
        let standing = Arc::new(Standing::new(
            self.config.index,
            self.config.cpu,
            pairing.pipeline,
        ));
        let start = lineage_start(&pairing);
        self.by_id.insert(pairing.leaf_partition, slot);
        let mut partition = Partition::new(slot, generation, pairing, store, standing, now.us);
        if let Some(settings) = settings {
            take_settings(&mut partition, settings);
        }
        let leaf_partition = partition.pairing.leaf_partition;
        tracing::info!(leaf_partition, "recovering");
        self.partitions[slot.index as usize] = Some(partition);
        self.store(now, slot, StoreEvent::Open(start), out);
    }

    /// The same leaf partition once more: a repeated order, or one under another pipeline.
    fn attach_again(
        &mut self,
        now: Now,
        slot: Slot,
        generation: u64,
        pairing: Pairing,
        settings: Option<Settings>,
        out: &mut Effects,
    ) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if generation < partition.generation {
            return;
        }
        partition.generation = generation;
        partition.attach_generation = generation;
        // Whoever waits for it is told how the disk is now.
        partition.store.ask_for_room();
        partition.no_room_said = false;
        let standing = partition.pairing.pipeline != pairing.pipeline;
        partition.pairing = pairing;
        if standing {
            let fresh = Standing::new(self.config.index, self.config.cpu, {
                let partition = self.partitions[slot.index as usize].as_ref();
                partition.map_or(0, |partition| partition.pairing.pipeline)
            });
            self.restand(slot, Arc::new(fresh));
        }
        if let Some(settings) = settings {
            self.configure(now, slot, settings, out);
        }
        self.store(now, slot, StoreEvent::Room, out);
        let Some(partition) = self.get(slot) else {
            return;
        };
        if !matches!(partition.phase, Phase::Opening | Phase::Failed(_)) {
            let report = Report::Attached {
                leaf_partition: partition.pairing.leaf_partition,
                generation,
                lineage: partition.pairing.lineage,
                durable: partition.store.cursors().durable.0,
                recovery_us: 0,
                commits: 0,
                rows: partition.store.view().snapshot().rows(),
            };
            self.reports.push(report);
        }
    }

    /// Shows the partition under another standing: its pipeline changed.
    fn restand(&mut self, slot: Slot, standing: Arc<Standing>) {
        let views = Arc::clone(&self.views);
        if let Some(partition) = self.get_mut(slot) {
            standing
                .leader
                .store(partition.leader.clone().map(Arc::new));
            partition.standing = Arc::clone(&standing);
            partition.shown.clear();
            let attached = Attached {
                view: partition.store.view(),
                standing,
            };
            let id = LeafPartitionId(partition.pairing.leaf_partition);
            views.insert(id, Arc::new(attached));
        }
    }

    fn free_slot(&mut self) -> Option<Slot> {
        let free = self.partitions.iter().position(Option::is_none);
        let index = match free {
            Some(index) => index,
            None if self.partitions.len() < limits::LEAF_PARTITIONS_MAX => {
                self.partitions.push(None);
                self.slot_turns.push(0);
                self.partitions.len() - 1
            }
            None => return None,
        };
        self.slot_turns[index] += 1;
        Some(Slot {
            index: u32::try_from(index).ok()?,
            turn: self.slot_turns[index],
        })
    }

    fn identity(
        &self,
        now: Now,
        pairing: &Pairing,
        schema_version: u32,
        columns: &[TableColumn],
    ) -> StoreIdentity {
        let columns = columns.iter().map(|column| Column {
            name: column.name.clone(),
            physical: column.sql_type.physical(),
            nullable: column.nullable,
            annotation: column.sql_type.to_string(),
        });
        let directory = self.config.data_dir.join("tables");
        StoreIdentity {
            table: TableId(pairing.table),
            leaf_partition: LeafPartitionId(pairing.leaf_partition),
            kafka_partition: pairing.kafka_partition,
            schema: Arc::new(Schema {
                version: schema_version,
                columns: columns.collect(),
            }),
            unix_base_ms: now.unix_ms() - i64::try_from(now.ms()).unwrap_or(0),
            directory: directory
                .join(pairing.table.to_string())
                .join(pairing.leaf_partition.to_string()),
            quarantine: self.config.data_dir.join("quarantine"),
            orphans: self.config.data_dir.join("orphans"),
        }
    }

    fn store_settings(&self, settings: Option<&Settings>) -> StoreSettings {
        StoreSettings {
            offsets_max: settings.map_or(self.stores.offsets_max, |settings| {
                settings.max_offsets_per_batch_partition.max(1)
            }),
            flush_age_ms: self.config.flush_age_ms,
            sync_age_ms: self.config.sync_age_ms,
            disk_reserve_bytes: self.config.disk_reserve_bytes,
            batches_kept: settings
                .map_or(self.stores.batches_kept, |settings| settings.batches_kept),
            ..self.stores.clone()
        }
    }

    fn configure(&mut self, now: Now, slot: Slot, settings: Settings, out: &mut Effects) {
        let store_settings = self.store_settings(Some(&settings));
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        take_settings(partition, settings);
        let event = StoreEvent::Configure(Box::new(store_settings));
        self.store(now, slot, event, out);
    }

    pub(super) fn goal(&mut self, now: Now, slot: Slot, goal: Goal, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.goal = goal;
        partition.goal_given = true;
        match goal {
            Goal::Run | Goal::Foreground { .. } => self.goal_run(now, slot, out),
            Goal::Stop => self.goal_stop(now, slot, out),
            Goal::Rewind {
                lineage,
                live_lineage,
                start_offset,
                topic_id,
            } => {
                if partition.pairing.topic_id != topic_id {
                    // Another topic counts its leaders' epochs anew.
                    partition.leader = None;
                }
                partition.pairing.topic_id = topic_id;
                partition.pairing.lineage = lineage;
                partition.pairing.live_lineage = live_lineage;
                partition.pairing.start_offset = start_offset;
                if partition.phase == Phase::Opening {
                    return;
                }
                let start = lineage_start(&partition.pairing);
                if partition.store_failed {
                    return self.open_again(now, slot, out);
                }
                self.drain(slot);
                self.store(now, slot, StoreEvent::Rewind(start), out);
            }
            // Also while it opens: what its lineage begins with may wait for the room that this makes.
            Goal::Drop => {
                let id = LeafPartitionId(partition.pairing.leaf_partition);
                self.drain(slot);
                self.views.remove(id);
                self.store(now, slot, StoreEvent::Drop, out);
            }
        }
    }

    fn goal_run(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if let Some(broken) = partition.broken.clone() {
            return self.fail(now, slot, broken, out);
        }
        if partition.decode.is_none() {
            return;
        }
        let (rows_before, rejects_before) = partition.there();
        let generation = partition.generation;
        partition.foreground = match partition.goal {
            // It goes on behind a void: its end and its limit are what they were.
            Goal::Foreground { .. }
                if (partition.foreground).is_some_and(|one| one.generation == generation) =>
            {
                partition.foreground
            }
            Goal::Foreground { batches_max } => {
                partition.foreground_commits.clear();
                let batch = partition
                    .settings
                    .as_ref()
                    .map_or(1, |settings| settings.max_offsets_per_batch_partition);
                let visible = partition.visible();
                let limit = batches_max.map(|batches| {
                    let offsets = i64::try_from(batches.saturating_mul(batch)).unwrap_or(i64::MAX);
                    Offset(visible.0.saturating_add(offsets))
                });
                Some(Foreground {
                    end: None,
                    batches_left: batches_max,
                    offsets_end: limit,
                    rows_before,
                    rejects_before,
                    generation,
                    empty_answers: 0,
                    short_answers: 0,
                    reached: false,
                })
            }
            _ => None,
        };
        let from = partition.phase.clone();
        match from {
            Phase::Opening | Phase::Running | Phase::Draining | Phase::Dropped => {}
            Phase::Stopped | Phase::Failed(_) if partition.store_failed => {
                self.count(Row::FailedRun);
                self.open_again(now, slot, out);
            }
            Phase::Stopped | Phase::Failed(_) => {
                partition.phase = Phase::Running;
                partition.fetched = partition.visible();
                partition.fetch = Fetch::Locating(Question::Leader);
                partition.corrupt_at = None;
                partition.forget_parse_errors();
                partition.retriable.reset();
                partition.extract.reset();
                self.count(match from {
                    Phase::Stopped => Row::StoppedRun,
                    _ => Row::FailedRun,
                });
                self.locate(now, slot);
            }
        }
    }

    /// A store that failed recovers, or goes on behind what is durable; the goal is then taken up.
    fn open_again(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.phase = Phase::Opening;
        partition.opened_us = now.us;
        let leaf_partition = partition.pairing.leaf_partition;
        tracing::info!(leaf_partition, "recovering");
        let start = lineage_start(&partition.pairing);
        self.store(now, slot, StoreEvent::Open(start), out);
    }

    fn goal_stop(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        match partition.phase {
            Phase::Opening | Phase::Draining | Phase::Dropped => {}
            // What its files hold past the durable cursor only recovery knows, or a segment behind it gives
            // up: a lineage that began now would find the one before it grown after a crash.
            Phase::Failed(_)
                if partition.store_failed
                    && partition.recovered
                    && out_of_use(Rule::StopOpensFailedDisk) =>
            {
                partition.phase = Phase::Stopped;
                self.reached(slot);
            }
            Phase::Failed(_) if partition.store_failed => {
                self.count(Row::GoalStop);
                self.open_again(now, slot, out);
            }
            // One that is stopped may have an error to write down since.
            Phase::Stopped | Phase::Running | Phase::Failed(_) => {
                self.count(Row::GoalStop);
                self.drain(slot);
                self.store(now, slot, StoreEvent::Drain, out);
            }
        }
    }

    /// The leaf ends: what is open drains, without a word to the aggregator.
    pub(super) fn begin_end(&mut self, now: Now, slot: Slot, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.ending = true;
        match partition.phase {
            Phase::Running => {
                self.drain(slot);
                self.store(now, slot, StoreEvent::Drain, out);
            }
            Phase::Failed(_) if !partition.store_failed => {
                self.drain(slot);
                self.store(now, slot, StoreEvent::Drain, out);
            }
            _ => {}
        }
    }

    /// Nothing more is fetched or loaded.
    pub(super) fn drain(&mut self, slot: Slot) {
        self.drop_frames_of(slot);
        if let Some(partition) = self.get_mut(slot) {
            partition.stop_fetch();
            partition.phase = Phase::Draining;
        }
    }
}

/// Takes settings. The mapping was checked at CREATE PIPELINE: one that cannot be used fails the goal
/// Run, not the data that is there.
fn take_settings(partition: &mut Partition, settings: Settings) {
    match JsonDecoder::new(&settings.mapping) {
        Ok(decode) => {
            partition.broken = None;
            partition.configure(settings, Box::new(decode));
        }
        Err(error) => {
            let text = format!("the mapping cannot be used: {error}");
            partition.broken = Some(failure(FailureKind::Internal, -1, text, true));
        }
    }
}

pub(super) fn lineage_start(pairing: &Pairing) -> LineageStart {
    LineageStart {
        lineage: Lineage(pairing.lineage),
        live_lineage: Lineage(pairing.live_lineage),
        start_offset: Offset(pairing.start_offset),
        topic_id: TopicId(pairing.topic_id),
    }
}

pub(super) fn failure(
    kind: FailureKind,
    offset: i64,
    text: String,
    deterministic: bool,
) -> Failure {
    Failure {
        kind,
        offset,
        column: None,
        text,
        deterministic,
        alone: false,
    }
}
