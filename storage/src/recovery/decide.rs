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
//! | | an end of stream without a whole seal, and a record further on says that more was durable | quarantine |
//! | predecessor | reaches what its successor's `prev` names | keep |
//! | | ends before; nothing newer vouches | drop what is newer |
//! | | ends before; something newer vouches | quarantine |
//! | footer | newest, whole | sealed |
//! | | newest, none or torn | open, go on |
//! | | earlier, whole | sealed |
//! | | earlier, none or torn | the footer again |
//! | | a merge's, torn, newest or not | the footer again, in its place: it is never opened |
//! | hole | its segment is there, with all that it tells | unlink |
//! | | torn, and its segment is not there | refuse |
//! | | neither loaded again nor given up | tell every query |
//! | | loaded again or given up, the chain leads over it | a bridge from now on |
//! | | the same, it does not | unlink |
//!
//! *Over it*: something newer in the chain, or a hole that stays, names the segment in quarantine as the one
//! before it; or nothing newer is there yet that keeps its sequence and its commits' numbers from coming twice.
//!
//! *Vouched for*: a newer segment of the chain has a record with a durable end above 0, was made when all before it
//! was durable (its header says so, and that of each that follows a void does), is a merge's, or begins a lineage,
//! which says the same; or the segment's own hole is there, which a crash left before its file went; or, where its
//! header is torn and a record is left, a newer one's that was durable and does not tell what stood before it. A
//! record that is cut says so for the last time: the bodies that it alone vouched for are checked before it goes.

use crate::planted::{Rule, out};

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
    /// A merged file is damaged: quarantined, whatever else is there.
    DamagedRewrite,
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
    /// What a segment in quarantine held is missing: told.
    HoleTold,
    /// A hole whose segment is there: unlinked.
    HoleFilled,
    /// A hole that is torn, and its segment is gone: refused.
    HoleTorn,
    /// What a hole held is loaded again or given up, and the chain leads over it: a bridge.
    HoleBridge,
    /// The same, and the chain does not: unlinked.
    HoleClosed,
}

impl Row {
    /// Whether it comes after a clean end too, or undoes what a crash left half done: nothing to tell a user.
    #[must_use]
    pub fn is_routine(self) -> bool {
        matches!(
            self,
            Row::WrittenAgain
                | Row::NewestSealed
                | Row::FooterAgain
                | Row::Temporary
                | Row::HigherRewrite
                | Row::OffChain
                | Row::BelowLiveLineage
                | Row::NewLineage
        )
    }

    /// All of them.
    pub const ALL: [Row; 26] = [
        Row::TornHeader,
        Row::TornHeaderDurable,
        Row::CutAtMetadata,
        Row::CutAtZeros,
        Row::CutAtForeign,
        Row::CutAtBody,
        Row::DamageBelowDurable,
        Row::DamageBelowLaterRecord,
        Row::WrittenAgain,
        Row::NewestSealed,
        Row::NewestFooterTorn,
        Row::FooterAgain,
        Row::PredecessorShort,
        Row::PredecessorShortDurable,
        Row::Temporary,
        Row::DamagedRewrite,
        Row::HigherRewrite,
        Row::OffChain,
        Row::BelowLiveLineage,
        Row::NewLineage,
        Row::LineageAbove,
        Row::HoleTold,
        Row::HoleFilled,
        Row::HoleTorn,
        Row::HoleBridge,
        Row::HoleClosed,
    ];
}

/// What stands where a header should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFacts {
    /// Whether it is whole and says what its name and place say.
    pub whole: bool,
    /// Whether a record behind it says a durable end: then the header was durable once.
    pub durable_record: bool,
    /// Whether something newer vouches for the segment.
    pub vouched: bool,
}

/// What to do about a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// Read on.
    Read,
    /// It was never durable: unlink.
    Unlink,
    /// It was: quarantine.
    Quarantine,
}

/// Decides about a header.
#[must_use]
pub fn header(facts: HeaderFacts) -> (Option<Row>, HeaderAction) {
    use HeaderAction::{Quarantine, Read, Unlink};
    match facts {
        HeaderFacts { whole: true, .. } if !out(Rule::HeaderRead) => (None, Read),
        HeaderFacts {
            durable_record: false,
            vouched: false,
            ..
        } => by(Row::TornHeader, Unlink, Quarantine),
        _ => by(Row::TornHeaderDurable, Quarantine, Unlink),
    }
}

/// What stands where a message should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A commit of this segment, the next one; its body is good or need not be looked at.
    Good,
    /// The end of what a successor says is content.
    ContentEnd,
    /// The end of the file.
    FileEnd,
    /// An end of stream: a seal, whole or torn.
    EndOfStream,
    /// Metadata that is cut off, out of bounds, or fails its checksum.
    BadMetadata,
    /// Zeros: a length without data.
    Zeros,
    /// A record of another segment, number or place.
    Foreign,
    /// A body that fails a checksum.
    BadBody,
}

/// A few facts about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageFacts {
    /// What stands there.
    pub found: Found,
    /// Whether it lies below the durable end that the records before it say, or a newer segment vouches.
    pub below_durable: bool,
    /// Whether a record further on says that it did.
    pub later_record: bool,
}

