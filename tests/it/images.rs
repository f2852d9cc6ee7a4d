//! Crash images: what a real leaf really wrote, synced and renamed, and each state that a power loss could
//! have left of it, recovered.
//!
//! A leaf loads three partitions from the development broker through a disk that notes everything; it seals
//! and merges all the time, one partition stops and starts, one begins two new lineages. Then states are
//! made of the notes ([`tests::images`]), at 512-byte sectors, and each is recovered by the code that a node
//! starts with. What must hold of each, with `PINLEAF_IMAGES` of them (1,000):
//! - what was told durable before that moment is there;
//! - in each lineage every offset from its start to its cursor is one row or one reject, as produced, and the
//!   audit of the records finds nothing;
//! - recovered a second time it is the same; and of some, the power goes in the middle of the recovery too.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use devbroker::produce::{Batch, Producer};
use devbroker::{DevBroker, DevBrokerConfig};
use ingest::audit::{self, Range, Rows, Stopped, Subject};
use ingest::leaf::order::{Goal, Leader, Order, Pairing, Report, Settings, TableColumn};
use ingest::leaf::{LeafConfig, LeafHandle, Views, spawn_on};
use ingest::limits::FETCH_SESSION_PARTITIONS_MIN;
use ingest::pipeline::{JsonMapping, MappedColumn, Path as JsonPath, SkipErrors, SqlType};
use storage::disk::{Disk, RealDisk};
use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use storage::published::{Durable, PartitionView, Published, Snapshot};
use storage::recovery::{RecoverPartition, RecoveredPartition, recover, segment_path};
use storage::schema::{Column, Schema};
use storage::segment::{Alarm, Commit, Segment, SegmentFile};
use storage::store::{LineageStart, StoreSettings};
use tests::images::state::{Image, Lost, Power};
use tests::images::trace::{Note, Notes, Traced};
use tests::sim::Random;

const PARTITIONS: i32 = 3;
const WAVES: i64 = 60;
/// Messages of a wave and partition.
const WAVE: i64 = 40;
/// Every so many messages one is poison.
const POISON: i64 = 17;
const TABLE: u64 = 1;
/// So many images are there where nobody says otherwise.
const IMAGES: u64 = 1_000;
/// Of so many images one loses power in its recovery too.
const NESTED: u64 = 8;
const SOON: Duration = Duration::from_secs(60);
const PAGES_BYTES_MAX: u64 = 64 << 20;

