//! What a seal appends to a segment: end of stream, the index of all records, Arrow's footer.
//!
//! ```text
//! [FFFFFFFF][00000000]
//! "PLINDEX1" | content end 8 | commits 4 | CRC-32 of all behind the index 4
//!   | per commit: position 8, metadata bytes 4, record bytes 4, record
//!   | zeros | own length 4 | CRC-32 4                    ends at a multiple of 64 from the content's end
//! Arrow's footer flatbuffer | its length 4 | "ARROW1"
//! ```
//!
//! The index repeats the records without what merged ones stand for, so that a sealed segment opens with
//! three reads instead of one a commit. Recovery may ignore it: each commit's own metadata says the same.

use crate::error::{Corruption, Damage};
use crate::format::arrow;
use crate::format::bytes::{CONTINUATION, Fields, PutFields, RECORD_TAIL_BYTES};
use crate::format::commit::encode_record;
use crate::format::header::SegmentHeader;
use crate::format::parse::parse_record;
use crate::format::record::CommitRecord;
use crate::limits::{ALIGN_BYTES, FOOTER_BYTES_MAX, METADATA_BYTES_MAX, SEGMENT_COMMITS_MAX};

const INDEX_MAGIC: [u8; 8] = *b"PLINDEX1";
const FOOTER_MAGIC: [u8; 6] = *b"ARROW1";
/// The footer's length and magic.
const FOOTER_TAIL_BYTES: usize = 10;
const END_OF_STREAM_BYTES: usize = 8;

/// A sealed segment's commits, as its index says.
#[derive(Clone, Debug, PartialEq)]
pub struct Seal {
    /// Where the last commit ends and the end of stream stands.
    pub content_end: u64,
    /// Position and record of each commit, in order.
    pub commits: Vec<(u64, CommitRecord)>,
}

