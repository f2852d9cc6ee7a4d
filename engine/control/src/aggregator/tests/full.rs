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

/// What waits for longer than this waits for good.
async fn in_time<T>(of: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(Duration::from_secs(10), of).await;
    answer.expect("it waits")
}

/// Nothing waits to become durable, and there is no room for the first segment of a lineage.
#[tokio::test]
async fn no_statement_waits_for_a_lineage_to_begin_nor_for_one_that_does() {
    let cluster = Cluster::start(2, 4).await;
    let (disk, directory) = (Disk::default(), tempfile::tempdir().unwrap());
    let node = Node::start(directory.path(), &disk).await;
    let aggregator = node.aggregator.clone();
    made(&node, &cluster).await;
    let last_byte = |node: &Node, full| node.leaves.iter().for_each(|leaf| leaf.last_byte(full));
    let lineages = |node: &Node| -> Vec<u64> { node.pairings().values().map(|p| p.1).collect() };
    let earliest = || OffsetsTo::Earliest;
    let not_durable = "pipeline 'p' is not durable yet: partition ";
    aggregator.start_pipeline(start()).await.unwrap();

    // Of a pipeline that runs: recorded, and it goes on to run there once there is room.
    last_byte(&node, true);
    let set = in_time(error(aggregator.alter_offsets(name("p"), earliest()))).await;
    assert!(set.starts_with(not_durable), "{set}");
    assert_eq!(lineages(&node), [2; 4]);
    let stop = in_time(error(aggregator.stop_pipeline(name("p"), false))).await;
    assert!(stop.starts_with(not_durable), "{stop}");
    assert_eq!(node.state().0, "Stopped");
    let again = in_time(error(aggregator.truncate_table(name("t")))).await;
    assert!(again.starts_with(not_durable), "{again}");
    assert_eq!(lineages(&node), [2; 4], "and nothing is changed");
    last_byte(&node, false);
    let stopped = in_time(aggregator.stop_pipeline(name("p"), true)).await;
    assert_eq!(stopped.unwrap(), Changed::Yes);
    let stopped = in_time(aggregator.stop_pipeline(name("p"), true)).await;
    assert_eq!(stopped.unwrap(), Changed::Nothing);

    // Of one that is stopped; and no definition waits behind it.
    last_byte(&node, true);
    let truncate = in_time(error(aggregator.truncate_table(name("t")))).await;
    assert!(truncate.starts_with(not_durable), "{truncate}");
    assert_eq!(lineages(&node), [3; 4]);
    in_time(aggregator.create_database("e", false))
        .await
        .unwrap();
    aggregator.start_pipeline(start()).await.unwrap();
    let stop = in_time(error(aggregator.stop_pipeline(name("p"), false))).await;
    assert!(stop.starts_with(not_durable), "{stop}");
    node.shut_down().await;
    drop(aggregator);
    let catalog = directory.path().join("catalog.db");
    soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;

    // The next process begins in it: it starts, and what makes room is carried out.
    let clock = Arc::new(RealTime(Instant::now()));
    let node = Node::begin(directory.path(), &disk, clock, |leaf| leaf.last_byte(true)).await;
    let aggregator = node.aggregator.clone();
    in_time(aggregator.attached()).await.unwrap();
    let stop = in_time(error(aggregator.stop_pipeline(name("p"), true))).await;
    assert!(stop.starts_with(not_durable), "{stop}");
    in_time(aggregator.drop_pipeline(name("p"), false))
        .await
        .unwrap();
    in_time(aggregator.drop_tables(vec![name("t")], false))
        .await
        .unwrap();
    node.shut_down().await;
}
