//! SQL: a statement's text to its answer. Only this module knows DataFusion.
//!
//! A text is split into statements ([`split`]); a [`session::Session`] runs one at a time against
//! the [`engine::Engine`] that all sessions share, and gives an [`answer::Answer`] or an
//! [`error::SqlError`], which the server writes as MySQL's packets. [`parse`] reads a statement,
//! [`select`] runs queries, [`statements`] does all else through the aggregator, [`show`] and
//! [`schema_views`] say how things stand.

pub mod answer;
pub mod error;
pub mod fault;
pub mod value;

pub mod split;

pub mod parse;

pub mod select;

pub mod connections;
pub mod engine;
pub mod left_out;
pub mod processes;
pub mod session;
pub mod variables;
pub mod warnings;

pub mod names;
pub mod statements;

pub mod listing;
pub mod schema_views;
pub mod show;
pub mod text;

mod audit;
mod guard;
mod mapping;
mod scalar;
mod secret;
mod system;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod session_tests;

pub use answer::{Answer, Done, ResultColumn, Rows};
pub use connections::ConnectionCounts;
pub use engine::{Clock, Engine, EngineParts};
pub use error::{Code, SqlError};
pub use processes::{Identity, KillWatch, Process, Processes};
pub use session::Session;
pub use split::{Piece, Unfinished, split_statements};
pub use value::{Prepared, Value};
pub use variables::ServerFacts;
