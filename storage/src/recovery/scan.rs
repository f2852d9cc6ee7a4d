//! One segment's file, read as far as it can be trusted.
//!
//! Metadata is walked message by message; behind damage the file is searched in 64-byte steps for a
//! record of this segment that says more was durable. Bodies are checked past the durable end alone.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::decide::{self, Found, MessageAction, MessageFacts, Row};
use crate::disk::{DiskError, DiskFile};
use crate::error::Corruption;
use crate::format::{
    CommitRecord, HEADER_PREFIX_BYTES, NAME_BYTES, PREFIX_BYTES, ParsedHeader, Predecessor, Prefix,
    Seal, SegmentId, TAIL_BYTES, check_body, check_commit, header_bytes, is_named, parse_commit,
    parse_header, parse_prefix, parse_seal, record_start,
};
use crate::ids::{Lineage, Offset, Rewrite};
use crate::limits::{ALIGN_BYTES, SEARCH_BYTES, SEGMENT_COMMITS_MAX};
use crate::planted::{Rule, out};

/// Bytes read at a message's place before its length is known: most metadata fits.
const GUESS_BYTES: usize = 4_096;

/// A segment's file with its header.
#[derive(Debug)]
pub(super) struct Opened {
    pub id: SegmentId,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub file_bytes: u64,
    /// `None`: torn, or not this file's.
    pub header: Option<ParsedHeader>,
    /// A whole header that is another segment's, or of a version that we do not read: what it says.
    pub foreign: Option<String>,
}

/// What was read of it.
#[derive(Debug)]
pub(super) struct Scan {
    pub opened: Opened,
    pub header: ParsedHeader,
    /// The content.
    pub commits: Vec<(u64, CommitRecord)>,
    /// Where it ends.
    pub end_byte: u64,
    /// What stands there.
    pub stop: Found,
    /// The highest durable end that a record says.
    pub durable_end: u64,
    /// What was decided there, where it says more than "the end".
    pub decided: Option<Row>,
    pub quarantine: bool,
    /// What stands behind damage.
    pub beyond: Beyond,
}

impl Scan {
    /// Where the content ends: the offset and the commit number that would follow.
    pub fn end(&self) -> (Offset, u64) {
        match self.commits.last() {
            Some((_, record)) => (record.facts.next_offset, record.facts.commit_number + 1),
            None => {
                let header = &self.header.header;
                (header.first_offset, header.first_commit_number)
            }
        }
    }

    /// The number of the commit behind this offset, where the content has a boundary there: of several (commits
    /// without an offset) behind those that are known durable, else the first.
    pub fn number_at(&self, offset: Offset) -> Option<u64> {
        let header = &self.header.header;
        let begin = (header.first_offset == offset).then_some(header.first_commit_number);
        let ends = self
            .commits
            .iter()
            .filter(|(_, record)| record.facts.next_offset == offset);
        let mut ends = ends.map(|(at, record)| {
            let durable = at + record.message_bytes() <= self.durable_end;
            (durable, record.facts.commit_number + 1)
        });
        let first = begin.or_else(|| ends.clone().next().map(|(_, number)| number));
        let durable = ends.rfind(|(durable, _)| *durable);
        durable.map(|(_, number)| number).or(first)
    }

    /// Whether a record that is kept says that all before it was durable.
    pub fn vouches_by_kept(&self) -> bool {
        let mut records = self.commits.iter();
        self.vouches_by_itself() || records.any(|(_, record)| record.durable_end > 0)
    }

    /// Whether that it is there says so: its header does; a merged file was made of durable ones, and a lineage begins
    /// when all of the one before it is drained, or recovered.
    pub fn vouches_by_itself(&self) -> bool {
        let header = &self.header.header;
        let begins = header
            .prev
            .is_some_and(|prev| prev.lineage < header.lineage);
        header.behind_durable || self.opened.id.rewrite > Rewrite(0) || begins
    }
}

/// What the records say that were found behind the content, whatever lies between them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beyond {
    /// The highest durable end.
    pub durable_end: u64,
    /// Of the first: its lineage, first offset and first commit number.
    pub first: Option<(Lineage, Offset, u64)>,
    /// And the byte where it stands, of those that were searched for.
    pub first_at: Option<u64>,
    /// Of the last: the offset and the commit number that follow.
    pub last: Option<(Offset, u64)>,
}

