//! Sessions against a real aggregator and catalog, without a broker: statements in, rows or the exact
//! error out.

use std::sync::Arc;
use std::time::Duration;

use arrow::util::display::array_value_to_string;
use futures::StreamExt;
use ingest::leaf::Views;
use ingest::leaf::order::{Order, Report};
use tokio::sync::mpsc;

use super::select::QueryMemory;
use super::*;
use crate::aggregator::{Aggregator, AggregatorConfig, LeafLink};
use crate::catalog::{Catalog, EngineVariables, FIRST_NODE};
use crate::limits::PARSE_BESIDE_BYTES;

pub(super) const NOW_UNIX_MS: i64 = 1_700_000_000_000;

struct StoppedClock;

impl crate::aggregator::Clock for StoppedClock {
    fn now_ms(&self) -> u64 {
        1_000
    }

    fn unix_ms(&self) -> i64 {
        NOW_UNIX_MS
    }
}

/// A leaf that takes every leaf partition, loads nothing and ends when it is asked to.
fn idle_leaf() -> LeafLink {
    let (say, reports) = mpsc::channel(16);
    let send = move |order: Order| match order {
        Order::Shutdown => say.try_send(Report::Ended).is_ok(),
        Order::Attach {
            generation,
            pairing,
            ..
        } => {
            let attached = Report::Attached {
                leaf_partition: pairing.leaf_partition,
                generation,
                lineage: pairing.lineage,
                durable: pairing.start_offset,
                recovery_us: 0,
                commits: 0,
                rows: 0,
            };
            say.try_send(attached).is_ok()
        }
        _ => true,
    };
    LeafLink {
        send: Box::new(send),
        reports,
    }
}

pub(super) struct Rig {
    engine: Arc<Engine>,
    _end: crate::aggregator::End,
    _directory: tempfile::TempDir,
}

async fn rig() -> Rig {
    let directory = tempfile::tempdir().expect("a directory");
    let catalog = Catalog::in_memory().expect("a catalog");
    rig_on(catalog, Views::new(), directory).await
}

pub(super) async fn rig_on(
    catalog: Catalog,
    views: Arc<Views>,
    directory: tempfile::TempDir,
) -> Rig {
    let config = AggregatorConfig {
        data_dir: directory.path().to_owned(),
        node: FIRST_NODE,
        variables: EngineVariables::default(),
    };
    let (aggregator, end) =
        Aggregator::start(config, catalog, vec![idle_leaf()], Arc::new(StoppedClock))
            .await
            .expect("an aggregator");
    let engine = Engine::new(EngineParts {
        processes: Processes::new(),
        clock: Arc::new(|| NOW_UNIX_MS * 1000),
        aggregator,
        views,
        memory: QueryMemory::new(64 << 20).expect("a pool"),
        query_runtime: tokio::runtime::Handle::current(),
        query_threads: 1,
        variables: EngineVariables::default(),
        facts: ServerFacts {
            pinleaf_version: "0.1.0".into(),
            hostname: "here".into(),
            port: 3306,
            data_dir: "/data".into(),
            max_allowed_packet_bytes: 67_108_864,
            max_connections: 100,
            wait_timeout_s: 600,
            net_read_timeout_s: 30,
            net_write_timeout_s: 60,
            connect_timeout_s: 10,
        },
    });
    Rig {
        engine,
        _end: end,
        _directory: directory,
    }
}

impl Rig {
    pub(super) fn session(&self) -> Session {
        let connection_id = self.engine.processes().next_id();
        let who = Identity {
            user: "root".into(),
            host: "127.0.0.1:5000".into(),
            connection_id,
        };
        Session::new(Arc::clone(&self.engine), who)
    }

    /// What queries hold of their memory.
    pub(super) fn memory_held(&self) -> usize {
        self.engine.parts().memory.bytes_held()
    }

    pub(super) fn memory_is_free(&self) -> bool {
        self.memory_held() == 0
    }

    pub(super) fn memory_max(&self) -> usize {
        self.engine.parts().memory.bytes_max()
    }

    /// A share of that memory.
    pub(super) fn memory_share(&self) -> super::select::Share {
        self.engine.parts().memory.share("a test")
    }

