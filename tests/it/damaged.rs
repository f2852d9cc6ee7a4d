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

/// The client asks for warnings only where the packet behind the rows counts some.
fn with_warnings(node: &Node, sql: &str) -> Vec<String> {
    let client = env::var_os("PINLEAF_MYSQL").expect("PINLEAF_MYSQL");
    let ended = Command::new(client)
        .args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uroot"])
        .args(["-P", &node.port().to_string()])
        .args(["-N", "-B", "--show-warnings", "-e", sql])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stdout);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn mysql_cli_damaged_rows_are_left_out_with_a_warning_that_counts_them_and_loaded_again() {
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

    // What is not read cannot be damaged; of what is read, a commit's rows are left out.
    node.start();
    let sql = "SELECT COUNT(note), MIN(note) FROM shop.notes WHERE id >= 0";
    let on = "SET pinleaf_read_damaged = ON";
    let said = with_warnings(
        &node,
        &format!("{on}; SELECT COUNT(id) FROM shop.notes; {sql}"),
    );
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[0], (ROWS + 1).to_string());
    assert_eq!(said[1], format!("{}\tnote-00000", ROWS + 1 - COMMIT));
    let warning = format!(
        "Warning (Code 1712): Table 'notes': {COMMIT} rows are left out, of partition 0 in offsets {} to {}: {}: \
         checksum mismatch in column 1, buffer ",
        SPOILT - SPOILT % COMMIT,
        SPOILT - SPOILT % COMMIT + COMMIT - 1,
        found[0].display()
    );
    assert!(said[2].starts_with(&warning), "{said:?}");

    // The whole segment goes, and is missed by name.
    node.wait_for("the segment is in quarantine", SOON, |node| {
        let state = node.sql("SELECT STATE, DAMAGE FROM information_schema.PIPELINES_PARTITIONS");
        state[0][0].starts_with("Failed: ") && state[0][1].contains("quarantine/")
    });
    let missing = format!(
        "offsets 0 to {ROWS} of partition 0 are missing: the segment that held them is in quarantine/"
    );
    let hint = "; SET pinleaf_read_damaged = ON reads around them";
    let refused = node.try_sql(sql).unwrap_err();
    assert!(
        refused.contains("ERROR 1712 (HY000)")
            && refused.contains(&missing)
            && refused.contains(hint),
        "{refused}"
    );
    let audited = node.sql("AUDIT PIPELINE shop.notes");
    let told = |row: &Vec<String>| row.iter().any(|cell| cell.starts_with(&missing));
    assert!(audited.iter().any(told), "{audited:?}");
    // The pipeline, whose only partition it is, has stopped with it: the file is closed, and none of it shown.
    let around = format!("{on}; {sql}");
    node.wait_for("it is read around", SOON, |node| {
        let said = with_warnings(node, &around);
        said.len() == 2 && said[0] == "0\tNULL" && said[1].contains(&missing)
    });
    // Kafka has them still.
    node.sql("START PIPELINE shop.notes");
    node.wait_for("they are loaded again", SOON, |node| {
        node.try_sql(sql)
            .is_ok_and(|rows| rows == [[(ROWS + 1).to_string(), "note-00000".to_owned()]])
    });
    node.stop();
}
