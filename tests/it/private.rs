//! What is nobody else's: the modes of all files, and secrets, which reach no log, no view and no error.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::feed::{Feed, wait_for_rows};
use crate::node::{Node, binary};

const TIMEOUT: Duration = Duration::from_secs(60);
const ROWS: usize = 1_000;
/// In each secret of these tests, and nowhere else.
const SECRET: &str = "Geheim";

/// Asserts that a folder and all below it are for their owner alone; how many files and folders that are.
pub fn are_private(path: &Path) -> usize {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_dir() {
        assert_eq!(mode, 0o700, "{} is {mode:o}", path.display());
        let entries = fs::read_dir(path).unwrap();
        return 1 + entries
            .map(|entry| are_private(&entry.unwrap().path()))
            .sum::<usize>();
    }
    assert_eq!(mode, 0o600, "{} is {mode:o}", path.display());
    1
}

/// A pipeline that has loaded `ROWS` and one more.
fn load(node: &Node, feed: &Feed) {
    node.sql("CREATE DATABASE shop");
    node.sql("CREATE TABLE shop.notes (id BIGINT NOT NULL, note VARCHAR(20) NOT NULL)");
    let message = |id| format!("{{\"id\":{id},\"note\":\"note-{id:05}\"}}");
    feed.produce("notes", (0..ROWS).map(message));
    feed.load(node, "notes", "");
    wait_for_rows(node, "notes", ROWS);
    // A later commit vouches for the first: then recovery does not read it again.
    node.wait_for("the rows are durable", TIMEOUT, |node| {
        let durable = node.sql("SET pinleaf_read = durable; SELECT COUNT(*) FROM shop.notes");
        durable == [[ROWS.to_string()]]
    });
    feed.produce("notes", [message(ROWS)]);
    wait_for_rows(node, "notes", ROWS + 1);
}

/// The folder of the only leaf partition.
fn leaf_partition(node: &Node) -> std::path::PathBuf {
    let only = |path: &Path| fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    only(&only(&node.data_dir().join("tables")))
}

#[test]
fn mysql_cli_every_file_below_data_dir_is_its_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let feed = Feed::start(&home.path().join("log"), &["notes"]);
    let mut node = Node::new(&home.path().join("node"), "");
    // One that takes nothing away, and one that would lock its owner out.
    for (start, umask) in ["000", "377"].into_iter().enumerate() {
        node.set_umask(umask);
        node.start();
        if start == 0 {
            load(&node, &feed);
        } else {
            node.sql("CREATE TABLE shop.later (id BIGINT)");
            node.sql("SET GLOBAL pipelines_batch_interval = 1000");
        }
        // The catalog with its WAL, the lock, a segment: while it runs and afterwards.
        let found = are_private(&node.data_dir());
        println!("umask {umask}: {found} files and folders");
        assert!(found >= 8);
        node.stop();
        are_private(&node.data_dir());
    }
    // What is not known goes to orphans/, what is damaged to quarantine/, and leaves a hole.
    let segment = fs::read_dir(leaf_partition(&node)).unwrap().next().unwrap();
    let segment = segment.unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(10).position(|window| window == b"note-00007");
    bytes[at.unwrap()] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let unknown = node.data_dir().join("tables/77/78");
    fs::create_dir_all(&unknown).unwrap();
    fs::write(unknown.join("1.0.arrow"), "of somebody").unwrap();
    node.set_umask("000");
    node.start();
    node.wait_for("it is in quarantine", TIMEOUT, |node| {
        node.try_sql("SELECT COUNT(DISTINCT note) FROM shop.notes")
            .is_err_and(|error| error.contains("quarantine/"))
    });
    let names = |folder: &str| fs::read_dir(node.data_dir().join(folder)).unwrap().count();
    assert_eq!(names("orphans"), 1);
    assert_eq!(names("quarantine"), 2, "the segment and why");
    // What was moved is as it was found.
    fs::remove_dir_all(node.data_dir().join("orphans")).unwrap();
    are_private(&node.data_dir());
    node.stop();
}

