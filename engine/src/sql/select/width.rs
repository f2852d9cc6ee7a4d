//! How much a statement's batches take: from the width of its rows to rows a batch and bytes to reserve.
//!
//! What operators keep, DataFusion reserves; what functions make of strings reserves itself. Left are the
//! arrays that every batch needs while it is on its way: results of expressions, what a filter or join
//! copies, constants written out in every row. Their width is known from the plan; of the table's own
//! strings a sample of parts tells how long they are. So many batches are in flight at once: of each leaf
//! partition one that is made and one that waits to be gathered, and those on the way to the client.
//!
//! A statement takes shorter batches rather than more than [`STATEMENT_BATCHES_BYTES`], and reserves what
//! its batches in flight may take before it runs.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use super::constants::too_long;
use super::fault::wrap;
use super::long_text;
use super::{Source, StoredTable};
use crate::limits::{
    BATCH_ROWS, CONSTANTS_BATCH_BYTES_MAX, GROWN_STRINGS_PER_BATCH, RESULT_BATCHES_MAX,
    STATEMENT_BATCHES_BYTES, STATEMENT_BATCHES_SHARE, WIDTH_SAMPLE_PARTS,
};

/// What a number, a time or a decimal is as text, at most.
const VALUE_TEXT_BYTES: usize = 48;
/// How wide a string is of which nothing is known: a name that the plan gave.
const UNKNOWN_TEXT_BYTES: usize = 64;
/// Functions whose strings are longer than those they are made of.
const GROWING: [&str; 10] = [
    "concat",
    "concat_ws",
    "date_format",
    "from_unixtime",
    "hex",
    "lpad",
    "repeat",
    "replace",
    "rpad",
    "space",
];

/// How a statement's batches are cut, and what they take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Rows of a batch at most; fewer than [`BATCH_ROWS`]. `None`: as they come.
    pub rows: Option<usize>,
    /// Bytes of all that are in flight at once.
    pub bytes: usize,
}

/// Of an optimised plan over these tables, with so much memory for all queries.
///
/// # Errors
/// 1301: its constant strings are longer than they may be together.
pub fn batches(plan: &LogicalPlan, tables: &[Source], query_bytes: usize) -> Result<Batches> {
    let width = Width::of(plan, tables)?;
    if width.constants > CONSTANTS_BATCH_BYTES_MAX {
        return Err(wrap(too_long(width.constants)));
    }
    let (mut partitions, mut made) = (0, 0);
    for table in tables {
        match table {
            Source::Stored(stored) => partitions += stored.partitions.len(),
            Source::Virtual(listed) => {
                partitions += 1;
                made += listed.batch.get_array_memory_size();
            }
        }
    }
    // Behind the channel to the client one is sent and one is written to its socket.
    let in_flight = 2 * partitions.max(1) + RESULT_BATCHES_MAX + 2;
    let row_bytes = (width.bits.div_ceil(8) + width.constants).saturating_mul(in_flight);
    let whole = storage::limits::BLOCK_ROWS_MAX as usize;
    let budget = STATEMENT_BATCHES_BYTES.min(query_bytes / STATEMENT_BATCHES_SHARE);
    let fit = budget.checked_div(row_bytes).unwrap_or(whole);
    let grown = GROWN_STRINGS_PER_BATCH
        .checked_div(width.growing)
        .unwrap_or(whole);
    let rows = fit.min(grown);
    let rows = (rows < whole).then(|| rows.clamp(1, BATCH_ROWS - 1));
    Ok(Batches {
        rows,
        bytes: row_bytes
            .saturating_mul(rows.unwrap_or(whole))
            .saturating_add(made),
    })
}

/// What one row takes in all that a plan makes of it.
#[derive(Default)]
struct Width {
    /// Of values and copies.
    bits: usize,
    /// Bytes of constant strings.
    constants: usize,
    /// Calls of functions whose strings grow.
    growing: usize,
}

