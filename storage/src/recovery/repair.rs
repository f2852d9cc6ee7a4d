//! Steps 4 and 5: what is kept is written again where nothing vouches for it, footers are mended, and
//! the directory is synced.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use super::decide::{self, FooterAction, FooterFacts, Found, Row};
use super::scan::{Scan, read};
use super::walk::Walked;
use super::{Note, RecoverPartition, RecoveredPartition, RecoveredSegment};
use crate::disk::{Disk, DiskError, Failure};
use crate::format::{CommitRecord, encode_seal};
use crate::ids::Rewrite;
use crate::limits::SEARCH_BYTES;
use crate::planted::{Rule, out};

pub(super) fn repair(
    disk: &dyn Disk,
    partition: &RecoverPartition,
    walked: Walked,
    notes: &mut Vec<Note>,
) -> Result<RecoveredPartition, Failure> {
    let newest = walked.chain.len().saturating_sub(1);
    let mut segments = Vec::with_capacity(walked.chain.len());
    // A segment is vouched for by any newer one.
    let vouching: Vec<bool> = walked
        .chain
        .iter()
        .map(|scan| scan.durable_end > 0 || scan.opened.id.rewrite > Rewrite(0))
        .collect();
    for (index, scan) in walked.chain.into_iter().enumerate() {
        let vouched = vouching[index + 1..].contains(&true);
        let segment = Repair {
            disk,
            partition,
            newest: index == newest,
            vouched,
        };
        segments.push(segment.run(scan, notes).map_err(Failure::File)?);
    }
    if !out(Rule::DirectorySyncAtRecoveryEnds) {
        let synced = disk.sync_directory(&partition.directory);
        synced.map_err(Failure::Directory)?;
    }
    Ok(RecoveredPartition {
        segments,
        sequence_last: walked.sequence_last,
        next_commit_number: walked.next_commit_number,
        leftover: walked.leftover,
        notes: Vec::new(),
    })
}

struct Repair<'a> {
    disk: &'a dyn Disk,
    partition: &'a RecoverPartition,
    newest: bool,
    vouched: bool,
}

impl Repair<'_> {
    fn run(&self, scan: Scan, notes: &mut Vec<Note>) -> Result<RecoveredSegment, DiskError> {
        let opened = &scan.opened;
        let merged = opened.id.rewrite > Rewrite(0);
        let whole = opened.has_seal(&scan.commits, scan.end_byte)?;
        let (row, action) = decide::footer(FooterFacts {
            newest: self.newest,
            whole,
            begun: scan.stop == Found::EndOfStream,
            merged,
        });
        let mut sealed = action == FooterAction::Sealed;
        let mut end_of_file = opened.file_bytes;
        let mut changed = false;
        if !sealed && !self.partition.mapped {
            // Without its end of stream a merged file passes for a damaged one: its footer is written over.
            if opened.file_bytes > scan.end_byte && !merged {
                opened.file.truncate(scan.end_byte)?;
                changed = true;
            }
            end_of_file = scan.end_byte;
            if action == FooterAction::Again {
                let commits: Vec<(u64, &CommitRecord)> = scan
                    .commits
                    .iter()
                    .map(|(at, record)| (*at, record))
                    .collect();
                let seal = encode_seal(&scan.header.header, &commits, scan.end_byte);
                opened
                    .file
                    .write_at(&[IoSlice::new(&seal)], scan.end_byte)?;
                end_of_file += seal.len() as u64;
                (sealed, changed) = (true, true);
            }
            notes.extend(row.map(|row| note(row, &opened.path, scan.end_byte)));
        } else if sealed {
            notes.extend(row.map(|row| note(row, &opened.path, scan.end_byte)));
        } else {
            end_of_file = scan.end_byte;
        }
        // A header is covered by the first durable end above 0.
        let durable_end = scan.durable_end.min(scan.end_byte);
        let doubtful = !self.vouched && !merged && durable_end < end_of_file;
        let skipped = !self.newest && out(Rule::EveryUnvouchedSegment);
        if doubtful && !skipped {
            if !out(Rule::Row(Row::WrittenAgain)) {
                write_again(&scan, durable_end, end_of_file)?;
                notes.push(note(Row::WrittenAgain, &opened.path, durable_end));
            }
            changed = true;
        }
        if changed {
            opened.file.sync()?;
        }
        let closed = sealed || !self.newest || self.partition.mapped;
        let pages_bytes = if closed {
            end_of_file
        } else {
            self.partition.pages_bytes_max
        };
        Ok(RecoveredSegment {
            id: opened.id,
            pages: self.disk.pages(&opened.path, pages_bytes)?,
            file: (!closed).then(|| scan.opened.file.clone()),
            header: scan.header,
            commits: scan.commits,
            end_byte: scan.end_byte,
            sealed,
            closed,
        })
    }
}

