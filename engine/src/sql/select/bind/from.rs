//! FROM: tables, derived tables and joins to a scope.

use sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias,
    TableFactor, TableWithJoins,
};

use super::build::{call, conjunction};
use super::query::Twice;
use super::scope::{Column, Columns, Item, Scope, Visible, ambiguous, quoted, unknown};
use super::{Binder, Output, table_name};
use crate::limits::JOINED_TABLES_MAX;
use crate::sql::error::{Code, SqlError};
use crate::sql::select::Source;
use crate::sql::select::scan::HIDDEN_COLUMNS;

impl Binder<'_> {
    /// Binds a FROM; the scope is what its SELECT sees.
    pub(super) fn from(
        &mut self,
        from: &[TableWithJoins],
    ) -> Result<(Vec<TableWithJoins>, Scope), SqlError> {
        let mut scope = Scope::default();
        if let [only] = from
            && only.joins.is_empty()
            && is_dual(&only.relation)
        {
            return Ok((Vec::new(), scope));
        }
        let mut bound = Vec::with_capacity(from.len());
        for tree in from {
            let (tree, visible) = self.tree(tree, &mut scope)?;
            scope.visible.extend(visible);
            bound.push(tree);
        }
        self.weigh_join(scope.items.len())?;
        Ok((bound, scope))
    }

    fn tree(
        &mut self,
        tree: &TableWithJoins,
        scope: &mut Scope,
    ) -> Result<(TableWithJoins, Vec<Visible>), SqlError> {
        let (relation, mut visible) = self.factor(&tree.relation, scope)?;
        let mut joins = Vec::with_capacity(tree.joins.len());
        for join in &tree.joins {
            let (relation, right) = self.factor(&join.relation, scope)?;
            let (kind, constraint) = kind(&join.join_operator)?;
            let (constraint, joined) = self.constraint(constraint, kind, visible, right, scope)?;
            visible = joined;
            joins.push(Join {
                relation,
                global: false,
                join_operator: match (kind, constraint) {
                    (Kind::Inner, None) => JoinOperator::CrossJoin(JoinConstraint::None),
                    (Kind::Inner, Some(on)) => JoinOperator::Inner(JoinConstraint::On(on)),
                    (Kind::Left, on) => JoinOperator::LeftOuter(outer_constraint(on)?),
                    (Kind::Right, on) => JoinOperator::RightOuter(outer_constraint(on)?),
                },
            });
        }
        Ok((TableWithJoins { relation, joins }, visible))
    }

    /// Binds a join's condition, and says which columns `*` shows of the two sides.
    fn constraint(
        &mut self,
        constraint: &JoinConstraint,
        kind: Kind,
        left: Vec<Visible>,
        right: Vec<Visible>,
        scope: &mut Scope,
    ) -> Result<(Option<Expr>, Vec<Visible>), SqlError> {
        let named: Vec<String> = match constraint {
            JoinConstraint::None => return Ok((None, [left, right].concat())),
            JoinConstraint::On(on) => {
                let joined = [left, right].concat();
                let mut seen = scope.clone();
                seen.visible.extend(&joined);
                self.scopes.push(seen);
                let on = self.within("on clause", |binder| binder.filter(on));
                self.scopes.pop();
                return Ok((Some(on?), joined));
            }
            JoinConstraint::Using(names) => {
                names.iter().map(single_name).collect::<Result<_, _>>()?
            }
            JoinConstraint::Natural => left
                .iter()
                .map(|at| scope.column(*at).name.clone())
                .filter(|name| {
                    right
                        .iter()
                        .any(|at| scope.column(*at).name.eq_ignore_ascii_case(name))
                })
                .collect(),
        };
        self.weigh_columns(named.len())?;
        let mut merged = Vec::new();
        let mut conditions = Vec::new();
        let mut gone = Vec::new();
        for name in &named {
            let left_at = one_of(scope, &left, name)?;
            let right_at = one_of(scope, &right, name)?;
            conditions.push(call("=", vec![scope.expr(left_at), scope.expr(right_at)]));
            let written = scope.column(left_at).written;
            let written = written.saturating_add(scope.column(right_at).written);
            self.weigh_written(written)?;
            // Either side may be written out for the one that is kept.
            for at in [left_at, right_at] {
                scope.items[at.item].columns[at.column].written = written;
            }
            merged.push(if kind == Kind::Right {
                right_at
            } else {
                left_at
            });
            gone.extend([left_at, right_at]);
        }
        let rest = left
            .into_iter()
            .chain(right)
            .filter(|at| !gone.contains(at));
        merged.extend(rest);
        Ok((conjunction(conditions), merged))
    }

    fn factor(
        &mut self,
        factor: &TableFactor,
        scope: &mut Scope,
    ) -> Result<(TableFactor, Vec<Visible>), SqlError> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                partitions,
                sample: None,
                version: None,
                ..
            } if partitions.is_empty() => self.named_table(name, alias.as_ref(), scope),
            TableFactor::Derived {
                lateral: false,
                subquery,
                alias,
                sample: None,
            } => {
                let Some(alias) = alias else {
                    return Err(SqlError::new(
                        Code::DerivedWithoutAlias,
                        "Every derived table must have its own alias",
                    ));
                };
                let (subquery, columns) = self.query(subquery, Twice::Refused)?;
                let (columns, bound_alias) = self.renamed(columns, alias)?;
                let visible = add(scope, &alias.name.value, None, &bound_alias, columns)?;
                Ok((
                    TableFactor::Derived {
                        lateral: false,
                        subquery: Box::new(subquery),
                        alias: Some(bound_alias),
                        sample: None,
                    },
                    visible,
                ))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => {
                let (table_with_joins, visible) = self.tree(table_with_joins, scope)?;
                Ok((
                    TableFactor::NestedJoin {
                        table_with_joins: Box::new(table_with_joins),
                        alias: None,
                    },
                    visible,
                ))
            }
            other => Err(SqlError::not_supported(other)),
        }
    }

    fn named_table(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        scope: &mut Scope,
    ) -> Result<(TableFactor, Vec<Visible>), SqlError> {
        let parts = parts(name)?;
        let (database, table) = match parts.as_slice() {
            [table] => (None, table.as_str()),
            [database, table] => (Some(database.as_str()), table.as_str()),
            _ => return Err(SqlError::not_supported(name)),
        };
        let shown = alias.map_or(table, |alias| alias.name.value.as_str());
        let plain = TableAlias {
            explicit: true,
            name: Ident::new(shown),
            columns: Vec::new(),
            at: None,
        };
        let alias = alias.unwrap_or(&plain);
        let cte = match database {
            None => self
                .ctes
                .iter()
                .rev()
                .find(|cte| cte.name.eq_ignore_ascii_case(table))
                .map(|cte| (cte.inner.clone(), cte.columns.clone(), cte.counts)),
            Some(_) => None,
        };
        let (source, own_database, columns) = match cte {
            Some((cte, columns, counts)) => {
                self.weigh_again(counts)?;
                (cte, None, columns)
            }
            None => {
                let number = self.table(database, table)?;
                let (own_database, columns) = columns_of(&self.tables[number]);
                (table_name(number), Some(own_database), columns)
            }
        };
        let (columns, bound_alias) = self.renamed(columns, alias)?;
        let visible = add(scope, shown, own_database, &bound_alias, columns)?;
        Ok((
            TableFactor::Table {
                name: ObjectName(vec![ObjectNamePart::Identifier(quoted(&source))]),
                alias: Some(bound_alias),
                args: None,
                with_hints: Vec::new(),
                version: None,
                with_ordinality: false,
                partitions: Vec::new(),
                json_path: None,
                sample: None,
                index_hints: Vec::new(),
            },
            visible,
        ))
    }

    /// Gives the columns the names of `AS alias (a, b)`, and the alias a spelling of its own.
    fn renamed(
        &mut self,
        mut columns: Columns,
        alias: &TableAlias,
    ) -> Result<(Columns, TableAlias), SqlError> {
        if !alias.columns.is_empty() {
            if alias.columns.len() != columns.len() {
                return Err(SqlError::new(
                    Code::ViewWrongList,
                    "In definition of view, derived table or common table expression, SELECT list \
                     and column names list have different column counts",
                ));
            }
            for (column, named) in columns.iter_mut().zip(&alias.columns) {
                column.name.clone_from(&named.name.value);
                column.output.name.clone_from(&named.name.value);
            }
        }
        let inner = self.alias(&alias.name.value);
        let mut bound = alias.clone();
        bound.name = quoted(&inner);
        bound.explicit = true;
        for named in &mut bound.columns {
            named.name = quoted(&named.name.value);
        }
        Ok((columns, bound))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
    Right,
}

