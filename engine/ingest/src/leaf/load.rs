//! One record batch into a tail: header, checksum, codec, control, aborted, gaps, then [`Decode`].
//!
//! A record batch that a turn does not end stays open: its checksum is checked, its body unpacked and
//! its records walked once, however many turns it takes ([`OpenBatch`]).
//!
//! Pure. What it says was gained is exact: [`Gains::counts`] add up to the offsets between the cursor
//! it was given and the one it returns, and the tail grew by the rows of these offsets alone.

use storage::block::Tail;
use storage::counts::Counts;
use storage::ids::Offset;

use crate::kafka::{
    AbortedFilter, BatchFate, BatchFault, BatchHeader, Decompressor, Marker, Place, Records,
    Unpacked,
};
use crate::pipeline::{BlockNeed, Decode, Ended as DecodeEnded, LoadLimits, Poison, SkipErrors};
use crate::planted::{Rule, out};

/// Where to begin, and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The cursor: what lies below is passed over silently.
    pub from: Offset,
    /// Exclusive; not below `from`.
    pub offsets_end: Offset,
    /// Bytes of messages after which the neighbours have a turn.
    pub bytes_max: u64,
    /// SKIP ... ERRORS.
    pub skip: SkipErrors,
    /// PARSER failures that may still become rejects; `u64::MAX` for no threshold.
    pub parse_errors_max: u64,
    /// The time that rejects carry.
    pub now_unix_ms: i64,
}

/// What one call gained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gains {
    /// Where the next call begins.
    pub next_offset: Offset,
    /// What became of the offsets up to there.
    pub counts: Counts,
    /// Rows in the tail.
    pub rows: u32,
    /// PARSER failures that became rejects.
    pub parse_errors: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// The batch's leader epoch; -1 unknown.
    pub leader_epoch: i32,
    /// The timestamps of the batch's records, ms, least and most; `None` where no record was taken.
    pub timestamps_ms: Option<(i64, i64)>,
}

impl Gains {
    /// Nothing, at this cursor.
    #[must_use]
    pub fn nothing(from: Offset) -> Gains {
        Gains {
            next_offset: from,
            counts: Counts::default(),
            rows: 0,
            parse_errors: 0,
            bytes: 0,
            leader_epoch: -1,
            timestamps_ms: None,
        }
    }

    /// Adds what the next call gained.
    pub fn add(&mut self, next: &Gains) {
        self.next_offset = next.next_offset;
        self.counts.add(&next.counts);
        self.rows += next.rows;
        self.parse_errors += next.parse_errors;
        self.bytes += next.bytes;
        self.leader_epoch = self.leader_epoch.max(next.leader_epoch);
        self.timestamps_ms = match (self.timestamps_ms, next.timestamps_ms) {
            (Some((least, most)), Some((low, high))) => Some((least.min(low), most.max(high))),
            (one, two) => one.or(two),
        };
    }
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The record batch is done.
    Batch,
    /// `offsets_end` is reached within it.
    OffsetsMax,
    /// `bytes_max` is reached within it.
    Turn,
    /// The block is full.
    BlockFull,
    /// A message needs a block of its own.
    BlockTooSmall(Box<BlockNeed>),
    /// A message that cannot become a row; the cursor stands at it.
    Poison(Box<Poison>),
    /// The broker's bytes are wrong. What was gained before stands.
    Malformed(BatchFault),
}

/// A record batch of data that was begun and is not done: where it goes on.
#[derive(Debug)]
pub struct OpenBatch {
    header: BatchHeader,
    place: Place,
    /// None where its records lie in the frame as they are.
    unpacked: Option<Unpacked>,
}

impl OpenBatch {
    /// The memory that it takes beside the frame.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.unpacked.as_ref().map_or(0, Unpacked::memory_bytes)
    }

    /// Bytes that it unpacked to: what [`OpenBatch::fit`] leaves it.
    #[must_use]
    pub fn unpacked_bytes(&self) -> usize {
        self.unpacked.as_ref().map_or(0, Unpacked::length_bytes)
    }

    /// It is kept: with as much memory as it needs.
    pub fn fit(&mut self, inflate: &mut Decompressor) {
        if let Some(unpacked) = &mut self.unpacked {
            inflate.fit(unpacked);
        }
    }

    /// What it unpacked to, for [`Decompressor::give`]; the batch is begun anew next time.
    #[must_use]
    pub fn into_unpacked(self) -> Option<Unpacked> {
        self.unpacked
    }
}

/// Loads `bytes`, which begin with one whole record batch.
///
/// `open`: that batch, where an earlier call began it; afterwards where this one did not end it. What is
/// of another batch is passed over. `filter` must have seen the batches of this response before this
/// one; it may see this one again.
pub fn load(
    bytes: &[u8],
    open: &mut Option<OpenBatch>,
    limits: &Limits,
    filter: &mut AbortedFilter,
    inflate: &mut Decompressor,
    decode: &mut dyn Decode,
    tail: &mut Tail<'_>,
) -> (Gains, Ended) {
    let mut gains = Gains::nothing(limits.from);
    let opened = match BatchHeader::parse(bytes) {
        Err(fault) => Err(fault),
        Ok(header) => match open.take() {
            Some(batch) if batch.header == header => go_on(batch, limits, inflate, &mut gains),
            _ => begin(header, bytes, limits, filter, inflate, &mut gains),
        },
    };
    let ended = match opened {
        Err(fault) => Ended::Malformed(fault),
        Ok(Opened::Done(ended)) => ended,
        Ok(Opened::Data(mut batch)) => {
            let records = match &batch.unpacked {
                Some(unpacked) => Ok(unpacked.bytes()),
                None => batch.header.body(bytes),
            };
            let ended = match records {
                Err(fault) => Ended::Malformed(fault),
                Ok(records) => {
                    let mut walk = Records::resume(&batch.header, records, batch.place);
                    let ended =
                        decode_on(&batch.header, &mut walk, limits, decode, tail, &mut gains);
                    batch.place = walk.place(records);
                    ended
                }
            };
            if matches!(ended, Ended::Batch | Ended::Malformed(_)) {
                give(batch, inflate);
            } else {
                *open = Some(batch);
            }
            ended
        }
    };
    debug_assert_eq!(
        gains.counts.offsets(),
        limits.from.until(gains.next_offset),
        "each offset is one class"
    );
    (gains, ended)
}

