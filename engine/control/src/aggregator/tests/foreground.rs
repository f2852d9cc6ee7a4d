//! What other statements meet while START PIPELINE ... FOREGROUND loads.

use super::*;

#[tokio::test]
async fn what_would_move_a_foreground_runs_end_is_refused_and_said_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let disk = Disk::default();
    let node = Node::begin(
        directory.path(),
        &disk,
        Arc::new(RealTime(Instant::now())),
        FakeLeaf::loads_on,
    )
    .await;
    node.aggregator.attached().await.unwrap();
    made(&node, &cluster).await;
    let aggregator = node.aggregator.clone();
    let foreground = StartPipeline {
        foreground: Some(Foreground::default()),
        ..start()
    };
    let loading = tokio::spawn(async move { aggregator.start_pipeline(foreground).await });
    let aggregator = &node.aggregator;
    soon("it loads", || {
        let live = aggregator.live();
        !live.foreground.is_empty()
    })
    .await;
    let first = OffsetsTo::Listed(BTreeMap::from([(0, 0)]));
    let again = CreatePipeline {
        or_replace: true,
        ..pipeline(cluster.servers())
    };
    for (statement, refused) in [
        (
            "ALTER PIPELINE",
            error(aggregator.alter_offsets(name("p"), first.clone())).await,
        ),
        (
            "TRUNCATE TABLE",
            error(aggregator.truncate_table(name("t"))).await,
        ),
        (
            "CREATE OR REPLACE PIPELINE",
            error(aggregator.create_pipeline(again)).await,
        ),
    ] {
        let expected = format!(
            "Pipeline 'p' is being loaded by START PIPELINE ... FOREGROUND: wait for that to end, or STOP PIPELINE it, then {statement}"
        );
        assert_eq!(refused, expected);
    }
    // What the message says to do works.
    aggregator.stop_pipeline(name("p"), false).await.unwrap();
    let stopped = error(async { loading.await.unwrap() }).await;
    assert!(stopped.contains("was stopped before"), "{stopped}");
    aggregator.alter_offsets(name("p"), first).await.unwrap();
    aggregator.truncate_table(name("t")).await.unwrap();
    node.shut_down().await;
}

/// The topic is lost as a whole, and the leaf partitions were told to load on under another generation since.
#[tokio::test]
async fn a_foreground_run_ends_where_the_pipeline_fails_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let disk = Disk::default();
    let clock = Arc::new(RealTime(Instant::now()));
    let node = Node::begin(directory.path(), &disk, clock, FakeLeaf::loads_on).await;
    node.aggregator.attached().await.unwrap();
    made(&node, &cluster).await;
    let aggregator = node.aggregator.clone();
    let foreground = StartPipeline {
        foreground: Some(Foreground::default()),
        ..start()
    };
    let loading = tokio::spawn(async move { aggregator.start_pipeline(foreground).await });
    soon("it loads", || {
        let live = node.aggregator.live();
        !live.foreground.is_empty()
    })
    .await;
    cluster.state().topic_id = [2; 16];
    soon("it has failed", || loading.is_finished()).await;
    let failed = error(async { loading.await.unwrap() }).await;
    assert!(failed.contains("topic 'orders' was replaced"), "{failed}");
    assert_eq!(node.state().0, "Error");
    node.shut_down().await;
}
