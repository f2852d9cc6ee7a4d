//! Topics with a known content: made, filled, and what an engine must end with, counted while they are.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::fault::Fault;
use crate::shape::{Rows, Shape};
use crate::tally::Expected;

/// What a broker may take for anything.
pub const WAIT: Duration = Duration::from_secs(60);
/// A look at the queue when it is full.
const ROOM: Duration = Duration::from_millis(10);
/// Rows between two reports of progress.
const REPORT_ROWS: u64 = 16_384;
const SEED: u64 = 1;

/// Which rows go where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// Round all partitions.
    Even,
    /// 15 of 16 to the first.
    Hot,
}

/// A topic with its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Of every row.
    pub shape: Shape,
    /// How many.
    pub rows: u64,
    /// Of the topic.
    pub partitions: u32,
    /// Over them.
    pub spread: Spread,
    /// As librdkafka calls it.
    pub codec: &'static str,
}

impl Content {
    /// Plain orders, no codec.
    #[must_use]
    pub fn orders(rows: u64, partitions: u32) -> Content {
        Content {
            shape: Shape::Orders,
            rows,
            partitions,
            spread: Spread::Even,
            codec: "none",
        }
    }

    /// As the report calls it, but for the number of rows.
    #[must_use]
    pub fn name(&self) -> String {
        let partitions = match (self.partitions, self.spread) {
            (1, _) => "1 partition".to_owned(),
            (some, Spread::Even) => format!("{some} partitions"),
            (some, Spread::Hot) => format!("one hot partition of {some}"),
        };
        format!("{}, {partitions}, {}", self.shape.name(), self.codec)
    }

    /// Its rows, from the first.
    #[must_use]
    pub fn generator(&self) -> Rows {
        Rows::new(self.shape, SEED)
    }

    fn partition(&self, row: u64) -> i32 {
        let count = u64::from(self.partitions);
        let partition = match self.spread {
            Spread::Even => row % count,
            Spread::Hot if !row.is_multiple_of(16) => 0,
            Spread::Hot => row / 16 % count,
        };
        i32::try_from(partition).unwrap_or(0)
    }
}

/// A topic that is there, and what stands in it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name at the broker.
    pub name: String,
    /// Its rows' shape.
    pub shape: Shape,
    /// Its partitions.
    pub partitions: u32,
    /// The same rows as a file, a message a line, for engines that read files.
    pub file: Option<PathBuf>,
    /// What an engine that has loaded it must have.
    pub expected: Expected,
}

/// Speaks to one broker.
#[derive(Clone, Debug)]
pub struct Cluster {
    bootstrap: String,
    prefix: String,
}

