//! A segment's header: the magic, and the schema message with the header record behind its flatbuffer.

use std::sync::Arc;

use crate::error::{Corruption, Damage};
use crate::format::arrow;
use crate::format::bytes::{CONTINUATION, Fields, PutFields, open_message, seal_message};
use crate::format::record::SegmentId;
use crate::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use crate::limits::{
    ALIGN_BYTES, ANNOTATION_BYTES_MAX, COLUMN_NAME_BYTES_MAX, COLUMNS_MAX, COMMIT_NUMBER_MAX,
    HEADER_BYTES_MAX,
};
use crate::schema::{Column, Physical, Schema, TimeUnit};

/// What a segment is: all that is needed to attach its file without a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The file's identity.
    pub id: SegmentId,
    /// The table.
    pub table: TableId,
    /// The Kafka partition: the constant of `_partition`.
    pub kafka_partition: i32,
    /// The topic.
    pub topic_id: TopicId,
    /// The lineage: one a segment.
    pub lineage: Lineage,
    /// Where the segment begins: the first offset of its first commit.
    pub first_offset: Offset,
    /// The number of its first commit.
    pub first_commit_number: u64,
    /// When it was created, ms since 1970.
    pub created_unix_ms: i64,
    /// The segment before it; none for the first, or where none is durable.
    pub prev: Option<Predecessor>,
    /// Whether there is a segment before it, and all of that was durable when it was made. Then that it is there
    /// says so, as a record with a durable end does; of what follows a void nothing else may.
    pub behind_durable: bool,
    /// The columns.
    pub schema: Arc<Schema>,
}

/// The segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its place.
    pub sequence: Sequence,
    /// Its lineage.
    pub lineage: Lineage,
    /// Where its content ends: the next offset of its last commit that counts.
    pub next_offset: Offset,
    /// Its content ends before the commit of this number. Offsets alone do not say: a commit that
    /// carries only errors covers none.
    pub next_commit_number: u64,
}

/// A header as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedHeader {
    /// What it says.
    pub header: SegmentHeader,
    /// Bytes that it takes: the first commit begins there.
    pub bytes: u32,
    /// Its CRC-32, which every commit record repeats.
    pub crc: u32,
}

/// Bytes to read before [`header_bytes`] can tell the length.
pub const HEADER_PREFIX_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"ARROW1\0\0";
const RECORD_MAGIC: [u8; 8] = *b"PLHEADER";
/// The version of the whole format.
pub const FORMAT_VERSION: u16 = 1;
const BEHIND_DURABLE: u16 = 1;

/// The header's bytes, from byte 0 of the file to its first commit (a multiple of 64), with what a
/// reader makes of them.
///
/// # Panics
/// Where a name or the number of columns breaks a bound of [`crate::limits`]: CREATE TABLE keeps them.
#[must_use]
pub fn encode_header(header: &SegmentHeader) -> (ParsedHeader, Vec<u8>) {
    let mut record = Vec::with_capacity(512);
    record.put(RECORD_MAGIC);
    record.put(FORMAT_VERSION.to_le_bytes());
    let flags = if header.behind_durable {
        BEHIND_DURABLE
    } else {
        0
    };
    record.put(flags.to_le_bytes());
    record.put(header.kafka_partition.to_le_bytes());
    record.put(header.table.0.to_le_bytes());
    record.put(header.id.leaf_partition.0.to_le_bytes());
    record.put(header.id.sequence.0.to_le_bytes());
    record.put(header.id.rewrite.0.to_le_bytes());
    record.put(header.schema.version.to_le_bytes());
    record.put(header.topic_id.0);
    record.put(header.lineage.0.to_le_bytes());
    record.put(header.first_offset.0.to_le_bytes());
    record.put(header.first_commit_number.to_le_bytes());
    record.put(header.created_unix_ms.to_le_bytes());
    put_predecessor(&mut record, &header.prev.unwrap_or(NO_PREDECESSOR));
    assert!(
        header.schema.columns.len() <= COLUMNS_MAX,
        "columns of a table"
    );
    record.put((header.schema.columns.len() as u32).to_le_bytes());
    for column in header.schema.columns.iter() {
        assert!(
            column.name.len() <= COLUMN_NAME_BYTES_MAX,
            "a column's name"
        );
        assert!(
            column.annotation.len() <= ANNOTATION_BYTES_MAX,
            "a column's annotation"
        );
        record.put(physical_tag(column.physical));
        record.put([u8::from(column.nullable)]);
        record.put_text(&column.name);
        record.put_text(&column.annotation);
    }
    let mut bytes = MAGIC.to_vec();
    let crc = seal_message(&mut bytes, &arrow::schema_message(header), &record);
    let parsed = ParsedHeader {
        header: header.clone(),
        bytes: bytes.len() as u32,
        crc,
    };
    (parsed, bytes)
}

