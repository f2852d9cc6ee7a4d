//! One Kafka partition's log as the simulated brokers hold it: record batches as real bytes, and what
//! is true of each offset.
//!
//! A log has histories: an unclean election, and a topic made anew under the same name, begin another
//! one, and what was true before stays known, because a table may hold rows of it.

use std::collections::BTreeMap;

use super::encode::{Codec, Head, Record, encode};
use crate::sim::{Random, mix};

/// What an offset is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A message that becomes rows.
    Rows {
        /// The first one's number.
        value: i64,
        /// How long its text is.
        text_bytes: u32,
        /// How many.
        rows: u32,
    },
    /// A message that is not JSON, also where whole objects come first.
    Bad,
    /// A tombstone.
    Empty,
    /// A transaction's marker.
    Control,
    /// Nothing: compaction took it before anybody read it.
    Gap,
}

/// What a log holds, each kind with its name in the coverage: counted as it is sent.
pub const CONTENTS: [&str; 22] = [
    "log: gzip",
    "log: Snappy in Java's framing",
    "log: Snappy",
    "log: LZ4",
    "log: Zstandard",
    "log: a marker of an aborted transaction",
    "log: a marker of a committed transaction",
    "log: a batch of a transaction",
    "log: an open transaction ends what may be read",
    "log: a batch begins below the wanted offset",
    "log: batches that compaction took lie before the next one",
    "log: compaction took records out of a batch that was read before",
    "log: a batch without a record",
    "log: a message that cannot be loaded",
    "log: its start lies inside a batch",
    "log: compaction took what was aborted",
    "log: compaction took a tombstone",
    "log: compaction took a message that cannot be loaded",
    "log: a transaction is aborted once more, its marker was cut",
    "log: a message of several rows",
    "log: a message of more rows than a small block has room for",
    "log: what cannot be loaded of a message follows what can",
];

/// One offset.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is.
    pub fact: Fact,
    /// Of a transaction that is aborted.
    pub aborted: bool,
    /// Where its record batch ends; its own next offset for a gap between batches.
    pub batch_end: i64,
    /// Compaction took it later: whoever had not read it finds a gap.
    pub compacted: bool,
    /// The leader's epoch when it was appended.
    pub epoch: i32,
}

/// What is true of each offset from 0 on, as long as the log was this one.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<Place>);

impl History {
    /// The offset after the last.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.0.len() as i64
    }

    /// What an offset is; `None` past the end.
    #[must_use]
    pub fn place(&self, offset: i64) -> Option<&Place> {
        self.0.get(usize::try_from(offset).ok()?)
    }
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
    head: Head,
    /// What of [`CONTENTS`] it is, beside its codec.
    pub contents: Vec<&'static str>,
}

impl LogBatch {
    /// What of [`CONTENTS`] it is.
    pub fn contents(&self) -> impl Iterator<Item = &'static str> {
        let codec = match self.head.codec {
            Codec::Plain => None,
            Codec::Gzip => Some(CONTENTS[0]),
            Codec::SnappyJava => Some(CONTENTS[1]),
            Codec::SnappyRaw => Some(CONTENTS[2]),
            Codec::Lz4 => Some(CONTENTS[3]),
            Codec::Zstd => Some(CONTENTS[4]),
        };
        codec.into_iter().chain(self.contents.iter().copied())
    }
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
    /// One message in so many cannot be loaded.
    poison_one_in: u64,
    /// Oldest first; the last is the present one.
    pub histories: Vec<History>,
    /// Oldest first.
    pub batches: Vec<LogBatch>,
    /// Retention deleted what lies below.
    pub start: i64,
    /// Transactions that are open: the producer, and the ranges of its batches.
    open: BTreeMap<i64, Vec<(i64, i64)>>,
    /// Transactions that were aborted.
    pub aborted: Vec<AbortedSpan>,
    /// Transactions that are open once more, as an unclean election cut their marker: whether it was an abort's.
    /// The coordinator knows no other end of them.
    decided: BTreeMap<i64, bool>,
    /// Where transactions were committed: the producer, and its marker.
    committed: Vec<(i64, i64)>,
    /// Where each epoch began.
    pub epochs: Vec<(i32, i64)>,
    /// Counts what was ever appended, so that a log that was cut says other things.
    appended: u64,
}

