//! A hole: what a segment leaves in its directory when its file goes to quarantine, so that no start
//! forgets what is missing. Its bytes: [`crate::format`].

use std::fmt;

use crate::error::{Corruption, Damage};
use crate::format::bytes::{Fields, PutFields, RECORD_TAIL_BYTES, open_message};
use crate::format::header::{NO_PREDECESSOR, Predecessor, parse_predecessor, put_predecessor};
use crate::format::record::SegmentId;
use crate::format::{FORMAT_VERSION, SegmentHeader};
use crate::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId};
use crate::limits::{
    COMMIT_NUMBER_MAX, HOLE_BYTES_MAX, HOLE_NAME_BYTES_MAX, HOLE_REASON_BYTES_MAX,
};

const MAGIC: [u8; 8] = *b"PLHOLE\0\0";

/// What stood before a segment that is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it was the first.
    Nothing,
    /// This.
    Segment(Predecessor),
    /// Its header did not say any more.
    Unknown,
}

/// The offsets that a segment in quarantine held, and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The table.
    pub table: TableId,
    /// The segment.
    pub id: SegmentId,
    /// Its lineage.
    pub lineage: Lineage,
    /// The first offset that it held.
    pub first_offset: Offset,
    /// The offset after its last, so far as is known: damage can hide some more where nothing follows.
    pub next_offset: Offset,
    /// The number of the commit that would follow.
    pub next_commit_number: u64,
    /// What stood before it.
    pub before: Before,
    /// Whether all that stood before it was durable.
    pub vouches: bool,
    /// The lineage that the partition stood in when the damage was met: a later one was begun by hand.
    pub standing: Lineage,
    /// When, ms since 1970.
    pub found_unix_ms: i64,
    /// The file's name in quarantine.
    pub moved_to: String,
    /// What is wrong with it, in a line.
    pub reason: String,
}

impl Hole {
    /// The hole that a segment with this header leaves; what else is known of it is yet to be said.
    #[must_use]
    pub fn of(header: &SegmentHeader, reason: String) -> Hole {
        Hole {
            table: header.table,
            id: header.id,
            lineage: header.lineage,
            first_offset: header.first_offset,
            next_offset: header.first_offset,
            next_commit_number: header.first_commit_number,
            before: header.prev.map_or(Before::Nothing, Before::Segment),
            vouches: false,
            standing: header.lineage,
            found_unix_ms: 0,
            moved_to: String::new(),
            reason,
        }
    }

    /// Whether a successor that names `prev` follows it.
    #[must_use]
    pub fn ends_at(&self, prev: &Predecessor) -> bool {
        self.end() == *prev
    }

    /// Where it ends, as what follows it names it.
    #[must_use]
    pub fn end(&self) -> Predecessor {
        Predecessor {
            sequence: self.id.sequence,
            lineage: self.lineage,
            next_offset: self.next_offset,
            next_commit_number: self.next_commit_number,
        }
    }

    /// Whether it names `older` as what stood before it.
    #[must_use]
    pub fn hangs_on(&self, older: &Hole) -> bool {
        matches!(self.before, Before::Segment(prev) if older.ends_at(&prev))
    }

    /// What is missing, in words: `offsets 3 to 5`.
    #[must_use]
    pub fn offsets(&self) -> String {
        match self.next_offset.0.saturating_sub(self.first_offset.0) {
            // Where its header is lost, and no record is left.
            ..=0 if self.before == Before::Unknown => "offsets that nothing tells".to_owned(),
            ..=0 => "no offsets".to_owned(),
            1 => format!("offset {}", self.first_offset),
            _ => format!(
                "offsets {} to {}",
                self.first_offset,
                self.next_offset.0 - 1
            ),
        }
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offsets, name) = (self.offsets(), &self.moved_to);
        write!(f, "{offsets} are in quarantine/{name} ({})", self.reason)
    }
}

