//! Runs programs with one mutant on, and says what became of it.
//!
//! A program that fails, panics or aborts has noticed; so has one that uses three times the processor time
//! of the run without a mutant and then some, or none for half a minute. Memory, the size of a file and
//! processor time are bounded by the kernel, so that a mutant harms nothing else. What it writes in sum is
//! looked at once a second: beyond [`WRITTEN_MAX`], or where the file system has less than [`ROOM_MIN`] left,
//! the program has filled the disk and is ended, which notices the mutant too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::list;
use crate::tree::Program;

/// Beside three times the processor time that the run without a mutant takes.
const SLACK: Duration = Duration::from_secs(3);
/// A program that uses no processor time for so long is stuck.
const STUCK: Duration = Duration::from_secs(30);
/// However it goes about it, a program has ended by then.
const WALL_MAX: Duration = Duration::from_secs(300);
/// Memory, in KiB, and the size of a file, in blocks of 512 bytes: `ulimit`'s units. Not the address space:
/// segments are mapped generously.
const LIMITS: &str = "ulimit -d 4000000; ulimit -f 2000000";
/// Bytes on the disk that a program may write: all files of its temporary folder, and by how much those of the
/// folder that cargo gives to all tests grow from its first second on.
const WRITTEN_MAX: u64 = 2 << 30;
/// Bytes that the file system must have left.
const ROOM_MIN: u64 = 8 << 30;
/// How often it is looked at what a program wrote.
const LOOK: Duration = Duration::from_secs(1);
/// Seeds that whatever survives all else meets unless it is said otherwise: within them every rule that a test takes
/// out is missed.
pub const SEEDS_MAX: u64 = 2_000;
/// Ticks of the kernel's clock in a second, as Linux counts processor time for programs.
const TICKS: u64 = 100;

/// One program with its arguments.
#[derive(Debug)]
pub struct Step {
    /// As it is told.
    pub name: String,
    /// Whether it is a simulation.
    pub simulates: bool,
    /// Whether a mutant of this package is run with it.
    pub packages: &'static [&'static str],
    path: PathBuf,
    /// Of the program's bytes.
    pub program: u64,
    arguments: Vec<String>,
    folder: PathBuf,
    /// Processor time without a mutant.
    pub took: Duration,
    /// Mutants that it reaches: a byte each.
    pub reached: Vec<u8>,
    /// It comes when all else has let a mutant through: the rest of the simulation.
    is_last: bool,
    /// One run at a time: a test's directory is its own, and no other process's.
    running: Mutex<()>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All passed.
    Passed,
    /// It said so, or crashed.
    Failed,
    /// It did not end.
    TimedOut,
    /// It wrote too much, or nothing more could be written.
    Filled,
}

/// What is run: the simulations, which know no single function, and each test by itself.
///
/// # Errors
/// A program does not tell its tests.
pub fn steps(programs: Vec<Program>, seeds: u64, seeds_max: u64) -> Result<Vec<Step>, String> {
    const BOTH: &[&str] = &["storage", "ingest"];
    let mut steps = Vec::new();
    for program in programs {
        let told = |e: std::io::Error| format!("{}: {e}", program.path.display());
        let bytes = list::hash(&fs::read(&program.path).map_err(told)?);
        // What stands on a crate meets its mutants too, but for the other's own tests: they take their time.
        let packages = match program.package.as_str() {
            "storage" => &BOTH[..1],
            "ingest" => &BOTH[1..],
            _ => BOTH,
        };
        let step = |name: String, simulates, packages, arguments: &[&str]| Step {
            name,
            simulates,
            packages,
            path: program.path.clone(),
            program: bytes,
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            folder: program.folder.clone(),
            took: Duration::ZERO,
            reached: Vec::new(),
            is_last: false,
            running: Mutex::new(()),
        };
        if program.package == "tests" {
            for (only, packages) in [("storage", &BOTH[..1]), ("leaf", BOTH)] {
                for (from, to) in [(0, seeds.min(seeds_max)), (seeds, seeds_max)] {
                    if from < to {
                        let seeds = format!("{from}..{to}");
                        let name = format!("simulate {only} {seeds}");
                        let arguments = ["--only", only, "--seeds", &seeds, "--told", "0"];
                        steps.push(step(name, true, packages, &arguments));
                        if let Some(step) = steps.last_mut() {
                            step.is_last = from > 0;
                        }
                    }
                }
            }
            continue;
        }
        let listed = Command::new(&program.path).arg("--list").output();
        let listed = listed.map_err(told)?;
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            if let Some(test) = line.strip_suffix(": test") {
                let name = format!("{} {test}", program.name);
                steps.push(step(name, false, packages, &["--exact", test]));
            }
        }
    }
    Ok(steps)
}

