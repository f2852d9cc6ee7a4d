//! A result set of one row and column as one value: what SET gets from an expression.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::array_value_to_string;
use futures::StreamExt;

use super::answer::Rows;
use super::error::{Code, SqlError};
use super::value::Value;

/// The one value of `rows`; NULL where there is no row.
///
/// # Errors
/// 1242 for more than one row, 1241 for more than one column, and what the query itself finds.
pub async fn only_value(mut rows: Rows) -> Result<Value, SqlError> {
    let mut found = None;
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        if batch.num_columns() != 1 {
            return Err(SqlError::new(
                Code::OperandColumns,
                "Operand should contain 1 column(s)",
            ));
        }
        for row in 0..batch.num_rows() {
            if found.replace(value(batch.column(0), row)?).is_some() {
                return Err(SqlError::new(
                    Code::SubqueryRows,
                    "Subquery returns more than 1 row",
                ));
            }
        }
    }
    Ok(found.unwrap_or(Value::Null))
}

fn value(column: &dyn Array, row: usize) -> Result<Value, SqlError> {
    let internal = |fault: arrow::error::ArrowError| {
        SqlError::new(Code::Unknown, format!("internal error: {fault}"))
    };
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    match column.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let column = arrow::compute::cast(column, &DataType::Int64).map_err(internal)?;
            Ok(Value::Int(column.as_primitive::<Int64Type>().value(row)))
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            let column = arrow::compute::cast(column, &DataType::UInt64).map_err(internal)?;
            Ok(Value::UInt(column.as_primitive::<UInt64Type>().value(row)))
        }
        DataType::Float32 => Ok(Value::Float(
            column.as_primitive::<Float32Type>().value(row),
        )),
        DataType::Float64 => Ok(Value::Double(
            column.as_primitive::<Float64Type>().value(row),
        )),
        DataType::Utf8 => Ok(Value::Bytes(
            column.as_string::<i32>().value(row).as_bytes().to_vec(),
        )),
        // DECIMAL and times, as their text.
        _ => array_value_to_string(column, row)
            .map(|text| Value::Bytes(text.into_bytes()))
            .map_err(internal),
    }
}
