//! Every statement read, and every one refused: data in, what it says or the exact message out.

use ingest::pipeline::{Literal, Path, SkipErrors};

use super::*;
use crate::aggregator::OffsetsTo;
use crate::catalog::RetryOptions;

fn name(text: &str) -> ObjectName {
    match text.split_once('.') {
        Some((database, name)) => ObjectName {
            database: Some(database.into()),
            name: name.into(),
        },
        None => ObjectName {
            database: None,
            name: text.into(),
        },
    }
}

fn pipeline(sql: &str) -> CreatePipelineText {
    match parse(sql) {
        Ok(Statement::CreatePipeline(text)) => *text,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn create_pipeline_takes_every_clause() {
    let text = pipeline(
        "CREATE OR REPLACE PIPELINE IF NOT EXISTS db.`my p` AS LOAD DATA KAFKA 'a:1,b/orders'
           CONFIG '{\"client.id\": \"x\", \"operation.timeout.ms\": 5, \"spoof.dns\": {\"a:1\": \"b:2\"}}' CREDENTIALS '{}'
           BATCH_INTERVAL 20 MAX_PARTITIONS_PER_BATCH 3 MAX_RETRIES_PER_BATCH_PARTITION 0
           MAX_OFFSETS_PER_BATCH_PARTITION 1000
           RETRY_OPTIONS '{\"exponential\": false, \"retry_interval\": 5, \"max_retry_interval\": 50, \"max_retries\": 7}'
           SKIP PARSER ERRORS STOP_ON_ERROR OFF
           INTO TABLE `t` FORMAT JSON (
             `id` <- `a b`::c, -- a comment
             t.x <- % DEFAULT 'it''s',  # another
             y <- %::k DEFAULT -0.5,
             z<-q default null)",
    );
    assert_eq!(text.name, name("db.my p"));
    assert!(text.or_replace && text.if_not_exists);
    assert_eq!(
        (text.brokers, text.topic.as_str()),
        (vec!["a:1".to_owned(), "b".to_owned()], "orders")
    );
    let config: Vec<_> = text
        .config
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        config,
        [
            ("client.id", "x"),
            ("operation.timeout.ms", "5"),
            ("spoof.dns", "{\"a:1\":\"b:2\"}")
        ]
    );
    assert_eq!(text.batch_interval_ms, Some(20));
    assert_eq!(text.max_partitions_per_batch, Some(3));
    assert_eq!(text.max_retries_per_batch_partition, Some(0));
    assert_eq!(text.max_offsets_per_batch_partition, Some(1000));
    assert_eq!(
        text.retry_options,
        Some(RetryOptions {
            exponential: Some(false),
            retry_interval_ms: Some(5),
            max_retry_interval_ms: Some(50),
            max_retries: Some(7),
        })
    );
    assert_eq!(
        (text.skip_errors, text.stop_on_error),
        (SkipErrors::Parser, Some(false))
    );
    assert_eq!(text.table, name("t"));
    let element = |column: &str, path: &[&str], default: Option<Literal>| MappingElement {
        column: name(column),
        path: Path(path.iter().map(|key| (*key).to_owned()).collect()),
        default,
    };
    assert_eq!(
        text.mapping,
        Some(vec![
            element("id", &["a b", "c"], None),
            element("t.x", &[], Some(Literal::Text("it's".into()))),
            element("y", &["k"], Some(Literal::Number("-0.5".into()))),
            element("z", &["q"], Some(Literal::Null)),
        ])
    );
}

/// The places in which clauses stand in the wild: reference, section 1.
#[test]
fn create_pipeline_takes_clauses_in_every_order_in_use() {
    let expected = pipeline(
        "create pipeline p as load data kafka 'h/t' skip all errors into table t format json (a <- b)",
    );
    for sql in [
        "create pipeline p as load data kafka 'h/t' into table t (a <- b) format json skip all errors",
        "CREATE PIPELINE p AS LOAD DATA KAFKA \"h/t\" INTO TABLE t SKIP ALL ERRORS FORMAT JSON (`a` <- `b`);",
        "create pipeline p as load data kafka 'h/t' format json skip all errors into table t (a<-b)",
        "create pipeline `p` as load data kafka 'h' '/t' into table t format json (a <- b) skip all errors ;",
    ] {
        assert_eq!(pipeline(sql), expected, "{sql}");
    }
    let by_name = pipeline("create pipeline p as load data kafka 'h/t' into table t format json");
    assert_eq!(by_name.mapping, None);
}

#[test]
fn short_statements_are_read() {
    let cases: &[(&str, Statement)] = &[
        ("use db", Statement::Use("db".into())),
        ("USE `a b`;", Statement::Use("a b".into())),
        (
            "create database if not exists d default character set utf8mb4 collate utf8mb4_bin",
            Statement::CreateDatabase {
                name: "d".into(),
                if_not_exists: true,
            },
        ),
        (
            "create schema d",
            Statement::CreateDatabase {
                name: "d".into(),
                if_not_exists: false,
            },
        ),
        (
            "drop database if exists d",
            Statement::DropDatabase {
                name: "d".into(),
                if_exists: true,
            },
        ),
        (
            "drop table if exists a, d.b cascade",
            Statement::DropTable {
                names: vec![name("a"), name("d.b")],
                if_exists: true,
            },
        ),
        ("truncate table t", Statement::Truncate(name("t"))),
        ("truncate d.t", Statement::Truncate(name("d.t"))),
        (
            "kill 7",
            Statement::Kill {
                id: 7,
                query_only: false,
            },
        ),
        (
            "kill connection 7",
            Statement::Kill {
                id: 7,
                query_only: false,
            },
        ),
        (
            "KILL QUERY 7 1",
            Statement::Kill {
                id: 7,
                query_only: true,
            },
        ),
        ("begin", Statement::Begin),
        ("start transaction read only", Statement::Begin),
        ("commit", Statement::Commit),
        ("rollback work", Statement::Rollback),
        (
            "start pipeline if not running d.p foreground limit 3 batches",
            Statement::Pipeline(PipelineStatement::Start {
                name: name("d.p"),
                if_not_running: true,
                foreground: Some(Some(3)),
            }),
        ),
        (
            "start pipeline p foreground",
            Statement::Pipeline(PipelineStatement::Start {
                name: name("p"),
                if_not_running: false,
                foreground: Some(None),
            }),
        ),
        (
            "stop pipeline if running p",
            Statement::Pipeline(PipelineStatement::Stop {
                name: name("p"),
                if_running: true,
            }),
        ),
        (
            "drop pipeline if exists p",
            Statement::Pipeline(PipelineStatement::Drop {
                name: name("p"),
                if_exists: true,
            }),
        ),
        (
            "test pipeline p limit 5",
            Statement::Pipeline(PipelineStatement::Test {
                name: name("p"),
                limit: Some(5),
            }),
        ),
        (
            "audit pipeline p",
            Statement::Pipeline(PipelineStatement::Audit {
                name: name("p"),
                verify: false,
            }),
        ),
        (
            "AUDIT PIPELINE `p` VERIFY;",
            Statement::Pipeline(PipelineStatement::Audit {
                name: name("p"),
                verify: true,
            }),
        ),
        (
            "alter pipeline p set offsets earliest",
            Statement::Pipeline(PipelineStatement::Offsets {
                name: name("p"),
                to: OffsetsTo::Earliest,
            }),
        ),
        (
            "alter pipeline p set offsets LATEST",
            Statement::Pipeline(PipelineStatement::Offsets {
                name: name("p"),
                to: OffsetsTo::Latest,
            }),
        ),
        (
            "alter pipeline p set offsets '{\"0\": 100, \"3\": 0}'",
            Statement::Pipeline(PipelineStatement::Offsets {
                name: name("p"),
                to: OffsetsTo::Listed([(0, 100), (3, 0)].into()),
            }),
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(parse(sql).as_ref(), Ok(expected), "{sql}");
    }
}

#[test]
fn show_and_set_are_read() {
    let like = |pattern: &str| Filter::Like(pattern.into());
    let shows: &[(&str, Show)] = &[
        ("show databases like 'a%'", Show::Databases(like("a%"))),
        (
            "show full tables from d",
            Show::Tables {
                full: true,
                database: Some("d".into()),
                filter: Filter::All,
            },
        ),
        (
            "show tables where Tables_in_d = 'x' or 1;",
            Show::Tables {
                full: false,
                database: None,
                filter: Filter::Where("Tables_in_d = 'x' or 1".into()),
            },
        ),
        (
            "show full columns from t from d like 'x'",
            Show::Columns {
                full: true,
                table: name("d.t"),
                filter: like("x"),
            },
        ),
        (
            "desc d.t",
            Show::Columns {
                full: false,
                table: name("d.t"),
                filter: Filter::All,
            },
        ),
        (
            "explain t a_b",
            Show::Columns {
                full: false,
                table: name("t"),
                filter: like("a\\_b"),
            },
        ),
        (
            "show session variables like 'x'",
            Show::Variables {
                global: false,
                filter: like("x"),
            },
        ),
        ("show global status", Show::Status(Filter::All)),
        ("show create table t", Show::CreateTable(name("t"))),
        (
            "show create pipeline p extended",
            Show::CreatePipeline {
                name: name("p"),
                extended: true,
            },
        ),
        (
            "show pipelines",
            Show::Pipelines {
                database: None,
                filter: Filter::All,
            },
        ),
        (
            "show warnings limit 2, 3",
            Show::Warnings {
                errors_only: false,
                count: false,
                skip: 2,
                limit: 3,
            },
        ),
        (
            "show count(*) errors",
            Show::Warnings {
                errors_only: true,
                count: true,
                skip: 0,
                limit: u64::MAX,
            },
        ),
        ("show full processlist", Show::Processlist { full: true }),
        ("show character set", Show::CharacterSet(Filter::All)),
    ];
    for (sql, expected) in shows {
        assert_eq!(parse(sql), Ok(Statement::Show(expected.clone())), "{sql}");
    }
    let system = |global, name: &str, value| Assignment::System {
        global,
        name: name.into(),
        value,
    };
    let word = |text: &str| Assigned::Word(text.into());
    let expression = |text: &str| Assigned::Expression(text.into());
    let user = |name: &str, value| Assignment::User {
        name: name.into(),
        value,
    };
    let sets: &[(&str, &[Assignment])] = &[
        (
            "set names utf8mb4 collate 'utf8mb4_general_ci'",
            &[Assignment::Names {
                charset: Some("utf8mb4".into()),
                collation: Some("utf8mb4_general_ci".into()),
            }],
        ),
        (
            "SET AUTOCOMMIT = 0",
            &[system(false, "autocommit", expression("0"))],
        ),
        (
            "set autocommit=ON, @@global.x := default, @@session.y = latest",
            &[
                system(false, "autocommit", word("ON")),
                system(true, "x", Assigned::Default),
                system(false, "y", word("latest")),
            ],
        ),
        (
            "set global pipelines_batch_interval = 20",
            &[system(true, "pipelines_batch_interval", expression("20"))],
        ),
        (
            "SET @@SESSION.enable_extended_types_metadata=on",
            &[system(false, "enable_extended_types_metadata", word("on"))],
        ),
        (
            "set @a = concat('x', 1), @`b c` = @a",
            &[
                user("a", expression("concat('x', 1)")),
                user("b c", expression("@a")),
            ],
        ),
        (
            "SET sql_mode='STRICT_TRANS_TABLES'",
            &[system(
                false,
                "sql_mode",
                expression("'STRICT_TRANS_TABLES'"),
            )],
        ),
        (
            "set character_set_results = NULL",
            &[system(false, "character_set_results", expression("NULL"))],
        ),
        (
            "set session transaction isolation level read committed, read only",
            &[Assignment::Transaction {
                isolation: Some("read committed".into()),
                read_only: Some(true),
                global: false,
            }],
        ),
        (
            "/*!40101 SET NAMES utf8 */",
            &[Assignment::Names {
                charset: Some("utf8".into()),
                collation: None,
            }],
        ),
    ];
    for (sql, expected) in sets {
        assert_eq!(parse(sql), Ok(Statement::Set(expected.to_vec())), "{sql}");
    }
}

#[test]
fn create_table_takes_every_type() {
    let sql = "create table if not exists d.t (
        a tinyint, b tinyint unsigned, c smallint(5), d mediumint unsigned, e int, f integer unsigned, g bigint(20),
        h bigint unsigned not null default 7, i bool, j tinyint(1), k float, l double precision, m real,
        n decimal, o decimal(20), p numeric(38, 30), q char, r char(255), s varchar(16383) character set utf8mb4,
        t tinytext, u text, v mediumtext, w longtext, x date, y datetime, z datetime(3), aa timestamp(6) null,
        bb json comment 'it''s', cc varchar(3) collate utf8mb4_bin not null default 'abc',
        shard key (a, b), sort key (g desc, h)) comment = 'orders', engine=pinleaf default charset=utf8mb4";
    let Ok(Statement::CreateTable(table)) = parse(sql) else {
        panic!("{:?}", parse(sql))
    };
    let types: Vec<_> = table
        .spec
        .columns
        .iter()
        .map(|column| column.sql_type.to_string())
        .collect();
    assert_eq!(
        types.join(" "),
        "tinyint tinyint unsigned smallint mediumint unsigned int int unsigned bigint bigint unsigned tinyint(1) \
         tinyint(1) float double double decimal(10,0) decimal(20,0) decimal(38,30) char(1) char(255) varchar(16383) \
         tinytext text mediumtext longtext date datetime datetime(3) timestamp(6) json varchar(3)"
    );
    assert_eq!(table.spec.shard_key, Some(vec!["a".into(), "b".into()]));
    let sort: Vec<_> = table
        .spec
        .sort_key
        .iter()
        .flatten()
        .map(|part| (part.column.as_str(), part.descending))
        .collect();
    assert_eq!(sort, [("g", true), ("h", false)]);
    assert_eq!(
        (
            table.spec.comment.as_str(),
            table.spec.columns[27].comment.as_str()
        ),
        ("orders", "it's")
    );
    let last = table.spec.columns.last().expect("columns");
    assert_eq!(
        (last.nullable, &last.default),
        (false, &Some(Literal::Text("abc".into())))
    );
}

/// What is written by SHOW CREATE TABLE reads back as it was.
#[test]
fn a_table_shown_is_the_table_read() {
    let sql = "create table t (a bigint unsigned not null default 7 comment 'c''\\\\', `b ``x` varchar(4) default 'it''s',
        c decimal(5,2) default -1.50, d bool default true, e datetime(6)) comment 'orders'";
    let read = |sql: &str| {
        let Ok(Statement::CreateTable(table)) = parse(sql) else {
            panic!("{sql}: {:?}", parse(sql))
        };
        table.spec
    };
    let mut spec = read(sql);
    spec.shard_key = Some(vec!["a".into()]);
    spec.sort_key = Some(Vec::new());
    let table = crate::catalog::TableDef {
        id: storage::ids::TableId(1),
        database: crate::catalog::DatabaseId(1),
        name: "t".into(),
        schema: crate::catalog::TableDef::storage_schema(&spec, 1),
        spec,
        schema_version: 1,
        create_unix_ms: 0,
        dropping: false,
    };
    let mut again = read(&crate::sql::text::create_table(&table));
    for column in &mut again.columns {
        // DEFAULT NULL is written where there was none: the same thing.
        if column.default == Some(Literal::Null) {
            column.default = None;
        }
    }
    assert_eq!(again, table.spec);
}

