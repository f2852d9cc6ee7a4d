//! The data directory against the catalog, before any leaf takes a leaf partition.
//!
//! What the catalog does not know and is empty is removed; with data it is moved to `orphans/` and
//! named, never deleted. What the catalog knows and is not there is an error, not a fresh start. A
//! table that was being dropped is unlinked to the end. The decision is a pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use storage::disk::{Disk, DiskError, DiskFault};
use storage::ids::{LeafPartitionId, TableId};

use super::error::AggregatorError;
use crate::catalog::{CatalogView, NodeId};
use crate::planted::{Rule, out};

/// A file that comes and goes before a directory is synced.
const TOUCH: &str = ".touch";

/// A directory below `tables/`: `<table>` or `<table>/<leaf partition>`, as names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Below `tables/`.
    pub path: PathBuf,
    /// Whether anything is in it, directories aside.
    pub has_data: bool,
}

/// What the catalog says of the directories on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Every leaf partition, with its table.
    pub there: BTreeMap<LeafPartitionId, TableId>,
    /// Tables that are being dropped: whatever is left of them goes.
    pub dropping: BTreeSet<TableId>,
    /// Tables that are there, also those without a leaf partition.
    pub tables: BTreeSet<TableId>,
}

/// What to do with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Unknown and empty: remove it.
    Remove(PathBuf),
    /// Unknown, with data: move it to `orphans/` and say so.
    Orphan(PathBuf),
    /// A table that was being dropped: remove it with all that is in it.
    Unlink(PathBuf),
}

/// What the catalog expects of this node.
#[must_use]
pub fn expected(view: &CatalogView, node: NodeId) -> Expected {
    let mut expected = Expected::default();
    for table in view.tables() {
        expected.tables.insert(table.id);
    }
    for pairing in view.pairings().filter(|pairing| pairing.owner == node) {
        match view.table_by_id(pairing.table) {
            Some(table) if !table.dropping => {
                expected.there.insert(pairing.leaf_partition, pairing.table);
            }
            _ => {}
        }
    }
    expected.dropping = view.tables_dropping().map(|table| table.id).collect();
    expected
}

/// Decides, directory by directory; then which known ones are missing.
#[must_use]
pub fn decide(expected: &Expected, found: &[Found]) -> (Vec<Mend>, Vec<PathBuf>) {
    let mut missing: BTreeMap<PathBuf, ()> = expected
        .there
        .iter()
        .map(|(id, table)| (Path::new(&table.to_string()).join(id.to_string()), ()))
        .collect();
    let mut mends = Vec::new();
    for Found { path, has_data } in found {
        if missing.remove(path).is_some() {
            continue;
        }
        let mut names = path.iter().filter_map(|name| name.to_str());
        let table = names.next().and_then(|name| name.parse().ok()).map(TableId);
        let is_table = names.next().is_none();
        let known = |tables: &BTreeSet<TableId>| table.is_some_and(|table| tables.contains(&table));
        if known(&expected.dropping) {
            if is_table && !out(Rule::DroppedUnlinkedAtStart) {
                mends.push(Mend::Unlink(path.clone()));
            }
        } else if is_table && known(&expected.tables) {
            // Its leaf partitions speak for themselves; loose files in it are not ours.
        } else if *has_data {
            mends.push(Mend::Orphan(path.clone()));
        } else {
            mends.push(Mend::Remove(path.clone()));
        }
    }
    (mends, missing.into_keys().collect())
}

