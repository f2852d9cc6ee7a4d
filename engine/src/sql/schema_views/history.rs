//! PIPELINES_BATCHES, its summary and metadata, and PIPELINES_ERRORS: what was, from commit records.
//!
//! A commit is a batch of one leaf partition. Newest first, bounded by the engine's variables and by
//! `limits`: the older half of a long history is not shown, it is never an error. Rows that are
//! visible and not yet committed are the batch In Progress.

use ingest::leaf::holes;
use ingest::leaf::order::Failure;
use ingest::pipeline::SqlType;
use storage::format::CommitFacts;
use storage::format::rejects::{FaultKind, RejectKind};
use storage::ids::Offset;
use storage::published::{Part, RejectFacts, Snapshot};
use storage::recovery::KnownHole;

use super::Sources;
use super::pipelines::{Named, Standing};
use crate::limits::{
    VIEW_BATCHES_ROWS_MAX, VIEW_ERRORS_BYTES_MAX, VIEW_ERRORS_ROWS_MAX, VIEW_HOLES_MAX,
};
use crate::sql::error::{Code, SqlError};
use crate::sql::listing::{
    Cell, DOUBLE, INT, Listing, NAME, SECONDS, TEXT, UINT, UNIX_TIME, WORDS,
};

/// A batch of one leaf partition.
struct Batch {
    id: u64,
    state: &'static str,
    facts: CommitFacts,
    kafka_partition: i32,
    leaf_partition: u64,
}

impl Batch {
    fn seconds(&self) -> f64 {
        (self.facts.ended_unix_ms - self.facts.started_unix_ms).max(0) as f64 / 1000.0
    }

    fn started(&self) -> Cell {
        Cell::UnixMicros(self.facts.started_unix_ms.saturating_mul(1000))
    }

    fn megabytes(&self) -> f64 {
        self.facts.extracted_bytes as f64 / 1e6
    }

    fn rows(&self) -> u64 {
        self.facts.rows.into()
    }

    /// A figure a second; NULL where the batch took no time that shows.
    fn a_second(&self, figure: f64) -> Cell {
        if self.seconds() > 0.0 {
            Cell::Double(figure / self.seconds())
        } else {
            Cell::Null
        }
    }
}

fn state_of(facts: &CommitFacts) -> &'static str {
    let counts = &facts.counts;
    if counts.skipped > 0 || facts.first_offset == facts.next_offset {
        // A range given up, or a record of an error alone.
        "Failed"
    } else if counts.loaded == 0 && counts.rejected == 0 {
        "No Data"
    } else {
        "Succeeded"
    }
}

/// BATCH_ID's upper part: the Kafka partition, which is the leaf partition's index in its pipeline.
fn index(kafka_partition: i32) -> u32 {
    u32::try_from(kafka_partition).unwrap_or(0) & 0x00ff_ffff
}

impl Sources<'_> {
    /// A pipeline's newest batches, newest first.
    fn batches(&self, pipeline: &Named<'_>, rows_max: usize) -> Result<Vec<Batch>, SqlError> {
        let kept = usize::try_from(self.variables.batches_metadata_to_keep())
            .unwrap_or(usize::MAX)
            .min(rows_max);
        let mut found = Vec::new();
        for standing in self.partitions_of(pipeline.pipeline) {
            let Some(snapshot) = standing.snapshot() else {
                continue;
            };
            found.extend(in_progress(&standing, &snapshot, self.now_unix_us / 1000));
            for facts in snapshot.commits().rev().take(kept) {
                let facts = facts?;
                found.push(Batch {
                    id: facts.batch_id(index(standing.pairing.kafka_partition)),
                    state: state_of(&facts),
                    facts,
                    kafka_partition: standing.pairing.kafka_partition,
                    leaf_partition: standing.pairing.leaf_partition.0,
                });
            }
            // Keep it bounded while partitions are added.
            newest_first(&mut found);
            found.truncate(kept);
        }
        Ok(found)
    }

    fn each_batch(
        &self,
        listing: &mut Listing,
        row: fn(&Sources<'_>, &Named<'_>, &Batch) -> Vec<Cell>,
    ) -> Result<(), SqlError> {
        let pipelines = self.pipelines();
        let rows_max = VIEW_BATCHES_ROWS_MAX / pipelines.len().max(1);
        for named in &pipelines {
            for batch in self.batches(named, rows_max)? {
                listing.push(row(self, named, &batch))?;
            }
        }
        Ok(())
    }

    fn host(&self) -> Cell {
        self.engine.facts().hostname.clone().into()
    }

    fn port(&self) -> Cell {
        Cell::UInt(self.engine.facts().port.into())
    }
}

