//! `fetch_response`: a Fetch response that arrives cut anywhere, then its record batches.
//!
//! Input: version | bits of [`How`] | seed of the cuts | the frame, as a broker sends it behind its
//! length. The correlation id is taken from the frame, so that what follows it is read at all.

use ingest::kafka::fetch::{
    BatchRange, FrameEvent, FrameFault, FrameReader, PartitionHead, TopicKey, VERSION_MAX,
    VERSION_MIN,
};
use ingest::limits::BATCH_BYTES_MAX;

use crate::batch::{self, Walk};
use crate::bounds::within;
use crate::input::{Input, Random};

/// Bits of the second byte: 0 and 1 choose what a record batch may have, 2 asks for another correlation
/// id, 3 and 4 choose how large the pieces are.
struct How(u8);

impl How {
    fn batch_bytes_max(&self) -> usize {
        [BATCH_BYTES_MAX, 4_096, 256, 61][usize::from(self.0 & 3)]
    }

    fn other_correlation_id(&self) -> bool {
        self.0 & 4 != 0
    }

    fn piece_bytes_max(&self) -> usize {
        [1, 16, 128, 4_096][usize::from(self.0 >> 3 & 3)]
    }
}

/// What was read, to the end or a fault.
type Read = (Vec<FrameEvent>, Option<FrameFault>);

/// The body.
pub fn fetch_response(data: &[u8]) {
    let mut input = Input::new(data);
    let versions = usize::from((VERSION_MAX - VERSION_MIN) as u16) + 1;
    let version = VERSION_MIN + input.below(versions) as i16;
    let how = How(input.byte());
    let seed = input.byte();
    let frame = input.rest();
    let first = frame
        .first_chunk()
        .map_or(0, |four| i32::from_be_bytes(*four));
    let correlation_id = first ^ i32::from(how.other_correlation_id());
    let reader = || {
        FrameReader::with_batch_bytes_max(
            version,
            correlation_id,
            frame.len(),
            how.batch_bytes_max(),
        )
    };
    // The reader itself allocates nothing; this is our own list of events.
    let event_bytes = 2 * size_of::<FrameEvent>();
    let bytes_max = (frame.len() + 64) * event_bytes;
    let whole = within(bytes_max, "reading the frame", || at_once(reader(), frame));
    let pieces = in_pieces(reader(), frame, how.piece_bytes_max(), seed);
    assert_eq!(pieces, whole, "read as it arrives, and at once");
    inspect(frame, &whole.0);
}

fn at_once(mut reader: FrameReader, frame: &[u8]) -> Read {
    let mut events = Vec::new();
    loop {
        match reader.next(frame) {
            Ok(Some(FrameEvent::End)) => {
                assert_eq!(reader.position(), frame.len());
                events.push(FrameEvent::End);
                return (events, None);
            }
            Ok(Some(event)) => events.push(event),
            Ok(None) => panic!("waits for more of a frame that is all there"),
            Err(fault) => return (events, Some(fault)),
        }
        // Each but a record batch's second event stands for a byte of its own at least.
        assert!(events.len() <= 2 * frame.len() + 2, "goes on without end");
    }
}

fn in_pieces(mut reader: FrameReader, frame: &[u8], piece_bytes_max: usize, seed: u8) -> Read {
    let mut random = Random::new(seed.into());
    let mut events = Vec::new();
    let mut there = 0;
    loop {
        match reader.next(&frame[..there]) {
            Ok(Some(FrameEvent::End)) => {
                events.push(FrameEvent::End);
                assert_eq!(there, frame.len(), "ends before its last byte is there");
                return (events, None);
            }
            Ok(Some(event)) => {
                if let FrameEvent::Batch(batch) = &event {
                    assert!(batch.end <= there, "whole before it is there");
                }
                events.push(event);
            }
            Ok(None) => {
                assert!(there < frame.len(), "waits for more than there is");
                there = (there + 1 + random.below(piece_bytes_max)).min(frame.len());
            }
            Err(fault) => return (events, Some(fault)),
        }
    }
}

/// Whatever an event points at lies in the frame, in order.
fn inspect(frame: &[u8], events: &[FrameEvent]) {
    let mut walk = Walk::new(1 << 20);
    let mut begun: Option<BatchRange> = None;
    let mut last_end = 0;
    for event in events {
        match event {
            FrameEvent::Partition(head) => {
                partition(frame, head);
                walk.begin(head.aborted.read(frame));
            }
            FrameEvent::BatchBegun(batch) => {
                assert!(begun.is_none() && last_end <= batch.start);
                assert!(batch.end <= frame.len() && batch.start < batch.end);
                assert_eq!(batch.header.size_bytes(), batch.range().len());
                begun = Some(*batch);
            }
            FrameEvent::Batch(batch) => {
                assert_eq!(begun.take(), Some(*batch), "begun, then whole");
                last_end = batch.end;
                walk.batch(&frame[batch.range()]);
            }
            FrameEvent::Endpoint(endpoint) => {
                let host = &frame[endpoint.host.clone()];
                assert!(std::str::from_utf8(host).is_ok());
            }
            FrameEvent::Oversize { size_bytes, .. } => {
                assert!(*size_bytes > batch::HEADER_BYTES - 1);
            }
            FrameEvent::Response(_)
            | FrameEvent::CutOff { .. }
            | FrameEvent::Spoiled(_)
            | FrameEvent::PartitionEnd(_)
            | FrameEvent::End => {}
        }
    }
}

fn partition(frame: &[u8], head: &PartitionHead) {
    if let TopicKey::Name(range) = &head.topic {
        assert!(std::str::from_utf8(&frame[range.clone()]).is_ok());
    }
    assert_eq!(head.aborted.read(frame).count(), head.aborted.len());
    assert!(head.records_bytes <= frame.len());
}
