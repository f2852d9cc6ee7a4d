//! What the project's tests are made of: the rules of the tree, the simulation, the real peers.

pub mod images;
pub mod kafka_server;
pub mod peer;
pub mod record;
pub mod sim;

#[cfg(test)]
mod tidy;
