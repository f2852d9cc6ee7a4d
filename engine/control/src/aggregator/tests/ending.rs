//! How the aggregator ends: at any moment, within a bound, and at once when the catalog is not known.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use storage::ids::{LeafPartitionId, Lineage, Offset};

use super::*;
use crate::aggregator::live::Damage;
use crate::aggregator::shared::Shared;
use crate::catalog::store::tests::{heal, plant, refuse_errors};

/// A second later whenever it is looked at.
#[derive(Default)]
struct Hurrying(AtomicU64);

impl Clock for Hurrying {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }

    fn unix_ms(&self) -> i64 {
        1_700_000_000_000
    }
}

fn real_time() -> Arc<dyn Clock> {
    Arc::new(RealTime(Instant::now()))
}

/// A directory whose catalog has a running pipeline of four partitions.
async fn with_a_pipeline(cluster: &Cluster, disk: &Disk) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), disk).await;
    made(&node, cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    node.shut_down().await;
    let catalog = directory.path().join("catalog.db");
    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;
    directory
}

#[tokio::test]
async fn asked_to_end_while_leaves_recover_it_ends() {
    let cluster = Cluster::start(2, 4).await;
    let disk = Disk::default();
    let directory = with_a_pipeline(&cluster, &disk).await;
    let node = Node::begin(directory.path(), &disk, real_time(), FakeLeaf::recovers).await;
    let aggregator = node.aggregator.clone();
    let attaching = tokio::spawn(async move { aggregator.attached().await });
    for leaf in &node.leaves {
        soon("attaching", || !leaf.orders().is_empty()).await;
    }
    assert!(!attaching.is_finished());
    node.shut_down().await;
    assert!(matches!(
        attaching.await.unwrap(),
        Err(AggregatorError::ShuttingDown)
    ));
}

#[tokio::test]
async fn a_drain_has_a_bound_and_says_who_is_late() {
    let cluster = Cluster::start(2, 4).await;
    let disk = Disk::default();
    let directory = with_a_pipeline(&cluster, &disk).await;
    let clock = Arc::new(Hurrying::default());
    let node = Node::begin(directory.path(), &disk, clock, FakeLeaf::lingers).await;
    node.aggregator.attached().await.unwrap();
    assert_eq!(
        node.aggregator.shutdown().await.unwrap(),
        Drained::Late { leaves: 2 }
    );
    assert!(matches!(node.end.await, Ok(Ended::Shutdown)));
}

