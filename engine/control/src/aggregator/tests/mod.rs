//! The aggregator whole: a real catalog, a scripted Kafka over loopback, leaves of a few lines.

mod audit;
pub(crate) mod broker;
mod ending;
mod foreground;
mod full;
mod leaves;
mod replaced;
mod surplus;
mod whole;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use ingest::leaf::order::Report;
use ingest::pipeline::{JsonMapping, MappedColumn, Path as JsonPath, SkipErrors, SqlType};

use super::*;
use crate::catalog::{
    Catalog, ColumnDef, EngineVariables, FIRST_NODE, PipelineSpec, PipelineState, TableSpec,
};
use broker::Cluster;
use leaves::{Disk, FakeLeaf};

struct RealTime(Instant);

impl Clock for RealTime {
    fn now_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    fn unix_ms(&self) -> i64 {
        1_700_000_000_000 + self.0.elapsed().as_millis() as i64
    }
}

struct Node {
    aggregator: Aggregator,
    leaves: Vec<FakeLeaf>,
    end: End,
}

impl Node {
    async fn start(directory: &Path, disk: &Disk) -> Node {
        let node = Node::begin(directory, disk, Arc::new(RealTime(Instant::now())), |_| {}).await;
        node.aggregator.attached().await.unwrap();
        node
    }

    /// Leaves were told, and nobody has waited for them; `first` is told of each before.
    async fn begin(
        directory: &Path,
        disk: &Disk,
        clock: Arc<dyn Clock>,
        first: impl Fn(&FakeLeaf),
    ) -> Node {
        let (leaves, links): (Vec<FakeLeaf>, _) =
            (0..2).map(|_| FakeLeaf::start(disk.clone())).unzip();
        leaves.iter().for_each(first);
        let (aggregator, end) = Aggregator::start(
            AggregatorConfig {
                data_dir: directory.to_owned(),
                node: FIRST_NODE,
                variables: EngineVariables::default(),
            },
            Catalog::open(&directory.join("catalog.db")).unwrap(),
            links,
            clock,
        )
        .await
        .unwrap();
        Node {
            aggregator,
            leaves,
            end,
        }
    }

    async fn shut_down(self) {
        assert_eq!(self.aggregator.shutdown().await.unwrap(), Drained::All);
        assert!(matches!(self.end.await, Ok(Ended::Shutdown)));
    }

    fn state(&self) -> (&'static str, Option<String>) {
        let view = self.aggregator.catalog();
        let pipeline = view.pipeline("d", "p").unwrap();
        let failure = pipeline.failure.as_ref().map(ToString::to_string);
        (self.aggregator.live().state(pipeline), failure)
    }

    /// Kafka partition to (leaf partition, lineage, live lineage, start offset).
    fn pairings(&self) -> BTreeMap<i32, (u64, u64, u64, i64)> {
        self.aggregator
            .catalog()
            .pairings()
            .map(|p| {
                let row = (
                    p.leaf_partition.0,
                    p.lineage.0,
                    p.live_lineage.0,
                    p.start_offset.0,
                );
                (p.kafka_partition, row)
            })
            .collect()
    }

    async fn say_durable(&self, kafka_partition: i32, offset: i64) {
        let (leaf_partition, lineage, ..) = self.pairings()[&kafka_partition];
        self.leaves[0]
            .say(Report::Durable {
                leaf_partition,
                lineage,
                offset,
                leader_epoch: 0,
            })
            .await;
    }
}