impl Width {
    fn of(plan: &LogicalPlan, tables: &[Source]) -> Result<Width> {
        let strings = Strings::of(tables);
        let mut width = Width::default();
        plan.apply_with_subqueries(|node| {
            if copies(node) {
                for field in node.schema().fields() {
                    width.bits += strings.bits(field.data_type(), field.name());
                }
            }
            node.apply_expressions(|expr| {
                // A column of the result that is the same in every row.
                if matches!(node, LogicalPlan::Projection(_)) {
                    width.written_out(std::iter::once(behind_aliases(expr)));
                }
                width.add(node, expr, &strings)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(width)
    }

    /// Numbers and times that are written out in every row; constant strings are counted wherever they are.
    fn written_out<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr>) {
        self.bits += i128::BITS as usize * exprs.filter(|expr| is_constant(expr)).count();
    }

    /// Adds an expression with all below it.
    fn add(&mut self, node: &LogicalPlan, expr: &Expr, strings: &Strings<'_>) -> Result<()> {
        expr.apply(|expr| {
            if let Some(bytes) = long_text::bytes(expr) {
                self.constants += bytes;
                return Ok(TreeNodeRecursion::Continue);
            }
            match expr {
                Expr::Column(_) | Expr::Alias(_) | Expr::AggregateFunction(_) => {}
                Expr::Literal(value, _) => {
                    let text = value.try_as_str().flatten();
                    self.constants += text.map_or(0, str::len);
                }
                // A list of constants is looked up and never written out.
                Expr::InList(list) if list.list.iter().all(is_constant) => {
                    self.bits += 2;
                    self.add(node, &list.expr, strings)?;
                    return Ok(TreeNodeRecursion::Jump);
                }
                _ => {
                    let data_type = type_of(expr, node);
                    self.bits += match (&data_type, expr) {
                        (DataType::Utf8, Expr::ScalarFunction(_)) => 8 * VALUE_TEXT_BYTES,
                        _ => strings.bits(&data_type, ""),
                    };
                    if let Expr::ScalarFunction(call) = expr {
                        self.written_out(call.args.iter());
                        self.growing += usize::from(GROWING.contains(&call.func.name()));
                    }
                    // Each branch is evaluated over a copy of its own rows.
                    if matches!(expr, Expr::Case(_)) {
                        for column in expr.column_refs() {
                            let data_type = type_of(&Expr::Column(column.clone()), node);
                            self.bits += strings.bits(&data_type, &column.name);
                        }
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn behind_aliases(mut expr: &Expr) -> &Expr {
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    expr
}

/// Whether a node's rows are copies of those it reads.
fn copies(node: &LogicalPlan) -> bool {
    !matches!(
        node,
        LogicalPlan::Projection(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Subquery(_)
    )
}

fn type_of(expr: &Expr, node: &LogicalPlan) -> DataType {
    let inputs = node.inputs();
    let schemas = inputs.iter().map(|input| input.schema());
    schemas
        .chain([node.schema()])
        .find_map(|schema| expr.get_type(schema).ok())
        .unwrap_or(DataType::Utf8)
}

/// How long the strings of the tables' columns are: the most that a sampled part has on average.
struct Strings<'a> {
    by_name: HashMap<&'a str, usize>,
}

impl<'a> Strings<'a> {
    fn of(tables: &'a [Source]) -> Strings<'a> {
        let mut by_name = HashMap::new();
        for table in tables {
            if let Source::Stored(stored) = table {
                sample(stored, &mut by_name);
            }
        }
        Strings { by_name }
    }

    /// Bits of a value, with the one that says whether it is NULL.
    fn bits(&self, data_type: &DataType, name: &str) -> usize {
        let value = match data_type {
            DataType::Null => 0,
            DataType::Boolean => 1,
            other => match other.primitive_width() {
                Some(bytes) => 8 * bytes,
                None => {
                    let known = self.by_name.get(name).copied();
                    8 * (known.unwrap_or(UNKNOWN_TEXT_BYTES) + size_of::<i32>())
                }
            },
        };
        value + 1
    }
}

fn sample<'a>(table: &'a StoredTable, by_name: &mut HashMap<&'a str, usize>) {
    let parts: usize = table.partitions.iter().map(|own| own.parts.len()).sum();
    let step = parts.div_ceil(WIDTH_SAMPLE_PARTS).max(1);
    for (at, column) in table.columns.iter().enumerate() {
        if super::types::arrow_of(column.sql_type) != DataType::Utf8 {
            continue;
        }
        let all = table.partitions.iter().flat_map(|own| own.parts.iter());
        let longest = all
            .step_by(step)
            .filter(|part| part.rows() > 0)
            .map(|part| usize::try_from(part.bytes(at) / u64::from(part.rows())).unwrap_or(0))
            .max();
        let known = by_name.entry(&column.name).or_default();
        *known = longest.unwrap_or(0).max(*known);
    }
}
