//! What real clients sent, read as the server reads it. How the files were made and what they hold:
//! `engine/tests/captures/PROVENANCE.md`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};

use super::command::Command;
use super::door::Door;
use super::execute::Statements;
use super::handshake::{Entrance, LoginOutcome, Refused, log_in};
use super::login::Users;
use super::packet::{ConnectionError, Packets};
use super::source::Source;
use crate::sql::Processes;
use crate::sql::parse::{self, parameters};
use crate::sql::split_statements;

const WAIT: Duration = Duration::from_secs(5);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// Who came in and what was asked, in one line.
async fn read(name: &str) -> String {
    let bytes = fs::read(folder().join(name).with_extension("bin")).expect("a capture");
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(&bytes).await.expect("room");
    far.shutdown().await.expect("the end");
    let mut packets = Packets::new(near, 1 << 16, WAIT, WAIT);
    let users = Users::new(HashMap::from([
        ("root".into(), String::new()),
        // Its nonce was another one: no captured password is right here.
        ("ann".into(), "Grüße 7".into()),
    ]));
    let door = Door::new(1, Processes::new());
    let (entered, _must_go) = door.enter(Source::of([127, 0, 0, 1].into()));
    let entrance = Entrance {
        users: &users,
        entered: &entered,
        host: "localhost",
        server_version: "8.0",
        connection_id: 7,
        within: WAIT,
    };
    let outcome = log_in(&mut packets, &entrance).await;
    let mut said = match outcome.expect("a login") {
        LoginOutcome::Admitted(login) => match login.database {
            Some(database) => format!("{} at {database}", login.user),
            None => login.user,
        },
        LoginOutcome::Refused(Refused { error, .. }) => {
            let user = error.message.split('\'').nth(1).unwrap_or_default();
            format!("{user} refused {}", error.code)
        }
    };
    said.push(':');
    for one in commands(&mut packets).await {
        said.push(' ');
        said.push_str(&one);
    }
    said
}

/// The commands, each kind with how often it came.
async fn commands(packets: &mut Packets<DuplexStream>) -> Vec<String> {
    let mut statements = Statements::new(1 << 20);
    let mut prepared = 0;
    let mut found: Vec<(String, usize)> = Vec::new();
    loop {
        packets.begin();
        let payload = match packets.read(WAIT).await {
            Ok(payload) => payload.to_vec(),
            Err(ConnectionError::Closed) => break,
            Err(error) => panic!("{error}"),
        };
        let name = match Command::read(&payload).expect("a command") {
            Command::Quit => "quit",
            Command::Ping => "ping",
            Command::Statistics => "statistics",
            Command::InitDb(_) => "use",
            Command::FieldList { .. } => "fields",
            Command::Query(sql) => {
                let pieces = split_statements(sql);
                let mut pieces = pieces.map(|piece| piece.expect("quotes that are closed"));
                match pieces.all(|piece| parse::parse(piece.text).is_ok()) {
                    true => "query",
                    false => "refused",
                }
            }
            Command::Prepare(sql) => {
                prepared += 1;
                statements.insert(prepared, parameters(sql).expect("tokens").into());
                "prepare"
            }
            Command::Execute { id, params } => {
                // What came as long data was left out of the capture: its value is missing then.
                match statements.read(id, params).expect("prepared before") {
                    Ok(_) => "execute",
                    Err(_) => "execute-without-long-data",
                }
            }
            Command::Close(_) => "close",
            Command::Reset(_) => "reset",
            other => panic!("{other:?}"),
        };
        match found.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => *times += 1,
            None => found.push((name.to_owned(), 1)),
        }
    }
    let shown = found.into_iter().map(|(name, times)| match times {
        1 => name,
        times => format!("{name}*{times}"),
    });
    shown.collect()
}

const EXPECTED: &[(&str, &str)] = &[
    (
        "connector_j-client-side",
        "root at shop: query*56 refused*2 ping*4 quit",
    ),
    ("connector_j-native", "ann refused 1045: query*3 ping quit"),
    (
        "connector_j-password",
        "ann refused 1045: query*6 ping quit",
    ),
    (
        "connector_j-prepared",
        "root at shop: query*15 prepare*26 execute*41 close*26 execute-without-long-data*2 refused*2 ping*4 quit",
    ),
    (
        "connector_j-prepared-cached",
        "root at shop: query*15 prepare*26 execute*41 execute-without-long-data*2 reset close*4 refused*2 ping*4 quit",
    ),
    ("connector_j-wrong-password", "ann refused 1045:"),
    ("mariadb-completion", "root at shop: query*3 use quit"),
    ("mariadb-load-data", "root at shop: refused quit"),
    ("mariadb-no-database", "root at nope:"),
    ("mariadb-no-password", "ann refused 1045:"),
    ("mariadb-password", "ann refused 1045: query quit"),
    ("mariadb-root", "root: query quit"),
    ("mariadb-several", "root: query quit"),
    ("mariadb-status", "root at shop: query*3 statistics quit"),
    ("mariadb-table", "root at shop: query*2 quit"),
    ("pymysql-errors", "root at shop: query*12 refused*2 quit"),
    ("pymysql-kill", "root: query*3 quit"),
    ("pymysql-password", "ann refused 1045: query*3 quit"),
    ("pymysql-root", "root: query*3 quit"),
    ("pymysql-types", "root at shop: query*14 quit"),
];

#[tokio::test]
async fn what_real_clients_send_is_understood() {
    for (name, expected) in EXPECTED {
        assert_eq!(read(name).await, *expected, "{name}");
    }
    let there: BTreeSet<String> = fs::read_dir(folder())
        .expect("captures")
        .map(|entry| entry.expect("a capture").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "bin"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let named: BTreeSet<String> = EXPECTED
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(there, named, "none is left out");
}
