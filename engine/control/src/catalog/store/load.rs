//! The catalog's tables into a view: everything is read and typed at start, or the start ends.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;
use storage::ids::{Generation, LeafPartitionId, Lineage, Offset, TableId, TopicId};

use super::named;
use crate::catalog::defs::{
    DatabaseDef, DatabaseId, NodeId, PairingDef, PipelineDef, PipelineId, PipelineState, TableDef,
    TableSpec,
};
use crate::catalog::error::CatalogError;
use crate::catalog::view::CatalogView;

/// Reads all of it.
///
/// # Errors
/// `Corrupt`: a value that is not of its type, or a row that points nowhere. `Disk`: SQLite's.
pub(super) fn load(connection: &Connection, path: &Path) -> Result<CatalogView, CatalogError> {
    let from = Reader { connection, path };
    let mut view = CatalogView::default();
    for (name, value) in from.rows("SELECT name, value FROM counter", |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
    })? {
        match name.as_str() {
            "change" => view.change = value,
            "next_id" => view.next_id = value,
            "next_generation" => view.next_generation = value,
            _ => return Err(from.corrupt(format!("counter '{name}'"))),
        }
    }
    for def in from.rows("SELECT id, name, create_unix_ms FROM database", |row| {
        Ok(DatabaseDef {
            id: DatabaseId(row.get(0)?),
            name: row.get(1)?,
            create_unix_ms: row.get(2)?,
        })
    })? {
        from.below(def.id.0, view.next_id)?;
        view.database_names.insert(def.name.clone(), def.id);
        view.databases.insert(def.id, Arc::new(def));
    }
    tables(&from, &mut view)?;
    pipelines(&from, &mut view)?;
    pairings(&from, &mut view)?;
    view.variables = from
        .rows("SELECT name, value FROM variable", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .into_iter()
        .collect();
    Ok(view)
}

fn tables(from: &Reader<'_>, view: &mut CatalogView) -> Result<(), CatalogError> {
    let rows = from.rows(
        "SELECT id, database, name, spec, schema_version, create_unix_ms, dropping FROM \"table\"",
        |row| {
            Ok((
                TableDef {
                    id: TableId(row.get(0)?),
                    database: DatabaseId(row.get(1)?),
                    name: row.get(2)?,
                    spec: TableSpec::default(),
                    schema_version: row.get(4)?,
                    create_unix_ms: row.get(5)?,
                    dropping: row.get(6)?,
                    schema: TableDef::storage_schema(&TableSpec::default(), 1),
                },
                row.get::<_, String>(3)?,
            ))
        },
    )?;
    for (mut def, spec) in rows {
        from.below(def.id.0, view.next_id)?;
        def.spec = from.json(&format!("table {}", def.id), &spec)?;
        def.schema = TableDef::storage_schema(&def.spec, def.schema_version);
        if !def.dropping {
            view.table_names
                .insert((def.database, def.name.clone()), def.id);
        }
        view.tables.insert(def.id, Arc::new(def));
    }
    Ok(())
}

fn pipelines(from: &Reader<'_>, view: &mut CatalogView) -> Result<(), CatalogError> {
    let rows = from.rows(
        "SELECT id, database, name, \"table\", spec, topic_id, state, failure, create_unix_ms, alter_unix_ms FROM pipeline",
        |row| {
            Ok((
                PipelineId(row.get(0)?),
                DatabaseId(row.get(1)?),
                row.get::<_, String>(2)?,
                TableId(row.get(3)?),
                row.get::<_, String>(4)?,
                row.get::<_, Option<[u8; 16]>>(5)?,
                row.get::<_, String>(6)?,
                row.get::<_, Option<String>>(7)?,
                row.get::<_, i64>(8)?,
                row.get::<_, i64>(9)?,
            ))
        },
    )?;
    for (id, database, name, table, spec, topic_id, state, failure, created, altered) in rows {
        from.below(id.0, view.next_id)?;
        let place = format!("pipeline {id}");
        let state = [
            PipelineState::Running,
            PipelineState::Stopped,
            PipelineState::Error,
        ]
        .into_iter()
        .find(|known| known.to_string() == state)
        .ok_or_else(|| from.corrupt(format!("{place}: state '{state}'")))?;
        let failure = match failure {
            Some(text) => Some(from.json(&place, &text)?),
            None => None,
        };
        view.pipeline_names.insert((database, name.clone()), id);
        view.pipelines.insert(
            id,
            Arc::new(PipelineDef {
                id,
                database,
                name,
                table,
                spec: from.json(&place, &spec)?,
                topic_id: topic_id.map(TopicId),
                state,
                failure,
                create_unix_ms: created,
                alter_unix_ms: altered,
            }),
        );
    }
    Ok(())
}

fn pairings(from: &Reader<'_>, view: &mut CatalogView) -> Result<(), CatalogError> {
    let rows = from.rows(
        "SELECT leaf_partition, \"table\", pipeline, kafka_partition, topic, topic_id, owner, \
         generation, lineage, live_lineage, start_offset, end_offset FROM pairing",
        |row| {
            Ok(PairingDef {
                leaf_partition: LeafPartitionId(row.get(0)?),
                table: TableId(row.get(1)?),
                pipeline: PipelineId(row.get(2)?),
                kafka_partition: row.get(3)?,
                topic: row.get(4)?,
                topic_id: TopicId(row.get(5)?),
                owner: NodeId(row.get(6)?),
                generation: Generation(row.get(7)?),
                lineage: Lineage(row.get(8)?),
                live_lineage: Lineage(row.get(9)?),
                start_offset: Offset(row.get(10)?),
                end_offset: row.get::<_, Option<i64>>(11)?.map(Offset),
            })
        },
    )?;
    for def in rows {
        from.below(def.leaf_partition.0, view.next_id)?;
        from.below(def.generation.0, view.next_generation)?;
        if def.live_lineage > def.lineage || def.lineage.0 == 0 || def.start_offset.0 < 0 {
            return Err(from.corrupt(format!("pairing {}: lineage", def.leaf_partition)));
        }
        view.pairings.insert(def.leaf_partition, Arc::new(def));
    }
    Ok(())
}

struct Reader<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl Reader<'_> {
    fn rows<T>(
        &self,
        sql: &str,
        row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, CatalogError> {
        self.connection
            .prepare(sql)
            .and_then(|mut statement| statement.query_map([], row)?.collect())
            .map_err(|error| named(self.path, "read", &error))
    }

    fn json<T: DeserializeOwned>(&self, place: &str, text: &str) -> Result<T, CatalogError> {
        serde_json::from_str(text).map_err(|error| self.corrupt(format!("{place}: {error}")))
    }

    fn below(&self, value: u64, next: u64) -> Result<(), CatalogError> {
        if value < next {
            Ok(())
        } else {
            Err(self.corrupt(format!("{value} is in use and not counted as used")))
        }
    }

    fn corrupt(&self, what: String) -> CatalogError {
        CatalogError::Corrupt {
            path: self.path.to_owned(),
            what,
        }
    }
}
