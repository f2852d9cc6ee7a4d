//! A real Kafka's answers to every question but Fetch, in every version that is spoken: what is read is
//! what was asked for when they were captured, and the hostile ends of each are errors.
//!
//! How the files were made and what they hold: `captures/PROVENANCE.md`.

use std::fs;
use std::path::{Path, PathBuf};

use ingest::kafka::ErrorCode;
use ingest::kafka::requests::{
    Api, Sent, decode_api_versions, decode_epoch_ends, decode_find_coordinator,
    decode_list_offsets, decode_metadata, decode_offset_commit, decode_offset_fetch,
};
use storage::ids::{Offset, TopicId};

const TOPIC: &str = "orders";
const GROUP_COORDINATORS: [i32; 2] = [1, 2];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/answers")
}

/// The capture of that name in every version that is spoken, with what its question was.
fn each(name: &str, api: Api) -> impl Iterator<Item = (Sent, Vec<u8>)> {
    let (oldest, newest) = api.spoken();
    (oldest..=newest).map(move |version| {
        let path = folder().join(format!("{name}.v{version}.bin"));
        let frame = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let sent = Sent {
            api,
            version,
            correlation_id: i32::from_be_bytes(*frame.first_chunk().unwrap()),
        };
        (sent, frame)
    })
}

