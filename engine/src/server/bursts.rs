//! What is said in the log of connections that are refused, or break: once when it begins, then a number each
//! `LOG_BURST_MS` while it goes on. Pure: time is given.
//!
//! Whoever can connect can be refused as often as they like; what they can write into the log is bounded.

use crate::limits::LOG_BURST_MS;

/// Why a connection did not become a session, or did not end as one should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A wrong password, an unknown user, a client that cannot log in here.
    Login,
    /// Too many wait already after failures of the same place.
    Blocked,
    /// It took too long.
    TimedOut,
    /// It was no login, or ended in its midst.
    Broken,
    /// It had to make room for another that logs in.
    Dropped,
    /// `max_connections` are logged in.
    TooMany,
    /// The kernel did not give it.
    NotAccepted,
    /// It was a session, and was ended for what its client sent, left undone, or was told by KILL.
    Ended,
}

const ALL: [Refusal; 8] = [
    Refusal::Login,
    Refusal::Blocked,
    Refusal::TimedOut,
    Refusal::Broken,
    Refusal::Dropped,
    Refusal::TooMany,
    Refusal::NotAccepted,
    Refusal::Ended,
];

impl Refusal {
    /// What a number of them is said to be.
    #[must_use]
    pub fn shown(self) -> &'static str {
        match self {
            Refusal::Login => "logins were refused",
            Refusal::Blocked => "logins were refused while others of the same place waited",
            Refusal::TimedOut => "logins timed out",
            Refusal::Broken => "connections ended before they were logged in",
            Refusal::Dropped => "connections that had not logged in made room for others",
            Refusal::TooMany => "logins were refused: max_connections were logged in",
            Refusal::NotAccepted => "connections could not be accepted",
            Refusal::Ended => "connections ended otherwise than by their clients",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    said_ms: Option<u64>,
    more: u64,
}

/// The bursts of each kind.
#[derive(Debug, Default)]
pub struct Bursts([Burst; ALL.len()]);

impl Bursts {
    /// One more. Whether it is to be said: it is the first of its burst.
    pub fn is_first(&mut self, now_ms: u64, refusal: Refusal) -> bool {
        let burst = &mut self.0[refusal as usize];
        match burst.said_ms {
            Some(_) => burst.more += 1,
            None => burst.said_ms = Some(now_ms),
        }
        burst.more == 0
    }

    /// What is to be said by now: how many more of which.
    pub fn due(&mut self, now_ms: u64) -> Vec<(Refusal, u64)> {
        let mut due = Vec::new();
        for (burst, refusal) in self.0.iter_mut().zip(ALL) {
            let is_due = |said_ms| now_ms.saturating_sub(said_ms) >= LOG_BURST_MS;
            if burst.said_ms.is_some_and(is_due) {
                if burst.more > 0 {
                    due.push((refusal, burst.more));
                }
                // One without any more is over.
                burst.said_ms = (burst.more > 0).then_some(now_ms);
                burst.more = 0;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_said_once_and_then_counted() {
        let mut bursts = Bursts::default();
        assert!(bursts.is_first(0, Refusal::Login));
        for _ in 0..1_000 {
            assert!(!bursts.is_first(1, Refusal::Login));
        }
        // Another kind has its own.
        assert!(bursts.is_first(1, Refusal::TooMany));
        assert_eq!(bursts.due(LOG_BURST_MS - 1), []);
        assert_eq!(bursts.due(LOG_BURST_MS), [(Refusal::Login, 1_000)]);
        // It goes on, then it is over, and the next is a new one.
        assert!(!bursts.is_first(LOG_BURST_MS + 1, Refusal::Login));
        assert_eq!(bursts.due(2 * LOG_BURST_MS), [(Refusal::Login, 1)]);
        assert_eq!(bursts.due(3 * LOG_BURST_MS), []);
        assert!(bursts.is_first(3 * LOG_BURST_MS, Refusal::Login));
    }

    #[test]
    fn each_kind_has_its_place() {
        for (at, refusal) in ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at);
        }
    }
}
