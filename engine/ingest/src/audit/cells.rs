//! A stored column's values, one by one, as the slow twin has them.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_buffer::ScalarBuffer;

use crate::pipeline::json::twin::Cell;

/// A column, its type looked at once. It shares the array's memory.
#[derive(Debug)]
pub struct Column {
    array: ArrayRef,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Int8(ScalarBuffer<i8>),
    Int16(ScalarBuffer<i16>),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    UInt8(ScalarBuffer<u8>),
    UInt16(ScalarBuffer<u16>),
    UInt32(ScalarBuffer<u32>),
    UInt64(ScalarBuffer<u64>),
    Decimal(ScalarBuffer<i128>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    Text(StringArray),
    /// A type that no column has.
    None,
}

fn values<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<ScalarBuffer<T::Native>> {
    Some(array.as_primitive_opt::<T>()?.values().clone())
}

impl Column {
    /// Looks at the type.
    #[must_use]
    pub fn new(array: &ArrayRef) -> Column {
        macro_rules! first {
            ($($type:ty => $of:ident,)*) => {
                None $(.or_else(|| values::<$type>(array).map(Values::$of)))*
            };
        }
        let found = first! {
            Int64Type => Int64,
            Int32Type => Int32,
            Int16Type => Int16,
            Int8Type => Int8,
            UInt64Type => UInt64,
            UInt32Type => UInt32,
            UInt16Type => UInt16,
            UInt8Type => UInt8,
            Decimal128Type => Decimal,
            Date32Type => Int32,
            TimestampSecondType => Int64,
            TimestampMillisecondType => Int64,
            TimestampMicrosecondType => Int64,
            Float32Type => Float32,
            Float64Type => Float64,
        };
        let text = || array.as_string_opt::<i32>().cloned().map(Values::Text);
        Column {
            array: ArrayRef::clone(array),
            values: found.or_else(text).unwrap_or(Values::None),
        }
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
    }

    /// NULLs.
    #[must_use]
    pub fn null_count(&self) -> usize {
        self.array.null_count()
    }

    /// Whether it is NULL.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// An integer, a date, a time or an unscaled decimal.
    #[must_use]
    pub fn int(&self, row: usize) -> Option<i128> {
        Some(match &self.values {
            Values::Int8(values) => values[row].into(),
            Values::Int16(values) => values[row].into(),
            Values::Int32(values) => values[row].into(),
            Values::Int64(values) => values[row].into(),
            Values::UInt8(values) => values[row].into(),
            Values::UInt16(values) => values[row].into(),
            Values::UInt32(values) => values[row].into(),
            Values::UInt64(values) => values[row].into(),
            Values::Decimal(values) => values[row],
            _ => return None,
        })
    }

    /// A float.
    #[must_use]
    pub fn float(&self, row: usize) -> Option<f64> {
        match &self.values {
            Values::Float32(values) => Some(values[row].into()),
            Values::Float64(values) => Some(values[row]),
            _ => None,
        }
    }

    /// A string.
    #[must_use]
    pub fn text(&self, row: usize) -> Option<&str> {
        match &self.values {
            Values::Text(values) => Some(values.value(row)),
            _ => None,
        }
    }

    /// Whether the row holds just this.
    #[must_use]
    pub fn is(&self, row: usize, cell: &Cell) -> bool {
        if self.is_null(row) {
            return *cell == Cell::Null;
        }
        match (cell, &self.values) {
            (Cell::Int(value), _) => self.int(row) == Some(*value),
            (Cell::Float(bits), Values::Float32(values)) => values[row].to_bits() == *bits,
            (Cell::Double(bits), Values::Float64(values)) => values[row].to_bits() == *bits,
            (Cell::Text(text), Values::Text(values)) => values.value(row) == text,
            _ => false,
        }
    }

    /// The row's value, in words.
    #[must_use]
    pub fn show(&self, row: usize) -> String {
        if self.is_null(row) {
            return "NULL".to_owned();
        }
        match (self.int(row), self.float(row), self.text(row)) {
            (Some(value), ..) => value.to_string(),
            (_, Some(value), _) => format!("{value:?}"),
            (.., Some(text)) => shown(text),
            _ => "a value of no type that a column has".to_owned(),
        }
    }
}

/// What should be there, in words.
#[must_use]
pub fn show(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Int(value) => value.to_string(),
        Cell::Double(bits) => format!("{:?}", f64::from_bits(*bits)),
        Cell::Float(bits) => format!("{:?}", f32::from_bits(*bits)),
        Cell::Text(text) => shown(text),
    }
}

fn shown(text: &str) -> String {
    format!("'{}'", crate::pipeline::failure::Shown(text))
}
