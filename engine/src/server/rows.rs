//! Rows as MySQL's packets: Arrow columns to the text protocol and to the binary one.
//!
//! A batch's columns are looked at once ([`RowEncoder::new`]); a row is then a walk over typed
//! arrays into one reused buffer. The text protocol writes every value as text with a length; the
//! binary one writes it as the column definition's type says, behind a bitmap of NULLs.
//!
//! Nothing reserves memory for a row, so that it has a bound of its own: what would make it longer than
//! `bytes_max` is an error before it is written, and the buffer takes no more than that and one number.
//!
//! Source: MySQL's protocol documentation, "Text Resultset" and "Binary Protocol Resultset".

use std::io::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use mysql_common::io::BufMutExt;

use super::calendar::DateTime;
use super::type_code;
use crate::sql::ResultColumn;

/// Which of the two protocols a result set is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// COM_QUERY's.
    Text,
    /// COM_STMT_EXECUTE's.
    Binary,
}

/// A batch whose columns have no form in MySQL's protocol: a bug of the planner, told as an error.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("column {column} has Arrow type {data_type}, which has no form in MySQL's protocol")]
pub struct NoForm {
    /// The column's name.
    pub column: String,
    /// Its Arrow type.
    pub data_type: String,
}

/// A row that is longer than a packet may be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "Got a packet bigger than 'max_allowed_packet' bytes: a row of the answer is longer than {bytes_max}; read fewer \
     or shorter columns, or raise [server] max_allowed_packet_bytes"
)]
pub struct RowTooLong {
    /// What is allowed.
    pub bytes_max: usize,
}

/// A DATETIME in the binary protocol; no other value that is no text is as long.
const NUMBER_BYTES_MAX: usize = 12;

/// One value on its way out.
enum Cell<'a> {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
    /// Digits as text, in `scratch`.
    Decimal,
    Time(DateTime),
}

/// One batch, ready to be written row by row.
pub struct RowEncoder<'a> {
    columns: Vec<(&'a ArrayRef, &'a ResultColumn)>,
    protocol: Protocol,
    bytes_max: usize,
}

