//! MySQL's packets: a stream of bytes cut into payloads, both ways, with every bound kept.
//!
//! A packet is `[length: u24][sequence: u8][payload]`. A payload of 16 MiB - 1 bytes or more goes on
//! in the next packet; one of exactly a multiple of that ends with an empty packet.
//!
//! 1. No payload grows beyond `payload_bytes_max`: its length is added up before it is read.
//! 2. Sequence numbers count from 0 at each command; a client that breaks the count is cut off.
//! 3. What is written gathers in one buffer, which is written out at `WRITE_BUFFER_BYTES` and never holds
//!    twice as much, however long a payload is; a client that does not take so much within
//!    `write_timeout` is cut off, so nothing waits for it in memory.
//! 4. Memory for a payload grows with the bytes that have arrived, not with the length announced.
//! 5. A packet that has begun arrives in pieces of `READ_CHUNK_BYTES` at most, each within
//!    `read_timeout`: a long statement over a slow line takes its time, and a client that drips its bytes
//!    is cut off, however small the drops between two looks at the clock.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::{
    LAST_ERROR_MS, PACKET_BYTES_MAX, READ_CHUNK_BYTES, READ_CHUNK_BYTES_MIN, WRITE_BUFFER_BYTES,
};

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The client closed it between two commands.
    #[error("the client closed the connection")]
    Closed,
    /// The client's bytes are not MySQL's protocol.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The client sent more than it may.
    #[error("a packet of {bytes} bytes is more than max_allowed_packet, {bytes_max}")]
    TooLarge {
        /// What it announced.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Nothing came, or nothing was taken, for too long.
    #[error("timed out {doing}")]
    TimedOut {
        /// What was waited for.
        doing: &'static str,
    },
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// KILL ended it.
    #[error("killed")]
    Killed,
}

/// One client's stream as packets.
pub struct Packets<S> {
    stream: S,
    sequence: u8,
    out: Vec<u8>,
    payload: Vec<u8>,
    payload_bytes_max: usize,
    read_timeout: Duration,
    write_timeout: Duration,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Packets<S> {
    /// Wraps a stream. Payloads are at most `payload_bytes_max` bytes; each piece of a packet that has
    /// begun must have arrived within `read_timeout`, and each of what is written must be taken within
    /// `write_timeout`.
    pub fn new(
        stream: S,
        payload_bytes_max: usize,
        read_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        Packets {
            stream,
            sequence: 0,
            out: Vec::new(),
            payload: Vec::new(),
            payload_bytes_max,
            read_timeout,
            write_timeout,
        }
    }

    /// The stream, to wait for readiness.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// From now on a client may take so long for a piece of a packet that has begun.
    pub fn set_read_timeout(&mut self, within: Duration) {
        self.read_timeout = within;
    }

    /// Whether all that was written has left, to its last packet's end. Where it has not, nothing may be
    /// written any more once a write was given up: nobody knows how much of it left.
    fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether anything was written at all.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.sequence > 0
    }

    /// What is written next answers what the client is about to send, or has sent: the error that ends a
    /// login in its midst. The server's packets of a login have even numbers, the client's odd ones.
    pub fn answer_unasked(&mut self) {
        self.sequence = self.sequence.max(2).wrapping_add(1) & !1;
    }

    /// Completes when the client hangs up, or sends something while it is the server's turn; the latter is
    /// lost. Nothing is where this is given up before.
    pub async fn out_of_turn(&mut self) -> ConnectionError {
        match self.stream.read(&mut [0]).await {
            Ok(0) => ConnectionError::Closed,
            Ok(_) => ConnectionError::Malformed("bytes out of turn"),
            Err(error) => error.into(),
        }
    }

    /// From now on a client may take so long to read.
    pub fn set_write_timeout(&mut self, within: Duration) {
        self.write_timeout = within;
    }

    /// Changes the bound: small before login, `max_allowed_packet` after.
    pub fn set_payload_bytes_max(&mut self, bytes_max: usize) {
        self.payload_bytes_max = bytes_max;
    }

    /// A new command begins: sequence numbers start again.
    pub fn begin(&mut self) {
        self.sequence = 0;
        // A client that once sent a large statement does not keep its memory.
        if self.payload.capacity() > READ_CHUNK_BYTES * 16 {
            self.payload = Vec::new();
        }
    }

