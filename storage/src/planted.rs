//! Rules that a test may take out, to show that the simulation finds what they are for.
//!
//! Without the feature `planted` nothing here is in the program: [`out`] is a constant `false`.

/// A rule of the design that can be taken out. Their reasons stand beside their uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Recovery writes again what it kept past the durable end.
    WrittenAgain,
    /// It does so in every segment that nothing vouches for, not in the newest alone.
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
    /// Recovery unlinks what is below the live lineage.
    LiveLineage,
    /// Only durable segments are merged.
    MergeDurableInputs,
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
    /// Damage past the durable end is cut.
    CutPastDurableEnd,
    /// Damage below the durable end is quarantined.
    QuarantineBelowDurableEnd,
    /// Bodies past the durable end are checked.
    BodiesChecked,
    /// A predecessor that ends early makes recovery drop what is newer.
    ShortPredecessorDropsNewer,
    /// A predecessor's content ends where its successor says.
    ContentEndsWherePrevSays,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 23] = [
        Rule::WrittenAgain,
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
        Rule::DrainBeforeNewLineage,
        Rule::DirectorySyncAtFirstSync,
        Rule::SyncBeforeRename,
        Rule::VoidAfterFailedSync,
        Rule::SyncCoversWhatWasSubmitted,
        Rule::DirectoryFailureIsFinal,
        Rule::CutPastDurableEnd,
        Rule::QuarantineBelowDurableEnd,
        Rule::BodiesChecked,
        Rule::ShortPredecessorDropsNewer,
        Rule::ContentEndsWherePrevSays,
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        static OUT: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Takes a rule out in this thread, or puts all back.
    pub fn take_out(rule: Option<Rule>) {
        OUT.with(|out| out.set(rule));
    }

    /// Whether a rule is taken out in this thread.
    #[must_use]
    pub fn out(rule: Rule) -> bool {
        OUT.with(|out| out.get() == Some(rule))
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Rule;

    /// Whether a rule is taken out: never, in this build.
    #[must_use]
    pub const fn out(_rule: Rule) -> bool {
        false
    }
}

pub use switch::*;
