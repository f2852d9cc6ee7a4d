//! The recovery table as a pure function: a few facts in, a row and an action out.
//!
//! | what | facts | action |
//! |---|---|---|
//! | header | whole | read on |
//! | | torn, no record with a durable end, not vouched for | unlink |
//! | | torn, a record with a durable end, or vouched for | quarantine |
//! | message | good | keep |
//! | | the content's or the file's end | end |
//! | | bad metadata, number, segment, body, or zeros; at or past the durable end | cut |
//! | | the same, below it (a record further on may say so) | quarantine |
//! | predecessor | reaches what its successor's `prev` names | keep |
//! | | ends before; nothing newer vouches | drop what is newer |
//! | | ends before; something newer vouches | quarantine |
//! | footer | newest, whole | sealed |
//! | | newest, none or torn | open, go on |
//! | | earlier, whole | sealed |
//! | | earlier, none or torn | the footer again |
//!
//! *Vouched for*: a newer segment of the chain has a record with a durable end above 0, which says
//! that all before it was durable when it was written.

/// A row of the table, counted by the tests: none may stay at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// A torn header that was never durable: unlinked.
    TornHeader,
    /// A torn header that was durable: quarantined.
    TornHeaderDurable,
    /// Bad metadata or a foreign record past the durable end: cut.
    CutAtMetadata,
    /// Zeros past the durable end: cut. A length without data.
    CutAtZeros,
    /// A record of another number, segment or place past the durable end: cut.
    CutAtForeign,
    /// A bad body past the durable end: cut.
    CutAtBody,
    /// Damage below the durable end: quarantined.
    DamageBelowDurable,
    /// Damage that a record further on says was durable: quarantined.
    DamageBelowLaterRecord,
    /// What was kept past the durable end was written again.
    WrittenAgain,
    /// The newest has a whole footer.
    NewestSealed,
    /// The newest has a torn footer: open, go on.
    NewestFooterTorn,
    /// An earlier one got its footer again.
    FooterAgain,
    /// A predecessor that ends early, nothing newer durable: what is newer was dropped.
    PredecessorShort,
    /// A predecessor that ends early or is gone, something newer durable: quarantined, or refused.
    PredecessorShortDurable,
    /// A temporary of a merge was unlinked.
    Temporary,
    /// A higher rewrite won over the one it replaced.
    HigherRewrite,
    /// A file off the chain was unlinked.
    OffChain,
    /// A segment below the live lineage was unlinked.
    BelowLiveLineage,
    /// The newest segment's lineage is below the catalog's: a new one begins.
    NewLineage,
    /// A segment's lineage is above the catalog's: refused.
    LineageAbove,
}
