//! PIPELINES, PIPELINES_CURSORS, PIPELINES_OFFSETS and our own PIPELINES_PARTITIONS: what is now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ingest::leaf::order::Failure;
use ingest::leaf::{Attached, LogEnd, holes};
use ingest::pipeline::SqlType;
use serde_json::json;
use storage::published::{PartitionState, Snapshot};

use super::Sources;
use crate::aggregator::LiveView;
use crate::catalog::{CatalogView, PairingDef, PipelineDef};
use crate::limits::VIEW_HOLES_MAX;
use crate::sql::engine::Engine;
use crate::sql::error::SqlError;
use crate::sql::listing::{Cell, INT, Listing, NAME, SECONDS, TEXT, UINT, UNIX_TIME, WORDS};

/// A pipeline with the names around it.
pub(super) struct Named<'a> {
    pub(super) database: &'a str,
    pub(super) table: &'a str,
    pub(super) pipeline: &'a PipelineDef,
}

impl Sources<'_> {
    /// Every pipeline, by database and name.
    pub(super) fn pipelines(&self) -> Vec<Named<'_>> {
        let mut found: Vec<_> = self
            .catalog
            .pipelines()
            .filter_map(|pipeline| {
                Some(Named {
                    database: &self.catalog.database_by_id(pipeline.database)?.name,
                    table: self
                        .catalog
                        .table_by_id(pipeline.table)
                        .map_or("", |table| table.name.as_str()),
                    pipeline,
                })
            })
            .collect();
        found.sort_by_key(|named| (named.database, named.pipeline.name.as_str()));
        found
    }

    /// A pipeline's leaf partitions by Kafka partition, with what is known of each.
    pub(super) fn partitions_of(&self, pipeline: &PipelineDef) -> Vec<Standing> {
        standings(self.engine, self.catalog, pipeline)
    }
}

/// A pipeline's leaf partitions by Kafka partition.
pub(super) fn standings(
    engine: &Engine,
    catalog: &CatalogView,
    pipeline: &PipelineDef,
) -> Vec<Standing> {
    let live = engine.parts().aggregator.live();
    let mut found: Vec<_> = catalog
        .pairings_of(pipeline.id)
        .map(|pairing| Standing {
            attached: engine.parts().views.attached(pairing.leaf_partition),
            pairing: Arc::clone(pairing),
            live: Arc::clone(&live),
        })
        .collect();
    found.sort_by_key(|standing| standing.pairing.kafka_partition);
    found
}

/// One leaf partition of a pipeline and what is known of it.
pub(super) struct Standing {
    pub(super) pairing: Arc<PairingDef>,
    pub(super) attached: Option<Arc<Attached>>,
    live: Arc<LiveView>,
}

/// The four cursors of one leaf partition, each the next offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FourCursors {
    /// Of what is fetched; `None` where no leaf says it, as with the other two.
    fetched: Option<i64>,
    visible: i64,
    committed: Option<i64>,
    durable: Option<i64>,
}

impl FourCursors {
    /// Each at least the one behind it. They move while they are read, one after the other, and what is
    /// fetched is shown less often than what is visible: visible is right, the others are brought to it.
    fn in_order(self) -> FourCursors {
        let committed = self.committed.map(|offset| offset.min(self.visible));
        let durable = self.durable.map(|offset| offset.min(self.visible));
        FourCursors {
            fetched: self.fetched.map(|offset| offset.max(self.visible)),
            visible: self.visible,
            committed,
            durable: durable.map(|offset| committed.map_or(offset, |end| offset.min(end))),
        }
    }
}

fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

