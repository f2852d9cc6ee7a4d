//! A commit's metadata read back, from bytes that may be anything.

use crate::counts::Counts;
use crate::error::{Corruption, Damage};
use crate::format::bytes::{CONTINUATION, Fields, RECORD_TAIL_BYTES, open_message};
use crate::format::commit::RECORD_MAGIC;
use crate::format::header::ParsedHeader;
use crate::format::record::{
    BufferRecord, ColumnRecord, ColumnStatistics, CommitFacts, CommitLeader, CommitRecord,
    Replaced, SegmentId, StatisticBound, StatisticValue,
};
use crate::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence};
use crate::limits::{
    ALIGN_BYTES, BLOCK_ROWS_MAX, BODY_BYTES_MAX, COLUMNS_MAX, COMMIT_NUMBER_MAX,
    METADATA_BYTES_MAX, REPLACED_MAX, STATISTIC_BYTES_MAX,
};
use crate::schema::{Physical, Schema};

/// Bytes in front of a message that say how long its metadata is.
pub const PREFIX_BYTES: usize = 8;

/// What the first 8 bytes of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// Metadata of so many bytes, these 8 with them.
    Head(usize),
    /// The stream ends here: a sealed segment.
    EndOfStream,
}

/// Reads the first [`PREFIX_BYTES`] of a message.
///
/// # Errors
/// [`Damage`] at its first byte or length: no message starts here.
pub fn parse_prefix(bytes: &[u8]) -> Result<Prefix, Damage> {
    let mut fields = Fields::new(bytes, 0);
    let marker: [u8; 4] = fields.array()?;
    let length = fields.u32()? as usize;
    match marker {
        CONTINUATION if length == 0 => Ok(Prefix::EndOfStream),
        CONTINUATION => {
            let head = length.saturating_add(PREFIX_BYTES);
            if head > METADATA_BYTES_MAX || !head.is_multiple_of(ALIGN_BYTES) {
                return Err(Damage::at(4, Corruption::Length));
            }
            Ok(Prefix::Head(head))
        }
        [0, 0, 0, 0] if length == 0 => Err(Damage::at(0, Corruption::Zeros)),
        _ => Err(Damage::at(0, Corruption::NoMessage)),
    }
}

/// Bytes at the end of a head that say where its record begins.
pub const TAIL_BYTES: usize = RECORD_TAIL_BYTES;
/// Bytes at a record's beginning that say whose it is.
pub const NAME_BYTES: usize = 8 + 8 + 8 + 4 + 4;

/// Where in a head of so many bytes the record begins, by the head's last bytes. `None`: there is none.
///
/// With [`is_named`] it says cheaply what is no record: neither looks at the checksum.
#[must_use]
pub fn record_start(head_bytes: usize, tail: [u8; TAIL_BYTES]) -> Option<usize> {
    let own_bytes = Fields::new(&tail, 0).u32().ok()? as usize;
    let start = head_bytes.checked_sub(own_bytes)?;
    (own_bytes >= NAME_BYTES + TAIL_BYTES).then_some(start)
}

/// Whether a record that begins so says that it is `segment`'s; `header_crc`: where that is known.
#[must_use]
pub fn is_named(name: [u8; NAME_BYTES], segment: SegmentId, header_crc: Option<u32>) -> bool {
    let mut fields = Fields::new(&name, 0);
    let named = parse_name(&mut fields);
    named.is_ok_and(|(id, crc)| id == segment && header_crc.is_none_or(|known| known == crc))
}

/// A record's first fields: its magic, the segment and the CRC of that segment's header.
fn parse_name(fields: &mut Fields<'_>) -> Result<(SegmentId, u32), Damage> {
    if fields.array()? != RECORD_MAGIC {
        return Err(fields.damage(Corruption::RecordMagic));
    }
    let segment = SegmentId {
        leaf_partition: LeafPartitionId(fields.u64()?),
        sequence: Sequence(fields.u64()?),
        rewrite: Rewrite(fields.u32()?),
    };
    Ok((segment, fields.u32()?))
}

/// Reads a commit's metadata. `bytes` begin at its continuation marker and may go on beyond it.
///
/// Whose record it is, and whether it fits a schema, is [`check_commit`]'s question.
///
/// # Errors
/// [`Damage`]: what is wrong and where, `Corruption::EndOfStream` among it. Never panics.
pub fn parse_commit(bytes: &[u8]) -> Result<CommitRecord, Damage> {
    parse_head(bytes, |_| {})
}

/// The same, with the facts of each commit that it stands for, oldest first: none where it stands for
/// itself.
///
/// # Errors
/// As [`parse_commit`].
pub fn parse_batches(bytes: &[u8]) -> Result<(CommitRecord, Vec<CommitFacts>), Damage> {
    let mut batches = Vec::new();
    let record = parse_head(bytes, |facts| batches.push(facts))?;
    Ok((record, batches))
}

