//! Queries: WITH, set operations, SELECT and LIMIT.

use sqlparser::ast::{
    Cte as CteTree, Distinct, Expr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, SetOperator, Value, WildcardAdditionalOptions,
};

use super::build::{call, keep_having};
use super::from::parts;
use super::limit::limit_clause;
use super::literal::{as_written, is_placeholder_null};
use super::scope::{Alias, AliasUse, Column, Columns, Scope, quoted};
use super::weight::Counts;
use super::{Binder, Cte, Output};
use crate::limits::{QUERY_NESTING_MAX, RESULT_COLUMNS_MAX};
use crate::sql::error::{Code, SqlError};

/// What becomes of two columns of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    /// The later one gets another name inside: a result, a scalar or IN subquery.
    Renamed,
    /// Error 1060: a derived table, a common table expression.
    Refused,
}

/// An item of a SELECT list, bound.
pub(super) struct Item {
    pub(super) expr: Expr,
    pub(super) output: Output,
    /// What naming it adds to the plan.
    pub(super) counts: Counts,
    /// How many expressions it is, with those of the derived columns that it names.
    pub(super) written: usize,
}

impl Item {
    /// Of a `*`.
    fn column(expr: Expr, output: Output, written: usize) -> Item {
        Item {
            expr,
            output,
            counts: Counts::default(),
            written,
        }
    }
}

