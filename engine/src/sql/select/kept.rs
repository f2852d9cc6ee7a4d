//! What a window over whole partitions keeps: DataFusion's operator gathers all of its input, copies it
//! into one batch, and reserves nothing. Its input is reserved here, until the window is done.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

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
            .map(|child| Arc::new(Kept(Arc::clone(child))) as Arc<dyn ExecutionPlan>)
            .collect();
        replace_children_if_necessary(Arc::clone(&node), kept).map(Transformed::yes)
    })
    .data()
}

/// The same rows, reserved [`COPIES`] times until whoever reads them is done.
#[derive(Debug)]
struct Kept(Arc<dyn ExecutionPlan>);

impl DisplayAs for Kept {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept")
    }
}

impl ExecutionPlan for Kept {
    fn name(&self) -> &'static str {
        "Kept"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(child) => Ok(Arc::new(Kept(child))),
            None => datafusion::common::internal_err!("Kept without what it keeps"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let kept = MemoryConsumer::new("window").register(context.memory_pool());
        let input = self.0.execute(partition, context)?;
        let schema = input.schema();
        // The window holds its input, and so what is reserved here, until it is done itself.
        let reserved = input.map(move |batch| {
            let batch = batch?;
            kept.try_grow(COPIES * batch.get_array_memory_size())?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, reserved)))
    }
}
