//! A bound parameter of a prepared statement, and what PREPARE answers.

use super::answer::ResultColumn;

/// A parameter's value as a client bound it, in the binary protocol's types.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    UInt(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// Text, DECIMAL and blobs alike: the wire does not tell them apart, the bytes do.
    Bytes(Vec<u8>),
    /// DATE, DATETIME or TIMESTAMP; a DATE has zeros behind its day.
    Date {
        /// 0 to 9999.
        year: u16,
        /// 0 to 12.
        month: u8,
        /// 0 to 31.
        day: u8,
        /// 0 to 23.
        hour: u8,
        /// 0 to 59.
        minute: u8,
        /// 0 to 59.
        second: u8,
        /// 0 to 999,999.
        micros: u32,
        /// Whether the client sent a time of day (DATETIME, TIMESTAMP) or none (DATE).
        has_time: bool,
    },
    /// TIME.
    Time {
        /// Below zero.
        negative: bool,
        /// Whole days.
        days: u32,
        /// 0 to 23.
        hours: u8,
        /// 0 to 59.
        minutes: u8,
        /// 0 to 59.
        seconds: u8,
        /// 0 to 999,999.
        micros: u32,
    },
}

/// A prepared statement, as COM_STMT_PREPARE answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its id in this session, counted from 1 and never used again.
    pub id: u32,
    /// How many `?` it has.
    pub params: u16,
    /// The columns of its result; empty for a statement without one.
    pub columns: Vec<ResultColumn>,
}
