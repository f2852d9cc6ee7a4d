//! What a process that ended left in the WAL, before it counts.
//!
//! SQLite takes up every transaction that it reads there whole. Of the last one nobody may have synced the bytes: the
//! process was killed before, or the sync failed, and then the kernel holds them without a mark that they are to be
//! written. Leaves would be told what a power loss takes back, and keep it. So the WAL is written again, same bytes,
//! same place, and synced, behind the lock and before anything is read from the catalog.

use std::io::IoSlice;
use std::path::Path;

use storage::disk::{DiskError, DiskFile};

use crate::catalog::error::CatalogError;
use crate::limits::CATALOG_WAL_PIECE_BYTES;
use crate::planted::{Rule, out};

/// Writes all of the WAL again, and syncs it. One that a disk without room refuses, as file systems may that write
/// elsewhere what is written again, is synced alone: START and STOP must go on there, and what a failed sync left is
/// the rarer case.
///
/// # Errors
/// `Disk`: the catalog is not to be used.
pub(super) fn write_again(path: &Path, wal: &dyn DiskFile) -> Result<(), CatalogError> {
    if out(Rule::WalWrittenAgain) {
        return Ok(());
    }
    let written = match pieces(wal) {
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "the catalog's WAL is not written again, and is synced as it is");
            Ok(())
        }
        written => written,
    };
    written
        .and_then(|()| wal.sync())
        .map_err(|error| CatalogError::Disk {
            path: path.to_owned(),
            doing: "writing its WAL again",
            what: error.to_string(),
        })
}

fn pieces(wal: &dyn DiskFile) -> Result<(), DiskError> {
    let mut piece = vec![0; CATALOG_WAL_PIECE_BYTES];
    let mut at_byte = 0;
    loop {
        let bytes = wal.read_at(&mut piece, at_byte)?;
        if bytes == 0 {
            return Ok(());
        }
        wal.write_at(&[IoSlice::new(&piece[..bytes])], at_byte)?;
        at_byte += bytes as u64;
    }
}

#[cfg(test)]
mod tests;