/// Looks at `data_dir`, mends it, and names what it moved.
///
/// # Errors
/// `Disk`: a known directory is missing, or the kernel refused.
pub fn mend(
    disk: &dyn Disk,
    data_dir: &Path,
    expected: &Expected,
) -> Result<Vec<PathBuf>, AggregatorError> {
    let tables = data_dir.join("tables");
    make_directories(disk, data_dir, std::iter::once(&tables))?;
    let found = look(disk, &tables)?;
    let (mends, missing) = decide(expected, &found);
    if let Some(path) = missing.first() {
        return Err(AggregatorError::Disk {
            path: tables.join(path),
            doing: "looking for a leaf partition's directory",
            what: format!(
                "it is not there, and the catalog knows it ({} missing in all): restore it, or restore the catalog that belongs to this data_dir",
                missing.len()
            ),
        });
    }
    let mut moved = Vec::new();
    let mut touched = BTreeSet::new();
    // What an earlier process unlinked is gone to whoever looks, and not yet from the disk.
    if !expected.dropping.is_empty() {
        touched.insert(tables.clone());
    }
    // Deepest first, so that a table's directory is empty when its turn comes.
    for mend in mends.into_iter().rev() {
        match mend {
            Mend::Remove(path) => {
                let path = tables.join(path);
                // What made it not empty was moved or is another's; it is looked at next time.
                if entries(disk, &path)?.is_empty() {
                    disk.unlink(&path.join(TOUCH))
                        .and_then(|()| disk.remove_directory(&path))
                        .map_err(|error| refused("removing an empty directory", &error))?;
                }
                touched.extend(path.parent().map(Path::to_owned));
            }
            Mend::Unlink(path) => {
                remove_all(disk, &tables.join(path))?;
                touched.insert(tables.clone());
            }
            Mend::Orphan(path) => {
                let from = tables.join(&path);
                let to = free_name(disk, data_dir, &path)?;
                disk.rename(&from, &to)
                    .map_err(|error| refused("moving to orphans/", &error))?;
                touched.extend(from.parent().map(Path::to_owned));
                touched.extend(to.parent().map(Path::to_owned));
                moved.push(to);
            }
        }
    }
    for path in &touched {
        match sync_touched(disk, path) {
            // It was removed itself.
            Err(error) if error.fault == DiskFault::Missing => {}
            other => other.map_err(|error| refused("sync of a directory", &error))?,
        }
    }
    Ok(moved)
}

/// Makes the directories of leaf partitions of a table; their names are on disk when this returns. Each directory
/// above them is synced once, however many they are.
///
/// # Errors
/// `Disk`.
pub fn make_leaf_partitions(
    disk: &dyn Disk,
    data_dir: &Path,
    table: TableId,
    leaf_partitions: &[LeafPartitionId],
) -> Result<(), AggregatorError> {
    if leaf_partitions.is_empty() {
        return Ok(());
    }
    let tables = data_dir.join("tables");
    let table = tables.join(table.to_string());
    make_directories(disk, data_dir, std::iter::once(&tables))?;
    make_directories(disk, &tables, std::iter::once(&table))?;
    let directory = |id: &LeafPartitionId| table.join(id.to_string());
    make_directories(disk, &table, leaf_partitions.iter().map(directory))
}

/// Removes a dropped table's directory once its leaf partitions are gone.
///
/// # Errors
/// `Disk`.
pub fn remove_table(
    disk: &dyn Disk,
    data_dir: &Path,
    table: TableId,
) -> Result<(), AggregatorError> {
    let tables = data_dir.join("tables");
    remove_all(disk, &tables.join(table.to_string()))?;
    sync_directory(disk, &tables)
}

/// Removes a directory with all that is in it; one that is not there is `Ok`.
fn remove_all(disk: &dyn Disk, path: &Path) -> Result<(), AggregatorError> {
    let doing = "unlinking a dropped table";
    let below = match disk.list(path) {
        Err(error) if error.fault == DiskFault::Missing => return Ok(()),
        below => below.map_err(|error| refused(doing, &error))?,
    };
    for entry in below {
        let path = path.join(&entry.name);
        if entry.is_directory {
            remove_all(disk, &path)?;
        } else {
            disk.unlink(&path).map_err(|error| refused(doing, &error))?;
        }
    }
    disk.remove_directory(path)
        .map_err(|error| refused(doing, &error))
}

/// Makes directories in one; their names are on disk when this returns, whoever made them.
fn make_directories(
    disk: &dyn Disk,
    parent: &Path,
    paths: impl Iterator<Item = impl AsRef<Path>>,
) -> Result<(), AggregatorError> {
    for path in paths {
        disk.make_directory(path.as_ref())
            .map_err(|error| refused("making a directory", &error))?;
    }
    match out(Rule::DirectoryBeforePairing) {
        true => Ok(()),
        false => sync_directory(disk, parent),
    }
}

fn sync_directory(disk: &dyn Disk, path: &Path) -> Result<(), AggregatorError> {
    sync_touched(disk, path).map_err(|error| refused("sync of a directory", &error))
}