#[test]
fn mysql_cli_no_secret_reaches_a_log_a_view_or_an_error() {
    let home = tempfile::tempdir().unwrap();
    let feed = Feed::start(&home.path().join("log"), &["notes"]);
    let in_file = home.path().join("bob.password");
    fs::write(&in_file, format!("{SECRET}-in-a-file\n")).unwrap();
    let users = format!(
        "[users]\nroot = \"\"\nann = \"{SECRET}-written\"\nbob = {{ file = \"{}\" }}\neve = {{ env = \"EVE\" }}\n",
        in_file.display()
    );
    let mut node = Node::new(
        &home.path().join("node"),
        &format!("{users}\n[log]\nlevel = \"debug\"\n"),
    );
    let in_environment = format!("{SECRET}-in-the-environment");
    node.set_environment("EVE", Path::new(&in_environment));
    node.start();
    load(&node, &feed);

    let mut said = Vec::new();
    for (user, password) in [
        ("ann", "-written"),
        ("bob", "-in-a-file"),
        ("eve", "-in-the-environment"),
        ("ann", "-wrong"),
    ] {
        said.push(client(
            &node,
            user,
            &format!("{SECRET}{password}"),
            "SELECT CURRENT_USER()",
        ));
    }
    for (ended, user) in said.iter().zip(["ann@", "bob@", "eve@"]) {
        assert!(ended.starts_with(user), "{ended}");
    }
    assert!(
        said[3].contains("Access denied for user 'ann'"),
        "{}",
        said[3]
    );
    // A password where the name belongs: the client hears its own words, the log does not.
    client(&node, &format!("{SECRET}-typed-as-a-name"), "", "SELECT 1");

    // Credentials and keys that are not taken, and statements that are none.
    let key = format!("{{\"sasl.password\": \"{SECRET}\"}}");
    let pipeline = "CREATE PIPELINE shop.p AS LOAD DATA";
    let rest = "INTO TABLE shop.notes FORMAT JSON";
    let config = format!("{pipeline} KAFKA 'h/t' CONFIG");
    for sql in [
        format!("CRATE USER ann IDENTIFIED BY '{SECRET}'"),
        format!("CRATE USER ann PASSWORD '{SECRET}'"),
        format!("{config} '\"sasl.password={SECRET}\"' {rest}"),
        format!("{config} '{{\"sasl.password\": \"{SECRET}\", \"sasl.password\": 1}}' {rest}"),
        format!("{config} '{{\"ssl.key.password\": \"{SECRET}' {rest}"),
        format!("{pipeline} KAFKA 'h/t' CREDENTIALS '{key}' {rest}"),
        format!("{pipeline} KAFKA 'h/t' CREDENTIALS '\"{SECRET}\"' {rest}"),
        format!("{pipeline} KAFKA 'h/t' CREDENTIALS '{{\"{SECRET}' {rest}"),
        format!("{pipeline} KAFKA 'h/t' CONFIG '{key}' {rest}"),
        format!("CRATE PIPELINE p CREDENTIALS '{key}'"),
        format!("{pipeline} KFKA 'h/t' CREDENTIALS '{key}' {rest}"),
        format!("{pipeline} KAFKA 'h/t' CREDENTIALS '{key}' INTO TABEL shop.notes"),
        format!("{pipeline} KAFKA 'h/t' INTO TABLE shop.notes FORMAT JSON CREDENTIALS '{key}"),
    ] {
        let ended = client(&node, "root", "", &format!("{sql};\nSHOW WARNINGS"));
        assert!(ended.contains("ERROR "), "{sql}: {ended}");
        // A string without an end takes what is behind it with it.
        let is_whole = sql.matches('\'').count() % 2 == 0;
        assert_eq!(ended.contains("Error\t"), is_whole, "{sql}: {ended}");
        // The client repeats the statement that failed: all else was said by the server.
        said.push(ended.replace(&sql, "(the statement)"));
    }
    // While such a statement runs it is in the process list.
    let hidden = format!("SELECT SLEEP(3600), 'CREDENTIALS {SECRET}'");
    let mut sleeps = node.mysql(&hidden);
    node.wait_for("it sleeps", TIMEOUT, |node| {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '(a statement with %'";
        node.cell(sql) == "1"
    });
    let mut shown = vec![
        "SHOW FULL PROCESSLIST".to_owned(),
        "SHOW VARIABLES".to_owned(),
        "SHOW STATUS".to_owned(),
        "SHOW GRANTS".to_owned(),
        "SHOW PIPELINES FROM shop".to_owned(),
        "SHOW CREATE PIPELINE shop.notes EXTENDED".to_owned(),
    ];
    let views = node.sql("SHOW TABLES FROM information_schema").concat();
    assert!(views.len() > 20);
    let all = views
        .iter()
        .map(|view| format!("SELECT * FROM information_schema.{view}"));
    shown.extend(all);
    for sql in &shown {
        for row in node.sql(sql) {
            said.push(format!("{sql}: {row:?}"));
        }
    }
    sleeps.kill().unwrap();
    sleeps.wait().unwrap();
    node.stop();
    said.push(node.log());
    for one in &said {
        assert!(!one.contains(SECRET), "{one}");
    }
    assert!(node.log().contains("DEBUG"), "{}", node.log());
    holds_none(&node.data_dir());
}

