//! From a broker's bytes to rows in a block: what runs on a leaf core.
//!
//! Its own crate, without DataFusion, so that it builds, fuzzes and is simulated in seconds. A byte
//! walks `kafka` (bytes to records), `pipeline` (records to columns), `leaf` (drives both and
//! [`storage`]); each imports only what stands to its left. `audit` looks at what became of it with
//! nothing of `leaf`.

pub mod audit;
pub mod kafka;
pub mod leaf;
pub mod limits;
pub mod pipeline;
pub mod planted;
