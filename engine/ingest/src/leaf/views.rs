//! What other threads may see of the leaves: each leaf partition's snapshot, how it stands, and how
//! fresh its rows are. Written by leaves, read by anyone, no lock on either side.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use hdrhistogram::Histogram;
use storage::ids::LeafPartitionId;
use storage::published::PartitionView;

use crate::limits;

/// One leaf partition, as queries and the views of information_schema find it.
#[derive(Debug)]
pub struct Attached {
    /// What it holds.
    pub view: Arc<PartitionView>,
    /// How it stands.
    pub standing: Arc<Standing>,
}

/// Every leaf partition of the node, by id, and every leaf.
#[derive(Debug, Default)]
pub struct Views {
    partitions: ArcSwap<HashMap<LeafPartitionId, Arc<Attached>>>,
    leaves: ArcSwap<Vec<Arc<LeafGauges>>>,
}

impl Views {
    /// No partition, no leaf.
    #[must_use]
    pub fn new() -> Arc<Views> {
        Arc::default()
    }

    /// What a query reads of a leaf partition; `None` until it was recovered and after its DROP.
    #[must_use]
    pub fn get(&self, id: LeafPartitionId) -> Option<Arc<PartitionView>> {
        Some(Arc::clone(&self.partitions.load().get(&id)?.view))
    }

    /// A leaf partition with how it stands.
    #[must_use]
    pub fn attached(&self, id: LeafPartitionId) -> Option<Arc<Attached>> {
        self.partitions.load().get(&id).cloned()
    }

    /// Every leaf partition there is now.
    #[must_use]
    pub fn all(&self) -> Arc<HashMap<LeafPartitionId, Arc<Attached>>> {
        self.partitions.load_full()
    }

    /// Every leaf that was started.
    #[must_use]
    pub fn leaves(&self) -> Arc<Vec<Arc<LeafGauges>>> {
        self.leaves.load_full()
    }

    /// [`LeafGauges::freshness`] of all leaves added up.
    #[must_use]
    pub fn freshness(&self) -> Histogram<u64> {
        let mut sum = Freshness::histogram();
        for leaf in self.leaves().iter() {
            let added = sum.add(&*leaf.freshness());
            debug_assert!(added.is_ok(), "all leaves have the same bounds");
        }
        sum
    }

    /// Adds a leaf partition or takes its new view: a leaf's call at Attach.
    pub fn insert(&self, id: LeafPartitionId, attached: Arc<Attached>) {
        self.partitions.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.insert(id, Arc::clone(&attached));
            new
        });
    }

    /// Takes a leaf partition out: a leaf's call at DROP.
    pub fn remove(&self, id: LeafPartitionId) {
        self.partitions.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.remove(&id);
            new
        });
    }

    /// Adds a leaf.
    pub fn insert_leaf(&self, leaf: Arc<LeafGauges>) {
        self.leaves.rcu(|old| {
            let mut new = Vec::clone(old);
            new.push(Arc::clone(&leaf));
            new
        });
    }
}

/// How a leaf partition stands: what PIPELINES_PARTITIONS shows beside the view's own gauges.
#[derive(Debug)]
pub struct Standing {
    /// The leaf that serves it.
    pub leaf: u32,
    /// That leaf's CPU.
    pub cpu: Option<usize>,
    /// Its pipeline's id.
    pub pipeline: u64,
    /// The state in words, with the reason of a wait: "Held: broker 2 throttles".
    pub words: ArcSwap<String>,
    /// Whether its goal is to run.
    pub running: AtomicBool,
    /// The broker that leads it, `host:port`; none before it is known.
    pub leader: ArcSwapOption<super::order::Leader>,
    /// The next offset to ask for; fetched >= visible.
    pub fetched: AtomicI64,
    /// The log's end as last told, for a reader of the pipeline's isolation level; -1 unknown.
    log_end: AtomicI64,
    /// When that was, ms since 1970.
    heard_unix_ms: AtomicI64,
    /// The first offset of the log as last told; -1 unknown.
    pub log_start_offset: AtomicI64,
    /// The timestamp of the last message loaded, ms since 1970; -1 none.
    pub last_timestamp_ms: AtomicI64,
    /// Ranges given up by STOP_ON_ERROR OFF since the start.
    pub skipped: AtomicU64,
    /// Retries since the last success.
    pub retries: AtomicU64,
}

