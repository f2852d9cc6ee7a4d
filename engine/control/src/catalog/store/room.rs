//! The WAL's room: what a COMMIT is to write is allocated before anything of it is written.
//!
//! A COMMIT writes the WAL alone, and one that fails ends the process: so none is begun that might not find room.
//! Of the room that is allocated at the open, half is for statements that stop, drop and so make room; what makes
//! something more takes the other half. On a disk with room the WAL's grows as it is needed, and it begins anew
//! once it is checkpointed. That needs room in the catalog's own file, where a full disk has none: then the WAL grows
//! up to its room, and what follows is refused, with nothing changed.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use storage::disk::{Disk as _, DiskFile, RealDisk};

use super::named;
use crate::catalog::change::Change;
use crate::catalog::error::CatalogError;
use crate::catalog::view::CatalogView;
use crate::limits::{CATALOG_FREE_PAGES, CATALOG_ROOM_BYTES};

/// A page of the catalog's file, and what stands before each and before all in the WAL.
const PAGE_BYTES: u64 = 4_096;
const FRAME_HEADER_BYTES: u64 = 24;
const WAL_HEADER_BYTES: u64 = 32;
/// Pages that a transaction changes at most: of its own; of each change, with the one that is given up for it; of each
/// pairing's row.
const PAGES: u64 = 16;
const PAGES_CHANGE: u64 = 12;
const PAGES_PAIRING: u64 = 4;

/// See the module.
pub(super) struct Room {
    wal: Arc<dyn DiskFile>,
    /// As far as it is allocated.
    bytes: u64,
}

impl Room {
    /// Allocates the WAL's room; its length stays SQLite's. On a disk that is full by now it is what the WAL has.
    pub fn keep(wal: &Path) -> Option<Room> {
        let kept = |wal: &Arc<dyn DiskFile>| wal.allocate(0, CATALOG_ROOM_BYTES);
        let wal = RealDisk.open(wal).map(|wal| (kept(&wal), wal));
        let (kept, wal) = match wal {
            Ok((Ok(()), wal)) => return Some(Room::of(wal, CATALOG_ROOM_BYTES)),
            Ok((Err(error), wal)) => (error, Some(wal)),
            Err(error) => (error, None),
        };
        tracing::warn!(error = %kept, bytes = CATALOG_ROOM_BYTES,
            "no room is kept for the catalog: on a full disk statements that change something fail");
        wal.map(|wal| Room::of(wal, 0))
    }

    pub fn of(wal: Arc<dyn DiskFile>, bytes: u64) -> Room {
        Room { wal, bytes }
    }

    /// Sees to the room for a transaction of these changes, before it begins.
    ///
    /// # Errors
    /// `NoRoom`: nothing was changed.
    pub fn see_to(
        &mut self,
        connection: &Connection,
        path: &Path,
        view: &CatalogView,
        changes: &[(&Change, String)],
    ) -> Result<(), CatalogError> {
        let makes = changes.iter().any(|(change, _)| makes_more(change));
        let kept = if makes { CATALOG_ROOM_BYTES / 2 } else { 0 };
        let wanted = bytes_max(view, changes) + kept;
        // Where it was begun anew, less of it is in use than it is long.
        let length = self.wal.bytes().map_err(|error| CatalogError::Disk {
            path: path.to_owned(),
            doing: "reading the WAL's length",
            what: error.to_string(),
        })?;
        self.bytes = self.bytes.max(length);
        if self.has(length + wanted).is_ok() {
            return Ok(());
        }
        let used = match used(connection, path) {
            Ok(used) => used.min(length),
            // Not even what is in the WAL has room in the catalog's file.
            Err(_) => length,
        };
        self.has(used + wanted)
            .map_err(|what| CatalogError::NoRoom {
                path: path.to_owned(),
                what,
            })
    }

    /// Whether so much is allocated from its beginning on, by now.
    fn has(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > self.bytes {
            let allocated = self.wal.allocate(0, bytes);
            allocated.map_err(|error| error.to_string())?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

/// Makes free pages in the catalog's own file where there are few. They are SQLite's own, used before the file grows.
/// A disk without much room has none for them.
pub(super) fn keep_pages(connection: &Connection, path: &Path) {
    let kept = || -> Result<(), String> {
        let text = |error: rusqlite::Error| error.to_string();
        let free =
            connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0));
        if free.map_err(text)? >= CATALOG_FREE_PAGES / 2 {
            return Ok(());
        }
        let room = RealDisk
            .free_bytes(path)
            .map_err(|error| error.to_string())?;
        if room < 2 * CATALOG_ROOM_BYTES {
            return Err("there is little room on the disk".to_owned());
        }
        // Written out before it goes: a page that is free before it was ever written is a hole.
        connection
            .execute_batch(&format!(
                "DROP TABLE IF EXISTS room; CREATE TABLE room (bytes BLOB); \
                 INSERT INTO room VALUES (zeroblob({}));",
                CATALOG_FREE_PAGES * PAGE_BYTES
            ))
            .map_err(text)?;
        used(connection, path).map_err(|error| error.to_string())?;
        connection.execute_batch("DROP TABLE room;").map_err(text)
    };
    if let Err(error) = kept() {
        tracing::warn!(error, "no free pages are kept in the catalog");
    }
}

/// How much of the WAL is in use behind a checkpoint.
fn used(connection: &Connection, path: &Path) -> Result<u64, CatalogError> {
    let frames = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (written, checkpointed) = connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], frames)
        .map_err(|error| named(path, "checkpoint", &error))?;
    // With all of it in the catalog's file, the next write is at its beginning.
    Ok(match u64::try_from(written) {
        Ok(frames) if written > checkpointed => WAL_HEADER_BYTES + frames * FRAME_BYTES,
        _ => 0,
    })
}

const FRAME_BYTES: u64 = PAGE_BYTES + FRAME_HEADER_BYTES;

/// What a transaction of these writes into the WAL, at most.
fn bytes_max(view: &CatalogView, changes: &[(&Change, String)]) -> u64 {
    let pages = changes.iter().map(|(change, text)| {
        let pairings = match change {
            Change::Ordered {
                leaf_partitions, ..
            } => leaf_partitions.len(),
            Change::TableDropped { table } => view
                .pairings()
                .filter(|pairing| pairing.table.0 == *table)
                .count(),
            _ => 0,
        };
        // It stands in the list of changes, and nearly all of it in a row of its own.
        let text = 2 * (text.len() as u64).div_ceil(PAGE_BYTES);
        PAGES_CHANGE + text + PAGES_PAIRING * pairings as u64
    });
    WAL_HEADER_BYTES + FRAME_BYTES * (PAGES + pages.sum::<u64>())
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
