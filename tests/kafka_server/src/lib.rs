//! A real Apache Kafka on loopback, for as long as the value lives: for the tests and the benchmarks.
//!
//! One controller-and-broker and any number of further brokers, each a child process with its own
//! folder and free ports; ready when every broker is in the cluster's metadata. Ends its own children
//! and no other process. The jars come from `PINLEAF_KAFKA_LIBS`, where the test command put them, or
//! are fetched from Maven Central once into the user's cache.
//!
//! Whoever supervises processes by itself takes [`KafkaServer::prepare`] and [`KafkaServer::command`].

mod metadata;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::metadata::Metadata;

/// The version that the tests run against.
pub const VERSION: &str = "4.3.1";
/// Kafka is up in some six seconds; a busy machine may take longer.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// A broker that has not handed over by then is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at whether it is.
const READY_POLL: Duration = Duration::from_millis(100);
const CLUSTER_ID: &str = "cGlubGVhZi10ZXN0cy0wMA";

/// Why there is no Kafka.
#[derive(Debug, thiserror::Error)]
pub enum KafkaServerError {
    /// A file, folder or process.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What came of it.
        source: io::Error,
    },
    /// A tool ended with an error.
    #[error("{doing} failed:\n{output}")]
    Failed {
        /// What was run.
        doing: String,
        /// What it wrote.
        output: String,
    },
    /// It did not come up.
    #[error("Kafka did not come up within {READY_TIMEOUT:?}; its log is {}", log.display())]
    NotReady {
        /// The first broker's log.
        log: PathBuf,
    },
}

/// One broker.
#[derive(Debug)]
struct Broker {
    id: usize,
    port: u16,
    properties: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// A running cluster. Dropping it kills the brokers; what they wrote stays in the folder.
#[derive(Debug)]
pub struct KafkaServer {
    libs: PathBuf,
    brokers: Vec<Broker>,
}

impl KafkaServer {
    /// Starts `brokers` of them below `dir`, with these properties beside the needed ones.
    ///
    /// # Errors
    /// [`KafkaServerError`].
    ///
    /// # Panics
    /// On no brokers.
    pub fn start(
        dir: &Path,
        brokers: usize,
        properties: &[(&str, &str)],
    ) -> Result<KafkaServer, KafkaServerError> {
        let mut server = KafkaServer::prepare(dir, brokers, properties)?;
        for id in 1..=brokers {
            server.spawn(id)?;
        }
        server.wait_ready()?;
        Ok(server)
    }

    /// The same, all written and nothing started.
    ///
    /// # Errors
    /// [`KafkaServerError`].
    ///
    /// # Panics
    /// On no brokers.
    pub fn prepare(
        dir: &Path,
        brokers: usize,
        properties: &[(&str, &str)],
    ) -> Result<KafkaServer, KafkaServerError> {
        assert!(brokers > 0, "a cluster has a broker");
        let mut server = KafkaServer {
            libs: libs()?,
            brokers: Vec::new(),
        };
        let controller = free_port()?;
        for id in 1..=brokers {
            let broker = server.format(dir, id, controller, properties)?;
            server.brokers.push(broker);
        }
        Ok(server)
    }

    /// The command that runs one broker. The first id is 1.
    ///
    /// # Panics
    /// On an id that is not one.
    #[must_use]
    pub fn command(&self, id: usize) -> Command {
        let mut command = self.java();
        command
            .args(["-Xmx1g", "kafka.Kafka"])
            .arg(&self.brokers[id - 1].properties);
        command
    }

