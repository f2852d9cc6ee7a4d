//! One Kafka partition's log as the simulated brokers hold it: record batches as real bytes, and what
//! is true of each offset.
//!
//! The encoder is written from the protocol's description and shares no code with the engine.

use std::collections::BTreeMap;

use crate::sim::{Random, mix};

/// What an offset is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A message that becomes a row.
    Row(i64, String),
    /// A message that is not JSON.
    Bad,
    /// A tombstone.
    Empty,
    /// A transaction's marker.
    Control,
    /// Nothing: compaction took it.
    Gap,
}

/// One offset.
#[derive(Clone, Debug)]
struct Place {
    fact: Fact,
    /// Of a transaction that is aborted.
    aborted: bool,
    /// Where its record batch ends; its own next offset for a gap between batches.
    batch_end: i64,
}

/// One record batch.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Its first offset.
    pub base: i64,
    /// The offset after its last.
    pub next: i64,
    /// As on the wire.
    pub bytes: Vec<u8>,
}

/// An aborted transaction.
#[derive(Clone, Debug)]
pub struct AbortedSpan {
    /// Whose.
    pub producer: i64,
    /// Its first record.
    pub first: i64,
    /// Its marker.
    pub last: i64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Log {
    seed: u64,
    places: Vec<Place>,
    /// Oldest first.
    pub batches: Vec<LogBatch>,
    /// Retention deleted what lies below.
    pub start: i64,
    /// Transactions that are open: the producer, and the ranges of its batches.
    open: BTreeMap<i64, Vec<(i64, i64)>>,
    /// Transactions that were aborted.
    pub aborted: Vec<AbortedSpan>,
    /// Where each epoch began.
    pub epochs: Vec<(i32, i64)>,
    /// Counts what was ever appended, so that a log that was cut says other things.
    appended: u64,
}

const MESSAGES_MAX: u64 = 24;
/// Now and then a batch of so many, more than a small block's rows.
const MANY_MESSAGES: u64 = 300;
const TEXT_BYTES_MAX: u64 = 60;
const LARGE_TEXT_BYTES: u64 = 40_000;

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(seed: u64) -> Log {
        Log {
            seed,
            places: Vec::new(),
            batches: Vec::new(),
            start: 0,
            open: BTreeMap::new(),
            aborted: Vec::new(),
            epochs: vec![(0, 0)],
            appended: 0,
        }
    }

