//! The functions: every operator and function of MySQL's that a query may use.
//!
//! One table, [`find`]. A function gives its type from those of its arguments, and either evaluates
//! arrays or is lowered, when the plan is optimised, to plain Arrow expressions that filters can be
//! pushed with. What is lowered is never evaluated.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use self::named::call_name;
use self::texts::Texts;
use super::beside::beside_the_workers;
use super::cancel::check_planned;
use super::fault::wrap;
use super::long_text::is_long;
use super::memory::Purse;
use crate::limits::{CONSTANTS_BESIDE_BYTES, LOWERED_LEVELS_MAX, SHOWN_CHARS_MAX};
use crate::sql::error::{Code, SqlError};

pub mod compare;
pub mod control;
pub mod convert;
pub mod date;
mod date_text;
mod interval;
mod named;
pub mod number;
pub mod numbered;
pub mod round;
pub mod sleep;
pub mod text;
mod texts;
pub mod time;

/// A function's types at one call.
pub struct Types<'a> {
    /// The function's name.
    pub name: &'a str,
    /// The arguments' types.
    pub types: Vec<DataType>,
    /// Those that are constant.
    pub constants: Vec<Option<&'a ScalarValue>>,
}

impl Types<'_> {
    /// A constant string argument.
    #[must_use]
    pub fn text(&self, at: usize) -> Option<&str> {
        match (*self.constants.get(at)?)? {
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Some(text),
            _ => None,
        }
    }

    /// A constant whole number argument.
    #[must_use]
    pub fn int(&self, at: usize) -> Option<i64> {
        match (*self.constants.get(at)?)? {
            ScalarValue::Int64(value) => *value,
            ScalarValue::UInt64(value) => value.and_then(|value| i64::try_from(value).ok()),
            _ => None,
        }
    }
}

/// Functions that make long strings of short ones.
const MUCH_OF_LITTLE: [&str; 5] = ["lpad", "repeat", "replace", "rpad", "space"];

/// One evaluation: arrays of equal length.
pub struct Call {
    /// The function's name.
    pub name: &'static str,
    /// The arguments.
    pub args: Vec<ArrayRef>,
    /// How many rows.
    pub rows: usize,
    /// The type to give.
    pub out: DataType,
    /// The expression's text, for errors.
    pub shown: String,
    /// Where the strings that it makes are reserved.
    pub(super) purse: Purse,
}

impl Call {
    /// An array of a string a row, which `of` appends to; `false`: the row is NULL.
    fn texts_of(&self, of: impl FnMut(usize, &mut Texts) -> Result<bool>) -> Result<ArrayRef> {
        Texts::collect(&self.purse, self.name, self.rows, of)
    }

    /// What was made once for so many rows. A long text is an array, so that what was reserved for it goes with it.
    fn written_out(&self, array: ArrayRef, rows: usize) -> Result<ColumnarValue> {
        let long = array
            .as_string_opt::<i32>()
            .filter(|texts| texts.is_valid(0) && is_long(texts.value(0)));
        Ok(match long {
            None => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
            Some(_) if rows == 1 => ColumnarValue::Array(array),
            Some(texts) => {
                ColumnarValue::Array(Texts::collect(&self.purse, self.name, rows, |_, made| {
                    made.push(texts.value(0)).map(|()| true)
                })?)
            }
        })
    }

    /// Whether it may take longer than others should wait.
    fn is_long(&self) -> bool {
        let bytes = self.args.iter().map(|arg| arg.get_buffer_memory_size());
        MUCH_OF_LITTLE.contains(&self.name) || bytes.sum::<usize>() > CONSTANTS_BESIDE_BYTES
    }

    /// An argument as strings.
    pub fn texts(&self, at: usize) -> Result<StringArray> {
        convert::utf8(&plain(&self.args[at])?)
    }

    /// An argument as BIGINTs.
    pub fn ints(&self, at: usize) -> Result<Int64Array> {
        convert::int64(&plain(&self.args[at])?)
    }

    /// An argument as DOUBLEs.
    pub fn doubles(&self, at: usize) -> Result<Float64Array> {
        convert::float64(&plain(&self.args[at])?)
    }

    /// An argument as µs since 1970.
    pub fn micros(&self, at: usize) -> Result<Int64Array> {
        convert::micros(&plain(&self.args[at])?)
    }

    /// An argument as DECIMALs of that scale.
    pub fn decimals(&self, at: usize, scale: u8) -> Result<Decimal128Array> {
        let array = plain(&self.args[at])?;
        convert::decimal(&array, 38, i8::try_from(scale).unwrap_or(0))
    }

    /// A string argument that is the same in every row.
    pub fn word(&self, at: usize) -> Result<String> {
        let texts = self.texts(at)?;
        Ok(if texts.is_empty() || texts.is_null(0) {
            String::new()
        } else {
            texts.value(0).to_owned()
        })
    }
}

