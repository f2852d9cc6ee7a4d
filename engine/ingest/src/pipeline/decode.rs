//! The seam between formats and the leaf: one [`Decode`] a format, one call a record batch.
//!
//! What every format shares stands here: which records count, what each offset became, where a load
//! stops. Invariants:
//! 1. `counts.offsets() == next_offset - from`, whatever the records hold.
//! 2. A message is atomic: all of its rows are in the tail, or none.
//! 3. Whatever ends a load, the rows and rejects before that place stay in the tail, and a load that
//!    begins again at `next_offset` goes on as if it had not ended.

use storage::block::{Reject, Tail};
use storage::counts::Counts;
use storage::ids::Offset;

use super::failure::{Failure, FailureClass};
use super::mapping::SkipErrors;
use crate::kafka::{BatchFault, Record, Records};

/// A format: turns the records of one record batch into rows of the unpublished tail.
///
/// Pure: no clock, no I/O, no allocation per row.
pub trait Decode: Send {
    /// Appends the rows and rejects of as many messages as `limits` and the block allow.
    ///
    /// - `records`: one record batch, walked from where it stands; what lies below `limits.from` is
    ///   passed over silently. It is left at the first record that was not taken.
    /// - `tail`: what lies beyond the block's last mark; grows by [`Loaded::rows`] rows.
    fn load(
        &mut self,
        records: &mut Records<'_>,
        limits: &LoadLimits,
        tail: &mut Tail<'_>,
    ) -> Loaded;
}

/// Where a load begins and must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// The cursor: records below it are passed over silently, offsets from it on are counted.
    pub from: Offset,
    /// Exclusive: the maximum of offsets a batch, or the partition's end. Not below `from`.
    pub offsets_end: Offset,
    /// The record batch's last offset + 1. What it does not hold up to there is a gap.
    pub batch_next_offset: Offset,
    /// Bytes of messages after which the neighbours have a turn; at least one message is taken.
    pub bytes_max: u64,
    /// SKIP ... ERRORS.
    pub skip: SkipErrors,
    /// `pipelines_parse_errors_threshold` less the batch's parse errors so far; `u64::MAX` for none.
    /// A PARSER failure beyond it is [`Ended::Poison`], whatever `skip` says.
    pub parse_errors_max: u64,
    /// The time that rejects carry, ms since 1970.
    pub now_unix_ms: i64,
}

/// What one load did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What became of the offsets from `from` to `next_offset`: loaded, rejected, empty, gap.
    pub counts: Counts,
    /// Where the next load begins.
    pub next_offset: Offset,
    /// Rows appended to the tail.
    pub rows: u32,
    /// PARSER failures that became rejects.
    pub parse_errors: u64,
    /// Bytes of the messages that were taken.
    pub bytes: u64,
    /// The lowest timestamp of the records that were taken, ms; `i64::MAX` if there was none.
    pub timestamp_ms_min: i64,
    /// The highest; `i64::MIN` if there was none.
    pub timestamp_ms_max: i64,
    /// Why it stopped.
    pub ended: Ended,
}

/// Why a load stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The record batch is done: `next_offset` is its end.
    Batch,
    /// `offsets_end` is reached.
    OffsetsMax,
    /// `bytes_max` is reached: the neighbours' turn.
    Turn,
    /// The next message does not fit what is left of the block.
    BlockFull,
    /// The next message does not fit even this empty block: it needs one of its own.
    BlockTooSmall(Box<BlockNeed>),
    /// A message that is neither a row nor, by SKIP, a reject. `next_offset` is its offset.
    Poison(Box<Poison>),
    /// The record batch breaks off or lies. The broker's fault.
    Malformed(BatchFault),
}

/// What a block must have free for one message: bounds, not the exact need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockNeed {
    /// The message's offset.
    pub offset: Offset,
    /// Rows.
    pub rows: u32,
    /// Bytes per string column, in the schema's order.
    pub string_bytes: Vec<u64>,
    /// Bytes of key, message and text, should it become a reject.
    pub reject_bytes: u64,
}

/// The message that a load stopped at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, ms.
    pub timestamp_ms: i64,
    /// Why it cannot become rows.
    pub failure: Failure,
    /// Whether SKIP would have made a reject of it, had the parse errors threshold not been passed.
    pub over_threshold: bool,
    /// Its key.
    pub key: Option<Box<[u8]>>,
    /// The whole message.
    pub message: Box<[u8]>,
}

/// Why one message gave no rows.
pub(crate) enum Stop {
    /// The block is full; nothing is wrong with the message.
    Full,
    /// It cannot become rows; [`Messages::failure`] says why.
    Failed,
}

/// What a format adds to [`walk`]: one message to rows.
pub(crate) trait Messages {
    /// Appends the message's rows to the tail. On `Err` the caller rewinds.
    fn message(&mut self, record: &Message<'_>, tail: &mut Tail<'_>) -> Result<u32, Stop>;
    /// Why the last message failed.
    fn failure(&self) -> &Failure;
    /// What a block must have free for this message.
    fn need(&self, record: &Message<'_>) -> BlockNeed;
}

/// A record that has a value.
pub(crate) struct Message<'a> {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub bytes: &'a [u8],
}

