//! The simulated Kafka, driven at the level of bytes: logs of real record batches, brokers that answer
//! real requests with real responses, and what can go wrong with both.
//!
//! Encoder and codec framing are written from the protocol's description and share no code with the
//! engine.

pub mod cluster;
mod encode;
pub mod log;
pub mod reading;
pub mod sessions;
mod spoil;

pub use cluster::{Cluster, FAULTS};
pub use encode::timestamp;
pub use log::{CONTENTS, Fact, History, Log};
