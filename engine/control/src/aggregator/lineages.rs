//! The segments' lineages against the catalog's, before anything is touched or loaded.
//!
//! A lineage rises in the catalog first, so a segment above it says one thing alone: an older catalog
//! was put back. What that one knows nothing of would be moved away, and cursors would be set by it, so
//! the process does not start. The newest segment with a whole header speaks for its leaf partition;
//! what is torn is recovery's to judge. What cannot be read at all says nothing here: recovery names it and
//! fails that leaf partition alone, and a broken sector of one is no reason not to start the others.

use std::path::{Path, PathBuf};

use storage::disk::{Disk, DiskError, DiskFault};
use storage::format::{HEADER_PREFIX_BYTES, header_bytes, parse_header};
use storage::ids::{LeafPartitionId, Lineage, TableId};
use storage::recovery::{FileName, parse_name, segment_path};

use super::error::AggregatorError;
use crate::catalog::{CatalogView, NodeId};

/// A leaf partition's directory and its lineage as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its table.
    pub table: TableId,
    /// Its id.
    pub leaf_partition: LeafPartitionId,
    /// The catalog's.
    pub lineage: Lineage,
}

/// What the catalog says of this node's leaf partitions.
#[must_use]
pub fn known(view: &CatalogView, node: NodeId) -> Vec<Known> {
    view.pairings()
        .filter(|pairing| pairing.owner == node)
        .map(|pairing| Known {
            table: pairing.table,
            leaf_partition: pairing.leaf_partition,
            lineage: pairing.lineage,
        })
        .collect()
}

/// Looks at the newest segment of each. A directory that is not there is another's to name.
///
/// # Errors
/// `OlderCatalog`: the first that is above the catalog's.
pub fn check(disk: &dyn Disk, data_dir: &Path, known: &[Known]) -> Result<(), AggregatorError> {
    for one in known {
        let directory = data_dir
            .join("tables")
            .join(one.table.to_string())
            .join(one.leaf_partition.to_string());
        if let Some((path, lineage)) = newest(disk, &directory)
            && lineage > one.lineage
        {
            return Err(AggregatorError::OlderCatalog {
                path,
                found: lineage,
                known: one.lineage,
            });
        }
    }
    Ok(())
}

/// The newest segment that says its lineage. What cannot be read is told and passed over.
fn newest(disk: &dyn Disk, directory: &Path) -> Option<(PathBuf, Lineage)> {
    let unread = |error: &DiskError| {
        tracing::error!(
            "{error}: what it says of its lineage is not known; its recovery will say more"
        );
    };
    let entries = match disk.list(directory) {
        Ok(entries) => entries,
        Err(error) if error.fault == DiskFault::Missing => return None,
        Err(error) => {
            unread(&error);
            return None;
        }
    };
    let mut segments = Vec::new();
    for entry in entries {
        if let Some(FileName::Segment(sequence, rewrite)) = parse_name(&entry.name) {
            segments.push((sequence, rewrite));
        }
    }
    segments.sort_unstable();
    for (sequence, rewrite) in segments.into_iter().rev() {
        let path = segment_path(directory, sequence, rewrite);
        match lineage(disk, &path) {
            Ok(Some(lineage)) => return Some((path, lineage)),
            Ok(None) => {}
            Err(error) => unread(&error),
        }
    }
    None
}

/// `None`: torn, or not a segment that we read.
fn lineage(disk: &dyn Disk, path: &Path) -> Result<Option<Lineage>, DiskError> {
    let file = disk.open(path)?;
    let read = |bytes_max: usize| {
        let mut bytes = vec![0; bytes_max];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    let Ok(whole) = header_bytes(&read(HEADER_PREFIX_BYTES)?) else {
        return Ok(None);
    };
    let bytes = read(whole)?;
    Ok(parse_header(&bytes)
        .ok()
        .map(|parsed| parsed.header.lineage))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use storage::disk::RealDisk;
    use storage::format::{SegmentHeader, SegmentId, encode_header};
    use storage::ids::{Offset, Rewrite, Sequence, TopicId};
    use storage::schema::Schema;

    use super::*;

    fn header(sequence: u64, lineage: u64) -> Vec<u8> {
        encode_header(&SegmentHeader {
            id: SegmentId {
                leaf_partition: LeafPartitionId(10),
                sequence: Sequence(sequence),
                rewrite: Rewrite(0),
            },
            table: TableId(1),
            kafka_partition: 0,
            topic_id: TopicId::default(),
            lineage: Lineage(lineage),
            first_offset: Offset(0),
            first_commit_number: 0,
            created_unix_ms: 0,
            prev: None,
            behind_durable: false,
            schema: Arc::new(Schema {
                version: 1,
                columns: Arc::from([]),
            }),
        })
        .1
    }

    #[test]
    fn a_segment_above_the_catalog_refuses_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("tables/1/10");
        let known = [Known {
            table: TableId(1),
            leaf_partition: LeafPartitionId(10),
            lineage: Lineage(2),
        }];
        let checked =
            || check(&RealDisk, directory.path(), &known).map_err(|error| error.to_string());
        assert_eq!(checked(), Ok(()), "not there: another's to name");
        fs::create_dir_all(&at).unwrap();
        assert_eq!(checked(), Ok(()));
        fs::write(at.join("1.0.arrow"), header(1, 1)).unwrap();
        fs::write(at.join("2.0.arrow"), header(2, 2)).unwrap();
        fs::write(at.join("notes.txt"), "not ours").unwrap();
        assert_eq!(checked(), Ok(()));

        // A header that cannot be read: one leaf partition's trouble, which its recovery names.
        fs::create_dir(at.join("9.0.arrow")).unwrap();
        assert_eq!(checked(), Ok(()));
        fs::remove_dir(at.join("9.0.arrow")).unwrap();

        // Ten is newer than two, whatever the names' order; and what is torn does not speak.
        fs::write(at.join("10.0.arrow"), header(10, 3)).unwrap();
        for torn in [header(11, 9)[..40].to_vec(), vec![0; 4096], vec![]] {
            fs::write(at.join("11.0.arrow"), torn).unwrap();
            assert_eq!(
                checked().unwrap_err(),
                format!(
                    "{}: holds lineage 3, the catalog says 2: an older catalog.db was restored; put back the one that belongs to this data_dir (with its -wal file). Nothing was touched",
                    at.join("10.0.arrow").display()
                )
            );
        }
    }
}
