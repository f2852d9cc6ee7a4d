//! The catalog's file: one SQLite connection, one transaction a statement, read whole at start.
//!
//! WAL with `synchronous=FULL`: a committed statement survives a power loss, and so does one that a process found
//! committed at its start (`store/again.rs`). The file is this process's alone (exclusive lock, mode 0600). What
//! cannot be read is one error that names the file; nothing is repaired or left out silently.
//!
//! Room is kept on the disk for statements (`store/room.rs`). A COMMIT that finds none changed nothing.
//!
//! Any other COMMIT that fails leaves the statement's outcome unknown: its frames may lie in the WAL, whole,
//! although their sync failed, and SQLite takes such frames up at the next open. So the first one
//! poisons the store: it answers nothing but that error, and the process ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, ffi, params};
use serde::Serialize;
use storage::disk::{Disk as _, DiskFault, DiskFile, RealDisk};
use storage::ids::{LeafPartitionId, TableId};

use super::change::Change;
use super::defs::{DatabaseId, PipelineId};
use super::error::CatalogError;
use super::view::CatalogView;
use crate::limits::{
    CATALOG_CHANGE_BYTES_MAX, CATALOG_CHANGES_KEPT_MAX, DATABASES_MAX, PAIRINGS_MAX, PIPELINES_MAX,
    TABLES_MAX,
};
use crate::planted::{Rule, out};
use again::write_again;
use room::Room;

mod again;
mod load;
mod room;

/// The version of the tables in `schema.sql`, SQLite's `user_version`.
const VERSION: i64 = 1;
/// "PNLF", SQLite's `application_id`.
const APPLICATION_ID: i64 = 0x504e_4c46;

/// The catalog's file and what it holds.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    view: CatalogView,
    /// The COMMIT that failed: what the file holds is not known since.
    poison: Option<CatalogError>,
    /// None in memory. Behind `connection`, which is closed first.
    room: Option<Room>,
}

impl Store {
    /// Opens the catalog at `path`, or makes an empty one there.
    ///
    /// # Errors
    /// `Corrupt`, `Newer`, `Locked`, `Disk`: see [`CatalogError`].
    pub fn open(path: &Path) -> Result<Store, CatalogError> {
        let disk = |doing| {
            move |error: io::Error| CatalogError::Disk {
                path: path.to_owned(),
                doing,
                what: error.to_string(),
            }
        };
        // Made here and not by SQLite, which would take the process's umask; its -wal follows the file.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)))
            .map_err(disk("open"))?;
        if let Some(parent) = path.parent() {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            File::open(parent)
                .and_then(|directory| directory.sync_all())
                .map_err(disk("sync of its directory"))?;
        }
        let room = Room::of(path).map_err(|error| CatalogError::Disk {
            path: path.to_owned(),
            doing: "open",
            what: error.to_string(),
        })?;
        // Where the file is a link SQLite has the WAL beside what it leads to.
        let real = fs::canonicalize(path).map_err(disk("open"))?;
        let wal = match RealDisk.open(&wal_path(&real)) {
            Err(error) if error.fault == DiskFault::Missing => None,
            opened => Some(opened.map_err(|error| CatalogError::Disk {
                path: path.to_owned(),
                doing: "open",
                what: error.to_string(),
            })?),
        };
        let connection = Connection::open(path).map_err(|error| named(path, "open", &error))?;
        let mut store = Store::on(connection, path.to_owned(), wal.as_deref())?;
        room.keep(&store.connection, path)?;
        store.room = Some(room);
        Ok(store)
    }

    /// A catalog in memory: for tests.
    ///
    /// # Errors
    /// `Disk`: SQLite refused.
    pub fn in_memory() -> Result<Store, CatalogError> {
        let path = PathBuf::from(":memory:");
        let connection =
            Connection::open_in_memory().map_err(|error| named(&path, "open", &error))?;
        Store::on(connection, path, None)
    }

    /// What the next process finds where every file is as it was: read again from its tables.
    ///
    /// # Errors
    /// `Corrupt`, `Disk`.
    pub fn reread(self) -> Result<Store, CatalogError> {
        Ok(Store {
            view: self.on_disk()?,
            poison: None,
            ..self
        })
    }

    /// What its tables say, which is what it holds unless a COMMIT has failed.
    ///
    /// # Errors
    /// `Corrupt`, `Disk`.
    pub fn on_disk(&self) -> Result<CatalogView, CatalogError> {
        load::load(&self.connection, &self.path)
    }

    /// What it holds.
    #[must_use]
    pub fn view(&self) -> &CatalogView {
        &self.view
    }

