//! From an accepted socket to a user: the greeting, the client's answer, one switch of the plugin.

use std::time::Duration;

use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthMoreData, AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse,
};
use mysql_common::proto::{MyDeserialize, MySerialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::login::{NONCE_BYTES, Plugin, Users, nonce};
use super::packet::{ConnectionError, Packets};
use crate::sql::SqlError;

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
    /// To be told to the client, and the connection closed.
    Refused(SqlError),
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

/// Greets a client and takes its login. The caller bounds the whole in time.
///
/// # Errors
/// Where the stream ends or does not speak the protocol.
pub async fn log_in<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    packets: &mut Packets<S>,
    users: &Users,
    host: &str,
    server_version: &str,
    connection_id: u32,
    wait: Duration,
) -> Result<LoginOutcome, ConnectionError> {
    let greeted = nonce()?;
    packets
        .write(&greeting(server_version, connection_id, &greeted))
        .await?;
    packets.flush().await?;
    let bytes = packets.read(wait).await?;
    let capabilities = bytes
        .first_chunk::<4>()
        .map_or(0, |flags| u32::from_le_bytes(*flags));
    if capabilities & CapabilityFlags::CLIENT_PROTOCOL_41.bits() == 0 {
        return Ok(LoginOutcome::Refused(SqlError {
            code: 1251,
            state: "08004",
            message: "Client does not support authentication protocol requested by server; consider upgrading \
                      MySQL client"
                .into(),
        }));
    }
    if capabilities & CapabilityFlags::CLIENT_SSL.bits() != 0 {
        return Ok(LoginOutcome::Refused(SqlError {
            code: 3159,
            state: "HY000",
            message: "TLS is not offered here; connect with --ssl-mode=DISABLED".into(),
        }));
    }
    let answer = HandshakeResponse::deserialize((), &mut ParseBuf(bytes))
        .map_err(|_| ConnectionError::Malformed("handshake response"))?;
    let login = Login {
        user: String::from_utf8_lossy(answer.user()).into_owned(),
        database: answer
            .db_name()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .filter(|n| !n.is_empty()),
        capabilities: answer.capabilities() & CAPABILITIES,
    };
    let plugin = match answer.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => Some(Plugin::CachingSha2),
        Some(AuthPlugin::MysqlNativePassword) | None => Some(Plugin::Native),
        Some(_) => None,
    };
    let mut response = answer.scramble_buf().to_vec();
    if response == [0] {
        response.clear();
    }
    let (plugin, admitted) = match plugin {
        Some(plugin) if users.admit(&login.user, plugin, &greeted, &response) => (plugin, true),
        // A right empty password was admitted above. A client whose own plugin is not the announced
        // one may have answered nothing at all: it is asked once more, for its own plugin.
        Some(Plugin::Native) if response.is_empty() => {
            switch(packets, users, &login, Plugin::Native, wait).await?
        }
        None => switch(packets, users, &login, Plugin::CachingSha2, wait).await?,
        Some(plugin) => (plugin, false),
    };
    if !admitted {
        let using = if response.is_empty() { "NO" } else { "YES" };
        return Ok(LoginOutcome::Refused(SqlError {
            code: 1045,
            state: "28000",
            message: format!(
                "Access denied for user '{}'@'{host}' (using password: {using})",
                login.user
            ),
        }));
    }
    if plugin == Plugin::CachingSha2 && !response.is_empty() {
        // "fast path succeeded"
        let mut payload = Vec::new();
        AuthMoreData::new([3].as_slice()).serialize(&mut payload);
        packets.write(&payload).await?;
    }
    Ok(LoginOutcome::Admitted(login))
}

async fn switch<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    packets: &mut Packets<S>,
    users: &Users,
    login: &Login,
    plugin: Plugin,
    wait: Duration,
) -> Result<(Plugin, bool), ConnectionError> {
    let fresh = nonce()?;
    let mut payload = Vec::new();
    AuthSwitchRequest::new(plugin.name().as_bytes(), [fresh.as_slice(), &[0]].concat())
        .serialize(&mut payload);
    packets.write(&payload).await?;
    packets.flush().await?;
    let response = packets.read(wait).await?;
    let response = if response == [0] { &[] } else { response };
    Ok((plugin, users.admit(&login.user, plugin, &fresh, response)))
}
