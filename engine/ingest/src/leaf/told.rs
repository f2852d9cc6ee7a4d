//! What the broker of a lane was told to send: the partitions of the last request, by Kafka's names.
//!
//! Without a session that is what the request names. In one it is all that the broker keeps: what this
//! request names and what an earlier one named and none has forgotten since. With each partition stands
//! what the broker said of its log last, because in a session it does not say it again.
//!
//! A Kafka partition is one entry, whichever leaf partition reads it: a broker forgets behind what it is
//! told, so one that were forgotten for its old reader and named for its new one would be lost.
//!
//! Invariants:
//! 1. Sorted by name; each Kafka partition once.
//! 2. The list changes when a request is written, and then every partition of the last response was
//!    read: what an answer names is looked up in the list of its own request.

use std::cmp::Ordering;

use storage::ids::{Offset, TopicId};

use super::lane::Asked;
use super::order::Pairing;
use crate::kafka::fetch::{FetchPartition, Forgotten, PartitionHead};
use crate::limits;

/// What a broker said of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSaid {
    /// The end as far as it is replicated.
    pub high_watermark: i64,
    /// The end as far as no transaction is open; -1 where the broker does not say.
    pub last_stable_offset: i64,
    /// The start; -1 where the broker does not say.
    pub log_start_offset: i64,
}

impl LogSaid {
    /// What a head says.
    #[must_use]
    pub fn of(head: &PartitionHead) -> LogSaid {
        LogSaid {
            high_watermark: head.high_watermark,
            last_stable_offset: head.last_stable_offset,
            log_start_offset: head.log_start_offset,
        }
    }

    /// The end beyond which no record batch of the answer reaches.
    #[must_use]
    pub fn end(&self, read_committed: bool) -> Offset {
        Offset(match self.last_stable_offset {
            stable @ 0.. if read_committed => stable.min(self.high_watermark),
            _ => self.high_watermark,
        })
    }
}

/// One Kafka partition.
#[derive(Clone, Debug)]
pub struct Told {
    topic: String,
    topic_id: TopicId,
    partition: i32,
    /// Who reads it, and from where on.
    pub asked: Asked,
    leader_epoch: i32,
    /// What the broker said last; none before it did, and behind an error.
    pub said: Option<LogSaid>,
    /// The last response that names it, by its request's number.
    pub answered: Option<i32>,
    /// It is in the request that is being written,
    wanted: bool,
    /// and the broker does not know it so yet.
    changed: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct ToldList {
    by_id: bool,
    list: Vec<Told>,
}

impl ToldList {
    /// Forgets everything: what the broker keeps is not known.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Whether topics go by their ids.
    #[must_use]
    pub fn is_by_id(&self) -> bool {
        self.by_id
    }

    /// How many.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.list.len()
    }

    /// Every partition.
    pub fn iter(&self) -> impl Iterator<Item = &Told> {
        self.list.iter()
    }

    /// A request is written anew; in a list of the other kind of names nothing is known.
    pub fn begin(&mut self, by_id: bool) {
        if self.by_id != by_id {
            self.list.clear();
            self.by_id = by_id;
        }
        for told in &mut self.list {
            told.wanted = false;
        }
    }

    /// The request asks for this partition; whether it is the first to do so in it.
    pub fn want(&mut self, pairing: &Pairing, leader_epoch: i32, asked: Asked) -> bool {
        let topic_id = TopicId(pairing.topic_id);
        let at = match self.by_id {
            true => self.by_id(topic_id, pairing.kafka_partition),
            false => self.by_name(pairing.topic.as_bytes(), pairing.kafka_partition),
        };
        match at {
            Ok(at) => {
                let told = &mut self.list[at];
                if told.wanted {
                    return false;
                }
                told.changed =
                    told.asked.offset != asked.offset || told.leader_epoch != leader_epoch;
                (told.asked, told.leader_epoch, told.wanted) = (asked, leader_epoch, true);
            }
            Err(at) => self.list.insert(
                at,
                Told {
                    topic: pairing.topic.clone(),
                    topic_id,
                    partition: pairing.kafka_partition,
                    asked,
                    leader_epoch,
                    said: None,
                    answered: None,
                    wanted: true,
                    changed: true,
                },
            ),
        }
        true
    }

