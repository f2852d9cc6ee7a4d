//! A pipeline that fails: it is in Error and stops once the catalog has it, and that is tried until it is kept.

use std::sync::Arc;

use ingest::leaf::order::Failure;
use storage::ids::TopicId;

use super::error::AggregatorError;
use super::shared::{Shared, ordered, pairings_of};
use crate::catalog::{
    CatalogError, CatalogView, Change, PipelineFailure, PipelineId, PipelineState,
};
use crate::limits::FAILURE_AGAIN_MS;
use crate::planted::{Rule, out};

/// What of a pipeline has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// A Kafka partition.
    Partition(i32),
    /// The topic as a whole, of the id that the pipeline had.
    Topic(TopicId),
}

impl Shared {
    /// A partition has failed: the pipeline is in Error and stops.
    pub(super) async fn partition_failed(
        self: &Arc<Shared>,
        id: PipelineId,
        index: i32,
        failure: Failure,
    ) {
        let unix_ms = self.port.unix_ms();
        let of = Failed::Partition(index);
        let mut attempts = 0;
        while self
            .fail_pipeline(id, of, &failure, unix_ms, attempts)
            .await
        {
            // One of its partitions is enough: what fails then is kept, whichever it is.
            if attempts == 0 && !self.state().unkept.insert(id) {
                return;
            }
            attempts += 1;
            self.port.sleep(FAILURE_AGAIN_MS).await;
        }
        if attempts > 0 {
            self.state().unkept.remove(&id);
        }
    }

    /// A partition, or the topic as a whole, has failed: the pipeline is in Error and stops. Whether it is to be
    /// tried again, behind so many `attempts`: what waits for room on the disk, or for who holds the catalog, could
    /// not be kept, and until it is the pipeline runs, and START would change nothing.
    pub(super) async fn fail_pipeline(
        self: &Arc<Shared>,
        id: PipelineId,
        of: Failed,
        failure: &Failure,
        unix_ms: i64,
        attempts: u32,
    ) -> bool {
        let foreground = self.is_foreground(id);
        let kept = self.keep_failure(id, of, failure, unix_ms).await;
        let again = matches!(
            kept,
            Err(AggregatorError::Catalog(
                CatalogError::NoRoom { .. }
                    | CatalogError::Disk { .. }
                    | CatalogError::Locked { .. }
            ))
        );
        match kept {
            Ok(Some(failure)) => {
                tracing::error!(pipeline = %id, ?of, offset = failure.offset, failure = failure.text, foreground,
                    "the pipeline has failed");
            }
            Ok(None) => {}
            // Said once.
            Err(_) if again && attempts > 0 => {}
            Err(error) => tracing::error!(pipeline = %id, %error, failure = failure.text, again,
                "the pipeline has failed, and that could not be kept"),
        }
        self.carry_out();
        again
    }

    /// What of a pipeline fails under the last order that `view` has for it: this partition, or else another whose
    /// failure left it to this one's to be kept. What was ordered since is tried anew, and a failure of before says
    /// nothing of it.
    fn fails_now(&self, view: &CatalogView, id: PipelineId, index: i32) -> Option<(i32, Failure)> {
        let state = self.state();
        if state.ending {
            return None;
        }
        let failed = view.pairings_of(id).filter_map(|pairing| {
            let known = state.supervisor.known(pairing.leaf_partition)?;
            let failure = known.failed.clone()?;
            let current = known.generation >= pairing.generation || out(Rule::OrderedSinceIsTried);
            let counts = pairing.kafka_partition == index || !failure.alone;
            (current && counts).then_some((pairing.kafka_partition, failure))
        });
        failed.min_by_key(|(of, _)| *of != index)
    }

    /// The pipeline is in Error, and its leaf partitions are to stop, for the failure that is answered. `None`: it
    /// was, there is none, what failed was ordered anew since, or its topic is another one by now.
    async fn keep_failure(
        &self,
        id: PipelineId,
        of: Failed,
        failure: &Failure,
        unix_ms: i64,
    ) -> Result<Option<Failure>, AggregatorError> {
        self.transact(|view| {
            let Some(pipeline) = view.pipeline_by_id(id) else {
                return Ok((vec![], None));
            };
            // The first failure stands until START; a stopped pipeline's drain may fail too.
            if pipeline.state == PipelineState::Error || out(Rule::FailureKept) {
                return Ok((vec![], None));
            }
            let topic = pipeline.topic_id.unwrap_or_default();
            let (kafka_partition, failure) = match of {
                Failed::Topic(failed) if failed != topic => return Ok((vec![], None)),
                Failed::Topic(_) => (None, failure.clone()),
                Failed::Partition(index) => match self.fails_now(view, id, index) {
                    Some((index, failure)) => (Some(index), failure),
                    None => return Ok((vec![], None)),
                },
            };
            let ran = pipeline.state == PipelineState::Running;
            let changes = vec![
                Change::PipelineState {
                    pipeline: id,
                    state: PipelineState::Error,
                    failure: Some(PipelineFailure {
                        kafka_partition,
                        failure: Failure {
                            // What did not run does not run again by itself.
                            deterministic: failure.deterministic || !ran,
                            ..failure.clone()
                        },
                        unix_ms,
                    }),
                },
                ordered(view, pairings_of(view, id)),
            ];
            Ok((changes, Some(failure)))
        })
        .await
    }
}
