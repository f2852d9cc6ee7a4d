//! From an accepted socket to a user: the greeting, the client's answer, one switch of the plugin.
//!
//! 1. The whole exchange has one deadline, however few bytes come how often. What the server itself waits
//!    because of earlier failures is added to it.
//! 2. Before it is logged in a client sends two packets of `LOGIN_PACKET_BYTES_MAX` at most. The attributes
//!    of a connection are not read, and names are short: no more is made of these bytes than they are.
//! 3. Nobody's password is looked at but in its turn ([`super::failures`]). Who hangs up before it comes, or
//!    sends anything, has given it up.

use std::time::Duration;

use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthMoreData, AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse,
};
use mysql_common::proto::{MyDeserialize, MySerialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::bursts::Refusal;
use super::door::Entered;
use super::login::{NONCE_BYTES, Plugin, Users, nonce};
use super::packet::{ConnectionError, Packets};
use crate::limits::{LOGIN_NAME_BYTES_MAX, SHOWN_USER_CHARS_MAX};
use crate::sql::{Code, SqlError};

/// What the server offers. TLS and compression are not among it.
pub const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_LONG_PASSWORD
    .union(CapabilityFlags::CLIENT_FOUND_ROWS)
    .union(CapabilityFlags::CLIENT_LONG_FLAG)
    .union(CapabilityFlags::CLIENT_CONNECT_WITH_DB)
    .union(CapabilityFlags::CLIENT_ODBC)
    .union(CapabilityFlags::CLIENT_IGNORE_SPACE)
    .union(CapabilityFlags::CLIENT_PROTOCOL_41)
    .union(CapabilityFlags::CLIENT_INTERACTIVE)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_MULTI_STATEMENTS)
    .union(CapabilityFlags::CLIENT_MULTI_RESULTS)
    .union(CapabilityFlags::CLIENT_PS_MULTI_RESULTS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_CONNECT_ATTRS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(CapabilityFlags::CLIENT_DEPRECATE_EOF);

/// utf8mb4_bin.
pub const COLLATION: u8 = 46;

/// Who logged in.
pub struct Login {
    /// The user.
    pub user: String,
    /// The database asked for.
    pub database: Option<String>,
    /// What both sides can do.
    pub capabilities: CapabilityFlags,
}

/// How a login ended that did not fail in the stream.
pub enum LoginOutcome {
    /// The user is known and the password right. OK is still to be sent.
    Admitted(Login),
    /// The connection is to be closed.
    Refused(Refused),
}

/// Why a login is refused.
pub struct Refused {
    /// To be told to the client.
    pub error: SqlError,
    /// To be told to the log: it names a user only who is in the configuration, as what else stands in that
    /// place may be a password that was typed there.
    pub logged: String,
    /// Which kind it is.
    pub refusal: Refusal,
}

/// What a login is checked against, and who it is of.
pub struct Entrance<'a> {
    /// Who may.
    pub users: &'a Users,
    /// Its place at the door.
    pub entered: &'a Entered,
    /// Where the client is, as errors say it.
    pub host: &'a str,
    /// What the server says its version is.
    pub server_version: &'a str,
    /// The connection's id.
    pub connection_id: u32,
    /// How long the client may take for all of it.
    pub within: Duration,
}

/// The server's greeting.
#[must_use]
pub fn greeting(server_version: &str, connection_id: u32, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    let (first, second) = nonce.split_at(8);
    let second = [second, &[0]].concat();
    let packet = HandshakePacket::new(
        10,
        server_version.as_bytes(),
        connection_id,
        first.try_into().unwrap_or([0; 8]),
        Some(second),
        CAPABILITIES,
        COLLATION,
        StatusFlags::SERVER_STATUS_AUTOCOMMIT,
        Some(Plugin::CachingSha2.name().as_bytes()),
    );
    let mut payload = Vec::new();
    packet.serialize(&mut payload);
    payload
}

/// The end of a login, which what the server waits itself puts off.
struct Deadline(Instant);

impl Deadline {
    async fn keep<T>(
        &self,
        work: impl Future<Output = Result<T, ConnectionError>>,
    ) -> Result<T, ConnectionError> {
        timeout_at(self.0, work)
            .await
            .map_err(|_| ConnectionError::TimedOut {
                doing: "logging in",
            })?
    }
}

