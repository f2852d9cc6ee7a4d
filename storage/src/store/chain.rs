//! The chain: a leaf partition's segments in memory, oldest first, and what of them is durable.
//!
//! Invariants:
//! 1. Each link's `prev` is the link before it; the first may name one that was given up.
//! 2. `durable <= end`, and both lie between commits.
//! 3. A link is *whole* when nothing more is written to it and all of its content is durable.
//!    `whole` counts the unbroken run of such links at the front: the durable chain.
//! 4. What is summed over the links is kept as they change: a published step asks for it.
//! 5. A commit's record says a durable end above 0 only where every link before its own is whole, and a header
//!    that all before it is durable only where that was so when it was made.

use std::ops::Range;
use std::sync::Arc;

use super::StoreSettings;
use crate::disk::{DiskFile, WrittenCommit};
use crate::format::{ParsedHeader, Predecessor, SegmentHeader};
use crate::ids::{Lineage, Offset, Sequence};
use crate::limits::INDEX_BYTES_MAX;
use crate::planted::{Rule, out};
use crate::segment::{Commit, Open, SealState, Segment, SegmentFile};

/// A place between two commits of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The byte.
    pub bytes: u64,
    /// Commits before it.
    pub commits: u32,
    /// The offset there.
    pub next_offset: Offset,
    /// The number that the next commit would have, were it this segment's.
    pub next_commit_number: u64,
    /// Leader epoch of the commit before it; -1 unknown.
    pub leader_epoch: i32,
}

impl End {
    /// Of a link whose end is not computed yet.
    pub const NOWHERE: End = End {
        bytes: 0,
        commits: 0,
        next_offset: Offset(0),
        next_commit_number: 0,
        leader_epoch: -1,
    };
}

/// What readers see of a link.
#[derive(Clone, Debug)]
pub(super) enum Face {
    /// Still appended to, or its successor has no commit yet.
    Open(Arc<Open>),
    /// Never changed after.
    Sealed(Arc<Segment>),
}

/// One segment.
#[derive(Debug)]
pub(super) struct Link {
    /// What readers hold of its file.
    pub segment: Arc<SegmentFile>,
    /// Kept until the segment is durable: the kernel reports a failed write-back to the open handle.
    pub file: Option<Arc<dyn DiskFile>>,
    pub commits: Vec<Arc<Commit>>,
    /// Rows in them.
    pub rows: u64,
    /// Messages that became rejects in them.
    pub rejected: u64,
    /// What a seal's index has for them, at most.
    pub index_bytes: u64,
    pub face: Face,
    /// Leader epoch where it begins.
    pub start_epoch: i32,
    /// What is written.
    pub end: End,
    /// What is known to be synced; `None`: not even the header, or not the name.
    pub durable: Option<End>,
    /// Nothing more is appended.
    pub closed: bool,
    pub footer: Footer,
    /// Since when something waits to be synced.
    pub dirty_since_ms: Option<u64>,
    /// What the sync on its way covers; a second one is there only when a test lets it.
    pub syncing: Vec<Cover>,
    /// Space is reserved up to here.
    pub allocated_end: u64,
}

/// Where a closed segment's footer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Footer {
    /// None: open, or closed by a void (recovery writes it).
    None,
    /// To be written.
    Due,
    /// On its way.
    Writing,
    /// There, and not yet known to be synced.
    Written,
    /// There and durable.
    Durable,
}

/// What a sync covers: what was there when it was submitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cover {
    pub ticket: u64,
    pub submitted_ms: u64,
    pub end: End,
    pub footer: bool,
}

impl Link {
    pub fn header(&self) -> &SegmentHeader {
        &self.segment.header().header
    }

    pub fn parsed(&self) -> &ParsedHeader {
        self.segment.header()
    }

    pub fn lineage(&self) -> Lineage {
        self.header().lineage
    }

    pub fn sequence(&self) -> Sequence {
        self.header().id.sequence
    }

    /// Whether all of its content is durable. Its footer may still be on its way: recovery can write it.
    pub fn content_durable(&self) -> bool {
        self.durable
            .is_some_and(|durable| durable.commits == self.end.commits)
    }

    /// Whether it is to be sealed.
    pub fn is_full(&self, settings: &StoreSettings) -> bool {
        self.end.bytes >= settings.segment_bytes_max
            || self.end.commits >= settings.segment_commits_max
            || self.index_bytes >= INDEX_BYTES_MAX
    }

