//! Rows and rejects as an auditor holds them: columns over bytes that were read, or over a tail's
//! block; no alarm rings, and what is damaged is only said.

use std::fmt;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;

use crate::array::primitive_array;
use crate::block::{Block, Mark};
use crate::error::{Corruption, Damage};
use crate::format::rejects::Rejects;
use crate::format::{BufferRecord, CommitRecord, ParsedHeader};
use crate::map::{Checked, StringFault, check_strings};
use crate::schema::Physical;

/// The rows and rejects of one commit, or of a tail's block.
#[derive(Clone)]
pub struct Content {
    /// The user's columns, then `_offset`, then `_timestamp`.
    columns: Vec<ArrayRef>,
    /// Encoded: see [`crate::format::rejects`].
    rejects: Buffer,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Content of {} columns, {} bytes of rejects",
            self.columns.len(),
            self.rejects.len()
        )
    }
}

impl Content {
    /// Of a commit whose record fits the header ([`crate::format::check_commit`]) and whose body passed
    /// [`crate::inspect::check_whole_body`]. Nothing is copied.
    ///
    /// # Errors
    /// [`Damage`], its bytes counted from the body's start: strings that are none, rejects that do not
    /// read.
    pub fn of_body(
        header: &ParsedHeader,
        record: &CommitRecord,
        body: &Buffer,
    ) -> Result<Content, Damage> {
        let slice = |place: &BufferRecord| {
            let (at, len) = (place.at as usize, place.bytes as usize);
            match at.checked_add(len) {
                Some(end) if end <= body.len() => Ok(body.slice_with_length(at, len)),
                _ => Err(Damage::at(place.at, Corruption::Truncated)),
            }
        };
        let rows = record.facts.rows as usize;
        let checked = Checked::none_of(record.columns.len());
        let mut columns = Vec::with_capacity(record.columns.len());
        for (index, column) in record.columns.iter().enumerate() {
            let physical = header.header.schema.columns.get(index);
            let physical = physical.map_or(Physical::Int64, |column| column.physical);
            let [validity, values, data] = [
                slice(&column.buffers[0])?,
                slice(&column.buffers[1])?,
                slice(&column.buffers[2])?,
            ];
            let nulls = (!validity.is_empty())
                .then(|| NullBuffer::new(BooleanBuffer::new(validity, 0, rows)))
                .filter(|nulls| nulls.null_count() > 0);
            columns.push(match physical {
                Physical::Utf8 => {
                    check_strings(&values, &data).map_err(|fault| {
                        let column = index as u16;
                        match fault {
                            StringFault::Offsets => Damage::at(
                                record.columns[index].buffers[1].at,
                                Corruption::StringOffsets { column },
                            ),
                            StringFault::Utf8 => Damage::at(
                                record.columns[index].buffers[2].at,
                                Corruption::Utf8 { column },
                            ),
                        }
                    })?;
                    checked.pass(index);
                    checked.string_array(index, rows, values, data, nulls)
                }
                physical => primitive_array(physical, rows, values, nulls),
            });
        }
        let rejects = slice(&record.rejects)?;
        if let Some(Err(damage)) = Rejects::new(&rejects).find(Result::is_err) {
            return Err(damage.shifted(record.rejects.at));
        }
        Ok(Content { columns, rejects })
    }

    /// Of a block up to a mark. It holds the block: see [`Content::detached`].
    pub(crate) fn of_block(block: &std::sync::Arc<Block>, mark: Mark) -> Content {
        Content {
            columns: (0..block.columns())
                .map(|column| block.array(column, mark))
                .collect(),
            rejects: block.buffer(block.rejects(mark)),
        }
    }

    /// The same in memory of its own, so that whatever it was read from can be let go: a leaf's block,
    /// for one, which ingest waits for.
    ///
    /// # Panics
    /// Never: what an array holds makes an array.
    #[must_use]
    pub fn detached(&self) -> Content {
        Content {
            columns: self
                .columns
                .iter()
                .map(|column| make_array(copy(&column.to_data())))
                .collect(),
            rejects: Buffer::from_slice_ref(self.rejects.as_slice()),
        }
    }

