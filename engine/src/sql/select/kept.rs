//! What a window over whole partitions keeps: DataFusion's operator gathers all of its input, copies it
//! into one batch, and reserves nothing. Its input is reserved here, until the window is done.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use futures::StreamExt;

use super::pass::Passed;

/// The input, the batch it is copied into, and what the functions make of it.
const COPIES: usize = 3;

/// The plan with the input of every such window reserved.
///
/// # Errors
/// DataFusion's: none that a plan of its own gives.
pub(super) fn reserve_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if node.downcast_ref::<WindowAggExec>().is_none() {
            return Ok(Transformed::no(node));
        }
        let children = node.children().into_iter();
        let kept = children
            .map(|child| {
                Arc::new(Passed {
                    name: "Kept",
                    input: Arc::clone(child),
                    through: Arc::new(reserved),
                }) as Arc<dyn ExecutionPlan>
            })
            .collect();
        replace_children_if_necessary(Arc::clone(&node), kept).map(Transformed::yes)
    })
    .data()
}

/// The same rows, reserved [`COPIES`] times until whoever reads them is done.
fn reserved(input: SendableRecordBatchStream, context: &TaskContext) -> SendableRecordBatchStream {
    let kept = MemoryConsumer::new("window").register(context.memory_pool());
    let schema = input.schema();
    // The window holds its input, and so what is reserved here, until it is done itself.
    let reserved = input.map(move |batch| {
        let batch = batch?;
        kept.try_grow(COPIES * batch.get_array_memory_size())?;
        Ok(batch)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, reserved))
}
