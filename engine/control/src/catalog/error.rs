//! What can be wrong with the catalog, each with who must act.

use std::path::PathBuf;

/// The catalog could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file is not a catalog, or it is damaged. A person must restore it; never retried.
    #[error(
        "{path}: the catalog is damaged: {what}; restore catalog.db (and its -wal file) from a copy"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file is from a later release.
    #[error(
        "{path}: the catalog has version {found}, this release knows up to {known}: run the release that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The last version this release knows.
        known: i64,
    },
    /// Another process holds it.
    #[error("{path}: the catalog is locked by another process: end it, or use another data_dir")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The disk has no room for a change: it was not made.
    #[error(
        "{path}: the disk has no room for this change of the catalog, and it was not made: make room there, then give the statement again"
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refused: permissions, an I/O error.
    #[error("{path}: {doing} failed: {what}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's or the kernel's words.
        what: String,
    },
    /// COMMIT failed, so nobody knows what the disk holds: the statement may be there at the next start
    /// or not. Nothing is read or written any more; the process must end and be started again.
    #[error(
        "{path}: COMMIT failed: {what}; whether the statement was kept is not known: the server ends, and what the catalog holds at its next start counts"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// SQLite's or the kernel's words.
        what: String,
    },
    /// A bound was reached; nothing is broken.
    #[error("limit reached: at most {max} {what}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A change that does not fit what is there: a bug of ours; nothing was changed.
    #[error(transparent)]
    Misfit(#[from] super::change::Misfit),
    /// The catalog's thread has ended: the process is shutting down.
    #[error("the catalog is closed: the server is shutting down")]
    Closed,
}
