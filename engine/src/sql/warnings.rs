//! What SHOW WARNINGS shows: of the last statement, bounded as MySQL bounds it.

use super::error::Code;
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
    /// The statement before's: what `@@warning_count` shows to this one.
    before: (u16, u16),
}

impl Warnings {
    /// A statement begins that forgets the one before.
    pub fn begin(&mut self) {
        self.before = (self.count(), self.errors());
        self.found.clear();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.before = (0, 0);
        self.found.clear();
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
    pub fn all(&self) -> &[Warning] {
        &self.found
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u16 {
        u16::try_from(self.found.len()).unwrap_or(u16::MAX)
    }

    /// How many of them are errors.
    #[must_use]
    pub fn errors(&self) -> u16 {
        let errors = self
            .found
            .iter()
            .filter(|warning| warning.level == Level::Error)
            .count();
        u16::try_from(errors).unwrap_or(u16::MAX)
    }

    /// `@@warning_count` and `@@error_count`.
    #[must_use]
    pub fn before(&self) -> (u16, u16) {
        self.before
    }
}
