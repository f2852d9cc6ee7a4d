//! A Fetch response, read while it arrives.
//!
//! The caller owns the frame: one region into which the response is received from its first byte
//! (the correlation id; the four length bytes before it are not in it). After each read it calls
//! [`FrameReader::next`] with what is there so far, until that says `None`. Events carry ranges of
//! that region, never bytes, so that it may be moved between calls.
//!
//! Nothing is allocated, and no length is followed beyond the frame's. A record batch is reported
//! twice: when its header is there (the next fetch may then leave) and when it is whole. One that is
//! larger than the limit is reported by its length, before it is read.
//!
//! ```text
//! response  := head topic-count topic*  tags{0: endpoints}
//! topic     := (name | id) partition-count partition* tags
//! partition := index error high-watermark last-stable log-start aborted* replica
//!              size record-batch* [cut-off record batch]  tags{0: diverging, 1: current leader}
//! ```

use std::ops::Range;

use storage::ids::{Offset, TopicId};

use super::super::batch::{BatchFault, BatchHeader, HEADER_BYTES, LENGTH_END_BYTES};
use super::super::error::ErrorCode;
use super::super::transactions::Aborted;
use super::super::wire::{Reader, WireFault};
use super::{FLEXIBLE_FROM, TOPIC_ID_FROM, VERSION_MAX, VERSION_MIN};
use crate::limits::{ABORTED_MAX, BATCH_BYTES_MAX, HOST_BYTES_MAX, TAGS_MAX};

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
    /// More aborted transactions than [`ABORTED_MAX`].
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
    range: Range<usize>,
    count: usize,
    flexible: bool,
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

/// What [`FrameReader::next`] found.
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

#[derive(Clone, Debug)]
enum State {
    Head,
    Topics,
    Topic,
    Partition,
    /// Within the records, which end at the byte given.
    Records(usize),
    /// A batch whose header was reported, not whole yet.
    Body(usize, BatchRange),
    PartitionTags,
    TopicTags,
    Tags,
    /// Tagged fields left, then the endpoints left in this one and its end.
    Endpoints {
        tags: u32,
        endpoints: usize,
        end: usize,
    },
    End,
}

/// Reads one response. See the module's text.
#[derive(Clone, Debug)]
pub struct FrameReader {
    version: i16,
    correlation_id: i32,
    frame_bytes: usize,
    batch_bytes_max: usize,
    state: State,
    position: usize,
    topics: usize,
    partitions: usize,
    topic: TopicKey,
}

impl FrameReader {
    /// Begins on the response of `frame_bytes` to the request of that version and correlation id.
    #[must_use]
    pub fn new(version: i16, correlation_id: i32, frame_bytes: usize) -> FrameReader {
        FrameReader::with_batch_bytes_max(version, correlation_id, frame_bytes, BATCH_BYTES_MAX)
    }

    /// The same, with a limit of its own for one record batch.
    ///
    /// # Panics
    /// On a version that is not spoken: negotiation never yields one.
    #[must_use]
    pub fn with_batch_bytes_max(
        version: i16,
        correlation_id: i32,
        frame_bytes: usize,
        batch_bytes_max: usize,
    ) -> FrameReader {
        assert!((VERSION_MIN..=VERSION_MAX).contains(&version));
        FrameReader {
            version,
            correlation_id,
            frame_bytes,
            batch_bytes_max,
            state: State::Head,
            position: 0,
            topics: 0,
            partitions: 0,
            topic: TopicKey::Name(0..0),
        }
    }

