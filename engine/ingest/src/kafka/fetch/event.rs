//! What a Fetch response says, event by event, and why it cannot be read on.

use std::ops::Range;

use storage::ids::{Offset, TopicId};

use super::super::batch::{BatchFault, BatchHeader};
use super::super::error::ErrorCode;
use super::super::transactions::Aborted;
use super::super::wire::{Reader, WireFault};
use super::frame::read_aborted;

/// The whole frame by its four length bytes, which are not part of it.
///
/// # Errors
/// A length that no response has. Whether there is room for it is the caller's question.
pub fn frame_size_bytes(length: [u8; 4]) -> Result<usize, FrameFault> {
    match i32::from_be_bytes(length) {
        length if length < 4 => Err(FrameFault::BadFrameLength { length }),
        length => Ok(length as usize),
    }
}

/// Why a response cannot be read on: the connection is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// A frame's length below a header's.
    #[error("a response of {length} bytes")]
    BadFrameLength {
        /// As read.
        length: i32,
    },
    /// The answer to another question.
    #[error("a response to request {got}, expected {expected}")]
    Correlation {
        /// As read.
        got: i32,
        /// As sent.
        expected: i32,
    },
    /// A field contradicts its type or the frame's end.
    #[error("the response is malformed at byte {at_byte}: {fault}")]
    Malformed {
        /// Of the frame.
        at_byte: usize,
        /// How.
        fault: WireFault,
    },
    /// More aborted transactions than [`crate::limits::ABORTED_MAX`].
    #[error("{count} aborted transactions in one partition's response")]
    TooManyAborted {
        /// As read.
        count: usize,
    },
    /// Bytes are left when the response is read.
    #[error("{bytes} bytes after the end of the response")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

/// The response's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The broker asks us to be silent for so long.
    pub throttle_ms: i32,
    /// Of the request as a whole.
    pub error: ErrorCode,
    /// 0 without a session.
    pub session_id: i32,
}

/// How the response names a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicKey {
    /// From version 13 on.
    Id(TopicId),
    /// Before: a range of the frame, UTF-8.
    Name(Range<usize>),
}

/// A partition's aborted transactions, where they lie in the frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbortedList {
    pub(super) range: Range<usize>,
    pub(super) count: usize,
    pub(super) flexible: bool,
}

impl AbortedList {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reads them out of the frame that they came in. They were checked when they arrived.
    pub fn read<'a>(&self, frame: &'a [u8]) -> impl Iterator<Item = Aborted> + use<'a> {
        let mut reader = Reader::new(frame.get(self.range.clone()).unwrap_or_default());
        let flexible = self.flexible;
        (0..self.count).map_while(move |_| read_aborted(&mut reader, flexible).ok())
    }
}

/// What stands before a partition's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionHead {
    /// The topic.
    pub topic: TopicKey,
    /// The partition's index.
    pub partition: i32,
    /// Of this partition.
    pub error: ErrorCode,
    /// The log's end as far as it is replicated; -1 unknown.
    pub high_watermark: i64,
    /// The log's end as far as no transaction is open; -1 unknown. Lag and caught-up mean this one.
    pub last_stable_offset: i64,
    /// The log's start; -1 before version 5.
    pub log_start_offset: i64,
    /// For [`super::super::AbortedFilter::begin`]; empty for read_uncommitted.
    pub aborted: AbortedList,
    /// Bytes of records that follow.
    pub records_bytes: usize,
}

/// A record batch in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRange {
    /// Parsed and checked for sense; the checksum is not checked yet.
    pub header: BatchHeader,
    /// Its first byte in the frame.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// No byte of records follows it in this partition.
    pub last_of_partition: bool,
    /// No byte of records follows it in the frame: the next fetch may leave.
    pub last_of_frame: bool,
}

impl BatchRange {
    /// As a range of the frame.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// Our log and the broker's differ: its epoch ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverging {
    /// The largest epoch of the broker not above the one we named.
    pub epoch: i32,
    /// Its end.
    pub end_offset: Offset,
}

/// Who leads now, for an answer of "not I".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker's id; -1 nobody.
    pub leader_id: i32,
    /// The epoch; -1 unknown.
    pub leader_epoch: i32,
}

/// What stands behind a partition's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionEnd {
    /// From version 12 on.
    pub diverging: Option<Diverging>,
    /// From version 12 on, with an error of the leader.
    pub current_leader: Option<CurrentLeader>,
}

/// A broker's address, from version 16 on, for the leaders named in [`PartitionEnd`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker's id.
    pub node_id: i32,
    /// Its host: a range of the frame, UTF-8.
    pub host: Range<usize>,
    /// Its port.
    pub port: u16,
}

/// What [`super::FrameReader::next`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// The response's own fields.
    Response(ResponseHead),
    /// A partition begins.
    Partition(PartitionHead),
    /// A batch's header is there, its body perhaps not yet.
    BatchBegun(BatchRange),
    /// A batch is there, whole.
    Batch(BatchRange),
    /// The broker cut the last batch off: fetch it from its own offset, next time. Its size, where
    /// enough of it is there to tell.
    CutOff {
        /// Of the whole batch.
        size_bytes: Option<usize>,
    },
    /// A batch larger than the limit; its bytes are passed over.
    Oversize {
        /// Its first offset.
        base_offset: Offset,
        /// Of the whole batch.
        size_bytes: usize,
    },
    /// A header that makes no sense, so that the rest of this partition's records is passed over.
    Spoiled(BatchFault),
    /// A partition ends.
    PartitionEnd(PartitionEnd),
    /// A broker's address.
    Endpoint(NodeEndpoint),
    /// The response ends.
    End,
}
