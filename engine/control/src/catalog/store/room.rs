//! Room for statements on a disk that is full to its last byte: STOP and DROP are what makes room there.
//!
//! A COMMIT writes the WAL alone, and [`CATALOG_ROOM_BYTES`] are allocated for it at the open. It begins anew once it
//! is checkpointed, and that needs room in the catalog's own file: [`CATALOG_FREE_PAGES`] free pages there, which
//! SQLite takes before the file grows. What makes something more has to leave half of them, or find the disk with room
//! for new ones; else it is refused, and nothing was changed. The others take what there is.
//!
//! None of it is a promise: a file system may refuse to allocate, or write elsewhere what is written again. A COMMIT
//! that finds no room all the same is refused too; see [`Room::uncommitted`].

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};
use storage::disk::{Disk as _, DiskError, DiskFile, RealDisk};

use super::{named, wal_path};
use crate::catalog::change::Change;
use crate::catalog::error::CatalogError;
use crate::limits::{CATALOG_FREE_PAGES, CATALOG_PAGE_BYTES, CATALOG_ROOM_BYTES};

/// The catalog's file, to allocate in.
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
        let file = RealDisk.open(&fs::canonicalize(path).unwrap_or(path.to_owned()))?;
        Ok(Room { file })
    }

    /// Allocates both, at the open. A disk that is full by now has none to keep, and statements say so themselves.
    ///
    /// # Errors
    /// As [`Room::see_to`], but for `NoRoom` and `Disk`: these are said in the log.
    pub fn keep(&self, connection: &Connection, path: &Path) -> Result<(), CatalogError> {
        // The length stays SQLite's.
        let wal = RealDisk
            .open(&wal_path(path))
            .and_then(|wal| wal.allocate(0, CATALOG_ROOM_BYTES));
        let kept = wal
            .map_err(|error| refused(path, &error))
            .and_then(|()| self.keep_pages(connection, path));
        match kept {
            Err(error @ (CatalogError::NoRoom { .. } | CatalogError::Disk { .. })) => {
                tracing::warn!(%error, bytes = CATALOG_ROOM_BYTES,
                    "no room is kept for the catalog: on a full disk statements that change something fail");
                Ok(())
            }
            kept => kept,
        }
    }

    /// Before a transaction of these changes begins: free pages, where it makes something more and few are left.
    ///
    /// # Errors
    /// `NoRoom`; `Disk`, `Corrupt`; `Unknown` where a COMMIT of the free pages failed.
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

    /// Behind the writes of a transaction of these changes, before its COMMIT: whether enough is left.
    ///
    /// # Errors
    /// `NoRoom`: to be rolled back. `Disk`, `Corrupt`.
    pub fn leaves_enough(
        &self,
        connection: &Connection,
        path: &Path,
        changes: &[Change],
    ) -> Result<(), CatalogError> {
        if !changes.iter().any(makes_more) {
            return Ok(());
        }
        let length = self.length(path)?;
        let grown =
            (pages(connection, path, "page_count")? * CATALOG_PAGE_BYTES).saturating_sub(length);
        if grown == 0 && pages(connection, path, "freelist_count")? >= CATALOG_FREE_PAGES / 2 {
            return Ok(());
        }
        self.allocate(
            path,
            length,
            grown + CATALOG_FREE_PAGES * CATALOG_PAGE_BYTES,
        )
    }

    /// Makes free pages where less than half of them are left.
    fn keep_pages(&self, connection: &Connection, path: &Path) -> Result<(), CatalogError> {
        // Of one who ended between the two transactions below.
        batch(connection, path, "BEGIN; DROP TABLE IF EXISTS room;")?;
        if pages(connection, path, "freelist_count")? >= CATALOG_FREE_PAGES / 2 {
            return Ok(());
        }
        // All that is in the WAL, so that the file has its length and the WAL its room.
        checkpoint(connection, path)?;
        // Before anything is written: what is in the WAL and finds no room here keeps the WAL from beginning anew.
        let bytes = CATALOG_FREE_PAGES * CATALOG_PAGE_BYTES;
        self.allocate(path, self.length(path)?, bytes)?;
        // Written out before it goes: a page that is free before it was ever written is a hole.
        batch(
            connection,
            path,
            &format!(
                "BEGIN; CREATE TABLE room (bytes BLOB); INSERT INTO room VALUES (zeroblob({bytes}));"
            ),
        )?;
        checkpoint(connection, path)?;
        batch(connection, path, "BEGIN; DROP TABLE room;")
    }

    /// What a COMMIT that failed says.
    ///
    /// SQLite answers FULL to a write that found no room, and writes the frame that commits last: where that is not
    /// there nothing was changed. A file system that writes elsewhere what is written again may refuse its second
    /// half, with the old bytes standing there, so one that lies within the WAL's length counts as written. Of
    /// whatever else failed, the sync above all, nobody knows.
    pub fn uncommitted(
        room: Option<&Room>,
        connection: &Connection,
        path: &Path,
        error: &rusqlite::Error,
    ) -> CatalogError {
        let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        match full && (room.is_none() || is_absent(connection, path).unwrap_or(false)) {
            true => no_room(path),
            false => CatalogError::Unknown {
                path: path.to_owned(),
                what: error.to_string(),
            },
        }
    }

    fn length(&self, path: &Path) -> Result<u64, CatalogError> {
        self.file.bytes().map_err(|error| refused(path, &error))
    }

    fn allocate(&self, path: &Path, at_byte: u64, bytes: u64) -> Result<(), CatalogError> {
        let allocated = self.file.allocate(at_byte, bytes);
        allocated.map_err(|error| refused(path, &error))
    }
}

