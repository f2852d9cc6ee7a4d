//! A disk that is full and one that fails: loading pauses, says so, and goes on by itself; a device that
//! refuses one leaf partition's syncs stops that one alone. Every row is there once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use control::catalog::{
    CatalogError, Change, DatabaseDef, DatabaseId, PipelineFailure, PipelineId, PipelineSpec,
    PipelineState, Store, TableSpec,
};
use devbroker::orders::CREATE_TABLE;
use ingest::leaf::order::{Failure, FailureKind};
use ingest::pipeline::{JsonMapping, SkipErrors};
use tests::kafka_server::KafkaServer;

use crate::faults::{Fault, Faults, Mount};
use crate::law::Loaded;
use crate::load::Load;
use crate::node::Node;

/// Of each topic.
pub const PARTITIONS: i32 = 4;
const TIMEOUT: Duration = Duration::from_secs(120);
/// Of the file system that is filled.
const DISK_MIB: u64 = 96;
const EVENTS: u64 = 4_000;
/// Statements on a disk that is full, each with a COMMIT.
const STATEMENTS: usize = 2_000;
/// What the words of a full disk begin with.
const FULL: &str = "the disk is full";
/// A write that found no room is tried again each second: so long is what must not be said again.
const ATTEMPTS: Duration = Duration::from_secs(4);

/// A Kafka with the topics, of `PARTITIONS` each, and a pipeline for each.
pub fn begin(home: &Path, node: &mut Node, topics: &[&str]) -> KafkaServer {
    let kafka = KafkaServer::start(home, 1, &[]).unwrap();
    node.start();
    node.sql("CREATE DATABASE shop");
    for topic in topics {
        kafka.create_topic(topic, 4, &[]).unwrap();
        node.sql(&CREATE_TABLE.replace("TABLE orders", &format!("TABLE shop.{topic}")));
        node.sql(&format!(
            "CREATE PIPELINE shop.{topic} AS LOAD DATA KAFKA '{}/{topic}' INTO TABLE shop.{topic} FORMAT JSON",
            kafka.bootstrap()
        ));
        node.sql(&format!("START PIPELINE shop.{topic}"));
    }
    kafka
}

/// Order events whose ids count up from `first`, to each partition in turn.
pub fn produce(kafka: &KafkaServer, topic: &str, first: u64, events: u64) {
    let mut load = Load::new(&kafka.bootstrap(), topic, PARTITIONS, first, &[]);
    load.send(events);
    load.flush();
}

/// A topic, its pipeline and its table.
pub fn loaded<'a>(bootstrap: &'a str, name: &'a str) -> Loaded<'a> {
    Loaded {
        bootstrap,
        name,
        partitions: PARTITIONS,
    }
}

/// Rows of a table of database shop.
pub fn count(node: &Node, table: &str) -> u64 {
    node.cell(&format!("SELECT COUNT(*) FROM shop.{table}"))
        .parse()
        .unwrap()
}

/// A pipeline's states, by the Kafka partition.
pub fn states(node: &Node, pipeline: &str) -> Vec<String> {
    node.sql(&format!(
        "SELECT STATE FROM information_schema.PIPELINES_PARTITIONS \
         WHERE PIPELINE_NAME = '{pipeline}' ORDER BY SOURCE_PARTITION_ID"
    ))
    .into_iter()
    .flatten()
    .collect()
}

fn is_said_by_all(node: &Node) -> bool {
    states(node, "orders")
        .iter()
        .all(|state| state.contains(FULL))
}

/// How often the newest process's log says that the disk is full.
fn said(node: &Node) -> usize {
    node.log()
        .lines()
        .filter(|line| line.contains(" WARN ") && line.contains(FULL))
        .count()
}

/// What needs room to become durable says so, and is not waited for.
fn no_statement_waits(node: &Node) {
    for statement in [
        "TRUNCATE TABLE shop.orders",
        "ALTER PIPELINE shop.orders SET OFFSETS EARLIEST",
        "STOP PIPELINE shop.orders",
    ] {
        let error = node.try_sql(statement).expect_err(statement);
        assert!(
            error.contains("is not durable and waits for room"),
            "{statement}: {error}"
        );
    }
    let shown = node.sql("SHOW PIPELINES FROM shop");
    assert_eq!(shown[0][1], "Stopped", "{shown:?}");
    node.sql("START PIPELINE shop.orders");
}

