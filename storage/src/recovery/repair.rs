//! Steps 4 to 6: what is kept is written again where nothing vouches for it, footers are mended, holes are
//! decided about, and the directory is synced.
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
use crate::ids::{Offset, Rewrite};
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
    let mut segments = Vec::with_capacity(walked.chain.len());
    for link in walked.chain {
        let segment = Repair {
            disk,
            partition,
            newest: link.newest,
            vouched: link.vouched,
        };
        segments.push(segment.run(link.scan, notes)?);
    }
    let holes = walked.holes.decide(
        disk,
        partition,
        walked.live_lineage,
        walked.leftover_hole,
        durable(&segments, partition),
        notes,
    )?;
    if !out(Rule::DirectorySyncAtRecoveryEnds) {
        let synced = disk.sync_directory(&partition.directory);
        synced.map_err(Failure::Directory)?;
    }
    Ok(RecoveredPartition {
        segments,
        sequence_last: walked.sequence_last,
        next_commit_number: walked.next_commit_number,
        leftover: walked.leftover,
        holes,
        notes: Vec::new(),
    })
}

/// Where the partition stands in its lineage: all that was kept is durable now.
fn durable(segments: &[RecoveredSegment], partition: &RecoverPartition) -> Offset {
    match segments.last() {
        Some(last) if last.header.header.lineage == partition.start.lineage => {
            let end = last.commits.last();
            end.map_or(last.header.header.first_offset, |(_, record)| {
                record.facts.next_offset
            })
        }
        _ => partition.start.start_offset,
    }
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
            merged: merged && !out(Rule::MergedFooterMended),
        });
        let mut sealed = action == FooterAction::Sealed;
        let mut end_of_file = opened.file_bytes;
        let mut changed = false;
        let mapped = self.partition.mapped && !out(Rule::NoCutUnderMap);
        if !sealed && !mapped {
            // Without its end of stream a merged file passes for a damaged one: its footer is written over.
            let in_place = merged && !out(Rule::MergedFooterInPlace);
            if opened.file_bytes > scan.end_byte && !in_place {
                opened.file.truncate(scan.end_byte)?;
                changed = true;
            }
            end_of_file = scan.end_byte;
            if action == FooterAction::Again {
                end_of_file = write_footer(&scan)?;
                (sealed, changed) = (true, true);
                // What was torn may have been longer: the rest of it behind a footer is the end of none.
                if in_place && end_of_file < opened.file_bytes {
                    opened.file.truncate(end_of_file)?;
                }
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
