//! Child processes that never outlive the harness, and what the operating system says they cost.
//!
//! Each child leads a process group of its own. A [`Group`] ends its group when it is dropped, so a panic
//! ends it too; a signal ends every group, waits for it, and then the harness. CPU is the kernel's count of
//! each process in the group, with that of children that have ended; memory is `/proc/PID/status`.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::fault::Fault;

/// Groups that live, by the id of their leader.
static GROUPS: Mutex<BTreeMap<i32, String>> = Mutex::new(BTreeMap::new());
/// What a group has to end by itself after SIGTERM, when everything ends.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at whether it has.
const POLL: Duration = Duration::from_millis(20);
/// Between two looks at memory.
const MEMORY_POLL: Duration = Duration::from_millis(25);
/// The kernel's clock ticks a second, as /proc counts the CPU of children that ended.
const TICKS_PER_S: u64 = 100;

/// A child, and whatever it starts.
#[derive(Debug)]
pub struct Group {
    child: Child,
    what: String,
}

impl Group {
    /// Starts the command as the leader of a group of its own.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn spawn(command: &mut Command, what: &str) -> Result<Group, Fault> {
        use std::os::unix::process::CommandExt;
        // Held over the start: a signal ends all that have started, or this one does not start.
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command
            .process_group(0)
            .spawn()
            .map_err(Fault::io(format!("starting {what}")))?;
        groups.insert(child.id().cast_signed(), what.to_owned());
        Ok(Group {
            child,
            what: what.to_owned(),
        })
    }

    /// Its pipes, once.
    ///
    /// # Errors
    /// [`Fault::Failed`] where it was started without.
    pub fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout), Fault> {
        let pipes = (self.child.stdin.take(), self.child.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(Fault::failed(&self.what, "started without pipes"));
        };
        Ok((stdin, stdout))
    }

    /// The leader's id, which is the group's.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether the leader has ended, and how.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn ended(&mut self) -> Result<Option<String>, Fault> {
        let ended = self.child.try_wait();
        let ended = ended.map_err(Fault::io(format!("waiting for {}", self.what)))?;
        Ok(ended.map(|status| status.to_string()))
    }

    /// CPU of the whole group so far, user and system.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        members(self.id()).into_iter().map(cpu_of).sum()
    }

    /// Asks it to end and waits so long; what is left then is killed.
    ///
    /// # Errors
    /// [`Fault::Failed`] where its leader had to be.
    pub fn end(mut self, grace: Duration) -> Result<(), Fault> {
        let _ = killpg(Pid::from_raw(self.id()), Signal::SIGTERM);
        let began = Instant::now();
        while self.ended()?.is_none() {
            if began.elapsed() > grace {
                return Err(Fault::failed(
                    &self.what,
                    format!("it did not end within {grace:?} of SIGTERM"),
                ));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// At once, as a crash does.
    pub fn kill(self) {}
}

impl Drop for Group {
    fn drop(&mut self) {
        // What the leader has started may live on without it. That there is none is what is wanted.
        let _ = killpg(Pid::from_raw(self.id()), Signal::SIGKILL);
        let _ = self.child.wait();
        let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        groups.remove(&self.id());
    }
}

/// From here on SIGINT, SIGTERM and SIGHUP end every group, and then the harness with 130.
///
/// # Errors
/// [`Fault::Io`].
pub fn end_at_signals() -> Result<(), Fault> {
    // By handlers, which a child does not inherit; a blocked signal it would.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
    let mut signals = signals.map_err(Fault::io("listening for signals"))?;
    thread::spawn(move || {
        let Some(signal) = signals.forever().next() else {
            return;
        };
        let signal = signal_name(signal).unwrap_or("a signal");
        eprintln!(
            "\nbench: {signal}; ending what was started. The same command goes on from here."
        );
        // Never given back, so that nothing starts any more.
        let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        for group in groups.keys() {
            let _ = killpg(Pid::from_raw(*group), Signal::SIGTERM);
        }
        let began = Instant::now();
        while began.elapsed() < GRACE && groups.keys().any(|group| alive(*group)) {
            thread::sleep(POLL);
        }
        for group in groups.keys() {
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
        while groups.keys().any(|group| alive(*group)) {
            thread::sleep(POLL);
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Whether a group has a process that has not ended.
fn alive(group: i32) -> bool {
    !members(group).is_empty()
}

/// The processes of a group that have not ended.
fn members(group: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .filter(|pid| {
            stat(*pid).is_some_and(|fields| {
                fields.get(2).is_some_and(|of| *of == group.to_string())
                    && fields.first().is_some_and(|state| state != "Z")
            })
        })
        .collect()
}

/// The fields of /proc/PID/stat behind the name: state, parent, group, ...
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Of one process, to the nanosecond, and of its children that have ended.
fn cpu_of(pid: i32) -> Duration {
    let own = clock_getcpuclockid(Pid::from_raw(pid))
        .and_then(clock_gettime)
        .map_or(Duration::ZERO, Duration::from);
    let ended: u64 = stat(pid)
        .into_iter()
        .flat_map(|fields| fields.into_iter().skip(13).take(2))
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    own + Duration::from_millis(ended * 1_000 / TICKS_PER_S)
}

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
            let mut peak = memory(&members(id));
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(MEMORY_POLL);
                let now = memory(&members(id));
                peak.rss_anon_bytes = peak.rss_anon_bytes.max(now.rss_anon_bytes);
                peak.resident_bytes = peak.resident_bytes.max(now.resident_bytes);
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

/// A command whose standard output is read by nobody.
#[must_use]
pub fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child has no signal blocked and none ignored, whatever the harness listens for.
    #[test]
    fn a_child_hears_what_it_is_told() {
        end_at_signals().unwrap();
        let group = Group::spawn(quiet("sleep").arg("1000"), "a sleep").unwrap();
        group.end(Duration::from_secs(60)).unwrap();
        let mut deaf = quiet("sh");
        deaf.args(["-c", "trap '' TERM; while :; do sleep 1; done"]);
        let group = Group::spawn(&mut deaf, "deaf").unwrap();
        let id = group.id();
        let began = Instant::now();
        let ignores = |id: i32| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let ignored = ignored.map(|bits| u64::from_str_radix(bits.trim(), 16).unwrap());
            ignored.is_some_and(|bits| bits >> (SIGTERM - 1) & 1 == 1)
        };
        while !ignores(id) {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(POLL);
        }
        let said = group
            .end(Duration::from_millis(50))
            .unwrap_err()
            .to_string();
        assert_eq!(said, "deaf: it did not end within 50ms of SIGTERM");
    }

    /// What a shell starts in the background is of its group, is counted, and ends with it.
    #[test]
    fn a_group_is_counted_whole_and_ends_whole() {
        let mut command = quiet("sh");
        command.args(["-c", "while :; do :; done & while :; do :; done"]);
        let group = Group::spawn(&mut command, "two loops").unwrap();
        let id = group.id();
        let began = Instant::now();
        while members(id).len() < 2 || group.cpu() < Duration::from_millis(50) {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(POLL);
        }
        let watch = MemoryWatch::of(&group);
        assert!(watch.peak().resident_bytes > 0);
        group.kill();
        let began = Instant::now();
        while alive(id) {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(POLL);
        }
    }
}
