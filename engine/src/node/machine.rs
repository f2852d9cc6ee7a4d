//! The machine as this process may use it: CPUs, locked memory, io_uring. Looked at once, at start.

use std::collections::BTreeMap;
use std::fs;

use io_uring::IoUring;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, Uid};

use crate::limits::{OPEN_FILES_BESIDE_CONNECTIONS, sockets_beside_sessions_max};

/// What this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The CPUs of the affinity mask, ascending.
    pub cpus: Vec<usize>,
    /// Whole CPUs the cgroup's quota is worth, at least 1; `None` without one.
    pub quota: Option<usize>,
    /// The CPUs that share a physical core with a CPU, itself among them. Missing: alone.
    pub siblings: BTreeMap<usize, Vec<usize>>,
}

impl Machine {
    /// Looks at this machine.
    ///
    /// # Errors
    /// Where the kernel does not tell the affinity mask.
    pub fn look() -> std::io::Result<Machine> {
        let mask = sched_getaffinity(Pid::from_raw(0))?;
        let cpus: Vec<usize> = (0..CpuSet::count())
            .filter(|cpu| mask.is_set(*cpu).unwrap_or(false))
            .collect();
        let siblings = cpus
            .iter()
            .filter_map(|cpu| {
                let path =
                    format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
                Some((*cpu, cpu_list(fs::read_to_string(path).ok()?.trim())?))
            })
            .collect();
        let quota = fs::read_to_string("/sys/fs/cgroup/cpu.max")
            .ok()
            .and_then(|text| quota(&text));
        Ok(Machine {
            cpus,
            quota,
            siblings,
        })
    }

    /// How many CPUs may be kept busy.
    #[must_use]
    pub fn cpus_usable(&self) -> usize {
        self.quota
            .map_or(self.cpus.len(), |quota| quota.min(self.cpus.len()))
            .max(1)
    }
}

/// The memory this process may use, bytes: the machine's, or where that is less, what the container's own
/// cgroup allows. `None`: the kernel does not tell.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let machine = meminfo_bytes(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let cgroup = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Some(cgroup.map_or(machine, |cgroup: u64| cgroup.min(machine)))
}

/// `MemTotal:       24683652 kB` of /proc/meminfo.
fn meminfo_bytes(text: &str) -> Option<u64> {
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// `"200000 100000"` is two CPUs; `"max 100000"` is no quota. A part of a CPU counts as one.
fn quota(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<usize>().ok()?, period.parse::<usize>().ok()?);
    (period > 0).then(|| quota.div_ceil(period).max(1))
}

/// The kernel's lists: `0-2,8`.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// What io_uring and the leaves' runtime need. Newer ones do more: see `Pages::prefetch` in storage.
pub const OLDEST_LINUX: &str = "5.8";

/// Locked memory a glommio executor takes, bytes.
const LOCKED_BYTES_PER_LEAF: u64 = 512 * 1024;

/// Makes sure that `leaves` leaves can lock their memory, raising the soft limit to the hard one.
///
/// # Errors
/// One line that says what to set.
pub fn raise_locked_memory(leaves: usize) -> Result<(), String> {
    let needed = LOCKED_BYTES_PER_LEAF * leaves as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)
        .map_err(|error| format!("the limit of locked memory cannot be read: {error}"))?;
    if hard < needed {
        let (needed, hard) = (needed / 1024, hard / 1024);
        let who = match leaves {
            1 => "1 leaf needs".into(),
            leaves => format!("{leaves} leaves need"),
        };
        return Err(format!(
            "{who} {needed} KiB of locked memory and the limit is {hard} KiB; set `ulimit -l {needed}` \
             (LimitMEMLOCK= in a service file), or configure fewer [cores] leaves"
        ));
    }
    if soft < needed {
        setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)
            .map_err(|error| format!("the limit of locked memory cannot be raised: {error}"))?;
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one: connections, segments and io_uring take many.
///
/// # Errors
/// One line that says what the kernel refused, or that so many connections are more than it allows.
pub fn raise_open_files(connections_max: u64) -> Result<(), String> {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    let hard =
        raised.map_err(|error| format!("the limit of open files cannot be raised: {error}"))?;
    let needed = connections_max + open_files_beside(connections_max);
    if hard < needed {
        return Err(format!(
            "[server] max_connections = {connections_max} needs {needed} open files and the limit is {hard}; set \
             `ulimit -n {needed}` (LimitNOFILE= in a service file), or allow fewer connections"
        ));
    }
    Ok(())
}

