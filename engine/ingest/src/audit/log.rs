//! The broker's log, record by record: which class each is of, by a walk that says it as plainly as it
//! can be said and shares no line with the leaf's.
//!
//! A record of a transaction is aborted where the response names its producer with a first offset not
//! above it and no ABORT marker of that producer lies between. What no record is of is absent.

use std::collections::BTreeMap;

use storage::ids::Offset;

use super::Stopped;
use super::fault::Kind;
use crate::kafka::batch::BatchHeader;
use crate::kafka::fetch::{FrameEvent, FrameReader};
use crate::kafka::{Decompressor, Marker, Record};

/// One fetch response of one partition, whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// Of the request.
    pub version: i16,
    /// Of the request.
    pub correlation_id: i32,
    /// From the correlation id on, without the length.
    pub frame: Vec<u8>,
}

/// One record as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// The record.
    pub record: Record<'a>,
    /// The offset after its record batch's last.
    pub batch_next: Offset,
    /// Whether its record batch has a record of each of its offsets: compaction has not been at it.
    pub batch_is_whole: bool,
}

/// What takes the records.
pub trait Entries {
    /// The next one; offsets rise.
    ///
    /// # Errors
    /// The audit is to end.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Stopped>;

    /// So many bytes hold the records that follow.
    ///
    /// # Errors
    /// The audit is to end: there is no memory for them.
    fn holds(&mut self, bytes: u64) -> Result<(), Stopped>;
}

/// Why a walk ended early.
#[derive(Debug)]
pub enum WalkEnd {
    /// The audit is to end.
    Stopped(Stopped),
    /// The broker's bytes are wrong.
    Malformed(String),
}

impl From<Stopped> for WalkEnd {
    fn from(stopped: Stopped) -> WalkEnd {
        WalkEnd::Stopped(stopped)
    }
}

/// The aborted transactions of one response, and the markers met in it.
#[derive(Debug, Default)]
struct Transactions {
    /// First offsets by producer.
    aborted: BTreeMap<i64, Vec<Offset>>,
    /// Where the last ABORT marker of a producer was met.
    ended: BTreeMap<i64, Offset>,
}

impl Transactions {
    fn is_aborted(&self, header: &BatchHeader) -> bool {
        let ended = self.ended.get(&header.producer_id);
        let since = |first: &Offset| ended.is_none_or(|ended| first > ended);
        header.transactional
            && self.aborted.get(&header.producer_id).is_some_and(|firsts| {
                let reaches = |first: &&Offset| **first <= header.last_offset();
                firsts.iter().filter(reaches).any(since)
            })
    }
}

/// Walks a response's records from `from` on and up to `to`. Returns where the log goes on: behind the
/// last record batch that is there, or `from` where there is none.
///
/// # Errors
/// See [`WalkEnd`].
pub fn walk(
    response: &Response,
    from: Offset,
    to: Offset,
    decompressor: &mut Decompressor,
    take: &mut impl Entries,
) -> Result<Offset, WalkEnd> {
    let malformed = |fault: &dyn std::fmt::Display| WalkEnd::Malformed(fault.to_string());
    let frame = response.frame.as_slice();
    let mut reader = FrameReader::new(response.version, response.correlation_id, frame.len());
    let mut transactions = Transactions::default();
    let mut at = from;
    while let Some(event) = reader.next(frame).map_err(|fault| malformed(&fault))? {
        match event {
            FrameEvent::Partition(head) => {
                transactions = Transactions::default();
                for one in head.aborted.read(frame) {
                    let firsts = transactions.aborted.entry(one.producer_id).or_default();
                    firsts.push(one.first_offset);
                }
            }
            FrameEvent::Batch(range) => {
                let header = &range.header;
                let bytes = frame.get(range.range()).unwrap_or_default();
                header.check_crc(bytes).map_err(|fault| malformed(&fault))?;
                let body = header.body(bytes).map_err(|fault| malformed(&fault))?;
                let records = decompressor.open(header, body);
                let mut records = records.map_err(|fault| malformed(&fault))?;
                // The records once, and one of them twice more where it is read.
                take.holds((frame.len() + 3 * records.remaining_bytes()) as u64)?;
                let aborted = transactions.is_aborted(header);
                while let Some(record) = records.next() {
                    let record = record.map_err(|fault| malformed(&fault))?;
                    let kind = match (header.control, aborted, record.value) {
                        (true, ..) => Kind::Control,
                        (_, true, _) => Kind::Aborted,
                        (.., None) => Kind::Tombstone,
                        (.., Some(_)) => Kind::Data,
                    };
                    if kind == Kind::Control && matches!(Marker::parse(&record), Ok(Marker::Abort))
                    {
                        let ended = &mut transactions.ended;
                        ended.insert(header.producer_id, record.offset);
                    }
                    if (at..to).contains(&record.offset) {
                        take.entry(&Entry {
                            kind,
                            record,
                            batch_next: header.next_offset(),
                            batch_is_whole: header.record_count == header.last_offset_delta + 1,
                        })?;
                    }
                }
                at = at.max(header.next_offset());
            }
            FrameEvent::Oversize {
                base_offset,
                size_bytes,
            } => {
                return Err(WalkEnd::Malformed(format!(
                    "the record batch at offset {base_offset} has {size_bytes} bytes, too many"
                )));
            }
            FrameEvent::Spoiled(fault) => return Err(malformed(&fault)),
            FrameEvent::End => break,
            FrameEvent::Response(_)
            | FrameEvent::BatchBegun(_)
            | FrameEvent::CutOff { .. }
            | FrameEvent::PartitionEnd(_)
            | FrameEvent::Endpoint(_) => {}
        }
    }
    Ok(at)
}
