//! Topics and their logs on disk: `topics/<name>/id` and `topics/<name>/<partition>.log`.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use storage::ids::TopicId;

use crate::error::DevBrokerError;
use crate::limits::{PARTITIONS_MAX, TOPIC_NAME_BYTES_MAX, TOPICS_MAX};
use crate::log::Log;

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub id: TopicId,
    /// By index. A lock is held for one append or read.
    pub partitions: Vec<Mutex<Log>>,
}

/// All topics, by name. Fixed once the broker runs.
#[derive(Debug)]
pub(crate) struct Topics {
    by_name: BTreeMap<String, Topic>,
}

impl Topics {
    /// Opens what the folder holds, and makes what is wanted beyond it. A topic that has more
    /// partitions than wanted keeps them.
    pub fn open(dir: &Path, wanted: &[(String, i32)]) -> Result<Topics, DevBrokerError> {
        let home = dir.join("topics");
        fs::create_dir_all(&home)
            .map_err(|source| DevBrokerError::disk("making", &home, source))?;
        let mut counts = existing(&home)?;
        for (name, partitions) in wanted {
            check_topic(name, *partitions)?;
            let count = counts.entry(name.clone()).or_insert(0);
            *count = (*count).max(*partitions);
        }
        if counts.len() > TOPICS_MAX {
            return Err(DevBrokerError::Topic {
                name: wanted
                    .last()
                    .map(|(name, _)| name.clone())
                    .unwrap_or_default(),
                what: "too many topics",
            });
        }
        let mut by_name = BTreeMap::new();
        for (name, count) in counts {
            let folder = home.join(&name);
            fs::create_dir_all(&folder)
                .map_err(|source| DevBrokerError::disk("making", &folder, source))?;
            let id = topic_id(&folder)?;
            let partitions = (0..count)
                .map(|index| Log::open(&folder.join(format!("{index}.log"))).map(Mutex::new))
                .collect::<Result<_, _>>()?;
            by_name.insert(name, Topic { id, partitions });
        }
        Ok(Topics { by_name })
    }

    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub fn by_id(&self, id: TopicId) -> Option<(&str, &Topic)> {
        self.iter().find(|(_, topic)| topic.id == id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name
            .iter()
            .map(|(name, topic)| (name.as_str(), topic))
    }
}

impl Topic {
    pub fn partition(&self, index: i32) -> Option<&Mutex<Log>> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.partitions.get(index))
    }
}

/// Topics on disk and how many partitions each has.
fn existing(home: &Path) -> Result<BTreeMap<String, i32>, DevBrokerError> {
    let reading = |path: &Path| {
        let path = path.to_owned();
        move |source| DevBrokerError::disk("reading", &path, source)
    };
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(home).map_err(reading(home))? {
        let folder = entry.map_err(reading(home))?.path();
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let mut count = 0;
        for file in fs::read_dir(&folder).map_err(reading(&folder))? {
            let file = file.map_err(reading(&folder))?.path();
            count += i32::from(file.extension().is_some_and(|ending| ending == "log"));
        }
        check_topic(name, count.max(1))?;
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}

fn check_topic(name: &str, partitions: i32) -> Result<(), DevBrokerError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let what = if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX {
        "a name has 1 to 249 characters"
    } else if !name.bytes().all(legal) || name == "." || name == ".." {
        "a name is made of letters, digits, '.', '_' and '-'"
    } else if !(1..=PARTITIONS_MAX).contains(&partitions) {
        "a topic has 1 to 1000 partitions"
    } else {
        return Ok(());
    };
    Err(DevBrokerError::Topic {
        name: name.to_owned(),
        what,
    })
}

/// Reads the topic's id, or makes one that no other folder has.
fn topic_id(folder: &Path) -> Result<TopicId, DevBrokerError> {
    let path: PathBuf = folder.join("id");
    match fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map(TopicId)
            .map_err(|_| DevBrokerError::Corrupt {
                path,
                what: "a topic's id has 16 bytes",
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut id = [0; 16];
            // The standard library's hash keys are random: enough to tell two folders apart.
            for half in id.chunks_exact_mut(8) {
                let random = RandomState::new().build_hasher().finish();
                half.copy_from_slice(&random.to_ne_bytes());
            }
            id[0] |= 1; // all zero means none
            fs::write(&path, id)
                .map_err(|source| DevBrokerError::disk("writing", &path, source))?;
            Ok(TopicId(id))
        }
        Err(source) => Err(DevBrokerError::disk("reading", &path, source)),
    }
}
