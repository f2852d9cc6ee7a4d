//! Integration tests, one binary: the built `pinleaf` against real peers over loopback.

mod bomb;
mod brokers;
mod clients;
mod cluster;
mod devbroker;
mod disk;
mod faults;
mod feed;
mod figures;
mod kafka_wire;
mod kills;
mod law;
mod links;
mod load;
mod memory;
mod node;
mod poison;
mod proxy;
mod quickstart;
mod readers;
mod rows;
mod scenario;
mod starts;
mod stops;
mod time;
