//! The law, looked at by somebody who had no part in keeping it: AUDIT PIPELINE.
//!
//! Within one lineage, from its start offset, each offset below the cursor is exactly one of loaded,
//! rejected, empty, skipped, control, aborted, gap, lost. [`records`] checks that on commit records and
//! tails; [`verify`] reads every byte again as well, each row's offset, and the broker's own log beside
//! it, record by record and value by value.
//!
//! - [`fault`]: what can be wrong, by name. [`range`]: what is said of a segment or a tail.
//! - [`chain`]: commit records. [`commit`]: the rows and rejects of one, offset by offset.
//! - [`log`]: a fetch response, classed. [`compare`]: a commit beside it. [`values`], [`cells`]: rows
//!   beside what the slow twin makes of their messages.
//! - `seal`: what stands behind a segment's content.
//! - [`whole`]: a leaf partition's records and tail; [`verifying`]: the same with files and log.
//!
//! Pure but for what a [`World`] gives: files, log, memory, and where rows go. It asks nothing of the
//! leaf, writes nothing, and holds one commit and one response at a time. It may block: not on a worker.

pub mod cells;
pub mod chain;
pub mod commit;
pub mod compare;
pub mod fault;
pub mod log;
pub mod range;
mod seal;
pub mod values;
pub mod verifying;
pub mod whole;

use std::io;
use std::path::Path;

use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use storage::inspect::SegmentBytes;

pub use fault::{Fault, Faults, Kind};
pub use log::Response;
pub use range::Range;
pub use values::Model;
pub use verifying::verify;
pub use whole::records;

/// A leaf partition, as the catalog has it. Read the catalog after the snapshot: it is ahead of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its table.
    pub table: TableId,
    /// Itself.
    pub leaf_partition: LeafPartitionId,
    /// The Kafka partition that it is paired with.
    pub kafka_partition: i32,
    /// The lineage that should be.
    pub lineage: Lineage,
    /// Where that begins.
    pub start_offset: Offset,
    /// The topic's id; zero where the broker has none.
    pub topic_id: TopicId,
    /// Why it stands still, in words, where it does.
    pub stands: Option<String>,
}

/// Why an audit ends before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nobody waits for it any more.
    Ended,
    /// There is no memory for the next commit or response.
    Memory,
}

/// What an audit of records needs around it.
pub trait Rows {
    /// Takes what is known of a range.
    ///
    /// # Errors
    /// `Ended`.
    fn row(&mut self, range: Range) -> Result<(), Stopped>;

    /// Whether to go on: asked at every commit and every response.
    ///
    /// # Errors
    /// `Ended`.
    fn go_on(&mut self) -> Result<(), Stopped>;

    /// The cursor of what was fetched, where it is behind `visible` though nothing took that back.
    fn fetched_behind(&mut self, visible: Offset) -> Option<Offset>;
}

/// What verifying needs around it.
pub trait World: Rows {
    /// Lays hands on so much memory in all, for what is held at a time.
    ///
    /// # Errors
    /// `Memory`.
    fn reserve(&mut self, bytes: u64) -> Result<(), Stopped>;

    /// A segment's file; `None` where there is none of that name.
    ///
    /// # Errors
    /// The kernel's.
    fn open(&mut self, path: &Path) -> io::Result<Option<Box<dyn SegmentBytes>>>;

    /// Whether the leaf partition still shows that file now: a merge may have replaced it.
    fn is_shown(&mut self, path: &Path) -> bool;

    /// Asks for the broker's log of these offsets, which [`World::log`] then gives.
    fn ask_log(&mut self, from: Offset, to: Offset);

    /// What comes next of it. May wait for the broker.
    ///
    /// # Errors
    /// `Ended`.
    fn log(&mut self) -> Result<LogSays, Stopped>;

    /// Nothing more is wanted of it.
    fn leave_log(&mut self);
}

/// What comes of asking for the broker's log.
#[derive(Clone, Debug)]
pub enum LogSays {
    /// The log begins here: nothing below is held any more.
    Begins(Offset),
    /// Records, from where the last response ended.
    Response(Response),
    /// Every record of the range was given.
    End,
    /// The log ends here, below the range's end, and stays so.
    EndsAt(Offset),
    /// The broker could not be asked, or not any further, and why.
    Failed(String),
}
