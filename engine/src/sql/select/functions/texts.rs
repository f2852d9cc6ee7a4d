//! Strings that a function makes, one array of them at a time, each byte reserved before it is made.
//!
//! What was reserved goes with the array: it is given back when nobody holds the array any more. A
//! string is at most [`STRING_RESULT_BYTES_MAX`], an array at most [`STRING_BATCH_BYTES_MAX`].

use std::fmt;
use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;

use crate::limits::{STRING_BATCH_BYTES_MAX, STRING_RESULT_BYTES_MAX};
use crate::sql::error::{Code, SqlError};
use crate::sql::select::fault::wrap;
use crate::sql::select::memory::Purse;

/// An array of strings in the making.
pub(super) struct Texts {
    name: &'static str,
    memory: MemoryReservation,
    bytes: Vec<u8>,
    /// Where the string that is being made begins.
    begun: usize,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    /// What `write!` cannot say.
    fault: Option<DataFusionError>,
}

impl Texts {
    /// For `rows` strings that the function `name` makes.
    pub(super) fn new(purse: &Purse, name: &'static str, rows: usize) -> Texts {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Texts {
            name,
            memory: purse.open(name),
            bytes: Vec::new(),
            begun: 0,
            offsets,
            nulls: NullBufferBuilder::new(rows),
            fault: None,
        }
    }

    /// Makes an array of a string a row: `of` appends to it, and says whether it is one or NULL.
    ///
    /// # Errors
    /// `of`'s, and what [`Texts::push`] says.
    pub(super) fn collect(
        purse: &Purse,
        name: &'static str,
        rows: usize,
        mut of: impl FnMut(usize, &mut Texts) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut texts = Texts::new(purse, name, rows);
        for row in 0..rows {
            let is_value = of(row, &mut texts)?;
            texts.end(is_value);
        }
        texts.finish()
    }

    /// Appends to the string.
    ///
    /// # Errors
    /// 1301 where it becomes longer than one may be, 1038 without memory for it.
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.room(text.len())?;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Appends a text so many times.
    ///
    /// # Errors
    /// As [`Texts::push`].
    pub(super) fn repeat(&mut self, text: &str, times: usize) -> Result<()> {
        if text.is_empty() || times == 0 {
            return Ok(());
        }
        let wanted = text.len().saturating_mul(times);
        self.room(wanted)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text.as_bytes());
        while self.bytes.len() < start + wanted {
            let made = self.bytes.len() - start;
            let more = made.min(wanted - made);
            self.bytes.extend_from_within(start..start + more);
        }
        Ok(())
    }

    /// Ends the string; what was appended to one that is NULL is dropped.
    fn end(&mut self, is_value: bool) {
        if !is_value {
            self.bytes.truncate(self.begun);
        }
        self.begun = self.bytes.len();
        // `room` keeps it below what an offset can count.
        self.offsets
            .push(i32::try_from(self.begun).unwrap_or(i32::MAX));
        self.nulls.append(is_value);
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let capacity = self.bytes.capacity();
        if self.bytes.len() < capacity - capacity / 4 {
            self.bytes.shrink_to_fit();
            self.memory.shrink(capacity - self.bytes.capacity());
        }
        let values = owned(self.bytes, self.memory);
        let offsets = OffsetBuffer::new(self.offsets.into());
        let array = StringArray::try_new(offsets, values, self.nulls.finish())?;
        Ok(Arc::new(array))
    }

    /// Makes sure that so many bytes more may be appended.
    fn room(&mut self, more: usize) -> Result<()> {
        bounded(
            (self.bytes.len() - self.begun).saturating_add(more),
            self.name,
        )?;
        let (needed, capacity) = (self.bytes.len() + more, self.bytes.capacity());
        if needed <= capacity {
            return Ok(());
        }
        if needed > STRING_BATCH_BYTES_MAX {
            return Err(wrap(SqlError::new(
                Code::OutOfMemory,
                format!(
                    "Out of memory for queries: the strings of one batch may have \
                     {STRING_BATCH_BYTES_MAX} bytes"
                ),
            )));
        }
        // While the bytes move, the old place and the new one are there.
        let wanted = needed.max((capacity * 2).min(STRING_BATCH_BYTES_MAX));
        let wanted = match self.memory.try_grow(wanted) {
            Ok(()) => wanted,
            Err(_) => {
                self.memory.try_grow(needed)?;
                needed
            }
        };
        self.bytes.reserve_exact(wanted - self.bytes.len());
        self.memory.shrink(capacity);
        Ok(())
    }

    /// What kept a `write!` from being written.
    pub(super) fn written(&mut self, outcome: fmt::Result) -> Result<()> {
        match (outcome, self.fault.take()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(fault)) => Err(fault),
            (Err(_), None) => datafusion::common::internal_err!("a text that cannot be written"),
        }
    }
}