    /// `host:port` of every broker, separated by commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let all: Vec<_> = self
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.port))
            .collect();
        all.join(",")
    }

    /// A broker's address. The first id is 1.
    ///
    /// # Panics
    /// On an id that is not one.
    #[must_use]
    pub fn addr(&self, id: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.brokers[id - 1].port))
    }

    /// Kills one broker, as a crash does. Broker 1 is also the controller.
    ///
    /// # Panics
    /// On an id that is not one.
    pub fn kill_broker(&mut self, id: usize) {
        self.brokers[id - 1].kill();
    }

    /// Stops one broker as a roll does: it hands its partitions over before it ends.
    ///
    /// # Errors
    /// [`KafkaServerError::Io`].
    ///
    /// # Panics
    /// On an id that is not one.
    pub fn stop_broker(&mut self, id: usize) -> Result<(), KafkaServerError> {
        let broker = &mut self.brokers[id - 1];
        let Some(child) = &broker.child else {
            return Ok(());
        };
        // It is not waited for yet, so its id is still its own.
        run(Command::new("kill").arg(child.id().to_string()))?;
        let began = Instant::now();
        let io = |source| KafkaServerError::Io {
            doing: format!("stopping broker {id}"),
            source,
        };
        while let Some(child) = &mut broker.child {
            if child.try_wait().map_err(io)?.is_some() || began.elapsed() > STOP_TIMEOUT {
                broker.kill();
            } else {
                std::thread::sleep(READY_POLL);
            }
        }
        Ok(())
    }

    /// Starts a killed broker again on its port and folder, and waits until the cluster has it.
    ///
    /// # Errors
    /// [`KafkaServerError`].
    pub fn restart_broker(&mut self, id: usize) -> Result<(), KafkaServerError> {
        self.spawn(id)?;
        self.wait_ready()
    }

    /// Creates a topic and waits until its partitions have leaders.
    ///
    /// # Errors
    /// [`KafkaServerError`].
    pub fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        configs: &[(&str, &str)],
    ) -> Result<(), KafkaServerError> {
        self.create_replicated_topic(name, partitions, 1, configs)
    }

    /// The same on so many brokers.
    ///
    /// # Errors
    /// [`KafkaServerError`].
    pub fn create_replicated_topic(
        &self,
        name: &str,
        partitions: usize,
        replicas: usize,
        configs: &[(&str, &str)],
    ) -> Result<(), KafkaServerError> {
        let bootstrap = self.bootstrap();
        let (count, replicas) = (partitions.to_string(), replicas.to_string());
        let mut arguments = vec![
            "--bootstrap-server",
            &bootstrap,
            "--create",
            "--topic",
            name,
            "--partitions",
            &count,
            "--replication-factor",
            &replicas,
        ];
        let configs: Vec<_> = configs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        for config in &configs {
            arguments.extend(["--config", config]);
        }
        self.tool("org.apache.kafka.tools.TopicCommand", &arguments)?;
        self.wait_until(|metadata| metadata.leaders_of(name) == Some(partitions))
    }

    /// Asks the controller for an election, `preferred` or `unclean`, of what the arguments name.
    ///
    /// # Errors
    /// [`KafkaServerError`], also where it is refused: a preferred one while that replica is not in sync, an unclean one
    /// while there is a leader.
    pub fn elect(&self, kind: &str, of: &[&str]) -> Result<(), KafkaServerError> {
        let bootstrap = self.bootstrap();
        let asked = ["--bootstrap-server", &bootstrap, "--election-type", kind];
        let class = "org.apache.kafka.tools.LeaderElectionCommand";
        self.tool(class, &[&asked[..], of].concat()).map(drop)
    }

    /// Runs one of Kafka's own tools to its end.
    ///
    /// # Errors
    /// [`KafkaServerError`], also where it ends with an error.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<Output, KafkaServerError> {
        run(self
            .java()
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
            .arg(class)
            .args(arguments))
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.arg("-cp").arg(self.libs.join("*"));
        command
    }

    fn format(
        &self,
        dir: &Path,
        id: usize,
        controller: u16,
        properties: &[(&str, &str)],
    ) -> Result<Broker, KafkaServerError> {
        let home = dir.join(format!("broker-{id}"));
        let data = home.join("data");
        let doing = |what: &str, path: &Path| format!("{what} {}", path.display());
        fs::create_dir_all(&home).map_err(|source| KafkaServerError::Io {
            doing: doing("making", &home),
            source,
        })?;
        let port = free_port()?;
        let (roles, listeners) = if id == 1 {
            (
                "broker,controller",
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            )
        } else {
            ("broker", format!("PLAINTEXT://127.0.0.1:{port}"))
        };
        let mut text = format!(
            "process.roles={roles}\nnode.id={id}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n\
             log.retention.ms=-1\n",
            data.display()
        );
        for (key, value) in properties {
            text.push_str(&format!("{key}={value}\n"));
        }
        let path = home.join("server.properties");
        fs::write(&path, text).map_err(|source| KafkaServerError::Io {
            doing: doing("writing", &path),
            source,
        })?;
        run(self
            .java()
            .arg("kafka.tools.StorageTool")
            .args(["format", "--ignore-formatted", "-t", CLUSTER_ID, "-c"])
            .arg(&path))?;
        Ok(Broker {
            id,
            port,
            log: home.join("broker.log"),
            properties: path,
            child: None,
        })
    }

    fn spawn(&mut self, id: usize) -> Result<(), KafkaServerError> {
        let mut command = self.command(id);
        let broker = &mut self.brokers[id - 1];
        let io = |source| KafkaServerError::Io {
            doing: format!("starting broker {id}"),
            source,
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(&broker.log)
            .map_err(io)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io)?)
            .stderr(log)
            .spawn()
            .map_err(io)?;
        broker.child = Some(child);
        Ok(())
    }

    /// Until every broker that was not killed is in the metadata.
    fn wait_ready(&self) -> Result<(), KafkaServerError> {
        let running = |id| {
            self.brokers
                .iter()
                .any(|one| one.id == id && one.child.is_some())
        };
        let wanted = (1..=self.brokers.len()).filter(|id| running(*id)).count();
        self.wait_until(|metadata| metadata.brokers >= wanted)
    }

    /// Until every running broker says so.
    fn wait_until(&self, done: impl Fn(&Metadata) -> bool) -> Result<(), KafkaServerError> {
        let began = Instant::now();
        while !self
            .brokers
            .iter()
            .filter(|broker| broker.child.is_some())
            .all(|broker| Metadata::ask(self.addr(broker.id)).is_ok_and(|said| done(&said)))
        {
            if began.elapsed() > READY_TIMEOUT {
                return Err(KafkaServerError::NotReady {
                    log: self.brokers[0].log.clone(),
                });
            }
            std::thread::sleep(READY_POLL);
        }
        Ok(())
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        // Brokers before the controller, so that none waits for it.
        for broker in self.brokers.iter_mut().rev() {
            broker.kill();
        }
    }
}

