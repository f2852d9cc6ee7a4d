//! Steps 4 and 5: what is kept is written again where nothing vouches for it, footers are mended, and
//! the directory is synced.
//!
//! Nothing is written that was not checked as it was written: a page that an earlier process failed to
//! write is clean, and reads otherwise once the kernel has dropped it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use super::decide::{self, FooterAction, FooterFacts, Found, Row};
use super::scan::{Scan, read};
use super::walk::Walked;
use super::{Note, RecoverPartition, RecoveredPartition, RecoveredSegment};
use crate::disk::{Disk, DiskError, Failure};
use crate::format::{CommitRecord, check_body, encode_seal, parse_commit, parse_header};
use crate::ids::Rewrite;
use crate::planted::{Rule, out};

/// Why a repair stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    /// For good.
    Failure(Failure),
    /// What was read and checked before reads otherwise now: what it is must be decided anew.
    Changed { path: PathBuf, at_byte: u64 },
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Failure(failure)
    }
}

impl From<DiskError> for Stopped {
    fn from(error: DiskError) -> Stopped {
        Stopped::Failure(Failure::File(error))
    }
}

pub(super) fn repair(
    disk: &dyn Disk,
    partition: &RecoverPartition,
    walked: Walked,
    notes: &mut Vec<Note>,
) -> Result<RecoveredPartition, Stopped> {
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
        segments.push(segment.run(scan, notes)?);
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
    fn run(&self, scan: Scan, notes: &mut Vec<Note>) -> Result<RecoveredSegment, Stopped> {
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
        let mapped = self.partition.mapped && !out(Rule::NoCutUnderMap);
        if !sealed && !mapped {
            // Without its end of stream a merged file passes for a damaged one: its footer is written over.
            if opened.file_bytes > scan.end_byte && !merged {
                opened.file.truncate(scan.end_byte)?;
                changed = true;
            }
            end_of_file = scan.end_byte;
            if action == FooterAction::Again {
                end_of_file = write_footer(&scan)?;
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
                write_again(&scan, durable_end)?;
                // The one that was checked says what this one says, which needs no second read.
                if whole && action == FooterAction::Sealed {
                    end_of_file = write_footer(&scan)?;
                    if end_of_file < opened.file_bytes && !self.partition.mapped {
                        opened.file.truncate(end_of_file)?;
                    }
                }
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
///
/// Bytes are read, checked and written at one go, a message at a time: what the first read found good
/// may have been dropped since, and the disk may have something else there.
fn write_again(scan: &Scan, from: u64) -> Result<(), Stopped> {
    let file = &*scan.opened.file;
    let changed = |at_byte| Stopped::Changed {
        path: scan.opened.path.clone(),
        at_byte,
    };
    if from < u64::from(scan.header.bytes) {
        let bytes = read(file, 0, scan.header.bytes as usize)?;
        if parse_header(&bytes).ok().as_ref() != Some(&scan.header) {
            return Err(changed(0));
        }
        file.write_at(&[IoSlice::new(&bytes)], 0)?;
    }
    for (at, record) in &scan.commits {
        if at + record.message_bytes() <= from {
            continue;
        }
        let bytes = read(file, *at, record.message_bytes() as usize)?;
        let same = bytes
            .split_at_checked(record.head_bytes as usize)
            .is_some_and(|(head, body)| {
                parse_commit(head).ok().as_ref() == Some(record) && check_body(record, body).is_ok()
            });
        if !same {
            return Err(changed(*at));
        }
        file.write_at(&[IoSlice::new(&bytes)], *at)?;
    }
    Ok(())
}

/// The footer of this content; returns where it ends.
fn write_footer(scan: &Scan) -> Result<u64, DiskError> {
    let commits: Vec<(u64, &CommitRecord)> = scan
        .commits
        .iter()
        .map(|(at, record)| (*at, record))
        .collect();
    let seal = encode_seal(&scan.header.header, &commits, scan.end_byte);
    let file = &*scan.opened.file;
    file.write_at(&[IoSlice::new(&seal)], scan.end_byte)?;
    Ok(scan.end_byte + seal.len() as u64)
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
