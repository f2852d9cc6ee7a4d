//! When to ask who leads, and what an answer means for a topic: pure.
//!
//! One question a topic at least [`TOPIC_QUESTION_INTERVAL_MS`] apart, however many leaves ask; one
//! each metadata interval when nobody does. A topic is another one only when Metadata gives its name
//! another id, and gone only after [`TOPIC_DELETED_AFTER_MS`] without one: brokers that lag or just
//! started say that they do not know it, too.

use std::collections::BTreeSet;

use storage::ids::TopicId;

use super::client::{TopicAnswer, TopicState};
use crate::limits::{TOPIC_DELETED_AFTER_MS, TOPIC_QUESTION_INTERVAL_MS, UNREACHABLE_PAUSE_MS};
use crate::planted::{Rule, out};

/// One topic under watch.
#[derive(Debug)]
pub struct Watch {
    id: TopicId,
    paired: BTreeSet<i32>,
    interval_ms: u64,
    wanted: bool,
    asked_ms: Option<u64>,
    failed: bool,
    missing_since_ms: Option<u64>,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The topic is there; these partitions have no leaf partition yet.
    There {
        /// By index.
        new: Vec<i32>,
    },
    /// Its name belongs to another topic now.
    Replaced {
        /// The other's id.
        id: TopicId,
    },
    /// Not known to the broker; perhaps it lags.
    Missing,
    /// Not known for so long that it is deleted.
    Deleted,
}

impl Watch {
    /// Watches a topic. `id` zero: none known, the first answer's counts.
    #[must_use]
    pub fn new(id: TopicId, paired: BTreeSet<i32>, interval_ms: u64) -> Watch {
        Watch {
            id,
            paired,
            interval_ms,
            wanted: false,
            asked_ms: None,
            failed: false,
            missing_since_ms: None,
        }
    }

    /// This is the topic's id from now on, also where another one was watched; zero: none is known.
    pub fn accepted(&mut self, id: TopicId) {
        if id != TopicId::default() && !out(Rule::AcceptedTopicWatched) {
            self.id = id;
        }
    }

    /// A leaf asks.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// When the next question is due, ms of the same clock.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let Some(asked_ms) = self.asked_ms else {
            return 0;
        };
        let pause = match (self.wanted, self.failed) {
            (true, false) => TOPIC_QUESTION_INTERVAL_MS,
            (true, true) => UNREACHABLE_PAUSE_MS,
            // Often enough to tell its end in time.
            (false, _) if self.missing_since_ms.is_some() => UNREACHABLE_PAUSE_MS,
            (false, _) => self.interval_ms,
        };
        asked_ms.saturating_add(pause.min(self.interval_ms))
    }

    /// The question leaves now.
    pub fn asked(&mut self, now_ms: u64) {
        self.asked_ms = Some(now_ms);
        self.wanted = false;
    }

    /// Nobody answered: whoever waits still waits.
    pub fn unanswered(&mut self) {
        self.failed = true;
        self.wanted = true;
    }

    /// An answer came.
    pub fn answered(&mut self, now_ms: u64, answer: &TopicAnswer) -> Seen {
        self.failed = false;
        match answer {
            TopicAnswer::Missing => {
                let since = *self.missing_since_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since) >= TOPIC_DELETED_AFTER_MS {
                    Seen::Deleted
                } else {
                    Seen::Missing
                }
            }
            TopicAnswer::There(TopicState { id, partitions }) => {
                self.missing_since_ms = None;
                if self.id == TopicId::default() {
                    self.id = *id;
                }
                if *id != TopicId::default() && *id != self.id {
                    return Seen::Replaced { id: *id };
                }
                Seen::There {
                    new: partitions
                        .keys()
                        .copied()
                        .filter(|index| !self.paired.contains(index))
                        .collect(),
                }
            }
        }
    }

    /// These have a leaf partition now.
    pub fn paired(&mut self, indices: &[i32]) {
        self.paired.extend(indices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TopicId = TopicId([1; 16]);
    const OTHER: TopicId = TopicId([2; 16]);

    fn there(id: TopicId, partitions: i32) -> TopicAnswer {
        TopicAnswer::There(TopicState {
            id,
            partitions: (0..partitions).map(|index| (index, None)).collect(),
        })
    }

    fn watch() -> Watch {
        Watch::new(ID, BTreeSet::from([0, 1]), 10_000)
    }

    #[test]
    fn many_questions_are_one_and_at_least_100_ms_apart() {
        let mut watch = watch();
        assert_eq!(watch.due_ms(), 0);
        watch.asked(1_000);
        watch.answered(1_001, &there(ID, 2));
        assert_eq!(watch.due_ms(), 11_000, "nobody asks: the metadata interval");
        for _ in 0..9 {
            watch.want();
        }
        assert_eq!(watch.due_ms(), 1_100);
        watch.asked(1_100);
        assert_eq!(watch.due_ms(), 11_100);
        watch.unanswered();
        assert_eq!(watch.due_ms(), 2_100, "whoever asked still waits");
    }

    #[test]
    fn new_partitions_are_named_until_they_are_paired() {
        let mut watch = watch();
        assert_eq!(
            watch.answered(0, &there(ID, 4)),
            Seen::There { new: vec![2, 3] }
        );
        watch.paired(&[2, 3]);
        assert_eq!(
            watch.answered(0, &there(ID, 4)),
            Seen::There { new: vec![] }
        );
    }

    #[test]
    fn replaced_only_by_another_id_and_deleted_only_after_a_minute() {
        let mut watch = watch();
        assert_eq!(watch.answered(0, &TopicAnswer::Missing), Seen::Missing);
        assert_eq!(watch.answered(59_999, &TopicAnswer::Missing), Seen::Missing);
        assert_eq!(watch.answered(60_000, &TopicAnswer::Missing), Seen::Deleted);
        assert_eq!(
            watch.answered(60_001, &there(ID, 2)),
            Seen::There { new: vec![] }
        );
        assert_eq!(watch.answered(60_002, &TopicAnswer::Missing), Seen::Missing);
        assert_eq!(
            watch.answered(60_003, &there(OTHER, 2)),
            Seen::Replaced { id: OTHER }
        );
        // A broker without ids says nothing about the id.
        assert_eq!(
            watch.answered(60_004, &there(TopicId::default(), 2)),
            Seen::There { new: vec![] }
        );
        // Somebody has accepted the other one.
        watch.accepted(OTHER);
        watch.accepted(TopicId::default());
        assert_eq!(
            watch.answered(60_005, &there(OTHER, 2)),
            Seen::There { new: vec![] }
        );
        let mut unknown = Watch::new(TopicId::default(), BTreeSet::new(), 10_000);
        assert_eq!(
            unknown.answered(0, &there(ID, 0)),
            Seen::There { new: vec![] }
        );
        assert_eq!(
            unknown.answered(1, &there(OTHER, 0)),
            Seen::Replaced { id: OTHER }
        );
    }

    #[test]
    fn a_missing_topic_is_asked_for_often() {
        let mut watch = watch();
        watch.asked(0);
        watch.answered(0, &TopicAnswer::Missing);
        assert_eq!(watch.due_ms(), 1_000);
    }
}
