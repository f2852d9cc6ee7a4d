//! `query`: a query over a few rows of every type, planned and run as a session does.
//!
//! Input: the query's text; what is not one query is left to `sql_text`. A query may take as long as it
//! likes until it is killed; then it ends.

use std::time::Duration;

use engine::sql::parse::{self, Statement};
use engine::sql::select::{Cancel, describe, select};
use futures::StreamExt;
use fuzz_hot::bounds::INPUT_MS_MAX;

use crate::text::said;
use crate::world;

/// An input beyond it tells nothing new.
const TEXT_BYTES_MAX: usize = 2 << 10;
/// After so long a query is killed.
const RUN_MS_MAX: u64 = INPUT_MS_MAX / 8;

/// The body.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // One that sleeps holds the only thread here: nobody could kill it.
    if text.len() > TEXT_BYTES_MAX || text.to_ascii_uppercase().contains("SLEEP") {
        return;
    }
    let Ok(Statement::Query(query)) = parse::parse(text) else {
        return;
    };
    let mut ctx = world::context();
    let (kill, cancel) = Cancel::new();
    ctx.cancel = cancel;
    world::block_on(async {
        let described = match describe(&ctx, &query).await {
            Ok(columns) => Some(columns),
            Err(error) => {
                said(&error);
                None
            }
        };
        let limit = tokio::time::sleep(Duration::from_millis(RUN_MS_MAX));
        tokio::pin!(limit);
        let begun = tokio::select! {
            rows = select(&ctx, &query, &[]) => rows,
            () = &mut limit => {
                kill.cancel();
                return;
            }
        };
        let mut rows = match begun {
            Ok(rows) => rows,
            Err(error) => return said(&error),
        };
        if let Some(described) = described {
            assert_eq!(described.len(), rows.columns.len(), "as it was described");
        }
        loop {
            let batch = tokio::select! {
                batch = rows.batches.next() => batch,
                () = &mut limit => {
                    kill.cancel();
                    continue;
                }
            };
            match batch {
                None => return,
                Some(Ok(batch)) => assert_eq!(batch.num_columns(), rows.columns.len()),
                Some(Err(error)) => return said(&error),
            }
        }
    });
}
