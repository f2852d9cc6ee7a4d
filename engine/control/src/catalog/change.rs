//! A change of the catalog: what a statement commits, a numbered list of which is the catalog.
//!
//! A change says what is so afterwards, never what to do, so that applying the list from the first
//! change on gives the same view anywhere (a test does it). Ids and generations are in the changes;
//! none is handed out twice, also after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::ids::{Generation, LeafPartitionId, Lineage, Offset, TableId, TopicId};

use super::defs::{
    DatabaseDef, DatabaseId, NodeId, PairingDef, PipelineDef, PipelineFailure, PipelineId,
    PipelineSpec, PipelineState, TableDef, TableSpec,
};
use super::view::CatalogView;

/// One change. Ids are plain numbers here: this is what is kept and sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// CREATE DATABASE.
    DatabaseCreated(DatabaseDef),
    /// DROP DATABASE, once nothing is in it.
    DatabaseDropped {
        /// Which one.
        database: DatabaseId,
    },
    /// CREATE TABLE.
    TableCreated {
        /// Its id.
        table: u64,
        /// Its database.
        database: DatabaseId,
        /// Its name.
        name: String,
        /// Its columns and keys.
        spec: TableSpec,
        /// When, ms since 1970.
        unix_ms: i64,
    },
    /// DROP TABLE begins: no statement sees it any more.
    TableDropping {
        /// Which one.
        table: u64,
    },
    /// DROP TABLE ends: every leaf has unlinked its rows. Its pairings go with it.
    TableDropped {
        /// Which one.
        table: u64,
    },
    /// CREATE PIPELINE.
    PipelineCreated {
        /// Its id.
        pipeline: PipelineId,
        /// Its database.
        database: DatabaseId,
        /// Its name.
        name: String,
        /// The table it loads.
        table: u64,
        /// All it says.
        spec: Box<PipelineSpec>,
        /// When, ms since 1970.
        unix_ms: i64,
    },
    /// CREATE OR REPLACE PIPELINE: keeps id, state and pairings.
    PipelineReplaced {
        /// Which one.
        pipeline: PipelineId,
        /// All it says.
        spec: Box<PipelineSpec>,
        /// When, ms since 1970.
        unix_ms: i64,
    },
    /// START, STOP or a failure.
    PipelineState {
        /// Which one.
        pipeline: PipelineId,
        /// What it should be doing.
        state: PipelineState,
        /// Why, when that is Error.
        failure: Option<PipelineFailure>,
    },
    /// The topic's id became known, or another topic was accepted under its name.
    PipelineTopic {
        /// Which one.
        pipeline: PipelineId,
        /// The topic's id.
        topic_id: [u8; 16],
    },
    /// DROP PIPELINE: its rows and pairings stay.
    PipelineDropped {
        /// Which one.
        pipeline: PipelineId,
    },
    /// A leaf partition was made; its directory exists and its parent is synced.
    Paired {
        /// The row.
        pairing: PairingRow,
        /// The order that tells a leaf of it.
        generation: u64,
    },
    /// A pairing's lineage: SET OFFSETS, TRUNCATE, or another topic of that name.
    Lineage {
        /// The leaf partition.
        leaf_partition: u64,
        /// The order that tells its leaf.
        generation: u64,
        /// The lineage that should be.
        lineage: u64,
        /// Segments below it are unlinked at every start.
        live_lineage: u64,
        /// Its first offset.
        start_offset: i64,
        /// The topic's id, when that changed with it.
        topic_id: Option<[u8; 16]>,
    },
    /// An order with this generation is about to be given to these leaf partitions.
    Ordered {
        /// The leaf partitions.
        leaf_partitions: Vec<u64>,
        /// The generation.
        generation: u64,
    },
    /// SET GLOBAL.
    VariableSet {
        /// Its name in lower case.
        name: String,
        /// Its value's text; `None`: back to the configuration's or the default.
        value: Option<String>,
    },
}

/// A pairing as it is kept and sent; see [`PairingDef`] for each field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PairingRow {
    pub leaf_partition: u64,
    pub table: u64,
    pub pipeline: PipelineId,
    pub kafka_partition: i32,
    pub topic: String,
    pub topic_id: [u8; 16],
    pub owner: NodeId,
    pub lineage: u64,
    pub live_lineage: u64,
    pub start_offset: i64,
    pub end_offset: Option<i64>,
}

