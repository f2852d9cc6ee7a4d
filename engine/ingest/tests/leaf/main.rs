//! The leaf as a machine, case by case: what a broker, a disk or a message does to one leaf partition.

mod log;
mod rig;
mod told;

mod arriving;
mod broker;
mod deadlines;
mod disk;
mod ends;
mod epochs;
mod lanes;
mod large;
mod limit;
mod memory;
mod messages;
mod offsets;
mod orders;
mod partitions;
mod questions;
mod sessions;
mod standings;
mod turns;
mod waits;