/// How long the header is, from its first [`HEADER_PREFIX_BYTES`] bytes.
///
/// # Errors
/// [`Damage`]: not a segment, or cut off.
pub fn header_bytes(prefix: &[u8]) -> Result<usize, Damage> {
    let mut fields = Fields::new(prefix, 0);
    if fields.array()? != MAGIC {
        return Err(Damage::at(0, Corruption::Magic));
    }
    if fields.array()? != CONTINUATION {
        return Err(Damage::at(8, Corruption::NoMessage));
    }
    let bytes = fields.u32()? as usize + HEADER_PREFIX_BYTES;
    if bytes > HEADER_BYTES_MAX || !bytes.is_multiple_of(ALIGN_BYTES) {
        return Err(Damage::at(12, Corruption::Length));
    }
    Ok(bytes)
}

/// Reads a header. `bytes` begin at byte 0 of the file and may go on beyond the header.
///
/// # Errors
/// [`Damage`]: what is wrong and where. Never panics, whatever the bytes.
pub fn parse_header(bytes: &[u8]) -> Result<ParsedHeader, Damage> {
    let end = header_bytes(bytes)?;
    let Some(bytes) = bytes.get(..end) else {
        return Err(Damage::at(bytes.len() as u64, Corruption::Truncated));
    };
    let (start, record_end, crc) = open_message(bytes)?;
    let mut fields = Fields::new(&bytes[..record_end], start);
    if fields.array()? != RECORD_MAGIC {
        return Err(Damage::at(start as u64, Corruption::RecordMagic));
    }
    let (version, flags) = (fields.u16()?, fields.u16()?);
    if version != FORMAT_VERSION || flags & !BEHIND_DURABLE != 0 {
        // The checksum is good: a later version's.
        let both = u32::from(flags) << 16 | u32::from(version);
        return Err(fields.damage(Corruption::Version(both)));
    }
    let kafka_partition = fields.i32()?;
    let table = TableId(fields.u64()?);
    let id = SegmentId {
        leaf_partition: LeafPartitionId(fields.u64()?),
        sequence: Sequence(fields.u64()?),
        rewrite: Rewrite(fields.u32()?),
    };
    let schema_version = fields.u32()?;
    let topic_id = TopicId(fields.array()?);
    let lineage = Lineage(fields.u64()?);
    let first_offset = Offset(fields.i64()?);
    let first_commit_number = fields.u64()?;
    let created_unix_ms = fields.i64()?;
    let prev = parse_predecessor(&mut fields)?;
    if first_commit_number > COMMIT_NUMBER_MAX + 1 {
        return Err(fields.damage(Corruption::Field("commit number")));
    }
    let columns = parse_columns(&mut fields)?;
    if fields.at() != record_end {
        return Err(fields.damage(Corruption::Length));
    }
    let header = SegmentHeader {
        id,
        table,
        kafka_partition,
        topic_id,
        lineage,
        first_offset,
        first_commit_number,
        created_unix_ms,
        prev,
        behind_durable: flags & BEHIND_DURABLE != 0,
        schema: Arc::new(Schema {
            version: schema_version,
            columns,
        }),
    };
    Ok(ParsedHeader {
        header,
        bytes: end as u32,
        crc,
    })
}