impl fmt::Write for Texts {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text).map_err(|fault| {
            self.fault = Some(fault);
            fmt::Error
        })
    }
}

/// Refuses a string that would be too long to make.
fn bounded(bytes: usize, name: &str) -> Result<()> {
    if bytes > STRING_RESULT_BYTES_MAX {
        return Err(wrap(SqlError::new(
            Code::FunctionResultTooLong,
            format!(
                "Result of {name}() was larger than max_allowed_packet ({STRING_RESULT_BYTES_MAX})"
            ),
        )));
    }
    Ok(())
}

/// Strings that were made elsewhere, by CASE and the like, reserved as long as somebody holds them.
///
/// # Errors
/// 1038 without memory for them.
pub(super) fn held(purse: &Purse, array: &ArrayRef) -> Result<ArrayRef> {
    if *array.data_type() != DataType::Utf8 {
        return Ok(Arc::clone(array));
    }
    let (offsets, values, nulls) = array.as_string::<i32>().clone().into_parts();
    let memory = purse.open("case");
    memory.try_grow(values.len())?;
    Ok(Arc::new(StringArray::try_new(
        offsets,
        owned(values, memory),
        nulls,
    )?))
}

/// Bytes with what was reserved for them, as one buffer.
fn owned<B: std::ops::Deref<Target = [u8]> + Send + 'static>(
    bytes: B,
    memory: MemoryReservation,
) -> Buffer {
    Buffer::from(bytes::Bytes::from_owner(Owned {
        bytes,
        _memory: memory,
    }))
}

struct Owned<B> {
    bytes: B,
    _memory: MemoryReservation,
}

impl<B: std::ops::Deref<Target = [u8]>> AsRef<[u8]> for Owned<B> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::select::QueryMemory;
    use crate::sql::select::cancel::Cancel;

    const POOL: usize = 1 << 20;

    #[test]
    fn what_is_made_is_reserved_until_nobody_holds_it() {
        let memory = QueryMemory::new(POOL).expect("a pool");
        let array = Texts::collect(&memory.purse(&Cancel::never()), "f", 3, |row, texts| {
            texts.push("ä")?;
            texts.repeat("xyz", row * 1_000)?;
            Ok(row != 1)
        })
        .expect("room");
        let texts = array.as_string::<i32>().clone();
        drop(array);
        assert_eq!((texts.len(), texts.null_count()), (3, 1));
        assert_eq!(texts.value(0), "ä");
        assert_eq!(texts.value(2), format!("ä{}", "xyz".repeat(2_000)));
        let held = memory.bytes_held();
        let made = texts.value_data().len();
        assert!((made..2 * made).contains(&held), "{held} for {made}");
        let piece = texts.slice(2, 1);
        drop(texts);
        assert_eq!(memory.bytes_held(), held, "a piece holds it");
        drop(piece);
        assert_eq!(memory.bytes_held(), 0);
    }

    #[test]
    fn what_does_not_fit_is_not_made() {
        let memory = QueryMemory::new(POOL).expect("a pool");
        let made = |bytes: usize| {
            Texts::collect(&memory.purse(&Cancel::never()), "f", 1, |_, texts| {
                texts.push("a")?;
                texts.repeat("b", bytes).map(|()| true)
            })
            .map(|array| array.len())
            .map_err(|fault| crate::sql::select::fault::unwrap(&fault, &memory).code)
        };
        assert_eq!(made(1_000), Ok(1));
        assert_eq!(made(POOL + 1), Err(1038));
        assert_eq!(made(STRING_RESULT_BYTES_MAX), Err(1301));
        assert_eq!(memory.bytes_held(), 0);
    }
}
