//! Expressions: each operator becomes a call that carries MySQL's meaning.

use recursive::recursive;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, Interval, ObjectName, ObjectNamePart,
    TrimWhereField, UnaryOperator, Value, ValueWithSpan,
};

use super::Binder;
use super::literal::{cast, is_placeholder_null, null, of_value, signed, text, unsigned};
use super::query::Twice;
use super::scope::{AliasUse, quoted, unknown};
use crate::limits::EXPRESSION_NESTING_MAX;
use crate::sql::error::{Code, SqlError};
use crate::sql::select::VariableScope;

impl Binder<'_> {
    /// Binds an expression.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        if self.depth >= EXPRESSION_NESTING_MAX {
            return Err(SqlError::new(
                Code::LimitReached,
                format!("The expression is nested deeper than {EXPRESSION_NESTING_MAX} levels"),
            ));
        }
        self.depth += 1;
        let bound = self.expr_inner(expr);
        self.depth -= 1;
        bound
    }

    #[recursive]
    fn expr_inner(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        match expr {
            Expr::Identifier(name) => self.name(name),
            Expr::CompoundIdentifier(names) => self.qualified(names),
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
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let args = vec![self.expr(expr)?, self.expr(low)?, self.expr(high)?];
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
            Expr::Subquery(query) => Ok(Expr::Subquery(Box::new(self.single_column(query)?))),
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
                    .find(|(alias, _)| alias.eq_ignore_ascii_case(&name.value))
                    .map(|(_, expr)| expr.clone())
            };
            if innermost
                && scope.alias_use == AliasUse::First
                && let Some(expr) = alias()
            {
                return Ok(expr);
            }
            if let Some(found) = scope.find(&name.value, self.clause)? {
                return Ok(scope.expr(found));
            }
            if innermost
                && scope.alias_use == AliasUse::Last
                && let Some(expr) = alias()
            {
                return Ok(expr);
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
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| {
                scope
                    .find_in(database, &table.value, &column.value)
                    .map(|at| scope.expr(at))
            })
            .ok_or_else(|| unknown(&dotted(names), self.clause))
    }

    /// `@name`, `@@name`, `@@session.name`, `@@global.name`.
    fn variable(&mut self, names: &[&str]) -> Result<Expr, SqlError> {
        let Some(first) = names[0].strip_prefix("@@") else {
            let name = names[0].trim_start_matches('@').trim_matches('`');
            return of_value(&self.ctx.variables.user(name));
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
        of_value(&self.ctx.variables.system(scope, name)?)
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
            | Value::NationalStringLiteral(own) => Ok(text(own)),
            Value::HexStringLiteral(digits) => hexadecimal(digits),
            Value::Boolean(_) | Value::Null => Ok(Expr::Value(value.clone())),
            other => Err(SqlError::not_supported(other)),
        }
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Expr, SqlError> {
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

    fn in_list(&mut self, expr: &Expr, list: &[Expr]) -> Result<Expr, SqlError> {
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
        args.push(self.expr(expr)?);
        for item in list {
            args.push(self.expr(item)?);
        }
        Ok(call("in", args))
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr) -> Result<Expr, SqlError> {
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

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        else_result: Option<&Expr>,
    ) -> Result<Expr, SqlError> {
        let operand = operand.map(|operand| self.expr(operand)).transpose()?;
        let mut args = Vec::with_capacity(conditions.len() * 2 + 1);
        for when in conditions {
            args.push(match &operand {
                Some(operand) => {
                    let wanted = self.expr(&when.condition)?;
                    call("=", vec![operand.clone(), wanted])
                }
                None => self.condition(&when.condition)?,
            });
            args.push(self.expr(&when.result)?);
        }
        if let Some(result) = else_result {
            args.push(self.expr(result)?);
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

    fn subquery(
        &mut self,
        query: &sqlparser::ast::Query,
    ) -> Result<(sqlparser::ast::Query, usize), SqlError> {
        let clause = std::mem::replace(&mut self.clause, "field list");
        let bound = self.query(query, Twice::Renamed);
        self.clause = clause;
        bound.map(|(query, columns)| (query, columns.len()))
    }

    fn single_column(
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

/// A call of one of our functions.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(quoted(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
                .collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A condition of an expression of any type.
pub(super) fn truth(expr: Expr) -> Expr {
    call("truth", vec![expr])
}

/// All of them, or `None` of none.
pub(super) fn conjunction(terms: Vec<Expr>) -> Option<Expr> {
    balanced(terms, &BinaryOperator::And)
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(expr))),
        }
    } else {
        expr
    }
}

/// Joins terms as a tree of logarithmic height.
fn balanced(mut terms: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    while terms.len() > 1 {
        let mut next = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            next.push(match rest.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: op.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        terms = next;
    }
    terms.pop()
}

fn decimal_literal(digits: &str) -> Result<Expr, SqlError> {
    let literal = Expr::Value(Value::Number(digits.to_owned(), false).into());
    let Some((whole, fraction)) = digits.split_once('.') else {
        return if digits.trim_start_matches('0').len() > 38 {
            Err(too_many_digits(digits))
        } else {
            Ok(literal)
        };
    };
    if whole.trim_start_matches('0').len() + fraction.len() > 38 || fraction.len() > 30 {
        return Err(too_many_digits(digits));
    }
    let precision = (whole.trim_start_matches('0').len() + fraction.len()).max(1);
    Ok(cast(
        text(digits),
        &format!("decimal({precision},{})", fraction.len()),
    ))
}

fn too_many_digits(digits: &str) -> SqlError {
    SqlError::not_supported(format!("{digits}: DECIMAL beyond 38 digits"))
}

fn hexadecimal(digits: &str) -> Result<Expr, SqlError> {
    let padded = if digits.len() % 2 == 1 {
        format!("0{digits}")
    } else {
        digits.to_owned()
    };
    let bytes: Option<Vec<u8>> = (0..padded.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(padded.get(at..at + 2)?, 16).ok())
        .collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(own)) => Ok(text(&own)),
        _ => Err(SqlError::not_supported(format!(
            "x'{digits}': binary strings that are not UTF-8"
        ))),
    }
}

fn dotted(names: &[Ident]) -> String {
    names
        .iter()
        .map(|name| name.value.as_str())
        .collect::<Vec<_>>()
        .join(".")
}

pub(super) fn is_utf8(charset: &str) -> bool {
    matches!(
        charset.trim_matches('`').to_ascii_lowercase().as_str(),
        "utf8mb4" | "utf8" | "utf8mb3"
    )
}

/// The text of a type as the function `cast` takes it.
fn cast_type(data_type: &DataType) -> Result<String, SqlError> {
    let shown = data_type.to_string().to_ascii_lowercase();
    let base = shown.split(['(', ' ']).next().unwrap_or("");
    Ok(match base {
        "signed" => "signed".to_owned(),
        "unsigned" => "unsigned".to_owned(),
        "char" | "character" | "nchar" | "binary" | "varchar" => match shown.split_once('(') {
            Some((_, length)) => {
                let length = length.trim_end_matches(')');
                format!("char({length})")
            }
            None => "char".to_owned(),
        },
        "decimal" | "dec" | "numeric" => shown.replacen(base, "decimal", 1).replace(' ', ""),
        "date" | "double" => base.to_owned(),
        "float" | "real" => "double".to_owned(),
        "datetime" => shown.replace(' ', ""),
        _ => return Err(SqlError::not_supported(format!("CAST AS {data_type}"))),
    })
}

/// A literal of a session's value.
pub(super) fn of_text(value: Option<&str>) -> Expr {
    value.map_or_else(null, text)
}
