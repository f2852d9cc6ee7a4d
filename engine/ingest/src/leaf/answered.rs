//! What becomes of a partition that the broker answers with an error, or with nothing.

use storage::ids::Offset;

use super::event::{Effects, Now, Slot};
use super::lane::Asked;
use super::machine::Leaf;
use super::order::FailureKind;
use super::ordering::failure;
use super::partition::{Fetch, Hold, Question};
use super::rows::Row;
use crate::kafka::ErrorCode;
use crate::kafka::error::ErrorClass;
use crate::limits;

impl Leaf {
    /// The broker has nothing of a partition below `log_end`, though FOREGROUND's end lies ahead of the cursor.
    /// Below the log's end that is counted: it was compacted away. A log that ends before it was cut by an
    /// unclean election, or its new leader's high watermark lags: the range says which, as no broker
    /// answers ListOffsets while its own lags (KIP-207).
    pub(super) fn answered_nothing(
        &mut self,
        now: Now,
        asked: Asked,
        log_end: Offset,
        out: &mut Effects,
    ) {
        let Some(partition) = self.get_mut(asked.slot) else {
            return;
        };
        let visible = partition.visible();
        let live = partition.fetch_number == asked.fetch && asked.offset == visible;
        let Some(foreground) = &mut partition.foreground else {
            return;
        };
        let Some(end) = foreground.end.filter(|end| live && visible < *end) else {
            return;
        };
        if end <= log_end {
            foreground.empty_answers += 1;
            return self.foreground_due(now, asked.slot, out);
        }
        foreground.short_answers += 1;
        let fetches = matches!(partition.fetch, Fetch::Queued | Fetch::InFlight);
        if foreground.short_answers >= limits::EMPTY_ANSWERS_MAX && fetches {
            foreground.short_answers = 0;
            partition.fetch = Fetch::Locating(Question::Range);
            self.locate(now, asked.slot);
        }
    }

    /// The broker answered a partition with an error.
    pub(super) fn answered_error(
        &mut self,
        now: Now,
        slot: Slot,
        error: ErrorCode,
        out: &mut Effects,
    ) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        match error.class() {
            ErrorClass::LeaderMoved | ErrorClass::TopicUnknown => {
                let row = match error.class() {
                    ErrorClass::LeaderMoved => Row::LeaderMoved,
                    _ => Row::TopicUnknown,
                };
                let again_us = now.us + partition.retriable.fail() * 1_000;
                partition.void_fetch();
                partition.moved = Some((error, again_us));
                partition.fetch = Fetch::Locating(Question::Leader);
                self.drop_frames_of(slot);
                self.count(row);
                self.locate(now, slot);
            }
            ErrorClass::OutOfRange => {
                // What waits of it in a frame was fetched in time: it is loaded before anything is
                // given up, and only then is asked what the log holds.
                partition.fetch = Fetch::Locating(Question::Range);
                self.locate(now, slot);
            }
            ErrorClass::None | ErrorClass::Retriable | ErrorClass::CoordinatorMoved => {
                let until_us = now.us + partition.retriable.fail() * 1_000;
                partition.fetch = Fetch::Held {
                    why: Hold::Broker(error),
                    until_us,
                };
                self.count(Row::BrokerRetriable);
                self.ask_leader(now, slot);
            }
            ErrorClass::Corrupt | ErrorClass::Unauthorized | ErrorClass::Fatal => {
                self.count(Row::BrokerRefused);
                self.refused(now, slot, error, out);
            }
        }
    }

    /// An answer that no waiting mends, perhaps: as often as the settings say, then Failed.
    fn refused(&mut self, now: Now, slot: Slot, error: ErrorCode, out: &mut Effects) {
        let Some(partition) = self.get_mut(slot) else {
            return;
        };
        let retries_max = partition
            .settings
            .as_ref()
            .map_or(0, |settings| settings.max_retries_per_batch_partition);
        let pause_ms = partition.extract.fail();
        if partition.extract.failures() > retries_max {
            let leader = partition.leader.as_ref();
            let broker = leader.map_or_else(String::new, |leader| {
                format!("{} ({}:{})", leader.broker, leader.host, leader.port)
            });
            let offset = partition.visible().0;
            let text = format!(
                "broker {broker} answers {error} to a fetch of topic '{}' partition {} at offset \
                 {offset}, also after {retries_max} retries",
                partition.pairing.topic, partition.pairing.kafka_partition
            );
            let failure = failure(FailureKind::Extract, offset, text, false);
            return self.fail(now, slot, failure, out);
        }
        partition.fetch = Fetch::Held {
            why: Hold::Broker(error),
            until_us: now.us + pause_ms * 1_000,
        };
    }
}
