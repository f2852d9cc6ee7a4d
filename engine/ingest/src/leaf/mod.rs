//! The leaf: one pinned core that fetches, decodes, stores and publishes its leaf partitions.
//!
//! [`order`] is what the aggregator says and hears, plain data.

pub mod config;
pub mod order;

pub use config::{LeafConfig, LeafError};