/// Whether no frame behind the last transaction in the WAL commits one. `None`: it cannot be read.
///
/// # Source
/// SQLite, "Database File Format", 4.1: a header of 32 bytes with two salts at 16; before each page 24 bytes, with
/// the pages behind a commit at 4 (0 where it is none) and the salts at 8.
fn is_absent(connection: &Connection, path: &Path) -> Option<bool> {
    const HEADER: u64 = 32;
    const FRAME_HEADER: usize = 24;
    let frames = |row: &rusqlite::Row<'_>| row.get::<_, u64>(1);
    let frames = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], frames);
    let wal = RealDisk.open(&wal_path(path)).ok()?;
    let (mut salts, mut header) = ([0; 8], [0; FRAME_HEADER]);
    wal.read_at(&mut salts, 16).ok()?;
    let frame_bytes = FRAME_HEADER as u64 + CATALOG_PAGE_BYTES;
    let (mut at, end) = (HEADER + frames.ok()? * frame_bytes, wal.bytes().ok()?);
    while at + frame_bytes <= end {
        wal.read_at(&mut header, at).ok()?;
        if header[8..16] != salts {
            break;
        }
        if header[4..8] != [0; 4] {
            return Some(false);
        }
        at += frame_bytes;
    }
    Some(true)
}

/// One transaction of ours, which says nothing of the catalog: `statements` begin it.
fn batch(connection: &Connection, path: &Path, statements: &str) -> Result<(), CatalogError> {
    let written = connection
        .execute_batch(statements)
        .map_err(|error| named(path, "write", &error));
    let kept = written.and_then(|()| {
        connection
            .execute_batch("COMMIT;")
            .map_err(|error| Room::uncommitted(None, connection, path, &error))
    });
    if kept.is_err() && !connection.is_autocommit() {
        connection
            .execute_batch("ROLLBACK;")
            .map_err(|error| named(path, "rollback", &error))?;
    }
    kept
}

/// Copies what the WAL has into the catalog's file; the next COMMIT writes at the WAL's beginning.
pub(super) fn checkpoint(connection: &Connection, path: &Path) -> Result<(), CatalogError> {
    connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .map_err(|error| named(path, "checkpoint", &error))
}

pub(super) fn pages(
    connection: &Connection,
    path: &Path,
    which: &str,
) -> Result<u64, CatalogError> {
    connection
        .pragma_query_value(None, which, |row| row.get(0))
        .map_err(|error| named(path, "read", &error))
}

fn no_room(path: &Path) -> CatalogError {
    CatalogError::NoRoom {
        path: path.to_owned(),
    }
}

fn refused(path: &Path, error: &DiskError) -> CatalogError {
    match error.is_full() {
        true => no_room(path),
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
