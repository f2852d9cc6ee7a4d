//! The node: from a configuration file to running threads.

pub mod config;
pub mod cores;
pub mod keys;
pub mod lock;
pub mod logs;
pub mod machine;
pub mod quickstart;
pub mod run;
pub mod signals;
mod stop;

pub use config::{Config, ConfigError};
pub use cores::Cores;
pub use machine::Machine;
pub use run::{Looked, Node, NodeError, look};
pub use signals::Signals;
