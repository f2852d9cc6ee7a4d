//! Expressions: each operator becomes a call that carries MySQL's meaning.

use recursive::recursive;
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Ident, TrimWhereField, UnaryOperator, Value,
    ValueWithSpan,
};

use super::Binder;
use super::build::{call, cast_type, decimal_literal, dotted, hexadecimal, is_utf8, negate};
use super::literal::{cast, is_placeholder_null, null, of_value, signed, text};
use super::query::Twice;
use super::scope::{AliasUse, unknown};
use super::weight::is_case;
use crate::limits::EXPRESSION_NESTING_MAX;
use crate::sql::error::{Code, SqlError};
use crate::sql::select::VariableScope;
use crate::sql::select::functions::numbered;
use crate::sql::select::long_text;

impl Binder<'_> {
    /// Binds an expression.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        if self.depth >= EXPRESSION_NESTING_MAX {
            return Err(SqlError::new(
                Code::LimitReached,
                format!("The expression is nested deeper than {EXPRESSION_NESTING_MAX} levels"),
            ));
        }
        self.weigh(expr)?;
        self.depth += 1;
        let beside = (
            std::mem::take(&mut self.height),
            std::mem::replace(&mut self.is_constant, true),
        );
        let bound = self.in_result(expr, |binder| binder.expr_inner(expr));
        self.depth -= 1;
        let (height, is_constant) = (self.height + 1, self.is_constant);
        self.height = beside.0.max(height);
        self.is_constant &= beside.1;
        let bound = bound?;
        let number = match is_numbered(expr) {
            true => numbered::name(height, is_constant, || bound.to_string()),
            false => None,
        };
        Ok(match number {
            Some(name) => call(&name, vec![bound]),
            None => bound,
        })
    }

    #[recursive]
    fn expr_inner(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        match expr {
            Expr::Identifier(name) => {
                self.is_constant = false;
                self.name(name)
            }
            Expr::CompoundIdentifier(names) => {
                self.is_constant = false;
                self.qualified(names)
            }
            Expr::Value(value) => self.value(value),
            Expr::Nested(inner) => self.expr(inner),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::IsNull(inner) => Ok(Expr::IsNull(Box::new(self.expr(inner)?))),
            Expr::IsNotNull(inner) => Ok(Expr::IsNotNull(Box::new(self.expr(inner)?))),
            Expr::IsTrue(inner) => Ok(Expr::IsTrue(Box::new(self.condition(inner)?))),
            Expr::IsNotTrue(inner) => Ok(Expr::IsNotTrue(Box::new(self.condition(inner)?))),
            Expr::IsFalse(inner) => Ok(Expr::IsFalse(Box::new(self.condition(inner)?))),
            Expr::IsNotFalse(inner) => Ok(Expr::IsNotFalse(Box::new(self.condition(inner)?))),
            Expr::IsUnknown(inner) => Ok(Expr::IsNull(Box::new(self.condition(inner)?))),
            Expr::IsNotUnknown(inner) => Ok(Expr::IsNotNull(Box::new(self.condition(inner)?))),
            Expr::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list).map(|e| negate(e, *negated)),
            Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                let expr = Box::new(self.expr(expr)?);
                let subquery = Box::new(self.single_column(subquery)?);
                Ok(Expr::InSubquery {
                    expr,
                    subquery,
                    negated: *negated,
                })
            }
            Expr::AnyOp {
                left,
                compare_op: BinaryOperator::Eq,
                right,
                ..
            } => self.any(left, right, false),
            Expr::AllOp {
                left,
                compare_op: BinaryOperator::NotEq,
                right,
            } => self.any(left, right, true),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let args = vec![self.repeated(2, expr)?, self.expr(low)?, self.expr(high)?];
                Ok(negate(call("between", args), *negated))
            }
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => {
                let escape = match escape_char.as_ref().map(|escape| &escape.value) {
                    None => "\\".to_owned(),
                    Some(Value::SingleQuotedString(own) | Value::DoubleQuotedString(own)) => {
                        own.clone()
                    }
                    Some(other) => return Err(SqlError::not_supported(other)),
                };
                if escape.chars().count() > 1 {
                    return Err(SqlError::new(
                        Code::WrongArguments,
                        "Incorrect arguments to ESCAPE",
                    ));
                }
                let args = vec![self.expr(expr)?, self.expr(pattern)?, text(&escape)];
                Ok(negate(call("like", args), *negated))
            }
            Expr::RLike {
                negated,
                expr,
                pattern,
                ..
            } => {
                let args = vec![self.expr(expr)?, self.expr(pattern)?];
                Ok(negate(call("regexp_like", args), *negated))
            }
            Expr::Cast {
                kind: CastKind::Cast,
                expr,
                data_type,
                array: false,
                format: None,
            } => {
                let expr = self.expr(expr)?;
                Ok(cast(expr, &cast_type(data_type)?))
            }
            Expr::Convert {
                is_try: false,
                expr,
                data_type,
                charset,
                styles,
                ..
            } if styles.is_empty() => {
                let expr = self.expr(expr)?;
                match (data_type, charset) {
                    (Some(data_type), None) => Ok(cast(expr, &cast_type(data_type)?)),
                    (_, Some(charset)) if is_utf8(&charset.to_string()) => Ok(cast(expr, "char")),
                    (_, Some(charset)) => Err(SqlError::new(
                        Code::UnknownCharacterSet,
                        format!("Unknown character set: '{charset}'"),
                    )),
                    (None, None) => Err(SqlError::not_supported("CONVERT")),
                }
            }
            Expr::Extract { field, expr, .. } => {
                let args = vec![self.expr(expr)?, text(&field.to_string().to_lowercase())];
                Ok(call("extract", args))
            }
            Expr::Ceil { expr, .. } => Ok(call("ceil", vec![self.expr(expr)?])),
            Expr::Floor { expr, .. } => Ok(call("floor", vec![self.expr(expr)?])),
            Expr::Position { expr, r#in } => {
                Ok(call("locate", vec![self.expr(expr)?, self.expr(r#in)?]))
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                let mut args = vec![self.expr(expr)?];
                match substring_from {
                    Some(from) => args.push(self.expr(from)?),
                    None => args.push(signed(1)),
                }
                if let Some(length) = substring_for {
                    args.push(self.expr(length)?);
                }
                Ok(call("substring", args))
            }
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters: None,
            } => {
                let what = match trim_what {
                    Some(what) => self.expr(what)?,
                    None => text(" "),
                };
                let side = match trim_where {
                    None | Some(TrimWhereField::Both) => "both",
                    Some(TrimWhereField::Leading) => "leading",
                    Some(TrimWhereField::Trailing) => "trailing",
                };
                Ok(call("trim", vec![self.expr(expr)?, what, text(side)]))
            }
            Expr::Collate { expr, collation } => {
                let collation = collation.to_string();
                match collation.trim_matches('`').to_ascii_lowercase().as_str() {
                    "utf8mb4_bin" => self.expr(expr),
                    "utf8mb4_0900_ai_ci" | "utf8mb4_general_ci" | "utf8mb4_unicode_ci" => {
                        Err(SqlError::not_supported(format!("COLLATE {collation}")))
                    }
                    _ => Err(SqlError::new(
                        Code::UnknownCollation,
                        format!("Unknown collation: '{collation}'"),
                    )),
                }
            }
            Expr::Prefixed { prefix, value } => {
                let charset = prefix.value.trim_start_matches('_');
                if is_utf8(charset) || charset.eq_ignore_ascii_case("binary") {
                    self.expr(value)
                } else {
                    Err(SqlError::not_supported(format!("_{charset}'...'")))
                }
            }
            Expr::TypedString(typed) => {
                let Value::SingleQuotedString(own) = &typed.value.value else {
                    return Err(SqlError::not_supported(expr));
                };
                let kind = match typed.data_type {
                    DataType::Date => "date",
                    DataType::Timestamp(..) | DataType::Datetime(_) => "datetime",
                    _ => return Err(SqlError::not_supported(expr)),
                };
                Ok(call("literal_date", vec![text(own), text(kind)]))
            }
            Expr::Function(function) => self.function(function),
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Exists { subquery, negated } => {
                let (subquery, _) = self.subquery(subquery)?;
                Ok(Expr::Exists {
                    subquery: Box::new(subquery),
                    negated: *negated,
                })
            }
            // In a function whose result may be NULL: DataFusion takes a subquery over a NOT NULL column for
            // NOT NULL, which without a row it is not.
            Expr::Subquery(query) => {
                let subquery = Expr::Subquery(Box::new(self.single_column(query)?));
                Ok(call("plain", vec![subquery]))
            }
            Expr::Tuple(_) => Err(SqlError::new(
                Code::OperandColumns,
                "Operand should contain 1 column(s)",
            )),
            other => Err(SqlError::not_supported(other)),
        }
    }

    fn name(&mut self, name: &Ident) -> Result<Expr, SqlError> {
        if name.quote_style.is_none() && name.value.starts_with('@') {
            return self.variable(&[name.value.as_str()]);
        }
        for (at, scope) in self.scopes.iter().enumerate().rev() {
            let innermost = at + 1 == self.scopes.len();
            let alias = || {
                scope
                    .aliases
                    .iter()
                    .find(|alias| alias.name.eq_ignore_ascii_case(&name.value))
                    .cloned()
            };
            if innermost
                && scope.alias_use == AliasUse::First
                && let Some(alias) = alias()
            {
                self.weigh_again(alias.counts)?;
                return Ok(alias.expr);
            }
            if let Some(found) = scope.find(&name.value, self.clause)? {
                let (expr, written) = (scope.expr(found), scope.column(found).written);
                self.weigh_column(written)?;
                return Ok(expr);
            }
            if innermost
                && scope.alias_use == AliasUse::Last
                && let Some(alias) = alias()
            {
                self.weigh_again(alias.counts)?;
                return Ok(alias.expr);
            }
        }
        // CURRENT_DATE and its like are functions that may stand without parentheses.
        if name.quote_style.is_none()
            && let Some(expr) = self.bare_function(&name.value)?
        {
            return Ok(expr);
        }
        Err(unknown(&name.value, self.clause))
    }

    fn qualified(&mut self, names: &[Ident]) -> Result<Expr, SqlError> {
        if names[0].quote_style.is_none() && names[0].value.starts_with('@') {
            let names: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
            return self.variable(&names);
        }
        let (database, table, column) = match names {
            [table, column] => (None, table, column),
            [database, table, column] => (Some(database.value.as_str()), table, column),
            _ => return Err(SqlError::not_supported(dotted(names))),
        };
        let found = self.scopes.iter().rev().find_map(|scope| {
            scope
                .find_in(database, &table.value, &column.value)
                .map(|at| (scope.expr(at), scope.column(at).written))
        });
        let Some((expr, written)) = found else {
            return Err(unknown(&dotted(names), self.clause));
        };
        self.weigh_column(written)?;
        Ok(expr)
    }

    /// `@name`, `@@name`, `@@session.name`, `@@global.name`.
    fn variable(&mut self, names: &[&str]) -> Result<Expr, SqlError> {
        let Some(first) = names[0].strip_prefix("@@") else {
            let name = names[0].trim_start_matches('@').trim_matches('`');
            let value = of_value(&self.ctx.variables.user(name))?;
            return self.kept(value);
        };
        let (scope, name) = match names {
            [_] => (VariableScope::Any, first),
            [_, name] => match first.to_ascii_lowercase().as_str() {
                "session" | "local" => (VariableScope::Session, *name),
                "global" => (VariableScope::Global, *name),
                _ => return Err(SqlError::not_supported(names.join("."))),
            },
            _ => return Err(SqlError::not_supported(names.join("."))),
        };
        let value = of_value(&self.ctx.variables.system(scope, name)?)?;
        self.kept(value)
    }

    /// A text, or a call of what gives it where it is long.
    fn text(&mut self, own: &str) -> Result<Expr, SqlError> {
        if !long_text::is_long(own) {
            return Ok(text(own));
        }
        let hold = |bytes| self.ctx.memory.hold_more(&self.weight, bytes);
        Ok(call(&self.texts.name(own, hold)?, Vec::new()))
    }

    fn kept(&mut self, value: Expr) -> Result<Expr, SqlError> {
        match &value {
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(own),
                ..
            }) if long_text::is_long(own) => self.text(own),
            _ => Ok(value),
        }
    }

    fn value(&mut self, value: &ValueWithSpan) -> Result<Expr, SqlError> {
        if is_placeholder_null(value) {
            return Ok(null());
        }
        match &value.value {
            Value::Number(digits, _) => {
                if digits.contains(['e', 'E']) {
                    Ok(cast(text(digits), "double"))
                } else {
                    decimal_literal(digits)
                }
            }
            Value::SingleQuotedString(own)
            | Value::DoubleQuotedString(own)
            | Value::NationalStringLiteral(own) => self.text(own),
            Value::HexStringLiteral(digits) => hexadecimal(digits),
            Value::Boolean(_) | Value::Null => Ok(Expr::Value(value.clone())),
            other => Err(SqlError::not_supported(other)),
        }
    }

    fn subquery(
        &mut self,
        query: &sqlparser::ast::Query,
    ) -> Result<(sqlparser::ast::Query, usize), SqlError> {
        let clause = std::mem::replace(&mut self.clause, "field list");
        let bound = self.in_subquery(|binder| binder.query(query, Twice::Renamed));
        self.clause = clause;
        let (query, columns) = bound?;
        // Compared, they become those of a join.
        for column in &columns {
            self.weigh_written(column.written)?;
        }
        Ok((query, columns.len()))
    }

    pub(super) fn single_column(
        &mut self,
        query: &sqlparser::ast::Query,
    ) -> Result<sqlparser::ast::Query, SqlError> {
        match self.subquery(query)? {
            (query, 1) => Ok(query),
            _ => Err(SqlError::new(
                Code::OperandColumns,
                "Operand should contain 1 column(s)",
            )),
        }
    }
}

/// Whether an expression may go through a function: conditions that filters are pushed by and that subqueries are joined
/// by stay as they are.
fn is_numbered(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => !matches!(
            op,
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::StringConcat
        ),
        Expr::UnaryOp { op, .. } => !matches!(op, UnaryOperator::Not | UnaryOperator::BangNot),
        Expr::Nested(_)
        | Expr::InSubquery { .. }
        | Expr::Exists { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. } => false,
        // A CASE asks what is among its results twice: a number would stand between two of them.
        other => !is_case(other),
    }
}