    /// Commits a statement's changes, all or none; they are on disk when this returns.
    ///
    /// # Errors
    /// `Misfit`, `Full`, `NoRoom`, `Disk`, `Corrupt`: nothing was changed. `Unknown`: nobody knows; so are
    /// all calls after it.
    pub fn commit(&mut self, changes: &[Change], unix_ms: i64) -> Result<(), CatalogError> {
        self.commit_by(changes, unix_ms, |transaction| transaction.commit())
    }

    /// As [`Store::commit`] with a disk on which the COMMIT fails: it is kept all the same, or not.
    ///
    /// # Errors
    /// See there; `Unknown` in the place of `Ok`.
    pub fn commit_failing(
        &mut self,
        changes: &[Change],
        unix_ms: i64,
        kept: bool,
    ) -> Result<(), CatalogError> {
        self.commit_by(changes, unix_ms, |transaction| {
            match kept {
                true => transaction.commit()?,
                false => transaction.rollback()?,
            }
            let failed = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
            Err(rusqlite::Error::SqliteFailure(failed, None))
        })
    }

    /// As [`Store::commit`] with a disk on which the COMMIT finds no room.
    ///
    /// # Errors
    /// See there; `NoRoom` in the place of `Ok`.
    pub fn commit_without_room(
        &mut self,
        changes: &[Change],
        unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.commit_by(changes, unix_ms, |transaction| {
            transaction.rollback()?;
            let failed = ffi::Error::new(ffi::SQLITE_FULL);
            Err(rusqlite::Error::SqliteFailure(failed, None))
        })
    }

    fn commit_by(
        &mut self,
        changes: &[Change],
        unix_ms: i64,
        commit: impl FnOnce(Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), CatalogError> {
        self.sound()?;
        let path = &self.path;
        if let Some(room) = &self.room {
            let seen_to = room.see_to(&self.connection, path, changes);
            seen_to.inspect_err(|error| poisoned_by(&mut self.poison, error))?;
        }
        let mut view = self.view.clone();
        let transaction = self
            .connection
            .transaction()
            .map_err(|error| named(path, "begin", &error))?;
        for change in changes {
            view.apply(change)?;
            let text = json(path, change)?;
            if text.len() > CATALOG_CHANGE_BYTES_MAX {
                return Err(CatalogError::Full {
                    what: "bytes in one definition",
                    max: CATALOG_CHANGE_BYTES_MAX,
                });
            }
            transaction
                .prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3)")
                .and_then(|mut statement| statement.execute(params![view.change, unix_ms, text]))
                .map_err(|error| named(path, "write", &error))?;
            write(&transaction, path, &view, change)?;
        }
        bounds(&view)?;
        for (name, value) in [
            ("change", view.change),
            ("next_id", view.next_id()),
            ("next_generation", view.next_generation()),
        ] {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO counter VALUES (?1, ?2)")
                .and_then(|mut statement| statement.execute(params![name, value]))
                .map_err(|error| named(path, "write", &error))?;
        }
        let given_up = view.change.saturating_sub(CATALOG_CHANGES_KEPT_MAX);
        transaction
            .prepare_cached("DELETE FROM change WHERE number <= ?1")
            .and_then(|mut statement| statement.execute(params![given_up]))
            .map_err(|error| named(path, "write", &error))?;
        if let Some(room) = &self.room {
            room.leaves_enough(&transaction, path, changes)?;
        }
        let room = self.room.as_ref();
        commit(transaction)
            .map_err(|error| Room::uncommitted(room, &self.connection, path, &error))
            .inspect_err(|error| poisoned_by(&mut self.poison, error))?;
        self.view = view;
        Ok(())
    }

    /// The COMMIT that failed, if one did.
    #[must_use]
    pub fn poison(&self) -> Option<&CatalogError> {
        self.poison.as_ref()
    }

