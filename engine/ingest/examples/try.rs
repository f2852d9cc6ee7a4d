#![allow(missing_docs, clippy::all)]
use ingest::leaf::order::*;
use ingest::leaf::*;
use ingest::pipeline::*;
use std::time::*;
use storage::ids::*;
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let seconds: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let port: u16 = std::env::args().nth(3).unwrap().parse().unwrap();
    std::fs::create_dir_all(dir.join("tables/1/1")).unwrap();
    let views = Views::new();
    let mut leaf = spawn(
        LeafConfig {
            index: 0,
            cpu: Some(1),
            memory_bytes: 256 << 20,
            data_dir: dir,
            flush_age_ms: 1000,
            sync_age_ms: 1000,
            disk_reserve_bytes: 64 << 20,
            spin: false,
        },
        views.clone(),
    )
    .unwrap();
    let col = |n: &str, t: SqlType| {
        (
            TableColumn {
                name: n.into(),
                sql_type: t,
                nullable: true,
            },
            MappedColumn {
                name: n.into(),
                sql_type: t,
                nullable: true,
                path: Some(Path(vec![n.into()])),
                default: None,
            },
        )
    };
    let cols = [
        col("id", SqlType::BigInt { unsigned: false }),
        col("name", SqlType::VarChar { chars: 40 }),
        col("price", SqlType::Double),
    ];
    let settings = Settings {
        max_offsets_per_batch_partition: 1_000_000,
        max_retries_per_batch_partition: 4,
        retry_interval_ms: 100,
        max_retry_interval_ms: 1000,
        retry_exponential: true,
        stop_on_error: true,
        skip_errors: SkipErrors::None,
        parse_errors_threshold: 0,
        mapping: JsonMapping {
            columns: cols.iter().map(|c| c.1.clone()).collect(),
        },
        read_committed: true,
        client_id: "pinleaf".into(),
    };
    let pairing = Pairing {
        leaf_partition: 1,
        table: 1,
        pipeline: 1,
        kafka_partition: 0,
        topic: "t1".into(),
        topic_id: [0; 16],
        lineage: 1,
        live_lineage: 1,
        start_offset: 0,
        end_offset: None,
    };
    leaf.try_send(Order::Attach {
        generation: 1,
        pairing,
        schema_version: 1,
        columns: cols.iter().map(|c| c.0.clone()).collect(),
        settings: Some(settings),
    })
    .unwrap();
    leaf.try_send(Order::Goal {
        leaf_partition: 1,
        generation: 2,
        goal: Goal::Run,
    })
    .unwrap();
    let t = Instant::now();
    let mut last = Instant::now();
    while t.elapsed() < Duration::from_secs(seconds) {
        while let Ok(r) = leaf.reports.try_recv() {
            println!("{:?} {r:?}", t.elapsed());
            if let Report::LeaderUnknown { .. } = r {
                leaf.try_send(Order::Leader {
                    leaf_partition: 1,
                    leader: Leader {
                        broker: 1,
                        host: "127.0.0.1".into(),
                        port,
                        epoch: -1,
                    },
                })
                .unwrap();
            }
        }
        if last.elapsed() > Duration::from_millis(500) {
            last = Instant::now();
            if let Some(a) = views.attached(LeafPartitionId(1)) {
                let s = a.view.snapshot();
                println!(
                    "{:?} rows {} next {:?} words {:?} lso {:?}",
                    t.elapsed(),
                    s.rows(),
                    s.next_offset(),
                    a.standing.words(),
                    a.standing.last_stable_offset
                );
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let h = views.leaves()[0].freshness();
    println!(
        "freshness n {} p50 {} p99 {} turns {:?}",
        h.len(),
        h.value_at_quantile(0.5),
        h.value_at_quantile(0.99),
        views.leaves()[0].turns
    );
    leaf.try_send(Order::Shutdown).unwrap();
    while let Some(r) = leaf.reports.blocking_recv() {
        println!("{r:?}");
        if r == Report::Ended {
            break;
        }
    }
    leaf.join().unwrap();
    println!("ended");
}
