//! The aggregator with real leaves, a real data directory and the development broker.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use devbroker::orders::Orders;
use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig};
use ingest::leaf::{LeafConfig, Views};

use super::*;

struct Whole {
    aggregator: Aggregator,
    end: End,
    views: Arc<Views>,
    threads: Vec<JoinHandle<()>>,
}

impl Whole {
    async fn start(data_dir: &Path) -> Whole {
        let views = Views::new();
        let (mut links, mut threads) = (Vec::new(), Vec::new());
        for index in 0..2 {
            let leaf = LeafConfig {
                index,
                cpu: None,
                memory_bytes: 64 << 20,
                data_dir: data_dir.to_owned(),
                flush_age_ms: 1_000,
                sync_age_ms: 1_000,
                disk_reserve_bytes: 1 << 20,
                session_partitions_min: ingest::limits::FETCH_SESSION_PARTITIONS_MIN,
                spin: false,
            };
            let leaf = ingest::leaf::spawn(leaf, views.clone()).unwrap();
            let (orders, reports, thread) = leaf.into_parts();
            links.push(LeafLink::new(orders, reports));
            threads.push(thread);
        }
        let catalog = data_dir.join("catalog.db");
        soon("the catalog is let go", || Catalog::open(&catalog).is_ok()).await;
        let (aggregator, end) = Aggregator::start(
            AggregatorConfig {
                data_dir: data_dir.to_owned(),
                node: FIRST_NODE,
                variables: EngineVariables::default(),
            },
            Catalog::open(&catalog).unwrap(),
            links,
            Arc::new(RealTime(Instant::now())),
        )
        .await
        .unwrap();
        aggregator.attached().await.unwrap();
        Whole {
            aggregator,
            end,
            views,
            threads,
        }
    }

    fn rows(&self) -> u64 {
        let all = self.views.all();
        all.values().map(|one| one.view.snapshot().rows()).sum()
    }

