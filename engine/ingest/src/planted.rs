//! Rules of the leaf that a test may take out, to show that the simulation finds what they are for.
//!
//! Without the feature `planted` nothing here is in the program: [`out`] is a constant `false`.

/// A rule of the leaf that can be taken out. Their reasons stand beside their uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Offsets between two record batches are counted: compaction's gap.
    GapCounted,
    /// A response's list of aborted transactions is its own.
    AbortedListIsTheResponses,
    /// An ABORT marker ends its own producer's transaction alone.
    AbortEndsItsProducer,
    /// A list's transaction begins at its first offset, not before.
    AbortedFromFirstOffset,
    /// Below the cursor single records are passed over, not their whole record batch.
    ResumeByRecord,
    /// What is said to be durable is synced, not only committed.
    DurableIsSynced,
    /// A response of a fetch that has passed is dropped.
    StaleResponseDropped,
    /// Where the cursor jumps, the next fetch begins at it.
    FetchFromCursor,
    /// A partition that was handed over is loaded to its end and no further.
    EndOffsetKept,
    /// A new leader's log is checked for the epoch that was loaded last.
    EpochChecked,
    /// The end of an epoch is compared with what was loaded of it, not with the cursor.
    EpochComparedWithLoaded,
    /// A skipped message is of its record batch's epoch.
    SkippedHasEpoch,
    /// The answer about an epoch counts only of the leader that leads.
    EpochAnswerOfTheLeader,
    /// What waits in a frame is loaded before anything is given up as lost.
    FrameBeforeLost,
    /// What is lost to retention is counted.
    LostCounted,
    /// A record batch's checksum is looked at.
    BatchChecksum,
    /// A partition whose disk failed is opened again before it is said to be stopped.
    StopOpensFailedDisk,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 17] = [
        Rule::GapCounted,
        Rule::AbortedListIsTheResponses,
        Rule::AbortEndsItsProducer,
        Rule::AbortedFromFirstOffset,
        Rule::ResumeByRecord,
        Rule::DurableIsSynced,
        Rule::StaleResponseDropped,
        Rule::FetchFromCursor,
        Rule::EndOffsetKept,
        Rule::EpochChecked,
        Rule::EpochComparedWithLoaded,
        Rule::SkippedHasEpoch,
        Rule::EpochAnswerOfTheLeader,
        Rule::FrameBeforeLost,
        Rule::LostCounted,
        Rule::BatchChecksum,
        Rule::StopOpensFailedDisk,
    ];
}

storage::planted_switch!(Rule);