#[test]
fn what_is_no_statement_is_1064_from_its_place() {
    for (sql, near) in [
        ("selec 1", "near 'selec 1' at line 1"),
        ("create", "near '' at line 1"),
        ("audit p", "near 'audit p' at line 1"),
        ("audit pipeline", "near '' at line 1"),
        ("audit pipeline p verify all", "near 'all' at line 1"),
        ("create table", "near '' at line 1"),
        ("create table t (a int,)", "near ')' at line 1"),
        ("create table t (a\n int default)", "near ')' at line 2"),
        ("create table t (a nonsense)", "near 'nonsense)' at line 1"),
        (
            "create pipeline p as load data kafka h/t",
            "near 'h/t' at line 1",
        ),
        (
            "create pipeline p as load data kafka 'h/t' into t",
            "near 't' at line 1",
        ),
        (
            "create pipeline p as load data kafka 'h/t'\ninto table t format json (a <- )",
            "near ')' at line 2",
        ),
        (
            "create pipeline p as load data kafka 'h/t' into table t format json (a -> b)",
            "near '-> b)' at line 1",
        ),
        (
            "create pipeline p as load data kafka 'h/t' into table t format json format json",
            "near 'format json' at line 1: FORMAT stands there twice",
        ),
        (
            "create pipeline p as load data kafka 'h/t' format json",
            "near '' at line 1: INTO TABLE is missing",
        ),
        (
            "create pipeline p as load data kafka 'h/t' into table t format json stop_on_error maybe",
            "near 'maybe' at line 1",
        ),
        ("start pipeline", "near '' at line 1"),
        ("start pipeline p foreground limit 3", "near '' at line 1"),
        ("alter pipeline p set offsets 5", "near '5' at line 1"),
        ("show nonsense", "near 'nonsense' at line 1"),
        ("set", "near '' at line 1"),
        ("set autocommit", "near '' at line 1"),
        ("set autocommit =", "near '' at line 1"),
        ("use", "near '' at line 1"),
        ("kill x", "near 'x' at line 1"),
        ("drop", "near '' at line 1"),
        ("use d d2", "near 'd2' at line 1"),
        ("select 'é' 'x", "at line 1"),
        ("explain\nselect 1\nfrom", "near '' at line 3"),
        ("explain\nanalyze select 1 2", "near '2' at line 2"),
        ("select 1 2", "near '2' at line 1"),
        ("select 1 end", "near 'end' at line 1"),
        ("show tables; show tables", "near '; show tables' at line 1"),
        (
            "select 1; select 2",
            "one statement at a time, unless the client asked for several",
        ),
        (
            "explain select 1; select 2",
            "one statement at a time, unless the client asked for several",
        ),
    ] {
        let error = parse(sql).expect_err(sql);
        assert_eq!(error.code, 1064, "{sql}: {}", error.message);
        assert!(error.message.ends_with(near), "{sql}: {}", error.message);
    }
    for sql in ["", " ; ", "-- nothing\n", "/* nothing */"] {
        assert_eq!(parse(sql).expect_err(sql).code, 1065, "{sql}");
    }
    for sql in ["select 1", "explain select 1", "show tables", "begin"] {
        for end in [";", " ; ;; ", "; -- nothing", "; /* nothing */ ;"] {
            let sql = format!("{sql}{end}");
            assert_eq!(parse(&sql).err(), None, "{sql}");
        }
    }
}