/// What the `mysql` command line says as this user, good or bad; behind an error it goes on in the next line, over
/// the same connection.
fn client(node: &Node, user: &str, password: &str, sql: &str) -> String {
    let mut client = Command::new(std::env::var_os("PINLEAF_MYSQL").expect("PINLEAF_MYSQL"))
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--force",
            "-h127.0.0.1",
            "-N",
            "-B",
            "-P",
        ])
        .arg(node.port().to_string())
        .args([&format!("-u{user}"), &format!("--password={password}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that is not let in does not read it.
    let _ = client.stdin.take().unwrap().write_all(sql.as_bytes());
    let ended = client.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// No file below holds one.
fn holds_none(path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            holds_none(&entry.unwrap().path());
        }
        return;
    }
    let bytes = fs::read(path).unwrap();
    let secret = SECRET.as_bytes();
    let found = bytes.windows(secret.len()).any(|window| window == secret);
    assert!(!found, "{}", path.display());
}

#[test]
fn a_start_that_cannot_be_shows_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("p.toml");
    let script = home.path().join("s.sql");
    fs::write(
        &script,
        format!("CRATE PIPELINE p CREDENTIALS '{{\"sasl.password\": \"{SECRET}\"}}';\n"),
    )
    .unwrap();
    let port = tests::kafka_server::free_port().unwrap();
    let listen = format!("[listen]\nmysql = \"127.0.0.1:{port}\"\n");
    for (text, says) in [
        (
            format!("[users]\nann = \"{SECRET}\nbob = \"\"\n"),
            "not TOML",
        ),
        (
            format!("[users]\nann = \"{SECRET}\"\nann = \"{SECRET}\"\n"),
            "not TOML",
        ),
        (
            format!("[users]\nann = {{ password = \"{SECRET}\" }}\n"),
            "must be a password",
        ),
        (
            format!("[users]\nann = [\"{SECRET}\"]\n"),
            "must be a password",
        ),
        (format!("[users]\nann = {SECRET}\n"), "not TOML"),
        (
            format!("[users]\nann = \"{SECRET}\"\nbob = 7\n"),
            "must be a password",
        ),
        (
            format!("startup_sql = \"s.sql\"\n{listen}[users]\nann = \"{SECRET}\"\n"),
            "s.sql:1: ",
        ),
    ] {
        fs::write(&config, format!("data_dir = \"data\"\n{text}")).unwrap();
        let ended = Command::new(binary())
            .arg("run")
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(says) && !said.contains(SECRET), "{said}");
    }
}
