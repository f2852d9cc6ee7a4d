//! Fetch: the request as it leaves, and the response as it arrives. Versions 4 to 17.
//!
//! [`request`] appends one request to a reused buffer, without an allocation of its own. [`frame`]
//! reads a response that is still arriving, so that a record batch can be decoded before the next one
//! is there; [`event`] has what it finds. [`response`] writes one, for the development broker and the
//! simulated one. [`session`] has the rules by which a request names only what changed. From version 12 on the encoding is flexible, from 13 on topics go by id.

pub mod event;
pub mod frame;
pub mod request;
pub mod response;
pub mod session;

pub use event::{
    AbortedList, BatchRange, CurrentLeader, Diverging, FrameEvent, FrameFault, NodeEndpoint,
    PartitionEnd, PartitionHead, ResponseHead, TopicKey, frame_size_bytes,
};
pub use frame::FrameReader;
pub use request::{FetchPartition, FetchRequest, Forgotten, encode, encode_changes};
pub use response::{FetchResponse, ResponsePartition, encode_response};
pub use session::{FetchSession, SESSION_FROM, SessionAnswer, SessionFault, SessionPlace};

/// The oldest version spoken: message format 2 came with it.
pub const VERSION_MIN: i16 = 4;
/// The newest version spoken.
pub const VERSION_MAX: i16 = 17;
/// From here on the encoding is flexible.
pub(crate) const FLEXIBLE_FROM: i16 = 12;
/// From here on topics go by id.
pub const TOPIC_ID_FROM: i16 = 13;
