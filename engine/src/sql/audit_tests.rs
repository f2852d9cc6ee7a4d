//! AUDIT PIPELINE as a statement: its rows over a block, over a segment's file, beside a scripted
//! Kafka, without one, and every way it can end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use ingest::leaf::{Attached, Standing, Views};
use storage::counts::Counts;
use storage::disk::{Disk, RealDisk};
use storage::format::{
    CommitFacts, CommitInput, SegmentHeader, SegmentId, encode_commit, encode_header,
};
use storage::ids::{Lineage, Offset, Rewrite, Sequence, TopicId};
use storage::published::{Durable, PartitionState, Published};
use storage::segment::{Alarm, Commit, Segment, SegmentFile};

use super::Answer;
use super::schema_views::tests::{LEAF_PARTITION, TABLE, attached, catalog};
use super::session_tests::{NOW_UNIX_MS, Rig, ok, rig_on, run};
use crate::catalog::{Catalog, TableDef};
use crate::limits::AUDITS_MAX;
use broker::Cluster;

#[path = "../../control/src/aggregator/tests/broker.rs"]
#[allow(dead_code)]
mod broker;

/// The scripted broker's messages have this timestamp.
const TIMESTAMP_MS: i64 = 1_000;

/// A Kafka whose partition 7 holds what the leaf partition was loaded from.
async fn cluster() -> Cluster {
    let cluster = Cluster::start(1, 8).await;
    cluster.log(7, |log| {
        log.start = 100;
        let messages = ["{\"a\": 5}", "{\"a\": \"x\"}", "{\"a\": 6}"];
        log.messages = messages.map(str::to_owned).into();
    });
    cluster
}

async fn rig(catalog: Catalog, attached: Option<Attached>) -> Rig {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(place(directory.path())).expect("its directory");
    rig_in(catalog, attached, directory).await
}

fn place(directory: &std::path::Path) -> PathBuf {
    directory.join(format!("tables/{TABLE}/{LEAF_PARTITION}"))
}

async fn rig_in(catalog: Catalog, attached: Option<Attached>, directory: tempfile::TempDir) -> Rig {
    let views = Views::new();
    if let Some(attached) = attached {
        views.insert(LEAF_PARTITION, Arc::new(attached));
    }
    rig_on(catalog, views, directory).await
}

/// The same rows and reject as a segment's only commit, in a file of that path.
fn committed(table: &TableDef, path: PathBuf) -> Attached {
    let tail = attached(table, TIMESTAMP_MS);
    let block = tail.view.published().blocks[0].clone().expect("a block");
    let (header, mut bytes) = encode_header(&SegmentHeader {
        id: SegmentId {
            leaf_partition: LEAF_PARTITION,
            sequence: Sequence(1),
            rewrite: Rewrite(0),
        },
        table: TABLE,
        kafka_partition: 7,
        topic_id: TopicId([1; 16]),
        lineage: Lineage(1),
        first_offset: Offset(100),
        first_commit_number: 1,
        created_unix_ms: NOW_UNIX_MS,
        prev: None,
        behind_durable: false,
        schema: Arc::clone(&table.schema),
    });
    let facts = CommitFacts {
        commit_number: 1,
        lineage: Lineage(1),
        first_offset: Offset(100),
        next_offset: Offset(103),
        counts: Counts {
            loaded: 2,
            rejected: 1,
            ..Counts::default()
        },
        started_unix_ms: NOW_UNIX_MS,
        ..CommitFacts::default()
    };
    let input = CommitInput {
        facts,
        durable_end: 0,
        replaced: Vec::new(),
    };
    let encoded = encode_commit(&header, input, &block, block.mark());
    let at_byte = bytes.len() as u64;
    bytes.extend(encoded.to_vec());
    std::fs::write(&path, bytes).expect("written");
    let pages = RealDisk.pages(&path, 0).expect("mapped");
    let file = SegmentFile::new(header, path, pages, Arc::new(Alarm::default()));
    let commit = Arc::new(Commit::new(encoded.record, at_byte));
    tail.view.publish(Published {
        sealed: [Arc::new(Segment::arrow(Arc::new(file), vec![commit]))].into(),
        durable: Durable {
            sequence: Sequence(1),
            commits: 1,
        },
        ..Published::empty(Offset(100))
    });
    tail
}