/// Looks again until it is so; ten seconds are for ever.
async fn soon(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn name(of: &str) -> Name {
    Name::new("d", of)
}

fn table() -> CreateTable {
    let column = |name: &str, sql_type| ColumnDef {
        name: name.into(),
        sql_type,
        nullable: false,
        default: None,
        comment: String::new(),
    };
    CreateTable {
        name: name("t"),
        if_not_exists: false,
        spec: TableSpec {
            columns: vec![
                column("id", SqlType::BigInt { unsigned: false }),
                column("word", SqlType::Text),
            ],
            ..TableSpec::default()
        },
    }
}

fn pipeline(brokers: Vec<String>) -> CreatePipeline {
    let mapped = |name: &str, sql_type| MappedColumn {
        name: name.into(),
        sql_type,
        nullable: false,
        path: Some(JsonPath(vec![name.into()])),
        default: None,
    };
    CreatePipeline {
        name: name("p"),
        or_replace: false,
        if_not_exists: false,
        table: name("t"),
        spec: PipelineSpec {
            brokers,
            topic: "orders".into(),
            config: BTreeMap::from([
                ("topic.metadata.refresh.interval.ms".into(), "100".into()),
                ("operation.timeout.ms".into(), "2000".into()),
            ]),
            batch_interval_ms: None,
            max_partitions_per_batch: None,
            max_retries_per_batch_partition: None,
            max_offsets_per_batch_partition: None,
            retry_options: None,
            skip_errors: SkipErrors::Parser,
            stop_on_error: None,
            mapping: JsonMapping {
                columns: vec![
                    mapped("id", SqlType::BigInt { unsigned: false }),
                    mapped("word", SqlType::Text),
                ],
            },
            mapping_written: false,
        },
    }
}

fn start() -> StartPipeline {
    StartPipeline {
        name: name("p"),
        if_not_running: false,
        foreground: None,
    }
}

async fn made(node: &Node, cluster: &Cluster) {
    let aggregator = &node.aggregator;
    aggregator.create_database("d", false).await.unwrap();
    aggregator.create_table(table()).await.unwrap();
    aggregator
        .create_pipeline(pipeline(cluster.servers()))
        .await
        .unwrap();
}

async fn error<T: std::fmt::Debug>(of: impl Future<Output = Result<T, AggregatorError>>) -> String {
    of.await.expect_err("refused").to_string()
}

#[tokio::test]
async fn a_pipelines_life() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(2, 4).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    assert_eq!(node.state(), ("Stopped", None));

    aggregator.start_pipeline(start()).await.unwrap();
    assert_eq!(node.state().0, "Running");
    for leaf in &node.leaves {
        soon("two runs and both brokers on each leaf", || {
            let orders = leaf.orders();
            let of = |word: &str| orders.iter().filter(|o| o.starts_with(word)).count();
            let draws = |broker: &str| {
                orders
                    .iter()
                    .any(|o| o.starts_with("leader") && o.ends_with(broker))
            };
            of("attach") == 2 && of("run") == 2 && draws(" 1") && draws(" 2")
        })
        .await;
    }
    assert_eq!(node.pairings().len(), 4);
    let (leaf_partition, ..) = node.pairings()[&0];
    let table_id = aggregator.catalog().table("d", "t").unwrap().id;
    let tables = directory.path().join("tables");
    assert!(tables.join(format!("{table_id}/{leaf_partition}")).is_dir());

    for (text, refused) in [
        (
            "already running",
            error(aggregator.start_pipeline(start())).await,
        ),
        (
            "DROP PIPELINE it first",
            error(aggregator.drop_tables(vec![name("t")], false)).await,
        ),
        (
            "STOP PIPELINE it first",
            error(aggregator.drop_database("d", false)).await,
        ),
        (
            "STOP PIPELINE it first, then TEST it",
            error(aggregator.test_pipeline(name("p"), None)).await,
        ),
        (
            "Table 't' already exists",
            error(aggregator.create_table(table())).await,
        ),
        (
            "Pipeline 'd.x' doesn't exist",
            error(aggregator.stop_pipeline(name("x"), false)).await,
        ),
        (
            "Unknown database 'x'",
            error(aggregator.drop_database("x", false)).await,
        ),
        (
            "no source partition 9",
            error(aggregator.alter_offsets(name("p"), OffsetsTo::Listed(BTreeMap::from([(9, 1)]))))
                .await,
        ),
    ] {
        assert!(refused.contains(text), "{refused}");
    }

    let stopped = aggregator.stop_pipeline(name("p"), false).await;
    assert_eq!(stopped.unwrap(), Changed::Yes);
    assert!(
        error(aggregator.stop_pipeline(name("p"), false))
            .await
            .contains("not running")
    );

    aggregator.truncate_table(name("t")).await.unwrap();
    assert!(
        node.pairings()
            .values()
            .all(|p| (p.1, p.2, p.3) == (2, 2, 0))
    );

    let foreground = StartPipeline {
        foreground: Some(Foreground { batches: Some(1) }),
        ..start()
    };
    let started = aggregator.start_pipeline(foreground).await.unwrap();
    assert_eq!((started.rows, started.rejects), (40, 4));
    assert_eq!(node.state(), ("Stopped", None));

    aggregator.drop_pipeline(name("p"), false).await.unwrap();
    assert_eq!(node.pairings().len(), 4, "the rows stay");
    aggregator
        .drop_tables(vec![name("t")], false)
        .await
        .unwrap();
    assert_eq!(node.pairings().len(), 0);
    assert!(!tables.join(table_id.to_string()).exists());
    aggregator.drop_database("d", false).await.unwrap();
    node.shut_down().await;
}

