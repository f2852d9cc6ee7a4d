//! Writes the seeds of the targets that stand on DataFusion.
//!
//! `cargo run --release --workspace --example seeds_engine -- FOLDER`: a folder for each target below it.
//! Sources: what real clients sent (`engine/tests/captures`), the expressions that a MySQL server
//! answered (`engine/src/sql/select/expressions.tsv`), the examples of the documentation.

use std::fs;
use std::path::Path;

use fuzz_hot::corpus::{put, tree};

fn main() {
    let out = std::env::args().nth(1).expect("where to write?");
    let out = Path::new(&out);
    captures(out);
    expressions(out);
    for page in [
        "README.md",
        "docs/sql.md",
        "docs/pipelines.md",
        "docs/views.md",
    ] {
        blocks(out, page, "sql", "sql_text");
    }
    blocks(out, "docs/configuration.md", "toml", "configuration");
    for (at, text) in CONFIGURATIONS.iter().enumerate() {
        put(out, "configuration", &format!("own-{at}"), text.as_bytes());
    }
    for (at, text) in STATEMENTS.iter().enumerate() {
        put(out, "sql_text", &format!("own-{at}"), text.as_bytes());
    }
}

/// Whole connections, and the statements in them.
fn captures(out: &Path) {
    for entry in fs::read_dir(tree().join("engine/tests/captures")).expect("captures") {
        let path = entry.expect("a capture").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.extension().is_none_or(|ending| ending != "bin") {
            continue;
        }
        let bytes = fs::read(&path).expect("read");
        put(
            out,
            "mysql_packets",
            &name,
            &[&[63], bytes.as_slice()].concat(),
        );
        let mut rest = bytes.as_slice();
        let mut at = 0;
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let size = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
            let (payload, after) = after.split_at(size.min(after.len()));
            rest = after;
            // COM_QUERY and COM_STMT_PREPARE.
            if let ([3 | 0x16, text @ ..], 0) = (payload, head[3]) {
                put(out, "sql_text", &format!("{name}-{at}"), text);
            }
            at += 1;
        }
    }
}

fn expressions(out: &Path) {
    let table = tree().join("engine/src/sql/select/expressions.tsv");
    let table = fs::read_to_string(table).expect("read");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let expressions = rows.filter_map(|row| row.split('\t').next());
    for (at, expression) in expressions.enumerate() {
        let text = format!("SELECT {expression} FROM t");
        put(out, "query", &format!("expression-{at}"), text.as_bytes());
    }
    for (at, text) in QUERIES.iter().enumerate() {
        put(out, "query", &format!("own-{at}"), text.as_bytes());
        put(out, "sql_text", &format!("query-{at}"), text.as_bytes());
    }
}

/// The blocks of a language on a page of the documentation.
fn blocks(out: &Path, page: &str, language: &str, target: &str) {
    let text = fs::read_to_string(tree().join(page)).expect("read");
    let opening = format!("```{language}\n");
    for (at, block) in text.split(&opening).skip(1).enumerate() {
        let block = block.split("```").next().unwrap_or_default();
        let name = page.replace(['/', '.'], "-");
        put(out, target, &format!("{name}-{at}"), block.as_bytes());
    }
}

const QUERIES: &[&str] = &[
    "SELECT * FROM t ORDER BY i64 DESC LIMIT 2 OFFSET 1",
    "SELECT s, COUNT(*), SUM(m), AVG(d), MIN(day), MAX(at6) FROM t GROUP BY s HAVING COUNT(*) > 0",
    "SELECT x.i8 + y.a FROM t x LEFT JOIN u y ON x.i8 = y.a WHERE y.b IS NULL OR x.s LIKE '1%'",
    "WITH c AS (SELECT u64, f FROM t) SELECT * FROM c UNION ALL SELECT a, b FROM u",
    "SELECT day + INTERVAL 1 MONTH, DATEDIFF(at0, at3), DATE_FORMAT(at6, '%Y-%m-%d %f') FROM t",
    "SELECT CASE WHEN i16 DIV 3 > u16 % 7 THEN CONCAT(s, j) ELSE CAST(m AS CHAR) END FROM t",
    "SELECT ROW_NUMBER() OVER (PARTITION BY b ORDER BY a) FROM u",
    "SELECT (SELECT MAX(a) FROM u) , EXISTS (SELECT 1 FROM u WHERE a = i8), i8 IN (1, 2, NULL) FROM t",
    "SELECT REPEAT(s, 3), SUBSTRING_INDEX(s, ' ', 1), ROUND(m, -2), @a, @@b, NOW(6) FROM t",
];

const STATEMENTS: &[&str] = &[
    "CREATE TABLE shop.orders (id BIGINT UNSIGNED NOT NULL, at DATETIME(6) DEFAULT NULL, note VARCHAR(20) COMMENT 'x', \
     price DECIMAL(18,4) DEFAULT '0', doc JSON, SORT KEY (id), SHARD KEY ()) COLLATE utf8mb4_bin",
    "CREATE OR REPLACE PIPELINE shop.p AS LOAD DATA KAFKA 'a:9092,b/topic' CONFIG '{\"isolation.level\": \
     \"read_committed\"}' BATCH_INTERVAL 2500 MAX_OFFSETS_PER_BATCH_PARTITION 1000000 SKIP PARSER ERRORS INTO TABLE orders \
     FORMAT JSON (id <- id, at <- `created at`::x DEFAULT '2024-01-01', doc <- %)",
    "ALTER PIPELINE p SET OFFSETS '{\"0\": 12, \"1\": 7}'; START PIPELINE p FOREGROUND LIMIT 3 BATCHES; STOP PIPELINE p",
    "TEST PIPELINE p LIMIT 5; SHOW CREATE PIPELINE p\\G; DROP PIPELINE IF EXISTS p",
    "DELIMITER //\nSET GLOBAL pipelines_stop_on_error = OFF, @x := 1, NAMES utf8mb4 //\nSHOW VARIABLES LIKE 'a%'//",
    "/*! SET sql_mode = '' */; EXPLAIN ANALYZE SELECT 1; DESCRIBE orders; KILL QUERY 7; USE `d b`",
];

const CONFIGURATIONS: &[&str] = &[
    "data_dir = \"data\"",
    "data_dir = \"/d\"\nstartup_sql = \"s.sql\"\n[cores]\ncontrol = 0\nleaves = [1]\nquery = \"auto\"\nspin = true\n[listen]\n\
     mysql = \"[::1]:4000\"\n[users]\nann = \"x\"\neve = { env = \"SECRET\" }\n[memory]\nquery_bytes = 33554432\n[variables]\n\
     pipelines_stop_on_error = false\npipelines_batch_interval = 20\n[log]\nformat = \"json\"\nlevel = \"debug\"",
    "data_dir = \"d\"\n[listen]\nmysql = \"0.0.0.0:3306\"\n[users]\nroot = { file = \"root.password\" }",
    "data_dir = 1\n[storage]\nflush_age_ms = 1e3\n[server]\nmax_connections = 0x10",
];
