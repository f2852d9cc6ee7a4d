//! Peers: programs that speak lines of JSON.
//!
//! A peer is one file of `bench/peers/`. Its first lines say, behind the language's comment sign:
//!
//! | line | what |
//! |---|---|
//! | `engine: NAME` | as files and lines of the report call it |
//! | `what: ...` | one line for the report |
//! | `needs: PACKAGE...` | of PyPI (`name==version`) or Go modules (`path@version`), fetched into the cache |
//! | `jars: GROUP:NAME:VERSION...` | of Maven Central, fetched likewise; their folder is in `BENCH_JARS` |
//! | `settings: NAME...` | the program's one argument; each is an engine of its own in the report |
//! | `does: WORKLOAD...` | and `beside`: it answers queries while it loads |
//! | `stores: yes` or `no` | no: it discards, and is a yardstick |
//! | `quick: no` | it takes too long to start: in a quick run only by name |
//!
//! The harness starts it with one of its settings and writes one request a line to its standard input; it
//! answers each by one line on its standard output, `{"error": "..."}` where it cannot. What it writes to
//! standard error is shown when it fails. A Python peer is a class `Peer` with a method for each request, run by
//! `bench/peers/serve/serve.py`; any other is a program of its own.
//!
//! | request | answer |
//! |---|---|
//! | `{"do": "start", "bootstrap", "dir", "tables": [{"table", "topic", "partitions", "rows", "file", "columns": [{"name", "path", "kind"}]}]}` | `{"version": "...", "settings": ["..."]}`: up, and loading nothing yet |
//! | `{"do": "begin"}` | `{}`: it loads |
//! | `{"do": "rows"}` | `{"rows": n}`: so many are visible in all tables, by a query where it has queries |
//! | `{"do": "tally", "table": "t"}` | `{"rows", "ids", "hash"}` or `{"rows", "offsets", "bytes"}`, see `tally.rs` |
//! | `{"do": "query", "name", "id", "since"}` | `{"answer": [["...", ...], ...]}` |
//! | `{"do": "begin_beside", "table": {...}}` | `{}`: it loads one more; if it does `beside` |
//! | `{"do": "rows_beside", "table": "beside"}` | `{"rows": n}`, of that one |
//! | `{"do": "complaints"}` | `{"said": ["..."]}`: what it knows of why it stands still; may be left out |
//! | `{"do": "stop"}` | `{}`, and it ends |

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{install, last_lines};
use crate::engine::{About, Engine, Job, Running, TABLES};
use crate::fault::Fault;
use crate::process::Group;
use crate::tally::Tally;
use crate::topic::Topic;
use crate::workloads::queries::Asked;

/// What a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(20);
/// What an answer may take: a load that is one statement, over all rows there are.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3_600);
/// The head of a peer's file.
const HEAD_LINES_MAX: usize = 20;

/// What the first lines of a peer's file say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    engine: String,
    needs: Vec<String>,
    jars: Vec<String>,
    settings: Vec<String>,
    does: Vec<String>,
    stores: bool,
    slow: bool,
}

/// How a program is run once it is there.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The program.
    pub program: PathBuf,
    /// Before the name of its settings.
    pub arguments: Vec<PathBuf>,
    /// Where its jars are.
    pub jars: Option<PathBuf>,
}

/// A program at one of its settings.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    setting: String,
    head: Head,
    file: Option<PathBuf>,
    cache: PathBuf,
    runner: Option<Runner>,
}

impl Head {
    /// Reads it.
    ///
    /// # Errors
    /// [`Fault::Usage`], with what is missing.
    pub fn read(text: &str, from: &Path) -> Result<Head, Fault> {
        let mut head = Head::default();
        for line in text.lines().take(HEAD_LINES_MAX) {
            let Some((key, value)) = line.trim_start_matches(['#', '/', ' ']).split_once(": ")
            else {
                continue;
            };
            let words = || value.split_whitespace().map(str::to_owned).collect();
            match key {
                "engine" => value.trim().clone_into(&mut head.engine),
                "needs" => head.needs = words(),
                "jars" => head.jars = words(),
                "settings" => head.settings = words(),
                "does" => head.does = words(),
                "quick" => head.slow = value.trim() == "no",
                "stores" => head.stores = value.trim() == "yes",
                _ => {}
            }
        }
        for (missing, what) in [
            (head.engine.is_empty(), "engine"),
            (head.settings.is_empty(), "settings"),
            (head.does.is_empty(), "does"),
        ] {
            if missing {
                return Err(Fault::Usage(format!(
                    "{}: its first lines say no `{what}: ...`",
                    from.display()
                )));
            }
        }
        Ok(head)
    }
}