/// What to do about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAction {
    /// Keep it and read on.
    Keep,
    /// The content ends here.
    End,
    /// The content ends here, and what follows is cut.
    Cut,
    /// Quarantine the file.
    Quarantine,
}

/// Decides about a message.
#[must_use]
pub fn message(facts: MessageFacts) -> (Option<Row>, MessageAction) {
    use MessageAction::{Cut, End, Keep, Quarantine};
    match facts.found {
        Found::Good => (None, Keep),
        Found::ContentEnd => (None, End),
        _ if facts.below_durable => by(Row::DamageBelowDurable, Quarantine, Cut),
        _ if facts.later_record => by(Row::DamageBelowLaterRecord, Quarantine, Cut),
        Found::FileEnd | Found::EndOfStream if out(Rule::EndOfFileIsTheEnd) => (None, Quarantine),
        Found::FileEnd | Found::EndOfStream => (None, End),
        Found::BadMetadata => by(Row::CutAtMetadata, Cut, Quarantine),
        Found::Zeros => by(Row::CutAtZeros, Cut, Quarantine),
        Found::Foreign => by(Row::CutAtForeign, Cut, Quarantine),
        Found::BadBody => by(Row::CutAtBody, Cut, Quarantine),
    }
}

/// A predecessor, seen from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredecessorFacts {
    /// Whether it is there and reaches the commit that its successor's `prev` names.
    pub reaches: bool,
    /// Whether its successor, or anything newer, vouches for it: see the module.
    pub vouched: bool,
}

/// What to do about a predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredecessorAction {
    /// Keep it.
    Keep,
    /// Drop what is newer; its messages are fetched again.
    DropNewer,
    /// What was durable is missing.
    Quarantine,
}

/// Decides about a predecessor.
#[must_use]
pub fn predecessor(facts: PredecessorFacts) -> (Option<Row>, PredecessorAction) {
    use PredecessorAction::{DropNewer, Keep, Quarantine};
    let reaches = facts.reaches && !out(Rule::PredecessorKept);
    match (reaches, facts.vouched) {
        (true, _) => (None, Keep),
        (false, false) => by(Row::PredecessorShort, DropNewer, Keep),
        (false, true) => by(Row::PredecessorShortDurable, Quarantine, DropNewer),
    }
}

/// What follows a segment's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterFacts {
    /// Whether the segment is the newest.
    pub newest: bool,
    /// Whether a whole footer stands exactly behind the content and says the same commits.
    pub whole: bool,
    /// Whether an end of stream stands there at all.
    pub begun: bool,
    /// Whether a merge made the file: it was whole before it got its name, and nothing follows in it.
    pub merged: bool,
}

/// What to do about a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FooterAction {
    /// It is sealed.
    Sealed,
    /// Cut behind the content; the segment is open.
    Open,
    /// Cut behind the content and write the footer again.
    Again,
}

/// Decides about a footer.
#[must_use]
pub fn footer(facts: FooterFacts) -> (Option<Row>, FooterAction) {
    use FooterAction::{Again, Open, Sealed};
    match facts {
        FooterFacts {
            newest: true,
            whole: true,
            ..
        } => by(Row::NewestSealed, Sealed, Open),
        FooterFacts {
            newest: true,
            merged: false,
            begun: true,
            ..
        } => by(Row::NewestFooterTorn, Open, Sealed),
        FooterFacts {
            newest: true,
            merged: false,
            ..
        } => (None, Open),
        FooterFacts { whole: true, .. } if !out(Rule::EarlierSealed) => (None, Sealed),
        FooterFacts { .. } => by(Row::FooterAgain, Again, Sealed),
    }
}

/// A few facts about a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoleFacts {
    /// Whether it reads.
    pub whole: bool,
    /// Whether its segment is in the chain, with all that it tells.
    pub filled: bool,
    /// Whether the chain leads over it.
    pub over: bool,
    /// Whether what it held is loaded again, or was given up.
    pub settled: bool,
}

/// What to do about a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleAction {
    /// Every query is told.
    Tell,
    /// It stays, as a bridge.
    Bridge,
    /// Unlink.
    Unlink,
    /// What is missing is not known: the partition is not attached.
    Refuse,
}

/// Decides about a hole.
#[must_use]
pub fn hole(facts: HoleFacts) -> (Option<Row>, HoleAction) {
    use HoleAction::{Bridge, Refuse, Tell, Unlink};
    match facts {
        HoleFacts { filled: true, .. } => by(Row::HoleFilled, Unlink, Tell),
        HoleFacts { whole: false, .. } => by(Row::HoleTorn, Refuse, Unlink),
        HoleFacts { settled: false, .. } => by(Row::HoleTold, Tell, Unlink),
        HoleFacts { over: true, .. } => by(Row::HoleBridge, Bridge, Unlink),
        HoleFacts { .. } => by(Row::HoleClosed, Unlink, Tell),
    }
}

/// A row and what is done; its contrary where a test has taken the row out.
fn by<A>(row: Row, action: A, contrary: A) -> (Option<Row>, A) {
    let taken = if out(Rule::Row(row)) {
        contrary
    } else {
        action
    };
    (Some(row), taken)
}

#[cfg(test)]
mod tests;
