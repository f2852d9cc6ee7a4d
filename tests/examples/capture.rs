//! Captures a real Kafka's fetch responses, and beside them what librdkafka reads there.
//!
//! `cargo run -p tests --example capture -- engine/ingest/tests/captures`: starts a Kafka, writes the
//! topics, saves each response as `<name>.v<version>.bin` (the frame without its length) and the
//! records that an independent consumer saw as `<name>.expected`: offset, timestamp, key and value in
//! hexadecimal, `-` for null, one record a line. With `session` behind the folder, those of fetch
//! sessions alone.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ingest::kafka::fetch::{FetchPartition, Forgotten, FrameEvent, FrameReader, SessionPlace};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use storage::ids::{Offset as Cursor, TopicId};
use tests::kafka_server::KafkaServer;
use tests::peer::Peer;

type Outcome<T> = Result<T, Box<dyn Error>>;

const WAIT: Duration = Duration::from_secs(60);
/// 2026-01-02T03:04:05.678Z
const FIRST_MS: i64 = 1_767_323_045_678;

fn main() -> Outcome<()> {
    let out = std::env::args().nth(1).ok_or("where to write?")?;
    let out = Path::new(&out);
    fs::create_dir_all(out)?;
    let home = tempfile::tempdir()?;
    let kafka = KafkaServer::start(
        home.path(),
        1,
        &[
            ("log.cleaner.backoff.ms", "200"),
            ("log.cleaner.threads", "1"),
        ],
    )?;
    sessions(&kafka, out)?;
    if std::env::args().nth(2).as_deref() == Some("session") {
        return Ok(());
    }
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("rdkafka-{codec}");
        kafka.create_topic(&topic, 1, &[])?;
        produce(&kafka, &topic, &[("compression.type", codec)], FIRST_MS)?;
        save(&kafka, out, &topic, &[None], true)?;
    }
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("java-{codec}");
        kafka.create_topic(&topic, 1, &[])?;
        java(&kafka, home.path(), &topic, codec)?;
        save(&kafka, out, &topic, &[None], true)?;
    }
    kafka.create_topic(
        "append-time",
        1,
        &[("message.timestamp.type", "LogAppendTime")],
    )?;
    produce(&kafka, "append-time", &[], FIRST_MS)?;
    let versions: Vec<_> = (4..=17).map(Some).collect();
    save(&kafka, out, "append-time", &versions, true)?;
    transactions(&kafka)?;
    save(
        &kafka,
        out,
        "transactions",
        &[Some(4), Some(11), Some(17)],
        true,
    )?;
    compacted(&kafka)?;
    save(&kafka, out, "compacted", &[None], true)?;
    cut_off(&kafka, out)?;
    Ok(())
}

/// Three record batches of eight: keys, no keys, a tombstone, headers, an empty value.
fn produce(
    kafka: &KafkaServer,
    topic: &str,
    settings: &[(&str, &str)],
    first_ms: i64,
) -> Outcome<()> {
    let producer = producer(kafka, settings)?;
    for batch in 0..3 {
        for place in 0..8_i64 {
            let number = batch * 8 + place;
            let key = format!("key-{}", number % 5);
            let value = format!(
                "{{\"id\":{number},\"note\":\"{}\",\"price\":\"{}.25\"}}",
                "all work and no play ".repeat(place as usize),
                number * 17
            );
            let mut record = BaseRecord::<str, str>::to(topic)
                .partition(0)
                .timestamp(first_ms + number * 1_001 - (place % 3) * 5_000);
            if place != 1 {
                record = record.key(&key);
            }
            match place {
                2 => {}
                3 => record = record.payload(""),
                _ => record = record.payload(&value),
            }
            if place == 4 {
                let headers = OwnedHeaders::new()
                    .insert(Header {
                        key: "trace",
                        value: Some("abc"),
                    })
                    .insert(Header {
                        key: "trace",
                        value: None::<&str>,
                    });
                record = record.headers(headers);
            }
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(WAIT)?;
    }
    Ok(())
}

fn producer(kafka: &KafkaServer, settings: &[(&str, &str)]) -> Outcome<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("linger.ms", "500");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    Ok(config.create()?)
}

