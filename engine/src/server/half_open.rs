//! Connections that have not logged in. Pure: no clock, no socket.
//!
//! They have a bound of their own, so that they never take the place of one who is logged in, and whoever
//! comes in is always taken in: where the bound is reached, another goes. Which one decides whether a
//! flood shuts a client out:
//!
//! 1. Not the newest: 256 silent connections would then keep everybody out for the price of 256 sockets.
//! 2. Of the source that has the most: a flood from elsewhere costs a client nothing.
//! 3. Of that source one that has not yet said who it is, if there is any: a client that waits out the
//!    delay of earlier failures is not pushed out by silence.
//! 4. Of those the oldest: a login takes a few milliseconds, so a flood from the client's own address must
//!    open as many connections as the bound within these to reach it.

use std::collections::{BTreeMap, HashMap};

use super::source::Source;

/// A place among the half-open; higher is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// All that are half-open.
#[derive(Debug)]
pub struct HalfOpen<T> {
    max: usize,
    last: u64,
    open: BTreeMap<Ticket, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    source: Source,
    has_answered: bool,
    held: T,
}

impl<T> HalfOpen<T> {
    /// Room for `max`.
    #[must_use]
    pub fn new(max: usize) -> HalfOpen<T> {
        HalfOpen {
            max: max.max(1),
            last: 0,
            open: BTreeMap::new(),
        }
    }

    /// Takes one in; what is answered beside its place is what was held for the one that goes for it.
    pub fn enter(&mut self, source: Source, held: T) -> (Ticket, Option<T>) {
        let gone = if self.open.len() >= self.max {
            self.to_go().and_then(|ticket| self.leave(ticket))
        } else {
            None
        };
        self.last += 1;
        let ticket = Ticket(self.last);
        let entry = Entry {
            source,
            has_answered: false,
            held,
        };
        self.open.insert(ticket, entry);
        (ticket, gone)
    }

    /// It has said who it is.
    pub fn answered(&mut self, ticket: Ticket) {
        if let Some(entry) = self.open.get_mut(&ticket) {
            entry.has_answered = true;
        }
    }

    /// It is logged in, or gone. `None`: it had to go before.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        self.open.remove(&ticket).map(|entry| entry.held)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn to_go(&self) -> Option<Ticket> {
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for entry in self.open.values() {
            *counts.entry(entry.source).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        // In the order of tickets, so the first of the least is the oldest.
        let of_most = self.open.iter().filter(|(_, e)| counts[&e.source] == most);
        let oldest = of_most.min_by_key(|(ticket, entry)| (entry.has_answered, **ticket));
        oldest.map(|(ticket, _)| *ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(last: u8) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    /// Who goes, one after another, when these sources come in; a name in brackets has answered.
    fn gone(max: usize, coming: &[(u8, &'static str)], answered: &[&str]) -> Vec<&'static str> {
        let mut half_open = HalfOpen::new(max);
        let mut gone = Vec::new();
        for (from, name) in coming {
            let (ticket, goes) = half_open.enter(source(*from), *name);
            gone.extend(goes);
            if answered.contains(name) {
                half_open.answered(ticket);
            }
            assert!(half_open.len() <= max);
        }
        gone
    }

    #[test]
    fn who_goes_when_there_is_no_room() {
        // A flood pushes out its own, and no other source's, however old that is.
        assert_eq!(
            gone(3, &[(1, "a"), (2, "b"), (2, "c"), (2, "d"), (2, "e")], &[]),
            ["b", "c"]
        );
        // All of one source: the oldest.
        assert_eq!(
            gone(2, &[(1, "a"), (1, "b"), (1, "c"), (1, "d")], &[]),
            ["a", "b"]
        );
        // Who has answered stays before who has not.
        assert_eq!(
            gone(2, &[(1, "a"), (1, "b"), (1, "c"), (1, "d")], &["a"]),
            ["b", "c"]
        );
        // Where all have answered it is the oldest again.
        assert_eq!(gone(2, &[(1, "a"), (1, "b"), (1, "c")], &["a", "b"]), ["a"]);
        // Every source has one: the oldest of all.
        assert_eq!(gone(2, &[(1, "a"), (2, "b"), (3, "c")], &[]), ["a"]);
    }

    #[test]
    fn a_place_is_left_once() {
        let mut half_open = HalfOpen::new(1);
        let (first, _) = half_open.enter(source(1), "first");
        let (second, gone) = half_open.enter(source(1), "second");
        assert_eq!(gone, Some("first"));
        assert_eq!(half_open.leave(first), None);
        assert_eq!(half_open.leave(second), Some("second"));
        assert!(half_open.is_empty());
    }
}