impl Standing {
    /// Before Attach is done.
    #[must_use]
    pub fn new(leaf: u32, cpu: Option<usize>, pipeline: u64) -> Standing {
        Standing {
            leaf,
            cpu,
            pipeline,
            words: ArcSwap::default(),
            running: AtomicBool::new(false),
            leader: ArcSwapOption::empty(),
            fetched: AtomicI64::new(-1),
            log_end: AtomicI64::new(-1),
            heard_unix_ms: AtomicI64::new(0),
            log_start_offset: AtomicI64::new(-1),
            last_timestamp_ms: AtomicI64::new(-1),
            skipped: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    /// The state in words.
    #[must_use]
    pub fn words(&self) -> String {
        self.words.load().as_str().to_owned()
    }

    /// A broker said where the log ends for a reader of the pipeline's isolation level.
    pub fn say_log_end(&self, offset: i64, unix_ms: i64) {
        self.log_end.store(offset, Ordering::Relaxed);
        // Behind the offset: a time is never that of an earlier one.
        self.heard_unix_ms.store(unix_ms, Ordering::Release);
    }

    /// The log's end as last told, for a reader of the pipeline's isolation level; `None` while no broker has said it.
    #[must_use]
    pub fn log_end(&self) -> Option<LogEnd> {
        let unix_ms = self.heard_unix_ms.load(Ordering::Acquire);
        let offset = self.log_end.load(Ordering::Relaxed);
        (offset >= 0).then_some(LogEnd { offset, unix_ms })
    }

    /// How far behind the clock the last message loaded lies, 0 when caught up; `None` where the lag is
    /// unknown.
    #[must_use]
    pub fn lag_ms(&self, lag: Option<i64>, unix_ms: i64) -> Option<i64> {
        let last = self.last_timestamp_ms.load(Ordering::Relaxed);
        match lag? {
            ..=0 => Some(0),
            _ if last < 0 => None,
            _ => Some((unix_ms - last).max(0)),
        }
    }
}

/// Where a log ended for a reader of the pipeline's isolation level, and when a broker said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The offset after the last.
    pub offset: i64,
    /// When, ms since 1970.
    pub unix_ms: i64,
}

impl LogEnd {
    /// The later of two answers. Of two at about one time the further end: who asked first may hear
    /// last.
    #[must_use]
    pub fn later(self, other: LogEnd) -> LogEnd {
        let (new, old) = match self.unix_ms >= other.unix_ms {
            true => (self, other),
            false => (other, self),
        };
        let about_one_time = new.unix_ms - old.unix_ms <= limits::HEARD_MS_MAX as i64;
        LogEnd {
            offset: match about_one_time {
                true => new.offset.max(old.offset),
                false => new.offset,
            },
            unix_ms: new.unix_ms,
        }
    }

    /// How old the answer is, ms.
    #[must_use]
    pub fn age_ms(self, unix_ms: i64) -> i64 {
        (unix_ms - self.unix_ms).max(0)
    }

    /// Records from `visible` to it: what there was when the broker said so. Negative when the topic was
    /// made anew; `None` where an old answer would make it 0, which nobody knows.
    #[must_use]
    pub fn lag(self, visible: i64, unix_ms: i64) -> Option<i64> {
        let lag = self.offset - visible;
        let fresh = self.age_ms(unix_ms) <= limits::HEARD_MS_MAX as i64;
        (lag != 0 || fresh).then_some(lag)
    }
}

/// A leaf's own figures.
#[derive(Debug)]
pub struct LeafGauges {
    /// Its number.
    pub index: u32,
    /// Its CPU.
    pub cpu: Option<usize>,
    freshness: ArcSwap<Histogram<u64>>,
    /// Times it woke up.
    pub turns: AtomicU64,
    /// Fetch responses it read.
    pub responses: AtomicU64,
    /// Bytes it read from brokers.
    pub received_bytes: AtomicU64,
}

impl LeafGauges {
    /// All zero.
    #[must_use]
    pub fn new(index: u32, cpu: Option<usize>) -> LeafGauges {
        LeafGauges {
            index,
            cpu,
            freshness: ArcSwap::from_pointee(Freshness::histogram()),
            turns: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }
    }

    /// From a message's timestamp to the mark that made its row visible, in µs, one count a row, since
    /// the leaf started; at most a second old. To see an interval, subtract an earlier one.
    #[must_use]
    pub fn freshness(&self) -> Arc<Histogram<u64>> {
        self.freshness.load_full()
    }
}

/// The leaf's side of [`LeafGauges::freshness`].
#[derive(Debug)]
pub struct Freshness {
    histogram: Histogram<u64>,
    changed: bool,
    shown_ms: u64,
}

impl Default for Freshness {
    fn default() -> Self {
        Freshness {
            histogram: Freshness::histogram(),
            changed: false,
            shown_ms: 0,
        }
    }
}

impl Freshness {
    fn histogram() -> Histogram<u64> {
        Histogram::new_with_bounds(1, limits::FRESHNESS_US_MAX, 2)
            .expect("the bounds are constants within hdrhistogram's")
    }

