//! Messages for a node from the embedded development broker: no Kafka to install.

use std::path::Path;
use std::time::Duration;

use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig};
use tokio::runtime::Runtime;

use crate::node::Node;

/// A batch is sent when it holds so many bytes.
const BATCH_BYTES: usize = 512 << 10;
/// Until what was produced is visible; a busy machine may take longer.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// A running development broker.
pub struct Feed {
    runtime: Runtime,
    broker: DevBroker,
}

impl Feed {
    /// Keeps its log below `dir`; each topic has one partition.
    pub fn start(dir: &Path, topics: &[&str]) -> Feed {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let config = DevBrokerConfig {
            dir: dir.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            topics: topics.iter().map(|topic| ((*topic).into(), 1)).collect(),
        };
        let broker = runtime.block_on(DevBroker::start(config)).unwrap();
        Feed { runtime, broker }
    }

    /// Produces to a topic.
    pub fn produce(&self, topic: &str, messages: impl IntoIterator<Item = String>) {
        self.runtime.block_on(async {
            let addr = self.broker.addr();
            let mut producer = Producer::connect(addr, "feed", topic).await.unwrap();
            let mut batches = [Batch::new(0)];
            for message in messages {
                batches[0].records.push(0, None, Some(message.as_bytes()));
                if batches[0].records.records_bytes() >= BATCH_BYTES {
                    producer.send(&batches).await.unwrap();
                    batches[0].records.restart(0);
                }
            }
            producer.send(&batches).await.unwrap();
        });
    }

    /// Makes and starts a pipeline of a topic's name into the table of that name, in database shop.
    pub fn load(&self, node: &Node, topic: &str, settings: &str) {
        node.sql(&format!(
            "CREATE PIPELINE shop.{topic} AS LOAD DATA KAFKA '{}/{topic}' {settings} INTO TABLE shop.{topic} \
             FORMAT JSON",
            self.broker.addr()
        ));
        node.sql(&format!("START PIPELINE shop.{topic}"));
    }
}

/// Until a table of database shop has so many rows.
pub fn wait_for_rows(node: &Node, table: &str, rows: usize) {
    let rows = rows.to_string();
    node.wait_for("the rows are visible", LOAD_TIMEOUT, |node| {
        node.cell(&format!("SELECT COUNT(*) FROM shop.{table}")) == rows
    });
}
