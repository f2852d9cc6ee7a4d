//! The catalog's file: round trips, replay, damage.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use ingest::leaf::order::{Failure, FailureKind};
use ingest::pipeline::{JsonMapping, Literal, MappedColumn, Path as JsonPath, SkipErrors, SqlType};

use super::room::checkpoint;
use super::*;
use crate::catalog::change::PairingRow;
use crate::catalog::defs::{
    ColumnDef, DatabaseDef, FIRST_NODE, PipelineFailure, PipelineSpec, PipelineState, RetryOptions,
    SortKeyPart, TableSpec,
};
use crate::limits::{CATALOG_FREE_PAGES, CATALOG_PAGE_BYTES, CATALOG_ROOM_BYTES};

fn spec() -> TableSpec {
    TableSpec {
        columns: vec![
            ColumnDef {
                name: "id".into(),
                sql_type: SqlType::BigInt { unsigned: true },
                nullable: false,
                default: None,
                comment: "it's".into(),
            },
            ColumnDef {
                name: "price".into(),
                sql_type: SqlType::Decimal {
                    precision: 20,
                    scale: 4,
                },
                nullable: true,
                default: Some(Literal::Number("1.50".into())),
                comment: String::new(),
            },
        ],
        shard_key: Some(vec![]),
        sort_key: Some(vec![SortKeyPart {
            column: "id".into(),
            descending: true,
        }]),
        comment: "orders".into(),
    }
}

fn pipeline() -> Box<PipelineSpec> {
    Box::new(PipelineSpec {
        brokers: vec!["a:9092".into(), "b".into()],
        topic: "orders".into(),
        config: BTreeMap::from([("client.id".into(), "me".into())]),
        batch_interval_ms: Some(20),
        max_partitions_per_batch: None,
        max_retries_per_batch_partition: Some(2),
        max_offsets_per_batch_partition: Some(1000),
        retry_options: Some(RetryOptions {
            exponential: Some(false),
            ..RetryOptions::default()
        }),
        skip_errors: SkipErrors::Parser,
        stop_on_error: Some(true),
        mapping: JsonMapping {
            columns: vec![MappedColumn {
                name: "id".into(),
                sql_type: SqlType::BigInt { unsigned: true },
                nullable: false,
                path: Some(JsonPath(vec!["a".into(), "b".into()])),
                default: None,
            }],
        },
        mapping_written: true,
    })
}

/// Every kind of change, as statements would commit them.
pub(super) fn history() -> Vec<Vec<Change>> {
    let row = |leaf_partition, kafka_partition| PairingRow {
        leaf_partition,
        table: 2,
        pipeline: PipelineId(3),
        kafka_partition,
        topic: "orders".into(),
        topic_id: [7; 16],
        owner: FIRST_NODE,
        lineage: 1,
        live_lineage: 1,
        start_offset: 0,
        end_offset: None,
    };
    vec![
        vec![Change::DatabaseCreated(DatabaseDef {
            id: DatabaseId(1),
            name: "shop".into(),
            create_unix_ms: 1,
        })],
        vec![Change::TableCreated {
            table: 2,
            database: DatabaseId(1),
            name: "orders".into(),
            spec: spec(),
            unix_ms: 2,
        }],
        vec![Change::PipelineCreated {
            pipeline: PipelineId(3),
            database: DatabaseId(1),
            name: "load".into(),
            table: 2,
            spec: pipeline(),
            unix_ms: 3,
        }],
        vec![
            Change::Paired {
                pairing: row(4, 0),
                generation: 1,
            },
            Change::Paired {
                pairing: row(5, 1),
                generation: 1,
            },
            Change::PipelineTopic {
                pipeline: PipelineId(3),
                topic_id: [7; 16],
            },
            Change::PipelineState {
                pipeline: PipelineId(3),
                state: PipelineState::Running,
                failure: None,
            },
        ],
        vec![
            Change::Lineage {
                leaf_partition: 4,
                generation: 2,
                lineage: 2,
                live_lineage: 1,
                start_offset: 100,
                topic_id: Some([8; 16]),
            },
            Change::Ordered {
                leaf_partitions: vec![4, 5],
                generation: 2,
            },
        ],
        vec![Change::PipelineState {
            pipeline: PipelineId(3),
            state: PipelineState::Error,
            failure: Some(PipelineFailure {
                kafka_partition: Some(1),
                failure: Failure {
                    kind: FailureKind::Load,
                    offset: 17,
                    column: Some("price".into()),
                    text: "not a number".into(),
                    deterministic: true,
                    alone: false,
                },
                unix_ms: 9,
            }),
        }],
        vec![Change::PipelineReplaced {
            pipeline: PipelineId(3),
            spec: pipeline(),
            unix_ms: 10,
        }],
        vec![Change::VariableSet {
            name: "pipelines_stop_on_error".into(),
            value: Some("OFF".into()),
        }],
    ]
}

