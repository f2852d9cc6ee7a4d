//! Logins that failed, and what the next one from the same place pays for them. Pure: time is given.
//!
//! 1. What counts is a place: a source and the user's name, of which a hash with a key of this process
//!    chooses one of `FAILURE_BUCKETS` counters. A name that is not known has a counter like any other, and
//!    no source has more than these, so that neither time nor the table's bound tells who exists. And a
//!    forgotten script on a machine delays its own user's logins there, not everybody's.
//! 2. The first `FAILURES_FREE` cost nothing; each further one doubles the delay, from `FAILURE_DELAY_MS` to
//!    `FAILURE_DELAY_MS_MAX`. The delay comes before the verdict: a right password waits it out too, or a
//!    guess could be given up as wrong as soon as no answer comes at once.
//! 3. At most `FAILURE_WAITING_MAX` logins of one place wait; another is refused before anybody looks at its
//!    password. So a place tries as many passwords in `FAILURE_DELAY_MS_MAX` and no more, however many
//!    connections it opens.
//! 4. A success takes back what the same name failed since another one did, so that a guesser whose own name
//!    shares the counter clears no guesses with it. A place that fails no more is forgotten after
//!    `FAILURES_FORGOTTEN_MS`.
//! 5. The table holds `FAILURE_PLACES_MAX`; where it is full, the place that failed longest ago goes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::source::Source;
use crate::limits::{
    FAILURE_BUCKETS, FAILURE_DELAY_MS, FAILURE_DELAY_MS_MAX, FAILURE_PLACES_MAX,
    FAILURE_WAITING_MAX, FAILURES_FORGOTTEN_MS, FAILURES_FREE,
};

/// Where a login comes from and who it says it is, as far as one is told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    source: Source,
    /// The name's hash, which also chooses the counter.
    name: u64,
}

impl Place {
    fn counter(self) -> Counter {
        Counter {
            source: self.source,
            bucket: self.name % FAILURE_BUCKETS,
        }
    }
}

/// One of the counters that a source has for the names of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Counter {
    source: Source,
    bucket: u64,
}

/// When a password is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// After so many ms; [`Failures::waited`] says that they are over, or given up.
    AfterMs(u64),
    /// Not at all; in so many ms at the latest one of those that wait is done.
    NotNow {
        /// So many.
        retry_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    failures: u32,
    /// Of these the last ones, all of one name: how many, and whose.
    last_failures: u32,
    last_name: u64,
    last_ms: u64,
    waiting: u32,
}

/// The table.
#[derive(Debug, Default)]
pub struct Failures {
    places: HashMap<Counter, Entry>,
    hash: RandomState,
}

impl Failures {
    /// The place of a user who logs in from a source.
    #[must_use]
    pub fn place(&self, source: Source, user: &str) -> Place {
        let name = self.hash.hash_one(user);
        Place { source, name }
    }

    /// Whose turn it is: a login has said who it is.
    pub fn begin(&mut self, now_ms: u64, place: Place) -> Turn {
        let counter = place.counter();
        let Some(entry) = self.places.get_mut(&counter) else {
            return Turn::Now;
        };
        if is_forgotten(now_ms, entry) {
            self.places.remove(&counter);
            return Turn::Now;
        }
        match delay_ms(entry.failures) {
            0 => Turn::Now,
            retry_ms if entry.waiting >= FAILURE_WAITING_MAX => Turn::NotNow { retry_ms },
            delay_ms => {
                entry.waiting += 1;
                Turn::AfterMs(delay_ms)
            }
        }
    }

    /// One that waited does no more.
    pub fn waited(&mut self, place: Place) {
        if let Some(entry) = self.places.get_mut(&place.counter()) {
            entry.waiting = entry.waiting.saturating_sub(1);
            self.drop_if_empty(place.counter());
        }
    }