    /// `rows` rows of about this timestamp became visible. A timestamp of the future counts as 1 µs.
    pub fn record(&mut self, unix_us: i64, timestamp_ms: i64, rows: u64) {
        let age_us = unix_us.saturating_sub(timestamp_ms.saturating_mul(1_000));
        let age_us = u64::try_from(age_us).unwrap_or(0).max(1);
        self.histogram.saturating_record(age_us);
        if rows > 1 {
            let again = self
                .histogram
                .record_n(age_us.min(limits::FRESHNESS_US_MAX), rows - 1);
            debug_assert!(again.is_ok(), "a value within the bounds");
        }
        self.changed = true;
    }

    /// When it should be shown again; `None` when nothing changed.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.changed
            .then_some(self.shown_ms + limits::GAUGES_AGE_MS)
    }

    /// Shows it if that is due.
    pub fn show(&mut self, now_ms: u64, gauges: &LeafGauges) {
        if self.due_ms().is_some_and(|due| due <= now_ms) {
            gauges.freshness.store(Arc::new(self.histogram.clone()));
            self.changed = false;
            self.shown_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_shown_once_a_second_and_counts_rows() {
        let gauges = LeafGauges::new(0, None);
        let mut freshness = Freshness::default();
        assert_eq!(freshness.due_ms(), None);
        freshness.record(2_000_500, 2_000, 10);
        freshness.record(2_000_500, 9_000, 1);
        assert_eq!(freshness.due_ms(), Some(1_000));
        freshness.show(999, &gauges);
        assert_eq!(gauges.freshness().len(), 0);
        freshness.show(1_000, &gauges);
        assert_eq!(gauges.freshness().len(), 11);
        assert_eq!(gauges.freshness().min(), 1);
        assert!((495..=505).contains(&gauges.freshness().value_at_quantile(0.5)));
        assert_eq!(freshness.due_ms(), None);

        let views = Views::new();
        assert_eq!(views.freshness().len(), 0);
        views.insert_leaf(Arc::new(gauges));
        views.insert_leaf(Arc::new(LeafGauges::new(1, None)));
        assert_eq!(views.freshness().len(), 11);
    }

    #[test]
    fn lag_is_unknown_until_a_broker_said_its_end_and_when_that_is_long_ago() {
        let standing = Standing::new(0, None, 1);
        assert_eq!(standing.log_end(), None);
        standing.say_log_end(7, 1_000);
        let end = standing.log_end().expect("said");
        let lag = |visible, unix_ms| {
            let lag = end.lag(visible, unix_ms);
            (lag, standing.lag_ms(lag, unix_ms))
        };
        assert_eq!(lag(5, 1_000), (Some(2), None));
        standing.last_timestamp_ms.store(400, Ordering::Relaxed);
        assert_eq!(lag(5, 1_000), (Some(2), Some(600)));
        let fresh = 1_000 + limits::HEARD_MS_MAX as i64;
        assert_eq!(lag(7, fresh), (Some(0), Some(0)));
        assert_eq!(lag(7, fresh + 1), (None, None), "not frozen at 0");
        // What is known to wait waits, and perhaps more by now.
        assert_eq!(lag(5, 61_000), (Some(2), Some(60_600)));
        assert_eq!(lag(9, 61_000), (Some(-2), Some(0)));
        // A message of 1970 has a timestamp too.
        standing.last_timestamp_ms.store(0, Ordering::Relaxed);
        assert_eq!(lag(5, 1_000), (Some(2), Some(1_000)));
        // The clock was set back: as fresh as can be.
        assert_eq!((end.age_ms(0), end.lag(7, 0)), (0, Some(0)));
    }

    #[test]
    fn the_later_answer_counts_and_of_two_at_one_time_the_further_end() {
        let end = |offset, unix_ms| LogEnd { offset, unix_ms };
        for (one, two, later) in [
            (end(10, 5_000), end(7, 5_900), end(10, 5_900)),
            (end(10, 5_000), end(7, 9_000), end(7, 9_000)),
            (end(10, 5_000), end(12, 9_000), end(12, 9_000)),
        ] {
            assert_eq!((one.later(two), two.later(one)), (later, later));
        }
    }
}
