//! The node: from a configuration file to running threads.

pub mod config;
pub mod cores;
pub mod keys;
pub mod lock;
pub mod logs;
pub mod look;
pub mod machine;
pub mod quickstart;
pub mod run;
pub mod said;
pub mod signals;
mod startup_sql;
mod stop;
mod text_file;

pub use config::{Config, ConfigError};
pub use cores::Cores;
pub use look::{Looked, look};
pub use machine::Machine;
pub use run::{Node, NodeError, SignalsFor};
pub use signals::Signals;
