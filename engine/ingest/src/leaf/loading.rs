//! Turns: one partition's record batches out of a frame and into its store, as one step.
//!
//! A step is at most [`limits::TURN_BYTES`] of one partition; then its neighbours have their turn. It
//! is published whole or not at all. A step ends before a record batch that is wrong, before a message
//! that cannot be loaded, at the maximum of offsets and where the block is full.

use storage::block::{BlockFull, BlockRegion};
use storage::counts::Counts;
use storage::format::rejects::FaultKind;
use storage::ids::Offset;
use storage::store::Step;

use super::event::{Effects, Now, Slot};
use super::load::{self, Ended, Gains};
use super::machine::Leaf;
use super::order::FailureKind;
use super::ordering::failure;
use super::partition::{Fetch, Load, Partition, Phase};
use super::rows::Row;
use crate::kafka::{BatchFault, BatchHeader};
use crate::limits;
use crate::pipeline::{BlockNeed, Poison, SkipErrors};
use crate::planted::{Rule, out as out_of_use};

/// Where records wait: a lane, its frame, the frame's entry.
#[derive(Clone, Copy, Debug)]
struct Place {
    lane: usize,
    frame: usize,
    entry: usize,
    slot: Slot,
}

/// Why a step ended.
enum StepEnd {
    /// All that has arrived is loaded, or the turn is over.
    Turn,
    /// The maximum of offsets.
    OffsetsMax,
    /// The block is full.
    BlockFull,
    /// The next message needs a larger block.
    BlockTooSmall(Box<BlockNeed>),
    /// A message that cannot be loaded, and where its record batch ends.
    Poison(Box<Poison>, Offset),
    /// A record batch that is wrong.
    Malformed(BatchFault),
}

impl Leaf {
    /// One turn; whether anything was loaded or changed.
    pub(super) fn load_turn(&mut self, now: Now, out: &mut Effects) -> bool {
        let lanes = self.lanes.len();
        for ahead in 0..lanes {
            let lane = (self.turn_lane + ahead) % lanes;
            if let Some(place) = self.waiting(lane) {
                self.turn_lane = (lane + 1) % lanes;
                self.lanes[lane].frames[place.frame].turn = place.entry + 1;
                self.load_step(now, place, out);
                return true;
            }
        }
        self.lose_turn(now, out)
    }

    /// Where records of a lane wait that its partition can take: older frames first.
    fn waiting(&mut self, lane: usize) -> Option<Place> {
        for frame in 0..self.lanes[lane].frames.len() {
            let entries = self.lanes[lane].frames[frame].entries.len();
            for ahead in 0..entries {
                let entry = (self.lanes[lane].frames[frame].turn + ahead) % entries;
                if let Some(place) = self.is_waiting(lane, frame, entry) {
                    return Some(place);
                }
            }
        }
        None
    }

    fn is_waiting(&mut self, lane: usize, frame: usize, entry: usize) -> Option<Place> {
        let frames = &mut self.lanes[lane].frames;
        let here = &frames[frame].entries[entry];
        let spoiled = here.spoiled.is_some() && here.next == here.whole;
        if here.void || !(here.waits() || spoiled) {
            return None;
        }
        let asked = here.asked;
        let older = frames.iter().take(frame).any(|older| {
            older
                .entries
                .iter()
                .any(|entry| entry.asked.slot == asked.slot && !entry.is_done())
        });
        if older {
            return None;
        }
        let partition = self.get(asked.slot)?;
        if partition.fetch_number != asked.fetch || partition.phase != Phase::Running {
            self.lanes[lane].frames[frame].entries[entry].void = true;
            return None;
        }
        let place = Place {
            lane,
            frame,
            entry,
            slot: asked.slot,
        };
        if spoiled {
            return Some(place);
        }
        (self.may_unpack(asked.slot) && self.can_take(asked.slot)).then_some(place)
    }