    pub fn is_whole(&self) -> bool {
        self.closed && self.content_durable()
    }

    pub fn is_dirty(&self) -> bool {
        !self.content_durable() || self.footer == Footer::Written
    }

    /// Where it begins, before its first commit.
    pub fn start(&self) -> End {
        let header = self.parsed();
        End {
            bytes: u64::from(header.bytes),
            commits: 0,
            next_offset: header.header.first_offset,
            next_commit_number: header.header.first_commit_number,
            leader_epoch: self.start_epoch,
        }
    }

    /// Where its first `commits` end.
    pub fn end_of(&self, commits: usize) -> End {
        let Some(index) = commits.checked_sub(1) else {
            return self.start();
        };
        let commit = &self.commits[index];
        let record = commit.record();
        End {
            bytes: commit.at_byte() + record.message_bytes(),
            commits: commits as u32,
            next_offset: record.facts.next_offset,
            next_commit_number: record.facts.commit_number + 1,
            leader_epoch: record.facts.leader_epoch,
        }
    }

    /// A commit was written behind its last.
    pub fn take(&mut self, now_ms: u64, written: WrittenCommit, settings: &StoreSettings) {
        let facts = written.record.facts;
        self.index_bytes += written.record.index_bytes_max();
        let commit = Arc::new(Commit::new(written.record, self.end.bytes));
        if let Face::Open(open) = &self.face {
            let pushed = open.push(self.end.commits, Arc::clone(&commit));
            pushed.expect("a segment is sealed before its list is full");
        }
        self.commits.push(commit);
        self.end = self.end_of(self.commits.len());
        self.rows += u64::from(facts.rows);
        self.rejected += facts.counts.rejected;
        self.allocated_end = written.allocated_end;
        self.dirty_since_ms.get_or_insert(now_ms);
        if self.is_full(settings) {
            self.closed = true;
            self.footer = Footer::Due;
        }
    }

    /// From now on readers see the commits that it has now, and it gets no other.
    pub fn show_sealed(&mut self) {
        self.segment.sealed(self.end.bytes);
        let segment = Segment::arrow(Arc::clone(&self.segment), self.commits.clone());
        self.face = Face::Sealed(Arc::new(segment));
    }

    fn cut(&mut self, end: End) {
        for commit in self.commits.drain(end.commits as usize..) {
            self.rows -= u64::from(commit.record().facts.rows);
            self.rejected -= commit.record().facts.counts.rejected;
            self.index_bytes -= commit.record().index_bytes_max();
        }
        self.end = end;
        self.durable = Some(end);
        self.closed = true;
        self.syncing.clear();
        self.dirty_since_ms = None;
        if self.footer != Footer::Durable {
            // Recovery writes it: this file is in doubt.
            self.footer = Footer::None;
            self.segment.say_seal(SealState::Unknown);
            self.file = None;
        }
        self.show_sealed();
    }
}

/// What the links hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub rows: u64,
    pub rejected: u64,
    pub bytes: u64,
}

impl Totals {
    fn add(&mut self, link: &Link) {
        self.rows += link.rows;
        self.rejected += link.rejected;
        self.bytes += link.end.bytes;
    }

    fn take(&mut self, link: &Link) {
        self.rows -= link.rows;
        self.rejected -= link.rejected;
        self.bytes -= link.end.bytes;
    }
}

/// The segments of one leaf partition.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Links come, go, and change what is summed through the methods below alone.
    pub links: Vec<Link>,
    totals: Totals,
    /// What readers see of some link, or which links there are, is not what was last shown.
    refaced: bool,
    /// Links at the front that are whole.
    pub whole: usize,
    /// Links at the front that nothing is to be written to or synced of any more, at most `whole`.
    pub settled: usize,
}

impl Chain {
    pub fn last(&self) -> Option<&Link> {
        self.links.last()
    }

    /// Without a link, where readers may still see some.
    pub fn emptied() -> Chain {
        Chain {
            refaced: true,
            ..Chain::default()
        }
    }

    /// A link behind the last.
    pub fn push(&mut self, link: Link) {
        self.totals.add(&link);
        self.refaced = true;
        self.links.push(link);
    }

    /// Takes out a range of links, in whose place `instead` stands.
    pub fn replace(&mut self, range: Range<usize>, instead: Option<Link>) -> Vec<Link> {
        self.refaced = true;
        if let Some(link) = &instead {
            self.totals.add(link);
        }
        let taken: Vec<Link> = self.links.splice(range, instead).collect();
        taken.iter().for_each(|link| self.totals.take(link));
        taken
    }

