//! CREATE OR REPLACE PIPELINE while the pipeline runs.

use ingest::leaf::order::Goal;

use super::*;

/// Found by the simulation: one that was paired while the others drained loaded on as the pipeline was before.
#[tokio::test]
async fn a_partition_that_is_paired_while_a_pipeline_is_replaced_is_drained_too() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 1).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    node.aggregator.start_pipeline(start()).await.unwrap();
    let told = |what: &str| {
        let orders = |leaf: &FakeLeaf| leaf.orders().iter().any(|order| order == what);
        node.leaves.iter().any(orders)
    };
    let old = node.pairings()[&0].0;
    soon("it runs", || told(&format!("run {old}"))).await;
    node.leaves.iter().for_each(|leaf| leaf.drains(true));
    let mut again = CreatePipeline {
        or_replace: true,
        ..pipeline(cluster.servers())
    };
    again.spec.skip_errors = SkipErrors::None;
    let aggregator = node.aggregator.clone();
    let replacing = tokio::spawn(async move { aggregator.create_pipeline(again).await });
    soon("it drains", || told(&format!("stop {old}"))).await;
    let log = broker::Log {
        leader: 1,
        epoch: 0,
        start: 0,
        messages: vec![],
        compacted_end: 0,
    };
    cluster.state().logs.as_mut().unwrap().push(log);
    let paired = || node.pairings().get(&1).map(|pairing| pairing.0);
    soon("another is paired", || paired().is_some()).await;
    let new = paired().unwrap();
    soon("it runs", || told(&format!("run {new}"))).await;

    node.leaves.iter().for_each(|leaf| leaf.drains(false));
    let view = node.aggregator.catalog();
    let pairing = view.pairing(storage::ids::LeafPartitionId(old)).unwrap();
    let drained = Report::Reached {
        leaf_partition: old,
        generation: pairing.generation.0,
        goal: Goal::Stop,
        cursor: 0,
    };
    node.leaves[0].say(drained).await;
    assert_eq!(replacing.await.unwrap().unwrap(), Changed::Yes);
    for leaf_partition in [old, new] {
        assert!(told(&format!("stop {leaf_partition}")));
        let as_it_is_now = format!("configure {leaf_partition}");
        soon("it is told what it is now", || told(&as_it_is_now)).await;
    }
    node.shut_down().await;
}