    /// Whether every audit has ended.
    pub(super) fn room_for_audit(&self) -> bool {
        let all = (0..crate::limits::AUDITS_MAX).map(|_| self.engine.room_for_audit());
        let all: Vec<_> = all.collect();
        all.iter().all(Option::is_some)
    }
}

/// An answer as text: `OK n` or a line per row, cells parted by `|`.
async fn text_of(answer: Answer) -> Result<String, SqlError> {
    match answer {
        Answer::Done(done) => Ok(format!("OK {}", done.affected_rows)),
        Answer::Rows(mut rows) => {
            let mut lines = Vec::new();
            while let Some(batch) = rows.batches.next().await {
                let batch = batch?;
                assert_eq!(batch.num_columns(), rows.columns.len(), "a column for each");
                for row in 0..batch.num_rows() {
                    let cells = batch.columns().iter().map(|column| {
                        if column.is_null(row) {
                            "NULL".to_owned()
                        } else {
                            array_value_to_string(column, row).expect("text")
                        }
                    });
                    lines.push(cells.collect::<Vec<_>>().join("|"));
                }
            }
            Ok(lines.join("\n"))
        }
    }
}

pub(super) async fn run(session: &mut Session, sql: &str) -> Result<String, SqlError> {
    text_of(session.execute(sql).await?).await
}

pub(super) async fn err(session: &mut Session, sql: &str) -> SqlError {
    match run(session, sql).await {
        Ok(text) => panic!("{sql}: {text}"),
        Err(error) => error,
    }
}

pub(super) async fn ok(session: &mut Session, sql: &str) -> String {
    match run(session, sql).await {
        Ok(text) => text,
        Err(fault) => panic!("{sql}: {} {}", fault.code, fault.message),
    }
}