impl<'a> RowEncoder<'a> {
    /// Looks at a batch's columns. Its rows may be `bytes_max` long.
    ///
    /// # Errors
    /// Where the batch has another number of columns than `columns`, or one of a type without a form.
    pub fn new(
        batch: &'a RecordBatch,
        columns: &'a [ResultColumn],
        protocol: Protocol,
        bytes_max: usize,
    ) -> Result<RowEncoder<'a>, NoForm> {
        if batch.num_columns() != columns.len() {
            return Err(NoForm {
                column: format!("{} of {}", columns.len(), batch.num_columns()),
                data_type: "missing".into(),
            });
        }
        for (array, column) in batch.columns().iter().zip(columns) {
            if !has_form(array.data_type()) {
                return Err(NoForm {
                    column: column.name.clone(),
                    data_type: array.data_type().to_string(),
                });
            }
        }
        Ok(RowEncoder {
            columns: batch.columns().iter().zip(columns).collect(),
            protocol,
            bytes_max,
        })
    }

    /// Writes row `row` into `payload`, which is cleared first. `scratch` is only reused.
    ///
    /// # Errors
    /// Where it would be longer than it may; `payload` then holds what came before.
    pub fn encode(
        &self,
        row: usize,
        payload: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), RowTooLong> {
        payload.clear();
        match self.protocol {
            Protocol::Text => {
                for (array, column) in &self.columns {
                    match cell(array, row, scratch) {
                        Cell::Null => {
                            self.make_room(payload, 1)?;
                            payload.push(0xfb);
                        }
                        cell => {
                            let text = text(&cell, column.decimals, scratch);
                            self.text(text, payload)?;
                        }
                    }
                }
            }
            Protocol::Binary => {
                let bitmap_bytes = (self.columns.len() + 2).div_ceil(8);
                self.make_room(payload, 1 + bitmap_bytes)?;
                payload.push(0);
                let bitmap = payload.len();
                payload.resize(bitmap + bitmap_bytes, 0);
                for (at, (array, column)) in self.columns.iter().enumerate() {
                    match cell(array, row, scratch) {
                        // The bitmap begins with two reserved bits.
                        Cell::Null => payload[bitmap + (at + 2) / 8] |= 1 << ((at + 2) % 8),
                        cell => self.binary(&cell, column, payload, scratch)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn text(&self, text: &[u8], payload: &mut Vec<u8>) -> Result<(), RowTooLong> {
        self.make_room(payload, lenenc_bytes(text))?;
        payload.put_lenenc_str(text);
        Ok(())
    }

    fn binary(
        &self,
        cell: &Cell<'_>,
        column: &ResultColumn,
        payload: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), RowTooLong> {
        self.reserve(payload, NUMBER_BYTES_MAX);
        if number(cell, column, payload) {
            self.check(payload.len())
        } else {
            self.text(text(cell, column.decimals, scratch), payload)
        }
    }

    /// For so many bytes more.
    fn make_room(&self, payload: &mut Vec<u8>, bytes: usize) -> Result<(), RowTooLong> {
        self.check(payload.len() + bytes)?;
        self.reserve(payload, bytes);
        Ok(())
    }

    fn check(&self, bytes: usize) -> Result<(), RowTooLong> {
        let bytes_max = self.bytes_max;
        if bytes > bytes_max {
            return Err(RowTooLong { bytes_max });
        }
        Ok(())
    }

    /// As a `Vec` does by itself, which doubles, but for its bound.
    fn reserve(&self, payload: &mut Vec<u8>, bytes: usize) {
        let needed = payload.len() + bytes;
        if needed > payload.capacity() {
            let doubled = (2 * payload.capacity()).min(self.bytes_max);
            payload.reserve_exact(needed.max(doubled) - payload.len());
        }
    }
}

/// What a text takes with its length.
fn lenenc_bytes(text: &[u8]) -> usize {
    let length = match text.len() {
        0..=0xfa => 1,
        0xfb..=0xffff => 3,
        0x1_0000..=0xff_ffff => 4,
        _ => 9,
    };
    length + text.len()
}

fn has_form(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Null | T::Boolean | T::Date32 | T::Timestamp(..) => true,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
            true
        }
        T::Float32 | T::Float64 => true,
        T::Decimal128(_, scale) | T::Decimal256(_, scale) => *scale >= 0,
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView => true,
        _ => false,
    }
}

fn cell<'a>(array: &'a ArrayRef, row: usize, scratch: &mut Vec<u8>) -> Cell<'a> {
    use DataType as T;
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        T::Boolean => Cell::Int(i64::from(array.as_boolean().value(row))),
        T::Int8 => Cell::Int(array.as_primitive::<Int8Type>().value(row).into()),
        T::Int16 => Cell::Int(array.as_primitive::<Int16Type>().value(row).into()),
        T::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        T::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        T::UInt8 => Cell::UInt(array.as_primitive::<UInt8Type>().value(row).into()),
        T::UInt16 => Cell::UInt(array.as_primitive::<UInt16Type>().value(row).into()),
        T::UInt32 => Cell::UInt(array.as_primitive::<UInt32Type>().value(row).into()),
        T::UInt64 => Cell::UInt(array.as_primitive::<UInt64Type>().value(row)),
        T::Float32 => Cell::Float(array.as_primitive::<Float32Type>().value(row)),
        T::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(row)),
        T::Decimal128(_, scale) => {
            decimal(
                &array.as_primitive::<Decimal128Type>().value(row),
                *scale,
                scratch,
            );
            Cell::Decimal
        }
        T::Decimal256(_, scale) => {
            decimal(
                &array.as_primitive::<Decimal256Type>().value(row),
                *scale,
                scratch,
            );
            Cell::Decimal
        }
        T::Date32 => Cell::Time(DateTime::from_days(
            array.as_primitive::<Date32Type>().value(row).into(),
        )),
        T::Timestamp(unit, _) => Cell::Time(match unit {
            TimeUnit::Second => {
                DateTime::from_parts(array.as_primitive::<TimestampSecondType>().value(row), 1)
            }
            TimeUnit::Millisecond => DateTime::from_parts(
                array.as_primitive::<TimestampMillisecondType>().value(row),
                1_000,
            ),
            TimeUnit::Microsecond => DateTime::from_parts(
                array.as_primitive::<TimestampMicrosecondType>().value(row),
                1_000_000,
            ),
            TimeUnit::Nanosecond => DateTime::from_parts(
                array.as_primitive::<TimestampNanosecondType>().value(row) / 1_000,
                1_000_000,
            ),
        }),
        T::Utf8 => Cell::Bytes(array.as_string::<i32>().value(row).as_bytes()),
        T::LargeUtf8 => Cell::Bytes(array.as_string::<i64>().value(row).as_bytes()),
        T::Utf8View => Cell::Bytes(array.as_string_view().value(row).as_bytes()),
        T::Binary => Cell::Bytes(array.as_binary::<i32>().value(row)),
        T::LargeBinary => Cell::Bytes(array.as_binary::<i64>().value(row)),
        T::BinaryView => Cell::Bytes(array.as_binary_view().value(row)),
        // `has_form` admitted nothing else, and a column of type Null holds nothing but NULL.
        _ => Cell::Null,
    }
}

