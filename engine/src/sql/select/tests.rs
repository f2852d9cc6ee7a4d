//! Queries against tables in memory: MySQL's answers by table, names, types, scans, limits and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use ingest::pipeline::SqlType;
use sqlparser::ast::Statement;
use storage::error::StorageError;
use storage::format::{ColumnStatistics, StatisticBound, StatisticValue};
use storage::ids::LeafPartitionId;

use super::functions::convert::{convert, double_text, float_text};
use super::*;
use crate::limits::QUERY_STACK_BYTES;
use crate::sql::error::Code;

mod bounds;

/// Rows in memory, with statistics as a commit has them.
struct Rows3 {
    ids: Vec<i64>,
    names: Vec<Option<&'static str>>,
    reads: Arc<AtomicU32>,
    damaged: bool,
}

impl ScanPart for Rows3 {
    fn rows(&self) -> u32 {
        u32::try_from(self.ids.len()).expect("few rows")
    }

    fn offsets(&self) -> std::ops::Range<i64> {
        let end = self.ids.last().expect("rows") + 1;
        self.ids[0]..end
    }

    fn statistics(&self, column: usize) -> Option<ColumnStatistics> {
        let bound = |value: Option<&i64>| {
            value.map(|value| StatisticBound {
                value: StatisticValue::Int(*value),
                exact: true,
            })
        };
        let texts = || self.names.iter().flatten();
        let text = |value: Option<&&'static str>| {
            value.map(|value| StatisticBound {
                value: StatisticValue::Text((*value).into()),
                exact: true,
            })
        };
        Some(match column {
            0 | 2 | 3 => ColumnStatistics {
                min: bound(self.ids.iter().min()),
                max: bound(self.ids.iter().max()),
                null_count: 0,
            },
            _ => ColumnStatistics {
                min: text(texts().min()),
                max: text(texts().max()),
                null_count: u32::try_from(self.names.iter().filter(|n| n.is_none()).count())
                    .expect("few"),
            },
        })
    }

    fn bytes(&self, _: usize) -> u64 {
        8 * u64::from(self.rows())
    }

    fn read(&self, columns: &[usize]) -> Result<Vec<ArrayRef>, StorageError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.damaged {
            return Err(StorageError::Corrupt {
                path: "tables/1/1/1.0.arrow".into(),
                bytes: 64..128,
                what: storage::error::Corruption::Magic,
            });
        }
        Ok(columns
            .iter()
            .map(|column| match column {
                1 => Arc::new(StringArray::from(self.names.clone())) as ArrayRef,
                _ => Arc::new(Int64Array::from(self.ids.clone())) as ArrayRef,
            })
            .collect())
    }

    fn prefetch(&self, _: &[usize]) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Rows of each of the two parts of the table `large`: as many as a block has.
const LARGE_ROWS: i64 = 65_536;

struct World {
    reads: Arc<AtomicU32>,
    damaged: bool,
}

fn column(name: &str, sql_type: SqlType) -> TableColumn {
    TableColumn {
        name: name.to_owned(),
        sql_type,
        nullable: true,
    }
}

