//! Child processes that never outlive the harness, and what the operating system says they cost.
//!
//! Each child leads a process group of its own. A [`Group`] ends its group when it is dropped, so a panic ends it
//! too; `kept.rs` has every other way to end. CPU is the kernel's count of each process in the group, with that of
//! children that have ended (`proc.rs`); memory is `/proc/PID/status` (`memory.rs`).

mod kept;
mod memory;
mod proc;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

pub use kept::{end_at_signals, keep, release, start_keeper, take_over, words};
pub use memory::{Memory, MemoryWatch};
pub use proc::machine_cpu;

use crate::fault::Fault;
use kept::Kept;

/// Between two looks at whether a process has ended.
const POLL: Duration = Duration::from_millis(20);

/// A child, and whatever it starts.
#[derive(Debug)]
pub struct Group {
    child: Child,
    kept: Kept,
}

impl Group {
    /// Starts the command as the leader of a group of its own.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn spawn(command: &mut Command, what: &str) -> Result<Group, Fault> {
        Group::spawn_with(command, what, Vec::new())
    }

    /// The same, with a command that ends what is no child of it.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn spawn_with(
        command: &mut Command,
        what: &str,
        farewell: Vec<String>,
    ) -> Result<Group, Fault> {
        let mut book = kept::book();
        let child = command
            .process_group(0)
            .spawn()
            .map_err(Fault::io(format!("starting {what}")))?;
        let group = child.id().cast_signed();
        let kept = Kept {
            group,
            // Not waited for yet, so it is there, ended or not.
            started: proc::started(group).unwrap_or_default(),
            what: what.to_owned(),
            farewell,
        };
        book.add(kept.clone());
        Ok(Group { child, kept })
    }

    /// Its pipes, once.
    ///
    /// # Errors
    /// [`Fault::Failed`] where it was started without.
    pub fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout), Fault> {
        let pipes = (self.child.stdin.take(), self.child.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(Fault::failed(&self.kept.what, "started without pipes"));
        };
        Ok((stdin, stdout))
    }

    /// The leader's id, which is the group's.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.kept.group
    }

    /// Whether the leader has ended, and how.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Fault> {
        let ended = self.child.try_wait();
        ended.map_err(Fault::io(format!("waiting for {}", self.kept.what)))
    }

    /// CPU of the whole group so far, user and system.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let members = proc::members(self.id());
        members.into_iter().map(proc::cpu_of).sum()
    }

    /// Waits until the leader has ended by itself.
    ///
    /// # Errors
    /// [`Fault::Failed`] where it has not after so long.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus, Fault> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if began.elapsed() > at_most {
                let why = format!("it did not end within {at_most:?}");
                return Err(Fault::failed(&self.kept.what, why));
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to end and waits so long; what is left then is killed.
    ///
    /// # Errors
    /// [`Fault::Failed`] where its leader had to be.
    pub fn end(mut self, grace: Duration) -> Result<(), Fault> {
        let _ = killpg(Pid::from_raw(self.id()), Signal::SIGTERM);
        match self.wait(grace) {
            Err(Fault::Failed { who, what }) => Err(Fault::failed(who, what + " of SIGTERM")),
            waited => waited.map(|_| ()),
        }
    }

    /// At once, as a crash does.
    pub fn kill(self) {}
}

impl Drop for Group {
    fn drop(&mut self) {
        // What the leader has started may live on without it. That there is none is what is wanted.
        let group = Pid::from_raw(self.id());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
        // Its orphans, where they are ours by now: they were killed.
        while let Ok(_) | Err(Errno::EINTR) = waitpid(Pid::from_raw(-self.id()), None) {}
        self.kept.say_farewell();
        kept::book().remove(self.id());
    }
}

/// Runs a tool to its end; how it ended, and all it wrote.
///
/// # Errors
/// [`Fault::Io`] where it does not start; [`Fault::Failed`] where it takes longer.
pub fn run(command: &mut Command, at_most: Duration) -> Result<(ExitStatus, String), Fault> {
    let what = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command, &what)?;
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(stdout.map(|pipe| Box::new(pipe) as _));
    let stderr = read(stderr.map(|pipe| Box::new(pipe) as _));
    let status = group.wait(at_most);
    // Whatever still holds the pipes ends here.
    drop(group);
    let said = [stdout, stderr].map(|thread| thread.join().unwrap_or_default());
    Ok((status?, said.concat()))
}

/// CPU of the harness and of all it has started and seen end.
#[must_use]
pub fn own_cpu() -> Duration {
    proc::cpu_of(std::process::id().cast_signed())
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
    use std::fs;

    use super::kept::alive;
    use super::proc::members;
    use super::*;
    use signal_hook::consts::signal::SIGTERM;

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

    #[test]
    fn a_tool_is_heard_and_has_its_time() {
        let mut command = Command::new("sh");
        let (status, said) = run(
            command.args(["-c", "echo out; echo err >&2; exit 3"]),
            Duration::from_secs(60),
        )
        .unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(3), "out\nerr\n"));
        let mut command = Command::new("sleep");
        let said = run(command.arg("1000"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(said.to_string(), "sleep: it did not end within 50ms");
    }
}
