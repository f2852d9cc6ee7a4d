//! The leaf: one pinned core that fetches, decodes, stores and publishes its leaf partitions.
//!
//! [`order`] is what the aggregator says and hears, plain data; [`handle`] is where it says and hears it.

pub mod config;
pub mod order;

pub mod handle;

pub use config::{LeafConfig, LeafError};
pub use handle::{LeafHandle, LeafOrders};
