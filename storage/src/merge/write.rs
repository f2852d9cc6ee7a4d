//! Writing a merged segment: rows pass through a block, as a leaf's do, and become commits; what is
//! merged with nothing is copied.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::{HistoryFloor, MergeFailure, MergeInput, MergeSegments, MergedSegment};
use crate::disk::{Disk, DiskAction, DiskError, DiskFile};
use crate::error::StorageError;
use crate::format::{
    CommitFacts, CommitInput, CommitRecord, EncodedCommit, ParsedHeader, encode_commit,
    encode_copy, encode_header, encode_seal,
};
use crate::limits::{FOOTER_BYTES_MAX, MERGE_COPY_BYTES, REPLACED_MAX};
use crate::planted::{Rule, out};
use crate::recovery::{segment_path, temporary_path};
use crate::segment::{Commit, SegmentFile};
use crate::segment_concat::{bytes_held, bytes_held_empty, concatenate};

/// Merges; see the module. What fails but for the directory's sync leaves everything as it was.
///
/// # Errors
/// [`MergeFailure`].
pub fn merge(disk: &dyn Disk, merge: &MergeSegments) -> Result<MergedSegment, MergeFailure> {
    let id = merge.header.id;
    let temporary = temporary_path(&merge.directory, id.sequence, id.rewrite);
    let path = segment_path(&merge.directory, id.sequence, id.rewrite);
    let written = write(disk, merge, &temporary).and_then(|written| {
        let renamed = disk.rename(&temporary, &path);
        renamed.map(|()| written).map_err(MergeFailure::GivenUp)
    });
    let (header, commits) = match written {
        Ok(written) => written,
        Err(failure) => {
            let unlinked = disk.unlink(&temporary);
            tracing::debug!(?unlinked, "a merge's temporary");
            return Err(failure);
        }
    };
    if out(Rule::UnlinkBehindDirectorySync) {
        for input in &merge.inputs {
            let id = input.segment.header().header.id;
            drop(disk.unlink(&segment_path(&merge.directory, id.sequence, id.rewrite)));
        }
    }
    // From here on the new name may survive; only a whole directory says which.
    disk.sync_directory(&merge.directory)
        .map_err(MergeFailure::Directory)?;
    // Which names there are is known; that this one cannot be mapped, by descriptors or memory, says
    // nothing of the disk. Left beside its inputs it would be taken for them by the next recovery: the
    // same rows. It is unlinked here and not by the store, which may merge to the same name again.
    let pages = disk.pages(&path, 0).map_err(|error| {
        let unlinked = disk.unlink(&path);
        tracing::debug!(?unlinked, "a merged segment that cannot be mapped");
        MergeFailure::GivenUp(error)
    })?;
    Ok(MergedSegment {
        inputs: merge
            .inputs
            .iter()
            .map(|input| input.segment.header().header.id)
            .collect(),
        header,
        pages,
        commits: commits
            .into_iter()
            .map(|(at, record)| Arc::new(Commit::new(record, at)))
            .collect(),
    })
}

type Written = (ParsedHeader, Vec<(u64, CommitRecord)>);

fn write(
    disk: &dyn Disk,
    merge: &MergeSegments,
    temporary: &Path,
) -> Result<Written, MergeFailure> {
    let input_bytes = |input: &MergeInput| -> u64 {
        let bytes = input
            .commits
            .iter()
            .map(|commit| commit.record().message_bytes());
        bytes.sum()
    };
    let needed: u64 = merge.inputs.iter().map(input_bytes).sum();
    let free = disk
        .free_bytes(&merge.directory)
        .map_err(MergeFailure::GivenUp)?;
    if free < merge.reserve_bytes.saturating_add(needed) {
        let full = DiskError::new(temporary, DiskAction::Allocate, libc::ENOSPC);
        return Err(MergeFailure::GivenUp(full));
    }
    disk.unlink(temporary).map_err(MergeFailure::GivenUp)?;
    let file = disk.create(temporary).map_err(MergeFailure::GivenUp)?;
    let (header, bytes) = encode_header(&merge.header);
    let mut at = bytes.len() as u64;
    put(&*file, &bytes, 0)?;
    let mut commits = Vec::new();
    for group in groups(merge) {
        let (record, bytes) = match group.as_slice() {
            [(segment, commit)] => copy(&*file, &header, segment, commit, merge.history, at)?,
            group => {
                let encoded = merged_commit(&header, group, merge.history)?;
                let wrote = file.write_at(&encoded.slices(), at);
                wrote.map_err(MergeFailure::GivenUp)?;
                (encoded.record.clone(), encoded.bytes())
            }
        };
        commits.push((at, record));
        at += bytes;
    }
    let records: Vec<(u64, &CommitRecord)> = commits.iter().map(|(at, r)| (*at, r)).collect();
    let index_bytes: u64 = records.iter().map(|(_, r)| r.index_bytes_max()).sum();
    assert!(index_bytes <= FOOTER_BYTES_MAX, "a merge that was chosen");
    put(&*file, &encode_seal(&merge.header, &records, at), at)?;
    if !out(Rule::SyncBeforeRename) {
        file.sync().map_err(MergeFailure::GivenUp)?;
    }
    Ok((header, commits))
}

