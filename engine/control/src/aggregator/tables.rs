//! CREATE, DROP and TRUNCATE of databases and tables.

use std::sync::Arc;

use ingest::leaf::order::Goal;
use storage::ids::{LeafPartitionId, TableId};

use super::definitions::{check_name, check_table};
use super::error::{AggregatorError, Exists, Unknown, WrongState};
use super::orphans::remove_table;
use super::shared::{Shared, State, Undrained, ordered, resting};
use super::statement::{Changed, CreateTable, Name};
use super::supervisor::Held;
use crate::catalog::{
    CatalogError, CatalogView, Change, DatabaseDef, DatabaseId, PipelineDef, PipelineState,
    TableDef,
};
use crate::planted::{Rule, out};

impl Shared {
    /// CREATE DATABASE.
    pub async fn create_database(
        self: &Arc<Shared>,
        name: String,
        if_not_exists: bool,
    ) -> Result<Changed, AggregatorError> {
        check_name("database", &name)?;
        let _turn = self.definitions.lock().await;
        let create_unix_ms = self.port.unix_ms();
        self.transact(|view| {
            if view.database(&name).is_some() {
                return match if_not_exists {
                    true => Ok((vec![], Changed::Nothing)),
                    false => Err(AggregatorError::Exists(Exists::Database { database: name })),
                };
            }
            let created = Change::DatabaseCreated(DatabaseDef {
                id: DatabaseId(view.next_id()),
                name,
                create_unix_ms,
            });
            Ok((vec![created], Changed::Yes))
        })
        .await
    }

    /// DROP DATABASE.
    pub async fn drop_database(
        self: &Arc<Shared>,
        name: String,
        if_exists: bool,
    ) -> Result<Changed, AggregatorError> {
        let _turn = self.definitions.lock().await;
        let view = self.view();
        let Some(database) = view.database(&name).map(|database| database.id) else {
            return match if_exists {
                true => Ok(Changed::Nothing),
                false => Err(AggregatorError::Unknown(Unknown::Database {
                    database: name,
                })),
            };
        };
        let mut turns = Vec::new();
        for pipeline in view.pipelines_of(database) {
            turns.push(self.pipeline_turn(pipeline.id).await);
        }
        let dropping = self
            .transact(|view| {
                let mut changes = Vec::new();
                for pipeline in view.pipelines_of(database) {
                    if pipeline.state == PipelineState::Running || self.is_foreground(pipeline.id) {
                        return Err(AggregatorError::State(WrongState::LoadedNow {
                            name,
                            pipeline: pipeline.name.clone(),
                        }));
                    }
                    changes.push(Change::PipelineDropped {
                        pipeline: pipeline.id,
                    });
                }
                for table in view.tables_of(database) {
                    not_loaded(view, table, |pipeline| pipeline.database != database)?;
                }
                let tables: Vec<TableId> = view.tables_of(database).map(|table| table.id).collect();
                let mut pairings = Vec::new();
                for table in &tables {
                    changes.push(Change::TableDropping { table: table.0 });
                    pairings.extend(leaf_partitions(view, *table));
                }
                changes.push(ordered(view, pairings));
                // Those too whose DROP a crash or a failed disk cut short.
                let tables = view
                    .tables_dropping()
                    .filter(|table| table.database == database)
                    .map(|table| table.id)
                    .chain(tables)
                    .collect::<Vec<_>>();
                Ok((changes, tables))
            })
            .await?;
        drop(turns);
        self.carry_out();
        for table in dropping {
            self.finish_drop(table).await?;
        }
        self.transact(|_| Ok((vec![Change::DatabaseDropped { database }], Changed::Yes)))
            .await
    }

    /// CREATE TABLE.
    pub async fn create_table(
        self: &Arc<Shared>,
        table: CreateTable,
    ) -> Result<Changed, AggregatorError> {
        check_name("table", &table.name.name)?;
        check_table(&table.spec)?;
        let _turn = self.definitions.lock().await;
        let unix_ms = self.port.unix_ms();
        self.transact(|view| {
            let database = known_database(view, &table.name.database)?;
            if view.table(&table.name.database, &table.name.name).is_some() {
                return match table.if_not_exists {
                    true => Ok((vec![], Changed::Nothing)),
                    false => Err(AggregatorError::Exists(Exists::Table {
                        table: table.name.name,
                    })),
                };
            }
            let created = Change::TableCreated {
                table: view.next_id(),
                database,
                name: table.name.name,
                spec: table.spec,
                unix_ms,
            };
            Ok((vec![created], Changed::Yes))
        })
        .await
    }

