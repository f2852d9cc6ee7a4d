//! The catalog as a statement sees it: immutable, shared, found by name or id.
//!
//! A view is never changed once published; [`super::Change`]s applied to a copy make the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use storage::ids::{LeafPartitionId, TableId};

use super::defs::{DatabaseDef, DatabaseId, PairingDef, PipelineDef, PipelineId, TableDef};

/// All of the catalog at one change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CatalogView {
    /// The number of the last change it holds; 0 for the empty catalog.
    pub change: u64,
    /// The id the next thing gets.
    pub(crate) next_id: u64,
    /// The generation the next order gets.
    pub(crate) next_generation: u64,
    pub(crate) databases: BTreeMap<DatabaseId, Arc<DatabaseDef>>,
    pub(crate) tables: BTreeMap<TableId, Arc<TableDef>>,
    pub(crate) pipelines: BTreeMap<PipelineId, Arc<PipelineDef>>,
    pub(crate) pairings: BTreeMap<LeafPartitionId, Arc<PairingDef>>,
    /// SET GLOBAL: name in lower case to its value's text.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) database_names: HashMap<String, DatabaseId>,
    pub(crate) table_names: HashMap<(DatabaseId, String), TableId>,
    pub(crate) pipeline_names: HashMap<(DatabaseId, String), PipelineId>,
}

impl CatalogView {
    /// Every database, by id.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<DatabaseDef>> {
        self.databases.values()
    }

    /// The database of that name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Arc<DatabaseDef>> {
        self.databases.get(self.database_names.get(name)?)
    }

    /// The database of that id.
    #[must_use]
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<DatabaseDef>> {
        self.databases.get(&id)
    }

    /// Every table that is not being dropped, by id.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables.values().filter(|table| !table.dropping)
    }

    /// Every table whose DROP is under way.
    pub fn tables_dropping(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables.values().filter(|table| table.dropping)
    }

    /// The tables of a database that are not being dropped, by id.
    pub fn tables_of(&self, database: DatabaseId) -> impl Iterator<Item = &Arc<TableDef>> {
        self.tables()
            .filter(move |table| table.database == database)
    }

    /// The table of that name, unless it is being dropped.
    #[must_use]
    pub fn table(&self, database: &str, name: &str) -> Option<&Arc<TableDef>> {
        let database = *self.database_names.get(database)?;
        self.tables
            .get(self.table_names.get(&(database, name.to_owned()))?)
    }

    /// The table of that id, also while it is being dropped.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<TableDef>> {
        self.tables.get(&id)
    }

    /// Every pipeline, by id.
    pub fn pipelines(&self) -> impl Iterator<Item = &Arc<PipelineDef>> {
        self.pipelines.values()
    }

    /// The pipelines of a database, by id.
    pub fn pipelines_of(&self, database: DatabaseId) -> impl Iterator<Item = &Arc<PipelineDef>> {
        self.pipelines()
            .filter(move |pipeline| pipeline.database == database)
    }

    /// The pipeline of that name.
    #[must_use]
    pub fn pipeline(&self, database: &str, name: &str) -> Option<&Arc<PipelineDef>> {
        let database = *self.database_names.get(database)?;
        self.pipelines
            .get(self.pipeline_names.get(&(database, name.to_owned()))?)
    }

    /// The pipeline of that id.
    #[must_use]
    pub fn pipeline_by_id(&self, id: PipelineId) -> Option<&Arc<PipelineDef>> {
        self.pipelines.get(&id)
    }

    /// Every pairing, by leaf partition.
    pub fn pairings(&self) -> impl Iterator<Item = &Arc<PairingDef>> {
        self.pairings.values()
    }

    /// The pairing of that leaf partition.
    #[must_use]
    pub fn pairing(&self, id: LeafPartitionId) -> Option<&Arc<PairingDef>> {
        self.pairings.get(&id)
    }

    /// A table's leaf partitions: what a SELECT reads, also those of dropped pipelines.
    pub fn pairings_of_table(&self, table: TableId) -> impl Iterator<Item = &Arc<PairingDef>> {
        self.pairings()
            .filter(move |pairing| pairing.table == table)
    }

    /// A pipeline's leaf partitions.
    pub fn pairings_of(&self, pipeline: PipelineId) -> impl Iterator<Item = &Arc<PairingDef>> {
        self.pairings()
            .filter(move |pairing| pairing.pipeline == pipeline)
    }

    /// What SET GLOBAL set: name in lower case and value.
    pub fn global_variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
