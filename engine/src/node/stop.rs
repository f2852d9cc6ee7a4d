//! How a node is asked to stop, how it hears that it must, and what a stop left undone.

use std::sync::atomic::Ordering;

use ingest::leaf::Views;
use storage::ids::{LeafPartitionId, Offset};
use tokio::sync::watch;

use super::run::NodeError;
use super::signals::Heard;
use crate::aggregator::{Aggregator, Drained, End};

/// Who may ask the node to stop.
pub(super) struct Stopping {
    /// The first signal; `None` once signals are for whoever holds the node.
    pub signal: Option<watch::Receiver<Option<Heard>>>,
    /// Whoever holds the node.
    pub stop: watch::Receiver<bool>,
}

impl Stopping {
    /// Returns once somebody asked, also if that was long ago.
    pub async fn asked(&mut self) -> &'static str {
        let signal = async {
            let heard = self.signal.as_mut()?.wait_for(Option::is_some).await;
            heard.ok().and_then(|heard| *heard)
        };
        tokio::select! {
            Some(heard) = signal => heard.name,
            _ = self.stop.wait_for(|stop| *stop) => "asked to",
        }
    }
}

/// Until the aggregator ends by itself, and why.
pub(super) async fn ended(end: &mut End) -> NodeError {
    NodeError::Ended(match end.await {
        Ok(ended) => ended.to_string(),
        Err(_) => "the aggregator ended in a panic".into(),
    })
}

/// Drains every leaf.
///
/// # Errors
/// `NotDrained`: rows that were visible are not durable.
pub(super) async fn drain(aggregator: &Aggregator, views: &Views) -> Result<(), NodeError> {
    let Drained::Late { leaves } = aggregator.shutdown().await? else {
        return Ok(());
    };
    tracing::warn!(leaves, "leaves are given up: they did not drain in time");
    let attached = views.all();
    let cursors = attached.iter().map(|(id, attached)| {
        let visible = attached.view.snapshot().next_offset();
        let durable = attached.view.gauges.durable.load(Ordering::Relaxed);
        (*id, visible, Offset(durable.max(0)))
    });
    // What else they may be at, a recovery or a seal, nobody has seen anything of.
    left(cursors)
}

/// Names every leaf partition whose visible cursor is beyond the durable one.
fn left(cursors: impl Iterator<Item = (LeafPartitionId, Offset, Offset)>) -> Result<(), NodeError> {
    let (mut leaf_partitions, mut offsets) = (0, 0);
    for (leaf_partition, visible, durable) in
        cursors.filter(|(_, visible, durable)| visible > durable)
    {
        leaf_partitions += 1;
        offsets += visible.0 - durable.0;
        tracing::error!(%leaf_partition, %visible, %durable,
            "not durable at the end: fetched again at the next start");
    }
    match leaf_partitions {
        0 => Ok(()),
        _ => Err(NodeError::NotDrained {
            leaf_partitions,
            offsets,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_durable_at_the_end_is_counted() {
        let cursor = |id, visible, durable| (LeafPartitionId(id), Offset(visible), Offset(durable));
        let whole = [cursor(1, 7, 7), cursor(2, 0, 0)];
        assert!(left(whole.into_iter()).is_ok());
        let cut = [cursor(1, 7, 7), cursor(2, 20, 5), cursor(3, 2, 0)];
        assert_eq!(
            left(cut.into_iter()).unwrap_err().to_string(),
            "stopped before everything was durable: 17 offsets of 2 leaf partitions were not after 30 s \
             (is the disk slow or full?); they are fetched again at the next start"
        );
    }
}
