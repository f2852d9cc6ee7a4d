//! Running a plan: a task on the query runtime, a bounded channel, and every way a query can end.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execute_stream;
use futures::{FutureExt, StreamExt};
use sqlparser::ast::Query;
use tokio::sync::{mpsc, oneshot};

use super::beside::Beside;
use super::bind::{Bound, Output, bind};
use super::cancel::{Cancel, planning};
use super::columns::result_column;
use super::fault::{panicked, unwrap};
use super::plan::{Planned, logical, plan, state};
use super::{Explain, SelectContext};
use crate::limits::{PLAN_STEPS_BESIDE, QUERY_STACK_USED_BYTES, RESULT_BATCHES_MAX};
use crate::sql::answer::{ResultColumn, Rows};
use crate::sql::error::{Code, SqlError};
use crate::sql::value::Value;

type Batches = mpsc::Receiver<Result<RecordBatch, SqlError>>;

/// Plans and begins to run a query.
///
/// # Errors
/// What planning finds.
pub async fn select(
    ctx: &SelectContext,
    query: &Arc<Query>,
    params: &[Value],
) -> Result<Rows, SqlError> {
    let (columns_out, columns_in) = oneshot::channel();
    let (out, batches) = mpsc::channel(RESULT_BATCHES_MAX);
    let own = ctx.clone();
    let (query, params) = (Arc::clone(query), params.to_vec());
    let task = ctx.runtime.spawn(async move {
        let work = run(&own, &query, &params, columns_out, &out);
        if let Err(fault) = guarded(own.cancel.clone(), work).await {
            // A client that is gone needs no error.
            let _ = out.send(Err(fault)).await;
        }
    });
    let mut rows = Receiving {
        batches,
        task: Abort(task),
        ended: false,
    };
    match columns_in.await {
        Ok(columns) => Ok(rows.into_rows(columns)),
        // It ended before it had columns: the error is the only thing in the channel.
        Err(_) => Err(match rows.batches.recv().await {
            Some(Err(fault)) => fault,
            _ => panicked("it ended without a word"),
        }),
    }
}

/// The rows of a task that is no query: it ends when nobody takes them, and its panic is their error.
#[must_use]
pub fn rows_of(
    columns: Vec<ResultColumn>,
    batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
    task: tokio::task::JoinHandle<()>,
) -> Rows {
    let receiving = Receiving {
        batches,
        task: Abort(task),
        ended: false,
    };
    receiving.into_rows(columns)
}

/// The plan, as rows of text.
///
/// # Errors
/// As [`select`], and what running the query finds.
pub async fn explain(
    ctx: &SelectContext,
    query: &Arc<Query>,
    params: &[Value],
    how: Explain,
) -> Result<Rows, SqlError> {
    let own = ctx.clone();
    let (query, params) = (Arc::clone(query), params.to_vec());
    let text = on_runtime(ctx, async move {
        let bound = bind(&own, &query, Some(&params))?;
        let planned = planned(&own, bound).await?;
        if how == Explain::Analyze {
            let mut stream =
                execute_stream(Arc::clone(&planned.physical), planned.state.task_ctx())
                    .map_err(|fault| unwrap(&fault, &own.memory))?;
            while let Some(batch) = stream.next().await {
                batch.map_err(|fault| unwrap(&fault, &own.memory))?;
            }
        }
        let shown = match how {
            Explain::Plan => DisplayableExecutionPlan::new(planned.physical.as_ref()),
            Explain::Analyze => DisplayableExecutionPlan::with_metrics(planned.physical.as_ref()),
        };
        Ok(shown.indent(false).to_string())
    })
    .await?;
    let lines: StringArray = text.lines().map(Some).collect();
    let schema = Arc::new(Schema::new(vec![Field::new(
        "EXPLAIN",
        DataType::Utf8,
        false,
    )]));
    let output = Output {
        name: "EXPLAIN".to_owned(),
        ..Output::default()
    };
    let columns = vec![result_column(schema.field(0), &output)];
    let batch = RecordBatch::try_new(schema, vec![Arc::new(lines) as ArrayRef])
        .map_err(|fault| SqlError::new(Code::Unknown, fault.to_string()))?;
    Ok(Rows {
        columns,
        batches: Box::pin(futures::stream::once(std::future::ready(Ok(batch)))),
    })
}

