//! Strings that functions make of constants while a statement is planned.
//!
//! What hangs on no row is evaluated once, when the statement is planned, and its result stands in the plan. The
//! array that it was made in is gone by then, and with it what was reserved for it; an expression around it copies
//! it, and a hundred of them may stand side by side before one that takes them all is reached. So each is counted
//! here as it is made, also where another one swallows it, and what it takes is reserved until the statement ends.
//! What is long is kept beside the plan before another rule sees it ([`super::long_text`]).

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray};
use datafusion::common::Result;

use super::fault::wrap;
use super::memory::{Held, QueryMemory};
use crate::limits::{CONSTANT_COPIES, CONSTANTS_BATCH_BYTES_MAX};
use crate::sql::error::{Code, SqlError};

/// Those of one statement.
#[derive(Debug)]
pub(super) struct Constants {
    memory: Arc<QueryMemory>,
    made: Mutex<Made>,
}

#[derive(Debug)]
struct Made {
    bytes: usize,
    held: Held,
    /// Why there may be no more. DataFusion leaves what cannot be evaluated for later, so it is asked for at the end.
    fault: Option<SqlError>,
}

impl Constants {
    /// None yet.
    ///
    /// # Errors
    /// 1038: there is no memory at all.
    pub(super) fn new(memory: &Arc<QueryMemory>) -> Result<Constants> {
        let made = Made {
            bytes: 0,
            held: memory.hold(0).map_err(wrap)?,
            fault: None,
        };
        Ok(Constants {
            memory: Arc::clone(memory),
            made: Mutex::new(made),
        })
    }

    /// Whether there may be more.
    ///
    /// # Errors
    /// 1301: together they are too long; 1038: there was no memory for them.
    pub(super) fn check(&self) -> Result<()> {
        match &self.made().fault {
            Some(fault) => Err(wrap(fault.clone())),
            None => Ok(()),
        }
    }

    /// A function made this of constants.
    ///
    /// # Errors
    /// As [`Constants::check`].
    pub(super) fn add(&self, array: &ArrayRef) -> Result<()> {
        let bytes = match array.as_string_opt::<i32>() {
            Some(texts) => texts.values().len(),
            None => 0,
        };
        let mut made = self.made();
        made.bytes += bytes;
        let room = match made.bytes {
            0..=CONSTANTS_BATCH_BYTES_MAX => {
                self.memory.hold_more(&made.held, bytes * CONSTANT_COPIES)
            }
            more => Err(too_long(more)),
        };
        made.fault = made.fault.take().or(room.err());
        drop(made);
        self.check()
    }

    /// Nothing in it can panic half done.
    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// 1301: a statement's constant strings have so many bytes.
pub(super) fn too_long(bytes: usize) -> SqlError {
    SqlError::new(
        Code::FunctionResultTooLong,
        format!(
            "The statement's constant strings, with those that its functions make of them, have {bytes} bytes or \
             more; together they may have {CONSTANTS_BATCH_BYTES_MAX}"
        ),
    )
}