    /// Reads one payload, waiting up to `wait` for its first byte.
    ///
    /// # Errors
    /// `Closed` at the end of the stream between packets; `TimedOut`, `Malformed`, `TooLarge`, `Io`.
    pub async fn read(&mut self, wait: Duration) -> Result<&[u8], ConnectionError> {
        self.payload.clear();
        let mut header = [0; 4];
        let first = timeout(wait, self.stream.read(&mut header[..1])).await;
        match first.map_err(|_| ConnectionError::TimedOut {
            doing: "waiting for a command",
        })?? {
            0 => return Err(ConnectionError::Closed),
            _ => self.read_rest(&mut header).await?,
        }
        Ok(&self.payload)
    }

    async fn read_rest(&mut self, header: &mut [u8; 4]) -> Result<(), ConnectionError> {
        let within = self.read_timeout;
        arrived(within, self.stream.read_exact(&mut header[1..])).await?;
        loop {
            let bytes =
                usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
            if header[3] != self.sequence {
                return Err(ConnectionError::Malformed("packets out of order"));
            }
            self.sequence = self.sequence.wrapping_add(1);
            let total = self.payload.len() + bytes;
            if total > self.payload_bytes_max {
                return Err(ConnectionError::TooLarge {
                    bytes: total,
                    bytes_max: self.payload_bytes_max,
                });
            }
            while self.payload.len() < total {
                let at = self.payload.len();
                let piece = at.clamp(READ_CHUNK_BYTES_MIN, READ_CHUNK_BYTES);
                self.payload.resize(total.min(at + piece), 0);
                arrived(within, self.stream.read_exact(&mut self.payload[at..])).await?;
            }
            if bytes < PACKET_BYTES_MAX {
                return Ok(());
            }
            arrived(within, self.stream.read_exact(header)).await?;
        }
    }

    /// Appends one payload, cut into packets, to what is to be written.
    ///
    /// # Errors
    /// As [`Packets::flush`], when the buffer is full.
    pub async fn write(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let mut rest = payload;
        loop {
            let (now, later) = rest.split_at(rest.len().min(PACKET_BYTES_MAX));
            let bytes = u32::try_from(now.len()).unwrap_or(u32::MAX).to_le_bytes();
            self.out
                .extend_from_slice(&[bytes[0], bytes[1], bytes[2], self.sequence]);
            self.sequence = self.sequence.wrapping_add(1);
            for piece in now.chunks(WRITE_BUFFER_BYTES) {
                self.out.extend_from_slice(piece);
                if self.out.len() >= WRITE_BUFFER_BYTES {
                    self.flush().await?;
                }
            }
            rest = later;
            if now.len() < PACKET_BYTES_MAX {
                return Ok(());
            }
        }
    }

    /// Tells a client why its connection ends, and ends it. It has not long to take that, and may be gone.
    pub async fn end_with(mut self, payload: &[u8]) {
        self.write_timeout = Duration::from_millis(LAST_ERROR_MS);
        if self.write(payload).await.is_ok() {
            // Err: the stream was broken already, or the client does not read.
            let _ = self.flush().await;
        }
    }

    /// The same where something else was given up for it: in the midst of a packet it would not be understood,
    /// and the client does not read.
    pub async fn break_with(self, payload: &[u8]) {
        if self.is_flushed() {
            self.end_with(payload).await;
        }
    }

    /// Writes out what has gathered.
    ///
    /// # Errors
    /// `TimedOut` where the client does not read; `Io`.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        for piece in self.out.chunks(WRITE_BUFFER_BYTES) {
            timeout(self.write_timeout, self.stream.write_all(piece))
                .await
                .map_err(|_| ConnectionError::TimedOut {
                    doing: "writing to a client that does not read",
                })??;
        }
        self.out.clear();
        if self.out.capacity() > WRITE_BUFFER_BYTES * 4 {
            self.out = Vec::new();
        }
        Ok(())
    }
}

