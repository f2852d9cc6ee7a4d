//! Integration tests, one binary: the built `pinleaf` against real peers over loopback.

mod brokers;
mod clients;
mod devbroker;
mod feed;
mod figures;
mod kafka_wire;
mod kills;
mod load;
mod node;
mod poison;
mod quickstart;
mod readers;
mod rows;
mod scenario;
mod sessions;
mod starts;
mod stops;