/// A node whose data directory is the mount's, filled to the last byte while it loads.
fn fills_up(home: &Path, node: &mut Node, disk: &Mount) {
    let leaves = 2;
    let kafka = begin(home, node, &["orders"]);
    produce(&kafka, "orders", 0, EVENTS);
    node.wait_for("the first rows", TIMEOUT, |node| {
        count(node, "orders") == EVENTS
    });

    let ballast = disk.fill();
    // More than two blocks of each partition hold.
    produce(&kafka, "orders", EVENTS, 50 * EVENTS);
    node.wait_for("SQL says that the disk is full", TIMEOUT, is_said_by_all);
    node.wait_for("loading is held", TIMEOUT, |node| {
        states(node, "orders")
            .iter()
            .all(|state| state.starts_with("Held: "))
    });
    println!("{:?}", states(node, "orders"));
    let shown = node.sql("SHOW PIPELINES FROM shop");
    assert_eq!(shown[0][1], "Running", "{shown:?}");
    assert!(shown[0][3].contains(FULL), "{shown:?}");
    let began = Instant::now();
    let visible = count(node, "orders");
    while began.elapsed() < ATTEMPTS {
        assert_eq!(
            count(node, "orders"),
            visible,
            "SELECT goes on, loading does not"
        );
    }
    assert!((1..=leaves).contains(&said(node)), "{}", node.log());
    no_statement_waits(node);

    // A kill takes what is visible and not committed; no start can do anything about the disk.
    node.kill();
    node.start();
    node.wait_for("the start says it too", TIMEOUT, is_said_by_all);
    assert!(count(node, "orders") >= EVENTS);
    assert!((1..=leaves).contains(&said(node)), "{}", node.log());

    fs::remove_file(ballast).unwrap();
    let rows = loaded(&kafka.bootstrap(), "orders").holds(node) as u64;
    assert_eq!(rows, 51 * EVENTS);
    let shown = node.sql("SHOW PIPELINES FROM shop");
    assert_eq!((&*shown[0][1], &*shown[0][3]), ("Running", "NULL"));
    nothing_waits_for_a_lineage(node, disk);
    node.stop();
}

/// All is durable, and the disk full to its last byte: what begins a lineage finds the room that a seal gives back, or
/// is recorded for later, and nothing waits for it, also behind a kill.
fn nothing_waits_for_a_lineage(node: &mut Node, disk: &Mount) {
    node.sql("STOP PIPELINE shop.orders");
    let mut ballast = vec![disk.fill()];
    let mut later = 0;
    for _ in 0..3 {
        let set = node.try_sql("ALTER PIPELINE shop.orders SET OFFSETS EARLIEST");
        if let Err(error) = set {
            println!("{error}");
            assert!(error.contains("waits for room"), "{error}");
            later += 1;
        }
        ballast.push(disk.fill());
    }
    assert!(later > 0, "there was room each time");
    node.sql("CREATE DATABASE beside");
    // Many times what is kept for the catalog's WAL.
    for value in 0..STATEMENTS {
        node.sql(&format!(
            "SET GLOBAL pipelines_max_concurrent = {}",
            100 + value % 9
        ));
    }
    let truncate = node.try_sql("TRUNCATE TABLE shop.orders").unwrap_err();
    assert!(truncate.contains("waits for room"), "{truncate}");
    node.kill();
    node.start();
    node.sql("DROP PIPELINE shop.orders");
    node.sql("DROP TABLE shop.orders");
    for path in ballast {
        fs::remove_file(path).unwrap();
    }
}

/// Bytes that our own writes leave free, for the catalog.
fn reserve(bytes: u64) -> String {
    format!("[storage]\ndisk_reserve_bytes = {bytes}\n")
}

#[test]
fn kafka_mount_a_full_disk_pauses_loading_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let disk = Mount::tmpfs(&home.path().join("node/data"), DISK_MIB);
    let mut node = Node::new(&home.path().join("node"), &reserve(1 << 20));
    fills_up(home.path(), &mut node, &disk);
}

#[test]
fn kafka_mount_loop_a_full_ext4_pauses_loading_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("image");
    let disk = Mount::ext4(&home.path().join("node/data"), &image, DISK_MIB);
    // Nothing is kept free: the kernel itself refuses each write.
    let mut node = Node::new(&home.path().join("node"), &reserve(0));
    fills_up(home.path(), &mut node, &disk);
}