    /// Bytes of the frame that were read past; those below it are only needed for ranges still held.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The next event in `frame`, the bytes received so far; `None` when more must arrive first.
    ///
    /// After [`FrameEvent::End`] it goes on saying so.
    ///
    /// # Errors
    /// [`FrameFault`]: close the connection. What was reported before stands.
    pub fn next(&mut self, frame: &[u8]) -> Result<Option<FrameEvent>, FrameFault> {
        let frame = &frame[..frame.len().min(self.frame_bytes)];
        loop {
            let mut reader = Reader::at(frame, self.position);
            let step = self.step(&mut reader, frame);
            match step {
                Ok(event) => {
                    self.position = reader.position();
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Err(Stop::Wire(WireFault::Truncated)) if frame.len() < self.frame_bytes => {
                    return Ok(None);
                }
                Err(Stop::Wire(fault)) => {
                    return Err(FrameFault::Malformed {
                        at_byte: self.position,
                        fault,
                    });
                }
                Err(Stop::Frame(fault)) => return Err(fault),
            }
        }
    }

    /// One transition. `Ok(None)` is one without an event; on an error nothing has changed.
    fn step(&mut self, reader: &mut Reader<'_>, frame: &[u8]) -> Result<Option<FrameEvent>, Stop> {
        let flexible = self.version >= FLEXIBLE_FROM;
        match self.state.clone() {
            State::Head => {
                let head = self.read_head(reader, flexible)?;
                self.state = State::Topics;
                Ok(Some(FrameEvent::Response(head)))
            }
            State::Topics => {
                self.topics = reader.count_unchecked(flexible)?.unwrap_or(0);
                self.state = State::Topic;
                Ok(None)
            }
            State::Topic => {
                if self.topics == 0 {
                    self.state = State::Tags;
                    return Ok(None);
                }
                let topic = self.read_topic(reader, flexible)?;
                self.partitions = reader.count_unchecked(flexible)?.unwrap_or(0);
                self.topic = topic;
                self.topics -= 1;
                self.state = State::Partition;
                Ok(None)
            }
            State::Partition => {
                if self.partitions == 0 {
                    self.state = State::TopicTags;
                    return Ok(None);
                }
                let head = self.read_partition(reader, flexible)?;
                let end = reader.position() + head.records_bytes;
                if end > self.frame_bytes {
                    return Err(Stop::Wire(WireFault::CountTooLarge(
                        head.records_bytes as u64,
                    )));
                }
                self.partitions -= 1;
                self.state = State::Records(end);
                Ok(Some(FrameEvent::Partition(head)))
            }
            State::Records(end) => self.step_records(reader, frame, end),
            State::Body(end, batch) => {
                reader.take(batch.end - reader.position())?;
                self.state = State::Records(end);
                Ok(Some(FrameEvent::Batch(batch)))
            }
            State::PartitionTags => {
                let end = read_partition_tags(reader, flexible)?;
                self.state = State::Partition;
                Ok(Some(FrameEvent::PartitionEnd(end)))
            }
            State::TopicTags => {
                skip_tags(reader, flexible)?;
                self.state = State::Topic;
                Ok(None)
            }
            State::Tags => {
                let tags = if flexible { reader.uvarint()? } else { 0 };
                check_tags(tags)?;
                self.state = State::Endpoints {
                    tags,
                    endpoints: 0,
                    end: reader.position(),
                };
                Ok(None)
            }
            State::Endpoints {
                tags,
                endpoints,
                end,
            } => self.step_endpoints(reader, tags, endpoints, end),
            State::End => match self.frame_bytes - reader.position() {
                0 => Ok(Some(FrameEvent::End)),
                bytes => Err(Stop::Frame(FrameFault::TrailingBytes { bytes })),
            },
        }
    }

    fn read_head(&self, reader: &mut Reader<'_>, flexible: bool) -> Result<ResponseHead, Stop> {
        let got = reader.i32()?;
        if got != self.correlation_id {
            return Err(Stop::Frame(FrameFault::Correlation {
                got,
                expected: self.correlation_id,
            }));
        }
        skip_tags(reader, flexible)?;
        let throttle_ms = reader.i32()?;
        let (error, session_id) = if self.version >= 7 {
            (reader.i16()?, reader.i32()?)
        } else {
            (0, 0)
        };
        Ok(ResponseHead {
            throttle_ms,
            error: error.into(),
            session_id,
        })
    }

    fn read_topic(&self, reader: &mut Reader<'_>, flexible: bool) -> Result<TopicKey, Stop> {
        if self.version >= TOPIC_ID_FROM {
            return Ok(TopicKey::Id(reader.uuid()?));
        }
        let name = reader.string(flexible)?.unwrap_or_default();
        let end = reader.position();
        Ok(TopicKey::Name(end - name.len()..end))
    }

    fn read_partition(
        &self,
        reader: &mut Reader<'_>,
        flexible: bool,
    ) -> Result<PartitionHead, Stop> {
        let partition = reader.i32()?;
        let error = reader.i16()?.into();
        let high_watermark = reader.i64()?;
        let last_stable_offset = reader.i64()?;
        let log_start_offset = if self.version >= 5 { reader.i64()? } else { -1 };
        let count = reader.count_unchecked(flexible)?.unwrap_or(0);
        if count > ABORTED_MAX {
            return Err(Stop::Frame(FrameFault::TooManyAborted { count }));
        }
        let start = reader.position();
        // Asked at once, so that a list that is still arriving is not read over and over.
        if reader.remaining() < count * if flexible { 17 } else { 16 } {
            return Err(Stop::Wire(WireFault::Truncated));
        }
        for _ in 0..count {
            read_aborted(reader, flexible)?;
        }
        let aborted = AbortedList {
            range: start..reader.position(),
            count,
            flexible,
        };
        if self.version >= 11 {
            reader.i32()?; // preferred read replica: we fetch from leaders
        }
        let records_bytes = reader.count_unchecked(flexible)?.unwrap_or(0);
        Ok(PartitionHead {
            topic: self.topic.clone(),
            partition,
            error,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            aborted,
            records_bytes,
        })
    }

    /// At the start of a batch, or at the end of the records.
    fn step_records(
        &mut self,
        reader: &mut Reader<'_>,
        frame: &[u8],
        end: usize,
    ) -> Result<Option<FrameEvent>, Stop> {
        let start = reader.position();
        let left = end - start;
        if left == 0 {
            self.state = State::PartitionTags;
            return Ok(None);
        }
        let there = &frame[start.min(frame.len())..end.min(frame.len())];
        if left < LENGTH_END_BYTES {
            self.pass_over(reader, end, end);
            return Ok(Some(FrameEvent::CutOff { size_bytes: None }));
        }
        if there.len() < LENGTH_END_BYTES {
            return Err(Stop::Wire(WireFault::Truncated));
        }
        let header_is_there = there.len() >= HEADER_BYTES.min(left);
        let size_bytes = match BatchHeader::peek_size_bytes(there) {
            Ok(size_bytes) => size_bytes,
            Err(_) if !header_is_there => return Err(Stop::Wire(WireFault::Truncated)),
            // An old format's length may make no sense for ours: its magic says so first.
            Err(fault) => {
                let fault = BatchHeader::parse(there).err().unwrap_or(fault);
                self.pass_over(reader, end, end);
                return Ok(Some(FrameEvent::Spoiled(fault)));
            }
        };
        if size_bytes > self.batch_bytes_max {
            let base_offset = Offset(Reader::new(there).i64()?);
            self.pass_over(reader, end.min(start.saturating_add(size_bytes)), end);
            return Ok(Some(FrameEvent::Oversize {
                base_offset,
                size_bytes,
            }));
        }
        if size_bytes > left {
            self.pass_over(reader, end, end);
            return Ok(Some(FrameEvent::CutOff {
                size_bytes: Some(size_bytes),
            }));
        }
        if !header_is_there {
            return Err(Stop::Wire(WireFault::Truncated));
        }
        match BatchHeader::parse(there) {
            Err(fault) => {
                self.pass_over(reader, end, end);
                Ok(Some(FrameEvent::Spoiled(fault)))
            }
            Ok(header) => {
                let last_of_partition = size_bytes == left;
                let batch = BatchRange {
                    header,
                    start,
                    end: start + size_bytes,
                    last_of_partition,
                    last_of_frame: last_of_partition && self.topics == 0 && self.partitions == 0,
                };
                self.state = State::Body(end, batch);
                Ok(Some(FrameEvent::BatchBegun(batch)))
            }
        }
    }

    /// Goes on at `to` in the records that end at `end`. The bytes need not be there yet: a reader past
    /// its end is truncated at its next read.
    fn pass_over(&mut self, reader: &mut Reader<'_>, to: usize, end: usize) {
        reader.skip_to(to);
        self.state = State::Records(end);
    }

    fn step_endpoints(
        &mut self,
        reader: &mut Reader<'_>,
        tags: u32,
        endpoints: usize,
        end: usize,
    ) -> Result<Option<FrameEvent>, Stop> {
        if endpoints > 0 {
            let node_id = reader.i32()?;
            let host = reader.string(true)?.unwrap_or_default();
            let host_end = reader.position();
            let host = host_end - host.len()..host_end;
            let port = reader.i32()?;
            reader.string(true)?; // rack
            skip_tags(reader, true)?;
            if reader.position() > end || host.len() > HOST_BYTES_MAX {
                return Err(Stop::Wire(WireFault::CountTooLarge(endpoints as u64)));
            }
            self.state = State::Endpoints {
                tags,
                endpoints: endpoints - 1,
                end,
            };
            // A port out of range is no address: the aggregator will be asked instead.
            return Ok(u16::try_from(port).ok().map(|port| {
                FrameEvent::Endpoint(NodeEndpoint {
                    node_id,
                    host,
                    port,
                })
            }));
        }
        // Whatever a tag holds beyond what we know is passed over by its size.
        let left = end.checked_sub(reader.position()).unwrap_or_default();
        reader.take(left)?;
        if tags == 0 {
            self.state = State::End;
            return Ok(None);
        }
        let tag = reader.uvarint()?;
        let size = reader.uvarint()? as usize;
        let end = reader.position().saturating_add(size);
        if end > self.frame_bytes {
            return Err(Stop::Wire(WireFault::CountTooLarge(size as u64)));
        }
        let endpoints = if tag == 0 && self.version >= 16 && size > 0 {
            reader.count_unchecked(true)?.unwrap_or(0)
        } else {
            0
        };
        // The smallest endpoint is 11 bytes.
        if endpoints.saturating_mul(11) > size {
            return Err(Stop::Wire(WireFault::CountTooLarge(endpoints as u64)));
        }
        self.state = State::Endpoints {
            tags: tags - 1,
            endpoints,
            end,
        };
        Ok(None)
    }
}

/// Why a transition did not happen.
enum Stop {
    Wire(WireFault),
    Frame(FrameFault),
}

impl From<WireFault> for Stop {
    fn from(fault: WireFault) -> Stop {
        Stop::Wire(fault)
    }
}

fn check_tags(count: u32) -> Result<(), WireFault> {
    if count > TAGS_MAX {
        return Err(WireFault::CountTooLarge(count.into()));
    }
    Ok(())
}

fn skip_tags(reader: &mut Reader<'_>, flexible: bool) -> Result<(), WireFault> {
    if flexible {
        check_tags(reader.clone().uvarint()?)?;
        reader.skip_tags(true)?;
    }
    Ok(())
}

fn read_aborted(reader: &mut Reader<'_>, flexible: bool) -> Result<Aborted, WireFault> {
    let producer_id = reader.i64()?;
    let first_offset = Offset(reader.i64()?);
    skip_tags(reader, flexible)?;
    Ok(Aborted {
        producer_id,
        first_offset,
    })
}

fn read_partition_tags(reader: &mut Reader<'_>, flexible: bool) -> Result<PartitionEnd, WireFault> {
    let mut end = PartitionEnd::default();
    if !flexible {
        return Ok(end);
    }
    check_tags(reader.clone().uvarint()?)?;
    reader.tags(|tag, bytes| {
        // A tag's own end is no reason to wait for more of the frame.
        let whole = |fault| match fault {
            WireFault::Truncated => WireFault::NegativeLength(-1),
            fault => fault,
        };
        let mut field = Reader::new(bytes);
        match tag {
            0 => {
                end.diverging = Some(Diverging {
                    epoch: field.i32().map_err(whole)?,
                    end_offset: Offset(field.i64().map_err(whole)?),
                });
            }
            1 => {
                end.current_leader = Some(CurrentLeader {
                    leader_id: field.i32().map_err(whole)?,
                    leader_epoch: field.i32().map_err(whole)?,
                });
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(end)
}