/// What texts are made of: nothing that JSON writes otherwise.
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
const MESSAGES_MAX: u64 = 24;
/// Now and then a batch of so many, more than a small block's rows.
const MANY_MESSAGES: u64 = 300;
const TEXT_BYTES_MAX: u64 = 60;
const LARGE_TEXT_BYTES: u64 = 40_000;
/// Now and then a message has so many rows, more than a small block's.
const MANY_ROWS: u32 = 300;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(seed: u64) -> Log {
        Log {
            poison_one_in: [30, 300, 3_000][(mix(seed) % 3) as usize],
            seed,
            histories: vec![History::default()],
            batches: Vec::new(),
            start: 0,
            open: BTreeMap::new(),
            aborted: Vec::new(),
            decided: BTreeMap::new(),
            committed: Vec::new(),
            epochs: vec![(0, 0)],
            appended: 0,
        }
    }

    fn places(&mut self) -> &mut Vec<Place> {
        &mut self.histories.last_mut().expect("a present history").0
    }

    /// What is true now.
    #[must_use]
    pub fn present(&self) -> &History {
        self.histories.last().expect("a present history")
    }

    /// The offset after the last.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.present().end()
    }

    /// The last stable offset.
    #[must_use]
    pub fn stable(&self) -> i64 {
        let open = self.open.values().filter_map(|spans| spans.first());
        open.map(|span| span.0).min().unwrap_or(self.end())
    }

    /// Appends something.
    pub fn append(&mut self, random: &mut Random, poison: bool) {
        let epoch = self.epochs.last().map_or(0, |last| last.0);
        match random.below(10) {
            0 => {
                // Compaction took whole batches.
                for _ in 0..=random.below(12) {
                    let batch_end = self.end() + 1;
                    self.places().push(Place {
                        fact: Fact::Gap,
                        aborted: false,
                        batch_end,
                        compacted: false,
                        epoch,
                    });
                }
                self.data(random, None, epoch, poison);
                if let Some(batch) = self.batches.last_mut() {
                    batch.contents.push(CONTENTS[10]);
                }
            }
            1 | 2 => {
                let producer = 100 + random.below(2) as i64;
                self.data(random, Some(producer), epoch, poison);
            }
            3 => {
                let producers: Vec<i64> = self.open.keys().copied().collect();
                match producers.get(random.below(2) as usize) {
                    Some(&producer) => self.marker(producer, random.chance(500), epoch),
                    None => self.data(random, None, epoch, poison),
                }
            }
            _ => self.data(random, None, epoch, poison),
        }
    }

    /// Ends every open transaction, so that all becomes stable.
    pub fn settle(&mut self) {
        let epoch = self.epochs.last().map_or(0, |last| last.0);
        while let Some(&producer) = self.open.keys().next() {
            self.marker(producer, true, epoch);
        }
    }

    fn data(&mut self, random: &mut Random, producer: Option<i64>, epoch: i32, poison: bool) {
        let base = self.end();
        let most = if random.chance(20) {
            MANY_MESSAGES
        } else {
            MESSAGES_MAX
        };
        let offsets = 1 + random.below(most) as i64;
        let next = base + offsets;
        for _ in 0..offsets {
            self.appended += 1;
            let hash = mix(self.seed ^ mix(self.appended));
            let fact = match hash % 40 {
                0..=2 if offsets > 1 => Fact::Gap,
                3 => Fact::Empty,
                _ if poison && mix(hash).is_multiple_of(self.poison_one_in) => Fact::Bad,
                _ => {
                    let bytes = match hash % 4_001 {
                        // Larger than a small block's strings.
                        7 => LARGE_TEXT_BYTES,
                        _ => (hash >> 8) % TEXT_BYTES_MAX,
                    };
                    let rows = match (mix(hash) >> 8) & 0xfff {
                        0..=7 => MANY_ROWS,
                        8..=400 => 2 + (hash >> 20) as u32 % 3,
                        _ => 1,
                    };
                    Fact::Rows {
                        value: (hash >> 12) as i64,
                        text_bytes: bytes as u32,
                        rows,
                    }
                }
            };
            self.places().push(Place {
                fact,
                aborted: false,
                batch_end: next,
                compacted: false,
                epoch,
            });
        }
        let codec = match random.below(10) {
            at @ 0..=5 => Codec::ALL[at as usize],
            _ => Codec::Plain,
        };
        let head = Head {
            base,
            last_delta: offsets - 1,
            epoch,
            producer: producer.unwrap_or(-1),
            attributes: producer.map_or(0, |_| TRANSACTIONAL),
            codec,
        };
        let contents = producer.map(|_| CONTENTS[7]).into_iter().collect();
        self.push(head, contents);
        if let Some(producer) = producer {
            self.open.entry(producer).or_default().push((base, next));
        }
    }

    fn push(&mut self, head: Head, contents: Vec<&'static str>) {
        let mut batch = LogBatch {
            base: head.base,
            next: head.base + head.last_delta + 1,
            bytes: Vec::new(),
            head,
            contents,
        };
        self.write(&mut batch);
        self.batches.push(batch);
    }

    /// Its bytes, from what is true of its offsets; how many records are in it.
    fn write(&self, batch: &mut LogBatch) -> usize {
        let (mut records, mut values) = (0, Vec::new());
        for offset in batch.base..batch.next {
            let Some(place) = self
                .present()
                .place(offset)
                .filter(|place| !place.compacted)
            else {
                continue;
            };
            let value = match &place.fact {
                &Fact::Rows {
                    value,
                    text_bytes,
                    rows,
                } => {
                    let rows = rows_of(value, text_bytes, rows);
                    Some(rows.map(|(value, bytes)| object(value, bytes)).collect())
                }
                Fact::Bad => Some(bad_message(offset, place.epoch)),
                Fact::Empty => None,
                Fact::Control | Fact::Gap => continue,
            };
            let contents: &[usize] = match place.fact {
                Fact::Bad if good_before(offset) > 0 => &[13, 21],
                Fact::Bad => &[13],
                Fact::Rows {
                    rows: MANY_ROWS, ..
                } => &[19, 20],
                Fact::Rows { rows: 2.., .. } => &[19],
                _ => &[],
            };
            for what in contents.iter().map(|at| CONTENTS[*at]) {
                if !batch.contents.contains(&what) {
                    batch.contents.push(what);
                }
            }
            records += 1;
            values.push((offset - batch.base, value));
        }
        if records == 0 && !batch.contents.contains(&CONTENTS[12]) {
            batch.contents.push(CONTENTS[12]);
        }
        let records: Vec<Record<'_>> = values
            .iter()
            .map(|(delta, value)| (*delta, None, value.as_ref().map(String::as_bytes)))
            .collect();
        batch.bytes = encode(&batch.head, &records);
        records.len()
    }

    fn marker(&mut self, producer: i64, abort: bool, epoch: i32) {
        let Some(spans) = self.open.remove(&producer) else {
            return;
        };
        let abort = self.decided.remove(&producer).unwrap_or(abort);
        let base = self.end();
        let head = Head {
            base,
            last_delta: 0,
            epoch,
            producer,
            attributes: TRANSACTIONAL | CONTROL,
            codec: Codec::Plain,
        };
        let key = [0, 0, 0, u8::from(!abort)];
        let value = [0, 0, 0, 0, 0, 0];
        let bytes = encode(&head, &[(0, Some(&key[..]), Some(&value[..]))]);
        self.places().push(Place {
            fact: Fact::Control,
            aborted: false,
            batch_end: base + 1,
            compacted: false,
            epoch,
        });
        self.batches.push(LogBatch {
            base,
            next: base + 1,
            bytes,
            head,
            contents: vec![CONTENTS[if abort { 5 } else { 6 }]],
        });
        if !abort {
            self.committed.push((producer, base));
            return;
        }
        let first = spans.first().map_or(base, |span| span.0);
        for (from, to) in spans {
            for place in &mut self.places()[from as usize..to as usize] {
                place.aborted = true;
            }
        }
        self.aborted.push(AbortedSpan {
            producer,
            first,
            last: base,
        });
    }

    /// Retention deletes whole batches from the front; a person (DeleteRecords) at any offset. Whether that was inside
    /// a batch.
    pub fn retain(&mut self, random: &mut Random) -> bool {
        let last = self.batches.len().saturating_sub(1);
        let take = random.below(last as u64 + 1) as usize;
        // No open transaction loses its beginning: brokers keep what is not stable.
        let stable = self.stable();
        let gone = self.batches[..take]
            .iter()
            .take_while(|batch| batch.next <= stable)
            .count();
        self.batches.drain(..gone);
        let Some(first) = self.batches.first() else {
            return false;
        };
        let mut start = first.base;
        let inside = first.next - first.base - 1;
        // The batch stays whole as long as one of its offsets does.
        if inside > 0 && first.next <= stable && random.chance(400) {
            start += 1 + random.below(inside as u64) as i64;
        }
        let deleted = start > self.start && start > first.base;
        self.start = self.start.max(start);
        deleted
    }

    /// Compaction takes messages of batches that lie here already, a whole batch now and then; whether
    /// it found any. Of a transaction it leaves the markers. `bad`: also messages that cannot be loaded.
    pub fn compact(&mut self, random: &mut Random, bad: bool) -> bool {
        let stable = self.stable();
        let settled =
            |batch: &LogBatch| batch.head.attributes & CONTROL == 0 && batch.next <= stable;
        let of: Vec<usize> = (0..self.batches.len())
            .filter(|at| settled(&self.batches[*at]))
            .collect();
        if of.is_empty() {
            return false;
        }
        let at = of[random.below(of.len() as u64) as usize];
        let (base, next_offset) = (self.batches[at].base, self.batches[at].next);
        let most = [300, 800, 1_000][random.below(3) as usize];
        let mut contents = vec![CONTENTS[11]];
        for place in &mut self.places()[base as usize..next_offset as usize] {
            let (goes, kind) = match place.fact {
                Fact::Rows { .. } if place.aborted => (true, Some(CONTENTS[15])),
                Fact::Rows { .. } => (true, None),
                Fact::Empty => (true, Some(CONTENTS[16])),
                Fact::Bad => (bad, Some(CONTENTS[17])),
                Fact::Control | Fact::Gap => (false, None),
            };
            if random.chance(most) && goes {
                place.compacted = true;
                contents.extend(kind);
            }
        }
        let mut batch = self.batches[at].clone();
        for what in contents {
            if !batch.contents.contains(&what) {
                batch.contents.push(what);
            }
        }
        let left = self.write(&mut batch);
        if left == 0 && at + 1 < self.batches.len() && random.chance(500) {
            let next = &mut self.batches[at + 1].contents;
            next.push(CONTENTS[10]);
            self.batches.remove(at);
            // What it was whole, its gaps too, is the log's gap now.
            let places = &mut self.places()[base as usize..next_offset as usize];
            places.iter_mut().for_each(|place| place.compacted = true);
        } else {
            self.batches[at] = batch;
        }
        true
    }

    /// A new leader.
    pub fn new_epoch(&mut self, epoch: i32) {
        let end = self.end();
        self.epochs.push((epoch, end));
    }

    /// Where an unclean election may cut the log: at the end of a batch below `end`, `back` before the last such.
    #[must_use]
    pub fn place_to_cut(&self, end: i64, back: usize) -> Option<i64> {
        let mut below = self.batches.iter().rev().filter(|batch| batch.next < end);
        Some(below.nth(back)?.next)
    }

    /// An unclean election: the new leader lacks what lies from `keep` on. A transaction whose marker is among that is
    /// open once more, and ends later as it had ended. Whether that was one that had been aborted.
    pub fn cut(&mut self, keep: i64, epoch: i32) -> bool {
        self.histories.push(self.present().clone());
        self.batches.retain(|batch| batch.next <= keep);
        self.places().truncate(keep as usize);
        self.open.retain(|_, spans| {
            spans.retain(|span| span.1 <= keep);
            !spans.is_empty()
        });
        self.decided
            .retain(|producer, _| self.open.contains_key(producer));
        let aborted = self.aborted.extract_if(.., |span| span.last >= keep);
        let aborted = aborted.map(|span| (span.last, span.producer, true));
        let committed = self.committed.extract_if(.., |(_, last)| *last >= keep);
        let committed = committed.map(|(producer, last)| (last, producer, false));
        let mut ended: Vec<(i64, i64, bool)> = aborted.chain(committed).collect();
        // Of a producer's the first one: what it wrote behind that marker is gone.
        ended.sort_unstable();
        let mut reopened = false;
        for (_, producer, abort) in ended {
            reopened |= self.reopen(producer, abort);
        }
        self.epochs.retain(|&(_, began)| began < keep || began == 0);
        self.new_epoch(epoch);
        reopened
    }

    /// Of a producer whose last marker is gone: what lies behind the one before is open. Whether that is anything that
    /// had been aborted.
    fn reopen(&mut self, producer: i64, abort: bool) -> bool {
        let own = |batch: &&LogBatch| batch.head.producer == producer;
        let behind = self.batches.iter().rev().filter(own);
        let behind = behind.take_while(|batch| batch.head.attributes & CONTROL == 0);
        let mut spans: Vec<(i64, i64)> = behind.map(|batch| (batch.base, batch.next)).collect();
        if spans.is_empty() || self.open.contains_key(&producer) {
            return false;
        }
        spans.reverse();
        self.open.insert(producer, spans);
        self.decided.insert(producer, abort);
        abort
    }

    /// The topic is deleted, and made anew under its name.
    pub fn make_anew(&mut self) {
        self.histories.push(History::default());
        self.batches.clear();
        self.start = 0;
        self.open.clear();
        self.aborted.clear();
        self.decided.clear();
        self.committed.clear();
        self.epochs = vec![(0, 0)];
    }

    /// Where an epoch ends, as OffsetForLeaderEpoch says.
    #[must_use]
    pub fn epoch_end(&self, epoch: i32) -> i64 {
        let next = self.epochs.iter().find(|(other, _)| *other > epoch);
        next.map_or(self.end(), |&(_, began)| began)
    }
}