    /// DROP TABLE: all of them or none. Answers what IF EXISTS passed over.
    pub async fn drop_tables(
        self: &Arc<Shared>,
        names: Vec<Name>,
        if_exists: bool,
    ) -> Result<Vec<Name>, AggregatorError> {
        let _turn = self.definitions.lock().await;
        let (dropping, missing) = self
            .transact(|view| {
                let (mut tables, mut missing) = (Vec::new(), Vec::new());
                for name in names {
                    known_database(view, &name.database)?;
                    match known_table(view, &name) {
                        Ok(table) => {
                            not_loaded(view, table, |_| true)?;
                            tables.push(table.id);
                        }
                        Err(_) if if_exists => missing.push(name),
                        Err(unknown) => return Err(unknown),
                    }
                }
                let mut changes = Vec::new();
                if !tables.is_empty() {
                    changes.extend(
                        tables
                            .iter()
                            .map(|id| Change::TableDropping { table: id.0 }),
                    );
                    let pairings = tables.iter().flat_map(|id| leaf_partitions(view, *id));
                    changes.push(ordered(view, pairings.collect()));
                }
                Ok((changes, (tables, missing)))
            })
            .await?;
        self.carry_out();
        for table in dropping {
            match self.finish_drop(table).await {
                // Its rows are unlinked and nobody sees it any more.
                Err(AggregatorError::Catalog(full @ CatalogError::NoRoom { .. })) => {
                    tracing::warn!(error = %full, %table, "the next start forgets the dropped table");
                }
                done => done?,
            }
        }
        Ok(missing)
    }

    /// Waits until every leaf has unlinked its part, then removes the directory and the row.
    async fn finish_drop(self: &Arc<Shared>, table: TableId) -> Result<(), AggregatorError> {
        let ids = leaf_partitions(&self.view(), table);
        let failed = self
            .until(|state, _| {
                let mut failed = None;
                // One that no leaf was told of has nothing to unlink, and is told of no more.
                for known in ids.iter().filter_map(|id| state.supervisor.known(*id)) {
                    match &known.failed {
                        _ if out(Rule::DropBehindLeaves) => {}
                        Some(failure) if known.goal == Goal::Drop => failed = Some(failure.clone()),
                        _ if known.goal == Goal::Drop && known.reached => {}
                        _ => return None,
                    }
                }
                Some(failed)
            })
            .await?;
        if let Some(failure) = failed {
            return Err(AggregatorError::Disk {
                path: self.config.data_dir.join("tables").join(table.to_string()),
                doing: "unlinking the table's rows",
                what: format!(
                    "{}; the table is gone from the catalog, and the next start unlinks the rest",
                    failure.text
                ),
            });
        }
        let data_dir = self.config.data_dir.clone();
        {
            // Pairing makes directories beside it in its own turn: one must not take the other's failed sync.
            let _turn = self.commit_turn().await;
            self.on_disk(move |disk| remove_table(disk, &data_dir, table))
                .await?;
        }
        self.transact(|_| Ok((vec![Change::TableDropped { table: table.0 }], ())))
            .await?;
        self.carry_out();
        Ok(())
    }

    /// TRUNCATE TABLE: drained, then an empty lineage from the same cursor.
    pub async fn truncate_table(self: &Arc<Shared>, name: Name) -> Result<(), AggregatorError> {
        let _turn = self.definitions.lock().await;
        let view = self.view();
        known_database(&view, &name.database)?;
        let table = known_table(&view, &name)?.id;
        let mut turns = Vec::new();
        for pipeline in view.pipelines().filter(|p| p.table == table) {
            turns.push(self.pipeline_turn(pipeline.id).await);
            self.not_in_foreground(pipeline.id, &pipeline.name, "TRUNCATE TABLE")?;
        }
        let ids = leaf_partitions(&self.view(), table);
        self.drained(&ids, &name.name, async || {
            self.transact(|view| {
                let generation = view.next_generation();
                let state = self.state();
                let changes = ids
                    .iter()
                    .filter_map(|id| {
                        let pairing = view.pairing(*id)?;
                        let known = state.supervisor.known(*id)?;
                        let lineage = pairing.lineage.0 + 1;
                        let cursor = known.durable.filter(|_| !out(Rule::TruncateFromCursor));
                        Some(Change::Lineage {
                            leaf_partition: id.0,
                            generation,
                            lineage,
                            live_lineage: lineage,
                            start_offset: cursor.unwrap_or(pairing.start_offset).0,
                            topic_id: None,
                        })
                    })
                    .collect();
                Ok((changes, ()))
            })
            .await
        })
        .await?;
        self.rewound(&ids, &name.name).await
    }

