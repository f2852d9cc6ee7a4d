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
//! 4. A success clears a place. One that fails no more is forgotten after `FAILURES_FORGOTTEN_MS`.
//! 5. The table holds `FAILURE_PLACES_MAX`; where it is full, the place that failed longest ago goes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::source::Source;
use crate::limits::{
    FAILURE_BUCKETS, FAILURE_DELAY_MS, FAILURE_DELAY_MS_MAX, FAILURE_PLACES_MAX,
    FAILURE_WAITING_MAX, FAILURES_FORGOTTEN_MS, FAILURES_FREE,
};

/// Where a login comes from, and one of the counters that its source has for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
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
    last_ms: u64,
    waiting: u32,
}

/// The table.
#[derive(Debug, Default)]
pub struct Failures {
    places: HashMap<Place, Entry>,
    hash: RandomState,
}

impl Failures {
    /// The place of a user who logs in from a source.
    #[must_use]
    pub fn place(&self, source: Source, user: &str) -> Place {
        let bucket = self.hash.hash_one(user) % FAILURE_BUCKETS;
        Place { source, bucket }
    }

    /// Whose turn it is: a login has said who it is.
    pub fn begin(&mut self, now_ms: u64, place: Place) -> Turn {
        let Some(entry) = self.places.get_mut(&place) else {
            return Turn::Now;
        };
        if is_forgotten(now_ms, entry) {
            self.places.remove(&place);
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
        if let Some(entry) = self.places.get_mut(&place) {
            entry.waiting = entry.waiting.saturating_sub(1);
            self.drop_if_empty(place);
        }
    }

    /// The password was wrong, or the user is not known.
    pub fn failed(&mut self, now_ms: u64, place: Place) {
        if self.places.len() >= FAILURE_PLACES_MAX && !self.places.contains_key(&place) {
            self.places.retain(|_, entry| !is_forgotten(now_ms, entry));
            let oldest = self
                .places
                .iter()
                .min_by_key(|(_, entry)| (entry.waiting > 0, entry.last_ms));
            if let Some(oldest) = oldest.map(|(place, _)| *place)
                && self.places.len() >= FAILURE_PLACES_MAX
            {
                self.places.remove(&oldest);
            }
        }
        let entry = self.places.entry(place).or_default();
        if is_forgotten(now_ms, entry) {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last_ms = now_ms;
    }

    /// The password was right.
    pub fn succeeded(&mut self, place: Place) {
        if let Some(entry) = self.places.get_mut(&place) {
            entry.failures = 0;
            self.drop_if_empty(place);
        }
    }

    /// Whoever waits stays counted.
    fn drop_if_empty(&mut self, place: Place) {
        let entry = self.places.get(&place);
        if entry.is_some_and(|entry| entry.failures == 0 && entry.waiting == 0) {
            self.places.remove(&place);
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
            met.insert(failures.place(source(1), &name.to_string()).bucket);
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
