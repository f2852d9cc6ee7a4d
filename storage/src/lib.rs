//! Storage: blocks, segments, recovery. No Kafka, no SQL.
//!
//! A leaf partition's rows are first visible in a block, then committed to a segment, then durable.
//! In reading order: `limits`, the plain types, the byte layouts, the block, the segment and what a
//! query sees of it, then the disk, the machine that writes and the recovery that repairs.

pub mod limits;

pub mod counts;
pub mod error;
pub mod ids;
pub mod schema;

pub mod format;

mod array;
pub mod block;
mod block_layout;
pub mod content;
pub mod map;
pub mod pool;
pub mod published;
pub mod segment;
pub mod segment_concat;
pub mod statistics;
mod sync;

pub mod inspect;

pub mod disk;
pub mod merge;
pub mod recovery;
pub mod store;

pub mod planted;