/// NULL's own type is no use to a kernel: as strings, all NULL.
fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Null => Ok(arrow::array::new_null_array(&DataType::Utf8, array.len())),
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Decimal256(..) => {
            let to = match array.data_type() {
                DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
                _ => DataType::Utf8,
            };
            convert::convert(array, &to)
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// What a function lowers to: `None` leaves it as it is.
pub type Lower = fn(&Types<'_>, &[Expr]) -> Result<Option<Expr>>;

/// A function.
pub struct Function {
    /// Its name, which is its identity.
    pub name: &'static str,
    /// The fewest arguments.
    pub least: usize,
    /// The most arguments.
    pub most: usize,
    /// Its result's type.
    pub of: fn(&Types<'_>) -> Result<DataType>,
    /// Its values; `None` for what is always lowered.
    pub eval: Option<fn(&Call) -> Result<ArrayRef>>,
    /// Its plain form.
    pub lower: Option<Lower>,
}

/// How many arguments a function takes, or `None` where there is no such function.
#[must_use]
pub fn arity(name: &str) -> Option<(usize, usize)> {
    find(name).map(|function| (function.least, function.most))
}

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES
        .iter()
        .flat_map(|table| table.iter().map(|function| function.name))
}

/// The function of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    TABLES
        .iter()
        .flat_map(|table| table.iter())
        .find(|function| function.name == name)
}

/// The function of that name, for DataFusion.
#[must_use]
pub fn udf(name: &str) -> Option<Arc<ScalarUDF>> {
    static ALL: LazyLock<std::collections::HashMap<&'static str, Arc<ScalarUDF>>> =
        LazyLock::new(|| {
            TABLES
                .iter()
                .flat_map(|table| table.iter())
                .map(|function| {
                    (
                        function.name,
                        Arc::new(ScalarUDF::new_from_impl(Ours::new(function))),
                    )
                })
                .collect()
        });
    ALL.get(name).map(Arc::clone)
}

static TABLES: [&[Function]; 7] = [
    number::FUNCTIONS,
    round::FUNCTIONS,
    compare::FUNCTIONS,
    control::FUNCTIONS,
    text::FUNCTIONS,
    date::FUNCTIONS,
    sleep::FUNCTIONS,
];

/// A function as DataFusion sees it.
#[derive(Debug)]
struct Ours {
    function: &'static Function,
    signature: Signature,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Ours {
    fn new(function: &'static Function) -> Ours {
        Ours {
            function,
            signature: signature(Volatility::Immutable),
        }
    }
}

fn signature(volatility: Volatility) -> Signature {
    Signature::one_of(
        vec![TypeSignature::VariadicAny, TypeSignature::Nullary],
        volatility,
    )
}

impl PartialEq for Ours {
    fn eq(&self, other: &Ours) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Ours {}

impl Hash for Ours {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Ours {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!(
            "{} gives its type by its arguments' fields",
            self.function.name
        )
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(call_name(self.function.name, args))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        check_planned()?;
        let types = Types {
            name: self.function.name,
            types: args
                .arg_fields
                .iter()
                .map(|field| field.data_type().clone())
                .collect(),
            constants: args.scalar_arguments.to_vec(),
        };
        let data_type = (self.function.of)(&types)?;
        let shown = shown(self.function.name, args.arg_fields, &types.constants);
        let mut field = Field::new(shown, data_type, true);
        // A set operation's branch keeps what its columns are declared as.
        if self.function.name == "plain"
            && let Some(own) = args.arg_fields.first()
            && own.data_type() == field.data_type()
        {
            field = field.with_metadata(own.metadata().clone());
        }
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(eval) = self.function.eval else {
            return internal_err!("{} was not lowered", self.function.name);
        };
        // A statement may have many, each of which takes its time for a batch.
        let purse = Purse::of(&args.config_options);
        purse.check()?;
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let number_rows = args.number_rows;
        let rows = if constant { 1 } else { number_rows };
        let call = Call {
            name: self.function.name,
            args: args
                .args
                .into_iter()
                .map(|arg| arg.into_array(rows))
                .collect::<Result<_>>()?,
            rows,
            out: args.return_field.data_type().clone(),
            shown: args.return_field.name().clone(),
            purse,
        };
        if !constant {
            return Ok(ColumnarValue::Array(eval(&call)?));
        }
        // While the statement is planned it stays in the plan.
        let Some(constants) = call.purse.constants() else {
            return call.written_out(eval(&call)?, number_rows);
        };
        constants.check()?;
        let array = match call.is_long() {
            true => beside_the_workers(|| eval(&call))?,
            false => eval(&call)?,
        };
        // An argument that is given back is no new string.
        if !call.args.iter().any(|arg| Arc::ptr_eq(arg, &array)) {
            constants.add(&array)?;
        }
        Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &array, 0,
        )?))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(lower) = self.function.lower else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let args = capped(self.function.name, args)?;
        let types = Types {
            name: self.function.name,
            types: args
                .iter()
                .map(|arg| arg.get_type(info.schema()))
                .collect::<Result<_>>()?,
            constants: args.iter().map(constant).collect(),
        };
        Ok(match lower(&types, &args)? {
            Some(expr) => ExprSimplifyResult::Simplified(expr),
            None => ExprSimplifyResult::Original(args),
        })
    }

    fn short_circuits(&self) -> bool {
        self.function.name == "case"
    }
}

