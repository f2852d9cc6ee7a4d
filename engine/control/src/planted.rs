//! Rules of the control core that a test may take out, to show that the simulation finds what they are for.
//!
//! Without the feature `planted` nothing here is in the program: [`out`] is a constant `false`.

/// A rule of the control core that can be taken out. Their reasons stand beside their uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A statement's changes are one transaction: SET OFFSETS reaches all of its partitions or none.
    StatementInOneTransaction,
    /// A start tells leaves what the catalog says.
    RedoAtStart,
    /// What TRUNCATE left is unlinked at every start.
    AttachUnlinksDead,
    /// What is left of a dropped table is unlinked at the start.
    DroppedUnlinkedAtStart,
    /// A table's row goes once its leaves have let it go.
    DropBehindLeaves,
    /// A report of an earlier order says nothing of the last one.
    StaleReportDropped,
    /// A lineage is raised once what was before it is drained.
    DrainedBeforeLineage,
    /// SET OFFSETS and TRUNCATE are done once the leaves have carried them out.
    RewoundBeforeAnswer,
    /// STOP is done once all of it is durable.
    StopBehindDrain,
    /// An order that a leaf's queue refused is given again.
    RefusedOrderAgain,
    /// A leaf partition's directory is on disk before its pairing is in the catalog.
    DirectoryBeforePairing,
    /// What has failed is kept in the catalog.
    FailureKept,
    /// TRUNCATE goes on at the cursor.
    TruncateFromCursor,
    /// A published offset is compared with its own lineage.
    GroupOffsetOfLineage,
    /// Another topic's leaders have epochs of their own.
    LeadersOfTheTopic,
    /// A topic that was accepted is the one that is watched.
    AcceptedTopicWatched,
    /// A failure of an earlier order says nothing of the last one.
    StaleFailureDropped,
    /// What failed under an order of before is not kept behind one that the catalog has and no leaf knows yet.
    OrderedSinceIsTried,
    /// What was stopped stays so behind a start.
    StoppedStays,
    /// OR REPLACE waits until what was loaded as it was before is drained.
    DrainedBeforeReplace,
    /// SET GLOBAL beats the configuration.
    GlobalBeatsConfigured,
    /// An end in good order waits until every leaf has drained.
    EndBehindDrain,
    /// Nothing follows a COMMIT that failed.
    FailedCommitPoisons,
    /// A statement is committed once it is synced.
    CommitIsSynced,
    /// What a process left in the catalog's WAL is written again before it counts.
    WalWrittenAgain,
    /// The offset that is published for the group is the durable cursor.
    PublishedIsDurable,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 26] = [
        Rule::StatementInOneTransaction,
        Rule::RedoAtStart,
        Rule::AttachUnlinksDead,
        Rule::DroppedUnlinkedAtStart,
        Rule::DropBehindLeaves,
        Rule::StaleReportDropped,
        Rule::DrainedBeforeLineage,
        Rule::RewoundBeforeAnswer,
        Rule::StopBehindDrain,
        Rule::RefusedOrderAgain,
        Rule::DirectoryBeforePairing,
        Rule::FailureKept,
        Rule::TruncateFromCursor,
        Rule::GroupOffsetOfLineage,
        Rule::LeadersOfTheTopic,
        Rule::AcceptedTopicWatched,
        Rule::StaleFailureDropped,
        Rule::OrderedSinceIsTried,
        Rule::StoppedStays,
        Rule::DrainedBeforeReplace,
        Rule::GlobalBeatsConfigured,
        Rule::EndBehindDrain,
        Rule::FailedCommitPoisons,
        Rule::CommitIsSynced,
        Rule::WalWrittenAgain,
        Rule::PublishedIsDurable,
    ];
}

storage::planted_switch!(Rule);
