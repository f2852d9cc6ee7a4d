//! What the harness asks of whatever it measures.
//!
//! An [`Engine`] is Pinleaf or a peer at one choice of settings. [`Engine::start`] brings it up over its
//! topics and loads nothing yet; what is timed begins with [`Running::begin`]. A [`Running`] engine that is dropped
//! is dead, with all it started.

use std::path::Path;

use crate::fault::Fault;
use crate::process::Group;
use crate::tally::Tally;
use crate::topic::Topic;
use crate::workloads::queries::Asked;

/// What is loaded, and where the engine may write.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The broker.
    pub bootstrap: &'a str,
    /// Loaded into tables `t` and `u`, in this order. Their content may still be on its way.
    pub topics: &'a [Topic],
    /// An empty directory of this sample's own.
    pub dir: &'a Path,
    /// How many leaf cores, where the engine has such.
    pub leaves: Option<usize>,
}

/// The tables of a job's topics.
pub const TABLES: [&str; 2] = ["t", "u"];
/// The tables of the topic that is loaded alone and then again beside queries.
pub const BESIDE: [&str; 2] = ["alone", "beside"];

/// What an engine is, for the report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct About {
    /// As it says it itself.
    pub version: String,
    /// Every setting that is not its default.
    pub settings: Vec<String>,
    /// It keeps nothing: a yardstick and no peer.
    #[serde(default)]
    pub discards: bool,
}

/// An engine at one choice of settings.
pub trait Engine {
    /// Names files and lines: lower case, no blanks. Settings stand behind a hyphen.
    fn name(&self) -> &str;

    /// The workloads that it can do, by their names.
    fn does(&self, workload: &str) -> bool;

    /// Whether it keeps what it loads. What discards is a yardstick and no peer.
    fn stores(&self) -> bool;

    /// Whether it takes part in a quick run without being named.
    fn quick(&self) -> bool {
        true
    }

    /// Fetches and builds what it needs, once.
    ///
    /// # Errors
    /// [`Fault::Missing`], with the reason, where that cannot be had here.
    fn prepare(&mut self) -> Result<(), Fault>;

    /// Brings it up, ready to load; its version and settings as they then are.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn start(&self, job: &Job<'_>) -> Result<(Box<dyn Running>, About), Fault>;
}

/// An engine that is up.
pub trait Running {
    /// Its processes.
    fn group(&self) -> &Group;

    /// Begins to load, from each topic's first message.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn begin(&mut self) -> Result<(), Fault>;

    /// How many rows a reader sees, of all tables.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn rows(&mut self) -> Result<u64, Fault>;

    /// Whether all that a reader sees is where the engine means to keep it. One that does not tell them apart
    /// says yes.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn settled(&mut self) -> Result<bool, Fault> {
        Ok(true)
    }

    /// Counts what is there of a table, loaded from this topic.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn tally(&mut self, table: &str, topic: &Topic) -> Result<Tally, Fault>;

    /// Answers a query of the workload `queries`: rows of values as text.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn query(&mut self, asked: &Asked) -> Result<Vec<Vec<String>>, Fault>;

    /// Begins to load one more topic into a table of [`BESIDE`], while it answers queries of the others.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn begin_beside(&mut self, table: &str, topic: &Topic) -> Result<(), Fault>;

    /// How many rows a reader sees of it.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn rows_beside(&mut self, table: &str) -> Result<u64, Fault>;

    /// What it says of itself where it stands still: its errors, its last steps, the end of its log.
    fn complaints(&mut self) -> Vec<String>;

    /// Ends it as its own manual says.
    ///
    /// # Errors
    /// [`Fault::Failed`].
    fn stop(self: Box<Self>) -> Result<(), Fault>;
}
