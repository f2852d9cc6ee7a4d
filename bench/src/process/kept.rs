//! That nothing outlives the harness, however it ends.
//!
//! | how the harness ends | who ends what it started |
//! |---|---|
//! | by itself, by a fault, by a panic | each group's own `Drop` |
//! | SIGINT, SIGTERM, SIGHUP | the thread of [`end_at_signals`]: asks, waits, kills, runs farewells |
//! | SIGKILL, out of memory | the **keeper**: a process of its own that hears of every group by a pipe, and ends all when the pipe does |
//! | and the keeper with it | the next run in the same folder, by the **record** there ([`take_over`]) |
//!
//! A group is known by its leader's number and start, so no process that came to a number later is ever ended. A
//! group whose leader is gone keeps its number from being given away for as long as a member lives.
//!
//! What is no child of ours, a container, has a farewell: a command that ends it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use super::proc::{boot, members, started};
use super::{POLL, quiet};
use crate::fault::Fault;

/// What a group has to end by itself after SIGTERM, when everything ends.
const GRACE: Duration = Duration::from_secs(5);

/// A group that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its leader's number, which is its own.
    pub group: i32,
    /// When the leader was started ([`started`]).
    pub started: u64,
    /// For whoever reads the record.
    pub what: String,
    /// A command that ends what is no child of the group's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub farewell: Vec<String>,
}

/// What stands in a run's folder while it is made.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    boot: String,
    harness: i32,
    started: u64,
    keeper: Option<i32>,
    groups: Vec<Kept>,
}

/// All groups that live, and who else is told of them.
#[derive(Debug, Default)]
pub struct Book {
    groups: BTreeMap<i32, Kept>,
    keeper: Option<(i32, ChildStdin)>,
    record: Option<std::path::PathBuf>,
}

static BOOK: Mutex<Book> = Mutex::new(Book {
    groups: BTreeMap::new(),
    keeper: None,
    record: None,
});

/// Held over the start of a group: a signal ends all that have started, or this one does not start.
pub fn book() -> std::sync::MutexGuard<'static, Book> {
    BOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// A group that has just been started.
    pub fn add(&mut self, kept: Kept) {
        self.groups.insert(kept.group, kept);
        self.tell();
    }

    /// One that is gone.
    pub fn remove(&mut self, group: i32) {
        self.groups.remove(&group);
        self.tell();
    }

    /// Whoever cannot be told is no reason to end: it is there for when everything else fails.
    fn tell(&mut self) {
        let groups: Vec<Kept> = self.groups.values().cloned().collect();
        if let Some((_, pipe)) = &mut self.keeper
            && let Ok(line) = serde_json::to_string(&groups)
        {
            let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
        }
        if let Some(path) = &self.record {
            let own = std::process::id().cast_signed();
            let record = Record {
                boot: boot(),
                harness: own,
                started: started(own).unwrap_or_default(),
                keeper: self.keeper.as_ref().map(|(pid, _)| *pid),
                groups,
            };
            let beside = path.with_extension("part");
            if let Ok(text) = serde_json::to_string_pretty(&record)
                && fs::write(&beside, text + "\n").is_ok()
            {
                let _ = fs::rename(&beside, path);
            }
        }
    }
}

impl Kept {
    /// Whether it is still the one that was started.
    fn is_it(&self) -> bool {
        started(self.group).is_none_or(|at| at == self.started)
    }

    fn kill(&self) {
        if self.is_it() {
            let _ = killpg(Pid::from_raw(self.group), Signal::SIGKILL);
        }
        self.say_farewell();
    }

    /// Ends what is no child of the group's.
    pub fn say_farewell(&self) {
        if let [program, arguments @ ..] = self.farewell.as_slice() {
            let _ = quiet(program).args(arguments).status();
        }
    }
}

/// Starts the keeper: `program keep`.
///
/// # Errors
/// [`Fault::Io`].
pub fn start_keeper(program: &Path) -> Result<(), Fault> {
    let mut book = book();
    let mut command = quiet(program);
    // A group of its own: what a terminal sends to the harness's is not meant for it.
    command.arg("keep").stdin(Stdio::piped()).process_group(0);
    let child = command.spawn();
    let mut child = child.map_err(Fault::io("starting the keeper of what is started"))?;
    if let Some(pipe) = child.stdin.take() {
        book.keeper = Some((child.id().cast_signed(), pipe));
    }
    Ok(())
}

/// The keeper: hears a list of groups a line, and ends those of the last one when its input ends.
pub fn keep(input: impl BufRead) {
    let mut last = Vec::<Kept>::new();
    for line in input.lines().map_while(Result::ok) {
        // A line that is cut off is of a harness that died in it: what stood before it holds.
        if let Ok(groups) = serde_json::from_str(&line) {
            last = groups;
        }
    }
    for kept in &last {
        kept.kill();
    }
}