    async fn shut_down(self) {
        assert_eq!(self.aggregator.shutdown().await.unwrap(), Drained::All);
        assert!(matches!(self.end.await, Ok(Ended::Shutdown)));
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// So many orders to each of four partitions.
async fn produce(addr: SocketAddr, each: usize) {
    let mut producer = Producer::connect(addr, "test", "orders").await.unwrap();
    let mut orders = Orders::new(1, 1);
    let batches: Vec<Batch> = (0..4)
        .map(|partition| {
            let mut batch = Batch::new(partition);
            for _ in 0..each {
                let mut event = Vec::new();
                orders.append(&mut event, 1_700_000_000_000);
                batch.records.push(1_700_000_000_000, None, Some(&event));
            }
            batch
        })
        .collect();
    producer.send(&batches).await.unwrap();
}

#[tokio::test]
async fn statements_reach_real_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    let broker = DevBroker::start(DevBrokerConfig {
        dir: directory.path().join("broker"),
        listen: "127.0.0.1:0".parse().unwrap(),
        topics: vec![("orders".into(), 4)],
    })
    .await
    .unwrap();
    let addr = broker.addr();
    let whole = Whole::start(&data_dir).await;
    let aggregator = whole.aggregator.clone();
    aggregator.create_database("d", false).await.unwrap();
    let mut made = table();
    made.spec.columns[1].name = "symbol".into();
    aggregator.create_table(made).await.unwrap();
    let mut loads = pipeline(vec![addr.to_string()]);
    loads.spec.skip_errors = SkipErrors::None;
    loads.spec.mapping.columns[1].name = "symbol".into();
    loads.spec.mapping.columns[1].path = Some(JsonPath(vec!["symbol".into()]));
    aggregator.create_pipeline(loads.clone()).await.unwrap();

    produce(addr, 100).await;
    let tested = aggregator.test_pipeline(name("p"), Some(7)).await.unwrap();
    assert_eq!((tested.rows.num_rows(), whole.rows()), (7, 0));
    let foreground = StartPipeline {
        foreground: Some(Foreground::default()),
        ..start()
    };
    let started = aggregator.start_pipeline(foreground).await.unwrap();
    assert_eq!((started.rows, whole.rows()), (400, 400));

    aggregator.start_pipeline(start()).await.unwrap();
    produce(addr, 50).await;
    soon("new rows", || whole.rows() == 600).await;
    let back = OffsetsTo::Listed(BTreeMap::from([(2, 0)]));
    aggregator.alter_offsets(name("p"), back).await.unwrap();
    soon("partition 2 a second time", || whole.rows() == 750).await;

    loads.or_replace = true;
    // The same again replaces nothing: what was loaded stays comparable.
    let altered = || {
        let view = aggregator.catalog();
        view.pipeline("d", "p").expect("a pipeline").alter_unix_ms
    };
    let before = altered();
    aggregator.create_pipeline(loads.clone()).await.unwrap();
    assert_eq!(altered(), before);
    loads.spec.max_offsets_per_batch_partition = Some(10);
    aggregator.create_pipeline(loads).await.unwrap();
    produce(addr, 25).await;
    soon("it runs on", || whole.rows() == 850).await;
    aggregator.truncate_table(name("t")).await.unwrap();
    assert_eq!(whole.rows(), 0);
    produce(addr, 10).await;
    soon("it goes on behind the truncated", || whole.rows() == 40).await;
    whole.shut_down().await;

    let whole = Whole::start(&data_dir).await;
    let aggregator = whole.aggregator.clone();
    assert_eq!(whole.rows(), 40, "what was visible at the end is there");
    let mut producer = Producer::connect(addr, "test", "orders").await.unwrap();
    let mut poison = Batch::new(1);
    poison
        .records
        .push(1_700_000_000_000, None, Some(b"nonsense"));
    producer.send(&[poison]).await.unwrap();
    let failure = || {
        let view = aggregator.catalog();
        view.pipeline("d", "p").unwrap().failure.clone()
    };
    soon("in Error at the poison", || failure().is_some()).await;
    let text = failure().unwrap().to_string();
    assert!(
        text.contains("partition 1") && text.contains("offset 185"),
        "{text}"
    );
    let behind = OffsetsTo::Listed(BTreeMap::from([(1, 186)]));
    aggregator.alter_offsets(name("p"), behind).await.unwrap();
    aggregator.start_pipeline(start()).await.unwrap();
    produce(addr, 5).await;
    soon("behind the poison", || whole.rows() == 60).await;

    aggregator.drop_pipeline(name("p"), false).await.unwrap();
    assert_eq!(whole.rows(), 60);
    aggregator
        .drop_tables(vec![name("t")], false)
        .await
        .unwrap();
    assert_eq!(whole.rows(), 0);
    whole.shut_down().await;
    broker.shutdown().await;
}

/// Whoever asks its broker for long may find that somebody else has paired what it asked for.
#[tokio::test]
async fn what_is_paired_already_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1, 2).await;
    let disk = Disk::default();
    let node = Node::start(directory.path(), &disk).await;
    made(&node, &cluster).await;
    let aggregator = &node.aggregator;
    aggregator.start_pipeline(start()).await.unwrap();
    aggregator.stop_pipeline(name("p"), false).await.unwrap();
    let before = aggregator.catalog();
    let pair = aggregator.ask(|shared| async move {
        let view = shared.view();
        let pipeline = Arc::clone(view.pipeline("d", "p").unwrap());
        let client = shared
            .port
            .brokers(settings::client_settings(&pipeline.spec)?);
        let state = shared.topic_state(&pipeline, &*client).await?;
        shared.pair(pipeline.id, &*client, &state, &[0, 1]).await
    });
    pair.await.unwrap();
    assert!(Arc::ptr_eq(&before, &aggregator.catalog()));
    // A transaction of nothing would be seen.
    let commit = aggregator.ask(|shared| async move {
        shared.catalog.commit(vec![], 0).await?;
        Ok(())
    });
    commit.await.unwrap();
    assert!(!Arc::ptr_eq(&before, &aggregator.catalog()));
    node.shut_down().await;
}
