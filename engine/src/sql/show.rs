//! SHOW and DESCRIBE: a listing each, filtered by LIKE here and by WHERE as a query over it.

mod shapes;
mod status;

use super::answer::Answer;
use super::error::{Code, SqlError};
use super::listing::{Cell, INT, Listing, NAME, SECONDS, TEXT, UINT, WORDS, like};
use super::names::INFORMATION_SCHEMA;
use super::parse::{Filter, ObjectName, Show, Statement, parse};
use super::schema_views;
use super::select::{self, Cancel};
use super::session::{Session, no_such_table, unknown_database};
use super::statements::one_row;
use super::text;
use crate::aggregator::{Name, Unknown};
use crate::sql::processes::cut;
use shapes::{INDEX, columns_of, full_column, short_column};

/// What SHOW PROCESSLIST shows of a statement without FULL: MySQL's 100 characters.
const SHORT_INFO_BYTES: usize = 100;

impl Session {
    pub(super) async fn show(&mut self, show: &Show, cancel: Cancel) -> Result<Answer, SqlError> {
        match show {
            Show::Databases(filter) => {
                let mut listing = Listing::new(&[("Database", NAME)]);
                let catalog = self.engine.catalog();
                let names = catalog.databases().map(|database| database.name.as_str());
                for name in names.chain([INFORMATION_SCHEMA]) {
                    listing.push(vec![name.into()])?;
                }
                listing.sort_by_text(1);
                self.filtered(listing, filter, cancel).await
            }
            Show::Tables {
                full,
                database,
                filter,
            } => {
                let listing = self.show_tables(*full, database.as_deref(), filter)?;
                self.filtered(listing, filter, cancel).await
            }
            Show::TableStatus { database, filter } => {
                let listing = self.show_table_status(database.as_deref())?;
                self.filtered(listing, filter, cancel).await
            }
            Show::Columns {
                full,
                table,
                filter,
            } => {
                let listing = self.show_columns(*full, table)?;
                self.filtered(listing, filter, cancel).await
            }
            Show::Index { table, filter } => {
                self.columns_of_table(table)?;
                self.filtered(Listing::new(INDEX), filter, cancel).await
            }
            Show::CreateTable(name) => self.show_create_table(name),
            Show::CreateDatabase(name) => self.show_create_database(name),
            Show::CreatePipeline { name, extended } => self.show_create_pipeline(name, *extended),
            Show::Pipelines { database, filter } => {
                let listing = self.show_pipelines(database.as_deref())?;
                self.filtered(listing, filter, cancel).await
            }
            Show::Variables { global, filter } => {
                let mut listing = Listing::new(&[("Variable_name", NAME), ("Value", TEXT)]);
                for (name, value) in self.variables.all(*global) {
                    listing.push(vec![name.into(), value.into()])?;
                }
                self.filtered(listing, filter, cancel).await
            }
            Show::Status(filter) => {
                let listing = self.show_status()?;
                self.filtered(listing, filter, cancel).await
            }
            Show::Warnings {
                errors_only,
                count,
                skip,
                limit,
            } => self.show_warnings(*errors_only, *count, *skip, *limit),
            Show::Processlist { full } => self.show_processlist(*full),
            Show::Engines => {
                let mut listing = Listing::new(&[
                    ("Engine", NAME),
                    ("Support", NAME),
                    ("Comment", WORDS),
                    ("Transactions", NAME),
                    ("XA", NAME),
                    ("Savepoints", NAME),
                ]);
                listing.push(schema_views::engine_row())?;
                listing.into_rows().map(Answer::Rows)
            }
            Show::Collation(filter) => {
                let mut listing = Listing::new(&[
                    ("Collation", NAME),
                    ("Charset", NAME),
                    ("Id", UINT),
                    ("Default", NAME),
                    ("Compiled", NAME),
                    ("Sortlen", UINT),
                    ("Pad_attribute", NAME),
                ]);
                schema_views::collation_rows().try_for_each(|row| listing.push(row))?;
                self.filtered(listing, filter, cancel).await
            }
            Show::CharacterSet(filter) => {
                let mut listing = Listing::new(&[
                    ("Charset", NAME),
                    ("Description", WORDS),
                    ("Default collation", NAME),
                    ("Maxlen", UINT),
                ]);
                for (name, about, collation, bytes) in schema_views::CHARACTER_SETS_KNOWN {
                    listing.push(vec![
                        (*name).into(),
                        (*about).into(),
                        (*collation).into(),
                        Cell::UInt(*bytes),
                    ])?;
                }
                self.filtered(listing, filter, cancel).await
            }
            Show::Nothing(kind, filter) => {
                self.filtered(Listing::new(columns_of(*kind)), filter, cancel)
                    .await
            }
            Show::Grants => {
                let who = format!("'{}'@'%'", self.who.user);
                let mut listing =
                    Listing::new(&[(&format!("Grants for {}@%", self.who.user), TEXT)]);
                listing.push(vec![format!("GRANT ALL PRIVILEGES ON *.* TO {who}").into()])?;
                listing.into_rows().map(Answer::Rows)
            }
        }
    }