impl Names for World {
    fn resolve(&self, database: Option<&str>, table: &str) -> Result<Option<Source>, SqlError> {
        let Some(database) = database else {
            return Err(SqlError::new(Code::NoDatabase, "No database selected"));
        };
        if database == "information_schema" {
            let columns: Arc<[TableColumn]> =
                Arc::new([column("TABLE_NAME", SqlType::VarChar { chars: 64 })]);
            let schema = Arc::new(arrow::datatypes::Schema::new(vec![
                arrow::datatypes::Field::new("TABLE_NAME", arrow::datatypes::DataType::Utf8, true),
            ]));
            let batch = RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec!["t"]))])
                .expect("a batch");
            return Ok(Some(Source::Virtual(VirtualTable {
                database: database.to_owned(),
                name: table.to_owned(),
                columns,
                batch,
            })));
        }
        let text = SqlType::VarChar { chars: 10 };
        let big = SqlType::BigInt { unsigned: false };
        let columns: Arc<[TableColumn]> = match table {
            "t" => Arc::new([column("Id", big), column("name", text)]),
            "u" => Arc::new([column("id", big), column("other", text)]),
            "large" => Arc::new([column("id", big), column("name", text)]),
            _ => return Ok(None),
        };
        let part =
            |ids: &[i64], names: &[Option<&'static str>], damaged: bool| -> Arc<dyn ScanPart> {
                Arc::new(Rows3 {
                    ids: ids.to_vec(),
                    names: names.to_vec(),
                    reads: Arc::clone(&self.reads),
                    damaged,
                })
            };
        let partitions = match table {
            "t" => vec![
                StoredPartition {
                    leaf_partition: LeafPartitionId(1),
                    kafka_partition: 0,
                    parts: Arc::new([
                        part(&[1, 2], &[Some("a"), Some("b")], false),
                        part(&[3, 4], &[None, Some("a")], self.damaged),
                    ]),
                },
                StoredPartition {
                    leaf_partition: LeafPartitionId(2),
                    kafka_partition: 1,
                    parts: Arc::new([part(&[11, 12], &[Some("c"), Some("d")], false)]),
                },
            ],
            "large" => {
                let ids: Vec<i64> = (0..LARGE_ROWS).collect();
                let names = vec![Some("somebody"); ids.len()];
                vec![StoredPartition {
                    leaf_partition: LeafPartitionId(4),
                    kafka_partition: 0,
                    parts: Arc::new([part(&ids, &names, false), part(&ids, &names, false)]),
                }]
            }
            _ => vec![StoredPartition {
                leaf_partition: LeafPartitionId(3),
                kafka_partition: 0,
                parts: Arc::new([part(&[2, 3, 99], &[Some("x"), Some("y"), Some("z")], false)]),
            }],
        };
        Ok(Some(Source::Stored(StoredTable {
            database: database.to_owned(),
            name: table.to_owned(),
            columns,
            partitions,
        })))
    }
}

impl Variables for World {
    fn system(&self, scope: VariableScope, name: &str) -> Result<Value, SqlError> {
        match (scope, name) {
            (VariableScope::Global, "session_only") => Err(SqlError::new(
                Code::LocalVariable,
                "Variable 'session_only' is a SESSION variable",
            )),
            (_, "max_allowed_packet") => Ok(Value::Int(67_108_864)),
            (_, "version_comment") => Ok(Value::Bytes(b"Pinleaf".to_vec())),
            _ => Err(SqlError::new(
                Code::UnknownSystemVariable,
                format!("Unknown system variable '{name}'"),
            )),
        }
    }

    fn user(&self, _: &str) -> Value {
        Value::Null
    }
}

struct Fixture {
    ctx: SelectContext,
    world: Arc<World>,
    _runtime: tokio::runtime::Runtime,
}

fn fixture(memory_bytes: usize, damaged: bool, cancel: Cancel) -> Fixture {
    fixture_on(2, memory_bytes, damaged, cancel)
}

fn fixture_on(threads: usize, memory_bytes: usize, damaged: bool, cancel: Cancel) -> Fixture {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_stack_size(QUERY_STACK_BYTES)
        .enable_all()
        .build()
        .expect("a runtime");
    let world = Arc::new(World {
        reads: Arc::new(AtomicU32::new(0)),
        damaged,
    });
    let ctx = SelectContext {
        names: Arc::clone(&world) as Arc<dyn Names>,
        database: Some("d".to_owned()),
        connection_id: 7,
        user: "root@localhost".to_owned(),
        version: "8.0.36-Pinleaf".to_owned(),
        now_unix_us: 1_706_703_123_456_789,
        variables: Arc::clone(&world) as Arc<dyn Variables>,
        memory: QueryMemory::new(memory_bytes).expect("a pool"),
        runtime: runtime.handle().clone(),
        threads,
        cancel,
        text: None,
        read_damaged: None,
    };
    Fixture {
        ctx,
        world,
        _runtime: runtime,
    }
}

fn plain() -> Fixture {
    fixture(64 << 20, false, Cancel::never())
}

fn query(sql: &str) -> Result<Arc<Query>, SqlError> {
    match parse(sql)? {
        Statement::Query(query) => Ok(Arc::new(*query)),
        other => panic!("{sql}: not a query: {other:?}"),
    }
}