fn kind(operator: &JoinOperator) -> Result<(Kind, &JoinConstraint), SqlError> {
    match operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::CrossJoin(on)
        | JoinOperator::StraightJoin(on) => Ok((Kind::Inner, on)),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => Ok((Kind::Left, on)),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => Ok((Kind::Right, on)),
        JoinOperator::FullOuter(_) => Err(SqlError::not_supported("FULL OUTER JOIN")),
        _ => Err(SqlError::not_supported("this kind of JOIN")),
    }
}

fn outer_constraint(on: Option<Expr>) -> Result<JoinConstraint, SqlError> {
    on.map(JoinConstraint::On).ok_or_else(|| {
        SqlError::new(
            Code::Syntax,
            "You have an error in your SQL syntax: an outer join needs an ON or a USING",
        )
    })
}

fn one_of(scope: &Scope, side: &[Visible], name: &str) -> Result<Visible, SqlError> {
    let mut found = side
        .iter()
        .filter(|at| scope.column(**at).name.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(*at),
        (Some(_), Some(_)) => Err(ambiguous(name, "from clause")),
        (None, _) => Err(unknown(name, "from clause")),
    }
}

/// Adds a table to a scope and says which of its columns `*` shows.
fn add(
    scope: &mut Scope,
    shown: &str,
    database: Option<String>,
    alias: &TableAlias,
    columns: Columns,
) -> Result<Vec<Visible>, SqlError> {
    let twice = scope
        .items
        .iter()
        .any(|item| item.shown == shown && item.database == database);
    if twice {
        return Err(SqlError::new(
            Code::NotUniqueTable,
            format!("Not unique table/alias: '{shown}'"),
        ));
    }
    let item = scope.items.len();
    if item >= JOINED_TABLES_MAX {
        return Err(SqlError::new(
            Code::TooManyTables,
            format!("Too many tables; MySQL can only use {JOINED_TABLES_MAX} tables in a join"),
        ));
    }
    let visible = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| !column.hidden)
        .map(|(column, _)| Visible { item, column })
        .collect();
    scope.items.push(Item {
        shown: shown.to_owned(),
        database,
        inner: alias.name.value.clone(),
        columns,
    });
    Ok(visible)
}