fn drop_all() -> Vec<Vec<Change>> {
    vec![
        vec![Change::VariableSet {
            name: "pipelines_stop_on_error".into(),
            value: None,
        }],
        vec![Change::PipelineDropped {
            pipeline: PipelineId(3),
        }],
        vec![Change::TableDropping { table: 2 }],
        vec![Change::TableDropped { table: 2 }],
        vec![Change::DatabaseDropped {
            database: DatabaseId(1),
        }],
    ]
}

#[test]
fn what_is_committed_is_there_after_a_restart_and_by_replay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let mut replayed = CatalogView::default();
    for changes in history().into_iter().chain(drop_all()) {
        let mut store = Store::open(&path).unwrap();
        let known = store.view().change;
        store.commit(&changes, 5).unwrap();
        for (number, change) in store.changes_after(known, 100).unwrap() {
            assert_eq!(number, replayed.change + 1);
            replayed.apply(&change).unwrap();
        }
        let before = store.view().clone();
        drop(store);
        let after = Store::open(&path).unwrap();
        assert_eq!(after.view(), &before);
        assert_eq!(after.view(), &replayed);
    }
    assert_eq!(replayed.tables().count(), 0);
    assert_eq!(replayed.next_id(), 6, "no id comes twice");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_statement_is_committed_whole_or_not_at_all() {
    let mut store = Store::in_memory().unwrap();
    for changes in history() {
        store.commit(&changes, 5).unwrap();
    }
    let before = store.view().clone();
    let error = store
        .commit(
            &[
                Change::VariableSet {
                    name: "x".into(),
                    value: Some("1".into()),
                },
                Change::Lineage {
                    leaf_partition: 5,
                    generation: 3,
                    lineage: 1,
                    live_lineage: 1,
                    start_offset: 0,
                    topic_id: None,
                },
            ],
            6,
        )
        .unwrap_err();
    assert!(matches!(error, CatalogError::Misfit(_)), "{error}");
    assert_eq!(store.view(), &before);
    assert_eq!(load::load(&store.connection, &store.path).unwrap(), before);
}

#[test]
fn a_file_that_cannot_be_used_is_one_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let opened = |path: &Path| Store::open(path).err().expect("refused").to_string();

    fs::write(
        at("text"),
        "this is no database, it is a text of some length....",
    )
    .unwrap();
    assert!(opened(&at("text")).contains("the catalog is damaged"));

    Connection::open(at("foreign"))
        .unwrap()
        .execute_batch("CREATE TABLE x (y)")
        .unwrap();
    assert!(opened(&at("foreign")).contains("not a catalog of Pinleaf"));

    drop(Store::open(&at("newer")).unwrap());
    Connection::open(at("newer"))
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert!(opened(&at("newer")).contains("has version 99, this release knows up to 1"));

    let held = Store::open(&at("held")).unwrap();
    assert!(opened(&at("held")).contains("locked by another process"));
    drop(held);
    assert!(Store::open(&at("held")).is_ok());

    let mut store = Store::open(&at("torn")).unwrap();
    for changes in history() {
        store.commit(&changes, 5).unwrap();
    }
    drop(store);
    let connection = Connection::open(at("torn")).unwrap();
    connection
        .execute_batch("UPDATE pipeline SET state = 'Dreaming'")
        .unwrap();
    drop(connection);
    assert!(opened(&at("torn")).contains("state 'Dreaming'"));

    assert!(opened(&at("none/catalog.db")).contains("open failed"));
}