/// What is open beside so many sessions.
fn open_files_beside(connections_max: u64) -> u64 {
    let connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
    OPEN_FILES_BESIDE_CONNECTIONS + sockets_beside_sessions_max(connections_max) as u64
}

/// Makes sure that the kernel lets this process use io_uring.
///
/// # Errors
/// One line that says what forbids it.
pub fn check_io_uring() -> Result<(), String> {
    match fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .as_deref()
        .map(str::trim)
    {
        Some("2") => {
            Err("io_uring is switched off; set `sysctl kernel.io_uring_disabled=0`".into())
        }
        Some("1") if !Uid::effective().is_root() => Err(
            "io_uring is for privileged processes only; set `sysctl kernel.io_uring_disabled=0`"
                .into(),
        ),
        _ => match IoUring::new(1) {
            Ok(_) => Ok(()),
            // What no sysctl shows: an old kernel, or a container's seccomp profile.
            Err(error) => Err(format!(
                "io_uring cannot be used: {error}; run on Linux {OLDEST_LINUX} or newer, with io_uring_setup allowed \
                 by the container's seccomp profile"
            )),
        },
    }
}

/// Pins the calling thread to some CPUs.
///
/// # Errors
/// Where the kernel refuses.
pub fn pin(cpus: &[usize]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(quota("max 100000"), None);
        assert_eq!(quota("150000 100000\n"), Some(2));
        assert_eq!(quota("1000 100000"), Some(1));
        assert_eq!(quota("x"), None);
        assert_eq!(cpu_list("0-2,8"), Some(vec![0, 1, 2, 8]));
        assert_eq!(cpu_list("3"), Some(vec![3]));
        assert_eq!(cpu_list("a-b"), None);
        let meminfo = "MemTotal:       24683652 kB\nMemFree:        13000000 kB\n";
        assert_eq!(meminfo_bytes(meminfo), Some(24_683_652 * 1024));
        assert_eq!(meminfo_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn as_many_files_may_be_open_as_the_hard_limit_says() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, hard / 2, hard).expect("lowered");
        let fits = |most: &u64| most + open_files_beside(*most) <= hard;
        let most = (0..hard).rev().find(fits).expect("some");
        raise_open_files(most).expect("raised");
        assert_eq!(
            getrlimit(Resource::RLIMIT_NOFILE).expect("a limit"),
            (hard, hard)
        );
        let needed = most + 1 + open_files_beside(most + 1);
        assert!(needed > hard);
        assert_eq!(
            raise_open_files(most + 1),
            Err(format!(
                "[server] max_connections = {} needs {needed} open files and the limit is {hard}; set \
                 `ulimit -n {needed}` (LimitNOFILE= in a service file), or allow fewer connections",
                most + 1,
            ))
        );
    }

    #[test]
    fn every_place_names_the_same_oldest_linux() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let named = format!("Linux {OLDEST_LINUX} or newer");
        for name in [
            "README.md",
            "docs/errors.md",
            "engine/ingest/src/leaf/port.rs",
        ] {
            let text = fs::read_to_string(root.join(name)).expect(name);
            assert!(text.contains(&named), "{name} does not say {named}");
        }
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert!(!Machine::look().expect("a machine").cpus.is_empty());
    }
}
