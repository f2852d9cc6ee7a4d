//! A part's batch handed out in pieces: without a copy, and each piece reports its own bytes.
//!
//! A plain slice keeps the whole buffer and reports it as its own, so that whoever keeps a few of them,
//! a sort or a join, would reserve the part many times over.

use std::ops::Deref;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatchOptions, make_array};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

/// `rows` rows of a batch from `from` on.
///
/// # Errors
/// Arrow's: none that a batch which was sound before gives.
pub(super) fn piece(batch: &RecordBatch, from: usize, rows: usize) -> Result<RecordBatch> {
    if rows == batch.num_rows() {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(|column| cut(column, from, rows));
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns.collect::<Result<_>>()?,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )?)
}

fn cut(column: &ArrayRef, from: usize, rows: usize) -> Result<ArrayRef> {
    let slice = column.slice(from, rows);
    let data = slice.to_data();
    let buffers = match slice.data_type() {
        DataType::Utf8 => {
            let texts = slice.as_string::<i32>();
            let offsets = texts.value_offsets();
            let (first, last) = (offsets[0], offsets[rows]);
            let own: ScalarBuffer<i32> = offsets.iter().map(|offset| offset - first).collect();
            let values = texts.values().slice_with_length(
                usize::try_from(first).unwrap_or(0),
                usize::try_from(last - first).unwrap_or(0),
            );
            vec![
                OffsetBuffer::new(own).into_inner().into_inner(),
                own_bytes(values),
            ]
        }
        _ if data.offset() == 0 => data.buffers().iter().cloned().map(own_bytes).collect(),
        // None of a table's types has its values at bits.
        _ => return Ok(slice),
    };
    let data = ArrayData::builder(slice.data_type().clone())
        .len(rows)
        .nulls(data.nulls().cloned())
        .buffers(buffers)
        .build()?;
    Ok(make_array(data))
}

/// The same bytes as a buffer of their length.
fn own_bytes(buffer: Buffer) -> Buffer {
    Buffer::from(bytes::Bytes::from_owner(Bytes(buffer)))
}

struct Bytes(Buffer);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.0.deref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn pieces_are_the_whole_and_report_their_own_bytes() {
        let rows = 1_000;
        let ids: Int64Array = (0..1_000_i64)
            .map(|id| (id % 7 != 0).then_some(id))
            .collect();
        let texts: StringArray = (0..rows)
            .map(|row| (row % 5 != 0).then(|| "ä".repeat(row % 11)))
            .collect();
        let decimals: Decimal128Array = (0..1_000_i128).map(Some).collect();
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            ("text", Arc::new(texts) as ArrayRef),
            ("exact", Arc::new(decimals) as ArrayRef),
        ])
        .expect("a batch");
        let whole = batch.get_array_memory_size();
        let mut reported = 0;
        for from in (0..rows).step_by(300) {
            let rows = (rows - from).min(300);
            let own = piece(&batch, from, rows).expect("a piece");
            assert_eq!(own, batch.slice(from, rows));
            reported += own.get_array_memory_size();
        }
        assert!(reported < 2 * whole, "{reported} of {whole}");
        let sliced = batch.slice(0, 1).get_array_memory_size();
        assert!(sliced > whole / 2, "a slice reports {sliced} of {whole}");
    }
}
