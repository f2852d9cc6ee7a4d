//! GROUP BY and ORDER BY.

use sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, OrderBy, OrderByExpr, OrderByKind, Value,
};

use super::Binder;
use super::literal::number;
use super::query::{Item, refuse};
use super::scope::{Columns, unknown};
use crate::sql::error::SqlError;

impl Binder<'_> {
    /// Binds a GROUP BY; a number stands for an item of the SELECT list.
    pub(super) fn group_by(
        &mut self,
        group_by: &GroupByExpr,
        items: &[Item],
    ) -> Result<GroupByExpr, SqlError> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(SqlError::not_supported("GROUP BY ALL"));
        };
        let mut bound = Vec::with_capacity(exprs.len());
        for expr in exprs {
            self.weigh_item()?;
            bound.push(match number(expr) {
                Some(ordinal) => {
                    let item = item_at(ordinal, items, self.clause)?;
                    self.weigh_again(item.counts)?;
                    self.weigh_written(item.written)?;
                    item.expr.clone()
                }
                None => self.sorted(expr)?,
            });
        }
        match modifiers.as_slice() {
            [] => Ok(GroupByExpr::Expressions(bound, Vec::new())),
            [GroupByWithModifier::Rollup] => Ok(GroupByExpr::Expressions(
                vec![Expr::Rollup(
                    bound.into_iter().map(|expr| vec![expr]).collect(),
                )],
                Vec::new(),
            )),
            _ => Err(SqlError::not_supported("this modifier of GROUP BY")),
        }
    }

    /// Binds an ORDER BY; a number, or a name of the result, stands for a column of it.
    pub(super) fn order_by(
        &mut self,
        order_by: &OrderBy,
        columns: &Columns,
    ) -> Result<OrderBy, SqlError> {
        refuse(order_by.interpolate.is_some(), "INTERPOLATE")?;
        let OrderByKind::Expressions(exprs) = &order_by.kind else {
            return Err(SqlError::not_supported("ORDER BY ALL"));
        };
        let mut bound = Vec::with_capacity(exprs.len());
        for item in exprs {
            self.weigh_item()?;
            let ordinal = match (&item.expr, number(&item.expr)) {
                (_, Some(ordinal)) => {
                    if ordinal == 0 || ordinal > columns.len() as u64 {
                        return Err(unknown(&ordinal.to_string(), self.clause));
                    }
                    Some(ordinal)
                }
                (Expr::Identifier(name), None) => columns
                    .iter()
                    .position(|column| column.output.name.eq_ignore_ascii_case(&name.value))
                    .map(|at| at as u64 + 1),
                _ => None,
            };
            let expr = match ordinal {
                Some(ordinal) => {
                    let column = usize::try_from(ordinal).unwrap_or(0).saturating_sub(1);
                    let written = columns.get(column).map_or(1, |column| column.written);
                    self.weigh_written(written)?;
                    Expr::Value(Value::Number(ordinal.to_string(), false).into())
                }
                None => self.sorted(&item.expr)?,
            };
            refuse(item.with_fill.is_some(), "WITH FILL")?;
            refuse(item.options.nulls_first.is_some(), "NULLS FIRST")?;
            bound.push(OrderByExpr {
                expr,
                options: item.options,
                with_fill: None,
            });
        }
        Ok(OrderBy {
            kind: OrderByKind::Expressions(bound),
            interpolate: None,
        })
    }
}

fn item_at<'a, T>(ordinal: u64, items: &'a [T], clause: &str) -> Result<&'a T, SqlError> {
    usize::try_from(ordinal)
        .ok()
        .and_then(|ordinal| ordinal.checked_sub(1))
        .and_then(|at| items.get(at))
        .ok_or_else(|| unknown(&ordinal.to_string(), clause))
}
