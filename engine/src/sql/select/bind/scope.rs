//! What a name can stand for at one place: the tables of one FROM, and the aliases of its SELECT.

use sqlparser::ast::{Expr, Ident};

use super::Output;
use super::weight::Counts;
use crate::sql::error::{Code, SqlError};

/// A column of a table, derived table, CTE or result.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name as DataFusion knows it.
    pub(super) name: String,
    /// Whether `*` leaves it out.
    pub(super) hidden: bool,
    /// What a client is told of it.
    pub(super) output: Output,
    /// How many expressions it is, with those of the derived columns that they name.
    pub(super) written: usize,
}

pub(super) type Columns = Vec<Column>;

/// A table of a FROM.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its name or alias as the user wrote it.
    pub(super) shown: String,
    /// Its database, where it is a table.
    pub(super) database: Option<String>,
    /// The alias it has for DataFusion.
    pub(super) inner: String,
    /// Its columns.
    pub(super) columns: Columns,
}

/// A column that `*` shows and a bare name finds: (item, column).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visible {
    pub(super) item: usize,
    pub(super) column: usize,
}

/// When a bare name may stand for an item of the SELECT list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AliasUse {
    /// Never: the SELECT list itself, WHERE, ON.
    #[default]
    Never,
    /// Before the tables' columns: ORDER BY, HAVING.
    First,
    /// After them: GROUP BY.
    Last,
}

/// An item of a SELECT list that has a name.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    pub(super) name: String,
    /// What it stands for, bound.
    pub(super) expr: Expr,
    /// What naming it adds to the plan.
    pub(super) counts: Counts,
}

/// One FROM.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) items: Vec<Item>,
    pub(super) visible: Vec<Visible>,
    /// The SELECT list's.
    pub(super) aliases: Vec<Alias>,
    pub(super) alias_use: AliasUse,
    /// Whether an aggregate was bound in it.
    pub(super) aggregates: bool,
}

impl Scope {
    /// A column's expression for DataFusion.
    pub(super) fn expr(&self, at: Visible) -> Expr {
        let item = &self.items[at.item];
        Expr::CompoundIdentifier(vec![
            quoted(&item.inner),
            quoted(&item.columns[at.column].name),
        ])
    }

    /// The column behind a place.
    pub(super) fn column(&self, at: Visible) -> &Column {
        &self.items[at.item].columns[at.column]
    }

    /// What a client is told of it, under the name it was asked by.
    pub(super) fn output(&self, at: Visible, name: &str) -> Output {
        let item = &self.items[at.item];
        Output {
            name: name.to_owned(),
            table: item.shown.clone(),
            ..self.column(at).output.clone()
        }
    }

    /// The place a bare name stands for; `None` where this FROM has none such.
    pub(super) fn find(&self, name: &str, clause: &str) -> Result<Option<Visible>, SqlError> {
        let mut shown = self
            .visible
            .iter()
            .filter(|at| self.column(**at).name.eq_ignore_ascii_case(name));
        if let Some(first) = shown.next() {
            return match shown.next() {
                None => Ok(Some(*first)),
                Some(_) => Err(ambiguous(name, clause)),
            };
        }
        let mut hidden = self.hidden(name);
        let first = hidden.next();
        match (first, hidden.next()) {
            (Some(_), Some(_)) => Err(ambiguous(name, clause)),
            (first, _) => Ok(first),
        }
    }

    /// The place a qualified name stands for.
    pub(super) fn find_in(
        &self,
        database: Option<&str>,
        table: &str,
        name: &str,
    ) -> Option<Visible> {
        let item = self.item(database, table)?;
        let column = self.items[item]
            .columns
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))?;
        Some(Visible { item, column })
    }

    /// The item of that alias: by its exact spelling, else without regard to case.
    pub(super) fn item(&self, database: Option<&str>, table: &str) -> Option<usize> {
        let of_database = |item: &Item| {
            database.is_none_or(|wanted| {
                item.database
                    .as_deref()
                    .is_some_and(|own| own.eq_ignore_ascii_case(wanted))
            })
        };
        self.items
            .iter()
            .position(|item| item.shown == table && of_database(item))
            .or_else(|| {
                self.items
                    .iter()
                    .position(|item| item.shown.eq_ignore_ascii_case(table) && of_database(item))
            })
    }

    fn hidden(&self, name: &str) -> impl Iterator<Item = Visible> {
        self.items.iter().enumerate().flat_map(move |(item, own)| {
            own.columns
                .iter()
                .enumerate()
                .filter(move |(_, column)| column.hidden && column.name.eq_ignore_ascii_case(name))
                .map(move |(column, _)| Visible { item, column })
        })
    }
}

/// A name that DataFusion takes as it stands.
pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('`', name)
}

/// 1052.
pub(super) fn ambiguous(name: &str, clause: &str) -> SqlError {
    SqlError::new(
        Code::AmbiguousColumn,
        format!("Column '{name}' in {clause} is ambiguous"),
    )
}

/// 1054.
pub(super) fn unknown(name: &str, clause: &str) -> SqlError {
    SqlError::new(
        Code::UnknownColumn,
        format!("Unknown column '{name}' in '{clause}'"),
    )
}