/// Sequences begin at 1.
pub(super) const NO_PREDECESSOR: Predecessor = Predecessor {
    sequence: Sequence(0),
    lineage: Lineage(0),
    next_offset: Offset(0),
    next_commit_number: 0,
};

pub(super) fn put_predecessor(to: &mut Vec<u8>, prev: &Predecessor) {
    to.put(prev.sequence.0.to_le_bytes());
    to.put(prev.lineage.0.to_le_bytes());
    to.put(prev.next_offset.0.to_le_bytes());
    to.put(prev.next_commit_number.to_le_bytes());
}

/// `None`: the first segment.
pub(super) fn parse_predecessor(fields: &mut Fields<'_>) -> Result<Option<Predecessor>, Damage> {
    let prev = Predecessor {
        sequence: Sequence(fields.u64()?),
        lineage: Lineage(fields.u64()?),
        next_offset: Offset(fields.i64()?),
        next_commit_number: fields.u64()?,
    };
    if prev.next_commit_number > COMMIT_NUMBER_MAX + 1 {
        return Err(fields.damage(Corruption::Field("commit number")));
    }
    Ok((prev.sequence != NO_PREDECESSOR.sequence).then_some(prev))
}

fn parse_columns(fields: &mut Fields<'_>) -> Result<Arc<[Column]>, Damage> {
    let count = fields.u32()? as usize;
    if count > COLUMNS_MAX {
        return Err(fields.damage(Corruption::Length));
    }
    (0..count)
        .map(|_| {
            let Some(physical) = physical_of(fields.array()?) else {
                return Err(fields.damage(Corruption::Field("column type")));
            };
            Ok(Column {
                physical,
                nullable: fields.u8()? != 0,
                name: fields
                    .text(COLUMN_NAME_BYTES_MAX, "column name")?
                    .to_owned(),
                annotation: fields.text(ANNOTATION_BYTES_MAX, "annotation")?.to_owned(),
            })
        })
        .collect()
}

fn physical_tag(physical: Physical) -> [u8; 3] {
    match physical {
        Physical::Int8 => [1, 0, 0],
        Physical::Int16 => [2, 0, 0],
        Physical::Int32 => [3, 0, 0],
        Physical::Int64 => [4, 0, 0],
        Physical::UInt8 => [5, 0, 0],
        Physical::UInt16 => [6, 0, 0],
        Physical::UInt32 => [7, 0, 0],
        Physical::UInt64 => [8, 0, 0],
        Physical::Float32 => [9, 0, 0],
        Physical::Float64 => [10, 0, 0],
        Physical::Decimal128 { precision, scale } => [11, precision, scale],
        Physical::Date32 => [12, 0, 0],
        Physical::Timestamp(TimeUnit::Second) => [13, 0, 0],
        Physical::Timestamp(TimeUnit::Millisecond) => [13, 3, 0],
        Physical::Timestamp(TimeUnit::Microsecond) => [13, 6, 0],
        Physical::Utf8 => [14, 0, 0],
    }
}

fn physical_of(tag: [u8; 3]) -> Option<Physical> {
    Some(match tag {
        [1, 0, 0] => Physical::Int8,
        [2, 0, 0] => Physical::Int16,
        [3, 0, 0] => Physical::Int32,
        [4, 0, 0] => Physical::Int64,
        [5, 0, 0] => Physical::UInt8,
        [6, 0, 0] => Physical::UInt16,
        [7, 0, 0] => Physical::UInt32,
        [8, 0, 0] => Physical::UInt64,
        [9, 0, 0] => Physical::Float32,
        [10, 0, 0] => Physical::Float64,
        [11, precision @ 1..=38, scale] if scale <= precision => {
            Physical::Decimal128 { precision, scale }
        }
        [12, 0, 0] => Physical::Date32,
        [13, 0, 0] => Physical::Timestamp(TimeUnit::Second),
        [13, 3, 0] => Physical::Timestamp(TimeUnit::Millisecond),
        [13, 6, 0] => Physical::Timestamp(TimeUnit::Microsecond),
        [14, 0, 0] => Physical::Utf8,
        _ => return None,
    })
}
