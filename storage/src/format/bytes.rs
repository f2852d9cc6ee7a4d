//! Little-endian fields one behind the other: written to a `Vec`, read with every length checked.

use crate::error::{Corruption, Damage};
use crate::limits::ALIGN_BYTES;
use crate::planted::{Rule, out};

/// Reads fields; an error names the byte at which they ended.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Fields<'a> {
        Fields { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn damage(&self, what: Corruption) -> Damage {
        Damage::at(self.at as u64, what)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let end = self.at.checked_add(len);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.damage(Corruption::Truncated)),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let bytes = self.bytes(N)?;
        bytes
            .try_into()
            .map_err(|_| self.damage(Corruption::Truncated))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damage> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Damage> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Damage> {
        self.array().map(i64::from_le_bytes)
    }

    /// A string of at most `bytes_max`, its length in two bytes in front.
    pub(super) fn text(&mut self, bytes_max: usize, name: &'static str) -> Result<&'a str, Damage> {
        let len = usize::from(self.u16()?);
        if len > bytes_max {
            return Err(self.damage(Corruption::Length));
        }
        let bytes = self.bytes(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.damage(Corruption::Field(name)))
    }
}

/// Writes fields.
pub(super) trait PutFields {
    fn put<const N: usize>(&mut self, bytes: [u8; N]);
    fn put_text(&mut self, text: &str);
}

impl PutFields for Vec<u8> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.extend_from_slice(&bytes);
    }

    fn put_text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).expect("a bounded text");
        self.put(len.to_le_bytes());
        self.extend_from_slice(text.as_bytes());
    }
}

/// The continuation marker in front of every Arrow message.
pub(super) const CONTINUATION: [u8; 4] = [0xff; 4];
/// What stands behind a record's last field: its own length and the CRC.
pub(super) const RECORD_TAIL_BYTES: usize = 8;

/// `[FFFFFFFF][metadata length][flatbuffer][zeros][record][own length][CRC-32]` behind `before`, so
/// that the whole ends at a multiple of 64. Returns the CRC.
pub(super) fn seal_message(before: &mut Vec<u8>, flatbuffer: &[u8], record: &[u8]) -> u32 {
    let message_at = before.len();
    let content = message_at + 8 + flatbuffer.len().next_multiple_of(8) + record.len();
    let end = (content + RECORD_TAIL_BYTES).next_multiple_of(ALIGN_BYTES);
    before.reserve(end - message_at);
    before.put(CONTINUATION);
    before.put(((end - message_at - 8) as u32).to_le_bytes());
    before.extend_from_slice(flatbuffer);
    before.resize(end - RECORD_TAIL_BYTES - record.len(), 0);
    before.extend_from_slice(record);
    before.put(((record.len() + RECORD_TAIL_BYTES) as u32).to_le_bytes());
    let crc = checksum(before, record.len() + RECORD_TAIL_BYTES);
    before.put(crc.to_le_bytes());
    crc
}

/// The checksum of all metadata before it, of which the record is the last `own_bytes` with it.
fn checksum(metadata: &[u8], own_bytes: usize) -> u32 {
    let uncovered = if out(Rule::ChecksumCoversRecord) {
        own_bytes.min(metadata.len())
    } else {
        0
    };
    crc32fast::hash(&metadata[..metadata.len() - uncovered])
}

/// The record inside `head`, which is a whole message's metadata (with what stands before it, if
/// anything), once its CRC has passed: `(where the record's fields begin, where they end, CRC)`.
pub(super) fn open_message(head: &[u8]) -> Result<(usize, usize, u32), Damage> {
    let end = head.len();
    if end < RECORD_TAIL_BYTES {
        return Err(Damage::at(0, Corruption::Truncated));
    }
    let mut tail = Fields::new(head, end - RECORD_TAIL_BYTES);
    let own_bytes = tail.u32()? as usize;
    let crc = tail.u32()?;
    if checksum(&head[..end - 4], own_bytes) != crc {
        return Err(Damage {
            bytes: 0..end as u64,
            what: Corruption::MetadataChecksum,
        });
    }
    match end.checked_sub(own_bytes) {
        Some(start) if own_bytes >= RECORD_TAIL_BYTES => Ok((start, end - RECORD_TAIL_BYTES, crc)),
        _ => Err(Damage::at(
            (end - RECORD_TAIL_BYTES) as u64,
            Corruption::Length,
        )),
    }
}