    /// Holds these leaf partitions drained and durable while `commit` runs; then lets them go, also
    /// when anything failed.
    pub(super) async fn drained<T>(
        self: &Arc<Shared>,
        ids: &[LeafPartitionId],
        name: &str,
        commit: impl AsyncFnOnce() -> Result<T, AggregatorError>,
    ) -> Result<T, AggregatorError> {
        self.transact(|view| Ok((vec![ordered(view, ids.to_vec())], ())))
            .await?;
        for id in ids {
            self.state().supervisor.hold(*id, Held::Stopped);
        }
        self.carry_out();
        let outcome = async {
            let at_rest = |state: &State, view: &CatalogView| match out(Rule::DrainedBeforeLineage)
            {
                true => Some(None),
                false => resting(state, view, ids),
            };
            match self.until(at_rest).await? {
                Some(undrained) => Err(self.undrained_at(undrained, name)),
                None => commit().await,
            }
        }
        .await;
        for id in ids {
            self.state().supervisor.release(*id);
        }
        if outcome.is_err() {
            // They may go on: under a generation of its own, since the drain's is taken.
            let again = self
                .transact(|view| Ok((vec![ordered(view, ids.to_vec())], ())))
                .await;
            if let Err(error) = again {
                tracing::error!(%error, "drained leaf partitions could not be let go");
            }
        }
        self.carry_out();
        outcome
    }

    /// Waits until each stands in the catalog's lineage; the first that could not take it instead, whatever it
    /// was told since, or that takes it when there is room on the disk.
    pub(super) async fn rewound(
        self: &Arc<Shared>,
        ids: &[LeafPartitionId],
        name: &str,
    ) -> Result<(), AggregatorError> {
        if out(Rule::RewoundBeforeAnswer) {
            return Ok(());
        }
        let undrained = self
            .until(|state, view| {
                let mut undrained = None;
                for id in ids {
                    let Some(pairing) = view.pairing(*id) else {
                        continue;
                    };
                    let known = state.supervisor.known(*id)?;
                    if known.lineage < pairing.lineage {
                        return None;
                    }
                    if known.stands < pairing.lineage {
                        let failure = known.refused.as_ref().or(known.no_room.as_ref())?;
                        undrained.get_or_insert(Undrained {
                            leaf_partition: *id,
                            failure: failure.clone(),
                            waits: known.refused.is_none(),
                        });
                    }
                }
                Some(undrained)
            })
            .await?;
        match undrained {
            Some(undrained) => Err(self.undrained_at(undrained, name)),
            None => Ok(()),
        }
    }
}

pub(super) fn known_database(
    view: &CatalogView,
    name: &str,
) -> Result<DatabaseId, AggregatorError> {
    match view.database(name) {
        Some(database) => Ok(database.id),
        None => Err(AggregatorError::Unknown(Unknown::Database {
            database: name.to_owned(),
        })),
    }
}

pub(super) fn known_table<'a>(
    view: &'a CatalogView,
    name: &Name,
) -> Result<&'a Arc<TableDef>, AggregatorError> {
    view.table(&name.database, &name.name).ok_or_else(|| {
        AggregatorError::Unknown(Unknown::Table {
            database: name.database.clone(),
            table: name.name.clone(),
        })
    })
}

/// Refuses a table that one of these pipelines names.
fn not_loaded(
    view: &CatalogView,
    table: &TableDef,
    of: impl Fn(&PipelineDef) -> bool,
) -> Result<(), AggregatorError> {
    let loads = |pipeline: &&Arc<PipelineDef>| pipeline.table == table.id && of(pipeline);
    match view.pipelines().find(loads) {
        None => Ok(()),
        Some(pipeline) => Err(AggregatorError::State(WrongState::TableLoaded {
            table: table.name.clone(),
            pipeline: pipeline.name.clone(),
        })),
    }
}

fn leaf_partitions(view: &CatalogView, table: TableId) -> Vec<LeafPartitionId> {
    view.pairings_of_table(table)
        .map(|pairing| pairing.leaf_partition)
        .collect()
}
