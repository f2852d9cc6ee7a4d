//! Arrow arrays over a column's buffers, by its physical type. No value is looked at or copied.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};

use crate::format::arrow::data_type;
use crate::schema::{Physical, TimeUnit};

/// An array of `rows` values of a fixed width.
///
/// # Panics
/// If the buffer is not aligned or too short, or for strings: bugs of the caller.
pub(crate) fn primitive_array(
    physical: Physical,
    rows: usize,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    match physical {
        Physical::Int8 => of::<Int8Type>(physical, rows, values, nulls),
        Physical::Int16 => of::<Int16Type>(physical, rows, values, nulls),
        Physical::Int32 => of::<Int32Type>(physical, rows, values, nulls),
        Physical::Int64 => of::<Int64Type>(physical, rows, values, nulls),
        Physical::UInt8 => of::<UInt8Type>(physical, rows, values, nulls),
        Physical::UInt16 => of::<UInt16Type>(physical, rows, values, nulls),
        Physical::UInt32 => of::<UInt32Type>(physical, rows, values, nulls),
        Physical::UInt64 => of::<UInt64Type>(physical, rows, values, nulls),
        Physical::Float32 => of::<Float32Type>(physical, rows, values, nulls),
        Physical::Float64 => of::<Float64Type>(physical, rows, values, nulls),
        Physical::Decimal128 { .. } => of::<Decimal128Type>(physical, rows, values, nulls),
        Physical::Date32 => of::<Date32Type>(physical, rows, values, nulls),
        Physical::Timestamp(unit) => match unit {
            TimeUnit::Second => of::<TimestampSecondType>(physical, rows, values, nulls),
            TimeUnit::Millisecond => of::<TimestampMillisecondType>(physical, rows, values, nulls),
            TimeUnit::Microsecond => of::<TimestampMicrosecondType>(physical, rows, values, nulls),
        },
        Physical::Utf8 => unreachable!("strings have an array of their own"),
    }
}

fn of<T: ArrowPrimitiveType>(
    physical: Physical,
    rows: usize,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let values = ScalarBuffer::<T::Native>::new(values, 0, rows);
    Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type(physical)))
}