/// Every clause, statement and type that is known and not done: named, with its place.
#[test]
fn what_is_not_done_is_refused_by_name_and_place() {
    let p = "create pipeline p as load data kafka 'h/t' ";
    let end = " into table t format json";
    let column = p.len() + 1;
    for (clause, named) in [
        ("resource pool x", "RESOURCE POOL"),
        (
            "enable out_of_order optimization",
            "ENABLE OUT_OF_ORDER OPTIMIZATION",
        ),
        (
            "disable out_of_order optimization",
            "DISABLE OUT_OF_ORDER OPTIMIZATION",
        ),
        ("enable offsets metadata gc", "ENABLE OFFSETS METADATA GC"),
        ("with transform ('file://x', 'y', 'z')", "WITH TRANSFORM"),
        ("skip duplicate key errors", "SKIP DUPLICATE KEY ERRORS"),
        ("replace", "REPLACE"),
        ("ignore", "IGNORE"),
        ("into procedure q", "INTO PROCEDURE"),
        ("format avro", "FORMAT AVRO"),
        ("format csv", "FORMAT CSV"),
        ("schema registry 'x'", "SCHEMA REGISTRY"),
        ("schema '{}'", "SCHEMA"),
        ("kafka key (a <- b)", "KAFKA KEY"),
        ("fields terminated by ','", "FIELDS"),
        ("columns terminated by ','", "COLUMNS"),
        ("lines terminated by ','", "LINES"),
        ("trailing nullcols", "TRAILING NULLCOLS"),
        ("null defined by ''", "NULL DEFINED BY"),
        ("set a = 1", "SET"),
        ("where a = 1", "WHERE"),
        ("on duplicate key update a = 1", "ON DUPLICATE KEY UPDATE"),
    ] {
        let error = parse(&format!("{p}{clause}{end}")).expect_err(clause);
        assert_eq!(
            (error.code, error.message),
            (
                1235,
                format!(
                    "This version of Pinleaf doesn't yet support '{named}' (line 1, column {column})"
                )
            )
        );
    }
    for (sql, named) in [
        (
            format!("{p}into table t"),
            "'FORMAT CSV' (line 1, column 56): a pipeline without FORMAT loads CSV; write FORMAT JSON",
        ),
        (
            format!("{p}{end} (@v <- a)"),
            "'a user variable in a mapping'",
        ),
        (format!("{p}{end} (a, b)"), "'a CSV column list'"),
        (
            format!("{p}{end} (a <- b default now())"),
            "'DEFAULT with an expression'",
        ),
        (
            "create pipeline p as load data s3 'x' into table t".into(),
            "'LOAD DATA S3' (line 1, column 32)",
        ),
        (
            "create pipeline p as load data link l 'x' into table t".into(),
            "'LOAD DATA LINK'",
        ),
        (
            "create aggregator pipeline p as load data kafka 'x'".into(),
            "'CREATE AGGREGATOR PIPELINE'",
        ),
        (
            "create inferred pipeline p as load data kafka 'x'".into(),
            "'CREATE INFERRED'",
        ),
        (
            "start all pipelines".into(),
            "'START ALL or FAILED PIPELINES'",
        ),
        ("stop all pipelines".into(), "'STOP ALL PIPELINES'"),
        (
            "stop pipeline p detach".into(),
            "'DETACH' (line 1, column 17)",
        ),
        (
            "alter pipeline p set batch_interval 5".into(),
            "'ALTER PIPELINE ... SET BATCH_INTERVAL'",
        ),
        (
            "alter pipeline p set offsets latest set config '{}'".into(),
            "'a second SET'",
        ),
        (
            "alter pipeline p drop partition '3'".into(),
            "'ALTER PIPELINE ... DROP PARTITION'",
        ),
        (
            "alter pipeline p stop_on_error off".into(),
            "'ALTER PIPELINE ... STOP_ON_ERROR'",
        ),
        ("profile pipeline p".into(), "'PROFILE PIPELINE'"),
        (
            "extract pipeline p into outfile 'f'".into(),
            "'EXTRACT PIPELINE'",
        ),
        ("detach pipeline p".into(), "'DETACH PIPELINE'"),
        ("clear pipeline errors".into(), "'CLEAR PIPELINE'"),
        (
            "infer pipeline as load data kafka 'x'".into(),
            "'INFER PIPELINE'",
        ),
        (
            "create table t (a int primary key)".into(),
            "'PRIMARY KEY' (line 1, column 23)",
        ),
        (
            "create table t (a int, primary key (a))".into(),
            "'PRIMARY KEY' (line 1, column 24)",
        ),
        ("create table t (a int, unique key (a))".into(), "'UNIQUE'"),
        ("create table t (a int, key (a))".into(), "'KEY'"),
        (
            "create table t (a int auto_increment)".into(),
            "'AUTO_INCREMENT'",
        ),
        ("create table t (a int as (b + 1))".into(), "'AS'"),
        (
            "create table t (a blob)".into(),
            "'column type BLOB' (line 1, column 19): column 'a'",
        ),
        ("create table t (a enum('x'))".into(), "'column type ENUM'"),
        ("create table t (a time)".into(), "'column type TIME'"),
        (
            "create table t (a datetime(2))".into(),
            "'a fraction of a second in another number of digits'",
        ),
        (
            "create table t (a decimal(5,2) unsigned)".into(),
            "'UNSIGNED and ZEROFILL'",
        ),
        ("create table t (a float(7,4))".into(), "'FLOAT(M,D)'"),
        ("create table t (a text(10))".into(), "'TEXT with a length'"),
        (
            "create table t (a text character set latin1)".into(),
            "'another CHARACTER SET'",
        ),
        (
            "create table t (a text collate utf8mb4_general_ci)".into(),
            "'another COLLATE'",
        ),
        (
            "create table t like u".into(),
            "'CREATE TABLE ... LIKE or AS SELECT'",
        ),
        (
            "create table t (a int) autostats_enabled = true".into(),
            "'table option AUTOSTATS_ENABLED'",
        ),
        (
            "create temporary table t (a int)".into(),
            "'CREATE TEMPORARY'",
        ),
        (
            "create rowstore table t (a int)".into(),
            "'CREATE ROWSTORE'",
        ),
        ("create view v as select 1".into(), "'CREATE VIEW'"),
        ("create user u".into(), "'CREATE USER'"),
        ("drop procedure q".into(), "'DROP PROCEDURE'"),
        ("alter table t add column a int".into(), "'ALTER TABLE'"),
        (
            "insert into t values (1)".into(),
            "'INSERT' (line 1, column 1): rows come from pipelines alone",
        ),
        ("update t set a = 1".into(), "'UPDATE'"),
        ("delete from t".into(), "'DELETE'"),
        ("replace into t values (1)".into(), "'REPLACE'"),
        ("load data infile 'x' into table t".into(), "'LOAD'"),
        (
            "grant all on *.* to u".into(),
            "'GRANT' (line 1, column 1): users stand in the configuration",
        ),
        ("call q()".into(), "'CALL'"),
        ("lock tables t read".into(), "'LOCK'"),
        ("flush tables".into(), "'FLUSH'"),
        ("savepoint s".into(), "'SAVEPOINT'"),
        ("rollback to savepoint s".into(), "'ROLLBACK TO SAVEPOINT'"),
        (
            "start transaction with consistent snapshot".into(),
            "'WITH CONSISTENT SNAPSHOT'",
        ),
        ("prepare s from 'select 1'".into(), "'PREPARE'"),
        ("set password = 'x'".into(), "'SET PASSWORD'"),
        ("show create view v".into(), "'SHOW CREATE VIEW'"),
        ("show master status".into(), "'SHOW MASTER'"),
        ("explain format=json select 1".into(), "'EXPLAIN FORMAT'"),
        ("explain delete from t".into(), "'EXPLAIN DELETE'"),
    ] {
        let error = parse(&sql).expect_err(&sql);
        assert_eq!(error.code, 1235, "{sql}: {}", error.message);
        let start = format!("This version of Pinleaf doesn't yet support {named}");
        assert!(
            error.message.starts_with(&start),
            "{sql}: {}",
            error.message
        );
    }
}

