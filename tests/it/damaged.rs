//! A segment that somebody spoilt: a query says so, and reads around it when it is told to, never with
//! fewer rows in silence.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::feed::{Feed, wait_for_rows};
use crate::node::Node;

/// Rows of the first load, and offsets of a commit.
const ROWS: usize = 1_000;
const COMMIT: usize = 100;
/// The row whose note is spoilt: the third commit's.
const SPOILT: usize = 250;
const SOON: Duration = Duration::from_secs(60);

fn segments(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            segments(&path, found);
        } else if path.extension().is_some_and(|arrow| arrow == "arrow") {
            found.push(path);
        }
    }
}

fn messages(ids: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    ids.map(|id| format!("{{\"id\":{id},\"note\":\"note-{id:05}\"}}"))
}

/// Until a commit that was written later vouches for the first ones: then recovery does not read them again.
fn wait_durable(node: &Node, rows: usize) {
    node.wait_for("the rows are durable", SOON, |node| {
        let durable = node.sql("SET pinleaf_read = durable; SELECT COUNT(*) FROM shop.notes");
        durable == [[rows.to_string()]]
    });
}

#[test]
fn mysql_cli_damaged_rows_are_left_out_with_a_warning_that_counts_them() {
    let home = tempfile::tempdir().unwrap();
    let feed = Feed::start(&home.path().join("log"), &["notes"]);
    let mut node = Node::new(&home.path().join("node"), "");
    node.start();
    node.sql("CREATE DATABASE shop");
    node.sql("CREATE TABLE shop.notes (id BIGINT NOT NULL, note VARCHAR(20) NOT NULL)");
    feed.produce("notes", messages(0..ROWS));
    let settings = format!("MAX_OFFSETS_PER_BATCH_PARTITION {COMMIT}");
    feed.load(&node, "notes", &settings);
    wait_for_rows(&node, "notes", ROWS);
    wait_durable(&node, ROWS);
    feed.produce("notes", messages(ROWS..ROWS + 1));
    wait_durable(&node, ROWS + 1);
    node.stop();

    let mut found = Vec::new();
    segments(&node.data_dir().join("tables"), &mut found);
    assert_eq!(found.len(), 1, "{found:?}");
    let mut bytes = fs::read(&found[0]).unwrap();
    let note = format!("note-{SPOILT:05}");
    let at = bytes
        .windows(note.len())
        .position(|window| window == note.as_bytes())
        .unwrap();
    bytes[at] = b'N';
    fs::write(&found[0], bytes).unwrap();

    node.start();
    let shown = found[0].display();
    let sql = "SELECT COUNT(note), MIN(note) FROM shop.notes WHERE id >= 0";
    let refused = node.try_sql(sql).unwrap_err();
    let damage = format!("{shown}: checksum mismatch in column 1, buffer ");
    let hint = "; SET pinleaf_read_damaged = ON reads around it";
    assert!(
        refused.contains("ERROR 1712 (HY000)")
            && refused.contains(&damage)
            && refused.contains(hint),
        "{refused}"
    );
    // The client asks for warnings only where the packet behind the rows counts some.
    let client = env::var_os("PINLEAF_MYSQL").expect("PINLEAF_MYSQL");
    let ended = Command::new(client)
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "-h127.0.0.1",
            "-uroot",
            "-P",
        ])
        .arg(node.port().to_string())
        .args(["-N", "-B", "--show-warnings", "-e"])
        .arg(format!(
            "SET pinleaf_read_damaged = ON; {sql}; SELECT COUNT(id) FROM shop.notes"
        ))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        ended.status.success() && lines.len() == 3,
        "{ended:?}\n{said}"
    );
    assert_eq!(lines[0], format!("{}\tnote-00000", ROWS + 1 - COMMIT));
    let warning = format!(
        "Warning (Code 1712): Table 'notes': {COMMIT} rows are left out, of partition 0 in offsets {} to {}: {damage}",
        SPOILT - SPOILT % COMMIT,
        SPOILT - SPOILT % COMMIT + COMMIT - 1
    );
    assert!(lines[1].starts_with(&warning), "{said}");
    // What is not read cannot be damaged.
    assert_eq!(lines[2], (ROWS + 1).to_string());
    node.stop();
}
