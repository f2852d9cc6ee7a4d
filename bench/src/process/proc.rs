//! What /proc says of processes and of the machine's time.

use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The kernel's clock ticks a second, as /proc counts.
const TICKS_PER_S: u64 = 100;

/// The processes of a group that have not ended.
pub fn members(group: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let group = group.to_string();
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .filter(|pid| {
            stat(*pid).is_some_and(|fields| {
                fields.get(2) == Some(&group) && fields.first().is_some_and(|state| state != "Z")
            })
        })
        .collect()
}

/// When a process was started, in clock ticks from the machine's own start; `None` where there is none of this
/// number. Number and start together are one process's for as long as the machine runs.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// The fields of /proc/PID/stat behind the name: state, parent, group, ...
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Of one process, to the nanosecond, and of its children that have ended and were waited for.
pub fn cpu_of(pid: i32) -> Duration {
    let own = clock_getcpuclockid(Pid::from_raw(pid))
        .and_then(clock_gettime)
        .map_or(Duration::ZERO, Duration::from);
    let ended: u64 = stat(pid)
        .into_iter()
        .flat_map(|fields| fields.into_iter().skip(13).take(2))
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    own + ticks(ended)
}

/// What all CPUs together have spent since the machine's start on anything at all, and what the hypervisor took of them.
pub fn machine_cpu() -> Duration {
    busy(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn busy(stat: &str) -> Duration {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let each = fields.iter().take(8).enumerate();
    let spent = each.filter(|(at, _)| ![3, 4].contains(at));
    ticks(spent.map(|(_, ticks)| ticks).sum())
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_S)
}

/// Tells one start of the machine from another.
pub fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_counts_what_is_not_idle() {
        let stat = "cpu  100 20 30 5000 700 1 2 4 50 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
        assert_eq!(busy(stat), Duration::from_millis(1_570));
        assert_eq!(busy(""), Duration::ZERO);
        assert!(machine_cpu() > Duration::ZERO);
    }

    #[test]
    fn a_process_is_known_by_its_number_and_start() {
        let own = std::process::id().cast_signed();
        assert!(started(own).is_some_and(|at| at > 0));
        assert_eq!(started(i32::MAX), None);
        assert!(!boot().is_empty());
    }
}
