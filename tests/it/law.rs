//! The law of exactly once, as each test of it ends: what SQL has is what an independent client reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::audit::ok_rows;
use crate::node::Node;
use crate::rows::{Rows, order};

/// From the last acknowledgement until every row is visible, on a busy machine.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A topic of order events, and the pipeline of its name in database shop that loads it into the table
/// of its name.
pub struct Loaded<'a> {
    /// Addresses of the brokers.
    pub bootstrap: &'a str,
    /// The topic, the pipeline and the table.
    pub name: &'a str,
    /// Of the topic.
    pub partitions: i32,
}

impl Loaded<'_> {
    /// What must be there, by librdkafka as a reader of committed messages.
    pub fn model(&self) -> Rows {
        Rows::of_kafka(self.bootstrap, self.name, self.partitions, order)
    }

    /// Until as many rows are visible as the model has and nothing lags.
    pub fn wait_for(&self, node: &Node, model: &Rows) {
        let count = model.len().to_string();
        let rows = format!("SELECT COUNT(*) FROM shop.{}", self.name);
        let lag = format!(
            "SELECT SUM(LAG_RECORDS) FROM information_schema.PIPELINES_PARTITIONS \
             WHERE PIPELINE_NAME = '{}'",
            self.name
        );
        node.wait_for("every row is visible", VISIBLE_TIMEOUT, |node| {
            node.cell(&rows) == count && node.cell(&lag) == "0"
        });
    }

    /// Every row of the topic is in the table once and no other is, before a stop and after the start
    /// behind it; and AUDIT finds nothing wrong.
    pub fn holds(&self, node: &mut Node) -> usize {
        let model = self.model();
        self.holds_for(node, &model);
        model.len()
    }

    /// The same for a model that was read before, of a topic that has lost messages since.
    pub fn holds_for(&self, node: &mut Node, model: &Rows) {
        let table = format!("shop.{}", self.name);
        self.wait_for(node, model);
        Rows::of_sql(node, &table).assert_is(model);
        node.stop();
        node.start();
        Rows::of_sql(node, &table).assert_is(model);
        assert_eq!(ok_rows(node, &table), model.len());
    }
}

/// What PIPELINES_PARTITIONS says of a leaf partition.
#[derive(Clone, Debug)]
pub struct Stands {
    pub leader: String,
    pub state: String,
    pub visible: i64,
}

/// A pipeline's leaf partitions, by the Kafka partition.
pub fn stands(node: &Node, pipeline: &str) -> BTreeMap<String, Stands> {
    let rows = node.sql(&format!(
        "SELECT SOURCE_PARTITION_ID, LEADER_BROKER, STATE, VISIBLE_OFFSET \
         FROM information_schema.PIPELINES_PARTITIONS WHERE PIPELINE_NAME = '{pipeline}'"
    ));
    rows.into_iter()
        .map(|mut row| {
            let stands = Stands {
                visible: row[3].parse().unwrap(),
                state: row.remove(2),
                leader: row.remove(1),
            };
            (row.remove(0), stands)
        })
        .collect()
}

/// Until the visible cursor of each leaf partition has moved from where it is now; answers how long that
/// took, which is at most `within`, and prints the states that were seen.
pub fn goes_on(node: &Node, pipeline: &str, what: &str, within: Duration) -> Duration {
    let before = stands(node, pipeline);
    let mut seen = BTreeSet::new();
    let began = Instant::now();
    node.wait_for(what, within, |node| {
        let now = stands(node, pipeline);
        seen.extend(now.values().map(|one| one.state.clone()));
        before
            .iter()
            .all(|(partition, then)| now[partition].visible > then.visible)
    });
    let took = began.elapsed();
    println!("{what}: goes on after {took:?}: {seen:?}");
    took
}
