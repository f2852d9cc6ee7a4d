//! The trees that binding makes: calls, conditions, literals and the texts of types.

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, Select, UnaryOperator,
    Value,
};

use super::literal::{cast, null, text};
use super::scope::quoted;
use crate::sql::error::SqlError;

/// A call of one of our functions.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(quoted(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
                .collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A condition of an expression of any type.
pub(super) fn truth(expr: Expr) -> Expr {
    call("truth", vec![expr])
}

/// All of them, or `None` of none.
pub(super) fn conjunction(terms: Vec<Expr>) -> Option<Expr> {
    balanced(terms, &BinaryOperator::And)
}

/// HAVING of groups stays one; of single rows it asks what WHERE does, by the names of the SELECT list.
pub(super) fn keep_having(bound: &mut Select, having: Expr, aggregates: bool) {
    let groups = match &bound.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(groups, _) => !groups.is_empty(),
    };
    if groups || aggregates {
        bound.having = Some(having);
        return;
    }
    bound.having = None;
    let terms = bound.selection.take().into_iter().chain([having]);
    bound.selection = conjunction(terms.map(|term| Expr::Nested(Box::new(term))).collect());
}

pub(super) fn negate(expr: Expr, negated: bool) -> Expr {
    if negated {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(expr))),
        }
    } else {
        expr
    }
}

/// Joins terms as a tree of logarithmic height.
pub(super) fn balanced(mut terms: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    while terms.len() > 1 {
        let mut next = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            next.push(match rest.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: op.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        terms = next;
    }
    terms.pop()
}

pub(super) fn decimal_literal(digits: &str) -> Result<Expr, SqlError> {
    let literal = Expr::Value(Value::Number(digits.to_owned(), false).into());
    let Some((whole, fraction)) = digits.split_once('.') else {
        return if digits.trim_start_matches('0').len() > 38 {
            Err(too_many_digits(digits))
        } else {
            Ok(literal)
        };
    };
    if whole.trim_start_matches('0').len() + fraction.len() > 38 || fraction.len() > 30 {
        return Err(too_many_digits(digits));
    }
    let precision = (whole.trim_start_matches('0').len() + fraction.len()).max(1);
    Ok(cast(
        text(digits),
        &format!("decimal({precision},{})", fraction.len()),
    ))
}

fn too_many_digits(digits: &str) -> SqlError {
    SqlError::not_supported(format!("{digits}: DECIMAL beyond 38 digits"))
}

pub(super) fn hexadecimal(digits: &str) -> Result<Expr, SqlError> {
    let padded = if digits.len() % 2 == 1 {
        format!("0{digits}")
    } else {
        digits.to_owned()
    };
    let bytes: Option<Vec<u8>> = (0..padded.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(padded.get(at..at + 2)?, 16).ok())
        .collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(own)) => Ok(text(&own)),
        _ => Err(SqlError::not_supported(format!(
            "x'{digits}': binary strings that are not UTF-8"
        ))),
    }
}

pub(super) fn dotted(names: &[Ident]) -> String {
    names
        .iter()
        .map(|name| name.value.as_str())
        .collect::<Vec<_>>()
        .join(".")
}

pub(super) fn is_utf8(charset: &str) -> bool {
    matches!(
        charset.trim_matches('`').to_ascii_lowercase().as_str(),
        "utf8mb4" | "utf8" | "utf8mb3"
    )
}

/// The text of a type as the function `cast` takes it.
pub(super) fn cast_type(data_type: &DataType) -> Result<String, SqlError> {
    let shown = data_type.to_string().to_ascii_lowercase();
    let base = shown.split(['(', ' ']).next().unwrap_or("");
    Ok(match base {
        "signed" => "signed".to_owned(),
        "unsigned" => "unsigned".to_owned(),
        "char" | "character" | "nchar" | "binary" | "varchar" => match shown.split_once('(') {
            Some((_, length)) => {
                let length = length.trim_end_matches(')');
                format!("char({length})")
            }
            None => "char".to_owned(),
        },
        "decimal" | "dec" | "numeric" => shown.replacen(base, "decimal", 1).replace(' ', ""),
        "date" | "double" => base.to_owned(),
        "float" | "real" => "double".to_owned(),
        "datetime" => shown.replace(' ', ""),
        _ => return Err(SqlError::not_supported(format!("CAST AS {data_type}"))),
    })
}

/// A literal of a session's value.
pub(super) fn of_text(value: Option<&str>) -> Expr {
    value.map_or_else(null, text)
}