/// DROP DATABASE once took such a table away under its pipeline, and the node never started again.
#[tokio::test]
async fn a_table_that_another_databases_pipeline_loads_stays() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let node = Node::start(directory.path(), &Disk::default()).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    aggregator.create_database("e", false).await.unwrap();
    let elsewhere = CreatePipeline {
        name: Name::new("e", "q"),
        ..pipeline(cluster.servers())
    };
    aggregator.create_pipeline(elsewhere).await.unwrap();
    aggregator.drop_pipeline(name("p"), false).await.unwrap();

    let said = error(aggregator.drop_database("d", false)).await;
    assert!(said.contains("is loaded by pipeline 'q'"), "{said}");
    assert!(aggregator.catalog().table("d", "t").is_some());
    aggregator
        .drop_pipeline(Name::new("e", "q"), false)
        .await
        .unwrap();
    aggregator.drop_database("d", false).await.unwrap();
    node.shut_down().await;
}

#[tokio::test]
async fn no_more_pipelines_start_at_once_than_may_run() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let node = Node::start(directory.path(), &Disk::default()).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    let second = CreatePipeline {
        name: name("q"),
        ..pipeline(cluster.servers())
    };
    aggregator.create_pipeline(second).await.unwrap();
    aggregator
        .set_global("pipelines_max_concurrent", Some("1"))
        .await
        .unwrap();
    let other = StartPipeline {
        name: name("q"),
        ..start()
    };
    let (one, two) = tokio::join!(
        aggregator.start_pipeline(start()),
        aggregator.start_pipeline(other)
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    node.shut_down().await;
}

#[tokio::test]
async fn several_tables_are_dropped_all_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let node = Node::start(directory.path(), &Disk::default()).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    let other = CreateTable {
        name: name("a"),
        ..table()
    };
    aggregator.create_table(other).await.unwrap();
    let both = vec![name("a"), name("t")];
    let said = error(aggregator.drop_tables(both.clone(), false)).await;
    assert!(said.contains("is loaded by pipeline 'p'"), "{said}");
    assert!(aggregator.catalog().table("d", "a").is_some());

    aggregator.drop_pipeline(name("p"), false).await.unwrap();
    let missing = aggregator
        .drop_tables([both, vec![name("x")]].concat(), true)
        .await
        .unwrap();
    assert_eq!(missing, [name("x")]);
    assert!(aggregator.catalog().table("d", "a").is_none());
    node.shut_down().await;
}

#[tokio::test]
async fn set_offsets_on_one_partition_and_a_crash_before_the_leaf_took_it() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let listed = |index, offset| OffsetsTo::Listed(BTreeMap::from([(index, offset)]));
    node.aggregator
        .alter_offsets(name("p"), listed(1, 7))
        .await
        .unwrap();
    let pairings = node.pairings();
    assert_eq!(
        (pairings[&0].1, pairings[&0].3),
        (1, 0),
        "only what is listed"
    );
    assert_eq!((pairings[&1].1, pairings[&1].3), (2, 7));
    assert_eq!(node.state().0, "Running", "it goes on from there");

    // The next one is committed; the leaf dies before it takes it.
    node.leaves.iter().for_each(FakeLeaf::deaf);
    let aggregator = node.aggregator.clone();
    let waiting =
        tokio::spawn(async move { aggregator.alter_offsets(name("p"), listed(1, 99)).await });
    soon("committed", || node.pairings()[&1].1 == 3).await;
    assert_eq!(
        disk.lock().unwrap()[&pairings[&1].0],
        (2, 7),
        "not carried out"
    );
    node.aggregator.shutdown().await.unwrap();
    assert!(waiting.await.unwrap().is_err());
    drop(node);

    let catalog = directory.path().join("catalog.db");
    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;
    let node = Node::start(directory.path(), &disk).await;
    assert_eq!(disk.lock().unwrap()[&pairings[&1].0], (3, 99), "redo");
    assert_eq!(disk.lock().unwrap()[&pairings[&0].0].0, 1);
    assert_eq!(node.state().0, "Running", "what ran runs again");
    node.shut_down().await;
}

