//! What leaves ask of a pipeline's source, and what of that is not answered yet: a leaf asks again, and the later
//! question of a partition stands for the one before.

use std::collections::{BTreeMap, BTreeSet};

use storage::ids::LeafPartitionId;

use super::client::TopicState;
use super::supervisor::Question;
use super::watch::Watch;

/// A leaf's question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub leaf_partition: LeafPartitionId,
    pub kafka_partition: i32,
    pub question: Question,
}

/// What the leaves asked and was not answered yet.
#[derive(Default)]
pub(super) struct Open {
    pub leaders: BTreeSet<LeafPartitionId>,
    /// Beside its generation and its cursor.
    pub ranges: BTreeMap<i32, (LeafPartitionId, u64, i64)>,
    /// Beside the epoch the leader's, as the leaf knows it.
    pub epochs: BTreeMap<i32, (LeafPartitionId, i32, i32)>,
}

impl Open {
    /// Whether a leaf knows a later leader than Metadata said last.
    pub fn is_ahead_of(&self, state: &TopicState) -> bool {
        self.epochs.iter().any(|(index, (_, _, asked))| {
            let known = state.partitions.get(index).and_then(Option::as_ref);
            known.is_some_and(|leader| leader.epoch < *asked)
        })
    }

    /// Takes a question; one of the leader is Metadata's.
    pub fn take(&mut self, ask: Ask, watch: &mut Watch) {
        match ask.question {
            Question::Leader => {
                self.leaders.insert(ask.leaf_partition);
                watch.want();
            }
            Question::Range { generation, offset } => {
                let asked = (ask.leaf_partition, generation, offset);
                self.ranges.insert(ask.kafka_partition, asked);
            }
            Question::Epoch {
                epoch,
                leader_epoch,
            } => {
                let asked = (ask.leaf_partition, epoch, leader_epoch);
                self.epochs.insert(ask.kafka_partition, asked);
            }
        }
    }
}