#[test]
fn metadata_names_brokers_topics_and_leaders() {
    let mut ids = Vec::new();
    for (sent, frame) in each("metadata", Api::Metadata) {
        let metadata = decode_metadata(&sent, &frame).unwrap();
        let mut brokers: Vec<_> = metadata.brokers.iter().map(|broker| broker.id).collect();
        brokers.sort_unstable();
        assert_eq!(brokers, [1, 2]);
        assert!(metadata.brokers.iter().all(|broker| broker.port > 0));
        assert!(metadata.cluster_id.is_some());
        let [topic, nowhere] = &metadata.topics[..] else {
            panic!("two topics: {:?}", metadata.topics);
        };
        assert_eq!(topic.name.as_deref(), Some(TOPIC));
        assert_eq!(topic.error, ErrorCode::None);
        assert_eq!(nowhere.error, ErrorCode::UnknownTopicOrPartition);
        assert!(nowhere.partitions.is_empty());
        let mut partitions = topic.partitions.clone();
        partitions.sort_unstable_by_key(|partition| partition.index);
        let indexes: Vec<_> = partitions.iter().map(|one| one.index).collect();
        assert_eq!(indexes, [0, 1, 2, 3]);
        let mut leaders: Vec<_> = partitions.iter().map(|one| one.leader).collect();
        leaders.sort_unstable();
        assert_eq!(leaders, [1, 1, 2, 2]);
        let epoch = if sent.version >= 7 { 0 } else { -1 };
        assert!(partitions.iter().all(|one| one.leader_epoch == epoch));
        assert_eq!(topic.id != TopicId::default(), sent.version >= 10);
        if sent.version >= 10 {
            ids.push(topic.id);
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same id each time");
}

#[test]
fn offsets_are_those_of_the_log() {
    // Partition p has 10 + p records, 1 ms apart; half of them another broker leads.
    type OfPartition = fn(i64) -> i64;
    let expected: [(&str, OfPartition); 3] = [
        ("list_offsets-earliest", |_| 0),
        ("list_offsets-latest", |partition| 10 + partition),
        ("list_offsets-at_time", |_| 5),
    ];
    for (name, expected) in expected {
        for (sent, frame) in each(name, Api::ListOffsets) {
            let listed = decode_list_offsets(&sent, &frame).unwrap();
            assert_eq!(listed.len(), 4);
            let mut led = 0;
            for one in &listed {
                assert_eq!(&*one.topic, TOPIC);
                if one.error == ErrorCode::NotLeaderOrFollower {
                    continue;
                }
                led += 1;
                assert_eq!(one.error, ErrorCode::None, "{name} {}", sent.version);
                assert_eq!(one.offset, expected(one.partition.into()), "{name}");
                if sent.version < 4 {
                    assert_eq!(one.leader_epoch, -1);
                }
            }
            assert_eq!(led, 2, "{name} v{}", sent.version);
        }
    }
    for (sent, frame) in each("epoch_ends", Api::OffsetForLeaderEpoch) {
        let ends = decode_epoch_ends(&sent, &frame).unwrap();
        assert_eq!(ends.len(), 2);
        for end in ends {
            assert_eq!((&*end.topic, end.error), (TOPIC, ErrorCode::None));
            assert_eq!(end.end_offset, Offset(10 + i64::from(end.partition)));
            assert_eq!(end.leader_epoch, 0);
        }
    }
}

#[test]
fn a_groups_offsets_are_where_they_were_published() {
    for (sent, frame) in each("find_coordinator", Api::FindCoordinator) {
        let found = decode_find_coordinator(&sent, &frame).unwrap();
        assert_eq!(found.error, ErrorCode::None);
        assert!(GROUP_COORDINATORS.contains(&found.broker) && found.port > 0);
    }
    for (sent, frame) in each("offset_commit", Api::OffsetCommit) {
        let done = decode_offset_commit(&sent, &frame).unwrap();
        let [one] = &done[..] else {
            panic!("{done:?}");
        };
        assert_eq!(
            (&*one.topic, one.partition, one.error),
            (TOPIC, 2, ErrorCode::None)
        );
    }
    for (sent, frame) in each("offset_fetch", Api::OffsetFetch) {
        let fetched = decode_offset_fetch(&sent, &frame).unwrap();
        assert_eq!(fetched.error, ErrorCode::None);
        let mut partitions = fetched.partitions;
        partitions.sort_unstable_by_key(|one| one.partition);
        let offsets: Vec<_> = partitions.iter().map(|one| one.offset).collect();
        assert_eq!(offsets, [None, Some(Offset(9))]);
        assert_eq!(partitions[1].metadata, "lineage 1");
    }
}

#[test]
fn versions_are_those_of_kafka_4_3_1() {
    for version in [0, 3] {
        let frame = fs::read(folder().join(format!("api_versions.v{version}.bin"))).unwrap();
        let sent = Sent {
            api: Api::ApiVersions,
            version,
            correlation_id: i32::from_be_bytes(*frame.first_chunk().unwrap()),
        };
        let versions = decode_api_versions(&sent, &frame).unwrap().unwrap();
        for api in Api::ALL {
            assert_eq!(versions.get(api), Ok(api.spoken().1), "{}", api.name());
        }
        assert!(versions.speaks(Api::Fetch, 18) && !versions.speaks(Api::Fetch, 3));
    }
}

#[test]
fn an_answer_that_is_cut_off_is_an_error_and_none_panics() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let frame = fs::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (question, version) = name.rsplit_once(".v").unwrap();
        let question = question.split('-').next().unwrap();
        let decode: fn(&Sent, &[u8]) -> bool = match question {
            "api_versions" => |sent, frame| decode_api_versions(sent, frame).is_ok(),
            "epoch_ends" => |sent, frame| decode_epoch_ends(sent, frame).is_ok(),
            "find_coordinator" => |sent, frame| decode_find_coordinator(sent, frame).is_ok(),
            "list_offsets" => |sent, frame| decode_list_offsets(sent, frame).is_ok(),
            "metadata" => |sent, frame| decode_metadata(sent, frame).is_ok(),
            "offset_commit" => |sent, frame| decode_offset_commit(sent, frame).is_ok(),
            "offset_fetch" => |sent, frame| decode_offset_fetch(sent, frame).is_ok(),
            other => panic!("no question {other}"),
        };
        let api = match question {
            "api_versions" => Api::ApiVersions,
            "epoch_ends" => Api::OffsetForLeaderEpoch,
            "find_coordinator" => Api::FindCoordinator,
            "list_offsets" => Api::ListOffsets,
            "metadata" => Api::Metadata,
            "offset_commit" => Api::OffsetCommit,
            _ => Api::OffsetFetch,
        };
        let sent = Sent {
            api,
            version: version.parse().unwrap(),
            correlation_id: i32::from_be_bytes(*frame.first_chunk().unwrap()),
        };
        assert!(decode(&sent, &frame), "{name}");
        // Fields at the end that nobody reads may be missing: the features of ApiVersions are many.
        let whole = (0..frame.len()).filter(|end| decode(&sent, &frame[..*end]));
        let unread = if question == "api_versions" { 256 } else { 8 };
        assert!(whole.count() <= unread, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 2 + 9 + 3 * 7 + 3 + 4 + 8 + 7);
}
