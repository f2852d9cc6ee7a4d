//! From a parse tree to one that DataFusion can plan as MySQL means it.
//!
//! What [`bind`] promises of the query it gives back:
//! 1. Every table is named `#n`, the n-th of [`Bound::tables`], under an alias that is used once in the
//!    whole statement; every column is qualified by it and spelled as declared; `*` is gone.
//! 2. Every operator and function is a call of one in [`super::functions`], so that DataFusion's own
//!    typing has no say; conditions are wrapped in `truth`; a logical operator joins Booleans.
//! 3. Parameters, variables and what depends on the session (NOW, DATABASE, USER, ...) are literals; a long text is a
//!    call of `text#n`, the n-th of [`Bound::texts`].
//! 4. Every item of a SELECT list has an alias; those of the outermost one are unique.
//!
//! A name that does not resolve is an error here, with MySQL's number and the clause it stood in.

use std::collections::HashMap;

use sqlparser::ast::{Expr, Query};

use super::long_text::Texts;
use super::memory::Held;
use super::{SelectContext, Source};
use crate::limits::COLUMN_NAME_CHARS_MAX;
use crate::sql::error::{Code, SqlError};
use crate::sql::value::Value;

mod build;
mod call;
mod expr;
mod from;
mod known;
mod limit;
mod literal;
mod operator;
mod query;
mod scope;
mod sorting;
mod weight;

use query::Twice;
use scope::{Columns, Scope};
use weight::{Counts, Weights};

/// A query that DataFusion can plan.
pub struct Bound {
    /// The query.
    pub query: Query,
    /// What a client is told of each column, in order.
    pub outputs: Vec<Output>,
    /// The tables, by their number.
    pub tables: Vec<Source>,
    /// Its long texts.
    pub texts: Texts,
    /// What its plan may take.
    pub(super) weight: Held,
    /// How many steps planning it takes.
    pub(super) steps: usize,
}

/// Where a column of a result comes from; all but `name` may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The name a client sees.
    pub name: String,
    /// The alias of its table.
    pub table: String,
    /// The table's own name.
    pub org_table: String,
    /// The column's own name.
    pub org_name: String,
    /// The table's database.
    pub database: String,
}

/// Binds a query. `params` is `None` to describe a prepared statement: each `?` is NULL then.
///
/// # Errors
/// 1054, 1052, 1146, 1305 and their like for names, 1235 for what is missing here, 1210 for a wrong
/// number of parameters.
pub fn bind(
    ctx: &SelectContext,
    query: &Query,
    params: Option<&[Value]>,
) -> Result<Bound, SqlError> {
    let mut query = query.clone();
    literal::fill_parameters(&mut query, params)?;
    let mut binder = Binder {
        ctx,
        scopes: Vec::new(),
        ctes: Vec::new(),
        tables: Vec::new(),
        texts: Texts::default(),
        numbers: HashMap::new(),
        aliases: HashMap::new(),
        clause: "field list",
        depth: 0,
        height: 0,
        is_constant: true,
        weights: Weights::new(),
        weight: ctx.memory.hold(0)?,
    };
    let (query, columns) = binder.query(&query, Twice::Renamed)?;
    Ok(Bound {
        query,
        outputs: columns
            .into_iter()
            .map(|column| cut(column.output))
            .collect(),
        tables: binder.tables,
        texts: binder.texts,
        steps: binder.weights.steps(),
        weight: binder.weight,
    })
}

/// A column is named by its expression where it has no alias: with the text of a parameter that may be megabytes.
fn cut(mut output: Output) -> Output {
    if let Some((at, _)) = output.name.char_indices().nth(COLUMN_NAME_CHARS_MAX) {
        output.name.truncate(at);
        output.name.shrink_to_fit();
    }
    output
}

/// The internal name of the n-th table.
#[must_use]
pub fn table_name(number: usize) -> String {
    format!("#{number}")
}

struct Cte {
    /// Its name in the text.
    name: String,
    /// Its name for DataFusion, used once in the statement.
    inner: String,
    columns: Columns,
    /// What naming it adds to the plan.
    counts: Counts,
}

struct Binder<'a> {
    ctx: &'a SelectContext,
    /// The scopes around the place that is being bound, outermost first.
    scopes: Vec<Scope>,
    /// The common table expressions in sight, innermost last.
    ctes: Vec<Cte>,
    tables: Vec<Source>,
    texts: Texts,
    /// (database, table) to its number.
    numbers: HashMap<(Option<String>, String), usize>,
    /// How often each alias was given out.
    aliases: HashMap<String, usize>,
    /// Where an unknown name stands, in MySQL's words.
    clause: &'static str,
    depth: usize,
    /// The height of the highest expression that was bound where this one stands.
    height: usize,
    /// Whether what was bound where this one stands is made of constants alone.
    is_constant: bool,
    weights: Weights,
    /// What the plan of what was counted may take.
    weight: Held,
}

impl Binder<'_> {
    /// The number of a table, resolving it the first time.
    fn table(&mut self, database: Option<&str>, name: &str) -> Result<usize, SqlError> {
        let key = (database.map(str::to_owned), name.to_owned());
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let database = database.or(self.ctx.database.as_deref());
        let source = self.ctx.names.resolve(database, name)?.ok_or_else(|| {
            SqlError::new(
                Code::NoSuchTable,
                match database {
                    Some(database) => format!("Table '{database}.{name}' doesn't exist"),
                    None => format!("Table '{name}' doesn't exist"),
                },
            )
        })?;
        let number = self.tables.len();
        self.tables.push(source);
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// An alias that is used once in the statement, as near to `wanted` as that allows.
    fn alias(&mut self, wanted: &str) -> String {
        let count = self.aliases.entry(wanted.to_owned()).or_insert(0);
        *count += 1;
        match *count {
            1 => wanted.to_owned(),
            count => format!("{wanted}#{count}"),
        }
    }

    /// Binds within another clause, for the text of an unknown column.
    fn within<T>(
        &mut self,
        clause: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let before = std::mem::replace(&mut self.clause, clause);
        let result = work(self);
        self.clause = before;
        result
    }

    /// Binds a condition: what is not Boolean is compared with 0.
    fn condition(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        // A level of its own.
        self.depth += 1;
        let bound = self.expr(expr);
        self.depth -= 1;
        Ok(build::truth(bound?))
    }
}
