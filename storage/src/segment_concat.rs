//! Several commits as one block: what a merge writes again as one message.
//!
//! Rows and rejects keep their order; all of a commit passes its checks anew before it is copied and once
//! more behind it, so that damage is never copied under a fresh checksum.

use std::sync::Arc;

use crate::block::{Block, BlockLayout, BlockWriter, Mark};
use crate::error::{Limit, StorageError};
use crate::limits::{BLOCK_BYTES_MAX, BLOCK_REGION_BYTES_MAX, BLOCK_ROWS_MAX};
use crate::schema::{Physical, Schema};
use crate::segment::{Commit, SegmentFile};

/// Whether these commits fit one block: at most `BLOCK_ROWS_MAX` rows, each region within its bound.
pub fn fits<'a>(schema: &Arc<Schema>, commits: impl IntoIterator<Item = &'a Commit>) -> bool {
    layout(schema, commits).is_ok()
}

/// What a commit adds to the memory that [`concatenate`] and encoding its outcome take: never less.
pub fn bytes_held(schema: &Schema, commit: &Commit) -> u64 {
    let record = commit.record();
    let strings = record.columns.iter().map(|column| column.buffers[2].bytes);
    let strings: u64 = strings.map(u64::from).sum();
    let layout = |rows| BlockLayout {
        rows,
        ..empty(schema)
    };
    let per_row = layout(1).bytes_wanted() - layout(0).bytes_wanted();
    // A column's validity is a byte a row, and a bit a row more while it is written.
    let packed = (schema.columns.len() as u64 + 2).div_ceil(8);
    u64::from(record.facts.rows) * (per_row + packed) + strings + u64::from(record.rejects.bytes)
}

/// What they take without a commit.
pub fn bytes_held_empty(schema: &Schema) -> u64 {
    empty(schema).bytes_wanted()
}

fn empty(schema: &Schema) -> BlockLayout {
    BlockLayout {
        schema: Arc::new(schema.clone()),
        rows: 0,
        string_bytes: Vec::new(),
        rejects_bytes: 0,
    }
}

/// The commits, which follow one another, as one block, ready for
/// [`crate::format::encode_commit`] with what they did as `replaced`.
///
/// # Errors
/// `Corrupt`: an input is damaged. `Full`: together they are more than a block.
pub fn concatenate(
    schema: &Arc<Schema>,
    commits: &[(Arc<SegmentFile>, Arc<Commit>)],
) -> Result<(Arc<Block>, Mark), StorageError> {
    let layout = layout(schema, commits.iter().map(|(_, commit)| &**commit))?;
    let facts = |commit: &(Arc<SegmentFile>, Arc<Commit>)| commit.1.record().facts;
    let first_offset = commits.first().map(facts).unwrap_or_default().first_offset;
    let next_offset = commits.last().map(facts).unwrap_or_default().next_offset;
    let mut writer = BlockWriter::new(&layout, first_offset);
    for (file, commit) in commits {
        commit.check_anew(file)?;
        let columns = 0..commit.record().columns.len();
        let columns: Result<Vec<_>, _> = columns.map(|index| commit.read(file, index)).collect();
        let rejects = commit.rejects(file)?;
        let mut tail = writer.tail();
        let appended = tail
            .extend(&columns?)
            .and_then(|()| tail.extend_rejects(&rejects));
        assert!(appended.is_ok(), "the layout was made for these commits");
        commit.check_anew(file)?;
    }
    let mark = writer.publish(next_offset);
    Ok((writer.shared(), mark))
}

fn layout<'a>(
    schema: &Arc<Schema>,
    commits: impl IntoIterator<Item = &'a Commit>,
) -> Result<BlockLayout, StorageError> {
    let is_string = |column: &usize| schema.columns[*column].physical == Physical::Utf8;
    let strings: Vec<usize> = (0..schema.columns.len()).filter(is_string).collect();
    let mut rows = 0u64;
    let mut rejects = 0u64;
    let mut string_bytes = vec![0u64; strings.len()];
    for commit in commits {
        let record = commit.record();
        rows += u64::from(record.facts.rows);
        rejects += u64::from(record.rejects.bytes);
        for (bytes, column) in string_bytes.iter_mut().zip(&strings) {
            *bytes += u64::from(record.columns[*column].buffers[2].bytes);
        }
    }
    let within = |value: u64, max: u64| match u32::try_from(value) {
        Ok(small) if value <= max => Ok(small),
        _ => Err(StorageError::Full(Limit::Value {
            bytes: value,
            max_bytes: max,
        })),
    };
    let region_max = u64::from(BLOCK_REGION_BYTES_MAX);
    let string_bytes: Result<Vec<u32>, _> = string_bytes
        .into_iter()
        .map(|bytes| within(bytes, region_max))
        .collect();
    let layout = BlockLayout {
        schema: Arc::clone(schema),
        rows: within(rows.max(1), u64::from(BLOCK_ROWS_MAX))?,
        string_bytes: string_bytes?,
        rejects_bytes: within(rejects, region_max)?,
    };
    within(layout.bytes_wanted(), BLOCK_BYTES_MAX as u64)?;
    Ok(layout)
}

#[cfg(test)]
mod tests;