    /// Whether the store takes a step now; if not, why is kept.
    fn can_take(&mut self, slot: Slot) -> bool {
        let Leaf {
            partitions, pool, ..
        } = self;
        let Some(partition) = partitions[slot.index as usize].as_mut() else {
            return false;
        };
        let before = partition.load;
        if partition.visible() < partition.offsets_end() && partition.store.tail(pool).is_some() {
            partition.load = Load::Loading;
            return true;
        }
        if let Some(why) = partition.store.blocked() {
            partition.load = Load::Blocked(why);
            if before != partition.load {
                self.rows.count(Row::BlockedBlocks);
            }
        }
        false
    }

    fn load_step(&mut self, now: Now, place: Place, out: &mut Effects) {
        let slot = place.slot;
        let (gains, batch_done, end) = self.gain(now, place);
        self.keep_unpacked(slot);
        self.publish(now, slot, &gains, out);
        if gains.counts.rejected > 0 {
            self.count(Row::Rejected);
        }
        if batch_done && let Some(partition) = self.get_mut(slot) {
            partition.corrupt_at = None;
        }
        match end {
            StepEnd::Turn => {}
            StepEnd::OffsetsMax => self.count(Row::CutAtMax),
            StepEnd::BlockFull => {
                self.count(Row::CutAtBlock);
                let full = BlockFull {
                    region: BlockRegion::Rows,
                    needed: 1,
                };
                self.block_full(now, slot, &[full], out);
            }
            StepEnd::BlockTooSmall(need) => self.block_too_small(now, slot, &need, out),
            StepEnd::Poison(poison, batch_end) => {
                let batch = (batch_end, gains.leader_epoch);
                self.poisoned(now, slot, &poison, batch, out);
            }
            StepEnd::Malformed(fault) => self.malformed(now, slot, &fault, out),
        }
        self.loaded(now, place, out);
    }

    /// Loads record batches of one place up to a turn's worth; whether it came to the end of any.
    fn gain(&mut self, now: Now, place: Place) -> (Gains, bool, StepEnd) {
        let Leaf {
            lanes,
            partitions,
            pool,
            inflate,
            ..
        } = self;
        let frame = &mut lanes[place.lane].frames[place.frame];
        let Some(partition) = partitions[place.slot.index as usize].as_mut() else {
            return (Gains::nothing(Offset(0)), false, StepEnd::Turn);
        };
        let mut gained = Gains::nothing(partition.visible());
        let entry = &frame.entries[place.entry];
        if !entry.waits() {
            let end = match entry.spoiled {
                Some(fault) => StepEnd::Malformed(fault),
                None => StepEnd::Turn,
            };
            return (gained, false, end);
        }
        let offsets_end = partition.offsets_end();
        let (skip, parse_errors_max) = match &partition.settings {
            Some(settings) => (settings.skip_errors, settings.parse_errors_threshold),
            None => (SkipErrors::None, 0),
        };
        let parse_errors = partition.parse_errors();
        let mut batch_done = false;
        let Some(decode) = partition.decode.as_mut() else {
            return (gained, false, StepEnd::Turn);
        };
        let Some(mut tail) = partition.store.tail(pool) else {
            return (gained, false, StepEnd::Turn);
        };
        let end = loop {
            if !frame.entries[place.entry].waits() || gained.bytes >= TURN_BYTES {
                break StepEnd::Turn;
            }
            let (bytes, filter) = frame.batch(place.entry);
            let limits = load::Limits {
                from: gained.next_offset,
                offsets_end,
                bytes_max: TURN_BYTES - gained.bytes,
                skip,
                parse_errors_max: match parse_errors_max {
                    0 => u64::MAX,
                    max => max.saturating_sub(parse_errors + gained.parse_errors),
                },
                now_unix_ms: now.unix_ms(),
            };
            let size = BatchHeader::peek_size_bytes(bytes);
            let decode = decode.as_mut();
            let open = &mut partition.open;
            let (gains, ended) =
                load::load(bytes, open, &limits, filter, inflate, decode, &mut tail);
            gained.add(&gains);
            match ended {
                Ended::Batch => {
                    batch_done = true;
                    match size {
                        Ok(size) => frame.entries[place.entry].next += size,
                        Err(fault) => break StepEnd::Malformed(fault),
                    }
                    if gained.next_offset >= offsets_end {
                        break StepEnd::OffsetsMax;
                    }
                }
                Ended::OffsetsMax => break StepEnd::OffsetsMax,
                Ended::Turn => break StepEnd::Turn,
                Ended::BlockFull => break StepEnd::BlockFull,
                Ended::BlockTooSmall(need) => break StepEnd::BlockTooSmall(need),
                Ended::Poison(poison) => {
                    let end = BatchHeader::parse(bytes).map(|header| header.next_offset());
                    let end = end.unwrap_or(poison.offset.next());
                    break StepEnd::Poison(poison, end);
                }
                Ended::Malformed(fault) => break StepEnd::Malformed(fault),
            }
        };
        (gained, batch_done, end)
    }