    /// The password was wrong, or the user is not known.
    pub fn failed(&mut self, now_ms: u64, place: Place) {
        let counter = place.counter();
        if self.places.len() >= FAILURE_PLACES_MAX && !self.places.contains_key(&counter) {
            self.places.retain(|_, entry| !is_forgotten(now_ms, entry));
            let oldest = self
                .places
                .iter()
                .min_by_key(|(_, entry)| (entry.waiting > 0, entry.last_ms));
            if let Some(oldest) = oldest.map(|(counter, _)| *counter)
                && self.places.len() >= FAILURE_PLACES_MAX
            {
                self.places.remove(&oldest);
            }
        }
        let entry = self.places.entry(counter).or_default();
        if is_forgotten(now_ms, entry) {
            *entry = Entry::default();
        }
        if entry.last_name != place.name {
            entry.last_name = place.name;
            entry.last_failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last_failures = entry.last_failures.saturating_add(1);
        entry.last_ms = now_ms;
    }

    /// The password was right.
    pub fn succeeded(&mut self, place: Place) {
        let counter = place.counter();
        if let Some(entry) = self.places.get_mut(&counter)
            && entry.last_name == place.name
        {
            entry.failures = entry.failures.saturating_sub(entry.last_failures);
            entry.last_failures = 0;
            self.drop_if_empty(counter);
        }
    }

    /// Whoever waits stays counted.
    fn drop_if_empty(&mut self, counter: Counter) {
        let entry = self.places.get(&counter);
        if entry.is_some_and(|entry| entry.failures == 0 && entry.waiting == 0) {
            self.places.remove(&counter);
        }
    }
}

fn is_forgotten(now_ms: u64, entry: &Entry) -> bool {
    entry.waiting == 0 && now_ms.saturating_sub(entry.last_ms) >= FAILURES_FORGOTTEN_MS
}

/// What a login pays after so many failures.
fn delay_ms(failures: u32) -> u64 {
    let Some(doublings) = failures.checked_sub(FAILURES_FREE) else {
        return 0;
    };
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    FAILURE_DELAY_MS
        .saturating_mul(factor)
        .min(FAILURE_DELAY_MS_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn the_delay_doubles_up_to_its_bound_and_a_success_clears_it() {
        let mut failures = Failures::default();
        let place = failures.place(source(1), "ann");
        let mut delays = Vec::new();
        for _ in 0..12 {
            let turn = failures.begin(0, place);
            if let Turn::AfterMs(delay_ms) = turn {
                failures.waited(place);
                delays.push(delay_ms);
            } else {
                assert_eq!(turn, Turn::Now);
                delays.push(0);
            }
            failures.failed(0, place);
        }
        let expected = [0, 0, 0, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000];
        assert_eq!(delays[..expected.len()], expected);
        failures.succeeded(place);
        assert_eq!(failures.begin(0, place), Turn::Now);
        assert_eq!(delay_ms(u32::MAX), FAILURE_DELAY_MS_MAX);
    }

    /// Two names of one counter: who guesses at one of them may have the other.
    #[test]
    fn a_success_takes_back_only_what_its_own_name_failed() {
        let mut failures = Failures::default();
        let ann = failures.place(source(1), "ann");
        let names = (0..100 * FAILURE_BUCKETS).map(|name| name.to_string());
        let bob = names
            .map(|name| failures.place(source(1), &name))
            .find(|place| place.counter() == ann.counter())
            .expect("one of so many names");
        for _ in 0..FAILURES_FREE {
            failures.failed(0, ann);
        }
        let delay = |failures: &mut Failures, factor| {
            let turn = failures.begin(0, ann);
            assert_eq!(turn, Turn::AfterMs(factor * FAILURE_DELAY_MS));
            failures.waited(ann);
        };
        failures.succeeded(bob);
        delay(&mut failures, 1);
        // Nor does it help to fail once oneself before.
        failures.failed(0, bob);
        delay(&mut failures, 2);
        failures.succeeded(bob);
        delay(&mut failures, 1);
        failures.failed(0, ann);
        delay(&mut failures, 2);
        // What came before another's failure is not taken back, what came since is.
        failures.succeeded(ann);
        delay(&mut failures, 1);
        // Of another's nothing is left: all of it was one's own.
        let eve = failures.place(source(2), "eve");
        failures.failed(0, eve);
        failures.succeeded(eve);
        assert_eq!(failures.places.len(), 1);
    }

    #[test]
    fn a_place_is_forgotten_in_time_and_no_sooner() {
        let mut failures = Failures::default();
        let place = failures.place(source(1), "ann");
        for _ in 0..FAILURES_FREE {
            failures.failed(7, place);
        }
        let before = 7 + FAILURES_FORGOTTEN_MS - 1;
        assert_eq!(
            failures.begin(before, place),
            Turn::AfterMs(FAILURE_DELAY_MS)
        );
        failures.waited(place);
        assert_eq!(failures.begin(before + 1, place), Turn::Now);
        // It begins anew, and is not as far as it was.
        failures.failed(before + 1, place);
        assert_eq!(failures.begin(before + 1, place), Turn::Now);
    }

    #[test]
    fn who_waits_is_counted_and_one_too_many_is_refused_until_one_is_done() {
        let mut failures = Failures::default();
        let place = failures.place(source(1), "ann");
        for _ in 0..FAILURES_FREE {
            failures.failed(0, place);
        }
        for _ in 0..FAILURE_WAITING_MAX {
            assert_eq!(failures.begin(0, place), Turn::AfterMs(FAILURE_DELAY_MS));
        }
        let refused = Turn::NotNow {
            retry_ms: FAILURE_DELAY_MS,
        };
        assert_eq!(failures.begin(0, place), refused);
        // Neither another address nor, but for the names that share its counter, another user.
        let elsewhere = failures.place(source(2), "ann");
        assert_eq!(failures.begin(0, elsewhere), Turn::Now);
        failures.waited(place);
        assert_eq!(failures.begin(0, place), Turn::AfterMs(FAILURE_DELAY_MS));
    }

    /// Nothing here knows which users there are; that names share counters must not tell either.
    #[test]
    fn any_name_has_one_of_the_counters_of_its_source() {
        let failures = Failures::default();
        let mut met = std::collections::HashSet::new();
        for name in 0..100 * FAILURE_BUCKETS {
            met.insert(
                failures
                    .place(source(1), &name.to_string())
                    .counter()
                    .bucket,
            );
        }
        assert_eq!(met.len() as u64, FAILURE_BUCKETS);
        let other = Failures::default();
        let differs = (0..100).any(|name| {
            let name = name.to_string();
            failures.place(source(1), &name) != other.place(source(1), &name)
        });
        assert!(differs, "the hash has a key of its own in each process");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_failed_last() {
        let mut failures = Failures::default();
        let most = u32::try_from(FAILURE_PLACES_MAX).expect("small");
        for number in 0..2 * most {
            let place = failures.place(source(number), "ann");
            for _ in 0..FAILURES_FREE {
                failures.failed(u64::from(number), place);
            }
        }
        assert_eq!(failures.places.len(), FAILURE_PLACES_MAX);
        let now_ms = u64::from(2 * most);
        for (number, is_known) in [
            (0, false),
            (most - 1, false),
            (most, true),
            (2 * most - 1, true),
        ] {
            let place = failures.place(source(number), "ann");
            let turn = failures.begin(now_ms, place);
            assert_eq!(turn != Turn::Now, is_known, "{number}");
        }
    }
}
