//! Connections that have not logged in. Pure: no clock, no socket.
//!
//! They have a bound of their own, so that they never take the place of one who is logged in, and whoever
//! comes in is always taken in: where the bound is reached, another goes. Which one decides whether a
//! flood shuts a client out:
//!
//! 1. Not the newest: 256 silent connections would then keep everybody out for the price of 256 sockets.
//! 2. Of the source that has the most: a flood from elsewhere costs a client nothing.
//! 3. Of that source one that does not wait out the delay of earlier failures, as long as those that do are
//!    no more than half of it: a client that waits is not pushed out by silence, and many that wait do not
//!    leave whoever comes next the only one that may go.
//! 4. Of those the oldest: a login takes a few milliseconds, so a flood from the client's own address must
//!    open as many connections as the bound within these to reach it.
//!
//! Who goes is found in the time that it takes to look at each source once.

use std::collections::{BTreeSet, HashMap};

use super::source::Source;

/// A place among the half-open; higher is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// All that are half-open.
#[derive(Debug)]
pub struct HalfOpen<T> {
    max: usize,
    last: u64,
    open: HashMap<Ticket, Entry<T>>,
    /// The same, by where they come from; none of these is empty.
    sources: HashMap<Source, Queues>,
}

#[derive(Debug)]
struct Entry<T> {
    source: Source,
    waits: bool,
    held: T,
}

/// The connections of a source, the oldest first.
#[derive(Debug, Default)]
struct Queues {
    others: BTreeSet<Ticket>,
    waiting: BTreeSet<Ticket>,
}

impl Queues {
    fn len(&self) -> usize {
        self.others.len() + self.waiting.len()
    }

    fn of(&mut self, waits: bool) -> &mut BTreeSet<Ticket> {
        if waits {
            &mut self.waiting
        } else {
            &mut self.others
        }
    }

    fn to_go(&self) -> Option<Ticket> {
        let (others, waiting) = (self.others.first(), self.waiting.first());
        if self.waiting.len() <= self.others.len() {
            others.copied()
        } else {
            others.into_iter().chain(waiting).min().copied()
        }
    }
}

impl<T> HalfOpen<T> {
    /// Room for `max`.
    #[must_use]
    pub fn new(max: usize) -> HalfOpen<T> {
        HalfOpen {
            max: max.max(1),
            last: 0,
            open: HashMap::new(),
            sources: HashMap::new(),
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
            waits: false,
            held,
        };
        self.open.insert(ticket, entry);
        let queues = self.sources.entry(source).or_default();
        queues.of(false).insert(ticket);
        (ticket, gone)
    }

    /// Whether it waits now, because of earlier failures.
    pub fn set_waits(&mut self, ticket: Ticket, waits: bool) {
        if let Some(entry) = self.open.get_mut(&ticket)
            && let Some(queues) = self.sources.get_mut(&entry.source)
        {
            queues.of(entry.waits).remove(&ticket);
            queues.of(waits).insert(ticket);
            entry.waits = waits;
        }
    }

    /// It is logged in, or gone. `None`: it had to go before.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let entry = self.open.remove(&ticket)?;
        if let Some(queues) = self.sources.get_mut(&entry.source) {
            queues.of(entry.waits).remove(&ticket);
            if queues.len() == 0 {
                self.sources.remove(&entry.source);
            }
        }
        Some(entry.held)
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
        let most = self.sources.values().map(Queues::len).max()?;
        let of_most = self.sources.values().filter(|of| of.len() == most);
        of_most.filter_map(Queues::to_go).min()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(last: u8) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    /// Who goes, one after another, when these sources come in, of which some wait at once.
    fn gone(max: usize, coming: &[(u8, &'static str)], waiting: &[&str]) -> Vec<&'static str> {
        let mut half_open = HalfOpen::new(max);
        let mut gone = Vec::new();
        for (from, name) in coming {
            let (ticket, goes) = half_open.enter(source(*from), *name);
            gone.extend(goes);
            if waiting.contains(name) {
                half_open.set_waits(ticket, true);
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
        // Who waits stays before who does not.
        assert_eq!(
            gone(2, &[(1, "a"), (1, "b"), (1, "c"), (1, "d")], &["a"]),
            ["b", "c"]
        );
        // Where all wait it is the oldest again.
        assert_eq!(gone(2, &[(1, "a"), (1, "b"), (1, "c")], &["a", "b"]), ["a"]);
        // Where more than half wait, too: who comes is not the only one that may go. Without `a` it is half.
        let coming = [
            (1, "a"),
            (1, "b"),
            (1, "c"),
            (1, "d"),
            (1, "e"),
            (1, "f"),
            (1, "g"),
        ];
        assert_eq!(gone(4, &coming, &["a", "b", "c"]), ["a", "d", "e"]);
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
        assert!(half_open.is_empty() && half_open.sources.is_empty());
    }

    #[test]
    fn who_has_waited_is_as_any_other() {
        let mut half_open = HalfOpen::new(2);
        let (first, _) = half_open.enter(source(1), "first");
        half_open.set_waits(first, true);
        let (_, gone) = half_open.enter(source(1), "second");
        assert_eq!(gone, None);
        half_open.set_waits(first, false);
        let (_, gone) = half_open.enter(source(1), "third");
        assert_eq!(gone, Some("first"));
        // It is gone: that it would wait changes nothing.
        half_open.set_waits(first, true);
        assert_eq!(half_open.len(), 2);
    }

    /// The rules again, over the entries alone.
    fn to_go_of_all(half_open: &HalfOpen<()>) -> Option<Ticket> {
        let open = &half_open.open;
        let count = |source: Source, wanted: fn(&Entry<()>) -> bool| {
            let of_source = open.values().filter(|entry| entry.source == source);
            of_source.filter(|entry| wanted(entry)).count()
        };
        let of = |entry: &Entry<()>| count(entry.source, |_| true);
        let most = open.values().map(of).max()?;
        let may_go = open.iter().filter(|(_, entry)| {
            let waiting = count(entry.source, |entry| entry.waits);
            of(entry) == most && (!entry.waits || 2 * waiting > most)
        });
        may_go.map(|(ticket, _)| *ticket).min()
    }

    #[test]
    fn what_is_kept_by_source_agrees_with_the_entries() {
        for seed in 1..=50_u64 {
            let mut random = seed;
            let mut below = |most: u64| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(seed);
                (random >> 33) % most
            };
            let mut half_open = HalfOpen::new(8);
            for _ in 0..200 {
                let ticket = Ticket(below(half_open.last + 1));
                match below(8) {
                    0 | 1 => half_open.set_waits(ticket, below(3) > 0),
                    2 => {
                        half_open.leave(ticket);
                    }
                    _ => {
                        let from = u8::try_from(below(3)).expect("small");
                        half_open.enter(source(from), ());
                    }
                }
                assert_eq!(half_open.to_go(), to_go_of_all(&half_open), "seed {seed}");
                let by_source: usize = half_open.sources.values().map(Queues::len).sum();
                assert_eq!(by_source, half_open.len());
            }
        }
    }
}