    /// Publishes what was gained as one step.
    fn publish(&mut self, now: Now, slot: Slot, gains: &Gains, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if gains.counts.offsets() == 0 {
            partition.store.discard_step();
            return;
        }
        let step = Step {
            next_offset: gains.next_offset,
            counts: gains.counts,
            leader_epoch: gains.leader_epoch,
            extracted_bytes: gains.bytes,
            unix_ms: now.unix_ms(),
        };
        let mut said = std::mem::take(&mut self.store_out);
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.add_parse_errors(gains.parse_errors);
        partition.store.publish(now.ms(), &step, &mut said);
        self.hear(now, slot, said, out);
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if gains.leader_epoch >= 0 {
            partition.epoch = partition.epoch.max(gains.leader_epoch);
            partition.epoch_reaches = gains.next_offset;
        }
        if let Some(foreground) = &mut partition.foreground {
            (foreground.empty_answers, foreground.short_answers) = (0, 0);
        }
        if let Some((_, most)) = gains.timestamps_ms {
            partition.timestamp_said(most);
            if gains.counts.loaded > 0 {
                self.fresh.push((most, gains.counts.loaded));
            }
        }
        self.count(Row::StepLoaded);
    }

    /// A message that cannot be loaded; the cursor stands at it. `batch`: where its record batch ends, and
    /// its leader epoch.
    fn poisoned(
        &mut self,
        now: Now,
        slot: Slot,
        poison: &Poison,
        batch: (Offset, i32),
        out: &mut Effects,
    ) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let stop = partition
            .settings
            .as_ref()
            .is_none_or(|settings| settings.stop_on_error);
        let column = poison.failure.column.and_then(|column| {
            let columns = &partition.settings.as_ref()?.mapping.columns;
            Some(columns.get(usize::from(column))?.name.clone())
        });
        let place = format!(
            "topic '{}' partition {} offset {}{}",
            partition.pairing.topic,
            partition.pairing.kafka_partition,
            poison.offset.0,
            column
                .as_ref()
                .map_or_else(String::new, |column| format!(" column '{column}'"))
        );
        let threshold = if poison.over_threshold {
            "; this passes pipelines_parse_errors_threshold"
        } else {
            ""
        };
        let text = format!("{place}: {}{threshold}", poison.failure.text);
        if stop {
            self.count(Row::PoisonFailed);
            let mut failure = failure(FailureKind::Load, poison.offset.0, text, true);
            failure.column = column;
            return self.fail_at(now, slot, failure, poison, out);
        }
        // The rows before it may have filled the block: the message is met again in the next one.
        if !self.can_take(slot) {
            return;
        }
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let end = batch.0.min(partition.offsets_end());
        let skipped = poison.offset.until(end);
        let text = format!(
            "{text}; offsets {} to {} are skipped (STOP_ON_ERROR OFF)",
            poison.offset.0,
            end.0 - 1
        );
        partition.skipped();
        let gains = Gains {
            counts: Counts {
                skipped,
                ..Counts::default()
            },
            leader_epoch: match out_of_use(Rule::SkippedHasEpoch) {
                true => -1,
                false => batch.1,
            },
            ..Gains::nothing(end)
        };
        // The threshold counts anew behind what was skipped for it.
        if poison.over_threshold {
            partition.forget_parse_errors();
        }
        self.publish(now, slot, &gains, out);
        self.count(Row::PoisonSkipped);
        let kind = FaultKind::Load;
        self.record_fault(now, slot, kind, poison.offset, &text, Some(poison), out);
    }

    /// A record batch that is wrong: fetched again once, then Failed; for good where it is one that we do not
    /// support.
    fn malformed(&mut self, now: Now, slot: Slot, fault: &BatchFault, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let cursor = partition.visible();
        let again = partition.corrupt_at == Some(cursor);
        let ours = matches!(
            fault,
            BatchFault::OldMagic { .. } | BatchFault::UnknownCodec { .. }
        );
        // Also what we do not support: the byte that says so may have been turned on the way.
        if again {
            let text = format!(
                "topic '{}' partition {} at offset {}: {fault}",
                partition.pairing.topic, partition.pairing.kafka_partition, cursor.0
            );
            self.count(Row::CorruptSecond);
            let failure = failure(FailureKind::Extract, cursor.0, text, ours);
            return self.fail(now, slot, failure, out);
        }
        let leaf_partition = partition.pairing.leaf_partition;
        let offset = cursor.0;
        if matches!(fault, BatchFault::BeyondLog { .. }) {
            // A broker that reads the log's end before the records says so now and then: the second
            // answer's end is not below what the first one brought.
            tracing::debug!(leaf_partition, offset, "fetched again: {fault}");
        } else {
            tracing::warn!(
                leaf_partition,
                offset,
                "a corrupt record batch, fetched again: {fault}"
            );
        }
        partition.corrupt_at = Some(cursor);
        partition.void_fetch();
        partition.fetch = Fetch::Queued;
        self.count(Row::CorruptFirst);
        self.drop_frames_of(slot);
        self.locate(now, slot);
    }

    /// After a step: whether anything of the partition still waits, and whether it has what it wants.
    fn loaded(&mut self, now: Now, place: Place, out: &mut Effects) {
        let slot = place.slot;
        let waits = self.holds_records(slot);
        if let Some(partition) = self.get_mut(slot)
            && !waits
        {
            partition.load = Load::Empty;
        }
        if let Some(partition) = self.get_mut(slot)
            && partition.is_at_end()
            && partition.phase == Phase::Running
        {
            partition.stop_fetch();
            self.drop_frames_of(slot);
        }
        self.foreground_due(now, slot, out);
    }

    /// Offsets that retention deleted, given up under STOP_ON_ERROR OFF: as many as a commit may cover. Who finds no
    /// block for it holds up nobody.
    fn lose_turn(&mut self, now: Now, out: &mut Effects) -> bool {
        let loses = |one: &&Partition| one.lost_until.is_some() && one.phase == Phase::Running;
        let losing = self.partitions.iter().flatten().filter(loses);
        let losing: Vec<Slot> = losing.map(|partition| partition.slot).collect();
        losing.into_iter().any(|slot| self.lose(now, slot, out))
    }

    /// One step of such offsets; whether there was one.
    pub(super) fn lose(&mut self, now: Now, slot: Slot, out: &mut Effects) -> bool {
        let Some(until) = self.get(slot).and_then(|partition| partition.lost_until) else {
            return false;
        };
        if !self.can_take(slot) {
            return false;
        }
        let Some(partition) = self.get_mut(slot) else {
            return false;
        };
        let from = partition.visible();
        let end = until.min(partition.offsets_end());
        if from >= until {
            partition.lost_until = None;
        } else {
            let gains = Gains {
                counts: match out_of_use(Rule::LostCounted) {
                    true => Counts {
                        gap: from.until(end),
                        ..Counts::default()
                    },
                    false => Counts {
                        lost: from.until(end),
                        ..Counts::default()
                    },
                },
                ..Gains::nothing(end)
            };
            partition.fetched = end;
            if end == until {
                partition.lost_until = None;
            }
            self.publish(now, slot, &gains, out);
        }
        if let Some(partition) = self.get_mut(slot)
            && partition.lost_until.is_none()
        {
            partition.fetch = Fetch::Queued;
            // It was asked what is lost only when every record that was fetched had been loaded.
            partition.load = Load::Empty;
            self.locate(now, slot);
        }
        true
    }
}

const TURN_BYTES: u64 = limits::TURN_BYTES as u64;