impl Standing {
    /// A gauge of the leaf's; `None` where it says -1 or there is no leaf.
    fn gauge(&self, of: impl Fn(&Attached) -> &AtomicI64) -> Option<i64> {
        known(of(self.attached.as_ref()?).load(Ordering::Relaxed))
    }

    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        Some(self.attached.as_ref()?.view.snapshot())
    }

    fn earliest(&self) -> Option<i64> {
        let asked = self
            .live
            .places
            .get(&self.pairing.leaf_partition)
            .and_then(|place| known(place.earliest_offset));
        self.gauge(|attached| &attached.standing.log_start_offset)
            .max(asked)
    }

    /// When it failed by itself, ms since 1970, and why; `None` where it did not. Where it was the last of
    /// its pipeline, that has stopped at it, and says so until START or STOP.
    pub(super) fn failed(&self, pipeline: &PipelineDef) -> Option<(i64, Failure)> {
        let own = Some(self.pairing.kafka_partition);
        let stopped = pipeline.failure.as_ref();
        let stopped = stopped.filter(|one| one.failure.alone && one.kafka_partition == own);
        let stopped = stopped.map(|one| (one.unix_ms, one.failure.clone()));
        let live = self.live.failed.get(&self.pairing.leaf_partition);
        live.cloned().or(stopped)
    }

    /// The end that a reader of the pipeline's isolation level sees, exclusive: the later of what the
    /// leaf's fetches and the aggregator's questions were told.
    fn log_end(&self) -> Option<LogEnd> {
        let place = self.live.places.get(&self.pairing.leaf_partition);
        let asked = place.and_then(|place| {
            Some(LogEnd {
                offset: known(place.latest_offset)?,
                unix_ms: place.asked_unix_ms,
            })
        });
        let attached = self.attached.as_deref();
        let heard = attached.and_then(|attached| attached.standing.log_end());
        match (heard, asked) {
            (Some(heard), Some(asked)) => Some(heard.later(asked)),
            (one, other) => one.or(other),
        }
    }

    /// The next offset to load.
    pub(super) fn cursor(&self) -> i64 {
        self.snapshot()
            .map_or(self.pairing.start_offset.0, |snapshot| {
                snapshot.next_offset().0
            })
    }

    fn cursors(&self) -> FourCursors {
        // The last one first: within a lineage each only grows, so what is read later is not below it.
        let durable = self.gauge(|attached| &attached.view.gauges.durable);
        let committed = self.gauge(|attached| &attached.view.gauges.committed);
        let visible = self.cursor();
        let fetched = self.gauge(|attached| &attached.standing.fetched);
        let read = FourCursors {
            fetched,
            visible,
            committed,
            durable,
        };
        read.in_order()
    }

    /// The cursor, or where the range that was skipped last begins if nothing came after it.
    fn successful_cursor(&self) -> Result<i64, SqlError> {
        let cursor = self.cursor();
        let snapshot = self.snapshot().filter(|snapshot| {
            // A merged commit's batches are read from its file: only where one of them skipped.
            let last = snapshot.last_commit();
            last.is_some_and(|last| last.counts.skipped > 0)
        });
        let last = snapshot.and_then(|snapshot| snapshot.commits().next_back());
        let Some(last) = last.transpose()? else {
            return Ok(cursor);
        };
        let skipped = i64::try_from(last.counts.skipped).unwrap_or(0);
        Ok(if last.next_offset.0 == cursor {
            cursor - skipped
        } else {
            cursor
        })
    }
}

pub(super) const PIPELINES: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("PIPELINE_ID", UINT),
    ("CONFIG_JSON", TEXT),
    ("STATE", NAME),
    ("SKIPPED_BATCH_PARTITIONS", UINT),
    ("CREATE_TIME", SECONDS),
    ("ALTER_TIME", SECONDS),
];

pub(super) fn pipelines(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    let live = sources.engine.parts().aggregator.live();
    for named in sources.pipelines() {
        let pipeline = named.pipeline;
        let skipped = sources
            .partitions_of(pipeline)
            .iter()
            .filter_map(Standing::snapshot)
            .map(|snapshot| snapshot.skips())
            .sum::<u64>();
        listing.push(vec![
            named.database.into(),
            pipeline.name.clone().into(),
            pipeline.id.0.into(),
            config_json(sources, &named).into(),
            live.state(pipeline).into(),
            skipped.into(),
            Cell::UnixMicros(pipeline.create_unix_ms.saturating_mul(1000)),
            Cell::UnixMicros(pipeline.alter_unix_ms.saturating_mul(1000)),
        ])?;
    }
    Ok(())
}

/// What the pipeline does, its own values before the engine's. No secret is ever in a definition.
fn config_json(sources: &Sources<'_>, named: &Named<'_>) -> String {
    let (spec, variables) = (&named.pipeline.spec, &sources.variables);
    let retries = spec
        .max_retries_per_batch_partition
        .unwrap_or(variables.max_retries_per_batch_partition());
    json!({
        "name": named.pipeline.name,
        "source_type": "KAFKA",
        "connection_string": format!("{}/{}", spec.brokers.join(","), spec.topic),
        "config": spec.config,
        "table": named.table,
        "format": "JSON",
        "batch_interval": spec.batch_interval_ms.unwrap_or(variables.batch_interval_ms()),
        "max_partitions_per_batch": spec.max_partitions_per_batch,
        "max_retries_per_batch_partition": retries,
        "max_offsets_per_batch_partition":
            spec.max_offsets_per_batch_partition.unwrap_or(variables.max_offsets_per_batch_partition()),
        "stop_on_error": spec.stop_on_error.unwrap_or(variables.stop_on_error()),
        "skip_errors": format!("{:?}", spec.skip_errors).to_uppercase(),
    })
    .to_string()
}

