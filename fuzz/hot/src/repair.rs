//! Checksums made right again: a fuzzer does not guess one, and what lies behind must be met too.
//!
//! Written from the tables in `kafka/batch.rs` and `storage/src/format.rs`, on plain bytes: what does not
//! hang together is left as it is.

use storage::format::{HEADER_PREFIX_BYTES, PREFIX_BYTES, Prefix, header_bytes, parse_prefix};
use storage::limits::SEGMENT_COMMITS_MAX;

/// A file's identity: leaf partition, sequence, rewrite.
pub type Id = (u64, u64, u32);

/// A record batch: its length, its magic and its CRC-32C.
pub fn record_batch(batch: &mut [u8]) {
    const HEADER_BYTES: usize = 61;
    if batch.len() < HEADER_BYTES {
        return;
    }
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A segment file: each record's identity, the checksums of its buffers and its own, then a seal's.
pub fn segment(bytes: &mut [u8], id: Id) {
    let prefix = &bytes[..bytes.len().min(HEADER_PREFIX_BYTES)];
    let Ok(mut at) = header_bytes(prefix) else {
        return;
    };
    let Some(header_crc) = bytes.get_mut(..at).and_then(|head| header(head, id)) else {
        return;
    };
    for _ in 0..SEGMENT_COMMITS_MAX {
        let rest = &mut bytes[at..];
        let Ok(Prefix::Head(end)) = parse_prefix(&rest[..rest.len().min(PREFIX_BYTES)]) else {
            break;
        };
        let Some((head, body)) = rest.split_at_mut_checked(end) else {
            break;
        };
        match commit(head, body, id, header_crc) {
            Some(body_bytes) if body_bytes <= body.len() => at += end + body_bytes,
            _ => break,
        }
    }
    // Not sealed is a segment too.
    let _ = seal(bytes);
}

fn header(head: &mut [u8], id: Id) -> Option<u32> {
    let start = record_start(head)?;
    // Behind the magic: format version 4, Kafka partition 4, table 8.
    put_id(head.get_mut(start + 24..)?, id)?;
    put_crc(head)
}

/// Returns the bytes of the body, by its buffers.
fn commit(head: &mut [u8], body: &[u8], id: Id, header_crc: u32) -> Option<usize> {
    const HEADER_CRC_AT: usize = 28;
    const REJECTS_AT: usize = 184;
    const ROW_DELETES_AT: usize = 192;
    const COLUMNS_AT: usize = 216;
    const FIRST_COLUMN_AT: usize = 224;
    let start = record_start(head)?;
    let record = head.get_mut(start..)?;
    put_id(record.get_mut(8..)?, id)?;
    put(record, HEADER_CRC_AT, &header_crc.to_le_bytes())?;
    let columns = u32_at(record, COLUMNS_AT)?;
    let mut body_at = 0;
    let mut field = FIRST_COLUMN_AT;
    for _ in 0..columns {
        for _ in 0..3 {
            buffer(record, field, body, &mut body_at)?;
            field += 8;
        }
        field += 4; // null count
        for _ in 0..2 {
            field = bound_end(record, field)?;
        }
    }
    buffer(record, REJECTS_AT, body, &mut body_at)?;
    buffer(record, ROW_DELETES_AT, body, &mut body_at)?;
    put_crc(head)?;
    Some(body_at)
}

/// The checksum of a buffer whose length stands at `field`, its bytes at `body_at` of the body.
fn buffer(record: &mut [u8], field: usize, body: &[u8], body_at: &mut usize) -> Option<()> {
    let bytes = u32_at(record, field)? as usize;
    let found = body.get(*body_at..body_at.checked_add(bytes)?)?;
    put(record, field + 4, &crc32fast::hash(found).to_le_bytes())?;
    *body_at += bytes.next_multiple_of(64);
    Some(())
}

/// Where a minimum or maximum that begins at `field` ends.
fn bound_end(record: &[u8], field: usize) -> Option<usize> {
    Some(match record.get(field)? {
        0 => field + 2,
        1..=3 => field + 2 + 8,
        4 => field + 2 + 16,
        5 => {
            let bytes = record.get(field + 2..field + 4)?;
            field + 4 + usize::from(u16::from_le_bytes(bytes.try_into().ok()?))
        }
        _ => return None,
    })
}

/// The index says the records that stand in the file, and its checksums and the footer's are right.
fn seal(bytes: &mut [u8]) -> Option<()> {
    const FOOTER_TAIL_BYTES: usize = 10;
    let tail_at = bytes.len().checked_sub(FOOTER_TAIL_BYTES)?;
    let footer_bytes = u32_at(bytes, tail_at)? as usize;
    let index_end = tail_at.checked_sub(footer_bytes)?;
    let own_bytes = u32_at(bytes, index_end.checked_sub(8)?)? as usize;
    let index_at = index_end.checked_sub(own_bytes)?;
    let (content, seal) = bytes.split_at_mut(index_at);
    let (index, footer) = seal.split_at_mut(own_bytes);
    let footer_crc = crc32fast::hash(footer);
    put(index, 20, &footer_crc.to_le_bytes())?;
    let mut field = 24;
    for _ in 0..u32_at(index, 16)?.min(SEGMENT_COMMITS_MAX) {
        let at = index.get(field..field + 8)?;
        let at = usize::try_from(u64::from_le_bytes(at.try_into().ok()?)).ok()?;
        let head_bytes = u32_at(index, field + 8)? as usize;
        let record_bytes = u32_at(index, field + 12)? as usize;
        field += 16;
        // The record's own length and checksum are not in the index.
        let end = at.checked_add(head_bytes)?.checked_sub(8)?;
        let record = content.get(end.checked_sub(record_bytes)?..end)?;
        put(index, field, record)?;
        field += record_bytes;
    }
    put_crc(index)?;
    Some(())
}

/// Where the record begins in a message's metadata.
fn record_start(head: &[u8]) -> Option<usize> {
    let own_bytes = u32_at(head, head.len().checked_sub(8)?)? as usize;
    head.len().checked_sub(own_bytes)
}

/// The checksum of all before it, in the last four bytes.
fn put_crc(head: &mut [u8]) -> Option<u32> {
    let at = head.len().checked_sub(4)?;
    let crc = crc32fast::hash(&head[..at]);
    put(head, at, &crc.to_le_bytes())?;
    Some(crc)
}

fn put_id(at: &mut [u8], (leaf_partition, sequence, rewrite): Id) -> Option<()> {
    put(at, 0, &leaf_partition.to_le_bytes())?;
    put(at, 8, &sequence.to_le_bytes())?;
    put(at, 16, &rewrite.to_le_bytes())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes
        .get_mut(at..at.checked_add(value.len())?)?
        .copy_from_slice(value);
    Some(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}