    /// What a request names that names everything: topics and their partitions each begun `turn` further
    /// than in the list.
    #[must_use]
    pub fn all_in_turn(&self, turn: usize) -> Vec<&Told> {
        let wanted: Vec<&Told> = self.list.iter().filter(|told| told.wanted).collect();
        let same_topic = |one: &&Told, other: &&Told| match self.by_id {
            true => one.topic_id == other.topic_id,
            false => one.topic == other.topic,
        };
        let topics: Vec<&[&Told]> = wanted.chunk_by(same_topic).collect();
        let rotated = |count: usize| (0..count).map(move |at| (at + turn) % count);
        let topics = rotated(topics.len()).map(|at| topics[at]);
        topics
            .flat_map(|topic| rotated(topic.len()).map(move |at| topic[at]))
            .collect()
    }

    /// What a request of a session names: what the broker does not know so yet.
    #[must_use]
    pub fn changed(&self) -> Vec<&Told> {
        let changed = self.list.iter().filter(|told| told.wanted && told.changed);
        changed.collect()
    }

    /// What it forgets.
    #[must_use]
    pub fn forgotten(&self) -> Vec<Forgotten<'_>> {
        let gone = self.list.iter().filter(|told| !told.wanted);
        gone.map(|told| Forgotten {
            topic: &told.topic,
            topic_id: told.topic_id,
            partition: told.partition,
        })
        .collect()
    }

    /// The request is written: the broker keeps no others.
    pub fn end(&mut self) {
        self.list.retain(|told| told.wanted);
    }

    /// The partition that an answer names by its topic's id.
    pub fn named_by_id(&mut self, topic: TopicId, partition: i32) -> Option<&mut Told> {
        let at = self.by_id(topic, partition).ok().filter(|_| self.by_id)?;
        self.list.get_mut(at)
    }

    /// The partition that an answer names by its topic's name.
    pub fn named(&mut self, topic: &[u8], partition: i32) -> Option<&mut Told> {
        let at = self
            .by_name(topic, partition)
            .ok()
            .filter(|_| !self.by_id)?;
        self.list.get_mut(at)
    }

    fn by_id(&self, topic: TopicId, partition: i32) -> Result<usize, usize> {
        self.list.binary_search_by(|told| {
            let topics = told.topic_id.0.cmp(&topic.0);
            topics.then(told.partition.cmp(&partition))
        })
    }

    fn by_name(&self, topic: &[u8], partition: i32) -> Result<usize, usize> {
        self.list.binary_search_by(|told| -> Ordering {
            let topics = told.topic.as_bytes().cmp(topic);
            topics.then(told.partition.cmp(&partition))
        })
    }
}

