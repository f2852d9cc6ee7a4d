//! A run on disk.
//!
//! ```text
//! bench/results/2026-01-02-amd-epyc-2cpu/
//!   plan.json                                 what is measured: sizes, rounds, engines, the binaries' checksums
//!   machine.json  engines.json  broker.json   on what, of which version, at which settings
//!   samples/WORKLOAD/VARIANT/ROUND-ENGINE.json
//!   skipped.json                              what was left out, and why
//!   incidents.json                            what failed or stood still, and was measured once more
//!   running.json                              who makes it, and what that one has started; gone at the end
//!   report.md  *.svg                          made of the above, and of nothing else
//!   work/                                     the broker's and the engines' folders, gone at the end
//! ```
//!
//! A file is written beside its place and then renamed, so a sample is there whole or not at all. Round 0 is the
//! warm-up: kept, and no figure is made of it. A round is the unit of comparison, all its engines one after
//! another: what is left of one that was cut short is measured again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// What one engine did once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// `ingest`, ...
    pub workload: String,
    /// Which of the workload's.
    pub variant: String,
    /// Who.
    pub engine: String,
    /// 0: the warm-up.
    pub round: u32,
    /// That were loaded.
    pub rows: u64,
    /// By what its rows were checked, or by what they are wrong.
    pub checked: Result<String, String>,
    /// CPUs that were used meanwhile by what is none of harness, engine and broker, or taken by the hypervisor. `None`
    /// where the broker's share is not known.
    pub others_cpus: Option<f64>,
    /// The figures, by the names of `metric.rs`.
    pub metrics: BTreeMap<String, f64>,
    /// Every latency: µs, and how many there were of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub histograms: BTreeMap<String, Vec<(u64, u64)>>,
}

/// What was left out, or happened, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// An engine, workload or variant.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The newest folder of this machine in `results` that was begun with the same plan and has no report, or
    /// a new one, and whether it is new.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn open(
        results: &Path,
        date: &str,
        machine: &str,
        plan: &serde_json::Value,
    ) -> Result<(Folder, bool), Fault> {
        fs::create_dir_all(results).map_err(Fault::io(format!("making {}", results.display())))?;
        let entries = fs::read_dir(results);
        let entries = entries.map_err(Fault::io(format!("reading {}", results.display())))?;
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        for dir in folders.into_iter().rev() {
            let folder = Folder { dir };
            let name = folder.dir.file_name().unwrap_or_default().to_string_lossy();
            if name.contains(machine)
                && !folder.dir.join("report.md").exists()
                && folder.read::<serde_json::Value>("plan.json").as_ref() == Some(plan)
            {
                return Ok((folder, false));
            }
        }
        let names = (1_u32..).map(|at| match at {
            1 => format!("{date}-{machine}"),
            _ => format!("{date}-{machine}-{at}"),
        });
        let mut dirs = names.map(|name| results.join(name));
        let dir = dirs
            .find(|dir| !dir.exists())
            .unwrap_or_else(|| results.to_owned());
        let folder = Folder { dir };
        folder.write("plan.json", plan)?;
        Ok((folder, true))
    }

    /// Of an earlier run.
    #[must_use]
    pub fn at(dir: &Path) -> Folder {
        Folder {
            dir: dir.to_owned(),
        }
    }

    /// Its path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// An empty folder for an engine or the broker.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn work(&self, name: &str) -> Result<PathBuf, Fault> {
        let dir = self.dir.join("work").join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(Fault::io(format!("clearing {}", dir.display())))?;
        }
        fs::create_dir_all(&dir).map_err(Fault::io(format!("making {}", dir.display())))?;
        dir.canonicalize()
            .map_err(Fault::io(format!("making {}", dir.display())))
    }

    /// Takes away what engines and broker wrote.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn clear_work(&self) -> Result<(), Fault> {
        let work = self.dir.join("work");
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::io(format!("clearing {}", work.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Whole or not at all.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn write_text(&self, name: &str, text: &str) -> Result<(), Fault> {
        let path = self.dir.join(name);
        let doing = || Fault::io(format!("writing {}", path.display()));
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(doing())?;
        let beside = path.with_extension("part");
        fs::write(&beside, text).map_err(doing())?;
        fs::rename(&beside, &path).map_err(doing())
    }

    /// The same, as JSON.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(value);
        let text = text.map_err(|error| Fault::failed(name, error.to_string()))?;
        self.write_text(name, &(text + "\n"))
    }

    /// `None` where it is not there or not whole.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = fs::read_to_string(self.dir.join(name)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps a sample.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn keep(&self, sample: &Sample) -> Result<(), Fault> {
        let place = Folder::place(
            &sample.workload,
            &sample.variant,
            sample.round,
            &sample.engine,
        );
        self.write(&place, sample)
    }

    /// Whether every one of these engines has its sample of a round.
    #[must_use]
    pub fn has_round(&self, workload: &str, variant: &str, round: u32, engines: &[&str]) -> bool {
        engines.iter().all(|engine| {
            let place = Folder::place(workload, variant, round, engine);
            self.read::<Sample>(&place).is_some()
        })
    }

    /// All samples, by workload, variant, round and engine.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.join("samples")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = path.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path)
                    && let Ok(sample) = serde_json::from_str::<Sample>(&text)
                {
                    found.push(sample);
                }
            }
        }
        found.sort_by(|a, b| {
            (&a.workload, &a.variant, a.round, &a.engine).cmp(&(
                &b.workload,
                &b.variant,
                b.round,
                &b.engine,
            ))
        });
        found
    }

    fn place(workload: &str, variant: &str, round: u32, engine: &str) -> String {
        format!("samples/{workload}/{}/{round}-{engine}.json", slug(variant))
    }
}

