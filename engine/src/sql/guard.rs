//! A result set under watch: KILL ends it between any two batches, `sql_select_limit` cuts it.

use arrow::record_batch::RecordBatch;
use futures::StreamExt;

use super::answer::Rows;
use super::error::SqlError;
use super::processes::Running;
use super::select::CancelHandle;

/// The same rows until the statement is killed; then error 1317, and the query is told to end.
#[must_use]
pub fn killable(rows: Rows, running: Running, cancel: CancelHandle) -> Rows {
    let state = Some((rows.batches, running, cancel));
    let batches = futures::stream::unfold(state, |state| async move {
        let (mut batches, mut running, cancel) = state?;
        tokio::select! {
            biased;
            () = running.killed() => {
                cancel.cancel();
                Some((Err(SqlError::interrupted()), None))
            }
            next = batches.next() => match next? {
                Ok(batch) => Some((Ok(batch), Some((batches, running, cancel)))),
                Err(fault) => Some((Err(fault), None)),
            },
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
