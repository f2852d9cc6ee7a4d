//! What each statement does: queries to `select`, definitions and pipelines to the aggregator.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlparser::ast;

use super::answer::{Answer, Done, ResultColumn, Rows};
use super::error::{Code, SqlError};
use super::listing::{Listing, TEXT, UINT};
use super::names::{INFORMATION_SCHEMA, StatementNames};
use super::parse::{CreatePipelineText, CreateTableText, ObjectName, PipelineStatement, Statement};
use super::select::{self, Cancel, SelectContext, VirtualTable};
use super::session::{Session, no_such_table, unknown_database};
use super::system::QueryVariables;
use super::value::Value;
use super::{guard, mapping};
use crate::aggregator::{
    Changed, CreatePipeline, CreateTable, Exists, Foreground, Name, StartPipeline, Unknown,
};
use crate::catalog::PipelineSpec;
use crate::limits::{RECOVERY_POLL_MS, RECOVERY_POLLS_MAX};

impl Session {
    pub(super) async fn dispatch(
        &mut self,
        statement: &Statement,
        params: &[Value],
        cancel: Cancel,
    ) -> Result<Answer, SqlError> {
        match statement {
            Statement::Query(query) => self.query(query, params, cancel).await.map(Answer::Rows),
            Statement::Explain(how, query) => {
                let ctx = self.context(cancel, None);
                select::explain(&ctx, query, params, *how)
                    .await
                    .map(Answer::Rows)
            }
            Statement::Show(show) => self.show(show, cancel).await,
            Statement::Set(assignments) => self.set(assignments, cancel).await,
            Statement::Use(name) => self.choose_database(name).map(|()| done()),
            Statement::CreateDatabase {
                name,
                if_not_exists,
            } => self.create_database(name, *if_not_exists).await,
            Statement::DropDatabase { name, if_exists } => {
                self.drop_database(name, *if_exists).await
            }
            Statement::CreateTable(table) => self.create_table(table).await,
            Statement::DropTable { names, if_exists } => self.drop_tables(names, *if_exists).await,
            Statement::Truncate(name) => {
                let name = self.changeable(name)?;
                self.engine.parts().aggregator.truncate_table(name).await?;
                Ok(done())
            }
            Statement::CreatePipeline(pipeline) => self.create_pipeline(pipeline).await,
            Statement::Pipeline(statement) => self.pipeline(statement, cancel).await,
            Statement::Kill { id, query_only } => {
                let unknown =
                    || SqlError::new(Code::NoSuchThread, format!("Unknown thread id: {id}"));
                let id = u32::try_from(*id).map_err(|_| unknown())?;
                self.engine.processes().kill(id, *query_only)?;
                Ok(done())
            }
            Statement::Begin => {
                self.warnings.warn(
                    Code::NotSupported,
                    "There are no transactions: each statement reads a snapshot of its own",
                );
                Ok(done())
            }
            Statement::Commit | Statement::Rollback => Ok(done()),
        }
    }

    /// What a query needs beside its text; `own` is a table that stands for every name.
    pub(super) fn context(&self, cancel: Cancel, own: Option<VirtualTable>) -> SelectContext {
        let parts = self.engine.parts();
        let read_damaged = self
            .variables
            .is_on("pinleaf_read_damaged")
            .then(|| Arc::clone(self.warnings.late()));
        let names = Arc::new(StatementNames {
            catalog: self.engine.catalog(),
            engine: Arc::clone(&self.engine),
            durable: self.variables.reads_durable(),
            read_damaged: read_damaged.clone(),
            own,
        });
        let host = self
            .who
            .host
            .rsplit_once(':')
            .map_or(self.who.host.as_str(), |(host, _)| host);
        SelectContext {
            names,
            database: self.database.clone(),
            connection_id: self.who.connection_id,
            user: format!("{}@{host}", self.who.user),
            version: self.engine.facts().version(),
            now_unix_us: self.engine.now_unix_us(),
            variables: Arc::new(QueryVariables {
                variables: Arc::clone(&self.variables),
                warnings: self.warnings.before(),
                connection_id: self.who.connection_id,
            }),
            memory: Arc::clone(&parts.memory),
            runtime: parts.query_runtime.clone(),
            threads: parts.query_threads,
            cancel,
            text: self.text.clone(),
            read_damaged,
        }
    }

    /// Runs a query. A leaf partition that is still being recovered or attached is waited for, within
    /// a bound: a table whose topic has just grown is not an error.
    async fn query(
        &mut self,
        query: &Arc<ast::Query>,
        params: &[Value],
        cancel: Cancel,
    ) -> Result<Rows, SqlError> {
        let mut polls = 0;
        let rows = loop {
            let ctx = self.context(cancel.clone(), None);
            match select::select(&ctx, query, params).await {
                Err(fault)
                    if fault.code == Code::NotReady.number() && polls < RECOVERY_POLLS_MAX =>
                {
                    polls += 1;
                    tokio::time::sleep(Duration::from_millis(RECOVERY_POLL_MS)).await;
                }
                rows => break rows?,
            }
        };
        Ok(
            match self
                .variables
                .select_limit()
                .filter(|_| query.limit_clause.is_none())
            {
                Some(limit) => guard::limited(rows, limit),
                None => rows,
            },
        )
    }

