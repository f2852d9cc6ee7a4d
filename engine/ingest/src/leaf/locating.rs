//! What only the aggregator knows, asked and learnt: who leads, where an epoch ends, what the log holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::format::rejects::FaultKind;
use storage::ids::Offset;

use super::event::{Effects, Now, Slot};
use super::frame::Frame;
use super::machine::Leaf;
use super::order::{FailureKind, Leader, Report};
use super::ordering::failure;
use super::partition::{Fetch, Hold, Partition, Phase, Question};
use super::rows::Row;
use crate::limits;
use crate::planted::{Rule, out as out_of_use};

impl Leaf {
    /// Asks what must be known before the next fetch, or queues it.
    pub(super) fn locate(&mut self, now: Now, slot: Slot) {
        let Some(partition) = self.get(slot) else {
            return;
        };
        let question = match partition.fetch {
            Fetch::Locating(Question::Range) => Some(Question::Range),
            _ => partition.question(),
        };
        let due = self.ask_due_us(partition) <= now.us;
        let waits = self.holds_records(slot) && !out_of_use(Rule::FrameBeforeLost);
        if question == Some(Question::Range) && waits {
            return;
        }
        let topic = partition.pairing.topic.clone();
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let Some(question) = question else {
            partition.fetch = if partition.is_at_end() {
                Fetch::Stopped
            } else {
                Fetch::Queued
            };
            partition.asked_us = None;
            self.assign_lane(slot);
            return;
        };
        partition.fetch = Fetch::Locating(question);
        if !due {
            return;
        }
        partition.asked_us = Some(now.us);
        let leaf_partition = partition.pairing.leaf_partition;
        let leader_epoch = partition.leader.as_ref().map_or(-1, |leader| leader.epoch);
        let report = match question {
            Question::Leader => Report::LeaderUnknown {
                leaf_partition,
                epoch: leader_epoch,
            },
            Question::Epoch(epoch) => Report::EpochUnchecked {
                leaf_partition,
                leader_epoch,
                epoch,
            },
            Question::Range => Report::RangeUnknown {
                leaf_partition,
                generation: partition.generation,
                offset: partition.visible().0,
            },
        };
        if question == Question::Leader {
            self.asked_topics.insert(topic, now.us);
        }
        self.reports.push(report);
    }

    /// When a partition may ask next: its own question once a second, a topic's leader every 100 ms.
    pub(super) fn ask_due_us(&self, partition: &Partition) -> u64 {
        let own = partition
            .asked_us
            .map_or(0, |asked| asked + limits::ASK_AGAIN_MS * 1_000);
        let topic = match partition.fetch {
            Fetch::Locating(Question::Range | Question::Epoch(_)) => None,
            _ => self.asked_topics.get(&partition.pairing.topic),
        };
        own.max(topic.map_or(0, |asked| asked + limits::ASK_INTERVAL_MS * 1_000))
    }

    /// Whether a frame holds records of a partition, or may still bring some.
    pub(super) fn holds_records(&self, slot: Slot) -> bool {
        let entries = |frame: &Frame| {
            let mut entries = frame.entries.iter();
            entries.any(|entry| entry.asked.slot == slot && !entry.is_done())
        };
        self.lanes.iter().any(|run| run.frames.iter().any(entries))
    }

    pub(super) fn learn_leader(&mut self, now: Now, leaf_partition: u64, leader: Leader) {
        let Some(&slot) = self.by_id.get(&leaf_partition) else {
            return;
        };
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let changed = partition.take_leader(leader);
        if changed && partition.phase == Phase::Running {
            // What is on its way comes from a leader that is none any more.
            self.drop_frames_of(slot);
            if let Some(partition) = self.get_mut(slot) {
                partition.void_fetch();
            }
        }
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if partition.phase != Phase::Running {
            return;
        }
        let waits = partition.fetch == Fetch::Locating(Question::Leader);
        if waits || (changed && !matches!(partition.fetch, Fetch::Held { .. })) {
            partition.asked_us = None;
            let moved = partition.moved.take();
            if waits {
                // The aggregator may know no better yet than the broker that said "not I".
                partition.fetch = match moved {
                    Some((code, until_us)) if !changed && until_us > now.us => Fetch::Held {
                        why: Hold::Broker(code),
                        until_us,
                    },
                    _ => Fetch::Queued,
                };
                self.count(Row::LeaderLearned);
            }
            if self
                .get(slot)
                .is_some_and(|one| !matches!(one.fetch, Fetch::Held { .. }))
            {
                self.locate(now, slot);
            }
        }
    }