/// What somebody relies on from then on.
#[derive(Clone, Copy, Debug)]
enum Told {
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

fn schema() -> Arc<Schema> {
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

fn word(partition: i32, offset: i64) -> String {
    format!("partition {partition} offset {offset}")
}

fn is_poison(offset: i64) -> bool {
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

fn leaf_partition(kafka_partition: i32) -> u64 {
    u64::from(kafka_partition.unsigned_abs()) + 1
}

fn directory(data_dir: &Path, leaf_partition: u64) -> PathBuf {
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
        let began = std::time::Instant::now();
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
fn load(data_dir: &Path, log_dir: &Path) -> Vec<Note<Told>> {
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
    let disk = Traced {
        disk: Arc::new(RealDisk),
        notes: Arc::clone(&notes),
        // What a query with pinleaf_read = durable would be shown by now.
        before: Arc::new(move |notes| {
            for (id, attached) in seen.all().iter() {
                if let Some((lineage, offset)) = durable(&attached.view) {
                    notes.tell(Told::Durable(id.0, lineage, offset));
                }
            }
        }),
    };
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

/// What an audit says.
#[derive(Default)]
struct Said(Vec<Range>);

impl Rows for Said {
    fn row(&mut self, range: Range) -> Result<(), Stopped> {
        self.0.push(range);
        Ok(())
    }

    fn go_on(&mut self) -> Result<(), Stopped> {
        Ok(())
    }

    fn fetched_behind(&mut self, _: Offset) -> Option<Offset> {
        None
    }
}

/// What must hold of one leaf partition.
#[derive(Clone, Debug, Default)]
struct Must {
    start: Option<LineageStart>,
    durable: BTreeMap<Lineage, Offset>,
}

type Musts = BTreeMap<u64, Must>;

fn take(musts: &mut Musts, told: Told) {
    match told {
        Told::Durable(id, lineage, offset) => {
            let must = musts.entry(id).or_default();
            // What is given up, or is nothing yet, need not be there.
            let is_nothing = |start: LineageStart| {
                lineage < start.live_lineage
                    || start.lineage == lineage && start.start_offset == offset
            };
            if must.start.is_some_and(is_nothing) {
                return;
            }
            let durable = must.durable.entry(lineage).or_insert(offset);
            *durable = offset.max(*durable);
        }
        Told::Start(id, start) => {
            let must = musts.entry(id).or_default();
            must.start = Some(start);
            must.durable
                .retain(|lineage, _| *lineage >= start.live_lineage);
        }
    }
}

fn recovered(
    disk: &dyn Disk,
    data_dir: &Path,
    id: u64,
    start: LineageStart,
) -> Result<RecoveredPartition, String> {
    let partition = RecoverPartition {
        table: TableId(TABLE),
        leaf_partition: LeafPartitionId(id),
        directory: directory(data_dir, id),
        quarantine: data_dir.join("quarantine"),
        start,
        mapped: false,
        pages_bytes_max: PAGES_BYTES_MAX,
        unix_ms: 0,
    };
    recover(disk, &partition).map_err(|failed| format!("{failed:?}"))
}

/// As a query and an audit would see it.
fn shown(data_dir: &Path, id: u64, start: LineageStart, recovered: RecoveredPartition) -> Snapshot {
    let kafka_partition = id as i32 - 1;
    let view = PartitionView::new(
        TableId(TABLE),
        LeafPartitionId(id),
        kafka_partition,
        schema(),
        start.start_offset,
    );
    let mut durable = Durable::default();
    let sealed: Vec<Arc<Segment>> = recovered
        .segments
        .into_iter()
        .map(|segment| {
            let id_of = segment.id;
            durable = Durable {
                sequence: id_of.sequence,
                commits: segment.commits.len() as u32,
            };
            let path = segment_path(&directory(data_dir, id), id_of.sequence, id_of.rewrite);
            let alarm = Arc::new(Alarm::default());
            let file = SegmentFile::new(segment.header, path, segment.pages, alarm);
            let commits = segment.commits.into_iter();
            let commits = commits.map(|(at, record)| Arc::new(Commit::new(record, at)));
            Arc::new(Segment::arrow(Arc::new(file), commits.collect()))
        })
        .collect();
    view.publish(Published {
        sealed: sealed.into(),
        durable,
        ..Published::empty(start.start_offset)
    });
    view.snapshot()
}

/// Whether it is all there, each once and as produced.
fn check(
    data_dir: &Path,
    id: u64,
    must: &Must,
    recovered: RecoveredPartition,
) -> Result<(), String> {
    let start = must.start.ok_or("nothing was told of it")?;
    if !recovered.holes.is_empty() {
        return Err(format!("holes: {:?}", recovered.holes));
    }
    let kafka_partition = id as i32 - 1;
    let snapshot = shown(data_dir, id, start, recovered);
    let mut lineages: BTreeMap<Lineage, (Offset, Offset)> = BTreeMap::new();
    for segment in snapshot.segments() {
        let lineage = segment.file.header().header.lineage;
        let (first, next) = (segment.first_offset(), segment.next_offset());
        lineages.entry(lineage).or_insert((first, next)).1 = next;
    }
    for (lineage, durable) in &must.durable {
        let there = lineages.get(lineage).map(|(_, next)| *next);
        if there.is_none_or(|next| next < *durable) {
            return Err(format!(
                "lineage {} was told durable up to {}, and is there up to {there:?}",
                lineage.0, durable.0
            ));
        }
    }
    // Rows and rejects of each offset: one for each lineage that covers it.
    let mut expected: BTreeMap<i64, [u32; 2]> = BTreeMap::new();
    for (first, next) in lineages.values() {
        for offset in first.0..next.0 {
            expected.entry(offset).or_default()[usize::from(is_poison(offset))] += 1;
        }
    }
    let mut found: BTreeMap<i64, [u32; 2]> = BTreeMap::new();
    for part in snapshot.parts() {
        let arrays = part
            .read(&[0, 1, 2, 3])
            .map_err(|error| error.to_string())?;
        let ids = arrays[0].as_primitive::<Int64Type>();
        let offsets = arrays[2].as_primitive::<Int64Type>();
        for row in 0..offsets.len() {
            let offset = offsets.value(row);
            let text = arrays[1].as_string::<i32>().value(row);
            if ids.value(row) != offset || text != word(kafka_partition, offset) {
                return Err(format!(
                    "offset {offset} holds {} and {text}",
                    ids.value(row)
                ));
            }
            found.entry(offset).or_default()[0] += 1;
        }
        for reject in part.rejects().map_err(|error| error.to_string())? {
            found.entry(reject.offset.0).or_default()[1] += 1;
        }
    }
    if found != expected {
        let differs = expected
            .iter()
            .find(|(offset, counts)| found.get(offset) != Some(counts));
        return Err(format!(
            "rows and rejects are not what was produced, first at {differs:?}; {} offsets, {} expected",
            found.len(),
            expected.len()
        ));
    }
    let subject = Subject {
        table: TableId(TABLE),
        leaf_partition: LeafPartitionId(id),
        kafka_partition,
        lineage: start.lineage,
        start_offset: start.start_offset,
        topic_id: start.topic_id,
        stands: None,
    };
    let mut said = Said::default();
    audit::records(&subject, snapshot, &mut said).map_err(|stopped| format!("{stopped:?}"))?;
    match said.0.iter().find(|range| !range.is_ok()) {
        Some(range) => Err(range.status()),
        None => Ok(()),
    }
}

/// Recovers all of an image and looks at it; with `random` the power goes once more on the way.
fn look(
    image: &Image,
    musts: &Musts,
    place: &Path,
    random: Option<&mut Random>,
) -> Result<(), String> {
    let data_dir = place.join("data");
    fs::create_dir(&data_dir).unwrap();
    image.write(&data_dir).unwrap();
    if let Some(random) = random {
        let notes: Arc<Notes<Told>> = Arc::default();
        notes.begin_with(image.files.iter().map(|(path, _)| data_dir.join(path)));
        let disk = Traced {
            disk: Arc::new(RealDisk),
            notes: Arc::clone(&notes),
            before: Arc::new(|_| {}),
        };
        for (&id, must) in musts {
            recovered(&disk, &data_dir, id, must.start.expect("told"))?;
        }
        let notes = notes.take();
        let mut power = Power::new(&data_dir, image);
        let at = random.below(notes.len() as u64 + 1) as usize;
        notes[..at].iter().for_each(|note| power.next(note));
        let (again, _) = power.image(random);
        fs::remove_dir_all(&data_dir).unwrap();
        return look(&again, musts, place, None);
    }
    for (&id, must) in musts {
        let start = must.start.expect("told");
        let said = |why: String| format!("leaf partition {id}: {why}");
        let first = recovered(&RealDisk, &data_dir, id, start).map_err(said)?;
        check(&data_dir, id, must, first).map_err(said)?;
        let before = Image::read(&directory(&data_dir, id)).unwrap();
        let second = recovered(&RealDisk, &data_dir, id, start).map_err(said)?;
        check(&data_dir, id, must, second).map_err(said)?;
        if Image::read(&directory(&data_dir, id)).unwrap() != before {
            return Err(said("a second recovery changes it".to_owned()));
        }
    }
    fs::remove_dir_all(&data_dir).unwrap();
    Ok(())
}

#[test]
fn every_state_that_a_power_loss_may_leave_is_recovered() {
    let images: u64 = env::var("PINLEAF_IMAGES").map_or(IMAGES, |images| images.parse().unwrap());
    let seed: u64 = env::var("PINLEAF_SEED").map_or(1, |seed| seed.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    for partition in 0..PARTITIONS {
        fs::create_dir_all(directory(&data_dir, leaf_partition(partition))).unwrap();
    }
    let base = Image::read(&data_dir).unwrap();
    let notes = load(&data_dir, &home.path().join("log"));

    // In memory where there is such a file system: what is synced there costs nothing.
    let memory = Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let mut random = Random::new(seed);
    let (mut power, mut musts) = (Power::new(&data_dir, &base), Musts::new());
    let (mut made, mut lost, mut nested) = (0, Lost::default(), 0);
    let notes_count = notes.len() as u64;
    for (at, note) in notes.iter().enumerate() {
        power.next(note);
        if let Note::Told(told) = note {
            take(&mut musts, *told);
        }
        // Evenly over the run.
        while made < images * (at as u64 + 1) / notes_count {
            let (image, of_it) = power.image(&mut random);
            let again = (made % NESTED == 0).then_some(&mut random);
            nested += u64::from(again.is_some());
            if let Err(why) = look(&image, &musts, place.path(), again) {
                panic!("note {at} of {notes_count}, image {made}: {why}\n{note:?}");
            }
            lost.sectors += of_it.sectors;
            lost.lengths += of_it.lengths;
            lost.names += of_it.names;
            made += 1;
        }
    }
    println!(
        "{made} images of {notes_count} notes, {nested} of them lost power again in recovery; lost in all: {} sectors, \
         {} lengths, {} names",
        lost.sectors, lost.lengths, lost.names
    );
    assert_eq!(made, images);
    assert!(
        lost.sectors > 0 && lost.lengths > 0 && lost.names > 0,
        "{lost:?}"
    );
}