impl Program {
    /// The engines of a peer's file.
    ///
    /// # Errors
    /// [`Fault::Usage`], [`Fault::Io`].
    pub fn of_file(file: &Path, cache: &Path) -> Result<Vec<Program>, Fault> {
        let doing = format!("reading {}", file.display());
        let text = fs::read_to_string(file).map_err(Fault::io(doing))?;
        let head = Head::read(&text, file)?;
        Ok(Program::of_head(&head, Some(file), cache, None))
    }

    /// The engines of a program that is there already.
    #[must_use]
    pub fn of_head(
        head: &Head,
        file: Option<&Path>,
        cache: &Path,
        runner: Option<Runner>,
    ) -> Vec<Program> {
        let of_setting = |setting: &String| Program {
            name: format!("{}-{setting}", head.engine),
            setting: setting.clone(),
            head: head.clone(),
            file: file.map(Path::to_owned),
            cache: cache.to_owned(),
            runner: runner.clone(),
        };
        head.settings.iter().map(of_setting).collect()
    }
}

impl Engine for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn does(&self, workload: &str) -> bool {
        self.head.does.iter().any(|one| one == workload)
    }

    fn stores(&self) -> bool {
        self.head.stores
    }

    fn quick(&self) -> bool {
        !self.head.slow
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        if self.runner.is_none() {
            let Some(file) = &self.file else {
                return Err(Fault::Missing(format!("{} has no program", self.name)));
            };
            let Head {
                engine,
                needs,
                jars,
                ..
            } = &self.head;
            self.runner = Some(install::runner(file, engine, needs, jars, &self.cache)?);
        }
        Ok(())
    }

    fn start(&self, job: &Job<'_>) -> Result<(Box<dyn Running>, About), Fault> {
        let runner = self
            .runner
            .as_ref()
            .ok_or_else(|| Fault::Missing(format!("{} was not prepared", self.name)))?;
        let complaints = job.dir.join("stderr");
        let file = fs::File::create(&complaints).map_err(Fault::io("writing a log"))?;
        let mut command = Command::new(&runner.program);
        command.args(&runner.arguments).arg(&self.setting);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(file).current_dir(job.dir);
        if let Some(jars) = &runner.jars {
            command.env("BENCH_JARS", jars);
        }
        let mut group = Group::spawn(&mut command, &self.name)?;
        let (to, from) = group.pipes()?;
        let mut running = RunningProgram {
            name: self.name.clone(),
            group,
            to,
            answers: lines(from),
            complaints,
        };
        let tables = job.topics.iter().zip(TABLES);
        let tables: Vec<_> = tables.map(|(topic, name)| table(topic, name)).collect();
        let said = running.ask(&json!({
            "do": "start",
            "bootstrap": job.bootstrap,
            "dir": job.dir,
            "tables": tables,
        }))?;
        let about: About = running.read("a version and settings", said)?;
        Ok((Box::new(running), about))
    }
}

fn table(topic: &Topic, name: &str) -> Value {
    json!({
        "table": name,
        "topic": topic.name,
        "partitions": topic.partitions,
        "rows": topic.expected.rows(),
        "file": topic.file,
        "columns": topic.shape.columns(),
    })
}

/// What a program answers, read by a thread so that an answer has its time.
fn lines(from: ChildStdout) -> Receiver<String> {
    let (to, answers) = sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    answers
}

struct RunningProgram {
    name: String,
    group: Group,
    to: ChildStdin,
    answers: Receiver<String>,
    complaints: PathBuf,
}

