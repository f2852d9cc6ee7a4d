//! What is there before a run: the binary, and the engines that are wanted and to be had.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::engine::Engine;
use crate::engines;
use crate::fault::Fault;
use crate::plan::{Plan, WORKLOADS, peer_of};
use crate::process::Group;
use crate::sample::Skipped;

/// What building Pinleaf may take.
const BUILD_TIMEOUT: Duration = Duration::from_secs(7_200);

/// Takes out the engines that are not wanted or not to be had; the latter are named.
pub fn to_be_had(plan: &Plan, engines: &mut Vec<Box<dyn Engine>>) -> Vec<Skipped> {
    let mut skipped = Vec::new();
    let names: Vec<String> = engines
        .iter()
        .map(|engine| engine.name().to_owned())
        .collect();
    engines.retain_mut(|engine| {
        let mut workloads = WORKLOADS.iter();
        if !plan.wants_engine(engine.name())
            || !workloads.any(|one| plan.wants_workload(one) && engine.does(one))
        {
            return false;
        }
        let hurried = plan.quick && !plan.tiny && !plan.names_engine(engine.name());
        let why = match (hurried, engine.quick()) {
            (true, false) => "takes too long to start for a quick run; --only takes its name",
            (true, true) if is_tuned_too(engine.name(), &names) => {
                "a quick run has a peer at its best settings alone; --only takes its name"
            }
            _ => "",
        };
        if !why.is_empty() {
            skipped.push(Skipped {
                what: engine.name().to_owned(),
                why: why.to_owned(),
            });
            return false;
        }
        eprintln!("bench: preparing {}", engine.name());
        match engine.prepare() {
            Ok(()) => true,
            Err(fault) => {
                let what = engine.name().to_owned();
                let why = fault.to_string();
                eprintln!("bench: left out: {what}: {why}");
                skipped.push(Skipped { what, why });
                false
            }
        }
    });
    skipped
}

/// Whether an engine is the defaults of a peer that is among these at other settings as well.
pub fn is_tuned_too(name: &str, names: &[String]) -> bool {
    let peer = name.strip_suffix("-defaults");
    peer.is_some_and(|peer| names.iter().any(|one| one != name && peer_of(one) == peer))
}

/// Whether everything that `--only` names is there.
///
/// # Errors
/// [`Fault::Usage`], with what there is.
pub fn known(plan: &Plan, engines: &[Box<dyn Engine>]) -> Result<(), Fault> {
    let mut names: BTreeSet<String> = WORKLOADS.iter().map(|name| (*name).to_owned()).collect();
    for engine in engines {
        names.insert(engine.name().to_owned());
        names.insert(peer_of(engine.name()).to_owned());
    }
    match plan.only.iter().find(|name| !names.contains(*name)) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<_> = names.into_iter().collect();
            Err(Fault::Usage(format!(
                "--only {name}: there is {}",
                names.join(", ")
            )))
        }
    }
}

/// Builds the binary beside this one.
///
/// # Errors
/// [`Fault::Failed`], [`Fault::Io`].
pub fn build() -> Result<PathBuf, Fault> {
    const BUILD: &str = "cargo build --release --package engine";
    eprintln!("bench: building pinleaf");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--quiet", "--package", "engine"]);
    let status = Group::spawn(command.current_dir(root), BUILD)?.wait(BUILD_TIMEOUT)?;
    if !status.success() {
        return Err(Fault::failed(BUILD, status.to_string()));
    }
    let own = std::env::current_exe().map_err(Fault::io("looking for the own program"))?;
    Ok(own.with_file_name("pinleaf"))
}

/// By which a run is not continued with another binary, or with another program of a peer.
///
/// # Errors
/// [`Fault::Io`].
pub fn checksums(pinleaf: &Path) -> Result<serde_json::Value, Fault> {
    let own = std::env::current_exe().map_err(Fault::io("looking for the own program"))?;
    let of = |path: &Path| {
        let bytes =
            std::fs::read(path).map_err(Fault::io(format!("reading {}", path.display())))?;
        Ok::<_, Fault>(format!("{:08x}", crc32fast::hash(&bytes)))
    };
    let mut peers = String::new();
    for file in engines::peer_files()? {
        peers += &of(&file)?;
    }
    let peers = format!("{:08x}", crc32fast::hash(peers.as_bytes()));
    let serve = of(&engines::serve())?;
    Ok(json!({"pinleaf": of(pinleaf)?, "bench": of(&own)?, "peers": peers, "serve": serve}))
}

/// The same as the tests' cache.
#[must_use]
pub fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    from("PINLEAF_TEST_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("pinleaf-tests")))
        .or_else(|| Some(from("HOME")?.join(".cache/pinleaf-tests")))
        .unwrap_or_else(|| std::env::temp_dir().join("pinleaf-tests"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_give_way_to_the_same_peer_tuned() {
        let names = ["spark-defaults", "sparkle-tuned", "duckdb-defaults"].map(str::to_owned);
        assert!(!is_tuned_too("spark-defaults", &names));
        assert!(!is_tuned_too("duckdb-defaults", &names));
        let names = ["spark-defaults", "spark-tuned"].map(str::to_owned);
        assert!(is_tuned_too("spark-defaults", &names));
        assert!(!is_tuned_too("spark-tuned", &names));
    }
}
