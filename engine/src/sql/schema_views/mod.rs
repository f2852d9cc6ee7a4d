//! information_schema: views made for the statement that reads them, from the catalog, the leaves'
//! snapshots and gauges, and the commit records, which a restart keeps.
//!
//! Columns are the reference's, one to one; PIPELINES_PARTITIONS is our own. docs/views.md says what
//! each holds. History is bounded, newest first: see `limits`.

mod history;
mod pipelines;
mod standard;
mod tables;

#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ingest::leaf::DISK_FULL;
use ingest::pipeline::SqlType;
use storage::ids::LeafPartitionId;

use super::engine::Engine;
use super::error::SqlError;
use super::listing::Listing;
use super::names::INFORMATION_SCHEMA;
use super::select::VirtualTable;
use crate::catalog::{
    CatalogView, ColumnDef, EngineVariables, PipelineDef, PipelineState, TableDef,
};

pub(super) use standard::{CHARACTER_SETS_KNOWN, collation_rows, engine_row};
pub(super) use tables::default_text;

/// What a view is made from.
pub(super) struct Sources<'a> {
    pub(super) engine: &'a Engine,
    pub(super) catalog: &'a CatalogView,
    pub(super) variables: EngineVariables,
    pub(super) now_unix_us: i64,
}

/// Rows and bytes on disk of a table, by its leaf partitions' gauges.
pub(super) fn size_of(engine: &Engine, catalog: &CatalogView, table: &TableDef) -> (u64, u64) {
    let views = &engine.parts().views;
    catalog
        .pairings_of_table(table.id)
        .filter_map(|pairing| views.get(pairing.leaf_partition))
        .fold((0, 0), |(rows, bytes), view| {
            (
                rows + view.gauges.rows.load(Ordering::Relaxed),
                bytes + view.gauges.bytes.load(Ordering::Relaxed),
            )
        })
}

/// A pipeline's cursors, by Kafka partition: the next offset to load.
pub(super) fn cursors_of(
    engine: &Engine,
    catalog: &CatalogView,
    pipeline: &PipelineDef,
) -> Vec<(i32, i64)> {
    pipelines::standings(engine, catalog, pipeline)
        .iter()
        .map(|standing| (standing.pairing.kafka_partition, standing.cursor()))
        .collect()
}

/// What a pipeline's first leaf partition that is held waits for, where one is.
pub(super) fn held(
    engine: &Engine,
    catalog: &CatalogView,
    pipeline: &PipelineDef,
) -> Option<String> {
    pipelines::standings(engine, catalog, pipeline)
        .iter()
        .find_map(|standing| {
            let words = standing.attached.as_ref()?.standing.words();
            // A pipeline that runs may have a partition that failed by itself.
            let failed = pipeline.state == PipelineState::Running && words.starts_with("Failed: ");
            // Also one that is caught up, or on its way to a stop.
            let full = words.ends_with(DISK_FULL);
            let stands = failed || full || words.starts_with("Held: ");
            stands.then(|| format!("partition {}: {words}", standing.pairing.kafka_partition))
        })
}

/// Why a leaf partition cannot be read or stands still, in words; `None` where it does neither.
pub(super) fn stands_still(
    engine: &Engine,
    catalog: &CatalogView,
    pipeline: &PipelineDef,
    leaf_partition: LeafPartitionId,
) -> Option<String> {
    pipelines::standings(engine, catalog, pipeline)
        .iter()
        .find(|standing| standing.pairing.leaf_partition == leaf_partition)
        .and_then(|standing| pipelines::stands_still(pipeline, standing))
}

/// A view: its columns, and what fills it.
struct View {
    name: &'static str,
    columns: &'static [(&'static str, SqlType)],
    fill: fn(&Sources<'_>, &mut Listing) -> Result<(), SqlError>,
}

const VIEWS: &[View] = &[
    View {
        name: "COLUMNS",
        columns: tables::COLUMNS,
        fill: tables::columns,
    },
    View {
        name: "PIPELINES",
        columns: pipelines::PIPELINES,
        fill: pipelines::pipelines,
    },
    View {
        name: "PIPELINES_BATCHES",
        columns: history::BATCHES,
        fill: history::batches,
    },
    View {
        name: "PIPELINES_BATCHES_METADATA",
        columns: history::METADATA,
        fill: history::metadata,
    },
    View {
        name: "PIPELINES_BATCHES_SUMMARY",
        columns: history::SUMMARY,
        fill: history::summary,
    },
    View {
        name: "PIPELINES_CURSORS",
        columns: pipelines::CURSORS,
        fill: pipelines::cursors,
    },
    View {
        name: "PIPELINES_ERRORS",
        columns: history::ERRORS,
        fill: history::errors,
    },
    View {
        name: "PIPELINES_OFFSETS",
        columns: pipelines::OFFSETS,
        fill: pipelines::offsets,
    },
    View {
        name: "PIPELINES_PARTITIONS",
        columns: pipelines::PARTITIONS,
        fill: pipelines::partitions,
    },
    View {
        name: "PROCESSLIST",
        columns: tables::PROCESSLIST,
        fill: tables::processlist,
    },
    View {
        name: "SCHEMATA",
        columns: tables::SCHEMATA,
        fill: tables::schemata,
    },
    View {
        name: "TABLES",
        columns: tables::TABLES,
        fill: tables::tables,
    },
];

fn view(name: &str) -> Option<&'static View> {
    let mut views = VIEWS.iter().chain(standard::VIEWS);
    views.find(|view| view.name.eq_ignore_ascii_case(name))
}

/// Every view's name, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    let views = VIEWS.iter().chain(standard::VIEWS);
    let mut all: Vec<&str> = views.map(|view| view.name).collect();
    all.sort_unstable();
    all.into_iter()
}

/// A view's columns; `None` where there is no such view.
#[must_use]
pub fn columns(name: &str) -> Option<Vec<ColumnDef>> {
    let column = |(name, sql_type): &(&str, SqlType)| ColumnDef {
        name: (*name).to_owned(),
        sql_type: *sql_type,
        nullable: true,
        default: None,
        comment: String::new(),
    };
    Some(view(name)?.columns.iter().map(column).collect())
}

/// A view with its rows as they are now; `None` where there is no such view.
///
/// # Errors
/// What reading the history finds.
pub fn table(
    engine: &Arc<Engine>,
    catalog: &CatalogView,
    name: &str,
) -> Result<Option<VirtualTable>, SqlError> {
    let Some(view) = view(name) else {
        return Ok(None);
    };
    let sources = Sources {
        engine,
        catalog,
        variables: engine.engine_variables(catalog),
        now_unix_us: engine.now_unix_us(),
    };
    let mut listing = Listing::new(view.columns);
    (view.fill)(&sources, &mut listing)?;
    listing.into_table(INFORMATION_SCHEMA, view.name).map(Some)
}
