//! DataFusion's errors as MySQL's. Ours travel through DataFusion unchanged and come out as they were.

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};

use super::memory::QueryMemory;
use crate::sql::error::{Code, SqlError};

/// Puts an error of ours into one of DataFusion's.
#[must_use]
pub fn wrap(fault: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

/// 1690: `what` is the type, `place` the expression.
#[must_use]
pub fn out_of_range(what: &str, place: &str) -> DataFusionError {
    wrap(SqlError::new(
        Code::DataOutOfRange,
        format!("{what} value is out of range in '{place}'"),
    ))
}

/// What a client is told of an error of DataFusion's.
#[must_use]
pub fn unwrap(fault: &DataFusionError, memory: &QueryMemory) -> SqlError {
    match fault {
        DataFusionError::External(inner) => {
            if let Some(own) = inner.downcast_ref::<SqlError>() {
                return own.clone();
            }
            match inner.downcast_ref::<DataFusionError>() {
                Some(nested) => unwrap(nested, memory),
                None => unknown(&inner.to_string()),
            }
        }
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(source) => {
                if let Some(own) = source.downcast_ref::<SqlError>() {
                    return own.clone();
                }
                match source.downcast_ref::<DataFusionError>() {
                    Some(nested) => unwrap(nested, memory),
                    None => unknown(&source.to_string()),
                }
            }
            ArrowError::DivideByZero => SqlError::new(Code::DivisionByZero, "Division by 0"),
            ArrowError::ArithmeticOverflow(_) => SqlError::new(
                Code::DataOutOfRange,
                "DECIMAL value is out of range in an aggregate",
            ),
            other => unknown(&other.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            unwrap(inner, memory)
        }
        DataFusionError::Shared(inner) => unwrap(inner, memory),
        DataFusionError::Collection(faults) => match faults.first() {
            Some(first) => unwrap(first, memory),
            None => SqlError::new(Code::Unknown, "several errors, none of them named"),
        },
        DataFusionError::ResourcesExhausted(_) => memory.exhausted(),
        DataFusionError::ExecutionJoin(join) => panicked(&join.to_string()),
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::AmbiguousReference { field } => SqlError::new(
                Code::AmbiguousColumn,
                format!("Column '{}' in field list is ambiguous", field.name),
            ),
            SchemaError::FieldNotFound { field, .. } => SqlError::new(
                Code::UnknownColumn,
                format!("Unknown column '{}' in 'field list'", field.name),
            ),
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => SqlError::new(
                Code::DuplicateColumn,
                format!("Duplicate column name '{name}'"),
            ),
        },
        DataFusionError::NotImplemented(what) => SqlError::not_supported(first_line(what)),
        DataFusionError::Plan(what) => planned(what),
        DataFusionError::Execution(what) if what.contains("more than one row") => {
            SqlError::new(Code::SubqueryRows, "Subquery returns more than 1 row")
        }
        other => unknown(&other.to_string()),
    }
}

/// What has no number of its own.
fn unknown(text: &str) -> SqlError {
    SqlError::new(Code::Unknown, first_line(text))
}

/// What the compiler of patterns says of one.
#[must_use]
pub fn regexp(text: &str) -> SqlError {
    SqlError::new(
        Code::Regexp,
        format!(
            "Got error '{}' from regexp",
            text.lines().last().unwrap_or("").trim()
        ),
    )
}

/// What a client is told of a panic in its query.
#[must_use]
pub fn panicked(what: &str) -> SqlError {
    SqlError::new(
        Code::Unknown,
        format!("The query failed inside the server: {}", first_line(what)),
    )
}

fn planned(what: &str) -> SqlError {
    if what.contains("must appear in the GROUP BY clause")
        || what.contains("must be in the GROUP BY")
        || what.contains("could not be resolved from available columns")
    {
        return SqlError::new(
            Code::WrongFieldWithGroup,
            format!(
                "Expression of SELECT list is not in GROUP BY clause and contains nonaggregated \
                 column: {}",
                first_line(what)
            ),
        );
    }
    if what.contains("Correlated scalar subquery must be aggregated") {
        return SqlError::not_supported(
            "a scalar subquery that names a column of the query around it and has no aggregate",
        );
    }
    SqlError::new(Code::NotSupported, first_line(what))
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(500)
        .collect()
}