impl Told {
    /// As a request names it.
    #[must_use]
    pub fn fetch_partition(&self) -> FetchPartition<'_> {
        FetchPartition {
            topic: &self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
            current_leader_epoch: self.leader_epoch,
            offset: self.asked.offset,
            // The aggregator asks where an epoch ends, of brokers of every version.
            last_fetched_epoch: -1,
            bytes_max: i32::try_from(limits::FETCH_PARTITION_BYTES_MAX).unwrap_or(i32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Slot;
    use super::*;

    fn pairing(topic: &str, id: u8, partition: i32) -> Pairing {
        Pairing {
            leaf_partition: 1,
            table: 1,
            pipeline: 1,
            kafka_partition: partition,
            topic: topic.to_owned(),
            topic_id: [id; 16],
            lineage: 1,
            live_lineage: 1,
            start_offset: 0,
            end_offset: None,
        }
    }

    fn asked(slot: u32, offset: i64) -> Asked {
        Asked {
            slot: Slot {
                index: slot,
                turn: 1,
            },
            fetch: 0,
            offset: Offset(offset),
        }
    }

    /// Writes a request of `(topic, id, partition, slot, offset)`, all in epoch 3.
    fn request(list: &mut ToldList, by_id: bool, wanted: &[(&str, u8, i32, u32, i64)]) -> String {
        list.begin(by_id);
        for &(topic, id, partition, slot, offset) in wanted {
            let first = list.want(&pairing(topic, id, partition), 3, asked(slot, offset));
            assert!(first);
        }
        let changed = list.changed().into_iter();
        let changed: Vec<String> = changed
            .map(|told| format!("{}{}@{}", told.topic, told.partition, told.asked.offset.0))
            .collect();
        let gone: Vec<String> = list
            .forgotten()
            .iter()
            .map(|gone| format!("-{}{}", gone.topic, gone.partition))
            .collect();
        list.end();
        [changed, gone].concat().join(" ")
    }

    #[test]
    fn a_request_names_what_changed_and_forgets_what_is_not_wanted() {
        for by_id in [false, true] {
            let mut list = ToldList::default();
            let all = [("a", 1, 1, 0, 10), ("a", 1, 0, 1, 20), ("b", 2, 0, 2, 30)];
            assert_eq!(request(&mut list, by_id, &all), "a0@20 a1@10 b0@30");
            assert_eq!(request(&mut list, by_id, &all), "", "nothing changed");
            let one = [("a", 1, 1, 0, 11), ("b", 2, 0, 2, 30)];
            assert_eq!(request(&mut list, by_id, &one), "a1@11 -a0");
            assert_eq!(request(&mut list, by_id, &all[1..]), "a0@20 -a1");
            // Another leaf partition reads it from the same place on: nothing of that is the broker's.
            let other = [("a", 1, 0, 9, 20), ("b", 2, 0, 2, 30)];
            assert_eq!(request(&mut list, by_id, &other), "");
            let a = list.iter().find(|told| told.topic == "a").expect("there");
            assert_eq!(a.asked.slot.index, 9);
            // By the other kind of names it is another session.
            assert_eq!(request(&mut list, !by_id, &other), "a0@20 b0@30");
        }
    }

    #[test]
    fn another_epoch_is_a_change_and_a_partition_is_asked_for_once() {
        let mut list = ToldList::default();
        assert_eq!(request(&mut list, true, &[("a", 1, 0, 0, 10)]), "a0@10");
        list.begin(true);
        assert!(list.want(&pairing("a", 1, 0), 4, asked(0, 10)));
        assert!(!list.want(&pairing("a", 1, 0), 4, asked(7, 99)), "twice");
        assert_eq!(list.changed().len(), 1);
        assert_eq!(list.changed()[0].asked, asked(0, 10));
        assert_eq!(list.changed()[0].leader_epoch, 4);
    }

    /// A broker that were told an epoch would answer that the log diverges, by itself and unasked.
    #[test]
    fn a_request_tells_the_leaders_epoch_and_none_of_what_was_loaded() {
        let mut list = ToldList::default();
        request(&mut list, true, &[("a", 1, 2, 0, 10)]);
        let told = list.iter().next().expect("it is asked for");
        let asks = told.fetch_partition();
        assert_eq!(
            (asks.topic, asks.partition, asks.offset),
            ("a", 2, Offset(10))
        );
        assert_eq!(
            (asks.current_leader_epoch, asks.last_fetched_epoch),
            (3, -1)
        );
    }

    #[test]
    fn names_are_found_as_the_answer_gives_them() {
        let mut list = ToldList::default();
        let all = [("a", 7, 0, 0, 1), ("b", 5, 0, 1, 2), ("b", 5, 3, 2, 3)];
        request(&mut list, true, &all);
        let slot = |told: Option<&mut Told>| told.map(|told| told.asked.slot.index);
        assert_eq!(slot(list.named_by_id(TopicId([5; 16]), 3)), Some(2));
        assert_eq!(slot(list.named_by_id(TopicId([5; 16]), 1)), None);
        assert_eq!(slot(list.named(b"b", 3)), None, "not by name");
        request(&mut list, false, &all);
        assert_eq!(slot(list.named(b"b", 3)), Some(2));
        assert_eq!(slot(list.named(b"c", 0)), None);
        assert_eq!(slot(list.named_by_id(TopicId([5; 16]), 3)), None);
    }

    #[test]
    fn what_names_everything_begins_one_further_each_time() {
        let mut list = ToldList::default();
        let all = [
            ("a", 1, 0, 0, 0),
            ("a", 1, 1, 1, 0),
            ("a", 1, 2, 2, 0),
            ("b", 2, 0, 3, 0),
        ];
        for by_id in [false, true] {
            request(&mut list, by_id, &all);
            let order = |turn| -> Vec<u32> {
                let all = list.all_in_turn(turn).into_iter();
                all.map(|told| told.asked.slot.index).collect()
            };
            assert_eq!(order(0), [0, 1, 2, 3]);
            assert_eq!(order(1), [3, 1, 2, 0]);
            assert_eq!(order(2), [2, 0, 1, 3]);
        }
        assert!(ToldList::default().all_in_turn(1).is_empty());
    }
}
