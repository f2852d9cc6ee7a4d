//! Captures a real Kafka's answers to every question but Fetch, in every version that is spoken.
//!
//! `cargo run -p tests --example capture_answers -- engine/ingest/tests/captures/answers`: starts two
//! brokers, writes a topic and a group, saves each answer as `<name>.v<version>.bin`, the frame without
//! its length. What stands in them: `engine/ingest/tests/captures/PROVENANCE.md`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ingest::kafka::requests::{
    Api, AskEpochEnd, AskOffset, Asker, CommitOffset, MetadataTopics, OffsetSpec, RequestFault,
    Sent, decode_find_coordinator, decode_offset_commit, encode_api_versions, encode_epoch_ends,
    encode_find_coordinator, encode_list_offsets, encode_metadata, encode_offset_commit,
    encode_offset_fetch,
};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use storage::ids::Offset;
use tests::kafka_server::KafkaServer;
use tests::peer::Peer;

type Outcome<T> = Result<T, Box<dyn Error>>;

const WAIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "orders";
const GROUP: &str = "pinleaf-d-p";
/// 2026-01-02T03:04:05.678Z
const FIRST_MS: i64 = 1_767_323_045_678;

fn main() -> Outcome<()> {
    let out = std::env::args().nth(1).ok_or("where to write?")?;
    let out = Path::new(&out);
    fs::create_dir_all(out)?;
    let home = tempfile::tempdir()?;
    let kafka = KafkaServer::start(home.path(), 2, &[])?;
    kafka.create_topic(TOPIC, 4, &[])?;
    produce(&kafka)?;

    let mut peer = Peer::connect(kafka.addr(1))?;
    for version in [0, 3] {
        let ask = |out: &mut Vec<u8>, asker: &Asker<'_>| {
            encode_api_versions(out, version, asker.correlation_id, asker.client_id)
        };
        let (_, frame) = peer.ask(ask)?;
        fs::write(out.join(format!("api_versions.v{version}.bin")), frame)?;
    }
    let metadata = peer.metadata(&[TOPIC])?;
    let topic = metadata.topics.first().ok_or("no topic")?.clone();
    let led: Vec<i32> = topic
        .partitions
        .iter()
        .filter(|one| one.leader == 1)
        .map(|one| one.index)
        .collect();
    // Until both have the topic of groups and a coordinator is there.
    let coordinator = coordinator(&kafka)?;
    commit(&kafka, coordinator)?;

    every_version(&kafka, 1, out, "metadata", Api::Metadata, |out, asker| {
        encode_metadata(out, asker, MetadataTopics::Names(&[TOPIC, "nowhere"]))
    })?;
    for (name, spec) in [
        ("list_offsets-earliest", OffsetSpec::Earliest),
        ("list_offsets-latest", OffsetSpec::Latest),
        ("list_offsets-at_time", OffsetSpec::AtTime(FIRST_MS + 5)),
    ] {
        // The last one is led by the other broker.
        let asks: Vec<_> = (0..4)
            .map(|partition| AskOffset {
                topic: TOPIC,
                partition,
                current_leader_epoch: -1,
                spec,
            })
            .collect();
        every_version(&kafka, 1, out, name, Api::ListOffsets, |out, asker| {
            encode_list_offsets(out, asker, true, &asks)
        })?;
    }
    let asks: Vec<_> = led
        .iter()
        .map(|&partition| AskEpochEnd {
            topic: TOPIC,
            partition,
            current_leader_epoch: 0,
            leader_epoch: 0,
        })
        .collect();
    every_version(
        &kafka,
        1,
        out,
        "epoch_ends",
        Api::OffsetForLeaderEpoch,
        |out, asker| encode_epoch_ends(out, asker, &asks),
    )?;
    every_version(
        &kafka,
        1,
        out,
        "find_coordinator",
        Api::FindCoordinator,
        |out, asker| encode_find_coordinator(out, asker, GROUP),
    )?;
    every_version(
        &kafka,
        coordinator,
        out,
        "offset_commit",
        Api::OffsetCommit,
        |out, asker| encode_offset_commit(out, asker, GROUP, &OFFSETS),
    )?;
    every_version(
        &kafka,
        coordinator,
        out,
        "offset_fetch",
        Api::OffsetFetch,
        |out, asker| encode_offset_fetch(out, asker, GROUP, &[(TOPIC, 1), (TOPIC, 2)]),
    )?;
    Ok(())
}

const OFFSETS: [CommitOffset<'static>; 1] = [CommitOffset {
    topic: TOPIC,
    partition: 2,
    offset: Offset(9),
    leader_epoch: 0,
    metadata: "lineage 1",
}];

/// Partition p has 10 + p records, 1 ms apart.
fn produce(kafka: &KafkaServer) -> Outcome<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()?;
    for partition in 0..4 {
        for number in 0..10 + i64::from(partition) {
            let value = number.to_string();
            let record = BaseRecord::<str, str>::to(TOPIC)
                .partition(partition)
                .timestamp(FIRST_MS + number)
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
    }
    producer.flush(WAIT)?;
    Ok(())
}

fn coordinator(kafka: &KafkaServer) -> Outcome<usize> {
    let began = Instant::now();
    let mut peer = Peer::connect(kafka.addr(1))?;
    loop {
        let (sent, frame) = peer.ask(|out, asker| encode_find_coordinator(out, asker, GROUP))?;
        let found = decode_find_coordinator(&sent, &frame)?;
        if !found.error.is_error() {
            return Ok(usize::try_from(found.broker)?);
        }
        if began.elapsed() > WAIT {
            return Err("no coordinator".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn commit(kafka: &KafkaServer, coordinator: usize) -> Outcome<()> {
    let began = Instant::now();
    let mut peer = Peer::connect(kafka.addr(coordinator))?;
    loop {
        let (sent, frame) =
            peer.ask(|out, asker| encode_offset_commit(out, asker, GROUP, &OFFSETS))?;
        let done = decode_offset_commit(&sent, &frame)?;
        if done.iter().all(|one| !one.error.is_error()) {
            return Ok(());
        }
        if began.elapsed() > WAIT {
            return Err("the group takes no offsets".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn every_version(
    kafka: &KafkaServer,
    broker: usize,
    out: &Path,
    name: &str,
    api: Api,
    encode: impl Fn(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
) -> Outcome<()> {
    let (oldest, newest) = api.spoken();
    for version in oldest..=newest {
        let mut peer = Peer::connect(kafka.addr(broker))?;
        // What a broker no longer speaks is not there to be captured.
        if !peer.versions().speaks(api, version) {
            println!("{name}: the broker does not speak version {version}");
            continue;
        }
        peer.speak_only(api, version);
        let (_, frame) = peer.ask(&encode)?;
        fs::write(out.join(format!("{name}.v{version}.bin")), frame)?;
    }
    Ok(())
}
