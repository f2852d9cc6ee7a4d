//! One connection to one broker: a question, its answer, in time.
//!
//! One question at a time, so an answer that comes late can only be this one's, and whatever goes
//! wrong ends the connection: the next question makes another.

use std::io;
use std::time::Duration;

use ingest::kafka::requests::{
    Asker, RequestFault, ResponseFault, Sent, Versions, decode_api_versions, encode_api_versions,
    response_size_bytes_within,
};
use ingest::limits::{BATCH_BYTES_MAX, FRAME_OVERHEAD_BYTES, RESPONSE_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Host and port, to connect to.
pub type Address = (String, u16);

/// Why a broker gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionFault {
    /// No connection, or it ended.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The kernel's words.
        source: io::Error,
    },
    /// It took too long.
    #[error("{doing}: no answer in {after_ms} ms")]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// operation.timeout.ms.
        after_ms: u64,
    },
    /// It does not speak a version that we do, or a name is too long.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// What came back is no answer.
    #[error(transparent)]
    Response(#[from] ResponseFault),
}

/// A connection with its versions negotiated.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    versions: Versions,
    client_id: String,
    timeout_ms: u64,
    next_correlation_id: i32,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Connection {
    /// Connects and negotiates, each within `timeout_ms`.
    ///
    /// # Errors
    /// See [`ConnectionFault`].
    pub async fn open(
        address: &Address,
        client_id: &str,
        timeout_ms: u64,
    ) -> Result<Connection, ConnectionFault> {
        let doing = "connecting";
        let connecting = TcpStream::connect((address.0.as_str(), address.1));
        let stream = timeout(Duration::from_millis(timeout_ms), connecting)
            .await
            .map_err(|_| ConnectionFault::Timeout {
                doing,
                after_ms: timeout_ms,
            })?
            .map_err(|source| ConnectionFault::Io { doing, source })?;
        stream
            .set_nodelay(true)
            .map_err(|source| ConnectionFault::Io { doing, source })?;
        let mut connection = Connection {
            stream,
            versions: Versions::of_broker([]),
            client_id: client_id.to_owned(),
            timeout_ms,
            next_correlation_id: 1,
            request: Vec::new(),
            response: Vec::new(),
        };
        for version in [3, 0] {
            connection.request.clear();
            let sent = encode_api_versions(
                &mut connection.request,
                version,
                connection.next_correlation_id,
                client_id,
            )?;
            connection.exchange(RESPONSE_BYTES_MAX).await?;
            if let Some(versions) = decode_api_versions(&sent, &connection.response)? {
                connection.versions = versions;
                return Ok(connection);
            }
        }
        Err(ConnectionFault::Response(ResponseFault::Refused {
            api: ingest::kafka::requests::Api::ApiVersions,
            error: ingest::kafka::ErrorCode::UnsupportedVersion,
        }))
    }

    /// What the broker speaks.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Asks and waits: what was sent, and the frame that came back.
    ///
    /// # Errors
    /// See [`ConnectionFault`]; the connection is of no use after any but `Request`.
    pub async fn ask(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
    ) -> Result<(Sent, &[u8]), ConnectionFault> {
        self.request.clear();
        let asker = Asker {
            versions: &self.versions,
            correlation_id: self.next_correlation_id,
            client_id: &self.client_id,
        };
        let sent = encode(&mut self.request, &asker)?;
        self.exchange(RESPONSE_BYTES_MAX).await?;
        Ok((sent, &self.response))
    }

    /// Asks for records: the frame is the caller's, and may be as large as a record batch.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub async fn fetch(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
    ) -> Result<(Sent, Vec<u8>), ConnectionFault> {
        self.request.clear();
        let asker = Asker {
            versions: &self.versions,
            correlation_id: self.next_correlation_id,
            client_id: &self.client_id,
        };
        let sent = encode(&mut self.request, &asker)?;
        self.exchange(BATCH_BYTES_MAX + FRAME_OVERHEAD_BYTES)
            .await?;
        Ok((sent, std::mem::take(&mut self.response)))
    }

    async fn exchange(&mut self, bytes_max: usize) -> Result<(), ConnectionFault> {
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let after_ms = self.timeout_ms;
        let doing = "waiting for an answer";
        timeout(Duration::from_millis(after_ms), self.round_trip(bytes_max))
            .await
            .map_err(|_| ConnectionFault::Timeout { doing, after_ms })?
    }

    async fn round_trip(&mut self, bytes_max: usize) -> Result<(), ConnectionFault> {
        let failed = |doing| move |source| ConnectionFault::Io { doing, source };
        self.stream
            .write_all(&self.request)
            .await
            .map_err(failed("sending a request"))?;
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .await
            .map_err(failed("reading an answer"))?;
        let size = response_size_bytes_within(length, bytes_max)?;
        self.response.clear();
        // Memory follows what arrives, never the length alone.
        let read = (&mut self.stream)
            .take(size as u64)
            .read_to_end(&mut self.response)
            .await
            .map_err(failed("reading an answer"))?;
        if read < size {
            let source = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(failed("reading an answer")(source));
        }
        Ok(())
    }
}