    pub(super) async fn describe(
        &self,
        query: &Arc<ast::Query>,
        cancel: Cancel,
    ) -> Result<Vec<ResultColumn>, SqlError> {
        let ctx = self.context(cancel, None);
        select::describe(&ctx, query).await
    }

    async fn create_database(
        &mut self,
        name: &str,
        if_not_exists: bool,
    ) -> Result<Answer, SqlError> {
        self.not_the_views(name)?;
        let changed = self
            .engine
            .parts()
            .aggregator
            .create_database(name, if_not_exists)
            .await?;
        if changed == Changed::Nothing {
            let exists = Exists::Database {
                database: name.to_owned(),
            };
            self.warnings
                .note(Code::DatabaseExists, &exists.to_string());
        }
        Ok(Done {
            affected_rows: 1,
            ..Done::default()
        }
        .into())
    }

    async fn drop_database(&mut self, name: &str, if_exists: bool) -> Result<Answer, SqlError> {
        self.not_the_views(name)?;
        let missing = format!("Can't drop database '{name}'; database doesn't exist");
        if !if_exists && self.engine.catalog().database(name).is_none() {
            return Err(SqlError::new(Code::DatabaseDropMissing, missing));
        }
        let changed = self
            .engine
            .parts()
            .aggregator
            .drop_database(name, if_exists)
            .await?;
        if changed == Changed::Nothing {
            self.warnings.note(Code::DatabaseDropMissing, &missing);
        } else if self.database.as_deref() == Some(name) {
            self.leave_database();
        }
        Ok(done())
    }

    async fn create_table(&mut self, table: &CreateTableText) -> Result<Answer, SqlError> {
        let create = CreateTable {
            name: self.changeable(&table.name)?,
            if_not_exists: table.if_not_exists,
            spec: table.spec.clone(),
        };
        if self.engine.parts().aggregator.create_table(create).await? == Changed::Nothing {
            let exists = Exists::Table {
                table: table.name.name.clone(),
            };
            self.warnings.note(Code::TableExists, &exists.to_string());
        }
        Ok(done())
    }

