//! What the project's tests are made of: the rules of the tree, the simulation, the real peers.

pub mod images;
pub mod peer;
pub mod record;
pub mod sim;

/// A real Kafka.
pub use kafka_server;

#[cfg(test)]
mod tidy;
