//! A blocking connection to a broker for tests: our own requests and responses over a plain socket.
//!
//! The product's lanes and the aggregator's connections are asynchronous; this one is what a test
//! needs to ask one question and look at the bytes of the answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ingest::kafka::fetch::{
    FetchPartition, FetchRequest, Forgotten, SessionPlace, encode_changes, frame_size_bytes,
};
use ingest::kafka::requests::{
    Api, Asker, Metadata, MetadataTopics, RequestFault, ResponseFault, Sent, Versions,
    decode_api_versions, decode_metadata, encode_api_versions, encode_metadata,
    response_size_bytes,
};

/// No answer of a broker on this machine takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CLIENT_ID: &str = "pinleaf-tests";

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket.
    #[error("the connection to {addr}: {source}")]
    Io {
        /// Whom.
        addr: SocketAddr,
        /// What.
        source: io::Error,
    },
    /// Our question.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// Its answer.
    #[error(transparent)]
    Response(#[from] ResponseFault),
    /// An address that is none.
    #[error("no address in {0:?}")]
    Address(String),
}

/// One connection, its versions negotiated.
#[derive(Debug)]
pub struct Peer {
    addr: SocketAddr,
    stream: TcpStream,
    versions: Versions,
    correlation_id: i32,
}

impl Peer {
    /// Connects and negotiates.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn connect(addr: SocketAddr) -> Result<Peer, PeerError> {
        let io = |source| PeerError::Io { addr, source };
        let stream = TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT).map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(io)?;
        let mut peer = Peer {
            addr,
            stream,
            versions: Versions::of_broker([]),
            correlation_id: 0,
        };
        for version in [3, 0] {
            let mut out = Vec::new();
            peer.correlation_id += 1;
            let sent = encode_api_versions(&mut out, version, peer.correlation_id, CLIENT_ID)?;
            let frame = peer.exchange(&out)?;
            if let Some(versions) = decode_api_versions(&sent, &frame)? {
                peer.versions = versions;
                break;
            }
        }
        Ok(peer)
    }

    /// What both sides speak.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// From now on questions are asked as if the broker spoke this version of this question alone.
    pub fn speak_only(&mut self, api: Api, version: i16) {
        self.versions = Versions::of_broker([(api.key(), version, version)]);
    }

    /// Sends what `encode` appends and returns the frame that comes back.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn ask(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &Asker<'_>) -> Result<Sent, RequestFault>,
    ) -> Result<(Sent, Vec<u8>), PeerError> {
        self.correlation_id += 1;
        let mut out = Vec::new();
        let asker = Asker {
            versions: &self.versions,
            correlation_id: self.correlation_id,
            client_id: CLIENT_ID,
        };
        let sent = encode(&mut out, &asker)?;
        let frame = self.exchange(&out)?;
        Ok((sent, frame))
    }

    /// Brokers and topics.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn metadata(&mut self, topics: &[&str]) -> Result<Metadata, PeerError> {
        let (sent, frame) = self.ask(|out, asker| {
            let topics = match topics {
                [] => MetadataTopics::None,
                names => MetadataTopics::Names(names),
            };
            encode_metadata(out, asker, topics)
        })?;
        Ok(decode_metadata(&sent, &frame)?)
    }

    /// One fetch; `version` `None` is the newest that both speak. Returns the version, the correlation
    /// id and the frame.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn fetch(
        &mut self,
        version: Option<i16>,
        read_committed: bool,
        bytes_max: i32,
        partitions: &[FetchPartition<'_>],
    ) -> Result<(i16, i32, Vec<u8>), PeerError> {
        let request = FetchRequest {
            version: self.fetch_version(version)?,
            correlation_id: 0,
            client_id: CLIENT_ID,
            max_wait_ms: 100,
            min_bytes: 1,
            bytes_max,
            read_committed,
            session: SessionPlace::NONE,
        };
        self.fetch_as(&request, partitions, &[])
    }

    /// One fetch in a session: what is new or asked otherwise, and what is forgotten.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn fetch_in(
        &mut self,
        version: i16,
        session: SessionPlace,
        partitions: &[FetchPartition<'_>],
        forgotten: &[Forgotten<'_>],
    ) -> Result<(i16, i32, Vec<u8>), PeerError> {
        let request = FetchRequest {
            version,
            correlation_id: 0,
            client_id: CLIENT_ID,
            max_wait_ms: 100,
            min_bytes: 1,
            bytes_max: 1 << 20,
            read_committed: true,
            session,
        };
        self.fetch_as(&request, partitions, forgotten)
    }

    fn fetch_version(&self, version: Option<i16>) -> Result<i16, PeerError> {
        Ok(match version {
            Some(version) => version,
            None => self.versions.get(Api::Fetch)?,
        })
    }

    fn fetch_as(
        &mut self,
        request: &FetchRequest<'_>,
        partitions: &[FetchPartition<'_>],
        forgotten: &[Forgotten<'_>],
    ) -> Result<(i16, i32, Vec<u8>), PeerError> {
        self.correlation_id += 1;
        let request = FetchRequest {
            correlation_id: self.correlation_id,
            ..*request
        };
        let mut out = Vec::new();
        let (partitions, forgotten) = (partitions.iter().copied(), forgotten.iter().copied());
        encode_changes(&mut out, &request, partitions, forgotten);
        self.write(&out)?;
        let mut length = [0; 4];
        self.read(&mut length)?;
        let size = frame_size_bytes(length).map_err(|_| ResponseFault::BadLength {
            length: i32::from_be_bytes(length),
        })?;
        let mut frame = vec![0; size];
        self.read(&mut frame)?;
        Ok((request.version, self.correlation_id, frame))
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, PeerError> {
        self.write(request)?;
        let mut length = [0; 4];
        self.read(&mut length)?;
        let mut frame = vec![0; response_size_bytes(length)?];
        self.read(&mut frame)?;
        Ok(frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        let addr = self.addr;
        self.stream
            .write_all(bytes)
            .map_err(|source| PeerError::Io { addr, source })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), PeerError> {
        let addr = self.addr;
        self.stream
            .read_exact(bytes)
            .map_err(|source| PeerError::Io { addr, source })
    }
}
