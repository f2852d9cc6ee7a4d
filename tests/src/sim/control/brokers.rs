//! What brokers answer the aggregator: as true as it is when they say it.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::aggregator::client::{ClientFault, TopicAnswer, TopicState};
use ingest::kafka::ErrorCode;
use ingest::kafka::requests::CommittedOffset;
use ingest::leaf::order::Leader;
use storage::ids::{Offset, TopicId};

use super::drive::Drive;
use super::port::{Answer, Effect, Question, unanswered};
use super::statement::Kind;
use super::user::STATEMENTS_MAX;
use crate::sim::disk::FUSE;
use crate::sim::kafka::cluster::{Cluster, TOPIC};
use crate::sim::world::Law;

/// What becomes of questions, each with its name in the coverage.
pub(super) const FAULTS: [&str; 5] = [
    "asked: nobody answers",
    "asked: an error that is retriable",
    "asked: a partition has no leader",
    "asked: an answer comes late",
    "asked: the topic is not known there",
];
/// The longest that an answer comes late.
const LATE_US_MAX: u64 = 12_000_000;

/// An answer on its way.
pub(super) struct Late {
    due_us: u64,
    give: Box<dyn FnOnce()>,
}

impl Drive<'_> {
    /// Something that the aggregator waits for is done.
    pub(super) fn effect_progress(&mut self) -> Law {
        let now = self.world.now;
        let healed = self.world.healed;
        let due = |late: &Late| healed || late.due_us <= now.us;
        if let Some(at) = self.late.iter().position(due) {
            let late = self.late.remove(at);
            (late.give)();
            return Ok(());
        }
        let (Some(process), random) = (self.process.as_mut(), &mut self.world.random) else {
            return Ok(());
        };
        process.port.set_now(now);
        let effect = process.port.take(|count| random.below(count));
        match effect {
            None => {}
            // Err: nobody waits any more.
            Some(Effect::Sleep { done, .. }) => {
                let _ = done.send(());
            }
            Some(Effect::Disk { work, done }) => {
                let (ends, calls) = (self.world.random.chance(200), self.world.random.below(24));
                if ends && self.world.has(FUSE) {
                    self.world.disk.light_fuse(calls as u32);
                }
                work(&self.world.disk);
                if self.world.disk.is_dead() {
                    self.world.died = true;
                } else {
                    // Err: nobody waits any more.
                    let _ = done.send(());
                }
            }
            Some(Effect::Ask { question, answer }) => {
                let is_topic = matches!(question, Question::Topic);
                let said = self.answer(&question);
                let often = is_topic && self.restless && self.world.random.chance(300);
                let is_late = self.happens(3) || (often && self.world.has(FAULTS[3]));
                let give: Box<dyn FnOnce()> = Box::new(move || drop(answer.send(said)));
                if is_late {
                    let due_us = now.us + self.world.random.below(LATE_US_MAX);
                    self.late.push(Late { due_us, give });
                } else {
                    give();
                }
                if is_topic && self.restless && self.world.random.chance(700) {
                    self.accept_another();
                }
            }
        }
        Ok(())
    }

    /// A user who knows of the topic that was made anew accepts it in the moment in which a source is told.
    fn accept_another(&mut self) {
        let view = self.view();
        let now = self.world.cluster.topic_id.map(TopicId);
        let is_of_another = |at: &usize| {
            let pipeline = view.pipeline("d", &format!("p{at}"));
            let known = pipeline.and_then(|pipeline| pipeline.topic_id);
            now.is_some()
                && known.is_some_and(|known| known != TopicId::default() && Some(known) != now)
        };
        if let Some(at) = (0..self.tables).find(is_of_another) {
            let free = self.statements.len() < STATEMENTS_MAX;
            if free && !self.is_held_up(Kind::SetEarliest, at) {
                self.give(Kind::SetEarliest, at);
            }
        }
    }

    fn happens(&mut self, fault: usize) -> bool {
        let happens = self.world.has(FAULTS[fault]) && self.world.random.chance(50);
        if happens {
            self.world.coverage.hit(FAULTS[fault]);
        }
        happens
    }

    fn answer(&mut self, question: &Question) -> Result<Answer, ClientFault> {
        if self.happens(0) {
            return Err(unanswered());
        }
        if self.happens(1) {
            return Err(refused(5));
        }
        match question {
            Question::Topic => Ok(Answer::Topic(self.topic())),
            Question::Offsets {
                of,
                latest,
                read_committed,
            } => {
                let mut offsets = BTreeMap::new();
                for (partition, leader) in of {
                    let Some(leader) = leader else {
                        return Err(ClientFault::NoLeader {
                            partition: *partition,
                        });
                    };
                    let log = self.led(*partition, leader)?;
                    let log = &self.world.cluster.logs[log];
                    let offset = match (latest, read_committed) {
                        (false, _) => log.start,
                        (true, true) => log.stable(),
                        (true, false) => log.end(),
                    };
                    offsets.insert(*partition, Offset(offset));
                    for statement in &mut self.statements {
                        let told = statement.told.entry((*partition, *latest));
                        told.or_default().insert(offset);
                    }
                }
                Ok(Answer::Offsets(offsets))
            }
            Question::EpochEnd {
                partition,
                leader,
                epoch,
            } => {
                let log = self.led(*partition, leader)?;
                let end = self.world.cluster.logs[log].epoch_end(*epoch);
                Ok(Answer::EpochEnd(end))
            }
            Question::Publish { group, offsets } => {
                for (partition, offset, text) in offsets {
                    let key = (group.clone(), *partition);
                    self.groups.insert(key, (*offset, text.clone()));
                }
                Ok(Answer::Publish)
            }
            Question::Published { group, partitions } => {
                let said = partitions.iter().map(|partition| {
                    let known = self.groups.get(&(group.clone(), *partition));
                    CommittedOffset {
                        topic: Arc::from(TOPIC),
                        partition: *partition,
                        error: ErrorCode::None,
                        offset: known.map(|known| Offset(known.0)),
                        leader_epoch: -1,
                        metadata: known.map_or(String::new(), |known| known.1.clone()),
                    }
                });
                Ok(Answer::Published(said.collect()))
            }
        }
    }

    fn topic(&mut self) -> TopicAnswer {
        if self.happens(4) {
            return TopicAnswer::Missing;
        }
        let without = self.happens(2);
        let cluster = &self.world.cluster;
        let Some(id) = cluster.topic_id else {
            return TopicAnswer::Missing;
        };
        let id = match cluster.has_topic_ids() {
            true => TopicId(id),
            false => TopicId::default(),
        };
        let partitions = cluster.leaders.iter().enumerate().map(|(log, leader)| {
            let (broker, epoch) = *leader;
            let leader = Leader {
                broker,
                host: "sim".to_owned(),
                port: Cluster::port(broker),
                epoch,
            };
            (log as i32, (log > 0 || !without).then_some(leader))
        });
        TopicAnswer::There(TopicState {
            id,
            partitions: partitions.collect(),
        })
    }

    /// The log, if that is who leads it.
    fn led(&self, partition: i32, leader: &Leader) -> Result<usize, ClientFault> {
        let cluster = &self.world.cluster;
        let log = usize::try_from(partition).unwrap_or(usize::MAX);
        if cluster.topic_id.is_none() {
            return Err(refused(3));
        }
        let (broker, epoch) = *cluster.leaders.get(log).ok_or_else(|| refused(3))?;
        if broker != leader.broker {
            return Err(refused(6));
        }
        if epoch != leader.epoch {
            return Err(refused(if leader.epoch < epoch { 74 } else { 75 }));
        }
        Ok(log)
    }
}

fn refused(code: i16) -> ClientFault {
    ClientFault::Answer {
        question: "asked",
        error: ErrorCode::from(code),
    }
}