    /// The offset after the last.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.places.len() as i64
    }

    /// The last stable offset.
    #[must_use]
    pub fn stable(&self) -> i64 {
        let open = self.open.values().filter_map(|spans| spans.first());
        open.map(|span| span.0).min().unwrap_or(self.end())
    }

    /// What an offset is for this isolation: `None` for an aborted record.
    #[must_use]
    pub fn fact(&self, offset: i64, read_committed: bool) -> Option<&Fact> {
        let place = &self.places[usize::try_from(offset).expect("an offset of the log")];
        (!(read_committed && place.aborted)).then_some(&place.fact)
    }

    /// Where the record batch of an offset ends.
    #[must_use]
    pub fn batch_end(&self, offset: i64) -> i64 {
        self.places[usize::try_from(offset).expect("an offset of the log")].batch_end
    }

    /// Appends something.
    pub fn append(&mut self, random: &mut Random, bad: bool) {
        let epoch = self.epochs.last().map_or(0, |last| last.0);
        match random.below(10) {
            0 => {
                // Compaction took whole batches.
                for _ in 0..=random.below(12) {
                    let batch_end = self.end() + 1;
                    self.places.push(Place {
                        fact: Fact::Gap,
                        aborted: false,
                        batch_end,
                    });
                }
                self.data(random, None, epoch, bad);
            }
            1 | 2 => {
                let producer = 100 + random.below(2) as i64;
                self.data(random, Some(producer), epoch, bad);
            }
            3 => {
                let producers: Vec<i64> = self.open.keys().copied().collect();
                match producers.get(random.below(2) as usize) {
                    Some(&producer) => self.marker(producer, random.chance(500), epoch),
                    None => self.data(random, None, epoch, bad),
                }
            }
            _ => self.data(random, None, epoch, bad),
        }
    }

    /// Ends every open transaction, so that all becomes stable.
    pub fn settle(&mut self) {
        let epoch = self.epochs.last().map_or(0, |last| last.0);
        while let Some(&producer) = self.open.keys().next() {
            self.marker(producer, true, epoch);
        }
    }

    fn data(&mut self, random: &mut Random, producer: Option<i64>, epoch: i32, bad: bool) {
        let base = self.end();
        let most = if random.chance(20) {
            MANY_MESSAGES
        } else {
            MESSAGES_MAX
        };
        let offsets = 1 + random.below(most) as i64;
        let next = base + offsets;
        let mut records = Vec::new();
        for delta in 0..offsets {
            self.appended += 1;
            let hash = mix(self.seed ^ mix(self.appended));
            let fact = match hash % 40 {
                0..=2 if offsets > 1 => Fact::Gap,
                3 => Fact::Empty,
                4 if bad => Fact::Bad,
                _ => {
                    let bytes = match hash % 4_001 {
                        // Larger than a small block's strings.
                        7 => LARGE_TEXT_BYTES,
                        _ => (hash >> 8) % TEXT_BYTES_MAX,
                    };
                    let bytes = usize::try_from(bytes).unwrap_or(0);
                    Fact::Row((hash >> 12) as i64, "x".repeat(bytes))
                }
            };
            let value = match &fact {
                Fact::Row(value, text) => Some(format!("{{\"v\":{value},\"s\":\"{text}\"}}")),
                Fact::Bad => Some(format!("{{\"v\":{hash}")),
                _ => None,
            };
            if fact != Fact::Gap {
                records.push((delta, value));
            }
            self.places.push(Place {
                fact,
                aborted: false,
                batch_end: next,
            });
        }
        let head = Head {
            base,
            last_delta: offsets - 1,
            epoch,
            producer: producer.unwrap_or(-1),
            attributes: if producer.is_some() { 0x10 } else { 0 },
        };
        let records: Vec<Record<'_>> = records
            .iter()
            .map(|(delta, value)| (*delta, None, value.as_ref().map(String::as_bytes)))
            .collect();
        let bytes = encode(&head, &records);
        self.batches.push(LogBatch { base, next, bytes });
        if let Some(producer) = producer {
            self.open.entry(producer).or_default().push((base, next));
        }
    }

    fn marker(&mut self, producer: i64, abort: bool, epoch: i32) {
        let Some(spans) = self.open.remove(&producer) else {
            return;
        };
        let base = self.end();
        let head = Head {
            base,
            last_delta: 0,
            epoch,
            producer,
            attributes: 0x30,
        };
        let key = [0, 0, 0, u8::from(!abort)];
        let value = [0, 0, 0, 0, 0, 0];
        let bytes = encode(&head, &[(0, Some(&key[..]), Some(&value[..]))]);
        self.places.push(Place {
            fact: Fact::Control,
            aborted: false,
            batch_end: base + 1,
        });
        self.batches.push(LogBatch {
            base,
            next: base + 1,
            bytes,
        });
        if !abort {
            return;
        }
        let first = spans.first().map_or(base, |span| span.0);
        for (from, to) in spans {
            for place in &mut self.places[from as usize..to as usize] {
                place.aborted = true;
            }
        }
        self.aborted.push(AbortedSpan {
            producer,
            first,
            last: base,
        });
    }

    /// Retention deletes whole batches from the front.
    pub fn retain(&mut self, random: &mut Random) {
        let last = self.batches.len().saturating_sub(1);
        let take = random.below(last as u64 + 1) as usize;
        // No open transaction loses its beginning: brokers keep what is not stable.
        let stable = self.stable();
        let gone = self.batches[..take]
            .iter()
            .take_while(|batch| batch.next <= stable)
            .count();
        self.batches.drain(..gone);
        if let Some(first) = self.batches.first() {
            self.start = self.start.max(first.base);
        }
    }

    /// A new leader.
    pub fn new_epoch(&mut self, epoch: i32) {
        let end = self.end();
        self.epochs.push((epoch, end));
    }

    /// An unclean election: the new leader lacks the end. `keep` is where its log ends, at a batch behind
    /// every aborted transaction.
    pub fn cut(&mut self, keep: i64, epoch: i32) {
        debug_assert!(self.aborted.iter().all(|span| span.last < keep));
        self.batches.retain(|batch| batch.next <= keep);
        self.places.truncate(keep as usize);
        self.open.retain(|_, spans| {
            spans.retain(|span| span.1 <= keep);
            !spans.is_empty()
        });
        self.epochs.retain(|&(_, began)| began < keep || began == 0);
        self.new_epoch(epoch);
    }

    /// Where an epoch ends, as OffsetForLeaderEpoch says.
    #[must_use]
    pub fn epoch_end(&self, epoch: i32) -> i64 {
        let next = self.epochs.iter().find(|(other, _)| *other > epoch);
        next.map_or(self.end(), |&(_, began)| began)
    }
}

struct Head {
    base: i64,
    last_delta: i64,
    epoch: i32,
    producer: i64,
    attributes: i16,
}

type Record<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

/// The timestamp of an offset, ms.
#[must_use]
pub fn timestamp(offset: i64) -> i64 {
    1_700_000_000_000 + offset
}

fn encode(head: &Head, records: &[Record<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&head.attributes.to_be_bytes());
    body.extend_from_slice(&(head.last_delta as i32).to_be_bytes());
    body.extend_from_slice(&timestamp(head.base).to_be_bytes());
    body.extend_from_slice(&timestamp(head.base + head.last_delta).to_be_bytes());
    body.extend_from_slice(&head.producer.to_be_bytes());
    body.extend_from_slice(&0_i16.to_be_bytes());
    body.extend_from_slice(&(-1_i32).to_be_bytes());
    body.extend_from_slice(&(records.len() as i32).to_be_bytes());
    for &(delta, key, value) in records {
        let mut record = vec![0];
        varint(&mut record, delta);
        varint(&mut record, delta);
        for field in [key, value] {
            match field {
                Some(bytes) => {
                    varint(&mut record, bytes.len() as i64);
                    record.extend_from_slice(bytes);
                }
                None => varint(&mut record, -1),
            }
        }
        varint(&mut record, 0);
        varint(&mut body, record.len() as i64);
        body.extend_from_slice(&record);
    }
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&head.base.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as i32 + 9).to_be_bytes());
    bytes.extend_from_slice(&head.epoch.to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&crc(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// CRC-32C, a byte at a time, and not the engine's.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| crc >> 8 ^ CRC_TABLE[(crc as u8 ^ byte) as usize];
    !bytes.iter().fold(u32::MAX, step)
}

/// What each byte does to the remainder.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }
}
