//! Strings that functions make of constants while a statement is planned.
//!
//! What hangs on no row is evaluated once, when the statement is planned, and its result stands in the plan. The
//! array that it was made in is gone by then, and with it what was reserved for it; an expression around it copies
//! it, and a hundred of them may stand side by side before one that takes them all is reached. So each is counted
//! here as it is made, also where another one swallows it, and what it takes is reserved until the statement ends.

use std::sync::Mutex;

use arrow::array::{ArrayRef, AsArray};
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::fault::wrap;
use super::memory::QueryMemory;
use crate::limits::{CONSTANT_COPIES, CONSTANTS_BATCH_BYTES_MAX};
use crate::sql::error::{Code, SqlError};

/// Those of one statement.
#[derive(Debug)]
pub(super) struct Constants {
    made: Mutex<Made>,
    exhausted: SqlError,
}

#[derive(Debug)]
struct Made {
    bytes: usize,
    held: MemoryReservation,
    /// Why there may be no more. DataFusion leaves what cannot be evaluated for later, so it is asked for at the end.
    fault: Option<SqlError>,
}

impl Constants {
    /// None yet.
    pub(super) fn new(memory: &QueryMemory) -> Constants {
        Constants {
            made: Mutex::new(Made {
                bytes: 0,
                held: memory.open("constants"),
                fault: None,
            }),
            exhausted: memory.exhausted(),
        }
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
        if made.bytes > CONSTANTS_BATCH_BYTES_MAX {
            made.fault = Some(too_long(made.bytes));
        } else if made.held.try_grow(bytes * CONSTANT_COPIES).is_err() {
            made.fault = Some(self.exhausted.clone());
        }
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