fn note(row: Row, path: &Path, at_byte: u64) -> Note {
    Note {
        row,
        path: path.to_path_buf(),
        at_byte,
    }
}

/// The same bytes to the same place: a page that an earlier process failed to write is dirty again.
fn write_again(scan: &Scan, from: u64, to: u64) -> Result<(), DiskError> {
    let file = &*scan.opened.file;
    let mut at = from;
    while at < to {
        let bytes = read(file, at, (to - at).min(SEARCH_BYTES as u64) as usize)?;
        if bytes.is_empty() {
            break;
        }
        file.write_at(&[IoSlice::new(&bytes)], at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Moves a damaged file to the quarantine, with its reason beside it; returns where it is now.
///
/// # Errors
/// The disk's; the file is then where it was.
pub fn quarantine(
    disk: &dyn Disk,
    path: &Path,
    quarantine: &Path,
    reason: &str,
) -> Result<PathBuf, DiskError> {
    let name = free_name(disk, path, quarantine)?;
    let reason_path = quarantine.join(format!("{name}.reason.txt"));
    let text = format!("{}: {reason}\n", path.display());
    let told = disk
        .unlink(&reason_path)
        .and_then(|()| disk.create(&reason_path))
        .and_then(|file| {
            file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
            file.sync()
        });
    if let Err(error) = told {
        // On a full disk the file goes all the same: the log has the reason too.
        tracing::error!(%error, reason, "a quarantine without its reason");
    }
    move_to(disk, path, quarantine, &name)
}

/// Moves what is not ours, under a name that says where it lay; returns where it is now.
///
/// # Errors
/// The disk's; it is then where it was.
pub fn move_away(disk: &dyn Disk, path: &Path, directory: &Path) -> Result<PathBuf, DiskError> {
    let name = free_name(disk, path, directory)?;
    move_to(disk, path, directory, &name)
}

/// A name that is not taken in `directory`, which is made: the path's last three parts, then a number.
///
/// What is moved into it is gone from where it lay, so its own name is durable first: also one that an
/// earlier process made.
fn free_name(disk: &dyn Disk, path: &Path, directory: &Path) -> Result<String, DiskError> {
    disk.make_directory(directory)?;
    if let Some(parent) = directory.parent() {
        disk.sync_directory(parent)?;
    }
    let parts: Vec<String> = path
        .iter()
        .rev()
        .take(3)
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let stem = parts.iter().rev().cloned().collect::<Vec<_>>().join("-");
    let taken: Vec<String> = disk.list(directory)?.into_iter().map(|e| e.name).collect();
    let name = (0u32..)
        .map(|n| match n {
            0 => stem.clone(),
            n => format!("{stem}.{n}"),
        })
        .find(|name| !taken.contains(name));
    Ok(name.unwrap_or(stem))
}

/// Renames, and syncs both directories.
fn move_to(
    disk: &dyn Disk,
    path: &Path,
    directory: &Path,
    name: &str,
) -> Result<PathBuf, DiskError> {
    let target = directory.join(name);
    disk.rename(path, &target)?;
    disk.sync_directory(directory)?;
    if let Some(parent) = path.parent() {
        disk.sync_directory(parent)?;
    }
    Ok(target)
}
