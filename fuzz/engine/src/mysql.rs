//! `mysql_packets`: all that one client sends over one connection, from its answer to the greeting on.
//!
//! Input: how many bytes arrive at a time | the client's bytes. The server's own parts read them in the
//! order in which a connection does: packets, login, commands, statements and their parameters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::limits::{LOGIN_PACKET_BYTES_MAX, PACKET_BYTES_MAX, WRITE_BUFFER_BYTES};
use engine::server::answer;
use engine::server::command::Command;
use engine::server::door::Door;
use engine::server::execute::Statements;
use engine::server::handshake::{CAPABILITIES, Entrance, LoginOutcome, Refused, log_in};
use engine::server::login::Users;
use engine::server::packet::{ConnectionError, Packets};
use engine::server::source::Source;
use engine::sql::{Done, Processes, SqlError, Value, parse, split_statements};
use fuzz_hot::bounds::within;
use fuzz_hot::input::Input;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

/// What a client may send at a time once it has logged in.
const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// Statements of a session that are kept prepared.
const PREPARED_MAX: u32 = 64;
/// A byte of a statement's text is a token, a node of a tree and a place in it.
const HELD_PER_BYTE: usize = 1_024;
/// Nothing here ever waits: what a client does not send it will not send.
const WAIT: Duration = Duration::from_secs(3_600);

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    static HEARD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The body.
pub fn mysql_packets(data: &[u8]) {
    let mut input = Input::new(data);
    let piece_bytes = 1 + usize::from(input.byte());
    let bytes = input.rest();
    HEARD.with_borrow_mut(Vec::clear);
    let client = Client { bytes, piece_bytes };
    let bytes_max = 4 * WRITE_BUFFER_BYTES + PAYLOAD_BYTES_MAX + HELD_PER_BYTE * bytes.len();
    RUNTIME.with(|runtime| {
        within(bytes_max, "a connection", || {
            let ended = runtime.block_on(serve(client));
            if let Err(error) = ended {
                assert!(!error.to_string().is_empty());
                assert!(
                    !matches!(error, ConnectionError::TimedOut { .. }),
                    "waited for a client whose end was there"
                );
            }
        });
    });
    HEARD.with_borrow(|heard| are_packets(heard));
}

/// A client that says all it has, then ends, and takes whatever it is told.
struct Client<'a> {
    bytes: &'a [u8],
    piece_bytes: usize,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self
            .piece_bytes
            .min(buffer.remaining())
            .min(self.bytes.len());
        let (now, later) = self.bytes.split_at(size);
        buffer.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        HEARD.with_borrow_mut(|heard| heard.extend_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn serve(client: Client<'_>) -> Result<(), ConnectionError> {
    let users = Users::new(HashMap::from([
        ("root".into(), String::new()),
        ("ann".into(), "secret".into()),
    ]));
    let mut packets = Packets::new(client, LOGIN_PACKET_BYTES_MAX, WAIT, WAIT);
    let door = Door::new(1, Processes::new());
    let (entered, _must_go) = door.enter(Source::of([127, 0, 0, 1].into()));
    let entrance = Entrance {
        users: &users,
        entered: &entered,
        host: "localhost",
        server_version: "8.0.36",
        connection_id: 7,
        within: WAIT,
    };
    let login = match log_in(&mut packets, &entrance).await? {
        LoginOutcome::Admitted(login) => login,
        LoginOutcome::Refused(Refused { error, logged, .. }) => {
            assert!(!error.message.contains("secret") && !logged.contains("secret"));
            packets.write(&answer::error(&error)).await?;
            return packets.flush().await;
        }
    };
    assert_eq!(login.user, "root", "nobody guesses a password");
    assert!(CAPABILITIES.contains(login.capabilities));
    packets.set_payload_bytes_max(PAYLOAD_BYTES_MAX);
    packets.write(&answer::ok(&Done::default(), 2)).await?;
    packets.flush().await?;
    let mut statements = Statements::new(PAYLOAD_BYTES_MAX);
    let mut prepared = 0;
    loop {
        packets.begin();
        let payload = packets.read(WAIT).await?.to_vec();
        let answer = match Command::read(&payload) {
            Ok(Command::Quit) => return Ok(()),
            Ok(command) => carry_out(command, &mut statements, &mut prepared)?,
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => packets.write(&answer::ok(&Done::default(), 2)).await?,
            Err(error) => packets.write(&answer::error(&error)).await?,
        }
        packets.flush().await?;
    }
}

fn carry_out(
    command: Command<'_>,
    statements: &mut Statements,
    prepared: &mut u32,
) -> Result<Result<(), SqlError>, ConnectionError> {
    Ok(match command {
        Command::Query(sql) => split_statements(sql).try_for_each(|piece| {
            let piece = piece.map_err(SqlError::from)?;
            parse::parse(piece.text).map(|_| ())
        }),
        Command::Prepare(sql) => parse::parameters(sql).map(|params| {
            if *prepared < PREPARED_MAX {
                *prepared += 1;
                statements.insert(*prepared, params.into());
            }
        }),
        Command::Execute { id, params } => {
            if let Some(values) = statements.read(id, params) {
                values?.iter().for_each(looked_at);
            }
            Ok(())
        }
        Command::SendLongData { id, param, bytes } => {
            statements.append_long_data(id, param, bytes)?;
            Ok(())
        }
        Command::Close(id) => {
            statements.close(id);
            Ok(())
        }
        Command::Reset(id) => {
            statements.reset(id);
            Ok(())
        }
        Command::ResetConnection => {
            statements.clear();
            Ok(())
        }
        Command::Quit
        | Command::Ping
        | Command::Statistics
        | Command::InitDb(_)
        | Command::FieldList { .. }
        | Command::ProcessKill(_)
        | Command::MultiStatements(_) => Ok(()),
    })
}

fn looked_at(value: &Value) {
    if let Value::Bytes(bytes) = value {
        assert!(bytes.len() <= PAYLOAD_BYTES_MAX);
    }
}

/// What was said is whole packets.
fn are_packets(mut heard: &[u8]) {
    while let Some((head, rest)) = heard.split_first_chunk::<4>() {
        let bytes = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        assert!(bytes < PACKET_BYTES_MAX && bytes <= rest.len());
        heard = &rest[bytes..];
    }
    assert!(heard.is_empty(), "a packet without its end");
}