/// The bytes that seal a segment, to be written at `content_end`, where its last commit ends.
///
/// - `commits`: position in the file and record of each, in order.
#[must_use]
pub fn encode_seal(
    header: &SegmentHeader,
    commits: &[(u64, &CommitRecord)],
    content_end: u64,
) -> Vec<u8> {
    let mut footer = arrow::footer(header, commits);
    footer.put((footer.len() as i32).to_le_bytes());
    footer.extend_from_slice(&FOOTER_MAGIC);
    let mut bytes = Vec::new();
    bytes.put(CONTINUATION);
    bytes.put([0; 4]);
    bytes.put(INDEX_MAGIC);
    bytes.put(content_end.to_le_bytes());
    bytes.put((commits.len() as u32).to_le_bytes());
    bytes.put(crc32fast::hash(&footer).to_le_bytes());
    for (at, record) in commits {
        let encoded = encode_record(record, &[]);
        bytes.put(at.to_le_bytes());
        bytes.put(record.head_bytes.to_le_bytes());
        bytes.put((encoded.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&encoded);
    }
    let end = (bytes.len() + RECORD_TAIL_BYTES).next_multiple_of(ALIGN_BYTES);
    bytes.resize(end - RECORD_TAIL_BYTES, 0);
    bytes.put(((end - END_OF_STREAM_BYTES) as u32).to_le_bytes());
    let crc = crc32fast::hash(&bytes[END_OF_STREAM_BYTES..]);
    bytes.put(crc.to_le_bytes());
    bytes.extend_from_slice(&footer);
    bytes
}

/// Reads the seal of a file of `file_bytes`, whose bytes `read(at, len)` gives, exactly as many as asked.
///
/// # Errors
/// The outer error is `read`'s. The inner is [`Damage`]: not sealed, or its seal is torn. Never panics.
pub fn parse_seal<E>(
    file_bytes: u64,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<Result<Seal, Damage>, E> {
    let damage = |at: u64, what| Ok(Err(Damage::at(at, what)));
    let Some(tail_at) = file_bytes.checked_sub(FOOTER_TAIL_BYTES as u64) else {
        return damage(file_bytes, Corruption::Truncated);
    };
    let tail = read(tail_at, FOOTER_TAIL_BYTES)?;
    let Some((length, magic)) = tail.split_first_chunk::<4>() else {
        return damage(tail_at, Corruption::Truncated);
    };
    if magic != FOOTER_MAGIC {
        return damage(tail_at + 4, Corruption::Magic);
    }
    let footer_bytes = u64::from(u32::from_le_bytes(*length)) + FOOTER_TAIL_BYTES as u64;
    let index_end = file_bytes.checked_sub(footer_bytes);
    let index_tail_at = index_end.and_then(|end| end.checked_sub(RECORD_TAIL_BYTES as u64));
    let (Some(index_end), Some(index_tail_at)) = (index_end, index_tail_at) else {
        return damage(tail_at, Corruption::Length);
    };
    if footer_bytes > FOOTER_BYTES_MAX {
        return damage(tail_at, Corruption::Length);
    }
    let tail = read(index_tail_at, RECORD_TAIL_BYTES)?;
    let own_bytes = tail
        .first_chunk::<4>()
        .map_or(0, |b| u32::from_le_bytes(*b));
    let index_at = index_end.checked_sub(u64::from(own_bytes));
    let Some(index_at) = index_at.filter(|_| u64::from(own_bytes) <= FOOTER_BYTES_MAX) else {
        return damage(index_tail_at, Corruption::Length);
    };
    if (own_bytes as usize) < RECORD_TAIL_BYTES + INDEX_MAGIC.len() {
        return damage(index_tail_at, Corruption::Length);
    }
    let bytes = read(index_at, own_bytes as usize + footer_bytes as usize)?;
    if bytes.len() != own_bytes as usize + footer_bytes as usize {
        return damage(index_at, Corruption::Truncated);
    }
    let (index, footer) = bytes.split_at(own_bytes as usize);
    Ok(parse_index(index, footer, index_at).map_err(|damage| damage.shifted(index_at)))
}

fn parse_index(index: &[u8], footer: &[u8], index_at: u64) -> Result<Seal, Damage> {
    let record_end = index.len() - RECORD_TAIL_BYTES;
    let crc = Fields::new(index, index.len() - 4).u32()?;
    if crc32fast::hash(&index[..index.len() - 4]) != crc {
        return Err(Damage {
            bytes: 0..index.len() as u64,
            what: Corruption::MetadataChecksum,
        });
    }
    let mut fields = Fields::new(&index[..record_end], 0);
    if fields.array()? != INDEX_MAGIC {
        return Err(Damage::at(0, Corruption::RecordMagic));
    }
    let content_end = fields.u64()?;
    let commits = fields.u32()?;
    let footer_crc = fields.u32()?;
    if crc32fast::hash(footer) != footer_crc {
        return Err(Damage::at(index.len() as u64, Corruption::MetadataChecksum));
    }
    if commits > SEGMENT_COMMITS_MAX
        || content_end.checked_add(END_OF_STREAM_BYTES as u64) != Some(index_at)
    {
        return Err(fields.damage(Corruption::Length));
    }
    let mut read = Vec::with_capacity(commits as usize);
    let mut end = None;
    for _ in 0..commits {
        let at = fields.u64()?;
        let head_bytes = fields.u32()?;
        let record_bytes = fields.u32()? as usize;
        let record_end = fields.at().saturating_add(record_bytes);
        if head_bytes as usize > METADATA_BYTES_MAX || end.is_some_and(|end| end != at) {
            return Err(fields.damage(Corruption::Length));
        }
        let record = parse_record(&mut fields, head_bytes, |_| {})?;
        if fields.at() != record_end {
            return Err(fields.damage(Corruption::Length));
        }
        end = at.checked_add(record.message_bytes());
        if end.is_none_or(|end| end > content_end) {
            return Err(fields.damage(Corruption::Length));
        }
        read.push((at, record));
    }
    if end.is_some_and(|end| end != content_end) {
        return Err(fields.damage(Corruption::Length));
    }
    Ok(Seal {
        content_end,
        commits: read,
    })
}
