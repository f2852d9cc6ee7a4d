//! What SHOW WARNINGS shows: of the last statement, bounded as MySQL bounds it.

use std::sync::Arc;

use super::error::Code;
use super::left_out::Late;
use crate::limits::WARNINGS_MAX;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing was wrong: IF EXISTS had nothing to do.
    Note,
    /// Something is not as asked.
    Warning,
    /// The statement failed.
    Error,
}

impl Level {
    /// As SHOW WARNINGS prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Note => "Note",
            Level::Warning => "Warning",
            Level::Error => "Error",
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// How bad.
    pub level: Level,
    /// MySQL's number.
    pub code: u16,
    /// One line.
    pub message: String,
}

/// The last statement's.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    found: Vec<Warning>,
    /// What the statement's rows bring to light while they are sent.
    late: Arc<Late>,
    /// The statement before's: what `@@warning_count` shows to this one.
    before: (u16, u16),
}

impl Warnings {
    /// A statement begins that forgets the one before.
    pub fn begin(&mut self) {
        self.before = (self.count(), self.errors());
        self.forget();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.before = (0, 0);
        self.forget();
    }

    /// Rows of the statement before may still be on their way: what they say is no longer ours.
    fn forget(&mut self) {
        self.found.clear();
        self.late = Arc::default();
    }

    /// Where scans say what they leave out, and what ended the rows.
    #[must_use]
    pub fn late(&self) -> &Arc<Late> {
        &self.late
    }

    /// Adds one; beyond `WARNINGS_MAX` it is dropped, as beyond MySQL's `max_error_count`.
    pub fn push(&mut self, level: Level, code: u16, message: &str) {
        if self.found.len() < WARNINGS_MAX {
            self.found.push(Warning {
                level,
                code,
                message: message.to_owned(),
            });
        }
    }

    /// Adds a note.
    pub fn note(&mut self, code: Code, message: &str) {
        self.push(Level::Note, code.number(), message);
    }

    /// Adds a warning.
    pub fn warn(&mut self, code: Code, message: &str) {
        self.push(Level::Warning, code.number(), message);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Warning> {
        let late = self.late.warnings(WARNINGS_MAX - self.found.len());
        self.found.iter().cloned().chain(late).collect()
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u16 {
        u16::try_from(self.all().len()).unwrap_or(u16::MAX)
    }

    /// How many of them are errors.
    #[must_use]
    pub fn errors(&self) -> u16 {
        let all = self.all();
        let errors = all.iter().filter(|warning| warning.level == Level::Error);
        u16::try_from(errors.count()).unwrap_or(u16::MAX)
    }

    /// `@@warning_count` and `@@error_count`.
    #[must_use]
    pub fn before(&self) -> (u16, u16) {
        self.before
    }
}
