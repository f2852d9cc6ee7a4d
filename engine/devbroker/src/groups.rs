//! Published offsets of consumer groups, in one file that is replaced whole at every commit.
//!
//! `count u32 | (group, topic, partition i32, offset i64, epoch i32, metadata)* | CRC-32C u32`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ingest::kafka::ErrorCode;
use ingest::kafka::wire::{Reader, WireFault, put_string};

use crate::error::DevBrokerError;
use crate::limits::{OFFSET_METADATA_BYTES_MAX, OFFSETS_MAX};

/// One published offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

type Key = (String, String, i32);

/// All of them.
#[derive(Debug)]
pub(crate) struct Groups {
    path: PathBuf,
    offsets: BTreeMap<Key, Published>,
}

impl Groups {
    pub fn open(dir: &Path) -> Result<Groups, DevBrokerError> {
        let path = dir.join("offsets");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let offsets = BTreeMap::new();
                return Ok(Groups { path, offsets });
            }
            Err(source) => return Err(DevBrokerError::disk("reading", &path, source)),
        };
        let corrupt = |what| DevBrokerError::Corrupt {
            path: path.clone(),
            what,
        };
        let (body, sum) = bytes
            .split_last_chunk::<4>()
            .ok_or_else(|| corrupt("it is cut off"))?;
        if crc(body) != u32::from_be_bytes(*sum) {
            return Err(corrupt("its checksum does not match"));
        }
        let offsets = parse(body).map_err(|_| corrupt("it is malformed"))?;
        Ok(Groups { path, offsets })
    }

    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Published> {
        self.offsets
            .get(&(group.to_owned(), topic.to_owned(), partition))
    }

    /// All that a group published.
    pub fn of_group<'s>(
        &'s self,
        group: &'s str,
    ) -> impl Iterator<Item = (&'s str, i32, &'s Published)> {
        self.offsets
            .iter()
            .filter(move |((of, _, _), _)| of == group)
            .map(|((_, topic, partition), published)| (topic.as_str(), *partition, published))
    }

    /// Puts one in memory; [`Groups::save`] makes it stay.
    pub fn put(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        published: Published,
    ) -> ErrorCode {
        if published.metadata.len() > OFFSET_METADATA_BYTES_MAX {
            return ErrorCode::OffsetMetadataTooLarge;
        }
        let key = (group.to_owned(), topic.to_owned(), partition);
        if self.offsets.len() >= OFFSETS_MAX && !self.offsets.contains_key(&key) {
            return ErrorCode::InvalidCommitOffsetSize;
        }
        self.offsets.insert(key, published);
        ErrorCode::None
    }

    /// Replaces the file.
    pub fn save(&self) -> Result<(), DevBrokerError> {
        let mut out = Vec::new();
        out.extend_from_slice(&(self.offsets.len() as u32).to_be_bytes());
        for ((group, topic, partition), published) in &self.offsets {
            put_string(&mut out, group, false);
            put_string(&mut out, topic, false);
            out.extend_from_slice(&partition.to_be_bytes());
            out.extend_from_slice(&published.offset.to_be_bytes());
            out.extend_from_slice(&published.leader_epoch.to_be_bytes());
            put_string(&mut out, &published.metadata, false);
        }
        let sum = crc(&out);
        out.extend_from_slice(&sum.to_be_bytes());
        let next = self.path.with_extension("next");
        fs::write(&next, out)
            .and_then(|()| fs::rename(&next, &self.path))
            .map_err(|source| DevBrokerError::disk("writing", &self.path, source))
    }
}

fn crc(bytes: &[u8]) -> u32 {
    ingest::kafka::batch::crc32c(bytes)
}

fn parse(body: &[u8]) -> Result<BTreeMap<Key, Published>, WireFault> {
    let mut reader = Reader::new(body);
    let count = reader.count(false, 22)?.unwrap_or(0);
    let mut offsets = BTreeMap::new();
    for _ in 0..count {
        let mut text = || Ok(reader.string(false)?.unwrap_or_default().to_owned());
        let (group, topic) = (text()?, text()?);
        let partition = reader.i32()?;
        let published = Published {
            offset: reader.i64()?,
            leader_epoch: reader.i32()?,
            metadata: reader.string(false)?.unwrap_or_default().to_owned(),
        };
        offsets.insert((group, topic, partition), published);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_kept_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut groups = Groups::open(dir.path()).unwrap();
        let published = Published {
            offset: 1 << 40,
            leader_epoch: 3,
            metadata: "lineage 1".to_owned(),
        };
        assert_eq!(groups.put("g", "t", 2, published.clone()), ErrorCode::None);
        groups.save().unwrap();
        let groups = Groups::open(dir.path()).unwrap();
        assert_eq!(groups.get("g", "t", 2), Some(&published));
        assert_eq!(groups.get("g", "t", 3), None);
        let path = dir.path().join("offsets");
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = Groups::open(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("its checksum does not match"));
    }
}
