//! Who is in a cluster, asked in Kafka's own words: Metadata, version 1, of all topics.
//!
//! So that a broker's start can be waited for with no client at hand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A request's header and body behind its length: key 3, version 1, correlation 0, no client id; null
/// topics: all of them.
const REQUEST: [u8; 14] = [0, 3, 0, 1, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255];
/// Of an answer. The clusters of tests and benchmarks are small.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What one broker says of its cluster.
#[derive(Debug)]
pub struct Metadata {
    /// How many brokers are in it.
    pub brokers: usize,
    topics: Vec<(String, Vec<i32>)>,
}

impl Metadata {
    /// Asks one broker.
    ///
    /// # Errors
    /// The connection's; `InvalidData` where the answer is none.
    pub fn ask(addr: SocketAddr) -> io::Result<Metadata> {
        let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(&(REQUEST.len() as u32).to_be_bytes())?;
        stream.write_all(&REQUEST)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Metadata::decode(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// How many partitions a topic has, if each has a leader.
    #[must_use]
    pub fn leaders_of(&self, name: &str) -> Option<usize> {
        let (_, leaders) = self.topics.iter().find(|(topic, _)| topic == name)?;
        leaders
            .iter()
            .all(|leader| *leader >= 0)
            .then_some(leaders.len())
    }

    fn decode(answer: &[u8]) -> Option<Metadata> {
        let mut from = Bytes(answer);
        from.int()?; // correlation
        let brokers = from.count()?;
        for _ in 0..brokers {
            from.int()?; // id
            from.text()?; // host
            from.int()?; // port
            from.text()?; // rack
        }
        from.int()?; // controller
        let mut topics = Vec::new();
        for _ in 0..from.count()? {
            from.take(2)?; // error
            let name = from.text()?;
            from.take(1)?; // internal
            let mut leaders = Vec::new();
            for _ in 0..from.count()? {
                from.take(2)?; // error
                from.int()?; // partition
                leaders.push(from.int()?);
                for _ in 0..2 {
                    // replicas, those in sync
                    let ids = from.count()?;
                    from.take(ids.checked_mul(4)?)?;
                }
            }
            topics.push((name, leaders));
        }
        Some(Metadata { brokers, topics })
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Of an array; each element takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.int()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    /// Null is empty.
    fn text(&mut self) -> Option<String> {
        let length = i16::from_be_bytes(self.take(2)?.try_into().ok()?);
        let text = self.take(usize::try_from(length).unwrap_or(0))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Metadata;

    /// Of one broker, one topic of two partitions, one without a leader.
    #[test]
    fn an_answer_is_read_and_half_of_one_is_none() {
        let mut answer = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 9];
        answer.extend_from_slice(b"127.0.0.1");
        answer.extend_from_slice(&[0, 0, 35, 132, 255, 255, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        answer.extend_from_slice(b"t\0\0\0\0\x02");
        for (partition, leader) in [(0, 1_i32), (1, -1)] {
            answer.extend_from_slice(&[0, 0, 0, 0, 0, partition]);
            answer.extend_from_slice(&leader.to_be_bytes());
            answer.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        }
        let said = Metadata::decode(&answer).unwrap();
        assert_eq!((said.brokers, said.leaders_of("t")), (1, None));
        assert_eq!(said.topics, [("t".to_owned(), vec![1, -1])]);
        for end in 0..answer.len() {
            assert!(Metadata::decode(&answer[..end]).is_none(), "{end}");
        }
    }
}
