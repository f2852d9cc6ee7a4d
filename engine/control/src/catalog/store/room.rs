//! Room for statements on a disk that is full to its last byte: STOP and DROP are what makes room there.
//!
//! A COMMIT writes the WAL alone, and [`CATALOG_ROOM_BYTES`] are allocated for it at the open. It begins anew once it
//! is checkpointed, and that needs room in the catalog's own file: [`CATALOG_FREE_PAGES`] free pages there, which
//! SQLite takes before the file grows. What makes something more takes no more than half of them, and sees to
//! new ones while the disk has room; where it has none it is refused, and the other half is for what stops and drops.
//!
//! None of it is a promise: a file system may refuse to allocate, or write elsewhere what is written again. A COMMIT
//! that finds no room all the same is refused, and nothing was changed; see [`Store::commit`](super::Store::commit).

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};
use storage::disk::{Disk as _, DiskError, DiskFile, RealDisk};

use super::{named, wal_path};
use crate::catalog::change::Change;
use crate::catalog::error::CatalogError;
use crate::limits::{CATALOG_FREE_PAGES, CATALOG_PAGE_BYTES, CATALOG_ROOM_BYTES};

/// The catalog's file and its WAL, to allocate in.
///
/// Whoever closes a file gives up every lock that this process has on it (POSIX), so this one is opened before SQLite
/// takes its lock and closed behind it.
pub(super) struct Room {
    file: Arc<dyn DiskFile>,
}

impl Room {
    /// Of the catalog at `path`, before SQLite opens it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(path: &Path) -> Result<Room, DiskError> {
        let file = RealDisk.open(path)?;
        Ok(Room { file })
    }

    /// Allocates both, at the open. A disk that is full by now has none to keep, and statements say so themselves.
    pub fn keep(&self, connection: &Connection, path: &Path) {
        // The length stays SQLite's.
        let wal = RealDisk
            .open(&wal_path(path))
            .and_then(|wal| wal.allocate(0, CATALOG_ROOM_BYTES));
        let kept = match wal {
            Ok(()) => self.keep_pages(connection, path),
            Err(error) => Err(refused(path, &error)),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, bytes = CATALOG_ROOM_BYTES,
                "no room is kept for the catalog: on a full disk statements that change something fail");
        }
    }

    /// Whether these changes may be written: what makes something more leaves room for what does not.
    ///
    /// # Errors
    /// `NoRoom`; `Unknown` where a COMMIT of the free pages failed.
    pub fn see_to(
        &self,
        connection: &Connection,
        path: &Path,
        changes: &[Change],
    ) -> Result<(), CatalogError> {
        match changes.iter().any(makes_more) {
            true => self.keep_pages(connection, path),
            false => Ok(()),
        }
    }

    /// Makes free pages where less than half of them are left.
    fn keep_pages(&self, connection: &Connection, path: &Path) -> Result<(), CatalogError> {
        let free =
            connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0));
        if free.map_err(|error| named(path, "read", &error))? >= CATALOG_FREE_PAGES / 2 {
            return Ok(());
        }
        // All that is in the WAL, so that the file has its length and the WAL its room.
        checkpoint(connection, path)?;
        // Before anything is written: what is in the WAL and finds no room here keeps the WAL from beginning anew.
        let bytes = CATALOG_FREE_PAGES * CATALOG_PAGE_BYTES;
        let length = self.file.bytes();
        length
            .and_then(|length| self.file.allocate(length, bytes))
            .map_err(|error| refused(path, &error))?;
        // Written out before it goes: a page that is free before it was ever written is a hole.
        batch(
            connection,
            path,
            &format!(
                "BEGIN; DROP TABLE IF EXISTS room; CREATE TABLE room (bytes BLOB); \
                 INSERT INTO room VALUES (zeroblob({bytes}));"
            ),
        )?;
        checkpoint(connection, path)?;
        batch(connection, path, "BEGIN; DROP TABLE room;")
    }
}

/// One transaction of ours, which says nothing of the catalog: `statements` begin it.
fn batch(connection: &Connection, path: &Path, statements: &str) -> Result<(), CatalogError> {
    let written = connection
        .execute_batch(statements)
        .map_err(|error| named(path, "write", &error));
    let kept = written.and_then(|()| {
        connection
            .execute_batch("COMMIT;")
            .map_err(|error| uncommitted(path, &error))
    });
    if kept.is_err() && !connection.is_autocommit() {
        connection
            .execute_batch("ROLLBACK;")
            .map_err(|error| named(path, "rollback", &error))?;
    }
    kept
}

/// What a COMMIT that failed says. SQLite answers FULL to a write that found no room, and the frame that commits is
/// the last that is written: without it nothing is. Whatever else failed, the sync above all, says nothing of it.
pub(super) fn uncommitted(path: &Path, error: &rusqlite::Error) -> CatalogError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => named(path, "commit", error),
        _ => CatalogError::Unknown {
            path: path.to_owned(),
            what: error.to_string(),
        },
    }
}

/// Copies what the WAL has into the catalog's file; the next COMMIT writes at the WAL's beginning.
pub(super) fn checkpoint(connection: &Connection, path: &Path) -> Result<(), CatalogError> {
    connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .map_err(|error| named(path, "checkpoint", &error))
}

fn refused(path: &Path, error: &DiskError) -> CatalogError {
    match error.is_full() {
        true => CatalogError::NoRoom {
            path: path.to_owned(),
        },
        false => CatalogError::Disk {
            path: path.to_owned(),
            doing: "allocating room",
            what: error.to_string(),
        },
    }
}

/// Whether it makes something that was not there: what stops, drops or goes on with what is there may make room.
fn makes_more(change: &Change) -> bool {
    match change {
        Change::DatabaseCreated(_)
        | Change::TableCreated { .. }
        | Change::PipelineCreated { .. }
        | Change::PipelineReplaced { .. }
        | Change::Paired { .. }
        | Change::VariableSet { .. } => true,
        Change::DatabaseDropped { .. }
        | Change::TableDropping { .. }
        | Change::TableDropped { .. }
        | Change::PipelineDropped { .. }
        | Change::PipelineState { .. }
        | Change::PipelineTopic { .. }
        | Change::Lineage { .. }
        | Change::Ordered { .. } => false,
    }
}