fn newest_first(batches: &mut [Batch]) {
    batches.sort_by_key(|batch| std::cmp::Reverse((batch.facts.ended_unix_ms, batch.id)));
}

/// What is visible and not committed, as the batch that it will be part of.
fn in_progress(standing: &Standing, snapshot: &Snapshot, now_ms: i64) -> Option<Batch> {
    let last = snapshot.last_commit();
    let first = last.map_or(standing.pairing.start_offset, |last| last.next_offset);
    let next = snapshot.next_offset();
    if next <= first {
        return None;
    }
    let rows = snapshot
        .parts()
        .iter()
        .filter(|part| part.is_tail())
        .map(Part::rows)
        .sum();
    let facts = CommitFacts {
        commit_number: last.map_or(0, |last| last.commit_number) + 1,
        lineage: standing.pairing.lineage,
        first_offset: first,
        next_offset: next,
        rows,
        rejects: 0,
        counts: storage::counts::Counts::default(),
        leader_epoch: -1,
        more_skips: 0,
        started_unix_ms: now_ms,
        ended_unix_ms: now_ms,
        extracted_bytes: 0,
    };
    Some(Batch {
        id: facts.batch_id(index(standing.pairing.kafka_partition)),
        state: "In Progress",
        facts,
        kafka_partition: standing.pairing.kafka_partition,
        leaf_partition: standing.pairing.leaf_partition.0,
    })
}

pub(super) const BATCHES: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("BATCH_ID", UINT),
    ("BATCH_STATE", NAME),
    ("BATCH_ROWS_WRITTEN", UINT),
    ("BATCH_TIME", DOUBLE),
    ("BATCH_START_UNIX_TIMESTAMP", UNIX_TIME),
    ("BATCH_PARTITION_STATE", NAME),
    ("BATCH_PARTITION_PARSED_ROWS", UINT),
    ("BATCH_SOURCE_PARTITION_ID", NAME),
    ("BATCH_EARLIEST_OFFSET", INT),
    ("BATCH_LATEST_OFFSET", INT),
    ("BATCH_PARTITION_TIME", DOUBLE),
    ("BATCH_PARTITION_EXTRACTED_BYTES", UINT),
    ("BATCH_PARTITION_TRANSFORMED_BYTES", UINT),
    ("HOST", WORDS),
    ("PORT", UINT),
    ("PARTITION", UINT),
];

pub(super) fn batches(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    sources.each_batch(listing, |sources, named, batch| {
        vec![
            named.database.into(),
            named.pipeline.name.clone().into(),
            batch.id.into(),
            batch.state.into(),
            batch.rows().into(),
            Cell::Double(batch.seconds()),
            batch.started(),
            batch.state.into(),
            (batch.rows() + batch.facts.counts.rejected).into(),
            batch.kafka_partition.to_string().into(),
            batch.facts.first_offset.0.into(),
            batch.facts.next_offset.0.into(),
            Cell::Double(batch.seconds()),
            batch.facts.extracted_bytes.into(),
            Cell::Null,
            sources.host(),
            sources.port(),
            batch.leaf_partition.into(),
        ]
    })
}

pub(super) const METADATA: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_ID", UINT),
    ("PIPELINE_NAME", NAME),
    ("BATCH_ID", UINT),
    ("BATCH_STATE", NAME),
    ("BATCH_ROWS_WRITTEN", UINT),
    ("BATCH_ROWS_INSERTED", UINT),
    ("BATCH_ROWS_UPDATED", UINT),
    ("BATCH_ROWS_DELETED", UINT),
    ("BATCH_TIME", DOUBLE),
    ("BATCH_START_UNIX_TIMESTAMP", UNIX_TIME),
];

pub(super) fn metadata(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    sources.each_batch(listing, |_, named, batch| {
        vec![
            named.database.into(),
            named.pipeline.id.0.into(),
            named.pipeline.name.clone().into(),
            batch.id.into(),
            batch.state.into(),
            batch.rows().into(),
            batch.rows().into(),
            Cell::UInt(0),
            Cell::UInt(0),
            Cell::Double(batch.seconds()),
            batch.started(),
        ]
    })
}

pub(super) const SUMMARY: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("BATCH_ID", UINT),
    ("ROWS_INSERTED", UINT),
    ("ROWS_UPDATED", UINT),
    ("ROWS_DELETED", UINT),
    ("BATCH_STATE", NAME),
    ("START_TIME", SECONDS),
    ("BATCH_TIME", DOUBLE),
    ("ROWS_PER_SEC", DOUBLE),
    ("ROWS_STREAMED", UINT),
    ("NUM_PARTITIONS", UINT),
    ("NUM_PARTITIONS_FINISHED", UINT),
    ("MB_STREAMED", DOUBLE),
    ("MB_PER_SEC", DOUBLE),
    ("EXTRACTOR_WAIT_TIME", DOUBLE),
    ("TRANSFORM_WAIT_TIME", DOUBLE),
];

