//! A MySQL client that is small enough to be measured with: plain text queries, no password.
//!
//! One request, one answer, no delay on the socket. The protocol's pages "Protocol::Handshake" and
//! "ProtocolText::Resultset" say the bytes. The crate `mysql` is not used: it brings some hundred others.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::fault::Fault;

/// A query over all that is stored may take its time.
const TIMEOUT: Duration = Duration::from_secs(900);
/// Capabilities: long passwords, 4.1's protocol, transactions, secure connection, plugins.
const CAPABILITIES: u32 = 0x0000_0001 | 0x0000_0200 | 0x0000_2000 | 0x0000_8000 | 0x0008_0000;
const UTF8MB4: u8 = 45;
const PACKET_BYTES_MAX: usize = 1 << 24;
const COM_QUERY: u8 = 3;

/// One session.
#[derive(Debug)]
pub struct Mysql {
    stream: BufReader<TcpStream>,
}

impl Mysql {
    /// Logs in as root without a password.
    ///
    /// # Errors
    /// The connection's, or what the server said.
    pub fn connect(port: u16) -> Result<Mysql, Fault> {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let doing = || Fault::io(format!("connecting to {addr}"));
        let stream = TcpStream::connect(addr).map_err(doing())?;
        stream.set_nodelay(true).map_err(doing())?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(doing())?;
        let mut client = Mysql {
            stream: BufReader::new(stream),
        };
        let (number, _greeting) = client.read().map_err(doing())?;
        let mut login = Vec::new();
        login.extend_from_slice(&CAPABILITIES.to_le_bytes());
        login.extend_from_slice(&(PACKET_BYTES_MAX as u32).to_le_bytes());
        login.push(UTF8MB4);
        login.extend_from_slice(&[0; 23]);
        login.extend_from_slice(b"root\0\0mysql_native_password\0");
        client
            .write(number.wrapping_add(1), &login)
            .map_err(doing())?;
        loop {
            let (number, packet) = client.read().map_err(doing())?;
            match packet.first() {
                Some(0) => return Ok(client),
                // Another plugin: without a password the answer is empty with each.
                Some(0xfe) => client.write(number.wrapping_add(1), &[]).map_err(doing())?,
                _ => return Err(refused("the login", &packet)),
            }
        }
    }

    /// Runs a statement; its rows as text, NULL as `NULL`.
    ///
    /// # Errors
    /// The connection's, or what the server said.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Fault> {
        let doing = || Fault::io(format!("asking Pinleaf: {sql}"));
        let mut packet = vec![COM_QUERY];
        packet.extend_from_slice(sql.as_bytes());
        self.write(0, &packet).map_err(doing())?;
        let (_, first) = self.read().map_err(doing())?;
        let columns = match first.first() {
            Some(0) => return Ok(Vec::new()),
            Some(0xff) | None => return Err(refused(sql, &first)),
            Some(count) => usize::from(*count),
        };
        // Their definitions, and the packet that ends them.
        for _ in 0..=columns {
            self.read().map_err(doing())?;
        }
        let mut rows = Vec::new();
        loop {
            let (_, packet) = self.read().map_err(doing())?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => return Ok(rows),
                Some(0xff) => return Err(refused(sql, &packet)),
                _ => {}
            }
            let mut rest = packet.as_slice();
            let mut row = Vec::with_capacity(columns);
            for _ in 0..columns {
                let value = text(&mut rest).ok_or_else(|| {
                    Fault::failed("pinleaf", format!("a row of {sql} is cut off"))
                })?;
                row.push(value);
            }
            rows.push(row);
        }
    }

    /// The first value of the first row.
    ///
    /// # Errors
    /// As [`Mysql::query`]; that there is none.
    pub fn cell(&mut self, sql: &str) -> Result<String, Fault> {
        let rows = self.query(sql)?;
        let first = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next());
        first.ok_or_else(|| Fault::failed("pinleaf", format!("no row: {sql}")))
    }

    /// The same, as a number; NULL, as a sum over nothing is, as 0.
    ///
    /// # Errors
    /// As [`Mysql::cell`].
    pub fn number(&mut self, sql: &str) -> Result<u128, Fault> {
        let cell = self.cell(sql)?;
        if cell == "NULL" {
            return Ok(0);
        }
        let number = cell.parse();
        number.map_err(|_| Fault::failed("pinleaf", format!("{cell} is no number: {sql}")))
    }

    fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, number] = head;
        let mut packet = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        self.stream.read_exact(&mut packet)?;
        Ok((number, packet))
    }

    fn write(&mut self, number: u8, packet: &[u8]) -> io::Result<()> {
        let length = (packet.len() as u32).to_le_bytes();
        let mut bytes = vec![length[0], length[1], length[2], number];
        bytes.extend_from_slice(packet);
        self.stream.get_mut().write_all(&bytes)
    }
}

/// A text of a row, its length before it.
fn text(rest: &mut &[u8]) -> Option<String> {
    let (first, behind) = rest.split_first()?;
    let length_bytes = match first {
        0xfb => {
            *rest = behind;
            return Some("NULL".to_owned());
        }
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => 0,
    };
    let (length, behind) = behind.split_at_checked(length_bytes)?;
    let length = if length_bytes == 0 {
        usize::from(*first)
    } else {
        let shifted = length.iter().rev();
        shifted.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (value, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// An error packet: 0xff, a number, `#` and five characters of state, the words.
fn refused(what: &str, packet: &[u8]) -> Fault {
    let code = packet
        .get(1..3)
        .map_or(0, |code| u16::from_le_bytes([code[0], code[1]]));
    let words = String::from_utf8_lossy(packet.get(9..).unwrap_or_default()).into_owned();
    Fault::failed("pinleaf", format!("error {code}: {words}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_length_before_them() {
        let mut packet = b"\x05hello\xfb\xfc\x03\x00abc\x00".to_vec();
        let all = packet.clone();
        let mut rest = all.as_slice();
        let values: Vec<_> = (0..4).map(|_| text(&mut rest).unwrap()).collect();
        assert_eq!(values, ["hello", "NULL", "abc", ""]);
        assert!(rest.is_empty());
        packet.truncate(4);
        assert_eq!(text(&mut packet.as_slice()), None);
    }
}
