//! The run: a real leaf loads three partitions from the development broker through a disk that notes
//! everything. It seals and merges all the time; one partition stops and starts, one begins two lineages.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig};
use ingest::leaf::order::{Goal, Leader, Order, Pairing, Report, Settings, TableColumn};
use ingest::leaf::{LeafConfig, LeafHandle, Views, spawn_on};
use ingest::limits::FETCH_SESSION_PARTITIONS_MIN;
use ingest::pipeline::{JsonMapping, MappedColumn, Path as JsonPath, SkipErrors, SqlType};
use storage::disk::RealDisk;
use storage::ids::{LeafPartitionId, Lineage, Offset, TopicId};
use storage::published::PartitionView;
use storage::schema::{Column, Schema};
use storage::store::{LineageStart, StoreSettings};
use tests::images::trace::{Note, Notes, Traced};

pub(super) const PARTITIONS: i32 = 3;
const WAVES: i64 = 60;
/// Messages of a wave and partition.
const WAVE: i64 = 40;
/// Every so many messages one is poison.
const POISON: i64 = 17;
pub(super) const TABLE: u64 = 1;
const SOON: Duration = Duration::from_secs(60);

/// What somebody relies on from then on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// A lineage of a leaf partition is durable up to there.
    Durable(u64, Lineage, Offset),
    /// The catalog has it so.
    Start(u64, LineageStart),
}

fn columns() -> Vec<TableColumn> {
    let column = |name: &str, sql_type| TableColumn {
        name: name.to_owned(),
        sql_type,
        nullable: false,
    };
    vec![
        column("id", SqlType::BigInt { unsigned: false }),
        column("word", SqlType::VarChar { chars: 40 }),
    ]
}

pub(super) fn schema() -> Arc<Schema> {
    let columns = columns().into_iter().map(|column| Column {
        physical: column.sql_type.physical(),
        annotation: column.sql_type.to_string(),
        name: column.name,
        nullable: column.nullable,
    });
    Arc::new(Schema {
        version: 1,
        columns: columns.collect(),
    })
}

fn settings() -> Settings {
    let mapped = columns().into_iter().map(|column| MappedColumn {
        path: Some(JsonPath(vec![column.name.clone()])),
        name: column.name,
        sql_type: column.sql_type,
        nullable: column.nullable,
        default: None,
    });
    Settings {
        max_offsets_per_batch_partition: 25,
        max_retries_per_batch_partition: 4,
        retry_interval_ms: 10,
        max_retry_interval_ms: 100,
        retry_exponential: true,
        stop_on_error: true,
        skip_errors: SkipErrors::All,
        parse_errors_threshold: 0,
        batches_kept: 1_000,
        mapping: JsonMapping {
            columns: mapped.collect(),
        },
        read_committed: true,
        client_id: "images".to_owned(),
    }
}

pub(super) fn word(partition: i32, offset: i64) -> String {
    format!("partition {partition} offset {offset}")
}

pub(super) fn is_poison(offset: i64) -> bool {
    offset % POISON == POISON - 1
}

fn message(partition: i32, offset: i64) -> String {
    if is_poison(offset) {
        return "{\"id\":".to_owned();
    }
    format!(
        "{{\"id\":{offset},\"word\":\"{}\"}}",
        word(partition, offset)
    )
}

pub(super) fn leaf_partition(kafka_partition: i32) -> u64 {
    u64::from(kafka_partition.unsigned_abs()) + 1
}

pub(super) fn directory(data_dir: &Path, leaf_partition: u64) -> PathBuf {
    data_dir.join(format!("tables/{TABLE}/{leaf_partition}"))
}

fn first_start() -> LineageStart {
    LineageStart {
        lineage: Lineage(1),
        live_lineage: Lineage(1),
        start_offset: Offset(0),
        topic_id: TopicId([0; 16]),
    }
}

/// How far it is durable, and in which lineage; `None` where nothing is.
fn durable(view: &PartitionView) -> Option<(Lineage, Offset)> {
    let snapshot = view.snapshot().durable_prefix();
    let segments = snapshot.segments();
    let last = segments
        .iter()
        .rfind(|segment| segment.next_offset() > segment.first_offset())?;
    Some((last.file.header().header.lineage, last.next_offset()))
}

/// The run.
struct Run {
    leaf: LeafHandle,
    notes: Arc<Notes<Told>>,
    views: Arc<Views>,
    generation: u64,
    starts: HashMap<u64, LineageStart>,
}

impl Run {
    fn order(&mut self, order: Order) {
        self.leaf.try_send(order).unwrap();
    }

    /// Gives a goal and waits until it is reached, where it is one that is.
    fn goal(&mut self, leaf_partition: u64, goal: Goal) {
        self.generation += 1;
        let generation = self.generation;
        self.order(Order::Goal {
            leaf_partition,
            generation,
            goal,
        });
        if goal == Goal::Run {
            return;
        }
        self.reports_until(|report| {
            matches!(report, Report::Reached { generation: reached, .. } if *reached == generation)
        });
    }

    fn rewind(&mut self, leaf_partition: u64, start_offset: i64, drop_older: bool) {
        let before = self.starts[&leaf_partition];
        let lineage = Lineage(before.lineage.0 + 1);
        let start = LineageStart {
            lineage,
            live_lineage: if drop_older {
                lineage
            } else {
                before.live_lineage
            },
            start_offset: Offset(start_offset),
            ..before
        };
        self.goal(leaf_partition, Goal::Stop);
        self.starts.insert(leaf_partition, start);
        self.notes.tell(Told::Start(leaf_partition, start));
        self.goal(
            leaf_partition,
            Goal::Rewind {
                lineage: lineage.0,
                live_lineage: start.live_lineage.0,
                start_offset,
                topic_id: [0; 16],
            },
        );
        self.goal(leaf_partition, Goal::Run);
    }

