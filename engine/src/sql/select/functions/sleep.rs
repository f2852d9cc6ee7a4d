//! SLEEP: made for each statement, because it must hear of the statement's KILL.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Function, convert};
use crate::limits::{SLEEP_S_MAX, SLEEP_SLICE_MS};
use crate::sql::error::SqlError;
use crate::sql::select::cancel::Cancel;
use crate::sql::select::fault::wrap;

/// Its name and arity; what runs is [`sleep`]'s.
pub static FUNCTIONS: &[Function] = &[Function {
    name: "sleep",
    least: 1,
    most: 1,
    of: |_| Ok(DataType::Int64),
    eval: None,
    lower: None,
}];

/// The SLEEP of one statement.
#[must_use]
pub fn sleep(cancel: &Cancel) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Sleep {
        cancel: cancel.clone(),
        signature: Signature::any(1, Volatility::Volatile),
    }))
}

#[derive(Debug)]
struct Sleep {
    cancel: Cancel,
    signature: Signature,
}

impl PartialEq for Sleep {
    fn eq(&self, _: &Sleep) -> bool {
        true
    }
}

impl Eq for Sleep {}

impl std::hash::Hash for Sleep {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        "sleep".hash(state);
    }
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seconds: ArrayRef = args.args[0].to_array(args.number_rows)?;
        let seconds = convert::float64(&convert::convert(&seconds, &DataType::Float64)?)?;
        for row in 0..seconds.len() {
            if seconds.is_null(row) || seconds.value(row).is_nan() || seconds.value(row) < 0.0 {
                return Err(super::wrong_arguments("sleep."));
            }
            let mut left = Duration::from_secs_f64(seconds.value(row).min(SLEEP_S_MAX)).as_millis();
            // A worker of the query cores waits here, in slices: MySQL's thread would too.
            while left > 0 {
                if self.cancel.is_cancelled() {
                    return Err(wrap(SqlError::interrupted()));
                }
                let slice = left.min(u128::from(SLEEP_SLICE_MS));
                std::thread::sleep(Duration::from_millis(u64::try_from(slice).unwrap_or(0)));
                left -= slice;
            }
        }
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(vec![
            0;
            seconds.len()
        ]))))
    }
}
