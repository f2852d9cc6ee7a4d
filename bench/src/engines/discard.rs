//! A librdkafka consumer that discards: what reading a topic costs at least with the client that most use.
//!
//! It runs as a process of its own, `bench discard`, so that its CPU is counted apart, and speaks the lines
//! of [`super::program`] like every peer.

use std::ffi::CString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::batch::Batches;
use super::program::{Head, Program, Runner};
use crate::fault::Fault;

/// What a call waits for a message.
const WAIT: Duration = Duration::from_millis(100);
/// What a call waits for a batch to be full: the last one of a topic never is.
const BATCH_WAIT: Duration = Duration::from_millis(5);

const HEAD: &str = "\
# engine: librdkafka
# what: a consumer that discards
# settings: defaults batched
# does: ingest
# stores: no
";

/// The command line of the process.
#[derive(Clone, Debug, clap::Args)]
pub struct Discard {
    /// defaults or batched
    setting: String,
}

/// What has been read.
#[derive(Debug, Default)]
struct Read {
    rows: AtomicU64,
    offsets: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

/// The engines: this program at each of its settings.
///
/// # Errors
/// That the program's own path is not known.
pub fn engines() -> Result<Vec<Program>, Fault> {
    let program = std::env::current_exe().map_err(Fault::io("looking for the own program"))?;
    let head = Head::read(HEAD, &program)?;
    let runner = Runner {
        program,
        arguments: vec![PathBuf::from("discard")],
        jars: None,
    };
    let cache = PathBuf::new();
    Ok(Program::of_head(&head, None, &cache, Some(runner)))
}

/// Serves requests until `stop` or the end of its input.
///
/// # Errors
/// Of its input and output, and a request that is none.
pub fn serve(discard: &Discard) -> Result<(), Fault> {
    let read = Arc::new(Read::default());
    let mut job = Value::Null;
    for line in io::stdin().lines() {
        let line = line.map_err(Fault::io("reading requests"))?;
        let request: Value = serde_json::from_str(&line)
            .map_err(|error| Fault::Usage(format!("{line}: {error}")))?;
        let answer = match request["do"].as_str() {
            Some("start") => {
                job = request.clone();
                let (version, text) = rdkafka::util::get_rdkafka_version();
                json!({"version": format!("{text} ({version:#010x})"), "settings": settings(discard)})
            }
            Some("begin") => match begin(discard, &job, &read) {
                Ok(()) => json!({}),
                Err(error) => json!({"error": error.to_string()}),
            },
            Some("rows") => json!({"rows": read.rows.load(Ordering::Acquire)}),
            Some("tally") => json!({
                "rows": read.rows.load(Ordering::Acquire),
                "offsets": read.offsets.load(Ordering::Acquire),
                "bytes": read.bytes.load(Ordering::Acquire),
            }),
            Some("stop") => json!({}),
            _ => json!({"error": format!("nobody knows {line}")}),
        };
        let stop = request["do"] == "stop";
        writeln!(io::stdout(), "{answer}").map_err(Fault::io("answering"))?;
        if stop {
            break;
        }
    }
    read.stop.store(true, Ordering::Relaxed);
    Ok(())
}

fn configuration(discard: &Discard) -> Vec<(&'static str, &'static str)> {
    if discard.setting == "batched" {
        vec![
            ("fetch.message.max.bytes", "8388608"),
            ("fetch.max.bytes", "16777216"),
            ("queued.min.messages", "1000000"),
            // A full queue is looked at again after a second by default.
            ("fetch.queue.backoff.ms", "5"),
        ]
    } else {
        vec![
            ("enable.auto.commit", "false"),
            ("group.id", "bench-discard"),
        ]
    }
}

fn settings(discard: &Discard) -> Vec<String> {
    let how = match discard.setting.as_str() {
        "batched" => "the simple consumer, rd_kafka_consume_batch_queue, 10000 messages a call",
        _ => "one message a call",
    };
    let lines = configuration(discard).into_iter();
    let lines = lines.map(|(key, value)| format!("{key}={value}"));
    lines.chain([how.to_owned()]).collect()
}

fn begin(discard: &Discard, job: &Value, read: &Arc<Read>) -> Result<(), KafkaError> {
    let mut config = ClientConfig::new();
    config.set(
        "bootstrap.servers",
        job["bootstrap"].as_str().unwrap_or_default(),
    );
    for (key, value) in configuration(discard) {
        config.set(key, value);
    }
    let consumer: BaseConsumer = config.create()?;
    let tables = job["tables"].as_array().into_iter().flatten();
    let topics: Vec<(&str, i32)> = tables
        .map(|table| {
            let partitions = table["partitions"]
                .as_i64()
                .and_then(|some| some.try_into().ok());
            (
                table["topic"].as_str().unwrap_or_default(),
                partitions.unwrap_or(1),
            )
        })
        .collect();
    let read = Arc::clone(read);
    if discard.setting == "batched" {
        // Kafka's names of topics hold no zero.
        let named = |(topic, partitions)| (CString::new(topic).unwrap_or_default(), partitions);
        let topics: Vec<_> = topics.into_iter().map(named).collect();
        thread::spawn(move || in_batches(consumer, &topics, &read));
    } else {
        let mut assigned = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..partitions {
                assigned.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&assigned)?;
        thread::spawn(move || one_by_one(&consumer, &read));
    }
    Ok(())
}

impl Read {
    fn add(&self, rows: u64, offsets: u64, bytes: u64) {
        self.offsets.fetch_add(offsets, Ordering::Release);
        self.bytes.fetch_add(bytes, Ordering::Release);
        // Last: whoever sees these rows sees the rest.
        self.rows.fetch_add(rows, Ordering::Release);
    }
}

fn in_batches(consumer: BaseConsumer, topics: &[(CString, i32)], read: &Read) {
    let mut batches = Batches::start(consumer, topics);
    while !read.stop.load(Ordering::Relaxed) {
        let (mut rows, mut offsets, mut bytes) = (0, 0, 0);
        batches.take(BATCH_WAIT, |message| match message {
            Ok((offset, length)) => {
                rows += 1;
                offsets += offset;
                bytes += length as u64;
            }
            Err(code) => eprintln!("librdkafka: error {code}"),
        });
        read.add(rows, offsets, bytes);
    }
}

fn one_by_one(consumer: &BaseConsumer, read: &Read) {
    while !read.stop.load(Ordering::Relaxed) {
        match consumer.poll(WAIT) {
            Some(Ok(message)) => {
                let offset = message.offset().cast_unsigned();
                read.add(1, offset, message.payload_len() as u64);
            }
            Some(Err(error)) => eprintln!("librdkafka: {error}"),
            None => {}
        }
    }
}
