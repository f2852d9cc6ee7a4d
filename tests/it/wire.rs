//! A client's end of MySQL's protocol over a raw socket, so that nothing is hidden by a client.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::net::TcpSocket;

use crate::node::Node;

/// Beyond what any answer takes on a busy machine: a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client's end of MySQL's protocol.
pub struct Wire(pub TcpStream);

/// What an error packet says.
pub type Refused = (u16, String);

impl Wire {
    pub fn connect(node: &Node, from: Ipv4Addr) -> Wire {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()));
            let connected = socket.connect(to).await.unwrap();
            connected.into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire(stream)
    }

    /// The next packet: its number and payload. `None`: the server closed the connection.
    pub fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 4];
        let read = self.0.read_exact(&mut header);
        if let Err(error) = read {
            let gone = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(gone.contains(&error.kind()), "{error}");
            return None;
        }
        let bytes = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; bytes as usize];
        self.0.read_exact(&mut payload).unwrap();
        Some((header[3], payload))
    }

    pub fn write(&mut self, number: u8, payload: &[u8]) {
        let bytes = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let packet = [&[bytes[0], bytes[1], bytes[2], number], payload].concat();
        self.0.write_all(&packet).unwrap();
    }

    /// The greeting's nonce.
    pub fn greeted(&mut self) -> Vec<u8> {
        let (number, payload) = self.read().expect("a greeting");
        assert_eq!((number, payload[0]), (0, 10));
        let version = payload.iter().position(|byte| *byte == 0).unwrap();
        let first = version + 5;
        let second = first + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10;
        [&payload[first..first + 8], &payload[second..second + 12]].concat()
    }

    /// Says who it is.
    pub fn answer(&mut self, user: &str, password: &str) {
        let nonce = self.greeted();
        let once = Sha256::digest(password);
        let mask = Sha256::new()
            .chain_update(Sha256::digest(once))
            .chain_update(nonce)
            .finalize();
        let scramble: Vec<u8> = once.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        let scramble = if password.is_empty() {
            &[][..]
        } else {
            &scramble
        };
        // PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH; 16 MiB; utf8mb4.
        let mut payload = 0x0008_8200_u32.to_le_bytes().to_vec();
        payload.extend((1_u32 << 24).to_le_bytes());
        payload.push(45);
        payload.extend([0; 23]);
        payload.extend(user.as_bytes());
        payload.push(0);
        payload.push(u8::try_from(scramble.len()).unwrap());
        payload.extend(scramble);
        payload.extend(b"caching_sha2_password\0");
        self.write(1, &payload);
    }

    /// Whether it is let in.
    pub fn let_in(&mut self) -> Result<(), Refused> {
        loop {
            let (_, payload) = self.read().expect("an answer");
            match payload[0] {
                // The password was right, and more follows.
                1 => {}
                0 => return Ok(()),
                _ => return Err(refused(&payload)),
            }
        }
    }

    pub fn log_in(
        node: &Node,
        from: Ipv4Addr,
        user: &str,
        password: &str,
    ) -> Result<Wire, Refused> {
        let mut wire = Wire::connect(node, from);
        wire.answer(user, password);
        wire.let_in().map(|()| wire)
    }

    pub fn command(&mut self, sql: &str) {
        self.write(0, &[&[3], sql.as_bytes()].concat());
    }

    /// SELECT 1.
    pub fn select_one(&mut self) {
        self.command("SELECT 1");
        for expected in [&b"\x01"[..], b"", b"", b"\x011", b""] {
            let (_, payload) = self.read().expect("an answer");
            assert_ne!(payload[0], 0xff, "{:?}", refused(&payload));
            assert!(expected.is_empty() || payload == expected, "{payload:?}");
        }
    }
}

/// An error packet's number and text.
pub fn refused(payload: &[u8]) -> Refused {
    assert_eq!(payload[0], 0xff, "{payload:?}");
    let code = u16::from_le_bytes([payload[1], payload[2]]);
    // Behind the state: `#08S01`.
    let text = String::from_utf8_lossy(&payload[9..]).into_owned();
    (code, text)
}