/// A name comes and goes, so that the directory is written whole by the sync that follows: where an earlier
/// sync failed, its error is used up, and a sync alone proves nothing of what was done before it.
fn sync_touched(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    let touch = path.join(TOUCH);
    disk.unlink(&touch)?;
    disk.create(&touch)?;
    disk.unlink(&touch)?;
    disk.sync_directory(path)
}

/// Every directory of the first two levels, parents before children.
fn look(disk: &dyn Disk, tables: &Path) -> Result<Vec<Found>, AggregatorError> {
    let mut found = Vec::new();
    let directories = entries(disk, tables)?.into_iter();
    for (name, _) in directories.filter(|(_, is_dir)| *is_dir) {
        let below = entries(disk, &tables.join(&name))?;
        found.push(Found {
            path: name.clone(),
            has_data: below.iter().any(|(_, is_dir)| !is_dir),
        });
        for (leaf, _) in below.into_iter().filter(|(_, is_dir)| *is_dir) {
            let path = name.join(leaf);
            let has_data = !entries(disk, &tables.join(&path))?.is_empty();
            found.push(Found { path, has_data });
        }
    }
    Ok(found)
}

fn entries(disk: &dyn Disk, path: &Path) -> Result<Vec<(PathBuf, bool)>, AggregatorError> {
    let entries = disk.list(path);
    let entries = entries.map_err(|error| refused("reading a directory", &error))?;
    let mut entries: Vec<(PathBuf, bool)> = entries
        .into_iter()
        // A crash left it.
        .filter(|entry| entry.name != TOUCH)
        .map(|entry| (entry.name.into(), entry.is_directory))
        .collect();
    entries.sort();
    Ok(entries)
}

/// A name in `orphans/` that is not taken: `<table>-<leaf partition>`, then with a number.
fn free_name(disk: &dyn Disk, data_dir: &Path, path: &Path) -> Result<PathBuf, AggregatorError> {
    let orphans = data_dir.join("orphans");
    make_directories(disk, data_dir, std::iter::once(&orphans))?;
    let name: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let name = name.join("-");
    let taken: BTreeSet<PathBuf> = entries(disk, &orphans)?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let free = std::iter::once(PathBuf::from(&name))
        .chain((2..=taken.len() + 2).map(|number| format!("{name}.{number}").into()))
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or_default();
    Ok(orphans.join(free))
}

