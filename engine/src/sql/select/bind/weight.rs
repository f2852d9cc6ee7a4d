//! What planning a query takes, counted while it is bound and refused where it is too much.
//!
//! A planner's work grows with what it is given, and in places with its square or worse: with the levels of an
//! expression, the SELECTs and subqueries beside each other, the tables of a join. Some operators stand in the plan as
//! two expressions, with all that is in them, and a common table expression stands wherever it is named. So what is
//! bound is counted as often as it will stand there ([`Counts`]), and each count has a bound in `limits.rs`. Memory is
//! reserved for the expressions as they come.

use sqlparser::ast::Expr;

use super::Binder;
use crate::limits::{
    PLAN_STEP_ITEMS, PLAN_STEP_LEVELS, PLAN_STEP_SELECTS, PLAN_STEPS_MAX, PLANNED_EXPRESSION_BYTES,
    PLANNED_STEP_EXPRESSIONS, REPEATED_EXPRESSIONS_MAX, SUBQUERIES_MAX, SUBQUERY_NESTING_MAX,
    WINDOWS_MAX,
};
use crate::sql::error::{Code, SqlError};

/// What a part of a plan holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Expressions, literals too.
    expressions: usize,
    /// Of these, what stands there once more than it was written.
    repeated: usize,
    /// Expressions with those of the derived columns that they name.
    written: usize,
    /// What planning them takes.
    steps: usize,
    selects: usize,
    subqueries: usize,
    windows: usize,
    /// Aggregates, and items of ORDER BY and GROUP BY.
    items: usize,
}

impl Counts {
    fn each(self, other: Counts, of: impl Fn(usize, usize) -> usize) -> Counts {
        Counts {
            expressions: of(self.expressions, other.expressions),
            repeated: of(self.repeated, other.repeated),
            written: of(self.written, other.written),
            steps: of(self.steps, other.steps),
            selects: of(self.selects, other.selects),
            subqueries: of(self.subqueries, other.subqueries),
            windows: of(self.windows, other.windows),
            items: of(self.items, other.items),
        }
    }
}

/// Where in the plan the binder is, and what it has bound.
#[derive(Debug)]
pub(super) struct Weights {
    /// What was bound.
    counts: Counts,
    /// How often what is bound now will stand in the plan.
    copies: usize,
    /// In how many conditions of CASE and IF it stands.
    conditions: usize,
    /// In how many subqueries of expressions it stands.
    subqueries: usize,
    /// Whether it is a condition of a query: what it names of a derived table is written out there.
    filters: bool,
    /// Whether it is the result of a CASE or its like.
    is_result: bool,
    /// How many functions in results of CASE, each in the other, it stands in.
    in_results: usize,
}

impl Weights {
    /// Nothing yet.
    pub(super) fn new() -> Weights {
        Weights {
            counts: Counts::default(),
            copies: 1,
            conditions: 0,
            subqueries: 0,
            filters: false,
            is_result: false,
            in_results: 0,
        }
    }

    /// What planning takes, in steps.
    pub(super) fn steps(&self) -> usize {
        self.counts.steps
    }
}

