//! What real clients sent, read as the server reads it. How the files were made and what they hold:
//! `engine/tests/captures/PROVENANCE.md`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};

use super::command::Command;
use super::execute::Statements;
use super::handshake::{LoginOutcome, log_in};
use super::login::Users;
use super::packet::{ConnectionError, Packets};
use crate::sql::parse::{self, parameters};

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
    let outcome = log_in(&mut packets, &users, "localhost", "8.0", 7, WAIT).await;
    let mut said = match outcome.expect("a login") {
        LoginOutcome::Admitted(login) => match login.database {
            Some(database) => format!("{} at {database}", login.user),
            None => login.user,
        },
        LoginOutcome::Refused(error) => {
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

/// The commands, those that follow each other and are alike as one.
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
            Command::Query(sql) => match parse::parse(sql) {
                Ok(_) => "query",
                Err(_) => "refused",
            },
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
        match found.last_mut() {
            Some((last, times)) if last == name => *times += 1,
            _ => found.push((name.to_owned(), 1)),
        }
    }
    let shown = found.into_iter().map(|(name, times)| match times {
        1 => name,
        times => format!("{name}*{times}"),
    });
    shown.collect()
}

const EXPECTED: &[(&str, &str)] = &[];

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
    for name in &there {
        println!("    (\"{name}\", \"{}\"),", read(name).await);
    }
    let named: BTreeSet<String> = EXPECTED
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(there, named, "none is left out");
}