#[test]
fn random_damage_never_panics() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let mut store = Store::open(&path).unwrap();
    for changes in history() {
        store.commit(&changes, 5).unwrap();
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    // Most of it are free pages.
    let tables = (0..96 * 1024).step_by(509);
    for at in tables.chain((0..whole.len()).step_by(16_381)) {
        let mut bytes = whole.clone();
        for byte in bytes.iter_mut().skip(at).take(64) {
            *byte ^= 0x5a;
        }
        let damaged = directory.path().join("damaged.db");
        fs::write(&damaged, &bytes).unwrap();
        refused += u32::from(Store::open(&damaged).is_err());
        fs::remove_file(&damaged).unwrap();
    }
    assert!(refused > 0, "no damage was seen");
}

/// From now on every COMMIT of a statement fails: a row that points nowhere, found at COMMIT alone.
pub(crate) fn plant(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE planted (x INTEGER REFERENCES database (id) DEFERRABLE INITIALLY DEFERRED);\n             CREATE TRIGGER plant AFTER INSERT ON change BEGIN INSERT INTO planted VALUES (-1); END;",
        )
        .unwrap();
}

/// For so many seconds no pipeline can be kept as failed.
pub(crate) fn refuse_errors(path: &Path, seconds: u32) {
    const NOW: &str = "CAST(strftime('%s', 'now') AS INTEGER)";
    let connection = Connection::open(path).unwrap();
    let now: i64 = connection
        .query_row(&format!("SELECT {NOW}"), [], |row| row.get(0))
        .unwrap();
    let until = now + i64::from(seconds);
    connection
        .execute_batch(&format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON pipeline WHEN new.state = 'Error' AND {NOW} < {until} \
             BEGIN SELECT RAISE(ABORT, 'refused'); END;",
        ))
        .unwrap();
}

/// Takes it out again.
pub(crate) fn heal(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch("DROP TRIGGER plant; DROP TABLE planted;")
        .unwrap();
}

#[test]
fn a_commit_that_failed_is_unknown_and_nothing_is_answered_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let mut history = history().into_iter();
    let mut store = Store::open(&path).unwrap();
    store.commit(&history.next().unwrap(), 5).unwrap();
    let before = store.view().clone();
    drop(store);
    plant(&path);
    let mut store = Store::open(&path).unwrap();
    let next = history.next().unwrap();
    for again in 0..2 {
        let error = store.commit(&next, 6).unwrap_err();
        assert!(
            matches!(error, CatalogError::Unknown { .. }),
            "{again}: {error}"
        );
        assert!(
            error.to_string().contains("COMMIT failed: FOREIGN KEY")
                && error.to_string().contains("is not known"),
            "{error}"
        );
    }
    assert!(store.poison().is_some());
    assert!(matches!(
        store.changes_after(0, 9),
        Err(CatalogError::Unknown { .. })
    ));
    assert_eq!(store.view(), &before, "what was known stays what is shown");
    drop(store);

    // The next start takes what SQLite recovers, and goes on.
    heal(&path);
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.view(), &before);
    store.commit(&next, 7).unwrap();
}

#[test]
fn room_is_kept_for_statements_whatever_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let kept = || {
        let wal = fs::metadata(wal_path(&path)).unwrap();
        assert!(wal.len() < CATALOG_ROOM_BYTES, "SQLite's own length");
        wal.blocks() * 512
    };
    let mut store = Store::open(&path).unwrap();
    assert!(kept() >= CATALOG_ROOM_BYTES);
    for changes in history() {
        store.commit(&changes, 5).unwrap();
    }
    assert!(kept() >= CATALOG_ROOM_BYTES);
    // Its end in good order gave the room back.
    drop(store);
    let _store = Store::open(&path).unwrap();
    assert!(kept() >= CATALOG_ROOM_BYTES);
}