/// How far to read, and what to trust.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Content ends where the successor says.
    pub end: Option<Predecessor>,
    /// A newer segment says that all of it was durable.
    pub vouched: bool,
    /// And a record that is kept says so, or a hole: the next recovery will hear it too.
    pub vouched_by_kept: bool,
}

pub(super) fn read(file: &dyn DiskFile, at: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
    let mut buffer = vec![0; bytes];
    let filled = file.read_at(&mut buffer, at)?;
    buffer.truncate(filled);
    Ok(buffer)
}

impl Opened {
    pub fn new(id: SegmentId, file: Arc<dyn DiskFile>) -> Result<Opened, DiskError> {
        let file_bytes = file.bytes()?;
        let mut bytes = read(&*file, 0, GUESS_BYTES)?;
        if let Ok(needed) = header_bytes(&bytes[..bytes.len().min(HEADER_PREFIX_BYTES)])
            && needed > bytes.len()
        {
            bytes = read(&*file, 0, needed)?;
        }
        let parsed = parse_header(&bytes);
        let foreign = match &parsed {
            Ok(parsed) if parsed.header.id != id => {
                let SegmentId {
                    leaf_partition,
                    sequence,
                    rewrite,
                } = parsed.header.id;
                Some(format!(
                    "is segment {}.{} of leaf partition {}",
                    sequence.0, rewrite.0, leaf_partition.0
                ))
            }
            Err(damage) => match damage.what {
                Corruption::Version(version) => Some(format!("has format version {version}")),
                _ => None,
            },
            Ok(_) => None,
        };
        let header = parsed.ok().filter(|_| foreign.is_none());
        Ok(Opened {
            id,
            path: file.path().to_path_buf(),
            file,
            file_bytes,
            header,
            foreign,
        })
    }

    /// What the records from `from` on say, looked for in steps of 64 bytes.
    pub fn search(&self, from: u64) -> Result<Beyond, DiskError> {
        let mut beyond = Beyond::default();
        self.search_into(&mut beyond, from)?;
        Ok(beyond)
    }

    fn search_into(&self, beyond: &mut Beyond, from: u64) -> Result<(), DiskError> {
        let mut at = from.next_multiple_of(ALIGN_BYTES as u64);
        while at < self.file_bytes {
            // A record that begins in the window's first half is whole in it, or read on its own.
            let left = usize::try_from(self.file_bytes - at).unwrap_or(usize::MAX);
            let window = read(&*self.file, at, left.min(2 * SEARCH_BYTES))?;
            let steps = window.len().min(SEARCH_BYTES).div_ceil(ALIGN_BYTES);
            for step in 0..steps {
                let bytes = &window[step * ALIGN_BYTES..];
                if !bytes.starts_with(&[0xff; 4]) {
                    continue;
                }
                let place = at + (step * ALIGN_BYTES) as u64;
                if let Some(record) = self.record_at(place, bytes)? {
                    beyond.first_at.get_or_insert(place);
                    beyond.take(&record);
                }
            }
            if window.is_empty() {
                break;
            }
            at += (steps * ALIGN_BYTES) as u64;
        }
        Ok(())
    }

    /// A record of this file at a place, whatever its number.
    fn record_at(&self, at: u64, bytes: &[u8]) -> Result<Option<CommitRecord>, DiskError> {
        let needed = match parse_prefix(&bytes[..bytes.len().min(PREFIX_BYTES)]) {
            Ok(Prefix::Head(needed)) => needed,
            _ => return Ok(None),
        };
        // A message may be full of what begins like this; only what names this file is read whole.
        let mut tail = [0; TAIL_BYTES];
        self.fill(&mut tail, at, needed - TAIL_BYTES, bytes)?;
        let Some(start) = record_start(needed, tail) else {
            return Ok(None);
        };
        let mut name = [0; NAME_BYTES];
        self.fill(&mut name, at, start, bytes)?;
        let header_crc = self.header.as_ref().map(|header| header.crc);
        if !is_named(name, self.id, header_crc) {
            return Ok(None);
        }
        let record = if needed <= bytes.len() {
            parse_commit(bytes)
        } else {
            parse_commit(&read(&*self.file, at, needed)?)
        };
        Ok(record.ok())
    }

