//! What must hold of each state: what was told is there, each offset once, as produced, and the audit of the
//! records finds nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use ingest::audit::{self, Range, Rows, Stopped, Subject};
use storage::disk::Disk;
use storage::ids::{LeafPartitionId, Lineage, Offset, TableId};
use storage::published::{Durable, PartitionView, Published, Snapshot};
use storage::recovery::{RecoverPartition, RecoveredPartition, recover, segment_path};
use storage::segment::{Alarm, Commit, Segment, SegmentFile};
use storage::store::LineageStart;

use super::load::{TABLE, Told, directory, is_poison, schema, word};

const PAGES_BYTES_MAX: u64 = 64 << 20;

/// What must hold of one leaf partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Must {
    pub(super) start: Option<LineageStart>,
    durable: BTreeMap<Lineage, Offset>,
}

pub(super) type Musts = BTreeMap<u64, Must>;

pub(super) fn take(musts: &mut Musts, told: Told) {
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

pub(super) fn recovered(
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
pub(super) fn check(
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