fn parse_head(bytes: &[u8], replaced: impl FnMut(CommitFacts)) -> Result<CommitRecord, Damage> {
    let Prefix::Head(end) = parse_prefix(bytes)? else {
        return Err(Damage::at(0, Corruption::EndOfStream));
    };
    let Some(head) = bytes.get(..end) else {
        return Err(Damage::at(bytes.len() as u64, Corruption::Truncated));
    };
    let (start, record_end, _) = open_message(head)?;
    let mut fields = Fields::new(&head[..record_end], start);
    let record = parse_record(&mut fields, end as u32, replaced)?;
    if fields.at() != record_end {
        return Err(fields.damage(Corruption::Length));
    }
    Ok(record)
}

/// Reads a record's fields, which the index of a sealed segment repeats. `batch` gets the facts of each
/// commit that it stands for.
pub(super) fn parse_record(
    fields: &mut Fields<'_>,
    head_bytes: u32,
    mut batch: impl FnMut(CommitFacts),
) -> Result<CommitRecord, Damage> {
    let (segment, header_crc) = parse_name(fields)?;
    let facts = parse_facts(fields)?;
    let body_bytes = fields.u64()?;
    let durable_end = fields.u64()?;
    let mut rejects = parse_buffer(fields)?;
    let mut row_deletes = parse_buffer(fields)?;
    let leader = (fields.u64()?, fields.u64()?);
    let columns = fields.u32()? as usize;
    let count = fields.u32()?;
    if columns > COLUMNS_MAX + 2 || count as usize > REPLACED_MAX || body_bytes > BODY_BYTES_MAX {
        return Err(fields.damage(Corruption::Length));
    }
    let mut at = 0;
    let mut place = |buffer: &mut BufferRecord| {
        buffer.at = at;
        at += u64::from(buffer.bytes).next_multiple_of(ALIGN_BYTES as u64);
    };
    let columns: Result<Box<[ColumnRecord]>, Damage> = (0..columns)
        .map(|_| parse_column(fields, &mut place))
        .collect();
    let columns = columns?;
    place(&mut rejects);
    place(&mut row_deletes);
    if at != body_bytes {
        return Err(fields.damage(Corruption::Length));
    }
    let mut replaced = Replaced::default();
    for _ in 0..count {
        let facts = parse_facts(fields)?;
        replaced.push(&facts);
        batch(facts);
    }
    Ok(CommitRecord {
        segment,
        header_crc,
        facts,
        head_bytes,
        body_bytes,
        durable_end,
        columns,
        rejects,
        row_deletes,
        leader: (leader != (0, 0)).then_some(CommitLeader {
            leaf_partition: LeafPartitionId(leader.0),
            commit_number: leader.1,
        }),
        replaced,
    })
}

fn parse_column(
    fields: &mut Fields<'_>,
    place: &mut impl FnMut(&mut BufferRecord),
) -> Result<ColumnRecord, Damage> {
    let mut buffers = [
        parse_buffer(fields)?,
        parse_buffer(fields)?,
        parse_buffer(fields)?,
    ];
    buffers.iter_mut().for_each(place);
    let null_count = fields.u32()?;
    Ok(ColumnRecord {
        buffers,
        statistics: ColumnStatistics {
            null_count,
            min: parse_bound(fields)?,
            max: parse_bound(fields)?,
        },
    })
}

fn parse_buffer(fields: &mut Fields<'_>) -> Result<BufferRecord, Damage> {
    Ok(BufferRecord {
        at: 0,
        bytes: fields.u32()?,
        crc: fields.u32()?,
    })
}

fn parse_facts(fields: &mut Fields<'_>) -> Result<CommitFacts, Damage> {
    let facts = CommitFacts {
        commit_number: fields.u64()?,
        lineage: Lineage(fields.u64()?),
        first_offset: Offset(fields.i64()?),
        next_offset: Offset(fields.i64()?),
        rows: fields.u32()?,
        rejects: fields.u32()?,
        counts: Counts {
            loaded: fields.u64()?,
            rejected: fields.u64()?,
            empty: fields.u64()?,
            skipped: fields.u64()?,
            control: fields.u64()?,
            aborted: fields.u64()?,
            gap: fields.u64()?,
            lost: fields.u64()?,
        },
        leader_epoch: fields.i32()?,
        more_skips: fields.u32()?,
        started_unix_ms: fields.i64()?,
        ended_unix_ms: fields.i64()?,
        extracted_bytes: fields.u64()?,
    };
    let counts = &facts.counts;
    let sum = [
        counts.loaded,
        counts.rejected,
        counts.empty,
        counts.skipped,
        counts.control,
        counts.aborted,
        counts.gap,
        counts.lost,
    ]
    .into_iter()
    .try_fold(0u64, u64::checked_add);
    let covered = facts.first_offset <= facts.next_offset;
    if !covered || sum != Some(facts.first_offset.until(facts.next_offset)) {
        return Err(fields.damage(Corruption::Counts));
    }
    if facts.rows > BLOCK_ROWS_MAX {
        return Err(fields.damage(Corruption::Length));
    }
    if facts.commit_number > COMMIT_NUMBER_MAX {
        return Err(fields.damage(Corruption::Field("commit number")));
    }
    Ok(facts)
}