/// The digits of `unscaled`, with a point `scale` digits from the right.
fn decimal(unscaled: &impl std::fmt::Display, scale: i8, out: &mut Vec<u8>) {
    out.clear();
    write!(out, "{unscaled}").expect("memory takes what is written");
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale > 0 {
        let sign = usize::from(out.first() == Some(&b'-'));
        let digits = out.len() - sign;
        if digits <= scale {
            out.splice(sign..sign, std::iter::repeat_n(b'0', scale + 1 - digits));
        }
        out.insert(out.len() - scale, b'.');
    }
}

fn text<'s>(cell: &Cell<'s>, decimals: u8, scratch: &'s mut Vec<u8>) -> &'s [u8] {
    let keep = matches!(cell, Cell::Decimal);
    if !keep {
        scratch.clear();
    }
    match cell {
        Cell::Null | Cell::Decimal => {}
        Cell::Int(value) => write!(scratch, "{value}").expect("memory takes what is written"),
        Cell::UInt(value) => write!(scratch, "{value}").expect("memory takes what is written"),
        Cell::Float(value) => float(
            f64::from(*value),
            &value.to_string(),
            &format!("{value:e}"),
            scratch,
        ),
        Cell::Double(value) => float(*value, &value.to_string(), &format!("{value:e}"), scratch),
        Cell::Bytes(bytes) => return bytes,
        Cell::Time(time) => time.write(decimals, scratch),
    }
    scratch
}

/// As MySQL prints it: the shortest digits that read back, with an exponent from 1e15 up and below 1e-15.
fn float(value: f64, plain: &str, exponent: &str, out: &mut Vec<u8>) {
    let size = value.abs();
    let text = if size != 0.0 && !(1e-15..1e15).contains(&size) {
        exponent
    } else {
        plain
    };
    out.extend_from_slice(text.as_bytes());
}

