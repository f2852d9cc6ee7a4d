//! Function calls: those of the session become literals, aggregates get MySQL's types, the rest is
//! looked up by name.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, ObjectName, ObjectNamePart, Spanned, WindowFrameBound, WindowType,
};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::build::{call, of_text};
use super::from::parts;
use super::known::{OF_SESSION, WINDOW, aggregate_name, canonical, is_inner};
use super::literal::{cast, datetime, number, signed, text, unsigned};
use super::scope::quoted;
use crate::sql::error::{Code, SqlError};
use crate::sql::select::functions;

const US_PER_S: i64 = 1_000_000;

impl Binder<'_> {
    /// Binds a call.
    pub(super) fn function(&mut self, function: &Function) -> Result<Expr, SqlError> {
        let name = match parts(&function.name)?.as_slice() {
            [name] => name.to_ascii_lowercase(),
            _ => return Err(self.no_function(&function.name.to_string())),
        };
        if is_inner(&name) && is_written(&function.name) {
            return Err(self.no_function(&name));
        }
        let no_parameters = matches!(function.parameters, FunctionArguments::None);
        if !no_parameters || function.filter.is_some() || !function.within_group.is_empty() {
            return Err(SqlError::not_supported(function));
        }
        let empty = FunctionArgumentList {
            duplicate_treatment: None,
            args: Vec::new(),
            clauses: Vec::new(),
        };
        let list = match &function.args {
            FunctionArguments::None => &empty,
            FunctionArguments::List(list) => list,
            FunctionArguments::Subquery(_) => return Err(SqlError::not_supported(function)),
        };
        if aggregate_name(&name).is_some() {
            return self.aggregate(&name, function, list);
        }
        if WINDOW.contains(&name.as_str()) {
            return self.window(&name, function, list);
        }
        if function.over.is_some() {
            return Err(self.no_function(&name));
        }
        if !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
            return Err(SqlError::not_supported(function));
        }
        self.scalar(&name, list)
    }

    /// A function that MySQL lets stand without parentheses.
    pub(super) fn bare_function(&mut self, name: &str) -> Result<Option<Expr>, SqlError> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "current_timestamp" | "localtime" | "localtimestamp" | "current_date"
            | "utc_timestamp" | "utc_date" | "current_user" => {
                self.of_session(&name, &[]).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn scalar(&mut self, name: &str, list: &FunctionArgumentList) -> Result<Expr, SqlError> {
        let args = plain_args(list)?;
        if OF_SESSION.contains(&name) {
            return self.of_session(name, &args);
        }
        match (name, args.as_slice()) {
            ("date_add" | "adddate" | "date_sub" | "subdate", [date, Expr::Interval(interval)]) => {
                let date = self.expr(date)?;
                return self.add_interval(date, interval, name.contains("sub"));
            }
            ("adddate" | "subdate", [date, days]) => {
                let args = vec![self.expr(date)?, self.expr(days)?, text("day")];
                let name = if name == "adddate" {
                    "date_add"
                } else {
                    "date_sub"
                };
                return Ok(call(name, args));
            }
            ("date_add" | "date_sub", _) => return Err(self.wrong_count(name)),
            ("timestampadd" | "timestampdiff", [unit, first, second]) => {
                let unit = text(&unit.to_string().to_lowercase());
                let (first, second) = (self.expr(first)?, self.expr(second)?);
                return Ok(match name {
                    "timestampadd" => call("date_add", vec![second, first, unit]),
                    _ => call("timestampdiff", vec![first, second, unit]),
                });
            }
            ("if", [condition, yes, no]) => {
                let condition = self.case_condition(|binder| binder.condition(condition))?;
                let args = vec![condition, self.result(yes)?, self.result(no)?];
                return Ok(call("case", args));
            }
            ("isnull", [expr]) => return Ok(Expr::IsNull(Box::new(self.expr(expr)?))),
            _ => {}
        }
        let (canonical, extra) = canonical(name);
        let Some((least, most)) = functions::arity(canonical) else {
            return Err(self.no_function(name));
        };
        let last = args.len().saturating_sub(1);
        let mut bound = args
            .iter()
            .enumerate()
            .map(|(at, arg)| match canonical {
                "coalesce" | "ifnull" if at < last => self.repeated(2, arg),
                "coalesce" | "ifnull" => self.result(arg),
                "nullif" if at == 0 => self.repeated(2, arg),
                "nullif" => self.case_condition(|binder| binder.expr(arg)),
                _ => self.expr(arg),
            })
            .collect::<Result<Vec<_>, _>>()?;
        bound.extend(extra.iter().map(|extra| text(extra)));
        if bound.len() < least || bound.len() > most {
            return Err(self.wrong_count(name));
        }
        if name == "trim" {
            bound.extend([text(" "), text("both")]);
        }
        Ok(call(canonical, bound))
    }

    /// A function of the session or the statement's instant.
    fn of_session(&mut self, name: &str, args: &[Expr]) -> Result<Expr, SqlError> {
        let now = self.ctx.now_unix_us;
        match (name, args) {
            (
                "now" | "current_timestamp" | "localtime" | "localtimestamp" | "sysdate"
                | "utc_timestamp",
                [],
            ) => Ok(datetime(now, 0)),
            (
                "now" | "current_timestamp" | "localtime" | "localtimestamp" | "sysdate"
                | "utc_timestamp",
                [fsp],
            ) => match number(fsp) {
                Some(fsp @ (0 | 3 | 6)) => Ok(datetime(now, u8::try_from(fsp).unwrap_or(0))),
                Some(fsp @ 0..=6) => Err(SqlError::not_supported(format!(
                    "{name}({fsp}): 0, 3 and 6 digits are"
                ))),
                Some(fsp) => Err(SqlError::new(
                    Code::TooBigPrecision,
                    format!("Too-big precision {fsp} specified for '{name}'. Maximum is 6."),
                )),
                None => Err(self.wrong_count(name)),
            },
            ("curdate" | "current_date" | "utc_date", []) => Ok(cast(datetime(now, 0), "date")),
            ("unix_timestamp", []) => Ok(signed(now.div_euclid(US_PER_S))),
            ("unix_timestamp", [date]) => {
                let date = self.expr(date)?;
                Ok(call("unix_timestamp", vec![date]))
            }
            ("database" | "schema", []) => Ok(of_text(self.ctx.database.as_deref())),
            ("version", []) => Ok(text(&self.ctx.version)),
            ("connection_id", []) => Ok(unsigned(self.ctx.connection_id.into())),
            ("user" | "current_user" | "session_user" | "system_user", []) => {
                Ok(text(&self.ctx.user))
            }
            ("row_count", []) => Ok(signed(-1)),
            ("last_insert_id" | "found_rows", []) => Ok(unsigned(0)),
            _ => Err(self.wrong_count(name)),
        }
    }

    fn aggregate(
        &mut self,
        name: &str,
        function: &Function,
        list: &FunctionArgumentList,
    ) -> Result<Expr, SqlError> {
        if !list.clauses.is_empty() {
            return Err(SqlError::not_supported(function));
        }
        self.is_constant = false;
        if let Some(scope) = self.scopes.last_mut() {
            scope.aggregates = true;
        }
        let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
        let star = matches!(
            list.args.as_slice(),
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]
        );
        if star {
            return if name == "count" && !distinct {
                self.aggregate_call("count", signed(1), distinct, function)
            } else {
                Err(SqlError::new(
                    Code::Syntax,
                    format!(
                        "You have an error in your SQL syntax: {name} takes an expression, not *"
                    ),
                ))
            };
        }
        let args = plain_args(list)?;
        let [arg] = args.as_slice() else {
            return Err(if args.len() > 1 && name == "count" {
                SqlError::not_supported("COUNT(DISTINCT) of several expressions")
            } else {
                self.wrong_count(name)
            });
        };
        self.weigh_item()?;
        let times = match name {
            "avg" | "bit_and" | "bit_or" | "bit_xor" => 2,
            _ => 1,
        };
        let arg = self.repeated(times, arg)?;
        let inner = aggregate_name(name).unwrap_or("count");
        match name {
            "sum" => {
                let arg = call("summand", vec![arg]);
                let sum = self.aggregate_call(inner, arg, distinct, function)?;
                Ok(call("total", vec![sum]))
            }
            "avg" => {
                let summand = call("summand", vec![arg.clone()]);
                let sum = self.aggregate_call("sum", summand, distinct, function)?;
                let count = self.aggregate_call("count", arg, distinct, function)?;
                Ok(call("/", vec![call("total", vec![sum]), count]))
            }
            "count" | "min" | "max" => self.aggregate_call(inner, arg, distinct, function),
            "bit_and" | "bit_or" | "bit_xor" => {
                let arg = cast(arg, "unsigned");
                let value = self.aggregate_call(inner, arg, distinct, function)?;
                let none = if name == "bit_and" { u64::MAX } else { 0 };
                Ok(call(
                    "case",
                    vec![Expr::IsNull(Box::new(value.clone())), unsigned(none), value],
                ))
            }
            _ => {
                let arg = cast(arg, "double");
                self.aggregate_call(inner, arg, distinct, function)
            }
        }
    }

    fn aggregate_call(
        &mut self,
        name: &str,
        arg: Expr,
        distinct: bool,
        function: &Function,
    ) -> Result<Expr, SqlError> {
        Ok(Expr::Function(Function {
            name: ObjectName(vec![ObjectNamePart::Identifier(quoted(name))]),
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: distinct.then_some(DuplicateTreatment::Distinct),
                args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))],
                clauses: Vec::new(),
            }),
            over: self.over(function.over.as_ref())?,
            ..function.clone()
        }))
    }

    fn window(
        &mut self,
        name: &str,
        function: &Function,
        list: &FunctionArgumentList,
    ) -> Result<Expr, SqlError> {
        if function.over.is_none() {
            return Err(SqlError::new(
                Code::Syntax,
                format!("You have an error in your SQL syntax: {name} needs an OVER clause"),
            ));
        }
        self.is_constant = false;
        let args = plain_args(list)?
            .iter()
            .map(|arg| Ok(FunctionArg::Unnamed(FunctionArgExpr::Expr(self.expr(arg)?))))
            .collect::<Result<Vec<_>, SqlError>>()?;
        Ok(Expr::Function(Function {
            name: ObjectName(vec![ObjectNamePart::Identifier(quoted(name))]),
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args,
                clauses: Vec::new(),
            }),
            over: self.over(function.over.as_ref())?,
            ..function.clone()
        }))
    }

    fn over(&mut self, over: Option<&WindowType>) -> Result<Option<WindowType>, SqlError> {
        let Some(over) = over else {
            return Ok(None);
        };
        let WindowType::WindowSpec(spec) = over else {
            return Err(SqlError::not_supported("a named window"));
        };
        self.weigh_window()?;
        let mut bound = spec.clone();
        for expr in &mut bound.partition_by {
            *expr = self.expr(expr)?;
        }
        for item in &mut bound.order_by {
            item.expr = self.expr(&item.expr)?;
        }
        if let Some(frame) = &mut bound.window_frame {
            for bound in [Some(&mut frame.start_bound), frame.end_bound.as_mut()]
                .into_iter()
                .flatten()
            {
                if let WindowFrameBound::Preceding(Some(expr))
                | WindowFrameBound::Following(Some(expr)) = bound
                    && number(expr).is_none()
                {
                    return Err(SqlError::not_supported("this window frame"));
                }
            }
        }
        Ok(Some(WindowType::WindowSpec(bound)))
    }

    fn no_function(&self, name: &str) -> SqlError {
        let name = match &self.ctx.database {
            Some(database) => format!("{database}.{name}"),
            None => name.to_owned(),
        };
        SqlError::new(
            Code::NoSuchFunction,
            format!("FUNCTION {name} does not exist"),
        )
    }

    fn wrong_count(&self, name: &str) -> SqlError {
        SqlError::new(
            Code::WrongParameterCount,
            format!("Incorrect parameter count in the call to native function '{name}'"),
        )
    }
}

/// Whether a name stands in the statement's text. One that the binder made, such as the CAST around a parameter, has
/// no place there.
fn is_written(name: &ObjectName) -> bool {
    let mut parts = name.0.iter();
    parts.any(|part| part.span() != Span::empty())
}

fn plain_args(list: &FunctionArgumentList) -> Result<Vec<Expr>, SqlError> {
    list.args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
            other => Err(SqlError::not_supported(other)),
        })
        .collect()
}
