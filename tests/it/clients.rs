//! The clients people have, against a running node: the `mysql` command line, PyMySQL, Connector/J.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tests::record::record;

use crate::feed::{Feed, wait_for_rows};
use crate::node::Node;

/// Rows of the long result.
const ROWS: usize = 200_000;
const PASSWORD: &str = "Grüße 7";
/// Far beyond what an interrupted query takes, far below what the query would.
const KILL_TIMEOUT: Duration = Duration::from_secs(60);

const CREATE_TYPES: &str = "CREATE TABLE shop.types (id INT NOT NULL, tiny TINYINT, tiny_u TINYINT UNSIGNED, \
    small SMALLINT, small_u SMALLINT UNSIGNED, medium MEDIUMINT, medium_u MEDIUMINT UNSIGNED, whole INT, \
    whole_u INT UNSIGNED, big BIGINT, big_u BIGINT UNSIGNED, single FLOAT, duple DOUBLE, exact DECIMAL(38,12), \
    money DECIMAL(10,2), flag BOOL, fixed CHAR(10), varied VARCHAR(100), longer TEXT, day DATE, at0 DATETIME, \
    at3 DATETIME(3), at6 DATETIME(6), stamp TIMESTAMP, doc JSON)";

/// One row of every type at the edge of what it holds.
fn types_message() -> String {
    let varied = r#"tab\t quote' \" backslash\\ nul-free Zürich 🦀"#;
    format!(
        "{{\"id\":1,\"tiny\":-128,\"tiny_u\":255,\"small\":-32768,\"small_u\":65535,\"medium\":-8388608,\
         \"medium_u\":16777215,\"whole\":-2147483648,\"whole_u\":4294967295,\"big\":-9223372036854775808,\
         \"big_u\":18446744073709551615,\"single\":1.5,\"duple\":-1.25e100,\
         \"exact\":-12345678901234567890123456.789012345678,\"money\":0.1,\"flag\":true,\"fixed\":\"fünf\",\
         \"varied\":\"{varied}\",\"longer\":\"{}\",\"day\":\"2024-02-29\",\"at0\":\"2024-02-29T23:59:59Z\",\
         \"at3\":\"2024-02-29 23:59:59.123\",\"at6\":\"2024-02-29 23:59:59.123456\",\
         \"stamp\":\"1970-01-01 00:00:01\",\"doc\":{{\"a\":[1,null,\"ü\"]}}}}",
        "long ".repeat(5_000)
    )
}

/// All null but the id.
fn empty_message() -> String {
    let message: serde_json::Value = serde_json::from_str(&types_message()).unwrap();
    let columns = message.as_object().unwrap().keys();
    let nulls: Vec<String> = columns
        .map(|name| match name.as_str() {
            "id" => "\"id\":2".into(),
            name => format!("\"{name}\":null"),
        })
        .collect();
    format!("{{{}}}", nulls.join(","))
}

/// A node with users root and ann, with `shop.types` and, where rows are asked for, `shop.numbers`.
struct Shop {
    home: TempDir,
    node: Node,
    /// Where clients connect: the node's, or of a proxy that keeps what they send.
    port: u16,
    _feed: Feed,
}

impl Shop {
    fn open(rows: usize) -> Shop {
        let home = tempfile::tempdir().unwrap();
        let feed = Feed::start(&home.path().join("log"), &["types", "numbers"]);
        let users = format!("[users]\nroot = \"\"\nann = \"{PASSWORD}\"\n");
        let mut node = Node::new(&home.path().join("node"), &users);
        node.start();
        node.sql("CREATE DATABASE shop");
        node.sql(CREATE_TYPES);
        node.sql("CREATE TABLE shop.numbers (id BIGINT NOT NULL, text VARCHAR(20) NOT NULL COMMENT 'row and id')");
        feed.produce("types", [types_message(), empty_message()]);
        feed.load(&node, "types", "STOP_ON_ERROR ON");
        feed.produce(
            "numbers",
            (0..rows).map(|id| format!("{{\"id\":{id},\"text\":\"row {id}\"}}")),
        );
        feed.load(&node, "numbers", "STOP_ON_ERROR ON");
        wait_for_rows(&node, "types", 2);
        wait_for_rows(&node, "numbers", rows);
        Shop {
            home,
            port: port_for_clients(&node),
            node,
            _feed: feed,
        }
    }

    /// The `mysql` command line as people start it, with what is typed into it.
    fn mysql(&self, arguments: &[&str], typed: &str) -> Output {
        let script = self.home.path().join("typed.sql");
        fs::write(&script, typed).unwrap();
        mysql(self)
            .args(arguments)
            .stdin(fs::File::open(script).unwrap())
            .output()
            .unwrap()
    }

