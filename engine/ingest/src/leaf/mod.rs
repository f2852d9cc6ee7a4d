//! The leaf: one pinned core that fetches, decodes, stores and publishes its leaf partitions.
//!
//! [`order`] is what the aggregator says and hears, plain data; [`handle`] is where it says and hears
//! it; [`views`] is what everybody may see. [`machine`] is the leaf itself, pure; `port` drives it.
//!
//! ```text
//! bytes → frame (fetching, arriving) → record batch → load → tail of a block → mark: visible
//!                                                             store → commit → sync: durable
//! ```

pub mod config;
pub mod order;

pub mod handle;
pub mod holes;
pub mod views;

pub mod event;
pub mod rows;

pub mod lane;
pub mod load;
pub mod partition;
pub mod told;

mod backoff;
mod frame;
mod reports;

pub mod machine;

mod answered;
mod arriving;
mod asking;
mod connecting;
mod fetching;
mod fitting;
mod loading;
mod locating;
mod ordering;
mod standing;
mod storing;
mod unpacking;

mod disks;
pub mod port;
mod resolve;

pub use config::{LeafConfig, LeafError};
pub use event::{Connection, Effect, Effects, Event, Now, Slot};
pub use handle::{LeafHandle, LeafOrders};
pub use machine::Leaf;
pub use port::{spawn, spawn_on};
pub use standing::DISK_FULL;
pub use views::{Attached, LeafGauges, LogEnd, Standing, Views};