    /// All of them or, where one is not there, none.
    async fn drop_tables(
        &mut self,
        names: &[ObjectName],
        if_exists: bool,
    ) -> Result<Answer, SqlError> {
        let names = names
            .iter()
            .map(|name| self.changeable(name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::with_capacity(names.len());
        for name in &names {
            if !seen.insert(name) {
                let message = format!("Not unique table/alias: '{}'", name.name);
                return Err(SqlError::new(Code::NotUniqueTable, message));
            }
        }
        let unknown = |name: &Name| format!("Unknown table '{}.{}'", name.database, name.name);
        if !if_exists {
            let catalog = self.engine.catalog();
            let missing = |name: &&Name| catalog.table(&name.database, &name.name).is_none();
            if let Some(first) = names.iter().find(missing) {
                return Err(SqlError::new(Code::UnknownTable, unknown(first)));
            }
        }
        let aggregator = &self.engine.parts().aggregator;
        for missing in aggregator.drop_tables(names, if_exists).await? {
            self.warnings.note(Code::UnknownTable, &unknown(&missing));
        }
        Ok(done())
    }

    async fn create_pipeline(&mut self, text: &CreatePipelineText) -> Result<Answer, SqlError> {
        let name = self.changeable(&text.name)?;
        let table_name = ObjectName {
            // A table without a database is of the pipeline's.
            database: Some(
                text.table
                    .database
                    .clone()
                    .unwrap_or_else(|| name.database.clone()),
            ),
            name: text.table.name.clone(),
        };
        let table_name = self.changeable(&table_name)?;
        let catalog = self.engine.catalog();
        if catalog.database(&table_name.database).is_none() {
            return Err(unknown_database(&table_name.database));
        }
        let Some(table) = catalog.table(&table_name.database, &table_name.name) else {
            return Err(no_such_table(&table_name));
        };
        let spec = PipelineSpec {
            brokers: text.brokers.clone(),
            topic: text.topic.clone(),
            config: text.config.clone(),
            batch_interval_ms: text.batch_interval_ms,
            max_partitions_per_batch: text.max_partitions_per_batch,
            max_retries_per_batch_partition: text.max_retries_per_batch_partition,
            max_offsets_per_batch_partition: text.max_offsets_per_batch_partition,
            retry_options: text.retry_options,
            skip_errors: text.skip_errors,
            stop_on_error: text.stop_on_error,
            mapping: mapping::resolve(table, text.mapping.as_deref())?,
            mapping_written: text.mapping.is_some(),
        };
        let exists = Exists::Pipeline {
            pipeline: name.name.clone(),
        };
        let create = CreatePipeline {
            name,
            or_replace: text.or_replace,
            if_not_exists: text.if_not_exists,
            table: table_name,
            spec,
        };
        if self
            .engine
            .parts()
            .aggregator
            .create_pipeline(create)
            .await?
            == Changed::Nothing
        {
            self.warnings
                .note(Code::PipelineExists, &exists.to_string());
        }
        Ok(done())
    }

    async fn pipeline(
        &mut self,
        statement: &PipelineStatement,
        cancel: Cancel,
    ) -> Result<Answer, SqlError> {
        let aggregator = &self.engine.parts().aggregator;
        match statement {
            PipelineStatement::Start {
                name,
                if_not_running,
                foreground,
            } => {
                let start = StartPipeline {
                    name: self.qualified(name)?,
                    if_not_running: *if_not_running,
                    foreground: foreground.map(|batches| Foreground { batches }),
                };
                let started = aggregator.start_pipeline(start).await?;
                if started.already_running {
                    let running = format!("Pipeline '{}' is already running", name.name);
                    self.warnings.note(Code::PipelineState, &running);
                }
                if started.rejects > 0 {
                    let rejects = format!(
                        "{} messages were rejected: see information_schema.PIPELINES_ERRORS",
                        started.rejects
                    );
                    self.warnings.warn(Code::PipelineFault, &rejects);
                }
                Ok(Done {
                    affected_rows: started.rows,
                    ..Done::default()
                }
                .into())
            }
            PipelineStatement::Stop { name, if_running } => {
                let qualified = self.qualified(name)?;
                if aggregator.stop_pipeline(qualified, *if_running).await? == Changed::Nothing {
                    let stopped = format!("Pipeline '{}' is not running", name.name);
                    self.warnings.note(Code::PipelineState, &stopped);
                }
                Ok(done())
            }
            PipelineStatement::Drop { name, if_exists } => {
                let name = self.qualified(name)?;
                let missing = Unknown::Pipeline {
                    database: name.database.clone(),
                    pipeline: name.name.clone(),
                };
                if aggregator.drop_pipeline(name, *if_exists).await? == Changed::Nothing {
                    self.warnings
                        .note(Code::NoSuchPipeline, &missing.to_string());
                }
                Ok(done())
            }
            PipelineStatement::Offsets { name, to } => {
                aggregator
                    .alter_offsets(self.qualified(name)?, to.clone())
                    .await?;
                Ok(done())
            }
            PipelineStatement::Test { name, limit } => self.test_pipeline(name, *limit).await,
            PipelineStatement::Audit { name, verify } => self.audit(name, *verify, cancel),
        }
    }

    async fn test_pipeline(
        &mut self,
        name: &ObjectName,
        limit: Option<u64>,
    ) -> Result<Answer, SqlError> {
        let name = self.qualified(name)?;
        let catalog = self.engine.catalog();
        let columns = catalog
            .pipeline(&name.database, &name.name)
            .and_then(|pipeline| catalog.table_by_id(pipeline.table))
            .map(|table| table.spec.columns.clone());
        let tested = self
            .engine
            .parts()
            .aggregator
            .test_pipeline(name, limit)
            .await?;
        for reject in &tested.rejects {
            self.warnings.warn(Code::PipelineFault, reject);
        }
        let columns = columns
            .unwrap_or_default()
            .iter()
            .map(|column| ResultColumn::of_type(&column.name, column.sql_type, column.nullable))
            .collect();
        let batches = Box::pin(futures::stream::iter([Ok(tested.rows)]));
        Ok(Answer::Rows(Rows { columns, batches }))
    }

    /// A name that a definition may change: not one of the views'.
    fn changeable(&self, name: &ObjectName) -> Result<Name, SqlError> {
        let name = self.qualified(name)?;
        self.not_the_views(&name.database)?;
        Ok(name)
    }

    fn not_the_views(&self, database: &str) -> Result<(), SqlError> {
        if database.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
            return Err(SqlError::new(
                Code::DatabaseAccessDenied,
                format!(
                    "Access denied for user '{}' to database 'information_schema'",
                    self.who.user
                ),
            ));
        }
        Ok(())
    }
}

/// OK, and nothing more.
pub(super) fn done() -> Answer {
    Done::default().into()
}

/// A result set of one row.
pub(super) fn one_row(
    columns: &[(&str, bool)],
    row: Vec<super::listing::Cell>,
) -> Result<Answer, SqlError> {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, number)| (*name, if *number { UINT } else { TEXT }))
        .collect();
    let mut listing = Listing::new(&columns);
    listing.push(row)?;
    listing.into_rows().map(Answer::Rows)
}