    /// Bytes from `from` on behind `at`, of which `there` is what was read already; zeros beyond the file.
    fn fill(&self, to: &mut [u8], at: u64, from: usize, there: &[u8]) -> Result<(), DiskError> {
        match there.get(from..from + to.len()) {
            Some(there) => to.copy_from_slice(there),
            None => {
                self.file.read_at(to, at + from as u64)?;
            }
        }
        Ok(())
    }

    /// Reads the content.
    pub fn scan(self, header: ParsedHeader, reach: Reach) -> Result<Scan, DiskError> {
        let mut walk = self.walk(&header, reach)?;
        let merged = self.id.rewrite > Rewrite(0);
        // A merged file was synced before it got its name.
        let vouched = reach.vouched || merged;
        // Behind a whole seal nothing stands; an end of stream alone may be what a commit's length became.
        let ends = match walk.stop {
            Found::ContentEnd | Found::FileEnd => true,
            Found::EndOfStream => self.has_seal(&walk.commits, walk.end_byte)?,
            _ => false,
        };
        let (walked_end, successor) = (walk.end_byte, walk.stop == Found::ContentEnd);
        // Where what vouches is cut, nothing will at the next recovery: damage is to be found while it does.
        let vouched_for_good = reach.vouched_by_kept || merged;
        if !vouched_for_good && !out(Rule::BodiesChecked) {
            walk.check_bodies(&self)?;
        }
        let mut beyond = Beyond::default();
        walk.given_up
            .iter()
            .rev()
            .for_each(|record| beyond.take(record));
        // What stands there may have gone astray, or was taken back: it says what before it was durable all the same.
        if !ends || successor && walk.stop != Found::ContentEnd {
            self.search_into(&mut beyond, walked_end)?;
        }
        // The content of what a successor vouches for reaches the end that it names.
        let vouched_short = vouched && reach.end.is_some();
        let facts = MessageFacts {
            found: walk.stop,
            below_durable: walk.end_byte < walk.durable_end
                || vouched_short
                || merged && walk.stop != Found::EndOfStream,
            later_record: beyond.durable_end > walk.end_byte,
        };
        let (decided, action) = decide::message(facts);
        Ok(Scan {
            header,
            commits: walk.commits,
            end_byte: walk.end_byte,
            stop: walk.stop,
            durable_end: walk.durable_end,
            decided,
            quarantine: action == MessageAction::Quarantine,
            beyond,
            opened: self,
        })
    }

    fn walk(&self, header: &ParsedHeader, reach: Reach) -> Result<Walk, DiskError> {
        let mut walk = Walk {
            commits: Vec::new(),
            end_byte: u64::from(header.bytes),
            stop: Found::FileEnd,
            durable_end: 0,
            given_up: Vec::new(),
        };
        let mut number = header.header.first_commit_number;
        let mut offset = header.header.first_offset;
        let exact = self.id.rewrite == Rewrite(0);
        loop {
            if reach
                .end
                .is_some_and(|end| number >= end.next_commit_number)
                && !out(Rule::ContentEndsWherePrevSays)
            {
                walk.stop = Found::ContentEnd;
                break;
            }
            let at = walk.end_byte;
            if at >= self.file_bytes {
                walk.stop = Found::FileEnd;
                break;
            }
            let mut bytes = read(&*self.file, at, GUESS_BYTES)?;
            if let Ok(Prefix::Head(needed)) = parse_prefix(&bytes[..bytes.len().min(PREFIX_BYTES)])
                && needed > bytes.len()
            {
                bytes = read(&*self.file, at, needed)?;
            }
            let record = match parse_commit(&bytes) {
                Ok(record) => record,
                Err(damage) => {
                    walk.stop = match damage.what {
                        Corruption::EndOfStream => Found::EndOfStream,
                        Corruption::Zeros => Found::Zeros,
                        _ => Found::BadMetadata,
                    };
                    break;
                }
            };
            let first = record.first_commit_number();
            let numbered = if exact {
                first == number
            } else {
                first >= number
            };
            let end = at.checked_add(record.message_bytes());
            if check_commit(&record, header).is_err()
                || walk.commits.len() >= SEGMENT_COMMITS_MAX as usize
                || !numbered
                || record.facts.commit_number < first
                || record.facts.first_offset != offset
                || end.is_none()
                || out(Rule::MessageKept)
            {
                walk.stop = Found::Foreign;
                break;
            }
            walk.durable_end = walk.durable_end.max(record.durable_end);
            number = record.facts.commit_number + 1;
            offset = record.facts.next_offset;
            walk.end_byte = end.unwrap_or(at);
            walk.commits.push((at, record));
            if walk.end_byte > self.file_bytes {
                // The metadata is there and the body is cut off: a bad body, found below; where bodies
                // are not looked at, what is left of it must not pass for content.
                walk.end_before(walk.commits.len() - 1);
                walk.stop = Found::BadBody;
                break;
            }
        }
        Ok(walk)
    }