/// By Kafka's own producer, whose snappy has a framing of its own.
fn java(kafka: &KafkaServer, home: &Path, topic: &str, codec: &str) -> Outcome<()> {
    let payloads = home.join("payloads");
    let lines: Vec<_> = (0..20)
        .map(|line| {
            format!(
                "{{\"line\":{line},\"text\":\"{}\"}}",
                "to be or not ".repeat(line)
            )
        })
        .collect();
    fs::write(&payloads, lines.join("\n"))?;
    let bootstrap = format!("bootstrap.servers={}", kafka.bootstrap());
    let codec = format!("compression.type={codec}");
    kafka.tool(
        "org.apache.kafka.tools.ProducerPerformance",
        &[
            "--topic",
            topic,
            "--num-records",
            "30",
            "--throughput",
            "-1",
            "--payload-file",
            payloads.to_str().ok_or("a path that is UTF-8")?,
            "--producer-props",
            &bootstrap,
            &codec,
            "linger.ms=200",
        ],
    )?;
    Ok(())
}

/// Two transactional producers whose transactions overlap: A aborts, commits, aborts; B commits
/// across A's first abort and then aborts; plain records between.
fn transactions(kafka: &KafkaServer) -> Outcome<()> {
    const TOPIC: &str = "transactions";
    // Markers bear today's time: the records' own must not make them a segment's age apart.
    kafka.create_topic(TOPIC, 1, &[("segment.ms", "31536000000000")])?;
    let one = producer(kafka, &[("transactional.id", "one")])?;
    let two = producer(
        kafka,
        &[("transactional.id", "two"), ("compression.type", "lz4")],
    )?;
    let plain = producer(kafka, &[])?;
    one.init_transactions(WAIT)?;
    two.init_transactions(WAIT)?;
    let send = |producer: &BaseProducer, text: &str| -> Outcome<()> {
        for place in 0..3 {
            let value = format!("{text} {place}");
            let record = BaseRecord::<str, str>::to(TOPIC)
                .partition(0)
                .key("k")
                .payload(&value)
                .timestamp(FIRST_MS);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(WAIT)?;
        Ok(())
    };
    one.begin_transaction()?;
    two.begin_transaction()?;
    send(&one, "one, aborted")?;
    send(&two, "two, committed")?;
    send(&plain, "plain")?;
    send(&one, "one, aborted, more")?;
    one.abort_transaction(WAIT)?;
    send(&two, "two, committed, more")?;
    one.begin_transaction()?;
    send(&one, "one, committed")?;
    two.commit_transaction(WAIT)?;
    two.begin_transaction()?;
    send(&two, "two, aborted")?;
    one.commit_transaction(WAIT)?;
    one.begin_transaction()?;
    send(&one, "one, aborted at last")?;
    two.abort_transaction(WAIT)?;
    one.abort_transaction(WAIT)?;
    send(&plain, "plain at last")
}

/// Gaps within a batch, a batch that is gone, and one that is kept empty for its producer's sequence.
fn compacted(kafka: &KafkaServer) -> Outcome<()> {
    const TOPIC: &str = "compacted";
    kafka.create_topic(
        TOPIC,
        1,
        &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "1000"),
            ("min.cleanable.dirty.ratio", "0.001"),
        ],
    )?;
    let idempotent = producer(kafka, &[("enable.idempotence", "true")])?;
    let plain = producer(kafka, &[])?;
    let mut at_ms = FIRST_MS;
    let mut send = |producer: &BaseProducer, keys: &[&str]| -> Outcome<()> {
        for key in keys {
            at_ms += 100;
            let value = format!("{key} at {at_ms}");
            let record = BaseRecord::<str, str>::to(TOPIC)
                .partition(0)
                .key(*key)
                .payload(&value)
                .timestamp(at_ms);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        at_ms += 5_000;
        producer.flush(WAIT)?;
        Ok(())
    };
    send(&plain, &["a", "b", "c", "d", "e", "f"])?;
    send(&idempotent, &["g", "h"])?;
    send(&plain, &["b", "e"])?;
    send(&plain, &["g", "h", "f"])?;
    send(&plain, &["x", "y"])?;
    send(&plain, &["z"])?;
    let began = Instant::now();
    while read(kafka, TOPIC)?.lines().count() > 11 {
        if began.elapsed() > WAIT {
            return Err("the log was not compacted".into());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// The first fetch that leaves the second or a later batch cut off.
fn cut_off(kafka: &KafkaServer, out: &Path) -> Outcome<()> {
    let mut peer = Peer::connect(kafka.addr(1))?;
    let topic = "rdkafka-none";
    let id = topic_id(&mut peer, topic)?;
    for bytes_max in (500..8_000).step_by(100) {
        let (version, correlation, frame) =
            peer.fetch(None, true, bytes_max, &[ask(topic, id, bytes_max)])?;
        let mut reader = FrameReader::new(version, correlation, frame.len());
        let (mut whole, mut cut) = (0, false);
        loop {
            match reader.next(&frame)? {
                Some(FrameEvent::Batch(_)) => whole += 1,
                Some(FrameEvent::CutOff { .. }) => cut = true,
                Some(FrameEvent::End) | None => break,
                Some(_) => {}
            }
        }
        if whole == 2 && cut {
            fs::write(out.join(format!("cut-off.v{version}.bin")), &frame)?;
            let expected: String = read(kafka, topic)?
                .lines()
                .take(16)
                .map(|line| format!("{line}\n"))
                .collect();
            fs::write(out.join("cut-off.expected"), expected)?;
            return Ok(());
        }
    }
    Err("no fetch cut a batch off".into())
}

/// A session of three partitions in versions by name and by id: made, with nothing new, with records of
/// one, with one forgotten, and each error that ends it.
fn sessions(kafka: &KafkaServer, out: &Path) -> Outcome<()> {
    for version in [7, 12, 17] {
        let topic = format!("session-{version}");
        kafka.create_topic(&topic, 3, &[])?;
        let mut peer = Peer::connect(kafka.addr(1))?;
        let id = topic_id(&mut peer, &topic)?;
        let send = |partition: i32, count: i64| -> Outcome<()> {
            let producer = producer(kafka, &[])?;
            for number in 0..count {
                let value = format!("{partition} {number}");
                let record = BaseRecord::<str, str>::to(&topic).key("k");
                let record = record.partition(partition).payload(&value);
                let record = record.timestamp(FIRST_MS + number);
                producer.send(record).map_err(|(error, _)| error)?;
            }
            producer.flush(WAIT)?;
            Ok(())
        };
        let from = |partition, offset| ask_from(&topic, id, partition, offset, 1 << 20);
        let save = |name: &str, version: i16, frame: &[u8]| {
            fs::write(out.join(format!("session-{name}.v{version}.bin")), frame)
        };
        send(1, 3)?;
        let place = |id, epoch| SessionPlace { id, epoch };
        let all = [from(0, 0), from(1, 0), from(2, 0)];
        let (_, correlation, made) = peer.fetch_in(version, place(0, 0), &all, &[])?;
        let session = session_of(version, correlation, &made)?;
        save("made", version, &made)?;
        let (.., nothing) = peer.fetch_in(version, place(session, 1), &[from(1, 3)], &[])?;
        save("nothing", version, &nothing)?;
        send(2, 2)?;
        let (.., changed) = peer.fetch_in(version, place(session, 2), &[], &[])?;
        save("changed", version, &changed)?;
        let gone = Forgotten {
            topic: &topic,
            topic_id: id,
            partition: 0,
        };
        send(0, 1)?;
        let (.., forgot) = peer.fetch_in(version, place(session, 3), &[from(2, 2)], &[gone])?;
        save("forgotten", version, &forgot)?;
        let (.., epoch) = peer.fetch_in(version, place(session, 9), &[], &[])?;
        save("epoch", version, &epoch)?;
        if version == 17 {
            let (.., names) = peer.fetch_in(12, place(session, 4), &[from(2, 2)], &[])?;
            save("names", 12, &names)?;
        }
        let (.., unknown) = peer.fetch_in(version, place(session ^ 1, 4), &[], &[])?;
        save("unknown", version, &unknown)?;
        println!("{topic}");
    }
    Ok(())
}

fn session_of(version: i16, correlation: i32, frame: &[u8]) -> Outcome<i32> {
    let mut reader = FrameReader::new(version, correlation, frame.len());
    match reader.next(frame)? {
        Some(FrameEvent::Response(head)) if head.session_id > 0 => Ok(head.session_id),
        other => Err(format!("no session was made: {other:?}").into()),
    }
}

fn ask(topic: &str, topic_id: TopicId, bytes_max: i32) -> FetchPartition<'_> {
    ask_from(topic, topic_id, 0, 0, bytes_max)
}

fn ask_from(
    topic: &str,
    topic_id: TopicId,
    partition: i32,
    offset: i64,
    bytes_max: i32,
) -> FetchPartition<'_> {
    FetchPartition {
        topic,
        topic_id,
        partition,
        current_leader_epoch: -1,
        offset: Cursor(offset),
        last_fetched_epoch: -1,
        bytes_max,
    }
}

fn topic_id(peer: &mut Peer, topic: &str) -> Outcome<TopicId> {
    let metadata = peer.metadata(&[topic])?;
    Ok(metadata.topics.first().ok_or("no such topic")?.id)
}

fn save(
    kafka: &KafkaServer,
    out: &Path,
    topic: &str,
    versions: &[Option<i16>],
    read_committed: bool,
) -> Outcome<()> {
    let mut peer = Peer::connect(kafka.addr(1))?;
    let id = topic_id(&mut peer, topic)?;
    // A transaction's last marker is written after the commit returns: wait for it.
    let began = Instant::now();
    while !settled(&mut peer, topic, id)? {
        if began.elapsed() > WAIT {
            return Err("a transaction stays open".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut end = 0;
    for version in versions {
        let (version, correlation, frame) = peer.fetch(
            *version,
            read_committed,
            1 << 20,
            &[ask(topic, id, 1 << 20)],
        )?;
        end = end_of(version, correlation, &frame)?;
        fs::write(out.join(format!("{topic}.v{version}.bin")), frame)?;
    }
    // One fetch reads one segment: what lies in the next one is not in it.
    let expected: String = read(kafka, topic)?
        .lines()
        .filter(|line| {
            let offset = line.split('\t').next().and_then(|text| text.parse().ok());
            offset.is_some_and(|offset: i64| offset < end)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(out.join(format!("{topic}.expected")), expected)?;
    println!("{topic}");
    Ok(())
}

/// Whether no transaction is open.
fn settled(peer: &mut Peer, topic: &str, id: TopicId) -> Outcome<bool> {
    let (version, correlation, frame) = peer.fetch(None, true, 1 << 20, &[ask(topic, id, 1)])?;
    let mut reader = FrameReader::new(version, correlation, frame.len());
    while let Some(event) = reader.next(&frame)? {
        if let FrameEvent::Partition(head) = event {
            return Ok(head.high_watermark == head.last_stable_offset);
        }
    }
    Err("a response without a partition".into())
}

/// The offset after the last whole batch.
fn end_of(version: i16, correlation: i32, frame: &[u8]) -> Outcome<i64> {
    let mut reader = FrameReader::new(version, correlation, frame.len());
    let mut end = 0;
    loop {
        match reader.next(frame)?.ok_or("a response that is cut off")? {
            FrameEvent::Batch(batch) => end = batch.header.next_offset().0,
            FrameEvent::End => return Ok(end),
            _ => {}
        }
    }
}

/// What a read_committed librdkafka consumer sees, to the end.
fn read(kafka: &KafkaServer, topic: &str) -> Outcome<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", "capture")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&partitions)?;
    let mut text = String::new();
    loop {
        let message = match consumer.poll(WAIT).ok_or("no message and no end")? {
            Ok(message) => message,
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return Ok(text),
            Err(error) => return Err(error.into()),
        };
        writeln!(
            text,
            "{}\t{}\t{}\t{}",
            message.offset(),
            message.timestamp().to_millis().unwrap_or(-1),
            hex(message.key()),
            hex(message.payload()),
        )?;
    }
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(
        || "-".to_owned(),
        |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}