#[tokio::test]
async fn statements_that_wait_do_not_hold_up_the_end() {
    let cluster = Cluster::start(2, 4).await;
    let disk = Disk::default();
    let directory = with_a_pipeline(&cluster, &disk).await;
    let node = Node::begin(directory.path(), &disk, real_time(), FakeLeaf::deaf).await;
    node.aggregator.attached().await.unwrap();
    // The first waits for its leaf and has the pipeline's turn; as many more as are taken wait for it.
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..crate::limits::AGGREGATOR_OPEN_COMMANDS_MAX + 2 {
        let aggregator = node.aggregator.clone();
        let to = OffsetsTo::Listed(BTreeMap::from([(0, 7)]));
        waiting.spawn(async move { aggregator.alter_offsets(name("p"), to).await });
    }
    soon("one has committed", || node.pairings()[&0].1 == 2).await;
    soon("the others fill what is taken, and the queue", || {
        node.aggregator.commands.capacity() < crate::limits::AGGREGATOR_QUEUE_COMMANDS_MAX
    })
    .await;
    node.shut_down().await;
    while let Some(ended) = waiting.join_next().await {
        assert!(ended.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_commit_that_failed_ends_it_and_the_next_start_says_what_is() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let path = directory.path().join("catalog.db");
    drop(Catalog::open(&path).unwrap());
    plant(&path);
    let node = Node::start(directory.path(), &disk).await;
    let refused = error(node.aggregator.create_database("d", false)).await;
    assert!(
        refused.contains("whether the statement was kept is not known"),
        "{refused}"
    );
    let ended = node.end.await.unwrap();
    assert!(
        matches!(&ended, Ended::CatalogLost(unknown) if unknown.to_string() == refused),
        "{ended}"
    );
    assert!(matches!(
        node.aggregator.create_database("e", false).await,
        Err(AggregatorError::ShuttingDown)
    ));

    // What the process leaves behind when it ends now.
    let left = tempfile::tempdir().unwrap();
    for name in ["catalog.db", "catalog.db-wal"] {
        std::fs::copy(directory.path().join(name), left.path().join(name)).unwrap();
    }
    heal(&left.path().join("catalog.db"));
    let node = Node::start(left.path(), &disk).await;
    assert!(node.aggregator.catalog().database("d").is_none());
    node.aggregator.create_database("d", false).await.unwrap();
    node.shut_down().await;
}

#[tokio::test]
async fn a_drop_database_that_was_cut_short_leaves_it_empty_and_is_repeated() {
    let cluster = Cluster::start(2, 4).await;
    let disk = Disk::default();
    let directory = with_a_pipeline(&cluster, &disk).await;
    let node = Node::begin(directory.path(), &disk, real_time(), FakeLeaf::deaf).await;
    node.aggregator.attached().await.unwrap();
    node.aggregator
        .stop_pipeline(name("p"), false)
        .await
        .unwrap();
    let aggregator = node.aggregator.clone();
    let dropping = tokio::spawn(async move { aggregator.drop_database("d", false).await });
    soon("its definitions are gone", || {
        node.aggregator.catalog().table("d", "t").is_none()
    })
    .await;
    node.shut_down().await;
    assert!(dropping.await.unwrap().is_err());
    let catalog = directory.path().join("catalog.db");
    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;

    let node = Node::start(directory.path(), &disk).await;
    let view = node.aggregator.catalog();
    assert!(view.database("d").is_some());
    assert_eq!(
        (view.tables_dropping().count(), view.pipelines().count()),
        (0, 0)
    );
    let tables = directory.path().join("tables");
    assert_eq!(
        std::fs::read_dir(tables).unwrap().count(),
        0,
        "unlinked at the start"
    );
    assert_eq!(
        node.aggregator.drop_database("d", false).await.unwrap(),
        Changed::Yes
    );
    assert_eq!(
        node.aggregator.drop_database("d", true).await.unwrap(),
        Changed::Nothing
    );
    node.shut_down().await;
}

/// Only a second try can find it mended: the trigger goes by the machine's clock.
#[tokio::test]
async fn a_failure_that_could_not_be_kept_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let path = directory.path().join("catalog.db");
    drop(Catalog::open(&path).unwrap());
    let until = Instant::now() + Duration::from_secs(3);
    refuse_errors(&path, 3);
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let id = node.pairings()[&0].0;
    node.leaves[0].fail(id, true).await;
    soon("in Error", || node.state().0 == "Error").await;
    assert!(
        Instant::now() > until - Duration::from_secs(1),
        "refused at first"
    );
    node.shut_down().await;
}

/// What the aggregator's tasks share.
async fn shared(node: &Node) -> Arc<Shared> {
    let shared = node.aggregator.ask(async |shared| Ok(shared)).await;
    shared.unwrap()
}

/// Once a failure that SET OFFSETS had mended was kept behind it, and the pipeline stood in Error.
#[tokio::test]
async fn a_failure_of_before_an_order_says_nothing_of_what_was_ordered() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let node = Node::start(directory.path(), &Disk::default()).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let shared = shared(&node).await;
    let pipeline = node.aggregator.catalog().pipeline("d", "p").unwrap().id;
    let (failed, other) = (node.pairings()[&0].0, node.pairings()[&1].0);
    let leaf_of = |id: u64| {
        shared
            .state()
            .supervisor
            .known(LeafPartitionId(id))
            .unwrap()
            .leaf
    };
    let has_failed = |id: u64| {
        let state = shared.state();
        let known = state.supervisor.known(LeafPartitionId(id));
        known.is_some_and(|known| known.failed.is_some())
    };
    let set = |aggregator: Aggregator| async move {
        let to = OffsetsTo::Listed(BTreeMap::from([(0, 5)]));
        aggregator.alter_offsets(name("p"), to).await
    };

    // It fails while SET OFFSETS waits for the catalog, whose turn is the test's.
    let turn = shared.commit_turn().await;
    let setting = tokio::spawn(set(node.aggregator.clone()));
    soon("SET OFFSETS has the pipeline's turn", || {
        shared.pipeline_turn(pipeline).now_or_never().is_none()
    })
    .await;
    node.leaves[leaf_of(failed)].fail(failed, true).await;
    soon("it is heard", || has_failed(failed)).await;
    drop(turn);
    setting.await.unwrap().unwrap();
    assert_eq!(node.state(), ("Running", None));

    // Another's is kept, whoever's was to be.
    let turn = shared.commit_turn().await;
    let setting = tokio::spawn(set(node.aggregator.clone()));
    soon("SET OFFSETS has the pipeline's turn", || {
        shared.pipeline_turn(pipeline).now_or_never().is_none()
    })
    .await;
    for id in [failed, other] {
        node.leaves[leaf_of(id)].fail(id, true).await;
        soon("it is heard", || has_failed(id)).await;
    }
    drop(turn);
    setting.await.unwrap().unwrap();
    soon("in Error", || node.state().0 == "Error").await;
    let why = node.state().1.unwrap();
    assert!(why.starts_with("partition 1, "), "{why}");
    node.shut_down().await;
}

/// What is lost of a lineage is no damage once another has begun, whenever it is found out.
#[tokio::test]
async fn damage_ends_with_its_lineage() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let node = Node::start(directory.path(), &Disk::default()).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let shared = shared(&node).await;
    let id = LeafPartitionId(node.pairings()[&0].0);
    let damage = || Damage {
        lineage: Lineage(1),
        until: Offset(100),
        text: "lost".to_owned(),
    };
    let shown = || node.aggregator.live().places[&id].damage.is_some();
    shared.show_damage(id, damage());
    assert!(shown());
    let to = OffsetsTo::Listed(BTreeMap::from([(0, 5)]));
    node.aggregator.alter_offsets(name("p"), to).await.unwrap();
    assert!(!shown(), "given up");
    shared.show_damage(id, damage());
    assert!(!shown(), "found out too late");
    node.shut_down().await;
}