impl Broker {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The folder with Kafka's jars, fetched where it is not there yet.
///
/// # Errors
/// [`KafkaServerError`].
pub fn libs() -> Result<PathBuf, KafkaServerError> {
    if let Some(libs) = std::env::var_os("PINLEAF_KAFKA_LIBS") {
        return Ok(libs.into());
    }
    let cache = match (
        std::env::var_os("PINLEAF_TEST_CACHE"),
        std::env::var_os("HOME"),
    ) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache/pinleaf-tests"),
        (None, None) => std::env::temp_dir().join("pinleaf-tests"),
    };
    let home = cache.join(format!("kafka-{VERSION}"));
    let (libs, complete) = (home.join("libs"), home.join("complete"));
    if complete.exists() {
        return Ok(libs);
    }
    let io = |source| KafkaServerError::Io {
        doing: format!("fetching Kafka into {}", home.display()),
        source,
    };
    fs::create_dir_all(&home).map_err(io)?;
    let dependencies: String = [
        ("org.apache.kafka", "kafka_2.13", VERSION),
        ("org.apache.kafka", "kafka-tools", VERSION),
        ("org.slf4j", "slf4j-nop", "1.7.36"),
    ]
    .iter()
    .map(|(group, name, version)| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
             <version>{version}</version></dependency>"
        )
    })
    .collect();
    let pom = home.join("pom.xml");
    fs::write(
        &pom,
        format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>p</groupId><artifactId>p</artifactId>\
             <version>1</version><dependencies>{dependencies}</dependencies></project>"
        ),
    )
    .map_err(io)?;
    run(Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", libs.display())))?;
    fs::write(&complete, "").map_err(io)?;
    Ok(libs)
}

/// A loopback port that was free a moment ago.
///
/// # Errors
/// [`KafkaServerError::Io`].
pub fn free_port() -> Result<u16, KafkaServerError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|addr| addr.port())
        .map_err(|source| KafkaServerError::Io {
            doing: "looking for a free port".to_owned(),
            source,
        })
}

fn run(command: &mut Command) -> Result<Output, KafkaServerError> {
    let doing = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| KafkaServerError::Io {
            doing: doing.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(KafkaServerError::Failed {
        doing,
        output: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}
