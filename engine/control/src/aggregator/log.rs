//! A partition's log as its leader gives it, a response at a time: TEST PIPELINE decodes what AUDIT
//! PIPELINE ... VERIFY hands on.
//!
//! A connection of its own. What a response holds is not looked at beyond its headers, so that the
//! control core is not held up by records that it does not need.

use ingest::audit::Response;
use ingest::kafka::ErrorCode;
use ingest::kafka::fetch::{
    self, FetchPartition, FetchRequest, FrameEvent, FrameReader, SessionPlace,
};
use ingest::kafka::requests::{Api, Sent};
use ingest::leaf::order::Leader;
use ingest::leaf::told::LogSaid;
use ingest::limits::FETCH_PARTITION_BYTES_MAX;
use storage::ids::{Offset, TopicId};

use super::client::{Brokers, ClientFault, Connection, ConnectionFault};

/// The broker holds a fetch at the log's end so long.
pub(super) const FETCH_WAIT_MS: i32 = 100;

/// Reads one partition.
pub(super) struct LogReader<'a> {
    client: &'a dyn Brokers,
    topic: &'a str,
    topic_id: TopicId,
    partition: i32,
    leader: Leader,
    connection: Option<Connection>,
}

/// One response, and what its headers say.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The response, whole.
    pub response: Response,
    /// Of the response or of the partition in it.
    pub error: ErrorCode,
    /// Behind the last whole record batch; where it was fetched from, if there is none.
    pub next: Offset,
    /// Where a reader of the pipeline's isolation level finds the log's end; -1 unknown.
    pub end: i64,
    /// What cannot be read on: the response's own words.
    pub spoiled: Option<String>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogFault {
    /// No connection to the leader.
    #[error("{0}")]
    Client(ClientFault),
    /// It ended.
    #[error("{0}")]
    Connection(ConnectionFault),
    /// What came is no answer.
    #[error("{0}")]
    Answer(String),
}

impl<'a> LogReader<'a> {
    /// Of this partition, led by this leader.
    pub fn new(
        client: &'a dyn Brokers,
        topic: &'a str,
        topic_id: TopicId,
        partition: i32,
        leader: Leader,
    ) -> LogReader<'a> {
        LogReader {
            client,
            topic,
            topic_id,
            partition,
            leader,
            connection: None,
        }
    }

    /// Who is asked.
    pub fn address(&self) -> String {
        format!("{}:{}", self.leader.host, self.leader.port)
    }

    /// One response from `offset` on. After an error the next call makes another connection.
    ///
    /// # Errors
    /// See [`LogFault`]; what the broker refuses is in [`Fetched::error`].
    pub async fn fetch(&mut self, offset: Offset) -> Result<Fetched, LogFault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let opened = self.client.connection(&self.leader).await;
                opened.map_err(LogFault::Client)?
            }
        };
        let wanted = FetchPartition {
            topic: self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
            current_leader_epoch: self.leader.epoch,
            offset,
            last_fetched_epoch: -1,
            bytes_max: FETCH_PARTITION_BYTES_MAX as i32,
        };
        let read_committed = self.client.settings().read_committed;
        let (sent, frame) = connection
            .fetch(|out, asker| {
                let mut version = asker.versions.get(Api::Fetch)?;
                if wanted.topic_id == TopicId::default() {
                    // By name: a broker without topic ids.
                    version = version.min(fetch::TOPIC_ID_FROM - 1);
                }
                let request = FetchRequest {
                    version,
                    correlation_id: asker.correlation_id,
                    client_id: asker.client_id,
                    max_wait_ms: FETCH_WAIT_MS,
                    min_bytes: 1,
                    bytes_max: FETCH_PARTITION_BYTES_MAX as i32,
                    read_committed,
                    session: SessionPlace::NONE,
                };
                fetch::encode(out, &request, std::iter::once(wanted));
                Ok(Sent {
                    api: Api::Fetch,
                    version,
                    correlation_id: asker.correlation_id,
                })
            })
            .await
            .map_err(LogFault::Connection)?;
        let response = Response {
            version: sent.version,
            correlation_id: sent.correlation_id,
            frame,
        };
        let fetched = headers(response, offset, read_committed).map_err(LogFault::Answer)?;
        self.connection = Some(connection);
        Ok(fetched)
    }
}

/// Reads a response's headers.
fn headers(response: Response, from: Offset, read_committed: bool) -> Result<Fetched, String> {
    let frame = response.frame.as_slice();
    let mut reader = FrameReader::new(response.version, response.correlation_id, frame.len());
    let (mut error, mut next, mut end) = (ErrorCode::None, from, -1);
    let mut spoiled = None;
    while let Some(event) = reader.next(frame).map_err(|fault| fault.to_string())? {
        match event {
            FrameEvent::Response(head) if head.error.is_error() => error = head.error,
            FrameEvent::Partition(head) => {
                if head.error.is_error() {
                    error = head.error;
                }
                end = LogSaid::of(&head).end(read_committed).0;
            }
            FrameEvent::Batch(range) => next = next.max(range.header.next_offset()),
            FrameEvent::Oversize {
                base_offset,
                size_bytes,
            } => {
                spoiled = Some(format!(
                    "the record batch at offset {base_offset} has {size_bytes} bytes, too many"
                ));
            }
            FrameEvent::Spoiled(fault) => spoiled = Some(fault.to_string()),
            FrameEvent::End => break,
            FrameEvent::Response(_)
            | FrameEvent::BatchBegun(_)
            | FrameEvent::CutOff { .. }
            | FrameEvent::PartitionEnd(_)
            | FrameEvent::Endpoint(_) => {}
        }
    }
    Ok(Fetched {
        response,
        error,
        next,
        end,
        spoiled,
    })
}
