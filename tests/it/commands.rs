//! What a client may do with commands that its library would not: name what is not there, and go in their midst.

use std::net::Ipv4Addr;

use tempfile::TempDir;

use crate::node::Node;
use crate::wire::{PATIENCE, Wire, refused};

const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_STMT_RESET: u8 = 0x1a;

fn start() -> (TempDir, Node) {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "[users]\nroot = \"\"\nann = \"\"\n");
    node.start();
    (home, node)
}

fn ann(node: &Node) -> Wire {
    Wire::log_in(node, Ipv4Addr::LOCALHOST, "ann", "").unwrap()
}

#[test]
fn mysql_cli_a_statement_that_was_never_prepared_is_1243_and_the_session_goes_on() {
    let (_home, node) = start();
    let mut wire = ann(&node);
    let named =
        |command: u8, behind: &[u8]| [&[command], &7_u32.to_le_bytes()[..], behind].concat();
    for (command, who) in [
        (
            named(COM_STMT_EXECUTE, &[0, 1, 0, 0, 0]),
            "mysqld_stmt_execute",
        ),
        (named(COM_STMT_RESET, &[]), "mysqld_stmt_reset"),
    ] {
        wire.write(0, &command);
        let (_, payload) = wire.read().expect("an answer");
        let expected = format!("Unknown prepared statement handler (7) given to {who}");
        assert_eq!(refused(&payload), (1243, expected));
        wire.select_one();
    }
    // These two have no answer.
    wire.write(0, &named(COM_STMT_SEND_LONG_DATA, &[0, 0, b'x']));
    wire.write(0, &named(COM_STMT_CLOSE, &[]));
    wire.select_one();
}

/// More rows than a day is enough for.
const LONG: &str = "SELECT COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b, \
                    information_schema.COLUMNS c, information_schema.COLUMNS d, information_schema.COLUMNS e \
                    WHERE CONCAT(a.COLUMN_NAME, b.COLUMN_NAME, c.COLUMN_NAME, d.COLUMN_NAME, e.COLUMN_NAME) = 'x'";

fn status(node: &Node, name: &str) -> u64 {
    let found = node.sql(&format!("SHOW STATUS LIKE '{name}'"));
    found[0][1].parse().unwrap()
}

/// What SHOW STATUS holds itself is held too.
fn memory(node: &Node) -> u64 {
    status(node, "Pinleaf_query_memory_bytes")
}

fn memory_is_given_back(node: &Node, of: &str, idle: u64) {
    node.wait_for(of, PATIENCE, |node| {
        memory(node) <= idle && status(node, "Threads_connected") == 1
    });
}

#[test]
fn mysql_cli_what_is_killed_or_left_gives_its_memory_back() {
    let (_home, node) = start();
    let id = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'ann' AND INFO LIKE 'SELECT COUNT%'";
    let idle = memory(&node);
    let held = |node: &Node| memory(node) > idle;
    let runs = || {
        let mut wire = ann(&node);
        wire.command(LONG);
        node.wait_for("it runs", PATIENCE, |node| {
            !node.sql(id).is_empty() && held(node)
        });
        wire
    };
    // Killed in its midst.
    let mut wire = runs();
    node.sql(&format!("KILL QUERY {}", node.cell(id)));
    let (_, payload) = wire.read().expect("an answer");
    let payload = match payload[0] {
        0xff => payload,
        // Its columns went ahead.
        _ => {
            std::iter::from_fn(|| wire.read())
                .find(|(_, payload)| payload[0] == 0xff)
                .expect("an error")
                .1
        }
    };
    assert_eq!(refused(&payload).0, 1317);
    wire.select_one();
    drop(wire);
    memory_is_given_back(&node, "what was killed gives back", idle);
    // Left in its midst.
    drop(runs());
    memory_is_given_back(&node, "what was left gives back", idle);
    // And while it is prepared.
    let mut wire = ann(&node);
    let long = format!("SELECT {}1", "1 OR ".repeat(20_000));
    wire.write(0, &[&[COM_STMT_PREPARE], long.as_bytes()].concat());
    // On a fast machine it may be answered before anybody looks.
    wire.0.set_nonblocking(true).unwrap();
    node.wait_for("it is prepared", PATIENCE, |node| {
        held(node) || wire.0.peek(&mut [0]).is_ok()
    });
    drop(wire);
    memory_is_given_back(
        &node,
        "what was left while it was prepared gives back",
        idle,
    );
}
