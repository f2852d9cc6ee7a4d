//! The broker that a run reads from: a Redpanda where there is one, else the real Kafka, else the one given.
//!
//! 1. `--bootstrap HOST:PORT`: one that runs already. Its CPU is not counted. Topics of a name of their own are taken away behind each variant.
//! 2. `redpanda` in the search path: its binary, one core, in the run's own folder.
//! 3. A container runtime (`docker` or `podman`) that answers and has, or can fetch, Redpanda's image.
//! 4. Apache Kafka from Maven Central, as the tests start it.
//!
//! The report says which, and what was not to be had. What Redpanda is started with are its documented flags ("rpk redpanda start", "Node
//! configuration properties"); where neither binary nor runtime is to be had, what is tested is the command.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kafka_server::{KafkaServer, VERSION, free_port};

use crate::fault::Fault;
use crate::process::{self, Group, words};
use crate::topic::Cluster;

/// Redpanda's image.
const IMAGE: &str = "docker.redpanda.com/redpandadata/redpanda:v25.3.1";
/// What a container runtime may take to answer, and to fetch an image.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(20);
const PULL_TIMEOUT: Duration = Duration::from_secs(900);
/// Of a broker that ends by itself.
const GRACE: Duration = Duration::from_secs(10);
/// Large segments and no sync by time: the broker is not what is measured.
const KAFKA: [(&str, &str); 4] = [
    // Room on the disk for the next topic as soon as one is deleted.
    ("log.segment.delete.delay.ms", "1000"),
    ("num.network.threads", "3"),
    ("log.segment.bytes", "1073741824"),
    ("message.max.bytes", "8388608"),
];

/// A broker, for as long as the value lives.
#[derive(Debug)]
pub struct Broker {
    /// As the report calls it.
    pub what: String,
    /// How it is started.
    pub settings: Vec<String>,
    /// What speaks to it.
    pub cluster: Cluster,
    group: Option<Group>,
    /// Its processes are its runtime's children and not ours.
    in_container: bool,
}

impl Broker {
    /// The first of the above that is to be had, up and answering.
    ///
    /// # Errors
    /// [`Fault::Failed`] where it does not come up; what was not to be had is in its name.
    pub fn start(dir: &Path, run: &str, bootstrap: Option<&str>) -> Result<Broker, Fault> {
        if let Some(bootstrap) = bootstrap {
            // A topic that was just deleted may be there for a while: another name each time.
            let prefix = format!("pinleaf-bench-{run}.");
            let own = format!("{prefix}{}.", std::process::id());
            let broker = Broker {
                what: "one that ran already; its CPU is not counted".to_owned(),
                settings: vec!["whatever it was started with".to_owned()],
                cluster: Cluster::new(bootstrap, &own),
                group: None,
                in_container: false,
            };
            broker.cluster.wait_ready(|| None)?;
            broker.cluster.clear(&prefix)?;
            return Ok(broker);
        }
        let port = || free_port().map_err(|error| Fault::failed("the broker", error.to_string()));
        let home = dir.join("broker");
        fs::create_dir_all(&home).map_err(Fault::io(format!("making {}", home.display())))?;
        if let Some(binary) = in_path("redpanda") {
            let ports = [port()?, port()?, port()?];
            return redpanda(&binary, &home, ports);
        }
        let mut why = vec!["no `redpanda` in the search path".to_owned()];
        for runtime in ["docker", "podman"] {
            let info = ran(Command::new(runtime).arg("info"), RUNTIME_TIMEOUT);
            let pull = || {
                ran(
                    Command::new(runtime).args(["pull", "-q", IMAGE]),
                    PULL_TIMEOUT,
                )
            };
            match info.and_then(|()| pull()) {
                Ok(()) => return container(runtime, [port()?, port()?], &home),
                Err(said) => why.push(format!("{runtime}: {said}")),
            }
        }
        let mut broker = kafka(&home)?;
        let why = why.join("; ");
        let _ = write!(
            broker.what,
            "; no Redpanda ({why}): of its path the command and the configuration alone are tested, it was not run"
        );
        Ok(broker)
    }

    /// CPU so far; `None` where it is not counted.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        let group = self.group.as_ref().filter(|_| !self.in_container);
        group.map(Group::cpu)
    }

    fn of(
        what: String,
        settings: Vec<String>,
        port: u16,
        command: &mut Command,
        home: &Path,
        farewell: Vec<String>,
    ) -> Result<Broker, Fault> {
        let log = home.join("log");
        let file = File::create(&log).map_err(Fault::io(format!("writing {}", log.display())))?;
        let again = file.try_clone().map_err(Fault::io("a log"))?;
        command.stdin(Stdio::null()).stdout(file).stderr(again);
        let mut broker = Broker {
            what,
            settings,
            cluster: Cluster::new(&format!("127.0.0.1:{port}"), ""),
            in_container: !farewell.is_empty(),
            group: Some(Group::spawn_with(command, "the broker", farewell)?),
        };
        let group = &mut broker.group;
        broker.cluster.wait_ready(|| {
            let ended = group.as_mut()?.ended().ok()??;
            Some(format!("it ended ({ended}); its log is {}", log.display()))
        })?;
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        match self.group.take() {
            // The runtime's client passes on what it is told; where it does not end it is killed, and the container
            // by its farewell.
            Some(group) if self.in_container => {
                let _ = group.end(GRACE);
            }
            // Its log goes with the run.
            Some(group) => group.kill(),
            None => {}
        }
    }
}

