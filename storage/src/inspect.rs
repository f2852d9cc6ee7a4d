//! `pinleaf inspect`: what a segment file holds and whether its bytes are sound.
//!
//! Reads, never maps, and believes nothing: an open, sealed, torn or foreign file gives a report, never
//! a panic. An error is only what the kernel refuses.

mod reader;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, Damage, DiskAction, StorageError};
use crate::format::rejects::Rejects;
use crate::format::{CommitRecord, ParsedHeader, check_commit};
use crate::ids::{Offset, Rewrite};
use crate::limits::{INSPECT_REJECTS_MAX, SEGMENT_COMMITS_MAX};

pub use reader::{FileBytes, MapBytes, Message, SegmentBytes, SegmentReader, check_whole_body};

/// What was found; print it.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    file_bytes: u64,
    header: Option<ParsedHeader>,
    commits: Vec<FoundCommit>,
    seal: Seal,
    /// What ended the walk, if it was not the file's end or the end of stream.
    damage: Vec<Damage>,
}

#[derive(Debug)]
struct FoundCommit {
    at_byte: u64,
    record: CommitRecord,
    body: Result<(), Damage>,
    rejects: Vec<String>,
}

#[derive(Debug)]
enum Seal {
    Open,
    Sealed,
    Torn(Damage),
}

/// Looks at a segment file.
///
/// # Errors
/// `Disk`: the file cannot be opened or read.
pub fn inspect(path: &Path) -> Result<Report, StorageError> {
    let error = |doing| {
        move |source| StorageError::Disk {
            path: path.to_owned(),
            doing,
            source,
        }
    };
    let file = File::open(path).map_err(error(DiskAction::Open))?;
    let bytes = FileBytes::new(file).map_err(error(DiskAction::Open))?;
    let reader = SegmentReader::new(Box::new(bytes));
    let mut report = Report {
        path: path.to_owned(),
        file_bytes: reader.bytes(),
        header: None,
        commits: Vec::new(),
        seal: Seal::Open,
        damage: Vec::new(),
    };
    report.walk(&reader).map_err(error(DiskAction::Read))?;
    Ok(report)
}

impl Report {
    /// Whether every checksum that was looked at is good and the file ends where it should.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let bodies = self.commits.iter().all(|commit| commit.body.is_ok());
        self.header.is_some()
            && self.damage.is_empty()
            && bodies
            && !matches!(self.seal, Seal::Torn(_))
    }

    fn walk(&mut self, reader: &SegmentReader) -> io::Result<()> {
        let header = match reader.header()? {
            Ok(header) => header,
            Err(damage) => {
                self.damage.push(damage);
                return Ok(());
            }
        };
        let mut at = u64::from(header.bytes);
        let mut next = (
            header.header.first_commit_number,
            header.header.first_offset,
        );
        while at < self.file_bytes && self.commits.len() < SEGMENT_COMMITS_MAX as usize {
            match reader.message(at)? {
                Message::Commit(record, _) => {
                    at = self.look_at_commit(reader, &header, *record, at, &mut next)?;
                }
                Message::EndOfStream => {
                    self.look_at_seal(reader)?;
                    break;
                }
                // Space that was allocated ahead: an open segment ends so after a crash.
                Message::Damage(damage)
                    if damage.what == Corruption::Zeros && reader.is_zeros(at)? =>
                {
                    break;
                }
                Message::Damage(damage) => {
                    self.damage.push(damage);
                    break;
                }
            }
        }
        self.header = Some(header);
        Ok(())
    }

    fn look_at_commit(
        &mut self,
        reader: &SegmentReader,
        header: &ParsedHeader,
        record: CommitRecord,
        at: u64,
        next: &mut (u64, Offset),
    ) -> io::Result<u64> {
        let damage = |what| Damage::at(at, what);
        if let Err(what) = check_commit(&record, header) {
            self.damage.push(damage(what));
        }
        let (first, facts) = (record.first_commit_number(), record.facts);
        // Numbers that a failed write gave up are missing between two segments, and so in a merge of both.
        let merged = header.header.id.rewrite > Rewrite(0);
        if first != next.0 && !(merged && first > next.0) {
            self.damage.push(damage(Corruption::CommitNumber {
                found: first,
                expected: next.0,
            }));
        }
        if facts.first_offset != next.1 {
            self.damage.push(damage(Corruption::FirstOffset {
                found: facts.first_offset.0,
                expected: next.1.0,
            }));
        }
        *next = (facts.commit_number.saturating_add(1), facts.next_offset);
        let body_at = at + u64::from(record.head_bytes);
        let body = reader.body(at, &record)?;
        let rejects = rejects(&record, &body);
        let end = at.saturating_add(record.message_bytes());
        self.commits.push(FoundCommit {
            at_byte: at,
            body: check_whole_body(&record, &body).map_err(|damage| damage.shifted(body_at)),
            rejects,
            record,
        });
        Ok(end)
    }

    fn look_at_seal(&mut self, reader: &SegmentReader) -> io::Result<()> {
        self.seal = match reader.seal()? {
            Ok(seal) => {
                let same = |(found, (at, indexed)): (&FoundCommit, &(u64, CommitRecord))| {
                    found.at_byte == *at && found.record.is_indexed_as(indexed)
                };
                let all = self.commits.len() == seal.commits.len();
                match all && self.commits.iter().zip(&seal.commits).all(same) {
                    true => Seal::Sealed,
                    false => Seal::Torn(Damage::at(seal.content_end, Corruption::Field("index"))),
                }
            }
            Err(damage) => Seal::Torn(damage),
        };
        Ok(())
    }
}

