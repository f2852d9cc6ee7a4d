//! What each leaf should be told: a pure decision from the catalog's view and the leaves' reports.
//!
//! The catalog says what should be; a report says what is; [`Supervisor::plan`] is the difference, as
//! orders. It remembers only what this process told and heard, so after a crash the first plan is
//! the redo: attach everything as the catalog has it.
//!
//! Invariants:
//! 1. A goal's generation is the pairing's, and the catalog held it before the order left.
//! 2. A lineage above the one last told goes out as a Rewind before any other goal, and nothing but a Drop
//!    follows it until the leaf has reached it, or has said that it cannot yet for want of room: then a Stop.
//! 3. An order that could not be sent is planned again; one that was sent is not repeated unless
//!    the catalog moves on.

mod orders;

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::leaf::order::{Failure, Goal, Leader, Order, Report, Settings};
use storage::ids::{Generation, LeafPartitionId, Lineage, Offset, TopicId};

use super::deal::{Card, deal};
use super::settings::resolve;
use super::topic::differ;
use crate::catalog::{CatalogView, EngineVariables, NodeId, PairingDef, PipelineId};
use crate::planted::{Rule, out};
use orders::{attach, desired, tell, tell_leader};

/// A goal that a statement holds a leaf partition to while it is at work, instead of the catalog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// ALTER, TRUNCATE, OR REPLACE: drained first.
    Stopped,
    /// START ... FOREGROUND.
    Foreground {
        /// LIMIT n BATCHES.
        batches_max: Option<u64>,
    },
}

/// What this process told a leaf of one leaf partition and heard of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The leaf that serves it.
    pub leaf: usize,
    /// The generation of the last order.
    pub generation: Generation,
    /// The last goal told; Attach is Stop.
    pub goal: Goal,
    /// The lineage last told.
    pub lineage: Lineage,
    /// The lineage that the leaf says it stands in; 0 before it has said so.
    pub stands: Lineage,
    /// Why it does not stand in the one last told, since that was told; an order that follows does not clear it.
    pub refused: Option<Failure>,
    /// The settings last told.
    pub settings: Option<Settings>,
    /// Recovery is done.
    pub attached: bool,
    /// The last goal told is reached.
    pub reached: bool,
    /// It failed since the last goal told.
    pub failed: Option<Failure>,
    /// When, ms since 1970.
    pub failed_unix_ms: i64,
    /// Its Stop or Rewind, the last goal told, waits for room on the disk.
    pub no_room: Option<Failure>,
    /// FOREGROUND reached its end: rows loaded and messages rejected.
    pub caught_up: Option<(u64, u64)>,
    /// The durable cursor, once known.
    pub durable: Option<Offset>,
    /// The leader epoch at the durable cursor; -1 unknown.
    pub durable_epoch: i32,
    /// The leader last told.
    pub leader: Option<Leader>,
}

impl Known {
    /// When it failed by itself, ms since 1970, and why; `None` where it did not.
    #[must_use]
    pub fn failed_alone(&self) -> Option<(i64, &Failure)> {
        let failure = self.failed.as_ref().filter(|failure| failure.alone)?;
        Some((self.failed_unix_ms, failure))
    }

    /// Whether nothing is to be waited for: stopped and durable, or failed, or without room to become durable;
    /// with its generation.
    #[must_use]
    pub fn rests(&self, generation: Generation) -> bool {
        self.generation >= generation
            && self.attached
            && ((self.goal == Goal::Stop && self.reached) || self.undrained().is_some())
    }

    /// Why what it shows is not durable, where that is not to be waited for.
    #[must_use]
    pub fn undrained(&self) -> Option<&Failure> {
        self.failed.as_ref().or(self.no_room.as_ref())
    }
}

/// What a report means beyond what is remembered.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Nothing more.
    Noted,
    /// It came late: of an order that a newer one has replaced.
    Late,
    /// This pipeline has failed there: to be persisted.
    PipelineFailed {
        /// The pipeline.
        pipeline: PipelineId,
        /// The Kafka partition.
        kafka_partition: i32,
        /// Why.
        failure: Failure,
    },
    /// This partition has failed by itself, while others of its pipeline load on.
    PartitionFailed {
        /// The pipeline.
        pipeline: PipelineId,
        /// The Kafka partition.
        kafka_partition: i32,
        /// Why.
        failure: Failure,
    },
    /// A leaf partition nobody loads has failed: its rows cannot be read.
    Unreadable {
        /// Which one.
        leaf_partition: LeafPartitionId,
        /// Why.
        failure: Failure,
    },
    /// A question for Kafka.
    Ask {
        /// The pipeline whose brokers know.
        pipeline: PipelineId,
        /// The Kafka partition.
        kafka_partition: i32,
        /// Which one.
        leaf_partition: LeafPartitionId,
        /// What.
        question: Question,
    },
    /// A leaf has ended its shutdown.
    LeafEnded,
}

