//! Pinleaf: the built binary, run from a configuration file, asked over MySQL's protocol like any other.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Mysql, last_lines};
use crate::engine::{About, Engine, Job, Running, TABLES};
use crate::fault::Fault;
use crate::process::Group;
use crate::shape::{Column, Kind};
use crate::tally::Tally;
use crate::topic::Topic;
use crate::workloads::queries::Asked;

/// It is up in a second; a recovery of much may take longer.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// What a drain may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two tries to connect.
const POLL: Duration = Duration::from_millis(2);

/// The binary.
#[derive(Clone, Debug)]
pub struct Pinleaf {
    binary: PathBuf,
}

impl Pinleaf {
    /// As it was built.
    #[must_use]
    pub fn new(binary: &Path) -> Pinleaf {
        Pinleaf {
            binary: binary.to_owned(),
        }
    }

    /// As [`Engine::start`], and stays what it is.
    ///
    /// # Errors
    /// [`Fault::Failed`], with the end of its log.
    pub fn run(&self, job: &Job<'_>) -> Result<(RunningPinleaf, About), Fault> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(Fault::io("looking for a free port"))?
            .port();
        let config = job.dir.join("pinleaf.toml");
        let text = configuration(port, job.leaves, &crate::machine::cpus());
        fs::write(&config, &text).map_err(Fault::io(format!("writing {}", config.display())))?;
        let (group, mut client) = spawn(&self.binary, &config, port)?;
        let version = client.cell("SELECT VERSION()")?;
        let mut settings: Vec<String> = job
            .leaves
            .map(|leaves| format!("[cores] leaves: {leaves} of them"))
            .into_iter()
            .collect();
        if settings.is_empty() {
            settings.push("all at their defaults".to_owned());
        }
        client.query("CREATE DATABASE bench")?;
        for (topic, table) in job.topics.iter().zip(TABLES) {
            for sql in statements(job.bootstrap, topic, table) {
                client.query(&sql)?;
            }
        }
        let about = About {
            version,
            settings,
            discards: false,
        };
        let running = RunningPinleaf {
            binary: self.binary.clone(),
            config,
            port,
            bootstrap: job.bootstrap.to_owned(),
            tables: job.topics.len(),
            group,
            client,
        };
        Ok((running, about))
    }
}

impl Engine for Pinleaf {
    fn name(&self) -> &str {
        "pinleaf"
    }

    fn does(&self, _workload: &str) -> bool {
        true
    }

    fn stores(&self) -> bool {
        true
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        if self.binary.is_file() {
            return Ok(());
        }
        Err(Fault::Usage(format!(
            "{} is not there; cargo build --release makes it",
            self.binary.display()
        )))
    }

    fn start(&self, job: &Job<'_>) -> Result<(Box<dyn Running>, About), Fault> {
        let (running, about) = self.run(job)?;
        Ok((Box::new(running), about))
    }
}

/// A node that is up, with its database `bench`, tables, and a pipeline of each one's name.
#[derive(Debug)]
pub struct RunningPinleaf {
    binary: PathBuf,
    config: PathBuf,
    port: u16,
    bootstrap: String,
    tables: usize,
    group: Group,
    client: Mysql,
}

impl RunningPinleaf {
    /// The session that it is asked by.
    pub fn client(&mut self) -> &mut Mysql {
        &mut self.client
    }

    /// A session of its own.
    ///
    /// # Errors
    /// The connection's.
    pub fn connect(&self) -> Result<Mysql, Fault> {
        Mysql::connect(self.port)
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.config.with_file_name("data")
    }

    /// How many rows of its tables are durable. Each partition begins at offset 0 and has no gaps here.
    ///
    /// # Errors
    /// As [`Mysql::number`].
    pub fn durable_rows(&mut self) -> Result<u64, Fault> {
        let sql = "SELECT SUM(DURABLE_OFFSET) FROM information_schema.PIPELINES_PARTITIONS";
        let rows = self.client.number(sql)?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    /// Kills it as a crash does and starts it again; returns it once it answers a login.
    ///
    /// # Errors
    /// [`Fault::Failed`], with the end of its log.
    pub fn crash(self) -> Result<RunningPinleaf, Fault> {
        let RunningPinleaf {
            binary,
            config,
            port,
            bootstrap,
            tables,
            group,
            client,
        } = self;
        drop(client);
        group.kill();
        let (group, client) = spawn(&binary, &config, port)?;
        Ok(RunningPinleaf {
            binary,
            config,
            port,
            bootstrap,
            tables,
            group,
            client,
        })
    }
}

impl Running for RunningPinleaf {
    fn group(&self) -> &Group {
        &self.group
    }

