//! A log read for AUDIT PIPELINE ... VERIFY: all of it, a response at a time, whatever the broker does.

use std::collections::VecDeque;

use ingest::audit::LogSays;
use ingest::audit::log::{Entries, Entry, walk};
use ingest::kafka::Decompressor;
use storage::ids::{Offset, TopicId};
use tokio::sync::mpsc;

use super::*;

struct Offsets(Vec<i64>);

impl Entries for Offsets {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), ingest::audit::Stopped> {
        self.0.push(entry.record.offset.0);
        Ok(())
    }

    fn holds(&mut self, _: u64) -> Result<(), ingest::audit::Stopped> {
        Ok(())
    }
}

/// What came, in words: offsets of a response, or what was said.
async fn said(node: &Node, range: std::ops::Range<i64>) -> Vec<String> {
    let (out, mut says) = mpsc::channel(1);
    node.aggregator
        .read_log(wanted(node, range.clone()), out)
        .await
        .unwrap();
    let mut all = Vec::new();
    let mut decompressor = Decompressor::default();
    let mut at = Offset(range.start);
    while let Some(message) = says.recv().await {
        all.push(match message {
            LogMessage::NoBroker(why) => format!("no broker: {why}"),
            LogMessage::Says(LogSays::Begins(start)) => {
                at = at.max(start);
                format!("begins {start}")
            }
            LogMessage::Says(LogSays::Response(response)) => {
                let mut found = Offsets(Vec::new());
                let to = Offset(range.end);
                at = walk(&response, at, to, &mut decompressor, &mut found).unwrap();
                format!("{:?}", found.0)
            }
            LogMessage::Says(LogSays::End) => "end".to_owned(),
            LogMessage::Says(LogSays::EndsAt(end)) => format!("ends at {end}"),
            LogMessage::Says(LogSays::Failed(why)) => format!("failed: {why}"),
        });
    }
    all
}

fn wanted(node: &Node, range: std::ops::Range<i64>) -> LogWanted {
    LogWanted {
        pipeline: node.aggregator.catalog().pipeline("d", "p").unwrap().id,
        kafka_partition: 0,
        topic_id: TopicId([1; 16]),
        from: Offset(range.start),
        to: Offset(range.end),
    }
}

/// A log of the offsets 10 to 14.
fn five(cluster: &Cluster) {
    cluster.log(0, |log| {
        log.start = 10;
        log.messages = (0..5).map(|id| format!("{{\"id\":{id}}}")).collect();
    });
}

#[tokio::test]
async fn a_log_is_given_whole_from_where_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    five(&cluster);
    for (range, expected) in [
        (4..15, vec!["begins 10", "[10, 11, 12, 13]", "[14]", "end"]),
        (11..13, vec!["begins 10", "[11, 12]", "end"]),
        // All of it went with retention.
        (4..10, vec!["begins 10", "end"]),
        // The log ends there, and stays so.
        (
            10..20,
            vec!["begins 10", "[10, 11, 12, 13]", "[14]", "ends at 15"],
        ),
    ] {
        assert_eq!(said(&node, range).await, expected);
    }
    // What lies behind the last record was compacted away.
    cluster.log(0, |log| log.compacted_end = 5);
    let expected = ["begins 10", "[10, 11, 12, 13]", "[14]", "end"];
    assert_eq!(said(&node, 10..20).await, expected);
    node.shut_down().await;
}

#[tokio::test]
async fn a_leader_that_moves_and_retention_that_overtakes_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    five(&cluster);
    cluster.state().refusals = VecDeque::from([6, 74, 0, 75, 0]);
    let expected = [
        "begins 10",
        "begins 10",
        "begins 10",
        "[10, 11, 12, 13]",
        "begins 10",
        "[14]",
        "end",
    ];
    assert_eq!(said(&node, 10..15).await, expected);
    {
        let mut state = cluster.state();
        state.earliest = VecDeque::from([2, 12]);
        state.refusals = VecDeque::from([1, 0]);
    }
    let expected = ["begins 2", "begins 12", "[12, 13, 14]", "end"];
    assert_eq!(said(&node, 2..15).await, expected);
    // Beyond the log, each time it is asked.
    let beyond = said(&node, 17..20).await;
    assert_eq!(beyond.last().map(String::as_str), Some("ends at 15"));
    // An error that stays is said, with its place.
    cluster.state().refusals = VecDeque::from([6; 20]);
    let moved = said(&node, 10..15).await;
    let last = moved.last().unwrap();
    assert!(
        last.starts_with("failed: offset 10: 127.0.0.1:")
            && last.ends_with("the broker answers NOT_LEADER_OR_FOLLOWER (6)"),
        "{last}"
    );
    cluster.state().refusals = VecDeque::from([29]);
    assert_eq!(
        said(&node, 10..15).await,
        [
            "begins 10",
            "failed: the broker answers TOPIC_AUTHORIZATION_FAILED (29)"
        ]
    );
    node.shut_down().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_and_by_whom() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    five(&cluster);
    let mut missing = wanted(&node, 10..15);
    missing.kafka_partition = 3;
    let (out, mut says) = mpsc::channel(1);
    node.aggregator.read_log(missing, out).await.unwrap();
    let Some(LogMessage::Says(LogSays::Failed(why))) = says.recv().await else {
        panic!("it is not there");
    };
    assert_eq!(
        why,
        "topic 'orders' has 1 partitions now, and no partition 3"
    );
    cluster.state().topic_id = [2; 16];
    assert_eq!(
        said(&node, 10..15).await,
        [format!(
            "failed: topic 'orders' was replaced: Kafka now gives that name the id {}",
            "02".repeat(16)
        )]
    );
    cluster.state().logs = None;
    assert_eq!(
        said(&node, 10..15).await,
        ["failed: there is no topic 'orders' now"]
    );
    drop(cluster);
    let none = said(&node, 10..15).await;
    assert!(
        none[0].starts_with("no broker: 127.0.0.1:") && none[0].contains("asking for the topic"),
        "{none:?}"
    );
    node.shut_down().await;
}

#[tokio::test]
async fn nothing_is_asked_for_before_there_is_room_and_nothing_when_nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    cluster.log(0, |log| log.messages = vec!["{}".to_owned(); 100]);
    let (out, mut says) = mpsc::channel(1);
    node.aggregator
        .read_log(wanted(&node, 0..100), out)
        .await
        .unwrap();
    let fetches = || cluster.state().asked.get(&1).copied().unwrap_or_default();
    assert!(says.recv().await.is_some(), "it begins");
    soon("one is asked for", || fetches() == 1).await;
    for taken in 1..5 {
        assert!(matches!(
            says.recv().await,
            Some(LogMessage::Says(LogSays::Response(_)))
        ));
        // The next one, and not the one behind it.
        soon("the next", || fetches() == taken + 1).await;
    }
    drop(says);
    // A question that is answered behind it: by then the reading has ended.
    said(&node, 0..2).await;
    assert_eq!(fetches(), 6, "its own");
    node.shut_down().await;
}