#[tokio::test]
async fn failures_by_their_nature() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let id = node.pairings()[&0].0;
    node.leaves[0].fail(id, true).await;
    soon("in Error", || node.state().0 == "Error").await;
    let failure = node.state().1.unwrap();
    assert_eq!(
        failure,
        "partition 0, offset 17, column 'price': 'x' is not a number"
    );
    soon("drained", || {
        node.leaves
            .iter()
            .any(|l| l.orders().contains(&format!("stop {id}")))
    })
    .await;
    node.shut_down().await;

    let catalog = directory.path().join("catalog.db");
    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;
    let node = Node::start(directory.path(), &disk).await;
    assert_eq!(node.state().0, "Error", "until START");
    node.aggregator.start_pipeline(start()).await.unwrap();
    assert_eq!(node.state(), ("Running", None));
    node.leaves[0].fail(id, false).await;
    soon("in Error", || node.state().0 == "Error").await;
    node.shut_down().await;

    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;
    let node = Node::start(directory.path(), &disk).await;
    assert_eq!(node.state(), ("Running", None), "time may mend that one");
    node.shut_down().await;
}

#[tokio::test]
async fn new_partitions_and_new_leaders_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(2, 2).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let log = broker::Log {
        leader: 1,
        epoch: 0,
        start: 5,
        messages: vec![],
        compacted_end: 0,
    };
    cluster.state().logs.as_mut().unwrap().push(log);
    soon("paired at the earliest offset", || {
        node.pairings()
            .get(&2)
            .is_some_and(|pairing| pairing.3 == 5)
    })
    .await;
    let new = node.pairings()[&2].0;
    let told = |what: String| node.leaves.iter().any(|leaf| leaf.orders().contains(&what));
    soon("it runs", || told(format!("run {new}"))).await;

    cluster.log(2, |log| (log.leader, log.epoch) = (2, 1));
    soon("the new leader is told", || told(format!("leader {new} 2"))).await;

    for report in [
        Report::RangeUnknown {
            leaf_partition: new,
            generation: 1,
            offset: 1,
        },
        Report::EpochUnchecked {
            leaf_partition: new,
            leader_epoch: 1,
            epoch: 0,
        },
    ] {
        node.leaves[0].say(report).await;
    }
    soon("the range", || told(format!("range {new} 5..5"))).await;
    soon("the epoch's end", || told(format!("epoch end {new} 77"))).await;
    let place = node.aggregator.live().places[&storage::ids::LeafPartitionId(new)].clone();
    assert_eq!((place.earliest_offset, place.latest_offset), (5, 5));
    node.shut_down().await;
}

#[tokio::test]
async fn a_replaced_topic_stops_by_name_and_set_offsets_accepts_it() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    cluster.state().topic_id = [2; 16];
    soon("in Error", || node.state().0 == "Error").await;
    let failure = node.state().1.unwrap();
    assert!(failure.contains("topic 'orders' was replaced"), "{failure}");
    let refused = error(node.aggregator.start_pipeline(start())).await;
    assert!(refused.contains("SET OFFSETS EARLIEST"), "{refused}");
    cluster.log(0, |log| log.start = 3);
    let aggregator = &node.aggregator;
    aggregator
        .alter_offsets(name("p"), OffsetsTo::Earliest)
        .await
        .unwrap();
    assert_eq!(node.pairings()[&0].3, 3);
    aggregator.start_pipeline(start()).await.unwrap();
    let view = aggregator.catalog();
    let known = view.pipeline("d", "p").unwrap();
    assert_eq!(known.topic_id, Some(storage::ids::TopicId([2; 16])));
    assert_eq!(known.state, PipelineState::Running);
    node.shut_down().await;
}

#[tokio::test]
async fn what_a_stopped_run_asked_says_nothing_of_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    aggregator.start_pipeline(start()).await.unwrap();
    let (answer_now, held) = tokio::sync::oneshot::channel();
    {
        let mut state = cluster.state();
        (state.topic_id, state.held) = ([2; 16], Some(held));
    }
    soon("its source has asked", || cluster.state().held.is_none()).await;
    cluster.state().topic_id = [1; 16];
    aggregator.stop_pipeline(name("p"), false).await.unwrap();
    aggregator.start_pipeline(start()).await.unwrap();
    answer_now.send(()).unwrap();
    soon("that source has ended", || cluster.state().held_ended).await;
    assert_eq!(node.state(), ("Running", None));
    let lost = |order: &String| order.starts_with("lost");
    assert!(
        !node
            .leaves
            .iter()
            .any(|leaf| leaf.orders().iter().any(lost))
    );
    node.shut_down().await;
}

