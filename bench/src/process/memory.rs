//! The memory of a group at its peak: `/proc/PID/status`, looked at again and again.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Group;
use super::proc::members;

/// Between two looks.
const POLL: Duration = Duration::from_millis(25);
/// Between two looks at which processes there are, which reads of every process of the machine, in looks.
const MEMBERS_POLLS: u32 = 40;

/// Memory of a group at its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Anonymous pages that are resident, summed over the group at the same moment.
    pub rss_anon_bytes: u64,
    /// Everything resident, mapped files too, by the kernel's own high-water marks, summed.
    pub resident_bytes: u64,
}

/// Looks at a group's memory until it is asked for the peak.
#[derive(Debug)]
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Memory>>,
}

impl MemoryWatch {
    /// Begins.
    #[must_use]
    pub fn of(group: &Group) -> MemoryWatch {
        let (stop, id) = (Arc::new(AtomicBool::new(false)), group.id());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = Memory::default();
            let mut pids = Vec::new();
            for look in 0_u32.. {
                if look.is_multiple_of(MEMBERS_POLLS) {
                    pids = members(id);
                }
                let now = memory(&pids);
                peak.rss_anon_bytes = peak.rss_anon_bytes.max(now.rss_anon_bytes);
                peak.resident_bytes = peak.resident_bytes.max(now.resident_bytes);
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(POLL);
            }
            peak
        });
        MemoryWatch {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends; the peak.
    #[must_use]
    pub fn peak(mut self) -> Memory {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn memory(pids: &[i32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let bytes = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            kib.unwrap_or(0_u64) * 1_024
        };
        sum.rss_anon_bytes += bytes("RssAnon:");
        sum.resident_bytes += bytes("VmHWM:");
    }
    sum
}
