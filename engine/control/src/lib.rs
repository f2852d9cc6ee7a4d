//! What the control core decides: the catalog says what should be, the aggregator has leaves carry it out.
//!
//! Its own crate, without DataFusion, so that it builds and is simulated in seconds. `catalog` knows
//! nothing of `aggregator`, and neither of SQL.

pub mod limits;

pub mod aggregator;
pub mod catalog;
pub mod planted;
