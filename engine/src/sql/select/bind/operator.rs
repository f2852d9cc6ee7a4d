//! Operators: arithmetic, comparison, logic, lists and rows of values, CASE, INTERVAL.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Interval, UnaryOperator, Value, ValueWithSpan,
};

use super::Binder;
use super::build::{balanced, call, negate, truth};
use super::literal::{null, text, unsigned};
use crate::sql::error::{Code, SqlError};

impl Binder<'_> {
    pub(super) fn binary(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Expr, SqlError> {
        if matches!(
            op,
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::StringConcat
        ) {
            return self.chain(left, op, right);
        }
        if matches!(op, BinaryOperator::Plus | BinaryOperator::Minus) {
            let minus = *op == BinaryOperator::Minus;
            if let Expr::Interval(interval) = right {
                let date = self.expr(left)?;
                return self.add_interval(date, interval, minus);
            }
            if let (Expr::Interval(interval), false) = (left, minus) {
                let date = self.expr(right)?;
                return self.add_interval(date, interval, false);
            }
        }
        if let (Expr::Tuple(lefts), Expr::Tuple(rights)) = (left, right) {
            return self.rows(lefts, op, rights);
        }
        let name = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::MyIntegerDivide => "div",
            BinaryOperator::Modulo => "%",
            BinaryOperator::Eq => "=",
            BinaryOperator::NotEq => "<>",
            BinaryOperator::Lt => "<",
            BinaryOperator::LtEq => "<=",
            BinaryOperator::Gt => ">",
            BinaryOperator::GtEq => ">=",
            BinaryOperator::Spaceship => "<=>",
            BinaryOperator::Xor => "xor",
            BinaryOperator::BitwiseOr => "|",
            BinaryOperator::BitwiseAnd => "&",
            BinaryOperator::BitwiseXor => "^",
            BinaryOperator::PGBitwiseShiftLeft => "<<",
            BinaryOperator::PGBitwiseShiftRight => ">>",
            other => return Err(SqlError::not_supported(other)),
        };
        let left = self.operand(left, name)?;
        let right = self.operand(right, name)?;
        if name == "xor" {
            return Ok(call("xor", vec![truth(left), truth(right)]));
        }
        Ok(call(name, vec![left, right]))
    }

    /// An operand: a hex literal is a number where a number is asked for.
    fn operand(&mut self, expr: &Expr, op: &str) -> Result<Expr, SqlError> {
        if !matches!(op, "=" | "<>" | "<" | "<=" | ">" | ">=" | "<=>")
            && let Expr::Value(ValueWithSpan {
                value: Value::HexStringLiteral(digits),
                ..
            }) = expr
            && let Ok(number) = u64::from_str_radix(digits, 16)
        {
            return Ok(unsigned(number));
        }
        self.expr(expr)
    }

    /// AND and OR of many, without a level of the stack for each.
    fn chain(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Expr, SqlError> {
        let or = *op != BinaryOperator::And;
        let same = |other: &BinaryOperator| (*other != BinaryOperator::And) == or;
        let mut terms = vec![self.condition(right)?];
        let mut rest = left;
        while let Expr::BinaryOp { left, op, right } = rest
            && matches!(
                op,
                BinaryOperator::And | BinaryOperator::Or | BinaryOperator::StringConcat
            )
            && same(op)
        {
            terms.push(self.condition(right)?);
            rest = left;
        }
        terms.push(self.condition(rest)?);
        terms.reverse();
        let op = if or {
            BinaryOperator::Or
        } else {
            BinaryOperator::And
        };
        Ok(balanced(terms, &op).unwrap_or_else(null))
    }

    fn rows(
        &mut self,
        lefts: &[Expr],
        op: &BinaryOperator,
        rights: &[Expr],
    ) -> Result<Expr, SqlError> {
        let (joined, name) = match op {
            BinaryOperator::Eq => (BinaryOperator::And, "="),
            BinaryOperator::Spaceship => (BinaryOperator::And, "<=>"),
            BinaryOperator::NotEq => (BinaryOperator::Or, "<>"),
            other => return Err(SqlError::not_supported(format!("(...) {other} (...)"))),
        };
        if lefts.len() != rights.len() {
            return Err(SqlError::new(
                Code::OperandColumns,
                format!("Operand should contain {} column(s)", lefts.len()),
            ));
        }
        let terms = lefts
            .iter()
            .zip(rights)
            .map(|(left, right)| Ok(call(name, vec![self.expr(left)?, self.expr(right)?])))
            .collect::<Result<Vec<_>, SqlError>>()?;
        Ok(balanced(terms, &joined).unwrap_or_else(null))
    }

    pub(super) fn in_list(&mut self, expr: &Expr, list: &[Expr]) -> Result<Expr, SqlError> {
        if let Expr::Tuple(lefts) = expr {
            let terms = list
                .iter()
                .map(|item| match item {
                    Expr::Tuple(rights) => self.rows(lefts, &BinaryOperator::Eq, rights),
                    _ => Err(SqlError::new(
                        Code::OperandColumns,
                        format!("Operand should contain {} column(s)", lefts.len()),
                    )),
                })
                .collect::<Result<Vec<_>, SqlError>>()?;
            return Ok(balanced(terms, &BinaryOperator::Or).unwrap_or_else(null));
        }
        let mut args = Vec::with_capacity(list.len() + 1);
        args.push(self.repeated(2, expr)?);
        for item in list {
            args.push(self.expr(item)?);
        }
        Ok(call("in", args))
    }

    /// `left = ANY (query)`, or `left <> ALL (query)`.
    pub(super) fn any(
        &mut self,
        left: &Expr,
        right: &Expr,
        negated: bool,
    ) -> Result<Expr, SqlError> {
        let Expr::Subquery(subquery) = right else {
            return Err(SqlError::not_supported(right));
        };
        let expr = Box::new(self.expr(left)?);
        let subquery = Box::new(self.single_column(subquery)?);
        Ok(Expr::InSubquery {
            expr,
            subquery,
            negated,
        })
    }

    pub(super) fn unary(&mut self, op: UnaryOperator, expr: &Expr) -> Result<Expr, SqlError> {
        match op {
            UnaryOperator::Plus => self.expr(expr),
            UnaryOperator::Minus => match self.operand(expr, "-")? {
                number @ Expr::Value(ValueWithSpan {
                    value: Value::Number(..),
                    ..
                }) => Ok(Expr::UnaryOp {
                    op: UnaryOperator::Minus,
                    expr: Box::new(number),
                }),
                other => Ok(call("neg", vec![other])),
            },
            UnaryOperator::Not | UnaryOperator::BangNot => Ok(negate(self.condition(expr)?, true)),
            UnaryOperator::BitwiseNot => Ok(call("~", vec![self.operand(expr, "~")?])),
            other => Err(SqlError::not_supported(other)),
        }
    }

    pub(super) fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        else_result: Option<&Expr>,
    ) -> Result<Expr, SqlError> {
        let operand = operand
            .map(|operand| self.case_operand(conditions.len(), operand))
            .transpose()?;
        let mut args = Vec::with_capacity(conditions.len() * 2 + 1);
        for when in conditions {
            args.push(match &operand {
                Some(operand) => {
                    let wanted = self.case_condition(|binder| binder.expr(&when.condition))?;
                    call("=", vec![operand.clone(), wanted])
                }
                None => self.case_condition(|binder| binder.condition(&when.condition))?,
            });
            args.push(self.result(&when.result)?);
        }
        if let Some(result) = else_result {
            args.push(self.result(result)?);
        }
        Ok(call("case", args))
    }

    /// `date + INTERVAL n unit`, or minus.
    pub(super) fn add_interval(
        &mut self,
        date: Expr,
        interval: &Interval,
        minus: bool,
    ) -> Result<Expr, SqlError> {
        let Some(unit) = &interval.leading_field else {
            return Err(SqlError::not_supported(interval));
        };
        let amount = self.expr(&interval.value)?;
        let unit = text(&unit.to_string().to_lowercase());
        let name = if minus { "date_sub" } else { "date_add" };
        Ok(call(name, vec![date, amount, unit]))
    }
}