const TAIL: &str = "7|4|1|100|103|0|2|2|1|NULL|NULL|NULL|NULL|NULL|NULL|NULL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_is_audited_and_compared_with_the_broker() {
    let cluster = cluster().await;
    let (catalog, table) = catalog(&cluster.servers()[0]).await;
    let rig = rig(catalog, Some(attached(&table, TIMESTAMP_MS))).await;
    let session = &mut rig.session();
    let audited = ok(session, "audit pipeline db.p").await;
    assert_eq!(audited, format!("{TAIL}|NULL|ok"));
    let verified = ok(session, "audit pipeline db.p verify").await;
    assert_eq!(verified, format!("{TAIL}|3|ok"));
    assert_eq!(rig.memory_held(), 0, "all of it is given back");
    // Something else at the broker than was loaded.
    cluster.log(7, |log| log.messages[2] = "{\"a\": 7}".to_owned());
    let verified = ok(session, "audit pipeline db.p verify").await;
    let expected = "offset 102: column 'a' holds 6, its message says 7";
    assert_eq!(verified, format!("{TAIL}|3|{expected}"));
    // Prepared, it has the same columns.
    let prepared = session
        .prepare("audit pipeline db.p")
        .await
        .expect("prepares");
    let names: Vec<&str> = prepared
        .columns
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names.len(), 18);
    assert_eq!((names[0], names[17]), ("SOURCE_PARTITION_ID", "STATUS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segments_file_is_read_again_and_nothing_is_changed() {
    let cluster = cluster().await;
    let (catalog, table) = catalog(&cluster.servers()[0]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let folder = place(directory.path());
    std::fs::create_dir_all(&folder).expect("its directory");
    let path = folder.join("1.0.arrow");
    let attached = committed(&table, path.clone());
    let alarm = attached.view.alarm();
    let rig = rig_in(catalog, Some(attached), directory).await;
    let session = &mut rig.session();
    let shown = path.display();
    let rows = |checked: &str, status: &str| {
        format!(
            "7|4|1|100|103|1|2|2|1|0|0|0|0|0|0|{shown}|{checked}|{status}\n\
             7|4|1|103|103|0|0|0|0|NULL|NULL|NULL|NULL|NULL|NULL|NULL|{}|ok",
            if checked == "NULL" { "NULL" } else { "0" }
        )
    };
    let audited = ok(session, "audit pipeline db.p").await;
    assert_eq!(audited, rows("NULL", "ok"));
    let verified = ok(session, "audit pipeline db.p verify").await;
    assert_eq!(verified, rows("3", "ok"));
    let sound = std::fs::read(&path).expect("there");
    let mut flipped = sound.clone();
    let last = flipped.len() - 100;
    flipped[last] ^= 1;
    // Another file of that name: what is mapped stays as it was.
    std::fs::remove_file(&path).expect("there");
    std::fs::write(&path, flipped).expect("written");
    let verified = ok(session, "audit pipeline db.p verify").await;
    assert!(
        verified.contains(&format!("offset 100: {shown}: ")) && verified.contains("|0|offset"),
        "{verified}"
    );
    assert_eq!(alarm.damage(), None, "an audit looks, and does not act");
    assert_eq!(ok(session, "audit pipeline db.p").await, rows("NULL", "ok"));
    std::fs::remove_file(&path).expect("there");
    let verified = ok(session, "audit pipeline db.p verify").await;
    let gone = format!("offset 100: {shown}: it is not there");
    assert_eq!(verified, rows("3", &gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_what_is_here_is_verified() {
    let (catalog, table) = catalog("127.0.0.1:1").await;
    let rig = rig(catalog, Some(attached(&table, TIMESTAMP_MS))).await;
    let session = &mut rig.session();
    let verified = ok(session, "audit pipeline db.p verify").await;
    assert!(
        verified.starts_with(&format!(
            "{TAIL}|0|ok, the broker was not asked: 127.0.0.1:1: asking for the topic: "
        )),
        "{verified}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_cannot_be_read_or_stands_still_says_so() {
    let (catalog_of, table) = catalog("127.0.0.1:1").await;
    let nothing = rig(catalog_of, None).await;
    let none = "7|4|1|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL";
    for sql in ["audit pipeline db.p", "audit pipeline db.p verify"] {
        assert_eq!(
            ok(&mut nothing.session(), sql).await,
            format!("{none}|Not attached: leaf partition 4 is not recovered yet")
        );
    }
    let recovering = attached(&table, TIMESTAMP_MS);
    let state = PartitionState::Recovering;
    recovering.view.gauges.set_state(state, None);
    let (catalog_of, _) = catalog("127.0.0.1:1").await;
    let recovering = rig(catalog_of, Some(recovering)).await;
    assert_eq!(
        ok(&mut recovering.session(), "audit pipeline db.p").await,
        format!("{none}|Running: leaf partition 4 is not recovered yet")
    );
    let failed = attached(&table, TIMESTAMP_MS);
    let words = "Failed: /data/tables/2/4/1.0.arrow: checksum mismatch; moved to quarantine";
    failed.standing.words.store(Arc::new(words.to_owned()));
    let (catalog_of, _) = catalog("127.0.0.1:1").await;
    let failed = rig(catalog_of, Some(failed)).await;
    assert_eq!(
        ok(&mut failed.session(), "audit pipeline db.p").await,
        format!("{TAIL}|NULL|{words}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_behind_is_looked_at_again_before_it_is_told() {
    let (catalog_of, table) = catalog("127.0.0.1:1").await;
    let behind = attached(&table, TIMESTAMP_MS);
    let standing: Arc<Standing> = Arc::clone(&behind.standing);
    standing
        .fetched
        .store(102, std::sync::atomic::Ordering::Relaxed);
    let rig = rig(catalog_of, Some(behind)).await;
    let session = &mut rig.session();
    let audited = ok(session, "audit pipeline db.p").await;
    let behind = "offset 102: fetched is behind visible, which is at 103";
    assert_eq!(audited, format!("{TAIL}|NULL|{behind}"));
    // Shown a moment late, as a leaf does.
    let late = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(20));
        standing
            .fetched
            .store(103, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(
        ok(session, "audit pipeline db.p").await,
        format!("{TAIL}|NULL|ok")
    );
    late.await.expect("it ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_audit_is_an_error() {
    let cluster = cluster().await;
    let (catalog, table) = catalog(&cluster.servers()[0]).await;
    let rig = rig(catalog, Some(attached(&table, TIMESTAMP_MS))).await;
    let session = &mut rig.session();
    for (sql, code, message) in [
        ("audit pipeline p", 1046, "No database selected"),
        ("audit pipeline nope.p", 1049, "Unknown database 'nope'"),
        (
            "audit pipeline db.nope verify",
            1971,
            "Pipeline 'db.nope' doesn't exist",
        ),
    ] {
        let fault = run(session, sql).await.expect_err(sql);
        assert_eq!((fault.code, fault.message.as_str()), (code, message));
    }
    // As many as may run at once, and then one more.
    let mut sessions: Vec<_> = (0..AUDITS_MAX).map(|_| rig.session()).collect();
    let mut running = Vec::new();
    for session in &mut sessions {
        let answer = session.execute("audit pipeline db.p").await;
        let Ok(Answer::Rows(rows)) = answer else {
            panic!("rows")
        };
        running.push(rows);
    }
    cluster.state().silent = true;
    let mut waiting = Vec::new();
    running.clear();
    soon("room again", || rig.room_for_audit()).await;
    for session in &mut sessions {
        let answer = session.execute("audit pipeline db.p verify").await;
        let Ok(Answer::Rows(rows)) = answer else {
            panic!("rows")
        };
        waiting.push(rows);
    }
    let fault = run(session, "audit pipeline db.p").await.expect_err("full");
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (1104, "limit reached: at most 4 AUDIT PIPELINE at once")
    );
    // Nobody waits for them any more: they end, though the broker says nothing.
    drop(waiting);
    soon("room again", || rig.room_for_audit()).await;
    ok(session, "audit pipeline db.p").await;
    // More memory than there is.
    let max = rig.memory_max();
    let all = [max / 8 * 7, max / 16, max / 16].map(|bytes| {
        let mut share = rig.memory_share();
        share.resize(bytes).expect("all of it");
        share
    });
    let fault = run(session, "audit pipeline db.p verify").await;
    assert_eq!(fault.expect_err("no memory").code, 1038);
    // Where one has all that it can get, another is answered.
    let [_large, small, _] = all;
    drop(small);
    let found = run(session, "select 1").await;
    assert!(found.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_query_ends_an_audit_that_waits_for_the_broker() {
    let cluster = cluster().await;
    let (catalog, table) = catalog(&cluster.servers()[0]).await;
    let rig = rig(catalog, Some(attached(&table, TIMESTAMP_MS))).await;
    cluster.state().silent = true;
    let (one, two) = (&mut rig.session(), &mut rig.session());
    let Ok(Answer::Rows(mut rows)) = one.execute("audit pipeline db.p verify").await else {
        panic!("rows")
    };
    soon("it waits", || !rig.memory_is_free()).await;
    ok(two, "kill query 1").await;
    let fault = rows.batches.next().await.expect("an end");
    assert_eq!(fault.expect_err("killed").code, 1317);
    assert!(rows.batches.next().await.is_none());
    soon("it lets go of what it held", || rig.memory_is_free()).await;
    soon("room again", || rig.room_for_audit()).await;
}

/// Looks again until it is so; ten seconds are for ever.
async fn soon(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