/// Reference, section 8: each of these is answered, or a client does not connect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_send_at_connect_is_answered() {
    let rig = rig().await;
    let session = &mut rig.session();
    ok(session, "create database db").await;
    for (sql, expected) in [
        ("SET NAMES utf8mb4", Some("OK 0")),
        ("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci", Some("OK 0")),
        (
            "SET @@SESSION.enable_extended_types_metadata=on",
            Some("OK 0"),
        ),
        (
            "SET @@SESSION.vector_type_project_format=json",
            Some("OK 0"),
        ),
        (
            "SET @@SESSION.vector_type_project_format=binary",
            Some("OK 0"),
        ),
        ("SET AUTOCOMMIT = 1", Some("OK 0")),
        ("SELECT @@aggregator_id", Some("1")),
        ("set autocommit=true", Some("OK 0")),
        (
            "SELECT @@max_allowed_packet, @@aggregator_id, @@sql_select_limit, @@memsql_version",
            Some("67108864|1|18446744073709551615|8.0.36-pinleaf-0.1.0"),
        ),
        ("select database()", Some("NULL")),
        (
            "/* mysql-connector-j-8.4.0 */SELECT  @@session.auto_increment_increment AS auto_increment_increment, \
             @@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, \
             @@character_set_results AS character_set_results, @@character_set_server AS character_set_server, \
             @@collation_server AS collation_server, @@collation_connection AS collation_connection, \
             @@init_connect AS init_connect, @@interactive_timeout AS interactive_timeout, @@license AS license, \
             @@lower_case_table_names AS lower_case_table_names, @@max_allowed_packet AS max_allowed_packet, \
             @@net_write_timeout AS net_write_timeout, @@performance_schema AS performance_schema, \
             @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, @@time_zone AS time_zone, \
             @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout",
            None,
        ),
        ("SET character_set_results = NULL", Some("OK 0")),
        ("SET sql_mode='STRICT_TRANS_TABLES'", Some("OK 0")),
        ("SET time_zone = '+00:00'", Some("OK 0")),
        (
            "select table_name, table_type from information_schema.tables where table_schema = 'db'",
            Some(""),
        ),
        (
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'db'",
            Some(""),
        ),
        ("select @@version_comment limit 1", Some("Pinleaf 0.1.0")),
        ("show databases", Some("db\ninformation_schema")),
        ("use db", Some("OK 0")),
        ("show tables", Some("")),
        ("select USER()", Some("root@127.0.0.1")),
        ("SELECT DATABASE()", Some("db")),
        ("SHOW PIPELINES", Some("")),
        (
            "SHOW VARIABLES LIKE 'sql_mode'",
            Some("sql_mode|STRICT_TRANS_TABLES"),
        ),
        ("SHOW WARNINGS", Some("")),
        (
            "SHOW COLLATION LIKE 'utf8mb4_bin'",
            Some("utf8mb4_bin|utf8mb4|46|Yes|Yes|1|PAD SPACE"),
        ),
        (
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            Some("OK 0"),
        ),
        ("commit", Some("OK 0")),
        ("rollback", Some("OK 0")),
        ("select 1", Some("1")),
    ] {
        let text = ok(session, sql).await;
        if let Some(expected) = expected {
            assert_eq!(text, expected, "{sql}");
        }
    }
    assert!(session.autocommit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_made_shown_and_dropped() {
    let rig = rig().await;
    let session = &mut rig.session();
    for (sql, expected) in [
        ("create database db", "OK 1"),
        ("create database if not exists db", "OK 1"),
        (
            "show warnings",
            "Note|1007|Can't create database 'db'; database exists",
        ),
        ("use db", "OK 0"),
        (
            "create table orders (id bigint not null, price decimal(10,2) default 1.5 comment 'each', note varchar(20), shard key (id))",
            "OK 0",
        ),
        ("show tables", "orders"),
        ("show full tables like 'ord%'", "orders|BASE TABLE"),
        ("show tables where Tables_in_db = 'nope'", ""),
        (
            "describe orders",
            "id|bigint|NO||NULL|\nprice|decimal(10,2)|YES||1.5|\nnote|varchar(20)|YES||NULL|",
        ),
        ("desc orders price", "price|decimal(10,2)|YES||1.5|"),
        (
            "show columns from orders where `Null` = 'NO'",
            "id|bigint|NO||NULL|",
        ),
        (
            "show create table orders",
            "orders|CREATE TABLE `orders` (\n  `id` bigint NOT NULL,\n  `price` decimal(10,2) DEFAULT 1.5 COMMENT 'each',\n  \
             `note` varchar(20) DEFAULT NULL,\n  SHARD KEY (`id`)\n) ENGINE=Pinleaf DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        ),
        (
            "select table_schema, table_name, table_rows, create_time from information_schema.TABLES where table_type = 'BASE TABLE'",
            "db|orders|0|2023-11-14T22:13:20",
        ),
        (
            "select column_name, ordinal_position, data_type, numeric_precision from information_schema.columns \
             where table_name = 'orders' order by ordinal_position",
            "id|1|bigint|19\nprice|2|decimal|10\nnote|3|varchar|NULL",
        ),
        ("select id from orders", ""),
        (
            "create pipeline p as load data kafka '127.0.0.1:1/orders' batch_interval 20 skip parser errors \
             into table orders format json (id <- id, price <- a::b default 2)",
            "OK 0",
        ),
        ("show pipelines", "p|Stopped|False|NULL"),
        (
            "show create pipeline p",
            "p|CREATE PIPELINE `p`\nAS LOAD DATA KAFKA '127.0.0.1:1/orders'\nBATCH_INTERVAL 20\nSKIP PARSER ERRORS\n\
             INTO TABLE `orders`\nFORMAT JSON\n(\n  `id` <- `id`,\n  `price` <- `a`::`b` DEFAULT 2\n)",
        ),
        (
            "select database_name, pipeline_name, state, skipped_batch_partitions from information_schema.pipelines",
            "db|p|Stopped|0",
        ),
        (
            "select pipeline_name from information_schema.pipelines_partitions",
            "",
        ),
        (
            "select pipeline_name from information_schema.pipelines_batches",
            "",
        ),
        (
            "select pipeline_name from information_schema.pipelines_errors",
            "",
        ),
        (
            "select pipeline_name from information_schema.pipelines_cursors",
            "",
        ),
        ("set global pipelines_batch_interval = 50", "OK 0"),
        (
            "show variables like 'pipelines_batch_interval'",
            "pipelines_batch_interval|50",
        ),
        ("drop pipeline p", "OK 0"),
        ("drop pipeline if exists p", "OK 0"),
        ("show warnings", "Note|1971|Pipeline 'db.p' doesn't exist"),
        ("drop table if exists orders, nope", "OK 0"),
        ("show warnings", "Note|1051|Unknown table 'db.nope'"),
        ("drop database db", "OK 0"),
        ("select database()", "NULL"),
    ] {
        assert_eq!(ok(session, sql).await, expected, "{sql}");
    }
}

/// What drivers ask of a server that has no keys, routines, views of users, triggers and events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysqls_views_have_its_columns_and_what_there_is() {
    let rig = rig().await;
    let session = &mut rig.session();
    // Columns by MySQL 8's manual; rows.
    for (view, columns, rows) in [
        ("character_sets", 4, 2),
        ("collations", 7, 2),
        ("column_privileges", 7, 0),
        ("engines", 6, 1),
        ("events", 24, 0),
        ("key_column_usage", 12, 0),
        ("parameters", 16, 0),
        ("referential_constraints", 11, 0),
        ("routines", 31, 0),
        ("statistics", 18, 0),
        ("table_constraints", 7, 0),
        ("table_privileges", 6, 0),
        ("triggers", 22, 0),
        ("views", 10, 0),
    ] {
        let all = ok(session, &format!("select * from INFORMATION_SCHEMA.{view}")).await;
        assert_eq!(all.lines().count(), rows, "{view}: {all}");
        let counted = format!(
            "select count(*) from information_schema.columns where table_name = '{}'",
            view.to_uppercase()
        );
        assert_eq!(ok(session, &counted).await, columns.to_string(), "{view}");
    }
    for (sql, expected) in [
        (
            "select * from information_schema.engines",
            "Pinleaf|DEFAULT|Columnar segments, loaded by pipelines exactly once|NO|NO|NO",
        ),
        (
            "select collation_name from information_schema.collations join information_schema.character_sets \
             using (character_set_name) where maxlen = 4",
            "utf8mb4_bin",
        ),
        (
            "select word from information_schema.keywords where reserved = 1 and word like 'SELE%'",
            "SELECT",
        ),
    ] {
        assert_eq!(ok(session, sql).await, expected, "{sql}");
    }
}

/// The exact messages of docs/errors.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_has_mysqls_number_and_one_line() {
    let rig = rig().await;
    let session = &mut rig.session();
    for (sql, code, message) in [
        ("select 1 from t", 1046, "No database selected"),
        ("show tables", 1046, "No database selected"),
        ("create table t (a int)", 1046, "No database selected"),
        ("use nope", 1049, "Unknown database 'nope'"),
        (
            "drop database nope",
            1008,
            "Can't drop database 'nope'; database doesn't exist",
        ),
        (
            "create table nope.t (a int)",
            1049,
            "Unknown database 'nope'",
        ),
        (
            "create database information_schema",
            1044,
            "Access denied for user 'root' to database 'information_schema'",
        ),
        (
            "drop table information_schema.tables",
            1044,
            "Access denied for user 'root' to database 'information_schema'",
        ),
        (
            "select * from information_schema.nope",
            1146,
            "Table 'information_schema.nope' doesn't exist",
        ),
        ("kill 4711", 1094, "Unknown thread id: 4711"),
        ("kill 99999999999", 1094, "Unknown thread id: 99999999999"),
        (
            "set global wait_timeout = 5",
            1228,
            "Variable 'wait_timeout' is a SESSION variable and can't be used with SET GLOBAL",
        ),
        (
            "set global version = 5",
            1238,
            "Variable 'version' is a read only variable",
        ),
        (
            "set global pipelines_stop_on_error = maybe",
            1231,
            "Variable 'pipelines_stop_on_error' can't be set to the value of 'maybe': ON or OFF",
        ),
        ("select @@nope", 1193, "Unknown system variable 'nope'"),
    ] {
        let fault = run(session, sql).await.expect_err(sql);
        assert_eq!(
            (fault.code, fault.message.as_str()),
            (code, message),
            "{sql}"
        );
        let shown = ok(session, "show warnings").await;
        assert_eq!(shown, format!("Error|{code}|{message}"), "{sql}");
    }
    for sql in [
        "create database db",
        "use db",
        "create table t (a int not null)",
    ] {
        ok(session, sql).await;
    }
    for (sql, code, message) in [
        (
            "create database db",
            1007,
            "Can't create database 'db'; database exists",
        ),
        ("create table t (a int)", 1050, "Table 't' already exists"),
        ("drop table t, nope", 1051, "Unknown table 'db.nope'"),
        (
            "drop table t, nope, db.t",
            1066,
            "Not unique table/alias: 't'",
        ),
        ("truncate nope", 1146, "Table 'db.nope' doesn't exist"),
        ("describe nope", 1146, "Table 'db.nope' doesn't exist"),
        (
            "show create table nope",
            1146,
            "Table 'db.nope' doesn't exist",
        ),
        (
            "show create pipeline nope",
            1971,
            "Pipeline 'db.nope' doesn't exist",
        ),
        (
            "start pipeline nope",
            1971,
            "Pipeline 'db.nope' doesn't exist",
        ),
        (
            "create pipeline p as load data kafka 'h/t' into table nope format json",
            1146,
            "Table 'db.nope' doesn't exist",
        ),
        (
            "create pipeline p as load data kafka 'h/t' into table t format json (b <- b)",
            1054,
            "Unknown column 'b' in the mapping of table 't'",
        ),
        (
            "set autocommit = 0, sql_mode = 'ANSI_QUOTES'",
            1231,
            "Variable 'sql_mode' can't be set to the value of 'ANSI_QUOTES': ANSI_QUOTES would change what statements mean, and is not supported yet",
        ),
    ] {
        let fault = run(session, sql).await.expect_err(sql);
        assert_eq!(
            (fault.code, fault.message.as_str()),
            (code, message),
            "{sql}"
        );
    }
    assert!(session.autocommit(), "a SET that fails changes nothing");
    assert_eq!(
        ok(session, "show tables").await,
        "t",
        "a DROP that fails drops nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_take_values_and_are_forgotten() {
    let rig = rig().await;
    let session = &mut rig.session();
    let prepared = session.prepare("select ?, 1, length(?)").await;
    let prepared = prepared.expect("prepares");
    assert_eq!((prepared.id, prepared.params), (1, 2));
    let answer = session
        .execute_prepared(1, vec![Value::Int(7), Value::Bytes(b"ab".to_vec())])
        .await
        .expect("runs");
    let Answer::Rows(rows) = &answer else {
        panic!("rows")
    };
    // The same as before there were values.
    let names = |columns: &[ResultColumn]| {
        let names = columns.iter().map(|column| column.name.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&rows.columns), ["?", "1", "length(?)"]);
    assert_eq!(names(&prepared.columns), names(&rows.columns));
    assert_eq!(text_of(answer).await.as_deref(), Ok("7|1|2"));
    let fault = session
        .execute_prepared(1, Vec::new())
        .await
        .err()
        .expect("no value");
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (1210, "Incorrect arguments to EXECUTE")
    );
    let told = "Error|1210|Incorrect arguments to EXECUTE";
    assert_eq!(ok(session, "show warnings").await, told);
    session.close_prepared(1);
    let fault = session
        .execute_prepared(1, vec![Value::Null])
        .await
        .err()
        .expect("closed");
    assert_eq!(fault.code, 1243);
    let told = ok(session, "show warnings").await;
    assert_eq!(told, format!("Error|1243|{}", fault.message));
    let fault = session
        .prepare("set autocommit = ?")
        .await
        .expect_err("no query");
    assert_eq!(fault.code, 1295);
    assert_eq!(rig.engine.parts().memory.bytes_held(), 0);
    let shown = session.prepare("show databases").await.expect("prepares");
    assert_eq!(
        (shown.id, shown.params, shown.columns[0].name.as_str()),
        (2, 0, "Database")
    );
    for _ in 1..crate::limits::PREPARED_STATEMENTS_MAX {
        session.prepare("begin").await.expect("room");
    }
    assert_eq!(session.prepare("begin").await.expect_err("full").code, 1461);
    session.reset();
    session.prepare("begin").await.expect("room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_texts_are_bounded_together_and_few_are_kept_parsed() {
    use crate::limits::{
        PARSED_BASE_BYTES, PARSED_COPIES, PREPARED_PARSED_BYTES_MAX, PREPARED_TEXT_BYTES_MAX,
    };
    let rig = rig().await;
    let session = &mut rig.session();
    let long = |bytes: usize| format!("select ? /*{}*/", "x".repeat(bytes - 13));
    // Two that are kept parsed together fill that; the third is parsed again when it runs.
    let half = long(PREPARED_PARSED_BYTES_MAX / 2 / PARSED_COPIES - PARSED_BASE_BYTES);
    for id in 1..=3 {
        assert_eq!(session.prepare(&half).await.expect("room").id, id);
        let answer = session.execute_prepared(id, vec![Value::Int(id.into())]);
        let text = text_of(answer.await.expect("runs")).await;
        assert_eq!(text, Ok(id.to_string()));
    }
    assert_eq!(session.kept_parsed(), 2);
    let mut rest = PREPARED_TEXT_BYTES_MAX - 3 * half.len();
    while rest > 0 {
        // So much as parsing it leaves of the rig's pool.
        let one = rest.min(4 << 20);
        session.prepare(&long(one)).await.expect("room");
        rest -= one;
    }
    let fault = session.prepare("begin").await.expect_err("full");
    assert_eq!(fault.code, 1461);
    assert!(fault.message.contains("16777216 bytes together"), "{fault}");
    session.close_prepared(1);
    session.prepare(&half).await.expect("room again");
    assert_eq!(session.kept_parsed(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_its_variables_and_its_limit() {
    let rig = rig().await;
    let session = &mut rig.session();
    for (sql, expected) in [
        ("set @a = 1 + 1, @b = 'x'", "OK 0"),
        ("select @a, @b, @c", "2|x|NULL"),
        ("set sql_select_limit = 2", "OK 0"),
        (
            "select table_name from information_schema.tables order by 1",
            "CHARACTER_SETS\nCOLLATIONS",
        ),
        (
            "select table_name from information_schema.tables order by 1 limit 3",
            "CHARACTER_SETS\nCOLLATIONS\nCOLUMNS",
        ),
        ("set sql_select_limit = default", "OK 0"),
        ("select @@pinleaf_read", "latest"),
        ("set pinleaf_read = durable", "OK 0"),
        ("select @@pinleaf_read", "durable"),
        ("begin", "OK 0"),
        ("show count(*) warnings", "1"),
    ] {
        assert_eq!(ok(session, sql).await, expected, "{sql}");
    }
    session.reset();
    assert_eq!(
        ok(session, "select @@pinleaf_read, @a").await,
        "latest|NULL"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_an_error_is_what_a_client_is_shown() {
    use crate::limits::ERROR_BYTES_MAX;
    let rig = rig().await;
    let session = &mut rig.session();
    let unknown = format!("use {}", "d".repeat(2 * ERROR_BYTES_MAX));
    let fault = run(session, &unknown).await.expect_err("unknown");
    assert!(fault.message.len() > fault.shown().len());
    let kept = ok(session, "show warnings").await;
    assert_eq!(kept, format!("Error|1049|{}", fault.shown()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_reserves_its_parse_tree_and_variables_are_bounded_together() {
    use crate::limits::{PARSED_TOKEN_BYTES, USER_VARIABLE_BYTES_MAX, USER_VARIABLES_BYTES_MAX};
    let rig = rig().await;
    let session = &mut rig.session();
    // The rig's pool has 64 MiB; a long string is one token.
    let tokens = (64 << 20) / PARSED_TOKEN_BYTES;
    let fault = run(session, &format!("select {}1", "1,".repeat(tokens / 2)))
        .await
        .expect_err("too many tokens");
    assert_eq!(fault.code, 1038);
    assert_eq!(
        ok(session, "show errors").await,
        format!("Error|1038|{}", fault.message)
    );
    let long = format!("select length('{}')", "x".repeat(tokens * 2));
    assert_eq!(ok(session, &long).await, (tokens * 2).to_string());
    for at in 0..USER_VARIABLES_BYTES_MAX / USER_VARIABLE_BYTES_MAX {
        let sql = format!("set @v{at} = repeat('x', {USER_VARIABLE_BYTES_MAX})");
        ok(session, &sql).await;
    }
    ok(session, "set @v0 = repeat('y', 1000000)").await;
    let one_more = format!("set @more = repeat('x', {USER_VARIABLE_BYTES_MAX})");
    let fault = run(session, &one_more).await.expect_err("full");
    assert_eq!(fault.code, 1104);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_ends_what_streams_and_the_list_shows_who_is_there() {
    let rig = rig().await;
    let (one, two) = (&mut rig.session(), &mut rig.session());
    let Ok(Answer::Rows(mut rows)) = one.execute("select 1").await else {
        panic!("rows")
    };
    let listed = ok(two, "show processlist").await;
    assert_eq!(
        listed,
        "1|root|127.0.0.1:5000|NULL|Query|0|sending|select 1\n2|root|127.0.0.1:5000|NULL|Query|0|executing|show processlist"
    );
    ok(two, "kill query 1").await;
    let fault = rows
        .batches
        .next()
        .await
        .expect("an end")
        .expect_err("killed");
    assert_eq!((fault.code, fault.state), (1317, "70100"));
    assert!(rows.batches.next().await.is_none());
    drop(rows);
    assert_eq!(ok(one, "select 2").await, "2");
    assert!(!one.kill_watch().is_connection_killed());
    ok(two, "kill 1").await;
    assert!(one.kill_watch().is_connection_killed());
}

/// Of a parse that goes on though nobody waits for it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_parse_reserves_is_given_back_when_it_ends() {
    static GATE: std::sync::Barrier = std::sync::Barrier::new(2);
    let rig = rig().await;
    let session = rig.session();
    let memory = &rig.engine.parts().memory;
    let long = "x".repeat(PARSE_BESIDE_BYTES);
    let mut read = Box::pin(session.read(&long, |_| {
        GATE.wait();
        Ok(())
    }));
    assert!(futures::poll!(&mut read).is_pending());
    drop(read);
    let held = memory.bytes_held();
    GATE.wait();
    assert_eq!(held, parse::parsed_bytes(&long));
    all_is_given_back(memory).await;
}

async fn all_is_given_back(memory: &QueryMemory) {
    let given_back = async {
        while memory.bytes_held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), given_back).await;
    assert!(waited.is_ok(), "{} bytes", memory.bytes_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_text_is_listed_and_killed_while_it_is_parsed() {
    let rig = rig().await;
    let (one, two) = (&mut rig.session(), &mut rig.session());
    let long = format!("select {}1", "1111111,".repeat(PARSE_BESIDE_BYTES / 8));
    let memory = &rig.engine.parts().memory;
    for prepares in [false, true] {
        let work = async {
            match prepares {
                true => one.prepare(&long).await.map(|_| ()),
                false => one.execute(&long).await.map(|_| ()),
            }
        };
        let mut work = std::pin::pin!(work);
        assert!(futures::poll!(&mut work).is_pending());
        assert!(memory.bytes_held() > 0);
        let listed = ok(two, "show processlist").await;
        assert!(listed.contains("|executing|select 1111111,1"), "{listed}");
        ok(two, "kill query 1").await;
        assert_eq!(work.await.expect_err("killed").code, 1317);
        all_is_given_back(memory).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_list_is_mysqls() {
    let rig = rig().await;
    let session = &mut rig.session();
    assert_eq!(
        session
            .field_list("t", "")
            .await
            .expect_err("no database")
            .code,
        1046
    );
    for sql in [
        "create database db",
        "use db",
        "create table t (a int not null, ab varchar(3), c double)",
    ] {
        ok(session, sql).await;
    }
    let columns = session.field_list("t", "a%").await.expect("columns");
    let shown: Vec<_> = columns
        .iter()
        .map(|c| (c.name.as_str(), c.type_code, c.flags & 1, c.table.as_str()))
        .collect();
    assert_eq!(shown, [("a", 3, 1, "t"), ("ab", 253, 0, "t")]);
    assert_eq!(
        session
            .field_list("nope", "")
            .await
            .expect_err("no table")
            .code,
        1146
    );
}