pub(super) const CURSORS: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("SOURCE_TYPE", NAME),
    ("SOURCE_PARTITION_ID", NAME),
    ("EARLIEST_OFFSET", INT),
    ("LATEST_OFFSET", INT),
    ("CURSOR_OFFSET", INT),
    ("SUCCESSFUL_CURSOR_OFFSET", INT),
    ("UPDATED_UNIX_TIMESTAMP", UNIX_TIME),
    ("EXTRA_FIELDS", TEXT),
];

pub(super) fn cursors(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    for named in sources.pipelines() {
        for standing in sources.partitions_of(named.pipeline) {
            let updated = standing
                .snapshot()
                .and_then(|snapshot| snapshot.last_commit())
                .map_or(Cell::Null, |last| {
                    Cell::UnixMicros(last.ended_unix_ms.saturating_mul(1000))
                });
            // The end is read behind the cursor: it is never below it.
            let cursor = standing.cursor();
            listing.push(vec![
                named.database.into(),
                named.pipeline.name.clone().into(),
                "Kafka".into(),
                standing.pairing.kafka_partition.to_string().into(),
                standing.earliest().into(),
                standing.log_end().map(|end| end.offset).into(),
                cursor.into(),
                standing.successful_cursor()?.min(cursor).into(),
                updated,
                Cell::Null,
            ])?;
        }
    }
    Ok(())
}

pub(super) const OFFSETS: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("SOURCE_TYPE", NAME),
    ("SOURCE_PARTITION_ID", NAME),
    ("EARLIEST_OFFSET", INT),
    ("LATEST_OFFSET", INT),
    ("LATEST_LOADED_OFFSET", INT),
    ("LATEST_SUCCESSFUL_OFFSET", INT),
];

pub(super) fn offsets(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    for named in sources.pipelines() {
        for standing in sources.partitions_of(named.pipeline) {
            let cursor = standing.cursor();
            listing.push(vec![
                named.database.into(),
                named.pipeline.name.clone().into(),
                "Kafka".into(),
                standing.pairing.kafka_partition.to_string().into(),
                standing.earliest().into(),
                standing.log_end().map(|end| end.offset).into(),
                known(cursor - 1).into(),
                known(standing.successful_cursor()?.min(cursor) - 1).into(),
            ])?;
        }
    }
    Ok(())
}

pub(super) const PARTITIONS: &[(&str, SqlType)] = &[
    ("DATABASE_NAME", NAME),
    ("PIPELINE_NAME", NAME),
    ("TABLE_NAME", NAME),
    ("LEAF_PARTITION", UINT),
    ("LEAF", UINT),
    ("CPU", UINT),
    ("SOURCE_PARTITION_ID", NAME),
    ("LEADER_BROKER", INT),
    ("LEADER_ADDRESS", WORDS),
    ("STATE", TEXT),
    ("FETCHED_OFFSET", INT),
    ("VISIBLE_OFFSET", INT),
    ("COMMITTED_OFFSET", INT),
    ("DURABLE_OFFSET", INT),
    ("LAST_STABLE_OFFSET", INT),
    ("HEARD_MS", INT),
    ("LAG_RECORDS", INT),
    ("LAG_MS", INT),
    ("LOADED_ROWS", UINT),
    ("REJECTS", UINT),
    ("BYTES", UINT),
    ("SYNC_MS", UINT),
    ("UNSYNCED_MS", INT),
    ("LINEAGE", UINT),
    ("GROUP_OFFSET", INT),
    ("DAMAGE", TEXT),
];

pub(super) fn partitions(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    for named in sources.pipelines() {
        for standing in sources.partitions_of(named.pipeline) {
            listing.push(partition_row(sources, &named, &standing))?;
        }
    }
    Ok(())
}