/// The pipeline runs, and its source has not looked at the topic since it was made anew.
#[tokio::test]
async fn a_topic_that_set_offsets_accepted_runs_on_with_its_own_epochs() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    let aggregator = &node.aggregator;
    aggregator.create_database("d", false).await.unwrap();
    aggregator.create_table(table()).await.unwrap();
    let mut rarely = pipeline(cluster.servers());
    let interval = "topic.metadata.refresh.interval.ms".to_owned();
    rarely.spec.config.insert(interval, "600000".to_owned());
    aggregator.create_pipeline(rarely).await.unwrap();
    cluster.log(0, |log| log.epoch = 5);
    aggregator.start_pipeline(start()).await.unwrap();
    let (leaf_partition, ..) = node.pairings()[&0];
    let asked = || cluster.state().asked.get(&3).copied().unwrap_or(0);
    soon("the source has looked", || asked() >= 2).await;

    cluster.state().topic_id = [2; 16];
    cluster.log(0, |log| log.epoch = 0);
    aggregator
        .alter_offsets(name("p"), OffsetsTo::Earliest)
        .await
        .unwrap();
    let leaf = (node.leaves.iter())
        .find(|leaf| !leaf.orders().is_empty())
        .unwrap();
    let before = asked();
    leaf.say(Report::LeaderUnknown {
        leaf_partition,
        epoch: -1,
    })
    .await;
    soon("the source has looked again", || asked() > before).await;
    soon("its leaf is told who leads", || leaf.epoch() == Some(0)).await;
    assert_eq!(node.state(), ("Running", None));
    node.shut_down().await;
}

/// The leaf cannot take the lineage, whatever it is told behind that.
#[tokio::test]
async fn set_offsets_that_a_leaf_could_not_carry_out_is_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let (leaf_partition, ..) = node.pairings()[&0];
    node.leaves.iter().for_each(FakeLeaf::deaf);
    let aggregator = node.aggregator.clone();
    let to = OffsetsTo::Listed(BTreeMap::from([(0, 7)]));
    let altering = tokio::spawn(async move { aggregator.alter_offsets(name("p"), to).await });
    let rewind = format!("rewind {leaf_partition}");
    let leaf = || {
        let mut leaves = node.leaves.iter();
        leaves.find(|leaf| leaf.orders().contains(&rewind))
    };
    soon("told", || leaf().is_some()).await;
    leaf().unwrap().fail(leaf_partition, false).await;
    let refused = error(async { altering.await.unwrap() }).await;
    assert!(refused.contains("'x' is not a number"), "{refused}");
    assert_eq!(node.pairings()[&0].1, 2, "the next START takes it up");
    node.shut_down().await;
}

#[tokio::test]
async fn group_offsets_follow_durable_and_name_damage() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    node.say_durable(0, 50).await;
    let group = || {
        cluster
            .state()
            .group
            .get(&("pinleaf-d-p".to_owned(), 0))
            .cloned()
    };
    soon("published", || {
        group().is_some_and(|(offset, owner)| offset == 50 && owner.ends_with(", lineage 1"))
    })
    .await;
    node.shut_down().await;

    // The disk comes back with less than was said to be durable.
    let catalog = directory.path().join("catalog.db");
    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;
    let node = Node::start(directory.path(), &disk).await;
    let id = storage::ids::LeafPartitionId(node.pairings()[&0].0);
    soon("named", || {
        node.aggregator.live().places[&id].damage.is_some()
    })
    .await;
    let damage = || node.aggregator.live().places[&id].damage.clone();
    let known = damage().unwrap();
    assert_eq!(known.until, storage::ids::Offset(50));
    assert!(
        known.text.contains("recovered up to offset 0") && known.text.contains("says 50"),
        "{known:?}"
    );
    // It is loaded again.
    node.say_durable(0, 49).await;
    let durable = || group().is_some_and(|(offset, _)| offset == 49);
    soon("not yet", durable).await;
    assert_eq!(damage(), Some(known));
    node.say_durable(0, 50).await;
    soon("nothing is missing", || damage().is_none()).await;

    // Another pipeline of the same name has lost nothing.
    let aggregator = &node.aggregator;
    let published = group();
    aggregator.stop_pipeline(name("p"), false).await.unwrap();
    aggregator.drop_pipeline(name("p"), false).await.unwrap();
    aggregator
        .create_pipeline(pipeline(cluster.servers()))
        .await
        .unwrap();
    aggregator.start_pipeline(start()).await.unwrap();
    let id = storage::ids::LeafPartitionId(node.pairings()[&0].0);
    node.say_durable(0, 7).await;
    soon("compared and published", || group() != published).await;
    assert_eq!(node.aggregator.live().places[&id].damage, None);
    node.shut_down().await;
}