fn columns_of(source: &Source) -> (String, Columns) {
    let (database, table, columns, hidden): (_, _, _, &[&str]) = match source {
        Source::Stored(stored) => (
            &stored.database,
            &stored.name,
            &stored.columns,
            &HIDDEN_COLUMNS,
        ),
        Source::Virtual(made) => (&made.database, &made.name, &made.columns, &[]),
    };
    let column = |name: &str, hidden: bool| Column {
        name: name.to_owned(),
        hidden,
        output: Output {
            name: name.to_owned(),
            table: table.clone(),
            org_table: table.clone(),
            org_name: name.to_owned(),
            database: database.clone(),
        },
        written: 1,
    };
    let columns = columns
        .iter()
        .map(|own| column(&own.name, false))
        .chain(hidden.iter().map(|name| column(name, true)))
        .collect();
    (database.clone(), columns)
}

fn is_dual(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, .. } => {
            parts(name).is_ok_and(|parts| parts.len() == 1 && parts[0].eq_ignore_ascii_case("dual"))
        }
        _ => false,
    }
}

/// The parts of a dotted name.
pub(super) fn parts(name: &ObjectName) -> Result<Vec<String>, SqlError> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(ident.value.clone()),
            ObjectNamePart::Function(_) => Err(SqlError::not_supported(name)),
        })
        .collect()
}

fn single_name(name: &ObjectName) -> Result<String, SqlError> {
    match parts(name)?.as_slice() {
        [single] => Ok(single.clone()),
        _ => Err(SqlError::not_supported(name)),
    }
}
