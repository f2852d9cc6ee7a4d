//! An expression by a number: what stands every [`NUMBERED_LEVELS`] levels in one that is high.
//!
//! DataFusion asks for the type of an expression at each of its levels, and for that for the name of each level below
//! it. A name is the text of all that is below: of a sum of 250 terms that is some millions of terms. So a level that is
//! [`NUMBERED_LEVELS`] above the last one goes through a function that is named by a hash of its text, as it was
//! bound: the same text has the same name in a SELECT list and in its GROUP BY.
//!
//! One of constants is left to the run. The planner tries to run each level that holds constants alone, with all below
//! it, and where that errs (`1 / (9223372036854775807 * 2) ...`) it tries the next one again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::limits::{NUMBERED_LEVEL_MIN, NUMBERED_LEVELS};

const PREFIX: &str = "same#";
const PREFIX_OF_CONSTANTS: &str = "constant#";

/// The name of the function for an expression of such a text; `None` where its height needs none.
#[must_use]
pub fn name(height: usize, is_constant: bool, text: impl FnOnce() -> String) -> Option<String> {
    if height < NUMBERED_LEVEL_MIN || !height.is_multiple_of(NUMBERED_LEVELS) {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    text().hash(&mut hasher);
    let prefix = match is_constant {
        true => PREFIX_OF_CONSTANTS,
        false => PREFIX,
    };
    Some(format!("{prefix}{:016x}", hasher.finish()))
}

/// The function of a name that [`name`] gave.
#[must_use]
pub fn udf(name: &str) -> Option<Arc<ScalarUDF>> {
    let volatility = if name.starts_with(PREFIX) {
        Volatility::Immutable
    } else if name.starts_with(PREFIX_OF_CONSTANTS) {
        // What is not volatile is run while it is planned.
        Volatility::Volatile
    } else {
        return None;
    };
    Some(Arc::new(ScalarUDF::new_from_impl(Numbered {
        name: name.to_owned(),
        signature: Signature::any(1, volatility),
    })))
}

/// Whether an expression is a call of one.
pub(super) fn is_numbered(expr: &Expr) -> bool {
    let Expr::ScalarFunction(call) = expr else {
        return false;
    };
    call.name().starts_with(PREFIX) || call.name().starts_with(PREFIX_OF_CONSTANTS)
}

/// It gives what it is given.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Numbered {
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for Numbered {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("{} without its expression", self.name),
        }
    }
}