fn partition_row(sources: &Sources<'_>, named: &Named<'_>, standing: &Standing) -> Vec<Cell> {
    let place = standing.live.places.get(&standing.pairing.leaf_partition);
    let attached = standing.attached.as_deref();
    let leader = attached.and_then(|attached| attached.standing.leader.load_full());
    let cursors = standing.cursors();
    let now_ms = sources.now_unix_us / 1000;
    let end = standing.log_end();
    let lag = end.and_then(|end| end.lag(cursors.visible, now_ms));
    let leaf = attached
        .map(|attached| u64::from(attached.standing.leaf))
        .or(place.map(|place| place.leaf as u64));
    let cpu = attached.and_then(|attached| attached.standing.cpu.map(|cpu| cpu as u64));
    let count = |of: fn(&Attached) -> u64| attached.map(of);
    vec![
        named.database.into(),
        named.pipeline.name.clone().into(),
        named.table.into(),
        standing.pairing.leaf_partition.0.into(),
        leaf.into(),
        cpu.into(),
        standing.pairing.kafka_partition.to_string().into(),
        leader
            .as_ref()
            .map(|leader| i64::from(leader.broker))
            .into(),
        leader
            .as_ref()
            .map(|leader| format!("{}:{}", leader.host, leader.port))
            .into(),
        state_of(named.pipeline, standing).into(),
        cursors.fetched.into(),
        cursors.visible.into(),
        cursors.committed.into(),
        cursors.durable.into(),
        end.map(|end| end.offset).into(),
        end.map(|end| end.age_ms(now_ms)).into(),
        lag.into(),
        attached
            .and_then(|attached| attached.standing.lag_ms(lag, now_ms))
            .into(),
        count(|attached| attached.view.gauges.rows.load(Ordering::Relaxed)).into(),
        count(|attached| attached.view.gauges.rejects.load(Ordering::Relaxed)).into(),
        count(|attached| attached.view.gauges.bytes.load(Ordering::Relaxed)).into(),
        count(|attached| attached.view.gauges.sync_ms.load(Ordering::Relaxed)).into(),
        standing
            .gauge(|attached| &attached.view.gauges.dirty_since_unix_ms)
            .map(|since_ms| (now_ms - since_ms).max(0))
            .into(),
        standing.pairing.lineage.0.into(),
        place.and_then(|place| known(place.group_offset)).into(),
        damage(standing).into(),
    ]
}

/// Why a leaf partition cannot be read or stands still, in words; `None` where it does neither.
pub(super) fn stands_still(pipeline: &PipelineDef, standing: &Standing) -> Option<String> {
    let words = state_of(pipeline, standing);
    let recovering = standing
        .attached
        .as_ref()
        .is_none_or(|attached| attached.view.gauges.state() == PartitionState::Recovering);
    let id = standing.pairing.leaf_partition;
    match recovering {
        true if words.starts_with("Failed") => Some(words),
        true => Some(format!("{words}: leaf partition {id} is not recovered yet")),
        false => words.starts_with("Failed").then_some(words),
    }
}

/// What is missing: what segments in quarantine held, and what recovery lost by the group's offsets.
fn damage(standing: &Standing) -> Option<String> {
    let place = standing.live.places.get(&standing.pairing.leaf_partition);
    let snapshot = standing.snapshot();
    let holes = snapshot.iter().flat_map(|snapshot| snapshot.holes());
    let holes = holes.map(|known| holes::missing(known, standing.pairing.kafka_partition));
    let all: Vec<String> = place
        .and_then(|place| Some(place.damage.as_ref()?.text.clone()))
        .into_iter()
        .chain(holes.take(VIEW_HOLES_MAX))
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// In words. A failure that the pipeline stopped at is said until START, whatever its leaf did since.
fn state_of(pipeline: &PipelineDef, standing: &Standing) -> String {
    let stopped_at = pipeline.failure.as_ref().filter(|failure| {
        failure
            .kafka_partition
            .is_none_or(|partition| partition == standing.pairing.kafka_partition)
    });
    let pairing = &standing.pairing;
    let place = standing.live.places.get(&pairing.leaf_partition);
    let surplus = place.and_then(|place| place.surplus(&pairing.topic, pairing.kafka_partition));
    match (stopped_at, &standing.attached) {
        (Some(failure), _) => format!("Failed: {failure}"),
        (None, _) if surplus.is_some() => surplus.unwrap_or_default(),
        (None, Some(attached)) => attached.standing.words(),
        (None, None) => match standing.failed(pipeline) {
            Some((_, failure)) => format!("Failed: {}", failure.text),
            None => "Not attached".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cursor_is_at_least_the_one_behind_it_whatever_was_read() {
        let offsets = [None, Some(0), Some(5), Some(9)];
        for fetched in offsets {
            for visible in [0, 5, 9] {
                for committed in offsets {
                    for durable in offsets {
                        let read = FourCursors {
                            fetched,
                            visible,
                            committed,
                            durable,
                        };
                        let shown = read.in_order();
                        assert_eq!(shown.visible, visible, "{read:?}");
                        assert!(
                            shown.fetched.is_none_or(|offset| offset >= visible),
                            "{read:?}"
                        );
                        let behind = [shown.committed, shown.durable].into_iter().flatten();
                        assert!(behind.is_sorted_by(|one, next| one >= next), "{read:?}");
                        assert!(
                            shown.committed.is_none_or(|offset| offset <= visible),
                            "{read:?}"
                        );
                        assert!(
                            shown.durable.is_none_or(|offset| offset <= visible),
                            "{read:?}"
                        );
                        let known = [fetched, committed, durable].map(|one| one.is_some());
                        let shows = [shown.fetched, shown.committed, shown.durable];
                        assert_eq!(shows.map(|one| one.is_some()), known, "{read:?}");
                        assert_eq!(shown.in_order(), shown, "what is in order stays");
                    }
                }
            }
        }
    }
}