#[test]
fn a_definition_that_cannot_be_has_mysqls_number() {
    let long = "x".repeat(65);
    for (sql, code, message) in [
        (
            "create table t ()".to_owned(),
            1113,
            "A table must have at least 1 column".to_owned(),
        ),
        (
            "create table t (shard key ())".into(),
            1113,
            "A table must have at least 1 column".into(),
        ),
        (
            "create table t (a int, A text)".into(),
            1060,
            "Duplicate column name 'A'".into(),
        ),
        (
            format!("create table {long} (a int)"),
            1059,
            format!("Identifier name '{long}' is too long"),
        ),
        (
            "create table `t ` (a int)".into(),
            1103,
            "Incorrect table name 't '".into(),
        ),
        (
            "create table t (`a ` int)".into(),
            1166,
            "Incorrect column name 'a '".into(),
        ),
        (
            "create table t (_offset int)".into(),
            1166,
            "Incorrect column name '_offset': every table has that column, hidden".into(),
        ),
        (
            "create table t (a char(256))".into(),
            1074,
            "Column length too big for column 'a' (max = 255); use TEXT instead".into(),
        ),
        (
            "create table t (a varchar(16384))".into(),
            1074,
            "Column length too big for column 'a' (max = 16383); use TEXT instead".into(),
        ),
        (
            "create table t (a decimal(39))".into(),
            1426,
            "Too-big precision 39 specified for 'a'. Maximum is 38.".into(),
        ),
        (
            "create table t (a decimal(38,31))".into(),
            1425,
            "Too big scale 31 specified for column 'a'. Maximum is 30.".into(),
        ),
        (
            "create table t (a decimal(3,4))".into(),
            1427,
            "For float(M,D), double(M,D) or decimal(M,D), M must be >= D (column 'a').".into(),
        ),
        (
            "create table t (a int default 'x')".into(),
            1067,
            "Invalid default value for 'a'".into(),
        ),
        (
            "create table t (a tinyint default 128)".into(),
            1067,
            "Invalid default value for 'a'".into(),
        ),
        (
            "create table t (a int not null default null)".into(),
            1067,
            "Invalid default value for 'a'".into(),
        ),
        (
            "create table t (a int, shard key (b))".into(),
            1072,
            "Key column 'b' doesn't exist in table".into(),
        ),
        (
            "create table t (a int) engine=innodb".into(),
            1286,
            "Unknown storage engine 'innodb': leave ENGINE out, or write ENGINE=Pinleaf".into(),
        ),
        (
            "create database `d `".into(),
            1102,
            "Incorrect database name 'd '".into(),
        ),
    ] {
        let error = parse(&sql).expect_err(&sql);
        assert_eq!((error.code, error.message), (code, message), "{sql}");
    }
}