fn kafka(home: &Path) -> Result<Broker, Fault> {
    let server = KafkaServer::prepare(home, 1, &KAFKA);
    let server = server.map_err(|error| Fault::failed("Apache Kafka", error.to_string()))?;
    let what = format!("Apache Kafka {VERSION}, one node, 1 GiB of heap");
    let port = server.addr(1).port();
    let properties = home.join("broker-1/server.properties");
    let properties = fs::read_to_string(&properties)
        .map_err(Fault::io(format!("reading {}", properties.display())))?;
    // Where its files are and on which ports it listens is no setting that a figure depends on.
    let of_this_start = ["listeners", "advertised", "controller.quorum", "log.dirs"];
    let is_setting = |line: &&str| !of_this_start.iter().any(|start| line.starts_with(start));
    let settings = properties
        .lines()
        .filter(is_setting)
        .map(str::to_owned)
        .collect();
    Broker::of(
        what,
        settings,
        port,
        &mut server.command(1),
        home,
        Vec::new(),
    )
}

fn redpanda(binary: &Path, home: &Path, ports: [u16; 3]) -> Result<Broker, Fault> {
    let config = home.join("redpanda.yaml");
    fs::write(&config, redpanda_config(home, ports))
        .map_err(Fault::io(format!("writing {}", config.display())))?;
    let what = "Redpanda, its binary, one core, 1 GiB".to_owned();
    Broker::of(
        what,
        vec![
            words(&redpanda_command(
                Path::new("redpanda"),
                Path::new("redpanda.yaml"),
            ))
            .join(" "),
        ],
        ports[0],
        &mut redpanda_command(binary, &config),
        home,
        Vec::new(),
    )
}

/// Ports: Kafka, RPC, admin.
fn redpanda_config(home: &Path, [kafka, rpc, admin]: [u16; 3]) -> String {
    let listener = |port: u16| format!("{{address: 127.0.0.1, port: {port}}}");
    format!(
        "redpanda:\n  data_directory: {}\n  node_id: 0\n  seed_servers: []\n  \
         empty_seed_starts_cluster: true\n  developer_mode: true\n  rpc_server: {}\n  kafka_api:\n    - {}\n  \
         advertised_kafka_api:\n    - {}\n  admin:\n    - {}\n",
        home.join("data").display(),
        listener(rpc),
        listener(kafka),
        listener(kafka),
        listener(admin),
    )
}

fn redpanda_command(binary: &Path, config: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--redpanda-cfg").arg(config);
    command.args(["--smp", "1", "--memory", "1G", "--reserve-memory", "0M"]);
    command.args(["--overprovisioned", "--default-log-level=warn"]);
    command
}

fn container(runtime: &str, ports: [u16; 2], home: &Path) -> Result<Broker, Fault> {
    let name = format!("pinleaf-bench-{}", ports[0]);
    let what = format!(
        "Redpanda in a container ({runtime}, {IMAGE}), one core, 1 GiB; its CPU is not counted"
    );
    let mut command = container_command(runtime, &name, ports);
    let settings = vec![words(&command).join(" ")];
    let farewell = [runtime, "rm", "-f", &name].map(str::to_owned).to_vec();
    Broker::of(what, settings, ports[0], &mut command, home, farewell)
}

/// Not by its mode `dev-container`: that one lets a fetch wait for 10 ms. Ports: Kafka, RPC.
fn container_command(runtime: &str, name: &str, [kafka, rpc]: [u16; 2]) -> Command {
    let mut command = Command::new(runtime);
    command.args(["run", "--rm", "--name", name, "--network", "host", IMAGE]);
    command.args(["redpanda", "start", "--overprovisioned", "--check=false"]);
    command.args(["--smp", "1", "--memory", "1G", "--reserve-memory", "0M"]);
    command.arg("--default-log-level=warn");
    let (kafka, rpc) = (
        format!("PLAINTEXT://127.0.0.1:{kafka}"),
        format!("127.0.0.1:{rpc}"),
    );
    command.args(["--kafka-addr", &kafka, "--advertise-kafka-addr", &kafka]);
    command.args(["--rpc-addr", &rpc, "--advertise-rpc-addr", &rpc]);
    command
}

/// Runs a command to its end; the last line of what it wrote where it fails.
fn ran(command: &mut Command, at_most: Duration) -> Result<(), String> {
    match process::run(command, at_most) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, said)) => Err(said
            .lines()
            .last()
            .unwrap_or(&status.to_string())
            .to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
    found.find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redpanda_is_started_with_its_documented_flags() {
        let command = redpanda_command(Path::new("redpanda"), Path::new("h/redpanda.yaml"));
        assert_eq!(
            words(&command).join(" "),
            "redpanda --redpanda-cfg h/redpanda.yaml --smp 1 --memory 1G --reserve-memory 0M \
             --overprovisioned --default-log-level=warn"
        );
        let command = container_command("docker", "pinleaf-bench-9", [9, 8]);
        assert_eq!(
            words(&command).join(" "),
            format!(
                "docker run --rm --name pinleaf-bench-9 --network host {IMAGE} redpanda start \
                 --overprovisioned --check=false --smp 1 --memory 1G --reserve-memory 0M \
                 --default-log-level=warn \
                 --kafka-addr PLAINTEXT://127.0.0.1:9 --advertise-kafka-addr PLAINTEXT://127.0.0.1:9 \
                 --rpc-addr 127.0.0.1:8 --advertise-rpc-addr 127.0.0.1:8"
            )
        );
        let config = redpanda_config(Path::new("h"), [1, 2, 3]);
        assert!(
            config.contains("kafka_api:\n    - {address: 127.0.0.1, port: 1}\n"),
            "{config}"
        );
        assert!(config.contains("data_directory: h/data\n"), "{config}");
    }
}
