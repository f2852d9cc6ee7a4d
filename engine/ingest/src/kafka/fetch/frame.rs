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

use storage::ids::Offset;

use super::super::batch::{BatchHeader, HEADER_BYTES, LENGTH_END_BYTES};
use super::super::transactions::Aborted;
use super::super::wire::{Reader, WireFault};
use super::event::{
    AbortedList, BatchRange, CurrentLeader, Diverging, FrameEvent, FrameFault, NodeEndpoint,
    PartitionEnd, PartitionHead, ResponseHead, TopicKey,
};
use super::{FLEXIBLE_FROM, TOPIC_ID_FROM, VERSION_MAX, VERSION_MIN};
use crate::limits::{ABORTED_MAX, BATCH_BYTES_MAX, BROKERS_MAX, HOST_BYTES_MAX, TAGS_MAX};

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
    /// Endpoints that its tags told of so far.
    endpoints: usize,
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
            endpoints: 0,
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
        let left = end.saturating_sub(reader.position());
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
        self.endpoints = self.endpoints.saturating_add(endpoints);
        // The smallest endpoint is 11 bytes.
        if endpoints.saturating_mul(11) > size || self.endpoints > BROKERS_MAX {
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

pub(super) fn read_aborted(reader: &mut Reader<'_>, flexible: bool) -> Result<Aborted, WireFault> {
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
