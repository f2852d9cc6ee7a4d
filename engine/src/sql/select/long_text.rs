//! A long text as a function without arguments: what stands in a plan for a constant that is not to be copied.
//!
//! A planner copies a constant to wherever it is named: one of a derived table into every condition on it. It copies,
//! compares and hashes whatever stands there with each rule. So a text of more than [`TEXT_IN_PLAN_BYTES_MAX`], in the
//! statement, of a parameter or a variable, or made by functions of constants while it is planned, is kept once and
//! named `text#n`. It is volatile, for what is not is evaluated while it is planned, and moved to where it is used.
//!
//! Over one row it gives the array that it holds, copied nowhere; so does a function of one, whose array is reserved.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use crate::limits::TEXT_IN_PLAN_BYTES_MAX;

const PREFIX: &str = "text#";

/// The long texts that a statement has in its own words, its parameters and its variables.
#[derive(Debug, Default)]
pub struct Texts {
    texts: Vec<Arc<StringArray>>,
    /// By a hash, their numbers.
    numbers: HashMap<u64, Vec<usize>>,
    hashes: RandomState,
}

impl Texts {
    /// The name of the function that gives this text. The same text is the same expression, in a SELECT list and in
    /// its GROUP BY. `hold`: what it takes, before it is copied.
    ///
    /// # Errors
    /// `hold`'s.
    pub(super) fn name<E>(
        &mut self,
        text: &str,
        hold: impl FnOnce(usize) -> Result<(), E>,
    ) -> Result<String, E> {
        let numbers = self.numbers.entry(self.hashes.hash_one(text)).or_default();
        let is_it = |number: &&usize| self.texts[**number].value(0) == text;
        let number = match numbers.iter().find(is_it) {
            Some(known) => *known,
            None => {
                hold(text.len())?;
                numbers.push(self.texts.len());
                self.texts.push(Arc::new(StringArray::from(vec![text])));
                self.texts.len() - 1
            }
        };
        Ok(format!("{PREFIX}{number}"))
    }

    /// The function of a name that [`Texts::name`] gave.
    pub(super) fn udf(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let number: usize = name.strip_prefix(PREFIX)?.parse().ok()?;
        let text = self.texts.get(number)?;
        Some(udf(name.to_owned(), Arc::clone(text)))
    }
}

fn udf(name: String, text: Arc<StringArray>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(LongText {
        name,
        text,
        signature: Signature::nullary(Volatility::Volatile),
    }))
}

/// Bytes of the text that an expression is, where it is one.
pub(super) fn bytes(expr: &Expr) -> Option<usize> {
    let Expr::ScalarFunction(call) = expr else {
        return None;
    };
    let long = call.func.inner().downcast_ref::<LongText>()?;
    Some(long.text.value(0).len())
}

/// A node of a plan with the long texts that were made while it was planned kept so.
///
/// # Errors
/// None that a plan of DataFusion's own gives.
pub(super) fn keep(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let kept = expr.transform_up(|expr| match long(&expr) {
            Some(text) => {
                let mut hasher = DefaultHasher::new();
                text.value(0).hash(&mut hasher);
                let name = format!("{PREFIX}{:016x}", hasher.finish());
                Ok(Transformed::yes(udf(name, text).call(Vec::new())))
            }
            None => Ok(Transformed::no(expr)),
        })?;
        match kept.transformed {
            true => Ok(kept.update_data(|expr| name.restore(expr))),
            false => Ok(kept),
        }
    })
}

/// Whether a text is too long to stand in a plan as it is.
pub(super) fn is_long(text: &str) -> bool {
    text.len() > TEXT_IN_PLAN_BYTES_MAX
}

fn long(expr: &Expr) -> Option<Arc<StringArray>> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = expr else {
        return None;
    };
    is_long(text).then(|| Arc::new(StringArray::from(vec![text.as_str()])))
}

/// It gives its text.
#[derive(Debug)]
struct LongText {
    name: String,
    text: Arc<StringArray>,
    signature: Signature,
}

impl PartialEq for LongText {
    fn eq(&self, other: &LongText) -> bool {
        Arc::ptr_eq(&self.text, &other.text)
    }
}

impl Eq for LongText {}

impl Hash for LongText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for LongText {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, _: &[Expr]) -> DfResult<String> {
        Ok(self.name.clone())
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, DataType::Utf8, false)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(match args.number_rows {
            1 => ColumnarValue::Array(Arc::clone(&self.text) as ArrayRef),
            _ => ColumnarValue::Scalar(ScalarValue::from(self.text.value(0))),
        })
    }
}
