//! LIMIT and OFFSET, in what DataFusion counts in.

use sqlparser::ast::{Expr, LimitClause, Offset, OffsetRows, Value};

use super::literal::{is_placeholder_null, number};
use super::query::refuse;
use crate::sql::error::{Code, SqlError};

/// More rows than any table has, in what DataFusion counts in.
fn rows_max() -> Expr {
    Expr::value(Value::Number(i64::MAX.to_string(), false))
}

pub(super) fn limit_clause(clause: &LimitClause) -> Result<Option<LimitClause>, SqlError> {
    let (limit, offset) = match clause {
        LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        } => {
            refuse(!limit_by.is_empty(), "LIMIT BY")?;
            (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
        }
        LimitClause::OffsetCommaLimit { offset, limit } => (Some(limit), Some(offset)),
    };
    // DataFusion counts in i64; no table here has more rows.
    let count = |expr: &Expr| -> Result<Option<Expr>, SqlError> {
        if matches!(expr, Expr::Value(value) if is_placeholder_null(value)) {
            return Ok(None);
        }
        match number(expr) {
            Some(count) if i64::try_from(count).is_ok() => Ok(Some(expr.clone())),
            Some(_) => Ok(None),
            None => Err(SqlError::new(
                Code::Syntax,
                format!("LIMIT takes whole numbers that are not negative, not '{expr}'"),
            )),
        }
    };
    let limit = limit.map(count).transpose()?.flatten();
    let offset = match offset {
        Some(offset) => Some(count(offset)?.unwrap_or_else(rows_max)),
        None => None,
    };
    if limit.is_none() && offset.is_none() {
        return Ok(None);
    }
    Ok(Some(LimitClause::LimitOffset {
        limit,
        offset: offset.map(|value| Offset {
            value,
            rows: OffsetRows::None,
        }),
        limit_by: Vec::new(),
    }))
}