/// In the order in which a mutant meets them: some of the simulations, tests, the quick ones first, then the
/// rest of the simulations.
pub fn sort(steps: &mut [Step]) {
    steps.sort_by_key(|step| (step.is_last, !step.simulates, step.took));
}

impl Step {
    /// Runs it without a mutant, notes what it reaches and how long it takes; what is known of the same
    /// program and arguments is kept.
    ///
    /// # Errors
    /// It does not pass, or cannot be run.
    pub fn learn(&mut self, work: &Path, mutants: usize) -> Result<(), String> {
        let told = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        let what = format!("{:016x} {:?} {mutants}", self.program, self.arguments);
        let known = work.join("learned");
        fs::create_dir_all(&known).map_err(|e| told(&known, e))?;
        let known = known.join(format!("{:016x}", list::hash(what.as_bytes())));
        if let Ok(bytes) = fs::read(&known)
            && let Some((millis, reached)) = bytes.split_first_chunk::<8>()
        {
            self.took = Duration::from_millis(u64::from_le_bytes(*millis));
            self.reached = reached.to_vec();
            return Ok(());
        }
        let noted = work.join("noted");
        fs::write(&noted, vec![0; mutants + 1]).map_err(|e| told(&noted, e))?;
        let before = children();
        let noting = ("PINLEAF_MUTANT_NOTED", noted.display().to_string());
        let ended = self.run(work, noting, WALL_MAX)?;
        if ended != Ended::Passed {
            return Err(format!("{} without a mutant: {ended:?}", self.name));
        }
        self.took = children().saturating_sub(before);
        self.reached = fs::read(&noted).map_err(|e| told(&noted, e))?;
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let bytes = [&millis.to_le_bytes()[..], &self.reached].concat();
        fs::write(&known, bytes).map_err(|e| told(&known, e))
    }

    /// Whether it asks for this mutant's switch.
    #[must_use]
    pub fn reaches(&self, mutant: u32) -> bool {
        self.reached
            .get(mutant as usize)
            .is_some_and(|noted| *noted == 1)
    }

    /// Runs it with a mutant on.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn with(&self, mutant: u32, work: &Path) -> Result<Ended, String> {
        let _alone = (!self.simulates).then(|| self.running.lock().expect("no panic"));
        let most = self.took * 3 + SLACK;
        self.run(work, ("PINLEAF_MUTANT", mutant.to_string()), most)
    }

    fn run(&self, work: &Path, switch: (&str, String), most: Duration) -> Result<Ended, String> {
        // A folder that could not be removed is in nobody's way.
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let folder = work.join(format!("temporary-{}-{run}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let shell = format!(
            "{LIMITS}; ulimit -t {}; exec nice -n 10 \"$@\"",
            most.as_secs() + 1
        );
        let child = Command::new("sh")
            .args(["-c", &shell, "sh"])
            .arg(&self.path)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env("TMPDIR", &folder)
            .env_remove("PINLEAF_MUTANT")
            .env(switch.0, switch.1)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|e| format!("{}: {e}", self.path.display()))?;
        let tests = tests_folder(work);
        let ended = wait(&mut child, Room::of(&folder, &tests, WRITTEN_MAX));
        if ended == Ended::Filled {
            remove_large(&tests);
        }
        if let Err(e) = fs::remove_dir_all(&folder) {
            eprintln!("{} stays: {e}", folder.display());
        }
        Ok(ended)
    }
}

/// Where cargo has the copy's integration tests write: each in a folder of its own, which stays.
fn tests_folder(work: &Path) -> PathBuf {
    work.join("build/tmp")
}

