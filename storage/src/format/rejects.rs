//! Rejects and faults as they lie in a block's region and in a commit's body: one behind the other.
//!
//! ```text
//!  0  4  length of the entry, these 4 bytes with it
//!  4  1  kind
//!  5  1  reserved, 0
//!  6  2  code
//!  8  4  line, from 1; 0 where there is none
//! 12  2  column, by the schema's order; FFFF where none is to blame
//! 14  2  reserved, 0
//! 16  8  offset
//! 24  8  timestamp of the message, ms since 1970
//! 32  8  when it was rejected, ms since 1970
//! 40  4  length of the text      44  4  length of the key; FFFFFFFF for none
//! 48  4  length of the message   52     text (UTF-8), key, message
//! ```

use crate::error::{Corruption, Damage};
use crate::ids::Offset;

/// What kind of entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// The message does not parse.
    Parser,
    /// A value parses and does not fit its column.
    Constraint,
    /// Not a message but an error of the partition: it entered Failed, or a range was skipped.
    Fault(FaultKind),
}

/// ERROR_KIND of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Our own.
    Internal,
    /// The broker or its bytes.
    Extract,
    /// A transform program.
    Transform,
    /// A message or the disk.
    Load,
}

impl RejectKind {
    fn tag(self) -> u8 {
        match self {
            RejectKind::Parser => 1,
            RejectKind::Constraint => 2,
            RejectKind::Fault(FaultKind::Internal) => 16,
            RejectKind::Fault(FaultKind::Extract) => 17,
            RejectKind::Fault(FaultKind::Transform) => 18,
            RejectKind::Fault(FaultKind::Load) => 19,
        }
    }

    fn of(tag: u8) -> Option<RejectKind> {
        Some(match tag {
            1 => RejectKind::Parser,
            2 => RejectKind::Constraint,
            16 => RejectKind::Fault(FaultKind::Internal),
            17 => RejectKind::Fault(FaultKind::Extract),
            18 => RejectKind::Fault(FaultKind::Transform),
            19 => RejectKind::Fault(FaultKind::Load),
            _ => return None,
        })
    }

    /// Whether it is a fault of the partition and not a message that was rejected.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(self, RejectKind::Fault(_))
    }
}

/// A message that became no row, whole; or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// The message's offset; a fault's cursor.
    pub offset: Offset,
    /// The message's timestamp, ms since 1970.
    pub timestamp_ms: i64,
    /// When it was rejected, ms since 1970.
    pub unix_ms: i64,
    /// MySQL's error code.
    pub code: u16,
    /// What kind.
    pub kind: RejectKind,
    /// The line in the message, from 1; 0 where there is none.
    pub line: u32,
    /// The column to blame, by the schema's order.
    pub column: Option<u16>,
    /// What is wrong; cut at [`crate::limits::REJECT_TEXT_BYTES_MAX`].
    pub text: &'a str,
    /// The message's key; cut at [`crate::limits::REJECT_KEY_BYTES_MAX`].
    pub key: Option<&'a [u8]>,
    /// The message, whole.
    pub message: &'a [u8],
}

/// Bytes of an entry before its text.
const FIXED_BYTES: usize = 52;
const NO_COLUMN: u16 = u16::MAX;
const NO_KEY: u32 = u32::MAX;

impl<'a> Reject<'a> {
    /// The same with a text and a key of at most so many bytes; the text is cut between characters.
    #[must_use]
    pub fn cut(&self, text_bytes_max: usize, key_bytes_max: usize) -> Reject<'a> {
        Reject {
            text: &self.text[..self.text.floor_char_boundary(text_bytes_max)],
            key: self.key.map(|key| &key[..key.len().min(key_bytes_max)]),
            ..*self
        }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        FIXED_BYTES + self.text.len() + self.key.map_or(0, <[u8]>::len) + self.message.len()
    }

    /// Writes it into exactly [`Reject::encoded_bytes`] bytes.
    ///
    /// # Panics
    /// If `to` has another length.
    pub fn encode(&self, to: &mut [u8]) {
        assert_eq!(to.len(), self.encoded_bytes());
        let mut rest = to;
        let mut put = |bytes: &[u8]| {
            let (here, behind) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            rest = behind;
        };
        put(&(self.encoded_bytes() as u32).to_le_bytes());
        put(&[self.kind.tag(), 0]);
        put(&self.code.to_le_bytes());
        put(&self.line.to_le_bytes());
        put(&self.column.unwrap_or(NO_COLUMN).to_le_bytes());
        put(&[0; 2]);
        put(&self.offset.0.to_le_bytes());
        put(&self.timestamp_ms.to_le_bytes());
        put(&self.unix_ms.to_le_bytes());
        put(&(self.text.len() as u32).to_le_bytes());
        put(&self
            .key
            .map_or(NO_KEY, |key| key.len() as u32)
            .to_le_bytes());
        put(&(self.message.len() as u32).to_le_bytes());
        put(self.text.as_bytes());
        put(self.key.unwrap_or_default());
        put(self.message);
    }
}