/// The disk's error as a statement shows it.
pub(super) fn refused(doing: &'static str, error: &DiskError) -> AggregatorError {
    AggregatorError::Disk {
        path: error.path.clone(),
        doing,
        what: std::io::Error::from_raw_os_error(error.errno).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::sync::{Arc, Mutex};

    use storage::disk::{DiskFile, Entry, RealDisk};
    use storage::map::Pages;

    use super::*;

    fn there() -> Expected {
        Expected {
            there: BTreeMap::from([(LeafPartitionId(10), TableId(1))]),
            dropping: BTreeSet::from([TableId(2)]),
            tables: BTreeSet::from([TableId(1), TableId(3)]),
        }
    }

    #[test]
    fn unknown_is_removed_or_moved_never_deleted_and_known_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["1/10", "1/11", "1/12", "2/20", "3", "9", "9/90", "x/y"] {
            fs::create_dir_all(at("tables").join(path)).unwrap();
        }
        // Bytes that are no UTF-8: in the way of nothing.
        let strange = OsStr::from_bytes(b"\xff");
        fs::create_dir_all(at("tables/2/20").join(strange)).unwrap();
        fs::create_dir_all(at("tables").join(strange).join(strange)).unwrap();
        for path in [
            "1/10/1.0.arrow",
            "1/12/1.0.arrow",
            "2/20/1.0.arrow",
            "9/90/1.0.arrow",
        ] {
            fs::write(at("tables").join(path), "rows").unwrap();
        }
        let mut moved = mend(&RealDisk, directory.path(), &there()).unwrap();
        moved.sort();
        assert_eq!(moved, [at("orphans/1-12"), at("orphans/9-90")]);
        assert!(at("orphans/1-12/1.0.arrow").exists());
        let left: Vec<_> = look(&RealDisk, &at("tables"))
            .unwrap()
            .into_iter()
            .map(|f| f.path)
            .collect();
        assert_eq!(left, [Path::new("1"), Path::new("1/10"), Path::new("3")]);

        // Again changes nothing, and another orphan of that name does not cover the first.
        assert_eq!(
            mend(&RealDisk, directory.path(), &there()).unwrap(),
            Vec::<PathBuf>::new()
        );
        fs::create_dir_all(at("tables/1/12")).unwrap();
        fs::write(at("tables/1/12/1.0.arrow"), "rows").unwrap();
        assert_eq!(
            mend(&RealDisk, directory.path(), &there()).unwrap(),
            [at("orphans/1-12.2")]
        );

        fs::remove_dir_all(at("tables/1/10")).unwrap();
        let error = mend(&RealDisk, directory.path(), &there())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tables/1/10") && error.contains("restore it"),
            "{error}"
        );
    }

    /// The kernel's disk, and which directories were synced, which files made.
    #[derive(Default)]
    struct Noted(Mutex<Vec<PathBuf>>);

    impl Disk for Noted {
        fn list(&self, directory: &Path) -> Result<Vec<Entry>, DiskError> {
            RealDisk.list(directory)
        }
        fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
            self.0.lock().unwrap().push(path.to_owned());
            RealDisk.create(path)
        }
        fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
            RealDisk.open(path)
        }
        fn pages(&self, path: &Path, bytes_max: u64) -> Result<Arc<dyn Pages>, DiskError> {
            RealDisk.pages(path, bytes_max)
        }
        fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
            RealDisk.rename(from, to)
        }
        fn unlink(&self, path: &Path) -> Result<(), DiskError> {
            RealDisk.unlink(path)
        }
        fn make_directory(&self, path: &Path) -> Result<(), DiskError> {
            RealDisk.make_directory(path)
        }
        fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
            RealDisk.remove_directory(path)
        }
        fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
            self.0.lock().unwrap().push(path.to_owned());
            RealDisk.sync_directory(path)
        }
        fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
            RealDisk.free_bytes(path)
        }
    }

    /// A process was killed between the unlinking and its sync: the next one finds nothing, and the table's
    /// row goes.
    #[test]
    fn what_an_earlier_process_unlinked_is_synced_before_the_row_goes() {
        let directory = tempfile::tempdir().unwrap();
        let tables = directory.path().join("tables");
        fs::create_dir_all(tables.join("3")).unwrap();
        fs::create_dir_all(tables.join("1/10")).unwrap();
        let disk = Noted::default();
        mend(&disk, directory.path(), &there()).unwrap();
        assert!(disk.0.lock().unwrap().contains(&tables));
    }

    /// A sync that failed before leaves its error to nobody: what it was of goes to the disk with a name that comes
    /// and goes.
    #[test]
    fn a_directory_is_touched_before_it_is_synced_once() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path();
        let disk = Noted::default();
        let many = [10, 11, 12].map(LeafPartitionId);
        make_leaf_partitions(&disk, data_dir, TableId(1), &many).unwrap();
        remove_table(&disk, data_dir, TableId(1)).unwrap();
        let noted = disk.0.lock().unwrap();
        let tables = data_dir.join("tables");
        let each = [data_dir, &tables, &tables.join("1"), &tables];
        let expected = each
            .iter()
            .flat_map(|path| [path.join(TOUCH), path.to_path_buf()]);
        assert_eq!(*noted, expected.collect::<Vec<_>>());
        assert_eq!(entries(&RealDisk, &tables).unwrap(), []);
    }

    #[test]
    fn a_new_leaf_partition_has_its_directory_first() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let one = [LeafPartitionId(10)];
            make_leaf_partitions(&RealDisk, directory.path(), TableId(1), &one).unwrap();
        }
        assert!(directory.path().join("tables/1/10").is_dir());
        // The pairing row was not committed: the next start removes it.
        let expected = Expected {
            tables: BTreeSet::from([TableId(1)]),
            ..Expected::default()
        };
        mend(&RealDisk, directory.path(), &expected).unwrap();
        assert!(!directory.path().join("tables/1/10").exists());
        remove_table(&RealDisk, directory.path(), TableId(1)).unwrap();
        remove_table(&RealDisk, directory.path(), TableId(1)).unwrap();
        assert!(!directory.path().join("tables/1").exists());
    }
}
