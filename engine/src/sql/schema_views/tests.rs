//! The views over a leaf partition that holds rows and a reject in its tail: a block, no disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ingest::leaf::order::{Failure, FailureKind, Leader};
use ingest::leaf::{Attached, DISK_FULL, Standing, Views};
use storage::block::{BlockLayout, BlockWriter};

use storage::format::rejects::{Reject, RejectKind};
use storage::format::{Before, Hole, SegmentId};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId};
use storage::published::{PartitionView, Published};
use storage::recovery::KnownHole;

use crate::catalog::change::PairingRow;
use crate::catalog::{
    Catalog, Change, DatabaseDef, DatabaseId, FIRST_NODE, PipelineFailure, PipelineId,
    PipelineSpec, PipelineState, TableDef,
};
use crate::sql::parse::{Statement, parse};
use crate::sql::session_tests::{NOW_UNIX_MS, err, ok, rig_on};

const DATABASE: DatabaseId = DatabaseId(1);
pub(in crate::sql) const TABLE: TableId = TableId(2);
const PIPELINE: PipelineId = PipelineId(3);
pub(in crate::sql) const LEAF_PARTITION: LeafPartitionId = LeafPartitionId(4);

/// A catalog of `db.t`, loaded by `db.p` from the Kafka partition 7, from offset 100 on.
pub(in crate::sql) async fn catalog(broker: &str) -> (Catalog, Arc<TableDef>) {
    let Ok(Statement::CreateTable(table)) = parse("create table t (a bigint)") else {
        panic!("a table")
    };
    let sql =
        format!("create pipeline p as load data kafka '{broker}/orders' into table t format json");
    let Ok(Statement::CreatePipeline(text)) = parse(&sql) else {
        panic!("a pipeline")
    };
    let def = |spec| TableDef {
        id: TABLE,
        database: DATABASE,
        name: "t".into(),
        schema: TableDef::storage_schema(&spec, 1),
        spec,
        schema_version: 1,
        create_unix_ms: 0,
        dropping: false,
    };
    let mapping = crate::sql::mapping::resolve(&def(table.spec.clone()), None).expect("a mapping");
    let changes = vec![
        Change::DatabaseCreated(DatabaseDef {
            id: DATABASE,
            name: "db".into(),
            create_unix_ms: 0,
        }),
        Change::TableCreated {
            table: TABLE.0,
            database: DATABASE,
            name: "t".into(),
            spec: table.spec,
            unix_ms: 0,
        },
        Change::PipelineCreated {
            pipeline: PIPELINE,
            database: DATABASE,
            name: "p".into(),
            table: TABLE.0,
            spec: Box::new(PipelineSpec {
                brokers: text.brokers,
                topic: text.topic,
                config: text.config,
                batch_interval_ms: None,
                max_partitions_per_batch: None,
                max_retries_per_batch_partition: None,
                max_offsets_per_batch_partition: None,
                retry_options: None,
                skip_errors: text.skip_errors,
                stop_on_error: None,
                mapping,
                mapping_written: false,
            }),
            unix_ms: 0,
        },
        Change::Paired {
            pairing: PairingRow {
                leaf_partition: LEAF_PARTITION.0,
                table: TABLE.0,
                pipeline: PIPELINE,
                kafka_partition: 7,
                topic: "orders".into(),
                topic_id: [1; 16],
                owner: FIRST_NODE,
                lineage: 1,
                live_lineage: 1,
                start_offset: 100,
                end_offset: None,
            },
            generation: 1,
        },
    ];
    let catalog = Catalog::in_memory().expect("a catalog");
    let view = catalog.commit(changes, 0).await.expect("they fit");
    let table = Arc::clone(view.table("db", "t").expect("the table"));
    (catalog, table)
}

