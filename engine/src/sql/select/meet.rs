//! Types where rows of several queries meet: the branches of UNION, INTERSECT and EXCEPT, and the two sides
//! of IN (subquery).
//!
//! Decided here, before DataFusion sees a difference: its own choice is not MySQL's (a DATE and an integer
//! would be a DATE), and its casts err where MySQL converts.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, NullEquality, Result};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Subquery, Union,
};

use super::{functions, types};

/// Casts what meets to one type, in the whole plan and its subqueries.
///
/// # Errors
/// DataFusion's, where a plan does not hold together.
pub fn meet(plan: LogicalPlan) -> Result<LogicalPlan> {
    let met = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Union(union) => branches(union)?,
            // How DataFusion plans INTERSECT and EXCEPT; a join that was written never takes NULL for NULL.
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
                sides(join)?
            }
            other => other,
        };
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let node = node
            .map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::InSubquery(within) => Ok(Transformed::yes(subquery(within, &schema)?)),
                    other => Ok(Transformed::no(other)),
                })
            })?
            .data;
        Ok(Transformed::yes(node.recompute_schema()?))
    })?;
    Ok(met.data)
}

fn column_types(plan: &LogicalPlan) -> Vec<DataType> {
    let fields = plan.schema().fields().iter();
    fields.map(|field| field.data_type().clone()).collect()
}

/// A plan's columns as these types; itself where they are.
fn cast(plan: Arc<LogicalPlan>, wanted: &[DataType]) -> Result<Arc<LogicalPlan>> {
    if column_types(&plan) == wanted {
        return Ok(plan);
    }
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .zip(wanted)
        .map(|((qualifier, field), to)| {
            let column = Expr::from((qualifier, field));
            functions::to(column, field.data_type(), to)
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    let cast = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
    Ok(Arc::new(cast))
}

fn common(plans: &[Arc<LogicalPlan>]) -> Vec<DataType> {
    let mut plans = plans.iter().map(|plan| column_types(plan));
    let first = plans.next().unwrap_or_default();
    plans.fold(first, |sum, next| {
        sum.iter()
            .zip(&next)
            .map(|(left, right)| types::union(left, right))
            .collect()
    })
}

fn branches(union: Union) -> Result<LogicalPlan> {
    let wanted = common(&union.inputs);
    let inputs = union
        .inputs
        .into_iter()
        .map(|input| cast(input, &wanted))
        .collect::<Result<_>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

fn sides(join: Join) -> Result<LogicalPlan> {
    let wanted = common(&[Arc::clone(&join.left), Arc::clone(&join.right)]);
    Ok(LogicalPlan::Join(Join {
        left: cast(join.left, &wanted)?,
        right: cast(join.right, &wanted)?,
        ..join
    }))
}

fn subquery(within: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let left = within.expr.get_type(schema)?;
    let plan = within.subquery.subquery;
    let right = plan.schema().field(0).data_type().clone();
    let wanted = types::comparison(&left, &right);
    Ok(Expr::InSubquery(InSubquery {
        expr: Box::new(functions::to(*within.expr, &left, &wanted)),
        subquery: Subquery {
            subquery: cast(plan, &[wanted])?,
            ..within.subquery
        },
        negated: within.negated,
    }))
}
