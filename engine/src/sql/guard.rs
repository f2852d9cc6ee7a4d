//! A result set under watch: KILL ends it between any two batches, `sql_select_limit` cuts it.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::StreamExt;

use super::answer::Rows;
use super::error::SqlError;
use super::left_out::Late;
use super::processes::Running;
use super::select::CancelGuard;
use super::select::memory::Held;

/// The same rows until the statement is killed; then error 1317, and the query is told to end, as it is when the
/// rows are dropped. `late` learns which error ended them; `text` is what the statement's text took, and is kept to
/// the end.
#[must_use]
pub fn killable(
    rows: Rows,
    running: Running,
    cancel: CancelGuard,
    late: Arc<Late>,
    text: Option<Arc<Held>>,
) -> Rows {
    let state = Some((rows.batches, running, cancel, text));
    let batches = futures::stream::unfold(state, move |state| {
        let late = Arc::clone(&late);
        async move {
            let (mut batches, mut running, cancel, text) = state?;
            let fault = tokio::select! {
                biased;
                () = running.killed() => {
                    cancel.cancel();
                    SqlError::interrupted()
                }
                next = batches.next() => match next? {
                    Ok(batch) => return Some((Ok(batch), Some((batches, running, cancel, text)))),
                    Err(fault) => fault,
                },
            };
            late.fault(&fault);
            Some((Err(fault), None))
        }
    });
    Rows {
        columns: rows.columns,
        batches: Box::pin(batches),
    }
}

/// The first `limit` rows.
#[must_use]
pub fn limited(rows: Rows, limit: u64) -> Rows {
    let state = (rows.batches, limit);
    let batches = futures::stream::unfold(state, |(mut batches, left)| async move {
        if left == 0 {
            return None;
        }
        let next: Result<RecordBatch, SqlError> = batches.next().await?;
        Some(match next {
            Ok(batch) => {
                let rows = batch
                    .num_rows()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                (Ok(batch.slice(0, rows)), (batches, left - rows as u64))
            }
            Err(fault) => (Err(fault), (batches, 0)),
        })
    });
    Rows {
        columns: rows.columns,
        batches: Box::pin(batches),
    }
}