impl Cluster {
    /// Topics get this prefix.
    #[must_use]
    pub fn new(bootstrap: &str, prefix: &str) -> Cluster {
        Cluster {
            bootstrap: bootstrap.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client's configuration.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Until the broker answers.
    ///
    /// # Errors
    /// What it said last.
    pub fn wait_ready(&self, mut failed: impl FnMut() -> Option<String>) -> Result<(), Fault> {
        let began = Instant::now();
        // It retries by itself; its complaints meanwhile are nobody's business.
        let consumer: BaseConsumer = self.config().set("log_level", "0").create()?;
        loop {
            match consumer.fetch_metadata(None, Duration::from_secs(1)) {
                Ok(metadata) if !metadata.brokers().is_empty() => return Ok(()),
                answer => {
                    if let Some(why) = failed() {
                        return Err(Fault::failed("the broker", why));
                    }
                    if began.elapsed() > WAIT * 2 {
                        let why = answer.err().map(|error| error.to_string());
                        let why = why.unwrap_or_else(|| "it knows no broker".to_owned());
                        return Err(Fault::failed(
                            format!("the broker at {}", self.bootstrap),
                            why,
                        ));
                    }
                }
            }
        }
    }

    /// An empty topic, each partition with a leader.
    ///
    /// # Errors
    /// The broker's.
    pub fn create(&self, name: &str, shape: Shape, partitions: u32) -> Result<Topic, Fault> {
        let name = format!("{}{name}", self.prefix);
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let count = i32::try_from(partitions).unwrap_or(1);
        let topic = NewTopic::new(&name, count, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        for made in pollster::block_on(admin.create_topics([&topic], &options))? {
            made.map_err(|(name, code)| Fault::failed(format!("topic {name}"), code.to_string()))?;
        }
        let began = Instant::now();
        loop {
            let metadata = admin.inner().fetch_metadata(Some(&name), WAIT)?;
            let led = metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions());
            if led.filter(|partition| partition.leader() >= 0).count() == partitions as usize {
                break;
            }
            if began.elapsed() > WAIT {
                return Err(Fault::failed(
                    format!("topic {name}"),
                    "its partitions have no leaders",
                ));
            }
            std::thread::sleep(ROOM);
        }
        let expected = Expected::nothing();
        Ok(Topic {
            name,
            shape,
            partitions,
            file: None,
            expected,
        })
    }

    /// A topic, filled; `progress` hears how many rows are in.
    ///
    /// # Errors
    /// The broker's; [`Fault::Wrong`] where it holds another number of messages than were sent.
    pub fn produce(
        &self,
        name: &str,
        content: &Content,
        mut progress: impl FnMut(u64),
    ) -> Result<Topic, Fault> {
        let mut topic = self.create(name, content.shape, content.partitions)?;
        let producer: BaseProducer = self
            .config()
            .set("compression.codec", content.codec)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "200000")
            .create()?;
        let mut rows = content.generator();
        let mut expected = Expected::nothing();
        for row in 0..content.rows {
            let partition = content.partition(row);
            let id = rows.next_id();
            rows.advance();
            queue(&producer, &topic.name, partition, rows.json())?;
            expected.add(id, partition, rows.text(), rows.json().len());
            if row % REPORT_ROWS == 0 {
                producer.poll(Duration::ZERO);
                progress(row);
            }
        }
        producer.flush(WAIT)?;
        progress(content.rows);
        let consumer: BaseConsumer = self.config().create()?;
        let mut held = 0;
        for partition in 0..content.partitions {
            let partition = i32::try_from(partition).unwrap_or(0);
            let (low, high) = consumer.fetch_watermarks(&topic.name, partition, WAIT)?;
            held += high - low;
        }
        if u64::try_from(held) != Ok(content.rows) {
            return Err(Fault::Wrong(format!(
                "topic {} holds {held} messages, {} were sent: the broker is not fit for a benchmark",
                topic.name, content.rows
            )));
        }
        topic.expected = expected;
        Ok(topic)
    }

    /// Takes away what earlier runs have left under this prefix.
    ///
    /// # Errors
    /// The broker's.
    pub fn clear(&self, prefix: &str) -> Result<(), Fault> {
        let consumer: BaseConsumer = self.config().create()?;
        let metadata = consumer.fetch_metadata(None, WAIT)?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        for name in names.filter(|name| name.starts_with(prefix)) {
            self.delete_named(name)?;
        }
        Ok(())
    }

    /// Takes a topic away. On a broker that ends with the harness nothing depends on it.
    ///
    /// # Errors
    /// The broker's.
    pub fn delete(&self, topic: &Topic) -> Result<(), Fault> {
        self.delete_named(&topic.name)
    }

    fn delete_named(&self, name: &str) -> Result<(), Fault> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        for gone in pollster::block_on(admin.delete_topics(&[name], &options))? {
            gone.map_err(|(name, code)| Fault::failed(format!("topic {name}"), code.to_string()))?;
        }
        Ok(())
    }
}

/// Queues one message, waiting for room.
///
/// # Errors
/// librdkafka's.
pub fn queue(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    value: &[u8],
) -> Result<(), KafkaError> {
    let mut record = BaseRecord::<(), [u8]>::to(topic)
        .partition(partition)
        .payload(value);
    while let Err((error, back)) = producer.send(record) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            return Err(error);
        }
        producer.poll(ROOM);
        record = back;
    }
    Ok(())
}