    /// What it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let data = self.columns.iter().map(|column| {
            let data = column.to_data();
            let nulls = data.nulls().map_or(0, |nulls| nulls.len().div_ceil(8));
            data.buffers().iter().map(Buffer::len).sum::<usize>() + nulls
        });
        data.sum::<usize>() as u64 + self.rejects.len() as u64
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.last().map_or(0, |column| column.len())
    }

    /// The user's columns, then `_offset`, then `_timestamp`.
    #[must_use]
    pub fn all_columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// The user's columns.
    #[must_use]
    pub fn columns(&self) -> &[ArrayRef] {
        let hidden = self.columns.len().saturating_sub(2);
        &self.columns[..hidden]
    }

    /// `_offset` of each row.
    #[must_use]
    pub fn offsets(&self) -> &[i64] {
        self.hidden(2)
    }

    /// `_timestamp` of each row, ms since 1970.
    #[must_use]
    pub fn timestamps_ms(&self) -> &[i64] {
        self.hidden(1)
    }

    fn hidden(&self, from_the_end: usize) -> &[i64] {
        let at = self.columns.len().checked_sub(from_the_end);
        let column = at.and_then(|at| self.columns.get(at));
        let values = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
        values.map_or(&[], |values| values.values())
    }

    /// The rejects and faults, in order.
    #[must_use]
    pub fn rejects(&self) -> Rejects<'_> {
        Rejects::new(&self.rejects)
    }

    /// The same from the one that begins at this byte.
    #[must_use]
    pub fn rejects_from(&self, at_byte: usize) -> Rejects<'_> {
        Rejects::new(self.rejects.get(at_byte..).unwrap_or_default())
    }

    /// `_offset` of the rows of `range`: none where it is not within the rows.
    #[must_use]
    pub fn offsets_of(&self, range: Range<usize>) -> &[i64] {
        self.offsets().get(range).unwrap_or_default()
    }
}

