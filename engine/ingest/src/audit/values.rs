//! What a message must have become: by the slow twin, which shares no line with the leaf's decoder.

use std::ops::Range;

use storage::limits::REJECT_KEY_BYTES_MAX;

use super::cells::show;
use super::commit::{Commit, Rejected, Span};
use super::fault::{Fault, Faults};
use crate::kafka::Record;
use crate::pipeline::JsonMapping;
use crate::pipeline::json::twin;

/// A pipeline's mapping as an independent model.
#[derive(Clone, Debug)]
pub struct Model {
    mapping: JsonMapping,
    replaced_unix_ms: Option<i64>,
}

impl Model {
    /// `replaced_unix_ms`: when the mapping was last replaced. What was begun before was decoded by
    /// another one.
    #[must_use]
    pub fn new(mapping: JsonMapping, replaced_unix_ms: Option<i64>) -> Model {
        Model {
            mapping,
            replaced_unix_ms,
        }
    }

    /// Whether the batch was decoded by this mapping.
    #[must_use]
    pub fn is_of(&self, span: &Span) -> bool {
        self.replaced_unix_ms
            .is_none_or(|replaced| span.started_unix_ms > replaced)
    }

    /// Whether the message can become rows.
    #[must_use]
    pub fn takes(&self, record: &Record<'_>) -> bool {
        let bytes = record.value.unwrap_or_default();
        twin::rows(&self.mapping, bytes).is_ok()
    }

    /// The rows of one message beside the message.
    pub fn check_rows(
        &self,
        commit: &Commit,
        rows: Range<usize>,
        record: &Record<'_>,
        faults: &mut Faults,
    ) {
        let offset = record.offset;
        let Ok(expected) = twin::rows(&self.mapping, record.value.unwrap_or_default()) else {
            return faults.push(Fault::Unreadable { offset });
        };
        if rows.len() != expected.len() {
            return faults.push(Fault::RowCount {
                offset,
                stored: rows.len(),
                expected: expected.len(),
            });
        }
        let timestamps = commit.content.timestamps_ms();
        for (row, cells) in rows.zip(&expected) {
            if let Some(&stored) = timestamps.get(row)
                && stored != record.timestamp_ms
            {
                faults.push(Fault::Timestamp {
                    offset,
                    stored,
                    expected: record.timestamp_ms,
                });
            }
            let columns = commit.columns.iter().zip(&self.mapping.columns);
            for ((column, mapped), cell) in columns.zip(cells) {
                if !column.is(row, cell) {
                    faults.push(Fault::Value {
                        offset,
                        column: mapped.name.clone(),
                        stored: column.show(row),
                        expected: show(cell),
                    });
                }
            }
        }
    }

    /// What is kept of a rejected message beside the message.
    pub fn check_reject(
        &self,
        commit: &Commit,
        rejected: &Rejected,
        record: &Record<'_>,
        faults: &mut Faults,
    ) {
        let offset = record.offset;
        let bytes = record.value.unwrap_or_default();
        let Err(refused) = twin::rows(&self.mapping, bytes) else {
            return faults.push(Fault::Rejectable { offset });
        };
        let Some(kept) = commit.reject(rejected) else {
            return;
        };
        let key = record
            .key
            .map(|key| &key[..key.len().min(REJECT_KEY_BYTES_MAX)]);
        for (same, what) in [
            (kept.message == bytes, "message"),
            (kept.key == key, "key"),
            (kept.timestamp_ms == record.timestamp_ms, "timestamp"),
            (kept.kind == refused.class.reject_kind(), "kind"),
            (kept.column == refused.column, "column"),
            (kept.line == refused.line, "line"),
            (refused.code.is_none_or(|code| code == kept.code), "code"),
        ] {
            if !same {
                faults.push(Fault::Reject { offset, what });
            }
        }
    }
}