pub(super) fn summary(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    sources.each_batch(listing, |_, named, batch| {
        vec![
            named.database.into(),
            named.pipeline.name.clone().into(),
            batch.id.into(),
            batch.rows().into(),
            Cell::UInt(0),
            Cell::UInt(0),
            batch.state.into(),
            batch.started(),
            Cell::Double(batch.seconds()),
            batch.a_second(batch.rows() as f64),
            (batch.rows() + batch.facts.counts.rejected).into(),
            Cell::UInt(1),
            Cell::UInt((batch.state != "In Progress").into()),
            Cell::Double(batch.megabytes()),
            batch.a_second(batch.megabytes()),
            Cell::Null,
            Cell::Null,
        ]
    })
}

pub(super) const ERRORS: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("ERROR_UNIX_TIMESTAMP", UNIX_TIME),
    ("ERROR_TYPE", NAME),
    ("ERROR_CODE", UINT),
    ("ERROR_MESSAGE", TEXT),
    ("ERROR_KIND", NAME),
    ("STD_ERROR", TEXT),
    ("LOAD_DATA_LINE", TEXT),
    ("LOAD_DATA_LINE_NUMBER", UINT),
    ("BATCH_ID", UINT),
    ("ERROR_ID", UINT),
    ("BATCH_SOURCE_PARTITION_ID", NAME),
    ("BATCH_EARLIEST_OFFSET", INT),
    ("BATCH_LATEST_OFFSET", INT),
    ("HOST", WORDS),
    ("PORT", UINT),
    ("PARTITION", UINT),
];

/// One leaf partition's errors, read from the newest back, a commit at a time.
struct ErrorsBack {
    named: usize,
    standing: Standing,
    next_number: u64,
    parts: Vec<Part>,
    /// The part read last, its newest at the end, each with its place in the batch.
    read: Vec<(usize, RejectFacts)>,
}

impl ErrorsBack {
    /// When the newest that is left happened.
    fn newest(&mut self) -> Result<Option<i64>, SqlError> {
        while self.read.is_empty() {
            let Some(part) = self.parts.pop() else {
                return Ok(None);
            };
            self.read = part.rejects()?.into_iter().enumerate().collect();
        }
        Ok(self.read.last().map(|(_, reject)| reject.unix_ms))
    }
}

/// What a segment in quarantine held, as the error that it is for as long as it is missing.
fn hole_row(known: &KnownHole, kafka_partition: i32) -> RejectFacts {
    let hole = &known.hole;
    RejectFacts {
        batch: Some(CommitFacts {
            commit_number: hole.next_commit_number.saturating_sub(1),
            first_offset: hole.first_offset,
            next_offset: hole.next_offset,
            ..CommitFacts::default()
        }),
        offset: hole.first_offset,
        timestamp_ms: 0,
        unix_ms: hole.found_unix_ms,
        code: Code::Corrupt.number(),
        kind: RejectKind::Fault(FaultKind::Load),
        line: 0,
        column: None,
        text: holes::missing(known, kafka_partition),
        key: None,
        message: Vec::new(),
    }
}

/// A leaf partition that failed by itself, for as long as it stands still.
fn failed_row(unix_ms: i64, failure: &Failure, snapshot: Option<&Snapshot>) -> RejectFacts {
    RejectFacts {
        batch: None,
        offset: snapshot.map_or(Offset(failure.offset), Snapshot::next_offset),
        timestamp_ms: 0,
        unix_ms,
        code: Code::DiskError.number(),
        kind: RejectKind::Fault(FaultKind::Load),
        line: 0,
        column: None,
        text: failure.text.clone(),
        key: None,
        message: Vec::new(),
    }
}

