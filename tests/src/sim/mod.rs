//! The simulation: one thread, one seed, one history; the same every time.
//!
//! `disk` is the crash model and `kafka` the brokers; `storage` drives a store over the disk, `leaf` the whole leaf over
//! both (`world`), `control` the aggregator and the catalog with leaves. What a seed does is decided by its random numbers alone, so a seed that fails is run again with a
//! trace, tells its last events, and is shrunk (`shrink`) to a `case` that can be run again.

mod audit;
pub mod case;
pub mod control;
pub mod disk;
mod kafka;
mod law;
pub mod leaf;
#[cfg(feature = "planted")]
pub mod planted;
mod reasons;
pub mod shrink;
pub mod storage;
mod topic;
mod tracked;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Events that a failing seed prints.
pub const TRACE_EVENTS_MAX: usize = 100;

/// Random numbers: splitmix64. Small, and good enough to choose events with.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True `of` times in a thousand.
    pub fn chance(&mut self, of: u64) -> bool {
        self.below(1_000) < of
    }
}

/// Spreads the bits of a number: the same in, the same out.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// One more.
    pub fn hit(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// `times` more.
    pub fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => {
                self.0.insert(what.to_owned(), times);
            }
        }
    }

    /// How often.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Each with its count, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, &count)| (what.as_str(), count))
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Coverage) {
        for (what, count) in other.iter() {
            self.add(what, count);
        }
    }
}

/// A seed's last events, in words; nothing unless it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    on: bool,
    event: u32,
    events: VecDeque<String>,
    /// What two runs of a seed are compared by.
    hashes: Option<Vec<u64>>,
}

impl Trace {
    /// A trace that keeps the last events, or nothing.
    #[must_use]
    pub fn new(on: bool) -> Trace {
        Trace {
            on,
            ..Trace::default()
        }
    }

    /// A trace that keeps a hash of every event, in the place of the last ones' words.
    #[must_use]
    pub fn of_hashes() -> Trace {
        Trace {
            hashes: Some(Vec::new()),
            ..Trace::new(true)
        }
    }

    /// The hashes, where they are kept.
    #[must_use]
    pub fn hashes(&self) -> &[u64] {
        self.hashes.as_deref().unwrap_or_default()
    }

    /// This event of the seed begins.
    pub fn at(&mut self, event: u32) {
        self.event = event;
    }

    /// The event that began last.
    #[must_use]
    pub fn event(&self) -> u32 {
        self.event
    }

    /// Whether events are kept: what is dear to put into words asks first.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Keeps an event; `say` runs only where a trace is wanted.
    pub fn say(&mut self, say: impl FnOnce() -> String) {
        if let Some(hashes) = &mut self.hashes {
            let mut hasher = DefaultHasher::new();
            say().hash(&mut hasher);
            hashes.push(hasher.finish());
        } else if self.on {
            if self.events.len() == TRACE_EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(say());
        }
    }

    /// What was kept.
    pub fn events(&self) -> impl Iterator<Item = &str> {
        self.events.iter().map(String::as_str)
    }
}
