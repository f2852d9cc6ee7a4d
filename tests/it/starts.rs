//! Starts that cannot be: each is one exact line and exit code 1, before anything was written. And the
//! commands that only look.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::kafka_server::free_port;

use crate::node::{Node, binary, cpus};

/// A folder with a configuration, and whatever else a test puts there.
struct Place {
    home: TempDir,
}

impl Place {
    /// Each gets an address of its own to listen on, unless `text` names one.
    fn new(text: &str) -> Place {
        let home = tempfile::tempdir().unwrap();
        let listen = match text.contains("[listen]") {
            true => String::new(),
            false => format!("[listen]\nmysql = \"127.0.0.1:{}\"\n", free_port().unwrap()),
        };
        fs::write(home.path().join("p.toml"), format!("{text}{listen}")).unwrap();
        Place { home }
    }

    /// The path of a file in it.
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn names(&self) -> BTreeSet<String> {
        names(self.home.path())
    }

    /// `pinleaf run` must be refused with this line after `pinleaf: `, `{}` being the configuration's
    /// path, and must leave the folder as it was.
    fn is_refused(&self, line: &str) {
        self.is_refused_as(Command::new(binary()).arg("run"), line);
    }

    fn is_refused_as(&self, command: &mut Command, line: &str) {
        let before = self.names();
        let ended = command
            .arg(self.path("p.toml"))
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        is_refusal(&ended, &self.line(line));
        assert_eq!(self.names(), before, "something was written");
    }

    /// What `pinleaf check` says of a configuration that is valid. It must leave the folder as it was.
    fn checked(&self) -> String {
        let before = self.names();
        let ended = Command::new(binary())
            .arg("check")
            .arg(self.path("p.toml"))
            .output()
            .unwrap();
        assert!(
            ended.status.success() && ended.stderr.is_empty(),
            "{ended:?}"
        );
        assert_eq!(self.names(), before, "something was written");
        String::from_utf8_lossy(&ended.stdout).into_owned()
    }

    fn line(&self, line: &str) -> String {
        line.replace("{}", &self.path("p.toml").display().to_string())
    }
}

/// Every file and folder below a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(names(&path));
        }
        found.insert(path.display().to_string());
    }
    found
}

fn is_refusal(ended: &Output, line: &str) {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(said, format!("pinleaf: {line}\n"));
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

fn shown(cpus: &[usize]) -> String {
    cpus.iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn a_start_on_an_unknown_key_is_refused() {
    Place::new("data_dir = \"data\"\ncolour = \"red\"\n").is_refused(
        "{}:2: unknown key colour at the top; known are data_dir, startup_sql, [cores], [listen], [users], \
         [memory], [storage], [variables], [server], [log]",
    );
    Place::new("data_dir = \"data\"\n[cores]\nleaf = [0]\n")
        .is_refused("{}:3: unknown key leaf in [cores]; known are control, leaves, query, spin");
}

#[test]
fn a_start_on_a_wrong_type_is_refused() {
    Place::new("data_dir = \"data\"\n[cores]\nleaves = \"all\"\n").is_refused(
        "{}:3: [cores] leaves must be a list of CPU numbers such as [1, 2], or \"auto\", found a string",
    );
}

#[test]
fn a_start_on_a_cpu_that_does_not_exist_is_refused() {
    for (key, value) in [
        ("control", "1023"),
        ("leaves", "[1023]"),
        ("query", "[1023]"),
    ] {
        Place::new(&format!("data_dir = \"data\"\n[cores]\n{key} = {value}\n")).is_refused(
            &format!(
                "{{}}:3: [cores] {key}: CPU 1023 is not for this process; it may use {}",
                shown(&cpus())
            ),
        );
    }
}

#[test]
fn a_start_on_a_port_in_use_is_refused() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    Place::new(&format!("data_dir = \"data\"\n[listen]\nmysql = \"{address}\"\n")).is_refused(&format!(
        "[listen] mysql = \"{address}\": Address already in use (os error 98); stop what listens there or name \
         another port"
    ));
}

#[test]
fn mysql_cli_a_start_on_a_data_directory_of_another_process_is_refused() {
    let place = Place::new("data_dir = \"node/data\"\n");
    let mut node = Node::new(&place.path("node"), "");
    node.start();
    let held = place.path("node/data");
    place.is_refused(&format!(
        "data_dir {} is held by another process (process {}); stop it or name another data_dir",
        held.display(),
        node.pid()
    ));
    assert_eq!(node.cell("SELECT 1"), "1", "the holder goes on");
    node.stop();
}

#[test]
fn a_start_with_too_little_locked_memory_is_refused() {
    let place = Place::new(&format!(
        "data_dir = \"data\"\n[cores]\nleaves = [{}]\n",
        cpus()[0]
    ));
    let shell = |command: &str| {
        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                &format!("ulimit -l 64 && exec \"$0\" {command} \"$1\""),
            ])
            .arg(binary());
        shell
    };
    let line = "1 leaf needs 512 KiB of locked memory and the limit is 64 KiB; set `ulimit -l 512` \
                (LimitMEMLOCK= in a service file), or configure fewer [cores] leaves";
    place.is_refused_as(&mut shell("run"), line);
    place.is_refused_as(&mut shell("check"), line);
}