pub(super) fn errors(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    let pipelines = sources.pipelines();
    let mut back = Vec::new();
    for (at, named) in pipelines.iter().enumerate() {
        for standing in sources.partitions_of(named.pipeline) {
            let snapshot = standing.snapshot();
            let last = snapshot.as_ref().and_then(Snapshot::last_commit);
            let partition = ErrorsBack {
                named: at,
                next_number: last.map_or(0, |last| last.commit_number) + 1,
                parts: snapshot.iter().flat_map(Snapshot::reject_parts).collect(),
                read: Vec::new(),
                standing,
            };
            if let Some((unix_ms, failure)) = partition.standing.failed(named.pipeline) {
                let row = failed_row(unix_ms, &failure, snapshot.as_ref());
                listing.push(error_row(sources, named, &partition, unix_ms, 0, row))?;
            }
            let Some(snapshot) = snapshot else {
                continue;
            };
            // However long ago: it is missing now.
            let kafka_partition = partition.standing.pairing.kafka_partition;
            let holes = snapshot.holes().iter().rev().take(VIEW_HOLES_MAX);
            for (place, known) in holes.enumerate() {
                let row = hole_row(known, kafka_partition);
                let unix_ms = row.unix_ms;
                listing.push(error_row(sources, named, &partition, unix_ms, place, row))?;
            }
            back.push(partition);
        }
    }
    let minutes = i64::try_from(sources.variables.errors_retention_minutes()).unwrap_or(i64::MAX);
    let oldest_ms = (sources.now_unix_us / 1000).saturating_sub(minutes.saturating_mul(60_000));
    let megabytes: usize = sources
        .variables
        .get("ingest_errors_max_disk_space_mb")
        .ok()
        .and_then(|megabytes| megabytes.parse().ok())
        .unwrap_or(usize::MAX);
    let bytes_max = megabytes
        .saturating_mul(1_000_000)
        .min(VIEW_ERRORS_BYTES_MAX);
    while listing.rows().len() < VIEW_ERRORS_ROWS_MAX {
        let mut newest: Option<(i64, usize)> = None;
        for (at, partition) in back.iter_mut().enumerate() {
            if let Some(unix_ms) = partition.newest()?
                && newest.is_none_or(|(found, _)| unix_ms > found)
            {
                newest = Some((unix_ms, at));
            }
        }
        let Some((unix_ms, at)) = newest.filter(|(unix_ms, _)| *unix_ms >= oldest_ms) else {
            break;
        };
        let partition = &mut back[at];
        let Some((place, reject)) = partition.read.pop() else {
            break;
        };
        let bytes = reject.message.len() + reject.text.len();
        // The newest is shown whatever its size, so that a huge message cannot hide itself.
        if !listing.rows().is_empty() && listing.bytes() + bytes > bytes_max {
            break;
        }
        let named = &pipelines[partition.named];
        listing.push(error_row(sources, named, partition, unix_ms, place, reject))?;
    }
    Ok(())
}

fn error_row(
    sources: &Sources<'_>,
    named: &Named<'_>,
    partition: &ErrorsBack,
    unix_ms: i64,
    place: usize,
    reject: RejectFacts,
) -> Vec<Cell> {
    let pairing = &partition.standing.pairing;
    let (error_type, kind) = match reject.kind {
        RejectKind::Parser | RejectKind::Constraint => ("Warning", "Load"),
        RejectKind::Fault(FaultKind::Internal) => ("Error", "Internal"),
        RejectKind::Fault(FaultKind::Extract) => ("Error", "Extract"),
        RejectKind::Fault(FaultKind::Transform) => ("Error", "Transform"),
        RejectKind::Fault(FaultKind::Load) => ("Error", "Load"),
    };
    let number = reject
        .batch
        .map_or(partition.next_number, |batch| batch.commit_number);
    let partition_index = u64::from(index(pairing.kafka_partition));
    let column = reject
        .column
        .and_then(|at| named.pipeline.spec.mapping.columns.get(usize::from(at)))
        .filter(|column| !reject.text.contains(&format!("'{}'", column.name)))
        .map_or(String::new(), |column| {
            format!(", column '{}'", column.name)
        });
    let message = format!(
        "partition {}, offset {}{column}: {}",
        pairing.kafka_partition, reject.offset, reject.text
    );
    let line = match reject.kind {
        RejectKind::Fault(_) if reject.message.is_empty() => Cell::Null,
        _ => String::from_utf8_lossy(&reject.message).into_owned().into(),
    };
    vec![
        named.database.into(),
        named.pipeline.name.clone().into(),
        Cell::UnixMicros(unix_ms.saturating_mul(1000)),
        error_type.into(),
        Cell::UInt(reject.code.into()),
        message.into(),
        kind.into(),
        Cell::Null,
        line,
        Cell::UInt(reject.line.into()),
        Cell::UInt(partition_index << 40 | number),
        Cell::UInt(partition_index << 44 | (number & 0x0fff_ffff) << 16 | (place as u64 & 0xffff)),
        pairing.kafka_partition.to_string().into(),
        Cell::Int(
            reject
                .batch
                .map_or(reject.offset.0, |batch| batch.first_offset.0),
        ),
        Cell::Int(
            reject
                .batch
                .map_or(reject.offset.0.saturating_add(1), |batch| {
                    batch.next_offset.0
                }),
        ),
        sources.host(),
        sources.port(),
        pairing.leaf_partition.0.into(),
    ]
}
