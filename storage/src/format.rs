//! The byte layout of a segment file: its only statement.
pub mod header;
pub mod record;
pub mod rejects;