/// The columns a prepared query will have.
///
/// # Errors
/// As [`select`].
pub async fn describe(
    ctx: &SelectContext,
    query: &Arc<Query>,
) -> Result<Vec<ResultColumn>, SqlError> {
    let own = ctx.clone();
    let query = Arc::clone(query);
    on_runtime(ctx, async move {
        let mut bound = bind(&own, &query, None)?;
        let outputs = std::mem::take(&mut bound.outputs);
        let state = state(&own);
        let plan = async { logical(&own, &state, bound.query, &bound.tables, &bound.texts) };
        let plan = planning(own.cancel.clone(), plan);
        let plan = long_beside(&own, bound.steps, plan).await?;
        Ok(columns_of(plan.schema().as_arrow(), &outputs))
    })
    .await
}

async fn run(
    ctx: &SelectContext,
    query: &Query,
    params: &[Value],
    columns: oneshot::Sender<Vec<ResultColumn>>,
    out: &mpsc::Sender<Result<RecordBatch, SqlError>>,
) -> Result<(), SqlError> {
    let mut bound = bind(ctx, query, Some(params))?;
    let outputs = std::mem::take(&mut bound.outputs);
    let planned = planned(ctx, bound).await?;
    let schema = planned.logical.schema().as_arrow().clone();
    if columns.send(columns_of(&schema, &outputs)).is_err() {
        return Ok(());
    }
    let _held = planned.held;
    let mut stream = execute_stream(planned.physical, planned.state.task_ctx())
        .map_err(|fault| unwrap(&fault, &ctx.memory))?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|fault| unwrap(&fault, &ctx.memory))?;
        if batch.num_rows() > 0 && out.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn planned(ctx: &SelectContext, bound: Bound) -> Result<Planned, SqlError> {
    let steps = bound.steps;
    let work = planning(ctx.cancel.clone(), plan(ctx, bound));
    long_beside(ctx, steps, work).await
}

/// Planning that takes so many steps.
async fn long_beside<T>(
    ctx: &SelectContext,
    steps: usize,
    work: impl Future<Output = datafusion::common::Result<T>>,
) -> Result<T, SqlError> {
    let planned = match steps {
        0..PLAN_STEPS_BESIDE => work.await,
        _ => {
            let _stack = ctx.memory.hold(QUERY_STACK_USED_BYTES)?;
            Beside::new(work).await
        }
    };
    planned.map_err(|fault| unwrap(&fault, &ctx.memory))
}

fn columns_of(schema: &Schema, outputs: &[Output]) -> Vec<ResultColumn> {
    schema
        .fields()
        .iter()
        .zip(outputs)
        .map(|(field, output)| result_column(field, output))
        .collect()
}

/// Runs on the query runtime and waits; dropped, it ends the work.
async fn on_runtime<T: Send + 'static>(
    ctx: &SelectContext,
    work: impl Future<Output = Result<T, SqlError>> + Send + 'static,
) -> Result<T, SqlError> {
    let cancel = ctx.cancel.clone();
    let mut task = Abort(ctx.runtime.spawn(guarded(cancel, work)));
    match (&mut task.0).await {
        Ok(result) => result,
        Err(join) => Err(panicked(&join.to_string())),
    }
}

/// Work that a KILL ends and whose panic is its error.
async fn guarded<T>(
    mut cancel: Cancel,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let work = AssertUnwindSafe(work).catch_unwind();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(SqlError::interrupted()),
        result = work => match result {
            Ok(result) => result,
            Err(panic) => {
                let what = message(panic.as_ref());
                tracing::error!(what, "a query panicked");
                Err(panicked(what))
            }
        },
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}

/// A task that ends with its owner.
struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The client's side of a running query.
struct Receiving {
    batches: Batches,
    task: Abort<()>,
    ended: bool,
}

impl Receiving {
    fn into_rows(mut self, columns: Vec<ResultColumn>) -> Rows {
        let batches = futures::stream::poll_fn(move |context| self.poll(context));
        Rows {
            columns,
            batches: Box::pin(batches),
        }
    }

    fn poll(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<RecordBatch, SqlError>>> {
        use std::task::Poll;
        if self.ended {
            return Poll::Ready(None);
        }
        match self.batches.poll_recv(context) {
            Poll::Ready(None) => {
                // The channel closes with the task: did it end by itself?
                match self.task.0.poll_unpin(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(())) => {
                        self.ended = true;
                        Poll::Ready(None)
                    }
                    Poll::Ready(Err(join)) => {
                        self.ended = true;
                        Poll::Ready(Some(Err(panicked(&join.to_string()))))
                    }
                }
            }
            Poll::Ready(Some(batch)) => {
                self.ended = batch.is_err();
                Poll::Ready(Some(batch))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
