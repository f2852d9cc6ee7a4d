//! Runs programs with one mutant on, and says what became of it.
//!
//! A program that fails, panics or aborts has noticed; so has one that uses three times the processor time
//! of the run without a mutant and then some, or none for half a minute. Memory, the size of a file and
//! processor time are bounded by the kernel, so that a mutant harms nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::list;
use crate::tree::Program;

/// Beside three times the processor time that the run without a mutant takes.
const SLACK: Duration = Duration::from_secs(3);
/// A program that uses no processor time for so long is stuck.
const STUCK: Duration = Duration::from_secs(30);
/// However it goes about it, a program has ended by then.
const WALL_MAX: Duration = Duration::from_secs(900);
/// Memory, in KiB, and the size of a file, in blocks of 512 bytes: `ulimit`'s units. Not the address space:
/// segments are mapped generously.
const LIMITS: &str = "ulimit -d 4000000; ulimit -f 2000000";
/// Seeds that whatever survives all else meets: within them every rule that a test takes out is missed.
const SEEDS_MAX: u64 = 2_000;
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
}

/// What is run: the simulations, which know no single function, and each test by itself.
///
/// # Errors
/// A program does not tell its tests.
pub fn steps(programs: Vec<Program>, seeds: u64) -> Result<Vec<Step>, String> {
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
                for (from, to) in [(0, seeds), (seeds, SEEDS_MAX)] {
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
    /// It does not pass.
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
        let ended = self.run(work, noting, WALL_MAX);
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
    #[must_use]
    pub fn with(&self, mutant: u32, work: &Path) -> Ended {
        let _alone = (!self.simulates).then(|| self.running.lock().expect("no panic"));
        let most = self.took * 3 + SLACK;
        self.run(work, ("PINLEAF_MUTANT", mutant.to_string()), most)
    }

    fn run(&self, work: &Path, switch: (&str, String), most: Duration) -> Ended {
        let folder = work.join(format!("temporary-{:?}", thread::current().id()));
        let _ = fs::remove_dir_all(&folder);
        let made = fs::create_dir_all(&folder);
        assert!(made.is_ok(), "{}: {made:?}", folder.display());
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
        let mut child = child.unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        let ended = match wait(&mut child) {
            Some(status) if status.success() => Ended::Passed,
            Some(status) if killed(status) => Ended::TimedOut,
            Some(_) => Ended::Failed,
            None => Ended::TimedOut,
        };
        let _ = fs::remove_dir_all(&folder);
        ended
    }
}

/// The kernel's limit of processor time: a signal.
fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    matches!(status.signal(), Some(SIGKILL | SIGXCPU))
}

/// Waits for a program; `None`: it was stuck and is ended.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let began = Instant::now();
    let stat = format!("/proc/{}/stat", child.id());
    let (mut used, mut used_at) = (Duration::ZERO, began);
    let mut pause = Duration::from_millis(2);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let now = ticks(&stat, 13..15);
        if now > used {
            (used, used_at) = (now, Instant::now());
        }
        if used_at.elapsed() > STUCK || began.elapsed() > WALL_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return None;
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