/// What would stand twice in the plain expression, or be asked for its type twice there, behind a function where it is
/// tall: each level doubles the work of a plan, and a function answers for all below it at once.
fn capped(name: &str, mut args: Vec<Expr>) -> Result<Vec<Expr>> {
    let doubled = match name {
        // Each branch is there once, and is not run where its condition does not hold.
        "case" => 0,
        "coalesce" | "ifnull" => args.len().saturating_sub(1),
        _ => args.len(),
    };
    for arg in &mut args[..doubled] {
        if levels(arg, LOWERED_LEVELS_MAX) == LOWERED_LEVELS_MAX {
            *arg = call("same", vec![std::mem::take(arg)])?;
        }
    }
    Ok(args)
}

/// Levels of plain expressions, `most` at most.
fn levels(expr: &Expr, most: usize) -> usize {
    if most == 0 || matches!(expr, Expr::ScalarFunction(_)) {
        return 0;
    }
    let mut below = 0;
    let looked = expr.apply_children(|child| {
        below = below.max(1 + levels(child, most - 1));
        Ok(TreeNodeRecursion::Continue)
    });
    // It fails where the closure does.
    debug_assert!(looked.is_ok());
    below
}

fn constant(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// The expression's text, as errors show it, cut where it is long.
fn shown(name: &str, fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> String {
    let arg = |at: usize| match constants.get(at).copied().flatten() {
        Some(ScalarValue::Utf8(Some(text))) => {
            let end = text.char_indices().nth(SHOWN_CHARS_MAX);
            format!("'{}'", &text[..end.map_or(text.len(), |(at, _)| at)])
        }
        Some(constant) => constant.to_string(),
        None => fields
            .get(at)
            .map_or(String::new(), |field| field.name().clone()),
    };
    let symbol = !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name == "div";
    let mut text = match (name, fields.len()) {
        ("cast", _) => arg(0),
        ("neg", 1) => format!("-({})", arg(0)),
        (_, 2) if symbol => format!("({} {} {})", arg(0), name.to_uppercase(), arg(1)),
        _ => {
            let mut text = format!("{name}(");
            for at in 0..fields.len() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&arg(at));
                if text.len() > SHOWN_CHARS_MAX {
                    break;
                }
            }
            text.push(')');
            text
        }
    };
    // Asked for at each level of a high expression: characters are counted only where they are not bytes.
    let start = text.as_bytes().get(..=SHOWN_CHARS_MAX);
    let end = match start.is_none_or(<[u8]>::is_ascii) {
        true => Some(SHOWN_CHARS_MAX),
        false => text.char_indices().nth(SHOWN_CHARS_MAX).map(|(at, _)| at),
    };
    text.truncate(end.unwrap_or(usize::MAX));
    text
}

/// A call of one of ours, in a plan.
pub fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match udf(name) {
        Some(udf) => Ok(udf.call(args)),
        None => internal_err!("no function {name}"),
    }
}

/// `expr`, of type `from`, as `to`.
pub fn to(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if from == to {
        return expr;
    }
    if let Expr::Literal(value, _) = &expr
        && let Ok(array) = value.to_array()
        && let Ok(converted) = convert::convert(&array, to)
        && let Ok(value) = ScalarValue::try_from_array(&converted, 0)
    {
        return Expr::Literal(value, None);
    }
    if convert::is_plain(from, to) {
        return datafusion::logical_expr::cast(expr, to.clone());
    }
    ScalarUDF::new_from_impl(Convert {
        to: to.clone(),
        signature: Signature::any(1, Volatility::Immutable),
    })
    .call(vec![expr])
}

/// A conversion that Arrow's cast does not make as MySQL does.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Convert {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &str {
        "convert"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(call_name(&format!("convert_{}", self.to), args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(array) => {
                Ok(ColumnarValue::Array(convert::convert(array, &self.to)?))
            }
            ColumnarValue::Scalar(value) => {
                let array = convert::convert(&value.to_array()?, &self.to)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                    &array, 0,
                )?))
            }
        }
    }
}

/// 1210.
pub(super) fn wrong_arguments(name: &str) -> datafusion::common::DataFusionError {
    wrap(SqlError::new(
        Code::WrongArguments,
        format!("Incorrect arguments to {name}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expressions_text_is_cut_at_so_many_characters() {
        let of = |text: &str| {
            let text = ScalarValue::Utf8(Some(text.to_owned()));
            shown("f", &[], &[]) + &shown("cast", &[], &[Some(&text)])
        };
        assert_eq!(of("short"), "f()'short'");
        for one in ["a", "ä", "aä"] {
            let long = format!("f()'{}'", one.repeat(300));
            let cut: String = long.chars().take(3 + SHOWN_CHARS_MAX).collect();
            assert_eq!(of(&one.repeat(300)), cut);
        }
        // As long as may be, in characters and in bytes.
        let fits = "ä".repeat(SHOWN_CHARS_MAX - 2);
        assert_eq!(of(&fits), format!("f()'{fits}'"));
    }
}
