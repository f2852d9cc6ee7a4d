//! Errors as MySQL's clients know them: a number, a state, one line of text.

/// What a client is told: MySQL's error number and SQLSTATE, and what happened, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// MySQL's error number, e.g. 1064.
    pub code: u16,
    /// SQLSTATE, five characters.
    pub state: &'static str,
    /// One line, without the number.
    pub message: String,
}
