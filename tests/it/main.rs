//! Integration tests, one binary: the built `pinleaf` against real peers over loopback.

mod brokers;
mod clients;
mod damaged;
mod devbroker;
mod feed;
mod figures;
mod kafka_wire;
mod kills;
mod load;
mod memory;
mod node;
mod poison;
mod quickstart;
mod readers;
mod rows;
mod scenario;
mod starts;
mod stops;