fn copy(data: &ArrayData) -> ArrayData {
    let buffers = data.buffers().iter();
    let buffers = buffers.map(|buffer| Buffer::from_slice_ref(buffer.as_slice()));
    let nulls = data.nulls().map(|nulls| {
        let bits = nulls.inner();
        let bytes = Buffer::from_slice_ref(bits.values());
        NullBuffer::new(BooleanBuffer::new(bytes, bits.offset(), bits.len()))
    });
    ArrayData::builder(data.data_type().clone())
        .len(data.len())
        .offset(data.offset())
        .buffers(buffers.collect())
        .nulls(nulls)
        .build()
        .expect("what an array holds makes an array")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Array;

    use super::*;
    use crate::block::tests::{column, schema};
    use crate::block::{BlockLayout, BlockWriter, FaultKind, Reject, RejectKind};
    use crate::counts::Counts;
    use crate::format::tests::header;
    use crate::format::{CommitFacts, CommitInput, encode_commit};
    use crate::ids::{Lineage, Offset};

    /// Twenty rows from offset 5 on, every third text NULL, and a reject.
    fn filled() -> BlockWriter {
        let layout = BlockLayout {
            schema: schema(vec![
                column("text", Physical::Utf8, true),
                column("number", Physical::Int32, true),
            ]),
            rows: 256,
            string_bytes: vec![1_024],
            rejects_bytes: 1_024,
        };
        let mut writer = BlockWriter::new(&layout, Offset(5));
        let mut tail = writer.tail();
        for row in 0..20 {
            if row % 3 == 0 {
                tail.put_null(0);
            } else {
                tail.put_str(0, "größe").expect("room");
            }
            tail.put(1, row);
            tail.end_row(Offset(5 + i64::from(row)), 7);
        }
        let reject = Reject {
            offset: Offset(25),
            timestamp_ms: 1,
            unix_ms: 2,
            code: 3,
            kind: RejectKind::Fault(FaultKind::Transform),
            line: 0,
            column: None,
            text: "why",
            key: None,
            message: b"what",
        };
        tail.reject(&reject).expect("room");
        writer.publish(Offset(26));
        writer
    }

    #[test]
    fn a_detached_content_is_the_same_and_lets_the_block_go() {
        let writer = filled();
        let block = writer.shared();
        let lying = Content::of_block(&block, writer.published());
        let own = lying.detached();
        assert_eq!(own.all_columns(), lying.all_columns());
        assert_eq!((own.all_columns().len(), own.columns().len()), (4, 2));
        assert_eq!(own.columns(), &own.all_columns()[..2]);
        assert_eq!(own.offsets(), (5..25).collect::<Vec<_>>());
        assert_eq!(own.timestamps_ms(), [7; 20]);
        assert_eq!((own.rows(), own.rejects().count()), (20, 1));
        // Text: 21 offsets, 13 of 7 bytes, 20 bits. Number, `_offset`, `_timestamp`. A reject of 52 + 3 + 4.
        let bytes = (21 * 4 + 13 * 7 + 3) + 20 * 4 + 20 * 8 + 20 * 8 + 59;
        assert_eq!((own.bytes(), lying.bytes()), (bytes, bytes));
        assert_eq!(own.offsets_of(3..5), [8, 9]);
        assert_eq!(
            (own.offsets_of(20..20), own.offsets_of(19..21)),
            (&[][..], &[][..])
        );
        drop(lying);
        // The writer's and this one.
        assert_eq!(Arc::strong_count(&block), 2);
    }

    #[test]
    fn a_body_is_what_its_block_was() {
        let writer = filled();
        let (block, mark) = (writer.shared(), writer.published());
        let (header, _) = header(&block.layout().schema);
        let input = CommitInput {
            facts: CommitFacts {
                commit_number: 1,
                lineage: Lineage(1),
                first_offset: Offset(5),
                next_offset: Offset(26),
                counts: Counts {
                    loaded: 20,
                    rejected: 1,
                    ..Counts::default()
                },
                ..CommitFacts::default()
            },
            durable_end: 0,
            replaced: Vec::new(),
        };
        let encoded = encode_commit(&header, input, &block, mark);
        let record = &encoded.record;
        let bytes = &encoded.to_vec()[record.head_bytes as usize..];
        // A body as an auditor reads it lies where a buffer begins.
        let of = |bytes: &[u8]| Content::of_body(&header, record, &Buffer::from_slice_ref(bytes));
        let read = of(bytes).expect("a sound body");
        let lying = Content::of_block(&block, mark);
        assert_eq!(read.all_columns(), lying.all_columns());
        assert!(read.rejects().eq(lying.rejects()));
        assert_eq!(
            (read.columns()[0].null_count(), read.columns()[1].nulls()),
            (7, None)
        );
        let what = |bytes: &[u8]| of(bytes).map(drop);
        let at = |buffer: &BufferRecord, what| Err(Damage::at(buffer.at, what));
        let cut = &bytes[..bytes.len() - 64];
        assert_eq!(what(cut), at(&record.rejects, Corruption::Truncated));
        let [_, offsets, data] = &record.columns[0].buffers;
        let flipped = |at: u64, bit: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at as usize] ^= bit;
            what(&bytes)
        };
        let fall = Corruption::StringOffsets { column: 0 };
        assert_eq!(flipped(offsets.at + 4, 0x40), at(offsets, fall));
        let utf8 = Corruption::Utf8 { column: 0 };
        assert_eq!(flipped(data.at, 0x80), at(data, utf8));
        let kind = Corruption::Field("reject kind");
        assert_eq!(
            flipped(record.rejects.at + 4, 0x80),
            at(&record.rejects, kind)
        );
    }
}