    /// What it printed; it must have ended well.
    fn typed(&self, arguments: &[&str], typed: &str) -> String {
        let ended = self.mysql(arguments, typed);
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    /// The error that it printed; it must have ended with 1.
    fn refused(&self, arguments: &[&str], typed: &str) -> String {
        let ended = self.mysql(arguments, typed);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        let error = said.lines().find(|line| line.starts_with("ERROR"));
        error.unwrap_or_else(|| panic!("{said}")).to_owned()
    }
}

/// With PINLEAF_RECORD, a folder, what each client sends is kept there.
fn port_for_clients(node: &Node) -> u16 {
    let Some(folder) = env::var_os("PINLEAF_RECORD") else {
        return node.port();
    };
    let test = std::thread::current();
    let name = test.name().unwrap_or_default().rsplit("::").next();
    record(Path::new(&folder), name.unwrap_or_default(), node.port()).unwrap()
}

fn mysql(shop: &Shop) -> Command {
    let mut client = Command::new(env::var_os("PINLEAF_MYSQL").expect("PINLEAF_MYSQL"));
    client
        .args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1"])
        .args(["--default-character-set=utf8mb4", "-P"])
        .arg(shop.port.to_string());
    client
}

fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name)
}

/// It must end well; what it printed is in the panic else.
fn ends_well(command: &mut Command) {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        ended.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[test]
fn mysql_cli_logs_in_with_and_without_a_password() {
    let shop = Shop::open(0);
    assert_eq!(
        shop.typed(&["-uroot", "-N"], "select user()"),
        "root@localhost\n"
    );
    let password = format!("-p{PASSWORD}");
    assert_eq!(
        shop.typed(&["-uann", &password, "-N"], "select user()"),
        "ann@localhost\n"
    );
    let denied =
        "ERROR 1045 (28000): Access denied for user 'ann'@'localhost' (using password: YES)";
    assert_eq!(shop.refused(&["-uann", "-pwrong"], ""), denied);
    let denied =
        "ERROR 1045 (28000): Access denied for user 'ann'@'localhost' (using password: NO)";
    assert_eq!(shop.refused(&["-uann", "--skip-password"], ""), denied);
    let denied =
        "ERROR 1045 (28000): Access denied for user 'eve'@'localhost' (using password: YES)";
    assert_eq!(shop.refused(&["-ueve", "-px"], ""), denied);
    assert_eq!(
        shop.refused(&["-uroot", "nope"], ""),
        "ERROR 1049 (42000): Unknown database 'nope'"
    );
    // The password that was given stands in no log.
    let log = shop.node.log();
    assert!(!log.contains(PASSWORD) && !log.contains("wrong"), "{log}");
}

#[test]
fn mysql_cli_shows_describes_and_selects() {
    let shop = Shop::open(3);
    // Without -A the client asks for every table's columns by COM_FIELD_LIST once it has a database.
    let shown = shop.typed(
        &["-uroot", "shop", "--table"],
        "show tables;\nselect id, text from numbers order by id;",
    );
    let expected = "+----------------+\n| Tables_in_shop |\n+----------------+\n| numbers        |\n| types          |\n\
                    +----------------+\n+----+-------+\n| id | text  |\n+----+-------+\n|  0 | row 0 |\n|  1 | row 1 |\n\
                    |  2 | row 2 |\n+----+-------+\n";
    assert_eq!(shown, expected);
    let completed = shop.typed(
        &["-uroot", "--auto-rehash", "shop"],
        "describe numbers;\nuse shop\nselect database();",
    );
    assert_eq!(
        completed,
        "Field\tType\tNull\tKey\tDefault\tExtra\nid\tbigint\tNO\t\tNULL\t\ntext\tvarchar(20)\tNO\t\tNULL\t\n\
         database()\nshop\n"
    );
    let types = shop.typed(
        &["-uroot", "shop", "-N"],
        "select tiny_u, big, big_u, exact, money, fixed, day, at0, at3, at6, stamp, doc from types order by id;",
    );
    let nulls = ["NULL"; 12].join("\t");
    assert_eq!(
        types,
        format!(
            "255\t-9223372036854775808\t18446744073709551615\t-12345678901234567890123456.789012345678\t0.10\tfünf\t\
             2024-02-29\t2024-02-29 23:59:59\t2024-02-29 23:59:59.123\t2024-02-29 23:59:59.123456\t\
             1970-01-01 00:00:01\t{{\"a\":[1,null,\"ü\"]}}\n{nulls}\n"
        )
    );
    let created = shop.typed(&["-uroot", "shop"], "show create table numbers\\G");
    assert!(
        created.contains("`text` varchar(20) NOT NULL COMMENT 'row and id'"),
        "{created}"
    );
    // `status` asks for a dozen variables and COM_STATISTICS.
    let status = shop.typed(&["-uroot", "shop"], "status\n");
    assert!(status.contains("Current database:\tshop"), "{status}");
}

#[test]
fn mysql_cli_sends_several_statements_at_once() {
    let shop = Shop::open(1);
    // With another delimiter the client sends them as one; they are answered in order, up to the error.
    let both = "delimiter //\nselect 1; select text from shop.numbers; select 2//\n";
    assert_eq!(shop.typed(&["-uroot", "-N"], both), "1\nrow 0\n2\n");
    let failing = "delimiter //\nselect 1; selec 2; create database after_it//\n";
    let ended = shop.mysql(&["-uroot", "-N"], failing);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "1\n");
    let said = String::from_utf8_lossy(&ended.stderr);
    let error = said.lines().find(|line| line.starts_with("ERROR"));
    assert!(
        error.is_some_and(|error| error.starts_with("ERROR 1064 (42000)")),
        "{said}"
    );
    assert!(shop.node.sql("SHOW DATABASES LIKE 'after_it'").is_empty());
}

