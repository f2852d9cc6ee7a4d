//! What the objects at one place of a message looked like so far: members in order, byte for byte.
//!
//! A producer writes the same keys in the same order with the same spacing, so the next member is
//! guessed and confirmed by one compare of the bytes from the end of the last value to the start of
//! its own: `,"key":`. A guess that fails costs a compare; the member is then found by its key and
//! learned: put where it came, beside what came there before, so that the members grow to hold every
//! steady order, and an optional key costs one compare. A shape only guesses: what it does not know is
//! looked up, so it can never change a row.

use super::plan::NodeId;
use super::scan::sixteen;
use crate::limits::{
    SHAPE_AHEAD_MEMBERS, SHAPE_MEMBER_BYTES_MAX, SHAPE_MEMBERS_MAX, SHAPE_PAUSE_MEMBERS_MAX,
};

const HEAD_BYTES: usize = 16;

/// One member: the bytes before its value, and whose value that is.
#[derive(Clone, Debug)]
struct Member {
    /// The first bytes, zeros beyond `len`.
    head: u128,
    /// Ones where `head` counts.
    mask: u128,
    bytes: [u8; SHAPE_MEMBER_BYTES_MAX],
    len: u8,
    node: NodeId,
}

impl Member {
    #[inline]
    fn matches(&self, head: u128, bytes: &[u8], at: usize) -> bool {
        if (head ^ self.head) & self.mask != 0 {
            return false;
        }
        let len = usize::from(self.len);
        // `sixteen` gives zeros beyond the message's end, which no member has: it is all there.
        len <= HEAD_BYTES
            || bytes.get(at + HEAD_BYTES..at + len) == Some(&self.bytes[HEAD_BYTES..len])
    }
}

/// The members of the objects at one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    members: Vec<Member>,
    /// Members to let pass before it learns again.
    pause: u32,
    /// What `pause` is set to when the members overflow: doubled each time.
    pause_next: u32,
}

/// A guess that was right.
pub(super) struct Guess {
    /// Where the walk now stands in the shape.
    pub next: usize,
    /// Whose value follows.
    pub node: NodeId,
    /// Bytes up to the value.
    pub len: usize,
}

impl Shape {
    /// Guesses the member that starts at byte `at`, of those from `place` on.
    ///
    /// - `head`: sixteen bytes from `at` on.
    #[inline]
    pub(super) fn guess(&self, place: usize, head: u128, bytes: &[u8], at: usize) -> Option<Guess> {
        let member = self.members.get(place)?;
        if member.matches(head, bytes, at) {
            return Some(Guess {
                next: place + 1,
                node: member.node,
                len: usize::from(member.len),
            });
        }
        self.guess_ahead(place + 1, head, bytes, at)
    }

    #[inline(never)]
    fn guess_ahead(&self, place: usize, head: u128, bytes: &[u8], at: usize) -> Option<Guess> {
        let ahead = self.members.get(place..)?;
        let ahead = &ahead[..ahead.len().min(SHAPE_AHEAD_MEMBERS)];
        let found = ahead
            .iter()
            .position(|member| member.matches(head, bytes, at))?;
        let member = &ahead[found];
        Some(Guess {
            next: place + found + 1,
            node: member.node,
            len: usize::from(member.len),
        })
    }

    /// Keeps a member that was not guessed: `bytes` from the end of the last value (or with the
    /// object's brace) to the start of its own. Returns where the walk now stands.
    #[cold]
    pub(super) fn learn(&mut self, place: usize, bytes: &[u8], node: NodeId) -> usize {
        if self.pause > 0 {
            self.pause -= 1;
            return place;
        }
        if bytes.len() > SHAPE_MEMBER_BYTES_MAX {
            return place;
        }
        if self.members.len() == SHAPE_MEMBERS_MAX {
            // Keys that never come again, or more orders than are worth keeping.
            self.members.clear();
            self.pause_next = (self.pause_next * 2).clamp(16, SHAPE_PAUSE_MEMBERS_MAX);
            self.pause = self.pause_next;
            return 0;
        }
        let mut member = Member {
            head: sixteen(bytes, 0),
            mask: u128::MAX,
            bytes: [0; SHAPE_MEMBER_BYTES_MAX],
            len: bytes.len() as u8,
            node,
        };
        if bytes.len() < HEAD_BYTES {
            member.mask = (1 << (8 * bytes.len())) - 1;
        }
        member.bytes[..bytes.len()].copy_from_slice(bytes);
        let place = place.min(self.members.len());
        self.members.insert(place, member);
        place + 1
    }
}
