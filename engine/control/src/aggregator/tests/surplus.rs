//! A topic that was made anew with fewer partitions: what has no Kafka partition any more is named, keeps
//! its rows, and is waited for by nobody.

use super::*;

#[tokio::test]
async fn leaf_partitions_that_the_new_topic_has_no_partition_for_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 3).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    aggregator.start_pipeline(start()).await.unwrap();
    let surplus = || -> Vec<Option<String>> {
        let (view, live) = (aggregator.catalog(), aggregator.live());
        let mut pairings: Vec<_> = view.pairings().collect();
        pairings.sort_by_key(|pairing| pairing.kafka_partition);
        let text = |pairing: &&Arc<crate::catalog::PairingDef>| {
            live.places[&pairing.leaf_partition].surplus(&pairing.topic, pairing.kafka_partition)
        };
        pairings.iter().map(text).collect()
    };
    assert_eq!(surplus(), [None, None, None]);

    {
        let mut state = cluster.state();
        state.topic_id = [2; 16];
        state.logs.as_mut().unwrap().truncate(2);
    }
    soon("in Error", || node.state().0 == "Error").await;
    aggregator
        .alter_offsets(name("p"), OffsetsTo::Earliest)
        .await
        .unwrap();
    let named = Some(
        "Surplus: topic 'orders' has 2 partitions now, and no partition 2; its rows stay"
            .to_owned(),
    );
    assert_eq!(surplus(), [None, None, named.clone()]);
    let foreground = StartPipeline {
        foreground: Some(Foreground::default()),
        ..start()
    };
    let started = aggregator.start_pipeline(foreground).await.unwrap();
    assert_eq!(started.rows, 20, "of the two that are there");
    aggregator.start_pipeline(start()).await.unwrap();
    assert_eq!(surplus(), [None, None, named]);

    // Grown again: it has its partition back.
    let third = cluster.state().logs.as_ref().unwrap()[1].clone();
    cluster.state().logs.as_mut().unwrap().push(third);
    soon("no surplus", || surplus() == [None, None, None]).await;
    node.shut_down().await;
}