fn put(file: &dyn DiskFile, bytes: &[u8], at: u64) -> Result<(), MergeFailure> {
    let wrote = file.write_at(&[IoSlice::new(bytes)], at);
    wrote.map_err(MergeFailure::GivenUp)
}

type Source = (Arc<SegmentFile>, Arc<Commit>);

/// The commits in runs, each of which becomes one.
fn groups(merge: &MergeSegments) -> Vec<Vec<Source>> {
    let schema = &merge.header.schema;
    let bytes_max = merge.buffer_bytes_max;
    let mut groups: Vec<Vec<Source>> = Vec::new();
    let (mut rows, mut batches, mut bytes) = (0u64, 0usize, 0u64);
    for input in &merge.inputs {
        for commit in &input.commits {
            let record = commit.record();
            let more_rows = u64::from(record.facts.rows);
            let more_batches = record.batches() as usize;
            let more_bytes = bytes_held(schema, commit);
            let source = (Arc::clone(&input.segment), Arc::clone(commit));
            let fits = rows + more_rows <= u64::from(merge.rows_max)
                && batches + more_batches <= REPLACED_MAX
                && bytes_held_empty(schema) + bytes + more_bytes <= bytes_max;
            match groups.last_mut() {
                Some(group) if fits => group.push(source),
                _ => {
                    groups.push(vec![source]);
                    (rows, batches, bytes) = (0, 0, 0);
                }
            }
            rows += more_rows;
            batches += more_batches;
            bytes += more_bytes;
        }
    }
    groups
}

/// A commit that is merged with no other, as it lies; its record and its bytes.
fn copy(
    file: &dyn DiskFile,
    header: &ParsedHeader,
    segment: &SegmentFile,
    commit: &Commit,
    history: HistoryFloor,
    at: u64,
) -> Result<(CommitRecord, u64), MergeFailure> {
    commit.check_anew(segment).map_err(damaged)?;
    let body = commit.body(segment).map_err(damaged)?;
    let batches = history.batches(&commit.batches(segment).map_err(damaged)?);
    let (record, head) = encode_copy(header, commit.record(), &batches);
    put(file, &head, at)?;
    let body_at = at + head.len() as u64;
    for (chunk, bytes) in body.chunks(MERGE_COPY_BYTES).enumerate() {
        put(file, bytes, body_at + (chunk * MERGE_COPY_BYTES) as u64)?;
    }
    commit.check_anew(segment).map_err(damaged)?;
    let bytes = record.message_bytes();
    Ok((record, bytes))
}

fn damaged(error: StorageError) -> MergeFailure {
    MergeFailure::Damaged {
        what: error.to_string(),
    }
}

fn merged_commit(
    header: &ParsedHeader,
    group: &[Source],
    history: HistoryFloor,
) -> Result<EncodedCommit, MergeFailure> {
    let mut batches = Vec::new();
    for (segment, commit) in group {
        batches.extend(commit.batches(segment).map_err(damaged)?);
    }
    let (block, mark) = concatenate(&header.header.schema, group).map_err(damaged)?;
    let input = CommitInput {
        facts: CommitFacts::sum(&batches),
        durable_end: 0,
        replaced: history.batches(&batches),
    };
    Ok(encode_commit(header, input, &block, mark))
}

#[cfg(test)]
mod tests;
