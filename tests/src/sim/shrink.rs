//! Seeds that fail: run again to tell how, and shrunk to what they need for it.
//!
//! Shrinking takes out, as long as the law is still broken: the events behind the one that showed it,
//! each kind of fault that happened, then events, halves first, down to single ones. No clock and no
//! random number is in it, so the same seed is shrunk the same way each time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::case::Case;
use super::{Coverage, Trace};

/// Histories that shrinking one seed may run.
const RUNS_MAX: u32 = 2_000;

/// One of the simulations.
#[derive(Clone, Copy)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// Runs one history.
    ///
    /// # Errors
    /// What breaks the law.
    pub run: fn(&Case, &mut Coverage, &mut Trace) -> Result<(), String>,
    /// What every run over many seeds must have met.
    pub must_be_covered: fn() -> Vec<String>,
    /// The kinds of faults that a case may do without, by their names in the coverage.
    pub faults: fn() -> Vec<String>,
}

/// A history that broke the law.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What was run.
    pub case: Case,
    /// What is wrong.
    pub what: String,
    /// Its last events, in words.
    pub events: Vec<String>,
}

/// A violation that nobody has told yet.
#[derive(Debug)]
pub struct Broken {
    what: String,
    /// The event that showed it.
    event: u32,
    /// The kinds of faults that happened before.
    happened: Coverage,
}

impl Suite {
    /// Runs one history; one that breaks the law is run again to tell how.
    ///
    /// # Errors
    /// The [`Violation`].
    pub fn check(&self, case: &Case, coverage: &mut Coverage) -> Result<(), Box<Violation>> {
        match self.attempt(case, coverage, &mut Trace::new(false)) {
            Ok(()) => Ok(()),
            Err(_) => Err(Box::new(self.tell(case))),
        }
    }

    /// The least of a case that was found to break the law, and what it does.
    #[must_use]
    pub fn shrink(&self, case: &Case) -> Violation {
        let mut shrinking = Shrinking {
            suite: self,
            runs: 0,
        };
        let least = shrinking.run(case.clone());
        self.tell(&least)
    }

    fn tell(&self, case: &Case) -> Violation {
        let mut trace = Trace::new(true);
        let what = match self.attempt(case, &mut Coverage::default(), &mut trace) {
            Err(broken) => broken.what,
            Ok(()) => {
                "it failed once and not again: the simulation is not deterministic".to_owned()
            }
        };
        Violation {
            case: case.clone(),
            what,
            events: trace.events().map(str::to_owned).collect(),
        }
    }

    /// Runs one history; a panic breaks the law too.
    ///
    /// # Errors
    /// What breaks it.
    pub fn attempt(
        &self,
        case: &Case,
        coverage: &mut Coverage,
        trace: &mut Trace,
    ) -> Result<(), Broken> {
        let mut own = Coverage::default();
        let run = AssertUnwindSafe(|| (self.run)(case, &mut own, trace));
        let result = catch_unwind(run).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("a panic: {}", text.unwrap_or("of another kind")))
        });
        coverage.merge(&own);
        result.map_err(|what| Broken {
            what,
            event: trace.event(),
            happened: own,
        })
    }
}

struct Shrinking<'a> {
    suite: &'a Suite,
    runs: u32,
}

impl Shrinking<'_> {
    fn fails(&mut self, case: &Case) -> Option<Broken> {
        if self.runs == RUNS_MAX {
            return None;
        }
        self.runs += 1;
        let unused = &mut Coverage::default();
        self.suite
            .attempt(case, unused, &mut Trace::new(false))
            .err()
    }

    fn run(&mut self, mut case: Case) -> Case {
        let Some(broken) = self.fails(&case) else {
            return case;
        };
        case.events_max = Some(broken.event.saturating_add(1));
        let mut faults = (self.suite.faults)();
        faults.retain(|fault| broken.happened.count(fault) > 0);
        for fault in faults {
            let mut without = case.clone();
            without.without.insert(fault);
            if self.fails(&without).is_some() {
                case = without;
            }
        }
        self.events(&mut case);
        // What does not come up in the events that are left need not be named.
        for fault in case.without.clone() {
            let mut with = case.clone();
            with.without.remove(&fault);
            let broken = self.fails(&with);
            if broken.is_some_and(|broken| broken.happened.count(&fault) == 0) {
                case = with;
            }
        }
        case
    }

    /// Leaves events out, in ever smaller pieces, until none can be missed.
    fn events(&mut self, case: &mut Case) {
        let mut piece = case.events(u64::MAX).count() / 2;
        while piece > 0 {
            let events: Vec<u32> = case.events(u64::MAX).collect();
            let before = events.len();
            for part in events.chunks(piece) {
                let mut without = case.clone();
                without.skipped.extend(part);
                if self.fails(&without).is_some() {
                    *case = without;
                }
            }
            let shrunk = case.events(u64::MAX).count() < before;
            if !shrunk || piece > 1 {
                piece /= 2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks where 30 and 60 both happened, and a fault of kind "b" at the second.
    fn run(case: &Case, coverage: &mut Coverage, trace: &mut Trace) -> Result<(), String> {
        let mut first = false;
        for event in case.events(100) {
            trace.at(event);
            for fault in ["a", "b", "c"] {
                if case.has(fault) {
                    coverage.hit(fault);
                }
            }
            first |= event == 30;
            trace.say(|| format!("event {event}"));
            if event == 60 && first && case.has("b") {
                return Err("broken".to_owned());
            }
        }
        Ok(())
    }

    #[test]
    fn a_seed_shrinks_to_what_it_needs() {
        let suite = Suite {
            name: "test",
            run,
            must_be_covered: Vec::new,
            faults: || ["a", "b", "c"].map(str::to_owned).to_vec(),
        };
        let found = suite.check(&Case::of(5), &mut Coverage::default());
        let found = found.expect_err("it breaks");
        assert_eq!(found.what, "broken");
        let least = suite.shrink(&found.case);
        assert_eq!(least.events, ["event 30", "event 60"]);
        assert_eq!(
            least.case.to_string(),
            "--seeds 5..6 --events 61 --skip 0-29,31-59 --without 'a;c'"
        );
        let mut whole = Case::of(5);
        whole.events_max = Some(60);
        assert!(suite.check(&whole, &mut Coverage::default()).is_ok());
    }
}
