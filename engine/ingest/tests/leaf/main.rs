//! The leaf as a machine, case by case: what a broker, a disk or a message does to one leaf partition.

mod rig;

mod deadlines;
mod disk;
mod ends;
mod epochs;
mod messages;
mod offsets;
mod partitions;
