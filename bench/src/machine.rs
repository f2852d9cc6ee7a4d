//! The machine a run was made on, as far as figures depend on it. No name of it: what it is, not whose.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What stands in a run's `machine.json` and in its report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Machine {
    /// As the CPU calls itself.
    pub cpu: String,
    /// How many the harness may use.
    pub cpus: usize,
    /// Whether it is a virtual machine, whose neighbours nobody sees.
    pub hypervisor: bool,
    /// The frequency governor, where there is one to be read.
    pub governor: Option<String>,
    /// Of RAM.
    pub memory_bytes: u64,
    /// `uname -sr`.
    pub kernel: String,
    /// Under the results, where brokers and engines write too: kind and mount options.
    pub file_system: String,
    /// What the benchmarks and Pinleaf were built of; `+` where files differ from it.
    pub commit: String,
}

impl Machine {
    /// Looks. `dir`: where engines will write.
    #[must_use]
    pub fn look(dir: &Path) -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of = |text: &str, key: &str| -> Option<String> {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = of(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        Machine {
            cpu: of(&info, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: cpus().len(),
            hypervisor: of(&info, "flags").is_some_and(|flags| flags.contains("hypervisor")),
            governor: fs::read_to_string(governor)
                .ok()
                .map(|text| text.trim().to_owned()),
            memory_bytes: kib.unwrap_or(0_u64) * 1_024,
            kernel: said("uname", &["-sr"]).unwrap_or_default(),
            file_system: file_system(dir),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// For the name of a directory: `intel-xeon-processor-2cpu`.
    #[must_use]
    pub fn slug(&self) -> String {
        let mut slug = String::new();
        for word in self.cpu.split(|at: char| !at.is_ascii_alphanumeric()) {
            if !word.is_empty() && !["R", "TM", "CPU", "GHz"].contains(&word) {
                slug.push_str(&word.to_ascii_lowercase());
                slug.push('-');
            }
        }
        format!("{slug}{}cpu", self.cpus)
    }
}

/// The CPUs that this process may use.
#[must_use]
pub fn cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list_of(list.unwrap_or("0").trim())
}

/// `0-3,8` as numbers.
fn list_of(text: &str) -> Vec<usize> {
    let ranges = text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Free bytes where `dir` is.
#[must_use]
pub fn free_bytes(dir: &Path) -> u64 {
    let text = Command::new("df")
        .args(["-B1", "--output=avail"])
        .arg(dir)
        .output();
    let text = text.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let last = text.unwrap_or_default();
    last.lines()
        .last()
        .and_then(|line| line.trim().parse().ok())
        .unwrap_or(0)
}

fn file_system(dir: &Path) -> String {
    let said = said(
        "findmnt",
        &[
            "-n",
            "-o",
            "FSTYPE,OPTIONS",
            "-T",
            &dir.display().to_string(),
        ],
    );
    let said = said.unwrap_or_else(|| "unknown".to_owned());
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn commit() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    let git = |arguments: &[&str]| said("git", &[&["-C", &root][..], arguments].concat());
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(commit + if changed.is_empty() { "" } else { "+" })
}

/// What a command says.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_and_a_name_without_odd_characters() {
        assert_eq!(list_of("0-3,8"), [0, 1, 2, 3, 8]);
        let mut machine = Machine::look(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_bytes > 0);
        machine.cpu = "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz".to_owned();
        machine.cpus = 2;
        assert_eq!(machine.slug(), "intel-xeon-gold-6338-2-00ghz-2cpu");
    }
}
