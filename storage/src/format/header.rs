//! A segment's header: the magic, and the schema message with the header record behind its flatbuffer.

use std::sync::Arc;

use crate::format::record::SegmentId;
use crate::ids::{Lineage, Offset, Sequence, TableId, TopicId};
use crate::schema::Schema;

/// What a segment is: all that is needed to attach its file without a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The file's identity.
    pub id: SegmentId,
    /// The table.
    pub table: TableId,
    /// The Kafka partition: the constant of `_partition`.
    pub kafka_partition: i32,
    /// The topic.
    pub topic_id: TopicId,
    /// The lineage: one a segment.
    pub lineage: Lineage,
    /// Where the segment begins: the first offset of its first commit.
    pub first_offset: Offset,
    /// The number of its first commit.
    pub first_commit_number: u64,
    /// When it was created, ms since 1970.
    pub created_unix_ms: i64,
    /// The segment before it; none for the first, or where none is durable.
    pub prev: Option<Predecessor>,
    /// The columns.
    pub schema: Arc<Schema>,
}

/// The segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its place.
    pub sequence: Sequence,
    /// Its lineage.
    pub lineage: Lineage,
    /// Where its content ends: the next offset of its last commit that counts.
    pub next_offset: Offset,
}

/// A header as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedHeader {
    /// What it says.
    pub header: SegmentHeader,
    /// Bytes that it takes: the first commit begins there.
    pub bytes: u32,
    /// Its CRC-32, which every commit record repeats.
    pub crc: u32,
}

/// Bytes to read before [`header_bytes`] can tell the length.
pub const HEADER_PREFIX_BYTES: usize = 16;
