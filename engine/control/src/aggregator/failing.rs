//! A pipeline that fails: it is in Error and stops once the catalog has it, and that is tried until it is kept.

use std::sync::Arc;

use ingest::leaf::order::Failure;
use storage::ids::TopicId;

use super::error::AggregatorError;
use super::shared::{Shared, ordered, pairings_of};
use crate::catalog::{CatalogError, Change, PipelineFailure, PipelineId, PipelineState};
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
        let (mut index, mut failure) = (index, failure);
        let mut attempts = 0;
        while self
            .fail_pipeline(id, Failed::Partition(index), &failure, unix_ms, attempts)
            .await
        {
            // One of its partitions' failures is enough.
            if attempts == 0 && !self.state().unkept.insert(id) {
                return;
            }
            attempts += 1;
            self.port.sleep(FAILURE_AGAIN_MS).await;
            match self.still_failed(id, index) {
                Some(still) => (index, failure) = still,
                None => break,
            }
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
                CatalogError::Disk { .. } | CatalogError::Locked { .. }
            ))
        );
        match kept {
            Ok(true) => {
                tracing::error!(pipeline = %id, ?of, offset = failure.offset, failure = failure.text, foreground,
                    "the pipeline has failed");
            }
            Ok(false) => {}
            // Said once.
            Err(_) if again && attempts > 0 => {}
            Err(error) => tracing::error!(pipeline = %id, %error, failure = failure.text, again,
                "the pipeline has failed, and that could not be kept"),
        }
        self.carry_out();
        again
    }

    /// What of a pipeline fails still, as long as nobody has stopped or started it anew: this partition, or else
    /// another whose failure left it to this one's to be kept.
    fn still_failed(&self, id: PipelineId, index: i32) -> Option<(i32, Failure)> {
        let view = self.view();
        let state = self.state();
        if state.ending {
            return None;
        }
        let failed = view.pairings_of(id).filter_map(|pairing| {
            let known = state.supervisor.known(pairing.leaf_partition)?;
            Some((pairing.kafka_partition, known.failed.clone()?))
        });
        let counts = |(of, failure): &(i32, Failure)| *of == index || !failure.alone;
        failed.filter(counts).min_by_key(|(of, _)| *of != index)
    }

    /// The pipeline is in Error, and its leaf partitions are to stop. `false`: it was, there is none, or its
    /// topic is another one by now.
    async fn keep_failure(
        &self,
        id: PipelineId,
        of: Failed,
        failure: &Failure,
        unix_ms: i64,
    ) -> Result<bool, AggregatorError> {
        self.transact(|view| {
            let Some(pipeline) = view.pipeline_by_id(id) else {
                return Ok((vec![], false));
            };
            let topic = pipeline.topic_id.unwrap_or_default();
            let kafka_partition = match of {
                Failed::Topic(failed) if failed != topic => return Ok((vec![], false)),
                Failed::Topic(_) => None,
                Failed::Partition(index) => Some(index),
            };
            // The first failure stands until START; a stopped pipeline's drain may fail too.
            if pipeline.state == PipelineState::Error || out(Rule::FailureKept) {
                return Ok((vec![], false));
            }
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
            Ok((changes, true))
        })
        .await
    }
}