impl RunningProgram {
    fn ask(&mut self, request: &Value) -> Result<Value, Fault> {
        let mut line = request.to_string();
        line.push('\n');
        let sent = self
            .to
            .write_all(line.as_bytes())
            .and_then(|()| self.to.flush());
        let answer = match sent.map(|()| self.answers.recv_timeout(ANSWER_TIMEOUT)) {
            Ok(Ok(answer)) => answer,
            Ok(Err(RecvTimeoutError::Timeout)) => {
                let what = format!("no answer to {request} within {ANSWER_TIMEOUT:?}");
                return Err(self.failed(&what));
            }
            Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => {
                return Err(self.failed("it ended"));
            }
        };
        let Ok(said) = serde_json::from_str::<Value>(&answer) else {
            return Err(self.failed(&format!("it answered {:?}", answer)));
        };
        match said.get("error") {
            Some(error) => Err(self.failed(error.as_str().unwrap_or("an error without a word"))),
            None => Ok(said),
        }
    }

    fn count(&mut self, request: &Value) -> Result<u64, Fault> {
        let said = self.ask(request)?;
        let rows = said["rows"].as_u64();
        rows.ok_or_else(|| self.failed(&format!("it answered {said} where rows were asked for")))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, what: &str, said: Value) -> Result<T, Fault> {
        let text = said.to_string();
        serde_json::from_value(said).map_err(|error| {
            self.failed(&format!(
                "it answered {text} where {what} was asked for: {error}"
            ))
        })
    }

    fn failed(&self, what: &str) -> Fault {
        let last = last_lines(&self.complaints).into_iter();
        let last: String = last.map(|line| format!("\n    {line}")).collect();
        Fault::failed(&self.name, format!("{what}{last}"))
    }
}

impl Running for RunningProgram {
    fn group(&self) -> &Group {
        &self.group
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.ask(&json!({"do": "begin"})).map(|_| ())
    }

    fn rows(&mut self) -> Result<u64, Fault> {
        self.count(&json!({"do": "rows"}))
    }

    fn begin_beside(&mut self, name: &str, topic: &Topic) -> Result<(), Fault> {
        let beside = table(topic, name);
        self.ask(&json!({"do": "begin_beside", "table": beside}))
            .map(|_| ())
    }

    fn rows_beside(&mut self, table: &str) -> Result<u64, Fault> {
        self.count(&json!({"do": "rows_beside", "table": table}))
    }

    fn tally(&mut self, table: &str, _topic: &Topic) -> Result<Tally, Fault> {
        let said = self.ask(&json!({"do": "tally", "table": table}))?;
        self.read("a tally", said)
    }

    fn query(&mut self, asked: &Asked) -> Result<Vec<Vec<String>>, Fault> {
        let said = self.ask(&json!({
            "do": "query", "name": asked.name, "id": asked.id, "since": asked.since,
        }))?;
        self.read("rows of text", said["answer"].clone())
    }

    fn complaints(&mut self) -> Vec<String> {
        // One that has nothing to say answers an error, which is not what is wanted here.
        let said = self.ask(&json!({"do": "complaints"}));
        let said = said.ok().map(|said| said["said"].clone());
        let said = said.and_then(|said| serde_json::from_value(said).ok());
        let mut lines: Vec<String> = said.unwrap_or_default();
        lines.extend(last_lines(&self.complaints));
        lines
    }

    fn stop(mut self: Box<Self>) -> Result<(), Fault> {
        self.ask(&json!({"do": "stop"}))?;
        self.group.end(GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_a_file_is() {
        let text = "#!/usr/bin/env python3\n# engine: house\n# what: rows\n# needs: chdb-core==26.1.0 a\n\
                    # settings: defaults tuned\n# does: ingest queries\n# stores: yes\nimport x\n";
        let head = Head::read(text, Path::new("house.py")).unwrap();
        let words = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let expected = Head {
            engine: "house".to_owned(),
            needs: words(&["chdb-core==26.1.0", "a"]),
            jars: Vec::new(),
            settings: words(&["defaults", "tuned"]),
            does: words(&["ingest", "queries"]),
            stores: true,
            slow: false,
        };
        assert_eq!(head, expected);
        let said = Head::read("// engine: x\n", Path::new("x.go")).unwrap_err();
        assert_eq!(
            said.to_string(),
            "x.go: its first lines say no `settings: ...`"
        );
    }

    /// Every peer that comes with the harness says what it is.
    #[test]
    fn the_peers_have_heads() {
        for file in super::super::peer_files().unwrap() {
            let engines = Program::of_file(&file, Path::new("cache")).unwrap();
            assert!(!engines.is_empty(), "{}", file.display());
        }
    }
}
