//! A mapping's table as storage has it: its block, and what stands in a row of it.

use std::sync::Arc;

use ingest::pipeline::JsonMapping;
use storage::block::{BlockLayout, BlockWriter, ColumnRegion};
use storage::ids::Offset;
use storage::schema::{Column, Physical, Schema};

use crate::twin::Cell;

/// An empty block of that size; every string column has `string_bytes`.
pub fn block(
    mapping: &JsonMapping,
    rows: u32,
    string_bytes: u32,
    rejects_bytes: u32,
) -> BlockWriter {
    let columns = mapping.columns.iter().map(|column| Column {
        name: column.name.clone(),
        physical: column.sql_type.physical(),
        nullable: column.nullable,
        annotation: column.sql_type.to_string(),
    });
    let strings = mapping.columns.iter();
    let strings = strings.filter(|column| column.sql_type.physical() == Physical::Utf8);
    let layout = BlockLayout {
        schema: Arc::new(Schema {
            version: 1,
            columns: columns.collect(),
        }),
        rows,
        string_bytes: strings.map(|_| string_bytes).collect(),
        rejects_bytes,
    };
    BlockWriter::new(&layout, Offset(0))
}

/// A value of a published row.
pub fn cell(region: &ColumnRegion<'_>, row: usize) -> Cell {
    if let Some(nulls) = region.nulls
        && row >= nulls.first_null
        && nulls.validity[row] == 0
    {
        return Cell::Null;
    }
    let at = |width: usize| &region.values[row * width..][..width];
    macro_rules! int {
        ($type:ty) => {
            Cell::Int(
                <$type>::from_le_bytes(at(size_of::<$type>()).try_into().expect("a width")).into(),
            )
        };
    }
    match region.physical {
        Physical::Int8 => int!(i8),
        Physical::Int16 => int!(i16),
        Physical::Int32 | Physical::Date32 => int!(i32),
        Physical::Int64 | Physical::Timestamp(_) => int!(i64),
        Physical::UInt8 => int!(u8),
        Physical::UInt16 => int!(u16),
        Physical::UInt32 => int!(u32),
        Physical::UInt64 => int!(u64),
        Physical::Decimal128 { .. } => int!(i128),
        Physical::Float32 => Cell::Float(u32::from_le_bytes(at(4).try_into().expect("a width"))),
        Physical::Float64 => Cell::Double(u64::from_le_bytes(at(8).try_into().expect("a width"))),
        Physical::Utf8 => {
            let end = |row: usize| {
                let bytes = region.values[row * 4..][..4].try_into().expect("a width");
                u32::from_le_bytes(bytes) as usize
            };
            let text = &region.data[end(row)..end(row + 1)];
            Cell::Text(String::from_utf8(text.to_vec()).expect("UTF-8"))
        }
    }
}