    /// Its seal, where that is whole and its own.
    pub fn seal(&self) -> Result<Option<Seal>, DiskError> {
        let seal = parse_seal(self.file_bytes, |at, len| read(&*self.file, at, len))?;
        let own = |seal: &Seal| {
            let mut records = seal.commits.iter();
            records.all(|(_, record)| record.segment == self.id)
        };
        Ok(seal.ok().filter(own))
    }

    /// Whether a whole seal stands exactly behind this content and says the same commits.
    pub fn has_seal(&self, scan: &[(u64, CommitRecord)], end: u64) -> Result<bool, DiskError> {
        Ok(self.seal()?.is_some_and(|seal| {
            let same = |(mine, theirs): (&(u64, CommitRecord), &(u64, CommitRecord))| {
                mine.0 == theirs.0 && mine.1.is_indexed_as(&theirs.1)
            };
            seal.content_end == end
                && seal.commits.len() == scan.len()
                && scan.iter().zip(&seal.commits).all(same)
        }))
    }
}

impl Beyond {
    fn take(&mut self, record: &CommitRecord) {
        self.durable_end = self.durable_end.max(record.durable_end);
        let facts = &record.facts;
        let first = record.first_commit_number();
        self.first
            .get_or_insert((facts.lineage, facts.first_offset, first));
        let end = (facts.next_offset, facts.commit_number + 1);
        // One that went astray does not set it back.
        self.last = self.last.max(Some(end));
    }
}

struct Walk {
    commits: Vec<(u64, CommitRecord)>,
    end_byte: u64,
    stop: Found,
    durable_end: u64,
    /// Records that were read and whose bodies, or one before, are bad; the last first.
    given_up: Vec<CommitRecord>,
}

impl Walk {
    /// Content ends before this commit.
    fn end_before(&mut self, index: usize) {
        while self.commits.len() > index
            && let Some((at, record)) = self.commits.pop()
        {
            self.end_byte = at;
            self.given_up.push(record);
        }
    }

    /// Checks the bodies past the durable end; content ends at the first bad one.
    ///
    /// Only a record that is kept counts: with one that is cut goes its word for what is before it, and
    /// the next recovery would take a damaged commit there for one that was never durable.
    fn check_bodies(&mut self, opened: &Opened) -> Result<(), DiskError> {
        let mut checked_from = self.commits.len();
        loop {
            let records = self.commits.iter().map(|(_, record)| record);
            let durable_end = records.map(|record| record.durable_end).max().unwrap_or(0);
            let past =
                |(at, record): &(u64, CommitRecord)| at + record.message_bytes() > durable_end;
            let first = self.commits.iter().position(past);
            let first = first.unwrap_or(checked_from).min(checked_from);
            let Some(bad) = self.bad_body(opened, first..checked_from)? else {
                return Ok(());
            };
            self.end_before(bad);
            self.stop = Found::BadBody;
            checked_from = first;
        }
    }

    fn bad_body(&self, opened: &Opened, of: Range<usize>) -> Result<Option<usize>, DiskError> {
        for index in of {
            let (at, record) = &self.commits[index];
            let body_at = at + u64::from(record.head_bytes);
            let body = read(&*opened.file, body_at, record.body_bytes as usize)?;
            if check_body(record, &body).is_err() {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}