/// Greets a client and takes its login.
///
/// # Errors
/// Where the stream ends, does not speak the protocol or takes longer than `within`.
pub async fn log_in<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    packets: &mut Packets<S>,
    entrance: &Entrance<'_>,
) -> Result<LoginOutcome, ConnectionError> {
    let Entrance {
        server_version,
        connection_id,
        within,
        ..
    } = *entrance;
    let mut deadline = Deadline(Instant::now() + within);
    let greeted = nonce()?;
    packets
        .write(&greeting(server_version, connection_id, &greeted))
        .await?;
    deadline.keep(packets.flush()).await?;
    let bytes = deadline.keep(packets.read(within)).await?;
    let refused = |code, state, message: &str| {
        let error = SqlError {
            code,
            state,
            message: message.to_owned(),
        };
        Ok(LoginOutcome::Refused(Refused {
            error,
            logged: message.to_owned(),
            refusal: Refusal::Login,
        }))
    };
    let capabilities = bytes
        .first_chunk::<4>()
        .map_or(0, |flags| u32::from_le_bytes(*flags));
    if capabilities & CapabilityFlags::CLIENT_PROTOCOL_41.bits() == 0 {
        return refused(
            1251,
            "08004",
            "Client does not support authentication protocol requested by server; consider upgrading MySQL client",
        );
    }
    if capabilities & CapabilityFlags::CLIENT_SSL.bits() != 0 {
        return refused(
            3159,
            "HY000",
            "TLS is not offered here; connect with --ssl-mode=DISABLED",
        );
    }
    let Some(answered) = Answered::read(bytes)? else {
        return refused(
            1470,
            "HY000",
            &format!(
                "The name of a user or a database is longer than {LOGIN_NAME_BYTES_MAX} bytes"
            ),
        );
    };
    let Answered {
        login,
        announced,
        response,
    } = answered;
    let mut claim = Claim {
        plugin: announced.unwrap_or(Plugin::CachingSha2),
        nonce: greeted,
        response,
        is_last: true,
    };
    // A client whose own plugin is not the announced one may have answered nothing at all: unless that is
    // right, for an empty password, it is asked once more, for its own plugin.
    claim.is_last = !(announced == Some(Plugin::Native) && claim.response.is_empty());
    let mut verdict = match announced {
        Some(_) => {
            entrance
                .verdict(packets, &login, &claim, &mut deadline)
                .await?
        }
        None => Verdict::AskAgain,
    };
    if matches!(verdict, Verdict::AskAgain) {
        claim = deadline
            .keep(ask_again(packets, claim.plugin, within))
            .await?;
        verdict = entrance
            .verdict(packets, &login, &claim, &mut deadline)
            .await?;
    }
    match verdict {
        Verdict::Admitted => {}
        Verdict::NotNow(retry_in) => return Ok(entrance.blocked(retry_in)),
        Verdict::Denied | Verdict::AskAgain => {
            return Ok(entrance.denied(&login.user, !claim.response.is_empty()));
        }
    }
    if claim.plugin == Plugin::CachingSha2 && !claim.response.is_empty() {
        // "fast path succeeded"
        let mut payload = Vec::new();
        AuthMoreData::new([3].as_slice()).serialize(&mut payload);
        packets.write(&payload).await?;
    }
    Ok(LoginOutcome::Admitted(login))
}

/// What a client answers to the greeting.
struct Answered {
    login: Login,
    /// The plugin that it answers with; `None`: one that is not known here.
    announced: Option<Plugin>,
    response: Vec<u8>,
}

impl Answered {
    /// `None`: a name is longer than it may be.
    fn read(payload: &[u8]) -> Result<Option<Answered>, ConnectionError> {
        let malformed = || ConnectionError::Malformed("handshake response");
        let mut payload = payload.to_vec();
        let flags = payload.first_chunk_mut::<4>().ok_or_else(malformed)?;
        // Nothing asks for the attributes, and a table of many tiny ones takes 25 times what was sent.
        let attributes = CapabilityFlags::CLIENT_CONNECT_ATTRS.bits();
        *flags = (u32::from_le_bytes(*flags) & !attributes).to_le_bytes();
        let answer =
            HandshakeResponse::deserialize((), &mut ParseBuf(&payload)).map_err(|_| malformed())?;
        let names = [answer.user(), answer.db_name().unwrap_or_default()];
        if names.iter().any(|name| name.len() > LOGIN_NAME_BYTES_MAX) {
            return Ok(None);
        }
        let [user, database] = names.map(|name| String::from_utf8_lossy(name).into_owned());
        let announced = match answer.auth_plugin() {
            Some(AuthPlugin::CachingSha2Password) => Some(Plugin::CachingSha2),
            Some(AuthPlugin::MysqlNativePassword) | None => Some(Plugin::Native),
            Some(_) => None,
        };
        let response = match answer.scramble_buf() {
            [0] => Vec::new(),
            response => response.to_vec(),
        };
        Ok(Some(Answered {
            login: Login {
                user,
                database: Some(database).filter(|name| !name.is_empty()),
                capabilities: answer.capabilities() & CAPABILITIES,
            },
            announced,
            response,
        }))
    }
}

