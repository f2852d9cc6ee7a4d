//! A full disk: no statement waits for room, and those that make some are never held up.

use super::*;

#[tokio::test]
async fn no_statement_waits_for_room_and_what_makes_room_is_not_held_up() {
    let cluster = Cluster::start(2, 4).await;
    let (disk, directory) = (Disk::default(), tempfile::tempdir().unwrap());
    let node = Node::start(directory.path(), &disk).await;
    let aggregator = node.aggregator.clone();
    made(&node, &cluster).await;
    aggregator.start_pipeline(start()).await.unwrap();
    node.leaves.iter().for_each(|leaf| leaf.full(true));

    let truncate = error(aggregator.truncate_table(name("t"))).await;
    let not_durable = "pipeline 'p' is not durable yet: partition ";
    assert!(truncate.starts_with(not_durable), "{truncate}");
    let stop = error(aggregator.stop_pipeline(name("p"), false)).await;
    assert!(
        stop.starts_with(not_durable) && stop.ends_with("the disk is full"),
        "{stop}"
    );
    assert_eq!(node.state().0, "Stopped");
    // Who asks again is told again, until it is durable.
    let again = error(aggregator.stop_pipeline(name("p"), true)).await;
    assert!(again.starts_with(not_durable), "{again}");
    node.leaves.iter().for_each(|leaf| leaf.full(false));
    let stopped = aggregator.stop_pipeline(name("p"), true).await;
    assert_eq!(stopped.unwrap(), Changed::Yes);
    let stopped = aggregator.stop_pipeline(name("p"), true).await;
    assert_eq!(stopped.unwrap(), Changed::Nothing);
    node.leaves.iter().for_each(|leaf| leaf.full(true));
    // It is started, and stopped for good, all the same: what is visible is committed when there is room.
    aggregator.start_pipeline(start()).await.unwrap();
    aggregator.drop_pipeline(name("p"), false).await.unwrap();
    let tables = vec![name("t")];
    aggregator.drop_tables(tables, false).await.unwrap();
    assert_eq!(aggregator.catalog().pairings().count(), 0);
    node.shut_down().await;
}
