//! Integration tests, one binary: the built `pinleaf` against real peers over loopback.

mod audit;
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
mod node;
mod poison;
mod proxy;
mod quickstart;
mod readers;
mod rows;
mod scenario;
mod sessions;
mod starts;
mod stops;
