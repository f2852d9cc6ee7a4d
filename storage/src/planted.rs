//! Rules that a test may take out, to show that the simulation finds what they are for.
//!
//! Without the feature `planted` nothing here is in the program: [`out`] is a constant `false`.

use crate::recovery::decide::Row;

/// A rule of the design that can be taken out. Their reasons stand beside their uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A row of the recovery table: its contrary is done.
    Row(Row),
    /// The table's first line: a whole header is read.
    HeaderRead,
    /// A good message is kept.
    MessageKept,
    /// Past the durable end the file's end is the content's.
    EndOfFileIsTheEnd,
    /// A predecessor's content ends where its successor says.
    ContentEndsWherePrevSays,
    /// A predecessor that reaches its successor is kept.
    PredecessorKept,
    /// An earlier segment with a whole footer is left as it is.
    EarlierSealed,
    /// What is kept past the durable end is written again in every segment that nothing vouches for,
    /// not in the newest alone.
    EveryUnvouchedSegment,
    /// Recovery syncs the directory first and last.
    DirectorySyncAtRecoveryEnds,
    /// Recovery makes the directory dirty before it syncs it.
    DirectoryTouched,
    /// A torn header with commits behind it is legal while none says a durable end.
    TornHeaderIsLegal,
    /// A record's durable end is 0 until all before it is durable.
    DurableEndZeroUntilAllBefore,
    /// A file has at most one sync on its way.
    NeverTwoSyncs,
    /// A void's segment names the unbroken durable chain as its predecessor.
    VoidNamesDurableChain,
    /// A void's cursor stays in its lineage.
    VoidCursorInLineage,
    /// A drain syncs an empty open segment too.
    EmptySegmentSynced,
    /// Recovery knows the live lineage.
    LiveLineage,
    /// Only durable segments are merged.
    MergeDurableInputs,
    /// A merge begins when the one before is finished, its inputs unlinked.
    MergesOneAtATime,
    /// A new lineage waits until the one before is drained and durable.
    DrainBeforeNewLineage,
    /// A file's first sync syncs its directory.
    DirectorySyncAtFirstSync,
    /// A merge's temporary is synced before it is renamed.
    SyncBeforeRename,
    /// What a failed sync leaves is void.
    VoidAfterFailedSync,
    /// A sync covers what was committed when it was submitted.
    SyncCoversWhatWasSubmitted,
    /// A failed directory sync fails the partition.
    DirectoryFailureIsFinal,
    /// Bodies past the durable end are checked.
    BodiesChecked,
    /// A segment that goes to quarantine leaves a hole.
    HoleWritten,
    /// The hole is synced before the segment goes.
    HoleSynced,
    /// And so is its name.
    HoleNameSynced,
    /// A hole is given up by a lineage that is begun after it was found, not by one before.
    HoleStanding,
    /// What a hole held is loaded again once it is durable, not when it is visible.
    HoleTillDurable,
    /// What was done about holes is durable before a drain ends.
    HolesBeforeDrained,
    /// Segments before and behind a hole are not merged.
    NoMergeOverHole,
    /// A merge's torn footer is written over: its end of stream is never cut off.
    MergedFooterInPlace,
    /// A merge's torn footer is mended also where it is the newest.
    MergedFooterMended,
    /// A mark is published behind the values that it speaks of.
    MarkBehindValues,
    /// A record says as its durable end what is synced, not what is written.
    DurableEndIsSynced,
    /// A record's checksum covers all of its length.
    ChecksumCoversRecord,
    /// A file that a reader has mapped is not cut.
    NoCutUnderMap,
    /// A merge's inputs are unlinked once its name is durable.
    UnlinkBehindDirectorySync,
    /// A full disk is waited for; it voids nothing.
    FullIsHeld,
    /// A step that knows no leader epoch takes none away.
    EpochKept,
    /// A recovered segment without a commit goes on in the epoch of the one before.
    EpochOfEmptySegment,
    /// Offsets that were lost end their commit.
    LostEndsCommit,
}

impl Rule {
    /// All of them: the recovery table's rows, then the rest.
    pub fn all() -> impl Iterator<Item = Rule> {
        Row::ALL.map(Rule::Row).into_iter().chain(Rule::BESIDE_ROWS)
    }

    const BESIDE_ROWS: [Rule; 43] = [
        Rule::HeaderRead,
        Rule::MessageKept,
        Rule::EndOfFileIsTheEnd,
        Rule::ContentEndsWherePrevSays,
        Rule::PredecessorKept,
        Rule::EarlierSealed,
        Rule::EveryUnvouchedSegment,
        Rule::DirectorySyncAtRecoveryEnds,
        Rule::DirectoryTouched,
        Rule::TornHeaderIsLegal,
        Rule::DurableEndZeroUntilAllBefore,
        Rule::NeverTwoSyncs,
        Rule::VoidNamesDurableChain,
        Rule::VoidCursorInLineage,
        Rule::EmptySegmentSynced,
        Rule::LiveLineage,
        Rule::MergeDurableInputs,
        Rule::MergesOneAtATime,
        Rule::DrainBeforeNewLineage,
        Rule::DirectorySyncAtFirstSync,
        Rule::SyncBeforeRename,
        Rule::VoidAfterFailedSync,
        Rule::SyncCoversWhatWasSubmitted,
        Rule::DirectoryFailureIsFinal,
        Rule::BodiesChecked,
        Rule::HoleWritten,
        Rule::HoleSynced,
        Rule::HoleNameSynced,
        Rule::HoleStanding,
        Rule::HoleTillDurable,
        Rule::HolesBeforeDrained,
        Rule::NoMergeOverHole,
        Rule::MergedFooterInPlace,
        Rule::MergedFooterMended,
        Rule::MarkBehindValues,
        Rule::DurableEndIsSynced,
        Rule::ChecksumCoversRecord,
        Rule::NoCutUnderMap,
        Rule::UnlinkBehindDirectorySync,
        Rule::FullIsHeld,
        Rule::EpochKept,
        Rule::EpochOfEmptySegment,
        Rule::LostEndsCommit,
    ];
}

/// The switch of a crate's `Rule`s: `take_out` and `out`, for each thread by itself. Without the crate's own
/// feature `planted` there is no `take_out`, and `out` is a constant `false`.
#[macro_export]
macro_rules! planted_switch {
    ($rule:ty) => {
        #[cfg(feature = "planted")]
        thread_local! {
            static OUT: ::std::cell::Cell<Option<$rule>> = const { ::std::cell::Cell::new(None) };
        }

        /// Takes a rule out in this thread, or puts all back.
        #[cfg(feature = "planted")]
        pub fn take_out(rule: Option<$rule>) {
            OUT.with(|out| out.set(rule));
        }

        /// Whether a rule is taken out in this thread.
        #[cfg(feature = "planted")]
        #[must_use]
        pub fn out(rule: $rule) -> bool {
            OUT.with(|out| out.get() == Some(rule))
        }

        /// Whether a rule is taken out: never, in this build.
        #[cfg(not(feature = "planted"))]
        #[must_use]
        pub const fn out(_rule: $rule) -> bool {
            false
        }
    };
}

planted_switch!(Rule);