/// Ends what an earlier run left, by its record, and keeps the record from here on.
///
/// # Errors
/// [`Fault::Usage`] where that run is still being made.
pub fn take_over(record: &Path) -> Result<(), Fault> {
    let left = fs::read_to_string(record).ok();
    let left = left.and_then(|text| serde_json::from_str::<Record>(&text).ok());
    if let Some(left) = left.filter(|left| left.boot == boot()) {
        if started(left.harness) == Some(left.started)
            && left.harness != std::process::id().cast_signed()
        {
            return Err(Fault::Usage(format!(
                "process {} is making this run; end it first, or choose other --results",
                left.harness
            )));
        }
        for kept in &left.groups {
            if kept.is_it() && alive(kept.group) {
                eprintln!("bench: ending {}, which an earlier run left", kept.what);
                kept.kill();
                while kept.is_it() && alive(kept.group) {
                    thread::sleep(POLL);
                }
            }
        }
    }
    let mut book = book();
    book.record = Some(record.to_owned());
    book.tell();
    Ok(())
}

/// The run is whole: its folder holds no record any more.
pub fn release() {
    if let Some(record) = book().record.take() {
        let _ = fs::remove_file(record);
    }
}

/// From here on SIGINT, SIGTERM and SIGHUP end every group, and then the harness with 130. Orphans of a group
/// become the harness's own children, so that their CPU is not lost with them.
///
/// # Errors
/// [`Fault::Io`].
pub fn end_at_signals() -> Result<(), Fault> {
    set_child_subreaper(true)
        .map_err(|errno| Fault::io("becoming the parent of orphans")(errno.into()))?;
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
        let book = book();
        for group in book.groups.keys() {
            let _ = killpg(Pid::from_raw(*group), Signal::SIGTERM);
        }
        let began = Instant::now();
        while began.elapsed() < GRACE && book.groups.keys().any(|group| alive(*group)) {
            thread::sleep(POLL);
        }
        for kept in book.groups.values() {
            kept.kill();
        }
        while book.groups.keys().any(|group| alive(*group)) {
            thread::sleep(POLL);
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Whether a group has a process that has not ended.
pub fn alive(group: i32) -> bool {
    !members(group).is_empty()
}

/// A command that is none of ours to end: the words of a farewell.
#[must_use]
pub fn words(command: &Command) -> Vec<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Group;

    fn until(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(POLL);
        }
    }

    /// A leader with a member beside it, the list of them as the keeper hears it, and another start.
    fn two() -> (Group, Kept) {
        let mut command = quiet("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]);
        let group = Group::spawn(&mut command, "two sleeps").unwrap();
        until(|| members(group.id()).len() >= 2);
        let kept = Kept {
            group: group.id(),
            started: started(group.id()).unwrap(),
            what: "two sleeps".to_owned(),
            farewell: Vec::new(),
        };
        (group, kept)
    }

    #[test]
    fn the_keeper_ends_what_lives_when_its_pipe_ends() {
        let home = tempfile::tempdir().unwrap();
        let said = home.path().join("said");
        let (group, mut kept) = two();
        kept.farewell = vec!["touch".to_owned(), said.display().to_string()];
        let line = |groups: &[Kept]| serde_json::to_string(groups).unwrap();
        // Whoever was taken off the list, or is another process by now, is let alone.
        keep(format!("{}\n{}\n", line(&[kept.clone()]), line(&[])).as_bytes());
        assert!(!said.exists());
        let mut other = kept.clone();
        (other.started, other.farewell) = (kept.started + 1, Vec::new());
        keep(format!("{}\n", line(&[other])).as_bytes());
        assert!(members(group.id()).len() >= 2);
        // The last line is cut off.
        keep(format!("{}\n[{{\"gro", line(&[kept])).as_bytes());
        until(|| !alive(group.id()));
        assert!(said.exists());
    }

    #[test]
    fn what_an_earlier_run_left_is_ended_by_its_record_and_a_run_that_is_made_is_let_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("running.json");
        let (group, kept) = two();
        let write = |harness: i32, started: u64, boot: String| {
            let groups = vec![kept.clone()];
            let record = Record {
                boot,
                harness,
                started,
                keeper: None,
                groups,
            };
            fs::write(&path, serde_json::to_string(&record).unwrap()).unwrap();
        };
        // The sleep stands for a harness that lives.
        write(kept.group, kept.started, boot());
        let said = take_over(&path).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("process {} is making", kept.group)),
            "{said}"
        );
        write(i32::MAX, 1, "another start of the machine".to_owned());
        take_over(&path).unwrap();
        assert!(alive(group.id()));
        write(i32::MAX, 1, boot());
        take_over(&path).unwrap();
        assert!(!alive(group.id()));
        release();
        assert!(!path.exists());
    }
}
