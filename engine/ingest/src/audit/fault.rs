//! What can be wrong, each by a name of its own and with the offset: what STATUS says in words.

use std::fmt;

use storage::ids::{Lineage, Offset, Sequence};

use crate::limits::AUDIT_FAULTS_SHOWN;

/// What the broker's log has at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message with a value.
    Data,
    /// A message without one.
    Tombstone,
    /// A transaction's marker.
    Control,
    /// A record of an aborted transaction.
    Aborted,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Data => "a message",
            Kind::Tombstone => "a tombstone",
            Kind::Control => "a control record",
            Kind::Aborted => "an aborted record",
        })
    }
}

/// One contradiction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    // --- commit records ---
    /// The lineage does not begin where its pairing says.
    #[error("offset {expected}: lineage {lineage} begins at {found}, its pairing there")]
    Start {
        /// Which.
        lineage: Lineage,
        /// Where it begins.
        found: Offset,
        /// Where it should.
        expected: Offset,
    },
    /// Offsets that no commit covers.
    #[error("offset {expected}: no commit covers it, the next begins at {found}")]
    Hole {
        /// Where the one before ended.
        expected: Offset,
        /// Where the next begins.
        found: Offset,
    },
    /// Offsets that two commits cover.
    #[error("offset {found}: two commits cover it, the one before ends at {expected}")]
    Twice {
        /// Where the one before ended.
        expected: Offset,
        /// Where the next begins.
        found: Offset,
    },
    /// A commit that ends before it begins.
    #[error("offset {first}: its commit ends at {next}, before it begins")]
    Backwards {
        /// Its first offset.
        first: Offset,
        /// The offset after its last.
        next: Offset,
    },
    /// A lineage below the one before.
    #[error("offset {at}: lineage {found} follows lineage {before}")]
    LineageFell {
        /// Where.
        at: Offset,
        /// Its lineage.
        found: Lineage,
        /// The one before.
        before: Lineage,
    },
    /// A lineage that the catalog does not know yet.
    #[error("offset {at}: lineage {found}, the catalog knows up to {known}")]
    LineageAbove {
        /// Where.
        at: Offset,
        /// Its lineage.
        found: Lineage,
        /// The catalog's.
        known: Lineage,
    },
    /// A commit of another lineage than its segment.
    #[error("offset {at}: a commit of lineage {found} in a segment of lineage {segment}")]
    LineageMixed {
        /// Where.
        at: Offset,
        /// The commit's.
        found: Lineage,
        /// The segment's.
        segment: Lineage,
    },
    /// Commit numbers do not count on.
    #[error("offset {at}: commit number {found}, {expected} should follow")]
    Number {
        /// Where.
        at: Offset,
        /// What stands there.
        found: u64,
        /// What should.
        expected: u64,
    },
    /// The eight counts are not the range.
    #[error(
        "offset {first}: the counts of its commit add up to {counted} offsets, it covers {covered}"
    )]
    Counts {
        /// The commit's first offset.
        first: Offset,
        /// Their sum.
        counted: u64,
        /// Its range.
        covered: u64,
    },
    /// Fewer rows than loaded offsets, or rows of none.
    #[error("offset {first}: its commit has {rows} rows of {loaded} loaded offsets")]
    Rows {
        /// The commit's first offset.
        first: Offset,
        /// Its rows.
        rows: u64,
        /// Its loaded offsets.
        loaded: u64,
    },
    /// Fewer rejects kept than counted.
    #[error("offset {first}: its commit counts {rejected} rejects and keeps {kept}")]
    Rejects {
        /// The commit's first offset.
        first: Offset,
        /// Counted.
        rejected: u64,
        /// Kept.
        kept: u64,
    },
    /// A merged commit that is not the sum of what it stands for.
    #[error(
        "offset {first}: a merged commit's {what} are not those of the {batches} that it stands for"
    )]
    Merged {
        /// The commit's first offset.
        first: Offset,
        /// What does not add up.
        what: &'static str,
        /// How many it stands for.
        batches: usize,
    },
    /// A segment that names another predecessor than the one before it.
    #[error("offset {at}: segment {sequence} follows another one than it names")]
    Predecessor {
        /// Where it begins.
        at: Offset,
        /// The segment.
        sequence: Sequence,
    },
    /// A segment of another leaf partition, table or Kafka partition.
    #[error("offset {at}: segment {sequence} is of another partition")]
    Foreign {
        /// Where it begins.
        at: Offset,
        /// The segment.
        sequence: Sequence,
    },
    /// The tail does not begin where the last commit ended.
    #[error("offset {expected}: committed up to there, and the tail begins at {found}")]
    Tail {
        /// Where the commits end.
        expected: Offset,
        /// Where it begins.
        found: Offset,
    },
    /// A cursor that is behind one that it must lead.
    #[error("offset {behind}: {what}, which is at {ahead}")]
    Cursors {
        /// Which are out of order.
        what: &'static str,
        /// The one that is ahead and may not be.
        ahead: Offset,
        /// The one that is behind.
        behind: Offset,
    },
    /// The durable prefix is none of what is shown.
    #[error("offset {at}: what is durable is not the beginning of what is shown")]
    Durable {
        /// Where they part.
        at: Offset,
    },

    // --- files ---
    /// The bytes are not what was written.
    #[error("offset {at}: {path}: {what}")]
    Bytes {
        /// The first offset of what is damaged.
        at: Offset,
        /// The file.
        path: String,
        /// What is wrong, with the byte.
        what: String,
    },
    /// The file says other things than what was shown to queries.
    #[error("offset {at}: {path}: {what} is not what queries are shown")]
    Other {
        /// Where.
        at: Offset,
        /// The file.
        path: String,
        /// What differs.
        what: &'static str,
    },
    /// A column's statistics, by which queries leave commits out, do not hold.
    #[error("offset {at}: the statistics of column '{column}' do not hold for its commit")]
    Statistics {
        /// The commit's first offset.
        at: Offset,
        /// The column.
        column: String,
    },

    // --- rows and rejects of a commit ---
    /// A row whose offset its commit does not cover.
    #[error("offset {offset}: a row of it in the commit of {first} to {next}")]
    RowOutside {
        /// The row's.
        offset: Offset,
        /// The commit's first.
        first: Offset,
        /// The offset after the commit's last.
        next: Offset,
    },
    /// Offsets that fall.
    #[error("offset {offset}: a row of it stands behind one of {before}")]
    RowOrder {
        /// The row's.
        offset: Offset,
        /// Of the row before.
        before: Offset,
    },
    /// Other offsets have rows than were counted as loaded.
    #[error("offset {first}: its commit counts {counted} loaded offsets, and rows are of {found}")]
    Loaded {
        /// The commit's first.
        first: Offset,
        /// Counted.
        counted: u64,
        /// Found.
        found: u64,
    },
    /// A reject whose offset its commit does not cover.
    #[error("offset {offset}: a reject of it in the commit of {first} to {next}")]
    RejectOutside {
        /// The reject's.
        offset: Offset,
        /// The commit's first.
        first: Offset,
        /// The offset after the commit's last.
        next: Offset,
    },
    /// Rejects that are not each of a higher offset.
    #[error("offset {offset}: a reject of it stands behind one of {before}")]
    RejectOrder {
        /// The reject's.
        offset: Offset,
        /// Of the one before.
        before: Offset,
    },
    /// Other rejects are kept than were counted.
    #[error(
        "offset {first}: its commit counts {counted} rejects, and keeps them of {found} offsets"
    )]
    Rejected {
        /// The commit's first.
        first: Offset,
        /// Counted.
        counted: u64,
        /// Found.
        found: u64,
    },
    /// An offset with rows and a reject.
    #[error("offset {offset}: it has both a row and a reject")]
    RowAndReject {
        /// Which.
        offset: Offset,
    },

    // --- the broker's log ---
    /// A loaded offset that is no message.
    #[error("offset {offset}: it has rows, and is {kind} at the broker")]
    LoadedIs {
        /// Which.
        offset: Offset,
        /// What the broker has.
        kind: Kind,
    },
    /// A rejected offset that is no message.
    #[error("offset {offset}: it has a reject, and is {kind} at the broker")]
    RejectedIs {
        /// Which.
        offset: Offset,
        /// What the broker has.
        kind: Kind,
    },
    /// A message without row or reject where nothing was skipped.
    #[error("offset {offset}: a message at the broker, neither loaded nor rejected")]
    NotLoaded {
        /// Which.
        offset: Offset,
    },
    /// A message without row or reject that nothing hinders to become a row.
    #[error("offset {offset}: a message that can be loaded was skipped")]
    Skipped {
        /// Which.
        offset: Offset,
    },
    /// More of a class at the broker than the commit counts.
    #[error(
        "offset {offset}: {kind} at the broker, of which the commit of {first} to {next} counts {counted}"
    )]
    Class {
        /// The first one too many.
        offset: Offset,
        /// The class.
        kind: Kind,
        /// The commit's first.
        first: Offset,
        /// The offset after the commit's last.
        next: Offset,
        /// Counted.
        counted: u64,
    },
    /// The log ends below what was loaded from it.
    #[error("offset {end}: the broker's log ends there, and it was loaded up to {loaded}")]
    LogEnds {
        /// The log's end.
        end: Offset,
        /// Where the range ends.
        loaded: Offset,
    },

    // --- values ---
    /// Another number of rows than the message has values.
    #[error("offset {offset}: {stored} rows, its message has {expected}")]
    RowCount {
        /// Which.
        offset: Offset,
        /// Stored.
        stored: usize,
        /// By the message.
        expected: usize,
    },
    /// A value that is not the message's.
    #[error("offset {offset}: column '{column}' holds {stored}, its message says {expected}")]
    Value {
        /// Which.
        offset: Offset,
        /// The column.
        column: String,
        /// What is stored.
        stored: String,
        /// What should be.
        expected: String,
    },
    /// A timestamp that is not the message's.
    #[error("offset {offset}: _timestamp is {stored}, its message's {expected}")]
    Timestamp {
        /// Which.
        offset: Offset,
        /// Stored, ms since 1970.
        stored: i64,
        /// The message's.
        expected: i64,
    },
    /// Rows of a message that cannot become rows.
    #[error("offset {offset}: it has rows, and its message cannot become any")]
    Unreadable {
        /// Which.
        offset: Offset,
    },
    /// A reject of a message that can become rows.
    #[error("offset {offset}: it has a reject, and its message can become a row")]
    Rejectable {
        /// Which.
        offset: Offset,
    },
    /// A reject that says other things than its message.
    #[error("offset {offset}: its reject has another {what} than its message")]
    Reject {
        /// Which.
        offset: Offset,
        /// What differs.
        what: &'static str,
    },
}

/// The faults of one range: the first few, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    first: Vec<Fault>,
    count: u64,
}

impl Faults {
    /// One more.
    pub fn push(&mut self, fault: Fault) {
        if self.first.len() < AUDIT_FAULTS_SHOWN {
            self.first.push(fault);
        }
        self.count += 1;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first few.
    #[must_use]
    pub fn first(&self) -> &[Fault] {
        &self.first
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.first.iter().enumerate() {
            let between = if at > 0 { "; " } else { "" };
            write!(f, "{between}{fault}")?;
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
