//! A node for the tests: the built `pinleaf run` on a configuration of its own, its log, and SQL by the
//! `mysql` command line.
//!
//! Starts one child process at a time and ends no other. A wait polls a condition up to a deadline.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tests::kafka_server::free_port;

/// A node is up in a second; a busy machine may take longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// What a drain may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// A node's folder, its port, and the process while it runs.
pub struct Node {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
    starts: u32,
    environment: Vec<(String, PathBuf)>,
    umask: Option<&'static str>,
}

impl Node {
    /// Writes a configuration below `dir` with `more` of it, and starts nothing. One control core and
    /// two leaves; on a machine of two CPUs a leaf shares the control core's.
    pub fn new(dir: &Path, more: &str) -> Node {
        Node::of_leaves(dir, 2, more)
    }

    /// The same with one leaf.
    pub fn of_one_leaf(dir: &Path, more: &str) -> Node {
        Node::of_leaves(dir, 1, more)
    }

    fn of_leaves(dir: &Path, count: usize, more: &str) -> Node {
        let cpus = cpus();
        let leaves = match cpus.as_slice() {
            [control] => vec![*control],
            [control, second] => vec![*control, *second],
            [_, leaves @ ..] => leaves[..2].to_vec(),
            [] => panic!("no CPU"),
        };
        let leaves = &leaves[leaves.len().saturating_sub(count)..];
        let port = free_port().unwrap();
        let text = format!(
            "data_dir = \"data\"\n\n[cores]\ncontrol = {}\nleaves = {leaves:?}\nquery = {:?}\n\n\
             [listen]\nmysql = \"127.0.0.1:{port}\"\n\n{more}",
            cpus[0],
            &cpus[cpus.len() - 1..],
        );
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("pinleaf.toml"), text).unwrap();
        Node {
            dir: dir.to_owned(),
            port,
            child: None,
            starts: 0,
            environment: Vec::new(),
            umask: None,
        }
    }

    /// Starts each process from now on with this umask, in octal digits.
    pub fn set_umask(&mut self, umask: &'static str) {
        self.umask = Some(umask);
    }

    /// Sets a variable of the environment of each process from now on.
    pub fn set_environment(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Where MySQL clients connect, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The running process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running node").id()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts the process, and does not wait for it.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let log = File::create(self.log_path(self.starts)).unwrap();
        let mut command = match self.umask {
            None => Command::new(binary()),
            Some(umask) => with_umask(umask),
        };
        let child = command
            .arg("run")
            .arg(self.dir.join("pinleaf.toml"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the built pinleaf; build it with cargo build --release");
        self.child = Some(child);
    }

    /// Starts the process and waits until it answers SQL.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Until it answers SQL.
    pub fn wait_ready(&mut self) {
        let began = Instant::now();
        while self.try_sql("SELECT 1").is_err() {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.log());
            assert!(
                began.elapsed() < READY_TIMEOUT,
                "not ready:\n{}",
                self.log()
            );
            std::thread::sleep(POLL);
        }
    }

    /// SIGKILL: nothing of it runs afterwards.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a running node");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM: it drains and ends with 0.
    pub fn stop(&mut self) {
        self.signal(&["-TERM"]);
        let status = self.ended();
        assert!(status.success(), "ended with {status}:\n{}", self.log());
    }

    /// Sends these signals, one right behind the other.
    pub fn signal(&self, signals: &[&str]) {
        // The child is not waited for yet, so its id is still its own.
        let pid = self.pid().to_string();
        for signal in signals {
            let sent = Command::new("kill").args([*signal, pid.as_str()]).status();
            assert!(sent.unwrap().success());
        }
    }

    /// Waits for its end, which something has asked for.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running node");
        let status = wait(&mut child, STOP_TIMEOUT);
        let Some(status) = status else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("did not end within {STOP_TIMEOUT:?}:\n{}", self.log());
        };
        status
    }

    /// Bytes of the process's own memory now: what is mapped from files is the page cache's.
    pub fn anonymous_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        anonymous_bytes(&status.unwrap_or_default())
    }

    /// What `pinleaf check` says that the configuration adds up to, of the process's own memory.
    pub fn memory_bytes(&self) -> u64 {
        let config = self.dir.join("pinleaf.toml");
        let mut check = Command::new(binary());
        let ended = check.arg("check").arg(config).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        let (_, in_all) = said.split_once("for queries; ").unwrap();
        let (mib, _) = in_all.split_once(' ').unwrap();
        mib.parse::<u64>().unwrap() << 20
    }

    /// What the newest process wrote to its log so far.
    pub fn log(&self) -> String {
        self.log_of(self.starts)
    }

    /// What the process of that start wrote to its log. The first is 1.
    pub fn log_of(&self, start: u32) -> String {
        fs::read_to_string(self.log_path(start)).unwrap_or_default()
    }

    fn log_path(&self, start: u32) -> PathBuf {
        self.dir.join(format!("node-{start}.log"))
    }

    /// The rows of a statement that must succeed, cell by cell.
    pub fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{sql}\n{error}\n{}", self.log()))
    }

    /// The only cell of a statement's answer.
    pub fn cell(&self, sql: &str) -> String {
        let mut rows = self.sql(sql);
        assert!(rows.len() == 1 && rows[0].len() == 1, "{sql}: {rows:?}");
        rows.remove(0).remove(0)
    }

    /// The rows of a statement, or what the client said.
    pub fn try_sql(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let mut rows = Vec::new();
        self.each_row(sql, |row| {
            rows.push(row.into_iter().map(str::to_owned).collect())
        })?;
        // What the client escapes in its output: these only, in this mode.
        for cell in rows
            .iter_mut()
            .flat_map(|row: &mut Vec<String>| row.iter_mut())
        {
            if cell.contains('\\') {
                *cell = unescape(cell);
            }
        }
        Ok(rows)
    }

    /// Hands over row by row as they arrive, the cells as the client escapes them.
    pub fn each_row(&self, sql: &str, mut row: impl FnMut(Vec<&str>)) -> Result<(), String> {
        let mut child = self.mysql(sql);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        // The client repeats the statement beside its error: more than a pipe holds, where it is long.
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            errors.read_to_end(&mut said).map(|_| said)
        });
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            row(line.trim_end_matches('\n').split('\t').collect());
            line.clear();
        }
        let ended = child.wait().unwrap();
        let said = said.join().unwrap().unwrap();
        if ended.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&said).into_owned())
        }
    }

    /// Until the condition holds; `what` names it when it does not come true.
    pub fn wait_for(&self, what: &str, timeout: Duration, mut holds: impl FnMut(&Node) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(
                began.elapsed() < timeout,
                "{what}: not within {timeout:?}\n{:#?}\n{}",
                self.try_sql("SELECT * FROM information_schema.PIPELINES_PARTITIONS"),
                self.log()
            );
            std::thread::sleep(POLL);
        }
    }

    /// The client on a statement, its answer a pipe: who does not read it holds the server up.
    pub fn mysql(&self, sql: &str) -> Child {
        let client = env::var_os("PINLEAF_MYSQL").unwrap_or_else(|| "/usr/bin/mysql".into());
        Command::new(client)
            .args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uroot"])
            .args(["-N", "-B", "--quick", "--connect-timeout=10", "-P"])
            .arg(self.port.to_string())
            .args(["-e", sql])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the mysql command line")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || began.elapsed() > timeout {
            return status;
        }
        std::thread::sleep(POLL);
    }
}

/// The built `pinleaf`, with a umask.
pub fn with_umask(umask: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask \"$0\" && exec \"$@\"", umask])
        .arg(binary());
    shell
}

/// `target/release/pinleaf`, beside the folder of this test's own binary.
pub fn binary() -> PathBuf {
    let own = env::current_exe().unwrap();
    let binary = own.parent().unwrap().parent().unwrap().join("pinleaf");
    assert!(
        binary.exists(),
        "{}: cargo build --release first",
        binary.display()
    );
    binary
}

/// RssAnon of a process, of the text of its status.
pub fn anonymous_bytes(status: &str) -> u64 {
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The CPUs that this process may run on.
pub fn cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    list.trim()
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().unwrap()..=last.parse().unwrap()
        })
        .collect()
}

fn unescape(cell: &str) -> String {
    let mut out = String::new();
    let mut chars = cell.chars();
    while let Some(one) = chars.next() {
        out.push(match one {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    out
}
