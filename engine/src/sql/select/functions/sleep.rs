//! SLEEP: made for each statement, because it must hear of the statement's KILL.
//!
//! It waits on its thread, as MySQL's does, but gives its worker of the query cores back first: also
//! with one query CPU every other query goes on.

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
use crate::sql::select::beside::beside_the_workers;
use crate::sql::select::cancel::Cancel;

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

impl Sleep {
    /// In slices, to hear of a KILL.
    fn wait(&self, whole: Duration) -> Result<()> {
        let mut left = whole.as_millis();
        while left > 0 {
            self.cancel.check()?;
            let slice = left.min(u128::from(SLEEP_SLICE_MS));
            std::thread::sleep(Duration::from_millis(u64::try_from(slice).unwrap_or(0)));
            left -= slice;
        }
        Ok(())
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
            let whole = Duration::from_secs_f64(seconds.value(row).min(SLEEP_S_MAX));
            beside_the_workers(|| self.wait(whole))?;
        }
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(vec![
            0;
            seconds.len()
        ]))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::select::beside::beside_the_workers;
    use crate::sql::select::cancel::Cancel;

    /// One query CPU: a sleep for ever must let another task run, and must end when that one kills it.
    #[test]
    fn one_query_cpu_serves_others_while_a_statement_sleeps() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (kill, cancel) = Cancel::new();
        let sleep = Sleep {
            cancel,
            signature: Signature::any(1, Volatility::Volatile),
        };
        let (begun, began) = tokio::sync::oneshot::channel();
        let sleeping = runtime.spawn(async move {
            begun.send(()).unwrap();
            beside_the_workers(|| sleep.wait(Duration::from_secs_f64(SLEEP_S_MAX)))
        });
        let other = runtime.spawn(async move {
            began.await.unwrap();
            kill.cancel();
        });
        let (done, ended) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            other.await.unwrap();
            done.send(sleeping.await.unwrap()).unwrap();
        });
        let outcome = ended.recv_timeout(Duration::from_secs(30));
        let error = outcome.expect("the other task had its turn").unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
        // A sleep that still holds the only worker would be waited for.
        runtime.shutdown_background();
    }
}