/// Walks one record batch: the part of a load that no format changes.
pub(crate) fn walk(
    format: &mut impl Messages,
    records: &mut Records<'_>,
    limits: &LoadLimits,
    tail: &mut Tail<'_>,
) -> Loaded {
    debug_assert!(limits.from <= limits.offsets_end);
    let start = records.clone();
    let mut loaded = Loaded {
        counts: Counts::default(),
        next_offset: limits.from,
        rows: 0,
        parse_errors: 0,
        bytes: 0,
        timestamp_ms_min: i64::MAX,
        timestamp_ms_max: i64::MIN,
        ended: Ended::Batch,
    };
    loaded.ended = loop {
        let record = match records.next() {
            None => break end_of_batch(&mut loaded, limits),
            Some(Err(fault)) => break Ended::Malformed(fault),
            Some(Ok(record)) => record,
        };
        if record.offset < loaded.next_offset {
            continue;
        }
        if record.offset >= limits.offsets_end {
            loaded.counts.gap += loaded.next_offset.until(limits.offsets_end);
            loaded.next_offset = limits.offsets_end;
            go_back(records, start, loaded.next_offset);
            break Ended::OffsetsMax;
        }
        if loaded.bytes >= limits.bytes_max && loaded.bytes > 0 {
            go_back(records, start, loaded.next_offset);
            break Ended::Turn;
        }
        loaded.counts.gap += loaded.next_offset.until(record.offset);
        loaded.next_offset = record.offset;
        if let Err(ended) = take(format, &record, limits, tail, &mut loaded) {
            go_back(records, start, record.offset);
            break ended;
        }
        loaded.timestamp_ms_min = loaded.timestamp_ms_min.min(record.timestamp_ms);
        loaded.timestamp_ms_max = loaded.timestamp_ms_max.max(record.timestamp_ms);
        loaded.next_offset = record.offset.next();
    };
    debug_assert_eq!(
        loaded.counts.offsets(),
        limits.from.until(loaded.next_offset)
    );
    loaded
}

/// What the batch covers and does not hold is a gap, up to its end or the limit.
fn end_of_batch(loaded: &mut Loaded, limits: &LoadLimits) -> Ended {
    let end = limits.batch_next_offset.min(limits.offsets_end);
    loaded.counts.gap += loaded.next_offset.until(end);
    loaded.next_offset = loaded.next_offset.max(end);
    if limits.batch_next_offset <= loaded.next_offset {
        Ended::Batch
    } else {
        Ended::OffsetsMax
    }
}

/// Puts the walk back before the first record at `offset` or above. Rare, and a walk is cheap: to
/// keep the place of every record would cost each of them.
#[cold]
fn go_back<'a>(records: &mut Records<'a>, start: Records<'a>, offset: Offset) {
    let mut next = start;
    loop {
        *records = next.clone();
        match next.next() {
            Some(Ok(record)) if record.offset < offset => {}
            _ => return,
        }
    }
}

/// Takes one record. On `Err` the tail is as it was.
#[inline]
fn take(
    format: &mut impl Messages,
    record: &Record<'_>,
    limits: &LoadLimits,
    tail: &mut Tail<'_>,
    loaded: &mut Loaded,
) -> Result<(), Ended> {
    let Some(bytes) = record.value else {
        loaded.counts.empty += 1;
        return Ok(());
    };
    let message = Message {
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        bytes,
    };
    let before = tail.savepoint();
    match format.message(&message, tail) {
        Ok(rows) => {
            loaded.counts.loaded += 1;
            loaded.rows += rows;
            loaded.bytes += bytes.len() as u64;
            Ok(())
        }
        Err(stop) => {
            tail.rewind(before);
            stopped(stop, format, &message, limits, tail, loaded)
        }
    }
}

#[cold]
fn stopped(
    stop: Stop,
    format: &mut impl Messages,
    message: &Message<'_>,
    limits: &LoadLimits,
    tail: &mut Tail<'_>,
    loaded: &mut Loaded,
) -> Result<(), Ended> {
    let failure = match stop {
        Stop::Full => return Err(full(format, message, tail)),
        Stop::Failed => format.failure(),
    };
    let parser = failure.class == FailureClass::Parser;
    let over_threshold = parser && loaded.parse_errors >= limits.parse_errors_max;
    let skipped = failure.class.skipped_by(limits.skip);
    if over_threshold || !skipped {
        return Err(Ended::Poison(Box::new(Poison {
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            failure: failure.clone(),
            over_threshold: over_threshold && skipped,
            key: message.key.map(Box::from),
            message: Box::from(message.bytes),
        })));
    }
    let reject = Reject {
        offset: message.offset,
        timestamp_ms: message.timestamp_ms,
        unix_ms: limits.now_unix_ms,
        code: failure.code,
        kind: failure.class.reject_kind(),
        line: failure.line,
        column: failure.column,
        text: &failure.text,
        key: message.key,
        message: message.bytes,
    };
    if tail.reject(&reject).is_err() {
        return Err(full(format, message, tail));
    }
    loaded.counts.rejected += 1;
    loaded.parse_errors += u64::from(parser);
    loaded.bytes += message.bytes.len() as u64;
    Ok(())
}

/// A message that does not fit: another block may do, unless this one is empty.
fn full(format: &mut impl Messages, message: &Message<'_>, tail: &Tail<'_>) -> Ended {
    if tail.is_block_empty() {
        Ended::BlockTooSmall(Box::new(format.need(message)))
    } else {
        Ended::BlockFull
    }
}