#[test]
fn python_a_start_without_io_uring_is_refused() {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut command = Command::new(env::var_os("PINLEAF_PYTHON").expect("PINLEAF_PYTHON"));
    command
        .arg(peers.join("without_io_uring.py"))
        .arg(binary())
        .arg("run");
    Place::new("data_dir = \"data\"\n").is_refused_as(
        &mut command,
        "io_uring cannot be used: Operation not permitted (os error 1); run on Linux 5.8 or newer, with \
         io_uring_setup allowed by the container's seccomp profile",
    );
}

#[test]
fn a_start_beyond_loopback_with_an_empty_password_is_refused() {
    let listen = "[listen]\nmysql = \"0.0.0.0:3306\"\n";
    Place::new(&format!("data_dir = \"data\"\n{listen}")).is_refused(
        "{}:3: [listen] mysql = \"0.0.0.0:3306\" is beyond loopback and user root has an empty password; give \
         [users] root a password or listen on 127.0.0.1",
    );
    Place::new(&format!("data_dir = \"data\"\n{listen}[users]\nann = \"secret\"\nbob = \"\"\n")).is_refused(
        "{}:3: [listen] mysql = \"0.0.0.0:3306\" is beyond loopback and user bob has an empty password; give \
         [users] bob a password or listen on 127.0.0.1",
    );
}

#[test]
fn a_start_on_no_configuration_or_no_data_dir_is_refused() {
    let place = Place::new("");
    place.is_refused("{}: data_dir is missing: name the directory that is to hold the data");
    fs::remove_file(place.path("p.toml")).unwrap();
    place.is_refused(
        "{}: cannot be read: No such file or directory (os error 2); give the path of a configuration file",
    );
}

#[test]
fn a_start_on_a_startup_sql_that_is_not_there_is_refused() {
    let place = Place::new("data_dir = \"data\"\nstartup_sql = \"s.sql\"\n");
    let line = format!(
        "{}: startup_sql cannot be read: No such file or directory (os error 2); give the path of a file of SQL",
        place.path("s.sql").display()
    );
    place.is_refused(&line);
    place.is_refused_as(Command::new(binary()).arg("check"), &line);
}