/// Two rows at 100 and 102, a reject at 101: visible, not committed. Their messages' timestamp is given.
pub(in crate::sql) fn attached(table: &TableDef, timestamp_ms: i64) -> Attached {
    let layout = BlockLayout {
        schema: Arc::clone(&table.schema),
        rows: 256,
        string_bytes: Vec::new(),
        rejects_bytes: 4096,
    };
    let mut writer = BlockWriter::new(&layout, Offset(100));
    let mut tail = writer.tail();
    tail.put(0, 5_i64);
    tail.end_row(Offset(100), timestamp_ms);
    let reject = Reject {
        offset: Offset(101),
        timestamp_ms,
        unix_ms: NOW_UNIX_MS,
        code: 1366,
        kind: RejectKind::Parser,
        line: 1,
        column: Some(0),
        text: "Incorrect integer value",
        key: None,
        message: b"{\"a\": \"x\"}",
    };
    tail.reject(&reject).expect("room");
    tail.put(0, 6_i64);
    tail.end_row(Offset(102), timestamp_ms);
    writer.publish(Offset(103));
    let schema = Arc::clone(&table.schema);
    let view = PartitionView::new(TABLE, LEAF_PARTITION, 7, schema, Offset(100));
    let mut published = Published::empty(Offset(100));
    published.blocks = [Some(writer.shared()), None];
    view.publish(published);
    view.gauges.rows.store(2, Ordering::Relaxed);
    view.gauges.rejects.store(1, Ordering::Relaxed);
    view.gauges.durable.store(100, Ordering::Relaxed);
    view.gauges.sync_ms.store(12, Ordering::Relaxed);
    view.gauges
        .dirty_since_unix_ms
        .store(NOW_UNIX_MS - 250, Ordering::Relaxed);
    let standing = Standing::new(0, Some(3), PIPELINE.0);
    standing.words.store(Arc::new("Running".into()));
    standing.fetched.store(103, Ordering::Relaxed);
    standing.say_log_end(110, NOW_UNIX_MS - 40);
    standing.log_start_offset.store(90, Ordering::Relaxed);
    standing
        .last_timestamp_ms
        .store(NOW_UNIX_MS - 5, Ordering::Relaxed);
    let leader = Leader {
        broker: 2,
        host: "h".into(),
        port: 1,
        epoch: 4,
    };
    standing.leader.store(Some(Arc::new(leader)));
    Attached {
        view: Arc::new(view),
        standing: Arc::new(standing),
    }
}