/// The text of a message with this number: of no other place, nearly.
fn text(value: i64, bytes: u32) -> String {
    let letters = (0..bytes as usize).map(|at| letter(value, at)).collect();
    String::from_utf8(letters).expect("letters")
}

/// Whether this is what [`text`] gives.
#[must_use]
pub fn is_text(value: i64, text: &str) -> bool {
    let mut bytes = text.bytes().enumerate();
    bytes.all(|(at, byte)| byte == letter(value, at))
}

fn letter(value: i64, at: usize) -> u8 {
    let (from, step) = (value as usize, (value as usize >> 6) | 1);
    LETTERS[from.wrapping_add(at.wrapping_mul(step)) % LETTERS.len()]
}

/// The rows of a message: the number of each, and how long its text is. Behind the first they are short.
pub fn rows_of(value: i64, bytes: u32, rows: u32) -> impl Iterator<Item = (i64, u32)> {
    let bytes_of = move |at: u32| if at == 0 { bytes } else { at % 7 };
    (0..rows).map(move |at| (value.wrapping_add(at.into()), bytes_of(at)))
}

fn object(value: i64, bytes: u32) -> String {
    let text = text(value, bytes);
    format!("{{\"v\":{value},\"s\":\"{text}\"}}")
}

/// A message that is not JSON: of this offset alone, and of another leader another.
#[must_use]
pub fn bad_message(offset: i64, epoch: i32) -> String {
    let good = rows_of(offset, 3, good_before(offset));
    let good: String = good.map(|(value, bytes)| object(value, bytes)).collect();
    format!("{good}{{\"v\":{offset},\"e\":{epoch}")
}

/// How many whole objects a bad message begins with.
fn good_before(offset: i64) -> u32 {
    (offset % 3) as u32
}