    fn begin(&mut self) -> Result<(), Fault> {
        for table in &TABLES[..self.tables] {
            self.client
                .query(&format!("START PIPELINE bench.{table}"))?;
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<u64, Fault> {
        let mut sum = 0;
        for table in &TABLES[..self.tables] {
            let rows = self
                .client
                .number(&format!("SELECT COUNT(*) FROM bench.{table}"))?;
            sum += u64::try_from(rows).unwrap_or(u64::MAX);
        }
        Ok(sum)
    }

    fn settled(&mut self) -> Result<bool, Fault> {
        let open = self.client.number(
            "SELECT COUNT(*) FROM information_schema.PIPELINES_PARTITIONS \
             WHERE DURABLE_OFFSET < VISIBLE_OFFSET",
        )?;
        Ok(open == 0)
    }

    fn tally(&mut self, table: &str, topic: &Topic) -> Result<Tally, Fault> {
        let names: Vec<String> = topic
            .shape
            .columns()
            .into_iter()
            .map(|column| column.name)
            .collect();
        let names = names.join(", ");
        let sql = format!(
            "SELECT COUNT(*), SUM(id), SUM(CRC32(CONCAT_WS('|', {names}))) FROM bench.{table}"
        );
        let rows = self.client.query(&sql)?;
        let number = |at: usize| -> Option<u128> { rows.first()?.get(at)?.parse().ok() };
        let rows = number(0).and_then(|rows| u64::try_from(rows).ok());
        Ok(Tally {
            rows: rows.ok_or_else(|| Fault::failed("pinleaf", format!("no number: {sql}")))?,
            ids: number(1),
            hash: number(2),
            ..Tally::default()
        })
    }

    fn query(&mut self, asked: &Asked) -> Result<Vec<Vec<String>>, Fault> {
        self.client.query(&asked.sql())
    }

    fn begin_beside(&mut self, table: &str, topic: &Topic) -> Result<(), Fault> {
        for sql in statements(&self.bootstrap, topic, table) {
            self.client.query(&sql)?;
        }
        let start = format!("START PIPELINE bench.{table}");
        self.client.query(&start).map(|_| ())
    }

    fn rows_beside(&mut self, table: &str) -> Result<u64, Fault> {
        let count = format!("SELECT COUNT(*) FROM bench.{table}");
        let rows = self.client.number(&count)?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    fn complaints(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for table in ["PIPELINES_PARTITIONS", "PIPELINES_ERRORS"] {
            let sql = format!("SELECT * FROM information_schema.{table} LIMIT 12");
            match self.client.query(&sql) {
                Ok(rows) => {
                    let words = rows.iter().map(|row| row.join(" "));
                    lines.extend(words.map(|row| format!("{table}: {row}")));
                }
                Err(fault) => lines.push(fault.to_string()),
            }
        }
        lines.extend(last_lines(&self.config.with_file_name("log")));
        lines
    }

    fn stop(self: Box<Self>) -> Result<(), Fault> {
        drop(self.client);
        self.group.end(STOP_TIMEOUT)
    }
}

/// Starts the node; returns once it answers a login.
fn spawn(binary: &Path, config: &Path, port: u16) -> Result<(Group, Mysql), Fault> {
    let log = config.with_file_name("log");
    let file = File::options().create(true).append(true).open(&log);
    let file = file.map_err(Fault::io(format!("writing {}", log.display())))?;
    let mut command = Command::new(binary);
    command.arg("run").arg(config).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(file);
    let mut group = Group::spawn(&mut command, "pinleaf")?;
    let began = Instant::now();
    loop {
        match Mysql::connect(port) {
            Ok(client) => return Ok((group, client)),
            Err(fault) => {
                let ended = group.ended()?;
                if ended.is_some() || began.elapsed() > READY_TIMEOUT {
                    let last = last_lines(&log);
                    let why = ended.map_or(fault.to_string(), |status| status.to_string());
                    return Err(Fault::failed(
                        "pinleaf",
                        format!("it does not come up ({why}):\n    {}", last.join("\n    ")),
                    ));
                }
                thread::sleep(POLL);
            }
        }
    }
}

/// Its configuration file. So many leaves have CPUs of their own from the second on: the first is for what else there
/// is, where there are more.
fn configuration(port: u16, leaves: Option<usize>, cpus: &[usize]) -> String {
    let cores = leaves.map_or_else(String::new, |leaves| {
        let own = &cpus[usize::from(cpus.len() > 1)..];
        let own = &own[..leaves.clamp(1, own.len().max(1)).min(own.len())];
        format!("\n[cores]\nleaves = {own:?}\n")
    });
    format!("data_dir = \"data\"\n{cores}\n[listen]\nmysql = \"127.0.0.1:{port}\"\n")
}

fn statements(bootstrap: &str, topic: &Topic, table: &str) -> [String; 2] {
    let columns = topic.shape.columns();
    let of = |one: &dyn Fn(&Column) -> String| -> String {
        columns.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let kinds = of(&|column| {
        let kind = match column.kind {
            Kind::Int => "BIGINT".to_owned(),
            Kind::Text(characters) => format!("VARCHAR({characters})"),
            Kind::Price => "DECIMAL(12,2)".to_owned(),
            Kind::Time => "DATETIME(3)".to_owned(),
        };
        format!("{} {kind} NOT NULL", column.name)
    });
    let mapping = of(&|column| format!("{} <- {}", column.name, column.path.join("::")));
    [
        format!("CREATE TABLE bench.{table} ({kinds})"),
        format!(
            "CREATE PIPELINE bench.{table} AS LOAD DATA KAFKA '{bootstrap}/{}' INTO TABLE bench.{table} \
             FORMAT JSON ({mapping})",
            topic.name
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_cpus_of_their_own() {
        let leaves = |leaves, cpus: &[usize]| {
            let text = configuration(7, leaves, cpus);
            let line = text.lines().find(|line| line.starts_with("leaves"));
            line.unwrap_or("none").to_owned()
        };
        let eight = [0, 1, 2, 3, 8, 9, 10, 11];
        assert_eq!(leaves(Some(3), &eight), "leaves = [1, 2, 3]");
        assert_eq!(leaves(Some(7), &eight), "leaves = [1, 2, 3, 8, 9, 10, 11]");
        assert_eq!(leaves(Some(8), &eight), leaves(Some(7), &eight));
        assert_eq!(leaves(Some(1), &[4, 5]), "leaves = [5]");
        assert_eq!(leaves(Some(2), &[4]), "leaves = [4]");
        assert_eq!(leaves(None, &eight), "none");
        assert!(configuration(7, None, &eight).contains("mysql = \"127.0.0.1:7\""));
    }
}
