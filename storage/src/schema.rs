//! A table's columns as storage sees them: physical types, and an annotation that it only carries.
//!
//! SQL types live to the right of this crate; `annotation` is the SQL type's text, kept in the
//! segment's schema so that a directory can be moved and attached without a catalog.

use std::sync::Arc;

/// How one column's values lie in memory and on disk. Arrow's types, the few that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Physical {
    /// Arrow Int8: 1 byte.
    Int8,
    /// Arrow Int16: 2 bytes.
    Int16,
    /// Arrow Int32: 4 bytes.
    Int32,
    /// Arrow Int64: 8 bytes.
    Int64,
    /// Arrow UInt8: 1 byte.
    UInt8,
    /// Arrow UInt16: 2 bytes.
    UInt16,
    /// Arrow UInt32: 4 bytes.
    UInt32,
    /// Arrow UInt64: 8 bytes.
    UInt64,
    /// Arrow Float32: 4 bytes.
    Float32,
    /// Arrow Float64: 8 bytes.
    Float64,
    /// Arrow Decimal128: 16 bytes, `1 <= precision <= 38`, `0 <= scale <= precision`.
    Decimal128 {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// Arrow Date32: days since 1970-01-01, 4 bytes.
    Date32,
    /// Arrow Timestamp without a zone, 8 bytes; read as UTC.
    Timestamp(TimeUnit),
    /// Arrow Utf8: i32 offsets and the bytes.
    Utf8,
}

/// A timestamp's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// DATETIME(0).
    Second,
    /// DATETIME(3).
    Millisecond,
    /// DATETIME(6).
    Microsecond,
}

impl Physical {
    /// Bytes a value takes; `None` for strings.
    #[must_use]
    pub const fn width(self) -> Option<usize> {
        match self {
            Physical::Int8 | Physical::UInt8 => Some(1),
            Physical::Int16 | Physical::UInt16 => Some(2),
            Physical::Int32 | Physical::UInt32 | Physical::Float32 | Physical::Date32 => Some(4),
            Physical::Int64 | Physical::UInt64 | Physical::Float64 | Physical::Timestamp(_) => {
                Some(8)
            }
            Physical::Decimal128 { .. } => Some(16),
            Physical::Utf8 => None,
        }
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name as the user wrote it; unique in its table without regard to case.
    pub name: String,
    /// How its values lie.
    pub physical: Physical,
    /// Whether NULL may stand in it.
    pub nullable: bool,
    /// The SQL type's text, carried in the Arrow field's metadata and not interpreted here.
    pub annotation: String,
}

/// A table's columns at one version, in order, without the hidden ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Counts the ALTERs of the table; the first is 1.
    pub version: u32,
    /// The user's columns. `_offset` and `_timestamp` follow them in every block and segment.
    pub columns: Arc<[Column]>,
}

/// The hidden column that holds each row's Kafka offset: Int64, never NULL, the last but one.
pub const OFFSET_COLUMN: &str = "_offset";
/// The hidden column that holds each message's timestamp: Int64, ms since 1970, never NULL, the last.
pub const TIMESTAMP_COLUMN: &str = "_timestamp";
/// The hidden column that is constant in a leaf partition and stands in the segment's header.
pub const PARTITION_COLUMN: &str = "_partition";