#[test]
fn mysql_cli_unknown_statements_are_never_ok() {
    let shop = Shop::open(0);
    let codes = [
        ("selec", "1064 (42000)"),
        ("frobnicate the table", "1064 (42000)"),
        ("select nope from types", "1054 (42S22)"),
        ("select * from nope", "1146 (42S02)"),
        ("select nope(1)", "1305 (42000)"),
        ("use nope", "1049 (42000)"),
        ("show create table nope", "1146 (42S02)"),
        ("flush tables", "1235 (42000)"),
        ("lock tables types read", "1235 (42000)"),
        ("handler types open", "1235 (42000)"),
        ("insert into numbers values (1, 'x')", "1235 (42000)"),
        ("update numbers set id = 1", "1235 (42000)"),
        ("delete from numbers", "1235 (42000)"),
        ("create user bob", "1235 (42000)"),
        ("grant all on *.* to ann", "1235 (42000)"),
        ("load data infile 'x' into table numbers", "1235 (42000)"),
        ("optimize table numbers", "1235 (42000)"),
        ("create view v as select 1", "1235 (42000)"),
        ("alter table numbers add c int", "1235 (42000)"),
        ("set nope = 1", "1193 (HY000)"),
        ("kill 4711", "1094 (HY000)"),
    ];
    for (sql, code) in codes {
        let error = shop.refused(&["-uroot", "shop"], sql);
        assert!(
            error.starts_with(&format!("ERROR {code}")),
            "{sql}: {error}"
        );
    }
}

/// A client that sleeps in the server.
fn sleeping(shop: &Shop) -> Child {
    mysql(shop)
        .args(["-uroot", "-N", "-e", "select sleep(600)"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Its id, by SHOW PROCESSLIST, which waits for no query core.
fn of_the_sleeping(node: &Node) -> Option<String> {
    let running = node.sql("SHOW FULL PROCESSLIST");
    let mut found = running.iter().filter(|row| row[7] == "select sleep(600)");
    found.next().map(|row| row[0].clone())
}

#[test]
fn mysql_cli_kill_query_ends_a_long_one() {
    let shop = Shop::open(0);
    let long = sleeping(&shop);
    let began = Instant::now();
    let is_there = |node: &Node| of_the_sleeping(node).is_some();
    shop.node.wait_for("the query runs", KILL_TIMEOUT, is_there);
    let id = of_the_sleeping(&shop.node).unwrap();
    shop.node.sql(&format!("KILL QUERY {id}"));
    let ended = long.wait_with_output().unwrap();
    assert!(began.elapsed() < KILL_TIMEOUT);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    let error = "ERROR 1317 (70100) at line 1: Query execution was interrupted";
    assert!(said.lines().any(|line| line == error), "{said}");
}

#[test]
fn mysql_cli_a_query_ends_when_its_client_goes() {
    let shop = Shop::open(0);
    let mut long = sleeping(&shop);
    let is_there = |node: &Node| of_the_sleeping(node).is_some();
    shop.node.wait_for("the query runs", KILL_TIMEOUT, is_there);
    long.kill().unwrap();
    long.wait().unwrap();
    let is_gone = |node: &Node| of_the_sleeping(node).is_none();
    shop.node.wait_for("the query ends", KILL_TIMEOUT, is_gone);
}

#[test]
fn python_pymysql_logs_in_and_reads_and_asks() {
    let shop = Shop::open(ROWS);
    ends_well(
        Command::new(env::var_os("PINLEAF_PYTHON").expect("PINLEAF_PYTHON"))
            .arg(peer("pymysql_client.py"))
            .args([shop.port.to_string(), ROWS.to_string()]),
    );
}

#[test]
fn connector_j_prepares_and_reads() {
    let shop = Shop::open(ROWS);
    let jars = env::var("PINLEAF_CONNECTOR_J").expect("PINLEAF_CONNECTOR_J");
    ends_well(
        Command::new("java")
            .args(["-cp", &format!("{jars}/*")])
            .arg(peer("ConnectorJ.java"))
            .args([shop.port.to_string(), ROWS.to_string()]),
    );
}