#[tokio::test]
async fn test_pipeline_returns_rows_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    cluster.log(0, |log| {
        log.start = 10;
        log.messages = vec![
            r#"{"id":1,"word":"a"}"#.into(),
            "broken".into(),
            r#"{"id":2,"word":"b"}"#.into(),
        ];
    });
    cluster.log(1, |log| {
        log.messages = (3..9)
            .map(|id| format!(r#"{{"id":{id},"word":"c"}}"#))
            .collect();
    });
    let ids = |tested: &Tested| {
        let ids = tested.rows.column(0).as_primitive::<Int64Type>();
        (0..ids.len()).map(|at| ids.value(at)).collect::<Vec<_>>()
    };
    let tested = node
        .aggregator
        .test_pipeline(name("p"), Some(100))
        .await
        .unwrap();
    assert_eq!(ids(&tested), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(tested.rows.column(1).as_string::<i32>().value(1), "b");
    assert_eq!(tested.rejects.len(), 1);
    assert!(
        tested.rejects[0].starts_with("partition 0, offset 11"),
        "{tested:?}"
    );
    let tested = node
        .aggregator
        .test_pipeline(name("p"), None)
        .await
        .unwrap();
    assert_eq!(ids(&tested), [1]);
    let tested = node
        .aggregator
        .test_pipeline(name("p"), Some(4))
        .await
        .unwrap();
    assert_eq!(ids(&tested), [1, 2, 3, 4]);
    let none = node
        .aggregator
        .test_pipeline(name("p"), Some(0))
        .await
        .unwrap();
    assert_eq!((none.rows.num_rows(), none.rows.num_columns()), (0, 2));
    assert_eq!(node.pairings().len(), 0);
    assert_eq!(node.state().0, "Stopped");
    node.shut_down().await;
}

#[tokio::test]
async fn a_topic_that_is_not_there_and_brokers_that_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    cluster.state().logs = None;
    let refused = error(node.aggregator.start_pipeline(start())).await;
    assert!(refused.contains("there is no topic 'orders'"), "{refused}");
    drop(cluster);
    soon("nobody answers", || true).await;
    let refused = error(node.aggregator.start_pipeline(start())).await;
    assert!(refused.contains("asking for the topic"), "{refused}");
    assert_eq!(node.state().0, "Stopped");
    node.shut_down().await;
}

#[tokio::test]
async fn a_start_on_a_topic_that_was_just_made_waits_for_its_leaders() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let node = Node::start(directory.path(), &Disk::default()).await;
    made(&node, &cluster).await;
    cluster.state().lists_refused = 2;
    node.aggregator.start_pipeline(start()).await.unwrap();
    assert_eq!(cluster.state().lists_refused, 0);
    assert_eq!(node.state().0, "Running");
    node.shut_down().await;
}

#[tokio::test]
async fn set_global_is_checked_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    let aggregator = &node.aggregator;
    aggregator
        .set_global("PIPELINES_STOP_ON_ERROR", Some("off"))
        .await
        .unwrap();
    let refused = error(aggregator.set_global("nope", Some("1"))).await;
    assert_eq!(refused, "Unknown system variable 'nope'");
    let variables = effective(&EngineVariables::default(), &aggregator.catalog());
    assert!(!variables.stop_on_error());
    aggregator
        .set_global("pipelines_stop_on_error", None)
        .await
        .unwrap();
    let variables = effective(&EngineVariables::default(), &aggregator.catalog());
    assert!(variables.stop_on_error());
    let error = error(aggregator.create_database("information_schema", true)).await;
    assert!(error.contains("system's own"), "{error}");
    node.shut_down().await;
}