/// Removes what a run before this one left.
pub fn tidy(work: &Path) {
    let entries = fs::read_dir(work).into_iter().flatten().flatten();
    for entry in entries {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("temporary-")
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    remove_large(&tests_folder(work));
}

/// Removes the folders of tests that ended in the midst of filling the disk; what other tests have at hand is small.
fn remove_large(tests: &Path) {
    let entries = fs::read_dir(tests).into_iter().flatten().flatten();
    for entry in entries {
        if written(&entry.path()) > WRITTEN_MAX / 8 {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Bytes that a folder and all in it take on the disk; what goes away meanwhile counts for nothing.
fn written(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        bytes += entries.map(|entry| written(&entry.path())).sum::<u64>();
    }
    bytes
}

/// What a program may still write.
struct Room<'a> {
    own: &'a Path,
    /// Other programs write there too.
    shared: &'a Path,
    /// Bytes of the shared folder when it was looked at first.
    shared_before: Option<u64>,
    written_max: u64,
}

impl<'a> Room<'a> {
    fn of(own: &'a Path, shared: &'a Path, written_max: u64) -> Room<'a> {
        Room {
            own,
            shared,
            shared_before: None,
            written_max,
        }
    }

    fn is_left(&mut self) -> bool {
        let shared = written(self.shared);
        let before = *self.shared_before.get_or_insert(shared);
        let written = written(self.own) + shared.saturating_sub(before);
        let left = rustix::fs::statvfs(self.own).map(|disk| disk.f_bavail * disk.f_frsize);
        written <= self.written_max && left.is_ok_and(|left| left >= ROOM_MIN)
    }
}

/// The kernel's limit of processor time: a signal.
fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    matches!(status.signal(), Some(SIGKILL | SIGXCPU))
}

/// Waits for a program; one that is stuck, or has filled its room, is ended.
fn wait(child: &mut Child, mut room: Room<'_>) -> Ended {
    let began = Instant::now();
    let stat = format!("/proc/{}/stat", child.id());
    let (mut used, mut used_at) = (Duration::ZERO, began);
    let mut looked_at = began;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return match status {
                status if status.success() => Ended::Passed,
                status if killed(status) => Ended::TimedOut,
                _ => Ended::Failed,
            };
        }
        let now = ticks(&stat, 13..15);
        if now > used {
            (used, used_at) = (now, Instant::now());
        }
        let is_stuck = used_at.elapsed() > STUCK || began.elapsed() > WALL_MAX;
        let is_full = looked_at.elapsed() > LOOK && {
            looked_at = Instant::now();
            !room.is_left()
        };
        if is_stuck || is_full {
            let _ = child.kill();
            let _ = child.wait();
            return if is_full {
                Ended::Filled
            } else {
                Ended::TimedOut
            };
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Processor time of all programs that were run and have ended.
#[must_use]
pub fn children() -> Duration {
    ticks("/proc/self/stat", 15..17)
}

/// A sum of fields of `/proc/PID/stat`, counted from 0.
fn ticks(path: &str, fields: std::ops::Range<usize>) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The name, in parentheses, may have spaces in it.
    let behind = text.rsplit(')').next().unwrap_or_default();
    let numbers = behind
        .split_whitespace()
        .skip(fields.start - 2)
        .take(fields.len());
    let ticks: u64 = numbers
        .filter_map(|number| number.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_count_and_of_a_shared_folder_what_is_new() {
        let root = std::env::temp_dir().join(format!("pinleaf-mutants-{}", std::process::id()));
        let (own, shared) = (root.join("own"), root.join("shared"));
        fs::create_dir_all(own.join("a")).expect("a folder");
        fs::create_dir_all(&shared).expect("a folder");
        let put = |path: PathBuf, bytes| fs::write(path, vec![1; bytes]).expect("a file");
        put(shared.join("before"), 4 << 20);
        put(own.join("a/one"), 600 << 10);
        let mut room = Room::of(&own, &shared, 1 << 20);
        let here = written(&own);
        assert!((600 << 10..1 << 20).contains(&here), "{here}");
        // Room that a machine does not have is no test's business.
        let has_room = rustix::fs::statvfs(&own).expect("a file system");
        if has_room.f_bavail * has_room.f_frsize >= 2 * ROOM_MIN {
            assert!(room.is_left());
            put(shared.join("new"), 600 << 10);
            assert!(!room.is_left());
        }
        fs::remove_dir_all(&root).expect("they are there");
    }
}