#[test]
fn kafka_preload_a_device_that_fails_stops_its_leaf_partition_alone_and_by_name() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(&home.path().join("node"), "");
    let faults = Faults::of_node(home.path(), &mut node);
    let kafka = begin(home.path(), &mut node, &["orders", "others"]);
    produce(&kafka, "orders", 0, EVENTS);
    node.wait_for("the first rows", TIMEOUT, |node| {
        count(node, "orders") == EVENTS
    });
    // What is not durable would be void too.
    wait_durable(&node);
    let folder = folder_of(&node, 0);
    faults.begin(Fault::Sync, &folder);

    // The first failed sync voids, the second within a minute fails; each needs something to sync.
    let mut sent = EVENTS;
    node.wait_for("it fails by name", TIMEOUT, |node| {
        produce(&kafka, "orders", sent, 400);
        sent += 400;
        states(node, "orders")[0].starts_with("Failed: ")
    });
    assert_eq!(faults.times(Fault::Sync), 2);
    let failed = states(&node, "orders");
    let path = folder.display().to_string();
    assert!(failed[0].contains(&path), "{failed:?}");
    assert!(
        failed[0].contains("sync failed: Input/output error"),
        "{failed:?}"
    );
    let shown = node.sql("SHOW PIPELINES FROM shop");
    assert_eq!(shown[0][1], "Running", "{shown:?}");
    assert!(
        shown[0][3].starts_with("partition 0: Failed: ") && shown[0][3].contains(&path),
        "{shown:?}"
    );
    let errors = node.sql(
        "SELECT ERROR_TYPE, ERROR_MESSAGE FROM information_schema.PIPELINES_ERRORS \
         WHERE PIPELINE_NAME = 'orders'",
    );
    assert!(
        errors.len() == 1 && errors[0][0] == "Error" && errors[0][1].contains(&path),
        "{errors:?}"
    );

    // What the fault does not touch goes on: its own neighbours, the table, other pipelines of the same leaves.
    let loaded_of = |node: &Node, partition: u32| {
        node.cell(&format!(
            "SELECT COUNT(*) FROM shop.orders WHERE _partition = {partition}"
        ))
    };
    let neighbours = [1, 2, 3].map(|partition| loaded_of(&node, partition));
    produce(&kafka, "orders", sent, EVENTS);
    sent += EVENTS;
    node.wait_for("its neighbours load on", TIMEOUT, |node| {
        [1, 2, 3].map(|partition| loaded_of(node, partition)) != neighbours
            && states(node, "orders")[1..]
                .iter()
                .all(|state| state == "Running: caught up")
    });
    assert!(states(&node, "orders")[0].starts_with("Failed: "));
    produce(&kafka, "others", 0, EVENTS);
    node.wait_for("another pipeline loads", TIMEOUT, |node| {
        count(node, "others") == EVENTS
    });

    faults.mend(Fault::Sync);
    node.sql("START PIPELINE shop.orders");
    let bootstrap = kafka.bootstrap();
    assert_eq!(loaded(&bootstrap, "orders").holds(&mut node) as u64, sent);
    assert_eq!(loaded(&bootstrap, "others").holds(&mut node) as u64, EVENTS);
    node.stop();
}

/// Until all that the pipeline orders shows is durable.
pub fn wait_durable(node: &Node) {
    node.wait_for("all is durable", TIMEOUT, |node| {
        node.cell(
            "SELECT COUNT(*) FROM information_schema.PIPELINES_PARTITIONS \
             WHERE PIPELINE_NAME = 'orders' AND DURABLE_OFFSET < VISIBLE_OFFSET",
        ) == "0"
    });
}

/// Where the segments of the leaf partition lie that a partition of the topic orders is paired with.
pub fn folder_of(node: &Node, partition: usize) -> PathBuf {
    let leaf_partition = node.cell(&format!(
        "SELECT LEAF_PARTITION FROM information_schema.PIPELINES_PARTITIONS \
         WHERE PIPELINE_NAME = 'orders' AND SOURCE_PARTITION_ID = '{partition}'"
    ));
    let tables = fs::read_dir(node.data_dir().join("tables")).unwrap();
    let mut folders = tables.map(|table| table.unwrap().path().join(&leaf_partition));
    folders
        .find(|folder| folder.exists())
        .expect("its directory")
}