/// The rows as the text protocol shows them, and the columns.
fn run(
    fixture: &Fixture,
    sql: &str,
    params: &[Value],
) -> Result<(Vec<ResultColumn>, Vec<Vec<String>>), SqlError> {
    let query = query(sql)?;
    fixture.ctx.runtime.block_on(async {
        let mut rows = select(&fixture.ctx, &query, params).await?;
        let mut shown = Vec::new();
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            assert_eq!(batch.num_columns(), rows.columns.len());
            for row in 0..batch.num_rows() {
                shown.push(
                    batch
                        .columns()
                        .iter()
                        .map(|column| cell(column, row))
                        .collect(),
                );
            }
        }
        Ok((rows.columns, shown))
    })
}

fn cell(array: &ArrayRef, row: usize) -> String {
    use arrow::datatypes::{DataType, Float32Type, Float64Type};
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Float64 => double_text(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => float_text(array.as_primitive::<Float32Type>().value(row)),
        _ => {
            let texts = convert(&array.slice(row, 1), &DataType::Utf8).expect("it has a text");
            texts.as_string::<i32>().value(0).to_owned()
        }
    }
}

/// One line a row, cells between tabs; an error is its number and text.
fn answer(fixture: &Fixture, sql: &str) -> String {
    match run(fixture, sql, &[]) {
        Ok((_, rows)) => rows
            .iter()
            .map(|row| row.join("\t"))
            .collect::<Vec<_>>()
            .join("\n"),
        Err(fault) => format!("ERROR {}", fault.code),
    }
}