    fn sound(&self) -> Result<(), CatalogError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// The changes after `number` in order, at most `changes_max`; what a child aggregator replays.
    /// The first is not `number + 1` when those were given up: then the whole catalog is needed.
    ///
    /// # Errors
    /// `Corrupt`, `Disk`, `Unknown`.
    pub fn changes_after(
        &self,
        number: u64,
        changes_max: usize,
    ) -> Result<Vec<(u64, Change)>, CatalogError> {
        self.sound()?;
        let path = &self.path;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT number, change FROM change WHERE number > ?1 ORDER BY number LIMIT ?2",
            )
            .map_err(|error| named(path, "read", &error))?;
        let rows = statement
            .query_map(params![number, changes_max], |row| {
                Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))
            })
            .map_err(|error| named(path, "read", &error))?;
        let mut changes = Vec::new();
        for row in rows {
            let (number, text) = row.map_err(|error| named(path, "read", &error))?;
            let change = serde_json::from_str(&text).map_err(|error| CatalogError::Corrupt {
                path: path.clone(),
                what: format!("change {number}: {error}"),
            })?;
            changes.push((number, change));
        }
        Ok(changes)
    }

    /// The catalog that a connection was opened to, with its WAL as it was found there, on whatever file system.
    /// Keeps no room.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn on(
        connection: Connection,
        path: PathBuf,
        wal: Option<&dyn DiskFile>,
    ) -> Result<Store, CatalogError> {
        let pragma = |name: &str| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map_err(|error| named(&path, "read", &error))
        };
        // First of all the lock: what another process is writing is not judged.
        connection
            .busy_timeout(std::time::Duration::ZERO)
            .and_then(|()| connection.pragma_update(None, "locking_mode", "EXCLUSIVE"))
            .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE; COMMIT;"))
            .map_err(|error| named(&path, "lock", &error))?;
        if let Some(wal) = wal {
            // Else a close would copy it into the file.
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(|error| named(&path, "set up", &error))?;
            write_again(&path, wal)?;
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
                .map_err(|error| named(&path, "set up", &error))?;
        }
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
            .map_err(|error| named(&path, "read", &error))?;
        let (application, version) = (pragma("application_id")?, pragma("user_version")?);
        let empty = tables == 0 && version == 0;
        if !empty && application != APPLICATION_ID {
            return Err(CatalogError::Corrupt {
                path,
                what: "a SQLite file, and not a catalog of Pinleaf".to_owned(),
            });
        }
        if version > VERSION {
            return Err(CatalogError::Newer {
                path,
                found: version,
                known: VERSION,
            });
        }
        connection
            .execute_batch(
                // Nothing is written before the COMMIT, and so the frame that commits last of all.
                "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA cache_spill = OFF;",
            )
            .map_err(|error| named(&path, "set up", &error))?;
        let synchronous = match out(Rule::CommitIsSynced) {
            true => "NORMAL",
            false => "FULL",
        };
        connection
            .pragma_update(None, "synchronous", synchronous)
            .map_err(|error| named(&path, "set up", &error))?;
        if empty {
            connection
                .execute_batch(&format!(
                    "BEGIN; {} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;",
                    include_str!("schema.sql")
                ))
                .map_err(|error| named(&path, "create", &error))?;
        }
        let check: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| named(&path, "check", &error))?;
        if check != "ok" {
            return Err(CatalogError::Corrupt { path, what: check });
        }
        let view = load::load(&connection, &path)?;
        Ok(Store {
            connection,
            path,
            view,
            poison: None,
            room: None,
        })
    }
}

/// A COMMIT that failed for another reason than room is the last.
fn poisoned_by(poison: &mut Option<CatalogError>, error: &CatalogError) {
    if matches!(error, CatalogError::Unknown { .. }) && !out(Rule::FailedCommitPoisons) {
        *poison = Some(error.clone());
    }
}

/// Where SQLite writes what is committed first.
pub(super) fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// SQLite's error as ours, by who must act.
fn named(path: &Path, doing: &'static str, error: &rusqlite::Error) -> CatalogError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch) => {
            CatalogError::Corrupt {
                path,
                what: error.to_string(),
            }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CatalogError::Locked { path },
        Some(ErrorCode::DiskFull) => CatalogError::NoRoom { path },
        // No code: a row did not have the columns or types that it should have.
        None => CatalogError::Corrupt {
            path,
            what: error.to_string(),
        },
        Some(_) => CatalogError::Disk {
            path,
            doing,
            what: error.to_string(),
        },
    }
}

fn json(path: &Path, value: &impl Serialize) -> Result<String, CatalogError> {
    serde_json::to_string(value).map_err(|error| CatalogError::Disk {
        path: path.to_owned(),
        doing: "writing a definition",
        what: error.to_string(),
    })
}

fn bounds(view: &CatalogView) -> Result<(), CatalogError> {
    for (what, count, max) in [
        ("databases", view.databases.len(), DATABASES_MAX),
        ("tables", view.tables.len(), TABLES_MAX),
        ("pipelines", view.pipelines.len(), PIPELINES_MAX),
        ("pairings", view.pairings.len(), PAIRINGS_MAX),
    ] {
        if count > max {
            return Err(CatalogError::Full { what, max });
        }
    }
    Ok(())
}