/// Writes a value that the binary protocol does not write as text; whether this is one.
fn number(cell: &Cell<'_>, column: &ResultColumn, payload: &mut Vec<u8>) -> bool {
    let int = match *cell {
        Cell::Int(value) => Some(value),
        Cell::UInt(value) => Some(value.cast_signed()),
        _ => None,
    };
    match (column.type_code, cell, int) {
        (type_code::TINY, _, Some(value)) => payload.push(value.to_le_bytes()[0]),
        (type_code::SHORT | type_code::YEAR, _, Some(value)) => {
            payload.extend_from_slice(&value.to_le_bytes()[..2])
        }
        (type_code::LONG | type_code::INT24, _, Some(value)) => {
            payload.extend_from_slice(&value.to_le_bytes()[..4])
        }
        (type_code::LONGLONG, _, Some(value)) => payload.extend_from_slice(&value.to_le_bytes()),
        (type_code::FLOAT, Cell::Float(value), _) => {
            payload.extend_from_slice(&value.to_le_bytes())
        }
        (type_code::DOUBLE, Cell::Double(value), _) => {
            payload.extend_from_slice(&value.to_le_bytes())
        }
        (type_code::DOUBLE, Cell::Float(value), _) => {
            payload.extend_from_slice(&f64::from(*value).to_le_bytes())
        }
        (type_code::DATE | type_code::DATETIME | type_code::TIMESTAMP, Cell::Time(time), _) => {
            time.write_binary(column.type_code == type_code::DATE, payload);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;

    use super::*;

    fn column(type_code: u8, decimals: u8) -> ResultColumn {
        ResultColumn {
            database: String::new(),
            table: String::new(),
            org_table: String::new(),
            name: "c".into(),
            org_name: String::new(),
            type_code,
            flags: 0,
            decimals,
            collation: 63,
            length: 0,
        }
    }

    fn encode(array: ArrayRef, type_code: u8, decimals: u8, protocol: Protocol) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("c", array)]).expect("a batch");
        let columns = [column(type_code, decimals)];
        let encoder = RowEncoder::new(&batch, &columns, protocol, 1 << 20).expect("a form");
        let mut payload = Vec::new();
        let encoded = encoder.encode(0, &mut payload, &mut Vec::new());
        encoded.expect("it is short");
        payload
    }

    /// One string in many columns: what reserved memory for it did so once.
    #[test]
    fn a_row_is_as_long_as_a_packet_may_be_and_no_longer() {
        const COLUMNS: usize = 40;
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1_000)]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let null: ArrayRef = Arc::new(Int8Array::from(vec![None]));
        for (array, type_code, text_bytes, binary_bytes) in [
            (text, type_code::VAR_STRING, 1_003, 1_003),
            (number, type_code::LONGLONG, 2, 8),
            (null, type_code::TINY, 1, 0),
        ] {
            let columns = vec![column(type_code, 0); COLUMNS];
            let named = (0..COLUMNS).map(|at| (at.to_string(), Arc::clone(&array)));
            let batch = RecordBatch::try_from_iter_with_nullable(
                named.map(|(name, array)| (name, array, true)),
            )
            .expect("a batch");
            for (protocol, row_bytes) in [
                (Protocol::Text, COLUMNS * text_bytes),
                // Behind a byte and the NULLs' bits.
                (Protocol::Binary, 1 + 6 + COLUMNS * binary_bytes),
            ] {
                let mut payload = Vec::new();
                let mut encode = |bytes_max| {
                    let encoder = RowEncoder::new(&batch, &columns, protocol, bytes_max);
                    let encoder = encoder.expect("a form");
                    let encoded = encoder.encode(0, &mut payload, &mut Vec::new());
                    assert!(payload.capacity() <= row_bytes + NUMBER_BYTES_MAX);
                    encoded.map(|()| payload.len())
                };
                for bytes_max in [0, row_bytes / 2, row_bytes - 1] {
                    assert_eq!(encode(bytes_max), Err(RowTooLong { bytes_max }));
                }
                assert_eq!(encode(row_bytes), Ok(row_bytes));
            }
        }
    }

    #[test]
    fn values_as_text() {
        let cases: Vec<(ArrayRef, u8, &str)> = vec![
            (Arc::new(Int8Array::from(vec![-1])), 0, "-1"),
            (
                Arc::new(UInt64Array::from(vec![u64::MAX])),
                0,
                "18446744073709551615",
            ),
            (Arc::new(BooleanArray::from(vec![true])), 0, "1"),
            (Arc::new(Float64Array::from(vec![0.1])), 31, "0.1"),
            (Arc::new(Float64Array::from(vec![3.0])), 31, "3"),
            (Arc::new(Float64Array::from(vec![-0.0])), 31, "-0"),
            (Arc::new(Float64Array::from(vec![1e20])), 31, "1e20"),
            (
                Arc::new(Float64Array::from(vec![123456789012345.0])),
                31,
                "123456789012345",
            ),
            (Arc::new(Float32Array::from(vec![1.1])), 31, "1.1"),
            (Arc::new(StringArray::from(vec!["ä"])), 0, "ä"),
            (Arc::new(Date32Array::from(vec![-1])), 0, "1969-12-31"),
            (
                Arc::new(TimestampSecondArray::from(vec![951_782_400])),
                0,
                "2000-02-29 00:00:00",
            ),
            (
                Arc::new(TimestampMillisecondArray::from(vec![-1])),
                3,
                "1969-12-31 23:59:59.999",
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![1])),
                6,
                "1970-01-01 00:00:00.000001",
            ),
            (decimal_array(-5, 10, 2), 2, "-0.05"),
            (decimal_array(123_456, 10, 2), 2, "1234.56"),
            (decimal_array(-7, 10, 0), 0, "-7"),
        ];
        for (array, decimals, expected) in cases {
            let payload = encode(array, type_code::VAR_STRING, decimals, Protocol::Text);
            assert_eq!(payload[0] as usize, expected.len());
            assert_eq!(std::str::from_utf8(&payload[1..]).expect("UTF-8"), expected);
        }
    }

    fn decimal_array(value: i128, precision: u8, scale: i8) -> ArrayRef {
        Arc::new(
            Decimal128Array::from(vec![value])
                .with_precision_and_scale(precision, scale)
                .expect("fits"),
        )
    }

    #[test]
    fn values_as_binary() {
        let cases: Vec<(ArrayRef, u8, Vec<u8>)> = vec![
            (
                Arc::new(Int8Array::from(vec![-2])),
                type_code::TINY,
                vec![0xfe],
            ),
            (
                Arc::new(Int64Array::from(vec![258])),
                type_code::LONG,
                vec![2, 1, 0, 0],
            ),
            (
                Arc::new(UInt16Array::from(vec![65535])),
                type_code::SHORT,
                vec![0xff, 0xff],
            ),
            (
                Arc::new(Float64Array::from(vec![1.0])),
                type_code::DOUBLE,
                1f64.to_le_bytes().to_vec(),
            ),
            (
                Arc::new(StringArray::from(vec!["ab"])),
                type_code::VAR_STRING,
                vec![2, b'a', b'b'],
            ),
            (
                decimal_array(150, 5, 2),
                type_code::NEWDECIMAL,
                vec![4, b'1', b'.', b'5', b'0'],
            ),
            (
                Arc::new(Date32Array::from(vec![0])),
                type_code::DATE,
                vec![4, 0xb2, 0x07, 1, 1],
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![1_000_001])),
                type_code::DATETIME,
                vec![11, 0xb2, 0x07, 1, 1, 0, 0, 1, 1, 0, 0, 0],
            ),
        ];
        for (array, type_code, expected) in cases {
            let payload = encode(array, type_code, 2, Protocol::Binary);
            assert_eq!(payload[..2], [0, 0]);
            assert_eq!(payload[2..], expected);
        }
    }

    #[test]
    fn nulls_and_types_without_a_form() {
        let null: ArrayRef = Arc::new(Int8Array::from(vec![None]));
        assert_eq!(
            encode(null.clone(), type_code::TINY, 0, Protocol::Text),
            [0xfb]
        );
        assert_eq!(
            encode(null, type_code::TINY, 0, Protocol::Binary),
            [0, 0b100]
        );
        let batch = RecordBatch::try_from_iter([(
            "c",
            Arc::new(DurationSecondArray::from(vec![1])) as ArrayRef,
        )])
        .expect("a batch");
        let columns = [column(type_code::TINY, 0)];
        assert!(RowEncoder::new(&batch, &columns, Protocol::Text, 1 << 20).is_err());
    }
}