#[test]
fn a_clause_whose_value_cannot_be_names_the_key() {
    let p = "create pipeline p as load data kafka 'h/t' into table t format json ";
    for (clause, message) in [
        (
            "config '{'",
            "CONFIG: EOF while parsing an object at line 1 column 1",
        ),
        (
            "config '[1]'",
            "CONFIG: not a JSON object, which begins with {",
        ),
        (
            "config '{\"a\": 1, \"a\": 2}'",
            "CONFIG: the key 'a' stands there twice at line 1 column 16",
        ),
        (
            "config '{\"a\": [1]}'",
            "CONFIG: 'a': must be a string, a number or a boolean",
        ),
        (
            "credentials '{\"sasl.password\": \"hunter2\"}'",
            "CREDENTIALS: 'sasl.password': TLS and SASL are not supported yet, brokers are reached in plaintext",
        ),
        (
            "credentials 'hunter2'",
            "CREDENTIALS: not a JSON object, which begins with {",
        ),
        (
            "credentials '\"hunter2\"'",
            "CREDENTIALS: not a JSON object, which begins with {",
        ),
        (
            "retry_options '{\"x\": 1}'",
            "RETRY_OPTIONS: 'x': is not known: there are exponential, retry_interval, max_retry_interval and max_retries",
        ),
        (
            "retry_options '{\"exponential\": 1}'",
            "RETRY_OPTIONS: 'exponential': must be true or false",
        ),
        (
            "retry_options '{\"retry_interval\": -1}'",
            "RETRY_OPTIONS: 'retry_interval': must be a whole number from 0 to 86400000",
        ),
        (
            "max_offsets_per_batch_partition 0",
            "MAX_OFFSETS_PER_BATCH_PARTITION: '0' is not a whole number from 1 to 1099511627776",
        ),
        (
            "batch_interval 1.5",
            "BATCH_INTERVAL: '1.5' is not a whole number from 0 to 86400000",
        ),
        (
            "batch_interval -1",
            "BATCH_INTERVAL: '-' is not a whole number from 0 to 86400000",
        ),
    ] {
        let error = parse(&format!("{p}{clause}")).expect_err(clause);
        assert_eq!(error.message, message, "{clause}");
        assert!(!error.message.contains("hunter2"));
    }
    for (offsets, message) in [
        (
            "{}",
            "SET OFFSETS: names no partition: write '{\"0\": 100, ...}', EARLIEST or LATEST",
        ),
        (
            "{\"x\": 1}",
            "SET OFFSETS: 'x': is not the number of a partition",
        ),
        (
            "{\"-1\": 1}",
            "SET OFFSETS: '-1': is not the number of a partition",
        ),
        (
            "{\"0\": -1}",
            "SET OFFSETS: '0': must be an offset, a whole number from 0",
        ),
        (
            "{\"0\": 1.5}",
            "SET OFFSETS: '0': must be an offset, a whole number from 0",
        ),
        (
            "{\"0\": 1, \"00\": 1}",
            "SET OFFSETS: '00': names a partition that stands there twice",
        ),
    ] {
        let error = parse(&format!("alter pipeline p set offsets '{offsets}'")).expect_err(offsets);
        assert_eq!(error.message, message, "{offsets}");
    }
    let error = parse("create pipeline p as load data kafka 'h:1' into table t format json")
        .expect_err("no topic");
    assert_eq!(
        error.message,
        "KAFKA: 'h:1' names no topic: write 'host[:port][,host[:port]...]/topic'"
    );
}