impl Binder<'_> {
    /// Counts an expression.
    pub(super) fn weigh(&mut self, expr: &Expr) -> Result<(), SqlError> {
        let steps = match expr {
            Expr::Value(_) => 0,
            _ => 1 + self.depth.pow(3) / PLAN_STEP_LEVELS,
        };
        self.charge(Counts {
            expressions: 1,
            written: 1,
            steps,
            ..Counts::default()
        })
    }

    /// Counts what a column's name stands for in a derived table: a filter is pushed below it, written out.
    pub(super) fn weigh_column(&mut self, written: usize) -> Result<(), SqlError> {
        let written = written.saturating_sub(1);
        self.charge(Counts {
            written,
            repeated: if self.weights.filters { written } else { 0 },
            ..Counts::default()
        })
    }

    /// Counts what columns stand for in a derived table that a join, a subquery's comparison or an order is pushed below.
    pub(super) fn weigh_written(&mut self, written: usize) -> Result<(), SqlError> {
        let before = std::mem::replace(&mut self.weights.filters, true);
        let weighed = self.weigh_column(written);
        self.weights.filters = before;
        weighed
    }

    /// Binds an item of an ORDER BY or GROUP BY.
    pub(super) fn sorted(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        let before = std::mem::replace(&mut self.weights.filters, true);
        let bound = self.expr(expr);
        self.weights.filters = before;
        bound
    }

    /// Binds the condition of a WHERE, ON or HAVING.
    pub(super) fn filter(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        let before = std::mem::replace(&mut self.weights.filters, true);
        let bound = self.condition(expr);
        self.weights.filters = before;
        bound
    }

    /// Binds a result of CASE or its like.
    pub(super) fn result(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        let before = std::mem::replace(&mut self.weights.is_result, true);
        let bound = self.expr(expr);
        self.weights.is_result = before;
        bound
    }

    /// How often what is in an expression is asked for its type where it stands: a CASE asks a function among its results
    /// twice, and that asks the CASE in it again. `work` binds what is in it.
    pub(super) fn in_result(
        &mut self,
        expr: &Expr,
        work: impl FnOnce(&mut Self) -> Result<Expr, SqlError>,
    ) -> Result<Expr, SqlError> {
        if let Expr::Nested(_) = expr {
            return work(self);
        }
        let is_result = std::mem::replace(&mut self.weights.is_result, false);
        let bound = if is_result && is_function(expr) {
            let times = if self.weights.in_results > 0 { 2 } else { 1 };
            self.weights.in_results += 1;
            let bound = self.at_copies(times, work);
            self.weights.in_results -= 1;
            bound
        } else {
            work(self)
        };
        self.weights.is_result = is_result;
        bound
    }

    /// Counts the columns of a SELECT list.
    pub(super) fn weigh_columns(&mut self, columns: usize) -> Result<(), SqlError> {
        self.charge(Counts {
            expressions: columns,
            steps: columns,
            ..Counts::default()
        })
    }

    /// Counts a SELECT.
    pub(super) fn weigh_select(&mut self) -> Result<(), SqlError> {
        self.charge(Counts {
            steps: 1 + self.weights.counts.selects / PLAN_STEP_SELECTS,
            selects: 1,
            ..Counts::default()
        })
    }

    /// Counts the tables of a FROM.
    pub(super) fn weigh_join(&mut self, tables: usize) -> Result<(), SqlError> {
        self.charge(Counts {
            steps: tables * tables,
            ..Counts::default()
        })
    }

    /// Counts an aggregate, or an item of ORDER BY or GROUP BY.
    pub(super) fn weigh_item(&mut self) -> Result<(), SqlError> {
        self.charge(Counts {
            steps: self.weights.counts.items / PLAN_STEP_ITEMS,
            items: 1,
            ..Counts::default()
        })
    }

    /// Counts a window.
    pub(super) fn weigh_window(&mut self) -> Result<(), SqlError> {
        self.charge(Counts {
            windows: 1,
            ..Counts::default()
        })
    }

    /// What was counted until now.
    pub(super) fn weighed(&self) -> Counts {
        self.weights.counts
    }

    /// What was counted since, of one copy.
    pub(super) fn weighed_since(&self, before: Counts) -> Counts {
        let copies = self.weights.copies;
        let more = self.weights.counts.each(before, usize::saturating_sub);
        more.each(more, |more, _| more / copies)
    }

    /// How many expressions what was counted since is, with those of the derived columns that it names.
    pub(super) fn written_since(&self, before: Counts) -> usize {
        self.weighed_since(before).written
    }

    /// Takes back what was counted since, and gives it, of one copy: of a common table expression nothing is in the plan
    /// until it is named.
    pub(super) fn take_weighed(&mut self, before: Counts) -> Counts {
        let counts = self.weighed_since(before);
        self.weights.counts = before;
        counts
    }

    /// Counts what was bound before once more.
    pub(super) fn weigh_again(&mut self, mut more: Counts) -> Result<(), SqlError> {
        if self.weights.filters {
            let named = more.written.saturating_sub(more.expressions);
            more.repeated = more.repeated.saturating_add(named);
        }
        self.charge(more)
    }

    /// Binds what stands in the plan so often.
    pub(super) fn repeated(&mut self, times: usize, expr: &Expr) -> Result<Expr, SqlError> {
        self.at_copies(times, |binder| binder.expr(expr))
    }

    /// Binds a condition of CASE or IF: in the condition of another one, the optimiser writes it twice.
    pub(super) fn case_condition(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<Expr, SqlError>,
    ) -> Result<Expr, SqlError> {
        let times = if self.weights.conditions > 0 { 2 } else { 1 };
        self.weights.conditions += 1;
        let bound = self.at_copies(times, work);
        self.weights.conditions -= 1;
        bound
    }

    /// Binds what a CASE of so many WHEN compares with each.
    pub(super) fn case_operand(&mut self, whens: usize, expr: &Expr) -> Result<Expr, SqlError> {
        let least = if self.weights.conditions > 0 { 2 } else { 1 };
        self.weights.conditions += 1;
        let bound = self.repeated(whens.max(least), expr);
        self.weights.conditions -= 1;
        bound
    }

    /// Binds a subquery of an expression.
    pub(super) fn in_subquery<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        if self.weights.subqueries >= SUBQUERY_NESTING_MAX {
            return Err(refused(format!(
                "Subqueries in expressions are nested deeper than {SUBQUERY_NESTING_MAX} levels"
            )));
        }
        self.charge(Counts {
            subqueries: 1,
            ..Counts::default()
        })?;
        self.weights.subqueries += 1;
        let conditions = std::mem::take(&mut self.weights.conditions);
        let filters = std::mem::take(&mut self.weights.filters);
        let is_result = std::mem::take(&mut self.weights.is_result);
        let height = self.height;
        let bound = work(self);
        self.height = height;
        self.is_constant = false;
        self.weights.conditions = conditions;
        self.weights.filters = filters;
        self.weights.is_result = is_result;
        self.weights.subqueries -= 1;
        bound
    }

    fn at_copies<T>(
        &mut self,
        times: usize,
        work: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let before = self.weights.copies;
        self.weights.copies = before.saturating_mul(times.max(1));
        let bound = work(self);
        self.weights.copies = before;
        bound
    }

    fn charge(&mut self, one: Counts) -> Result<(), SqlError> {
        let copies = self.weights.copies;
        let mut more = one.each(one, |one, _| one.saturating_mul(copies));
        more.repeated = more
            .repeated
            .saturating_add(one.expressions.saturating_mul(copies - 1));
        let before = self.weights.counts;
        let counts = before.each(more, usize::saturating_add);
        self.weights.counts = counts;
        for (count, most, words) in [
            (
                counts.repeated,
                REPEATED_EXPRESSIONS_MAX,
                "BETWEEN, IN, COALESCE, IFNULL, NULLIF, CASE and IF repeat their operands, and conditions what they name of a \
                 derived table: in each other that is more than {} expressions",
            ),
            (
                counts.steps,
                PLAN_STEPS_MAX,
                "The statement takes more than {} steps to plan: it has too many expressions, or nests them or its queries \
                 too deep; split it",
            ),
            (
                counts.subqueries,
                SUBQUERIES_MAX,
                "The statement has more than {} subqueries in expressions",
            ),
            (
                counts.windows,
                WINDOWS_MAX,
                "The statement has more than {} windows",
            ),
        ] {
            if count > most {
                return Err(refused(words.replace("{}", &most.to_string())));
            }
        }
        let steps = |expressions: usize| expressions.div_ceil(PLANNED_STEP_EXPRESSIONS);
        let bytes = (steps(counts.expressions) - steps(before.expressions))
            .saturating_mul(PLANNED_STEP_EXPRESSIONS * PLANNED_EXPRESSION_BYTES);
        match bytes {
            0 => Ok(()),
            bytes => self.ctx.memory.hold_more(&self.weight, bytes),
        }
    }
}

/// Whether an expression is a function in the plan that asks for the types of what is in it, and no CASE.
fn is_function(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) => false,
        other => !is_case(other),
    }
}

/// Whether an expression is a CASE in the plan.
pub(super) fn is_case(expr: &Expr) -> bool {
    match expr {
        Expr::Case { .. } => true,
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            ["if", "ifnull", "coalesce", "nullif"].contains(&name.as_str())
        }
        _ => false,
    }
}

fn refused(words: String) -> SqlError {
    SqlError::new(Code::LimitReached, words)
}
