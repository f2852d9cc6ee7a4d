//! Freshness: from when a row was due to be produced to when a reader has it.
//!
//! Rows are sent by a schedule, one each 1/rate s, whatever the answers: a row that the producer sends late is
//! late, and no stall hides those that wait behind it. One partition, so that a count of rows says which are
//! there. Three readers, each on a thread and a connection of its own, ask again as soon as they are answered:
//! the mark that the engine shows (Pinleaf's VISIBLE_OFFSET), a query, and a bare librdkafka consumer beside
//! them. A row's latency is the moment that the answer was read that first had it, less the moment it was due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::{Bench, Measured, Moves, Peers, STALL_ASKED, Variant, check};
use crate::engine::{About, Engine, Job, Running};
use crate::engines::Mysql;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::shape::{Rows, Shape};
use crate::tally::Expected;
use crate::topic::{Topic, WAIT, queue};

/// The part of the rows that comes first, uncounted: a broker that has just made a topic takes its time.
const WARM_UP: u64 = 5;
/// Readers are up by then: a client that has found its brokers asks for its first rows.
const LEAD: Duration = Duration::from_secs(1);
/// Three digits; up to a minute.
const HISTOGRAM: (u64, u8) = (60_000_000, 3);
const SEED: u64 = 1;

/// The workload's.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let variant = |(rate, seconds): &(u64, u64)| Variant {
        rate: *rate,
        rows: rate * seconds,
        partitions: 1,
        peers: Peers::All,
        ..Variant::new("freshness", name(*rate), Vec::new())
    };
    plan.freshness.iter().map(variant).collect()
}

/// Of the variant of so many rows a second.
#[must_use]
pub fn name(rate: u64) -> String {
    format!("{} rows/s", crate::stats::short(rate as f64))
}

/// When each row was due, by its offset.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    began: Instant,
    rate: u64,
    rows: u64,
}

impl Schedule {
    /// Whether the last row was due so long ago that whoever reads beside the engine will not see it any more.
    ///
    /// # Errors
    /// [`Fault::Failed`], if so.
    fn is_over(&self, who: &str, seen: u64) -> Result<(), Fault> {
        if Instant::now() < self.due(self.rows) + STALL_ASKED.still {
            return Ok(());
        }
        let what = format!("it has seen {seen} of {} rows", self.rows);
        Err(Fault::failed(who, what))
    }

    fn due(&self, row: u64) -> Instant {
        self.began + Duration::from_nanos(row * 1_000_000_000 / self.rate)
    }
}

/// Notes rows in their order as they are seen.
#[derive(Debug)]
struct Seen {
    schedule: Schedule,
    next: u64,
    latencies: Histogram<u64>,
}

impl Seen {
    fn new(schedule: Schedule) -> Result<Seen, Fault> {
        let latencies = Histogram::new_with_max(HISTOGRAM.0, HISTOGRAM.1);
        let latencies =
            latencies.map_err(|error| Fault::failed("hdrhistogram", error.to_string()))?;
        Ok(Seen {
            schedule,
            next: 0,
            latencies,
        })
    }

    /// How late the producer was with the next row.
    fn sent(&mut self, at: Instant) {
        self.until(self.next + 1, at);
    }

    /// All rows before `count` were there at that moment. Whether it was the last.
    fn until(&mut self, count: u64, at: Instant) -> bool {
        while self.next < count.min(self.schedule.rows) {
            if self.next >= self.schedule.rows / WARM_UP {
                let late = at.saturating_duration_since(self.schedule.due(self.next));
                let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(late_us.max(1));
            }
            self.next += 1;
        }
        self.next >= self.schedule.rows
    }

    fn put(&self, measured: &mut Measured, name: &str) {
        for (quantile, key) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p999")] {
            let ms = self.latencies.value_at_quantile(quantile) as f64 / 1e3;
            measured.put(&format!("{name}_{key}_ms"), ms);
        }
        let counts = self.latencies.iter_recorded();
        let counts = counts.map(|one| (one.value_iterated_to(), one.count_at_value()));
        measured
            .histograms
            .insert(name.to_owned(), counts.collect());
    }
}

