//! Records to columns: a pipeline's mapping, applied to one record batch a call.
//!
//! A format is one [`Decode`]. It is given the records of one record batch and the unpublished tail
//! of a block, appends the rows and rejects of as many messages as the limits allow, and says where
//! it stopped. It is pure: no clock, no I/O, no allocation per row.

pub mod mapping;
pub mod types;

pub use mapping::{JsonMapping, Literal, MappedColumn, Path, SkipErrors};
pub use types::SqlType;
