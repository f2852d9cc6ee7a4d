//! SQL: a statement's text to its answer. Only this module knows DataFusion.

pub mod answer;
pub mod error;

pub use answer::{Answer, Done, ResultColumn, Rows};
pub use error::SqlError;
