//! Bytes to records: everything that knows Kafka's wire.
//!
//! Sans-io throughout: bytes in, values out. Nothing here opens a socket, reads a clock or follows a
//! length before it was compared with the bytes that are there. What a broker sends may be wrong in
//! any way; it then is an error with a name, never a panic and never more memory than a named limit.
//!
//! - [`wire`]: the primitive types, bounded.
//! - [`error`]: Kafka's error codes and what each asks of us.
//! - [`batch`], [`records`], [`decompress`], [`transactions`]: the record batch.
//! - [`build`]: record batches as a producer writes them, for the simulated and the development broker.
//! - [`fetch`]: the Fetch request, and the response as it arrives.
//! - [`requests`]: everything else that is asked of a broker.

pub mod wire;

pub mod error;

pub mod batch;
pub mod build;
pub mod decompress;
pub mod records;
pub mod transactions;

pub mod fetch;
pub mod requests;

pub use batch::{BatchFault, BatchHeader, Codec, TimestampType};
pub use build::BatchBuilder;
pub use decompress::{CodecFault, Decompressor, Unpacked};
pub use error::ErrorCode;
pub use records::{Place, Record, RecordFault, Records};
pub use transactions::{Aborted, AbortedFilter, BatchFate, Marker};

#[cfg(test)]
mod tests;
