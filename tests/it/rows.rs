//! What must be in a table of order events, twice: as an independent client reads the topic
//! (librdkafka, read_committed, serde_json), and as SQL answers.
//!
//! Each is the multiset of (partition, offset, SHA-256 of the row's text).

use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::node::Node;

/// A fetch of a busy broker.
const POLL: Duration = Duration::from_secs(60);
/// How many differences a report names.
const DIFFERENCES_SHOWN: usize = 10;
/// The columns of an order, in the table's order.
const COLUMNS: &str = "id, user_id, symbol, side, price, quantity, note, created_at";

/// One row: Kafka partition, offset, SHA-256 of its canonical text.
type Row = (i32, i64, [u8; 32]);

/// Rows by partition and offset.
pub struct Rows(Vec<Row>);

impl Rows {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// With these as well.
    pub fn and(mut self, more: Rows) -> Rows {
        self.0.extend(more.0);
        self.0.sort_unstable();
        self
    }

    /// Without the rows of these offsets of a partition.
    pub fn without(mut self, partition: i32, offsets: Range<i64>) -> Rows {
        self.0
            .retain(|row| row.0 != partition || !offsets.contains(&row.1));
        self
    }

    /// All that a read_committed consumer finds, up to the ends that the partitions have now; each
    /// message through `row`, which says what the table must have of it.
    pub fn of_kafka(
        bootstrap: &str,
        topic: &str,
        partitions: i32,
        row: impl Fn(&[u8]) -> Option<String>,
    ) -> Rows {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "model")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .create()
            .unwrap();
        let mut assigned = TopicPartitionList::new();
        for partition in 0..partitions {
            assigned
                .add_partition_offset(topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&assigned).unwrap();
        let mut rows = Vec::new();
        let mut ended = vec![false; usize::try_from(partitions).unwrap()];
        while ended.contains(&false) {
            match consumer.poll(POLL).expect("a message or an end") {
                Ok(message) => {
                    if let Some(text) = row(message.payload().unwrap()) {
                        rows.push((message.partition(), message.offset(), hash(&text)));
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    ended[usize::try_from(partition).unwrap()] = true;
                }
                // One of the brokers is down; another has the partition.
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        rows.sort_unstable();
        Rows(rows)
    }

    /// All that SQL finds in a table of orders.
    pub fn of_sql(node: &Node, table: &str) -> Rows {
        let mut rows = Vec::new();
        let sql = format!("SELECT _partition, _offset, {COLUMNS} FROM {table}");
        node.each_row(&sql, |cells| {
            let [partition, offset, columns @ ..] = cells.as_slice() else {
                panic!("{cells:?}");
            };
            let text = columns.join("\t");
            rows.push((
                partition.parse().unwrap(),
                offset.parse().unwrap(),
                hash(&text),
            ));
        })
        .unwrap_or_else(|error| panic!("{sql}\n{error}\n{}", node.log()));
        rows.sort_unstable();
        Rows(rows)
    }

    /// Panics on the first differences, in words.
    pub fn assert_is(&self, model: &Rows) {
        let differences = self.differences(model);
        assert!(
            differences.is_empty(),
            "{} rows, of which the model has {}:\n{differences}",
            self.len(),
            model.len()
        );
    }

    /// In what SQL's rows differ from the model's; empty where they do not.
    fn differences(&self, model: &Rows) -> String {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), model.0.iter().peekable());
        let mut said = String::new();
        let mut shown = 0;
        while shown < DIFFERENCES_SHOWN {
            let place = |row: &Row| (row.0, row.1);
            let (what, at) = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(one), Some(two)) if one == two => {
                    ours.next();
                    theirs.next();
                    continue;
                }
                (Some(one), Some(two)) if place(one) == place(two) => {
                    let at = place(one);
                    ours.next();
                    theirs.next();
                    ("other values", at)
                }
                (Some(one), two) if two.is_none_or(|two| place(one) < place(two)) => {
                    let at = place(one);
                    ours.next();
                    ("a row too many", at)
                }
                (_, two) => {
                    let at = place(two.unwrap());
                    theirs.next();
                    ("no row", at)
                }
            };
            let _ = writeln!(said, "partition {}, offset {}: {what}", at.0, at.1);
            shown += 1;
        }
        said
    }
}

/// The row that an order event must become, as the client prints it.
pub fn order(message: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(message).unwrap();
    let number = |key: &str| event[key].as_i64().unwrap();
    let text = |key: &str| event[key].as_str().unwrap();
    let time = text("created_at").replace('T', " ");
    Some(format!(
        "{}\t{}\t{}\t{}\t{:.2}\t{}\t{}\t{}",
        number("id"),
        number("user_id"),
        text("symbol"),
        text("side"),
        event["price"].as_f64().unwrap(),
        number("quantity"),
        text("note"),
        time.strip_suffix('Z').unwrap(),
    ))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[test]
fn a_difference_is_named_by_its_place() {
    let row = |partition, offset, text| (partition, offset, hash(text));
    let model = Rows(vec![
        row(0, 1, "a"),
        row(0, 2, "b"),
        row(1, 1, "c"),
        row(1, 7, "d"),
    ]);
    assert_eq!(model.differences(&model), "");
    let found = Rows(vec![
        row(0, 1, "a"),
        row(0, 1, "a"),
        row(0, 2, "x"),
        row(1, 7, "d"),
        row(1, 8, "e"),
    ]);
    assert_eq!(
        found.differences(&model),
        "partition 0, offset 1: a row too many\npartition 0, offset 2: other values\n\
         partition 1, offset 1: no row\npartition 1, offset 8: a row too many\n"
    );
}
