//! Where a KILL is heard while a query thread is at work.
//!
//! A query that waits is ended by whoever waits ([`super::run`]). One that computes has to look itself, and
//! DataFusion does not: planning is one call, and so is a join that finds nothing. So the statement's flag is looked at
//! - before each rule of the planner, at each node of the plan that it is applied to ([`Watched`]), and each time that a
//!   rule asks for the type of a function ([`super::cancel::check_planned`]);
//! - each time a join asks its filter ([`Asked`]), and behind each batch that a join gives: it makes many of few, and
//!   whoever counts them does not wait in between;
//! - where one row of a function may take long ([`super::memory::Purse::check`]).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::{Poll, ready};

use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use futures::StreamExt;

use super::beside::beside_the_workers;
use super::cancel::Cancel;
use super::long_text;
use super::pass::Passed;
use crate::limits::JOINED_BATCHES_AT_ONCE;

/// A rule of the planner, that is not begun once its statement was killed.
#[derive(Debug)]
struct Watched<R: ?Sized> {
    rule: Arc<R>,
    cancel: Cancel,
}

/// The planner's rules of every kind, watched.
pub(super) struct Rules {
    pub(super) analyzer: Vec<Arc<dyn AnalyzerRule + Send + Sync>>,
    pub(super) optimizer: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    pub(super) physical: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
}

/// DataFusion's own rules.
pub(super) fn rules(cancel: &Cancel) -> Rules {
    Rules {
        analyzer: Analyzer::new()
            .rules
            .into_iter()
            .map(|rule| Arc::new(Watched::new(rule, cancel)) as _)
            .collect(),
        optimizer: Optimizer::new()
            .rules
            .into_iter()
            .map(|rule| Arc::new(Watched::new(rule, cancel)) as _)
            .collect(),
        physical: PhysicalOptimizer::new()
            .rules
            .into_iter()
            .map(|rule| Arc::new(Watched::new(rule, cancel)) as _)
            .collect(),
    }
}

impl<R: ?Sized> Watched<R> {
    fn new(rule: Arc<R>, cancel: &Cancel) -> Watched<R> {
        Watched {
            rule,
            cancel: cancel.clone(),
        }
    }
}

impl AnalyzerRule for Watched<dyn AnalyzerRule + Send + Sync> {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        self.cancel.check()?;
        self.rule.analyze(plan, config)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }
}

impl OptimizerRule for Watched<dyn OptimizerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        self.cancel.check()?;
        let rewritten = self.rule.rewrite(plan, config)?;
        match self.rule.name() {
            // What it made of constants, before another rule copies it.
            "simplify_expressions" => rewritten.transform_data(long_text::keep),
            _ => Ok(rewritten),
        }
    }
}

impl PhysicalOptimizerRule for Watched<dyn PhysicalOptimizerRule + Send + Sync> {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.cancel.check()?;
        self.rule.optimize(plan, config)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// The plan with its joins watched.
///
/// # Errors
/// DataFusion's: none that a plan of its own gives.
pub(super) fn watch_joins(
    plan: Arc<dyn ExecutionPlan>,
    cancel: &Cancel,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        // Whether it may look for long before it finds a row.
        let (join, looks): (Arc<dyn ExecutionPlan>, bool) =
            if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
                let filter = join.filter().map(|filter| asked(filter, cancel));
                let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter);
                (Arc::new(join.build()?), true)
            } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                let filter = join.filter().map(|filter| asked(filter, cancel));
                let looks = filter.is_some();
                (join.builder().with_filter(filter).build_exec()?, looks)
            } else if node.is::<CrossJoinExec>() {
                (node, false)
            } else {
                return Ok(Transformed::no(node));
            };
        let cancel = cancel.clone();
        Ok(Transformed::yes(Arc::new(Passed {
            name: "Watched",
            input: join,
            through: Arc::new(move |input, _| heard(input, cancel.clone(), looks)),
        }) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

/// The same rows, until the statement is killed; others are let in between.
fn heard(
    mut input: SendableRecordBatchStream,
    cancel: Cancel,
    looks: bool,
) -> SendableRecordBatchStream {
    let schema = input.schema();
    let mut given = 0;
    let heard = futures::stream::poll_fn(move |context| {
        if let Err(killed) = cancel.check() {
            return Poll::Ready(Some(Err(killed)));
        }
        if given == JOINED_BATCHES_AT_ONCE {
            given = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = ready!(match looks {
            true => beside_the_workers(|| input.poll_next_unpin(context)),
            false => input.poll_next_unpin(context),
        });
        given += 1;
        Poll::Ready(batch)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, heard))
}

fn asked(filter: &JoinFilter, cancel: &Cancel) -> JoinFilter {
    let condition = Asked {
        condition: Arc::clone(filter.expression()),
        cancel: cancel.clone(),
    };
    JoinFilter::new(
        Arc::new(condition),
        filter.column_indices().to_vec(),
        Arc::clone(filter.schema()),
    )
}

/// A join's condition.
#[derive(Debug)]
struct Asked {
    condition: Arc<dyn PhysicalExpr>,
    cancel: Cancel,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Asked) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Asked {}

impl Hash for Asked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PhysicalExpr for Asked {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.condition.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.condition.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.cancel.check()?;
        self.condition.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let condition = children.into_iter().next();
        Ok(Arc::new(Asked {
            condition: condition.unwrap_or_else(|| Arc::clone(&self.condition)),
            cancel: self.cancel.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