impl Binder<'_> {
    /// Binds a query; the columns carry the names DataFusion will know them by.
    pub(super) fn query(
        &mut self,
        query: &Query,
        twice: Twice,
    ) -> Result<(Query, Columns), SqlError> {
        if self.depth >= QUERY_NESTING_MAX {
            return Err(SqlError::new(
                Code::LimitReached,
                format!("The query is nested deeper than {QUERY_NESTING_MAX} levels"),
            ));
        }
        refuse(query.fetch.is_some(), "FETCH")?;
        refuse(query.for_clause.is_some(), "FOR")?;
        refuse(query.settings.is_some(), "SETTINGS")?;
        refuse(query.format_clause.is_some(), "FORMAT")?;
        refuse(!query.pipe_operators.is_empty(), "|>")?;
        self.depth += 1;
        let ctes = self.ctes.len();
        let bound = self.query_body(query, twice);
        self.ctes.truncate(ctes);
        self.depth -= 1;
        bound
    }

    fn query_body(&mut self, query: &Query, twice: Twice) -> Result<(Query, Columns), SqlError> {
        let mut bound = query.clone();
        bound.locks.clear();
        if let Some(with) = &mut bound.with {
            refuse(with.recursive, "WITH RECURSIVE")?;
            for cte in &mut with.cte_tables {
                self.cte(cte)?;
            }
        }
        let (body, columns, scope) = self.set_expr(&query.body, twice)?;
        if let Some(order_by) = &query.order_by {
            self.scopes.push(scope);
            let ordered = self.within("order clause", |binder| binder.order_by(order_by, &columns));
            self.scopes.pop();
            bound.order_by = Some(ordered?);
        }
        bound.body = Box::new(body);
        bound.limit_clause = match &query.limit_clause {
            Some(limit) => limit_clause(limit)?,
            None => None,
        };
        Ok((bound, columns))
    }

    fn cte(&mut self, cte: &mut CteTree) -> Result<(), SqlError> {
        let before = self.weighed();
        let (query, mut columns) = self.query(&cte.query, Twice::Refused)?;
        let counts = self.take_weighed(before);
        if !cte.alias.columns.is_empty() {
            if cte.alias.columns.len() != columns.len() {
                return Err(SqlError::new(
                    Code::ViewWrongList,
                    "In definition of view, derived table or common table expression, SELECT list \
                     and column names list have different column counts",
                ));
            }
            for (column, named) in columns.iter_mut().zip(&mut cte.alias.columns) {
                column.name.clone_from(&named.name.value);
                column.output.name.clone_from(&named.name.value);
                named.name = quoted(&named.name.value);
            }
        }
        let name = cte.alias.name.value.clone();
        let inner = self.alias(&name);
        cte.alias.name = quoted(&inner);
        *cte.query = query;
        self.ctes.push(Cte {
            name,
            inner,
            columns,
            counts,
        });
        Ok(())
    }

    /// Binds a SELECT or a set operation; the scope is what ORDER BY may name.
    fn set_expr(
        &mut self,
        body: &SetExpr,
        twice: Twice,
    ) -> Result<(SetExpr, Columns, Scope), SqlError> {
        match body {
            SetExpr::Select(select) => {
                let (select, columns, scope) = self.select(select, twice)?;
                Ok((SetExpr::Select(Box::new(select)), columns, scope))
            }
            SetExpr::Query(query) => {
                let (query, columns) = self.query(query, twice)?;
                let scope = named_only(&columns);
                Ok((SetExpr::Query(Box::new(query)), columns, scope))
            }
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                let is_first = !matches!(left.as_ref(), SetExpr::SetOperation { .. });
                let (mut left, mut columns, _) = self.set_expr(left, twice)?;
                let (mut right, others, _) = self.set_expr(right, Twice::Renamed)?;
                if columns.len() != others.len() {
                    return Err(SqlError::new(
                        Code::WrongNumberOfColumns,
                        "The used SELECT statements have a different number of columns",
                    ));
                }
                for (column, other) in columns.iter_mut().zip(&others) {
                    // INTERSECT and EXCEPT are joins.
                    if *op != SetOperator::Union {
                        self.weigh_written(if is_first { column.written } else { 1 })?;
                        self.weigh_written(other.written)?;
                    }
                    column.written = column.written.saturating_add(other.written);
                }
                plain(&mut left);
                plain(&mut right);
                let scope = named_only(&columns);
                Ok((
                    SetExpr::SetOperation {
                        left: Box::new(left),
                        op: *op,
                        set_quantifier: *set_quantifier,
                        right: Box::new(right),
                    },
                    columns,
                    scope,
                ))
            }
            other => Err(SqlError::not_supported(other)),
        }
    }

    fn select(
        &mut self,
        select: &Select,
        twice: Twice,
    ) -> Result<(Select, Columns, Scope), SqlError> {
        refuse(select.top.is_some(), "TOP")?;
        refuse(select.into.is_some(), "SELECT ... INTO")?;
        refuse(!select.lateral_views.is_empty(), "LATERAL VIEW")?;
        refuse(select.qualify.is_some(), "QUALIFY")?;
        refuse(select.prewhere.is_some(), "PREWHERE")?;
        refuse(!select.connect_by.is_empty(), "CONNECT BY")?;
        refuse(!select.named_window.is_empty(), "WINDOW")?;
        refuse(
            matches!(select.distinct, Some(Distinct::On(_))),
            "DISTINCT ON",
        )?;
        self.weigh_select()?;
        let mut bound = select.clone();
        bound.select_modifiers = None;
        bound.optimizer_hints = Vec::new();
        if let Some(Distinct::All) = bound.distinct {
            bound.distinct = None;
        }
        let (from, scope) = self.from(&select.from)?;
        bound.from = from;
        self.scopes.push(scope);
        let result = self.select_clauses(select, &mut bound, twice);
        let scope = self.scopes.pop().unwrap_or_default();
        let columns = result?;
        Ok((bound, columns, scope))
    }

    fn select_clauses(
        &mut self,
        select: &Select,
        bound: &mut Select,
        twice: Twice,
    ) -> Result<Columns, SqlError> {
        let items = self.within("field list", |binder| {
            let mut items = Vec::with_capacity(select.projection.len());
            for item in &select.projection {
                binder.item(item, &mut items)?;
                if items.len() > RESULT_COLUMNS_MAX {
                    return Err(SqlError::new(Code::TooManyColumns, "Too many columns"));
                }
            }
            binder.weigh_columns(items.len())?;
            Ok(items)
        })?;
        let mut columns: Columns = Vec::with_capacity(items.len());
        bound.projection.clear();
        for Item {
            expr,
            output,
            written,
            ..
        } in &items
        {
            let taken = |name: &str| {
                columns
                    .iter()
                    .filter(|column| column.name.eq_ignore_ascii_case(name))
                    .count()
            };
            let name = match taken(&output.name) {
                0 => output.name.clone(),
                _ if twice == Twice::Refused => {
                    return Err(SqlError::new(
                        Code::DuplicateColumn,
                        format!("Duplicate column name '{}'", output.name),
                    ));
                }
                _ => format!("{}#{}", output.name, columns.len() + 1),
            };
            bound.projection.push(SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: quoted(&name),
            });
            columns.push(Column {
                name,
                hidden: false,
                output: output.clone(),
                written: *written,
            });
        }
        if let Some(selection) = &select.selection {
            bound.selection = Some(self.within("where clause", |binder| binder.filter(selection))?);
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.aliases = items
                .iter()
                .map(|item| Alias {
                    name: item.output.name.clone(),
                    expr: item.expr.clone(),
                    counts: item.counts,
                })
                .collect();
        }
        self.allow_aliases(AliasUse::Last);
        bound.group_by = self.within("group statement", |binder| {
            binder.group_by(&select.group_by, &items)
        })?;
        self.allow_aliases(AliasUse::First);
        if let Some(having) = &select.having {
            let having = self.within("having clause", |binder| binder.filter(having))?;
            let aggregates = self.scopes.last().is_some_and(|scope| scope.aggregates);
            keep_having(bound, having, aggregates);
        }
        Ok(columns)
    }

    fn allow_aliases(&mut self, alias_use: AliasUse) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.alias_use = alias_use;
        }
    }

    fn item(&mut self, item: &SelectItem, items: &mut Vec<Item>) -> Result<(), SqlError> {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let output = self.output_of(expr, None);
                items.push(self.written_item(expr, output)?);
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let output = self.output_of(expr, Some(&alias.value));
                items.push(self.written_item(expr, output)?);
            }
            SelectItem::Wildcard(options) => {
                plain_wildcard(options)?;
                let scope = self.scope();
                if scope.items.is_empty() {
                    return Err(SqlError::new(Code::NoTablesUsed, "No tables used"));
                }
                for at in &scope.visible {
                    let name = &scope.column(*at).name;
                    let written = scope.column(*at).written;
                    items.push(Item::column(
                        scope.expr(*at),
                        scope.output(*at, name),
                        written,
                    ));
                }
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                plain_wildcard(options)?;
                let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
                    return Err(SqlError::not_supported(item));
                };
                let parts = parts(name)?;
                let (database, table) = match parts.as_slice() {
                    [table] => (None, table.as_str()),
                    [database, table] => (Some(database.as_str()), table.as_str()),
                    _ => return Err(SqlError::not_supported(name)),
                };
                let scope = self.scope();
                let Some(own) = scope.item(database, table) else {
                    return Err(SqlError::new(
                        Code::UnknownTable,
                        format!("Unknown table '{table}'"),
                    ));
                };
                for (column, shown) in scope.items[own].columns.iter().enumerate() {
                    if !shown.hidden {
                        let at = super::scope::Visible { item: own, column };
                        items.push(Item::column(
                            scope.expr(at),
                            scope.output(at, &shown.name),
                            shown.written,
                        ));
                    }
                }
            }
            SelectItem::ExprWithAliases { .. } => return Err(SqlError::not_supported(item)),
        }
        Ok(())
    }

    fn written_item(&mut self, expr: &Expr, output: Output) -> Result<Item, SqlError> {
        let before = self.weighed();
        let expr = self.expr(expr)?;
        let counts = self.weighed_since(before);
        Ok(Item {
            expr,
            output,
            counts,
            written: self.written_since(before),
        })
    }

    fn scope(&self) -> Scope {
        self.scopes.last().cloned().unwrap_or_default()
    }

    /// What a client is told of an item of the SELECT list.
    fn output_of(&self, expr: &Expr, alias: Option<&str>) -> Output {
        let mut output = Output::default();
        let mut shown = None;
        if let Some(scope) = self.scopes.last() {
            let at = match expr {
                Expr::Identifier(name) => scope.find(&name.value, "").ok().flatten(),
                Expr::CompoundIdentifier(names) => match names.as_slice() {
                    [table, name] => scope.find_in(None, &table.value, &name.value),
                    [database, table, name] => {
                        scope.find_in(Some(&database.value), &table.value, &name.value)
                    }
                    _ => None,
                },
                _ => None,
            };
            if let Some(at) = at {
                output = scope.output(at, "");
            }
        }
        match expr {
            Expr::Identifier(name) => shown = Some(name.value.clone()),
            Expr::CompoundIdentifier(names) if !names[0].value.starts_with('@') => {
                shown = names.last().map(|name| name.value.clone());
            }
            Expr::Value(value) if is_placeholder_null(value) => shown = Some("?".to_owned()),
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) =
                    &value.value
                {
                    shown = Some(text.clone());
                }
            }
            _ => {}
        }
        output.name = match alias {
            Some(alias) => alias.to_owned(),
            None => shown.unwrap_or_else(|| as_written(expr.to_string())),
        };
        output
    }
}

/// A scope in which only the result's own names can be used.
fn named_only(columns: &Columns) -> Scope {
    Scope {
        aliases: columns
            .iter()
            .map(|column| Alias {
                name: column.output.name.clone(),
                expr: Expr::Identifier(quoted(&column.name)),
                counts: Counts::default(),
            })
            .collect(),
        alias_use: AliasUse::First,
        ..Scope::default()
    }
}

/// Makes the Booleans of a set operation's branch the integers that they are.
fn plain(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::ExprWithAlias { expr, .. } = item {
                    *expr = call("plain", vec![expr.clone()]);
                }
            }
        }
        SetExpr::Query(query) => plain(&mut query.body),
        _ => {}
    }
}

fn plain_wildcard(options: &WildcardAdditionalOptions) -> Result<(), SqlError> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    refuse(
        opt_ilike.is_some()
            || opt_exclude.is_some()
            || opt_except.is_some()
            || opt_replace.is_some()
            || opt_rename.is_some()
            || opt_alias.is_some(),
        "options of *",
    )
}

pub(super) fn refuse(present: bool, what: &str) -> Result<(), SqlError> {
    if present {
        Err(SqlError::not_supported(what))
    } else {
        Ok(())
    }
}