#[test]
fn expressions_answer_as_mysql_does() {
    let fixture = plain();
    let table = include_str!("expressions.tsv");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (sql, rest) = line.split_once('\t').expect("an expression and its answer");
        // A third cell says where another server differs.
        let expected = rest.split_once('\t').map_or(rest, |(expected, _)| expected);
        count += 1;
        let found = answer(&fixture, &format!("SELECT {sql}"));
        if found != expected {
            let text = match run(&fixture, &format!("SELECT {sql}"), &[]) {
                Err(fault) => fault.message,
                Ok(_) => String::new(),
            };
            wrong.push(format!(
                "{sql}\n    expected {expected}\n    found    {found} {text}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 150, "{count} expressions");
}

#[test]
fn queries_answer_as_mysql_does() {
    let fixture = plain();
    let mut wrong = Vec::new();
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM t", "6"),
        ("SELECT MIN(id), MAX(ID), COUNT(name) FROM t", "1\t12\t5"),
        ("SELECT * FROM t ORDER BY id LIMIT 1", "1\ta"),
        ("SELECT T.* FROM t AS T ORDER BY 1 DESC LIMIT 1, 1", "11\tc"),
        (
            "SELECT id, _partition, _offset, _timestamp FROM t WHERE id = 11",
            "11\t1\t11\t11",
        ),
        (
            "SELECT name, COUNT(*) c FROM t GROUP BY name ORDER BY name",
            "NULL\t1\na\t2\nb\t1\nc\t1\nd\t1",
        ),
        (
            "SELECT name FROM t GROUP BY 1 ORDER BY name DESC",
            "d\nc\nb\na\nNULL",
        ),
        (
            "SELECT name n, SUM(id) s FROM t GROUP BY n HAVING s > 5 ORDER BY s",
            "c\t11\nd\t12",
        ),
        (
            "SELECT SUM(id), AVG(id), SUM(id)/COUNT(*) FROM t",
            "33\t5.5000\t5.5000",
        ),
        (
            "SELECT COUNT(DISTINCT name), SUM(DISTINCT id) FROM t",
            "4\t33",
        ),
        ("SELECT SUM(id > 2), MAX(name = 'a') FROM t", "4\t1"),
        ("SELECT SUM(id) FROM t WHERE id > 100", "NULL"),
        (
            "SELECT t.id, other FROM t JOIN u ON t.id = u.id ORDER BY 1",
            "2\tx\n3\ty",
        ),
        (
            "SELECT * FROM t JOIN u USING (id) ORDER BY id",
            "2\tb\tx\n3\tNULL\ty",
        ),
        (
            "SELECT * FROM t NATURAL JOIN u ORDER BY id",
            "2\tb\tx\n3\tNULL\ty",
        ),
        (
            "SELECT u.id, t.name FROM t RIGHT JOIN u USING (id) ORDER BY u.id",
            "2\tb\n3\tNULL\n99\tNULL",
        ),
        (
            "SELECT a.id FROM t a, t b WHERE a.id = b.id + 1 ORDER BY a.id",
            "2\n3\n4\n12",
        ),
        (
            "SELECT id FROM t WHERE id IN (SELECT id FROM u) ORDER BY id",
            "2\n3",
        ),
        (
            "SELECT id FROM t WHERE id NOT IN (SELECT id FROM u) ORDER BY id",
            "1\n4\n11\n12",
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id) ORDER BY id",
            "2\n3",
        ),
        (
            "SELECT id, (SELECT MAX(other) FROM u WHERE u.id = t.id) o FROM t WHERE id < 4 ORDER BY id",
            "1\tNULL\n2\tx\n3\ty",
        ),
        (
            "SELECT id FROM t WHERE id > (SELECT AVG(id) FROM t) ORDER BY id",
            "11\n12",
        ),
        (
            "SELECT x.n FROM (SELECT id * 2 AS n FROM t) x WHERE n > 8 ORDER BY n",
            "22\n24",
        ),
        (
            "WITH c AS (SELECT id FROM t WHERE id < 3) SELECT COUNT(*) FROM c",
            "2",
        ),
        (
            "WITH c (k) AS (SELECT id FROM t) SELECT MAX(k) FROM c a",
            "12",
        ),
        (
            "SELECT 1 UNION SELECT 1 UNION ALL SELECT 2 ORDER BY 1",
            "1\n2",
        ),
        ("SELECT 1 = 1 UNION SELECT 5 ORDER BY 1", "1\n5"),
        (
            "SELECT id FROM t WHERE name = 'a' OR name IS NULL ORDER BY id",
            "1\n3\n4",
        ),
        (
            "SELECT DISTINCT name FROM t WHERE name < 'c' ORDER BY name",
            "a\nb",
        ),
        ("SELECT id FROM t WHERE name LIKE 'a%' ORDER BY id", "1\n4"),
        (
            "SELECT id FROM t WHERE id BETWEEN 3 AND '11' ORDER BY id",
            "3\n4\n11",
        ),
        ("SELECT id FROM t WHERE NOT (id > 2) ORDER BY id", "1\n2"),
        (
            "SELECT id FROM t WHERE id > 2 AND NOT id = 11 ORDER BY id DESC",
            "12\n4\n3",
        ),
        ("SELECT id FROM t WHERE id ORDER BY -id LIMIT 2", "12\n11"),
        ("SELECT id+1 AS id FROM t ORDER BY id LIMIT 1", "2"),
        ("SELECT id a, id b FROM t WHERE id = 1", "1\t1"),
        ("SELECT id, id FROM t WHERE id = 1", "1\t1"),
        ("SELECT d.t.id FROM d.t WHERE d.t.id = 1", "1"),
        (
            "SELECT table_name FROM information_schema.tables WHERE TABLE_NAME = 't'",
            "t",
        ),
        (
            "SELECT CASE WHEN id > 10 THEN 'big' ELSE 'small' END k, COUNT(*) FROM t GROUP BY k ORDER BY k",
            "big\t2\nsmall\t4",
        ),
        (
            "SELECT id, ROW_NUMBER() OVER (ORDER BY id DESC) r FROM t WHERE id < 4 ORDER BY id",
            "1\t3\n2\t2\n3\t1",
        ),
        (
            "SELECT id, SUM(id) OVER (ORDER BY id) FROM t WHERE id < 4 ORDER BY id",
            "1\t1\n2\t3\n3\t6",
        ),
        (
            "SELECT name, SUM(id) FROM t WHERE name < 'c' GROUP BY name WITH ROLLUP ORDER BY name",
            "NULL\t7\na\t5\nb\t2",
        ),
        ("SELECT COUNT(*) FROM t WHERE 0", "0"),
        (
            "SELECT MAX(id) FROM t GROUP BY name HAVING MAX(id) > 11",
            "12",
        ),
        ("SELECT id FROM t WHERE (id, name) = (1, 'a')", "1"),
        (
            "SELECT id FROM t WHERE (id, name) IN ((1, 'a'), (2, 'x'), (11, 'c')) ORDER BY id",
            "1\n11",
        ),
        (
            "SELECT (SELECT other FROM u WHERE u.id = t.id) FROM t",
            "ERROR 1235",
        ),
        (
            "SELECT id FROM t WHERE id <> ALL (SELECT id FROM u) ORDER BY id",
            "1\n4\n11\n12",
        ),
        ("SELECT id FROM t LIMIT 0", ""),
        (
            "SELECT id * 2 AS n FROM t WHERE id > 1 OR id < 0 HAVING n IN (4, 6, 22) OR n = 2 ORDER BY n DESC LIMIT 2",
            "22\n6",
        ),
        ("SELECT COUNT(*) c FROM t HAVING c > 100", ""),
        ("SELECT COUNT(*) FROM t LIMIT 18446744073709551615", "6"),
        (
            "SELECT id FROM t WHERE id = ANY (SELECT id FROM u) ORDER BY id",
            "2\n3",
        ),
        ("SELECT nope FROM t", "ERROR 1054"),
        ("SELECT t.nope FROM t", "ERROR 1054"),
        ("SELECT id FROM t JOIN u ON t.id = u.id", "ERROR 1052"),
        ("SELECT id FROM t WHERE nope = 1", "ERROR 1054"),
        ("SELECT 1 FROM nope", "ERROR 1146"),
        ("SELECT nope(1)", "ERROR 1305"),
        // What operators and CAST are made of is no function.
        ("SELECT held(1)", "ERROR 1305"),
        ("SELECT `cast`(1, 'signed')", "ERROR 1305"),
        ("SELECT `+`(1, 2)", "ERROR 1305"),
        ("SELECT IFNULL(1)", "ERROR 1582"),
        ("SELECT *", "ERROR 1096"),
        ("SELECT id, COUNT(*) FROM t", "ERROR 1055"),
        ("SELECT a.id FROM t a, t a", "ERROR 1066"),
        ("SELECT * FROM (SELECT 1 a, 2 a) x", "ERROR 1060"),
        ("SELECT * FROM (SELECT 1)", "ERROR 1248"),
        ("SELECT 1 UNION SELECT 1, 2", "ERROR 1222"),
        ("SELECT (SELECT 1, 2)", "ERROR 1241"),
        ("SELECT (SELECT id FROM t)", "ERROR 1242"),
        ("SELECT 1 FROM t ORDER BY 9", "ERROR 1054"),
        ("SELECT JSON_ARRAY(1)", "ERROR 1305"),
        ("SELECT id + 9223372036854775807 FROM t", "ERROR 1690"),
        ("SELECT REPEAT('a', 1000000000)", "ERROR 1301"),
        // A scalar subquery without a row is NULL, whatever its column is declared as.
        ("SELECT (SELECT 1 FROM t WHERE id = -1) IS NULL", "1"),
        ("SELECT (SELECT id FROM t WHERE id = -1)", "NULL"),
        ("SELECT IFNULL((SELECT id FROM t WHERE id = -1), 7)", "7"),
        (
            "SELECT COUNT(*) FROM t WHERE (SELECT id FROM u WHERE id = -1) IS NULL",
            "6",
        ),
        // Where branches meet, MySQL's type counts.
        (
            "SELECT x FROM (SELECT DATE '2024-01-01' x UNION ALL SELECT 5) u ORDER BY x",
            "2024-01-01\n5",
        ),
        (
            "SELECT x FROM (SELECT 1.5 x UNION ALL SELECT 1e30) u ORDER BY x",
            "1.5\n1e30",
        ),
        (
            "SELECT 'x' x UNION SELECT DATE '2024-01-01' ORDER BY x",
            "2024-01-01\nx",
        ),
        ("SELECT 1 x INTERSECT SELECT '01'", ""),
        ("SELECT COUNT(*) FROM t WHERE id IN (SELECT '1x')", "1"),
        ("SELECT COUNT(*) FROM t WHERE name IN (SELECT 0)", "5"),
        ("SELECT COUNT(*) FROM t WHERE id NOT IN (SELECT 'x')", "6"),
        (
            "SELECT SUM(x) FROM (SELECT 1e308 x UNION ALL SELECT 1e308) u",
            "ERROR 1690",
        ),
        ("SELECT id FROM t LIMIT 1 OFFSET 18446744073709551615", ""),
        ("SELECT @@nope", "ERROR 1193"),
        (
            "WITH RECURSIVE c AS (SELECT 1) SELECT * FROM c",
            "ERROR 1235",
        ),
    ] {
        let found = answer(&fixture, sql);
        if found != expected {
            let text = match run(&fixture, sql, &[]) {
                Err(fault) => fault.message,
                Ok(_) => String::new(),
            };
            wrong.push(format!(
                "{sql}\n  expected {expected:?}\n  found    {found:?} {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_statistics_say_is_not_read_and_pruned_parts_are_not_either() {
    let fixture = plain();
    let reads = || fixture.world.reads.swap(0, Ordering::Relaxed);
    assert_eq!(
        answer(&fixture, "SELECT COUNT(*), MIN(id), MAX(name) FROM t"),
        "6\t1\td"
    );
    assert_eq!(reads(), 0, "exact statistics answer");
    assert_eq!(answer(&fixture, "SELECT name FROM t WHERE id = 4"), "a");
    assert_eq!(reads(), 1, "two of three parts are pruned");
    assert_eq!(answer(&fixture, "SELECT name FROM t WHERE id = '12'"), "d");
    assert_eq!(reads(), 1);
    assert_eq!(
        answer(&fixture, "SELECT COUNT(*) FROM t WHERE _partition = 1"),
        "2"
    );
    assert_eq!(reads(), 1, "a whole leaf partition is pruned");
    assert_eq!(
        answer(&fixture, "SELECT id FROM t WHERE name IN ('c', 'zz')"),
        "11"
    );
    assert_eq!(reads(), 1);
}

#[test]
fn explain_analyze_shows_what_was_pruned() {
    let fixture = plain();
    let query = query("SELECT name FROM t WHERE id = 4").expect("it parses");
    let text = fixture.ctx.runtime.block_on(async {
        let mut rows = explain(&fixture.ctx, &query, &[], Explain::Analyze)
            .await
            .expect("it explains");
        let batch = rows.batches.next().await.expect("rows").expect("a batch");
        (0..batch.num_rows())
            .map(|row| cell(batch.column(0), row))
            .collect::<Vec<_>>()
            .join("\n")
    });
    assert!(text.contains("parts=3"), "{text}");
    assert!(text.contains("parts_pruned=2"), "{text}");
}

#[test]
fn columns_say_where_they_come_from_and_what_they_are() {
    let fixture = plain();
    let (columns, _) = run(
        &fixture,
        "SELECT ID, x.name n, 1 + 1, 'abc', 1.50, NOW(3), COUNT(*), id > 1, \
         CAST(id AS DECIMAL(38,10)) FROM t x GROUP BY id, name",
        &[],
    )
    .expect("it runs");
    let shown: Vec<String> = columns
        .iter()
        .map(|c| {
            format!(
                "{}.{}.{}.{}.{} {:#x} {}",
                c.database, c.table, c.org_table, c.org_name, c.name, c.type_code, c.decimals
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "d.x.t.Id.ID 0x8 0",
            "d.x.t.name.n 0xfd 0",
            "....1 + 1 0x8 0",
            "....abc 0xfd 0",
            "....1.50 0xf6 2",
            "....NOW(3) 0xc 3",
            "....COUNT(*) 0x8 0",
            "....id > 1 0x8 0",
            "....CAST(id AS DECIMAL(38,10)) 0xf6 10",
        ]
    );
    assert_eq!(columns[1].length, 40);
    assert_eq!(columns[1].collation, 46);
    assert_eq!(columns[0].collation, 63);
}

#[test]
fn parameters_stand_where_their_marks_do() {
    let fixture = plain();
    let (_, rows) = run(
        &fixture,
        "SELECT ?, id FROM t WHERE id > ? AND name <> ? ORDER BY id LIMIT ?",
        &[
            Value::Bytes(b"p".to_vec()),
            Value::Int(1),
            Value::Bytes(b"b".to_vec()),
            Value::Int(2),
        ],
    )
    .expect("it runs");
    assert_eq!(rows, [["p", "4"], ["p", "11"]]);
    assert_eq!(
        run(&fixture, "SELECT ?", &[]).expect_err("no value").code,
        1210
    );
    let query = query("SELECT ?, id FROM t WHERE id > ? LIMIT ?").expect("it parses");
    let columns = fixture
        .ctx
        .runtime
        .block_on(describe(&fixture.ctx, &query))
        .expect("it has columns");
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["?", "id"]);
}

#[test]
fn a_parameter_of_each_kind_is_taken() {
    let fixture = plain();
    let date = |has_time| Value::Date {
        year: 2024,
        month: 2,
        day: 29,
        hour: if has_time { 12 } else { 0 },
        minute: 0,
        second: 0,
        micros: 0,
        has_time,
    };
    let (_, rows) = run(
        &fixture,
        "SELECT ?, ?, ?, ?, ?, ?, ?",
        &[
            Value::Null,
            Value::Int(-1),
            Value::UInt(u64::MAX),
            Value::Float(1.5),
            Value::Double(-1.25e100),
            date(false),
            date(true),
        ],
    )
    .expect("it runs");
    let expected = [
        "NULL",
        "-1",
        "18446744073709551615",
        "1.5",
        "-1.25e100",
        "2024-02-29",
        "2024-02-29 12:00:00",
    ];
    assert_eq!(rows, [expected]);
}

#[test]
fn a_damaged_part_fails_the_query_unless_it_is_read_around() {
    let mut fixture = fixture(64 << 20, true, Cancel::never());
    let fault = run(&fixture, "SELECT name FROM t", &[]).expect_err("it is damaged");
    assert_eq!(fault.code, Code::Corrupt.number());
    assert!(fault.message.contains("1.0.arrow"), "{}", fault.message);
    let late = Arc::new(Late::default());
    fixture.ctx.read_damaged = Some(Arc::clone(&late));
    assert_eq!(answer(&fixture, "SELECT COUNT(*) FROM t"), "4");
    // Pruned, it is not looked at; met twice, it counts once.
    assert_eq!(answer(&fixture, "SELECT name FROM t WHERE id = 1"), "a");
    let twice = "SELECT COUNT(*) FROM t a JOIN t b ON a.id = b.id";
    assert_eq!(answer(&fixture, twice), "4");
    let said: Vec<String> = late.warnings(9).into_iter().map(|w| w.message).collect();
    let line = "Table 't': 2 rows are left out, of partition 0 in offsets 3 to 4: tables/1/1/1.0.arrow: not an Arrow file: \
                the magic is wrong (bytes 64 to 128)";
    assert_eq!(said, [line]);
}

#[test]
fn a_full_pool_fails_the_query_and_names_the_limit() {
    let fixture = fixture(4_096, false, Cancel::never());
    let sql = "SELECT a.id, b.name, c.name FROM t a, t b, t c, t d ORDER BY 2, 3, 1";
    let fault = run(&fixture, sql, &[]).expect_err("4 KiB are too few");
    assert_eq!(fault.code, 1038);
    assert!(fault.message.contains("4096 bytes"), "{}", fault.message);
    // The plan's other tasks end soon after the one that failed.
    let began = std::time::Instant::now();
    while fixture.ctx.memory.bytes_held() > 0 {
        assert!(began.elapsed() < std::time::Duration::from_secs(30));
        std::thread::yield_now();
    }
}

/// The rows of a query's largest batch, and all rows.
fn batches(fixture: &Fixture, sql: &str) -> Result<(usize, usize), SqlError> {
    let query = query(sql).expect("it parses");
    fixture.ctx.runtime.block_on(async {
        let mut rows = select(&fixture.ctx, &query, &[]).await?;
        let (mut largest, mut all) = (0, 0);
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            largest = largest.max(batch.num_rows());
            all += batch.num_rows();
        }
        Ok((largest, all))
    })
}

/// A constant is written out in every row of every batch in flight.
#[test]
fn large_constants_make_small_batches() {
    let fixture = fixture(1 << 30, false, Cancel::never());
    let largest = |items: usize, bytes: usize| {
        let items = vec![format!("REPEAT('a', {bytes})"); items].join(", ");
        batches(&fixture, &format!("SELECT {items} FROM t")).map(|(largest, all)| {
            assert_eq!(all, 6);
            largest
        })
    };
    assert_eq!(largest(1, 100).expect("small"), 2);
    assert_eq!(largest(3, 16 << 20).expect("large"), 1);
    assert_eq!(largest(5, 16 << 20).expect_err("too large").code, 1301);
}

#[test]
fn wide_rows_and_growing_strings_make_shorter_batches() {
    let fixture = fixture(1 << 30, false, Cancel::never());
    let all = 2 * usize::try_from(LARGE_ROWS).expect("few");
    let largest = |items: &str| {
        let sql = format!("SELECT {items} FROM large");
        let (largest, rows) = batches(&fixture, &sql).expect("it runs");
        assert_eq!(rows, all, "{items}");
        largest
    };
    let sums = |count: usize| {
        let items: Vec<String> = (0..count).map(|n| format!("id + {n}")).collect();
        items.join(", ")
    };
    let repeats = |count: usize| {
        let items: Vec<String> = (0..count)
            .map(|n| format!("REPEAT(name, {n} + 2)"))
            .collect();
        items.join(", ")
    };
    assert_eq!(largest("id, name"), all / 2, "a part is a batch");
    assert_eq!(largest(&sums(1)), all / 2);
    let wide = largest(&sums(400));
    assert!((100..1_000).contains(&wide), "{wide} rows of 400 columns");
    assert_eq!(largest(&repeats(1)), crate::limits::BATCH_ROWS - 1);
    assert_eq!(largest(&repeats(20)), 16_384 / 20);
}

/// What a projection makes is charged to the pool before it is made, and given back.
#[test]
fn functions_reserve_what_they_make() {
    let fixture = fixture(32 << 20, false, Cancel::never());
    let repeats = |bytes: usize, around: &str| {
        let items: Vec<String> = (0..20)
            .map(|n| around.replace('?', &format!("REPEAT(name, {bytes} + {n})")))
            .collect();
        let sql = format!("SELECT {} FROM large WHERE id >= 0", items.join(", "));
        match run(&fixture, &sql, &[]) {
            Ok((_, rows)) => format!("{} rows", rows.len()),
            Err(fault) => format!("{} {} {}", fault.code, fault.state, fault.message),
        }
    };
    let full = "1038 HY001 Out of memory for queries: all of them together may use 33554432 bytes (query_bytes in \
                [memory]), seven eighths of it for what reserves much; read fewer rows or columns, group by fewer \
                values, or raise it";
    // Of a string, of a CASE that picks it, of one that is only looked at, and of a filter.
    for around in [
        "?",
        "CASE WHEN id % 2 = 0 THEN ? ELSE name END",
        "COALESCE(?, name)",
        "CONCAT(?, name)",
        "LENGTH(RPAD(?, 90000, name))",
        "UPPER(?)",
    ] {
        assert_eq!(repeats(10_000, around), full, "{around}");
    }
    let filter = "SELECT COUNT(*) FROM large WHERE LENGTH(REPEAT(name, 2000 + id)) = 7";
    assert_eq!(answer(&fixture, filter), "ERROR 1038");
    let began = std::time::Instant::now();
    while fixture.ctx.memory.bytes_held() > 0 {
        assert!(began.elapsed() < std::time::Duration::from_secs(30));
        std::thread::yield_now();
    }
    assert_eq!(repeats(1, "LENGTH(?)"), "131072 rows");
}

#[test]
fn a_select_has_as_many_columns_as_mysqls_at_most() {
    let fixture = plain();
    let of = |count: usize| format!("SELECT {}", vec!["1"; count].join(","));
    assert!(answer(&fixture, &of(100)).starts_with("1\t1"));
    let fault = run(&fixture, &of(4_097), &[]).expect_err("too many");
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (1117, "Too many columns")
    );
}

/// A plan takes thousands of bytes for each expression: reserved while it is bound.
#[test]
fn a_plan_reserves_what_its_expressions_take() {
    let fixture = fixture(16 << 20, false, Cancel::never());
    let list = |count: usize| {
        let items: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let sql = format!("SELECT COUNT(*) FROM t WHERE id IN ({})", items.join(","));
        answer(&fixture, &sql)
    };
    assert_eq!(list(1_000), "6");
    assert_eq!(list(10_000), "ERROR 1038");
}

/// DataFusion gathers all rows of such a window and reserves none of them.
#[test]
fn a_window_over_everything_reserves_its_input() {
    let fixture = fixture(2 << 20, false, Cancel::never());
    let sql = |table: &str| format!("SELECT MAX(s) FROM (SELECT SUM(id) OVER () s FROM {table}) w");
    assert_eq!(answer(&fixture, &sql("large")), "ERROR 1038");
    assert_eq!(answer(&fixture, &sql("t")), "33");
}

#[test]
fn several_queries_run_at_once() {
    let fixture = plain();
    let query = query("SELECT COUNT(*) FROM t a JOIN t b ON a.name = b.name").expect("it parses");
    fixture.ctx.runtime.block_on(async {
        let all = (0..16).map(|_| async {
            let mut rows = select(&fixture.ctx, &query, &[]).await.expect("it runs");
            let batch = rows.batches.next().await.expect("a row").expect("a batch");
            cell(batch.column(0), 0)
        });
        for count in futures::future::join_all(all).await {
            assert_eq!(count, "7");
        }
    });
}