/// The bytes of a hole's file.
///
/// # Panics
/// Where the name in quarantine breaks its bound: it is made of three names of ours. A longer reason is cut.
#[must_use]
pub fn encode_hole(hole: &Hole) -> Vec<u8> {
    assert!(hole.moved_to.len() <= HOLE_NAME_BYTES_MAX, "a file's name");
    let (before, unknown) = match hole.before {
        Before::Nothing => (NO_PREDECESSOR, 0),
        Before::Segment(prev) => (prev, 0),
        Before::Unknown => (NO_PREDECESSOR, 1),
    };
    let mut bytes = Vec::with_capacity(HOLE_BYTES_MAX);
    bytes.put(MAGIC);
    bytes.put(u32::from(FORMAT_VERSION).to_le_bytes());
    bytes.put([u8::from(hole.vouches), unknown, 0, 0]);
    bytes.put(hole.table.0.to_le_bytes());
    bytes.put(hole.id.leaf_partition.0.to_le_bytes());
    bytes.put(hole.id.sequence.0.to_le_bytes());
    bytes.put(hole.id.rewrite.0.to_le_bytes());
    bytes.put(hole.lineage.0.to_le_bytes());
    bytes.put(hole.first_offset.0.to_le_bytes());
    bytes.put(hole.next_offset.0.to_le_bytes());
    bytes.put(hole.next_commit_number.to_le_bytes());
    bytes.put(hole.standing.0.to_le_bytes());
    bytes.put(hole.found_unix_ms.to_le_bytes());
    put_predecessor(&mut bytes, &before);
    bytes.put_text(&hole.moved_to);
    bytes.put_text(cut(&hole.reason));
    bytes.put(((bytes.len() + RECORD_TAIL_BYTES) as u32).to_le_bytes());
    bytes.put(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(HOLE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// Reads a hole: `bytes` are the whole file.
///
/// # Errors
/// [`Damage`]: what is wrong and where. Never panics, whatever the bytes.
pub fn parse_hole(bytes: &[u8]) -> Result<Hole, Damage> {
    if bytes.len() > HOLE_BYTES_MAX {
        return Err(Damage::at(HOLE_BYTES_MAX as u64, Corruption::Length));
    }
    let (start, end, _) = open_message(bytes)?;
    let mut fields = Fields::new(&bytes[..end], 0);
    if start != 0 || fields.array()? != MAGIC {
        return Err(Damage::at(0, Corruption::RecordMagic));
    }
    let version = fields.u32()?;
    if version != u32::from(FORMAT_VERSION) {
        return Err(fields.damage(Corruption::Version(version)));
    }
    let [vouches, unknown, _, _] = fields.array()?;
    let mut hole = Hole {
        table: TableId(fields.u64()?),
        id: SegmentId {
            leaf_partition: LeafPartitionId(fields.u64()?),
            sequence: Sequence(fields.u64()?),
            rewrite: Rewrite(fields.u32()?),
        },
        lineage: Lineage(fields.u64()?),
        first_offset: Offset(fields.i64()?),
        next_offset: Offset(fields.i64()?),
        next_commit_number: fields.u64()?,
        before: Before::Unknown,
        vouches: vouches != 0,
        standing: Lineage(fields.u64()?),
        found_unix_ms: fields.i64()?,
        moved_to: String::new(),
        reason: String::new(),
    };
    let before = parse_predecessor(&mut fields)?;
    hole.before = match before {
        _ if unknown != 0 => Before::Unknown,
        None => Before::Nothing,
        Some(prev) => Before::Segment(prev),
    };
    hole.moved_to = fields.text(HOLE_NAME_BYTES_MAX, "name")?.to_owned();
    hole.reason = fields.text(HOLE_REASON_BYTES_MAX, "reason")?.to_owned();
    if fields.at() != end {
        return Err(fields.damage(Corruption::Length));
    }
    let later = |prev: &Predecessor| prev.sequence >= hole.id.sequence;
    if hole.first_offset > hole.next_offset
        || hole.next_commit_number > COMMIT_NUMBER_MAX + 1
        || before.as_ref().is_some_and(later)
    {
        return Err(fields.damage(Corruption::Field("hole")));
    }
    Ok(hole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole() -> Hole {
        Hole {
            table: TableId(7),
            id: SegmentId {
                leaf_partition: LeafPartitionId(9),
                sequence: Sequence(3),
                rewrite: Rewrite(1),
            },
            lineage: Lineage(2),
            first_offset: Offset(100),
            next_offset: Offset(200),
            next_commit_number: 15,
            before: Before::Segment(Predecessor {
                sequence: Sequence(2),
                lineage: Lineage(2),
                next_offset: Offset(100),
                next_commit_number: 11,
            }),
            vouches: true,
            standing: Lineage(4),
            found_unix_ms: 1_700_000_000_000,
            moved_to: "7-9-3.1.arrow".to_owned(),
            reason: "checksum mismatch in column 0, buffer 1 at byte 4096".to_owned(),
        }
    }

    /// The layout of `format.rs`, written out once more by hand.
    #[test]
    fn a_hole_is_these_bytes() {
        let mut bytes = b"PLHOLE\0\0".to_vec();
        bytes.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        for number in [7u64, 9, 3] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(1u32.to_le_bytes());
        for number in [2u64, 100, 200, 15, 4, 1_700_000_000_000, 2, 2, 100, 11] {
            bytes.extend(number.to_le_bytes());
        }
        for text in [hole().moved_to, hole().reason] {
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend((bytes.len() as u32 + 8).to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        assert_eq!(encode_hole(&hole()), bytes);
        assert_eq!(parse_hole(&bytes), Ok(hole()));
        for before in [Before::Nothing, Before::Unknown] {
            let other = Hole { before, ..hole() };
            assert_eq!(parse_hole(&encode_hole(&other)), Ok(other));
        }
    }

    #[test]
    fn a_torn_or_flipped_hole_is_none() {
        let bytes = encode_hole(&hole());
        for end in 0..bytes.len() {
            assert!(parse_hole(&bytes[..end]).is_err(), "cut at {end}");
            let mut zeros = bytes.clone();
            zeros[end..].fill(0);
            assert!(parse_hole(&zeros).is_err(), "zeros from {end}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(parse_hole(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(parse_hole(&longer).is_err());
        // Behind a right checksum too: nothing of it panics.
        for at in 0..bytes.len() - 4 {
            let mut forged = bytes.clone();
            forged[at] ^= 0xff;
            let end = forged.len() - 4;
            let crc = crc32fast::hash(&forged[..end]);
            forged[end..].copy_from_slice(&crc.to_le_bytes());
            let _ = parse_hole(&forged);
        }
    }

    #[test]
    fn a_reason_is_cut_between_two_characters() {
        let reason = "ä".repeat(HOLE_REASON_BYTES_MAX);
        let long = Hole { reason, ..hole() };
        let read = parse_hole(&encode_hole(&long)).expect("within its bounds");
        assert_eq!(read.reason, "ä".repeat(HOLE_REASON_BYTES_MAX / 2));
        let odd = format!("a{}", long.reason);
        assert!(
            encode_hole(&Hole {
                reason: odd,
                ..hole()
            })
            .len()
                <= HOLE_BYTES_MAX
        );
    }

    #[test]
    fn it_hangs_on_the_one_that_ends_as_it_says() {
        let newer = hole();
        let older = |change: fn(&mut Hole)| {
            let mut older = Hole {
                id: SegmentId {
                    sequence: Sequence(2),
                    ..newer.id
                },
                first_offset: Offset(50),
                next_offset: Offset(100),
                next_commit_number: 11,
                before: Before::Nothing,
                ..newer.clone()
            };
            change(&mut older);
            older
        };
        assert!(newer.hangs_on(&older(|_| ())));
        let others: [fn(&mut Hole); 4] = [
            |other| other.id.sequence.0 -= 1,
            |other| other.lineage.0 -= 1,
            |other| other.next_offset.0 -= 1,
            |other| other.next_commit_number -= 1,
        ];
        for (case, change) in others.into_iter().enumerate() {
            assert!(!newer.hangs_on(&older(change)), "{case}");
        }
        for before in [Before::Nothing, Before::Unknown] {
            let other = Hole { before, ..hole() };
            assert!(!other.hangs_on(&older(|_| ())));
        }
    }

    #[test]
    fn it_says_what_is_missing() {
        let said = "offsets 100 to 199 are in quarantine/7-9-3.1.arrow (checksum mismatch in column 0, buffer 1 at byte 4096)";
        assert_eq!(hole().to_string(), said);
        let until = |next| {
            Hole {
                next_offset: Offset(next),
                ..hole()
            }
            .offsets()
        };
        assert_eq!(
            (until(101), until(100)),
            ("offset 100".to_owned(), "no offsets".to_owned())
        );
        // Its header is lost, and no record is left.
        let lost = Hole {
            next_offset: Offset(100),
            before: Before::Unknown,
            ..hole()
        };
        assert_eq!(lost.offsets(), "offsets that nothing tells");
    }
}