/// What a leaf asks of Kafka through the aggregator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who leads?
    Leader,
    /// What does the log hold?
    Range {
        /// The generation that asks.
        generation: u64,
        /// Its cursor.
        offset: i64,
    },
    /// Where does this epoch end, in the log of a leader with that one?
    Epoch {
        /// The epoch of the last committed record batch.
        epoch: i32,
        /// The leader's, as the leaf knows it.
        leader_epoch: i32,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Supervisor {
    node: NodeId,
    leaves: Vec<usize>,
    known: BTreeMap<LeafPartitionId, Known>,
    held: BTreeMap<LeafPartitionId, Held>,
    /// Leader of each Kafka partition as last heard, and of which topic.
    leaders: BTreeMap<(PipelineId, i32), (TopicId, Leader)>,
}

impl Supervisor {
    /// Nothing told yet, to `leaves` leaves.
    #[must_use]
    pub fn new(node: NodeId, leaves: usize) -> Supervisor {
        Supervisor {
            node,
            leaves: vec![0; leaves],
            known: BTreeMap::new(),
            held: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    /// What is known of one leaf partition.
    #[must_use]
    pub fn known(&self, id: LeafPartitionId) -> Option<&Known> {
        self.known.get(&id)
    }

    /// Everything known.
    pub fn all(&self) -> impl Iterator<Item = (LeafPartitionId, &Known)> {
        self.known.iter().map(|(id, known)| (*id, known))
    }

    /// How many leaf partitions each leaf serves.
    #[must_use]
    pub fn served(&self) -> &[usize] {
        &self.leaves
    }

    /// Holds a leaf partition to a goal of a statement's. Raise its generation in the catalog first.
    pub fn hold(&mut self, id: LeafPartitionId, held: Held) {
        self.held.insert(id, held);
    }

    /// Back to what the catalog says.
    pub fn release(&mut self, id: LeafPartitionId) {
        self.held.remove(&id);
    }

    /// Whether a statement holds it.
    #[must_use]
    pub fn held(&self, id: LeafPartitionId) -> Option<Held> {
        self.held.get(&id).copied()
    }

    /// Who leads a Kafka partition, as last heard.
    #[must_use]
    pub fn leader(&self, pipeline: PipelineId, kafka_partition: i32) -> Option<&Leader> {
        let (_, leader) = self.leaders.get(&(pipeline, kafka_partition))?;
        Some(leader)
    }

    /// Metadata said who leads, in the topic of this id. Within one topic an epoch never falls; another's
    /// count anew.
    pub fn led(
        &mut self,
        pipeline: PipelineId,
        kafka_partition: i32,
        topic: TopicId,
        leader: Leader,
    ) {
        let known = self.leaders.get(&(pipeline, kafka_partition));
        let falls = known.is_some_and(|(of, known)| {
            let same = *of == topic || out(Rule::LeadersOfTheTopic);
            same && leader.epoch >= 0 && leader.epoch < known.epoch
        });
        if !falls {
            self.leaders
                .insert((pipeline, kafka_partition), (topic, leader));
        }
    }

    /// The leaf asked who leads and Metadata has answered since: the next plan tells it, also what it
    /// was told before.
    pub fn tell_leader_again(&mut self, id: LeafPartitionId) {
        if let Some(known) = self.known.get_mut(&id) {
            known.leader = None;
        }
    }

    /// Forgets leaf partitions that the catalog no longer has.
    pub fn forget(&mut self, view: &CatalogView) {
        let leaves = &mut self.leaves;
        self.known.retain(|id, known| {
            let there = view.pairing(*id).is_some();
            if !there {
                leaves[known.leaf] -= 1;
            }
            there
        });
        self.held.retain(|id, _| view.pairing(*id).is_some());
        self.leaders
            .retain(|(pipeline, _), _| view.pipeline_by_id(*pipeline).is_some());
    }

    /// Tells leaves what the catalog says and they do not know yet. `send` gives an order to a leaf
    /// and says whether it was taken.
    pub fn plan(
        &mut self,
        view: &CatalogView,
        variables: &EngineVariables,
        send: &mut dyn FnMut(usize, Order) -> bool,
    ) {
        self.attach_new(view, variables, send);
        for (id, known) in &mut self.known {
            let Some(pairing) = view.pairing(*id) else {
                continue;
            };
            let desired = desired(view, pairing, self.held.get(id).copied());
            let leader = self
                .leaders
                .get(&(pairing.pipeline, pairing.kafka_partition))
                // Of a topic that is gone, its epoch may be one that the present one's never reaches.
                .filter(|(of, _)| !differ(*of, pairing.topic_id))
                .map(|(_, leader)| leader);
            tell(known, pairing, desired, view, variables, send);
            tell_leader(known, pairing, leader, send);
        }
    }

    fn attach_new(
        &mut self,
        view: &CatalogView,
        variables: &EngineVariables,
        send: &mut dyn FnMut(usize, Order) -> bool,
    ) {
        let mut cards: BTreeMap<PipelineId, Vec<Card>> = BTreeMap::new();
        // Of a table that is dropping nothing is begun: what a start finds of one is unlinked.
        let begins = |pairing: &&Arc<PairingDef>| {
            let dropping = view
                .table_by_id(pairing.table)
                .is_none_or(|one| one.dropping);
            pairing.owner == self.node && !dropping
        };
        for pairing in view.pairings().filter(begins) {
            if !self.known.contains_key(&pairing.leaf_partition) {
                let leader = self.leader(pairing.pipeline, pairing.kafka_partition);
                cards.entry(pairing.pipeline).or_default().push(Card {
                    leader: leader.map_or(-1, |leader| leader.broker),
                    kafka_partition: pairing.kafka_partition,
                    leaf_partition: pairing.leaf_partition,
                });
            }
        }
        for (_, mut cards) in cards {
            let mut held = self.leaves.clone();
            for (id, leaf) in deal(&mut cards, &mut held) {
                let Some(pairing) = view.pairing(id) else {
                    continue;
                };
                let Some(table) = view.table_by_id(pairing.table) else {
                    continue;
                };
                let settings = view
                    .pipeline_by_id(pairing.pipeline)
                    .map(|pipeline| resolve(&pipeline.spec, variables));
                if send(leaf, attach(pairing, table, settings.clone())) {
                    self.leaves[leaf] += 1;
                    self.known
                        .insert(id, Known::attaching(leaf, pairing, settings));
                }
            }
        }
    }

    /// The leaf partitions of a pipeline that have failed, each by itself.
    pub fn failed(&self, view: &CatalogView, pipeline: PipelineId) -> Vec<LeafPartitionId> {
        let ids = view.pairings_of(pipeline).map(|one| one.leaf_partition);
        let alone = |id: &LeafPartitionId| self.known.get(id)?.failed_alone();
        ids.filter(|id| alone(id).is_some()).collect()
    }

    fn any_loads(&self, view: &CatalogView, pipeline: PipelineId) -> bool {
        view.pairings_of(pipeline)
            .filter_map(|one| self.known.get(&one.leaf_partition))
            .any(|one| one.failed.is_none())
    }

    /// Takes a report, heard at `unix_ms` since 1970.
    pub fn hear(&mut self, view: &CatalogView, report: &Report, unix_ms: i64) -> Heard {
        let Some(id) = report.leaf_partition().map(LeafPartitionId) else {
            return Heard::LeafEnded;
        };
        let Some(known) = self.known.get_mut(&id) else {
            return Heard::Late;
        };
        let pairing = view.pairing(id);
        let last = known.generation;
        let is_own =
            |generation: u64| Generation(generation) == last || out(Rule::StaleReportDropped);
        match report {
            Report::Attached {
                generation,
                lineage,
                durable,
                ..
            } => {
                known.attached = true;
                known.stands_in(Lineage(*lineage));
                // Of an earlier order it says nothing of a Stop: that one is answered for itself.
                if is_own(*generation) && known.goal == Goal::Stop {
                    known.reached = true;
                    known.no_room = None;
                }
                if Lineage(*lineage) == known.lineage {
                    known.durable = Some(Offset(*durable));
                }
                Heard::Noted
            }
            Report::Durable {
                lineage,
                offset,
                leader_epoch,
                ..
            } => {
                if Lineage(*lineage) != known.lineage {
                    return Heard::Late;
                }
                // It has begun there, also where another goal than to begin was told meanwhile.
                known.stands_in(Lineage(*lineage));
                known.durable = Some(Offset(*offset));
                known.durable_epoch = *leader_epoch;
                Heard::Noted
            }
            Report::Reached {
                generation,
                goal,
                cursor,
                ..
            } => {
                if !is_own(*generation) || *goal != known.goal {
                    return Heard::Late;
                }
                known.reached = true;
                known.no_room = None;
                known.durable = Some(Offset(*cursor));
                if let Goal::Rewind { lineage, .. } = goal {
                    known.stands_in(Lineage(*lineage));
                }
                Heard::Noted
            }
            Report::CaughtUp {
                generation,
                cursor,
                rows,
                rejects,
                ..
            } => {
                if !is_own(*generation) {
                    return Heard::Late;
                }
                known.caught_up = Some((*rows, *rejects));
                known.durable = Some(Offset(*cursor));
                Heard::Noted
            }
            Report::NoRoom {
                generation,
                failure,
                ..
            } => {
                if !is_own(*generation) || !matches!(known.goal, Goal::Stop | Goal::Rewind { .. }) {
                    return Heard::Late;
                }
                known.attached = true;
                known.no_room = Some(failure.clone());
                Heard::Noted
            }
            Report::Failed {
                generation,
                failure,
                ..
            } => {
                let earlier = Generation(*generation) < known.generation;
                if earlier && !out(Rule::StaleFailureDropped) {
                    return Heard::Late;
                }
                known.attached = true;
                known.failed = Some(failure.clone());
                if known.stands < known.lineage {
                    known.refused = Some(failure.clone());
                }
                known.failed_unix_ms = unix_ms;
                let alone = failure.alone && known.goal == Goal::Run;
                let failure = failure.clone();
                let Some(pairing) =
                    pairing.filter(|one| view.pipeline_by_id(one.pipeline).is_some())
                else {
                    return Heard::Unreadable {
                        leaf_partition: id,
                        failure,
                    };
                };
                let (pipeline, kafka_partition) = (pairing.pipeline, pairing.kafka_partition);
                if alone && self.any_loads(view, pipeline) {
                    return Heard::PartitionFailed {
                        pipeline,
                        kafka_partition,
                        failure,
                    };
                }
                Heard::PipelineFailed {
                    pipeline,
                    kafka_partition,
                    failure,
                }
            }
            Report::LeaderUnknown { .. } => ask(pairing, Question::Leader),
            Report::RangeUnknown {
                generation, offset, ..
            } => ask(
                pairing,
                Question::Range {
                    generation: *generation,
                    offset: *offset,
                },
            ),
            Report::EpochUnchecked {
                leader_epoch,
                epoch,
                ..
            } => ask(
                pairing,
                Question::Epoch {
                    epoch: *epoch,
                    leader_epoch: *leader_epoch,
                },
            ),
            Report::Ended => Heard::LeafEnded,
        }
    }
}

impl Known {
    fn stands_in(&mut self, lineage: Lineage) {
        self.stands = lineage;
        if lineage >= self.lineage {
            self.refused = None;
        }
    }

    fn attaching(leaf: usize, pairing: &PairingDef, settings: Option<Settings>) -> Known {
        Known {
            leaf,
            generation: pairing.generation,
            goal: Goal::Stop,
            lineage: pairing.lineage,
            stands: Lineage(0),
            refused: None,
            settings,
            attached: false,
            reached: false,
            failed: None,
            no_room: None,
            failed_unix_ms: 0,
            caught_up: None,
            durable: None,
            durable_epoch: -1,
            leader: None,
        }
    }
}

fn ask(pairing: Option<&std::sync::Arc<PairingDef>>, question: Question) -> Heard {
    match pairing {
        Some(pairing) => Heard::Ask {
            pipeline: pairing.pipeline,
            kafka_partition: pairing.kafka_partition,
            leaf_partition: pairing.leaf_partition,
            question,
        },
        None => Heard::Late,
    }
}

#[cfg(test)]
mod tests;