/// One piece of a packet that has begun.
async fn arrived(
    within: Duration,
    piece: impl Future<Output = io::Result<usize>>,
) -> Result<(), ConnectionError> {
    timeout(within, piece)
        .await
        .map_err(|_| ConnectionError::TimedOut {
            doing: "reading a packet",
        })??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);
    const SOON: Duration = Duration::from_millis(5);

    async fn read_all(bytes: &[u8], max: usize) -> Result<Vec<u8>, ConnectionError> {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let bytes = bytes.to_vec();
        let feed = tokio::spawn(async move { far.write_all(&bytes).await });
        let mut packets = Packets::new(near, max, WAIT, WAIT);
        let read = packets.read(WAIT).await.map(<[u8]>::to_vec);
        drop(packets);
        // The feed may end early where the packet was refused: that is what is tested.
        let _ = feed.await;
        read
    }

    #[tokio::test]
    async fn a_payload_over_16_mib_goes_over_several_packets_and_back() {
        for bytes in [
            0,
            1,
            PACKET_BYTES_MAX - 1,
            PACKET_BYTES_MAX,
            PACKET_BYTES_MAX + 5,
        ] {
            let payload: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            let (near, mut far) = tokio::io::duplex(1 << 22);
            let expected = payload.clone();
            let write = tokio::spawn(async move {
                let mut packets = Packets::new(near, usize::MAX, WAIT, WAIT);
                packets.write(&payload).await.expect("written");
                packets.flush().await.expect("flushed");
            });
            let mut wire = Vec::new();
            far.read_to_end(&mut wire).await.expect("read");
            write.await.expect("joined");
            assert_eq!(wire.len(), bytes + 4 * (1 + bytes / PACKET_BYTES_MAX));
            assert_eq!(read_all(&wire, usize::MAX).await.expect("read"), expected);
        }
    }

    #[tokio::test]
    async fn what_a_client_may_not_send_ends_the_connection() {
        let cases: &[(&[u8], &str)] = &[
            (&[], "the client closed the connection"),
            (&[1, 0, 0, 1, 3], "malformed packet: packets out of order"),
            (
                &[200, 0, 0, 0],
                "a packet of 200 bytes is more than max_allowed_packet, 100",
            ),
        ];
        for (bytes, message) in cases {
            let error = read_all(bytes, 100).await.expect_err("refused");
            assert_eq!(error.to_string(), *message);
        }
    }

    #[tokio::test]
    async fn a_client_that_stops_in_the_middle_of_a_packet_is_cut_off() {
        let (near, mut far) = tokio::io::duplex(100);
        far.write_all(&[5, 0, 0, 0, 3]).await.expect("written");
        let mut packets = Packets::new(near, 100, SOON, SOON);
        assert!(matches!(
            packets.read(WAIT).await,
            Err(ConnectionError::TimedOut {
                doing: "reading a packet"
            })
        ));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_off() {
        let (near, _far) = tokio::io::duplex(100);
        let mut packets = Packets::new(near, 100, SOON, SOON);
        packets.write(&[0; 1000]).await.expect("buffered");
        assert!(matches!(
            packets.flush().await,
            Err(ConnectionError::TimedOut { .. })
        ));
        assert!(!packets.is_flushed(), "a part of it has left");
    }

    /// The greeting is 0 and the client's answer 1, a switch 2 and what is answered to it 3.
    #[tokio::test]
    async fn an_error_in_the_midst_of_a_login_has_the_number_that_the_client_waits_for() {
        for (exchanges, expected) in [(1, 2), (2, 4)] {
            let (near, mut far) = tokio::io::duplex(1 << 10);
            let mut packets = Packets::new(near, 100, WAIT, WAIT);
            for exchange in 0..exchanges {
                packets.write(b"asked").await.expect("buffered");
                packets.flush().await.expect("room");
                // The last is not answered, or its answer is not read yet.
                if exchange + 1 < exchanges {
                    let answer = [1, 0, 0, 2 * exchange + 1, 7];
                    far.write_all(&answer).await.expect("room");
                    assert_eq!(packets.read(WAIT).await.expect("its answer"), [7]);
                }
            }
            packets.answer_unasked();
            packets.write(b"ended").await.expect("buffered");
            packets.flush().await.expect("room");
            let mut heard = vec![0; (4 + 5) * (usize::from(exchanges) + 1)];
            far.read_exact(&mut heard).await.expect("all of it");
            let ended = [&[5, 0, 0, expected], &b"ended"[..]].concat();
            assert!(heard.ends_with(&ended), "{heard:?}");
        }
        // Its answer was read, and then it goes.
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let mut packets = Packets::new(near, 100, WAIT, WAIT);
        packets.write(b"asked").await.expect("buffered");
        far.write_all(&[1, 0, 0, 1, 7]).await.expect("room");
        assert_eq!(packets.read(WAIT).await.expect("its answer"), [7]);
        packets.answer_unasked();
        assert_eq!(packets.sequence, 2);
    }

    #[tokio::test]
    async fn who_hangs_up_or_speaks_out_of_turn_is_noticed() {
        let (near, mut far) = tokio::io::duplex(100);
        let mut packets = Packets::new(near, 100, WAIT, WAIT);
        far.write_all(&[1]).await.expect("room");
        let error = packets.out_of_turn().await.to_string();
        assert_eq!(error, "malformed packet: bytes out of turn");
        drop(far);
        let error = packets.out_of_turn().await;
        assert!(matches!(error, ConnectionError::Closed), "{error}");
    }

    /// A byte at a time, each well within the timeout; how many were taken before the end.
    async fn drip(mut far: tokio::io::DuplexStream) -> usize {
        let mut sent = 0;
        let header = [0xff, 0xff, 0xfe, 0];
        let bytes = header.into_iter().chain(std::iter::repeat(0x20));
        for byte in bytes {
            if far.write_all(&[byte]).await.is_err() {
                break;
            }
            sent += 1;
            tokio::time::sleep(SOON / 50).await;
        }
        sent
    }

    #[tokio::test]
    async fn a_client_that_drips_a_large_packet_is_cut_off_and_costs_what_it_sent() {
        let (near, far) = tokio::io::duplex(1);
        let drips = tokio::spawn(drip(far));
        let mut packets = Packets::new(near, usize::MAX, 20 * SOON, SOON);
        let error = packets.read(WAIT).await.map(<[u8]>::len).expect_err("late");
        assert_eq!(error.to_string(), "timed out reading a packet");
        // It announced 16 MiB.
        assert!(packets.payload.capacity() <= READ_CHUNK_BYTES_MIN);
        drop(packets);
        let sent = drips.await.expect("ended");
        assert!(sent > 4, "it was cut off while it sent");
    }

    /// Each piece in time, the whole not: several pieces, each of which takes most of the timeout.
    #[tokio::test]
    async fn a_large_packet_over_a_slow_line_is_read() {
        const PIECE: usize = READ_CHUNK_BYTES_MIN;
        let (near, mut far) = tokio::io::duplex(PIECE);
        let within = 60 * SOON;
        let feed = tokio::spawn(async move {
            far.write_all(&[0, 0x40, 0, 0]).await.expect("the header");
            for _ in 0..4 {
                tokio::time::sleep(within / 3).await;
                far.write_all(&[7; PIECE]).await.expect("a piece");
            }
        });
        let mut packets = Packets::new(near, usize::MAX, within, SOON);
        let bytes = packets.read(WAIT).await.expect("read").len();
        assert_eq!(bytes, 4 * PIECE);
        feed.await.expect("fed");
    }

    /// As for what is read: a row of many MiB goes to a slow client in pieces.
    #[tokio::test]
    async fn a_large_answer_to_a_client_that_reads_slowly_leaves() {
        let (near, mut far) = tokio::io::duplex(WRITE_BUFFER_BYTES);
        let within = 60 * SOON;
        let takes = tokio::spawn(async move {
            let mut taken = 0;
            let mut piece = vec![0; WRITE_BUFFER_BYTES];
            while let Ok(read @ 1..) = far.read(&mut piece).await {
                taken += read;
                tokio::time::sleep(within / 3).await;
            }
            taken
        });
        let mut packets = Packets::new(near, usize::MAX, SOON, within);
        let row = vec![1; 6 * WRITE_BUFFER_BYTES];
        packets.write(&row).await.expect("taken");
        assert!(packets.out.capacity() <= 2 * WRITE_BUFFER_BYTES);
        packets.flush().await.expect("taken");
        drop(packets);
        assert_eq!(takes.await.expect("ended"), row.len() + 4);
    }
}
