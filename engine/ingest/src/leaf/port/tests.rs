//! The port itself: a real executor, a real disk, and a resolver that never answers.

use std::fs;
use std::sync::Mutex;
use std::sync::mpsc as std_mpsc;

use super::*;
use crate::leaf::order::{Goal, Leader, Pairing, Settings, TableColumn};
use crate::pipeline::{JsonMapping, MappedColumn, Path as JsonPath, SkipErrors, SqlType};

const LONG: Duration = Duration::from_secs(30);

fn attach() -> Order {
    let sql_type = SqlType::BigInt { unsigned: false };
    Order::Attach {
        generation: 1,
        pairing: Pairing {
            leaf_partition: 1,
            table: 1,
            pipeline: 1,
            kafka_partition: 0,
            topic: "orders".to_owned(),
            topic_id: [7; 16],
            lineage: 1,
            live_lineage: 1,
            start_offset: 0,
            end_offset: None,
        },
        schema_version: 1,
        columns: vec![TableColumn {
            name: "v".to_owned(),
            sql_type,
            nullable: true,
        }],
        settings: Some(Settings {
            max_offsets_per_batch_partition: 1_000,
            max_retries_per_batch_partition: 4,
            retry_interval_ms: 100,
            max_retry_interval_ms: 1_000,
            retry_exponential: true,
            stop_on_error: true,
            skip_errors: SkipErrors::None,
            parse_errors_threshold: 0,
            batches_kept: 1_000,
            mapping: JsonMapping {
                columns: vec![MappedColumn {
                    name: "v".to_owned(),
                    sql_type,
                    nullable: true,
                    path: Some(JsonPath(vec!["v".to_owned()])),
                    default: None,
                }],
            },
            read_committed: true,
            client_id: "test".to_owned(),
        }),
    }
}

#[test]
fn a_leaf_ends_while_a_name_is_still_looked_up() {
    let data_dir = std::env::temp_dir().join(format!("pinleaf-port-{}", std::process::id()));
    fs::create_dir_all(data_dir.join("tables/1/1")).unwrap();
    let (release, held) = std_mpsc::channel::<()>();
    let (asked, asks) = std_mpsc::channel();
    let held = Mutex::new(held);
    let stuck: LookUp = Arc::new(move |name, _| {
        asked.send(name.to_owned()).unwrap();
        // Err: released, by the sender's end.
        let _ = held.lock().unwrap().recv();
        Ok(vec![])
    });
    let config = LeafConfig {
        index: 0,
        cpu: None,
        memory_bytes: 64 << 20,
        data_dir: data_dir.clone(),
        flush_age_ms: 100,
        sync_age_ms: 100,
        disk_reserve_bytes: 1,
        session_partitions_min: crate::limits::FETCH_SESSION_PARTITIONS_MIN,
        spin: false,
    };
    let below = Below {
        disk: Arc::new(RealDisk),
        stores: StoreSettings::default(),
        look_up: stuck,
    };
    let mut leaf = spawn_over(config, Views::new(), below).unwrap();
    let goal = Order::Goal {
        leaf_partition: 1,
        generation: 2,
        goal: Goal::Run,
    };
    let leader = Order::Leader {
        leaf_partition: 1,
        leader: Leader {
            broker: 1,
            host: "broker.example".to_owned(),
            port: 9092,
            epoch: 0,
        },
    };
    for order in [attach(), goal, leader] {
        leaf.try_send(order).unwrap();
    }
    assert_eq!(asks.recv_timeout(LONG).unwrap(), "broker.example");
    leaf.try_send(Order::Shutdown).unwrap();
    let (done, ended) = std_mpsc::channel();
    let waiting = std::thread::spawn(move || {
        while let Some(report) = leaf.reports.blocking_recv() {
            if report == Report::Ended {
                done.send(leaf.join()).unwrap();
                return;
            }
        }
    });
    let ended = ended.recv_timeout(LONG);
    drop(release);
    ended.expect("it ends before the look-up does").unwrap();
    waiting.join().unwrap();
    fs::remove_dir_all(data_dir).unwrap();
}
