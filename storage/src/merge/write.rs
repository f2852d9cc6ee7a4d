//! Writing a merged segment: rows pass through a block, as a leaf's do, and become commits.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::{MergeFailure, MergeInput, MergeSegments, MergedSegment};
use crate::counts::Counts;
use crate::disk::{Disk, DiskAction, DiskError, DiskFile};
use crate::error::StorageError;
use crate::format::{
    CommitFacts, CommitInput, CommitRecord, EncodedCommit, ParsedHeader, encode_commit,
    encode_header, encode_seal,
};
use crate::limits::{BLOCK_REGION_BYTES_MAX, REPLACED_MAX};
use crate::planted::{Rule, out};
use crate::recovery::{segment_path, temporary_path};
use crate::segment::{Commit, SegmentFile};
use crate::segment_concat::concatenate;

/// Merges; see the module. What fails before the rename leaves everything as it was.
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
    // From here on the new name may survive; only a whole directory says which.
    disk.sync_directory(&merge.directory)
        .map_err(MergeFailure::Directory)?;
    let pages = disk.pages(&path, 0).map_err(MergeFailure::Directory)?;
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
        let encoded = merged_commit(&header, &group)?;
        let end = at + encoded.bytes();
        let wrote = file.write_at(&encoded.slices(), at);
        wrote.map_err(MergeFailure::GivenUp)?;
        commits.push((at, encoded.record));
        at = end;
    }
    let records: Vec<(u64, &CommitRecord)> = commits.iter().map(|(at, r)| (*at, r)).collect();
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
    let mut groups: Vec<Vec<Source>> = Vec::new();
    let (mut rows, mut batches, mut bytes) = (0u64, 0usize, 0u64);
    for input in &merge.inputs {
        for commit in &input.commits {
            let record = commit.record();
            let more_rows = u64::from(record.facts.rows);
            let more_batches = record.batches().len();
            let source = (Arc::clone(&input.segment), Arc::clone(commit));
            // A region's bytes are bounded, and a body is at least as large as any region of it.
            let fits = rows + more_rows <= u64::from(merge.rows_max)
                && batches + more_batches <= REPLACED_MAX
                && bytes + record.body_bytes <= u64::from(BLOCK_REGION_BYTES_MAX);
            match groups.last_mut() {
                Some(group) if fits => group.push(source),
                _ => {
                    groups.push(vec![source]);
                    (rows, batches, bytes) = (0, 0, 0);
                }
            }
            rows += more_rows;
            batches += more_batches;
            bytes += record.body_bytes;
        }
    }
    groups
}

fn merged_commit(header: &ParsedHeader, group: &[Source]) -> Result<EncodedCommit, MergeFailure> {
    let damaged = |error: StorageError| MergeFailure::Damaged {
        what: error.to_string(),
    };
    let (block, mark) = concatenate(&header.header.schema, group).map_err(damaged)?;
    let replaced: Vec<CommitFacts> = group
        .iter()
        .flat_map(|(_, commit)| commit.record().batches().iter().copied())
        .collect();
    let input = CommitInput {
        facts: merged_facts(group),
        durable_end: 0,
        // One that stands for itself alone needs no list.
        replaced: if replaced.len() > 1 {
            replaced
        } else {
            Vec::new()
        },
    };
    Ok(encode_commit(header, input, &block, mark))
}

fn merged_facts(group: &[Source]) -> CommitFacts {
    let first = group[0].1.record().facts;
    let last = group[group.len() - 1].1.record().facts;
    let mut counts = Counts::default();
    let mut extracted_bytes = 0;
    for (_, commit) in group {
        counts.add(&commit.record().facts.counts);
        extracted_bytes += commit.record().facts.extracted_bytes;
    }
    CommitFacts {
        first_offset: first.first_offset,
        started_unix_ms: first.started_unix_ms,
        counts,
        extracted_bytes,
        ..last
    }
}
