//! The load generator: order events into a topic, at a rate or as fast as the broker takes them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};

use crate::shape::{Rows, Shape};
use crate::topic::queue;

/// What to produce.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Bootstrap servers of a broker on this machine
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The topic; it must exist
    #[arg(long, default_value = "orders")]
    pub topic: String,
    /// Its partitions: events go round them
    #[arg(long, default_value_t = 1)]
    pub partitions: i32,
    /// Events in all
    #[arg(long, default_value_t = 1_000_000)]
    pub count: u64,
    /// Events a second; 0: as fast as it goes
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, default_value = "none")]
    pub codec: String,
    /// How long events wait for company in a batch, ms
    #[arg(long, default_value_t = 5)]
    pub linger_ms: u32,
    /// The first id
    #[arg(long, default_value_t = 1)]
    pub first_id: u64,
    /// Of everything that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How long the last events may take to be acknowledged.
const FLUSH: Duration = Duration::from_secs(60);

/// Produces; returns how long it took.
///
/// # Errors
/// Whatever librdkafka says that a retry does not mend.
pub fn run(load: &Load) -> Result<Duration, KafkaError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &load.bootstrap)
        .set("compression.codec", &load.codec)
        .set("linger.ms", load.linger_ms.to_string())
        .set("acks", "1")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let mut rows = Rows::new(Shape::Orders, load.seed).starting_at(load.first_id);
    let began = Instant::now();
    for sent in 0..load.count {
        if let Some(due) = (sent * 1_000_000)
            .checked_div(load.rate)
            .map(Duration::from_micros)
        {
            while let Some(wait) = due
                .checked_sub(began.elapsed())
                .filter(|wait| !wait.is_zero())
            {
                producer.poll(wait.min(Duration::from_millis(1)));
            }
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        rows.advance_at(u64::try_from(now.as_millis()).unwrap_or_default());
        let turn = sent % u64::try_from(load.partitions.max(1)).unwrap_or(1);
        let partition = i32::try_from(turn).unwrap_or(0);
        queue(&producer, &load.topic, partition, rows.json())?;
        if sent % 1_024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH)?;
    Ok(began.elapsed())
}