/// Half a MiB of words for the catalog's list of changes, and for the pipeline's row.
fn failed(pipeline: PipelineId, unix_ms: i64) -> Change {
    Change::PipelineState {
        pipeline,
        state: PipelineState::Error,
        failure: Some(PipelineFailure {
            kafka_partition: None,
            failure: Failure {
                kind: FailureKind::Extract,
                offset: -1,
                column: None,
                text: "x".repeat(1 << 19),
                deterministic: false,
                alone: false,
            },
            unix_ms,
        }),
    }
}

/// A catalog with a pipeline.
fn catalog(path: &Path) -> (Store, PipelineId) {
    let mut store = Store::open(path).unwrap();
    let (database, pipeline) = (DatabaseId(1), PipelineId(3));
    let spec = PipelineSpec {
        brokers: vec!["nobody".into()],
        topic: "orders".into(),
        config: BTreeMap::new(),
        batch_interval_ms: None,
        max_partitions_per_batch: None,
        max_retries_per_batch_partition: None,
        max_offsets_per_batch_partition: None,
        retry_options: None,
        skip_errors: SkipErrors::None,
        stop_on_error: None,
        mapping: JsonMapping { columns: vec![] },
        mapping_written: false,
    };
    let made = [
        database_created(database, "d"),
        Change::TableCreated {
            table: 2,
            database,
            name: "t".into(),
            spec: TableSpec::default(),
            unix_ms: 0,
        },
        Change::PipelineCreated {
            pipeline,
            database,
            name: "p".into(),
            table: 2,
            spec: Box::new(spec),
            unix_ms: 0,
        },
    ];
    store.commit(&made, 0).unwrap();
    (store, pipeline)
}

fn database_created(id: DatabaseId, name: &str) -> Change {
    Change::DatabaseCreated(DatabaseDef {
        id,
        name: name.into(),
        create_unix_ms: 0,
    })
}

/// A catalog on a disk that is full: each COMMIT is made or refused, and the file says the same as who wrote it.
fn is_made_or_refused(disk: &Mount, path: &Path, copy: &Path) {
    let (mut store, pipeline) = catalog(path);
    let ballast = disk.fill();
    let refused = |store: &mut Store, change: Change| {
        let error = store.commit(&[change], 0).err();
        assert!(
            matches!(error, None | Some(CatalogError::NoRoom { .. })),
            "{error:?}"
        );
        assert!(store.poison().is_none());
        assert_eq!(&store.on_disk().unwrap(), store.view());
        error.is_some()
    };
    let mut times = 0..100;
    assert!(
        times.any(|time| refused(&mut store, failed(pipeline, time))),
        "there is room without end"
    );
    assert!(times.start > 4, "what is kept does for some");
    // As the process that is killed now leaves it.
    fs::copy(path, copy).unwrap();
    fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    assert_eq!(Store::open(copy).unwrap().view(), store.view());
    let created = database_created(DatabaseId(store.view().next_id()), "e");
    assert!(refused(&mut store, created.clone()));
    fs::remove_file(ballast).unwrap();
    store.commit(&[created], 0).unwrap();
    let view = store.view().clone();
    drop(store);
    assert_eq!(Store::open(path).unwrap().view(), &view);
}

#[test]
fn mount_a_catalog_without_room_refuses_and_keeps_what_it_had() {
    let home = tempfile::tempdir().unwrap();
    let disk = Mount::tmpfs(&home.path().join("disk"), DISK_MIB);
    let (path, copy) = (
        home.path().join("disk/catalog.db"),
        home.path().join("copy.db"),
    );
    is_made_or_refused(&disk, &path, &copy);
}

#[test]
fn mount_loop_a_catalog_without_room_on_ext4_refuses_and_keeps_what_it_had() {
    let home = tempfile::tempdir().unwrap();
    let disk = Mount::ext4(
        &home.path().join("disk"),
        &home.path().join("image"),
        DISK_MIB,
    );
    let (path, copy) = (
        home.path().join("disk/catalog.db"),
        home.path().join("copy.db"),
    );
    is_made_or_refused(&disk, &path, &copy);
}
