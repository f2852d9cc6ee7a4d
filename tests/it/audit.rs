//! AUDIT PIPELINE ... VERIFY over a node, beside what librdkafka counts in the same log.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::node::Node;

/// A fetch of a busy broker.
const POLL: Duration = Duration::from_secs(60);

/// What a topic holds, by an independent client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Offsets in all: each partition from its first to its end.
    pub offsets: u64,
    /// Messages that a read_committed consumer sees.
    pub committed: u64,
    /// Messages of aborted transactions.
    pub aborted: u64,
    /// Markers: what is neither, in a topic that nothing was compacted of.
    pub control: u64,
}

impl Counted {
    /// Counts up to the ends that the partitions have now.
    pub fn of_kafka(bootstrap: &str, topic: &str, partitions: i32) -> Counted {
        let committed = messages(bootstrap, topic, partitions, "read_committed");
        let all = messages(bootstrap, topic, partitions, "read_uncommitted");
        let consumer = consumer(bootstrap, "read_uncommitted");
        let offsets = (0..partitions).map(|partition| {
            let (low, high) = consumer.fetch_watermarks(topic, partition, POLL).unwrap();
            u64::try_from(high - low).unwrap()
        });
        let offsets = offsets.sum();
        Counted {
            offsets,
            committed,
            aborted: all - committed,
            control: offsets - all,
        }
    }
}

fn consumer(bootstrap: &str, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "auditor")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .create()
        .unwrap()
}

fn messages(bootstrap: &str, topic: &str, partitions: i32, isolation: &str) -> u64 {
    let consumer = consumer(bootstrap, isolation);
    let mut assigned = TopicPartitionList::new();
    for partition in 0..partitions {
        assigned
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let mut ended = vec![false; usize::try_from(partitions).unwrap()];
    let mut found = 0;
    while ended.contains(&false) {
        match consumer.poll(POLL).expect("a message or an end") {
            Ok(_) => found += 1,
            Err(KafkaError::PartitionEOF(partition)) => {
                ended[usize::try_from(partition).unwrap()] = true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    found
}

/// An audit's answer, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub ranges: u64,
    pub rows: u64,
    pub loaded: u64,
    pub rejected: u64,
    pub control: u64,
    pub aborted: u64,
    /// The other four classes.
    pub others: u64,
    pub checked: u64,
}

/// Verifies a pipeline: every range is ok, the ranges of each partition's last lineage go on from one
/// another, and all of it was compared.
pub fn verified(node: &Node, pipeline: &str) -> Audited {
    let rows = node.sql(&format!("AUDIT PIPELINE {pipeline} VERIFY"));
    let mut sums = Audited::default();
    let mut last: Option<(&str, &str, i64)> = None;
    for row in &rows {
        let number = |at: usize| -> u64 {
            let cell = row[at].as_str();
            if cell == "NULL" {
                0
            } else {
                cell.parse().unwrap()
            }
        };
        assert_eq!(row[17], "ok", "{row:?}\n{rows:#?}");
        let (first, next): (i64, i64) = (row[3].parse().unwrap(), row[4].parse().unwrap());
        if let Some((partition, lineage, end)) = last
            && (partition, lineage) == (&row[0], &row[2])
        {
            assert_eq!(end, first, "{rows:#?}");
        }
        last = Some((&row[0], &row[2], next));
        assert_eq!(i64::try_from(number(16)).unwrap(), next - first, "{row:?}");
        sums.ranges += 1;
        sums.rows += number(6);
        sums.loaded += number(7);
        sums.rejected += number(8);
        sums.control += number(11);
        sums.aborted += number(12);
        sums.others += number(9) + number(10) + number(13) + number(14);
        sums.checked += number(16);
    }
    sums
}

/// Verifies what a pipeline loaded of topics that may have lost messages since, or are others by now: every range is
/// ok. How many rows there are.
pub fn ok_rows(node: &Node, pipeline: &str) -> usize {
    let rows = node.sql(&format!("AUDIT PIPELINE {pipeline} VERIFY"));
    let is_ok = |row: &Vec<String>| row[17] == "ok" || row[17].starts_with("ok, ");
    assert!(rows.iter().all(is_ok), "{rows:#?}");
    rows.iter()
        .map(|row| row[6].parse::<usize>().unwrap())
        .sum()
}

/// Verifies a stopped pipeline that has loaded all that its topic holds, each message a row: its sums are
/// librdkafka's.
pub fn is_all_of(node: &Node, pipeline: &str, counted: Counted) -> Audited {
    let sums = verified(node, pipeline);
    let expected = Audited {
        ranges: sums.ranges,
        rows: counted.committed,
        loaded: counted.committed,
        rejected: 0,
        control: counted.control,
        aborted: counted.aborted,
        others: 0,
        checked: counted.offsets,
    };
    assert_eq!(sums, expected, "{counted:?}");
    // Without VERIFY the same is said, and nothing is compared.
    for row in node.sql(&format!("AUDIT PIPELINE {pipeline}")) {
        assert_eq!(
            (row[16].as_str(), row[17].as_str()),
            ("NULL", "ok"),
            "{row:?}"
        );
    }
    sums
}