/// What a client answers to a nonce.
struct Claim {
    plugin: Plugin,
    nonce: [u8; NONCE_BYTES],
    response: Vec<u8>,
    /// If it is wrong, that is the end of it.
    is_last: bool,
}

enum Verdict {
    Admitted,
    Denied,
    AskAgain,
    NotNow(Duration),
}

impl Entrance<'_> {
    async fn verdict<S: AsyncReadExt + AsyncWriteExt + Unpin>(
        &self,
        packets: &mut Packets<S>,
        login: &Login,
        claim: &Claim,
        deadline: &mut Deadline,
    ) -> Result<Verdict, ConnectionError> {
        let (door, source) = (self.entered.door(), self.entered.source());
        let mut attempt = match door.turn(source, &login.user) {
            Ok(attempt) => attempt,
            Err(retry_in) => return Ok(Verdict::NotNow(retry_in)),
        };
        if attempt.has_to_wait() {
            self.entered.set_waits(true);
            tokio::select! {
                biased;
                waited = attempt.wait() => deadline.0 += waited,
                error = packets.out_of_turn() => return Err(error),
            }
            self.entered.set_waits(false);
        }
        let Claim {
            plugin,
            nonce,
            response,
            is_last,
        } = claim;
        Ok(if self.users.admit(&login.user, *plugin, nonce, response) {
            attempt.succeeded();
            Verdict::Admitted
        } else if *is_last {
            attempt.failed();
            Verdict::Denied
        } else {
            Verdict::AskAgain
        })
    }

    fn denied(&self, user: &str, using_password: bool) -> LoginOutcome {
        let shown: String = user.chars().take(SHOWN_USER_CHARS_MAX).collect();
        let using = if using_password { "YES" } else { "NO" };
        let denied = |who: &str| format!("Access denied for {who} (using password: {using})");
        let error = denied(&format!("user '{shown}'@'{}'", self.host));
        let logged = match self.users.is_known(user) {
            true => denied(&format!("user '{shown}'")),
            false => denied("a user who is not in [users]"),
        };
        LoginOutcome::Refused(Refused {
            error: SqlError::new(Code::AccessDenied, error),
            logged,
            refusal: Refusal::Login,
        })
    }

    fn blocked(&self, retry_in: Duration) -> LoginOutcome {
        let message = format!(
            "Host '{}' is blocked because of many connection errors: too many logins of this user wait there \
             already; try again in {} s",
            self.host,
            retry_in.as_secs().max(1)
        );
        LoginOutcome::Refused(Refused {
            error: SqlError::new(Code::HostBlocked, message.clone()),
            logged: message,
            refusal: Refusal::Blocked,
        })
    }
}