/// The segment that held 100 to 199 is in quarantine; the rows that are there follow it.
fn hole() -> KnownHole {
    let hole = Hole {
        table: TABLE,
        id: SegmentId {
            leaf_partition: LEAF_PARTITION,
            sequence: Sequence(3),
            rewrite: Rewrite(0),
        },
        lineage: Lineage(1),
        first_offset: Offset(10),
        next_offset: Offset(20),
        next_commit_number: 6,
        before: Before::Nothing,
        vouches: true,
        standing: Lineage(1),
        found_unix_ms: NOW_UNIX_MS - 90_000_000,
        moved_to: "2-4-3.0.arrow".into(),
        reason: "checksum mismatch in column 0, buffer 1 at byte 4096".into(),
    };
    KnownHole {
        hole,
        bridged: true,
        told: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_a_table_that_misses_a_segment_errs_by_name_and_reads_around_it_where_told_to() {
    let (catalog, table) = catalog("h:1").await;
    let views = Views::new();
    let attached = attached(&table, NOW_UNIX_MS);
    let published = Published::clone(&attached.view.published());
    attached.view.publish(Published {
        holes: Arc::new([hole()]),
        ..published
    });
    views.insert(LEAF_PARTITION, Arc::new(attached));
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory
        .path()
        .join(format!("tables/{TABLE}/{LEAF_PARTITION}"));
    std::fs::create_dir_all(place).expect("its directory");
    let rig = rig_on(catalog, views, directory).await;
    let session = &mut rig.session();
    let missing = "offsets 10 to 19 of partition 7 are missing: the segment that held them is in quarantine/2-4-3.0.arrow (checksum mismatch in column 0, buffer 1 at byte 4096); what follows them is there: ALTER PIPELINE ... SET OFFSETS to the partition's CURSOR_OFFSET gives them up, '{\"7\": 10}' loads them and all that follows once more";
    for sql in ["select a from db.t", "select count(*) from db.t"] {
        let error = err(session, sql).await;
        assert_eq!(error.code, 1712);
        let said = format!(
            "Table 't': leaf partition 4: {missing}; SET pinleaf_read_damaged = ON reads around them"
        );
        assert_eq!(error.message, said);
    }
    let damage = "select damage from information_schema.pipelines_partitions";
    assert_eq!(ok(session, damage).await, missing);
    let errors = "select error_type, error_code, error_message, batch_source_partition_id, batch_earliest_offset, \
        batch_latest_offset from information_schema.pipelines_errors where error_kind = 'Load' and error_type = 'Error'";
    let row = format!("Error|1712|partition 7, offset 10: {missing}|7|10|20");
    assert_eq!(ok(session, errors).await, row);
    ok(session, "set pinleaf_read_damaged = on").await;
    assert_eq!(ok(session, "select a from db.t").await, "5\n6");
    let warnings = ok(session, "show warnings").await;
    assert!(warnings.ends_with(missing), "{warnings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_whose_last_partition_failed_by_itself_has_it_among_its_errors() {
    let (catalog, table) = catalog("h:1").await;
    let failed = Change::PipelineState {
        pipeline: PIPELINE,
        state: PipelineState::Error,
        failure: Some(PipelineFailure {
            kafka_partition: Some(7),
            failure: Failure {
                kind: FailureKind::Load,
                offset: -1,
                column: None,
                text: "tables/2/4/1.0.arrow: sync failed".into(),
                // Time mends it at a start; this one is to stand.
                deterministic: true,
                alone: true,
            },
            unix_ms: NOW_UNIX_MS,
        }),
    };
    catalog.commit(vec![failed], 0).await.expect("fits");
    let views = Views::new();
    views.insert(LEAF_PARTITION, Arc::new(attached(&table, NOW_UNIX_MS)));
    let directory = tempfile::tempdir().expect("a directory");
    let place = format!("tables/{TABLE}/{LEAF_PARTITION}");
    std::fs::create_dir_all(directory.path().join(place)).expect("its directory");
    let rig = rig_on(catalog, views, directory).await;
    let session = &mut rig.session();
    let errors = "select error_code, error_message, batch_source_partition_id from \
                  information_schema.pipelines_errors where error_type = 'Error'";
    let row = "1030|partition 7, offset 103: tables/2/4/1.0.arrow: sync failed|7";
    assert_eq!(ok(session, errors).await, row);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_say_how_a_leaf_partition_stands() {
    let (catalog, table) = catalog("h:1").await;
    let views = Views::new();
    views.insert(LEAF_PARTITION, Arc::new(attached(&table, NOW_UNIX_MS)));
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory
        .path()
        .join(format!("tables/{TABLE}/{LEAF_PARTITION}"));
    std::fs::create_dir_all(place).expect("its directory");
    let rig = rig_on(catalog, views, directory).await;
    let session = &mut rig.session();
    for (sql, expected) in [
        (
            "select * from information_schema.pipelines_partitions",
            "db|p|t|4|0|3|7|2|h:1|Running|103|103|NULL|100|110|40|7|5|2|1|0|12|250|1|NULL|NULL",
        ),
        (
            "select * from information_schema.PIPELINES_CURSORS",
            "db|p|Kafka|7|90|110|103|103|NULL|NULL",
        ),
        (
            "select * from information_schema.pipelines_offsets",
            "db|p|Kafka|7|90|110|102|102",
        ),
        (
            "select batch_id, batch_state, batch_rows_written, batch_source_partition_id, batch_earliest_offset, \
             batch_latest_offset, host, port, `partition` from information_schema.pipelines_batches",
            "7696581394433|In Progress|2|7|100|103|here|3306|4",
        ),
        (
            "select rows_inserted, batch_state, num_partitions, num_partitions_finished from \
             information_schema.pipelines_batches_summary",
            "2|In Progress|1|0",
        ),
        (
            "select error_unix_timestamp, error_type, error_code, error_message, error_kind, load_data_line, batch_id \
             from information_schema.pipelines_errors where database_name = 'db'",
            "1700000000.000000|Warning|1366|partition 7, offset 101, column 'a': Incorrect integer value|Load|{\"a\": \"x\"}|7696581394433",
        ),
        (
            "select state, skipped_batch_partitions from information_schema.pipelines",
            "Stopped|0",
        ),
        (
            "select a, _offset, _partition from db.t",
            "5|100|7\n6|102|7",
        ),
        ("set pinleaf_read = durable", "OK 0"),
        ("select a from db.t", ""),
    ] {
        assert_eq!(ok(session, sql).await, expected, "{sql}");
    }
    ok(session, "use db").await;
    let shown = ok(session, "show create pipeline p extended").await;
    assert!(
        shown.ends_with("FORMAT JSON;\nALTER PIPELINE `p` SET OFFSETS '{\"7\":103}'"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_read_while_its_cursors_move_has_them_in_order_and_a_hold_is_in_show_pipelines() {
    let (catalog, table) = catalog("h:1").await;
    let views = Views::new();
    let attached = Arc::new(attached(&table, NOW_UNIX_MS));
    views.insert(LEAF_PARTITION, Arc::clone(&attached));
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory
        .path()
        .join(format!("tables/{TABLE}/{LEAF_PARTITION}"));
    std::fs::create_dir_all(place).expect("its directory");
    let rig = rig_on(catalog, views, directory).await;
    let session = &mut rig.session();
    let cursors = "select fetched_offset, visible_offset, committed_offset, durable_offset \
                   from information_schema.pipelines_partitions";
    // What is fetched was shown before the last step was; the others were read after a rewind.
    let gauges = &attached.view.gauges;
    attached.standing.fetched.store(101, Ordering::Relaxed);
    gauges.committed.store(900, Ordering::Relaxed);
    gauges.durable.store(800, Ordering::Relaxed);
    assert_eq!(ok(session, cursors).await, "103|103|103|103");
    gauges.committed.store(102, Ordering::Relaxed);
    assert_eq!(ok(session, cursors).await, "103|103|102|102");
    gauges.durable.store(100, Ordering::Relaxed);
    attached.standing.fetched.store(150, Ordering::Relaxed);
    assert_eq!(ok(session, cursors).await, "150|103|102|100");

    ok(session, "use db").await;
    assert_eq!(ok(session, "show pipelines").await, "p|Stopped|False|NULL");
    let held = "Held: the disk is full; goes on when there is room";
    let draining = format!("Draining{DISK_FULL}");
    for words in [held, &draining] {
        attached.standing.words.store(Arc::new(words.into()));
        let shown = format!("p|Stopped|False|partition 7: {words}");
        assert_eq!(ok(session, "show pipelines").await, shown);
    }
    let words = "Draining".to_owned();
    attached.standing.words.store(Arc::new(words));
    assert_eq!(ok(session, "show pipelines").await, "p|Stopped|False|NULL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lag_of_0_by_an_old_answer_is_unknown_and_how_old_it_is_is_shown() {
    let (catalog, table) = catalog("h:1").await;
    let views = Views::new();
    let attached = Arc::new(attached(&table, NOW_UNIX_MS));
    views.insert(LEAF_PARTITION, Arc::clone(&attached));
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory
        .path()
        .join(format!("tables/{TABLE}/{LEAF_PARTITION}"));
    std::fs::create_dir_all(place).expect("its directory");
    let rig = rig_on(catalog, views, directory).await;
    let session = &mut rig.session();
    let lag = "select last_stable_offset, heard_ms, lag_records, lag_ms \
               from information_schema.pipelines_partitions";
    for (offset, heard_ms, expected) in [
        (103, 500, "103|500|0|0"),
        (103, 60_000, "103|60000|NULL|NULL"),
        (110, 60_000, "110|60000|7|5"),
    ] {
        attached
            .standing
            .say_log_end(offset, NOW_UNIX_MS - heard_ms);
        assert_eq!(ok(session, lag).await, expected);
    }
}
