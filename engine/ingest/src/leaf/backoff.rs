//! A pause that grows while something keeps failing, and is forgotten when it works.

/// Bounds of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first, ms.
    pub first_ms: u64,
    /// The longest, ms.
    pub max_ms: u64,
    /// Whether each is twice the last; otherwise all are the first.
    pub doubling: bool,
}

/// How often something failed in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pauses: Pauses,
    failures: u32,
}

impl Backoff {
    /// Nothing failed yet.
    #[must_use]
    pub const fn new(pauses: Pauses) -> Backoff {
        Backoff {
            pauses,
            failures: 0,
        }
    }

    /// It failed once more: how long to pause, ms.
    pub fn fail(&mut self) -> u64 {
        let Pauses {
            first_ms,
            max_ms,
            doubling,
        } = self.pauses;
        let doublings = if doubling { self.failures.min(32) } else { 0 };
        self.failures = self.failures.saturating_add(1);
        first_ms.saturating_mul(1 << doublings).min(max_ms)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_bound_and_is_forgotten() {
        let mut backoff = Backoff::new(Pauses {
            first_ms: 50,
            max_ms: 300,
            doubling: true,
        });
        let pauses: Vec<u64> = (0..5).map(|_| backoff.fail()).collect();
        assert_eq!(pauses, [50, 100, 200, 300, 300]);
        assert_eq!(backoff.failures(), 5);
        for _ in 0..100 {
            assert_eq!(backoff.fail(), 300);
        }
        backoff.reset();
        assert_eq!(backoff.fail(), 50);
    }

    #[test]
    fn a_pause_that_does_not_double_stays() {
        let mut backoff = Backoff::new(Pauses {
            first_ms: 2_500,
            max_ms: 25_000,
            doubling: false,
        });
        assert_eq!([backoff.fail(), backoff.fail()], [2_500, 2_500]);
    }
}