#[test]
fn a_start_on_more_memory_than_there_is_is_refused() {
    let place = Place::new("data_dir = \"data\"\n[memory]\nquery_bytes = 17592186044416\n");
    for command in ["run", "check"] {
        let before = place.names();
        let ended = Command::new(binary())
            .arg(command)
            .arg(place.path("p.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        let begins = place.line("pinleaf: {}: [memory] adds up to ");
        let ends = " MiB: lower leaf_bytes or query_bytes, or give it more\n";
        assert!(said.starts_with(&begins) && said.ends_with(ends), "{said}");
        assert_eq!((ended.status.code(), said.lines().count()), (Some(1), 1));
        assert_eq!(place.names(), before);
    }
}

#[test]
fn check_reads_startup_sql_and_runs_nothing() {
    let place = Place::new("data_dir = \"data\"\nstartup_sql = \"s.sql\"\n");
    let script = place.path("s.sql");
    fs::write(&script, "CREATE DATABASE d;\nSELEC 1;\n").unwrap();
    let line = format!(
        "{}:2: You have an error in your SQL syntax; check the manual that corresponds to your Pinleaf version for \
         the right syntax to use near 'SELEC 1' at line 1",
        script.display()
    );
    place.is_refused_as(Command::new(binary()).arg("check"), &line);
    fs::write(&script, "CREATE DATABASE d;\n\nUSE 'd;\n").unwrap();
    let line = format!(
        "{}:3: You have an error in your SQL syntax: a quote is not closed, at line 3",
        script.display()
    );
    place.is_refused_as(Command::new(binary()).arg("check"), &line);
    // What a statement refers to may be made by another before it.
    fs::write(&script, "CREATE DATABASE d;\nUSE d;\nSELECT a FROM t;\n").unwrap();
    let line = format!("startup_sql     {}, 3 statements\n", script.display());
    let said = place.checked();
    assert!(said.contains(&line), "{said}");
}

#[test]
fn mysql_cli_a_start_on_a_failing_statement_names_file_and_line_and_keeps_those_before() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "");
    let config = home.path().join("pinleaf.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("startup_sql = \"s.sql\"\n{text}")).unwrap();
    let script = home.path().join("s.sql");
    let before = "CREATE DATABASE IF NOT EXISTS first;\n-- a comment\n\n";
    fs::write(
        &script,
        format!("{before}SELEC 1;\nCREATE DATABASE second;\n"),
    )
    .unwrap();
    let ended = Command::new(binary())
        .arg("run")
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    let line = format!(
        "pinleaf: {}:4: You have an error in your SQL syntax; check the manual that corresponds to your Pinleaf \
         version for the right syntax to use near 'SELEC 1' at line 1",
        script.display()
    );
    assert_eq!(said.lines().last(), Some(line.as_str()), "{said}");
    // Mended, it starts, twice: what stands in the file is idempotent.
    fs::write(&script, before).unwrap();
    for _ in 0..2 {
        node.start();
        let databases: Vec<String> = node.sql("SHOW DATABASES").into_iter().flatten().collect();
        assert!(databases.contains(&"first".to_owned()), "{databases:?}");
        assert!(!databases.contains(&"second".to_owned()), "{databases:?}");
        node.stop();
    }
}

#[test]
fn mysql_cli_sigterm_drains_and_ends_with_0() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    // It asserts the exit code.
    node.stop();
    let log = node.log();
    let last = log.lines().last().unwrap();
    assert!(last.ends_with("stopped"), "{log}");
    node.start();
    assert_eq!(node.sql("SHOW DATABASES LIKE 'shop'"), [["shop"]]);
    node.stop();
}

#[test]
fn check_prints_what_run_would_do_and_touches_nothing() {
    let cpu = cpus()[0];
    let port = free_port().unwrap();
    let place = Place::new(&format!(
        "data_dir = \"data\"\n[cores]\ncontrol = {cpu}\nleaves = [{cpu}]\nquery = [{cpu}]\n\
         [users]\nann = \"hunter2\"\n[listen]\nmysql = \"127.0.0.1:{port}\"\n"
    ));
    let check = |taken: &str| {
        let expected = format!(
            "{{}} is valid\n\
             cores           control and connections on CPU {cpu}, 1 leaf on CPU {cpu}, queries on CPU {cpu}\n\
             MySQL           127.0.0.1:{port}{taken}\n\
             users           ann\n\
             data_dir        {}\n\
             startup_sql     none\n\
             memory          256 MiB per leaf, 1024 MiB for queries; 1424 MiB in all, beside what is stored and what \
             clients send\n",
            place.path("data").display()
        );
        assert_eq!(place.checked(), place.line(&expected));
    };
    check("");
    // As beside the server that it is to be the next configuration of.
    let _held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    check(", where something listens now: `run` needs it free");
}

