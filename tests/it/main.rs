//! Integration tests, one binary: the built `pinleaf` against real peers over loopback.

mod devbroker;
mod kafka_wire;
mod kills;
mod load;
mod node;
mod poison;
mod rows;
mod scenario;