/// Switches to a plugin, which the client answers with another nonce.
async fn ask_again<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    packets: &mut Packets<S>,
    plugin: Plugin,
    within: Duration,
) -> Result<Claim, ConnectionError> {
    let fresh = nonce()?;
    let mut payload = Vec::new();
    AuthSwitchRequest::new(plugin.name().as_bytes(), [fresh.as_slice(), &[0]].concat())
        .serialize(&mut payload);
    packets.write(&payload).await?;
    packets.flush().await?;
    let response = packets.read(within).await?;
    let response = if response == [0] { &[] } else { response };
    Ok(Claim {
        plugin,
        nonce: fresh,
        response: response.to_vec(),
        is_last: true,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use tokio::io::DuplexStream;

    use super::super::door::Door;
    use super::super::source::Source;
    use super::*;
    use crate::limits::{FAILURES_FREE, LOGIN_PACKET_BYTES_MAX};
    use crate::sql::Processes;

    const WAIT: Duration = Duration::from_secs(60);
    /// Less than the delay after so many failures.
    const SOON: Duration = Duration::from_secs(4);
    const FAILURES: u32 = FAILURES_FREE + 5;

    /// A handshake response with a password that is wrong; behind it `more`.
    fn response(user: &str, database: &str, capabilities: CapabilityFlags, more: &[u8]) -> Vec<u8> {
        let capabilities = capabilities
            | CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_CONNECT_WITH_DB
            | CapabilityFlags::CLIENT_PLUGIN_AUTH;
        let mut payload = capabilities.bits().to_le_bytes().to_vec();
        payload.extend((1_u32 << 24).to_le_bytes());
        payload.push(COLLATION);
        payload.extend([0; 23]);
        payload.extend([user.as_bytes(), b"\0\x03bad"].concat());
        payload.extend([database.as_bytes(), b"\0caching_sha2_password\0"].concat());
        payload.extend(more);
        payload
    }

    #[test]
    fn the_attributes_of_a_connection_are_not_read() {
        let attributes = CapabilityFlags::CLIENT_CONNECT_ATTRS;
        let tiny: Vec<u8> = (0_u16..10_000)
            .flat_map(|at| [[2].as_slice(), &at.to_le_bytes(), &[0]].concat())
            .collect();
        let tiny = [&[0xfc][..], &40_000_u16.to_le_bytes(), &tiny[..]].concat();
        // Also those that are none: that their length is wrong would be an error, were it looked at.
        for more in [&tiny[..], b"\xff\xff\xff", b""] {
            let payload = response("ann", "shop", attributes, more);
            let read = Answered::read(&payload).expect("a response");
            let Answered {
                login,
                announced,
                response,
            } = read.expect("its names are short");
            assert_eq!(login.user, "ann");
            assert_eq!(login.database.as_deref(), Some("shop"));
            assert!(!login.capabilities.contains(attributes));
            assert_eq!(announced, Some(Plugin::CachingSha2));
            assert_eq!(response, b"bad");
        }
    }

    #[test]
    fn a_name_is_as_long_as_it_may_be_and_no_longer() {
        let (long, too_long) = (
            "a".repeat(LOGIN_NAME_BYTES_MAX),
            "a".repeat(LOGIN_NAME_BYTES_MAX + 1),
        );
        for (user, database, is_taken) in [
            (&long, &long, true),
            (&too_long, &long, false),
            (&long, &too_long, false),
        ] {
            let payload = response(user, database, CapabilityFlags::empty(), b"");
            let read = Answered::read(&payload).expect("a response");
            assert_eq!(read.is_some(), is_taken);
        }
        assert!(Answered::read(b"abc").is_err() && Answered::read(&[0; 8]).is_err());
    }

    /// Logs in with what a client sends, whose end it is given.
    async fn logged_in(
        door: &Arc<Door>,
        near: DuplexStream,
    ) -> Result<LoginOutcome, ConnectionError> {
        let users = Users::new(HashMap::from([("ann".into(), "right".into())]));
        let (entered, _must_go) = door.enter(Source::of([127, 0, 0, 1].into()));
        let entrance = Entrance {
            users: &users,
            entered: &entered,
            host: "localhost",
            server_version: "8.0",
            connection_id: 7,
            within: WAIT,
        };
        let mut packets = Packets::new(near, LOGIN_PACKET_BYTES_MAX, WAIT, WAIT);
        log_in(&mut packets, &entrance).await
    }

    /// `payload` as a client's first packet.
    fn packet(payload: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(payload.len()).expect("short").to_le_bytes();
        [&[bytes[0], bytes[1], bytes[2], 1], payload].concat()
    }

    #[tokio::test]
    async fn who_hangs_up_or_speaks_while_the_delay_runs_has_given_it_up() {
        let door = Door::new(1, Processes::new());
        let source = Source::of([127, 0, 0, 1].into());
        for _ in 0..FAILURES {
            door.turn(source, "ann").expect("there is room").failed();
        }
        let wrong = packet(&response("ann", "", CapabilityFlags::empty(), b""));
        for (more, ends_with) in [
            (&b""[..], "the client closed the connection"),
            (b"\x01", "malformed packet: bytes out of turn"),
        ] {
            let (near, mut far) = tokio::io::duplex(1 << 10);
            far.write_all(&wrong).await.expect("room");
            if more.is_empty() {
                far.shutdown().await.expect("the end");
            } else {
                far.write_all(more).await.expect("room");
            }
            let began = Instant::now();
            let outcome = logged_in(&door, near).await;
            let error = outcome.err().expect("it has given up").to_string();
            assert_eq!(error, ends_with);
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_is_refused_and_not_repeated() {
        let door = Door::new(1, Processes::new());
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let user = "a".repeat(LOGIN_NAME_BYTES_MAX + 1);
        let long = packet(&response(&user, "", CapabilityFlags::empty(), b""));
        far.write_all(&long).await.expect("room");
        let Ok(LoginOutcome::Refused(refused)) = logged_in(&door, near).await else {
            panic!("it is refused");
        };
        let expected = "The name of a user or a database is longer than 256 bytes";
        assert_eq!(
            (refused.error.code, &*refused.error.message),
            (1470, expected)
        );
        assert_eq!(refused.logged, expected);
    }
}