    /// The listing's rows that the filter wants.
    async fn filtered(
        &self,
        mut listing: Listing,
        filter: &Filter,
        cancel: Cancel,
    ) -> Result<Answer, SqlError> {
        match filter {
            Filter::All => {}
            Filter::Like(pattern) => listing.retain_first(|text| like(pattern, text)),
            Filter::Where(expression) => {
                let columns = listing.result_columns();
                let own = listing.into_table("", "listing")?;
                let sql = format!("SELECT * FROM listing WHERE {expression}");
                let (read, _held) = self.read(&sql, parse).await?;
                let Statement::Query(query) = read else {
                    return Err(SqlError::not_supported(expression));
                };
                let ctx = self.context(cancel, Some(own));
                let rows = select::select(&ctx, &query, &[]).await?;
                return Ok(Answer::Rows(super::Rows {
                    columns,
                    batches: rows.batches,
                }));
            }
        }
        listing.into_rows().map(Answer::Rows)
    }

    /// The database that SHOW ... FROM names, or the session's; checked.
    fn shown_database(&self, database: Option<&str>) -> Result<String, SqlError> {
        let Some(name) = database.or(self.database.as_deref()) else {
            return Err(SqlError::new(Code::NoDatabase, "No database selected"));
        };
        if name.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
            return Ok(INFORMATION_SCHEMA.to_owned());
        }
        match self.engine.catalog().database(name) {
            Some(found) => Ok(found.name.clone()),
            None => Err(unknown_database(name)),
        }
    }

    fn show_tables(
        &self,
        full: bool,
        database: Option<&str>,
        filter: &Filter,
    ) -> Result<Listing, SqlError> {
        let database = self.shown_database(database)?;
        let heading = match filter {
            Filter::Like(pattern) => format!("Tables_in_{database} ({pattern})"),
            _ => format!("Tables_in_{database}"),
        };
        let columns = [(heading.as_str(), NAME), ("Table_type", NAME)];
        let mut listing = Listing::new(&columns[..1 + usize::from(full)]);
        let catalog = self.engine.catalog();
        let (names, kind): (Vec<String>, &str) = match catalog.database(&database) {
            Some(found) => (
                catalog
                    .tables_of(found.id)
                    .map(|table| table.name.clone())
                    .collect(),
                "BASE TABLE",
            ),
            None => (
                schema_views::names().map(str::to_owned).collect(),
                "SYSTEM VIEW",
            ),
        };
        for name in names {
            let mut row: Vec<Cell> = vec![name.into()];
            if full {
                row.push(kind.into());
            }
            listing.push(row)?;
        }
        listing.sort_by_text(1);
        Ok(listing)
    }

    fn show_table_status(&self, database: Option<&str>) -> Result<Listing, SqlError> {
        let database = self.shown_database(database)?;
        let mut listing = Listing::new(&[
            ("Name", NAME),
            ("Engine", NAME),
            ("Version", UINT),
            ("Row_format", NAME),
            ("Rows", UINT),
            ("Avg_row_length", UINT),
            ("Data_length", UINT),
            ("Max_data_length", UINT),
            ("Index_length", UINT),
            ("Data_free", UINT),
            ("Auto_increment", UINT),
            ("Create_time", SECONDS),
            ("Update_time", SECONDS),
            ("Check_time", SECONDS),
            ("Collation", NAME),
            ("Checksum", INT),
            ("Create_options", WORDS),
            ("Comment", TEXT),
        ]);
        let catalog = self.engine.catalog();
        let tables = catalog
            .database(&database)
            .into_iter()
            .flat_map(|found| catalog.tables_of(found.id));
        for table in tables {
            let (rows, bytes) = schema_views::size_of(&self.engine, &catalog, table);
            let mut row = vec![Cell::Null; 18];
            row[0] = table.name.clone().into();
            row[1] = "Pinleaf".into();
            row[2] = Cell::UInt(10);
            row[3] = "Columnar".into();
            row[4] = rows.into();
            row[5] = bytes.checked_div(rows).unwrap_or(0).into();
            row[6] = bytes.into();
            row[11] = Cell::UnixMicros(table.create_unix_ms.saturating_mul(1000));
            row[14] = "utf8mb4_bin".into();
            row[16] = "".into();
            row[17] = table.spec.comment.clone().into();
            listing.push(row)?;
        }
        listing.sort_by_text(1);
        Ok(listing)
    }

    fn show_columns(&self, full: bool, table: &ObjectName) -> Result<Listing, SqlError> {
        let (_, columns) = self.columns_of_table(table)?;
        let mut listing = if full {
            Listing::new(&[
                ("Field", NAME),
                ("Type", TEXT),
                ("Collation", NAME),
                ("Null", NAME),
                ("Key", NAME),
                ("Default", TEXT),
                ("Extra", WORDS),
                ("Privileges", WORDS),
                ("Comment", TEXT),
            ])
        } else {
            Listing::new(&[
                ("Field", NAME),
                ("Type", TEXT),
                ("Null", NAME),
                ("Key", NAME),
                ("Default", TEXT),
                ("Extra", WORDS),
            ])
        };
        for column in &columns {
            let row = if full {
                full_column(column)
            } else {
                short_column(column)
            };
            listing.push(row)?;
        }
        Ok(listing)
    }

    fn show_create_table(&self, name: &ObjectName) -> Result<Answer, SqlError> {
        let name = self.qualified(name)?;
        let database = self.shown_database(Some(&name.database))?;
        let catalog = self.engine.catalog();
        let Some(table) = catalog.table(&database, &name.name) else {
            return Err(no_such_table(&name));
        };
        one_row(
            &[("Table", false), ("Create Table", false)],
            vec![table.name.clone().into(), text::create_table(table).into()],
        )
    }

    fn show_create_database(&self, name: &str) -> Result<Answer, SqlError> {
        let name = self.shown_database(Some(name))?;
        let create = format!(
            "CREATE DATABASE {} /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */",
            text::quoted(&name)
        );
        one_row(
            &[("Database", false), ("Create Database", false)],
            vec![name.into(), create.into()],
        )
    }

    fn show_create_pipeline(&self, name: &ObjectName, extended: bool) -> Result<Answer, SqlError> {
        let name = self.qualified(name)?;
        let catalog = self.engine.catalog();
        if catalog.database(&name.database).is_none() {
            return Err(unknown_database(&name.database));
        }
        let Some(pipeline) = catalog.pipeline(&name.database, &name.name) else {
            let unknown = Unknown::Pipeline {
                database: name.database,
                pipeline: name.name,
            };
            return Err(SqlError::new(Code::NoSuchPipeline, unknown.to_string()));
        };
        let Some(table) = catalog.table_by_id(pipeline.table) else {
            let gone = Name::new(name.database, pipeline.table.to_string());
            return Err(no_such_table(&gone));
        };
        let mut table_name = text::quoted(&table.name);
        if table.database != pipeline.database
            && let Some(database) = catalog.database_by_id(table.database)
        {
            table_name = format!("{}.{table_name}", text::quoted(&database.name));
        }
        let mut create = text::create_pipeline(&pipeline.name, &table_name, &pipeline.spec);
        if extended {
            let cursors = schema_views::cursors_of(&self.engine, &catalog, pipeline);
            if !cursors.is_empty() {
                create = format!(
                    "{create};\n{}",
                    text::alter_offsets(&pipeline.name, &cursors)
                );
            }
        }
        one_row(
            &[("Pipeline", false), ("Create Pipeline", false)],
            vec![pipeline.name.clone().into(), create.into()],
        )
    }

    fn show_pipelines(&self, database: Option<&str>) -> Result<Listing, SqlError> {
        let database = self.shown_database(database)?;
        let heading = format!("Pipelines_in_{database}");
        let mut listing = Listing::new(&[
            (&heading, NAME),
            ("State", NAME),
            ("Scheduled", NAME),
            ("Error", TEXT),
        ]);
        let catalog = self.engine.catalog();
        let live = self.engine.parts().aggregator.live();
        let pipelines = catalog
            .database(&database)
            .into_iter()
            .flat_map(|found| catalog.pipelines_of(found.id));
        for pipeline in pipelines {
            let failure = pipeline.failure.as_ref().map(ToString::to_string);
            let failure = failure.or_else(|| live.unreachable.get(&pipeline.id).cloned());
            let failure = failure.or_else(|| schema_views::held(&self.engine, &catalog, pipeline));
            listing.push(vec![
                pipeline.name.clone().into(),
                live.state(pipeline).into(),
                "False".into(),
                failure.into(),
            ])?;
        }
        listing.sort_by_text(1);
        Ok(listing)
    }

    fn show_warnings(
        &self,
        errors_only: bool,
        count: bool,
        skip: u64,
        limit: u64,
    ) -> Result<Answer, SqlError> {
        if count {
            let (heading, number) = if errors_only {
                ("@@session.error_count", self.warnings.errors())
            } else {
                ("@@session.warning_count", self.warnings.count())
            };
            return one_row(&[(heading, true)], vec![Cell::UInt(number.into())]);
        }
        let mut listing = Listing::new(&[("Level", NAME), ("Code", UINT), ("Message", TEXT)]);
        let wanted = self
            .warnings
            .all()
            .into_iter()
            .filter(|warning| !errors_only || warning.level.name() == "Error")
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(usize::try_from(limit).unwrap_or(usize::MAX));
        for warning in wanted {
            listing.push(vec![
                warning.level.name().into(),
                Cell::UInt(warning.code.into()),
                warning.message.into(),
            ])?;
        }
        listing.into_rows().map(Answer::Rows)
    }

    fn show_processlist(&self, full: bool) -> Result<Answer, SqlError> {
        let mut listing = Listing::new(&[
            ("Id", UINT),
            ("User", NAME),
            ("Host", WORDS),
            ("db", NAME),
            ("Command", NAME),
            ("Time", INT),
            ("State", NAME),
            ("Info", TEXT),
        ]);
        let now = self.engine.now_unix_us();
        for process in self.engine.processes().list() {
            let info = process.info.as_deref();
            let info = info.map(|info| {
                if full {
                    info
                } else {
                    cut(info, SHORT_INFO_BYTES)
                }
            });
            listing.push(vec![
                Cell::UInt(process.id.into()),
                process.user.into(),
                process.host.into(),
                process.database.into(),
                process.command.into(),
                Cell::Int((now - process.since_unix_us).max(0) / 1_000_000),
                process.state.into(),
                info.into(),
            ])?;
        }
        listing.into_rows().map(Answer::Rows)
    }
}