fn give(batch: OpenBatch, inflate: &mut Decompressor) {
    if let Some(unpacked) = batch.unpacked {
        inflate.give(unpacked);
    }
}

/// Takes the batch's next records.
fn decode_on(
    header: &BatchHeader,
    records: &mut Records<'_>,
    limits: &Limits,
    decode: &mut dyn Decode,
    tail: &mut Tail<'_>,
    gains: &mut Gains,
) -> Ended {
    let load_limits = LoadLimits {
        from: gains.next_offset,
        offsets_end: limits.offsets_end,
        batch_next_offset: header.next_offset(),
        bytes_max: limits.bytes_max,
        skip: limits.skip,
        parse_errors_max: limits.parse_errors_max,
        now_unix_ms: limits.now_unix_ms,
    };
    let loaded = decode.load(records, &load_limits, tail);
    if loaded.timestamp_ms_max != i64::MIN {
        let most = loaded.timestamp_ms_max;
        gains.timestamps_ms = Some((header.base_timestamp.min(most), most));
    }
    gains.next_offset = loaded.next_offset;
    gains.counts.add(&loaded.counts);
    gains.rows = loaded.rows;
    gains.parse_errors = loaded.parse_errors;
    gains.bytes = loaded.bytes;
    match loaded.ended {
        DecodeEnded::Batch => Ended::Batch,
        DecodeEnded::OffsetsMax => Ended::OffsetsMax,
        DecodeEnded::Turn => Ended::Turn,
        DecodeEnded::BlockFull => Ended::BlockFull,
        DecodeEnded::BlockTooSmall(need) => Ended::BlockTooSmall(need),
        DecodeEnded::Poison(poison) => Ended::Poison(poison),
        DecodeEnded::Malformed(fault) => Ended::Malformed(fault),
    }
}

/// What stands before the records.
enum Opened {
    /// Nothing of it is data, or nothing is wanted.
    Done(Ended),
    /// Data from `gains.next_offset` on.
    Data(OpenBatch),
}

/// A batch that was begun: the cursor may have been taken past its end.
fn go_on(
    batch: OpenBatch,
    limits: &Limits,
    inflate: &mut Decompressor,
    gains: &mut Gains,
) -> Result<Opened, BatchFault> {
    gains.leader_epoch = batch.header.leader_epoch;
    if batch.header.next_offset() <= limits.from {
        give(batch, inflate);
        return Ok(Opened::Done(Ended::Batch));
    }
    Ok(Opened::Data(batch))
}

fn begin(
    header: BatchHeader,
    bytes: &[u8],
    limits: &Limits,
    filter: &mut AbortedFilter,
    inflate: &mut Decompressor,
    gains: &mut Gains,
) -> Result<Opened, BatchFault> {
    if !out(Rule::BatchChecksum) {
        header.check_crc(bytes)?;
    }
    let body = header.body(bytes)?;
    gains.leader_epoch = header.leader_epoch;
    let fate = filter.fate(&header);
    if fate == BatchFate::Control {
        // Also below the cursor: the marker ends what this response's list began.
        let mut records = inflate.open(&header, body)?;
        if let Some(marker) = Marker::of(&mut records)? {
            filter.marker(&header, marker);
        }
    }
    if header.next_offset() <= limits.from {
        return Ok(Opened::Done(Ended::Batch));
    }
    if header.base_offset < limits.from && out(Rule::ResumeByRecord) {
        gains.counts.gap += limits
            .from
            .until(header.next_offset().min(limits.offsets_end));
        gains.next_offset = header.next_offset().min(limits.offsets_end);
        return Ok(Opened::Done(Ended::Batch));
    }
    let gap_end = header.base_offset.min(limits.offsets_end);
    if !out(Rule::GapCounted) {
        gains.counts.gap += limits.from.until(gap_end);
    }
    gains.next_offset = limits.from.max(gap_end);
    if header.base_offset >= limits.offsets_end {
        return Ok(Opened::Done(Ended::OffsetsMax));
    }
    let end = header.next_offset().min(limits.offsets_end);
    let offsets = gains.next_offset.until(end);
    match fate {
        BatchFate::Data => {
            let unpacked = inflate.unpack(&header, body)?;
            return Ok(Opened::Data(OpenBatch {
                header,
                place: Place::START,
                unpacked,
            }));
        }
        BatchFate::Control => gains.counts.control += offsets,
        BatchFate::Aborted => gains.counts.aborted += offsets,
    }
    gains.next_offset = end;
    Ok(Opened::Done(if end == header.next_offset() {
        Ended::Batch
    } else {
        Ended::OffsetsMax
    }))
}
