//! SET, and what `@@name` and `@name` are to a query.

use std::sync::Arc;

use super::answer::Answer;
use super::error::{Code, SqlError};
use super::parse::{Assigned, Assignment, Statement, parse};
use super::select::{self, Cancel, VariableScope, Variables};
use super::session::Session;
use super::statements::done;
use super::value::Value;
use super::variables::{SessionVariables, charset, collation, not_global, text_of};
use crate::catalog::Variable;
use crate::limits::PARSE_BESIDE_BYTES;

/// A session's variables at the start of a query.
pub struct QueryVariables {
    /// The variables.
    pub variables: Arc<SessionVariables>,
    /// `@@warning_count` and `@@error_count`.
    pub warnings: (u16, u16),
    /// `@@pseudo_thread_id`.
    pub connection_id: u32,
}

impl Variables for QueryVariables {
    fn system(&self, scope: VariableScope, name: &str) -> Result<Value, SqlError> {
        let own = match name.to_lowercase().as_str() {
            "warning_count" => Some(i64::from(self.warnings.0)),
            "error_count" => Some(i64::from(self.warnings.1)),
            "pseudo_thread_id" => Some(i64::from(self.connection_id)),
            "last_insert_id" | "identity" | "insert_id" => Some(0),
            _ => None,
        };
        if let (Some(number), true) = (own, scope != VariableScope::Global) {
            return Ok(Value::Int(number));
        }
        if scope == VariableScope::Session && Variable::named(name).is_ok() {
            return Err(SqlError::new(
                Code::ReadOnlyVariable,
                format!("Variable '{name}' is a GLOBAL variable"),
            ));
        }
        self.variables.system(name, scope == VariableScope::Global)
    }

    fn user(&self, name: &str) -> Value {
        self.variables.user(name)
    }
}

impl Session {
    /// All assignments or, where one is refused, none of the session's: MySQL's rule.
    pub(super) async fn set(
        &mut self,
        assignments: &[Assignment],
        cancel: Cancel,
    ) -> Result<Answer, SqlError> {
        let before = Arc::clone(&self.variables);
        for assignment in assignments {
            if let Err(fault) = self.assign(assignment, &cancel).await {
                self.variables = before;
                return Err(fault);
            }
        }
        Ok(done())
    }

    async fn assign(&mut self, assignment: &Assignment, cancel: &Cancel) -> Result<(), SqlError> {
        match assignment {
            Assignment::Names {
                charset: name,
                collation: of,
            } => {
                let name = charset(name.as_deref().unwrap_or("default"))?;
                self.set_charsets(name)?;
                if let Some(of) = of {
                    let (_, warning) = collation(of)?;
                    self.warn_of(warning);
                }
                Ok(())
            }
            Assignment::CharacterSet(name) => {
                let name = charset(name.as_deref().unwrap_or("default"))?;
                self.set_charsets(name)
            }
            Assignment::Transaction {
                isolation,
                read_only,
                global,
            } => {
                if *global {
                    return Err(not_global("transaction_isolation"));
                }
                if let Some(isolation) = isolation {
                    let level =
                        Value::Bytes(isolation.replace(' ', "-").to_uppercase().into_bytes());
                    self.set_one("transaction_isolation", Some(&level))?;
                }
                if let Some(read_only) = read_only {
                    self.set_one(
                        "transaction_read_only",
                        Some(&Value::Int(i64::from(*read_only))),
                    )?;
                }
                Ok(())
            }
            Assignment::User { name, value } => {
                let value = match value {
                    Assigned::Default => {
                        return Err(SqlError::not_supported(format!("SET @{name} = DEFAULT")));
                    }
                    Assigned::Word(word) => {
                        return Err(SqlError::new(
                            Code::UnknownColumn,
                            format!("Unknown column '{word}' in 'field list'"),
                        ));
                    }
                    Assigned::Expression(text) => self.evaluate(text, cancel).await?,
                };
                Arc::make_mut(&mut self.variables).set_user(name, value)
            }
            Assignment::System {
                global,
                name,
                value,
            } => {
                let value = match value {
                    Assigned::Default => None,
                    Assigned::Word(word) => Some(Value::Bytes(word.clone().into_bytes())),
                    Assigned::Expression(text) => Some(self.evaluate(text, cancel).await?),
                };
                if !global {
                    return self.set_one(name, value.as_ref());
                }
                if Variable::named(name).is_err() {
                    return Err(not_global(name));
                }
                let value = value.as_ref().map(text_of);
                self.engine
                    .parts()
                    .aggregator
                    .set_global(name, value.as_deref())
                    .await?;
                Ok(())
            }
        }
    }

    fn set_charsets(&mut self, name: &str) -> Result<(), SqlError> {
        let value = Value::Bytes(name.as_bytes().to_vec());
        for variable in [
            "character_set_client",
            "character_set_connection",
            "character_set_results",
        ] {
            self.set_one(variable, Some(&value))?;
        }
        Ok(())
    }

    fn set_one(&mut self, name: &str, value: Option<&Value>) -> Result<(), SqlError> {
        let warning = Arc::make_mut(&mut self.variables).set(name, value)?;
        self.warn_of(warning);
        Ok(())
    }

    fn warn_of(&mut self, warning: Option<String>) {
        if let Some(warning) = warning {
            self.warnings.warn(Code::UnknownCollation, &warning);
        }
    }

    /// An expression's value: a constant here, anything else as a query of one row and column.
    async fn evaluate(&self, text: &str, cancel: &Cancel) -> Result<Value, SqlError> {
        // A long one is read beside the control thread, as all long texts are.
        if text.len() < PARSE_BESIDE_BYTES
            && let Some(value) = constant(text)
        {
            return Ok(value);
        }
        let (read, _held) = self.read(&format!("SELECT {text}"), parse).await?;
        let Statement::Query(query) = read else {
            return Err(SqlError::not_supported(text));
        };
        let ctx = self.context(cancel.clone(), None);
        let rows = select::select(&ctx, &query, &[]).await?;
        super::scalar::only_value(rows).await
    }
}

/// A number, a string, NULL, TRUE or FALSE.
fn constant(text: &str) -> Option<Value> {
    let mut cursor = super::parse::Cursor::new(text).ok()?;
    for (word, value) in [
        ("NULL", Value::Null),
        ("TRUE", Value::Int(1)),
        ("FALSE", Value::Int(0)),
    ] {
        if cursor.take(word) {
            return cursor.at_end().then_some(value);
        }
    }
    if let Ok(text) = cursor.string() {
        return cursor.at_end().then(|| Value::Bytes(text.into_bytes()));
    }
    let number = cursor.number().ok()?;
    cursor
        .at_end()
        .then(|| i64::try_from(number).map_or(Value::UInt(number), Value::Int))
}
