//! Records to columns: a pipeline's mapping, applied to one record batch a call.
//!
//! A format is one [`Decode`]. It is given the records of one record batch and the unpublished tail
//! of a block, appends the rows and rejects of as many messages as the limits allow, and says where
//! it stopped. It is pure: no clock, no I/O, no allocation per row.
//!
//! - [`mapping`], [`types`]: what the user asked for, as plain data.
//! - [`failure`]: why a message cannot become rows.
//! - [`decode`]: the seam, and what every format shares.
//! - [`cast`]: one value's text to a column's type; `docs/casts.md` is its table.
//! - [`json`]: FORMAT JSON.

pub mod mapping;
pub mod types;

pub mod failure;

pub mod decode;

pub mod cast;
pub mod json;

pub use decode::{BlockNeed, Decode, Ended, LoadLimits, Loaded, Poison};
pub use failure::{Failure, FailureClass};
pub use json::{JsonDecoder, MappingError};
pub use mapping::{JsonMapping, Literal, MappedColumn, Path, SkipErrors};
pub use types::SqlType;