/// Walks encoded rejects. After an error it ends.
#[derive(Clone, Debug)]
pub struct Rejects<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rejects<'a> {
    /// Over a whole region.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Rejects<'a> {
        Rejects { bytes, at: 0 }
    }

    fn entry(&self) -> Result<(Reject<'a>, usize), Corruption> {
        let rest = &self.bytes[self.at..];
        let fixed = rest
            .first_chunk::<FIXED_BYTES>()
            .ok_or(Corruption::Truncated)?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let u16_at = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let i64_at = |at: usize| {
            i64::from_le_bytes(
                *fixed[at..]
                    .first_chunk::<8>()
                    .expect("inside the fixed part"),
            )
        };
        let length = u32_at(0) as usize;
        let (text, key, message) = (u32_at(40) as usize, u32_at(44), u32_at(48) as usize);
        let key_bytes = if key == NO_KEY { 0 } else { key as usize };
        let sum = FIXED_BYTES as u64 + text as u64 + key_bytes as u64 + message as u64;
        if sum != length as u64 || length > rest.len() {
            return Err(Corruption::Length);
        }
        let (text_bytes, behind) = rest[FIXED_BYTES..length].split_at(text);
        let (key_bytes, message) = behind.split_at(key_bytes);
        let column = u16_at(12);
        let reject = Reject {
            offset: Offset(i64_at(16)),
            timestamp_ms: i64_at(24),
            unix_ms: i64_at(32),
            code: u16_at(6),
            kind: RejectKind::of(fixed[4]).ok_or(Corruption::Field("reject kind"))?,
            line: u32_at(8),
            column: (column != NO_COLUMN).then_some(column),
            text: std::str::from_utf8(text_bytes).map_err(|_| Corruption::Field("reject text"))?,
            key: (key != NO_KEY).then_some(key_bytes),
            message,
        };
        Ok((reject, length))
    }
}

impl<'a> Iterator for Rejects<'a> {
    type Item = Result<Reject<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        match self.entry() {
            Ok((reject, length)) => {
                self.at += length;
                Some(Ok(reject))
            }
            Err(what) => {
                let damage = Damage::at(self.at as u64, what);
                self.at = self.bytes.len();
                Some(Err(damage))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(text: &'static str, key: Option<&'static [u8]>) -> Reject<'static> {
        Reject {
            offset: Offset(41),
            timestamp_ms: 1,
            unix_ms: 2,
            code: 1366,
            kind: RejectKind::Constraint,
            line: 3,
            column: Some(7),
            text,
            key,
            message: b"{\"a\":",
        }
    }

    #[test]
    fn what_is_encoded_is_read_and_no_cut_or_flipped_byte_panics() {
        let all = [
            reject("schön", Some(b"k")),
            reject("", None),
            reject("x", Some(b"")),
        ];
        let mut bytes = Vec::new();
        for reject in &all {
            let at = bytes.len();
            bytes.resize(at + reject.encoded_bytes(), 0);
            reject.encode(&mut bytes[at..]);
        }
        let read: Result<Vec<_>, _> = Rejects::new(&bytes).collect();
        assert_eq!(read.as_deref(), Ok(&all[..]));
        for end in 1..bytes.len() {
            let last = Rejects::new(&bytes[..end]).last();
            assert!(last.is_some());
        }
        for at in 0..bytes.len() {
            for bit in [1u8, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= bit;
                assert!(Rejects::new(&broken).count() <= bytes.len());
            }
        }
    }

    /// The kinds of the table above, written out once more by hand.
    #[test]
    fn a_kind_is_this_byte() {
        for (kind, tag) in [
            (RejectKind::Parser, 1),
            (RejectKind::Constraint, 2),
            (RejectKind::Fault(FaultKind::Internal), 16),
            (RejectKind::Fault(FaultKind::Extract), 17),
            (RejectKind::Fault(FaultKind::Transform), 18),
            (RejectKind::Fault(FaultKind::Load), 19),
        ] {
            let reject = Reject {
                kind,
                ..reject("", None)
            };
            let mut bytes = vec![0; reject.encoded_bytes()];
            reject.encode(&mut bytes);
            assert_eq!(bytes[4], tag);
            assert!(Rejects::new(&bytes).eq([Ok(reject)]));
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(reject("aöb", None).cut(2, 0).text, "a");
        assert_eq!(reject("aöb", Some(b"key")).cut(9, 2).key, Some(&b"ke"[..]));
    }
}
