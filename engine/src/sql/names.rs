//! A statement's tables: the catalog's, with every leaf partition pinned, and information_schema's.
//!
//! A leaf partition that cannot be read is an error of the statement, and so is one that misses what a
//! segment in quarantine held: fewer rows than there are would be a lie. `pinleaf_read_damaged` alone
//! leaves it out, and a warning says so.

use std::sync::Arc;

use ingest::leaf::holes;
use storage::published::PartitionState;

use super::engine::Engine;
use super::error::{Code, SqlError};
use super::left_out::Late;
use super::schema_views;
use super::select::{
    Names, ScanPart, Source, StoredPartition, StoredTable, TableColumn, VirtualTable,
};
use crate::catalog::{CatalogView, TableDef};

/// The name of the database of views.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// What one statement may name.
pub struct StatementNames {
    /// The catalog, as it stood when the statement began.
    pub catalog: Arc<CatalogView>,
    /// The engine.
    pub engine: Arc<Engine>,
    /// `pinleaf_read = durable`.
    pub durable: bool,
    /// `pinleaf_read_damaged`: what is left out is said there.
    pub read_damaged: Option<Arc<Late>>,
    /// A table of this statement's own, for SHOW ... WHERE.
    pub own: Option<VirtualTable>,
}

impl Names for StatementNames {
    fn resolve(&self, database: Option<&str>, table: &str) -> Result<Option<Source>, SqlError> {
        if let Some(own) = &self.own {
            return Ok(Some(Source::Virtual(own.clone())));
        }
        let Some(database) = database else {
            return Err(SqlError::new(Code::NoDatabase, "No database selected"));
        };
        if database.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
            return Ok(
                schema_views::table(&self.engine, &self.catalog, table)?.map(Source::Virtual)
            );
        }
        if self.catalog.database(database).is_none() {
            return Err(SqlError::new(
                Code::UnknownDatabase,
                format!("Unknown database '{database}'"),
            ));
        }
        match self.catalog.table(database, table) {
            Some(def) => self
                .stored(database, def)
                .map(|stored| Some(Source::Stored(stored))),
            None => Ok(None),
        }
    }
}

impl StatementNames {
    fn stored(&self, database: &str, table: &TableDef) -> Result<StoredTable, SqlError> {
        let mut partitions = Vec::new();
        for pairing in self.catalog.pairings_of_table(table.id) {
            let id = pairing.leaf_partition;
            let view = self.engine.parts().views.get(id);
            let Some(view) = view.filter(|view| view.gauges.state() != PartitionState::Recovering)
            else {
                // Its recovery failed: no waiting brings it.
                let live = self.engine.parts().aggregator.live();
                if let Some((_, failure)) = live.failed.get(&id) {
                    let what = format!("leaf partition {id}: {}", failure.text);
                    self.missing(table, &what, "; all of the leaf partition is left out")?;
                    continue;
                }
                self.unreadable(table, &format!("leaf partition {id} is not recovered yet"))?;
                continue;
            };
            let mut snapshot = view.snapshot();
            for known in snapshot.holes() {
                let what = holes::missing(known, pairing.kafka_partition);
                self.missing(table, &format!("leaf partition {id}: {what}"), "")?;
            }
            if self.durable {
                snapshot = snapshot.durable_prefix();
            }
            let parts: Vec<Arc<dyn ScanPart>> = snapshot
                .parts()
                .iter()
                .map(|part| Arc::new(part.clone()) as Arc<dyn ScanPart>)
                .collect();
            partitions.push(StoredPartition {
                leaf_partition: id,
                kafka_partition: pairing.kafka_partition,
                parts: parts.into(),
            });
        }
        Ok(StoredTable {
            database: database.to_owned(),
            name: table.name.clone(),
            columns: columns(table),
            partitions,
        })
    }

    /// Rows that a segment in quarantine held: a query that says nothing would give fewer without a word.
    ///
    /// - `left_out`: what a query that reads around them leaves out besides.
    fn missing(&self, table: &TableDef, what: &str, left_out: &str) -> Result<(), SqlError> {
        let message = format!("Table '{}': {what}", table.name);
        let Some(late) = &self.read_damaged else {
            return Err(SqlError::new(
                Code::Corrupt,
                format!("{message}; SET pinleaf_read_damaged = ON reads around them"),
            ));
        };
        late.warn(Code::Corrupt, &format!("{message}{left_out}"));
        Ok(())
    }

    fn unreadable(&self, table: &TableDef, what: &str) -> Result<(), SqlError> {
        let message = format!("Table '{}': {what}", table.name);
        let Some(late) = &self.read_damaged else {
            return Err(SqlError::new(
                Code::NotReady,
                format!(
                    "{message}: see information_schema.PIPELINES_PARTITIONS, or SET pinleaf_read_damaged = ON"
                ),
            ));
        };
        late.warn(Code::NotReady, &format!("{message}: left out"));
        Ok(())
    }
}

/// A table's columns, as a query sees them.
#[must_use]
pub fn columns(table: &TableDef) -> Arc<[TableColumn]> {
    table
        .spec
        .columns
        .iter()
        .map(|column| TableColumn {
            name: column.name.clone(),
            sql_type: column.sql_type,
            nullable: column.nullable,
        })
        .collect()
}