impl PairingRow {
    /// As the view holds it.
    #[must_use]
    pub fn def(&self, generation: u64) -> PairingDef {
        PairingDef {
            leaf_partition: LeafPartitionId(self.leaf_partition),
            table: TableId(self.table),
            pipeline: self.pipeline,
            kafka_partition: self.kafka_partition,
            topic: self.topic.clone(),
            topic_id: TopicId(self.topic_id),
            owner: self.owner,
            generation: Generation(generation),
            lineage: Lineage(self.lineage),
            live_lineage: Lineage(self.live_lineage),
            start_offset: Offset(self.start_offset),
            end_offset: self.end_offset.map(Offset),
        }
    }
}

/// Why a change does not apply: the list and the view do not belong together, or a bug of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {number} does not apply: {what}")]
pub struct Misfit {
    /// The change's number.
    pub number: u64,
    /// What is missing or already there.
    pub what: String,
}

impl CatalogView {
    /// This view with one more change.
    ///
    /// # Errors
    /// `Misfit`: the change names what is not there, or makes what is. The view is of no use then:
    /// apply to a copy.
    pub fn apply(&mut self, change: &Change) -> Result<(), Misfit> {
        let number = self.change + 1;
        let misfit = |what: String| Misfit { number, what };
        match change {
            Change::DatabaseCreated(def) => {
                if self.database_names.contains_key(&def.name) {
                    return Err(misfit(format!("database '{}' exists", def.name)));
                }
                self.take_id(def.id.0, number)?;
                self.database_names.insert(def.name.clone(), def.id);
                self.databases.insert(def.id, Arc::new(def.clone()));
            }
            Change::DatabaseDropped { database } => {
                if self
                    .tables
                    .values()
                    .any(|table| table.database == *database)
                    || self.pipelines_of(*database).next().is_some()
                {
                    return Err(misfit(format!("database {database} is not empty")));
                }
                let def = self
                    .databases
                    .remove(database)
                    .ok_or_else(|| misfit(format!("no database {database}")))?;
                self.database_names.remove(&def.name);
            }
            Change::TableCreated {
                table,
                database,
                name,
                spec,
                unix_ms,
            } => {
                let key = (*database, name.clone());
                if !self.databases.contains_key(database) || self.table_names.contains_key(&key) {
                    return Err(misfit(format!("table '{name}' exists or has no database")));
                }
                self.take_id(*table, number)?;
                let id = TableId(*table);
                self.table_names.insert(key, id);
                self.tables.insert(
                    id,
                    Arc::new(TableDef {
                        id,
                        database: *database,
                        name: name.clone(),
                        schema: TableDef::storage_schema(spec, 1),
                        spec: spec.clone(),
                        schema_version: 1,
                        create_unix_ms: *unix_ms,
                        dropping: false,
                    }),
                );
            }
            Change::TableDropping { table } => {
                if let Some(loads) = self.pipelines.values().find(|p| p.table.0 == *table) {
                    return Err(misfit(format!("pipeline {} loads table {table}", loads.id)));
                }
                let def = change_in(&mut self.tables, &TableId(*table))
                    .ok_or_else(|| misfit(format!("no table {table}")))?;
                def.dropping = true;
                let key = (def.database, def.name.clone());
                self.table_names.remove(&key);
            }
            Change::TableDropped { table } => {
                let id = TableId(*table);
                if !self.tables.get(&id).is_some_and(|def| def.dropping) {
                    return Err(misfit(format!("table {table} is not being dropped")));
                }
                self.tables.remove(&id);
                self.pairings.retain(|_, pairing| pairing.table != id);
            }
            Change::PipelineCreated {
                pipeline,
                database,
                name,
                table,
                spec,
                unix_ms,
            } => {
                let key = (*database, name.clone());
                if self.pipeline_names.contains_key(&key)
                    || !self.tables.contains_key(&TableId(*table))
                {
                    return Err(misfit(format!("pipeline '{name}' exists or has no table")));
                }
                self.take_id(pipeline.0, number)?;
                self.pipeline_names.insert(key, *pipeline);
                self.pipelines.insert(
                    *pipeline,
                    Arc::new(PipelineDef {
                        id: *pipeline,
                        database: *database,
                        name: name.clone(),
                        table: TableId(*table),
                        spec: (**spec).clone(),
                        topic_id: None,
                        state: PipelineState::Stopped,
                        failure: None,
                        create_unix_ms: *unix_ms,
                        alter_unix_ms: *unix_ms,
                    }),
                );
            }
            Change::PipelineReplaced {
                pipeline,
                spec,
                unix_ms,
            } => {
                let def = self.pipeline_mut(*pipeline, number)?;
                def.spec = (**spec).clone();
                def.alter_unix_ms = *unix_ms;
            }
            Change::PipelineState {
                pipeline,
                state,
                failure,
            } => {
                let def = self.pipeline_mut(*pipeline, number)?;
                def.state = *state;
                def.failure.clone_from(failure);
            }
            Change::PipelineTopic { pipeline, topic_id } => {
                self.pipeline_mut(*pipeline, number)?.topic_id = Some(TopicId(*topic_id));
            }
            Change::PipelineDropped { pipeline } => {
                let def = self
                    .pipelines
                    .remove(pipeline)
                    .ok_or_else(|| misfit(format!("no pipeline {pipeline}")))?;
                self.pipeline_names
                    .remove(&(def.database, def.name.clone()));
            }
            Change::Paired {
                pairing,
                generation,
            } => {
                self.take_id(pairing.leaf_partition, number)?;
                self.take_generation(*generation);
                let def = pairing.def(*generation);
                self.pairings.insert(def.leaf_partition, Arc::new(def));
            }
            Change::Lineage {
                leaf_partition,
                generation,
                lineage,
                live_lineage,
                start_offset,
                topic_id,
            } => {
                let def = change_in(&mut self.pairings, &LeafPartitionId(*leaf_partition))
                    .ok_or_else(|| misfit(format!("no leaf partition {leaf_partition}")))?;
                if *lineage <= def.lineage.0 {
                    return Err(misfit(format!("lineage {lineage} is not new")));
                }
                def.generation = Generation(*generation);
                def.lineage = Lineage(*lineage);
                def.live_lineage = Lineage(*live_lineage);
                def.start_offset = Offset(*start_offset);
                if let Some(topic_id) = topic_id {
                    def.topic_id = TopicId(*topic_id);
                }
                self.take_generation(*generation);
            }
            Change::Ordered {
                leaf_partitions,
                generation,
            } => {
                for id in leaf_partitions {
                    let def = change_in(&mut self.pairings, &LeafPartitionId(*id))
                        .ok_or_else(|| misfit(format!("no leaf partition {id}")))?;
                    def.generation = Generation(*generation);
                }
                self.take_generation(*generation);
            }
            Change::VariableSet { name, value } => match value {
                Some(value) => {
                    self.variables.insert(name.clone(), value.clone());
                }
                None => {
                    self.variables.remove(name);
                }
            },
        }
        self.change = number;
        (self.next_id, self.next_generation) = (self.next_id(), self.next_generation());
        Ok(())
    }

    /// The id that the next thing created takes; the first is 1.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id.max(1)
    }

    /// The generation that the next order takes; the first is 1.
    #[must_use]
    pub fn next_generation(&self) -> u64 {
        self.next_generation.max(1)
    }

    fn take_id(&mut self, id: u64, number: u64) -> Result<(), Misfit> {
        if id < self.next_id() || id >= i64::MAX as u64 {
            return Err(Misfit {
                number,
                what: format!("id {id} was used before"),
            });
        }
        self.next_id = id + 1;
        Ok(())
    }

    fn take_generation(&mut self, generation: u64) {
        self.next_generation = self.next_generation().max(generation.saturating_add(1));
    }

    fn pipeline_mut(&mut self, id: PipelineId, number: u64) -> Result<&mut PipelineDef, Misfit> {
        change_in(&mut self.pipelines, &id).ok_or_else(|| Misfit {
            number,
            what: format!("no pipeline {id}"),
        })
    }
}

/// The value of a shared map, made this view's own.
fn change_in<'a, K: Ord, V: Clone>(map: &'a mut BTreeMap<K, Arc<V>>, key: &K) -> Option<&'a mut V> {
    map.get_mut(key).map(Arc::make_mut)
}