fn parse_bound(fields: &mut Fields<'_>) -> Result<Option<StatisticBound>, Damage> {
    let [tag, exact] = fields.array()?;
    let value = match tag {
        0 => return Ok(None),
        1 => StatisticValue::Int(fields.i64()?),
        2 => StatisticValue::UInt(fields.u64()?),
        3 => StatisticValue::Float(f64::from_le_bytes(fields.array()?)),
        4 => StatisticValue::Decimal(i128::from_le_bytes(fields.array()?)),
        5 => StatisticValue::Text(fields.text(STATISTIC_BYTES_MAX, "statistic")?.into()),
        _ => return Err(fields.damage(Corruption::Field("statistic"))),
    };
    Ok(Some(StatisticBound {
        value,
        exact: exact != 0,
    }))
}

/// Whether a record is of this segment and describes its columns.
///
/// # Errors
/// What does not fit.
pub fn check_commit(record: &CommitRecord, header: &ParsedHeader) -> Result<(), Corruption> {
    if record.segment != header.header.id
        || record.header_crc != header.crc
        || record.facts.lineage != header.header.lineage
    {
        return Err(Corruption::OtherSegment);
    }
    let schema: &Schema = &header.header.schema;
    if record.columns.len() != schema.columns.len() + 2 {
        return Err(Corruption::Columns);
    }
    let rows = record.facts.rows as usize;
    let hidden = [(Physical::Int64, false); 2];
    let user = schema.columns.iter().map(|c| (c.physical, c.nullable));
    for ((physical, nullable), column) in user.chain(hidden).zip(&record.columns) {
        let [validity, values, data] = column.buffers.map(|buffer| buffer.bytes as usize);
        let expected = match physical.width() {
            Some(width) => rows * width,
            None => (rows + 1) * size_of::<i32>(),
        };
        let nulls = column.statistics.null_count;
        let bits = if nulls > 0 { rows.div_ceil(8) } else { 0 };
        let fits = values == expected
            && (data == 0 || physical == Physical::Utf8)
            && (validity == bits || validity == rows.div_ceil(8))
            && (nullable || validity == 0 && nulls == 0)
            && nulls as usize <= rows
            && bounds_fit(physical, &column.statistics);
        if !fits {
            return Err(Corruption::Columns);
        }
    }
    Ok(())
}

fn bounds_fit(physical: Physical, statistics: &ColumnStatistics) -> bool {
    let fits = |bound: &StatisticBound| match (physical, &bound.value) {
        (Physical::Float32 | Physical::Float64, StatisticValue::Float(value)) => !value.is_nan(),
        (Physical::Decimal128 { .. }, StatisticValue::Decimal(_))
        | (Physical::Utf8, StatisticValue::Text(_)) => true,
        (
            Physical::UInt8 | Physical::UInt16 | Physical::UInt32 | Physical::UInt64,
            StatisticValue::UInt(value),
        ) => physical
            .width()
            .is_some_and(|width| width == 8 || value >> (8 * width) == 0),
        (
            Physical::Int8
            | Physical::Int16
            | Physical::Int32
            | Physical::Int64
            | Physical::Date32
            | Physical::Timestamp(_),
            StatisticValue::Int(value),
        ) => physical.width().is_some_and(|width| {
            let shift = 64 - 8 * width;
            value << shift >> shift == *value
        }),
        _ => false,
    };
    statistics.min.as_ref().is_none_or(fits) && statistics.max.as_ref().is_none_or(fits)
}

/// Checks every checksum of a body.
///
/// # Errors
/// [`Damage`], its bytes counted from the body's start.
pub fn check_body(record: &CommitRecord, body: &[u8]) -> Result<(), Damage> {
    if body.len() as u64 != record.body_bytes {
        return Err(Damage::at(body.len() as u64, Corruption::Truncated));
    }
    for (column, of) in (0u16..).zip(&record.columns) {
        for (buffer, place) in (0u8..).zip(&of.buffers) {
            check_buffer(place, body, Corruption::BufferChecksum { column, buffer })?;
        }
    }
    check_buffer(&record.rejects, body, Corruption::RejectsChecksum)?;
    check_buffer(&record.row_deletes, body, Corruption::RejectsChecksum)
}

fn check_buffer(place: &BufferRecord, body: &[u8], what: Corruption) -> Result<(), Damage> {
    let bytes = place.at..place.at + u64::from(place.bytes);
    match body.get(bytes.start as usize..bytes.end as usize) {
        Some(found) if crc32fast::hash(found) == place.crc => Ok(()),
        Some(_) => Err(Damage { bytes, what }),
        None => Err(Damage::at(bytes.start, Corruption::Truncated)),
    }
}
