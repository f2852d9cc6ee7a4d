//! A small producer: record batches to one topic's partitions, acks 1, offsets back.
//!
//! One connection, one request at a time, which carries a batch for each of several partitions. For a
//! broker that leads all of them, as the development broker does. Produce version 7: every Kafka
//! since 2.1 has it.

use std::net::SocketAddr;
use std::time::Duration;

use ingest::kafka::wire::{Reader, WireFault, put_string};
use ingest::kafka::{BatchBuilder, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::ProduceError;
use crate::limits::{PRODUCE_RESPONSE_BYTES_MAX, PRODUCE_TIMEOUT_MS};

const API_KEY: i16 = 0;
const VERSION: i16 = 7;
const ACKS: i16 = 1;

/// One partition's records: [`BatchBuilder::push`] them, [`BatchBuilder::restart`] it after the send.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The partition's index.
    pub partition: i32,
    /// Key, value and timestamp of each record; its base offset is of no account.
    pub records: BatchBuilder,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new(partition: i32) -> Batch {
        Batch {
            partition,
            records: BatchBuilder::new(0),
        }
    }
}

/// A connection that produces to one topic.
#[derive(Debug)]
pub struct Producer {
    addr: SocketAddr,
    stream: TcpStream,
    topic: String,
    client_id: String,
    correlation_id: i32,
    bytes: Vec<u8>,
}

impl Producer {
    /// Connects.
    ///
    /// # Errors
    /// [`ProduceError::Io`].
    pub async fn connect(
        addr: SocketAddr,
        client_id: &str,
        topic: &str,
    ) -> Result<Producer, ProduceError> {
        let io = |source| ProduceError::Io { addr, source };
        let stream = TcpStream::connect(addr).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        Ok(Producer {
            addr,
            stream,
            topic: topic.to_owned(),
            client_id: client_id.to_owned(),
            correlation_id: 0,
            bytes: Vec::new(),
        })
    }

    /// Sends the batches that hold records and returns `(partition, first offset)` of each, in that
    /// order.
    ///
    /// # Errors
    /// [`ProduceError`]. After `Refused` the connection can be used on; the batches of the other
    /// partitions may have been taken. After any other it cannot.
    pub async fn send(&mut self, batches: &[Batch]) -> Result<Vec<(i32, i64)>, ProduceError> {
        let full: Vec<_> = batches
            .iter()
            .filter(|batch| !batch.records.is_empty())
            .collect();
        if full.is_empty() {
            return Ok(Vec::new());
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.encode(&full);
        let timeout = Duration::from_millis(PRODUCE_TIMEOUT_MS);
        let addr = self.addr;
        tokio::time::timeout(timeout, self.exchange())
            .await
            .map_err(|_| ProduceError::Silent { addr })??;
        let answers = self
            .decode()
            .map_err(|fault| ProduceError::Malformed { addr, fault })?;
        let mut offsets = Vec::with_capacity(full.len());
        for batch in full {
            let partition = batch.partition;
            let answer = answers.iter().find(|answer| answer.0 == partition);
            match answer {
                Some((_, ErrorCode::None, offset)) => offsets.push((partition, *offset)),
                Some((_, error, _)) => {
                    return Err(ProduceError::Refused {
                        partition,
                        error: *error,
                    });
                }
                None => {
                    return Err(ProduceError::Malformed {
                        addr,
                        fault: WireFault::Truncated,
                    });
                }
            }
        }
        Ok(offsets)
    }

    fn encode(&mut self, batches: &[&Batch]) {
        let out = &mut self.bytes;
        out.clear();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&API_KEY.to_be_bytes());
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.correlation_id.to_be_bytes());
        put_string(out, &self.client_id, false);
        out.extend_from_slice(&(-1_i16).to_be_bytes()); // no transaction
        out.extend_from_slice(&ACKS.to_be_bytes());
        out.extend_from_slice(&(PRODUCE_TIMEOUT_MS as u32).to_be_bytes());
        out.extend_from_slice(&1_u32.to_be_bytes());
        put_string(out, &self.topic, false);
        out.extend_from_slice(&(batches.len() as u32).to_be_bytes());
        for batch in batches {
            let records = batch.records.build();
            out.extend_from_slice(&batch.partition.to_be_bytes());
            out.extend_from_slice(&(records.len() as u32).to_be_bytes());
            out.extend_from_slice(&records);
        }
        let size = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&size.to_be_bytes());
    }

    async fn exchange(&mut self) -> Result<(), ProduceError> {
        let addr = self.addr;
        let io = |source| ProduceError::Io { addr, source };
        self.stream.write_all(&self.bytes).await.map_err(io)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.map_err(io)?;
        let length = i32::from_be_bytes(length);
        let size = usize::try_from(length)
            .ok()
            .filter(|size| *size <= PRODUCE_RESPONSE_BYTES_MAX)
            .ok_or(ProduceError::Malformed {
                addr,
                fault: WireFault::NegativeLength(length.into()),
            })?;
        self.bytes.resize(size, 0);
        self.stream.read_exact(&mut self.bytes).await.map_err(io)?;
        Ok(())
    }

    /// Partition, error and first offset of each answer.
    fn decode(&self) -> Result<Vec<(i32, ErrorCode, i64)>, WireFault> {
        let mut reader = Reader::new(&self.bytes);
        if reader.i32()? != self.correlation_id {
            return Err(WireFault::Truncated);
        }
        let mut answers = Vec::new();
        for _ in 0..reader.count(false, 6)?.unwrap_or(0) {
            reader.string(false)?;
            for _ in 0..reader.count(false, 30)?.unwrap_or(0) {
                let partition = reader.i32()?;
                let error = reader.i16()?.into();
                let offset = reader.i64()?;
                reader.take(16)?; // append time, log start
                answers.push((partition, error, offset));
            }
        }
        Ok(answers)
    }
}