fn rejects(record: &CommitRecord, body: &[u8]) -> Vec<String> {
    let place = record.rejects.at as usize;
    let bytes = body.get(place..place + record.rejects.bytes as usize);
    let rejects = Rejects::new(bytes.unwrap_or_default()).take(INSPECT_REJECTS_MAX);
    let line = |reject: Result<crate::block::Reject<'_>, Damage>| match reject {
        Ok(reject) => {
            let column = reject
                .column
                .map_or(String::new(), |c| format!(" column {c}"));
            format!(
                "{:?} at offset {}{column}: {:?} ({} bytes of message)",
                reject.kind,
                reject.offset,
                reject.text,
                reject.message.len()
            )
        }
        Err(damage) => damage.to_string(),
    };
    rejects.map(line).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} bytes", self.path.display(), self.file_bytes)?;
        if let Some(header) = &self.header {
            write_header(f, header)?;
        }
        for commit in &self.commits {
            write_commit(f, commit)?;
        }
        let rows: u64 = self
            .commits
            .iter()
            .map(|c| u64::from(c.record.facts.rows))
            .sum();
        let state = match &self.seal {
            Seal::Open => "open".to_owned(),
            Seal::Sealed => "sealed: end of stream, index and footer good".to_owned(),
            Seal::Torn(damage) => format!("seal torn: {damage}"),
        };
        writeln!(f, "{} commits, {rows} rows, {state}", self.commits.len())?;
        for damage in &self.damage {
            writeln!(f, "damage: {damage}")?;
        }
        write!(
            f,
            "{}",
            if self.is_sound() {
                "sound"
            } else {
                "NOT SOUND"
            }
        )
    }
}

fn write_header(f: &mut fmt::Formatter<'_>, parsed: &ParsedHeader) -> fmt::Result {
    let header = &parsed.header;
    writeln!(
        f,
        "header: {} bytes, checksum {:08x} good; table {}, leaf partition {}, Kafka partition {}, topic {}",
        parsed.bytes,
        parsed.crc,
        header.table,
        header.id.leaf_partition,
        header.kafka_partition,
        header.topic_id
    )?;
    writeln!(
        f,
        "  sequence {}, rewrite {}, lineage {}, from offset {} and commit {}",
        header.id.sequence,
        header.id.rewrite,
        header.lineage,
        header.first_offset,
        header.first_commit_number
    )?;
    match &header.prev {
        None => writeln!(f, "  no predecessor")?,
        Some(prev) => writeln!(
            f,
            "  predecessor: sequence {}, lineage {}, up to offset {}, before commit {}{}",
            prev.sequence,
            prev.lineage,
            prev.next_offset,
            prev.next_commit_number,
            if header.behind_durable {
                ", durable when this was made"
            } else {
                ""
            }
        )?,
    }
    for column in header.schema.columns.iter() {
        let null = if column.nullable { "" } else { " NOT NULL" };
        writeln!(
            f,
            "  column {:?}: {:?}{null} ({})",
            column.name, column.physical, column.annotation
        )?;
    }
    Ok(())
}

fn write_commit(f: &mut fmt::Formatter<'_>, commit: &FoundCommit) -> fmt::Result {
    let record = &commit.record;
    let facts = &record.facts;
    let counts = &facts.counts;
    writeln!(
        f,
        "commit {} at byte {}: offsets {} to {} (exclusive), {} rows, {} rejects; {} + {} bytes, durable end {}",
        facts.commit_number,
        commit.at_byte,
        facts.first_offset,
        facts.next_offset,
        facts.rows,
        facts.rejects,
        record.head_bytes,
        record.body_bytes,
        record.durable_end
    )?;
    writeln!(
        f,
        "  loaded {}, rejected {}, empty {}, skipped {}, control {}, aborted {}, gap {}, lost {}; epoch {}, {} bytes extracted",
        counts.loaded,
        counts.rejected,
        counts.empty,
        counts.skipped,
        counts.control,
        counts.aborted,
        counts.gap,
        counts.lost,
        facts.leader_epoch,
        facts.extracted_bytes
    )?;
    if record.replaced.count > 0 {
        writeln!(
            f,
            "  stands for {} commits that were merged",
            record.replaced.count
        )?;
    }
    match &commit.body {
        Ok(()) => writeln!(f, "  metadata and body checksums good")?,
        Err(damage) => writeln!(f, "  metadata checksum good, body: {damage}")?,
    }
    commit
        .rejects
        .iter()
        .try_for_each(|line| writeln!(f, "  reject: {line}"))
}