#[test]
fn the_program_says_its_own_name_and_version() {
    let ended = Command::new(binary()).arg("--version").output().unwrap();
    let version = format!("pinleaf {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&ended.stdout), version);
}

#[test]
fn a_path_that_leads_to_something_else_is_refused() {
    let place = Place::new("data_dir = \"p.toml/data\"\n");
    let file = place.path("p.toml");
    let line = format!(
        "{{}}:1: data_dir = \"{0}/data\": {0} is not a directory; name a directory, which is made where it is missing",
        file.display()
    );
    place.is_refused(&line);
    place.is_refused_as(Command::new(binary()).arg("check"), &line);
    let place = Place::new("data_dir = \"data\"\nstartup_sql = \".\"\n");
    let line = format!(
        "{}: startup_sql cannot be read: Is a directory (os error 21); give the path of a file of SQL",
        place.path(".").display()
    );
    place.is_refused(&line);
    let place = Place::new("data_dir = \"data\"\nstartup_sql = \"/dev/zero\"\n");
    place.is_refused(
        "/dev/zero: startup_sql cannot be read: it is not a regular file; give the path of a file of SQL",
    );
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // 192.0.2.0/24 is nobody's: RFC 5737.
    Place::new(
        "data_dir = \"data\"\n[users]\nann = \"x\"\n[listen]\nmysql = \"192.0.2.1:3306\"\n",
    )
    .is_refused(
        "[listen] mysql = \"192.0.2.1:3306\": Cannot assign requested address (os error 99); name an address of \
         this machine, such as 127.0.0.1",
    );
}

#[test]
fn more_connections_than_open_files_are_refused() {
    let place = Place::new("data_dir = \"data\"\n[server]\nmax_connections = 1000\n");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 512 && exec \"$0\" run \"$1\""])
        .arg(binary());
    place.is_refused_as(
        &mut shell,
        "[server] max_connections = 1000 needs 2320 open files and the limit is 512; set `ulimit -n 2320` \
         (LimitNOFILE= in a service file), or allow fewer connections",
    );
}

#[test]
fn inspect_of_what_is_no_segment_says_so() {
    let place = Place::new("data_dir = \"data\"\n");
    let inspect = |name: &str| {
        Command::new(binary())
            .arg("inspect")
            .arg(place.path(name))
            .output()
            .unwrap()
    };
    let ended = inspect("p.toml");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        said.ends_with("damage: not an Arrow file: the magic is wrong at byte 0\nNOT SOUND\n"),
        "{said}"
    );
    assert_eq!(ended.status.code(), Some(2));
    let line = format!(
        "{}: open failed: No such file or directory (os error 2)",
        place.path("none.arrow").display()
    );
    is_refusal(&inspect("none.arrow"), &line);
}

/// `pinleaf ... | head`: no fault, and no bug.
#[test]
fn a_reader_that_has_gone_ends_a_command_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(binary())
        .args(["check", "--print-keys"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), vec![]));
}

#[test]
fn a_quickstart_whose_lines_nobody_reads_ends_with_every_row() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(binary())
        .args(["quickstart", "--rate", "1000", "--dir"])
        .arg(home.path().join("q"))
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), vec![]));
}

/// The kernel's device that is always full: what cannot be said is no success.
#[test]
fn a_standard_output_without_room_is_named() {
    let home = tempfile::tempdir().unwrap();
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let no_room = "standard output: No space left on device (os error 28)";
    let mut looks = Command::new(binary());
    looks.args(["check", "--print-keys"]);
    let mut shows = Command::new(binary());
    shows.args(["quickstart", "--rate", "1000", "--dir"]);
    shows.arg(home.path().join("q"));
    for command in [&mut looks, &mut shows] {
        let ended = command.stdout(full()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            (ended.status.code(), &*said),
            (Some(1), &*format!("pinleaf: {no_room}\n"))
        );
    }
}