    /// `asked`: the epoch of the leader that answered, and the epoch whose end it was asked for.
    pub(super) fn learn_epoch_end(
        &mut self,
        now: Now,
        leaf_partition: u64,
        asked: (i32, i32),
        end_offset: i64,
        out: &mut Effects,
    ) {
        let Some(&slot) = self.by_id.get(&leaf_partition) else {
            return;
        };
        let (asked_of, epoch) = asked;
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if partition.phase != Phase::Running
            || partition.fetch != Fetch::Locating(Question::Epoch(epoch))
        {
            return;
        }
        let reaches = match out_of_use(Rule::EpochComparedWithLoaded) {
            true => partition.visible(),
            false => partition.epoch_reaches,
        };
        let leader_epoch = partition.leader.as_ref().map_or(-1, |leader| leader.epoch);
        if asked_of != leader_epoch && !out_of_use(Rule::EpochAnswerOfTheLeader) {
            // The answer of a leader that is none any more: the present one was asked when it was learnt.
            // Of one that is not known here yet: it is told, and then asked.
            if asked_of > leader_epoch {
                self.reports.push(Report::LeaderUnknown {
                    leaf_partition,
                    epoch: leader_epoch,
                });
            }
            return;
        }
        // What was lost behind the last record batch was no epoch's: the log may begin anew beyond it.
        if end_offset >= 0 && end_offset < reaches.0 {
            self.count(Row::Diverged);
            let text = format!(
                "diverged: in the log of leader epoch {leader_epoch}, epoch {epoch} ends at offset \
                 {end_offset}, but offsets {end_offset} to {} were loaded and are another log's now \
                 (an unclean election); rows cannot be unmade: ALTER PIPELINE ... SET OFFSETS to go on",
                reaches.0 - 1
            );
            let failure = failure(FailureKind::Extract, end_offset, text, true);
            return self.fail(now, slot, failure, out);
        }
        partition.epoch_checked = leader_epoch;
        partition.asked_us = None;
        partition.fetch = Fetch::Queued;
        self.count(Row::EpochChecked);
        self.locate(now, slot);
    }

    /// `asked`: the generation that asked, and its cursor then. `range`: the log's start and end.
    pub(super) fn learn_range(
        &mut self,
        now: Now,
        leaf_partition: u64,
        asked: (u64, Offset),
        range: (i64, i64),
        out: &mut Effects,
    ) {
        let (log_start_offset, log_end_offset) = range;
        let Some(&slot) = self.by_id.get(&leaf_partition) else {
            return;
        };
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        if asked != (partition.generation, partition.visible()) {
            return;
        }
        let standing = Arc::clone(&partition.standing);
        standing
            .log_start_offset
            .store(log_start_offset, Ordering::Relaxed);
        if partition.phase != Phase::Running || partition.fetch != Fetch::Locating(Question::Range)
        {
            return;
        }
        // The answer to an earlier question: what is fetched is loaded first, and it is asked again.
        if self.holds_records(slot) && !out_of_use(Rule::FrameBeforeLost) {
            return;
        }
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        partition.void_fetch();
        let cursor = partition.visible();
        partition.asked_us = None;
        if cursor.0 > log_end_offset {
            self.count(Row::OutOfRangeFailed);
            let text = format!(
                "the cursor {} lies beyond the log's end {log_end_offset}: the topic was cut or made \
                 anew, or the offset was set so; ALTER PIPELINE ... SET OFFSETS to go on",
                cursor.0
            );
            let failure = failure(FailureKind::Extract, cursor.0, text, true);
            self.fail(now, slot, failure, out);
        } else if cursor.0 < log_start_offset {
            let stop = partition
                .settings
                .as_ref()
                .is_none_or(|settings| settings.stop_on_error);
            let text = format!(
                "offsets {} to {} ({} of them) were deleted by retention before they were loaded; the \
                 log begins at {log_start_offset}",
                cursor.0,
                log_start_offset - 1,
                log_start_offset - cursor.0
            );
            if stop {
                self.count(Row::OutOfRangeFailed);
                let text = format!("{text}: ALTER PIPELINE ... SET OFFSETS to go on");
                let failure = failure(FailureKind::Extract, cursor.0, text, true);
                self.fail(now, slot, failure, out);
            } else {
                partition.lost_until = Some(Offset(log_start_offset));
                partition.fetch = Fetch::Losing;
                self.count(Row::OutOfRangeLost);
                self.record_fault(now, slot, FaultKind::Extract, cursor, &text, None, out);
                self.lose(now, slot, out);
            }
        } else {
            if let Some(foreground) = &mut partition.foreground {
                let cut = Some(Offset(log_end_offset));
                foreground.end = foreground.end.min(cut);
            }
            partition.fetch = Fetch::Queued;
            self.locate(now, slot);
            self.foreground_due(now, slot, out);
        }
    }
}