#[test]
fn an_error_of_syntax_shows_nothing_of_a_statement_that_may_hold_a_secret() {
    let key = "{\"sasl.password\": \"hunter2\"}";
    for sql in [
        format!("crate pipeline p credentials '{key}'"),
        format!("create pipeline p as load data kafka 'h/t' credentials '{key} into table t"),
        format!("crate pipeline p as load data kafka 'h/t' config '{key}' into table t"),
        format!("select * from (select 1 where a = '{key}'"),
        "crate user ann identified by 'hunter2'".to_owned(),
        "crate user ann password = 'hunter2'".to_owned(),
    ] {
        let error = parse(&sql).expect_err("no statement");
        assert_eq!(error.code, 1064, "{error}");
        let near = "near '(not shown: it may hold a secret)' at line 1";
        assert!(error.message.ends_with(near), "{error}");
    }
}

#[test]
fn a_config_that_may_hold_a_secret_is_not_quoted() {
    for text in [
        "\"sasl.password=hunter2\"",
        "[\"ssl.key.password\", \"hunter2\"]",
        "{\"sasl.password\": \"hunter2\", \"sasl.password\": \"hunter2\"}",
        "{\"sasl.password\": \"hunter2",
    ] {
        let sql = format!(
            "create pipeline p as load data kafka 'h/t' config '{text}' into table t format json"
        );
        let error = parse(&sql).expect_err("no CONFIG").message;
        assert!(error.starts_with("CONFIG: not "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let sql = "create pipeline p as load data kafka 'h/t' config '\"sasl.password=hunter2\"' into table t";
    assert_eq!(
        parse(sql).expect_err("no CONFIG").message,
        "CONFIG: not a JSON object, which begins with {"
    );
}

/// Any text is an answer or an error, never a panic.
#[test]
fn no_text_panics() {
    let texts = [
        "create pipeline p as load data kafka 'h/t' config '{\"a\": 1}' into table t format json (a <- b::c default 1)",
        "create table t (a decimal(10, 2) not null default -1.5 comment 'x', shard key (a)) comment = 'y'",
        "set names utf8mb4, @a = (1, 2), @@session.x = 'é'",
        "show full columns from `t` from `d` where `Field` = 'x'",
        "alter pipeline p set offsets '{\"0\": 100}'",
    ];
    for text in texts {
        for (at, _) in text.char_indices() {
            let _ = parse(&text[..at]);
            let _ = parse(&text[at..]);
            for other in [
                "'", "`", "(", ")", ",", "é", "\0", "/*", "@", "-- ", "%", "::", "1e", ".",
            ] {
                let _ = parse(&format!("{}{other}{}", &text[..at], &text[at..]));
            }
        }
    }
}

#[test]
fn parameters_are_counted_where_they_are_marks() {
    for (sql, expected) in [
        ("select ?", 1),
        ("select '?', ?, `?`, ? -- ?", 2),
        ("select 1", 0),
    ] {
        assert_eq!(parameters(sql), Ok(expected), "{sql}");
    }
    let many = format!("select {}", "?,".repeat(70_000));
    assert_eq!(parameters(&many).expect_err("too many").code, 1390);
}