    /// Changes a link's content.
    pub fn change(&mut self, at: usize, change: impl FnOnce(&mut Link)) {
        let link = &mut self.links[at];
        self.totals.take(link);
        change(link);
        self.totals.add(link);
    }

    /// From now on readers see the link's commits as they are, and it gets no other.
    pub fn seal_face(&mut self, at: usize) {
        self.links[at].show_sealed();
        self.refaced = true;
    }

    /// Gives up what lies past `end` in a link, for good.
    pub fn cut(&mut self, at: usize, end: End) {
        self.change(at, |link| link.cut(end));
        self.refaced = true;
    }

    /// What the links hold together.
    pub fn totals(&self) -> Totals {
        if cfg!(any(debug_assertions, feature = "planted")) {
            let mut sum = Totals::default();
            self.links.iter().for_each(|link| sum.add(link));
            assert_eq!(sum, self.totals, "the totals of the chain");
        }
        self.totals
    }

    /// Whether what readers see of the links changed since this was last asked.
    pub fn take_refaced(&mut self) -> bool {
        std::mem::take(&mut self.refaced)
    }

    pub fn open(&mut self) -> Option<&mut Link> {
        self.links.last_mut().filter(|link| !link.closed)
    }

    pub fn find(&mut self, sequence: Sequence) -> Option<&mut Link> {
        let at = self.position(sequence)?;
        self.links.get_mut(at)
    }

    pub fn position(&self, sequence: Sequence) -> Option<usize> {
        self.links
            .iter()
            .rposition(|link| link.sequence() == sequence)
    }

    /// Counts the whole links again from where it stood.
    pub fn settle(&mut self) {
        while self.links.get(self.whole).is_some_and(Link::is_whole) {
            self.whole += 1;
        }
        let rests = |link: &Link| matches!(link.footer, Footer::None | Footer::Durable);
        while self.settled < self.whole && rests(&self.links[self.settled]) {
            self.settled += 1;
        }
    }

    /// The links from `at` on changed: they are looked at again.
    pub fn unsettle(&mut self, at: usize) {
        self.whole = self.whole.min(at);
        self.settled = self.settled.min(at);
        self.settle();
    }

    /// The first `count` links are gone.
    pub fn forget_first(&mut self, count: usize) {
        self.whole = self.whole.saturating_sub(count);
        self.settled = self.settled.saturating_sub(count);
    }

    /// Whether all that the links hold is durable.
    pub fn is_durable(&self) -> bool {
        self.links[self.whole..].iter().all(Link::content_durable)
    }

    /// What a record written into the last link may say is synced.
    pub fn durable_end(&self) -> u64 {
        let Some(last) = self.links.last() else {
            return 0;
        };
        let vouched = self.whole + 1 >= self.links.len() || out(Rule::DurableEndZeroUntilAllBefore);
        match last.durable {
            Some(_) if out(Rule::DurableEndIsSynced) => last.end.bytes,
            Some(end) if vouched => end.bytes,
            _ => 0,
        }
    }

    /// The end of the unbroken durable chain: the link and the place in it.
    pub fn durable(&self) -> Option<(usize, End)> {
        let next = self.links.get(self.whole);
        if let Some(end) = next.and_then(|link| link.durable) {
            return Some((self.whole, end));
        }
        let at = self.whole.checked_sub(1)?;
        Some((at, self.links[at].end))
    }

    /// The durable cursor of a lineage that began at `start_offset`.
    pub fn durable_cursor(&self, lineage: Lineage, start_offset: Offset) -> (Offset, i32) {
        match self.durable() {
            Some((at, end)) if self.links[at].lineage() == lineage => {
                (end.next_offset, end.leader_epoch)
            }
            _ => (start_offset, -1),
        }
    }

    /// What a segment that follows the last link names as its predecessor.
    pub fn predecessor(&self) -> Option<Predecessor> {
        self.links.last().map(|link| Predecessor {
            sequence: link.sequence(),
            lineage: link.lineage(),
            next_offset: link.end.next_offset,
            next_commit_number: link.end.next_commit_number,
        })
    }

    /// How many links are not whole.
    pub fn undurable(&self) -> usize {
        self.links.len() - self.whole
    }
}
