//! Order events into a real Kafka, by librdkafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use devbroker::orders::Orders;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// What a broker may take for anything.
pub const WAIT: Duration = Duration::from_secs(60);
/// A look at the queue when it is full.
const ROOM: Duration = Duration::from_millis(10);

/// A producer that sends order events to a topic's partitions in turn.
pub struct Load {
    producer: BaseProducer,
    topic: String,
    partitions: i32,
    orders: Orders,
    event: Vec<u8>,
}

impl Load {
    /// Ids count up from `first_id`; `more` is librdkafka's configuration beside the idempotence that
    /// each has.
    pub fn new(
        bootstrap: &str,
        topic: &str,
        partitions: i32,
        first_id: u64,
        more: &[(&str, &str)],
    ) -> Load {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5");
        for (key, value) in more {
            config.set(*key, *value);
        }
        Load {
            producer: config.create().unwrap(),
            topic: topic.to_owned(),
            partitions,
            orders: Orders::new(first_id, first_id),
            event: Vec::new(),
        }
    }

    /// The producer itself, for its transactions.
    pub fn producer(&self) -> &BaseProducer {
        &self.producer
    }

    /// Queues as many events.
    pub fn send(&mut self, events: u64) {
        for _ in 0..events {
            let turn = self.orders.next_id() % u64::try_from(self.partitions).unwrap();
            let partition = i32::try_from(turn).unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            self.event.clear();
            let now_ms = u64::try_from(now.as_millis()).unwrap();
            self.orders.append(&mut self.event, now_ms);
            send(&self.producer, &self.topic, partition, &self.event);
        }
    }

    /// Serves the producer for so long.
    pub fn poll(&self, pause: Duration) {
        self.producer.poll(pause);
    }

    /// Until every event has reached the broker.
    pub fn flush(&self) {
        self.producer.flush(WAIT).unwrap();
    }
}

/// Queues one message, waiting for room.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &[u8]) {
    loop {
        let record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(partition)
            .payload(value);
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(ROOM);
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
}

/// A steady load's events at once, and its pause behind them: some 2,000 a second.
const STEADY: (u64, Duration) = (40, Duration::from_millis(20));

/// A steady load's record batches at most. What waits while the way to the broker is cut would else become one
/// of a megabyte, which no connection that is cut sooner ever brings: Kafka has no half batches.
const STEADY_BATCH_BYTES: &str = "8192";

/// A thread that sends order events until it is ended.
pub struct SteadyLoad {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl SteadyLoad {
    /// Ids count up from 0.
    pub fn start(bootstrap: &str, topic: &str, partitions: i32) -> SteadyLoad {
        let stop = Arc::new(AtomicBool::new(false));
        let (bootstrap, topic, stopped) = (bootstrap.to_owned(), topic.to_owned(), stop.clone());
        let thread = thread::spawn(move || {
            let small = [("batch.size", STEADY_BATCH_BYTES)];
            let mut load = Load::new(&bootstrap, &topic, partitions, 0, &small);
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                load.send(STEADY.0);
                sent += STEADY.0;
                load.poll(Duration::ZERO);
                thread::sleep(STEADY.1);
            }
            load.flush();
            sent
        });
        SteadyLoad {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it; answers how many events have reached the broker.
    pub fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for SteadyLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
