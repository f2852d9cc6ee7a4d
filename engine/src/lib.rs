//! The engine: from a catalog and leaves to answers over MySQL's protocol.
//!
//! In the byte's order; each module imports only what stands to its left: [`ingest`]'s `kafka`,
//! `pipeline` and `leaf`, then [`control`]'s `catalog` and `aggregator`, then `sql`, `server`, `node`.

pub mod limits;

pub use control::{aggregator, catalog};

pub mod node;
pub mod server;
pub mod sql;