/// A variant's name in a file's: `172-byte orders, 1 partition` as `172-byte-orders-1-partition`.
#[must_use]
pub fn slug(variant: &str) -> String {
    let words = variant.split(|at: char| !at.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(round: u32, engine: &str) -> Sample {
        Sample {
            workload: "ingest".to_owned(),
            variant: "4 partitions, lz4".to_owned(),
            engine: engine.to_owned(),
            round,
            rows: 1,
            checked: Ok("rows, ids".to_owned()),
            others_cpus: None,
            metrics: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    #[test]
    fn a_run_is_continued_until_it_has_its_report_and_half_a_round_is_none() {
        let home = tempfile::tempdir().unwrap();
        let plan = json!({"rounds": 5});
        let open = |plan| Folder::open(home.path(), "2026-01-02", "x-2cpu", plan).unwrap();
        let (folder, new) = open(&plan);
        assert!(new && folder.dir().ends_with("2026-01-02-x-2cpu"));
        folder.keep(&sample(1, "a")).unwrap();
        let (again, new) = open(&plan);
        assert!(!new && again.dir() == folder.dir());
        assert!(!again.has_round("ingest", "4 partitions, lz4", 1, &["a", "b"]));
        again.keep(&sample(1, "b")).unwrap();
        assert!(again.has_round("ingest", "4 partitions, lz4", 1, &["a", "b"]));
        assert_eq!(again.samples(), [sample(1, "a"), sample(1, "b")]);
        // A file that was being written when the power went.
        fs::write(
            again.dir().join("samples/ingest/4-partitions-lz4/1-b.json"),
            "{\"wor",
        )
        .unwrap();
        assert!(!again.has_round("ingest", "4 partitions, lz4", 1, &["a", "b"]));

        let other_plan = json!({"rounds": 6});
        let (other, new) = open(&other_plan);
        assert!(new && other.dir().ends_with("2026-01-02-x-2cpu-2"));
        folder.write_text("report.md", "").unwrap();
        let (next, new) = open(&plan);
        assert!(new && next.dir().ends_with("2026-01-02-x-2cpu-3"));
    }
}