/// Writes the rows that `change` touched as `view`, which holds it, has them.
fn write(
    transaction: &Transaction<'_>,
    path: &Path,
    view: &CatalogView,
    change: &Change,
) -> Result<(), CatalogError> {
    let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
        transaction
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map(|_| ())
            .map_err(|error| named(path, "write", &error))
    };
    match change {
        Change::DatabaseCreated(def) => run(
            "INSERT INTO database VALUES (?1, ?2, ?3)",
            params![def.id.0, def.name, def.create_unix_ms],
        ),
        Change::DatabaseDropped { database } => {
            run("DELETE FROM database WHERE id = ?1", params![database.0])
        }
        Change::TableCreated { table, .. } | Change::TableDropping { table } => {
            write_table(&run, path, view, TableId(*table))
        }
        Change::TableDropped { table } => {
            run("DELETE FROM pairing WHERE \"table\" = ?1", params![table])?;
            run("DELETE FROM \"table\" WHERE id = ?1", params![table])
        }
        Change::PipelineCreated { pipeline, .. }
        | Change::PipelineReplaced { pipeline, .. }
        | Change::PipelineState { pipeline, .. }
        | Change::PipelineTopic { pipeline, .. } => write_pipeline(&run, path, view, *pipeline),
        Change::PipelineDropped { pipeline } => {
            run("DELETE FROM pipeline WHERE id = ?1", params![pipeline.0])
        }
        Change::Paired { pairing, .. } => {
            write_pairing(&run, view, LeafPartitionId(pairing.leaf_partition))
        }
        Change::Lineage { leaf_partition, .. } => {
            write_pairing(&run, view, LeafPartitionId(*leaf_partition))
        }
        Change::Ordered {
            leaf_partitions, ..
        } => leaf_partitions
            .iter()
            .try_for_each(|id| write_pairing(&run, view, LeafPartitionId(*id))),
        Change::VariableSet { name, value } => match value {
            Some(value) => run(
                "INSERT OR REPLACE INTO variable VALUES (?1, ?2)",
                params![name, value],
            ),
            None => run("DELETE FROM variable WHERE name = ?1", params![name]),
        },
    }
}

type Run<'a> = dyn Fn(&str, &[&dyn rusqlite::ToSql]) -> Result<(), CatalogError> + 'a;

fn write_table(
    run: &Run<'_>,
    path: &Path,
    view: &CatalogView,
    id: TableId,
) -> Result<(), CatalogError> {
    let Some(def) = view.table_by_id(id) else {
        return Ok(());
    };
    let DatabaseId(database) = def.database;
    run(
        "INSERT INTO \"table\" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (id) DO UPDATE SET spec = ?4, schema_version = ?5, dropping = ?7",
        params![
            id.0,
            database,
            def.name,
            json(path, &def.spec)?,
            def.schema_version,
            def.create_unix_ms,
            def.dropping
        ],
    )
}

fn write_pipeline(
    run: &Run<'_>,
    path: &Path,
    view: &CatalogView,
    id: PipelineId,
) -> Result<(), CatalogError> {
    let Some(def) = view.pipeline_by_id(id) else {
        return Ok(());
    };
    let failure = match &def.failure {
        Some(failure) => Some(json(path, failure)?),
        None => None,
    };
    run(
        "INSERT INTO pipeline VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (id) DO UPDATE SET spec = ?5, topic_id = ?6, state = ?7, failure = ?8, alter_unix_ms = ?10",
        params![
            id.0,
            def.database.0,
            def.name,
            def.table.0,
            json(path, &def.spec)?,
            def.topic_id.map(|topic| topic.0),
            def.state.to_string(),
            failure,
            def.create_unix_ms,
            def.alter_unix_ms
        ],
    )
}

fn write_pairing(
    run: &Run<'_>,
    view: &CatalogView,
    id: LeafPartitionId,
) -> Result<(), CatalogError> {
    let Some(def) = view.pairing(id) else {
        return Ok(());
    };
    run(
        "INSERT INTO pairing VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
         ON CONFLICT (leaf_partition) DO UPDATE SET topic_id = ?6, owner = ?7, generation = ?8, \
         lineage = ?9, live_lineage = ?10, start_offset = ?11, end_offset = ?12",
        params![
            id.0,
            def.table.0,
            def.pipeline.0,
            def.kafka_partition,
            def.topic,
            def.topic_id.0,
            def.owner.0,
            def.generation.0,
            def.lineage.0,
            def.live_lineage.0,
            def.start_offset.0,
            def.end_offset.map(|offset| offset.0)
        ],
    )
}

#[cfg(test)]
pub(crate) mod tests;