    fn reports_until(&mut self, is_it: impl Fn(&Report) -> bool) {
        loop {
            let report = self.leaf.reports.blocking_recv().expect("the leaf lives");
            match &report {
                Report::Durable {
                    leaf_partition,
                    lineage,
                    offset,
                    ..
                } => {
                    let (lineage, offset) = (Lineage(*lineage), Offset(*offset));
                    self.notes
                        .tell(Told::Durable(*leaf_partition, lineage, offset));
                }
                Report::Failed { failure, .. } => panic!("{}", failure.text),
                _ => {}
            }
            if is_it(&report) {
                return;
            }
        }
    }

    fn wait_visible(&self, kafka_partition: i32, offset: i64) {
        let id = LeafPartitionId(leaf_partition(kafka_partition));
        let began = Instant::now();
        loop {
            let seen = self.views.get(id).map(|view| view.snapshot().next_offset());
            if seen.is_some_and(|seen| seen.0 >= offset) {
                return;
            }
            assert!(
                began.elapsed() < SOON,
                "partition {kafka_partition}: {seen:?}"
            );
            thread::yield_now();
        }
    }
}

/// Loads, and gives the notes.
pub(super) fn load(data_dir: &Path, log_dir: &Path) -> Vec<Note<Told>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let broker = runtime
        .block_on(DevBroker::start(DevBrokerConfig {
            dir: log_dir.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            topics: vec![("orders".into(), PARTITIONS)],
        }))
        .unwrap();
    let mut producer = runtime
        .block_on(Producer::connect(broker.addr(), "images", "orders"))
        .unwrap();

    let views = Views::new();
    let notes: Arc<Notes<Told>> = Arc::default();
    let seen = Arc::clone(&views);
    // What a query with pinleaf_read = durable would be shown by now.
    let before = move |notes: &Notes<Told>| {
        for (id, attached) in seen.all().iter() {
            if let Some((lineage, offset)) = durable(&attached.view) {
                notes.tell(Told::Durable(id.0, lineage, offset));
            }
        }
    };
    let disk = Traced::new(Arc::new(RealDisk), Arc::clone(&notes), Arc::new(before));
    let config = LeafConfig {
        index: 0,
        cpu: None,
        memory_bytes: 64 << 20,
        data_dir: data_dir.to_owned(),
        flush_age_ms: 2,
        sync_age_ms: 10,
        disk_reserve_bytes: 1,
        session_partitions_min: FETCH_SESSION_PARTITIONS_MIN,
        spin: false,
    };
    let stores = StoreSettings {
        segment_commits_max: 6,
        merge_rows_mean_min: 60,
        merge_rows_max: 120,
        ..StoreSettings::default()
    };
    let leaf = spawn_on(config, Arc::clone(&views), Arc::new(disk), stores).unwrap();
    let mut run = Run {
        leaf,
        notes: Arc::clone(&notes),
        views,
        generation: 1,
        starts: HashMap::new(),
    };
    for kafka_partition in 0..PARTITIONS {
        let (id, start) = (leaf_partition(kafka_partition), first_start());
        notes.tell(Told::Start(id, start));
        run.starts.insert(id, start);
        run.order(Order::Attach {
            generation: 1,
            pairing: Pairing {
                leaf_partition: id,
                table: TABLE,
                pipeline: 1,
                kafka_partition,
                topic: "orders".to_owned(),
                topic_id: [0; 16],
                lineage: start.lineage.0,
                live_lineage: start.live_lineage.0,
                start_offset: start.start_offset.0,
                end_offset: None,
            },
            schema_version: 1,
            columns: columns(),
            settings: Some(settings()),
        });
        run.order(Order::Leader {
            leaf_partition: id,
            leader: Leader {
                broker: 0,
                host: broker.addr().ip().to_string(),
                port: broker.addr().port(),
                epoch: -1,
            },
        });
        run.goal(id, Goal::Run);
    }
    for wave in 0..WAVES {
        let batches: Vec<Batch> = (0..PARTITIONS)
            .map(|partition| {
                let mut batch = Batch::new(partition);
                for offset in wave * WAVE..(wave + 1) * WAVE {
                    let message = message(partition, offset);
                    batch.records.push(offset, None, Some(message.as_bytes()));
                }
                batch
            })
            .collect();
        runtime.block_on(producer.send(&batches)).unwrap();
        for partition in 0..PARTITIONS {
            run.wait_visible(partition, (wave + 1) * WAVE);
        }
        match wave * 4 / WAVES * WAVES / 4 {
            at if at != wave => {}
            at if at == WAVES / 4 => run.rewind(2, wave * WAVE / 2, false),
            at if at == WAVES / 2 => {
                run.goal(3, Goal::Stop);
                run.goal(3, Goal::Run);
            }
            at if at == WAVES / 4 * 3 => run.rewind(2, wave * WAVE / 2, true),
            _ => {}
        }
    }
    run.order(Order::Shutdown);
    run.reports_until(|report| *report == Report::Ended);
    run.leaf.join().unwrap();
    runtime.block_on(broker.shutdown());
    notes.take()
}