#[test]
fn frames_in_the_wal_come_back_so_a_failed_sync_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let mut store = Store::open(&path).unwrap();
    for changes in history() {
        store.commit(&changes, 5).unwrap();
    }
    // What a process that died right behind the write of its frames leaves, synced or not.
    let copy = directory.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    fs::copy(wal_path(&path), wal_path(&copy)).unwrap();
    assert_eq!(Store::open(&copy).unwrap().view(), store.view());
}

#[test]
fn a_commit_that_finds_no_room_changed_nothing_and_is_no_poison() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let mut store = Store::open(&path).unwrap();
    let mut history = history().into_iter();
    store.commit(&history.next().unwrap(), 5).unwrap();
    let before = store.view().clone();
    let next = history.next().unwrap();
    let refused = |store: &Store, error: CatalogError| {
        assert!(matches!(error, CatalogError::NoRoom { .. }), "{error}");
        assert!(error.to_string().contains("and it was not made"), "{error}");
        assert!(store.poison().is_none());
        assert_eq!(store.view(), &before);
        assert_eq!(store.on_disk().unwrap(), before);
    };
    // SQLite's answer to a write of the WAL, as the COMMIT meets it; and to a page that it cannot add before.
    let error = store.commit_without_room(&next, 6).unwrap_err();
    refused(&store, error);
    let pages = |store: &Store, pages: u32| {
        store
            .connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    };
    pages(&store, 1);
    let mut large = next.clone();
    match &mut large[0] {
        Change::TableCreated { spec, .. } => {
            spec.comment =
                "x".repeat(usize::try_from(CATALOG_FREE_PAGES * CATALOG_PAGE_BYTES).unwrap());
        }
        other => panic!("{other:?}"),
    }
    let error = store.commit(&large, 6).unwrap_err();
    refused(&store, error);
    pages(&store, u32::MAX);
    store.commit(&next, 7).unwrap();
    let after = store.view().clone();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().view(), &after);
}

#[test]
fn free_pages_that_somebody_had_no_time_to_give_back_are_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let store = Store::open(&path).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    let bytes = CATALOG_FREE_PAGES * CATALOG_PAGE_BYTES / 4 * 3;
    store
        .connection
        .execute_batch(&format!(
            "CREATE TABLE room (bytes BLOB); INSERT INTO room VALUES (zeroblob({bytes}));"
        ))
        .unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    let free = room::pages(&store.connection, &path, "freelist_count").unwrap();
    assert!(free >= CATALOG_FREE_PAGES, "{free}");
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
}

#[test]
fn free_pages_are_kept_and_taken_before_the_file_grows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let free = |store: &Store| room::pages(&store.connection, &path, "freelist_count").unwrap();
    let mut store = Store::open(&path).unwrap();
    assert!(free(&store) >= CATALOG_FREE_PAGES);
    let made = fs::metadata(&path).unwrap();
    // What goes on with what is there takes them, to the last.
    let kept: Vec<Vec<Change>> = history().into_iter().take(5).collect();
    for changes in &kept {
        store.commit(changes, 5).unwrap();
    }
    let failed = |text: String| {
        let mut changes = history().swap_remove(5);
        match &mut changes[0] {
            Change::PipelineState {
                failure: Some(failure),
                ..
            } => failure.failure.text = text,
            other => panic!("{other:?}"),
        }
        changes
    };
    let few = CATALOG_FREE_PAGES / 2;
    while free(&store) >= few {
        store.commit(&failed("x".repeat(64 * 1024)), 6).unwrap();
    }
    let taken = free(&store);
    assert!(taken < few);
    store.commit(&failed("x".repeat(64 * 1024)), 7).unwrap();
    assert!(free(&store) <= taken);
    checkpoint(&store.connection, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), made.len());
    // What makes something more has new ones made.
    let set = Change::VariableSet {
        name: "pipelines_max_offsets_per_batch_partition".into(),
        value: Some("9".into()),
    };
    store.commit(&[set], 8).unwrap();
    assert!(free(&store) >= CATALOG_FREE_PAGES);
    let next = store.view().clone();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().view(), &next);
}
