//! SQL: a statement's text to its answer. Only this module knows DataFusion.
//!
//! A text is split into statements ([`split`]); a [`session::Session`] runs one at a time against
//! the [`engine::Engine`] that all sessions share, and gives an [`answer::Answer`] or an
//! [`error::SqlError`], which the server writes as MySQL's packets.

pub mod answer;
pub mod engine;
pub mod error;
pub mod parse;
pub mod processes;
pub mod select;
pub mod session;
pub mod split;
pub mod value;

pub use answer::{Answer, Done, ResultColumn, Rows};
pub use engine::{Clock, Engine, EngineParts};
pub use error::{Code, SqlError};
pub use processes::{Identity, KillWatch, Process, Processes};
pub use session::Session;
pub use split::{Piece, split_statements};
pub use value::{Prepared, Value};