/// Produces by the schedule while readers look.
///
/// # Errors
/// As [`super::measure`].
pub fn measure(
    bench: &Bench<'_>,
    variant: &Variant,
    engine: &dyn Engine,
) -> Result<(Measured, About), Fault> {
    let name = format!("fresh-{}", bench.number);
    let cluster = &bench.broker.cluster;
    let topic = cluster.create(&name, Shape::Orders, variant.partitions)?;
    let mut topics = [topic];
    let job: Job<'_> = bench.job(&topics, variant);
    // Pinleaf has two readers: its mark, by a session of its own, and a query.
    let (mut running, mark, about) = if engine.name() == "pinleaf" {
        let (running, about) = bench.pinleaf.run(&job)?;
        let mark = running.connect()?;
        (Box::new(running) as Box<dyn Running>, Some(mark), about)
    } else {
        let (running, about) = engine.start(&job)?;
        (running, None, about)
    };
    running.begin()?;
    let (bare, producer) = clients(bench, &topics[0])?;
    let schedule = Schedule {
        began: Instant::now() + LEAD,
        rate: variant.rate,
        rows: variant.rows,
    };
    let stop = AtomicBool::new(false);
    let stopping = Stopping(&stop);
    let mut selected = Seen::new(schedule)?;
    let ((sent, late), visible, beside) = thread::scope(|scope| {
        let (stop, topic) = (&stop, &topics[0]);
        let sent = scope.spawn(move || send(&producer, topic, schedule, stop));
        let beside = scope.spawn(move || read_bare(&bare, schedule, stop));
        let visible =
            mark.map(|mut mark| scope.spawn(move || read_mark(&mut mark, schedule, stop)));
        // Dropped at the end of this closure, before the scope waits, also where something failed.
        let _stopping = stopping;
        let mut moves = Moves::new(STALL_ASKED, running.as_ref());
        loop {
            let rows = running.rows()?;
            if selected.until(rows, Instant::now()) {
                break;
            }
            if let Err(stalled) = moves.seen(engine.name(), running.as_mut(), rows, schedule.rows) {
                // It cannot show what was not sent.
                stop.store(true, Ordering::Relaxed);
                join(sent.join())?;
                return Err(stalled);
            }
        }
        let visible = visible.map(|thread| join(thread.join())).transpose()?;
        Ok((join(sent.join())?, visible, join(beside.join())?))
    })?;
    topics[0].expected = sent;
    let checked = check(engine.name(), running.as_mut(), &topics)?;
    running.stop()?;
    cluster.delete(&topics[0])?;
    let mut measured = Measured::new(variant.rows, checked);
    measured.put(
        "late_p99_ms",
        late.latencies.value_at_quantile(0.99) as f64 / 1e3,
    );
    selected.put(&mut measured, "select");
    beside.put(&mut measured, "bare");
    if let Some(visible) = visible {
        visible.put(&mut measured, "visible");
    }
    Ok((measured, about))
}

/// Ends the readers and the producer.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn join<T>(ended: thread::Result<Result<T, Fault>>) -> Result<T, Fault> {
    match ended {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn clients(bench: &Bench<'_>, topic: &Topic) -> Result<(BaseConsumer, BaseProducer), Fault> {
    let cluster = &bench.broker.cluster;
    let consumer: BaseConsumer = cluster
        .config()
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "500")
        .create()?;
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(&topic.name, 0, Offset::Beginning)?;
    consumer.assign(&assigned)?;
    consumer.fetch_watermarks(&topic.name, 0, WAIT)?;
    let producer: BaseProducer = cluster
        .config()
        .set("linger.ms", "0")
        .set("acks", "1")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    producer.client().fetch_metadata(Some(&topic.name), WAIT)?;
    Ok((consumer, producer))
}

fn send(
    producer: &BaseProducer,
    topic: &Topic,
    schedule: Schedule,
    stop: &AtomicBool,
) -> Result<(Expected, Seen), Fault> {
    let mut rows = Rows::new(topic.shape, SEED);
    let mut expected = Expected::nothing();
    let mut late = Seen::new(schedule)?;
    for row in 0..schedule.rows {
        let due = schedule.due(row);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = rows.next_id();
        rows.advance();
        queue(producer, &topic.name, 0, rows.json())?;
        expected.add(id, 0, rows.text(), rows.json().len());
        late.sent(Instant::now());
        producer.poll(Duration::ZERO);
    }
    producer.flush(WAIT)?;
    Ok((expected, late))
}

fn read_bare(bare: &BaseConsumer, schedule: Schedule, stop: &AtomicBool) -> Result<Seen, Fault> {
    let mut seen = Seen::new(schedule)?;
    while !stop.load(Ordering::Relaxed) {
        schedule.is_over("the bare consumer", seen.next)?;
        if let Some(message) = bare.poll(Duration::from_millis(50)) {
            let count = message?.offset().cast_unsigned() + 1;
            if seen.until(count, Instant::now()) {
                break;
            }
        }
    }
    Ok(seen)
}

fn read_mark(mark: &mut Mysql, schedule: Schedule, stop: &AtomicBool) -> Result<Seen, Fault> {
    let mut seen = Seen::new(schedule)?;
    while !stop.load(Ordering::Relaxed) {
        schedule.is_over("pinleaf's mark", seen.next)?;
        let sql = "SELECT VISIBLE_OFFSET FROM information_schema.PIPELINES_PARTITIONS";
        let count = u64::try_from(mark.number(sql)?).unwrap_or(0);
        if seen.until(count, Instant::now()) {
            break;
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stall of a second is felt by every row that was due in it, and not by one.
    #[test]
    fn a_stall_counts_for_all_that_wait_behind_it() {
        let schedule = Schedule {
            began: Instant::now(),
            rate: 1_000,
            rows: 5_000,
        };
        let mut seen = Seen::new(schedule).unwrap();
        assert!(!seen.until(3_000, schedule.due(3_000)));
        assert!(!seen.until(4_000, schedule.due(4_000)));
        assert!(seen.until(9_999, schedule.due(5_000)));
        assert_eq!(seen.latencies.len(), 4_000, "the warm-up is not counted");
        let p50 = seen.latencies.value_at_quantile(0.5);
        assert!((500_000..1_100_000).contains(&p50), "{p50}");
    }
}
